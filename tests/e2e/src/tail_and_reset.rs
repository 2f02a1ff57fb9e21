//! `tailrace tail` shows changes and disturbs nobody; `tailrace reset` forgets what it says, when told so, and no sooner.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Finished;
use serde_json::Value;

use crate::harness::{Scene, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

/// A text that would colour the terminal, and that must not be shown unasked.
const CHANGES: &str = "
INSERT INTO orders VALUES (1, 'Anna Secret', 12.50);
UPDATE orders SET name = CONCAT(CHAR(27), '[31m it''s') WHERE id = 1;
DELETE FROM orders WHERE id = 1;";

#[test]
fn changes_are_shown_and_positions_forgotten_on_request() -> Result<()> {
    let scene = Scene::new("tail_and_reset")?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY, name VARCHAR(50) NOT NULL, price DECIMAL(10,2))")?;
    scene.make_target()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    scene.source(CHANGES)?;
    scene.wait_drained()?;
    shapes_are_shown_unasked(&scene)?;
    values_are_shown_on_request(&scene)?;
    what_comes_is_shown(&scene, scene.config())?;
    // Without a log the source is followed, under a number of its own: the running capture is not thrown out.
    what_comes_is_shown(&scene, without_log(&scene.config())?)?;
    ensure!(capture.health()?.status == 200, "capture is disturbed: {}", capture.log_text());

    nothing_is_forgotten_unconfirmed(&scene, &mut capture)?;
    apply.terminate()?;
    apply.wait_exit(LIMIT)?;
    capture.terminate()?;
    capture.wait_exit(LIMIT)?;
    ensure!(!capture.log_text().contains("ERROR"), "capture met errors: {}", capture.log_text());
    everything_is_forgotten(&scene)?;

    // Anew: the log is applied from its beginning, and what is written from now on arrives.
    let processes = (scene.capture()?, scene.apply()?);
    scene.source("INSERT INTO orders VALUES (7, 'anew', NULL)")?;
    scene.wait_drained()?;
    ensure!(scene.ensure_equal()? == 2, "the new row, and the last that was watched for");
    for mut process in [processes.0, processes.1] {
        process.terminate()?;
        process.wait_exit(LIMIT)?;
    }
    a_reset_killed_half_way_is_repeated(&scene)?;
    scene.finish()
}

fn tail(scene: &Scene, words: &[&str]) -> Result<Finished> {
    let table = format!("{}.orders", scene.database);
    let mut all = vec!["tail", "--table", &table];
    all.extend(words);
    let finished = scene.launch(&all)?.run(LIMIT)?;
    ensure!(finished.code == Some(0), "{finished:?}");
    Ok(finished)
}

fn shapes_are_shown_unasked(scene: &Scene) -> Result<()> {
    for form in
        [&["--from", "earliest", "--limit", "3"][..], &["--from", "earliest", "--limit", "3", "--format", "json"]]
    {
        let shown = tail(scene, form)?.stdout;
        ensure!(!shown.contains("Secret") && !shown.contains("12.5") && !shown.contains("[31m"), "values: {shown}");
        ensure!(shown.lines().count() == 3 && shown.contains("name"), "{shown}");
    }
    let shown = tail(scene, &["--from", "earliest", "--limit", "3", "--format", "json"])?.stdout;
    let changes: Vec<Value> = shown.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let operations: Vec<&str> = changes.iter().filter_map(|change| change["operation"].as_str()).collect();
    ensure!(operations == ["insert", "update", "delete"], "one key has one partition: {operations:?}");
    ensure!(changes[0]["key"] == serde_json::json!([{"column": "id", "type": "integer"}]), "{:#}", changes[0]);
    ensure!(changes[0]["changed"].as_array().is_some_and(|columns| columns.len() == 3), "{:#}", changes[0]);
    ensure!(
        changes[1]["changed"] == serde_json::json!([{"column": "name", "type": "text", "bytes": 10}]),
        "{:#}",
        changes[1]
    );
    let (partition, offset) = (&changes[1]["partition"], &changes[1]["offset"]);
    let words = [partition.to_string(), offset.to_string()];
    let again =
        tail(scene, &["--partition", &words[0], "--from", &words[1], "--limit", "2", "--format", "json"])?.stdout;
    let again: Vec<Value> = again.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(again[..] == changes[1..], "from an offset: {again:?}");
    Ok(())
}

fn values_are_shown_on_request(scene: &Scene) -> Result<()> {
    let shown = tail(scene, &["--from", "earliest", "--limit", "3", "--values"])?.stdout;
    for line in ["id = 1", "price = 12.50", "name = 'Anna Secret'", "name: 'Anna Secret' -> E'\\u001b[31m it''s'"] {
        ensure!(shown.lines().any(|told| told.trim() == line), "{line} is not in:\n{shown}");
    }
    ensure!(!shown.contains('\u{1b}'), "a value reached the terminal as it is: {shown:?}");
    Ok(())
}

