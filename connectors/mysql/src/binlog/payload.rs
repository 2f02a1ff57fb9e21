//! Compressed transactions: the events inside are taken one by one as they are unpacked, and mean what they mean outside.
//!
//! The packet's checksum was verified as a whole, so the events inside have none; nor have they a place in the file, and where the
//! packet lies stands for all of them. A packet holds one transaction from the event behind its name up to its end: nothing of a
//! file or of another transaction may stand in it, nor another packet of the kind.

use std::ops::Range;

use tailrace_contract::{BatchLimits, Result};
use tailrace_row::RecordBatch;

use super::{BinlogReader, Phase, Span, Step};
use crate::{
    events::{HEADER_BYTES, Header, Payload, Unpacker, kind},
    protocol::Malformed,
};

/// A compressed transaction whose events are being taken.
pub(super) struct OpenPayload {
    /// Where the event lies in its file.
    pub(super) span: Span,
    /// Where its packed bytes lie in the event.
    packed: Range<usize>,
}

impl BinlogReader {
    pub(super) fn open_payload(&mut self, body: &[u8], span: Option<Span>) -> Result<Step> {
        if !matches!(&self.phase, Phase::Named(_)) && !self.is_second_phase() {
            return Err(
                self.corrupt(Malformed::new("stream: a compressed transaction without the event that names it"))
            );
        }
        let payload = Payload::parse(body).map_err(|malformed| self.corrupt(malformed))?;
        self.unpacker.begin(&payload);
        let packed = HEADER_BYTES + payload.packed_at..HEADER_BYTES + body.len();
        self.payload = Some(OpenPayload { span: self.place.known(span), packed });
        Ok(Step::Parts)
    }

    /// Goes on with the event that was given last, whose bytes are given again: decodes rows, or takes the next event that it
    /// stands for.
    pub(crate) fn proceed(&mut self, event: &[u8], out: &mut RecordBatch, limits: &BatchLimits) -> Result<Step> {
        if self.rows.is_some() {
            return match self.rows(event, out, limits)? {
                false => Ok(Step::Rows),
                true if self.payload.is_some() || self.held.is_some() => Ok(Step::Parts),
                true => Ok(Step::Continue),
            };
        }
        let step = match (&self.payload, &self.held) {
            (Some(OpenPayload { span, packed }), _) => {
                let packed = event.get(packed.clone()).expect("invariant: the same event");
                self.next_packed(packed, *span)?
            }
            (None, Some(_)) => self.next_held()?,
            (None, None) => return Ok(Step::Continue),
        };
        self.take_back(out)?;
        match step {
            Step::Continue | Step::Rows => Ok(Step::Parts),
            Step::TransactionEnd => self.end_transaction(),
            Step::Parts | Step::Group | Step::SchemaChange => Ok(step),
        }
    }

    fn next_packed(&mut self, packed: &[u8], span: Span) -> Result<Step> {
        let mut unpacker = std::mem::take(&mut self.unpacker);
        let step = self.next_inside(&mut unpacker, packed, span);
        self.unpacker = unpacker;
        let step = step?;
        if ends(step) {
            self.payload = None;
            self.counts.compressed_transactions += 1;
        }
        Ok(step)
    }

    fn next_inside(&mut self, unpacker: &mut Unpacker, packed: &[u8], span: Span) -> Result<Step> {
        let event = unpacker.next(packed).map_err(|malformed| self.corrupt(malformed))?;
        let Some(event) = event else {
            return Err(self.corrupt(Malformed::new("compressed transaction: it ends before the transaction does")));
        };
        let step = self.event_inside(event, span)?;
        if ends(step) && unpacker.next(packed).map_err(|malformed| self.corrupt(malformed))?.is_some() {
            return Err(self.corrupt(Malformed::new("compressed transaction: events follow the transaction's end")));
        }
        Ok(step)
    }

    fn event_inside(&mut self, event: &[u8], span: Span) -> Result<Step> {
        let header = Header::parse(event).map_err(|malformed| self.corrupt(malformed))?;
        if concerns_the_stream(header.kind) {
            return Err(
                self.corrupt(Malformed::new("compressed transaction: an event in it that belongs to no transaction"))
            );
        }
        self.dispatch(header, &event[HEADER_BYTES..], Some(span))
    }
}

/// Whether a step is the last of a transaction's events: it ends, or an XA transaction's second phase brings those of the first.
fn ends(step: Step) -> bool {
    match step {
        Step::TransactionEnd | Step::Parts | Step::Group | Step::SchemaChange => true,
        Step::Continue | Step::Rows => false,
    }
}

/// Whether an event of the kind begins a transaction, or tells of the file or the connection.
pub(super) fn concerns_the_stream(kind: u8) -> bool {
    matches!(
        kind,
        kind::GTID
            | kind::ANONYMOUS_GTID
            | kind::GTID_TAGGED
            | kind::DOMAIN_GTID
            | kind::TRANSACTION_PAYLOAD
            | kind::FORMAT_DESCRIPTION
            | kind::ROTATE
            | kind::STOP
            | kind::HEARTBEAT
            | kind::HEARTBEAT_V2
            | kind::PREVIOUS_GTIDS
            | kind::GTID_LIST
            | kind::BINLOG_CHECKPOINT
            | kind::START_ENCRYPTION
    )
}
