//! A target: rows go in, with the progress that they mean, in one transaction.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};
use tailrace_row::{RecordBatch, RecordId, RowImage, Sequence, TableName, TableSchema};

use crate::{
    BoxFuture, Checkpoint, DdlPolicy, Encounter, Error, Grant, LedgerEntry, LogPartition, Meeting, Policy, PolicyUse,
    Problem, ProofReader, Result, StoredMeeting, TableReader, Unheld,
};

/// What a target guarantees. At least one of the two must hold, else start-up refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Progress is stored in the transaction of the rows.
    pub has_atomic_progress: bool,
    /// An older write never replaces a newer one.
    pub has_versioned_writes: bool,
}

/// A table of the target: its schema (where the target has such) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetTable {
    /// Schema or database.
    pub schema: Box<str>,
    /// The table's own name.
    pub table: Box<str>,
}

impl std::fmt::Display for TargetTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// Tables of the target that an account must be allowed to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetScope {
    /// One table.
    Table(TargetTable),
    /// All tables of a schema.
    Schema(Box<str>),
}

/// Which table of the source goes to which table of the target, and by which policies. Columns go by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TableMapping {
    /// The source's table.
    pub source: TableName,
    /// The target's table.
    pub target: TargetTable,
    /// What becomes of values that the target can't hold, by column; one that is not named has [`Policy::Reject`].
    pub policies: BTreeMap<Box<str>, Policy>,
    /// What becomes of the target's table when DDL changes the source's.
    pub on_ddl: DdlPolicy,
}

impl TableMapping {
    /// Without any policy.
    #[must_use]
    pub fn new(source: TableName, target: TargetTable) -> Self {
        Self { source, target, policies: BTreeMap::new(), on_ddl: DdlPolicy::default() }
    }

    /// What becomes of values of the column that the target can't hold.
    #[must_use]
    pub fn policy(&self, column: &str) -> &Policy {
        self.policies.get(column).unwrap_or(&Policy::Reject)
    }

    /// Refuses to read rows back where a policy may have written something else in place of the source's value: no reader can
    /// tell yet which is which.
    pub fn check_readable(&self) -> Result<()> {
        let Some((column, policy)) = self.policies.iter().find(|(_, policy)| **policy != Policy::Reject) else {
            return Ok(());
        };
        let what = format!(
            "column {column} of {} has the policy {}: its rows can't be read back yet, as other values may stand there for the source's",
            self.target,
            policy.name()
        );
        Err(Error::table_failed(self.source.clone(), what))
    }
}

/// What a table of the target holds before the first record is applied to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// It does not exist.
    Missing,
    /// It has no rows.
    Empty,
    /// It has rows and Tailrace has written it before.
    Known,
    /// It has rows that Tailrace did not write.
    Foreign,
}

/// Number of the process that owns a partition's progress. Rises with each claim; the last claim wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub i64);

/// How far a partition is applied, as the target holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionProgress {
    /// The partition.
    pub partition: LogPartition,
    /// The next offset to apply; none if nothing was ever applied.
    pub next_offset: Option<i64>,
    /// The sequence applied last; none if nothing was. Set back by hand together with the offset.
    pub sequence: Option<Sequence>,
    /// The highest sequence that was ever applied: what lies at or below it is applied again after a rewind.
    pub highest: Option<Sequence>,
    /// Who may move it.
    pub owner: Owner,
}

/// A step of a partition's progress, made with a batch. It holds only if the stored progress is still `from` and the owner
/// is still ours (compare and swap); otherwise the batch fails as [`ErrorKind::Fenced`].
///
/// [`ErrorKind::Fenced`]: crate::ErrorKind::Fenced
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressStep {
    /// What the target must still hold.
    pub from: PartitionProgress,
    /// The next offset to apply afterwards.
    pub next_offset: i64,
    /// The sequence applied last, afterwards. The target keeps the highest by itself.
    pub sequence: Option<Sequence>,
}

/// A checkpoint and what it covers. Targets keep it as JSON and read nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamCheckpoint {
    /// Of this document.
    pub format: u32,
    /// [`crate::Source::identity`] of the server that was read last.
    pub source: String,
    /// The table patterns that were captured up to the checkpoint.
    pub tables: Vec<String>,
    /// Where the source is read on.
    #[serde(flatten)]
    pub at: Checkpoint,
}

/// How far a stream that comes without a log is applied, as the target holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamProgress {
    /// Where the source is read on; none if nothing was ever saved.
    pub checkpoint: Option<StreamCheckpoint>,
    /// How often it was saved.
    pub saves: i64,
    /// Who may save it.
    pub owner: Owner,
}

