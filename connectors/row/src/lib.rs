//! The form in which rows travel between connectors.
//!
//! A source appends [`Record`]s to a [`RecordBatch`], a log stores and returns them, a sink writes them. All of them
//! share this crate and nothing else about each other. The one thing to know: a row image is bytes in the batch's single
//! buffer, one tagged field per column, so that reading or copying a row allocates nothing.
//!
//! It deliberately knows no vendor and no I/O; of text formats only that of addresses, of binary ones only EWKB, which several
//! connectors share.

mod address_text;
mod batch;
mod charset;
mod ewkb;
mod image;
mod key;
mod key_document;
mod partitioner;
mod schema;
mod sequence;
mod value;

pub use address_text::{parse_inet4, parse_inet6, parse_uuid, write_inet4, write_inet6, write_uuid};
pub use batch::{Operation, Origin, Record, RecordBatch, RecordId};
pub use charset::Charset;
pub use ewkb::{read_ewkb, write_ewkb};
pub use image::{Field, ImageSpan, ImageWriter, RowImage};
pub use key::{Key, has_changed_key, write_key};
pub use partitioner::murmur2_partition;
pub use schema::{Column, ColumnType, GeometryKind, SchemaError, SchemaId, TableName, TableSchema, TextForm};
pub use sequence::{Epoch, Sequence, SequenceParseError};
pub use value::{Date, DateTime, Decimal, Time, Timestamp, Value};
