//! Rows for proof: what a database itself answers to a query, in one canonical form that all databases share.
//!
//! It shares nothing with readers, decoders and encoders: a defect in one of them shows as a difference and can't hide. Two
//! fields are equal exactly if their bytes are.
//!
//! - `canonical`: what a value of a source's column means, and the bytes that say it. `number`, `moment` and `json` read the
//!   spellings that databases have in common.
//! - `key`: keys and bounds, which come from outside, as a query names them; the one place that looks into a key's values.
//! - `feed`: how rows get from a driver's stream, which borrows its connection, into batches that a caller asks for.

use crate::{BoxFuture, ReadLimits, Result, Rows};

mod canonical;
mod feed;
mod json;
mod key;
mod moment;
mod number;

pub use canonical::{CanonicalForm, CanonicalWriter, Era, Foreign};
pub use feed::{ProofFeed, ProofFeeder};
pub use key::{KeyField, KeyPart, KeyQuery, KeySpelling, ProofQuery, Unspelled};

/// Rows in canonical form: one growing byte buffer and the end of each field.
#[derive(Clone, Debug, Default)]
pub struct ProofBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    columns: usize,
}

impl ProofBatch {
    /// An empty batch of rows with so many columns, at least one.
    #[must_use]
    pub fn new(columns: usize) -> Self {
        assert!(columns > 0, "a row has columns");
        Self { bytes: Vec::new(), ends: Vec::new(), columns }
    }

    /// Forgets the rows and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Columns of each row.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Complete rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() / self.columns
    }

    /// Whether there is no complete row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all fields.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the next field of the row in progress; `write` appends its canonical bytes. After an error nothing is appended.
    pub fn push_field<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let start = self.bytes.len();
        match write(&mut self.bytes) {
            Ok(()) => self.ends.push(self.bytes.len()),
            Err(error) => {
                self.bytes.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Appends a complete row of another batch with as many columns.
    pub fn push_row(&mut self, from: &Self, row: usize) {
        assert_eq!(self.columns, from.columns, "a row goes between batches of one shape");
        let (first, last) = (row * from.columns, (row + 1) * from.columns);
        let (start, end) = (from.start(first), from.ends[last - 1]);
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&from.bytes[start..end]);
        self.ends.extend(from.ends[first..last].iter().map(|end| end - start + shift));
    }

    /// Forgets the last row.
    pub fn pop_row(&mut self) {
        let kept = self.ends.len().saturating_sub(self.columns);
        self.bytes.truncate(self.start(kept));
        self.ends.truncate(kept);
    }

    /// The canonical bytes of a field.
    #[must_use]
    pub fn field(&self, row: usize, column: usize) -> &[u8] {
        let at = row * self.columns + column;
        &self.bytes[self.start(at)..self.ends[at]]
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

/// One connection that reads the rows of one table for proof: the columns of the source's schema, in its order.
pub trait ProofReader: Send {
    /// Begins to read in a fresh view of its own: all rows are as of one moment, not before the call. Ends a read that is under
    /// way. Rows of a range come in the database's own order of the key.
    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>>;

    /// Appends rows. True as long as there may be more; then the batch holds at least one row more. After an error the reader
    /// is not used any more.
    fn fill<'a>(&'a mut self, out: &'a mut ProofBatch, limits: ReadLimits) -> BoxFuture<'a, Result<bool>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(batch: &mut ProofBatch, fields: [&str; 2]) {
        for field in fields {
            let written: Result<()> = batch.push_field(|out| {
                out.extend_from_slice(field.as_bytes());
                Ok(())
            });
            written.unwrap();
        }
    }

    #[test]
    fn rows_move_and_go() {
        let (mut one, mut other) = (ProofBatch::new(2), ProofBatch::new(2));
        push(&mut one, ["a", "bc"]);
        push(&mut one, ["", "d"]);
        push(&mut other, ["first", ""]);
        other.push_row(&one, 1);
        assert_eq!((other.len(), other.field(1, 0), other.field(1, 1)), (2, &b""[..], &b"d"[..]));
        other.pop_row();
        other.push_row(&one, 0);
        assert_eq!((other.len(), other.field(1, 0), other.field(1, 1)), (2, &b"a"[..], &b"bc"[..]));
        assert!(other.push_field(|_| Err(())).is_err());
        assert_eq!(other.byte_len(), "first".len() + "abc".len());
    }
}
