//! The target: tables by name and key, and progress that moves with their rows.
//!
//! It checks what it is promised: a key at most once in a batch, no use of a writer after an unknown outcome. A caller that
//! breaks a promise gets an error of kind `Corrupt`, which no engine takes for a fault of the world.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tailrace_contract::{
    BoxFuture, Capabilities, Encounter, Error, LedgerEntry, LogPartition, Meeting, Owner, PartitionProgress, Problem,
    Result, Severity, Sink, SinkWriter, StoredMeeting, StreamCheckpoint, StreamProgress, TableMapping, TableReader,
    TargetState, TargetTable,
};
use tailrace_row::{Sequence, TableName, TableSchema};

use crate::{
    faults::{Call, Faults, Outcome, lost},
    log::entries,
    meeting::{self, KnownMeeting, MeetingKey, OwnedEncounter},
    row::Row,
    sink_writer::{MemorySinkWriter, OwnedBatch},
    table_reader::{Held, MemoryTableReader},
};

/// Rows by the bytes of their keys.
pub type Rows = BTreeMap<Vec<u8>, Row>;

/// What a target holds, at one moment.
#[derive(Clone, Debug)]
pub struct SinkSnapshot {
    /// Rows of all tables.
    pub tables: BTreeMap<TargetTable, Rows>,
    /// How far the log's partitions are applied.
    pub progress: Vec<PartitionProgress>,
    /// Tables and statements behind which they have gone on.
    pub met: BTreeSet<(TableName, Sequence)>,
}

/// A target in memory. Clones are the same target.
#[derive(Clone)]
pub struct MemorySink {
    server: Arc<SinkServer>,
}

pub(crate) struct SinkServer {
    pub(crate) name: String,
    state: Mutex<SinkState>,
    pub(crate) faults: Faults,
}

#[derive(Default)]
pub(crate) struct SinkState {
    pub(crate) tables: BTreeMap<TargetTable, SinkTable>,
    pub(crate) progress: BTreeMap<(String, LogPartition), PartitionProgress>,
    pub(crate) streams: BTreeMap<String, StreamProgress>,
    /// Documents by their keys, of each stream.
    pub(crate) ledgers: BTreeMap<String, BTreeMap<Box<str>, Box<str>>>,
    pub(crate) meetings: BTreeMap<MeetingKey, KnownMeeting>,
    owners: i64,
    pub(crate) commits: u64,
    /// What is done later, after so many calls.
    pub(crate) late: Vec<(u32, Late)>,
}

/// A call whose answer nobody waits for any more.
pub(crate) enum Late {
    Batch(Box<OwnedBatch>),
    Meeting(Box<OwnedEncounter>),
}

/// One table of the target.
pub(crate) struct SinkTable {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) rows: Rows,
    is_adopted: bool,
    /// Keys of rows that it refuses to hold.
    pub(crate) refused: BTreeSet<Vec<u8>>,
}

impl SinkServer {
    fn lock(&self) -> MutexGuard<'_, SinkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state for one call: what was delayed for so many calls are done first, or fail as they would have.
    pub(crate) fn state(&self) -> MutexGuard<'_, SinkState> {
        let mut state = self.lock();
        let mut index = 0;
        while index < state.late.len() {
            state.late[index].0 = state.late[index].0.saturating_sub(1);
            if state.late[index].0 > 0 {
                index += 1;
                continue;
            }
            // Nobody waits for the answer any more.
            let _ = match state.late.remove(index).1 {
                Late::Batch(batch) => batch.execute(&mut state).map(drop),
                Late::Meeting(encounter) => encounter.execute(&mut state).map(drop),
            };
        }
        state
    }
}

