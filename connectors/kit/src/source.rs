//! What a source must do.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tailrace_contract::{
    BatchEnd, BatchLimits, BoxFuture, ChangeStream, Checkpoint, Mark, Source, StartAt, TableFilter, TablePattern,
};
use tailrace_row::{Epoch, RecordBatch, Sequence, TableName};

use crate::sample::{Change, Row, change_of, sample_schema};

/// A source under test.
pub trait SourceHarness: Send + Sync {
    /// The source.
    fn source(&self) -> &dyn Source;

    /// An empty table like the kit's; see [`crate::sample_schema`].
    fn table(&self) -> TableName;

    /// Makes the changes in one transaction, each by a statement of its own.
    fn change<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, ()>;

    /// Makes a transaction on another table of the server.
    fn change_elsewhere(&self) -> BoxFuture<'_, ()>;

    /// As [`crate::ReaderHarness::alter`].
    fn alter(&self) -> BoxFuture<'_, ()>;
}

/// Runs every test of a source.
#[macro_export]
macro_rules! source_tests {
    ($harness:path) => {
        $crate::each_test!($harness;
            source_knows_its_table,
            source_delivers_changes_in_order,
            source_resumes_alike_from_every_mark,
            source_resumes_inside_a_transaction,
            source_moves_its_mark_with_other_traffic,
            source_tells_what_lies_behind,
        );
    };
}

/// How long a change may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

const WAIT: Duration = Duration::from_millis(100);

struct Bench<'h> {
    harness: &'h dyn SourceHarness,
    filter: Arc<TableFilter>,
    start: Checkpoint,
}

/// A record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    sequence: Sequence,
    change: Change,
}

impl<'h> Bench<'h> {
    async fn new(harness: &'h dyn SourceHarness) -> Self {
        let filter = Arc::new(TableFilter { patterns: vec![TablePattern::Table(harness.table())] });
        let position = harness.source().position(&StartAt::Now).await.unwrap();
        let start = Checkpoint { epoch: Epoch(0), mark: Mark { position, transactions: 0 }, split: None };
        Self { harness, filter, start }
    }

    async fn open(&self, from: &Checkpoint) -> Box<dyn ChangeStream> {
        self.harness.source().open(from, Arc::clone(&self.filter)).await.unwrap()
    }

    fn at(&self, mark: &Mark) -> Checkpoint {
        Checkpoint { mark: mark.clone(), ..self.start.clone() }
    }

    /// Four transactions, ten changes.
    async fn write_sample(&self) -> Vec<Change> {
        let [a, b, c] = [Row::new(1, "a"), Row { id: 2, name: None }, Row::new(3, "é😀 '\"\\")];
        let transactions = [
            vec![Change::Insert(a.clone()), Change::Insert(b.clone()), Change::Insert(c.clone())],
            vec![Change::Update(a, Row::new(1, ""))],
            vec![
                Change::Update(c.clone(), Row { id: 30, name: c.name.clone() }),
                Change::Delete(b),
                Change::Insert(Row::new(2, "again")),
                Change::Update(Row::new(2, "again"), Row::new(2, "and again")),
            ],
            vec![Change::Delete(Row::new(1, "")), Change::Delete(Row { id: 30, name: c.name })],
        ];
        for transaction in &transactions {
            self.harness.change(transaction).await;
            self.harness.change_elsewhere().await;
        }
        transactions.concat()
    }
}

/// Reads `count` records in batches of at most `records_max`; returns them with the ends of the batches and how many
/// records there were by then.
async fn read(stream: &mut dyn ChangeStream, count: usize, records_max: usize) -> (Vec<Seen>, Vec<(usize, BatchEnd)>) {
    let limits = BatchLimits { bytes_max: 1 << 20, records_max, wait_max: WAIT };
    let begin = Instant::now();
    let (mut seen, mut ends) = (Vec::new(), Vec::new());
    while seen.len() < count {
        assert!(begin.elapsed() < PATIENCE, "{} of {count} changes came", seen.len());
        let mut batch = RecordBatch::new();
        let end = stream.read_batch(&mut batch, limits).await.unwrap();
        seen.extend(
            batch
                .records()
                .iter()
                .map(|record| Seen { sequence: batch.sequence(record), change: change_of(&batch, record) }),
        );
        if let (BatchEnd::Idle(_), false) = (&end, batch.is_empty()) {
            panic!("a batch with records does not end idle");
        }
        ends.push((seen.len(), end));
    }
    assert_eq!(seen.len(), count);
    (seen, ends)
}

/// The schema is the table's, and rows are noticed.
pub async fn source_knows_its_table(harness: &dyn SourceHarness) {
    let bench = Bench::new(harness).await;
    let tables = harness.source().tables(&bench.filter).await.unwrap();
    assert_eq!(tables.len(), 1);
    assert_eq!(tables[0], sample_schema(&harness.table()));
    assert!(!harness.source().has_rows(&harness.table()).await.unwrap());
    harness.change(&[Change::Insert(Row::new(1, "a"))]).await;
    assert!(harness.source().has_rows(&harness.table()).await.unwrap());
    let identity = harness.source().identity().await.unwrap();
    assert_eq!(identity, harness.source().identity().await.unwrap(), "the identity is stable");
}

