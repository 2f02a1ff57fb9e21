//! One field of a row image in PostgreSQL's binary form.
//!
//! The hot path: about 15 ns a field, no allocation. The form (a length, then the bytes, -1 for NULL) is that of array elements
//! and of COPY alike, so there is one encoder for both. What a column can't hold is refused here, before anything is sent;
//! the refusal names the kind of the value, never the value.

use tailrace_row::{
    ColumnType, Date, DateTime, Decimal, Field, Time, Timestamp, Value, write_ewkb, write_inet4, write_inet6,
    write_uuid,
};

use crate::target_type::{NumericLimit, TargetType};

mod numeric;
mod policy;

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL's calendar begins.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// PostgreSQL's limit of a field, less its headers.
const FIELD_BYTES_MAX: usize = 0x3fff_ff00;

/// Why a field can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// PostgreSQL text has no NUL.
    NulInText,
    /// Bytes that are no text in the source's own charset.
    InvalidText,
    /// `0000-00-00`.
    ZeroDate,
    /// `2024-00-00` or 31 February.
    NoSuchDay,
    /// A number outside the column's range.
    OutOfRange,
    /// A text longer than its varchar(n).
    TooLong,
    /// More bytes than PostgreSQL holds in a field.
    TooBig,
    /// Digits behind the point, of a number or a second, that PostgreSQL would round away.
    TooFine,
    /// A TIME that `time` can't hold.
    BeyondADay,
    /// An ENUM or SET whose label would read like that of another value.
    AmbiguousLabel,
    /// An ENUM or SET that the schema has no member for.
    NoMember,
    /// NULL where the target allows none.
    Null,
    /// A column that was not sent.
    Unchanged,
    /// A value of a type that the schema does not announce.
    OtherType,
}

impl Refusal {
    /// Whether the value is good and only the column can't hold it: then a policy may say what becomes of it.
    pub(crate) fn is_unholdable(self) -> bool {
        match self {
            Self::NulInText
            | Self::InvalidText
            | Self::ZeroDate
            | Self::NoSuchDay
            | Self::OutOfRange
            | Self::TooLong
            | Self::TooBig
            | Self::BeyondADay
            | Self::AmbiguousLabel => true,
            Self::TooFine | Self::NoMember | Self::Null | Self::Unchanged | Self::OtherType => false,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NulInText => "a text with a NUL character, which PostgreSQL does not hold",
            Self::InvalidText => "bytes that are no text in the column's charset",
            Self::ZeroDate => "a zero date, which PostgreSQL does not hold",
            Self::NoSuchDay => "a day that does not exist, which PostgreSQL does not hold",
            Self::OutOfRange => "a number out of the target column's range",
            Self::TooLong => "a text longer than the target column",
            Self::TooBig => "a value bigger than PostgreSQL holds",
            Self::TooFine => "more digits behind the point than the target column",
            Self::BeyondADay => "a time below zero or beyond a day, which `time` does not hold (`interval` would)",
            Self::AmbiguousLabel => "an ENUM or SET without a member that reads like the member ''",
            Self::NoMember => "an ENUM or SET beyond the members that the schema knows",
            Self::Null => "NULL, which the target column does not allow",
            Self::Unchanged => "nothing (the source sent a partial row: binlog_row_image must be FULL)",
            Self::OtherType => "a value of another type than the schema says",
        })
    }
}

/// How the values of one column are written.
#[derive(Debug)]
pub(crate) struct Codec {
    form: Form,
    is_nullable: bool,
    /// What is written for a value that can't be held, its length included; without, it is refused.
    stand_in: Option<Box<[u8]>>,
}

