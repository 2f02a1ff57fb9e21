//! E10: a table is out of the configuration for a while, in which rows of it are deleted. When it is back its copy counts for nothing, and
//! nothing is silently left in the target: it waits by name, or with `on_gap = "empty"` its target is emptied and copied anew.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Result, ensure};
use lab::process::Tailrace;
use serde_json::Value;

use super::{LIMIT, documents, end, fill, start};
use crate::harness::{Scene, TargetKind, wait_until};

const ROWS: u32 = 2_000;

#[test]
fn e10_a_table_that_was_away_begins_anew() -> Result<()> {
    check(Scene::new("backfill_gap")?, Some("capture.renewal_barrier"))
}

#[test]
fn e10_a_table_that_was_away_begins_anew_without_a_log() -> Result<()> {
    check(Scene::new("backfill_gap_embedded")?, None)
}

#[test]
fn e10_a_table_that_was_away_begins_anew_in_a_file() -> Result<()> {
    check(Scene::to(TargetKind::Sqlite, "backfill_gap_file")?, None)
}

/// `log_point` is where a process dies that renews the table, where there is a log.
fn check(scene: Scene, log_point: Option<&str>) -> Result<()> {
    let has_log = log_point.is_some();
    for table in ["stays", "leaves"] {
        scene.source(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, n INT NOT NULL)"))?;
        fill(&scene, ROWS, &format!("{table} (id, n)"), "i, 0")?;
    }
    let text = if has_log { scene.config() } else { scene.embedded_config() };
    let text = text.replace("backfill = \"off\"\n", "");
    let all = format!("[[table]]\nsource = \"{}.*\"\n", scene.database);
    let without = all.replace(".*", ".stays") + &all.replace(".*", &format!(".{}", Scene::MARKERS));
    ensure!(text.ends_with(&all), "the tables come last");
    let config = |tables: &str| scene.write_config(&text.replace(&all, tables));
    config(&all)?;
    scene.make_target()?;
    let mut process = start(&scene, has_log)?;
    wait_copied(&scene, &mut process, has_log)?;
    // What is in the log only is not applied without the table.
    scene.wait_drained()?;
    end(&mut process)?;

    config(&without)?;
    process = start(&scene, has_log)?;
    scene.source("DELETE FROM leaves WHERE id % 3 = 0; UPDATE leaves SET id = -id WHERE id % 5 = 0; INSERT INTO leaves VALUES (0, 7)")?;
    scene.source("UPDATE stays SET n = n + 1 WHERE id % 7 = 0")?;
    scene.wait_drained()?;
    end(&mut process)?;
    let stays = of(&documents(&scene, has_log)?, "stays");

    config(&all)?;
    wait_by_name(&scene, has_log)?;
    ensure!(scene.compare("leaves")?.differences > 0, "nothing was missed: the test proves nothing");

    config(&format!("{all}on_gap = \"empty\"\n"))?;
    let point = log_point.unwrap_or(match scene.target_kind {
        TargetKind::Postgres => "postgres.barrier_committed",
        TargetKind::Sqlite => "sqlite.barrier_committed",
    });
    let mut mortal = scene.launch(&["run"])?.variable("TAILRACE_FAULT", &format!("{point}:1")).spawn()?;
    let status = mortal.wait_exit(LIMIT)?;
    ensure!(status.signal() == Some(9), "{point}: ended with {status}: {}", mortal.log_text());
    process = start(&scene, has_log)?;
    scene.source("DELETE FROM leaves WHERE id = 1; INSERT INTO leaves VALUES (3, 8)")?;
    wait_copied(&scene, &mut process, has_log)?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let copies = documents(&scene, has_log)?;
    ensure!(of(&copies, "stays") == stays, "the table that stayed was copied again");
    ensure!(rows > i64::from(ROWS).unsigned_abs(), "{rows} rows");
    end(&mut process)?;
    // It is renewed once.
    process = start(&scene, has_log)?;
    scene.wait_drained()?;
    ensure!(documents(&scene, has_log)? == copies, "it was copied once more");
    scene.ensure_equal()?;
    end(&mut process)?;
    scene.finish()
}

/// Without consent nothing is emptied, and the table is named with what mends it.
fn wait_by_name(scene: &Scene, has_log: bool) -> Result<()> {
    if !has_log {
        let finished = scene.launch(&["run"])?.run(LIMIT)?;
        let told = format!("{}{}", finished.stderr, std::fs::read_to_string(scene.folder().join("run.log"))?);
        ensure!(finished.code != Some(0) && told.contains("on_gap"), "{finished:?} {told}");
        return Ok(());
    }
    let mut process = start(scene, has_log)?;
    wait_until("the gap is told", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let text = process.log_text();
        Ok(text.lines().any(|line| line.contains("A GAP") && line.contains("on_gap") && line.contains("leaves")))
    })?;
    ensure!(of(&documents(scene, has_log)?, "leaves")["state"] == "gap", "it is no gap");
    let finished = scene.command(&["backfill", "status"])?;
    ensure!(finished.stdout.contains("gap"), "{finished:?}");
    scene.wait_drained()?;
    end(&mut process)
}

fn of(copies: &[Value], table: &str) -> Value {
    let is_it = |copy: &&Value| copy["table"].to_string().contains(&format!("{table}\""));
    copies.iter().find(is_it).cloned().unwrap_or_default()
}

fn wait_copied(scene: &Scene, process: &mut Tailrace, has_log: bool) -> Result<()> {
    wait_until("all tables are copied", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let copies = documents(scene, has_log)?;
        Ok(copies.len() == 3 && copies.iter().all(|copy| copy["state"] == "done"))
    })
}
