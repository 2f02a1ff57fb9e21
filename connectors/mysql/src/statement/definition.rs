//! The definition of a column in ALTER TABLE: its type, whether NULL is allowed, and what rows have in it that were there before.

use tailrace_contract::Fill;
use tailrace_row::{Charset, Column, ColumnType};

use super::{
    data_type::{DataType, charset_of_collation},
    default::{Default, fill, implicit},
    dialect::Dialect,
    tokens::Token,
    words::Words,
};
use crate::{row_decoder::charset::Encoding, shapes::ColumnPlace};

/// A column as it is defined.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) column: Column,
    pub(super) fill: Fill,
    /// It becomes the primary key.
    pub(super) is_primary: bool,
    /// The server computes its values.
    pub(super) is_generated: bool,
    /// Where it is put, if that is said.
    pub(super) place: Option<ColumnPlace>,
    /// The charset that it is declared with, if that is not left to the table's.
    pub(super) charset: Option<Encoding>,
}

/// What was read of a definition behind its type.
#[derive(std::default::Default)]
struct Attributes {
    /// As declared: NULL or NOT NULL.
    nullable: Option<bool>,
    default: Option<Default>,
    charset: Option<Encoding>,
    is_primary: bool,
    is_generated: bool,
    is_numbered: bool,
    place: Option<ColumnPlace>,
}

impl Definition {
    /// Reads what stands behind the name. The error is the end of a sentence that says why it can't be followed.
    pub(super) fn read(name: Box<str>, words: &mut Words<'_>, dialect: &Dialect) -> Result<Self, String> {
        let data_type = DataType::read(words, dialect)?;
        let mut attributes = Attributes { is_numbered: data_type.is_serial, ..Attributes::default() };
        while !words.is_empty() && !words.are_next(&["PARTITION", "BY"]) && !words.are_next(&["REMOVE", "PARTITIONING"])
        {
            attributes.read(words)?;
        }
        // What stands open is the table's; every text of its charset is one of this charset too.
        const OPEN: Encoding = Encoding::Text(Charset::Utf8mb4);
        let charset = data_type.charset.clone().or(attributes.charset.clone());
        let column_type = data_type.finish(charset.as_ref().unwrap_or(&OPEN))?;
        let nullable = attributes.is_nullable(&column_type, dialect)?;
        let fill = attributes.fill(&column_type, nullable, dialect);
        let column = Column { name, column_type, nullable };
        let Attributes { is_primary, is_generated, place, .. } = attributes;
        Ok(Self { column, fill, is_primary, is_generated, place, charset })
    }
}

impl Attributes {
    /// Reads the next one.
    fn read(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        if words.skip_all(&["NOT", "NULL"]) {
            self.nullable = Some(false);
        } else if words.skip("NULL") {
            self.nullable = Some(true);
        } else if words.skip("DEFAULT") {
            self.default = Some(Default::read(words)?);
        } else if words.skip("AUTO_INCREMENT") || words.skip_all(&["SERIAL", "DEFAULT", "VALUE"]) {
            self.is_numbered = true;
        } else if words.skip_all(&["ON", "UPDATE"]) {
            words.name();
            words.parenthesised();
        } else if words.skip("UNIQUE") {
            words.skip("KEY");
        } else if words.skip("PRIMARY") || words.is_next("KEY") {
            words.skip("KEY");
            self.is_primary = true;
        } else if words.skip("COLLATE") {
            self.charset = self.charset.take().or(words.name_or_text().and_then(|name| charset_of_collation(&name)));
        } else if words.skip_all(&["GENERATED", "ALWAYS"]) || words.is_next("AS") {
            self.read_generated(words)?;
        } else if words.skip("FIRST") {
            self.place = Some(ColumnPlace::First);
        } else if words.skip("AFTER") {
            self.place =
                Some(ColumnPlace::After(words.name().ok_or_else(|| "the name of a column is missing".to_owned())?));
        } else {
            return read_other(words);
        }
        Ok(())
    }

