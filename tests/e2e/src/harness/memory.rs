//! Memory of a process over time, from `/proc`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const INTERVAL: Duration = Duration::from_millis(100);

/// Samples a process until asked, or until it ends.
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Samples>,
}

/// Kilobytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    /// Resident, in the order of time.
    pub(crate) resident: Vec<u64>,
    /// The most that was ever resident.
    pub(crate) peak: u64,
}

impl Sampler {
    pub(crate) fn start(pid: u32) -> Sampler {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        Sampler { stop, thread: std::thread::spawn(move || sample(pid, &is_over)) }
    }

    pub(crate) fn end(self) -> Result<Samples> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().ok().context("the thread that samples memory")
    }
}

fn sample(pid: u32, is_over: &AtomicBool) -> Samples {
    let mut samples = Samples::default();
    while let Some((resident, peak)) = read(pid) {
        samples.resident.push(resident);
        samples.peak = peak;
        if lab::wait::until(INTERVAL, || is_over.load(Ordering::SeqCst)) {
            break;
        }
    }
    samples
}

impl Samples {
    /// The middle values of the first and of the last third. A peak is a coincidence of full buffers, and bounded on its own;
    /// what leaks stays, and raises every sample after it.
    pub(crate) fn thirds(&self) -> Result<(u64, u64)> {
        let third = self.resident.len() / 3;
        ensure!(third >= 10, "only {} samples: nothing to compare", self.resident.len());
        Ok((middle(&self.resident[..third]), middle(&self.resident[self.resident.len() - third..])))
    }
}

fn middle(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn read(pid: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    };
    Some((field("VmRSS:")?, field("VmHWM:")?))
}
