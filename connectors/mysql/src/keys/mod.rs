//! Tables without a primary key: which unique key identifies their rows, where the stream stands.
//!
//! With `binlog_row_metadata=FULL` a table map tells the columns of the primary key, or, where there is none, of the unique key that the
//! server takes for it. So no row is read by a wrong key. But what identifies a row must never change unseen: it is the key of its records
//! and of the target's table. A primary key changes by statements that say so; an index that is dropped, made or moved up does not. So:
//!
//! 1. Each table whose rows came without a primary key is known here, with the key that they had. It is not known of a table whether it has
//!    one: the dictionary tells when a stream is opened, statements that make tables tell, and else it counts as one without.
//! 2. At a statement that may give such a table another key it waits by name. Its key stays the first one as long as its own index is not
//!    touched, no column of any unique index is, and no unique index comes: the servers keep the order of those whose columns are all NOT
//!    NULL, but MariaDB leaves an index that becomes one of these where it was, which may be before the first. Which index it is, and
//!    which columns are in others, the dictionary alone tells (`choice`), and only where no such statement lies between the stream and
//!    its reading: it is read as in [`crate::shapes`]. Of a table of which this is not known every statement about indexes may be one.
//! 3. Positions carry the keys that are known there, behind the last complete transaction, so that a restart forgets none.
//! 4. A table map with another key than the known one means that the binlog lacks a statement: the table stops by name.
//!
//! Rows that come without the names of columns have no unique key here: nothing tells it.

pub(crate) mod choice;
mod open;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tailrace_contract::{Error, Result};
use tailrace_row::TableName;

use crate::{
    position::FileOffset,
    shapes::{ReadAt, Reshape},
    statement::{KeyChange, KeyClause},
};
pub(crate) use choice::UniqueKey;
pub(crate) use open::look;

/// Every position carries them.
const KNOWN_MAX: usize = 1000;

/// What the dictionary says of a table, and from where on.
#[derive(Debug)]
struct Looked {
    /// So many statements that may change its key lie between the stream and the dictionary's reading.
    ahead: usize,
    found: Found,
}

#[derive(Clone, Debug)]
enum Found {
    /// It is not there, or must not be read.
    Nothing,
    Primary,
    /// It has no primary key; if it has a unique key that serves, this is it.
    Keyless(Option<UniqueKey>),
}

/// The keys that are known where the stream stands.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    known: BTreeMap<TableName, UniqueKey>,
    /// Tables that have a primary key, as far as they are not known otherwise.
    primary: HashSet<TableName>,
    looked: HashMap<TableName, Looked>,
    read_at: ReadAt,
    is_changed: bool,
}

impl Keys {
    /// Tells how many statements that may change its key lie between the stream and the dictionary's reading, of each table.
    pub(crate) fn begin(mut self, mut ahead: HashMap<TableName, usize>) -> Self {
        for (table, looked) in &mut self.looked {
            looked.ahead = ahead.remove(table).unwrap_or_default();
            if looked.ahead > 0 {
                continue;
            }
            match (&looked.found, self.known.get(table)) {
                (Found::Primary, _) => {
                    self.known.remove(table);
                    self.primary.insert(table.clone());
                }
                // One that the rows before had, and that no statement took away, is held against those that come.
                (Found::Keyless(Some(key)), Some(known)) if known.columns != key.columns => {}
                (Found::Keyless(Some(key)), _) => drop(self.known.insert(table.clone(), key.clone())),
                (Found::Keyless(None) | Found::Nothing, _) => {}
            }
        }
        self.is_changed = true;
        self
    }

    /// The tables whose statements are to be counted.
    pub(crate) fn tables(&self) -> BTreeSet<TableName> {
        self.looked.keys().cloned().collect()
    }

    pub(crate) fn read_at(&self) -> &ReadAt {
        &self.read_at
    }

    /// Takes note of a statement. Returns the tables that may have another key behind it, and why.
    pub(crate) fn follow(&mut self, changes: &[KeyChange], ignores_case: bool) -> Vec<(TableName, String)> {
        let mut lost = Vec::new();
        let taken: Vec<&TableName> = changes.iter().filter_map(KeyChange::takes_name).collect();
        for table in taken.into_iter().filter(|table| self.known.contains_key(*table)) {
            lost.push((table.clone(), "another table takes its name, whose key is not told".to_owned()));
        }
        for change in changes {
            match change {
                KeyChange::Clauses { table, clauses } => lost.extend(self.clauses(table, clauses)),
                KeyChange::Anew(reshape) => self.reshape(reshape, ignores_case),
            }
            let mut settled = Vec::new();
            for (table, looked) in &mut self.looked {
                if looked.ahead > 0 && change.touches(table, ignores_case) {
                    looked.ahead -= 1;
                    settled.extend((looked.ahead == 0).then(|| (table.clone(), looked.found.clone())));
                }
            }
            for (table, found) in settled {
                self.settle(table, found);
            }
        }
        lost
    }

