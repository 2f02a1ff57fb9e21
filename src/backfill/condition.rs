//! Whether the source takes the conditions under which rows are copied.

use tailrace_contract::{Error, Result, Source, TableFilter, TablePattern};
use tailrace_row::TableName;

use crate::mapping::TableRules;

/// The tables that are copied under a condition, each with it.
pub(crate) fn conditions(rules: &TableRules) -> impl Iterator<Item = (&TableName, &str)> {
    rules.as_slice().iter().filter(|rule| rule.is_copied).filter_map(|rule| match (&rule.pattern, &rule.condition) {
        (TablePattern::Table(table), Some(condition)) => Some((table, &**condition)),
        (TablePattern::Table(_) | TablePattern::Database(_), _) => None,
    })
}

/// Has the source judge a condition. It reads no row. A table that is not there is told elsewhere.
pub(crate) async fn try_condition(source: &dyn Source, table: &TableName, condition: &str) -> Result<()> {
    let filter = TableFilter { patterns: vec![TablePattern::Table(table.clone())] };
    let Some(schema) = source.tables(&filter).await?.pop() else { return Ok(()) };
    let named = |error: Error| error.on_table(table.clone());
    source.open_chunks(schema).await?.restrict(condition).await.map_err(named)
}
