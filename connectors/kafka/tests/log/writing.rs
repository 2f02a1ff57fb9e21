//! What a commit makes durable, and for whom.

use std::{
    slice,
    sync::Arc,
    time::{Duration, Instant},
};

use tailrace_contract::{Checkpoint, ErrorKind, Log, LogSettings, LogWriter, SchemaChange, SplitTransaction, TableAct};
use tailrace_kafka::KafkaLog;
use tailrace_row::{Epoch, Sequence, TableSchema};

use crate::support::{
    Change::{Delete, Insert, Update},
    batch, broker, checkpoint, log, raw, read_all, read_from_start, settings, table,
};

#[tokio::test(flavor = "multi_thread")]
async fn records_and_checkpoint_become_durable_together() {
    let log = log(&broker());
    let orders = table("orders");
    log.prepare(slice::from_ref(&orders)).await.unwrap();
    let mut opened = log.open_writer().await.unwrap();
    assert_eq!(opened.checkpoint, None);
    let changes = [Insert(1, "one"), Insert(2, "two"), Update(1, "one", 1, "uno")];
    opened.writer.append(&batch(&orders, 1, &changes)).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();

    // A second transaction is written and never committed.
    opened.writer.append(&batch(&orders, 2, &[Delete(2, "two")])).await.unwrap();
    drop(opened);

    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    let mut all = read_all(&mut *reader, 3).await;
    all.sort_by(|one, other| one.sequence.cmp(&other.sequence));
    let told: Vec<_> = all.iter().map(|seen| (seen.operation, seen.sequence.as_str(), seen.after.clone())).collect();
    let row = |id: i64, note: &str| Some((id, note.to_owned()));
    let expect = [
        ("insert", "1-1-0-0", row(1, "one")),
        ("insert", "1-1-0-2", row(2, "two")),
        ("update", "1-1-0-4", row(1, "uno")),
    ];
    assert_eq!(told, expect);
    assert_eq!(log.open_writer().await.unwrap().checkpoint, Some(checkpoint(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_transaction_is_remembered_and_ends_as_one() {
    let log = log(&broker());
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 2, &[Insert(1, "one"), Insert(2, "two")])).await.unwrap();
    let last = Sequence { epoch: Epoch(1), transaction: 2, event: 0, row: 2 };
    let split = Checkpoint { split: Some(SplitTransaction { name: "uuid:2".into(), last }), ..checkpoint(1) };
    opened.writer.commit(&split).await.unwrap();
    drop(opened);
    let mut opened = log.open_writer().await.unwrap();
    assert_eq!(opened.checkpoint, Some(split));
    opened.writer.append(&batch(&orders, 2, &[Insert(3, "three")])).await.unwrap();
    opened.writer.commit(&checkpoint(2)).await.unwrap();
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    assert_eq!(read_all(&mut *reader, 3).await.len(), 3);
    assert_eq!(log.open_writer().await.unwrap().checkpoint, Some(checkpoint(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_writer_does_not_keep_readers_waiting() {
    let kafka = broker();
    let settings = LogSettings { partitions: 1, ..settings(&kafka) };
    let topic = format!("{}.shop.orders", settings.prefix);
    let log = KafkaLog::new(settings).unwrap();
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "lost")])).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while raw::watermarks(&kafka, &topic, 0, "read_uncommitted").1 == 0 {
        assert!(Instant::now() < deadline, "the record does not reach the broker");
    }
    drop(opened);
    // The abort marker is written at once, not by the broker's time limit of a minute.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let written = raw::watermarks(&kafka, &topic, 0, "read_uncommitted").1;
        let decided = raw::watermarks(&kafka, &topic, 0, "read_committed").1;
        if written == 2 && decided == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{decided} of {written} are decided");
    }
    assert_eq!(raw::read(&kafka, &topic, 0), []);
}

/// What a writer that died has left undecided stays so for a minute or more; whoever starts anew does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn who_prepares_does_not_wait_for_an_open_transaction() {
    let kafka = broker();
    let log = log(&kafka);
    let (orders, users) = (table("orders"), table("users"));
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "undecided")])).await.unwrap();
    let topic = format!("{}.schemas", log.name());
    let deadline = Instant::now() + Duration::from_secs(10);
    while raw::watermarks(&kafka, &topic, 0, "read_uncommitted").1 == 0 {
        assert!(Instant::now() < deadline, "the schema does not reach the broker");
    }
    // It would fail: nobody decides the transaction.
    log.prepare(slice::from_ref(&users)).await.unwrap();
    assert_eq!(
        raw::watermarks(&kafka, &topic, 0, "read_committed").1,
        0,
        "the transaction is decided: this proves nothing"
    );
    drop(opened);
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "one")])).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    assert_eq!(read_all(&mut *reader, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_writer_fences_the_first_by_name() {
    let log = log(&broker());
    let orders = table("orders");
    let mut first = log.open_writer().await.unwrap();
    first.writer.append(&batch(&orders, 1, &[Insert(1, "lost")])).await.unwrap();
    let mut second = log.open_writer().await.unwrap();
    let error = first.writer.commit(&checkpoint(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("another capture") && error.to_string().contains(log.name()), "{error}");
    // It stays fenced, whatever it tries.
    assert!(first.writer.append(&batch(&orders, 1, &[Insert(1, "lost")])).await.is_err());
    second.writer.append(&batch(&orders, 1, &[Insert(2, "kept")])).await.unwrap();
    second.writer.commit(&checkpoint(1)).await.unwrap();
    drop(first);
    second.writer.append(&batch(&orders, 2, &[Insert(3, "kept too")])).await.unwrap();
    second.writer.commit(&checkpoint(2)).await.unwrap();
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    let mut ids: Vec<_> = read_all(&mut *reader, 2).await.into_iter().map(|seen| seen.after.unwrap().0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [2, 3]);
}

/// Commits rows one by one until it fails; returns the number of the last transaction that succeeded.
async fn commit_on(mut writer: Box<dyn LogWriter>, orders: Arc<TableSchema>, mut last: u64) -> u64 {
    loop {
        let row = Insert(i64::try_from(last).unwrap() + 1, "row");
        let appended = writer.append(&batch(&orders, last + 1, &[row])).await;
        if appended.is_err() || writer.commit(&checkpoint(last + 1)).await.is_err() {
            return last;
        }
        last += 1;
        // A test that fails ends.
        tokio::task::yield_now().await;
    }
}

/// E17: the other one commits until the moment it is fenced. What it committed is found, and nothing is written twice.
#[tokio::test(flavor = "multi_thread")]
async fn e17_the_last_checkpoint_of_a_writer_that_still_commits_is_found() {
    let log = Arc::new(log(&broker()));
    let orders = table("orders");
    log.prepare(slice::from_ref(&orders)).await.unwrap();
    let mut first = log.open_writer().await.unwrap().writer;
    let mut done = 0;
    for round in 0..5 {
        let committing = tokio::spawn(commit_on(first, Arc::clone(&orders), done));
        let topic_end = async || log.ends(&[crate::reading::partition("orders")]).await.unwrap()[0].end;
        let begun = topic_end().await;
        let deadline = Instant::now() + Duration::from_secs(30);
        while topic_end().await == begun {
            assert!(Instant::now() < deadline, "it commits nothing");
        }
        let opened = log.open_writer().await.unwrap();
        let found = opened.checkpoint.unwrap().mark.transactions;
        let told = committing.await.unwrap();
        // The answer to its last commit may have been lost to it.
        assert!(found == told || found == told + 1, "round {round}: {found} is found of {told}");
        assert!(found > done, "round {round}: nothing was committed");
        (first, done) = (opened.writer, found);
    }
    drop(first);
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    let all = read_all(&mut *reader, usize::try_from(done).unwrap()).await;
    let mut ids: Vec<_> = all.into_iter().map(|seen| seen.after.unwrap().0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=i64::try_from(done).unwrap()).collect::<Vec<_>>());
}

/// E18: the broker fences a producer whose transaction took too long, and looks the same. Here somebody fences us without
/// ever writing a name.
#[tokio::test(flavor = "multi_thread")]
async fn e18_nobody_is_blamed_who_does_not_own_the_log() {
    let kafka = broker();
    let log = log(&kafka);
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "one")])).await.unwrap();
    raw::fence(&kafka, &format!("{}.capture", log.name()));
    let error = opened.writer.commit(&checkpoint(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.to_string().contains("nobody else owns the log"), "{error}");
    drop(opened);
    let opened = log.open_writer().await.unwrap();
    assert_eq!(opened.checkpoint, None, "what was fenced was not committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_schema_is_written_once() {
    let kafka = broker();
    let log = log(&kafka);
    let (orders, items) = (table("orders"), table("items"));
    log.prepare(slice::from_ref(&orders)).await.unwrap();
    for transaction in 1..=3 {
        let mut opened = log.open_writer().await.unwrap();
        opened.writer.append(&batch(&orders, transaction, &[Insert(1, "one")])).await.unwrap();
        // This table is met in mid-stream: its topic is made on the way.
        opened.writer.append(&batch(&items, transaction, &[Insert(1, "one")])).await.unwrap();
        opened.writer.append(&batch(&items, transaction, &[Insert(2, "two")])).await.unwrap();
        opened.writer.commit(&checkpoint(transaction)).await.unwrap();
    }
    let written = raw::read(&kafka, &format!("{}.schemas", log.name()), 0);
    let keys: Vec<_> = written.iter().map(|record| record.key.clone().unwrap()).collect();
    assert_eq!(keys, [orders.id().to_string(), items.id().to_string()]);
    assert_eq!(log.tables().await.unwrap(), [items.name().clone(), orders.name().clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_whose_transaction_was_aborted_is_written_again() {
    let kafka = broker();
    let log = log(&kafka);
    let orders = table("orders");
    for transaction in 1..=2 {
        let mut opened = log.open_writer().await.unwrap();
        opened.writer.append(&batch(&orders, transaction, &[Insert(1, "one")])).await.unwrap();
        if transaction == 2 {
            opened.writer.commit(&checkpoint(1)).await.unwrap();
        }
    }
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    assert_eq!(read_all(&mut *reader, 1).await.len(), 1);
    assert_eq!(raw::read(&kafka, &format!("{}.schemas", log.name()), 0).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_fails_its_table_before_it_is_sent() {
    let kafka = broker();
    let settings = LogSettings { partitions: 1, ..settings(&kafka) };
    let topic = format!("{}.shop.orders", settings.prefix);
    raw::create_topic(&kafka, &topic, 1, &[("max.message.bytes", "1000000")]).await;
    let log = KafkaLog::new(settings).unwrap();
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    let large = "secret".repeat(200_000);
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "small")])).await.unwrap();
    let error = opened.writer.append(&batch(&orders, 2, &[Insert(2, &large)])).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(orders.name())));
    let text = error.to_string();
    for part in [format!("{topic}[0]"), "1-2-0-0".to_owned(), "1000000".to_owned(), "max.message.bytes".to_owned()] {
        assert!(text.contains(&part), "{part} in {text}");
    }
    assert!(!text.contains("secret"), "{text}");
    drop(opened);
    // What the topic just takes goes through.
    let mut opened = log.open_writer().await.unwrap();
    let just = "x".repeat(999_000);
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "small"), Insert(2, &just), Insert(3, &just)])).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    let all = read_all(&mut *reader, 3).await;
    assert_eq!(all.iter().map(|seen| seen.after.as_ref().unwrap().1.len()).collect::<Vec<_>>(), [5, 999_000, 999_000]);
}

