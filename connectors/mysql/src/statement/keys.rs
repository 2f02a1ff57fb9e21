//! What a statement does to the indexes of tables, as far as it may decide which unique key identifies rows.
//!
//! No row tells that key, so a statement is nothing here only where that is sure. What is sure: an index that is not unique, a column that
//! comes without one, options of a table of InnoDB. All else is named by the column or the index that it is about, or not understood;
//! what that means to a table is [`UniqueKey::lost_by`](crate::keys::UniqueKey::lost_by)'s to say.

use super::{
    Captured, Object, Reader,
    alter::{self, is_about_partitions, is_order_item},
    tokens::{Token, Tokens},
    words::Words,
};
use crate::{events::QueryEvent, shapes::Reshape};
use tailrace_row::TableName;

/// What a statement does to one table's keys, captured or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyChange {
    /// These clauses are about indexes, or columns that may be in one.
    Clauses { table: TableName, clauses: Vec<KeyClause> },
    /// The name is another table's behind it, or nobody's.
    Anew(Reshape),
}

/// What one clause is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyClause {
    /// This column goes, or is not what it was.
    Column(Box<str>),
    /// This index goes, or is not what it was.
    Index(Box<str>),
    /// A primary key goes, or comes.
    Primary { is_added: bool },
    /// It may concern every key.
    Any,
}

impl KeyChange {
    /// The name that another table takes.
    pub(crate) fn takes_name(&self) -> Option<&TableName> {
        match self {
            Self::Anew(Reshape::Rename { to, .. }) => Some(to),
            Self::Clauses { .. } | Self::Anew(_) => None,
        }
    }

    /// Whether the keys of this table may be others behind it.
    pub(crate) fn touches(&self, other: &TableName, ignores_case: bool) -> bool {
        match self {
            Self::Clauses { table, clauses } => table == other && !clauses.is_empty(),
            Self::Anew(reshape) => reshape.concerns(other, ignores_case),
        }
    }
}

impl Captured<'_> {
    /// What the statement does to keys, in order.
    pub(crate) fn key_changes(&self, query: &QueryEvent<'_>) -> Vec<KeyChange> {
        let Some(text) = self.utf8(query) else { return Vec::new() };
        let mut reader = Reader { tokens: Tokens::new(&text, self.quoting(query)), query };
        let Some(verb) = reader.verb() else { return Vec::new() };
        let clauses = if verb.is("ALTER") {
            altered(&mut reader)
        } else if verb.is("CREATE") {
            index_made(&mut reader)
        } else if verb.is("DROP") {
            index_dropped(&mut reader)
        } else {
            None
        };
        let clauses = clauses.map(|(name, clauses)| KeyChange::Clauses { table: self.any_table(&name), clauses });
        let is_anew = |reshape: &Reshape| !matches!(reshape, Reshape::Alter { .. });
        clauses.into_iter().chain(self.reshapes(query).into_iter().filter(is_anew).map(KeyChange::Anew)).collect()
    }
}

type Named = ((String, String), Vec<KeyClause>);

/// CREATE INDEX.
fn index_made(reader: &mut Reader<'_>) -> Option<Named> {
    const BEFORE: [&str; 8] = ["OR", "REPLACE", "ONLINE", "OFFLINE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR"];
    let (mut is_unique, mut replaces) = (false, false);
    while !reader.skip_if("INDEX") {
        let word = BEFORE.into_iter().find(|word| reader.skip_if(word))?;
        is_unique |= word == "UNIQUE";
        replaces |= word == "REPLACE";
    }
    reader.skip_if_exists();
    let index = reader.identifier()?;
    let clauses = match (is_unique, replaces) {
        (true, _) => vec![KeyClause::Any],
        (false, true) => vec![KeyClause::Index(index.into())],
        (false, false) => Vec::new(),
    };
    reader.tokens.by_ref().find(|token| token.is("ON"))?;
    Some((reader.name()?, clauses))
}

/// DROP INDEX.
fn index_dropped(reader: &mut Reader<'_>) -> Option<Named> {
    let _ = reader.skip_if("ONLINE") || reader.skip_if("OFFLINE");
    if !reader.skip_if("INDEX") {
        return None;
    }
    reader.skip_if_exists();
    let clause = index_clause(reader.identifier()?.into());
    if !reader.skip_if("ON") {
        return None;
    }
    Some((reader.name()?, vec![clause]))
}

/// ALTER TABLE.
fn altered(reader: &mut Reader<'_>) -> Option<Named> {
    if reader.find_object() != Some(Object::Table) {
        return None;
    }
    reader.skip_if_exists();
    let name = reader.name()?;
    let tokens: Vec<Token<'_>> = reader.tokens.by_ref().filter(|token| *token != Token::Symbol(b';')).collect();
    let mut clauses = Vec::new();
    let mut is_order = false;
    for words in Words::new(&tokens).split() {
        if is_order && is_order_item(words.clone()) {
            continue;
        }
        is_order = words.is_next("ORDER");
        let is_last = is_about_partitions(words.clone());
        clauses.extend(clause(words));
        if is_last {
            break;
        }
    }
    Some((name, clauses))
}