    /// Behind the last statement before it was read the dictionary is right.
    fn settle(&mut self, table: TableName, found: Found) {
        self.is_changed = true;
        match found {
            Found::Keyless(Some(key)) => drop(self.known.insert(table, key)),
            Found::Primary => drop(self.primary.insert(table)),
            Found::Keyless(None) | Found::Nothing => {}
        }
    }

    /// Clauses change a table; tells why it may have another key behind them, if so.
    fn clauses(&mut self, table: &TableName, clauses: &[KeyClause]) -> Option<(TableName, String)> {
        if clauses.is_empty() {
            return None;
        }
        let reason = match self.known.get(table) {
            Some(key) => key.lost_by(clauses),
            None => {
                let is_dark = self.looked.get(table).is_some_and(|looked| looked.ahead > 0);
                is_dark.then(|| "it may change the unique key that identifies its rows".to_owned())
            }
        };
        if reason.is_some() {
            self.is_changed = true;
            self.known.remove(table);
        }
        if clauses.contains(&KeyClause::Primary { is_added: true }) {
            self.primary.insert(table.clone());
        } else if clauses.contains(&KeyClause::Primary { is_added: false }) {
            self.primary.remove(table);
        }
        reason.map(|reason| (table.clone(), reason))
    }

    fn reshape(&mut self, reshape: &Reshape, ignores_case: bool) {
        let becomes_primary = match reshape {
            // A shape is told only with its primary key.
            Reshape::Create { table, shape } => shape.is_some().then_some(table),
            Reshape::Like { table, of } => self.primary.contains(of).then_some(table),
            Reshape::Rename { table, to } => self.primary.contains(table).then_some(to),
            Reshape::Alter { .. } | Reshape::Drop { .. } | Reshape::DropDatabase { .. } => None,
        };
        let becomes_primary = becomes_primary.cloned();
        let before = self.known.len();
        self.known.retain(|table, _| !reshape.concerns(table, ignores_case));
        self.is_changed |= self.known.len() != before;
        self.primary.retain(|table| !reshape.concerns(table, ignores_case));
        self.primary.extend(becomes_primary);
    }

    /// A table map with names has told the key; whether it may be one that is not primary.
    pub(crate) fn learn(&mut self, table: &TableName, columns: Vec<Box<str>>, here: &FileOffset) -> Result<bool> {
        match self.known.get(table) {
            Some(known) if known.columns == columns => return Ok(true),
            Some(known) => {
                let what = format!(
                    "its rows are known by the key ({}) here, and no statement in the binlog made that of the key ({}) that they had",
                    columns.join(", "),
                    known.columns.join(", ")
                );
                return Err(Error::table_failed(table.clone(), what)
                    .at(here)
                    .hint("start anew behind the change of the key, and copy the table again"));
            }
            None if self.primary.contains(table) => return Ok(false),
            None if self.known.len() >= KNOWN_MAX => {
                let what = format!("it has no primary key, and neither have {KNOWN_MAX} others that are captured");
                return Err(Error::table_failed(table.clone(), what)
                    .at(here)
                    .hint("give it a primary key, or leave it out"));
            }
            None => {}
        }
        self.known.insert(table.clone(), UniqueKey { index: "".into(), columns, watched: Vec::new() });
        self.is_changed = true;
        Ok(true)
    }

    /// What positions are to carry from here on, if that has changed.
    pub(crate) fn changed_memory(&mut self) -> Option<String> {
        std::mem::take(&mut self.is_changed).then(|| {
            if self.known.is_empty() {
                return String::new();
            }
            let known: Vec<(&str, &str, &UniqueKey)> =
                self.known.iter().map(|(table, key)| (&*table.database, &*table.table, key)).collect();
            serde_json::to_string(&known).expect("invariant: names and keys are written as JSON")
        })
    }
}

/// Reads what [`Keys::changed_memory`] wrote.
pub(crate) fn parse(text: &str) -> Option<BTreeMap<TableName, UniqueKey>> {
    let list: Vec<(Box<str>, Box<str>, UniqueKey)> = serde_json::from_str(text).ok()?;
    Some(list.into_iter().map(|(database, table, key)| (TableName { database, table }, key)).collect())
}
