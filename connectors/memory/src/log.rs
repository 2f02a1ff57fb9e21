//! The log: partitions of records, a checkpoint, a ledger, one writer at a time.
//!
//! Log transactions become visible at once, with their checkpoint. As in Kafka, offsets have holes: markers behind each
//! commit, tombstones behind deletes, the records of aborted transactions. A key change is two records, which may lie in two
//! partitions.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tailrace_contract::{
    Barrier, BarrierReader, BoxFuture, Checkpoint, Error, LedgerEntry, Log, LogPartition, LogReader, LogStart,
    OpenedWriter, PartitionEnd, PartitionEnds, Problem, Result, RowRef, SchemaChange,
};
use tailrace_row::{
    Epoch, Operation, Record, RecordBatch, RecordId, Sequence, TableName, TableSchema, has_changed_key,
    murmur2_partition,
};

use crate::{
    faults::{Call, Faults, Torn, lost},
    log_reader::{MemoryBarrierReader, MemoryLogReader},
    log_writer::MemoryLogWriter,
    news::News,
    row::{Row, copy_image, key_of},
};

/// A log in memory. Clones are the same log.
#[derive(Clone)]
pub struct MemoryLog {
    server: Arc<LogServer>,
}

/// Which offsets hold no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offsets {
    /// None: offsets count records.
    Dense,
    /// One behind each commit in each partition that it wrote, one behind each delete, and all of aborted transactions.
    WithHoles,
}

/// One committed log transaction.
#[derive(Clone, Debug)]
pub struct LogCommit {
    /// Its checkpoint; none if the transaction was torn.
    pub checkpoint: Option<Checkpoint>,
    /// The sequences of its records, in the order in which they were appended.
    pub sequences: Vec<Sequence>,
}

/// One record in the log.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// Its offset.
    pub offset: i64,
    /// What happened.
    pub operation: Operation,
    /// Its sequence.
    pub sequence: Sequence,
    /// The row before.
    pub before: Option<Row>,
    /// The row after.
    pub after: Option<Row>,
}

pub(crate) struct LogServer {
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) offsets: Offsets,
    pub(crate) state: Mutex<LogState>,
    pub(crate) committed: News,
    pub(crate) faults: Faults,
}

#[derive(Default)]
pub(crate) struct LogState {
    pub(crate) tables: BTreeMap<TableName, Vec<Partition>>,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Of the checkpoint that was forgotten last.
    pub(crate) forgotten: Option<Epoch>,
    pub(crate) ledger: BTreeMap<Box<str>, Box<str>>,
    pub(crate) commits: Vec<LogCommit>,
    pub(crate) barriers: Vec<Barrier>,
    /// The writer that may write; an older one is fenced.
    pub(crate) writer: u64,
    /// What the writer has appended since its last commit.
    pub(crate) open: RecordBatch,
    pub(crate) open_documents: Vec<LedgerEntry>,
    /// How far readers told that they have applied.
    pub(crate) reported: BTreeMap<LogPartition, i64>,
    /// Commits that are done later, after so many calls.
    pub(crate) late: Vec<(u32, LateCommit)>,
}

pub(crate) struct LateCommit {
    pub(crate) writer: u64,
    pub(crate) checkpoint: Checkpoint,
    /// The statement, where it is the commit of a barrier.
    pub(crate) change: Option<SchemaChange>,
}

/// A lane: what lies at each offset from `first` on.
#[derive(Default)]
pub(crate) struct Partition {
    pub(crate) first: i64,
    pub(crate) slots: Vec<Slot>,
    /// The barriers that records name, by their offsets.
    pub(crate) named: BTreeMap<i64, u64>,
    /// The last barrier that a record named since the writer was opened.
    announced: u64,
}

/// What lies at an offset.
#[derive(Clone)]
pub(crate) enum Slot {
    Record(Arc<RecordBatch>, RecordId),
    /// A marker, a tombstone, or a record of an aborted transaction.
    Hole,
    /// Bytes that are no record.
    Garbage,
}

