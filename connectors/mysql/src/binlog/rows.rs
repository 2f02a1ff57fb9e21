//! Rows events of captured tables: decoded row by row into the caller's batch, in as many calls as its limits ask for.

use std::sync::Arc;

use tailrace_contract::{BatchLimits, Error, Result};
use tailrace_row::{ImageSpan, Operation, Origin, Record, RecordBatch, Sequence, has_changed_key};

use super::{BinlogReader, Header, Phase, Span, Step, transaction::Skip};
use crate::{
    events::{HEADER_BYTES, RowsBody, RowsHeader, RowsKind, kind, unpack_event},
    protocol::{Cursor, Malformed},
    row_decoder::{BadRow, PartialRows, RowDecoder, RowFault},
};

/// A rows event that is not decoded to its end.
pub(super) struct OpenRows {
    decoder: Arc<RowDecoder>,
    kind: RowsKind,
    /// Present if not every row has every column.
    partial: Option<Box<PartialRows>>,
    bytes: Bytes,
    /// Where in these bytes the next row begins.
    at: usize,
    /// Where its rows end.
    end: usize,
    /// Number of the next row.
    row: u32,
    event: u32,
    start: u64,
    server_id: u32,
    skip: Skip,
}

/// Where the rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bytes {
    /// In the event that the stream holds.
    Packet,
    /// In an event of the compressed transaction, which the unpacker holds.
    Payload,
    /// In an event of an XA transaction's first phase, which the reader holds.
    Held,
    /// They were compressed by themselves and lie in the reader.
    Unpacked,
}

/// Room for unpacked rows that is kept from one event to the next.
const UNPACKED_KEPT: usize = 1 << 20;

/// The table id of an event without rows that only ends a statement.
const NO_TABLE: u64 = 0xff_ffff;

impl BinlogReader {
    /// Counts a rows event and, if its table is captured, opens it.
    #[inline]
    pub(super) fn begin_rows(&mut self, header: Header, body: &[u8], span: Option<Span>) -> Result<Step> {
        let kind = RowsKind::of(header.kind).expect("invariant: called for rows events only");
        let rows = RowsHeader::parse(header.kind, body).map_err(|malformed| self.corrupt(malformed))?;
        let Phase::Open(transaction) = &mut self.phase else {
            return Err(self.corrupt(Malformed::new("stream: rows outside of a transaction")));
        };
        let event = transaction.next_event;
        transaction.next_event += 1;
        let decoder = match self.tables.decoder(rows.table_id) {
            Some(Some(decoder)) => {
                transaction.captured = Some(Arc::clone(decoder.schema()));
                if transaction.xid.is_some() {
                    transaction.gathered.note_rows();
                    return Ok(self.gather(event, header, body));
                }
                Arc::clone(decoder)
            }
            Some(None) => return Ok(Step::Continue),
            None if rows.table_id == NO_TABLE => return Ok(Step::Continue),
            None => return Err(self.corrupt(Malformed::new("stream: rows of a table without table map"))),
        };
        let rows = RowsBody::parse(header.kind, kind, rows, body).map_err(|malformed| self.corrupt(malformed))?;
        if rows.columns != decoder.schema().columns().len() {
            return Err(self.corrupt(Malformed::new("rows event: its columns are not those of the table map")));
        }
        let partial = if rows.is_complete { None } else { Some(self.partial_rows(header.kind, &decoder, &rows)?) };
        let skip = self.resumption.as_ref().map_or(Skip::Nothing, |resumption| resumption.skip(event));
        if skip == Skip::All {
            return Ok(Step::Continue);
        }
        let (bytes, at, end) = if RowsKind::is_compressed(header.kind) {
            unpack_event(&body[rows.rows_at..], &mut self.unpacked).map_err(|malformed| self.corrupt(malformed))?;
            (Bytes::Unpacked, 0, self.unpacked.len())
        } else {
            let bytes = match (&self.payload, &self.held) {
                (Some(_), _) => Bytes::Payload,
                (None, Some(_)) => Bytes::Held,
                (None, None) => Bytes::Packet,
            };
            (bytes, HEADER_BYTES + rows.rows_at, HEADER_BYTES + body.len())
        };
        self.rows = Some(OpenRows {
            decoder,
            kind,
            partial,
            bytes,
            at,
            end,
            row: 0,
            event,
            start: span.map_or(self.place.offset, |span| span.start),
            server_id: header.server_id,
            skip,
        });
        Ok(Step::Rows)
    }

