//! Rows as they lie in a table now: what snapshots, backfill and repair read.
//!
//! A reader belongs to one table and one connection. Keys are compared by the database alone, never by us: its collation
//! decides what comes before what. So bounds come out of the database and go back into it exactly as they came.

use tailrace_row::{Key, Origin, RecordBatch};

use crate::{BoxFuture, Result};

/// Which rows of a table.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// Those behind `after`, up to `until` and with it, in the database's own order of the key, which is also the order in
    /// which they come. Where a bound is absent, the table's end is one.
    Range {
        /// The last key that does not belong to the range.
        after: Option<&'a Key>,
        /// The last key that does.
        until: Option<&'a Key>,
    },
    /// Those of these keys, each byte of them equal, in any order. A key without a row is left out.
    Keys(&'a [Key]),
}

impl Rows<'_> {
    /// The whole table.
    pub const ALL: Rows<'static> = Rows::Range { after: None, until: None };
}

/// How much one call of [`TableReader::fill`] appends at most. A single row may exceed the bytes.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    /// Rows.
    pub rows_max: usize,
    /// Bytes of the batch.
    pub bytes_max: usize,
}

/// One connection that reads the rows of one table, under the schema it was opened with. Memory does not grow with the table.
///
/// Each view is held against the schema: a table that is not what the reader was opened with gives no row, but an error of kind
/// [`Transient`](crate::ErrorKind::Transient), since only a reader for its new schema can go on; what decides the order of its key
/// (collations, directions) is part of what it was opened with. Between reads nothing of the table is held: no view, no lock of its
/// shape. During a read both are held until its last row was taken, or until a call has failed. A call but
/// [`fill`](Self::fill) may be given up half-way: the next one answers as if it had not been.
pub trait TableReader: Send {
    /// About how many rows the table has, by the database's own statistics.
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>>;

    /// The key of the row that is `rows` rows behind `after` (or behind the table's beginning): a chunk's last key. None if
    /// the table has fewer, or if `rows` is 0. Ends a read that is under way.
    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>>;

    /// Begins to read in a fresh view of its own: all rows are as of one moment, not before the call. Ends a read that is under way.
    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>>;

    /// Appends rows as [`tailrace_row::Operation::Read`] of this origin, all as row 0 of it. True as long as there may be more;
    /// then the batch holds at least one row more. Without a read that is under way there are none. After an error, or when
    /// the future was dropped, the reader is not used any more.
    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>>;
}