#[derive(Debug)]
enum Form {
    Boolean,
    Int2,
    Int4,
    Int8,
    Numeric { limit: Option<NumericLimit> },
    Float4,
    Float8,
    Bits { length: u32 },
    Text { characters_max: Option<u32> },
    Enum { members: Box<[Box<str>]>, characters_max: Option<u32> },
    Set { members: Box<[Box<str>]>, characters_max: Option<u32> },
    Bytea,
    Date,
    Time { tick: i64 },
    Interval { tick: i64 },
    Timestamp { tick: i64 },
    TimestampTz { tick: i64 },
    Json,
    Jsonb,
    RealArray,
    Uuid,
    Inet,
    Print(policy::PrintForm),
}

impl Codec {
    /// The codec of a column that [`crate::target_type::fit`] lets through.
    pub(crate) fn new(source: &ColumnType, target: TargetType, is_nullable: bool) -> Self {
        let text = |characters_max| match source {
            ColumnType::Enum { members } => Form::Enum { members: members.clone(), characters_max },
            ColumnType::Set { members } => Form::Set { members: members.clone(), characters_max },
            _ => Form::Text { characters_max },
        };
        let form = match target {
            TargetType::Boolean => Form::Boolean,
            TargetType::SmallInt => Form::Int2,
            TargetType::Integer => Form::Int4,
            TargetType::BigInt => Form::Int8,
            TargetType::Numeric { limit } => Form::Numeric { limit },
            TargetType::Real => Form::Float4,
            TargetType::Double => Form::Float8,
            TargetType::Bit { .. } | TargetType::VarBit { .. } => match source {
                ColumnType::Bit { length } => Form::Bits { length: (*length).into() },
                _ => Form::Bits { length: 64 },
            },
            TargetType::Text => text(None),
            TargetType::Varchar { characters_max } => text(characters_max),
            TargetType::Bytea => Form::Bytea,
            TargetType::Date => Form::Date,
            TargetType::Time { fraction } => Form::Time { tick: tick(fraction) },
            TargetType::Interval { fraction } => Form::Interval { tick: tick(fraction) },
            TargetType::Timestamp { fraction } => Form::Timestamp { tick: tick(fraction) },
            TargetType::TimestampTz { fraction } => Form::TimestampTz { tick: tick(fraction) },
            TargetType::Json => Form::Json,
            TargetType::Jsonb => Form::Jsonb,
            TargetType::RealArray => Form::RealArray,
            TargetType::Uuid => Form::Uuid,
            TargetType::Inet => Form::Inet,
        };
        Self { form, is_nullable, stand_in: None }
    }

    /// Appends the field: its length and its bytes.
    #[inline]
    pub(crate) fn write(&self, field: Field<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        match field {
            Field::Value(value) => {
                let start = out.len();
                self.write_value(value, out).or_else(|refusal| self.write_stand_in(refusal, start, out))
            }
            Field::Null if self.is_nullable => {
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                Ok(())
            }
            Field::Null => Err(Refusal::Null),
            Field::Unchanged => Err(Refusal::Unchanged),
        }
    }

