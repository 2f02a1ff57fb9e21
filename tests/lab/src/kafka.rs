//! Kafka of the laboratory: one broker that is its own controller (KRaft), in 512 MB.
//!
//! Run from jars, without Kafka's scripts. Topics are never created by accident (`auto.create.topics.enable=false`);
//! limits of transactions are Kafka's defaults.

use std::fs;
use std::io::Read;
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use crate::compose::{self, Engine};
use crate::home::{Home, server_user};
use crate::kafka_wire::{self, KafkaRight, KafkaTransaction};
use crate::server::{self, Server};
use crate::{TAILRACE_PASSWORD, install, ports, template};

pub(crate) const SETTINGS: &str = include_str!("../server/kafka.properties");
pub(crate) const LOGGING: &str = include_str!("../server/log4j2.properties");

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

    /// A new, empty broker, whatever was left under this name. `{clients}` and `{controller}` in an option become its ports,
    /// for listeners beside those two.
    pub fn fresh(name: &str, options: &[&str]) -> Result<Kafka> {
        install::kafka()?;
        Ok(Kafka { server: Server::fresh(Arc::new(Program), name, options)? })
    }

    /// URL for `[log]` in a tailrace.toml.
    pub fn url(&self) -> Result<String> {
        Ok(format!("kafka://{}", self.address()?))
    }

    /// The broker's view of all transactional producers.
    pub fn transactions(&self) -> Result<Vec<KafkaTransaction>> {
        kafka_wire::transactions(self.port()?).context("asking the broker for its transactions")
    }

    /// Allows an account something; the broker must have an authorizer.
    pub fn allow(&self, right: &KafkaRight) -> Result<()> {
        kafka_wire::allow(self.port()?, right).with_context(|| format!("allowing {right:?}"))
    }

    /// Takes it away again; an error if it was not allowed.
    pub fn forbid(&self, right: &KafkaRight) -> Result<()> {
        let removed = kafka_wire::forbid(self.port()?, right).with_context(|| format!("forbidding {right:?}"))?;
        ensure!(removed == 1, "{right:?} was allowed {removed} times");
        Ok(())
    }

    /// A console consumer of committed records from a topic's beginning, as a line to paste into a shell.
    pub fn console_consumer(&self, topic: &str) -> Result<String> {
        let mut words = self.tool(Tool::ConsoleConsumer)?;
        words.extend(["--topic", topic, "--from-beginning", "--isolation-level", "read_committed"].map(str::to_owned));
        words.extend(["--max-messages", "5"].map(str::to_owned));
        // The class path ends with a star for Java, not for the shell.
        Ok(words
            .iter()
            .map(|word| if word.contains('*') { format!("'{word}'") } else { word.clone() })
            .collect::<Vec<_>>()
            .join(" "))
    }

    /// Starts a `kafka-configs.sh --bootstrap-server … REST` that somebody printed, or one of `kafka-acls.sh`, with this broker's
    /// address.
    pub fn printed_command(&self, command: &str) -> Result<Child> {
        let (script, rest) = command.split_once(" --bootstrap-server … ").context("a command for some broker")?;
        let mut words = self.tool(match script {
            "kafka-configs.sh" => Tool::Configs,
            "kafka-acls.sh" => Tool::Acls,
            other => bail!("{other} is none of Kafka's tools"),
        })?;
        words.extend(rest.split(' ').map(str::to_owned));
        let mut process = Command::new(&words[0]);
        process.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process.spawn().context("running a command of Kafka's")
    }

    /// Deletes the topics whose whole name matches a regular expression of Java's; none is no error.
    pub fn delete_topics(&self, pattern: &str) -> Result<()> {
        let mut words = self.tool(Tool::Topics)?;
        words.extend(["--delete", "--if-exists", "--topic", pattern].map(str::to_owned));
        let output = Command::new(&words[0]).args(&words[1..]).output().context("running Kafka's topic command")?;
        if !output.status.success() {
            bail!("deleting the topics {pattern} failed:\n{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(())
    }

    /// One of Kafka's command line tools, as words up to the address of this broker.
    fn tool(&self, tool: Tool) -> Result<Vec<String>> {
        let mut words = match self.engine()? {
            Engine::Native => {
                let class = match tool {
                    Tool::ConsoleConsumer => "org.apache.kafka.tools.consumer.ConsoleConsumer",
                    Tool::Topics => "org.apache.kafka.tools.TopicCommand",
                    Tool::Configs => "kafka.admin.ConfigCommand",
                    Tool::Acls => "org.apache.kafka.tools.AclCommand",
                };
                vec!["java".to_owned(), "-cp".to_owned(), class_path(&Home::find()?), class.to_owned()]
            }
            Engine::Compose => {
                let script = match tool {
                    Tool::ConsoleConsumer => "/opt/kafka/bin/kafka-console-consumer.sh",
                    Tool::Topics => "/opt/kafka/bin/kafka-topics.sh",
                    Tool::Configs => "/opt/kafka/bin/kafka-configs.sh",
                    Tool::Acls => "/opt/kafka/bin/kafka-acls.sh",
                };
                let mut words = compose::inside("kafka", self.name())?;
                words.push(script.to_owned());
                words
            }
        };
        words.extend(["--bootstrap-server".to_owned(), self.address()?]);
        Ok(words)
    }
}

#[derive(Debug, Clone, Copy)]
enum Tool {
    ConsoleConsumer,
    Topics,
    Configs,
    Acls,
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
        // Only a listener with SASL asks for it.
        format.arg("--add-scram").arg(format!("SCRAM-SHA-512=[name=tailrace,password={TAILRACE_PASSWORD}]"));
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
        kafka_wire::serves(port).unwrap_or(false)
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
        options.join("\n").replace("{clients}", &clients.to_string()).replace("{controller}", &controller.to_string())
    );
    fs::write(folder.join("server.properties"), text).context("writing server.properties")?;
    fs::write(folder.join("log4j2.properties"), LOGGING).context("writing log4j2.properties")
}
