//! Transactions in, batches out: numbers, places, limits, and going on from every place that may be saved.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mysql_async::{Row, prelude::Queryable};
use tailrace_contract::{BatchEnd, BatchLimits, Checkpoint, ErrorKind, StartAt};
use tailrace_row::{Epoch, Field, Operation, Sequence, Value};

use crate::harness::{Database, LIMITS, Stream};

#[tokio::test]
async fn one_insert_arrives() {
    let mut db = Database::new("flow_one_insert").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20))").await;
    let mut stream = db.follow(&["t"]).await;
    db.run("INSERT INTO t VALUES (7, 'seven')").await;
    let end = stream.next().await.unwrap();
    assert!(matches!(end, BatchEnd::TransactionEnd(_)), "{end:?}");
    let record = &stream.batch.records()[0];
    assert_eq!((stream.batch.len(), record.operation), (1, Operation::Insert));
    let after: Vec<Field<'_>> = stream.batch.after(record).unwrap().fields().collect();
    assert_eq!(after, [Field::Value(Value::Integer(7)), Field::Value(Value::Text("seven"))]);
}

/// What identifies a record in these tests: its place in the order, and the key.
type Seen = (Sequence, Operation, i64);

fn seen(stream: &Stream) -> Vec<Seen> {
    let batch = &stream.batch;
    let key = |record| match batch.after(record).or(batch.before(record)).unwrap().field(0) {
        Field::Value(Value::Integer(id)) => id,
        other => panic!("{other:?} is no key"),
    };
    batch.records().iter().map(|record| (batch.sequence(record), record.operation, key(record))).collect()
}

/// The last transaction of a position `gtid:uuid:1-n` or `gtid:uuid:n`.
fn last_number(from: &Checkpoint) -> u64 {
    from.mark.position.as_str().rsplit_once(['-', ':']).unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn every_transaction_and_every_rows_event_counts() {
    let mut db = Database::new("flow_counts").await;
    db.run_all(&["CREATE TABLE t (id INT PRIMARY KEY)", "CREATE TABLE other (id INT PRIMARY KEY)"]).await;
    let from = db.checkpoint(&StartAt::Now).await;
    let start = last_number(&from);
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    db.run_all(&[
        "INSERT INTO other VALUES (1)",
        "CREATE TABLE third (id INT PRIMARY KEY)",
        "START TRANSACTION",
        "INSERT INTO other VALUES (2), (3)",     // event 0
        "INSERT INTO t VALUES (10), (11), (12)", // event 1
        "SAVEPOINT s",
        "INSERT INTO t VALUES (99)",
        "ROLLBACK TO s",
        "UPDATE other SET id = id + 100",     // event 2
        "UPDATE t SET id = 20 WHERE id = 10", // event 3
        "DELETE FROM t WHERE id = 11",        // event 4
        "COMMIT",
        "DELETE FROM t WHERE id = 12",
    ])
    .await;
    let mut all = Vec::new();
    while all.len() < 6 {
        stream.next().await.unwrap();
        for record in stream.batch.records() {
            // Other tests use the server too. Its transactions are numbered in binlog order, and ours by every one of them.
            let gtid = stream.batch.origin(record).transaction_name.clone().unwrap();
            let number: u64 = gtid.rsplit_once(':').unwrap().1.parse().unwrap();
            assert_eq!(stream.batch.sequence(record).transaction, 100 + number - start);
        }
        all.extend(
            seen(&stream).into_iter().map(|(sequence, operation, key)| (sequence.event, sequence.row, operation, key)),
        );
    }
    let expected = [
        (1, 0, Operation::Insert, 10),
        (1, 2, Operation::Insert, 11),
        (1, 4, Operation::Insert, 12),
        (3, 0, Operation::Update, 20),
        (4, 0, Operation::Delete, 11),
        (0, 0, Operation::Delete, 12),
    ];
    assert_eq!(all, expected, "a key change stays one update");
}

#[tokio::test]
async fn records_say_where_and_when_they_were() {
    let mut db = Database::new("flow_origin").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let mut stream = db.follow(&["t"]).await;
    let before = SystemTime::now();
    db.run("INSERT INTO t VALUES (1)").await;
    stream.next().await.unwrap();
    let origin = stream.batch.origin(&stream.batch.records()[0]).clone();
    let committed = UNIX_EPOCH + Duration::from_micros(u64::try_from(origin.committed_at_micros).unwrap());
    assert!(committed >= before - Duration::from_secs(1) && committed <= SystemTime::now(), "{committed:?}");
    let thread: u64 = db.conn.query_first("SELECT CONNECTION_ID()").await.unwrap().unwrap();
    let server_id: u32 = db.conn.query_first("SELECT @@server_id").await.unwrap().unwrap();
    assert_eq!((origin.thread, origin.server_id), (Some(thread), server_id));
    let events: Vec<Row> = db.conn.query(format!("SHOW BINLOG EVENTS IN '{}'", origin.file)).await.unwrap();
    let row = events.iter().position(|event| event.get::<u64, _>("Pos") == Some(origin.file_offset)).unwrap();
    assert_eq!(events[row].get::<String, _>("Event_type").unwrap(), "Write_rows");
    let gtid =
        events[..row].iter().rev().find(|event| event.get::<String, _>("Event_type").unwrap() == "Gtid").unwrap();
    let gtid: String = gtid.get("Info").unwrap();
    assert_eq!(format!("SET @@SESSION.GTID_NEXT= '{}'", origin.transaction_name.unwrap()), gtid);
}

#[tokio::test]
async fn other_tables_move_the_mark() {
    let mut db = Database::new("flow_idle").await;
    db.run_all(&["CREATE TABLE t (id INT PRIMARY KEY)", "CREATE TABLE other (id INT PRIMARY KEY)"]).await;
    let mut stream = db.follow(&["t"]).await;
    let limits = BatchLimits { wait_max: Duration::from_millis(50), ..LIMITS };
    db.run("INSERT INTO other VALUES (1)").await;
    let wanted: String = db.text("SELECT REPLACE(@@gtid_executed, '\\n', '')").await;
    let begun = Instant::now();
    loop {
        let end = stream.inner.read_batch(&mut stream.batch, limits).await.unwrap();
        assert!(stream.batch.is_empty());
        let BatchEnd::Idle(mark) = end else { panic!("{end:?}") };
        // Others write on the server too.
        let reached = mark.position.as_str().trim_start_matches("gtid:").split('@').next().unwrap_or_default();
        let is_reached = db.text(&format!("SELECT GTID_SUBSET('{wanted}', '{reached}')")).await == "1";
        if is_reached && mark.transactions > 100 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{mark:?} never reaches {wanted}");
    }
}

#[tokio::test]
async fn a_lone_commit_waits_for_nobody() {
    let mut db = Database::new("flow_latency").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let mut stream = db.follow(&["t"]).await;
    let limits = BatchLimits { wait_max: Duration::from_secs(60), ..LIMITS };
    for id in 0..20 {
        db.run(&format!("INSERT INTO t VALUES ({id})")).await;
        let begun = Instant::now();
        stream.next_within(limits).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5), "handed over after {:?}", begun.elapsed());
        assert_eq!(stream.batch.len(), 1);
    }
}

