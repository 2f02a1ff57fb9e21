//! Ends the process at a named point, as `kill -9` would, or holds it up there, when a test asks for it; only in builds with feature `faults`.
//!
//! `TAILRACE_FAULT=point:count` names `reset.half`, `capture.barrier_before` or one of the connectors' points (`kafka.produced`,
//! `kafka.commit_sent`, `kafka.committed`, `postgres.commit_sent`, `postgres.committed`, `sqlite.commit_sent`, `sqlite.committed`; at
//! barriers `kafka.barrier_produced`, `kafka.barrier_committed`, and of both targets `barrier_acting`, `barrier_commit_sent` and
//! `barrier_committed`; of copies `backfill.window_open`, `backfill.chunk_read`, `backfill.closing`, `capture.chunk_appended`,
//! `capture.rows_appended`) and how often it must be reached. Without the variable nothing happens. Nothing is flushed, closed or told to
//! anybody: that is the point of it.
//!
//! `TAILRACE_FAULT=point:count:FILE` holds up who reaches the point for as long as the file is there, and says so in the log: then a
//! test can do something else to what is under way.
//!
//! `TAILRACE_FLAW=mysql.no_wait` leaves out what a chunk's view waits for, on a replica too, so that a test sees what the wait is for.

use std::{
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tailrace_contract::{Error, Result, fault};

const VARIABLE: &str = "TAILRACE_FAULT";
const FLAW_VARIABLE: &str = "TAILRACE_FLAW";
const HOLD_PAUSE: Duration = Duration::from_millis(10);

struct Fault {
    point: String,
    count: u64,
    reached: AtomicU64,
    /// Holds up whoever reaches the point; without it the process dies there.
    gate: Option<PathBuf>,
}

static FAULT: OnceLock<Fault> = OnceLock::new();

/// Arms the fault and plants the flaw that the environment names. To be called once, before anything is connected.
pub fn install() -> Result<()> {
    if let Ok(flaw) = std::env::var(FLAW_VARIABLE) {
        tracing::warn!(flaw, "this process works wrong on purpose: {FLAW_VARIABLE} is set");
        fault::plant(flaw);
    }
    let Some(text) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let armed = text.to_str().and_then(parse).ok_or_else(|| {
        Error::refused(format!("{VARIABLE} names no fault")).hint("write point:count, for instance kafka.produced:3")
    })?;
    tracing::warn!(point = armed.point, count = armed.count, gate = ?armed.gate,
        "this process will kill itself, or be held up: {VARIABLE} is set");
    FAULT.get_or_init(|| armed);
    fault::install(on_point);
    Ok(())
}

fn parse(text: &str) -> Option<Fault> {
    let (point, rest) = text.split_once(':')?;
    let (count, gate) = rest.split_once(':').map_or((rest, None), |(count, gate)| (count, Some(PathBuf::from(gate))));
    let count = count.parse().ok().filter(|count| *count > 0)?;
    (!point.is_empty()).then(|| Fault { point: point.to_owned(), count, reached: AtomicU64::new(0), gate })
}

fn on_point(name: &'static str) {
    let Some(fault) = FAULT.get() else { return };
    if name == fault.point && fault.reached.fetch_add(1, Ordering::SeqCst) + 1 == fault.count {
        match &fault.gate {
            None => die(),
            Some(gate) => hold(name, gate),
        }
    }
}

fn hold(name: &'static str, gate: &Path) {
    tracing::warn!(point = name, "held up for as long as the file is there");
    while gate.exists() {
        std::thread::park_timeout(HOLD_PAUSE);
    }
}

fn die() -> ! {
    // It can't fail for our own process; if it did the test would see that the process lives.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    // The signal may reach another thread first: this one must not pass the point meanwhile.
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_point_and_a_count() {
        let fault = parse("kafka.produced:3").unwrap();
        assert_eq!((fault.point.as_str(), fault.count, fault.gate), ("kafka.produced", 3, None));
        let fault = parse("kafka.produced:3:/gates/a:b").unwrap();
        assert_eq!((fault.count, fault.gate), (3, Some("/gates/a:b".into())));
        for bad in ["", "kafka.produced", "kafka.produced:", "kafka.produced:0", "kafka.produced:-1", ":1"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
