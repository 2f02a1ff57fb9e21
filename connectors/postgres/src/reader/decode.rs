//! One field of COPY's binary form as the source's value: what `encode` does, backwards.
//!
//! A value that no column of the source's type can have was not written by us as it stands there, and is an error that names
//! the column.

use tailrace_row::{
    ColumnType, Date, DateTime, Decimal, ImageWriter, Time, Timestamp, Value, parse_inet4, parse_inet6, parse_uuid,
    read_ewkb,
};

use super::numeric;
use crate::target_type::TargetType;

/// Days and microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's calendar begins.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

const SHORT: Unreadable = Unreadable("a value of another length than its type");
const RANGE: Unreadable = Unreadable("a number out of the source column's range");
const NO_DAY: Unreadable = Unreadable("a day that the source does not have");
const NO_MEMBER: Unreadable = Unreadable("a label that is no member of the source's column");
const NO_ADDRESS: Unreadable = Unreadable("a UUID or an address that the source's column can't have");
const NO_TEXT: Unreadable = Unreadable("bytes that are no UTF-8");

/// How the fields of one column are read.
#[derive(Debug)]
pub(super) enum Form {
    /// Of any integer type, or boolean.
    Whole {
        kind: Whole,
    },
    /// Whole numbers in a numeric column.
    WholeNumeric {
        kind: Whole,
    },
    Decimal {
        scale: u8,
    },
    Float,
    FloatOfDouble,
    Double,
    Bits,
    Text,
    Enum {
        members: Box<[Box<str>]>,
    },
    Set {
        members: Box<[Box<str>]>,
    },
    Bytes,
    Date,
    Time,
    Interval,
    DateTime,
    Timestamp,
    Json,
    Jsonb,
    Ewkb,
    RealArray,
    Uuid,
    UuidText,
    Inet4,
    Inet4Text,
    Inet6,
    Inet6Text,
}

/// What a whole number stands for in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    Signed,
    Unsigned,
    Bit,
    Year,
}

impl Form {
    /// None: columns of that type don't take the source's.
    pub(super) fn of(source: &ColumnType, target: TargetType) -> Option<Self> {
        let whole = |kind| match target {
            TargetType::Boolean | TargetType::SmallInt | TargetType::Integer | TargetType::BigInt => {
                Some(Self::Whole { kind })
            }
            TargetType::Numeric { .. } => Some(Self::WholeNumeric { kind }),
            _ => None,
        };
        match source {
            ColumnType::Integer { unsigned: true, .. } => whole(Whole::Unsigned),
            ColumnType::Integer { unsigned: false, .. } => whole(Whole::Signed),
            ColumnType::Year => whole(Whole::Year),
            ColumnType::Bit { .. } => match target {
                TargetType::Bit { .. } | TargetType::VarBit { .. } => Some(Self::Bits),
                _ => whole(Whole::Bit),
            },
            ColumnType::Decimal { scale, .. } => {
                matches!(target, TargetType::Numeric { .. }).then_some(Self::Decimal { scale: *scale })
            }
            ColumnType::Float => match target {
                TargetType::Real => Some(Self::Float),
                TargetType::Double => Some(Self::FloatOfDouble),
                _ => None,
            },
            ColumnType::Double => (target == TargetType::Double).then_some(Self::Double),
            ColumnType::Text { .. } => target.is_text().then_some(Self::Text),
            ColumnType::Enum { members } => target.is_text().then(|| Self::Enum { members: members.clone() }),
            ColumnType::Set { members } => target.is_text().then(|| Self::Set { members: members.clone() }),
            ColumnType::Bytes { .. } => (target == TargetType::Bytea).then_some(Self::Bytes),
            ColumnType::Date => (target == TargetType::Date).then_some(Self::Date),
            ColumnType::Time { .. } => match target {
                TargetType::Time { .. } => Some(Self::Time),
                TargetType::Interval { .. } => Some(Self::Interval),
                _ => None,
            },
            ColumnType::DateTime { .. } => matches!(target, TargetType::Timestamp { .. }).then_some(Self::DateTime),
            ColumnType::Timestamp { .. } => matches!(target, TargetType::TimestampTz { .. }).then_some(Self::Timestamp),
            ColumnType::Json => match target {
                TargetType::Jsonb => Some(Self::Jsonb),
                TargetType::Json | TargetType::Text | TargetType::Varchar { .. } => Some(Self::Json),
                _ => None,
            },
            ColumnType::Geometry { .. } => (target == TargetType::Bytea).then_some(Self::Ewkb),
            ColumnType::Vector { .. } => (target == TargetType::RealArray).then_some(Self::RealArray),
            ColumnType::Uuid if target.is_text() => Some(Self::UuidText),
            ColumnType::Uuid => (target == TargetType::Uuid).then_some(Self::Uuid),
            ColumnType::Inet4 if target.is_text() => Some(Self::Inet4Text),
            ColumnType::Inet4 => (target == TargetType::Inet).then_some(Self::Inet4),
            ColumnType::Inet6 if target.is_text() => Some(Self::Inet6Text),
            ColumnType::Inet6 => (target == TargetType::Inet).then_some(Self::Inet6),
        }
    }

