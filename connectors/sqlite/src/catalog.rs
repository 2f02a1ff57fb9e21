//! What SQLite's catalog says of a table: columns, unique indexes, what may interfere.
//!
//! Reads only, and judges nothing: that is the plan's and the check's matter.

use rusqlite::types::Value;
use tailrace_contract::{Result, TargetTable};

use crate::{
    identifier::is_same,
    session::{Answer, Session, text},
    target_type::TargetType,
};

/// A table as it is.
#[derive(Debug)]
pub(crate) struct TableShape {
    /// `table`; all else (`view`, `virtual`, `shadow`) can't be written.
    pub(crate) kind: String,
    pub(crate) is_strict: bool,
    pub(crate) columns: Vec<TargetColumn>,
    pub(crate) unique_indexes: Vec<UniqueIndex>,
    pub(crate) triggers: Vec<String>,
    /// Tables that its foreign keys point at, and tables that point at it.
    pub(crate) foreign_keys: Vec<String>,
}

/// A column as it is.
#[derive(Debug)]
pub(crate) struct TargetColumn {
    pub(crate) name: String,
    /// None: a type that we don't know.
    pub(crate) target_type: Option<TargetType>,
    pub(crate) type_name: String,
    pub(crate) is_nullable: bool,
    pub(crate) has_default: bool,
    /// `GENERATED ALWAYS AS (…)`.
    pub(crate) is_generated: bool,
}

/// A unique index over plain columns, without a condition.
#[derive(Debug)]
pub(crate) struct UniqueIndex {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    /// Whether equality is that of bytes.
    pub(crate) is_binary: bool,
}

impl TableShape {
    /// The column of that name.
    pub(crate) fn column(&self, name: &str) -> Option<&TargetColumn> {
        self.columns.iter().find(|column| is_same(&column.name, name))
    }

    /// The unique indexes over exactly these columns.
    pub(crate) fn indexes_on<'s>(&'s self, columns: &'s [&str]) -> impl Iterator<Item = &'s UniqueIndex> {
        self.unique_indexes.iter().filter(|index| {
            let has = |column: &&str| index.columns.iter().any(|name| is_same(name, column));
            index.columns.len() == columns.len() && columns.iter().all(has)
        })
    }
}

const TABLE: &str =
    "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE";

const COLUMNS: &str = r#"
SELECT name, type, "notnull" AS is_required, dflt_value IS NOT NULL AS has_default, pk, hidden
FROM pragma_table_xinfo(?, 'main') ORDER BY cid"#;

/// Columns of unique indexes, index by index; an expression has no name.
const INDEXES: &str = r#"
SELECT i.name AS index_name, i.origin, i.partial, c.name AS column_name, c.coll = 'BINARY' COLLATE NOCASE AS is_binary
FROM pragma_index_list(?, 'main') AS i, pragma_index_xinfo(i.name, 'main') AS c
WHERE i."unique" AND c.key ORDER BY i.seq, c.seqno"#;

const TRIGGERS: &str = "
SELECT name FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ? COLLATE NOCASE ORDER BY 1";

const FOREIGN_KEYS: &str = r#"
SELECT DISTINCT "table" AS name FROM pragma_foreign_key_list(?1, 'main')
UNION SELECT s.name FROM main.sqlite_schema AS s, pragma_foreign_key_list(s.name, 'main') AS f
WHERE s.type = 'table' AND f."table" = ?1 COLLATE NOCASE ORDER BY 1"#;

/// Reads a table's shape; none if there is no table of that name.
pub(crate) async fn read_table(session: &mut Session, table: &TargetTable) -> Result<Option<TableShape>> {
    let doing = format!("reading the shape of {table}");
    let rows = session.read(TABLE, named(&table.table), &doing).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let name: String = row.get("name")?;
    let is_strict = row.get("strict")?;
    let column_rows = session.read(COLUMNS, named(&name), &doing).await?;
    let index_rows = session.read(INDEXES, named(&name), &doing).await?;
    let mut unique_indexes = read_indexes(&index_rows)?;
    let has_own_index =
        index_rows.iter().map(|row| row.get::<String>("origin")).any(|origin| origin.is_ok_and(|o| o == "pk"));
    let has_rowid = !row.get::<bool>("wr")?;
    unique_indexes.extend(rowid_key(&column_rows, has_rowid && !has_own_index)?);
    let trigger_rows = session.read(TRIGGERS, named(&name), &doing).await?;
    let reference_rows = session.read(FOREIGN_KEYS, named(&name), &doing).await?;
    Ok(Some(TableShape {
        kind: row.get("type")?,
        is_strict,
        columns: column_rows.iter().map(|row| read_column(row, is_strict)).collect::<Result<_>>()?,
        unique_indexes,
        triggers: read_names(&trigger_rows)?,
        foreign_keys: read_names(&reference_rows)?,
    }))
}

/// `INTEGER PRIMARY KEY`: the key of the table's own tree, which has no index.
fn rowid_key(columns: &[Answer], is_possible: bool) -> Result<Option<UniqueIndex>> {
    let mut key = Vec::new();
    for row in columns {
        if row.get::<i64>("pk")? > 0 {
            key.push((row.get::<String>("name")?, row.get::<String>("type")?));
        }
    }
    Ok(match key.as_slice() {
        [(name, declared)] if is_possible && is_same(declared, "INTEGER") => {
            Some(UniqueIndex { name: "the row id".into(), columns: vec![name.clone()], is_binary: true })
        }
        _ => None,
    })
}

fn read_column(row: &Answer, is_strict: bool) -> Result<TargetColumn> {
    let type_name: String = row.get("type")?;
    let is_key = row.get::<i64>("pk")? > 0;
    Ok(TargetColumn {
        name: row.get("name")?,
        target_type: TargetType::read(&type_name, is_strict),
        type_name,
        is_nullable: !row.get::<bool>("is_required")? && !is_key,
        has_default: row.get("has_default")?,
        is_generated: row.get::<i64>("hidden")? > 0,
    })
}

/// Leaves out what is no plain unique index: with a condition, or over an expression.
fn read_indexes(rows: &[Answer]) -> Result<Vec<UniqueIndex>> {
    let mut indexes: Vec<(UniqueIndex, bool)> = Vec::new();
    for row in rows {
        let name: String = row.get("index_name")?;
        if indexes.last().is_none_or(|(last, _)| last.name != name) {
            let is_plain = !row.get::<bool>("partial")?;
            indexes.push((UniqueIndex { name, columns: Vec::new(), is_binary: true }, is_plain));
        }
        let Some((index, is_plain)) = indexes.last_mut() else { continue };
        match row.get::<Option<String>>("column_name")? {
            Some(column) => index.columns.push(column),
            None => *is_plain = false,
        }
        index.is_binary &= row.get::<bool>("is_binary")?;
    }
    Ok(indexes.into_iter().filter_map(|(index, is_plain)| is_plain.then_some(index)).collect())
}

fn read_names(rows: &[Answer]) -> Result<Vec<String>> {
    rows.iter().map(|row| row.get("name")).collect()
}

fn named(name: &str) -> Vec<Value> {
    vec![text(name)]
}
