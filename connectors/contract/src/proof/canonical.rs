//! What a value of a source's column means, and the bytes that say it.
//!
//! A field begins with one byte that says what it is: NULL, a value, bytes that are no text in their charset, or an answer that
//! can't be a value of the source's column at all (which another database may hold, and which then is a difference). Behind
//! a value's byte comes its form; as one column has one form on both sides, forms need not differ among themselves.
//!
//! Decided here: a number is its exact decimal digits, and -0 of a decimal type is 0; a float is the 64 bits of the double that it
//! is widened to, so that -0.0 and 0.0 differ; a text is its characters, none of them normalised or stripped; JSON is a tree
//! (`json`), in which 1 and 1.0 are one number.

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

    /// A value in the spelling that databases share: numbers as digits, bits as a number, bytes as they are, days and times as
    /// ISO 8601 writes them (with a blank between), an instant as its clock in UTC.
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
        ] {
            assert_eq!(field(form, answer), None, "{form:?} {answer}");
        }
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
