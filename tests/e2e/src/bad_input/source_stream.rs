//! Changes of a captured table that can't be followed yet: DDL, XA, statement format, compression, partial images and partial
//! JSON, too large rows. Each ends capture by name before it: what came before is in the log, nothing of it or behind it is,
//! the checkpoint stands before it, and a restart meets it again.
//!
//! On a server of its own, because one case changes a global setting and all of them count transactions.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Kafka, Mysql, Postgres};

use super::{checkpoint, ensure_failed, record_count};
use crate::harness::{DRAIN_LIMIT, READY_LIMIT, Scene, Servers, wait_until};

/// Something that capture can't follow. In its statements `$` is the table.
struct Case {
    name: &'static str,
    /// Statements of one session.
    bad: &'static str,
    /// What undoes the session's effect on the server.
    undo: &'static str,
    code: i32,
    words: &'static [&'static str],
}

const fn case(name: &'static str, bad: &'static str, code: i32, words: &'static [&'static str]) -> Case {
    Case { name, bad, undo: "", code, words }
}

const CASES: &[Case] = &[
    case("alter_table", "ALTER TABLE $ ADD COLUMN x INT", 4, &["ALTER TABLE"]),
    case("create_index", "ALTER TABLE $ ADD INDEX (a)", 4, &["ALTER TABLE"]),
    case("truncate_table", "TRUNCATE TABLE $", 4, &["TRUNCATE"]),
    case(
        "drop_table",
        "DROP TABLE $; CREATE TABLE $ (id INT PRIMARY KEY, a INT, j JSON, t LONGTEXT)",
        4,
        &["DROP TABLE"],
    ),
    case("rename_table", "RENAME TABLE $ TO away; RENAME TABLE away TO $", 4, &["RENAME TABLE"]),
    case(
        "xa_commit",
        "XA START 'x'; UPDATE $ SET a = 2 WHERE id = 1; XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'",
        4,
        &["XA"],
    ),
    case(
        "xa_rollback",
        "XA START 'x'; UPDATE $ SET a = 2 WHERE id = 1; XA END 'x'; XA PREPARE 'x'; XA ROLLBACK 'x'",
        4,
        &["XA"],
    ),
    case(
        "statement_format",
        "SET binlog_format = STATEMENT; UPDATE $ SET a = 2 WHERE id = 1",
        4,
        &["UPDATE", "binlog_format"],
    ),
    case(
        "compressed",
        "SET binlog_transaction_compression = ON; UPDATE $ SET a = 2",
        1,
        &["compressed", "binlog_transaction_compression"],
    ),
    case(
        "partial_json",
        "SET binlog_row_value_options = PARTIAL_JSON; UPDATE $ SET j = JSON_SET(j, '$$.a', 2)",
        4,
        &["JSON", "binlog_row_value_options"],
    ),
    case("minimal_image", "SET binlog_row_image = MINIMAL; UPDATE $ SET a = 2", 4, &["binlog_row_image"]),
    case("noblob_image", "SET binlog_row_image = NOBLOB; UPDATE $ SET a = 2", 4, &["binlog_row_image"]),
    case("minimal_delete", "SET binlog_row_image = MINIMAL; DELETE FROM $", 4, &["binlog_row_image"]),
    Case {
        undo: "SET GLOBAL binlog_row_metadata = FULL",
        ..case(
            "minimal_metadata",
            "SET GLOBAL binlog_row_metadata = MINIMAL; UPDATE $ SET a = 2",
            4,
            &["binlog_row_metadata"],
        )
    },
    case(
        "in_a_transaction",
        "BEGIN; UPDATE $ SET a = 2; SET binlog_row_image = MINIMAL; UPDATE $ SET a = 3; COMMIT",
        4,
        &["binlog_row_image"],
    ),
    case("too_large", "UPDATE $ SET t = REPEAT('x', 3000000)", 4, &["max.message.bytes"]),
];

#[test]
fn changes_that_can_not_be_followed_end_capture_by_name() -> Result<()> {
    let mysql = Mysql::fresh("bad-stream", &["--sync-binlog=0"])?;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on("bad_stream", servers)?;
    let whole = scene.config();
    for case in CASES {
        let prefix = format!("{}-{}", scene.prefix, case.name.replace('_', "-"));
        let config = whole
            .replace(&format!("prefix = \"{}\"", scene.prefix), &format!("prefix = \"{prefix}\""))
            .replace(&format!("{}.*", scene.database), &format!("{}.{}", scene.database, case.name));
        scene.write_config(&config)?;
        check_case(&scene, case, &prefix).map_err(|error| error.context(case.name))?;
    }
    mysql.remove()?;
    scene.servers.mysql.remove()
}