/// The next checkpoint of a stream that comes without a log, saved with a batch. It holds only if the target still counts
/// `saves` and the owner is still ours (compare and swap); otherwise the batch fails as [`ErrorKind::Fenced`].
///
/// [`ErrorKind::Fenced`]: crate::ErrorKind::Fenced
#[derive(Clone, Copy, Debug)]
pub struct StreamStep<'a> {
    /// The stream's name.
    pub stream: &'a str,
    /// What the target must still count.
    pub saves: i64,
    /// Who the target must still name.
    pub owner: Owner,
    /// What the target holds afterwards.
    pub checkpoint: &'a StreamCheckpoint,
    /// Documents that replace those of the same keys.
    pub ledger: &'a [LedgerEntry],
}

/// One image of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowRef {
    /// The row before: it is to be deleted by its key.
    Before(RecordId),
    /// The row after, with what earlier records of the batch told of it ([`RecordBatch::merge`]): it is to be written.
    After(RecordId),
}

impl RowRef {
    /// The record.
    #[must_use]
    pub fn record(self) -> RecordId {
        match self {
            Self::Before(record) | Self::After(record) => record,
        }
    }

    /// The image.
    #[must_use]
    pub fn image(self, batch: &RecordBatch) -> RowImage<'_> {
        let image = match self {
            Self::Before(record) => batch.before(&batch.records()[record as usize]),
            Self::After(record) => batch.merged_after(record),
        };
        image.expect("invariant: a row reference names an image that the record has")
    }
}

/// What a batch does to one table under one schema. Each key stands at most once among deletes and upserts together.
#[derive(Clone, Debug)]
pub struct TableChanges {
    /// Where the rows go.
    pub mapping: Arc<TableMapping>,
    /// How they look.
    pub schema: Arc<TableSchema>,
    /// Rows to delete by the key of this image.
    pub deletes: Vec<RowRef>,
    /// Rows to insert or replace. Of an image that lacks columns ([`RowImage::is_partial`]) what it has replaces what the row
    /// has; a row that is not there can't be made of it, so that fails the table, unless the image says that it may not be there yet
    /// ([`RowImage::may_be_absent`]): then it is left out, and counted.
    pub upserts: Vec<RowRef>,
}

/// Rows and the progress that they mean.
#[derive(Clone, Copy, Debug)]
pub struct ApplyBatch<'a> {
    /// Where the images lie.
    pub records: &'a RecordBatch,
    /// What to do, by table. Deletes of all tables go before upserts.
    pub changes: &'a [TableChanges],
    /// Progress to store in the same transaction, where the records come from a log.
    pub progress: &'a [ProgressStep],
    /// The checkpoint to store in the same transaction, where they come from a stream without a log.
    pub stream: Option<StreamStep<'a>>,
}

/// What a batch did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Applied {
    /// Rows inserted or replaced.
    pub upserted: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Updates of rows that are not there and are copied later ([`RowImage::may_be_absent`]): nothing was written of them.
    pub absent: u64,
    /// Values that were written by a policy, by table and column; empty where none was.
    pub policy_uses: Vec<PolicyUse>,
}

/// A target.
pub trait Sink: Send + Sync {
    /// What it guarantees.
    fn capabilities(&self) -> Capabilities;

    /// Who the server (and database) is, comparable with [`crate::Source::identity`].
    fn identity(&self) -> BoxFuture<'_, Result<String>>;

    /// Everything that keeps the target from being used, and what is wrong with these tables whatever the source's look like,
    /// all at once. Changes nothing.
    fn check<'a>(&'a self, tables: &'a [TableMapping]) -> BoxFuture<'a, Result<Vec<Problem>>>;

    /// Everything that keeps rows of this schema from being written to the table, all at once. Changes nothing.
    fn check_table<'a>(
        &'a self,
        schema: &'a TableSchema,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Vec<Problem>>>;

    /// The least that an administrator must allow the account for these tables. Asks nobody.
    fn grants(&self, _scopes: &[TargetScope]) -> Vec<Grant> {
        Vec::new()
    }

