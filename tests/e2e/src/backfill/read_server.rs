//! E09: tables are read from a replica that is behind, while many writers change them. What was captured is waited for on the replica, and
//! the end of the captured server's binlog closes the windows. The same without the wait must lose rows, or it proves nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::writer::Dice;
use lab::{Mysql, say};
use serde_json::Value;

use super::{LIMIT, documents, end, fill};
use crate::harness::{Replica, Scene, Servers, seed, wait_until};

const FAST: [&str; 2] = ["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2"];
const TABLES: u64 = 4;
const ROWS: u64 = 2_000;
const WRITERS: u64 = 6;
const PAUSE: Duration = Duration::from_millis(5);
const CHUNKS: &str = "\n[backfill]\nreaders = 4\nchunk_rows = 700\n";
/// How far the replica is always behind.
const DELAY: &str = "STOP REPLICA SQL_THREAD; CHANGE REPLICATION SOURCE TO SOURCE_DELAY = 2; START REPLICA SQL_THREAD";

#[test]
fn e09_tables_are_read_from_a_replica_that_is_behind() -> Result<()> {
    let mysql = Mysql::fresh("e2e-read-source", &FAST)?;
    let servers = || -> Result<Servers> { Ok(Servers { mysql: mysql.clone(), ..Servers::shared()? }) };
    let flawed = Scene::on("backfill_read_no_wait", servers()?)?;
    let replica = Replica::fresh(&flawed, "e2e-read-replica", &FAST)?;
    replica.run(&flawed, DELAY)?;
    let (lost, _) = copy(&flawed, &replica, true)?;
    ensure!(lost > 0, "nothing was lost without the wait: the test proves nothing");
    flawed.finish()?;
    let scene = Scene::on("backfill_read", servers()?)?;
    let (differences, dropped) = copy(&scene, &replica, false)?;
    ensure!(differences == 0, "{differences} rows differ, although the replica was waited for");
    ensure!(dropped > 0, "no window met a change");
    say(&format!("e09: no row lost, {dropped} dropped; {lost} lost without the wait"));
    replica.run(&scene, &DELAY.replace('2', "0"))?;
    keep_out_rows_of_the_replica(&scene, &replica)?;
    refuse_filters(&scene, &replica)?;
    scene.finish()?;
    replica.server.remove()?;
    mysql.remove()
}

#[test]
fn a_replica_of_mariadb_is_not_read() -> Result<()> {
    let scene = Scene::on("backfill_read_mariadb", Servers::shared_mariadb()?)?;
    scene.source("CREATE TABLE plain (id INT PRIMARY KEY)")?;
    let other = Servers::shared()?.mysql;
    scene.write_config(&with_read_url(&scene.trusting(&scene.embedded_config(), &other)?, &other)?)?;
    let problem = problem(&scene)?.context("nothing is wrong with it")?;
    ensure!(problem.contains("the captured server is MariaDB"), "{problem}");
    scene.finish()
}

fn with_read_url(config: &str, read: &Mysql) -> Result<String> {
    Ok(config.replacen("[source]\n", &format!("[source]\nread_url = \"{}\"\n", read.capture_url()?), 1))
}

/// How many rows differ at the end, and how many were dropped.
fn copy(scene: &Scene, replica: &Replica, is_flawed: bool) -> Result<(u64, u64)> {
    let seed = seed(&scene.database);
    for table in 0..TABLES {
        scene.source(&format!("CREATE TABLE t{table} (id INT PRIMARY KEY, n INT NOT NULL)"))?;
        fill(scene, u32::try_from(ROWS)?, &format!("t{table} (id, n)"), "i, 0")?;
    }
    let config = scene.trusting(&scene.embedded_config().replace("backfill = \"off\"\n", ""), &replica.server)?;
    scene.write_config(&(with_read_url(&config, &replica.server)? + CHUNKS))?;
    scene.make_target()?;
    replica.wait_caught_up(scene)?;
    let read_before = rows_read(scene, replica)?;
    let crowd = scene.open_crowd(WRITERS, PAUSE, seed, change)?;
    wait_until("the crowd writes", LIMIT, || Ok(crowd.done() > WRITERS * 50))?;
    let launch = scene.launch(&["run"])?;
    let launch = if is_flawed { launch.variable("TAILRACE_FLAW", "mysql.no_wait") } else { launch };
    let mut process = launch.spawn()?;
    process.wait_ready(LIMIT)?;
    wait_until("all tables are copied", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let copies = documents(scene, false)?;
        Ok(copies.len() as u64 > TABLES && copies.iter().all(|copy| copy["state"] == "done"))
    })?;
    let written = crowd.close()?;
    scene.wait_drained()?;
    let mut differences = 0;
    for table in scene.tables()? {
        differences += scene.compare(&table)?.differences;
    }
    let copies = documents(scene, false)?;
    let dropped = copies.iter().filter_map(|copy| copy["rows_dropped"].as_u64()).sum::<u64>();
    let read = rows_read(scene, replica)? - read_before;
    say(&format!(
        "{}: {written} changes, {read} rows read there, {dropped} dropped, {differences} differ",
        scene.database
    ));
    ensure!(read > TABLES * ROWS / 2, "only {read} rows were read from the replica");
    end(&mut process)?;
    Ok((differences, dropped))
}

