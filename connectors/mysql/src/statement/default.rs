//! What rows have in a new column that were there before: its default, where that is one value for all of them.
//!
//! Strict on purpose. A default that the server would round, cut or convert to fit the column is not guessed.

use tailrace_contract::{Fill, Literal};
use tailrace_row::{Charset, ColumnType, TextForm};

use super::{dialect::Dialect, tokens::Token, words::Words};

/// What stands behind DEFAULT.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Default {
    Null,
    /// A text, or a day and time as one.
    Text(String),
    /// Hexadecimal or binary digits.
    Bytes(Vec<u8>),
    /// A number as it is written.
    Number(String),
    /// Anything that is computed.
    Expression,
}

impl Default {
    pub(super) fn read(words: &mut Words<'_>) -> Result<Self, String> {
        if let Some(mut inner) = words.parenthesised() {
            // One literal is itself; all else is computed.
            return Ok(match Self::read_one(&mut inner) {
                Ok(literal) if inner.is_empty() => literal,
                Ok(_) | Err(_) => Self::Expression,
            });
        }
        Self::read_one(words)
    }

    fn read_one(words: &mut Words<'_>) -> Result<Self, String> {
        if let Some(number) = number(words) {
            return Ok(Self::Number(number));
        }
        if matches!(words.peek(), Some(Token::Text(_))) {
            return Ok(Self::Text(texts(words)?));
        }
        let Some(Token::Word(word)) = words.next() else { return Err("its default is not understood".to_owned()) };
        Self::read_word(&String::from_utf8_lossy(word).to_ascii_uppercase(), words)
    }

    fn read_word(word: &str, words: &mut Words<'_>) -> Result<Self, String> {
        let is_before_text = matches!(words.peek(), Some(Token::Text(_)));
        match word {
            "NULL" => Ok(Self::Null),
            "TRUE" => Ok(Self::Number("1".to_owned())),
            "FALSE" => Ok(Self::Number("0".to_owned())),
            "X" if is_before_text => digits(16, &texts(words)?),
            "B" if is_before_text => digits(2, &texts(words)?),
            "N" | "DATE" | "TIME" | "TIMESTAMP" if is_before_text => Ok(Self::Text(texts(words)?)),
            _ if word.starts_with('_') => {
                let literal = Self::read_one(words)?;
                let is_plain = match &literal {
                    Self::Text(text) => text.is_ascii(),
                    Self::Bytes(_) => word == "_BINARY",
                    Self::Null | Self::Number(_) | Self::Expression => false,
                };
                Ok(if is_plain { literal } else { Self::Expression })
            }
            _ if word.starts_with("0X") => digits(16, &word[2..]),
            _ if word.starts_with("0B") => digits(2, &word[2..]),
            "NEXT" if words.skip_all(&["VALUE", "FOR"]) => {
                words.name();
                if words.skip_symbol(b'.') {
                    words.name();
                }
                Ok(Self::Expression)
            }
            // The time of the statement, or MariaDB's functions.
            _ => {
                words.parenthesised();
                Ok(Self::Expression)
            }
        }
    }
}

/// Literals that stand side by side are one.
fn texts(words: &mut Words<'_>) -> Result<String, String> {
    let mut whole = String::new();
    while let Some(Token::Text(text)) = words.peek() {
        words.next();
        let text = std::str::from_utf8(text).ok().filter(|text| !text.contains('\u{fffd}'));
        whole.push_str(text.ok_or_else(|| "its default is no text".to_owned())?);
    }
    Ok(whole)
}

/// Bytes by their digits, of which the first may be left out.
fn digits(radix: u32, digits: &str) -> Result<Default, String> {
    let per_byte = if radix == 16 { 2 } else { 8 };
    let missing = digits.len().next_multiple_of(per_byte) - digits.len();
    let whole = format!("{}{digits}", "0".repeat(missing));
    let byte = |chunk: &[u8]| u8::from_str_radix(std::str::from_utf8(chunk).ok()?, radix).ok();
    let bytes: Option<Vec<u8>> = whole.as_bytes().chunks(per_byte).map(byte).collect();
    bytes.map(Default::Bytes).ok_or_else(|| "its default is not understood".to_owned())
}