    #[inline]
    fn write_value(&self, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        match &self.form {
            Form::Boolean => fixed([boolean(value)?.into()], out),
            Form::Int2 => fixed(i16::try_from(integer(value)?).map_err(|_| Refusal::OutOfRange)?.to_be_bytes(), out),
            Form::Int4 => fixed(i32::try_from(integer(value)?).map_err(|_| Refusal::OutOfRange)?.to_be_bytes(), out),
            Form::Int8 => fixed(integer(value)?.to_be_bytes(), out),
            Form::Numeric { limit } => write_numeric(value, *limit, out)?,
            Form::Float4 => match value {
                Value::Float(number) => fixed(number.to_be_bytes(), out),
                _ => return Err(Refusal::OtherType),
            },
            Form::Float8 => match value {
                Value::Double(number) => fixed(number.to_be_bytes(), out),
                Value::Float(number) => fixed(f64::from(number).to_be_bytes(), out),
                _ => return Err(Refusal::OtherType),
            },
            Form::Bits { length } => write_bits(value, *length, out)?,
            Form::Text { characters_max } => write_text(value, *characters_max, out)?,
            Form::Enum { members, characters_max } => {
                write_text(Value::Text(enum_label(value, members)?), *characters_max, out)?;
            }
            Form::Set { members, characters_max } => write_set(value, members, *characters_max, out)?,
            Form::Bytea => match value {
                Value::Bytes(bytes) => varying(bytes, out)?,
                Value::Geometry { srid, wkb } => {
                    counted(out, |out| write_ewkb(srid, wkb, out).ok_or(Refusal::OtherType))?;
                }
                _ => return Err(Refusal::OtherType),
            },
            Form::Date => match value {
                Value::Date(date) => fixed((days(date)? - EPOCH_DAYS).to_be_bytes(), out),
                _ => return Err(Refusal::OtherType),
            },
            Form::Time { tick } => match time(value)?.micros {
                micros @ 0..=DAY_MICROS => fixed(whole(micros, *tick)?.to_be_bytes(), out),
                _ => return Err(Refusal::BeyondADay),
            },
            Form::Interval { tick } => {
                // Microseconds, days, months.
                let mut payload = [0; 16];
                payload[..8].copy_from_slice(&whole(time(value)?.micros, *tick)?.to_be_bytes());
                fixed(payload, out);
            }
            Form::Timestamp { tick } => match value {
                Value::DateTime(clock) => fixed((whole(micros(clock)?, *tick)? - EPOCH_MICROS).to_be_bytes(), out),
                _ => return Err(Refusal::OtherType),
            },
            Form::TimestampTz { tick } => match value {
                Value::Timestamp(Timestamp::Micros(micros)) => {
                    fixed((whole(micros, *tick)? - EPOCH_MICROS).to_be_bytes(), out);
                }
                Value::Timestamp(Timestamp::Zero) => return Err(Refusal::ZeroDate),
                _ => return Err(Refusal::OtherType),
            },
            Form::Print(form) => form.write(value, out)?,
            Form::Json => varying(json(value)?.as_bytes(), out)?,
            Form::Jsonb => {
                const FORMAT: u8 = 1;
                let text = json(value)?.as_bytes();
                if has_nul_escape(text) {
                    return Err(Refusal::NulInText);
                }
                length(text.len() + 1, out)?;
                out.push(FORMAT);
                out.extend_from_slice(text);
            }
            Form::RealArray | Form::Uuid | Form::Inet => self.write_rare(value, out)?,
        }
        Ok(())
    }

    /// Values of the types that few tables have.
    #[inline(never)]
    fn write_rare(&self, value: Value<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        match (&self.form, value) {
            (Form::RealArray, Value::Vector(numbers)) => counted(out, |out| write_real_array(numbers, out)),
            (Form::Uuid, Value::Uuid(bytes)) => {
                fixed(bytes, out);
                Ok(())
            }
            (Form::Inet, Value::Inet4(bytes)) => write_inet(INET4_FAMILY, &bytes, out),
            (Form::Inet, Value::Inet6(bytes)) => write_inet(INET6_FAMILY, &bytes, out),
            _ => Err(Refusal::OtherType),
        }
    }
}

/// A field whose length is known only when it is written.
fn counted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let start = out.len();
    write(out)?;
    let bytes = out.len() - start;
    let length = i32::try_from(bytes).ok().filter(|_| bytes <= FIELD_BYTES_MAX).ok_or(Refusal::TooBig)?;
    out[length_at..start].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// `{1,-0,1.5e-45}`: the shortest digits from which the same bits are read.
fn write_real_array(numbers: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    use std::io::Write as _;
    let (numbers, rest) = numbers.as_chunks();
    if !rest.is_empty() {
        return Err(Refusal::OtherType);
    }
    out.push(b'{');
    for (place, number) in numbers.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        let number = f32::from_le_bytes(*number);
        write!(out, "{comma}{number:?}").expect("invariant: writing to a Vec can't fail");
    }
    out.push(b'}');
    Ok(())
}

const INET4_FAMILY: u8 = 2;
const INET6_FAMILY: u8 = 3;

