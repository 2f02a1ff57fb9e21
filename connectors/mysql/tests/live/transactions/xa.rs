//! XA: rows come with the second phase, numbered as its own, from memory or from the binlog; rolled back ones never.

use std::time::Duration;

use mysql_async::{Conn, Row, prelude::Queryable};
use tailrace_contract::{BatchEnd, Checkpoint, ErrorKind, Position, StartAt};
use tailrace_row::Epoch;

use super::{Part, check_resuming, read};
use crate::{
    harness::{Database, Stream, admin},
    positions,
};

/// Runs a first phase in a session of its own, which ends then: so the server keeps it for anybody.
async fn prepare(db: &Database, name: &str, statements: &[&str]) {
    let mut session = Conn::new(admin(&db.server)).await.unwrap();
    let mut all = vec![format!("USE {}", db.name), format!("XA START {}", xid(db, name))];
    all.extend(statements.iter().map(ToString::to_string));
    all.extend([format!("XA END {}", xid(db, name)), format!("XA PREPARE {}", xid(db, name))]);
    for statement in &all {
        session.query_drop(statement).await.unwrap_or_else(|error| panic!("{error}: {statement}"));
    }
    session.disconnect().await.unwrap();
}

/// Names are the server's, not the database's.
fn xid(db: &Database, name: &str) -> String {
    format!("'{}', '{name}', 7", db.name)
}

/// Runs the second phase, as soon as the session of the first is gone.
async fn finish(db: &mut Database, how: &str, name: &str) {
    let statement = format!("XA {how} {}", xid(db, name));
    for _ in 0..1000 {
        if db.conn.query_drop(&statement).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{statement} is refused");
}

async fn tables(db: &mut Database) {
    db.run_all(&[
        "DROP TABLE IF EXISTS t",
        "CREATE TABLE t (id INT PRIMARY KEY, c LONGTEXT CHARACTER SET utf8mb4)",
        "CREATE TABLE other (id INT PRIMARY KEY)",
    ])
    .await;
}

/// Every way of XA beside plain transactions; then from every place that may be saved.
pub(crate) async fn check_phases(mut db: Database) {
    let is_mysql = db.server.flavor().scheme() == "mysql";
    tables(&mut db).await;
    // What is taken back leaves a lock on the gap before the next row.
    db.run("INSERT INTO t VALUES (60, 'there')").await;
    let from = db.checkpoint(&StartAt::Now).await;
    let mut live = db.follow_from(&from, &["t"]).await.unwrap();
    let long = "INSERT INTO t VALUES (3, REPEAT('long', 1000)), (4, 'four')";
    prepare(
        &db,
        "a",
        &[
            "INSERT INTO t VALUES (1, 'é'), (2, 'two')",
            "INSERT INTO other VALUES (1)",
            "SAVEPOINT s",
            "INSERT INTO t VALUES (50, 'taken back')",
            "ROLLBACK TO s",
            long,
        ],
    )
    .await;
    db.run("INSERT INTO t VALUES (100, 'between')").await;
    prepare(&db, "b", &["INSERT INTO t VALUES (70, 'rolled back')"]).await;
    prepare(&db, "foreign", &["INSERT INTO other VALUES (2)"]).await;
    finish(&mut db, "COMMIT", "foreign").await;
    finish(&mut db, "ROLLBACK", "b").await;
    db.run("INSERT INTO t VALUES (101, 'between')").await;
    finish(&mut db, "COMMIT", "a").await;
    db.run("FLUSH LOGS").await;
    if is_mysql {
        db.run("SET SESSION binlog_transaction_compression = ON").await;
    }
    let one_phase = format!(
        "XA START {0}; INSERT INTO t VALUES (6, 'one'), (7, 'phase'); XA END {0}; XA COMMIT {0} ONE PHASE",
        xid(&db, "c")
    );
    for statement in one_phase.split("; ") {
        db.run(statement).await;
    }
    if is_mysql {
        db.run("SET SESSION binlog_transaction_compression = OFF").await;
    }
    prepare(&db, "b", &["UPDATE t SET c = 'the name again' WHERE id = 1", "DELETE FROM t WHERE id = 2"]).await;
    db.run("INSERT INTO t VALUES (102, 'last but two')").await;
    finish(&mut db, "COMMIT", "b").await;

    let parts = read(&mut live, 11, 1).await;
    let seen: Vec<_> = parts.iter().map(|(seen, _)| (seen[0].3, seen[0].0)).collect();
    let ids: Vec<i64> = seen.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [100, 101, 1, 2, 3, 4, 6, 7, 102, 1, 2]);
    assert!(seen.is_sorted_by_key(|(_, sequence)| *sequence), "{seen:?}");
    let events: Vec<u32> = seen[2..6].iter().map(|(_, sequence)| sequence.event).collect();
    assert!(events[0] == 0 && events[1] == 0 && events[2] >= 2 && events[2] == events[3], "{events:?}");
    assert!(seen[2..6].iter().all(|(_, sequence)| sequence.transaction == seen[2].1.transaction), "one transaction");
    // Other tests may have prepared something too.
    let named: String = db.name.bytes().map(|byte| format!("{byte:02x}")).collect();
    let is_named = |part: &Part| part.1.mark.position.as_str().contains(&format!("7.{named}."));
    assert!(is_named(&parts[0]) && !is_named(&parts[10]), "{:?} … {:?}", parts[0], parts[10]);
    check_resuming(&db, &["t"], &parts, 1).await;
    check_resuming(&db, &["t"], &parts[1..], 100).await;
}

