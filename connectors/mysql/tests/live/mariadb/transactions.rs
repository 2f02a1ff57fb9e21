//! Transactions of several domains, plain and compressed: numbers, values, and going on from every place that may be saved.

use std::time::Duration;

use mysql_async::{Row, prelude::Queryable};
use tailrace_contract::{BatchEnd, BatchLimits, Checkpoint, Source as _, StartAt};
use tailrace_mysql::MysqlSource;
use tailrace_row::{Epoch, Field, Operation, RecordBatch, Sequence, Value};

use super::{alone, shared};
use crate::{
    harness::{Database, LIMITS, Stream, checkpoint, settings},
    proxy::{Mode, Proxy},
};

/// A record's place in the order, what happened, and both columns.
type Seen = (Sequence, Operation, i64, String);

fn seen(stream: &Stream) -> Vec<Seen> {
    let batch = &stream.batch;
    let columns = |record| {
        let fields: Vec<Field<'_>> = batch.after(record).or(batch.before(record)).unwrap().fields().collect();
        match fields[..] {
            [Field::Value(Value::Integer(id)), Field::Value(Value::Text(text))] => (id, text.to_owned()),
            _ => panic!("{fields:?}"),
        }
    };
    let seen = |record| {
        let (id, text) = columns(record);
        (batch.sequence(record), record.operation, id, text)
    };
    batch.records().iter().map(seen).collect()
}

/// Reads so many records one by one, with the checkpoint behind each.
async fn read(stream: &mut Stream, count: usize) -> Vec<(Seen, Checkpoint)> {
    let mut all = Vec::new();
    while all.len() < count {
        let (mark, split) = match stream.next_within(BatchLimits { records_max: 1, ..LIMITS }).await.unwrap() {
            BatchEnd::TransactionEnd(mark) => (mark, None),
            BatchEnd::MidTransaction { mark, split } => (mark, Some(split)),
            BatchEnd::Idle(mark) | BatchEnd::SchemaChange { mark, .. } => panic!("idle at {mark:?}"),
        };
        let one = seen(stream);
        assert_eq!(one.len(), 1, "{one:?}");
        all.push((one[0].clone(), Checkpoint { epoch: Epoch(3), mark, split }));
    }
    all
}

/// Changes in two domains, by each way that a transaction can end.
const CHANGES: [&str; 18] = [
    "INSERT INTO t VALUES (1, REPEAT('one', 30))",
    "SET gtid_domain_id = 7",
    "INSERT INTO t VALUES (2, REPEAT('é😀', 20)), (3, ''), (4, 'four')",
    "CREATE TABLE third (id INT PRIMARY KEY)",
    "SET gtid_domain_id = 0",
    "START TRANSACTION",
    "INSERT INTO other VALUES (1), (2)",
    "UPDATE t SET c = CONCAT(c, '!') WHERE id > 1",
    "SAVEPOINT s",
    "INSERT INTO t VALUES (99, 'taken back')",
    "ROLLBACK TO s",
    "DELETE FROM t WHERE id = 4",
    "COMMIT",
    "INSERT INTO unsafe VALUES (5, 'without transaction')",
    "START TRANSACTION",
    "INSERT INTO t VALUES (100, 'never')",
    "ROLLBACK",
    "UPDATE t SET id = 30 WHERE id = 3",
];

