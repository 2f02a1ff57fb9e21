//! Compares tables of MySQL and PostgreSQL row by row, by what each *database* prints. Shares no code with Tailrace: a bug in
//! its decoder or encoder shows here and can't hide.
//!
//! Each side prints every column as text through its own SQL, in a form chosen per type so that equal values give equal
//! text (`columns`); both sides stream in the order of the key's bytes and are merged, so memory does not grow with the
//! table. Only for stores that stand still: a difference between moving ones means nothing.

mod columns;
mod file;
mod json;
mod key;
mod merge;

use std::fmt;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use sqlx::{AssertSqlSafe, PgConnection};

pub use file::compare_file;

/// How many differences are described; all are counted.
const EXAMPLES_MAX: usize = 20;

/// One table on both sides.
#[derive(Debug, Clone)]
pub struct Pair {
    /// Database and table in MySQL.
    pub source: (String, String),
    /// Schema and table in PostgreSQL.
    pub target: (String, String),
}

/// What the comparison of one table found.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// Rows in MySQL.
    pub source_rows: u64,
    /// Rows in PostgreSQL.
    pub target_rows: u64,
    /// Keys on one side only and rows that differ.
    pub differences: u64,
    /// The first of them.
    pub examples: Vec<Difference>,
}

/// One key at which the two sides differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Key columns as the source prints them.
    pub key: String,
    /// How they differ.
    pub kind: Kind,
}

/// How two sides differ at a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Only in the source.
    Missing,
    /// Only in the target.
    Extra,
    /// In both, but these columns differ: name, source, target.
    Different(Vec<(String, String, String)>),
}

impl Pair {
    /// The same names on both sides: the source's database is the target's schema.
    pub fn same(database: &str, table: &str) -> Pair {
        let name = (database.to_owned(), table.to_owned());
        Pair { source: name.clone(), target: name }
    }
}

impl Comparison {
    pub(crate) fn note(&mut self, key: String, kind: Kind) {
        self.differences += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(Difference { key, kind });
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "key {}: ", self.key)?;
        match &self.kind {
            Kind::Missing => write!(out, "missing in the target"),
            Kind::Extra => write!(out, "extra in the target"),
            Kind::Different(columns) => {
                let texts: Vec<String> = columns
                    .iter()
                    .map(|(name, source, target)| format!("{name} is {source} in the source, {target} in the target"))
                    .collect();
                write!(out, "{}", texts.join("; "))
            }
        }
    }
}

/// Compares every row of one table.
pub async fn compare(source: &mut mysql_async::Conn, target: &mut PgConnection, pair: &Pair) -> Result<Comparison> {
    let name = format!("{}.{}", pair.source.0, pair.source.1);
    prepare_sessions(source, target).await?;
    let table = columns::read(source, target, pair).await.with_context(|| format!("reading the columns of {name}"))?;
    merge::run(source, target, &table).await.with_context(|| format!("comparing {name}"))
}

/// The settings under which both sides print alike.
async fn prepare_sessions(source: &mut mysql_async::Conn, target: &mut PgConnection) -> Result<()> {
    source
        .query_drop("SET time_zone = '+00:00', sql_mode = '', character_set_results = 'utf8mb4', group_concat_max_len = 1048576")
        .await
        .context("preparing the MySQL session")?;
    let settings =
        "SET timezone = 'UTC'; SET extra_float_digits = 1; SET intervalstyle = 'postgres'; SET datestyle = 'ISO'";
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(target).await.context("preparing the PostgreSQL session")?;
    Ok(())
}
