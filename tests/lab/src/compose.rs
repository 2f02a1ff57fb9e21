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
            let Ok(wish) = std::env::var("TAILRACE_LAB_ENGINE") else { return Engine::find() };
            Engine::parse(&wish).unwrap_or_else(|| {
                crate::say(&format!(
                    "TAILRACE_LAB_ENGINE={wish} is neither native nor compose: what is found is taken"
                ));
                Engine::find()
            })
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
    if kind == "kafka" {
        fs::write(&settings, options_file(&state.options))
            .with_context(|| format!("writing {}", settings.display()))?;
    }
    run(kind, name, state, (kind == "kafka").then_some(&settings), &["up", "-d", kind]).map(drop)
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
    run(kind, name, state, None, &["logs", "--no-color", kind]).unwrap_or_default()
}

/// The words that run a command inside an instance's container.
pub(crate) fn inside(kind: &str, name: &str) -> Result<Vec<String>> {
    let words = compose_command().context("neither `docker compose` nor `docker-compose` works")?;
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.extend(["-p".to_owned(), project(kind, name), "-f".to_owned(), file().display().to_string()]);
    words.extend(["exec", "-T", kind].map(str::to_owned));
    Ok(words)
}

fn project(kind: &str, name: &str) -> String {
    format!("tailrace-lab-{kind}-{name}")
}

fn docker_answers() -> bool {
    let mut command = Command::new("docker");
    command.arg("info").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn run(kind: &str, name: &str, state: &State, settings: Option<&PathBuf>, arguments: &[&str]) -> Result<String> {
    let words = compose_command().context("neither `docker compose` nor `docker-compose` works")?;
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("-p").arg(project(kind, name)).arg("-f").arg(file());
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

/// Kafka's image takes its settings from variables: `a.b=c` becomes `KAFKA_A_B: "c"`.
fn options_file(options: &[String]) -> String {
    let mut text = String::from("services:\n  kafka:\n    environment:\n      TAILRACE_LAB: \"1\"\n");
    for (key, value) in options.iter().filter_map(|option| option.split_once('=')) {
        text.push_str(&format!("      {}: {value:?}\n", variable(key)));
    }
    text
}

fn variable(setting: &str) -> String {
    format!("KAFKA_{}", setting.replace('.', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Containers and native servers must behave alike, so each setting of the native ones stands in the file too.
    #[test]
    fn the_file_has_the_native_settings() {
        let text = fs::read_to_string(file()).expect("reading docker-compose.yml");
        let only_native = ["--bind-address", "--socket", "--pid-file", "--secure-file-priv"];
        let mysql =
            crate::mysql::SETTINGS.iter().filter(|setting| !only_native.iter().any(|name| setting.starts_with(name)));
        for setting in mysql {
            assert!(text.contains(&format!(" {setting}\n")), "{setting} is missing");
        }
        let only_native = ["--bind-address", "--socket", "--pid-file", "--plugin-maturity"];
        let mariadb =
            crate::mariadb::SETTINGS.iter().filter(|setting| !only_native.iter().any(|name| setting.starts_with(name)));
        for setting in mariadb {
            assert!(text.contains(&format!(" {setting}\n")), "{setting} is missing");
        }
        let only_native = ["listen_addresses", "unix_socket_directories"];
        let postgres = crate::postgres::SETTINGS
            .iter()
            .filter(|setting| !only_native.iter().any(|name| setting.starts_with(name)));
        for setting in postgres {
            assert!(text.contains(&format!(" -c {setting}\n")), "{setting} is missing");
        }
        let kafka = crate::kafka::SETTINGS
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='));
        for (key, value) in kafka {
            let (name, found) = (variable(key), text.replace('"', ""));
            assert!(found.contains(&format!(" {name}: {value}\n")), "{name}: {value} is missing");
        }
        for password in [crate::ADMIN_PASSWORD, crate::ports::MYSQL_MAIN.to_string().as_str()] {
            assert!(text.contains(password));
        }
    }

    #[test]
    fn options_reach_the_containers() {
        let options = ["log.segment.bytes=1048576".to_owned()];
        assert!(options_file(&options).ends_with("      KAFKA_LOG_SEGMENT_BYTES: \"1048576\"\n"));
        assert_eq!(spell_options("postgres", &["fsync=off".to_owned()]), "-c fsync=off");
        assert_eq!(spell_options("mysql", &["--sync-binlog=0".to_owned()]), "--sync-binlog=0");
    }
}
