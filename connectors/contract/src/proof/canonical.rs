//! What a value of a source's column means, and the bytes that say it.
//!
//! A field begins with one byte that says what it is: NULL, a value, bytes that are no text in their charset, or an answer that
//! can't be a value of the source's column at all (which another database may hold, and which then is a difference). Behind
//! a value's byte comes its form; as one column has one form on both sides, forms need not differ among themselves.
//!
//! Decided here: a number is its exact decimal digits, and -0 of a decimal type is 0; a float is the 64 bits of the double that it
//! is widened to, so that -0.0 and 0.0 differ; a text is its characters, none of them normalised or stripped; JSON is a tree
//! (`json`), in which 1 and 1.0 are one number.

use std::net::IpAddr;

use tailrace_row::ColumnType;

use super::{
    json::{self, JsonScratch},
    moment,
    number::{self, ZeroSign},
};

pub use super::moment::Era;

/// What a value of a source's column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanonicalForm {
    /// Integers, decimals, years.
    Number,
    /// FLOAT and DOUBLE.
    Float,
    /// BIT(n) as the number of its bits.
    Bits {
        /// n.
        length: u8,
    },
    /// Characters.
    Text,
    /// Bytes.
    Bytes,
    /// ENUM and SET by the text of their members.
    Label,
    /// A day, which need not exist.
    Day,
    /// TIME in microseconds.
    Duration,
    /// A day and a time of day without a zone.
    Clock,
    /// An instant, as its clock in UTC; or MySQL's zero timestamp.
    Instant,
    /// A JSON tree.
    Json,
    /// The number of a reference system, and well-known binary.
    Geometry,
    /// Numbers of 32 bits by their bits.
    Vector,
    /// The 16 bytes of a UUID.
    Uuid,
    /// The bytes of a network address: 4 or 16.
    Address,
}

/// An answer that is no value of the form; the caller decides whether that is an error or a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign;

const NULL: u8 = 0;
const VALUE: u8 = 1;
const INVALID_TEXT: u8 = 2;
const FOREIGN: u8 = 3;

impl CanonicalForm {
    /// The meaning of a source's column.
    #[must_use]
    pub fn of(source: &ColumnType) -> Self {
        match source {
            ColumnType::Integer { .. } | ColumnType::Decimal { .. } | ColumnType::Year => Self::Number,
            ColumnType::Float | ColumnType::Double => Self::Float,
            ColumnType::Bit { length } => Self::Bits { length: *length },
            ColumnType::Text { .. } => Self::Text,
            ColumnType::Bytes { .. } => Self::Bytes,
            ColumnType::Enum { .. } | ColumnType::Set { .. } => Self::Label,
            ColumnType::Date => Self::Day,
            ColumnType::Time { .. } => Self::Duration,
            ColumnType::DateTime { .. } => Self::Clock,
            ColumnType::Timestamp { .. } => Self::Instant,
            ColumnType::Json => Self::Json,
            ColumnType::Geometry { .. } => Self::Geometry,
            ColumnType::Vector { .. } => Self::Vector,
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Inet4 | ColumnType::Inet6 => Self::Address,
        }
    }
}

/// Writes canonical fields; keeps memory from one to the next.
#[derive(Debug, Default)]
pub struct CanonicalWriter {
    json: JsonScratch,
}

impl CanonicalWriter {
    /// NULL.
    pub fn null(&mut self, out: &mut Vec<u8>) {
        out.push(NULL);
    }

    /// Bytes of a text column that its charset does not allow: equal to the same bytes, and to no text.
    pub fn invalid_text(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        out.push(INVALID_TEXT);
        out.extend_from_slice(bytes);
    }

    /// An answer that is no value of the source's column: equal to no value.
    pub fn foreign(&mut self, answer: &[u8], out: &mut Vec<u8>) {
        out.push(FOREIGN);
        out.extend_from_slice(answer);
    }

    /// A float by its bits.
    pub fn float(&mut self, number: f64, out: &mut Vec<u8>) {
        out.push(VALUE);
        out.extend_from_slice(&number.to_bits().to_be_bytes());
    }

    /// A geometry by the number of its reference system (0 for none) and well-known binary.
    pub fn geometry(&mut self, srid: u32, wkb: &[u8], out: &mut Vec<u8>) {
        out.push(VALUE);
        out.extend_from_slice(&srid.to_be_bytes());
        out.extend_from_slice(wkb);
    }

