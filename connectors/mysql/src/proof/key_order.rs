//! What decides the order of a table's key, as the dictionary has it; and whether its engine is one that is read.
//!
//! A range means the same rows as a reader's only if both go by one order, so each read asks for it anew.

use mysql_async::{Conn, prelude::Queryable as _};
use tailrace_contract::Result;
use tailrace_row::TableSchema;

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
    pub(super) async fn ask(connection: &mut Conn, schema: &TableSchema) -> Result<Self> {
        let table = schema.name();
        let index = text_literal(&index(connection, schema).await?);
        // Named for each of the three: else MariaDB opens all tables that there are.
        let (database, name) = (text_literal(&table.database), text_literal(&table.table));
        let sql = format!(
            "SELECT t.ENGINE, s.COLUMN_NAME, c.COLLATION_NAME, s.COLLATION \
             FROM information_schema.TABLES t, information_schema.STATISTICS s, information_schema.COLUMNS c \
             WHERE t.TABLE_SCHEMA = {database} AND t.TABLE_NAME = {name} \
             AND s.TABLE_SCHEMA = {database} AND s.TABLE_NAME = {name} AND s.INDEX_NAME = {index} \
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

/// The unique index whose parts are the columns of the key, all of them and nothing else; the primary key comes before others.
async fn index(connection: &mut Conn, schema: &TableSchema) -> Result<String> {
    let (database, name) = (text_literal(&schema.name().database), text_literal(&schema.name().table));
    let sql = format!(
        "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS \
         WHERE TABLE_SCHEMA = {database} AND TABLE_NAME = {name} AND NON_UNIQUE = 0 \
         ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"
    );
    let parts: Vec<(String, Option<String>, Option<u64>)> = connection.query(sql).await.map_err(failed)?;
    let key = || schema.key().iter().map(|place| &*schema.columns()[*place].name);
    let is_key = |parts: &&[(String, Option<String>, Option<u64>)]| {
        let is_whole = parts[0].0 == "PRIMARY" || parts.iter().all(|(_, _, prefix)| prefix.is_none());
        is_whole && parts.iter().map(|(_, column, _)| column.as_deref().unwrap_or_default()).eq(key())
    };
    let found = parts.chunk_by(|one, other| one.0 == other.0).find(is_key);
    Ok(found.map_or_else(|| "PRIMARY".to_owned(), |parts| parts[0].0.clone()))
}
