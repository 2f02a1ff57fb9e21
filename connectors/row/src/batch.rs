//! Records on their way: one growing byte buffer, one small entry per record.
//!
//! The caller owns a batch and reuses it, so that a stream of any length costs a bounded number of allocations. What many
//! records share (schema, transaction, rows event) lies beside them once.

use std::sync::Arc;

use crate::{
    image::{ImageWriter, RowImage},
    schema::TableSchema,
    sequence::{Epoch, Sequence},
};

/// What happened to the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new row: `after`.
    Insert,
    /// A changed row: `before` and `after`. If the key differs it stands for a delete and an insert.
    Update,
    /// A removed row: `before`.
    Delete,
    /// A row copied by backfill: `after`.
    Read,
}

/// Where a rows event stood in the source: shared by its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The epoch of the sequence.
    pub epoch: Epoch,
    /// Number of the transaction in the epoch.
    pub transaction: u64,
    /// Number of the rows event in the transaction.
    pub event: u32,
    /// When the transaction was committed, in microseconds since 1970; 0 if unknown.
    pub committed_at_micros: i64,
    /// The source's own name of the transaction (a GTID), if it has one.
    pub transaction_name: Option<Arc<str>>,
    /// The source's log file.
    pub file: Arc<str>,
    /// Where in that file the rows event begins.
    pub file_offset: u64,
    /// The server on which the transaction was first executed.
    pub server_id: u32,
    /// The connection that executed the transaction, if known.
    pub thread: Option<u64>,
}

/// Number of a record in its batch.
pub type RecordId = u32;

/// One change in a batch; its parts are read through the batch.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// What happened.
    pub operation: Operation,
    /// Which of the batch's schemas describes the images.
    pub schema: u32,
    /// Which of the batch's origins the record has.
    pub origin: u32,
    /// The last part of the sequence, see [`Sequence::row`].
    pub row: u32,
    /// Which partition of the log it was read from, as the reader numbers them; 0 from a source.
    pub lane: u32,
    /// Its offset in that partition; 0 from a source.
    pub offset: i64,
    /// The row before, for update and delete.
    pub before: Option<ImageSpan>,
    /// The row after, for insert, update and read.
    pub after: Option<ImageSpan>,
}

/// Where an image lies in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSpan {
    start: usize,
    end: usize,
}

/// Records, their images, and what they share.
#[derive(Default)]
pub struct RecordBatch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    schemas: Vec<Arc<TableSchema>>,
    origins: Vec<Origin>,
}

impl RecordBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the records and keeps the memory, but for what a giant row needed.
    pub fn clear(&mut self) {
        const KEPT_BYTES_MAX: usize = 16 << 20;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.records.clear();
        self.schemas.clear();
        self.origins.clear();
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Memory in use: images and entries.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len() + self.records.len() * size_of::<Record>()
    }

    /// The records in order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Adds a schema if the same one (by address, else by content) is not there; returns its number.
    pub fn add_schema(&mut self, schema: &Arc<TableSchema>) -> u32 {
        let known = self.schemas.iter().position(|known| Arc::ptr_eq(known, schema) || known.id() == schema.id());
        let index = known.unwrap_or_else(|| {
            self.schemas.push(Arc::clone(schema));
            self.schemas.len() - 1
        });
        number(index)
    }

    /// Adds an origin; returns its number.
    pub fn add_origin(&mut self, origin: Origin) -> u32 {
        self.origins.push(origin);
        number(self.origins.len() - 1)
    }

    /// Appends an image of `columns` fields that `write` writes.
    #[inline]
    pub fn write_image<E>(
        &mut self,
        columns: usize,
        write: impl FnOnce(&mut ImageWriter<'_>) -> Result<(), E>,
    ) -> Result<ImageSpan, E> {
        let mut writer = ImageWriter::begin(&mut self.bytes, columns);
        write(&mut writer)?;
        let (start, end) = writer.end();
        Ok(ImageSpan { start, end })
    }

    /// Appends a record whose images were written before.
    pub fn push(&mut self, record: Record) {
        debug_assert_eq!(record.before.is_some(), matches!(record.operation, Operation::Update | Operation::Delete));
        debug_assert_eq!(record.after.is_some(), record.operation != Operation::Delete);
        self.records.push(record);
    }

    /// Takes the last record back, with its images, which were written last.
    pub fn discard_last(&mut self) {
        let record = self.records.pop().expect("invariant: there is a record to discard");
        let spans = [record.before, record.after];
        let start = spans.iter().flatten().map(|span| span.start).min().expect("invariant: a record has an image");
        self.bytes.truncate(start);
    }

    /// The schema of a record.
    #[must_use]
    pub fn schema(&self, record: &Record) -> &Arc<TableSchema> {
        &self.schemas[record.schema as usize]
    }

    /// All schemas of the batch, by number.
    #[must_use]
    pub fn schemas(&self) -> &[Arc<TableSchema>] {
        &self.schemas
    }

    /// The origin of a record.
    #[must_use]
    pub fn origin(&self, record: &Record) -> &Origin {
        &self.origins[record.origin as usize]
    }

    /// The last origin added.
    #[must_use]
    pub fn last_origin(&self) -> Option<&Origin> {
        self.origins.last()
    }

    /// The sequence of a record.
    #[must_use]
    pub fn sequence(&self, record: &Record) -> Sequence {
        let origin = self.origin(record);
        Sequence { epoch: origin.epoch, transaction: origin.transaction, event: origin.event, row: record.row }
    }

    /// The row before.
    #[must_use]
    pub fn before(&self, record: &Record) -> Option<RowImage<'_>> {
        record.before.map(|span| self.image(record, span))
    }

    /// The row after.
    #[must_use]
    pub fn after(&self, record: &Record) -> Option<RowImage<'_>> {
        record.after.map(|span| self.image(record, span))
    }

    fn image(&self, record: &Record, span: ImageSpan) -> RowImage<'_> {
        RowImage::new(&self.bytes[span.start..span.end], self.schema(record).columns().len())
    }
}

/// Values are not shown: a batch may end up in a log line.
impl std::fmt::Debug for RecordBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordBatch({} records, {} bytes)", self.records.len(), self.bytes.len())
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("invariant: a batch has under 2^32 parts")
}
