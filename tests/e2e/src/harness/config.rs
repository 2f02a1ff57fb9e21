//! The configuration of a scene, as text: a test changes what it is about by [`Scene::write_config`].

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{MYSQL_PASSWORD, PARTITIONS, POSTGRES_PASSWORD, Scene, TargetKind, sql};

impl Scene {
    /// A configuration that captures every table of the scene's database under its own name. A section of
    /// the caller's own can be appended.
    pub(crate) fn config(&self) -> String {
        self.config_for(&self.addresses())
    }

    /// The same with other addresses, for instance those of a proxy.
    pub(crate) fn config_for(&self, addresses: &Addresses) -> String {
        let (database, prefix, server_id) = (&self.database, &self.prefix, self.server_id);
        let Addresses { mysql, kafka, .. } = addresses;
        let target = self.target_section(addresses);
        let ca = self.servers.mysql.ca_file();
        let scheme = self.servers.mysql.flavor().scheme();
        let (ca, capture, apply) = (ca.display(), self.capture_port, self.apply_port);
        format!(
            r#"[source]
url = "{scheme}://tailrace@{mysql}"
password = {{ env = "{MYSQL_PASSWORD}" }}
tls = {{ mode = "verify-ca", ca = "{ca}" }}
server_id = {server_id}
start = "now"

[log]
url = "kafka://{kafka}"
tls = {{ mode = "disabled" }}
prefix = "{prefix}"
partitions = {PARTITIONS}
replication = 1

{target}
[http]
capture = "127.0.0.1:{capture}"
apply = "127.0.0.1:{apply}"

[[table]]
source = "{database}.*"
backfill = "off"
"#
        )
    }

    /// The same without a log: the embedded form.
    pub(crate) fn embedded_config(&self) -> String {
        let text = self.config();
        let (before, rest) = text.split_once("[log]").expect("the configuration has a log");
        let (_, after) = rest.split_once("[target]").expect("the target comes after the log");
        format!("{before}[target]{after}")
    }

    fn target_section(&self, addresses: &Addresses) -> String {
        let (database, postgres) = (&self.database, &addresses.postgres);
        match self.target_kind {
            TargetKind::Postgres => format!(
                r#"[target]
url = "postgres://tailrace@{postgres}/{database}"
password = {{ env = "{POSTGRES_PASSWORD}" }}
tls = {{ mode = "disabled" }}
"#
            ),
            // Relative to the configuration, which lies in the same folder.
            TargetKind::Sqlite => format!("[target]\nurl = \"sqlite://{}\"\n", sql::FILE),
        }
    }

    /// Replaces the scene's configuration.
    pub(crate) fn write_config(&self, text: &str) -> Result<()> {
        let file = self.config_file();
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
    }

    /// A server id that neither the configuration nor another scene has.
    pub(crate) fn another_server_id(&self) -> u32 {
        self.server_id | 1 << 31
    }

    /// Where it lies.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder().join("tailrace.toml")
    }

    /// Host and port of each server.
    pub(crate) fn addresses(&self) -> Addresses {
        let address = |port: Result<u16>| format!("127.0.0.1:{}", port.unwrap_or(0));
        Addresses {
            mysql: address(self.servers.mysql.port()),
            kafka: address(self.servers.kafka.port()),
            postgres: address(self.servers.postgres.port()),
        }
    }
}

/// Host and port of each server, as Tailrace is told.
#[derive(Debug, Clone)]
pub(crate) struct Addresses {
    pub(crate) mysql: String,
    pub(crate) kafka: String,
    pub(crate) postgres: String,
}
