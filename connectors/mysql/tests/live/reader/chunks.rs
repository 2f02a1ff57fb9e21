//! Chunks beside a stream: what the stream has delivered is in them, although the server shows it late; and the stream reaches the
//! places that cover them, although nothing happens.
//!
//! The servers are slow on purpose. On MySQL half a second lies between the binlog and the commit. On MariaDB a commit waits in the same
//! place for a replica that there isn't. And their sessions begin with READ UNCOMMITTED.

use std::{sync::Arc, time::Duration};

use lab::{Mariadb, Mariadb11, Mysql, mysql::Flavor};
use mysql_async::{Conn, prelude::Queryable};
use tailrace_contract::{
    BatchEnd, Checkpoint, ChunkRange, ChunkReader, ErrorKind, Position, ReadLimits, Rows, Source as _, SourcePlace,
    StartAt,
};
use tailrace_row::{Key, RecordBatch, TableSchema, Value};
use tokio::sync::{Mutex, MutexGuard};

use super::{LIMITS, origin, read, take};
use crate::harness::{Database, LIMITS as BATCH, Stream, admin};

const WHOLE: ChunkRange<'static> = ChunkRange { after: None, until: None, rows_max: 1_000 };

const TABLE: &str = "CREATE TABLE t (id INT PRIMARY KEY)";

/// A server and who has it. Its tests wait for each other: they are about what happens when nothing else does.
type Alone = (MutexGuard<'static, ()>, Database);

async fn slow_mysql(name: &str) -> Alone {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let guard = ALONE.lock().await;
    let options =
        ["--sync-binlog=0", "--binlog-group-commit-sync-delay=500000", "--transaction-isolation=READ-UNCOMMITTED"];
    (guard, Database::on(Mysql::up_with("source-late", &options).unwrap(), name).await)
}

const SLOW: [&str; 3] = [
    "--rpl-semi-sync-master-timeout=500",
    "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
    "--transaction-isolation=READ-UNCOMMITTED",
];

async fn slow_mariadb(name: &str) -> Alone {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let guard = ALONE.lock().await;
    (guard, Database::on(Mariadb::up_with("source-late", &SLOW).unwrap(), name).await)
}

async fn slow_mariadb11(name: &str) -> Alone {
    static ALONE: Mutex<()> = Mutex::const_new(());
    let guard = ALONE.lock().await;
    (guard, Database::on(Mariadb11::up_with("source-late", &SLOW).unwrap(), name).await)
}

/// The table's schema, and a reader of its chunks.
async fn open(db: &Database) -> (Arc<TableSchema>, Box<dyn ChunkReader>) {
    let source = db.source();
    let schema = source.tables(&db.filter(&["t"])).await.unwrap().remove(0);
    let reader = source.open_chunks(Arc::clone(&schema)).await.unwrap();
    (schema, reader)
}

/// The whole table as a chunk, and the place that covers it.
async fn chunk(reader: &mut dyn ChunkReader, schema: &TableSchema, shown: &Position) -> (Vec<Key>, SourcePlace) {
    reader.read_chunk(shown, WHOLE).await.unwrap();
    let keys = take(reader, schema).await.unwrap().into_iter().map(|(key, _)| key).collect();
    (keys, reader.end_of_view().await.unwrap())
}

fn number(number: i64) -> Key {
    let key: Result<Key, std::convert::Infallible> = Key::write(1, |image| {
        image.value(Value::Integer(number));
        Ok(())
    });
    key.unwrap()
}

/// Reads on until the stream stands at the place; gives the mark that it has then.
async fn reach(stream: &mut Stream, place: &SourcePlace) -> BatchEnd {
    for _ in 0..60 {
        stream.batch.clear();
        let end = stream.inner.read_batch(&mut stream.batch, BATCH).await.unwrap();
        if stream.inner.place().is_some_and(|here| here.has_reached(place)) {
            return end;
        }
    }
    panic!("the stream stands at {:?}, and not at {place}", stream.inner.place());
}

async fn now(db: &Database) -> Position {
    db.checkpoint(&StartAt::Now).await.mark.position
}

#[tokio::test]
async fn e02_a_chunk_shows_what_was_delivered() {
    check_shown_from_now(slow_mysql("chunks_shown").await).await;
}

#[tokio::test]
async fn e04_a_chunk_of_mariadb_shows_what_was_delivered() {
    check_shown_from_now(slow_mariadb("chunks_shown").await).await;
}

#[tokio::test]
async fn e04_a_chunk_of_mariadb_11_shows_what_was_delivered() {
    check_shown_from_now(slow_mariadb11("chunks_shown").await).await;
}

async fn check_shown_from_now((_alone, mut db): Alone) {
    db.run(TABLE).await;
    let from = db.checkpoint(&StartAt::Now).await;
    check_shown(&mut db, &from).await;
}

/// Without GTIDs nothing can be waited for.
#[tokio::test]
async fn e13_a_chunk_behind_a_place_in_a_file_is_read_under_a_short_lock() {
    let (_alone, mut db) = slow_mysql("chunks_by_file").await;
    db.run(TABLE).await;
    let (_, mut reader) = open(&db).await;
    let status: mysql_async::Row = db.conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
    let (file, offset): (String, u64) = (status.get(0).unwrap(), status.get(1).unwrap());
    let mut from = db.checkpoint(&StartAt::Now).await;
    from.mark.position = Position::new(&format!("file:{file}:{offset}"));
    let shown = from.mark.position.clone();
    db.run("REVOKE IF EXISTS LOCK TABLES ON chunks_by_file.* FROM tailrace").await;
    let error = reader.read_chunk(&shown, WHOLE).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::Refused, Some(&db.table("t"))), "{error}");
    assert!(error.advice().unwrap().starts_with("GRANT LOCK TABLES ON `chunks_by_file`.*"), "{error}");
    db.run("GRANT LOCK TABLES ON chunks_by_file.* TO tailrace").await;
    check_shown(&mut db, &from).await;
    // A transaction that is not at its end keeps the lock away, and what it writes is in the chunk.
    let (schema, mut reader) = open(&db).await;
    let mut writer = Database::on_existing(&db.server, &db.name).await;
    writer.run_all(&["BEGIN", "INSERT INTO t VALUES (100)"]).await;
    let commit = async {
        super::views::until_waiting(&mut db, 1).await;
        writer.run("COMMIT").await;
    };
    let (begun, ()) = tokio::join!(reader.read_chunk(&shown, WHOLE), commit);
    begun.unwrap();
    // The lock is not held any more.
    writer.run("INSERT INTO t VALUES (101)").await;
    let keys: Vec<Key> = take(&mut *reader, &schema).await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert!(keys.contains(&number(100)) && !keys.contains(&number(101)));
}

