//! What a target must do.

use std::sync::Arc;

use tailrace_contract::{
    Applied, ApplyBatch, BoxFuture, Checkpoint, ErrorKind, LogPartition, Mark, Owner, PartitionProgress, Policy,
    Position, ProgressStep, Result, RowRef, Sink, SinkWriter, SplitTransaction, StreamCheckpoint, StreamProgress,
    StreamStep, TableChanges, TableMapping, TargetState, TargetTable,
};
use tailrace_row::{Epoch, RecordBatch, Sequence, TableName, TableSchema};

use crate::sample::{Change, Recorder, Row, part, sample_schema};

/// A target under test, with nothing in it.
pub trait SinkHarness: Send + Sync {
    /// The target.
    fn sink(&self) -> &dyn Sink;

    /// Where a table of that name goes. There is none yet.
    fn target(&self, table: &str) -> TargetTable;

    /// The rows of a table that [`Sink::create_table`] made for the kit's schema, ordered by id, read without the sink.
    fn rows<'a>(&'a self, table: &'a TargetTable) -> BoxFuture<'a, Vec<Row>>;

    /// As [`crate::ReaderHarness::alter`].
    fn alter<'a>(&'a self, table: &'a TargetTable) -> BoxFuture<'a, ()>;
}

/// Runs every test of a target.
#[macro_export]
macro_rules! sink_tests {
    ($harness:path) => {
        $crate::each_test!($harness;
            sink_prepares_and_creates_once,
            sink_tells_what_a_table_holds,
            sink_applies_every_kind_of_change,
            sink_applies_again_without_a_difference,
            sink_applies_many_rows_at_once,
            sink_keeps_what_did_not_come_of_a_row,
            e11_sink_leaves_out_rows_that_are_copied_later_and_no_others,
            sink_moves_progress_without_rows,
            sink_keeps_the_highest_sequence,
            sink_keeps_logs_and_partitions_apart,
            sink_fences_the_older_claim,
            sink_writes_nothing_when_one_step_of_many_fails,
            sink_refuses_a_step_from_elsewhere,
            sink_writes_nothing_of_a_refused_batch,
            sink_saves_a_checkpoint_with_its_rows,
            sink_fences_the_older_claim_of_a_stream,
            sink_tells_progress_and_forgets_it,
            sink_forgets_the_checkpoint_of_a_stream,
            sink_reads_no_table_back_that_has_policies,
            e22_sink_meets_once_all_partitions_are_there,
            sink_pauses_a_table_until_it_is_resumed,
            e22_sink_keeps_rows_from_behind_a_barrier,
            sink_meets_with_the_checkpoint_of_a_stream,
            sink_keeps_a_ledger_with_its_checkpoint,
            sink_writes_no_document_of_a_refused_batch,
            sink_meets_with_documents,
        );
    };
}

pub(crate) const LOG: &str = "kit";

/// A prepared table and its one partition.
pub(crate) struct SinkBench<'h> {
    pub(crate) harness: &'h dyn SinkHarness,
    pub(crate) mapping: Arc<TableMapping>,
    schema: Arc<TableSchema>,
    pub(crate) partition: LogPartition,
}

impl<'h> SinkBench<'h> {
    pub(crate) async fn new(harness: &'h dyn SinkHarness, table: &str) -> Self {
        let source = TableName::new("shop", table);
        let schema = sample_schema(&source);
        let mapping = TableMapping::new(source.clone(), harness.target(table));
        harness.sink().prepare().await.unwrap();
        assert!(harness.sink().create_table(&schema, &mapping).await.unwrap(), "the table is new");
        Self { harness, mapping: Arc::new(mapping), schema, partition: LogPartition { table: source, index: 0 } }
    }

    async fn claim(&self) -> PartitionProgress {
        let claimed = self.harness.sink().claim(LOG, std::slice::from_ref(&self.partition)).await.unwrap();
        <[PartitionProgress; 1]>::try_from(claimed).expect("one partition was claimed")[0].clone()
    }

    pub(crate) async fn writer(&self) -> Box<dyn SinkWriter> {
        self.harness.sink().open_writer(LOG).await.unwrap()
    }

