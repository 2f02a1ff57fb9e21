//! One connection's work: segments of tables, chunk by chunk.

use std::{pin::Pin, sync::Arc, time::Duration};

use tailrace_contract::{
    ChunkRange, ChunkReader, Error, ErrorKind, LedgerEntry, ReadLimits, Result, SourcePlace, TableFilter, TablePattern,
    fault,
};
use tailrace_row::{Epoch, Key, Origin, RecordBatch, TableName, TableSchema};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Backfill, PART,
    plan::{Job, Lease, Plan, TableCopy},
};
use crate::{
    runtime::Backoff,
    state::ledger::{ChunkFacts, CopyState, Segment, TableEntry},
    telemetry::{Metrics, ReasonLabel, seconds_now},
    windows::{Chunk, Closed, CopySession, Void, Window},
};

/// Rows of one call of a reader.
const FILL: ReadLimits = ReadLimits { rows_max: 10_000, bytes_max: 1 << 20 };
/// What a chunk may hold beyond its size before it is given up.
const OVERSIZE: usize = 4;
/// A segment is split behind so many chunks: finding the key costs the source a small part of what reading them does.
const CHUNKS_OF_A_PIECE: u64 = 8;
/// What is no more than this is not split.
const CHUNKS_OF_A_PIECE_MIN: u64 = 2;

/// See the module.
pub(super) struct Copier {
    backfill: Arc<Backfill>,
    session: CopySession,
    plan: Arc<Plan>,
    open: Option<OpenTable>,
    backoff: Backoff,
}

/// The table that is read.
struct OpenTable {
    schema: Arc<TableSchema>,
    reader: Box<dyn ChunkReader>,
}

/// Why a chunk did not come to a close.
enum Failure {
    /// The window came to nothing.
    Void(Void),
    /// Its rows are more than fit.
    TooLarge,
    Error(Error),
}

