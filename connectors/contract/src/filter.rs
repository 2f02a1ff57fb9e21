//! Which tables are captured: exact names and whole databases.

use tailrace_row::TableName;

/// One `source = "…"` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TablePattern {
    /// `shop.orders`.
    Table(TableName),
    /// `shop.*`.
    Database(Box<str>),
}

impl TablePattern {
    /// Whether the pattern names the table.
    #[must_use]
    pub fn matches(&self, database: &str, table: &str) -> bool {
        match self {
            Self::Table(name) => &*name.database == database && &*name.table == table,
            Self::Database(name) => &**name == database,
        }
    }
}

impl std::fmt::Display for TablePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Table(name) => write!(f, "{name}"),
            Self::Database(name) => write!(f, "{name}.*"),
        }
    }
}

/// The captured tables.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TableFilter {
    /// A table is captured if any pattern matches.
    pub patterns: Vec<TablePattern>,
}

impl TableFilter {
    /// Whether the table is captured.
    #[must_use]
    pub fn matches(&self, database: &str, table: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(database, table))
    }
}
