//! Column types: which PostgreSQL type a column of the source gets, and which existing types may take it.
//!
//! A type that may take it either holds every value of the source's type, or is known to hold some not: those are refused
//! one by one when they come (`encode`). Where PostgreSQL would round, cut or pad instead of refusing, the type is not taken
//! at all. Decisions worth knowing:
//!
//! - BIT(n) becomes bit(n), also BIT(1): a boolean would print differently.
//! - TIME becomes interval(n): it reaches ±838:59:59, `time` only a day.
//! - JSON becomes json, which keeps the text; jsonb writes numbers anew and has no \u0000, so it is only taken if it exists.
//! - YEAR becomes smallint, ENUM and SET the text of their members.
//! - A geometry becomes bytea: EWKB, which PostGIS reads. Its own type is not taken, for it is an extension's and rewrites some values.
//! - VECTOR becomes real[], and travels as text, for an array of arrays would be taken apart.
//! - UUID becomes uuid; INET4 and INET6 become inet, without a network's length.
//! - char(n) is never taken: it does not tell `'a'` from `'a '`.

use tailrace_contract::{Policy, print::has_print};
use tailrace_row::{Charset, ColumnType, TextForm};

/// A column type of PostgreSQL that we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetType {
    Boolean,
    SmallInt,
    Integer,
    BigInt,
    Numeric { limit: Option<NumericLimit> },
    Real,
    Double,
    Bit { length: u32 },
    VarBit { length_max: Option<u32> },
    Text,
    Varchar { characters_max: Option<u32> },
    Bytea,
    Date,
    Time { fraction: u8 },
    Interval { fraction: u8 },
    Timestamp { fraction: u8 },
    TimestampTz { fraction: u8 },
    Json,
    Jsonb,
    RealArray,
    Uuid,
    Inet,
}

/// `numeric(precision, scale)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NumericLimit {
    pub(crate) precision: i32,
    pub(crate) scale: i32,
}

impl NumericLimit {
    /// Digits before the point.
    pub(crate) fn integer_digits(self) -> i32 {
        self.precision - self.scale
    }
}

