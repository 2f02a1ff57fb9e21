//! The statements of a reader. Keys go into them as literals that mean exactly what the server gave.
//!
//! Which of two keys comes first is the server's to say: a text stands there in the bytes and the charset of its column and
//! without a collation, so that the column's decides. The conditions are of the form that the servers turn into ranges of the
//! index: for a key of two columns behind (1, 2) it is `a >= 1 AND (a > 1 OR (a = 1 AND b > 2))`. An index is not used
//! from an ENUM or SET on, which the servers compare as numbers but look up as texts: such a range is right, but slow.

use std::{collections::VecDeque, fmt::Write as _, sync::Arc};

use tailrace_contract::{ChunkRange, Error};
use tailrace_row::{
    Charset, ColumnType, DateTime, Field, Key, TableSchema, Time, Timestamp, Value, write_inet4, write_inet6,
    write_uuid,
};

use super::{decimal_text, key_order::KeyOrder};
use crate::{
    protocol::{quote_name, quote_table},
    row_decoder::charset,
};

/// How many keys one statement asks for: few enough for the server to look each up in the index.
const KEYS_MAX: usize = 500;
const STATEMENT_BYTES_MAX: usize = 1 << 20;

/// A key that no statement can name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    column: Box<str>,
    what: &'static str,
}

impl Unusable {
    pub(super) fn of(self, schema: &TableSchema) -> Error {
        let Self { column, what } = self;
        Error::table_failed(
            schema.name().clone(),
            format!("a row can't be looked up by its key: {column} holds {what}"),
        )
    }
}

/// One column of the key.
struct KeyColumn {
    name: Box<str>,
    /// As a condition compares it.
    compared: String,
    column_type: ColumnType,
    is_descending: bool,
}

/// The parts of all statements of a table.
pub(super) struct Statements {
    key: Vec<KeyColumn>,
    rows: String,
    keys: String,
    order: String,
}

/// The literals of a key, in key order.
type Literals = Vec<String>;

impl Statements {
    pub(super) fn new(schema: &Arc<TableSchema>, order: &KeyOrder) -> Self {
        let column = |place: &usize| {
            let column = &schema.columns()[*place];
            let name = quote_name(&column.name);
            KeyColumn {
                name: column.name.clone(),
                compared: match column.column_type {
                    // As a text beside a number it would be compared as a double, which has too few bits for 64 members.
                    ColumnType::Set { .. } => format!("CAST({name} AS UNSIGNED)"),
                    _ => name,
                },
                column_type: column.column_type.clone(),
                is_descending: order.is_descending(&column.name),
            }
        };
        let key: Vec<KeyColumn> = schema.key().iter().map(column).collect();
        let asked = |place: usize| {
            let column = &schema.columns()[place];
            let name = quote_name(&column.name);
            match column.column_type {
                // MariaDB makes the number as small as the members allow, the operator makes it 64 bits.
                ColumnType::Enum { .. } | ColumnType::Set { .. } => format!("CAST({name} AS UNSIGNED) | 0"),
                _ => name,
            }
        };
        let from = format!("FROM {} FORCE INDEX ({})", quote_table(schema.name()), quote_name(order.index()));
        let select = |places: &mut dyn Iterator<Item = usize>| {
            format!("SELECT {} {from}", places.map(asked).collect::<Vec<_>>().join(", "))
        };
        let order = key
            .iter()
            .map(|column| format!("{}{}", quote_name(&column.name), if column.is_descending { " DESC" } else { "" }));
        Self {
            rows: select(&mut (0..schema.columns().len())),
            keys: select(&mut schema.key().iter().copied()),
            order: format!(" ORDER BY {}", order.collect::<Vec<_>>().join(", ")),
            key,
        }
    }

    /// All columns of the rows behind one key, up to another.
    pub(super) fn range(&self, after: Option<&Key>, until: Option<&Key>) -> Result<String, Unusable> {
        let condition = self.sides(after, until)?.map(|sides| format!(" WHERE {sides}")).unwrap_or_default();
        Ok(format!("{}{condition}{}", self.rows, self.order))
    }

