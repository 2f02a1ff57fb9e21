//! A process that can die at any of its calls: the connectors as one process sees them.
//!
//! Between two calls to the outside a process does nothing that anybody could see. So dying just before a call, or just
//! after it had its effect and before the answer, are all the deaths there are. A dead process makes no more calls and gets
//! no more answers: its futures wait for ever until they are dropped.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tailrace_contract::{
    Applied, ApplyBatch, Barrier, BarrierReader, BatchEnd, BatchLimits, BoxFuture, Capabilities, ChangeStream,
    Checkpoint, ChunkRange, ChunkReader, Encounter, ErrorKind, LedgerEntry, Log, LogBatch, LogPartition, LogReader,
    LogStart, LogWriter, Meeting, OpenedWriter, PartitionEnds, PartitionProgress, Position, Problem, ProgressStep,
    ReadLimits, ReadProgress, Result, Rows, SchemaChange, Sink, SinkWriter, Source, SourcePlace, SourceState, StartAt,
    StoredMeeting, StreamProgress, TableFilter, TableMapping, TableReader, TargetState,
};
use tailrace_row::{Key, Origin, RecordBatch, Sequence, TableName, TableSchema};
use tokio::sync::watch;

use crate::{
    random::Random,
    world::{Property, World},
};

/// Where in a call a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// The call is not made.
    Before,
    /// It was made, had its effect, and nobody hears the answer.
    After,
}

/// A process; clones are the same one.
#[derive(Clone)]
pub(crate) struct Process {
    inner: Arc<Inner>,
}

struct Inner {
    world: Arc<World>,
    /// Points that it may still reach; it dies at the last.
    left: AtomicU64,
    is_dead: watch::Sender<bool>,
    is_fenced: AtomicBool,
    random: Mutex<Random>,
}

impl Process {
    /// A process that dies after so many points, or never.
    pub(crate) fn new(world: &Arc<World>, mut random: Random, life_calls: Option<u64>) -> Self {
        let left = life_calls.map_or(u64::MAX, |average| random.between(1, average * 4));
        let inner = Inner {
            world: Arc::clone(world),
            left: AtomicU64::new(left),
            is_dead: watch::Sender::new(false),
            is_fenced: AtomicBool::new(false),
            random: Mutex::new(random),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Waits until it dies.
    pub(crate) async fn died(&self) {
        self.inner.is_dead.subscribe().wait_for(|is_dead| *is_dead).await.expect("invariant: we hold the sender");
    }

    /// Makes it die now: for processes whose task was dropped.
    pub(crate) fn kill(&self) {
        self.inner.is_dead.send_replace(true);
    }

    /// A moment before or after a call: it may die, others may run.
    async fn point(&self, what: &'static str, moment: Moment) {
        let inner = &self.inner;
        inner.world.count_point(what);
        let is_last = !inner.world.is_calm() && inner.left.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last && !*inner.is_dead.borrow() {
            inner.world.count_death(what, moment);
            self.kill();
        }
        if *inner.is_dead.borrow() {
            return std::future::pending().await;
        }
        let draw = inner.random.lock().unwrap_or_else(PoisonError::into_inner).below(8);
        match draw {
            0 => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
            1..=3 => tokio::task::yield_now().await,
            _ => {}
        }
        if *inner.is_dead.borrow() {
            std::future::pending().await
        }
    }

    /// A call of a writer: it tells whether the process is fenced.
    fn note_fence<T>(&self, result: &Result<T>) {
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Fenced) {
            self.inner.is_fenced.store(true, Ordering::Relaxed);
        }
    }

    /// A call that makes the process an owner.
    fn check_not_fenced(&self, what: &str) {
        if self.inner.is_fenced.load(Ordering::Relaxed) {
            self.inner.world.fail(Property::FencedProcessEnds, format!("a fenced process calls {what}"));
        }
    }

    async fn call<T>(&self, what: &'static str, call: impl Future<Output = T>) -> T {
        self.point(what, Moment::Before).await;
        let result = call.await;
        self.point(what, Moment::After).await;
        result
    }
}

/// A connector as one process sees it.
pub(crate) struct Mortal<T: ?Sized> {
    process: Process,
    inner: Box<T>,
}

impl<T: ?Sized> Mortal<T> {
    pub(crate) fn new(process: &Process, inner: Box<T>) -> Self {
        Self { process: process.clone(), inner }
    }
}

impl Source for Mortal<dyn Source> {
    fn check<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(self.process.call("source.check", self.inner.check(filter)))
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(self.process.call("source.identity", self.inner.identity()))
    }

