//! The row decoder: a plan compiled once per table map, run over the row images of its rows events.
//!
//! The sum, for a row of 10 columns and 290 bytes: 10 turns of one jump table; each value is read from the packet where it
//! lies and written once into the batch (a copy of about 250 bytes, 40 bytes of starts, 10 tags); text is checked for UTF-8
//! (ASCII: some 0.05 ns a byte); one bounds check per value. No allocation, no look-up by name, no hashing. The raw drain of
//! such rows costs about 80 ns each, the goal is to stay within as much again.
//!
//! What can't be decoded exactly is refused when the plan is compiled, by column and type; what contradicts the plan is
//! malformed. A decoder never guesses.

pub(crate) mod charset;
mod column;
mod decimal;
mod double;
mod json;
mod partial;
mod temporal;

use std::{borrow::Cow, sync::Arc};

use tailrace_row::{ImageWriter, SchemaError, TableName, TableSchema, Value};

use crate::{
    events::{TableShape, unpack_value},
    protocol::{Cursor, Malformed},
};
use charset::Collations;
use column::Decode;
pub(crate) use column::Unsupported;
#[cfg(feature = "hostile")]
pub(crate) use json::{write_changed_text as write_changed_json_text, write_text as write_json_text};
pub(crate) use partial::{PartialRows, RowFault};

/// Decodes the rows of one table map.
pub(crate) struct RowDecoder {
    schema: Arc<TableSchema>,
    plan: Box<[Decode]>,
}

/// Why a table map gives no decoder.
#[derive(Debug)]
pub(crate) enum NoDecoder {
    Unsupported(Unsupported),
    Schema(SchemaError),
}

/// What is wrong with a row, and in which column.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadRow {
    pub(crate) column: usize,
    pub(crate) malformed: Malformed,
}

impl RowDecoder {
    pub(crate) fn compile(name: TableName, shape: &TableShape<'_>, collations: &Collations) -> Result<Self, NoDecoder> {
        let mut columns = Vec::with_capacity(shape.columns.len());
        let mut plan = Vec::with_capacity(shape.columns.len());
        for (place, column) in shape.columns.iter().enumerate() {
            let is_key = shape.primary_key.contains(&place);
            let (column, decode) = column::compile(column, is_key, collations).map_err(NoDecoder::Unsupported)?;
            columns.push(column);
            plan.push(decode);
        }
        let schema = TableSchema::new(name, columns, &*shape.primary_key).map_err(NoDecoder::Schema)?;
        Ok(Self { schema: Arc::new(schema), plan: plan.into() })
    }

    pub(crate) fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }

    /// Decodes the next image, which has every column.
    #[inline]
    pub(crate) fn decode(&self, rows: &mut Cursor<'_>, out: &mut ImageWriter<'_>) -> Result<(), BadRow> {
        let nulls = rows.take(self.plan.len().div_ceil(8)).map_err(|malformed| BadRow { column: 0, malformed })?;
        for (at, decode) in self.plan.iter().enumerate() {
            if nulls[at / 8] >> (at % 8) & 1 == 1 {
                out.null();
                continue;
            }
            decode.run(rows, out).map_err(|malformed| BadRow { column: at, malformed })?;
        }
        Ok(())
    }
}

