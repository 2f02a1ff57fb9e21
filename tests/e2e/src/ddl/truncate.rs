//! F23: a table is emptied by TRUNCATE again and again while writers go on, its records lie in eight partitions, and capture and
//! apply are killed before, at and after the barrier that it becomes, and superseded. The target equals the source all the same.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::say;

use super::{LIMIT, end};
use crate::harness::{LEDGER, Ledger, READY_LIMIT, Scene, free_port, seed, wait_until};

const PAUSE: Duration = Duration::from_millis(1);
const FENCED: i32 = 6;

/// Who dies where.
const DEATHS: [(&str, &str); 6] = [
    ("capture", "capture.barrier_before"),
    ("apply", "postgres.barrier_acting"),
    ("capture", "kafka.barrier_produced"),
    ("apply", "postgres.barrier_commit_sent"),
    ("capture", "kafka.barrier_committed"),
    ("apply", "postgres.barrier_committed"),
];

#[test]
fn f23_truncate() -> Result<()> {
    let scene = Scene::new("truncate")?;
    let seed = seed(&scene.database);
    let config = scene.config().replace("partitions = 4", "partitions = 8") + "on_ddl = \"evolve\"\n";
    ensure!(config.contains("partitions = 8"), "the records lie in eight partitions");
    scene.write_config(&config)?;
    scene.make_ledger()?;
    scene.make_target()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed)?;
    let mut truncations = Truncations { scene: &scene, ledger: &ledger, done: 0, next: 0 };
    for (who, point) in DEATHS {
        let process = if who == "capture" { &mut capture } else { &mut apply };
        end(process)?;
        let fault = format!("{point}:1");
        let mut doomed = scene.launch(&[who])?.variable("TAILRACE_FAULT", &fault).spawn()?;
        wait_until(&format!("{who} dies at {point}"), LIMIT, || {
            truncations.poll()?;
            Ok(!doomed.is_running())
        })?;
        let status = doomed.wait_exit(LIMIT)?;
        ensure!(status.signal() == Some(9), "{who} ended with {status}: {}", doomed.log_text());
        truncations.truncate()?;
        *process = if who == "capture" { scene.capture()? } else { scene.apply()? };
    }

    // A rival takes the partitions over while tables stand at barriers.
    let port = free_port()?;
    scene.write_config(&config.replace(&format!("127.0.0.1:{}", scene.apply_port), &format!("127.0.0.1:{port}")))?;
    let mut rival = scene.launch(&["apply"])?.http_port(port).spawn()?;
    wait_until("the first apply is fenced", LIMIT, || {
        truncations.poll()?;
        Ok(!apply.is_running())
    })?;
    ensure!(apply.wait_exit(LIMIT)?.code() == Some(FENCED), "it ended otherwise: {}", apply.log_text());
    rival.wait_ready(READY_LIMIT)?;

    truncations.truncate()?;
    let truncated = truncations.done;
    let before = ledger.transactions();
    wait_until("rows follow the last TRUNCATE", LIMIT, || Ok(ledger.transactions() >= before + 50))?;
    let transactions = ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let done = scene.target_number("SELECT count(*) FROM tailrace.barriers WHERE state = 'done'")?;
    ensure!(done == truncated, "{done} of {truncated} statements are done");
    let metrics = rival.metrics()?;
    let sum = |name: &str| metrics.sum(name).unwrap_or(0.0);
    let (waits, seconds) = (sum("tailrace_apply_barrier_seconds_count"), sum("tailrace_apply_barrier_seconds_sum"));
    say(&format!(
        "truncate: {transactions} transactions, {truncated} statements, {rows} rows equal; {waits} waits of {:.0} ms on average",
        seconds / waits.max(1.0) * 1_000.0
    ));
    for process in [&mut capture, &mut rival] {
        end(process)?;
    }
    scene.finish()
}

/// Empties the table in the source now and then: rows must have come in between.
struct Truncations<'a> {
    scene: &'a Scene,
    ledger: &'a Ledger<'a>,
    done: i64,
    /// Transactions of the writers before the next.
    next: u64,
}

impl Truncations<'_> {
    fn poll(&mut self) -> Result<()> {
        const TRANSACTIONS_BETWEEN: u64 = 300;
        if self.ledger.transactions() < self.next {
            return Ok(());
        }
        self.next = self.ledger.transactions() + TRANSACTIONS_BETWEEN;
        self.truncate()
    }

    fn truncate(&mut self) -> Result<()> {
        self.scene.source(&format!("TRUNCATE TABLE {LEDGER}"))?;
        self.done += 1;
        Ok(())
    }
}
