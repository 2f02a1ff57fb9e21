//! One worker of a session: reads its partitions, plans, writes; one connection to the log, one to the target.
//!
//! Reading and writing overlap: while the target writes a batch, the next one is read and decoded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tailrace_contract::{
    Applied, ApplyBatch, BatchLimits, Error, ErrorKind, LaneStop, LogBatch, LogReader, ReadProgress, Result, SinkWriter,
};
use tailrace_row::{RecordBatch, TableName, TableSchema};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Apply, Ended, FailedTables,
    barriers::Board,
    plan::{Lane, Plan, Planner},
};
use crate::{
    mapping::projection::{LeftOut, project},
    runtime::Shutdown,
    telemetry::{PartitionLabels, seconds_now},
};

/// Batches in circulation: one being written, one waiting, one being filled.
pub(super) const BATCHES: usize = 3;

/// How often progress without rows is stored (control records of the log, tombstones).
const QUIET_PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How long a batch waits for its first record while a lane stands at a barrier, which may be done at any moment.
const STANDING_WAIT_MAX: Duration = Duration::from_millis(20);

/// A batch, or why the reader could not read on.
pub(super) type Filled = Result<LogBatch>;

/// What the reading half works with.
pub(super) struct Reading {
    pub(super) reader: Box<dyn LogReader>,
    pub(super) limits: BatchLimits,
    /// The table of each lane.
    pub(super) tables: Vec<TableName>,
    pub(super) failed: FailedTables,
    pub(super) board: Arc<Board>,
}

/// The reading half: log → batches. Ends when the other half goes away, or after an error that ends the session.
pub(super) async fn read_log(reading: Reading, filled: mpsc::Sender<Filled>, mut empty: mpsc::Receiver<LogBatch>) {
    let Reading { mut reader, limits, tables, failed, board } = reading;
    let mut stopped: Vec<TableName> = Vec::new();
    let mut standing: Vec<LaneStop> = Vec::new();
    while let Some(mut batch) = empty.recv().await {
        // A batch comes back when it was applied.
        if !batch.progress.is_empty() {
            reader.report_applied(&batch.progress);
        }
        batch.clear();
        let mut result = stop_failed(reader.as_mut(), &failed, &mut stopped);
        if result.is_ok() {
            result = release(reader.as_mut(), &mut standing, &tables, &board);
        }
        if result.is_ok() {
            let is_brief = standing.iter().any(|stop| !board.is_paused(&tables[stop.lane as usize]));
            let wait_max = if is_brief { limits.wait_max.min(STANDING_WAIT_MAX) } else { limits.wait_max };
            result = fill(reader.as_mut(), &mut batch, BatchLimits { wait_max, ..limits }, &filled).await;
        }
        for stop in &batch.stops {
            board.note_named(stop.number);
            standing.push(*stop);
        }
        let (item, is_over) = match result {
            Ok(()) => (Ok(batch), false),
            Err(error) if error.kind() == ErrorKind::TableFailed => {
                // What was read before the bad record is whole: it is handed over first, and its memory replaced.
                if filled.send(Ok(batch)).await.is_err() {
                    break;
                }
                // The writer hears of it only when it comes to it. Until then the record must not be met again.
                match stop_table(reader.as_mut(), error.table(), &mut stopped) {
                    Ok(()) => (Err(error), false),
                    Err(worse) => (Err(worse), true),
                }
            }
            Err(error) => (Err(error), true),
        };
        if filled.send(item).await.is_err() || is_over {
            break;
        }
    }
}

/// Lets lanes go on whose barriers are done. Never while a batch is being filled: what lies behind a barrier has another mapping.
fn release(
    reader: &mut dyn LogReader,
    standing: &mut Vec<LaneStop>,
    tables: &[TableName],
    board: &Board,
) -> Result<()> {
    let open: Vec<LaneStop> =
        standing.extract_if(.., |stop| board.is_open(&tables[stop.lane as usize], stop.number)).collect();
    open.into_iter().try_for_each(|stop| reader.release(stop.lane, stop.number))
}

