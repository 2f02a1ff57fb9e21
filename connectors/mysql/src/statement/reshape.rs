//! What a statement does to the shape of tables: the order and names of their columns, the members of ENUM and SET, the primary key.
//!
//! [`TableAct`](tailrace_contract::TableAct) says what becomes of a captured table's rows and of its target. Here nothing but the shape
//! counts, of any table: rows that come without names are read by it. What is not wholly understood is told as such, never as nothing.

use tailrace_row::{Charset, ColumnType, TableName};

use super::{
    Captured, Object, Reader,
    alter::{self, is_about_partitions, is_complete, is_key, is_order_item},
    data_type,
    definition::Definition,
    dialect::Dialect,
    tokens::{Token, Tokens},
    words::Words,
};
use crate::{
    events::QueryEvent,
    row_decoder::charset::Encoding,
    shapes::{Clause, Reshape, Shape},
};

impl Captured<'_> {
    /// What the statement does to shapes, in order. A table that is made only if it is not there is none of it: if there were rows of it
    /// before, it was there.
    pub(crate) fn reshapes(&self, query: &QueryEvent<'_>) -> Vec<Reshape> {
        // One that is not readable is not passed by those who judge it.
        let Some(text) = self.utf8(query) else { return Vec::new() };
        let mut reader = Reader { tokens: Tokens::new(&text, self.quoting(query)), query };
        let Some(verb) = reader.verb() else { return Vec::new() };
        if verb.is("ALTER") {
            self.reshapes_of_alter(&mut reader)
        } else if verb.is("CREATE") {
            self.reshapes_of_create(&mut reader).into_iter().collect()
        } else if verb.is("DROP") {
            self.reshapes_of_drop(&mut reader)
        } else if verb.is("RENAME") && (reader.skip_if("TABLE") || reader.skip_if("TABLES")) {
            let mut reshapes = Vec::new();
            reader.each_rename(|old, new| {
                reshapes.push(Reshape::Rename { table: self.any_table(old), to: self.any_table(new) });
            });
            reshapes
        } else {
            Vec::new()
        }
    }

    /// A table's name, captured or not, in the form in which equal names are equal.
    pub(super) fn any_table(&self, name: &(String, String)) -> TableName {
        self.table(name).unwrap_or_else(|| {
            let (database, table) = self.folded(name);
            TableName::new(&database, &table)
        })
    }

    fn reshapes_of_alter(&self, reader: &mut Reader<'_>) -> Vec<Reshape> {
        if reader.find_object() != Some(Object::Table) {
            return Vec::new();
        }
        reader.skip_if_exists();
        let Some(name) = reader.name() else { return Vec::new() };
        let table = self.any_table(&name);
        let tokens: Vec<Token<'_>> = reader.tokens.by_ref().filter(|token| *token != Token::Symbol(b';')).collect();
        let read = Alteration::read(&Words::new(&tokens), &Dialect::of(reader.query, self.is_mariadb));
        let mut reshapes = Vec::new();
        if !read.is_clear || !read.clauses.is_empty() {
            let clauses = read.is_clear.then_some(read.clauses);
            reshapes.push(Reshape::Alter { table: table.clone(), clauses });
        }
        if let Some((database, new)) = read.renamed {
            let database = database.map_or_else(|| reader.default_database(), Into::into);
            reshapes.push(Reshape::Rename { table, to: self.any_table(&(database, new.into())) });
        }
        reshapes
    }

    fn reshapes_of_create(&self, reader: &mut Reader<'_>) -> Option<Reshape> {
        if reader.find_object() != Some(Object::Table) || reader.skip_if_exists() {
            return None;
        }
        let table = self.any_table(&reader.name()?);
        let rest: Vec<Token<'_>> = reader.tokens.by_ref().collect();
        let mut words = Words::new(&rest);
        let list = words.parenthesised();
        let mut like = list.clone().unwrap_or_else(|| words.clone());
        if like.skip("LIKE") {
            let Some(first) = like.name() else { return Some(Reshape::Create { table, shape: None }) };
            let original = match like.skip_symbol(b'.') {
                true => (first.into(), like.name().unwrap_or_default().into()),
                false => (reader.default_database(), first.into()),
            };
            return Some(Reshape::Like { table, of: self.any_table(&original) });
        }
        let dialect = Dialect::of(reader.query, self.is_mariadb);
        let shape = list.filter(|_| !has_query(words)).and_then(|list| shape(&list, &dialect));
        Some(Reshape::Create { table, shape })
    }

    fn reshapes_of_drop(&self, reader: &mut Reader<'_>) -> Vec<Reshape> {
        let mut ahead = Reader { tokens: reader.tokens.clone(), query: reader.query };
        if ahead.skip_if("INDEX") {
            ahead.skip_if_exists();
            let is_primary = ahead.identifier().is_some_and(|name| name.eq_ignore_ascii_case("PRIMARY"));
            let name = (is_primary && ahead.skip_if("ON")).then(|| ahead.name()).flatten();
            let alter = |name| Reshape::Alter { table: self.any_table(&name), clauses: Some(vec![Clause::DropKey]) };
            return name.map(alter).into_iter().collect();
        }
        let mut reshapes = Vec::new();
        match reader.find_object() {
            Some(Object::Table) => {
                reader.skip_if_exists();
                while let Some(name) = reader.name() {
                    reshapes.push(Reshape::Drop { table: self.any_table(&name) });
                    reader.skip_wait();
                    if !reader.skip_symbol(b',') {
                        break;
                    }
                }
            }
            Some(Object::Database) => {
                reader.skip_if_exists();
                reshapes
                    .extend(reader.identifier().map(|database| Reshape::DropDatabase { database: database.into() }));
            }
            None => {}
        }
        reshapes
    }
}

