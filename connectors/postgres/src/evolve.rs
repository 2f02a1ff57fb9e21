//! What is done to a table at a barrier, inside the transaction that also says that it is done.
//!
//! PostgreSQL's DDL is transactional, so a kill before, at or after leaves all of it or nothing. A refusal of the server is
//! [`ErrorKind::TableFailed`]: the table then waits for an operator, with the refusal as its reason. Each act looks at the table as it is
//! and does what is left to do; names of columns are found without their case, as the source does.
//!
//! [`ErrorKind::TableFailed`]: tailrace_contract::ErrorKind::TableFailed

mod held;

use sqlx::{AssertSqlSafe, postgres::PgArguments};
use tailrace_contract::{Error, Fill, Literal, Policy, Result, TableMapping, TargetAct};
use tailrace_row::{Column, Field};

use crate::{
    bulk::OneField,
    catalog::{TableShape, TargetColumn, add, get, read_table},
    encode::Codec,
    errors::Failure,
    identifier::{quote, quote_table},
    session::Session,
    target_type::{Fit, TargetType, fit, wanted},
};

/// Carries the act out in the open transaction.
pub(crate) async fn carry_out(session: &mut Session, mapping: &TableMapping, act: &TargetAct) -> Result<()> {
    if *act == TargetAct::Truncate {
        return truncate(session, mapping).await;
    }
    let shape = read_table(session, &mapping.target).await?;
    let shape = shape.ok_or_else(|| failed(mapping, format!("there is no table {}", mapping.target)))?;
    let mut table = Table { session, mapping, shape: &shape, name: quote_table(&mapping.target)? };
    match act {
        TargetAct::Truncate => Ok(()),
        TargetAct::Add { column, fill } => table.add(column, fill).await,
        TargetAct::Drop { column } => table.drop(column).await,
        TargetAct::Rename { column, to } => table.rename(column, to).await,
        TargetAct::Widen { column } => table.widen(column).await,
    }
}

/// A table whose columns change.
struct Table<'t> {
    session: &'t mut Session,
    mapping: &'t TableMapping,
    shape: &'t TableShape,
    /// Quoted.
    name: String,
}

