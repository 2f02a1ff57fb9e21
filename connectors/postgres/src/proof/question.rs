//! What is asked of a column of the target, what the answer means for the source's column, and how a key is spelled.
//!
//! Nothing is forgiven but spelling: an answer that is no value of the source's column (an interval of days, an infinite date, a
//! number that is none) is written as such, and differs from every value.

use std::ops::Range;

use tailrace_contract::{CanonicalForm, CanonicalWriter, Era, KeyField, Result};
use tailrace_row::{Column, Date, write_ewkb};

use super::copy_text::CopyField;
use crate::identifier::quote;

/// One column of the answer.
#[derive(Debug)]
pub(super) struct Question {
    form: CanonicalForm,
    type_name: Box<str>,
    spelling: Spelling,
    pub(super) asked: String,
}

/// How the type prints what the form means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    /// As databases share it; years before 1 end with BC.
    Shared,
    /// `t` and `f`.
    Boolean,
    /// Binary digits.
    BitString,
    /// `\x` and hex digits.
    Hex,
    /// A clock with the session's offset from UTC, which is none.
    Zoned,
    /// Numbers of 32 bits in braces.
    Braces,
    /// The type means something else.
    Other,
}

impl Question {
    /// A column of the source in a column of the target that has a type of that name.
    pub(super) fn of(column: &Column, type_name: &str) -> Result<Self> {
        let form = CanonicalForm::of(&column.column_type);
        let name = quote(&column.name)?;
        // Single precision prints fewer digits than the double that it means.
        let asked = if type_name == "float4" { format!("{name}::float8") } else { name };
        Ok(Self { form, spelling: spelling(form, type_name), type_name: type_name.into(), asked })
    }

    /// Writes the canonical field of an answer.
    pub(super) fn read(&self, field: CopyField<'_>, writer: &mut CanonicalWriter, out: &mut Vec<u8>) {
        match field {
            CopyField::Null => writer.null(out),
            CopyField::Text(answer) => {
                if self.read_text(answer, writer, out).is_none() {
                    writer.foreign(answer, out);
                }
            }
        }
    }

    fn read_text(&self, answer: &[u8], writer: &mut CanonicalWriter, out: &mut Vec<u8>) -> Option<()> {
        let (answer, era) = match (self.form, answer.strip_suffix(b" BC")) {
            (CanonicalForm::Day | CanonicalForm::Clock | CanonicalForm::Instant, Some(rest)) => {
                (rest, Era::BeforeChrist)
            }
            _ => (answer, Era::Common),
        };
        let answer = match (self.spelling, answer) {
            (Spelling::Shared, answer) => answer,
            (Spelling::Boolean, b"t") => b"1",
            (Spelling::Boolean, b"f") => b"0",
            (Spelling::Zoned, answer) => answer.strip_suffix(b"+00")?,
            (Spelling::BitString, digits) => {
                let CanonicalForm::Bits { length } = self.form else { return None };
                return writer.bit_string(length, digits, out).ok();
            }
            (Spelling::Hex, answer) => {
                let bytes = decode_hex(answer.strip_prefix(b"\\x")?)?;
                return writer.value(self.form, &bytes, era, out).ok();
            }
            (Spelling::Braces, answer) => return writer.value(self.form, &numbers(answer)?, era, out).ok(),
            (Spelling::Boolean | Spelling::Other, _) => return None,
        };
        writer.value(self.form, answer, era, out).ok()
    }

    /// A value of the source's key column in SQL, or none where this column can hold no such value.
    pub(super) fn literal(&self, field: &KeyField) -> Option<String> {
        Some(match field {
            KeyField::Number(digits) => self.number_literal(digits)?,
            KeyField::Float(number) => format!("'{number:e}'::float8"),
            KeyField::Text(text) | KeyField::Label { text, .. } if text.contains('\0') => return None,
            KeyField::Text(text) | KeyField::Label { text, .. } => text_literal(text),
            KeyField::InvalidText(_) => return None,
            KeyField::Bytes(bytes) => format!("'\\x{}'::bytea", hex(bytes)),
            KeyField::Moment(text) => self.moment_literal(text)?,
            KeyField::Address(text) => format!("'{text}'::{}", self.type_name),
            KeyField::Geometry { srid, wkb } => format!("'\\x{}'::bytea", hex(&ewkb(*srid, wkb)?)),
        })
    }

