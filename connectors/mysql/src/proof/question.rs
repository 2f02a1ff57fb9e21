//! What is asked of a column, what the answer means, and how a key is spelled.

use mysql_async::{Row, Value};
use tailrace_contract::{CanonicalForm, CanonicalWriter, Era, Error, KeyField, Result};
use tailrace_row::{Charset, Column, ColumnType};

/// One column of the answer, or two.
pub(super) struct Question {
    name: Box<str>,
    form: CanonicalForm,
    asked: String,
    beside: Option<Beside>,
}

/// What is asked beside a value that alone would leave a doubt.
struct Beside {
    asked: String,
    doubt: Doubt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// The server turns what it can't convert into question marks: their number tells them from real ones.
    Converted(Units),
    /// The same where the server also shows U+FFFD for what is none: no such charset has that character.
    ConvertedOrReplaced,
    /// ENUM: the text '' is a member, and index 0 is none.
    EmptyMember,
    /// SET: the text '' is the empty set, or the one member ''.
    EmptySet,
}

/// How wide a question mark is in a charset. No charset has its byte within another character of one to four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Units {
    Bytes,
    /// Of two bytes, the high one first.
    Pairs,
    PairsTurned,
    Fours,
}

impl Question {
    pub(super) fn of(column: &Column) -> Self {
        let name = quote(&column.name);
        let form = CanonicalForm::of(&column.column_type);
        let asked = match form {
            // Printed in full, whatever digits the column declares; a FLOAT is widened by the server.
            CanonicalForm::Float => format!("CAST({name} AS DOUBLE)"),
            CanonicalForm::Bits { .. } => format!("{name} + 0"),
            CanonicalForm::Number
            | CanonicalForm::Text
            | CanonicalForm::Bytes
            | CanonicalForm::Label
            | CanonicalForm::Day
            | CanonicalForm::Duration
            | CanonicalForm::Clock
            | CanonicalForm::Instant
            | CanonicalForm::Json
            | CanonicalForm::Geometry
            | CanonicalForm::Vector
            | CanonicalForm::Uuid
            | CanonicalForm::Address => name.clone(),
        };
        let beside = doubt(&column.column_type).map(|doubt| {
            let asked = match doubt {
                Doubt::Converted(_) | Doubt::ConvertedOrReplaced => format!("CAST({name} AS BINARY)"),
                Doubt::EmptyMember | Doubt::EmptySet => format!("{name} + 0"),
            };
            Beside { asked, doubt }
        });
        Self { name: column.name.clone(), form, asked, beside }
    }

    pub(super) fn expressions(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.asked.as_str()).chain(self.beside.as_ref().map(|beside| beside.asked.as_str()))
    }

    /// Writes the canonical field of the answer that stands at `place`, and moves on.
    pub(super) fn read(
        &self,
        row: &Row,
        place: &mut usize,
        writer: &mut CanonicalWriter,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let answer = self.next(row, place)?;
        let beside = self.beside.as_ref().map(|beside| Ok((beside.doubt, self.next(row, place)?))).transpose()?;
        let Some(answer) = answer else {
            writer.null(out);
            return Ok(());
        };
        if let Some((doubt, Some(beside))) = beside
            && let Some(bytes) = doubt.resolve(answer, beside)
        {
            writer.invalid_text(bytes, out);
            return Ok(());
        }
        if self.form == CanonicalForm::Geometry {
            return self.read_geometry(answer, writer, out);
        }
        writer.value(self.form, answer, Era::Common, out).map_err(|_| self.unreadable())
    }

    /// As the server stores it, so that no function decides which axis comes first.
    fn read_geometry(&self, answer: &[u8], writer: &mut CanonicalWriter, out: &mut Vec<u8>) -> Result<()> {
        match answer.split_first_chunk() {
            Some((srid, wkb)) => writer.geometry(u32::from_le_bytes(*srid), wkb, out),
            None if answer.is_empty() => writer.geometry(0, &[], out),
            None => return Err(self.unreadable()),
        }
        Ok(())
    }

    fn next<'r>(&self, row: &'r Row, place: &mut usize) -> Result<Option<&'r [u8]>> {
        *place += 1;
        match row.as_ref(*place - 1) {
            Some(Value::NULL) => Ok(None),
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            // The text protocol has no other form.
            _ => Err(self.unreadable()),
        }
    }

    fn unreadable(&self) -> Error {
        Error::refused(format!("column {}: the server's answer is no value of the column's type", self.name))
            .hint("the table may have changed since its schema was read")
    }
}

