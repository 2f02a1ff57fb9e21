//! The durable ordered transport between capture and apply.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tailrace_row::{Epoch, RecordBatch, Sequence, TableName, TableSchema};

use crate::{
    Barrier, BatchLimits, BoxFuture, Checkpoint, Error, Grant, LedgerEntry, Problem, Result, SchemaChange, TableFilter,
};

/// One ordered lane of the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogPartition {
    /// The table whose records it holds.
    pub table: TableName,
    /// Its number, from 0.
    pub index: u32,
}

impl std::fmt::Display for LogPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.table, self.index)
    }
}

/// Where to begin reading a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// At the oldest record that the log holds: nothing was ever applied.
    Earliest,
    /// At this offset; [`ErrorKind::PositionLost`] if the log no longer (or not yet) has it.
    ///
    /// [`ErrorKind::PositionLost`]: crate::ErrorKind::PositionLost
    Offset(i64),
}

/// What a partition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionEnds {
    /// The partition.
    pub partition: LogPartition,
    /// The offset of the oldest record that the log still holds, or where the next will lie.
    pub oldest: i64,
    /// The offset at which a reader of committed records finds nothing more.
    pub end: i64,
}

/// A log: durable, ordered by partition, written by one capture at a time.
pub trait Log: Send + Sync {
    /// The name under which a target keeps offsets of this log.
    fn name(&self) -> &str;

    /// Everything that keeps the log from being used, all at once. Changes nothing.
    fn check(&self) -> BoxFuture<'_, Result<Vec<Problem>>>;

    /// The least that an administrator must allow the account for these tables. Asks nobody.
    fn grants(&self, _filter: &TableFilter) -> Vec<Grant> {
        Vec::new()
    }

    /// Tells a log whose records name no schema (another program writes them) what the tables look like in the source now.
    /// Other logs know their tables.
    fn declare(&self, _tables: &[Arc<TableSchema>]) -> Result<()> {
        Ok(())
    }

    /// Everything that keeps records of these tables from being written, all at once; the log itself answers already. Changes
    /// nothing.
    fn check_tables<'a>(&'a self, _tables: &'a [Arc<TableSchema>]) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Makes what is missing for these tables; refuses what exists with other settings.
    fn prepare<'a>(&'a self, tables: &'a [Arc<TableSchema>]) -> BoxFuture<'a, Result<()>>;

    /// Becomes the only writer, fencing an older one, and only then reads the last checkpoint.
    fn open_writer(&self) -> BoxFuture<'_, Result<OpenedWriter>>;

    /// The partitions of the tables that exist in the log, ordered. `tables` that are not there yet are left out.
    fn partitions<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<Vec<LogPartition>>>;

    /// All tables that the log holds.
    fn tables(&self) -> BoxFuture<'_, Result<Vec<TableName>>>;

    /// The last committed checkpoint. Fences nobody, makes nothing, and waits for no open transaction; none on a new log, or
    /// where there is none yet.
    fn checkpoint(&self) -> BoxFuture<'_, Result<Option<Checkpoint>>>;

    /// The last committed document of each key, ordered by key. What a writer opened before may still commit is waited for.
    fn ledger(&self) -> BoxFuture<'_, Result<Vec<LedgerEntry>>> {
        Box::pin(async { Err(Error::refused("this log keeps no ledger")) })
    }

    /// Where the partitions begin and end, in the order asked.
    fn ends<'a>(&'a self, partitions: &'a [LogPartition]) -> BoxFuture<'a, Result<Vec<PartitionEnds>>>;

    /// Forgets the checkpoint but for its epoch: the next writer finds none. Fences a writer as opening one does. Records stay where
    /// they are. A log without a checkpoint stays as it is.
    fn forget_checkpoint(&self) -> BoxFuture<'_, Result<()>>;

    /// Reads the log's barriers, from the first on.
    fn open_barriers(&self) -> BoxFuture<'_, Result<Box<dyn BarrierReader>>>;

    /// Reads committed records of the partitions. Lane n of a batch is `from[n]`.
    fn open_reader<'a>(&'a self, from: &'a [(LogPartition, LogStart)]) -> BoxFuture<'a, Result<Box<dyn LogReader>>>;
}

/// The writer and what the log knew when it was opened.
pub struct OpenedWriter {
    /// The only writer from now on.
    pub writer: Box<dyn LogWriter>,
    /// The last checkpoint that was committed; none on a new log.
    pub checkpoint: Option<Checkpoint>,
    /// Where there is no checkpoint: the highest epoch that anything in the log names, its ledger's documents left out. A new
    /// epoch must be above it, because a target may hold sequences of it.
    pub epoch: Option<Epoch>,
}

