//! One change as it is shown: names and shapes, and values if they were asked for.

use serde::Serialize;
use tailrace_row::{Column, ColumnType, Field, Operation, Record, RecordBatch, RowImage, TableSchema, Value};

use super::literal::literal;

/// How much of a change is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Names, types and lengths.
    Shapes,
    /// Values too.
    Values,
}

/// Where a change was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// In the log.
    Log {
        /// Number of the partition.
        partition: u32,
        /// Its offset there.
        offset: i64,
    },
    /// In the source's log.
    Source {
        /// The file.
        file: String,
        /// Where its rows event begins.
        #[serde(rename = "file_offset")]
        offset: u64,
    },
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `insert`, `update`, `delete` or `read`.
    pub operation: &'static str,
    /// The source's table.
    pub table: String,
    /// When it was committed in the source, in microseconds since 1970; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed_at_micros: Option<i64>,
    /// Its sequence.
    pub sequence: String,
    /// The source's name of its transaction; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// Where it was read.
    #[serde(flatten)]
    pub place: Place,
    /// The key's columns.
    pub key: Vec<ColumnShape>,
    /// Columns that changed: of an insert all, of a delete none.
    pub changed: Vec<ColumnShape>,
    /// The row before, column by column; only if values were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Vec<ColumnValue>>,
    /// The row after, column by column; only if values were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<ColumnValue>>,
}

/// A column, and what its value is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnShape {
    /// Its name.
    pub column: String,
    /// Its type in a word; `null` or `unchanged` where there is no value.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Bytes of a text, a JSON document or a row of bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
}

/// A column and its value as an exact text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnValue {
    /// Its name.
    pub column: String,
    /// Its value.
    pub value: String,
}

impl Change {
    /// Reads a record of the batch.
    #[must_use]
    pub(super) fn read(batch: &RecordBatch, record: &Record, place: Place, shown: Shown) -> Self {
        let schema = batch.schema(record);
        let origin = batch.origin(record);
        let (before, after) = (batch.before(record), batch.after(record));
        let values = |image: Option<RowImage<'_>>| match shown {
            Shown::Values => image.map(|image| column_values(schema, image)),
            Shown::Shapes => None,
        };
        let now = after.or(before);
        let key = schema.key().iter().filter_map(|index| Some(shape(&schema.columns()[*index], now?.field(*index))));
        Self {
            operation: operation_name(record.operation),
            table: schema.name().to_string(),
            committed_at_micros: (origin.committed_at_micros > 0).then_some(origin.committed_at_micros),
            sequence: batch.sequence(record).to_string(),
            transaction: origin.transaction_name.as_deref().map(str::to_owned),
            place,
            key: key.collect(),
            changed: changed(schema, before, after),
            before: values(before),
            after: values(after),
        }
    }
}

fn operation_name(operation: Operation) -> &'static str {
    match operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Read => "read",
    }
}

fn changed(schema: &TableSchema, before: Option<RowImage<'_>>, after: Option<RowImage<'_>>) -> Vec<ColumnShape> {
    let Some(after) = after else { return Vec::new() };
    let has_changed = |index: usize| {
        let is_sent = after.field(index) != Field::Unchanged;
        is_sent && before.is_none_or(|before| before.field_bytes(index) != after.field_bytes(index))
    };
    let columns = schema.columns().iter().enumerate().filter(|(index, _)| has_changed(*index));
    columns.map(|(index, column)| shape(column, after.field(index))).collect()
}

fn column_values(schema: &TableSchema, image: RowImage<'_>) -> Vec<ColumnValue> {
    let columns = schema.columns().iter().zip(image.fields());
    columns
        .map(|(column, field)| ColumnValue {
            column: column.name.to_string(),
            value: literal(&column.column_type, field),
        })
        .collect()
}

fn shape(column: &Column, field: Field<'_>) -> ColumnShape {
    let (kind, bytes) = match field {
        Field::Unchanged => ("unchanged", None),
        Field::Null => ("null", None),
        Field::Value(Value::Text(text) | Value::Json(text)) => (type_name(&column.column_type), Some(text.len())),
        Field::Value(Value::Bytes(bytes) | Value::InvalidText(bytes) | Value::Vector(bytes)) => {
            (type_name(&column.column_type), Some(bytes.len()))
        }
        Field::Value(Value::Geometry { wkb, .. }) => (type_name(&column.column_type), Some(wkb.len())),
        Field::Value(_) => (type_name(&column.column_type), None),
    };
    ColumnShape { column: column.name.to_string(), kind, bytes }
}

fn type_name(column_type: &ColumnType) -> &'static str {
    match column_type {
        ColumnType::Integer { .. } => "integer",
        ColumnType::Decimal { .. } => "decimal",
        ColumnType::Float => "float",
        ColumnType::Double => "double",
        ColumnType::Bit { .. } => "bit",
        ColumnType::Text { .. } => "text",
        ColumnType::Bytes { .. } => "bytes",
        ColumnType::Enum { .. } => "enum",
        ColumnType::Set { .. } => "set",
        ColumnType::Date => "date",
        ColumnType::Time { .. } => "time",
        ColumnType::DateTime { .. } => "datetime",
        ColumnType::Timestamp { .. } => "timestamp",
        ColumnType::Year => "year",
        ColumnType::Json => "json",
        ColumnType::Geometry { .. } => "geometry",
        ColumnType::Vector { .. } => "vector",
        ColumnType::Uuid => "uuid",
        ColumnType::Inet4 => "inet4",
        ColumnType::Inet6 => "inet6",
    }
}
