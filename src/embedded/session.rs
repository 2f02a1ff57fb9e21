//! One session of the embedded form: from claiming the stream to the first error, or to the request to stop.

use std::{collections::VecDeque, sync::Arc};

use tailrace_contract::{
    Applied, ApplyBatch, BarrierPlace, BatchEnd, ChangeStream, Encounter, Error, ErrorKind, LedgerEntry, Meeting,
    Result, SchemaChange, SinkWriter, StartAt, StreamCheckpoint, StreamProgress, StreamStep, TableMapping,
    TablePattern, TargetState,
};
use tailrace_row::{RecordBatch, TableName, TableSchema};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Embedded, PART,
    begin::stream_epoch,
    tenure::{FORMAT, Tenure, check_stored},
};
use crate::{
    apply::{admission::admit, plan::Planner, worker::observe_lag},
    capture::{
        boundary::Boundary,
        pump::{Filled, Pump, Pumped, graver},
        renewal::Renewal,
        start::first_checkpoint,
    },
    mapping::{
        evolve,
        projection::{LeftOut, project},
    },
    runtime::{Backoff, PartState},
    state::ledger::{self, CopyState},
    telemetry::seconds_now,
    windows::{DueChunk, WindowBook},
};

impl Embedded {
    /// Ends with `Ok` only when asked to stop. What was read and not yet written is read again by the next session.
    pub(super) async fn session(&self, backoff: &mut Backoff, tenure: &mut Tenure) -> Result<()> {
        // A server that hangs must not keep us from stopping; nothing is read yet that could be left half-written.
        let opened = tokio::select! {
            biased;
            () = self.shutdown.requested() => return Ok(()),
            opened = self.open(tenure) => opened?,
        };
        self.health.set(PART, PartState::Running);
        let Opened { tables, saved, checkpoint, writer, stream, ledger } = opened;
        let windows = match &self.desk {
            Some(desk) => desk.begin(checkpoint.at.epoch, ledger, &self.rules)?,
            None => WindowBook::none(),
        };
        let (pump, Pumped { filled, empty }) = Pump::start("embedded.read", stream, self.limits.batch(), &self.metrics);
        let boundary = Boundary::new(&checkpoint.at);
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
            left_out: LeftOut::default(),
            windows,
            backoff,
        };
        let result = half.run().await;
        match (result, pump.end().await) {
            (Err(error), reading) => Err(graver(error, reading)),
            (Ok(Stopped::ReaderEnded), reading) => Err(reading),
            (Ok(Stopped::Asked), _) => Ok(()),
        }
    }

    async fn open(&self, tenure: &mut Tenure) -> Result<Opened> {
        self.sink.prepare().await?;
        let source = self.source.identity().await?;
        let known = self.sink.stream_progress(&self.stream).await?;
        tenure.check(&self.stream, known.as_ref())?;
        let stored = known.and_then(|known| known.checkpoint);
        check_stored(&self.stream, &source, stored.as_ref())?;
        let ledger = self.sink.ledger(&self.stream).await?;
        let tables = self.admit_tables(stored.as_ref(), tenure, &ledger).await?;
        let at = match &stored {
            Some(stored) => stored.at.clone(),
            None => {
                let known = stream_epoch(self.sink.as_ref(), &self.stream).await?;
                first_checkpoint(self.source.as_ref(), &self.start, &self.rules, known).await?
            }
        };
        // Before the claim: who can't read the source must not fence somebody who can.
        let mut stream = self.source.open(&at, Arc::clone(&self.filter)).await?;
        let mut writer = self.sink.open_writer(&self.stream).await?;
        let mut saved = tenure.claim(self).await?;
        if saved.checkpoint.take() != stored {
            return Err(Error::transient("the checkpoint was moved while the stream was claimed"));
        }
        let covered = self.filter.patterns.iter().map(ToString::to_string).collect();
        let mut checkpoint = StreamCheckpoint { format: FORMAT, source, tables: covered, at };
        let mut ledger = self.sink.ledger(&self.stream).await?;
        // Before anything is written: from now on changes are missing of tables that are not captured any more (E10).
        let gaps = ledger::gaps(&mut ledger, checkpoint.at.epoch, &self.filter)?;
        if stored.as_ref() != Some(&checkpoint) || !gaps.is_empty() {
            let rows = Rows { ledger: &gaps, ..Rows::default() };
            save(writer.as_mut(), self, &mut saved, &checkpoint, rows).await?;
        }
        let there = (self.source.as_ref(), self.filter.as_ref());
        if let Some(renewal) = Renewal::of(&ledger, &self.rules, &checkpoint.at, there).await? {
            checkpoint.at = renewal.behind.clone();
            self.renew(&renewal, &mut saved, &checkpoint).await?;
            let rows = Rows { ledger: &renewal.documents, ..Rows::default() };
            save(writer.as_mut(), self, &mut saved, &checkpoint, rows).await?;
            renewal.forget_in(&mut ledger);
            stream = self.source.open(&checkpoint.at, Arc::clone(&self.filter)).await?;
        }
        tracing::info!(position = %checkpoint.at.mark.position, transactions = checkpoint.at.mark.transactions,
            is_split = checkpoint.at.split.is_some(), stream = self.stream, is_new = stored.is_none(),
            "going on from the target's checkpoint");
        Ok(Opened { tables, saved, checkpoint, writer, stream, ledger })
    }

    /// Empties the tables that begin anew; the last of them with the checkpoint behind that.
    async fn renew(&self, renewal: &Renewal, saved: &mut StreamProgress, checkpoint: &StreamCheckpoint) -> Result<()> {
        let change = &renewal.change;
        let mut tables: VecDeque<_> =
            change.tables().into_iter().filter_map(|table| self.rules.mapping(table)).collect();
        // One that others point at can be emptied behind them.
        let mut refusals = 0;
        while let Some(mapping) = tables.pop_front() {
            let (stream, owner) = (self.stream.as_str(), saved.owner);
            let step = StreamStep { stream, saves: saved.saves, owner, checkpoint, ledger: &[] };
            let step = tables.is_empty().then_some(step);
            let (act, number) = (evolve::act(change, &mapping), change.sequence.transaction);
            let place = BarrierPlace::Stream(step);
            let encounter = Encounter { log: stream, mapping: &mapping, number, change, act: &act, place };
            match self.sink.meet(encounter).await? {
                Meeting::Done => refusals = 0,
                Meeting::Paused(_) if refusals < tables.len() => {
                    refusals += 1;
                    tables.push_back(mapping);
                }
                Meeting::Waiting => return Err(Error::transient(format!("{} can't be emptied yet", mapping.target))),
                Meeting::Paused(why) => {
                    return Err(Error::table_failed(
                        mapping.source,
                        format!("it can't be emptied to be copied anew: {why}"),
                    ));
                }
            }
        }
        saved.saves += 1;
        Ok(())
    }

    /// Admits what the source has now. A table that misses in the target stops the start; later only its first row does.
    async fn admit_tables(
        &self,
        stored: Option<&StreamCheckpoint>,
        tenure: &Tenure,
        ledger: &[LedgerEntry],
    ) -> Result<Tables> {
        let renewed = ledger::tables(ledger)?.into_iter().filter(|known| known.state == CopyState::Gap);
        let renewed: Vec<TableName> =
            renewed.map(|known| known.table).filter(|table| self.rules.is_renewed(table)).collect();
        let mut tables = Tables::default();
        for schema in self.source.tables(&self.filter).await? {
            let table = schema.name();
            if !renewed.contains(table) {
                self.refuse_a_gap(table, stored).await?;
            }
            match tables.add(self, table).await {
                Err(error) if error.kind() == ErrorKind::TableFailed && tenure.has_begun() => {
                    tracing::warn!(%error, "the next change of this table will stop the run");
                }
                added => drop(added?),
            }
        }
        Ok(tables)
    }

    /// A table that the checkpoint does not cover, and that Tailrace has written before, lacks what changed in between.
    async fn refuse_a_gap(&self, table: &TableName, stored: Option<&StreamCheckpoint>) -> Result<()> {
        // By either form: what was captured as shop.* is covered when it is named alone, and the other way round.
        let forms = [TablePattern::Table(table.clone()), TablePattern::Database(table.database.clone())];
        let covers = |stored: &StreamCheckpoint| forms.iter().any(|form| stored.tables.contains(&form.to_string()));
        let begins_elsewhere = stored.is_none() && self.start != StartAt::Now;
        if stored.is_some_and(covers) || begins_elsewhere {
            return Ok(());
        }
        let Some(mapping) = self.rules.mapping(table) else { return Ok(()) };
        let is_known = self.sink.table_state(&mapping).await? == TargetState::Known;
        if is_known && !self.allow_existing {
            let (stream, target) = (&self.stream, &mapping.target);
            let what = format!(
                "Tailrace has written {target} before, but the checkpoint of the stream {stream} does not cover this table: \
                 what changed since would be missing"
            );
            return Err(Error::table_failed(table.clone(), what).hint(
                "if source.name was changed, change it back; else name the GTID set to begin at as source.start, empty the \
                 target table, accept the gap with --allow-existing, or let a table whose history was copied be emptied and \
                 copied anew: on_gap = \"empty\"",
            ));
        }
        if stored.is_some() && !self.rules.is_copied(table) && self.source.has_rows(table).await? {
            tracing::warn!(%table,
                "HISTORY IS NOT COPIED: the table is new in the configuration, and only what changes from now on is moved");
        }
        Ok(())
    }
}

