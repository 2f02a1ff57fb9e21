//! ALTER TABLE: what its clauses do to the table's columns and rows.
//!
//! The names in its clauses are those from before the statement, whatever stands before them in it. The steps come in an order in
//! which each can be done behind the one before it: columns go, get other names, change, and come.

use std::collections::HashSet;

use tailrace_contract::{ColumnStep, TableAct};
use tailrace_row::{Charset, TableName};

use super::{data_type, definition::Definition, dialect::Dialect, tokens::Token, words::Words};
use crate::row_decoder::charset::Encoding;

/// What the clauses do.
#[derive(Default)]
pub(super) struct Alteration {
    drops: Vec<Box<str>>,
    renames: Vec<(Box<str>, Box<str>)>,
    changes: Vec<Definition>,
    additions: Vec<Definition>,
    /// Why it can't be followed, as the end of a sentence.
    obstacle: Option<String>,
    /// The name that the table gets: its database, if it is said, and its own.
    pub(super) renamed: Option<(Option<Box<str>>, Box<str>)>,
}

/// What clauses begin with that concern neither columns nor rows.
pub(super) const HARMLESS: [&str; 16] = [
    "ALTER",
    "ORDER",
    "FORCE",
    "ALGORITHM",
    "LOCK",
    "ENABLE",
    "DISABLE",
    "COALESCE",
    "REORGANIZE",
    "REBUILD",
    "ANALYZE",
    "CHECK",
    "OPTIMIZE",
    "REPAIR",
    "SECONDARY_LOAD",
    "SECONDARY_UNLOAD",
];

/// Engines that keep all rows.
const ENGINES: [&str; 8] = ["InnoDB", "MyISAM", "Aria", "RocksDB", "MEMORY", "HEAP", "NDB", "NDBCLUSTER"];

impl Alteration {
    /// Reads the clauses, from behind the table's name.
    pub(super) fn read(clauses: &Words<'_>, dialect: &Dialect) -> Self {
        let mut alteration = Self::default();
        let mut is_order = false;
        for clause in clauses.split() {
            // ORDER BY takes a list; of all that may follow it nothing is a name alone.
            if is_order && is_order_item(clause.clone()) {
                continue;
            }
            is_order = clause.is_next("ORDER");
            let is_about_partitions = is_about_partitions(clause.clone());
            if let Err(obstacle) = alteration.clause(clause, dialect) {
                alteration.obstacle.get_or_insert(obstacle);
            }
            // Further names of partitions follow, and no other clause.
            if is_about_partitions {
                break;
            }
        }
        alteration
    }

    /// What becomes of the table; nothing if no act of it concerns anybody.
    pub(super) fn act(mut self, table: &TableName) -> Option<TableAct> {
        let other = |reason: String| Some(TableAct::Other { table: table.clone(), reason, hides_changes: false });
        if let Some(reason) = self.obstacle.take() {
            return other(reason);
        }
        let Some(renames) = in_order(self.renames) else {
            return other("columns get each other's names".to_owned());
        };
        let drops = self.drops.into_iter().map(|column| ColumnStep::Drop { column });
        let renames = renames.into_iter().map(|(column, to)| ColumnStep::Rename { column, to });
        let changes = self.changes.into_iter().map(|change| ColumnStep::Change { column: change.column });
        let additions = self.additions.into_iter().map(|new| ColumnStep::Add { column: new.column, fill: new.fill });
        let steps: Vec<ColumnStep> = drops.chain(renames).chain(changes).chain(additions).collect();
        (!steps.is_empty()).then(|| TableAct::Alter { table: table.clone(), steps })
    }

    fn clause(&mut self, mut words: Words<'_>, dialect: &Dialect) -> Result<(), String> {
        // MariaDB's limit to waiting stands before the first.
        if words.skip("WAIT") {
            words.next();
        }
        words.skip("NOWAIT");
        if words.skip("ADD") {
            self.add(words, dialect)
        } else if words.skip("DROP") {
            self.drop(words)
        } else if words.skip("CHANGE") {
            let (old, new) = (column_name(&mut words)?, words.name().ok_or_else(no_name)?);
            if old != new {
                self.renames.push((old, new.clone()));
            }
            self.change(new, words, dialect)
        } else if words.skip("MODIFY") {
            let name = column_name(&mut words)?;
            self.change(name, words, dialect)
        } else if words.skip("RENAME") {
            self.rename(words)
        } else if words.skip_all(&["CONVERT", "TO"]) {
            convert(words, dialect)
        } else if words.is_next_of(&HARMLESS)
            || words.are_next(&["PARTITION", "BY"])
            || words.are_next(&["REMOVE", "PARTITIONING"])
        {
            Ok(())
        } else if words.is_next_of(&["TRUNCATE", "EXCHANGE", "CONVERT", "IMPORT", "DISCARD"]) {
            Err("it moves or removes rows".to_owned())
        } else if words.are_next(&["WITH", "SYSTEM"]) || words.is_next("SEQUENCE") {
            Err("it makes the table one of another kind".to_owned())
        } else {
            options(words)
        }
    }