    pub(crate) async fn rows(&self) -> Vec<Row> {
        self.harness.rows(&self.mapping.target).await
    }

    /// One transaction of changes, each on another key.
    pub(crate) fn batch(&self, transaction: u64, changes: &[Change]) -> Batch {
        let mut recorder = Recorder::new(&self.schema, transaction - 1);
        recorder.add(changes);
        let mut tables = TableChanges {
            mapping: Arc::clone(&self.mapping),
            schema: Arc::clone(&self.schema),
            deletes: Vec::new(),
            upserts: Vec::new(),
        };
        for (record, change) in (0..).zip(changes) {
            match change {
                Change::Insert(_) => tables.upserts.push(RowRef::After(record)),
                Change::Update(before, after) if before.id == after.id => tables.upserts.push(RowRef::After(record)),
                Change::Update(..) => {
                    tables.deletes.push(RowRef::Before(record));
                    tables.upserts.push(RowRef::After(record));
                }
                Change::Delete(_) => tables.deletes.push(RowRef::Before(record)),
            }
        }
        Batch { records: recorder.batch, changes: vec![tables] }
    }
}

pub(crate) struct Batch {
    pub(crate) records: RecordBatch,
    pub(crate) changes: Vec<TableChanges>,
}

impl Batch {
    /// Adds an update of which nothing came but the key.
    fn add_part(&mut self, id: i64) -> &mut Self {
        let record = part(&mut self.records, id);
        self.changes[0].upserts.push(RowRef::After(record));
        self
    }

    /// The same of a row that may not be there yet.
    fn add_awaited_part(&mut self, id: i64) -> &mut Self {
        let first = self.records.len();
        self.add_part(id);
        self.records.allow_absence(first, |_| true);
        self
    }

    pub(crate) async fn apply(&self, writer: &mut dyn SinkWriter, progress: &[ProgressStep]) -> Result<Applied> {
        writer.apply(ApplyBatch { records: &self.records, changes: &self.changes, progress, stream: None }).await
    }
}

pub(crate) const STREAM: &str = "kit's stream";

impl SinkBench<'_> {
    pub(crate) async fn claim_stream(&self) -> StreamProgress {
        self.harness.sink().claim_stream(STREAM).await.unwrap()
    }

    /// Applies a batch with a checkpoint that goes on from what was claimed.
    pub(crate) async fn save(
        &self,
        writer: &mut dyn SinkWriter,
        batch: &Batch,
        from: &StreamProgress,
        checkpoint: &StreamCheckpoint,
    ) -> Result<Applied> {
        let stream = Some(StreamStep { stream: STREAM, saves: from.saves, owner: from.owner, checkpoint, ledger: &[] });
        let (records, changes) = (&batch.records, &batch.changes);
        writer.apply(ApplyBatch { records, changes, progress: &[], stream }).await
    }

    async fn stream_writer(&self) -> Box<dyn SinkWriter> {
        self.harness.sink().open_writer(STREAM).await.unwrap()
    }
}

/// A checkpoint with everything that one may hold.
pub(crate) fn checkpoint(transactions: u64, split: bool) -> StreamCheckpoint {
    let position = Position::new(&format!("position '\"{transactions}\"' \u{fc}"));
    let last = Sequence { epoch: Epoch(u32::MAX), transaction: u64::MAX, event: u32::MAX, row: 7 };
    let split = split.then(|| SplitTransaction { name: "binlog.000001:4".into(), last });
    let at = Checkpoint { epoch: Epoch(u32::MAX), mark: Mark { position, transactions }, split };
    StreamCheckpoint { format: 1, source: "a 'source'".to_owned(), tables: vec!["shop.*".to_owned()], at }
}

pub(crate) fn sequence(transaction: u64) -> Option<Sequence> {
    Some(Sequence { epoch: Epoch(0), transaction, event: 0, row: 0 })
}

pub(crate) fn step(from: &PartitionProgress, next_offset: i64, transaction: u64) -> ProgressStep {
    ProgressStep { from: from.clone(), next_offset, sequence: sequence(transaction) }
}

pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// Preparing and creating again changes nothing, and says so.
pub async fn sink_prepares_and_creates_once(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    harness.sink().prepare().await.unwrap();
    assert!(!harness.sink().create_table(&bench.schema, &bench.mapping).await.unwrap());
    assert!(!harness.sink().create_statements(&bench.schema, &bench.mapping).unwrap().is_empty());
    let one = harness.sink().identity().await.unwrap();
    assert_eq!(one, harness.sink().identity().await.unwrap(), "the identity is stable");
    let capabilities = harness.sink().capabilities();
    assert!(capabilities.has_atomic_progress || capabilities.has_versioned_writes);
}

/// A table is missing, empty, foreign, or known once adopted.
pub async fn sink_tells_what_a_table_holds(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let sink = harness.sink();
    let missing = TableMapping::new(TableName::new("shop", "none"), harness.target("none"));
    assert_eq!(sink.table_state(&missing).await.unwrap(), TargetState::Missing);
    assert_eq!(sink.table_state(&bench.mapping).await.unwrap(), TargetState::Empty);
    let batch = bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    batch.apply(&mut *bench.writer().await, &[step(&bench.claim().await, 1, 1)]).await.unwrap();
    assert_eq!(sink.table_state(&bench.mapping).await.unwrap(), TargetState::Foreign);
    sink.adopt_table(&bench.mapping).await.unwrap();
    sink.adopt_table(&bench.mapping).await.unwrap();
    assert_eq!(sink.table_state(&bench.mapping).await.unwrap(), TargetState::Known);
}

/// Inserts, updates, key changes and deletes, with their progress.
pub async fn sink_applies_every_kind_of_change(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.writer().await;
    let new = bench.claim().await;
    assert_eq!((new.next_offset, new.sequence, new.highest), (None, None, None), "nothing was ever applied");
    let nameless = Row { id: -4, name: None };
    let inserts = [
        Change::Insert(Row::new(1, "a")),
        Change::Insert(Row::new(2, "b")),
        Change::Insert(Row::new(3, "")),
        Change::Insert(nameless.clone()),
    ];
    let applied = bench.batch(1, &inserts).apply(&mut *writer, &[step(&new, 4, 1)]).await.unwrap();
    assert_eq!(applied, Applied { upserted: 4, ..Applied::default() });
    assert_eq!(bench.rows().await, [nameless.clone(), Row::new(1, "a"), Row::new(2, "b"), Row::new(3, "")]);
    let after = bench.claim().await;
    assert_eq!((after.next_offset, after.sequence, after.highest), (Some(4), sequence(1), sequence(1)));
    let changes = [
        Change::Update(Row::new(1, "a"), Row::new(1, "A")),
        Change::Update(Row::new(2, "b"), Row::new(20, "b")),
        Change::Delete(Row::new(3, "")),
        Change::Delete(Row::new(99, "was never there")),
        Change::Update(nameless, Row::new(-4, "named")),
    ];
    let applied = bench.batch(2, &changes).apply(&mut *writer, &[step(&after, 9, 2)]).await.unwrap();
    assert_eq!(applied, Applied { upserted: 3, deleted: 2, ..Applied::default() });
    assert_eq!(bench.rows().await, [Row::new(-4, "named"), Row::new(1, "A"), Row::new(20, "b")]);
}

/// A replay changes nothing, and heals what was spoiled.
pub async fn sink_applies_again_without_a_difference(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.writer().await;
    let batches = [
        bench.batch(1, &[Change::Insert(Row::new(1, "a")), Change::Insert(Row::new(2, "b"))]),
        bench.batch(2, &[Change::Update(Row::new(1, "a"), Row::new(1, "c")), Change::Delete(Row::new(2, "b"))]),
        bench.batch(3, &[Change::Insert(Row::new(2, "again")), Change::Insert(Row::new(3, "d"))]),
    ];
    let mut progress = bench.claim().await;
    for round in 0..2 {
        for (number, batch) in (1..).zip(&batches) {
            let next_offset = round * 100 + i64::try_from(number).unwrap();
            batch.apply(&mut *writer, &[step(&progress, next_offset, number)]).await.unwrap();
            progress = bench.claim().await;
        }
        assert_eq!(bench.rows().await, [Row::new(1, "c"), Row::new(2, "again"), Row::new(3, "d")], "round {round}");
    }
    let spoil = bench.batch(4, &[Change::Insert(Row::new(3, "spoiled")), Change::Delete(Row::new(1, "c"))]);
    spoil.apply(&mut *writer, &[step(&progress, 300, 4)]).await.unwrap();
    for batch in &batches {
        batch.apply(&mut *writer, &[]).await.unwrap();
    }
    assert_eq!(bench.rows().await, [Row::new(1, "c"), Row::new(2, "again"), Row::new(3, "d")]);
}

