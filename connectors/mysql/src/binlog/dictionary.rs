//! What MariaDB's table maps keep to themselves: UUID, INET4 and INET6 look like BINARY(16) and BINARY(4) there. The dictionary
//! knows which is which. Nor do they say which columns are generated: MariaDB 11 logs updates without those, changed or not.
//!
//! It is read when a stream is opened, and follows the statements that alter tables from there on. A table that came later is missing
//! from it, and then the stream is opened anew; one that is missing although the dictionary was read behind its rows is gone, and
//! nobody knows any more what its bytes were. The same holds of rows that lie before a statement which altered their table before the
//! dictionary was read: see [`crate::history::alterations`].

use std::collections::{HashMap, HashSet};

use tailrace_contract::{ColumnStep, Error, Fill, Result, TableAct, TableFilter};
use tailrace_row::{Column, ColumnType, TableName, TextForm};

use crate::{
    binlog::no_decoder,
    events::{ColumnShape, Disguised, TableShape, TypeCode},
    history,
    position::FileOffset,
    row_decoder::{NoDecoder, Unsupported},
    schema,
    server::Server,
    shapes::ReadAt,
};

/// Lengths of the types in question.
const SUSPECTS: [u16; 2] = [4, 16];

/// What is known of a table's columns.
#[derive(Clone, Default)]
struct Columns {
    /// Types in the dictionary's words by column, of those that look like others.
    types: HashMap<String, String>,
    /// Those that are not generated.
    plain: HashSet<String>,
}

/// The true types of columns that can be taken for others.
#[derive(Default)]
pub(crate) struct Dictionary {
    /// As far as they are known where the stream stands.
    tables: HashMap<TableName, Columns>,
    /// Of tables that were altered between the stream's begin and the reading: what is known of each behind each of these statements,
    /// the next one last.
    behind: HashMap<TableName, Vec<Columns>>,
    read_at: ReadAt,
}

impl Dictionary {
    /// Reads the types of all captured tables.
    pub(crate) async fn load(server: &mut Server, filter: &TableFilter) -> Result<Self> {
        let read_at = ReadAt(history::binlogs(server).await?);
        let mut tables: HashMap<TableName, Columns> = HashMap::new();
        if !filter.patterns.is_empty() {
            let rows = server
                .connection
                .query(&format!(
                    "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS \
                     WHERE (DATA_TYPE IN ('uuid', 'inet4', 'inet6', 'vector') OR \
                     DATA_TYPE = 'binary' AND CHARACTER_OCTET_LENGTH IN (4, 16)) AND ({})",
                    schema::condition(filter)
                ))
                .await?;
            for row in rows {
                let table = TableName::new(row.text(0), row.text(1));
                tables.entry(table).or_default().types.insert(row.text(2).to_owned(), row.text(3).to_owned());
            }
            let rows = server
                .connection
                .query(&format!(
                    "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS \
                     WHERE EXTRA NOT LIKE '%GENERATED%' AND ({})",
                    schema::condition(filter)
                ))
                .await?;
            for row in rows {
                let table = TableName::new(row.text(0), row.text(1));
                tables.entry(table).or_default().plain.insert(row.text(2).to_owned());
            }
        }
        Ok(Self { tables, behind: HashMap::new(), read_at })
    }

    /// The tables that it knows.
    pub(crate) fn tables(&self) -> Vec<TableName> {
        self.tables.keys().cloned().collect()
    }

    /// The end of the binlog before it was read.
    pub(crate) fn end(&self) -> Option<(String, u64)> {
        self.read_at.0.last().cloned()
    }

    /// Goes back to the stream's begin: before these statements, which come again.
    pub(crate) fn go_back(&mut self, altered: HashMap<TableName, Vec<TableAct>>) {
        for (table, acts) in altered {
            // Of one that is not there any more nothing is known either way.
            if !self.tables.contains_key(&table) {
                continue;
            }
            let mut columns = self.tables.remove(&table).unwrap_or_default();
            let mut behind = Vec::new();
            for act in acts.iter().rev() {
                behind.push(columns.clone());
                columns.undo(act);
            }
            self.tables.insert(table.clone(), columns);
            self.behind.insert(table, behind);
        }
    }

    /// Takes note of what a statement does to tables.
    pub(super) fn follow(&mut self, acts: &[TableAct]) {
        for act in acts {
            let mut moved = None;
            match act {
                TableAct::Truncate { .. } | TableAct::Create { .. } | TableAct::Renew { .. } => {}
                TableAct::Alter { table, steps } => {
                    // What is missing is read anew if somebody needs it.
                    let is_known = self.tables.get_mut(table).is_some_and(|columns| columns.follow(steps));
                    if !is_known {
                        self.tables.remove(table);
                    }
                }
                TableAct::Rename { table, to } => {
                    self.tables.remove(to);
                    if let Some(columns) = self.tables.remove(table) {
                        self.tables.insert(to.clone(), columns);
                    }
                    moved = Some(to);
                }
                TableAct::Drop { table } | TableAct::Other { table, .. } => drop(self.tables.remove(table)),
            }
            for table in [Some(act.table()), moved].into_iter().flatten() {
                if let Some(known) = self.behind.get_mut(table).and_then(Vec::pop) {
                    let columns = self.tables.entry(table.clone()).or_default();
                    columns.types.extend(known.types);
                    columns.plain.extend(known.plain);
                }
            }
        }
    }

