//! Values as texts that are exact, and that no terminal obeys.
//!
//! The form is SQL's, PostgreSQL's where SQL leaves it open: `'it''s'`, and `E'a\nb'` where a character could move the
//! cursor, hide or turn the text around. Two different values of one column never have one text.

use std::fmt::Write as _;

use tailrace_row::{
    ColumnType, Date, DateTime, Decimal, Field, Time, Timestamp, Value, write_inet4, write_inet6, write_uuid,
};

/// The field as a text.
pub(super) fn literal(column_type: &ColumnType, field: Field<'_>) -> String {
    match field {
        Field::Unchanged => "UNCHANGED".to_owned(),
        Field::Null => "NULL".to_owned(),
        Field::Value(value) => value_text(column_type, value),
    }
}

fn value_text(column_type: &ColumnType, value: Value<'_>) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        // The shortest text from which the same bits are read.
        Value::Float(number) => format!("{number:?}"),
        Value::Double(number) => format!("{number:?}"),
        Value::Decimal(decimal) => decimal_text(decimal),
        Value::Bit(bits) => match column_type {
            ColumnType::Bit { length } => format!("b'{bits:0width$b}'", width = usize::from(*length)),
            _ => format!("b'{bits:b}'"),
        },
        Value::Text(text) | Value::Json(text) => quoted(text),
        Value::InvalidText(bytes) => format!("INVALID {}", hex(bytes)),
        Value::Bytes(bytes) => hex(bytes),
        Value::Enum(index) => enum_text(column_type, index),
        Value::Set(bits) => set_text(column_type, bits),
        Value::Date(date) => format!("'{}'", date_text(date)),
        Value::Time(time) => format!("'{}'", time_text(time)),
        Value::DateTime(clock) => format!("'{}'", clock_text(clock)),
        Value::Timestamp(Timestamp::Zero) => "'0000-00-00 00:00:00'".to_owned(),
        Value::Timestamp(Timestamp::Micros(micros)) => match DateTime::from_micros_since_epoch(micros) {
            Some(clock) => format!("'{}Z'", clock_text(clock)),
            None => format!("{micros} /* microseconds since 1970 */"),
        },
        Value::Year(year) => format!("{year:04}"),
        Value::Geometry { srid, wkb } => format!("SRID {srid} {}", hex(wkb)),
        Value::Vector(numbers) => vector_text(numbers),
        Value::Uuid(bytes) => address_text(|text| write_uuid(bytes, text)),
        Value::Inet4(bytes) => address_text(|text| write_inet4(bytes, text)),
        Value::Inet6(bytes) => address_text(|text| write_inet6(bytes, text)),
    }
}

/// Numbers by the shortest text from which the same bits are read; one that is none, whose bits have no text, by its bits.
fn vector_text(numbers: &[u8]) -> String {
    let (numbers, _) = numbers.as_chunks();
    let texts = numbers.iter().map(|bytes| match f32::from_le_bytes(*bytes) {
        number if number.is_nan() => hex(bytes),
        number => format!("{number:?}"),
    });
    format!("[{}]", texts.collect::<Vec<_>>().join(", "))
}

fn address_text(write: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut text = "'".to_owned();
    write(&mut text).expect("invariant: writing to a String can't fail");
    text.push('\'');
    text
}

/// Between quotes; with escapes if the text holds what a terminal may obey or a reader can't see.
fn quoted(text: &str) -> String {
    if !text.chars().any(is_hidden) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = "E'".to_owned();
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if !is_hidden(c) => quoted.push(c),
            c if u32::from(c) < 0x1_0000 => push(&mut quoted, format_args!("\\u{:04x}", u32::from(c))),
            c => push(&mut quoted, format_args!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('\'');
    quoted
}

fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    text.write_fmt(more).expect("invariant: writing to a String can't fail");
}

/// Control characters, and those that have no look of their own or change that of others.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F
            | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB
            | 0x1_D173..=0x1_D17A | 0xE_0000..=0xE_0FFF)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = "x'".to_owned();
    bytes.iter().for_each(|byte| push(&mut text, format_args!("{byte:02x}")));
    text.push('\'');
    text
}

/// The error value has no name, and a member may be empty: so it is a number.
fn enum_text(column_type: &ColumnType, index: u16) -> String {
    match column_type {
        ColumnType::Enum { members } if index > 0 => {
            members.get(usize::from(index) - 1).map_or_else(|| index.to_string(), |member| quoted(member))
        }
        _ => index.to_string(),
    }
}

fn set_text(column_type: &ColumnType, bits: u64) -> String {
    let ColumnType::Set { members } = column_type else { return bits.to_string() };
    if members.len() < 64 && bits >> members.len() != 0 {
        return bits.to_string();
    }
    let chosen: Vec<&str> =
        members.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, member)| &**member).collect();
    quoted(&chosen.join(","))
}