/// Whether a target type may take a column of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It holds every value that PostgreSQL can hold at all: no type of it holds a zero date, or text with a NUL.
    Full,
    /// It holds less; what it doesn't is refused when it comes.
    Partial(&'static str),
    /// It would change values, or means something else.
    Refused(&'static str),
}

/// Of the built-in types: OID, OID of its array, and the name under which values travel, without length or precision
/// (which a cast would apply by cutting).
struct Wire {
    oid: u32,
    array_oid: u32,
    name: &'static str,
}

/// Type modifiers count the length word of a varying type.
const VARHDRSZ: i32 = 4;

impl TargetType {
    /// Reads `pg_attribute.atttypid` and `atttypmod`. None: a type that we don't write.
    pub(crate) fn read(oid: u32, modifier: i32) -> Option<Self> {
        let length = u32::try_from(modifier).ok();
        let after_header = u32::try_from(modifier - VARHDRSZ).ok().filter(|_| modifier >= VARHDRSZ);
        let fraction = u8::try_from(modifier).unwrap_or(6);
        let found = match oid {
            16 => Self::Boolean,
            21 => Self::SmallInt,
            23 => Self::Integer,
            20 => Self::BigInt,
            1700 => Self::Numeric { limit: numeric_limit(modifier) },
            700 => Self::Real,
            701 => Self::Double,
            1560 => Self::Bit { length: length? },
            1562 => Self::VarBit { length_max: length },
            25 => Self::Text,
            1043 => Self::Varchar { characters_max: after_header },
            17 => Self::Bytea,
            1082 => Self::Date,
            1083 => Self::Time { fraction },
            1186 => Self::Interval { fraction: interval_fraction(modifier)? },
            1114 => Self::Timestamp { fraction },
            1184 => Self::TimestampTz { fraction },
            114 => Self::Json,
            3802 => Self::Jsonb,
            1021 => Self::RealArray,
            2950 => Self::Uuid,
            869 => Self::Inet,
            _ => return None,
        };
        Some(found)
    }

    /// The type that holds every value of the source's, and no wider than needed.
    pub(crate) fn holding(source: &ColumnType) -> Self {
        match source {
            ColumnType::Integer { bits, unsigned } => match (bits, unsigned) {
                (..=8, _) | (..=16, false) => Self::SmallInt,
                (..=24, _) | (..=32, false) => Self::Integer,
                (..=32, true) | (_, false) => Self::BigInt,
                (_, true) => Self::Numeric { limit: Some(NumericLimit { precision: 20, scale: 0 }) },
            },
            ColumnType::Decimal { precision, scale } => {
                Self::Numeric { limit: Some(NumericLimit { precision: (*precision).into(), scale: (*scale).into() }) }
            }
            ColumnType::Float => Self::Real,
            ColumnType::Double => Self::Double,
            ColumnType::Bit { length } => Self::Bit { length: (*length).into() },
            ColumnType::Text { .. } | ColumnType::Enum { .. } | ColumnType::Set { .. } => Self::Text,
            ColumnType::Bytes { .. } | ColumnType::Geometry { .. } => Self::Bytea,
            ColumnType::Date => Self::Date,
            ColumnType::Time { fraction } => Self::Interval { fraction: *fraction },
            ColumnType::DateTime { fraction } => Self::Timestamp { fraction: *fraction },
            ColumnType::Timestamp { fraction } => Self::TimestampTz { fraction: *fraction },
            ColumnType::Year => Self::SmallInt,
            ColumnType::Json => Self::Json,
            ColumnType::Vector { .. } => Self::RealArray,
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Inet4 | ColumnType::Inet6 => Self::Inet,
        }
    }

    /// The type as a column definition names it.
    pub(crate) fn sql(self) -> String {
        match self {
            Self::Boolean => "boolean".into(),
            Self::SmallInt => "smallint".into(),
            Self::Integer => "integer".into(),
            Self::BigInt => "bigint".into(),
            Self::Numeric { limit: None } => "numeric".into(),
            Self::Numeric { limit: Some(NumericLimit { precision, scale: 0 }) } => format!("numeric({precision})"),
            Self::Numeric { limit: Some(NumericLimit { precision, scale }) } => format!("numeric({precision},{scale})"),
            Self::Real => "real".into(),
            Self::Double => "double precision".into(),
            Self::Bit { length } => format!("bit({length})"),
            Self::VarBit { length_max: None } => "bit varying".into(),
            Self::VarBit { length_max: Some(length) } => format!("bit varying({length})"),
            Self::Text => "text".into(),
            Self::Varchar { characters_max: None } => "character varying".into(),
            Self::Varchar { characters_max: Some(length) } => format!("character varying({length})"),
            Self::Bytea => "bytea".into(),
            Self::Date => "date".into(),
            Self::Time { fraction } => format!("time({fraction})"),
            Self::Interval { fraction } => format!("interval({fraction})"),
            Self::Timestamp { fraction } => format!("timestamp({fraction})"),
            Self::TimestampTz { fraction } => format!("timestamptz({fraction})"),
            Self::Json => "json".into(),
            Self::Jsonb => "jsonb".into(),
            Self::RealArray => "real[]".into(),
            Self::Uuid => "uuid".into(),
            Self::Inet => "inet".into(),
        }
    }

    /// OID of the type in which values travel.
    pub(crate) fn wire_oid(self) -> u32 {
        self.wire().oid
    }

    /// OID of the array of that type.
    pub(crate) fn wire_array_oid(self) -> u32 {
        self.wire().array_oid
    }

    /// Name of that type.
    pub(crate) fn wire_name(self) -> &'static str {
        self.wire().name
    }

    /// The cast without which a value that has travelled can't be assigned.
    pub(crate) fn cast(self) -> &'static str {
        if self == Self::RealArray { "::real[]" } else { "" }
    }

    /// Whether the type's collation decides what is equal.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Varchar { .. })
    }

    fn wire(self) -> Wire {
        let (oid, array_oid, name) = match self {
            Self::Boolean => (16, 1000, "bool"),
            Self::SmallInt => (21, 1005, "int2"),
            Self::Integer => (23, 1007, "int4"),
            Self::BigInt => (20, 1016, "int8"),
            Self::Numeric { .. } => (1700, 1231, "numeric"),
            Self::Real => (700, 1021, "float4"),
            Self::Double => (701, 1022, "float8"),
            Self::Bit { .. } | Self::VarBit { .. } => (1562, 1563, "varbit"),
            Self::Text | Self::Varchar { .. } | Self::RealArray => (25, 1009, "text"),
            Self::Bytea => (17, 1001, "bytea"),
            Self::Date => (1082, 1182, "date"),
            Self::Time { .. } => (1083, 1183, "time"),
            Self::Interval { .. } => (1186, 1187, "interval"),
            Self::Timestamp { .. } => (1114, 1115, "timestamp"),
            Self::TimestampTz { .. } => (1184, 1185, "timestamptz"),
            Self::Json => (114, 199, "json"),
            Self::Jsonb => (3802, 3807, "jsonb"),
            Self::Uuid => (2950, 2951, "uuid"),
            Self::Inet => (869, 1041, "inet"),
        };
        Wire { oid, array_oid, name }
    }
}

/// The scale is an 11-bit signed number since PostgreSQL 15, and was never above 1000 before.
fn numeric_limit(modifier: i32) -> Option<NumericLimit> {
    let packed = modifier - VARHDRSZ;
    (modifier >= VARHDRSZ)
        .then(|| NumericLimit { precision: (packed >> 16) & 0xffff, scale: ((packed & 0x7ff) ^ 1024) - 1024 })
}

