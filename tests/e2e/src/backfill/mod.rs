//! Tables that have rows when Tailrace comes, and are written to while their history is copied: the target ends equal to the source.

mod aborted;
mod chosen;
mod consumer;
mod control;
mod duplicates;
mod gap;
mod gates;
mod gtid_modes;
mod in_part;
mod kills;
mod long_copy;
mod prepared;
mod races;
mod random;
mod read_server;
mod restarts;
mod shared;
mod stall;
mod unique_key;
mod waiting_alters;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;
use serde_json::Value;

use crate::harness::{READY_LIMIT, Scene, Servers, TargetKind, seed, wait_until};

const LIMIT: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(1);
const RATE: u32 = 300;
/// Small chunks, so that many windows meet many changes.
const SMALL_CHUNKS: &str =
    "\n[backfill]\nreaders = 3\nchunk_time = \"20ms\"\nchunk_bytes = \"64KiB\"\nchunk_rows = 300\n";

/// Rows of the tables that are filled by one statement.
const ROWS: u32 = 20_000;

#[test]
fn history_meets_changes_through_the_log() -> Result<()> {
    check(Scene::new("backfill")?, true)
}

#[test]
fn history_meets_changes_without_a_log() -> Result<()> {
    check(Scene::new("backfill_embedded")?, false)
}

#[test]
fn history_meets_changes_in_a_file() -> Result<()> {
    check(Scene::to(TargetKind::Sqlite, "backfill_file")?, false)
}

#[test]
fn history_of_mariadb_meets_changes() -> Result<()> {
    check(Scene::on("backfill_mariadb", Servers::shared_mariadb()?)?, false)
}

fn check(scene: Scene, has_log: bool) -> Result<()> {
    let seed = seed(&scene.database);
    make_history(&scene, seed)?;
    let text = if has_log { scene.config() } else { scene.embedded_config() };
    let text = text.replace("backfill = \"off\"\n", "") + SMALL_CHUNKS;
    scene.write_config(&text)?;
    scene.make_target()?;
    let ledger = scene.open_ledger(PAUSE, seed)?;
    let mut shop = scene.open_shop(RATE, seed + 1)?;
    wait_until("the shop has a history", LIMIT, || Ok(shop.transactions()? > 300))?;
    let mut process = start(&scene, has_log)?;
    let tables = scene.tables()?;
    wait_until("all tables are copied", LIMIT, || {
        shop.transactions()?;
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let text = process.log_text();
        let is_copied = |table: &String| {
            let name = format!("{}.{table}", scene.database);
            text.lines().any(|line| line.contains("is copied to the end") && line.contains(&name))
        };
        Ok(tables.iter().all(is_copied))
    })?;
    shop.close()?;
    ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let copies = documents(&scene, has_log)?;
    let sum = |field: &str| copies.iter().filter_map(|copy| copy[field].as_u64()).sum::<u64>();
    let (chunks, written, dropped) = (sum("chunks"), sum("rows_written"), sum("rows_dropped"));
    say(&format!("{}: {rows} rows equal; {chunks} chunks, {written} rows copied, {dropped} dropped", scene.database));
    ensure!(
        copies.len() == tables.len() + 1,
        "{} of {} tables and the markers are in the ledger",
        copies.len(),
        tables.len()
    );
    ensure!(copies.iter().all(|copy| copy["state"] == "done"), "not all are done: {copies:?}");
    ensure!(chunks > 50 && written > u64::from(ROWS) * 2 && dropped > 0, "the windows met no changes");
    end(&mut process)?;
    // It is copied once.
    process = start(&scene, has_log)?;
    scene.source(&format!("INSERT INTO plain (number, note) VALUES ({}, 'later')", ROWS * 2))?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    ensure!(documents(&scene, has_log)? == copies, "it was copied again");
    end(&mut process)?;
    scene.finish()
}