/// Whether what stands behind a table's columns adds those of a query.
fn has_query(mut words: Words<'_>) -> bool {
    while let Some(token) = words.next() {
        if token.is("SELECT") || token.is("TABLE") || token.is("VALUES") && words.is_next("ROW") {
            return true;
        }
    }
    false
}

/// The shape that a list of definitions makes. A table without primary key may get one from the server: that is not told.
fn shape(list: &Words<'_>, dialect: &Dialect) -> Option<Shape> {
    let (mut columns, mut key) = (Vec::new(), None);
    for item in list.split() {
        match added(item, false, dialect)? {
            Added::Column(definition) => {
                if definition.is_primary {
                    key = Some(vec![definition.column.name.clone()]);
                }
                columns.push(definition.column);
            }
            Added::PrimaryKey(names) => key = Some(names),
            Added::Index => {}
        }
    }
    Shape::new(&columns, &key?)
}

/// What stands behind ADD, or in the list of CREATE TABLE.
enum Added {
    Column(Definition),
    PrimaryKey(Vec<Box<str>>),
    /// Or a constraint, or a partition.
    Index,
}

fn added(mut words: Words<'_>, is_column: bool, dialect: &Dialect) -> Option<Added> {
    if !is_column {
        let mut ahead = words.clone();
        if ahead.skip("CONSTRAINT") && !ahead.is_next("PRIMARY") {
            ahead.name();
        }
        if ahead.skip_all(&["PRIMARY", "KEY"]) {
            return key_parts(ahead).map(Added::PrimaryKey);
        }
        if is_key(&words).ok()? {
            return Some(Added::Index);
        }
    }
    let name = words.name()?;
    defined(name, words, dialect).map(Added::Column)
}

/// A column's definition, if its members are what the statement says.
fn defined(name: Box<str>, mut words: Words<'_>, dialect: &Dialect) -> Option<Definition> {
    let mut ahead = words.clone();
    let mut has_spaces = false;
    while let Some(token) = ahead.next() {
        has_spaces |= matches!(token, Token::Text(text) if text.ends_with(b" "));
    }
    let definition = Definition::read(name, &mut words, dialect).ok()?;
    let (ColumnType::Enum { members } | ColumnType::Set { members }) = &definition.column.column_type else {
        return Some(definition);
    };
    are_kept(members, has_spaces, definition.charset.as_ref()).then_some(definition)
}

/// Whether the server keeps the members as they are read. It puts a question mark for each character that the column's charset does
/// not have, without a word; and spaces at their ends are taken away, but not of bytes.
fn are_kept(members: &[Box<str>], has_spaces: bool, charset: Option<&Encoding>) -> bool {
    let is_ascii = || members.iter().all(|member| member.is_ascii());
    match charset {
        Some(Encoding::Text(charset)) if is_complete(*charset) => true,
        Some(Encoding::Text(Charset::Utf8mb3 | Charset::Ucs2)) => {
            members.iter().all(|member| member.chars().all(|char| char <= '\u{ffff}'))
        }
        Some(Encoding::Text(_)) => is_ascii(),
        Some(Encoding::Binary | Encoding::Unsupported(_)) => false,
        None => is_ascii() && !has_spaces,
    }
}

/// The columns of an index.
fn key_parts(mut words: Words<'_>) -> Option<Vec<Box<str>>> {
    // Its name, and how it is built.
    while !words.is_symbol(b'(') {
        words.next()?;
    }
    words.parenthesised()?.split().map(|mut part| part.name()).collect()
}

/// The clauses of ALTER TABLE that change the shape.
struct Alteration {
    clauses: Vec<Clause>,
    renamed: Option<(Option<Box<str>>, Box<str>)>,
    /// All of them are understood.
    is_clear: bool,
}

