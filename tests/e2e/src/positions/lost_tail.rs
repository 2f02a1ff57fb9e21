//! E07: the source crashes and loses transactions that were captured, because it does not sync its binlog, and gives their numbers to
//! others. By its numbers nothing is missing. Capture stops, and says which transactions differ.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::proxy::Proxy;
use lab::{Mysql, say};

use super::{ask, position};
use crate::harness::{LEDGER, Ledger, Scene, Servers, seed, wait_until};

const LIMIT: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(2);
const STEP: u64 = 60;
const LOST: i32 = 3;

#[test]
fn e07_a_tail_that_was_lost_and_numbered_again_stops_by_name() -> Result<()> {
    let mysql = Mysql::fresh("e2e-lost-tail", &["--sync-binlog=0"])?;
    let scene = Scene::on("lost_tail", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    let proxy = Proxy::start(mysql.port()?)?;
    let direct = format!("@{}", scene.addresses().mysql);
    scene.write_config(&scene.config().replace(&direct, &format!("@127.0.0.1:{}", proxy.port())))?;
    scene.make_ledger()?;
    scene.make_target()?;
    let (mut capture, apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed(&scene.database))?;
    wait_written(&ledger)?;
    // What of the server's data is on its disk.
    let (data, saved) = (mysql.data(), mysql.folder().join("saved"));
    capture.kill()?;
    mysql.stop()?;
    copy(&data, &saved)?;
    mysql.start()?;
    capture = scene.capture()?;
    // More of it is captured, and the machine crashes before it is written to the disk.
    wait_written(&ledger)?;
    ledger.close()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    wait_until("all is captured", LIMIT, || {
        Ok(holds(&scene, &mysql, &captured(&scene)?)? && is_covered(&scene, &mysql)?)
    })?;
    proxy.refuse();
    mysql.kill()?;
    std::fs::remove_dir_all(&data)?;
    std::fs::rename(&saved, &data)?;
    mysql.start()?;
    let (behind, reached) = (captured(&scene)?, position(&scene)?);
    ensure!(!holds(&scene, &mysql, &behind)?, "nothing was lost: the test proves nothing");
    let ledger = scene.open_ledger(PAUSE, seed(&scene.database) + 1)?;
    wait_until("the numbers are given again", LIMIT, || holds(&scene, &mysql, &behind))?;
    wait_written(&ledger)?;
    let rows = applied(&scene)?;
    proxy.pass();

    let status = capture.wait_exit(LIMIT)?;
    let told = capture.log_text();
    ensure!(status.code() == Some(LOST), "ended with {status}: {told}");
    let uuid = ask(&scene, &mysql, "SELECT @@server_uuid")?;
    let last = behind.rsplit(['-', ':']).next().context("a number")?.to_owned();
    for words in ["is one committed at", &format!("{uuid}:{last} (binlog.")] {
        ensure!(told.contains(words), "{words:?} is not in {told}");
    }
    // However often it is asked, and however much is written behind it.
    wait_written(&ledger)?;
    let again = scene.launch(&["capture"])?.run(LIMIT)?;
    ensure!(again.code == Some(LOST) && again.stderr.contains("is one committed at"), "{again:?}");
    let transactions = ledger.close()?;
    ensure!(position(&scene)? == reached && applied(&scene)? == rows, "something from behind the gap is there");
    say(&format!("lost_tail: {transactions} transactions under the numbers of others"));
    drop(apply);
    scene.finish()?;
    mysql.remove()
}

fn wait_written(ledger: &Ledger<'_>) -> Result<()> {
    let goal = ledger.transactions() + STEP;
    wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() > goal))
}

/// The server is down.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().context("starting cp")?;
    ensure!(status.success(), "cp: {status}");
    Ok(())
}

/// The GTIDs of the last checkpoint.
fn captured(scene: &Scene) -> Result<String> {
    let text = position(scene)?;
    let set = text.strip_prefix("gtid:").with_context(|| format!("{text} has no GTIDs"))?;
    Ok(set.split('@').next().unwrap_or_default().to_owned())
}

/// Whether the server has executed transactions of these names.
fn holds(scene: &Scene, mysql: &Mysql, set: &str) -> Result<bool> {
    Ok(ask(scene, mysql, &format!("SELECT GTID_SUBSET('{set}', @@GLOBAL.gtid_executed)"))? == "1")
}

/// Whether the checkpoint names all that the server has executed.
fn is_covered(scene: &Scene, mysql: &Mysql) -> Result<bool> {
    let set = captured(scene)?;
    Ok(ask(scene, mysql, &format!("SELECT GTID_SUBSET(@@GLOBAL.gtid_executed, '{set}')"))? == "1")
}

fn applied(scene: &Scene) -> Result<Vec<crate::harness::Texts>> {
    scene.target_rows(&format!("SELECT * FROM {LEDGER} ORDER BY id"))
}