/// Batches so big that a target uses another form for them, also after a small one and of existing rows.
pub async fn sink_applies_many_rows_at_once(harness: &dyn SinkHarness) {
    const MANY: i64 = 6_000;
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.writer().await;
    let row = |id: i64, round: usize| Row { id, name: (id % 7 != 0).then(|| format!("{id}, round {round}")) };
    for (round, ids) in [0..10, 0..MANY, MANY / 2..MANY * 2, 5..15].into_iter().enumerate() {
        let changes: Vec<Change> = ids.rev().map(|id| Change::Insert(row(id, round))).collect();
        let progress = bench.claim().await;
        let number = u64::try_from(round).unwrap() + 1;
        let next_offset = i64::try_from(number).unwrap();
        let applied =
            bench.batch(number, &changes).apply(&mut *writer, &[step(&progress, next_offset, number)]).await.unwrap();
        assert_eq!(applied.upserted, changes.len() as u64);
    }
    let round_of = |id| match id {
        5..15 => 3,
        _ if id >= MANY / 2 => 2,
        _ => 1,
    };
    let expect: Vec<Row> = (0..MANY * 2).map(|id| row(id, round_of(id))).collect();
    assert!(bench.rows().await == expect, "12,000 rows as written");
    let deletes: Vec<Change> = (0..MANY * 2 - 1).map(|id| Change::Delete(row(id, 0))).collect();
    let applied = bench.batch(9, &deletes).apply(&mut *writer, &[]).await.unwrap();
    assert_eq!(applied.deleted, deletes.len() as u64);
    assert_eq!(bench.rows().await.len(), 1);
}

/// A batch may bring nothing but progress.
pub async fn sink_moves_progress_without_rows(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.writer().await;
    let nothing = Batch { records: RecordBatch::new(), changes: Vec::new() };
    let mut step = step(&bench.claim().await, 7, 0);
    step.sequence = None;
    nothing.apply(&mut *writer, &[step]).await.unwrap();
    let progress = bench.claim().await;
    assert_eq!((progress.next_offset, progress.sequence, progress.highest), (Some(7), None, None));
}

/// The highest sequence stays when the progress is set back.
pub async fn sink_keeps_the_highest_sequence(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.writer().await;
    let nothing = Batch { records: RecordBatch::new(), changes: Vec::new() };
    for (next_offset, transaction, highest) in [(10, 9, 9), (5, 3, 9), (12, 10, 10), (20, 9, 10)] {
        let progress = bench.claim().await;
        nothing.apply(&mut *writer, &[step(&progress, next_offset, transaction)]).await.unwrap();
        let progress = bench.claim().await;
        assert_eq!((progress.next_offset, progress.sequence), (Some(next_offset), sequence(transaction)));
        assert_eq!(progress.highest, sequence(highest), "after transaction {transaction}");
    }
}

