//! How the columns of a table are asked for, and how their values are read from a row in the protocol's binary form.
//!
//! Numbers lie there as in the binlog, but for 24-bit ones, which take four bytes; texts and bytes behind a packed length; days
//! and times as separate numbers. A row begins with one bit for each column that says whether it is NULL, behind two unused.

use std::sync::Arc;

use tailrace_contract::Error;
use tailrace_row::{
    Charset, ColumnType, Date, DateTime, ImageWriter, TableSchema, Time, Timestamp, Value, parse_inet4, parse_inet6,
    parse_uuid,
};

use super::decimal_text;
use crate::{
    errors,
    protocol::{AnswerColumn, Cursor, Malformed},
    row_decoder::{BadRow, charset::write_any_text, geometry},
};

/// How the values of one column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Integer {
        bytes: u8,
        unsigned: bool,
    },
    Float,
    Double,
    Decimal {
        scale: u8,
    },
    Bit {
        length: u8,
    },
    Text {
        charset: Charset,
        is_key: bool,
    },
    Bytes,
    Enum {
        members: u16,
    },
    /// A bit is set for each member.
    Set {
        members: u64,
    },
    Date,
    Time,
    DateTime,
    Timestamp,
    Year,
    Json,
    Geometry,
    Vector {
        dimension: u32,
    },
    Uuid,
    Inet4,
    Inet6,
}

/// Some columns of a table, in the order in which a statement asks for them.
pub(super) struct RowPlan {
    forms: Box<[Form]>,
    /// Of the schema.
    places: Box<[usize]>,
}

impl RowPlan {
    pub(super) fn new(schema: &Arc<TableSchema>, places: impl Iterator<Item = usize>) -> Self {
        let places: Box<[usize]> = places.collect();
        let form = |place: &usize| Form::of(&schema.columns()[*place].column_type, schema.key().contains(place));
        let forms = places.iter().map(form).collect();
        Self { forms, places }
    }

    /// Whether the server describes its answer as what this plan reads.
    pub(super) fn is_answered_by(&self, columns: &[AnswerColumn]) -> bool {
        self.forms.len() == columns.len()
            && self.forms.iter().zip(columns).all(|(form, column)| form.is_answered_by(*column))
    }

    /// Writes the row's columns.
    #[inline]
    pub(super) fn decode(&self, row: &[u8], out: &mut ImageWriter<'_>) -> Result<(), BadRow> {
        const UNUSED_BITS: usize = 2;
        let mut row = Cursor::new(row);
        let nulls = row.take((self.forms.len() + UNUSED_BITS).div_ceil(8));
        let nulls = nulls.map_err(|malformed| BadRow { column: 0, malformed })?;
        for (at, form) in self.forms.iter().enumerate() {
            let bit = at + UNUSED_BITS;
            if nulls[bit / 8] >> (bit % 8) & 1 == 1 {
                out.null();
                continue;
            }
            form.decode(&mut row, out).map_err(|malformed| BadRow { column: at, malformed })?;
        }
        match row.is_empty() {
            true => Ok(()),
            false => Err(BadRow { column: 0, malformed: Malformed::new("row: it goes on behind its last column") }),
        }
    }

    pub(super) fn error_of(&self, bad: BadRow, schema: &TableSchema) -> Error {
        let column = self.places.get(bad.column).map_or("", |place| &schema.columns()[*place].name);
        errors::malformed(bad.malformed).context(format_args!("reading column {column}"))
    }
}

impl Form {
    fn of(column: &ColumnType, is_key: bool) -> Self {
        match column {
            ColumnType::Integer { bits: bits @ (8 | 16 | 64), unsigned } => {
                Self::Integer { bytes: bits / 8, unsigned: *unsigned }
            }
            ColumnType::Integer { bits: _, unsigned } => Self::Integer { bytes: 4, unsigned: *unsigned },
            ColumnType::Decimal { scale, .. } => Self::Decimal { scale: *scale },
            ColumnType::Float => Self::Float,
            ColumnType::Double => Self::Double,
            ColumnType::Bit { length } => Self::Bit { length: *length },
            ColumnType::Text { charset, .. } => Self::Text { charset: *charset, is_key },
            ColumnType::Bytes { .. } => Self::Bytes,
            ColumnType::Enum { members } => Self::Enum { members: u16::try_from(members.len()).unwrap_or(u16::MAX) },
            ColumnType::Set { members } => Self::Set { members: all_bits(members.len()) },
            ColumnType::Date => Self::Date,
            ColumnType::Time { .. } => Self::Time,
            ColumnType::DateTime { .. } => Self::DateTime,
            ColumnType::Timestamp { .. } => Self::Timestamp,
            ColumnType::Year => Self::Year,
            ColumnType::Json => Self::Json,
            ColumnType::Geometry { .. } => Self::Geometry,
            ColumnType::Vector { dimension } => Self::Vector { dimension: *dimension },
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Inet4 => Self::Inet4,
            ColumnType::Inet6 => Self::Inet6,
        }
    }

