//! Statements of the stream: they open and close transactions, or are judged by what they may change.

use tailrace_contract::{Result, SchemaChange, TableAct};
use tailrace_row::{Sequence, TableName};

use super::{BinlogReader, Phase, Span, Step, Transaction, transaction::Savepoint};
use crate::{
    events::{QueryEvent, Xid},
    protocol::Malformed,
    statement::{self, Control, Verdict},
};

impl BinlogReader {
    pub(super) fn statement(&mut self, query: &QueryEvent<'_>, span: Option<Span>) -> Result<Step> {
        match &self.phase {
            Phase::Named(_) => self.first_statement(query, span),
            Phase::Open(_) => self.further_statement(query, span),
            Phase::Between => Err(self.corrupt(Malformed::new("stream: a statement outside of a transaction"))),
        }
    }

    /// The statement behind the event that names the transaction: it opens it, or is all of it.
    fn first_statement(&mut self, query: &QueryEvent<'_>, span: Option<Span>) -> Result<Step> {
        match statement::control(query) {
            Control::CreateWithRows => {
                self.tables.reshape(query);
                self.tables.rekey(query);
                self.open(query, None)
            }
            Control::Begin => self.open(query, None),
            Control::XaStart => {
                let xid = self.parse_xid(query)?;
                self.open(query, Some(xid))
            }
            Control::XaCommit => self.xa_commit(query, span),
            Control::XaRollback => self.xa_rollback(query, span),
            // An empty transaction of a replica that filters.
            Control::Commit | Control::Rollback => Ok(Step::TransactionEnd),
            Control::Savepoint | Control::RollbackTo | Control::Release | Control::XaEnd | Control::None => {
                if matches!(self.phase, Phase::Named(Transaction { is_unfinished_alter: true, .. })) {
                    return Ok(Step::TransactionEnd);
                }
                let mut acts = self.judge(query, span)?;
                let swaps = self.tables.swaps(query, &acts);
                self.tables.reshape(query);
                let lost = self.tables.rekey(query);
                if acts.is_empty() && lost.is_empty() {
                    return Ok(Step::TransactionEnd);
                }
                self.tables.follow(&mut acts);
                acts.extend(swaps);
                wait_without_key(&mut acts, lost);
                self.change = Some(Box::new(self.schema_change(query, acts)));
                Ok(Step::SchemaChange)
            }
        }
    }

    fn further_statement(&mut self, query: &QueryEvent<'_>, span: Option<Span>) -> Result<Step> {
        match statement::control(query) {
            Control::Commit | Control::Rollback if self.is_second_phase() => {
                Err(self.corrupt(Malformed::new("first phase of an XA transaction: it ends otherwise")))
            }
            Control::Commit => Ok(Step::TransactionEnd),
            Control::Rollback => {
                self.roll_back(&Savepoint::default(), span)?;
                Ok(Step::TransactionEnd)
            }
            Control::Savepoint => {
                self.set_savepoint(query);
                Ok(Step::Continue)
            }
            Control::RollbackTo => {
                self.roll_back_to(query, span)?;
                Ok(Step::Continue)
            }
            Control::Release | Control::XaEnd => Ok(Step::Continue),
            Control::XaStart if self.is_second_phase() => {
                self.check_second_phase(&self.parse_xid(query)?)?;
                Ok(Step::Continue)
            }
            // It was logged for what could not be cut out of it, and ends before its first phase does.
            Control::XaRollback if matches!(self.phase, Phase::Open(Transaction { xid: Some(_), .. })) => {
                Ok(Step::TransactionEnd)
            }
            Control::Begin | Control::XaStart | Control::XaCommit | Control::XaRollback => {
                Err(self.corrupt(Malformed::new("stream: a transaction begins inside another")))
            }
            Control::CreateWithRows | Control::None => {
                let acts = self.judge(query, span)?;
                self.tables.swaps(query, &acts);
                self.tables.reshape(query);
                if let Some((table, _)) = self.tables.rekey(query).first() {
                    return Err(self.refuse_inner_change(table, span));
                }
                // MariaDB begins CREATE TABLE … SELECT so: rows follow that describe their table.
                match acts.iter().find(|act| !matches!(act, TableAct::Create { .. })) {
                    None => Ok(Step::Continue),
                    Some(act) => Err(self.refuse_inner_change(act.table(), span)),
                }
            }
        }
    }

    fn open(&mut self, query: &QueryEvent<'_>, xid: Option<Xid>) -> Result<Step> {
        let Phase::Named(mut transaction) = std::mem::replace(&mut self.phase, Phase::Between) else {
            unreachable!("called for the first statement only")
        };
        transaction.thread = Some(u64::from(query.thread));
        transaction.xid = xid;
        self.phase = Phase::Open(transaction);
        Ok(Step::Continue)
    }

    /// What the statement does to captured tables.
    fn judge(&mut self, query: &QueryEvent<'_>, span: Option<Span>) -> Result<Vec<TableAct>> {
        match self.tables.captured().judge(query) {
            Verdict::Harmless => {
                if matches!(self.phase, Phase::Open(_)) {
                    self.counts.foreign_statements += 1;
                }
                Ok(Vec::new())
            }
            Verdict::Changes(acts) => Ok(acts),
            verdict @ (Verdict::Table { .. } | Verdict::Database { .. }) => {
                Err(self.refuse_statement(query, verdict, span))
            }
        }
    }

    fn schema_change(&self, query: &QueryEvent<'_>, acts: Vec<TableAct>) -> SchemaChange {
        let Phase::Named(transaction) = &self.phase else { unreachable!("called for the first statement only") };
        SchemaChange {
            sequence: Sequence { epoch: self.epoch, transaction: transaction.number, event: 0, row: 0 },
            place: self.here().into(),
            committed_at_micros: transaction.committed_at_micros,
            statement: self.tables.captured().text(query).into(),
            acts,
        }
    }
}

/// Tables whose rows may be known by another key from here on wait, whatever else can be followed.
fn wait_without_key(acts: &mut Vec<TableAct>, lost: Vec<(TableName, String)>) {
    for (table, reason) in lost {
        let is_of =
            |act: &TableAct| *act.table() == table && matches!(act, TableAct::Alter { .. } | TableAct::Other { .. });
        let other = TableAct::Other { table: table.clone(), reason, hides_changes: false };
        match acts.iter_mut().find(|act| is_of(act)) {
            Some(act @ TableAct::Alter { .. }) => *act = other,
            Some(_) => {}
            None => acts.push(other),
        }
    }
}
