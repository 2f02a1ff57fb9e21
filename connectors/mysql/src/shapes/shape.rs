//! One table's shape: what its rows are read by where they come without names.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tailrace_row::{Column, ColumnType, TableName, TableSchema};

/// What a statement does to the shapes of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reshape {
    /// Columns or the key change; none if it is not understood how.
    Alter {
        table: TableName,
        clauses: Option<Vec<Clause>>,
    },
    /// A table begins; none if its shape is not understood.
    Create {
        table: TableName,
        shape: Option<Shape>,
    },
    /// A table begins with the shape of another.
    Like {
        table: TableName,
        of: TableName,
    },
    Rename {
        table: TableName,
        to: TableName,
    },
    Drop {
        table: TableName,
    },
    /// With all tables in it.
    DropDatabase {
        database: Box<str>,
    },
}

/// One clause of ALTER TABLE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clause {
    Drop { column: Box<str> },
    Rename { column: Box<str>, to: Box<str> },
    Change { column: Box<str>, to: Column, place: Option<ColumnPlace> },
    Add { column: Column, place: Option<ColumnPlace> },
    DropKey,
    AddKey(Vec<Box<str>>),
}

/// Where a column is put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ColumnPlace {
    First,
    After(Box<str>),
}

/// Ordered columns, and the primary key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    #[serde(rename = "c")]
    pub(crate) columns: Vec<ShapedColumn>,
    /// Names of its columns, in key order.
    #[serde(rename = "k")]
    pub(crate) key: Vec<Box<str>>,
}

/// What a table map without names keeps to itself, and the kind of type by which it is seen that both mean the same column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShapedColumn {
    #[serde(rename = "n")]
    pub(crate) name: Box<str>,
    #[serde(rename = "t")]
    kind: Box<str>,
    /// Of ENUM and SET.
    #[serde(rename = "m", default, skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) members: Box<[Box<str>]>,
}

impl ShapedColumn {
    fn of(column: &Column) -> Self {
        let members = match &column.column_type {
            ColumnType::Enum { members } | ColumnType::Set { members } => members.clone(),
            _ => Box::default(),
        };
        Self { name: column.name.clone(), kind: kind(&column.column_type).into(), members }
    }

    fn is_named(&self, name: &str) -> bool {
        is_same(&self.name, name)
    }
}

impl Shape {
    /// The shape of these columns; none if the key names one that is not there, or two have one name.
    pub(crate) fn new(columns: &[Column], key: &[Box<str>]) -> Option<Self> {
        Self { columns: columns.iter().map(ShapedColumn::of).collect(), key: Vec::new() }.with_key(key)
    }

    /// The shape that a table is known to have.
    pub(crate) fn of(schema: &TableSchema) -> Self {
        let columns = schema.columns();
        Self {
            columns: columns.iter().map(ShapedColumn::of).collect(),
            key: schema.key().iter().map(|place| columns[*place].name.clone()).collect(),
        }
    }

    /// Whether every column is of the kind that these are.
    pub(crate) fn is_of_kinds(&self, columns: &[Column]) -> bool {
        self.columns.len() == columns.len()
            && self.columns.iter().zip(columns).all(|(ours, theirs)| *ours.kind == *kind(&theirs.column_type))
    }

    /// Places of the key's columns.
    pub(crate) fn key_places(&self) -> Vec<usize> {
        self.key.iter().filter_map(|name| self.columns.iter().position(|column| column.name == *name)).collect()
    }

