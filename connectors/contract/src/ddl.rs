//! What DDL of the source does to captured tables, and the barrier at which a target follows it.
//!
//! A statement takes effect at one point of the stream, for all rows of its tables at once, while a log has many partitions, each
//! read at its own pace. So it travels as a *barrier*: a document beside the records that names, for each partition, the offset
//! behind the last record before it. No record beyond that offset is applied until every partition of the table stands there and the
//! act is done, once, by whoever finds it so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tailrace_row::{Column, Sequence, TableName};

use crate::{LogPartition, TableMapping};

/// A statement that changes captured tables otherwise than by rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    /// Its place in the order of the source: its transaction, event 0, row 0.
    pub sequence: Sequence,
    /// The source's own name of its transaction (a GTID) and where it stands (file and offset), for people.
    pub place: Arc<str>,
    /// When it was committed, in microseconds since 1970; 0 if unknown.
    pub committed_at_micros: i64,
    /// The statement, cut where it is longer than [`STATEMENT_BYTES_MAX`]. It has no row values: statements that have some are refused
    /// by the source.
    pub statement: Arc<str>,
    /// What it does to captured tables, in order.
    pub acts: Vec<TableAct>,
}

/// Most bytes of a statement that are kept.
pub const STATEMENT_BYTES_MAX: usize = 16 << 10;

/// What a statement does to one captured table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum TableAct {
    /// All rows go.
    Truncate {
        /// The table.
        table: TableName,
    },
    /// Columns change.
    Alter {
        /// The table.
        table: TableName,
        /// How, in the statement's order.
        steps: Vec<ColumnStep>,
    },
    /// The table gets another name; one of the two may be no captured table.
    Rename {
        /// The name before.
        table: TableName,
        /// The name behind it.
        to: TableName,
    },
    /// The table goes, with all rows.
    Drop {
        /// The table.
        table: TableName,
    },
    /// A table of this name begins, without rows.
    Create {
        /// The table.
        table: TableName,
    },
    /// What can't be followed.
    Other {
        /// The table.
        table: TableName,
        /// Why, as the end of a sentence: "it changes the primary key".
        reason: String,
    },
}

impl TableAct {
    /// The table.
    #[must_use]
    pub fn table(&self) -> &TableName {
        match self {
            Self::Truncate { table }
            | Self::Alter { table, .. }
            | Self::Rename { table, .. }
            | Self::Drop { table }
            | Self::Create { table }
            | Self::Other { table, .. } => table,
        }
    }
}

/// One change of a table's columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum ColumnStep {
    /// A column that was not there.
    Add {
        /// Name, type, and whether NULL is allowed. Where the statement leaves a text's charset open it is that of the table, if known.
        column: Column,
        /// What rows have in it that were there before.
        fill: Fill,
    },
    /// A column goes.
    Drop {
        /// Its name.
        column: Box<str>,
    },
    /// A column gets another name and nothing else.
    Rename {
        /// The name before.
        column: Box<str>,
        /// The name behind it.
        to: Box<str>,
    },
    /// A column gets another type. The values of rows that were there before are changed by the server as it casts them.
    Change {
        /// The column behind it, by the name that it has after all steps before this one.
        column: Column,
    },
}

/// What rows that were there before have in a new column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// NULL.
    Null,
    /// This value, typed as MySQL prints values of the column.
    Value(Box<str>),
    /// A value of each row's own, that the binlog does not tell: why, as the end of a sentence.
    Unknown(String),
}

/// A schema change in the log, and where it lies in each partition of the tables that it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Barrier {
    /// Its number in the log, from 1. Rises with each.
    pub number: u64,
    /// What happens there.
    pub change: SchemaChange,
    /// For each partition of its tables: every record before the change lies below this offset, every one behind it at or above.
    pub ends: Vec<PartitionEnd>,
}

/// Where a barrier lies in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionEnd {
    /// The partition.
    #[serde(flatten)]
    pub partition: LogPartition,
    /// The offset.
    pub end: i64,
}

/// What becomes of a target table when DDL changes its source. By table, from the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DdlPolicy {
    /// The table is changed in the same way; what can't be pauses.
    Evolve,
    /// The table waits at the barrier until an operator lets it go on.
    #[default]
    Pause,
    /// The target stays as it is; columns that it does not have are left out.
    Ignore,
}

/// What is done to one table of the target at a barrier. Each is a statement about how the table is afterwards, so doing it again
/// changes nothing (but for [`TargetAct::Truncate`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetAct {
    /// All rows go.
    Truncate,
    /// It has this column; rows that were there before have the value in it.
    Add {
        /// The column.
        column: Column,
        /// The value; never [`Fill::Unknown`].
        fill: Fill,
    },
    /// It has no such column.
    Drop {
        /// The column's name.
        column: Box<str>,
    },
    /// The column has another name.
    Rename {
        /// The name before.
        column: Box<str>,
        /// The name behind it.
        to: Box<str>,
    },
    /// The column holds every value of this type. Refused where values that it holds already would change.
    Widen {
        /// The column.
        column: Column,
    },
}

/// What is done at a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BarrierAct {
    /// These are carried out, in order, in one transaction with the mark that they are done.
    CarryOut(Vec<(Arc<TableMapping>, TargetAct)>),
    /// The tables wait for an operator; why, and what to do.
    Pause(String),
}

/// How far a barrier is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Some partitions are not there yet.
    Waiting,
    /// It waits for an operator; why.
    Paused(String),
    /// It is done, or an operator has let its tables go on: what lies behind it may be applied.
    Done,
}