/// None for `interval day to hour` and the like, which cut what they don't name.
fn interval_fraction(modifier: i32) -> Option<u8> {
    const ALL_FIELDS: i32 = 0x7fff;
    const FULL_PRECISION: i32 = 0xffff;
    if modifier < 0 {
        return Some(6);
    }
    if (modifier >> 16) & 0x7fff != ALL_FIELDS {
        return None;
    }
    match modifier & 0xffff {
        FULL_PRECISION => Some(6),
        fraction => u8::try_from(fraction).ok(),
    }
}

/// The type that a column gets which holds what the policy writes.
pub(crate) fn wanted(source: &ColumnType, policy: &Policy) -> TargetType {
    if *policy == Policy::Text && has_print(source) { TargetType::Text } else { TargetType::holding(source) }
}

/// Which values of a column the type that it gets, without a policy, does not hold.
pub(crate) fn unheld(source: &ColumnType) -> Option<&'static str> {
    match source {
        ColumnType::Text { .. } => Some("texts with a NUL character and bytes that are no text"),
        ColumnType::Date | ColumnType::DateTime { .. } => Some("zero dates and days that do not exist"),
        ColumnType::Timestamp { .. } => Some("the zero date"),
        ColumnType::Enum { members } | ColumnType::Set { members } if has(members, str::is_empty) => {
            Some("what reads like the member ''")
        }
        ColumnType::Enum { members } | ColumnType::Set { members } if has(members, |member| member.contains('\0')) => {
            Some("members with a NUL character")
        }
        ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Integer { .. }
        | ColumnType::Decimal { .. }
        | ColumnType::Float
        | ColumnType::Double
        | ColumnType::Bit { .. }
        | ColumnType::Bytes { .. }
        | ColumnType::Time { .. }
        | ColumnType::Year
        | ColumnType::Json
        | ColumnType::Geometry { .. }
        | ColumnType::Vector { .. }
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6 => None,
    }
}

fn has(members: &[Box<str>], is_it: impl Fn(&str) -> bool) -> bool {
    members.iter().any(|member| is_it(member))
}

/// Whether `target` may take a column of type `source`. Types that are not named for a source type are refused.
pub(crate) fn fit(source: &ColumnType, target: TargetType) -> Fit {
    match source {
        ColumnType::Integer { bits, unsigned } => fit_integer(*bits, *unsigned, target),
        ColumnType::Year => fit_integer(16, false, target),
        ColumnType::Decimal { precision, scale } => fit_decimal((*precision).into(), (*scale).into(), target),
        ColumnType::Float => match target {
            TargetType::Real | TargetType::Double => Fit::Full,
            other => meaning_differs(other),
        },
        ColumnType::Double => match target {
            TargetType::Double => Fit::Full,
            TargetType::Real => Fit::Refused("it would round a double"),
            other => meaning_differs(other),
        },
        ColumnType::Bit { length } => fit_bit((*length).into(), target),
        ColumnType::Text { form, bytes_max, charset } => fit_text(characters_max(*form, *bytes_max, *charset), target),
        ColumnType::Enum { members } => fit_text(longest(members), target),
        ColumnType::Set { members } => fit_text(all_joined(members), target),
        ColumnType::Bytes { .. } => match target {
            TargetType::Bytea => Fit::Full,
            other => meaning_differs(other),
        },
        ColumnType::Date => match target {
            TargetType::Date => Fit::Full,
            other => meaning_differs(other),
        },
        ColumnType::Time { fraction: digits } => match target {
            TargetType::Interval { fraction } => fit_fraction(*digits, fraction, Fit::Full),
            TargetType::Time { fraction } => {
                fit_fraction(*digits, fraction, Fit::Partial("times below zero or beyond a day"))
            }
            other => meaning_differs(other),
        },
        ColumnType::DateTime { fraction: digits } => match target {
            TargetType::Timestamp { fraction } => fit_fraction(*digits, fraction, Fit::Full),
            TargetType::TimestampTz { .. } => Fit::Refused("DATETIME is a wall clock, timestamptz an instant"),
            other => meaning_differs(other),
        },
        ColumnType::Timestamp { fraction: digits } => match target {
            TargetType::TimestampTz { fraction } => fit_fraction(*digits, fraction, Fit::Full),
            TargetType::Timestamp { .. } => Fit::Refused("TIMESTAMP is an instant, timestamp a wall clock"),
            other => meaning_differs(other),
        },
        ColumnType::Json => match target {
            TargetType::Json => Fit::Full,
            TargetType::Jsonb => Fit::Partial("\\u0000; and numbers are written in another form"),
            TargetType::Text | TargetType::Varchar { .. } => fit_text(u32::MAX, target),
            other => meaning_differs(other),
        },
        ColumnType::Geometry { .. } => match target {
            TargetType::Bytea => Fit::Full,
            other => meaning_differs(other),
        },
        ColumnType::Vector { .. } => match target {
            TargetType::RealArray => Fit::Full,
            other => meaning_differs(other),
        },
        ColumnType::Uuid => match target {
            TargetType::Uuid => Fit::Full,
            TargetType::Text | TargetType::Varchar { .. } => fit_text(UUID_CHARACTERS, target),
            other => meaning_differs(other),
        },
        ColumnType::Inet4 | ColumnType::Inet6 => match target {
            TargetType::Inet => Fit::Full,
            TargetType::Text | TargetType::Varchar { .. } => fit_text(INET6_CHARACTERS, target),
            other => meaning_differs(other),
        },
    }
}

