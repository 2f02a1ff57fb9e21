//! Applies batches. A batch is copied before the call can be lost, so that it can be done later as a server would.

use std::{collections::BTreeSet, sync::Arc};

use tailrace_contract::{
    Applied, ApplyBatch, BoxFuture, Error, ErrorKind, LedgerEntry, Owner, PartitionProgress, ProgressStep, Result,
    RowRef, SinkWriter, StreamCheckpoint, StreamProgress, StreamStep, TableMapping,
};
use tailrace_row::{Field, Operation, Record, RecordBatch};

use crate::{
    faults::{Call, Outcome, lost},
    log::note,
    row::{Row, copy_image, key_of, no_origin},
    sink::{Late, SinkServer, SinkState, SinkTable},
};

pub(crate) struct MemorySinkWriter {
    server: Arc<SinkServer>,
    log: String,
    has_failed: bool,
}

/// A batch of its own.
pub(crate) struct OwnedBatch {
    log: String,
    changes: Vec<OwnedChanges>,
    progress: Vec<ProgressStep>,
    stream: Option<OwnedStep>,
}

/// A stream's step of its own.
pub(crate) struct OwnedStep {
    pub(crate) stream: String,
    saves: i64,
    owner: Owner,
    checkpoint: StreamCheckpoint,
    ledger: Vec<LedgerEntry>,
}

impl OwnedStep {
    pub(crate) fn copy(step: StreamStep<'_>) -> Self {
        Self {
            stream: step.stream.to_owned(),
            saves: step.saves,
            owner: step.owner,
            checkpoint: step.checkpoint.clone(),
            ledger: step.ledger.to_vec(),
        }
    }

    /// Saves the checkpoint and its documents; it was compared before.
    pub(crate) fn save(self, state: &mut SinkState) {
        let known = state.streams.get_mut(&self.stream).expect("invariant: compared before");
        known.checkpoint = Some(self.checkpoint);
        known.saves += 1;
        let ledger = state.ledgers.entry(self.stream).or_default();
        self.ledger.into_iter().for_each(|entry| note(ledger, entry));
    }
}

struct OwnedChanges {
    mapping: Arc<TableMapping>,
    /// Key and place of each row to delete.
    deletes: Vec<(Vec<u8>, String)>,
    /// Row and place of each row to write.
    upserts: Vec<(Row, String)>,
}

impl MemorySinkWriter {
    pub(crate) fn new(server: Arc<SinkServer>, log: &str) -> Self {
        Self { server, log: log.to_owned(), has_failed: false }
    }

    async fn write(&self, batch: OwnedBatch) -> Result<Applied> {
        let outcome = self.server.faults.enter(Call::SinkApply).await?;
        let mut state = self.server.state();
        match outcome {
            Outcome::Answered => batch.execute(&mut state),
            Outcome::Lost => batch.execute(&mut state).and_then(|_| Err(lost(Call::SinkApply))),
            Outcome::Late(calls) => {
                state.late.push((calls, Late::Batch(Box::new(batch))));
                Err(lost(Call::SinkApply))
            }
            Outcome::Torn(_) => Err(lost(Call::SinkApply)),
        }
    }
}

impl SinkWriter for MemorySinkWriter {
    fn apply<'a>(&'a mut self, batch: ApplyBatch<'a>) -> BoxFuture<'a, Result<Applied>> {
        Box::pin(async move {
            if self.has_failed {
                return Err(Error::corrupt("the target's writer was used after an unknown outcome"));
            }
            self.has_failed = true;
            let result = self.write(OwnedBatch::copy(&self.log, batch)).await;
            self.has_failed = result.as_ref().is_err_and(|error: &Error| error.kind() == ErrorKind::Transient);
            result
        })
    }
}

impl OwnedBatch {
    fn copy(log: &str, batch: ApplyBatch<'_>) -> Self {
        let place = |row: &RowRef| {
            let record = &batch.records.records()[row.record() as usize];
            format!("lane {}@{}", record.lane, record.offset)
        };
        let changes = batch.changes.iter().map(|changes| {
            let mut rows = RecordBatch::new();
            let schema = rows.add_schema(&changes.schema);
            let origin = rows.add_origin(no_origin());
            for row in &changes.upserts {
                let after = Some(copy_image(&mut rows, row.image(batch.records)));
                let plain = Record {
                    operation: Operation::Insert,
                    schema,
                    origin,
                    row: 0,
                    lane: 0,
                    offset: 0,
                    before: None,
                    after,
                };
                rows.push(plain);
            }
            let rows = Arc::new(rows);
            let upserts = (0..).zip(&changes.upserts);
            OwnedChanges {
                mapping: Arc::clone(&changes.mapping),
                deletes: changes
                    .deletes
                    .iter()
                    .map(|row| (key_of(&changes.schema, row.image(batch.records)), place(row)))
                    .collect(),
                upserts: upserts.map(|(id, row)| (Row::at(&rows, RowRef::After(id)), place(row))).collect(),
            }
        });
        let stream = batch.stream.map(OwnedStep::copy);
        Self { log: log.to_owned(), changes: changes.collect(), progress: batch.progress.to_vec(), stream }
    }

