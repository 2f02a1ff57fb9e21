//! Binlog events as bytes: the header that all share, the checksum, and a parser for each kind that we read.
//!
//! Parsers take the body of one event and give borrowed views; they know nothing of transactions or of what is captured.
//! Each checks every length and never panics, whatever the bytes are.

mod compressed;
mod domain_gtid;
mod format;
mod gtid;
mod payload;
mod query;
mod rows;
mod table_map;
mod text;
mod type_code;
mod unpacker;
mod xid;

pub(crate) use compressed::{unpack_event, unpack_value};
pub(crate) use domain_gtid::{DomainGtidEvent, XaPhase};
pub(crate) use format::Format;
pub(crate) use gtid::GtidEvent;
pub(crate) use payload::Payload;
pub(crate) use query::{QueryEvent, parse_load_query};
pub(crate) use rows::{RowsBody, RowsHeader, RowsKind, SentColumns};
pub(crate) use table_map::{ColumnShape, Disguised, TableMap, TableShape};
pub(crate) use text::{Heartbeat, Rotate, XaPrepare};
pub(crate) use type_code::TypeCode;
pub(crate) use unpacker::Unpacker;
pub(crate) use xid::{Hex, Xid, from_hex};

use crate::protocol::{Cursor, Malformed};

/// Type codes of events.
pub(crate) mod kind {
    pub(crate) const QUERY: u8 = 2;
    pub(crate) const STOP: u8 = 3;
    pub(crate) const ROTATE: u8 = 4;
    pub(crate) const INTVAR: u8 = 5;
    pub(crate) const APPEND_BLOCK: u8 = 9;
    pub(crate) const DELETE_FILE: u8 = 11;
    pub(crate) const RAND: u8 = 13;
    pub(crate) const USER_VAR: u8 = 14;
    pub(crate) const FORMAT_DESCRIPTION: u8 = 15;
    pub(crate) const XID: u8 = 16;
    pub(crate) const BEGIN_LOAD_QUERY: u8 = 17;
    pub(crate) const EXECUTE_LOAD_QUERY: u8 = 18;
    pub(crate) const TABLE_MAP: u8 = 19;
    pub(crate) const WRITE_ROWS_V1: u8 = 23;
    pub(crate) const UPDATE_ROWS_V1: u8 = 24;
    pub(crate) const DELETE_ROWS_V1: u8 = 25;
    pub(crate) const INCIDENT: u8 = 26;
    pub(crate) const HEARTBEAT: u8 = 27;
    pub(crate) const ROWS_QUERY: u8 = 29;
    pub(crate) const WRITE_ROWS: u8 = 30;
    pub(crate) const UPDATE_ROWS: u8 = 31;
    pub(crate) const DELETE_ROWS: u8 = 32;
    pub(crate) const GTID: u8 = 33;
    pub(crate) const ANONYMOUS_GTID: u8 = 34;
    pub(crate) const PREVIOUS_GTIDS: u8 = 35;
    pub(crate) const TRANSACTION_CONTEXT: u8 = 36;
    pub(crate) const VIEW_CHANGE: u8 = 37;
    pub(crate) const XA_PREPARE: u8 = 38;
    pub(crate) const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub(crate) const TRANSACTION_PAYLOAD: u8 = 40;
    pub(crate) const HEARTBEAT_V2: u8 = 41;
    pub(crate) const GTID_TAGGED: u8 = 42;
    // From here on MariaDB's own; it writes none from GTID to GTID_TAGGED but XA_PREPARE.
    pub(crate) const ANNOTATE_ROWS: u8 = 160;
    pub(crate) const BINLOG_CHECKPOINT: u8 = 161;
    pub(crate) const DOMAIN_GTID: u8 = 162;
    pub(crate) const GTID_LIST: u8 = 163;
    pub(crate) const START_ENCRYPTION: u8 = 164;
    pub(crate) const QUERY_COMPRESSED: u8 = 165;
    pub(crate) const WRITE_ROWS_COMPRESSED_V1: u8 = 166;
    pub(crate) const UPDATE_ROWS_COMPRESSED_V1: u8 = 167;
    pub(crate) const DELETE_ROWS_COMPRESSED_V1: u8 = 168;
    pub(crate) const WRITE_ROWS_COMPRESSED: u8 = 169;
    pub(crate) const UPDATE_ROWS_COMPRESSED: u8 = 170;
    pub(crate) const DELETE_ROWS_COMPRESSED: u8 = 171;
}

pub(crate) const HEADER_BYTES: usize = 19;
pub(crate) const CHECKSUM_BYTES: usize = 4;

/// The event was made up by the server for this stream and is in no file.
pub(crate) const FLAG_ARTIFICIAL: u16 = 0x20;
/// Who does not know the event's type may skip it.
pub(crate) const FLAG_IGNORABLE: u16 = 0x80;

/// What begins every event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Seconds since 1970.
    pub(crate) timestamp: u32,
    pub(crate) kind: u8,
    pub(crate) server_id: u32,
    /// Header, body and checksum.
    pub(crate) size: u32,
    /// Where the next event begins, modulo 2^32; 0 if the event is in no file.
    pub(crate) end: u32,
    pub(crate) flags: u16,
}

impl Header {
    #[inline]
    pub(crate) fn parse(event: &[u8]) -> Result<Self, Malformed> {
        let header = Self::parse_before(event)?;
        if header.size as usize != event.len() {
            return Err(Malformed::new("event: its length is not that of its packet"));
        }
        Ok(header)
    }

    /// The header of an event whose end is elsewhere.
    #[inline]
    pub(crate) fn parse_before(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        Ok(Self {
            timestamp: cursor.u32()?,
            kind: cursor.u8()?,
            server_id: cursor.u32()?,
            size: cursor.u32()?,
            end: cursor.u32()?,
            flags: cursor.u16()?,
        })
    }

    /// The header of an event with such a body and without checksum, which is in no file.
    pub(crate) fn write(&self, body_bytes: usize, out: &mut Vec<u8>) {
        let size = u32::try_from(HEADER_BYTES + body_bytes).expect("invariant: the body of an event");
        out.extend_from_slice(&self.timestamp.to_le_bytes());
        out.push(self.kind);
        out.extend_from_slice(&self.server_id.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.flags.to_le_bytes());
    }
}

/// Whether the last four bytes are the checksum of the others.
#[inline]
pub(crate) fn has_valid_checksum(event: &[u8]) -> bool {
    match event.split_last_chunk::<CHECKSUM_BYTES>() {
        Some((content, checksum)) => crc32fast::hash(content) == u32::from_le_bytes(*checksum),
        None => false,
    }
}