/// Digit for digit: the unscaled number by long division, then the point.
fn decimal_text(decimal: Decimal<'_>) -> String {
    let is_negative = decimal.unscaled.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut number = decimal.unscaled.to_vec();
    if is_negative {
        // Two's complement: all bits turned over, plus one.
        let mut carry = true;
        for byte in number.iter_mut().rev() {
            let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (sum, over);
        }
    }
    let mut digits = Vec::new();
    while number.iter().any(|byte| *byte != 0) {
        let mut rest = 0u32;
        for byte in &mut number {
            let all = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(all / 10).expect("invariant: the rest is below 10");
            rest = all % 10;
        }
        digits.push(char::from_digit(rest, 10).expect("invariant: a rest below 10 is a digit"));
    }
    let scale = usize::from(decimal.scale);
    while digits.len() <= scale {
        digits.push('0');
    }
    let mut text = if is_negative { "-".to_owned() } else { String::new() };
    text.extend(digits[scale..].iter().rev());
    if scale > 0 {
        text.push('.');
        text.extend(digits[..scale].iter().rev());
    }
    text
}

fn date_text(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year, date.month, date.day)
}

fn clock_text(clock: DateTime) -> String {
    let DateTime { date, hour, minute, second, micros } = clock;
    format!("{} {hour:02}:{minute:02}:{second:02}{}", date_text(date), fraction(u64::from(micros)))
}

fn time_text(time: Time) -> String {
    let sign = if time.micros < 0 { "-" } else { "" };
    let micros = time.micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{sign}{hours:02}:{minutes:02}:{:02}{}", seconds % 60, fraction(micros % 1_000_000))
}

/// Six digits, or none.
fn fraction(micros: u64) -> String {
    if micros == 0 { String::new() } else { format!(".{micros:06}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(column_type: &ColumnType, value: Value<'_>, expect: &str) {
        assert_eq!(literal(column_type, Field::Value(value)), expect, "{value:?}");
    }

    #[test]
    fn texts_are_exact_and_move_no_cursor() {
        let json = &ColumnType::Json;
        check(json, Value::Text("it's é😀 \\"), "'it''s é😀 \\'");
        check(json, Value::Text("a\u{1b}[31m'\\\n"), "E'a\\u001b[31m''\\\\\\n'");
        check(json, Value::Text("\u{202e}\u{e0041}\u{200b}"), "E'\\u202e\\U000e0041\\u200b'");
        check(json, Value::Text("\u{9b}31m\u{7f}"), "E'\\u009b31m\\u007f'");
        check(json, Value::Text(""), "''");
        check(json, Value::InvalidText(b"\xff\x00"), "INVALID x'ff00'");
        check(json, Value::Bytes(b""), "x''");
        assert_eq!(literal(json, Field::Null), "NULL");
        assert_eq!(literal(json, Field::Unchanged), "UNCHANGED");
    }

    #[test]
    fn numbers_are_exact() {
        let double = &ColumnType::Double;
        check(double, Value::Double(0.1), "0.1");
        check(double, Value::Double(1e300), "1e300");
        check(double, Value::Float(16_777_216.0), "16777216.0");
        check(double, Value::Integer(i64::MIN), "-9223372036854775808");
        check(double, Value::Unsigned(u64::MAX), "18446744073709551615");
        check(&ColumnType::Bit { length: 5 }, Value::Bit(5), "b'00101'");
        for (unscaled, scale, expect) in [
            (&[0][..], 0, "0"),
            (&[0], 2, "0.00"),
            (&[0xff], 2, "-0.01"),
            (&[0x80], 0, "-128"),
            (&[0x00, 0x80], 1, "12.8"),
            (&[0xff, 0x00], 3, "-0.256"),
            (&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 4, "236118324143482260.6847"),
        ] {
            check(double, Value::Decimal(Decimal { unscaled, scale }), expect);
        }
    }

    #[test]
    fn times_and_members_are_as_the_server_prints_them() {
        let members: Box<[Box<str>]> = ["a".into(), String::new().into(), "c'd".into()].into();
        let choice = ColumnType::Enum { members: members.clone() };
        for (index, expect) in [(0, "0"), (1, "'a'"), (2, "''"), (3, "'c''d'"), (9, "9")] {
            check(&choice, Value::Enum(index), expect);
        }
        let set = ColumnType::Set { members };
        for (bits, expect) in [(0, "''"), (5, "'a,c''d'"), (8, "8")] {
            check(&set, Value::Set(bits), expect);
        }
        let year = &ColumnType::Year;
        check(year, Value::Year(0), "0000");
        check(year, Value::Geometry { srid: 4326, wkb: &[1, 0xff] }, "SRID 4326 x'01ff'");
        check(year, Value::Vector(&[0, 0, 0xc0, 0x3f, 0, 0, 0, 0x80]), "[1.5, -0.0]");
        check(year, Value::Inet4([127, 0, 0, 1]), "'127.0.0.1'");
        check(year, Value::Time(Time { micros: -3_020_399_000_001 }), "'-838:59:59.000001'");
        check(year, Value::Date(Date { year: 0, month: 0, day: 0 }), "'0000-00-00'");
        check(year, Value::Timestamp(Timestamp::Zero), "'0000-00-00 00:00:00'");
        check(year, Value::Timestamp(Timestamp::Micros(0)), "'1970-01-01 00:00:00Z'");
        check(year, Value::Timestamp(Timestamp::Micros(1_500_000)), "'1970-01-01 00:00:01.500000Z'");
    }
}