    /// Writes a field that is not NULL.
    #[inline]
    pub(super) fn decode(&self, field: &[u8], out: &mut ImageWriter<'_>) -> Result<(), Unreadable> {
        let value = match self {
            Self::Whole { kind } => kind.value(integer(field)?.into())?,
            Self::WholeNumeric { kind } => kind.value(numeric::whole(field)?)?,
            Self::Decimal { scale } => {
                let scale = *scale;
                return numeric::unscaled(field, scale, |unscaled| {
                    out.value(Value::Decimal(Decimal { unscaled, scale }))
                });
            }
            Self::Float => Value::Float(f32::from_be_bytes(array(field)?)),
            Self::FloatOfDouble => {
                let number = f64::from_be_bytes(array(field)?);
                #[expect(clippy::cast_possible_truncation, reason = "what does not come back is refused")]
                let float = number as f32;
                match f64::from(float).to_bits() == number.to_bits() {
                    true => Value::Float(float),
                    false => return Err(RANGE),
                }
            }
            Self::Double => Value::Double(f64::from_be_bytes(array(field)?)),
            Self::Bits => Value::Bit(bits(field)?),
            Self::Text => Value::Text(text(field)?),
            Self::Enum { members } => Value::Enum(member(text(field)?, members)?),
            Self::Set { members } => Value::Set(set(text(field)?, members)?),
            Self::Bytes => Value::Bytes(field),
            Self::Date => {
                let days = i32::from_be_bytes(array(field)?).checked_add(EPOCH_DAYS);
                Value::Date(days.and_then(Date::from_days_since_epoch).ok_or(NO_DAY)?)
            }
            Self::Time => Value::Time(Time { micros: i64::from_be_bytes(array(field)?) }),
            Self::Interval => Value::Time(interval(field)?),
            Self::DateTime => Value::DateTime(DateTime::from_micros_since_epoch(micros(field)?).ok_or(NO_DAY)?),
            Self::Timestamp => {
                let micros = micros(field)?;
                // Infinity, for one, is no instant of the source.
                DateTime::from_micros_since_epoch(micros).ok_or(NO_DAY)?;
                Value::Timestamp(Timestamp::Micros(micros))
            }
            Self::Json => Value::Json(text(field)?),
            Self::Jsonb => match field {
                [1, json @ ..] => Value::Json(text(json)?),
                _ => return Err(Unreadable("jsonb of another format")),
            },
            Self::Ewkb => {
                let (srid, wkb) = read_ewkb(field).ok_or(Unreadable("bytes that are no geometry"))?;
                out.value(Value::Geometry { srid, wkb: &wkb });
                return Ok(());
            }
            Self::RealArray => {
                out.value(Value::Vector(&numbers(field)?));
                return Ok(());
            }
            Self::Uuid => Value::Uuid(array(field)?),
            Self::UuidText => Value::Uuid(parse_uuid(text(field)?).ok_or(NO_ADDRESS)?),
            Self::Inet4 => Value::Inet4(address(field)?),
            Self::Inet4Text => Value::Inet4(parse_inet4(text(field)?).ok_or(NO_ADDRESS)?),
            Self::Inet6 => Value::Inet6(address(field)?),
            Self::Inet6Text => Value::Inet6(parse_inet6(text(field)?).ok_or(NO_ADDRESS)?),
        };
        out.value(value);
        Ok(())
    }
}

