//! What a log must do.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tailrace_contract::{
    BatchLimits, Checkpoint, ErrorKind, Log, LogBatch, LogPartition, LogReader, LogStart, LogWriter, Mark, Position,
    Result,
};
use tailrace_row::{Epoch, Sequence, TableName, TableSchema};

use crate::sample::{Change, Recorder, Row, change_of, part, sample_schema};

/// A log under test, with nothing in it.
pub trait LogHarness: Send + Sync {
    /// The log. Any number of partitions a table.
    fn log(&self) -> &dyn Log;

    /// The same log as another process opens it.
    fn elsewhere(&self) -> Box<dyn Log>;
}

/// Runs every test of a log.
#[macro_export]
macro_rules! log_tests {
    ($harness:path) => {
        $crate::each_test!($harness;
            log_prepares_twice,
            log_shows_records_with_their_checkpoint,
            log_keeps_the_order_of_every_key,
            log_splits_a_key_change,
            e11_log_tells_whose_row_may_be_absent,
            log_reader_resumes_at_an_offset,
            log_second_writer_fences_the_first,
            log_forgets_what_was_not_committed,
            log_says_what_it_no_longer_has,
            log_stops_reading_a_table,
            log_tells_its_checkpoint_and_ends,
            log_forgets_its_checkpoint,
            log_stops_at_a_barrier,
            e29_log_names_a_barrier_again_after_a_restart,
            log_holds_a_lane,
            log_keeps_a_ledger,
            log_forgets_documents_that_were_not_committed,
            log_refuses_a_barrier_over_open_documents,
        );
    };
}

pub(crate) const LIMITS: BatchLimits =
    BatchLimits { bytes_max: 1 << 20, records_max: 1_000, wait_max: Duration::from_millis(100) };

/// How long committed records may take to reach a reader.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct LogBench<'h> {
    pub(crate) log: &'h dyn Log,
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) transaction: u64,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    lane: u32,
    offset: i64,
    sequence: Sequence,
    table: TableName,
    change: Change,
}

impl<'h> LogBench<'h> {
    pub(crate) async fn new(harness: &'h dyn LogHarness) -> Self {
        let schema = sample_schema(&TableName::new("shop", "orders"));
        let log = harness.log();
        log.prepare(std::slice::from_ref(&schema)).await.unwrap();
        Self { log, schema, transaction: 0 }
    }

    pub(crate) async fn writer(&self) -> Box<dyn LogWriter> {
        self.log.open_writer().await.unwrap().writer
    }

    pub(crate) async fn append(&mut self, writer: &mut dyn LogWriter, changes: &[Change]) -> Result<()> {
        let mut recorder = Recorder::new(&self.schema, self.transaction);
        recorder.add(changes);
        self.transaction += 1;
        writer.append(&recorder.batch).await
    }

    pub(crate) async fn commit(&self, writer: &mut dyn LogWriter) -> Result<()> {
        writer.commit(&self.checkpoint()).await
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        let position = Position::new(&format!("kit:{}", self.transaction));
        Checkpoint { epoch: Epoch(0), mark: Mark { position, transactions: self.transaction }, split: None }
    }

    pub(crate) async fn partitions(&self) -> Vec<LogPartition> {
        let partitions = self.log.partitions(std::slice::from_ref(self.schema.name())).await.unwrap();
        assert!(partitions.is_sorted() && !partitions.is_empty(), "partitions are ordered");
        partitions
    }

    pub(crate) async fn reader(&self) -> Box<dyn LogReader> {
        let from: Vec<_> =
            self.partitions().await.into_iter().map(|partition| (partition, LogStart::Earliest)).collect();
        self.log.open_reader(&from).await.unwrap()
    }

    /// Everything in the log; it must be `count` records.
    async fn read_all(&self, count: usize) -> Vec<Seen> {
        let mut reader = self.reader().await;
        let seen = read(&mut *reader, count).await;
        assert_eq!(read_for(&mut *reader, Duration::from_millis(500)).await, [], "nothing follows");
        seen
    }
}

async fn read(reader: &mut dyn LogReader, count: usize) -> Vec<Seen> {
    let begin = Instant::now();
    let mut seen = Vec::new();
    while seen.len() < count {
        assert!(begin.elapsed() < PATIENCE, "{} of {count} records came", seen.len());
        read_batch(reader, &mut seen).await;
    }
    assert_eq!(seen.len(), count);
    seen
}

