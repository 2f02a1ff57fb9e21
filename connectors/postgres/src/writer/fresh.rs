//! Which tables of a batch get their rows by a plain COPY, as if none of the rows were there.
//!
//! Whether that is so nobody has to know: the unique index of the key, without which no table is written, refuses a row whose key is
//! there, in another transaction too, and with it the whole COPY. Nothing is kept of it then, and the batch is written as any other. So a
//! wrong guess costs time and nothing else; where it was wrong a table is left alone for a while, for ever longer ones.
//!
//! The guess: rows that were copied or inserted are new. They are while history is copied into an empty table.

use std::{collections::HashMap, sync::Arc};

use tailrace_contract::{ApplyBatch, RowRef, TableChanges};
use tailrace_row::{Operation, RecordBatch};

use super::{Planned, is_many};

/// Batches of a table for which the guess is not made again, at most.
const PAUSE_MAX: u32 = 256;

/// What was learned of tables, by their oid.
#[derive(Default)]
pub(super) struct FreshTables {
    refused: HashMap<u32, Pause>,
}

/// How many batches are still left out, and how many the next time.
struct Pause {
    left: u32,
    next: u32,
}

impl FreshTables {
    /// For each table of the batch whether its rows are taken for new.
    pub(super) fn choose(&mut self, batch: ApplyBatch<'_>, plans: &[Arc<Planned>]) -> Vec<bool> {
        let tables = batch.changes.iter().zip(plans);
        tables.map(|(changes, planned)| self.is_fresh(changes, batch.records, planned)).collect()
    }

    fn is_fresh(&mut self, changes: &TableChanges, records: &RecordBatch, planned: &Planned) -> bool {
        let is_new = |row: &RowRef| {
            let record = &records.records()[row.record() as usize];
            matches!(row, RowRef::After(_)) && matches!(record.operation, Operation::Read | Operation::Insert)
        };
        if planned.plan.insert.is_none() || !is_many(changes, records) || !changes.upserts.iter().all(is_new) {
            return false;
        }
        let Some(pause) = self.refused.get_mut(&planned.plan.oid) else { return true };
        pause.left = pause.left.saturating_sub(1);
        pause.left == 0
    }

    /// What came of the guesses.
    pub(super) fn learn(&mut self, plans: &[Arc<Planned>], is_fresh: &[bool], was_refused: bool) {
        for (planned, _) in plans.iter().zip(is_fresh).filter(|(_, is_fresh)| **is_fresh) {
            if was_refused {
                let pause = self.refused.entry(planned.plan.oid).or_insert(Pause { left: 0, next: 2 });
                *pause = Pause { left: pause.next, next: (pause.next * 2).min(PAUSE_MAX) };
            } else {
                self.refused.remove(&planned.plan.oid);
            }
        }
    }
}