async fn fill(
    reader: &mut dyn LogReader,
    batch: &mut LogBatch,
    limits: BatchLimits,
    filled: &mpsc::Sender<Filled>,
) -> Result<()> {
    reader.read_batch(batch, limits).await?;
    if filled.capacity() > 0 {
        return Ok(());
    }
    // The writer is busy. Whatever comes until it is free joins this batch: big batches under load, small ones without.
    let _ = filled.reserve().await;
    let is_full = batch.records.byte_len() >= limits.bytes_max || batch.records.len() >= limits.records_max;
    if batch.records.is_empty() || is_full { Ok(()) } else { reader.read_batch(batch, limits).await }
}

/// Reads no more of the tables that have stopped, whoever stopped them.
fn stop_failed(reader: &mut dyn LogReader, failed: &FailedTables, stopped: &mut Vec<TableName>) -> Result<()> {
    failed.names().iter().try_for_each(|table| stop_table(reader, Some(table), stopped))
}

fn stop_table(reader: &mut dyn LogReader, table: Option<&TableName>, stopped: &mut Vec<TableName>) -> Result<()> {
    let Some(table) = table.filter(|table| !stopped.contains(table)) else { return Ok(()) };
    reader.stop_table(table)?;
    stopped.push(table.clone());
    Ok(())
}

/// The writing half: batches → target transactions.
pub(super) struct Worker<'a> {
    pub(super) apply: &'a Apply,
    pub(super) writer: Box<dyn SinkWriter>,
    pub(super) lanes: Vec<Lane>,
    pub(super) filled: mpsc::Receiver<Filled>,
    pub(super) empty: mpsc::Sender<LogBatch>,
    pub(super) shared: Shared,
    pub(super) planner: Planner,
    pub(super) quiet: Quiet,
    pub(super) left_out: LeftOut,
}

/// What the workers of a session share.
pub(super) struct Shared {
    /// Who asks to stop.
    pub(super) stop: Shutdown,
    /// Tables of the session: when all have stopped there is nothing left to do.
    pub(super) tables: Arc<[TableName]>,
    /// Whether any worker has brought anything into the target.
    pub(super) has_applied: Arc<AtomicBool>,
    /// The session's barriers.
    pub(super) board: Arc<Board>,
}

/// Progress without rows that is not stored yet.
pub(super) struct Quiet {
    read: Vec<ReadProgress>,
    stored_at: Instant,
}

impl Default for Quiet {
    fn default() -> Self {
        Self { read: Vec::new(), stored_at: Instant::now() }
    }
}

impl Quiet {
    fn merge(&mut self, read: &[ReadProgress]) {
        for new in read {
            match self.read.iter_mut().find(|known| known.lane == new.lane) {
                Some(known) => *known = *new,
                None => self.read.push(*new),
            }
        }
    }
}

