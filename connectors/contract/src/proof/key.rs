//! Keys and bounds as a query names them. They come from outside, as values; this is the one place that looks into them, and
//! what it makes of them is checked by what the database then answers: of rows asked for by key, those with another key are
//! left out here, because a database may take keys for equal whose bytes are not.

use std::collections::HashSet;

use tailrace_row::{
    Column, ColumnType, Date, DateTime, Field, Key, TableSchema, Timestamp, Value, write_inet4, write_inet6, write_uuid,
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

/// A column of a table's key as SQL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPart {
    /// Quoted.
    pub name: String,
    /// Whether the database's own order of the key has it from the greatest to the least.
    pub is_descending: bool,
}

impl KeyPart {
    /// `a, b DESC`: the key's order for a query.
    #[must_use]
    pub fn order(key: &[Self]) -> String {
        let part = |part: &Self| format!("{}{}", part.name, if part.is_descending { " DESC" } else { "" });
        key.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

/// A table's key in SQL, and how a value is spelled there.
pub struct KeySpelling<'a> {
    /// In key order.
    pub key: &'a [KeyPart],
    /// The spelling of a value of the key column with that number.
    pub spell: &'a dyn Fn(usize, &KeyField) -> Option<String>,
    /// What a value without a spelling means.
    pub unspelled: Unspelled,
}

/// What it means that a value of a key has no spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unspelled {
    /// The database can't hold it, so no row has it.
    Absent,
    /// A row may have it, and no query would find that row.
    Unreachable,
}

/// Where a range lies, seen from a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Behind,
    UpTo,
}

impl ProofQuery {
    /// The conditions for some rows.
    pub fn new(schema: &TableSchema, rows: Rows<'_>, spelling: &KeySpelling<'_>) -> Result<Self> {
        match rows {
            Rows::Range { after, until } => {
                let mut bounds = Vec::new();
                for (key, side) in [(after, Side::Behind), (until, Side::UpTo)] {
                    let Some(key) = key else { continue };
                    let literals = spelling.literals(schema, key)?.ok_or_else(|| unspeakable(schema))?;
                    bounds.push(bound(spelling.key, &literals, side));
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
            let equal = spelling.key.iter().zip(&literals).map(|(part, literal)| format!("{} = {literal}", part.name));
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
    /// None: no row has the key.
    fn literals(&self, schema: &TableSchema, key: &Key) -> Result<Option<Vec<String>>> {
        let fields = key_fields(schema, key)?;
        let mut literals = Vec::with_capacity(fields.len());
        for (number, field) in fields.iter().enumerate() {
            match ((self.spell)(number, field), self.unspelled) {
                (Some(literal), _) => literals.push(literal),
                (None, Unspelled::Absent) => return Ok(None),
                (None, Unspelled::Unreachable) => {
                    let column = &schema.columns()[schema.key()[number]].name;
                    let what = format!("a row can't be asked for by its key: {column} holds what no query can name");
                    return Err(Error::table_failed(schema.name().clone(), what));
                }
            }
        }
        Ok(Some(literals))
    }
}

impl Side {
    fn operator(self, is_descending: bool) -> &'static str {
        match (self, is_descending) {
            (Self::Behind, false) | (Self::UpTo, true) => ">",
            (Self::Behind, true) | (Self::UpTo, false) => "<",
        }
    }
}

/// `a > x OR (a = x AND b > y)`, behind `a >= x`, by which a database finds the place in its index.
fn bound(key: &[KeyPart], literals: &[String], side: Side) -> String {
    let mut condition = String::new();
    for (place, (part, literal)) in key.iter().zip(literals).enumerate().rev() {
        let (name, beyond) = (&part.name, side.operator(part.is_descending));
        condition = match (place + 1 == key.len(), side) {
            (true, Side::Behind) => format!("{name} {beyond} {literal}"),
            (true, Side::UpTo) => format!("{name} {beyond}= {literal}"),
            (false, _) => format!("({name} {beyond}= {literal} AND ({name} {beyond} {literal} OR {condition}))"),
        };
    }
    condition
}

/// The keys that were asked for and have not come yet, by their canonical bytes.
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

    /// Whether the last row of the batch has one of the keys, byte by byte, and comes for the first time: to a collation, keys that
    /// several queries ask for may be one row's.
    pub fn takes_last_of(&mut self, batch: &ProofBatch) -> bool {
        let row = batch.len() - 1;
        self.scratch.clear();
        for place in &self.places {
            let start = begin_part(&mut self.scratch);
            self.scratch.extend_from_slice(batch.field(row, *place));
            end_part(start, &mut self.scratch);
        }
        self.wanted.remove(&self.scratch)
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
        let column = &schema.columns()[*place];
        let field = KeyField::of(&column.column_type, image.field(number)).ok_or_else(|| unspeakable(schema))?;
        match &field {
            KeyField::Label { text, .. } if text.contains('?') => Err(doubtful_label(schema, column)),
            _ => Ok(field),
        }
    });
    fields.collect()
}

/// MySQL's dictionary shows a question mark for a character above U+FFFF in a member, so a schema may have the one for the other.
fn doubtful_label(schema: &TableSchema, column: &Column) -> Error {
    let what = format!(
        "a row can't be asked for by its key: a question mark in a member of {} may stand for another character",
        column.name
    );
    Error::table_failed(schema.name().clone(), what)
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
    use tailrace_row::{Charset, TableName, TextForm};

    use super::*;

    #[test]
    fn bounds_are_those_of_the_order() {
        let literals = ["1", "2", "3"].map(str::to_owned);
        let key = key(&[("a", false), ("b", true), ("c", false)]);
        assert_eq!(bound(&key[..1], &literals[..1], Side::UpTo), "a <= 1");
        assert_eq!(bound(&key[1..2], &literals[1..2], Side::UpTo), "b >= 2");
        assert_eq!(bound(&key, &literals, Side::Behind), "(a >= 1 AND (a > 1 OR (b <= 2 AND (b < 2 OR c > 3))))");
        assert_eq!(KeyPart::order(&key), "a, b DESC, c");
    }

    const TEXT: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 9, charset: Charset::Utf8mb4 };