/// A number with its sign, fraction and exponent, whose parts are words and symbols.
fn number(words: &mut Words<'_>) -> Option<String> {
    let mut ahead = words.clone();
    let mut number = String::new();
    if ahead.skip_symbol(b'-') {
        number.push('-');
    } else {
        ahead.skip_symbol(b'+');
    }
    let digits = |words: &mut Words<'_>, number: &mut String| {
        let Some(Token::Word(word)) = words.peek() else { return None };
        let word =
            std::str::from_utf8(word).ok().filter(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        words.next();
        number.push_str(word);
        Some(word.ends_with(['e', 'E']))
    };
    let mut has_open_exponent = digits(&mut ahead, &mut number);
    if ahead.skip_symbol(b'.') {
        number.push('.');
        has_open_exponent = digits(&mut ahead, &mut number).or(has_open_exponent);
    }
    if has_open_exponent? {
        if ahead.skip_symbol(b'-') {
            number.push('-');
        } else {
            ahead.skip_symbol(b'+');
        }
        digits(&mut ahead, &mut number)?;
    }
    let is_number = number.parse::<f64>().is_ok();
    if is_number {
        *words = ahead;
    }
    is_number.then_some(number)
}

/// What a column that may not be NULL has where nothing is said.
pub(super) fn implicit(column_type: &ColumnType) -> Fill {
    let zero = |fraction: &u8| match fraction {
        0 => String::new(),
        digits => format!(".{}", "0".repeat((*digits).into())),
    };
    let text = match column_type {
        ColumnType::Integer { .. } | ColumnType::Float | ColumnType::Double | ColumnType::Bit { .. } => "0".to_owned(),
        ColumnType::Decimal { scale, .. } => format!("0{}", zero(scale)),
        ColumnType::Text { .. } | ColumnType::Set { .. } => String::new(),
        ColumnType::Bytes { form: TextForm::Fixed, bytes_max } => hex(&vec![0; *bytes_max as usize]),
        ColumnType::Bytes { .. } => hex(&[]),
        ColumnType::Enum { members } => members.first().map(ToString::to_string).unwrap_or_default(),
        ColumnType::Date => "0000-00-00".to_owned(),
        ColumnType::Time { fraction } => format!("00:00:00{}", zero(fraction)),
        ColumnType::DateTime { fraction } => format!("0000-00-00 00:00:00{}", zero(fraction)),
        ColumnType::Timestamp { fraction } => format!("0000-00-00 00:00:00{}", zero(fraction)),
        ColumnType::Year => "0000".to_owned(),
        ColumnType::Json => "null".to_owned(),
        ColumnType::Uuid => "00000000-0000-0000-0000-000000000000".to_owned(),
        ColumnType::Inet4 => "0.0.0.0".to_owned(),
        ColumnType::Inet6 => "::".to_owned(),
        ColumnType::Geometry { .. } | ColumnType::Vector { .. } => {
            return Fill::Unknown("it has no default".to_owned());
        }
    };
    Fill::Value(text.into())
}

/// What the default is in the column.
pub(super) fn fill(default: &Default, column_type: &ColumnType, nullable: bool, dialect: &Dialect) -> Fill {
    let text = match default {
        Default::Null => return Fill::Null,
        Default::Expression => return Fill::Unknown("its default is computed".to_owned()),
        Default::Text(text) if text.is_empty() && dialect.is_empty_null() && nullable => return Fill::Null,
        literal => value(literal, column_type, dialect),
    };
    match text {
        Some(text) => Fill::Value(text.into()),
        None => Fill::Unknown("the server converts its default to the column's type".to_owned()),
    }
}

