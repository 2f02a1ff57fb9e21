//! One session of capture: from opening the writer to the first error, or to the request to stop.

use std::sync::Arc;

use tailrace_contract::{
    BatchEnd, Checkpoint, Error, LogWriter, Mark, OpenedWriter, Result, SplitTransaction, StartAt,
};
use tailrace_row::{Epoch, RecordBatch};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Capture, PART,
    pump::{BATCHES, Filled, pump},
};
use crate::{
    runtime::{Backoff, PartState, tasks},
    telemetry::seconds_now,
};

impl Capture {
    /// Ends with `Ok` only when asked to stop, with everything committed that was read up to a transaction end.
    pub(super) async fn session(&self, backoff: &mut Backoff) -> Result<()> {
        let tables = self.source.tables(&self.filter).await?;
        self.log.prepare(&tables).await?;
        let OpenedWriter { mut writer, checkpoint } = self.log.open_writer().await?;
        let checkpoint = match checkpoint {
            Some(checkpoint) => checkpoint,
            None => self.first_checkpoint(writer.as_mut()).await?,
        };
        tracing::info!(position = %checkpoint.mark.position, transactions = checkpoint.mark.transactions,
            is_split = checkpoint.split.is_some(), "capture goes on from the log's checkpoint");
        let stream = self.source.open(&checkpoint, Arc::clone(&self.filter)).await?;
        self.health.set(PART, PartState::Running);

        let (filled_sender, filled) = mpsc::channel(1);
        let (empty, empty_receiver) = mpsc::channel(BATCHES);
        for _ in 0..BATCHES {
            empty.try_send(RecordBatch::new()).expect("invariant: the channel has room for all batches");
        }
        let reader = tasks::spawn("capture.read", pump(stream, filled_sender, empty_receiver));
        let uncommitted = Uncommitted::new(checkpoint);
        let mut half = WritingHalf { capture: self, writer, filled, empty, uncommitted, backoff };
        let result = half.run().await;
        // Dropping our ends of the channels would end the reader at its next batch; it may be waiting for the source.
        reader.abort();
        match (result, reader.await) {
            (Err(error), _) => Err(error),
            (Ok(Stopped::Asked), _) => Ok(()),
            (Ok(Stopped::ReaderEnded), Ok(Err(error))) => Err(error),
            (Ok(Stopped::ReaderEnded), Ok(Ok(()))) => Err(Error::transient("the change stream ended")),
            (Ok(Stopped::ReaderEnded), Err(join)) => {
                Err(Error::corrupt("the reading half of capture panicked").caused_by(join))
            }
        }
    }

    /// Commits the start position, so that it means the same after a crash.
    async fn first_checkpoint(&self, writer: &mut dyn LogWriter) -> Result<Checkpoint> {
        let position = self.source.position(&self.start).await?;
        if self.start == StartAt::Now {
            self.warn_of_history().await?;
        }
        let checkpoint = Checkpoint { epoch: Epoch(1), mark: Mark { position, transactions: 0 }, split: None };
        writer.commit(&checkpoint).await?;
        tracing::info!(position = %checkpoint.mark.position, start = ?self.start, "capture begins; there was no checkpoint");
        Ok(checkpoint)
    }

    /// Rows that are in a table now are not copied: the operator must hear it.
    async fn warn_of_history(&self) -> Result<()> {
        for schema in self.source.tables(&self.filter).await? {
            if self.source.has_rows(schema.name()).await? {
                tracing::warn!(table = %schema.name(),
                    "HISTORY IS NOT COPIED: the table has rows, and start = \"now\" captures only what changes from now on");
            }
        }
        Ok(())
    }
}

enum Stopped {
    Asked,
    ReaderEnded,
}

/// What lies between the last commit and the next.
struct Uncommitted {
    committed: Checkpoint,
    mark: Mark,
    split: Option<SplitTransaction>,
    records: usize,
    bytes: usize,
    newest_micros: i64,
    since: Instant,
}

impl Uncommitted {
    fn new(committed: Checkpoint) -> Self {
        let (mark, split) = (committed.mark.clone(), committed.split.clone());
        Self { committed, mark, split, records: 0, bytes: 0, newest_micros: 0, since: Instant::now() }
    }

