//! The same for the embedded form, with each target: one process dies forty times, half of them just around the commit.

use anyhow::{Context, Result, ensure};
use lab::say;
use lab::writer::Dice;

use super::{APPLY_POINTS, Death, Half, Hits, RATE, ROUNDS, aim, mortal::Mortal};
use crate::harness::{READY_LIMIT, Scene, Servers, TargetKind, seed};

const FILE_POINTS: [&str; 2] = ["sqlite.commit_sent", "sqlite.committed"];

/// Of MariaDB: what differs is the source, so each kind of death a few times.
const ROUNDS_OF_MARIADB: usize = 16;

#[test]
fn forty_rounds_without_a_log_lose_nothing() -> Result<()> {
    check_kills(Scene::new("kills_embedded")?, ROUNDS, APPLY_POINTS)
}

#[test]
fn forty_rounds_lose_nothing_in_a_file() -> Result<()> {
    check_kills(Scene::to(TargetKind::Sqlite, "kills_file")?, ROUNDS, FILE_POINTS)
}

#[test]
fn kills_of_mariadb_11_without_a_log_lose_nothing() -> Result<()> {
    check_kills(Scene::on("kills_mariadb11", Servers::shared_mariadb11()?)?, ROUNDS_OF_MARIADB, APPLY_POINTS)
}

fn check_kills(scene: Scene, rounds: usize, commit_points: [&'static str; 2]) -> Result<()> {
    let seed = seed(&scene.database);
    let mut dice = Dice::new(seed);
    scene.make_shop()?;
    scene.make_target()?;
    drop(scene.run_embedded()?);

    let mut points = commit_points.iter().cycle();
    let death = |number: usize| match points.next() {
        Some(point) if number % 4 < 2 => Death::AtPoint(point),
        _ => Death::AtRandom,
    };
    let deaths: Vec<Death> = (0..rounds).map(death).collect();
    let mut shop = scene.open_shop(RATE, seed)?;
    let launch = scene.launch(&["run"])?;
    let mut process =
        Mortal::start(launch, deaths.iter().copied().collect(), "tailrace_apply_commits_total", &mut dice)?;
    let mut hits = Hits::default();
    for (number, death) in deaths.iter().enumerate() {
        play(*death, &mut process, &mut hits, &mut dice).with_context(|| format!("round {number}: {death:?}"))?;
        shop.transactions()?;
    }
    process.running.wait_ready(READY_LIMIT)?;
    let transactions = shop.transactions()?;
    shop.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    say(&format!("{}: {transactions} transactions, {rows} rows equal; {hits:?}", scene.database));
    for point in commit_points {
        ensure!(hits.by_point.contains_key(point), "no kill hit {point}: {hits:?}");
    }
    ensure!(hits.random_in_flight[Half::Apply as usize] > 0, "every random kill hit an idle process: {hits:?}");
    scene.finish()
}

fn play(death: Death, process: &mut Mortal, hits: &mut Hits, dice: &mut Dice) -> Result<()> {
    match death {
        Death::AtPoint(point) => hits.at_point(point, process.wait_point(point, None))?,
        Death::AtRandom => {
            process.wait_random(dice, None)?;
            let is_in_flight = aim(process, dice);
            process.kill()?;
            hits.at_random(Half::Apply, is_in_flight);
        }
    }
    process.rise(dice)
}
