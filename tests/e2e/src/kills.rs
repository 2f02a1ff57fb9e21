//! SIGKILL of capture, of apply and of both, forty times under a live writer: half at random moments, half at named points
//! at which the outcome of a commit is unknown. Afterwards the target equals the source, and a consumer of committed records
//! saw every change exactly once and in order.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::process::{Launch, Tailrace};
use lab::say;
use lab::writer::Dice;

use crate::harness::{Isolation, READY_LIMIT, Scene, seed, wait_until};

const ROUNDS: usize = 40;
const RATE: u32 = 500;
/// A named point must be reached within this time.
const POINT_LIMIT: Duration = Duration::from_secs(60);
const CAPTURE_POINTS: [&str; 3] = ["kafka.produced", "kafka.commit_sent", "kafka.committed"];
const APPLY_POINTS: [&str; 2] = ["postgres.commit_sent", "postgres.committed"];

/// How a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    AtRandom,
    AtPoint(&'static str),
}

/// Who dies in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Round {
    capture: Option<Death>,
    apply: Option<Death>,
}

/// Capture, apply, both; at random and at a point in turns.
fn plan() -> Vec<Round> {
    let mut capture_points = CAPTURE_POINTS.iter().cycle();
    let mut apply_points = APPLY_POINTS.iter().cycle();
    let death = |number: usize, points: &mut dyn Iterator<Item = &&'static str>| match points.next() {
        Some(point) if !number.is_multiple_of(2) => Death::AtPoint(point),
        _ => Death::AtRandom,
    };
    let round = |number: usize| Round {
        capture: (number % 3 != 1).then(|| death(number, &mut capture_points)),
        apply: (!number.is_multiple_of(3)).then(|| death(number, &mut apply_points)),
    };
    (0..ROUNDS).map(round).collect()
}

/// A process with many lives. A life that is to end at a point is armed when it begins.
struct Mortal {
    launch: Launch,
    running: Tailrace,
    deaths: VecDeque<Death>,
    commits: &'static str,
}

impl Mortal {
    fn start(
        launch: Launch,
        deaths: impl Iterator<Item = Death>,
        commits: &'static str,
        dice: &mut Dice,
    ) -> Result<Mortal> {
        let deaths: VecDeque<Death> = deaths.collect();
        let running = begin_life(&launch, deaths.front().copied(), dice)?;
        Ok(Mortal { launch, running, deaths, commits })
    }

    /// Waits for work to be done in this life (but for one in four), then for a random moment.
    fn wait_random(&mut self, dice: &mut Dice) -> Result<()> {
        if !dice.once_in(4) {
            let name = self.commits;
            wait_until(name, READY_LIMIT, || {
                ensure!(self.running.is_running(), "ended by itself: {}", self.running.log_text());
                Ok(self.running.metrics().is_ok_and(|metrics| metrics.sum(name) > Some(0.0)))
            })?;
        }
        lab::wait::until(Duration::from_millis(dice.below(500)), || !self.running.is_running());
        Ok(())
    }

    /// Waits until it has killed itself.
    fn wait_point(&mut self, point: &str) -> Result<()> {
        let status = self.running.wait_exit(POINT_LIMIT);
        let status =
            status.with_context(|| format!("{point} was not reached: is it a build with feature `faults`?"))?;
        ensure!(status.signal() == Some(9), "{point}: ended with {status}: {}", self.running.log_text());
        Ok(())
    }

    /// The next life.
    fn rise(&mut self, dice: &mut Dice) -> Result<()> {
        self.deaths.pop_front();
        self.running = begin_life(&self.launch, self.deaths.front().copied(), dice)?;
        Ok(())
    }
}

fn begin_life(launch: &Launch, death: Option<Death>, dice: &mut Dice) -> Result<Tailrace> {
    match death {
        Some(Death::AtPoint(point)) => {
            launch.clone().variable("TAILRACE_FAULT", &format!("{point}:{}", 1 + dice.below(12))).spawn()
        }
        Some(Death::AtRandom) | None => launch.spawn(),
    }
}

/// What the kills hit.
#[derive(Debug, Default)]
struct Hits {
    by_point: BTreeMap<&'static str, u32>,
    random: [u32; 2],
    random_in_flight: [u32; 2],
}