    /// What decodes the rows of an event whose images lack columns or hold parts of documents, if they can tell what happened.
    fn partial_rows(&self, code: u8, decoder: &RowDecoder, body: &RowsBody<'_>) -> Result<Box<PartialRows>> {
        let kind = RowsKind::of(code).expect("invariant: called for rows events only");
        let partial = PartialRows::new(kind, decoder, body.sent, code == kind::PARTIAL_UPDATE_ROWS);
        let schema = decoder.schema();
        if let Some(column) = partial.missing_key(decoder) {
            return Err(self.refuse_missing_key(schema, column));
        }
        if let Some(column) = partial.unknown_default(decoder, self.tables.is_of_mariadb()) {
            return Err(self.refuse_unknown_default(schema, column));
        }
        for column in partial.unchanged() {
            self.tables.check_unchanged(schema, column, &self.place).map_err(|error| error.at(self.here()))?;
        }
        Ok(Box::new(partial))
    }

    /// Decodes rows of the event that was opened last, whose bytes are given again. Tells whether it is done; if not, a limit
    /// was reached.
    pub(super) fn rows(&mut self, event: &[u8], out: &mut RecordBatch, limits: &BatchLimits) -> Result<bool> {
        let Some(rows) = self.rows.take() else { return Ok(true) };
        match rows.bytes {
            Bytes::Packet => self.decode_rows(rows, event, out, limits),
            Bytes::Payload => {
                let unpacker = std::mem::take(&mut self.unpacker);
                let done = self.decode_rows(rows, unpacker.event(), out, limits);
                self.unpacker = unpacker;
                done
            }
            Bytes::Held => {
                let held = self.held.take().expect("invariant: events are held while their rows are open");
                let done = self.decode_rows(rows, held.event(), out, limits);
                self.held = Some(held);
                done
            }
            Bytes::Unpacked => {
                let unpacked = std::mem::take(&mut self.unpacked);
                let done = self.decode_rows(rows, &unpacked, out, limits);
                self.unpacked = unpacked;
                if let Ok(true) = done {
                    self.unpacked.clear();
                    self.unpacked.shrink_to(UNPACKED_KEPT);
                }
                done
            }
        }
    }

    fn decode_rows(
        &mut self,
        mut rows: OpenRows,
        bytes: &[u8],
        out: &mut RecordBatch,
        limits: &BatchLimits,
    ) -> Result<bool> {
        let mut cursor = Cursor::new(bytes.get(rows.at..rows.end).expect("invariant: the same event"));
        if rows.skip != Skip::Nothing {
            self.skip_rows(&mut rows, &mut cursor)?;
        }
        if cursor.is_empty() {
            return Ok(true);
        }
        let schema = out.add_schema(rows.decoder.schema());
        let origin = out.add_origin(self.origin(&rows));
        let mut last = None;
        let had = out.len();
        let mut is_full = false;
        while !cursor.is_empty() && !is_full {
            let record = rows.decode(&mut cursor, out, schema, origin).map_err(|fault| self.row_error(&rows, fault))?;
            if record.after.is_some_and(|after| after.is_partial()) {
                self.check_key(out, &record)?;
            }
            out.push(record);
            last = Some(record.row);
            is_full = out.byte_len() >= limits.bytes_max || out.len() >= limits.records_max;
        }
        self.note_last(rows.event, last, out.len() - had);
        if cursor.is_empty() {
            return Ok(true);
        }
        rows.at = rows.end - cursor.len();
        self.rows = Some(rows);
        Ok(false)
    }

