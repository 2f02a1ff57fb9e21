//! The binlog reader: events in, records out. No network in here, so every path can be fed with bytes.
//!
//! What it promises:
//!
//! 1. Every event is checked (length, checksum, order of offsets) before it is looked at.
//! 2. A record leaves only inside a transaction whose begin was seen; the mark moves only at its end.
//! 3. Every transaction and, inside it, every rows event is counted, whether captured or not, so a record's sequence follows
//!    from the binlog alone.
//! 4. What is not understood is never passed over: an unknown event, a row of a captured table that does not tell
//!    enough, a statement that may have changed one, all end the stream by name and place.
//! 5. Rows that the source took back are taken back, or end the stream if they were handed over; rows of an XA transaction come
//!    with its second phase (`xa`).
//! 6. A statement that changes captured tables is its own transaction, which ends only when the change is taken: until then the mark
//!    lies before it.
//!
//! Events that concern no captured table cost a header, a checksum and a look at the table's id.

mod damaged;
mod dictionary;
mod domains;
mod held;
mod payload;
mod place;
mod refusals;
mod rows;
mod statements;
mod tables;
mod taken_back;
mod transaction;
mod xa;

use std::{collections::BTreeSet, sync::Arc};

use tailrace_contract::{
    Checkpoint, Error, Mark, Result, SchemaChange, SourcePlace, SplitTransaction, StreamCounts, TableFilter,
};
use tailrace_row::{Epoch, RecordBatch};

use crate::{
    events::{
        CHECKSUM_BYTES, FLAG_IGNORABLE, Format, GtidEvent, HEADER_BYTES, Header, Heartbeat, QueryEvent, Rotate,
        RowsKind, Unpacker, has_valid_checksum, kind, parse_load_query,
    },
    gtid::TransactionId,
    keys::Keys,
    position::{BinlogPosition, FileOffset},
    prepared::Prepared,
    protocol::Malformed,
    row_decoder::charset::Collations,
    shapes::Shapes,
    witness::{Gazer, Seen, Witness},
};
pub(crate) use damaged::Damaged;
pub(crate) use dictionary::Dictionary;
pub(crate) use held::HeldEvents;
use payload::OpenPayload;
pub(crate) use place::source_place;
use place::{Place, Span};
use rows::OpenRows;
use tables::{BadMap, TableNames, Tables};
pub(crate) use tables::{check_key, no_decoder};
use taken_back::TakenBack;
use transaction::{Phase, Resumption, SecondPhase, Transaction};
pub(crate) use xa::WantedGroup;

/// What an event meant for the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing to hand over.
    Continue,
    /// A transaction is complete; the mark lies behind it.
    TransactionEnd,
    /// The event has captured rows, and [`BinlogReader::proceed`] decodes them.
    Rows,
    /// The event stands for others, and [`BinlogReader::proceed`] takes them.
    Parts,
    /// The events of an XA transaction's first phase are to be read again: [`BinlogReader::wanted_group`] says which.
    Group,
    /// A statement changes captured tables: [`BinlogReader::take_change`] gives it, before the next event.
    SchemaChange,
}

/// Follows one stream of events.
pub(crate) struct BinlogReader {
    epoch: Epoch,
    /// Complete transactions of the epoch.
    transactions: u64,
    place: Place,
    /// `None` until the first format description.
    format: Option<Format>,
    tables: Tables,
    phase: Phase,
    /// Set until the first transaction has ended, if the log holds a part of it.
    resumption: Option<Resumption>,
    rows: Option<OpenRows>,
    payload: Option<OpenPayload>,
    unpacker: Unpacker,
    /// XA transactions between their two phases.
    prepared: Prepared,
    /// The events of the first phase of the one whose second phase came.
    held: Option<HeldEvents>,
    /// The same, if they must be read again.
    wanted: Option<WantedGroup>,
    /// What the event asks to be taken back of the batch.
    taken_back: Option<TakenBack>,
    /// What the statement does that is the transaction in progress.
    change: Option<Box<SchemaChange>>,
    counts: StreamCounts,
    /// Events before this offset of the first file are passed: the server can't begin further than 4 GiB.
    lead_in: Option<u64>,
    /// Where rows go that the log has already.
    discarded: RecordBatch,
    /// The rows of a compressed event.
    unpacked: Vec<u8>,
    /// Whose binlog it is.
    server: Arc<str>,
    /// Domains of the position that nothing was sent of yet.
    sought: BTreeSet<u32>,
    /// The last transactions, and what the one in progress looks like.
    witness: Witness,
    gazer: Gazer,
    /// The shapes of tables behind the last complete transaction, as positions carry them.
    memory: String,
    damaged: Arc<Damaged>,
}

