//! One stored value as the source's: what `encode` does, backwards.
//!
//! A value that no column of the source's type can have was not written by us as it stands there, and is an error that names
//! the column.

use num_bigint::{BigInt, Sign};
use rusqlite::types::ValueRef;
use tailrace_row::{
    ColumnType, Date, DateTime, Decimal, ImageWriter, Time, Timestamp, Value, parse_inet4, parse_inet6, parse_uuid,
    read_ewkb,
};

/// What is wrong with a stored value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

const OTHER: Unreadable = Unreadable("a value of another kind than its column's in the source");
const RANGE: Unreadable = Unreadable("a number out of the source column's range");
const NO_TIME: Unreadable = Unreadable("a day or time in another form than the source prints");
const NO_MEMBER: Unreadable = Unreadable("a label that is no member of the source's column");
const NO_ADDRESS: Unreadable = Unreadable("a UUID or an address in another form than the source prints");
const NO_TEXT: Unreadable = Unreadable("bytes that are no UTF-8");
const TOO_FINE: Unreadable = Unreadable("more digits behind the point than the source's column has");

/// Writes a stored value.
#[inline]
pub(super) fn decode(source: &ColumnType, stored: ValueRef<'_>, out: &mut ImageWriter<'_>) -> Result<(), Unreadable> {
    let value = match source {
        _ if stored == ValueRef::Null => {
            out.null();
            return Ok(());
        }
        ColumnType::Integer { unsigned: false, .. } => {
            Value::Integer(i64::try_from(whole(stored)?).map_err(|_| RANGE)?)
        }
        ColumnType::Integer { unsigned: true, .. } => {
            Value::Unsigned(u64::try_from(whole(stored)?).map_err(|_| RANGE)?)
        }
        ColumnType::Bit { .. } => Value::Bit(u64::try_from(whole(stored)?).map_err(|_| RANGE)?),
        ColumnType::Year => Value::Year(u16::try_from(whole(stored)?).map_err(|_| RANGE)?),
        ColumnType::Float => {
            let number = float(stored)?;
            #[expect(clippy::cast_possible_truncation, reason = "what does not come back is refused")]
            let single = number as f32;
            match f64::from(single).to_bits() == number.to_bits() {
                true => Value::Float(single),
                false => return Err(RANGE),
            }
        }
        ColumnType::Double => Value::Double(float(stored)?),
        ColumnType::Decimal { scale, .. } => return decimal(text(stored)?, *scale, out),
        ColumnType::Text { .. } => Value::Text(text(stored)?),
        ColumnType::Json => Value::Json(text(stored)?),
        ColumnType::Enum { members } => Value::Enum(member(text(stored)?, members)?),
        ColumnType::Set { members } => Value::Set(set(text(stored)?, members)?),
        ColumnType::Bytes { .. } => Value::Bytes(blob(stored)?),
        ColumnType::Geometry { .. } => {
            let (srid, wkb) = read_ewkb(blob(stored)?).ok_or(OTHER)?;
            out.value(Value::Geometry { srid, wkb: &wkb });
            return Ok(());
        }
        ColumnType::Vector { .. } => Value::Vector(blob(stored)?),
        ColumnType::Uuid => Value::Uuid(parse_uuid(text(stored)?).ok_or(NO_ADDRESS)?),
        ColumnType::Inet4 => Value::Inet4(parse_inet4(text(stored)?).ok_or(NO_ADDRESS)?),
        ColumnType::Inet6 => Value::Inet6(parse_inet6(text(stored)?).ok_or(NO_ADDRESS)?),
        ColumnType::Date => Value::Date(date(text(stored)?).ok_or(NO_TIME)?),
        ColumnType::Time { .. } => Value::Time(Time { micros: time(text(stored)?).ok_or(NO_TIME)? }),
        ColumnType::DateTime { .. } => Value::DateTime(moment(text(stored)?).ok_or(NO_TIME)?),
        ColumnType::Timestamp { .. } => {
            let clock = text(stored)?.strip_suffix('Z').and_then(moment).ok_or(NO_TIME)?;
            Value::Timestamp(match clock == DateTime::default() {
                true => Timestamp::Zero,
                false => Timestamp::Micros(clock.micros_since_epoch().ok_or(NO_TIME)?),
            })
        }
    };
    out.value(value);
    Ok(())
}

