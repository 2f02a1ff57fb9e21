//! A compressed transaction (`binlog_transaction_compression`): all of its events behind the one that names it, packed into one.
//!
//! The fields before the packed bytes say how they are packed and how much comes out of them. What comes out is never held whole:
//! see [`Unpacker`]. Nothing here trusts the sizes that an event declares further than the bytes themselves allow.
//!
//! [`Unpacker`]: super::Unpacker

use crate::protocol::{Cursor, Malformed};

/// The fields of a compressed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) packing: Packing,
    /// Where in the event's body the packed bytes begin; they end with it.
    pub(crate) packed_at: usize,
    /// What comes out of them.
    pub(crate) unpacked_bytes: u64,
}

/// How a payload is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Zstd,
    None,
}

/// The most that zstd can make of one byte: a block of 128 KiB takes four bytes at least. Who declares more lies.
const RATIO_MAX: u64 = 32 << 10;

impl Payload {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let (mut packed_bytes, mut packing, mut unpacked_bytes) = (None, None, None);
        loop {
            let code = cursor.packed()?;
            if code == field::END {
                break;
            }
            let mut value = Cursor::new(cursor.packed_bytes()?);
            match code {
                field::PACKED_BYTES => packed_bytes = Some(value.packed()?),
                field::PACKING => packing = Some(value.packed()?),
                field::UNPACKED_BYTES => unpacked_bytes = Some(value.packed()?),
                _ => return Err(Malformed::new("compressed transaction: it has a field that is not known")),
            }
        }
        let there = cursor.len() as u64;
        if packed_bytes != Some(there) {
            return Err(Malformed::new("compressed transaction: its length is not the declared one"));
        }
        let packing = match packing {
            Some(0) => Packing::Zstd,
            Some(255) => Packing::None,
            Some(_) | None => return Err(Malformed::new("compressed transaction: of an unknown method")),
        };
        let unpacked_bytes = match (packing, unpacked_bytes) {
            (Packing::None, None) => there,
            (Packing::None, Some(bytes)) if bytes == there => bytes,
            (Packing::Zstd, Some(bytes)) if bytes / RATIO_MAX <= there => bytes,
            (Packing::Zstd | Packing::None, _) => {
                return Err(Malformed::new("compressed transaction: it declares more than its bytes can hold"));
            }
        };
        Ok(Self { packing, packed_at: body.len() - cursor.len(), unpacked_bytes })
    }
}

/// Codes of the fields.
mod field {
    pub(super) const END: u64 = 0;
    pub(super) const PACKED_BYTES: u64 = 1;
    pub(super) const PACKING: u64 = 2;
    pub(super) const UNPACKED_BYTES: u64 = 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(fields: &[u8], packed: &[u8]) -> Vec<u8> {
        [fields, &[0], packed].concat()
    }

    #[test]
    fn fields_are_read() {
        let parsed = Payload::parse(&body(&[2, 1, 0, 3, 3, 252, 0, 1, 1, 1, 5], b"abcde")).unwrap();
        assert_eq!(parsed, Payload { packing: Packing::Zstd, packed_at: 12, unpacked_bytes: 256 });
        let parsed = Payload::parse(&body(&[1, 1, 5, 2, 3, 252, 255, 0], b"abcde")).unwrap();
        assert_eq!(parsed, Payload { packing: Packing::None, packed_at: 9, unpacked_bytes: 5 });
    }

    #[test]
    fn what_can_not_be_is_refused() {
        for (fields, what) in [
            (&[2, 1, 0, 3, 1, 9, 1, 1, 4][..], "another length"),
            (&[2, 1, 0, 3, 1, 9], "no length"),
            (&[2, 1, 7, 3, 1, 9, 1, 1, 5], "an unknown method"),
            (&[3, 1, 9, 1, 1, 5], "no method"),
            (&[2, 1, 0, 1, 1, 5], "nothing said of what comes out"),
            (&[2, 3, 252, 255, 0, 3, 1, 9, 1, 1, 5], "plain, and more comes out"),
            (&[2, 1, 0, 3, 4, 253, 0, 0, 255, 1, 1, 5], "beyond any ratio"),
            (&[2, 1, 0, 3, 9, 254, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1, 5], "beyond any size"),
            (&[2, 1, 0, 3, 1, 9, 1, 1, 5, 4, 1, 0], "a field of another version"),
        ] {
            assert!(Payload::parse(&body(fields, b"abcde")).is_err(), "{what}");
        }
        let whole = body(&[2, 1, 0, 3, 1, 9, 1, 1, 5], b"abcde");
        for cut in 0..whole.len() {
            assert!(Payload::parse(&whole[..cut]).is_err(), "{cut} bytes");
        }
    }
}
