//! `tailrace status` is right with everything up, with each part down, and with everything down.
//!
//! The servers are the test's own, so that what is counted is exact and each can be killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::{Kafka, Mysql, Postgres, Server, say};
use serde_json::Value;

use crate::harness::{PARTITIONS, READY_LIMIT, Scene, Servers, wait_until};

const LIMIT: Duration = Duration::from_secs(90);
const RUNNING: i32 = 0;
const DEGRADED: i32 = 7;
const DOWN: i32 = 8;

#[test]
fn status_is_right_whatever_is_down() -> Result<()> {
    let servers = Servers {
        mysql: Mysql::fresh("status", &[])?,
        kafka: Kafka::fresh("status", &[])?,
        postgres: Postgres::fresh("status", &[])?,
    };
    let systems = [Server::clone(&servers.mysql), Server::clone(&servers.kafka), Server::clone(&servers.postgres)];
    let scene = Scene::on("status", servers)?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY, state VARCHAR(20) NOT NULL)")?;
    scene.make_target()?;

    before_anything_runs(&scene)?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    everything_runs(&scene)?;
    apply_is_down(&scene, &mut apply)?;
    capture_is_down(&scene, &mut capture)?;
    let (capture, apply) = (scene.capture()?, scene.apply()?);
    wait_status(&scene, RUNNING)?;
    a_system_is_down(&scene, &systems[0], "source")?;
    a_system_is_down(&scene, &systems[2], "target")?;
    the_log_is_down(&scene, &systems[1])?;
    drop((capture, apply));
    systems[0].kill()?;
    systems[2].kill()?;
    everything_is_down(&scene)?;
    systems.iter().try_for_each(Server::remove)
}

/// Without a log one process does both, and the target holds the checkpoint.
#[test]
fn status_and_reset_know_the_embedded_form() -> Result<()> {
    let scene = Scene::new("status_embedded")?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY, state VARCHAR(20) NOT NULL)")?;
    scene.make_target()?;
    scene.write_config(&scene.embedded_config())?;
    has_hint(&status(&scene, DOWN)?, "run is not running: start `tailrace run --config ")?;
    let mut process = scene.run_embedded()?;
    scene.source("INSERT INTO orders VALUES (1, 'new')")?;
    scene.wait_drained()?;
    let running = wait_status(&scene, RUNNING)?;
    ensure!(running["stream"] == "main" && running["embedded"]["state"] == "running", "{running:#}");
    ensure!(running["capture"].is_null() && running["apply"].is_null() && running["log"].is_null(), "{running:#}");
    ensure!(
        running["position"]["committed"].is_string() && running["partitions"] == serde_json::json!([]),
        "{running:#}"
    );
    ensure!(running["lag"]["source_transactions"].is_u64(), "{running:#}");
    let reset = || scene.launch(&["reset", "all", "--confirm", "main"])?.run(LIMIT);
    let refused = reset()?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("stop it first"), "{refused:?}");
    end(&mut process)?;
    let stopped = status(&scene, DOWN)?;
    ensure!(stopped["position"]["committed"].is_string(), "the target keeps it: {stopped:#}");
    let done = reset()?;
    ensure!(done.code == Some(0) && done.stdout.contains("forgotten: the checkpoint\n"), "{done:?}");
    ensure!(status(&scene, DOWN)?["position"].is_null(), "it was forgotten");
    scene.source("INSERT INTO orders VALUES (2, 'between')")?;
    // It has written the table before, so what happened in between would be a gap.
    let refused = scene.launch(&["run"])?.run(LIMIT)?;
    ensure!(refused.code == Some(4) && refused.stderr.contains("does not cover this table"), "{refused:?}");
    let mut process = scene.launch(&["run", "--allow-existing"])?.spawn()?;
    process.wait_ready(LIMIT)?;
    scene.source("INSERT INTO orders VALUES (3, 'anew')")?;
    scene.wait_drained()?;
    ensure!(
        scene.target_number("SELECT sum(id) FROM orders")? == 1 + 3,
        "it began at now, and the row between is left out"
    );
    drop(process);
    scene.finish()
}

fn before_anything_runs(scene: &Scene) -> Result<()> {
    let status = status(scene, DOWN)?;
    for part in ["capture", "apply"] {
        ensure!(status[part]["state"] == "down", "{part}: {status:#}");
        has_hint(&status, &format!("{part} is not running: start `tailrace {part} --config "))?;
    }
    for system in ["source", "log", "target"] {
        ensure!(status[system]["answers"] == true, "{system}: {status:#}");
    }
    let server = status["source"]["server"].as_str().unwrap_or_default();
    ensure!(server.starts_with("MySQL "), "{status:#}");
    ensure!(
        status["position"].is_null() && status["lag"].as_object().is_some_and(serde_json::Map::is_empty),
        "{status:#}"
    );
    has_hint(&status, "there is no checkpoint")
}

