//! What a source must do whose tables are read in chunks while their changes are followed.
//!
//! Two facts of real servers are behind it: what a stream has delivered may not be visible yet, and what is visible may not count as
//! executed yet. A harness makes its server as slow as it can be made.

use std::{
    collections::BTreeSet,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use tailrace_contract::{
    BatchEnd, BatchLimits, BoxFuture, ChangeStream, ChunkRange, ChunkReader, ErrorKind, Mark, Position, ReadLimits,
    Result, SourcePlace,
};
use tailrace_row::{Key, RecordBatch, TableSchema};

use crate::{
    reader::{LIMITS, ReaderHarness, inserts, plain, rest, scattered},
    sample::{Change, Row, change_of},
};

/// The table of a source under test, empty; see [`crate::sample_schema`].
pub trait ChunkHarness: ReaderHarness {
    /// A reader of the chunks of the table of this schema.
    fn open_chunks(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ChunkReader>>>;

    /// The changes of the table from a position on behind everything that is executed, and that position.
    fn follow(&self) -> BoxFuture<'_, (Box<dyn ChangeStream>, Position)>;

    /// From now on streams deliver what is committed before readers see it, and it is seen before it counts as executed, as far as the
    /// server can be made to.
    fn stall(&self) -> BoxFuture<'_, ()>;

    /// Begins a new file of the server's log.
    fn rotate(&self) -> BoxFuture<'_, ()>;
}

/// Runs every test of chunks.
#[macro_export]
macro_rules! chunk_tests {
    ($harness:path) => {
        $crate::each_test!($harness;
            chunk_holds_so_many_rows_of_a_range,
            chunk_holds_the_rows_of_keys,
            chunk_of_tables_of_none_and_one,
            chunk_shows_what_was_delivered,
            chunk_ends_behind_all_that_it_shows,
            chunk_of_an_altered_table_is_not_read,
            e06_stream_tells_how_far_it_has_read,
        );
    };
}

/// How long a change, or the end of a view, may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// The whole table.
const WHOLE: ChunkRange<'static> = ChunkRange { after: None, until: None, rows_max: 100_000 };

fn batch_limits(records_max: usize) -> BatchLimits {
    BatchLimits { bytes_max: 1 << 20, records_max, wait_max: Duration::from_millis(100) }
}

/// A table, a reader of its chunks, and its changes as far as they were read.
struct ChunkBench {
    schema: Arc<TableSchema>,
    reader: Box<dyn ChunkReader>,
    stream: Box<dyn ChangeStream>,
    start: Position,
    delivered: Vec<Change>,
}

impl ChunkBench {
    async fn new(harness: &dyn ChunkHarness) -> Self {
        let schema = harness.schema();
        let reader = harness.open_chunks(Arc::clone(&schema)).await.unwrap();
        let (stream, start) = harness.follow().await;
        Self { schema, reader, stream, start, delivered: Vec::new() }
    }

    /// The rows of a chunk, in order, and the place that covers it.
    async fn chunk(&mut self, shown: &Position, range: ChunkRange<'_>) -> (Vec<(Key, Row)>, SourcePlace) {
        self.reader.read_chunk(shown, range).await.unwrap();
        let rows = rest(&mut *self.reader, &self.schema, LIMITS).await;
        (rows, self.reader.end_of_view().await.unwrap())
    }

    async fn keys(&mut self, shown: &Position, keys: &[Key]) -> Vec<Row> {
        self.reader.read_keys(shown, keys).await.unwrap();
        let rows = rest(&mut *self.reader, &self.schema, ReadLimits { rows_max: 2, ..LIMITS }).await;
        self.reader.end_of_view().await.unwrap();
        plain(rows)
    }

    /// Reads a batch of the stream and checks what holds for every batch.
    async fn read(&mut self, records_max: usize) -> BatchEnd {
        let before = self.stream.place();
        let mut batch = RecordBatch::new();
        let end = self.stream.read_batch(&mut batch, batch_limits(records_max)).await.unwrap();
        self.delivered.extend(batch.records().iter().map(|record| change_of(&batch, record)));
        let place = self.stream.place();
        let is_inside = matches!(end, BatchEnd::MidTransaction { .. });
        assert_eq!(place.is_some(), !is_inside, "a stream has a place between transactions: {end:?}");
        if let (Some(before), Some(place)) = (before, place) {
            assert!(place.has_reached(&before), "from {before} back to {place}");
        }
        end
    }

    /// Reads on until so many changes have come and their transaction has ended.
    async fn deliver(&mut self, count: usize) -> Mark {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < PATIENCE, "{} of {count} changes came", self.delivered.len());
            let end = self.read(usize::MAX).await;
            if self.delivered.len() >= count && !matches!(end, BatchEnd::MidTransaction { .. }) {
                return end.mark().clone();
            }
        }
    }

    /// Reads on until the stream has reached the place.
    async fn reach(&mut self, place: &SourcePlace) {
        let begin = Instant::now();
        while !self.stream.place().is_some_and(|here| here.has_reached(place)) {
            assert!(begin.elapsed() < PATIENCE, "the stream is at {:?}, not at {place}", self.stream.place());
            self.read(usize::MAX).await;
        }
    }
}

