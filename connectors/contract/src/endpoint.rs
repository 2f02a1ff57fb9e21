//! How to reach a server: address, account, secret, TLS.

use std::path::PathBuf;

/// A password. It has no text form, so that it can't get into a log or an error; its memory is overwritten when dropped.
#[derive(Clone, Default)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the secret over.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(secret.into_bytes())
    }

    /// The secret itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(&self.0).expect("invariant: built from a String")
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&mut self.0);
    }
}

/// How the connection is protected. There is no fallback from one mode to a weaker one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plain text.
    Disabled,
    /// Encrypted, whoever the server is.
    Required,
    /// The server's certificate must come from a known authority.
    VerifyCa,
    /// And it must name the host that we connect to.
    #[default]
    VerifyFull,
}

/// TLS of one connection.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The protection.
    pub mode: TlsMode,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM file of our own certificate.
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
}

/// A server and the account to use there; or a file, which has no host and whose path is the database.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The URL's scheme: which connector.
    pub scheme: String,
    /// Host name or address; empty for a file.
    pub host: String,
    /// Port, the scheme's default filled in; 0 for a file.
    pub port: u16,
    /// Account name; empty if none.
    pub user: String,
    /// The account's password.
    pub password: Option<Secret>,
    /// The database in the URL's path, or the path of a file; empty if none.
    pub database: String,
    /// TLS.
    pub tls: Tls,
}

/// Host and port, or the file; never the account or the password.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.as_str() {
            "" => write!(f, "{}://{}", self.scheme, self.database),
            host => write!(f, "{}://{host}:{}", self.scheme, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_no_text_form() {
        let endpoint = Endpoint {
            scheme: "mysql".into(),
            host: "db".into(),
            port: 3306,
            user: "tailrace".into(),
            password: Some(Secret::new("hunter2".into())),
            database: String::new(),
            tls: Tls::default(),
        };
        assert!(!format!("{endpoint:?} {endpoint}").contains("hunter2"));
        assert_eq!(endpoint.password.unwrap().expose(), "hunter2");
    }
}