    fn key(parts: &[(&str, bool)]) -> Vec<KeyPart> {
        parts
            .iter()
            .map(|(name, is_descending)| KeyPart { name: (*name).into(), is_descending: *is_descending })
            .collect()
    }

    fn key_of(value: Value<'_>) -> Key {
        let key: Result<Key> = Key::write(1, |image| {
            image.value(value);
            Ok(())
        });
        key.unwrap()
    }

    fn schema(column_type: ColumnType) -> TableSchema {
        let columns = [Column { name: "k".into(), column_type, nullable: false }];
        TableSchema::new(TableName::new("shop", "t"), columns, [0]).unwrap()
    }

    /// Keys 'a' and 'A' in two queries are one row to a collation, which both answer.
    #[test]
    fn a_row_is_taken_once() {
        let schema = schema(TEXT);
        let mut query = KeyQuery::new(&schema, &["A", "a"].map(|text| key_of(Value::Text(text)))).unwrap();
        let mut batch = ProofBatch::new(1);
        let mut writer = CanonicalWriter::default();
        batch.push_field(|out| writer.value(CanonicalForm::Text, b"A", Era::Common, out)).unwrap();
        assert_eq!([query.takes_last_of(&batch), query.takes_last_of(&batch)], [true, false]);
    }

    #[test]
    fn a_key_without_a_spelling_has_no_row_or_is_an_error() {
        let ask = |schema: &TableSchema, key: Key, unspelled| {
            let spell = |_, field: &KeyField| match field {
                KeyField::InvalidText(_) => None,
                _ => Some("1".to_owned()),
            };
            let parts = [KeyPart { name: "k".into(), is_descending: false }];
            let spelling = KeySpelling { key: &parts, spell: &spell, unspelled };
            ProofQuery::new(schema, Rows::Keys(&[key]), &spelling).map(|query| query.conditions)
        };
        let text = schema(TEXT);
        let invalid = || key_of(Value::InvalidText(b"\xff"));
        assert_eq!(ask(&text, invalid(), Unspelled::Absent).unwrap(), Vec::<String>::new());
        let error = ask(&text, invalid(), Unspelled::Unreachable).unwrap_err();
        assert!(error.message().contains("k holds what no query can name"), "{error}");
        let members = schema(ColumnType::Enum { members: ["a".into(), "b?".into()].into() });
        assert_eq!(ask(&members, key_of(Value::Enum(1)), Unspelled::Absent).unwrap(), ["(k = 1)"]);
        let error = ask(&members, key_of(Value::Enum(2)), Unspelled::Absent).unwrap_err();
        assert!(error.message().contains("a question mark in a member of k"), "{error}");
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