impl Table<'_> {
    async fn add(&mut self, column: &Column, fill: &Fill) -> Result<()> {
        let policy = self.mapping.policy(&column.name);
        let target_type = wanted(&column.column_type, policy);
        let value = self.literal(column, target_type, fill).await;
        if let Some(known) = find(self.shape, &column.name) {
            let (name, is_fitting) = (quote(&known.name)?, known.name == *column.name && is_held(column, known));
            if !is_fitting {
                return Err(self
                    .failed(format!("{} has a column {} already, of another type", self.mapping.target, known.name)));
            }
            // Its rows must have what those of the source have; a text, because not every type can be compared.
            let other = match value? {
                Some(value) => format!("{name}::text IS DISTINCT FROM ({value}::{})::text", target_type.sql()),
                None => format!("{name} IS NOT NULL"),
            };
            return match self.has_row(&other).await? {
                true => {
                    Err(self
                        .failed(format!("the column {} is there already, and its rows have other values", known.name)))
                }
                false => Ok(()),
            };
        }
        let name = quote(&column.name)?;
        let may_be_null = column.nullable || *policy == Policy::Null;
        let not_null = if may_be_null { "" } else { " NOT NULL" };
        // In an empty table nothing is to be filled.
        let value = if self.has_row("true").await? { value? } else { None };
        let default = value.as_ref().map_or(String::new(), |value| format!(" DEFAULT {value}"));
        self.alter(format!("ADD COLUMN {name} {}{default}{not_null}", target_type.sql())).await?;
        if value.is_some() {
            self.alter(format!("ALTER COLUMN {name} DROP DEFAULT")).await?;
        }
        Ok(())
    }

    /// The value that rows get, as a literal. The server writes it, from the very bytes that it would get of a row.
    async fn literal(&mut self, column: &Column, target_type: TargetType, fill: &Fill) -> Result<Option<String>> {
        let text = match fill {
            Fill::Null => return Ok(None),
            Fill::Value(text) => text,
            Fill::Unknown(why) => {
                return Err(self.failed(format!("what rows have in {} is not known: {why}", column.name)));
            }
        };
        let no_value = |why: String| {
            failed(self.mapping, format!("rows have a value in {} that the target can't have: {why}", column.name))
        };
        let literal =
            Literal::of_fill(&column.column_type, text).ok_or_else(|| no_value("it is none of its type".to_owned()))?;
        let policy = (self.mapping.policy(&column.name), false);
        let codec = Codec::by_policy(&column.column_type, target_type, column.nullable, policy).map_err(no_value)?;
        let mut bytes = Vec::new();
        codec.write(Field::Value(literal.value()), &mut bytes).map_err(|refusal| no_value(refusal.to_string()))?;
        let mut arguments = PgArguments::default();
        sqlx::Arguments::add(&mut arguments, OneField { bytes: &bytes, target_type })
            .map_err(|_| Error::refused("a default can't be encoded"))?;
        let sql = format!(
            "SELECT quote_literal((v{})::{}::text) AS value FROM unnest($1::{}[]) AS given (v)",
            target_type.cast(),
            target_type.sql(),
            target_type.wire_name()
        );
        let rows = self.session.read(AssertSqlSafe(sql), arguments, "reading a default").await;
        let rows = rows.map_err(|failure| refused(self.mapping, failure))?;
        let row = rows.first().ok_or_else(|| Error::refused("reading a default: no answer"))?;
        Ok(get(row, "value")?)
    }

    async fn drop(&mut self, name: &str) -> Result<()> {
        let Some(column) = find(self.shape, name) else { return Ok(()) };
        // PostgreSQL would drop it too, and with it what keeps rows apart.
        if let Some(index) = self.shape.barriers.iter().find(|index| index.columns.contains(&column.number)) {
            return Err(self.failed(format!("the column {} is one of the unique index {}", column.name, index.name)));
        }
        let name = quote(&column.name)?;
        self.alter(format!("DROP COLUMN {name}")).await
    }

    async fn rename(&mut self, name: &str, to: &str) -> Result<()> {
        let (Some(column), target) = (find(self.shape, name), find(self.shape, to)) else {
            return match find(self.shape, to) {
                Some(column) if column.name == *to => Ok(()),
                Some(_) | None => Err(self.failed(format!("{} has no column {name}", self.mapping.target))),
            };
        };
        if column.name == *to {
            return Ok(());
        }
        if let Some(other) = target.filter(|other| other.number != column.number) {
            return Err(
                self.failed(format!("{} has the columns {} and {}", self.mapping.target, column.name, other.name))
            );
        }
        let (name, to) = (quote(&column.name)?, quote(to)?);
        self.alter(format!("RENAME COLUMN {name} TO {to}")).await
    }

    async fn widen(&mut self, column: &Column) -> Result<()> {
        let Some(known) = find(self.shape, &column.name) else {
            return Err(self.failed(format!("{} has no column {}", self.mapping.target, column.name)));
        };
        let no = |why: &str| failed(self.mapping, format!("the column {} can't follow: {why}", known.name));
        if *self.mapping.policy(&column.name) != Policy::Reject {
            return Err(no("it has a policy"));
        }
        let held_type = known.target_type.ok_or_else(|| no("its type in the target is none that is written"))?;
        let name = quote(&known.name)?;
        let is_key = self.shape.unique_indexes.iter().any(|index| index.columns.contains(&known.number));
        let may_become_null = column.nullable && !known.is_nullable && !is_key;
        let foreign = held::foreign(&column.column_type, held_type).map_err(no)?;
        let foreign = foreign.map(|foreign| format!("c IS NOT NULL AND ({foreign})"));
        let null = (!column.nullable).then(|| "c IS NULL".to_owned());
        let changed: Vec<String> = foreign.into_iter().chain(null).collect();
        let wider = match fit(&column.column_type, held_type) {
            Fit::Full => None,
            Fit::Partial(why) | Fit::Refused(why) => match held::wider(&column.column_type, held_type) {
                Some(wider) => Some(wider),
                None => return Err(no(why)),
            },
        };
        if !changed.is_empty() {
            let changed = changed.join(" OR ");
            let rows = format!("EXISTS (SELECT FROM (SELECT {name} AS c FROM {}) AS held WHERE {changed})", self.name);
            if self.ask(rows).await? {
                return Err(
                    self.failed(format!("the source has changed values of the column {} with its type", column.name))
                );
            }
        }
        if let Some(wider) = wider {
            self.alter(format!("ALTER COLUMN {name} TYPE {}", wider.sql())).await?;
        }
        if may_become_null {
            self.alter(format!("ALTER COLUMN {name} DROP NOT NULL")).await?;
        }
        Ok(())
    }

    async fn has_row(&mut self, condition: &str) -> Result<bool> {
        self.ask(format!("EXISTS (SELECT FROM {} WHERE {condition})", self.name)).await
    }

    async fn ask(&mut self, question: String) -> Result<bool> {
        let doing = format!("looking at {}", self.mapping.target);
        let sql = AssertSqlSafe(format!("SELECT {question} AS answer"));
        let rows = self.session.read(sql, PgArguments::default(), &doing).await;
        let rows = rows.map_err(|failure| refused(self.mapping, failure))?;
        let row = rows.first().ok_or_else(|| Error::refused(format!("{doing}: no answer")))?;
        Ok(get(row, "answer")?)
    }

    async fn alter(&mut self, clause: String) -> Result<()> {
        let doing = format!("changing {}", self.mapping.target);
        let sql = AssertSqlSafe(format!("ALTER TABLE {} {clause}", self.name));
        self.session.run(sql, &doing).await.map_err(|failure| refused(self.mapping, failure))
    }

    fn failed(&self, what: String) -> Error {
        failed(self.mapping, what)
    }
}