fn check_case(scene: &Scene, case: &Case, prefix: &str) -> Result<()> {
    let name = case.name;
    let topic = format!("{prefix}.{}.{name}", scene.database);
    scene.source(&format!("CREATE TABLE {name} (id INT PRIMARY KEY, a INT, j JSON, t LONGTEXT)"))?;
    let mut capture = scene.capture()?;
    // Nothing of this concerns a captured table: capture must take no notice.
    scene.source(&format!(
        "{HARMLESS} INSERT INTO {name} VALUES (1, 1, '{{\"a\": 1, \"b\": \"long enough to be kept\"}}', 'text')"
    ))?;
    wait_until("the good row is in the topic", DRAIN_LIMIT, || Ok(record_count(scene, &topic)? == 1))?;

    let before = executed(scene)?;
    scene.source(&case.bad.replace("$$", "\u{0}").replace('$', name).replace('\u{0}', "$"))?;
    let bad = subtract(scene, &executed(scene)?, &before)?;
    ensure!(!bad.is_empty(), "the case makes no transaction");
    if !case.undo.is_empty() {
        scene.source(case.undo)?;
    }
    scene.source(&format!("REPLACE INTO {name} (id, a) VALUES (2, 2)"))?;
    let status = capture.wait_exit(READY_LIMIT)?;
    let log = capture.log_text();
    ensure!(status.code() == Some(case.code), "capture ended with {status}, not {}: {log}", case.code);
    for word in case.words.iter().chain([&name]) {
        ensure!(log.contains(word) || case.code == 1, "no word of {word:?}: {log}");
    }
    check_stands_before(scene, prefix, &topic, &bad)?;

    // A restart meets it again: nothing was remembered as done.
    let finished = scene.launch(&["capture"])?.run(Duration::from_secs(30))?;
    ensure_failed(&finished, case.code, case.words)?;
    check_stands_before(scene, prefix, &topic, &bad)?;
    std::fs::remove_file(scene.folder().join("capture.log"))?;
    Ok(())
}

/// What other tables may do.
const HARMLESS: &str = "CREATE DATABASE IF NOT EXISTS elsewhere; CREATE TABLE elsewhere.t (id INT, a INT, p POINT);
    ALTER TABLE elsewhere.t ADD COLUMN b INT; CREATE VIEW elsewhere.v AS SELECT 1; CREATE TABLE uncaptured (id INT PRIMARY KEY, j JSON);
    XA START 'y'; INSERT INTO elsewhere.t (id) VALUES (1); XA END 'y'; XA PREPARE 'y'; XA COMMIT 'y';
    SET binlog_format = STATEMENT; INSERT INTO elsewhere.t (id) VALUES (2); SET binlog_format = ROW;
    SET binlog_row_image = MINIMAL; UPDATE elsewhere.t SET a = 1; INSERT INTO uncaptured VALUES (1, '{\"a\": 1}'); SET binlog_row_image = FULL;
    SET binlog_row_value_options = PARTIAL_JSON; UPDATE uncaptured SET j = JSON_SET(j, '$.a', 2); SET binlog_row_value_options = '';
    TRUNCATE TABLE uncaptured; DROP TABLE uncaptured; DROP DATABASE elsewhere;";

fn check_stands_before(scene: &Scene, prefix: &str, topic: &str, bad: &str) -> Result<()> {
    ensure!(record_count(scene, topic)? == 1, "something of the bad transaction, or behind it, is in the log");
    let (_, position) = checkpoint(scene, prefix)?;
    ensure!(subtract(scene, bad, &position)? == bad, "the checkpoint {position} moved over {bad}");
    Ok(())
}

fn executed(scene: &Scene) -> Result<String> {
    text(scene, "SELECT @@GLOBAL.gtid_executed")
}

/// The GTIDs of one set that are not in the other.
fn subtract(scene: &Scene, set: &str, other: &str) -> Result<String> {
    text(scene, &format!("SELECT GTID_SUBTRACT('{set}', '{other}')"))
}

fn text(scene: &Scene, query: &str) -> Result<String> {
    let first = scene.source_rows(query)?.into_iter().flatten().next().flatten().unwrap_or_default();
    Ok(first.split_whitespace().collect())
}
