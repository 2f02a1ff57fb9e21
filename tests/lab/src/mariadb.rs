//! MariaDB of the laboratory, as this machine's Debian has it: binlog by rows with full metadata, TLS with the certificates of
//! `server/mariadb`.
//!
//! The program is the system's, its data, socket and plugins lie in the laboratory's folders; no service of the system is
//! started or touched. A server is a [`Mysql`] of another flavor: whoever speaks to one speaks to the other.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use crate::home::{Home, server_user};
use crate::mysql::{self, Flavor, Mysql};
use crate::server::{self, Server};
use crate::{install, ports, template};

const ACCOUNTS: &str = include_str!("../server/mariadb/accounts.sql");

/// Settings of every instance; options of the caller follow and win. docker-compose.yml says the same.
pub(crate) const SETTINGS: [&str; 13] = [
    "--bind-address=127.0.0.1",
    "--socket=mysql.sock",
    "--pid-file=mariadbd.pid",
    "--skip-name-resolve",
    "--server-id=1",
    "--log-bin=binlog",
    "--binlog-format=ROW",
    "--binlog-row-metadata=FULL",
    "--binlog-row-image=FULL",
    "--gtid-strict-mode=ON",
    "--sync-binlog=1",
    "--max-connections=300",
    "--max-allowed-packet=64M",
];

/// Starts MariaDB servers.
pub struct Mariadb;

impl Mariadb {
    /// Finds or starts the instance.
    pub fn up(name: &str) -> Result<Mysql> {
        Mariadb::up_with(name, &[])
    }

    /// The same with options of mariadbd.
    pub fn up_with(name: &str, options: &[&str]) -> Result<Mysql> {
        install::mariadb()?;
        Ok(Mysql::of(Flavor::Mariadb, Server::up(Arc::new(Program), name, options)?))
    }

    /// A new, empty instance, whatever was left under this name.
    pub fn fresh(name: &str, options: &[&str]) -> Result<Mysql> {
        install::mariadb()?;
        Ok(Mysql::of(Flavor::Mariadb, Server::fresh(Arc::new(Program), name, options)?))
    }
}

/// The folder of the server's certificate and the authority that signed it.
pub(crate) fn certificates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("server/mariadb")
}

/// The server's program.
pub(crate) fn program() -> Result<PathBuf> {
    let program = PathBuf::from("/usr/sbin/mariadbd");
    ensure!(program.is_file(), "there is no {}", program.display());
    Ok(program)
}

pub(crate) struct Program;

impl server::Program for Program {
    fn kind(&self) -> &'static str {
        "mariadb"
    }

    fn main_ports(&self) -> &'static [u16] {
        &[ports::MARIADB_MAIN]
    }

    fn user(&self) -> Result<Option<(u32, u32)>> {
        server_user("nobody")
    }

    fn prepare(&self, home: &Home, folder: &Path, _ports: &[u16]) -> Result<()> {
        let kind = format!("mariadb-{}", version()?);
        let data = template::ensure(home, &kind, self.user()?, |folder| initialise(folder, self.user()?))?;
        template::copy(&data, folder, self.user()?)?;
        // The server's user may not be able to enter this checkout.
        for name in ["authority.pem", "server.pem", "server.key"] {
            let copy = folder.join("data").join(name);
            fs::copy(certificates().join(name), &copy).with_context(|| format!("copying {}", copy.display()))?;
            template::give(&copy, self.user()?)?;
        }
        Ok(())
    }

    fn clear_leftovers(&self, folder: &Path) -> Result<()> {
        template::remove_files(&folder.join("data"), &["mysql.sock", "mariadbd.pid"])
    }

    fn command(&self, home: &Home, folder: &Path, ports: &[u16], options: &[String]) -> Result<Command> {
        let mut command = Command::new(program()?);
        command.arg("--no-defaults").arg(format!("--datadir={}", folder.join("data").display()));
        command.arg(format!("--plugin-dir={}", home.install("mariadb/usr/lib/mysql/plugin").display()));
        command.arg(format!("--port={}", ports[0])).args(SETTINGS);
        for (option, name) in [("ca", "authority.pem"), ("cert", "server.pem"), ("key", "server.key")] {
            command.arg(format!("--ssl-{option}={}", folder.join("data").join(name).display()));
        }
        command.args(options);
        Ok(command)
    }

    fn answers(&self, port: u16) -> bool {
        mysql::greets(port)
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

/// Major and minor number: a template suits no other version.
fn version() -> Result<String> {
    let output = Command::new(program()?).arg("--version").output().context("asking mariadbd for its version")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_once("Ver ").map_or("", |(_, rest)| rest);
    let parts: Vec<&str> = number.split(['.', '-']).take(2).collect();
    ensure!(parts.len() == 2, "mariadbd --version says {text:?}");
    Ok(parts.join("."))
}

fn initialise(folder: &Path, user: Option<(u32, u32)>) -> Result<()> {
    let accounts = folder.join("accounts.sql");
    fs::write(&accounts, ACCOUNTS).context("writing the accounts")?;
    let mut command = Command::new("mariadb-install-db");
    command.args([
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--skip-name-resolve",
    ]);
    command.arg(format!("--datadir={}", folder.join("data").display()));
    command.arg(format!("--extra-file={}", accounts.display()));
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    let output = command.current_dir(folder).output().context("running mariadb-install-db")?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("mariadb-install-db failed:\n{}", String::from_utf8_lossy(&said));
    }
    Ok(())
}
