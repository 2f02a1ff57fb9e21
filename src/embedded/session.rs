//! One session of the embedded form: from claiming the stream to the first error, or to the request to stop.

use std::sync::Arc;

use tailrace_contract::{
    Applied, ApplyBatch, ChangeStream, Checkpoint, Error, Result, SinkWriter, StreamProgress, StreamStep, TableMapping,
};
use tailrace_row::{RecordBatch, TableName};
use tokio::{sync::mpsc, time::Instant};

use super::{Embedded, PART};
use crate::{
    apply::{admission::admit, plan::Planner, worker::observe_lag},
    capture::{
        boundary::Boundary,
        pump::{Filled, Pump, Pumped},
        start::first_checkpoint,
    },
    runtime::{Backoff, PartState},
    telemetry::seconds_now,
};

impl Embedded {
    /// Ends with `Ok` only when asked to stop, with everything saved that was read.
    pub(super) async fn session(&self, backoff: &mut Backoff) -> Result<()> {
        // A server that hangs must not keep us from stopping; nothing is read yet that could be left half-written.
        let opened = tokio::select! {
            biased;
            () = self.shutdown.requested() => return Ok(()),
            opened = self.open() => opened?,
        };
        self.health.set(PART, PartState::Running);
        let Opened { tables, saved, checkpoint, writer, stream } = opened;
        let (pump, Pumped { filled, empty }) = Pump::start("embedded.read", stream, self.limits.batch());
        let boundary = Boundary::new(&checkpoint);
        let mut half = WritingHalf {
            embedded: self,
            tables,
            writer,
            filled,
            empty,
            saved,
            checkpoint,
            saved_at: Instant::now(),
            boundary,
            planner: Planner::default(),
            backoff,
        };
        let result = half.run().await;
        match (result, pump.end().await) {
            (Err(error), _) | (Ok(Stopped::ReaderEnded), error) => Err(error),
            (Ok(Stopped::Asked), _) => Ok(()),
        }
    }

    async fn open(&self) -> Result<Opened> {
        self.sink.prepare().await?;
        let mut tables = Tables::default();
        for schema in self.source.tables(&self.filter).await? {
            tables.add(self, schema.name()).await?;
        }
        let mut saved = self.sink.claim_stream(&self.stream).await?;
        let mut writer = self.sink.open_writer(&self.stream).await?;
        let checkpoint = match saved.checkpoint.take() {
            Some(checkpoint) => checkpoint,
            None => {
                let checkpoint = first_checkpoint(self.source.as_ref(), &self.start, &self.filter).await?;
                save(writer.as_mut(), self, &mut saved, &checkpoint, Rows::default()).await?;
                tracing::info!(position = %checkpoint.mark.position, start = ?self.start, stream = self.stream,
                    "the stream begins; there was no checkpoint");
                checkpoint
            }
        };
        tracing::info!(position = %checkpoint.mark.position, transactions = checkpoint.mark.transactions,
            is_split = checkpoint.split.is_some(), stream = self.stream, "going on from the target's checkpoint");
        self.metrics.facts.note_committed(&checkpoint);
        let stream = self.source.open(&checkpoint, Arc::clone(&self.filter)).await?;
        Ok(Opened { tables, saved, checkpoint, writer, stream })
    }
}

/// What a session works with.
struct Opened {
    tables: Tables,
    saved: StreamProgress,
    checkpoint: Checkpoint,
    writer: Box<dyn SinkWriter>,
    stream: Box<dyn ChangeStream>,
}

/// The tables that were admitted, numbered as they came.
#[derive(Default)]
struct Tables {
    mappings: Vec<Arc<TableMapping>>,
}

impl Tables {
    /// The number of a table. One that is new is admitted first: it may have been made while we run.
    async fn number(&mut self, embedded: &Embedded, table: &TableName) -> Result<u32> {
        let known = self.mappings.iter().position(|mapping| mapping.source == *table);
        let place = match known {
            Some(place) => place,
            None => self.add(embedded, table).await?,
        };
        Ok(u32::try_from(place).expect("invariant: there are under 2^32 tables"))
    }

    async fn add(&mut self, embedded: &Embedded, table: &TableName) -> Result<usize> {
        let mut names: Vec<TableName> = self.mappings.iter().map(|mapping| mapping.source.clone()).collect();
        names.push(table.clone());
        // All at once: two tables that meet in one target table would overwrite each other.
        let mut mappings = embedded.rules.mappings(&names)?;
        let mapping = mappings.pop().filter(|mapping| mapping.source == *table);
        let mapping =
            mapping.ok_or_else(|| Error::corrupt(format!("the source sends {table}, which no rule names")))?;
        admit(embedded.sink.as_ref(), &mapping, embedded.allow_existing).await?;
        self.mappings.push(Arc::new(mapping));
        Ok(self.mappings.len() - 1)
    }
}

/// Rows of one batch; by default none.
#[derive(Default)]
struct Rows<'a> {
    records: Option<&'a RecordBatch>,
    changes: &'a [tailrace_contract::TableChanges],
}

