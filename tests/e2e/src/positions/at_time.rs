//! `source.start` as a time: what was committed before it does not come, what was committed then or later does, under a live writer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Mysql, say};

use crate::harness::{Scene, Servers, seed, wait_until};

const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(2);
/// Rows of the live writer between two steps.
const STEP: i64 = 40;

#[test]
fn capture_begins_at_a_time() -> Result<()> {
    let mysql = Mysql::fresh("e2e-at-time", &["--sync-binlog=0"])?;
    check(Scene::on("at_time", Servers { mysql: mysql.clone(), ..Servers::shared()? })?)?;
    mysql.remove()
}

fn check(scene: Scene) -> Result<()> {
    // One connection writes, so its ids rise from commit to commit.
    scene.source(
        "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20)); CREATE TABLE live (id BIGINT AUTO_INCREMENT PRIMARY KEY)",
    )?;
    scene.make_target()?;
    // The second in which the oldest file was begun is no time to begin at.
    wait_until("the server has run for a while", LIMIT, || {
        Ok(scene.source_number(
            "SELECT variable_value FROM performance_schema.global_status WHERE variable_name = 'Uptime'",
        )? > 3)
    })?;
    let crowd = scene.open_crowd(1, PAUSE, seed(&scene.database), |_| "INSERT INTO live () VALUES ()".to_owned())?;
    scene.source("INSERT INTO t VALUES (1, 'before'), (2, 'before')")?;
    wait_written(&scene)?;
    // The time lies in the middle of a file that is neither the first nor the last.
    scene.source("FLUSH BINARY LOGS; UPDATE t SET v = 'before too' WHERE id = 2")?;
    let last_before = wait_written(&scene)?;
    let time = "DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%fZ')";
    let time = scene.source_rows(&format!("SELECT {time}"))?.pop().and_then(|mut row| row.pop()?).context("a time")?;
    // The next one may be committed, and not yet seen.
    let first_behind = newest(&scene)? + 2;
    scene.source("INSERT INTO t VALUES (3, 'behind'); FLUSH BINARY LOGS")?;
    wait_written(&scene)?;
    scene.source("INSERT INTO t VALUES (4, 'behind')")?;
    scene.write_config(&scene.config().replace("start = \"now\"", &format!("start = \"{time}\"")))?;
    let (capture, apply) = (scene.capture()?, scene.apply()?);
    scene.source("INSERT INTO t VALUES (5, 'live')")?;
    wait_written(&scene)?;
    let rows = crowd.close()?;
    scene.wait_drained()?;

    let ids = scene.target_rows("SELECT string_agg(id || v, ',' ORDER BY id) FROM t")?;
    ensure!(ids == [[Some("3behind,4behind,5live".to_owned())]], "{ids:?}");
    let first = scene.target_number("SELECT min(id) FROM live")?;
    ensure!(first > last_before, "{first} was committed before {time}, up to {last_before}");
    ensure!(first <= first_behind, "{first_behind} was committed behind {time}, and {first} is the first");
    let behind = scene.source_number(&format!("SELECT COUNT(*) FROM live WHERE id >= {first}"))?;
    let arrived = scene.target_number("SELECT count(*) FROM live")?;
    ensure!(arrived == behind && behind > 2 * STEP, "{arrived} of {behind} rows arrived");
    say(&format!("at_time: {arrived} of {rows} rows of the writer, from {first} on"));
    drop((capture, apply));
    scene.finish()
}

fn newest(scene: &Scene) -> Result<i64> {
    scene.source_number("SELECT COALESCE(MAX(id), 0) FROM live")
}

/// Waits for rows of the writer; returns the newest.
fn wait_written(scene: &Scene) -> Result<i64> {
    let before = newest(scene)?;
    wait_until("the writer writes", LIMIT, || Ok(newest(scene)? > before + STEP))?;
    newest(scene)
}
