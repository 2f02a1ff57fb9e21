//! One of Debezium's values → the field of a row image. See the module above for what is restored and what is refused.

use base64::{Engine as _, prelude::BASE64_URL_SAFE};
use tailrace_row::{
    Charset, Column, ColumnType, DateTime, Decimal, ImageWriter, TextForm, Time, Timestamp, Value, parse_inet4,
    parse_inet6, parse_uuid,
};

use super::{Wire, decimal_text::unscaled};
use crate::debezium::{
    base64_text::read_base64,
    compound::{RawGeometry, RawVector, read_geometry, read_vector},
    decode::Scratch,
    form::{Members, ValueForm},
    read_field::{big_unsigned, bits, fewest_bytes, integer_value},
    time_text,
};

/// A column as a record of Debezium has it.
#[derive(Clone, Copy)]
pub(in crate::debezium) struct TheirColumn<'a> {
    pub(in crate::debezium) column: &'a Column,
    pub(in crate::debezium) form: &'a ValueForm,
    pub(in crate::debezium) wire: Wire,
    pub(in crate::debezium) is_true_one: bool,
    pub(in crate::debezium) is_epoch_a_day: bool,
    /// Whether the column's type is known to be what it was when the record was written.
    pub(in crate::debezium) is_of_its_time: bool,
}

const OTHER_FORM: &str = "is in another form than [log.debezium] says, or of another type than in the source";
const OUTSIDE: &str = "is outside its type's range";
const NO_SCHEMA: &str = "is in a record without a schema, and may have been of another type when it was written: let Debezium's \
                         converter write schemas, or, if its table was never altered since the topic began, set \
                         schemaless_records = \"unaltered\" in [log.debezium]";
const TRUE: &str = "is true, which Debezium writes for every number of a BOOLEAN but 0: if it holds no others than 0 and 1, \
                    set boolean_true = \"one\" in [log.debezium]";
const LOST: &str = "is null and can't be: Debezium could not convert the value";
const REPLACED: &str = "has U+FFFD, which its charset does not have: Debezium lost the character";
const OTHER_CHARSET: &str = "is of a charset that Debezium's stream reads by the table of another one";
const PRIVATE_USE: &str = "has a character for private use, which Debezium writes for bytes that are none";
const INFINITE: &str = "is infinite, which no value of the source is: Debezium narrowed it";
const ZERO_OR_EPOCH: &str = "is 1970-01-01, which Debezium writes for zero dates too where NULL is not allowed: if it holds \
                             none, set zero_dates = \"epoch\" in [log.debezium]";
const EPOCH: &str = "is the epoch, which Debezium writes for the zero timestamp and for NULL";
const AMBIGUOUS: &str = "has a text that may be two values of its type";
const NO_BYTES: &str = "is not in the form of binary_handling_mode";

/// A JSON value, text without its quotes and escapes.
enum Json<'a> {
    Null,
    Truth(bool),
    Number(&'a str),
    Text(String),
    /// A struct or an array.
    Compound,
}

impl<'a> Json<'a> {
    fn parse(raw: &'a str) -> Option<Self> {
        Some(match raw.as_bytes().first()? {
            b'n' => Self::Null,
            b't' => Self::Truth(true),
            b'f' => Self::Truth(false),
            b'"' => Self::Text(serde_json::from_str(raw).ok()?),
            b'-' | b'0'..=b'9' => Self::Number(raw),
            b'{' | b'[' => Self::Compound,
            _ => return None,
        })
    }
}

/// Writes the value whose JSON is `raw`. An error tells what is wrong, without the value.
pub(in crate::debezium) fn write_their_field(
    of: TheirColumn<'_>,
    raw: &str,
    scratch: &mut Scratch,
    writer: &mut ImageWriter<'_>,
) -> Result<(), &'static str> {
    if !of.is_of_its_time {
        return Err(NO_SCHEMA);
    }
    let value = match Json::parse(raw).ok_or(OTHER_FORM)? {
        Json::Null if of.column.nullable => {
            writer.null();
            return Ok(());
        }
        Json::Null => return Err(LOST),
        Json::Truth(truth) => of_truth(of, truth)?,
        Json::Number(text) => of_number(of, text, &mut scratch.bytes)?,
        Json::Text(text) => {
            // Texts are borrowed from here, so they are written before it ends.
            return write_text(of, &text, scratch, writer);
        }
        Json::Compound => return write_compound(of.form, raw, &mut scratch.bytes, writer),
    };
    writer.value(value);
    Ok(())
}

