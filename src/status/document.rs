//! What `tailrace status` and `/status` tell: one structure, whoever fills it in. What is not known is absent, never guessed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tailrace_contract::StreamCounts;

/// Everything in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overall {
    /// Every part runs and every system answers.
    Running,
    /// It goes on, but not wholly: a part waits or has just started, a table has stopped, or a system does not answer.
    Degraded,
    /// Nothing moves: a part is not there or has failed.
    Down,
}

impl Overall {
    /// As it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// In a word.
    pub state: Overall,
    /// The log's prefix, or the stream's name where there is no log.
    pub stream: String,
    /// When this was told, in seconds since 1970.
    pub at: f64,
    /// What runs capture; absent in what an apply tells of itself, and where there is no log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<ProcessStatus>,
    /// What runs both in one, where there is no log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedded: Option<ProcessStatus>,
    /// What runs apply; absent in what a capture tells of itself, and where there is no log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply: Option<ProcessStatus>,
    /// The database whose changes are followed; absent if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SystemStatus>,
    /// The transport; absent if it was not asked, or where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<SystemStatus>,
    /// The new store; absent if it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<SystemStatus>,
    /// Where capture stands; absent if there is no checkpoint, or none could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<PositionStatus>,
    /// How far everything is behind.
    pub lag: Lag,
    /// The log's partitions, ordered.
    pub partitions: Vec<PartitionStatus>,
    /// The tables, ordered by source.
    pub tables: Vec<TableStatus>,
    /// How far the tables' history is copied; absent where nobody tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillStatus>,
    /// What a person can do, the most urgent first.
    pub hints: Vec<String>,
}

/// How a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// Every part of it does its work.
    Running,
    /// It has not reached its servers yet.
    Starting,
    /// It tries again after an error.
    Waiting,
    /// A table has stopped, the others go on.
    Degraded,
    /// It is about to end with an error.
    Failed,
    /// Nobody answers at its address, or somebody else does.
    Down,
}

impl ProcessState {
    /// As it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Down => "down",
        }
    }
}

/// A process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// How it is doing.
    pub state: ProcessState,
    /// What it waits for, or what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it tells about itself.
    pub address: String,
    /// The command that it was started with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// When it was started, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<f64>,
    /// Each part and its state.
    pub parts: BTreeMap<String, PartStatus>,
    /// What it moved lately; absent in its first seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Throughput>,
    /// What it met in the source's log beside plain changes since it was started; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<MetStatus>,
    /// Its last error, which may have passed long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<ErrorStatus>,
}

/// A part of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartStatus {
    /// In a word, as `/healthz` tells it.
    pub state: String,
    /// What it waits for, or what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What was moved over the last seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Over so many seconds.
    pub seconds: f64,
    /// Records a second.
    pub records_per_second: f64,
    /// Bytes of row images a second.
    pub bytes_per_second: f64,
    /// Commits a second.
    pub commits_per_second: f64,
}

/// What was met in the source's log beside plain changes. What is read again after a restart counts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetStatus {
    /// Transactions that the source logged compressed.
    pub compressed_transactions: u64,
    /// Transactions in two phases whose rows came with the second.
    pub two_phase_transactions: u64,
    /// Records that the source logged and took back.
    pub taken_back_records: u64,
    /// Events of unknown kinds that say of themselves that they may be ignored.
    pub ignored_events: u64,
    /// Logged statements that changed rows, of tables that are not captured.
    pub foreign_statements: u64,
}

impl From<StreamCounts> for MetStatus {
    fn from(counts: StreamCounts) -> Self {
        Self {
            compressed_transactions: counts.compressed_transactions,
            two_phase_transactions: counts.two_phase_transactions,
            taken_back_records: counts.taken_back_records,
            ignored_events: counts.ignored_events,
            foreign_statements: counts.foreign_statements,
        }
    }
}

