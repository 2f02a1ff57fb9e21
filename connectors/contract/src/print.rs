//! Values as MySQL prints them, in forms from which the value can be read back.
//!
//! The policy `text` writes them, so that every target has the same. An instant is told in UTC, with a `Z` behind it. A text that
//! the target holds is itself, but for two forms that stand for what it does not hold:
//!
//! - `\x` and two small hex digits for each byte: bytes that are no text in the column's charset, as the source stores them.
//! - `\u` and the same: a text by its bytes in UTF-8, if it has a NUL character where the target holds none, or if it is itself
//!   a text of one of these two forms. So no text can be taken for what it is not.
//!
//! In a key each value has one form, whatever the column's precision says now: zeros at the end of a fraction are left out.

use std::fmt::Write as _;

use tailrace_row::{ColumnType, Date, DateTime, Decimal, Time, Timestamp, Value};

pub mod clock;
pub mod decimal;

use clock::Fraction;

/// More digits of a second than are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFine;

/// Where the print goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paper {
    /// The column is one of the key.
    pub is_key: bool,
    /// The target's texts hold NUL characters.
    pub holds_nul: bool,
}

/// What was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// What any target holds.
    Plain,
    /// The zero date, or a day that does not exist.
    NoDay,
    /// One of the two forms that stand for a text or for bytes.
    Escaped,
}

/// Why there is no print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPrint {
    /// The column's type is none that is printed ([`has_print`]), or the value is of another one.
    OtherType,
    /// More digits of a second than the column has.
    TooFine,
}

impl From<TooFine> for NoPrint {
    fn from(_: TooFine) -> Self {
        Self::TooFine
    }
}

/// Whether columns of the type are printed: those with values that a target may not hold otherwise. ENUM and SET are texts as
/// they are.
#[must_use]
pub fn has_print(column_type: &ColumnType) -> bool {
    match column_type {
        ColumnType::Integer { .. }
        | ColumnType::Decimal { .. }
        | ColumnType::Text { .. }
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::DateTime { .. }
        | ColumnType::Timestamp { .. }
        | ColumnType::Year
        | ColumnType::Json => true,
        ColumnType::Float
        | ColumnType::Double
        | ColumnType::Bit { .. }
        | ColumnType::Bytes { .. }
        | ColumnType::Geometry { .. }
        | ColumnType::Vector { .. }
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. } => false,
    }
}

/// Appends the value of such a column.
pub fn print(column_type: &ColumnType, value: Value<'_>, paper: Paper, out: &mut String) -> Result<Printed, NoPrint> {
    let fraction = |declared: &u8| if paper.is_key { Fraction::Needed } else { Fraction::Digits(*declared) };
    match (column_type, value) {
        (ColumnType::Integer { .. }, Value::Integer(number)) => push(out, format_args!("{number}")),
        (ColumnType::Integer { .. }, Value::Unsigned(number)) => push(out, format_args!("{number}")),
        (ColumnType::Year, Value::Year(year)) => push(out, format_args!("{year:04}")),
        (ColumnType::Decimal { .. }, Value::Decimal(number)) => write_decimal(number, paper.is_key, out),
        (ColumnType::Text { .. }, Value::Text(text)) => return Ok(write_text(text, paper.holds_nul, out)),
        (ColumnType::Text { .. }, Value::InvalidText(bytes)) => {
            write_hex("\\x", bytes, out);
            return Ok(Printed::Escaped);
        }
        (ColumnType::Json, Value::Json(text)) => out.push_str(text),
        (ColumnType::Date, Value::Date(date)) => {
            clock::write_date(date, out);
            return Ok(of_day(date));
        }
        (ColumnType::Time { fraction: declared }, Value::Time(time)) => write_time(time, fraction(declared), out)?,
        (ColumnType::DateTime { fraction: declared }, Value::DateTime(moment)) => {
            clock::write_date_time(moment, fraction(declared), out)?;
            return Ok(of_day(moment.date));
        }
        (ColumnType::Timestamp { fraction: declared }, Value::Timestamp(instant)) => {
            return write_instant(instant, fraction(declared), out);
        }
        _ => return Err(NoPrint::OtherType),
    }
    Ok(Printed::Plain)
}

