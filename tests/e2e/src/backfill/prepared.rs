//! E05: transactions that were prepared before capture began, and before a restart: their rows are in the binlog before the place where it
//! begins, no read of a table shows them, and their second phase brings none. They arrive with it, and what is rolled back never.

use anyhow::{Result, ensure};
use lab::{Mysql, say};

use super::{LIMIT, PAUSE, documents, end, fill};
use crate::harness::{DRAIN_LIMIT, Ledger, Scene, Servers, seed, wait_until};

const ROWS: u32 = 3_000;
const STEP: u64 = 40;

#[test]
fn e05_what_was_prepared_before_the_start_arrives_with_its_second_phase() -> Result<()> {
    let mysql = Mysql::fresh("e2e-prepared", &["--sync-binlog=0"])?;
    let scene = Scene::on("prepared", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    let seed = seed(&scene.database);
    scene.make_ledger()?;
    scene.source("CREATE TABLE branches (id INT PRIMARY KEY, v VARCHAR(20))")?;
    fill(&scene, ROWS, "branches (id, v)", "i, 'old'")?;
    let text = scene.config().replace("backfill = \"off\"\n", "");
    scene.write_config(&(text + "\n[backfill]\nchunk_rows = 200\n"))?;
    scene.make_target()?;
    let ledger = scene.open_ledger(PAUSE, seed)?;
    // Its changes, its insert and its delete; in a file of the binlog that is closed when capture begins.
    for (number, name) in ["commit", "rollback", "restart"].into_iter().enumerate() {
        let id = 1 + number * 10;
        scene.source(&format!(
            "XA START '{name}'; UPDATE branches SET v = '{name}' WHERE id = {id}; DELETE FROM branches WHERE id = {id} + 1;
             INSERT INTO branches VALUES ({ROWS} + {id}, '{name}'); XA END '{name}'; XA PREPARE '{name}'"
        ))?;
    }
    scene.source("FLUSH BINARY LOGS")?;
    wait_written(&ledger)?;
    ensure!(prepared(&scene)? == 3, "nothing was prepared: the test proves nothing");

    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    wait_until("all tables are copied", LIMIT, || {
        ensure!(capture.is_running(), "it ended: {}", capture.log_text());
        let copies = documents(&scene, true)?;
        Ok(copies.len() == 3 && copies.iter().all(|copy| copy["state"] == "done"))
    })?;
    wait_until("the copy has arrived", LIMIT, || {
        Ok(scene.target_number("SELECT count(*) FROM branches")? == i64::from(ROWS))
    })?;
    ensure!(touched(&scene)? == 0 && prepared(&scene)? == 3, "something of what is prepared is there");
    scene.source("XA COMMIT 'commit'; XA ROLLBACK 'rollback'")?;
    wait_until("what was committed is there", DRAIN_LIMIT, || Ok(touched(&scene)? == 2))?;
    // Behind a checkpoint that has passed the first phase long ago.
    wait_written(&ledger)?;
    capture.kill()?;
    scene.source("XA COMMIT 'restart'")?;
    wait_written(&ledger)?;
    capture = scene.capture()?;
    wait_written(&ledger)?;
    let transactions = ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    ensure!(touched(&scene)? == 4 && prepared(&scene)? == 0, "{} rows of the second phases", touched(&scene)?);
    say(&format!("{transactions} transactions of the writer, {rows} rows equal"));
    for process in [&mut capture, &mut apply] {
        end(process)?;
    }
    scene.finish()?;
    mysql.remove()
}

/// A first phase that the binlog has no more can't be had: it ends by name, and nothing behind it is captured.
#[test]
fn e05_what_was_prepared_in_a_purged_file_stops_by_name() -> Result<()> {
    const REFUSED: i32 = 1;
    let mysql = Mysql::fresh("e2e-prepared-purged", &["--sync-binlog=0"])?;
    let scene = Scene::on("prepared_purged", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    let seed = seed(&scene.database);
    scene.make_ledger()?;
    scene.source("CREATE TABLE branches (id INT PRIMARY KEY)")?;
    scene.make_target()?;
    let ledger = scene.open_ledger(PAUSE, seed)?;
    scene.source("XA START 'gone'; INSERT INTO branches VALUES (1); XA END 'gone'; XA PREPARE 'gone'")?;
    scene.source("FLUSH BINARY LOGS")?;
    wait_written(&ledger)?;
    let newest = scene.source_rows("SHOW BINARY LOGS")?.pop().and_then(|row| row.into_iter().next().flatten());
    scene.source(&format!("PURGE BINARY LOGS TO '{}'", newest.unwrap_or_default()))?;
    ensure!(scene.source_rows("SHOW BINARY LOGS")?.len() == 1 && prepared(&scene)? == 1, "nothing was purged");
    let mut capture = scene.capture()?;
    wait_written(&ledger)?;
    scene.source("XA COMMIT 'gone'")?;
    let status = capture.wait_exit(LIMIT)?;
    let told = capture.log_text();
    ensure!(status.code() == Some(REFUSED) && told.contains("is not found"), "ended with {status}: {told}");
    // However often it is asked.
    wait_written(&ledger)?;
    let again = scene.launch(&["capture"])?.run(LIMIT)?;
    ensure!(again.code == Some(REFUSED) && again.stderr.contains("is not found"), "{again:?}");
    ledger.close()?;
    scene.finish()?;
    mysql.remove()
}

fn wait_written(ledger: &Ledger<'_>) -> Result<()> {
    let goal = ledger.transactions() + STEP;
    wait_until("the writer writes", DRAIN_LIMIT, || Ok(ledger.transactions() > goal))
}

/// Transactions between their phases.
fn prepared(scene: &Scene) -> Result<usize> {
    Ok(scene.source_rows("XA RECOVER")?.len())
}

/// Rows of the target that such a transaction wrote.
fn touched(scene: &Scene) -> Result<i64> {
    scene.target_number("SELECT count(*) FROM branches WHERE v <> 'old'")
}
