//! F10, F11, F12: GTIDs are switched on and off under load, a set of GTIDs grows long, files of the binlog are begun again.

use anyhow::{Context, Result, bail, ensure};
use lab::{Kafka, Mysql, Postgres};

use super::{files, position};
use crate::harness::{Ledger, Scene, Servers, seed, wait_until};

/// From names of no kind to GTIDs, and back.
const MODES: [&str; 6] = ["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON", "ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"];

fn wait_written(ledger: &Ledger<'_>) -> Result<()> {
    let before = ledger.transactions();
    wait_until("the writer writes", files::LIMIT, || Ok(ledger.transactions() > before + 50))
}

/// Whether the server knows a transaction by a GTID.
fn has_names(scene: &Scene) -> Result<bool> {
    Ok(scene.source_number("SELECT @@gtid_executed <> ''")? == 1)
}

/// Name and size of the file that is written.
fn newest(scene: &Scene) -> Result<(String, u64)> {
    let row = scene.source_rows("SHOW BINARY LOGS")?.pop().context("a file")?;
    let [Some(name), Some(size), ..] = row.as_slice() else { bail!("{row:?} tells no file") };
    Ok((name.clone(), size.parse()?))
}

#[test]
fn f10_f12_modes_of_gtids_change_under_load_and_files_that_are_begun_again_are_lost() -> Result<()> {
    let mysql = Mysql::fresh("e2e-modes", &["--gtid-mode=OFF", "--sync-binlog=0"])?;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on("f12", servers)?;
    scene.make_ledger()?;
    scene.make_target()?;
    let mut process = scene.run_embedded()?;
    let ledger = scene.open_ledger(files::PAUSE, seed("f12"))?;
    wait_written(&ledger)?;
    ensure!(!has_names(&scene)?, "transactions have names already: this run proves nothing");
    for (step, mode) in MODES.into_iter().enumerate() {
        scene.source(&format!("SET GLOBAL gtid_mode = {mode}"))?;
        wait_written(&ledger)?;
        if step % 2 == 0 {
            process.kill()?;
            process = scene.run_embedded()?;
        }
    }
    ensure!(has_names(&scene)?, "no transaction had a name: this run proves nothing");
    wait_written(&ledger)?;
    ledger.close()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    // The file of the same name grows past the position, in other transactions.
    process.kill()?;
    let captured = newest(&scene)?;
    scene.source("RESET BINARY LOGS AND GTIDS")?;
    while newest(&scene)?.0 != captured.0 {
        scene.source("FLUSH BINARY LOGS")?;
    }
    let ledger = scene.open_ledger(files::PAUSE, seed("f10"))?;
    wait_until("the file has grown past the position", files::LIMIT, || {
        Ok(newest(&scene)? > (captured.0.clone(), captured.1 + 1_000))
    })?;
    let rows = scene.target_rows("SELECT * FROM ledger ORDER BY id")?;
    let finished = scene.launch(&["run"])?.run(files::LIMIT)?;
    ledger.close()?;
    ensure!(finished.code == Some(3) && finished.stderr.contains(&captured.0), "{finished:?}");
    ensure!(
        scene.target_rows("SELECT * FROM ledger ORDER BY id")? == rows,
        "something from behind the gap was applied"
    );
    scene.finish()?;
    mysql.remove()
}

#[test]
fn f11_a_long_set_of_gtids_is_kept_under_load() -> Result<()> {
    const GAPS: u32 = 400;
    let (_guard, scene) = files::alone("f11")?;
    scene.make_ledger()?;
    scene.make_target()?;
    let mut process = scene.run_embedded()?;
    let ledger = scene.open_ledger(files::PAUSE, seed("f11"))?;
    let named = |number: u32| {
        format!("SET gtid_next = '3e11fa47-71ca-11e1-9e33-c80aa9429562:{}'; BEGIN; COMMIT;", number * 2 + 1)
    };
    let statements: String = (0..GAPS).map(named).collect();
    scene.source(&format!("{statements} SET gtid_next = 'AUTOMATIC'"))?;
    for _ in 0..2 {
        wait_written(&ledger)?;
        process.kill()?;
        process = scene.run_embedded()?;
    }
    ledger.close()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    let stands = position(&scene)?;
    ensure!(stands.len() > 1_024, "a set of {} characters proves nothing", stands.len());
    drop(process);
    scene.finish()
}
