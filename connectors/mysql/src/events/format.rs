//! The format description that begins every binlog file.

use super::{CHECKSUM_BYTES, HEADER_BYTES, kind};
use crate::protocol::{Cursor, Malformed};

/// How the events behind it look.
#[derive(Clone, Debug)]
pub(crate) struct Format {
    /// Whether every event ends with a checksum.
    pub(crate) has_checksums: bool,
}

impl Format {
    /// Reads the whole event: header, body and its own checksum.
    pub(crate) fn parse(event: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(event);
        cursor.take(HEADER_BYTES)?;
        if cursor.u16()? != 4 {
            return Err(Malformed::new("format description: it is not of version 4"));
        }
        // The version of the server that wrote the file.
        cursor.take(50)?;
        cursor.u32()?;
        if usize::from(cursor.u8()?) != HEADER_BYTES {
            return Err(Malformed::new("format description: event headers are not of 19 bytes"));
        }
        let lengths_bytes = cursor.len().checked_sub(1 + CHECKSUM_BYTES);
        let lengths = cursor.take(lengths_bytes.ok_or(Malformed::new("format description: it has no checksum"))?)?;
        for (kind, expected) in [
            (kind::TABLE_MAP, 8),
            (kind::WRITE_ROWS_V1, 8),
            (kind::UPDATE_ROWS_V1, 8),
            (kind::DELETE_ROWS_V1, 8),
            (kind::WRITE_ROWS, 10),
            (kind::UPDATE_ROWS, 10),
            (kind::DELETE_ROWS, 10),
            (kind::DOMAIN_GTID, 19),
            (kind::WRITE_ROWS_COMPRESSED_V1, 8),
            (kind::UPDATE_ROWS_COMPRESSED_V1, 8),
            (kind::DELETE_ROWS_COMPRESSED_V1, 8),
            (kind::WRITE_ROWS_COMPRESSED, 10),
            (kind::UPDATE_ROWS_COMPRESSED, 10),
            (kind::DELETE_ROWS_COMPRESSED, 10),
        ] {
            // Servers say 0 for events that they do not write.
            if lengths.get(usize::from(kind) - 1).is_some_and(|length| *length != expected && *length != 0) {
                return Err(Malformed::new("format description: its events have unknown fields"));
            }
        }
        let has_checksums = match cursor.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Malformed::new("format description: unknown kind of checksum")),
        };
        Ok(Self { has_checksums })
    }
}
