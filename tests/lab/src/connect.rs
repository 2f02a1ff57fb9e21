//! Kafka Connect of the laboratory: one worker of its own process with one connector, the standalone form. For consumers of
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

impl Connect {
    /// Starts a worker with a connector that these properties describe. `port` is for Connect's own REST interface; settings
    /// and log go into the folder.
    pub fn start(kafka: &Kafka, folder: &Path, port: u16, connector: &[(&str, &str)]) -> Result<Connect> {
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
        let lines: Vec<String> = connector.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let connector = write("connector.properties", &lines.concat())?;
        let logging = write("connect-log4j2.properties", LOGGING)?;
        let log = folder.join("connect.log");
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
        command.arg("-cp").arg(format!("{}/*", Home::find()?.install("connect/libs").display()));
        command.arg("org.apache.kafka.connect.cli.ConnectStandalone").arg(worker).arg(connector);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().context("starting Kafka Connect")?;
        Ok(Connect { child, log })
    }

    /// An error with the end of its log if it has ended or its connector has failed.
    pub fn check(&mut self) -> Result<()> {
        let text = fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        let has_failed = text.contains("Task is being killed and will not recover until manually restarted");
        if has_failed || self.child.try_wait().context("looking at Kafka Connect")?.is_some() {
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n  ");
            bail!("Kafka Connect failed; the end of {}:\n  {tail}", self.log.display());
        }
        Ok(())
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        // Already ended: nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