    /// Passes the rows that the log has.
    fn skip_rows(&mut self, rows: &mut OpenRows, cursor: &mut Cursor<'_>) -> Result<()> {
        let Skip::Through(last) = rows.skip else { return Ok(()) };
        let mut discarded = std::mem::take(&mut self.discarded);
        let schema = discarded.add_schema(rows.decoder.schema());
        while !cursor.is_empty() && rows.row <= last {
            if discarded.byte_len() > 1 << 20 {
                discarded.clear();
            }
            let record = rows.decode(cursor, &mut discarded, schema, 0).map_err(|fault| self.row_error(rows, fault))?;
            if let Some(resumption) = &mut self.resumption {
                resumption.meet(record.row);
            }
        }
        rows.skip = Skip::Nothing;
        self.discarded = RecordBatch::new();
        Ok(())
    }

    fn origin(&mut self, rows: &OpenRows) -> Origin {
        let file = Arc::clone(&self.place.file);
        let Phase::Open(transaction) = &mut self.phase else { unreachable!("rows are open inside a transaction only") };
        Origin {
            epoch: self.epoch,
            transaction: transaction.number,
            event: rows.event,
            committed_at_micros: transaction.committed_at_micros,
            transaction_name: transaction.gtid_text(),
            file,
            file_offset: rows.start,
            server_id: rows.server_id,
            thread: transaction.thread,
        }
    }

    fn note_last(&mut self, event: u32, row: Option<u32>, records: usize) {
        let (Phase::Open(transaction), Some(row)) = (&mut self.phase, row) else { return };
        transaction.records += records;
        transaction.last = Some(Sequence { epoch: self.epoch, transaction: transaction.number, event, row });
    }

    /// A row that lacks columns can't be made anew under another key.
    fn check_key(&self, out: &RecordBatch, record: &Record) -> Result<()> {
        let schema = out.schema(record);
        match (out.before(record), out.after(record)) {
            (Some(before), Some(after)) if has_changed_key(schema, before, after) => {
                Err(self.refuse_moved_row(schema.name()))
            }
            (Some(_) | None, Some(_) | None) => Ok(()),
        }
    }

    fn row_error(&self, rows: &OpenRows, fault: RowFault) -> Error {
        match fault {
            RowFault::Bad(bad) => self.bad_row(rows, bad),
            RowFault::NoDocument(column) => self.refuse_partial_json(rows.decoder.schema(), column),
        }
    }

    fn bad_row(&self, rows: &OpenRows, bad: BadRow) -> Error {
        let schema = rows.decoder.schema();
        let column = schema.columns().get(bad.column).map_or("", |column| &*column.name);
        Error::corrupt(format!(
            "row {} of the event at {} can't be decoded in column {column}",
            rows.row / 2,
            rows.start
        ))
        .on_table(schema.name().clone())
        .at(self.here())
        .caused_by(bad.malformed)
    }
}

impl OpenRows {
    #[inline]
    fn decode(
        &mut self,
        cursor: &mut Cursor<'_>,
        out: &mut RecordBatch,
        schema: u32,
        origin: u32,
    ) -> std::result::Result<Record, RowFault> {
        let columns = self.decoder.schema().columns().len();
        let decoder = &self.decoder;
        let mut image = || -> std::result::Result<Option<ImageSpan>, BadRow> {
            out.write_image(columns, |image| decoder.decode(cursor, image)).map(Some)
        };
        let (before, after) = match (self.kind, &mut self.partial) {
            (_, Some(partial)) => partial.decode(decoder, cursor, out)?,
            (RowsKind::Insert, None) => (None, image()?),
            (RowsKind::Update, None) => (image()?, image()?),
            (RowsKind::Delete, None) => (image()?, None),
        };
        let operation = operation(self.kind);
        let row = self.row;
        let too_many = BadRow { column: 0, malformed: Malformed::new("rows event: it has too many rows") };
        self.row = row.checked_add(2).ok_or(too_many)?;
        Ok(Record { operation, schema, origin, row, lane: 0, offset: 0, before, after })
    }
}

fn operation(kind: RowsKind) -> Operation {
    match kind {
        RowsKind::Insert => Operation::Insert,
        RowsKind::Update => Operation::Update,
        RowsKind::Delete => Operation::Delete,
    }
}
