//! Starts capture and apply, kills them, asks them to stop, starts them again, sets a rival beside them; a supervisor's view.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tailrace::{
    apply::{Apply, FailedTables},
    capture::Capture,
    runtime::{Health, Shutdown, tasks},
};
use tailrace_contract::{ErrorKind, Log, LogPartition, PartitionProgress, Result, Sink, Source, StartAt};
use tailrace_memory::{LogEntry, Row};
use tailrace_row::{Field, Sequence, Value};
use tokio::task::JoinError;

use crate::{
    copies, defects, embedded,
    plan::{Sick, Start},
    process::{Mortal, Process},
    random::Random,
    world::{Property, World, log_name, rules, target_of},
};

/// How long a process may take to stop when asked.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Which command a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Capture,
    Apply,
    Embedded,
}

/// Keeps one process of the kind running until all is over; now and then a second one.
pub(crate) async fn supervise(world: Arc<World>, kind: Kind, mut random: Random) {
    let mut processes = tasks::Group::new();
    let mut running = 0_u32;
    let mut rewinds = world.plan.rewinds;
    let mut has_rival = has_rival(&world, kind);
    loop {
        if running == 0 {
            let has_rewound = rewinds > 0
                && match kind {
                    Kind::Capture => false,
                    Kind::Apply => rewind(&world, &mut random),
                    Kind::Embedded => embedded::rewind(&world, &mut random),
                };
            rewinds -= u32::from(has_rewound);
            let pause = random.millis(0, 200);
            if world.over.wait(pause).await {
                return;
            }
            processes.spawn("process", live(Arc::clone(&world), kind, random.fork()));
            running += 1;
        }
        let rival_in = random.millis(1, 1_000);
        tokio::select! {
            biased;
            _ended = processes.next() => running -= 1,
            () = tokio::time::sleep(rival_in), if has_rival && running == 1 => {
                has_rival = false;
                world.trace(|| format!("{kind:?}: a rival starts"));
                processes.spawn("process", live(Arc::clone(&world), kind, random.fork()));
                running += 1;
            }
        }
    }
}

fn has_rival(world: &World, kind: Kind) -> bool {
    match kind {
        Kind::Capture => world.plan.has_rival_capture,
        Kind::Apply | Kind::Embedded => world.plan.has_rival_apply,
    }
}

/// One process from its start to its end.
async fn live(world: Arc<World>, kind: Kind, mut random: Random) {
    let is_calm = world.is_calm();
    let life_calls = world.plan.life_calls.filter(|_| !is_calm);
    let stop_after = world.plan.stop_ms.filter(|_| !is_calm).map(|average| random.millis(0, average * 2));
    let process = Process::new(&world, random, life_calls);
    let stop = Shutdown::new();
    world.trace(|| format!("{kind:?} starts"));
    let running = run(kind, Arc::clone(&world), process.clone(), stop.clone());
    let mut task = tasks::spawn("main", running);
    tokio::select! {
        biased;
        ended = &mut task => return judge_end(&world, kind, ended, false),
        () = process.died() => {}
        () = asked(&world, kind, stop_after) => {
            world.trace(|| format!("{kind:?} is asked to stop"));
            stop.request();
            tokio::select! {
                biased;
                ended = &mut task => return judge_end(&world, kind, ended, true),
                () = process.died() => {}
                () = tokio::time::sleep(STOP_MAX) => {
                    world.fail(Property::NoHang, format!("{kind:?} did not stop within {STOP_MAX:?}"));
                }
            }
        }
    }
    process.kill();
    task.abort();
}

/// Waits until the process is to stop in good order.
async fn asked(world: &World, kind: Kind, stop_after: Option<Duration>) {
    let mut restarts = world.restarts.subscribe();
    let timer = async {
        match stop_after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = world.over.requested() => {}
        _ = restarts.changed(), if kind == Kind::Apply => {}
        () = timer => {}
    }
}

fn judge_end(world: &World, kind: Kind, ended: std::result::Result<Result<()>, JoinError>, was_asked: bool) {
    let error = match ended {
        Ok(Ok(())) if was_asked => return world.trace(|| format!("{kind:?} has stopped")),
        Ok(Ok(())) => return world.fail(Property::NoUnexpectedError, format!("{kind:?} ended by itself")),
        Err(join) => return world.fail(Property::NoUnexpectedError, format!("{kind:?}: {join}")),
        Ok(Err(error)) => error,
    };
    world.trace(|| format!("{kind:?} ends: {error}"));
    let is_provoked = match error.kind() {
        ErrorKind::Fenced => has_rival(world, kind),
        ErrorKind::TableFailed => kind == Kind::Apply && world.plan.sick != Sick::Nothing,
        ErrorKind::Transient
        | ErrorKind::Refused
        | ErrorKind::PositionLost
        | ErrorKind::Corrupt
        | ErrorKind::Cancelled => false,
    };
    if !is_provoked {
        world.fail(Property::NoUnexpectedError, format!("{kind:?} ended with {:?}: {error}", error.kind()));
    }
}

