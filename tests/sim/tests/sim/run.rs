//! One run: from its seed to its verdict, in virtual time on one thread.

use std::{sync::Arc, time::Duration};

use tailrace::{
    runtime::{retry, tasks},
    telemetry::ErrorLabels,
};
use tailrace_contract::ErrorKind;

use crate::{
    copies,
    defects::Defect,
    embedded,
    life::{Kind, supervise},
    plan::{Case, Form, Plan, Sick},
    random::Random,
    script, verdict,
    world::{Deaths, Trace, Violation, World, executed, log_name, table_name},
};

/// How long the run may take to come to rest, in virtual time.
const REST_MAX: Duration = Duration::from_secs(300);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) verdict: Result<(), Violation>,
    pub(crate) trace: Option<Trace>,
    pub(crate) plan: Plan,
    pub(crate) counts: Counts,
}

/// What happened in a run, to show that runs do meet what they are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) runs: u64,
    pub(crate) deaths: Deaths,
    pub(crate) faults: u64,
    pub(crate) records: u64,
    pub(crate) splits: u64,
    pub(crate) rewinds: u64,
    pub(crate) fences: u64,
    pub(crate) torn: u64,
    pub(crate) duplicates: u64,
    pub(crate) reapplied: u64,
    pub(crate) sink_commits: u64,
    pub(crate) barriers: u64,
    pub(crate) copied: u64,
    pub(crate) dropped: u64,
    pub(crate) chunks: u64,
    pub(crate) shared: u64,
    pub(crate) absent: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        for (place, count) in &other.deaths {
            *self.deaths.entry(*place).or_default() += count;
        }
        self.faults += other.faults;
        self.records += other.records;
        self.splits += other.splits;
        self.rewinds += other.rewinds;
        self.fences += other.fences;
        self.torn += other.torn;
        self.duplicates += other.duplicates;
        self.reapplied += other.reapplied;
        self.sink_commits += other.sink_commits;
        self.barriers += other.barriers;
        self.copied += other.copied;
        self.dropped += other.dropped;
        self.chunks += other.chunks;
        self.shared += other.shared;
        self.absent += other.absent;
    }
}

/// Runs a seed in virtual time on one thread.
pub(crate) fn run_seed(case: Case, seed: u64, defect: Option<Defect>, trace: Option<Trace>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O can be made");
    let mut random = Random::new(seed);
    retry::seed_jitter(random.next());
    let plan = Plan::draw(&mut random);
    let plan = if case.has_copies { plan.with_copies(&mut random) } else { plan };
    let plan = if case.form == Form::Embedded { plan.embedded() } else { plan };
    let report = runtime.block_on(run_plan(plan, random, defect, trace));
    // Tasks of dead processes wait for ever.
    runtime.shutdown_background();
    report
}

/// Runs seeds side by side on real threads and by the real clock. Only that they succeed is repeatable.
pub(crate) fn run_on_threads(seeds: std::ops::Range<u64>) -> Vec<(u64, Report)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
    let runtime = runtime.expect("a runtime without I/O can be made");
    let reports = runtime.block_on(async {
        let mut runs = tasks::Group::new();
        for seed in seeds {
            let mut random = Random::new(seed);
            let plan = Plan::draw(&mut random).for_real_time();
            runs.spawn("run", async move { (seed, run_plan(plan, random, None, None).await) });
        }
        let mut reports = Vec::new();
        while let Some(report) = runs.next().await {
            reports.push(report.expect("a run does not panic"));
        }
        reports
    });
    runtime.shutdown_background();
    reports
}

async fn run_plan(plan: Plan, mut random: Random, defect: Option<Defect>, trace: Option<Trace>) -> Report {
    let world = World::new(plan.clone(), &mut random, defect, trace);
    world.trace(|| format!("{plan:?}"));
    let verdict = tokio::select! {
        biased;
        violation = world.failed() => Err(violation),
        verdict = play(&world, &mut random) => verdict,
    };
    Report { verdict, trace: world.take_trace(), plan, counts: count(&world) }
}