    /// The shape behind the clauses; none if they don't fit it. As the server does it: the columns that are there keep their order,
    /// under their new names; then those that come or have a place of their own are put there, one by one.
    pub(crate) fn altered(&self, clauses: &[Clause]) -> Option<Self> {
        // By the names from before: two columns may get each other's.
        let mut new_names: HashMap<&str, Box<str>> = HashMap::new();
        let mut columns = Vec::new();
        let mut used = 0;
        for column in &self.columns {
            let mut concerned = clauses.iter().filter(|clause| clause.changes(column));
            let clause = concerned.next();
            used += usize::from(clause.is_some());
            concerned.next().is_none().then_some(())?;
            let changed = match clause {
                None => column.clone(),
                Some(Clause::Rename { to, .. }) => ShapedColumn { name: to.clone(), ..column.clone() },
                Some(Clause::Change { to, .. }) => ShapedColumn::of(to),
                Some(_) => continue,
            };
            new_names.insert(&column.name, changed.name.clone());
            columns.push(changed);
        }
        // An index loses the columns that go.
        let mut key: Vec<Box<str>> = self.key.iter().filter_map(|name| new_names.get(&**name).cloned()).collect();
        let is_about_one =
            |clause: &&Clause| matches!(clause, Clause::Drop { .. } | Clause::Rename { .. } | Clause::Change { .. });
        (used == clauses.iter().filter(is_about_one).count()).then_some(())?;
        for clause in clauses {
            match clause {
                Clause::Add { column, place } => put(&mut columns, ShapedColumn::of(column), place.as_ref())?,
                Clause::Change { to, place: Some(place), .. } => {
                    let at = columns.iter().position(|column| column.is_named(&to.name))?;
                    let column = columns.remove(at);
                    put(&mut columns, column, Some(place))?;
                }
                Clause::DropKey => key.clear(),
                Clause::Change { .. } | Clause::Drop { .. } | Clause::Rename { .. } | Clause::AddKey(_) => {}
            }
        }
        let added = clauses.iter().find_map(|clause| match clause {
            Clause::AddKey(names) => Some(names),
            _ => None,
        });
        if added.is_some() && !key.is_empty() {
            return None;
        }
        Self { columns, key: Vec::new() }.with_key(added.unwrap_or(&key))
    }

    fn with_key(mut self, key: &[Box<str>]) -> Option<Self> {
        let mut names: Vec<String> = self.columns.iter().map(|column| column.name.to_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        (names.len() == self.columns.len()).then_some(())?;
        let spelled = |name: &str| self.columns.iter().find(|column| column.is_named(name));
        self.key = key.iter().map(|name| spelled(name).map(|column| column.name.clone())).collect::<Option<_>>()?;
        Some(self)
    }
}

impl Clause {
    /// Whether it is about this column, which was there before.
    fn changes(&self, column: &ShapedColumn) -> bool {
        match self {
            Self::Drop { column: name } | Self::Rename { column: name, .. } | Self::Change { column: name, .. } => {
                column.is_named(name)
            }
            Self::Add { .. } | Self::DropKey | Self::AddKey(_) => false,
        }
    }
}

fn put(columns: &mut Vec<ShapedColumn>, column: ShapedColumn, place: Option<&ColumnPlace>) -> Option<()> {
    let at = match place {
        None => columns.len(),
        Some(ColumnPlace::First) => 0,
        Some(ColumnPlace::After(name)) => columns.iter().position(|known| known.is_named(name))? + 1,
    };
    columns.insert(at, column);
    Some(())
}

/// Names of columns know no case.
fn is_same(one: &str, other: &str) -> bool {
    one == other || one.to_lowercase() == other.to_lowercase()
}

/// What of a type both a statement and a table map tell. Lengths and charsets of texts may follow from what stands elsewhere, members
/// are compared by themselves.
fn kind(column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::Integer { bits, unsigned: false } => format!("i{bits}"),
        ColumnType::Integer { bits, unsigned: true } => format!("u{bits}"),
        ColumnType::Decimal { precision, scale } => format!("decimal{precision}.{scale}"),
        ColumnType::Float => "float".to_owned(),
        ColumnType::Double => "double".to_owned(),
        ColumnType::Bit { length } => format!("bit{length}"),
        ColumnType::Text { .. } | ColumnType::Bytes { .. } => "text".to_owned(),
        ColumnType::Enum { .. } => "enum".to_owned(),
        ColumnType::Set { .. } => "set".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Time { fraction } => format!("time{fraction}"),
        ColumnType::DateTime { fraction } => format!("datetime{fraction}"),
        ColumnType::Timestamp { fraction } => format!("timestamp{fraction}"),
        ColumnType::Year => "year".to_owned(),
        ColumnType::Json => "json".to_owned(),
        ColumnType::Geometry { .. } => "geometry".to_owned(),
        ColumnType::Vector { .. } => "vector".to_owned(),
        ColumnType::Uuid => "uuid".to_owned(),
        ColumnType::Inet4 => "inet4".to_owned(),
        ColumnType::Inet6 => "inet6".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, bits: u8) -> Column {
        Column { name: name.into(), column_type: ColumnType::Integer { bits, unsigned: false }, nullable: true }
    }