/// Each log has its own progress, each partition too; claims answer in the order asked.
pub async fn sink_keeps_logs_and_partitions_apart(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let sink = harness.sink();
    let at = |table: &str, index| LogPartition { table: TableName::new("shop", table), index };
    let partitions = [at("orders", 2), at("items", 0), at("orders", 0), at("orders", 10)];
    let claimed = sink.claim(LOG, &partitions).await.unwrap();
    assert_eq!(claimed.iter().map(|progress| progress.partition.clone()).collect::<Vec<_>>(), partitions);
    let nothing = Batch { records: RecordBatch::new(), changes: Vec::new() };
    let steps: Vec<ProgressStep> = (1..).zip(&claimed).map(|(n, from)| step(from, n * 10, 1)).collect();
    nothing.apply(&mut *bench.writer().await, &steps).await.unwrap();
    let offsets = |progress: Vec<PartitionProgress>| progress.into_iter().map(|p| p.next_offset).collect::<Vec<_>>();
    assert_eq!(offsets(sink.claim(LOG, &partitions).await.unwrap()), [10, 20, 30, 40].map(Some));
    assert_eq!(offsets(sink.claim("another log", &partitions).await.unwrap()), [None; 4]);
    assert!(sink.claim(LOG, &[]).await.unwrap().is_empty());
}

/// Of two claims the later one writes; the older one's batch leaves nothing.
pub async fn sink_fences_the_older_claim(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let (mut old_writer, mut new_writer) = (bench.writer().await, bench.writer().await);
    let old = bench.claim().await;
    let new = bench.claim().await;
    assert!(new.owner > old.owner, "owners rise");
    let batch = bench.batch(1, &[Change::Insert(Row::new(1, "old"))]);
    assert_eq!(kind(batch.apply(&mut *old_writer, &[step(&old, 1, 1)]).await), ErrorKind::Fenced);
    assert_eq!(bench.rows().await, []);
    bench.batch(1, &[Change::Insert(Row::new(1, "new"))]).apply(&mut *new_writer, &[step(&new, 1, 1)]).await.unwrap();
    assert_eq!(bench.rows().await, [Row::new(1, "new")]);
    // The old one does not find its way back by waiting, nor by guessing the owner's progress.
    let guess = PartitionProgress { next_offset: Some(1), sequence: sequence(1), ..old };
    assert_eq!(kind(batch.apply(&mut *old_writer, &[step(&guess, 2, 2)]).await), ErrorKind::Fenced);
    assert_eq!(bench.rows().await, [Row::new(1, "new")]);
}

/// A column that was not sent is not NULL: the target keeps what it has. What it has not can't be made of a part.
pub async fn sink_keeps_what_did_not_come_of_a_row(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.writer().await;
    let rows = ["a", "b", "c"].into_iter().zip(1..).map(|(name, id)| Change::Insert(Row::new(id, name)));
    let progress = bench.claim().await;
    bench.batch(1, &rows.collect::<Vec<_>>()).apply(&mut *writer, &[step(&progress, 3, 1)]).await.unwrap();
    // In one batch with what has all columns, and what goes.
    let mut batch = bench.batch(2, &[Change::Insert(Row::new(2, "new")), Change::Delete(Row::new(3, "c"))]);
    batch.add_part(1);
    let progress = bench.claim().await;
    batch.apply(&mut *writer, &[step(&progress, 6, 2)]).await.unwrap();
    assert_eq!(bench.rows().await, [Row::new(1, "a"), Row::new(2, "new")]);

    let mut batch = bench.batch(3, &[Change::Insert(Row::new(2, "never"))]);
    batch.add_part(1).add_part(3);
    let progress = bench.claim().await;
    let error = batch.apply(&mut *writer, &[step(&progress, 8, 3)]).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(bench.schema.name())), "{error}");
    assert!(error.to_string().contains("id"), "the key's column is named: {error}");
    assert_eq!(bench.rows().await, [Row::new(1, "a"), Row::new(2, "new")], "nothing of the batch");
    assert_eq!(bench.claim().await.next_offset, Some(6));
}

