//! Runs in which tables have rows that nobody captured: who copies them, and what must hold of the copies.
//!
//! What is in the log of a copied row must be exactly the source's row as of the transaction behind which it stands: no older
//! image, which would undo a change, and no newer one, which would run ahead of the changes.

use std::{collections::BTreeMap, sync::Arc};

use tailrace::{
    backfill::{self, Backfill, Operator, ThrottleLimits},
    runtime::{Health, Shutdown, tasks},
    state::ledger::{self, CopyState, TableEntry},
    windows::Desk,
};
use tailrace_contract::{LedgerEntry, Result, Source};
use tailrace_memory::{BinlogTransaction, LogEntry, Row, Rows};
use tailrace_row::{Operation, Sequence, TableName};

use crate::{
    embedded::{self, STREAM},
    plan::Form,
    world::{Property, Violation, World, executed, rules},
};

/// What copies rows beside the process that writes, and where they meet.
pub(crate) fn beside(
    world: &World,
    source: &Arc<dyn Source>,
    health: &Arc<Health>,
    shutdown: &Shutdown,
) -> Option<(Desk, Backfill)> {
    let copies = world.plan.copies?;
    let desk = Desk::default();
    let backfill = Backfill {
        source: Arc::clone(source),
        desk: desk.clone(),
        filter: Arc::new(rules().filter()),
        rules: rules(),
        limits: copies.limits,
        throttle: ThrottleLimits::default(),
        applied: None,
        operator: Operator::new(None),
        metrics: Arc::clone(&world.metrics),
        health: Arc::clone(health),
        shutdown: shutdown.child(),
    };
    Some((desk, backfill))
}

/// Runs the one who writes, and ends what copies with it.
pub(crate) async fn with_backfill(writes: impl Future<Output = Result<()>>, backfill: Option<Backfill>) -> Result<()> {
    let Some(backfill) = backfill else { return writes.await };
    let stop = backfill.shutdown.clone();
    let mut copies = tasks::Group::new();
    copies.spawn(backfill::PART, backfill.run());
    let written = writes.await;
    stop.request();
    let copied = copies.next().await.expect("invariant: it was started");
    written.and(copied.expect("what copies does not panic"))
}

/// Whether there is a checkpoint: from then on everything is captured.
pub(crate) fn has_begun(world: &World) -> bool {
    world.log.checkpoint().is_some() || embedded::checkpoint(world).is_some()
}

fn stored(world: &World) -> Vec<LedgerEntry> {
    let documents = match world.plan.form {
        Form::Log => world.log.ledger(),
        Form::Embedded => world.sink.ledger(STREAM),
    };
    documents.into_iter().map(|(key, value)| LedgerEntry { key, value: Some(value) }).collect()
}

/// What the ledger says of the tables.
pub(crate) fn tables(world: &World) -> Vec<TableEntry> {
    ledger::tables(&stored(world)).expect("the ledger can be read")
}

/// Whether the ledger says that all is copied.
pub(crate) fn are_done(world: &World) -> bool {
    let tables = tables(world);
    let with_history = world.with_history.lock().expect("invariant: nobody panics with it");
    let is_known = |name: &TableName| tables.iter().any(|table| table.table == *name);
    tables.iter().all(|table| table.state == CopyState::Done) && with_history.iter().all(is_known)
}

/// After the end.
pub(crate) fn judge(world: &World) -> std::result::Result<(), Violation> {
    judge_ledger(world)?;
    if world.plan.form == Form::Log { judge_log(world) } else { Ok(()) }
}