/// Writes rows and the checkpoint behind them in one transaction.
async fn save(
    writer: &mut dyn SinkWriter,
    embedded: &Embedded,
    saved: &mut StreamProgress,
    checkpoint: &Checkpoint,
    rows: Rows<'_>,
) -> Result<Applied> {
    let nothing = RecordBatch::new();
    let step = StreamStep { stream: &embedded.stream, saves: saved.saves, owner: saved.owner, checkpoint };
    let records = rows.records.unwrap_or(&nothing);
    let batch = ApplyBatch { records, changes: rows.changes, progress: &[], stream: Some(step) };
    let applied = writer.apply(batch).await?;
    saved.saves += 1;
    Ok(applied)
}

enum Stopped {
    Asked,
    ReaderEnded,
}

/// The writing half: batches → target transactions.
struct WritingHalf<'a> {
    embedded: &'a Embedded,
    tables: Tables,
    writer: Box<dyn SinkWriter>,
    filled: mpsc::Receiver<Filled>,
    empty: mpsc::Sender<RecordBatch>,
    /// What the target counts.
    saved: StreamProgress,
    /// What the target holds.
    checkpoint: Checkpoint,
    saved_at: Instant,
    /// Where the batches that were taken over end.
    boundary: Boundary,
    planner: Planner,
    backoff: &'a mut Backoff,
}

impl WritingHalf<'_> {
    async fn run(&mut self) -> Result<Stopped> {
        loop {
            // Cancel-safe: both branches only wait.
            let filled = tokio::select! {
                biased;
                () = self.embedded.shutdown.requested() => {
                    self.save_position().await?;
                    tracing::info!(position = %self.checkpoint.mark.position, "saved, and ends");
                    return Ok(Stopped::Asked);
                }
                filled = self.filled.recv() => filled,
            };
            match filled {
                Some(filled) => self.take(filled).await?,
                None => return Ok(Stopped::ReaderEnded),
            }
        }
    }

    async fn take(&mut self, filled: Filled) -> Result<()> {
        let Filled { batch, end } = filled;
        self.boundary.advance(end);
        if !batch.is_empty() {
            self.write(&batch).await?;
        } else if self.saved_at.elapsed() >= self.embedded.idle_interval {
            self.save_position().await?;
        }
        // The reader may be gone; the next receive tells.
        let _ = self.empty.try_send(batch);
        Ok(())
    }

    /// Saves where a source is that changes other tables only.
    async fn save_position(&mut self) -> Result<()> {
        if !self.boundary.has_moved_since(&self.checkpoint) {
            return Ok(());
        }
        let checkpoint = self.boundary.checkpoint();
        save(self.writer.as_mut(), self.embedded, &mut self.saved, &checkpoint, Rows::default()).await?;
        self.note_saved(checkpoint);
        Ok(())
    }

    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut tables = Vec::with_capacity(batch.schemas().len());
        for schema in batch.schemas() {
            tables.push(self.tables.number(self.embedded, schema.name()).await?);
        }
        let (capture, apply) = (&self.embedded.metrics.capture, &self.embedded.metrics.apply);
        capture.records.inc_by(batch.len() as u64);
        capture.bytes.inc_by(batch.byte_len() as u64);
        apply.records.inc_by(batch.len() as u64);
        apply.bytes.inc_by(batch.byte_len() as u64);
        apply.in_flight_records.set(i64::try_from(batch.len()).unwrap_or(i64::MAX));
        let (changes, compacted) = self.planner.plan_stream(batch, &tables, &self.tables.mappings);
        let checkpoint = self.boundary.checkpoint();
        let started = Instant::now();
        let rows = Rows { records: Some(batch), changes: &changes };
        let applied = save(self.writer.as_mut(), self.embedded, &mut self.saved, &checkpoint, rows).await?;
        apply.in_flight_records.set(0);
        apply.compacted.inc_by(compacted);
        apply.upserts.inc_by(applied.upserted);
        apply.deletes.inc_by(applied.deleted);
        apply.commits.inc();
        apply.commit_records.observe(batch.len());
        apply.commit_seconds.observe(started.elapsed().as_secs_f64());
        observe_lag(batch, |lag| {
            apply.end_to_end_lag_seconds.observe(lag);
            capture.source_lag_seconds.set(lag);
        });
        self.note_saved(checkpoint);
        // A target that answers when asked and fails when written to must not be asked ten times a second.
        self.backoff.reset();
        Ok(())
    }

    fn note_saved(&mut self, checkpoint: Checkpoint) {
        let capture = &self.embedded.metrics.capture;
        capture.last_commit_seconds.set(seconds_now());
        capture.transactions.set(i64::try_from(checkpoint.mark.transactions).unwrap_or(i64::MAX));
        self.embedded.metrics.facts.note_committed(&checkpoint);
        self.checkpoint = checkpoint;
        self.saved_at = Instant::now();
    }
}