/// An update that came in part, of a row that may not be there yet, is left out and counted; where the row is there it is written, and
/// of any other row it is refused with all its batch.
pub async fn e11_sink_leaves_out_rows_that_are_copied_later_and_no_others(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.writer().await;
    let progress = bench.claim().await;
    bench.batch(1, &[Change::Insert(Row::new(1, "a"))]).apply(&mut *writer, &[step(&progress, 1, 1)]).await.unwrap();

    // The first is there, the second is not.
    let mut batch = bench.batch(2, &[Change::Insert(Row::new(2, "b"))]);
    batch.add_awaited_part(1).add_awaited_part(7);
    let progress = bench.claim().await;
    let applied = batch.apply(&mut *writer, &[step(&progress, 4, 2)]).await.unwrap();
    assert_eq!(applied, Applied { upserted: 2, absent: 1, ..Applied::default() });
    assert_eq!(bench.rows().await, [Row::new(1, "a"), Row::new(2, "b")]);

    // Beside rows that may not be there one that must is still missed.
    for awaited in [&[7_i64, 8, 9][..], &[]] {
        let mut batch = bench.batch(3, &[Change::Insert(Row::new(3, "never"))]);
        for id in awaited {
            batch.add_awaited_part(*id);
        }
        batch.add_part(6).add_awaited_part(1);
        let progress = bench.claim().await;
        let error = batch.apply(&mut *writer, &[step(&progress, 9, 3)]).await.unwrap_err();
        assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(bench.schema.name())), "{error}");
        assert_eq!(bench.rows().await, [Row::new(1, "a"), Row::new(2, "b")], "nothing of the batch");
        assert_eq!(bench.claim().await.next_offset, Some(4));
        writer = bench.writer().await;
    }

    // Then it is copied, and from then on it is there.
    let mut batch = bench.batch(4, &[Change::Insert(Row::new(7, "copied"))]);
    let progress = bench.claim().await;
    batch.apply(&mut *writer, &[step(&progress, 10, 4)]).await.unwrap();
    batch = bench.batch(5, &[Change::Delete(Row::new(2, "b"))]);
    batch.add_part(7).add_awaited_part(8);
    let progress = bench.claim().await;
    let applied = batch.apply(&mut *writer, &[step(&progress, 13, 5)]).await.unwrap();
    assert_eq!(applied, Applied { upserted: 1, deleted: 1, absent: 1, ..Applied::default() });
    assert_eq!(bench.rows().await, [Row::new(1, "a"), Row::new(7, "copied")]);
}

/// Rows and all steps are one transaction.
pub async fn sink_writes_nothing_when_one_step_of_many_fails(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let partitions = [0, 1, 2].map(|index| LogPartition { index, ..bench.partition.clone() });
    let claimed = harness.sink().claim(LOG, &partitions).await.unwrap();
    harness.sink().claim(LOG, &partitions[1..2]).await.unwrap();
    let batch = bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    let steps: Vec<ProgressStep> = claimed.iter().map(|from| step(from, 1, 1)).collect();
    let error = batch.apply(&mut *bench.writer().await, &steps).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("shop.orders[1]"), "the partition is named: {error}");
    assert_eq!(bench.rows().await, []);
    let untouched = harness.sink().claim(LOG, &partitions).await.unwrap();
    assert!(untouched.iter().all(|progress| progress.next_offset.is_none() && progress.highest.is_none()));
}

/// A step holds only from exactly what is stored.
pub async fn sink_refuses_a_step_from_elsewhere(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.writer().await;
    let batch = bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    let stored = bench.claim().await;
    let elsewhere = PartitionProgress { next_offset: Some(0), ..stored.clone() };
    assert_eq!(kind(batch.apply(&mut *writer, &[step(&elsewhere, 5, 1)]).await), ErrorKind::Fenced);
    let nobody = PartitionProgress { owner: Owner(stored.owner.0 + 1), ..stored.clone() };
    assert_eq!(kind(batch.apply(&mut *writer, &[step(&nobody, 5, 1)]).await), ErrorKind::Fenced);
    let unknown = LogPartition { index: 77, ..bench.partition.clone() };
    let unclaimed = PartitionProgress { partition: unknown, ..stored.clone() };
    assert_eq!(kind(batch.apply(&mut *writer, &[step(&unclaimed, 5, 1)]).await), ErrorKind::Fenced);
    assert_eq!(bench.rows().await, []);
    batch.apply(&mut *writer, &[step(&stored, 5, 1)]).await.unwrap();
    // The same step once more: its `from` is no longer what is stored.
    assert_eq!(kind(batch.apply(&mut *writer, &[step(&stored, 5, 1)]).await), ErrorKind::Fenced);
    assert_eq!(bench.rows().await, [Row::new(1, "a")]);
}