/// What the reader must know beside the checkpoint.
pub(crate) struct ReaderSettings {
    pub(crate) filter: Arc<TableFilter>,
    pub(crate) collations: Arc<Collations>,
    pub(crate) ignores_case: bool,
    /// Whether the server logs what foreign keys change.
    pub(crate) logs_cascades: bool,
    /// The stream begins at the begin of the position's file, although the position is further on.
    pub(crate) has_lead_in: bool,
    /// The XA transactions that the position names.
    pub(crate) prepared: Prepared,
    /// The name of the server under which its numbers of events are known.
    pub(crate) server: Arc<str>,
    /// Of MariaDB: what table maps do not tell of columns' types.
    pub(crate) dictionary: Option<Dictionary>,
    /// Of MySQL: what table maps without names do not tell.
    pub(crate) shapes: Shapes,
    /// What no table map tells: unique keys.
    pub(crate) keys: Keys,
    /// The event whose checksum was wrong before.
    pub(crate) damaged: Arc<Damaged>,
}

impl BinlogReader {
    pub(crate) fn new(from: &Checkpoint, position: BinlogPosition, settings: ReaderSettings) -> Self {
        let lead_in = match &position {
            BinlogPosition::File { at, .. } if settings.has_lead_in => Some(at.offset),
            BinlogPosition::File { .. } | BinlogPosition::Gtids { .. } | BinlogPosition::Domains { .. } => None,
        };
        let sought = match &position {
            BinlogPosition::Domains { list, .. } => list.iter().map(|gtid| gtid.domain).collect(),
            BinlogPosition::Gtids { .. } | BinlogPosition::File { .. } => BTreeSet::new(),
        };
        let ReaderSettings { filter, ignores_case, logs_cascades, .. } = settings;
        let names = TableNames { filter, ignores_case, logs_cascades };
        let mut tables = Tables::new(names, settings.collations, settings.dictionary, (settings.shapes, settings.keys));
        let memory = tables.changed_memory().unwrap_or_default();
        Self {
            epoch: from.epoch,
            transactions: from.mark.transactions,
            place: Place::new(position),
            format: None,
            tables,
            phase: Phase::Between,
            resumption: from.split.clone().map(Resumption::new),
            rows: None,
            payload: None,
            unpacker: Unpacker::default(),
            prepared: settings.prepared,
            held: None,
            wanted: None,
            taken_back: None,
            change: None,
            counts: StreamCounts::default(),
            lead_in,
            discarded: RecordBatch::new(),
            unpacked: Vec::new(),
            server: settings.server,
            sought,
            witness: Witness::default(),
            gazer: Gazer::default(),
            memory,
            damaged: settings.damaged,
        }
    }

    /// Goes on from what was seen before.
    pub(crate) fn with_witness(self, witness: Witness) -> Self {
        Self { witness, ..self }
    }

    /// Takes the next event.
    pub(crate) fn event(&mut self, event: &[u8]) -> Result<Step> {
        debug_assert!(
            self.rows.is_none() && self.payload.is_none() && self.held.is_none(),
            "the event before is taken first"
        );
        debug_assert!(self.change.is_none(), "the change of the event before is taken first");
        let header = Header::parse(event).map_err(|malformed| self.corrupt(malformed))?;
        if header.kind == kind::FORMAT_DESCRIPTION {
            return self.format_description(header, event);
        }
        let (body, checksum) = self.checked_body(&header, event)?;
        self.gazer.take(header, body, checksum);
        let span = self.place.span(&header, !self.is_between()).map_err(|malformed| self.corrupt(malformed))?;
        let step = if self.is_in_lead_in(span)? { Step::Continue } else { self.dispatch(header, body, span)? };
        if let Some(span) = span
            && header.kind != kind::ROTATE
        {
            self.place.offset = span.end;
        }
        if step == Step::TransactionEnd { self.end_transaction() } else { Ok(step) }
    }

    /// Whether the format of the stream's events is known, that is, the server has accepted the request.
    pub(crate) fn has_begun(&self) -> bool {
        self.format.is_some()
    }

    /// Whether the server may still be looking for the position in its files. MariaDB says nothing meanwhile.
    pub(crate) fn is_sought(&self) -> bool {
        !self.sought.is_empty()
    }

    /// Whether rows of the event that was given last are not decoded yet.
    pub(crate) fn has_rows(&self) -> bool {
        self.rows.is_some()
    }

    /// Whether no transaction is in progress.
    pub(crate) fn is_between(&self) -> bool {
        matches!(self.phase, Phase::Between)
    }