/// Numbers from 2^63 on, and those in columns of texts, are digits.
#[inline]
fn whole(stored: ValueRef<'_>) -> Result<i128, Unreadable> {
    match stored {
        ValueRef::Integer(number) => Ok(number.into()),
        ValueRef::Text(_) => text(stored)?.parse().map_err(|_| OTHER),
        ValueRef::Real(_) | ValueRef::Blob(_) | ValueRef::Null => Err(OTHER),
    }
}

#[inline]
fn float(stored: ValueRef<'_>) -> Result<f64, Unreadable> {
    match stored {
        ValueRef::Real(number) => Ok(number),
        ValueRef::Text(_) => text(stored)?.parse().map_err(|_| OTHER),
        ValueRef::Integer(_) | ValueRef::Blob(_) | ValueRef::Null => Err(OTHER),
    }
}

#[inline]
fn text(stored: ValueRef<'_>) -> Result<&str, Unreadable> {
    match stored {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).map_err(|_| NO_TEXT),
        ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) | ValueRef::Null => Err(OTHER),
    }
}

#[inline]
fn blob(stored: ValueRef<'_>) -> Result<&[u8], Unreadable> {
    match stored {
        ValueRef::Blob(bytes) => Ok(bytes),
        ValueRef::Text(_) | ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Null => Err(OTHER),
    }
}

/// In a key zeros at the end of the fraction are left out.
fn decimal(text: &str, scale: u8, out: &mut ImageWriter<'_>) -> Result<(), Unreadable> {
    const SMALL_DIGITS_MAX: usize = 18;
    let (is_negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (digits, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let zeros = usize::from(scale).checked_sub(fraction.len()).ok_or(TOO_FINE)?;
    let figures = || digits.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', zeros));
    if digits.is_empty() || !figures().all(|figure| figure.is_ascii_digit()) {
        return Err(OTHER);
    }
    if figures().count() <= SMALL_DIGITS_MAX {
        let magnitude = figures().fold(0, |number: i64, figure| number * 10 + i64::from(figure - b'0'));
        let number = if is_negative { -magnitude } else { magnitude };
        let repeated = (number ^ number >> 63).leading_zeros() as usize;
        out.value(Value::Decimal(Decimal { unscaled: &number.to_be_bytes()[(repeated - 1) / 8..], scale }));
        return Ok(());
    }
    let figures: Vec<u8> = figures().map(|figure| figure - b'0').collect();
    let magnitude = BigInt::from_radix_be(Sign::Plus, &figures, 10).ok_or(OTHER)?;
    let number = if is_negative { -magnitude } else { magnitude };
    out.value(Value::Decimal(Decimal { unscaled: &number.to_signed_bytes_be(), scale }));
    Ok(())
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

/// A number of digits only.
fn number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

/// `2024-02-29`.
fn date(text: &str) -> Option<Date> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let date = Date { year: number(year)?, month: number(month)?, day: number(day)? };
    (date.year <= 9999 && date.month <= 12 && date.day <= 31).then_some(date)
}

/// `-838:59:59.000001` in microseconds.
fn time(text: &str) -> Option<i64> {
    let (is_negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (clock, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut parts = clock.split(':');
    let (hours, minutes, seconds): (i64, i64, i64) =
        (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    let digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 6)?;
    let fraction: i64 = if digits == 0 { 0 } else { number(fraction)? };
    if parts.next().is_some() || hours > 838 || minutes > 59 || seconds > 59 {
        return None;
    }
    let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction * 10_i64.pow(6 - digits);
    Some(if is_negative { -micros } else { micros })
}

/// `2024-02-29 23:59:59.123456`.
fn moment(text: &str) -> Option<DateTime> {
    let (day, clock) = text.split_once(' ')?;
    let micros = time(clock).filter(|micros| (0..86_400_000_000).contains(micros))?;
    let seconds = micros / 1_000_000;
    Some(DateTime {
        date: date(day)?,
        hour: u8::try_from(seconds / 3600).ok()?,
        minute: u8::try_from(seconds / 60 % 60).ok()?,
        second: u8::try_from(seconds % 60).ok()?,
        micros: u32::try_from(micros % 1_000_000).ok()?,
    })
}
