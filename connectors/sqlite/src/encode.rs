//! One field of a row image as SQLite stores it.
//!
//! What a column would change is refused here, before anything is sent; the refusal names the kind of the value, never the
//! value.
//!
//! In a key each value has one form, whatever the column's precision says now: zeros at the end of a fraction are left out,
//! so that a row is found again after the source's column got more digits.

use tailrace_contract::print::{TooFine, clock, decimal};
use tailrace_row::{ColumnType, Field, Timestamp, Value, write_ewkb, write_inet4, write_inet6, write_uuid};

use crate::{parameters::Parameters, target_type::TargetType};

mod policy;

/// SQLite's limit of a value and of a row.
const FIELD_BYTES_MAX: usize = 1_000_000_000;

/// Why a field can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Bytes that are no text in the source's own charset.
    InvalidText,
    /// A number that the column would not hold as one.
    OutOfRange,
    /// A float that the column would write as 0.
    NegativeZero,
    /// A float that is no number: SQLite would store NULL.
    NotANumber,
    /// More bytes than SQLite holds.
    TooBig,
    /// Digits behind the point of a second that the source's type does not have.
    TooFine,
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
            Self::InvalidText
            | Self::OutOfRange
            | Self::NegativeZero
            | Self::NotANumber
            | Self::TooBig
            | Self::AmbiguousLabel => true,
            Self::TooFine | Self::NoMember | Self::Null | Self::Unchanged | Self::OtherType => false,
        }
    }
}

impl From<TooFine> for Refusal {
    fn from(_: TooFine) -> Self {
        Self::TooFine
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InvalidText => "bytes that are no text in the column's charset",
            Self::OutOfRange => "a number of 2^63 or more, which the target column does not hold (ANY or TEXT would)",
            Self::NegativeZero => "-0.0, which the target column does not hold (ANY would)",
            Self::NotANumber => "a float that is no number, which SQLite does not hold",
            Self::TooBig => "a value bigger than SQLite holds",
            Self::TooFine => "more digits behind the point than the source's column has",
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
    /// Zeros at the end of a fraction are left out.
    is_key: bool,
    /// What is written for a value that can't be held; without, it is refused.
    stand_in: Option<policy::StandIn>,
}

#[derive(Debug)]
enum Form {
    /// Whole numbers as such; beyond them `wide` decides.
    Integer {
        wide: Wide,
    },
    /// Floats as such.
    Float {
        is_zero_kept: bool,
    },
    /// Floats by the shortest digits that mean the same double.
    FloatText,
    Decimal,
    Text,
    Enum {
        members: Box<[Box<str>]>,
    },
    Set {
        members: Box<[Box<str>]>,
    },
    Blob,
    Ewkb,
    Numbers,
    Address,
    Date,
    Time {
        fraction: u8,
    },
    DateTime {
        fraction: u8,
    },
    Timestamp {
        fraction: u8,
    },
    Print(policy::PrintForm),
}

/// What becomes of whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wide {
    /// Those from 2^63 on are refused.
    Refused,
    /// Those from 2^63 on become their digits.
    Digits,
    /// All become their digits.
    AllDigits,
}

impl Codec {
    /// The codec of a column that [`crate::target_type::fit`] lets through.
    pub(crate) fn new(source: &ColumnType, target: TargetType, is_nullable: bool, is_key: bool) -> Self {
        let form = match source {
            ColumnType::Integer { .. } | ColumnType::Bit { .. } | ColumnType::Year => Form::Integer {
                wide: match target {
                    TargetType::Any => Wide::Digits,
                    TargetType::Text => Wide::AllDigits,
                    TargetType::Integer | TargetType::Numeric | TargetType::Real | TargetType::Blob => Wide::Refused,
                },
            },
            ColumnType::Float | ColumnType::Double if target == TargetType::Text => Form::FloatText,
            ColumnType::Float | ColumnType::Double => Form::Float { is_zero_kept: target == TargetType::Any },
            ColumnType::Decimal { .. } => Form::Decimal,
            ColumnType::Text { .. } | ColumnType::Json => Form::Text,
            ColumnType::Enum { members } => Form::Enum { members: members.clone() },
            ColumnType::Set { members } => Form::Set { members: members.clone() },
            ColumnType::Bytes { .. } => Form::Blob,
            ColumnType::Geometry { .. } => Form::Ewkb,
            ColumnType::Vector { .. } => Form::Numbers,
            ColumnType::Uuid | ColumnType::Inet4 | ColumnType::Inet6 => Form::Address,
            ColumnType::Date => Form::Date,
            ColumnType::Time { fraction } => Form::Time { fraction: *fraction },
            ColumnType::DateTime { fraction } => Form::DateTime { fraction: *fraction },
            ColumnType::Timestamp { fraction } => Form::Timestamp { fraction: *fraction },
        };
        Self { form, is_nullable, is_key, stand_in: None }
    }