fn clause(mut words: Words<'_>) -> Vec<KeyClause> {
    if words.skip("WAIT") {
        words.next();
    }
    words.skip("NOWAIT");
    if words.skip("ADD") {
        return added(words);
    }
    let told = if words.skip("DROP") {
        dropped(words)
    } else if words.skip("CHANGE") || words.skip("MODIFY") {
        return match alter::column_name(&mut words) {
            Ok(column) => [KeyClause::Column(column)].into_iter().chain(makes_key(words)).collect(),
            Err(_) => vec![KeyClause::Any],
        };
    } else if words.skip("RENAME") {
        renamed(words)
    } else if words.skip("ALTER") {
        if words.skip_of(&["INDEX", "KEY"]) { named_index(words) } else { None }
    } else if words.is_next_of(&alter::HARMLESS)
        || words.are_next(&["PARTITION", "BY"])
        || words.are_next(&["REMOVE", "PARTITIONING"])
    {
        None
    } else {
        option(words)
    };
    told.into_iter().collect()
}

fn added(mut words: Words<'_>) -> Vec<KeyClause> {
    const OTHERS: [&str; 7] = ["INDEX", "KEY", "FULLTEXT", "SPATIAL", "FOREIGN", "CHECK", "PARTITION"];
    let is_column = words.skip("COLUMN");
    words.skip_if_exists();
    let one = |words: Words<'_>, is_column: bool| {
        let mut ahead = words.clone();
        if ahead.skip("CONSTRAINT") && !ahead.is_next_of(&["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"]) {
            ahead.name();
        }
        let is_other = !is_column && (ahead.is_next_of(&OTHERS) || ahead.are_next(&["VECTOR", "INDEX"]));
        if is_other { None } else { makes_key(words) }
    };
    match words.parenthesised() {
        Some(list) => list.split().filter_map(|item| one(item, false)).collect(),
        None => one(words, is_column).into_iter().collect(),
    }
}

/// Whether the definition of a column, or of a constraint, makes a key.
fn makes_key(mut words: Words<'_>) -> Option<KeyClause> {
    const KEYS: [&str; 3] = ["UNIQUE", "KEY", "SERIAL"];
    while let Some(token) = words.next() {
        if token.is("PRIMARY") {
            return Some(KeyClause::Primary { is_added: true });
        }
        if KEYS.iter().any(|word| token.is(word)) {
            return Some(KeyClause::Any);
        }
    }
    None
}

fn dropped(mut words: Words<'_>) -> Option<KeyClause> {
    if words.skip_of(&["INDEX", "KEY", "CONSTRAINT"]) {
        return named_index(words);
    }
    if words.is_next("PRIMARY") {
        return Some(KeyClause::Primary { is_added: false });
    }
    if words.are_next(&["SYSTEM", "VERSIONING"]) || words.are_next(&["PERIOD", "FOR"]) {
        return Some(KeyClause::Any);
    }
    if words.is_next_of(&["FOREIGN", "CHECK", "PARTITION"]) {
        return None;
    }
    Some(alter::column_name(&mut words).map_or(KeyClause::Any, KeyClause::Column))
}

fn renamed(mut words: Words<'_>) -> Option<KeyClause> {
    if words.skip("COLUMN") {
        words.skip_if_exists();
        return Some(words.name().map_or(KeyClause::Any, KeyClause::Column));
    }
    // The table's own name is told otherwise.
    if words.skip_of(&["INDEX", "KEY"]) { named_index(words) } else { None }
}

/// The index whose name comes.
fn named_index(mut words: Words<'_>) -> Option<KeyClause> {
    words.skip_if_exists();
    Some(words.name().map_or(KeyClause::Any, index_clause))
}

fn index_clause(name: Box<str>) -> KeyClause {
    match name.eq_ignore_ascii_case("PRIMARY") {
        true => KeyClause::Primary { is_added: false },
        false => KeyClause::Index(name),
    }
}

/// Options of the table: another engine, or another charset, may make another index of one.
fn option(words: Words<'_>) -> Option<KeyClause> {
    let mut ahead = words.clone();
    while let Some(token) = ahead.next() {
        if token.is("ENGINE") || token.is("TYPE") {
            ahead.skip_symbol(b'=');
            if !ahead.name_or_text().is_some_and(|engine| engine.eq_ignore_ascii_case("InnoDB")) {
                return Some(KeyClause::Any);
            }
        }
    }
    let is_understood = !words.is_next("CONVERT") && alter::options(words).is_ok();
    (!is_understood).then_some(KeyClause::Any)
}