/// Writes until the tail, which shows one change from now on, has ended.
fn what_comes_is_shown(scene: &Scene, config: String) -> Result<()> {
    let original = scene.config();
    scene.write_config(&config)?;
    let table = format!("{}.orders", scene.database);
    let mut id = scene.source_number("SELECT COALESCE(MAX(id), 99) FROM orders")?;
    let mut process = scene.launch(&["tail", "--table", &table, "--limit", "1", "--format", "json"])?.spawn()?;
    wait_until("the tail has shown a change", LIMIT, || {
        if !process.is_running() {
            return Ok(true);
        }
        id += 1;
        scene.source(&format!("INSERT INTO orders VALUES ({id}, 'passing', 1)"))?;
        Ok(false)
    })?;
    // One row is left to be compared.
    scene.source(&format!("DELETE FROM orders WHERE id < {id}"))?;
    ensure!(process.wait_exit(LIMIT)?.code() == Some(0), "{}", process.log_text());
    let told = process.log_text();
    let line = told.lines().rfind(|line| line.contains("\"operation\":\"insert\"")).with_context(|| told.clone())?;
    let change: Value = serde_json::from_str(line)?;
    ensure!(change["partition"].is_number() != change["file"].is_string(), "{change:#}");
    scene.write_config(&original)
}

fn without_log(config: &str) -> Result<String> {
    let (before, rest) = config.split_once("[log]").context("a section [log]")?;
    let (_, after) = rest.split_once("[target]").context("a section [target]")?;
    Ok(format!("{before}[target]{after}"))
}

fn reset(scene: &Scene, words: &[&str]) -> Result<Finished> {
    let mut all = vec!["reset"];
    all.extend(words);
    scene.launch(&all)?.run(LIMIT)
}

fn nothing_is_forgotten_unconfirmed(scene: &Scene, capture: &mut lab::process::Tailrace) -> Result<()> {
    let offsets = || scene.target_rows("SELECT * FROM tailrace.offsets ORDER BY 1, 2, 3, 4");
    let before = offsets()?;
    for what in ["capture", "apply", "all"] {
        let running = reset(scene, &[what, "--confirm", &scene.prefix])?;
        ensure!(running.code == Some(1) && running.stderr.contains("stop it first"), "{running:?}");
    }
    ensure!(capture.is_running() && offsets()?.len() == before.len(), "something was done all the same");
    Ok(())
}

fn everything_is_forgotten(scene: &Scene) -> Result<()> {
    let count = || scene.target_number("SELECT count(*) FROM tailrace.offsets");
    let before = count()?;
    for confirmation in [&["all", "--confirm", "another"][..], &["all"]] {
        let refused = reset(scene, confirmation)?;
        ensure!(refused.code == Some(1) && refused.stderr.contains("nothing was forgotten"), "{refused:?}");
        for told in ["the checkpoint gtid:", "the offsets of ", "is never captured"] {
            ensure!(refused.stdout.contains(told), "{told} is not in {refused:?}");
        }
    }
    ensure!(count()? == before && before > 0, "unconfirmed, and forgotten");
    let done = reset(scene, &["all", "--confirm", &scene.prefix])?;
    ensure!(done.code == Some(0) && done.stdout.contains("forgotten: the checkpoint\n"), "{done:?}");
    ensure!(count()? == 0 && scene.target_number("SELECT count(*) FROM orders")? == 1, "rows stay, offsets go");
    let again = reset(scene, &["all", "--confirm", &scene.prefix])?;
    ensure!(again.code == Some(0) && again.stdout.starts_with("nothing to forget"), "{again:?}");
    let status = scene.launch(&["status", "--format", "json"])?.run(LIMIT)?;
    let status: Value = serde_json::from_str(&status.stdout)?;
    ensure!(status["position"].is_null(), "{status:#}");
    let applied = status["partitions"].as_array().context("partitions")?.iter().find(|one| one["next_offset"].is_i64());
    ensure!(applied.is_none(), "{applied:?}");
    Ok(())
}

/// Killed before anything is forgotten, then between its halves: both a start and another reset go on from there.
fn a_reset_killed_half_way_is_repeated(scene: &Scene) -> Result<()> {
    let offsets = || scene.target_number("SELECT count(*) FROM tailrace.offsets WHERE next_offset IS NOT NULL");
    let position = || -> Result<Value> {
        let status = scene.launch(&["status", "--format", "json"])?.run(LIMIT)?;
        Ok(serde_json::from_str::<Value>(&status.stdout)?["position"].take())
    };
    let before = offsets()?;
    ensure!(before > 0 && !position()?.is_null(), "there is something to forget");
    for (point, keeps_checkpoint) in [("kafka.commit_sent", true), ("reset.half", false)] {
        let launch = scene.launch(&["reset", "all", "--confirm", &scene.prefix])?;
        let killed = launch.variable("TAILRACE_FAULT", &format!("{point}:1")).run(LIMIT)?;
        ensure!(killed.code.is_none(), "not killed at {point}: {killed:?}");
        ensure!(position()?.is_null() != keeps_checkpoint && offsets()? == before, "after {point}");
    }
    let processes = (scene.capture()?, scene.apply()?);
    scene.source("INSERT INTO orders VALUES (8, 'after the half', NULL)")?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    for mut process in [processes.0, processes.1] {
        process.terminate()?;
        process.wait_exit(LIMIT)?;
    }

    let before = offsets()?;
    let at_terminal = |line: &str| scene.launch(&["reset", "all"])?.run_at_terminal(line, LIMIT);
    let wrong = at_terminal("yes")?;
    ensure!(wrong.code == Some(1) && wrong.stdout.contains("not confirmed: nothing was forgotten"), "{wrong:?}");
    ensure!(!position()?.is_null() && offsets()? == before, "a wrong answer, and forgotten");
    let right = at_terminal(&scene.prefix)?;
    ensure!(right.code == Some(0) && right.stdout.contains("forgotten: the checkpoint"), "{right:?}");
    ensure!(position()?.is_null() && offsets()? == 0, "confirmed, and not forgotten");
    Ok(())
}
