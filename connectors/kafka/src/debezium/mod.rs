//! The JSON in which records lie in the topics: Debezium's, so that its consumers work unchanged, and exact, so that ours
//! loses nothing.
//!
//! `form` says how each column looks, `encode` writes records, `decode` reads our own back; `truth` is the header for what
//! Debezium's fields can't hold. Where Debezium only gets a value wrong, the field holds the true value. What differs from
//! Debezium is named in the documents of the product and in `truth`; the rest is compared with recordings of the real
//! Debezium byte for byte. `theirs` reads records that Debezium itself wrote.

mod base64_text;
mod compound;
mod decode;
mod encode;
mod field;
mod form;
#[cfg(test)]
mod golden;
mod inline_schema;
mod java_float;
mod json_text;
#[cfg(test)]
mod mutation;
mod read_field;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod sample;
mod source_block;
mod theirs;
mod time_text;
mod truth;

pub(crate) use decode::{RawRecord, Scratch, decode, decode_theirs};
pub(crate) use encode::{Encoded, Encoder, RecordForm, RecordSink, RecordStyle};
pub(crate) use form::TableForm;
pub(crate) use theirs::TheirTable;

/// Our headers.
pub(crate) mod header {
    /// The record's sequence in the source, as text.
    pub(crate) const SEQUENCE: &str = "tailrace.sequence";
    /// The name of the schema that the record was written with.
    pub(crate) const SCHEMA: &str = "tailrace.schema";
    /// True values beside Debezium's substitutes.
    pub(crate) const EXACT: &str = "tailrace.exact";
    /// The number of the last barrier before the record, where it is the first of its partition behind it.
    pub(crate) const BARRIER: &str = "tailrace.barrier";
    /// `true` on an update that lacks columns, of a row that may not be copied yet: it comes in a later record, with this change.
    pub(crate) const UNCOPIED: &str = "tailrace.uncopied";
}