    /// Types of texts and bytes differ by version and expression: all of them lie behind a packed length.
    fn is_answered_by(self, column: AnswerColumn) -> bool {
        let is_sized = matches!(column.code, code::VARCHAR | code::VECTOR..=code::GEOMETRY);
        match self {
            Self::Integer { bytes, unsigned } => {
                let codes: &[u8] = match bytes {
                    1 => &[code::TINY],
                    2 => &[code::SHORT],
                    4 => &[code::LONG, code::INT24],
                    _ => &[code::LONGLONG],
                };
                codes.contains(&column.code) && column.unsigned == unsigned
            }
            Self::Enum { .. } | Self::Set { .. } => column == AnswerColumn { code: code::LONGLONG, unsigned: true },
            Self::Float => column.code == code::FLOAT,
            Self::Double => column.code == code::DOUBLE,
            Self::Decimal { .. } => column.code == code::NEWDECIMAL,
            Self::Bit { .. } => column.code == code::BIT,
            Self::Text { .. } | Self::Bytes | Self::Json | Self::Geometry | Self::Vector { .. } => is_sized,
            Self::Uuid | Self::Inet4 | Self::Inet6 => is_sized,
            Self::Date => column.code == code::DATE,
            Self::Time => column.code == code::TIME,
            Self::DateTime => column.code == code::DATE_TIME,
            Self::Timestamp => column.code == code::TIMESTAMP,
            Self::Year => column.code == code::YEAR,
        }
    }

    #[inline]
    fn decode(self, row: &mut Cursor<'_>, out: &mut ImageWriter<'_>) -> Result<(), Malformed> {
        match self {
            Self::Integer { bytes, unsigned: true } => out.value(Value::Unsigned(row.little_endian(bytes.into())?)),
            Self::Integer { bytes, unsigned: false } => {
                let unused = 64 - 8 * u32::from(bytes);
                let number = row.little_endian(bytes.into())?;
                out.value(Value::Integer((number << unused).cast_signed() >> unused));
            }
            Self::Float => out.value(Value::Float(f32::from_le_bytes(row.array()?))),
            Self::Double => out.value(Value::Double(f64::from_le_bytes(row.array()?))),
            Self::Decimal { scale } => {
                return decimal_text::decode(row.packed_bytes()?, scale, |number| out.value(Value::Decimal(number)));
            }
            Self::Bit { length } => {
                const BAD: Malformed = Malformed::new("BIT: it has more bits than the column");
                let mut stored = Cursor::new(row.packed_bytes()?);
                let bits = if stored.len() > 8 { return Err(BAD) } else { stored.big_endian(stored.len())? };
                out.value(Value::Bit(within(bits, all_bits(length.into()), BAD)?));
            }
            Self::Text { charset, is_key } => write_any_text(charset, row.packed_bytes()?, is_key, out),
            Self::Bytes => out.value(Value::Bytes(row.packed_bytes()?)),
            Self::Enum { members } => {
                let index = u16::try_from(row.u64()?).ok().filter(|index| *index <= members);
                out.value(Value::Enum(index.ok_or(Malformed::new("ENUM: there is no such member"))?));
            }
            Self::Set { members } => {
                out.value(Value::Set(within(row.u64()?, members, Malformed::new("SET: there is no such member"))?));
            }
            Self::Date => out.value(Value::Date(moment(row)?.date)),
            Self::Time => out.value(Value::Time(time(row)?)),
            Self::DateTime => out.value(Value::DateTime(moment(row)?)),
            Self::Timestamp => out.value(Value::Timestamp(instant(moment(row)?)?)),
            Self::Year => match row.u16()? {
                year @ (0 | 1901..=2155) => out.value(Value::Year(year)),
                _ => return Err(Malformed::new("YEAR")),
            },
            Self::Json => {
                let text =
                    std::str::from_utf8(row.packed_bytes()?).map_err(|_| Malformed::new("JSON: it is no UTF-8"))?;
                out.value(Value::Json(text));
            }
            Self::Geometry => out.value(geometry(row.packed_bytes()?)?),
            Self::Vector { dimension } => {
                let numbers = row.packed_bytes()?;
                let is_possible = numbers.len() % 4 == 0 && numbers.len() / 4 <= dimension as usize;
                out.value(Value::Vector(is_possible.then_some(numbers).ok_or(Malformed::new("VECTOR"))?));
            }
            Self::Uuid => out.value(Value::Uuid(address(row, parse_uuid)?)),
            Self::Inet4 => out.value(Value::Inet4(address(row, parse_inet4)?)),
            Self::Inet6 => out.value(Value::Inet6(address(row, parse_inet6)?)),
        }
        Ok(())
    }
}

