//! A sentinel, or what rows get in a new column: a value of a column, read from the text in which MySQL prints it.
//!
//! Strict on purpose: nothing is rounded, cut or guessed, so that the value in the target is the one that was typed.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::de::IgnoredAny;
use tailrace_row::{ColumnType, Date, DateTime, Decimal, Time, Timestamp, Value};

/// One value, held.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal(Held);

#[derive(Clone, Debug, PartialEq)]
enum Held {
    Fixed(Value<'static>),
    Text(Box<str>),
    Json(Box<str>),
    Bytes(Box<[u8]>),
    Decimal { unscaled: Box<[u8]>, scale: u8 },
}

impl Literal {
    /// Reads the text as a value of the column; the error says what a value of it looks like. An ENUM or SET takes any text, since
    /// the target has one there.
    pub fn parse(column_type: &ColumnType, text: &str) -> Result<Self, String> {
        let fixed = |value: Option<Value<'static>>, form: &str| {
            value.map(|value| Self(Held::Fixed(value))).ok_or_else(|| form.to_owned())
        };
        match column_type {
            ColumnType::Integer { bits, unsigned } => {
                fixed(integer(text, *bits, *unsigned), "a whole number of its type")
            }
            ColumnType::Year => fixed(year(text).map(Value::Year), "a year like 1901, or 0000"),
            ColumnType::Bit { length } => fixed(bits(text, *length), "its bits as a whole number"),
            ColumnType::Float => fixed(finite(text).map(Value::Float), "a number"),
            ColumnType::Double => fixed(finite(text).map(Value::Double), "a number"),
            ColumnType::Decimal { precision, scale } => match decimal(text, *precision, *scale) {
                Some(unscaled) => Ok(Self(Held::Decimal { unscaled, scale: *scale })),
                None => Err(format!("a number of at most {precision} digits, {scale} of them behind the point")),
            },
            ColumnType::Text { .. } | ColumnType::Enum { .. } | ColumnType::Set { .. } => {
                Ok(Self(Held::Text(text.into())))
            }
            ColumnType::Json => match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => Ok(Self(Held::Json(text.into()))),
                Err(_) => Err("JSON".to_owned()),
            },
            ColumnType::Date => fixed(date(text).map(Value::Date), "a day like 1970-01-01"),
            ColumnType::Time { fraction } => {
                fixed(time(text, *fraction).map(Value::Time), "a time like -838:59:59, in the column's precision")
            }
            ColumnType::DateTime { fraction } => fixed(
                date_time(text, *fraction).map(Value::DateTime),
                "a day and a time like 1970-01-01 00:00:00, in the column's precision",
            ),
            ColumnType::Timestamp { fraction } => fixed(
                instant(text, *fraction).map(Value::Timestamp),
                "an instant in UTC like 1970-01-01 00:00:00Z, in the column's precision",
            ),
            ColumnType::Bytes { .. }
            | ColumnType::Geometry { .. }
            | ColumnType::Vector { .. }
            | ColumnType::Uuid
            | ColumnType::Inet4
            | ColumnType::Inet6 => Err("none: a column of its type has no sentinel".to_owned()),
        }
    }

    /// Reads what rows have in a new column: also bytes (as their hexadecimal digits behind `0x`), members of ENUM and SET, zero dates
    /// and addresses. None if the text is no value of the column.
    #[must_use]
    pub fn of_fill(column_type: &ColumnType, text: &str) -> Option<Self> {
        let zero = Date { year: 0, month: 0, day: 0 };
        let is_zero = text.starts_with("0000-00-00");
        let member = |members: &[Box<str>], name: &str| members.iter().position(|member| **member == *name);
        let held = match column_type {
            ColumnType::Bytes { .. } => Held::Bytes(hex(text.strip_prefix("0x")?)?.into()),
            ColumnType::Enum { members } => Held::Fixed(Value::Enum(u16::try_from(member(members, text)? + 1).ok()?)),
            ColumnType::Set { members } => {
                let mut names = text.split(',').filter(|_| !text.is_empty());
                let bits = names.try_fold(0_u64, |bits, name| {
                    Some(bits | 1_u64.checked_shl(u32::try_from(member(members, name)?).ok()?)?)
                });
                Held::Fixed(Value::Set(bits?))
            }
            ColumnType::Date if is_zero => Held::Fixed(Value::Date(zero)),
            ColumnType::DateTime { .. } if is_zero => {
                Held::Fixed(Value::DateTime(DateTime { date: zero, hour: 0, minute: 0, second: 0, micros: 0 }))
            }
            ColumnType::Timestamp { .. } if is_zero => Held::Fixed(Value::Timestamp(Timestamp::Zero)),
            ColumnType::Uuid => Held::Fixed(Value::Uuid(hex(&text.replace('-', ""))?.try_into().ok()?)),
            ColumnType::Inet4 => Held::Fixed(Value::Inet4(text.parse::<Ipv4Addr>().ok()?.octets())),
            ColumnType::Inet6 => Held::Fixed(Value::Inet6(text.parse::<Ipv6Addr>().ok()?.octets())),
            other => return Self::parse(other, text).ok(),
        };
        Some(Self(held))
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Value<'_> {
        match &self.0 {
            Held::Fixed(value) => *value,
            Held::Text(text) => Value::Text(text),
            Held::Json(text) => Value::Json(text),
            Held::Bytes(bytes) => Value::Bytes(bytes),
            Held::Decimal { unscaled, scale } => Value::Decimal(Decimal { unscaled, scale: *scale }),
        }
    }
}

