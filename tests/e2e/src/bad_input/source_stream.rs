//! Changes of a captured table that can't be followed: partial images and partial JSON that tell too little, too large
//! rows (statement format is F13). Each ends capture by name before it: what came before is in the log, nothing of it or behind it is,
//! the checkpoint stands before it, and a restart meets it again.
//!
//! On a server of its own. Cases that don't disturb others run side by side: starting and stopping is mostly waiting. Each
//! case's transactions carry its own GTID tag, so that its checkpoint can be asked for just them.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Kafka, Mysql, Postgres};

use super::{checkpoint, ensure_failed, record_count};
use crate::harness::{DRAIN_LIMIT, READY_LIMIT, Scene, Servers, wait_until};

/// Cases at a time.
const THREADS: usize = 4;

/// Something that capture can't follow. In its statements `$` is the table.
struct Case {
    name: &'static str,
    /// Statements of one session.
    bad: &'static str,
    code: i32,
    words: &'static [&'static str],
}

const fn case(name: &'static str, bad: &'static str, code: i32, words: &'static [&'static str]) -> Case {
    Case { name, bad, code, words }
}

const CASES: &[Case] = &[
    case(
        "partial_json",
        "SET binlog_row_image = MINIMAL, binlog_row_value_options = PARTIAL_JSON; UPDATE $ SET j = JSON_SET(j, '$$.a', 2)",
        4,
        &["JSON", "binlog_row_value_options"],
    ),
    case("unknown_default", "SET binlog_row_image = MINIMAL; INSERT INTO $ (id) VALUES (5)", 4, &["binlog_row_image"]),
    case("moved_part", "SET binlog_row_image = NOBLOB; UPDATE $ SET id = 5", 4, &["binlog_row_image"]),
    case(
        "in_a_transaction",
        "BEGIN; UPDATE $ SET a = 2; SET binlog_row_image = MINIMAL; UPDATE $ SET id = 5; COMMIT",
        4,
        &["binlog_row_image"],
    ),
    case("too_large", "UPDATE $ SET t = REPEAT('x', 3000000)", 4, &["max.message.bytes"]),
];

/// Rows without the names of columns, behind which their table was altered while capture was away: nobody knows any more what they are.
const NAMELESS: Case = case(
    "minimal_metadata",
    "SET GLOBAL binlog_row_metadata = MINIMAL; UPDATE $ SET a = 2; ALTER TABLE $ DROP a, ADD a INT FIRST; \
     SET GLOBAL binlog_row_metadata = FULL",
    4,
    &["binlog_row_metadata", "altered"],
);