/// A table that is not there fails by name, and the batch's other table and the progress stay as they were.
pub async fn sink_writes_nothing_of_a_refused_batch(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.writer().await;
    let mut batch = bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    let source = TableName::new("shop", "none");
    let mapping = TableMapping::new(source.clone(), harness.target("none"));
    batch.changes.push(TableChanges {
        mapping: Arc::new(mapping),
        schema: sample_schema(&source),
        deletes: Vec::new(),
        upserts: vec![RowRef::After(0)],
    });
    let progress = bench.claim().await;
    let error = batch.apply(&mut *writer, &[step(&progress, 1, 1)]).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&source)), "{error}");
    assert_eq!(bench.rows().await, []);
    batch.changes.pop();
    batch.apply(&mut *writer, &[step(&progress, 1, 1)]).await.unwrap();
    assert_eq!(bench.rows().await, [Row::new(1, "a")], "the same writer goes on with the rest");
}

/// A stream's checkpoint is saved with its rows, with nothing but itself, and read as it was written.
pub async fn sink_saves_a_checkpoint_with_its_rows(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let sink = harness.sink();
    assert_eq!(sink.stream_progress(STREAM).await.unwrap(), None, "reading makes nothing");
    let new = bench.claim_stream().await;
    assert_eq!((&new.checkpoint, new.saves), (&None, 0));
    let mut writer = bench.stream_writer().await;
    let nothing = Batch { records: RecordBatch::new(), changes: Vec::new() };
    bench.save(&mut *writer, &nothing, &new, &checkpoint(u64::MAX, false)).await.unwrap();
    let known = sink.stream_progress(STREAM).await.unwrap().expect("it was claimed");
    assert_eq!(known, StreamProgress { checkpoint: Some(checkpoint(u64::MAX, false)), saves: 1, owner: new.owner });
    let batch = bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    bench.save(&mut *writer, &batch, &known, &checkpoint(2, true)).await.unwrap();
    let claimed = bench.claim_stream().await;
    assert_eq!((claimed.checkpoint, claimed.saves), (Some(checkpoint(2, true)), 2));
    assert!(claimed.owner > new.owner, "owners rise");
    assert_eq!(bench.rows().await, [Row::new(1, "a")]);
    assert_eq!(sink.claim_stream("another stream").await.unwrap().checkpoint, None);
    assert!(bench.claim().await.next_offset.is_none(), "a log's progress is another matter");
}

/// A checkpoint is saved only by its owner and only from what is stored; else the rows are not written either.
pub async fn sink_fences_the_older_claim_of_a_stream(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let mut writer = bench.stream_writer().await;
    let batch = bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    let old = bench.claim_stream().await;
    let new = bench.claim_stream().await;
    let nobody = StreamProgress { owner: Owner(new.owner.0 + 1), ..new.clone() };
    let elsewhere = StreamProgress { saves: 1, ..new.clone() };
    for wrong in [&old, &nobody, &elsewhere] {
        assert_eq!(kind(bench.save(&mut *writer, &batch, wrong, &checkpoint(1, false)).await), ErrorKind::Fenced);
    }
    assert_eq!(bench.rows().await, []);
    assert_eq!(bench.claim_stream().await.saves, 0);
    let last = bench.claim_stream().await;
    bench.save(&mut *writer, &batch, &last, &checkpoint(1, false)).await.unwrap();
    assert_eq!(kind(bench.save(&mut *writer, &batch, &last, &checkpoint(1, false)).await), ErrorKind::Fenced);
    assert_eq!(bench.rows().await, [Row::new(1, "a")]);
}