/// The one writer. Appended records become durable with [`LogWriter::commit`], or never.
///
/// After an error the writer is dropped and a new one is opened; what was not committed is gone from the log.
pub trait LogWriter: Send {
    /// Hands over records; they are read from the batch before the call returns.
    fn append<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>>;

    /// Hands over documents, which replace those of the same keys. None of them is ever seen without the records that were appended
    /// before it, not even where the log tears a transaction.
    fn append_ledger<'a>(&'a mut self, _entries: &'a [LedgerEntry]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(Error::refused("this log keeps no ledger")) })
    }

    /// Makes everything appended and the checkpoint durable together, or neither. Transient errors inside are retried.
    fn commit<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> BoxFuture<'a, Result<()>>;

    /// Makes a barrier and the checkpoint behind it durable together, or neither; returns its number, which is above those of all
    /// before it. Everything that was appended must be committed: so the ends of the partitions are exact, because nobody else
    /// writes.
    ///
    /// From then on the next record of each partition of its tables names the barrier, and after the next opening of a writer
    /// the first record of each partition names the last one of its table (E29).
    fn commit_barrier<'a>(
        &'a mut self,
        change: &'a SchemaChange,
        checkpoint: &'a Checkpoint,
    ) -> BoxFuture<'a, Result<u64>>;
}

/// Reads barriers, in the order of their numbers.
pub trait BarrierReader: Send {
    /// What was committed since the last call, at the first all there is. Waits for none to come.
    fn read(&mut self) -> BoxFuture<'_, Result<Vec<Barrier>>>;
}

/// How far a lane was read by a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadProgress {
    /// The lane.
    pub lane: u32,
    /// Where the next read begins: behind the last record, or behind what the log skips (aborted and control records).
    pub next_offset: i64,
    /// How many offsets lay between `next_offset` and the end of the partition when last asked.
    pub behind: u64,
}

/// A lane that came to a record which names a barrier, and stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStop {
    /// The lane.
    pub lane: u32,
    /// The barrier's number.
    pub number: u64,
}

/// Records of several partitions, in log order within each.
#[derive(Debug, Default)]
pub struct LogBatch {
    /// The records; each names its lane and offset.
    pub records: RecordBatch,
    /// One entry per lane that moved.
    pub progress: Vec<ReadProgress>,
    /// Lanes that stand at a barrier since. All that they hold before it is in this batch, or was in earlier ones.
    pub stops: Vec<LaneStop>,
}

impl LogBatch {
    /// Forgets the content and keeps the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.progress.clear();
        self.stops.clear();
    }
}

/// Reads committed records.
pub trait LogReader: Send {
    /// Appends to `out` what is there, up to the limits. Waits, up to `limits.wait_max`, only for a first record in an empty
    /// `out`: a caller that was busy calls again with the same batch and takes along what came meanwhile. A lane has one
    /// entry in `out.progress`, which is updated.
    ///
    /// A lane stops before a record that names a barrier which was not released for it, and says so once in `out.stops`, without
    /// waiting any longer; the others go on. Where it stands counts as progress.
    ///
    /// A record that can't be read is [`ErrorKind::TableFailed`] and names its partition and offset.
    ///
    /// [`ErrorKind::TableFailed`]: crate::ErrorKind::TableFailed
    fn read_batch<'a>(&'a mut self, out: &'a mut LogBatch, limits: BatchLimits) -> BoxFuture<'a, Result<()>>;

    /// Lets a lane go on behind all barriers up to this number.
    fn release(&mut self, lane: u32, number: u64) -> Result<()>;

    /// Takes the lane's next record for one that names this barrier. Before the first read, for a lane that begins behind the
    /// record that does.
    fn hold(&mut self, lane: u32, number: u64);

    /// Tells which sequence was applied last before the place where the lane begins. Where all that lies right before it came later, the
    /// partition is another one that has grown past the place (E20): then the lane's first record is [`ErrorKind::PositionLost`].
    /// Before the first read. For logs whose partitions can be made anew.
    ///
    /// [`ErrorKind::PositionLost`]: crate::ErrorKind::PositionLost
    fn expect(&mut self, _lane: u32, _applied: Sequence) {}

    /// Reads no more of the lanes of a table that has failed.
    fn stop_table(&mut self, table: &TableName) -> Result<()>;

    /// Tells the log's own lag tools how far a lane is applied. Nothing rests on it.
    fn report_applied(&mut self, applied: &[ReadProgress]);
}