impl Partition {
    pub(crate) fn end(&self) -> i64 {
        self.first + i64::try_from(self.slots.len()).expect("invariant: a log in memory is short")
    }

    /// What lies at the offset; none at the end or beyond.
    pub(crate) fn slot(&self, offset: i64) -> Option<&Slot> {
        self.slots.get(usize::try_from(offset - self.first).ok()?)
    }
}

impl LogState {
    /// Makes the first records and documents of the open transaction visible; the rest is forgotten.
    pub(crate) fn publish(&mut self, server: &LogServer, visible: Torn, checkpoint: Option<Checkpoint>) {
        for document in std::mem::take(&mut self.open_documents).into_iter().take(visible.documents) {
            note(&mut self.ledger, document);
        }
        let records = Arc::new(std::mem::take(&mut self.open));
        let mut written: BTreeMap<(TableName, u32), Vec<Slot>> = BTreeMap::new();
        let mut sequences = Vec::new();
        for (id, record) in (0..).zip(records.records()) {
            let partition = server.partition_of(&records, record);
            let slots = written.entry((records.schema(record).name().clone(), partition)).or_default();
            let is_visible = (id as usize) < visible.records;
            slots.push(if is_visible { Slot::Record(Arc::clone(&records), id) } else { Slot::Hole });
            if record.operation == Operation::Delete {
                slots.push(Slot::Hole);
            }
            if is_visible {
                sequences.push(records.sequence(record));
            }
        }
        for ((table, partition), mut slots) in written {
            match server.offsets {
                Offsets::Dense => slots.retain(|slot| !matches!(slot, Slot::Hole)),
                Offsets::WithHoles => slots.push(Slot::Hole),
            }
            let last = self.last_barrier(&table);
            let lane = &mut server.lanes(self, table)[partition as usize];
            if last > lane.announced
                && let Some(place) = slots.iter().position(|slot| matches!(slot, Slot::Record(..)))
            {
                let offset = lane.end() + i64::try_from(place).expect("invariant: a log in memory is short");
                lane.named.insert(offset, last);
                lane.announced = last;
            }
            lane.slots.extend(slots);
        }
        if checkpoint.is_some() || !sequences.is_empty() {
            self.commits.push(LogCommit { checkpoint: checkpoint.clone(), sequences });
        }
        self.checkpoint = checkpoint.or(self.checkpoint.take());
        server.committed.announce();
    }

    /// Appends a barrier with the checkpoint behind it; without one the transaction was torn.
    pub(crate) fn publish_barrier(
        &mut self,
        server: &LogServer,
        change: &SchemaChange,
        checkpoint: Option<Checkpoint>,
    ) -> u64 {
        let number = self.barriers.last().map_or(0, |last| last.number) + 1;
        let mut ends = Vec::new();
        for table in change.tables() {
            let lanes = self.tables.get(table).map_or(&[][..], Vec::as_slice);
            ends.extend((0..).zip(lanes).map(|(index, lane)| {
                let partition = LogPartition { table: table.clone(), index };
                PartitionEnd { partition, end: lane.end() }
            }));
        }
        self.barriers.push(Barrier { number, change: change.clone(), ends });
        if checkpoint.is_some() {
            self.commits.push(LogCommit { checkpoint: checkpoint.clone(), sequences: Vec::new() });
        }
        self.checkpoint = checkpoint.or(self.checkpoint.take());
        server.committed.announce();
        number
    }

    /// The number of the table's last barrier; 0 if it has none.
    fn last_barrier(&self, table: &TableName) -> u64 {
        let concerns = |barrier: &&Barrier| barrier.change.tables().contains(table);
        self.barriers.iter().rev().find(concerns).map_or(0, |barrier| barrier.number)
    }

