//! One JSON value → the field of a row image, by the form of its column: the inverse of `field`.
//!
//! Every value is checked against the column's type before it is taken: a number that does not fit, a day that does not
//! exist or a member that is none is an error, never a neighbouring value. Floats are parsed from their text, because a
//! general JSON reader may miss the last bit.

use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Visitor},
};
use serde_json::value::RawValue;
use tailrace_row::{
    Date, DateTime, Decimal, ImageWriter, Time, Timestamp, Value, parse_inet4, parse_inet6, parse_uuid,
};

use super::{
    base64_text::read_base64,
    compound::{RawGeometry, RawVector, read_geometry, read_vector},
    decode::{Scratch, Trouble},
    form::{Members, ValueForm},
    time_text,
};

/// Reads one field and writes it into the image.
pub(super) struct FieldSeed<'a, 'w, 'b> {
    pub(super) form: &'a ValueForm,
    pub(super) writer: &'w mut ImageWriter<'b>,
    pub(super) scratch: &'a mut Scratch,
    pub(super) trouble: &'a Trouble,
}

const OTHER_TYPE: &str = "is not of its type";
const OUTSIDE: &str = "is outside its type's range";

/// 838:59:59.999999
const TIME_MICROS_MAX: u64 = 3_020_399_999_999;
const UNREADABLE: &str = "has a text that its type does not read";

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<(), D::Error> {
        match self.form {
            ValueForm::Float | ValueForm::Double => {
                let text = Option::<&RawValue>::deserialize(deserializer)?;
                self.read_float(text.map(RawValue::get)).map_err(|reason| self.trouble.because(reason))
            }
            ValueForm::Signed { .. }
            | ValueForm::Unsigned { .. }
            | ValueForm::BigUnsigned
            | ValueForm::Decimal { .. }
            | ValueForm::Boolean
            | ValueForm::Bits { .. }
            | ValueForm::Text { .. }
            | ValueForm::Bytes
            | ValueForm::Enum(_)
            | ValueForm::Set(_)
            | ValueForm::Date
            | ValueForm::Time
            | ValueForm::ClockMillis
            | ValueForm::ClockMicros
            | ValueForm::Zoned { .. }
            | ValueForm::Year
            | ValueForm::Json
            | ValueForm::Uuid
            | ValueForm::Inet4
            | ValueForm::Inet6 => deserializer.deserialize_any(self),
            ValueForm::Geometry | ValueForm::Point => {
                let Some(raw) = Option::<RawGeometry<'_>>::deserialize(deserializer)? else {
                    self.writer.null();
                    return Ok(());
                };
                let read = read_geometry(&raw, &mut self.scratch.bytes, self.writer);
                read.map_err(|reason| self.trouble.because(reason))
            }
            ValueForm::Vector { dimension } => {
                let Some(raw) = Option::<RawVector<'_>>::deserialize(deserializer)? else {
                    self.writer.null();
                    return Ok(());
                };
                let read = read_vector(&raw, *dimension, &mut self.scratch.bytes, self.writer);
                read.map_err(|reason| self.trouble.because(reason))
            }
        }
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.writer.null();
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        if !matches!(self.form, ValueForm::Boolean) {
            return Err(self.trouble.because(OTHER_TYPE));
        }
        self.writer.value(Value::Bit(u64::from(value)));
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<(), E> {
        let value = integer_value(self.form, number).map_err(|reason| self.trouble.because(reason))?;
        self.writer.value(value);
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<(), E> {
        // Numbers beyond 2^63 are in no form: BIGINT UNSIGNED is a Decimal.
        let number = i64::try_from(number).map_err(|_| self.trouble.because(OUTSIDE))?;
        self.visit_i64(number)
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Err(self.trouble.because(OTHER_TYPE))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let trouble = self.trouble;
        self.read_text(text).map_err(|reason| trouble.because(reason))
    }
}

impl FieldSeed<'_, '_, '_> {
    fn read_float(&mut self, text: Option<&str>) -> Result<(), &'static str> {
        let Some(text) = text.filter(|text| *text != "null") else {
            self.writer.null();
            return Ok(());
        };
        // Infinity and NaN come with a truth in the header; here only JSON numbers are left.
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Err(OTHER_TYPE);
        }
        let value = match self.form {
            ValueForm::Float => {
                Value::Float(text.parse().ok().filter(|number: &f32| number.is_finite()).ok_or(OUTSIDE)?)
            }
            _ => Value::Double(text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or(OUTSIDE)?),
        };
        self.writer.value(value);
        Ok(())
    }

    fn read_text(self, text: &str) -> Result<(), &'static str> {
        let value = match self.form {
            ValueForm::Text { .. } => Value::Text(text),
            ValueForm::Json => Value::Json(text),
            ValueForm::Bytes => Value::Bytes(read_bytes(text, self.scratch)?),
            ValueForm::Decimal { scale } => {
                Value::Decimal(Decimal { unscaled: fewest_bytes(read_bytes(text, self.scratch)?)?, scale: *scale })
            }
            ValueForm::BigUnsigned => Value::Unsigned(big_unsigned(read_bytes(text, self.scratch)?)?),
            ValueForm::Bits { length } => Value::Bit(bits(read_bytes(text, self.scratch)?, *length)?),
            ValueForm::Enum(members) => Value::Enum(enum_index(members, text)?),
            ValueForm::Set(members) => Value::Set(set_bits(members, text)?),
            ValueForm::Zoned { .. } => {
                let micros = time_text::parse_zoned(text).and_then(DateTime::micros_since_epoch).ok_or(UNREADABLE)?;
                Value::Timestamp(Timestamp::Micros(micros))
            }
            ValueForm::Uuid => Value::Uuid(parse_uuid(text).ok_or(UNREADABLE)?),
            ValueForm::Inet4 => Value::Inet4(parse_inet4(text).ok_or(UNREADABLE)?),
            ValueForm::Inet6 => Value::Inet6(parse_inet6(text).ok_or(UNREADABLE)?),
            ValueForm::Signed { .. }
            | ValueForm::Unsigned { .. }
            | ValueForm::Float
            | ValueForm::Double
            | ValueForm::Boolean
            | ValueForm::Date
            | ValueForm::Time
            | ValueForm::ClockMillis
            | ValueForm::ClockMicros
            | ValueForm::Year
            | ValueForm::Geometry
            | ValueForm::Point
            | ValueForm::Vector { .. } => return Err(OTHER_TYPE),
        };
        self.writer.value(value);
        Ok(())
    }
}

