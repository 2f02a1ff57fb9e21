//! The one table of how a value of each type is asked of both databases and brought to one form.
//!
//! The forms come from the texts that the servers print, on their text protocols. Each rule is as narrow as the type allows:
//! what it forgives is written beside it, everything else is a difference.

use anyhow::{Context, Result, ensure};

use super::exact::{self, NumberForm};
use crate::harness::TargetKind;

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Whole numbers; forgives leading zeros (ZEROFILL, YEAR 0000).
    Whole,
    /// Decimals, digit for digit; forgives zeros behind the last digit.
    Decimal,
    /// FLOAT and DOUBLE by the bits of the double that the shortest text means; a FLOAT is widened by its server, because
    /// MySQL prints six digits of it.
    Bits64,
    /// BIT(n) by its n bits.
    BitString(usize),
    /// Texts, character for character.
    Text,
    /// Bytes, printed as hex digits by both.
    Bytes,
    /// Days.
    Day,
    /// TIME in microseconds; forgives zeros at the end of the fraction.
    Time,
    /// Wall clocks; forgives the same.
    DayAndTime,
    /// Instants as seconds since 1970, so that no session's time zone plays a part.
    Instant,
    /// JSON as a tree; forgives blanks, escapes and the order of members.
    Json,
    /// The same in a jsonb column, which writes numbers in a form of its own.
    Jsonb,
    /// Geometries by SRID and well-known binary.
    Geometry,
    /// Vectors by the bits of their numbers.
    Vector,
    /// Network addresses; forgives which zeros a text leaves out.
    Address,
}

impl Rule {
    /// What to ask MySQL for.
    pub(crate) fn of_mysql(self, column: &str) -> String {
        match self {
            Rule::Bits64 => format!("CAST({column} AS DOUBLE)"),
            Rule::Bytes | Rule::Geometry | Rule::Vector => format!("HEX({column})"),
            Rule::BitString(length) => format!("LPAD(BIN({column} + 0), {length}, '0')"),
            Rule::Instant => format!("UNIX_TIMESTAMP({column})"),
            Rule::Whole
            | Rule::Decimal
            | Rule::Text
            | Rule::Day
            | Rule::Time
            | Rule::DayAndTime
            | Rule::Json
            | Rule::Jsonb
            | Rule::Address => column.to_owned(),
        }
    }

    /// What to ask the target for.
    pub(crate) fn of_target(self, kind: TargetKind, column: &str) -> String {
        match kind {
            TargetKind::Postgres => self.of_postgres(column),
            TargetKind::Sqlite => self.of_sqlite(column),
        }
    }

    /// What to ask SQLite for: bytes are printed by nobody, and it knows itself where an instant lies.
    fn of_sqlite(self, column: &str) -> String {
        match self {
            // hex(NULL) is ''.
            Rule::Bytes | Rule::Geometry | Rule::Vector => {
                format!("CASE WHEN {column} IS NOT NULL THEN hex({column}) END")
            }
            Rule::Instant => format!("strftime('%s', {column}) || rtrim(substr({column}, 20), 'Z')"),
            Rule::Whole
            | Rule::Decimal
            | Rule::Bits64
            | Rule::BitString(_)
            | Rule::Text
            | Rule::Day
            | Rule::Time
            | Rule::DayAndTime
            | Rule::Json
            | Rule::Jsonb
            | Rule::Address => column.to_owned(),
        }
    }

    /// The one form of what the target answered.
    pub(crate) fn read_target(self, kind: TargetKind, answer: &str) -> Result<String> {
        match (self, kind) {
            // There BIT(n) is a number.
            (Rule::BitString(length), TargetKind::Sqlite) => {
                let number: u64 = answer.parse().context("the number of a BIT(n)")?;
                self.read(&format!("{number:0length$b}"))
            }
            (Rule::Geometry, _) => exact::ewkb(answer),
            (Rule::Vector, TargetKind::Postgres) => exact::turned_around(answer),
            _ => self.read(answer),
        }
    }