    /// Tells the shape which columns are not what they seem. A table of which this is not known is refused.
    pub(super) fn complete(&self, table: &TableName, shape: &mut TableShape<'_>, here: &FileOffset) -> Result<()> {
        let known = self.tables.get(table).map(|columns| &columns.types);
        for column in &mut shape.columns {
            let told = known.and_then(|columns| columns.get(column.name)).map(String::as_str);
            // A VECTOR looks like VARBINARY.
            if !is_suspect(column) && told != Some("vector") {
                continue;
            }
            match told {
                Some("binary") => {}
                Some("uuid") => column.disguised = Some(Disguised::Uuid),
                Some("inet4") => column.disguised = Some(Disguised::Inet4),
                Some("inet6") => column.disguised = Some(Disguised::Inet6),
                Some(other) => {
                    let what = format!("type {}", other.to_uppercase());
                    let unsupported = Unsupported { column: column.name.to_owned(), what };
                    return Err(no_decoder(table.clone(), NoDecoder::Unsupported(unsupported)));
                }
                None => return Err(self.unknown(table, column.name, here)),
            }
        }
        Ok(())
    }

    /// Refuses what an update does not say of a column that may be generated.
    pub(super) fn check_plain(&self, table: &TableName, column: &str, here: &FileOffset) -> Result<()> {
        match self.tables.get(table).map(|columns| &columns.plain) {
            Some(columns) if columns.contains(column) => Ok(()),
            None if !self.read_at.covers(here) => {
                Err(Error::transient(format!("table {table} is newer than what was read of the dictionary")))
            }
            Some(_) | None => {
                let what = format!("an UPDATE was logged without column {column}, which is generated or gone");
                Err(Error::table_failed(table.clone(), what).hint(
                    "make it a plain column, or leave the table out; then start anew behind this transaction and copy the table again",
                ))
            }
        }
    }

    fn unknown(&self, table: &TableName, column: &str, here: &FileOffset) -> Error {
        if !self.read_at.covers(here) {
            return Error::transient(format!(
                "table {table} is newer than what was read of the dictionary, which alone tells the type of its column {column}"
            ));
        }
        Error::table_failed(
            table.clone(),
            format!(
                "its column {column} was BINARY, UUID, INET4 or INET6, and the server's dictionary no longer says which"
            ),
        )
        .hint("the table was dropped, renamed or altered since: start anew behind that and copy it again")
    }
}

impl Columns {
    /// Takes a column away: its type, and whether it is plain. Names of columns know no case.
    fn take(&mut self, name: &str) -> (Option<String>, bool) {
        let is_it = |key: &&String| key.to_lowercase() == name.to_lowercase();
        let typed = self.types.keys().find(is_it).cloned();
        let plain = self.plain.iter().find(is_it).cloned();
        (typed.and_then(|key| self.types.remove(&key)), plain.is_some_and(|key| self.plain.remove(&key)))
    }

    fn rename(&mut self, from: &str, to: &str) {
        let (told, is_plain) = self.take(from);
        self.types.extend(told.map(|told| (to.to_owned(), told)));
        self.plain.extend(is_plain.then(|| to.to_owned()));
    }

    /// What is known before the act, from what is known behind it.
    fn undo(&mut self, act: &TableAct) {
        let steps = match act {
            TableAct::Truncate { .. } | TableAct::Renew { .. } => return,
            TableAct::Alter { steps, .. } => steps,
            // Before it the name was nobody's, or another table's.
            TableAct::Create { .. } | TableAct::Drop { .. } | TableAct::Rename { .. } | TableAct::Other { .. } => {
                return *self = Self::default();
            }
        };
        for step in steps.iter().rev() {
            match step {
                ColumnStep::Add { column, .. } | ColumnStep::Change { column } => drop(self.take(&column.name)),
                ColumnStep::Drop { .. } => {}
                ColumnStep::Rename { column, to } => self.rename(to, column),
            }
        }
    }

    /// Whether all is known behind the steps.
    fn follow(&mut self, steps: &[ColumnStep]) -> bool {
        for step in steps {
            let column = match step {
                ColumnStep::Drop { column } => {
                    self.take(column);
                    continue;
                }
                ColumnStep::Rename { column, to } => {
                    self.rename(column, to);
                    continue;
                }
                // The server may compute it.
                ColumnStep::Add { fill: Fill::Unknown(_), .. } => return false,
                // A change after which the server computes a column is none of these.
                ColumnStep::Add { column, .. } | ColumnStep::Change { column } => column,
            };
            self.take(&column.name);
            self.types.extend(told(column).map(|told| (column.name.to_string(), told.to_owned())));
            self.plain.insert(column.name.to_string());
        }
        true
    }
}

/// The dictionary's word for a type that can be taken for another one.
fn told(column: &Column) -> Option<&'static str> {
    match &column.column_type {
        ColumnType::Uuid => Some("uuid"),
        ColumnType::Inet4 => Some("inet4"),
        ColumnType::Inet6 => Some("inet6"),
        ColumnType::Bytes { form: TextForm::Fixed, .. } => Some("binary"),
        _ => None,
    }
}

fn is_suspect(column: &ColumnShape<'_>) -> bool {
    /// Number of the collation `binary`.
    const BINARY: u64 = 63;
    column.code == TypeCode::Char && column.collation == Some(BINARY) && SUSPECTS.contains(&column.detail)
}
