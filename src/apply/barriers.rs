//! The barriers of a session: what its workers and its watch know of them together.
//!
//! Why a statement changes a table of the target exactly between what lies before it and what lies behind it:
//!
//! 1. The reader stops a lane before the first record behind a barrier, because that record names it. It is released only when
//!    the table has no barrier up to that one left to be done, as far as the control topic goes, which by then holds the one that
//!    is named: it was committed before the record.
//! 2. Whether all partitions of the table are there the target says, in the transaction that carries the act out and marks it
//!    done; what is known here only saves asking too early. So it does not matter which process owns which partition.
//! 3. Barriers of a table are done in the order of their numbers.
//! 4. A meeting that is done stays done, but for one thing: where all partitions of a table were set back behind a TRUNCATE,
//!    it is held again, or rows that it deleted would come back. Where only some were, the table stops: what the others hold
//!    from behind it would be lost. Acts on columns say how the table is afterwards and are not repeated; rows from before
//!    them, applied again, are given the columns that the target has by now (`Ahead`).
//!
//! The tests that fail without it: `every_run_moves_every_change_exactly_once` of tests/sim, whose sources truncate, with the
//! defect `NoStopAtBarriers`; `f23_truncate` of the end-to-end tests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tailrace_contract::{Barrier, ColumnStep, DdlPolicy, LogPartition, PartitionProgress, TableAct, TableMapping};
use tailrace_row::{TableName, TableSchema};
use tokio::{sync::Notify, time::Instant};

use crate::mapping::projection::Names;

/// See the module.
#[derive(Default)]
pub(super) struct Board {
    state: Mutex<State>,
    /// Something came that the watch may act upon.
    pub(super) news: Notify,
}

#[derive(Default)]
struct State {
    /// The highest number that was read.
    known: u64,
    /// The highest number that a record named.
    named: u64,
    tables: BTreeMap<TableName, OfTable>,
}

#[derive(Default)]
struct OfTable {
    /// By number.
    undone: BTreeMap<u64, Undone>,
    /// How far our partitions are applied.
    stored: BTreeMap<LogPartition, i64>,
}

#[derive(Clone)]
struct Undone {
    barrier: Arc<Barrier>,
    /// Since when a partition of ours stands there.
    since: Option<Instant>,
    /// Why the table waits for an operator, if so.
    paused: Option<String>,
}

/// A barrier that all partitions of ours have reached.
#[derive(Clone)]
pub(super) struct Reached {
    pub(super) table: TableName,
    pub(super) barrier: Arc<Barrier>,
    /// Why the table waits for an operator, if it did when it was last asked.
    pub(super) paused: Option<String>,
}

impl Board {
    /// A partition of ours is applied up to the offset.
    pub(super) fn note_stored(&self, partition: &LogPartition, next_offset: i64) {
        let mut state = self.lock();
        let of_table = state.tables.entry(partition.table.clone()).or_default();
        of_table.stored.insert(partition.clone(), next_offset);
        if of_table.note_standing() {
            self.news.notify_one();
        }
    }

    /// What was read of the log; `is_undone` says for which of its tables it is to be done.
    pub(super) fn add(&self, barrier: Barrier, is_undone: impl Fn(&TableName) -> bool) {
        let barrier = Arc::new(barrier);
        let mut state = self.lock();
        state.known = state.known.max(barrier.number);
        for table in barrier.change.tables() {
            if !is_undone(table) {
                continue;
            }
            let of_table = state.tables.entry(table.clone()).or_default();
            let undone = Undone { barrier: Arc::clone(&barrier), since: None, paused: None };
            of_table.undone.insert(barrier.number, undone);
            of_table.note_standing();
        }
    }

    /// A lane stands before a record that names the barrier.
    pub(super) fn note_named(&self, number: u64) {
        let mut state = self.lock();
        state.named = state.named.max(number);
        self.news.notify_one();
    }

    /// Whether a record named a barrier that was not read yet.
    pub(super) fn misses_any(&self) -> bool {
        let state = self.lock();
        state.named > state.known
    }

    /// Whether lanes of the table may pass the barrier.
    pub(super) fn is_open(&self, table: &TableName, number: u64) -> bool {
        let state = self.lock();
        let has_undone = |of: &OfTable| of.undone.first_key_value().is_some_and(|(first, _)| *first <= number);
        number <= state.known && !state.tables.get(table).is_some_and(has_undone)
    }