impl Alteration {
    fn read(clauses: &Words<'_>, dialect: &Dialect) -> Self {
        let mut read = Self { clauses: Vec::new(), renamed: None, is_clear: true };
        let mut is_order = false;
        for clause in clauses.split() {
            if is_order && is_order_item(clause.clone()) {
                continue;
            }
            is_order = clause.is_next("ORDER");
            let is_last = is_about_partitions(clause.clone());
            read.is_clear &= read.clause(clause, dialect).is_some();
            if is_last {
                break;
            }
        }
        read
    }

    /// Nothing if it is not understood.
    fn clause(&mut self, mut words: Words<'_>, dialect: &Dialect) -> Option<()> {
        if words.skip("ADD") {
            self.add(words, dialect)
        } else if words.skip("DROP") {
            self.drop(words)
        } else if words.skip("CHANGE") {
            let column = alter::column_name(&mut words).ok()?;
            let name = words.name()?;
            self.change(column, defined(name, words, dialect)?);
            Some(())
        } else if words.skip("MODIFY") {
            let column = alter::column_name(&mut words).ok()?;
            self.change(column.clone(), defined(column, words, dialect)?);
            Some(())
        } else if words.skip("RENAME") {
            self.rename(words)
        } else if words.skip_all(&["CONVERT", "TO"]) {
            converted(words)
        } else if words.is_next_of(&alter::HARMLESS)
            || words.is_next_of(&ROWS)
            || words.are_next(&["PARTITION", "BY"])
            || words.are_next(&["REMOVE", "PARTITIONING"])
        {
            Some(())
        } else {
            alter::options(words).ok()
        }
    }

    fn add(&mut self, mut words: Words<'_>, dialect: &Dialect) -> Option<()> {
        let is_column = words.skip("COLUMN");
        if let Some(list) = words.parenthesised() {
            return list.split().try_for_each(|item| self.add_one(item, false, dialect));
        }
        self.add_one(words, is_column, dialect)
    }

    fn add_one(&mut self, words: Words<'_>, is_column: bool, dialect: &Dialect) -> Option<()> {
        match added(words, is_column, dialect)? {
            Added::Column(Definition { column, place, is_primary, .. }) => {
                let key = is_primary.then(|| Clause::AddKey(vec![column.name.clone()]));
                self.clauses.push(Clause::Add { column, place });
                self.clauses.extend(key);
            }
            Added::PrimaryKey(names) => self.clauses.push(Clause::AddKey(names)),
            Added::Index => {}
        }
        Some(())
    }

    fn change(&mut self, column: Box<str>, definition: Definition) {
        let Definition { column: to, place, is_primary, .. } = definition;
        let key = is_primary.then(|| Clause::AddKey(vec![to.name.clone()]));
        self.clauses.push(Clause::Change { column, to, place });
        self.clauses.extend(key);
    }

    fn drop(&mut self, mut words: Words<'_>) -> Option<()> {
        if words.skip("PRIMARY") {
            self.clauses.push(Clause::DropKey);
            return Some(());
        }
        if words.skip_of(&["INDEX", "KEY", "CONSTRAINT"]) {
            if words.name()?.eq_ignore_ascii_case("PRIMARY") {
                self.clauses.push(Clause::DropKey);
            }
            return Some(());
        }
        if words.is_next_of(&["FOREIGN", "CHECK", "PARTITION"]) {
            return Some(());
        }
        let column = alter::column_name(&mut words).ok()?;
        let is_all = words.is_empty() || words.is_next_of(&["RESTRICT", "CASCADE"]);
        self.clauses.push(Clause::Drop { column });
        is_all.then_some(())
    }

    fn rename(&mut self, mut words: Words<'_>) -> Option<()> {
        if words.skip("COLUMN") {
            let column = words.name()?;
            words.skip("TO");
            let to = words.name()?;
            self.clauses.push(Clause::Rename { column, to });
            return Some(());
        }
        if words.is_next_of(&["INDEX", "KEY"]) {
            return Some(());
        }
        let _ = words.skip_of(&["TO", "AS"]) || words.skip_symbol(b'=');
        let first = words.name()?;
        self.renamed = Some(match words.skip_symbol(b'.') {
            true => (Some(first), words.name()?),
            false => (None, first),
        });
        Some(())
    }
}

/// What clauses begin with that concern rows; those of [`alter::HARMLESS`] do not concern columns either.
const ROWS: [&str; 4] = ["TRUNCATE", "EXCHANGE", "IMPORT", "DISCARD"];

/// CONVERT TO CHARACTER SET: members stay what they are, unless they become bytes.
fn converted(mut words: Words<'_>) -> Option<()> {
    let _ = words.skip_all(&["CHARACTER", "SET"]) || words.skip_all(&["CHAR", "SET"]) || words.skip("CHARSET");
    match data_type::charset(&mut words) {
        Ok(Encoding::Text(_)) => Some(()),
        Ok(Encoding::Binary | Encoding::Unsupported(_)) | Err(_) => None,
    }
}
