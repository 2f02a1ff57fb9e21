//! Kafka of the laboratory: one broker that is its own controller (KRaft), in 512 MB.
//!
//! Run from jars, without Kafka's scripts. Topics are never created by accident (`auto.create.topics.enable=false`);
//! limits of transactions are Kafka's defaults.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::home::{Home, server_user};
use crate::server::{self, Server};
use crate::{install, ports, template};

pub(crate) const SETTINGS: &str = include_str!("../server/kafka.properties");
const LOGGING: &str = include_str!("../server/log4j2.properties");

/// A Kafka broker; see [`Server`] for kill, start and remove.
#[derive(Clone)]
pub struct Kafka {
    server: Server,
}

impl Kafka {
    /// Finds or starts the instance.
    pub fn up(name: &str) -> Result<Kafka> {
        Kafka::up_with(name, &[])
    }

    /// The same with settings of the broker such as `log.segment.bytes=1048576`.
    pub fn up_with(name: &str, options: &[&str]) -> Result<Kafka> {
        install::kafka()?;
        Ok(Kafka { server: Server::up(Arc::new(Program), name, options)? })
    }

    /// A new, empty broker, whatever was left under this name.
    pub fn fresh(name: &str, options: &[&str]) -> Result<Kafka> {
        install::kafka()?;
        Ok(Kafka { server: Server::fresh(Arc::new(Program), name, options)? })
    }

    /// URL for `[log]` in a tailrace.toml.
    pub fn url(&self) -> Result<String> {
        Ok(format!("kafka://{}", self.address()?))
    }

    /// A console consumer of committed records from a topic's beginning, as a line to paste into a shell.
    pub fn console_consumer(&self, topic: &str) -> Result<String> {
        let libs = Home::find()?.install("kafka/libs");
        Ok(format!(
            "java -cp '{}/*' org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server {} --topic {topic} \
             --from-beginning --isolation-level read_committed --max-messages 5",
            libs.display(),
            self.address()?
        ))
    }
}

impl Deref for Kafka {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

pub(crate) struct Program;

impl server::Program for Program {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn main_ports(&self) -> &'static [u16] {
        &[ports::KAFKA_MAIN, ports::KAFKA_MAIN + 1]
    }

    fn user(&self) -> Result<Option<(u32, u32)>> {
        server_user("nobody")
    }

    fn prepare(&self, home: &Home, folder: &Path, ports: &[u16]) -> Result<()> {
        write_settings(folder, ports, &[])?;
        template::give(folder, self.user()?)?;
        let mut format = Command::new("java");
        format.arg("-cp").arg(class_path(home)).args(["kafka.tools.StorageTool", "format"]);
        format.arg("-t").arg(cluster_id()?).arg("-c").arg(folder.join("server.properties"));
        if let Some((user, group)) = self.user()? {
            format.uid(user).gid(group);
        }
        let output = format.output().context("running Kafka's StorageTool")?;
        if !output.status.success() {
            bail!("formatting Kafka's storage failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn clear_leftovers(&self, _folder: &Path) -> Result<()> {
        Ok(())
    }

    fn command(&self, home: &Home, folder: &Path, ports: &[u16], options: &[String]) -> Result<Command> {
        write_settings(folder, ports, options)?;
        let mut command = Command::new("java");
        command.args(["-Xms256m", "-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]);
        command.arg(format!("-Dlog4j2.configurationFile={}", folder.join("log4j2.properties").display()));
        command.arg("-cp").arg(class_path(home)).arg("kafka.Kafka").arg(folder.join("server.properties"));
        Ok(command)
    }

    fn answers(&self, port: u16) -> bool {
        knows_itself(port).unwrap_or(false)
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}

fn class_path(home: &Home) -> String {
    format!("{}/*", home.install("kafka/libs").display())
}

/// 16 random bytes in URL-safe base64, as Kafka wants a cluster's id: read from the kernel, spelled in hex digits (each of
/// the 22 digits is a valid one; the last may only be one of four).
fn cluster_id() -> Result<String> {
    let mut bytes = [0u8; 11];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("reading /dev/urandom")?;
    let mut id: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    id.replace_range(21.., "A");
    Ok(id)
}

fn write_settings(folder: &Path, ports: &[u16], options: &[String]) -> Result<()> {
    let [clients, controller] = ports else { bail!("a broker needs two ports, not {}", ports.len()) };
    let text = format!(
        "{SETTINGS}controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{clients},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{clients}\n\
         log.dirs={}\n{}\n",
        folder.join("data").display(),
        options.join("\n")
    );
    fs::write(folder.join("server.properties"), text).context("writing server.properties")?;
    fs::write(folder.join("log4j2.properties"), LOGGING).context("writing log4j2.properties")
}

/// Asks for the cluster's metadata without topics (version 1): a broker that serves clients names itself.
fn knows_itself(port: u16) -> std::io::Result<bool> {
    const METADATA: i16 = 3;
    const VERSION: i16 = 1;
    const CORRELATION: i32 = 0x7A11;
    let mut request = Vec::new();
    request.extend(METADATA.to_be_bytes());
    request.extend(VERSION.to_be_bytes());
    request.extend(CORRELATION.to_be_bytes());
    request.extend((-1i16).to_be_bytes());
    request.extend(0i32.to_be_bytes());
    let length = i32::try_from(request.len()).unwrap_or(0);
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&request)?;
    // Length, correlation id, number of brokers.
    let mut answer = [0u8; 12];
    stream.read_exact(&mut answer)?;
    let number = |at: usize| i32::from_be_bytes([answer[at], answer[at + 1], answer[at + 2], answer[at + 3]]);
    Ok(number(4) == CORRELATION && number(8) == 1)
}