/// Bytes by two hexadecimal digits each.
fn hex(digits: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_whole = digits.len().is_multiple_of(2);
    is_whole.then(|| digits.as_bytes().chunks(2).map(byte).collect()).flatten()
}

fn integer(text: &str, bits: u8, unsigned: bool) -> Option<Value<'static>> {
    let number: i128 = whole(text)?;
    let (least, most) = match unsigned {
        true => (0, (1_i128 << bits) - 1),
        false => (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1),
    };
    match unsigned {
        _ if number < least || number > most => None,
        true => u64::try_from(number).ok().map(Value::Unsigned),
        false => i64::try_from(number).ok().map(Value::Integer),
    }
}

/// Digits, perhaps with a minus before them.
fn whole(text: &str) -> Option<i128> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    is_digits(digits).then(|| text.parse().ok()).flatten()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn year(text: &str) -> Option<u16> {
    let year = number(text, 4)?;
    (year == 0 || (1901..=2155).contains(&year)).then(|| u16::try_from(year).ok()).flatten()
}

fn bits(text: &str, length: u8) -> Option<Value<'static>> {
    let number = u64::try_from(whole(text)?).ok()?;
    (length >= 64 || number >> length == 0).then_some(Value::Bit(number))
}

fn finite<N: std::str::FromStr + Into<f64> + Copy>(text: &str) -> Option<N> {
    text.parse::<N>().ok().filter(|number| (*number).into().is_finite())
}

/// Big-endian two's complement of the number without its point, in the fewest bytes.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<Box<[u8]>> {
    let (is_negative, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, text),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, "0"));
    let behind = if magnitude.contains('.') { fraction } else { "" };
    let scale = usize::from(scale);
    if !is_digits(whole) || !is_digits(fraction) || behind.len() > scale {
        return None;
    }
    let digits = format!("{whole}{behind:0<scale$}");
    if digits.trim_start_matches('0').len() > usize::from(precision) {
        return None;
    }
    // The sign's byte first; 28 more hold 65 digits.
    let mut bytes = [0_u8; 30];
    for digit in digits.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            let sum = u32::from(*byte) * 10 + carry;
            [.., *byte] = sum.to_be_bytes();
            carry = sum >> 8;
        }
    }
    if is_negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let is_needless = |pair: &[u8]| matches!((pair[0], pair[1]), (0, 0..=0x7f) | (0xff, 0x80..));
    let needless = bytes.windows(2).take_while(|pair| is_needless(pair)).count();
    Some(bytes[needless..].into())
}

/// So many digits.
fn number(text: &str, digits: usize) -> Option<u32> {
    (text.len() == digits && is_digits(text)).then(|| text.parse().ok()).flatten()
}

