//! Data types as column definitions write them, with all their other names.

use tailrace_row::{Charset, ColumnType, GeometryKind, TextForm};

use super::{dialect::Dialect, tokens::Token, words::Words};
use crate::row_decoder::charset::Encoding;

/// A declared type. What bytes a text has follows from its charset, which may stand further behind.
pub(super) struct DataType {
    form: Form,
    /// The charset that stands with the type.
    pub(super) charset: Option<Encoding>,
    /// SERIAL stands for more than a type.
    pub(super) is_serial: bool,
}

enum Form {
    /// Nothing is open.
    Complete(ColumnType),
    /// CHAR and VARCHAR, of so many characters.
    Characters { form: TextForm, count: u64 },
    /// TEXT of so many bytes.
    Large { bytes_max: u32 },
    /// TEXT for so many characters.
    LargeOf { count: u64 },
}

const TINY: u32 = 0xff;
const PLAIN: u32 = 0xffff;
const MEDIUM: u32 = 0xff_ffff;
const LONG: u32 = u32::MAX;

impl DataType {
    /// Reads a type; the error names what is not one.
    pub(super) fn read(words: &mut Words<'_>, dialect: &Dialect) -> Result<Self, String> {
        let Some(Token::Word(word)) = words.next() else { return Err("a type is missing".to_owned()) };
        let word = String::from_utf8_lossy(word).to_ascii_uppercase();
        if dialect.has_other_types() {
            return Err(format!("its sql_mode gives types other meanings ({word})"));
        }
        let mut read = Self { form: Form::Complete(ColumnType::Year), charset: None, is_serial: word == "SERIAL" };
        read.form = match number(&word, words, dialect) {
            Some(column_type) => Form::Complete(column_type?),
            None => match text(&word, words, &mut read.charset)? {
                Some(form) => form,
                None => Form::Complete(other(&word, words, dialect)?),
            },
        };
        if !matches!(read.form, Form::Complete(_))
            || matches!(read.form, Form::Complete(ColumnType::Enum { .. } | ColumnType::Set { .. }))
        {
            read.charset_words(words)?;
        }
        Ok(read)
    }

    /// The charset where it stands with the type: CHARACTER SET, and its shorter forms.
    fn charset_words(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        loop {
            if words.skip_all(&["CHARACTER", "SET"]) || words.skip_all(&["CHAR", "SET"]) || words.skip("CHARSET") {
                self.charset = Some(charset(words)?);
            } else if words.skip("ASCII") {
                self.charset = Some(Encoding::Text(Charset::Latin1));
            } else if words.skip("UNICODE") {
                self.charset = Some(Encoding::Text(Charset::Ucs2));
            } else if words.skip("BYTE") {
                self.charset = Some(Encoding::Binary);
            } else if !words.skip("BINARY") {
                return Ok(());
            }
        }
    }

    /// The type of the column, if its texts have this charset.
    pub(super) fn finish(self, charset: &Encoding) -> Result<ColumnType, String> {
        let (form, bytes_max) = match (self.form, charset) {
            (Form::Complete(column_type), _) => return Ok(column_type),
            (_, Encoding::Unsupported(charset)) => return Err(format!("its charset {charset} is not known")),
            (Form::Large { bytes_max }, _) => (TextForm::Large, bytes_max),
            (Form::LargeOf { count }, charset) => (TextForm::Large, large(count.saturating_mul(bytes_each(charset)))),
            (Form::Characters { form, count }, charset) => {
                let bytes = count.saturating_mul(bytes_each(charset));
                match u32::try_from(bytes) {
                    Ok(bytes) if bytes <= PLAIN => (form, bytes),
                    // Outside of its strict mode the server takes a TEXT.
                    Ok(_) | Err(_) => (TextForm::Large, large(bytes)),
                }
            }
        };
        Ok(match charset {
            Encoding::Text(charset) => ColumnType::Text { form, bytes_max, charset: *charset },
            Encoding::Binary | Encoding::Unsupported(_) => ColumnType::Bytes { form, bytes_max },
        })
    }
}

fn bytes_each(charset: &Encoding) -> u64 {
    match charset {
        Encoding::Text(charset) => charset.bytes_each_max().into(),
        Encoding::Binary | Encoding::Unsupported(_) => 1,
    }
}

/// The smallest size of TEXT and BLOB that has room for so many bytes.
fn large(bytes: u64) -> u32 {
    [TINY, PLAIN, MEDIUM].into_iter().find(|size| bytes <= u64::from(*size)).unwrap_or(LONG)
}

/// A charset by its name.
pub(super) fn charset(words: &mut Words<'_>) -> Result<Encoding, String> {
    let name = words.name_or_text();
    name.map(|name| Encoding::of(&name.to_ascii_lowercase())).ok_or_else(|| "a charset is missing".to_owned())
}