impl MemorySink {
    /// A target without tables.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let state = Mutex::default();
        Self { server: Arc::new(SinkServer { name: name.to_owned(), state, faults: Faults::default() }) }
    }

    /// Its faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.server.faults
    }

    /// Makes an empty table for rows of the schema, if there is none of that name; tells whether it was missing.
    pub fn add_table(&self, schema: &Arc<TableSchema>, target: &TargetTable) -> bool {
        let mut state = self.server.lock();
        let is_missing = !state.tables.contains_key(target);
        state.tables.entry(target.clone()).or_insert_with(|| SinkTable {
            schema: Arc::clone(schema),
            rows: BTreeMap::new(),
            is_adopted: false,
            refused: BTreeSet::new(),
        });
        is_missing
    }

    /// The rows of a table by key.
    #[must_use]
    pub fn rows(&self, table: &TargetTable) -> Rows {
        self.server.lock().tables.get(table).map(|table| table.rows.clone()).unwrap_or_default()
    }

    /// What it holds of a log at this moment.
    #[must_use]
    pub fn snapshot(&self, log: &str) -> SinkSnapshot {
        let state = self.server.lock();
        let known = state.progress.iter().filter(|((name, _), _)| name == log);
        let meetings = meeting::of_log(&state, log).into_iter().filter(|known| known.paused.is_none());
        SinkSnapshot {
            tables: state.tables.iter().map(|(name, table)| (name.clone(), table.rows.clone())).collect(),
            progress: known.map(|(_, progress)| progress.clone()).collect(),
            met: meetings.map(|known| (known.table, known.sequence)).collect(),
        }
    }

    /// How far the partitions of a log are applied.
    #[must_use]
    pub fn progress(&self, log: &str) -> Vec<PartitionProgress> {
        let state = self.server.lock();
        state.progress.iter().filter(|((name, _), _)| name == log).map(|(_, progress)| progress.clone()).collect()
    }

    /// How many transactions were committed.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.server.lock().commits
    }

    /// Sets progress back (or forth) by hand, as an operator would.
    pub fn set_progress(
        &self,
        log: &str,
        partition: &LogPartition,
        next_offset: Option<i64>,
        sequence: Option<Sequence>,
    ) {
        if let Some(known) = self.server.lock().progress.get_mut(&(log.to_owned(), partition.clone())) {
            (known.next_offset, known.sequence) = (next_offset, sequence);
        }
    }

    /// A stream as the target holds it.
    #[must_use]
    pub fn stream(&self, stream: &str) -> Option<StreamProgress> {
        self.server.lock().streams.get(stream).cloned()
    }

    /// The documents of a stream's ledger.
    #[must_use]
    pub fn ledger(&self, stream: &str) -> BTreeMap<Box<str>, Box<str>> {
        self.server.lock().ledgers.get(stream).cloned().unwrap_or_default()
    }

    /// Sets a stream's checkpoint back by hand, as an operator would.
    pub fn set_checkpoint(&self, stream: &str, checkpoint: &StreamCheckpoint) {
        if let Some(known) = self.server.lock().streams.get_mut(stream) {
            known.checkpoint = Some(checkpoint.clone());
        }
    }

    /// Puts a row into a table behind everybody's back.
    pub fn put_row(&self, table: &TargetTable, row: Row) {
        if let Some(table) = self.server.lock().tables.get_mut(table) {
            table.rows.insert(row.key(), row);
        }
    }

    /// Takes a row out of a table behind everybody's back.
    pub fn remove_row(&self, table: &TargetTable, key: &[u8]) {
        if let Some(table) = self.server.lock().tables.get_mut(table) {
            table.rows.remove(key);
        }
    }

    /// From now on the table refuses to hold a row of that key.
    pub fn refuse_row(&self, table: &TargetTable, key: Vec<u8>) {
        if let Some(table) = self.server.lock().tables.get_mut(table) {
            table.refused.insert(key);
        }
    }

    /// All rows are welcome again.
    pub fn refuse_nothing(&self) {
        self.server.lock().tables.values_mut().for_each(|table| table.refused.clear());
    }
}

