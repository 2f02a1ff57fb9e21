//! A row on its own: one image of one record of a shared batch.
//!
//! Rows are compared by their bytes (equal exactly if all fields are). The key is spelled out here once more instead of
//! taken from `tailrace_row::write_key`, so that what the fakes call one key does not rest on what the engine calls one.

use std::{convert::Infallible, sync::Arc};

use tailrace_contract::RowRef;
use tailrace_row::{Field, ImageSpan, Operation, Origin, Record, RecordBatch, RowImage, TableSchema};

/// One row and its schema.
#[derive(Clone)]
pub struct Row {
    batch: Arc<RecordBatch>,
    place: RowRef,
}

impl Row {
    /// A row of these fields, one per column of the schema.
    #[must_use]
    pub fn new(schema: &Arc<TableSchema>, fields: &[Field<'_>]) -> Self {
        let mut batch = RecordBatch::new();
        let schema_number = batch.add_schema(schema);
        let origin = batch.add_origin(no_origin());
        let after = write_fields(&mut batch, fields);
        batch.push(Record {
            operation: Operation::Insert,
            schema: schema_number,
            origin,
            row: 0,
            lane: 0,
            offset: 0,
            before: None,
            after: Some(after),
        });
        Self { batch: Arc::new(batch), place: RowRef::After(0) }
    }

    pub(crate) fn at(batch: &Arc<RecordBatch>, place: RowRef) -> Self {
        Self { batch: Arc::clone(batch), place }
    }

    /// The fields.
    #[must_use]
    pub fn image(&self) -> RowImage<'_> {
        self.place.image(&self.batch)
    }

    /// The columns.
    #[must_use]
    pub fn schema(&self) -> &Arc<TableSchema> {
        self.batch.schema(&self.batch.records()[self.place.record() as usize])
    }

    /// The key's bytes; two rows have one key exactly if these are equal.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        key_of(self.schema(), self.image())
    }

    /// The row with the columns that did not come taken from an older one of the same columns, as far as that has them.
    #[must_use]
    pub fn over(&self, older: Option<&Row>) -> Row {
        let older = older.filter(|_| self.image().is_partial());
        let Some(older) = older.map(Row::image) else { return self.clone() };
        let field = |(place, field)| if field == Field::Unchanged { older.field(place) } else { field };
        let fields: Vec<Field<'_>> = self.image().fields().enumerate().map(field).collect();
        Row::new(self.schema(), &fields)
    }

    /// The field of the column of that name; none if there is no such column.
    #[must_use]
    pub fn field(&self, column: &str) -> Option<Field<'_>> {
        let place = self.schema().columns().iter().position(|known| &*known.name == column)?;
        Some(self.image().field(place))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.schema().columns() == other.schema().columns() && self.image().bytes() == other.image().bytes()
    }
}

impl Eq for Row {}

/// Values are not shown, not even by a fake.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({}, {:?})", self.schema().name(), self.image())
    }
}

/// The key of an image; the whole image if the table has none.
pub(crate) fn key_of(schema: &TableSchema, image: RowImage<'_>) -> Vec<u8> {
    if schema.key().is_empty() {
        return image.bytes().to_vec();
    }
    let mut key = Vec::new();
    for column in schema.key() {
        let field = image.field_bytes(*column);
        key.extend_from_slice(&(field.len() as u64).to_le_bytes());
        key.extend_from_slice(field);
    }
    key
}

/// Appends a copy of the image.
pub(crate) fn copy_image(to: &mut RecordBatch, image: RowImage<'_>) -> ImageSpan {
    copy_in_part(to, image, |_| true)
}

/// Appends a copy of these columns; the others are told as unchanged.
pub(crate) fn copy_in_part(to: &mut RecordBatch, image: RowImage<'_>, is_told: impl Fn(usize) -> bool) -> ImageSpan {
    let written = to.write_image::<Infallible>(image.len(), |writer| {
        for column in 0..image.len() {
            if is_told(column) {
                writer.copy(image.field_bytes(column));
            } else {
                writer.unchanged();
            }
        }
        Ok(())
    });
    match written {
        Ok(span) => span.allow_absence(image.may_be_absent()),
        Err(never) => match never {},
    }
}

pub(crate) fn write_fields(to: &mut RecordBatch, fields: &[Field<'_>]) -> ImageSpan {
    let written = to.write_image::<Infallible>(fields.len(), |writer| {
        for field in fields {
            match field {
                Field::Unchanged => writer.unchanged(),
                Field::Null => writer.null(),
                Field::Value(value) => writer.value(*value),
            }
        }
        Ok(())
    });
    match written {
        Ok(span) => span,
        Err(never) => match never {},
    }
}

/// The origin of what never was in a binlog.
pub(crate) fn no_origin() -> Origin {
    Origin {
        epoch: tailrace_row::Epoch(0),
        transaction: 0,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "".into(),
        file_offset: 0,
        server_id: 0,
        thread: None,
    }
}
