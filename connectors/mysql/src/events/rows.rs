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
pub(crate) struct RowsBody {
    pub(crate) columns: usize,
    /// Whether every image has every column.
    pub(crate) is_complete: bool,
    /// Where in the event's body the first row begins.
    pub(crate) rows_at: usize,
}

impl RowsBody {
    #[inline]
    pub(crate) fn parse(rows_kind: RowsKind, header: RowsHeader, body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        cursor.take(header.bytes)?;
        let columns = cursor.packed_len()?;
        let mut is_complete = is_full(cursor.take(columns.div_ceil(8))?, columns);
        if rows_kind == RowsKind::Update {
            is_complete &= is_full(cursor.take(columns.div_ceil(8))?, columns);
        }
        Ok(Self { columns, is_complete, rows_at: body.len() - cursor.len() })
    }
}

/// Whether the first `columns` bits are set.
fn is_full(bitmap: &[u8], columns: usize) -> bool {
    (0..columns).all(|column| bitmap[column / 8] >> (column % 8) & 1 == 1)
}