fn everything_runs(scene: &Scene) -> Result<()> {
    scene.source("INSERT INTO orders VALUES (1, 'new'), (2, 'new'), (3, 'new')")?;
    scene.wait_drained()?;
    let status = wait_status(scene, RUNNING)?;
    ensure!(status["stream"] == scene.prefix.as_str() && status["hints"] == serde_json::json!([]), "{status:#}");
    for part in ["capture", "apply"] {
        ensure!(status[part]["state"] == "running" && status[part]["command"] == part, "{part}: {status:#}");
    }
    wait_until("the idle source's checkpoint reaches its end", LIMIT, || {
        Ok(self::status(scene, RUNNING)?["lag"]["source_transactions"] == 0)
    })?;
    let status = self::status(scene, RUNNING)?;
    ensure!(status["lag"]["apply_offsets"] == 0 && status["lag"]["source_bytes"] == 0, "{:#}", status["lag"]);
    let committed = status["position"]["committed"].as_str().context("a position")?;
    let executed = scene.source_rows("SELECT @@GLOBAL.gtid_executed")?[0][0].clone().context("a set")?;
    ensure!(committed.starts_with(&format!("gtid:{}", executed.replace('\n', ""))), "{committed}, not {executed}");
    let partitions = partitions_of(&status, "orders")?;
    ensure!(partitions.len() == PARTITIONS as usize, "{partitions:?}");
    for partition in &partitions {
        let is_applied = partition["end"] == partition["next_offset"] || partition["end"] == 0;
        ensure!(partition["behind"] == 0 && is_applied, "{partition}");
    }
    let topic = format!("{}.{}.orders", scene.prefix, scene.database);
    let ends: Vec<i64> = scene.topic_ends(&topic)?.into_iter().map(|(_, end)| end).collect();
    let told: Vec<i64> = partitions.iter().filter_map(|partition| partition["end"].as_i64()).collect();
    ensure!(told == ends, "{told:?}, not {ends:?}");
    let tables = status["tables"].as_array().context("tables")?;
    ensure!(tables.len() == 2 && tables.iter().all(|table| table["state"] == "applied"), "{tables:?}");
    let page = scene.launch(&["status"])?.run(LIMIT)?;
    ensure!(page.code == Some(RUNNING) && page.stdout.contains("running as `tailrace capture`"), "{page:?}");
    for process in [scene.capture_port, scene.apply_port] {
        let ready = lab::http::get(process, "/readyz", LIMIT)?;
        ensure!((ready.status, ready.body.as_str()) == (200, "ready\n"), "{ready:?}");
    }
    Ok(())
}

/// What is not applied is told by the log and by the target's offsets.
fn apply_is_down(scene: &Scene, apply: &mut Tailrace) -> Result<()> {
    end(apply)?;
    let before = status(scene, DOWN)?["lag"]["apply_offsets"].as_u64().context("offsets")?;
    let values: Vec<String> = (10..60).map(|id| format!("({id}, 'new')")).collect();
    scene.source(&format!("INSERT INTO orders VALUES {}", values.join(", ")))?;
    wait_until("50 rows lie in the log", LIMIT, || {
        let behind = status(scene, DOWN)?["lag"]["apply_offsets"].as_u64();
        Ok(behind.is_some_and(|behind| behind >= before + 50))
    })?;
    let status = status(scene, DOWN)?;
    ensure!(status["apply"]["state"] == "down" && status["capture"]["state"] == "running", "{status:#}");
    let behind: i64 =
        partitions_of(&status, "orders")?.iter().filter_map(|partition| partition["behind"].as_i64()).sum();
    ensure!(behind >= 50, "{status:#}");
    ensure!(status["lag"]["apply_seconds"].is_null(), "nobody knows for how long: {status:#}");
    has_hint(&status, "apply is not running")
}

/// What is not captured is told by the source and by the log's checkpoint.
fn capture_is_down(scene: &Scene, capture: &mut Tailrace) -> Result<()> {
    end(capture)?;
    ensure!(status(scene, DOWN)?["lag"]["source_transactions"] == 0, "it saved where it ended");
    (100..103).try_for_each(|id| scene.source(&format!("INSERT INTO orders VALUES ({id}, 'new')")))?;
    let status = status(scene, DOWN)?;
    ensure!(status["lag"]["source_transactions"] == 3, "{status:#}");
    ensure!(status["lag"]["source_bytes"].as_u64().is_some_and(|bytes| (100..10_000).contains(&bytes)), "{status:#}");
    ensure!(status["capture"]["state"] == "down" && status["apply"]["state"] == "down", "{status:#}");
    // A file gets a line a refresh.
    let watched = scene.launch(&["status", "--watch"])?.spawn()?;
    wait_until("three refreshes", LIMIT, || Ok(watched.log_text().matches("capture down, apply down").count() >= 3))
}