async fn check_changes(mut db: Database) -> Vec<Checkpoint> {
    db.run_all(&[
        "CREATE TABLE t (id INT PRIMARY KEY, c LONGTEXT CHARACTER SET utf8mb4)",
        "CREATE TABLE unsafe (id INT PRIMARY KEY, c TEXT) ENGINE=MyISAM",
        "CREATE TABLE other (id INT PRIMARY KEY)",
    ])
    .await;
    let tables = ["t", "unsafe"];
    let from = db.checkpoint(&StartAt::Now).await;
    let mut stream = db.follow_from(&from, &tables).await.unwrap();
    db.run_all(&CHANGES).await;
    let all = read(&mut stream, 10).await;
    use Operation::{Delete, Insert, Update};
    let both = |text: &str| text.to_owned();
    let expected = [
        (0, 0, Insert, 1, "one".repeat(30)),
        (0, 0, Insert, 2, "é😀".repeat(20)),
        (0, 2, Insert, 3, both("")),
        (0, 4, Insert, 4, both("four")),
        (1, 0, Update, 2, "é😀".repeat(20) + "!"),
        (1, 2, Update, 3, both("!")),
        (1, 4, Update, 4, both("four!")),
        (2, 0, Delete, 4, both("four!")),
        (0, 0, Insert, 5, both("without transaction")),
        (0, 0, Update, 30, both("!")),
    ];
    let found = all.iter().map(|((at, operation, id, text), _)| (at.event, at.row, *operation, *id, text.clone()));
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let numbers: Vec<u64> = all.iter().map(|((at, ..), _)| at.transaction - all[0].0.0.transaction).collect();
    // Every transaction counts, the table made in between and those of other tests too; one has one number.
    assert!(numbers[1] >= 1 && numbers[1..4].iter().all(|number| *number == numbers[1]));
    assert!(numbers[4] >= numbers[1] + 2 && numbers[4..8].iter().all(|number| *number == numbers[4]));
    assert!(numbers[8] > numbers[7] && numbers[9] > numbers[8]);
    // From every place the rest comes again, with the same numbers.
    for (at, (_, checkpoint)) in all.iter().enumerate().take(all.len() - 1) {
        let mut again = db.follow_from(checkpoint, &tables).await.unwrap();
        let rest: Vec<Seen> = read(&mut again, all.len() - at - 1).await.into_iter().map(|(seen, _)| seen).collect();
        let wanted: Vec<Seen> = all[at + 1..].iter().map(|(seen, _)| seen.clone()).collect();
        assert_eq!(rest, wanted, "from {checkpoint:?}");
    }
    all.into_iter().map(|(_, checkpoint)| checkpoint).collect()
}

#[tokio::test]
async fn mariadbs_transactions_are_followed_and_resumed() {
    let checkpoints = check_changes(shared("maria_changes").await).await;
    let last = checkpoints.last().unwrap().mark.position.as_str();
    let (domains, place) = last.split_once('@').unwrap();
    assert!(domains.starts_with("mariadb:0-1-") && domains.contains(",7-1-"), "{last}");
    assert!(place.starts_with("binlog.0"), "{last}");
}

#[tokio::test]
async fn compressed_events_of_encrypted_files_are_unpacked() {
    let (_guard, db) = alone("maria_compressed").await;
    let mut admin = Database::on_existing(&db.server, "maria_compressed").await;
    check_changes(db).await;
    // The server did compress each kind of event.
    let files: Vec<Row> = admin.conn.query("SHOW BINARY LOGS").await.unwrap();
    let file: String = files.last().unwrap().get(0).unwrap();
    let events: Vec<Row> = admin.conn.query(format!("SHOW BINLOG EVENTS IN '{file}'")).await.unwrap();
    let kinds: Vec<String> = events.iter().map(|event| event.get(2).unwrap()).collect();
    for kind in [
        "Start_encryption",
        "Query_compressed",
        "Write_rows_compressed_v1",
        "Update_rows_compressed_v1",
        "Delete_rows_compressed_v1",
    ] {
        assert!(kinds.iter().any(|found| found == kind), "{kind} is not among {kinds:?}");
    }
}

