//! What can't be followed ends the stream by name; what only looks like it does not.

use mysql_async::prelude::Queryable;
use tailrace_contract::{Error, ErrorKind, StartAt};

use super::{alone, is_version_11, shared};
use crate::{
    ddl::{corpus, next_change, oracle},
    harness::{Database, LIMITS},
};

async fn refused(db: &mut Database, statements: &[&str]) -> Error {
    let mut stream = db.follow(&["t"]).await;
    db.run_all(statements).await;
    stream.error().await
}

#[tokio::test]
async fn the_corpus_is_what_mariadb_makes_of_it() {
    let mut db = shared("maria_corpus").await;
    let known = [corpus::Server::Mariadb, corpus::Server::Both];
    oracle::check_corpus(&mut db, if is_version_11() { &known[..1] } else { &known }).await;
}

#[tokio::test]
async fn a_table_replaced_with_its_rows_stops_and_what_only_looks_like_it_does_not() {
    let mut db = shared("maria_statements").await;
    db.run_all(&["CREATE TABLE t (id INT PRIMARY KEY, c INT)", "CREATE TABLE u (id INT PRIMARY KEY)"]).await;
    let error =
        refused(&mut db, &["CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, c INT) SELECT 1 AS id, 2 AS c"]).await;
    assert_eq!(error.kind(), ErrorKind::TableFailed, "{error}");
    assert!(error.to_string().contains("inside of a transaction") && error.advice().is_some(), "{error}");
    let mut stream = db.follow(&["t"]).await;
    db.run_all(&[
        "CREATE SEQUENCE s",
        "DO NEXTVAL(s)",
        "DROP SEQUENCE s",
        "CREATE TABLE copy SELECT * FROM t",
        "CREATE OR REPLACE TABLE copy (id INT PRIMARY KEY) SELECT 5 AS id",
        "ALTER TABLE copy WAIT 5 ADD COLUMN d INT",
        "ANALYZE TABLE t",
        "INSERT INTO t VALUES (77, 7)",
    ])
    .await;
    stream.next().await.unwrap();
    assert_eq!(stream.batch.len(), 1);
}

/// Logged in two parts, of which only the second one changes something.
#[tokio::test]
async fn an_alter_in_two_phases_is_told_once_and_one_that_failed_never() {
    let mut db = shared("maria_two_phases").await;
    db.run_all(&[
        "SET SESSION binlog_alter_two_phase = ON",
        "CREATE TABLE t (id INT PRIMARY KEY, c INT)",
        "INSERT INTO t VALUES (1, 1), (2, 1)",
    ])
    .await;
    let mut stream = db.follow(&["t"]).await;
    db.conn.query_drop("ALTER TABLE t ADD UNIQUE (c), ALGORITHM=COPY").await.unwrap_err();
    db.run("INSERT INTO t VALUES (3, 1)").await;
    stream.next().await.unwrap();
    db.run_all(&["ALTER TABLE t ADD COLUMN d INT, ALGORITHM=COPY", "INSERT INTO t VALUES (4, 1, 1)"]).await;
    assert_eq!(corpus::shown(&next_change(&mut stream).await.1.acts), "+d=NULL");
    stream.next().await.unwrap();
    assert_eq!(stream.batch.schemas()[0].columns().len(), 3);
}

/// The server does not list the databases that a statement writes, so this one would stop the streams of all other tests.
#[tokio::test]
async fn a_change_that_mariadb_logs_as_a_statement_stops() {
    let (_guard, mut db) = alone("maria_as_statement").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, c INT)").await;
    let statements =
        ["SET binlog_format = 'STATEMENT'", "USE mysql", "INSERT INTO maria_as_statement.t VALUES (9, 4711)"];
    let error = refused(&mut db, &statements).await;
    assert!(error.to_string().contains("INSERT") && !error.to_string().contains("4711"), "{error}");
}

/// BINARY(16) and UUID look alike in the binlog: only the dictionary tells, and it may be older or newer than the rows.
#[tokio::test]
async fn columns_that_look_alike_are_told_apart_by_the_dictionary() {
    let mut db = shared("maria_dictionary").await;
    db.run("CREATE TABLE t (id BINARY(16) PRIMARY KEY, c BINARY(4))").await;
    let from = db.checkpoint(&StartAt::Now).await;
    let mut stream = db.follow_from(&from, &["t", "later", "gone"]).await.unwrap();
    db.run("INSERT INTO t VALUES (REPEAT('a', 16), 'b')").await;
    stream.next().await.unwrap();

    db.run_all(&["CREATE TABLE later (id BINARY(16) PRIMARY KEY)", "INSERT INTO later VALUES ('x')"]).await;
    let error = stream.error().await;
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    let mut stream = db.follow_from(&from, &["t", "later", "gone"]).await.unwrap();
    let mut rows = 0;
    while rows < 2 {
        stream.next().await.unwrap();
        rows += stream.batch.len();
    }

    db.run_all(&[
        "CREATE TABLE gone (id UUID PRIMARY KEY)",
        "INSERT INTO gone VALUES (UUID())",
        "RENAME TABLE gone TO elsewhere",
    ])
    .await;
    let error = db.follow_from(&from, &["gone"]).await.unwrap().error().await;
    assert_eq!(error.kind(), ErrorKind::TableFailed, "{error}");
    assert!(error.to_string().contains("no longer says which"), "{error}");
}