/// What a session works with.
struct Opened {
    tables: Tables,
    saved: StreamProgress,
    checkpoint: StreamCheckpoint,
    writer: Box<dyn SinkWriter>,
    stream: Box<dyn ChangeStream>,
    ledger: Vec<LedgerEntry>,
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

/// Rows of one batch, and documents; by default none.
#[derive(Default)]
struct Rows<'a> {
    records: Option<&'a RecordBatch>,
    changes: &'a [tailrace_contract::TableChanges],
    ledger: &'a [LedgerEntry],
}

/// Writes rows and the checkpoint behind them in one transaction.
async fn save(
    writer: &mut dyn SinkWriter,
    embedded: &Embedded,
    saved: &mut StreamProgress,
    checkpoint: &StreamCheckpoint,
    rows: Rows<'_>,
) -> Result<Applied> {
    let nothing = RecordBatch::new();
    let ledger = rows.ledger;
    let step = StreamStep { stream: &embedded.stream, saves: saved.saves, owner: saved.owner, checkpoint, ledger };
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
pub(super) struct WritingHalf<'a> {
    pub(super) embedded: &'a Embedded,
    tables: Tables,
    writer: Box<dyn SinkWriter>,
    filled: mpsc::Receiver<Filled>,
    empty: mpsc::Sender<RecordBatch>,
    /// What the target counts.
    pub(super) saved: StreamProgress,
    /// What the target holds.
    pub(super) checkpoint: StreamCheckpoint,
    saved_at: Instant,
    /// Where the batches that were taken over end.
    pub(super) boundary: Boundary,
    planner: Planner,
    left_out: LeftOut,
    pub(super) windows: WindowBook,
    backoff: &'a mut Backoff,
}

