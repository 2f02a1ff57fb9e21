//! The statements that make a table which holds every value of the source's.
//!
//! Text keys get the collation "C": there equality is that of bytes, as keys are told apart here. Nothing is made but
//! columns, NOT NULL and the primary key: defaults, indexes and foreign keys of the source are the business of whoever
//! writes the new table, and would only slow down or break the copying.

use tailrace_contract::{Error, Policy, Result, TableMapping, TargetTable};
use tailrace_row::TableSchema;

use crate::{
    identifier::{quote, quote_table},
    target_type::wanted,
};

/// The schema that every database has.
const PUBLIC: &str = "public";

/// The statements, in order, each complete.
pub(crate) fn create_statements(schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<String>> {
    let mut statements = Vec::new();
    if &*mapping.target.schema != PUBLIC {
        statements.push(create_schema(&mapping.target)?);
    }
    statements.push(create_table(schema, mapping)?);
    Ok(statements)
}

/// The schema's statement alone.
pub(crate) fn create_schema(target: &TargetTable) -> Result<String> {
    Ok(format!("CREATE SCHEMA IF NOT EXISTS {}", quote(&target.schema)?))
}

/// The table's statement alone.
pub(crate) fn create_table(schema: &TableSchema, mapping: &TableMapping) -> Result<String> {
    if schema.key().is_empty() {
        return Err(Error::table_failed(
            schema.name().clone(),
            "the table has no primary key and no usable unique key",
        )
        .hint("add a primary key to the source's table"));
    }
    let on_table = |error: Error| error.on_table(schema.name().clone());
    let mut lines = Vec::with_capacity(schema.columns().len() + 1);
    for (place, column) in schema.columns().iter().enumerate() {
        let policy = mapping.policy(&column.name);
        let target_type = wanted(&column.column_type, policy);
        let is_key = schema.key().contains(&place);
        let collation = if is_key && target_type.is_text() { " COLLATE \"C\"" } else { "" };
        let may_be_null = column.nullable || *policy == Policy::Null;
        let not_null = if may_be_null && !is_key { "" } else { " NOT NULL" };
        let name = quote(&column.name).map_err(on_table)?;
        lines.push(format!("{name} {}{collation}{not_null}", target_type.sql()));
    }
    let key: Vec<String> =
        schema.key().iter().map(|place| quote(&schema.columns()[*place].name)).collect::<Result<_>>()?;
    lines.push(format!("PRIMARY KEY ({})", key.join(", ")));
    let name = quote_table(&mapping.target).map_err(on_table)?;
    Ok(format!("CREATE TABLE {name} (\n  {}\n)", lines.join(",\n  ")))
}

/// A name for a proposed statement; one that PostgreSQL does not allow is quoted all the same.
pub(crate) fn quoted(name: &str) -> String {
    quote(name).unwrap_or_else(|_| format!("\"{}\"", name.replace('"', "\"\"").replace('\0', "")))
}