/// What two come to that run at once.
async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        if first.is_none()
            && let Poll::Ready(done) = one.as_mut().poll(context)
        {
            first = Some(done);
        }
        if second.is_none()
            && let Poll::Ready(done) = other.as_mut().poll(context)
        {
            second = Some(done);
        }
        match (first.take(), second.take()) {
            (Some(done), Some(other)) => Poll::Ready((done, other)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

/// A range comes in chunks of any size, each row once and in the order of the whole; its bounds hold.
pub async fn chunk_holds_so_many_rows_of_a_range(harness: &dyn ChunkHarness) {
    let mut bench = ChunkBench::new(harness).await;
    let rows = scattered();
    harness.change(&inserts(&rows)).await;
    let shown = bench.deliver(rows.len()).await.position;
    let (whole, _) = bench.chunk(&shown, WHOLE).await;
    assert_eq!(plain(whole.clone()), rows);
    for rows_max in [1, 64, 133, 400, 401] {
        // One by one only for a while.
        let wanted = if rows_max == 1 { 20 } else { whole.len() };
        let (mut seen, mut after): (Vec<(Key, Row)>, Option<Key>) = (Vec::new(), None);
        while seen.len() < wanted {
            let (part, _) = bench.chunk(&shown, ChunkRange { after: after.as_ref(), until: None, rows_max }).await;
            assert_eq!(part.len() as u64, rows_max.min((whole.len() - seen.len()) as u64));
            after = part.last().map(|(key, _)| key.clone());
            seen.extend(part);
        }
        assert_eq!(seen, whole[..wanted], "in chunks of {rows_max}");
    }
    let key = |place: usize| Some(&whole[place].0);
    for (after, until, rows_max, expect) in [
        (key(99), key(150), 20, 100..120),
        (key(99), key(150), 51, 100..151),
        (key(99), key(150), 1_000, 100..151),
        (None, key(0), 7, 0..1),
        (key(397), None, 7, 398..400),
        (key(399), None, 7, 0..0),
        (key(7), key(7), 7, 0..0),
    ] {
        let range = ChunkRange { after, until, rows_max };
        let (part, _) = bench.chunk(&shown, range).await;
        assert_eq!(part, whole[expect]);
        let last = part.last().filter(|_| part.len() as u64 == rows_max);
        assert_eq!(bench.reader.bound_within(range).await.unwrap().as_ref(), last.map(|(key, _)| key));
    }
    let order = bench.reader.order();
    assert_eq!(order, harness.open_chunks(harness.schema()).await.unwrap().order(), "it is the table's");
}

/// Rows are found by their keys in such a view too; keys without a row are left out, and the end of a view wants its rows taken.
pub async fn chunk_holds_the_rows_of_keys(harness: &dyn ChunkHarness) {
    let mut bench = ChunkBench::new(harness).await;
    let mut rows = scattered();
    harness.change(&inserts(&rows)).await;
    let shown = bench.deliver(rows.len()).await.position;
    let (whole, _) = bench.chunk(&shown, WHOLE).await;
    let keys: Vec<Key> = whole.iter().map(|(key, _)| key.clone()).collect();
    let gone = rows.remove(11);
    harness.change(&[Change::Delete(gone.clone())]).await;
    let shown = bench.deliver(rows.len() + 2).await.position;
    assert_eq!(bench.keys(&shown, &keys).await, rows);
    let few: Vec<Row> = whole.iter().map(|(_, row)| row.clone()).step_by(37).filter(|row| *row != gone).collect();
    let asked: Vec<Key> = keys.iter().step_by(37).cloned().collect();
    assert_eq!(bench.keys(&shown, &asked).await, plain(few.into_iter().map(|row| (keys[0].clone(), row)).collect()));
    assert_eq!(bench.keys(&shown, &[keys[5].clone(), keys[5].clone()]).await.len(), 1, "a row comes once");
    assert_eq!(bench.keys(&shown, &[]).await, []);
}

/// The ends of small tables are covered too.
pub async fn chunk_of_tables_of_none_and_one(harness: &dyn ChunkHarness) {
    let mut bench = ChunkBench::new(harness).await;
    let start = bench.start.clone();
    let (none, place) = bench.chunk(&start, WHOLE).await;
    assert_eq!(none, []);
    bench.reach(&place).await;
    let row = Row::new(-5, "only");
    harness.change(&[Change::Insert(row.clone())]).await;
    let shown = bench.deliver(1).await.position;
    for rows_max in [1, 2] {
        let (only, place) = bench.chunk(&shown, ChunkRange { rows_max, ..WHOLE }).await;
        let key = only[0].0.clone();
        assert_eq!(plain(only), std::slice::from_ref(&row));
        bench.reach(&place).await;
        let (rest, _) = bench.chunk(&shown, ChunkRange { after: Some(&key), ..WHOLE }).await;
        assert_eq!(rest, []);
    }
}

/// What a stream has delivered is in a view that is to show it, however late the server shows it; also behind a read that was not
/// finished.
pub async fn chunk_shows_what_was_delivered(harness: &dyn ChunkHarness) {
    const ROUNDS: i64 = 5;
    let mut bench = ChunkBench::new(harness).await;
    harness.stall().await;
    for round in 0..ROUNDS {
        let row = Row::new(round, "new");
        let before = Row::new(round - 1, "new");
        let mut changes = vec![Change::Insert(row.clone())];
        if round > 0 {
            changes.push(Change::Update(before, Row::new(round - 1, "old")));
        }
        let expect: Vec<Row> = (0..round).map(|id| Row::new(id, "old")).chain([row]).collect();
        let count = bench.delivered.len() + changes.len();
        let reading = async {
            let shown = bench.deliver(count).await.position;
            bench.reader.read_chunk(&shown, ChunkRange { rows_max: 1, ..WHOLE }).await.unwrap();
            let (rows, _) = bench.chunk(&shown, WHOLE).await;
            let keys: Vec<Key> = rows.iter().map(|(key, _)| key.clone()).collect();
            assert_eq!(plain(rows), expect, "in round {round}");
            assert_eq!(bench.keys(&shown, &keys).await, expect, "in round {round}");
        };
        both(harness.change(&changes), reading).await;
    }
}

/// Whatever a view shows is delivered by the time that a stream has reached its end, which it does although nothing follows, also
/// behind a new file (E06).
pub async fn chunk_ends_behind_all_that_it_shows(harness: &dyn ChunkHarness) {
    const ROUNDS: i64 = 10;
    let mut bench = ChunkBench::new(harness).await;
    harness.stall().await;
    let start = bench.start.clone();
    for round in 0..ROUNDS {
        let changes = [Change::Insert(Row::new(round, "a"))];
        let reading = async {
            let mut last = bench.chunk(&start, WHOLE).await;
            for _ in 0..8 {
                last = bench.chunk(&start, WHOLE).await;
            }
            last
        };
        let ((), (rows, place)) = both(harness.change(&changes), reading).await;
        if round == ROUNDS / 2 {
            harness.rotate().await;
        }
        bench.reach(&place).await;
        let delivered: BTreeSet<Row> = bench
            .delivered
            .iter()
            .map(|change| match change {
                Change::Insert(row) => row.clone(),
                Change::Update(..) | Change::Delete(_) => panic!("nobody does that"),
            })
            .collect();
        let early: Vec<Row> = plain(rows).into_iter().filter(|row| !delivered.contains(row)).collect();
        assert_eq!(early, [], "seen before it was delivered, in round {round}");
    }
    harness.rotate().await;
    let (_, place) = bench.chunk(&start, WHOLE).await;
    bench.reach(&place).await;
}

/// A chunk of a table that has another shape by now is not read.
pub async fn chunk_of_an_altered_table_is_not_read(harness: &dyn ChunkHarness) {
    let mut bench = ChunkBench::new(harness).await;
    harness.change(&[Change::Insert(Row::new(1, "a"))]).await;
    let start = bench.start.clone();
    assert_eq!(bench.chunk(&start, WHOLE).await.0.len(), 1);
    harness.alter().await;
    for _ in 0..2 {
        let error = bench.reader.read_chunk(&start, WHOLE).await.expect_err("an altered table is read");
        assert!(error.kind() == ErrorKind::Transient && error.message().contains("opened with"), "{error}");
        let error = bench.reader.read_keys(&start, &[]).await.expect_err("an altered table is read");
        assert!(error.kind() == ErrorKind::Transient && error.message().contains("opened with"), "{error}");
    }
}

/// A stream has a place between transactions, which never goes back; inside one it has none.
pub async fn e06_stream_tells_how_far_it_has_read(harness: &dyn ChunkHarness) {
    let mut bench = ChunkBench::new(harness).await;
    let changes: Vec<Change> = (0..20).map(|id| Change::Insert(Row::new(id, "a"))).collect();
    let mut inside = 0;
    for part in changes.chunks(10) {
        harness.change(part).await;
    }
    let begin = Instant::now();
    let mut places = Vec::new();
    while bench.delivered.len() < changes.len() || places.is_empty() {
        assert!(begin.elapsed() < PATIENCE, "{} of {} changes came", bench.delivered.len(), changes.len());
        inside += u32::from(matches!(bench.read(3).await, BatchEnd::MidTransaction { .. }));
        places.extend(bench.stream.place());
    }
    assert!(inside >= 2, "ten changes don't fit into batches of three");
    let start = bench.start.clone();
    let (_, end) = bench.chunk(&start, WHOLE).await;
    bench.reach(&end).await;
    harness.rotate().await;
    let (_, next) = bench.chunk(&start, WHOLE).await;
    assert!(next.has_reached(&end) && !end.has_reached(&next), "{end}, then {next} in the next file");
    bench.reach(&next).await;
}
