//! What a running process knows of its own work: set by its parts, read by the status page. No part reads it to decide.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tailrace_contract::{Checkpoint, Error, LogPartition, PartitionProgress, PolicyUse, StreamCounts};
use tailrace_row::TableName;

/// The last error of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct LastError {
    /// When it came, in seconds since 1970.
    pub at: f64,
    /// Its kind's name.
    pub kind: &'static str,
    /// What was said of it; never a row value.
    pub text: String,
}

/// How far the history of a table is copied.
#[derive(Clone, Debug, PartialEq)]
pub struct CopyProgress {
    /// The source's table.
    pub table: TableName,
    /// In a word.
    pub state: &'static str,
    /// Why it does not go on, or what its last trouble was.
    pub reason: Option<String>,
    /// Rows that were read and need not be read again.
    pub rows_done: u64,
    /// Rows in all, by the source's statistics until they are known.
    pub rows_estimated: u64,
    /// Rows of those done that were changed while they were read, and came with their change.
    pub rows_dropped: u64,
    /// Chunks that are done.
    pub chunks: u64,
    /// Connections that read it now.
    pub readers: usize,
    /// Windows that are open on it now.
    pub windows_open: usize,
    /// Windows that came to nothing, and reads that failed, since the session began.
    pub retries: u64,
    /// Since the session began.
    pub rows_per_second: f64,
    /// Until it is done, at this rate.
    pub eta_seconds: Option<f64>,
}

/// Facts as of now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The checkpoint that was committed last, or that capture went on from.
    pub committed: Option<Checkpoint>,
    /// The next offset to apply by partition; none where nothing was ever applied.
    pub applied: BTreeMap<LogPartition, Option<i64>>,
    /// Tables that have stopped, and why.
    pub failed: BTreeMap<TableName, String>,
    /// Tables that wait for an operator at a barrier, and what is said of it.
    pub paused: BTreeMap<TableName, String>,
    /// How often a policy let a value through, by table, column and policy.
    pub policy_uses: BTreeMap<(TableName, Box<str>, &'static str), u64>,
    /// Tables whose history is copied, in the order in which they are; empty where none is. Only what is durable counts.
    pub copies: Vec<CopyProgress>,
    /// What streams of the source met beside plain changes.
    pub met: StreamCounts,
    /// What holds the copies up, and why; empty while nothing does.
    pub held: Vec<String>,
    /// The gates that do.
    pub held_by: Vec<&'static str>,
    /// Rows a second that are copied at most.
    pub rows_per_second_max: Option<u64>,
    /// The last error by stage.
    pub errors: BTreeMap<&'static str, LastError>,
}

/// The facts of one process.
#[derive(Debug, Default)]
pub struct Facts {
    known: Mutex<Known>,
}

impl Facts {
    /// A copy of all.
    #[must_use]
    pub fn known(&self) -> Known {
        self.lock().clone()
    }

    /// The checkpoint is durable.
    pub fn note_committed(&self, checkpoint: &Checkpoint) {
        self.lock().committed = Some(checkpoint.clone());
    }

    /// These partitions, and no others, are applied by this process from now on.
    pub fn note_claimed(&self, claimed: &[PartitionProgress]) {
        let applied = claimed.iter().map(|progress| (progress.partition.clone(), progress.next_offset));
        self.lock().applied = applied.collect();
    }

    /// The partition is applied up to the offset. One that is not ours any more is left out.
    pub fn note_applied(&self, partition: &LogPartition, next_offset: i64) {
        if let Some(known) = self.lock().applied.get_mut(partition) {
            *known = Some(next_offset);
        }
    }

    /// The table has stopped.
    pub fn note_failed(&self, table: &TableName, error: &Error) {
        self.lock().failed.insert(table.clone(), error.to_string());
    }

    /// These tables, and no others, wait for an operator; returns those that did before.
    pub fn note_paused(&self, paused: &[(TableName, String)]) -> Vec<TableName> {
        let mut known = self.lock();
        let before = std::mem::replace(&mut known.paused, paused.iter().cloned().collect());
        before.into_keys().collect()
    }

    /// Policies let values through.
    pub fn note_policy_uses(&self, uses: &[PolicyUse]) {
        let mut known = self.lock();
        for PolicyUse { table, column, policy, count } in uses {
            *known.policy_uses.entry((table.clone(), column.clone(), *policy)).or_default() += count;
        }
    }

    /// So far is the history of the tables copied.
    pub fn note_copies(&self, copies: Vec<CopyProgress>) {
        self.lock().copies = copies;
    }

    /// A stream of the source met something beside plain changes.
    pub fn note_met(&self, counts: &StreamCounts) {
        let mut known = self.lock();
        known.met = known.met.and(counts);
    }

    /// This holds the copies up, by gate, and why; nothing if it is empty. Returns the gates that do not any more.
    pub fn note_held(&self, gates: &[&'static str], why: Vec<String>) -> Vec<&'static str> {
        let mut known = self.lock();
        known.held = why;
        let before = std::mem::replace(&mut known.held_by, gates.to_vec());
        before.into_iter().filter(|gate| !gates.contains(gate)).collect()
    }

    /// No more rows a second are copied.
    pub fn note_rate(&self, rows_per_second_max: Option<u64>) {
        self.lock().rows_per_second_max = rows_per_second_max;
    }

    /// A stage met an error.
    pub fn note_error(&self, stage: &'static str, error: &Error) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let last = LastError { at, kind: error.kind().name(), text: error.to_string() };
        self.lock().errors.insert(stage, last);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
