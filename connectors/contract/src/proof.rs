//! Rows for proof: what a database itself answers to a query, in one canonical form that both databases share.
//!
//! It shares nothing with readers, decoders and encoders: a defect in one of them shows as a difference and can't hide. Two
//! rows are equal exactly if the bytes of their fields are.

use crate::{BoxFuture, ReadLimits, Result, Rows};

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

    /// The canonical bytes of a field.
    #[must_use]
    pub fn field(&self, row: usize, column: usize) -> &[u8] {
        let at = row * self.columns + column;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[at]]
    }
}

/// One connection that reads the rows of one table for proof: the columns of the source's schema, in its order.
pub trait ProofReader: Send {
    /// Begins to read in a fresh view of its own, as [`crate::TableReader::read`].
    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>>;

    /// Appends rows. True as long as there may be more.
    fn fill<'a>(&'a mut self, out: &'a mut ProofBatch, limits: ReadLimits) -> BoxFuture<'a, Result<bool>>;
}
