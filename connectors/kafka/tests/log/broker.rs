//! A broker that dies and comes back: nothing is lost, nothing is doubled, and it goes on by itself.
//!
//! These tests have a broker of their own, because they kill it.

use std::{
    slice,
    sync::Arc,
    time::{Duration, Instant},
};

use lab::Kafka;
use tailrace_contract::{BatchLimits, ErrorKind, Log, LogBatch, LogReader, Result};
use tailrace_kafka::KafkaLog;
use tailrace_row::TableSchema;
use tokio::sync::Mutex;

use crate::support::{Change::Insert, LIMITS, batch, checkpoint, read_all, read_from_start, seen, settings, table};

/// One broker, killed by one test at a time.
static BROKER: Mutex<()> = Mutex::const_new(());

fn mortal_broker() -> Kafka {
    Kafka::up("mortal").expect("a Kafka broker")
}

/// Rows of one transaction.
const ROWS: i64 = 20;

/// A capture as small as can be: transaction n inserts rows n*ROWS and on; it resumes from the checkpoint that the log holds.
async fn write_until(log: &KafkaLog, orders: &Arc<TableSchema>, transactions: u64, failures: &mut Vec<String>) {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        match write_on(log, orders, transactions).await {
            Ok(()) => return,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
                failures.push(error.to_string());
                assert!(Instant::now() < deadline, "it does not recover: {failures:?}");
            }
        }
    }
}

async fn write_on(log: &KafkaLog, orders: &Arc<TableSchema>, transactions: u64) -> Result<()> {
    let mut opened = log.open_writer().await?;
    let done = opened.checkpoint.map_or(0, |checkpoint| checkpoint.mark.transactions);
    for transaction in done + 1..=transactions {
        let first = i64::try_from(transaction).unwrap() * ROWS;
        let changes: Vec<_> = (first..first + ROWS).map(|id| Insert(id, "row")).collect();
        opened.writer.append(&batch(orders, transaction, &changes)).await?;
        opened.writer.commit(&checkpoint(transaction)).await?;
    }
    Ok(())
}

/// Reads while the writer writes and the broker dies; every row must come once and in order.
async fn read_until(reader: &mut dyn LogReader, count: usize) -> Vec<i64> {
    let deadline = Instant::now() + Duration::from_secs(240);
    let mut ids = Vec::new();
    let mut out = LogBatch::default();
    while ids.len() < count {
        out.clear();
        reader.read_batch(&mut out, LIMITS).await.expect("short outages are waited out");
        ids.extend(seen(&out).into_iter().map(|seen| seen.after.unwrap().0));
        assert!(Instant::now() < deadline, "{} of {count} rows came", ids.len());
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_again_and_again_loses_and_doubles_nothing() {
    let _alone = BROKER.lock().await;
    let kafka = mortal_broker();
    let log = Arc::new(KafkaLog::new(settings(&kafka)).unwrap());
    let orders = table("orders");
    log.prepare(slice::from_ref(&orders)).await.unwrap();
    const TRANSACTIONS: u64 = 1500;
    let rows = i64::try_from(TRANSACTIONS).unwrap() * ROWS;
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;

    let writing = {
        let (log, orders) = (Arc::clone(&log), Arc::clone(&orders));
        tokio::spawn(async move {
            let mut failures = Vec::new();
            write_until(&log, &orders, TRANSACTIONS, &mut failures).await;
            failures
        })
    };
    let killing = tokio::task::spawn_blocking(move || {
        let kafka = mortal_broker();
        for round in 0..3_u64 {
            // Moments that have nothing to do with the writer's.
            std::thread::park_timeout(Duration::from_millis(900 + 370 * round));
            kafka.kill().unwrap();
            kafka.start().unwrap();
        }
    });
    let reading = tokio::spawn(async move {
        let mut ids = read_until(&mut *reader, usize::try_from(rows).unwrap()).await;
        ids.sort_unstable();
        ids
    });
    killing.await.unwrap();
    let failures = writing.await.unwrap();
    let ids = reading.await.unwrap();
    assert_eq!(ids, (ROWS..ROWS + rows).collect::<Vec<_>>(), "after {failures:?}");
    // A second look, from the start: nothing was doubled behind the first reader's back.
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    let mut again: Vec<i64> =
        read_all(&mut *reader, ids.len()).await.into_iter().map(|seen| seen.after.unwrap().0).collect();
    again.sort_unstable();
    assert_eq!(again, ids);
}

/// The broker dies while a transaction is open and comes back: the writer waits it out, or says so and a new one goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_inside_a_transaction_ends_well() {
    let _alone = BROKER.lock().await;
    let kafka = mortal_broker();
    let log = KafkaLog::new(settings(&kafka)).unwrap();
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "one")])).await.unwrap();
    tokio::task::block_in_place(|| {
        kafka.kill().unwrap();
        kafka.start().unwrap();
    });
    let committed = async {
        opened.writer.append(&batch(&orders, 1, &[Insert(2, "two")])).await?;
        opened.writer.commit(&checkpoint(1)).await
    };
    if let Err(error) = committed.await {
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
        drop(opened);
        let mut opened = log.open_writer().await.unwrap();
        if opened.checkpoint.is_none() {
            opened.writer.append(&batch(&orders, 1, &[Insert(1, "one"), Insert(2, "two")])).await.unwrap();
            opened.writer.commit(&checkpoint(1)).await.unwrap();
        }
    }
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    assert_eq!(read_all(&mut *reader, 2).await.len(), 2);
}