async fn run(kind: Kind, world: Arc<World>, process: Process, shutdown: Shutdown) -> Result<()> {
    let log: Arc<dyn Log> = Arc::new(Mortal::<dyn Log>::new(&process, Box::new(world.log.clone())));
    let log = defects::log(&world, log);
    let (metrics, health) = (Arc::clone(&world.metrics), Arc::new(Health::new()));
    match kind {
        Kind::Capture => {
            let source: Arc<dyn Source> = Arc::new(Mortal::<dyn Source>::new(&process, Box::new(world.source.clone())));
            let start = start_of(&world);
            let source = defects::source(&world, source);
            let filter = Arc::new(rules().filter());
            let limits = world.plan.commit;
            let (desk, backfill) = copies::beside(&world, &source, &health, &shutdown).unzip();
            drop(world);
            let capture =
                Capture { source, log, filter, rules: rules(), start, desk, limits, metrics, health, shutdown };
            copies::with_backfill(capture.run(), backfill).await
        }
        Kind::Apply => {
            let sink: Arc<dyn Sink> = Arc::new(Mortal::<dyn Sink>::new(&process, Box::new(world.sink.clone())));
            let sink = defects::sink(&world, sink);
            let (limits, failed) = (world.plan.apply, FailedTables::default());
            drop(world);
            let apply =
                Apply { log, sink, rules: rules(), limits, allow_existing: true, metrics, health, shutdown, failed };
            apply.run().await
        }
        Kind::Embedded => embedded::run(world, &process, shutdown).await,
    }
}

pub(crate) fn start_of(world: &World) -> StartAt {
    match world.plan.start {
        Start::Earliest => StartAt::Earliest,
        Start::Now => StartAt::Now,
    }
}

/// Sets one partition back by hand (all of the table, if statements have emptied it) and spoils rows that will be applied again; tells whether it did.
fn rewind(world: &World, random: &mut Random) -> bool {
    let progress = world.sink.progress(log_name(world));
    if world.is_calm() || progress.is_empty() {
        return false;
    }
    let progress = &progress[random.index(progress.len())];
    let next_offset = progress.next_offset.unwrap_or(0);
    let entries = world.log.entries(&progress.partition, 0);
    let applied: Vec<&LogEntry> = entries.iter().take_while(|entry| entry.offset < next_offset).collect();
    if applied.is_empty() {
        return false;
    }
    let place = random.index(applied.len());
    let sequence = applied[..place].iter().map(|entry| entry.sequence).max();
    let new_offset = if place == 0 && random.per_mille(500) { None } else { Some(applied[place].offset) };
    world.trace(|| format!("{} is set back to {new_offset:?}", progress.partition));
    world.has_rewound.store(true, Ordering::Relaxed);
    world.sink.set_progress(log_name(world), &progress.partition, new_offset, sequence);
    if world.log.barriers().iter().any(|barrier| barrier.change.tables().contains(&progress.partition.table)) {
        rewind_neighbours(world, &progress.partition, applied[place].sequence);
    }
    let again: Vec<&&LogEntry> = applied[place..].iter().filter(|entry| Some(entry.sequence) > sequence).collect();
    for _ in 0..random.index(4).min(again.len()) {
        let entry = again[random.index(again.len())];
        spoil(world, random, entry);
    }
    true
}

/// Sets the table's other partitions back to what the source wrote from then on.
fn rewind_neighbours(world: &World, partition: &LogPartition, from: Sequence) {
    let is_neighbour =
        |known: &PartitionProgress| known.partition.table == partition.table && known.partition != *partition;
    for known in world.sink.progress(log_name(world)).into_iter().filter(is_neighbour) {
        let entries = world.log.entries(&known.partition, 0);
        let next_offset = known.next_offset.unwrap_or(0);
        let Some(place) = entries.iter().position(|entry| entry.sequence >= from) else { continue };
        if entries[place].offset < next_offset {
            let sequence = entries[..place].iter().map(|entry| entry.sequence).max();
            world.sink.set_progress(log_name(world), &known.partition, Some(entries[place].offset), sequence);
        }
    }
}

/// Changes the row behind everybody's back, or takes it away.
fn spoil(world: &World, random: &mut Random, entry: &LogEntry) {
    let row = entry.after.as_ref().or(entry.before.as_ref()).expect("invariant: a record has an image");
    let target = target_of(row.schema().name());
    if random.per_mille(500) {
        return world.sink.remove_row(&target, &row.key());
    }
    let mut fields: Vec<Field<'_>> = row.image().fields().collect();
    fields[3] = Field::Value(Value::Text("spoiled"));
    world.sink.put_row(&target, Row::new(row.schema(), &fields));
}