    /// Of all that is there still.
    fn highest_epoch(&self) -> Option<Epoch> {
        let barriers = self.barriers.iter().map(|barrier| barrier.change.sequence.epoch);
        let of_slot = |slot: &Slot| match slot {
            Slot::Record(batch, id) => Some(batch.sequence(&batch.records()[*id as usize]).epoch),
            Slot::Hole | Slot::Garbage => None,
        };
        let lanes = self.tables.values().flatten();
        let records = lanes.filter_map(|lane| lane.slots.iter().rev().find_map(of_slot));
        barriers.chain(records).chain(self.forgotten).max()
    }

    /// A new writer: the first record of each partition names the last barrier of its table again (E29).
    fn forget_announced(&mut self) {
        self.tables.values_mut().flatten().for_each(|lane| lane.announced = 0);
    }
}

impl LogServer {
    /// The state as it is, for tests that look at it.
    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state for one call: commits that were delayed for so many calls are done first.
    pub(crate) fn state(&self) -> MutexGuard<'_, LogState> {
        let mut state = self.lock();
        let mut index = 0;
        while index < state.late.len() {
            state.late[index].0 = state.late[index].0.saturating_sub(1);
            if state.late[index].0 > 0 {
                index += 1;
                continue;
            }
            let (_, commit) = state.late.remove(index);
            match (commit.writer == state.writer, &commit.change) {
                (true, None) => state.publish(self, Torn::WHOLE, Some(commit.checkpoint)),
                (true, Some(change)) => {
                    state.publish_barrier(self, change, Some(commit.checkpoint));
                }
                (false, _) => {}
            }
        }
        state
    }

    pub(crate) fn lanes<'a>(&self, state: &'a mut LogState, table: TableName) -> &'a mut Vec<Partition> {
        let make = || (0..self.partitions).map(|_| Partition::default()).collect();
        state.tables.entry(table).or_insert_with(make)
    }

    fn partition_of(&self, records: &RecordBatch, record: &Record) -> u32 {
        let image = records.before(record).or_else(|| records.after(record));
        let key = image.map(|image| key_of(records.schema(record), image)).unwrap_or_default();
        murmur2_partition(&key, self.partitions)
    }
}

/// Appends a copy of each record; a key change becomes a delete and an insert.
pub(crate) fn append_copies(from: &RecordBatch, to: &mut RecordBatch) {
    let mut last_origin = None;
    for record in from.records() {
        let schema = to.add_schema(from.schema(record));
        let origin = match last_origin {
            Some((of, known)) if of == record.origin => known,
            _ => to.add_origin(from.origin(record).clone()),
        };
        last_origin = Some((record.origin, origin));
        let (before, after) = (from.before(record), from.after(record));
        let plain = Record { schema, origin, before: None, after: None, ..*record };
        let before_copy = before.map(|image| copy_image(to, image));
        let after_copy = after.map(|image| copy_image(to, image));
        let has_moved = matches!((before, after), (Some(before), Some(after)) if has_changed_key(from.schema(record), before, after));
        if has_moved {
            let second = from.sequence(record).second_half().row;
            to.push(Record { operation: Operation::Delete, before: before_copy, ..plain });
            to.push(Record { operation: Operation::Insert, after: after_copy, row: second, ..plain });
        } else {
            to.push(Record { before: before_copy, after: after_copy, ..plain });
        }
    }
}

impl MemoryLog {
    /// A log without tables.
    #[must_use]
    pub fn new(name: &str, partitions: u32, offsets: Offsets) -> Self {
        let state = Mutex::default();
        let (committed, faults) = (News::default(), Faults::default());
        Self { server: Arc::new(LogServer { name: name.to_owned(), partitions, offsets, state, committed, faults }) }
    }

