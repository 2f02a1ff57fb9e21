//! Wrappers that break a promise on purpose: each must be found by the properties, else these prove nothing.

use std::sync::Arc;

use tailrace_contract::{
    Applied, ApplyBatch, BarrierPlace, BarrierReader, BatchLimits, BoxFuture, Capabilities, ChangeStream, Checkpoint,
    ChunkReader, Encounter, Error, LedgerEntry, Log, LogBatch, LogPartition, LogReader, LogStart, LogWriter, Meeting,
    OpenedWriter, PartitionEnds, PartitionProgress, Position, Problem, ProgressStep, ReadProgress, Result,
    SchemaChange, Sink, SinkWriter, Source, SourceState, StartAt, StoredMeeting, StreamProgress, StreamStep,
    TableChanges, TableFilter, TableMapping, TableReader, TargetState,
};
use tailrace_row::{Operation, RecordBatch, Sequence, TableName, TableSchema};

use crate::{copy_defects::BrokenChunks, world::World};

/// A promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// The sink stores progress in a transaction of its own, before the rows.
    ProgressBeforeRows,
    /// The sink does not compare progress before it swaps: a process that lost its partitions writes on.
    ProgressIsNotCompared,
    /// The sink forgets the sequence beside the offset.
    SequenceIsForgotten,
    /// The sink leaves out the last row of each table in a batch.
    RowIsLost,
    /// The log gives the checkpoint before the last.
    CheckpointIsOld,
    /// The log commits records without their checkpoint.
    RecordsWithoutCheckpoint,
    /// The log loses some of the appended batches and commits the checkpoint all the same.
    CheckpointWithoutRecords,
    /// The source does not skip what is in the log of a split transaction.
    SplitIsForgotten,
    /// The reader does not stop at barriers.
    NoStopAtBarriers,
    /// The reader of chunks does not wait until it sees what was delivered (E04).
    NoWaitForVisibility,
    /// The end of a view is the end of what is executed, not the end of the binlog.
    EndIsExecuted,
    /// The end of a view is told to lie one transaction earlier.
    EndIsTooEarly,
    /// The reader of chunks skips the last row of a range, which is the one at which a table is split.
    RowIsSkippedAtEnd,
    /// The reader of chunks skips the first row behind a bound.
    RowIsSkippedAtBound,
    /// The ledger is stored without the rows that it counts.
    LedgerWithoutRows,
    /// A part of the chunks is not written at all, and told as done.
    ChunkIsToldUnwritten,
    /// Changes in part do not say that their rows are copied later (E11).
    MarkIsLost,
}

/// The batch with every row told to be there.
fn without_marks(batch: &RecordBatch) -> RecordBatch {
    let mut batch = batch.clone();
    batch.allow_absence(0, |_| false);
    batch
}

fn is_of_copy(batch: &RecordBatch) -> bool {
    batch.records().first().is_some_and(|record| record.operation == Operation::Read)
}

pub(crate) fn log(world: &Arc<World>, inner: Arc<dyn Log>) -> Arc<dyn Log> {
    match world.defect {
        Some(
            defect @ (Defect::CheckpointIsOld
            | Defect::RecordsWithoutCheckpoint
            | Defect::CheckpointWithoutRecords
            | Defect::NoStopAtBarriers
            | Defect::LedgerWithoutRows
            | Defect::ChunkIsToldUnwritten
            | Defect::MarkIsLost),
        ) => Arc::new(BrokenLog { inner, defect, world: Arc::clone(world) }),
        _ => inner,
    }
}

pub(crate) fn source(world: &Arc<World>, inner: Arc<dyn Source>) -> Arc<dyn Source> {
    match world.defect {
        Some(
            defect @ (Defect::SplitIsForgotten
            | Defect::NoWaitForVisibility
            | Defect::EndIsExecuted
            | Defect::EndIsTooEarly
            | Defect::RowIsSkippedAtEnd
            | Defect::RowIsSkippedAtBound),
        ) => Arc::new(BrokenSource { inner, defect, world: Arc::clone(world) }),
        _ => inner,
    }
}