/// The chunks of each table follow one another from its beginning to its end, in whatever order they were copied.
fn judge_ledger(world: &World) -> std::result::Result<(), Violation> {
    let failed = |what: String| Err(Violation { property: Property::LedgerIsExact, what });
    let chunks = ledger::chunks(&stored(world)).expect("the ledger can be read");
    let with_history = world.with_history.lock().expect("invariant: nobody panics with it");
    for table in tables(world) {
        let of_table: Vec<_> = chunks.iter().filter(|chunk| chunk.table == table.table).collect();
        let rows: u64 = of_table.iter().map(|chunk| chunk.rows_written).sum();
        if (of_table.len() as u64, rows) != (table.chunks, table.rows_written) {
            return failed(format!("{table:?} does not count its chunks"));
        }
        // It had no rows at first, nobody waited for it, and its copy had only just begun when all was asked to stop.
        if table.state == CopyState::Copying && !with_history.contains(&table.table) {
            continue;
        }
        let mut left = of_table;
        let mut reached = None;
        loop {
            let Some(next) = left.iter().position(|chunk| chunk.after == reached) else {
                return failed(format!("no chunk of {table:?} follows {reached:?}"));
            };
            reached.clone_from(&left.swap_remove(next).until);
            if reached.is_none() {
                break;
            }
        }
        if !left.is_empty() {
            return failed(format!("parts of {table:?} were copied twice: {left:?}"));
        }
    }
    Ok(())
}

/// Each row that was copied is the source's, as of where it stands; the last record of each key is the source's row.
fn judge_log(world: &World) -> std::result::Result<(), Violation> {
    let failed = |what: String| Err(Violation { property: Property::LogIsExact, what });
    let mut copied: Vec<(Sequence, Row)> = Vec::new();
    let mut last = BTreeMap::<TableName, BTreeMap<Vec<u8>, (Row, Sequence)>>::new();
    for partition in world.log.ends().into_keys() {
        let rows = last.entry(partition.table.clone()).or_default();
        for LogEntry { operation, sequence, before, after, .. } in world.log.entries(&partition, 0) {
            if let (Operation::Read, Some(row)) = (operation, &after) {
                copied.push((sequence, row.clone()));
            }
            let older = before.and_then(|before| rows.remove(&before.key()));
            let after = after.map(|after| after.over(older.as_ref().map(|(row, _)| row)));
            after.map(|row| rows.insert(row.key(), (row, sequence)));
        }
    }
    copied.sort_by_key(|(sequence, _)| *sequence);
    let first = world.log.commits().into_iter().find_map(|commit| commit.checkpoint);
    let base = first.map_or(0, |first| executed(&first.mark.position));
    let transactions = world.source.transactions();
    let (mut tables, mut done) = (BTreeMap::new(), 0);
    for (sequence, row) in copied {
        let behind = usize::try_from(base + sequence.transaction).expect("invariant: a short binlog");
        transactions[done..behind].iter().for_each(|transaction| follow(transaction, &mut tables));
        done = behind;
        let rows = tables.get(row.schema().name());
        if rows.and_then(|rows: &Rows| rows.get(&row.key())) != Some(&row) {
            return failed(format!("{row:?} at {sequence} is not what the source had there"));
        }
    }
    for (table, mut rows) in last {
        let of_table = world.log.barriers().into_iter().filter(|barrier| barrier.change.tables().contains(&&table));
        let emptied = of_table.map(|barrier| barrier.change.sequence).max();
        rows.retain(|_, (_, sequence)| Some(*sequence) > emptied);
        let rows: Rows = rows.into_iter().map(|(key, (row, _))| (key, row)).collect();
        if rows != world.source.rows(&table) {
            return failed(format!("the last records of {table} are not its rows"));
        }
    }
    Ok(())
}

/// Does to the tables what the transaction did.
fn follow(transaction: &BinlogTransaction, tables: &mut BTreeMap<TableName, Rows>) {
    for act in transaction.acts() {
        tables.remove(act.table());
    }
    for change in transaction.changes() {
        let row = change.before.as_ref().or(change.after.as_ref()).expect("invariant: a change has an image");
        let rows = tables.entry(row.schema().name().clone()).or_default();
        change.before.as_ref().map(|before| rows.remove(&before.key()));
        change.after.map(|after| rows.insert(after.key(), after));
    }
}