/// The charset of a collation, which begins with its name; none for those of MariaDB that go with any charset.
pub(super) fn charset_of_collation(name: &str) -> Option<Encoding> {
    let name = name.to_ascii_lowercase();
    match Encoding::of(name.split('_').next().unwrap_or_default()) {
        Encoding::Unsupported(_) => None,
        known @ (Encoding::Text(_) | Encoding::Binary) => Some(known),
    }
}

fn number(word: &str, words: &mut Words<'_>, dialect: &Dialect) -> Option<Result<ColumnType, String>> {
    let bits = match word {
        "TINYINT" | "INT1" => 8,
        "SMALLINT" | "INT2" => 16,
        "MEDIUMINT" | "MIDDLEINT" | "INT3" => 24,
        "INT" | "INTEGER" | "INT4" => 32,
        "BIGINT" | "INT8" => 64,
        "BOOL" | "BOOLEAN" => return Some(Ok(ColumnType::Integer { bits: 8, unsigned: false })),
        "SERIAL" => return Some(Ok(ColumnType::Integer { bits: 64, unsigned: true })),
        _ => return real(word, words, dialect),
    };
    Some(lengths(words).map(|_| ColumnType::Integer { bits, unsigned: unsigned(words) }))
}

fn real(word: &str, words: &mut Words<'_>, dialect: &Dialect) -> Option<Result<ColumnType, String>> {
    if !matches!(word, "DECIMAL" | "DEC" | "NUMERIC" | "FIXED" | "FLOAT" | "FLOAT4" | "DOUBLE" | "FLOAT8" | "REAL") {
        return None;
    }
    if word == "DOUBLE" {
        words.skip("PRECISION");
    }
    let column_type = lengths(words).and_then(|lengths| match (word, lengths) {
        ("FLOAT", (Some(25..), None)) | ("DOUBLE" | "FLOAT8", _) => Ok(ColumnType::Double),
        ("FLOAT" | "FLOAT4", _) => Ok(ColumnType::Float),
        ("REAL", _) if dialect.is_real_float() => Ok(ColumnType::Float),
        ("REAL", _) => Ok(ColumnType::Double),
        (_, (precision, scale)) => {
            let small = |number: u64| u8::try_from(number).map_err(|_| format!("DECIMAL({number}) is no type"));
            // The server takes 0 digits for as many as there are by default.
            let precision = precision.filter(|digits| *digits > 0).unwrap_or(10);
            Ok(ColumnType::Decimal { precision: small(precision)?, scale: small(scale.unwrap_or(0))? })
        }
    });
    unsigned(words);
    Some(column_type)
}

fn unsigned(words: &mut Words<'_>) -> bool {
    let mut is_unsigned = false;
    loop {
        if words.skip("UNSIGNED") || words.skip("ZEROFILL") {
            is_unsigned = true;
        } else if !words.skip("SIGNED") {
            return is_unsigned;
        }
    }
}

/// One or two numbers in parentheses, if any.
fn lengths(words: &mut Words<'_>) -> Result<(Option<u64>, Option<u64>), String> {
    let Some(mut inner) = words.parenthesised() else { return Ok((None, None)) };
    let bad = || "a type's length is no number".to_owned();
    let first = inner.number().ok_or_else(bad)?;
    if !inner.skip_symbol(b',') {
        return Ok((Some(first), None));
    }
    Ok((Some(first), Some(inner.number().ok_or_else(bad)?)))
}

fn text(word: &str, words: &mut Words<'_>, charset: &mut Option<Encoding>) -> Result<Option<Form>, String> {
    const NATIONAL: Encoding = Encoding::Text(Charset::Utf8mb3);
    let varying = |words: &mut Words<'_>| words.skip_of(&["VARYING", "VARCHAR", "VARCHARACTER"]);
    let form = match word {
        "CHAR" | "CHARACTER" => {
            if varying(words) {
                TextForm::Varying
            } else {
                TextForm::Fixed
            }
        }
        "VARCHAR" | "VARCHARACTER" => TextForm::Varying,
        "NCHAR" | "NVARCHAR" => {
            *charset = Some(NATIONAL);
            if varying(words) || word == "NVARCHAR" { TextForm::Varying } else { TextForm::Fixed }
        }
        "NATIONAL" => {
            *charset = Some(NATIONAL);
            let is_varying = varying(words);
            if !is_varying {
                words.skip_of(&["CHAR", "CHARACTER"]);
            }
            if is_varying || varying(words) { TextForm::Varying } else { TextForm::Fixed }
        }
        "LONG" => {
            if words.skip("VARBINARY") {
                return Ok(Some(Form::Complete(ColumnType::Bytes { form: TextForm::Large, bytes_max: MEDIUM })));
            }
            words.skip_of(&["CHAR", "CHARACTER"]);
            varying(words);
            return Ok(Some(Form::Large { bytes_max: MEDIUM }));
        }
        "TINYTEXT" => return Ok(Some(Form::Large { bytes_max: TINY })),
        "MEDIUMTEXT" => return Ok(Some(Form::Large { bytes_max: MEDIUM })),
        "LONGTEXT" => return Ok(Some(Form::Large { bytes_max: LONG })),
        "TEXT" => {
            let count = lengths(words)?.0.filter(|count| *count > 0);
            return Ok(Some(count.map_or(Form::Large { bytes_max: PLAIN }, |count| Form::LargeOf { count })));
        }
        _ => return Ok(None),
    };
    let count = lengths(words)?.0;
    Ok(Some(Form::Characters { form, count: count.unwrap_or(1) }))
}