#[test]
fn forty_rounds_lose_and_double_nothing() -> Result<()> {
    let seed = seed("kills");
    let mut dice = Dice::new(seed);
    let scene = Scene::new("kills")?;
    scene.make_shop()?;
    scene.make_target()?;
    let start = scene.history_start()?;
    drop((scene.capture()?, scene.apply()?));

    let rounds = plan();
    let deaths_of =
        |which: fn(&Round) -> Option<Death>| rounds.iter().filter_map(which).collect::<Vec<_>>().into_iter();
    let mut shop = scene.open_shop(RATE, seed)?;
    let capture = deaths_of(|round| round.capture);
    let mut capture = Mortal::start(scene.launch(&["capture"])?, capture, "tailrace_capture_commits_total", &mut dice)?;
    let apply = deaths_of(|round| round.apply);
    let mut apply = Mortal::start(scene.launch(&["apply"])?, apply, "tailrace_apply_commits_total", &mut dice)?;
    let mut hits = Hits::default();
    for (number, round) in rounds.iter().enumerate() {
        let context = || format!("round {number}: {round:?}");
        play(&scene, *round, [&mut capture, &mut apply], (&mut hits, &mut dice)).with_context(context)?;
        shop.transactions()?;
    }
    for process in [&mut capture, &mut apply] {
        process.running.wait_ready(READY_LIMIT)?;
    }
    let transactions = shop.transactions()?;
    shop.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let history = scene.history_since(&start)?;
    let judged = history.judge(Isolation::Committed)?;
    // Records of killed transactions are still in the topics: a consumer that sees them too must not pass.
    ensure!(history.judge(Isolation::Uncommitted).is_err(), "aborted records make no difference to the judge");
    say(&format!("kills: {transactions} transactions, {judged:?}, {rows} rows equal; {hits:?}"));
    check_hits(&hits)?;
    scene.finish()
}

/// One round: whoever is to die dies, then rises.
fn play(
    scene: &Scene,
    round: Round,
    [capture, apply]: [&mut Mortal; 2],
    (hits, dice): (&mut Hits, &mut Dice),
) -> Result<()> {
    for (death, process) in [(round.capture, &mut *capture), (round.apply, &mut *apply)] {
        match death {
            Some(Death::AtRandom) => process.wait_random(dice)?,
            Some(Death::AtPoint(point)) => {
                process.wait_point(point)?;
                *hits.by_point.entry(point).or_default() += 1;
            }
            None => {}
        }
    }
    if round.apply == Some(Death::AtRandom) {
        let in_flight =
            apply.running.metrics().ok().and_then(|metrics| metrics.sum("tailrace_apply_in_flight_records"));
        kill(&mut apply.running)?;
        hits.random[1] += 1;
        hits.random_in_flight[1] += u32::from(in_flight > Some(0.0));
    }
    if round.capture == Some(Death::AtRandom) {
        kill(&mut capture.running)?;
        hits.random[0] += 1;
        hits.random_in_flight[0] += u32::from(has_open_transaction(scene)?);
    }
    for (death, process) in [(round.capture, capture), (round.apply, apply)] {
        if death.is_some() {
            process.rise(dice)?;
        }
    }
    Ok(())
}

/// SIGKILL to a process that runs; one that has ended by itself has failed.
fn kill(process: &mut Tailrace) -> Result<()> {
    if !process.is_running() {
        bail!("ended by itself: {}", process.log_text());
    }
    process.kill()
}

/// What the broker says after the kill: records were produced and not committed.
fn has_open_transaction(scene: &Scene) -> Result<bool> {
    let transactions = scene.servers.kafka.transactions()?;
    Ok(transactions.iter().any(|transaction| transaction.id.contains(&scene.prefix) && transaction.is_open()))
}

fn check_hits(hits: &Hits) -> Result<()> {
    for point in CAPTURE_POINTS.iter().chain(&APPLY_POINTS) {
        ensure!(hits.by_point.contains_key(point), "no kill hit {point}: {hits:?}");
    }
    ensure!(hits.random_in_flight.iter().all(|count| *count > 0), "every random kill hit an idle process: {hits:?}");
    Ok(())
}

#[test]
fn the_plan_has_every_kind_of_death() {
    let plan = plan();
    let is_random = |round: &&Round| round.capture.or(round.apply) == Some(Death::AtRandom);
    assert_eq!(plan.iter().filter(is_random).count(), ROUNDS / 2);
    assert!(plan.iter().any(|round| round.capture.is_none()) && plan.iter().any(|round| round.apply.is_none()));
    assert!(plan.iter().filter(|round| round.capture.is_some() && round.apply.is_some()).count() >= ROUNDS / 4);
    for point in CAPTURE_POINTS {
        assert!(plan.iter().any(|round| round.capture == Some(Death::AtPoint(point))), "{point}");
    }
    for point in APPLY_POINTS {
        assert!(plan.iter().any(|round| round.apply == Some(Death::AtPoint(point))), "{point}");
    }
}