async fn play(world: &Arc<World>, random: &mut Random) -> Result<(), Violation> {
    let mut supervisors = tasks::Group::new();
    let kinds: &[Kind] = match world.plan.form {
        Form::Log => &[Kind::Capture, Kind::Apply],
        Form::Embedded => &[Kind::Embedded],
    };
    for kind in kinds {
        supervisors.spawn("supervisor", supervise(Arc::clone(world), *kind, random.fork()));
    }
    script::write(Arc::clone(world), random.fork()).await;
    if random.per_mille(500) {
        tokio::time::sleep(random.millis(0, 3_000)).await;
    }
    world.calm_down();
    if world.plan.sick == Sick::RefusedRow {
        world.wait_until("the healthy tables", REST_MAX, || is_at_rest(world, true)).await;
        world.sink.refuse_nothing();
        world.restarts.send_modify(|restarts| *restarts += 1);
    }
    world.wait_until("rest", REST_MAX, || is_at_rest(world, false)).await;
    world.look_at_target();
    world.over.request();
    while let Some(ended) = supervisors.next().await {
        ended.expect("a supervisor does not panic");
    }
    match world.plan.form {
        Form::Log => verdict::judge(world)?,
        Form::Embedded => embedded::judge(world)?,
    }
    if world.plan.copies.is_some() { copies::judge(world) } else { Ok(()) }
}

/// Whether everything that was committed is in the log and in the target, but for what can't be.
fn is_at_rest(world: &World, is_sick: bool) -> bool {
    let written = world.source.transactions().len() as u64;
    if world.plan.copies.is_some() && !copies::are_done(world) {
        return false;
    }
    if world.plan.form == Form::Embedded {
        return embedded::checkpoint(world)
            .is_some_and(|checkpoint| executed(&checkpoint.mark.position) == written && checkpoint.split.is_none());
    }
    let is_captured = world.log.checkpoint().is_some_and(|checkpoint| executed(&checkpoint.mark.position) == written);
    let progress = world.sink.progress(log_name(world));
    let is_applied = |(partition, end): (tailrace_contract::LogPartition, i64)| {
        let is_excused = world.is_lost(&partition.table) || (is_sick && partition.table == table_name(0));
        let known = progress.iter().find(|progress| progress.partition == partition);
        is_excused || end == 0 || known.is_some_and(|known| known.next_offset == Some(end))
    };
    let (met, ends) = (world.sink.snapshot(log_name(world)).met, world.log.ends());
    let is_met = |barrier: tailrace_contract::Barrier| {
        barrier.change.tables().into_iter().all(|table| {
            let is_excused = world.is_lost(table) || (is_sick && *table == table_name(0));
            // Of a table without any record nobody knows: there is nothing to meet for.
            let is_unknown = !ends.keys().any(|partition| partition.table == *table);
            is_excused || is_unknown || met.contains(&(table.clone(), barrier.change.sequence))
        })
    };
    is_captured && ends.clone().into_iter().all(is_applied) && world.log.barriers().into_iter().all(is_met)
}

/// The label of errors that fenced a process which writes to the target.
fn fenced(form: Form) -> ErrorLabels {
    let stage = match form {
        Form::Log => tailrace::apply::PART,
        Form::Embedded => tailrace::embedded::PART,
    };
    ErrorLabels { stage, kind: ErrorKind::Fenced.name() }
}

fn count(world: &World) -> Counts {
    let commits = world.log.commits();
    let is_split = |commit: &&tailrace_memory::LogCommit| {
        commit.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.split.is_some())
    };
    let copied = copies::tables(world);
    let saved = world.saved.lock().expect("nobody panics with it");
    let saved_splits = saved.iter().filter(|one| one.at.split.is_some()).count() as u64;
    Counts {
        runs: 1,
        deaths: world.deaths.lock().expect("nobody panics with it").clone(),
        faults: world.source.faults().struck() + world.log.faults().struck() + world.sink.faults().struck(),
        records: commits.iter().map(|commit| commit.sequences.len() as u64).sum(),
        splits: commits.iter().filter(is_split).count() as u64 + saved_splits,
        rewinds: u64::from(world.has_rewound.load(std::sync::atomic::Ordering::Relaxed)),
        fences: world.metrics.errors.get_or_create(&fenced(world.plan.form)).get(),
        torn: commits.iter().filter(|commit| commit.checkpoint.is_none()).count() as u64,
        duplicates: world.metrics.apply.duplicates.get(),
        reapplied: world.metrics.apply.reapplied.get(),
        sink_commits: world.sink.commits(),
        barriers: world.metrics.apply.barriers.get(),
        copied: copied.iter().map(|table| table.rows_written).sum(),
        dropped: copied.iter().map(|table| table.rows_dropped).sum(),
        chunks: copied.iter().map(|table| table.chunks).sum(),
        shared: world.metrics.backfill.splits.get(),
        absent: world.metrics.apply.absent.get(),
    }
}
