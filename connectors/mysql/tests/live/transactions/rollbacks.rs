//! Rows that the binlog holds and the source took back.

use tailrace_contract::{ErrorKind, StartAt};

use super::{check_resuming, read};
use crate::{
    harness::{Database, Stream},
    positions,
};

/// A server logs what it can't cut out of its cache: rows up to a savepoint, if a table without transactions was changed after
/// it; a whole transaction, if a temporary table was made in it.
pub(crate) async fn check_taken_back(mut db: Database) {
    db.run_all(&[
        "CREATE TABLE t (id INT PRIMARY KEY, c TEXT CHARACTER SET utf8mb4)",
        "CREATE TABLE m (id INT PRIMARY KEY, c TEXT CHARACTER SET utf8mb4) ENGINE=MyISAM",
    ])
    .await;
    let from = db.checkpoint(&StartAt::Now).await;
    db.run_all(&SAVEPOINT).await;
    db.run_all(&[
        "START TRANSACTION",
        "INSERT INTO t VALUES (10, 'never')",
        "CREATE TEMPORARY TABLE passing (id INT)",
        "INSERT INTO m VALUES (11, 'stays')",
        "INSERT INTO t VALUES (12, 'never')",
        "ROLLBACK",
        "INSERT INTO t VALUES (13, 'last')",
    ])
    .await;
    // The server's own tables say what must come.
    let expected =
        db.text("SELECT GROUP_CONCAT(id ORDER BY id) FROM (SELECT id FROM t UNION SELECT id FROM m) AS both_").await;
    assert_eq!(expected, "1,2,4,6,11,13");
    let mut stream = db.follow_from(&from, &["t", "m"]).await.unwrap();
    let parts = read(&mut stream, 6, 1000).await;
    let mut ids: Vec<i64> = parts.iter().flat_map(|(seen, _)| seen).map(|seen| seen.3).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 4, 6, 11, 13]);
    check_resuming(&db, &["t", "m"], &parts, 1000).await;
}

const SAVEPOINT: [&str; 11] = [
    "START TRANSACTION",
    "INSERT INTO t VALUES (1, 'kept')",
    "SAVEPOINT outer_",
    "INSERT INTO m VALUES (2, 'stays')",
    "INSERT INTO t VALUES (3, 'taken back')",
    "ROLLBACK TO outer_",
    "INSERT INTO t VALUES (4, 'kept')",
    "SAVEPOINT `In ner`",
    "INSERT INTO m VALUES (6, 'stays')",
    "ROLLBACK TO `in NER`",
    "COMMIT",
];

#[tokio::test]
async fn what_mysql_takes_back_never_comes() {
    let (_guard, mut db) = positions::with_files("tx_taken_back").await;
    db.run("DROP TABLE t").await;
    check_taken_back(db).await;
}

/// Nothing takes back what was handed over.
#[tokio::test]
async fn a_part_that_was_handed_over_and_is_taken_back_stops() {
    let mut db = Database::on(lab::Mariadb::up("source").unwrap(), "tx_handed_over").await;
    db.run_all(&[
        "CREATE TABLE t (id INT PRIMARY KEY, c TEXT CHARACTER SET utf8mb4)",
        "CREATE TABLE m (id INT PRIMARY KEY, c TEXT CHARACTER SET utf8mb4) ENGINE=MyISAM",
    ])
    .await;
    let from = db.checkpoint(&StartAt::Now).await;
    db.run_all(&[
        "START TRANSACTION",
        "INSERT INTO t VALUES (1, 'kept')",
        "SAVEPOINT s",
        "INSERT INTO m VALUES (2, 'stays')",
        "INSERT INTO t VALUES (3, 'taken back'), (5, 'taken back')",
        "ROLLBACK TO s",
        "INSERT INTO t VALUES (4, 'kept')",
        "COMMIT",
    ])
    .await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let parts = read(&mut stream, 2, 1).await;
    assert_eq!(parts.iter().map(|(seen, _)| seen[0].3).collect::<Vec<_>>(), [1, 3]);
    must_stop(&mut stream).await;
    // So it is from then on; where the rows before the savepoint are all that is in the log, the rest is as it should be.
    must_stop(&mut db.follow_from(&parts[1].1, &["t"]).await.unwrap()).await;
    let mut rest = db.follow_from(&parts[0].1, &["t"]).await.unwrap();
    assert_eq!(read(&mut rest, 1, 1000).await[0].0[0].3, 4);
}

/// The log ends behind the rollback: what was taken back is not in it, and nothing stands in the way.
#[tokio::test]
async fn a_transaction_goes_on_behind_what_was_taken_back() {
    let mut db = Database::on(lab::Mariadb::up("source").unwrap(), "tx_behind").await;
    db.run_all(&[
        "CREATE TABLE t (id INT PRIMARY KEY, c TEXT CHARACTER SET utf8mb4)",
        "CREATE TABLE m (id INT PRIMARY KEY, c TEXT CHARACTER SET utf8mb4) ENGINE=MyISAM",
    ])
    .await;
    let from = db.checkpoint(&StartAt::Now).await;
    db.run_all(&SAVEPOINT[..7]).await;
    db.run_all(&["INSERT INTO t VALUES (7, 'kept'), (8, 'kept'), (9, 'kept')", "COMMIT"]).await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let parts = read(&mut stream, 5, 4).await;
    assert_eq!(parts.iter().map(|(seen, _)| seen.len()).collect::<Vec<_>>(), [4, 1]);
    assert!(parts[0].1.split.is_some());
    check_resuming(&db, &["t"], &parts, 4).await;
}

async fn must_stop(stream: &mut Stream) {
    let error = stream.error().await;
    assert_eq!(
        (error.kind(), error.table().map(|table| &*table.table)),
        (ErrorKind::TableFailed, Some("t")),
        "{error}"
    );
    assert!(error.to_string().contains("took it back") && error.advice().is_some(), "{error}");
}
