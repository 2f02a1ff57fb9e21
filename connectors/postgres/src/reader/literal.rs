//! A value of a key as a literal of its target column's type, so that the database compares it there and uses the index.
//!
//! Days and times are sums of microseconds from the beginning of PostgreSQL's calendar, which need no form of a date.

use std::fmt::Write as _;

use num_bigint::BigInt;
use tailrace_row::{ColumnType, Decimal, Timestamp, Value, write_inet4, write_inet6, write_uuid};

use crate::target_type::TargetType;

/// None: the target can't hold the value, so no row has it.
pub(super) fn literal(source: &ColumnType, target: TargetType, value: Value<'_>) -> Option<String> {
    let quoted = |text: &str| Some(format!("'{}'::{}", text.replace('\'', "''"), target.wire_name()));
    let plain = match value {
        Value::Integer(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Year(year) => year.to_string(),
        Value::Bit(bits) => match (source, target) {
            (ColumnType::Bit { length }, TargetType::Bit { .. } | TargetType::VarBit { .. }) => {
                let digits = format!("{bits:0>width$b}", width = usize::from(*length));
                let name =
                    if matches!(target, TargetType::Bit { .. }) { format!("bit({length})") } else { "varbit".into() };
                return Some(format!("'{digits}'::{name}"));
            }
            _ => bits.to_string(),
        },
        Value::Float(number) if target == TargetType::Real => number.to_string(),
        Value::Float(number) => f64::from(number).to_string(),
        Value::Double(number) => number.to_string(),
        Value::Decimal(number) => decimal(number),
        Value::Text(text) if !text.contains('\0') => return quoted(text),
        Value::Enum(index) => return quoted(label(index, source)?),
        Value::Set(bits) => return quoted(&labels(bits, source)?),
        Value::Bytes(bytes) => {
            let mut digits = String::from("\\x");
            bytes
                .iter()
                .for_each(|byte| write!(digits, "{byte:02x}").expect("invariant: writing to a String can't fail"));
            digits
        }
        Value::Date(date) => return Some(format!("('1970-01-01'::date + ({}))", date.days_since_epoch()?)),
        Value::Time(time) => match target {
            TargetType::Time { .. } if !(0..=86_400_000_000).contains(&time.micros) => return None,
            // To `time`, a whole day is not what 0 is.
            TargetType::Time { .. } if time.micros == 86_400_000_000 => "24:00:00".to_owned(),
            TargetType::Time { .. } => return Some(format!("('00:00'::time + {})", interval(time.micros))),
            _ => return Some(interval(time.micros)),
        },
        Value::DateTime(clock) => {
            return Some(format!("('1970-01-01'::timestamp + {})", interval(clock.micros_since_epoch()?)));
        }
        Value::Timestamp(Timestamp::Micros(micros)) => {
            return Some(format!("('1970-01-01 00:00:00+00'::timestamptz + {})", interval(micros)));
        }
        Value::Uuid(bytes) => printed(|text| write_uuid(bytes, text)),
        Value::Inet4(bytes) => printed(|text| write_inet4(bytes, text)),
        Value::Inet6(bytes) => printed(|text| write_inet6(bytes, text)),
        Value::Text(_) | Value::InvalidText(_) | Value::Timestamp(Timestamp::Zero) => return None,
        Value::Json(_) | Value::Geometry { .. } | Value::Vector(_) => return None,
    };
    // What boolean columns take are 0 and 1.
    Some(format!("'{plain}'::{}", target.wire_name()))
}

/// Exact: seconds and microseconds are counted apart, since one number of both would become a double on its way.
fn interval(micros: i64) -> String {
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    format!("('{seconds} seconds'::interval + '{rest} microseconds'::interval)")
}

fn printed(print: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    print(&mut text).expect("invariant: writing to a String can't fail");
    text
}

fn decimal(number: Decimal<'_>) -> String {
    format!("{}e-{}", BigInt::from_signed_bytes_be(number.unscaled), number.scale)
}

fn label(index: u16, source: &ColumnType) -> Option<&str> {
    let ColumnType::Enum { members } = source else { return None };
    match index {
        0 => Some(""),
        index => members.get(usize::from(index) - 1).map(|member| &**member),
    }
}

fn labels(bits: u64, source: &ColumnType) -> Option<String> {
    let ColumnType::Set { members } = source else { return None };
    let chosen = members.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
    Some(chosen.map(|(_, member)| &**member).collect::<Vec<_>>().join(","))
}
