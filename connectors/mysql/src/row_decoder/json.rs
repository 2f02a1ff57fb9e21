//! JSON: the server's binary form to the text that the server prints.
//!
//! The text is that of `SELECT`: keys in stored order, `, ` and `: ` between parts, doubles in the server's own format,
//! decimals as digits, dates in quotes, other opaque values as `base64:typeN:…`. So a row from the binlog and the same row
//! from a query are equal texts.
//!
//! A value lies at an offset inside its container, and nothing in the format keeps two offsets from being equal. What
//! bounds our work is therefore counted: depth (the server's limit), elements, and bytes written.

mod diff;

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{decimal::DecimalForm, double, temporal};
use crate::{
    hostile::{Defect, is_planted},
    protocol::{Cursor, Malformed},
};
pub(crate) use diff::write_changed_text;

const BAD: Malformed = Malformed::new("JSON");

/// The server refuses documents deeper than this.
const DEPTH_MAX: usize = 100;

/// The longest text of one stored byte: a control character in a string is `\u0001`, an inlined `false, ` has three bytes,
/// an opaque value of five `"base64:type252:"`.
const TEXT_PER_BYTE_MAX: usize = 8;

/// ASCII characters that stand in a string as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    plain
};

/// Type codes of values.
mod code {
    pub(super) const SMALL_OBJECT: u8 = 0;
    pub(super) const LARGE_OBJECT: u8 = 1;
    pub(super) const SMALL_ARRAY: u8 = 2;
    pub(super) const LARGE_ARRAY: u8 = 3;
    pub(super) const LITERAL: u8 = 4;
    pub(super) const INT16: u8 = 5;
    pub(super) const UINT16: u8 = 6;
    pub(super) const INT32: u8 = 7;
    pub(super) const UINT32: u8 = 8;
    pub(super) const INT64: u8 = 9;
    pub(super) const UINT64: u8 = 10;
    pub(super) const DOUBLE: u8 = 11;
    pub(super) const STRING: u8 = 12;
    pub(super) const OPAQUE: u8 = 15;
}

/// Appends the text of a stored document to `out`.
pub(crate) fn write_text(document: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    // The server itself takes an empty column (left by an old ALTER or INSERT IGNORE) for the literal.
    let Some((kind, value)) = document.split_first() else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    let end_max = out.len() + 64 + document.len().saturating_mul(TEXT_PER_BYTE_MAX);
    let (end_max, elements_left, depth_left) = match is_planted(Defect::RecursionWithoutLimit) {
        false => (end_max, document.len(), DEPTH_MAX),
        true => (usize::MAX, usize::MAX, usize::MAX),
    };
    Printer { out, end_max, elements_left }.value(*kind, value, depth_left)
}

struct Printer<'o> {
    out: &'o mut Vec<u8>,
    end_max: usize,
    elements_left: usize,
}

/// Width of counts and offsets in a container.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Small,
    Large,
}

impl Width {
    fn bytes(self) -> usize {
        match self {
            Self::Small => 2,
            Self::Large => 4,
        }
    }

    fn read(self, cursor: &mut Cursor<'_>) -> Result<usize, Malformed> {
        match self {
            Self::Small => cursor.u16().map(usize::from),
            Self::Large => cursor.u32().map(|number| number as usize),
        }
    }

    /// Whether a value of this type lies in the entry itself.
    fn inlines(self, kind: u8) -> bool {
        let is_small = matches!(kind, code::LITERAL | code::INT16 | code::UINT16);
        is_small || self == Self::Large && matches!(kind, code::INT32 | code::UINT32)
    }
}