/// Characters of the longest texts of such types.
const UUID_CHARACTERS: u32 = 36;
const INET6_CHARACTERS: u32 = 39;

fn meaning_differs(_: TargetType) -> Fit {
    Fit::Refused("it means something else")
}

fn fit_fraction(source: u8, target: u8, otherwise: Fit) -> Fit {
    if target < source { Fit::Refused("it would round fractions of a second") } else { otherwise }
}

fn fit_integer(bits: u8, unsigned: bool, target: TargetType) -> Fit {
    // The sign takes a bit; a target of n bits holds n - 1 without it.
    let needed = if unsigned { bits } else { bits.saturating_sub(1) };
    let within = |held: u8| if needed <= held { Fit::Full } else { Fit::Partial("numbers beyond its range") };
    match target {
        TargetType::SmallInt => within(15),
        TargetType::Integer => within(31),
        TargetType::BigInt => within(63),
        TargetType::Boolean if bits == 8 => Fit::Partial("numbers other than 0 and 1"),
        TargetType::Numeric { limit } => fit_numeric(digits_of(needed), 0, limit),
        other => meaning_differs(other),
    }
}

/// Decimal digits of the greatest number of so many bits.
fn digits_of(bits: u8) -> i32 {
    match bits {
        0..=9 => 3,
        10..=16 => 5,
        17..=23 => 7,
        24..=26 => 8,
        27..=33 => 10,
        34..=63 => 19,
        64.. => 20,
    }
}

fn fit_decimal(precision: i32, scale: i32, target: TargetType) -> Fit {
    match target {
        TargetType::Numeric { limit } => fit_numeric(precision - scale, scale, limit),
        other => meaning_differs(other),
    }
}

fn fit_numeric(integer_digits: i32, scale: i32, limit: Option<NumericLimit>) -> Fit {
    match limit {
        Some(limit) if limit.scale < scale => Fit::Refused("it would round digits behind the point"),
        Some(limit) if limit.integer_digits() < integer_digits => Fit::Partial("numbers beyond its range"),
        Some(_) | None => Fit::Full,
    }
}

fn fit_bit(length: u32, target: TargetType) -> Fit {
    match target {
        TargetType::Bit { length: held } if held == length => Fit::Full,
        TargetType::Bit { .. } => Fit::Refused("bit(n) has another length"),
        TargetType::VarBit { length_max } => match length_max {
            Some(held) if held < length => Fit::Refused("bit varying(n) is shorter"),
            Some(_) | None => Fit::Full,
        },
        TargetType::Boolean if length == 1 => Fit::Full,
        TargetType::BigInt if length < 64 => Fit::Full,
        TargetType::Numeric { limit: None } => Fit::Full,
        other => meaning_differs(other),
    }
}

fn fit_text(characters: u32, target: TargetType) -> Fit {
    match target {
        TargetType::Text | TargetType::Varchar { characters_max: None } => Fit::Full,
        TargetType::Varchar { characters_max: Some(held) } if held >= characters => Fit::Full,
        TargetType::Varchar { .. } => Fit::Partial("longer texts"),
        other => meaning_differs(other),
    }
}

fn characters_max(form: TextForm, bytes_max: u32, charset: Charset) -> u32 {
    let bytes_each = match form {
        // TEXT is bounded in bytes: all of them may be one-byte characters.
        TextForm::Large => 1,
        TextForm::Fixed | TextForm::Varying => charset.bytes_each_max(),
    };
    bytes_max / bytes_each
}

fn characters(text: &str) -> u32 {
    u32::try_from(text.chars().count()).unwrap_or(u32::MAX)
}

fn longest(members: &[Box<str>]) -> u32 {
    members.iter().map(|member| characters(member)).max().unwrap_or(0)
}

fn all_joined(members: &[Box<str>]) -> u32 {
    let commas = u32::try_from(members.len().saturating_sub(1)).unwrap_or(u32::MAX);
    members.iter().fold(commas, |sum, member| sum.saturating_add(characters(member)))
}
