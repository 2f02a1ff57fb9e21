//! One session of capture: from opening the writer to the first error, or to the request to stop.

use std::sync::Arc;

use tailrace_contract::{
    BatchEnd, ChangeStream, Checkpoint, Error, LedgerEntry, LogWriter, OpenedWriter, Result, SchemaChange, StartAt,
    fault,
};
use tailrace_row::{Epoch, RecordBatch, TableName};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Capture, CommitLimits, PART, READ_LIMITS,
    boundary::Boundary,
    pump::{Filled, Pump, Pumped, graver},
    renewal::Renewal,
    start::{first_checkpoint, known_epoch},
};
use crate::{
    runtime::{Backoff, PartState},
    state::ledger,
    telemetry::seconds_now,
    windows::{DueChunk, WindowBook},
};

impl Capture {
    /// Ends with `Ok` only when asked to stop, with everything committed that was read up to a transaction end.
    pub(super) async fn session(&self, backoff: &mut Backoff) -> Result<()> {
        // A server that hangs must not keep us from stopping; nothing is appended yet that dropping could tear.
        let opened = tokio::select! {
            biased;
            () = self.shutdown.requested() => return Ok(()),
            opened = self.open() => opened?,
        };
        let Opened { writer, checkpoint, stream, ledger } = opened;
        self.health.set(PART, PartState::Running);
        let windows = match &self.desk {
            Some(desk) => desk.begin(checkpoint.epoch, ledger, &self.rules)?,
            None => WindowBook::none(),
        };

        let (pump, Pumped { filled, empty }) = Pump::start("capture.read", stream, READ_LIMITS, &self.metrics);
        let uncommitted = Uncommitted::new(checkpoint);
        let mut half = WritingHalf { capture: self, writer, filled, empty, uncommitted, windows, backoff };
        let result = half.run().await;
        match (result, pump.end().await) {
            (Err(error), reading) => Err(graver(error, reading)),
            (Ok(Stopped::ReaderEnded), reading) => Err(reading),
            (Ok(Stopped::Asked), _) => Ok(()),
        }
    }

    async fn open(&self) -> Result<Opened> {
        let tables = self.source.tables(&self.filter).await?;
        // Asked before `prepare` adds ours.
        let in_log = self.log.tables().await?;
        self.log.prepare(&tables).await?;
        let OpenedWriter { mut writer, checkpoint, epoch } = self.log.open_writer().await?;
        let checkpoint = match checkpoint {
            Some(checkpoint) => checkpoint,
            None => self.first_checkpoint(writer.as_mut(), &in_log, epoch).await?,
        };
        tracing::info!(position = %checkpoint.mark.position, transactions = checkpoint.mark.transactions,
            is_split = checkpoint.split.is_some(), "capture goes on from the log's checkpoint");
        // Before anything begins anew: who can't read on empties no table.
        let mut stream = self.source.open(&checkpoint, Arc::clone(&self.filter)).await?;
        let before = checkpoint.mark.transactions;
        let (ledger, checkpoint) = self.open_ledger(writer.as_mut(), checkpoint).await?;
        if checkpoint.mark.transactions != before {
            stream = self.source.open(&checkpoint, Arc::clone(&self.filter)).await?;
        }
        self.metrics.facts.note_committed(&checkpoint);
        Ok(Opened { writer, checkpoint, stream, ledger })
    }

