//! Commands that build the workspace and run what was built: demo, test, bench. What the build needs is installed first.
//!
//! The binary under test is handed over by path in `TAILRACE_BIN`, so that a test never runs an old or another one.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use lab::say;

use crate::servers;

/// Where tests, demo and benchmarks find the binary.
const BINARY: &str = "TAILRACE_BIN";
/// How many tests of one program run at once.
const THREADS: &str = "RUST_TEST_THREADS";

pub(crate) fn demo(arguments: &[String]) -> Result<ExitCode> {
    lab::install::build_tools()?;
    let mut arguments = arguments.to_vec();
    let is_embedded = arguments.iter().any(|word| word == "--embedded");
    if let Some(missing) = lab::install::missing_for_kafka().filter(|_| !is_embedded) {
        say(&format!("{missing}: playing the form without Kafka and PostgreSQL, as with --embedded"));
        arguments.push("--embedded".to_owned());
    }
    if !arguments.iter().any(|word| word == "--embedded") {
        servers::start()?;
    }
    cargo(&["build", "-p", "tailrace", "-p", "lab", "--features", "lab/drivers"])?;
    let folder = built("debug")?;
    launch(Command::new(folder.join("demo")).args(arguments).env(BINARY, folder.join("tailrace")))
}

pub(crate) fn test(arguments: &[String]) -> Result<ExitCode> {
    let mut command = testing()?;
    // One failure must not hide the next.
    command.args(["--no-fail-fast"]);
    if !arguments.iter().any(|word| word == "-p" || word.starts_with("--package")) {
        command.arg("--workspace");
    }
    launch(command.args(arguments))
}

/// `cargo test` with servers that run and the binary with its fault points.
pub(crate) fn testing() -> Result<Command> {
    lab::install::build_tools()?;
    lab::install::mariadb()?;
    lab::install::mariadb11()?;
    servers::start()?;
    cargo(&["build", "-p", "tailrace", "--features", "faults"])?;
    // Under a name of its own: building the tests may build the binary again, without the fault points.
    let folder = built("debug")?;
    let binary = folder.join("tailrace-with-faults");
    std::fs::copy(folder.join("tailrace"), &binary).context("keeping the binary with fault points")?;
    let mut command = Command::new(cargo_program());
    command.arg("test").current_dir(root()).env(BINARY, binary);
    if std::env::var_os(THREADS).is_none() {
        // Most tests wait for servers half of their time.
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        command.env(THREADS, (cores * 3 / 2).to_string());
    }
    Ok(command)
}

pub(crate) fn bench(arguments: &[String]) -> Result<ExitCode> {
    if !root().join("tests/bench/Cargo.toml").exists() {
        bail!("tests/bench is not there");
    }
    lab::install::build_tools()?;
    servers::start()?;
    cargo(&["build", "--release", "-p", "tailrace", "-p", "bench"])?;
    let folder = built("release")?;
    launch(Command::new(folder.join("bench")).args(arguments).env(BINARY, folder.join("tailrace")))
}

/// The checkout that this program was built from.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").components().fold(PathBuf::new(), |mut path, part| {
        if part == std::path::Component::ParentDir {
            path.pop();
        } else {
            path.push(part);
        }
        path
    })
}

/// The cargo that runs us.
pub(crate) fn cargo_program() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    say(&format!("cargo {}", arguments.join(" ")));
    let status = Command::new(cargo_program()).args(arguments).current_dir(root()).status().context("running cargo")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

/// Folder of built programs: this one's own neighbours, or those of the other profile.
fn built(profile: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("finding this program's folder")?;
    let target = me.parent().and_then(Path::parent).context("this program lies in a target folder")?;
    Ok(target.join(profile))
}

fn launch(command: &mut Command) -> Result<ExitCode> {
    let status =
        command.current_dir(root()).status().with_context(|| format!("running {:?}", command.get_program()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
