//! From settings to a connection's options.
//!
//! TLS never falls back to a weaker mode. The driver also reads the environment (`PGPASSWORD`, `PGSSLROOTCERT`, …) as libpq
//! does; whatever of that could change where we connect or whom we trust is overwritten here, or refused by name.
//!
//! With `tls.ca` the driver trusts that authority beside the system's, not instead of them. With the host name checked
//! (`verify-full`) nobody else gets a certificate for our host from those; without it (`verify-ca`) anybody with a certificate
//! of any public authority would pass, so that mode is refused.

use std::path::Path;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tailrace_contract::{Error, Result, TargetSettings, Tls, TlsMode};

/// Statements kept prepared on each connection: two for each table and schema.
const STATEMENTS_MAX: usize = 1024;

/// The options of every connection to the target.
pub(crate) fn connect_options(settings: &TargetSettings) -> Result<PgConnectOptions> {
    let endpoint = &settings.endpoint;
    if endpoint.host.is_empty() || endpoint.user.is_empty() || endpoint.database.is_empty() {
        return Err(Error::refused(format!("the target {endpoint} lacks a host, an account or a database"))
            .hint("write target.url like postgres://account@host:5432/database"));
    }
    let options = PgConnectOptions::new_without_pgpass()
        .host(&endpoint.host)
        .port(endpoint.port)
        .username(&endpoint.user)
        .password(endpoint.password.as_ref().map_or("", |password| password.expose()))
        .database(&endpoint.database)
        .application_name("tailrace")
        .statement_cache_capacity(STATEMENTS_MAX)
        // Its log would hold our SQL, whole, at every slow batch.
        .disable_statement_logging();
    protect(options, &endpoint.tls)
}

fn protect(options: PgConnectOptions, tls: &Tls) -> Result<PgConnectOptions> {
    let mode = match tls.mode {
        TlsMode::Disabled => PgSslMode::Disable,
        TlsMode::Required => PgSslMode::Require,
        TlsMode::VerifyCa => {
            return Err(Error::refused(
                "tls.mode verify-ca is not safe with PostgreSQL: it would trust every public authority",
            )
            .hint("use verify-full; tls.ca may name your own authority"));
        }
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let mut options = options.ssl_mode(mode);
    options = match &tls.ca {
        Some(ca) => options.ssl_root_cert(readable(ca)?),
        None => refuse_environment("PGSSLROOTCERT", options)?,
    };
    options = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            options.ssl_client_cert(readable(certificate)?).ssl_client_key(readable(key)?)
        }
        (None, None) => refuse_environment("PGSSLKEY", refuse_environment("PGSSLCERT", options)?)?,
        (Some(_), None) | (None, Some(_)) => {
            return Err(Error::refused("tls.certificate and tls.key of the target need each other"));
        }
    };
    refuse_environment("PGOPTIONS", options)
}

/// The driver would report a missing file like a lost connection, and without its name. It reads the file at each connection.
fn readable(path: &Path) -> Result<&Path> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(path),
        Err(error) => Err(Error::refused(format!("{} can't be read", path.display())).caused_by(error)),
    }
}

fn refuse_environment(variable: &str, options: PgConnectOptions) -> Result<PgConnectOptions> {
    match std::env::var_os(variable) {
        Some(_) => Err(Error::refused(format!(
            "the environment variable {variable} would change the connection to the target"
        ))
        .hint(format!("unset {variable}; the configuration file says all that is needed"))),
        None => Ok(options),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tailrace_contract::{Endpoint, Secret};

    use super::*;

    fn settings(tls: Tls) -> TargetSettings {
        let endpoint = Endpoint {
            scheme: "postgres".into(),
            host: "db".into(),
            port: 5432,
            user: "tailrace".into(),
            password: Some(Secret::new("hunter2".into())),
            database: "shop".into(),
            tls,
        };
        TargetSettings { endpoint, schema: "tailrace".into(), statement_timeout: Duration::from_secs(60) }
    }

    #[test]
    fn no_mode_falls_back() {
        for (mode, expect) in
            [(TlsMode::Disabled, "Disable"), (TlsMode::Required, "Require"), (TlsMode::VerifyFull, "VerifyFull")]
        {
            let options = connect_options(&settings(Tls { mode, ..Tls::default() })).unwrap();
            assert_eq!(format!("{:?}", options.get_ssl_mode()), expect);
        }
        assert!(connect_options(&settings(Tls { mode: TlsMode::VerifyCa, ..Tls::default() })).is_err());
    }

    #[test]
    fn refuses_half_a_certificate_and_half_an_address() {
        let half = Tls { certificate: Some("client.pem".into()), ..Tls::default() };
        assert!(connect_options(&settings(half)).unwrap_err().to_string().contains("tls.key"));
        let mut nowhere = settings(Tls::default());
        nowhere.endpoint.database.clear();
        let text = connect_options(&nowhere).unwrap_err().to_string();
        assert!(text.contains("database") && !text.contains("hunter2"), "{text}");
    }
}
