//! The statement that makes a table which holds every value of the source's.
//!
//! The table is STRICT, so that nobody's mistake is converted in silence. A key that is one column of whole numbers becomes
//! the table's row id; any other gets an index beside the table's tree. Rows in the tree of the key itself (WITHOUT ROWID) spare
//! that index, but the tree's inner pages hold whole rows then: measured with keys at random, rows of 40 bytes are written as
//! fast and half as small, rows of 250 bytes half as fast, rows of 1,500 bytes a third as fast and twice as big. Nothing is
//! made but columns, NOT NULL and the primary key: defaults, indexes and foreign keys of the source are the business of
//! whoever writes the new table, and would only slow down or break the copying.

use tailrace_contract::{Error, Policy, Result, TableMapping};
use tailrace_row::{Column, TableSchema};

use crate::{
    identifier::{is_same, quote, quote_table},
    target_type::wanted,
};

/// The statement.
pub(crate) fn create_table(schema: &TableSchema, mapping: &TableMapping) -> Result<String> {
    let failed = |message: String| Error::table_failed(schema.name().clone(), message);
    if schema.key().is_empty() {
        return Err(failed("the table has no primary key and no usable unique key".into())
            .hint("add a primary key to the source's table"));
    }
    if let Some([one, other]) = find_same_names(schema.columns()) {
        return Err(failed(format!("SQLite takes the columns {one} and {other} for one"))
            .hint("rename one of them in the source"));
    }
    let on_table = |error: Error| error.on_table(schema.name().clone());
    let mut lines = Vec::with_capacity(schema.columns().len() + 1);
    for (place, column) in schema.columns().iter().enumerate() {
        let is_key = schema.key().contains(&place);
        let policy = mapping.policy(&column.name);
        let target_type = wanted(&column.column_type, is_key, policy);
        let may_be_null = column.nullable || *policy == Policy::Null;
        let not_null = if may_be_null && !is_key { "" } else { " NOT NULL" };
        let name = quote(&column.name).map_err(on_table)?;
        lines.push(format!("{name} {}{not_null}", target_type.sql()));
    }
    let key: Vec<String> =
        schema.key().iter().map(|place| quote(&schema.columns()[*place].name)).collect::<Result<_>>()?;
    lines.push(format!("PRIMARY KEY ({})", key.join(", ")));
    let name = quote_table(&mapping.target).map_err(on_table)?;
    Ok(format!("CREATE TABLE {name} (\n  {}\n) STRICT", lines.join(",\n  ")))
}

/// Two columns that SQLite can't tell apart by name.
fn find_same_names(columns: &[Column]) -> Option<[&str; 2]> {
    columns.iter().enumerate().find_map(|(place, column)| {
        let same = columns[..place].iter().find(|other| is_same(&other.name, &column.name))?;
        Some([&*same.name, &*column.name])
    })
}

/// A name for a proposed statement; one that SQLite does not allow is quoted all the same.
pub(crate) fn quoted(name: &str) -> String {
    quote(name).unwrap_or_else(|_| format!("\"{}\"", name.replace('"', "\"\"").replace('\0', "")))
}

#[cfg(test)]
mod tests {
    use tailrace_contract::TargetTable;
    use tailrace_row::{ColumnType, TableName};

    use super::*;

    fn create(columns: &[(&str, ColumnType)], key: &[usize]) -> Result<String> {
        let column = |(name, column_type): &(&str, ColumnType)| Column {
            name: (*name).into(),
            column_type: column_type.clone(),
            nullable: true,
        };
        let columns: Vec<Column> = columns.iter().map(column).collect();
        let schema = TableSchema::new(TableName::new("shop", "orders"), columns, key).unwrap();
        let target = TargetTable { schema: "main".into(), table: "orders".into() };
        create_table(&schema, &TableMapping::new(schema.name().clone(), target))
    }

    #[test]
    fn keys_of_whole_numbers_are_row_ids() {
        let number = ColumnType::Integer { bits: 64, unsigned: false };
        assert_eq!(
            create(&[("id", number), ("v", ColumnType::Double)], &[0]).unwrap(),
            "CREATE TABLE main.\"orders\" (\n  \"id\" INTEGER NOT NULL,\n  \"v\" ANY,\n  PRIMARY KEY (\"id\")\n) STRICT"
        );
    }

    #[test]
    fn columns_that_are_one_to_sqlite_are_refused() {
        let error = create(&[("id", ColumnType::Year), ("Id", ColumnType::Year)], &[0]).unwrap_err();
        assert!(error.message().contains("columns id and Id"), "{error}");
        assert!(create(&[("ä", ColumnType::Year), ("Ä", ColumnType::Year)], &[0]).is_ok(), "SQLite knows only ASCII");
    }
}