#[test]
fn changes_that_can_not_be_followed_end_capture_by_name() -> Result<()> {
    let mysql = Mysql::fresh("bad-stream", &["--sync-binlog=0"])?;
    let todo = Mutex::new(CASES.iter().collect::<Vec<&Case>>());
    let failed = Mutex::new(Vec::new());
    let note = |case: &Case, result: Result<()>| {
        if let Err(error) = result {
            failed.lock().expect("no test thread panics").push(format!("{}: {error:#}", case.name));
        }
    };
    let work = || {
        let next = || todo.lock().expect("no test thread panics").pop();
        while let Some(case) = next() {
            note(case, check_case(&mysql, case));
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    note(&NAMELESS, check_nameless(&mysql));
    let failed = failed.into_inner().expect("no test thread panics");
    ensure!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
    mysql.remove()
}

fn check_case(mysql: &Mysql, case: &Case) -> Result<()> {
    let name = case.name;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on(&format!("stream_{name}"), servers)?;
    let topic = scene.topic(name);
    scene.source(&format!("CREATE TABLE {name} (id INT PRIMARY KEY, a INT, j JSON, t LONGTEXT)"))?;
    scene.write_config(
        &scene.config().replace(&format!("{}.*", scene.database), &format!("{}.{name}", scene.database)),
    )?;
    let mut capture = scene.capture()?;
    // Nothing of this concerns a captured table: capture must take no notice.
    scene.source(&HARMLESS.replace("elsewhere", &format!("elsewhere_{name}")))?;
    let kept = "{\"a\": 1, \"b\": \"long enough to be kept in place\"}";
    scene.source(&format!("INSERT INTO {name} VALUES (1, 1, '{kept}', 'text')"))?;
    wait_until("the good row is in the topic", DRAIN_LIMIT, || {
        ensure!(capture.is_running(), "capture ended: {}", capture.log_text());
        Ok(record_count(&scene, &topic)? == 1)
    })?;

    let bad = case.bad.replace("$$", "\u{0}").replace('$', name).replace('\u{0}', "$");
    scene.source(&format!("SET gtid_next = 'AUTOMATIC:{name}'; {bad}"))?;
    scene.source(&format!("REPLACE INTO {name} (id, a) VALUES (2, 2)"))?;
    let status = capture.wait_exit(READY_LIMIT)?;
    let log = capture.log_text();
    ensure!(status.code() == Some(case.code), "capture ended with {status}, not {}: {log}", case.code);
    for word in case.words {
        ensure!(log.contains(word), "no word of {word:?}: {log}");
    }
    let table = format!("{}.{name}", scene.database);
    let is_named = log.lines().any(|line| line.contains("ERROR") && line.contains(&table));
    ensure!(is_named, "no error names {table}: {log}");
    check_stands_before(&scene, case, &topic)?;

    // A restart meets it again: nothing was remembered as done.
    let finished = scene.launch(&["capture"])?.run(Duration::from_secs(30))?;
    ensure_failed(&finished, case.code, case.words)?;
    check_stands_before(&scene, case, &topic)?;
    scene.finish()
}

fn check_nameless(mysql: &Mysql) -> Result<()> {
    let Case { name, bad, code, words } = NAMELESS;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on(&format!("stream_{name}"), servers)?;
    let topic = scene.topic(name);
    scene.source(&format!("CREATE TABLE {name} (id INT PRIMARY KEY, a INT)"))?;
    let mut capture = scene.capture()?;
    scene.source(&format!("INSERT INTO {name} VALUES (1, 1)"))?;
    wait_until("the good row is in the topic", DRAIN_LIMIT, || {
        ensure!(capture.is_running(), "capture ended: {}", capture.log_text());
        Ok(record_count(&scene, &topic)? == 1)
    })?;
    capture.kill()?;
    scene.source(&format!("SET gtid_next = 'AUTOMATIC:{name}'; {}", bad.replace('$', name)))?;
    for _ in 0..2 {
        let finished = scene.launch(&["capture"])?.run(Duration::from_secs(30))?;
        ensure_failed(&finished, code, words)?;
        check_stands_before(&scene, &NAMELESS, &topic)?;
    }
    scene.finish()
}

/// What other tables may do, whoever reads the binlog.
const HARMLESS: &str = "CREATE DATABASE elsewhere; CREATE TABLE elsewhere.t (id INT, a INT, p POINT);
    ALTER TABLE elsewhere.t ADD COLUMN b INT; CREATE VIEW elsewhere.v AS SELECT 1;
    CREATE TABLE uncaptured (id INT PRIMARY KEY, j JSON);
    XA START 'elsewhere'; INSERT INTO elsewhere.t (id) VALUES (1); XA END 'elsewhere'; XA PREPARE 'elsewhere'; XA COMMIT 'elsewhere';
    SET binlog_format = STATEMENT; INSERT INTO elsewhere.t (id) VALUES (2); SET binlog_format = ROW;
    SET binlog_row_image = MINIMAL; UPDATE elsewhere.t SET a = 1; INSERT INTO uncaptured VALUES (1, '{\"a\": 1}');
    SET binlog_row_image = FULL; SET binlog_row_value_options = PARTIAL_JSON; UPDATE uncaptured SET j = JSON_SET(j, '$.a', 2);
    TRUNCATE TABLE uncaptured; DROP TABLE uncaptured; DROP DATABASE elsewhere;";

fn check_stands_before(scene: &Scene, case: &Case, topic: &str) -> Result<()> {
    ensure!(record_count(scene, topic)? == 1, "something of the bad transaction, or behind it, is in the log");
    let (_, position) = checkpoint(scene, &scene.prefix)?;
    let bad = format!("CONCAT(@@GLOBAL.server_uuid, ':{}:1')", case.name);
    let happened = scene.source_number(&format!("SELECT GTID_SUBSET({bad}, @@GLOBAL.gtid_executed)"))?;
    ensure!(happened == 1, "the bad transaction has another GTID than expected");
    let passed = scene.source_number(&format!("SELECT GTID_SUBSET({bad}, '{position}')"))?;
    ensure!(passed == 0, "the checkpoint {position} moved over the bad transaction");
    Ok(())
}