impl Worker<'_> {
    /// Works until asked to stop, until every table has stopped, or until the first error that ends the session.
    pub(super) async fn run(&mut self) -> Result<Ended> {
        loop {
            // Cancel-safe: both branches only wait.
            let filled = tokio::select! {
                biased;
                () = self.shared.stop.requested() => return self.store_quiet().await.map(|()| Ended::Asked),
                filled = self.filled.recv() => filled,
            };
            match filled {
                None => return Err(Error::corrupt("the reading half of apply ended without an error")),
                Some(Ok(batch)) => self.take(batch).await?,
                Some(Err(error)) if error.kind() == ErrorKind::TableFailed && error.table().is_some() => {
                    self.fail_unreadable(error)?;
                }
                Some(Err(error)) => return Err(error),
            }
            if self.shared.tables.iter().all(|table| self.apply.failed.contains(table)) {
                return Ok(Ended::NoTableLeft);
            }
        }
    }

    /// Applies a batch and gives it back, with what the log may hear of.
    async fn take(&mut self, mut batch: LogBatch) -> Result<()> {
        self.apply_batch(&mut batch).await?;
        self.pass(&batch.stops);
        batch.progress.retain(|read| !self.lanes[read.lane as usize].is_stopped);
        // The reader may be gone; the next receive tells.
        let _ = self.empty.try_send(batch);
        Ok(())
    }

    /// What lies behind these barriers has the columns that they made.
    fn pass(&mut self, stops: &[LaneStop]) {
        for stop in stops {
            self.lanes[stop.lane as usize].ahead.pass(stop.number);
        }
    }

    /// The log can't be read: the table stops, unless it has stopped for another reason while the error was on its way.
    fn fail_unreadable(&mut self, error: Error) -> Result<()> {
        self.stop_failed_lanes();
        let is_known = error.table().is_some_and(|table| self.apply.failed.contains(table));
        if is_known { Ok(()) } else { self.fail_table(error) }
    }

    async fn apply_batch(&mut self, batch: &mut LogBatch) -> Result<()> {
        self.stop_failed_lanes();
        self.note_behind(&batch.progress);
        if batch.records.is_empty() {
            self.quiet.merge(&batch.progress);
            let is_urgent = !batch.progress.is_empty() && self.shared.board.is_awaited();
            if is_urgent || self.quiet.stored_at.elapsed() >= QUIET_PROGRESS_INTERVAL {
                self.store_quiet().await?;
            }
            return Ok(());
        }
        let metrics = &self.apply.metrics.apply;
        let count = batch.records.len();
        metrics.records.inc_by(count as u64);
        metrics.bytes.inc_by(batch.records.byte_len() as u64);
        let in_flight = i64::try_from(count).unwrap_or(i64::MAX);
        metrics.in_flight_records.inc_by(in_flight);
        self.quiet.merge(&batch.progress);
        let read = std::mem::take(&mut self.quiet.read);
        let result = self.write_projected(&mut batch.records, &read).await;
        self.apply.metrics.apply.in_flight_records.dec_by(in_flight);
        result
    }

    async fn write_projected(&mut self, records: &mut RecordBatch, read: &[ReadProgress]) -> Result<()> {
        loop {
            match self.project(records).await {
                Ok(Some(mut projected)) => return self.write(&mut projected, read).await,
                Ok(None) => return self.write(records, read).await,
                Err(error) if error.kind() == ErrorKind::TableFailed && error.table().is_some() => {
                    self.fail_table(error)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The rows with the columns that the target has, where that makes a difference.
    async fn project(&mut self, records: &RecordBatch) -> Result<Option<RecordBatch>> {
        let lanes = &self.lanes;
        let mapping = |schema: &TableSchema| {
            let lane = lanes.iter().find(|lane| lane.mapping.source == *schema.name());
            lane.map(|lane| Arc::clone(&lane.mapping))
        };
        self.left_out.learn(self.apply.sink.as_ref(), records, mapping).await?;
        let is_ahead = lanes.iter().any(|lane| !lane.ahead.is_empty());
        if !is_ahead && !self.left_out.concerns(records) {
            return Ok(None);
        }
        let names = |schema: &TableSchema, lane: u32| {
            let lane = &lanes[lane as usize];
            if lane.is_stopped {
                return None;
            }
            lane.ahead.names(schema).or_else(|| self.left_out.names(schema).cloned())
        };
        self.apply.metrics.count_left_out(records, |schema| self.left_out.names(schema));
        project(records, names).map(Some)
    }

    async fn store_quiet(&mut self) -> Result<()> {
        let read = std::mem::take(&mut self.quiet.read);
        self.quiet.stored_at = Instant::now();
        if read.is_empty() { Ok(()) } else { self.write(&mut RecordBatch::new(), &read).await }
    }

    /// Writes a batch; if a table is refused it stops, and the rest is written without it.
    async fn write(&mut self, records: &mut RecordBatch, read: &[ReadProgress]) -> Result<()> {
        loop {
            match self.try_write(records, read).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::TableFailed && error.table().is_some() => {
                    self.fail_table(error)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_write(&mut self, records: &mut RecordBatch, read: &[ReadProgress]) -> Result<()> {
        let plan = self.planner.plan(records, read, &self.lanes)?;
        if plan.progress.is_empty() && plan.changes.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let batch = ApplyBatch { records, changes: &plan.changes, progress: &plan.progress, stream: None };
        let applied = self.writer.apply(batch).await?;
        self.note_applied(records, plan, applied, started.elapsed());
        Ok(())
    }

    fn note_applied(&mut self, records: &RecordBatch, plan: Plan, applied: Applied, took: Duration) {
        let metrics = &self.apply.metrics.apply;
        metrics.upserts.inc_by(applied.upserted);
        metrics.deletes.inc_by(applied.deleted);
        metrics.absent.inc_by(applied.absent);
        metrics.compacted.inc_by(plan.compacted);
        metrics.partial.inc_by(plan.partial);
        metrics.duplicates.inc_by(plan.duplicates);
        metrics.reapplied.inc_by(plan.reapplied);
        metrics.commits.inc();
        self.apply.metrics.count_policy_uses(&applied.policy_uses);
        self.shared.has_applied.store(true, Ordering::Relaxed);
        if !records.is_empty() {
            metrics.commit_records.observe(records.len());
            metrics.commit_seconds.observe(took.as_secs_f64());
            observe_lag(records, |lag| metrics.end_to_end_lag_seconds.observe(lag));
        }
        for (lane, step) in plan.lanes.into_iter().zip(plan.progress) {
            let stored = &mut self.lanes[lane as usize].stored;
            stored.next_offset = Some(step.next_offset);
            stored.sequence = step.sequence;
            stored.highest = stored.highest.max(step.sequence);
            let labels = partition_labels(&stored.partition.table, stored.partition.index);
            metrics.offset.get_or_create(&labels).set(step.next_offset);
            self.apply.metrics.facts.note_applied(&stored.partition, step.next_offset);
            self.shared.board.note_stored(&stored.partition, step.next_offset);
        }
    }

    fn note_behind(&self, read: &[ReadProgress]) {
        for read in read {
            let partition = self.lanes[read.lane as usize].partition();
            let labels = partition_labels(&partition.table, partition.index);
            let behind = i64::try_from(read.behind).unwrap_or(i64::MAX);
            self.apply.metrics.apply.behind.get_or_create(&labels).set(behind);
        }
    }

    fn fail_table(&mut self, error: Error) -> Result<()> {
        let is_ours = self.lanes.iter().any(|lane| !lane.is_stopped && error.table() == Some(&lane.mapping.source));
        if !is_ours {
            // Trying again would fail for ever: a sink that blames a table that is not in the batch is wrong.
            return Err(Error::refused("the target blames a table that was not written").caused_by(error));
        }
        self.apply.fail_table(error);
        self.stop_failed_lanes();
        Ok(())
    }

    fn stop_failed_lanes(&mut self) {
        for lane in &mut self.lanes {
            lane.is_stopped = lane.is_stopped || self.apply.failed.contains(&lane.mapping.source);
        }
    }
}

fn partition_labels(table: &TableName, partition: u32) -> PartitionLabels {
    PartitionLabels { table: table.to_string(), partition }
}

/// One observation per rows event: its commit in the source to now.
#[expect(clippy::cast_precision_loss, reason = "a lag in seconds needs no microsecond precision")]
pub(crate) fn observe_lag(records: &RecordBatch, mut observe: impl FnMut(f64)) {
    let now = seconds_now();
    let mut previous = None;
    for record in records.records() {
        if previous == Some(record.origin) {
            continue;
        }
        previous = Some(record.origin);
        let committed = records.origin(record).committed_at_micros;
        if committed > 0 {
            observe((now - committed as f64 / 1e6).max(0.0));
        }
    }
}

/// Starts with all batches empty.
pub(super) fn empty_batches() -> (mpsc::Sender<LogBatch>, mpsc::Receiver<LogBatch>) {
    let (sender, receiver) = mpsc::channel(BATCHES);
    for _ in 0..BATCHES {
        sender.try_send(LogBatch::default()).expect("invariant: the channel has room for all batches");
    }
    (sender, receiver)
}
