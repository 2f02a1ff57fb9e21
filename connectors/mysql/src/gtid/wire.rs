//! GTID sets as they travel: in the request for the binlog and in PREVIOUS_GTIDS events.
//!
//! The older form has a count and, for each server, its intervals. With tags the count moves up by a byte, the byte 1 stands
//! on both sides of it, and each entry has a tag. Numbers of the tag form are of the server's serialization library: as
//! many low one bits as bytes follow the first, a zero bit, then the value.

use uuid::Uuid;

use super::{GtidSet, NUMBER_MAX, Origin, Tag};
use crate::protocol::{Cursor, Malformed};

const WITH_TAGS: u64 = 1;
const BAD_SET: Malformed = Malformed::new("GTID set");

impl GtidSet {
    /// The form that a request takes, with tags only if there are any: older servers know no other.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let has_tags = self.origins.keys().any(|origin| !origin.tag.is_empty());
        let count = self.origins.len() as u64;
        let head = if has_tags { WITH_TAGS << 56 | count << 8 | WITH_TAGS } else { count };
        let mut bytes = head.to_le_bytes().to_vec();
        for (origin, intervals) in &self.origins {
            bytes.extend_from_slice(origin.uuid.as_bytes());
            if has_tags {
                let tag = origin.tag.as_str();
                bytes.push(u8::try_from(tag.len() << 1).expect("invariant: tags are under 64 bytes"));
                bytes.extend_from_slice(tag.as_bytes());
            }
            bytes.extend_from_slice(&(intervals.0.len() as u64).to_le_bytes());
            for (start, end) in &intervals.0 {
                bytes.extend_from_slice(&start.to_le_bytes());
                bytes.extend_from_slice(&end.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads either form.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(bytes);
        let head = cursor.u64()?;
        let has_tags = match head >> 56 {
            0 => false,
            WITH_TAGS => true,
            _ => return Err(BAD_SET),
        };
        let count = if has_tags { head >> 8 & 0xffff_ffff_ffff } else { head };
        let mut set = Self::new();
        for _ in 0..count {
            let uuid = Uuid::from_bytes(cursor.array()?);
            let tag = if has_tags { read_tag(&mut cursor)? } else { Tag::default() };
            for _ in 0..cursor.u64()? {
                let (start, end) = (cursor.u64()?, cursor.u64()?);
                if !(1 <= start && start < end && end <= NUMBER_MAX + 1) {
                    return Err(BAD_SET);
                }
                set.add_interval(Origin { uuid, tag }, start, end);
            }
        }
        if cursor.is_empty() { Ok(set) } else { Err(BAD_SET) }
    }
}

/// A tag behind its length.
pub(crate) fn read_tag(cursor: &mut Cursor<'_>) -> Result<Tag, Malformed> {
    let length = usize::try_from(read_serialized_number(cursor)?).map_err(|_| BAD_SET)?;
    let text = std::str::from_utf8(cursor.take(length)?).map_err(|_| BAD_SET)?;
    Tag::new(text).ok_or(BAD_SET)
}

/// A number of the serialization library.
pub(crate) fn read_serialized_number(cursor: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let first = *cursor.rest().first().ok_or(BAD_SET)?;
    match first.trailing_ones() {
        8 => {
            cursor.u8()?;
            cursor.u64()
        }
        more => Ok(cursor.little_endian(more as usize + 1)? >> (more + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serialized_numbers() {
        for (bytes, expect) in [
            (&[0][..], 0),
            (&[0b1111_1110], 127),
            (&[0b0000_0001, 2], 128),
            (&[0b0111_1111, 0, 0, 0, 0, 0, 0, 1], 1 << 48),
            (&[0xff, 1, 2, 3, 4, 5, 6, 7, 8], 0x0807_0605_0403_0201),
        ] {
            assert_eq!(read_serialized_number(&mut Cursor::new(bytes)), Ok(expect), "{bytes:?}");
        }
        assert!(read_serialized_number(&mut Cursor::new(&[0xff, 1])).is_err());
        assert!(read_serialized_number(&mut Cursor::new(&[])).is_err());
    }

    #[test]
    fn a_count_that_the_bytes_can_not_hold_ends_early() {
        let bytes = [&0x00ff_ffff_ffff_ffffu64.to_le_bytes()[..], &[7; 16], &u64::MAX.to_le_bytes()].concat();
        assert!(GtidSet::decode(&bytes).is_err());
    }
}
