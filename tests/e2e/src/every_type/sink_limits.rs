//! The one table of what Debezium's JDBC sink (3.3.1, with Kafka Connect's JsonConverter, into PostgreSQL without PostGIS and
//! pgvector) does not carry. All of it lies in the consumer: the records are those that Debezium itself writes.
//!
//! An entry that no longer holds fails the test: a value that is altered must be found as it is said here, and what stops the
//! sink's task is given to it, by one value of each entry.

use tailrace_row::ColumnType;

use super::catalog::{Group, TypeRow};
use super::rules::Rule;

/// What the sink does with values of some columns of the catalogue.
pub(super) struct Limit {
    pub(super) columns: &'static [&'static str],
    pub(super) what: What,
    pub(super) reason: &'static str,
}

pub(super) enum What {
    /// It writes another value: of each in the form of the column's rule.
    Alters(fn(String) -> String),
    /// Its task ends with this error at each of these values; at all of them if none is listed.
    StopsAt(&'static [&'static str], &'static str),
    /// Its task ends with this error at the delete of a row whose key has such a column.
    StopsInKey(&'static str),
}

const BITS: &[&str] = &["bit8", "bit10", "bit33", "bit64"];
const TIMES: &[&str] = &["t0", "t1", "t2", "t3", "t4", "t5", "t6"];

pub(super) const LIMITS: &[Limit] = &[
    Limit {
        columns: &["f32", "f64", "f53", "real"],
        what: What::Alters(|bits| if bits == "8000000000000000" { "0".repeat(16) } else { bits }),
        reason: "the converter reads numbers as BigDecimal, where zero has no sign",
    },
    Limit {
        columns: &["year"],
        what: What::Alters(|year| if year == "0" { "1900".to_owned() } else { year }),
        reason: "Debezium's form has 1900 for the year 0000; the true one is in the header tailrace.exact",
    },
    Limit {
        columns: &["bit10", "bit33", "bit64"],
        what: What::Alters(from_the_other_end),
        reason: "io.debezium.data.Bits begins with the lowest byte, and the sink reads it as the highest",
    },
    Limit {
        columns: BITS,
        what: What::StopsAt(
            &["255", "0x81", "1023", "b'0111111110'", "8589934591", "18446744073709551615"],
            "is not a valid binary digit",
        ),
        reason: "the sink takes the first bit of io.debezium.data.Bits for a sign",
    },
    Limit {
        columns: &["d65", "d65_30", "d65_38"],
        what: What::StopsAt(
            &[
                "REPEAT('9', 65)",
                "CONCAT('-', REPEAT('9', 65))",
                "CONCAT('1', REPEAT('0', 64))",
                "CONCAT(REPEAT('9', 35), '.', REPEAT('9', 30))",
                "CONCAT('-', REPEAT('9', 35), '.', REPEAT('9', 30))",
                // All 38 behind the point.
                "CONCAT('-', REPEAT('9', 27), '.', REPEAT('9', 38))",
                "CONCAT('7.', REPEAT('0', 37), '1')",
                "1.0",
            ],
            "numeric field overflow",
        ),
        reason: "the sink declares no more than 38 digits",
    },
    Limit {
        columns: TIMES,
        what: What::StopsAt(
            &[
                "'-838:59:59'",
                "'838:59:59'",
                "'-838:59:58.999999'",
                "'838:59:58.999999'",
                "'-00:00:00.000001'",
                "'-00:00:00.5'",
                "'-00:00:01.500000'",
                "'-01:00:00'",
                "'24:00:00'",
                "'100:00:00.1'",
            ],
            "Invalid value for NanoOfDay",
        ),
        reason: "the sink takes a TIME for a time of day",
    },
    Limit {
        columns: &["t0", "t1", "t2", "t3", "t4", "t5"],
        what: What::StopsAt(&["'23:59:59.999999'"], "Invalid value for NanoOfDay"),
        reason: "the same: MySQL rounds it to 24:00:00",
    },
    Limit {
        columns: TIMES,
        what: What::StopsInKey("operator does not exist: time without time zone = timestamp without time zone"),
        reason: "the sink looks for the row of a delete by a timestamp",
    },
    Limit {
        columns: &["g_point", "g_far"],
        what: What::StopsAt(&[], "function public.st_geomfromwkb(bytea, integer) does not exist"),
        reason: "needs PostGIS",
    },
    Limit {
        columns: &["g", "g_line", "g_polygon", "g_points", "g_lines", "g_polygons", "g_all"],
        what: What::StopsAt(&[], "type \"public.geometry\" does not exist"),
        reason: "needs PostGIS",
    },
    Limit {
        columns: &["v", "v4", "v16383"],
        what: What::StopsAt(&[], "type \"halfvec\" does not exist"),
        reason: "needs pgvector, and would be stored with half the bits",
    },
];

/// The groups without what stops the sink.
pub(super) fn carried(mut groups: Vec<Group>) -> Vec<Group> {
    for group in &mut groups {
        for row in &mut group.rows {
            leave_out(row);
        }
        group.rows.retain(|row| !row.values.is_empty());
    }
    groups.retain(|group| !group.rows.is_empty());
    groups
}

fn leave_out(row: &mut TypeRow) {
    for limit in limits_of(row.name) {
        match limit.what {
            What::Alters(_) => {}
            What::StopsAt(literals, _) => {
                let stops = |value: &&str| literals.is_empty() || literals.contains(value);
                let values = row.values.iter().copied().filter(|value| !stops(value));
                row.values = values.collect::<Vec<&str>>().leak();
            }
            What::StopsInKey(_) => row.is_key = false,
        }
    }
}

/// What the sink makes of a column's values.
pub(super) fn altered(column: &str) -> fn(String) -> String {
    let altered = limits_of(column).find_map(|limit| match limit.what {
        What::Alters(altered) => Some(altered),
        What::StopsAt(..) | What::StopsInKey(_) => None,
    });
    altered.unwrap_or(|value| value)
}

fn limits_of(column: &str) -> impl Iterator<Item = &'static Limit> {
    LIMITS.iter().filter(move |limit| limit.columns.contains(&column))
}

