//! What can't be followed yet ends the stream by name, and what looks like it but concerns nobody does not.
//!
//! Some of these events end every stream of their server, so they have a server of their own, and one test at a time.

use std::sync::Arc;

use mysql_async::{Conn, prelude::Queryable};
use tailrace_contract::{BatchEnd, Error, ErrorKind, Source, StartAt, TableFilter, TablePattern};
use tokio::sync::{Mutex, MutexGuard};

use crate::harness::{Database, LIMITS, Stream, admin, server};

static ALONE: Mutex<()> = Mutex::const_new(());

async fn alone(name: &str) -> (MutexGuard<'static, ()>, Database) {
    let guard = ALONE.lock().await;
    let mut db = Database::on(server("source-odd"), name).await;
    db.run_all(&["CREATE TABLE t (id INT PRIMARY KEY, c INT)", "CREATE TABLE other (id INT PRIMARY KEY, c INT)"]).await;
    (guard, db)
}

/// Nothing before the end may have been handed over, and after `reset` the position behind it goes on.
async fn must_refuse(db: &mut Database, stream: &mut Stream, kind: ErrorKind, words: &[&str]) -> Error {
    let error = loop {
        stream.batch.clear();
        match stream.inner.read_batch(&mut stream.batch, LIMITS).await {
            Ok(end) => assert!(stream.batch.is_empty() || matches!(end, BatchEnd::Idle(_)), "{end:?} hands over rows"),
            Err(error) => break error,
        }
    };
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    if kind == ErrorKind::TableFailed {
        assert_eq!(error.table().map(|table| &*table.database), Some(&*db.name), "{text}");
    }
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(!text.contains("4711"), "no row value in: {text}");
    assert!(error.advice().is_some(), "no hint in: {text}");
    error
}

/// The stream goes on and brings the one row that is written last.
async fn must_go_on(db: &mut Database, stream: &mut Stream) {
    db.run("DELETE FROM t WHERE id = 1000").await;
    stream.drain().await;
    db.run("INSERT INTO t VALUES (1000, 1)").await;
    stream.next().await.unwrap();
    assert_eq!(stream.batch.len(), 1);
}

#[tokio::test]
async fn a_captured_database_that_goes_stops() {
    let (_guard, mut db) = alone("odd_drop").await;
    let filter = Arc::new(TableFilter { patterns: vec![TablePattern::Database(db.name.as_str().into())] });
    let inner = db.source().open(&db.checkpoint(&StartAt::Now).await, filter).await.unwrap();
    let mut stream = Stream { inner, batch: tailrace_row::RecordBatch::new() };
    db.run("DROP DATABASE odd_drop").await;
    let error = must_refuse(&mut db, &mut stream, ErrorKind::Refused, &["DROP DATABASE", "odd_drop"]).await;
    let behind = error.advice().unwrap().rsplit_once(' ').unwrap().1.to_owned();
    db.run_all(&["CREATE DATABASE odd_drop", "USE odd_drop", "CREATE TABLE t (id INT PRIMARY KEY, c INT)"]).await;
    let from = db.checkpoint(&StartAt::At(behind)).await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    crate::ddl::next_change(&mut stream).await;
    must_go_on(&mut db, &mut stream).await;
}

#[tokio::test]
async fn ddl_that_concerns_no_captured_table_goes_on() {
    let (_guard, mut db) = alone("odd_other_ddl").await;
    let mut stream = db.follow(&["t"]).await;
    db.run_all(&[
        "ALTER TABLE other ADD COLUMN d INT",
        "CREATE TABLE child (id INT PRIMARY KEY, t INT, FOREIGN KEY (t) REFERENCES t (id))",
        "ALTER TABLE child DROP FOREIGN KEY child_ibfk_1",
        "CREATE INDEX i ON t (c)",
        "DROP INDEX i ON t",
        "ANALYZE TABLE t",
        "OPTIMIZE TABLE t",
        "CREATE VIEW v AS SELECT * FROM t",
        "DROP VIEW v",
        "CREATE PROCEDURE p() TRUNCATE t",
        "DROP PROCEDURE p",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.c = 5",
        "DROP TRIGGER tr",
        "CREATE USER IF NOT EXISTS odd_user IDENTIFIED BY 'x'",
        "GRANT SELECT ON t TO odd_user",
        "DROP USER odd_user",
        "CREATE TEMPORARY TABLE temp (id INT)",
        "DROP TEMPORARY TABLE temp",
        "CREATE TABLE copied AS SELECT * FROM other",
        "RENAME TABLE copied TO renamed",
        "TRUNCATE other",
        "DROP TABLE child, renamed",
        "CREATE DATABASE odd_second",
        "DROP DATABASE odd_second",
        "FLUSH LOGS",
    ])
    .await;
    must_go_on(&mut db, &mut stream).await;
    let schema = Arc::clone(&stream.batch.schemas()[0]);
    assert_eq!(schema, db.source().tables(&db.filter(&["t"])).await.unwrap()[0]);
}

