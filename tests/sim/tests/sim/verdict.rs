//! After the end: the log against the source's binlog, the checkpoints against the records, the target against the source.

use std::collections::{BTreeMap, btree_map::Entry};

use tailrace_contract::{Checkpoint, LogPartition};
use tailrace_memory::{LogEntry, Row};
use tailrace_row::{Operation, Sequence};

use crate::world::{DATABASE, Property, Violation, World, executed, target_of};

/// A record as it must stand in the log.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    operation: Operation,
    before: Option<Row>,
    after: Option<Row>,
    /// Whether the source told it in part.
    is_in_part: bool,
}

impl Expected {
    /// Whether a record says the same.
    fn is(&self, entry: &LogEntry) -> bool {
        if !self.is_in_part {
            return (self.operation, &self.before, &self.after) == (entry.operation, &entry.before, &entry.after);
        }
        let filled = |row: &Option<Row>| row.as_ref().map(|row| row.over(self.before.as_ref()));
        (self.operation, &self.before, &self.after) == (entry.operation, &filled(&entry.before), &filled(&entry.after))
    }
}

pub(crate) fn judge(world: &World) -> Result<(), Violation> {
    let expected = expected_records(world)?;
    judge_commits(world, &expected)?;
    judge_log(world, &expected)?;
    judge_target(world)
}

/// Position and counted transactions of a checkpoint.
fn counts(checkpoint: &Checkpoint) -> (u64, u64) {
    (executed(&checkpoint.mark.position), checkpoint.mark.transactions)
}

/// Every change of the captured tables since the first checkpoint, a key change as two.
fn expected_records(world: &World) -> Result<BTreeMap<Sequence, Expected>, Violation> {
    let first = world.log.commits().into_iter().find_map(|commit| commit.checkpoint);
    let Some(first) = first else { return Err(violation(Property::LogIsExact, "the log has no checkpoint")) };
    let (base, counted) = counts(&first);
    if counted != 0 {
        return Err(violation(Property::CheckpointMatchesRecords, "the first checkpoint counts transactions"));
    }
    let mut expected = BTreeMap::new();
    let base = usize::try_from(base).expect("invariant: a short binlog");
    for (number, transaction) in (1..).zip(&world.source.transactions()[base..]) {
        for change in transaction.changes() {
            let row = change.before.as_ref().or(change.after.as_ref()).expect("invariant: a change has an image");
            if &*row.schema().name().database != DATABASE {
                continue;
            }
            let sequence = Sequence { epoch: first.epoch, transaction: number, event: change.event, row: change.row };
            let has_moved =
                matches!((&change.before, &change.after), (Some(before), Some(after)) if before.key() != after.key());
            let (before, after, is_in_part) = (change.before, change.after, transaction.is_in_part());
            if has_moved {
                let first = Expected { operation: Operation::Delete, before, after: None, is_in_part: false };
                expected.insert(sequence, first);
                let second = Expected { operation: Operation::Insert, before: None, after, is_in_part: false };
                expected.insert(sequence.second_half(), second);
            } else {
                expected.insert(sequence, Expected { operation: change.operation, before, after, is_in_part });
            }
        }
    }
    Ok(expected)
}

/// Walks the log transactions: each brings exactly the records between its checkpoint and the one before.
fn judge_commits(world: &World, expected: &BTreeMap<Sequence, Expected>) -> Result<(), Violation> {
    let order: Vec<Sequence> = expected.keys().copied().collect();
    let failed = |what: String| Err(violation(Property::CheckpointMatchesRecords, what));
    let mut done = 0;
    let mut base = None;
    for commit in world.log.commits() {
        let rest = &order[done..];
        let changes: Vec<Sequence> = commit.sequences.iter().copied().filter(|one| !is_of_copy(*one)).collect();
        if !rest.starts_with(&changes) {
            let last = done.checked_sub(1).map(|last| order[last].to_string());
            let (first, count) = (changes[0], changes.len());
            return failed(format!("behind {last:?} came {count} records from {first} on"));
        }
        let Some(checkpoint) = commit.checkpoint else { continue };
        done += changes.len();
        let (executed, counted) = counts(&checkpoint);
        if executed - counted != *base.get_or_insert(executed) {
            return failed(format!("the position {} does not fit {counted} transactions", checkpoint.mark.position));
        }
        let covered = order.iter().take_while(|sequence| is_covered(&checkpoint, **sequence)).count();
        if covered != done {
            return failed(format!("{checkpoint:?} covers {covered} records, {done} are in the log"));
        }
    }
    if done == order.len() { Ok(()) } else { failed(format!("{done} of {} records are covered", order.len())) }
}

/// Whether it is the sequence of a row that was copied: behind all changes of its transaction.
pub(crate) fn is_of_copy(sequence: Sequence) -> bool {
    sequence.event == u32::MAX
}

fn is_covered(checkpoint: &Checkpoint, sequence: Sequence) -> bool {
    let whole_row = Sequence { row: sequence.row - sequence.row % 2, ..sequence };
    sequence.transaction <= checkpoint.mark.transactions
        || checkpoint.split.as_ref().is_some_and(|split| whole_row <= split.last)
}

/// Reads the partitions as anybody may: each change once and in order, but for what was torn.
fn judge_log(world: &World, expected: &BTreeMap<Sequence, Expected>) -> Result<(), Violation> {
    let failed = |what: String| Err(violation(Property::LogIsExact, what));
    let (mut seen, mut doubled) = (0, 0);
    let mut partition_of: BTreeMap<(String, Vec<u8>), LogPartition> = BTreeMap::new();
    for partition in world.log.ends().into_keys() {
        let mut last = None;
        for entry in world.log.entries(&partition, 0).into_iter().filter(|entry| !is_of_copy(entry.sequence)) {
            let Some(known) = expected.get(&entry.sequence) else {
                return failed(format!("{partition}@{} holds the unknown {}", entry.offset, entry.sequence));
            };
            if !known.is(&entry) {
                return failed(format!("{partition}@{}: {} is not what the source said", entry.offset, entry.sequence));
            }
            let row = entry.before.as_ref().or(entry.after.as_ref()).expect("invariant: a record has an image");
            match partition_of.entry((partition.table.to_string(), row.key())) {
                Entry::Vacant(place) => drop(place.insert(partition.clone())),
                Entry::Occupied(place) if *place.get() == partition => {}
                Entry::Occupied(place) => return failed(format!("a key lies in {partition} and {}", place.get())),
            }
            if Some(entry.sequence) > last {
                last = Some(entry.sequence);
                seen += 1;
            } else {
                doubled += 1;
            }
        }
    }
    let torn: usize = world
        .log
        .commits()
        .iter()
        .filter(|commit| commit.checkpoint.is_none())
        .map(|commit| commit.sequences.iter().filter(|sequence| !is_of_copy(**sequence)).count())
        .sum();
    if doubled != torn {
        return failed(format!("{doubled} records stand there twice, {torn} were torn"));
    }
    if seen == expected.len() { Ok(()) } else { failed(format!("{seen} of {} records", expected.len())) }
}

fn judge_target(world: &World) -> Result<(), Violation> {
    let tables: Vec<_> = world.log.ends().into_keys().map(|partition| partition.table).collect();
    for table in tables.iter().filter(|table| !world.is_lost(table)) {
        if world.source.rows(table) != world.sink.rows(&target_of(table)) {
            return Err(violation(Property::TargetEqualsSource, format!("the rows of {table} differ")));
        }
    }
    Ok(())
}

fn violation(property: Property, what: impl Into<String>) -> Violation {
    Violation { property, what: what.into() }
}
