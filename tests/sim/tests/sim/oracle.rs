//! Holds the target against the log: at any moment its rows must be what the log says up to the stored progress.
//!
//! The log is folded here a second time, in the plainest way: record by record, a sequence at or below the last one of the
//! partition dropped; a change in part is put on the row that is there. What lies before a TRUNCATE is gone once the target has gone on behind it. After a rewind by hand the target runs ahead of its progress, so a table is looked at again only when
//! its partitions have caught up.

use std::collections::{BTreeMap, BTreeSet};

use tailrace_contract::{LogPartition, PartitionProgress, TargetTable};
use tailrace_memory::{Row, Rows, SinkSnapshot};
use tailrace_row::{Operation, Sequence, TableName};

use crate::world::{Property, Violation, World, log_name, target_of};

/// What the log said, partition by partition.
#[derive(Default)]
pub(crate) struct Oracle {
    partitions: BTreeMap<LogPartition, Folded>,
    /// Tables and statements behind which they had gone on, ever.
    met: BTreeSet<(TableName, Sequence)>,
}

#[derive(Default)]
struct Folded {
    next_offset: i64,
    last: Option<Sequence>,
    rows: BTreeMap<Vec<u8>, FoldedRow>,
}

struct FoldedRow {
    row: Row,
    /// What wrote it.
    sequence: Sequence,
    /// Whether it is there. Of a row that is copied later there may be only changes in part (E11): it is there if these came
    /// together and told all of it.
    is_sure: bool,
}

impl Oracle {
    pub(crate) fn look(&mut self, world: &World) -> Result<(), Violation> {
        let SinkSnapshot { tables, progress, met } = world.sink.snapshot(log_name(world));
        // Set back behind a statement that is to be met again.
        let mut behind: BTreeSet<TargetTable> = self.met.difference(&met).map(|(table, _)| target_of(table)).collect();
        self.met.extend(met);
        for progress in &progress {
            if !self.follow(world, progress)? {
                behind.insert(target_of(&progress.partition.table));
            }
        }
        for (target, rows) in tables.iter().filter(|(target, _)| !behind.contains(*target)) {
            self.compare(target, rows)?;
        }
        Ok(())
    }

    /// Folds the log up to the progress; tells whether the partition has caught up with what was ever applied.
    fn follow(&mut self, world: &World, progress: &PartitionProgress) -> Result<bool, Violation> {
        let partition = &progress.partition;
        let folded = self.partitions.entry(partition.clone()).or_default();
        let has_rewound = world.has_rewound.load(std::sync::atomic::Ordering::Relaxed);
        if progress.sequence < progress.highest && has_rewound {
            return Ok(false);
        }
        let next_offset = progress.next_offset.unwrap_or(0);
        if next_offset < folded.next_offset && !has_rewound {
            let what = format!("{partition} went back from {} to {next_offset}", folded.next_offset);
            return Err(violation(what));
        }
        for entry in world.log.entries(partition, folded.next_offset) {
            if entry.offset >= next_offset {
                break;
            }
            // A row that was copied has the sequence of what lies before it.
            let is_copied = entry.operation == Operation::Read && Some(entry.sequence) == folded.last;
            if Some(entry.sequence) <= folded.last && !is_copied {
                continue;
            }
            folded.last = Some(entry.sequence);
            let older = entry.before.and_then(|before| folded.rows.remove(&before.key()));
            let Some(after) = entry.after else { continue };
            let (is_whole, may_be_absent) = (!after.image().is_partial(), after.image().may_be_absent());
            let is_sure = is_whole || older.as_ref().is_some_and(|older| older.is_sure);
            if !is_sure && !may_be_absent {
                return Err(violation(format!("{partition}@{}: no row is there to change", entry.offset)));
            }
            let row = after.over(older.as_ref().map(|older| &older.row));
            folded.rows.insert(row.key(), FoldedRow { row, sequence: entry.sequence, is_sure });
        }
        folded.next_offset = folded.next_offset.max(next_offset);
        if progress.sequence != folded.last {
            let what =
                format!("{partition}@{next_offset}: sequence {:?}, the log says {:?}", progress.sequence, folded.last);
            return Err(violation(what));
        }
        Ok(true)
    }

    fn compare(&self, target: &TargetTable, rows: &Rows) -> Result<(), Violation> {
        let of_table = self.partitions.iter().filter(|(partition, _)| target_of(&partition.table) == *target);
        let emptied =
            self.met.iter().filter(|(table, _)| target_of(table) == *target).map(|(_, sequence)| *sequence).max();
        let mut count = 0;
        for (partition, folded) in of_table {
            for (key, known) in folded.rows.iter().filter(|(_, known)| Some(known.sequence) > emptied) {
                let found = rows.get(key);
                count += usize::from(found.is_some());
                let is_right = found.map_or(!known.is_sure, |row| *row == known.row);
                if !is_right {
                    let (place, is_there) = (format!("{partition}@{}", folded.next_offset), found.is_some());
                    let what = format!("{target}: {:?} of {place} is wrong; a row there: {is_there}", known.row);
                    return Err(violation(what));
                }
            }
        }
        if count == rows.len() {
            return Ok(());
        }
        Err(violation(format!("{target} has {} rows, the log says {count}", rows.len())))
    }
}

fn violation(what: String) -> Violation {
    Violation { property: Property::RowsMatchProgress, what }
}
