//! What a log and a target must do at barriers.

use std::time::Instant;

use tailrace_contract::{
    Barrier, BarrierAct, BarrierPlace, Encounter, ErrorKind, LaneStop, LogBatch, LogPartition, LogReader, Meeting,
    PartitionEnd, PartitionProgress, SchemaChange, StoredMeeting, StreamProgress, StreamStep, TableAct, TargetAct,
};
use tailrace_row::{Epoch, RecordBatch, Sequence, TableName};

use crate::{
    log::{LIMITS, LogBench, LogHarness, PATIENCE},
    sample::{Change, Row},
    sink::{Batch, LOG, STREAM, SinkBench, SinkHarness, checkpoint, kind, step},
};

pub(crate) fn truncate(table: &TableName, transaction: u64) -> SchemaChange {
    SchemaChange {
        sequence: Sequence { epoch: Epoch(0), transaction, event: 0, row: 0 },
        place: "kit:1, binlog.000001:4".into(),
        committed_at_micros: 1_700_000_000_000_000,
        statement: "TRUNCATE /* '\"\u{fc} */ orders".into(),
        acts: vec![TableAct::Truncate { table: table.clone() }],
    }
}

impl LogBench<'_> {
    async fn commit_barrier(&mut self, writer: &mut dyn tailrace_contract::LogWriter) -> (u64, SchemaChange) {
        self.transaction += 1;
        let change = truncate(self.schema.name(), self.transaction);
        let number = writer.commit_barrier(&change, &self.checkpoint()).await.unwrap();
        (number, change)
    }

    async fn insert(&mut self, writer: &mut dyn tailrace_contract::LogWriter, ids: std::ops::Range<i64>) {
        let changes: Vec<Change> = ids.map(|id| Change::Insert(Row::new(id, "row"))).collect();
        self.append(writer, &changes).await.unwrap();
        self.commit(writer).await.unwrap();
    }
}

/// What a reader gave: records as lane and offset, how far each lane is, and where lanes stand.
#[derive(Default)]
struct Passed {
    records: Vec<(u32, i64)>,
    progress: std::collections::BTreeMap<u32, i64>,
    stops: Vec<LaneStop>,
}

impl Passed {
    /// Reads until there are so many records, and a little longer: nothing more may come, but for stops.
    async fn read(&mut self, reader: &mut dyn LogReader, count: usize) {
        let begin = Instant::now();
        let mut quiet = 0;
        while quiet < 5 {
            assert!(begin.elapsed() < PATIENCE, "{} of {count} records came", self.records.len());
            let mut batch = LogBatch::default();
            reader.read_batch(&mut batch, LIMITS).await.unwrap();
            let is_quiet = batch.records.is_empty() && batch.stops.is_empty() && self.records.len() >= count;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            self.records.extend(batch.records.records().iter().map(|record| (record.lane, record.offset)));
            self.progress.extend(batch.progress.iter().map(|read| (read.lane, read.next_offset)));
            self.stops.extend(batch.stops);
        }
        assert_eq!(self.records.len(), count);
    }

    /// The lanes that stand at a barrier, ordered.
    fn lanes_at(&self, number: u64) -> Vec<u32> {
        let mut lanes: Vec<u32> =
            self.stops.iter().filter(|stop| stop.number == number).map(|stop| stop.lane).collect();
        lanes.sort_unstable();
        lanes
    }
}

/// Lanes stand before the first record behind a barrier until they are released, and its ends part the records.
pub async fn log_stops_at_a_barrier(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let partitions = bench.partitions().await;
    let mut writer = bench.writer().await;
    let mut barriers = bench.log.open_barriers().await.unwrap();
    assert_eq!(barriers.read().await.unwrap(), []);
    bench.insert(&mut *writer, 0..50).await;
    let (first, change) = bench.commit_barrier(&mut *writer).await;
    assert_eq!(bench.log.checkpoint().await.unwrap(), Some(bench.checkpoint()), "the checkpoint is behind it");
    bench.insert(&mut *writer, 50..100).await;

    let mut reader = bench.reader().await;
    let mut passed = Passed::default();
    passed.read(&mut *reader, 50).await;
    let read = barriers.read().await.unwrap();
    let [Barrier { number, change: told, ends }] = read.as_slice() else { panic!("one barrier: {read:?}") };
    assert_eq!((*number, told), (first, &change));
    assert_eq!(ends.iter().map(|end| end.partition.clone()).collect::<Vec<_>>(), partitions);
    let end = |lane: u32| ends[lane as usize].end;
    assert!(passed.records.iter().all(|(lane, offset)| *offset < end(*lane)), "all before it lies below the ends");
    let standing = passed.lanes_at(first);
    assert!(!standing.is_empty() && standing.len() == passed.stops.len(), "each lane stops once: {:?}", passed.stops);
    assert!(standing.iter().all(|lane| passed.progress[lane] >= end(*lane)), "where a lane stands counts as progress");

    let (second, _) = bench.commit_barrier(&mut *writer).await;
    assert!(second > first);
    assert_eq!(barriers.read().await.unwrap().iter().map(|barrier| barrier.number).collect::<Vec<_>>(), [second]);
    for lane in standing {
        reader.release(lane, first).unwrap();
    }
    passed.read(&mut *reader, 100).await;
    assert!(passed.records[50..].iter().all(|(lane, offset)| *offset >= end(*lane)), "the rest lies behind it");
    assert_eq!(passed.lanes_at(second), [] as [u32; 0], "nothing lies behind the second one yet");
    let again = bench.log.open_barriers().await.unwrap().read().await.unwrap();
    assert_eq!(again.iter().map(|barrier| barrier.number).collect::<Vec<_>>(), [first, second]);
}

