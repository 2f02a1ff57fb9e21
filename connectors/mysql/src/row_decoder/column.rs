//! What a column of a table map is in our terms, and how its values are decoded.
//!
//! The match over the type codes is the list of what is supported. Everything else has a name and is refused by it.

use tailrace_row::{Charset, Column, ColumnType, TextForm};

use super::{
    charset::{self, Collations, Encoding},
    decimal::DecimalForm,
};
use crate::events::{ColumnShape, column_type as t};

/// How the values of one column are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decode {
    I8,
    I16,
    I24,
    I32,
    I64,
    U8,
    U16,
    U24,
    U32,
    U64,
    Float,
    Double,
    Decimal(DecimalForm),
    Text {
        length_bytes: u8,
        charset: Charset,
    },
    Bytes {
        length_bytes: u8,
    },
    Padded {
        length: u8,
    },
    /// Of MariaDB's COMPRESSED columns.
    CompressedText {
        length_bytes: u8,
        charset: Charset,
    },
    CompressedBytes {
        length_bytes: u8,
    },
    Date,
    Time {
        fraction: u8,
    },
    DateTime {
        fraction: u8,
    },
    Timestamp {
        fraction: u8,
    },
    Year,
    Bit {
        bytes: u8,
        length: u8,
    },
    Enum {
        bytes: u8,
        members: u16,
    },
    /// `members` has a bit set for each member.
    Set {
        bytes: u8,
        members: u64,
    },
    Json,
}

/// A column that can't be captured yet, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsupported {
    pub(crate) column: String,
    pub(crate) what: String,
}

pub(super) fn compile(shape: &ColumnShape<'_>, collations: &Collations) -> Result<(Column, Decode), Unsupported> {
    let refused = |what: String| Unsupported { column: shape.name.to_owned(), what };
    let (column_type, decode) = match shape.code {
        t::TINY | t::SHORT | t::INT24 | t::LONG | t::LONGLONG => integer(shape.code, shape.unsigned),
        t::FLOAT => (ColumnType::Float, Decode::Float),
        t::DOUBLE => (ColumnType::Double, Decode::Double),
        t::NEWDECIMAL => decimal(shape.detail).ok_or_else(|| refused("an impossible DECIMAL".to_owned()))?,
        t::BIT => bit(shape.detail).ok_or_else(|| refused("an impossible BIT".to_owned()))?,
        t::DATE => (ColumnType::Date, Decode::Date),
        t::YEAR => (ColumnType::Year, Decode::Year),
        t::TIME2 | t::DATETIME2 | t::TIMESTAMP2 => {
            temporal(shape.code, shape.detail).ok_or_else(|| refused("an impossible fraction of seconds".to_owned()))?
        }
        t::JSON => (ColumnType::Json, Decode::Json),
        t::VARCHAR | t::STRING | t::BLOB | t::VARCHAR_COMPRESSED | t::BLOB_COMPRESSED => {
            text_or_bytes(shape, collations).map_err(refused)?
        }
        t::ENUM | t::SET => members(shape, collations).map_err(refused)?,
        _ => return Err(refused(format!("type {}", type_name(shape.code)))),
    };
    Ok((Column { name: shape.name.into(), column_type, nullable: shape.nullable }, decode))
}

fn integer(code: u8, unsigned: bool) -> (ColumnType, Decode) {
    let (bits, signed_decode, unsigned_decode) = match code {
        t::TINY => (8, Decode::I8, Decode::U8),
        t::SHORT => (16, Decode::I16, Decode::U16),
        t::INT24 => (24, Decode::I24, Decode::U24),
        t::LONG => (32, Decode::I32, Decode::U32),
        _ => (64, Decode::I64, Decode::U64),
    };
    (ColumnType::Integer { bits, unsigned }, if unsigned { unsigned_decode } else { signed_decode })
}

fn decimal(detail: u16) -> Option<(ColumnType, Decode)> {
    let [precision, scale] = detail.to_le_bytes();
    Some((ColumnType::Decimal { precision, scale }, Decode::Decimal(DecimalForm::new(precision, scale)?)))
}

/// Whole bytes in the high half, further bits in the low one.
fn bit(detail: u16) -> Option<(ColumnType, Decode)> {
    let [bits, bytes] = detail.to_le_bytes();
    let length = bytes.checked_mul(8)?.checked_add(bits)?;
    let is_possible = bits < 8 && (1..=64).contains(&length);
    is_possible.then(|| (ColumnType::Bit { length }, Decode::Bit { bytes: length.div_ceil(8), length }))
}

