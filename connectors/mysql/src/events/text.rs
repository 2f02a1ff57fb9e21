//! The small events: rotation, heartbeats, the end of an XA transaction's first phase.

use super::Xid;
use crate::{
    position::OFFSET_MAX,
    protocol::{Cursor, Malformed},
};

/// The next events come from another file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rotate<'a> {
    pub(crate) file: &'a str,
    pub(crate) offset: u64,
}

impl<'a> Rotate<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let offset = possible(cursor.u64()?)?;
        Ok(Self { file: file_name(cursor.rest())?, offset })
    }
}

/// The server is alive and has read up to here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heartbeat<'a> {
    pub(crate) file: &'a str,
    /// The whole offset; the older form of the event has its low half in the header.
    pub(crate) offset: Option<u64>,
}

impl<'a> Heartbeat<'a> {
    pub(crate) fn parse_v1(body: &'a [u8]) -> Result<Self, Malformed> {
        Ok(Self { file: file_name(body)?, offset: None })
    }

    /// MariaDB's, where the header has no room for the offset.
    pub(crate) fn parse_far(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let offset = Some(possible(cursor.u64()?)?);
        Ok(Self { file: file_name(cursor.rest())?, offset })
    }

    pub(crate) fn parse_v2(body: &'a [u8]) -> Result<Self, Malformed> {
        const END: u64 = 0;
        const FILE: u64 = 1;
        const OFFSET: u64 = 2;
        let mut cursor = Cursor::new(body);
        let mut heartbeat = Self { file: "", offset: None };
        while !cursor.is_empty() {
            let field = cursor.packed()?;
            if field == END {
                break;
            }
            let mut value = Cursor::new(cursor.packed_bytes()?);
            match field {
                FILE => heartbeat.file = file_name(value.rest())?,
                OFFSET => heartbeat.offset = Some(possible(value.packed()?)?),
                _ => {}
            }
        }
        Ok(heartbeat)
    }
}

/// No file is larger: what is reckoned from an offset never overflows.
fn possible(offset: u64) -> Result<u64, Malformed> {
    if offset <= OFFSET_MAX { Ok(offset) } else { Err(Malformed::new("offset in a file of the binlog")) }
}

/// The end of an XA transaction's first phase.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct XaPrepare {
    pub(crate) xid: Xid,
    /// It was committed at once, without a second phase.
    pub(crate) is_one_phase: bool,
}

impl XaPrepare {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let is_one_phase = cursor.u8()? != 0;
        Ok(Self { xid: Xid::parse_event(&mut cursor)?, is_one_phase })
    }
}

fn file_name(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed::new("name of a binlog file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_that_no_file_has_are_malformed() {
        let event = |offset: u64| [&offset.to_le_bytes()[..], b"binlog.000001"].concat();
        assert_eq!(Rotate::parse(&event(OFFSET_MAX)).unwrap().offset, OFFSET_MAX);
        assert_eq!(Heartbeat::parse_far(&event(5 << 32)).unwrap().offset, Some(5 << 32));
        for offset in [OFFSET_MAX + 1, u64::MAX] {
            assert!(Rotate::parse(&event(offset)).is_err());
            assert!(Heartbeat::parse_far(&event(offset)).is_err());
        }
        let version_2 = b"\x02\x09\xfe\xff\xff\xff\xff\xff\xff\xff\x7f";
        assert!(Heartbeat::parse_v2(version_2).is_err());
    }
}
