//! The book alone: what a close leaves of a chunk, what voids a window, in which order things are written.

use std::sync::{Arc, Mutex};

use tailrace_contract::{BatchEnd, LedgerEntry, Mark, Position, SchemaChange, SourcePlace, TableAct, TablePattern};
use tailrace_row::{
    Column, ColumnType, Epoch, Field, Operation, Origin, Record, RecordBatch, Sequence, TableName, TableSchema, Value,
};
use tokio::sync::watch;

use super::super::{Chunk, Closed, CopySession, Desk, DueChunk, Void, Window, WindowBook};
use crate::{
    capture::boundary::Boundary,
    mapping::{TableRule, TableRules, TargetRule},
    state::ledger::{CopyState, TableEntry},
};

fn table(name: &str) -> Arc<TableSchema> {
    let column = |name: &str| Column {
        name: name.into(),
        column_type: ColumnType::Integer { bits: 64, unsigned: false },
        nullable: false,
    };
    Arc::new(TableSchema::new(TableName::new("shop", name), [column("id"), column("amount")], [0]).unwrap())
}

fn origin() -> Origin {
    Origin {
        epoch: Epoch(1),
        transaction: 5,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "".into(),
        file_offset: 0,
        server_id: 1,
        thread: None,
    }
}

/// One record a row, each (key before, key after).
fn batch(schema: &Arc<TableSchema>, rows: &[(Option<i64>, Option<i64>)]) -> RecordBatch {
    let mut batch = RecordBatch::new();
    let (number, origin) = (batch.add_schema(schema), batch.add_origin(origin()));
    for (before, after) in rows {
        let mut image = |key: &i64| {
            let written = batch.write_image::<()>(2, |image| {
                image.value(Value::Integer(*key));
                image.value(Value::Integer(7));
                Ok(())
            });
            written.unwrap()
        };
        let (before, after) = (before.as_ref().map(&mut image), after.as_ref().map(&mut image));
        let operation = match (before, after) {
            (Some(_), Some(_)) => Operation::Update,
            (Some(_), None) => Operation::Delete,
            (None, _) => Operation::Read,
        };
        batch.push(Record { operation, schema: number, origin, row: 0, lane: 0, offset: 0, before, after });
    }
    batch
}

/// An update of the row with that key that tells nothing else.
fn partial(schema: &Arc<TableSchema>, key: i64) -> RecordBatch {
    let mut partial = batch(schema, &[(Some(key), Some(key))]);
    let image = partial.write_image::<()>(2, |image| {
        image.value(Value::Integer(key));
        image.unchanged();
        Ok(())
    });
    let changed = Record { after: Some(image.unwrap()), ..partial.records()[0] };
    partial.push(changed);
    partial
}

/// All tables of the database are copied.
fn rules() -> TableRules {
    TableRules::new(vec![TableRule::new(TablePattern::Database("shop".into()), TargetRule::SameName)])
}

fn place(offset: u64) -> SourcePlace {
    SourcePlace { series: "binlog".into(), file: 1, offset }
}

fn mark() -> Mark {
    Mark { position: Position::new("gtid:a:1-5"), transactions: 5 }
}

fn boundary() -> Boundary {
    let checkpoint = tailrace_contract::Checkpoint { epoch: Epoch(1), mark: mark(), split: None };
    Boundary::new(&checkpoint)
}

/// A session's two sides.
struct Sides {
    session: CopySession,
    book: WindowBook,
    sessions: watch::Receiver<Option<CopySession>>,
}

impl Sides {
    fn new() -> Self {
        let desk = Desk::default();
        let sessions = desk.sessions();
        let book = desk.begin(Epoch(1), Vec::new(), &rules()).unwrap();
        let session = sessions.borrow().clone().unwrap();
        Self { session, book, sessions }
    }

    async fn open(&mut self, schema: &TableSchema) -> Window {
        let asked = self.session.open(schema.name());
        let answer = async {
            self.book.requested().await;
            self.book.open(&mark().position);
        };
        let (window, ()) = tokio::join!(asked, answer);
        window.unwrap()
    }

    /// What is due, as keys.
    fn due(&mut self) -> Option<(Vec<i64>, usize)> {
        let DueChunk { rows, entries } = self.book.take_due().unwrap()?.written_behind(&boundary());
        let key = |record: &Record| match rows.after(record).unwrap().field(0) {
            Field::Value(Value::Integer(key)) => key,
            other => panic!("{other:?}"),
        };
        let last = Sequence { epoch: Epoch(1), transaction: 5, event: u32::MAX, row: 0 };
        assert!(rows.records().iter().all(|record| rows.sequence(record) == last), "as if behind the last transaction");
        Some((rows.records().iter().map(key).collect(), entries.len()))
    }
}

fn chunk(schema: &Arc<TableSchema>, keys: &[i64], end: u64, noted: &Arc<Mutex<Vec<Closed>>>) -> Chunk {
    let rows: Vec<_> = keys.iter().map(|key| (None, Some(*key))).collect();
    let noted = Arc::clone(noted);
    let entries = Box::new(move |closed| {
        noted.lock().unwrap().push(closed);
        vec![LedgerEntry { key: "table/x".into(), value: None }]
    });
    Chunk { rows: batch(schema, &rows), end: place(end), entries }
}