impl Whole {
    fn value(self, number: i128) -> Result<Value<'static>, Unreadable> {
        let unsigned = || u64::try_from(number).map_err(|_| RANGE);
        Ok(match self {
            Self::Signed => Value::Integer(i64::try_from(number).map_err(|_| RANGE)?),
            Self::Unsigned => Value::Unsigned(unsigned()?),
            Self::Bit => Value::Bit(unsigned()?),
            Self::Year => Value::Year(u16::try_from(number).map_err(|_| RANGE)?),
        })
    }
}

#[inline]
fn array<const N: usize>(field: &[u8]) -> Result<[u8; N], Unreadable> {
    field.try_into().map_err(|_| SHORT)
}

#[inline]
fn integer(field: &[u8]) -> Result<i64, Unreadable> {
    Ok(match field.len() {
        1 => i8::from_be_bytes(array(field)?).into(),
        2 => i16::from_be_bytes(array(field)?).into(),
        4 => i32::from_be_bytes(array(field)?).into(),
        _ => i64::from_be_bytes(array(field)?),
    })
}

#[inline]
fn text(field: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(field).map_err(|_| NO_TEXT)
}

/// A length in bits, then the bits from the left.
fn bits(field: &[u8]) -> Result<u64, Unreadable> {
    let (length, bytes) = field.split_first_chunk::<4>().ok_or(SHORT)?;
    let length = u32::from_be_bytes(*length);
    if length > 64 || bytes.len() != length.div_ceil(8) as usize {
        return Err(SHORT);
    }
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    Ok(u64::from_be_bytes(padded).checked_shr(64 - length).unwrap_or(0))
}

/// Without a member '' that label is the error value.
fn member(label: &str, members: &[Box<str>]) -> Result<u16, Unreadable> {
    match members.iter().position(|member| **member == *label) {
        Some(place) => u16::try_from(place + 1).map_err(|_| NO_MEMBER),
        None if label.is_empty() => Ok(0),
        None => Err(NO_MEMBER),
    }
}

fn set(labels: &str, members: &[Box<str>]) -> Result<u64, Unreadable> {
    if labels.is_empty() {
        return Ok(0);
    }
    labels.split(',').try_fold(0, |bits, label| {
        let place = members.iter().position(|member| **member == *label).filter(|place| *place < 64);
        place.map(|place| bits | 1 << place).ok_or(NO_MEMBER)
    })
}

/// Microseconds, days, months.
fn interval(field: &[u8]) -> Result<Time, Unreadable> {
    let field: [u8; 16] = array(field)?;
    let (micros, rest) = field.split_first_chunk::<8>().ok_or(SHORT)?;
    match rest.iter().all(|byte| *byte == 0) {
        true => Ok(Time { micros: i64::from_be_bytes(*micros) }),
        false => Err(Unreadable("an interval of days or months")),
    }
}

/// An array of one dimension without NULLs: dimensions, flags, type, length and lower bound, then each number behind its length.
fn numbers(field: &[u8]) -> Result<Vec<u8>, Unreadable> {
    const NUMBER_BYTES: [u8; 4] = 4_i32.to_be_bytes();
    const BAD: Unreadable = Unreadable("an array that is no vector");
    let (head, rest) = field.split_first_chunk::<12>().ok_or(BAD)?;
    let (dimensions, rest) = match (head[3], rest.split_first_chunk::<8>()) {
        (0, _) => (0, rest),
        (1, Some((_, rest))) => (1, rest),
        (_, _) => return Err(BAD),
    };
    let (elements, []) = rest.as_chunks::<8>() else { return Err(BAD) };
    if (dimensions == 0) != elements.is_empty() {
        return Err(BAD);
    }
    let mut numbers = Vec::with_capacity(elements.len() * 4);
    for element in elements {
        let (length, number) = element.split_at(4);
        if length != NUMBER_BYTES {
            return Err(BAD);
        }
        numbers.extend(number.iter().rev());
    }
    Ok(numbers)
}

/// Family, bits of the network, whether it is a cidr, bytes of the address, the address: a host's, since the source has no networks.
fn address<const N: usize>(field: &[u8]) -> Result<[u8; N], Unreadable> {
    let (head, address) = field.split_first_chunk::<4>().ok_or(NO_ADDRESS)?;
    let address: [u8; N] = address.try_into().map_err(|_| NO_ADDRESS)?;
    if usize::from(head[1]) == 8 * N { Ok(address) } else { Err(NO_ADDRESS) }
}

fn micros(field: &[u8]) -> Result<i64, Unreadable> {
    i64::from_be_bytes(array(field)?).checked_add(EPOCH_MICROS).ok_or(NO_DAY)
}