#[tokio::test]
async fn a_table_made_by_create_select_arrives_as_rows() {
    let (_guard, mut db) = alone("odd_create_select").await;
    db.run_all(&["INSERT INTO other VALUES (1, 2), (3, 4)"]).await;
    let mut stream = db.follow(&["made"]).await;
    db.run("CREATE TABLE made (PRIMARY KEY (id)) AS SELECT * FROM other").await;
    let end = stream.next().await.unwrap();
    assert!(matches!(end, BatchEnd::TransactionEnd(_)), "{end:?}");
    assert_eq!(stream.batch.len(), 2);
}

#[tokio::test]
async fn changes_in_statement_format_stop_in_a_captured_database() {
    let (_guard, mut db) = alone("odd_statement").await;
    db.run("DROP DATABASE IF EXISTS odd_elsewhere").await;
    db.run_all(&["CREATE DATABASE odd_elsewhere", "CREATE TABLE odd_elsewhere.t (id INT PRIMARY KEY, c INT)"]).await;
    let mut stream = db.follow(&["t"]).await;
    db.run_all(&[
        "SET binlog_format = STATEMENT",
        "INSERT INTO odd_elsewhere.t VALUES (1, 4711)",
        "SET binlog_format = ROW",
    ])
    .await;
    must_go_on(&mut db, &mut stream).await;
    db.run_all(&["SET binlog_format = STATEMENT", "INSERT INTO t VALUES (2, 4711)", "SET binlog_format = ROW"]).await;
    must_refuse(&mut db, &mut stream, ErrorKind::TableFailed, &["INSERT", "digest"]).await;
    let mut stream = db.follow(&["t"]).await;
    db.run_all(&["SET binlog_format = STATEMENT", "INSERT INTO other VALUES (3, 4711)", "SET binlog_format = ROW"])
        .await;
    must_refuse(&mut db, &mut stream, ErrorKind::Refused, &["INSERT", "odd_statement"]).await;
}

/// F13: a statement on a table of another database that changes a captured one all the same.
#[tokio::test]
async fn statements_that_reach_a_captured_table_from_elsewhere_stop() {
    let (_guard, mut db) = alone("odd_reached").await;
    db.run("DROP DATABASE IF EXISTS odd_reaching").await;
    db.run_all(&[
        "CREATE DATABASE odd_reaching",
        "CREATE TABLE odd_reaching.t (id INT PRIMARY KEY, c INT)",
        "CREATE TABLE odd_reaching.plain (id INT PRIMARY KEY, c INT)",
        "CREATE TABLE odd_reaching.parent (id INT PRIMARY KEY)",
        "CREATE TRIGGER odd_reaching.tr AFTER INSERT ON odd_reaching.t FOR EACH ROW \
         INSERT INTO odd_reached.t VALUES (NEW.id, NEW.c)",
        "CREATE FUNCTION odd_reaching.f(n INT) RETURNS INT DETERMINISTIC MODIFIES SQL DATA \
         BEGIN INSERT INTO odd_reached.t VALUES (n, 4711); RETURN n; END",
        "CREATE TABLE child (id INT PRIMARY KEY, parent INT, \
         FOREIGN KEY (parent) REFERENCES odd_reaching.parent (id) ON DELETE CASCADE)",
        "INSERT INTO odd_reaching.parent VALUES (1)",
        "INSERT INTO child VALUES (1, 1)",
    ])
    .await;
    for statement in [
        "INSERT INTO odd_reaching.t VALUES (10, 4711)",
        "INSERT INTO odd_reaching.plain VALUES (20, odd_reaching.f(20))",
        "DELETE FROM odd_reaching.parent",
    ] {
        let count = async |db: &mut Database| {
            let rows: Option<(i64, i64)> = db
                .conn
                .query_first("SELECT (SELECT COUNT(*) FROM odd_reached.t), (SELECT COUNT(*) FROM odd_reached.child)")
                .await
                .unwrap();
            rows.unwrap()
        };
        let before = count(&mut db).await;
        let mut stream = db.follow(&["t", "child"]).await;
        db.run_all(&["SET binlog_format = STATEMENT", statement, "SET binlog_format = ROW"]).await;
        assert_ne!(count(&mut db).await, before, "{statement} reached nothing");
        let verb = statement.split(' ').next().unwrap();
        let error = stream.error().await;
        // The statement may name a table that has a captured one's name.
        assert!(matches!(error.kind(), ErrorKind::Refused | ErrorKind::TableFailed), "{statement}: {error}");
        let text = error.to_string();
        assert!(text.contains(verb) && text.contains("odd_reached"), "{statement}: {text}");
        assert!(stream.batch.is_empty(), "{statement}: rows came");
    }
}

