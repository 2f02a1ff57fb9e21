//! What a reader sees, and what it says of what it can't read.

use std::{
    slice,
    time::{Duration, Instant},
};

use tailrace_contract::{
    BatchLimits, Error, ErrorKind, Log, LogBatch, LogPartition, LogReader, LogSettings, LogStart, ReadProgress,
};
use tailrace_kafka::KafkaLog;
use tailrace_row::{Epoch, Sequence, TableName};

use crate::support::{
    Change::{Delete, Insert, Update},
    LIMITS, batch, broker, checkpoint, raw, read_all, read_from_start, seen, settings, table,
};

/// A log whose tables have one partition each.
fn narrow_log(kafka: &lab::Kafka) -> KafkaLog {
    KafkaLog::new(LogSettings { partitions: 1, ..settings(kafka) }).expect("the settings are right")
}

pub(crate) fn partition(table: &str) -> LogPartition {
    LogPartition { table: TableName::new("shop", table), index: 0 }
}

/// Reads until a call fails, and returns the ids read before and the error.
async fn read_until_error(reader: &mut dyn LogReader, out: &mut LogBatch) -> (Vec<i64>, Error) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut ids = Vec::new();
    loop {
        assert!(Instant::now() < deadline, "no error came");
        out.records.clear();
        match reader.read_batch(out, LIMITS).await {
            Ok(()) => ids.extend(seen(out).into_iter().filter_map(|seen| seen.after).map(|row| row.0)),
            Err(error) => return (ids, error),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_records_stop_their_table_and_no_other() {
    let kafka = broker();
    let good_headers: [(&str, &[u8]); 2] = [("tailrace.sequence", b"1-9-0-0"), ("tailrace.schema", b"")];
    let orders_id = table("orders").id().to_string();
    let good_headers = [good_headers[0], (good_headers[1].0, orders_id.as_bytes())];
    type Headers<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(&[u8], Headers<'_>, &str); 7] = [
        (b"garbage", &good_headers, "is no JSON"),
        (br#"{"before":null,"after":{"id":1,"no"#, &good_headers, "is cut off"),
        (br#"{"before":null,"after":{"id":"planted","note":""}}"#, &good_headers, "column id is not of its type"),
        (br#"{"before":null,"after":{"id":1,"note":"planted"}}"#, &[], "no headers of Tailrace"),
        (b"{}", &[("tailrace.sequence", b"planted"), good_headers[1]], "tailrace.sequence can't be read"),
        (b"{}", &good_headers[..1], "lacks the header tailrace.schema"),
        (b"{}", &[good_headers[0], ("tailrace.schema", b"00000000deadbeef")], "names the schema 00000000deadbeef"),
    ];
    for (value, headers, words) in cases {
        let log = narrow_log(&kafka);
        let (orders, items) = (table("orders"), table("items"));
        let mut opened = log.open_writer().await.unwrap();
        opened.writer.append(&batch(&orders, 1, &[Insert(1, "one"), Insert(2, "two")])).await.unwrap();
        opened.writer.commit(&checkpoint(1)).await.unwrap();
        let topic = format!("{}.shop.orders", log.name());
        raw::send(&kafka, &topic, 0, "planted", Some(value), headers);
        opened.writer.append(&batch(&orders, 2, &[Insert(3, "behind it")])).await.unwrap();
        opened.writer.append(&batch(&items, 2, &[Insert(4, "elsewhere")])).await.unwrap();
        opened.writer.commit(&checkpoint(2)).await.unwrap();

        let from = [(partition("orders"), LogStart::Earliest), (partition("items"), LogStart::Earliest)];
        let mut reader = log.open_reader(&from).await.unwrap();
        let mut out = LogBatch::default();
        let (ids, error) = read_until_error(&mut *reader, &mut out).await;
        assert!(ids.starts_with(&[1, 2]) || ids.starts_with(&[4, 1, 2]), "what stands before comes first: {ids:?}");
        assert!(!ids.contains(&3), "nothing behind it is read");
        let orders_progress = out.progress.iter().find(|progress| progress.lane == 0).unwrap();
        // Behind the second record, or behind the commit marker that follows it.
        assert!((2..=3).contains(&orders_progress.next_offset), "progress stops before the broken record: {out:?}");
        let text = error.to_string();
        assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(orders.name())), "{text}");
        assert!(text.contains(words) && text.contains(&format!("{topic}[0]@3")), "{text}");
        assert!(!text.contains("planted") || words.contains("planted"), "no content in {text}");
        // It fails again until the table is stopped; then the other table goes on.
        assert_eq!(reader.read_batch(&mut out, LIMITS).await.unwrap_err().to_string(), text);
        reader.stop_table(orders.name()).unwrap();
        let rest = read_all(&mut *reader, usize::from(!ids.contains(&4))).await;
        assert!(rest.iter().all(|seen| seen.lane == 1), "{rest:?}");
    }
}

/// E23: committed records end at 3, an aborted transaction reached 7, and the partition ends at 9.
#[tokio::test(flavor = "multi_thread")]
async fn e23_the_end_of_a_quiet_partition_is_reached() {
    let kafka = broker();
    let log = narrow_log(&kafka);
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "one"), Insert(2, "two"), Insert(3, "three")])).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    raw::send_aborted(&kafka, &format!("{}.shop.orders", log.name()), 4);
    let mut reader = log.open_reader(&[(partition("orders"), LogStart::Earliest)]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut out = LogBatch::default();
    while out.progress.first().is_none_or(|progress| progress.next_offset < 9) {
        reader.read_batch(&mut out, LIMITS).await.unwrap();
        assert!(Instant::now() < deadline, "{:?}", out.progress);
    }
    assert_eq!(out.progress, [ReadProgress { lane: 0, next_offset: 9, behind: 0 }]);
    assert_eq!(seen(&out).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_are_passed_over() {
    let log = narrow_log(&broker());
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    let changes = [Insert(1, "one"), Update(1, "one", 2, "two"), Delete(2, "two")];
    opened.writer.append(&batch(&orders, 1, &changes)).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    let mut reader = log.open_reader(&[(partition("orders"), LogStart::Earliest)]).await.unwrap();
    let all = read_all(&mut *reader, 4).await;
    let told: Vec<_> = all.iter().map(|seen| (seen.operation, seen.offset, seen.sequence.as_str())).collect();
    let expect =
        [("insert", 0, "1-1-0-0"), ("delete", 1, "1-1-0-2"), ("insert", 3, "1-1-0-3"), ("delete", 4, "1-1-0-4")];
    assert_eq!(told, expect);
}

/// E20: an offset that the log does not have is never skipped.
#[tokio::test(flavor = "multi_thread")]
async fn e20_offsets_that_the_log_does_not_have_are_lost_positions() {
    let kafka = broker();
    let log = narrow_log(&kafka);
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    let changes: Vec<_> = (0..10).map(|id| Insert(id, "row")).collect();
    opened.writer.append(&batch(&orders, 1, &changes)).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    let topic = format!("{}.shop.orders", log.name());
    let open = async |offset| log.open_reader(&[(partition("orders"), LogStart::Offset(offset))]).await.map(|_| ());
    open(0).await.unwrap();
    open(11).await.unwrap();
    let error = open(12).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionLost);
    let words = [&format!("{topic}[0]"), "offset 12", "ends at 11"];
    assert!(words.iter().all(|word| error.to_string().contains(*word)), "{error}");

    raw::delete_records(&kafka, &topic, 0, 4).await;
    let error = open(3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionLost);
    let words = ["offset 3", "begins at 4", "ends at 11"];
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    let mut reader = log.open_reader(&[(partition("orders"), LogStart::Earliest)]).await.unwrap();
    assert_eq!(read_all(&mut *reader, 6).await[0].offset, 4);
}

/// E20: a topic that was made anew has the offset again, and other records before it.
#[tokio::test(flavor = "multi_thread")]
async fn e20_a_topic_that_has_grown_past_our_offset_again_is_a_lost_position() {
    let kafka = broker();
    let log = narrow_log(&kafka);
    let orders = table("orders");
    let at = |transaction| Sequence { epoch: Epoch(1), transaction, event: 0, row: 9 };
    let open = async |offset, applied| {
        let mut reader = log.open_reader(&[(partition("orders"), LogStart::Offset(offset))]).await.unwrap();
        reader.expect(0, applied);
        reader
    };
    let write = async |transactions: std::ops::Range<u64>| {
        let mut opened = log.open_writer().await.unwrap();
        for transaction in transactions {
            opened.writer.append(&batch(&orders, transaction, &[Insert(1, "one"), Delete(1, "one")])).await.unwrap();
            opened.writer.commit(&checkpoint(transaction)).await.unwrap();
        }
    };
    write(1..9).await;
    // Insert, delete, tombstone, marker.
    let mut reader = open(16, at(4)).await;
    assert_eq!(read_all(&mut *reader, 2).await[0].offset, 16);
    assert_eq!(read_all(&mut *open(20, at(4)).await, 2).await[0].offset, 20, "set forward by hand");
    assert_eq!(read_all(&mut *open(0, at(4)).await, 2).await[0].offset, 0, "nothing lies before it");

    let topic = format!("{}.shop.orders", log.name());
    raw::delete_topic(&kafka, &topic).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while !log.partitions(slice::from_ref(orders.name())).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the topic stays");
    }
    log.prepare(slice::from_ref(&orders)).await.unwrap();
    write(9..16).await;
    read_lost(open(16, at(4)).await, deadline + Duration::from_secs(40)).await;
    // Made anew by a capture that has lost its checkpoint and whose clock is behind: no record is newer, and none is ours.
    let later = Sequence { epoch: Epoch(2), ..at(4) };
    read_lost(open(16, later).await, deadline + Duration::from_secs(80)).await;
}

