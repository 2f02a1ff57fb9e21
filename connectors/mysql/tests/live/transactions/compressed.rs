//! MySQL's compressed transactions: the same records as without compression, from every place that may be saved.

use tailrace_contract::StartAt;

use super::{Seen, check_resuming, read};
use crate::harness::Database;

/// A transaction of some events of 8 KiB, one of a MiB, a savepoint, and rows of a table that is not captured.
const CHANGES: [&str; 9] = [
    "START TRANSACTION",
    "INSERT INTO t SELECT n, REPEAT(CHAR(97 + n % 26), n % 300) FROM numbers",
    "INSERT INTO other SELECT n FROM numbers",
    "SAVEPOINT s",
    "UPDATE t SET c = CONCAT(c, 'é😀') WHERE id % 7 = 0",
    "INSERT INTO t VALUES (-1, REPEAT('long', 300000))",
    "ROLLBACK TO s",
    "UPDATE t SET c = REPEAT('x', 1000000) WHERE id = 5",
    "DELETE FROM t WHERE id % 2 = 0",
];

const ROWS: usize = 900 + 1 + 450;

async fn changed(db: &mut Database, stream_from: &tailrace_contract::Checkpoint) -> Vec<Seen> {
    let mut stream = db.follow_from(stream_from, &["t"]).await.unwrap();
    read(&mut stream, ROWS, ROWS).await.into_iter().flat_map(|(seen, _)| seen).collect()
}

#[tokio::test]
async fn compressed_transactions_are_followed_and_resumed_in_their_middle() {
    let mut db = Database::new("tx_compressed").await;
    db.run_all(&[
        "CREATE TABLE numbers (n INT PRIMARY KEY)",
        "INSERT INTO numbers WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 900) SELECT n FROM r",
        "CREATE TABLE t (id INT PRIMARY KEY, c LONGTEXT CHARACTER SET utf8mb4)",
        "CREATE TABLE other (id INT PRIMARY KEY)",
    ])
    .await;
    let mut plain: Option<Vec<Seen>> = None;
    for level in [None, Some(3), Some(22)] {
        db.run_all(&["DELETE FROM t", "DELETE FROM other"]).await;
        let from = db.checkpoint(&StartAt::Now).await;
        if let Some(level) = level {
            db.run_all(&["SET binlog_transaction_compression = ON"]).await;
            db.run(&format!("SET binlog_transaction_compression_level_zstd = {level}")).await;
        }
        db.run_all(&CHANGES).await;
        db.run_all(&["COMMIT", "SET binlog_transaction_compression = OFF"]).await;
        let all = changed(&mut db, &from).await;
        assert!(all.is_sorted_by_key(|seen| seen.0));
        match &plain {
            None => plain = Some(all),
            Some(plain) => {
                let place = |seen: &Seen| (seen.0.event, seen.0.row, seen.1, seen.3, seen.4.clone());
                assert!(plain.iter().map(place).eq(all.iter().map(place)), "level {level:?}");
            }
        }
        if level == Some(3) {
            let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
            let parts = read(&mut stream, ROWS, 150).await;
            assert!(parts.len() >= 9 && parts[..8].iter().all(|(_, checkpoint)| checkpoint.split.is_some()));
            check_resuming(&db, &["t"], &parts, 150).await;
        }
    }
    assert!(is_compressed(&mut db).await, "the server compressed nothing");
}

/// Whether the newest file holds a compressed transaction.
async fn is_compressed(db: &mut Database) -> bool {
    use mysql_async::{Row, prelude::Queryable};
    let status: Row = db.conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
    let file: String = status.get(0).unwrap();
    let events: Vec<Row> = db.conn.query(format!("SHOW BINLOG EVENTS IN '{file}'")).await.unwrap();
    events.iter().any(|event| event.get::<String, _>(2).is_some_and(|kind| kind == "Transaction_payload"))
}
