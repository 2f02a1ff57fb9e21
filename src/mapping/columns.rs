//! Which columns of a table are moved. Servers take names for one that differ in case alone, and so do the lists.

use tailrace_row::TableSchema;

/// The columns of one table that are moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ColumnChoice {
    /// All.
    #[default]
    All,
    /// Those of these names. Columns that come later are left out.
    Only(Vec<Box<str>>),
    /// All but those of these names. Columns that come later are moved.
    Except(Vec<Box<str>>),
}

impl ColumnChoice {
    /// Whether a column of that name is moved.
    #[must_use]
    pub fn is_moved(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(_) => self.is_named(column),
            Self::Except(_) => !self.is_named(column),
        }
    }

    /// Whether the configuration names the column.
    #[must_use]
    pub fn is_named(&self, column: &str) -> bool {
        self.names().iter().any(|name| is_same(name, column))
    }

    /// What the configuration names.
    #[must_use]
    pub fn names(&self) -> &[Box<str>] {
        match self {
            Self::All => &[],
            Self::Only(names) | Self::Except(names) => names,
        }
    }

    /// The key of the configuration that says so.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::All | Self::Only(_) => "only_columns",
            Self::Except(_) => "exclude_columns",
        }
    }

    /// The names that are no columns of the table.
    pub fn unknown<'a>(&'a self, schema: &'a TableSchema) -> impl Iterator<Item = &'a str> {
        let is_known = |name: &str| schema.columns().iter().any(|column| is_same(&column.name, name));
        self.names().iter().map(AsRef::as_ref).filter(move |name| !is_known(name))
    }

    /// The columns of the table's key that would be left out: no row can be moved without them.
    pub fn lost_key<'a>(&'a self, schema: &'a TableSchema) -> impl Iterator<Item = &'a str> {
        let names = schema.key().iter().map(|place| &*schema.columns()[*place].name);
        names.filter(|name| !self.is_moved(name))
    }
}

/// Whether the server takes the two for one name.
pub(crate) fn is_same(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}
