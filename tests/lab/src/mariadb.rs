//! MariaDB of the laboratory, as this machine's Debian has it, or version 11: binlog by rows with full metadata, TLS with the
//! certificates of `server/mariadb`.
//!
//! The older program is the system's, its data, socket and plugins lie in the laboratory's folders; no service of the system is
//! started or touched. The newer one comes from Debian's `trixie` in a folder of its own, as MySQL's does. A server is a
//! [`Mysql`] of another flavor: whoever speaks to one speaks to the other.

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
        Series::Old.up(name, options)
    }

    /// A new, empty instance, whatever was left under this name.
    pub fn fresh(name: &str, options: &[&str]) -> Result<Mysql> {
        Series::Old.fresh(name, options)
    }
}

/// Starts servers of MariaDB 11.
pub struct Mariadb11;

impl Mariadb11 {
    /// Finds or starts the instance.
    pub fn up(name: &str) -> Result<Mysql> {
        Mariadb11::up_with(name, &[])
    }

    /// The same with options of mariadbd.
    pub fn up_with(name: &str, options: &[&str]) -> Result<Mysql> {
        Series::New.up(name, options)
    }

    /// A new, empty instance, whatever was left under this name.
    pub fn fresh(name: &str, options: &[&str]) -> Result<Mysql> {
        Series::New.fresh(name, options)
    }
}

/// Which MariaDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Series {
    /// The system's, 10.11 on Debian 12.
    Old,
    /// 11.8, of Debian 13.
    New,
}

impl Series {
    fn up(self, name: &str, options: &[&str]) -> Result<Mysql> {
        self.install()?;
        Ok(Mysql::of(self.flavor(), Server::up(Arc::new(Program { series: self }), name, options)?))
    }

    fn fresh(self, name: &str, options: &[&str]) -> Result<Mysql> {
        self.install()?;
        Ok(Mysql::of(self.flavor(), Server::fresh(Arc::new(Program { series: self }), name, options)?))
    }

    fn install(self) -> Result<()> {
        match self {
            Series::Old => install::mariadb(),
            Series::New => install::mariadb11(),
        }
    }

    fn flavor(self) -> Flavor {
        match self {
            Series::Old => Flavor::Mariadb,
            Series::New => Flavor::Mariadb11,
        }
    }

    /// The server's program, not started yet. Its first options must be these.
    fn command(self, home: &Home) -> Result<Command> {
        let (mut command, plugins) = match self {
            Series::Old => (Command::new(program()?), home.install("mariadb/usr/lib/mysql/plugin")),
            Series::New => {
                let root = home.install("mariadb11");
                let mut command = mysql::of_folder(&root, "usr/sbin/mariadbd")?;
                command.arg("--no-defaults").arg(format!("--basedir={}", root.join("usr").display()));
                command.arg(format!("--plugin-dir={}", root.join("unpacked/usr/lib/mysql/plugin").display()));
                return Ok(command);
            }
        };
        command.arg("--no-defaults").arg(format!("--plugin-dir={}", plugins.display()));
        Ok(command)
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

pub(crate) struct Program {
    pub(crate) series: Series,
}

impl server::Program for Program {
    fn kind(&self) -> &'static str {
        match self.series {
            Series::Old => "mariadb",
            Series::New => "mariadb11",
        }
    }

    fn main_ports(&self) -> &'static [u16] {
        match self.series {
            Series::Old => &[ports::MARIADB_MAIN],
            Series::New => &[ports::MARIADB11_MAIN],
        }
    }

    fn user(&self) -> Result<Option<(u32, u32)>> {
        server_user("nobody")
    }

    fn prepare(&self, home: &Home, folder: &Path, _ports: &[u16]) -> Result<()> {
        let kind = format!("mariadb-{}", version(self.series.command(home)?)?);
        let data = template::ensure(home, &kind, self.user()?, |folder| match self.series {
            Series::Old => initialise(folder, self.user()?),
            Series::New => bootstrap(home, folder, self.user()?),
        })?;
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
        // A server that starts deletes temporary tables from its folder for them, also those of another server, which then dies.
        let temporary = folder.join("tmp");
        fs::create_dir_all(&temporary).with_context(|| format!("creating {}", temporary.display()))?;
        template::give(&temporary, self.user()?)?;
        template::remove_files(&folder.join("data"), &["mysql.sock", "mariadbd.pid"])
    }

    fn command(&self, home: &Home, folder: &Path, ports: &[u16], options: &[String]) -> Result<Command> {
        let mut command = self.series.command(home)?;
        command.arg(format!("--datadir={}", folder.join("data").display()));
        command.arg(format!("--tmpdir={}", folder.join("tmp").display()));
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
fn version(mut command: Command) -> Result<String> {
    let output = command.arg("--version").output().context("asking mariadbd for its version")?;
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
    command.arg(format!("--tmpdir={}", folder.display()));
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

/// What `mariadb-install-db` does, which finds its server only where the system has it.
fn bootstrap(home: &Home, folder: &Path, user: Option<(u32, u32)>) -> Result<()> {
    const SCRIPTS: [&str; 6] = [
        "mariadb_system_tables.sql",
        "mariadb_performance_tables.sql",
        "mariadb_system_tables_data.sql",
        "fill_help_tables.sql",
        "maria_add_gis_sp_bootstrap.sql",
        "mariadb_sys_schema.sql",
    ];
    let scripts = home.install("mariadb11/usr/share/mariadb");
    let mut sql = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n".to_owned();
    for name in SCRIPTS {
        sql += &fs::read_to_string(scripts.join(name)).with_context(|| format!("reading {name}"))?;
        sql.push('\n');
    }
    sql += ACCOUNTS;
    let (data, input) = (folder.join("data"), folder.join("bootstrap.sql"));
    fs::write(&input, sql).with_context(|| format!("writing {}", input.display()))?;
    fs::create_dir(&data).with_context(|| format!("creating {}", data.display()))?;
    template::give(&data, user)?;
    let mut command = Series::New.command(home)?;
    command.args(["--bootstrap", "--enforce-storage-engine=", "--max-allowed-packet=8M"]);
    command.args([format!("--datadir={}", data.display()), format!("--tmpdir={}", data.display())]);
    command.stdin(fs::File::open(&input).with_context(|| format!("opening {}", input.display()))?);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    let output = command.current_dir(folder).output().context("running mariadbd --bootstrap")?;
    if !output.status.success() {
        bail!("mariadbd --bootstrap failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
