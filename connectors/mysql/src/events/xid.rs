//! The name of an XA transaction, in the three forms in which a binlog has it.

use std::fmt;

use crate::protocol::{Cursor, Malformed};

/// The longest of its two parts, as the grammar allows.
const PART_BYTES_MAX: usize = 64;

/// What the transaction manager calls a transaction: the same one in both phases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Xid {
    pub(crate) format: u32,
    pub(crate) global: Vec<u8>,
    pub(crate) branch: Vec<u8>,
}

const BAD: Malformed = Malformed::new("name of an XA transaction");

impl Xid {
    /// Of the event that ends the first phase: lengths of four bytes.
    pub(super) fn parse_event(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let (format, global, branch) = (cursor.u32()?, cursor.u32()?, cursor.u32()?);
        Self::parse_parts(cursor, format, global as usize, branch as usize)
    }

    /// Of MariaDB's event that names the transaction: lengths of one byte.
    pub(super) fn parse_short(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let (format, global, branch) = (cursor.u32()?, cursor.u8()?, cursor.u8()?);
        Self::parse_parts(cursor, format, usize::from(global), usize::from(branch))
    }

    /// Of a statement, as servers write it: two words, then `X'<hex>',X'<hex>',<format>`.
    pub(crate) fn parse_statement(text: &[u8]) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(text).map_err(|_| BAD)?;
        let name = text.split_ascii_whitespace().nth(2).ok_or(BAD)?;
        let mut parts = name.split(',');
        let (Some(global), Some(branch), Some(format), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BAD);
        };
        let part = |text: &str| {
            let hex = text.strip_prefix("X'").and_then(|text| text.strip_suffix('\'')).ok_or(BAD)?;
            from_hex(hex).ok_or(BAD)
        };
        Ok(Self { format: format.parse().map_err(|_| BAD)?, global: part(global)?, branch: part(branch)? })
    }

    /// Of its two parts in hexadecimal digits.
    pub(crate) fn parse_hex(format: u32, global: &str, branch: &str) -> Option<Self> {
        Some(Self { format, global: from_hex(global)?, branch: from_hex(branch)? })
    }

    fn parse_parts(cursor: &mut Cursor<'_>, format: u32, global: usize, branch: usize) -> Result<Self, Malformed> {
        if global > PART_BYTES_MAX || branch > PART_BYTES_MAX {
            return Err(BAD);
        }
        Ok(Self { format, global: cursor.take(global)?.to_vec(), branch: cursor.take(branch)?.to_vec() })
    }
}

/// As `XA RECOVER CONVERT XID` and the binlog write it.
impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "X'{}',X'{}',{}", Hex(&self.global), Hex(&self.branch), self.format)
    }
}

/// Bytes as text.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What [`Hex`] wrote; `None` if it is no such text.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2) && digits.len() <= 2 * PART_BYTES_MAX)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_name_the_same() {
        let name = Xid { format: 7, global: b"ab".to_vec(), branch: vec![0xff] };
        assert_eq!(Xid::parse_statement(b"XA COMMIT X'6162',X'ff',7"), Ok(name.clone()));
        assert_eq!(
            Xid::parse_statement(name.to_string().replacen("X'", "XA START X'", 1).as_bytes()),
            Ok(name.clone())
        );
        let event = [&[7, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0][..], b"ab\xff"].concat();
        assert_eq!(Xid::parse_event(&mut Cursor::new(&event)), Ok(name.clone()));
        assert_eq!(Xid::parse_short(&mut Cursor::new(b"\x07\0\0\0\x02\x01ab\xff")), Ok(name));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            &b"XA COMMIT"[..],
            b"XA COMMIT X'61'",
            b"XA COMMIT X'61',X'',1,2",
            b"XA COMMIT X'6',X'',1",
            b"XA COMMIT X'6g',X'',1",
            b"XA COMMIT '61','',1",
            b"XA COMMIT X'61',X'',x",
            b"XA COMMIT \xff",
        ] {
            assert!(Xid::parse_statement(text).is_err(), "{}", String::from_utf8_lossy(text));
        }
        let long = [&[1, 0, 0, 0, 65, 0, 0, 0, 0, 0, 0, 0][..], &[b'x'; 65]].concat();
        assert!(Xid::parse_event(&mut Cursor::new(&long)).is_err(), "a part that no server takes");
        assert!(Xid::parse_short(&mut Cursor::new(b"\x07\0\0\0\x02\x01ab")).is_err(), "cut");
    }
}