/// A writer that dies behind a barrier leaves it to the next one, whose first record of each partition names it.
pub async fn e29_log_names_a_barrier_again_after_a_restart(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let mut writer = bench.writer().await;
    bench.insert(&mut *writer, 0..50).await;
    let (number, _) = bench.commit_barrier(&mut *writer).await;
    let lost: Vec<Change> = (50..100).map(|id| Change::Insert(Row::new(id, "lost"))).collect();
    bench.append(&mut *writer, &lost).await.unwrap();
    drop(writer);

    let opened = bench.log.open_writer().await.unwrap();
    assert_eq!(opened.checkpoint.map(|checkpoint| checkpoint.mark.transactions), Some(2));
    let mut writer = opened.writer;
    bench.insert(&mut *writer, 100..150).await;
    let mut reader = bench.reader().await;
    let mut passed = Passed::default();
    passed.read(&mut *reader, 50).await;
    for lane in passed.lanes_at(number) {
        reader.release(lane, number).unwrap();
    }
    passed.read(&mut *reader, 100).await;
    let mut writer = bench.writer().await;
    bench.insert(&mut *writer, 200..250).await;
    passed.read(&mut *reader, 150).await;
    let mut fresh = Passed::default();
    fresh.read(&mut *bench.reader().await, 50).await;
    let lanes = fresh.lanes_at(number);
    assert!(!lanes.is_empty(), "the barrier stands for those who have not passed it");
}

/// A lane that begins behind the record that names a barrier stands all the same, if it is held.
pub async fn log_holds_a_lane(harness: &dyn LogHarness) {
    let mut bench = LogBench::new(harness).await;
    let mut writer = bench.writer().await;
    bench.insert(&mut *writer, 0..50).await;
    let mut reader = bench.reader().await;
    let lanes = u32::try_from(bench.partitions().await.len()).unwrap();
    (0..lanes).for_each(|lane| reader.hold(lane, 7));
    let mut passed = Passed::default();
    passed.read(&mut *reader, 0).await;
    for lane in passed.lanes_at(7) {
        reader.release(lane, 6).unwrap();
    }
    passed.read(&mut *reader, 0).await;
    for lane in passed.lanes_at(7) {
        reader.release(lane, 7).unwrap();
    }
    passed.read(&mut *reader, 50).await;
    bench.insert(&mut *writer, 50..60).await;
    passed.read(&mut *reader, 60).await;
}

/// A table with two partitions, and a statement between what was applied and what follows.
struct MeetingBench<'h> {
    bench: SinkBench<'h>,
    change: SchemaChange,
    ends: Vec<PartitionEnd>,
}

impl<'h> MeetingBench<'h> {
    async fn new(harness: &'h dyn SinkHarness) -> Self {
        let bench = SinkBench::new(harness, "orders").await;
        let change = truncate(&bench.partition.table, 5);
        let end = |index, end| PartitionEnd { partition: LogPartition { index, ..bench.partition.clone() }, end };
        let ends = vec![end(0, 3), end(1, 5)];
        Self { bench, change, ends }
    }

    fn partitions(&self) -> Vec<LogPartition> {
        self.ends.iter().map(|end| end.partition.clone()).collect()
    }

    async fn claim(&self) -> Vec<PartitionProgress> {
        self.bench.harness.sink().claim(LOG, &self.partitions()).await.unwrap()
    }

    /// Brings a partition to an offset, with rows.
    async fn bring(&self, index: usize, to: (i64, u64), rows: &[Row]) {
        let changes: Vec<Change> = rows.iter().cloned().map(Change::Insert).collect();
        let claimed = self.claim().await;
        let (next_offset, transaction) = to;
        let batch = match changes.as_slice() {
            [] => Batch { records: RecordBatch::new(), changes: Vec::new() },
            _ => self.bench.batch(transaction, &changes),
        };
        let step = step(&claimed[index], next_offset, transaction);
        batch.apply(&mut *self.bench.writer().await, &[step]).await.unwrap();
    }

