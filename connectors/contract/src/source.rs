//! A database whose changes we follow.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tailrace_row::{RecordBatch, TableName, TableSchema};

use crate::{
    BoxFuture, Checkpoint, ChunkReader, Endpoint, Error, Grant, Load, LoadQuestions, Mark, Position, Problem,
    ProofReader, Result, SchemaChange, SourcePlace, TableFilter, TableReader, position::SplitTransaction,
};

/// Where to begin where no checkpoint exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// Behind everything that is executed now.
    Now,
    /// At the oldest transaction that the source still has.
    Earliest,
    /// At a place in the source's own words: a GTID set, or `file:offset`.
    At(String),
    /// At the first transaction that was committed then or later, in microseconds since 1970. Never behind it: where the source's log
    /// does not say exactly when a transaction was committed, some that were committed earlier come too.
    Since(i64),
}

/// A table that the account can see, whether it is configured or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTable {
    /// Its name.
    pub name: TableName,
    /// Why it can't be captured, if so.
    pub obstacle: Option<String>,
}

/// What a source says of itself and of what lies behind a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceState {
    /// The server's flavor and version, for people.
    pub server: String,
    /// What is executed now: the position of a capture that lags behind by nothing.
    pub end: Position,
    /// Where its log ends; none where places in it can't be compared.
    pub place: Option<SourcePlace>,
    /// Bytes of the source's log behind the position; none where the position does not tell its place in that log.
    pub bytes_behind: Option<u64>,
    /// Transactions behind the position; none where the source does not number them.
    pub transactions_behind: Option<u64>,
}

/// A database whose changes we follow.
pub trait Source: Send + Sync {
    /// Everything that keeps the source from being captured, all at once. Changes nothing.
    fn check<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Problem>>>;

    /// The least that an administrator must allow the account for these tables. Asks nobody.
    fn grants(&self, _filter: &TableFilter) -> Vec<Grant> {
        Vec::new()
    }

    /// The time by which the server stamps its changes; none if it has no clock of its own.
    fn clock(&self) -> BoxFuture<'_, Result<Option<SystemTime>>> {
        Box::pin(async { Ok(None) })
    }

    /// All tables of users that the account can see, ordered by name.
    fn inventory(&self) -> BoxFuture<'_, Result<Vec<SeenTable>>> {
        Box::pin(async { Err(Error::refused("this source can't list its tables").hint("name them in [[table]]")) })
    }

    /// Who the server is, so that source and target can be told apart; stable over restarts.
    fn identity(&self) -> BoxFuture<'_, Result<String>>;

    /// What keeps capture from beginning there, all at once. Changes nothing.
    fn check_start<'a>(&'a self, _start: &'a StartAt) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// The position that `start` means now.
    fn position<'a>(&'a self, start: &'a StartAt) -> BoxFuture<'a, Result<Position>>;

    /// The position at which to go on where a connector of Debezium has stopped, from the value of its offset (JSON). Refuses offsets from
    /// which something would be missing.
    fn position_of_debezium<'a>(&'a self, _offset: &'a str) -> BoxFuture<'a, Result<Position>> {
        Box::pin(async { Err(Error::refused("this source does not read offsets of Debezium")) })
    }

    /// What the server is, and how far it is ahead of a position. Changes nothing, not even for other replicas.
    /// [`ErrorKind::PositionLost`] if the source can't go on from there, as [`Source::open`] would say.
    ///
    /// [`ErrorKind::PositionLost`]: crate::ErrorKind::PositionLost
    fn state<'a>(&'a self, from: Option<&'a Position>) -> BoxFuture<'a, Result<SourceState>>;

    /// The shapes that the matching tables have now, ordered by name. A table that can't be captured is an error that names
    /// table and column.
    fn tables<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Arc<TableSchema>>>>;

    /// Whether the table has any row now.
    fn has_rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<bool>>;

    /// Follows the changes of the matching tables from a checkpoint on. [`ErrorKind::PositionLost`] if the source no longer
    /// has them.
    ///
    /// [`ErrorKind::PositionLost`]: crate::ErrorKind::PositionLost
    fn open<'a>(
        &'a self,
        from: &'a Checkpoint,
        filter: Arc<TableFilter>,
    ) -> BoxFuture<'a, Result<Box<dyn ChangeStream>>>;

    /// How much the server has to do now. What it can't tell is an error, and never taken for little.
    fn load<'a>(&'a self, _questions: &'a LoadQuestions) -> BoxFuture<'a, Result<Load>> {
        Box::pin(async { Err(Error::refused("this source does not tell how much it has to do")) })
    }

    /// What keeps [`Source::load`] from answering these questions, all at once. Changes nothing.
    fn check_load<'a>(&'a self, _questions: &'a LoadQuestions) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// What an administrator must allow the account for these questions beside [`Source::grants`]. Asks nobody.
    fn load_grants(&self, _questions: &LoadQuestions) -> Vec<Grant> {
        Vec::new()
    }

    /// What a replica of the source has executed: to be held against positions of the source by [`Source::covers`]. What it can't tell is
    /// an error, and never taken for much.
    fn executed<'a>(&'a self, _replica: &'a Endpoint) -> BoxFuture<'a, Result<Position>> {
        Box::pin(async { Err(Error::refused("this source does not tell how far its replicas are")) })
    }

    /// Whether who reached the first position has everything that the second one stands for. Asks nobody.
    fn covers(&self, _reached: &Position, _wanted: &Position) -> Result<bool> {
        Err(Error::refused("positions of this source can't be compared"))
    }

    /// Everything that keeps [`Source::executed`] from telling, all at once. Changes nothing.
    fn check_replica<'a>(&'a self, _replica: &'a Endpoint) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// A connection that reads the rows of the table of this schema for proof: as the database itself answers, by nothing that
    /// reads or decodes rows elsewhere.
    fn open_proof(&self, _schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ProofReader>>> {
        Box::pin(async { Err(Error::refused("this source can't be read for proof")) })
    }

    /// A connection that reads the table of this schema in chunks, while its changes are captured by another one.
    fn open_chunks(&self, _schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ChunkReader>>> {
        Box::pin(async { Err(Error::refused("the history of this source's tables can't be copied")) })
    }

    /// A connection that reads the rows of the table of this schema: each the same image, byte for byte, that the change stream
    /// gives of it.
    fn open_reader(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>>;
}

/// When a batch ends at the latest.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Once the batch holds so many bytes.
    pub bytes_max: usize,
    /// Once the batch holds so many records.
    pub records_max: usize,
    /// Without anything to read, after so long.
    pub wait_max: Duration,
}

/// Why a batch ended. Only a mark may be saved.
#[derive(Clone, Debug, PartialEq)]
pub enum BatchEnd {
    /// The last record ends its transaction; the mark lies behind it and whatever filtered transactions followed.
    TransactionEnd(Mark),
    /// A limit was reached inside a transaction.
    MidTransaction {
        /// Behind the last complete transaction.
        mark: Mark,
        /// The transaction in progress, up to the batch's last record.
        split: SplitTransaction,
    },
    /// Nothing came for the whole wait. The mark may be ahead of the last one (other tables' traffic).
    Idle(Mark),
    /// A statement changes captured tables at this point. It comes alone: the batch is empty.
    SchemaChange {
        /// Behind the statement.
        mark: Mark,
        /// What it does.
        change: Box<SchemaChange>,
    },
}

impl BatchEnd {
    /// Behind the last complete transaction.
    #[must_use]
    pub fn mark(&self) -> &Mark {
        match self {
            Self::TransactionEnd(mark)
            | Self::Idle(mark)
            | Self::MidTransaction { mark, .. }
            | Self::SchemaChange { mark, .. } => mark,
        }
    }
}

/// What a stream met that is no plain transaction of changes, counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Transactions that the source logged compressed.
    pub compressed_transactions: u64,
    /// Transactions in two phases whose rows came with the second.
    pub two_phase_transactions: u64,
    /// Records that the source logged and took back before they were handed over.
    pub taken_back_records: u64,
    /// Events of unknown kinds that say of themselves that they may be ignored.
    pub ignored_events: u64,
    /// Logged statements that changed rows, of tables that are not captured.
    pub foreign_statements: u64,
}