pub(crate) fn sink(world: &Arc<World>, inner: Arc<dyn Sink>) -> Arc<dyn Sink> {
    match world.defect {
        Some(
            defect @ (Defect::ProgressBeforeRows
            | Defect::ProgressIsNotCompared
            | Defect::SequenceIsForgotten
            | Defect::RowIsLost
            | Defect::LedgerWithoutRows
            | Defect::ChunkIsToldUnwritten
            | Defect::MarkIsLost),
        ) => Arc::new(BrokenSink { inner, defect, world: Arc::clone(world) }),
        _ => inner,
    }
}

struct BrokenLog {
    inner: Arc<dyn Log>,
    defect: Defect,
    world: Arc<World>,
}

impl Log for BrokenLog {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<Problem>>> {
        self.inner.check()
    }

    fn prepare<'a>(&'a self, tables: &'a [Arc<TableSchema>]) -> BoxFuture<'a, Result<()>> {
        self.inner.prepare(tables)
    }

    fn open_writer(&self) -> BoxFuture<'_, Result<OpenedWriter>> {
        Box::pin(async {
            let OpenedWriter { writer, mut checkpoint, epoch } = self.inner.open_writer().await?;
            if self.defect == Defect::CheckpointIsOld {
                let known = self.world.log.commits();
                let before_last = known.iter().rev().filter_map(|commit| commit.checkpoint.clone()).nth(1);
                checkpoint = before_last.or(checkpoint);
            }
            let writer =
                BrokenLogWriter { inner: writer, defect: self.defect, last: checkpoint.clone(), appends: 0, chunks: 0 };
            Ok(OpenedWriter { writer: Box::new(writer), checkpoint, epoch })
        })
    }

    fn partitions<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<Vec<LogPartition>>> {
        self.inner.partitions(tables)
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<TableName>>> {
        self.inner.tables()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<Option<Checkpoint>>> {
        self.inner.checkpoint()
    }

    fn ledger(&self) -> BoxFuture<'_, Result<Vec<LedgerEntry>>> {
        self.inner.ledger()
    }

    fn ends<'a>(&'a self, partitions: &'a [LogPartition]) -> BoxFuture<'a, Result<Vec<PartitionEnds>>> {
        self.inner.ends(partitions)
    }

    fn forget_checkpoint(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.forget_checkpoint()
    }

    fn open_barriers(&self) -> BoxFuture<'_, Result<Box<dyn BarrierReader>>> {
        self.inner.open_barriers()
    }

    fn open_reader<'a>(&'a self, from: &'a [(LogPartition, LogStart)]) -> BoxFuture<'a, Result<Box<dyn LogReader>>> {
        Box::pin(async move {
            let inner = self.inner.open_reader(from).await?;
            match self.defect {
                Defect::NoStopAtBarriers => Ok(Box::new(RestlessReader { inner }) as Box<dyn LogReader>),
                _ => Ok(inner),
            }
        })
    }
}

/// A reader that reads on behind barriers, whether they are done or not.
struct RestlessReader {
    inner: Box<dyn LogReader>,
}

impl LogReader for RestlessReader {
    fn read_batch<'a>(&'a mut self, out: &'a mut LogBatch, limits: BatchLimits) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.inner.read_batch(out, limits).await?;
            while let Some(stop) = out.stops.pop() {
                self.inner.release(stop.lane, stop.number)?;
            }
            Ok(())
        })
    }

    fn release(&mut self, lane: u32, number: u64) -> Result<()> {
        self.inner.release(lane, number)
    }

    fn hold(&mut self, _lane: u32, _number: u64) {}

    fn stop_table(&mut self, table: &TableName) -> Result<()> {
        self.inner.stop_table(table)
    }

    fn report_applied(&mut self, applied: &[ReadProgress]) {
        self.inner.report_applied(applied);
    }
}

