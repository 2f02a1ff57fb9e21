//! Without a log: changes of each kind arrive, a checkpoint set back by hand is applied again, the last one started takes
//! over, and a table that can't be written stops the run by name.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;

use crate::harness::{LEDGER, Scene, Servers, TargetKind, seed, wait_until};

const SNAPSHOTS: u64 = 4;
const PAUSE: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn changes_arrive_without_a_log() -> Result<()> {
    let scene = Scene::new("embedded")?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY, state VARCHAR(20) NOT NULL, UNIQUE (state))")?;
    scene.make_target()?;
    scene.target("CREATE UNIQUE INDEX ON orders (state)")?;
    scene.write_config(&scene.embedded_config())?;
    let check = scene.command(&["check"])?;
    ensure!(check.code == Some(0), "tailrace check: {check:?}");
    let mut process = scene.run_embedded()?;
    scene.source("INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (3, 'c')")?;
    // Unique values change places inside one transaction, which bulk writes can't follow.
    scene.source(
        "START TRANSACTION; UPDATE orders SET state = 'x' WHERE id = 1; UPDATE orders SET state = 'a' WHERE id = 2;
         UPDATE orders SET state = 'b' WHERE id = 1; UPDATE orders SET id = 30 WHERE id = 3; COMMIT",
    )?;
    scene.wait_drained()?;
    assert_eq!(scene.ensure_equal()?, 3);
    // A table that is made while it runs needs its target table first; until then nothing is skipped.
    scene.source("CREATE TABLE late (id INT PRIMARY KEY); INSERT INTO late VALUES (7)")?;
    let status = process.wait_exit(LIMIT)?;
    ensure!(status.code() == Some(4), "ended with {status}: {}", process.log_text());
    let log = process.log_text();
    ensure!(log.contains("e2e_embedded.late does not exist") && log.contains("tailrace schema --apply"), "{log}");
    scene.make_target()?;
    process = scene.run_embedded()?;
    scene.wait_drained()?;
    assert_eq!(scene.ensure_equal()?, 4, "the row that stopped it was not lost");
    end(&mut process)?;
    a_gap_is_refused(&scene)?;
    scene.finish()
}

/// Under another name there is no checkpoint, and what changes before the next start would be missing in tables that
/// Tailrace has written.
fn a_gap_is_refused(scene: &Scene) -> Result<()> {
    scene.write_config(&scene.embedded_config().replace("server_id", "name = \"other\"\nserver_id"))?;
    let refused = scene.launch(&["run"])?.run(LIMIT)?;
    let said = format!("{}{}", refused.stdout, refused.stderr);
    ensure!(refused.code == Some(4), "ended with {:?}: {said}", refused.code);
    ensure!(said.contains("the checkpoint of the stream other does not cover"), "{said}");
    let untouched = scene.target_rows("SELECT stream FROM tailrace.streams")?;
    ensure!(untouched == [[Some("main".to_owned())]], "a run that was refused claimed: {untouched:?}");
    let mut process = scene.launch(&["run", "--allow-existing"])?.spawn()?;
    process.wait_ready(LIMIT)?;
    end(&mut process)
}

#[test]
fn the_last_one_started_takes_over() -> Result<()> {
    let scene = Scene::new("embedded_twin")?;
    scene.make_ledger()?;
    scene.make_target()?;
    let mut first = scene.run_embedded()?;
    let ledger = scene.open_ledger(PAUSE, seed("embedded_twin"))?;
    wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() > 100))?;
    // It needs a number and ports of its own, as a second process on another machine has them.
    let free = crate::harness::free_port()?;
    let text = scene.embedded_config().replace(&format!(":{}", scene.capture_port), &format!(":{free}"));
    scene.write_config(&text.replace("server_id = ", "server_id = 4"))?;
    let mut second = scene.launch(&["run"])?.http_port(free).spawn()?;
    second.wait_ready(LIMIT)?;
    let status = first.wait_exit(LIMIT)?;
    ensure!(status.code() == Some(6), "the first ended with {status}: {}", first.log_text());
    ensure!(first.log_text().contains("was claimed by another process"), "{}", first.log_text());
    ledger.close()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    end(&mut second)?;
    scene.finish()
}

#[test]
fn a_checkpoint_set_back_by_hand_is_applied_again() -> Result<()> {
    check_rewinds(Scene::new("embedded_rewind")?)
}

#[test]
fn a_checkpoint_set_back_in_a_file_is_applied_again() -> Result<()> {
    check_rewinds(Scene::to(TargetKind::Sqlite, "file_rewind")?)
}

#[test]
fn a_checkpoint_of_mariadb_set_back_by_hand_is_applied_again() -> Result<()> {
    check_rewinds(Scene::on("embedded_rewind_mariadb", Servers::shared_mariadb()?)?)
}

fn check_rewinds(scene: Scene) -> Result<()> {
    let seed = seed(&scene.database);
    let mut dice = Dice::new(seed);
    scene.make_ledger()?;
    scene.make_target()?;
    let mut process = scene.run_embedded()?;
    scene.wait_drained()?;
    let ledger = scene.open_ledger(PAUSE, seed)?;
    let streams = scene.own_table("streams");
    for number in 0..SNAPSHOTS {
        // One statement, so that rows and checkpoint are of one moment.
        scene.target(&format!(
            "CREATE TABLE at_{number} AS SELECT s.checkpoint, l.id, l.version, l.note
             FROM {streams} s LEFT JOIN {LEDGER} l ON true"
        ))?;
        let before = ledger.transactions();
        wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() >= before + 300))?;
    }
    ledger.close()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    for number in [0, SNAPSHOTS - 1, 1, 2] {
        end(&mut process)?;
        scene.target(&format!("UPDATE {streams} SET checkpoint = (SELECT max(checkpoint) FROM at_{number})"))?;
        let spoiled = spoil(&scene, number, &mut dice)?;
        ensure!(scene.ensure_equal().is_err(), "what was spoiled makes no difference");
        process = scene.run_embedded()?;
        scene.wait_drained()?;
        let rows = scene.ensure_equal()?;
        say(&format!("{} set back to {number}: {spoiled} rows healed of {rows}", scene.database));
    }
    end(&mut process)?;
    scene.finish()
}

/// Spoils rows that surely changed after the moment: those that differ between it and now.
fn spoil(scene: &Scene, number: u64, dice: &mut Dice) -> Result<usize> {
    const SPOILED: usize = 20;
    let changed = scene.target_rows(&format!(
        "SELECT coalesce(l.id, a.id) FROM {LEDGER} l FULL JOIN (SELECT * FROM at_{number} WHERE id IS NOT NULL) a
         ON a.id = l.id WHERE (l.version, l.note) IS DISTINCT FROM (a.version, a.note)"
    ))?;
    let mut ids: Vec<String> = changed.into_iter().filter_map(|mut row| row.remove(0)).collect();
    ensure!(ids.len() > SPOILED, "only {} rows changed", ids.len());
    for count in 0..SPOILED {
        let id = ids.swap_remove(dice.index(ids.len()));
        scene.target(&match count % 3 {
            0 => format!("DELETE FROM {LEDGER} WHERE id = {id}; INSERT INTO {LEDGER} VALUES ({id}, -3, 'spoiled')"),
            1 => format!("UPDATE {LEDGER} SET version = -1, note = 'spoiled' WHERE id = {id}"),
            _ => format!("DELETE FROM {LEDGER} WHERE id = {id}"),
        })?;
    }
    Ok(SPOILED)
}

fn end(process: &mut Tailrace) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(LIMIT).context("after SIGTERM")?;
    ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    Ok(())
}