/// A day that exists.
fn date(text: &str) -> Option<Date> {
    let mut parts = text.splitn(3, '-');
    let mut next = |digits| parts.next().and_then(|part| number(part, digits));
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    let date = Date { year: u16::try_from(year).ok()?, month: u8::try_from(month).ok()?, day: u8::try_from(day).ok()? };
    date.is_real().then_some(date)
}

/// Hours, minutes, seconds, and microseconds if the precision has them.
fn clock(text: &str, hour_digits: usize, fraction: u8) -> Option<(u32, u8, u8, u32)> {
    let (clock, behind) = text.split_once('.').map_or((text, None), |(clock, behind)| (clock, Some(behind)));
    let micros = match behind {
        None => 0,
        Some(digits) if digits.len() <= usize::from(fraction) => number(&format!("{digits:0<6}"), 6)?,
        Some(_) => return None,
    };
    let mut parts = clock.splitn(3, ':');
    let mut next = |digits| parts.next().and_then(|part| number(part, digits));
    let (hour, minute, second) = (next(hour_digits)?, next(2)?, next(2)?);
    (minute < 60 && second < 60).then_some((hour, u8::try_from(minute).ok()?, u8::try_from(second).ok()?, micros))
}

fn time(text: &str, fraction: u8) -> Option<Time> {
    const HOURS_MAX: u32 = 838;
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (hour, minute, second, micros) = clock(text, text.find(':')?.clamp(2, 3), fraction)?;
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    (hour <= HOURS_MAX).then_some(Time { micros: sign * (seconds * 1_000_000 + i64::from(micros)) })
}

fn date_time(text: &str, fraction: u8) -> Option<DateTime> {
    let (day, of_day) = text.split_once(' ')?;
    let (hour, minute, second, micros) = clock(of_day, 2, fraction)?;
    let hour = u8::try_from(hour).ok().filter(|hour| *hour < 24)?;
    Some(DateTime { date: date(day)?, hour, minute, second, micros })
}

