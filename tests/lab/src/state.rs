//! What is written down about a server: its engine, ports, options and process. One `key=value` a line in its folder.
//!
//! Written through a new file and a rename, so that a reader sees the old or the new state and never half of one.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::compose::Engine;
use crate::process_table::Process;

const FILE: &str = "state";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) engine: Engine,
    /// The first one is the clients'.
    pub(crate) ports: Vec<u16>,
    pub(crate) options: Vec<String>,
    /// Of a native server that was started and not seen to end.
    pub(crate) process: Option<Process>,
}

impl State {
    pub(crate) fn load(folder: &Path) -> Result<Option<State>> {
        let path = folder.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => State::parse(&text)
                .map(Some)
                .with_context(|| format!("{} is not readable: delete its folder", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let new = folder.join("state.new");
        fs::write(&new, self.print()).with_context(|| format!("writing {}", new.display()))?;
        fs::rename(&new, folder.join(FILE)).with_context(|| format!("renaming {}", new.display()))
    }

    /// Ports of all servers below a folder, running or not: a killed one wants its port again.
    pub(crate) fn taken_ports(servers: &Path) -> Result<Vec<u16>> {
        let mut taken = Vec::new();
        for entry in fs::read_dir(servers).context("reading the folder of servers")?.flatten() {
            if let Some(state) = State::load(&entry.path())? {
                taken.extend(state.ports);
            }
        }
        Ok(taken)
    }

    fn print(&self) -> String {
        let mut text = format!("engine={}\n", self.engine.word());
        for port in &self.ports {
            text.push_str(&format!("port={port}\n"));
        }
        for option in &self.options {
            text.push_str(&format!("option={option}\n"));
        }
        if let Some(Process { pid, started }) = self.process {
            text.push_str(&format!("process={pid} {started}\n"));
        }
        text
    }

    fn parse(text: &str) -> Result<State> {
        let mut state = State { engine: Engine::Native, ports: Vec::new(), options: Vec::new(), process: None };
        for line in text.lines() {
            let (key, value) = line.split_once('=').with_context(|| format!("line without a key: {line}"))?;
            match key {
                "engine" => state.engine = Engine::parse(value).with_context(|| format!("unknown engine {value}"))?,
                "port" => state.ports.push(value.parse().context("a port is a number")?),
                "option" => state.options.push(value.to_owned()),
                "process" => {
                    let (pid, started) = value.split_once(' ').context("a process is an id and a start time")?;
                    state.process = Some(Process { pid: pid.parse()?, started: started.parse()? });
                }
                unknown => anyhow::bail!("unknown key {unknown}"),
            }
        }
        anyhow::ensure!(!state.ports.is_empty(), "no port");
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_back() {
        let state = State {
            engine: Engine::Native,
            ports: vec![21000, 21001],
            options: vec!["--sync-binlog=0".to_owned(), "a=b=c".to_owned()],
            process: Some(Process { pid: 7, started: 99 }),
        };
        assert_eq!(State::parse(&state.print()).expect("parsing"), state);
        assert!(State::parse("engine=native\n").is_err(), "a state without a port names no server");
    }
}
