//! Did a consumer of committed records see every change exactly once, and each key's changes in order?
//!
//! What happened is told by `mysqlbinlog --verbose` of the server's own version ([`binlog`]): rows events with their places
//! and, for each row, whether it was inserted, updated or deleted. What was seen are the records of the topics ([`seen`]);
//! each names the place of its change (`source.file`, `pos`, `row`). [`judge`] holds one against the other:
//!
//! 1. Each row of each event was seen as one change, of the right kind, once; nothing else was seen.
//! 2. All records of a key lie in one partition, their places rising; a tombstone follows each delete at once.
//!
//! An update that changes the key is two records: a delete of the old key and an insert of the new one.

mod binlog;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};

use crate::harness::{Isolation, Scene};
pub(crate) use binlog::Start;

/// Where a row of the binlog stands: file number, begin of its rows event, number in the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: u32,
    event: u64,
    row: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Insert,
    Update,
    Delete,
}

/// The rows of one statement on one table. mysqlbinlog prints them behind the last of the statement's events, so they belong
/// to the events together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    table: String,
    file: u32,
    events: Vec<u64>,
    rows: Vec<Operation>,
}

/// A record as a consumer saw it. Records of a partition come in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    table: String,
    partition: i32,
    key: Vec<u8>,
    change: Option<(Place, Operation)>,
}

/// What was judged, for the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Judged {
    /// Rows that were changed.
    pub(crate) changes: u64,
    /// Records that were seen, tombstones included.
    pub(crate) records: u64,
    /// Keys among them.
    pub(crate) keys: u64,
    /// Updates that changed the key.
    pub(crate) key_changes: u64,
}

impl Scene {
    /// Where the server's binlog ends now: the history begins here.
    pub(crate) fn history_start(&self) -> Result<Start> {
        binlog::end(self)
    }

    /// Everything that happened to the scene's tables since then.
    pub(crate) fn history_since(&self, start: &Start) -> Result<History<'_>> {
        let statements = binlog::read(self, start)?;
        ensure!(!statements.is_empty(), "mysqlbinlog printed no change of {}: nothing to judge", self.database);
        Ok(History { scene: self, statements })
    }

    /// Judges everything that happened to the scene's tables since then. The topics must be complete.
    pub(crate) fn judge_history(&self, start: &Start) -> Result<Judged> {
        self.history_since(start)?.judge(Isolation::Committed)
    }
}

/// What happened.
pub(crate) struct History<'a> {
    scene: &'a Scene,
    statements: Vec<Statement>,
}

impl History<'_> {
    /// Holds what a consumer sees against it.
    pub(crate) fn judge(&self, isolation: Isolation) -> Result<Judged> {
        judge(&self.statements, seen::read(self.scene, isolation)?)
    }
}

fn judge(statements: &[Statement], seen: impl IntoIterator<Item = Seen>) -> Result<Judged> {
    let mut judged = Judged::default();
    let mut changes: BTreeMap<(String, Place), Vec<Operation>> = BTreeMap::new();
    let mut order = KeyOrder::default();
    for record in seen {
        judged.records += 1;
        order.check_next(&record)?;
        if let Some((place, operation)) = record.change {
            changes.entry((record.table, place)).or_default().push(operation);
        }
    }
    order.check_end()?;
    judged.keys = order.keys.len() as u64;
    for statement in statements {
        judged.changes += statement.rows.len() as u64;
        judged.key_changes += take_statement(statement, &mut changes)?;
    }
    let left = changes.len();
    if let Some(((table, place), operations)) = changes.pop_first() {
        anyhow::bail!("{left} changes were seen that never happened, the first: {table} {place:?} {operations:?}");
    }
    Ok(judged)
}

/// Takes a statement's rows out of what was seen; returns how many of them changed their key.
fn take_statement(statement: &Statement, changes: &mut BTreeMap<(String, Place), Vec<Operation>>) -> Result<u64> {
    let Statement { table, file, events, rows } = statement;
    let mut key_changes = 0;
    let mut expected = rows.iter();
    for event in events {
        // mysqlbinlog does not tell where one of several events ends: as many rows as were seen, without a gap.
        let is_only = events.len() == 1;
        for row in 0.. {
            let place = Place { file: *file, event: *event, row };
            let found = changes.remove(&(table.clone(), place));
            if found.is_none() && !(is_only && expected.len() > 0) {
                break;
            }
            let Some(operation) = expected.next() else {
                anyhow::bail!("{table} {place:?}: a change was seen that never happened");
            };
            let found = found.unwrap_or_default();
            ensure!(!found.is_empty(), "{table} {place:?}: {operation:?} was never seen");
            key_changes +=
                u64::from(check_row(*operation, &found).map_err(|error| error.context(format!("{table} {place:?}")))?);
        }
    }
    let missing = expected.len();
    ensure!(missing == 0, "{table}: {missing} rows of the statement at {file}:{events:?} were never seen");
    Ok(key_changes)
}

/// Whether the row changed its key.
fn check_row(happened: Operation, seen: &[Operation]) -> Result<bool> {
    use Operation::{Delete, Insert, Update};
    match (happened, seen) {
        (Insert, [Insert]) | (Update, [Update]) | (Delete, [Delete]) => Ok(false),
        // The halves may lie in two partitions, which are read in any order.
        (Update, [Delete, Insert] | [Insert, Delete]) => Ok(true),
        _ => anyhow::bail!("{happened:?} was seen as {seen:?}"),
    }
}

/// What is known of the keys while records are read.
#[derive(Default)]
struct KeyOrder {
    keys: HashMap<(String, Vec<u8>), LastOfKey>,
    /// By table and partition: the key whose tombstone must come next.
    due: HashMap<(String, i32), Vec<u8>>,
}

struct LastOfKey {
    partition: i32,
    place: Option<Place>,
}

impl KeyOrder {
    fn check_next(&mut self, record: &Seen) -> Result<()> {
        let Seen { table, partition, key, change } = record;
        let lane = (table.clone(), *partition);
        let due = self.due.remove(&lane);
        let Some((place, operation)) = change else {
            ensure!(due.as_ref() == Some(key), "{table}[{partition}]: a tombstone without a delete before it");
            return Ok(());
        };
        ensure!(due.is_none(), "{table}[{partition}] {place:?}: the tombstone of the delete before it is missing");
        let last = self.keys.entry((table.clone(), key.clone()));
        let last = last.or_insert(LastOfKey { partition: *partition, place: None });
        ensure!(
            last.partition == *partition,
            "{table} {place:?}: a key in partitions {} and {partition}",
            last.partition
        );
        if let Some(before) = last.place {
            ensure!(
                before < *place,
                "{table}[{partition}]: the change at {place:?} of a key follows the one at {before:?}"
            );
        }
        last.place = Some(*place);
        if *operation == Operation::Delete {
            self.due.insert(lane, key.clone());
        }
        Ok(())
    }

    fn check_end(&self) -> Result<()> {
        match self.due.keys().next() {
            None => Ok(()),
            Some((table, partition)) => anyhow::bail!("{table}[{partition}]: the last tombstone is missing"),
        }
    }
}