    /// What to ask PostgreSQL for.
    fn of_postgres(self, column: &str) -> String {
        match self {
            Rule::Bits64 => format!("({column})::float8::text"),
            Rule::Bytes | Rule::Geometry => format!("encode({column}, 'hex')"),
            Rule::Vector => format!(
                "(SELECT string_agg(encode(float4send(number), 'hex'), '' ORDER BY place) \
                 FROM unnest({column}) WITH ORDINALITY AS numbers (number, place))"
            ),
            Rule::Address => format!("host({column})"),
            Rule::Instant => format!("extract(epoch FROM {column})::text"),
            Rule::Whole
            | Rule::Decimal
            | Rule::BitString(_)
            | Rule::Text
            | Rule::Day
            | Rule::Time
            | Rule::DayAndTime
            | Rule::Json
            | Rule::Jsonb => format!("({column})::text"),
        }
    }

    /// The one form of what either server answered.
    pub(crate) fn read(self, answer: &str) -> Result<String> {
        match self {
            Rule::Whole => answer.parse::<i128>().map(|number| number.to_string()).context("a whole number"),
            Rule::Decimal | Rule::Instant => exact::number(answer),
            Rule::Bits64 => Ok(format!("{:016x}", answer.parse::<f64>().context("a double")?.to_bits())),
            Rule::BitString(length) => {
                let is_bits = answer.len() == length && answer.bytes().all(|bit| bit == b'0' || bit == b'1');
                ensure!(is_bits, "{answer:?} is not {length} bits");
                Ok(answer.to_owned())
            }
            Rule::Text => Ok(answer.to_owned()),
            Rule::Bytes | Rule::Vector => Ok(answer.to_ascii_lowercase()),
            Rule::Geometry => exact::stored_geometry(answer),
            Rule::Address => {
                answer.parse::<std::net::IpAddr>().map(|address| address.to_string()).context("an address")
            }
            Rule::Day => exact::day(answer),
            Rule::Time => exact::time_micros(answer).map(|micros| micros.to_string()),
            Rule::DayAndTime => exact::day_and_time(answer),
            Rule::Json => exact::json(answer, NumberForm::Kept),
            Rule::Jsonb => exact::json(answer, NumberForm::Free),
        }
    }
}

#[test]
fn rules_see_small_differences() {
    for (rule, mysql, postgres, is_equal) in [
        (Rule::Whole, "00042", "42", true),
        (Rule::Whole, "18446744073709551615", "-1", false),
        (Rule::Decimal, "1.50", "1.5", true),
        (Rule::Decimal, "1.50", "1.51", false),
        (Rule::Bits64, "1e-7", "1e-07", true),
        (Rule::Bits64, "-0", "0", false),
        (Rule::Bits64, "0.1", "0.10000000149011612", false),
        (Rule::Text, "a", "a ", false),
        (Rule::Text, "é", "e\u{301}", false),
        (Rule::Bytes, "FF00", "ff00", true),
        (Rule::Bytes, "FF00", "ff", false),
        (Rule::Time, "-00:00:00.500000", "-00:00:00.5", true),
        (Rule::Time, "-00:00:00.500000", "00:00:00.5", false),
        (Rule::DayAndTime, "2024-02-29 00:00:00.100000", "2024-02-29 00:00:00.1", true),
        (Rule::Instant, "1709210096.500", "1709210096.500000", true),
        (Rule::Instant, "1709210096.500", "1709210096.5001", false),
        (Rule::BitString(3), "010", "010", true),
        (Rule::BitString(3), "010", "011", false),
        (Rule::Json, "[1, 2]", "[1,2]", true),
        (Rule::Json, "1.0", "1", false),
    ] {
        let (mysql, postgres) = (rule.read(mysql).unwrap(), rule.read(postgres).unwrap());
        assert_eq!(mysql == postgres, is_equal, "{rule:?} {mysql} {postgres}");
    }
    assert!(Rule::BitString(3).read("10").is_err());
}