    /// What is copied of the tables' history. Tables whose changes are not captured any more are noted before anything is written:
    /// from now on the log lacks some of them (E10). Those that are back may begin anew. Returns the checkpoint behind all that.
    async fn open_ledger(
        &self,
        writer: &mut dyn LogWriter,
        checkpoint: Checkpoint,
    ) -> Result<(Vec<LedgerEntry>, Checkpoint)> {
        let mut ledger = self.log.ledger().await?;
        let gaps = ledger::gaps(&mut ledger, checkpoint.epoch, &self.filter)?;
        if !gaps.is_empty() {
            writer.append_ledger(&gaps).await?;
            writer.commit(&checkpoint).await?;
        }
        let there = (self.source.as_ref(), self.filter.as_ref());
        let Some(renewal) = Renewal::of(&ledger, &self.rules, &checkpoint, there).await? else {
            return Ok((ledger, checkpoint));
        };
        writer.commit_barrier(&renewal.change, &renewal.behind).await?;
        fault::point("capture.renewal_barrier");
        writer.append_ledger(&renewal.documents).await?;
        writer.commit(&renewal.behind).await?;
        renewal.forget_in(&mut ledger);
        Ok((ledger, renewal.behind))
    }

    /// Commits the start position, so that it means the same after a crash.
    async fn first_checkpoint(
        &self,
        writer: &mut dyn LogWriter,
        in_log: &[TableName],
        epoch: Option<Epoch>,
    ) -> Result<Checkpoint> {
        if self.start == StartAt::Now {
            self.warn_of_a_gap(in_log);
        }
        let known = known_epoch(epoch, &self.log.ledger().await?)?;
        let checkpoint = first_checkpoint(self.source.as_ref(), &self.start, &self.rules, known).await?;
        writer.commit(&checkpoint).await?;
        tracing::info!(position = %checkpoint.mark.position, start = ?self.start, epoch = checkpoint.epoch.0,
            "capture begins; there was no checkpoint");
        Ok(checkpoint)
    }

    /// A log with records had a checkpoint once: beginning at "now" leaves a gap behind them, and the operator must hear it.
    fn warn_of_a_gap(&self, in_log: &[TableName]) {
        for table in in_log {
            tracing::warn!(%table, log = self.log.name(),
                "A GAP IN THE LOG: it knows the table but has no checkpoint, and start = \"now\" leaves out what changed \
                 since the last one; a GTID set as start would not");
        }
    }
}

/// What a session works with.
struct Opened {
    writer: Box<dyn LogWriter>,
    checkpoint: Checkpoint,
    stream: Box<dyn ChangeStream>,
    ledger: Vec<LedgerEntry>,
}

enum Stopped {
    Asked,
    ReaderEnded,
}

/// What lies between the last commit and the next.
struct Uncommitted {
    committed: Checkpoint,
    boundary: Boundary,
    records: usize,
    /// Documents of the ledger.
    documents: usize,
    bytes: usize,
    newest_micros: i64,
    since: Instant,
}

impl Uncommitted {
    fn new(committed: Checkpoint) -> Self {
        let boundary = Boundary::new(&committed);
        Self { committed, boundary, records: 0, documents: 0, bytes: 0, newest_micros: 0, since: Instant::now() }
    }

    /// Takes over where a batch ended.
    fn advance(&mut self, batch: &RecordBatch, end: BatchEnd) {
        self.add(batch, 0);
        if let Some(origin) = batch.last_origin() {
            self.newest_micros = origin.committed_at_micros;
        }
        self.boundary.advance(end);
    }

    fn add(&mut self, batch: &RecordBatch, documents: usize) {
        if self.is_nothing() && (!batch.is_empty() || documents > 0) {
            self.since = Instant::now();
        }
        self.records += batch.len();
        self.documents += documents;
        self.bytes += batch.byte_len();
    }

    fn is_nothing(&self) -> bool {
        self.records == 0 && self.documents == 0
    }

    /// When it must be committed at the latest; none if there is nothing to commit.
    fn due_at(&self, limits: &CommitLimits) -> Option<Instant> {
        if !self.is_nothing() {
            return Some(self.since + limits.age_max);
        }
        self.boundary.has_moved_since(&self.committed).then(|| self.since + limits.idle_interval)
    }
}