fn temporal(code: u8, detail: u16) -> Option<(ColumnType, Decode)> {
    let fraction = u8::try_from(detail).ok().filter(|digits| *digits <= 6)?;
    Some(match code {
        t::TIME2 => (ColumnType::Time { fraction }, Decode::Time { fraction }),
        t::DATETIME2 => (ColumnType::DateTime { fraction }, Decode::DateTime { fraction }),
        _ => (ColumnType::Timestamp { fraction }, Decode::Timestamp { fraction }),
    })
}

fn text_or_bytes(shape: &ColumnShape<'_>, collations: &Collations) -> Result<(ColumnType, Decode), String> {
    let (form, length_bytes, bytes_max) = match shape.code {
        t::BLOB | t::BLOB_COMPRESSED => {
            (TextForm::Large, shape.detail, large_bytes_max(shape.detail).ok_or("an impossible BLOB")?)
        }
        // One byte more is kept for how it is compressed.
        t::VARCHAR_COMPRESSED => (
            TextForm::Varying,
            if shape.detail < 256 { 1 } else { 2 },
            u32::from(shape.detail).checked_sub(1).ok_or("an impossible VARCHAR")?,
        ),
        code => {
            let form = if code == t::STRING { TextForm::Fixed } else { TextForm::Varying };
            (form, if shape.detail < 256 { 1 } else { 2 }, u32::from(shape.detail))
        }
    };
    let length_bytes = u8::try_from(length_bytes).map_err(|_| "an impossible BLOB")?;
    let collation = shape.collation.ok_or("a text without collation in the table map")?;
    let is_compressed = matches!(shape.code, t::VARCHAR_COMPRESSED | t::BLOB_COMPRESSED);
    match collations.encoding(collation) {
        Encoding::Text(charset) => {
            let decode = match is_compressed {
                true => Decode::CompressedText { length_bytes, charset },
                false => Decode::Text { length_bytes, charset },
            };
            Ok((ColumnType::Text { form, bytes_max, charset }, decode))
        }
        Encoding::Binary => {
            let decode = match (form, u8::try_from(bytes_max)) {
                _ if is_compressed => Decode::CompressedBytes { length_bytes },
                (TextForm::Fixed, Ok(length)) => Decode::Padded { length },
                (TextForm::Fixed, Err(_)) => return Err("an impossible BINARY".to_owned()),
                (TextForm::Varying | TextForm::Large, _) => Decode::Bytes { length_bytes },
            };
            Ok((ColumnType::Bytes { form, bytes_max }, decode))
        }
        Encoding::Unsupported(charset) => Err(format!("charset {charset}")),
    }
}

/// Most bytes of a BLOB or TEXT by the bytes of its length.
fn large_bytes_max(length_bytes: u16) -> Option<u32> {
    (1..=4).contains(&length_bytes).then(|| u32::MAX >> (32 - 8 * u32::from(length_bytes)))
}

fn members(shape: &ColumnShape<'_>, collations: &Collations) -> Result<(ColumnType, Decode), String> {
    let collation = shape.collation.ok_or("members without collation in the table map")?;
    let charset = match collations.encoding(collation) {
        Encoding::Text(charset) => charset,
        // Members of a binary column are bytes that print as they are.
        Encoding::Binary => Charset::Utf8mb4,
        Encoding::Unsupported(charset) => return Err(format!("charset {charset}")),
    };
    let names: Option<Box<[Box<str>]>> =
        shape.members.iter().map(|member| charset::to_text(charset, member).map(Into::into)).collect();
    let names = names.ok_or("a member that is no text of its charset")?;
    let count = names.len();
    let [bytes, _] = shape.detail.to_le_bytes();
    match (shape.code, bytes) {
        (t::ENUM, 1 | 2) if (1..=0xffff).contains(&count) => {
            let members = u16::try_from(count).map_err(|_| "an impossible ENUM")?;
            Ok((ColumnType::Enum { members: names }, Decode::Enum { bytes, members }))
        }
        (t::SET, 1..=4 | 8) if (1..=64).contains(&count) => {
            Ok((ColumnType::Set { members: names }, Decode::Set { bytes, members: u64::MAX >> (64 - count) }))
        }
        _ => Err("impossible members".to_owned()),
    }
}

/// The name of a type that is not supported.
fn type_name(code: u8) -> String {
    let name = match code {
        t::GEOMETRY => "GEOMETRY",
        t::VECTOR => "VECTOR",
        t::VAR_STRING => "VARCHAR of MySQL 4",
        7 => "TIMESTAMP of MySQL 5.5 or MariaDB 5.3 (ALTER TABLE … FORCE makes it a present one)",
        11 => "TIME of MySQL 5.5 or MariaDB 5.3 (ALTER TABLE … FORCE makes it a present one)",
        12 => "DATETIME of MySQL 5.5 or MariaDB 5.3 (ALTER TABLE … FORCE makes it a present one)",
        20 => "TYPED_ARRAY",
        _ => return format!("number {code}"),
    };
    name.to_owned()
}