/// More than the client's queue holds: appending waits for the broker, and the order stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_larger_than_the_queue_goes_through_in_order() {
    let kafka = broker();
    let log = log(&kafka);
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    // 60,000 records of 1.3 kB: 80 MB against a queue of 32.
    let note = "0123456789".repeat(80);
    for round in 0..60 {
        let changes: Vec<_> = (0..1000).map(|index| Insert(round * 1000 + index, &note)).collect();
        opened.writer.append(&batch(&orders, u64::try_from(round).unwrap() + 1, &changes)).await.unwrap();
    }
    opened.writer.commit(&checkpoint(60)).await.unwrap();
    let (mut reader, partitions) = read_from_start(&log, &[&orders]).await;
    let all = read_all(&mut *reader, 60_000).await;
    assert_eq!(all.len(), 60_000);
    for lane in 0..u32::try_from(partitions.len()).unwrap() {
        let ids: Vec<i64> =
            all.iter().filter(|seen| seen.lane == lane).map(|seen| seen.after.as_ref().unwrap().0).collect();
        assert!(ids.is_sorted() && ids.len() > 10_000, "lane {lane} has {} records", ids.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_with_and_without_schema_do_not_mix() {
    let kafka = broker();
    let plain = settings(&kafka);
    let orders = table("orders");
    let inline = LogSettings { has_inline_schemas: true, ..plain.clone() };
    let log = KafkaLog::new(inline).unwrap();
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "one"), Update(1, "one", 2, "two")])).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    drop(opened);
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    assert_eq!(read_all(&mut *reader, 3).await.len(), 3, "records with their schema are read like others");
    let error = KafkaLog::new(plain).unwrap().open_writer().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("set [log] schemas = true"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_are_not_understood_are_refused_by_name() {
    let kafka = broker();
    let cases: [(&str, &[u8], &str); 3] = [
        ("capture", br#"{"format":2,"owner":"someone"}"#, "has format 2"),
        ("capture", b"\x00garbage", "can't be read"),
        ("other", b"{}", "unknown key"),
    ];
    for (key, value, words) in cases {
        let log = log(&kafka);
        drop(log.open_writer().await.unwrap());
        let topic = format!("{}.checkpoint", log.name());
        raw::send(&kafka, &topic, 0, key, Some(value), &[]);
        let error = log.open_writer().await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(words) && error.to_string().contains(&topic), "{error}");
    }
}

/// The checkpoint is found far behind the owner records of many starts, and among aborted ones.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_checkpoint_is_found_however_far_back_it_lies() {
    let kafka = broker();
    let log = log(&kafka);
    let mut opened = log.open_writer().await.unwrap();
    for transaction in 1..=5 {
        opened.writer.commit(&checkpoint(transaction)).await.unwrap();
    }
    drop(opened);
    let topic = format!("{}.checkpoint", log.name());
    raw::send_often(&kafka, &topic, "owner", br#"{"format":1,"owner":"someone"}"#, 5000);
    assert_eq!(log.open_writer().await.unwrap().checkpoint, Some(checkpoint(5)));
}

/// E15: the checkpoint is gone, forgotten or with its topic. What is left of the log tells above which epoch one has to begin.
#[tokio::test(flavor = "multi_thread")]
async fn e15_the_epoch_of_a_checkpoint_that_is_gone_is_found() {
    let kafka = broker();
    let log = log(&kafka);
    let orders = table("orders");
    let known = async || {
        let opened = log.open_writer().await.unwrap();
        assert_eq!(opened.checkpoint, None);
        opened.epoch
    };
    let in_epoch = |epoch, transactions| Checkpoint { epoch: Epoch(epoch), ..checkpoint(transactions) };
    log.prepare(slice::from_ref(&orders)).await.unwrap();
    assert_eq!(known().await, None, "a new log");

    let mut opened = log.open_writer().await.unwrap();
    opened.writer.commit(&in_epoch(9, 0)).await.unwrap();
    log.forget_checkpoint().await.unwrap();
    assert_eq!(known().await, Some(Epoch(9)));
    log.forget_checkpoint().await.unwrap();
    assert_eq!(known().await, Some(Epoch(9)), "forgotten twice");

    // Records of epoch 1 behind a checkpoint whose topic goes; many transactions that were aborted lie behind the last of them.
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "one")])).await.unwrap();
    opened.writer.commit(&in_epoch(9, 1)).await.unwrap();
    drop(opened);
    let lose_checkpoint = async || {
        let topic = format!("{}.checkpoint", log.name());
        raw::delete_topic(&kafka, &topic).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        while log.checkpoint().await.is_ok_and(|known| known.is_some()) {
            assert!(Instant::now() < deadline, "the topic stays");
        }
    };
    for _ in 0..2 {
        raw::send_aborted(&kafka, &format!("{}.shop.orders", log.name()), 200);
    }
    lose_checkpoint().await;
    assert_eq!(known().await, Some(Epoch(1)), "by the table's records");

    let sequence = Sequence { epoch: Epoch(5), transaction: 2, event: 0, row: 0 };
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.commit_barrier(&truncate(&orders, sequence), &in_epoch(5, 2)).await.unwrap();
    drop(opened);
    lose_checkpoint().await;
    assert_eq!(known().await, Some(Epoch(5)), "by the barriers");
}

