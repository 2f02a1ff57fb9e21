//! How MariaDB begins transactions: one event names it, says how it ends, and stands for BEGIN.

use tailrace_contract::Result;

use super::{BinlogReader, Header, Phase, Span, Step};
use crate::{
    events::{DomainGtidEvent, QueryEvent, XaPhase, unpack_event},
    gtid::TransactionId,
};

impl BinlogReader {
    pub(super) fn begin_domain_gtid(&mut self, header: Header, body: &[u8], span: Option<Span>) -> Result<Step> {
        let event = DomainGtidEvent::parse(header.server_id, body).map_err(|malformed| self.corrupt(malformed))?;
        let id = TransactionId::Mariadb(event.gtid);
        if self.place.has_passed(&id) {
            return Err(self.refuse_backward(event.gtid));
        }
        let mut transaction = self.name_transaction(Some(id), None, header.timestamp, span)?;
        // One statement follows and ends it; or whatever was changed, up to a commit.
        let is_one_statement = event.is_standalone || matches!(event.xa, Some(XaPhase::Finish(_)));
        self.sought.remove(&event.gtid.domain);
        transaction.is_unfinished_alter = event.is_unfinished_alter;
        transaction.xid = match event.xa {
            Some(XaPhase::Prepare(xid)) => Some(xid),
            // The statement says it too, and which of both ends it is.
            Some(XaPhase::Finish(_)) | None => None,
        };
        self.phase = if is_one_statement { Phase::Named(transaction) } else { Phase::Open(transaction) };
        Ok(Step::Continue)
    }

    /// A statement that the server compressed.
    pub(super) fn compressed_statement(&mut self, body: &[u8], span: Option<Span>) -> Result<Step> {
        let query = QueryEvent::parse(body).map_err(|malformed| self.corrupt(malformed))?;
        let mut text = Vec::new();
        unpack_event(query.text, &mut text).map_err(|malformed| self.corrupt(malformed))?;
        self.statement(&QueryEvent { text: &text, ..query }, span)
    }
}
