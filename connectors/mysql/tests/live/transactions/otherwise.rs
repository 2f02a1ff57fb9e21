//! Rows that no statement of a client's names: they arrive like others.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tailrace_contract::StartAt;
use tailrace_row::Operation::{Delete, Insert, Update};

use super::read;
use crate::positions;

/// Procedures, triggers, foreign keys that cascade, LOAD DATA, CREATE TABLE … SELECT.
#[tokio::test]
async fn rows_written_by_the_server_itself_arrive() {
    let (_guard, mut db) = positions::with_gtids("tx_otherwise").await;
    db.run_all(&[
        "DROP TABLE t",
        "CREATE TABLE t (id INT PRIMARY KEY, c TEXT)",
        "CREATE TABLE child (id INT PRIMARY KEY, c TEXT, FOREIGN KEY (id) REFERENCES t (id) ON DELETE CASCADE)",
        "CREATE TABLE noted (id INT PRIMARY KEY AUTO_INCREMENT, c TEXT)",
        "CREATE TRIGGER note AFTER UPDATE ON t FOR EACH ROW INSERT INTO noted (c) VALUES (NEW.c)",
        "CREATE PROCEDURE work() BEGIN INSERT INTO t VALUES (1, 'a'), (2, 'b'); UPDATE t SET c = 'x' WHERE id = 1; END",
        "SET GLOBAL local_infile = ON",
    ])
    .await;
    let from = db.checkpoint(&StartAt::Now).await;
    db.run("CALL work()").await;
    db.run("CREATE TABLE made (PRIMARY KEY (id)) AS SELECT * FROM t").await;
    db.conn
        .set_infile_handler(async { Ok(stream::iter([Ok(Bytes::from_static(b"7\tloaded\n8\t\xc3\xa9\n"))]).boxed()) });
    db.run("LOAD DATA LOCAL INFILE 'rows' INTO TABLE t CHARACTER SET utf8mb4").await;
    db.run_all(&["INSERT INTO child VALUES (2, 'child')", "DELETE FROM t WHERE id = 2"]).await;
    let mut stream = db.follow_from(&from, &["t", "noted", "made", "child"]).await.unwrap();
    let parts = read(&mut stream, 11, 1000).await;
    let seen = parts.iter().flat_map(|(seen, _)| seen).map(|seen| (seen.1, &*seen.2, seen.3, &*seen.4));
    let mut seen: Vec<_> = seen.collect();
    // Which of a cascade's rows comes first is the server's affair.
    seen[9..].sort_by_key(|row| row.1);
    assert_eq!(
        seen,
        [
            (Insert, "t", 1, "a"),
            (Insert, "t", 2, "b"),
            (Update, "t", 1, "x"),
            (Insert, "noted", 1, "x"),
            (Insert, "made", 1, "x"),
            (Insert, "made", 2, "b"),
            (Insert, "t", 7, "loaded"),
            (Insert, "t", 8, "é"),
            (Insert, "child", 2, "child"),
            (Delete, "child", 2, "child"),
            (Delete, "t", 2, "b"),
        ]
    );
}
