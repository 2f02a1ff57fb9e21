//! How each column of a table looks in Debezium's JSON: worked out once per schema, used by encoder and decoder.
//!
//! The one thing to know: a form follows from the column's type alone, so encoder and decoder can't disagree about it.
//! MySQL allows ENUM and SET definitions whose text does not tell the value (duplicate members, an empty member); which
//! values need the header `tailrace.exact` for that reason is decided here.

use std::{collections::HashMap, sync::Arc};

use tailrace_row::{Charset, ColumnType, GeometryKind, TableSchema};

use super::json_text::{write_escaped, write_string};

/// A table's columns, ready to be written and read.
pub(crate) struct TableForm {
    pub(super) schema: Arc<TableSchema>,
    /// In table order.
    pub(super) columns: Box<[ColumnForm]>,
}

/// One column.
pub(super) struct ColumnForm {
    /// `"name":`
    pub(super) opening: Box<[u8]>,
    pub(super) value: ValueForm,
    /// Whether the substitute of a value that Debezium can't hold is null, or else the epoch.
    pub(super) nullable: bool,
}

/// What stands behind the colon.
pub(super) enum ValueForm {
    /// A number of so many bits.
    Signed {
        bits: u8,
    },
    /// A number of so many bits, up to 32.
    Unsigned {
        bits: u8,
    },
    /// BIGINT UNSIGNED: Connect's Decimal of scale 0 (Debezium's `bigint.unsigned.handling.mode=precise`).
    BigUnsigned,
    /// Connect's Decimal: base64 of the unscaled integer (`decimal.handling.mode=precise`).
    Decimal {
        scale: u8,
    },
    Float,
    Double,
    /// BIT(1).
    Boolean,
    /// BIT(n): base64 of ceil(n/8) little-endian bytes.
    Bits {
        length: u8,
    },
    Text {
        charset: Charset,
    },
    /// Base64.
    Bytes,
    /// The member's text.
    Enum(Members),
    /// The members' texts joined by commas.
    Set(Members),
    /// Days since 1970.
    Date,
    /// Microseconds, signed.
    Time,
    /// DATETIME up to three fraction digits: milliseconds since 1970 on its own clock.
    ClockMillis,
    /// DATETIME with more: microseconds.
    ClockMicros,
    /// TIMESTAMP: ISO text in UTC with exactly so many fraction digits.
    Zoned {
        fraction: u8,
    },
    Year,
    /// A string that holds JSON.
    Json,
    /// A struct of well-known binary and SRID.
    Geometry,
    /// The same with coordinates before.
    Point,
    /// An array of numbers.
    Vector {
        dimension: u32,
    },
    /// Texts.
    Uuid,
    Inet4,
    Inet6,
}

/// The members of an ENUM or SET.
pub(super) struct Members {
    /// Escaped, without quotes; the first has index 1 (ENUM) or bit 0 (SET).
    pub(super) escaped: Box<[Box<[u8]>]>,
    /// The place, from 0, of each text; the first one counts if a text stands twice.
    places: HashMap<Box<str>, usize>,
    /// Whether some combination of members has the text of another.
    pub(super) is_ambiguous_set: bool,
}

impl TableForm {
    pub(crate) fn new(schema: Arc<TableSchema>) -> Self {
        let columns = schema.columns().iter().map(|column| {
            let mut opening = Vec::new();
            write_string(&mut opening, &column.name);
            opening.push(b':');
            ColumnForm { opening: opening.into(), value: ValueForm::of(&column.column_type), nullable: column.nullable }
        });
        Self { columns: columns.collect(), schema }
    }

    /// The shape that the forms follow from.
    pub(crate) fn schema(&self) -> &Arc<TableSchema> {
        &self.schema
    }
}

impl ValueForm {
    fn of(column_type: &ColumnType) -> Self {
        match column_type {
            ColumnType::Integer { bits, unsigned: false } => Self::Signed { bits: *bits },
            ColumnType::Integer { bits: 33.., unsigned: true } => Self::BigUnsigned,
            ColumnType::Integer { bits, unsigned: true } => Self::Unsigned { bits: *bits },
            ColumnType::Decimal { scale, .. } => Self::Decimal { scale: *scale },
            ColumnType::Float => Self::Float,
            ColumnType::Double => Self::Double,
            ColumnType::Bit { length: 1 } => Self::Boolean,
            ColumnType::Bit { length } => Self::Bits { length: *length },
            ColumnType::Text { charset, .. } => Self::Text { charset: *charset },
            ColumnType::Bytes { .. } => Self::Bytes,
            ColumnType::Enum { members } => Self::Enum(Members::new(members)),
            ColumnType::Set { members } => Self::Set(Members::new(members)),
            ColumnType::Date => Self::Date,
            ColumnType::Time { .. } => Self::Time,
            ColumnType::DateTime { fraction: 0..=3 } => Self::ClockMillis,
            ColumnType::DateTime { .. } => Self::ClockMicros,
            ColumnType::Timestamp { fraction } => Self::Zoned { fraction: (*fraction).min(6) },
            ColumnType::Year => Self::Year,
            ColumnType::Json => Self::Json,
            ColumnType::Geometry { kind: GeometryKind::Point } => Self::Point,
            ColumnType::Geometry { .. } => Self::Geometry,
            ColumnType::Vector { dimension } => Self::Vector { dimension: *dimension },
            ColumnType::Uuid => Self::Uuid,
            ColumnType::Inet4 => Self::Inet4,
            ColumnType::Inet6 => Self::Inet6,
        }
    }
}

impl Members {
    fn new(members: &[Box<str>]) -> Self {
        let mut places = HashMap::with_capacity(members.len());
        for (place, member) in members.iter().enumerate() {
            places.entry(member.clone()).or_insert(place);
        }
        let escaped = members.iter().map(|member| {
            let mut text = Vec::new();
            write_escaped(&mut text, member);
            text.into_boxed_slice()
        });
        Self {
            escaped: escaped.collect(),
            is_ambiguous_set: places.len() < members.len()
                || members.iter().any(|member| member.is_empty() || member.contains(',')),
            places,
        }
    }

    /// The place of a member's text, from 0.
    pub(super) fn place(&self, text: &str) -> Option<usize> {
        self.places.get(text).copied()
    }

    /// Whether the text of this ENUM index (0 is the error value, shown as '') is read back as another index.
    pub(super) fn is_ambiguous_index(&self, index: u16) -> bool {
        match usize::from(index).checked_sub(1) {
            None => self.places.contains_key(""),
            Some(place) => !self.places.values().any(|known| *known == place),
        }
    }
}
