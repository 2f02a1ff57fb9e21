//! What MariaDB compresses: statements, the rows of an event (`log_bin_compress`), and values of COMPRESSED columns.
//!
//! Each has a head of its own with the length that it unpacks to. That length bounds the memory, and is itself bounded by what
//! a server may put into one event; room is taken only as bytes come out.

use std::io::Read as _;

use flate2::read::{DeflateDecoder, ZlibDecoder};

use crate::{
    hostile::{Defect, is_planted},
    protocol::{Cursor, Malformed},
};

const BAD: Malformed = Malformed::new("compressed data");

/// The largest event of a server: `max_allowed_packet` ends there.
const UNPACKED_MAX: u64 = 1 << 30;

/// Unpacks the statement or the rows of an event, replacing what `out` holds.
pub(crate) fn unpack_event(packed: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    const MARK: u8 = 0x80;
    let mut cursor = Cursor::new(packed);
    let head = cursor.u8()?;
    // The mark, the method in three bits (0 is zlib), and how many bytes the length has.
    let length_bytes = match head {
        0x81..=0x84 => usize::from(head & !MARK),
        _ => return Err(Malformed::new("compressed data: of an unknown method")),
    };
    let length = cursor.big_endian(length_bytes)?;
    unpack(ZlibDecoder::new(cursor.rest()), length, out)
}

/// Unpacks a value of a COMPRESSED column that is not stored plainly.
pub(crate) fn unpack_value(method: u8, packed: &[u8]) -> Result<Vec<u8>, Malformed> {
    const ZLIB: u8 = 0x80;
    /// The stream has neither head nor checksum of its own.
    const IS_BARE: u8 = 8;
    let length_bytes = usize::from(method & 7);
    if method & 0xf0 != ZLIB || !(1..=4).contains(&length_bytes) {
        return Err(Malformed::new("compressed value: of an unknown method"));
    }
    let mut cursor = Cursor::new(packed);
    let length = cursor.big_endian(length_bytes)?;
    let mut out = Vec::new();
    if method & IS_BARE == 0 {
        unpack(ZlibDecoder::new(cursor.rest()), length, &mut out)?;
    } else {
        unpack(DeflateDecoder::new(cursor.rest()), length, &mut out)?;
    }
    Ok(out)
}

fn unpack(from: impl std::io::Read, length: u64, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if length > UNPACKED_MAX {
        return Err(Malformed::new("compressed data: it unpacks to more than an event may have"));
    }
    out.clear();
    let bytes_max = if is_planted(Defect::RatioWithoutLimit) { u64::MAX } else { length + 1 };
    from.take(bytes_max).read_to_end(out).map_err(|_| BAD)?;
    if out.len() as u64 == length { Ok(()) } else { Err(BAD) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};

    use super::*;

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn events_are_unpacked_to_the_length_that_they_declare() {
        let content = b"INSERT INTO t VALUES (1)".repeat(20);
        let packed = [&[0x82, 0x01, 0xe0][..], &zlib(&content)].concat();
        let mut out = b"old".to_vec();
        unpack_event(&packed, &mut out).unwrap();
        assert_eq!(out, content);
        for cut in 0..packed.len() - 4 {
            assert!(unpack_event(&packed[..cut], &mut out).is_err(), "{cut} bytes");
        }
        for wrong in [[0x82, 0x01, 0xdf], [0x82, 0x01, 0xe1], [0x92, 0x01, 0xe0], [0x02, 0x01, 0xe0]] {
            assert!(unpack_event(&[&wrong[..], &zlib(&content)].concat(), &mut out).is_err(), "{wrong:x?}");
        }
        assert!(unpack_event(&[&[0x84, 0xff, 0xff, 0xff, 0xff][..], &zlib(&content)].concat(), &mut out).is_err());
    }

    /// As MariaDB 10.11 logged them.
    #[test]
    fn values_are_unpacked() {
        assert_eq!(unpack_value(0x89, &[0x64, 0xab, 0xa8, 0xa0, 0x3d, 0, 0]).unwrap(), [b'x'; 100]);
        let bytes = [0x01, 0xf4, 0xab, 0xac, 0x1c, 0x05, 0x23, 0x0d, 0, 0];
        assert_eq!(unpack_value(0x8a, &bytes).unwrap(), [b'y'; 500]);
        assert!(unpack_value(0x8a, &bytes[..6]).is_err());
        assert!(unpack_value(0x99, &bytes).is_err(), "another method");
        assert_eq!(unpack_value(0x81, &[&[3][..], &zlib(b"abc")].concat()).unwrap(), b"abc");
    }
}