    fn add(&mut self, mut words: Words<'_>, dialect: &Dialect) -> Result<(), String> {
        let is_column = words.skip("COLUMN");
        words.skip_if_exists();
        if let Some(list) = words.parenthesised() {
            return list.split().try_for_each(|item| self.add_one(item, false, dialect));
        }
        self.add_one(words, is_column, dialect)
    }

    fn add_one(&mut self, mut words: Words<'_>, is_column: bool, dialect: &Dialect) -> Result<(), String> {
        if !is_column && is_key(&words)? {
            return Ok(());
        }
        let name = words.name().ok_or_else(no_name)?;
        let definition = Definition::read(name, &mut words, dialect)?;
        if definition.is_primary {
            return Err(PRIMARY.to_owned());
        }
        self.additions.push(definition);
        Ok(())
    }

    fn drop(&mut self, mut words: Words<'_>) -> Result<(), String> {
        if words.is_next("PRIMARY") {
            return Err(PRIMARY.to_owned());
        }
        if words.is_next("PARTITION") {
            return Err("it removes the rows of a partition".to_owned());
        }
        if words.are_next(&["SYSTEM", "VERSIONING"]) {
            return Err("it makes the table one of another kind".to_owned());
        }
        if words.skip_of(&["INDEX", "KEY", "CONSTRAINT"]) {
            words.skip_if_exists();
            // In quotes it is a name like others, and still the primary key's.
            let is_primary = words.name().is_some_and(|name| name.eq_ignore_ascii_case("PRIMARY"));
            return if is_primary { Err(PRIMARY.to_owned()) } else { Ok(()) };
        }
        if words.is_next_of(&["FOREIGN", "CHECK"]) || words.are_next(&["PERIOD", "FOR"]) {
            return Ok(());
        }
        self.drops.push(column_name(&mut words)?);
        Ok(())
    }

    fn change(&mut self, name: Box<str>, mut words: Words<'_>, dialect: &Dialect) -> Result<(), String> {
        use tailrace_row::ColumnType;
        let definition = Definition::read(name, &mut words, dialect)?;
        if definition.is_primary {
            return Err(PRIMARY.to_owned());
        }
        if definition.is_generated {
            return Err("the server computes a column's values anew".to_owned());
        }
        let is_complete = match &definition.column.column_type {
            // Where the statement names no charset it is the table's, which may lack what the column had.
            ColumnType::Text { charset, .. } => definition.charset.is_some() && is_complete(*charset),
            ColumnType::Enum { .. } | ColumnType::Set { .. } => definition.charset.is_some(),
            _ => true,
        };
        if !is_complete && !dialect.is_strict() {
            return Err(LOSSY_CHARSET.to_owned());
        }
        self.changes.push(definition);
        Ok(())
    }

    fn rename(&mut self, mut words: Words<'_>) -> Result<(), String> {
        if words.skip("COLUMN") {
            words.skip_if_exists();
            let old = words.name().ok_or_else(no_name)?;
            words.skip("TO");
            let new = words.name().ok_or_else(no_name)?;
            if old != new {
                self.renames.push((old, new));
            }
            return Ok(());
        }
        if words.is_next_of(&["INDEX", "KEY"]) {
            return Ok(());
        }
        let _ = words.skip_of(&["TO", "AS"]) || words.skip_symbol(b'=');
        let first = words.name().ok_or_else(no_name)?;
        self.renamed = Some(match words.skip_symbol(b'.') {
            true => (Some(first), words.name().ok_or_else(no_name)?),
            false => (None, first),
        });
        Ok(())
    }
}

pub(super) fn is_order_item(mut words: Words<'_>) -> bool {
    words.name();
    words.skip_of(&["ASC", "DESC"]);
    words.is_empty()
}

pub(super) fn is_about_partitions(mut words: Words<'_>) -> bool {
    words.next();
    words.is_next("PARTITION")
}

const PRIMARY: &str = "it changes the primary key";
const LOSSY_CHARSET: &str =
    "it gives a text another charset, and outside of the strict mode characters may have become question marks";

fn no_name() -> String {
    "the name of a column is missing".to_owned()
}

/// The column that a clause is about.
pub(super) fn column_name(words: &mut Words<'_>) -> Result<Box<str>, String> {
    words.skip("COLUMN");
    words.skip_if_exists();
    words.name().ok_or_else(no_name)
}

