//! Names in SQL: the only place that quotes them.
//!
//! SQLite takes names that differ only in the case of ASCII letters for one. It has no schemas: all of a file's tables lie
//! in `main`. Names that begin with `sqlite_` are its own.

use tailrace_contract::{Error, Result, TargetTable};

/// The one schema that a file has.
pub(crate) const MAIN: &str = "main";

/// The name in double quotes.
pub(crate) fn quote(name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(Error::refused("a name is empty"));
    }
    if name.contains('\0') {
        return Err(Error::refused(format!("the name {} holds a NUL", name.escape_debug())));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// A table of the file, quoted.
pub(crate) fn quote_table(table: &TargetTable) -> Result<String> {
    if !is_same(&table.schema, MAIN) {
        return Err(Error::refused(format!("the target table {table} names a schema, which SQLite does not have"))
            .hint(format!("name it {MAIN}.{}", table.table)));
    }
    if table.table.get(..7).is_some_and(|start| is_same(start, "sqlite_")) {
        return Err(Error::refused(format!("the name {} belongs to SQLite itself", table.table))
            .hint("give the table another name in the target"));
    }
    Ok(format!("{MAIN}.{}", quote(&table.table)?))
}

/// Whether SQLite takes two names for one.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str, table: &str) -> TargetTable {
        TargetTable { schema: schema.into(), table: table.into() }
    }

    #[test]
    fn quotes_every_name_or_refuses_it() {
        for (name, expect) in [("a", "\"a\""), ("sel\"ect", "\"sel\"\"ect\""), ("ä b%;--", "\"ä b%;--\"")] {
            assert_eq!(quote(name).unwrap(), expect);
        }
        for bad in ["", "a\0b"] {
            assert!(quote(bad).is_err(), "{bad:?}");
        }
        assert_eq!(quote_table(&table("main", "c\"")).unwrap(), "main.\"c\"\"\"");
        for bad in [table("shop", "orders"), table("main", "SQLite_x"), table("", "orders")] {
            assert!(quote_table(&bad).is_err(), "{bad}");
        }
    }
}