    fn position<'a>(&'a self, start: &'a StartAt) -> BoxFuture<'a, Result<Position>> {
        Box::pin(self.process.call("source.position", self.inner.position(start)))
    }

    fn state<'a>(&'a self, from: Option<&'a Position>) -> BoxFuture<'a, Result<SourceState>> {
        Box::pin(self.process.call("source.state", self.inner.state(from)))
    }

    fn tables<'a>(&'a self, filter: &'a TableFilter) -> BoxFuture<'a, Result<Vec<Arc<TableSchema>>>> {
        Box::pin(self.process.call("source.tables", self.inner.tables(filter)))
    }

    fn has_rows<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.process.call("source.has_rows", self.inner.has_rows(table)))
    }

    fn open<'a>(
        &'a self,
        from: &'a Checkpoint,
        filter: Arc<TableFilter>,
    ) -> BoxFuture<'a, Result<Box<dyn ChangeStream>>> {
        Box::pin(async move {
            let stream = self.process.call("source.open", self.inner.open(from, filter)).await?;
            Ok(Box::new(Mortal::new(&self.process, stream)) as Box<dyn ChangeStream>)
        })
    }

    fn open_chunks(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ChunkReader>>> {
        Box::pin(async {
            let reader = self.process.call("source.open_chunks", self.inner.open_chunks(schema)).await?;
            Ok(Box::new(Mortal::new(&self.process, reader)) as Box<dyn ChunkReader>)
        })
    }

    fn open_reader(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>> {
        Box::pin(self.process.call("source.open_reader", self.inner.open_reader(schema)))
    }
}

impl ChangeStream for Mortal<dyn ChangeStream> {
    fn read_batch<'a>(&'a mut self, out: &'a mut RecordBatch, limits: BatchLimits) -> BoxFuture<'a, Result<BatchEnd>> {
        Box::pin(self.process.call("stream.read", self.inner.read_batch(out, limits)))
    }

    fn place(&self) -> Option<SourcePlace> {
        self.inner.place()
    }
}

impl TableReader for Mortal<dyn ChunkReader> {
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.process.call("chunks.estimate", self.inner.estimate()))
    }

    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>> {
        Box::pin(self.process.call("chunks.bound", self.inner.bound(after, rows)))
    }

    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.process.call("chunks.read", self.inner.read(rows)))
    }

    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.process.call("chunks.fill", self.inner.fill(out, origin, limits)))
    }
}

impl ChunkReader for Mortal<dyn ChunkReader> {
    fn order(&self) -> String {
        self.inner.order()
    }

    fn read_chunk<'a>(&'a mut self, shown: &'a Position, range: ChunkRange<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.process.call("chunks.read_chunk", self.inner.read_chunk(shown, range)))
    }

    fn read_keys<'a>(&'a mut self, shown: &'a Position, keys: &'a [Key]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.process.call("chunks.read_keys", self.inner.read_keys(shown, keys)))
    }

    fn bound_within<'a>(&'a mut self, range: ChunkRange<'a>) -> BoxFuture<'a, Result<Option<Key>>> {
        Box::pin(self.process.call("chunks.bound_within", self.inner.bound_within(range)))
    }

    fn end_of_view(&mut self) -> BoxFuture<'_, Result<SourcePlace>> {
        Box::pin(self.process.call("chunks.end_of_view", self.inner.end_of_view()))
    }
}

