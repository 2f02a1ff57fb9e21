//! E07: a server that lost transactions which were delivered, and gave their names to others, is told from the one that was read.
//!
//! Each test has its servers for itself: they are stopped, killed, and get an older copy of their data.

use std::{path::Path, process::Command};

use lab::{Mariadb, Mysql, Server};
use mysql_async::{Row, prelude::Queryable};
use tailrace_contract::{BatchEnd, BatchLimits, Checkpoint, Error, ErrorKind, Position, StartAt};
use tailrace_row::Epoch;

use crate::harness::{Database, LIMITS, Stream};

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, c LONGTEXT)";

/// Reads so many rows, one transaction at a time, and returns the checkpoint behind the last.
async fn read(stream: &mut Stream, rows: usize) -> Checkpoint {
    let mut seen = 0;
    loop {
        let end = stream.next_within(BatchLimits { records_max: 1, ..LIMITS }).await.unwrap();
        seen += stream.batch.len();
        if let BatchEnd::TransactionEnd(mark) = end
            && seen >= rows
        {
            return Checkpoint { epoch: Epoch(3), mark, split: None };
        }
    }
}

async fn insert(db: &mut Database, values: &[&str]) {
    for value in values {
        db.run(&format!("INSERT INTO t (c) VALUES ('{value}')")).await;
    }
}

async fn must_be_lost(db: &Database, from: &Checkpoint, words: &[&str]) -> Error {
    let error = db.follow_from(from, &["t"]).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    assert!(error.advice().is_some(), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
    error
}

/// The server's data as it is now, beside it. The server must be down.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{copied}");
}

/// Takes the server back to a moment before its last transactions, as a machine that crashed before it wrote them to its disk,
/// and goes on as if nothing had been. Returns the checkpoint behind them, and a connection to the server.
async fn lose_a_tail(server: &Server, mut db: Database) -> (Checkpoint, Database) {
    let (data, saved) = (server.data(), server.folder().join("saved"));
    db.run(TABLE).await;
    let mut stream = db.follow(&["t"]).await;
    insert(&mut db, &["kept 1", "kept 2"]).await;
    let kept = read(&mut stream, 2).await;
    let name = db.name.clone();
    let mysql = db.server.clone();
    server.stop().unwrap();
    copy(&data, &saved);
    server.start().unwrap();
    let mut db = Database::on_existing(&mysql, &name).await;
    // A restart alone changes nothing.
    let mut stream = db.follow_from(&kept, &["t"]).await.unwrap();
    insert(&mut db, &["lost 1", "lost 2"]).await;
    let behind = read(&mut stream, 2).await;
    drop(stream);
    server.kill().unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&saved, &data).unwrap();
    server.start().unwrap();
    let mut db = Database::on_existing(&mysql, &name).await;
    // As long as it has written nothing else, there is nothing of that name.
    must_be_lost(&db, &behind, &[]).await;
    // What was read before is still what the server has.
    drop(db.follow_from(&kept, &["t"]).await.unwrap());
    insert(&mut db, &["other 1", "other 2", "other 3", "other 4"]).await;
    assert_eq!(db.text("SELECT COUNT(*) FROM t WHERE c LIKE 'lost%'").await, "0", "nothing was lost");
    (behind, db)
}

/// What a position says before its file and offset.
fn names(from: &Checkpoint) -> &str {
    from.mark.position.as_str().split_once(':').unwrap().1.split('@').next().unwrap()
}

