//! Names in SQL: the only place that quotes them.
//!
//! PostgreSQL cuts names longer than 63 bytes without an error, so that two tables could become one: such names are refused.

use tailrace_contract::{Error, Result, TargetTable};

const NAME_BYTES_MAX: usize = 63;

/// The name in double quotes.
pub(crate) fn quote(name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(Error::refused("a name is empty, which PostgreSQL does not allow"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Error::refused(format!("the name {name} is longer than PostgreSQL's {NAME_BYTES_MAX} bytes"))
            .hint("give the table or column a shorter name in the target"));
    }
    if name.contains('\0') {
        return Err(Error::refused(format!("the name {} holds a NUL", name.escape_debug())));
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// Schema and table, quoted.
pub(crate) fn quote_table(table: &TargetTable) -> Result<String> {
    Ok(format!("{}.{}", quote(&table.schema)?, quote(&table.table)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_every_name_or_refuses_it() {
        for (name, expect) in [("a", "\"a\""), ("sel\"ect", "\"sel\"\"ect\""), ("ä b%;--", "\"ä b%;--\"")] {
            assert_eq!(quote(name).unwrap(), expect);
        }
        for bad in ["", "a\0b", &"x".repeat(64), &"ä".repeat(32)] {
            assert!(quote(bad).is_err(), "{bad:?}");
        }
        assert!(quote(&"x".repeat(63)).is_ok());
        let table = TargetTable { schema: "a.b".into(), table: "c\"".into() };
        assert_eq!(quote_table(&table).unwrap(), "\"a.b\".\"c\"\"\"");
    }
}
