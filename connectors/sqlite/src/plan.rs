//! How the rows of one source schema get into one target table: columns, codecs and statements, made once per shape.
//!
//! Statements rely on this: a row is found by its key's bytes. The unique index on the key is BINARY (else `judge` refuses the
//! table), and deletes ask for that collation by name, since the column's own may be another; no key column holds values
//! that SQLite takes for equal though they differ (`target_type`).
//!
//! Constraints of the table may be declared to drop or to replace rows in silence (`ON CONFLICT IGNORE`, `REPLACE`):
//! `OR ABORT` overrules them.

use std::sync::Arc;

use tailrace_contract::{Error, Policy, PolicyUse, Result, TableMapping};
use tailrace_row::{RowImage, TableName, TableSchema};

use crate::{
    catalog::TableShape,
    check,
    encode::{Codec, Refusal},
    identifier::{is_same, quote, quote_table},
    parameters::Parameters,
};

/// A compiled table.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) columns: Vec<PlanColumn>,
    /// Places in `columns`, in key order.
    pub(crate) key: Vec<usize>,
    /// For one row, by all columns.
    pub(crate) upsert: Arc<str>,
    /// For one row, by the key.
    pub(crate) delete: Arc<str>,
    /// For the updates of rows of which only some columns came.
    statements: Statements,
    /// Whether every row of an upsert counts as written: not where an existing row is left alone.
    pub(crate) counts_all: bool,
    /// Whether a row that an update does not find is not there: not where a trigger may withhold it.
    pub(crate) tells_absence: bool,
    /// Whether a row may be deleted and written again in one transaction.
    pub(crate) may_clear: bool,
    /// Places in `columns` that have a policy, and its name.
    policies: Vec<(usize, &'static str)>,
}

/// A column that is written; the same number of the source's columns.
#[derive(Debug)]
pub(crate) struct PlanColumn {
    pub(crate) name: Box<str>,
    pub(crate) codec: Codec,
}

impl Plan {
    /// Compiles the statements, or says what keeps the table from taking the rows.
    pub(crate) fn new(schema: &TableSchema, mapping: &TableMapping, shape: &TableShape) -> Result<Self> {
        if let Some(problem) = check::judge(schema, mapping, shape).into_iter().find(check::is_error) {
            let error = Error::table_failed(schema.name().clone(), format!("{}: {}", problem.object, problem.found));
            return Err(error.hint(problem.mend.unwrap_or_else(|| format!("needed: {}", problem.needed))));
        }
        let mut columns = Vec::with_capacity(schema.columns().len());
        let mut policies = Vec::new();
        for (place, source) in schema.columns().iter().enumerate() {
            let target = shape.column(&source.name).expect("invariant: the judge finds every column");
            let target_type = target.target_type.expect("invariant: the judge knows every type");
            let is_key = schema.key().contains(&place);
            let policy = mapping.policy(&source.name);
            let is_nullable = target.is_nullable && !is_key;
            let codec = Codec::by_policy(&source.column_type, target_type, is_nullable, (policy, is_key));
            let codec = codec.expect("invariant: the judge compiles every policy");
            if *policy != Policy::Reject {
                policies.push((place, policy.name()));
            }
            columns.push(PlanColumn { name: source.name.clone(), codec });
        }
        let key = schema.key().to_vec();
        let table = quote_table(&mapping.target).map_err(|error| error.on_table(schema.name().clone()))?;
        let names = columns.iter().map(|column| quote(&column.name)).collect::<Result<_>>()?;
        let statements = Statements { key: key.clone(), names, table };
        Ok(Self {
            upsert: statements.upsert(),
            delete: statements.delete(),
            may_clear: may_clear(schema, shape),
            tells_absence: shape.triggers.is_empty(),
            counts_all: columns.len() > key.len(),
            statements,
            columns,
            key,
            policies,
        })
    }

    /// How often each policy makes a difference for these rows, which were written.
    pub(crate) fn count_policy_uses<'r>(
        &self,
        table: &TableName,
        images: impl Iterator<Item = RowImage<'r>> + Clone,
    ) -> Vec<PolicyUse> {
        let mut scratch = String::new();
        let mut count = |(place, policy): &(usize, &'static str)| {
            let column = &self.columns[*place];
            let uses =
                images.clone().filter(|image| column.codec.uses_policy(image.field(*place), &mut scratch)).count();
            PolicyUse { table: table.clone(), column: column.name.clone(), policy, count: uses as u64 }
        };
        self.policies.iter().map(&mut count).filter(|uses| uses.count > 0).collect()
    }

    /// For one row, by these columns, which are none of the key, and then by the key.
    pub(crate) fn update(&self, places: &[usize]) -> Arc<str> {
        self.statements.update(places)
    }

    /// The key columns' names, for messages.
    pub(crate) fn key_names(&self) -> String {
        self.key.iter().map(|place| &*self.columns[*place].name).collect::<Vec<_>>().join(", ")
    }

    /// The first column of the row that can't be written, if there is one.
    pub(crate) fn find_refusal(
        &self,
        image: RowImage<'_>,
        places: &[usize],
        scratch: &mut String,
    ) -> Option<(usize, Refusal)> {
        places.iter().filter(|place| self.key.contains(place) || !image.is_unchanged(**place)).find_map(|place| {
            let written = self.columns[*place].codec.write(image.field(*place), scratch, &mut Parameters::default());
            written.err().map(|refusal| (*place, refusal))
        })
    }
}

