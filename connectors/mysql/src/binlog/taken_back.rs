//! Rows that the binlog holds although the source took them back.
//!
//! A server writes a transaction to its binlog when it ends, without what was taken back: but for what it could not cut out of its
//! cache. MariaDB logs rows and then `ROLLBACK TO` a savepoint, if a table without transactions was changed after the savepoint;
//! and a whole transaction that ends with `ROLLBACK`, if a temporary table was made or dropped in it.
//!
//! Which rows are meant is certain. Rows of tables without transactions never stand among them: such rows are logged at once, in a
//! transaction of their own that ends with `COMMIT`. So everything since the savepoint, or the begin, is taken back: removed from
//! the batch, if it still lies there. If a part of it was handed over already, nothing can take that back, and the stream ends by
//! name.

use tailrace_contract::{Error, Result};
use tailrace_row::RecordBatch;

use super::{
    BinlogReader, Phase, Span,
    transaction::{Resumption, Savepoint, Transaction},
};
use crate::{events::QueryEvent, statement};

/// The last records of a batch that the source took back.
pub(super) struct TakenBack {
    count: usize,
    /// Number of their transaction.
    transaction: u64,
    /// What ends the stream if they are not all there.
    refusal: Error,
}

impl BinlogReader {
    pub(super) fn set_savepoint(&mut self, query: &QueryEvent<'_>) {
        /// More than anybody sets; one that is not remembered can't be gone back to, and that stops.
        const SAVEPOINTS_MAX: usize = 10_000;
        let Phase::Open(transaction) = &mut self.phase else { return };
        if let Some(name) = statement::savepoint(query)
            && transaction.savepoints.len() < SAVEPOINTS_MAX
        {
            // The same name replaces the older one.
            transaction.savepoints.retain(|savepoint| savepoint.name != name);
            let savepoint = transaction.savepoint(name);
            transaction.savepoints.push(savepoint);
        }
    }

    pub(super) fn roll_back_to(&mut self, query: &QueryEvent<'_>, span: Option<Span>) -> Result<()> {
        let Phase::Open(transaction) = &mut self.phase else { return Ok(()) };
        let name = statement::savepoint(query);
        let at = transaction.savepoints.iter().rposition(|savepoint| Some(&savepoint.name) == name.as_ref());
        match at {
            Some(at) => {
                transaction.savepoints.truncate(at + 1);
                let savepoint = transaction.savepoints[at].clone();
                self.roll_back(&savepoint, span)
            }
            None if transaction.captured.is_some() => Err(self.refuse_rollback(span)),
            None => Ok(()),
        }
    }

    /// Takes back what came since; the begin of the transaction is a savepoint too.
    pub(super) fn roll_back(&mut self, to: &Savepoint, span: Option<Span>) -> Result<()> {
        let Phase::Open(Transaction { number, records, next_event, xid, .. }) = &self.phase else { return Ok(()) };
        // Where the log ends behind this, it was done before; of a first phase the log has nothing.
        let ends_in_between = |log: &Resumption| log.reaches(to.next_event) && !log.reaches(*next_event);
        if xid.is_none() && self.resumption.as_ref().is_some_and(ends_in_between) {
            return Err(self.refuse_rollback(span));
        }
        let count = records - to.records;
        if count > 0 {
            self.taken_back = Some(TakenBack { count, transaction: *number, refusal: self.refuse_rollback(span) });
        }
        let Phase::Open(transaction) = &mut self.phase else { return Ok(()) };
        transaction.gathered.take_back(to.gathered);
        (transaction.records, transaction.last) = (to.records, to.last);
        Ok(())
    }

    /// Removes from the batch what the last event took back. Called after each event.
    #[inline]
    pub(crate) fn take_back(&mut self, out: &mut RecordBatch) -> Result<()> {
        match self.taken_back.take() {
            Some(taken_back) => self.remove(taken_back, out),
            None => Ok(()),
        }
    }

    fn remove(&mut self, taken_back: TakenBack, out: &mut RecordBatch) -> Result<()> {
        let TakenBack { count, transaction, refusal } = taken_back;
        let is_its_own =
            |record| out.sequence(record).transaction == transaction && out.sequence(record).epoch == self.epoch;
        if out.records().iter().rev().take(count).filter(|record| is_its_own(record)).count() < count {
            return Err(refusal);
        }
        for _ in 0..count {
            out.discard_last();
        }
        self.counts.taken_back_records += count as u64;
        Ok(())
    }
}