#[tokio::test]
async fn xa_comes_with_its_second_phase() {
    check_phases(Database::new("tx_xa").await).await;
}

#[tokio::test]
async fn xa_comes_with_its_second_phase_without_gtids() {
    let (_guard, db) = positions::with_files("tx_xa_files").await;
    check_phases(db).await;
}

/// More than is held in memory: the first phase is read again although it came in the same stream. And packed as one event.
#[tokio::test]
async fn a_large_first_phase_is_read_again() {
    let mut db = Database::new("tx_xa_large").await;
    tables(&mut db).await;
    let from = db.checkpoint(&StartAt::Now).await;
    let mut live = db.follow_from(&from, &["t"]).await.unwrap();
    for (compression, first) in [("OFF", 0), ("ON", 100)] {
        let insert: Vec<String> = (first..first + 20)
            .map(|id| format!("INSERT INTO t SELECT {id}, REPEAT(CHAR(97 + {id} % 26), 900000)"))
            .collect();
        let compress = format!("SET SESSION binlog_transaction_compression = {compression}");
        let mut session = Conn::new(admin(&db.server)).await.unwrap();
        session.query_drop(format!("USE {}", db.name)).await.unwrap();
        session.query_drop(compress).await.unwrap();
        let xid = xid(&db, "large");
        session.query_drop(format!("XA START {xid}")).await.unwrap();
        for statement in insert {
            session.query_drop(statement).await.unwrap();
        }
        for statement in [format!("XA END {xid}"), format!("XA PREPARE {xid}")] {
            session.query_drop(statement).await.unwrap();
        }
        session.disconnect().await.unwrap();
        db.run("INSERT INTO other VALUES (1)").await;
        db.run("DELETE FROM other").await;
        finish(&mut db, "COMMIT", "large").await;
    }
    let parts = read(&mut live, 40, 7).await;
    let ids: Vec<i64> = parts.iter().flat_map(|(seen, _)| seen).map(|seen| seen.3).collect();
    assert!(ids.iter().copied().eq((0..20).chain(100..120)), "{ids:?}");
    assert!(parts.iter().any(|(_, checkpoint)| checkpoint.split.is_some()));
    check_resuming(&db, &["t"], &parts[..3], 7).await;
}