fn failed(mapping: &TableMapping, what: String) -> Error {
    Error::table_failed(mapping.source.clone(), what)
}

/// The column of that name; the source does not tell names apart by case.
fn find<'s>(shape: &'s TableShape, name: &str) -> Option<&'s TargetColumn> {
    let same = || shape.columns.iter().find(|column| column.name.to_lowercase() == name.to_lowercase());
    shape.column(name).or_else(same)
}

/// Whether a column that is there holds all of another's values.
fn is_held(column: &Column, known: &TargetColumn) -> bool {
    let holds = known.target_type.is_some_and(|held| fit(&column.column_type, held) == Fit::Full);
    holds && (known.is_nullable || !column.nullable) && !known.is_generated
}

/// Empties the table, and no other: one that would cascade is refused. Where the account may not TRUNCATE it, or other tables
/// point at it, row by row: slower, and the same.
async fn truncate(session: &mut Session, mapping: &TableMapping) -> Result<()> {
    let name = quote_table(&mapping.target)?;
    let doing = format!("emptying {}", mapping.target);
    let mut arguments = PgArguments::default();
    add(&mut arguments, name.as_str());
    let rows = session.read(MAY_TRUNCATE, arguments, &doing).await.map_err(|failure| refused(mapping, failure))?;
    let row = rows.first().ok_or_else(|| Error::refused(format!("{doing}: no answer")))?;
    if let Some(child) = get::<Option<String>>(row, "cascades_to")? {
        let what = format!("{doing} would change rows of {child}, whose foreign key cascades");
        return Err(Error::table_failed(mapping.source.clone(), what)
            .hint(format!("drop the foreign key of {child} in the target, or make it one without a rule")));
    }
    let statement = if get(row, "may_truncate")? { "TRUNCATE" } else { "DELETE FROM" };
    session.run(AssertSqlSafe(format!("{statement} {name}")), &doing).await.map_err(|failure| refused(mapping, failure))
}

/// What the server says to an act is about this table.
fn refused(mapping: &TableMapping, failure: Failure) -> Error {
    match failure {
        Failure::Table(refusal) => Error::table_failed(mapping.source.clone(), refusal.to_string()),
        Failure::Other(error) => error,
    }
}

const MAY_TRUNCATE: &str = "
SELECT has_table_privilege($1::regclass, 'TRUNCATE')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.confrelid = $1::regclass AND c.conrelid <> c.confrelid)
   AS may_truncate,
       (SELECT min(c.conrelid::regclass::text) FROM pg_catalog.pg_constraint c
         WHERE c.confrelid = $1::regclass AND c.conrelid <> c.confrelid AND c.confdeltype IN ('c', 'n', 'd')) AS cascades_to";
