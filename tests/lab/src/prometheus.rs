//! Prometheus, for tests of metrics and alert rules: its server and `promtool`, unpacked from Debian's package. Nothing is
//! installed, and no service is started but by a test, in a folder and on a port of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{http, install, wait};

const READY_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Runs `promtool` with text on its standard input; its own words are the error.
pub fn promtool(arguments: &[&str], input: &str) -> Result<String> {
    let program = install::prometheus()?.join("promtool");
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("starting promtool")?;
    let mut stdin = child.stdin.take().context("promtool's input")?;
    std::io::Write::write_all(&mut stdin, input.as_bytes()).context("writing to promtool")?;
    drop(stdin);
    let output = child.wait_with_output().context("waiting for promtool")?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "promtool {}: {said}", arguments.join(" "));
    Ok(said)
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Prometheus {
    /// Starts a server on a configuration, in an empty folder.
    pub fn start(folder: &Path, config: &str, port: u16) -> Result<Prometheus> {
        let program = install::prometheus()?.join("prometheus");
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let file = folder.join("prometheus.yml");
        fs::write(&file, config).with_context(|| format!("writing {}", file.display()))?;
        let log = folder.join("prometheus.log");
        let output = fs::File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command.spawn().context("starting Prometheus")?;
        let mut server = Prometheus { child, port, log };
        server.wait_ready()?;
        Ok(server)
    }

    /// Names of the alerts that fire now.
    pub fn firing(&self) -> Result<Vec<String>> {
        let answer = http::get(self.port, "/api/v1/alerts", ANSWER_LIMIT)?;
        let told: Value = serde_json::from_str(&answer.body).context("Prometheus's alerts are JSON")?;
        let alerts = told["data"]["alerts"].as_array().context("Prometheus tells no alerts")?;
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        Ok(firing.filter_map(|alert| alert["labels"]["alertname"].as_str()).map(str::to_owned).collect())
    }

    /// What it said.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_ready(&mut self) -> Result<()> {
        let is_ready = wait::until(READY_LIMIT, || {
            let has_ended = !matches!(self.child.try_wait(), Ok(None));
            has_ended || http::get(self.port, "/-/ready", ANSWER_LIMIT).is_ok_and(|answer| answer.status == 200)
        });
        if !is_ready || !matches!(self.child.try_wait(), Ok(None)) {
            bail!("Prometheus is not ready: {}", self.log_text());
        }
        Ok(())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Already ended: nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
