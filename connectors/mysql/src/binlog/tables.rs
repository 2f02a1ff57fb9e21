//! The tables of the stream, by the ids that table maps give them.
//!
//! A server sends a table map before the rows of each statement. One that is byte for byte the known one costs a comparison;
//! else the decoder is compiled anew. Ids mean nothing beyond a file: a restarted server counts from the beginning.

use std::{collections::HashMap, sync::Arc};

use tailrace_contract::{ColumnStep, Error, Result, TableAct, TableFilter};
use tailrace_row::{TableName, TableSchema};

use super::{Dictionary, place::Place};
use crate::{
    events::{QueryEvent, TableMap},
    keys::Keys,
    protocol::Malformed,
    row_decoder::{NoDecoder, RowDecoder, charset::Collations},
    shapes::{Memory, Shapes},
    statement::{Captured, Copies},
};

/// Ids kept at most; a server that closes and opens tables gives new ones without end.
const KEPT_MAX: usize = 4096;

pub(super) struct Tables {
    names: TableNames,
    collations: Arc<Collations>,
    /// Present if the server is MariaDB.
    dictionary: Option<Dictionary>,
    /// Of MySQL: what table maps without names keep to themselves.
    shapes: Shapes,
    /// Of tables without a primary key.
    keys: Keys,
    /// What positions carry of both.
    memory: [String; 2],
    by_id: HashMap<u64, Known>,
    /// How many began.
    transaction: u64,
    copies: Copies,
}

/// Which tables are captured, and how the server compares names.
pub(super) struct TableNames {
    pub(super) filter: Arc<TableFilter>,
    pub(super) ignores_case: bool,
    /// Whether it logs what foreign keys change.
    pub(super) logs_cascades: bool,
}

struct Known {
    /// In which it came last.
    transaction: u64,
    map: Box<[u8]>,
    /// `None` if the table is not captured.
    decoder: Option<Arc<RowDecoder>>,
}

/// Why a table map can't be used.
pub(super) enum BadMap {
    Malformed(Malformed),
    Refused(Error),
}

impl From<Malformed> for BadMap {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl Tables {
    pub(super) fn new(
        names: TableNames,
        collations: Arc<Collations>,
        dictionary: Option<Dictionary>,
        (shapes, keys): (Shapes, Keys),
    ) -> Self {
        Self {
            names,
            collations,
            dictionary,
            shapes,
            keys,
            memory: Default::default(),
            by_id: HashMap::new(),
            transaction: 0,
            copies: Copies::default(),
        }
    }

    /// The captured tables, as statements name them.
    pub(super) fn captured(&self) -> Captured<'_> {
        Captured {
            filter: &self.names.filter,
            collations: &self.collations,
            ignores_case: self.names.ignores_case,
            is_mariadb: self.dictionary.is_some(),
            logs_cascades: self.names.logs_cascades,
        }
    }

    /// What is done to columns of a captured table by giving its name to another one, as far as the statements before tell. To be asked
    /// of every statement.
    pub(super) fn swaps(&mut self, query: &QueryEvent<'_>, acts: &[TableAct]) -> Vec<TableAct> {
        let mut copies = std::mem::take(&mut self.copies);
        let decoders = self.by_id.values().filter_map(|known| known.decoder.as_deref());
        let mut swaps =
            copies.follow(&self.captured(), query, acts, decoders.map(RowDecoder::schema).map(AsRef::as_ref));
        self.copies = copies;
        swaps.iter_mut().for_each(|act| self.spell(act));
        swaps
    }

    /// A statement changes tables: writes their columns as they are spelled, and takes note.
    pub(super) fn follow(&mut self, acts: &mut [TableAct]) {
        for act in acts.iter_mut() {
            self.spell(act);
        }
        if let Some(dictionary) = &mut self.dictionary {
            dictionary.follow(acts);
        }
        let is_changed = |name: &TableName| {
            acts.iter().any(|act| act.table() == name || matches!(act, TableAct::Rename { to, .. } if to == name))
        };
        self.by_id.retain(|_, known| !known.decoder.as_ref().is_some_and(|known| is_changed(known.schema().name())));
    }

    /// Takes note of what a statement does to the shapes of tables. To be asked of every statement.
    pub(super) fn reshape(&mut self, query: &QueryEvent<'_>) {
        if self.dictionary.is_none() {
            let reshapes = self.captured().reshapes(query);
            self.shapes.follow(&self.names.filter, self.names.ignores_case, reshapes);
        }
    }

    /// Takes note of what a statement does to the keys of tables without a primary key. To be asked of every statement.
    /// Returns those whose rows may be known by another key from here on, and why.
    pub(super) fn rekey(&mut self, query: &QueryEvent<'_>) -> Vec<(TableName, String)> {
        let changes = self.captured().key_changes(query);
        let lost = self.keys.follow(&changes, self.names.ignores_case);
        // Their next table map may look like the last one.
        let is_lost = |name: &TableName| lost.iter().any(|(table, _)| table == name);
        self.by_id.retain(|_, known| !known.decoder.as_ref().is_some_and(|known| is_lost(known.schema().name())));
        lost
    }

    /// What positions are to carry of shapes and keys from here on, if that has changed.
    pub(super) fn changed_memory(&mut self) -> Option<String> {
        let changed = [self.shapes.changed_memory(), self.keys.changed_memory()];
        if changed.iter().all(Option::is_none) {
            return None;
        }
        for (memory, changed) in self.memory.iter_mut().zip(changed) {
            *memory = changed.unwrap_or_else(|| std::mem::take(memory));
        }
        let [shapes, keys] = &self.memory;
        Some(Memory::text(shapes, keys))
    }