/// An error that was met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorStatus {
    /// When, in seconds since 1970.
    pub at: f64,
    /// Which stage met it.
    pub stage: String,
    /// The kind, as metrics name it.
    pub kind: String,
    /// What was said.
    pub text: String,
}

/// A system that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemStatus {
    /// Whether it answered.
    pub answers: bool,
    /// What it is, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Why it did not answer, or what is wrong with the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where capture stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionStatus {
    /// Behind the last transaction that is complete in the log, in the source's words.
    pub committed: String,
    /// Transactions of the epoch up to there.
    pub transactions: u64,
    /// The epoch.
    pub epoch: u32,
    /// Whether a part of the next transaction is in the log already.
    pub is_split: bool,
    /// What the source has executed, in its words; absent if it was not asked or did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executed: Option<String>,
}

/// How far everything is behind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lag {
    /// Transactions that the source has executed and the checkpoint does not cover.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_transactions: Option<u64>,
    /// Bytes of the source's log behind the checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_bytes: Option<u64>,
    /// For how long the checkpoint has been behind the source, as capture saw it; 0 where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_seconds: Option<f64>,
    /// Offsets of the log that are not applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_offsets: Option<u64>,
    /// For how long the target has been behind the log, as apply saw it; 0 where it is not. Tables that stopped don't count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_seconds: Option<f64>,
}

/// One partition of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionStatus {
    /// The source's table.
    pub table: String,
    /// Number of the partition.
    pub partition: u32,
    /// The next offset that the target wants; absent where nothing was ever applied, or if the target is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<i64>,
    /// The oldest offset that the log has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<i64>,
    /// Where the log ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<i64>,
    /// Offsets from the next to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// The source's table.
    pub source: String,
    /// Where its rows go.
    pub target: String,
    /// What became of it.
    pub state: TableState,
    /// Why it stopped or waits; of one that waits also where, at which statement, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Values that policies let through since the process that applies was started; absent where none was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyStatus>,
}

/// What a policy did to one column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// The column.
    pub column: String,
    /// `null`, `sentinel` or `text`.
    pub policy: String,
    /// To how many values.
    pub uses: u64,
}

/// How far the tables' history is copied. Only what is durable counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackfillStatus {
    /// What holds the copies up, and why; empty while nothing does.
    pub held: Vec<String>,
    /// Rows a second that are copied at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_per_second_max: Option<u64>,
    /// The tables, in the order in which they are copied.
    pub tables: Vec<CopyStatus>,
}

/// How far the history of a table is copied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyStatus {
    /// The source's table.
    pub table: String,
    /// `waiting`, `copying`, `paused`, `cancelled`, `failed`, `done` or `gap`.
    pub state: String,
    /// Why it does not go on, or what its last trouble was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Rows that need not be read again.
    pub rows_done: u64,
    /// Rows in all, by the source's statistics until they are known.
    pub rows_estimated: u64,
    /// Rows of those done that came with a change instead.
    pub rows_dropped: u64,
    /// Chunks that are done.
    pub chunks: u64,
    /// Windows that are open.
    pub windows_open: usize,
    /// Connections that read it.
    pub readers: usize,
    /// Windows that came to nothing, and reads that failed, since capture began.
    pub retries: u64,
    /// Rows a second since then.
    pub rows_per_second: f64,
    /// Until it is done, at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
}

/// What became of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableState {
    /// Its target has no rows yet.
    Empty,
    /// Its target has rows that Tailrace wrote.
    Applied,
    /// Its target has rows that Tailrace did not write.
    Foreign,
    /// It has no target table.
    Missing,
    /// Apply stopped it; the others go on.
    Stopped,
    /// It waits for an operator at a statement that changed it in the source.
    Paused,
    /// The target was not asked, or did not answer.
    Unknown,
}

impl TableState {
    /// As it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Applied => "applied",
            Self::Foreign => "foreign rows",
            Self::Missing => "target missing",
            Self::Stopped => "STOPPED",
            Self::Paused => "PAUSED",
            Self::Unknown => "unknown",
        }
    }
}
