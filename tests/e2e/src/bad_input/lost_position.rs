//! A binlog that no longer has what comes next: purged files, a reset server, under a live writer. Exit code 3, and the checkpoint stays
//! where it was, so that nobody goes on behind a gap without knowing.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Kafka, Mysql, Postgres};

use super::{checkpoint, ensure_failed, record_count};
use crate::harness::{DRAIN_LIMIT, LEDGER, Ledger, READY_LIMIT, Scene, Servers, seed, wait_until};

const PAUSE: Duration = Duration::from_millis(2);
/// Transactions of the live writer between two steps.
const STEP: u64 = 40;

#[test]
fn f09_a_gap_in_the_binlog_is_never_jumped_over() -> Result<()> {
    let mysql = Mysql::fresh("lost-position", &["--sync-binlog=0"])?;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on("lost_position", servers)?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY)")?;
    scene.make_ledger()?;
    let ledger = scene.open_ledger(PAUSE, seed(&scene.database))?;
    wait_written(&ledger)?;
    capture_one(&scene, &ledger, 1)?;
    // Changes that capture never saw, in files that are gone.
    wait_written(&ledger)?;
    scene.source("INSERT INTO t VALUES (2); FLUSH BINARY LOGS; INSERT INTO t VALUES (3); FLUSH BINARY LOGS; INSERT INTO t VALUES (4)")?;
    let last = scene.source_rows("SHOW BINARY LOGS")?.pop().and_then(|row| row.into_iter().next().flatten());
    scene.source(&format!("PURGE BINARY LOGS TO '{}'", last.unwrap_or_default()))?;
    let (text, captured) = checkpoint(&scene, &scene.prefix)?;
    let missing = format!("SELECT GTID_SUBSET(@@GLOBAL.gtid_purged, '{captured}')");
    ensure!(scene.source_number(&missing)? == 0, "nothing is missing behind {text}: the test proves nothing");
    check_lost(&scene, &["binlog"])?;
    // And once more, while it runs: the same answer, however often it is asked.
    wait_written(&ledger)?;
    check_lost(&scene, &["binlog"])?;

    scene.source("RESET BINARY LOGS AND GTIDS; INSERT INTO t VALUES (5)")?;
    wait_written(&ledger)?;
    check_lost(&scene, &[])?;
    ledger.close()?;
    scene.finish()?;
    mysql.remove()
}

fn wait_written(ledger: &Ledger<'_>) -> Result<()> {
    let goal = ledger.transactions() + STEP;
    wait_until("the writer writes", DRAIN_LIMIT, || Ok(ledger.transactions() > goal))
}

/// Captures a row, and some of what the writer writes beside it.
fn capture_one(scene: &Scene, ledger: &Ledger<'_>, id: u32) -> Result<()> {
    let mut capture = scene.capture()?;
    wait_written(ledger)?;
    scene.source(&format!("INSERT INTO t VALUES ({id})"))?;
    wait_until("the row is in the topic", DRAIN_LIMIT, || Ok(record_count(scene, &scene.topic("t"))? == 1))?;
    capture.terminate()?;
    let status = capture.wait_exit(READY_LIMIT)?;
    ensure!(status.code() == Some(0), "capture ended with {status}");
    Ok(())
}

fn check_lost(scene: &Scene, words: &[&str]) -> Result<()> {
    let topic = scene.topic(LEDGER);
    let (before, ends) = (checkpoint(scene, &scene.prefix)?, scene.topic_ends(&topic)?);
    ensure!(ends.iter().any(|(_, end)| *end > 0), "nothing of the writer's was captured");
    let finished = scene.launch(&["capture"])?.run(DRAIN_LIMIT)?;
    ensure_failed(&finished, 3, words)?;
    ensure!(checkpoint(scene, &scene.prefix)? == before, "the checkpoint moved");
    let is_same = scene.topic_ends(&topic)? == ends;
    ensure!(is_same && record_count(scene, &scene.topic("t"))? == 1, "something from behind the gap is in the log");
    Ok(())
}
