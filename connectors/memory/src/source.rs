//! The source: tables and a binlog that a test writes and streams follow.
//!
//! A position is `name:count`, the number of transactions executed; `/n` behind it counts heartbeats, which mean nothing, as
//! a rotation of files means nothing. A place is a file and an offset in it. A position beyond the binlog, or before what was purged, or of another name, is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tailrace_contract::{
    BoxFuture, ChangeStream, Checkpoint, ChunkReader, Error, Position, Problem, Result, Source, SourcePlace,
    SourceState, StartAt, TableFilter, TableReader,
};
use tailrace_row::{TableName, TableSchema};

use crate::{
    binlog::{Binlog, BinlogTransaction, MemoryTransaction, SourceTable, Stall},
    chunk_reader::MemoryChunkReader,
    faults::{Call, Faults},
    news::News,
    sink::Rows,
    stream::MemoryStream,
    table_reader::{Held, MemoryTableReader},
};

/// Decides how many records the next read of a stream brings at most; 0 stands for a silent source.
pub(crate) type Pieces = Box<dyn FnMut() -> usize + Send>;

/// A database with a scripted binlog. Clones are the same server.
#[derive(Clone)]
pub struct MemorySource {
    server: Arc<SourceServer>,
}

pub(crate) struct SourceServer {
    pub(crate) name: String,
    /// What its binlog's files have in common.
    pub(crate) series: Arc<str>,
    pub(crate) binlog: Mutex<Binlog>,
    pub(crate) committed: News,
    pub(crate) pieces: Mutex<Option<Pieces>>,
    pub(crate) problems: Mutex<Vec<Problem>>,
    pub(crate) faults: Faults,
}

impl SourceServer {
    pub(crate) fn binlog(&self) -> MutexGuard<'_, Binlog> {
        self.binlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn position(&self, transactions: usize) -> Position {
        Position::new(&format!("{}:{transactions}", self.name))
    }

    /// The same place after so many heartbeats.
    pub(crate) fn position_after(&self, transactions: usize, heartbeats: u64) -> Position {
        match heartbeats {
            0 => self.position(transactions),
            _ => Position::new(&format!("{}:{transactions}/{heartbeats}", self.name)),
        }
    }

    /// Somebody calls the server.
    pub(crate) fn pass_call(&self) {
        self.binlog().pass_call();
    }

    /// Where the binlog ends.
    pub(crate) fn end(&self) -> SourcePlace {
        let binlog = self.binlog();
        let count = binlog.transactions.len();
        binlog.place(&self.series, count, binlog.files_at(count))
    }

    /// How many transactions the position counts; an error if it is of another source.
    pub(crate) fn transactions_of(&self, position: &Position) -> Result<usize> {
        let counts = position.as_str().strip_prefix(&self.name).and_then(|rest| rest.strip_prefix(':'));
        let count = counts.and_then(|counts| counts.split('/').next()?.parse().ok());
        let lost = || Error::position_lost(format!("{}: the position is of another source", self.name)).at(position);
        count.ok_or_else(lost)
    }

    /// How many transactions were executed at the position; an error if the binlog does not continue it.
    pub(crate) fn transactions_at(&self, position: &Position) -> Result<usize> {
        let lost = |why: &str| Err(Error::position_lost(format!("{}: {why}", self.name)).at(position));
        let count = self.transactions_of(position)?;
        let binlog = self.binlog();
        if count < binlog.purged {
            return lost("the transactions after the position were purged");
        }
        if count > binlog.transactions.len() {
            return lost("the source has not executed all of the position");
        }
        Ok(count)
    }

    pub(crate) fn next_piece(&self) -> usize {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map_or(usize::MAX, |next| next())
    }
}