    /// The server's time; none if it has no clock of its own.
    fn clock(&self) -> BoxFuture<'_, Result<Option<SystemTime>>> {
        Box::pin(async { Ok(None) })
    }

    /// The statements that make a table that can hold every value of the source's which the target holds at all, and what the
    /// mapping's policies write; in order, each complete.
    fn create_statements(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<String>>;

    /// Runs [`Sink::create_statements`], if the table is missing; tells whether it was.
    fn create_table<'a>(&'a self, schema: &'a TableSchema, mapping: &'a TableMapping) -> BoxFuture<'a, Result<bool>>;

    /// The columns that may have values which the table of [`Sink::create_statements`] does not hold, if there is no policy for
    /// them. Asks nobody.
    fn unheld(&self, _schema: &TableSchema) -> Vec<Unheld> {
        Vec::new()
    }

    /// Makes Tailrace's own tables where they are missing. Refuses a newer format by name.
    fn prepare(&self) -> BoxFuture<'_, Result<()>>;

    /// The names of the table's columns; none if there is no such table.
    fn columns<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<Option<Vec<Box<str>>>>>;

    /// What the table holds.
    fn table_state<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<TargetState>>;

    /// Remembers that Tailrace writes the table from now on.
    fn adopt_table<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<()>>;

    /// Becomes the owner of the partitions' progress in the log of that name, fencing an older owner, and reads it.
    fn claim<'a>(
        &'a self,
        log: &'a str,
        partitions: &'a [LogPartition],
    ) -> BoxFuture<'a, Result<Vec<PartitionProgress>>>;

    /// Becomes the owner of a stream's checkpoint, fencing an older owner, and reads it.
    fn claim_stream<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamProgress>>;

    /// Reads a stream's checkpoint and claims nothing; none if the target knows no stream of that name.
    fn stream_progress<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<StreamProgress>>>;

    /// The documents that were stored with a stream's checkpoints, ordered by key. Makes nothing; empty where Tailrace's own tables
    /// don't exist.
    fn ledger<'a>(&'a self, _stream: &'a str) -> BoxFuture<'a, Result<Vec<LedgerEntry>>> {
        Box::pin(async { Err(Error::refused("this target keeps no ledger")) })
    }

    /// How far the partitions of the log of that name are applied, ordered by partition. Claims nothing and makes nothing;
    /// empty where Tailrace's own tables don't exist.
    fn progress<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<PartitionProgress>>>;

    /// Carries out what is to be done to a table at a barrier, once, in one transaction with the mark that it is done: if all its
    /// partitions stand there, whichever process brought them, and nobody has done it before. Whoever asks is told how far it is.
    ///
    /// What the table refuses ([`ErrorKind::TableFailed`]) is no error here: the table then waits, with the refusal as its reason.
    /// So does one that is to be emptied while some partition has applied rows from behind the barrier. A table that waits is
    /// done with as soon as somebody asks for an act that can be carried out.
    ///
    /// [`ErrorKind::TableFailed`]: crate::ErrorKind::TableFailed
    fn meet<'a>(&'a self, encounter: Encounter<'a>) -> BoxFuture<'a, Result<Meeting>>;

    /// All meetings that are done or wait in the log (or the stream) of that name, ordered by table and sequence. Makes nothing;
    /// empty where Tailrace's own tables don't exist.
    fn meetings<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<StoredMeeting>>>;

    /// Lets a table that waits at a barrier go on, without any act. Returns what it waited for; empty if it did not wait.
    fn resume<'a>(&'a self, log: &'a str, table: &'a TableName) -> BoxFuture<'a, Result<Vec<StoredMeeting>>>;

    /// Forgets that a meeting is done: it is to be held again.
    fn reopen<'a>(&'a self, log: &'a str, table: &'a TableName, change: Sequence) -> BoxFuture<'a, Result<()>>;

    /// Forgets how far the partitions of the log of that name are applied, its meetings, and the checkpoint of the stream of that
    /// name: the next claim finds nothing, and whoever applies meanwhile ends as fenced. Rows stay, and so does what is known of
    /// adopted tables.
    fn forget<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<()>>;

    /// A connection that applies batches to the tables, for progress in the log (or of the stream) of that name.
    fn open_writer<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Box<dyn SinkWriter>>>;

    /// A connection that reads the rows of the target's table for proof, brought back to what the columns of the source's schema
    /// mean: as the database itself answers, by nothing that reads or encodes rows elsewhere.
    fn open_proof<'a>(
        &'a self,
        _schema: Arc<TableSchema>,
        _mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Box<dyn ProofReader>>> {
        Box::pin(async { Err(Error::refused("this target can't be read for proof")) })
    }

    /// A connection that reads the target's table as rows of the source's schema: each the same image that was written, as far
    /// as the target's types keep it. What they don't (the charset of bytes that are no text, say) was refused or asked for
    /// by a policy when it was written.
    fn open_reader<'a>(
        &'a self,
        schema: Arc<TableSchema>,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Box<dyn TableReader>>>;
}

/// One connection that applies batches, one after another.
pub trait SinkWriter: Send {
    /// Writes rows and progress in one transaction: after `Ok` both are durable, after an error neither is, but for
    /// [`ErrorKind::Transient`], after which the outcome is unknown: the caller reads the progress again by a new claim.
    ///
    /// What the target refuses is [`ErrorKind::TableFailed`] and names table, column (if one is to blame) and record.
    ///
    /// [`ErrorKind::Transient`]: crate::ErrorKind::Transient
    /// [`ErrorKind::TableFailed`]: crate::ErrorKind::TableFailed
    fn apply<'a>(&'a mut self, batch: ApplyBatch<'a>) -> BoxFuture<'a, Result<Applied>>;
}
