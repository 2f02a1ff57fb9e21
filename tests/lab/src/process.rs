//! The real `tailrace` binary as a process: started with a configuration, asked for health and metrics, killed, terminated,
//! its words kept in a file.
//!
//! Which binary: `TAILRACE_BIN`, else the neighbour of the running test. A process that is dropped is killed, so a failed
//! test leaves nothing behind.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http::{self, Metrics};
use crate::process_table::{self, Process};
use crate::wait;

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// How to start one process; can be spawned again and again.
#[derive(Debug, Clone)]
pub struct Launch {
    binary: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    log: PathBuf,
    http_port: Option<u16>,
}

/// A running `tailrace`.
#[derive(Debug)]
pub struct Tailrace {
    child: Child,
    label: String,
    log: PathBuf,
    http_port: Option<u16>,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Launch {
    /// `tailrace ARGUMENTS`, with standard output and error appended to a log file.
    pub fn new(arguments: &[&str], log: &Path) -> Result<Launch> {
        Ok(Launch {
            binary: binary()?,
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            variables: Vec::new(),
            log: log.to_owned(),
            http_port: None,
        })
    }

    /// One more environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Launch {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where the process serves `/healthz` and `/metrics`.
    #[must_use]
    pub fn http_port(mut self, port: u16) -> Launch {
        self.http_port = Some(port);
        self
    }

    /// Starts it; it may not be ready yet.
    pub fn spawn(&self) -> Result<Tailrace> {
        let log = open_log(&self.log)?;
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {}", self.binary.display()))?;
        let label = format!("tailrace {}", self.arguments.first().map_or("", String::as_str));
        Ok(Tailrace { child, label, log: self.log.clone(), http_port: self.http_port })
    }

    /// Runs it to its end; killed and an error if that takes longer than the limit.
    pub fn run(&self, limit: Duration) -> Result<Finished> {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("starting {}", self.binary.display()))?;
        self.finish(child, limit)
    }

    /// The same at a terminal at which somebody types a line. Standard output and error come as one, as on a screen.
    pub fn run_at_terminal(&self, line: &str, limit: Duration) -> Result<Finished> {
        let quoted = |word: &str| format!("'{}'", word.replace('\'', r"'\''"));
        let binary = self.binary.to_str().context("a path in UTF-8")?;
        let words = std::iter::once(binary).chain(self.arguments.iter().map(String::as_str));
        let words: Vec<String> = words.map(quoted).collect();
        // util-linux; with the command's own exit code.
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
        script.envs(self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = script.spawn().context("starting script, which gives a terminal")?;
        let mut keyboard = child.stdin.take().context("its standard input")?;
        writeln!(keyboard, "{line}").context("typing")?;
        let finished = self.finish(child, limit);
        drop(keyboard);
        finished
    }

    fn finish(&self, child: Child, limit: Duration) -> Result<Finished> {
        let process = Process::find(child.id());
        let waiter = std::thread::spawn(move || child.wait_with_output());
        if !wait::until(limit, || waiter.is_finished()) {
            process.map_or(Ok(()), Process::kill)?;
            bail!("tailrace {} did not end within {limit:?}", self.arguments.join(" "));
        }
        let output = waiter.join().ok().context("the thread that waits for the process")?.context("waiting for it")?;
        Ok(Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments);
        command.envs(self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        command
    }
}

impl Tailrace {
    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until `/healthz` says 200; an error with the end of its log if it ends or the limit passes first.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let begin = Instant::now();
        let mut has_ended = false;
        let is_ready = wait::until(limit, || {
            has_ended = !self.is_running();
            has_ended || self.health().is_ok_and(|answer| answer.status == 200)
        });
        if has_ended {
            bail!("{} ended before it was ready: {}", self.label, self.log_tail());
        }
        if !is_ready {
            let last = self.health().map_or_else(|error| format!("{error:#}"), |answer| answer.body);
            bail!("{} was not ready in {:?} ({}): {}", self.label, begin.elapsed(), last.trim(), self.log_tail());
        }
        Ok(())
    }

    /// `/healthz`.
    pub fn health(&self) -> Result<http::Answer> {
        http::get(self.port()?, "/healthz", ANSWER_LIMIT)
    }

    /// `/status`.
    pub fn status(&self) -> Result<http::Answer> {
        http::get(self.port()?, "/status", ANSWER_LIMIT)
    }

    /// `/metrics`.
    pub fn metrics(&self) -> Result<Metrics> {
        Ok(Metrics::parse(&self.metrics_text()?))
    }

    /// The text of `/metrics`.
    pub fn metrics_text(&self) -> Result<String> {
        Ok(http::get(self.port()?, "/metrics", ANSWER_LIMIT)?.body)
    }

    /// SIGKILL; returns when the process is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("sending SIGKILL")?;
        self.child.wait().context("waiting for a killed process")?;
        Ok(())
    }

    /// SIGTERM; the caller waits for the end.
    pub fn terminate(&self) -> Result<()> {
        let process = Process::find(self.pid()).with_context(|| format!("{} has ended already", self.label))?;
        process_table::send("TERM", &[process])
    }

    /// Waits for the end by itself or after a signal.
    pub fn wait_exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut status = None;
        wait::until(limit, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status.with_context(|| format!("{} did not end within {limit:?}: {}", self.label, self.log_tail()))
    }

    /// Everything it and its predecessors with the same log said.
    pub fn log_text(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        format!("the end of {}:\n  {}", self.log.display(), lines[lines.len().saturating_sub(15)..].join("\n  "))
    }

    fn port(&self) -> Result<u16> {
        self.http_port.with_context(|| format!("{} was started without a port for health and metrics", self.label))
    }
}

impl Drop for Tailrace {
    fn drop(&mut self) {
        // Already ended: nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary under test.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TAILRACE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let me = std::env::current_exe().context("finding this program's folder")?;
    // Tests lie in target/debug/deps, programs in target/debug.
    let mut folders = me.ancestors().skip(1).take(2).map(|folder| folder.join("tailrace"));
    folders.find(|path| path.is_file()).with_context(|| {
        format!("no tailrace beside {}: run `cargo build -p tailrace`, or set TAILRACE_BIN", me.display())
    })
}

fn open_log(path: &Path) -> Result<File> {
    let folder = path.parent().context("a log file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("opening {}", path.display()))
}
