//! PostgreSQL of the laboratory: `initdb` once, copied for each instance; passwords by SCRAM; `fsync` on, so that a kill
//! proves something.
//!
//! The user `tailrace` may create databases and owns the database `shop`. The socket lies in the data folder.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::home::{Home, server_user};
use crate::server::{self, Server};
use crate::{ADMIN_PASSWORD, TAILRACE_PASSWORD, install, ports, template};

const ACCOUNTS: &str = include_str!("../server/postgres.sql");

/// Settings of every instance; options of the caller follow and win. docker-compose.yml says the same.
pub(crate) const SETTINGS: [&str; 8] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=.",
    "max_connections=200",
    "fsync=on",
    "shared_buffers=256MB",
    "max_wal_size=2GB",
    "timezone=UTC",
    "log_line_prefix=%m|%p|%u@%d|",
];

/// A PostgreSQL server; see [`Server`] for kill, start and remove.
#[derive(Clone)]
pub struct Postgres {
    server: Server,
}

impl Postgres {
    /// Finds or starts the instance.
    pub fn up(name: &str) -> Result<Postgres> {
        Postgres::up_with(name, &[])
    }

    /// The same with settings such as `synchronous_commit=off`.
    pub fn up_with(name: &str, options: &[&str]) -> Result<Postgres> {
        install::postgres()?;
        Ok(Postgres { server: Server::up(Arc::new(Program), name, options)? })
    }

    /// A new, empty instance, whatever was left under this name.
    pub fn fresh(name: &str, options: &[&str]) -> Result<Postgres> {
        install::postgres()?;
        Ok(Postgres { server: Server::fresh(Arc::new(Program), name, options)? })
    }

    /// URL of the administrator in a database, for drivers.
    pub fn admin_url(&self, database: &str) -> Result<String> {
        Ok(format!("postgres://postgres:{ADMIN_PASSWORD}@{}/{database}", self.address()?))
    }

    /// URL of the user `tailrace` in a database, without its password: [`TAILRACE_PASSWORD`].
    pub fn apply_url(&self, database: &str) -> Result<String> {
        Ok(format!("postgres://tailrace@{}/{database}", self.address()?))
    }

    /// The same with the password, for drivers.
    pub fn owner_url(&self, database: &str) -> Result<String> {
        Ok(format!("postgres://tailrace:{TAILRACE_PASSWORD}@{}/{database}", self.address()?))
    }
}

impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

pub(crate) struct Program;

impl server::Program for Program {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn main_ports(&self) -> &'static [u16] {
        &[ports::POSTGRES_MAIN]
    }

    fn user(&self) -> Result<Option<(u32, u32)>> {
        server_user("postgres")
    }

    fn prepare(&self, home: &Home, folder: &Path, _ports: &[u16]) -> Result<()> {
        let programs = programs()?;
        let version = programs.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let kind = format!("postgres-{}", version.unwrap_or_default());
        let user = self.user()?;
        let data = template::ensure(home, &kind, user, |folder| initialise(&programs, folder, user))?;
        template::copy(&data, folder, user)
    }

    /// The server itself deals with the file of a predecessor that is gone, and sees to it that no process of it still
    /// works on the data. Only if the number in it belongs to somebody else by now does it refuse to start.
    fn clear_leftovers(&self, folder: &Path) -> Result<()> {
        let data = folder.join("data");
        let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let pid: Option<u32> = text.lines().next().and_then(|line| line.trim().parse().ok());
        let is_taken = pid.is_some_and(|pid| Path::new("/proc").join(pid.to_string()).exists());
        if is_taken { template::remove_files(&data, &["postmaster.pid"]) } else { Ok(()) }
    }

    fn command(&self, _home: &Home, folder: &Path, ports: &[u16], options: &[String]) -> Result<Command> {
        let mut command = Command::new(programs()?.join("postgres"));
        command.arg("-D").arg(folder.join("data")).arg("-p").arg(ports[0].to_string());
        for setting in SETTINGS.iter().copied().chain(options.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        Ok(command)
    }

    fn answers(&self, port: u16) -> bool {
        asks_for_password(port).unwrap_or(false)
    }

    /// "Fast": open connections are ended, nothing is lost.
    fn stop_signal(&self) -> &'static str {
        "INT"
    }
}

/// Folder of the newest PostgreSQL server that Debian's packages installed.
pub(crate) fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("looking for /usr/lib/postgresql")?;
    let found = versions.flatten().filter_map(|entry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        let folder = entry.path().join("bin");
        folder.join("postgres").exists().then_some((version, folder))
    });
    found.max().map(|(_, folder)| folder).context("no server below /usr/lib/postgresql")
}

/// A server that lets clients in answers a start-up message with a request for a password ('R'); one that still recovers
/// answers with an error.
fn asks_for_password(port: u16) -> std::io::Result<bool> {
    const PROTOCOL: u32 = 3 << 16;
    let mut message = vec![0u8; 4];
    message.extend(PROTOCOL.to_be_bytes());
    message.extend(b"user\0tailrace\0database\0postgres\0\0");
    let length = u32::try_from(message.len()).unwrap_or(0);
    message[..4].copy_from_slice(&length.to_be_bytes());
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(&message)?;
    let mut answer = [0u8; 1];
    stream.read_exact(&mut answer)?;
    Ok(answer[0] == b'R')
}

fn initialise(programs: &Path, folder: &Path, user: Option<(u32, u32)>) -> Result<()> {
    let as_user = |program: &str| {
        let mut command = Command::new(programs.join(program));
        command.current_dir(folder);
        if let Some((user, group)) = user {
            command.uid(user).gid(group);
        }
        command
    };
    let data = folder.join("data");
    let password = folder.join("password");
    fs::write(&password, ADMIN_PASSWORD).context("writing the administrator's password")?;
    template::give(&password, user)?;
    let mut initdb = as_user("initdb");
    initdb
        .args(["-U", "postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
        .arg(&data);
    let output = initdb.arg("--pwfile").arg(&password).output().context("running initdb")?;
    if !output.status.success() {
        bail!("initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut single = as_user("postgres");
    single.args(["--single", "-j", "-D"]).arg(&data).arg("postgres");
    single.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = single.spawn().context("starting PostgreSQL's single-user mode")?;
    let mut input = child.stdin.take().context("its standard input")?;
    // In this mode (-j) a statement ends with a semicolon and an empty line.
    input.write_all(ACCOUNTS.replace(";\n", ";\n\n").as_bytes()).context("sending the accounts")?;
    drop(input);
    let output = child.wait_with_output().context("waiting for PostgreSQL's single-user mode")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || said.contains("ERROR") {
        bail!("creating the accounts failed:\n{said}");
    }
    Ok(())
}