struct BrokenLogWriter {
    inner: Box<dyn LogWriter>,
    defect: Defect,
    last: Option<Checkpoint>,
    appends: u64,
    /// Chunks that were appended.
    chunks: u64,
}

impl BrokenLogWriter {
    fn is_chunk_forgotten(&self) -> bool {
        self.defect == Defect::ChunkIsToldUnwritten && self.chunks.is_multiple_of(2) && self.chunks > 0
    }
}

impl LogWriter for BrokenLogWriter {
    fn append<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.appends += 1;
            if self.defect == Defect::CheckpointWithoutRecords && self.appends.is_multiple_of(5) {
                return Ok(());
            }
            self.chunks += u64::from(is_of_copy(batch));
            if is_of_copy(batch) && (self.defect == Defect::LedgerWithoutRows || self.is_chunk_forgotten()) {
                return Ok(());
            }
            if self.defect == Defect::MarkIsLost {
                return self.inner.append(&without_marks(batch)).await;
            }
            self.inner.append(batch).await
        })
    }

    fn append_ledger<'a>(&'a mut self, entries: &'a [LedgerEntry]) -> BoxFuture<'a, Result<()>> {
        let is_forgotten = self.is_chunk_forgotten();
        self.chunks += u64::from(is_forgotten);
        self.inner.append_ledger(if is_forgotten { &[] } else { entries })
    }

    fn commit<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let last = self.last.replace(checkpoint.clone());
            match (self.defect, &last) {
                (Defect::RecordsWithoutCheckpoint, Some(last)) => self.inner.commit(last).await,
                _ => self.inner.commit(checkpoint).await,
            }
        })
    }

    fn commit_barrier<'a>(
        &'a mut self,
        change: &'a SchemaChange,
        checkpoint: &'a Checkpoint,
    ) -> BoxFuture<'a, Result<u64>> {
        self.last = Some(checkpoint.clone());
        self.inner.commit_barrier(change, checkpoint)
    }
}

struct BrokenSource {
    inner: Arc<dyn Source>,
    defect: Defect,
    world: Arc<World>,
}

impl Source for BrokenSource {
    fn check<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Problem>>> {
        self.inner.check(filter)
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        self.inner.identity()
    }

    fn position<'a>(&'a self, start: &'a StartAt) -> BoxFuture<'a, Result<Position>> {
        self.inner.position(start)
    }

    fn state<'a>(&'a self, from: Option<&'a Position>) -> BoxFuture<'a, Result<SourceState>> {
        self.inner.state(from)
    }

    fn tables<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Arc<TableSchema>>>> {
        self.inner.tables(filter)
    }

    fn has_rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<bool>> {
        self.inner.has_rows(table)
    }

