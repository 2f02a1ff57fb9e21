//! The shapes of tables whose rows come without names: with `binlog_row_metadata=MINIMAL` a table map has types, signs and charsets, and
//! neither the names of columns nor the members of ENUM and SET nor the primary key.
//!
//! A wrong name would be a wrong value, so a shape is used only where it is known to be the one at that place of the binlog:
//!
//! 1. A table map with names tells it (`FULL`, before the setting was changed).
//! 2. Statements of the stream carry it on: columns that come, go, move, or get other names or members; the key; tables that are made by
//!    their columns, or like others; names that change. One that is not wholly understood makes the shape unknown from there on.
//! 3. Positions carry what is known there, behind the last complete transaction ([`Memory`]). So a restart in the middle of a backlog
//!    reads each row by the shape of its time, and the memory can't be of another place than the position. It is the text of all captured
//!    tables, some 15 bytes a column: a document beside the checkpoint would be smaller, and could be older than it.
//! 4. The dictionary tells it, and only where no statement lies between that place and the dictionary's reading which changed
//!    the table. When it is read is told in [`open`]: the binlog from the position on is looked through for such statements, and the last
//!    one of a table is where the dictionary's shape begins.
//! 5. A shape that is not known, or does not fit what the table map says, is no shape: the dictionary is read anew for its table, by opening
//!    the stream again; if it does not know either, the table stops by name.
//!
//! Tables that are not captured are followed too, where they begin like one that is known or beside one: they may take its name.

mod open;
mod shape;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use tailrace_contract::{Error, Result, TableFilter};
use tailrace_row::{Column, TableName, TableSchema};

use crate::{
    events::{TableShape, TypeCode},
    keys::UniqueKey,
    position::FileOffset,
};
pub(crate) use open::{Backlog, each_statement, open, read_at};
pub(crate) use shape::{Clause, ColumnPlace, Reshape, Shape};

/// Followed at most of tables that are not captured.
const COPIES_MAX: usize = 256;

/// A position with more would be too long to be saved with every batch. Tables that find no room in it are looked for in the dictionary.
const MEMORY_BYTES_MAX: usize = 256 << 10;

/// A collation of UTF-8, in which members are remembered.
const UTF8: u64 = 45;

/// Tables that the dictionary is to be asked for when the stream is opened again.
#[derive(Debug, Default)]
pub(crate) struct Wanted(Mutex<BTreeSet<TableName>>);

impl Wanted {
    fn add(&self, table: &TableName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(table.clone());
    }

    fn take(&self) -> BTreeSet<TableName> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A shape as positions carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    shape: Shape,
    /// Its table was not captured.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    is_other: bool,
}

/// What positions carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    tables: BTreeMap<TableName, Known>,
    /// Of tables without a primary key.
    pub(crate) keys: BTreeMap<TableName, UniqueKey>,
}

impl Memory {
    /// Reads what [`Memory::text`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (shapes, keys) = match text.split_once('\n') {
            Some((shapes, keys)) => (shapes, crate::keys::parse(keys)?),
            None => (text, BTreeMap::new()),
        };
        let list: Vec<(Box<str>, Box<str>, Known)> = match shapes {
            "" if !keys.is_empty() => Vec::new(),
            shapes => serde_json::from_str(shapes).ok()?,
        };
        let tables = list.into_iter().map(|(database, table, known)| (TableName { database, table }, known));
        Some(Self { tables: tables.collect(), keys })
    }

    /// What positions carry of shapes and of keys.
    pub(crate) fn text(shapes: &str, keys: &str) -> String {
        if keys.is_empty() { shapes.to_owned() } else { format!("{shapes}\n{keys}") }
    }
}

/// The binlog before the dictionary was read: names and sizes of its files, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadAt(pub(crate) Vec<(String, u64)>);

impl ReadAt {
    /// Whether the place lies before it. GTIDs don't tell: a server may give their numbers in another order.
    pub(crate) fn covers(&self, place: &FileOffset) -> bool {
        let Some(at) = self.0.iter().position(|(name, _)| **name == *place.file) else { return false };
        at + 1 < self.0.len() || place.offset < self.0[at].1
    }
}