/// Nothing hangs on the delete, and the row has nothing that we don't write. Foreign keys are not enforced.
fn may_clear(schema: &TableSchema, shape: &TableShape) -> bool {
    let is_ours = |name: &str| schema.columns().iter().any(|source| is_same(&source.name, name));
    shape.triggers.is_empty() && shape.columns.iter().all(|target| target.is_generated || is_ours(&target.name))
}

/// The parts of all statements.
#[derive(Debug)]
struct Statements {
    key: Vec<usize>,
    /// Quoted.
    names: Vec<String>,
    table: String,
}

impl Statements {
    fn upsert(&self) -> Arc<str> {
        let updates: Vec<String> = (0..self.names.len())
            .filter(|place| !self.key.contains(place))
            .map(|place| format!("{0} = excluded.{0}", self.names[place]))
            .collect();
        let action = match updates.as_slice() {
            [] => "DO NOTHING".to_owned(),
            updates => format!("DO UPDATE SET {}", updates.join(", ")),
        };
        let key: Vec<&str> = self.key.iter().map(|place| self.names[*place].as_str()).collect();
        // The alias is for a table named `excluded`.
        let sql = format!(
            "INSERT OR ABORT INTO {} AS t ({}) VALUES ({}) ON CONFLICT ({}) {action}",
            self.table,
            self.names.join(", "),
            vec!["?"; self.names.len()].join(", "),
            key.join(", ")
        );
        sql.into()
    }

    fn delete(&self) -> Arc<str> {
        format!("DELETE FROM {} WHERE {}", self.table, self.condition()).into()
    }

    fn update(&self, places: &[usize]) -> Arc<str> {
        let set = |place: &usize| format!("{} = ?", self.names[*place]);
        let sets = match places {
            // Whether the row is there must be seen all the same.
            [] => format!("{0} = {0}", self.names[self.key[0]]),
            places => places.iter().map(set).collect::<Vec<_>>().join(", "),
        };
        format!("UPDATE OR ABORT {} SET {sets} WHERE {}", self.table, self.condition()).into()
    }

    /// The row has exactly the bytes of the key.
    fn condition(&self) -> String {
        let part = |place: &usize| format!("{} COLLATE BINARY = ?", self.names[*place]);
        self.key.iter().map(part).collect::<Vec<_>>().join(" AND ")
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _, SqliteConnection};

    use super::*;

    /// A delete or an update that looked at every row would make a big table stand still.
    async fn check(definition: &str, names: &[&str], key: &[usize]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let statements = Statements { key: key.to_vec(), names, table: "main.t".into() };
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        connection.execute(sqlx::raw_sql(AssertSqlSafe(definition))).await.unwrap();
        let rest: Vec<usize> = (0..statements.names.len()).filter(|place| !key.contains(place)).collect();
        for statement in [statements.delete(), statements.update(&rest), statements.update(&[])] {
            let sql = format!("EXPLAIN QUERY PLAN {statement}");
            let found = connection.fetch_all(sqlx::query(AssertSqlSafe(sql))).await.unwrap();
            let steps: Vec<String> = found.iter().map(|row| row.get("detail")).collect();
            assert!(steps.iter().any(|step| step.starts_with("SEARCH main.t USING")), "{definition}: {steps:?}");
            assert!(!steps.iter().any(|step| step.starts_with("SCAN main.t")), "{definition}: {steps:?}");
        }
    }

    #[tokio::test]
    async fn deletes_and_updates_find_their_rows_by_the_index() {
        for definition in [
            "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT) STRICT",
            "CREATE TABLE t (a TEXT PRIMARY KEY, b TEXT) STRICT, WITHOUT ROWID",
            "CREATE TABLE t (a ANY PRIMARY KEY, b TEXT) STRICT, WITHOUT ROWID",
            "CREATE TABLE t (a TEXT COLLATE NOCASE, b TEXT); CREATE UNIQUE INDEX i ON t (a COLLATE BINARY)",
        ] {
            check(definition, &["a", "b"], &[0]).await;
        }
        for definition in [
            "CREATE TABLE t (a INTEGER, b TEXT, PRIMARY KEY (b, a)) STRICT, WITHOUT ROWID",
            "CREATE TABLE t (a INTEGER, b TEXT COLLATE NOCASE); CREATE UNIQUE INDEX i ON t (a, b COLLATE BINARY)",
        ] {
            check(definition, &["a", "b"], &[1, 0]).await;
        }
    }
}