#[tokio::test]
async fn e07_a_lost_tail_whose_gtids_were_given_to_others_is_noticed() {
    let server = Mysql::fresh("witness-tail", &["--sync-binlog=0"]).unwrap();
    let db = Database::on(server.clone(), "e07").await;
    let (behind, mut db) = lose_a_tail(&server, db).await;
    let set = names(&behind);
    let contains = db.text(&format!("SELECT GTID_SUBSET('{set}', @@gtid_executed)")).await;
    assert_eq!(contains, "1", "the server's set does not contain ours: this run proves nothing");
    let (uuid, last) = (set.split(':').next().unwrap(), set.rsplit(['-', ':']).next().unwrap());
    let last: u64 = last.parse().unwrap();
    for lost in [last - 1, last] {
        must_be_lost(&db, &behind, &[&format!("{uuid}:{lost} (binlog."), "is one committed at"]).await;
    }
    // A checkpoint of a version without witness still loads; nobody can tell then.
    let mut blind = behind.clone();
    blind.mark.position = Position::new(behind.mark.position.as_str());
    drop(db.follow_from(&blind, &["t"]).await.unwrap());

    // The same by statements, on a server that was not restarted.
    let from = db.checkpoint(&StartAt::Now).await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    insert(&mut db, &["a", "b"]).await;
    let behind = read(&mut stream, 2).await;
    drop(stream);
    let set = names(&behind).to_owned();
    let last: u64 = set.rsplit('-').next().unwrap().parse().unwrap();
    let before = db.text(&format!("SELECT REPLACE(GTID_SUBTRACT('{set}', '{uuid}:{last}'), '\\n', '')")).await;
    db.run_all(&["RESET BINARY LOGS AND GTIDS", &format!("SET GLOBAL gtid_purged = '{before}'")]).await;
    insert(&mut db, &["c", "d", "e"]).await;
    assert_eq!(db.text(&format!("SELECT GTID_SUBSET('{set}', @@gtid_executed)")).await, "1");
    must_be_lost(&db, &behind, &[&format!("{uuid}:{last} "), "is one committed at"]).await;
    server.remove().unwrap();
}

#[tokio::test]
async fn e07_a_lost_tail_is_noticed_by_file_and_offset() {
    let options = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF", "--sync-binlog=0"];
    let server = Mysql::fresh("witness-files", &options).unwrap();
    let db = Database::on(server.clone(), "e07").await;
    let (behind, mut db) = lose_a_tail(&server, db).await;
    let place = behind.mark.position.as_str().strip_prefix("file:").unwrap().split('@').next().unwrap().to_owned();
    let (file, offset) = place.rsplit_once(':').unwrap();
    let sizes: Vec<(String, u64, String)> = db.conn.query("SHOW BINARY LOGS").await.unwrap();
    let grown = sizes.iter().any(|(name, size, _)| name == file && *size > offset.parse().unwrap());
    assert!(grown, "{place} has not grown back: this run proves nothing: {sizes:?}");
    must_be_lost(&db, &behind, &["not the one that was captured", &format!("{file}:"), "is one committed at"]).await;
    // A file that is gone proves nothing, and the one behind it proves enough.
    let mut stream = db.follow(&["t"]).await;
    insert(&mut db, &["a"]).await;
    read(&mut stream, 1).await;
    db.run("FLUSH BINARY LOGS").await;
    let behind = idle_in_the_next_file(&mut stream, file).await;
    drop(stream);
    let newest: Row = db.conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
    db.purge_to(&newest.get::<String, _>(0).unwrap()).await;
    drop(db.follow_from(&behind, &["t"]).await.unwrap());
    server.remove().unwrap();
}

/// The checkpoint of a stream that has read a file to its end.
async fn idle_in_the_next_file(stream: &mut Stream, file: &str) -> Checkpoint {
    for _ in 0..100 {
        stream.batch.clear();
        let end = stream.inner.read_batch(&mut stream.batch, LIMITS).await.unwrap();
        if !end.mark().position.as_str().contains(file) {
            return Checkpoint { epoch: Epoch(3), mark: end.mark().clone(), split: None };
        }
    }
    panic!("the next file was never begun");
}

