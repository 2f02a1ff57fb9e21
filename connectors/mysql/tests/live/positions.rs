//! Positions: what a start means, what a checkpoint still means after the server's history was cut, reset or replaced.
//!
//! These tests change the history of their servers, so each has one of its own, and what is left of it from an earlier run
//! does not count.

use mysql_async::{Row, prelude::Queryable};
use tailrace_contract::{BatchEnd, BatchLimits, Checkpoint, ErrorKind, Position, Source, StartAt};
use tailrace_row::Epoch;
use tokio::sync::{Mutex, MutexGuard};

use crate::harness::{Database, LIMITS, Stream, checkpoint, server};

static ALONE: Mutex<()> = Mutex::const_new(());

/// A server with GTIDs and an empty history.
pub(crate) async fn with_gtids(name: &str) -> (MutexGuard<'static, ()>, Database) {
    let guard = ALONE.lock().await;
    let mut db = Database::on(server("source-history"), name).await;
    db.run_all(&["RESET BINARY LOGS AND GTIDS", "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, c LONGTEXT)"])
        .await;
    (guard, db)
}

/// A server without GTIDs and an empty history.
pub(crate) async fn with_files(name: &str) -> (MutexGuard<'static, ()>, Database) {
    let guard = FILES_ALONE.lock().await;
    let server = lab::Mysql::up_with("source-files", &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]).unwrap();
    let mut db = Database::on(server, name).await;
    // A test that failed may have left another mode.
    if db.text("SELECT @@gtid_mode").await != "OFF" {
        db.run_all(&TO_ANONYMOUS).await;
        db.run("SET GLOBAL gtid_mode = OFF").await;
    }
    db.run("SET GLOBAL enforce_gtid_consistency = OFF").await;
    db.run_all(&["RESET BINARY LOGS AND GTIDS", "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, c LONGTEXT)"])
        .await;
    (guard, db)
}

static FILES_ALONE: Mutex<()> = Mutex::const_new(());

async fn insert(db: &mut Database, count: usize) {
    for _ in 0..count {
        db.run("INSERT INTO t (c) VALUES ('x')").await;
    }
}

/// Reads so many rows and returns the checkpoint behind each batch.
async fn read(stream: &mut Stream, rows: usize) -> Vec<Checkpoint> {
    let mut checkpoints = Vec::new();
    let mut seen = 0;
    while seen < rows {
        let end = stream.next_within(BatchLimits { records_max: 1, ..LIMITS }).await.unwrap();
        seen += stream.batch.len();
        let BatchEnd::TransactionEnd(mark) = end else { panic!("{end:?}") };
        checkpoints.push(Checkpoint { epoch: Epoch(3), mark, split: None });
    }
    checkpoints
}

async fn executed(db: &mut Database) -> String {
    db.text("SELECT REPLACE(@@gtid_executed, '\\n', '')").await
}

async fn uuid(db: &mut Database) -> String {
    db.text("SELECT @@server_uuid").await
}