async fn read_for(reader: &mut dyn LogReader, time: Duration) -> Vec<Seen> {
    let begin = Instant::now();
    let mut seen = Vec::new();
    while begin.elapsed() < time {
        read_batch(reader, &mut seen).await;
    }
    seen
}

/// Reads a batch and checks what holds for every batch.
async fn read_batch(reader: &mut dyn LogReader, seen: &mut Vec<Seen>) {
    let mut batch = LogBatch::default();
    reader.read_batch(&mut batch, LIMITS).await.unwrap();
    let before = seen.len();
    for record in batch.records.records() {
        seen.push(Seen {
            lane: record.lane,
            offset: record.offset,
            sequence: batch.records.sequence(record),
            table: batch.records.schema(record).name().clone(),
            change: change_of(&batch.records, record),
        });
    }
    for (lane, last) in seen[before..].iter().map(|seen| (seen.lane, seen.offset)).collect::<BTreeMap<_, _>>() {
        let progress = batch.progress.iter().find(|progress| progress.lane == lane).expect("a lane that moved says so");
        assert!(progress.next_offset > last, "the next read begins behind the last record");
    }
    for lane in batch.progress.iter().map(|progress| progress.lane) {
        let offsets: Vec<i64> = seen.iter().filter(|seen| seen.lane == lane).map(|seen| seen.offset).collect();
        assert!(offsets.is_sorted_by(|one, next| one < next), "offsets of a lane rise");
    }
}

/// What is said of a row that may not be there yet comes back with its update, and with no other record.
pub async fn e11_log_tells_whose_row_may_be_absent(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let mut writer = bench.writer().await;
    let mut reader = bench.reader().await;
    let mut recorder = Recorder::new(&bench.schema, bench.transaction);
    recorder.add(&[Change::Insert(Row::new(1, "a"))]);
    part(&mut recorder.batch, 1);
    let first = recorder.batch.len();
    part(&mut recorder.batch, 1);
    recorder.batch.allow_absence(first, |_| true);
    bench.transaction += 1;
    writer.append(&recorder.batch).await.unwrap();
    bench.commit(&mut *writer).await.unwrap();
    let begin = Instant::now();
    let mut told = Vec::new();
    while told.len() < 3 {
        assert!(begin.elapsed() < PATIENCE, "{} of 3 records came", told.len());
        let mut batch = LogBatch::default();
        reader.read_batch(&mut batch, LIMITS).await.unwrap();
        let after = |record| batch.records.after(record).expect("each record has a row after");
        let records = batch.records.records().iter().map(after);
        told.extend(records.map(|image| (image.is_partial(), image.may_be_absent())));
    }
    assert_eq!(told, [(false, false), (true, false), (true, true)]);
}

/// Inserts of keys 1 to `count`, then an update of each, ten changes a transaction.
async fn write_sample(bench: &mut LogBench<'_>, count: i64) -> usize {
    let name = |id: i64, round: u8| Row::new(id, &format!("{id}, round {round}"));
    let inserts = (1..=count).map(|id| Change::Insert(name(id, 0)));
    let updates = (1..=count).map(|id| Change::Update(name(id, 0), name(id, 1)));
    let changes: Vec<Change> = inserts.chain(updates).collect();
    let mut writer = bench.writer().await;
    for transaction in changes.chunks(10) {
        bench.append(&mut *writer, transaction).await.unwrap();
        bench.commit(&mut *writer).await.unwrap();
    }
    changes.len()
}

/// Preparing again changes nothing; tables and partitions are listed.
pub async fn log_prepares_twice(harness: &dyn LogHarness) {
    let bench = LogBench::new(harness).await;
    bench.log.prepare(std::slice::from_ref(&bench.schema)).await.unwrap();
    assert_eq!(bench.log.tables().await.unwrap(), [bench.schema.name().clone()]);
    let unknown = TableName::new("shop", "none");
    let both = [unknown, bench.schema.name().clone()];
    assert_eq!(
        bench.log.partitions(&both).await.unwrap(),
        bench.partitions().await,
        "a table that is not there has none"
    );
    let opened = bench.log.open_writer().await.unwrap();
    assert!(opened.checkpoint.is_none() && opened.epoch.is_none(), "a new log has no checkpoint");
    assert!(!bench.log.name().is_empty());
}

