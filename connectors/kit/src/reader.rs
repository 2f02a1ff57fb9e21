//! What a reader of tables must do, that of a source and that of a target alike.

use std::{collections::BTreeSet, future::poll_fn, sync::Arc, task::Poll};

use tailrace_contract::{
    ApplyBatch, BoxFuture, ErrorKind, ReadLimits, Result, RowRef, Rows, TableChanges, TableMapping, TableReader,
};
use tailrace_row::{Epoch, Key, Operation, Origin, RecordBatch, TableName, TableSchema};

use crate::{
    sample::{Change, Recorder, Row, read, sample_schema},
    sink::SinkHarness,
    source::SourceHarness,
};

/// A table under test, empty; see [`crate::sample_schema`].
pub trait ReaderHarness: Send + Sync {
    /// Its schema.
    fn schema(&self) -> Arc<TableSchema>;

    /// A reader of the table of this schema.
    fn open(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>>;

    /// Makes the changes in one transaction.
    fn change<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, ()>;

    /// Alters the table, again with each call. It fails where somebody keeps the table from being altered for some seconds.
    fn alter(&self) -> BoxFuture<'_, ()>;
}

/// The table of a source.
pub struct SourceTable<H>(pub H);

impl<H: SourceHarness> ReaderHarness for SourceTable<H> {
    fn schema(&self) -> Arc<TableSchema> {
        sample_schema(&self.0.table())
    }

    fn open(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>> {
        self.0.source().open_reader(schema)
    }

    fn change<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, ()> {
        self.0.change(changes)
    }

    fn alter(&self) -> BoxFuture<'_, ()> {
        self.0.alter()
    }
}

/// The table of a target, written by its own writer.
pub struct SinkTable<H> {
    harness: H,
    mapping: Arc<TableMapping>,
}

impl<H: SinkHarness> SinkTable<H> {
    /// Makes the table.
    pub async fn new(harness: H, table: &str) -> Self {
        let source = TableName::new("shop", table);
        let mapping = TableMapping::new(source, harness.target(table));
        harness.sink().prepare().await.unwrap();
        harness.sink().create_table(&sample_schema(&mapping.source), &mapping).await.unwrap();
        Self { harness, mapping: Arc::new(mapping) }
    }

    async fn apply(&self, changes: &[Change]) {
        let schema = self.schema();
        let mut recorder = Recorder::new(&schema, 0);
        recorder.add(changes);
        let mut tables =
            TableChanges { mapping: Arc::clone(&self.mapping), schema, deletes: Vec::new(), upserts: Vec::new() };
        for (record, change) in (0..).zip(changes) {
            match change {
                // No test of a reader changes a key.
                Change::Insert(_) | Change::Update(..) => tables.upserts.push(RowRef::After(record)),
                Change::Delete(_) => tables.deletes.push(RowRef::Before(record)),
            }
        }
        let mut writer = self.harness.sink().open_writer("kit").await.unwrap();
        let batch = ApplyBatch { records: &recorder.batch, changes: &[tables], progress: &[], stream: None };
        writer.apply(batch).await.unwrap();
    }
}

impl<H: SinkHarness> ReaderHarness for SinkTable<H> {
    fn schema(&self) -> Arc<TableSchema> {
        sample_schema(&self.mapping.source)
    }