/// XA COMMIT is logged in one step and done in another. A transaction that is listed as prepared may be between the two.
#[tokio::test]
async fn xa_transactions_are_in_chunks_when_they_were_delivered() {
    check_xa(slow_mariadb("chunks_xa").await).await;
}

#[tokio::test]
async fn xa_transactions_are_in_chunks_of_mariadb_11_when_they_were_delivered() {
    check_xa(slow_mariadb11("chunks_xa").await).await;
}

async fn check_xa((_alone, mut db): Alone) {
    db.run(TABLE).await;
    let (schema, mut reader) = open(&db).await;
    // Prepared before the stream began: nobody knows of it.
    let mut old = prepared(&db, "old", 1).await;
    let from = db.checkpoint(&StartAt::Now).await;
    let error = reader.read_chunk(&from.mark.position, WHOLE).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::Transient, Some(&db.table("t"))), "{error}");
    assert!(error.message().contains("XA transaction X'6368756e6b735f7861',X'6f6c64',1 is prepared"), "{error}");
    old.run("XA ROLLBACK 'chunks_xa', 'old'").await;
    // Prepared while the stream runs: its positions name it.
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let mut new = prepared(&db, "new", 2).await;
    let (_, covered) = loop {
        stream.batch.clear();
        let end = stream.inner.read_batch(&mut stream.batch, BATCH).await.unwrap();
        if end.mark().position.as_str().starts_with("xa:") {
            break chunk(&mut *reader, &schema, &end.mark().position).await;
        }
    };
    reach(&mut stream, &covered).await;
    wait_in_vain(&mut db).await;
    let committing = tokio::spawn(async move { new.run("XA COMMIT 'chunks_xa', 'new'").await });
    let end = stream.next().await.unwrap();
    assert_eq!(chunk(&mut *reader, &schema, &end.mark().position).await.0, [number(2)]);
    committing.await.unwrap();
}