/// Tables with many kinds of keys and rows, and with what shops and ledgers wrote before.
fn make_history(scene: &Scene, seed: u64) -> Result<()> {
    scene.make_shop()?;
    scene.make_ledger()?;
    let ledger = scene.open_ledger(Duration::ZERO, seed + 3)?;
    wait_until("there is a history", LIMIT, || Ok(ledger.transactions() > 500))?;
    ledger.close()?;
    scene.source("CREATE TABLE plain (number INT PRIMARY KEY, note VARCHAR(40))")?;
    fill(scene, ROWS, "plain (number, note)", "i, CONCAT('row ', i)")?;
    scene.source(
        "CREATE TABLE named (name VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci, part SMALLINT, note TEXT,
         PRIMARY KEY (name, part))",
    )?;
    fill(
        scene,
        ROWS,
        "named (name, part, note)",
        "CONCAT(CHAR(65 + i % 26), CHAR(97 + i % 25), LEFT(SHA2(i DIV 7, 256), 30)), i % 7, REPEAT('x', i % 200)",
    )?;
    scene.source("CREATE TABLE nothing (id INT PRIMARY KEY)")?;
    scene.source("CREATE TABLE one (id BINARY(16) PRIMARY KEY, amount DECIMAL(20,3)); INSERT INTO one VALUES (UNHEX(LEFT(SHA2('one', 256), 32)), 1.5)")
}

/// Inserts rows by one statement; `i` counts them from 1 on.
fn fill(scene: &Scene, rows: u32, into: &str, values: &str) -> Result<()> {
    let limit = match scene.servers.mysql.flavor() {
        lab::Flavor::Mysql => "cte_max_recursion_depth",
        lab::Flavor::Mariadb | lab::Flavor::Mariadb11 => "max_recursive_iterations",
    };
    scene.source(&format!(
        "SET SESSION {limit} = 1000000;
         INSERT INTO {into} WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         SELECT {values} FROM n"
    ))
}

/// The tables of the ledger.
fn documents(scene: &Scene, has_log: bool) -> Result<Vec<Value>> {
    let mut all = ledger_of(scene, has_log)?;
    all.retain(|key, _| key.starts_with("table/"));
    Ok(all.into_values().collect())
}

/// Everything in the ledger, by key.
fn ledger_of(scene: &Scene, has_log: bool) -> Result<BTreeMap<String, Value>> {
    let mut texts = BTreeMap::new();
    if has_log {
        scene.read_topic(&format!("{}.ledger", scene.prefix), |record| {
            let key = String::from_utf8(record.key.context("a key")?.to_vec())?;
            let Some(value) = record.value else {
                texts.remove(&key);
                return Ok(());
            };
            let value: Value = serde_json::from_slice(value)?;
            texts.insert(key, value["text"].as_str().context("a text")?.to_owned());
            Ok(())
        })?;
    } else {
        let own = scene.own_table("ledger");
        for row in scene.target_rows(&format!("SELECT key, value FROM {own}"))? {
            let [Some(key), Some(value)] = &row[..] else { continue };
            texts.insert(key.clone(), value.clone());
        }
    }
    let documents = texts.into_iter().map(|(key, text)| Ok((key, serde_json::from_str(&text).context("a document")?)));
    documents.collect()
}

/// From the table's beginning on each chunk begins where another ended, up to the table's end, so no key is in two; rows written and dropped.
fn chain(chunks: &BTreeMap<String, Value>, prefix: &str) -> Result<(u64, u64)> {
    let mut left: Vec<&Value> =
        chunks.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, chunk)| chunk).collect();
    let (mut end, mut written, mut dropped) = (Value::Null, 0, 0);
    loop {
        let next = left.iter().position(|chunk| chunk["after"] == end);
        let chunk = left.swap_remove(next.with_context(|| format!("{prefix}: no chunk goes on behind {end}"))?);
        end = chunk["until"].clone();
        written += chunk["rows_written"].as_u64().context("rows_written")?;
        dropped += chunk["rows_dropped"].as_u64().context("rows_dropped")?;
        if end.is_null() {
            break;
        }
    }
    ensure!(left.is_empty(), "{prefix}: {} chunks lie beside the others: {left:?}", left.len());
    Ok((written, dropped))
}

fn start(scene: &Scene, has_log: bool) -> Result<Tailrace> {
    if has_log {
        return scene.run();
    }
    let mut process = scene.launch(&["run"])?.spawn()?;
    process.wait_ready(READY_LIMIT)?;
    Ok(process)
}

fn end(process: &mut Tailrace) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(Duration::from_secs(20))?;
    ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    Ok(())
}
