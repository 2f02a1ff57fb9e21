//! What MariaDB's table maps keep to themselves: UUID, INET4 and INET6 look like BINARY(16) and BINARY(4) there. The dictionary
//! knows which is which. Nor do they say which columns are generated: MariaDB 11 logs updates without those, changed or not.
//!
//! It is read when a stream is opened. A table that came later is missing from it, and then the stream is opened anew; one that
//! is missing although the dictionary was read behind its rows is gone, and nobody knows any more what its bytes were. The same
//! holds of rows that lie before a statement which altered their table: see [`crate::history::alterations`].

use std::collections::{HashMap, HashSet};

use tailrace_contract::{Error, Result, TableFilter};
use tailrace_row::TableName;

use crate::{
    binlog::no_decoder,
    events::{ColumnShape, Disguised, TableShape, TypeCode},
    history,
    position::FileOffset,
    row_decoder::{NoDecoder, Unsupported},
    schema,
    server::Server,
};

/// Lengths of the types in question.
const SUSPECTS: [u16; 2] = [4, 16];

/// The true types of columns that can be taken for others.
#[derive(Default)]
pub(crate) struct Dictionary {
    /// Types in the dictionary's words by table and column.
    types: HashMap<TableName, HashMap<String, String>>,
    /// The columns of all captured tables that are not generated.
    plain: HashMap<TableName, HashSet<String>>,
    /// Tables that were altered between the stream's begin and the reading.
    altered: HashSet<TableName>,
    /// The binlog before the dictionary was read: names and sizes of its files, oldest first.
    read_at: Vec<(String, u64)>,
}

impl Dictionary {
    /// Reads the types of all captured tables.
    pub(crate) async fn load(server: &mut Server, filter: &TableFilter) -> Result<Self> {
        let read_at = history::binlogs(server).await?;
        let mut types: HashMap<TableName, HashMap<String, String>> = HashMap::new();
        let mut plain: HashMap<TableName, HashSet<String>> = HashMap::new();
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
                types.entry(table).or_default().insert(row.text(2).to_owned(), row.text(3).to_owned());
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
                plain.entry(table).or_default().insert(row.text(2).to_owned());
            }
        }
        Ok(Self { types, plain, altered: HashSet::new(), read_at })
    }

    /// The tables whose rows can't be read without it.
    pub(crate) fn tables(&self) -> Vec<TableName> {
        self.types.keys().cloned().collect()
    }

    /// Takes note of the tables whose rows, as far as they are logged already, are from before an alteration.
    pub(crate) fn set_altered(&mut self, tables: HashSet<TableName>) {
        self.altered = tables;
    }

    /// Tells the shape which columns are not what they seem. A table of which this is not known is refused.
    pub(super) fn complete(&self, table: &TableName, shape: &mut TableShape<'_>, here: &FileOffset) -> Result<()> {
        // The stream ends at the statement that altered it, so all of its rows in here lie before that.
        let known = self.types.get(table).filter(|_| !self.altered.contains(table));
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
        match self.plain.get(table) {
            Some(columns) if columns.contains(column) => Ok(()),
            None if !self.is_behind(here) => {
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
        if !self.is_behind(here) {
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

    /// Whether it was read after the place was written. GTIDs don't tell: without `gtid_strict_mode` their numbers may go back.
    fn is_behind(&self, here: &FileOffset) -> bool {
        let Some(at) = self.read_at.iter().position(|(name, _)| **name == *here.file) else { return false };
        at + 1 < self.read_at.len() || here.offset < self.read_at[at].1
    }
}

fn is_suspect(column: &ColumnShape<'_>) -> bool {
    /// Number of the collation `binary`.
    const BINARY: u64 = 63;
    column.code == TypeCode::Char && column.collation == Some(BINARY) && SUSPECTS.contains(&column.detail)
}