/// Nothing is seen before the commit; then all of it, and the checkpoint with it.
pub async fn log_shows_records_with_their_checkpoint(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let mut writer = bench.writer().await;
    let mut reader = bench.reader().await;
    let changes = [Change::Insert(Row::new(1, "a")), Change::Insert(Row { id: 2, name: None })];
    bench.append(&mut *writer, &changes).await.unwrap();
    assert_eq!(read_for(&mut *reader, Duration::from_millis(500)).await, [], "not committed");
    bench.commit(&mut *writer).await.unwrap();
    let mut seen = read(&mut *reader, 2).await;
    seen.sort_by_key(|seen| seen.sequence);
    assert_eq!(seen.iter().map(|seen| seen.change.clone()).collect::<Vec<_>>(), changes);
    assert!(seen.iter().all(|seen| seen.sequence.transaction == 1 && seen.table == *bench.schema.name()));
    assert_eq!(bench.log.open_writer().await.unwrap().checkpoint, Some(bench.checkpoint()));
}

/// A key has one lane, and its changes keep their order and their content.
pub async fn log_keeps_the_order_of_every_key(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let count = write_sample(&mut bench, 50).await;
    let mut keys: BTreeMap<i64, Vec<Seen>> = BTreeMap::new();
    for seen in bench.read_all(count).await {
        let id = match &seen.change {
            Change::Insert(row) | Change::Update(row, _) | Change::Delete(row) => row.id,
        };
        keys.entry(id).or_default().push(seen);
    }
    assert_eq!(keys.len(), 50);
    for (id, seen) in keys {
        let [insert, update] = seen.as_slice() else { panic!("key {id} was changed twice: {seen:?}") };
        assert_eq!(insert.lane, update.lane, "key {id} has one lane");
        assert!(insert.offset < update.offset && insert.sequence < update.sequence, "key {id} keeps its order");
        assert_eq!(insert.change, Change::Insert(Row::new(id, &format!("{id}, round 0"))));
        assert!(
            matches!(&update.change, Change::Update(_, after) if *after == Row::new(id, &format!("{id}, round 1")))
        );
    }
}

/// A key change reaches the lanes of both keys: the old one ends, the new one begins.
pub async fn log_splits_a_key_change(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let mut writer = bench.writer().await;
    let inserts: Vec<Change> = (0..20).map(|id| Change::Insert(Row::new(id, "here"))).collect();
    let moves: Vec<Change> =
        (0..20).map(|id| Change::Update(Row::new(id, "here"), Row::new(id + 100, "there"))).collect();
    bench.append(&mut *writer, &inserts).await.unwrap();
    bench.append(&mut *writer, &moves).await.unwrap();
    bench.commit(&mut *writer).await.unwrap();
    let seen = bench.read_all(60).await;
    let halves: Vec<&Seen> = seen.iter().filter(|seen| seen.sequence.transaction == 2).collect();
    for id in 0..20 {
        let find = |change: Change| halves.iter().find(|seen| seen.change == change).expect("both halves come");
        let delete = find(Change::Delete(Row::new(id, "here")));
        let insert = find(Change::Insert(Row::new(id + 100, "there")));
        assert_eq!(delete.sequence.second_half(), insert.sequence);
    }
}

/// Reading from any offset on gives the rest, and nothing else.
pub async fn log_reader_resumes_at_an_offset(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let count = write_sample(&mut bench, 30).await;
    let all = bench.read_all(count).await;
    for (lane, partition) in (0..).zip(bench.partitions().await) {
        let in_lane: Vec<&Seen> = all.iter().filter(|seen| seen.lane == lane).collect();
        for (place, first) in in_lane.iter().enumerate().step_by(7) {
            let from = [(partition.clone(), LogStart::Offset(first.offset))];
            let mut reader = bench.log.open_reader(&from).await.unwrap();
            let rest = read(&mut *reader, in_lane.len() - place).await;
            assert!(rest.iter().zip(&in_lane[place..]).all(|(one, other)| one.change == other.change));
            assert_eq!(rest[0].offset, first.offset, "and the lane is 0, the only one of this reader");
        }
        let Some(last) = in_lane.last() else { continue };
        let end = [(partition.clone(), LogStart::Offset(last.offset + 1))];
        let mut reader = bench.log.open_reader(&end).await.unwrap();
        assert_eq!(read_for(&mut *reader, Duration::from_millis(300)).await, []);
    }
}

