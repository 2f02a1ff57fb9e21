//! Rows of which not every column was logged (`binlog_row_image` is MINIMAL or NOBLOB), or of whose JSON only what changed
//! (`binlog_row_value_options=PARTIAL_JSON`).
//!
//! An update logs of the row before what identifies it (MINIMAL: the key) and of the row after what it changed. A column
//! that the row after lacks has the value of the row before, if that has the column, and else is unchanged, which is not
//! NULL. An insert leaves out the columns that took a default. Of those only MySQL's BLOB, TEXT, JSON and geometries are
//! known to be NULL then: they can't have a literal default, and what an expression or a trigger gave them is logged.
//!
//! It costs more than rows with every column: where each field of the row before lies is noted, to be read again.

use tailrace_row::{ColumnType, ImageSpan, ImageWriter, RecordBatch, TextForm};

use super::{BadRow, RowDecoder, column::Decode, json, sized};
use crate::{
    events::{RowsKind, SentColumns},
    protocol::{Cursor, Malformed},
};

/// Decodes the rows of one event.
pub(crate) struct PartialRows {
    kind: RowsKind,
    /// By column: whether the rows before, and the rows after, have it.
    before: Box<[bool]>,
    after: Box<[bool]>,
    /// Rows after may hold parts of documents.
    has_value_options: bool,
    /// Where the fields of the last row before lie.
    places: Vec<Place>,
}

/// Where a field of the row before lies.
#[derive(Clone, Copy)]
enum Place {
    /// It was not logged.
    Absent,
    Null,
    /// So many bytes behind the row's begin.
    At(usize),
}

/// Why a row can't be decoded.
#[derive(Debug)]
pub(crate) enum RowFault {
    Bad(BadRow),
    /// What changed in this column's document is logged, the document before is not.
    NoDocument(usize),
}

impl From<BadRow> for RowFault {
    fn from(bad: BadRow) -> Self {
        Self::Bad(bad)
    }
}

/// A row before and a row after, as far as there are such.
pub(crate) type Images = (Option<ImageSpan>, Option<ImageSpan>);

impl PartialRows {
    pub(crate) fn new(
        kind: RowsKind,
        decoder: &RowDecoder,
        [before, after]: [SentColumns<'_>; 2],
        has_value_options: bool,
    ) -> Self {
        let columns = || 0..decoder.plan.len();
        Self {
            kind,
            before: columns().map(|column| before.has(column)).collect(),
            after: columns().map(|column| after.has(column)).collect(),
            has_value_options,
            places: Vec::new(),
        }
    }

    /// A key column that identifies no row because it was not logged.
    pub(crate) fn missing_key(&self, decoder: &RowDecoder) -> Option<usize> {
        // Of an update the row before tells it too: a key that the row after lacks did not change.
        decoder.schema.key().iter().copied().find(|column| !self.before[*column])
    }

    /// A column that an insert leaves out and that may have got a default. `can_have_large_default`: as on MariaDB.
    pub(crate) fn unknown_default(&self, decoder: &RowDecoder, can_have_large_default: bool) -> Option<usize> {
        let is_null = |column: usize| {
            let column = &decoder.schema.columns()[column];
            !can_have_large_default && column.nullable && has_no_literal_default(&column.column_type)
        };
        if self.kind != RowsKind::Insert {
            return None;
        }
        (0..self.after.len()).find(|column| !self.after[*column] && !is_null(*column))
    }

    /// The columns of which an update says nothing at all.
    pub(crate) fn unchanged(&self) -> impl Iterator<Item = usize> + '_ {
        let is_update = self.kind == RowsKind::Update;
        (0..self.after.len()).filter(move |column| is_update && !self.before[*column] && !self.after[*column])
    }

    /// Decodes the next row.
    pub(crate) fn decode(
        &mut self,
        decoder: &RowDecoder,
        rows: &mut Cursor<'_>,
        out: &mut RecordBatch,
    ) -> Result<Images, RowFault> {
        let columns = decoder.plan.len();
        let row = rows.rest();
        match self.kind {
            RowsKind::Insert => {
                self.places.clear();
                self.places.resize(columns, Place::Null);
                Ok((None, Some(out.write_image(columns, |image| self.after(decoder, row, rows, image))?)))
            }
            RowsKind::Update => {
                let before = out.write_image(columns, |image| self.before(decoder, rows, image))?;
                let after = out.write_image(columns, |image| self.after(decoder, row, rows, image))?;
                Ok((Some(before), Some(after)))
            }
            RowsKind::Delete => Ok((Some(out.write_image(columns, |image| self.before(decoder, rows, image))?), None)),
        }
    }

