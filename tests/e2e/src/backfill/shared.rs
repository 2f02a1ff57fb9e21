//! A large table is read by several at once, though most of its keys begin alike: it is split at keys that it has, each row is copied once,
//! and neither writers nor a kill change that.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;
use serde_json::Value;

use super::{LIMIT, chain, documents, end, fill, ledger_of, start};
use crate::harness::{Scene, seed, wait_until};

const ROWS: u32 = 300_000;
const READERS: u64 = 4;
const WRITERS: u64 = 2;
const PAUSE: Duration = Duration::from_millis(5);
/// Far more chunks than are copied before the kill.
const CHUNKS: &str = "\n[backfill]\nreaders = 4\nchunk_rows = 2000\n";

#[test]
fn a_table_is_split_between_readers() -> Result<()> {
    let scene = Scene::new("backfill_shared")?;
    let seed = seed(&scene.database);
    // Nine of ten rows are of one tenant; its letters have several forms in the collation, as the last column of the key has.
    scene.source(
        "CREATE TABLE skewed (tenant VARCHAR(12) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci, number INT,
         code VARCHAR(8) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, n INT NOT NULL, PRIMARY KEY (tenant, code, number))",
    )?;
    let tenant = "IF(i % 10 = 0, CONCAT(CHAR(65 + i % 7), i % 1000), ELT(1 + i % 3, 'Müller', 'MULLER', 'muller'))";
    let code = "CONCAT(CHAR(65 + i % 26), LOWER(CONV(i % 5000, 10, 36)))";
    fill(&scene, ROWS, "skewed (tenant, number, code, n)", &format!("{tenant}, i, {code}, 0"))?;
    let config = scene.embedded_config().replace("backfill = \"off\"\n", "");
    scene.write_config(&(config + CHUNKS))?;
    scene.make_target()?;
    let crowd = scene.open_crowd(WRITERS, PAUSE, seed, change)?;
    let mut process = start(&scene, false)?;
    wait_until("all readers read", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        Ok(readers(&process)? == READERS)
    })?;
    wait_until(
        "a part is copied",
        LIMIT,
        || Ok(process.metrics()?.sum("tailrace_backfill_chunks_total") >= Some(8.0)),
    )?;
    process.kill()?;
    let before = ledger_of(&scene, false)?;
    let (copies, prefix) = (documents(&scene, false)?, format!("chunk/{}.skewed/", scene.database));
    ensure!(copies.iter().any(|copy| copy["state"] == "copying"), "all was copied before the kill: {copies:?}");
    let segments = copies.iter().filter_map(|copy| copy["segments"].as_array()).map(Vec::len).max();
    ensure!(segments >= Some(3), "the table was not split: {copies:?}");
    process = start(&scene, false)?;
    wait_until("all is copied", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        Ok(documents(&scene, false)?.iter().all(|copy| copy["state"] == "done"))
    })?;
    let changes = crowd.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let after = ledger_of(&scene, false)?;
    let is_kept = |(key, chunk): (&String, &Value)| !key.starts_with(&prefix) || after.get(key) == Some(chunk);
    ensure!(before.iter().all(is_kept), "a chunk that was copied is not counted any more");
    let (written, dropped) = chain(&after, &prefix)?;
    ensure!(written + dropped <= u64::from(ROWS) + changes, "{written} and {dropped} rows of {ROWS} were copied");
    let splits = process.metrics()?.sum("tailrace_backfill_splits_total");
    say(&format!(
        "{rows} rows equal, {changes} changes; {written} rows copied, {dropped} dropped, {splits:?} splits since the kill"
    ));
    ensure!(splits > Some(0.0), "nothing was split after the kill");
    end(&mut process)?;
    scene.finish()
}

/// How many read rows.
fn readers(process: &Tailrace) -> Result<u64> {
    let status: Value = serde_json::from_str(&process.status()?.body)?;
    let tables = status["backfill"]["tables"].as_array().cloned().unwrap_or_default();
    Ok(tables.iter().filter_map(|table| table["readers"].as_u64()).sum())
}

/// Rows change, go, and come under another form of their key.
fn change(dice: &mut Dice) -> String {
    let number = 1 + dice.below(u64::from(ROWS));
    let code = format!("CONCAT(CHAR(65 + {number} % 26), LOWER(CONV({number} % 5000, 10, 36)))");
    let key = format!("tenant = 'muller' AND code = {code} AND number = {number}");
    match dice.below(4) {
        0 | 1 => format!("UPDATE skewed SET n = n + 1 WHERE {key}"),
        2 => format!("UPDATE skewed SET tenant = 'MÜLLER', code = UPPER(code) WHERE {key}"),
        _ => format!("DELETE FROM skewed WHERE {key}"),
    }
}
