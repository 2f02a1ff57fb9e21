//! Fakes of every trait, in memory: a source with a scripted binlog, a log, a target. For tests only.
//!
//! The one thing to know: each fake is a *server*. What it holds outlives the streams, writers and readers that were opened
//! on it, and it keeps the same promises as a real one (a late commit of a fenced writer fails, progress is compared and
//! swapped). Each call can be made to fail before, after, late or never, see [`Faults`].
//!
//! They use tokio's clock only, so that a paused runtime runs them deterministically. They persist nothing.

mod binlog;
mod chunk_reader;
mod faults;
mod log;
mod log_reader;
mod log_writer;
mod meeting;
mod news;
mod row;
mod sink;
mod sink_writer;
mod source;
mod stream;
mod table_reader;

pub use binlog::{BinlogTransaction, MemoryTransaction, SourceChange, Stall};
pub use faults::{Call, Fault, Faults, Gate};
pub use log::{LogCommit, LogEntry, MemoryLog, Offsets};
pub use row::Row;
pub use sink::{MemorySink, Rows, SinkSnapshot};
pub use source::MemorySource;
