//! Keys and bounds as a query names them. They come from outside, as values; this is the one place that looks into them, and
//! what it makes of them is checked by what the database then answers: of rows asked for by key, those with another key are
//! left out here, because a database may take keys for equal whose bytes are not.

use std::collections::HashSet;

use tailrace_row::{
    ColumnType, Date, DateTime, Field, Key, TableSchema, Timestamp, Value, write_inet4, write_inet6, write_uuid,
};

use super::{CanonicalForm, CanonicalWriter, Era, Foreign, ProofBatch};
use crate::{Error, Result, Rows};

/// Keys that one query asks for at most, and about how many bytes of SQL they may take.
const KEYS_PER_QUERY_MAX: usize = 200;
const QUERY_BYTES_MAX: usize = 256 << 10;

/// One column of a key, as a database's SQL can spell it.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyField {
    /// Digits, with a sign and a point: integers, decimals, years, and BIT(n) as a number.
    Number(String),
    /// FLOAT and DOUBLE.
    Float(f64),
    /// Characters.
    Text(String),
    /// Bytes that are no characters in the column's charset.
    InvalidText(Vec<u8>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// ENUM and SET: the text of the members, and the number that MySQL keeps.
    Label {
        /// The text.
        text: String,
        /// ENUM's index or SET's bits.
        number: u64,
    },
    /// A day or a time in ISO's spelling, its fraction in full; an instant in UTC.
    Moment(String),
    /// UUID and network addresses in the spelling of MariaDB.
    Address(String),
    /// A geometry.
    Geometry {
        /// Number of its reference system, 0 for none.
        srid: u32,
        /// Well-known binary.
        wkb: Vec<u8>,
    },
}

impl KeyField {
    /// None: no key column has such a value.
    fn of(column_type: &ColumnType, field: Field<'_>) -> Option<Self> {
        let Field::Value(value) = field else { return None };
        Some(match value {
            Value::Integer(number) => Self::Number(number.to_string()),
            Value::Unsigned(number) | Value::Bit(number) => Self::Number(number.to_string()),
            Value::Year(year) => Self::Number(year.to_string()),
            Value::Float(number) => Self::Float(number.into()),
            Value::Double(number) => Self::Float(number),
            Value::Decimal(decimal) => Self::Number(decimal_text(decimal.unscaled, decimal.scale.into())),
            Value::Text(text) | Value::Json(text) => Self::Text(text.to_owned()),
            Value::InvalidText(bytes) => Self::InvalidText(bytes.to_owned()),
            Value::Bytes(bytes) => Self::Bytes(bytes.to_owned()),
            Value::Enum(index) => Self::enumerated(column_type, index)?,
            Value::Set(bits) => Self::set(column_type, bits)?,
            Value::Date(date) => Self::Moment(day_text(date)),
            Value::Time(time) => Self::Moment(duration_text(time.micros)),
            Value::DateTime(clock) => Self::Moment(clock_text(clock)),
            Value::Timestamp(Timestamp::Zero) => Self::Moment(clock_text(DateTime::default())),
            Value::Timestamp(Timestamp::Micros(micros)) => {
                Self::Moment(clock_text(DateTime::from_micros_since_epoch(micros)?))
            }
            Value::Uuid(bytes) => Self::address(|text| write_uuid(bytes, text)),
            Value::Inet4(bytes) => Self::address(|text| write_inet4(bytes, text)),
            Value::Inet6(bytes) => Self::address(|text| write_inet6(bytes, text)),
            Value::Geometry { srid, wkb } => Self::Geometry { srid, wkb: wkb.to_owned() },
            Value::Vector(_) => return None,
        })
    }

    fn address(write: impl FnOnce(&mut String) -> std::fmt::Result) -> Self {
        let mut text = String::new();
        write(&mut text).expect("invariant: writing to a String can't fail");
        Self::Address(text)
    }

    fn enumerated(column_type: &ColumnType, index: u16) -> Option<Self> {
        let ColumnType::Enum { members } = column_type else { return None };
        let text = match index {
            0 => String::new(),
            _ => members.get(usize::from(index) - 1)?.to_string(),
        };
        Some(Self::Label { text, number: index.into() })
    }

    fn set(column_type: &ColumnType, bits: u64) -> Option<Self> {
        let ColumnType::Set { members } = column_type else { return None };
        let chosen = members.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
        let text = chosen.map(|(_, member)| &**member).collect::<Vec<&str>>().join(",");
        Some(Self::Label { text, number: bits })
    }