/// Whether what is added is an index or a constraint; the primary key is an error.
pub(super) fn is_key(words: &Words<'_>) -> Result<bool, String> {
    let mut words = words.clone();
    if words.skip("CONSTRAINT") && !words.is_next_of(&["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"]) {
        words.name();
    }
    if words.is_next("PRIMARY") {
        return Err(PRIMARY.to_owned());
    }
    if words.are_next(&["SYSTEM", "VERSIONING"]) || words.are_next(&["PERIOD", "FOR", "SYSTEM_TIME"]) {
        return Err("it makes the table one of another kind".to_owned());
    }
    let is_vector_index = words.skip("VECTOR") && (words.is_next_of(&["INDEX", "KEY"]) || words.is_symbol(b'('));
    Ok(is_vector_index
        || words.is_next_of(&["INDEX", "KEY", "UNIQUE", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK", "PARTITION"])
        || words.are_next(&["PERIOD", "FOR"]))
}

/// Whether a charset has all characters.
pub(super) fn is_complete(charset: Charset) -> bool {
    matches!(charset, Charset::Utf8mb4 | Charset::Utf16 | Charset::Utf16Le | Charset::Utf32 | Charset::Gb18030)
}

/// CONVERT TO CHARACTER SET.
fn convert(mut words: Words<'_>, dialect: &Dialect) -> Result<(), String> {
    let _ = words.skip_all(&["CHARACTER", "SET"]) || words.skip_all(&["CHAR", "SET"]) || words.skip("CHARSET");
    match data_type::charset(&mut words)? {
        Encoding::Text(charset) if is_complete(charset) || dialect.is_strict() => Ok(()),
        Encoding::Text(_) | Encoding::Unsupported(_) => Err(LOSSY_CHARSET.to_owned()),
        Encoding::Binary => Err("it makes bytes of all texts".to_owned()),
    }
}

/// Options of the table, which may stand side by side. Only the engine matters.
pub(super) fn options(mut words: Words<'_>) -> Result<(), String> {
    while let Some(token) = words.next() {
        if token.is("ENGINE") || token.is("TYPE") {
            words.skip_symbol(b'=');
            let engine = words.name_or_text().unwrap_or_default();
            if !ENGINES.iter().any(|known| known.eq_ignore_ascii_case(&engine)) {
                return Err(format!("its engine is {engine}"));
            }
            continue;
        }
        if token.is("PARTITION") && words.is_next("BY") || token.is("REMOVE") {
            return Ok(());
        }
        let Token::Word(word) = token else { return Err("a clause is not understood".to_owned()) };
        let word = String::from_utf8_lossy(word).to_ascii_uppercase();
        let is_assigned = words.is_symbol(b'=');
        if !is_assigned && !OPTIONS.contains(&&*word) {
            return Err(format!("the clause {word} is not understood"));
        }
        skip_value(&mut words, &word);
    }
    Ok(())
}

/// Options that may stand without an equals sign, or have none.
const OPTIONS: [&str; 33] = [
    "DEFAULT",
    "CHARACTER",
    "CHARSET",
    "COLLATE",
    "COMMENT",
    "AUTO_INCREMENT",
    "AUTOEXTEND_SIZE",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "COMPRESSION",
    "CONNECTION",
    "DATA",
    "INDEX",
    "DELAY_KEY_WRITE",
    "ENCRYPTION",
    "ENGINE_ATTRIBUTE",
    "INSERT_METHOD",
    "KEY_BLOCK_SIZE",
    "MAX_ROWS",
    "MIN_ROWS",
    "PACK_KEYS",
    "PASSWORD",
    "ROW_FORMAT",
    "SECONDARY_ENGINE",
    "SECONDARY_ENGINE_ATTRIBUTE",
    "STATS_AUTO_RECALC",
    "STATS_PERSISTENT",
    "STATS_SAMPLE_PAGES",
    "STORAGE",
    "TABLE_CHECKSUM",
    "TABLESPACE",
    "WITH",
    "WITHOUT",
];

fn skip_value(words: &mut Words<'_>, option: &str) {
    match option {
        "DEFAULT" => return,
        "CHARACTER" | "DATA" | "INDEX" => {
            words.next();
        }
        _ => {}
    }
    words.skip_symbol(b'=');
    if words.parenthesised().is_none() {
        words.next();
    }
}

/// An order in which no name is taken while it is still another column's; none if there is no such order.
fn in_order(mut renames: Vec<(Box<str>, Box<str>)>) -> Option<Vec<(Box<str>, Box<str>)>> {
    let mut ordered = Vec::new();
    while !renames.is_empty() {
        let taken: HashSet<String> = renames.iter().map(|(old, _)| old.to_lowercase()).collect();
        let is_free = |(old, new): &(Box<str>, Box<str>)| {
            let new = new.to_lowercase();
            new == old.to_lowercase() || !taken.contains(&new)
        };
        let free = renames.iter().position(is_free)?;
        ordered.push(renames.remove(free));
    }
    Some(ordered)
}
