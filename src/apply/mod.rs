//! Apply: the records of the log go into the target, in log order by key, exactly once in effect.
//!
//! Why every change arrives and none twice:
//!
//! 1. A partition is read from the offset that the target holds, and the offset moves in the target transaction of the rows:
//!    rows and offset are durable together or not at all. What the log client knows of offsets plays no part.
//! 2. The offset moves by compare-and-swap on (offset, owner), and each session claims its partitions with a new owner
//!    first. So a process that lost its partitions, or whose commit had an unknown outcome, can't write: it reads the
//!    progress again.
//! 3. All records of a key lie in one partition, one worker reads a partition, and a batch keeps for each key what its last
//!    record says. So a key ends as the log says.
//! 4. A record whose sequence was applied by this partition already (the log tore a transaction and delivered it twice) is
//!    dropped. The sequence lies beside the offset and is set back with it, so that a rewind applies everything again.
//! 5. A statement that changes a table of the source happens to the target's between what lies before it and what lies behind it:
//!    `barriers` has the argument.
//! 6. A table that the target refuses stops alone: its offsets stay where they are, the others go on.
//!
//! The tests that fail without it: `every_run_moves_every_change_exactly_once` of tests/sim; `kills`, `rewind` and
//! `table_stops` of the end-to-end tests.

pub(crate) mod admission;
mod barriers;
mod meeting;
pub(crate) mod plan;
mod session;
pub(crate) mod worker;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tailrace_contract::{BatchLimits, Error, ErrorKind, Log, Result, Sink};
use tailrace_row::TableName;

use crate::{
    mapping::TableRules,
    runtime::{Backoff, Health, PartState, Shutdown},
    telemetry::{Metrics, TableLabel},
};

/// The name under which apply reports its health and counts its errors.
pub const PART: &str = "apply";

/// Sizes of apply.
#[derive(Clone, Copy, Debug)]
pub struct ApplyLimits {
    /// Connections to the target; partitions are dealt out among them.
    pub workers: usize,
    /// Most records of one target transaction.
    pub batch_records_max: usize,
    /// Most bytes of row images of one target transaction.
    pub batch_bytes_max: usize,
    /// How often the log is asked for new tables.
    pub discovery_interval: Duration,
}

impl ApplyLimits {
    pub(crate) fn batch(&self) -> BatchLimits {
        BatchLimits {
            bytes_max: self.batch_bytes_max,
            records_max: self.batch_records_max,
            wait_max: Duration::from_millis(250),
        }
    }
}

/// Log to target, until asked to stop.
pub struct Apply {
    /// Where records come from.
    pub log: Arc<dyn Log>,
    /// Where rows go.
    pub sink: Arc<dyn Sink>,
    /// Which table goes where.
    pub rules: TableRules,
    /// Sizes.
    pub limits: ApplyLimits,
    /// Whether target tables with rows that Tailrace did not write are accepted.
    pub allow_existing: bool,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where to report.
    pub health: Arc<Health>,
    /// Who asks to stop.
    pub shutdown: Shutdown,
    /// Tables that have stopped, with their reasons.
    pub failed: FailedTables,
}

impl Apply {
    /// Runs sessions until asked to stop, until an error that does not pass by itself, or until every table has stopped.
    pub async fn run(&self) -> Result<()> {
        let mut backoff = Backoff::new();
        loop {
            self.health.set(PART, PartState::Starting);
            let error = match self.session(&mut backoff).await {
                Ok(Ended::NewTable) if !self.shutdown.is_requested() => continue,
                Ok(Ended::Asked | Ended::NewTable) => return self.failed.first_error(),
                Ok(Ended::NoTableLeft) => {
                    self.health.set(PART, PartState::Failed("every table has stopped".into()));
                    return self.failed.first_error();
                }
                Err(error) => error,
            };
            self.metrics.count_error(PART, &error);
            if error.kind() != ErrorKind::Transient {
                self.health.set(PART, PartState::Failed(error.to_string()));
                return Err(error);
            }
            let wait = backoff.next_wait();
            tracing::warn!(%error, tries = backoff.tries(), ?wait, "apply waits and tries again");
            self.health.set(PART, PartState::Waiting(error.to_string()));
            self.metrics.apply.reconnects.inc();
            self.metrics.apply.in_flight_records.set(0);
            if self.shutdown.wait(wait).await {
                return self.failed.first_error();
            }
        }
    }

    /// Stops one table: named once in the log, in the metrics and in the health.
    fn fail_table(&self, error: Error) {
        let Some(table) = error.table().cloned() else { return };
        if self.failed.contains(&table) {
            return;
        }
        self.metrics.count_error(PART, &error);
        tracing::error!(%error, "the table stops; the others go on");
        self.health.set(PART, PartState::Degraded(error.to_string()));
        self.metrics.apply.table_failed.get_or_create(&TableLabel { table: table.to_string() }).set(1);
        self.metrics.facts.note_failed(&table, &error);
        self.failed.add(table, error);
    }
}

/// How a session ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// Somebody asked.
    Asked,
    /// The log has a table that the session does not know.
    NewTable,
    /// Every table has stopped.
    NoTableLeft,
}

/// Tables that have stopped, until the process is started again.
#[derive(Clone, Debug, Default)]
pub struct FailedTables {
    tables: Arc<Mutex<BTreeMap<TableName, Error>>>,
}

impl FailedTables {
    fn add(&self, table: TableName, error: Error) {
        self.tables().entry(table).or_insert(error);
    }

    fn contains(&self, table: &TableName) -> bool {
        self.tables().contains_key(table)
    }

    fn names(&self) -> Vec<TableName> {
        self.tables().keys().cloned().collect()
    }

    /// What the health shows while others go on: the first table's error; none if all tables go on.
    fn first_text(&self) -> Option<String> {
        self.tables().first_key_value().map(|(_, error)| error.to_string())
    }

    /// The error of the first table, for the exit code and the last line of the log. Only for the end: it is taken out.
    fn first_error(&self) -> Result<()> {
        let mut tables = self.tables();
        let count = tables.len();
        match tables.pop_first() {
            None => Ok(()),
            Some((_, error)) if count == 1 => Err(error),
            Some((_, error)) => Err(error.context(format!("{count} tables have stopped, the first"))),
        }
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<TableName, Error>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
