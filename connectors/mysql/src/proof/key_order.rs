//! What decides the order of a table's key, as the dictionary has it; and whether its engine is one that is read.
//!
//! A range means the same rows as a reader's only if both go by one order, so each read asks for it anew.

use mysql_async::{Conn, prelude::Queryable as _};
use tailrace_contract::Result;
use tailrace_row::TableName;

use super::{
    question::{quote, text_literal},
    session::failed,
};
use crate::engine;

/// The columns of the key, in key order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyOrder(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
struct Part {
    column: String,
    collation: Option<String>,
    is_descending: bool,
}

/// Engine, column, its collation, and the direction in the index.
type Answer = (Option<String>, String, Option<String>, Option<String>);

impl KeyOrder {
    /// An error if the table's engine is none that is read. Empty if the table or its key is gone.
    pub(super) async fn ask(connection: &mut Conn, table: &TableName) -> Result<Self> {
        // Named for each of the three: else MariaDB opens all tables that there are.
        let (database, name) = (text_literal(&table.database), text_literal(&table.table));
        let sql = format!(
            "SELECT t.ENGINE, s.COLUMN_NAME, c.COLLATION_NAME, s.COLLATION \
             FROM information_schema.TABLES t, information_schema.STATISTICS s, information_schema.COLUMNS c \
             WHERE t.TABLE_SCHEMA = {database} AND t.TABLE_NAME = {name} \
             AND s.TABLE_SCHEMA = {database} AND s.TABLE_NAME = {name} AND s.INDEX_NAME = 'PRIMARY' \
             AND c.TABLE_SCHEMA = {database} AND c.TABLE_NAME = {name} AND c.COLUMN_NAME = s.COLUMN_NAME \
             ORDER BY s.SEQ_IN_INDEX"
        );
        let rows: Vec<Answer> = connection.query(sql).await.map_err(failed)?;
        if let Some((engine, ..)) = rows.first() {
            let quoted = format!("{}.{}", quote(&table.database), quote(&table.table));
            engine::check(table, engine.as_deref().unwrap_or_default(), engine::mend(&quoted))?;
        }
        let part = |(_, column, collation, direction): Answer| Part {
            column,
            collation,
            is_descending: direction.as_deref() == Some("D"),
        };
        Ok(Self(rows.into_iter().map(part).collect()))
    }

    pub(super) fn is_descending(&self, column: &str) -> bool {
        self.0.iter().any(|part| part.is_descending && part.column == column)
    }
}