    fn read_generated(&mut self, words: &mut Words<'_>) -> Result<(), String> {
        self.is_generated = true;
        words.skip("AS");
        if words.skip("ROW") {
            return Err("it makes the table a versioned one".to_owned());
        }
        words.parenthesised().ok_or_else(|| "a generated column has no expression".to_owned())?;
        words.skip_of(&["VIRTUAL", "STORED", "PERSISTENT"]);
        Ok(())
    }

    fn is_nullable(&self, column_type: &ColumnType, dialect: &Dialect) -> Result<bool, String> {
        if self.is_primary || self.is_numbered {
            return Ok(false);
        }
        match (self.nullable, column_type, dialect.has_plain_timestamps) {
            (Some(nullable), ..) => Ok(nullable),
            (None, ColumnType::Timestamp { .. }, Some(false)) => Ok(false),
            (None, ColumnType::Timestamp { .. }, None) => Err("whether NULL is allowed is not said".to_owned()),
            (None, ..) => Ok(true),
        }
    }

    fn fill(&self, column_type: &ColumnType, nullable: bool, dialect: &Dialect) -> Fill {
        let unknown = |why: &str| Fill::Unknown(why.to_owned());
        match &self.default {
            _ if self.is_generated => unknown("the server computes its values"),
            _ if self.is_numbered => unknown("each row gets a number of its own"),
            // The first such column has the present time by default.
            None if self.nullable.is_none() && !nullable && matches!(column_type, ColumnType::Timestamp { .. }) => {
                unknown("it has the time of the statement")
            }
            None if nullable => Fill::Null,
            None => implicit(column_type),
            Some(default) => fill(default, column_type, nullable, dialect),
        }
    }
}

/// Attributes that say nothing of a column's values.
fn read_other(words: &mut Words<'_>) -> Result<(), String> {
    const FLAGS: [&str; 3] = ["VISIBLE", "INVISIBLE", "ENFORCED"];
    const VALUES: [&str; 7] = [
        "COMMENT",
        "COLUMN_FORMAT",
        "STORAGE",
        "ENGINE_ATTRIBUTE",
        "SECONDARY_ENGINE_ATTRIBUTE",
        "SRID",
        "REF_SYSTEM_ID",
    ];
    const PHRASES: [&[&str]; 4] = [
        &["NOT", "SECONDARY"],
        &["NOT", "ENFORCED"],
        &["WITH", "SYSTEM", "VERSIONING"],
        &["WITHOUT", "SYSTEM", "VERSIONING"],
    ];
    if words.skip_of(&FLAGS) || PHRASES.iter().any(|phrase| words.skip_all(phrase)) {
        return Ok(());
    }
    if words.skip_of(&VALUES) {
        words.skip_symbol(b'=');
        words.next();
        return Ok(());
    }
    if words.skip("CONSTRAINT") {
        if !words.is_next("CHECK") {
            words.name();
        }
        return Ok(());
    }
    if words.skip("CHECK") {
        return words.parenthesised().map(drop).ok_or_else(|| "a check has no condition".to_owned());
    }
    if words.skip("REFERENCES") {
        read_reference(words);
        return Ok(());
    }
    match words.next() {
        // What a storage engine of MariaDB is told.
        Some(Token::Word(_) | Token::Name(_)) if words.skip_symbol(b'=') => {
            words.next();
            Ok(())
        }
        Some(Token::Word(word)) => Err(format!("the word {} is not understood", String::from_utf8_lossy(word))),
        Some(Token::Name(_) | Token::Text(_) | Token::Symbol(_)) | None => {
            Err("a column's definition is not understood".to_owned())
        }
    }
}

fn read_reference(words: &mut Words<'_>) {
    words.name();
    if words.skip_symbol(b'.') {
        words.name();
    }
    words.parenthesised();
    if words.skip("MATCH") {
        words.next();
    }
    while words.skip_all(&["ON", "DELETE"]) || words.skip_all(&["ON", "UPDATE"]) {
        if !words.skip_of(&["RESTRICT", "CASCADE"]) {
            words.next();
            words.next();
        }
    }
}
