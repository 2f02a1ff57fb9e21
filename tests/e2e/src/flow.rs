//! Changes of each kind arrive: in the target, row for row, and in the topics, as Debezium JSON that Kafka's own console
//! consumer reads.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use lab::Mysql;
use lab::process::Tailrace;
use lab::proxy::{Direction, Proxy};
use serde_json::{Value, json};

use crate::harness::{Addresses, DRAIN_LIMIT, Scene, Servers, wait_until};

pub(crate) const TABLES: &str = "
CREATE TABLE orders (id INT PRIMARY KEY, state VARCHAR(20) NOT NULL);
CREATE TABLE items (order_id INT, line INT, sku VARCHAR(20) DEFAULT 'none', PRIMARY KEY (order_id, line));";

/// Each kind of change, and a transaction over two tables.
pub(crate) const CHANGES: &str = "
INSERT INTO orders VALUES (1, 'new'), (2, 'new'), (3, 'new');
START TRANSACTION;
UPDATE orders SET state = 'paid' WHERE id = 2;
INSERT INTO items VALUES (2, 1, 'apple'), (2, 2, NULL);
DELETE FROM orders WHERE id = 1;
COMMIT;
UPDATE orders SET id = 30, state = 'moved' WHERE id = 3;";

#[test]
fn changes_of_each_kind_arrive() -> Result<()> {
    check_changes(Scene::new("flow")?)
}

#[test]
fn mariadbs_changes_of_each_kind_arrive() -> Result<()> {
    check_changes(Scene::on("flow_mariadb", Servers::shared_mariadb()?)?)
}

fn check_changes(scene: Scene) -> Result<()> {
    scene.source(TABLES)?;
    scene.make_target()?;
    let start = scene.history_start()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    scene.source(CHANGES)?;
    scene.wait_drained()?;

    assert_eq!(scene.ensure_equal()?, 4);
    let judged = scene.judge_history(&start)?;
    let changes = 8 + u64::try_from(scene.markers()?)?;
    assert_eq!((judged.changes, judged.key_changes), (changes, 1), "{judged:?}");
    let mut orders = console_consumer(&scene, "orders", 9)?;
    orders.sort_by_key(Value::to_string);
    let mut expected = expected_orders();
    expected.sort_by_key(Value::to_string);
    assert_eq!(orders, expected);
    for process in [&mut capture, &mut apply] {
        end(process)?;
    }
    scene.finish()
}

/// On a server without traffic heartbeats come one after another, each from the same place: the places that records name
/// must not be moved by them.
#[test]
fn a_quiet_server_moves_no_place() -> Result<()> {
    let mysql = Mysql::fresh("e2e-quiet", &[])?;
    let proxy = Proxy::start(mysql.port()?)?;
    let scene = Scene::on("quiet", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    scene.source(TABLES)?;
    scene.make_target()?;
    let through = Addresses { mysql: format!("127.0.0.1:{}", proxy.port()), ..scene.addresses() };
    let config = scene.config_for(&through).replace("start = ", "heartbeat = \"1s\"\nstart = ");
    scene.write_config(&config)?;
    let start = scene.history_start()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    for _ in 0..3 {
        scene.wait_drained()?;
        let before = proxy.bytes(Direction::ToClient);
        // One takes some 60 bytes.
        wait_until("some heartbeats pass", DRAIN_LIMIT, || Ok(proxy.bytes(Direction::ToClient) > before + 120))?;
    }
    scene.source(CHANGES)?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    scene.judge_history(&start)?;
    for process in [&mut capture, &mut apply] {
        end(process)?;
    }
    scene.finish()?;
    mysql.remove()
}

/// Both halves in one process.
#[test]
fn run_does_both() -> Result<()> {
    let scene = Scene::new("run")?;
    scene.source(TABLES)?;
    scene.make_target()?;
    let mut both = scene.run()?;
    scene.source(CHANGES)?;
    scene.wait_drained()?;
    assert_eq!(scene.ensure_equal()?, 4);
    end(&mut both)?;
    scene.finish()
}

/// The oracle of all these tests notices one row that differs, one that is missing and one too many.
#[test]
fn a_planted_difference_is_found() -> Result<()> {
    let scene = Scene::new("planted")?;
    scene.source(TABLES)?;
    scene.make_target()?;
    scene.source("INSERT INTO orders VALUES (1, 'new'), (2, 'new')")?;
    scene.target("INSERT INTO orders VALUES (1, 'new'), (2, 'new')")?;
    assert_eq!(scene.ensure_equal()?, 2);
    for spoil in [
        "UPDATE orders SET state = 'New' WHERE id = 2",
        "DELETE FROM orders WHERE id = 1",
        "INSERT INTO orders VALUES (3, '')",
    ] {
        scene.target(spoil)?;
        let error =
            scene.ensure_equal().err().with_context(|| format!("after {spoil} the comparison found nothing"))?;
        ensure!(error.to_string().contains("orders"), "the table is not named: {error}");
        scene.target("DELETE FROM orders; INSERT INTO orders VALUES (1, 'new'), (2, 'new')")?;
        scene.ensure_equal()?;
    }
    scene.finish()
}

fn end(process: &mut Tailrace) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(std::time::Duration::from_secs(10))?;
    ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    Ok(())
}

/// Key, kind and images of each record of `orders`; key 3 moves to 30 by a delete, a tombstone and an insert.
fn expected_orders() -> Vec<Value> {
    let row = |id: i32, state: &str| json!({"id": id, "state": state});
    let record = |id: i32, op: &str, before: Value, after: Value| json!({"key": {"id": id}, "op": op, "before": before, "after": after});
    let tombstone = |id: i32| json!({"key": {"id": id}, "op": null, "before": null, "after": null});
    vec![
        record(1, "c", Value::Null, row(1, "new")),
        record(2, "c", Value::Null, row(2, "new")),
        record(3, "c", Value::Null, row(3, "new")),
        record(2, "u", row(2, "new"), row(2, "paid")),
        record(1, "d", row(1, "new"), Value::Null),
        tombstone(1),
        record(3, "d", row(3, "new"), Value::Null),
        tombstone(3),
        record(30, "c", Value::Null, row(30, "moved")),
    ]
}

/// Records of a table's topic as Kafka's console consumer prints them.
fn console_consumer(scene: &Scene, table: &str, count: usize) -> Result<Vec<Value>> {
    let line = scene.servers.kafka.console_consumer(&scene.topic(table))?;
    let (line, _) = line.split_once("--max-messages").context("the line limits the records")?;
    let line = format!("{line} --max-messages {count} --timeout-ms 30000 --property print.key=true");
    let output = Command::new("sh").args(["-c", &line]).output().context("running the console consumer")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the console consumer failed: {said}");
    let lines = String::from_utf8(output.stdout).context("its output is text")?;
    lines.lines().map(console_record).collect()
}

fn console_record(line: &str) -> Result<Value> {
    let (key, value) = line.split_once('\t').with_context(|| format!("no key in {line}"))?;
    let (key, value): (Value, Value) = (serde_json::from_str(key)?, serde_json::from_str(value)?);
    Ok(json!({"key": key, "op": value["op"], "before": value["before"], "after": value["after"]}))
}
