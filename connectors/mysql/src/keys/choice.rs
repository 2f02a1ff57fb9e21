//! Which unique key identifies the rows of a table without a primary key: the first index in the server's own order, if it is unique and its
//! parts are whole columns that are NOT NULL and not virtual. It is the one whose columns the server logs as those of a primary key,
//! and as a rule the one by which InnoDB orders the rows. Such indexes stand before all others, but for
//! one thing: where a column has become NOT NULL, MariaDB leaves its index where it was, and takes it for no key behind another one. (An
//! index by a hash, as MariaDB makes for long columns, is none.)

use serde::{Deserialize, Serialize};
use tailrace_contract::{ErrorKind, Result};
use tailrace_row::TableName;

use crate::{
    protocol::{Connection, Row, quote_table},
    statement::KeyClause,
};

/// The unique key that stands for a primary key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UniqueKey {
    /// Empty if only the columns are known.
    #[serde(rename = "i")]
    pub(crate) index: Box<str>,
    /// In key order.
    #[serde(rename = "k")]
    pub(crate) columns: Vec<Box<str>>,
    /// The columns of all unique indexes of the table: one that becomes NOT NULL may make another index the first.
    #[serde(rename = "u")]
    pub(crate) watched: Vec<Box<str>>,
}

impl UniqueKey {
    /// Why it may not be the table's key behind these clauses, as the end of a sentence; none if it still is.
    pub(crate) fn lost_by(&self, clauses: &[KeyClause]) -> Option<String> {
        let is_same = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
        let is_lost = clauses.iter().any(|clause| match clause {
            _ if self.index.is_empty() => true,
            KeyClause::Column(name) => self.watched.iter().any(|watched| is_same(watched, name)),
            KeyClause::Index(name) => is_same(&self.index, name),
            KeyClause::Primary { .. } | KeyClause::Any => true,
        });
        is_lost.then(|| format!("it may change the unique key ({}) that identifies its rows", self.columns.join(", ")))
    }
}

/// One part of an index, as the dictionary has it.
#[derive(Clone, Debug)]
struct Part {
    index: Box<str>,
    is_unique: bool,
    /// Empty if it is an expression.
    column: Box<str>,
    /// A whole column that is NOT NULL, in a tree.
    is_exact: bool,
}

impl Part {
    /// Of SHOW INDEX.
    fn of(row: &Row) -> Self {
        Self {
            index: row.text(2).into(),
            is_unique: row.text(1) == "0",
            column: row.text(4).into(),
            is_exact: row.text(7).is_empty() && row.text(9) != "YES" && row.text(10) == "BTREE",
        }
    }
}

/// The key of a table without a primary key.
pub(crate) async fn ask(
    connection: &mut Connection,
    table: &TableName,
    is_virtual: impl Fn(&str) -> bool,
) -> Result<Option<UniqueKey>> {
    match connection.query(&format!("SHOW INDEX FROM {}", quote_table(table))).await {
        Ok(rows) => Ok(choose(&rows.iter().map(Part::of).collect::<Vec<_>>(), is_virtual)),
        // It is not there any more, or must not be read.
        Err(error) if error.kind() == ErrorKind::Refused => Ok(None),
        Err(error) => Err(error),
    }
}

fn choose(parts: &[Part], is_virtual: impl Fn(&str) -> bool) -> Option<UniqueKey> {
    let is_good = |part: &Part| part.is_unique && part.is_exact && !part.column.is_empty() && !is_virtual(&part.column);
    let chosen = parts.chunk_by(|one, other| one.index == other.index).next()?;
    let serves = chosen.iter().all(is_good);
    serves.then_some(())?;
    Some(UniqueKey {
        index: chosen[0].index.clone(),
        columns: chosen.iter().map(|part| part.column.clone()).collect(),
        watched: parts.iter().filter(|part| part.is_unique).map(|part| part.column.clone()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts as `index column`, behind `~` of no unique index, behind `?` of one that is not exact.
    fn check(parts: &[&str], expect: &str) {
        let part = |text: &&str| {
            let (index, column) = text.trim_start_matches(['~', '?']).split_once(' ').unwrap();
            Part {
                index: index.into(),
                is_unique: !text.starts_with('~'),
                column: column.into(),
                is_exact: !text.starts_with('?'),
            }
        };
        let parts: Vec<Part> = parts.iter().map(part).collect();
        let chosen = choose(&parts, |column| column == "virtual");
        let shown = chosen.map_or("none".to_owned(), |key| {
            format!("{} {} of {}", key.index, key.columns.join(","), key.watched.join(","))
        });
        assert_eq!(shown, expect, "{parts:?}");
    }

    #[test]
    fn the_first_index_of_whole_columns_is_chosen() {
        check(&[], "none");
        check(&["u a"], "u a of a");
        check(&["u a", "v b"], "u a of a,b");
        check(&["u b", "u a", "v c", "~k a"], "u b,a of b,a,c");
        check(&["~k a", "u b"], "none");
        check(&["?u a", "v b"], "none");
        check(&["u a", "?u b", "v c"], "none");
        check(&["v c", "u a", "?u b"], "v c of c,a,b");
        check(&["u a", "u virtual", "w a"], "none");
        check(&["u ", "v a"], "none");
        check(&["~u a", "?v b"], "none");
    }
}
