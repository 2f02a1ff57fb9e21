//! Certificates for servers that tests protect: an authority, and what it vouches for, in `tls/`, made by `tls/make.sh`.
//!
//! | file | is |
//! |---|---|
//! | `authority.pem` | what a client trusts |
//! | `stranger.pem` | an authority that signed nothing |
//! | `server.pem` | a certificate for `localhost` and `127.0.0.1` |
//! | `elsewhere.pem` | one for `db.example` |
//! | `expired.pem` | one for `localhost` and `127.0.0.1` whose time is over |
//!
//! All three certificates belong to one key, `server.key`; it protects nothing but tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::compose::Engine;
use crate::home::{Home, server_user};
use crate::template;

/// A file of `tls/`.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tls").join(name)
}

/// A key and the certificate that a server shows, where only that server's user can read them.
pub struct Identity {
    folder: PathBuf,
    user: Option<(u32, u32)>,
}

impl Identity {
    /// Of a native server that runs as this user; shows `server.pem`. The name tells it from other servers' identities.
    pub fn new(name: &str, user: &str) -> Result<Identity> {
        if Engine::choose() == Engine::Compose {
            bail!("servers in containers get no certificates of the laboratory: set TAILRACE_LAB_ENGINE=native");
        }
        let folder = Home::find()?.root().join("tls").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let identity = Identity { folder, user: server_user(user)? };
        identity.write("server.key", &read("server.key")?)?;
        identity.show("server.pem")?;
        Ok(identity)
    }

    /// Puts another certificate of `tls/` in place. The server must be told to read it.
    pub fn show(&self, certificate: &str) -> Result<()> {
        self.write("shown.pem", &read(certificate)?)
    }

    /// Leaves no certificate in place.
    pub fn show_nothing(&self) -> Result<()> {
        self.write("shown.pem", "")
    }

    /// The key's file.
    pub fn key(&self) -> PathBuf {
        self.folder.join("server.key")
    }

    /// The shown certificate's file.
    pub fn certificate(&self) -> PathBuf {
        self.folder.join("shown.pem")
    }

    /// Key and one certificate in one file, as Java takes them (`ssl.keystore.type=PEM`).
    pub fn keystore(&self, certificate: &str) -> Result<PathBuf> {
        let name = format!("keystore-{certificate}");
        self.write(&name, &(read("server.key")? + &read(certificate)?))?;
        Ok(self.folder.join(name))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        let only_owner = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&path, only_owner).with_context(|| format!("protecting {}", path.display()))?;
        template::give(&path, self.user)
    }
}

fn read(name: &str) -> Result<String> {
    let path = file(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}