    /// Its faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.server.faults
    }

    /// The last checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.server.lock().checkpoint.clone()
    }

    /// The documents of the ledger.
    #[must_use]
    pub fn ledger(&self) -> BTreeMap<Box<str>, Box<str>> {
        self.server.lock().ledger.clone()
    }

    /// Every log transaction that became visible, in order.
    #[must_use]
    pub fn commits(&self) -> Vec<LogCommit> {
        self.server.lock().commits.clone()
    }

    /// The partitions and the offset behind the last of each.
    #[must_use]
    pub fn ends(&self) -> BTreeMap<LogPartition, i64> {
        let state = self.server.lock();
        let mut ends = BTreeMap::new();
        for (table, lanes) in &state.tables {
            let of_table = (0..).zip(lanes);
            ends.extend(of_table.map(|(index, lane)| (LogPartition { table: table.clone(), index }, lane.end())));
        }
        ends
    }

    /// The barriers.
    #[must_use]
    pub fn barriers(&self) -> Vec<Barrier> {
        self.server.lock().barriers.clone()
    }

    /// The records of a partition from an offset on.
    #[must_use]
    pub fn entries(&self, partition: &LogPartition, from: i64) -> Vec<LogEntry> {
        let state = self.server.lock();
        let Some(lane) = state.tables.get(&partition.table).map(|lanes| &lanes[partition.index as usize]) else {
            return Vec::new();
        };
        let entry = |offset: i64| match lane.slot(offset)? {
            Slot::Hole | Slot::Garbage => None,
            Slot::Record(batch, id) => {
                let record = &batch.records()[*id as usize];
                Some(LogEntry {
                    offset,
                    operation: record.operation,
                    sequence: batch.sequence(record),
                    before: record.before.map(|_| Row::at(batch, RowRef::Before(*id))),
                    after: record.after.map(|_| Row::at(batch, RowRef::After(*id))),
                })
            }
        };
        (from.max(lane.first)..lane.end()).filter_map(entry).collect()
    }

    /// How far readers told that they have applied: what the log's lag tools would show.
    #[must_use]
    pub fn reported(&self) -> BTreeMap<LogPartition, i64> {
        self.server.lock().reported.clone()
    }

    /// Forgets the records of a partition below an offset.
    pub fn trim(&self, partition: &LogPartition, below: i64) {
        let mut state = self.server.lock();
        let lane = &mut self.server.lanes(&mut state, partition.table.clone())[partition.index as usize];
        let count = usize::try_from(below - lane.first).unwrap_or(0).min(lane.slots.len());
        lane.slots.drain(..count);
        lane.first = below.max(lane.first);
    }

    /// Appends bytes that are no record, as a foreign producer would; returns their offset.
    pub fn append_garbage(&self, partition: &LogPartition) -> i64 {
        let mut state = self.server.lock();
        let lane = &mut self.server.lanes(&mut state, partition.table.clone())[partition.index as usize];
        lane.slots.push(Slot::Garbage);
        let offset = lane.end() - 1;
        self.server.committed.announce();
        offset
    }
}

