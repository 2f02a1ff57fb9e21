//! What a column of a table map is in our terms, and how its values are decoded.
//!
//! The match over the type codes is the list of what is supported. Everything else has a name and is refused by it.

use tailrace_row::{Charset, Column, ColumnType, GeometryKind, TextForm};

use super::{
    charset::{self, Collations, Encoding},
    decimal::DecimalForm,
};
use crate::events::{ColumnShape, Disguised, TypeCode, TypeCode as T};

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
    /// Of one of the charsets that most columns have.
    Text {
        length_bytes: u8,
        charset: Charset,
    },
    OtherText {
        length_bytes: u8,
        charset: Charset,
        is_key: bool,
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
        is_key: bool,
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
    Geometry {
        length_bytes: u8,
    },
    Vector {
        length_bytes: u8,
        dimension: u32,
    },
    /// Of MariaDB: BINARY by another name.
    Uuid,
    Inet4,
    Inet6,
}

/// A column that can't be captured yet, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsupported {
    pub(crate) column: String,
    pub(crate) what: String,
}

pub(super) fn compile(
    shape: &ColumnShape<'_>,
    is_key: bool,
    collations: &Collations,
) -> Result<(Column, Decode), Unsupported> {
    let refused = |what: String| Unsupported { column: shape.name.to_owned(), what };
    let (column_type, decode) = match shape.code {
        T::Tiny | T::Short | T::Int24 | T::Long | T::LongLong => integer(shape.code, shape.unsigned),
        T::Float => (ColumnType::Float, Decode::Float),
        T::Double => (ColumnType::Double, Decode::Double),
        T::NewDecimal => decimal(shape.detail).ok_or_else(|| refused("an impossible DECIMAL".to_owned()))?,
        T::Bit => bit(shape.detail).ok_or_else(|| refused("an impossible BIT".to_owned()))?,
        T::Date => (ColumnType::Date, Decode::Date),
        T::Year => (ColumnType::Year, Decode::Year),
        T::Time | T::DateTime | T::Timestamp => {
            temporal(shape.code, shape.detail).ok_or_else(|| refused("an impossible fraction of seconds".to_owned()))?
        }
        T::Json => (ColumnType::Json, Decode::Json),
        T::Char if shape.disguised.is_some() => disguised(shape).map_err(refused)?,
        T::Varchar | T::Char | T::Blob | T::CompressedVarchar | T::CompressedBlob => {
            text_or_bytes(shape, is_key, collations).map_err(refused)?
        }
        T::Enum | T::Set => members(shape, collations).map_err(refused)?,
        T::Geometry => geometry(shape).ok_or_else(|| refused("an impossible GEOMETRY".to_owned()))?,
        T::Vector => vector(shape).ok_or_else(|| refused("an impossible VECTOR".to_owned()))?,
        T::Null
        | T::OldDecimal
        | T::NewDate
        | T::OldTime
        | T::OldDateTime
        | T::OldTimestamp
        | T::OldVarchar
        | T::SizedBlob
        | T::TypedArray
        | T::Unknown(_) => return Err(refused(format!("type {}", type_name(shape.code)))),
    };
    Ok((Column { name: shape.name.into(), column_type, nullable: shape.nullable }, decode))
}

