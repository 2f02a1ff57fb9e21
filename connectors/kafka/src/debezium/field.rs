//! One field → JSON, by the form of its column.
//!
//! What the form can't hold is noted as a truth and replaced by Debezium's substitute: null where the column allows it,
//! else the epoch; U+FFFD for bytes that are no text; '' for the ENUM index 0. A value of another type than the column's is
//! a defect of the source and never written.

use tailrace_row::{Charset, Date, DateTime, Field, Timestamp, Value, write_inet4, write_inet6, write_uuid};

use super::{
    base64_text::write_base64,
    compound::{write_geometry, write_vector},
    form::{ColumnForm, Members, ValueForm},
    java_float::{write_f32, write_f64},
    json_text::write_string,
    time_text,
    truth::{Side, TruthWriter, not_finite_text},
};

/// Why a field can't be written at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The column was not sent.
    Unchanged,
    /// The value is none that the column can have.
    OtherType,
}

/// Appends the field's value.
#[expect(clippy::too_many_lines, reason = "a line or two for each form")]
#[inline]
pub(super) fn write_field(
    out: &mut Vec<u8>,
    column: &ColumnForm,
    field: Field<'_>,
    truths: &mut TruthWriter,
    side: Side,
) -> Result<(), Misfit> {
    let value = match field {
        Field::Unchanged => return Err(Misfit::Unchanged),
        Field::Null => {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        Field::Value(value) => value,
    };
    match (&column.value, value) {
        (ValueForm::Signed { .. }, Value::Integer(number)) => write_integer(out, number),
        (ValueForm::Unsigned { .. }, Value::Unsigned(number)) => write_integer(out, number),
        (ValueForm::BigUnsigned, Value::Unsigned(number)) => write_big_unsigned(out, number),
        (ValueForm::Decimal { scale }, Value::Decimal(decimal)) if decimal.scale == *scale => {
            write_base64(out, decimal.unscaled);
        }
        (ValueForm::Float, Value::Float(number)) if number.is_finite() => write_f32(out, number),
        (ValueForm::Float, Value::Float(number)) => {
            write_not_finite(out, column, f64::from(number), truths, side);
        }
        (ValueForm::Double, Value::Double(number)) if number.is_finite() => write_f64(out, number),
        (ValueForm::Double, Value::Double(number)) => write_not_finite(out, column, number, truths, side),
        (ValueForm::Boolean, Value::Bit(bits @ 0..=1)) => {
            out.extend_from_slice(if bits == 1 { b"true" } else { b"false" });
        }
        (ValueForm::Bits { length }, Value::Bit(bits)) if *length >= 64 || bits >> length == 0 => {
            write_base64(out, &bits.to_le_bytes()[..usize::from(*length).div_ceil(8)]);
        }
        (ValueForm::Text { .. }, Value::Text(text)) | (ValueForm::Json, Value::Json(text)) => write_string(out, text),
        (ValueForm::Text { charset }, Value::InvalidText(bytes)) => {
            truths.note_bytes(side, &column.opening, bytes);
            write_string(out, &shown_text(*charset, bytes));
        }
        (ValueForm::Bytes, Value::Bytes(bytes)) => write_base64(out, bytes),
        (ValueForm::Enum(members), Value::Enum(index)) => write_enum(out, column, members, index, truths, side)?,
        (ValueForm::Set(members), Value::Set(bits)) => write_set(out, column, members, bits, truths, side)?,
        (ValueForm::Date, Value::Date(date)) => write_date(out, column, date, truths, side)?,
        (ValueForm::Time, Value::Time(time)) => write_integer(out, time.micros),
        (ValueForm::ClockMillis, Value::DateTime(clock)) => write_clock(out, column, clock, 1000, truths, side)?,
        (ValueForm::ClockMicros, Value::DateTime(clock)) => write_clock(out, column, clock, 1, truths, side)?,
        (ValueForm::Zoned { fraction }, Value::Timestamp(instant)) => {
            write_timestamp(out, column, *fraction, instant, truths, side)?;
        }
        (ValueForm::Year, Value::Year(year)) => write_year(out, column, year, truths, side),
        (form @ (ValueForm::Geometry | ValueForm::Point), Value::Geometry { srid, wkb }) => {
            let is_point = matches!(form, ValueForm::Point);
            write_geometry(out, column, is_point, (srid, wkb), truths, side);
        }
        (ValueForm::Vector { dimension }, Value::Vector(numbers)) if numbers.len() / 4 <= *dimension as usize => {
            write_vector(out, column, numbers, truths, side);
        }
        (ValueForm::Uuid, Value::Uuid(bytes)) => write_address(out, |text| write_uuid(bytes, text)),
        (ValueForm::Inet4, Value::Inet4(bytes)) => write_address(out, |text| write_inet4(bytes, text)),
        (ValueForm::Inet6, Value::Inet6(bytes)) => write_address(out, |text| write_inet6(bytes, text)),
        (
            ValueForm::Signed { .. }
            | ValueForm::Unsigned { .. }
            | ValueForm::BigUnsigned
            | ValueForm::Decimal { .. }
            | ValueForm::Float
            | ValueForm::Double
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
            | ValueForm::Geometry
            | ValueForm::Point
            | ValueForm::Vector { .. }
            | ValueForm::Uuid
            | ValueForm::Inet4
            | ValueForm::Inet6,
            _,
        ) => return Err(Misfit::OtherType),
    }
    Ok(())
}

#[inline]
fn write_integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A text of few characters, none of which is escaped.
fn write_address(out: &mut Vec<u8>, write: impl FnOnce(&mut String) -> std::fmt::Result) {
    let mut text = String::new();
    write(&mut text).expect("invariant: writing to a String can't fail");
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Two's complement in the fewest bytes: a leading zero where the first bit is set.
fn write_big_unsigned(out: &mut Vec<u8>, number: u64) {
    let mut bytes = [0; 9];
    bytes[1..].copy_from_slice(&number.to_be_bytes());
    let mut start = 0;
    while start < 8 && bytes[start] == 0 && bytes[start + 1] < 0x80 {
        start += 1;
    }
    write_base64(out, &bytes[start..]);
}

fn write_not_finite(out: &mut Vec<u8>, column: &ColumnForm, number: f64, truths: &mut TruthWriter, side: Side) {
    let text = not_finite_text(number);
    truths.note_text(side, &column.opening, |out| out.extend_from_slice(text.as_bytes()));
    write_string(out, text);
}

/// What Java shows of bytes that its charset doesn't know, roughly: the bytes themselves are in the header.
fn shown_text(charset: Charset, bytes: &[u8]) -> String {
    match charset {
        Charset::Utf8mb4 | Charset::Utf8mb3 => String::from_utf8_lossy(bytes).into_owned(),
        Charset::Utf16 | Charset::Utf16Le | Charset::Ucs2 | Charset::Utf32 => char::REPLACEMENT_CHARACTER.to_string(),
        _ => bytes
            .iter()
            .map(|byte| if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER })
            .collect(),
    }
}

fn write_enum(
    out: &mut Vec<u8>,
    column: &ColumnForm,
    members: &Members,
    index: u16,
    truths: &mut TruthWriter,
    side: Side,
) -> Result<(), Misfit> {
    let text: &[u8] = match usize::from(index).checked_sub(1) {
        None => b"",
        Some(place) => members.escaped.get(place).ok_or(Misfit::OtherType)?,
    };
    if members.is_ambiguous_index(index) {
        truths.note_text(side, &column.opening, |out| write_integer(out, index));
    }
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
    Ok(())
}

fn write_set(
    out: &mut Vec<u8>,
    column: &ColumnForm,
    members: &Members,
    bits: u64,
    truths: &mut TruthWriter,
    side: Side,
) -> Result<(), Misfit> {
    if members.escaped.len() < 64 && bits >> members.escaped.len() != 0 {
        return Err(Misfit::OtherType);
    }
    if members.is_ambiguous_set {
        truths.note_text(side, &column.opening, |out| write_integer(out, bits));
    }
    out.push(b'"');
    let chosen = members.escaped.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
    for (number, (_, text)) in chosen.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(text);
    }
    out.push(b'"');
    Ok(())
}

