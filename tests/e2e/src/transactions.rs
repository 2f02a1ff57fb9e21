//! F16, F18, F19, F20: what lies between two boundaries of the binlog. Under a live writer and with capture killed in the middle,
//! the target ends equal to the source. Each test makes sure that what it provokes was there.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::{Mysql, say};
use serde_json::Value;

use crate::harness::{DRAIN_LIMIT, Scene, Servers, seed, wait_until};

const PAUSE: Duration = Duration::from_millis(2);
/// Transactions of the writer between two steps.
const STEP: u64 = 40;

/// Every transaction of the server is compressed, and one of them is too large for a batch.
#[test]
fn f16_compressed_txn() -> Result<()> {
    let scene = on_own_server("f16", &["--binlog-transaction-compression=ON"])?;
    scene.source("CREATE TABLE large (id INT PRIMARY KEY, v VARCHAR(200))")?;
    let fill = "SET SESSION cte_max_recursion_depth = 100000; INSERT INTO large WITH RECURSIVE r (n) AS \
                (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 60000) SELECT n, REPEAT(SHA2(n, 256), 3) FROM r";
    under_load(
        scene,
        |scene, capture| {
            scene.source(fill)?;
            restart(scene, capture)?;
            scene.source("UPDATE large SET v = CONCAT('x', id) WHERE id % 3 = 0")
        },
        |scene| {
            let packed = binlog_events(scene, "Transaction_payload")?;
            ensure!(packed > STEP, "{packed} compressed transactions");
            Ok(())
        },
    )
}

/// Prepared, and committed or rolled back after capture and the server have died; in between, and while nobody captures.
#[test]
fn f18_xa_commit_rollback() -> Result<()> {
    let scene = on_own_server("f18", &[])?;
    scene.source("CREATE TABLE branches (id INT PRIMARY KEY, v VARCHAR(20))")?;
    let prepare = |scene: &Scene, name: &str, id: u32| {
        scene.source(&format!(
            "XA START '{name}'; INSERT INTO branches VALUES ({id}, '{name}'), ({id} + 1, '{name}'); XA END '{name}'; XA PREPARE '{name}'"
        ))
    };
    under_load(
        scene,
        |scene, capture| {
            for (name, id) in [("a", 10), ("b", 20), ("c", 30), ("d", 40)] {
                prepare(scene, name, id)?;
            }
            // The position names what is between its two phases.
            wait_until("a checkpoint names all four", DRAIN_LIMIT, || {
                Ok(position(scene)?.is_some_and(|text| text.starts_with("xa:") && text.matches('=').count() == 4))
            })?;
            restart(scene, capture)?;
            scene.source("XA COMMIT 'a'")?;
            scene.servers.mysql.kill()?;
            scene.servers.mysql.start()?;
            scene.source("XA ROLLBACK 'b'")?;
            capture.kill()?;
            scene.source("XA COMMIT 'c'")?;
            prepare(scene, "e", 50)?;
            scene.source("XA COMMIT 'e'; XA START 'f'; INSERT INTO branches VALUES (60, 'f'); XA END 'f'; XA COMMIT 'f' ONE PHASE")?;
            *capture = scene.capture()?;
            scene.source("XA COMMIT 'd'; UPDATE branches SET v = 'later' WHERE id = 10")
        },
        |scene| {
            let ids = scene.target_rows("SELECT string_agg(id::text, ',' ORDER BY id) FROM branches")?;
            ensure!(ids == [[Some("10,11,30,31,40,41,50,51,60".to_owned())]], "{ids:?}");
            let mut records = 0;
            scene.read_topic(&scene.topic("branches"), |_| {
                records += 1;
                Ok(())
            })?;
            ensure!(records == 10, "{records} records of nine rows and one change");
            let text = position(scene)?.context("a checkpoint")?;
            ensure!(!text.starts_with("xa:"), "nothing is between its phases any more: {text}");
            Ok(())
        },
    )
}

/// MariaDB logs rows up to a savepoint that was gone back to, where a table without transactions was changed meanwhile.
#[test]
fn f19_savepoint() -> Result<()> {
    let round = |n: u32| {
        format!(
            "START TRANSACTION; INSERT INTO safe VALUES ({n}0, 'kept'); SAVEPOINT s; INSERT INTO safe VALUES ({n}1, 'never');
             INSERT INTO unsafe VALUES ({n}2, 'stays'); UPDATE safe SET v = 'never'; ROLLBACK TO s;
             INSERT INTO safe VALUES ({n}3, 'kept'); COMMIT"
        )
    };
    with_unsafe_table("f19", round, "ROLLBACK TO", "SELECT COUNT(*) FROM safe WHERE v = 'never' OR id % 10 = 1")
}