fn other(word: &str, words: &mut Words<'_>, dialect: &Dialect) -> Result<ColumnType, String> {
    let bytes = |form, bytes_max| ColumnType::Bytes { form, bytes_max };
    let large = |bytes_max| ColumnType::Bytes { form: TextForm::Large, bytes_max };
    if let "ENUM" | "SET" = word {
        let members = members(words).ok_or_else(|| "its members can't be read".to_owned())?;
        return Ok(if word == "SET" { ColumnType::Set { members } } else { ColumnType::Enum { members } });
    }
    if let Some(kind) = geometry(word) {
        return Ok(ColumnType::Geometry { kind });
    }
    let length = lengths(words)?.0;
    let small = |length: Option<u64>, default: u8| {
        u8::try_from(length.unwrap_or(default.into())).map_err(|_| format!("{word} has no such length"))
    };
    let wide =
        |length: Option<u64>| u32::try_from(length.unwrap_or(1)).map_err(|_| format!("{word} has no such length"));
    Ok(match word {
        "BIT" => ColumnType::Bit { length: small(length, 1)? },
        "BINARY" => bytes(TextForm::Fixed, wide(length)?),
        "VARBINARY" => match wide(length)? {
            length if length <= PLAIN => bytes(TextForm::Varying, length),
            length => large(self::large(length.into())),
        },
        "TINYBLOB" => large(TINY),
        "BLOB" => large(length.filter(|length| *length > 0).map_or(PLAIN, self::large)),
        "MEDIUMBLOB" => large(MEDIUM),
        "LONGBLOB" => large(LONG),
        "DATE" => ColumnType::Date,
        "TIME" => ColumnType::Time { fraction: small(length, 0)? },
        "DATETIME" => ColumnType::DateTime { fraction: small(length, 0)? },
        "TIMESTAMP" => ColumnType::Timestamp { fraction: small(length, 0)? },
        "YEAR" => {
            unsigned(words);
            ColumnType::Year
        }
        "JSON" if dialect.is_mariadb => {
            ColumnType::Text { form: TextForm::Large, bytes_max: LONG, charset: Charset::Utf8mb4 }
        }
        "JSON" => ColumnType::Json,
        "VECTOR" if !dialect.is_mariadb => {
            const DIMENSION: u64 = 2048;
            ColumnType::Vector { dimension: wide(length.or(Some(DIMENSION)))? }
        }
        "UUID" if dialect.is_mariadb => ColumnType::Uuid,
        "INET4" if dialect.is_mariadb => ColumnType::Inet4,
        "INET6" if dialect.is_mariadb => ColumnType::Inet6,
        _ => return Err(format!("its type {word} is not supported")),
    })
}

fn geometry(word: &str) -> Option<GeometryKind> {
    Some(match word {
        "GEOMETRY" => GeometryKind::Geometry,
        "POINT" => GeometryKind::Point,
        "LINESTRING" => GeometryKind::LineString,
        "POLYGON" => GeometryKind::Polygon,
        "MULTIPOINT" => GeometryKind::MultiPoint,
        "MULTILINESTRING" => GeometryKind::MultiLineString,
        "MULTIPOLYGON" => GeometryKind::MultiPolygon,
        "GEOMETRYCOLLECTION" | "GEOMCOLLECTION" => GeometryKind::GeometryCollection,
        _ => return None,
    })
}

/// Members as the server keeps them: without spaces at their ends.
fn members(words: &mut Words<'_>) -> Option<Box<[Box<str>]>> {
    let list = words.parenthesised()?;
    list.split()
        .map(|mut one| match (one.next()?, one.is_empty()) {
            (Token::Text(text), true) => {
                let text = std::str::from_utf8(text).ok().filter(|text| !text.contains('\u{fffd}'))?;
                Some(Box::from(text.trim_end_matches(' ')))
            }
            _ => None,
        })
        .collect()
}