/// Family, bits of the network, whether it is a cidr, bytes of the address, the address.
fn write_inet(family: u8, address: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let bytes = u8::try_from(address.len()).map_err(|_| Refusal::TooBig)?;
    length(4 + address.len(), out)?;
    out.extend_from_slice(&[family, 8 * bytes, 0, bytes]);
    out.extend_from_slice(address);
    Ok(())
}

#[inline]
fn fixed<const N: usize>(payload: [u8; N], out: &mut Vec<u8>) {
    const { assert!(N < 64, "numbers only") };
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "N is below 64")]
    out.extend_from_slice(&(N as i32).to_be_bytes());
    out.extend_from_slice(&payload);
}

#[inline]
fn length(bytes: usize, out: &mut Vec<u8>) -> Result<(), Refusal> {
    match i32::try_from(bytes) {
        Ok(length) if bytes <= FIELD_BYTES_MAX => {
            out.extend_from_slice(&length.to_be_bytes());
            Ok(())
        }
        Ok(_) | Err(_) => Err(Refusal::TooBig),
    }
}

#[inline]
fn varying(payload: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    length(payload.len(), out)?;
    out.extend_from_slice(payload);
    Ok(())
}

#[inline]
fn integer(value: Value<'_>) -> Result<i64, Refusal> {
    match value {
        Value::Integer(number) => Ok(number),
        Value::Unsigned(number) | Value::Bit(number) => i64::try_from(number).map_err(|_| Refusal::OutOfRange),
        Value::Year(year) => Ok(year.into()),
        _ => Err(Refusal::OtherType),
    }
}

fn boolean(value: Value<'_>) -> Result<bool, Refusal> {
    match integer(value)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Refusal::OutOfRange),
    }
}

fn write_numeric(value: Value<'_>, limit: Option<NumericLimit>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let written = match value {
        Value::Decimal(Decimal { unscaled, .. }) if unscaled.len() > numeric::BYTES_MAX => {
            return Err(Refusal::OutOfRange);
        }
        Value::Decimal(Decimal { scale, .. }) if limit.is_some_and(|limit| i32::from(scale) > limit.scale) => {
            return Err(Refusal::TooFine);
        }
        Value::Decimal(Decimal { unscaled, scale }) => numeric::write_decimal(unscaled, scale, out),
        Value::Integer(number) => numeric::write_integer(number.unsigned_abs(), number < 0, out),
        Value::Unsigned(number) | Value::Bit(number) => numeric::write_integer(number, false, out),
        Value::Year(year) => numeric::write_integer(year.into(), false, out),
        _ => return Err(Refusal::OtherType),
    };
    match limit {
        Some(limit) if written.integer_digits > limit.integer_digits() => Err(Refusal::OutOfRange),
        Some(_) | None => Ok(()),
    }
}

fn write_bits(value: Value<'_>, length: u32, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let Value::Bit(bits) = value else { return Err(Refusal::OtherType) };
    let unused = 64 - length;
    if length < 64 && bits >> length != 0 {
        return Err(Refusal::OutOfRange);
    }
    let bytes = (bits << unused).to_be_bytes();
    let used = length.div_ceil(8);
    out.extend_from_slice(&(4 + used).to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&bytes[..used as usize]);
    Ok(())
}

#[inline]
fn write_text(value: Value<'_>, characters_max: Option<u32>, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut address = String::new();
    let text = match value {
        Value::Text(text) | Value::Json(text) => text,
        Value::Uuid(_) | Value::Inet4(_) | Value::Inet6(_) => {
            write_address(value, &mut address).expect("invariant: writing to a String can't fail");
            &address
        }
        Value::InvalidText(_) => return Err(Refusal::InvalidText),
        _ => return Err(Refusal::OtherType),
    };
    if text.as_bytes().contains(&0) {
        return Err(Refusal::NulInText);
    }
    if let Some(held) = characters_max {
        check_characters(text, held)?;
    }
    varying(text.as_bytes(), out)
}