/// Records and readers go by the numbers of barriers, so they rise also where the topic that has the barriers is lost.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_barriers_never_repeat() {
    let kafka = broker();
    let log = log(&kafka);
    let orders = table("orders");
    log.prepare(slice::from_ref(&orders)).await.unwrap();
    let commit = async |transaction| {
        let sequence = Sequence { epoch: Epoch(1), transaction, event: 0, row: 0 };
        let mut opened = log.open_writer().await.unwrap();
        opened.writer.commit_barrier(&truncate(&orders, sequence), &checkpoint(transaction)).await.unwrap()
    };
    assert_eq!([commit(1).await, commit(2).await], [1, 2]);
    let control = format!("{}.control", log.name());
    raw::delete_topic(&kafka, &control).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !log.open_barriers().await.unwrap().read().await.is_ok_and(|barriers| barriers.is_empty()) {
        assert!(Instant::now() < deadline, "the topic stays");
    }
    assert_eq!(commit(3).await, 3, "the checkpoint has the last number");
    log.forget_checkpoint().await.unwrap();
    raw::delete_topic(&kafka, &control).await;
    while !log.open_barriers().await.unwrap().read().await.is_ok_and(|barriers| barriers.is_empty()) {
        assert!(Instant::now() < deadline, "the topic stays");
    }
    assert_eq!(commit(4).await, 4, "and what is forgotten of it too");
}

fn truncate(table: &TableSchema, sequence: Sequence) -> SchemaChange {
    SchemaChange {
        sequence,
        place: format!("uuid:{}", sequence.transaction).into(),
        committed_at_micros: 0,
        statement: "TRUNCATE TABLE t".into(),
        acts: vec![TableAct::Truncate { table: table.name().clone() }],
    }
}
