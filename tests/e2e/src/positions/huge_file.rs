//! F26: one transaction of more than 4 GiB, and so a file of the binlog whose offsets need more than 32 bits, while an event tells their low
//! 32 bits alone. The server begins a new file behind it, so it is inside of the transaction that capture dies, before 4 GiB and beyond.
//! It takes minutes and 15 GB of disk, so it runs where it was asked for: `TAILRACE_TEST_HUGE_FILE=1 cargo x test -p e2e f26_offsets`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::{Mysql, say};
use serde_json::Value;

use crate::harness::{LEDGER, Ledger, Scene, Servers, seed, wait_until};

const LIMIT: Duration = Duration::from_secs(1_800);
const PAUSE: Duration = Duration::from_millis(2);
const STEP: u64 = 100;
const ROWS: u64 = 26_000;
const ROW_BYTES: u64 = 200_000;
const FOUR_GIB: u64 = 1 << 32;

#[test]
fn f26_offsets_beyond_4_gib() -> Result<()> {
    if std::env::var_os("TAILRACE_TEST_HUGE_FILE").is_none() {
        say("SKIPPED: f26_offsets_beyond_4_gib, because TAILRACE_TEST_HUGE_FILE is not set");
        return Ok(());
    }
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF", "--sync-binlog=0"];
    let mysql = Mysql::fresh("e2e-huge-file", &options)?;
    let scene = Scene::alone_on("huge_file", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    scene.make_ledger()?;
    // It stores nothing: what matters is the binlog.
    scene.source("CREATE TABLE large (id INT PRIMARY KEY, v LONGTEXT NOT NULL) ENGINE = BLACKHOLE")?;
    scene.make_target()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed(&scene.database))?;
    wait_written(&ledger)?;
    let begin = Instant::now();
    scene.source(&format!(
        "SET SESSION cte_max_recursion_depth = 100000; INSERT INTO large WITH RECURSIVE n (i) AS
         (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) SELECT i, REPEAT(CHAR(97 + i % 26), {ROW_BYTES}) FROM n"
    ))?;
    let filled_in = begin.elapsed();
    for rows in [ROWS / 3, ROWS * 9 / 10] {
        capture = kill_behind(&scene, capture, rows)?;
    }
    let goal = ledger.transactions() + STEP;
    wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() > goal))?;
    let transactions = ledger.close()?;
    let marker = scene.mark()?;
    let query = format!("SELECT count(*) FROM {} WHERE id = {marker}", Scene::MARKERS);
    wait_until("all is applied", LIMIT, || Ok(scene.target_number(&query)? == 1))?;
    scene.wait_drained()?;

    ensure!(scene.compare(LEDGER)?.differences == 0, "the writer's table differs");
    let sums = scene.target_rows("SELECT count(*), sum(id), sum(length(v)), min(id), max(id) FROM large")?;
    let wanted = [ROWS, ROWS * (ROWS + 1) / 2, ROWS * ROW_BYTES, 1, ROWS].map(|number| Some(number.to_string()));
    ensure!(sums == [wanted.to_vec()], "{sums:?}");
    let beyond = rows_beyond(&scene)?;
    ensure!(beyond > ROWS / 10 && beyond < ROWS / 4, "{beyond} rows lie beyond 4 GiB");
    say(&format!(
        "huge_file: committed in {filled_in:.1?}, applied in {:.1?}; {transactions} transactions of the writer, {beyond} rows \
         beyond 4 GiB",
        begin.elapsed()
    ));
    end(&mut capture)?;
    end(&mut apply)?;
    scene.finish()?;
    mysql.remove()
}

fn wait_written(ledger: &Ledger<'_>) -> Result<()> {
    let goal = ledger.transactions() + STEP;
    wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() > goal))
}

/// Kills capture when the log has so many rows of the transaction, and lets it go on from inside of it.
fn kill_behind(scene: &Scene, mut capture: Tailrace, rows: u64) -> Result<Tailrace> {
    let topic = scene.topic("large");
    wait_until("a part of the transaction is captured", LIMIT, || {
        ensure!(capture.is_running(), "it ended: {}", capture.log_text());
        let ends: i64 = scene.topic_ends(&topic)?.iter().map(|(_, end)| *end).sum();
        Ok(u64::try_from(ends)? > rows)
    })?;
    capture.kill()?;
    let began = |log: &str| log.lines().filter(|line| line.contains("capture goes on")).count();
    let before = began(&capture.log_text());
    capture = scene.launch(&["capture"])?.spawn()?;
    wait_until("capture goes on", LIMIT, || {
        ensure!(capture.is_running(), "it ended: {}", capture.log_text());
        Ok(began(&capture.log_text()) > before)
    })?;
    let log = capture.log_text();
    let split = log.lines().rfind(|line| line.contains("capture goes on")).unwrap_or_default();
    ensure!(split.contains("is_split=true"), "it was not inside of the transaction: {split}");
    Ok(capture)
}

/// Rows of the transaction whose place in the file needs more than 32 bits, as consumers are told; each stands in the log once.
fn rows_beyond(scene: &Scene) -> Result<u64> {
    let (mut beyond, mut keys) = (0, BTreeSet::new());
    scene.read_topic(&scene.topic("large"), |record| {
        ensure!(keys.insert(record.key.unwrap_or_default().to_vec()), "a row stands twice in the log");
        let value: Value = serde_json::from_slice(record.value.context("a row")?)?;
        let place = value["source"]["pos"].as_u64().context("a place")?;
        beyond += u64::from(place >= FOUR_GIB);
        Ok(())
    })?;
    Ok(beyond)
}

fn end(process: &mut Tailrace) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(Duration::from_secs(60))?;
    ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    Ok(())
}