fn write_address(value: Value<'_>, text: &mut String) -> std::fmt::Result {
    match value {
        Value::Uuid(bytes) => write_uuid(bytes, text),
        Value::Inet4(bytes) => write_inet4(bytes, text),
        Value::Inet6(bytes) => write_inet6(bytes, text),
        _ => Ok(()),
    }
}

/// PostgreSQL would cut blanks beyond the length without a word.
fn check_characters(text: &str, held: u32) -> Result<(), Refusal> {
    let held = held as usize;
    if text.len() > held && text.chars().count() > held { Err(Refusal::TooLong) } else { Ok(()) }
}

fn enum_label<'m>(value: Value<'_>, members: &'m [Box<str>]) -> Result<&'m str, Refusal> {
    match value {
        Value::Enum(0) if members.iter().any(|member| member.is_empty()) => Err(Refusal::AmbiguousLabel),
        Value::Enum(0) => Ok(""),
        Value::Enum(index) => members.get(usize::from(index) - 1).map(|member| &**member).ok_or(Refusal::NoMember),
        _ => Err(Refusal::OtherType),
    }
}

/// Members in their order, joined by commas, which no member contains.
fn write_set(
    value: Value<'_>,
    members: &[Box<str>],
    characters_max: Option<u32>,
    out: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let Value::Set(bits) = value else { return Err(Refusal::OtherType) };
    let known = u32::try_from(members.len()).unwrap_or(64);
    if known < 64 && bits >> known != 0 {
        return Err(Refusal::NoMember);
    }
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let start = out.len();
    for (place, member) in members.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1) {
        if bits & ((1 << place) - 1) != 0 {
            out.push(b',');
        }
        if member.as_bytes().contains(&0) {
            return Err(Refusal::NulInText);
        }
        out.extend_from_slice(member.as_bytes());
    }
    let label = &out[start..];
    if label.is_empty() && bits != 0 {
        return Err(Refusal::AmbiguousLabel);
    }
    if let Some(held) = characters_max {
        let characters = label.iter().filter(|byte| (**byte as i8) >= -0x40).count();
        if characters > held as usize {
            return Err(Refusal::TooLong);
        }
    }
    let length = i32::try_from(label.len()).map_err(|_| Refusal::TooBig)?;
    out[length_at..start].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

#[inline]
fn json(value: Value<'_>) -> Result<&str, Refusal> {
    match value {
        Value::Json(text) if text.as_bytes().contains(&0) => Err(Refusal::NulInText),
        Value::Json(text) => Ok(text),
        _ => Err(Refusal::OtherType),
    }
}

/// Whether a string of the JSON text holds `\u0000`; a backslash takes the next one with it.
fn has_nul_escape(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = &rest[at + 1..];
        if escape.starts_with(b"u0000") {
            return true;
        }
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

/// Microseconds in the last fraction digit that the target keeps.
fn tick(fraction: u8) -> i64 {
    10_i64.pow(u32::from(6 - fraction.min(6)))
}

#[inline]
fn whole(micros: i64, tick: i64) -> Result<i64, Refusal> {
    if tick != 1 && micros % tick != 0 { Err(Refusal::TooFine) } else { Ok(micros) }
}

#[inline]
fn time(value: Value<'_>) -> Result<Time, Refusal> {
    match value {
        Value::Time(time) => Ok(time),
        _ => Err(Refusal::OtherType),
    }
}

#[inline]
fn days(date: Date) -> Result<i32, Refusal> {
    date.days_since_epoch().ok_or_else(|| no_day(date))
}

#[inline]
fn micros(clock: DateTime) -> Result<i64, Refusal> {
    clock.micros_since_epoch().ok_or_else(|| no_day(clock.date))
}

fn no_day(date: Date) -> Refusal {
    if date == Date::default() { Refusal::ZeroDate } else { Refusal::NoSuchDay }
}