/// The source or the target: everybody else goes on, and the daemon says what it waits for.
fn a_system_is_down(scene: &Scene, server: &Server, name: &str) -> Result<()> {
    server.kill()?;
    let (part, port) = if name == "source" { ("capture", scene.capture_port) } else { ("apply", scene.apply_port) };
    // The target is missed only by who writes to it.
    if name == "target" {
        scene.source("INSERT INTO orders VALUES (1000, 'late')")?;
    }
    wait_until(&format!("{part} misses the {name}"), LIMIT, || {
        Ok(lab::http::get(port, "/readyz", LIMIT)?.body.starts_with(&format!("{part} is waiting: ")))
    })?;
    let status = status(scene, DEGRADED)?;
    for system in ["source", "log", "target"] {
        ensure!(status[system]["answers"] == (system != name), "{system}: {status:#}");
    }
    ensure!(status[name]["error"].as_str().is_some_and(|error| error.contains("refused")), "{:#}", status[name]);
    has_hint(&status, &format!("the {name} does not answer: "))?;
    ensure!(status[part]["state"] == "waiting", "{status:#}");
    ensure!(status[part]["last_error"]["kind"] == "transient", "{status:#}");
    ensure!(status["position"]["committed"].is_string(), "the checkpoint lies elsewhere: {status:#}");
    ensure!(!partitions_of(&status, "orders")?.is_empty(), "the log's partitions are known: {status:#}");
    server.start()?;
    wait_status(scene, RUNNING)?;
    Ok(())
}

/// What the daemons and the target know is still told.
fn the_log_is_down(scene: &Scene, kafka: &Server) -> Result<()> {
    kafka.kill()?;
    let status = status(scene, DEGRADED)?;
    ensure!(status["log"]["answers"] == false && status["log"]["error"].is_string(), "{status:#}");
    ensure!(status["position"]["committed"].is_string(), "capture knows the checkpoint: {status:#}");
    let partitions = partitions_of(&status, "orders")?;
    ensure!(partitions.iter().any(|partition| partition["next_offset"].is_i64()), "{status:#}");
    ensure!(status["tables"].as_array().is_some_and(|tables| tables.len() == 2), "{status:#}");
    has_hint(&status, "the log does not answer: ")
}

fn everything_is_down(scene: &Scene) -> Result<()> {
    let status = status(scene, DOWN)?;
    for system in ["source", "log", "target"] {
        ensure!(status[system]["answers"] == false && status[system]["error"].is_string(), "{system}: {status:#}");
        has_hint(&status, &format!("the {system} does not answer: "))?;
    }
    for part in ["capture", "apply"] {
        ensure!(status[part]["state"] == "down", "{part}: {status:#}");
    }
    ensure!(status["position"].is_null() && status["partitions"] == serde_json::json!([]), "{status:#}");
    say(&format!("status: {} hints with everything down", status["hints"].as_array().map_or(0, Vec::len)));
    Ok(())
}

/// What `tailrace status` tells; its exit code must be this.
fn status(scene: &Scene, code: i32) -> Result<Value> {
    let finished = scene.launch(&["status", "--format", "json"])?.run(LIMIT)?;
    ensure!(finished.code == Some(code), "ended with {:?}, not {code}: {finished:?}", finished.code);
    let status: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON: {finished:?}"))?;
    let state = match code {
        RUNNING => "running",
        DEGRADED => "degraded",
        _ => "down",
    };
    ensure!(status["state"] == state, "{state}: {status:#}");
    Ok(status)
}

/// The first status with this exit code.
fn wait_status(scene: &Scene, code: i32) -> Result<Value> {
    let mut last = Value::Null;
    wait_until(&format!("tailrace status ends with {code}"), READY_LIMIT * 2, || {
        let finished = scene.launch(&["status", "--format", "json"])?.run(LIMIT)?;
        last = serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON: {finished:?}"))?;
        Ok(finished.code == Some(code))
    })
    .with_context(|| "the last status is in the log of the test")
    .inspect_err(|_| say("status: not what was waited for"))?;
    Ok(last)
}

fn partitions_of<'a>(status: &'a Value, table: &str) -> Result<Vec<&'a Value>> {
    let all = status["partitions"].as_array().context("partitions")?;
    let is_of =
        |partition: &&Value| partition["table"].as_str().is_some_and(|name| name.ends_with(&format!(".{table}")));
    Ok(all.iter().filter(is_of).collect())
}

fn has_hint(status: &Value, words: &str) -> Result<()> {
    let hints = status["hints"].as_array().context("hints")?;
    let is_told = hints.iter().filter_map(Value::as_str).any(|hint| hint.starts_with(words));
    ensure!(is_told, "no hint begins with {words:?}: {hints:?}");
    Ok(())
}

fn end(process: &mut Tailrace) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(LIMIT)?;
    ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    Ok(())
}