/// Progress is told without claiming it; forgetting one log's ends whoever applies it, and leaves rows and other logs alone.
pub async fn sink_tells_progress_and_forgets_it(harness: &dyn SinkHarness) {
    let sink = harness.sink();
    assert_eq!(sink.progress(LOG).await.unwrap(), [], "before anything was made");
    sink.forget(LOG).await.unwrap();
    let bench = SinkBench::new(harness, "orders").await;
    assert_eq!(sink.progress(LOG).await.unwrap(), []);
    let partitions = [3, 0].map(|index| LogPartition { index, ..bench.partition.clone() });
    let claimed = sink.claim(LOG, &partitions).await.unwrap();
    let mut writer = bench.writer().await;
    let batch = bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    batch.apply(&mut *writer, &[step(&claimed[0], 7, 1)]).await.unwrap();
    let told = sink.progress(LOG).await.unwrap();
    let stored =
        PartitionProgress { next_offset: Some(7), sequence: sequence(1), highest: sequence(1), ..claimed[0].clone() };
    assert_eq!(told, [claimed[1].clone(), stored.clone()], "ordered, and nothing was claimed");
    let elsewhere = sink.claim("another log", &partitions).await.unwrap();
    assert_eq!(sink.progress("another log").await.unwrap().len(), elsewhere.len());

    sink.forget(LOG).await.unwrap();
    assert_eq!(sink.progress(LOG).await.unwrap(), []);
    assert_eq!(sink.progress("another log").await.unwrap().len(), elsewhere.len());
    let next = bench.batch(2, &[Change::Insert(Row::new(2, "b"))]);
    assert_eq!(kind(next.apply(&mut *writer, &[step(&stored, 8, 2)]).await), ErrorKind::Fenced);
    assert_eq!(bench.rows().await, [Row::new(1, "a")]);
    let again = sink.claim(LOG, &partitions).await.unwrap();
    assert!(again.iter().all(|progress| progress.next_offset.is_none() && progress.highest.is_none()), "{again:?}");
    sink.forget(LOG).await.unwrap();
    sink.forget(LOG).await.unwrap();
}

/// The next claim finds no checkpoint, and whoever owned it writes no more.
pub async fn sink_forgets_the_checkpoint_of_a_stream(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let sink = harness.sink();
    sink.forget(STREAM).await.unwrap();
    let mut writer = bench.stream_writer().await;
    let new = bench.claim_stream().await;
    let batch = bench.batch(1, &[Change::Insert(Row::new(1, "a"))]);
    sink.forget(STREAM).await.unwrap();
    assert_eq!(kind(bench.save(&mut *writer, &batch, &new, &checkpoint(1, false)).await), ErrorKind::Fenced);
    let known = bench.claim_stream().await;
    assert!(known.owner > new.owner && known.checkpoint.is_none(), "{known:?}");
    bench.save(&mut *writer, &batch, &known, &checkpoint(1, false)).await.unwrap();
    let saved = sink.stream_progress(STREAM).await.unwrap().expect("it was saved");
    sink.forget(STREAM).await.unwrap();
    assert_eq!(kind(bench.save(&mut *writer, &batch, &saved, &checkpoint(2, false)).await), ErrorKind::Fenced);
    assert!(sink.stream_progress(STREAM).await.unwrap().is_none_or(|stream| stream.checkpoint.is_none()));
    assert_eq!(bench.rows().await, [Row::new(1, "a")], "rows stay");
}

/// What a policy wrote in place of a value is not taken for the source's: neither a reader nor proof reads such a table.
pub async fn sink_reads_no_table_back_that_has_policies(harness: &dyn SinkHarness) {
    let bench = SinkBench::new(harness, "orders").await;
    let (sink, schema) = (harness.sink(), &bench.schema);
    let plain = TableMapping { policies: [("name".into(), Policy::Reject)].into(), ..bench.mapping.as_ref().clone() };
    sink.open_reader(Arc::clone(schema), &plain).await.unwrap();
    let has_proof = sink.open_proof(Arc::clone(schema), &plain).await.is_ok();
    for policy in [Policy::Null, Policy::Text, Policy::Sentinel("x".into())] {
        let mapping = TableMapping { policies: [("name".into(), policy)].into(), ..plain.clone() };
        let mut refusals = vec![sink.open_reader(Arc::clone(schema), &mapping).await.err()];
        if has_proof {
            refusals.push(sink.open_proof(Arc::clone(schema), &mapping).await.err());
        }
        for refusal in refusals {
            let error = refusal.expect("a table with a policy is read back");
            assert!(error.kind() == ErrorKind::TableFailed && error.message().contains("column name of"), "{error}");
        }
    }
}