/// E05: nobody knew of it when the stream began, and it is found in the binlog.
#[tokio::test]
async fn e05_what_was_prepared_before_the_start_is_found() {
    let (_guard, mut db) = positions::with_gtids("tx_xa_e05").await;
    tables(&mut db).await;
    prepare(&db, "early", &["INSERT INTO t VALUES (1, 'early'), (2, 'early')"]).await;
    db.run_all(&["FLUSH LOGS", "INSERT INTO other VALUES (1)", "FLUSH LOGS"]).await;
    let mut stream = db.follow(&["t"]).await;
    finish(&mut db, "COMMIT", "early").await;
    let parts = read(&mut stream, 2, 1).await;
    assert_eq!(parts.iter().map(|(seen, _)| seen[0].3).collect::<Vec<_>>(), [1, 2]);
    check_resuming(&db, &["t"], &parts, 1).await;
}

/// E05: what is gone from the binlog ends the stream, and says so; what is rolled back does not.
#[tokio::test]
async fn e05_a_first_phase_that_was_purged_ends_the_stream() {
    let (_guard, mut db) = positions::with_gtids("tx_xa_purged").await;
    tables(&mut db).await;
    let from = db.checkpoint(&StartAt::Now).await;
    prepare(&db, "kept", &["INSERT INTO t VALUES (1, 'x')"]).await;
    prepare(&db, "dropped", &["INSERT INTO t VALUES (2, 'x')"]).await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    db.run("INSERT INTO t VALUES (3, 'y')").await;
    let known = read(&mut stream, 1, 1).await.pop().unwrap().1;
    drop(stream);
    db.run("FLUSH LOGS").await;
    let newest: Row = db.conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
    let newest: String = newest.get(0).unwrap();
    db.run(&format!("PURGE BINARY LOGS TO '{newest}'")).await;
    let unknown = db.checkpoint(&StartAt::Now).await;
    finish(&mut db, "ROLLBACK", "dropped").await;
    finish(&mut db, "COMMIT", "kept").await;
    for (from, kind, words) in [
        (&known, ErrorKind::PositionLost, ["no longer has", "binlog.000001"]),
        (&unknown, ErrorKind::Refused, ["is not found", "X'74785f78615f707572676564',X'6b657074',7"]),
    ] {
        let error = db.follow_from(from, &["t"]).await.unwrap().error().await;
        assert_eq!(error.kind(), kind, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
        }
        assert!(error.advice().is_some(), "{error}");
    }
}

/// After a failover file and offset mean something else, and the GTID finds it.
#[tokio::test]
async fn a_first_phase_is_found_by_its_gtid_where_its_place_is_another() {
    let mut db = Database::new("tx_xa_moved").await;
    tables(&mut db).await;
    let from = db.checkpoint(&StartAt::Now).await;
    prepare(&db, "moved", &["INSERT INTO t VALUES (1, 'x'), (2, 'x')"]).await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    db.run("INSERT INTO t VALUES (3, 'y')").await;
    let known = read(&mut stream, 1, 1).await.pop().unwrap().1;
    finish(&mut db, "COMMIT", "moved").await;
    let text = known.mark.position.as_str();
    let (place, rest) = text.split_once(' ').unwrap();
    let (name, _) = place.split_once('@').unwrap();
    for (elsewhere, what) in [("4@gone.000009", "no such file"), ("4@binlog.000001", "something else there")] {
        let position = Position::new(&format!("{name}@{elsewhere} {rest}"));
        let mark = tailrace_contract::Mark { position, ..known.mark.clone() };
        let from = Checkpoint { epoch: Epoch(3), mark, split: None };
        let mut stream: Stream = db.follow_from(&from, &["t"]).await.unwrap();
        let end = stream.next().await.unwrap();
        assert!(stream.batch.len() == 2 && matches!(end, BatchEnd::TransactionEnd(_)), "{what}: {end:?}");
    }
}