async fn read_lost(mut reader: Box<dyn LogReader>, deadline: Instant) {
    let mut out = LogBatch::default();
    let error = loop {
        assert!(Instant::now() < deadline, "the reader notices nothing");
        match reader.read_batch(&mut out, LIMITS).await {
            Ok(()) => assert!(out.records.is_empty(), "records of another topic"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    assert!(error.to_string().contains("made anew"), "{error}");
}

/// E20 while reading: the topic is made anew under the reader.
#[tokio::test(flavor = "multi_thread")]
async fn e20_a_topic_made_anew_is_a_lost_position() {
    let kafka = broker();
    let log = narrow_log(&kafka);
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "one"), Insert(2, "two")])).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    drop(opened);
    let mut reader = log.open_reader(&[(partition("orders"), LogStart::Earliest)]).await.unwrap();
    assert_eq!(read_all(&mut *reader, 2).await.len(), 2);
    let topic = format!("{}.shop.orders", log.name());
    raw::delete_topic(&kafka, &topic).await;
    // Deletion takes a moment.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !log.partitions(slice::from_ref(orders.name())).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the topic stays");
    }
    log.prepare(slice::from_ref(&orders)).await.unwrap();
    let mut out = LogBatch::default();
    let error = loop {
        assert!(Instant::now() < deadline + Duration::from_secs(40), "the reader notices nothing");
        match reader.read_batch(&mut out, LIMITS).await {
            Ok(()) => assert!(out.records.is_empty()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    assert!(error.to_string().contains(&format!("{topic}[0]")), "{error}");
    assert!(reader.read_batch(&mut out, LIMITS).await.is_err(), "a reader that lost its place does not go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_keep_their_limits_and_can_be_continued() {
    let log = narrow_log(&broker());
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    let changes: Vec<_> = (0..100).map(|id| Insert(id, "row")).collect();
    opened.writer.append(&batch(&orders, 1, &changes)).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    let mut reader = log.open_reader(&[(partition("orders"), LogStart::Offset(10))]).await.unwrap();
    let mut out = LogBatch::default();
    for (records_max, next_offset) in [(7, 17), (7, 17), (30, 40), (1000, 101)] {
        let limits = BatchLimits { records_max, ..LIMITS };
        let deadline = Instant::now() + Duration::from_secs(20);
        while out.progress.first().is_none_or(|progress| progress.next_offset < next_offset) {
            reader.read_batch(&mut out, limits).await.unwrap();
            assert!(out.records.len() <= records_max);
            assert!(Instant::now() < deadline, "{:?}", out.progress);
        }
        assert_eq!(out.progress.len(), 1, "one entry for the lane");
        assert_eq!(out.progress[0].next_offset, next_offset);
    }
    let ids: Vec<i64> = seen(&out).into_iter().map(|seen| seen.after.unwrap().0).collect();
    assert_eq!(ids, (10..100).collect::<Vec<_>>());
    let origins: Vec<_> = out.records.records().iter().map(|record| record.origin).collect();
    assert!(origins.iter().all(|origin| *origin == origins[0]), "one rows event has one origin");
}

/// A batch's bytes are a limit, too; and a first record that is larger than it still comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_ends_at_its_bytes() {
    let log = narrow_log(&broker());
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    let note = "x".repeat(10_000);
    let changes: Vec<_> = (0..10).map(|id| Insert(id, &note)).collect();
    opened.writer.append(&batch(&orders, 1, &changes)).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    let mut reader = log.open_reader(&[(partition("orders"), LogStart::Earliest)]).await.unwrap();
    let limits = BatchLimits { bytes_max: 1000, wait_max: Duration::from_secs(10), ..LIMITS };
    let mut out = LogBatch::default();
    for id in 0..10 {
        out.clear();
        reader.read_batch(&mut out, limits).await.unwrap();
        assert_eq!(seen(&out).len(), 1);
        assert_eq!(seen(&out)[0].after.as_ref().unwrap().0, id);
    }
}

/// The task that reads may be dropped at any moment: nothing it had taken is missing afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_read_loses_nothing() {
    let log = KafkaLog::new(settings(&broker())).unwrap();
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    let (mut reader, _) = {
        log.prepare(slice::from_ref(&orders)).await.unwrap();
        read_from_start(&log, &[&orders]).await
    };
    let mut ids = Vec::new();
    let mut out = LogBatch::default();
    let deadline = Instant::now() + Duration::from_secs(60);
    for transaction in 0.. {
        if transaction < 50 {
            let first = i64::try_from(transaction).unwrap() * 4;
            let changes: Vec<_> = (first..first + 4).map(|id| Insert(id, "row")).collect();
            opened.writer.append(&batch(&orders, transaction + 1, &changes)).await.unwrap();
            opened.writer.commit(&checkpoint(transaction + 1)).await.unwrap();
        }
        let limits = BatchLimits { wait_max: Duration::from_secs(5), ..LIMITS };
        // Polled first, the timer loses against whatever the reader does without waiting.
        let _ = tokio::time::timeout(Duration::from_millis(3), reader.read_batch(&mut out, limits)).await;
        ids.extend(seen(&out).into_iter().map(|seen| seen.after.unwrap().0));
        out.clear();
        if ids.len() >= 200 {
            break;
        }
        assert!(Instant::now() < deadline, "{} of 200 rows came", ids.len());
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_tools_see_how_far_is_applied() {
    let kafka = broker();
    let log = narrow_log(&kafka);
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "one"), Insert(2, "two")])).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    let mut reader = log.open_reader(&[(partition("orders"), LogStart::Earliest)]).await.unwrap();
    read_all(&mut *reader, 2).await;
    reader.report_applied(&[ReadProgress { lane: 0, next_offset: 2, behind: 1 }]);
    let (group, topic) = (format!("{}.apply", log.name()), format!("{}.shop.orders", log.name()));
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut out = LogBatch::default();
    while raw::group_offset(&kafka, &group, &topic, 0) != Some(2) {
        reader.read_batch(&mut out, LIMITS).await.unwrap();
        assert!(Instant::now() < deadline, "the offset does not appear");
    }
}

