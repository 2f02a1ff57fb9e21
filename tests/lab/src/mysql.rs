//! MySQL of the laboratory: binlog by rows with full metadata, GTIDs on, TLS with certificates that the server made itself.
//!
//! The server comes from Debian's `sid` in a folder of its own and runs with that folder's C library, so neither this
//! machine's libraries nor root are needed to run it. One data folder is initialised once and copied for each instance.
//! Commits are durable unless an option says otherwise: a kill must prove something.

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::home::{Home, server_user};
use crate::server::{self, Server};
use crate::{ADMIN_PASSWORD, TAILRACE_PASSWORD, install, mariadb, ports, template};

const ACCOUNTS: &str = include_str!("../server/mysql.sql");

/// Settings of every instance; options of the caller follow and win. docker-compose.yml says the same.
pub(crate) const SETTINGS: [&str; 17] = [
    "--bind-address=127.0.0.1",
    "--mysqlx=OFF",
    "--socket=mysql.sock",
    "--pid-file=mysqld.pid",
    "--secure-file-priv=NULL",
    "--skip-name-resolve",
    "--server-id=1",
    "--gtid-mode=ON",
    "--enforce-gtid-consistency=ON",
    "--log-bin=binlog",
    "--binlog-row-metadata=FULL",
    "--binlog-row-image=FULL",
    "--performance-schema=OFF",
    "--innodb-buffer-pool-size=256M",
    "--innodb-redo-log-capacity=256M",
    "--max-connections=300",
    "--max-allowed-packet=64M",
];

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// Oracle's.
    Mysql,
    /// MariaDB's; started through [`crate::Mariadb`].
    Mariadb,
    /// The same of version 11.
    Mariadb11,
}

impl Flavor {
    /// The scheme of its URLs.
    pub fn scheme(self) -> &'static str {
        match self {
            Flavor::Mysql => "mysql",
            Flavor::Mariadb | Flavor::Mariadb11 => "mariadb",
        }
    }
}

/// A MySQL or MariaDB server; see [`Server`] for kill, start and remove.
#[derive(Clone)]
pub struct Mysql {
    server: Server,
    flavor: Flavor,
}

impl Mysql {
    /// Finds or starts the instance.
    pub fn up(name: &str) -> Result<Mysql> {
        Mysql::up_with(name, &[])
    }

    /// The same with options of mysqld, such as `--sync-binlog=0`.
    pub fn up_with(name: &str, options: &[&str]) -> Result<Mysql> {
        install::mysql()?;
        Ok(Mysql::of(Flavor::Mysql, Server::up(Arc::new(Program), name, options)?))
    }

    /// A new, empty instance, whatever was left under this name.
    pub fn fresh(name: &str, options: &[&str]) -> Result<Mysql> {
        install::mysql()?;
        Ok(Mysql::of(Flavor::Mysql, Server::fresh(Arc::new(Program), name, options)?))
    }

    pub(crate) fn of(flavor: Flavor, server: Server) -> Mysql {
        Mysql { server, flavor }
    }

    /// Whose server it is.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// URL of the administrator, for drivers: they know one scheme for both.
    pub fn admin_url(&self) -> Result<String> {
        Ok(format!("mysql://root:{ADMIN_PASSWORD}@{}", self.address()?))
    }

    /// URL of the user that captures, without its password: [`TAILRACE_PASSWORD`].
    pub fn capture_url(&self) -> Result<String> {
        Ok(format!("{}://tailrace@{}", self.flavor.scheme(), self.address()?))
    }

    /// The authority that signed the server's certificate. MySQL's own certificate names no host, MariaDB's 127.0.0.1.
    pub fn ca_file(&self) -> PathBuf {
        match self.flavor {
            Flavor::Mysql => self.data().join("ca.pem"),
            Flavor::Mariadb | Flavor::Mariadb11 => mariadb::certificates().join("authority.pem"),
        }
    }

    /// `mysqlbinlog` of the same version, reading this server's binlog over the network as the capturing user; the caller
    /// adds options and file names. An oracle that shares no code with ours.
    pub fn mysqlbinlog(&self) -> Result<Command> {
        let mut command = self.mysqlbinlog_of_files()?;
        command.args(["--read-from-remote-server", "--host=127.0.0.1", "--user=tailrace"]);
        command.arg(format!("--port={}", self.port()?)).env("MYSQL_PWD", TAILRACE_PASSWORD);
        Ok(command)
    }

