//! XA transactions: two transactions of the binlog, of which the first has the rows and the second decides.
//!
//! A row belongs to the log only if the second phase is COMMIT, and with that transaction's number and time. Nothing is held for
//! that which the binlog holds anyway:
//!
//! 1. At the end of the first phase its place is remembered, and with the next position saved (`prepared`). Its rows events are
//!    counted, and those of captured tables kept in memory if they are few.
//! 2. At COMMIT its events come again, from memory or from a connection of their own (`group`), as the events of the transaction
//!    that commits. They are numbered from 0 like those of any other transaction, whichever way they come; so that transaction can
//!    be split and resumed like any other.
//! 3. The place is forgotten with the end of the transaction that commits or rolls back, and not before: a position that lies
//!    before it still names it.
//! 4. COMMIT of one that no position named (it was prepared before the stream began, or there were too many): it is looked for in
//!    the binlog before that place. Only what is not found stops the stream, by name.
//! 5. `XA COMMIT … ONE PHASE` is both phases in one transaction of the binlog: its own events come again.

use tailrace_contract::{Error, Result};

use super::{
    BinlogReader, Header, Phase, Span, Step,
    held::HeldEvents,
    payload::concerns_the_stream,
    transaction::{SecondPhase, Transaction},
};
use crate::{
    events::{HEADER_BYTES, QueryEvent, RowsKind, XaPrepare, Xid, kind},
    position::FileOffset,
    prepared::{Group, GroupBegin, GroupRows},
    protocol::Malformed,
};

/// A first phase whose events must be read again.
#[derive(Clone, Debug)]
pub(crate) struct WantedGroup {
    pub(crate) xid: Xid,
    /// Where it begins; if that is not known, it lies before the second phase.
    pub(crate) begin: Option<GroupBegin>,
    /// Where the transaction of the second phase begins.
    pub(crate) before: FileOffset,
}

impl BinlogReader {
    /// Whether the events that come now are those of an XA transaction's first phase, taken as the second's.
    pub(super) fn is_second_phase(&self) -> bool {
        self.second_phase().is_some()
    }

    fn second_phase(&self) -> Option<&SecondPhase> {
        let Phase::Open(transaction) = &self.phase else { return None };
        transaction.second_phase_of.as_ref()
    }

    /// Keeps an event of a captured table for the second phase.
    pub(super) fn gather(&mut self, number: u32, header: Header, body: &[u8]) -> Step {
        let room = self.prepared.room();
        if let Phase::Open(transaction) = &mut self.phase {
            transaction.gathered.push(room, number, header, body);
        }
        Step::Continue
    }

    pub(super) fn parse_xid(&self, query: &QueryEvent<'_>) -> Result<Xid> {
        Xid::parse_statement(query.text).map_err(|malformed| self.corrupt(malformed))
    }

    /// The first phase is complete, now or when it was read before.
    pub(super) fn xa_prepare(&mut self, body: &[u8], span: Option<Span>) -> Result<Step> {
        let prepare = XaPrepare::parse(body).map_err(|malformed| self.corrupt(malformed))?;
        if self.is_second_phase() {
            self.check_second_phase(&prepare.xid)?;
            return Ok(Step::TransactionEnd);
        }
        let Phase::Open(Transaction { id, started_at, xid, gathered, .. }) = &mut self.phase else {
            return Err(self.corrupt(Malformed::new("stream: XA PREPARE outside of a transaction")));
        };
        if xid.as_ref() != Some(&prepare.xid) {
            return Err(self.corrupt(Malformed::new("stream: XA PREPARE of another XA transaction")));
        }
        *xid = None;
        let begin = GroupBegin { at: started_at.clone(), id: *id };
        let rows = std::mem::take(gathered).into_rows();
        if prepare.is_one_phase {
            return Ok(self.begin_second_phase(prepare.xid, Some(begin), rows, span));
        }
        self.prepared.push(Group { xid: prepare.xid, begin, rows });
        Ok(Step::TransactionEnd)
    }

    pub(super) fn xa_commit(&mut self, query: &QueryEvent<'_>, span: Option<Span>) -> Result<Step> {
        let xid = self.parse_xid(query)?;
        if let Phase::Named(transaction) = &mut self.phase {
            transaction.thread = Some(u64::from(query.thread));
        }
        let (begin, rows) = match self.prepared.take_rows(&xid) {
            Some((begin, rows)) => (Some(begin), rows),
            None => (None, GroupRows::InBinlog),
        };
        Ok(self.begin_second_phase(xid, begin, rows, span))
    }