    fn open<'a>(
        &'a self,
        from: &'a Checkpoint,
        filter: Arc<TableFilter>,
    ) -> BoxFuture<'a, Result<Box<dyn ChangeStream>>> {
        Box::pin(async move {
            if self.defect != Defect::SplitIsForgotten {
                return self.inner.open(from, filter).await;
            }
            let from = Checkpoint { split: None, ..from.clone() };
            self.inner.open(&from, filter).await
        })
    }

    fn open_chunks(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ChunkReader>>> {
        Box::pin(async {
            let inner = self.inner.open_chunks(schema).await?;
            Ok(Box::new(BrokenChunks::new(inner, self.defect, &self.world)) as Box<dyn ChunkReader>)
        })
    }

    fn open_reader(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>> {
        self.inner.open_reader(schema)
    }
}

struct BrokenSink {
    inner: Arc<dyn Sink>,
    defect: Defect,
    world: Arc<World>,
}

impl Sink for BrokenSink {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        self.inner.identity()
    }

    fn check<'a>(&'a self, tables: &'a [TableMapping]) -> BoxFuture<'a, Result<Vec<Problem>>> {
        self.inner.check(tables)
    }

    fn check_table<'a>(
        &'a self,
        schema: &'a TableSchema,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Vec<Problem>>> {
        self.inner.check_table(schema, mapping)
    }

    fn create_statements(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<String>> {
        self.inner.create_statements(schema, mapping)
    }

    fn create_table<'a>(&'a self, schema: &'a TableSchema, mapping: &'a TableMapping) -> BoxFuture<'a, Result<bool>> {
        self.inner.create_table(schema, mapping)
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.prepare()
    }

    fn columns<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<Option<Vec<Box<str>>>>> {
        self.inner.columns(mapping)
    }

    fn table_state<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<TargetState>> {
        self.inner.table_state(mapping)
    }

    fn adopt_table<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<()>> {
        self.inner.adopt_table(mapping)
    }

    fn claim<'a>(
        &'a self,
        log: &'a str,
        partitions: &'a [LogPartition],
    ) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        Box::pin(async move {
            let mut claimed = self.inner.claim(log, partitions).await?;
            if self.defect == Defect::SequenceIsForgotten {
                claimed.iter_mut().for_each(|progress| progress.sequence = None);
            }
            Ok(claimed)
        })
    }

    fn claim_stream<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamProgress>> {
        self.inner.claim_stream(stream)
    }

    fn stream_progress<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<StreamProgress>>> {
        self.inner.stream_progress(stream)
    }

    fn ledger<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Vec<LedgerEntry>>> {
        self.inner.ledger(stream)
    }

    fn progress<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        self.inner.progress(log)
    }

    fn meet<'a>(&'a self, encounter: Encounter<'a>) -> BoxFuture<'a, Result<Meeting>> {
        Box::pin(async move {
            match (self.defect, encounter.place) {
                // Its statements are compared as little as its batches.
                (Defect::ProgressIsNotCompared, BarrierPlace::Stream(Some(step))) => {
                    let stored = self.world.sink.stream(step.stream);
                    let (saves, owner) = stored.map_or((step.saves, step.owner), |known| (known.saves, known.owner));
                    let place = BarrierPlace::Stream(Some(StreamStep { saves, owner, ..step }));
                    self.inner.meet(Encounter { place, ..encounter }).await
                }
                _ => self.inner.meet(encounter).await,
            }
        })
    }

    fn meetings<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        self.inner.meetings(log)
    }

    fn resume<'a>(&'a self, log: &'a str, table: &'a TableName) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        self.inner.resume(log, table)
    }

    fn reopen<'a>(&'a self, log: &'a str, table: &'a TableName, change: Sequence) -> BoxFuture<'a, Result<()>> {
        self.inner.reopen(log, table, change)
    }

    fn forget<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<()>> {
        self.inner.forget(log)
    }

    fn open_writer<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Box<dyn SinkWriter>>> {
        Box::pin(async move {
            let inner = self.inner.open_writer(log).await?;
            let (log, world) = (log.to_owned(), Arc::clone(&self.world));
            let writer = BrokenSinkWriter { inner, defect: self.defect, log, world, applied: 0 };
            Ok(Box::new(writer) as Box<dyn SinkWriter>)
        })
    }

    fn open_reader<'a>(
        &'a self,
        schema: Arc<TableSchema>,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Box<dyn TableReader>>> {
        self.inner.open_reader(schema, mapping)
    }
}

struct BrokenSinkWriter {
    inner: Box<dyn SinkWriter>,
    defect: Defect,
    log: String,
    world: Arc<World>,
    applied: u64,
}

impl BrokenSinkWriter {
    fn stored(&self, step: &ProgressStep) -> Option<PartitionProgress> {
        self.world.sink.progress(&self.log).into_iter().find(|stored| stored.partition == step.from.partition)
    }

    /// It shows only if a claim falls between the halves of what a torn transaction doubled: so claims are made often.
    fn lose_every_other(&mut self, applied: Applied) -> Result<Applied> {
        self.applied += 1;
        if self.applied.is_multiple_of(2) {
            return Err(Error::transient("the connection is lost after every other batch"));
        }
        Ok(applied)
    }