impl Sink for MemorySink {
    fn capabilities(&self) -> Capabilities {
        Capabilities { has_atomic_progress: true, has_versioned_writes: false }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async { Ok(format!("memory target {}", self.server.name)) })
    }

    fn check<'a>(&'a self, tables: &'a [TableMapping]) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(async move {
            let state = self.server.lock();
            let missing = tables.iter().filter(|mapping| !state.tables.contains_key(&mapping.target));
            let problem = |mapping: &TableMapping| Problem {
                code: "target_table",
                severity: Severity::Error,
                object: mapping.target.to_string(),
                found: "no such table".into(),
                needed: format!("a table for the rows of {}", mapping.source),
                mend: None,
            };
            Ok(missing.map(problem).collect())
        })
    }

    fn check_table<'a>(
        &'a self,
        _schema: &'a TableSchema,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Vec<Problem>>> {
        self.check(std::slice::from_ref(mapping))
    }

    fn create_statements(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<String>> {
        if schema.key().is_empty() {
            return Err(Error::table_failed(schema.name().clone(), "the table has no key")
                .hint("add a primary key, or a unique key of columns that are not null"));
        }
        let columns: Vec<&str> = schema.columns().iter().map(|column| &*column.name).collect();
        Ok(vec![format!("table {} ({})", mapping.target, columns.join(", "))])
    }

    fn create_table<'a>(&'a self, schema: &'a TableSchema, mapping: &'a TableMapping) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SinkCreateTable).await?.answer(Call::SinkCreateTable)?;
            self.create_statements(schema, mapping)?;
            Ok(self.add_table(&Arc::new(schema.clone()), &mapping.target))
        })
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { self.server.faults.enter(Call::SinkPrepare).await?.answer(Call::SinkPrepare) })
    }

    fn columns<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<Option<Vec<Box<str>>>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SinkTableState).await?.answer(Call::SinkTableState)?;
            let state = self.server.state();
            let names = |table: &SinkTable| table.schema.columns().iter().map(|column| column.name.clone()).collect();
            Ok(state.tables.get(&mapping.target).map(names))
        })
    }

    fn table_state<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<TargetState>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SinkTableState).await?.answer(Call::SinkTableState)?;
            Ok(match self.server.state().tables.get(&mapping.target) {
                None => TargetState::Missing,
                Some(table) if table.rows.is_empty() => TargetState::Empty,
                Some(table) if table.is_adopted => TargetState::Known,
                Some(_) => TargetState::Foreign,
            })
        })
    }

    fn adopt_table<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let outcome = self.server.faults.enter(Call::SinkAdoptTable).await?;
            match self.server.state().tables.get_mut(&mapping.target) {
                Some(table) => table.is_adopted = true,
                None => return Err(Error::table_failed(mapping.source.clone(), "the target table does not exist")),
            }
            outcome.answer(Call::SinkAdoptTable)
        })
    }

    fn claim<'a>(
        &'a self,
        log: &'a str,
        partitions: &'a [LogPartition],
    ) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        Box::pin(async move {
            let outcome = self.server.faults.enter(Call::SinkClaim).await?;
            let mut state = self.server.state();
            state.owners += 1;
            let owner = Owner(state.owners);
            let claim = |partition: &LogPartition| {
                let new = PartitionProgress {
                    partition: partition.clone(),
                    next_offset: None,
                    sequence: None,
                    highest: None,
                    owner,
                };
                let known = state.progress.entry((log.to_owned(), partition.clone())).or_insert(new);
                known.owner = owner;
                known.clone()
            };
            let claimed = partitions.iter().map(claim).collect();
            outcome.answer(Call::SinkClaim)?;
            Ok(claimed)
        })
    }

    fn claim_stream<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamProgress>> {
        Box::pin(async move {
            let outcome = self.server.faults.enter(Call::SinkClaim).await?;
            let mut state = self.server.state();
            state.owners += 1;
            let owner = Owner(state.owners);
            let new = StreamProgress { checkpoint: None, saves: 0, owner };
            let known = state.streams.entry(stream.to_owned()).or_insert(new);
            known.owner = owner;
            let claimed = known.clone();
            outcome.answer(Call::SinkClaim)?;
            Ok(claimed)
        })
    }

    fn stream_progress<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<StreamProgress>>> {
        Box::pin(async move { Ok(self.server.lock().streams.get(stream).cloned()) })
    }

    fn ledger<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Vec<LedgerEntry>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SinkLedger).await?.answer(Call::SinkLedger)?;
            Ok(self.server.state().ledgers.get(stream).map(entries).unwrap_or_default())
        })
    }

    fn progress<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SinkProgress).await?.answer(Call::SinkProgress)?;
            let state = self.server.state();
            let of_log = state.progress.iter().filter(|((name, _), _)| name == log);
            Ok(of_log.map(|(_, progress)| progress.clone()).collect())
        })
    }

    fn meet<'a>(&'a self, encounter: Encounter<'a>) -> BoxFuture<'a, Result<Meeting>> {
        Box::pin(async move {
            let owned = OwnedEncounter::copy(encounter);
            let outcome = self.server.faults.enter(Call::SinkMeet).await?;
            let mut state = self.server.state();
            match outcome {
                Outcome::Answered => owned.execute(&mut state),
                Outcome::Lost => owned.execute(&mut state).and_then(|_| Err(lost(Call::SinkMeet))),
                Outcome::Late(calls) => {
                    state.late.push((calls, Late::Meeting(Box::new(owned))));
                    Err(lost(Call::SinkMeet))
                }
                Outcome::Torn(_) => Err(lost(Call::SinkMeet)),
            }
        })
    }

    fn meetings<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SinkMeetings).await?.answer(Call::SinkMeetings)?;
            Ok(meeting::of_log(&self.server.state(), log))
        })
    }

    fn resume<'a>(&'a self, log: &'a str, table: &'a TableName) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        Box::pin(async move {
            let outcome = self.server.faults.enter(Call::SinkResume).await?;
            let resumed = meeting::resume(&mut self.server.state(), log, table);
            outcome.answer(Call::SinkResume)?;
            Ok(resumed)
        })
    }

    fn reopen<'a>(&'a self, log: &'a str, table: &'a TableName, change: Sequence) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let outcome = self.server.faults.enter(Call::SinkReopen).await?;
            self.server.state().meetings.remove(&(log.to_owned(), table.clone(), change));
            outcome.answer(Call::SinkReopen)
        })
    }

    fn forget<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let outcome = self.server.faults.enter(Call::SinkForget).await?;
            let mut state = self.server.state();
            state.progress.retain(|(name, _), _| name != log);
            state.meetings.retain(|(name, ..), _| name != log);
            state.ledgers.remove(log);
            state.owners += 1;
            let owner = Owner(state.owners);
            if let Some(stream) = state.streams.get_mut(log) {
                *stream = StreamProgress { checkpoint: None, saves: stream.saves + 1, owner };
            }
            drop(state);
            outcome.answer(Call::SinkForget)
        })
    }

    fn open_writer<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Box<dyn SinkWriter>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SinkOpenWriter).await?.answer(Call::SinkOpenWriter)?;
            Ok(Box::new(MemorySinkWriter::new(Arc::clone(&self.server), log)) as Box<dyn SinkWriter>)
        })
    }

    fn open_reader<'a>(
        &'a self,
        schema: Arc<TableSchema>,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Box<dyn TableReader>>> {
        Box::pin(async move {
            mapping.check_readable()?;
            MemoryTableReader::open(Held::BySink(Arc::clone(&self.server), mapping.target.clone()), schema).await
        })
    }
}