fn write_compound(
    form: &ValueForm,
    raw: &str,
    bytes: &mut Vec<u8>,
    writer: &mut ImageWriter<'_>,
) -> Result<(), &'static str> {
    match form {
        ValueForm::Geometry | ValueForm::Point => {
            let geometry: RawGeometry<'_> = serde_json::from_str(raw).map_err(|_| OTHER_FORM)?;
            read_geometry(&geometry, bytes, writer)
        }
        ValueForm::Vector { dimension } => {
            let vector: RawVector<'_> = serde_json::from_str(raw).map_err(|_| OTHER_FORM)?;
            read_vector(&vector, *dimension, bytes, writer)
        }
        _ => Err(OTHER_FORM),
    }
}

fn of_truth(of: TheirColumn<'_>, truth: bool) -> Result<Value<'static>, &'static str> {
    match of.form {
        ValueForm::Boolean => Ok(Value::Bit(u64::from(truth))),
        ValueForm::Signed { bits: 8 } if truth && !of.is_true_one => Err(TRUE),
        ValueForm::Signed { bits: 8 } => Ok(Value::Integer(i64::from(truth))),
        _ => Err(OTHER_FORM),
    }
}

fn of_number<'s>(of: TheirColumn<'_>, text: &str, bytes: &'s mut Vec<u8>) -> Result<Value<'s>, &'static str> {
    let whole = || text.parse::<i64>().map_err(|_| OTHER_FORM);
    match (of.form, of.wire) {
        // INTEGER UNSIGNED in the stream of older versions: 32 bits with a sign, in a field of 64.
        (ValueForm::Unsigned { bits: 32 }, Wire::Long) => {
            let number = whole()?;
            let restored = if number < 0 { number.checked_add(1 << 32).ok_or(OUTSIDE)? } else { number };
            integer_value(of.form, restored)
        }
        (ValueForm::Signed { .. } | ValueForm::Unsigned { .. }, _) => integer_value(of.form, whole()?),
        (ValueForm::Date, Wire::Plain) => integer_value(of.form, since_epoch(of, whole()?)?),
        (ValueForm::BigUnsigned, Wire::Long) => Ok(Value::Unsigned(whole()?.cast_unsigned())),
        (ValueForm::BigUnsigned, Wire::DecimalNumber) => {
            unscaled(text, 0, bytes).ok_or(OUTSIDE)?;
            big_unsigned(bytes).map(Value::Unsigned)
        }
        (ValueForm::Decimal { scale }, Wire::DecimalNumber) => of_digits(text, *scale, bytes),
        // Parsed in the width of the column: what Debezium widened to a double is the float again.
        (ValueForm::Float, _) => finite(text.parse().ok().filter(|number: &f32| number.is_finite())).map(Value::Float),
        (ValueForm::Double, _) => {
            finite(text.parse().ok().filter(|number: &f64| number.is_finite())).map(Value::Double)
        }
        (ValueForm::Year, _) if whole()? == 1900 => Ok(Value::Year(0)),
        (ValueForm::Year, _) => integer_value(of.form, whole()?),
        (ValueForm::Time, Wire::Micros | Wire::Nanos) => {
            integer_value(of.form, fine_enough(of, micros(whole()?, of.wire)?)?)
        }
        (ValueForm::ClockMillis | ValueForm::ClockMicros, Wire::Millis | Wire::Micros | Wire::Nanos) => {
            let micros = fine_enough(of, since_epoch(of, micros(whole()?, of.wire)?)?)?;
            DateTime::from_micros_since_epoch(micros).map(Value::DateTime).ok_or(OUTSIDE)
        }
        _ => Err(OTHER_FORM),
    }
}

fn finite<T>(number: Option<T>) -> Result<T, &'static str> {
    number.ok_or(OUTSIDE)
}

fn of_digits<'s>(text: &str, scale: u8, bytes: &'s mut Vec<u8>) -> Result<Value<'s>, &'static str> {
    unscaled(text, scale, bytes).ok_or(OUTSIDE)?;
    Ok(Value::Decimal(Decimal { unscaled: fewest_bytes(bytes)?, scale }))
}

