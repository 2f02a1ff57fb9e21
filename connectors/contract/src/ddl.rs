//! What DDL of the source does to captured tables, and the barrier at which a target follows it.
//!
//! A statement takes effect at one point of the stream, for all rows of its tables at once, while a log has many partitions, each
//! read at its own pace. So it travels as a *barrier*: a document beside the records that names, for each partition, the offset
//! behind the last record before it. No record beyond that offset is applied until every partition of the table stands there and the
//! act is done, once, by whoever finds it so.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use tailrace_row::{Column, Sequence, TableName};

use crate::{LogPartition, PartitionProgress, StreamStep, TableMapping};

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

impl SchemaChange {
    /// The captured tables that it concerns, each once, in order; of a new name both.
    #[must_use]
    pub fn tables(&self) -> BTreeSet<&TableName> {
        self.acts.iter().flat_map(TableAct::names).collect()
    }
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
    /// The table gets another name; one of the two may be no captured table. Where in one statement another one takes the name, the
    /// next act of the table is how the columns of the two differ ([`TableAct::Alter`]), or why that is not known
    /// ([`TableAct::Other`]).
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
    /// No statement: changes of the table are missing, so its rows count for nothing. They go, and what the source has is copied anew.
    Renew {
        /// The table.
        table: TableName,
    },
    /// What can't be followed.
    Other {
        /// The table.
        table: TableName,
        /// Why, as the end of a sentence: "it changes the primary key".
        reason: String,
        /// Whether rows change without a trace from here on: then nobody may pass over it without being told.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        hides_changes: bool,
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
            | Self::Renew { table }
            | Self::Other { table, .. } => table,
        }
    }

    /// The names that the table has before and behind it.
    #[must_use]
    pub fn names(&self) -> [&TableName; 2] {
        match self {
            Self::Rename { table, to } => [table, to],
            Self::Truncate { .. }
            | Self::Alter { .. }
            | Self::Drop { .. }
            | Self::Create { .. }
            | Self::Renew { .. }
            | Self::Other { .. } => [self.table(); 2],
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

impl Barrier {
    /// Where it lies in the partitions of a table.
    #[must_use]
    pub fn ends_of(&self, table: &TableName) -> Vec<PartitionEnd> {
        self.ends.iter().filter(|end| end.partition.table == *table).cloned().collect()
    }
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
    /// The same; and a table that began as a copy and takes the name has the same rows, but for the changes of its columns, as gh-ost and
    /// pt-online-schema-change see to it.
    EvolveSwaps,
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

/// What is done to one table at a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BarrierAct {
    /// These are carried out, in order, in one transaction with the mark that they are done; there may be none.
    CarryOut(Vec<TargetAct>),
    /// The table waits for an operator; why, and what to do.
    Pause(String),
}

/// A table at a barrier: what is asked of a target.
#[derive(Clone, Copy, Debug)]
pub struct Encounter<'a> {
    /// The log's name, or the stream's.
    pub log: &'a str,
    /// The table, and where it goes.
    pub mapping: &'a TableMapping,
    /// The barrier's number, for people: what it is the change's sequence tells.
    pub number: u64,
    /// What happens there.
    pub change: &'a SchemaChange,
    /// What is to be done.
    pub act: &'a BarrierAct,
    /// Where the table comes from.
    pub place: BarrierPlace<'a>,
}

/// How a table comes to a barrier.
#[derive(Clone, Copy, Debug)]
pub enum BarrierPlace<'a> {
    /// By way of a log, in these partitions. What is done once stays done.
    Log(&'a [PartitionEnd]),
    /// In a stream, in which nothing from behind the statement is written when it is read: so it is done each time that it is read,
    /// but for one that an operator let pass and that was not passed yet. The checkpoint behind the statement, if this is the last
    /// of its tables, is saved in the same transaction; it is not where the table waits.
    Stream(Option<StreamStep<'a>>),
}

impl<'a> Encounter<'a> {
    /// Where it lies in each partition of the table; nowhere without a log.
    #[must_use]
    pub fn ends(&self) -> &'a [PartitionEnd] {
        match self.place {
            BarrierPlace::Log(ends) => ends,
            BarrierPlace::Stream(_) => &[],
        }
    }

    /// The checkpoint to be saved with it.
    #[must_use]
    pub fn step(&self) -> Option<StreamStep<'a>> {
        match self.place {
            BarrierPlace::Log(_) => None,
            BarrierPlace::Stream(step) => step,
        }
    }

    /// Whether the table goes on without the act, as the target knows the meeting.
    #[must_use]
    pub fn is_passed(&self, known: MeetingState) -> bool {
        match (known, self.place) {
            (MeetingState::Done, BarrierPlace::Log(_)) | (MeetingState::Resumed, _) => true,
            (MeetingState::Done, BarrierPlace::Stream(_)) | (MeetingState::Paused, _) => false,
        }
    }
}