    /// The same program for files at hand; the caller adds options and paths.
    pub fn mysqlbinlog_of_files(&self) -> Result<Command> {
        let mut command = match self.flavor {
            Flavor::Mysql => {
                install::mysql_programs()?;
                program(&Home::find()?, "usr/bin/mysqlbinlog")?
            }
            Flavor::Mariadb11 => {
                install::mariadb11_programs()?;
                of_folder(&Home::find()?.install("mariadb11"), "unpacked/usr/bin/mariadb-binlog")?
            }
            Flavor::Mariadb => {
                install::mariadb_programs()?;
                Command::new(Home::find()?.install("mariadb/usr/bin/mariadb-binlog"))
            }
        };
        command.arg("--no-defaults");
        Ok(command)
    }
}

impl Deref for Mysql {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

pub(crate) struct Program;

impl server::Program for Program {
    fn kind(&self) -> &'static str {
        "mysql"
    }

    fn main_ports(&self) -> &'static [u16] {
        &[ports::MYSQL_MAIN]
    }

    fn user(&self) -> Result<Option<(u32, u32)>> {
        server_user("nobody")
    }

    fn prepare(&self, home: &Home, folder: &Path, _ports: &[u16]) -> Result<()> {
        let data = template::ensure(home, "mysql", self.user()?, |folder| initialise(home, folder, self.user()?))?;
        template::copy(&data, folder, self.user()?)?;
        // Each server makes itself a new identity.
        fs::remove_file(folder.join("data/auto.cnf")).context("removing the template's server identity")
    }

    fn clear_leftovers(&self, folder: &Path) -> Result<()> {
        template::remove_files(&folder.join("data"), &["mysql.sock", "mysql.sock.lock", "mysqld.pid"])
    }

    fn command(&self, home: &Home, folder: &Path, ports: &[u16], options: &[String]) -> Result<Command> {
        let mut command = program(home, "usr/sbin/mysqld")?;
        command.arg("--no-defaults").arg(format!("--basedir={}", home.install("mysql/usr").display()));
        command.arg(format!("--datadir={}", folder.join("data").display())).arg(format!("--port={}", ports[0]));
        command.args(SETTINGS).args(options);
        Ok(command)
    }

    fn answers(&self, port: u16) -> bool {
        greets(port)
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

/// Whether a server greets that takes logins: protocol version 10. An error packet says "not yet".
pub(crate) fn greets(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let mut greeting = [0u8; 5];
    stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && greeting[4] == 10
}

fn program(home: &Home, path: &str) -> Result<Command> {
    of_folder(&home.install("mysql"), path)
}

/// A program of a folder with a whole Debian, started through that folder's own loader and libraries.
pub(crate) fn of_folder(root: &Path, path: &str) -> Result<Command> {
    let libraries = root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let loader = fs::read_dir(&libraries)
        .with_context(|| format!("looking for the C library in {}", libraries.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux")))
        .with_context(|| format!("no loader in {}", libraries.display()))?;
    let mut command = Command::new(loader);
    command.arg("--library-path").arg(&libraries).arg(root.join(path));
    Ok(command)
}

fn initialise(home: &Home, folder: &Path, user: Option<(u32, u32)>) -> Result<()> {
    let accounts = folder.join("accounts.sql");
    fs::write(&accounts, ACCOUNTS).context("writing the accounts")?;
    let mut command = program(home, "usr/sbin/mysqld")?;
    command.arg("--no-defaults").arg(format!("--basedir={}", home.install("mysql/usr").display()));
    command.args(["--initialize-insecure", "--innodb-redo-log-capacity=64M", "--secure-file-priv=NULL"]);
    command.arg(format!("--datadir={}", folder.join("data").display()));
    command.arg(format!("--init-file={}", accounts.display()));
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    let output = command.output().context("running mysqld --initialize-insecure")?;
    if !output.status.success() {
        bail!("mysqld --initialize-insecure failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
