//! Column types: which one a column of the source gets, and which existing ones may take it.
//!
//! SQLite stores a value as a whole number, a float, a text or bytes, and converts it on the way in by what it makes of the
//! column's declared type (its affinity). A column may take a type only if that conversion changes none of its values, or is
//! known to change some: those are refused one by one when they come (`encode`). Decisions worth knowing:
//!
//! - Our tables are STRICT: there a value of another type is an error, and `ANY` converts nothing.
//! - Numbers up to 2^63-1 are INTEGER. BIGINT UNSIGNED and BIT(64) are ANY: a whole number, from 2^63 on its digits as text,
//!   which SQLite sorts behind all numbers.
//! - FLOAT and DOUBLE are ANY: a REAL column would turn -0.0 into 0. In a key they are TEXT, because SQLite takes -0.0 and 0.0
//!   for equal and nothing in SQL tells them apart.
//! - DECIMAL is TEXT, digit for digit; a NUMERIC column would make a float of it.
//! - Days and times are TEXT as MySQL prints them, zero dates too; a TIMESTAMP is in UTC and ends with `Z`.
//! - JSON, ENUM, SET, UUID, INET4 and INET6 are TEXT; bytes are BLOB; YEAR is INTEGER.
//! - A geometry is a BLOB of EWKB, a VECTOR one of little-endian 32-bit numbers.

use tailrace_contract::{Policy, print::has_print};
use tailrace_row::ColumnType;

/// What a column does to the values that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetType {
    /// Keeps whole numbers; makes numbers of texts that read like some, and whole numbers of floats that are.
    Integer,
    /// The same; what types like DATETIME, BOOLEAN and DECIMAL(10,2) mean to SQLite.
    Numeric,
    /// Makes floats of numbers, but writes -0.0 as 0.
    Real,
    /// Keeps texts, makes texts of numbers.
    Text,
    /// Keeps everything: BLOB and untyped columns of plain tables, ANY of strict ones.
    Any,
    /// Takes bytes only: BLOB of strict tables.
    Blob,
}

/// Whether a target type may take a column of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It holds every value.
    Full,
    /// It holds less; what it doesn't is refused when it comes.
    Partial(&'static str),
    /// It would change values, or means something else.
    Refused(&'static str),
}

const BEYOND_INTEGER: &str = "numbers from 2^63 on";
const NUMBER_OF_TEXT: &str = "SQLite would make numbers of texts there";

impl TargetType {
    /// Reads the declared type of a column, as SQLite derives affinities. None: a type that no strict table has.
    pub(crate) fn read(declared: &str, is_strict: bool) -> Option<Self> {
        let declared = declared.to_ascii_uppercase();
        if is_strict {
            return match declared.as_str() {
                "INT" | "INTEGER" => Some(Self::Integer),
                "REAL" => Some(Self::Real),
                "TEXT" => Some(Self::Text),
                "BLOB" => Some(Self::Blob),
                "ANY" => Some(Self::Any),
                _ => None,
            };
        }
        let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
        Some(match declared.as_str() {
            _ if has(&["INT"]) => Self::Integer,
            _ if has(&["CHAR", "CLOB", "TEXT"]) => Self::Text,
            _ if declared.is_empty() || has(&["BLOB"]) => Self::Any,
            _ if has(&["REAL", "FLOA", "DOUB"]) => Self::Real,
            _ => Self::Numeric,
        })
    }

    /// The type that holds every value of the source's, for a strict table.
    pub(crate) fn holding(source: &ColumnType, is_key: bool) -> Self {
        match source {
            ColumnType::Integer { .. } | ColumnType::Bit { .. } | ColumnType::Year if exceeds_integer(source) => {
                Self::Any
            }
            ColumnType::Integer { .. } | ColumnType::Bit { .. } | ColumnType::Year => Self::Integer,
            ColumnType::Float | ColumnType::Double if is_key => Self::Text,
            ColumnType::Float | ColumnType::Double => Self::Any,
            ColumnType::Bytes { .. } | ColumnType::Geometry { .. } | ColumnType::Vector { .. } => Self::Blob,
            ColumnType::Decimal { .. }
            | ColumnType::Text { .. }
            | ColumnType::Enum { .. }
            | ColumnType::Set { .. }
            | ColumnType::Date
            | ColumnType::Time { .. }
            | ColumnType::DateTime { .. }
            | ColumnType::Timestamp { .. }
            | ColumnType::Json
            | ColumnType::Uuid
            | ColumnType::Inet4
            | ColumnType::Inet6 => Self::Text,
        }
    }

    /// The type as a strict table's column definition names it.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Integer | Self::Numeric => "INTEGER",
            Self::Real => "REAL",
            Self::Text => "TEXT",
            Self::Any => "ANY",
            Self::Blob => "BLOB",
        }
    }

    /// The type for a column that is added to a table which may not be strict: there ANY would be numeric.
    pub(crate) fn sql_in(self, is_strict: bool) -> &'static str {
        match self {
            Self::Any if !is_strict => "BLOB",
            _ => self.sql(),
        }
    }
}

/// The type that a column gets which holds what the policy writes.
pub(crate) fn wanted(source: &ColumnType, is_key: bool, policy: &Policy) -> TargetType {
    if *policy == Policy::Text && has_print(source) { TargetType::Text } else { TargetType::holding(source, is_key) }
}

