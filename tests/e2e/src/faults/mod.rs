//! Faults of the source's stream under a live writer: what can go on converges, what can't ends by name with its position before
//! what it can't follow. Each test makes sure that the fault was there.
//!
//! `torn`: a connection or a process that goes in the middle of a transaction (F01, F02, F03, E18). `damaged`: bytes that are not as the
//! server wrote them (F17, F25). `odd_changes`: statement format, cascades, time zones (F13, F21, F24).

mod damaged;
mod odd_changes;
mod torn;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use serde_json::Value;

use crate::harness::{DRAIN_LIMIT, Ledger, Scene, wait_until};

/// Of the live writer, between two transactions.
const PAUSE: Duration = Duration::from_millis(2);
/// Transactions of the live writer between two steps.
const STEP: u64 = 40;

fn wait_written(ledger: &Ledger<'_>) -> Result<()> {
    let goal = ledger.transactions() + STEP;
    wait_until("the writer writes", DRAIN_LIMIT, || Ok(ledger.transactions() > goal))
}

/// Ends the writer, waits until all has arrived and compares every row.
fn converge(scene: &Scene, ledger: Ledger<'_>) -> Result<()> {
    wait_written(&ledger)?;
    let transactions = ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    lab::say(&format!("{}: {transactions} transactions of the writer, {rows} rows equal", scene.database));
    Ok(())
}

/// What the last committed checkpoint holds.
fn checkpoint(scene: &Scene) -> Result<Value> {
    let mut last = None;
    scene.read_topic(&format!("{}.checkpoint", scene.prefix), |record| {
        if let (Some(b"capture"), Some(value)) = (record.key, record.value) {
            let value: Value = serde_json::from_slice(value).context("a checkpoint is JSON")?;
            last = Some(value["checkpoint"].clone());
        }
        Ok(())
    })?;
    last.context("there is no checkpoint")
}

/// Whether the last checkpoint covers this transaction of the server itself, `tag:number`.
fn covers(scene: &Scene, transaction: &str) -> Result<bool> {
    let checkpoint = checkpoint(scene)?;
    let position = checkpoint["mark"]["position"].as_str().context("a position")?;
    let set = position.split_once("gtid:").context("a GTID set")?.1.split('@').next().unwrap_or_default();
    let query = format!("SELECT GTID_SUBSET(CONCAT(@@GLOBAL.server_uuid, ':{transaction}'), '{set}')");
    Ok(scene.source_number(&query)? == 1)
}

/// The process ends by itself with that code, its log says these words, and none of its predecessors' is meant.
fn ensure_ends(process: &mut Tailrace, code: i32, words: &[&str]) -> Result<()> {
    let status = process.wait_exit(DRAIN_LIMIT)?;
    let log = process.log_text();
    let last = log.lines().rev().find(|line| line.contains("ERROR")).unwrap_or_default();
    ensure!(status.code() == Some(code), "ended with {status}, not {code}: {log}");
    for word in words {
        ensure!(last.contains(word), "no word of {word:?}: {last}");
    }
    Ok(())
}
