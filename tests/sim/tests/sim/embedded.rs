//! Runs without a log: the process, its rewinds, and what must hold of the target at any moment.
//!
//! The source's transactions are folded here in the plainest way up to the checkpoint that the target holds: the rows there
//! must be exactly these. After a rewind by hand the target runs ahead of its checkpoint, so it is looked at again only when
//! that has caught up.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use tailrace::{
    embedded::Embedded,
    runtime::{Health, Shutdown},
};
use tailrace_contract::{Checkpoint, Result, Sink, Source, StreamCheckpoint, TargetTable};
use tailrace_memory::Rows;
use tailrace_row::Sequence;

use crate::{
    copies, defects,
    life::start_of,
    process::{Mortal, Process},
    random::Random,
    world::{DATABASE, Property, Violation, World, executed, log_name, rules, target_of},
};

pub(crate) const STREAM: &str = "main";

/// One process from its start to its end.
pub(crate) async fn run(world: Arc<World>, process: &Process, shutdown: Shutdown) -> Result<()> {
    let source: Arc<dyn Source> = Arc::new(Mortal::<dyn Source>::new(process, Box::new(world.source.clone())));
    let sink: Arc<dyn Sink> = Arc::new(Mortal::<dyn Sink>::new(process, Box::new(world.sink.clone())));
    let (source, health) = (defects::source(&world, source), Arc::new(Health::new()));
    let (desk, backfill) = copies::beside(&world, &source, &health, &shutdown).unzip();
    let embedded = Embedded {
        source,
        sink: defects::sink(&world, sink),
        stream: STREAM.to_owned(),
        filter: Arc::new(rules().filter()),
        rules: rules(),
        start: start_of(&world),
        desk,
        limits: world.plan.apply,
        idle_interval: world.plan.commit.idle_interval,
        allow_existing: true,
        metrics: Arc::clone(&world.metrics),
        health,
        shutdown,
    };
    drop(world);
    copies::with_backfill(embedded.run(), backfill).await
}

/// What the target holds.
pub(crate) fn checkpoint(world: &World) -> Option<Checkpoint> {
    Some(stored(world)?.at)
}

fn stored(world: &World) -> Option<StreamCheckpoint> {
    world.sink.stream(STREAM)?.checkpoint
}

/// Puts a checkpoint back that the target held before; tells whether it did.
pub(crate) fn rewind(world: &World, random: &mut Random) -> bool {
    // A commit that came late was seen by nobody yet.
    look(world);
    let saved = world.saved.lock().unwrap_or_else(PoisonError::into_inner);
    let now = checkpoint(world);
    // Not ahead of one that was set back before: that would leave out what lies between.
    let is_earlier = |one: &&StreamCheckpoint| Some(place(&one.at)) <= now.as_ref().map(place);
    let earlier: Vec<&StreamCheckpoint> = saved.iter().filter(is_earlier).collect();
    if world.is_calm() || earlier.is_empty() {
        return false;
    }
    let earlier = earlier[random.index(earlier.len())];
    world.trace(|| format!("the checkpoint is set back to {earlier:?}"));
    world.has_rewound.store(true, Ordering::Relaxed);
    world.sink.set_checkpoint(STREAM, earlier);
    true
}

/// How far a checkpoint is.
fn place(checkpoint: &Checkpoint) -> (u64, Option<Sequence>) {
    (executed(&checkpoint.mark.position), checkpoint.split.as_ref().map(|split| split.last))
}

/// Holds the target against the source at this moment.
pub(crate) fn look(world: &World) {
    let Some(now) = stored(world) else { return };
    let mut saved = world.saved.lock().unwrap_or_else(PoisonError::into_inner);
    let highest = saved.iter().map(|one| place(&one.at)).max();
    if Some(place(&now.at)) < highest {
        if !world.has_rewound.load(Ordering::Relaxed) {
            world.fail(Property::RowsMatchProgress, format!("the checkpoint went back to {now:?}"));
        }
        return;
    }
    if saved.last() != Some(&now) {
        saved.push(now.clone());
    }
    let is_whole = world.plan.copies.is_none();
    if let Err(violation) = compare(world, &now.at, Property::RowsMatchProgress, is_whole) {
        world.fail(violation.property, violation.what);
    }
}

/// After the end.
pub(crate) fn judge(world: &World) -> std::result::Result<(), Violation> {
    let property = Property::TargetEqualsSource;
    let now = checkpoint(world).ok_or_else(|| Violation { property, what: "there is no checkpoint".into() })?;
    compare(world, &now, property, true)
}

/// Rows that are not copied yet may be missing where it is not to be whole; those that are there are as of the checkpoint.
fn compare(
    world: &World,
    checkpoint: &Checkpoint,
    property: Property,
    is_whole: bool,
) -> std::result::Result<(), Violation> {
    let expected = fold(world, checkpoint);
    for (target, rows) in world.sink.snapshot(log_name(world)).tables {
        let wanted = expected.get(&target).cloned().unwrap_or_default();
        let is_right =
            if is_whole { rows == wanted } else { rows.iter().all(|(key, row)| wanted.get(key) == Some(row)) };
        if !is_right {
            let what = format!("{target} is not the source as of {checkpoint:?}");
            return Err(Violation { property, what });
        }
    }
    Ok(())
}

/// The captured tables as of the checkpoint.
fn fold(world: &World, checkpoint: &Checkpoint) -> BTreeMap<TargetTable, Rows> {
    let whole = usize::try_from(executed(&checkpoint.mark.position)).expect("invariant: a short binlog");
    let mut tables = BTreeMap::<TargetTable, Rows>::new();
    for (number, transaction) in world.source.transactions().iter().take(whole + 1).enumerate() {
        for act in transaction.acts().iter().filter(|_| number < whole) {
            tables.remove(&target_of(act.table()));
        }
        for change in transaction.changes() {
            let is_in = number < whole
                || checkpoint
                    .split
                    .as_ref()
                    .is_some_and(|split| (change.event, change.row) <= (split.last.event, split.last.row));
            let row = change.before.as_ref().or(change.after.as_ref()).expect("invariant: a change has an image");
            if !is_in || &*row.schema().name().database != DATABASE {
                continue;
            }
            let rows = tables.entry(target_of(row.schema().name())).or_default();
            if let Some(before) = &change.before {
                rows.remove(&before.key());
            }
            if let Some(after) = change.after {
                rows.insert(after.key(), after);
            }
        }
    }
    tables
}