impl Log for MemoryLog {
    fn name(&self) -> &str {
        &self.server.name
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<Problem>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn prepare<'a>(&'a self, tables: &'a [Arc<TableSchema>]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.server.faults.enter(Call::LogPrepare).await?.answer(Call::LogPrepare)?;
            let mut state = self.server.state();
            for schema in tables {
                self.server.lanes(&mut state, schema.name().clone());
            }
            Ok(())
        })
    }

    fn open_writer(&self) -> BoxFuture<'_, Result<OpenedWriter>> {
        Box::pin(async {
            let outcome = self.server.faults.enter(Call::LogOpenWriter).await?;
            let mut state = self.server.state();
            // An older writer is fenced, and its open transaction aborted, before the checkpoint is read (E17).
            state.writer += 1;
            state.publish(&self.server, Torn::NOTHING, None);
            state.forget_announced();
            let (number, checkpoint) = (state.writer, state.checkpoint.clone());
            let epoch = if checkpoint.is_none() { state.highest_epoch() } else { None };
            drop(state);
            outcome.answer(Call::LogOpenWriter)?;
            let writer = Box::new(MemoryLogWriter::new(Arc::clone(&self.server), number));
            Ok(OpenedWriter { writer, checkpoint, epoch })
        })
    }

    fn partitions<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<Vec<LogPartition>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::LogPartitions).await?.answer(Call::LogPartitions)?;
            let state = self.server.state();
            let mut partitions = Vec::new();
            for (table, lanes) in state.tables.iter().filter(|(table, _)| tables.contains(table)) {
                partitions.extend((0..).zip(lanes).map(|(index, _)| LogPartition { table: table.clone(), index }));
            }
            Ok(partitions)
        })
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<TableName>>> {
        Box::pin(async {
            self.server.faults.enter(Call::LogTables).await?.answer(Call::LogTables)?;
            Ok(self.server.state().tables.keys().cloned().collect())
        })
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<Option<Checkpoint>>> {
        Box::pin(async {
            self.server.faults.enter(Call::LogCheckpoint).await?.answer(Call::LogCheckpoint)?;
            Ok(self.server.state().checkpoint.clone())
        })
    }

    fn ledger(&self) -> BoxFuture<'_, Result<Vec<LedgerEntry>>> {
        Box::pin(async {
            self.server.faults.enter(Call::LogLedger).await?.answer(Call::LogLedger)?;
            // What is still to be decided is waited for: so many calls pass.
            while !self.server.lock().late.is_empty() {
                drop(self.server.state());
            }
            Ok(entries(&self.server.state().ledger))
        })
    }

    fn ends<'a>(&'a self, partitions: &'a [LogPartition]) -> BoxFuture<'a, Result<Vec<PartitionEnds>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::LogEnds).await?.answer(Call::LogEnds)?;
            let state = self.server.state();
            let find = |partition: &LogPartition| {
                let lane = state.tables.get(&partition.table).and_then(|lanes| lanes.get(partition.index as usize));
                let lane = lane.ok_or_else(|| Error::position_lost(format!("there is no partition {partition}")))?;
                Ok(PartitionEnds { partition: partition.clone(), oldest: lane.first, end: lane.end() })
            };
            partitions.iter().map(find).collect()
        })
    }

    fn forget_checkpoint(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let outcome = self.server.faults.enter(Call::LogForgetCheckpoint).await?;
            let mut state = self.server.state();
            if let Some(checkpoint) = &state.checkpoint {
                state.forgotten = Some(checkpoint.epoch);
                // Whoever writes is fenced, and what it left open is aborted, as by a writer.
                state.writer += 1;
                state.publish(&self.server, Torn::NOTHING, None);
                state.checkpoint = None;
            }
            drop(state);
            outcome.answer(Call::LogForgetCheckpoint)
        })
    }

    fn open_barriers(&self) -> BoxFuture<'_, Result<Box<dyn BarrierReader>>> {
        Box::pin(async {
            self.server.faults.enter(Call::LogOpenBarriers).await?.answer(Call::LogOpenBarriers)?;
            Ok(Box::new(MemoryBarrierReader::new(&self.server)) as Box<dyn BarrierReader>)
        })
    }

    fn open_reader<'a>(&'a self, from: &'a [(LogPartition, LogStart)]) -> BoxFuture<'a, Result<Box<dyn LogReader>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::LogOpenReader).await?.answer(Call::LogOpenReader)?;
            Ok(Box::new(MemoryLogReader::open(&self.server, from)?) as Box<dyn LogReader>)
        })
    }
}

/// Replaces a document, or forgets it.
pub(crate) fn note(ledger: &mut BTreeMap<Box<str>, Box<str>>, entry: LedgerEntry) {
    match entry.value {
        Some(value) => drop(ledger.insert(entry.key, value)),
        None => drop(ledger.remove(&entry.key)),
    }
}

/// The documents, as they are read.
pub(crate) fn entries(ledger: &BTreeMap<Box<str>, Box<str>>) -> Vec<LedgerEntry> {
    ledger.iter().map(|(key, value)| LedgerEntry { key: key.clone(), value: Some(value.clone()) }).collect()
}

/// The error after a commit whose outcome the writer can't know.
pub(crate) fn commit_lost() -> Error {
    lost(Call::LogCommit)
}