    /// What holds for the keys behind one key, up to another; none if both are open.
    fn sides(&self, after: Option<&Key>, until: Option<&Key>) -> Result<Option<String>, Unusable> {
        let mut conditions = Vec::new();
        if let Some(after) = after {
            conditions.push(self.beside(&self.literals(after)?, Side::Behind));
        }
        if let Some(until) = until {
            conditions.push(self.beside(&self.literals(until)?, Side::UpTo));
        }
        Ok((!conditions.is_empty()).then(|| conditions.join(" AND ")))
    }

    /// The first of these rows only.
    pub(super) fn chunk(&self, range: ChunkRange<'_>) -> Result<String, Unusable> {
        Ok(format!("{} LIMIT {}", self.range(range.after, range.until)?, range.rows_max))
    }

    /// Those of a range for which a condition holds. A line break ends a comment that it may end with.
    pub(super) fn chosen(
        &self,
        (after, until): (Option<&Key>, Option<&Key>),
        condition: &str,
    ) -> Result<String, Unusable> {
        let (sides, rows) = (self.sides(after, until)?, &self.rows);
        Ok(format!(
            "{rows} WHERE {}(\n{condition}\n){}",
            sides.map(|sides| sides + " AND ").unwrap_or_default(),
            self.order
        ))
    }

    /// The key of the row behind `skipped` others of a range.
    pub(super) fn bound(&self, after: Option<&Key>, until: Option<&Key>, skipped: u64) -> Result<String, Unusable> {
        let condition = self.sides(after, until)?.map(|sides| format!(" WHERE {sides}")).unwrap_or_default();
        Ok(format!("{}{condition}{} LIMIT 1 OFFSET {skipped}", self.keys, self.order))
    }

    /// The last key before this one.
    pub(super) fn before(&self, key: &Key) -> Result<String, Unusable> {
        let condition = self.beside(&self.literals(key)?, Side::Before);
        let order = self
            .key
            .iter()
            .map(|column| format!("{}{}", quote_name(&column.name), if column.is_descending { "" } else { " DESC" }));
        let order = order.collect::<Vec<_>>().join(", ");
        Ok(format!("{} WHERE {condition} ORDER BY {order} LIMIT 1", self.keys))
    }

    /// All columns of the rows whose keys the server takes for equal to these.
    pub(super) fn by_keys(&self, keys: &[Key]) -> Result<VecDeque<String>, Unusable> {
        let mut statements = VecDeque::new();
        let mut literals: Vec<Literals> = keys.iter().map(|key| self.literals(key)).collect::<Result<_, _>>()?;
        // A collation may hold several keys for one, but in one statement the server brings each row once.
        literals.sort_unstable();
        literals.dedup();
        let mut rest = literals.into_iter().peekable();
        while rest.peek().is_some() {
            let mut sql = format!("{} WHERE ", self.rows);
            let mut count = 0;
            while let Some(key) = rest.next_if(|_| count < KEYS_MAX && sql.len() < STATEMENT_BYTES_MAX) {
                sql.push_str(if count == 0 { "(" } else { " OR (" });
                let equal =
                    self.key.iter().zip(&key).map(|(column, literal)| format!("{} = {literal}", column.compared));
                sql.push_str(&equal.collect::<Vec<_>>().join(" AND "));
                sql.push(')');
                count += 1;
            }
            statements.push_back(sql);
        }
        Ok(statements)
    }

    fn literals(&self, key: &Key) -> Result<Literals, Unusable> {
        let image = key.image();
        assert_eq!(image.len(), self.key.len(), "a key has the key's columns");
        let literal = |(place, column): (usize, &KeyColumn)| {
            let unusable = |what| Unusable { column: column.name.clone(), what };
            match image.field(place) {
                Field::Value(value) => literal(&column.column_type, value).map_err(unusable),
                Field::Null | Field::Unchanged => Err(unusable("no value")),
            }
        };
        self.key.iter().enumerate().map(literal).collect()
    }