impl From<Void> for Failure {
    fn from(void: Void) -> Self {
        Self::Void(void)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A chunk that waits for its window to close.
type Closing = Pin<Box<dyn Future<Output = std::result::Result<Closed, Void>> + Send>>;

/// A window that is asked for.
type Opening = Pin<Box<dyn Future<Output = std::result::Result<Window, Void>> + Send>>;

/// What a chunk's try came to, if it is not the first.
#[derive(Clone, Debug, Default)]
struct Tries {
    count: u32,
    last_error: Option<String>,
}

/// What is left of a segment.
struct Rest {
    after: Option<Key>,
    until: Option<Key>,
    /// Behind how many chunks it may be split.
    piece: u64,
}

/// Rows that were read, and up to which key.
struct ReadRows {
    rows: RecordBatch,
    /// None: the segment's end.
    last: Option<Key>,
    took: Duration,
}

impl Copier {
    pub(super) fn new(backfill: Arc<Backfill>, session: CopySession, plan: Arc<Plan>) -> Self {
        Self { backfill, session, plan, open: None, backoff: Backoff::new() }
    }

    /// Works until the session ends. Where nothing is left it waits: an operator may ask for more.
    pub(super) async fn run(mut self) -> std::result::Result<(), Void> {
        loop {
            let changed = Arc::clone(&self.plan);
            let changed = changed.changed.notified();
            // Who is asked to stop begins nothing, and the session ends soon.
            let job = if self.backfill.shutdown.is_requested() { Job::Nothing } else { self.plan.take() };
            let done = match &job {
                Job::Wait | Job::Nothing => {
                    self.plan.report(&self.backfill.metrics);
                    self.open = None;
                    let _idle = self.plan.idle();
                    changed.await;
                    continue;
                }
                Job::Begin(table) => self.begin(table).await,
                Job::Copy(table, lease) => self.copy(table, *lease).await,
            };
            self.plan.give_back(&job);
            let (Job::Begin(table) | Job::Copy(table, _)) = &job else { continue };
            match done {
                Ok(()) => self.backoff.reset(),
                Err(Failure::Void(Void::SessionEnded)) => {
                    self.count_void(Void::SessionEnded);
                    return Err(Void::SessionEnded);
                }
                Err(failure) => self.judge(table, failure).await?,
            }
            self.plan.report(&self.backfill.metrics);
        }
    }

    fn count_void(&self, void: Void) {
        self.backfill.metrics.backfill.windows_voided.get_or_create(&ReasonLabel { reason: void.label() }).inc();
    }

    /// What passes is tried again; a table that can't be read is left, and the others go on.
    async fn judge(&mut self, table: &TableName, failure: Failure) -> std::result::Result<(), Void> {
        self.open = None;
        let error = match failure {
            Failure::Void(void) => {
                tracing::info!(%table, reason = void.name(), "a chunk is read again");
                self.count_void(void);
                self.plan.note_trouble(table, void.name().to_owned());
                if matches!(void, Void::TooManyChanges | Void::PartialImages) {
                    self.plan.with(table, |copy| copy.pace.shrink());
                }
                let wait = self.backoff.next_wait();
                self.backfill.shutdown.wait(wait).await;
                return Ok(());
            }
            Failure::TooLarge => {
                self.plan.note_trouble(table, "a chunk was too large".to_owned());
                self.plan.with(table, |copy| copy.pace.shrink());
                return Ok(());
            }
            Failure::Error(error) => error,
        };
        self.backfill.metrics.count_error(PART, &error);
        self.plan.note_trouble(table, error.to_string());
        if error.kind() == ErrorKind::Transient {
            let wait = self.backoff.next_wait();
            tracing::warn!(%table, %error, ?wait, "a chunk is read again");
            self.backfill.shutdown.wait(wait).await;
            return Ok(());
        }
        tracing::error!(%table, %error, "the history of the table can't be copied; the others go on");
        let (plan, name) = (Arc::clone(&self.plan), table.clone());
        self.note(table, move || {
            plan.with(&name, |copy| {
                let entry = copy.entry_or_new(plan.epoch);
                // An operator may have paused it or given it up: that word stands.
                if entry.state == CopyState::Copying {
                    (entry.state, entry.reason) = (CopyState::Failed, Some(error.to_string()));
                }
                (vec![entry.to_entry()], copy.note_change())
            })
        })
        .await
    }

    /// Stores documents of a table, and tells of it once they are.
    async fn note(
        &mut self,
        table: &TableName,
        change: impl FnOnce() -> (Vec<LedgerEntry>, (u64, Option<TableEntry>)) + Send + 'static,
    ) -> std::result::Result<(), Void> {
        let (told, changed) = oneshot::channel();
        let documents = move || {
            let (documents, stored) = change();
            // Who asked may have gone away.
            let _ = told.send(stored);
            documents
        };
        self.session.note(documents).await?;
        if let Ok(stored) = changed.await {
            self.plan.with(table, |copy| copy.note_stored(stored));
        }
        Ok(())
    }

    /// The table's copy begins.
    async fn begin(&mut self, table: &TableName) -> std::result::Result<(), Failure> {
        let Some(open) = self.reader(table).await? else { return Ok(()) };
        let (order, estimated) = (open.reader.order(), open.reader.estimate().await?);
        let entry = TableEntry::new(table.clone(), self.plan.epoch, order, estimated, seconds_now());
        tracing::info!(%table, rows = estimated, "the history of the table is copied");
        let (plan, name) = (Arc::clone(&self.plan), table.clone());
        let change = move || {
            plan.with(&name, |copy| {
                let mut documents = std::mem::take(&mut copy.stale);
                // An operator may have paused it or given it up meanwhile: that word stands.
                let entry = copy.entry.get_or_insert(entry);
                documents.push(entry.to_entry());
                (documents, copy.note_change())
            })
        };
        self.note(table, change).await?;
        Ok(())
    }

    /// A reader of the table as it is now; none if the table is gone.
    async fn reader(&mut self, table: &TableName) -> Result<Option<&mut OpenTable>> {
        if self.open.as_ref().is_none_or(|open| open.schema.name() != table) {
            let filter = TableFilter { patterns: vec![TablePattern::Table(table.clone())] };
            let Some(schema) = self.backfill.source.tables(&filter).await?.pop() else {
                return Err(Error::transient(format!("the source has no table {table} any more")));
            };
            let mut reader = self.backfill.source.open_chunks(Arc::clone(&schema)).await?;
            if let Some(condition) = self.backfill.rules.condition(table) {
                reader.restrict(condition).await?;
            }
            self.open = Some(OpenTable { schema, reader });
        }
        Ok(self.open.as_mut())
    }

    /// Copies a segment to its end.
    async fn copy(&mut self, table: &TableName, lease: Lease) -> std::result::Result<(), Failure> {
        let Some(open) = self.reader(table).await? else { return Ok(()) };
        let order = open.reader.order();
        if self.begins_anew(table, &order) {
            return Err(Failure::Error(Error::transient("the order of the table's key was altered")));
        }
        let begin = self.plan.with(table, |copy| {
            let entry = copy.entry.as_ref().filter(|_| copy.is_held(lease))?;
            let Segment { after, until, .. } = entry.segments.get(lease.segment)?.clone();
            Some(Rest { after, until, piece: CHUNKS_OF_A_PIECE })
        });
        // An operator may have begun it anew meanwhile.
        let Some(mut rest) = begin else { return Ok(()) };
        let mut closing: Option<Closing> = None;
        let mut tries = Tries::default();
        let mut ahead: Option<Opening> = None;
        loop {
            if ahead.is_none() && !self.is_let_through(table, lease, &mut closing).await? {
                break;
            }
            let (read, window) = match self.read_on(table, lease, &mut rest, ahead.take()).await {
                Ok(read) => read,
                Err(failure) => {
                    // What was read before may still come to its close.
                    if let Some(closing) = closing.take() {
                        closing.await?;
                    }
                    return Err(failure);
                }
            };
            let last = read.last.clone();
            tries.count += 1;
            let after = std::mem::replace(&mut rest.after, last);
            // Asked for before this chunk is written: so the next one is read meanwhile.
            ahead = self.ask_ahead(table, lease, &rest);
            let next = self.close(table, lease, (after, read), window, std::mem::take(&mut tries));
            fault::point("backfill.closing");
            if let Some(before) = closing.replace(next) {
                before.await?;
                // A long segment is not to wait ever longer for troubles that are hours apart.
                self.backoff.reset();
                self.plan.report(&self.backfill.metrics);
            }
            if rest.after == rest.until {
                break;
            }
        }
        if let Some(last) = closing {
            last.await?;
        }
        self.plan.with(table, |copy| {
            if let Some(entry) = copy.entry.as_ref().filter(|entry| entry.state == CopyState::Done) {
                let (rows, dropped, chunks) = (entry.rows_written, entry.rows_dropped, entry.chunks);
                tracing::info!(%table, rows, dropped, chunks, "the history of the table is copied to the end");
            }
        });
        Ok(())
    }

    /// Asks for the window of what is left, if there is anything and nothing holds it up.
    fn ask_ahead(&self, table: &TableName, lease: Lease, rest: &Rest) -> Option<Opening> {
        let is_over = rest.after == rest.until;
        if is_over || !self.is_wanted(table, lease) || !self.backfill.operator.throttle().take(self.rows_max(table)) {
            return None;
        }
        Some(Box::pin(self.session.open(table)))
    }

    /// Waits as long as something holds the copies up. False if the table is not to be copied any more.
    async fn is_let_through(
        &mut self,
        table: &TableName,
        lease: Lease,
        closing: &mut Option<Closing>,
    ) -> std::result::Result<bool, Failure> {
        let throttle = self.backfill.operator.throttle();
        loop {
            let changed = self.plan.changed.notified();
            if !self.is_wanted(table, lease) {
                return Ok(false);
            }
            let rows = self.rows_max(table);
            if throttle.take(rows) {
                return Ok(true);
            }
            // What was read before is not to wait with us.
            if let Some(closing) = closing.take() {
                closing.await?;
                self.plan.report(&self.backfill.metrics);
                continue;
            }
            // Cancel-safe: all branches only wait.
            tokio::select! {
                () = throttle.opened() => {}
                () = changed => {}
                () = self.backfill.shutdown.requested() => {}
            }
        }
    }

    /// Whether the table is still to be copied.
    fn is_wanted(&self, table: &TableName, lease: Lease) -> bool {
        let is_copying = |copy: &mut TableCopy| {
            copy.is_held(lease) && copy.entry.as_ref().is_some_and(|entry| entry.state == CopyState::Copying)
        };
        !self.backfill.shutdown.is_requested() && self.plan.with(table, is_copying)
    }

    /// Rows of the table's next chunk.
    fn rows_max(&self, table: &TableName) -> u64 {
        self.backfill.operator.throttle().at_once(self.plan.with(table, |copy| copy.pace.rows()))
    }

    /// Bounds that were found in another order mean nothing: the table's copy begins anew.
    fn begins_anew(&self, table: &TableName, order: &str) -> bool {
        self.plan.with(table, |copy| {
            if copy.entry.as_ref().is_none_or(|entry| entry.order == order) {
                return false;
            }
            tracing::warn!(%table, "the order of the table's key was altered: its copy begins anew");
            let forgotten = copy.entry.take().map(|entry| entry.forget_chunks());
            copy.stale.extend(forgotten.into_iter().flatten());
            copy.generation += 1;
            true
        })
    }

    /// Reads the next chunk of what is left, and before that leaves a part of it to those who have nothing to do.
    async fn read_on(
        &mut self,
        table: &TableName,
        lease: Lease,
        rest: &mut Rest,
        opening: Option<Opening>,
    ) -> std::result::Result<(ReadRows, OpenChunk), Failure> {
        if rest.piece >= CHUNKS_OF_A_PIECE_MIN && self.plan.has_idle() {
            self.split(table, lease, rest).await?;
        }
        let opening = opening.unwrap_or_else(|| Box::pin(self.session.open(table)));
        self.read(table, (rest.after.as_ref(), rest.until.as_ref()), opening).await
    }

    /// Ends the segment behind a few chunks. Nothing of it that was read lies behind the key, so whoever goes on there misses nothing.
    async fn split(&mut self, table: &TableName, lease: Lease, rest: &mut Rest) -> std::result::Result<(), Failure> {
        let rows_max = self.rows_max(table).saturating_mul(rest.piece);
        let range = ChunkRange { after: rest.after.as_ref(), until: rest.until.as_ref(), rows_max };
        let OpenTable { reader, .. } = self.open.as_mut().expect("invariant: it was opened before");
        match reader.bound_within(range).await? {
            // Where fewer rows are left, they may still be worth sharing.
            None => rest.piece /= 2,
            Some(at) if Some(&at) == rest.until.as_ref() => rest.piece /= 2,
            Some(at) => {
                if self.plan.split(table, lease, &at) {
                    tracing::debug!(%table, segment = lease.segment, "a segment is split");
                    self.backfill.metrics.backfill.splits.inc();
                    rest.until = Some(at);
                }
            }
        }
        Ok(())
    }

    /// Reads the next chunk in a window of its own.
    async fn read(
        &mut self,
        table: &TableName,
        (after, until): (Option<&Key>, Option<&Key>),
        opening: Opening,
    ) -> std::result::Result<(ReadRows, OpenChunk), Failure> {
        let rows_max = self.rows_max(table);
        let window = opening.await?;
        let counted = OpenWindow::new(&self.plan, &self.backfill.metrics, table);
        fault::point("backfill.window_open");
        let limits = self.backfill.limits;
        let OpenTable { schema, reader } = self.open.as_mut().expect("invariant: it was opened before");
        reader.read_chunk(&window.shown, ChunkRange { after, until, rows_max }).await?;
        // From here on a view is held. What was waited for before says nothing of the size that a chunk should have.
        let begun = Instant::now();
        let (mut rows, origin) = (RecordBatch::new(), not_yet());
        while reader.fill(&mut rows, &origin, FILL).await? {
            if rows.byte_len() > limits.chunk_bytes_max.saturating_mul(OVERSIZE) && rows.len() > 1 {
                return Err(Failure::TooLarge);
            }
        }
        let took = begun.elapsed();
        let end = reader.end_of_view().await?;
        fault::point("backfill.chunk_read");
        let count = rows.len() as u64;
        let metrics = &self.backfill.metrics.backfill;
        metrics.rows_read.inc_by(count);
        metrics.read_seconds.observe(took.as_secs_f64());
        // Under a condition a chunk passes rows that it does not have.
        let passed = reader.passed();
        let rows_passed = passed.as_ref().map_or(count, |passed| passed.rows);
        self.plan.with(table, |copy| {
            copy.pace.learn(
                (rows_passed, rows.byte_len() as u64),
                took,
                limits.chunk_time,
                limits.chunk_bytes_max as u64,
            );
        });
        let last = match (passed, rows.records().last()) {
            (Some(passed), _) => passed.last.or_else(|| until.cloned()),
            (None, Some(record)) if count >= rows_max => {
                Some(Key::of(schema, rows.after(record).expect("invariant: a row that was read has its image")))
            }
            (None, _) => until.cloned(),
        };
        Ok((ReadRows { rows, last, took }, OpenChunk { window, end, counted }))
    }

    /// Asks to close the window with the rows.
    fn close(
        &mut self,
        table: &TableName,
        lease: Lease,
        (after, read): (Option<Key>, ReadRows),
        OpenChunk { window, end, counted }: OpenChunk,
        tries: Tries,
    ) -> Closing {
        let (plan, name) = (Arc::clone(&self.plan), table.clone());
        let (told, changed) = oneshot::channel();
        let (shown, place) = (window.shown.clone(), end.to_string());
        let ReadRows { rows, last, took } = read;
        let entries = Box::new(move |closed: Closed| {
            let facts = ChunkFacts {
                after,
                until: last,
                shown: shown.as_str(),
                end: place,
                tries: tries.count,
                last_error: tries.last_error,
                read_seconds: took.as_secs_f64(),
            };
            plan.with(&name, |copy| {
                // A chunk whose predecessor came to nothing is not counted: its rows are right, but there is a hole before them.
                let is_awaited = |entry: &&mut TableEntry| entry.awaits(lease.segment, facts.after.as_ref());
                let is_held = copy.is_held(lease);
                let Some(entry) = copy.entry.as_mut().filter(|entry| is_held && is_awaited(entry)) else {
                    return Vec::new();
                };
                let chunk = entry.count_chunk(lease.segment, facts, closed.written, closed.dropped, seconds_now());
                let documents = vec![chunk.to_entry(), entry.to_entry()];
                // Who asked may have gone away.
                let _ = told.send(copy.note_change());
                documents
            })
        });
        let closing = window.close(Chunk { rows, end, entries });
        let (plan, table, metrics) = (Arc::clone(&self.plan), table.clone(), Arc::clone(&self.backfill.metrics));
        Box::pin(async move {
            let closed = closing.await?;
            drop(counted);
            if let Ok(stored) = changed.await {
                plan.with(&table, |copy| copy.note_stored(stored));
                metrics.backfill.chunks.inc();
            }
            metrics.backfill.rows_written.inc_by(closed.written);
            metrics.backfill.rows_dropped.inc_by(closed.dropped);
            Ok(closed)
        })
    }
}

/// A chunk that was read, in its window.
struct OpenChunk {
    window: Window,
    end: SourcePlace,
    counted: OpenWindow,
}

/// Counts a window as open as long as it lives.
struct OpenWindow {
    plan: Arc<Plan>,
    metrics: Arc<Metrics>,
    table: TableName,
}

impl OpenWindow {
    fn new(plan: &Arc<Plan>, metrics: &Arc<Metrics>, table: &TableName) -> Self {
        plan.with(table, |copy| copy.windows += 1);
        metrics.backfill.windows_open.inc();
        Self { plan: Arc::clone(plan), metrics: Arc::clone(metrics), table: table.clone() }
    }
}

impl Drop for OpenWindow {
    fn drop(&mut self) {
        self.plan.with(&self.table, |copy| copy.windows -= 1);
        self.metrics.backfill.windows_open.dec();
    }
}

/// Where rows belong is known when their window closes.
fn not_yet() -> Origin {
    Origin {
        epoch: Epoch(0),
        transaction: 0,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "".into(),
        file_offset: 0,
        server_id: 0,
        thread: None,
    }
}