/// What the dictionary says of a table, and from where on.
#[derive(Debug)]
struct Looked {
    /// So many statements that change its shape lie between the stream and the dictionary's reading.
    ahead: usize,
    /// Or why it tells none, and what helps.
    shape: std::result::Result<Shape, (String, String)>,
}

/// The shapes that are known where the stream stands.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    known: BTreeMap<TableName, Known>,
    looked: HashMap<TableName, Looked>,
    read_at: ReadAt,
    wanted: Arc<Wanted>,
    /// Rows come without names, so positions are to carry what is known.
    is_needed: bool,
    is_changed: bool,
}

impl Shapes {
    /// Takes note of what a statement did.
    pub(crate) fn follow(&mut self, filter: &TableFilter, ignores_case: bool, reshapes: Vec<Reshape>) {
        for reshape in reshapes {
            self.is_changed = true;
            let mut settled = Vec::new();
            for (table, looked) in &mut self.looked {
                if looked.ahead > 0 && reshape.concerns(table, ignores_case) {
                    looked.ahead -= 1;
                    settled.extend((looked.ahead == 0).then(|| table.clone()));
                }
            }
            self.carry_out(filter, ignores_case, reshape);
            // Behind the last statement before it was read the dictionary is right, whatever was made of the statements.
            for table in settled {
                self.take_over(&table);
            }
        }
    }

    /// A table map has told the names too.
    pub(crate) fn learn(&mut self, schema: &TableSchema, here: &FileOffset) {
        let shape = Shape::of(schema);
        if self.known.get(schema.name()).is_none_or(|known| known.shape != shape) {
            self.known.insert(schema.name().clone(), Known { shape, is_other: false });
            self.is_changed = true;
        }
        // What comes behind says its names as well, until the setting is changed once more.
        if self.is_needed && !self.read_at.covers(here) {
            (self.is_needed, self.is_changed) = (false, true);
        }
    }

    /// A table map without a primary key has told the names: nothing would tell such a key where they are missing.
    pub(crate) fn forget(&mut self, table: &TableName) {
        self.is_changed |= self.known.remove(table).is_some();
    }

    /// Rows have come without names.
    pub(crate) fn need(&mut self) {
        self.is_changed |= !self.is_needed;
        self.is_needed = true;
    }

