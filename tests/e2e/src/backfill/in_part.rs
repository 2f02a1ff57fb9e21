//! E11: a table is copied while all its writers log rows in part, which find no row in the target where it is not copied yet. They pass, the
//! rows come later with them, and a kill in the middle changes nothing of that.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::say;
use lab::writer::Dice;

use super::{LIMIT, documents, end, fill, start};
use crate::harness::{Scene, TargetKind, seed, wait_until};

const ROWS: u32 = 15_000;
const WRITERS: u64 = 2;
const PAUSE: Duration = Duration::from_millis(5);
/// Few rows of a chunk are changed while it is read.
const CHUNKS: &str = "\n[backfill]\nreaders = 2\nchunk_rows = 200\n";

#[test]
fn e11_rows_logged_in_part_are_copied_through_the_log() -> Result<()> {
    check(Scene::new("backfill_in_part")?, true)
}

#[test]
fn e11_rows_logged_in_part_are_copied_into_a_file() -> Result<()> {
    check(Scene::to(TargetKind::Sqlite, "backfill_in_part_file")?, false)
}

fn check(scene: Scene, has_log: bool) -> Result<()> {
    let seed = seed(&scene.database);
    scene.source("CREATE TABLE parts (id INT PRIMARY KEY, a INT NOT NULL, b BIGINT, t TEXT)")?;
    fill(&scene, ROWS, "parts (id, a, b, t)", "i, i, -i, REPEAT('x', i % 100)")?;
    let text = if has_log { scene.config() } else { scene.embedded_config() };
    scene.write_config(&(text.replace("backfill = \"off\"\n", "") + CHUNKS))?;
    scene.make_target()?;
    let crowd = scene.open_crowd(WRITERS, PAUSE, seed, change)?;
    let mut process = start(&scene, has_log)?;
    let mut absent = 0.0;
    wait_until("updates find no rows, and a part is copied", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let metrics = process.metrics()?;
        absent = metrics.sum("tailrace_apply_absent_total").unwrap_or(0.0);
        Ok(absent > 0.0 && metrics.sum("tailrace_backfill_chunks_total") >= Some(5.0))
    })?;
    process.kill()?;
    let copies = documents(&scene, has_log)?;
    ensure!(copies.iter().any(|copy| copy["state"] == "copying"), "all was copied before the kill: {copies:?}");
    process = start(&scene, has_log)?;
    wait_until("all is copied", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        Ok(documents(&scene, has_log)?.iter().all(|copy| copy["state"] == "done"))
    })?;
    let changes = crowd.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    if has_log {
        check_headers(&scene)?;
    }
    say(&format!("{}: {rows} rows equal, {changes} changes, {absent} before the kill found no row", scene.database));
    end(&mut process)?;
    scene.finish()
}

/// Only updates in part are marked, and none is behind the copy's end.
fn check_headers(scene: &Scene) -> Result<()> {
    scene.source(
        "SET binlog_row_image = MINIMAL; REPLACE INTO parts (id, a, b, t) VALUES (1, 1, 1, 'whole'); UPDATE parts SET a = 777 WHERE id = 1",
    )?;
    scene.wait_drained()?;
    let (mut marked, mut is_last_marked) = (0_u64, true);
    scene.read_topic(&scene.topic("parts"), |record| {
        let Some(value) = record.value.map(serde_json::from_slice::<serde_json::Value>).transpose()? else {
            return Ok(());
        };
        let is_marked = record.header("tailrace.uncopied") == Some("true");
        let lacks = value["after"].as_object().is_some_and(|after| after.len() < 4);
        ensure!(!is_marked || (value["op"] == "u" && lacks), "a record that tells a row is marked");
        marked += u64::from(is_marked);
        if value["after"]["a"] == 777 && lacks {
            is_last_marked = is_marked;
        }
        Ok(())
    })?;
    ensure!(marked > 0 && !is_last_marked, "{marked} records are marked, the last one too: {is_last_marked}");
    Ok(())
}

/// Updates tell the key and what they changed; what comes under a new key is told whole.
fn change(dice: &mut Dice) -> String {
    let id = 1 + dice.below(u64::from(ROWS));
    let act = match dice.below(8) {
        0 => format!("DELETE FROM parts WHERE id = {id}"),
        1 => format!("REPLACE INTO parts (id, a, b, t) VALUES ({id}, 0, {id}, 'new')"),
        2..=4 => format!("UPDATE parts SET t = CONCAT(LEFT(t, 50), 'y') WHERE id = {id}"),
        _ => format!("UPDATE parts SET a = a + 1, b = {id} WHERE id BETWEEN {id} AND {id} + 1"),
    };
    format!("SET binlog_row_image = MINIMAL; {act}")
}