    /// Adds the field to a statement's parameters. `text` is for its text on the way.
    #[inline]
    pub(crate) fn write(
        &self,
        field: Field<'_>,
        text: &mut String,
        parameters: &mut Parameters,
    ) -> Result<(), Refusal> {
        match field {
            Field::Value(value) => {
                let written = self.write_value(value, text, parameters);
                written.or_else(|refusal| self.write_stand_in(refusal, text, parameters))
            }
            Field::Null if self.is_nullable => {
                parameters.null();
                Ok(())
            }
            Field::Null => Err(Refusal::Null),
            Field::Unchanged => Err(Refusal::Unchanged),
        }
    }

    fn write_value(&self, value: Value<'_>, text: &mut String, parameters: &mut Parameters) -> Result<(), Refusal> {
        text.clear();
        match &self.form {
            Form::Integer { wide } => return write_integer(value, *wide, text, parameters),
            Form::Float { is_zero_kept } => {
                let number = float(value)?;
                if number == 0.0 && number.is_sign_negative() && !is_zero_kept {
                    return Err(Refusal::NegativeZero);
                }
                parameters.real(number);
                return Ok(());
            }
            Form::Blob => {
                let Value::Bytes(bytes) = value else { return Err(Refusal::OtherType) };
                return add_bytes(bytes, parameters);
            }
            Form::Ewkb => {
                let Value::Geometry { srid, wkb } = value else { return Err(Refusal::OtherType) };
                let mut ewkb = Vec::with_capacity(wkb.len() + 4);
                write_ewkb(srid, wkb, &mut ewkb).ok_or(Refusal::OtherType)?;
                return add_bytes(&ewkb, parameters);
            }
            Form::Numbers => {
                let Value::Vector(numbers) = value else { return Err(Refusal::OtherType) };
                return add_bytes(numbers, parameters);
            }
            Form::Address => write_address(value, text)?,
            Form::Text => return add_text(plain_text(value)?, parameters),
            Form::Print(form) => {
                form.print(value, text)?;
            }
            Form::Enum { members } => return add_text(enum_label(value, members)?, parameters),
            Form::FloatText => {
                use std::fmt::Write as _;
                write!(text, "{:?}", float(value)?).expect("invariant: writing to a String can't fail");
            }
            Form::Decimal => {
                let Value::Decimal(number) = value else { return Err(Refusal::OtherType) };
                decimal::write(number, text);
                if self.is_key && number.scale > 0 {
                    leave_zeros_out(text);
                }
            }
            Form::Set { members } => write_set(value, members, text)?,
            Form::Date => {
                let Value::Date(date) = value else { return Err(Refusal::OtherType) };
                clock::write_date(date, text);
            }
            Form::Time { fraction } => {
                let Value::Time(time) = value else { return Err(Refusal::OtherType) };
                clock::write_time(time, self.fraction(*fraction), text)?;
            }
            Form::DateTime { fraction } => {
                let Value::DateTime(moment) = value else { return Err(Refusal::OtherType) };
                clock::write_date_time(moment, self.fraction(*fraction), text)?;
            }
            Form::Timestamp { fraction } => {
                let Value::Timestamp(instant) = value else { return Err(Refusal::OtherType) };
                self.write_timestamp(instant, *fraction, text)?;
            }
        }
        add_text(text, parameters)
    }

