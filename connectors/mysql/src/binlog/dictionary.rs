//! What MariaDB's table maps keep to themselves: UUID, INET4 and INET6 look like BINARY(16) and BINARY(4) there, and their bytes
//! stand in an order of their own. The dictionary knows which is which.
//!
//! It is read when a stream is opened. A table that came later is missing from it, and then the stream is opened anew; one that
//! is missing although the dictionary was read behind the transaction is gone, and nobody knows any more what its bytes were.

use std::collections::HashMap;

use tailrace_contract::{Error, Result, TableFilter};
use tailrace_row::TableName;

use crate::{
    binlog::no_decoder,
    events::{ColumnShape, TableShape, column_type},
    gtid::{GtidList, TransactionId},
    protocol::Connection,
    row_decoder::{NoDecoder, Unsupported},
    schema,
};

/// Lengths of the types in question.
const SUSPECTS: [u16; 2] = [4, 16];

/// The true types of columns that can be taken for others.
#[derive(Default)]
pub(crate) struct Dictionary {
    /// Types in the dictionary's words by table and column.
    types: HashMap<TableName, HashMap<String, String>>,
    /// What was in the binlog before the dictionary was read.
    read_at: GtidList,
}

impl Dictionary {
    /// Reads the types of all captured tables.
    pub(crate) async fn load(connection: &mut Connection, filter: &TableFilter) -> Result<Self> {
        let row = connection.query_row("SELECT @@GLOBAL.gtid_binlog_pos").await?;
        let read_at = row.text(0).parse();
        let read_at =
            read_at.map_err(|error| Error::corrupt("can't read the server's gtid_binlog_pos").caused_by(error))?;
        let mut types: HashMap<TableName, HashMap<String, String>> = HashMap::new();
        if !filter.patterns.is_empty() {
            let rows = connection
                .query(&format!(
                    "SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS \
                     WHERE DATA_TYPE IN ('binary', 'uuid', 'inet4', 'inet6') AND ({})",
                    schema::condition(filter)
                ))
                .await?;
            for row in rows {
                let table = TableName::new(row.text(0), row.text(1));
                types.entry(table).or_default().insert(row.text(2).to_owned(), row.text(3).to_owned());
            }
        }
        Ok(Self { types, read_at })
    }

    /// Refuses a table with columns that are not what they seem, or may not be.
    pub(super) fn check(
        &self,
        table: &TableName,
        shape: &TableShape<'_>,
        transaction: Option<&TransactionId>,
    ) -> Result<()> {
        let known = self.types.get(table);
        for column in shape.columns.iter().filter(|column| is_suspect(column)) {
            match known.and_then(|columns| columns.get(column.name)).map(String::as_str) {
                Some("binary") => {}
                Some(other) => {
                    let what = format!("type {}", other.to_uppercase());
                    let unsupported = Unsupported { column: column.name.to_owned(), what };
                    return Err(no_decoder(table.clone(), NoDecoder::Unsupported(unsupported)));
                }
                None => return Err(self.unknown(table, column.name, transaction)),
            }
        }
        Ok(())
    }

    fn unknown(&self, table: &TableName, column: &str, transaction: Option<&TransactionId>) -> Error {
        let is_past = matches!(transaction, Some(TransactionId::Mariadb(gtid)) if self.read_at.covers(gtid));
        if !is_past {
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

fn is_suspect(column: &ColumnShape<'_>) -> bool {
    /// Number of the collation `binary`.
    const BINARY: u64 = 63;
    column.code == column_type::STRING && column.collation == Some(BINARY) && SUSPECTS.contains(&column.detail)
}
