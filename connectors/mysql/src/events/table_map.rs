//! The table map: names and shape of the table that the following rows events change.
//!
//! With `binlog_row_metadata=FULL` it says everything a schema needs: names, signs, collations, members, the primary key.
//! Names are read for every table map; the shape only where the table is captured and its map is new.

use super::TypeCode;
use crate::protocol::{Cursor, Malformed};

const BAD: Malformed = Malformed::new("table map");

/// The server's own limit.
const COLUMNS_MAX: usize = 4096;

/// Id and names; the shape is still bytes.
#[derive(Clone, Copy)]
pub(crate) struct TableMap<'a> {
    pub(crate) table_id: u64,
    pub(crate) database: &'a str,
    pub(crate) table: &'a str,
    shape: &'a [u8],
}

impl<'a> TableMap<'a> {
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let table_id = cursor.u48()?;
        cursor.u16()?;
        let database = name(&mut cursor)?;
        let table = name(&mut cursor)?;
        Ok(Self { table_id, database, table, shape: cursor.rest() })
    }

    /// The columns. If the server does not send their names (`binlog_row_metadata=MINIMAL`) it sends neither members nor the key.
    /// MariaDB counts more columns among those with a collation than MySQL.
    pub(crate) fn shape(&self, is_mariadb: bool) -> Result<TableShape<'a>, Malformed> {
        let mut cursor = Cursor::new(self.shape);
        let count = cursor.packed_len()?;
        let types = cursor.take(count)?;
        let mut details = Cursor::new(cursor.packed_bytes()?);
        let nulls = cursor.take(count.div_ceil(8))?;
        let mut names = find(cursor, field::COLUMN_NAMES)?.map(Cursor::new);
        if count > COLUMNS_MAX {
            return Err(BAD);
        }
        let mut columns = Vec::with_capacity(count);
        let mut has_unknown_type = false;
        for (at, code) in types.iter().enumerate() {
            let name = match &mut names {
                Some(names) => std::str::from_utf8(names.packed_bytes()?).map_err(|_| BAD)?,
                None => "",
            };
            // Behind a type that nobody knows the details can't be told apart. The row decoder refuses the table for it.
            let code = TypeCode::of(*code);
            let known = if has_unknown_type { None } else { detail(code, &mut details)? };
            has_unknown_type = known.is_none();
            let (code, detail) = known.unwrap_or((code, 0));
            let nullable = nulls[at / 8] >> (at % 8) & 1 == 1;
            columns.push(ColumnShape { name, code, detail, nullable, ..ColumnShape::default() });
        }
        let kinds = if is_mariadb { Kinds::MARIADB } else { Kinds::MYSQL };
        let mut shape = TableShape { columns, primary_key: Vec::new(), has_names: names.is_some() };
        while !cursor.is_empty() {
            let number = cursor.u8()?;
            shape.read_field(number, Cursor::new(cursor.packed_bytes()?), kinds)?;
        }
        Ok(shape)
    }
}

/// One column as the table map describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ColumnShape<'a> {
    pub(crate) name: &'a str,
    /// The type; ENUM and SET, which travel as strings, are told apart already.
    pub(crate) code: TypeCode,
    /// Lengths or digits, as the type has them: the first byte is the low one.
    pub(crate) detail: u16,
    /// The type that only the dictionary knows, where the code is that of another one.
    pub(crate) disguised: Option<Disguised>,
    pub(crate) nullable: bool,
    pub(crate) unsigned: bool,
    pub(crate) collation: Option<u64>,
    /// Of ENUM and SET, in the column's charset.
    pub(crate) members: Vec<&'a [u8]>,
    /// The kind of a GEOMETRY, by its number in well-known binary.
    pub(crate) geometry: Option<u64>,
    /// Of VECTOR.
    pub(crate) dimension: Option<u64>,
}

/// Types that look like BINARY in MariaDB's table maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disguised {
    Uuid,
    Inet4,
    Inet6,
}

/// All columns and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableShape<'a> {
    pub(crate) columns: Vec<ColumnShape<'a>>,
    /// Columns of the primary key in key order.
    pub(crate) primary_key: Vec<usize>,
    /// The columns have their names, and all else that goes with them.
    pub(crate) has_names: bool,
}