    fn before(
        &mut self,
        decoder: &RowDecoder,
        rows: &mut Cursor<'_>,
        image: &mut ImageWriter<'_>,
    ) -> Result<(), RowFault> {
        let length = rows.len();
        let mut nulls = Bits::take(rows, self.before.iter().filter(|is_sent| **is_sent).count())?;
        self.places.clear();
        for (column, decode) in decoder.plan.iter().enumerate() {
            let place = match self.before[column] {
                false => Place::Absent,
                true if nulls.next() => Place::Null,
                true => Place::At(length - rows.len()),
            };
            self.places.push(place);
            match place {
                Place::Absent => image.unchanged(),
                Place::Null => image.null(),
                Place::At(_) => decode.run(rows, image).map_err(|malformed| BadRow { column, malformed })?,
            }
        }
        Ok(())
    }

    fn after(
        &self,
        decoder: &RowDecoder,
        row: &[u8],
        rows: &mut Cursor<'_>,
        image: &mut ImageWriter<'_>,
    ) -> Result<(), RowFault> {
        let mut parts = self.take_parts(decoder, rows)?;
        let mut nulls = Bits::take(rows, self.after.iter().filter(|is_sent| **is_sent).count())?;
        for (column, decode) in decoder.plan.iter().enumerate() {
            let bad = |malformed| BadRow { column, malformed };
            // Every JSON column of the table has a bit, whether it was logged or not.
            let is_part = *decode == Decode::Json && parts.as_mut().is_some_and(Bits::next);
            match (self.after[column], self.places[column]) {
                (true, _) if nulls.next() => image.null(),
                (true, place) if is_part => {
                    let Place::At(at) = place else { return Err(RowFault::NoDocument(column)) };
                    write_changed(&row[at..], rows, image).map_err(bad)?;
                }
                (true, _) => decode.run(rows, image).map_err(bad)?,
                (false, Place::At(at)) => decode.run(&mut Cursor::new(&row[at..]), image).map_err(bad)?,
                (false, Place::Null) => image.null(),
                (false, Place::Absent) => image.unchanged(),
            }
        }
        Ok(())
    }

    /// The bits that say of which documents the row has parts only.
    fn take_parts<'r>(&self, decoder: &RowDecoder, rows: &mut Cursor<'r>) -> Result<Option<Bits<'r>>, RowFault> {
        const PARTIAL_JSON: u64 = 1;
        if !self.has_value_options {
            return Ok(None);
        }
        let bad = |malformed| BadRow { column: 0, malformed };
        match rows.packed().map_err(bad)? {
            0 => Ok(None),
            PARTIAL_JSON => {
                let documents = decoder.plan.iter().filter(|decode| **decode == Decode::Json).count();
                Bits::take(rows, documents).map(Some)
            }
            _ => Err(bad(Malformed::new("rows event: unknown value options")).into()),
        }
    }
}

/// The document of the row before with the changes that the row after has.
fn write_changed(before: &[u8], rows: &mut Cursor<'_>, image: &mut ImageWriter<'_>) -> Result<(), Malformed> {
    let document = sized(&mut Cursor::new(before), 4)?;
    let diffs = sized(rows, 4)?;
    image.text_with(true, |text| json::write_changed_text(document, diffs, text))
}

/// Bits in the order of columns, the lowest of each byte first.
struct Bits<'r> {
    bytes: &'r [u8],
    next: usize,
}

impl<'r> Bits<'r> {
    fn take(rows: &mut Cursor<'r>, count: usize) -> Result<Self, RowFault> {
        let bytes = rows.take(count.div_ceil(8)).map_err(|malformed| BadRow { column: 0, malformed })?;
        Ok(Self { bytes, next: 0 })
    }

    fn next(&mut self) -> bool {
        let at = self.next;
        self.next += 1;
        self.bytes[at / 8] >> (at % 8) & 1 == 1
    }
}

/// Whether the type is one for which MySQL takes no default but an expression.
fn has_no_literal_default(column_type: &ColumnType) -> bool {
    match column_type {
        ColumnType::Text { form, .. } | ColumnType::Bytes { form, .. } => *form == TextForm::Large,
        ColumnType::Json | ColumnType::Geometry { .. } => true,
        ColumnType::Integer { .. }
        | ColumnType::Decimal { .. }
        | ColumnType::Float
        | ColumnType::Double
        | ColumnType::Bit { .. }
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::DateTime { .. }
        | ColumnType::Timestamp { .. }
        | ColumnType::Year
        | ColumnType::Vector { .. }
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6 => false,
    }
}
