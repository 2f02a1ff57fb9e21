//! What connectors promise the engine: a source, a log, a target; how they fail; what a position is.
//!
//! Traits are object-safe and called per batch, never per row, so one boxed future a call costs nothing measurable and the
//! engine is compiled once for all systems. Every connector runs the conformance tests of `connectors/kit` against them.
//!
//! No tokio, no driver and no I/O in here.

mod chunk;
mod ddl;
mod endpoint;
mod error;
#[cfg(feature = "faults")]
pub mod fault;
#[cfg(not(feature = "faults"))]
#[path = "fault_off.rs"]
pub mod fault;
mod filter;
mod grant;
mod ledger;
mod load;
mod log;
mod policy;
mod position;
pub mod print;
mod problem;
mod proof;
mod reader;
mod settings;
mod sink;
mod source;

pub use chunk::{ChunkRange, ChunkReader, Passed, SourcePlace};
pub use ddl::{
    Barrier, BarrierAct, BarrierPlace, ColumnStep, DdlPolicy, Encounter, Fill, Meeting, MeetingState, PartitionEnd,
    STATEMENT_BYTES_MAX, SchemaChange, Standing, StoredMeeting, TableAct, TargetAct, standing,
};
pub use endpoint::{Endpoint, Secret, Tls, TlsMode};
pub use error::{Error, ErrorKind, Result};
pub use filter::{TableFilter, TablePattern};
pub use grant::Grant;
pub use ledger::LedgerEntry;
pub use load::{Load, LoadQuestions};
pub use log::{
    BarrierReader, LaneStop, Log, LogBatch, LogPartition, LogReader, LogStart, LogWriter, OpenedWriter, PartitionEnds,
    ReadProgress,
};
pub use policy::{Literal, POLICY_KEY, Policy, PolicyUse, Unheld, advise_policy};
pub use position::{Checkpoint, Mark, Position, SplitTransaction};
pub use problem::{Problem, Severity};
pub use proof::{
    CanonicalForm, CanonicalWriter, Era, Foreign, KeyField, KeyPart, KeyQuery, KeySpelling, ProofBatch, ProofFeed,
    ProofFeeder, ProofQuery, ProofReader, Unspelled,
};
pub use reader::{ReadLimits, Rows, TableReader};
pub use settings::{
    DebeziumBytes, DebeziumDecimals, DebeziumSettings, DebeziumTimes, LogSettings, Retention, SourceSettings,
    TargetSettings,
};
pub use sink::{
    Applied, ApplyBatch, Capabilities, Owner, PartitionProgress, ProgressStep, RowRef, Sink, SinkWriter,
    StreamCheckpoint, StreamProgress, StreamStep, TableChanges, TableMapping, TargetScope, TargetState, TargetTable,
};
pub use source::{BatchEnd, BatchLimits, ChangeStream, SeenTable, Source, SourceState, StartAt, StreamCounts};

/// A boxed future, so that traits stay object-safe.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