impl<'a> TableShape<'a> {
    fn read_field(&mut self, number: u8, mut value: Cursor<'a>, kinds: Kinds) -> Result<(), Malformed> {
        match number {
            field::SIGNS => self.read_signs(value.rest()),
            field::DEFAULT_COLLATION => self.read_default_collation(kinds.is_text, value),
            field::COLLATIONS => self.read_collations(kinds.is_text, value),
            field::MEMBER_DEFAULT_COLLATION => self.read_default_collation(has_members, value),
            field::MEMBER_COLLATIONS => self.read_collations(has_members, value),
            field::SET_MEMBERS => self.read_members(TypeCode::Set, value),
            field::ENUM_MEMBERS => self.read_members(TypeCode::Enum, value),
            field::GEOMETRY_TYPES => {
                self.read_numbers(TypeCode::Geometry, value, |column, number| column.geometry = Some(number))
            }
            field::VECTOR_DIMENSIONS => {
                self.read_numbers(TypeCode::Vector, value, |column, number| column.dimension = Some(number))
            }
            field::PRIMARY_KEY => {
                while !value.is_empty() {
                    self.add_key_column(value.packed_len()?)?;
                }
                Ok(())
            }
            // A key over the first bytes of a column: the whole column identifies the row as well.
            field::PRIMARY_KEY_WITH_PREFIXES => {
                while !value.is_empty() {
                    self.add_key_column(value.packed_len()?)?;
                    value.packed()?;
                }
                Ok(())
            }
            // Names are read before; visibility says nothing about values.
            _ => Ok(()),
        }
    }

    fn add_key_column(&mut self, column: usize) -> Result<(), Malformed> {
        if column >= self.columns.len() || self.primary_key.contains(&column) {
            return Err(BAD);
        }
        self.primary_key.push(column);
        Ok(())
    }

    /// One bit per numeric column, the highest bit of a byte first. A YEAR is always without a sign: where its bit says otherwise, the
    /// server counts in another way, and the signs of the columns behind it would be each other's.
    fn read_signs(&mut self, bits: &[u8]) -> Result<(), Malformed> {
        let numeric = self.columns.iter_mut().filter(|column| is_numeric(column.code));
        for (at, column) in numeric.enumerate() {
            let byte = bits.get(at / 8).ok_or(BAD)?;
            column.unsigned = byte << (at % 8) & 0x80 != 0;
            if column.code == TypeCode::Year && !column.unsigned {
                return Err(Malformed::new("table map: a YEAR with a sign"));
            }
        }
        Ok(())
    }

    fn read_collations(&mut self, concerns: fn(TypeCode) -> bool, mut value: Cursor<'_>) -> Result<(), Malformed> {
        for column in self.columns.iter_mut().filter(|column| concerns(column.code)) {
            column.collation = Some(value.packed()?);
        }
        Ok(())
    }

    /// The collation of most columns, then those that differ, counted among the columns concerned.
    fn read_default_collation(
        &mut self,
        concerns: fn(TypeCode) -> bool,
        mut value: Cursor<'_>,
    ) -> Result<(), Malformed> {
        let default = value.packed()?;
        let mut columns: Vec<&mut ColumnShape<'_>> =
            self.columns.iter_mut().filter(|column| concerns(column.code)).collect();
        columns.iter_mut().for_each(|column| column.collation = Some(default));
        while !value.is_empty() {
            let at = value.packed_len()?;
            columns.get_mut(at).ok_or(BAD)?.collation = Some(value.packed()?);
        }
        Ok(())
    }