impl WritingHalf<'_> {
    async fn run(&mut self) -> Result<Stopped> {
        loop {
            self.close_windows().await?;
            self.open_windows();
            // Cancel-safe: all branches only wait.
            let filled = tokio::select! {
                biased;
                () = self.embedded.shutdown.requested() => {
                    self.save_position().await?;
                    tracing::info!(position = %self.checkpoint.at.mark.position, "all that was written is saved; ends");
                    return Ok(Stopped::Asked);
                }
                filled = self.filled.recv() => filled,
                () = self.windows.requested() => continue,
            };
            match filled {
                Some(filled) => self.take(filled).await?,
                None => return Ok(Stopped::ReaderEnded),
            }
        }
    }

    async fn take(&mut self, filled: Filled) -> Result<()> {
        let Filled { mut batch, end, place } = filled;
        self.windows.note(&mut batch, &end, place);
        if let BatchEnd::SchemaChange { change, .. } = &end {
            let change = SchemaChange::clone(change);
            self.follow(&batch, end, &change).await?;
            // The reader may be gone; the next receive tells.
            let _ = self.empty.try_send(batch);
            return Ok(());
        }
        self.boundary.advance(end);
        if !batch.is_empty() {
            self.write(&mut batch, &[]).await?;
        } else if self.saved_at.elapsed() >= self.embedded.idle_interval {
            self.save_position().await?;
        }
        // The reader may be gone; the next receive tells.
        let _ = self.empty.try_send(batch);
        Ok(())
    }

    /// Opens the windows that are asked for where nothing waits: so they don't stay open for as long as we lag behind (E14).
    fn open_windows(&mut self) {
        self.windows.take_requests();
        if self.filled.is_empty() && !self.boundary.is_split() {
            self.windows.open(&self.boundary.mark().position);
        }
    }

    /// Writes the rows of the windows that may close, between what was written before and what comes after. Others are opened first,
    /// so that chunks are read while these are written.
    async fn close_windows(&mut self) -> Result<()> {
        self.open_windows();
        while !self.boundary.is_split()
            && let Some(due) = self.windows.take_due()?
        {
            let DueChunk { mut rows, entries } = due.written_behind(&self.boundary);
            if rows.is_empty() {
                let checkpoint = self.next_checkpoint();
                let rows = Rows { ledger: &entries, ..Rows::default() };
                save(self.writer.as_mut(), self.embedded, &mut self.saved, &checkpoint, rows).await?;
                self.note_saved(checkpoint);
            } else {
                self.write(&mut rows, &entries).await?;
            }
            self.open_windows();
        }
        Ok(())
    }

    /// Saves where a source is that changes other tables only.
    async fn save_position(&mut self) -> Result<()> {
        if !self.boundary.has_moved_since(&self.checkpoint.at) {
            return Ok(());
        }
        let checkpoint = self.next_checkpoint();
        save(self.writer.as_mut(), self.embedded, &mut self.saved, &checkpoint, Rows::default()).await?;
        self.note_saved(checkpoint);
        Ok(())
    }

    fn next_checkpoint(&self) -> StreamCheckpoint {
        StreamCheckpoint { at: self.boundary.checkpoint(), ..self.checkpoint.clone() }
    }

    /// Writes a batch, without the columns that the target need not have.
    async fn write(&mut self, batch: &mut RecordBatch, ledger: &[LedgerEntry]) -> Result<()> {
        let embedded = self.embedded;
        let mapping = |schema: &TableSchema| embedded.rules.mapping(schema.name()).map(Arc::new);
        self.left_out.learn(embedded.sink.as_ref(), batch, mapping).await?;
        if !self.left_out.concerns(batch) {
            return self.write_rows(batch, ledger).await;
        }
        embedded.metrics.count_left_out(batch, |schema| self.left_out.names(schema));
        let mut projected = project(batch, |schema, _| self.left_out.names(schema).cloned())?;
        self.write_rows(&mut projected, ledger).await
    }

    async fn write_rows(&mut self, batch: &mut RecordBatch, ledger: &[LedgerEntry]) -> Result<()> {
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
        let plan = self.planner.plan_stream(batch, &tables, &self.tables.mappings)?;
        let checkpoint = self.next_checkpoint();
        let started = Instant::now();
        let rows = Rows { records: Some(batch), changes: &plan.changes, ledger };
        let applied = save(self.writer.as_mut(), self.embedded, &mut self.saved, &checkpoint, rows).await?;
        apply.in_flight_records.set(0);
        apply.compacted.inc_by(plan.compacted);
        apply.partial.inc_by(plan.partial);
        apply.upserts.inc_by(applied.upserted);
        apply.deletes.inc_by(applied.deleted);
        apply.absent.inc_by(applied.absent);
        apply.commits.inc();
        self.embedded.metrics.count_policy_uses(&applied.policy_uses);
        apply.commit_records.observe(batch.len());
        apply.commit_seconds.observe(started.elapsed().as_secs_f64());
        observe_lag(batch, |lag| {
            apply.end_to_end_lag_seconds.observe(lag);
            capture.source_lag_seconds.set(lag);
        });
        self.note_saved(checkpoint);
        Ok(())
    }

    pub(super) fn note_saved(&mut self, checkpoint: StreamCheckpoint) {
        self.windows.committed();
        let capture = &self.embedded.metrics.capture;
        capture.last_commit_seconds.set(seconds_now());
        capture.transactions.set(i64::try_from(checkpoint.at.mark.transactions).unwrap_or(i64::MAX));
        self.embedded.metrics.facts.note_committed(&checkpoint.at);
        self.checkpoint = checkpoint;
        self.saved_at = Instant::now();
        // A target that answers when asked and fails when written to must not be asked ten times a second.
        self.backoff.reset();
    }
}