    fn open(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>> {
        Box::pin(async move { self.harness.sink().open_reader(schema, &self.mapping).await })
    }

    fn change<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, ()> {
        Box::pin(self.apply(changes))
    }

    fn alter(&self) -> BoxFuture<'_, ()> {
        self.harness.alter(&self.mapping.target)
    }
}

/// Runs every test of a reader.
#[macro_export]
macro_rules! reader_tests {
    ($harness:path) => {
        $crate::each_test!($harness;
            reader_covers_a_table_in_chunks,
            reader_finds_rows_by_their_keys,
            reader_shows_one_moment,
            reader_begins_anew,
            reader_reads_tables_of_none_and_one,
            reader_refuses_a_table_of_another_shape,
            reader_lets_go_of_a_table_that_was_altered,
            reader_forgets_calls_that_were_given_up,
        );
    };
}

pub(crate) const LIMITS: ReadLimits = ReadLimits { rows_max: 100, bytes_max: 1 << 20 };

/// The origin that the kit's rows get.
pub(crate) fn origin() -> Origin {
    Origin {
        epoch: Epoch(7),
        transaction: 42,
        event: 3,
        committed_at_micros: 1,
        transaction_name: None,
        file: "kit".into(),
        file_offset: 4,
        server_id: 1,
        thread: None,
    }
}

/// The rest of the read, in pieces of these limits.
pub(crate) async fn rest(reader: &mut dyn TableReader, schema: &TableSchema, limits: ReadLimits) -> Vec<(Key, Row)> {
    let mut rows = Vec::new();
    loop {
        let mut batch = RecordBatch::new();
        let may_have_more = reader.fill(&mut batch, &origin(), limits).await.unwrap();
        assert!(batch.len() <= limits.rows_max, "{} rows at once", batch.len());
        for record in batch.records() {
            assert_eq!((record.operation, record.before), (Operation::Read, None));
            assert_eq!(batch.origin(record), &origin());
            assert_eq!(batch.schema(record).id(), schema.id());
            let image = batch.after(record).unwrap();
            rows.push((Key::of(schema, image), read(image)));
        }
        if !may_have_more {
            return rows;
        }
        assert!(!batch.is_empty(), "a read that may have more has brought some");
    }
}

async fn read_rows(reader: &mut dyn TableReader, schema: &TableSchema, rows: Rows<'_>) -> Vec<(Key, Row)> {
    reader.read(rows).await.unwrap();
    rest(reader, schema, LIMITS).await
}

pub(crate) fn plain(rows: Vec<(Key, Row)>) -> Vec<Row> {
    let mut rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
    rows.sort();
    rows
}

/// Rows with huge gaps between their ids, at both ends of the numbers, and runs without any.
pub(crate) fn scattered() -> Vec<Row> {
    let mut ids = BTreeSet::from([i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while ids.len() < 400 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ids.insert(state.cast_signed() >> (state % 60));
    }
    let name = |id: i64| match id % 3 {
        0 => None,
        1 => Some("é😀".repeat(usize::try_from(id.unsigned_abs() % 9).unwrap())),
        _ => Some(String::new()),
    };
    ids.into_iter().map(|id| Row { id, name: name(id) }).collect()
}

pub(crate) fn inserts(rows: &[Row]) -> Vec<Change> {
    rows.iter().cloned().map(Change::Insert).collect()
}

/// Chunk by chunk, of any size and taken in any pieces, every row comes exactly once and in the order of the whole.
pub async fn reader_covers_a_table_in_chunks(harness: &dyn ReaderHarness) {
    let schema = harness.schema();
    let rows = scattered();
    harness.change(&inserts(&rows)).await;
    let mut reader = harness.open(Arc::clone(&schema)).await.unwrap();
    let whole = read_rows(&mut *reader, &schema, Rows::ALL).await;
    assert_eq!(plain(whole.clone()), rows);
    for (chunk, limits) in [
        (23, ReadLimits { rows_max: 1, ..LIMITS }),
        (64, ReadLimits { rows_max: 64, bytes_max: 1 }),
        (133, ReadLimits { rows_max: 133, bytes_max: 500 }),
        (400, LIMITS),
        (401, LIMITS),
    ] {
        let mut seen = Vec::new();
        let mut after: Option<Key> = None;
        loop {
            let until = reader.bound(after.as_ref(), chunk).await.unwrap();
            reader.read(Rows::Range { after: after.as_ref(), until: until.as_ref() }).await.unwrap();
            let part = rest(&mut *reader, &schema, limits).await;
            assert!(until.is_none() || part.len() as u64 == chunk, "{} rows in a chunk of {chunk}", part.len());
            assert_eq!(until.is_some(), part.last().is_some_and(|(key, _)| Some(key) == until.as_ref()));
            seen.extend(part);
            match until {
                Some(until) => after = Some(until),
                None => break,
            }
        }
        assert_eq!(seen, whole, "in chunks of {chunk}");
    }
    let last = whole.last().map(|(key, _)| key);
    assert_eq!(read_rows(&mut *reader, &schema, Rows::Range { after: last, until: None }).await, []);
    assert_eq!(read_rows(&mut *reader, &schema, Rows::Range { after: last, until: last }).await, []);
}

/// Rows are found by their keys, however many are asked for; keys without a row are left out.
pub async fn reader_finds_rows_by_their_keys(harness: &dyn ReaderHarness) {
    let schema = harness.schema();
    let mut rows = scattered();
    harness.change(&inserts(&rows)).await;
    let mut reader = harness.open(Arc::clone(&schema)).await.unwrap();
    let whole = read_rows(&mut *reader, &schema, Rows::ALL).await;
    let keys: Vec<Key> = whole.iter().map(|(key, _)| key.clone()).collect();
    let gone = rows.remove(11);
    harness.change(&[Change::Delete(gone)]).await;
    assert_eq!(plain(read_rows(&mut *reader, &schema, Rows::Keys(&keys)).await), rows);
    let few: Vec<Key> = keys.iter().step_by(37).cloned().collect();
    reader.read(Rows::Keys(&few)).await.unwrap();
    let found = rest(&mut *reader, &schema, ReadLimits { rows_max: 2, ..LIMITS }).await;
    assert!(found.iter().all(|(key, _)| few.contains(key)));
    assert!(found.len() + 1 >= few.len() && found.len() <= few.len(), "{} of {} keys", found.len(), few.len());
    let twice = [keys[5].clone(), keys[5].clone()];
    assert_eq!(read_rows(&mut *reader, &schema, Rows::Keys(&twice)).await.len(), 1, "a row comes once");
    assert_eq!(read_rows(&mut *reader, &schema, Rows::Keys(&[])).await, []);
}

/// What is written after the beginning of a read is not in it, and is in the next one.
pub async fn reader_shows_one_moment(harness: &dyn ReaderHarness) {
    let schema = harness.schema();
    let rows: Vec<Row> = (0..50).map(|id| Row::new(id, "before")).collect();
    harness.change(&inserts(&rows)).await;
    let mut reader = harness.open(Arc::clone(&schema)).await.unwrap();
    reader.read(Rows::ALL).await.unwrap();
    let mut batch = RecordBatch::new();
    assert!(reader.fill(&mut batch, &origin(), ReadLimits { rows_max: 1, ..LIMITS }).await.unwrap());
    let changes = [
        Change::Delete(rows[7].clone()),
        Change::Insert(Row::new(1_000, "after")),
        Change::Update(rows[8].clone(), Row::new(8, "after")),
    ];
    harness.change(&changes).await;
    let first = read(batch.after(&batch.records()[0]).unwrap());
    let mut seen = plain(rest(&mut *reader, &schema, LIMITS).await);
    seen.push(first);
    seen.sort();
    assert_eq!(seen, rows);
    let mut now = rows;
    now[8] = Row::new(8, "after");
    now.remove(7);
    now.push(Row::new(1_000, "after"));
    assert_eq!(plain(read_rows(&mut *reader, &schema, Rows::ALL).await), now);
}

/// A call ends the read that is under way, whatever was not taken of it.
pub async fn reader_begins_anew(harness: &dyn ReaderHarness) {
    let schema = harness.schema();
    let rows: Vec<Row> = (0..500).map(|id| Row::new(id, "a")).collect();
    harness.change(&inserts(&rows)).await;
    let mut reader = harness.open(Arc::clone(&schema)).await.unwrap();
    assert_eq!(rest(&mut *reader, &schema, LIMITS).await, [], "nothing is under way");
    for _ in 0..3 {
        reader.read(Rows::ALL).await.unwrap();
        let mut batch = RecordBatch::new();
        assert!(reader.fill(&mut batch, &origin(), ReadLimits { rows_max: 3, ..LIMITS }).await.unwrap());
        let key = Key::of(&schema, batch.after(&batch.records()[2]).unwrap());
        let bound = reader.bound(None, 3).await.unwrap();
        assert_eq!(bound, Some(key));
        assert_eq!(rest(&mut *reader, &schema, LIMITS).await, [], "the bound has ended the read");
        reader.read(Rows::ALL).await.unwrap();
        assert_eq!(read_rows(&mut *reader, &schema, Rows::Range { after: None, until: bound.as_ref() }).await.len(), 3);
        reader.read(Rows::ALL).await.unwrap();
        reader.estimate().await.unwrap();
        assert_eq!(rest(&mut *reader, &schema, LIMITS).await, [], "so has the estimate");
    }
}

/// The ends of small tables.
pub async fn reader_reads_tables_of_none_and_one(harness: &dyn ReaderHarness) {
    let schema = harness.schema();
    let mut reader = harness.open(Arc::clone(&schema)).await.unwrap();
    assert_eq!(reader.bound(None, 1).await.unwrap(), None);
    assert_eq!(read_rows(&mut *reader, &schema, Rows::ALL).await, []);
    assert!(reader.estimate().await.unwrap() < 1_000);
    let row = Row::new(-5, "only");
    harness.change(&[Change::Insert(row.clone())]).await;
    assert_eq!(reader.bound(None, 0).await.unwrap(), None);
    let only = reader.bound(None, 1).await.unwrap().expect("there is a row");
    assert_eq!(reader.bound(None, 2).await.unwrap(), None);
    assert_eq!(reader.bound(Some(&only), 1).await.unwrap(), None);
    for rows in [Rows::ALL, Rows::Range { after: None, until: Some(&only) }, Rows::Keys(std::slice::from_ref(&only))] {
        assert_eq!(plain(read_rows(&mut *reader, &schema, rows).await), std::slice::from_ref(&row));
    }
    assert_eq!(read_rows(&mut *reader, &schema, Rows::Range { after: Some(&only), until: None }).await, []);
}

/// A schema that the table does not have gives no reader.
pub async fn reader_refuses_a_table_of_another_shape(harness: &dyn ReaderHarness) {
    let schema = harness.schema();
    let mut columns = schema.columns().to_vec();
    columns[1].name = "title".into();
    let other = Arc::new(TableSchema::new(schema.name().clone(), columns, schema.key()).unwrap());
    assert!(harness.open(other).await.is_err(), "the table has no such column");
    harness.open(schema).await.unwrap();
}

/// A call that finds the table altered says so each time, and holds nothing of it.
pub async fn reader_lets_go_of_a_table_that_was_altered(harness: &dyn ReaderHarness) {
    let schema = harness.schema();
    harness.change(&[Change::Insert(Row::new(1, "a"))]).await;
    let mut reader = harness.open(Arc::clone(&schema)).await.unwrap();
    let mut other = harness.open(schema).await.unwrap();
    harness.alter().await;
    for _ in 0..2 {
        assert_altered(reader.read(Rows::ALL).await);
        assert_altered(other.bound(None, 1).await);
        harness.alter().await;
    }
}

fn assert_altered<T>(answer: Result<T>) {
    let error = answer.err().expect("an altered table is read");
    assert!(error.kind() == ErrorKind::Transient && error.message().contains("opened with"), "{error}");
}

/// However far a call has come when it is dropped, the next one gets its own answer.
pub async fn reader_forgets_calls_that_were_given_up(harness: &dyn ReaderHarness) {
    let schema = harness.schema();
    let rows: Vec<Row> = (0..300).map(|id| Row::new(id, "a")).collect();
    harness.change(&inserts(&rows)).await;
    let mut reader = harness.open(Arc::clone(&schema)).await.unwrap();
    let bound = reader.bound(None, 7).await.unwrap();
    assert!(bound.is_some());
    for polls in 1..=9 {
        let _ = give_up_after(polls, reader.bound(None, 9)).await;
        assert_eq!(reader.bound(None, 7).await.unwrap(), bound, "behind a bound that was given up");
        let _ = give_up_after(polls, reader.read(Rows::ALL)).await;
        let until = bound.as_ref();
        assert_eq!(read_rows(&mut *reader, &schema, Rows::Range { after: None, until }).await.len(), 7);
        let _ = give_up_after(polls, reader.estimate()).await;
        assert_eq!(plain(read_rows(&mut *reader, &schema, Rows::ALL).await), rows);
    }
}

/// The answer, unless it takes more polls than that.
async fn give_up_after<T>(polls: u32, mut call: BoxFuture<'_, T>) -> Option<T> {
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        call.as_mut().poll(context).map(Some)
    })
    .await
}