    /// Behind the last complete transaction.
    pub(crate) fn mark(&self) -> Mark {
        let position = self.witness.put_on(self.prepared.position(self.place.boundary()), &self.memory);
        Mark { position, transactions: self.transactions }
    }

    /// How far the binlog is read. It moves with whatever comes, also where the mark stays. None while anything of what was read is
    /// still to be handed over, and before the server has said where it stands.
    pub(crate) fn read_place(&self) -> Option<SourcePlace> {
        // The place is already behind an event of which rows are open; but rows, a packed transaction, the events of a first phase
        // and a change that is not taken are all parts of a transaction, and end before it does.
        debug_assert!(
            !self.is_between() || self.rows.is_none() && self.payload.is_none() && self.held.is_none(),
            "what is open belongs to a transaction"
        );
        if self.is_between() { source_place(&self.server, &self.place.here()) } else { None }
    }

    /// What it met beside plain changes.
    pub(crate) fn counts(&self) -> StreamCounts {
        self.counts
    }

    /// Whether a statement that changes captured tables comes next.
    pub(crate) fn is_at_change(&self) -> bool {
        self.change.is_some()
    }

    /// Passes the statement that changes captured tables: the mark lies behind it.
    pub(crate) fn take_change(&mut self) -> Result<Option<Box<SchemaChange>>> {
        let Some(change) = self.change.take() else { return Ok(None) };
        self.end_transaction()?;
        Ok(Some(change))
    }

    /// The transaction in progress up to its last record, if it has any.
    pub(crate) fn split(&self) -> Option<SplitTransaction> {
        let (Phase::Open(transaction) | Phase::Named(transaction)) = &self.phase else { return None };
        Some(SplitTransaction { name: transaction.name(&self.server), last: transaction.last? })
    }

    /// Whether the event lies before the position. The position must be where one begins.
    fn is_in_lead_in(&mut self, span: Option<Span>) -> Result<bool> {
        let (Some(wanted), Some(span)) = (self.lead_in, span) else { return Ok(false) };
        if span.start < wanted {
            return Ok(true);
        }
        self.lead_in = None;
        if span.start == wanted {
            return Ok(false);
        }
        Err(self.no_such_place(wanted))
    }

    /// Another file begins. A file that ended without a last event of its own may have ended just at the position; if it
    /// ended before, the position is nowhere, and what follows must not be passed for it.
    fn end_lead_in(&mut self) -> Result<()> {
        match self.lead_in.take() {
            Some(wanted) if wanted != self.place.offset => Err(self.no_such_place(wanted)),
            Some(_) | None => Ok(()),
        }
    }

    fn no_such_place(&self, wanted: u64) -> Error {
        Error::position_lost(format!("no event begins at offset {wanted} of {}", self.place.file)).at(self.here())
    }

    fn dispatch(&mut self, header: Header, body: &[u8], span: Option<Span>) -> Result<Step> {
        match header.kind {
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => self.begin(header, body, span),
            kind::QUERY => {
                let query = QueryEvent::parse(body).map_err(|malformed| self.corrupt(malformed))?;
                self.statement(&query, span)
            }
            kind::DOMAIN_GTID => self.begin_domain_gtid(header, body, span),
            kind::QUERY_COMPRESSED => self.compressed_statement(body, span),
            kind::TABLE_MAP => self.table_map(header, body),
            code if RowsKind::of(code).is_some() => self.begin_rows(header, body, span),
            kind::XID => self.commit(),
            kind::XA_PREPARE => self.xa_prepare(body, span),
            kind::EXECUTE_LOAD_QUERY => {
                let query = parse_load_query(body).map_err(|malformed| self.corrupt(malformed))?;
                self.statement(&query, span)
            }
            kind::ROTATE => self.rotate(body),
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => self.heartbeat(header, body),
            kind::INCIDENT => Err(self.refuse_incident()),
            kind::TRANSACTION_PAYLOAD => self.open_payload(body, span),
            // Context of statements, of group replication, of the file: nothing that rows depend on.
            kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::ROWS_QUERY
            | kind::BEGIN_LOAD_QUERY
            | kind::APPEND_BLOCK
            | kind::DELETE_FILE
            | kind::PREVIOUS_GTIDS
            | kind::TRANSACTION_CONTEXT
            | kind::VIEW_CHANGE
            | kind::ANNOTATE_ROWS
            | kind::BINLOG_CHECKPOINT
            | kind::GTID_LIST
            // The file is encrypted, what the server sends of it is not.
            | kind::START_ENCRYPTION
            | kind::STOP => Ok(Step::Continue),
            _ if header.flags & FLAG_IGNORABLE != 0 => {
                self.counts.ignored_events += 1;
                Ok(Step::Continue)
            }
            unknown => Err(self.refuse_unknown(unknown)),
        }
    }