impl Log for Mortal<dyn Log> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<Problem>>> {
        Box::pin(self.process.call("log.check", self.inner.check()))
    }

    fn prepare<'a>(&'a self, tables: &'a [Arc<TableSchema>]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.process.call("log.prepare", self.inner.prepare(tables)))
    }

    fn open_writer(&self) -> BoxFuture<'_, Result<OpenedWriter>> {
        Box::pin(async {
            self.process.check_not_fenced("log.open_writer");
            let opened = self.process.call("log.open_writer", self.inner.open_writer()).await?;
            let writer = Box::new(Mortal::new(&self.process, opened.writer));
            Ok(OpenedWriter { writer, checkpoint: opened.checkpoint, epoch: opened.epoch })
        })
    }

    fn partitions<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<Vec<LogPartition>>> {
        Box::pin(self.process.call("log.partitions", self.inner.partitions(tables)))
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<TableName>>> {
        Box::pin(self.process.call("log.tables", self.inner.tables()))
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<Option<Checkpoint>>> {
        Box::pin(self.process.call("log.checkpoint", self.inner.checkpoint()))
    }

    fn ledger(&self) -> BoxFuture<'_, Result<Vec<LedgerEntry>>> {
        Box::pin(self.process.call("log.ledger", self.inner.ledger()))
    }

    fn ends<'a>(&'a self, partitions: &'a [LogPartition]) -> BoxFuture<'a, Result<Vec<PartitionEnds>>> {
        Box::pin(self.process.call("log.ends", self.inner.ends(partitions)))
    }

    fn forget_checkpoint(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.process.call("log.forget_checkpoint", self.inner.forget_checkpoint()))
    }

    fn open_barriers(&self) -> BoxFuture<'_, Result<Box<dyn BarrierReader>>> {
        Box::pin(async {
            let reader = self.process.call("log.open_barriers", self.inner.open_barriers()).await?;
            Ok(Box::new(Mortal::new(&self.process, reader)) as Box<dyn BarrierReader>)
        })
    }

    fn open_reader<'a>(&'a self, from: &'a [(LogPartition, LogStart)]) -> BoxFuture<'a, Result<Box<dyn LogReader>>> {
        Box::pin(async move {
            let reader = self.process.call("log.open_reader", self.inner.open_reader(from)).await?;
            Ok(Box::new(Mortal::new(&self.process, reader)) as Box<dyn LogReader>)
        })
    }
}

impl LogWriter for Mortal<dyn LogWriter> {
    fn append<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let appended = self.process.call("log.append", self.inner.append(batch)).await;
            self.process.note_fence(&appended);
            appended
        })
    }

    fn append_ledger<'a>(&'a mut self, entries: &'a [LedgerEntry]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let appended = self.process.call("log.append_ledger", self.inner.append_ledger(entries)).await;
            self.process.note_fence(&appended);
            appended
        })
    }

    fn commit<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let committed = self.process.call("log.commit", self.inner.commit(checkpoint)).await;
            self.process.note_fence(&committed);
            committed
        })
    }

    fn commit_barrier<'a>(
        &'a mut self,
        change: &'a SchemaChange,
        checkpoint: &'a Checkpoint,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            let committing = self.inner.commit_barrier(change, checkpoint);
            let committed = self.process.call("log.commit_barrier", committing).await;
            self.process.note_fence(&committed);
            committed
        })
    }
}

impl BarrierReader for Mortal<dyn BarrierReader> {
    fn read(&mut self) -> BoxFuture<'_, Result<Vec<Barrier>>> {
        Box::pin(self.process.call("log.read_barriers", self.inner.read()))
    }
}

impl LogReader for Mortal<dyn LogReader> {
    fn read_batch<'a>(&'a mut self, out: &'a mut LogBatch, limits: BatchLimits) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.process.call("log.read", self.inner.read_batch(out, limits)))
    }

    fn release(&mut self, lane: u32, number: u64) -> Result<()> {
        self.inner.release(lane, number)
    }

    fn hold(&mut self, lane: u32, number: u64) {
        self.inner.hold(lane, number);
    }

    fn stop_table(&mut self, table: &TableName) -> Result<()> {
        self.inner.stop_table(table)
    }

    fn report_applied(&mut self, applied: &[ReadProgress]) {
        self.inner.report_applied(applied);
    }
}

impl Sink for Mortal<dyn Sink> {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String>> {
        Box::pin(self.process.call("sink.identity", self.inner.identity()))
    }