/// Which values of a column the type that it gets, without a policy, does not hold.
pub(crate) fn unheld(source: &ColumnType) -> Option<&'static str> {
    match source {
        ColumnType::Text { .. } => Some("bytes that are no text"),
        ColumnType::Enum { members } | ColumnType::Set { members }
            if members.iter().any(|member| member.is_empty()) =>
        {
            Some("what reads like the member ''")
        }
        ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Integer { .. }
        | ColumnType::Decimal { .. }
        | ColumnType::Float
        | ColumnType::Double
        | ColumnType::Bit { .. }
        | ColumnType::Bytes { .. }
        | ColumnType::Date
        | ColumnType::Time { .. }
        | ColumnType::DateTime { .. }
        | ColumnType::Timestamp { .. }
        | ColumnType::Year
        | ColumnType::Json
        | ColumnType::Geometry { .. }
        | ColumnType::Vector { .. }
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6 => None,
    }
}

/// Whether the type has numbers that SQLite's 64 bits with a sign don't hold.
fn exceeds_integer(source: &ColumnType) -> bool {
    matches!(source, ColumnType::Integer { bits: 64, unsigned: true } | ColumnType::Bit { length: 64 })
}

/// Whether `target` may take a column of type `source`.
pub(crate) fn fit(source: &ColumnType, is_key: bool, target: TargetType) -> Fit {
    match source {
        ColumnType::Integer { .. } | ColumnType::Bit { .. } | ColumnType::Year => match target {
            TargetType::Integer | TargetType::Numeric if exceeds_integer(source) => Fit::Partial(BEYOND_INTEGER),
            TargetType::Integer | TargetType::Numeric | TargetType::Text | TargetType::Any => Fit::Full,
            TargetType::Real => Fit::Refused("it would round whole numbers"),
            TargetType::Blob => Fit::Refused("it takes bytes only"),
        },
        ColumnType::Float | ColumnType::Double => match target {
            TargetType::Text => Fit::Full,
            _ if is_key => Fit::Refused("in a key SQLite takes -0.0 and 0.0 for one number"),
            TargetType::Any => Fit::Full,
            TargetType::Real => Fit::Partial("-0.0, which it makes 0"),
            TargetType::Integer | TargetType::Numeric => Fit::Refused("it would make whole numbers of floats"),
            TargetType::Blob => Fit::Refused("it takes bytes only"),
        },
        ColumnType::Decimal { .. } => fit_text(target, "it would make floats of decimals"),
        ColumnType::Text { .. }
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Json
        | ColumnType::Uuid
        | ColumnType::Inet4
        | ColumnType::Inet6 => fit_text(target, NUMBER_OF_TEXT),
        ColumnType::Date | ColumnType::Time { .. } | ColumnType::DateTime { .. } | ColumnType::Timestamp { .. } => {
            match target {
                // A column declared DATETIME: no day and no time reads like a number.
                TargetType::Numeric => Fit::Full,
                other => fit_text(other, "it means something else"),
            }
        }
        ColumnType::Bytes { .. } | ColumnType::Geometry { .. } | ColumnType::Vector { .. } => match target {
            TargetType::Any | TargetType::Blob => Fit::Full,
            TargetType::Integer | TargetType::Numeric | TargetType::Real | TargetType::Text => {
                Fit::Refused("it means something else")
            }
        },
    }
}

fn fit_text(target: TargetType, why_no_number: &'static str) -> Fit {
    match target {
        TargetType::Text | TargetType::Any => Fit::Full,
        TargetType::Integer | TargetType::Numeric | TargetType::Real => Fit::Refused(why_no_number),
        TargetType::Blob => Fit::Refused("it takes bytes only"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_mean_what_sqlite_makes_of_them() {
        for (declared, plain, strict) in [
            ("INTEGER", TargetType::Integer, Some(TargetType::Integer)),
            ("bigint unsigned", TargetType::Integer, None),
            ("VARCHAR(20)", TargetType::Text, None),
            ("Text", TargetType::Text, Some(TargetType::Text)),
            ("BLOB", TargetType::Any, Some(TargetType::Blob)),
            ("", TargetType::Any, None),
            ("DOUBLE PRECISION", TargetType::Real, None),
            ("REAL", TargetType::Real, Some(TargetType::Real)),
            ("FLOATING POINT", TargetType::Integer, None),
            ("ANY", TargetType::Numeric, Some(TargetType::Any)),
            ("STRING", TargetType::Numeric, None),
            ("DATETIME", TargetType::Numeric, None),
            ("JSON", TargetType::Numeric, None),
        ] {
            assert_eq!(TargetType::read(declared, false), Some(plain), "{declared}");
            assert_eq!(TargetType::read(declared, true), strict, "{declared}");
        }
    }

    #[test]
    fn each_type_fits_the_column_that_it_gets() {
        let unsigned = ColumnType::Integer { bits: 64, unsigned: true };
        for source in [
            ColumnType::Integer { bits: 64, unsigned: false },
            unsigned,
            ColumnType::Decimal { precision: 65, scale: 30 },
            ColumnType::Float,
            ColumnType::Double,
            ColumnType::Bit { length: 64 },
            ColumnType::Date,
            ColumnType::Json,
            ColumnType::Year,
        ] {
            for is_key in [false, true] {
                assert_eq!(fit(&source, is_key, TargetType::holding(&source, is_key)), Fit::Full, "{source:?}");
            }
        }
    }
}