    /// Takes over where a batch ended.
    fn advance(&mut self, batch: &RecordBatch, end: BatchEnd) {
        if self.records == 0 && !batch.is_empty() {
            self.since = Instant::now();
        }
        self.records += batch.len();
        self.bytes += batch.byte_len();
        if let Some(origin) = batch.last_origin() {
            self.newest_micros = origin.committed_at_micros;
        }
        match end {
            // A stream that resumed inside a split transaction may be idle before it has read the rest of it.
            BatchEnd::TransactionEnd(mark) | BatchEnd::Idle(mark) if mark.transactions == self.mark.transactions => {
                self.mark = mark;
            }
            BatchEnd::TransactionEnd(mark) | BatchEnd::Idle(mark) => (self.mark, self.split) = (mark, None),
            BatchEnd::MidTransaction { mark, split } => (self.mark, self.split) = (mark, Some(split)),
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint { epoch: self.committed.epoch, mark: self.mark.clone(), split: self.split.clone() }
    }
}

/// The writing half: batches → log transactions.
struct WritingHalf<'a> {
    capture: &'a Capture,
    writer: Box<dyn LogWriter>,
    filled: mpsc::Receiver<Filled>,
    empty: mpsc::Sender<RecordBatch>,
    uncommitted: Uncommitted,
    backoff: &'a mut Backoff,
}

impl WritingHalf<'_> {
    async fn run(&mut self) -> Result<Stopped> {
        loop {
            // More that is there already joins the open log transaction; when nothing more is there it is committed.
            let next = match self.filled.try_recv() {
                Ok(filled) => Some(filled),
                Err(mpsc::error::TryRecvError::Disconnected) => return Ok(Stopped::ReaderEnded),
                Err(mpsc::error::TryRecvError::Empty) => {
                    self.commit_if_due(false).await?;
                    self.next_batch().await
                }
            };
            match next {
                Some(filled) => self.append(filled).await?,
                None if self.capture.shutdown.is_requested() => return self.stop().await,
                None => return Ok(Stopped::ReaderEnded),
            }
        }
    }

    /// Waits for a batch; none when the reader ended or we are asked to stop.
    async fn next_batch(&mut self) -> Option<Filled> {
        // Cancel-safe: both branches only wait.
        tokio::select! {
            biased;
            () = self.capture.shutdown.requested() => None,
            filled = self.filled.recv() => filled,
        }
    }

    async fn append(&mut self, filled: Filled) -> Result<()> {
        let Filled { batch, end } = filled;
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
        self.commit_if_due(true).await
    }

    async fn commit_if_due(&mut self, has_more: bool) -> Result<()> {
        if self.is_due(has_more) { self.commit().await } else { Ok(()) }
    }

    /// Whether to commit now. `has_more` tells that more is waiting, so only the limits count.
    fn is_due(&self, has_more: bool) -> bool {
        let (state, limits) = (&self.uncommitted, &self.capture.limits);
        if state.records == 0 {
            return !has_more
                && state.split.is_none()
                && state.mark != state.committed.mark
                && state.since.elapsed() >= limits.idle_interval;
        }
        let is_full = state.bytes >= limits.bytes_max || state.records >= limits.records_max;
        let is_whole = state.split.is_none();
        is_full || state.since.elapsed() >= limits.age_max || (!has_more && is_whole)
    }

    async fn commit(&mut self) -> Result<()> {
        let checkpoint = self.uncommitted.checkpoint();
        let started = Instant::now();
        self.writer.commit(&checkpoint).await?;
        let state = &self.uncommitted;
        let metrics = &self.capture.metrics.capture;
        metrics.commits.inc();
        metrics.commit_records.observe(state.records);
        metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        metrics.last_commit_seconds.set(seconds_now());
        metrics.in_flight_records.set(0);
        metrics.transactions.set(i64::try_from(checkpoint.mark.transactions).unwrap_or(i64::MAX));
        #[expect(clippy::cast_precision_loss, reason = "a lag in seconds needs no microsecond precision")]
        if state.records > 0 && state.newest_micros > 0 {
            metrics.source_lag_seconds.set((seconds_now() - state.newest_micros as f64 / 1e6).max(0.0));
        }
        self.uncommitted = Uncommitted::new(checkpoint);
        self.backoff.reset();
        Ok(())
    }

    /// Commits what is whole. A part of a transaction is committed as a part: the checkpoint says so.
    async fn stop(&mut self) -> Result<Stopped> {
        let state = &self.uncommitted;
        if state.records > 0 || state.mark != state.committed.mark {
            self.commit().await?;
        }
        tracing::info!(position = %self.uncommitted.mark.position, "capture has saved and ends");
        Ok(Stopped::Asked)
    }
}
