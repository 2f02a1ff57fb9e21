//! Reading bytes that somebody else wrote: every read is checked, nothing panics, nothing is copied.
//!
//! All parsers of this crate go through a [`Cursor`]. Numbers are little-endian unless the name says otherwise.

use crate::hostile::{Defect, is_planted};

/// Bytes that contradict themselves; `what` names the field that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) what: &'static str,
}

impl Malformed {
    pub(crate) const fn new(what: &'static str) -> Self {
        Self { what }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed {}", self.what)
    }
}

impl std::error::Error for Malformed {}

const SHORT: Malformed = Malformed::new("data: it ends early");

/// What is left to read of a slice.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = match is_planted(Defect::LengthNotChecked) {
            false => self.rest.split_at_checked(length).ok_or(SHORT)?,
            true => self.rest.split_at(length),
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u24(&mut self) -> Result<u32, Malformed> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u48(&mut self) -> Result<u64, Malformed> {
        self.array().map(|[a, b, c, d, e, f]| u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    #[inline]
    pub(crate) fn u56(&mut self) -> Result<u64, Malformed> {
        self.array().map(|[a, b, c, d, e, f, g]| u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Up to eight bytes as a little-endian number.
    #[inline]
    pub(crate) fn little_endian(&mut self, length: usize) -> Result<u64, Malformed> {
        let taken = self.take(length)?;
        Ok(taken.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Up to eight bytes as a big-endian number.
    #[inline]
    pub(crate) fn big_endian(&mut self, length: usize) -> Result<u64, Malformed> {
        let taken = self.take(length)?;
        Ok(taken.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The protocol's length-encoded number: 1, 3, 4 or 9 bytes.
    pub(crate) fn packed(&mut self) -> Result<u64, Malformed> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            252 => self.u16().map(u64::from),
            253 => self.u24().map(u64::from),
            254 => self.u64(),
            251 | 255 => Err(Malformed::new("length: 251 and 255 begin no number")),
        }
    }

    /// A length-encoded number that counts things in memory.
    pub(crate) fn packed_len(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.packed()?).map_err(|_| SHORT)
    }

    /// Bytes behind their length-encoded length.
    pub(crate) fn packed_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.packed_len()?;
        self.take(length)
    }

    /// Bytes up to a zero byte, which is skipped.
    pub(crate) fn until_zero(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.rest.iter().position(|byte| *byte == 0).ok_or(SHORT)?;
        let taken = self.take(length)?;
        self.take(1)?;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_encoded_numbers() {
        let mut cursor = Cursor::new(&[250, 252, 1, 2, 253, 1, 2, 3, 254, 1, 0, 0, 0, 0, 0, 0, 128, 251]);
        assert_eq!(cursor.packed(), Ok(250));
        assert_eq!(cursor.packed(), Ok(0x0201));
        assert_eq!(cursor.packed(), Ok(0x03_0201));
        assert_eq!(cursor.packed(), Ok(1 << 63 | 1));
        assert!(cursor.packed().is_err());
        assert!(Cursor::new(&[252, 1]).packed().is_err());
        assert!(Cursor::new(&[5, 1, 2]).packed_bytes().is_err());
    }

    #[test]
    fn numbers_of_any_width() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Cursor::new(&bytes).u24(), Ok(0x03_0201));
        assert_eq!(Cursor::new(&bytes).u48(), Ok(0x0605_0403_0201));
        assert_eq!(Cursor::new(&bytes).u56(), Ok(0x07_0605_0403_0201));
        assert_eq!(Cursor::new(&bytes).little_endian(2), Ok(0x0201));
        assert_eq!(Cursor::new(&bytes).big_endian(3), Ok(0x01_0203));
        assert_eq!(Cursor::new(b"ab\0c").until_zero(), Ok(&b"ab"[..]));
        assert_eq!(Cursor::new(b"ab").until_zero(), Err(SHORT));
    }
}