impl Decode {
    #[inline]
    fn run(&self, rows: &mut Cursor<'_>, out: &mut ImageWriter<'_>) -> Result<(), Malformed> {
        match *self {
            Self::I8 => out.value(Value::Integer(i64::from(i8::from_le_bytes(rows.array()?)))),
            Self::I16 => out.value(Value::Integer(i64::from(i16::from_le_bytes(rows.array()?)))),
            Self::I24 => out.value(Value::Integer(sign_extended_24(rows.u24()?))),
            Self::I32 => out.value(Value::Integer(i64::from(i32::from_le_bytes(rows.array()?)))),
            Self::I64 => out.value(Value::Integer(i64::from_le_bytes(rows.array()?))),
            Self::U8 => out.value(Value::Unsigned(u64::from(rows.u8()?))),
            Self::U16 => out.value(Value::Unsigned(u64::from(rows.u16()?))),
            Self::U24 => out.value(Value::Unsigned(u64::from(rows.u24()?))),
            Self::U32 => out.value(Value::Unsigned(u64::from(rows.u32()?))),
            Self::U64 => out.value(Value::Unsigned(rows.u64()?)),
            Self::Float => out.value(Value::Float(f32::from_le_bytes(rows.array()?))),
            Self::Double => out.value(Value::Double(f64::from_le_bytes(rows.array()?))),
            Self::Decimal(form) => {
                form.decode(rows.take(form.bytes())?, |decimal| out.value(Value::Decimal(decimal)))?
            }
            Self::Text { length_bytes, charset } => charset::write_text(charset, sized(rows, length_bytes)?, out),
            Self::Bytes { length_bytes } => out.value(Value::Bytes(sized(rows, length_bytes)?)),
            Self::OtherText { length_bytes, charset, is_key } => {
                charset::write_other_text(charset, sized(rows, length_bytes)?, is_key, out);
            }
            Self::CompressedText { length_bytes, charset, is_key } => {
                let bytes = uncompressed(sized(rows, length_bytes)?)?;
                charset::write_any_text(charset, &bytes, is_key, out);
            }
            Self::CompressedBytes { length_bytes } => {
                out.value(Value::Bytes(&uncompressed(sized(rows, length_bytes)?)?));
            }
            Self::Padded { length } => return write_padded(rows, usize::from(length), out),
            Self::Date => out.value(Value::Date(temporal::date(rows)?)),
            Self::Time { fraction } => out.value(Value::Time(temporal::time(rows, fraction)?)),
            Self::DateTime { fraction } => out.value(Value::DateTime(temporal::date_time(rows, fraction)?)),
            Self::Timestamp { fraction } => out.value(Value::Timestamp(temporal::timestamp(rows, fraction)?)),
            Self::Year => out.value(Value::Year(temporal::year(rows)?)),
            Self::Bit { bytes, length } => {
                let bits = rows.big_endian(usize::from(bytes))?;
                out.value(Value::Bit(within(
                    bits,
                    u64::MAX >> (64 - length),
                    "BIT: it has more bits than the column",
                )?));
            }
            Self::Enum { bytes, members } => {
                let index = rows.little_endian(usize::from(bytes))?;
                let index = u16::try_from(index).ok().filter(|index| *index <= members);
                out.value(Value::Enum(index.ok_or(Malformed::new("ENUM: there is no such member"))?));
            }
            Self::Set { bytes, members } => {
                let bits = rows.little_endian(usize::from(bytes))?;
                out.value(Value::Set(within(bits, members, "SET: there is no such member")?));
            }
            Self::Json => {
                let document = sized(rows, 4)?;
                return out.text_with(true, |text| json::write_text(document, text));
            }
            Self::Geometry { length_bytes } => out.value(geometry(sized(rows, length_bytes)?)?),
            Self::Vector { length_bytes, dimension } => {
                let numbers = sized(rows, length_bytes)?;
                let is_possible = numbers.len() % 4 == 0 && numbers.len() / 4 <= dimension as usize;
                out.value(Value::Vector(is_possible.then_some(numbers).ok_or(Malformed::new("VECTOR"))?));
            }
            Self::Uuid => out.value(Value::Uuid(padded(rows)?)),
            Self::Inet4 => out.value(Value::Inet4(padded(rows)?)),
            Self::Inet6 => out.value(Value::Inet6(padded(rows)?)),
        }
        Ok(())
    }
}

/// Bytes behind their length of one to four bytes.
#[inline]
fn sized<'a>(rows: &mut Cursor<'a>, length_bytes: u8) -> Result<&'a [u8], Malformed> {
    let length = match length_bytes {
        1 => usize::from(rows.u8()?),
        2 => usize::from(rows.u16()?),
        3 => rows.u24()? as usize,
        _ => rows.u32()? as usize,
    };
    rows.take(length)
}

/// A value of a COMPRESSED column: empty, or plain behind a zero byte, or packed behind the byte that says how.
fn uncompressed(stored: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    match stored {
        [] => Ok(Cow::Borrowed(&[])),
        [0, plain @ ..] => Ok(Cow::Borrowed(plain)),
        [method, packed @ ..] => unpack_value(*method, packed).map(Cow::Owned),
    }
}

/// Number of the reference system, then well-known binary; nothing at all where the server stored no geometry.
pub(crate) fn geometry(stored: &[u8]) -> Result<Value<'_>, Malformed> {
    match stored.split_first_chunk() {
        Some((srid, wkb)) if !wkb.is_empty() => Ok(Value::Geometry { srid: u32::from_le_bytes(*srid), wkb }),
        None if stored.is_empty() => Ok(Value::Geometry { srid: 0, wkb: &[] }),
        Some(_) | None => Err(Malformed::new("GEOMETRY")),
    }
}

/// The few bytes of a type that is stored as BINARY(N), in the order in which the type's text has them.
fn padded<const N: usize>(rows: &mut Cursor<'_>) -> Result<[u8; N], Malformed> {
    let stored = sized(rows, 1)?;
    let mut padded = [0; N];
    padded.get_mut(..stored.len()).ok_or(Malformed::new("UUID or INET"))?.copy_from_slice(stored);
    Ok(padded)
}

/// BINARY(n): the server leaves out zero bytes at the end.
#[inline]
fn write_padded(rows: &mut Cursor<'_>, length: usize, out: &mut ImageWriter<'_>) -> Result<(), Malformed> {
    let stored = sized(rows, 1)?;
    let mut padded = [0; u8::MAX as usize];
    let padded = &mut padded[..length];
    padded
        .get_mut(..stored.len())
        .ok_or(Malformed::new("BINARY: it is longer than the column"))?
        .copy_from_slice(stored);
    out.value(Value::Bytes(padded));
    Ok(())
}

#[inline]
fn within(bits: u64, allowed: u64, what: &'static str) -> Result<u64, Malformed> {
    if bits & !allowed == 0 { Ok(bits) } else { Err(Malformed::new(what)) }
}

#[inline]
fn sign_extended_24(number: u32) -> i64 {
    i64::from((number << 8).cast_signed() >> 8)
}
