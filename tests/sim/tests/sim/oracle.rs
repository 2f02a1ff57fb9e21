//! Holds the target against the log: at any moment its rows must be what the log says up to the stored progress.
//!
//! The log is folded here a second time, in the plainest way: record by record, a sequence at or below the last one of the
//! partition dropped. What lies before a TRUNCATE is gone once the target has gone on behind it. After a rewind by hand the target runs ahead of its progress, so a table is looked at again only when
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
    /// Each row with the sequence that wrote it.
    rows: BTreeMap<Vec<u8>, (Row, Sequence)>,
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
            if let Some(before) = entry.before {
                folded.rows.remove(&before.key());
            }
            if let Some(after) = entry.after {
                folded.rows.insert(after.key(), (after, entry.sequence));
            }
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
            let is_left = |(_, (_, sequence)): &(&Vec<u8>, &(Row, Sequence))| Some(*sequence) > emptied;
            count += folded.rows.iter().filter(is_left).count();
            let wrong = folded.rows.iter().filter(is_left).find(|(key, (row, _))| rows.get(*key) != Some(row));
            if let Some((key, (row, _))) = wrong {
                let (place, is_there) = (format!("{partition}@{}", folded.next_offset), rows.contains_key(key));
                return Err(violation(format!("{target}: {row:?} of {place} is wrong; a row there: {is_there}")));
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
