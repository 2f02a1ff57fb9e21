//! F13, F21, F24: a session that logs statements, rows that foreign keys change, clocks and time zones.

use anyhow::{Context, Result, ensure};
use lab::{Mysql, say};

use super::{PAUSE, STEP, converge, covers, ensure_ends, wait_written};
use crate::harness::{DRAIN_LIMIT, LEDGER, Scene, Servers, seed, wait_until};

const TABLE_FAILED: i32 = 4;

#[test]
fn f13_stmt_event_leak() -> Result<()> {
    let mysql = Mysql::fresh("e2e-f13", &["--sync-binlog=0"])?;
    let scene = Scene::on("f13", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    let seed = seed(&scene.database);
    let elsewhere = format!("{}_elsewhere", scene.database);
    scene.source(&format!(
        "CREATE DATABASE {elsewhere}; CREATE TABLE {elsewhere}.t (id INT PRIMARY KEY);
         CREATE TABLE t (id INT PRIMARY KEY, v INT)"
    ))?;
    // By name: of a whole database only the database would be named.
    let whole = format!("source = \"{}.*\"", scene.database);
    let named = |table: &str| format!("source = \"{}.{table}\"", scene.database);
    let tables = [named("t"), named(LEDGER), named(Scene::MARKERS)].join("\n[[table]]\n");
    scene.write_config(&scene.config().replace(&whole, &tables))?;
    scene.make_ledger()?;
    scene.make_target()?;
    let (mut capture, apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed)?;
    wait_written(&ledger)?;
    scene.source(&format!(
        "INSERT INTO t VALUES (1, 1); SET binlog_format = STATEMENT; INSERT INTO {elsewhere}.t VALUES (1)"
    ))?;
    wait_until("a statement about another table is counted", DRAIN_LIMIT, || {
        ensure!(capture.is_running(), "capture ended: {}", capture.log_text());
        Ok(capture.metrics()?.sum("tailrace_capture_foreign_statements_total") > Some(0.0))
    })?;
    wait_written(&ledger)?;
    let leak = "SET binlog_format = STATEMENT, gtid_next = 'AUTOMATIC:f13'; UPDATE t SET v = 4711 WHERE id = 1";
    scene.source(leak)?;
    let table = format!("{}.t", scene.database);
    for _ in 0..2 {
        ensure_ends(&mut capture, TABLE_FAILED, &["UPDATE", "statement digest", &table, "binlog_format=ROW"])?;
        ensure!(!capture.log_text().contains("4711"), "the statement's values are in the log");
        ensure!(!covers(&scene, "f13:1")?, "the checkpoint passed it");
        // A restart meets it again.
        capture = scene.launch(&["capture"])?.spawn()?;
    }
    ledger.close()?;
    drop((capture, apply));
    scene.finish()?;
    mysql.remove()
}

/// Of F21: rows that others take along.
const TABLES: &str = "CREATE TABLE trees (id INT PRIMARY KEY, v INT NOT NULL);
        CREATE TABLE leaves (id INT PRIMARY KEY, tree INT NOT NULL,
            FOREIGN KEY (tree) REFERENCES trees (id) ON DELETE CASCADE ON UPDATE CASCADE);
        CREATE TABLE veins (id INT PRIMARY KEY, leaf INT NOT NULL, FOREIGN KEY (leaf) REFERENCES leaves (id) ON DELETE CASCADE);
        CREATE TABLE birds (id INT PRIMARY KEY, tree INT, FOREIGN KEY (tree) REFERENCES trees (id) ON DELETE SET NULL ON UPDATE CASCADE)";

/// From MySQL 9.6 on the binlog has what foreign keys change; MariaDB's does not, and `check` and capture say so.
#[test]
fn f21_fk_cascade() -> Result<()> {
    let scene = Scene::new("f21")?;
    let seed = seed(&scene.database);
    scene.source(TABLES)?;
    scene.make_ledger()?;
    scene.make_target()?;
    let (mut capture, apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed)?;
    wait_written(&ledger)?;
    let grow = |n: u64| {
        format!(
            "INSERT INTO trees VALUES ({n}, 1); INSERT INTO leaves VALUES ({n}0, {n}), ({n}1, {n});
             INSERT INTO veins VALUES ({n}0, {n}0), ({n}1, {n}1); INSERT INTO birds VALUES ({n}, {n})"
        )
    };
    for n in 1..=STEP {
        scene.source(&grow(n))?;
    }
    capture.kill()?;
    scene.source("DELETE FROM trees WHERE id % 4 = 0; UPDATE trees SET id = id + 1000 WHERE id % 4 = 1")?;
    let mut capture = scene.capture()?;
    scene.source("BEGIN; DELETE FROM trees WHERE id % 4 = 2; UPDATE trees SET v = 2; COMMIT")?;
    converge(&scene, ledger)?;
    // No statement names their rows.
    let (mut gone, mut torn_off) = (0_u64, 0_u64);
    scene.read_topic(&scene.topic("veins"), |record| {
        gone += u64::from(operation(record.value)?.as_deref() == Some("d"));
        Ok(())
    })?;
    scene.read_topic(&scene.topic("birds"), |record| {
        torn_off += u64::from(operation(record.value)?.as_deref() == Some("u"));
        Ok(())
    })?;
    say(&format!("{}: {gone} rows gone and {torn_off} changed by foreign keys", scene.database));
    ensure!(gone == STEP && torn_off == STEP / 4 * 3, "{gone} rows gone, {torn_off} changed by foreign keys");
    ensure!(capture.is_running(), "capture ended: {}", capture.log_text());
    drop((capture, apply));
    scene.finish()
}

#[test]
fn f21_fk_cascades_of_a_server_that_does_not_log_them() -> Result<()> {
    let scene = Scene::on("f21_mariadb", Servers::shared_mariadb()?)?;
    let (trees, others) = TABLES.split_once(';').context("several tables")?;
    // On one line each, as they stand in logs.
    let others = others.split_whitespace().collect::<Vec<_>>().join(" ");
    scene.source(trees)?;
    scene.make_target()?;
    scene.write_config(&format!("{}on_ddl = \"evolve\"\n", scene.config()))?;
    scene.target(
        "CREATE TABLE leaves (id INT PRIMARY KEY, tree INT NOT NULL); CREATE TABLE veins (id INT PRIMARY KEY, leaf INT NOT NULL);
         CREATE TABLE birds (id INT PRIMARY KEY, tree INT)",
    )?;
    // The keys come while changes are captured.
    let (capture, mut apply) = (scene.capture()?, scene.apply()?);
    scene.source("INSERT INTO trees VALUES (1, 1)")?;
    scene.wait_drained()?;
    scene.source(&others.replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1))?;
    scene.source(
        "INSERT INTO leaves VALUES (10, 1); INSERT INTO veins VALUES (10, 10); INSERT INTO birds VALUES (1, 1)",
    )?;
    for table in ["leaves", "veins", "birds"] {
        let name = format!("--table {}.{table} ", scene.database);
        wait_until("the table waits", DRAIN_LIMIT, || {
            ensure!(apply.is_running(), "apply ended: {}", apply.log_text());
            let text = apply.log_text();
            Ok(text.lines().any(|line| line.contains(&name) && line.contains("without a trace")))
        })?;
    }
    drop((capture, apply));
    let found = scene.command(&["check"])?;
    let is_named = found.stdout.contains("ON DELETE CASCADE") && found.stdout.contains("DROP FOREIGN KEY");
    ensure!(found.code == Some(1) && is_named, "check does not find it: {found:?}");
    let refused = scene.command(&["capture"])?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("ON DELETE CASCADE"), "capture starts: {refused:?}");
    scene.finish()
}

