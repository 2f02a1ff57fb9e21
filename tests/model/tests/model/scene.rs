//! What may happen in one exploration, and which rule is broken on purpose.
//!
//! A scene bounds what the source does and how often something fails; everything that it allows is explored in every
//! order.

/// How chunks are read, which decides what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// Waits for the executed GTID set.
    Mysql,
    /// The same, but rows come from a replica of capture's server: what is visible there has nothing to do with locks
    /// here.
    MysqlReplica,
    /// The position of a consistent snapshot; nothing can be waited for.
    MariaDb,
    /// A lock on the table while the view is opened and the end of the binlog is read.
    MysqlWithoutGtids,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    Put,
    Patch,
    Delete,
    Move,
}

/// What goes wrong with processes and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Interruption {
    /// Capture, and backfill with it, is killed.
    Crash,
    /// The open log transaction is aborted, the process lives.
    Abort,
    /// A replica takes over. It has what the log has, and may lack what came after.
    Failover,
    /// The table is not captured for a time, or the checkpoint is set anew: changes are missing from the log.
    Gap,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    pub(crate) statements: &'static [Statement],
    pub(crate) transactions: usize,
    /// One or two.
    pub(crate) statements_each: u8,
    pub(crate) truncates: usize,
    pub(crate) rotations: usize,
    /// Whether transactions may be rolled back.
    pub(crate) has_rollbacks: bool,
    /// One part of two keys, or two of one each; each has one window at a time.
    pub(crate) chunks: u8,
    /// Rows that one read takes: what it did not reach is left to the next.
    pub(crate) rows_max: usize,
    /// Whether one half of capture reads ahead of the other, which fills the log transaction.
    pub(crate) reads_ahead: bool,
    pub(crate) interruptions: &'static [Interruption],
    pub(crate) interruptions_max: u8,
    /// What must be seen to happen in it, beside the backfill's end.
    pub(crate) meets: &'static [&'static str],
}

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The chunk is read as soon as its window is open.
    NoWait,
    /// H is the end of the executed GTID set.
    HighIsExecuted,
    /// Rows whose key was touched are written.
    TouchedKeysAreWritten,
    /// E01: a window opens inside a transaction, P is the end of the one before.
    OpensInsideTransaction,
    /// P is where the log's checkpoint stands, not where decoding does.
    LowIsCheckpoint,
    /// E01: keys are remembered as they are read ahead, P is what the log transaction has.
    RemembersAsRead,
    /// P is what was read ahead, keys are remembered as the log transaction gets them.
    LowIsRead,
    /// E02: the view is opened first, and kept over the wait.
    OldView,
    /// E03.
    ReadUncommitted,
    /// E04: MariaDB's snapshot is taken as it comes.
    SnapshotBeforeLow,
    /// E09: capture's server is a replica of the one that rows are read from, and behind it.
    ReadsUpstream,
    /// E13: the lock is released when the view is opened, so that it keeps nothing apart.
    LockIsReleasedEarly,
    /// E16: a chunk that was closed in an aborted log transaction counts as done.
    AbortKeepsClosed,
    /// Windows outlive an aborted log transaction, the keys that capture remembered for them do not.
    AbortForgetsKeys,
    /// Windows outlive an aborted log transaction with their keys, those of the aborted records among them.
    AbortKeepsWindows,
    /// A TRUNCATE leaves windows open.
    TruncateKeepsWindows,
    /// A failover leaves windows open.
    FailoverKeepsWindows,
    /// A window closes wherever the stream stands.
    ClosesBeforeHigh,
    /// A window closes by the place of what was read ahead.
    ClosesAsRead,
    /// E06: a window closes by the end of the last transaction, not by what was read.
    ClosesByTransactions,
    /// A window closes inside a transaction.
    ClosesInsideTransaction,
    /// Of a changed key, a window remembers the new one alone.
    OldKeyIsForgotten,
    /// Of a changed key, a window remembers the old one alone.
    NewKeyIsForgotten,
    /// E11: rows are left to the stream though it brought them in part only.
    PatchedKeysAreNotReadAgain,
    /// E10: the ledger does not know of the gap.
    LedgerOutlivesGap,
    /// E10: the copy after a gap removes nothing.
    CopyRemovesNothing,
    /// The ledger's entry is written before the rows.
    LedgerBeforeRows,
}
