//! F01, F02, F03, E18: the stream stops in the middle of a transaction's rows, and then the process dies, the connection is reset, or a
//! checkpoint is due. The transaction comes as a whole, each row once.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use lab::Mysql;
use lab::process::Tailrace;
use lab::proxy::Proxy;

use super::{PAUSE, checkpoint, converge, covers, wait_written};
use crate::harness::{Addresses, DRAIN_LIMIT, Scene, Servers, seed, wait_until};

const ROWS: usize = 20_000;
/// The transaction in the middle of which the stream stops: some 3 MB.
const LARGE: &str = "SET SESSION cte_max_recursion_depth = 100000, gtid_next = 'AUTOMATIC:torn'; INSERT INTO large WITH RECURSIVE r (n) AS \
                     (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 20000) SELECT n, REPEAT('x', 150) FROM r";
/// In the middle of it, whatever the live writer writes beside.
const STALL_AFTER: u64 = 1_500_000;
const TRANSACTION: &str = "torn:1";

#[test]
fn f01_kill_mid_txn() -> Result<()> {
    tear("f01", |scene, proxy, capture| {
        capture.kill()?;
        proxy.reset();
        proxy.pass();
        let is_split = !checkpoint(scene)?["split"].is_null();
        let part = records(scene)?.len();
        ensure!(part == 0 || is_split, "{part} rows are in the log, and the checkpoint does not know");
        *capture = scene.capture()?;
        Ok(())
    })
}

#[test]
fn f02_conn_drop_mid_txn() -> Result<()> {
    tear("f02", |_, proxy, capture| {
        proxy.reset();
        proxy.pass();
        wait_until("capture connects again", DRAIN_LIMIT, || {
            ensure!(capture.is_running(), "capture ended: {}", capture.log_text());
            let reconnects =
                capture.metrics().ok().and_then(|metrics| metrics.sum("tailrace_capture_reconnects_total"));
            Ok(reconnects > Some(0.0))
        })
    })
}

/// A log transaction may not stay open for long, so a checkpoint is committed in the middle. It does not count the transaction.
#[test]
fn f03_gtid_before_commit() -> Result<()> {
    tear("f03", |scene, proxy, capture| {
        wait_until("a checkpoint is committed in the middle", DRAIN_LIMIT, || {
            Ok(!checkpoint(scene)?["split"].is_null())
        })?;
        let part = records(scene)?.len();
        ensure!(part > 0 && part < ROWS, "{part} rows are in the log");
        ensure!(!covers(scene, TRANSACTION)?, "the checkpoint counts a transaction of which a part is there");
        capture.kill()?;
        proxy.reset();
        proxy.pass();
        *capture = scene.capture()?;
        Ok(())
    })
}

/// E18: a transaction of the source that takes longer than one of the log may is split by time, again and again; nobody fences capture
/// for it, and it goes on in the same session.
#[test]
fn e18_a_transaction_longer_than_one_of_the_log_is_split_by_time() -> Result<()> {
    tear("e18", |scene, proxy, capture| {
        let reconnects = |capture: &Tailrace| -> Result<Option<f64>> {
            Ok(capture.metrics()?.sum("tailrace_capture_reconnects_total"))
        };
        let before = reconnects(capture)?;
        wait_until("a checkpoint is committed in the middle", DRAIN_LIMIT, || {
            Ok(!checkpoint(scene)?["split"].is_null())
        })?;
        let part = records(scene)?.len();
        ensure!(part > 0 && part < ROWS, "{part} rows are in the log");
        proxy.pass();
        wait_until("the rest of it is in the log", DRAIN_LIMIT, || Ok(records(scene)?.len() == ROWS))?;
        ensure!(capture.is_running(), "capture ended: {}", capture.log_text());
        ensure!(reconnects(capture)? == before, "capture began anew: {}", capture.log_text());
        Ok(())
    })
}

fn tear(name: &str, then: impl FnOnce(&Scene, &Proxy, &mut Tailrace) -> Result<()>) -> Result<()> {
    let mysql = Mysql::fresh(&format!("e2e-{name}"), &["--sync-binlog=0"])?;
    let scene = Scene::on(name, Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    let seed = seed(&scene.database);
    let proxy = Proxy::start(mysql.port()?)?;
    let through = Addresses { mysql: format!("127.0.0.1:{}", proxy.port()), ..scene.addresses() };
    scene.write_config(&scene.config_for(&through))?;
    scene.make_ledger()?;
    scene.source("CREATE TABLE large (id INT PRIMARY KEY, v VARCHAR(200))")?;
    scene.make_target()?;
    let (mut capture, apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed)?;
    wait_written(&ledger)?;
    ensure!(!covers(&scene, TRANSACTION)?, "it is not there yet");
    proxy.stall_answers_after(STALL_AFTER);
    scene.source(LARGE)?;
    wait_until("the stream stops in the middle", DRAIN_LIMIT, || Ok(proxy.trap_sprung()))?;
    then(&scene, &proxy, &mut capture)?;
    converge(&scene, ledger)?;
    ensure!(records(&scene)?.len() == ROWS, "not each row is in the log");
    wait_until("the transaction is covered", DRAIN_LIMIT, || covers(&scene, TRANSACTION))?;
    drop((capture, apply));
    scene.finish()?;
    mysql.remove()
}

/// The keys of the transaction's rows in the log; each stands there once.
fn records(scene: &Scene) -> Result<BTreeSet<Vec<u8>>> {
    let mut keys = BTreeSet::new();
    scene.read_topic(&scene.topic("large"), |record| {
        ensure!(keys.insert(record.key.unwrap_or_default().to_vec()), "a row stands twice in the log");
        Ok(())
    })?;
    Ok(keys)
}
