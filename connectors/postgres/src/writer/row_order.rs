//! The second try of a batch that the server refused in bulk: in the order in which the source changed the rows.
//!
//! A bulk batch deletes first and then writes in key order; two rows that hand a unique value on may collide by that. In the
//! source's order they don't, unless the batch has collapsed several changes of one row: what still collides is tried again
//! after the rest, until nothing moves any more. Rows that swapped a unique value by way of a third then still stand in each
//! other's way: what the target has of them is deleted once, in the same transaction. Then the first record that can't be
//! written is named and nothing is kept.
//!
//! Runs of rows share a statement as long as that works; around a refused row the runs shrink to one. So a batch with one
//! bad row costs a few statements more, not one per row.

use std::sync::Arc;

use tailrace_contract::{Applied, ApplyBatch, Error, RowRef, advise_policy};
use tailrace_row::{Record, RecordBatch, RowImage, Sequence};

use super::{BatchFailure, Planned, Writer};
use crate::{
    bulk::{Rows, RowsFailure},
    encode::Refusal,
    errors::TableRefusal,
    plan::Plan,
    session::Session,
};

/// Rows that share a statement while all goes well.
const RUN_MAX: usize = 500;

/// One row of the batch, in the source's order.
#[derive(Clone, Copy)]
struct Step {
    sequence: Sequence,
    row: RowRef,
    act: Act,
    /// Place of its table in the batch.
    place: usize,
}

/// What is done with a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Delete,
    Upsert,
    /// Not every column of it came.
    Update,
}

impl Act {
    fn of(row: RowRef, records: &RecordBatch) -> Self {
        match row {
            RowRef::Before(_) => Self::Delete,
            RowRef::After(_) if row.image(records).is_partial() => Self::Update,
            RowRef::After(_) => Self::Upsert,
        }
    }
}

/// What a run came to.
enum RunOutcome {
    Written,
    Refused(TableRefusal),
}

impl Writer {
    /// Writes the batch row by row, in a transaction of its own.
    pub(super) async fn apply_in_row_order(
        &mut self,
        session: &mut Session,
        batch: ApplyBatch<'_>,
        plans: &[Arc<Planned>],
    ) -> Result<Applied, BatchFailure> {
        session.begin().await?;
        let mut attempt = Attempt { session, batch, plans, applied: Applied::default() };
        let mut steps = in_order(batch);
        let mut may_clear = true;
        loop {
            let before = steps.len();
            let (left, refusal) = attempt.write_steps(&steps).await?;
            match (left.first(), refusal) {
                (Some(_), Some(refusal)) if left.len() == before && may_clear && attempt.may_clear(&left, &refusal) => {
                    may_clear = false;
                    attempt.clear(&left).await?;
                    steps = left;
                }
                (Some(first), Some(refusal)) if left.len() == before || !refusal.is_collision() => {
                    return Err(BatchFailure::Other(blame(*first, batch, &refusal)));
                }
                (None, _) => break,
                (Some(_), _) => steps = left,
            }
        }
        let Attempt { session, applied, .. } = attempt;
        // Deferred constraints speak now, where nothing is committed yet.
        session.run("SET CONSTRAINTS ALL IMMEDIATE", "checking deferred constraints").await?;
        self.finish(session, batch, plans).await?;
        Ok(applied)
    }
}

/// The session and what the steps refer to.
struct Attempt<'a> {
    session: &'a mut Session,
    batch: ApplyBatch<'a>,
    plans: &'a [Arc<Planned>],
    applied: Applied,
}

