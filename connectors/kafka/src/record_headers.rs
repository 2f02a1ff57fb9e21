//! Our headers of a record that was read.
//!
//! The one thing to know: the client's own accessor panics on a header name that is not UTF-8, and names come from outside
//! the process. Such a panic is caught here and becomes a named error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::{Message, message::Headers};
use tailrace_row::{SchemaId, Sequence};

use crate::debezium::header;

/// What our headers say.
pub(crate) struct RecordHeaders<'a> {
    pub(crate) sequence: Sequence,
    pub(crate) schema: SchemaId,
    /// The value of `tailrace.exact`.
    pub(crate) truths: Option<&'a [u8]>,
    /// The barrier before the record, if it is the first of its partition behind it.
    pub(crate) barrier: Option<u64>,
    /// Whether the row that it updates may not be there yet.
    pub(crate) is_uncopied: bool,
}

const FOREIGN: &str = "the record has no headers of Tailrace: something else wrote it (if that is Debezium, say so with \
                       [log.debezium])";

/// Whether a record is one of ours.
pub(crate) fn has_our_headers(message: &impl Message) -> Result<bool, &'static str> {
    match message.headers() {
        None => Ok(false),
        Some(_) => match read_headers(message) {
            Ok(_) => Ok(true),
            Err(FOREIGN) => Ok(false),
            Err(what) => Err(what),
        },
    }
}

/// Reads the headers of a record with a value; an error says what is wrong, without any content.
pub(crate) fn read_headers(message: &impl Message) -> Result<RecordHeaders<'_>, &'static str> {
    let headers = message.headers().ok_or(FOREIGN)?;
    let (mut sequence, mut schema, mut truths, mut barrier, mut is_uncopied) = (None, None, None, None, false);
    for index in 0..headers.count() {
        let found = catch_unwind(AssertUnwindSafe(|| headers.try_get(index)));
        let found = found.map_err(|_| "the record has a header whose name is not UTF-8")?;
        let Some(found) = found else { break };
        match found.key {
            header::SEQUENCE => {
                sequence = Some(parse(found.value).ok_or("the header tailrace.sequence can't be read")?)
            }
            header::SCHEMA => schema = Some(parse(found.value).ok_or("the header tailrace.schema can't be read")?),
            header::EXACT => truths = Some(found.value.unwrap_or_default()),
            header::BARRIER => {
                barrier = Some(parse(found.value).ok_or("the header tailrace.barrier can't be read")?);
            }
            header::UNCOPIED => {
                is_uncopied = parse(found.value).ok_or("the header tailrace.uncopied can't be read")?;
            }
            // Debezium's own headers, and what others may add.
            _ => {}
        }
    }
    match (sequence, schema) {
        (Some(sequence), Some(schema)) => Ok(RecordHeaders { sequence, schema, truths, barrier, is_uncopied }),
        (None, None) => Err(FOREIGN),
        (Some(_), None) => Err("the record lacks the header tailrace.schema"),
        (None, Some(_)) => Err("the record lacks the header tailrace.sequence"),
    }
}

fn parse<T: std::str::FromStr>(value: Option<&[u8]>) -> Option<T> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}