/// What a table without transactions got stays, whatever becomes of the transaction; rows of others are not there although MariaDB
/// logs them, if a temporary table came in between.
#[test]
fn f20_nontxn_rollback() -> Result<()> {
    let round = |n: u32| {
        format!(
            "START TRANSACTION; INSERT INTO safe VALUES ({n}0, 'never'); INSERT INTO unsafe VALUES ({n}1, 'stays');
             CREATE TEMPORARY TABLE passing (id INT); INSERT INTO safe VALUES ({n}2, 'never'); ROLLBACK;
             DROP TEMPORARY TABLE IF EXISTS passing; INSERT INTO safe VALUES ({n}3, 'kept')"
        )
    };
    with_unsafe_table("f20", round, "ROLLBACK", "SELECT COUNT(*) FROM safe WHERE v = 'never'")
}

/// The same transaction many times on MariaDB. `logged` is the statement by which the binlog takes rows back, `never` counts what
/// may not have arrived.
fn with_unsafe_table(name: &str, round: impl Fn(u32) -> String, logged: &str, never: &str) -> Result<()> {
    let scene = Scene::on(name, Servers::shared_mariadb()?)?;
    scene.source(
        "CREATE TABLE safe (id INT PRIMARY KEY, v VARCHAR(20));
         CREATE TABLE unsafe (id INT PRIMARY KEY, v VARCHAR(20)) ENGINE=MyISAM",
    )?;
    let begin = scene.source_rows("SHOW MASTER STATUS")?;
    let work = |scene: &Scene, capture: &mut Tailrace| {
        (1..20).try_for_each(|n| scene.source(&round(n)))?;
        restart(scene, capture)?;
        (20..40).try_for_each(|n| scene.source(&round(n)))
    };
    under_load(scene, work, |scene| {
        let (file, from) = (begin[0][0].as_deref().context("a file")?, begin[0][1].as_deref().context("an offset")?);
        let events = scene.source_rows(&format!("SHOW BINLOG EVENTS IN '{file}' FROM {from}"))?;
        let is_logged =
            |event: &&crate::harness::Texts| event[5].as_deref().is_some_and(|text| text.starts_with(logged));
        let count = events.iter().filter(is_logged).count();
        ensure!(count >= 39, "the binlog takes rows back {count} times");
        ensure!(scene.target_number(never)? == 0, "rows arrived that never were");
        Ok(())
    })
}

/// Does the work while a writer writes, waits until all has arrived, compares everything, and asks whether it was as intended.
fn under_load(
    scene: Scene,
    work: impl FnOnce(&Scene, &mut Tailrace) -> Result<()>,
    judge: impl FnOnce(&Scene) -> Result<()>,
) -> Result<()> {
    let seed = seed(&scene.database);
    scene.make_ledger()?;
    scene.make_target()?;
    let (mut capture, apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed)?;
    wait_until("the writer writes", DRAIN_LIMIT, || Ok(ledger.transactions() > STEP))?;
    work(&scene, &mut capture)?;
    let goal = ledger.transactions() + STEP;
    wait_until("the writer writes on", DRAIN_LIMIT, || Ok(ledger.transactions() > goal))?;
    let transactions = ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    say(&format!("{}: {transactions} transactions of the writer, {rows} rows", scene.database));
    judge(&scene)?;
    ensure!(capture.is_running(), "capture ended: {}", capture.log_text());
    drop((capture, apply));
    scene.finish()
}

/// Kills capture where it is and starts it again.
fn restart(scene: &Scene, capture: &mut Tailrace) -> Result<()> {
    capture.kill()?;
    *capture = scene.capture()?;
    Ok(())
}

fn on_own_server(name: &str, options: &[&str]) -> Result<Scene> {
    let mysql = Mysql::fresh(&format!("e2e-{name}"), options)?;
    Scene::on(name, Servers { mysql, ..Servers::shared()? })
}

/// How many events of the kind the newest file of the binlog holds.
fn binlog_events(scene: &Scene, kind: &str) -> Result<u64> {
    let status = scene.source_rows("SHOW BINARY LOG STATUS")?;
    let file = status[0][0].as_deref().context("a file")?;
    let events = scene.source_rows(&format!("SHOW BINLOG EVENTS IN '{file}'"))?;
    Ok(events.iter().filter(|event| event[2].as_deref() == Some(kind)).count() as u64)
}

/// The position in the last committed checkpoint.
fn position(scene: &Scene) -> Result<Option<String>> {
    let mut last = None;
    scene.read_topic(&format!("{}.checkpoint", scene.prefix), |record| {
        if let (Some(b"capture"), Some(value)) = (record.key, record.value) {
            let value: Value = serde_json::from_slice(value).context("a checkpoint is JSON")?;
            last = value["checkpoint"]["mark"]["position"].as_str().map(str::to_owned);
        }
        Ok(())
    })?;
    Ok(last)
}