/// Longer than it may be waited out in silence: writer and reader say so within a minute, and go on afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_stays_away_is_a_transient_error() {
    let _alone = BROKER.lock().await;
    let kafka = mortal_broker();
    let log = KafkaLog::new(settings(&kafka)).unwrap();
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    opened.writer.append(&batch(&orders, 1, &[Insert(1, "one")])).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();
    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    assert_eq!(read_all(&mut *reader, 1).await.len(), 1);
    tokio::task::block_in_place(|| kafka.kill().unwrap());

    let begin = Instant::now();
    let writing = {
        let orders = Arc::clone(&orders);
        tokio::spawn(async move {
            let appended = opened.writer.append(&batch(&orders, 2, &[Insert(2, "two")])).await;
            let error = match appended {
                Ok(()) => opened.writer.commit(&checkpoint(2)).await.unwrap_err(),
                Err(error) => error,
            };
            // Dropping it does not hang while the broker is away.
            let dropping = Instant::now();
            drop(opened);
            assert!(dropping.elapsed() < Duration::from_secs(10), "dropping the writer took {:?}", dropping.elapsed());
            error
        })
    };
    let limits = BatchLimits { wait_max: Duration::from_secs(1), ..LIMITS };
    let mut out = LogBatch::default();
    let read_error = loop {
        if let Err(error) = reader.read_batch(&mut out, limits).await {
            break error;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "the reader says nothing");
    };
    let write_error = writing.await.unwrap();
    for error in [&write_error, &read_error] {
        assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "after {:?}: {write_error}; {read_error}", begin.elapsed());
    assert!(write_error.to_string().contains("127.0.0.1"), "the broker is named: {write_error}");
    tokio::task::block_in_place(|| kafka.start().unwrap());
    let mut opened = log.open_writer().await.unwrap();
    assert_eq!(opened.checkpoint, Some(checkpoint(1)));
    opened.writer.append(&batch(&orders, 2, &[Insert(2, "two")])).await.unwrap();
    opened.writer.commit(&checkpoint(2)).await.unwrap();
    // The same reader goes on once the broker is back.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "the reader does not recover");
        match reader.read_batch(&mut out, LIMITS).await {
            Ok(()) if out.records.is_empty() => {}
            Ok(()) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Transient, "{error}"),
        }
    }
    assert_eq!(seen(&out)[0].after, Some((2, "two".to_owned())));
}