impl Attempt<'_> {
    /// Writes what goes; returns the steps that collided, and why the first of them did. Anything but a collision ends it:
    /// then the refused step is the first returned.
    async fn write_steps(&mut self, steps: &[Step]) -> Result<(Vec<Step>, Option<TableRefusal>), BatchFailure> {
        let mut left = Vec::new();
        let mut first_refusal = None;
        let (mut at, mut size) = (0, RUN_MAX);
        while at < steps.len() {
            let run = &steps[at..at + run_len(&steps[at..], size)];
            match self.write_run(run).await? {
                RunOutcome::Written => {
                    at += run.len();
                    size = (size * 2).min(RUN_MAX);
                }
                RunOutcome::Refused(_) if run.len() > 1 => size = run.len() / 2,
                RunOutcome::Refused(refusal) if refusal.is_collision() => {
                    left.push(run[0]);
                    first_refusal.get_or_insert(refusal);
                    at += 1;
                }
                RunOutcome::Refused(refusal) => return Ok((vec![run[0]], Some(refusal))),
            }
        }
        Ok((left, first_refusal))
    }

    /// Whether the steps may stand in each other's way, and deleting a row to write it again at once concerns nobody else.
    fn may_clear(&self, steps: &[Step], refusal: &TableRefusal) -> bool {
        let is_own = |step: &Step| step.act == Act::Upsert && self.plans[step.place].plan.may_clear;
        steps.len() > 1 && refusal.is_unique_collision() && steps.iter().all(is_own)
    }

    /// Deletes what the target has of rows that are about to be written again.
    async fn clear(&mut self, steps: &[Step]) -> Result<(), BatchFailure> {
        let mut at = 0;
        while at < steps.len() {
            let run = &steps[at..at + run_len(&steps[at..], RUN_MAX)];
            let images: Vec<RowImage<'_>> = run.iter().map(|step| step.row.image(self.batch.records)).collect();
            let place = run[0].place;
            let rows = Rows { plan: &self.plans[place].plan, images: &images };
            rows.delete(self.session).await.map_err(|failure| BatchFailure::of_rows(place, failure))?;
            at += run.len();
        }
        Ok(())
    }

    async fn write_run(&mut self, run: &[Step]) -> Result<RunOutcome, BatchFailure> {
        let Self { session, batch, plans, applied } = self;
        let place = run[0].place;
        let images: Vec<RowImage<'_>> = run.iter().map(|step| step.row.image(batch.records)).collect();
        let rows = Rows { plan: &plans[place].plan, images: &images };
        session.run("SAVEPOINT tailrace_run", "setting a savepoint").await?;
        let written = match run[0].act {
            Act::Delete => rows.delete(session).await.map(|deleted| applied.deleted += deleted),
            Act::Upsert => rows.upsert(session).await.map(|()| applied.upserted += images.len() as u64),
            Act::Update => rows.update(session).await.map(|updated| {
                applied.upserted += updated;
                applied.absent += images.len() as u64 - updated;
            }),
        };
        match written {
            Ok(()) => {
                session.run("RELEASE SAVEPOINT tailrace_run", "releasing a savepoint").await?;
                Ok(RunOutcome::Written)
            }
            Err(RowsFailure::Refused(refusal)) => {
                session.run("ROLLBACK TO SAVEPOINT tailrace_run", "rolling back to a savepoint").await?;
                Ok(RunOutcome::Refused(refusal))
            }
            Err(failure) => Err(BatchFailure::of_rows(place, failure)),
        }
    }
}

/// Steps that one statement may take: the same table, the same act.
fn run_len(steps: &[Step], most: usize) -> usize {
    let first = &steps[0];
    steps.iter().take(most).take_while(|step| step.place == first.place && step.act == first.act).count()
}

fn in_order(batch: ApplyBatch<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (place, changes) in batch.changes.iter().enumerate() {
        for row in changes.deletes.iter().chain(&changes.upserts) {
            let sequence = batch.records.sequence(record_of(*row, batch.records));
            steps.push(Step { sequence, row: *row, act: Act::of(*row, batch.records), place });
        }
    }
    // Foreign topics carry no sequence; then the records' own order decides, which is that of each partition.
    steps.sort_by_key(|step| (step.sequence, step.row.record()));
    steps
}

fn record_of(row: RowRef, records: &RecordBatch) -> &Record {
    &records.records()[row.record() as usize]
}

fn blame(step: Step, batch: ApplyBatch<'_>, refusal: &TableRefusal) -> Error {
    let changes = &batch.changes[step.place];
    let error = Error::table_failed(changes.schema.name().clone(), refusal.to_string());
    error.at(describe(step.row, batch.records))
}

/// Where a record came from, without anything of what it holds.
fn describe(row: RowRef, records: &RecordBatch) -> String {
    let record = record_of(row, records);
    format!("sequence {}, lane {}, offset {}", records.sequence(record), record.lane, record.offset)
}

/// The error that names the first record of a table with a value that can't be written, and its column.
pub(super) fn find_unencodable(batch: ApplyBatch<'_>, place: usize, plan: &Plan) -> Error {
    let changes = &batch.changes[place];
    let every: Vec<usize> = (0..plan.columns.len()).collect();
    let mut scratch = Vec::new();
    let mut found: Option<(RowRef, usize, Refusal)> = None;
    let mut look = |rows: &[RowRef], places: &[usize]| {
        for row in rows {
            let image: RowImage<'_> = row.image(batch.records);
            if found.is_some_and(|(first, _, _)| first.record() <= row.record()) {
                continue;
            }
            if let Some((place, refusal)) = plan.find_refusal(image, places, &mut scratch) {
                found = Some((*row, place, refusal));
            }
        }
    };
    look(&changes.deletes, &plan.key);
    look(&changes.upserts, &every);
    let table = changes.schema.name().clone();
    match found {
        Some((row, place, refusal)) => {
            let message = format!("column {} of {} got {refusal}", plan.columns[place].name, changes.mapping.target);
            let error = Error::table_failed(table, message).at(describe(row, batch.records));
            let column = &changes.schema.columns()[place];
            let advice = || advise_policy(changes.schema.name(), column, plan.key.contains(&place));
            match refusal.is_unholdable().then(advice).flatten() {
                Some(advice) => error.hint(advice),
                None => error,
            }
        }
        None => Error::table_failed(table, "a row is too big for PostgreSQL's protocol"),
    }
}
