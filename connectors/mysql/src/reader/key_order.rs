//! What a table is held to beside its schema: its engine, and what decides the order of its key.
//!
//! Which rows lie between two keys depends on the collation and the direction of each column, and no table map tells the direction.
//! A chunk that begins with a bound under one order and ends under another would lack rows of both.

use tailrace_contract::Result;
use tailrace_row::TableName;

use crate::{
    engine,
    protocol::{Connection, Row, quote_name, quote_table, quote_text},
};

/// The index of the key and its columns, in key order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyOrder {
    index: Box<str>,
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
struct Part {
    column: String,
    /// Empty where nothing is compared by one.
    collation: String,
    is_descending: bool,
}

/// As a ledger keeps it.
impl std::fmt::Display for KeyOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, Part { column, collation, is_descending }) in self.parts.iter().enumerate() {
            let (comma, direction) = (if place == 0 { "" } else { ", " }, if *is_descending { " DESC" } else { "" });
            write!(f, "{comma}{}", quote_name(column))?;
            if !collation.is_empty() {
                write!(f, " COLLATE {collation}")?;
            }
            f.write_str(direction)?;
        }
        Ok(())
    }
}

impl KeyOrder {
    /// As the dictionary has it now; a table that must not be read is an error. Empty if the table or its key is gone.
    pub(super) async fn ask(connection: &mut Connection, table: &TableName, index: &str) -> Result<Self> {
        // Named for each of the three: else MariaDB opens all tables that there are.
        let (database, name) = (quote_text(&table.database), quote_text(&table.table));
        let index_name = quote_text(index);
        let sql = format!(
            "SELECT t.ENGINE, s.COLUMN_NAME, c.COLLATION_NAME, s.COLLATION \
             FROM information_schema.TABLES t, information_schema.STATISTICS s, information_schema.COLUMNS c \
             WHERE t.TABLE_SCHEMA = {database} AND t.TABLE_NAME = {name} \
             AND s.TABLE_SCHEMA = {database} AND s.TABLE_NAME = {name} AND s.INDEX_NAME = {index_name} \
             AND c.TABLE_SCHEMA = {database} AND c.TABLE_NAME = {name} AND c.COLUMN_NAME = s.COLUMN_NAME \
             ORDER BY s.SEQ_IN_INDEX"
        );
        let rows = connection.query(&sql).await?;
        if let Some(row) = rows.first() {
            engine::check(table, row.text(0), engine::mend(&quote_table(table)))?;
        }
        let part = |row: &Row| Part {
            column: row.text(1).to_owned(),
            collation: row.text(2).to_owned(),
            is_descending: row.text(3) == "D",
        };
        Ok(Self { index: index.into(), parts: rows.iter().map(part).collect() })
    }

    /// The name of the index.
    pub(super) fn index(&self) -> &str {
        &self.index
    }

    pub(super) fn is_descending(&self, column: &str) -> bool {
        self.parts.iter().any(|part| part.is_descending && part.column == column)
    }
}