    /// One number for each column of the type.
    fn read_numbers(
        &mut self,
        code: TypeCode,
        mut value: Cursor<'_>,
        set: fn(&mut ColumnShape<'_>, u64),
    ) -> Result<(), Malformed> {
        for column in self.columns.iter_mut().filter(|column| column.code == code) {
            set(column, value.packed()?);
        }
        Ok(())
    }

    fn read_members(&mut self, code: TypeCode, mut value: Cursor<'a>) -> Result<(), Malformed> {
        for column in self.columns.iter_mut().filter(|column| column.code == code) {
            for _ in 0..value.packed()? {
                column.members.push(value.packed_bytes()?);
            }
        }
        Ok(())
    }
}

/// Numbers of the optional fields.
mod field {
    pub(super) const SIGNS: u8 = 1;
    pub(super) const DEFAULT_COLLATION: u8 = 2;
    pub(super) const COLLATIONS: u8 = 3;
    pub(super) const COLUMN_NAMES: u8 = 4;
    pub(super) const SET_MEMBERS: u8 = 5;
    pub(super) const ENUM_MEMBERS: u8 = 6;
    pub(super) const GEOMETRY_TYPES: u8 = 7;
    pub(super) const PRIMARY_KEY: u8 = 8;
    pub(super) const PRIMARY_KEY_WITH_PREFIXES: u8 = 9;
    pub(super) const MEMBER_DEFAULT_COLLATION: u8 = 10;
    pub(super) const MEMBER_COLLATIONS: u8 = 11;
    pub(super) const VECTOR_DIMENSIONS: u8 = 13;
}

/// To both servers a YEAR is a number that has a sign.
fn is_numeric(code: TypeCode) -> bool {
    use TypeCode as T;
    matches!(
        code,
        T::Tiny | T::Short | T::Int24 | T::Long | T::LongLong | T::NewDecimal | T::Float | T::Double | T::Year
    )
}

/// Which columns an optional field counts: the servers differ.
#[derive(Clone, Copy)]
struct Kinds {
    is_text: fn(TypeCode) -> bool,
}

impl Kinds {
    const MYSQL: Self = Self { is_text: is_text_of_mysql };
    const MARIADB: Self = Self { is_text: is_text_of_mariadb };
}

fn is_text(code: TypeCode) -> bool {
    matches!(code, TypeCode::Char | TypeCode::OldVarchar | TypeCode::Varchar | TypeCode::Blob)
}

/// The same for MySQL's table maps: a VECTOR is stored as a BLOB, and counted as one.
fn is_text_of_mysql(code: TypeCode) -> bool {
    is_text(code) || code == TypeCode::Vector
}

/// The same for MariaDB's table maps.
fn is_text_of_mariadb(code: TypeCode) -> bool {
    is_text(code) || matches!(code, TypeCode::Geometry | TypeCode::CompressedBlob | TypeCode::CompressedVarchar)
}

fn has_members(code: TypeCode) -> bool {
    matches!(code, TypeCode::Enum | TypeCode::Set)
}

/// The value of an optional field, if it is there.
fn find(mut fields: Cursor<'_>, wanted: u8) -> Result<Option<&[u8]>, Malformed> {
    while !fields.is_empty() {
        let number = fields.u8()?;
        let value = fields.packed_bytes()?;
        if number == wanted {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn name<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Malformed> {
    let length = usize::from(cursor.u8()?);
    let name = cursor.take(length)?;
    cursor.take(1)?;
    std::str::from_utf8(name).map_err(|_| BAD)
}

/// The true type and its detail, `None` for an unknown type. A string's two bytes hold the true type and, in two bits of it,
/// the length's high part.
fn detail(code: TypeCode, details: &mut Cursor<'_>) -> Result<Option<(TypeCode, u16)>, Malformed> {
    use TypeCode as T;
    let (code, detail) = match code {
        T::Float | T::Double | T::Blob | T::Json | T::Geometry | T::Vector | T::CompressedBlob => {
            (code, u16::from(details.u8()?))
        }
        T::Timestamp | T::DateTime | T::Time => (code, u16::from(details.u8()?)),
        T::Varchar | T::CompressedVarchar | T::Bit | T::NewDecimal | T::OldVarchar => (code, details.u16()?),
        T::Char | T::Enum | T::Set => {
            let [first, second] = details.array()?;
            let high = u16::from(first & 0x30 ^ 0x30) << 4;
            (TypeCode::of(first | 0x30), high | u16::from(second))
        }
        T::Tiny | T::Short | T::Int24 | T::Long | T::LongLong | T::Date | T::Year => (code, 0),
        T::Null
        | T::OldDecimal
        | T::NewDate
        | T::OldTime
        | T::OldDateTime
        | T::OldTimestamp
        | T::SizedBlob
        | T::TypedArray
        | T::Unknown(_) => return Ok(None),
    };
    Ok(Some((code, detail)))
}