/// An XA transaction with one row, in its first phase.
async fn prepared(db: &Database, branch: &str, row: i64) -> Database {
    let mut other = Database::on_existing(&db.server, &db.name).await;
    let xid = format!("'{}', '{branch}'", db.name);
    let insert = format!("INSERT INTO t VALUES ({row})");
    other.run_all(&[&format!("XA START {xid}"), &insert, &format!("XA END {xid}"), &format!("XA PREPARE {xid}")]).await;
    other
}

/// The next commit on MariaDB waits for a replica that there isn't. Once it has waited in vain the server waits no more.
async fn wait_in_vain(db: &mut Database) {
    db.run("SET GLOBAL rpl_semi_sync_master_enabled = OFF").await;
    db.run("SET GLOBAL rpl_semi_sync_master_enabled = ON").await;
}

/// The same reader reads without waiting just before: if that shows the row as well, the round proves nothing, and another must.
async fn check_shown(db: &mut Database, from: &Checkpoint) {
    const ROUNDS_MAX: i64 = 30;
    let (schema, mut reader) = open(db).await;
    let mut stream = db.follow_from(from, &["t"]).await.unwrap();
    let mut invisible = 0;
    for round in 0..ROUNDS_MAX {
        if db.server.flavor() != Flavor::Mysql {
            wait_in_vain(db).await;
        }
        let mut writer = Database::on_existing(&db.server, &db.name).await;
        let writing = tokio::spawn(async move { writer.run(&format!("INSERT INTO t VALUES ({round})")).await });
        let end = stream.next().await.unwrap();
        let at_once = read(&mut *reader, &schema, Rows::ALL).await.unwrap();
        invisible += i64::from(!at_once.iter().any(|(key, _)| *key == number(round)));
        let shown = &end.mark().position;
        // A view that is open meanwhile, and given up.
        let mut first = RecordBatch::new();
        reader.read_chunk(shown, WHOLE).await.unwrap();
        reader.fill(&mut first, &origin(), ReadLimits { rows_max: 1, ..LIMITS }).await.unwrap();
        let (keys, covered) = chunk(&mut *reader, &schema, shown).await;
        assert_eq!(keys, (0..=round).map(number).collect::<Vec<_>>());
        reader.read_keys(shown, &[number(round), number(-1)]).await.unwrap();
        assert!(reader.end_of_view().await.is_err(), "it is being read");
        reader.read_keys(shown, &[number(round), number(-1)]).await.unwrap();
        assert_eq!(take(&mut *reader, &schema).await.unwrap().len(), 1);
        assert!(reader.end_of_view().await.unwrap().has_reached(&covered));
        reach(&mut stream, &covered).await;
        writing.await.unwrap();
        if invisible >= 2 {
            return;
        }
    }
    panic!("rows were visible as soon as they were delivered");
}

#[tokio::test]
async fn e03_what_is_not_committed_is_in_no_chunk() {
    check_uncommitted(slow_mysql("chunks_uncommitted").await).await;
    check_uncommitted(slow_mariadb("chunks_uncommitted").await).await;
}

async fn check_uncommitted((_alone, mut db): Alone) {
    db.run(TABLE).await;
    let (schema, mut reader) = open(&db).await;
    db.run("BEGIN").await;
    db.run("INSERT INTO t VALUES (1)").await;
    let mut other = Database::on_existing(&db.server, &db.name).await;
    assert_eq!(other.text("SELECT COUNT(*) FROM t").await, "1", "what sessions of this server begin with");
    let (keys, _) = chunk(&mut *reader, &schema, &now(&db).await).await;
    assert!(keys.is_empty());
    db.run("ROLLBACK").await;
}

#[tokio::test]
async fn e06_an_idle_stream_reaches_the_end_of_the_binlog() {
    check_idle(slow_mysql("chunks_idle").await).await;
}