fn operation(value: Option<&[u8]>) -> Result<Option<String>> {
    let Some(value) = value else { return Ok(None) };
    let value: serde_json::Value = serde_json::from_slice(value).context("a record is JSON")?;
    Ok(value["op"].as_str().map(str::to_owned))
}

/// A zone whose clocks went from 03:00 back to 02:00 on 2024-10-27 at 01:00 UTC, and an hour forward on 2024-03-31.
const ZONE: &str = "INSERT INTO mysql.time_zone (Time_zone_id, Use_leap_seconds) VALUES (7, 'N');
    INSERT INTO mysql.time_zone_name (Name, Time_zone_id) VALUES ('Test/Fold', 7);
    INSERT INTO mysql.time_zone_transition_type (Time_zone_id, Transition_type_id, Offset, Is_DST, Abbreviation)
        VALUES (7, 0, 3600, 0, 'TST'), (7, 1, 7200, 1, 'TDT');
    INSERT INTO mysql.time_zone_transition (Time_zone_id, Transition_time, Transition_type_id)
        VALUES (7, 1711846800, 1), (7, 1729990800, 0)";

/// Half an hour before and behind the fold: both print 02:30.
const FOLD: [u32; 2] = [1_729_989_000, 1_729_992_600];

#[test]
fn f24_clock_tz_dst() -> Result<()> {
    let mysql = Mysql::fresh("e2e-f24", &["--sync-binlog=0"])?;
    let scene = Scene::on("f24", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    let seed = seed(&scene.database);
    scene.source(ZONE)?;
    scene.source(
        "CREATE TABLE moments (id INT AUTO_INCREMENT PRIMARY KEY, zone VARCHAR(20), stamp TIMESTAMP(6) NULL, plain DATETIME(6),
         made TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), seen DATETIME DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
         day DATE, clock TIME(3))",
    )?;
    scene.make_ledger()?;
    scene.make_target()?;
    let (mut capture, apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed)?;
    wait_written(&ledger)?;
    for zone in ["Test/Fold", "+14:00", "SYSTEM", "-11:30", "Test/Fold"] {
        // New sessions have it from now on, the live writer's too if it connects anew.
        scene.source(&format!("SET GLOBAL time_zone = '{zone}'"))?;
        for moment in FOLD.into_iter().chain([1_711_846_799, 1_711_846_800, 1]) {
            // As a time of day the second instant of the fold can't be said.
            scene.source(&format!(
                "SET timestamp = {moment}, time_zone = '+00:00'; \
                 INSERT INTO moments (stamp, day, clock) VALUES (NOW(6), CURRENT_DATE, CURRENT_TIME); \
                 SET time_zone = DEFAULT; UPDATE moments SET zone = @@time_zone, plain = stamp WHERE id = LAST_INSERT_ID()"
            ))?;
        }
        capture.kill()?;
        scene.source("UPDATE moments SET clock = ADDTIME(clock, '00:00:01') WHERE id % 2 = 0")?;
        capture = scene.capture()?;
    }
    let folded = "SELECT COUNT(*) FROM moments a JOIN moments b ON a.plain = b.plain AND UNIX_TIMESTAMP(a.stamp) < UNIX_TIMESTAMP(b.stamp) WHERE a.zone = 'Test/Fold'";
    ensure!(scene.source_number(folded)? > 0, "no two instants have the same time of day");
    converge(&scene, ledger)?;
    // The oracle compares each value; what an instant is does not hang on who asks.
    let instants = scene.source_number("SELECT COUNT(DISTINCT UNIX_TIMESTAMP(stamp)) FROM moments")?;
    ensure!(instants == scene.target_number("SELECT COUNT(DISTINCT stamp) FROM moments")?, "instants fell together");
    drop((capture, apply));
    scene.finish()?;
    mysql.remove()
}