#[inline]
pub(super) fn integer_value(form: &ValueForm, number: i64) -> Result<Value<'static>, &'static str> {
    match form {
        ValueForm::Signed { bits } => {
            let unused = 64 - u32::from((*bits).clamp(1, 64));
            if number << unused >> unused == number { Ok(Value::Integer(number)) } else { Err(OUTSIDE) }
        }
        ValueForm::Unsigned { bits } => {
            let number = u64::try_from(number).map_err(|_| OUTSIDE)?;
            if number >> u32::from((*bits).min(63)) == 0 { Ok(Value::Unsigned(number)) } else { Err(OUTSIDE) }
        }
        ValueForm::Date => {
            let date = i32::try_from(number).ok().and_then(Date::from_days_since_epoch);
            date.map(Value::Date).ok_or(OUTSIDE)
        }
        ValueForm::Time if number.unsigned_abs() > TIME_MICROS_MAX => Err(OUTSIDE),
        ValueForm::Time => Ok(Value::Time(Time { micros: number })),
        ValueForm::ClockMillis => {
            let clock = number.checked_mul(1000).and_then(DateTime::from_micros_since_epoch);
            clock.map(Value::DateTime).ok_or(OUTSIDE)
        }
        ValueForm::ClockMicros => DateTime::from_micros_since_epoch(number).map(Value::DateTime).ok_or(OUTSIDE),
        ValueForm::Year => match u16::try_from(number) {
            Ok(year @ 1901..=2155) => Ok(Value::Year(year)),
            Ok(_) | Err(_) => Err(OUTSIDE),
        },
        ValueForm::BigUnsigned
        | ValueForm::Decimal { .. }
        | ValueForm::Float
        | ValueForm::Double
        | ValueForm::Boolean
        | ValueForm::Bits { .. }
        | ValueForm::Text { .. }
        | ValueForm::Bytes
        | ValueForm::Enum(_)
        | ValueForm::Set(_)
        | ValueForm::Zoned { .. }
        | ValueForm::Json
        | ValueForm::Geometry
        | ValueForm::Point
        | ValueForm::Vector { .. }
        | ValueForm::Uuid
        | ValueForm::Inet4
        | ValueForm::Inet6 => Err(OTHER_TYPE),
    }
}

fn read_bytes<'s>(text: &str, scratch: &'s mut Scratch) -> Result<&'s [u8], &'static str> {
    read_base64(text, &mut scratch.bytes).ok_or("is no base64")?;
    Ok(&scratch.bytes)
}

/// Drops leading bytes that only repeat the sign: equal numbers must have equal bytes.
pub(super) fn fewest_bytes(mut unscaled: &[u8]) -> Result<&[u8], &'static str> {
    while let [first, second, ..] = unscaled {
        let repeats_sign = (*first == 0 && *second < 0x80) || (*first == 0xff && *second >= 0x80);
        if !repeats_sign {
            break;
        }
        unscaled = &unscaled[1..];
    }
    if unscaled.is_empty() { Err("is a decimal of no bytes") } else { Ok(unscaled) }
}

pub(super) fn big_unsigned(unscaled: &[u8]) -> Result<u64, &'static str> {
    let digits = match fewest_bytes(unscaled)? {
        [0, rest @ ..] => rest,
        [first, ..] if *first >= 0x80 => return Err(OUTSIDE),
        all => all,
    };
    let mut bytes = [0; 8];
    let start = bytes.len().checked_sub(digits.len()).ok_or(OUTSIDE)?;
    bytes[start..].copy_from_slice(digits);
    Ok(u64::from_be_bytes(bytes))
}

pub(super) fn bits(little_endian: &[u8], length: u8) -> Result<u64, &'static str> {
    if little_endian.len() != usize::from(length).div_ceil(8) {
        return Err(OUTSIDE);
    }
    let mut bytes = [0; 8];
    bytes.get_mut(..little_endian.len()).ok_or(OUTSIDE)?.copy_from_slice(little_endian);
    let bits = u64::from_le_bytes(bytes);
    if length < 64 && bits >> length != 0 { Err(OUTSIDE) } else { Ok(bits) }
}

fn enum_index(members: &Members, text: &str) -> Result<u16, &'static str> {
    match members.place(text) {
        Some(place) => u16::try_from(place + 1).map_err(|_| OUTSIDE),
        None if text.is_empty() => Ok(0),
        None => Err("is no member of its ENUM"),
    }
}

fn set_bits(members: &Members, text: &str) -> Result<u64, &'static str> {
    if text.is_empty() {
        return Ok(0);
    }
    text.split(',').try_fold(0, |bits, member| match members.place(member) {
        Some(place @ 0..64) => Ok(bits | 1 << place),
        Some(_) | None => Err("has what is no member of its SET"),
    })
}
