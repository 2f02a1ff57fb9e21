//! What is known of keys where a stream begins: what its position carries, and what the dictionary tells. The order of the steps is that
//! of [`crate::shapes`]: the end of the binlog, each table by a query of its own, the dictionary; the statements are counted behind it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tailrace_contract::{ErrorKind, Result, TableFilter, TablePattern};
use tailrace_row::TableName;

use super::{Found, Keys, Looked, UniqueKey};
use crate::{
    protocol::{Connection, quote_table},
    schema,
    server::Server,
    shapes,
};

/// Reads what the dictionary says of tables of which the position does not say all. [`Keys::begin`] makes use of it.
pub(crate) async fn look(
    server: &mut Server,
    filter: &TableFilter,
    mut known: BTreeMap<TableName, UniqueKey>,
) -> Result<Keys> {
    let read_at = shapes::read_at(server).await?;
    // What is captured no longer was followed no longer.
    known.retain(|table, _| filter.matches(&table.database, &table.table));
    let schema::ByKey { mut primary, keyless } = schema::by_key(&mut server.connection, filter).await?;
    primary.retain(|table| !known.contains_key(table));
    let is_dark = |table: &TableName| known.get(table).is_none_or(|key| key.index.is_empty());
    let dark = keyless.into_iter().chain(known.keys().cloned()).filter(|table| is_dark(table)).collect();
    let looked = dictionary(&mut server.connection, dark).await?;
    Ok(Keys { known, primary, looked, read_at, is_changed: true })
}

async fn dictionary(connection: &mut Connection, tables: BTreeSet<TableName>) -> Result<HashMap<TableName, Looked>> {
    let mut looked: HashMap<TableName, Looked> = HashMap::new();
    if tables.is_empty() {
        return Ok(looked);
    }
    // Whoever holds a table for long keeps its writers waiting too.
    connection.execute("SET SESSION lock_wait_timeout = 20").await?;
    let mut settled = BTreeSet::new();
    for table in &tables {
        match connection.query(&format!("SELECT 1 FROM {} LIMIT 0", quote_table(table))).await {
            Ok(_) => drop(settled.insert(table.clone())),
            // It is not there, or must not be read.
            Err(error) if error.kind() == ErrorKind::Refused => {}
            Err(error) => return Err(error),
        }
    }
    let patterns = tables.iter().cloned().map(TablePattern::Table).collect();
    let found = schema::find(connection, &TableFilter { patterns }).await?;
    looked.extend(tables.into_iter().map(|table| (table, Looked { ahead: 0, found: Found::Nothing })));
    for found in found.into_iter().filter(|found| settled.contains(&found.name)) {
        let told = if found.is_keyless { Found::Keyless(found.unique_key) } else { Found::Primary };
        looked.insert(found.name, Looked { ahead: 0, found: told });
    }
    Ok(looked)
}
