//! What a read holds on the server, and for how long; and what becomes of a reader when something happens to its table.

use std::time::Duration;

use mysql_async::prelude::Queryable;
use tailrace_contract::{ErrorKind, ReadLimits, Rows};
use tailrace_row::RecordBatch;

use super::{LIMITS, open, origin, read};
use crate::harness::Database;

const ONE: ReadLimits = ReadLimits { rows_max: 1, ..LIMITS };

async fn table(name: &str, definition: &str) -> Database {
    let mut db = Database::new(name).await;
    db.run(&format!("CREATE TABLE t (id INT PRIMARY KEY, {definition})")).await;
    db.run("INSERT INTO t (id) VALUES (1), (2), (3), (4), (5)").await;
    db
}

/// Waits until so many statements of the test's database wait for the table's lock.
pub(super) async fn until_waiting(db: &mut Database, statements: u32) {
    let name = db.name.clone();
    let query = format!(
        "SELECT COUNT(*) FROM information_schema.processlist WHERE (db = '{name}' OR info LIKE '%`{name}`%') AND state LIKE 'Waiting for table metadata%'"
    );
    for _ in 0..600 {
        if db.conn.query_first::<u32, _>(&query).await.unwrap() == Some(statements) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing waits for the lock of {name}.t");
}

/// A queued ALTER would keep everybody from the table.
#[tokio::test]
async fn an_idle_reader_holds_nothing_and_a_read_its_table() {
    let mut db = table("reader_holds", "n INT").await;
    let (schema, mut reader) = open(&db, "t").await;
    let bound = reader.bound(None, 2).await.unwrap();
    let until = bound.as_ref();
    assert_eq!(read(&mut *reader, &schema, Rows::Range { after: None, until }).await.unwrap().len(), 2);
    // The server gives an ALTER that must wait up after a second.
    db.run("SET lock_wait_timeout = 1").await;
    db.run("ALTER TABLE t COMMENT 'altered beside an idle reader'").await;
    let (_, mut reader) = open(&db, "t").await;
    reader.read(Rows::ALL).await.unwrap();
    let mut batch = RecordBatch::new();
    assert!(reader.fill(&mut batch, &origin(), ONE).await.unwrap());
    let mut other = Database::on_existing(&db.server, &db.name).await;
    let altering = tokio::spawn(async move { other.run("ALTER TABLE t ADD m INT").await });
    until_waiting(&mut db, 1).await;
    while reader.fill(&mut batch, &origin(), LIMITS).await.unwrap() {}
    assert_eq!(batch.len(), 5);
    altering.await.unwrap();
    let error = reader.read(Rows::ALL).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::Transient, Some(&db.table("t"))), "{error}");
    open(&db, "t").await;
}

/// A change that only the dictionary knows: the rows keep their numbers, which mean other members.
#[tokio::test]
async fn a_table_that_was_altered_gives_no_row() {
    let mut db = table("reader_altered", "e ENUM('a', 'b') DEFAULT 'b'").await;
    for change in
        ["MODIFY e ENUM('a', 'b', 'c') DEFAULT 'b'", "RENAME COLUMN e TO f", "DROP COLUMN f", "RENAME TO gone"]
    {
        let (_, mut reader) = open(&db, "t").await;
        db.run(&format!("ALTER TABLE t {change}")).await;
        if change.starts_with("RENAME TO") {
            assert!(reader.read(Rows::ALL).await.is_err(), "{change}");
        } else {
            let error = reader.read(Rows::ALL).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient, "{change}: {error}");
        }
    }
}

/// Generated and invisible columns are read, as the binlog has them; and a number behind a YEAR keeps its sign.
#[tokio::test]
async fn every_column_is_read() {
    let mut db = Database::new("reader_columns").await;
    db.run(
        "CREATE TABLE t (id INT PRIMARY KEY, y YEAR DEFAULT 2024, n INT, v INT AS (n * 2) VIRTUAL, hidden VARCHAR(9) INVISIBLE, \
         s VARCHAR(20) AS (CONCAT(n, hidden)) STORED, `a``b` INT)",
    )
    .await;
    let mut stream = db.follow(&["t"]).await;
    db.run("INSERT INTO t (id, n, hidden, `a``b`) VALUES (1, -5, 'x', 7), (2, NULL, NULL, NULL)").await;
    stream.next().await.unwrap();
    let batch = &stream.batch;
    let expected: Vec<Vec<u8>> =
        batch.records().iter().map(|record| batch.after(record).unwrap().bytes().to_vec()).collect();
    let (schema, mut reader) = open(&db, "t").await;
    assert_eq!(schema, batch.schemas()[0]);
    let found = read(&mut *reader, &schema, Rows::ALL).await.unwrap();
    assert_eq!(found.into_iter().map(|(_, image)| image).collect::<Vec<_>>(), expected);
}

/// What another transaction has not committed is not read, whatever the account's sessions begin with.
#[tokio::test]
async fn uncommitted_rows_are_not_read() {
    let mut db = table("reader_uncommitted", "n INT").await;
    let (schema, mut reader) = open(&db, "t").await;
    db.run("BEGIN").await;
    db.run("DELETE FROM t WHERE id < 3").await;
    db.run("INSERT INTO t VALUES (9, 9)").await;
    assert_eq!(read(&mut *reader, &schema, Rows::ALL).await.unwrap().len(), 5);
    db.run("ROLLBACK").await;
}

#[tokio::test]
async fn estimates_follow_the_servers_statistics() {
    let mut db = table("reader_estimate", "n INT").await;
    db.run("ANALYZE TABLE t").await;
    let (_, mut reader) = open(&db, "t").await;
    assert_eq!(reader.estimate().await.unwrap(), 5);
    db.run("INSERT INTO t (id) VALUES (6), (7)").await;
    db.run("ANALYZE TABLE t").await;
    assert_eq!(reader.estimate().await.unwrap(), 7, "not what the dictionary remembers");
}
