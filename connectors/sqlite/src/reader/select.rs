//! The statements of a reader, and a key's values as its columns store them.
//!
//! In a key each value has one form (see `encode`), so a key that was read finds its row again. The key's index is BINARY, and the
//! collation is asked for by name, since the column's own may be another. SQLite bounds a range of the index by the first
//! column of the key; rows that begin alike are compared one by one.

use num_bigint::BigInt;
use rusqlite::types::Value as Stored;
use tailrace_contract::{Error, Result, TargetTable};
use tailrace_row::{
    ColumnType, DateTime, Decimal, Field, Key, TableSchema, Time, Timestamp, Value, write_inet4, write_inet6,
    write_uuid,
};

use crate::{
    identifier::{quote, quote_table},
    target_type::TargetType,
};

/// How many keys one statement asks for.
const KEYS_MAX: usize = 500;

/// A statement and what it is bound to.
#[derive(Clone, Debug)]
pub(super) struct Select {
    pub(super) sql: String,
    pub(super) parameters: Vec<Stored>,
}

struct KeyColumn {
    /// Quoted, with its collation.
    name: String,
    source: ColumnType,
    target: TargetType,
}

/// The parts of all statements of a table.
pub(super) struct Selects {
    key: Vec<KeyColumn>,
    from: String,
    order: String,
}

impl Selects {
    /// `types` are those of the target's columns, by the source's places.
    pub(super) fn new(schema: &TableSchema, target: &TargetTable, types: &[TargetType]) -> Result<Self> {
        let columns: Vec<String> = schema.columns().iter().map(|column| quote(&column.name)).collect::<Result<_>>()?;
        let column = |place: &usize| KeyColumn {
            name: format!("{} COLLATE BINARY", columns[*place]),
            source: schema.columns()[*place].column_type.clone(),
            target: types[*place],
        };
        let key: Vec<KeyColumn> = schema.key().iter().map(column).collect();
        let order: Vec<&str> = key.iter().map(|column| column.name.as_str()).collect();
        Ok(Self {
            order: format!(" ORDER BY {}", order.join(", ")),
            from: format!("SELECT {} FROM {}", columns.join(", "), quote_table(target)?),
            key,
        })
    }

    /// The rows behind one key, up to another.
    pub(super) fn range(&self, after: Option<&Key>, until: Option<&Key>) -> Result<Select> {
        let mut select = Select { sql: self.from.clone(), parameters: Vec::new() };
        for (key, strict, last) in [(after, ">", ">"), (until, "<", "<=")] {
            let Some(key) = key else { continue };
            select.sql.push_str(if select.parameters.is_empty() { " WHERE " } else { " AND " });
            let values =
                self.stored(key).ok_or_else(|| Error::refused("no row of the target can have the key of a bound"))?;
            self.add_beside(&values, [strict, last], &mut select);
        }
        select.sql.push_str(&self.order);
        Ok(select)
    }

    /// The row behind `skipped` others.
    pub(super) fn bound(&self, after: Option<&Key>, skipped: u64) -> Result<Select> {
        let mut select = self.range(after, None)?;
        select.sql.push_str(&format!(" LIMIT 1 OFFSET {skipped}"));
        Ok(select)
    }

    /// The rows of these keys.
    pub(super) fn by_keys(&self, keys: &[Key]) -> Vec<Select> {
        let stored: Vec<Vec<Stored>> = keys.iter().filter_map(|key| self.stored(key)).collect();
        let equal: Vec<String> = self.key.iter().map(|column| format!("{} = ?", column.name)).collect();
        let equal = format!("({})", equal.join(" AND "));
        let select = |part: &[Vec<Stored>]| Select {
            sql: format!("{} WHERE {}", self.from, vec![equal.as_str(); part.len()].join(" OR ")),
            parameters: part.concat(),
        };
        stored.chunks(KEYS_MAX).map(select).collect()
    }

