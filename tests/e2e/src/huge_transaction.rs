//! F26: five million rows in one transaction, too big for one log transaction, with capture and apply killed in its middle: exact
//! in the target, each row once in the topic, memory flat.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::process::{Launch, Tailrace};
use lab::{Mysql, say};

use crate::harness::{READY_LIMIT, Sampler, Samples, Scene, Servers, wait_until};

const ROWS: usize = 5_000_000;
/// How far each process gets before it is killed.
const KILL_AFTER: f64 = 1_200_000.0;
const LIMIT: Duration = Duration::from_secs(300);
const RESIDENT_KB_MAX: u64 = 150 * 1024;
/// Pages that come and go with the moment of the sample.
const SLACK_KB: u64 = 4 * 1024;

const FILL: &str = "
SET SESSION cte_max_recursion_depth = 10000;
INSERT INTO huge
WITH RECURSIVE thousands (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM thousands WHERE n < 4999),
  ones (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM ones WHERE n < 999)
SELECT thousands.n * 1000 + ones.n, (thousands.n * 7919 + ones.n * 104729) % 1000003 FROM thousands, ones";

/// The same on both sides: the number of rows, and sums that a lost, doubled or changed row moves.
const SUMS: &str = "SELECT COUNT(*), SUM(id), SUM(value), SUM((id % 1009) * (value + 1)), MIN(id), MAX(id) FROM huge";

#[test]
fn f26_huge_txn() -> Result<()> {
    let mysql = Mysql::fresh("e2e-huge", &["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2"])?;
    let scene = Scene::alone_on("huge", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    scene.source("CREATE TABLE huge (id INT PRIMARY KEY, value INT NOT NULL)")?;
    scene.make_target()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    let begin = Instant::now();
    scene.source(FILL)?;
    let filled_in = begin.elapsed();

    let begin = Instant::now();
    kill_after(&mut capture, "tailrace_capture_records_total")?;
    let (capture, captured) = second_life(&scene.launch(&["capture"])?)?;
    let log = capture.log_text();
    ensure!(has_split_checkpoint(&log), "the log tells of no restart inside the transaction: {log}");
    kill_after(&mut apply, "tailrace_apply_records_total")?;
    let (apply, applied) = second_life(&scene.launch(&["apply"])?)?;

    let topic = scene.topic("huge");
    wait_until("all rows are captured", LIMIT, || {
        is_at_least(scene.topic_ends(&topic)?.iter().map(|(_, end)| *end).sum())
    })?;
    let (captured, captured_in) = (captured.end()?, begin.elapsed());
    let query = "SELECT coalesce(sum(next_offset), 0) FROM tailrace.offsets";
    wait_until("all rows are applied", LIMIT, || is_at_least(scene.target_number(query)?))?;
    let (applied, applied_in) = (applied.end()?, begin.elapsed());

    scene.wait_drained()?;
    assert_eq!(scene.source_rows(SUMS)?, scene.target_rows(SUMS)?);
    let begin = Instant::now();
    check_topic(&scene, &topic)?;
    let read_in = begin.elapsed();
    say(&format!(
        "huge: committed in {filled_in:.1?}, captured in {captured_in:.1?}, applied in {applied_in:.1?}, topic read in {read_in:.1?}"
    ));
    drop((capture, apply));
    check_memory("capture", &captured)?;
    check_memory("apply", &applied)?;
    scene.finish()?;
    mysql.remove()
}

/// Offsets count the ends of log transactions too, so this may be true a moment too early; nothing rests on it.
fn is_at_least(offsets: i64) -> Result<bool> {
    Ok(usize::try_from(offsets)? >= ROWS)
}

/// Kills the process in the middle of its work.
fn kill_after(process: &mut Tailrace, records: &str) -> Result<()> {
    wait_until(&format!("{records} passes {KILL_AFTER}"), LIMIT, || {
        ensure!(process.is_running(), "the process ended: {}", process.log_text());
        Ok(process.metrics()?.sum(records) > Some(KILL_AFTER))
    })?;
    process.kill()
}

fn second_life(launch: &Launch) -> Result<(Tailrace, Sampler)> {
    let mut process = launch.spawn()?;
    process.wait_ready(READY_LIMIT)?;
    let sampler = Sampler::start(process.pid());
    Ok((process, sampler))
}

/// Capture says where it goes on: inside a transaction.
fn has_split_checkpoint(log: &str) -> bool {
    let text: String = log.chars().filter(|c| !matches!(c, '"' | ' ')).collect();
    text.contains("is_split=true") || text.contains("is_split:true")
}

/// Each row stands in the topic once: as many records as rows, and as many different keys.
fn check_topic(scene: &Scene, topic: &str) -> Result<()> {
    let mut seen = vec![false; ROWS];
    let mut records = 0usize;
    scene.read_topic(topic, |record| {
        let id = key_number(record.key.context("a record without a key")?).context("a key that is no number")?;
        let known = seen.get_mut(id).with_context(|| format!("a key that nobody wrote: {id}"))?;
        ensure!(!std::mem::replace(known, true), "key {id} stands twice in the topic");
        records += 1;
        Ok(())
    })?;
    ensure!(records == ROWS, "{records} records for {ROWS} rows");
    Ok(())
}

/// `{"id":123}`
fn key_number(key: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(key).ok()?;
    text.strip_prefix("{\"id\":")?.strip_suffix('}')?.parse().ok()
}

fn check_memory(who: &str, samples: &Samples) -> Result<()> {
    let (first, last) = samples.thirds()?;
    let peak = samples.peak;
    say(&format!("huge: {who}: peak {peak} kB; in the first third {first} kB, in the last {last} kB"));
    ensure!(peak < RESIDENT_KB_MAX, "{who} took {peak} kB, {RESIDENT_KB_MAX} are allowed");
    ensure!(
        last <= first + first / 10 + SLACK_KB,
        "{who} grew from {first} kB in the first third to {last} kB in the last: {:?}",
        samples.resident.iter().step_by(10).collect::<Vec<_>>()
    );
    Ok(())
}

#[test]
fn growing_memory_is_noticed() {
    let samples = |resident: Vec<u64>| Samples { peak: *resident.iter().max().unwrap_or(&0), resident };
    let flat = samples((0..300).map(|n| 90_000 + n % 7 * 500).collect());
    check_memory("flat", &flat).expect("flat memory is allowed");
    let growing = samples((0..300).map(|n| 50_000 + n * 100).collect());
    assert!(check_memory("growing", &growing).is_err());
    let big = samples(vec![RESIDENT_KB_MAX + 1; 300]);
    assert!(check_memory("big", &big).is_err());
    assert!(check_memory("short", &samples(vec![1; 20])).is_err(), "too few samples prove nothing");
}