/// Types of an answer's columns, by the numbers of the protocol; texts and bytes have those from VECTOR on.
mod code {
    pub(super) const TINY: u8 = 1;
    pub(super) const SHORT: u8 = 2;
    pub(super) const LONG: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const TIMESTAMP: u8 = 7;
    pub(super) const LONGLONG: u8 = 8;
    pub(super) const INT24: u8 = 9;
    pub(super) const DATE: u8 = 10;
    pub(super) const TIME: u8 = 11;
    pub(super) const DATE_TIME: u8 = 12;
    pub(super) const YEAR: u8 = 13;
    pub(super) const VARCHAR: u8 = 15;
    pub(super) const BIT: u8 = 16;
    pub(super) const VECTOR: u8 = 242;
    pub(super) const NEWDECIMAL: u8 = 246;
    pub(super) const GEOMETRY: u8 = 255;
}

/// What MariaDB prints of types that it stores as bytes.
fn address<const N: usize>(row: &mut Cursor<'_>, parse: fn(&str) -> Option<[u8; N]>) -> Result<[u8; N], Malformed> {
    let text = std::str::from_utf8(row.packed_bytes()?).ok();
    text.and_then(parse).ok_or(Malformed::new("text of a UUID or an address"))
}

fn all_bits(count: usize) -> u64 {
    match count {
        0 => 0,
        1..=64 => u64::MAX >> (64 - count),
        65.. => u64::MAX,
    }
}

#[inline]
fn within(bits: u64, allowed: u64, bad: Malformed) -> Result<u64, Malformed> {
    if bits & !allowed == 0 { Ok(bits) } else { Err(bad) }
}

/// A day and a clock: nothing if all is zero, 4 bytes for a day, 7 with a clock, 11 with microseconds.
#[inline]
fn moment(row: &mut Cursor<'_>) -> Result<DateTime, Malformed> {
    const BAD: Malformed = Malformed::new("day and time");
    let length = row.u8()?;
    let mut moment = DateTime::default();
    if !matches!(length, 0 | 4 | 7 | 11) {
        return Err(BAD);
    }
    if length >= 4 {
        moment.date = Date { year: row.u16()?, month: row.u8()?, day: row.u8()? };
    }
    if length >= 7 {
        (moment.hour, moment.minute, moment.second) = (row.u8()?, row.u8()?, row.u8()?);
    }
    if length == 11 {
        moment.micros = row.u32()?;
    }
    let Date { year, month, day } = moment.date;
    let is_possible = year <= 9999 && month <= 12 && day <= 31 && moment.hour < 24;
    let is_possible = is_possible && moment.minute < 60 && moment.second < 60 && moment.micros < 1_000_000;
    if is_possible { Ok(moment) } else { Err(BAD) }
}

/// A sign, days, hours, minutes and seconds in 8 bytes, microseconds in 4 more; nothing if all is zero.
#[inline]
fn time(row: &mut Cursor<'_>) -> Result<Time, Malformed> {
    const BAD: Malformed = Malformed::new("TIME");
    let length = row.u8()?;
    if length == 0 {
        return Ok(Time { micros: 0 });
    }
    if length != 8 && length != 12 {
        return Err(BAD);
    }
    let is_negative = row.u8()? != 0;
    let hours = i64::from(row.u32()?) * 24 + i64::from(row.u8()?);
    let (minutes, seconds) = (row.u8()?, row.u8()?);
    let micros = if length == 12 { row.u32()? } else { 0 };
    if hours > 838 || minutes > 59 || seconds > 59 || micros > 999_999 {
        return Err(BAD);
    }
    let seconds = hours * 3600 + i64::from(minutes) * 60 + i64::from(seconds);
    let micros = seconds * 1_000_000 + i64::from(micros);
    Ok(Time { micros: if is_negative { -micros } else { micros } })
}

/// The session's zone is UTC.
#[inline]
fn instant(clock: DateTime) -> Result<Timestamp, Malformed> {
    if clock == DateTime::default() {
        return Ok(Timestamp::Zero);
    }
    clock.micros_since_epoch().map(Timestamp::Micros).ok_or(Malformed::new("TIMESTAMP: no such day"))
}
