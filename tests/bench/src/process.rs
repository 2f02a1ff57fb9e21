//! What a process used, by the kernel's own accounting.

use std::fs;

use anyhow::{Context, Result};

/// Kernel ticks a second; fixed for programs on Linux.
const TICKS: f64 = 100.0;

/// CPU seconds (user and system) of a process and its threads so far.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("reading a process's times")?;
    // The name in parentheses may hold blanks; what follows it does not.
    let fields: Vec<&str> = stat.rsplit_once(')').context("a stat line")?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).context("a stat field");
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// Resident memory of a process now, in MB (10^6 bytes).
pub(crate) fn resident_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading a process's memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is a number")?;
    Ok(kilobytes * 1024.0 / 1e6)
}

/// Resident memory over time, to see whether it grows.
#[derive(Default)]
pub(crate) struct Memory {
    samples: Vec<f64>,
}

impl Memory {
    pub(crate) fn sample(&mut self, pid: u32) -> Result<()> {
        self.samples.push(resident_mb(pid)?);
        Ok(())
    }

    pub(crate) fn max_mb(&self) -> f64 {
        self.samples.iter().copied().fold(0.0, f64::max)
    }

    /// Highest of the first third and of the last.
    pub(crate) fn thirds_mb(&self) -> (f64, f64) {
        let third = (self.samples.len() / 3).max(1).min(self.samples.len());
        let max = |part: &[f64]| part.iter().copied().fold(0.0, f64::max);
        (max(&self.samples[..third]), max(&self.samples[self.samples.len() - third..]))
    }
}
