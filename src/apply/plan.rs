//! What a batch of records does to the target: duplicates dropped, the last change of each key kept, grouped by table.
//!
//! An update whose image lacks columns does not replace what came before it in the batch but is merged with it: the columns
//! that it has, then those of the change before. So nothing that an earlier record told is lost (E24), and an insert and its
//! update are one whole row. What such an update can't be merged with (a delete of its key) is no history of a row and fails
//! the table.
//!
//! Cost: one hash and one probe a record, keys copied into one arena; nothing is allocated per record. Pure: no I/O, no clock.

use std::sync::Arc;

use hashbrown::HashTable;
use tailrace_contract::{
    Error, LogPartition, PartitionProgress, ProgressStep, ReadProgress, Result, RowRef, TableChanges, TableMapping,
};
use tailrace_row::{Operation, Record, RecordBatch, RecordId, RowImage, Sequence, has_changed_key, write_key};
use xxhash_rust::xxh3::xxh3_64;

use super::barriers::Ahead;

/// One partition as its worker knows it.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    /// Where its rows go.
    pub(crate) mapping: Arc<TableMapping>,
    /// What the target did already that its rows come to only now, because they are applied again.
    pub(super) ahead: Ahead,
    /// What the target holds.
    pub(crate) stored: PartitionProgress,
    /// Number of its table among the worker's: lanes of one table share keys' meaning.
    pub(crate) table: u32,
    /// Whether its table has stopped.
    pub(crate) is_stopped: bool,
}

impl Lane {
    /// The partition.
    pub(crate) fn partition(&self) -> &LogPartition {
        &self.stored.partition
    }
}

/// Memory that planning uses again for each batch.
#[derive(Default)]
pub(crate) struct Planner {
    keys: Vec<u8>,
    entries: Vec<Entry>,
    by_key: HashTable<u32>,
}

struct Entry {
    hash: u64,
    key_start: usize,
    key_end: usize,
    row: RowRef,
    schema: u32,
    lane: u32,
}

/// What to do, and what it counts.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By table.
    pub(crate) changes: Vec<TableChanges>,
    /// One step per lane that moves.
    pub(crate) progress: Vec<ProgressStep>,
    /// The lane of each step.
    pub(crate) lanes: Vec<u32>,
    /// Records dropped because they were applied before.
    pub(crate) duplicates: u64,
    /// Records that a later one of their key made needless.
    pub(crate) compacted: u64,
    /// Records applied although they had been applied once.
    pub(crate) reapplied: u64,
    /// Records whose row after lacks columns.
    pub(crate) partial: u64,
}

impl Planner {
    /// Plans a batch. Lanes whose table has stopped are left out, their progress too. Images are merged in the batch itself.
    pub(crate) fn plan(&mut self, records: &mut RecordBatch, read: &[ReadProgress], lanes: &[Lane]) -> Result<Plan> {
        self.begin(records);
        let mut plan = Plan::default();
        let mut last: Vec<Option<Sequence>> = lanes.iter().map(|lane| lane.stored.sequence).collect();
        for id in ids(records) {
            let record = &records.records()[id as usize];
            let lane = &lanes[record.lane as usize];
            if lane.is_stopped {
                continue;
            }
            let sequence = records.sequence(record);
            let last = &mut last[record.lane as usize];
            if let Some(before) = last.filter(|before| sequence.epoch < before.epoch) {
                return Err(fallen(records, record, before));
            }
            if is_duplicate(record.operation, sequence, *last) {
                plan.duplicates += 1;
                continue;
            }
            *last = (*last).max(Some(sequence));
            plan.reapplied += u64::from(lane.stored.highest.is_some_and(|highest| sequence <= highest));
            self.add_record(records, id, lane.table, &mut plan)?;
        }
        plan.changes = self.group(records, |entry| Arc::clone(&lanes[entry.lane as usize].mapping));
        for read in read {
            let lane = &lanes[read.lane as usize];
            let has_moved = lane.stored.next_offset.is_none_or(|stored| read.next_offset > stored);
            if !lane.is_stopped && has_moved {
                let sequence = last[read.lane as usize];
                plan.progress.push(ProgressStep { from: lane.stored.clone(), next_offset: read.next_offset, sequence });
                plan.lanes.push(read.lane);
            }
        }
        Ok(plan)
    }

    /// Plans a batch that comes without a log: each record is new. `tables` says for each of the batch's schemas which table
    /// of `mappings` it describes.
    pub(crate) fn plan_stream(
        &mut self,
        records: &mut RecordBatch,
        tables: &[u32],
        mappings: &[Arc<TableMapping>],
    ) -> Result<Plan> {
        self.begin(records);
        let mut plan = Plan::default();
        for id in ids(records) {
            let table = tables[records.records()[id as usize].schema as usize];
            self.add_record(records, id, table, &mut plan)?;
        }
        plan.changes = self.group(records, |entry| Arc::clone(&mappings[tables[entry.schema as usize] as usize]));
        Ok(plan)
    }

    fn begin(&mut self, records: &mut RecordBatch) {
        self.keys.clear();
        self.entries.clear();
        self.by_key.clear();
        records.clear_merged();
    }

