//! A statement that changes tables, in the embedded form: it stands in the stream itself, so all before it is written when it
//! comes.
//!
//! The act and the checkpoint behind the statement are one transaction of the target. A statement of several tables takes one
//! transaction a table, the last with the checkpoint: after a crash between them it is read again, and what is done is found
//! done. A table that waits for an operator holds up the stream, and with it all tables, because the stream has one checkpoint.

use std::time::Duration;

use tailrace_contract::{
    BarrierAct, BarrierPlace, BatchEnd, Encounter, Error, Meeting, Result, SchemaChange, StreamCheckpoint, StreamStep,
    TableMapping,
};
use tailrace_row::RecordBatch;
use tokio::time::Instant;

use super::{PART, session::WritingHalf};
use crate::{capture::boundary::Boundary, mapping::evolve, runtime::PartState, telemetry::TableLabel};

/// How often the target is asked whether an operator has let a table go on.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// How a statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    Done,
    /// Somebody asked to stop meanwhile: the statement is read again.
    Asked,
}

impl WritingHalf<'_> {
    /// Does to the target what the statement means, and saves the checkpoint behind it. Where we are asked to stop meanwhile,
    /// the statement counts as not read.
    pub(super) async fn follow(&mut self, batch: &RecordBatch, end: BatchEnd, change: &SchemaChange) -> Result<()> {
        if !batch.is_empty() {
            return Err(Error::corrupt("the source sent records together with a statement"));
        }
        self.embedded.metrics.capture.barriers.inc();
        let mut behind: Boundary = self.boundary.clone();
        behind.advance(end);
        let checkpoint = StreamCheckpoint { at: behind.checkpoint(), ..self.checkpoint.clone() };
        let mappings: Vec<TableMapping> =
            change.tables().into_iter().filter_map(|table| self.embedded.rules.mapping(table)).collect();
        for (place, mapping) in mappings.iter().enumerate() {
            let is_last = place + 1 == mappings.len();
            match self.meet(mapping, change, is_last.then_some(&checkpoint)).await? {
                Followed::Done => {}
                Followed::Asked => return Ok(()),
            }
        }
        self.boundary = behind;
        if !mappings.is_empty() {
            self.saved.saves += 1;
            self.note_saved(checkpoint);
        }
        Ok(())
    }

    async fn meet(
        &mut self,
        mapping: &TableMapping,
        change: &SchemaChange,
        checkpoint: Option<&StreamCheckpoint>,
    ) -> Result<Followed> {
        let (embedded, saves, owner) = (self.embedded, self.saved.saves, self.saved.owner);
        let step = |checkpoint| StreamStep { stream: &embedded.stream, saves, owner, checkpoint, ledger: &[] };
        let begun = Instant::now();
        let mut act = evolve::act(change, mapping);
        loop {
            let encounter = Encounter {
                log: &embedded.stream,
                mapping,
                number: change.sequence.transaction,
                change,
                act: &act,
                place: BarrierPlace::Stream(checkpoint.map(step)),
            };
            match embedded.sink.meet(encounter).await? {
                Meeting::Done => break,
                Meeting::Waiting => {
                    return Err(Error::corrupt("the target waits for partitions of a stream without any"));
                }
                Meeting::Paused(why) => {
                    self.tell_pause(mapping, change, &why);
                    act = BarrierAct::Pause(why);
                }
            }
            if embedded.shutdown.wait(ASK_INTERVAL).await {
                return Ok(Followed::Asked);
            }
        }
        self.tell_end(mapping);
        embedded.metrics.apply.barriers.inc();
        embedded.metrics.apply.barrier_seconds.observe(begun.elapsed().as_secs_f64());
        tracing::info!(table = %mapping.source, place = %change.place, statement = %change.statement,
            "a statement of the source changed the table");
        Ok(Followed::Done)
    }

    fn tell_pause(&self, mapping: &TableMapping, change: &SchemaChange, why: &str) {
        let text = evolve::waits(&mapping.source, change, why);
        let labels = TableLabel { table: mapping.source.to_string() };
        let metrics = &self.embedded.metrics;
        if metrics.facts.note_paused(&[(mapping.source.clone(), text.clone())]).is_empty() {
            tracing::warn!("{text}");
            metrics.apply.table_paused.get_or_create(&labels).set(1);
            self.embedded.health.set(PART, PartState::Waiting(text));
        }
    }

    fn tell_end(&self, mapping: &TableMapping) {
        let labels = TableLabel { table: mapping.source.to_string() };
        if !self.embedded.metrics.facts.note_paused(&[]).is_empty() {
            self.embedded.metrics.apply.table_paused.get_or_create(&labels).set(0);
            self.embedded.health.set(PART, PartState::Running);
        }
    }
}