fn instant(text: &str, fraction: u8) -> Option<Timestamp> {
    date_time(text.strip_suffix('Z')?, fraction)?.micros_since_epoch().map(Timestamp::Micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::{self, Paper};

    /// What was typed is what is printed; none where it is refused.
    fn check(column_type: &ColumnType, text: &str, expect: Option<&str>) {
        let paper = Paper { is_key: false, holds_nul: false };
        let printed = Literal::parse(column_type, text).ok().map(|literal| {
            let mut printed = String::new();
            print::print(column_type, literal.value(), paper, &mut printed).unwrap();
            printed
        });
        assert_eq!(printed.as_deref(), expect, "{text:?} as {column_type:?}");
    }

    #[test]
    fn numbers_are_read_in_full() {
        let integer = |bits, unsigned| ColumnType::Integer { bits, unsigned };
        for (bits, unsigned, text, is_good) in [
            (8, false, "-128", true),
            (8, false, "-129", false),
            (8, true, "255", true),
            (8, true, "-1", false),
            (64, true, "18446744073709551615", true),
            (64, true, "18446744073709551616", false),
            (64, false, "-9223372036854775808", true),
            (32, false, "+1", false),
            (32, false, "1 ", false),
            (32, false, "", false),
        ] {
            check(&integer(bits, unsigned), text, is_good.then_some(text));
        }
        let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
        check(&decimal(5, 2), "-999.99", Some("-999.99"));
        check(&decimal(5, 2), "-1", Some("-1.00"));
        check(&decimal(5, 2), "-1.2", Some("-1.20"));
        check(&decimal(5, 2), "1000", None);
        check(&decimal(5, 2), "0.001", None);
        check(&decimal(5, 2), "1.", None);
        check(&decimal(5, 2), ".5", None);
        check(&decimal(2, 0), "1.0", None);
        check(&decimal(3, 2), "1.28", Some("1.28"));
        let most = format!("-{}.{}", "9".repeat(35), "9".repeat(30));
        check(&decimal(65, 30), &most, Some(&most));
        check(&ColumnType::Year, "0000", Some("0000"));
        check(&ColumnType::Year, "1900", None);
        let value = |column_type, text| Literal::parse(column_type, text).unwrap().value() == Value::Bit(5);
        assert!(
            value(&ColumnType::Bit { length: 3 }, "5") && Literal::parse(&ColumnType::Bit { length: 2 }, "5").is_err()
        );
        assert!(
            Literal::parse(&ColumnType::Double, "1e999").is_err() && Literal::parse(&ColumnType::Float, "NaN").is_err()
        );
        assert_eq!(Literal::parse(&ColumnType::Float, "-0.5").unwrap().value(), Value::Float(-0.5));
    }

    #[test]
    fn what_new_columns_are_filled_with_is_read_in_full() {
        let value = |column_type: &ColumnType, text: &str| {
            Literal::of_fill(column_type, text).map(|literal| format!("{:?}", literal.value()))
        };
        let bytes = ColumnType::Bytes { form: tailrace_row::TextForm::Fixed, bytes_max: 2 };
        assert_eq!(value(&bytes, "0x00FF").unwrap(), "Bytes([0, 255])");
        assert_eq!((value(&bytes, "0x0"), value(&bytes, "00"), value(&bytes, "0xé0")), (None, None, None));
        let members: Box<[Box<str>]> = ["a".into(), "b".into(), "".into()].into();
        let (one, some) = (ColumnType::Enum { members: members.clone() }, ColumnType::Set { members });
        assert_eq!((value(&one, "b").unwrap(), value(&one, "B")), ("Enum(2)".to_owned(), None));
        assert_eq!(value(&one, "").unwrap(), "Enum(3)");
        assert_eq!(
            (value(&some, "a,b").unwrap(), value(&some, "").unwrap()),
            ("Set(3)".to_owned(), "Set(0)".to_owned())
        );
        assert!(value(&ColumnType::DateTime { fraction: 2 }, "0000-00-00 00:00:00.00").unwrap().contains("year: 0"));
        assert_eq!(value(&ColumnType::Timestamp { fraction: 0 }, "0000-00-00 00:00:00").unwrap(), "Timestamp(Zero)");
        assert!(
            value(&ColumnType::Uuid, "00112233-4455-6677-8899-aabbccddeeff").unwrap().starts_with("Uuid([0, 17, 34,")
        );
        assert_eq!(value(&ColumnType::Inet4, "1.2.3.4").unwrap(), "Inet4([1, 2, 3, 4])");
        assert_eq!(value(&ColumnType::Inet6, "1.2.3.4"), None);
        assert_eq!(value(&ColumnType::Year, "2024").unwrap(), "Year(2024)");
    }

    #[test]
    fn days_and_times_must_exist() {
        for (text, is_good) in [
            ("1970-01-01", true),
            ("0000-01-01", true),
            ("0000-00-00", false),
            ("2023-02-29", false),
            ("70-1-1", false),
            ("1970-01-01 00:00:00", false),
            ("now", false),
            ("infinity", false),
        ] {
            check(&ColumnType::Date, text, is_good.then_some(text));
        }
        check(&ColumnType::DateTime { fraction: 0 }, "1970-01-01 23:59:59", Some("1970-01-01 23:59:59"));
        check(&ColumnType::DateTime { fraction: 3 }, "1970-01-01 23:59:59.5", Some("1970-01-01 23:59:59.500"));
        check(&ColumnType::DateTime { fraction: 0 }, "1970-01-01 23:59:59.5", None);
        check(&ColumnType::DateTime { fraction: 0 }, "1970-01-01 24:00:00", None);
        check(&ColumnType::Timestamp { fraction: 0 }, "1970-01-01 00:00:01Z", Some("1970-01-01 00:00:01Z"));
        check(&ColumnType::Timestamp { fraction: 0 }, "1970-01-01 00:00:01", None);
        check(&ColumnType::Time { fraction: 6 }, "-838:59:59.999999", Some("-838:59:59.999999"));
        check(&ColumnType::Time { fraction: 0 }, "00:00:00", Some("00:00:00"));
        check(&ColumnType::Time { fraction: 0 }, "839:00:00", None);
        check(&ColumnType::Time { fraction: 0 }, "1:00:00", None);
        check(&ColumnType::Time { fraction: 0 }, "00:60:00", None);
        check(&ColumnType::Json, "{\"a\": 1}", Some("{\"a\": 1}"));
        check(&ColumnType::Json, "{a}", None);
    }
}
