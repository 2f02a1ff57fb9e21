//! Records on their way: one growing byte buffer, one small entry per record.
//!
//! The caller owns a batch and reuses it, so that a stream of any length costs a bounded number of allocations. What many
//! records share (schema, transaction, rows event) lies beside them once.

use std::sync::Arc;

use crate::{
    image::{ImageSpan, ImageWriter, RowImage},
    key::has_changed_key,
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

/// Records, their images, and what they share.
#[derive(Clone, Default)]
pub struct RecordBatch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    schemas: Vec<Arc<TableSchema>>,
    origins: Vec<Origin>,
    /// Merged images and the records that they lie behind, in the records' order; their bytes lie behind all others.
    merged: Vec<(RecordId, ImageSpan)>,
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
        self.merged.clear();
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
        Ok(writer.end())
    }

    /// Appends a record whose images were written before.
    pub fn push(&mut self, record: Record) {
        debug_assert!(self.merged.is_empty(), "a batch is full when its images are merged");
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

    /// Takes the records from that one on into a batch of their own, and forgets all schemas but so many: those of the records that
    /// stay.
    #[must_use]
    pub fn split_off(&mut self, first: usize, schemas: usize) -> RecordBatch {
        debug_assert!(self.merged.is_empty(), "merged images are named by their records' places");
        let mut records = self.records.split_off(first);
        debug_assert!(self.records.iter().all(|record| (record.schema as usize) < schemas));
        let spans = records.iter().flat_map(|record| [record.before, record.after]).flatten();
        let cut = spans.map(|span| span.start).min().unwrap_or(self.bytes.len());
        let origins_kept = self.records.last().map_or(0, |record| record.origin as usize + 1);
        let origins_cut = records.iter().map(|record| record.origin).min().unwrap_or(number(self.origins.len()));
        for record in &mut records {
            record.origin -= origins_cut;
            for span in [&mut record.before, &mut record.after].into_iter().flatten() {
                (span.start, span.end) = (span.start - cut, span.end - cut);
            }
        }
        let tail = RecordBatch {
            bytes: self.bytes.split_off(cut),
            records,
            schemas: self.schemas.clone(),
            origins: self.origins[origins_cut as usize..].to_vec(),
            merged: Vec::new(),
        };
        self.schemas.truncate(schemas);
        self.origins.truncate(origins_kept);
        tail
    }

    /// Keeps the records whose row after is to be kept; all of them have one. The memory of the others stays in use.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&TableSchema, RowImage<'_>) -> bool) {
        debug_assert!(self.merged.is_empty(), "merged images are named by their records' places");
        let mut records = std::mem::take(&mut self.records);
        records.retain(|record| {
            let after = self.after(record).expect("invariant: each record has a row after");
            is_kept(self.schema(record), after)
        });
        self.records = records;
    }

    /// Gives all records the same origin.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origins.clear();
        self.origins.push(origin);
        self.records.iter_mut().for_each(|record| record.origin = 0);
    }

    /// Notes of the updates from that record on that lack columns whether their rows may not be there yet: where the table is such a one.
    /// Of a record that takes its row to another key nothing is noted: what stands there afterwards can't be made of it.
    pub fn allow_absence(&mut self, first: usize, is_such: impl Fn(&TableSchema) -> bool) {
        let is_partial = |record: &Record| record.after.is_some_and(ImageSpan::is_partial);
        if !self.records[first..].iter().any(is_partial) {
            return;
        }
        let such: Vec<bool> = self.schemas.iter().map(|schema| is_such(schema)).collect();
        let mut records = std::mem::take(&mut self.records);
        for record in records[first..].iter_mut().filter(|record| is_partial(record)) {
            let (Some(before), Some(after)) = (self.before(record), self.after(record)) else { continue };
            let stays = !has_changed_key(self.schema(record), before, after);
            record.after = record.after.map(|span| span.allow_absence(stays && such[record.schema as usize]));
        }
        self.records = records;
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

    /// The row after, with what an earlier record told of it, if the two were merged by [`RecordBatch::merge`].
    #[must_use]
    pub fn merged_after(&self, id: RecordId) -> Option<RowImage<'_>> {
        let record = &self.records[id as usize];
        self.merged_span(id).or(record.after).map(|span| self.image(record, span))
    }

    /// Merges the row after `newer`, which lacks columns, with the row after `older`, an earlier record of the same key: what
    /// `newer` lacks comes from there, by the columns' names. What both lack stays unchanged. False, and nothing is merged, if
    /// a column that `newer` lacks has another type in the schema of `older`. Records are merged in their order.
    #[must_use]
    pub fn merge(&mut self, older: RecordId, newer: RecordId) -> bool {
        debug_assert!(older < newer && self.merged.last().is_none_or(|(last, _)| *last < newer));
        let (older_record, newer_record) = (self.records[older as usize], self.records[newer as usize]);
        let older_span = self.merged_span(older).or(older_record.after).expect("invariant: a row after");
        let newer_span = newer_record.after.expect("invariant: a row after");
        let schemas = (Arc::clone(self.schema(&older_record)), Arc::clone(self.schema(&newer_record)));
        let (columns, is_same_schema) = (schemas.1.columns(), schemas.0.id() == schemas.1.id());
        let mut written = Vec::with_capacity(newer_span.end - newer_span.start + older_span.end - older_span.start);
        let mut writer = ImageWriter::begin(&mut written, columns.len());
        let (older_image, newer_image) = (self.image(&older_record, older_span), self.image(&newer_record, newer_span));
        for (place, column) in columns.iter().enumerate() {
            let older_place = || match is_same_schema {
                true => Some(place),
                false => schemas.0.columns().iter().position(|known| known.name == column.name),
            };
            match newer_image.is_unchanged(place).then(older_place) {
                None => writer.copy(newer_image.field_bytes(place)),
                Some(None) => writer.unchanged(),
                Some(Some(known)) if schemas.0.columns()[known].column_type != column.column_type => return false,
                Some(Some(known)) => writer.copy(older_image.field_bytes(known)),
            }
        }
        let merged = writer.end();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&written);
        // Where one of the two says that the row is there, it is.
        let merged = merged.allow_absence(older_span.may_be_absent && newer_span.may_be_absent);
        self.merged.push((newer, ImageSpan { start, end: start + merged.end, ..merged }));
        true
    }

    /// Forgets what was merged.
    pub fn clear_merged(&mut self) {
        if let Some((_, first)) = self.merged.first() {
            self.bytes.truncate(first.start);
            self.merged.clear();
        }
    }

    fn merged_span(&self, id: RecordId) -> Option<ImageSpan> {
        if self.merged.is_empty() {
            return None;
        }
        let place = self.merged.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        Some(self.merged[place].1)
    }

    fn image(&self, record: &Record, span: ImageSpan) -> RowImage<'_> {
        let columns = self.schema(record).columns().len();
        let image = RowImage::new(&self.bytes[span.start..span.end], columns, span.is_partial);
        image.allow_absence(span.may_be_absent)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        image::Field,
        schema::{Column, ColumnType, TableName},
        value::Value,
    };

    fn schema(columns: &[(&str, u8)]) -> Arc<TableSchema> {
        let column = |(name, bits): &(&str, u8)| Column {
            name: (*name).into(),
            column_type: ColumnType::Integer { bits: *bits, unsigned: false },
            nullable: true,
        };
        let columns: Vec<Column> = columns.iter().map(column).collect();
        Arc::new(TableSchema::new(TableName::new("shop", "orders"), columns, [0]).unwrap())
    }

    fn add(batch: &mut RecordBatch, schema: &Arc<TableSchema>, fields: &[Field<'_>]) {
        let schema = batch.add_schema(schema);
        let image = batch.write_image::<()>(fields.len(), |writer| {
            fields.iter().for_each(|field| match field {
                Field::Unchanged => writer.unchanged(),
                Field::Null => writer.null(),
                Field::Value(value) => writer.value(*value),
            });
            Ok(())
        });
        let (before, after) = (None, Some(image.unwrap()));
        batch.push(Record { operation: Operation::Read, schema, origin: 0, row: 0, lane: 0, offset: 0, before, after });
    }

    fn merged(batch: &RecordBatch, id: RecordId) -> Vec<Field<'_>> {
        batch.merged_after(id).unwrap().fields().collect()
    }

    #[test]
    fn images_are_merged_one_after_another() {
        let (shape, number) = (schema(&[("id", 64), ("a", 64), ("b", 64)]), |n| Field::Value(Value::Integer(n)));
        let mut batch = RecordBatch::new();
        add(&mut batch, &shape, &[number(1), Field::Unchanged, number(2)]);
        add(&mut batch, &shape, &[number(1), Field::Null, Field::Unchanged]);
        add(&mut batch, &shape, &[number(1), Field::Unchanged, number(3)]);
        let bytes = batch.byte_len();
        for _ in 0..2 {
            batch.clear_merged();
            assert_eq!(batch.byte_len(), bytes);
            assert_eq!(merged(&batch, 1), [number(1), Field::Null, Field::Unchanged]);
            assert!(batch.merge(0, 1) && batch.merge(1, 2));
            assert_eq!(merged(&batch, 0), [number(1), Field::Unchanged, number(2)]);
            assert_eq!(merged(&batch, 1), [number(1), Field::Null, number(2)]);
            assert_eq!(merged(&batch, 2), [number(1), Field::Null, number(3)]);
            assert!(!batch.merged_after(2).unwrap().is_partial() && batch.merged_after(0).unwrap().is_partial());
        }
    }

    #[test]
    fn a_row_may_be_absent_only_while_no_record_of_it_says_otherwise() {
        let (shape, number) = (schema(&[("id", 64), ("a", 64), ("b", 64)]), |n| Field::Value(Value::Integer(n)));
        let fields = [number(1), Field::Unchanged, Field::Unchanged];
        for (older, newer) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut batch = RecordBatch::new();
            for may_be_absent in [older, newer] {
                add(&mut batch, &shape, &fields);
                let last = batch.records.last_mut().unwrap();
                last.after = last.after.map(|span| span.allow_absence(may_be_absent));
            }
            assert!(batch.merge(0, 1));
            assert_eq!(batch.merged_after(1).unwrap().may_be_absent(), older && newer);
        }
        let mut batch = RecordBatch::new();
        let (whole, other) = ([number(1), number(2), number(3)], [number(2), Field::Unchanged, Field::Unchanged]);
        for after in [&fields, &fields, &other, &whole] {
            add(&mut batch, &shape, &fields);
            add(&mut batch, &shape, after);
            let (after, before) = (batch.records.pop().unwrap(), batch.records.pop().unwrap());
            batch.push(Record { operation: Operation::Update, before: before.after, ..after });
        }
        batch.allow_absence(1, |_| false);
        assert!((0..4).all(|id| !batch.merged_after(id).unwrap().may_be_absent()));
        batch.allow_absence(1, |schema| &*schema.name().table == "orders");
        let may_be_absent: Vec<bool> = (0..4).map(|id| batch.merged_after(id).unwrap().may_be_absent()).collect();
        assert_eq!(may_be_absent, [false, true, false, false], "not before, not of another key, not of a whole row");
    }

    #[test]
    fn images_of_two_schemas_are_merged_by_the_columns_names() {
        let number = |n| Field::Value(Value::Integer(n));
        let mut batch = RecordBatch::new();
        add(&mut batch, &schema(&[("id", 64), ("gone", 64), ("a", 64)]), &[number(1), number(2), number(3)]);
        add(
            &mut batch,
            &schema(&[("id", 64), ("a", 64), ("new", 64)]),
            &[number(1), Field::Unchanged, Field::Unchanged],
        );
        add(&mut batch, &schema(&[("id", 64), ("a", 32)]), &[number(1), Field::Unchanged]);
        assert!(batch.merge(0, 1));
        assert_eq!(merged(&batch, 1), [number(1), number(3), Field::Unchanged]);
        assert!(!batch.merge(1, 2), "a has another type");
        assert_eq!(merged(&batch, 2), [number(1), Field::Unchanged]);
    }
}