impl MemorySource {
    /// A source without tables.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            server: Arc::new(SourceServer {
                name: name.to_owned(),
                series: format!("{name}-bin").into(),
                binlog: Mutex::default(),
                committed: News::default(),
                pieces: Mutex::default(),
                problems: Mutex::default(),
                faults: Faults::default(),
            }),
        }
    }

    /// Its faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.server.faults
    }

    /// Makes a table without rows.
    pub fn create_table(&self, schema: TableSchema) -> Arc<TableSchema> {
        let schema = Arc::new(schema);
        let table = SourceTable { schema: Arc::clone(&schema), rows: Rows::new() };
        self.server.binlog().make_table(table);
        schema
    }

    /// Commits a transaction; it may be empty, as those of other databases seem to be.
    pub fn commit(&self, transaction: MemoryTransaction) {
        self.server.binlog().commit(&self.server.name, transaction);
        self.server.committed.announce();
    }

    /// Empties a table by a statement of its own.
    pub fn truncate(&self, table: &TableName) {
        self.server.binlog().truncate(&self.server.name, table);
        self.server.committed.announce();
    }

    /// From now on a transaction that is committed stays so long invisible to readers, and unexecuted.
    pub fn stall(&self, stall: Stall) {
        self.server.binlog().stall = stall;
    }

    /// Shows readers all that is committed.
    pub fn make_visible(&self) {
        self.server.binlog().make_visible();
    }

    /// Counts all that is visible as executed.
    pub fn make_executed(&self) {
        self.server.binlog().make_executed();
    }

    /// How many transactions readers see.
    #[must_use]
    pub fn visible(&self) -> usize {
        self.server.binlog().visible()
    }

    /// How many transactions count as executed.
    #[must_use]
    pub fn executed(&self) -> usize {
        self.server.binlog().executed()
    }

    /// The place in the binlog behind so many transactions.
    #[must_use]
    pub fn place_behind(&self, transactions: usize) -> SourcePlace {
        let binlog = self.server.binlog();
        binlog.place(&self.server.series, transactions, binlog.files_at(transactions))
    }

    /// Begins a new file of the binlog, which streams hear of when they read on.
    pub fn rotate(&self) {
        self.server.binlog().rotate();
        self.server.committed.announce();
    }

    /// The rows of a table by key, visible or not.
    #[must_use]
    pub fn rows(&self, table: &TableName) -> Rows {
        self.server.binlog().tables.get(table).map(|table| table.rows.clone()).unwrap_or_default()
    }

    /// The whole binlog, purged or not.
    #[must_use]
    pub fn transactions(&self) -> Vec<Arc<BinlogTransaction>> {
        self.server.binlog().transactions.clone()
    }

    /// Forgets the oldest transactions, so many in all.
    pub fn purge(&self, transactions: usize) {
        self.server.binlog().purged = transactions;
    }

    /// Before each read of a stream `next` says how many records it brings at most, so that batches end anywhere; 0 stands
    /// for a source that stays silent for the whole wait.
    pub fn deliver_by(&self, next: impl FnMut() -> usize + Send + 'static) {
        *self.server.pieces.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(next));
    }

    /// What `check` finds.
    pub fn set_problems(&self, problems: Vec<Problem>) {
        *self.server.problems.lock().unwrap_or_else(PoisonError::into_inner) = problems;
    }
}

impl Source for MemorySource {
    fn check<'a>(&'a self, _filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(async { Ok(self.server.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()) })
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(async { Ok(format!("memory source {}", self.server.name)) })
    }

    fn position<'a>(&'a self, start: &'a StartAt) -> BoxFuture<'a, Result<Position>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SourcePosition).await?.answer(Call::SourcePosition)?;
            let (executed, purged) = {
                let mut binlog = self.server.binlog();
                binlog.pass_call();
                (binlog.executed(), binlog.purged)
            };
            match start {
                StartAt::Now => Ok(self.server.position(executed)),
                StartAt::Earliest => Ok(self.server.position(purged)),
                StartAt::At(text) => {
                    let position = Position::new(text);
                    self.server.transactions_at(&position).map(|_| position)
                }
                StartAt::Since(_) => Err(Error::refused("this source has no clock")),
            }
        })
    }

    fn state<'a>(&'a self, from: Option<&'a Position>) -> BoxFuture<'a, Result<SourceState>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SourceState).await?.answer(Call::SourceState)?;
            let at = from.map(|from| self.server.transactions_at(from)).transpose()?;
            self.server.pass_call();
            let executed = self.server.binlog().executed();
            Ok(SourceState {
                server: "memory".to_owned(),
                end: self.server.position(executed),
                place: Some(self.server.end()),
                bytes_behind: None,
                transactions_behind: at.map(|at| executed.saturating_sub(at) as u64),
            })
        })
    }

    fn tables<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Arc<TableSchema>>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SourceTables).await?.answer(Call::SourceTables)?;
            let binlog = self.server.binlog();
            let matching = |name: &&TableName| filter.matches(&name.database, &name.table);
            Ok(binlog.tables.keys().filter(matching).map(|name| Arc::clone(&binlog.tables[name].schema)).collect())
        })
    }

    fn has_rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SourceHasRows).await?.answer(Call::SourceHasRows)?;
            self.server.pass_call();
            Ok(self.server.binlog().shown(table).is_some_and(|table| !table.rows.is_empty()))
        })
    }

    fn open<'a>(
        &'a self,
        from: &'a Checkpoint,
        filter: Arc<TableFilter>,
    ) -> BoxFuture<'a, Result<Box<dyn ChangeStream>>> {
        Box::pin(async move {
            self.server.faults.enter(Call::SourceOpen).await?.answer(Call::SourceOpen)?;
            let stream = MemoryStream::open(&self.server, from, filter)?;
            Ok(Box::new(stream) as Box<dyn ChangeStream>)
        })
    }

    fn open_chunks(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ChunkReader>>> {
        Box::pin(async { Ok(Box::new(MemoryChunkReader::open(&self.server, schema).await?) as Box<dyn ChunkReader>) })
    }

    fn open_reader(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>> {
        Box::pin(MemoryTableReader::open(Held::BySource(Arc::clone(&self.server)), schema))
    }
}
