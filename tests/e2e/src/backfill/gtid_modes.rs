//! E08: `gtid_mode` changes in the middle of a copy, while others write. Transactions without a GTID are in no set of GTIDs, so no set
//! tells whether a chunk shows them. A stream by file and offset goes on through all modes, and so does its copy. Where the stream goes by
//! GTID, copies end by name as soon as such transactions are possible, and begin anew on request; the first such transaction stops it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::{Mysql, say};

use super::control::{TOKEN, VARIABLE, ask};
use super::long_copy::{Copy, TABLES, change};
use super::{LIMIT, documents, end};
use crate::harness::{Crowd, READY_LIMIT, Scene, Servers, wait_until};

const WRITERS: u64 = 2;
const PAUSE: Duration = Duration::from_millis(5);
/// Statements of the writers in each mode.
const STEP: u64 = 60;
/// So slow that the copy lasts through all modes.
const SLOW: &str = "max_rate = 600\n";
const REFUSED: i32 = 1;

/// From a server without GTIDs to one with them, and back.
const MODES: [&str; 6] = ["OFF_PERMISSIVE", "ON_PERMISSIVE", "ON", "ON_PERMISSIVE", "OFF_PERMISSIVE", "OFF"];

#[test]
fn e08_a_copy_by_file_and_offset_goes_through_all_modes_of_gtids() -> Result<()> {
    let (mysql, copy) = begin("gtid_modes_files", "OFF")?;
    let scene = &copy.scene;
    // Where no set of GTIDs can be waited for, a chunk is read under a short lock.
    scene.source(&format!("GRANT LOCK TABLES ON {}.* TO 'tailrace'@'%'", scene.database))?;
    let crowd = scene.open_crowd(WRITERS, PAUSE, copy.seed, change)?;
    let mut process = start(scene)?;
    let mut named = Vec::new();
    for mode in MODES {
        let before = copy.chunks()?;
        let names = executed(scene)?;
        scene.source(&format!("SET GLOBAL gtid_mode = {mode}"))?;
        wait_written(&crowd)?;
        copy.wait_grown(&mut process, before.len() + 1).with_context(|| mode.to_owned())?;
        copy.ensure_under_way(&before)?;
        named.push(executed(scene)? != names);
    }
    ensure!(named == [false, true, true, true, false, false], "which modes gave names: {named:?}");
    end(&mut process)?;
    copy.speed_up()?;
    process = start(scene)?;
    copy.finish(&mut [&mut process], crowd)?;
    end(&mut process)?;
    copy.scene.finish()?;
    mysql.remove()
}

#[test]
fn e08_a_copy_by_gtid_waits_and_the_first_transaction_without_one_stops_by_name() -> Result<()> {
    let (mysql, copy) = begin("gtid_modes", "ON")?;
    let scene = &copy.scene;
    let crowd = scene.open_crowd(WRITERS, PAUSE, copy.seed, change)?;
    let mut process = start(scene)?;
    copy.wait_grown(&mut process, 0)?;
    // Transactions still get names, but nobody may rely on it.
    scene.source("SET GLOBAL gtid_mode = ON_PERMISSIVE")?;
    wait_written(&crowd)?;
    wait_until("copies end by name", LIMIT, || {
        ensure!(process.is_running(), "it ended: {}", process.log_text());
        let copies = documents(scene, false)?;
        Ok(copies.len() > TABLES.len() && copies.iter().all(|copy| copy["state"] != "copying"))
    })?;
    let failed = documents(scene, false)?.into_iter().filter(|copy| copy["state"] == "failed");
    let failed: Vec<String> = failed.map(|copy| copy.to_string()).collect();
    ensure!(failed.iter().all(|copy| copy.contains("gtid_mode is ON_PERMISSIVE")), "{failed:?}");
    scene.source("SET GLOBAL gtid_mode = ON")?;
    for table in TABLES {
        ensure!(failed.iter().any(|copy| copy.contains(table)), "{table} did not fail: {failed:?}");
        begin_anew(scene, table)?;
    }
    if failed.len() > TABLES.len() {
        begin_anew(scene, Scene::MARKERS)?;
    }
    copy.wait_grown(&mut process, 0)?;
    end(&mut process)?;
    copy.speed_up()?;
    process = start(scene)?;
    copy.finish(&mut [&mut process], crowd)?;

    let crowd = scene.open_crowd(WRITERS, PAUSE, copy.seed + 100, change)?;
    scene.source("SET GLOBAL gtid_mode = ON_PERMISSIVE; SET GLOBAL gtid_mode = OFF_PERMISSIVE")?;
    let names = executed(scene)?;
    wait_written(&crowd)?;
    ensure!(executed(scene)? == names, "transactions have names: the test proves nothing");
    let status = process.wait_exit(LIMIT)?;
    let told = process.log_text();
    ensure!(status.code() == Some(REFUSED) && told.contains("gtid_mode"), "ended with {status}: {told}");
    // Nothing behind them is captured when there are names again, however often it is asked.
    scene.source("SET GLOBAL gtid_mode = ON_PERMISSIVE; SET GLOBAL gtid_mode = ON")?;
    wait_written(&crowd)?;
    let rows = || scene.target_rows("SELECT * FROM first ORDER BY id");
    let before = rows()?;
    for _ in 0..2 {
        let again = scene.launch(&["run"])?.variable(VARIABLE, TOKEN).run(LIMIT)?;
        ensure!(again.code == Some(REFUSED) && again.stderr.contains("GTID"), "{again:?}");
    }
    ensure!(rows()? == before, "something from behind the gap is there");
    say(&format!("{} changes", crowd.close()?));
    copy.scene.finish()?;
    mysql.remove()
}

/// A slow copy on a server of its own.
fn begin(name: &str, mode: &str) -> Result<(Mysql, Copy)> {
    let options = [&format!("--gtid-mode={mode}"), "--enforce-gtid-consistency=ON", "--sync-binlog=0"];
    let mysql = Mysql::fresh(&format!("e2e-{}", name.replace('_', "-")), &options)?;
    let copy = Copy::begin(Scene::on(name, Servers { mysql: mysql.clone(), ..Servers::shared()? })?, false)?;
    let text = std::fs::read_to_string(copy.scene.config_file())?;
    let text = text.replace("[http]\n", &format!("[http]\ntoken = {{ env = \"{VARIABLE}\" }}\n"));
    copy.scene.write_config(&format!("{text}{SLOW}"))?;
    Ok((mysql, copy))
}

fn begin_anew(scene: &Scene, table: &str) -> Result<()> {
    let done = ask(scene, TOKEN, &["start", "--table", &format!("{}.{table}", scene.database)])?;
    ensure!(done.code == Some(0), "{done:?}");
    Ok(())
}

fn start(scene: &Scene) -> Result<Tailrace> {
    let mut process = scene.launch(&["run"])?.variable(VARIABLE, TOKEN).spawn()?;
    process.wait_ready(READY_LIMIT)?;
    Ok(process)
}

fn wait_written(crowd: &Crowd<'_>) -> Result<()> {
    let goal = crowd.done() + STEP;
    wait_until("the writers write", LIMIT, || Ok(crowd.done() > goal))
}

fn executed(scene: &Scene) -> Result<Vec<crate::harness::Texts>> {
    scene.source_rows("SELECT @@GLOBAL.gtid_executed")
}