    /// `a >= ? AND (a > ? OR (a = ? AND b > ?))`.
    fn add_beside(&self, values: &[Stored], [strict, last]: [&str; 2], select: &mut Select) {
        let (end, before) = self.key.split_last().expect("invariant: a key has columns");
        if let Some(first) = before.first() {
            select.sql.push_str(&format!("{} {strict}= ? AND ", first.name));
            select.parameters.push(values[0].clone());
        }
        for (column, value) in before.iter().zip(values) {
            select.sql.push_str(&format!("({0} {strict} ? OR ({0} = ? AND ", column.name));
            select.parameters.extend([value.clone(), value.clone()]);
        }
        select.sql.push_str(&format!("{} {last} ?{}", end.name, "))".repeat(before.len())));
        select.parameters.push(values[before.len()].clone());
    }

    /// None: no column of such types holds the key.
    fn stored(&self, key: &Key) -> Option<Vec<Stored>> {
        let image = key.image();
        let value = |(place, column): (usize, &KeyColumn)| match image.field(place) {
            Field::Value(value) => stored(column, value),
            Field::Null | Field::Unchanged => None,
        };
        self.key.iter().enumerate().map(value).collect()
    }
}

fn stored(column: &KeyColumn, value: Value<'_>) -> Option<Stored> {
    let whole = |number: i128| match (column.target, i64::try_from(number)) {
        (TargetType::Text, _) => Some(Stored::Text(number.to_string())),
        (_, Ok(small)) => Some(Stored::Integer(small)),
        (TargetType::Any, Err(_)) => Some(Stored::Text(number.to_string())),
        (_, Err(_)) => None,
    };
    let text = match value {
        Value::Integer(number) => return whole(number.into()),
        Value::Unsigned(number) | Value::Bit(number) => return whole(number.into()),
        Value::Year(year) => return whole(year.into()),
        Value::Bytes(bytes) => return Some(Stored::Blob(bytes.to_vec())),
        Value::Float(number) => format!("{:?}", f64::from(number)),
        Value::Double(number) => format!("{number:?}"),
        Value::Decimal(number) => decimal(number),
        Value::Text(text) => text.to_owned(),
        Value::Enum(index) => label(index, &column.source)?.to_owned(),
        Value::Set(bits) => labels(bits, &column.source)?,
        Value::Date(date) => format!("{:04}-{:02}-{:02}", date.year, date.month, date.day),
        Value::Time(time) => time_text(time),
        Value::DateTime(clock) => clock_text(clock),
        Value::Timestamp(Timestamp::Zero) => format!("{}Z", clock_text(DateTime::default())),
        Value::Timestamp(Timestamp::Micros(micros)) => {
            format!("{}Z", clock_text(DateTime::from_micros_since_epoch(micros)?))
        }
        Value::Uuid(bytes) => printed(|text| write_uuid(bytes, text)),
        Value::Inet4(bytes) => printed(|text| write_inet4(bytes, text)),
        Value::Inet6(bytes) => printed(|text| write_inet6(bytes, text)),
        Value::InvalidText(_) | Value::Json(_) | Value::Geometry { .. } | Value::Vector(_) => return None,
    };
    Some(Stored::Text(text))
}

fn printed(print: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    print(&mut text).expect("invariant: writing to a String can't fail");
    text
}

fn decimal(number: Decimal<'_>) -> String {
    let digits = BigInt::from_signed_bytes_be(number.unscaled).to_string();
    let (sign, digits) = digits.strip_prefix('-').map_or(("", &*digits), |rest| ("-", rest));
    let scale = usize::from(number.scale);
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
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

fn time_text(time: Time) -> String {
    let (micros, sign) = (time.micros.unsigned_abs(), if time.micros < 0 { "-" } else { "" });
    let seconds = micros / 1_000_000;
    format!("{sign}{:02}:{:02}:{:02}{}", seconds / 3600, seconds / 60 % 60, seconds % 60, fraction(micros % 1_000_000))
}

fn clock_text(clock: DateTime) -> String {
    let DateTime { date, hour, minute, second, micros } = clock;
    let fraction = fraction(micros.into());
    format!("{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}{fraction}", date.year, date.month, date.day)
}

fn fraction(micros: u64) -> String {
    let digits = format!("{micros:06}");
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() { String::new() } else { format!(".{digits}") }
}