    /// Nothing of it was ever handed over.
    pub(super) fn xa_rollback(&mut self, query: &QueryEvent<'_>, span: Option<Span>) -> Result<Step> {
        let xid = self.parse_xid(query)?;
        self.prepared.take_rows(&xid);
        Ok(self.begin_second_phase(xid, None, GroupRows::Foreign, span))
    }

    fn begin_second_phase(&mut self, xid: Xid, begin: Option<GroupBegin>, rows: GroupRows, span: Option<Span>) -> Step {
        let span = self.place.known(span);
        let phase = std::mem::replace(&mut self.phase, Phase::Between);
        let (Phase::Named(mut transaction) | Phase::Open(mut transaction)) = phase else {
            unreachable!("a phase of an XA transaction is a transaction")
        };
        transaction.next_event = 0;
        transaction.savepoints.clear();
        transaction.second_phase_of = Some(SecondPhase { xid: xid.clone(), span });
        let before = transaction.started_at.clone();
        self.phase = Phase::Open(transaction);
        match rows {
            GroupRows::Foreign => Step::TransactionEnd,
            GroupRows::Held(events) => {
                self.counts.two_phase_transactions += 1;
                self.held = Some(HeldEvents::new(events));
                Step::Parts
            }
            GroupRows::InBinlog => {
                self.counts.two_phase_transactions += 1;
                self.wanted = Some(WantedGroup { xid, begin, before });
                Step::Group
            }
        }
    }

    /// Which first phase is to be read again, as the last step asked.
    pub(crate) fn wanted_group(&mut self) -> WantedGroup {
        self.wanted.take().expect("invariant: asked for by the step")
    }

    /// Takes the next event of the first phase that is read again; it has no checksum any more.
    pub(crate) fn group_event(&mut self, header: Header, event: &[u8]) -> Result<Step> {
        let Some(SecondPhase { span, .. }) = self.second_phase() else { unreachable!("asked for by a second phase") };
        let (span, body) = (Some(*span), event.get(HEADER_BYTES..).unwrap_or_default());
        if header.kind == kind::TRANSACTION_PAYLOAD {
            return self.open_payload(body, span);
        }
        if concerns_the_stream(header.kind) {
            return Err(self.corrupt(Malformed::new("first phase of an XA transaction: it has no end")));
        }
        match self.dispatch(header, body, span)? {
            Step::TransactionEnd => self.end_transaction(),
            step @ (Step::Continue | Step::Rows | Step::Parts | Step::Group | Step::SchemaChange) => Ok(step),
        }
    }

    /// Takes the next event that was held.
    pub(super) fn next_held(&mut self) -> Result<Step> {
        let Some((number, header)) = self.held.as_mut().and_then(HeldEvents::next) else {
            self.held = None;
            return Ok(Step::TransactionEnd);
        };
        if let Phase::Open(transaction) = &mut self.phase
            && RowsKind::of(header.kind).is_some()
        {
            transaction.next_event = number;
        }
        let held = self.held.clone().expect("invariant: it gave an event just now");
        let span = self.second_phase().map(|second| second.span);
        self.dispatch(header, &held.event()[HEADER_BYTES..], span)
    }

    /// The first phase must be the one that was asked for.
    pub(super) fn check_second_phase(&self, xid: &Xid) -> Result<()> {
        match self.second_phase() {
            Some(second) if second.xid == *xid => Ok(()),
            Some(_) | None => Err(self.corrupt(Malformed::new("first phase of an XA transaction: it is another's"))),
        }
    }

    /// The error of a first phase that is not to be had any more.
    pub(crate) fn missing_group(&self, wanted: &WantedGroup) -> Error {
        let WantedGroup { xid, begin, .. } = wanted;
        if let Some(GroupBegin { at, id }) = begin {
            let name = id.map(|id| format!("{id}, ")).unwrap_or_default();
            return Error::position_lost(format!(
                "the server no longer has the rows of XA transaction {xid}, which was prepared at {name}{at}"
            ))
            .at(self.here())
            .hint("restore the purged binlog files, or start anew and copy the tables again; keep binlogs longer than XA transactions");
        }
        let span = self.second_phase().map(|second| second.span);
        Error::refused(format!(
            "XA transaction {xid} is committed, and where it was prepared is not found in the binlog"
        ))
        .at(self.here())
        .hint(
            self.way_on(span, "it was prepared long before capture began: make sure that it changed no captured table"),
        )
    }
}