/// What a target knows of a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeetingState {
    /// The table waits for an operator. Set by a meeting.
    Paused,
    /// An operator has let it go on. Set by [`crate::Sink::resume`]; in a stream it lasts until the checkpoint is behind it.
    Resumed,
    /// The act was carried out. Set by a meeting.
    Done,
}

impl MeetingState {
    /// As a target stores it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Done => "done",
        }
    }

    /// Reads what [`MeetingState::name`] wrote.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Paused, Self::Resumed, Self::Done].into_iter().find(|state| state.name() == name)
    }
}

/// How far a table is at a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Some partitions are not there yet.
    Waiting,
    /// It waits for an operator; why.
    Paused(String),
    /// It is done, or an operator has let the table go on: what lies behind it may be applied.
    Done,
}

/// What a target keeps of a table's meeting at a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMeeting {
    /// The table.
    pub table: TableName,
    /// The change's, by which it is known.
    pub sequence: Sequence,
    /// The barrier's number.
    pub number: u64,
    /// The statement.
    pub statement: String,
    /// Where it stands in the source.
    pub place: String,
    /// Why the table waits, if it does; none if it is done.
    pub paused: Option<String>,
    /// When it came to be so, in microseconds since 1970.
    pub since_micros: i64,
}

/// How the partitions of a table stand to a barrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Some have records before it that are not applied.
    Before,
    /// All are there, and none has applied what lies behind it.
    There,
    /// All are there, and this one has applied a record behind it.
    Beyond(LogPartition),
}

/// Judges by the target's progress alone, whoever made it. The offset tells that all before the barrier is applied: the end of a
/// quiet partition may be a marker, so it may lie beyond (E23). Whether more than that is applied only the sequence tells.
#[must_use]
pub fn standing(ends: &[PartitionEnd], change: Sequence, progress: &[PartitionProgress]) -> Standing {
    let of = |end: &PartitionEnd| progress.iter().find(|known| known.partition == end.partition);
    let is_there = |end: &PartitionEnd| of(end).and_then(|known| known.next_offset).unwrap_or(0) >= end.end;
    if !ends.iter().all(is_there) {
        return Standing::Before;
    }
    let has_passed = |end: &&PartitionEnd| of(end).is_some_and(|known| known.sequence > Some(change));
    match ends.iter().find(has_passed) {
        Some(end) => Standing::Beyond(end.partition.clone()),
        None => Standing::There,
    }
}

#[cfg(test)]
mod tests {
    use tailrace_row::Epoch;

    use super::*;
    use crate::Owner;

    fn at(transaction: u64) -> Sequence {
        Sequence { epoch: Epoch(1), transaction, event: 0, row: 0 }
    }

    fn check(stored: [(Option<i64>, Option<u64>); 2], expect: &Standing) {
        let partition = |index| LogPartition { table: TableName::new("shop", "items"), index };
        let ends = [0, 1].map(|index| PartitionEnd { partition: partition(index), end: [7, 0][index as usize] });
        let progress = [0, 1].map(|index| {
            let (next_offset, sequence) = stored[index as usize];
            let sequence = sequence.map(at);
            PartitionProgress { partition: partition(index), next_offset, sequence, highest: sequence, owner: Owner(1) }
        });
        assert_eq!(standing(&ends, at(50), &progress), *expect, "{stored:?}");
    }

    #[test]
    fn e23_a_partition_stands_at_a_barrier_wherever_its_end_came_to_lie() {
        check([(Some(6), Some(49)), (Some(0), None)], &Standing::Before);
        check([(Some(7), Some(49)), (None, None)], &Standing::There);
        check([(Some(9), Some(49)), (Some(3), None)], &Standing::There);
        let beyond = LogPartition { table: TableName::new("shop", "items"), index: 1 };
        check([(Some(9), Some(50)), (Some(3), Some(51))], &Standing::Beyond(beyond));
        check([(None, None), (Some(3), Some(51))], &Standing::Before);
    }
}