    /// All of it, or nothing and why.
    pub(crate) fn execute(self, state: &mut SinkState) -> Result<Applied> {
        for step in &self.progress {
            check_step(state.progress.get(&(self.log.clone(), step.from.partition.clone())), step)?;
        }
        if let Some(step) = &self.stream {
            check_stream_step(state.streams.get(&step.stream), step)?;
        }
        let mut applied = Applied::default();
        let mut writes = Vec::new();
        let mut seen = BTreeSet::new();
        for changes in &self.changes {
            let target = &changes.mapping.target;
            let table = state.tables.get(target).ok_or_else(|| refused(changes, "the target table does not exist"))?;
            for (key, place) in &changes.deletes {
                check_once(seen.insert((target, key.clone())), changes, place)?;
            }
            for (row, place) in &changes.upserts {
                let key = row.key();
                check_once(seen.insert((target, key.clone())), changes, place)?;
                match fit(table, row, &key).map_err(|why| refused(changes, &why).at(place))? {
                    Some(row) => writes.push((target, key, row)),
                    None => applied.absent += 1,
                }
            }
        }
        for changes in &self.changes {
            let table = state.tables.get_mut(&changes.mapping.target).expect("invariant: looked up before");
            for (key, _) in &changes.deletes {
                applied.deleted += u64::from(table.rows.remove(key).is_some());
            }
        }
        for (target, key, row) in writes {
            let table = state.tables.get_mut(target).expect("invariant: looked up before");
            table.rows.insert(key, row);
            applied.upserted += 1;
        }
        for step in &self.progress {
            let known = state.progress.get_mut(&(self.log.clone(), step.from.partition.clone()));
            let known = known.expect("invariant: compared before");
            known.next_offset = Some(step.next_offset);
            known.sequence = step.sequence;
            known.highest = known.highest.max(step.sequence);
        }
        if let Some(step) = self.stream {
            step.save(state);
        }
        state.commits += 1;
        Ok(applied)
    }
}

fn check_step(known: Option<&PartitionProgress>, step: &ProgressStep) -> Result<()> {
    let partition = &step.from.partition;
    if known.is_none_or(|known| known.owner != step.from.owner) {
        return Err(Error::fenced(format!("another process applies {partition}")));
    }
    if known != Some(&step.from) {
        return Err(Error::fenced(format!("somebody else moved the progress of {partition}")));
    }
    Ok(())
}

pub(crate) fn check_stream_step(known: Option<&StreamProgress>, step: &OwnedStep) -> Result<()> {
    if known.is_none_or(|known| known.owner != step.owner) {
        return Err(Error::fenced(format!("another process applies the stream {}", step.stream)));
    }
    if known.is_none_or(|known| known.saves != step.saves) {
        return Err(Error::fenced(format!("somebody else saved the checkpoint of the stream {}", step.stream)));
    }
    Ok(())
}

fn check_once(is_first: bool, changes: &OwnedChanges, place: &str) -> Result<()> {
    if is_first {
        return Ok(());
    }
    Err(Error::corrupt("a key stands twice in one batch").on_table(changes.mapping.source.clone()).at(place))
}

/// The row as the table holds it: columns by name, those that were not sent taken from the row that is there. None: it need not be.
fn fit(table: &SinkTable, row: &Row, key: &[u8]) -> std::result::Result<Option<Row>, String> {
    if table.refused.contains(key) {
        return Err("the table refuses the row".into());
    }
    let columns = row.schema().columns();
    if let Some(unknown) =
        columns.iter().find(|column| table.schema.columns().iter().all(|known| known.name != column.name))
    {
        return Err(format!("the target table has no column {}", unknown.name));
    }
    let is_whole = !row.image().is_partial();
    if is_whole && table.schema.columns() == columns {
        return Ok(Some(row.clone()));
    }
    let known = table.rows.get(key);
    if !is_whole && known.is_none() && row.image().may_be_absent() {
        return Ok(None);
    }
    if !is_whole && known.is_none() {
        let names: Vec<&str> = row.schema().key().iter().map(|place| &*columns[*place].name).collect();
        return Err(format!(
            "a row that came without all columns is not there to be updated (key {})",
            names.join(", ")
        ));
    }
    let mut fields = Vec::new();
    for column in table.schema.columns() {
        let field = match row.field(&column.name) {
            Some(Field::Unchanged) => known.and_then(|known| known.field(&column.name)),
            Some(field) => Some(field),
            None if column.nullable => Some(Field::Null),
            None => None,
        };
        fields.push(field.ok_or_else(|| format!("there is no value for the column {}", column.name))?);
    }
    Ok(Some(Row::new(&table.schema, &fields)))
}

fn refused(changes: &OwnedChanges, why: &str) -> Error {
    Error::table_failed(changes.mapping.source.clone(), why)
}
