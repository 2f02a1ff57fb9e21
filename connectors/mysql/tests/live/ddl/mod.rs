//! Statements that change captured tables, and where they stand among the rows.

pub(crate) mod corpus;
pub(crate) mod oracle;

use tailrace_contract::{BatchEnd, Checkpoint, Mark, SchemaChange, TableAct};
use tailrace_row::{Epoch, Sequence};

use crate::harness::{Database, LIMITS, Stream};

/// The next statement that changes a captured table, and the mark behind it.
pub(crate) async fn next_change(stream: &mut Stream) -> (Mark, SchemaChange) {
    stream.batch.clear();
    for _ in 0..40 {
        match stream.inner.read_batch(&mut stream.batch, LIMITS).await.unwrap() {
            BatchEnd::SchemaChange { mark, change } => return (mark, *change),
            BatchEnd::Idle(_) => {}
            end @ (BatchEnd::TransactionEnd(_) | BatchEnd::MidTransaction { .. }) => panic!("rows come first: {end:?}"),
        }
    }
    panic!("no statement came");
}

fn at(mark: &Mark) -> Checkpoint {
    Checkpoint { epoch: Epoch(3), mark: mark.clone(), split: None }
}

#[tokio::test]
async fn a_statement_on_a_table_comes_alone_between_the_rows_before_and_behind_it() {
    let mut db = Database::new("ddl_place").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY)").await;
    let mut stream = db.follow(&["t"]).await;
    db.run_all(&["INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)", "TRUNCATE TABLE t"]).await;
    db.run("INSERT INTO t VALUES (3)").await;

    let mut before = stream.next().await.unwrap();
    while stream.batch.len() < 2 {
        before = stream.inner.read_batch(&mut stream.batch, LIMITS).await.unwrap();
    }
    // However often it is asked with records in hand, nothing behind them is given.
    for _ in 0..3 {
        before = stream.inner.read_batch(&mut stream.batch, LIMITS).await.unwrap();
        assert!(matches!(before, BatchEnd::TransactionEnd(_)) && stream.batch.len() == 2, "{before:?}");
    }
    let before = before.mark().clone();
    let (behind, change) = next_change(&mut stream).await;
    assert_eq!(behind.transactions, before.transactions + 1);
    assert_eq!(change.sequence, Sequence { epoch: Epoch(3), transaction: behind.transactions, event: 0, row: 0 });
    assert_eq!(
        (&*change.statement, &change.acts),
        ("TRUNCATE TABLE t", &vec![TableAct::Truncate { table: db.table("t") }])
    );
    assert!(change.committed_at_micros > 1_700_000_000_000_000, "{change:?}");
    let gtid = db.text("SELECT @@server_uuid").await;
    assert!(change.place.contains(&gtid) && change.place.contains(".0000"), "{change:?}");
    stream.next().await.unwrap();
    assert_eq!(stream.batch.len(), 1);

    // A restart before it brings the very same, one behind it none of it.
    let mut again = db.follow_from(&at(&before), &["t"]).await.unwrap();
    assert_eq!(next_change(&mut again).await, (behind.clone(), change));
    let mut further = db.follow_from(&at(&behind), &["t"]).await.unwrap();
    further.next().await.unwrap();
    assert_eq!(further.batch.len(), 1);
    let mut other = db.follow_from(&at(&before), &["other"]).await.unwrap();
    other.drain().await;
}

#[tokio::test]
async fn the_corpus_is_what_mysql_makes_of_it() {
    let mut db = Database::new("ddl_corpus").await;
    oracle::check_corpus(&mut db, &[corpus::Server::Both, corpus::Server::Mysql]).await;
}
