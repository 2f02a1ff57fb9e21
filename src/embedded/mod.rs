//! The embedded form, for a configuration without `[log]`: the changes of a source go straight into the target, in one process.
//!
//! Why no change is lost or doubled:
//!
//! 1. The checkpoint lies in the target and is saved in the transaction of the rows that it covers: both are durable together
//!    or not at all. A crash before the commit leaves neither, and the source is read again from the last one.
//! 2. It is saved by compare-and-swap on (saves, owner), and each session claims the stream and begins at the checkpoint that
//!    the claim returned. So a process that lost the stream, or whose commit had an unknown outcome, can't write. The claim
//!    comes after all that may fail: who can't read the source fences nobody. A process that was superseded ends.
//! 3. One lane: batches are written in the order of the source, one after another, and a batch keeps for each key what its
//!    last record says. So every key ends as the source says.
//! 4. Where there is no checkpoint, the start position is saved before the first change is read.
//! 5. One checkpoint serves all tables, so a table that the target refuses stops the others with it: going on without it
//!    would lose its changes.
//!
//! 6. The checkpoint says what it covers: a table that it does not, and that Tailrace wrote before, is refused as a gap.
//!
//! A batch ends where its limits fall, also inside a transaction of the source; the checkpoint then says up to which record.
//!
//! The tests that fail without it: `every_embedded_run_moves_every_change` of tests/sim; the `embedded` ones of the
//! end-to-end tests.

mod begin;
mod follow;
mod session;
mod tenure;

use std::{sync::Arc, time::Duration};

use tailrace_contract::{Error, ErrorKind, Result, Sink, Source, StartAt, TableFilter};

pub(crate) use begin::begin_at;
use tenure::Tenure;

use crate::{
    apply::ApplyLimits,
    mapping::TableRules,
    runtime::{Backoff, Health, PartState, Shutdown},
    telemetry::{Metrics, TableLabel},
    windows::Desk,
};

/// The name under which it reports its health and counts its errors.
pub const PART: &str = "embedded";

/// Source to target, until asked to stop.
pub struct Embedded {
    /// Where changes come from.
    pub source: Arc<dyn Source>,
    /// Where rows go.
    pub sink: Arc<dyn Sink>,
    /// The name under which the target keeps the checkpoint.
    pub stream: String,
    /// Which tables.
    pub filter: Arc<TableFilter>,
    /// Which table goes where.
    pub rules: TableRules,
    /// Where to begin if the target holds no checkpoint.
    pub start: StartAt,
    /// Where those who copy rows meet us; none if nobody does.
    pub desk: Option<Desk>,
    /// Sizes of a batch.
    pub limits: ApplyLimits,
    /// How often the checkpoint is saved when only other tables change.
    pub idle_interval: Duration,
    /// Whether target tables with rows that Tailrace did not write are accepted.
    pub allow_existing: bool,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where to report.
    pub health: Arc<Health>,
    /// Who asks to stop.
    pub shutdown: Shutdown,
}

impl Embedded {
    /// Runs sessions until asked to stop, or until an error that does not pass by itself.
    pub async fn run(&self) -> Result<()> {
        let mut backoff = Backoff::new();
        let mut tenure = Tenure::default();
        loop {
            self.health.set(PART, PartState::Starting);
            let error = match self.session(&mut backoff, &mut tenure).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.metrics.count_error(PART, &error);
            if error.kind() != ErrorKind::Transient {
                let error = self.with_consequence(error);
                self.health.set(PART, PartState::Failed(error.to_string()));
                return Err(error);
            }
            let wait = backoff.next_wait();
            tracing::warn!(%error, tries = backoff.tries(), ?wait, "the embedded form waits and tries again");
            self.health.set(PART, PartState::Waiting(error.to_string()));
            self.metrics.capture.reconnects.inc();
            self.metrics.apply.in_flight_records.set(0);
            if self.shutdown.wait(wait).await {
                return Ok(());
            }
        }
    }

    /// Where there are other tables, says what one that has failed does to them.
    fn with_consequence(&self, error: Error) -> Error {
        match error.table() {
            Some(table) if error.kind() == ErrorKind::TableFailed => {
                self.metrics.apply.table_failed.get_or_create(&TableLabel { table: table.to_string() }).set(1);
                error.context("without a log one checkpoint serves all tables, so all stop with this one")
            }
            _ => error,
        }
    }
}
