//! Checks done by other programs: rustfmt, clippy, rustdoc, cargo-deny, Compose. What can't be done here is said, never
//! passed over in silence.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use lab::home::Home;
use lab::{compose, say};

use crate::build::cargo_program;

pub(super) fn format(root: &Path) -> Result<String> {
    pass(cargo(root).args(["fmt", "--all", "--check", "--", "--files-with-diff"]))?;
    Ok(String::new())
}

pub(super) fn clippy(root: &Path) -> Result<String> {
    pass(cargo(root).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(String::new())
}

/// Simulation and fuzzing build the engine without librdkafka.
pub(super) fn without_kafka(root: &Path) -> Result<String> {
    pass(cargo(root).args(["check", "-p", "tailrace", "--no-default-features", "--quiet"]))?;
    Ok(String::new())
}

pub(super) fn documentation(root: &Path) -> Result<String> {
    let mut command = cargo(root);
    command.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings");
    pass(&mut command)?;
    Ok(String::new())
}

pub(super) fn deny(root: &Path) -> Result<String> {
    let program = cargo_deny()?;
    pass(deny_command(&program, root).args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
    Ok(String::new())
}

/// Only where the database of advisories lies on this machine: fetching it is a decision of its own.
pub(super) fn advisories(root: &Path) -> Result<String> {
    let Some(database) = advisory_database() else {
        return Ok("NOT DONE: no advisory database here (`cargo deny fetch db` gets it)".to_owned());
    };
    let program = cargo_deny()?;
    pass(deny_command(&program, root).args(["check", "--disable-fetch", "--hide-inclusion-graph", "advisories"]))?;
    Ok(format!("with {}", database.display()))
}

pub(super) fn compose(root: &Path) -> Result<String> {
    let Some(words) = compose::compose_command() else {
        return Ok("NOT DONE: neither `docker compose` nor `docker-compose` is here".to_owned());
    };
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["-f", "docker-compose.yml", "config", "--quiet"]).current_dir(root);
    pass(&mut command)?;
    Ok(format!("by {}", words.join(" ")))
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(cargo_program());
    command.current_dir(root);
    command
}

fn pass(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_owned();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("running {}", name.display()))?;
    if !status.success() {
        bail!("{} {:?} failed", name.display(), command.get_args().collect::<Vec<_>>());
    }
    Ok(())
}

fn deny_command(program: &Path, root: &Path) -> Command {
    let mut command = Command::new(program);
    // Two versions of a crate are worth a look now and then, not a page of text each time.
    command.args(["--log-level", "error", "--all-features", "--workspace"]).current_dir(root);
    command
}

/// cargo-deny of this machine, or our own copy outside the repository.
fn cargo_deny() -> Result<PathBuf> {
    if lab::install::has_program("cargo-deny") {
        return Ok(PathBuf::from("cargo-deny"));
    }
    let home = Home::find()?;
    let folder = home.install("cargo-deny");
    let program = folder.join("bin/cargo-deny");
    let _lock = home.lock("install-cargo-deny")?;
    if !program.exists() {
        say(
            "cargo-deny is not here:\n  cargo install --locked cargo-deny, into the laboratory's folder (some minutes, once)",
        );
        let mut install = Command::new(cargo_program());
        install.args(["install", "--locked", "--debug", "--quiet", "cargo-deny", "--root"]).arg(&folder);
        install.env("CARGO_PROFILE_DEV_DEBUG", "none").env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
        // Outside the checkout: its settings are not for other people's programs.
        pass(install.current_dir(home.root()))?;
    }
    Ok(program)
}

fn advisory_database() -> Option<PathBuf> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let folder = cargo_home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let mut databases = std::fs::read_dir(folder.join("advisory-dbs")).ok()?.flatten().map(|entry| entry.path());
    databases.find(|path| path.join("crates").is_dir())
}