/// The type that the sink chooses by the schema in the records.
pub(super) fn declared(shape: &ColumnType) -> Option<String> {
    Some(match shape {
        ColumnType::Integer { bits: 0..=8, .. } | ColumnType::Integer { bits: 9..=16, unsigned: false } => {
            "smallint".into()
        }
        ColumnType::Integer { bits: 9..=24, .. } | ColumnType::Integer { bits: 25..=32, unsigned: false } => {
            "integer".into()
        }
        ColumnType::Integer { bits: 25..=32, .. } | ColumnType::Integer { unsigned: false, .. } => "bigint".into(),
        ColumnType::Integer { .. } => "numeric(20,0)".into(),
        ColumnType::Decimal { precision, scale } => format!("numeric({},{scale})", precision.min(&38)),
        ColumnType::Float => "real".into(),
        ColumnType::Double => "double precision".into(),
        ColumnType::Bit { length: 1 } => "boolean".into(),
        ColumnType::Bit { length } => format!("bit({length})"),
        ColumnType::Text { .. }
        | ColumnType::Enum { .. }
        | ColumnType::Set { .. }
        | ColumnType::Inet4
        | ColumnType::Inet6 => "text".into(),
        ColumnType::Bytes { .. } => "bytea".into(),
        ColumnType::Date => "date".into(),
        ColumnType::Time { .. } => "time(6) without time zone".into(),
        ColumnType::DateTime { .. } => "timestamp(6) without time zone".into(),
        ColumnType::Timestamp { .. } => "timestamp(6) with time zone".into(),
        ColumnType::Year => "integer".into(),
        ColumnType::Json => "json".into(),
        ColumnType::Uuid => "uuid".into(),
        ColumnType::Geometry { .. } | ColumnType::Vector { .. } => return None,
    })
}

/// What brings the sink's type back to the one of the rule.
pub(super) fn target_form(rule: Rule) -> &'static str {
    match rule {
        Rule::BitString(1) => "$::int",
        Rule::Address => "$::inet",
        Rule::Whole
        | Rule::Decimal
        | Rule::Bits64
        | Rule::BitString(_)
        | Rule::Text
        | Rule::Bytes
        | Rule::Day
        | Rule::Time
        | Rule::DayAndTime
        | Rule::Instant
        | Rule::Json
        | Rule::Jsonb
        | Rule::Geometry
        | Rule::Vector => "$",
    }
}

/// As many bits, whose bytes were taken from the other end.
fn from_the_other_end(bits: String) -> String {
    let length = bits.len();
    let whole = format!("{bits:0>width$}", width = length.next_multiple_of(8));
    let turned: String = (0..whole.len()).step_by(8).rev().map(|at| &whole[at..at + 8]).collect();
    format!("{:0>length$}", turned.trim_start_matches('0'))
}

#[test]
fn bits_are_turned_around() {
    for (bits, turned) in [("1000000001", "0100000010"), ("0000000000", "0000000000"), ("00000001", "00000001")] {
        assert_eq!(from_the_other_end(bits.to_owned()), turned);
    }
}