    /// Tells a table map what it keeps to itself. A table of which this is not known is refused.
    pub(crate) fn complete<'s>(
        &'s self,
        table: &TableName,
        mut map: TableShape<'s>,
        here: &FileOffset,
    ) -> Result<TableShape<'s>> {
        let Some(Known { shape, .. }) = self.known.get(table) else { return Err(self.unknown(table, here)) };
        if shape.columns.len() != map.columns.len() {
            return Err(self.unfit(table, here));
        }
        for (column, known) in map.columns.iter_mut().zip(&shape.columns) {
            column.name = &known.name;
            if matches!(column.code, TypeCode::Enum | TypeCode::Set) {
                column.members = known.members.iter().map(|member| member.as_bytes()).collect();
                column.collation = Some(UTF8);
            }
            if column.members.is_empty() && matches!(column.code, TypeCode::Enum | TypeCode::Set) {
                return Err(self.unfit(table, here));
            }
        }
        map.primary_key = shape.key_places();
        Ok(map)
    }

    /// Whether the columns of a table map that was completed are of the kinds that are known.
    pub(crate) fn check(&self, table: &TableName, columns: &[Column], here: &FileOffset) -> Result<()> {
        let is_fit = self.known.get(table).is_some_and(|known| known.shape.is_of_kinds(columns));
        if is_fit { Ok(()) } else { Err(self.unfit(table, here)) }
    }

    /// What positions are to carry from here on, if that has changed.
    pub(crate) fn changed_memory(&mut self) -> Option<String> {
        std::mem::take(&mut self.is_changed).then(|| self.memory())
    }

    fn memory(&self) -> String {
        if !self.is_needed {
            return String::new();
        }
        let mut text = String::from("[");
        for (table, known) in &self.known {
            let entry = serde_json::to_string(&(&table.database, &table.table, known))
                .expect("invariant: names and shapes are written as JSON");
            if text.len() + entry.len() + 2 > MEMORY_BYTES_MAX {
                tracing::warn!(%table, "positions have no room for the shapes of all tables: this one is looked for in the dictionary");
                continue;
            }
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&entry);
        }
        text.push(']');
        text
    }

    fn carry_out(&mut self, filter: &TableFilter, ignores_case: bool, reshape: Reshape) {
        let is_other = |table: &TableName| !filter.matches(&table.database, &table.table);
        let known = match &reshape {
            Reshape::Alter { table, clauses } => {
                let old = self.known.remove(table);
                let shape = clauses.as_ref().and_then(|clauses| old?.shape.altered(clauses));
                shape.map(|shape| (table, shape))
            }
            Reshape::Create { table, shape } => {
                self.known.remove(table);
                shape.clone().filter(|_| !is_other(table) || self.is_beside_one(table)).map(|shape| (table, shape))
            }
            Reshape::Like { table, of } => {
                let shape = self.known.get(of).map(|known| known.shape.clone());
                self.known.remove(table);
                shape.map(|shape| (table, shape))
            }
            Reshape::Rename { table, to } => {
                self.known.remove(to);
                self.known.remove(table).map(|known| (to, known.shape))
            }
            Reshape::Drop { table } => {
                self.known.remove(table);
                None
            }
            Reshape::DropDatabase { .. } => {
                self.known.retain(|table, _| !reshape.concerns(table, ignores_case));
                None
            }
        };
        let Some((table, shape)) = known else { return };
        let is_other = is_other(table);
        if is_other && self.known.values().filter(|known| known.is_other).count() >= COPIES_MAX {
            self.known.retain(|_, known| !known.is_other);
        }
        self.known.insert(table.clone(), Known { shape, is_other });
    }

    /// Whether a table may take the name of one that is known, as those do that tools make.
    fn is_beside_one(&self, table: &TableName) -> bool {
        self.known.keys().any(|known| known.database == table.database)
    }

    /// The dictionary's shape is the table's from here on.
    fn take_over(&mut self, table: &TableName) {
        let told = self.looked.get(table).and_then(|looked| looked.shape.as_ref().ok());
        match told {
            Some(shape) => self.known.insert(table.clone(), Known { shape: shape.clone(), is_other: false }),
            None => self.known.remove(table),
        };
    }

    /// Whether the dictionary may tell more if it is read anew.
    fn is_worth_another_look(&self, table: &TableName, here: &FileOffset) -> bool {
        !self.looked.contains_key(table) || !self.read_at.covers(here)
    }

    fn unknown(&self, table: &TableName, here: &FileOffset) -> Error {
        if self.is_worth_another_look(table, here) {
            return self.look_again(table);
        }
        let why = match self.looked.get(table) {
            Some(Looked { ahead: 0, shape: Err((why, advice)) }) => {
                return Error::table_failed(table.clone(), why.clone()).hint(advice.clone());
            }
            _ => {
                "and nothing tells any more how it looked here: it was altered since, and a statement was not understood, or read by nobody"
            }
        };
        let what = format!("its rows are logged without the columns' names (binlog_row_metadata=MINIMAL), {why}");
        Error::table_failed(table.clone(), what).hint(REMEDY)
    }

    fn unfit(&self, table: &TableName, here: &FileOffset) -> Error {
        if self.is_worth_another_look(table, here) {
            return self.look_again(table);
        }
        let what = "its rows are logged without the columns' names (binlog_row_metadata=MINIMAL), and their types are not those                     of the columns that it is known to have here";
        Error::table_failed(table.clone(), what).hint(REMEDY)
    }

    fn look_again(&self, table: &TableName) -> Error {
        self.wanted.add(table);
        Error::transient(format!(
            "the rows of table {table} are logged without the columns' names, and its shape is to be read from the dictionary first"
        ))
    }
}

const REMEDY: &str = "SET PERSIST binlog_row_metadata = 'FULL'; then start anew behind the last statement that altered the table, and copy \
                      it again";

impl Reshape {
    /// Whether it is about this table.
    pub(crate) fn concerns(&self, other: &TableName, ignores_case: bool) -> bool {
        match self {
            Self::Alter { table, .. }
            | Self::Create { table, .. }
            | Self::Like { table, .. }
            | Self::Drop { table } => table == other,
            Self::Rename { table, to } => table == other || to == other,
            Self::DropDatabase { database } => {
                *database == other.database || ignores_case && database.to_lowercase() == other.database.to_lowercase()
            }
        }
    }
}