    fn write(
        &self,
        form: CanonicalForm,
        writer: &mut CanonicalWriter,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), Foreign> {
        match self {
            Self::Float(number) => writer.float(*number, out),
            Self::InvalidText(bytes) => writer.invalid_text(bytes, out),
            Self::Geometry { srid, wkb } => writer.geometry(*srid, wkb, out),
            Self::Number(text)
            | Self::Text(text)
            | Self::Label { text, .. }
            | Self::Moment(text)
            | Self::Address(text) => {
                return writer.value(form, text.as_bytes(), Era::Common, out);
            }
            Self::Bytes(bytes) => return writer.value(form, bytes, Era::Common, out),
        }
        Ok(())
    }
}

/// The queries that read some rows of a table.
#[derive(Debug)]
pub struct ProofQuery {
    /// What stands behind WHERE in one query after the other.
    pub conditions: Vec<String>,
    /// The keys that were asked for; none if it was a range, whose rows come in order.
    pub keys: Option<KeyQuery>,
}

/// The names of a table's key columns in SQL, in key order, and how a value is spelled there. A spelling is none where the database can
/// have no such value.
pub struct KeySpelling<'a> {
    /// Quoted names.
    pub names: &'a [String],
    /// The spelling of a value of the key column with that number.
    pub spell: &'a dyn Fn(usize, &KeyField) -> Option<String>,
}

impl ProofQuery {
    /// The conditions for some rows.
    pub fn new(schema: &TableSchema, rows: Rows<'_>, spelling: &KeySpelling<'_>) -> Result<Self> {
        match rows {
            Rows::Range { after, until } => {
                let mut bounds = Vec::new();
                for (key, [beyond, last]) in [(after, [">", ">"]), (until, ["<", "<="])] {
                    let Some(key) = key else { continue };
                    let literals = spelling.literals(schema, key)?.ok_or_else(|| unspeakable(schema))?;
                    bounds.push(bound(spelling.names, &literals, beyond, last));
                }
                let condition = if bounds.is_empty() { "1 = 1".to_owned() } else { bounds.join(" AND ") };
                Ok(Self { conditions: vec![condition], keys: None })
            }
            Rows::Keys(keys) => Self::of_keys(schema, keys, spelling),
        }
    }

    fn of_keys(schema: &TableSchema, keys: &[Key], spelling: &KeySpelling<'_>) -> Result<Self> {
        let mut parts = Vec::new();
        for key in keys {
            let Some(literals) = spelling.literals(schema, key)? else { continue };
            let equal = spelling.names.iter().zip(&literals).map(|(name, literal)| format!("{name} = {literal}"));
            parts.push(format!("({})", equal.collect::<Vec<_>>().join(" AND ")));
        }
        let mut conditions: Vec<String> = Vec::new();
        let mut count = 0;
        for part in parts {
            match conditions.last_mut() {
                Some(last) if count < KEYS_PER_QUERY_MAX && last.len() + part.len() < QUERY_BYTES_MAX => {
                    last.push_str(" OR ");
                    last.push_str(&part);
                    count += 1;
                }
                _ => {
                    conditions.push(part);
                    count = 1;
                }
            }
        }
        Ok(Self { conditions, keys: Some(KeyQuery::new(schema, keys)?) })
    }
}

impl KeySpelling<'_> {
    fn literals(&self, schema: &TableSchema, key: &Key) -> Result<Option<Vec<String>>> {
        let fields = key_fields(schema, key)?;
        Ok(fields.iter().enumerate().map(|(place, field)| (self.spell)(place, field)).collect())
    }
}

/// `a > x OR (a = x AND b > y)`, behind `a >= x`, by which a database finds the place in its index.
fn bound(names: &[String], literals: &[String], beyond: &str, last: &str) -> String {
    let mut condition = String::new();
    for (place, (name, literal)) in names.iter().zip(literals).enumerate().rev() {
        condition = if place + 1 == names.len() {
            format!("{name} {last} {literal}")
        } else {
            format!("({name} {beyond}= {literal} AND ({name} {beyond} {literal} OR {condition}))")
        };
    }
    condition
}

/// The keys that were asked for, by their canonical bytes.
#[derive(Debug)]
pub struct KeyQuery {
    wanted: HashSet<Vec<u8>>,
    places: Vec<usize>,
    scratch: Vec<u8>,
}