#[tokio::test]
async fn rows_without_names_stop_where_nobody_knows_them() {
    let (_guard, mut db) = alone("odd_minimal").await;
    let from = db.checkpoint(&StartAt::Now).await;
    let source = db.source();
    let filter = db.filter(&["t"]);
    let inner = source.open(&from, Arc::clone(&filter)).await.unwrap();
    let mut stream = Stream { inner, batch: tailrace_row::RecordBatch::new() };
    db.run_all(&["SET GLOBAL binlog_row_metadata = MINIMAL", "INSERT INTO other VALUES (1, 1)"]).await;
    db.run_all(&["INSERT INTO t VALUES (1, 4711)", "ALTER TABLE t DROP c, ADD c INT FIRST"]).await;
    db.run("SET GLOBAL binlog_row_metadata = FULL").await;
    let error = stream.error().await;
    assert_eq!(error.kind(), ErrorKind::Transient, "the dictionary is not asked before it is needed: {error}");
    let inner = source.open(&from, filter).await.unwrap();
    let mut stream = Stream { inner, batch: tailrace_row::RecordBatch::new() };
    must_refuse(&mut db, &mut stream, ErrorKind::TableFailed, &["binlog_row_metadata", "altered"]).await;
}

#[tokio::test]
async fn tables_that_can_not_be_captured_are_refused_in_the_dictionary_and_in_the_stream() {
    let (_guard, mut db) = alone("odd_tables").await;
    for (table, columns, insert, words) in [
        ("keyless", "id INT, UNIQUE (id)", "(1)", "primary key"),
        ("nullable", "id INT NULL, UNIQUE (id), KEY (id)", "(1)", "primary key"),
    ] {
        db.run(&format!("CREATE TABLE {table} ({columns})")).await;
        let error = db.source().tables(&db.filter(&["t", table])).await.unwrap_err();
        assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&db.table(table))), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        let mut stream = db.follow(&["t", table]).await;
        db.run(&format!("INSERT INTO {table} VALUES {insert}")).await;
        must_refuse(&mut db, &mut stream, ErrorKind::TableFailed, &[words]).await;
        let mut stream = db.follow(&["t"]).await;
        db.run(&format!("DELETE FROM {table}")).await;
        must_go_on(&mut db, &mut stream).await;
        db.run("DELETE FROM t").await;
    }
}

#[tokio::test]
async fn whole_databases_are_captured_with_tables_that_come_later() {
    let (_guard, mut db) = alone("odd_pattern").await;
    let filter = Arc::new(TableFilter { patterns: vec![TablePattern::Database(db.name.as_str().into())] });
    let from = db.checkpoint(&StartAt::Now).await;
    let inner = db.source().open(&from, filter).await.unwrap();
    let mut stream = Stream { inner, batch: tailrace_row::RecordBatch::new() };
    db.run_all(&["CREATE TABLE later (id INT PRIMARY KEY)", "INSERT INTO later VALUES (1)"]).await;
    stream.next().await.unwrap();
    assert_eq!(&*stream.batch.schemas()[0].name().table, "later");
}

#[tokio::test]
async fn an_incident_stops() {
    let (_guard, mut db) = alone("odd_incident").await;
    let mut second = Conn::new(admin(&db.server)).await.unwrap();
    // The server writes one when a statement changed a table without transactions and did not fit into its cache.
    db.run("CREATE TABLE m (id INT PRIMARY KEY AUTO_INCREMENT, c LONGBLOB) ENGINE = MyISAM").await;
    second.query_drop("SET GLOBAL max_binlog_stmt_cache_size = 4096").await.unwrap();
    let mut writer = Conn::new(admin(&db.server)).await.unwrap();
    let mut stream = db.follow(&["t"]).await;
    let failed =
        writer.query_drop("INSERT INTO odd_incident.m (c) VALUES (REPEAT('x', 3000000)), (REPEAT('y', 3000000))").await;
    second.query_drop("SET GLOBAL max_binlog_stmt_cache_size = DEFAULT").await.unwrap();
    assert!(failed.is_err(), "the statement fits into the cache");
    must_refuse(&mut db, &mut stream, ErrorKind::Refused, &["incident"]).await;
}
