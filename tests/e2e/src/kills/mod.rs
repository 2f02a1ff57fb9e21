//! SIGKILL of capture, of apply and of both, forty times under a live writer: half at random moments, half at named points
//! at which the outcome of a commit is unknown. Afterwards the target equals the source, and a consumer of committed records
//! saw every change exactly once and in order.

mod embedded;
mod mortal;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::say;
use lab::writer::Dice;

use mortal::Mortal;

use crate::harness::{Isolation, READY_LIMIT, Scene, Servers, seed};

const ROUNDS: usize = 40;
const RATE: u32 = 500;
/// How long a random kill may wait for a batch in flight.
const AIM_LIMIT: Duration = Duration::from_millis(300);
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

/// What the kills hit.
#[derive(Debug, Default)]
struct Hits {
    by_point: BTreeMap<&'static str, u32>,
    /// By [`Half`].
    random: [u32; 2],
    random_in_flight: [u32; 2],
}

#[derive(Debug, Clone, Copy)]
enum Half {
    Capture,
    Apply,
}

impl Hits {
    fn at_point(&mut self, point: &'static str, died: Result<()>) -> Result<()> {
        *self.by_point.entry(point).or_default() += u32::from(died.is_ok());
        died
    }

    fn at_random(&mut self, half: Half, is_in_flight: bool) {
        self.random[half as usize] += 1;
        self.random_in_flight[half as usize] += u32::from(is_in_flight);
    }
}

#[test]
fn forty_rounds_lose_and_double_nothing() -> Result<()> {
    check_kills(Scene::new("kills")?)
}

#[test]
fn forty_rounds_lose_and_double_nothing_of_mariadb() -> Result<()> {
    check_kills(Scene::on("kills_mariadb", Servers::shared_mariadb()?)?)
}

fn check_kills(scene: Scene) -> Result<()> {
    let seed = seed(&scene.database);
    let mut dice = Dice::new(seed);
    scene.make_shop()?;
    scene.make_target()?;
    let start = scene.history_start()?;
    drop((scene.capture()?, scene.apply()?));

    let rounds = plan();
    let deaths_of = |which: fn(&Round) -> Option<Death>| rounds.iter().filter_map(which).collect();
    let mut shop = scene.open_shop(RATE, seed)?;
    let (capture, deaths) = (scene.launch(&["capture"])?, deaths_of(|round| round.capture));
    let mut capture = Mortal::start(capture, deaths, "tailrace_capture_commits_total", &mut dice)?;
    let (apply, deaths) = (scene.launch(&["apply"])?, deaths_of(|round| round.apply));
    let mut apply = Mortal::start(apply, deaths, "tailrace_apply_commits_total", &mut dice)?;
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
    say(&format!("{}: {transactions} transactions, {judged:?}, {rows} rows equal; {hits:?}", scene.database));
    for point in CAPTURE_POINTS.iter().chain(&APPLY_POINTS) {
        ensure!(hits.by_point.contains_key(point), "no kill hit {point}: {hits:?}");
    }
    ensure!(hits.random_in_flight.iter().all(|count| *count > 0), "every random kill hit an idle process: {hits:?}");
    scene.finish()
}

/// One round: whoever is to die dies, then rises.
fn play(
    scene: &Scene,
    round: Round,
    [capture, apply]: [&mut Mortal; 2],
    (hits, dice): (&mut Hits, &mut Dice),
) -> Result<()> {
    match round.capture {
        Some(Death::AtRandom) => capture.wait_random(dice, None)?,
        Some(Death::AtPoint(point)) => hits.at_point(point, capture.wait_point(point, None))?,
        None => {}
    }
    // Apply has nothing to do, and so reaches no point, while capture is dead.
    match round.apply {
        Some(Death::AtRandom) => apply.wait_random(dice, Some(capture))?,
        Some(Death::AtPoint(point)) => hits.at_point(point, apply.wait_point(point, Some(capture)))?,
        None => {}
    }
    if round.apply == Some(Death::AtRandom) {
        let is_in_flight = aim(apply, dice);
        apply.kill()?;
        hits.at_random(Half::Apply, is_in_flight);
    }
    if round.capture == Some(Death::AtRandom) {
        capture.kill()?;
        hits.at_random(Half::Capture, has_open_transaction(scene)?);
    }
    for (death, process) in [(round.capture, capture), (round.apply, apply)] {
        if death.is_some() {
            process.rise(dice)?;
        }
    }
    Ok(())
}

/// Whether a batch is in flight now; every second time it is waited for, as it is there only for milliseconds.
fn aim(apply: &mut Mortal, dice: &mut Dice) -> bool {
    let is_in_flight = || {
        let metrics = apply.running.metrics().ok();
        metrics.and_then(|metrics| metrics.sum("tailrace_apply_in_flight_records")) > Some(0.0)
    };
    if dice.once_in(2) { lab::wait::until(AIM_LIMIT, is_in_flight) } else { is_in_flight() }
}

/// What the broker says after the kill: records were produced and not committed.
fn has_open_transaction(scene: &Scene) -> Result<bool> {
    let transactions = scene.servers.kafka.transactions()?;
    Ok(transactions.iter().any(|transaction| transaction.id.contains(&scene.prefix) && transaction.is_open()))
}

#[test]
fn the_plan_has_every_kind_of_death() {
    let plan = plan();
    for point in CAPTURE_POINTS {
        assert!(plan.iter().any(|round| round.capture == Some(Death::AtPoint(point))), "{point}");
    }
    for point in APPLY_POINTS {
        assert!(plan.iter().any(|round| round.apply == Some(Death::AtPoint(point))), "{point}");
    }
    let is_random = |round: &&Round| round.capture.or(round.apply) == Some(Death::AtRandom);
    assert_eq!(plan.iter().filter(is_random).count(), ROUNDS / 2);
    assert!(plan.iter().any(|round| round.capture.is_none()) && plan.iter().any(|round| round.apply.is_none()));
    assert!(plan.iter().filter(|round| round.capture.is_some() && round.apply.is_some()).count() >= ROUNDS / 4);
}