#[tokio::test]
async fn records_of_mariadb_say_where_they_were() {
    let mut db = shared("maria_origin").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let mut stream = db.follow(&["t"]).await;
    db.run_all(&["SET server_id = 77", "BEGIN", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2), (3)", "COMMIT"])
        .await;
    stream.next().await.unwrap();
    assert_eq!(stream.batch.len(), 3);
    let origin = stream.batch.origin(&stream.batch.records()[1]).clone();
    let gtid = db.text("SELECT @@last_gtid").await;
    assert_eq!((origin.transaction_name.as_deref(), origin.server_id), (Some(&*gtid), 77));
    let sql = format!("SHOW BINLOG EVENTS IN '{}' FROM {} LIMIT 1", origin.file, origin.file_offset);
    let event: Row = db.conn.query_first(sql).await.unwrap().unwrap();
    assert_eq!(event.get::<String, _>("Event_type").unwrap(), "Write_rows_v1");
}

/// Three heartbeats missed would count as a dead connection.
#[tokio::test]
async fn an_idle_mariadb_is_heard() {
    let mut db = shared("maria_idle").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let mut stream = db.follow(&["t"]).await;
    let limits = BatchLimits { wait_max: Duration::from_secs(2), ..LIMITS };
    let end = stream.inner.read_batch(&mut stream.batch, limits).await.unwrap();
    assert!(matches!(end, BatchEnd::Idle(_)) && stream.batch.is_empty(), "{end:?}");
    db.run("INSERT INTO t VALUES (1)").await;
    stream.next().await.unwrap();
}

/// Version 11 makes a file of the binlog out of a transaction that is large enough, unless files are encrypted.
#[tokio::test]
async fn a_large_transaction_is_followed_and_resumed_in_its_middle() {
    let mut db = shared("maria_large").await;
    if super::is_version_11() {
        db.run("SET GLOBAL binlog_large_commit_threshold = 10485760").await;
    }
    db.run("CREATE TABLE t (id INT PRIMARY KEY, c LONGBLOB)").await;
    let from = db.checkpoint(&StartAt::Now).await;
    db.run_all(&[
        "INSERT INTO t VALUES (0, 'before')",
        "INSERT INTO t SELECT seq, RANDOM_BYTES(1000) FROM seq_1_to_14000",
        "INSERT INTO t VALUES (14001, 'behind')",
    ])
    .await;
    let mut stream = db.follow_from(&from, &["t"]).await.unwrap();
    let (mut seen, mut saved) = (0, None);
    while seen < 14_002 {
        let end = stream.next().await.unwrap();
        seen += stream.batch.len();
        if let BatchEnd::MidTransaction { mark, split } = end {
            saved = Some((seen, Checkpoint { epoch: Epoch(3), mark, split: Some(split) }));
        }
    }
    let (seen, checkpoint) = saved.expect("the transaction is larger than a batch");
    let mut rest = Vec::new();
    let mut stream = db.follow_from(&checkpoint, &["t"]).await.unwrap();
    while rest.len() < 14_002 - seen {
        stream.next().await.unwrap();
        let first = |record| match stream.batch.after(record).unwrap().fields().next() {
            Some(Field::Value(Value::Integer(id))) => id,
            other => panic!("{other:?}"),
        };
        rest.extend(stream.batch.records().iter().map(first));
    }
    let wanted: Vec<i64> = (i64::try_from(seen).unwrap()..14_002).collect();
    assert_eq!(rest, wanted);
}

/// The server says nothing while it looks for the position in its files.
#[tokio::test]
async fn a_long_search_for_the_position_is_no_silence() {
    let mut db = shared("maria_search").await;
    db.run_all(&["CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1)"]).await;
    let proxy = Proxy::before(&db.server).await;
    let mut settings = settings(&db.server);
    settings.endpoint.port = proxy.port;
    let silence_max = settings.heartbeat * 3;
    let source = MysqlSource::new(settings).unwrap();
    let mut is_alive = false;
    // A heartbeat that came before the proxy fell silent says that the search is over.
    for _ in 0..5 {
        proxy.set(Mode::Forward);
        let from = checkpoint(&source, &StartAt::Now).await.unwrap();
        let inner = source.open(&from, db.filter(&["t"])).await.unwrap();
        proxy.set(Mode::Silent);
        let mut stream = Stream { inner, batch: RecordBatch::new() };
        let limits = BatchLimits { wait_max: silence_max * 2, ..LIMITS };
        is_alive = stream.inner.read_batch(&mut stream.batch, limits).await.is_ok();
        if is_alive {
            proxy.set(Mode::Forward);
            db.run("INSERT INTO t VALUES (2)").await;
            stream.next().await.unwrap();
            break;
        }
    }
    assert!(is_alive, "a server that looks for the position counted as dead");
}

/// A YEAR has a sign, too. The columns behind it must not get each other's.
#[tokio::test]
async fn signs_behind_a_year_are_each_column_s_own() {
    let mut db = shared("maria_signs").await;
    let columns = "id INT PRIMARY KEY, y YEAR, v INT, u INT UNSIGNED, b BIT(3), w BIGINT, x BIGINT UNSIGNED";
    db.run(&format!("CREATE TABLE t ({columns})")).await;
    let mut stream = db.follow(&["t"]).await;
    db.run("INSERT INTO t VALUES (1, 2026, -1, 4294967295, 5, -1, 18446744073709551615)").await;
    stream.next().await.unwrap();
    let batch = &stream.batch;
    let record = &batch.records()[0];
    let dictionary = db.source().tables(&db.filter(&["t"])).await.unwrap();
    assert_eq!(batch.schema(record).columns(), dictionary[0].columns());
    let fields: Vec<Field<'_>> = batch.after(record).unwrap().fields().collect();
    let [_, _, v, u, _, w, x] = fields[..] else { panic!("{fields:?}") };
    assert_eq!([v, w], [Field::Value(Value::Integer(-1)); 2]);
    assert_eq!([u, x], [u32::MAX.into(), u64::MAX].map(|number| Field::Value(Value::Unsigned(number))));
}

#[tokio::test]
async fn xa_of_mariadb_comes_with_its_second_phase() {
    crate::transactions::xa::check_phases(shared("maria_xa").await).await;
}

#[tokio::test]
async fn what_mariadb_takes_back_is_taken_back() {
    crate::transactions::rollbacks::check_taken_back(shared("maria_taken_back").await).await;
}