/// The newcomer wins, and what the loser appended is never seen.
pub async fn log_second_writer_fences_the_first(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let mut first = bench.writer().await;
    bench.append(&mut *first, &[Change::Insert(Row::new(1, "committed"))]).await.unwrap();
    bench.commit(&mut *first).await.unwrap();
    let committed = bench.checkpoint();
    bench.append(&mut *first, &[Change::Insert(Row::new(2, "lost"))]).await.unwrap();
    let opened = bench.log.open_writer().await.unwrap();
    assert_eq!(opened.checkpoint, Some(committed));
    let mut second = opened.writer;
    assert_eq!(bench.commit(&mut *first).await.unwrap_err().kind(), ErrorKind::Fenced);
    bench.append(&mut *second, &[Change::Insert(Row::new(3, "second"))]).await.unwrap();
    bench.commit(&mut *second).await.unwrap();
    let mut changes: Vec<Change> = bench.read_all(2).await.into_iter().map(|seen| seen.change).collect();
    changes.sort_by_key(|change| matches!(change, Change::Insert(row) if row.id == 3));
    assert_eq!(changes, [Change::Insert(Row::new(1, "committed")), Change::Insert(Row::new(3, "second"))]);
    assert_eq!(bench.log.open_writer().await.unwrap().checkpoint, Some(bench.checkpoint()));
}

/// A writer that ends without a commit leaves nothing.
pub async fn log_forgets_what_was_not_committed(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let mut writer = bench.writer().await;
    bench.append(&mut *writer, &[Change::Insert(Row::new(1, "lost"))]).await.unwrap();
    drop(writer);
    let opened = bench.log.open_writer().await.unwrap();
    assert!(opened.checkpoint.is_none());
    let mut writer = opened.writer;
    bench.append(&mut *writer, &[Change::Insert(Row::new(2, "kept"))]).await.unwrap();
    bench.commit(&mut *writer).await.unwrap();
    assert_eq!(bench.read_all(1).await[0].change, Change::Insert(Row::new(2, "kept")));
}

/// An offset beyond the end is a lost position, not an empty read.
pub async fn log_says_what_it_no_longer_has(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    write_sample(&mut bench, 10).await;
    let partition = bench.partitions().await.remove(0);
    let from = [(partition.clone(), LogStart::Offset(1_000_000))];
    let failed = match bench.log.open_reader(&from).await {
        Err(error) => error,
        Ok(mut reader) => {
            let mut batch = LogBatch::default();
            reader.read_batch(&mut batch, LIMITS).await.unwrap_err()
        }
    };
    assert_eq!(failed.kind(), ErrorKind::PositionLost, "{failed}");
    assert!(failed.to_string().contains(&partition.to_string()), "the partition is named: {failed}");
}

/// A table that has failed is read no more, the others are.
pub async fn log_stops_reading_a_table(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let items = sample_schema(&TableName::new("shop", "items"));
    bench.log.prepare(&[Arc::clone(&bench.schema), Arc::clone(&items)]).await.unwrap();
    let both = [items.name().clone(), bench.schema.name().clone()];
    let partitions = bench.log.partitions(&both).await.unwrap();
    assert!(partitions.is_sorted() && both.iter().all(|table| partitions.iter().any(|lane| lane.table == *table)));
    let from: Vec<_> = partitions.into_iter().map(|partition| (partition, LogStart::Earliest)).collect();
    let mut reader = bench.log.open_reader(&from).await.unwrap();
    let mut writer = bench.writer().await;
    let orders = std::mem::replace(&mut bench.schema, items);
    bench.append(&mut *writer, &[Change::Insert(Row::new(1, "item"))]).await.unwrap();
    bench.commit(&mut *writer).await.unwrap();
    assert_eq!(read(&mut *reader, 1).await[0].table, bench.schema.name().clone());
    reader.stop_table(bench.schema.name()).unwrap();
    bench.append(&mut *writer, &[Change::Insert(Row::new(2, "item"))]).await.unwrap();
    bench.schema = orders;
    bench.append(&mut *writer, &[Change::Insert(Row::new(1, "order"))]).await.unwrap();
    bench.commit(&mut *writer).await.unwrap();
    assert_eq!(read(&mut *reader, 1).await[0].table, bench.schema.name().clone());
    assert_eq!(read_for(&mut *reader, Duration::from_millis(500)).await, []);
}

