//! A table without a primary key: its unique key identifies its rows, in the history, in the log and at the target. It waits at a statement
//! that takes this key away.

use anyhow::{Result, ensure};
use lab::say;

use super::{LIMIT, ROWS, SMALL_CHUNKS, documents, end, fill, start};
use crate::harness::{Scene, Servers, TargetKind, wait_until};

#[test]
fn a_table_goes_by_its_unique_key_through_the_log() -> Result<()> {
    check(Scene::new("unique_key")?, true)
}

#[test]
fn a_table_goes_by_its_unique_key_in_a_file() -> Result<()> {
    check(Scene::to(TargetKind::Sqlite, "unique_key_file")?, false)
}

#[test]
fn a_table_of_mariadb_goes_by_its_unique_key() -> Result<()> {
    check(Scene::on("unique_key_mariadb", Servers::shared_mariadb()?)?, false)
}

fn check(scene: Scene, has_log: bool) -> Result<()> {
    scene.source(
        "CREATE TABLE passes (holder INT, code VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL,
         part SMALLINT NOT NULL, n INT NOT NULL, UNIQUE by_holder (holder), UNIQUE by_code (code, part DESC))",
    )?;
    fill(&scene, ROWS, "passes (holder, code, part, n)", "i, CONCAT(LEFT(SHA2(i DIV 7, 256), 12), i DIV 7), i % 7, 0")?;
    let text = if has_log { scene.config() } else { scene.embedded_config() };
    scene.write_config(&(text.replace("backfill = \"off\"\n", "") + SMALL_CHUNKS))?;
    scene.make_target()?;
    let found = scene.command(&["check"])?;
    ensure!(found.code == Some(0), "tailrace check: {found:?}");
    ensure!(found.stdout.contains("table_unique_key") && found.stdout.contains("by_code (code, part)"), "{found:?}");

    let mut process = start(&scene, has_log)?;
    let name = format!("{}.passes", scene.database);
    let mut rounds = 0;
    wait_until("the table is copied", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let is_copied =
            process.log_text().lines().any(|line| line.contains("is copied to the end") && line.contains(&name));
        if !is_copied {
            rounds += 1;
            move_rows(&scene, rounds)?;
        }
        Ok(is_copied)
    })?;
    ensure!(rounds > 0, "nothing changed while it was copied");
    move_rows(&scene, rounds + 1)?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let copies = documents(&scene, has_log)?;
    ensure!(copies.iter().all(|copy| copy["state"] == "done"), "not all are done: {copies:?}");
    say(&format!("{}: {rows} rows equal, {rounds} rounds of moves while they were copied", scene.database));

    // A new process knows the key at its position.
    end(&mut process)?;
    move_rows(&scene, rounds + 2)?;
    process = start(&scene, has_log)?;
    scene.source("DROP INDEX by_code ON passes")?;
    wait_until("the table waits at the statement", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let text = scene.command(&["status"])?.stdout;
        Ok(text.contains(&format!("{name} waits at")) && text.contains("behind `DROP INDEX by_code ON passes`"))
    })?;
    ensure!(documents(&scene, has_log)?.len() == copies.len(), "something was copied again");
    end(&mut process)?;
    scene.finish()
}

/// Keys change, and rows go and come, all over the table.
fn move_rows(scene: &Scene, round: u32) -> Result<()> {
    let (from, until) = (round * 131 % ROWS, round * 131 % ROWS + 40);
    scene.source(&format!(
        "UPDATE passes SET code = CONCAT(code, 'x'), n = n + 1 WHERE holder BETWEEN {from} AND {until};
         UPDATE passes SET part = part + 100 WHERE holder % 997 = {round} % 997;
         UPDATE passes SET code = UPPER(code) WHERE holder % 991 = {round} % 991;
         DELETE FROM passes WHERE holder % 1009 = {round} % 1009;
         INSERT INTO passes (holder, code, part, n) VALUES (NULL, 'new', {round}, {round})"
    ))
}