    async fn meet(&self, act: &BarrierAct) -> Meeting {
        let (mapping, change, place) = (&*self.bench.mapping, &self.change, BarrierPlace::Log(&self.ends));
        let encounter = Encounter { log: LOG, mapping, number: 9, change, act, place };
        self.bench.harness.sink().meet(encounter).await.unwrap()
    }

    async fn meetings(&self, log: &str) -> Vec<StoredMeeting> {
        self.bench.harness.sink().meetings(log).await.unwrap()
    }
}

fn emptying() -> BarrierAct {
    BarrierAct::CarryOut(vec![TargetAct::Truncate])
}

/// The act is done by whoever asks first once every partition is there, and never again; asked for anew it is.
pub async fn e22_sink_meets_once_all_partitions_are_there(harness: &dyn SinkHarness) {
    let sink = harness.sink();
    assert_eq!(sink.meetings(LOG).await.unwrap(), [], "before anything was made");
    let bench = MeetingBench::new(harness).await;
    assert_eq!(bench.meet(&emptying()).await, Meeting::Waiting);
    bench.bring(0, (3, 4), &[Row::new(1, "before")]).await;
    assert_eq!(bench.meet(&emptying()).await, Meeting::Waiting);
    bench.bring(1, (4, 3), &[]).await;
    assert_eq!(bench.meet(&emptying()).await, Meeting::Waiting);
    assert_eq!(bench.bench.rows().await, [Row::new(1, "before")]);
    assert_eq!(bench.meetings(LOG).await, []);
    // A quiet partition may end with markers.
    bench.bring(1, (7, 3), &[]).await;
    assert_eq!(bench.meet(&emptying()).await, Meeting::Done);
    assert_eq!(bench.bench.rows().await, []);
    bench.bring(0, (8, 6), &[Row::new(2, "behind")]).await;
    assert_eq!(bench.meet(&emptying()).await, Meeting::Done);
    assert_eq!(bench.bench.rows().await, [Row::new(2, "behind")], "it is done once");
    let known = bench.meetings(LOG).await;
    let [known] = known.as_slice() else { panic!("one meeting: {known:?}") };
    let told = (&known.table, known.sequence, known.number, known.paused.as_deref());
    assert_eq!(told, (&bench.bench.partition.table, bench.change.sequence, 9, None));
    assert_eq!((known.statement.as_str(), known.place.as_str()), (&*bench.change.statement, &*bench.change.place));
    assert!(known.since_micros > 1_600_000_000_000_000, "{known:?}");
    assert_eq!(bench.meetings("another log").await, []);

    sink.reopen(LOG, &known.table, known.sequence).await.unwrap();
    assert_eq!(bench.meetings(LOG).await, []);
    sink.reopen(LOG, &known.table, known.sequence).await.unwrap();
    assert!(matches!(bench.meet(&BarrierAct::CarryOut(Vec::new())).await, Meeting::Done));
    sink.forget(LOG).await.unwrap();
    assert_eq!(bench.meetings(LOG).await, [], "forgotten with the progress");
}

/// A table that waits says why, stays so, and goes on when it is resumed, or when an act can be carried out after all.
pub async fn sink_pauses_a_table_until_it_is_resumed(harness: &dyn SinkHarness) {
    let sink = harness.sink();
    let bench = MeetingBench::new(harness).await;
    let table = bench.bench.partition.table.clone();
    let pause = BarrierAct::Pause("it changes the 'key'".into());
    assert_eq!(bench.meet(&pause).await, Meeting::Waiting);
    bench.bring(0, (3, 4), &[Row::new(1, "before")]).await;
    bench.bring(1, (5, 3), &[]).await;
    let paused = Meeting::Paused("it changes the 'key'".into());
    assert_eq!(bench.meet(&pause).await, paused);
    assert_eq!(bench.meet(&pause).await, paused);
    let known = bench.meetings(LOG).await;
    assert_eq!(known.iter().map(|known| known.paused.as_deref()).collect::<Vec<_>>(), [Some("it changes the 'key'")]);
    assert_eq!(sink.resume(LOG, &TableName::new("shop", "other")).await.unwrap(), []);
    assert_eq!(sink.resume("another log", &table).await.unwrap(), []);
    assert_eq!(sink.resume(LOG, &table).await.unwrap(), known);
    assert_eq!(sink.resume(LOG, &table).await.unwrap(), []);
    assert_eq!(bench.meet(&pause).await, Meeting::Done);
    assert_eq!(bench.bench.rows().await, [Row::new(1, "before")], "nothing was done to it");

    sink.reopen(LOG, &table, bench.change.sequence).await.unwrap();
    assert_eq!(bench.meet(&pause).await, paused);
    assert_eq!(bench.meet(&emptying()).await, Meeting::Done);
    assert_eq!(bench.bench.rows().await, []);
    assert!(bench.meetings(LOG).await.iter().all(|known| known.paused.is_none()));
}