    /// The steps as if nobody compared: each from what is stored, those that would go back left out.
    fn steps_from_stored(&self, steps: &[ProgressStep]) -> Vec<ProgressStep> {
        let patch = |step: &ProgressStep| {
            let from = self.stored(step)?;
            let is_forward = from.next_offset.is_none_or(|stored| step.next_offset > stored);
            is_forward.then(|| ProgressStep { from, ..step.clone() })
        };
        steps.iter().filter_map(patch).collect()
    }

    /// The steps as their owner meant them, but for the sequence.
    fn steps_with_sequence(&self, steps: &[ProgressStep]) -> Vec<ProgressStep> {
        let patch = |step: &ProgressStep| match self.stored(step) {
            Some(stored) if stored.owner == step.from.owner => ProgressStep { from: stored, ..step.clone() },
            _ => step.clone(),
        };
        steps.iter().map(patch).collect()
    }
}

impl SinkWriter for BrokenSinkWriter {
    fn apply<'a>(&'a mut self, batch: ApplyBatch<'a>) -> BoxFuture<'a, Result<Applied>> {
        Box::pin(async move {
            match self.defect {
                Defect::ProgressBeforeRows => {
                    self.inner.apply(ApplyBatch { changes: &[], ..batch }).await?;
                    self.inner.apply(ApplyBatch { progress: &[], stream: None, ..batch }).await
                }
                Defect::ProgressIsNotCompared => {
                    let steps = self.steps_from_stored(batch.progress);
                    let stored = batch.stream.and_then(|step| self.world.sink.stream(step.stream));
                    let from_stored = |(step, stored): (StreamStep<'a>, StreamProgress)| StreamStep {
                        saves: stored.saves,
                        owner: stored.owner,
                        ..step
                    };
                    let stream = batch.stream.zip(stored).map(from_stored);
                    self.inner.apply(ApplyBatch { progress: &steps, stream, ..batch }).await
                }
                Defect::SequenceIsForgotten => {
                    let steps = self.steps_with_sequence(batch.progress);
                    let applied = self.inner.apply(ApplyBatch { progress: &steps, ..batch }).await?;
                    self.lose_every_other(applied)
                }
                Defect::RowIsLost => {
                    let mut changes: Vec<TableChanges> = batch.changes.to_vec();
                    changes
                        .iter_mut()
                        .filter(|table| table.upserts.len() > 1)
                        .for_each(|table| table.upserts.truncate(table.upserts.len() - 1));
                    self.inner.apply(ApplyBatch { changes: &changes, ..batch }).await
                }
                Defect::LedgerWithoutRows if is_of_copy(batch.records) => {
                    self.inner.apply(ApplyBatch { changes: &[], ..batch }).await
                }
                Defect::ChunkIsToldUnwritten if is_of_copy(batch.records) => {
                    self.applied += 1;
                    if self.applied.is_multiple_of(2) {
                        let stream = batch.stream.map(|step| StreamStep { ledger: &[], ..step });
                        return self.inner.apply(ApplyBatch { changes: &[], stream, ..batch }).await;
                    }
                    self.inner.apply(batch).await
                }
                Defect::MarkIsLost => {
                    let records = without_marks(batch.records);
                    self.inner.apply(ApplyBatch { records: &records, ..batch }).await
                }
                Defect::CheckpointIsOld
                | Defect::RecordsWithoutCheckpoint
                | Defect::CheckpointWithoutRecords
                | Defect::SplitIsForgotten
                | Defect::NoStopAtBarriers
                | Defect::NoWaitForVisibility
                | Defect::EndIsExecuted
                | Defect::EndIsTooEarly
                | Defect::RowIsSkippedAtEnd
                | Defect::RowIsSkippedAtBound
                | Defect::LedgerWithoutRows
                | Defect::ChunkIsToldUnwritten => self.inner.apply(batch).await,
            }
        })
    }
}