impl KeyQuery {
    fn new(schema: &TableSchema, keys: &[Key]) -> Result<Self> {
        let mut writer = CanonicalWriter::default();
        let forms: Vec<CanonicalForm> =
            schema.key().iter().map(|place| CanonicalForm::of(&schema.columns()[*place].column_type)).collect();
        let mut wanted = HashSet::with_capacity(keys.len());
        for key in keys {
            let mut bytes = Vec::new();
            for (field, form) in key_fields(schema, key)?.iter().zip(&forms) {
                let start = begin_part(&mut bytes);
                field.write(*form, &mut writer, &mut bytes).map_err(|Foreign| unspeakable(schema))?;
                end_part(start, &mut bytes);
            }
            wanted.insert(bytes);
        }
        Ok(Self { wanted, places: schema.key().to_vec(), scratch: Vec::new() })
    }

    /// Whether the last row of the batch has one of the keys, byte by byte.
    pub fn has_last_of(&mut self, batch: &ProofBatch) -> bool {
        let row = batch.len() - 1;
        self.scratch.clear();
        for place in &self.places {
            let start = begin_part(&mut self.scratch);
            self.scratch.extend_from_slice(batch.field(row, *place));
            end_part(start, &mut self.scratch);
        }
        self.wanted.contains(&self.scratch)
    }
}

/// Each part lies behind its length, so that no two keys share their bytes.
fn begin_part(bytes: &mut Vec<u8>) -> usize {
    bytes.extend([0; 8]);
    bytes.len()
}

fn end_part(start: usize, bytes: &mut [u8]) {
    let length = (bytes.len() - start) as u64;
    bytes[start - 8..start].copy_from_slice(&length.to_le_bytes());
}

fn key_fields(schema: &TableSchema, key: &Key) -> Result<Vec<KeyField>> {
    let image = key.image();
    let fields = schema.key().iter().enumerate().map(|(number, place)| {
        KeyField::of(&schema.columns()[*place].column_type, image.field(number)).ok_or_else(|| unspeakable(schema))
    });
    fields.collect()
}

fn unspeakable(schema: &TableSchema) -> Error {
    Error::table_failed(schema.name().clone(), "a key of the rows to read is none that this table can have")
}

/// The digits of big-endian two's complement, by repeated division.
fn decimal_text(unscaled: &[u8], scale: usize) -> String {
    let is_negative = unscaled.first().is_some_and(|first| first & 0x80 != 0);
    let mut magnitude: Vec<u8> = unscaled.to_vec();
    if is_negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut remainder = 0;
        for byte in &mut magnitude {
            let dividend = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(dividend / 10).expect("invariant: the remainder is below ten");
            remainder = dividend % 10;
        }
        digits.push(char::from_digit(remainder, 10).expect("invariant: a digit"));
    }
    while digits.len() <= scale {
        digits.push('0');
    }
    if scale > 0 {
        digits.insert(scale, '.');
    }
    if is_negative {
        digits.push('-');
    }
    digits.into_iter().rev().collect()
}

fn day_text(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year, date.month, date.day)
}

fn clock_text(clock: DateTime) -> String {
    let DateTime { date, hour, minute, second, micros } = clock;
    format!("{} {hour:02}:{minute:02}:{second:02}.{micros:06}", day_text(date))
}

fn duration_text(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    format!("{sign}{:02}:{:02}:{:02}.{:06}", seconds / 3600, seconds / 60 % 60, seconds % 60, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_order() {
        let names = ["a", "b", "c"].map(str::to_owned);
        let literals = ["1", "2", "3"].map(str::to_owned);
        assert_eq!(bound(&names[..1], &literals[..1], "<", "<="), "a <= 1");
        assert_eq!(bound(&names, &literals, ">", ">"), "(a >= 1 AND (a > 1 OR (b >= 2 AND (b > 2 OR c > 3))))");
    }

    #[test]
    fn values_are_spelled() {
        for (unscaled, scale, expect) in [
            (&[0][..], 0, "0"),
            (&[0], 2, "0.00"),
            (&[0xff], 2, "-0.01"),
            (&[0x80], 0, "-128"),
            (&[0x00, 0x80], 1, "12.8"),
            (&[0x01, 0, 0, 0, 0, 0, 0, 0, 0], 3, "18446744073709551.616"),
        ] {
            assert_eq!(decimal_text(unscaled, scale), expect);
        }
        assert_eq!(duration_text(-3_020_399_999_999), "-838:59:59.999999");
        assert_eq!(clock_text(DateTime::default()), "0000-00-00 00:00:00.000000");
    }
}