    fn check<'a>(&'a self, tables: &'a [TableMapping]) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(self.process.call("sink.check", self.inner.check(tables)))
    }

    fn check_table<'a>(
        &'a self,
        schema: &'a TableSchema,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(self.process.call("sink.check_table", self.inner.check_table(schema, mapping)))
    }

    fn create_statements(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<String>> {
        self.inner.create_statements(schema, mapping)
    }

    fn create_table<'a>(&'a self, schema: &'a TableSchema, mapping: &'a TableMapping) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.process.call("sink.create_table", self.inner.create_table(schema, mapping)))
    }

    fn prepare(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.process.call("sink.prepare", self.inner.prepare()))
    }

    fn columns<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<Option<Vec<Box<str>>>>> {
        Box::pin(self.process.call("sink.columns", self.inner.columns(mapping)))
    }

    fn table_state<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<TargetState>> {
        Box::pin(self.process.call("sink.table_state", self.inner.table_state(mapping)))
    }

    fn adopt_table<'a>(&'a self, mapping: &'a TableMapping) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.process.call("sink.adopt_table", self.inner.adopt_table(mapping)))
    }

    fn claim<'a>(
        &'a self,
        log: &'a str,
        partitions: &'a [LogPartition],
    ) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        Box::pin(async move {
            self.process.check_not_fenced("sink.claim");
            self.process.call("sink.claim", self.inner.claim(log, partitions)).await
        })
    }

    fn claim_stream<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamProgress>> {
        Box::pin(async move {
            self.process.check_not_fenced("sink.claim_stream");
            self.process.call("sink.claim_stream", self.inner.claim_stream(stream)).await
        })
    }

    fn stream_progress<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Option<StreamProgress>>> {
        Box::pin(self.process.call("sink.stream_progress", self.inner.stream_progress(stream)))
    }

    fn ledger<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Vec<LedgerEntry>>> {
        Box::pin(self.process.call("sink.ledger", self.inner.ledger(stream)))
    }

    fn progress<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<PartitionProgress>>> {
        Box::pin(self.process.call("sink.progress", self.inner.progress(log)))
    }

    fn meet<'a>(&'a self, encounter: Encounter<'a>) -> BoxFuture<'a, Result<Meeting>> {
        Box::pin(async move {
            let world = Arc::clone(&self.process.inner.world);
            let meet = async {
                let met = self.inner.meet(encounter).await;
                world.look_at_target();
                met
            };
            let met = self.process.call("sink.meet", meet).await;
            self.process.note_fence(&met);
            met
        })
    }

    fn meetings<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        Box::pin(self.process.call("sink.meetings", self.inner.meetings(log)))
    }

    fn resume<'a>(&'a self, log: &'a str, table: &'a TableName) -> BoxFuture<'a, Result<Vec<StoredMeeting>>> {
        Box::pin(self.process.call("sink.resume", self.inner.resume(log, table)))
    }

    fn reopen<'a>(&'a self, log: &'a str, table: &'a TableName, change: Sequence) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.process.call("sink.reopen", self.inner.reopen(log, table, change)))
    }

    fn forget<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.process.call("sink.forget", self.inner.forget(log)))
    }

    fn open_writer<'a>(&'a self, log: &'a str) -> BoxFuture<'a, Result<Box<dyn SinkWriter>>> {
        Box::pin(async move {
            let writer = self.process.call("sink.open_writer", self.inner.open_writer(log)).await?;
            Ok(Box::new(Mortal::new(&self.process, writer)) as Box<dyn SinkWriter>)
        })
    }

    fn open_reader<'a>(
        &'a self,
        schema: Arc<TableSchema>,
        mapping: &'a TableMapping,
    ) -> BoxFuture<'a, Result<Box<dyn TableReader>>> {
        Box::pin(self.process.call("sink.open_reader", self.inner.open_reader(schema, mapping)))
    }
}

impl SinkWriter for Mortal<dyn SinkWriter> {
    fn apply<'a>(&'a mut self, batch: ApplyBatch<'a>) -> BoxFuture<'a, Result<Applied>> {
        Box::pin(async move {
            let world = Arc::clone(&self.process.inner.world);
            let is_backward = |step: &&ProgressStep| step.from.next_offset.is_some_and(|from| step.next_offset <= from);
            if let Some(step) = batch.progress.iter().find(is_backward) {
                world.fail(Property::RowsMatchProgress, format!("a step that does not go forward: {step:?}"));
            }
            let apply = async {
                let applied = self.inner.apply(batch).await;
                world.look_at_target();
                applied
            };
            let applied = self.process.call("sink.apply", apply).await;
            self.process.note_fence(&applied);
            applied
        })
    }
}