    /// Verifies the checksum and gives what is between it and the header, and the checksum, or that of the bytes if there is none.
    #[inline]
    fn checked_body<'e>(&self, header: &Header, event: &'e [u8]) -> Result<(&'e [u8], u32)> {
        let has_checksum = match &self.format {
            Some(format) => format.has_checksums,
            // What the server makes itself before the first format description has the checksum that we asked it for, whatever its files
            // have: MySQL and MariaDB both take it from `@source_binlog_checksum`, or `@master_binlog_checksum`.
            None if matches!(header.kind, kind::ROTATE | kind::HEARTBEAT | kind::HEARTBEAT_V2) => true,
            None => return Err(self.corrupt(Malformed::new("stream: an event comes before the format description"))),
        };
        if has_checksum && !has_valid_checksum(event) {
            return Err(self.damaged_event());
        }
        let (end, checksum) = match event.last_chunk::<CHECKSUM_BYTES>() {
            Some(last) if has_checksum => (event.len() - CHECKSUM_BYTES, u32::from_le_bytes(*last)),
            Some(_) | None => (event.len(), crc32fast::hash(event)),
        };
        let body = event.get(HEADER_BYTES..end);
        Ok((body.ok_or_else(|| self.corrupt(Malformed::new("event: it is too short")))?, checksum))
    }

    fn format_description(&mut self, header: Header, event: &[u8]) -> Result<Step> {
        let format = Format::parse(event).map_err(|malformed| self.corrupt(malformed))?;
        if format.has_checksums && !has_valid_checksum(&without_in_use_flag(event)) {
            return Err(self.damaged_event());
        }
        self.abandon_transaction()?;
        if let Some(span) = self.place.span(&header, false).map_err(|malformed| self.corrupt(malformed))? {
            self.place.offset = span.end;
        }
        self.check_file(header.timestamp)?;
        self.format = Some(format);
        self.tables.forget();
        self.place.begin_file(header.timestamp);
        Ok(Step::Continue)
    }

    /// A position by file is worth something only if the file is still the one it was taken in.
    fn check_file(&self, begun: u32) -> Result<()> {
        let (None, BinlogPosition::File { at, begun: Some(known) }) = (&self.format, self.place.boundary()) else {
            return Ok(());
        };
        if *known == begun || *at.file != *self.place.file {
            return Ok(());
        }
        Err(Error::position_lost(format!(
            "{} is not the file in which our position was taken: it was begun at another time",
            at.file
        ))
        .at(at)
        .hint("the server's binlog was reset or another server answers: start anew and copy the tables again"))
    }

    fn begin(&mut self, header: Header, body: &[u8], span: Option<Span>) -> Result<Step> {
        let event = GtidEvent::parse(header.kind, body).map_err(|malformed| self.corrupt(malformed))?;
        if event.gtid.is_none() && self.place.is_by_gtid() {
            return Err(self.refuse_anonymous());
        }
        let id = event.gtid.map(TransactionId::Mysql);
        if id.is_some_and(|id| self.place.has_passed(&id)) {
            return Err(self.corrupt(Malformed::new("stream: a transaction comes again")));
        }
        let transaction = self.name_transaction(id, event.committed_at_micros, header.timestamp, span)?;
        self.phase = Phase::Named(transaction);
        Ok(Step::Continue)
    }

    /// What every transaction begins with, whoever names it.
    fn name_transaction(
        &mut self,
        id: Option<TransactionId>,
        committed_at_micros: Option<i64>,
        timestamp: u32,
        span: Option<Span>,
    ) -> Result<Transaction> {
        if !self.is_between() {
            return Err(self.corrupt(Malformed::new("stream: a transaction begins inside another")));
        }
        self.tables.begin_transaction();
        let mut started_at = self.place.here();
        started_at.offset = span.map_or(started_at.offset, |span| span.start);
        if committed_at_micros.is_none() {
            self.gazer.look_at_rows();
        }
        let committed_at_micros = committed_at_micros.unwrap_or(i64::from(timestamp) * 1_000_000);
        let mut transaction = Transaction::new(id, self.transactions + 1, started_at, committed_at_micros);
        if let Some(resumption) = &self.resumption {
            resumption.begin(&mut transaction, &self.server)?;
        }
        Ok(transaction)
    }

    fn table_map(&mut self, header: Header, body: &[u8]) -> Result<Step> {
        let Phase::Open(transaction) = &self.phase else {
            return Err(self.corrupt(Malformed::new("stream: a table map outside of a transaction")));
        };
        match self.tables.learn(body, &self.place) {
            Ok(Some(_)) if transaction.xid.is_some() => Ok(self.gather(0, header, body)),
            Ok(_) => Ok(Step::Continue),
            Err(BadMap::Malformed(malformed)) => Err(self.corrupt(malformed)),
            Err(BadMap::Refused(error)) => Err(error.at(self.here())),
        }
    }

    fn commit(&mut self) -> Result<Step> {
        match &self.phase {
            Phase::Open(transaction) if transaction.xid.is_none() && transaction.second_phase_of.is_none() => {
                Ok(Step::TransactionEnd)
            }
            Phase::Open(_) | Phase::Between | Phase::Named(_) => {
                Err(self.corrupt(Malformed::new("stream: a commit outside of a transaction")))
            }
        }
    }

    fn rotate(&mut self, body: &[u8]) -> Result<Step> {
        let rotate = Rotate::parse(body).map_err(|malformed| self.corrupt(malformed))?;
        let is_new_file = self.has_begun() && rotate.file != &*self.place.file;
        if is_new_file {
            self.end_lead_in()?;
        }
        self.place.rotate(rotate.file, rotate.offset);
        if is_new_file && self.is_between() {
            self.place.pass_file_end();
        }
        Ok(Step::Continue)
    }

    fn heartbeat(&mut self, header: Header, body: &[u8]) -> Result<Step> {
        let is_mariadb = matches!(self.place.boundary(), BinlogPosition::Domains { .. });
        let heartbeat = match header.kind {
            kind::HEARTBEAT_V2 => Heartbeat::parse_v2(body),
            _ if is_mariadb && header.end == 0 => Heartbeat::parse_far(body),
            _ => Heartbeat::parse_v1(body),
        };
        let heartbeat = heartbeat.map_err(|malformed| self.corrupt(malformed))?;
        self.sought.clear();
        if self.place.is_by_gtid() {
            self.place.move_to(heartbeat.file, heartbeat.offset, header.end);
        }
        Ok(Step::Continue)
    }

    fn end_transaction(&mut self) -> Result<Step> {
        if let Some(resumption) = &self.resumption {
            resumption.end().map_err(|error| error.at(self.here()))?;
            self.resumption = None;
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Between);
        let (Phase::Open(transaction) | Phase::Named(transaction)) = phase else {
            unreachable!("only a transaction in progress ends")
        };
        if let Some(SecondPhase { xid, .. }) = &transaction.second_phase_of {
            self.prepared.remove(xid);
        }
        self.place.pass(transaction.id);
        self.transactions += 1;
        if let Some(memory) = self.tables.changed_memory() {
            self.memory = memory;
        }
        let Transaction { id, started_at: at, committed_at_micros, .. } = transaction;
        self.witness.push(Seen { id, at, committed_at_micros, looks: self.gazer.looks() });
        Ok(Step::TransactionEnd)
    }

    /// A file begins while a transaction is open: the server died while it wrote, and took the transaction back.
    fn abandon_transaction(&mut self) -> Result<()> {
        if self.split().is_some() {
            return Err(self.refuse_torn());
        }
        if !self.is_between() {
            tracing::warn!(at = %self.here(), "a transaction ends with its file: the server died while it wrote, and took it back");
            self.phase = Phase::Between;
            self.rows = None;
            self.change = None;
        }
        Ok(())
    }

    /// The transaction and the place, for errors.
    fn here(&self) -> String {
        let (Phase::Open(Transaction { id: Some(id), .. }) | Phase::Named(Transaction { id: Some(id), .. })) =
            &self.phase
        else {
            return self.spot().to_string();
        };
        format!("{id} ({})", self.spot())
    }

    /// Where the event begins that is being taken.
    fn spot(&self) -> FileOffset {
        let here = self.place.here();
        match &self.payload {
            Some(payload) => FileOffset { offset: payload.span.start, ..here },
            None => here,
        }
    }

    fn corrupt(&self, malformed: Malformed) -> Error {
        Error::corrupt("the binlog can't be read on").at(self.here()).caused_by(malformed)
    }
}

/// The checksum of a format description is that of a file which is closed.
fn without_in_use_flag(event: &[u8]) -> Vec<u8> {
    const FLAGS_AT: usize = 17;
    const IN_USE: u8 = 1;
    let mut event = event.to_vec();
    if let Some(flags) = event.get_mut(FLAGS_AT) {
        *flags &= !IN_USE;
    }
    event
}

#[cfg(test)]
mod lead_in_tests;
#[cfg(test)]
mod mariadb_tests;
#[cfg(test)]
mod payload_tests;