#[tokio::test]
async fn a_batch_that_holds_records_takes_more_along_and_never_waits() {
    let mut db = Database::new("flow_append").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let mut stream = db.follow(&["t"]).await;
    let limits = BatchLimits { wait_max: Duration::from_secs(60), ..LIMITS };
    db.run("INSERT INTO t VALUES (1)").await;
    stream.next_within(limits).await.unwrap();
    let begun = Instant::now();
    let end = stream.inner.read_batch(&mut stream.batch, limits).await.unwrap();
    assert!(matches!(end, BatchEnd::TransactionEnd(_)) && stream.batch.len() == 1);
    db.run("INSERT INTO t VALUES (2)").await;
    while stream.batch.len() < 2 {
        stream.inner.read_batch(&mut stream.batch, limits).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(seen(&stream).iter().map(|(.., key)| *key).collect::<Vec<_>>(), [1, 2]);
}

/// Three captured statements between others, with events of several rows each.
async fn big_transaction(db: &mut Database) {
    db.run_all(&[
        "CREATE TABLE t (id INT PRIMARY KEY, pad VARCHAR(3000))",
        "CREATE TABLE other (id INT PRIMARY KEY)",
        "SET cte_max_recursion_depth = 100000",
    ])
    .await;
}

async fn run_big_transaction(db: &mut Database) {
    db.run_all(&[
        "INSERT INTO other VALUES (1)",
        "START TRANSACTION",
        "INSERT INTO t WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 12) SELECT n, REPEAT('x', 3000) FROM r",
        "INSERT INTO other VALUES (2), (3)",
        "UPDATE t SET pad = '' WHERE id > 6",
        "DELETE FROM t WHERE id = 1",
        "COMMIT",
        "INSERT INTO t VALUES (100, '')",
    ])
    .await;
}

/// Reads until so many records came; returns them with the checkpoint after each batch.
async fn read_with(stream: &mut Stream, limits: BatchLimits, count: usize) -> (Vec<Seen>, Vec<(usize, Checkpoint)>) {
    let mut all = Vec::new();
    let mut checkpoints = Vec::new();
    while all.len() < count {
        let end = stream.next_within(limits).await.unwrap();
        all.extend(seen(stream));
        let (mark, split) = match end {
            BatchEnd::TransactionEnd(mark) | BatchEnd::Idle(mark) => (mark, None),
            BatchEnd::MidTransaction { mark, split } => (mark, Some(split)),
            BatchEnd::SchemaChange { .. } => panic!("no table is altered"),
        };
        checkpoints.push((all.len(), Checkpoint { epoch: Epoch(3), mark, split }));
    }
    (all, checkpoints)
}

#[tokio::test]
async fn a_transaction_cut_anywhere_goes_on_where_it_was_cut() {
    let mut db = Database::new("flow_cut").await;
    big_transaction(&mut db).await;
    let from = db.checkpoint(&StartAt::Now).await;
    run_big_transaction(&mut db).await;
    let count = 12 + 6 + 1 + 1;
    let mut whole = db.follow_from(&from, &["t"]).await.unwrap();
    let (all, _) = read_with(&mut whole, LIMITS, count).await;
    assert_eq!(all.len(), count);
    assert!(all.is_sorted_by_key(|(sequence, ..)| *sequence), "{all:?}");
    assert!(all.iter().filter(|(sequence, ..)| sequence.row == 0).count() > 5, "several rows events: {all:?}");
    let one_by_one = BatchLimits { records_max: 1, ..LIMITS };
    let mut pieces = db.follow_from(&from, &["t"]).await.unwrap();
    let (same, checkpoints) = read_with(&mut pieces, one_by_one, count).await;
    assert_eq!(same, all);
    let splits = checkpoints.iter().filter(|(_, checkpoint)| checkpoint.split.is_some()).count();
    assert_eq!(splits, count - 2, "the last record of each transaction ends it");
    for (done, checkpoint) in checkpoints.iter().filter(|(done, _)| *done < count) {
        let mut rest = db.follow_from(checkpoint, &["t"]).await.unwrap();
        let (rest, _) = read_with(&mut rest, BatchLimits { records_max: 3, ..LIMITS }, count - done).await;
        assert_eq!(rest, all[*done..], "from {checkpoint:?}");
    }
}

#[tokio::test]
async fn a_part_of_another_transaction_is_not_resumed() {
    let mut db = Database::new("flow_other_history").await;
    big_transaction(&mut db).await;
    let from = db.checkpoint(&StartAt::Now).await;
    run_big_transaction(&mut db).await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let (_, checkpoints) = read_with(&mut stream, BatchLimits { records_max: 1, ..LIMITS }, 5).await;
    let good = checkpoints[4].1.clone();
    let split = good.split.clone().unwrap();
    let mut renamed = good.clone();
    renamed.split = Some(tailrace_contract::SplitTransaction {
        name: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1".into(),
        ..split.clone()
    });
    let mut longer = good.clone();
    let last = Sequence { event: 1000, ..split.last };
    longer.split = Some(tailrace_contract::SplitTransaction { last, ..split });
    for wrong in [renamed, longer] {
        let error = match db.follow_from(&wrong, &["t"]).await {
            Ok(mut stream) => stream.error().await,
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    }
}

#[tokio::test]
async fn rows_beyond_a_frame_arrive() {
    let mut db = Database::new("flow_giant").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, c LONGBLOB)").await;
    let mut stream = db.follow(&["t"]).await;
    // Everything of the packet but the blob takes 45 bytes: sizes on both sides of a full frame, and packets of more frames.
    let full = (16 << 20) - 1 - 45;
    for (id, bytes) in [full - 2, full - 1, full, full + 1, full + 2, 20_000_000, 40_000_000].into_iter().enumerate() {
        db.run(&format!("INSERT INTO t VALUES ({id}, REPEAT(CHAR({id} + 65), {bytes}))")).await;
        stream.next().await.unwrap();
        let record = &stream.batch.records()[0];
        let Field::Value(Value::Bytes(seen)) = stream.batch.after(record).unwrap().field(1) else { panic!("no bytes") };
        assert_eq!(seen.len(), bytes);
        assert!(seen.iter().all(|byte| usize::from(*byte) == id + 65));
    }
}

#[tokio::test]
async fn a_long_transaction_streams_in_pieces() {
    let mut db = Database::new("flow_long").await;
    db.run_all(&["CREATE TABLE t (id INT PRIMARY KEY)", "SET cte_max_recursion_depth = 1000000"]).await;
    let mut stream = db.follow(&["t"]).await;
    db.run("INSERT INTO t WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 300000) SELECT n FROM r").await;
    let limits = BatchLimits { bytes_max: 256 << 10, ..LIMITS };
    let (mut next, mut pieces) = (1, 0);
    loop {
        let end = stream.next_within(limits).await.unwrap();
        for (_, _, key) in seen(&stream) {
            assert_eq!(key, next);
            next += 1;
        }
        assert!(stream.batch.byte_len() < limits.bytes_max + 1000);
        match end {
            BatchEnd::MidTransaction { mark, split } => {
                assert_eq!(mark.transactions + 1, split.last.transaction, "the mark stays behind it");
            }
            BatchEnd::TransactionEnd(_) => {
                assert_eq!(next, 300_001);
                break;
            }
            BatchEnd::Idle(_) | BatchEnd::SchemaChange { .. } => panic!("idle inside a transaction"),
        }
        pieces += 1;
    }
    assert!(pieces > 20, "{pieces} pieces");
}