/// Rows from behind the barrier are not emptied away, and what the target refuses is a reason to wait.
pub async fn e22_sink_keeps_rows_from_behind_a_barrier(harness: &dyn SinkHarness) {
    let bench = MeetingBench::new(harness).await;
    bench.bring(0, (4, 6), &[Row::new(1, "behind")]).await;
    bench.bring(1, (5, 3), &[]).await;
    let Meeting::Paused(why) = bench.meet(&emptying()).await else { panic!("it must wait") };
    assert!(why.contains("shop.orders[0]"), "{why}");
    assert_eq!(bench.bench.rows().await, [Row::new(1, "behind")]);

    let mut missing = MeetingBench { change: truncate(&bench.bench.partition.table, 90), ..bench };
    let mapping = tailrace_contract::TableMapping {
        target: harness.target("none"),
        ..tailrace_contract::TableMapping::clone(&missing.bench.mapping)
    };
    missing.bench.mapping = mapping.into();
    let waits = missing.meet(&emptying()).await;
    assert!(matches!(waits, Meeting::Paused(_)), "{waits:?}");
}

/// Without a log the act, the mark and the checkpoint are one transaction; who was superseded does nothing.
pub async fn sink_meets_with_the_checkpoint_of_a_stream(harness: &dyn SinkHarness) {
    let sink = harness.sink();
    let bench = SinkBench::new(harness, "orders").await;
    let old = bench.claim_stream().await;
    let claimed = bench.claim_stream().await;
    let mut writer = sink.open_writer(STREAM).await.unwrap();
    let rows = bench.batch(1, &[Change::Insert(Row::new(1, "before"))]);
    bench.save(&mut *writer, &rows, &claimed, &checkpoint(1, false)).await.unwrap();
    let (act, behind) = (emptying(), checkpoint(2, false));
    let change = truncate(&bench.partition.table, 2);
    let meet = |act, owner, saves| {
        let place =
            BarrierPlace::Stream(Some(StreamStep { stream: STREAM, saves, owner, checkpoint: &behind, ledger: &[] }));
        sink.meet(Encounter { log: STREAM, mapping: &bench.mapping, number: 2, change: &change, act, place })
    };
    for (owner, saves) in [(old.owner, 1), (claimed.owner, 0)] {
        assert_eq!(kind(meet(&act, owner, saves).await), ErrorKind::Fenced);
    }
    let pause = BarrierAct::Pause("why".into());
    assert_eq!(meet(&pause, claimed.owner, 1).await.unwrap(), Meeting::Paused("why".into()));
    let stored = sink.stream_progress(STREAM).await.unwrap().unwrap();
    assert_eq!((stored.saves, stored.checkpoint), (1, Some(checkpoint(1, false))), "nothing is saved meanwhile");
    assert_eq!(bench.rows().await, [Row::new(1, "before")]);

    assert_eq!(meet(&act, claimed.owner, 1).await.unwrap(), Meeting::Done);
    assert_eq!(bench.rows().await, []);
    let stored = sink.stream_progress(STREAM).await.unwrap().unwrap();
    assert_eq!((stored.saves, stored.checkpoint), (2, Some(behind.clone())));
    assert_eq!(kind(meet(&act, claimed.owner, 1).await), ErrorKind::Fenced, "the checkpoint has moved");

    // Read again after a rewind: nothing from behind it is there, so it is done again.
    let again = StreamProgress { saves: 2, ..claimed };
    bench.save(&mut *writer, &rows, &again, &checkpoint(1, false)).await.unwrap();
    assert_eq!(meet(&pause, again.owner, 3).await.unwrap(), Meeting::Paused("why".into()));
    assert_eq!(sink.resume(STREAM, &bench.partition.table).await.unwrap().len(), 1);
    assert_eq!(meet(&pause, again.owner, 3).await.unwrap(), Meeting::Done, "let pass by an operator");
    assert_eq!(bench.rows().await, [Row::new(1, "before")]);
    assert_eq!(meet(&pause, again.owner, 4).await.unwrap(), Meeting::Paused("why".into()), "once");
    assert_eq!(meet(&act, again.owner, 4).await.unwrap(), Meeting::Done);
    assert_eq!(bench.rows().await, []);
}
