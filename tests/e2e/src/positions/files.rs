//! F04, F05, F06: files of the binlog end under load, a connection ends inside of a transaction, the numbers of tables begin anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::proxy::{Direction, Proxy};
use lab::{Kafka, Mysql, Postgres};

use super::position;
use crate::harness::{Scene, Servers, seed, wait_until};

pub(super) const LIMIT: Duration = Duration::from_secs(90);
pub(super) const PAUSE: Duration = Duration::from_millis(2);

/// They flush and kill the server that they share.
static ALONE: Mutex<()> = Mutex::new(());

pub(super) fn alone(name: &str) -> Result<(MutexGuard<'static, ()>, Scene)> {
    let guard = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let servers =
        Servers { mysql: Mysql::up("e2e-positions")?, kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    Ok((guard, Scene::on(name, servers)?))
}

fn files(scene: &Scene) -> Result<Vec<String>> {
    Ok(scene.source_rows("SHOW BINARY LOGS")?.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

#[test]
fn f04_files_that_end_under_load_and_under_restarts_lose_nothing() -> Result<()> {
    const FILES: usize = 6;
    let (_guard, scene) = alone("f04")?;
    scene.make_ledger()?;
    scene.make_target()?;
    let before = files(&scene)?.len();
    let start = scene.history_start()?;
    let mut capture = scene.capture()?;
    let apply = scene.apply()?;
    let ledger = scene.open_ledger(PAUSE, seed("f04"))?;
    for round in 0..FILES {
        let written = ledger.transactions();
        wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() > written + 50))?;
        scene.source("FLUSH BINARY LOGS")?;
        if round % 2 == 0 {
            capture.kill()?;
            capture = scene.capture()?;
        }
    }
    ledger.close()?;
    scene.wait_drained()?;
    // Once more with nothing behind the last transaction but the file's end.
    capture.terminate()?;
    capture.wait_exit(LIMIT)?;
    scene.source("FLUSH BINARY LOGS")?;
    let newest = files(&scene)?.pop().context("a file")?;
    let stands = position(&scene)?;
    ensure!(!stands.contains(&newest) && files(&scene)?.len() > before + FILES, "{stands} is in {newest}");
    let capture = scene.capture()?;
    scene.source("INSERT INTO ledger VALUES (900001, 1, 'in the new file')")?;
    scene.judge_history(&start)?;
    ensure!(position(&scene)?.contains(&newest), "nothing was read from {newest}");
    drop((capture, apply));
    scene.finish()
}

#[test]
fn f05_rows_are_never_read_with_the_tables_of_an_older_connection() -> Result<()> {
    const ROWS: i64 = 60_000;
    let (_guard, scene) = alone("f05")?;
    scene.source(
        "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(100)); CREATE TABLE b (id INT PRIMARY KEY, w VARCHAR(100));
         CREATE TABLE digits (d INT PRIMARY KEY)",
    )?;
    scene.make_target()?;
    let proxy = Proxy::start(scene.servers.mysql.port()?)?;
    let config = scene.embedded_config();
    let direct = format!("@{}", scene.addresses().mysql);
    scene.write_config(&config.replace(&direct, &format!("@127.0.0.1:{}", proxy.port())))?;
    let mut process = scene.launch(&["run"])?.spawn()?;
    process.wait_ready(LIMIT)?;
    scene.source("INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)")?;
    let connections = proxy.connections();
    // One transaction, whose tables take turns.
    let number = "a.d + b.d * 10 + c.d * 100 + d.d * 1000";
    let part = |table: &str, from: i64| {
        format!(
            "INSERT INTO {table} SELECT {from} + {number}, REPEAT('x', 90) FROM digits a, digits b, digits c, digits d;"
        )
    };
    let parts: String = (0..ROWS / 20_000).map(|at| part("a", at * 10_000) + &part("b", at * 10_000)).collect();
    let received = proxy.bytes(Direction::ToClient);
    scene.source(&format!("START TRANSACTION; {parts} COMMIT"))?;
    wait_until("a part of the transaction has come", LIMIT, || {
        Ok(proxy.bytes(Direction::ToClient) > received + 1_000_000)
    })?;
    proxy.stall(Direction::ToClient);
    let arrived = scene.target_number("SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b)")?;
    ensure!(arrived < ROWS, "all {arrived} rows had come: nothing was torn");
    // The server gives the tables other numbers from now on.
    scene
        .source("FLUSH TABLES a, b; INSERT INTO b VALUES (900001, 'after'); INSERT INTO a VALUES (900001, 'after')")?;
    proxy.reset();
    proxy.pass();
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    ensure!(i64::try_from(rows)? == ROWS + 2 + 10, "{rows} rows");
    ensure!(proxy.connections() > connections, "nobody connected again");
    drop(process);
    scene.finish()
}

#[test]
fn f06_rows_go_to_the_right_table_when_its_number_was_anothers() -> Result<()> {
    const REOPENED: usize = 60;
    let (_guard, scene) = alone("f06")?;
    scene.source("CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(9)); CREATE TABLE b (id INT PRIMARY KEY, w BIGINT)")?;
    scene.make_ledger()?;
    scene.make_target()?;
    let process = scene.run_embedded()?;
    let ledger = scene.open_ledger(PAUSE, seed("f06"))?;
    let statements = |table: &str| -> String {
        (0..REOPENED).map(|id| format!("FLUSH TABLES {table}; INSERT INTO {table} VALUES ({id}, {id});")).collect()
    };
    scene.source(&statements("a"))?;
    let written = ledger.transactions();
    wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() > written + 50))?;
    scene.servers.mysql.kill()?;
    scene.servers.mysql.start()?;
    let written = ledger.transactions();
    wait_until("the writer writes again", LIMIT, || Ok(ledger.transactions() > written + 50))?;
    scene.source(&statements("b"))?;
    ledger.close()?;
    let mut numbers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for file in files(&scene)? {
        for row in scene.source_rows(&format!("SHOW BINLOG EVENTS IN '{file}'"))? {
            let told = row[5].as_deref().unwrap_or_default();
            let Some((number, table)) = told.strip_prefix("table_id: ").and_then(|told| told.split_once(' ')) else {
                continue;
            };
            for name in ["a", "b"] {
                if table.starts_with(&format!("({}.{name})", scene.database)) {
                    numbers.entry(number.to_owned()).or_default().insert(name);
                }
            }
        }
    }
    let shared = numbers.values().filter(|tables| tables.len() == 2).count();
    ensure!(shared > 0, "no number was of both tables: this run proves nothing: {numbers:?}");
    scene.wait_drained()?;
    scene.ensure_equal()?;
    lab::say(&format!("f06: {shared} numbers were of both tables"));
    drop(process);
    scene.finish()
}