/// Rows are read as what their column was when they were written, wherever the dictionary and the statements tell it.
#[tokio::test]
async fn f22_rows_before_an_alteration_are_not_read_by_todays_dictionary() {
    let mut db = shared("maria_altered").await;
    db.run_all(&[
        "CREATE TABLE t (id INT PRIMARY KEY, c UUID, d INET4)",
        "CREATE TABLE u (id INT PRIMARY KEY, c INET4)",
        "CREATE TABLE v (id INT PRIMARY KEY, c UUID)",
    ])
    .await;
    let from = db.checkpoint(&StartAt::Now).await;
    db.run_all(&[
        "INSERT INTO t VALUES (1, UUID(), '1.2.3.4')",
        "INSERT INTO u VALUES (1, '1.2.3.4')",
        "INSERT INTO v VALUES (1, UUID())",
        "ALTER TABLE t ADD e INET6, RENAME COLUMN d TO f",
        "INSERT INTO t VALUES (2, UUID(), '1.2.3.4', '::1')",
        "SET SESSION binlog_alter_two_phase = ON",
        "ALTER TABLE t DROP e, ADD g BINARY(4), ALGORITHM=COPY",
        "INSERT INTO t VALUES (3, UUID(), '1.2.3.4', 'abcd')",
        "TRUNCATE TABLE t",
        "INSERT INTO t VALUES (4, UUID(), NULL, 'abcd')",
        "ALTER TABLE v MODIFY c BINARY(16)",
        "RENAME TABLE u TO u2, u2 TO u3",
        "CREATE TABLE u (id INT PRIMARY KEY, c BINARY(4))",
        "INSERT INTO u VALUES (2, 'abcd')",
    ])
    .await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    for expect in ["c Uuid d Inet4", "c Uuid f Inet4 e Inet6", "c Uuid f Inet4 g Bytes", "c Uuid f Inet4 g Bytes"] {
        while stream.batch.is_empty() || stream.batch.records().is_empty() {
            stream.batch.clear();
            stream.inner.read_batch(&mut stream.batch, LIMITS).await.unwrap();
        }
        let columns = stream.batch.schemas()[0].columns()[1..].iter().map(|column| {
            let name = format!("{:?}", column.column_type);
            format!("{} {}", column.name, name.split(' ').next().unwrap())
        });
        assert_eq!(columns.collect::<Vec<_>>().join(" "), expect);
        stream.batch.clear();
    }
    for table in ["u", "v"] {
        let error = db.follow_from(&from, &[table]).await.unwrap().next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TableFailed, "{table}: {error}");
        assert!(error.to_string().contains("no longer says which"), "{table}: {error}");
    }
    let mut stream = db.follow(&["t", "v"]).await;
    db.run("INSERT INTO v VALUES (2, 'b')").await;
    stream.next().await.unwrap();
}

/// Numbers that went back must not make a table that is gone look like one that is still to come: the stream would be opened
/// again and again.
#[tokio::test]
async fn a_table_that_is_gone_ends_the_stream_whatever_the_numbers_say() {
    let (_guard, mut db) = alone("maria_gone").await;
    db.run_all(&["SET GLOBAL gtid_strict_mode = OFF", "CREATE TABLE t (id INT PRIMARY KEY, c UUID)"]).await;
    let from = db.checkpoint(&StartAt::Now).await;
    db.run_all(&[
        "INSERT INTO t VALUES (1, UUID())",
        "RENAME TABLE t TO elsewhere",
        "SET server_id = 2, gtid_seq_no = 1",
        "CREATE TABLE other (id INT PRIMARY KEY)",
    ])
    .await;
    assert!(db.text("SELECT @@GLOBAL.gtid_binlog_pos").await.contains("0-2-1"));
    let error = db.follow_from(&from, &["t"]).await.unwrap().error().await;
    db.run_all(&["SET server_id = 1", "RESET MASTER", "SET GLOBAL gtid_strict_mode = ON"]).await;
    assert_eq!(error.kind(), ErrorKind::TableFailed, "{error}");
    assert!(error.to_string().contains("no longer says which"), "{error}");
}