#[tokio::test]
async fn e07_a_lost_tail_of_mariadb_is_noticed() {
    let server = Mariadb::fresh("witness-tail", &["--sync-binlog=0"]).unwrap();
    let db = Database::on(server.clone(), "e07").await;
    let (behind, mut db) = lose_a_tail(&server, db).await;
    let position = names(&behind).to_owned();
    let (front, last) = position.rsplit_once('-').unwrap();
    let logged = db.text("SELECT @@GLOBAL.gtid_binlog_pos").await;
    let last: u64 = last.parse().unwrap();
    let now: u64 = logged.rsplit('-').next().unwrap().parse().unwrap();
    assert!(now > last, "{logged} is not behind {position}: this run proves nothing");
    for lost in [last - 1, last] {
        must_be_lost(&db, &behind, &[&format!("{front}-{lost} (binlog.")]).await;
    }
    server.remove().unwrap();
}

/// What happens to a source while its replica follows: all kinds of transactions whose bytes a replica writes anew.
const LIFE: &[&str] = &[
    "INSERT INTO t (c) VALUES ('one')",
    "INSERT INTO t (c) VALUES (REPEAT('x', 30000)), (REPEAT('y', 30000)), ('z')",
    "UPDATE t SET c = CONCAT(c, '!')",
    "ALTER TABLE t ADD COLUMN d INT",
    "BEGIN",
    "DELETE FROM t WHERE id = 1",
    "INSERT INTO t (c, d) VALUES ('two', 2)",
    "CREATE TEMPORARY TABLE tmp (id INT)",
    "UPDATE t SET d = 3",
    "COMMIT",
    "CREATE TABLE other (id INT PRIMARY KEY, v BLOB)",
    "INSERT INTO other SELECT id, c FROM t",
];

/// Follows the source through its life, and opens each position that it comes to on the replica.
async fn follow_both(db: &mut Database, replica: &Database, caught_up: &str) -> Checkpoint {
    db.run(TABLE).await;
    let mut stream = db.follow(&["t", "other"]).await;
    let mut positions = Vec::new();
    for statement in LIFE {
        db.run(statement).await;
    }
    db.run("INSERT INTO t (c) VALUES ('the last')").await;
    loop {
        stream.batch.clear();
        match stream.inner.read_batch(&mut stream.batch, BatchLimits { records_max: 1, ..LIMITS }).await.unwrap() {
            BatchEnd::TransactionEnd(mark) | BatchEnd::SchemaChange { mark, .. } => positions.push(mark),
            BatchEnd::MidTransaction { .. } => {}
            BatchEnd::Idle(mark) => {
                positions.push(mark);
                break;
            }
        }
    }
    assert!(positions.len() > 6, "{positions:?}");
    wait_caught_up(db, replica, caught_up).await;
    for mark in &positions {
        let from = Checkpoint { epoch: Epoch(3), mark: mark.clone(), split: None };
        drop(replica.follow_from(&from, &["t", "other"]).await.unwrap());
    }
    let mark = positions.pop().unwrap();
    Checkpoint { epoch: Epoch(3), mark, split: None }
}

