//! The shape of a table at one moment: names, exact types, key.
//!
//! A schema is immutable, shared by `Arc`, and named by its content ([`SchemaId`]), so that the same shape met again, in
//! another process or after a restart, has the same name. A source must describe a type so exactly that a target type that
//! loses nothing follows from it alone.

use serde::{Deserialize, Serialize};

use crate::charset::Charset;

/// A table of the source: database and name, as the server spells them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The database (schema) that holds the table.
    pub database: Box<str>,
    /// The table's own name.
    pub table: Box<str>,
}

impl TableName {
    /// Joins the two names.
    #[must_use]
    pub fn new(database: &str, table: &str) -> Self {
        Self { database: database.into(), table: table.into() }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// Which family of text or byte type a column was declared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextForm {
    /// CHAR(n), BINARY(n).
    Fixed,
    /// VARCHAR(n), VARBINARY(n).
    Varying,
    /// TINYTEXT to LONGTEXT, TINYBLOB to LONGBLOB.
    Large,
}

/// Which kinds of geometry a column takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GeometryKind {
    /// Any kind.
    Geometry,
    /// One point.
    Point,
    /// Points joined by a line.
    LineString,
    /// An area, perhaps with holes.
    Polygon,
    /// Several points.
    MultiPoint,
    /// Several lines.
    MultiLineString,
    /// Several areas.
    MultiPolygon,
    /// Several geometries of any kind.
    GeometryCollection,
}

/// The exact type of a column.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ColumnType {
    /// TINYINT (8), SMALLINT (16), MEDIUMINT (24), INT (32), BIGINT (64).
    Integer {
        /// Width in bits.
        bits: u8,
        /// Declared UNSIGNED.
        unsigned: bool,
    },
    /// DECIMAL(precision, scale).
    Decimal {
        /// All digits, up to 65.
        precision: u8,
        /// Digits behind the point, up to 30.
        scale: u8,
    },
    /// Single precision.
    Float,
    /// Double precision.
    Double,
    /// BIT(length).
    Bit {
        /// Number of bits, 1 to 64.
        length: u8,
    },
    /// CHAR, VARCHAR, TEXT.
    Text {
        /// The declared family.
        form: TextForm,
        /// Most bytes that a value can have in its own charset.
        bytes_max: u32,
        /// The declared charset.
        charset: Charset,
    },
    /// BINARY, VARBINARY, BLOB.
    Bytes {
        /// The declared family.
        form: TextForm,
        /// Most bytes that a value can have; for [`TextForm::Fixed`] exactly so many.
        bytes_max: u32,
    },
    /// ENUM.
    Enum {
        /// The members, the first has index 1.
        members: Box<[Box<str>]>,
    },
    /// SET.
    Set {
        /// The members, the first is bit 0.
        members: Box<[Box<str>]>,
    },
    /// DATE.
    Date,
    /// TIME(fraction).
    Time {
        /// Fraction digits, 0 to 6.
        fraction: u8,
    },
    /// DATETIME(fraction).
    DateTime {
        /// Fraction digits, 0 to 6.
        fraction: u8,
    },
    /// TIMESTAMP(fraction).
    Timestamp {
        /// Fraction digits, 0 to 6.
        fraction: u8,
    },
    /// YEAR.
    Year,
    /// JSON.
    Json,
    /// GEOMETRY and the types that take one kind of it.
    Geometry {
        /// The kind that it takes.
        kind: GeometryKind,
    },
    /// VECTOR(dimension).
    Vector {
        /// Most numbers that a value can have.
        dimension: u32,
    },
    /// MariaDB's UUID.
    Uuid,
    /// MariaDB's INET4.
    Inet4,
    /// MariaDB's INET6.
    Inet6,
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// The name as the server spells it.
    pub name: Box<str>,
    /// The exact type.
    #[serde(flatten)]
    pub column_type: ColumnType,
    /// Whether NULL is allowed.
    pub nullable: bool,
}

/// The content-addressed name of a schema: 64 bits of XXH3 over its canonical form, printed as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaId(pub u64);

impl std::fmt::Display for SchemaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::str::FromStr for SchemaId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

/// The shape of a table. Built only by [`TableSchema::new`], which checks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawSchema", into = "RawSchema")]
pub struct TableSchema {
    name: TableName,
    columns: Box<[Column]>,
    key: Box<[usize]>,
    id: SchemaId,
}

#[derive(Clone, Serialize, Deserialize)]
struct RawSchema {
    #[serde(flatten)]
    name: TableName,
    columns: Box<[Column]>,
    key: Box<[usize]>,
}

