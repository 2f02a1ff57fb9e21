//! Servers in containers, where `docker info` reaches an engine: the same instances from docker-compose.yml, one Compose
//! project each, so that a kill or a removal concerns one server only.
//!
//! Ports and options travel as environment variables that docker-compose.yml names. It never speaks to a container that
//! is not of its own projects.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::state::State;

/// What runs a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A process of this machine.
    Native,
    /// A container, through Docker Compose.
    Compose,
}

impl Engine {
    /// What new servers run in: `TAILRACE_LAB_ENGINE` decides (`native` or `compose`), else whether Docker is there.
    pub fn choose() -> Engine {
        static CHOICE: OnceLock<Engine> = OnceLock::new();
        *CHOICE.get_or_init(|| {
            let wish = std::env::var("TAILRACE_LAB_ENGINE").ok();
            wish.as_deref().and_then(Engine::parse).unwrap_or_else(Engine::find)
        })
    }

    fn find() -> Engine {
        if docker_answers() && compose_command().is_some() { Engine::Compose } else { Engine::Native }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Engine::Native => "native",
            Engine::Compose => "compose",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Engine> {
        [Engine::Native, Engine::Compose].into_iter().find(|engine| engine.word() == word)
    }
}

/// docker-compose.yml of this checkout.
pub fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker-compose.yml")
}

/// The words that call Compose here: the plugin or the older program.
pub fn compose_command() -> Option<Vec<&'static str>> {
    let works = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    [vec!["docker", "compose"], vec!["docker-compose"]].into_iter().find(|words| works(words))
}

pub(crate) fn up(kind: &str, name: &str, state: &State, folder: &Path) -> Result<()> {
    let settings = folder.join("options.yml");
    fs::write(&settings, options_file(kind, &state.options))
        .with_context(|| format!("writing {}", settings.display()))?;
    run(kind, name, state, Some(&settings), &["up", "-d", kind]).map(drop)
}

pub(crate) fn kill(kind: &str, name: &str, state: &State) -> Result<()> {
    run(kind, name, state, None, &["kill", "-s", "SIGKILL", kind]).map(drop)
}

pub(crate) fn stop(kind: &str, name: &str, state: &State) -> Result<()> {
    run(kind, name, state, None, &["stop", "-t", "60", kind]).map(drop)
}

pub(crate) fn remove(kind: &str, name: &str, state: &State) -> Result<()> {
    run(kind, name, state, None, &["down", "-v", "-t", "1"]).map(drop)
}

pub(crate) fn log(kind: &str, name: &str, state: &State) -> String {
    run(kind, name, state, None, &["logs", "--tail", "40", kind]).unwrap_or_default()
}

fn docker_answers() -> bool {
    let mut command = Command::new("docker");
    command.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn run(kind: &str, name: &str, state: &State, settings: Option<&Path>, arguments: &[&str]) -> Result<String> {
    let words = compose_command().context("neither `docker compose` nor `docker-compose` works")?;
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("-p").arg(format!("tailrace-lab-{kind}-{name}")).arg("-f").arg(file());
    if let Some(settings) = settings {
        command.arg("-f").arg(settings);
    }
    command.args(arguments);
    let prefix = format!("TAILRACE_{}", kind.to_uppercase());
    command.env(format!("{prefix}_PORT"), state.ports[0].to_string());
    if let Some(second) = state.ports.get(1) {
        command.env(format!("{prefix}_CONTROLLER_PORT"), second.to_string());
    }
    if kind != "kafka" {
        command.env(format!("{prefix}_OPTIONS"), spell_options(kind, &state.options));
    }
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {}", words.join(" ")))?;
    if !output.status.success() {
        bail!("{} {} failed:\n{}", words.join(" "), arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn spell_options(kind: &str, options: &[String]) -> String {
    match kind {
        "postgres" => options.iter().map(|option| format!("-c {option}")).collect::<Vec<_>>().join(" "),
        _ => options.join(" "),
    }
}

/// Kafka's image takes its settings from variables: `a.b=c` becomes `KAFKA_A_B: "c"`. For the others the file says nothing.
fn options_file(kind: &str, options: &[String]) -> String {
    let mut text = String::from("version: \"3.8\"\n");
    let settings: Vec<(&str, &str)> = options.iter().filter_map(|option| option.split_once('=')).collect();
    if kind == "kafka" && !settings.is_empty() {
        text.push_str("services:\n  kafka:\n    environment:\n");
        for (key, value) in settings {
            text.push_str(&format!("      KAFKA_{}: {value:?}\n", key.replace('.', "_").to_uppercase()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_reach_the_containers() {
        let options = ["log.segment.bytes=1048576".to_owned()];
        assert!(options_file("kafka", &options).ends_with("      KAFKA_LOG_SEGMENT_BYTES: \"1048576\"\n"));
        assert_eq!(spell_options("postgres", &["fsync=off".to_owned()]), "-c fsync=off");
        assert_eq!(spell_options("mysql", &["--sync-binlog=0".to_owned()]), "--sync-binlog=0");
    }
}