    /// A value in the spelling that databases share: numbers as digits, bits as a number, bytes as they are, days and times as
    /// ISO 8601 writes them (with a blank between), an instant as its clock in UTC, a geometry as EWKB, a vector as its numbers'
    /// bytes, the lowest first.
    pub fn value(
        &mut self,
        form: CanonicalForm,
        answer: &[u8],
        era: Era,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), Foreign> {
        let start = out.len();
        out.push(VALUE);
        let written = match form {
            CanonicalForm::Number => number::write(answer, ZeroSign::Dropped, out),
            CanonicalForm::Float => write_float(answer, out),
            CanonicalForm::Bits { length } => write_bits(answer, length, out),
            CanonicalForm::Text | CanonicalForm::Label => match std::str::from_utf8(answer) {
                Ok(_) => write_bytes(answer, out),
                Err(_) => {
                    out.truncate(start);
                    self.invalid_text(answer, out);
                    Some(())
                }
            },
            CanonicalForm::Bytes => write_bytes(answer, out),
            CanonicalForm::Day => moment::write_day(answer, era, out),
            CanonicalForm::Duration => moment::write_duration(answer, out),
            CanonicalForm::Clock | CanonicalForm::Instant => moment::write_clock(answer, era, out),
            CanonicalForm::Json => json::write(answer, &mut self.json, out),
            CanonicalForm::Geometry => write_ewkb(answer, out),
            CanonicalForm::Vector if answer.len().is_multiple_of(4) => write_bytes(answer, out),
            CanonicalForm::Vector => None,
            CanonicalForm::Uuid => write_uuid(answer, out),
            CanonicalForm::Address => write_address(answer, out),
        };
        if written.is_none() {
            out.truncate(start);
        }
        written.ok_or(Foreign)
    }

