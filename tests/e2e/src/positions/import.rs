//! `tailrace import-offset`: capture goes on where a connector of Debezium stopped.
//!
//! The offsets have the form in which Debezium 3.3.1 stored them in Kafka Connect for a server of this version: `gtids` without the
//! transaction in progress, `pos` at its BEGIN, `event` and `row` behind its last record. Names and places are this server's own.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Finished;
use lab::{Kafka, Mysql, Postgres};
use serde_json::{Value, json};

use super::position;
use crate::harness::{Scene, Servers};

const LIMIT: Duration = Duration::from_secs(60);
const CONNECTOR: &str = "inventory";

#[test]
fn capture_goes_on_where_debezium_stopped() -> Result<()> {
    let scene = Scene::new("import_offset")?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))")?;
    scene.make_target()?;
    scene.source("INSERT INTO t VALUES (1, 'sent')")?;
    let sent = stored_by_debezium(&scene, "INSERT INTO t VALUES (2, 'sent'), (3, 'sent')")?;
    scene.source("INSERT INTO t VALUES (4, 'to come')")?;
    // Rows that Debezium's sink has written.
    scene.target(&format!("INSERT INTO {}.t VALUES (1, 'sent'), (2, 'sent')", scene.database))?;

    refuses_what_would_lose_something(&scene, &sent.offset)?;
    let planned = import(&scene, &sent.offset, &["--dry-run", "--format", "json"])?;
    let planned: Value = serde_json::from_str(&planned.stdout).with_context(|| format!("no JSON: {planned:?}"))?;
    ensure!(planned["position"] == format!("gtid:{}", sent.before) && planned["stored"] == false, "{planned:#}");
    ensure!(position(&scene).is_err(), "a dry run has stored something");

    let done = import(&scene, &sent.offset, &[])?;
    ensure!(done.code == Some(0) && done.stdout.contains("\nstored: capture begins at gtid:"), "{done:?}");
    ensure!(position(&scene)? == format!("gtid:{}", sent.before), "{}", position(&scene)?);
    let again = import(&scene, &sent.offset, &[])?;
    ensure!(again.code == Some(1) && again.stderr.contains("has a checkpoint already"), "{again:?}");
    let capture = scene.capture()?;
    scene.mark()?;
    let apply = scene.launch(&["apply", "--allow-existing"])?.spawn()?;
    scene.wait_drained()?;
    ensure!(scene.ensure_equal()? == 4, "{:?}", scene.target_rows("SELECT * FROM t")?);
    let mut keys = Vec::new();
    scene.read_topic(&scene.topic("t"), |record| {
        keys.push(String::from_utf8_lossy(record.key.unwrap_or_default()).into_owned());
        Ok(())
    })?;
    ensure!(keys.len() == 3 && !keys.contains(&r#"{"id":1}"#.to_owned()), "not from its begin on: {keys:?}");
    drop((capture, apply));
    scene.finish()
}

/// Without GTIDs the file and the offset count; without a log the target keeps the checkpoint.
#[test]
fn the_embedded_form_goes_on_by_file_and_offset() -> Result<()> {
    let mysql = Mysql::fresh("e2e-import-files", &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"])?;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on("import_files", servers)?;
    scene.write_config(&scene.embedded_config())?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(20))")?;
    scene.make_target()?;
    scene.source("INSERT INTO t VALUES (1, 'sent')")?;
    let sent = stored_by_debezium(&scene, "INSERT INTO t VALUES (2, 'sent'), (3, 'sent')")?;
    scene.target(&format!("INSERT INTO {}.t VALUES (1, 'sent')", scene.database))?;
    let done = import(&scene, &sent.offset, &["--format", "json"])?;
    let done: Value = serde_json::from_str(&done.stdout).with_context(|| format!("no JSON: {done:?}"))?;
    ensure!(done["position"] == format!("file:{}", sent.begin), "{done:#} does not begin at {}", sent.begin);
    let again = import(&scene, &sent.offset, &[])?;
    ensure!(again.code == Some(1) && again.stderr.contains("has a checkpoint already"), "{again:?}");
    let process = scene.launch(&["run", "--allow-existing"])?.spawn()?;
    scene.wait_drained()?;
    ensure!(scene.ensure_equal()? == 3, "{:?}", scene.target_rows("SELECT * FROM t")?);
    drop(process);
    scene.finish()?;
    mysql.remove()
}

/// What Debezium would have stored with a transaction's last record.
struct Sent {
    offset: Value,
    /// The GTIDs that it names, and where the transaction begins.
    before: String,
    begin: String,
}

fn stored_by_debezium(scene: &Scene, insert: &str) -> Result<Sent> {
    let first = |query: &str| -> Result<String> {
        let value = scene.source_rows(query)?.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        value.with_context(|| format!("{query}: no value"))
    };
    let before = first("SELECT REPLACE(@@GLOBAL.gtid_executed, '\n', '')")?;
    let status = scene.source_rows("SHOW BINARY LOG STATUS")?.remove(0);
    let (Some(file), Some(from)) = (&status[0], &status[1]) else { anyhow::bail!("a place in {status:?}") };
    scene.source(insert)?;
    // Others may write to the server too.
    let events = scene.source_rows(&format!("SHOW BINLOG EVENTS IN '{file}' FROM {from}"))?;
    let table = format!("({}.t)", scene.database);
    let is_ours = |row: &Vec<Option<String>>| row[5].as_deref().is_some_and(|told| told.contains(&table));
    let at = events.iter().position(is_ours).context("the transaction's table")?;
    let pos = |event: usize| -> Result<u64> { Ok(events[event][1].as_deref().context("an offset")?.parse()?) };
    let (gtid, begin) = (pos(at - 2)?, pos(at - 1)?);
    let named = events[at - 2][5].as_deref().unwrap_or_default().split('\'').nth(1).unwrap_or_default();
    // Everything before it; the set of a moment before may lack what others have written since.
    let before = if before.is_empty() {
        None
    } else {
        let (uuid, number) = named.rsplit_once(':').context("a GTID")?;
        Some(first(&format!(
            "SELECT REPLACE(GTID_SUBTRACT(@@GLOBAL.gtid_executed, '{uuid}:{number}-{}'), '\n', '')",
            u64::try_from(i64::MAX)? - 1
        ))?)
    };
    let mut offset =
        json!({ "ts_sec": 1_795_429_349, "file": file, "pos": begin, "row": 2, "server_id": 1, "event": 2 });
    if let Some(before) = &before {
        offset["gtids"] = json!(before);
    }
    Ok(Sent { offset, before: before.unwrap_or_default(), begin: format!("{file}:{gtid}") })
}

/// As Connect's REST interface answers.
fn import(scene: &Scene, offset: &Value, options: &[&str]) -> Result<Finished> {
    let answer = json!({ "offsets": [{ "partition": { "server": CONNECTOR }, "offset": offset }] });
    import_bytes(scene, answer.to_string().as_bytes(), options)
}

fn import_bytes(scene: &Scene, bytes: &[u8], options: &[&str]) -> Result<Finished> {
    let file = scene.folder().join("offset.json");
    fs::write(&file, bytes)?;
    let words = [&["import-offset", file.to_str().context("a path in UTF-8")?], options].concat();
    scene.launch(&words)?.run(LIMIT)
}

fn refuses_what_would_lose_something(scene: &Scene, offset: &Value) -> Result<()> {
    let with = |key: &str, value: Value| {
        let mut offset = offset.clone();
        offset[key] = value;
        offset
    };
    for (offset, code, word) in [
        (with("snapshot", json!("INITIAL")), 1, "snapshot has not ended"),
        (with("incremental_snapshot_collections", json!("[{}]")), 1, "incremental snapshot has not ended"),
        (with("gtids", Value::Null), 1, "no GTIDs"),
        (with("gtids", json!("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5")), 3, ""),
        (with("gtids", json!("yesterday")), 1, "no offset of Debezium"),
    ] {
        let refused = import(scene, &offset, &[])?;
        ensure!(refused.code == Some(code) && refused.stderr.contains(word), "{offset}: {refused:?}");
    }
    let java = import_bytes(scene, b"\xac\xed\x00\x05sr\x00\x11java.util.HashMap", &[])?;
    ensure!(java.code == Some(1) && java.stderr.contains("/connectors/NAME/offsets"), "{java:?}");
    let other = import(scene, offset, &["--server", "another"])?;
    ensure!(other.code == Some(1) && other.stderr.contains(CONNECTOR), "{other:?}");
    ensure!(position(scene).is_err(), "something was stored");
    Ok(())
}
