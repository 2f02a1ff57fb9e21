//! Capture: the changes of a source go into the log, each exactly once, with the checkpoint from which a restart goes on.
//!
//! Why no change is lost or doubled:
//!
//! 1. Capture is the only log writer: opening the writer fences an older one, and only then is the checkpoint read (E17), so
//!    no late commit of an older capture can follow the checkpoint we start from.
//! 2. Records and the checkpoint that covers exactly them are committed in one log transaction. A crash before the commit
//!    leaves neither, a crash after it leaves both; which of the two it was is read from the log itself on restart.
//! 3. The checkpoint lies at a transaction boundary of the source. For a transaction too big for one log transaction it
//!    also holds the last sequence that is in the log; the stream skips what is not after it.
//! 4. Where there is no checkpoint, the start position is committed before the first change is read: "now" means the same
//!    moment after a crash.
//! 5. A statement that changes tables is committed by itself, as a barrier with the checkpoint behind it, when all before it is
//!    committed: so the ends that the barrier names part exactly what lies before it from what lies behind.
//! 6. Tables of which changes are missing may begin anew, at a barrier of their own (`renewal`).
//! 7. After any error the session ends: what was not committed is forgotten, a new writer, a new stream, the log's
//!    checkpoint. Nothing in memory outlives a session, so there is no other path to think about.
//!
//! The tests that fail without it: `every_run_moves_every_change_exactly_once` of tests/sim; `kills` and `huge_transaction`
//! of the end-to-end tests.

pub(crate) mod boundary;
pub(crate) mod pump;
pub(crate) mod renewal;
mod session;
pub(crate) mod start;

use std::{sync::Arc, time::Duration};

use tailrace_contract::{BatchLimits, Error, ErrorKind, Log, Result, Source, StartAt, TableFilter};

use crate::{
    mapping::TableRules,
    runtime::{Backoff, Health, PartState, Shutdown},
    telemetry::Metrics,
    windows::Desk,
};

/// The name under which capture reports its health and counts its errors.
pub const PART: &str = "capture";

/// When a log transaction ends at the latest.
#[derive(Clone, Copy, Debug)]
pub struct CommitLimits {
    /// Bytes of row images. A source transaction beyond it is split.
    pub bytes_max: usize,
    /// Records; bounds what consumers must hold back until they see the commit.
    pub records_max: usize,
    /// Age; well below the broker's transaction timeout (E18).
    pub age_max: Duration,
    /// How often the checkpoint is committed when only other tables change.
    pub idle_interval: Duration,
}

impl Default for CommitLimits {
    fn default() -> Self {
        Self {
            bytes_max: 64 << 20,
            records_max: 200_000,
            age_max: Duration::from_secs(5),
            idle_interval: Duration::from_secs(2),
        }
    }
}

/// What one read of the stream may bring.
const READ_LIMITS: BatchLimits =
    BatchLimits { bytes_max: 2 << 20, records_max: 20_000, wait_max: Duration::from_millis(250) };

/// Source to log, until asked to stop.
pub struct Capture {
    /// Where changes come from.
    pub source: Arc<dyn Source>,
    /// Where they go.
    pub log: Arc<dyn Log>,
    /// Which tables.
    pub filter: Arc<TableFilter>,
    /// Which of them are copied.
    pub rules: TableRules,
    /// Where to begin if the log holds no checkpoint.
    pub start: StartAt,
    /// Where those who copy rows meet us; none if nobody does.
    pub desk: Option<Desk>,
    /// When to commit.
    pub limits: CommitLimits,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where to report.
    pub health: Arc<Health>,
    /// Who asks to stop.
    pub shutdown: Shutdown,
}

impl Capture {
    /// Runs sessions until asked to stop, or until an error that does not pass by itself.
    pub async fn run(&self) -> Result<()> {
        let mut backoff = Backoff::new();
        loop {
            self.health.set(PART, PartState::Starting);
            let error = match self.session(&mut backoff).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.metrics.count_error(PART, &error);
            if error.kind() != ErrorKind::Transient {
                self.health.set(PART, PartState::Failed(error.to_string()));
                return Err(error);
            }
            if self.wait_to_retry(&mut backoff, &error).await {
                return Ok(());
            }
        }
    }

    /// Waits before the next session; tells whether we were asked to stop meanwhile.
    async fn wait_to_retry(&self, backoff: &mut Backoff, error: &Error) -> bool {
        let wait = backoff.next_wait();
        tracing::warn!(%error, tries = backoff.tries(), ?wait, "capture waits and tries again");
        self.health.set(PART, PartState::Waiting(error.to_string()));
        self.metrics.capture.reconnects.inc();
        self.metrics.capture.in_flight_records.set(0);
        self.shutdown.wait(wait).await
    }
}