impl TryFrom<RawSchema> for TableSchema {
    type Error = SchemaError;

    fn try_from(raw: RawSchema) -> Result<Self, SchemaError> {
        Self::new(raw.name, raw.columns, raw.key)
    }
}

impl From<TableSchema> for RawSchema {
    fn from(schema: TableSchema) -> Self {
        Self { name: schema.name, columns: schema.columns, key: schema.key }
    }
}

/// Why columns and key make no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SchemaError {
    /// A key column's index lies outside the columns.
    KeyOutside(TableName),
    /// A column stands twice in the key.
    KeyTwice(TableName),
    /// Two columns have one name.
    ColumnTwice(TableName, Box<str>),
}

impl std::fmt::Display for SchemaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KeyOutside(table) => write!(f, "the key of {table} names a column that does not exist"),
            Self::KeyTwice(table) => write!(f, "the key of {table} names a column twice"),
            Self::ColumnTwice(table, column) => write!(f, "{table} has two columns named {column}"),
        }
    }
}

impl std::error::Error for SchemaError {}

impl TableSchema {
    /// Checks and names a schema. `key` holds column indexes in key order; empty if the table has no usable key.
    pub fn new(
        name: TableName,
        columns: impl Into<Box<[Column]>>,
        key: impl Into<Box<[usize]>>,
    ) -> Result<Self, SchemaError> {
        let (columns, key) = (columns.into(), key.into());
        for (place, index) in key.iter().enumerate() {
            if *index >= columns.len() {
                return Err(SchemaError::KeyOutside(name));
            }
            if key[..place].contains(index) {
                return Err(SchemaError::KeyTwice(name));
            }
        }
        for (place, column) in columns.iter().enumerate() {
            if columns[..place].iter().any(|earlier| earlier.name == column.name) {
                return Err(SchemaError::ColumnTwice(name, column.name.clone()));
            }
        }
        let id = content_id(&name, &columns, &key);
        Ok(Self { name, columns, key, id })
    }

    /// The table.
    #[must_use]
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The columns in table order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The key columns' indexes in key order; empty if the table has no usable key.
    #[must_use]
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// The content-addressed name.
    #[must_use]
    pub fn id(&self) -> SchemaId {
        self.id
    }
}

/// Hashes a form in which every name is preceded by its length, so that no two schemas share it.
fn content_id(name: &TableName, columns: &[Column], key: &[usize]) -> SchemaId {
    use std::fmt::Write as _;
    let mut form = String::from("1;");
    let mut text = |text: &str| write!(form, "{}:{text};", text.len());
    let mut parts = || -> std::fmt::Result {
        text(&name.database)?;
        text(&name.table)?;
        for column in columns {
            text(&column.name)?;
            text(&format!("{:?}", column.column_type))?;
            text(if column.nullable { "null" } else { "not null" })?;
        }
        for index in key {
            text(&index.to_string())?;
        }
        Ok(())
    };
    parts().expect("invariant: writing to a String can't fail");
    SchemaId(xxhash_rust::xxh3::xxh3_64(form.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> Column {
        Column { name: name.into(), column_type: ColumnType::Integer { bits: 64, unsigned: true }, nullable: false }
    }

    fn schema(columns: &[&str], key: &[usize]) -> Result<TableSchema, SchemaError> {
        let columns: Vec<Column> = columns.iter().map(|name| column(name)).collect();
        TableSchema::new(TableName::new("shop", "orders"), columns, key)
    }

    #[test]
    fn refuses_what_is_no_schema() {
        let table = TableName::new("shop", "orders");
        assert_eq!(schema(&["a"], &[1]), Err(SchemaError::KeyOutside(table.clone())));
        assert_eq!(schema(&["a"], &[0, 0]), Err(SchemaError::KeyTwice(table.clone())));
        assert_eq!(schema(&["a", "a"], &[0]), Err(SchemaError::ColumnTwice(table, "a".into())));
    }

    #[test]
    fn id_follows_content_and_survives_json() {
        let one = schema(&["a", "b"], &[0]).unwrap();
        assert_eq!(one.id(), schema(&["a", "b"], &[0]).unwrap().id());
        assert_ne!(one.id(), schema(&["a", "b"], &[1]).unwrap().id());
        assert_ne!(one.id(), schema(&["ab"], &[0]).unwrap().id());
        let json = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<TableSchema>(&json).unwrap(), one, "{json}");
        assert_eq!(one.id().to_string().parse::<SchemaId>().unwrap(), one.id());
    }
}
