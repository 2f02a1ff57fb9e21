//! What a start means, and what a checkpoint still means after the server's history was cut or reset.

use mysql_async::{Row, prelude::Queryable};
use tailrace_contract::{BatchEnd, Checkpoint, ErrorKind, Mark, Position, Source, StartAt};
use tailrace_row::Epoch;

use super::alone;
use crate::harness::{Database, checkpoint};

async fn fresh(name: &str) -> (tokio::sync::MutexGuard<'static, ()>, Database) {
    let (guard, mut db) = alone(name).await;
    db.run_all(&["RESET MASTER", "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, c INT)"]).await;
    (guard, db)
}

async fn insert(db: &mut Database, count: usize) {
    for _ in 0..count {
        db.run("INSERT INTO t (c) VALUES (1)").await;
    }
}

async fn start(db: &Database, text: &str) -> String {
    let start = match text {
        "now" => StartAt::Now,
        "earliest" => StartAt::Earliest,
        other => StartAt::At(other.to_owned()),
    };
    match db.source().position(&start).await {
        Ok(position) => position.as_str().to_owned(),
        Err(error) => format!("{:?}: {error}", error.kind()),
    }
}

fn at(position: &str) -> Checkpoint {
    let mark = Mark { position: Position::new(position), transactions: 9 };
    Checkpoint { epoch: Epoch(3), mark, split: None }
}