    fn write_timestamp(&self, instant: Timestamp, fraction: u8, text: &mut String) -> Result<(), Refusal> {
        let moment = clock::of_timestamp(instant).ok_or(Refusal::OtherType)?;
        clock::write_date_time(moment, self.fraction(fraction), text)?;
        text.push('Z');
        Ok(())
    }

    fn fraction(&self, declared: u8) -> clock::Fraction {
        if self.is_key { clock::Fraction::Needed } else { clock::Fraction::Digits(declared) }
    }
}

fn add_bytes(bytes: &[u8], parameters: &mut Parameters) -> Result<(), Refusal> {
    if bytes.len() > FIELD_BYTES_MAX {
        return Err(Refusal::TooBig);
    }
    parameters.blob(bytes);
    Ok(())
}

fn write_address(value: Value<'_>, text: &mut String) -> Result<(), Refusal> {
    let written = match value {
        Value::Uuid(bytes) => write_uuid(bytes, text),
        Value::Inet4(bytes) => write_inet4(bytes, text),
        Value::Inet6(bytes) => write_inet6(bytes, text),
        _ => return Err(Refusal::OtherType),
    };
    written.expect("invariant: writing to a String can't fail");
    Ok(())
}

fn add_text(text: &str, parameters: &mut Parameters) -> Result<(), Refusal> {
    if text.len() > FIELD_BYTES_MAX {
        return Err(Refusal::TooBig);
    }
    parameters.text(text);
    Ok(())
}

fn write_integer(value: Value<'_>, wide: Wide, text: &mut String, parameters: &mut Parameters) -> Result<(), Refusal> {
    use std::fmt::Write as _;
    let (small, digits): (Option<i64>, u64) = match value {
        Value::Integer(number) => (Some(number), 0),
        Value::Unsigned(number) | Value::Bit(number) => (i64::try_from(number).ok(), number),
        Value::Year(year) => (Some(year.into()), 0),
        _ => return Err(Refusal::OtherType),
    };
    let written = match (small, wide) {
        (Some(number), Wide::Refused | Wide::Digits) => {
            parameters.integer(number);
            return Ok(());
        }
        (None, Wide::Refused) => return Err(Refusal::OutOfRange),
        (Some(number), Wide::AllDigits) => write!(text, "{number}"),
        (None, Wide::Digits | Wide::AllDigits) => write!(text, "{digits}"),
    };
    written.expect("invariant: writing to a String can't fail");
    add_text(text, parameters)
}

/// A FLOAT is widened, which changes nothing.
fn float(value: Value<'_>) -> Result<f64, Refusal> {
    let number = match value {
        Value::Double(number) => number,
        Value::Float(number) => number.into(),
        _ => return Err(Refusal::OtherType),
    };
    if number.is_nan() { Err(Refusal::NotANumber) } else { Ok(number) }
}

fn plain_text(value: Value<'_>) -> Result<&str, Refusal> {
    match value {
        Value::Text(text) | Value::Json(text) => Ok(text),
        Value::InvalidText(_) => Err(Refusal::InvalidText),
        _ => Err(Refusal::OtherType),
    }
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
fn write_set(value: Value<'_>, members: &[Box<str>], text: &mut String) -> Result<(), Refusal> {
    let Value::Set(bits) = value else { return Err(Refusal::OtherType) };
    if members.len() < 64 && bits >> members.len() != 0 {
        return Err(Refusal::NoMember);
    }
    for (place, member) in members.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1) {
        if bits & ((1 << place) - 1) != 0 {
            text.push(',');
        }
        text.push_str(member);
    }
    if text.is_empty() && bits != 0 { Err(Refusal::AmbiguousLabel) } else { Ok(()) }
}

/// `1.50` becomes `1.5`, `1.00` becomes `1`.
fn leave_zeros_out(text: &mut String) {
    let length = text.trim_end_matches('0').trim_end_matches('.').len();
    text.truncate(length);
}