/// The microseconds, unless the column holds no such fraction: it had another precision when the record was written, and what the
/// server made of the value then is not in it.
fn fine_enough(of: TheirColumn<'_>, micros: i64) -> Result<i64, &'static str> {
    let (ColumnType::Time { fraction } | ColumnType::DateTime { fraction }) = of.column.column_type else {
        return Ok(micros);
    };
    let tick = 10_i64.pow(6 - u32::from(fraction.min(6)));
    if micros % tick == 0 { Ok(micros) } else { Err(OUTSIDE) }
}

fn micros(number: i64, unit: Wire) -> Result<i64, &'static str> {
    match unit {
        Wire::Millis => number.checked_mul(1000).ok_or(OUTSIDE),
        Wire::Nanos if number % 1000 == 0 => Ok(number / 1000),
        Wire::Nanos => Err(OUTSIDE),
        _ => Ok(number),
    }
}

fn write_text(
    of: TheirColumn<'_>,
    text: &str,
    scratch: &mut Scratch,
    writer: &mut ImageWriter<'_>,
) -> Result<(), &'static str> {
    let bytes = &mut scratch.bytes;
    let value = match (of.form, of.wire) {
        (ValueForm::Text { charset }, _) => match doubt(*charset, text) {
            Some(doubt) => return Err(doubt),
            None => Value::Text(text),
        },
        (ValueForm::Json, _) => Value::Json(text),
        (ValueForm::Bytes, wire) => {
            read_bytes(text, wire, bytes).ok_or(NO_BYTES)?;
            pad(&of.column.column_type, bytes)?;
            Value::Bytes(bytes)
        }
        (ValueForm::Decimal { scale }, Wire::Decimal) => {
            read_base64(text, bytes).ok_or(OTHER_FORM)?;
            Value::Decimal(Decimal { unscaled: fewest_bytes(bytes)?, scale: *scale })
        }
        (ValueForm::Decimal { scale }, Wire::DecimalText) => of_digits(text, *scale, bytes)?,
        (ValueForm::BigUnsigned, Wire::Decimal) => {
            read_base64(text, bytes).ok_or(OTHER_FORM)?;
            Value::Unsigned(big_unsigned(bytes)?)
        }
        (ValueForm::Bits { length }, _) => {
            read_base64(text, bytes).ok_or(OTHER_FORM)?;
            Value::Bit(bits(bytes, *length)?)
        }
        (ValueForm::Enum(members), _) => Value::Enum(enum_index(members, text)?),
        (ValueForm::Set(members), _) => Value::Set(set_bits(members, text)?),
        (ValueForm::Zoned { .. }, _) => Value::Timestamp(timestamp(of.column, text)?),
        (ValueForm::Uuid, _) => Value::Uuid(parse_uuid(text).ok_or(OTHER_FORM)?),
        (ValueForm::Inet4, _) => Value::Inet4(parse_inet4(text).ok_or(OTHER_FORM)?),
        (ValueForm::Inet6, _) => Value::Inet6(parse_inet6(text).ok_or(OTHER_FORM)?),
        (ValueForm::Date, Wire::Iso) => {
            let date = text.strip_suffix('Z').and_then(time_text::parse_date).ok_or(OTHER_FORM)?;
            since_epoch(of, date.days_since_epoch().ok_or(OTHER_FORM)?.into())?;
            Value::Date(date)
        }
        (ValueForm::Time, Wire::Iso) => {
            Value::Time(Time { micros: fine_enough(of, iso(&format!("1970-01-01T{text}"))?)? })
        }
        (ValueForm::ClockMillis | ValueForm::ClockMicros, Wire::Iso) => {
            let micros = fine_enough(of, since_epoch(of, iso(text)?)?)?;
            Value::DateTime(DateTime::from_micros_since_epoch(micros).ok_or(OUTSIDE)?)
        }
        (ValueForm::Float | ValueForm::Double, _) if text.ends_with("Infinity") => return Err(INFINITE),
        _ => return Err(OTHER_FORM),
    };
    writer.value(value);
    Ok(())
}

fn iso(text: &str) -> Result<i64, &'static str> {
    time_text::parse_zoned(text).and_then(DateTime::micros_since_epoch).ok_or(OTHER_FORM)
}

/// The number, days or a finer unit, unless it is 0 and may stand for a zero date.
fn since_epoch(of: TheirColumn<'_>, number: i64) -> Result<i64, &'static str> {
    if number == 0 && !of.column.nullable && !of.is_epoch_a_day { Err(ZERO_OR_EPOCH) } else { Ok(number) }
}

/// MySQL's TIMESTAMP begins a second after the epoch: there the epoch stands for the zero timestamp, or for NULL where the
/// column's default is CURRENT_TIMESTAMP.
fn timestamp(column: &Column, text: &str) -> Result<Timestamp, &'static str> {
    match iso(text)? {
        0 if column.nullable => Err(EPOCH),
        0 => Ok(Timestamp::Zero),
        micros => Ok(Timestamp::Micros(micros)),
    }
}