fn value(default: &Default, column_type: &ColumnType, dialect: &Dialect) -> Option<String> {
    match (column_type, default) {
        (ColumnType::Integer { .. }, Default::Bytes(bytes)) => checked(column_type, big_endian(bytes)?.to_string()),
        (ColumnType::Integer { .. }, Default::Number(text) | Default::Text(text)) => {
            checked(column_type, text.parse::<i128>().ok()?.to_string())
        }
        (ColumnType::Bit { .. }, Default::Bytes(bytes)) => checked(column_type, big_endian(bytes)?.to_string()),
        (ColumnType::Bit { .. }, Default::Number(text)) => checked(column_type, text.parse::<u64>().ok()?.to_string()),
        (ColumnType::Decimal { scale, .. }, Default::Number(text) | Default::Text(text)) => {
            checked(column_type, decimal(text, (*scale).into())?)
        }
        (ColumnType::Float, Default::Number(text) | Default::Text(text)) => {
            // The server rounds twice: to a double, and that to a float.
            #[expect(clippy::cast_possible_truncation, reason = "it is what the server does")]
            let number = text.parse::<f64>().ok()? as f32;
            number.is_finite().then(|| number.to_string())
        }
        (ColumnType::Double, Default::Number(text) | Default::Text(text)) => {
            text.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number.to_string())
        }
        (ColumnType::Year, Default::Number(text)) if text == "0" => Some("0000".to_owned()),
        (ColumnType::Year, Default::Number(text) | Default::Text(text)) => checked(column_type, text.clone()),
        (ColumnType::Text { .. }, _) => in_text(default, column_type, dialect),
        (ColumnType::Bytes { form, bytes_max }, _) => in_bytes(default, *form, *bytes_max),
        (ColumnType::Enum { members }, Default::Text(text)) => {
            members.iter().find(|member| ***member == **text).map(ToString::to_string)
        }
        (ColumnType::Set { members }, Default::Text(text)) => in_set(text, members),
        (ColumnType::Json, Default::Text(text)) => {
            matches!(&**text, "{}" | "[]" | "null" | "true" | "false" | "\"\"").then(|| text.clone())
        }
        (ColumnType::Uuid, Default::Text(text)) => {
            let is_uuid = text.len() == 36 && text.chars().all(|char| char.is_ascii_hexdigit() || char == '-');
            is_uuid.then(|| text.to_ascii_lowercase())
        }
        (ColumnType::Inet4, Default::Text(text)) => {
            text.parse::<std::net::Ipv4Addr>().ok().map(|address| address.to_string())
        }
        (ColumnType::Inet6, Default::Text(text)) => {
            text.parse::<std::net::Ipv6Addr>().ok().map(|address| address.to_string())
        }
        (_, Default::Text(text)) => in_time(text, column_type, dialect),
        (_, Default::Null | Default::Bytes(_) | Default::Number(_) | Default::Expression) => None,
    }
}

/// The text, if it is a value of the type.
fn checked(column_type: &ColumnType, text: String) -> Option<String> {
    Literal::parse(column_type, &text).is_ok().then_some(text)
}