/// Every change once, with both images, under rising sequences.
pub async fn source_delivers_changes_in_order(harness: &dyn SourceHarness) {
    let bench = Bench::new(harness).await;
    let mut stream = bench.open(&bench.start).await;
    let changes = bench.write_sample().await;
    let (seen, ends) = read(&mut *stream, changes.len(), usize::MAX).await;
    assert_eq!(seen.iter().map(|seen| seen.change.clone()).collect::<Vec<_>>(), changes);
    assert!(seen.is_sorted_by(|one, next| one.sequence < next.sequence), "sequences rise");
    assert!(seen.iter().all(|seen| seen.sequence.row.is_multiple_of(2)), "odd rows are second halves of key changes");
    let marks: Vec<u64> = ends.iter().map(|(_, end)| end.mark().transactions).collect();
    assert!(marks.is_sorted(), "marks never go back");
}

/// From any mark on, the rest comes as in the first pass: the same changes under the same sequences.
pub async fn source_resumes_alike_from_every_mark(harness: &dyn SourceHarness) {
    let bench = Bench::new(harness).await;
    let count = bench.write_sample().await.len();
    let (first, ends) = read(&mut *bench.open(&bench.start).await, count, 1).await;
    let mut marks = 0;
    for (done, end) in ends {
        let (BatchEnd::TransactionEnd(mark) | BatchEnd::Idle(mark)) = end else { continue };
        marks += 1;
        let (rest, _) = read(&mut *bench.open(&bench.at(&mark)).await, count - done, usize::MAX).await;
        assert_eq!(rest, first[done..], "from {}", mark.position);
    }
    assert!(marks >= 4, "each of the four transactions ends with a mark");
}

/// A transaction read in pieces goes on behind the piece that is in the log.
pub async fn source_resumes_inside_a_transaction(harness: &dyn SourceHarness) {
    let bench = Bench::new(harness).await;
    let changes: Vec<Change> = (1..=20).map(|id| Change::Insert(Row::new(id, "a"))).collect();
    harness.change(&changes).await;
    let (first, ends) = read(&mut *bench.open(&bench.start).await, changes.len(), 3).await;
    let mut pieces = 0;
    for (done, end) in ends {
        let BatchEnd::MidTransaction { mark, split } = end else { continue };
        pieces += 1;
        assert_eq!(split.last, first[done - 1].sequence);
        let from = Checkpoint { split: Some(split), ..bench.at(&mark) };
        let (rest, _) = read(&mut *bench.open(&from).await, changes.len() - done, usize::MAX).await;
        assert_eq!(rest, first[done..], "from the record {done}");
    }
    assert!(pieces >= 3, "twenty changes don't fit into batches of three");
}

/// On a quiet table the mark follows the server, and what comes later still comes.
pub async fn source_moves_its_mark_with_other_traffic(harness: &dyn SourceHarness) {
    let bench = Bench::new(harness).await;
    let mut stream = bench.open(&bench.start).await;
    for _ in 0..5 {
        harness.change_elsewhere().await;
    }
    let begin = Instant::now();
    let limits = BatchLimits { bytes_max: 1 << 20, records_max: 100, wait_max: WAIT };
    let mark = loop {
        assert!(begin.elapsed() < PATIENCE, "the mark moves");
        let mut batch = RecordBatch::new();
        let end = stream.read_batch(&mut batch, limits).await.unwrap();
        assert!(batch.is_empty(), "nothing of the captured table");
        if let BatchEnd::Idle(mark) = end
            && mark.transactions >= 5
        {
            break mark;
        }
    };
    assert_ne!(mark.position, bench.start.mark.position);
    let change = Change::Insert(Row::new(1, "a"));
    harness.change(std::slice::from_ref(&change)).await;
    let (live, _) = read(&mut *stream, 1, usize::MAX).await;
    let (resumed, _) = read(&mut *bench.open(&bench.at(&mark)).await, 1, usize::MAX).await;
    assert_eq!((&live[0].change, &live), (&change, &resumed));
}

/// What was executed since a position is counted, or not told; the end is a position like any other.
pub async fn source_tells_what_lies_behind(harness: &dyn SourceHarness) {
    let bench = Bench::new(harness).await;
    let source = harness.source();
    let alone = source.state(None).await.unwrap();
    assert!(!alone.server.is_empty());
    assert_eq!(
        (alone.bytes_behind, alone.transactions_behind),
        (None, None),
        "behind nothing there is nothing to tell"
    );
    bench.write_sample().await;
    let state = source.state(Some(&bench.start.mark.position)).await.unwrap();
    // Others may write to the same server.
    assert!(state.transactions_behind.is_none_or(|behind| behind >= 8), "{state:?}");
    assert_ne!(state.end, bench.start.mark.position);
    let mark = Mark { position: state.end, transactions: 8 };
    let later = Change::Insert(Row::new(7, "later"));
    harness.change(std::slice::from_ref(&later)).await;
    let (seen, _) = read(&mut *bench.open(&bench.at(&mark)).await, 1, usize::MAX).await;
    assert_eq!(seen[0].change, later, "the end lies behind everything that was executed");
}