impl StreamCounts {
    /// What was counted since then.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            compressed_transactions: self.compressed_transactions - before.compressed_transactions,
            two_phase_transactions: self.two_phase_transactions - before.two_phase_transactions,
            taken_back_records: self.taken_back_records - before.taken_back_records,
            ignored_events: self.ignored_events - before.ignored_events,
            foreign_statements: self.foreign_statements - before.foreign_statements,
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, more: &Self) -> Self {
        Self {
            compressed_transactions: self.compressed_transactions + more.compressed_transactions,
            two_phase_transactions: self.two_phase_transactions + more.two_phase_transactions,
            taken_back_records: self.taken_back_records + more.taken_back_records,
            ignored_events: self.ignored_events + more.ignored_events,
            foreign_statements: self.foreign_statements + more.foreign_statements,
        }
    }
}

/// The changes of the captured tables, in commit order.
pub trait ChangeStream: Send {
    /// Appends records to `out`. If `out` is empty it waits for a first record, up to `limits.wait_max`, then says
    /// [`BatchEnd::Idle`]. As soon as `out` holds records (the caller may hand over a batch that already does) it never waits
    /// between transactions: it appends what the source has sent by now, up to the limits, and returns at a transaction end.
    /// So a caller that was busy calls again with the same batch and takes along what came meanwhile.
    ///
    /// Inside a transaction it waits for the transaction's next event, up to `limits.wait_max`, and then, or at a limit,
    /// returns [`BatchEnd::MidTransaction`]. A batch with nothing but filtered transactions waits on, and the mark moves.
    ///
    /// Where a statement changes captured tables, records before it end their batch with [`BatchEnd::TransactionEnd`], however often
    /// it is called with records in `out`; called with an empty batch it says [`BatchEnd::SchemaChange`].
    ///
    /// If the future is dropped, or fails, the stream and `out` are not used any more.
    fn read_batch<'a>(&'a mut self, out: &'a mut RecordBatch, limits: BatchLimits) -> BoxFuture<'a, Result<BatchEnd>>;

    /// How far the source's log is read: nothing at or before it is still to come. It moves with whatever the source sends, so also where
    /// a mark stays (heartbeats, a new file). None inside a transaction, and where the stream can't say.
    fn place(&self) -> Option<SourcePlace> {
        None
    }

    /// What it met beside plain changes.
    fn counts(&self) -> StreamCounts {
        StreamCounts::default()
    }
}