/// Whether a text reads like one of the forms that stand for something else.
#[must_use]
pub fn reads_like_an_escape(text: &str) -> bool {
    let Some(digits) = text.strip_prefix("\\x").or_else(|| text.strip_prefix("\\u")) else { return false };
    digits.len().is_multiple_of(2) && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn of_day(date: Date) -> Printed {
    if date.is_real() { Printed::Plain } else { Printed::NoDay }
}

fn write_decimal(number: Decimal<'_>, is_key: bool, out: &mut String) {
    let begin = out.len();
    decimal::write(number, out);
    if is_key && number.scale > 0 {
        leave_zeros_out(out, begin);
    }
}

/// `1.50` becomes `1.5`, `1.00` becomes `1`.
fn leave_zeros_out(out: &mut String, begin: usize) {
    let length = out[begin..].trim_end_matches('0').trim_end_matches('.').len();
    out.truncate(begin + length);
}

fn write_text(text: &str, holds_nul: bool, out: &mut String) -> Printed {
    let is_held = holds_nul || !text.as_bytes().contains(&0);
    if is_held && !reads_like_an_escape(text) {
        out.push_str(text);
        return Printed::Plain;
    }
    write_hex("\\u", text.as_bytes(), out);
    Printed::Escaped
}

fn write_hex(mark: &str, bytes: &[u8], out: &mut String) {
    out.push_str(mark);
    bytes.iter().for_each(|byte| push(out, format_args!("{byte:02x}")));
}

fn write_time(time: Time, fraction: Fraction, out: &mut String) -> Result<(), TooFine> {
    clock::write_time(time, fraction, out)
}

fn write_instant(instant: Timestamp, fraction: Fraction, out: &mut String) -> Result<Printed, NoPrint> {
    let moment: DateTime = clock::of_timestamp(instant).ok_or(NoPrint::OtherType)?;
    clock::write_date_time(moment, fraction, out)?;
    out.push('Z');
    Ok(if instant == Timestamp::Zero { Printed::NoDay } else { Printed::Plain })
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("invariant: writing to a String can't fail");
}

#[cfg(test)]
mod tests {
    use tailrace_row::{Charset, TextForm};

    use super::*;

    const NOTE: ColumnType = ColumnType::Text { form: TextForm::Large, bytes_max: 100, charset: Charset::Utf8mb4 };
    const PLAIN: Paper = Paper { is_key: false, holds_nul: false };

    fn check(column_type: &ColumnType, value: Value<'_>, paper: Paper, expect: (&str, Printed)) {
        let mut out = String::from("before ");
        let printed = print(column_type, value, paper, &mut out).unwrap();
        assert_eq!((out.strip_prefix("before ").unwrap(), printed), expect, "{value:?}");
    }

    #[test]
    fn every_text_has_a_form_of_its_own() {
        let holding = Paper { holds_nul: true, ..PLAIN };
        for (value, expect) in [
            (Value::Text("a\\b"), ("a\\b", Printed::Plain)),
            (Value::Text("\\x4"), ("\\x4", Printed::Plain)),
            (Value::Text("\\x4G"), ("\\x4G", Printed::Plain)),
            (Value::Text("\\X41"), ("\\X41", Printed::Plain)),
            (Value::Text("\\x41"), ("\\u5c783431", Printed::Escaped)),
            (Value::Text("\\u5c783431"), ("\\u5c753563373833343331", Printed::Escaped)),
            (Value::Text("\\x"), ("\\u5c78", Printed::Escaped)),
            (Value::Text("\0"), ("\\u00", Printed::Escaped)),
            (Value::Text("ä\0"), ("\\uc3a400", Printed::Escaped)),
            (Value::InvalidText(b"\xc3\xa4\xff"), ("\\xc3a4ff", Printed::Escaped)),
        ] {
            check(&NOTE, value, PLAIN, expect);
        }
        check(&NOTE, Value::Text("ä\0"), holding, ("ä\0", Printed::Plain));
        check(&NOTE, Value::Text("\\u00"), holding, ("\\u5c753030", Printed::Escaped));
    }

    #[test]
    fn numbers_and_days_print_as_mysql_does() {
        let integer = ColumnType::Integer { bits: 64, unsigned: true };
        check(&integer, Value::Unsigned(u64::MAX), PLAIN, ("18446744073709551615", Printed::Plain));
        check(&integer, Value::Integer(i64::MIN), PLAIN, ("-9223372036854775808", Printed::Plain));
        check(&ColumnType::Year, Value::Year(0), PLAIN, ("0000", Printed::Plain));
        check(&ColumnType::Date, Value::Date(Date::default()), PLAIN, ("0000-00-00", Printed::NoDay));
        let day = Date { year: 2024, month: 2, day: 31 };
        check(&ColumnType::Date, Value::Date(day), PLAIN, ("2024-02-31", Printed::NoDay));
        let moment = DateTime { date: day, hour: 1, ..DateTime::default() };
        let clock = ColumnType::DateTime { fraction: 2 };
        check(&clock, Value::DateTime(moment), PLAIN, ("2024-02-31 01:00:00.00", Printed::NoDay));
        let instant = ColumnType::Timestamp { fraction: 1 };
        check(&instant, Value::Timestamp(Timestamp::Zero), PLAIN, ("0000-00-00 00:00:00.0Z", Printed::NoDay));
        let half = Value::Timestamp(Timestamp::Micros(500_000));
        check(&instant, half, PLAIN, ("1970-01-01 00:00:00.5Z", Printed::Plain));
        let below = Value::Time(Time { micros: 1 - 839 * 3_600_000_000 });
        check(&ColumnType::Time { fraction: 6 }, below, PLAIN, ("-838:59:59.999999", Printed::Plain));
        let refused = print(&ColumnType::Time { fraction: 0 }, below, PLAIN, &mut String::new());
        assert_eq!(refused, Err(NoPrint::TooFine));
        assert_eq!(print(&ColumnType::Double, Value::Double(1.0), PLAIN, &mut String::new()), Err(NoPrint::OtherType));
    }

    #[test]
    fn a_key_has_one_form() {
        let key = Paper { is_key: true, ..PLAIN };
        let decimal = |unscaled| Value::Decimal(Decimal { unscaled, scale: 2 });
        let of_scale = ColumnType::Decimal { precision: 5, scale: 2 };
        check(&of_scale, decimal(&[110]), key, ("1.1", Printed::Plain));
        check(&of_scale, decimal(&[100]), key, ("1", Printed::Plain));
        check(&of_scale, decimal(&[100]), PLAIN, ("1.00", Printed::Plain));
        let noon = Value::Time(Time { micros: 43_200_000_000 });
        check(&ColumnType::Time { fraction: 3 }, noon, key, ("12:00:00", Printed::Plain));
    }
}