/// The reader was opened before the table had a schema: it comes with the first record's transaction.
#[tokio::test(flavor = "multi_thread")]
async fn schemas_that_come_later_are_found() {
    let kafka = broker();
    let log = narrow_log(&kafka);
    let topic = format!("{}.shop.orders", log.name());
    raw::create_topic(&kafka, &topic, 1, &[]).await;
    let mut opened = log.open_writer().await.unwrap();
    let mut reader = log.open_reader(&[(partition("orders"), LogStart::Earliest)]).await.unwrap();
    opened.writer.append(&batch(&table("orders"), 1, &[Insert(1, "one")])).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    assert_eq!(read_all(&mut *reader, 1).await[0].after, Some((1, "one".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_a_reader_is_behind_is_told() {
    let log = narrow_log(&broker());
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    let changes: Vec<_> = (0..1000).map(|id| Insert(id, "row")).collect();
    opened.writer.append(&batch(&orders, 1, &changes)).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    let mut reader = log.open_reader(&[(partition("orders"), LogStart::Earliest)]).await.unwrap();
    let limits = BatchLimits { records_max: 1, ..LIMITS };
    let deadline = Instant::now() + Duration::from_secs(20);
    // The client asks for the end once a second.
    loop {
        let mut out = LogBatch::default();
        reader.read_batch(&mut out, limits).await.unwrap();
        let Some(progress) = out.progress.first() else { continue };
        if progress.behind > 0 {
            assert_eq!(progress.behind, 1001 - u64::try_from(progress.next_offset).unwrap());
            break;
        }
        assert!(Instant::now() < deadline && progress.next_offset < 990, "never behind: {progress:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
