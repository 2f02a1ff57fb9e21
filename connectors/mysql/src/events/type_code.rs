//! Type codes of columns, as table maps have them.
//!
//! Whoever looks at one matches over all of them, so that a code which is added here does not compile until each of these
//! places knows it.

/// The type of a column, and how many bytes a table map says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum TypeCode {
    #[default]
    Null,
    Tiny,
    Short,
    Long,
    LongLong,
    Int24,
    Float,
    Double,
    /// DECIMAL before MySQL 5.0, as text.
    OldDecimal,
    NewDecimal,
    Bit,
    /// DATE in whatever form a table keeps it: in the binlog it has three bytes.
    Date,
    /// DATE as tables keep it; no table map has it.
    NewDate,
    Year,
    /// TIME, DATETIME and TIMESTAMP of MySQL 5.5 and MariaDB 5.3.
    OldTime,
    OldDateTime,
    OldTimestamp,
    Time,
    DateTime,
    Timestamp,
    Varchar,
    /// CHAR and BINARY, and in table maps also ENUM and SET, whose details say it.
    Char,
    /// VARCHAR of MySQL 4.
    OldVarchar,
    Enum,
    Set,
    /// TEXT and BLOB of any size.
    Blob,
    /// The sizes have codes of their own, which no table map has.
    SizedBlob,
    Json,
    Geometry,
    Vector,
    /// The values of a multi-valued index; no column of a table has it.
    TypedArray,
    /// MariaDB's COMPRESSED columns.
    CompressedVarchar,
    CompressedBlob,
    Unknown(u8),
}

impl TypeCode {
    pub(crate) fn of(code: u8) -> Self {
        match code {
            0 => Self::OldDecimal,
            1 => Self::Tiny,
            2 => Self::Short,
            3 => Self::Long,
            4 => Self::Float,
            5 => Self::Double,
            6 => Self::Null,
            7 => Self::OldTimestamp,
            8 => Self::LongLong,
            9 => Self::Int24,
            10 => Self::Date,
            11 => Self::OldTime,
            12 => Self::OldDateTime,
            13 => Self::Year,
            14 => Self::NewDate,
            15 => Self::Varchar,
            16 => Self::Bit,
            17 => Self::Timestamp,
            18 => Self::DateTime,
            19 => Self::Time,
            20 => Self::TypedArray,
            140 => Self::CompressedBlob,
            141 => Self::CompressedVarchar,
            242 => Self::Vector,
            245 => Self::Json,
            246 => Self::NewDecimal,
            247 => Self::Enum,
            248 => Self::Set,
            249..=251 => Self::SizedBlob,
            252 => Self::Blob,
            253 => Self::OldVarchar,
            254 => Self::Char,
            255 => Self::Geometry,
            unknown => Self::Unknown(unknown),
        }
    }
}
