//! Each thing that holds copies up does so on real servers, says why, and lets them go on again.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::{Mysql, say};
use mysql_async::prelude::Queryable;
use serde_json::Value;

use super::{LIMIT, end, fill};
use crate::harness::{READY_LIMIT, Replica, Scene, Servers, TargetKind, wait_until};

/// So slow that the copy lasts as long as the test.
const ROWS: u32 = 100_000;
const SLOW: &str = "\n[backfill]\nreaders = 1\nchunk_rows = 20\nmax_rate = 200\n\n[backfill.throttle]\n";
const SLEEPERS: usize = 25;
const SLEEP: &str = "SELECT SLEEP(1000)";

#[test]
fn each_gate_holds_copies_up_and_lets_them_go() -> Result<()> {
    let fast = ["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2"];
    let mysql = Mysql::fresh("e2e-gates", &fast)?;
    let scene = Scene::on("backfill_gates", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    scene.source("CREATE TABLE plain (id INT PRIMARY KEY, n INT NOT NULL); CREATE TABLE holds (id INT PRIMARY KEY)")?;
    fill(&scene, ROWS, "plain (id, n)", "i, 0")?;
    scene.source("CREATE DATABASE ops; CREATE TABLE ops.busy (id INT PRIMARY KEY, n INT NOT NULL)")?;
    scene.source("INSERT INTO ops.busy VALUES (1, 0)")?;
    let replica = Replica::fresh(&scene, "e2e-gates-replica", &fast)?;
    let file = scene.folder().join("hold");
    let text = scene.trusting(&scene.config().replace("backfill = \"off\"\n", ""), &replica.server)?;
    let text = format!(
        "{text}{SLOW}history_max = 2000\nrunning_max = {}\nquery = \"SELECT COUNT(*) FROM {}.holds\"\nfile = \"hold\"\n\
         replicas = [\"{}\"]\nreplica_lag_max = \"2s\"\napply_lag_max = \"5s\"\nhours = ",
        SLEEPERS - 5,
        scene.database,
        replica.server.capture_url()?
    );
    // Not for an hour from now, and then for another one.
    let minute = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 60 % 1440;
    let clock = |minute: u64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    scene.write_config(&format!("{text}\"{}-{}\"\n", clock(minute + 60), clock(minute + 120)))?;
    scene.make_target()?;
    check_privileges(&scene)?;
    let mut process = scene.launch(&["capture"])?.spawn()?;
    wait_held(&process, "hours", "outside of the hours")?;
    ensure!(chunks(&process)? == 0.0, "something was copied outside of the hours");
    end(&mut process)?;

    fs::write(&file, "")?;
    scene.write_config(&format!("{text}\"00:00-24:00\"\n"))?;
    process = scene.launch(&["capture"])?.spawn()?;
    wait_held(&process, "file", "hold is there")?;
    ensure!(chunks(&process)? == 0.0, "something was copied beside the file");
    fs::remove_file(&file)?;
    let gates = Gates(&process);
    // Nobody applies what is copied.
    let held = gates.hold("apply_lag", "apply of")?;
    let told = scene.command(&["status"])?;
    ensure!(told.stdout.contains("HELD UP: apply of"), "{told:?}");
    let mut apply = scene.launch(&["apply"])?.spawn()?;
    gates.go(&held)?;

    replica.run(&scene, "STOP REPLICA SQL_THREAD")?;
    scene.mark()?;
    let held = gates.hold("replica_lag", "behind the source, more than 2 s")?;
    replica.run(&scene, "START REPLICA SQL_THREAD")?;
    gates.go(&held)?;

    scene.source("INSERT INTO holds VALUES (1)")?;
    let held = gates.hold("query", "the operator's query: 1, more than 0")?;
    scene.source("DELETE FROM holds")?;
    gates.go(&held)?;

    hold_by_statements(&scene, &mysql, &gates)?;
    hold_by_history(&scene, &gates)?;
    say("each gate held the copies up, and let them go");
    process.kill()?;
    apply.kill()?;
    replica.server.remove()?;
    scene.finish()?;
    mysql.remove()
}

#[test]
fn a_capture_that_is_behind_holds_copies_up() -> Result<()> {
    let scene = Scene::to(TargetKind::Sqlite, "backfill_source_lag")?;
    scene.source("CREATE TABLE plain (id INT PRIMARY KEY, n INT NOT NULL)")?;
    fill(&scene, ROWS, "plain (id, n)", "i, 0")?;
    let text = scene.embedded_config().replace("backfill = \"off\"\n", "");
    scene.write_config(&format!("{text}{SLOW}source_lag_max = \"1s\"\n"))?;
    scene.make_target()?;
    let mut process = scene.launch(&["run"])?.spawn()?;
    process.wait_ready(READY_LIMIT)?;
    wait_until("rows are copied", LIMIT, || Ok(chunks(&process)? > 0.0))?;
    let gates = Gates(&process);
    // What is captured can't be written, so nothing more is read.
    let lock = scene.lock_target()?;
    scene.mark()?;
    let held = gates.hold("source_lag", "behind the source")?;
    scene.unlock_target(lock)?;
    gates.go(&held)?;
    process.kill()?;
    scene.finish()
}

/// Statements that run.
fn hold_by_statements(scene: &Scene, mysql: &Mysql, gates: &Gates<'_>) -> Result<()> {
    for _ in 0..SLEEPERS {
        let url = mysql.admin_url()?;
        // Ended by the server.
        scene.spawn(async move {
            let mut connection = mysql_async::Conn::from_url(url).await?;
            connection.query_drop(SLEEP).await
        });
    }
    let held = gates.hold("running", "more than 20")?;
    let sleeping = "SELECT CONCAT('KILL ', id) FROM information_schema.processlist WHERE info = ";
    for row in scene.source_rows(&format!("{sleeping}'{SLEEP}'"))? {
        scene.source(row[0].as_deref().context("a statement")?)?;
    }
    gates.go(&held)
}

/// Old versions of rows that an open view needs.
fn hold_by_history(scene: &Scene, gates: &Gates<'_>) -> Result<()> {
    let mut view = scene.open_source()?;
    view.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")?;
    scene.source(&"UPDATE ops.busy SET n = n + 1;".repeat(4_000))?;
    let held = gates.hold("history", "old row versions that the source keeps")?;
    drop(view);
    gates.go(&held)
}

/// The account may not ask for the history list's length, and is told which statement mends it; then nothing is wrong.
fn check_privileges(scene: &Scene) -> Result<()> {
    const GRANT: &str = "GRANT PROCESS ON *.* TO 'tailrace'@'%'";
    let problems = || -> Result<Vec<(String, String)>> {
        let found = scene.command(&["check", "--format", "json"])?;
        let found: Value = serde_json::from_str(&found.stdout).with_context(|| format!("no JSON: {found:?}"))?;
        let problems = found["problems"].as_array().context("problems")?.iter();
        let text = |problem: &Value, key: &str| problem[key].as_str().unwrap_or_default().to_owned();
        let of_gates = problems.filter(|problem| text(problem, "code").starts_with("throttle_"));
        Ok(of_gates.map(|problem| (text(problem, "code"), text(problem, "mend"))).collect())
    };
    let found = problems()?;
    ensure!(found == [("throttle_load".to_owned(), GRANT.to_owned())], "{found:?}");
    let grants = scene.command(&["check", "--print-grants"])?;
    ensure!(grants.stdout.contains(GRANT), "{grants:?}");
    scene.source(GRANT)?;
    ensure!(problems()?.is_empty(), "{:?}", problems()?);
    Ok(())
}

/// What holds the copies of a process up.
struct Gates<'a>(&'a Tailrace);

