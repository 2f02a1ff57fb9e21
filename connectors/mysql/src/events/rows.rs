//! Rows events: which table, which columns, and where the rows' bytes begin.

use super::kind;
use crate::protocol::{Cursor, Malformed};

/// What the rows of an event are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowsKind {
    Insert,
    Update,
    Delete,
}

impl RowsKind {
    pub(crate) fn of(kind: u8) -> Option<Self> {
        match kind {
            kind::WRITE_ROWS | kind::WRITE_ROWS_V1 | kind::WRITE_ROWS_COMPRESSED_V1 | kind::WRITE_ROWS_COMPRESSED => {
                Some(Self::Insert)
            }
            kind::UPDATE_ROWS
            | kind::UPDATE_ROWS_V1
            | kind::PARTIAL_UPDATE_ROWS
            | kind::UPDATE_ROWS_COMPRESSED_V1
            | kind::UPDATE_ROWS_COMPRESSED => Some(Self::Update),
            kind::DELETE_ROWS
            | kind::DELETE_ROWS_V1
            | kind::DELETE_ROWS_COMPRESSED_V1
            | kind::DELETE_ROWS_COMPRESSED => Some(Self::Delete),
            _ => None,
        }
    }

    /// Whether the rows of such an event are compressed, its head not.
    pub(crate) fn is_compressed(kind: u8) -> bool {
        (kind::WRITE_ROWS_COMPRESSED_V1..=kind::DELETE_ROWS_COMPRESSED).contains(&kind)
    }
}

/// The part of a rows event that is read for every table, captured or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowsHeader {
    pub(crate) table_id: u64,
    /// Bytes of the body before the number of columns.
    bytes: usize,
}

impl RowsHeader {
    #[inline]
    pub(crate) fn parse(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let table_id = cursor.u48()?;
        cursor.u16()?;
        let is_v1 = matches!(
            kind,
            kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1
                | kind::WRITE_ROWS_COMPRESSED_V1..=kind::DELETE_ROWS_COMPRESSED_V1
        );
        if !is_v1 {
            let extra = usize::from(cursor.u16()?);
            cursor.take(extra.checked_sub(2).ok_or(Malformed::new("rows event: length of its extra data"))?)?;
        }
        Ok(Self { table_id, bytes: body.len() - cursor.len() })
    }
}

/// The part of a rows event behind its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowsBody<'a> {
    pub(crate) columns: usize,
    /// The columns that images have: those of the row before (or of the only image), and those of the row after.
    pub(crate) sent: [SentColumns<'a>; 2],
    /// Whether every image has every column, and each of them whole.
    pub(crate) is_complete: bool,
    /// Where in the event's body the first row begins.
    pub(crate) rows_at: usize,
}

impl<'a> RowsBody<'a> {
    #[inline]
    pub(crate) fn parse(code: u8, rows_kind: RowsKind, header: RowsHeader, body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        cursor.take(header.bytes)?;
        let columns = cursor.packed_len()?;
        let before = SentColumns(cursor.take(columns.div_ceil(8))?);
        let after = match rows_kind {
            RowsKind::Update => SentColumns(cursor.take(columns.div_ceil(8))?),
            RowsKind::Insert | RowsKind::Delete => before,
        };
        let is_complete = before.are_all(columns) && after.are_all(columns) && code != kind::PARTIAL_UPDATE_ROWS;
        Ok(Self { columns, sent: [before, after], is_complete, rows_at: body.len() - cursor.len() })
    }
}

/// A bit for each column of the table: set if images have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentColumns<'a>(&'a [u8]);

impl SentColumns<'_> {
    pub(crate) fn has(self, column: usize) -> bool {
        self.0[column / 8] >> (column % 8) & 1 == 1
    }

    fn are_all(self, columns: usize) -> bool {
        (0..columns).all(|column| self.has(column))
    }
}