async fn must_be_lost(db: &Database, from: &Checkpoint, words: &[&str]) {
    let error = db.follow_from(from, &["t"]).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    assert!(error.advice().is_some(), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}

#[tokio::test]
async fn a_start_in_every_form_means_what_the_server_says() {
    let (_guard, mut db) = with_gtids("history_start").await;
    insert(&mut db, 3).await;
    db.run("SET gtid_next = 'AUTOMATIC:blue'").await;
    insert(&mut db, 2).await;
    db.run_all(&["SET gtid_next = 'AUTOMATIC'", "FLUSH LOGS"]).await;
    insert(&mut db, 2).await;
    let uuid = uuid(&mut db).await;
    let source = db.source();
    let now = source.position(&StartAt::Now).await.unwrap();
    assert_eq!(now.as_str(), format!("gtid:{}", executed(&mut db).await));
    assert_eq!(now.as_str(), format!("gtid:{uuid}:1-6:blue:1-2"));
    assert_eq!(source.position(&StartAt::Earliest).await.unwrap().as_str(), "gtid:");
    // Every transaction's begin, by file and offset, against the sum of the transactions before it.
    let mut before: Vec<String> = Vec::new();
    for file in ["binlog.000001", "binlog.000002"] {
        let events: Vec<Row> = db.conn.query(format!("SHOW BINLOG EVENTS IN '{file}'")).await.unwrap();
        for event in events {
            let (kind, offset): (String, u64) = (event.get("Event_type").unwrap(), event.get("Pos").unwrap());
            let position = source.position(&StartAt::At(format!("{file}:{offset}"))).await;
            if !["Gtid", "Gtid_tagged_log_event"].contains(&&*kind) {
                let is_between = ["Rotate", "Stop", "Previous_gtids", "Format_desc"].contains(&&*kind);
                assert_eq!(position.is_ok(), is_between, "{kind} at {file}:{offset}: {position:?}");
                continue;
            }
            let sum = format!("SELECT REPLACE(GTID_SUBTRACT('{}', ''), '\\n', '')", before.join(","));
            assert_eq!(position.unwrap().as_str(), format!("gtid:{}", db.text(&sum).await), "{file}:{offset}");
            let info: String = event.get("Info").unwrap();
            before.push(info.split('\'').nth(1).unwrap().to_owned());
        }
    }
    assert_eq!(before.len(), 8);
    let end: Row = db.conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
    let end = format!("{}:{}", end.get::<String, _>("File").unwrap(), end.get::<u64, _>("Position").unwrap());
    assert_eq!(source.position(&StartAt::At(end)).await.unwrap(), now);
    for wrong in ["binlog.000001:5", "binlog.000001:99999999", "binlog.000099:4", "nonsense", ""] {
        assert!(source.position(&StartAt::At(wrong.to_owned())).await.is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn f11_tagged_gtids_are_told_and_resumed() {
    let (_guard, mut db) = with_gtids("history_tags").await;
    let uuid = uuid(&mut db).await;
    let mut stream = db.follow(&["t"]).await;
    insert(&mut db, 1).await;
    db.run("SET gtid_next = 'AUTOMATIC:a_longer_tag_1'").await;
    insert(&mut db, 2).await;
    db.run("FLUSH LOGS").await;
    insert(&mut db, 1).await;
    db.run("SET gtid_next = 'AUTOMATIC'").await;
    insert(&mut db, 1).await;
    let mut names = Vec::new();
    let mut checkpoints = Vec::new();
    while names.len() < 5 {
        let behind = read(&mut stream, 1).await.pop().unwrap();
        let origin = stream.batch.last_origin().unwrap();
        assert!(origin.committed_at_micros > 1_700_000_000_000_000, "{origin:?}");
        names.push(origin.transaction_name.as_deref().unwrap().to_owned());
        checkpoints.push(behind);
    }
    let tagged = |number: u32| format!("{uuid}:a_longer_tag_1:{number}");
    assert_eq!(names, [format!("{uuid}:2"), tagged(1), tagged(2), tagged(3), format!("{uuid}:3")]);
    for (done, from) in checkpoints.iter().enumerate() {
        let mut rest = db.follow_from(from, &["t"]).await.unwrap();
        for name in &names[done + 1..] {
            read(&mut rest, 1).await;
            assert_eq!(rest.batch.last_origin().unwrap().transaction_name.as_deref().unwrap(), name);
        }
    }
    assert!(checkpoints[4].mark.position.as_str().starts_with(&format!("gtid:{}@", executed(&mut db).await)));
}

#[tokio::test]
async fn f11_a_set_of_any_length_is_kept() {
    let (_guard, mut db) = with_gtids("history_long").await;
    for number in 0..300 {
        db.run(&format!("SET gtid_next = '3e11fa47-71ca-11e1-9e33-c80aa9429562:{}'", number * 2 + 1)).await;
        db.run_all(&["BEGIN", "COMMIT"]).await;
    }
    db.run("SET gtid_next = 'AUTOMATIC'").await;
    let from = db.checkpoint(&StartAt::Now).await;
    assert!(from.mark.position.as_str().len() > 1024);
    assert_eq!(from.mark.position.as_str(), format!("gtid:{}", executed(&mut db).await));
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    insert(&mut db, 1).await;
    let behind = read(&mut stream, 1).await.pop().unwrap();
    insert(&mut db, 1).await;
    read(&mut db.follow_from(&behind, &["t"]).await.unwrap(), 1).await;
}

#[tokio::test]
async fn f09_purged_transactions_are_lost() {
    let (_guard, mut db) = with_gtids("history_purged").await;
    let from = db.checkpoint(&StartAt::Now).await;
    insert(&mut db, 2).await;
    let behind = db.checkpoint(&StartAt::Now).await;
    db.run("FLUSH LOGS").await;
    db.purge_to("binlog.000002").await;
    insert(&mut db, 1).await;
    let uuid = uuid(&mut db).await;
    must_be_lost(&db, &from, &["purged", &format!("{uuid}:2-3")]).await;
    read(&mut db.follow_from(&behind, &["t"]).await.unwrap(), 1).await;
    let earliest = db.checkpoint(&StartAt::Earliest).await;
    assert_eq!(earliest.mark.position.as_str(), format!("gtid:{uuid}:1-3"));
    read(&mut db.follow_from(&earliest, &["t"]).await.unwrap(), 1).await;
}

#[tokio::test]
async fn transactions_that_the_server_never_had_are_lost() {
    let (_guard, mut db) = with_gtids("history_reset").await;
    insert(&mut db, 3).await;
    let from = db.checkpoint(&StartAt::Now).await;
    db.run("RESET BINARY LOGS AND GTIDS").await;
    insert(&mut db, 1).await;
    let uuid = uuid(&mut db).await;
    must_be_lost(&db, &from, &["never had", &format!("{uuid}:2-4")]).await;
}

/// A transaction is delivered before it counts as executed. Whoever opens again at once must not be told that it is lost.
#[tokio::test]
async fn what_was_delivered_but_is_not_executed_yet_is_not_lost() {
    let (_guard, mut db) = with_gtids("history_delivered").await;
    db.run_all(&["SET GLOBAL sync_binlog = 0", "SET GLOBAL binlog_group_commit_sync_delay = 300000"]).await;
    let mut stream = db.follow(&["t"]).await;
    let name = db.name.clone();
    let mut writer = Database::on_existing(&db.server, &name).await;
    let writing = tokio::spawn(async move { insert(&mut writer, 8).await });
    let mut early = 0;
    for _ in 0..8 {
        let from = read(&mut stream, 1).await.pop().unwrap();
        let set = from.mark.position.as_str().strip_prefix("gtid:").unwrap().split('@').next().unwrap().to_owned();
        let is_executed = db.text(&format!("SELECT GTID_SUBSET('{set}', @@gtid_executed)")).await;
        early += usize::from(is_executed == "0");
        stream = db.follow_from(&from, &["t"]).await.unwrap();
    }
    writing.await.unwrap();
    db.run_all(&["SET GLOBAL sync_binlog = 1", "SET GLOBAL binlog_group_commit_sync_delay = 0"]).await;
    assert!(early > 0, "no transaction was delivered early: this run proves nothing");
}

const TO_ANONYMOUS: [&str; 2] = ["SET GLOBAL gtid_mode = ON_PERMISSIVE", "SET GLOBAL gtid_mode = OFF_PERMISSIVE"];
const TO_NAMED: [&str; 2] = ["SET GLOBAL gtid_mode = ON_PERMISSIVE", "SET GLOBAL gtid_mode = ON"];

#[tokio::test]
async fn f12_transactions_without_gtid_stop_a_stream_by_gtid() {
    let (_guard, mut db) = with_gtids("history_mode").await;
    let mut stream = db.follow(&["t"]).await;
    insert(&mut db, 1).await;
    db.run(TO_ANONYMOUS[0]).await;
    insert(&mut db, 1).await;
    // In this mode transactions still get names, so nothing is wrong yet.
    let from = read(&mut stream, 2).await.pop().unwrap();
    db.run(TO_ANONYMOUS[1]).await;
    insert(&mut db, 1).await;
    let error = stream.error().await;
    let opened = db.follow_from(&from, &["t"]).await.err().unwrap();
    db.run_all(&TO_NAMED).await;
    insert(&mut db, 1).await;
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert_eq!(opened.kind(), ErrorKind::Refused, "{opened}");
    assert!(opened.to_string().contains("gtid_mode"), "{opened}");
    // What was written in between has no place in a GTID set: nothing behind it is read, however often it is tried.
    for _ in 0..2 {
        let error = match db.follow_from(&from, &["t"]).await {
            Ok(mut stream) => stream.error().await,
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.advice().is_some(), "{error}");
    }
}

/// A position by file and offset goes through all modes while somebody writes; so the checkpoint behind each transaction does.
#[tokio::test]
async fn f12_files_and_offsets_go_through_every_gtid_mode() {
    let (_guard, mut db) = with_files("files_mode").await;
    db.run("SET GLOBAL enforce_gtid_consistency = ON").await;
    let mut stream = db.follow(&["t"]).await;
    let mut modes = vec!["SET GLOBAL gtid_mode = OFF_PERMISSIVE", TO_NAMED[0], TO_NAMED[1]];
    modes.extend(TO_ANONYMOUS.iter().chain(&["SET GLOBAL gtid_mode = OFF"]));
    let mut checkpoints = Vec::new();
    let mut names = Vec::new();
    insert(&mut db, 1).await;
    checkpoints.extend(read(&mut stream, 1).await);
    for mode in &modes {
        db.run(mode).await;
        insert(&mut db, 1).await;
        checkpoints.extend(read(&mut stream, 1).await);
        names.push(stream.batch.last_origin().unwrap().transaction_name.clone());
        // A stream that begins anew in this mode reads what follows.
        let from = &checkpoints[checkpoints.len() - 2];
        let again = read(&mut db.follow_from(from, &["t"]).await.unwrap(), 1).await;
        assert_eq!(again[0], checkpoints[checkpoints.len() - 1], "after {mode}");
    }
    db.run("SET GLOBAL enforce_gtid_consistency = OFF").await;
    let named = names.iter().filter(|name| name.is_some()).count();
    assert_eq!((named, names.len()), (3, 6), "ON_PERMISSIVE, ON and ON_PERMISSIVE give names: {names:?}");
    // A server that gives no names any more sends none of those that have one.
    for (done, from) in checkpoints.iter().enumerate() {
        match db.follow_from(from, &["t"]).await {
            Ok(mut rest) if done >= 4 => {
                assert_eq!(read(&mut rest, 6 - done).await, checkpoints[done + 1..], "{from:?}")
            }
            Ok(mut rest) => {
                let error = rest.error().await;
                assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("GTID_MODE"), "{error}");
            }
            Err(error) => panic!("{from:?}: {error}"),
        }
    }
}

#[tokio::test]
async fn files_and_offsets_serve_without_gtids() {
    let (_guard, mut db) = with_files("files_follow").await;
    let from = db.checkpoint(&StartAt::Now).await;
    assert!(from.mark.position.as_str().starts_with("file:binlog.000001:"), "{}", from.mark.position);
    insert(&mut db, 2).await;
    db.run("FLUSH LOGS").await;
    insert(&mut db, 2).await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let mut checkpoints = vec![from];
    checkpoints.extend(read(&mut stream, 4).await);
    assert_eq!(stream.batch.last_origin().unwrap().transaction_name, None);
    assert!(
        checkpoints[4].mark.position.as_str().starts_with("file:binlog.000002:"),
        "{}",
        checkpoints[4].mark.position
    );
    assert_eq!(checkpoints[4].mark.transactions, 104);
    for (done, from) in checkpoints.iter().enumerate() {
        let mut rest = db.follow_from(from, &["t"]).await.unwrap();
        let again = read(&mut rest, 4 - done).await;
        assert_eq!(again, checkpoints[done + 1..], "from {from:?}");
    }
    let earliest = checkpoint(&db.source(), &StartAt::Earliest).await.unwrap();
    assert_eq!(earliest.mark.position.as_str(), "file:binlog.000001:4");
    let end: Row = db.conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
    let place = format!("{}:{}", end.get::<String, _>("File").unwrap(), end.get::<u64, _>("Position").unwrap());
    let at = db.source().position(&StartAt::At(place.clone())).await.unwrap();
    assert_eq!(at, Position::new(&format!("file:{place}")));
}

#[tokio::test]
async fn a_transaction_without_gtid_is_resumed_in_its_middle() {
    let (_guard, mut db) = with_files("files_split").await;
    let from = db.checkpoint(&StartAt::Now).await;
    db.run("INSERT INTO t (c) VALUES ('a'), ('b'), ('c')").await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let end = stream.next_within(BatchLimits { records_max: 2, ..LIMITS }).await.unwrap();
    let BatchEnd::MidTransaction { mark, split } = end else { panic!("{end:?}") };
    let from = Checkpoint { epoch: Epoch(3), mark, split: Some(split) };
    let mut rest = db.follow_from(&from, &["t"]).await.unwrap();
    rest.next().await.unwrap();
    assert_eq!((rest.batch.len(), rest.batch.records()[0].row), (1, 4));
}

#[tokio::test]
async fn mixed_engines_arrive_as_the_server_logs_them() {
    let (_guard, mut db) = with_files("files_engines").await;
    db.run("CREATE TABLE m (id INT PRIMARY KEY) ENGINE = MyISAM").await;
    let mut stream = db.follow(&["t", "m"]).await;
    db.run_all(&["START TRANSACTION", "INSERT INTO t (c) VALUES ('x')", "INSERT INTO m VALUES (7)", "ROLLBACK"]).await;
    stream.next().await.unwrap();
    let schemas: Vec<&str> = stream.batch.schemas().iter().map(|schema| &*schema.name().table).collect();
    assert_eq!((stream.batch.len(), schemas), (1, vec!["m"]), "the row in MyISAM stays, the other never was");
}

#[tokio::test]
async fn f10_files_that_are_gone_cut_or_another_are_lost() {
    let (_guard, mut db) = with_files("files_lost").await;
    insert(&mut db, 1).await;
    let from = db.checkpoint(&StartAt::Now).await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    insert(&mut db, 1).await;
    let mut known = read(&mut stream, 1).await.pop().unwrap();
    drop(stream);
    db.run("FLUSH LOGS").await;
    db.purge_to("binlog.000002").await;
    must_be_lost(&db, &from, &["binlog.000001", "binlog.000002"]).await;
    let begun: u64 = known.mark.position.as_str().rsplit_once('@').unwrap().1.parse().unwrap();
    while db.text("SELECT UNIX_TIMESTAMP()").await.parse::<u64>().unwrap() <= begun {}
    db.run("RESET BINARY LOGS AND GTIDS").await;
    must_be_lost(&db, &known, &["binlog.000001"]).await;
    // The file of the same name grows past the position: the last transactions tell them apart, and the second in which it was begun.
    insert(&mut db, 20).await;
    must_be_lost(&db, &known, &["not the one that was captured"]).await;
    known.mark.position = Position::new(known.mark.position.as_str());
    must_be_lost(&db, &known, &["another time"]).await;
}

#[tokio::test]
async fn a_position_of_a_newer_version_is_refused() {
    let (_guard, db) = with_files("files_newer").await;
    let mut from = db.checkpoint(&StartAt::Now).await;
    from.mark.position = Position::new("hlc:1:2");
    let error = db.follow_from(&from, &["t"]).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

/// Transactions are counted by GTIDs; bytes only where the position tells its place in a file that encloses it.
#[tokio::test]
async fn what_lies_behind_is_counted() {
    let (_guard, mut db) = with_gtids("behind").await;
    let source = db.source();
    let start = source.state(None).await.unwrap();
    assert!(start.server.starts_with("MySQL ") && start.end.as_str().starts_with("gtid:"), "{start:?}");
    let behind = async |from: &Position| {
        let state = source.state(Some(from)).await.unwrap();
        (state.transactions_behind, state.bytes_behind)
    };
    assert_eq!(behind(&start.end).await, (Some(0), Some(0)));
    for id in 0..5 {
        db.run(&format!("INSERT INTO t VALUES ({}, REPEAT('x', 1000))", id + 1)).await;
    }
    let (transactions, bytes) = behind(&start.end).await;
    assert_eq!(transactions, Some(5));
    assert!(bytes.is_some_and(|bytes| (5_000..20_000).contains(&bytes)), "{bytes:?}");
    let (set, place) = start.end.as_str().split_once('@').unwrap();
    assert_eq!(behind(&Position::new(set)).await, (Some(5), None), "a set alone says nothing of bytes");
    let file = Position::new(&format!("file:{place}"));
    assert_eq!(behind(&file).await, (None, bytes), "a file says nothing of transactions");
    // In the next file, bytes of both are counted; a place in it that the set does not reach is another server's.
    db.run("FLUSH BINARY LOGS").await;
    db.run("INSERT INTO t VALUES (9, 'x')").await;
    let (transactions, more) = behind(&start.end).await;
    assert!(transactions == Some(6) && more > bytes, "{more:?} after {bytes:?}");
    let newest: Row = db.conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
    let newest: String = newest.get(0).unwrap();
    assert_eq!(behind(&Position::new(&format!("{set}@{newest}:157"))).await, (Some(6), None));
    db.run(&format!("PURGE BINARY LOGS TO '{newest}'")).await;
    let lost = source.state(Some(&start.end)).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::PositionLost, "{lost}");
}

/// The server's clock, and nothing that is written later can be of that second.
async fn moment(db: &mut Database) -> i64 {
    let micros: i64 = db.text("SELECT FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000000)").await.parse().unwrap();
    while db.text("SELECT UNIX_TIMESTAMP()").await.parse::<i64>().unwrap() <= micros / 1_000_000 {}
    micros
}

#[tokio::test]
async fn a_start_at_a_time_is_the_first_transaction_committed_then_or_later() {
    let (_guard, mut db) = with_gtids("history_time").await;
    let uuid = uuid(&mut db).await;
    let source = db.source();
    let start = async |micros: i64| source.position(&StartAt::Since(micros)).await;
    moment(&mut db).await;
    let begun = moment(&mut db).await;
    insert(&mut db, 2).await;
    let between = moment(&mut db).await;
    insert(&mut db, 1).await;
    db.run("FLUSH BINARY LOGS").await;
    insert(&mut db, 1).await;
    let in_second_file = moment(&mut db).await;
    db.run("FLUSH BINARY LOGS").await;
    insert(&mut db, 2).await;
    moment(&mut db).await;
    let end = moment(&mut db).await;
    assert_eq!(start(begun).await.unwrap().as_str(), format!("gtid:{uuid}:1"));
    assert_eq!(start(between).await.unwrap().as_str(), format!("gtid:{uuid}:1-3"));
    assert_eq!(start(in_second_file).await.unwrap().as_str(), format!("gtid:{uuid}:1-5"));
    assert_eq!(start(end).await.unwrap().as_str(), format!("gtid:{uuid}:1-7"), "behind everything");
    // Of two moments of one transaction the earlier has it, the later does not.
    let from = checkpoint(&source, &StartAt::Since(between)).await.unwrap();
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    read(&mut stream, 1).await;
    let committed = stream.batch.last_origin().unwrap().committed_at_micros;
    assert_eq!(start(committed).await.unwrap().as_str(), format!("gtid:{uuid}:1-3"));
    assert_eq!(start(committed + 1).await.unwrap().as_str(), format!("gtid:{uuid}:1-4"));
    let future = start(end + 3_600_000_000).await.unwrap_err();
    assert!(future.to_string().contains("in the future"), "{future}");
    let past = start(begun - 3_600_000_000).await.unwrap_err();
    assert_eq!(past.kind(), ErrorKind::PositionLost, "{past}");
    db.purge_to("binlog.000003").await;
    assert_eq!(start(between).await.unwrap_err().kind(), ErrorKind::PositionLost);
    let problems = source.check_start(&StartAt::Since(between)).await.unwrap();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["source_start"], "{problems:?}");
    assert_eq!(source.check_start(&StartAt::Since(end)).await.unwrap(), []);
}

#[tokio::test]
async fn a_start_at_a_time_is_a_file_and_an_offset_without_gtids() {
    let (_guard, mut db) = with_files("files_time").await;
    moment(&mut db).await;
    insert(&mut db, 1).await;
    let between = moment(&mut db).await;
    let end: Row = db.conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
    insert(&mut db, 1).await;
    let place = format!("file:{}:{}", end.get::<String, _>("File").unwrap(), end.get::<u64, _>("Position").unwrap());
    let from = checkpoint(&db.source(), &StartAt::Since(between)).await.unwrap();
    assert_eq!(from.mark.position.as_str(), place);
    read(&mut db.follow_from(&from, &["t"]).await.unwrap(), 1).await;
}
