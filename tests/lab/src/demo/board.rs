//! What the demo's parts tell each other and the screen: one place, written by all, read by the screen.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::SharedTally;

/// Where the demo stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Schema and processes.
    Starting,
    /// The shop is written to, processes are killed.
    Writing,
    /// Nothing is written any more; the log is applied to its end.
    Draining,
    /// Processes end in order.
    Ending,
}

/// The two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Capture,
    Apply,
}

/// Kills of one process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kills {
    pub(super) all: u32,
    /// With a transaction open in Kafka, or in the target.
    pub(super) in_flight: u32,
}

#[derive(Default)]
pub(super) struct Board {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    phase: Option<(Phase, Instant)>,
    tally: Option<SharedTally>,
    processes: [Option<u32>; 2],
    kills: [Kills; 2],
    lags: VecDeque<(Instant, Duration)>,
    note: String,
}

/// What the screen shows at one moment.
pub(super) struct View {
    pub(super) phase: Option<(Phase, Instant)>,
    pub(super) transactions: u64,
    pub(super) rollbacks: u64,
    /// Process ids; `None` while dead.
    pub(super) processes: [Option<u32>; 2],
    pub(super) kills: [Kills; 2],
    /// Of the last seconds.
    pub(super) lags: Vec<Duration>,
    pub(super) note: String,
}

impl Role {
    pub(super) const BOTH: [Role; 2] = [Role::Capture, Role::Apply];

    pub(super) fn name(self) -> &'static str {
        match self {
            Role::Capture => "capture",
            Role::Apply => "apply",
        }
    }
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Writing => "writing",
            Phase::Draining => "draining",
            Phase::Ending => "ending",
        }
    }
}

impl Board {
    pub(super) fn enter(&self, phase: Phase) {
        self.lock().phase = Some((phase, Instant::now()));
    }

    pub(super) fn watch(&self, tally: SharedTally) {
        self.lock().tally = Some(tally);
    }

    pub(super) fn note(&self, note: String) {
        self.lock().note = note;
    }

    pub(super) fn process(&self, role: Role, pid: Option<u32>) {
        self.lock().processes[role as usize] = pid;
    }

    pub(super) fn killed(&self, role: Role, is_in_flight: bool) {
        let kills = &mut self.lock().kills[role as usize];
        kills.all += 1;
        kills.in_flight += u32::from(is_in_flight);
    }

    pub(super) fn kills(&self, role: Role) -> Kills {
        self.lock().kills[role as usize]
    }

    pub(super) fn lag(&self, lag: Duration) {
        let now = Instant::now();
        let mut inner = self.lock();
        inner.lags.push_back((now, lag));
        while inner.lags.front().is_some_and(|(seen, _)| now - *seen > Duration::from_secs(5)) {
            inner.lags.pop_front();
        }
    }

    pub(super) fn view(&self) -> View {
        let inner = self.lock();
        let tally = inner.tally.as_ref();
        View {
            phase: inner.phase,
            transactions: tally.map_or(0, |tally| tally.transactions()),
            rollbacks: tally.map_or(0, |tally| tally.rollbacks()),
            processes: inner.processes,
            kills: inner.kills,
            lags: inner.lags.iter().map(|(_, lag)| *lag).collect(),
            note: inner.note.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