    /// Whether some table is on its way to a barrier, so that every step towards it should be told soon.
    pub(super) fn is_awaited(&self) -> bool {
        self.lock().tables.values().any(|of| of.undone.values().any(|undone| undone.paused.is_none()))
    }

    /// Whether the table waits for an operator.
    pub(super) fn is_paused(&self, table: &TableName) -> bool {
        let first = |of: &OfTable| of.undone.first_key_value().is_some_and(|(_, undone)| undone.paused.is_some());
        self.lock().tables.get(table).is_some_and(first)
    }

    /// The first barrier of each table, if all our partitions have reached it.
    pub(super) fn reached(&self) -> Vec<Reached> {
        let state = self.lock();
        let first = |(table, of): (&TableName, &OfTable)| {
            let (_, undone) = of.undone.first_key_value()?;
            let barrier = Arc::clone(&undone.barrier);
            let paused = undone.paused.clone();
            of.is_there(&barrier).then(|| Reached { table: table.clone(), barrier, paused })
        };
        state.tables.iter().filter_map(first).collect()
    }

    /// The barrier is done; tells since when a partition of ours stood there.
    pub(super) fn finish(&self, table: &TableName, number: u64) -> Option<Instant> {
        let mut state = self.lock();
        let of_table = state.tables.get_mut(table)?;
        let done = of_table.undone.remove(&number);
        of_table.note_standing();
        done?.since
    }

    /// The table waits for an operator at its first barrier.
    pub(super) fn pause(&self, table: &TableName, number: u64, why: &str) {
        let mut state = self.lock();
        let undone = state.tables.get_mut(table).and_then(|of| of.undone.get_mut(&number));
        if let Some(undone) = undone {
            undone.paused = Some(why.to_owned());
        }
    }

    /// Tables that wait for an operator, and why; and how many more stand at a barrier.
    pub(super) fn waiting(&self) -> (Vec<(TableName, Arc<Barrier>, String)>, usize) {
        let state = self.lock();
        let first = |of: &OfTable| of.undone.first_key_value().map(|(_, undone)| undone.clone());
        let mut paused = Vec::new();
        let mut standing = 0;
        for (table, undone) in state.tables.iter().filter_map(|(table, of)| Some((table, first(of)?))) {
            match undone.paused {
                Some(why) => paused.push((table.clone(), undone.barrier, why)),
                None => standing += usize::from(undone.since.is_some()),
            }
        }
        (paused, standing)
    }

    /// The last barrier to be done that a lane which begins at the offset has behind it: it stands at once.
    pub(super) fn holds(&self, partition: &LogPartition, next_offset: i64) -> Option<u64> {
        let state = self.lock();
        let of_table = state.tables.get(&partition.table)?;
        let is_behind =
            |barrier: &Barrier| barrier.ends.iter().any(|end| end.partition == *partition && end.end <= next_offset);
        of_table.undone.values().rev().find(|undone| is_behind(&undone.barrier)).map(|undone| undone.barrier.number)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OfTable {
    /// Whether all our partitions have reached the barrier. Those of others the target knows.
    fn is_there(&self, barrier: &Barrier) -> bool {
        barrier.ends.iter().all(|end| self.stored.get(&end.partition).is_none_or(|stored| *stored >= end.end))
    }

    /// Notes the first partition at the first barrier; tells whether all of ours are there.
    fn note_standing(&mut self) -> bool {
        let Some((_, first)) = self.undone.first_key_value() else { return false };
        let barrier = Arc::clone(&first.barrier);
        let stands = |end: &tailrace_contract::PartitionEnd| {
            self.stored.get(&end.partition).is_some_and(|stored| *stored >= end.end)
        };
        let is_begun = barrier.ends.iter().any(stands);
        let is_there = self.is_there(&barrier);
        if let Some(mut first) = self.undone.first_entry()
            && is_begun
        {
            first.get_mut().since.get_or_insert_with(Instant::now);
        }
        is_there
    }
}

/// What a barrier that was done once means for a table whose partitions were set back, all or some.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Nothing: no partition has rows from before it left to apply, or it leaves nothing to do.
    No,
    /// It is to be held again.
    Yes,
    /// It can't be, because this partition has rows from behind it.
    Impossible(LogPartition),
}

/// Judges a meeting that is done by all partitions of the table, as the target holds them.
pub(super) fn again(barrier: &Barrier, mapping: &TableMapping, progress: &[PartitionProgress]) -> Again {
    let is_of_table = |act: &&TableAct| *act.table() == mapping.source;
    let is_renewed = barrier.change.acts.iter().filter(is_of_table).any(|act| matches!(act, TableAct::Renew { .. }));
    let is_emptied = barrier.change.acts.iter().filter(is_of_table).any(|act| matches!(act, TableAct::Truncate { .. }));
    if !is_renewed && !is_emptied {
        return Again::No;
    }
    let of_table = || progress.iter().filter(|known| known.partition.table == mapping.source);
    let is_set_back = |known: &PartitionProgress| {
        let end = barrier.ends.iter().find(|end| end.partition == known.partition);
        end.is_some_and(|end| known.next_offset.unwrap_or(0) < end.end)
    };
    if !of_table().any(is_set_back) {
        return Again::No;
    }
    match of_table().find(|known| known.sequence > Some(barrier.change.sequence)) {
        // The table was not emptied by us, and will not be.
        Some(_) if !is_renewed && !matches!(mapping.on_ddl, DdlPolicy::Evolve | DdlPolicy::EvolveSwaps) => Again::No,
        Some(beyond) => Again::Impossible(beyond.partition.clone()),
        None => Again::Yes,
    }
}

/// What became of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Since {
    /// It has another name now.
    Renamed(Box<str>),
    /// It is gone: its values go nowhere.
    Dropped,
}

