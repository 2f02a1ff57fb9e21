//! Kafka Connect of the laboratory: one worker of its own process with its connectors, the standalone form. For consumers of
//! the topics that are not ours, such as Debezium's JDBC sink.
//!
//! It ends with its owner. What it reads is committed and carries its schema (`[log] schemas = true`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::home::Home;
use crate::kafka::LOGGING;
use crate::{Kafka, install};

/// A running worker.
pub struct Connect {
    child: Child,
    log: PathBuf,
}

/// A connector's properties; one of them is its `name`.
pub type Properties = [(&'static str, String)];

impl Connect {
    /// Starts a worker with the connectors that these properties describe. `port` is for Connect's own REST interface;
    /// settings and log go into the folder.
    pub fn start(kafka: &Kafka, folder: &Path, port: u16, connectors: &[&Properties]) -> Result<Connect> {
        install::connect()?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display())).map(|()| path)
        };
        let converter = "org.apache.kafka.connect.json.JsonConverter";
        let offsets = folder.join("connect.offsets");
        let worker = format!(
            "bootstrap.servers={}\nlisteners=http://127.0.0.1:{port}\noffset.storage.file.filename={}\n\
             key.converter={converter}\nkey.converter.schemas.enable=true\n\
             value.converter={converter}\nvalue.converter.schemas.enable=true\n\
             consumer.isolation.level=read_committed\nplugin.discovery=only_scan\n",
            kafka.address()?,
            offsets.display()
        );
        let worker = write("connect.properties", &worker)?;
        let files = connectors.iter().enumerate().map(|(number, properties)| {
            // A backslash begins an escape in this format.
            let lines = properties.iter().map(|(key, value)| format!("{key}={}\n", value.replace('\\', "\\\\")));
            write(&format!("connector-{number}.properties"), &lines.collect::<String>())
        });
        let files = files.collect::<Result<Vec<PathBuf>>>()?;
        let logging = write("connect-log4j2.properties", LOGGING)?;
        let log = folder.join("connect.log");
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
        command.arg("-cp").arg(format!("{}/*", Home::find()?.install("connect/libs").display()));
        command.arg("org.apache.kafka.connect.cli.ConnectStandalone").arg(worker).args(files);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("starting Kafka Connect")?;
        Ok(Connect { child, log })
    }

    /// The worker's log, with the words of all connectors.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// An error if the worker has ended or the task of that connector has failed.
    pub fn check(&mut self, connector: &str) -> Result<()> {
        match self.failure(connector)? {
            None => Ok(()),
            Some(words) => bail!("the task of {connector} has failed; {}:\n  {words}", self.log.display()),
        }
    }

    /// What the worker's log says of the failure of that connector's task; none as long as it runs.
    pub fn failure(&mut self, connector: &str) -> Result<Option<String>> {
        let text = self.log();
        if self.child.try_wait().context("looking at Kafka Connect")?.is_some() {
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n  ");
            bail!("Kafka Connect ended; the end of {}:\n  {tail}", self.log.display());
        }
        let begin = format!("WorkerSinkTask{{id={connector}-0}} Task threw an uncaught and unrecoverable exception");
        let Some((_, rest)) = text.split_once(&begin) else { return Ok(None) };
        // What belongs to the entry has no time before it; the places in the programs tell nobody anything.
        let is_of_entry = |line: &&str| !line.starts_with(|first: char| first.is_ascii_digit());
        let words = rest.lines().skip(1).take_while(is_of_entry).filter(|line| !line.trim_start().starts_with("at "));
        Ok(Some(words.collect::<Vec<&str>>().join("\n  ")))
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        // Already ended: nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