#[tokio::test]
async fn a_close_drops_what_was_touched_since_the_opening_and_no_more() {
    let (orders, noted) = (table("orders"), Arc::default());
    let mut sides = Sides::new();
    let end = BatchEnd::TransactionEnd(mark());
    let mut early = batch(&orders, &[(Some(1), Some(1))]);
    sides.book.note(&mut early, &end, Some(place(50)));
    let window = sides.open(&orders).await;
    assert_eq!(window.shown.as_str(), "gtid:a:1-5");
    let closing = window.close(chunk(&orders, &[1, 2, 3, 4, 5], 100, &noted));
    sides.book.requested().await;
    // A key change touches both keys; a delete touches its own; another table's keys are others.
    sides.book.note(&mut batch(&orders, &[(Some(2), Some(30)), (Some(4), None)]), &end, Some(place(99)));
    sides.book.note(&mut batch(&table("else"), &[(Some(5), None)]), &end, Some(place(99)));
    assert_eq!(sides.due(), None, "H is not reached");
    sides.book.note(&mut RecordBatch::new(), &BatchEnd::Idle(mark()), Some(place(100)));
    assert_eq!(sides.due(), Some((vec![1, 3, 5], 1)));
    let closed = Closed { written: 3, dropped: 2 };
    assert_eq!(*noted.lock().unwrap(), [closed]);
    let mut closing = Box::pin(closing);
    assert!(futures_are_pending(&mut closing).await, "not before it is durable");
    sides.book.committed();
    assert_eq!(closing.await, Ok(closed));
}

async fn futures_are_pending<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[tokio::test]
async fn nothing_closes_inside_a_transaction_nor_in_another_series_of_files() {
    let (orders, noted) = (table("orders"), Arc::default());
    let mut sides = Sides::new();
    let window = sides.open(&orders).await;
    let _closing = window.close(chunk(&orders, &[1], 100, &noted));
    sides.book.requested().await;
    let last = Sequence { epoch: Epoch(1), transaction: 6, event: 0, row: 0 };
    let split = tailrace_contract::SplitTransaction { name: "a:6".into(), last };
    let inside = BatchEnd::MidTransaction { mark: mark(), split };
    sides.book.note(&mut batch(&orders, &[(Some(1), Some(1))]), &inside, Some(place(500)));
    assert_eq!(sides.due(), None);
    sides.book.note(&mut RecordBatch::new(), &BatchEnd::Idle(mark()), None);
    assert_eq!(sides.due(), None);
    let next_file = SourcePlace { series: "binlog".into(), file: 2, offset: 4 };
    sides.book.note(&mut RecordBatch::new(), &BatchEnd::Idle(mark()), Some(next_file));
    assert_eq!(sides.due(), Some((vec![], 1)), "its row was touched");
}

#[tokio::test]
async fn e09_rows_of_another_server_come_to_nothing() {
    let (orders, noted) = (table("orders"), Arc::default());
    let mut sides = Sides::new();
    let closing = sides.open(&orders).await.close(chunk(&orders, &[1], 100, &noted));
    sides.book.requested().await;
    let other = SourcePlace { series: "mysql-bin".into(), file: 9, offset: 4 };
    sides.book.note(&mut RecordBatch::new(), &BatchEnd::Idle(mark()), Some(other));
    assert_eq!(sides.due(), None);
    assert_eq!(closing.await, Err(Void::OtherServer));
}

#[tokio::test]
async fn e11_a_row_that_was_changed_in_part_is_read_again() {
    let (orders, noted) = (table("orders"), Arc::default());
    let mut sides = Sides::new();
    let closing = sides.open(&orders).await.close(chunk(&orders, &[1, 2], 100, &noted));
    sides.book.requested().await;
    let mut partial = partial(&orders, 1);
    sides.book.note(&mut partial, &BatchEnd::TransactionEnd(mark()), Some(place(100)));
    assert_eq!(sides.due(), None);
    assert_eq!(closing.await, Err(Void::PartialImages));
    assert!(noted.lock().unwrap().is_empty(), "its chunk is not done");
}