/// A gate that was seen to hold.
struct Held {
    gate: &'static str,
    chunks: f64,
}

impl Gates<'_> {
    /// Waits until the gate holds and says so, and sees that nothing is copied meanwhile.
    fn hold(&self, gate: &'static str, why: &str) -> Result<Held> {
        wait_held(self.0, gate, why)?;
        wait_until("no window is open", LIMIT, || {
            Ok(self.0.metrics()?.sum("tailrace_backfill_windows_open") == Some(0.0))
        })?;
        let (chunks, at) = (chunks(self.0)?, told_at(self.0)?);
        wait_until("more chunks could have been copied", LIMIT, || Ok(told_at(self.0)? > at + 2.0))?;
        ensure!(self::chunks(self.0)? == chunks, "something was copied although {gate} held it up");
        let holds = self.0.metrics()?.labelled("tailrace_backfill_holds_total", &label(gate));
        ensure!(holds > Some(0.0), "{gate} was not counted: {holds:?}");
        Ok(Held { gate, chunks })
    }

    /// Waits until the gate does not hold any more and the copy goes on.
    fn go(&self, held: &Held) -> Result<()> {
        let is_held = || Ok(self.0.metrics()?.labelled("tailrace_backfill_held", &label(held.gate)) == Some(0.0));
        wait_until(&format!("{} lets the copies go", held.gate), LIMIT, is_held)?;
        wait_until("the copy goes on", LIMIT, || Ok(chunks(self.0)? > held.chunks))
    }
}

fn label(gate: &str) -> String {
    format!("gate=\"{gate}\"")
}

fn chunks(process: &Tailrace) -> Result<f64> {
    Ok(process.metrics()?.sum("tailrace_backfill_chunks_total").unwrap_or(0.0))
}

fn status(process: &Tailrace) -> Result<Value> {
    serde_json::from_str(&process.status()?.body).context("a status")
}

fn told_at(process: &Tailrace) -> Result<f64> {
    status(process)?["at"].as_f64().context("a moment")
}

fn wait_held(process: &Tailrace, gate: &str, why: &str) -> Result<()> {
    wait_until(&format!("{gate} holds the copies up"), LIMIT, || {
        // It may not listen yet.
        let Ok(metrics) = process.metrics() else { return Ok(false) };
        let held = status(process)?["backfill"]["held"].as_array().cloned().unwrap_or_default();
        let is_told = held.iter().filter_map(Value::as_str).any(|held| held.contains(why));
        Ok(is_told && metrics.labelled("tailrace_backfill_held", &label(gate)) == Some(1.0))
    })
}