fn write_date(
    out: &mut Vec<u8>,
    column: &ColumnForm,
    date: Date,
    truths: &mut TruthWriter,
    side: Side,
) -> Result<(), Misfit> {
    match date.days_since_epoch() {
        Some(days) => write_integer(out, days),
        None if has_digits(date) => {
            truths.note_text(side, &column.opening, |out| time_text::write_date(out, date));
            write_substitute(out, column, b"0");
        }
        None => return Err(Misfit::OtherType),
    }
    Ok(())
}

/// `unit`: how many microseconds the form's number counts as one.
fn write_clock(
    out: &mut Vec<u8>,
    column: &ColumnForm,
    clock: DateTime,
    unit: i64,
    truths: &mut TruthWriter,
    side: Side,
) -> Result<(), Misfit> {
    let is_time_of_day = clock.hour < 24 && clock.minute < 60 && clock.second < 60 && clock.micros < 1_000_000;
    if !is_time_of_day || !has_digits(clock.date) {
        return Err(Misfit::OtherType);
    }
    match clock.micros_since_epoch() {
        Some(micros) if micros % unit == 0 => write_integer(out, micros / unit),
        Some(_) | None => {
            truths.note_text(side, &column.opening, |out| time_text::write_clock(out, clock));
            write_substitute(out, column, b"0");
        }
    }
    Ok(())
}

fn write_timestamp(
    out: &mut Vec<u8>,
    column: &ColumnForm,
    fraction: u8,
    instant: Timestamp,
    truths: &mut TruthWriter,
    side: Side,
) -> Result<(), Misfit> {
    let micros = match instant {
        Timestamp::Zero => {
            truths.note_text(side, &column.opening, |out| out.extend_from_slice(b"0000-00-00 00:00:00"));
            write_substitute(out, column, b"\"1970-01-01T00:00:00Z\"");
            return Ok(());
        }
        Timestamp::Micros(micros) => micros,
    };
    let clock = DateTime::from_micros_since_epoch(micros).ok_or(Misfit::OtherType)?;
    if micros % 10_i64.pow(6 - u32::from(fraction)) != 0 {
        truths.note_text(side, &column.opening, |out| time_text::write_clock(out, clock));
    }
    out.push(b'"');
    time_text::write_zoned(out, clock, fraction);
    out.push(b'"');
    Ok(())
}

/// Debezium shows the year 0000 as 1900.
fn write_year(out: &mut Vec<u8>, column: &ColumnForm, year: u16, truths: &mut TruthWriter, side: Side) {
    if year == 0 {
        truths.note_text(side, &column.opening, |out| out.extend_from_slice(b"0000"));
        out.extend_from_slice(b"1900");
    } else {
        write_integer(out, year);
    }
}

fn write_substitute(out: &mut Vec<u8>, column: &ColumnForm, epoch: &[u8]) {
    out.extend_from_slice(if column.nullable { b"null" } else { epoch });
}

/// Whether the date has a text of its own: four, two and two digits, as MySQL's ranges promise.
fn has_digits(date: Date) -> bool {
    date.year <= 9999 && date.month <= 12 && date.day <= 31
}