/// The writing half: batches → log transactions.
struct WritingHalf<'a> {
    capture: &'a Capture,
    writer: Box<dyn LogWriter>,
    filled: mpsc::Receiver<Filled>,
    empty: mpsc::Sender<RecordBatch>,
    uncommitted: Uncommitted,
    windows: WindowBook,
    backoff: &'a mut Backoff,
}

/// What the writing half does next.
#[expect(clippy::large_enum_variant, reason = "it is moved once a batch")]
enum Next {
    Append(Filled),
    /// Somebody who copies rows asked for something.
    Windows,
    Commit,
    Stop,
    /// The reader has ended, everything that it read is appended.
    End,
}

impl WritingHalf<'_> {
    async fn run(&mut self) -> Result<Stopped> {
        loop {
            self.close_windows().await?;
            match self.next().await? {
                Next::Append(filled) => self.append(filled).await?,
                Next::Windows => {}
                Next::Commit => self.commit().await?,
                Next::Stop => {
                    self.commit_rest().await?;
                    tracing::info!(position = %self.uncommitted.boundary.mark().position, "capture has saved and ends");
                    return Ok(Stopped::Asked);
                }
                Next::End => {
                    // A source that fails again and again must not keep us at the same place for ever.
                    self.commit_rest().await?;
                    return Ok(Stopped::ReaderEnded);
                }
            }
        }
    }

    /// More that is there already joins the open log transaction; when nothing more is there it is committed.
    async fn next(&mut self) -> Result<Next> {
        // Asked first: under a load that never ends there is always more.
        if self.capture.shutdown.is_requested() {
            return Ok(Next::Stop);
        }
        match self.filled.try_recv() {
            Ok(filled) => return Ok(Next::Append(filled)),
            Err(mpsc::error::TryRecvError::Disconnected) => return Ok(Next::End),
            Err(mpsc::error::TryRecvError::Empty) if self.is_due(false) => return Ok(Next::Commit),
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        self.open_windows();
        let due_at = self.uncommitted.due_at(&self.capture.limits);
        let due = async {
            match due_at {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        // Cancel-safe: all branches only wait. The source may be silent inside a transaction, so age needs a timer.
        tokio::select! {
            biased;
            () = self.capture.shutdown.requested() => Ok(Next::Stop),
            filled = self.filled.recv() => Ok(filled.map_or(Next::End, Next::Append)),
            () = due => Ok(Next::Commit),
            () = self.windows.requested() => Ok(Next::Windows),
        }
    }

    async fn append(&mut self, filled: Filled) -> Result<()> {
        let Filled { mut batch, end, place } = filled;
        self.windows.note(&mut batch, &end, place);
        if let BatchEnd::SchemaChange { change, .. } = &end {
            let change = SchemaChange::clone(change);
            return self.commit_barrier(batch, end, &change).await;
        }
        if !batch.is_empty() {
            self.writer.append(&batch).await?;
            let metrics = &self.capture.metrics.capture;
            metrics.records.inc_by(batch.len() as u64);
            metrics.bytes.inc_by(batch.byte_len() as u64);
            metrics.in_flight_records.inc_by(i64::try_from(batch.len()).unwrap_or(i64::MAX));
        }
        self.uncommitted.advance(&batch, end);
        // The reader may be gone; the next receive tells.
        let _ = self.empty.try_send(batch);
        if self.is_due(true) { self.commit().await } else { Ok(()) }
    }

    /// Opens the windows that are asked for where nothing waits: so they don't stay open for as long as we lag behind (E14).
    fn open_windows(&mut self) {
        self.windows.take_requests();
        if self.filled.is_empty() && !self.uncommitted.boundary.is_split() {
            self.windows.open(&self.uncommitted.boundary.mark().position);
        }
    }

    /// Writes the rows of the windows that may close, between what was written before and what comes after. Others are opened first,
    /// so that chunks are read while these are written.
    async fn close_windows(&mut self) -> Result<()> {
        self.open_windows();
        while !self.uncommitted.boundary.is_split()
            && let Some(due) = self.windows.take_due()?
        {
            let DueChunk { rows, entries } = due.written_behind(&self.uncommitted.boundary);
            if !rows.is_empty() {
                self.writer.append(&rows).await?;
                let metrics = &self.capture.metrics.capture;
                metrics.records.inc_by(rows.len() as u64);
                metrics.bytes.inc_by(rows.byte_len() as u64);
                metrics.in_flight_records.inc_by(i64::try_from(rows.len()).unwrap_or(i64::MAX));
            }
            self.writer.append_ledger(&entries).await?;
            fault::point("capture.chunk_appended");
            if !rows.is_empty() {
                fault::point("capture.rows_appended");
            }
            self.uncommitted.add(&rows, entries.len());
            if self.is_due(true) {
                self.commit().await?;
            }
            self.open_windows();
        }
        Ok(())
    }

    /// What lies before the statement is committed first: then the log's ends part it from what lies behind. A crash between the two
    /// commits reads the statement again, one behind the second goes on behind it.
    async fn commit_barrier(&mut self, batch: RecordBatch, end: BatchEnd, change: &SchemaChange) -> Result<()> {
        if !batch.is_empty() {
            return Err(Error::corrupt("the source sent records together with a statement"));
        }
        if !self.uncommitted.is_nothing() {
            self.commit().await?;
        }
        fault::point("capture.barrier_before");
        self.uncommitted.boundary.advance(end);
        let checkpoint = self.uncommitted.boundary.checkpoint();
        let number = self.writer.commit_barrier(change, &checkpoint).await?;
        tracing::info!(barrier = number, place = %change.place, statement = %change.statement,
            "a statement changes captured tables; the log has a barrier for it");
        self.capture.metrics.capture.barriers.inc();
        self.note_committed(checkpoint);
        // The reader may be gone; the next receive tells.
        let _ = self.empty.try_send(batch);
        Ok(())
    }

    /// Whether to commit now. `has_more` tells that more may be waiting, so only the limits count.
    fn is_due(&self, has_more: bool) -> bool {
        let (state, limits) = (&self.uncommitted, &self.capture.limits);
        let is_old = state.due_at(limits).is_some_and(|due| Instant::now() >= due);
        if state.is_nothing() {
            return !has_more && is_old;
        }
        let is_full = state.bytes >= limits.bytes_max || state.records >= limits.records_max;
        is_full || is_old || (!has_more && !state.boundary.is_split())
    }

    async fn commit(&mut self) -> Result<()> {
        let checkpoint = self.uncommitted.boundary.checkpoint();
        let started = Instant::now();
        self.writer.commit(&checkpoint).await?;
        let state = &self.uncommitted;
        let metrics = &self.capture.metrics.capture;
        metrics.commit_records.observe(state.records);
        metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a lag in seconds needs no microsecond precision")]
        if state.records > 0 && state.newest_micros > 0 {
            metrics.source_lag_seconds.set((seconds_now() - state.newest_micros as f64 / 1e6).max(0.0));
        }
        self.note_committed(checkpoint);
        Ok(())
    }

    fn note_committed(&mut self, checkpoint: Checkpoint) {
        let metrics = &self.capture.metrics.capture;
        self.windows.committed();
        metrics.commits.inc();
        metrics.last_commit_seconds.set(seconds_now());
        metrics.in_flight_records.set(0);
        metrics.transactions.set(i64::try_from(checkpoint.mark.transactions).unwrap_or(i64::MAX));
        self.capture.metrics.facts.note_committed(&checkpoint);
        self.uncommitted = Uncommitted::new(checkpoint);
        self.backoff.reset();
    }

    /// Commits what was read. A part of a transaction is committed as a part: the checkpoint says so.
    async fn commit_rest(&mut self) -> Result<()> {
        let state = &self.uncommitted;
        if !state.is_nothing() || *state.boundary.mark() != state.committed.mark { self.commit().await } else { Ok(()) }
    }
}