/// Why the text may not be what the source has. Unicode has the replacement character and those for private use itself; some
/// charsets Debezium's stream reads by the tables of others.
fn doubt(charset: Charset, text: &str) -> Option<&'static str> {
    match charset {
        Charset::Utf8mb4
        | Charset::Utf8mb3
        | Charset::Ucs2
        | Charset::Utf16
        | Charset::Utf16Le
        | Charset::Utf32
        | Charset::Gb18030 => None,
        Charset::Armscii8
        | Charset::Cp932
        | Charset::Eucjpms
        | Charset::Geostd8
        | Charset::Hp8
        | Charset::Keybcs2
        | Charset::Koi8U => (!text.is_ascii()).then_some(OTHER_CHARSET),
        // Some signs of ASCII are letters there.
        Charset::Swe7 => {
            let is_common = |byte: u8| byte.is_ascii_alphanumeric() || b" !\"#%&'()*+,-./:;<=>?_".contains(&byte);
            (!text.bytes().all(is_common)).then_some(OTHER_CHARSET)
        }
        _ if text.contains('\u{fffd}') => Some(REPLACED),
        _ => text.chars().any(|char| matches!(char, '\u{e000}'..='\u{f8ff}')).then_some(PRIVATE_USE),
    }
}

fn read_bytes(text: &str, wire: Wire, out: &mut Vec<u8>) -> Option<()> {
    match wire {
        Wire::Base64 => read_base64(text, out),
        Wire::Base64UrlSafe => {
            out.clear();
            BASE64_URL_SAFE.decode_vec(text, out).ok()
        }
        Wire::Hex => {
            out.clear();
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (pairs, rest) = text.as_bytes().as_chunks::<2>();
            for [high, low] in pairs {
                out.push(digit(*high)? << 4 | digit(*low)?);
            }
            rest.is_empty().then_some(())
        }
        _ => None,
    }
}

/// A BINARY always has its full length; Debezium's stream may show it without the zeros at its end.
fn pad(column_type: &ColumnType, bytes: &mut Vec<u8>) -> Result<(), &'static str> {
    if let ColumnType::Bytes { form, bytes_max } = column_type {
        let length = usize::try_from(*bytes_max).unwrap_or(usize::MAX);
        if bytes.len() > length {
            return Err(OUTSIDE);
        }
        if *form == TextForm::Fixed {
            bytes.resize(length, 0);
        }
    }
    Ok(())
}

/// Debezium's stream writes a backslash before commas and backslashes of a member, its snapshots don't.
fn enum_index(members: &Members, text: &str) -> Result<u16, &'static str> {
    let place = member(members, text)?;
    let index = match place {
        Some(place) => u16::try_from(place + 1).map_err(|_| OUTSIDE)?,
        None if text.is_empty() => 0,
        None => return Err(no_member(text, "is no member of its ENUM")),
    };
    // The index 0 beside a member '', or a member that stands twice.
    if text.is_empty() && place.is_some() || members.is_ambiguous_index(index) { Err(AMBIGUOUS) } else { Ok(index) }
}

fn set_bits(members: &Members, text: &str) -> Result<u64, &'static str> {
    if members.is_ambiguous_set {
        return Err(AMBIGUOUS);
    }
    if text.is_empty() {
        return Ok(0);
    }
    text.split(',').try_fold(0, |bits, text| match member(members, text)? {
        Some(place @ 0..64) => Ok(bits | 1 << place),
        Some(_) | None => Err(no_member(text, "has what is no member of its SET")),
    })
}

/// MySQL's dictionary shows `?` for characters above U+FFFF: the text may be right, but which member it is can't be told.
fn no_member(text: &str, otherwise: &'static str) -> &'static str {
    if text.chars().any(|c| c > '\u{ffff}') {
        return "has a member with a character above U+FFFF, which the source's dictionary does not show";
    }
    otherwise
}

/// The member of this text, escaped or not.
fn member(members: &Members, text: &str) -> Result<Option<usize>, &'static str> {
    let (as_is, unescaped) = (members.place(text), members.place(&unescaped(text)));
    match (as_is, unescaped) {
        (Some(one), Some(other)) if one != other => Err(AMBIGUOUS),
        (one, other) => Ok(one.or(other)),
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}
