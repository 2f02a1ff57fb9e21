//! A binlog that no longer has what comes next: purged files, a reset server. Exit code 3, and the checkpoint stays where it
//! was, so that nobody goes on behind a gap without knowing.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Kafka, Mysql, Postgres};

use super::{checkpoint, ensure_failed, record_count};
use crate::harness::{DRAIN_LIMIT, READY_LIMIT, Scene, Servers, wait_until};

#[test]
fn f09_a_gap_in_the_binlog_is_never_jumped_over() -> Result<()> {
    let mysql = Mysql::fresh("lost-position", &["--sync-binlog=0"])?;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on("lost_position", servers)?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY)")?;
    capture_one(&scene, 1)?;
    // Changes that capture never saw, in files that are gone.
    scene.source("INSERT INTO t VALUES (2); FLUSH BINARY LOGS; INSERT INTO t VALUES (3); FLUSH BINARY LOGS; INSERT INTO t VALUES (4)")?;
    let last = scene.source_rows("SHOW BINARY LOGS")?.pop().and_then(|row| row.into_iter().next().flatten());
    scene.source(&format!("PURGE BINARY LOGS TO '{}'", last.unwrap_or_default()))?;
    check_lost(&scene, &["binlog"])?;
    // And once more, while it runs: the same answer, however often it is asked.
    check_lost(&scene, &["binlog"])?;

    scene.source("RESET BINARY LOGS AND GTIDS; INSERT INTO t VALUES (5)")?;
    check_lost(&scene, &[])?;
    scene.finish()?;
    mysql.remove()
}

fn capture_one(scene: &Scene, id: u32) -> Result<()> {
    let mut capture = scene.capture()?;
    scene.source(&format!("INSERT INTO t VALUES ({id})"))?;
    wait_until("the row is in the topic", DRAIN_LIMIT, || Ok(record_count(scene, &scene.topic("t"))? == 1))?;
    capture.terminate()?;
    let status = capture.wait_exit(READY_LIMIT)?;
    ensure!(status.code() == Some(0), "capture ended with {status}");
    Ok(())
}

fn check_lost(scene: &Scene, words: &[&str]) -> Result<()> {
    let before = checkpoint(scene, &scene.prefix)?;
    let finished = scene.launch(&["capture"])?.run(Duration::from_secs(30))?;
    ensure_failed(&finished, 3, words)?;
    ensure!(checkpoint(scene, &scene.prefix)? == before, "the checkpoint moved");
    ensure!(record_count(scene, &scene.topic("t"))? == 1, "something from behind the gap is in the log");
    Ok(())
}
