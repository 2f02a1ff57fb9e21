//! Processes as the kernel's `/proc` shows them: who lives, who is whose child, and signals to them.
//!
//! A process is named by its id *and* its start time, because ids are used again. A zombie counts as gone once its last
//! thread is: until then it may still hold files, ports and locks.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait;

/// A process that can't be mistaken for a later one with the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Start time in clock ticks since the machine's boot.
    pub(crate) started: u64,
}

struct Stat {
    state: char,
    parent: u32,
    threads: u32,
    started: u64,
}

impl Process {
    pub(crate) fn find(pid: u32) -> Option<Process> {
        let stat = read_stat(pid)?;
        let is_gone = stat.state == 'Z' && stat.threads <= 1;
        (!is_gone).then_some(Process { pid, started: stat.started })
    }

    pub(crate) fn is_alive(self) -> bool {
        Process::find(self.pid) == Some(self)
    }

    /// Asks the process to end and waits; ends it by force when it does not obey in time.
    pub(crate) fn stop(self, signal: &str, limit: Duration) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        send(signal, &[self])?;
        if wait::until(limit, || !self.is_alive()) {
            return Ok(());
        }
        self.kill()
    }

    /// SIGKILL to the process and its children, at one moment: nobody gets a chance to save anything.
    pub(crate) fn kill(self) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        // Stopped first, so that no child is born between the look at the list and the signal.
        send("STOP", &[self])?;
        let mut family = children(self.pid);
        family.push(self);
        send("KILL", &family)?;
        if !wait::until(Duration::from_secs(20), || family.iter().all(|member| !member.is_alive())) {
            bail!("process {} did not end after SIGKILL", self.pid);
        }
        Ok(())
    }
}

fn children(pid: u32) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| read_stat(*id).is_some_and(|stat| stat.parent == pid)).filter_map(Process::find).collect()
}

/// The name in the second field may hold blanks and parentheses, so fields are counted from its end.
fn read_stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// The shell's own `kill`: every machine has it, and no system call needs unsafe code.
pub(crate) fn send(signal: &str, processes: &[Process]) -> Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "signal=$1; shift; kill -s \"$signal\" \"$@\"", "kill", signal]);
    shell.args(processes.iter().map(|process| process.pid.to_string()));
    let output = shell.output().context("running the shell's kill")?;
    let survivors = processes.iter().filter(|process| process.is_alive()).count();
    if !output.status.success() && survivors == processes.len() {
        bail!("signal {signal} was refused: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_process_and_its_child_are_gone() {
        let mut parent = Command::new("sh").args(["-c", "sleep 600 & wait"]).spawn().expect("spawning a shell");
        let process = Process::find(parent.id()).expect("the shell is alive");
        assert!(wait::until(Duration::from_secs(5), || !children(process.pid).is_empty()));
        let child = children(process.pid)[0];
        process.kill().expect("killing");
        assert!(!process.is_alive() && !child.is_alive());
        parent.wait().expect("reaping");
        assert_eq!(Process::find(process.pid), None);
    }

    #[test]
    fn a_process_id_used_again_is_another_process() {
        let me = Process::find(std::process::id()).expect("this process is alive");
        assert!(me.is_alive());
        assert!(!Process { started: me.started + 1, ..me }.is_alive());
    }
}