    /// The server does not mind the case of a column's name; targets do.
    fn spell(&self, act: &mut TableAct) {
        let TableAct::Alter { table, steps } = act else { return };
        let decoders = self.by_id.values().filter_map(|known| known.decoder.as_ref());
        let Some(known) = decoders.map(|decoder| decoder.schema()).find(|schema| schema.name() == table) else {
            return;
        };
        for step in steps {
            let (ColumnStep::Drop { column } | ColumnStep::Rename { column, .. }) = step else { continue };
            let spelled = known.columns().iter().find(|known| known.name.to_lowercase() == column.to_lowercase());
            if let Some(spelled) = spelled {
                *column = spelled.name.clone();
            }
        }
    }

    /// A new file begins.
    pub(super) fn forget(&mut self) {
        self.by_id.clear();
    }

    /// A transaction begins: no table map before it counts any more, but the same ones will come again.
    #[inline]
    pub(super) fn begin_transaction(&mut self) {
        self.transaction += 1;
        if self.by_id.len() > KEPT_MAX {
            self.forget();
        }
    }

    /// Takes the table map that lies there; gives the decoder of a captured table.
    pub(super) fn learn(&mut self, body: &[u8], place: &Place) -> std::result::Result<Option<Arc<RowDecoder>>, BadMap> {
        let map = TableMap::parse(body)?;
        let transaction = self.transaction;
        if let Some(known) = self.by_id.get_mut(&map.table_id)
            && *known.map == *body
        {
            known.transaction = transaction;
            return Ok(known.decoder.clone());
        }
        let is_captured = self.names.filter.matches(map.database, map.table);
        let decoder = if is_captured { Some(Arc::new(self.compile(&map, place)?)) } else { None };
        self.by_id.insert(map.table_id, Known { transaction, map: body.into(), decoder: decoder.clone() });
        Ok(decoder)
    }

    /// The decoder of a table; the inner `None` if it is not captured, the outer if the id is unknown in this transaction.
    #[inline]
    pub(super) fn decoder(&self, table_id: u64) -> Option<Option<&Arc<RowDecoder>>> {
        let known = self.by_id.get(&table_id).filter(|known| known.transaction == self.transaction)?;
        Some(known.decoder.as_ref())
    }

    pub(super) fn is_of_mariadb(&self) -> bool {
        self.dictionary.is_some()
    }

    /// Refuses an update that says nothing of a column which may have changed all the same.
    pub(super) fn check_unchanged(&self, schema: &TableSchema, column: usize, place: &Place) -> Result<()> {
        let Some(dictionary) = &self.dictionary else { return Ok(()) };
        dictionary.check_plain(schema.name(), &schema.columns()[column].name, &place.here())
    }

    fn compile(&mut self, map: &TableMap<'_>, place: &Place) -> std::result::Result<RowDecoder, BadMap> {
        let (name, here) = (TableName::new(map.database, map.table), place.here());
        let mut shape = map.shape(self.dictionary.is_some())?;
        let has_names = shape.has_names;
        match &self.dictionary {
            Some(_) if !has_names => return Err(BadMap::Refused(nameless(name))),
            Some(dictionary) => dictionary.complete(&name, &mut shape, &here).map_err(BadMap::Refused)?,
            None if !has_names => shape = self.shapes.complete(&name, shape, &here).map_err(BadMap::Refused)?,
            None => {}
        }
        let decoder = RowDecoder::compile(name.clone(), &shape, &self.collations);
        let decoder = decoder.map_err(|none| BadMap::Refused(no_decoder(name.clone(), none)))?;
        check_key(name.clone(), decoder.schema().key()).map_err(BadMap::Refused)?;
        let schema = decoder.schema();
        let key = || schema.key().iter().map(|place| schema.columns()[*place].name.clone()).collect();
        let is_keyless = has_names && self.keys.learn(&name, key(), &here).map_err(BadMap::Refused)?;
        match (&self.dictionary, has_names) {
            (Some(_), _) => {}
            (None, true) if is_keyless => self.shapes.forget(&name),
            (None, true) => self.shapes.learn(decoder.schema(), &here),
            (None, false) => {
                self.shapes.check(&name, decoder.schema().columns(), &here).map_err(BadMap::Refused)?;
                self.shapes.need();
            }
        }
        Ok(decoder)
    }
}

/// The error of rows of MariaDB that don't say which columns they have.
fn nameless(name: TableName) -> Error {
    Error::table_failed(name, "its rows are logged without the columns' names (binlog_row_metadata=MINIMAL)").hint(
        "SET GLOBAL binlog_row_metadata = 'FULL'; what is logged already stays unreadable, so start anew behind it",
    )
}

/// A row without a key can't be found again at the target.
pub(crate) fn check_key(name: TableName, key: &[usize]) -> Result<()> {
    if !key.is_empty() {
        return Ok(());
    }
    let quoted = crate::protocol::quote_table(&name);
    Err(Error::table_failed(name, "it has no primary key, and no unique key whose columns are all NOT NULL").hint(format!(
        "ALTER TABLE {quoted} ADD PRIMARY KEY (…), or a UNIQUE key of NOT NULL columns (as the first index of SHOW INDEX), or ADD COLUMN id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY INVISIBLE, or leave the table out"
    )))
}

/// The error of a table whose columns can't all be decoded.
pub(crate) fn no_decoder(name: TableName, none: NoDecoder) -> Error {
    match none {
        NoDecoder::Unsupported(unsupported) => Error::table_failed(
            name,
            format!("column {} has {}, which is not supported yet", unsupported.column, unsupported.what),
        )
        .hint("change the column, or leave the table out"),
        NoDecoder::Schema(error) => Error::table_failed(name, "its columns make no schema").caused_by(error),
    }
}
