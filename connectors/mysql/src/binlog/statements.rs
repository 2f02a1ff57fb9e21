//! Statements of the stream: they open and close transactions, or are judged by what they may change.

use tailrace_contract::Result;

use super::{BinlogReader, Phase, Span, Step, Transaction};
use crate::{
    events::QueryEvent,
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
            Control::Begin | Control::CreateWithRows => self.open(query, None),
            Control::XaStart => self.open(query, Some(statement::xid(query.text))),
            Control::XaFinish => {
                let Phase::Named(transaction) = &mut self.phase else {
                    unreachable!("called for the first statement only")
                };
                // MariaDB says the name with the transaction's own.
                let xid = transaction.xid.take().unwrap_or_else(|| statement::xid(query.text));
                if self.prepared.remove(&xid) {
                    return Ok(Step::TransactionEnd);
                }
                Err(self.refuse_unknown_xa(span))
            }
            // An empty transaction of a replica that filters.
            Control::Commit | Control::Rollback => Ok(Step::TransactionEnd),
            Control::Savepoint | Control::XaEnd | Control::None => {
                if !matches!(self.phase, Phase::Named(Transaction { is_unfinished_alter: true, .. })) {
                    self.judge(query, span)?;
                }
                Ok(Step::TransactionEnd)
            }
        }
    }

    fn further_statement(&mut self, query: &QueryEvent<'_>, span: Option<Span>) -> Result<Step> {
        match statement::control(query) {
            Control::Commit => Ok(Step::TransactionEnd),
            Control::Rollback => match &self.phase {
                Phase::Open(Transaction { captured: Some(schema), .. }) => {
                    Err(self.refuse_rollback(schema.name(), span))
                }
                Phase::Open(_) | Phase::Named(_) | Phase::Between => Ok(Step::TransactionEnd),
            },
            Control::Savepoint | Control::XaEnd => Ok(Step::Continue),
            // Tables without transactions were changed before it was taken back.
            Control::XaFinish if matches!(self.phase, Phase::Open(Transaction { xid: Some(_), .. })) => {
                Ok(Step::TransactionEnd)
            }
            Control::Begin | Control::XaStart | Control::XaFinish => {
                Err(self.corrupt(Malformed::new("stream: a transaction begins inside another")))
            }
            Control::CreateWithRows | Control::None => {
                self.judge(query, span)?;
                Ok(Step::Continue)
            }
        }
    }

    fn open(&mut self, query: &QueryEvent<'_>, xid: Option<Vec<u8>>) -> Result<Step> {
        let Phase::Named(mut transaction) = std::mem::replace(&mut self.phase, Phase::Between) else {
            unreachable!("called for the first statement only")
        };
        transaction.thread = Some(u64::from(query.thread));
        transaction.xid = xid;
        self.phase = Phase::Open(transaction);
        Ok(Step::Continue)
    }

    fn judge(&mut self, query: &QueryEvent<'_>, span: Option<Span>) -> Result<()> {
        match self.tables.captured().judge(query) {
            Verdict::Harmless => {
                if matches!(self.phase, Phase::Open(_)) {
                    self.counts.foreign_statements += 1;
                }
                Ok(())
            }
            verdict @ (Verdict::Table { .. } | Verdict::Database { .. }) => {
                Err(self.refuse_statement(query, verdict, span))
            }
        }
    }
}