fn doubt(column_type: &ColumnType) -> Option<Doubt> {
    let has_empty = |members: &[Box<str>]| members.iter().any(|member| member.is_empty());
    match column_type {
        ColumnType::Text { charset, .. } => match charset {
            // Every byte of latin1 is a character; what is no utf8mb4 comes as it is.
            Charset::Utf8mb4 | Charset::Latin1 => None,
            Charset::Ucs2 | Charset::Utf16 => Some(Doubt::Converted(Units::Pairs)),
            Charset::Utf16Le => Some(Doubt::Converted(Units::PairsTurned)),
            Charset::Utf32 => Some(Doubt::Converted(Units::Fours)),
            Charset::Gb18030 | Charset::Utf8mb3 => Some(Doubt::Converted(Units::Bytes)),
            _ => Some(Doubt::ConvertedOrReplaced),
        },
        ColumnType::Enum { members } if has_empty(members) => Some(Doubt::EmptyMember),
        ColumnType::Set { members } if has_empty(members) => Some(Doubt::EmptySet),
        _ => None,
    }
}

impl Doubt {
    /// The bytes to write as no text, if the answer is none.
    fn resolve<'r>(self, answer: &[u8], beside: &'r [u8]) -> Option<&'r [u8]> {
        let is_text = match self {
            Self::Converted(units) => {
                std::str::from_utf8(answer).is_ok() && units.marks(beside) == Units::Bytes.marks(answer)
            }
            Self::ConvertedOrReplaced => {
                let is_replaced = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
                std::str::from_utf8(answer).is_ok_and(|text| !is_replaced(text))
                    && Units::Bytes.marks(beside) == Units::Bytes.marks(answer)
            }
            Self::EmptyMember => beside != b"0",
            Self::EmptySet => !answer.is_empty() || beside == b"0",
        };
        (!is_text).then_some(beside)
    }
}

impl Units {
    /// Question marks in a text.
    fn marks(self, text: &[u8]) -> usize {
        match self {
            Self::Bytes => text.iter().filter(|byte| **byte == b'?').count(),
            Self::Pairs => text.as_chunks().0.iter().filter(|unit| **unit == [0, b'?']).count(),
            Self::PairsTurned => text.as_chunks().0.iter().filter(|unit| **unit == [b'?', 0]).count(),
            Self::Fours => text.as_chunks().0.iter().filter(|unit| **unit == [0, 0, 0, b'?']).count(),
        }
    }
}

/// A value of a key column in SQL. None where no comparison finds it.
pub(super) fn literal(column_type: &ColumnType, field: &KeyField) -> Option<String> {
    Some(match field {
        KeyField::Number(digits) => digits.clone(),
        KeyField::Float(number) => format!("{number:e}"),
        KeyField::Text(text) => text_literal(text),
        // The server refuses such a text in a query.
        KeyField::InvalidText(_) => return None,
        KeyField::Bytes(bytes) => format!("x'{}'", hex(bytes)),
        KeyField::Label { number, .. } => number.to_string(),
        KeyField::Moment(text) => match column_type {
            ColumnType::Date => format!("DATE'{text}'"),
            _ => format!("'{text}'"),
        },
        KeyField::Address(text) => format!("'{text}'"),
        KeyField::Geometry { srid, wkb } => format!("x'{}{}'", hex(&srid.to_le_bytes()), hex(wkb)),
    })
}

/// Characters, whatever they are.
pub(super) fn text_literal(text: &str) -> String {
    format!("_utf8mb4 x'{}'", hex(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("invariant: writing to a String can't fail");
    }
    text
}

/// A name in the server's quotes.
pub(super) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_tell_what_was_lost() {
        let converted = Doubt::Converted(Units::Bytes);
        assert_eq!(converted.resolve(b"a?b?", b"a?b?"), None);
        assert_eq!(converted.resolve(b"a?b?", b"a?b\xff"), Some(&b"a?b\xff"[..]));
    }

    #[test]
    fn an_empty_label_is_a_member_or_none() {
        assert_eq!(Doubt::EmptyMember.resolve(b"", b"2"), None);
        assert_eq!(Doubt::EmptyMember.resolve(b"", b"0"), Some(&b"0"[..]));
        assert_eq!(Doubt::EmptySet.resolve(b"", b"0"), None);
        assert_eq!(Doubt::EmptySet.resolve(b"", b"4"), Some(&b"4"[..]));
        assert_eq!(Doubt::EmptySet.resolve(b"a", b"1"), None);
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quote("a`b"), "`a``b`");
    }
}