/// Asking fences nobody and makes nothing; ends are where a reader of committed records stops.
pub async fn log_tells_its_checkpoint_and_ends(harness: &dyn LogHarness) {
    let log = harness.log();
    assert_eq!(log.checkpoint().await.unwrap(), None, "nothing is there yet");
    assert!(log.tables().await.unwrap().is_empty(), "and nothing was made by asking");
    let mut bench = LogBench::new(harness).await;
    assert_eq!(log.checkpoint().await.unwrap(), None);
    let partitions = bench.partitions().await;
    let empty = log.ends(&partitions).await.unwrap();
    assert!(empty.iter().all(|ends| ends.oldest == ends.end), "{empty:?}");
    let mut writer = bench.writer().await;
    let changes: Vec<Change> = (0..50).map(|id| Change::Insert(Row::new(id, "a"))).collect();
    bench.append(&mut *writer, &changes).await.unwrap();
    bench.commit(&mut *writer).await.unwrap();
    let committed = bench.checkpoint();
    assert_eq!(log.checkpoint().await.unwrap(), Some(committed.clone()));
    let seen = bench.read_all(changes.len()).await;
    let ends = log.ends(&partitions).await.unwrap();
    assert_eq!(ends.iter().map(|ends| ends.partition.clone()).collect::<Vec<_>>(), partitions);
    for (lane, ends) in (0..).zip(&ends) {
        let last = seen.iter().filter(|seen| seen.lane == lane).map(|seen| seen.offset).max();
        assert!(last.is_none_or(|last| (ends.oldest..ends.end).contains(&last)), "{ends:?} and {last:?}");
        let from = [(ends.partition.clone(), LogStart::Offset(ends.end))];
        let mut reader = log.open_reader(&from).await.unwrap();
        assert_eq!(read_for(&mut *reader, Duration::from_millis(100)).await, [], "nothing lies at the end");
    }
    bench.append(&mut *writer, &[Change::Insert(Row::new(99, "open"))]).await.unwrap();
    assert_eq!(log.checkpoint().await.unwrap(), Some(committed), "an open transaction counts for nothing");
    bench.commit(&mut *writer).await.unwrap();
    assert_eq!(log.checkpoint().await.unwrap(), Some(bench.checkpoint()), "the writer was not fenced");
}

/// The next writer finds no checkpoint, the one before is fenced, and the records stay.
pub async fn log_forgets_its_checkpoint(harness: &dyn LogHarness) {
    harness.log().forget_checkpoint().await.unwrap();
    let mut bench = LogBench::new(harness).await;
    let mut writer = bench.writer().await;
    bench.append(&mut *writer, &[Change::Insert(Row::new(1, "kept"))]).await.unwrap();
    bench.commit(&mut *writer).await.unwrap();
    bench.append(&mut *writer, &[Change::Insert(Row::new(2, "lost"))]).await.unwrap();
    bench.log.forget_checkpoint().await.unwrap();
    assert_eq!(bench.log.checkpoint().await.unwrap(), None);
    assert_eq!(bench.commit(&mut *writer).await.unwrap_err().kind(), ErrorKind::Fenced);
    bench.log.forget_checkpoint().await.unwrap();
    let opened = bench.log.open_writer().await.unwrap();
    assert!(opened.checkpoint.is_none());
    assert_eq!(opened.epoch, Some(bench.checkpoint().epoch), "who begins anew begins above it");
    let mut writer = opened.writer;
    bench.append(&mut *writer, &[Change::Insert(Row::new(3, "anew"))]).await.unwrap();
    bench.commit(&mut *writer).await.unwrap();
    assert_eq!(bench.log.checkpoint().await.unwrap(), Some(bench.checkpoint()));
    let mut changes: Vec<Change> = bench.read_all(2).await.into_iter().map(|seen| seen.change).collect();
    changes.sort_by_key(|change| matches!(change, Change::Insert(row) if row.id == 3));
    assert_eq!(changes, [Change::Insert(Row::new(1, "kept")), Change::Insert(Row::new(3, "anew"))]);
}