#[tokio::test]
async fn e06_an_idle_stream_of_mariadb_reaches_the_end_of_the_binlog() {
    check_idle(slow_mariadb("chunks_idle").await).await;
}

#[tokio::test]
async fn e06_an_idle_stream_of_mariadb_11_reaches_the_end_of_the_binlog() {
    check_idle(slow_mariadb11("chunks_idle").await).await;
}

async fn check_idle((_alone, mut db): Alone) {
    db.run(TABLE).await;
    db.run("CREATE TABLE other (id INT PRIMARY KEY)").await;
    let (schema, mut reader) = open(&db).await;
    let from = db.checkpoint(&StartAt::Now).await;
    let shown = &from.mark.position;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let (_, first) = chunk(&mut *reader, &schema, shown).await;
    reach(&mut stream, &first).await;
    // A new file, twice: nothing is committed in either.
    let mut last = first;
    for _ in 0..2 {
        db.run("FLUSH BINARY LOGS").await;
        let (_, covered) = chunk(&mut *reader, &schema, shown).await;
        assert!(covered.file == last.file + 1 && covered.series == last.series, "{last}, then {covered}");
        let BatchEnd::Idle(mark) = reach(&mut stream, &covered).await else { panic!("a transaction came") };
        assert_eq!(mark, from.mark);
        last = covered;
    }
    // A stream that begins behind everything that there is, and passes it.
    let mut late = db.follow_from(&from, &["t"]).await.unwrap();
    reach(&mut late, &last).await;
    // Other tables' transactions.
    db.run("INSERT INTO other VALUES (1)").await;
    let (_, covered) = chunk(&mut *reader, &schema, shown).await;
    assert!(!last.has_reached(&covered));
    reach(&mut stream, &covered).await;
}

/// Inside a transaction the stream stands nowhere.
#[tokio::test]
async fn a_stream_has_no_place_inside_a_transaction() {
    let mut db = Database::new("chunks_inside").await;
    db.run(TABLE).await;
    let mut stream = db.follow(&["t"]).await;
    db.run("BEGIN").await;
    for id in 0..3 {
        db.run(&format!("INSERT INTO t VALUES ({id})")).await;
    }
    db.run("COMMIT").await;
    let limits = tailrace_contract::BatchLimits { records_max: 1, ..BATCH };
    let mut places = Vec::new();
    loop {
        let end = stream.next_within(limits).await.unwrap();
        places.push(stream.inner.place().is_some());
        if matches!(end, BatchEnd::TransactionEnd(_)) {
            break;
        }
        assert!(matches!(end, BatchEnd::MidTransaction { .. }));
    }
    assert_eq!(places, [false, false, true]);
    db.run("TRUNCATE t").await;
    loop {
        stream.batch.clear();
        let end = stream.inner.read_batch(&mut stream.batch, BATCH).await.unwrap();
        assert!(stream.inner.place().is_some());
        if matches!(end, BatchEnd::SchemaChange { .. }) {
            break;
        }
    }
}

/// Transactions that have no name are in no position.
#[tokio::test]
async fn e08_no_position_covers_transactions_without_gtid() {
    let (_alone, mut db) = slow_mysql("chunks_modes").await;
    db.run(TABLE).await;
    let (_, mut reader) = open(&db).await;
    let shown = now(&db).await;
    db.run("SET GLOBAL gtid_mode = ON_PERMISSIVE").await;
    let error = reader.read_chunk(&shown, WHOLE).await.unwrap_err();
    db.run("SET GLOBAL gtid_mode = ON").await;
    assert_eq!((error.kind(), error.table()), (ErrorKind::Refused, Some(&db.table("t"))), "{error}");
    assert!(error.message().contains("gtid_mode is ON_PERMISSIVE"), "{error}");
    let foreign = Position::new("mariadb:0-1-1");
    assert_eq!(reader.read_chunk(&foreign, WHOLE).await.unwrap_err().kind(), ErrorKind::Refused);
    reader.read_chunk(&shown, WHOLE).await.unwrap();
}