/// What became of the columns of rows that are applied again.
#[derive(Clone, Debug, Default)]
pub(super) struct Ahead {
    /// Barriers that are done and lie ahead of the lane, by number: what each did to columns.
    steps: Vec<(u64, Vec<ColumnStep>)>,
}

impl Ahead {
    /// Adds a barrier that is done, if it lies ahead of the lane and changes names of columns; in the order of numbers.
    pub(super) fn add(&mut self, barrier: &Barrier, stored: &PartitionProgress, mapping: &TableMapping) {
        let is_ahead = |end: &tailrace_contract::PartitionEnd| {
            end.partition == stored.partition && stored.next_offset.unwrap_or(0) < end.end
        };
        if mapping.on_ddl == DdlPolicy::Ignore || !barrier.ends.iter().any(is_ahead) {
            return;
        }
        let of_table = barrier.change.acts.iter().filter_map(|act| match act {
            TableAct::Alter { table, steps } if *table == mapping.source => Some(steps.as_slice()),
            TableAct::Alter { .. }
            | TableAct::Truncate { .. }
            | TableAct::Rename { .. }
            | TableAct::Drop { .. }
            | TableAct::Create { .. }
            | TableAct::Renew { .. }
            | TableAct::Other { .. } => None,
        });
        let steps: Vec<ColumnStep> = of_table.flatten().cloned().collect();
        if !steps.is_empty() {
            self.steps.push((barrier.number, steps));
        }
    }

    /// Whether the lane's rows are as the target is.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The lane has come to that barrier: what lies behind it has its columns.
    pub(super) fn pass(&mut self, number: u64) {
        self.steps.retain(|(ahead, _)| *ahead > number);
    }

    /// The columns of rows before all these barriers, by the names that they have in the target.
    pub(super) fn names(&self, schema: &TableSchema) -> Option<Names> {
        if self.steps.is_empty() {
            return None;
        }
        let since = self.since();
        let name = |column: &tailrace_row::Column| match since.get(&column.name) {
            Some(Since::Dropped) => None,
            Some(Since::Renamed(name)) => Some(name.clone()),
            None => Some(column.name.clone()),
        };
        Some(schema.columns().iter().map(name).collect())
    }

    fn since(&self) -> BTreeMap<Box<str>, Since> {
        let mut since: BTreeMap<Box<str>, Since> = BTreeMap::new();
        for step in self.steps.iter().flat_map(|(_, steps)| steps) {
            let (column, now) = match step {
                ColumnStep::Drop { column } => (column, Since::Dropped),
                ColumnStep::Rename { column, to } => (column, Since::Renamed(to.clone())),
                ColumnStep::Add { .. } | ColumnStep::Change { .. } => continue,
            };
            let renamed = since.iter_mut().find(|(_, known)| **known == Since::Renamed(column.clone()));
            match renamed {
                Some((_, known)) => *known = now,
                // A name that is taken already is the name of another column, made since.
                None => {
                    since.entry(column.clone()).or_insert(now);
                }
            }
        }
        since
    }
}

#[cfg(test)]
#[path = "barriers_tests.rs"]
mod tests;
