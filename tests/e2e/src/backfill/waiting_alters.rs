//! Statements that change a table while it is copied and written to: each gets through between two chunks, and nobody waits for the copy.

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;
use serde_json::Value;
use std::time::Duration;

use super::{LIMIT, end, fill};
use crate::harness::{READY_LIMIT, Scene, seed, wait_until};

const ROWS: u32 = 150_000;
const WRITERS: u64 = 4;
/// No more than a table may have of them at once.
const ALTERS_MAX: u32 = 25;
const CHUNKS: &str = "\n[backfill]\nreaders = 2\nchunk_rows = 2000\n";

#[test]
fn alters_get_through_between_two_chunks() -> Result<()> {
    let scene = Scene::new("backfill_alters")?;
    let seed = seed(&scene.database);
    scene.source("CREATE TABLE busy (id INT PRIMARY KEY, n INT NOT NULL, note VARCHAR(300))")?;
    fill(&scene, ROWS, "busy (id, n, note)", "i, 0, REPEAT('x', 150 + i % 150)")?;
    let text = scene.embedded_config().replace("backfill = \"off\"\n", "on_ddl = \"evolve\"\n");
    scene.write_config(&(text + CHUNKS))?;
    scene.make_target()?;
    let crowd = scene.open_crowd(WRITERS, Duration::from_millis(2), seed, change)?;
    let mut process = scene.launch(&["run"])?.spawn()?;
    process.wait_ready(READY_LIMIT)?;
    wait_until("chunks are copied", LIMIT, || Ok(copied(&process)?.1 > 2))?;
    let mut through = 0;
    for number in 0..ALTERS_MAX {
        let (_, chunks) = copied(&process)?;
        scene.source(&format!("ALTER TABLE busy ADD COLUMN a{number} INT DEFAULT {number}, ALGORITHM = INSTANT"))?;
        let (is_done, _) = copied(&process)?;
        if is_done {
            break;
        }
        // Behind us nobody waits: those who use the table go on, and so does the copy.
        through += 1;
        let before = crowd.done();
        wait_until("the writers go on", LIMIT, || Ok(crowd.done() > before + WRITERS))?;
        wait_until("the copy goes on", LIMIT, || {
            let (is_done, now) = copied(&process)?;
            Ok(is_done || now > chunks)
        })?;
    }
    wait_until("the table is copied", LIMIT, || Ok(copied(&process)?.0))?;
    let written = crowd.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let voided = process.metrics()?.labelled("tailrace_backfill_windows_voided_total", "altered").unwrap_or(0.0);
    say(&format!(
        "{}: {through} ALTERs beside {written} changes, {voided} windows voided, {rows} rows equal",
        scene.database
    ));
    ensure!(
        through > 3 && voided > 0.0,
        "{through} ALTERs got through while rows were copied, {voided} windows were voided"
    );
    end(&mut process)?;
    scene.finish()
}

/// Whether the table is copied, and in how many chunks so far.
fn copied(process: &Tailrace) -> Result<(bool, u64)> {
    let status: Value = serde_json::from_str(&process.status()?.body).context("a status")?;
    let copies = status["backfill"]["tables"].as_array().cloned().unwrap_or_default();
    let busy = copies.iter().find(|copy| copy["table"].as_str().is_some_and(|name| name.ends_with(".busy")));
    Ok(busy.map_or((false, 0), |busy| (busy["state"] == "done", busy["chunks"].as_u64().unwrap_or(0))))
}

fn change(dice: &mut Dice) -> String {
    let id = 1 + dice.below(u64::from(ROWS));
    match dice.below(3) {
        0 => format!("SELECT n FROM busy WHERE id = {id}"),
        1 => format!("UPDATE busy SET n = n + 1 WHERE id = {id}"),
        _ => format!("DELETE FROM busy WHERE id = {id}"),
    }
}