fn big_endian(bytes: &[u8]) -> Option<u64> {
    let significant = bytes.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &bytes[first..]);
    (significant.len() <= 8).then(|| significant.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// With all digits behind the point.
fn decimal(text: &str, scale: usize) -> Option<String> {
    let (sign, magnitude) = text.strip_prefix('-').map_or(("", text), |magnitude| ("-", magnitude));
    let (whole, behind) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(behind) || behind.trim_end_matches('0').len() > scale {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let behind: String = behind.chars().chain(std::iter::repeat('0')).take(scale).collect();
    let is_zero = whole == "0" && behind.bytes().all(|digit| digit == b'0');
    let sign = if is_zero { "" } else { sign };
    Some(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{behind}") })
}

fn in_text(default: &Default, column_type: &ColumnType, dialect: &Dialect) -> Option<String> {
    let ColumnType::Text { form, bytes_max, charset } = column_type else { return None };
    let text = match default {
        Default::Text(text) => text.clone(),
        // Written the plain way, it stays as it is.
        Default::Number(number) => (number.parse::<i64>().ok()?.to_string() == *number).then(|| number.clone())?,
        Default::Bytes(bytes) => String::from_utf8(bytes.clone()).ok().filter(|text| text.is_ascii())?,
        Default::Null | Default::Expression => return None,
    };
    // Outside of its strict mode the server makes question marks of what a charset does not have.
    let is_safe = text.is_ascii() || *charset == Charset::Utf8mb4 && dialect.is_strict();
    let text = if *form == TextForm::Fixed { text.trim_end_matches(' ') } else { &text };
    let size = match form {
        TextForm::Large => text.len(),
        TextForm::Fixed | TextForm::Varying => text.chars().count() * charset.bytes_each_max() as usize,
    };
    (is_safe && size <= *bytes_max as usize).then(|| text.to_owned())
}

fn in_bytes(default: &Default, form: TextForm, bytes_max: u32) -> Option<String> {
    let mut bytes = match default {
        Default::Text(text) if text.is_ascii() => text.clone().into_bytes(),
        Default::Bytes(bytes) => bytes.clone(),
        Default::Null | Default::Text(_) | Default::Number(_) | Default::Expression => return None,
    };
    let room = bytes_max as usize;
    if bytes.len() > room {
        return None;
    }
    if form == TextForm::Fixed {
        bytes.resize(room, 0);
    }
    Some(hex(&bytes))
}

fn in_set(text: &str, members: &[Box<str>]) -> Option<String> {
    let chosen: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split(',').collect() };
    let are_members = chosen.iter().all(|one| members.iter().any(|member| **member == **one));
    let ordered = members.iter().filter(|member| chosen.contains(&&***member));
    are_members.then(|| ordered.map(|member| &**member).collect::<Vec<_>>().join(","))
}

/// Days and times, with all digits of a second.
fn in_time(text: &str, column_type: &ColumnType, dialect: &Dialect) -> Option<String> {
    let (fraction, has_day) = match column_type {
        ColumnType::Date => (0, true),
        ColumnType::Time { fraction } => (*fraction, false),
        ColumnType::DateTime { fraction } | ColumnType::Timestamp { fraction } => (*fraction, true),
        _ => return None,
    };
    let is_zero =
        has_day && text.bytes().all(|byte| matches!(byte, b'0' | b'-' | b':' | b'.' | b' ')) && text.len() >= 10;
    if let (true, Fill::Value(zero)) = (is_zero, implicit(column_type)) {
        return Some(zero.into());
    }
    if *column_type == ColumnType::Date {
        return checked(column_type, text.to_owned());
    }
    let (whole, behind) = text.split_once('.').unwrap_or((text, ""));
    let behind = behind.trim_end_matches('0');
    let whole = if has_day && whole.len() == 10 { format!("{whole} 00:00:00") } else { whole.to_owned() };
    let digits = usize::from(fraction);
    let text = match digits {
        _ if behind.len() > digits => return None,
        0 => whole,
        _ => format!("{whole}.{behind:0<digits$}"),
    };
    match column_type {
        ColumnType::Timestamp { .. } => in_utc(&text, fraction, dialect),
        _ => checked(column_type, text),
    }
}

/// An instant that the session told in its own zone.
fn in_utc(text: &str, fraction: u8, dialect: &Dialect) -> Option<String> {
    use tailrace_contract::print::{self, Paper};
    use tailrace_row::{Timestamp, Value};
    let column_type = ColumnType::Timestamp { fraction };
    let literal = Literal::parse(&column_type, &format!("{text}Z")).ok()?;
    let Value::Timestamp(Timestamp::Micros(micros)) = literal.value() else { return None };
    let instant = Timestamp::Micros(micros - dialect.ahead_seconds? * 1_000_000);
    let mut printed = String::new();
    print::print(&column_type, Value::Timestamp(instant), Paper { is_key: false, holds_nul: true }, &mut printed)
        .ok()?;
    Some(printed)
}

/// Bytes as their hexadecimal digits behind `0x`.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02X}"))
}