fn integer(code: TypeCode, unsigned: bool) -> (ColumnType, Decode) {
    let (bits, signed_decode, unsigned_decode) = match code {
        T::Tiny => (8, Decode::I8, Decode::U8),
        T::Short => (16, Decode::I16, Decode::U16),
        T::Int24 => (24, Decode::I24, Decode::U24),
        T::Long => (32, Decode::I32, Decode::U32),
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

fn temporal(code: TypeCode, detail: u16) -> Option<(ColumnType, Decode)> {
    let fraction = u8::try_from(detail).ok().filter(|digits| *digits <= 6)?;
    Some(match code {
        T::Time => (ColumnType::Time { fraction }, Decode::Time { fraction }),
        T::DateTime => (ColumnType::DateTime { fraction }, Decode::DateTime { fraction }),
        _ => (ColumnType::Timestamp { fraction }, Decode::Timestamp { fraction }),
    })
}

fn text_or_bytes(
    shape: &ColumnShape<'_>,
    is_key: bool,
    collations: &Collations,
) -> Result<(ColumnType, Decode), String> {
    let (form, length_bytes, bytes_max) = match shape.code {
        T::Blob | T::CompressedBlob => {
            (TextForm::Large, shape.detail, large_bytes_max(shape.detail).ok_or("an impossible BLOB")?)
        }
        // One byte more is kept for how it is compressed.
        T::CompressedVarchar => (
            TextForm::Varying,
            if shape.detail < 256 { 1 } else { 2 },
            u32::from(shape.detail).checked_sub(1).ok_or("an impossible VARCHAR")?,
        ),
        code => {
            let form = if code == T::Char { TextForm::Fixed } else { TextForm::Varying };
            (form, if shape.detail < 256 { 1 } else { 2 }, u32::from(shape.detail))
        }
    };
    let length_bytes = u8::try_from(length_bytes).map_err(|_| "an impossible BLOB")?;
    let collation = shape.collation.ok_or("a text without collation in the table map")?;
    let is_compressed = matches!(shape.code, T::CompressedVarchar | T::CompressedBlob);
    match collations.encoding(collation) {
        Encoding::Text(charset) => {
            let decode = match (is_compressed, charset::is_common(charset)) {
                (true, _) => Decode::CompressedText { length_bytes, charset, is_key },
                (false, true) => Decode::Text { length_bytes, charset },
                (false, false) => Decode::OtherText { length_bytes, charset, is_key },
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
        (T::Enum, 1 | 2) if (1..=0xffff).contains(&count) => {
            let members = u16::try_from(count).map_err(|_| "an impossible ENUM")?;
            Ok((ColumnType::Enum { members: names }, Decode::Enum { bytes, members }))
        }
        (T::Set, 1..=4 | 8) if (1..=64).contains(&count) => {
            Ok((ColumnType::Set { members: names }, Decode::Set { bytes, members: u64::MAX >> (64 - count) }))
        }
        _ => Err("impossible members".to_owned()),
    }
}

/// The kind of a geometry by its number in well-known binary.
fn geometry_kind(number: u64) -> Option<GeometryKind> {
    Some(match number {
        0 => GeometryKind::Geometry,
        1 => GeometryKind::Point,
        2 => GeometryKind::LineString,
        3 => GeometryKind::Polygon,
        4 => GeometryKind::MultiPoint,
        5 => GeometryKind::MultiLineString,
        6 => GeometryKind::MultiPolygon,
        7 => GeometryKind::GeometryCollection,
        _ => return None,
    })
}

fn geometry(shape: &ColumnShape<'_>) -> Option<(ColumnType, Decode)> {
    let kind = geometry_kind(shape.geometry?)?;
    Some((ColumnType::Geometry { kind }, Decode::Geometry { length_bytes: large_length(shape.detail)? }))
}

fn vector(shape: &ColumnShape<'_>) -> Option<(ColumnType, Decode)> {
    let dimension = u32::try_from(shape.dimension?).ok()?;
    Some((ColumnType::Vector { dimension }, Decode::Vector { length_bytes: large_length(shape.detail)?, dimension }))
}

/// Bytes of the length of what is stored like a BLOB.
fn large_length(detail: u16) -> Option<u8> {
    u8::try_from(detail).ok().filter(|bytes| (1..=4).contains(bytes))
}

fn disguised(shape: &ColumnShape<'_>) -> Result<(ColumnType, Decode), String> {
    match (shape.disguised, shape.detail) {
        (Some(Disguised::Uuid), 16) => Ok((ColumnType::Uuid, Decode::Uuid)),
        (Some(Disguised::Inet4), 4) => Ok((ColumnType::Inet4, Decode::Inet4)),
        (Some(Disguised::Inet6), 16) => Ok((ColumnType::Inet6, Decode::Inet6)),
        (_, length) => Err(format!("another length than its type in the dictionary ({length})")),
    }
}

/// The name of a type that is not supported.
fn type_name(code: TypeCode) -> String {
    let name = match code {
        T::OldVarchar => "VARCHAR of MySQL 4",
        T::OldDecimal => "DECIMAL of MySQL 4",
        T::OldTimestamp => "TIMESTAMP of MySQL 5.5 or MariaDB 5.3 (ALTER TABLE … FORCE makes it a present one)",
        T::OldTime => "TIME of MySQL 5.5 or MariaDB 5.3 (ALTER TABLE … FORCE makes it a present one)",
        T::OldDateTime => "DATETIME of MySQL 5.5 or MariaDB 5.3 (ALTER TABLE … FORCE makes it a present one)",
        T::TypedArray => "TYPED_ARRAY",
        T::Unknown(code) => return format!("number {code}"),
        other => return format!("{other:?}"),
    };
    name.to_owned()
}