    fn shape(columns: &[&str], key: &[&str]) -> Shape {
        let columns: Vec<Column> = columns.iter().map(|name| column(name, 32)).collect();
        let key: Vec<Box<str>> = key.iter().map(|name| Box::from(*name)).collect();
        Shape::new(&columns, &key).unwrap()
    }

    fn check(clauses: &[Clause], expect: &str) {
        let altered = shape(&["a", "b", "c"], &["c", "a"]).altered(clauses);
        let shown = altered.map_or("unknown".to_owned(), |shape| {
            let columns: Vec<&str> = shape.columns.iter().map(|column| &*column.name).collect();
            format!("{} ({})", columns.join(" "), shape.key.join(" "))
        });
        assert_eq!(shown, expect, "{clauses:?}");
    }

    fn drop(name: &str) -> Clause {
        Clause::Drop { column: name.into() }
    }

    fn add(name: &str, place: Option<ColumnPlace>) -> Clause {
        Clause::Add { column: column(name, 8), place }
    }

    fn change(from: &str, to: &str, place: Option<ColumnPlace>) -> Clause {
        Clause::Change { column: from.into(), to: column(to, 8), place }
    }

    fn rename(from: &str, to: &str) -> Clause {
        Clause::Rename { column: from.into(), to: to.into() }
    }

    fn after(name: &str) -> Option<ColumnPlace> {
        Some(ColumnPlace::After(name.into()))
    }

    #[test]
    fn clauses_are_carried_out_as_the_server_does() {
        const FIRST: Option<ColumnPlace> = Some(ColumnPlace::First);
        check(&[], "a b c (c a)");
        check(&[add("d", None)], "a b c d (c a)");
        check(&[add("d", FIRST), add("e", FIRST)], "e d a b c (c a)");
        check(&[add("d", after("A")), add("e", after("a"))], "a e d b c (c a)");
        check(&[drop("B")], "a c (c a)");
        check(&[drop("a")], "b c (c)");
        check(&[rename("a", "b"), rename("b", "a")], "b a c (c b)");
        check(&[rename("a", "d"), drop("b"), add("b", after("d"))], "d b c (c d)");
        check(&[change("a", "A", None)], "A b c (c A)");
        check(&[change("c", "d", FIRST), change("a", "a", after("d"))], "d a b (d a)");
        check(&[change("a", "a", after("c"))], "b c a (c a)");
        check(&[change("a", "b", after("c")), rename("b", "a")], "a c b (c b)");
        check(&[Clause::DropKey, Clause::AddKey(vec!["B".into()])], "a b c (b)");
        check(&[Clause::DropKey], "a b c ()");
        for unfit in [drop("x"), rename("x", "y"), change("x", "x", None), add("d", after("x")), add("A", None)] {
            check(&[unfit], "unknown");
        }
        check(&[rename("a", "b")], "unknown");
        check(&[Clause::AddKey(vec!["b".into()])], "unknown");
        check(&[drop("a"), rename("a", "d")], "unknown");
    }
}