    /// Adds what a record does, and counts it in the plan.
    fn add_record(&mut self, records: &mut RecordBatch, id: RecordId, table: u32, plan: &mut Plan) -> Result<()> {
        let record = records.records()[id as usize];
        let (before, after) = (records.before(&record), records.after(&record));
        let schema = records.schema(&record);
        let moved = matches!((before, after), (Some(before), Some(after)) if has_changed_key(schema, before, after));
        let is_partial = after.is_some_and(|after| after.is_partial());
        if is_partial && (moved || record.operation != Operation::Update) {
            return Err(unfit(records, &record, "a row of which columns are not known comes under a new key"));
        }
        plan.partial += u64::from(is_partial);
        if let (Operation::Delete, Some(before)) | (Operation::Update, Some(before)) = (record.operation, before)
            && (moved || record.operation == Operation::Delete)
        {
            let known = self.put(records, &record, (table, before), RowRef::Before(id));
            plan.compacted += u64::from(known.is_some());
        }
        if let Some(after) = after {
            let known = self.put(records, &record, (table, after), RowRef::After(id));
            if let (Some(known), true) = (known, is_partial) {
                merge(records, known, id)?;
            }
            plan.compacted += u64::from(known.is_some());
        }
        Ok(())
    }

    /// The key's last word is now `row`; returns the one before it in the batch.
    #[inline]
    fn put(
        &mut self,
        records: &RecordBatch,
        record: &Record,
        (table, image): (u32, RowImage<'_>),
        row: RowRef,
    ) -> Option<RowRef> {
        let key_start = self.keys.len();
        self.keys.extend_from_slice(&table.to_le_bytes());
        write_key(records.schema(record), image, &mut self.keys);
        let key_end = self.keys.len();
        let hash = xxh3_64(&self.keys[key_start..key_end]);
        let (keys, entries) = (&self.keys, &mut self.entries);
        let key_of = |entry: &Entry| &keys[entry.key_start..entry.key_end];
        let is_same = |index: &u32| {
            let entry = &entries[*index as usize];
            entry.hash == hash && key_of(entry) == &keys[key_start..key_end]
        };
        let entry = Entry { hash, key_start, key_end, row, schema: record.schema, lane: record.lane };
        if let Some(index) = self.by_key.find(hash, is_same).copied() {
            let known = &mut entries[index as usize];
            let earlier = known.row;
            *known = Entry { key_start: known.key_start, key_end: known.key_end, ..entry };
            self.keys.truncate(key_start);
            return Some(earlier);
        }
        let index = u32::try_from(entries.len()).expect("invariant: a batch has under 2^32 rows");
        entries.push(entry);
        self.by_key.insert_unique(hash, index, |index| entries[*index as usize].hash);
        None
    }

    /// Groups by (table, schema), in the order of the records.
    fn group(&mut self, records: &RecordBatch, mapping: impl Fn(&Entry) -> Arc<TableMapping>) -> Vec<TableChanges> {
        // A key replaced late keeps its early entry: sorted by record, row order is the log's again.
        self.entries.sort_by_key(|entry| entry.row.record());
        let mut changes: Vec<TableChanges> = Vec::new();
        let mut of_schema: Vec<Option<usize>> = vec![None; records.schemas().len()];
        for entry in &self.entries {
            let place = *of_schema[entry.schema as usize].get_or_insert_with(|| {
                changes.push(TableChanges {
                    mapping: mapping(entry),
                    schema: Arc::clone(&records.schemas()[entry.schema as usize]),
                    deletes: Vec::new(),
                    upserts: Vec::new(),
                });
                changes.len() - 1
            });
            match entry.row {
                RowRef::Before(_) => changes[place].deletes.push(entry.row),
                RowRef::After(_) => changes[place].upserts.push(entry.row),
            }
        }
        changes
    }
}

/// The batch's records by number: the batch may be changed meanwhile.
fn ids(records: &RecordBatch) -> std::ops::Range<RecordId> {
    0..RecordId::try_from(records.len()).expect("invariant: a batch has under 2^32 records")
}

/// Completes the row after a record, which lacks columns, by what the batch did to its key before.
fn merge(records: &mut RecordBatch, known: RowRef, id: RecordId) -> Result<()> {
    let why = match known {
        RowRef::After(older) if records.merge(older, id) => return Ok(()),
        RowRef::After(_) => "an update without all columns follows one of when a column had another type",
        RowRef::Before(_) => "an update without all columns follows the row's deletion",
    };
    Err(unfit(records, &records.records()[id as usize], why))
}

/// The error of a record whose image can't be made a row of.
fn unfit(records: &RecordBatch, record: &Record, why: &str) -> Error {
    Error::table_failed(records.schema(record).name().clone(), why)
        .at(records.sequence(record))
        .hint("copy the table again behind this record, and have its writers log whole rows (binlog_row_image=FULL)")
}

/// The error of a record that lies behind one of a higher epoch. Whoever begins anew begins above all that it knows of, and a log delivers
/// twice only what one epoch wrote: so it is no duplicate, and to drop it would lose it. To apply it would not do either: what
/// a barrier stands before is told by sequences.
fn fallen(records: &RecordBatch, record: &Record, before: Sequence) -> Error {
    let what = format!(
        "a record of epoch {} lies behind one of epoch {} ({before}): capture has lost its checkpoint and begun anew with a clock that \
         was behind, or something else wrote the record",
        records.sequence(record).epoch.0,
        before.epoch.0
    );
    Error::table_failed(records.schema(record).name().clone(), what)
        .at(format!("{}, offset {}", records.sequence(record), record.offset))
        .hint("set the clock of capture's machine, and begin a new log (another [log] prefix), which copies the tables again")
}

/// Whether the log delivered the record twice. Rows of a backfill carry the sequence before them, so an equal one is new (E15).
fn is_duplicate(operation: Operation, sequence: Sequence, last: Option<Sequence>) -> bool {
    match operation {
        Operation::Insert | Operation::Update | Operation::Delete => last.is_some_and(|last| sequence <= last),
        Operation::Read => last.is_some_and(|last| sequence < last),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