/// Rows that the replica gave out in the order of a key.
fn rows_read(scene: &Scene, replica: &Replica) -> Result<u64> {
    Ok(replica.ask(scene, "SHOW GLOBAL STATUS LIKE 'Handler_read_next'")?.parse()?)
}

fn change(dice: &mut Dice) -> String {
    let (table, id) = (dice.below(TABLES), 1 + dice.below(ROWS));
    match dice.below(10) {
        0..6 => format!("UPDATE t{table} SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 4"),
        6..8 => format!("DELETE FROM t{table} WHERE id BETWEEN {id} AND {id} + 1"),
        _ => format!("INSERT INTO t{table} VALUES ({id}, -1), ({id} + 1, -1) ON DUPLICATE KEY UPDATE n = n + 100"),
    }
}

/// A row that only the replica was given is not copied: the copy waits, and says why, until its source has the transaction.
fn keep_out_rows_of_the_replica(scene: &Scene, replica: &Replica) -> Result<()> {
    scene.source("CREATE TABLE errant (id INT PRIMARY KEY)")?;
    fill(scene, 100, "errant (id)", "i")?;
    scene.make_target()?;
    replica.wait_caught_up(scene)?;
    let database = &scene.database;
    replica.run(scene, &format!("INSERT INTO {database}.errant VALUES (-1)"))?;
    let found = problem(scene)?.context("nothing is wrong with it")?;
    ensure!(found.contains("the captured server never had"), "{found}");
    let mut process = scene.launch(&["run"])?.spawn()?;
    process.wait_ready(LIMIT)?;
    wait_until("the copy says why it waits", LIMIT, || {
        let status: Value = serde_json::from_str(&process.status()?.body).context("a status")?;
        let copies = status["backfill"]["tables"].as_array().cloned().unwrap_or_default();
        let why = |copy: &Value| copy["reason"].to_string().contains("the captured server never had");
        Ok(copies.iter().any(|copy| why(copy) && copy["chunks"] == 0))
    })?;
    // The source takes the transaction for one of its own, and the row is taken back.
    replica.run(scene, &format!("SET sql_log_bin = 0; DELETE FROM {database}.errant WHERE id = -1"))?;
    let uuid = replica.ask(scene, "SELECT @@server_uuid")?;
    scene.source(&format!("SET gtid_next = '{uuid}:1'; BEGIN; COMMIT; SET gtid_next = AUTOMATIC"))?;
    wait_until("the table is copied", LIMIT, || {
        Ok(documents(scene, false)?.iter().all(|copy| copy["state"] == "done" && copy["chunks"].as_u64() > Some(0)))
    })?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    end(&mut process)
}

fn refuse_filters(scene: &Scene, replica: &Replica) -> Result<()> {
    ensure!(problem(scene)?.is_none(), "something is wrong: {:?}", problem(scene)?);
    replica.run(
        scene,
        "STOP REPLICA SQL_THREAD; CHANGE REPLICATION FILTER REPLICATE_IGNORE_TABLE = (other.one); START REPLICA SQL_THREAD",
    )?;
    let found = problem(scene)?.context("nothing is wrong with it")?;
    ensure!(found.contains("replicates with filters"), "{found}");
    Ok(())
}

/// What `check` finds wrong with the server that is read.
fn problem(scene: &Scene) -> Result<Option<String>> {
    let found = scene.command(&["check", "--format", "json"])?;
    let found: Value = serde_json::from_str(&found.stdout).with_context(|| format!("no JSON: {found:?}"))?;
    let mut problems = found["problems"].as_array().context("problems")?.iter();
    let problem = problems.find(|problem| problem["code"] == "read_server");
    Ok(problem.map(|problem| problem["found"].to_string()))
}