impl Printer<'_> {
    fn value(&mut self, kind: u8, bytes: &[u8], depth_left: usize) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(bytes);
        match kind {
            code::SMALL_OBJECT => self.container::<true>(Width::Small, bytes, depth_left),
            code::LARGE_OBJECT => self.container::<true>(Width::Large, bytes, depth_left),
            code::SMALL_ARRAY => self.container::<false>(Width::Small, bytes, depth_left),
            code::LARGE_ARRAY => self.container::<false>(Width::Large, bytes, depth_left),
            code::LITERAL => self.literal(cursor.u8()?),
            code::INT16 => self.integer(i16::from_le_bytes(cursor.array()?)),
            code::UINT16 => self.integer(cursor.u16()?),
            code::INT32 => self.integer(i32::from_le_bytes(cursor.array()?)),
            code::UINT32 => self.integer(cursor.u32()?),
            code::INT64 => self.integer(i64::from_le_bytes(cursor.array()?)),
            code::UINT64 => self.integer(cursor.u64()?),
            code::DOUBLE => {
                double::write(f64::from_le_bytes(cursor.array()?), self.out);
                self.check_size()
            }
            code::STRING => {
                let text = sized(&mut cursor)?;
                self.string(text)
            }
            code::OPAQUE => {
                let column_type = cursor.u8()?;
                let value = sized(&mut cursor)?;
                self.opaque(column_type, value)
            }
            _ => Err(BAD),
        }
    }

    fn container<const IS_OBJECT: bool>(
        &mut self,
        width: Width,
        bytes: &[u8],
        depth_left: usize,
    ) -> Result<(), Malformed> {
        let depth_left =
            depth_left.checked_sub(1).ok_or(Malformed::new("JSON: it is deeper than the server allows"))?;
        let mut cursor = Cursor::new(bytes);
        let count = width.read(&mut cursor)?;
        let size = width.read(&mut cursor)?;
        // Offsets count from here; nothing of the container lies outside of its size.
        let bytes = bytes.get(..size).ok_or(BAD)?;
        let head_bytes = 2 * width.bytes();
        let key_entry_bytes = if IS_OBJECT { width.bytes() + 2 } else { 0 };
        let mut keys = Cursor::new(bytes.get(head_bytes..).ok_or(BAD)?);
        let mut values = keys;
        values.take(count.checked_mul(key_entry_bytes).ok_or(BAD)?)?;
        self.out.push(if IS_OBJECT { b'{' } else { b'[' });
        for element in 0..count {
            self.elements_left = self.elements_left.checked_sub(1).ok_or(BAD)?;
            if element > 0 {
                self.out.extend_from_slice(b", ");
            }
            if IS_OBJECT {
                let offset = width.read(&mut keys)?;
                let length = usize::from(keys.u16()?);
                self.string(bytes.get(offset..).and_then(|rest| rest.get(..length)).ok_or(BAD)?)?;
                self.out.extend_from_slice(b": ");
            }
            let kind = values.u8()?;
            let entry = values.take(width.bytes())?;
            if width.inlines(kind) {
                self.value(kind, entry, depth_left)?;
            } else {
                let offset = width.read(&mut Cursor::new(entry))?;
                self.value(kind, bytes.get(offset..).ok_or(BAD)?, depth_left)?;
            }
        }
        self.out.push(if IS_OBJECT { b'}' } else { b']' });
        self.check_size()
    }

    fn literal(&mut self, literal: u8) -> Result<(), Malformed> {
        let text: &[u8] = match literal {
            0 => b"null",
            1 => b"true",
            2 => b"false",
            _ => return Err(BAD),
        };
        self.out.extend_from_slice(text);
        self.check_size()
    }

    fn integer(&mut self, number: impl itoa::Integer) -> Result<(), Malformed> {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.check_size()
    }

    /// A string in quotes. Only quotes, backslashes and control characters are escaped. Most strings are short and need
    /// nothing: one pass finds that out.
    #[inline]
    fn string(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.out.push(b'"');
        if bytes.iter().fold(true, |is_plain, byte| is_plain & PLAIN[usize::from(*byte)]) {
            self.out.extend_from_slice(bytes);
        } else {
            self.escaped(bytes)?;
        }
        self.out.push(b'"');
        self.check_size()
    }

    #[inline(never)]
    fn escaped(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::new("JSON: a string is no UTF-8"))?;
        let mut rest = text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| *byte < 0x80 && !PLAIN[usize::from(*byte)]) {
            self.out.extend_from_slice(&rest[..at]);
            self.escape(rest[at]);
            rest = &rest[at + 1..];
        }
        self.out.extend_from_slice(rest);
        Ok(())
    }

    fn escape(&mut self, byte: u8) {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => {
                write!(self.out, "\\u{byte:04x}").expect("invariant: writing to a Vec can't fail");
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    /// A value of an SQL type that JSON has no form for.
    fn opaque(&mut self, column_type: u8, value: &[u8]) -> Result<(), Malformed> {
        const DATE: u8 = 10;
        const TIMESTAMP: u8 = 7;
        const TIME: u8 = 11;
        const DATETIME: u8 = 12;
        const NEWDECIMAL: u8 = 246;
        match column_type {
            NEWDECIMAL => self.decimal(value),
            TIME => self.time(value),
            DATE => self.date_time(value, false),
            DATETIME | TIMESTAMP => self.date_time(value, true),
            _ => {
                write!(self.out, "\"base64:type{column_type}:").expect("invariant: writing to a Vec can't fail");
                // The server breaks the line after 76 characters, and JSON escapes the break.
                for (line, bytes) in value.chunks(57).enumerate() {
                    self.out.extend_from_slice(if line > 0 { b"\\n" } else { b"" });
                    self.out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
                }
                self.out.push(b'"');
                self.check_size()
            }
        }
    }

    fn decimal(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let mut cursor = Cursor::new(value);
        let form = DecimalForm::in_json(cursor.u8()?, cursor.u8()?).ok_or(BAD)?;
        form.write_text(cursor.take(form.bytes())?, self.out)?;
        self.check_size()
    }

    /// Packed like the column types, but as one number of 64 bits with 24 bits of fraction.
    fn date_time(&mut self, value: &[u8], has_time: bool) -> Result<(), Malformed> {
        let packed = i64::from_le_bytes(Cursor::new(value).array()?);
        let packed = u64::try_from(packed).map_err(|_| BAD)?;
        let micros = u32::try_from(packed & 0xff_ffff).map_err(|_| BAD)?;
        let clock = temporal::unpack_date_time(packed >> 24, micros).ok_or(BAD)?;
        let (date, out) = (clock.date, &mut *self.out);
        let written =
            write!(out, "\"{:04}-{:02}-{:02}", date.year, date.month, date.day).and_then(|()| match has_time {
                true => write!(out, " {:02}:{:02}:{:02}.{:06}\"", clock.hour, clock.minute, clock.second, clock.micros),
                false => write!(out, "\""),
            });
        written.expect("invariant: writing to a Vec can't fail");
        self.check_size()
    }

    fn time(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let packed = i64::from_le_bytes(Cursor::new(value).array()?);
        let sign = if packed < 0 { "-" } else { "" };
        let magnitude = packed.unsigned_abs();
        let fraction = u32::try_from(magnitude & 0xff_ffff).map_err(|_| BAD)?;
        let micros = temporal::unpack_time(magnitude >> 24, fraction).ok_or(BAD)?;
        let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(self.out, "\"{sign}{hours:02}:{minutes:02}:{seconds:02}.{fraction:06}\"")
            .expect("invariant: writing to a Vec can't fail");
        self.check_size()
    }

    fn check_size(&self) -> Result<(), Malformed> {
        if self.out.len() > self.end_max { Err(Malformed::new("JSON: its parts overlap")) } else { Ok(()) }
    }
}

/// Bytes behind their length, which has seven bits a byte, the lowest first.
fn sized<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Malformed> {
    let mut length = 0usize;
    for shift in [0, 7, 14, 21, 28] {
        let byte = cursor.u8()?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return cursor.take(length);
        }
    }
    Err(BAD)
}
