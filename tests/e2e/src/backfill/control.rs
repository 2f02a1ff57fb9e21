//! An operator holds, gives up, begins anew and repeats copies while a writer writes and after a kill; the target ends equal to the source.

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use serde_json::Value;

use super::{LIMIT, PAUSE, RATE, SMALL_CHUNKS, end, make_history};
use crate::harness::{READY_LIMIT, Scene, seed, wait_until};

pub(super) const VARIABLE: &str = "TAILRACE_TOKEN";
pub(super) const TOKEN: &str = "e2e-0123456789abcdef";

#[test]
fn an_operator_is_obeyed_while_rows_are_copied() -> Result<()> {
    let scene = Scene::new("backfill_control")?;
    let seed = seed(&scene.database);
    make_history(&scene, seed)?;
    let config = scene.embedded_config().replace("backfill = \"off\"\n", "");
    let config = config.replace("[http]\n", &format!("[http]\ntoken = {{ env = \"{VARIABLE}\" }}\n"));
    scene.write_config(&format!("{config}{SMALL_CHUNKS}max_rate = 1000\n"))?;
    scene.make_target()?;
    let ledger = scene.open_ledger(PAUSE, seed)?;
    let shop = scene.open_shop(RATE, seed + 1)?;
    let plain = format!("{}.plain", scene.database);
    let mut process = start(&scene)?;
    wait_until("rows of a table are copied", LIMIT, || {
        Ok(copies(&process)?.iter().any(|copy| copy["state"] == "copying" && copy["chunks"].as_u64() > Some(0)))
    })?;
    refuse(&scene, "wrong-0123456789abcdef", &["pause"], "the token is missing or wrong")?;
    refuse(&scene, TOKEN, &["pause", "--table", "shop.none"], "is not copied here")?;
    obey(&scene, &["pause"])?;
    ensure!(states(&process)?.iter().any(|state| state == "paused"), "nothing is paused: {:?}", states(&process)?);
    // A kill forgets nothing of it.
    process.kill()?;
    process = start(&scene)?;
    wait_until("what was paused is known", LIMIT, || Ok(!states(&process)?.is_empty()))?;
    let after = states(&process)?;
    ensure!(after.contains(&"paused".to_owned()), "the pause did not survive a kill: {after:?}");
    ensure!(!after.contains(&"copying".to_owned()), "something is copied in spite of the pause: {after:?}");
    // By the ledger itself.
    let told = told(&scene, &["status", "--format", "json"])?;
    ensure!(told.contains("\"paused\"") && told.contains("plain"), "{told}");
    obey(&scene, &["cancel", "--table", &plain])?;
    obey(&scene, &["throttle", "--max-rate", "100000000"])?;
    obey(&scene, &["resume"])?;
    wait_until("the others are copied", LIMIT, || {
        Ok(copies(&process)?.iter().all(|copy| copy["state"] == "done" || copy["table"] == *plain))
    })?;
    obey(&scene, &["start", "--table", &plain])?;
    wait_done(&process)?;
    repeat(&scene, &process, &plain)?;
    drop((shop.close()?, ledger.close()?));
    scene.wait_drained()?;
    scene.ensure_equal()?;
    ensure!(!process.log_text().contains(TOKEN), "the log has the token");
    let metrics = process.metrics()?;
    ensure!(metrics.sum("tailrace_backfill_chunks_total") > Some(10.0), "no chunks are counted");
    end(&mut process)?;
    let chunks = self::told(&scene, &["chunks", "--table", &plain])?;
    ensure!(chunks.lines().count() > 3, "few chunks of {plain}: {chunks}");
    scene.finish()
}

/// Rows that are missing in the target come back, those at both bounds included, and no others.
fn repeat(scene: &Scene, process: &Tailrace, plain: &str) -> Result<()> {
    let target = format!("\"{}\".plain", scene.database);
    scene.target(&format!("DELETE FROM {target} WHERE number BETWEEN 100 AND 300"))?;
    obey(scene, &["recopy", "--table", plain, "--from", "101", "--to", "299"])?;
    wait_done(process)?;
    let rows = |range: &str| scene.target_number(&format!("SELECT count(*) FROM {target} WHERE number {range}"));
    wait_until("the range is there again", LIMIT, || Ok(rows("BETWEEN 101 AND 299")? == 199))?;
    ensure!(rows("IN (100, 300)")? == 0, "rows beside the range were copied");
    // A key of two columns, one of them a text in a collation.
    let named = format!("\"{}\".named", scene.database);
    scene.target(&format!("DELETE FROM {named}"))?;
    let table = format!("{}.named", scene.database);
    refuse(scene, TOKEN, &["recopy", "--table", &table, "--from", "A"], "the key of")?;
    obey(scene, &["recopy", "--table", &table, "--from", "[\"A\",0]"])?;
    obey(scene, &["recopy", "--table", plain, "--from", "100", "--to", "100"])?;
    obey(scene, &["recopy", "--table", plain, "--from", "300", "--to", "300"])?;
    wait_done(process)?;
    wait_until("the rows at the bounds are there again", LIMIT, || Ok(rows("IN (100, 300)")? == 2))
}

fn start(scene: &Scene) -> Result<Tailrace> {
    let mut process = scene.launch(&["run"])?.variable(VARIABLE, TOKEN).spawn()?;
    process.wait_ready(READY_LIMIT)?;
    Ok(process)
}

/// The tables' copies by the process.
pub(super) fn copies(process: &Tailrace) -> Result<Vec<Value>> {
    let status: Value = serde_json::from_str(&process.status()?.body).context("a status")?;
    Ok(status["backfill"]["tables"].as_array().cloned().unwrap_or_default())
}

fn states(process: &Tailrace) -> Result<Vec<String>> {
    Ok(copies(process)?.iter().filter_map(|copy| copy["state"].as_str().map(str::to_owned)).collect())
}

fn wait_done(process: &Tailrace) -> Result<()> {
    wait_until("all tables are copied", LIMIT, || {
        let states = states(process)?;
        Ok(!states.is_empty() && states.iter().all(|state| state == "done"))
    })
}

pub(super) fn ask(scene: &Scene, token: &str, words: &[&str]) -> Result<lab::process::Finished> {
    let words: Vec<&str> = std::iter::once("backfill").chain(words.iter().copied()).collect();
    scene.launch(&words)?.variable(VARIABLE, token).run(READY_LIMIT)
}

fn told(scene: &Scene, words: &[&str]) -> Result<String> {
    let finished = ask(scene, TOKEN, words)?;
    ensure!(finished.code == Some(0), "backfill {words:?}: {finished:?}");
    Ok(finished.stdout)
}

fn obey(scene: &Scene, words: &[&str]) -> Result<()> {
    told(scene, words).map(drop)
}

fn refuse(scene: &Scene, token: &str, words: &[&str], why: &str) -> Result<()> {
    let finished = ask(scene, token, words)?;
    ensure!(finished.code != Some(0) && finished.stderr.contains(why), "backfill {words:?}: {finished:?}");
    ensure!(!finished.stderr.contains(token), "the refusal shows the token");
    Ok(())
}