/// An ALTER waits for the chunk that is being read, whoever uses the table waits for the ALTER, and the next chunk for nobody.
#[tokio::test]
async fn an_alter_waits_for_one_chunk_at_most() {
    check_alter(Database::new("chunks_alter").await).await;
    check_alter(Database::on(Mariadb::up("source").unwrap(), "chunks_alter").await).await;
}

async fn check_alter(mut db: Database) {
    db.run(TABLE).await;
    db.run("INSERT INTO t VALUES (1), (2), (3), (4), (5)").await;
    let (schema, mut reader) = open(&db).await;
    let shown = now(&db).await;
    let two = ChunkRange { rows_max: 2, ..WHOLE };
    let mut batch = RecordBatch::new();
    reader.read_chunk(&shown, two).await.unwrap();
    assert!(reader.fill(&mut batch, &origin(), ReadLimits { rows_max: 1, ..LIMITS }).await.unwrap());
    let (mut altering, mut inserting) =
        (Database::on_existing(&db.server, &db.name).await, Database::on_existing(&db.server, &db.name).await);
    let altering = tokio::spawn(async move { altering.run("ALTER TABLE t COMMENT 'altered'").await });
    super::views::until_waiting(&mut db, 1).await;
    let inserting = tokio::spawn(async move { inserting.run("INSERT INTO t VALUES (6)").await });
    super::views::until_waiting(&mut db, 2).await;
    while reader.fill(&mut batch, &origin(), LIMITS).await.unwrap() {}
    assert_eq!(batch.len(), 2);
    altering.await.unwrap();
    inserting.await.unwrap();
    // The end is asked for when nothing is held any more, and between chunks nothing is.
    reader.end_of_view().await.unwrap();
    db.run("SET lock_wait_timeout = 1").await;
    db.run("ALTER TABLE t COMMENT 'altered again'").await;
    let after = Key::of(&schema, batch.after(&batch.records()[1]).unwrap());
    reader.read_chunk(&shown, ChunkRange { after: Some(&after), ..two }).await.unwrap();
    assert_eq!(take(&mut *reader, &schema).await.unwrap().len(), 2);
    db.run("ALTER TABLE t ADD n INT").await;
    let error = reader.read_chunk(&shown, two).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::Transient, Some(&db.table("t"))), "{error}");
}

/// A snapshot of MariaDB is older than the table that is opened in it. Either it can't be read, or the ALTER's place lies before the end
/// of the view.
#[tokio::test]
async fn a_table_that_is_younger_than_its_snapshot() {
    let mut db = Database::on(Mariadb::up("source").unwrap(), "chunks_younger").await;
    for (change, is_readable) in [("MODIFY e ENUM('b', 'a')", false), ("ADD n INT DEFAULT 3", true), ("FORCE", false)] {
        db.run("CREATE OR REPLACE TABLE t (id INT PRIMARY KEY, e ENUM('a', 'b'))").await;
        db.run("INSERT INTO t VALUES (1, 'a')").await;
        let mut snapshot = Conn::new(admin(&db.server)).await.unwrap();
        snapshot.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await.unwrap();
        db.run(&format!("ALTER TABLE t {change}")).await;
        let read: Result<Option<(i32, String)>, _> = snapshot.query_first("SELECT id, e FROM chunks_younger.t").await;
        match read {
            Ok(row) => assert!(is_readable && row == Some((1, "a".to_owned())), "{change}: {row:?}"),
            Err(mysql_async::Error::Server(error)) => assert!(!is_readable && error.code == 1412, "{change}: {error}"),
            Err(error) => panic!("{change}: {error}"),
        }
    }
}

/// Waiting for what never comes ends, and a wait that was given up leaves nothing behind.
#[tokio::test]
async fn a_wait_that_is_given_up_leaves_nothing() {
    let mut db = Database::new("chunks_given_up").await;
    db.run(TABLE).await;
    db.run("INSERT INTO t VALUES (1)").await;
    let (schema, mut reader) = open(&db).await;
    let shown = now(&db).await;
    let never = Position::new("gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1");
    let waited = tokio::time::timeout(Duration::from_millis(200), reader.read_chunk(&never, WHOLE)).await;
    assert!(waited.is_err(), "the server has no such transaction");
    assert_eq!(chunk(&mut *reader, &schema, &shown).await.0, [number(1)]);
}