async fn must_be_lost(db: &Database, position: &str, words: &str) {
    // Some things the server finds only when it comes to them.
    let error = match db.follow_from(&at(position), &["t"]).await {
        Ok(mut stream) => stream.error().await,
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{position}: {error}");
    assert!(error.advice().is_some() && error.to_string().contains(words), "{position}: {error}");
}

#[tokio::test]
async fn a_start_at_mariadb_means_what_the_server_says() {
    let (_guard, mut db) = fresh("maria_start").await;
    insert(&mut db, 2).await;
    db.run("SET gtid_domain_id = 5").await;
    insert(&mut db, 1).await;
    db.run("FLUSH BINARY LOGS").await;
    insert(&mut db, 1).await;
    assert_eq!(start(&db, "now").await, "mariadb:0-1-3,5-1-2");
    assert_eq!(start(&db, "earliest").await, "mariadb:");
    assert_eq!(start(&db, "5-1-1,0-1-2").await, "mariadb:0-1-2,5-1-1");
    let events: Vec<Row> = db.conn.query("SHOW BINLOG EVENTS IN 'binlog.000002'").await.unwrap();
    let place = |kind: &str, which: usize| {
        let mut places = events.iter().filter(|event| event.get::<String, _>(2).unwrap() == kind);
        places.nth(which).map(|event| event.get::<u64, _>(1).unwrap()).unwrap()
    };
    let gtid = place("Gtid", 0);
    assert_eq!(start(&db, &format!("binlog.000002:{gtid}")).await, "mariadb:0-1-3,5-1-1");
    let inside = start(&db, &format!("binlog.000002:{}", place("Table_map", 0))).await;
    assert!(inside.starts_with("Refused") && inside.contains("no transaction begins"), "{inside}");
    let nowhere = start(&db, &format!("binlog.000002:{}", gtid + 1)).await;
    assert!(nowhere.starts_with("Refused") && nowhere.contains("no transaction begins"), "{nowhere}");
    let of_mysql = start(&db, "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5").await;
    assert!(of_mysql.starts_with("Refused") && of_mysql.contains("is one of MySQL"), "{of_mysql}");
    let error = db.follow_from(&at("gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"), &["t"]).await.err().unwrap();
    assert!(error.to_string().contains("the server is MariaDB"), "{error}");

    // From the earliest on, everything comes, in every domain.
    let from = checkpoint(&db.source(), &StartAt::Earliest).await.unwrap();
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let mut rows = 0;
    while rows < 4 {
        stream.next().await.unwrap();
        rows += stream.batch.len();
    }
    assert_eq!(rows, 4);
}

#[tokio::test]
async fn a_history_of_mariadb_that_is_not_ours_is_lost() {
    let (_guard, mut db) = fresh("maria_history").await;
    insert(&mut db, 3).await;
    must_be_lost(&db, "mariadb:0-1-9", "never had transactions that we captured: 0-1-9").await;
    must_be_lost(&db, "mariadb:0-2-3", "0-2-3").await;
    must_be_lost(&db, "mariadb:0-1-3,4-1-1", "captured: 4-1-1").await;
    // A number that the server passed over.
    db.run_all(&["SET gtid_seq_no = 10", "INSERT INTO t (c) VALUES (1)"]).await;
    must_be_lost(&db, "mariadb:0-1-7", "no longer has the binlog").await;
    // What comes next is purged; then nothing is left at all.
    db.run_all(&["FLUSH BINARY LOGS", "INSERT INTO t (c) VALUES (1)", "FLUSH BINARY LOGS"]).await;
    db.follow_from(&at("mariadb:0-1-3"), &["t"]).await.unwrap();
    let files: Vec<Row> = db.conn.query("SHOW BINARY LOGS").await.unwrap();
    let last: String = files.last().unwrap().get(0).unwrap();
    wait_purged(&mut db, &last).await;
    must_be_lost(&db, "mariadb:0-1-3", "no longer has the binlog").await;
    must_be_lost(&db, "mariadb:", "no longer has the binlog").await;
    db.follow_from(&at("mariadb:0-1-11"), &["t"]).await.unwrap();
    db.run("RESET MASTER").await;
    must_be_lost(&db, "mariadb:0-1-11", "never had").await;
}

/// A file that somebody still reads stays.
async fn wait_purged(db: &mut Database, until: &str) {
    for _ in 0..600 {
        db.run(&format!("PURGE BINARY LOGS TO '{until}'")).await;
        let files: Vec<Row> = db.conn.query("SHOW BINARY LOGS").await.unwrap();
        if files.len() == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the binlog is not purged");
}

#[tokio::test]
async fn mariadb_says_how_far_it_is_ahead() {
    let (_guard, mut db) = fresh("maria_lag").await;
    let source = db.source();
    let from = checkpoint(&source, &StartAt::Now).await.unwrap();
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    insert(&mut db, 1).await;
    let BatchEnd::TransactionEnd(mark) = stream.next().await.unwrap() else { panic!("no end of a transaction") };
    let state = source.state(Some(&mark.position)).await.unwrap();
    assert!(state.server.starts_with("MariaDB ") && state.end.as_str().starts_with("mariadb:"), "{state:?}");
    assert_eq!((state.transactions_behind, state.bytes_behind), (Some(0), Some(0)), "{state:?}");
    insert(&mut db, 2).await;
    db.run("SET gtid_domain_id = 5").await;
    insert(&mut db, 1).await;
    let state = source.state(Some(&mark.position)).await.unwrap();
    assert_eq!(state.transactions_behind, Some(3), "{state:?}");
    assert!(state.bytes_behind.unwrap() > 300, "{state:?}");
    let elsewhere = Position::new("mariadb:0-1-1@binlog.000001:4");
    assert_eq!(source.state(Some(&elsewhere)).await.unwrap().bytes_behind, None);
}

#[tokio::test]
async fn a_start_at_a_time_is_never_behind_it() {
    let (_guard, mut db) = fresh("maria_time").await;
    let source = db.source();
    let start = async |micros: i64| source.position(&StartAt::Since(micros)).await;
    insert(&mut db, 2).await;
    db.run("FLUSH BINARY LOGS").await;
    insert(&mut db, 1).await;
    let now = "SELECT FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000000)";
    let before: i64 = db.text(now).await.parse().unwrap();
    while db.text(now).await.parse::<i64>().unwrap() / 1_000_000 <= before / 1_000_000 {}
    // Its statement began an hour ago, so says its stamp; it is committed now.
    let moment: i64 = db.text(now).await.parse().unwrap();
    db.run(&format!("SET timestamp = {}", moment / 1_000_000 - 1800)).await;
    insert(&mut db, 1).await;
    db.run("SET timestamp = DEFAULT").await;
    insert(&mut db, 1).await;
    let from = start(moment).await.unwrap();
    assert_eq!(from.as_str(), "mariadb:0-1-3", "the file begins behind two rows and a table");
    let from = Checkpoint { epoch: Epoch(3), mark: Mark { position: from, transactions: 9 }, split: None };
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let mut rows = 0;
    while rows < 3 {
        stream.next().await.unwrap();
        rows += stream.batch.len();
    }
    assert_eq!(start(0).await.unwrap_err().kind(), ErrorKind::PositionLost);
}