#[tokio::test]
async fn e11_rows_may_be_absent_up_to_the_last_chunk_and_not_behind_it() {
    let orders = table("orders");
    let mut sides = Sides::new();
    let mut entry = TableEntry::new(orders.name().clone(), Epoch(1), "id".to_owned(), 1, 0.0);
    let may_be_absent = |book: &mut WindowBook, offset| {
        let mut partial = partial(&orders, 1);
        book.note(&mut partial, &BatchEnd::TransactionEnd(mark()), Some(place(offset)));
        partial.merged_after(1).unwrap().may_be_absent()
    };
    assert!(may_be_absent(&mut sides.book, 50), "its copy has not begun");
    let mut chunk = chunk(&orders, &[1], 100, &Arc::default());
    entry.state = CopyState::Done;
    let done = entry.to_entry();
    chunk.entries = Box::new(move |_| vec![done]);
    let _closing = sides.open(&orders).await.close(chunk);
    sides.book.requested().await;
    let mut idle = RecordBatch::new();
    assert_eq!(sides.due(), None);
    assert!(may_be_absent(&mut sides.book, 60), "the chunk is not closed");
    sides.book.note(&mut idle, &BatchEnd::Idle(mark()), Some(place(100)));
    assert_eq!(sides.due(), None, "its row was changed in part");
    assert!(may_be_absent(&mut sides.book, 110), "a window that came to nothing ends no copy");
    let done = entry.to_entry();
    let session = sides.session.clone();
    let noted = session.note(move || vec![done]);
    let writes = async {
        sides.book.requested().await;
        assert!(may_be_absent(&mut sides.book, 120), "what is asked for is not written");
        assert_eq!(sides.due(), Some((vec![], 1)));
        assert!(!may_be_absent(&mut sides.book, 130), "all is copied by now, durable or not");
        sides.book.committed();
    };
    let (noted, ()) = tokio::join!(noted, writes);
    assert_eq!(noted, Ok(()));
}

#[tokio::test]
async fn f32_a_statement_voids_the_windows_of_its_tables_and_of_no_other() {
    let (orders, other, noted) = (table("orders"), table("other"), Arc::default());
    let mut sides = Sides::new();
    let (closing, reading, untouched) =
        (sides.open(&orders).await, sides.open(&orders).await, sides.open(&other).await);
    let closing = closing.close(chunk(&orders, &[1], 100, &noted));
    sides.book.requested().await;
    let act = TableAct::Truncate { table: orders.name().clone() };
    let change = SchemaChange {
        sequence: Sequence { epoch: Epoch(1), transaction: 6, event: 0, row: 0 },
        place: "a:6".into(),
        committed_at_micros: 0,
        statement: "TRUNCATE orders".into(),
        acts: vec![act],
    };
    sides.book.note(&mut RecordBatch::new(), &BatchEnd::SchemaChange { mark: mark(), change: Box::new(change) }, None);
    assert_eq!(closing.await, Err(Void::Altered));
    let late = reading.close(chunk(&orders, &[2], 100, &noted));
    let kept = untouched.close(chunk(&other, &[3], 100, &noted));
    sides.book.requested().await;
    sides.book.requested().await;
    assert_eq!(late.await, Err(Void::Altered), "its rows were read before the statement");
    sides.book.note(&mut RecordBatch::new(), &BatchEnd::Idle(mark()), Some(place(200)));
    assert_eq!((sides.due(), sides.due()), (Some((vec![3], 1)), None));
    drop(kept);
}

#[tokio::test]
async fn e16_what_is_not_committed_when_a_session_ends_is_void() {
    let (orders, noted) = (table("orders"), Arc::default());
    let mut sides = Sides::new();
    let window = sides.open(&orders).await;
    let closing = window.close(chunk(&orders, &[1], 100, &noted));
    sides.book.requested().await;
    sides.book.note(&mut RecordBatch::new(), &BatchEnd::Idle(mark()), Some(place(100)));
    assert_eq!(sides.due(), Some((vec![1], 1)), "written, but not committed");
    drop(sides.book);
    assert_eq!(closing.await, Err(Void::SessionEnded));
    assert_eq!(sides.session.open(orders.name()).await.err(), Some(Void::SessionEnded));
    assert!(!sides.sessions.has_changed().unwrap_or(false));
}

#[tokio::test]
async fn too_many_changes_void_a_window_and_what_is_given_up_is_forgotten() {
    let (orders, noted) = (table("orders"), Arc::default());
    let mut sides = Sides::new();
    drop(sides.open(&orders).await);
    sides.book.requested().await;
    let window = sides.open(&orders).await;
    let closing = window.close(chunk(&orders, &[1], 100, &noted));
    sides.book.requested().await;
    for thousand in 0..=20_i64 {
        let rows: Vec<_> = (0..1_000).map(|key| (Some(thousand * 1_000 + key), None)).collect();
        sides.book.note(&mut batch(&orders, &rows), &BatchEnd::TransactionEnd(mark()), Some(place(50)));
    }
    assert_eq!(closing.await, Err(Void::TooManyChanges));
}

#[tokio::test]
async fn documents_are_written_in_the_order_in_which_they_were_asked_for() {
    let mut sides = Sides::new();
    let session = sides.session.clone();
    let note = |key: &'static str| session.note(move || vec![LedgerEntry { key: key.into(), value: None }]);
    let (first, second) = (note("a"), note("b"));
    let writes = async {
        sides.book.requested().await;
        sides.book.requested().await;
        let keys: Vec<_> = [(); 2]
            .map(|()| sides.book.take_due().unwrap().unwrap().written_behind(&boundary()).entries[0].key.clone())
            .into();
        assert_eq!(keys, ["a".into(), "b".into()]);
        sides.book.committed();
    };
    let (first, second, ()) = tokio::join!(first, second, writes);
    assert_eq!((first, second), (Ok(()), Ok(())));
}
