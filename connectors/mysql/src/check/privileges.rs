//! Whether the account may read each captured table.
//!
//! The dictionary shows a table to every account with any privilege on it, and hides it from the others; so a table that
//! seems to be missing may only be hidden. The server decides about privileges before it looks whether a table exists: a
//! question that is refused tells, and one that fails otherwise is not about privileges.

use std::collections::BTreeSet;

use tailrace_contract::{Problem, Result, Severity, TableFilter, TablePattern};
use tailrace_row::TableName;

use super::{account, privilege};
use crate::{errors, grants, protocol::Connection, schema::FoundTable};

/// No table has this name; only its database's privileges are asked for.
const NO_TABLE: &str = "tailrace_no_such_table";

/// Adds what is missing, and returns the patterns whose tables may be hidden from us.
pub(super) async fn check(
    connection: &mut Connection,
    filter: &TableFilter,
    found: &[FoundTable],
    problems: &mut Vec<Problem>,
) -> Result<Vec<TablePattern>> {
    // A statement that waits for a lock has its privileges already.
    connection.execute("SET SESSION lock_wait_timeout = 1").await?;
    let are_patterns_exact = are_patterns_exact(connection).await?;
    let mut hidden = Vec::new();
    for pattern in &filter.patterns {
        let tables: BTreeSet<TableName> = match pattern {
            TablePattern::Table(name) => [name.clone()].into(),
            TablePattern::Database(database) => {
                let of_pattern = found.iter().filter(|table| *table.name.database == **database);
                of_pattern.map(|table| table.name.clone()).chain([TableName::new(database, NO_TABLE)]).collect()
            }
        };
        let mut denied = Vec::new();
        for table in &tables {
            if !may_read(connection, table).await? {
                denied.push(table);
            }
        }
        if let Some(found) = told(pattern, &tables, &denied) {
            let object = grants::object(pattern, are_patterns_exact);
            let problem = privilege("SELECT", &object, &account(connection).await?);
            let (severity, found) = (found.0, found.1.to_owned());
            problems.push(Problem { severity, object: format!("table {pattern}"), found, ..problem });
            hidden.push(pattern.clone());
        }
    }
    Ok(hidden)
}

fn told(
    pattern: &TablePattern,
    tables: &BTreeSet<TableName>,
    denied: &[&TableName],
) -> Option<(Severity, &'static str)> {
    let is_only_probe = tables.len() > 1 && denied.iter().all(|table| &*table.table == NO_TABLE);
    match pattern {
        _ if denied.is_empty() => None,
        TablePattern::Table(_) => Some((Severity::Error, "the account may not read it")),
        TablePattern::Database(_) if is_only_probe => {
            Some((Severity::Warning, "the account may read those of today, but none that comes later"))
        }
        TablePattern::Database(_) => Some((Severity::Error, "the account may not read them all")),
    }
}

async fn may_read(connection: &mut Connection, table: &TableName) -> Result<bool> {
    let sql = format!("SELECT 1 FROM {} LIMIT 0", crate::protocol::quote_table(table));
    match connection.query(&sql).await {
        Err(error) if errors::is_privilege_missing(&error) => Ok(false),
        Err(error) if errors::is_connection_gone(&error) => Err(error),
        // It may be gone, or be locked.
        Ok(_) | Err(_) => Ok(true),
    }
}

/// With `partial_revokes` the server takes `_` and `%` in the name of a database as themselves.
async fn are_patterns_exact(connection: &mut Connection) -> Result<bool> {
    match connection.query_row("SELECT @@GLOBAL.partial_revokes").await {
        Ok(row) => Ok(row.text(0) == "1"),
        Err(error) if error.kind() == tailrace_contract::ErrorKind::Refused => Ok(false),
        Err(error) => Err(error),
    }
}