    /// BIT(n) as its n binary digits.
    pub fn bit_string(&mut self, length: u8, digits: &[u8], out: &mut Vec<u8>) -> std::result::Result<(), Foreign> {
        let bit = |bits: u64, digit: &u8| match digit {
            b'0' => Some(bits << 1),
            b'1' => Some(bits << 1 | 1),
            _ => None,
        };
        let bits = (digits.len() == usize::from(length)).then(|| digits.iter().try_fold(0, bit)).flatten();
        let bits = bits.ok_or(Foreign)?;
        out.push(VALUE);
        out.extend_from_slice(&bits.to_be_bytes());
        Ok(())
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(bytes);
    Some(())
}

/// Of any text of a double the nearest one is meant; no column of a source holds what is no number.
fn write_float(answer: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let number: f64 = std::str::from_utf8(answer).ok()?.parse().ok()?;
    number.is_finite().then(|| out.extend_from_slice(&number.to_bits().to_be_bytes()))
}

/// The bit of a geometry's type which says that the number of a reference system follows.
const HAS_SRID: u32 = 0x2000_0000;

/// The number before the rest, which then is plain well-known binary.
fn write_ewkb(answer: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let Some((head, rest)) = answer.split_first_chunk::<5>() else {
        // MySQL can store nothing in place of a geometry.
        out.extend([0; 4]);
        return answer.is_empty().then_some(());
    };
    let [order, kind @ ..] = *head;
    let is_big_endian = order == 0;
    let number = |bytes| if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    let bytes = |number: u32| if is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
    let kind = number(kind);
    let (srid, rest) = match kind & HAS_SRID {
        0 => (0, rest),
        _ => {
            let (srid, rest) = rest.split_first_chunk()?;
            (number(*srid), rest)
        }
    };
    out.extend_from_slice(&srid.to_be_bytes());
    out.push(order);
    out.extend_from_slice(&bytes(kind & !HAS_SRID));
    out.extend_from_slice(rest);
    Some(())
}

/// 32 hex digits in groups.
fn write_uuid(answer: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if answer.len() != 36 {
        return None;
    }
    let mut high = None;
    for (place, byte) in answer.iter().enumerate() {
        if matches!(place, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = u8::try_from(char::from(*byte).to_digit(16)?).ok()?;
        match high.take() {
            None => high = Some(digit << 4),
            Some(high) => out.push(high | digit),
        }
    }
    Some(())
}

fn write_address(answer: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match std::str::from_utf8(answer).ok()?.parse().ok()? {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
    Some(())
}

fn write_bits(answer: &[u8], length: u8, out: &mut Vec<u8>) -> Option<()> {
    if !number::is_digits(answer) {
        return None;
    }
    let bits: u64 = std::str::from_utf8(answer).ok()?.parse().ok()?;
    let is_short = length >= 64 || bits >> length == 0;
    is_short.then(|| out.extend_from_slice(&bits.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(form: CanonicalForm, answer: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        CanonicalWriter::default().value(form, answer.as_bytes(), Era::Common, &mut out).ok().map(|()| out)
    }

    #[test]
    fn equal_bytes_are_equal_values() {
        let bits = CanonicalForm::Bits { length: 10 };
        for (form, one, other, is_equal) in [
            (CanonicalForm::Number, "00042", "42", true),
            (CanonicalForm::Number, "18446744073709551615", "-1", false),
            (CanonicalForm::Number, "1.50", "1.5", true),
            (CanonicalForm::Number, "-0.00", "0", true),
            (CanonicalForm::Float, "1e-7", "1e-07", true),
            (CanonicalForm::Float, "-0", "0", false),
            (CanonicalForm::Float, "0.1", "0.10000000000000002", false),
            (CanonicalForm::Text, "a", "a ", false),
            (CanonicalForm::Text, "é", "e\u{301}", false),
            (CanonicalForm::Text, "", "\0", false),
            (bits, "1023", "1022", false),
            (CanonicalForm::Day, "2024-02-29", "2024-02-28", false),
            (CanonicalForm::Json, "{\"b\":1,\"a\":2}", "{\"a\":2.0,\"b\":1}", true),
            (CanonicalForm::Uuid, "F47AC10B-58CC-4372-A567-0E02B2C3D479", "f47ac10b-58cc-4372-a567-0e02b2c3d479", true),
            (
                CanonicalForm::Uuid,
                "f47ac10b-58cc-4372-a567-0e02b2c3d478",
                "f47ac10b-58cc-4372-a567-0e02b2c3d479",
                false,
            ),
            (CanonicalForm::Address, "::1.2.3.4", "0::102:304", true),
            (CanonicalForm::Address, "::ffff:1.2.3.4", "1.2.3.4", false),
        ] {
            assert_eq!(field(form, one).unwrap() == field(form, other).unwrap(), is_equal, "{form:?} {one} {other}");
        }
    }

    #[test]
    fn what_is_no_value_is_told() {
        for (form, answer) in [
            (CanonicalForm::Number, "one"),
            (CanonicalForm::Float, "NaN"),
            (CanonicalForm::Float, "inf"),
            (CanonicalForm::Bits { length: 10 }, "1024"),
            (CanonicalForm::Bits { length: 64 }, "-1"),
            (CanonicalForm::Day, "infinity"),
            (CanonicalForm::Json, "{"),
            (CanonicalForm::Vector, "abc"),
            (CanonicalForm::Uuid, "f47ac10b58cc4372a5670e02b2c3d479"),
            (CanonicalForm::Address, "10.0.0.0/8"),
            (CanonicalForm::Geometry, "\u{1}"),
        ] {
            assert_eq!(field(form, answer), None, "{form:?} {answer}");
        }
    }

    #[test]
    fn a_geometry_is_its_reference_system_and_its_shape() {
        let mut writer = CanonicalWriter::default();
        let mut form = |ewkb: &[u8]| {
            let mut out = Vec::new();
            writer.value(CanonicalForm::Geometry, ewkb, Era::Common, &mut out).unwrap();
            out
        };
        let plain = [1, 1, 0, 0, 0, 9];
        let placed = [1, 1, 0, 0, 0x20, 0xe6, 0x10, 0, 0, 9];
        let mut forms = [form(&plain), form(&placed), form(&[0, 0x20, 0, 0, 1, 0, 0, 0x10, 0xe6, 9]), form(&[])];
        let mut stored = Vec::new();
        CanonicalWriter::default().geometry(4326, &plain, &mut stored);
        assert_eq!(forms[1], stored);
        forms.sort();
        assert!(forms.windows(2).all(|pair| pair[0] != pair[1]), "{forms:?}");
    }

    #[test]
    fn null_and_what_is_no_value_equal_no_value() {
        let mut writer = CanonicalWriter::default();
        let mut fields = vec![field(CanonicalForm::Text, "").unwrap(), field(CanonicalForm::Text, "\u{3}").unwrap()];
        for write in [
            |writer: &mut CanonicalWriter, out: &mut Vec<u8>| writer.null(out),
            |writer: &mut CanonicalWriter, out: &mut Vec<u8>| writer.invalid_text(b"\x03", out),
            |writer: &mut CanonicalWriter, out: &mut Vec<u8>| writer.foreign(b"\x03", out),
            |writer: &mut CanonicalWriter, out: &mut Vec<u8>| writer.invalid_text(b"", out),
            |writer: &mut CanonicalWriter, out: &mut Vec<u8>| writer.foreign(b"", out),
        ] {
            let mut out = Vec::new();
            write(&mut writer, &mut out);
            fields.push(out);
        }
        for (place, one) in fields.iter().enumerate() {
            assert!(!fields[..place].contains(one), "{fields:?}");
        }
    }

    #[test]
    fn binary_digits_are_the_same_bits() {
        let mut out = Vec::new();
        let mut writer = CanonicalWriter::default();
        writer.bit_string(10, b"1000000001", &mut out).unwrap();
        assert_eq!(Some(out), field(CanonicalForm::Bits { length: 10 }, "513"));
        for digits in ["100000001", "01000000001", "100000000x", ""] {
            assert_eq!(writer.bit_string(10, digits.as_bytes(), &mut Vec::new()), Err(Foreign), "{digits}");
        }
    }
}
