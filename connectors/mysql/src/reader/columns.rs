//! How the columns of a table are asked for, and how their values are read from a row in the protocol's binary form.
//!
//! Numbers lie there as in the binlog, but for 24-bit ones, which take four bytes; texts and bytes behind a packed length; days
//! and times as separate numbers. A row begins with one bit for each column that says whether it is NULL, behind two unused.

use std::sync::Arc;

use tailrace_contract::Error;
use tailrace_row::{Charset, ColumnType, Date, DateTime, ImageWriter, TableSchema, Time, Timestamp, Value};

use super::decimal_text;
use crate::{
    errors,
    events::column_type as t,
    protocol::{AnswerColumn, Cursor, Malformed},
    row_decoder::{BadRow, charset::write_text},
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
        let forms = places.iter().map(|place| Form::of(&schema.columns()[*place].column_type)).collect();
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
    fn of(column: &ColumnType) -> Self {
        match column {
            ColumnType::Integer { bits: bits @ (8 | 16 | 64), unsigned } => {
                Self::Integer { bytes: bits / 8, unsigned: *unsigned }
            }
            ColumnType::Integer { bits: _, unsigned } => Self::Integer { bytes: 4, unsigned: *unsigned },
            ColumnType::Decimal { scale, .. } => Self::Decimal { scale: *scale },
            ColumnType::Float => Self::Float,
            ColumnType::Double => Self::Double,
            ColumnType::Bit { length } => Self::Bit { length: *length },
            ColumnType::Text { charset, .. } => Self::Text { charset: *charset },
            ColumnType::Bytes { .. } => Self::Bytes,
            ColumnType::Enum { members } => Self::Enum { members: u16::try_from(members.len()).unwrap_or(u16::MAX) },
            ColumnType::Set { members } => Self::Set { members: all_bits(members.len()) },
            ColumnType::Date => Self::Date,
            ColumnType::Time { .. } => Self::Time,
            ColumnType::DateTime { .. } => Self::DateTime,
            ColumnType::Timestamp { .. } => Self::Timestamp,
            ColumnType::Year => Self::Year,
            ColumnType::Json => Self::Json,
        }
    }

    /// Types of texts and bytes differ by version and expression: all of them lie behind a packed length.
    fn is_answered_by(self, column: AnswerColumn) -> bool {
        let is_sized = matches!(column.code, 0 | t::VARCHAR | t::VECTOR..=t::GEOMETRY);
        match self {
            Self::Integer { bytes, unsigned } => {
                let codes: &[u8] = match bytes {
                    1 => &[t::TINY],
                    2 => &[t::SHORT],
                    4 => &[t::LONG, t::INT24],
                    _ => &[t::LONGLONG],
                };
                codes.contains(&column.code) && column.unsigned == unsigned
            }
            Self::Enum { .. } | Self::Set { .. } => column == AnswerColumn { code: t::LONGLONG, unsigned: true },
            Self::Float => column.code == t::FLOAT,
            Self::Double => column.code == t::DOUBLE,
            Self::Decimal { .. } => column.code == t::NEWDECIMAL,
            Self::Bit { .. } => column.code == t::BIT,
            Self::Text { .. } | Self::Bytes | Self::Json => is_sized,
            Self::Date => column.code == t::DATE,
            Self::Time => column.code == TIME,
            Self::DateTime => column.code == DATE_TIME,
            Self::Timestamp => column.code == TIMESTAMP,
            Self::Year => column.code == t::YEAR,
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
            Self::Text { charset } => write_text(charset, row.packed_bytes()?, out),
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
            Self::Year => out.value(Value::Year(row.u16()?)),
            Self::Json => {
                let text =
                    std::str::from_utf8(row.packed_bytes()?).map_err(|_| Malformed::new("JSON: it is no UTF-8"))?;
                out.value(Value::Json(text));
            }
        }
        Ok(())
    }
}

/// Types that table maps have under other numbers.
const TIMESTAMP: u8 = 7;
const TIME: u8 = 11;
const DATE_TIME: u8 = 12;

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