    /// The keys on that side of one key: the first column bounds the range, the others tell keys apart that begin alike.
    fn beside(&self, literals: &[String], side: Side) -> String {
        let mut condition = String::new();
        for (place, (column, literal)) in self.key.iter().zip(literals).enumerate().rev() {
            let strict = side.operator(column.is_descending);
            let name = &column.compared;
            condition = match (condition.is_empty(), side) {
                (true, Side::Behind | Side::Before) => format!("{name} {strict} {literal}"),
                (true, Side::UpTo) => format!("{name} {strict}= {literal}"),
                (false, _) => format!("({name} {strict} {literal} OR ({name} = {literal} AND {condition}))"),
            };
            if place == 0 && literals.len() > 1 {
                condition = format!("{name} {strict}= {literal} AND {condition}");
            }
        }
        condition
    }
}

/// Where a range lies, seen from a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Behind,
    UpTo,
    Before,
}

impl Side {
    fn operator(self, is_descending: bool) -> &'static str {
        match (self, is_descending) {
            (Self::Behind, false) | (Self::UpTo | Self::Before, true) => ">",
            (Self::Behind, true) | (Self::UpTo | Self::Before, false) => "<",
        }
    }
}

/// A value as a literal that the server compares with the column as if it were stored there.
fn literal(column: &ColumnType, value: Value<'_>) -> Result<String, &'static str> {
    Ok(match value {
        Value::Integer(number) => number.to_string(),
        Value::Unsigned(number) | Value::Bit(number) | Value::Set(number) => number.to_string(),
        Value::Enum(index) => index.to_string(),
        // A number of two digits would mean a year of our time; a text of four is what it says.
        Value::Year(year) => format!("'{year:04}'"),
        // All digits that the double has: a FLOAT is compared as one.
        Value::Float(number) => format!("{:e}", f64::from(number)),
        Value::Double(number) => format!("{number:e}"),
        Value::Decimal(number) => decimal_text::literal(number),
        Value::Bytes(bytes) => bytes_literal("", bytes),
        Value::Text(text) => text_literal(column, text)?,
        Value::InvalidText(_) => {
            return Err("bytes that are no text of its charset, which the server takes for none in a statement");
        }
        Value::Date(date) => format!("'{:04}-{:02}-{:02}'", date.year, date.month, date.day),
        Value::Time(time) => time_literal(time),
        Value::DateTime(clock) => clock_literal(clock),
        Value::Timestamp(Timestamp::Zero) => clock_literal(DateTime::default()),
        Value::Timestamp(Timestamp::Micros(micros)) => {
            clock_literal(DateTime::from_micros_since_epoch(micros).ok_or("an instant beyond the year 9999")?)
        }
        Value::Uuid(bytes) => printed(|text| write_uuid(bytes, text)),
        Value::Inet4(bytes) => printed(|text| write_inet4(bytes, text)),
        Value::Inet6(bytes) => printed(|text| write_inet6(bytes, text)),
        Value::Json(_) | Value::Geometry { .. } | Value::Vector(_) => return Err("what no key can hold"),
    })
}

fn text_literal(column: &ColumnType, text: &str) -> Result<String, &'static str> {
    let ColumnType::Text { charset, .. } = column else { return Err("a text in a column of another type") };
    let bytes = charset::to_bytes(*charset, text).ok_or("a character that its charset does not have")?;
    let introducer = match charset {
        Charset::Utf8mb3 => Charset::Utf8mb4,
        charset => *charset,
    };
    Ok(bytes_literal(&format!("_{}", introducer.name()), &bytes))
}

fn bytes_literal(introducer: &str, bytes: &[u8]) -> String {
    let mut literal = format!("{introducer} x'");
    bytes.iter().for_each(|byte| write!(literal, "{byte:02x}").expect("invariant: writing to a String can't fail"));
    literal.push('\'');
    literal
}

/// A text of digits, points and colons, in quotes.
fn printed(print: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut text = String::from("'");
    print(&mut text).expect("invariant: writing to a String can't fail");
    text.push('\'');
    text
}

fn time_literal(time: Time) -> String {
    let (micros, sign) = (time.micros.unsigned_abs(), if time.micros < 0 { "-" } else { "" });
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    format!("'{sign}{:02}:{:02}:{:02}.{micros:06}'", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn clock_literal(clock: DateTime) -> String {
    let DateTime { date, hour, minute, second, micros } = clock;
    format!("'{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}.{micros:06}'", date.year, date.month, date.day)
}
