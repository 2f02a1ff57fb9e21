//! How the rows that are in a table already are read, so that they can be told apart from changes that pass meanwhile.
//!
//! Two things are not what they seem. What a source has *delivered* may not be *visible* yet: a transaction is in its log before
//! a query shows its rows. And what is visible may not count as *executed* yet. So a chunk is read in a view that shows all that
//! was delivered before a position, and its end is a place in the source's log that lies behind all that the view could show.

use std::sync::Arc;

use tailrace_row::Key;

use crate::{BoxFuture, Error, Position, Result, TableReader};

/// A place in the log of the server that is captured, as the server counts it: only to be compared with another one of the same
/// stream, never to resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePlace {
    /// What all files of the log have in common. Places in logs of other names can't be compared.
    pub series: Arc<str>,
    /// Number of the file, in the order in which the files were written.
    pub file: u64,
    /// Offset in the file.
    pub offset: u64,
}

impl SourcePlace {
    /// Whether it lies at the other place or behind it. False where they can't be compared.
    #[must_use]
    pub fn has_reached(&self, other: &Self) -> bool {
        self.series == other.series && (self.file, self.offset) >= (other.file, other.offset)
    }
}

impl std::fmt::Display for SourcePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}:{}", self.series, self.file, self.offset)
    }
}

/// A range of keys of which only so many rows are read.
#[derive(Clone, Copy, Debug)]
pub struct ChunkRange<'a> {
    /// The last key that does not belong to it; none: it begins with the table.
    pub after: Option<&'a Key>,
    /// The last key that does; none: it ends with the table.
    pub until: Option<&'a Key>,
    /// How many rows at most, in the order of the key.
    pub rows_max: u64,
}

/// How far a chunk reaches of which not all rows were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Rows that it passed, read or not; 0 where the source did not count them.
    pub rows: u64,
    /// The last key that belongs to it; none: it ends with its range.
    pub last: Option<Key>,
}

/// One connection that reads a table in chunks, each in a view of its own.
pub trait ChunkReader: TableReader {
    /// What decides the order of the table's key (collations, directions), in the source's own words. Bounds that were found in one order
    /// mean nothing in another.
    fn order(&self) -> String;

    /// From here on chunks have only rows for which this holds, in the source's own language. A chunk then passes no more rows than it may
    /// have, whether they are read or not. Refused, with the source's own words, if it can't be asked.
    fn restrict<'a>(&'a mut self, _condition: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Err(Error::refused("this source can't choose the rows that are copied")) })
    }

    /// How far the last chunk reaches, where its rows don't tell.
    fn passed(&self) -> Option<Passed> {
        None
    }

    /// Begins to read a range, as [`TableReader::read`] does, in a fresh view that shows everything that the captured server has
    /// delivered up to `shown`. Waits until that is so; [`ErrorKind::Transient`] if it takes too long.
    ///
    /// [`ErrorKind::Transient`]: crate::ErrorKind::Transient
    fn read_chunk<'a>(&'a mut self, shown: &'a Position, range: ChunkRange<'a>) -> BoxFuture<'a, Result<()>>;

    /// Begins to read the rows of these keys in such a view.
    fn read_keys<'a>(&'a mut self, shown: &'a Position, keys: &'a [Key]) -> BoxFuture<'a, Result<()>>;

    /// The key of the row that is `rows_max` rows behind the range's beginning: where the range may be split. None if it has fewer rows. Ends
    /// a read that is under way.
    fn bound_within<'a>(&'a mut self, range: ChunkRange<'a>) -> BoxFuture<'a, Result<Option<Key>>>;

    /// The last key before this one, which need not be in the table; none if there is none.
    fn key_before<'a>(&'a mut self, _key: &'a Key) -> BoxFuture<'a, Result<Option<Key>>> {
        Box::pin(async { Err(Error::refused("this source does not tell which key lies before another")) })
    }

    /// A place in the captured server's log at or behind everything that the last read, of which all rows were taken, could see.
    fn end_of_view(&mut self) -> BoxFuture<'_, Result<SourcePlace>>;
}
