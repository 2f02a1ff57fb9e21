//! What is asked of a column of the target, what the answer means for the source's column, and how a key is spelled.
//!
//! Nothing is forgiven but spelling: a value stored in a type that does not mean what the source's column does (a number as a
//! text where bytes are meant, a text where a number is) is written as such, and differs from every value.

use sqlx::{Decode, Row as _, Sqlite, TypeInfo as _, ValueRef as _, sqlite::SqliteRow};
use tailrace_contract::{CanonicalForm, CanonicalWriter, Era, Foreign, KeyField, Result};
use tailrace_row::{Column, ColumnType, write_ewkb};

use crate::identifier::quote;

/// The digits of the least number, with its sign.
const DIGITS_MAX: usize = 20;

/// One column of the answer.
#[derive(Debug)]
pub(super) struct Question {
    form: CanonicalForm,
    /// Numbers are stored as texts.
    is_decimal: bool,
    pub(super) asked: String,
}

/// What SQLite stored.
enum Stored<'r> {
    Integer(i64),
    Real(f64),
    Text(&'r [u8]),
    Blob(&'r [u8]),
}

impl Question {
    pub(super) fn of(column: &Column) -> Result<Self> {
        let form = CanonicalForm::of(&column.column_type);
        let is_decimal = matches!(column.column_type, ColumnType::Decimal { .. });
        Ok(Self { form, is_decimal, asked: name(&column.name)? })
    }

    /// Writes the canonical field of an answer.
    pub(super) fn read(
        &self,
        row: &SqliteRow,
        place: usize,
        writer: &mut CanonicalWriter,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), sqlx::Error> {
        let value = row.try_get_raw(place)?;
        let decoding = |source| sqlx::Error::ColumnDecode { index: place.to_string(), source };
        // Of NULL the type is said to be the column's.
        if value.is_null() {
            writer.null(out);
            return Ok(());
        }
        let stored = match value.type_info().name() {
            "INTEGER" => Stored::Integer(<i64 as Decode<Sqlite>>::decode(value).map_err(decoding)?),
            "REAL" => Stored::Real(<f64 as Decode<Sqlite>>::decode(value).map_err(decoding)?),
            "TEXT" => Stored::Text(<&[u8] as Decode<Sqlite>>::decode(value).map_err(decoding)?),
            _ => Stored::Blob(<&[u8] as Decode<Sqlite>>::decode(value).map_err(decoding)?),
        };
        if self.write(&stored, writer, out).is_err() {
            foreign(&stored, writer, out);
        }
        Ok(())
    }

    fn write(
        &self,
        stored: &Stored<'_>,
        writer: &mut CanonicalWriter,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), Foreign> {
        use std::io::Write as _;
        match (self.form, stored) {
            (CanonicalForm::Number | CanonicalForm::Bits { .. }, Stored::Integer(number)) => {
                let mut digits = [0; DIGITS_MAX];
                let mut room = &mut digits[..];
                write!(room, "{number}").map_err(|_| Foreign)?;
                let length = DIGITS_MAX - room.len();
                writer.value(self.form, &digits[..length], Era::Common, out)
            }
            (CanonicalForm::Float, Stored::Real(number)) => {
                writer.float(*number, out);
                Ok(())
            }
            (CanonicalForm::Bytes | CanonicalForm::Geometry | CanonicalForm::Vector, Stored::Blob(bytes)) => {
                writer.value(self.form, bytes, Era::Common, out)
            }
            (CanonicalForm::Instant, Stored::Text(text)) => {
                writer.value(self.form, text.strip_suffix(b"Z").ok_or(Foreign)?, Era::Common, out)
            }
            (
                CanonicalForm::Number
                | CanonicalForm::Bits { .. }
                | CanonicalForm::Float
                | CanonicalForm::Text
                | CanonicalForm::Label
                | CanonicalForm::Day
                | CanonicalForm::Duration
                | CanonicalForm::Clock
                | CanonicalForm::Json
                | CanonicalForm::Uuid
                | CanonicalForm::Address,
                Stored::Text(text),
            ) => writer.value(self.form, text, Era::Common, out),
            (_, Stored::Integer(_) | Stored::Real(_) | Stored::Text(_) | Stored::Blob(_)) => Err(Foreign),
        }
    }

    /// A value of the source's key column in SQL. A key has one spelling there, without zeros at the end of a fraction.
    pub(super) fn literal(&self, field: &KeyField) -> Option<String> {
        Some(match field {
            KeyField::Number(digits) if self.is_decimal => text_literal(fraction_needed(digits)),
            KeyField::Number(digits) => match digits.parse::<i64>() {
                Ok(_) => digits.clone(),
                // Beyond its numbers a text stands in for one.
                Err(_) => text_literal(digits),
            },
            KeyField::Float(number) => text_literal(&format!("{number:?}")),
            KeyField::Text(text) | KeyField::Label { text, .. } => text_literal(text),
            KeyField::InvalidText(_) => return None,
            KeyField::Bytes(bytes) => format!("x'{}'", hex(bytes)),
            KeyField::Moment(text) if self.form == CanonicalForm::Instant => {
                text_literal(&format!("{}Z", fraction_needed(text)))
            }
            KeyField::Moment(text) => text_literal(fraction_needed(text)),
            KeyField::Address(text) => text_literal(text),
            KeyField::Geometry { srid, wkb } => {
                let mut bytes = Vec::new();
                write_ewkb(*srid, wkb, &mut bytes)?;
                format!("x'{}'", hex(&bytes))
            }
        })
    }
}

fn foreign(stored: &Stored<'_>, writer: &mut CanonicalWriter, out: &mut Vec<u8>) {
    match stored {
        Stored::Integer(number) => writer.foreign(&number.to_be_bytes(), out),
        Stored::Real(number) => writer.foreign(&number.to_bits().to_be_bytes(), out),
        Stored::Text(bytes) | Stored::Blob(bytes) => writer.foreign(bytes, out),
    }
}

fn fraction_needed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Whatever the characters are, a NUL too.
fn text_literal(text: &str) -> String {
    format!("CAST(x'{}' AS TEXT)", hex(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("invariant: writing to a String can't fail");
    }
    text
}

/// A column of the table that the query calls `t`: without that SQLite takes a name that it doesn't find for a text.
pub(super) fn name(column: &str) -> Result<String> {
    Ok(format!("t.{}", quote(column)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(column_type: ColumnType, key: &KeyField) -> Option<String> {
        Question::of(&Column { name: "c".into(), column_type, nullable: false }).unwrap().literal(key)
    }

    #[test]
    fn keys_are_spelled_as_they_are_stored() {
        let number = |digits: &str| KeyField::Number(digits.to_owned());
        let moment = |text: &str| KeyField::Moment(text.to_owned());
        let text = |text: &str| Some(text_literal(text));
        let integer = ColumnType::Integer { bits: 64, unsigned: true };
        let decimal = ColumnType::Decimal { precision: 5, scale: 2 };
        let instant = ColumnType::Timestamp { fraction: 6 };
        assert_eq!(literal(integer.clone(), &number("100")).as_deref(), Some("100"));
        assert_eq!(literal(integer, &number("9223372036854775808")), text("9223372036854775808"));
        assert_eq!(literal(decimal.clone(), &number("1.50")), text("1.5"));
        assert_eq!(literal(decimal, &number("100.00")), text("100"));
        assert_eq!(literal(ColumnType::Double, &KeyField::Float(-0.0)), text("-0.0"));
        assert_eq!(literal(ColumnType::Date, &moment("2024-02-20")), text("2024-02-20"));
        assert_eq!(literal(instant, &moment("2024-02-20 00:00:00.100000")), text("2024-02-20 00:00:00.1Z"));
        assert_eq!(text("a\0").as_deref(), Some("CAST(x'6100' AS TEXT)"));
    }
}