async fn wait_caught_up(db: &mut Database, replica: &Database, variable: &str) {
    let wanted = db.text(&format!("SELECT REPLACE(@@GLOBAL.{variable}, '\\n', '')")).await;
    let mut conn = Database::on_existing(&replica.server, "mysql").await;
    for _ in 0..600 {
        if conn.text(&format!("SELECT REPLACE(@@GLOBAL.{variable}, '\\n', '')")).await == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the replica never came to {wanted}");
}

#[tokio::test]
async fn e07_a_promoted_replica_is_known_by_its_last_transactions() {
    let source = Mysql::fresh("witness-source", &[]).unwrap();
    let server = Mysql::fresh("witness-replica", &["--server-id=2", "--binlog-transaction-compression=ON"]).unwrap();
    let mut db = Database::on(source.clone(), "e07").await;
    db.run("RESET BINARY LOGS AND GTIDS").await;
    let mut conn = Database::on_existing(&server, "mysql").await;
    conn.run_all(&[
        "RESET BINARY LOGS AND GTIDS",
        &format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'root', \
         SOURCE_PASSWORD = '{}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
            source.port().unwrap(),
            lab::ADMIN_PASSWORD
        ),
        "START REPLICA",
    ])
    .await;
    db.run("CREATE DATABASE e07_replicated").await;
    let mut db = Database::on_existing(&source, "e07_replicated").await;
    wait_caught_up(&mut db, &conn, "gtid_executed").await;
    let replica = Database::on_existing(&server, "e07_replicated").await;
    let behind = follow_both(&mut db, &replica, "gtid_executed").await;

    // A replica that has another transaction of the last one's name, and one that no longer has it.
    let set = names(&behind).to_owned();
    let (uuid, last) = (set.split(':').next().unwrap(), set.rsplit('-').next().unwrap());
    let before = conn.text(&format!("SELECT REPLACE(GTID_SUBTRACT('{set}', '{uuid}:{last}'), '\\n', '')")).await;
    conn.run_all(&[
        "STOP REPLICA",
        "RESET BINARY LOGS AND GTIDS",
        &format!("SET GLOBAL gtid_purged = '{before}'"),
        &format!("SET gtid_next = '{uuid}:{last}'"),
        "INSERT INTO e07_replicated.t (c) VALUES ('another')",
        "SET gtid_next = 'AUTOMATIC'",
    ])
    .await;
    assert_eq!(conn.text(&format!("SELECT GTID_SUBSET('{set}', @@gtid_executed)")).await, "1");
    must_be_lost(&replica, &behind, &[&format!("{uuid}:{last} "), "is one committed at"]).await;
    conn.run("FLUSH BINARY LOGS").await;
    conn.purge_to("binlog.000002").await;
    must_be_lost(&replica, &behind, &[&format!("{uuid}:{last} "), "purged and can't be compared"]).await;
    source.remove().unwrap();
    server.remove().unwrap();
}

#[tokio::test]
async fn e07_a_promoted_replica_of_mariadb_is_known_by_its_last_transactions() {
    let source = Mariadb::fresh("witness-source", &[]).unwrap();
    let server = Mariadb::fresh("witness-replica", &["--server-id=2", "--log-slave-updates=ON"]).unwrap();
    let mut db = Database::on(source.clone(), "e07").await;
    db.run("RESET MASTER").await;
    let mut conn = Database::on_existing(&server, "mysql").await;
    conn.run_all(&["RESET MASTER", "SET GLOBAL gtid_slave_pos = ''", &format!(
        "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = 'root', MASTER_PASSWORD = '{}', \
         MASTER_USE_GTID = slave_pos", source.port().unwrap(), lab::ADMIN_PASSWORD
    ), "START SLAVE"]).await;
    db.run("CREATE DATABASE e07_replicated").await;
    let mut db = Database::on_existing(&source, "e07_replicated").await;
    wait_caught_up(&mut db, &conn, "gtid_binlog_pos").await;
    let replica = Database::on_existing(&server, "e07_replicated").await;
    let behind = follow_both(&mut db, &replica, "gtid_binlog_pos").await;

    // Another transaction of that name, stamped with the same second: only its rows tell it.
    let position = names(&behind).to_owned();
    let sequence: u64 = position.rsplit('-').next().unwrap().parse().unwrap();
    let stamped = behind.mark.position.witness().unwrap().rsplit(';').next().unwrap().to_owned();
    let micros: u64 = stamped.split('=').nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    conn.run_all(&[
        "STOP SLAVE",
        "RESET MASTER",
        "SET GLOBAL gtid_slave_pos = ''",
        "SET server_id = 1",
        &format!("SET gtid_seq_no = {}", sequence - 1),
        "CREATE TABLE e07_replicated.filler (id INT)",
        &format!("SET timestamp = {}", micros / 1_000_000),
        &format!("SET gtid_seq_no = {sequence}"),
        "INSERT INTO e07_replicated.t (c) VALUES ('another')",
    ])
    .await;
    assert_eq!(conn.text("SELECT @@GLOBAL.gtid_binlog_pos").await, position);
    must_be_lost(&replica, &behind, &[&format!("{position} "), "is another one there"]).await;
    source.remove().unwrap();
    server.remove().unwrap();
}