    fn number_literal(&self, digits: &str) -> Option<String> {
        if let CanonicalForm::Bits { length } = self.form
            && matches!(&*self.type_name, "bit" | "varbit")
        {
            let bits: u64 = digits.parse().ok()?;
            return Some(format!("B'{bits:0length$b}'", length = usize::from(length)));
        }
        let (least, greatest): (i128, i128) = match &*self.type_name {
            "int2" => (i16::MIN.into(), i16::MAX.into()),
            "int4" => (i32::MIN.into(), i32::MAX.into()),
            "int8" => (i64::MIN.into(), i64::MAX.into()),
            "bool" => {
                return match digits {
                    "0" => Some("false".to_owned()),
                    "1" => Some("true".to_owned()),
                    _ => None,
                };
            }
            _ => return Some(format!("'{digits}'::numeric")),
        };
        // A bound may lie beyond what the column can hold.
        let is_within = digits.parse::<i128>().is_ok_and(|number| (least..=greatest).contains(&number));
        let type_name = if is_within { &*self.type_name } else { "numeric" };
        Some(format!("'{digits}'::{type_name}"))
    }

    fn moment_literal(&self, text: &str) -> Option<String> {
        match self.form {
            CanonicalForm::Duration => Some(format!("'{text}'::interval")),
            CanonicalForm::Day => Some(format!("'{}'::date", in_calendar(text)?)),
            CanonicalForm::Clock => Some(format!("'{}'::timestamp", in_calendar(text)?)),
            CanonicalForm::Instant => Some(format!("'{}'::timestamptz", in_calendar(text)?)),
            _ => None,
        }
    }
}

fn spelling(form: CanonicalForm, type_name: &str) -> Spelling {
    match (form, type_name) {
        (CanonicalForm::Number | CanonicalForm::Bits { .. }, "bool") => Spelling::Boolean,
        (CanonicalForm::Bits { .. }, "bit" | "varbit") => Spelling::BitString,
        (CanonicalForm::Bytes | CanonicalForm::Geometry, "bytea") => Spelling::Hex,
        (CanonicalForm::Vector, "_float4") => Spelling::Braces,
        (CanonicalForm::Instant, "timestamptz") => Spelling::Zoned,
        (CanonicalForm::Bytes | CanonicalForm::Geometry | CanonicalForm::Vector | CanonicalForm::Instant, _)
        | (_, "bytea" | "timestamptz") => Spelling::Other,
        (
            CanonicalForm::Number
            | CanonicalForm::Float
            | CanonicalForm::Bits { .. }
            | CanonicalForm::Text
            | CanonicalForm::Label
            | CanonicalForm::Day
            | CanonicalForm::Duration
            | CanonicalForm::Clock
            | CanonicalForm::Json
            | CanonicalForm::Uuid
            | CanonicalForm::Address,
            _,
        ) => Spelling::Shared,
    }
}

/// The same with PostgreSQL's years, if the day exists.
fn in_calendar(text: &str) -> Option<String> {
    let number = |range: Range<usize>| text.get(range)?.parse::<u16>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let date = Date { year, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? };
    if !date.is_real() {
        return None;
    }
    // The session's zone is UTC, so an instant needs no other.
    Some(if year == 0 { format!("0001{} BC", &text[4..]) } else { text.to_owned() })
}

/// None: what claims to be a geometry lacks its beginning.
fn ewkb(srid: u32, wkb: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    write_ewkb(srid, wkb, &mut bytes).map(|()| bytes)
}

fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

/// `{1,-0,1.5e-45}`, each the number that is nearest to its digits.
fn numbers(answer: &[u8]) -> Option<Vec<u8>> {
    let inner = std::str::from_utf8(answer).ok()?.strip_prefix('{')?.strip_suffix('}')?;
    let mut bytes = Vec::new();
    for text in inner.split(',').filter(|_| !inner.is_empty()) {
        let number: f32 = text.parse().ok()?;
        if !number.is_finite() {
            return None;
        }
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("invariant: writing to a String can't fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use tailrace_row::{ColumnType, TextForm};

    use super::*;

    fn question(column_type: ColumnType, type_name: &str) -> Question {
        Question::of(&Column { name: "c".into(), column_type, nullable: true }, type_name).unwrap()
    }

    fn field(column_type: ColumnType, type_name: &str, answer: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let field = CopyField::Text(answer.as_bytes());
        question(column_type, type_name).read(field, &mut CanonicalWriter::default(), &mut out);
        out
    }

    #[test]
    fn answers_mean_what_the_source_has() {
        let bit = ColumnType::Bit { length: 3 };
        let year = ColumnType::Year;
        let bytes = ColumnType::Bytes { form: TextForm::Varying, bytes_max: 3 };
        let instant = ColumnType::Timestamp { fraction: 6 };
        for (column_type, [one, other], [left, right], is_equal) in [
            (bit.clone(), ["bit", "int8"], ["101", "5"], true),
            (bit.clone(), ["varbit", "int8"], ["0101", "5"], false),
            (ColumnType::Bit { length: 1 }, ["bit", "bool"], ["1", "t"], true),
            (year, ["int2", "numeric"], ["2024", "2024.00"], true),
            (bytes.clone(), ["bytea", "bytea"], ["\\x00ff", "\\x00ff"], true),
            (bytes, ["bytea", "text"], ["\\x6162", "ab"], false),
            (
                instant.clone(),
                ["timestamptz", "timestamptz"],
                ["2024-01-01 00:00:00+00", "2024-01-01 00:00:00.1+00"],
                false,
            ),
            (instant, ["timestamptz", "timestamp"], ["2024-01-01 00:00:00+00", "2024-01-01 00:00:00"], false),
            (ColumnType::Time { fraction: 0 }, ["interval", "time"], ["23:59:59", "23:59:59"], true),
            (ColumnType::Time { fraction: 0 }, ["interval", "interval"], ["24:00:00", "1 day"], false),
        ] {
            let equal = field(column_type.clone(), one, left) == field(column_type.clone(), other, right);
            assert_eq!(equal, is_equal, "{column_type:?} {one} {left} {other} {right}");
        }
    }

    #[test]
    fn keys_are_spelled_or_can_not_be_there() {
        let integer = ColumnType::Integer { bits: 64, unsigned: true };
        let number = |digits: &str| KeyField::Number(digits.to_owned());
        let moment = |text: &str| KeyField::Moment(text.to_owned());
        for (column_type, type_name, key, expect) in [
            (integer.clone(), "int8", number("7"), Some("'7'::int8")),
            (integer.clone(), "int8", number("9223372036854775808"), Some("'9223372036854775808'::numeric")),
            (integer, "bool", number("2"), None),
            (ColumnType::Bit { length: 4 }, "bit", number("5"), Some("B'0101'")),
            (ColumnType::Date, "date", moment("0000-01-02"), Some("'0001-01-02 BC'::date")),
            (ColumnType::Date, "date", moment("0000-00-00"), None),
            (ColumnType::Date, "date", moment("2023-02-29"), None),
            (ColumnType::Json, "text", KeyField::Text("it's".into()), Some("'it''s'")),
            (ColumnType::Json, "text", KeyField::Text("\0".into()), None),
        ] {
            assert_eq!(question(column_type, type_name).literal(&key).as_deref(), expect, "{key:?}");
        }
    }
}
