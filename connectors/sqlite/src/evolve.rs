//! What is done to a table at a barrier, inside the transaction that also says that it is done.
//!
//! SQLite's DDL is transactional, so a kill before, at or after leaves all of it or nothing. What can't be done is
//! [`ErrorKind::TableFailed`]: the table then waits for an operator, with that as its reason. Each act looks at the table as it is and
//! does what is left to do. SQLite changes no column in place: one that is to hold more can do so only if its type does already, as
//! most of our own do; a new one allows NULL, for without a lasting default it could not be NOT NULL.
//!
//! [`ErrorKind::TableFailed`]: tailrace_contract::ErrorKind::TableFailed

mod held;

use rusqlite::types::Value;
use tailrace_contract::{Error, Fill, Literal, Policy, Result, TableMapping, TargetAct};
use tailrace_row::{Column, ColumnType, Field};

use crate::{
    catalog::{TableShape, TargetColumn, read_table},
    encode::Codec,
    identifier::{is_same, quote, quote_table},
    parameters::Parameters,
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
        let target_type = wanted(&column.column_type, false, policy);
        let value = self.value(column, target_type, fill);
        if let Some(known) = self.shape.column(&column.name) {
            let name = quote(&known.name)?;
            if known.name != *column.name || !is_held(column, known) {
                return Err(self
                    .failed(format!("{} has a column {} already, of another type", self.mapping.target, known.name)));
            }
            let other = format!("EXISTS (SELECT 1 FROM {} WHERE {name} IS NOT ?)", self.name);
            return match self.ask(other, vec![value?]).await? {
                true => {
                    Err(self
                        .failed(format!("the column {} is there already, and its rows have other values", known.name)))
                }
                false => Ok(()),
            };
        }
        let name = quote(&column.name)?;
        let has_rows = self.ask(format!("EXISTS (SELECT 1 FROM {})", self.name), Vec::new()).await?;
        self.alter(format!("ADD COLUMN {name} {}", target_type.sql_in(self.shape.is_strict))).await?;
        if !has_rows || *fill == Fill::Null {
            return Ok(());
        }
        let doing = format!("filling {}", self.mapping.target);
        let sql = format!("UPDATE {} SET {name} = ?", self.name).into();
        self.session.write(&sql, vec![value?], &doing).await.map(drop)
    }

    /// What rows get: as the same value of a row would be written.
    fn value(&self, column: &Column, target_type: TargetType, fill: &Fill) -> Result<Value> {
        let text = match fill {
            Fill::Null => return Ok(Value::Null),
            Fill::Value(text) => text,
            Fill::Unknown(why) => {
                return Err(self.failed(format!("what rows have in {} is not known: {why}", column.name)));
            }
        };
        let no_value = |why: String| {
            self.failed(format!("rows have a value in {} that the target can't have: {why}", column.name))
        };
        let literal =
            Literal::of_fill(&column.column_type, text).ok_or_else(|| no_value("it is none of its type".to_owned()))?;
        let policy = (self.mapping.policy(&column.name), false);
        let codec = Codec::by_policy(&column.column_type, target_type, column.nullable, policy).map_err(no_value)?;
        let mut parameters = Parameters::default();
        codec
            .write(Field::Value(literal.value()), &mut String::new(), &mut parameters)
            .map_err(|refusal| no_value(refusal.to_string()))?;
        parameters.first().ok_or_else(|| no_value("it is none of its type".to_owned()))
    }

    async fn drop(&mut self, name: &str) -> Result<()> {
        let Some(column) = self.shape.column(name) else { return Ok(()) };
        let name = quote(&column.name)?;
        self.alter(format!("DROP COLUMN {name}")).await
    }

    async fn rename(&mut self, name: &str, to: &str) -> Result<()> {
        let (old, new) = (self.shape.column(name), self.shape.column(to));
        match (old, new) {
            (_, Some(new)) if new.name == *to && old.is_none_or(|old| old.name == new.name) => Ok(()),
            (None, _) => Err(self.failed(format!("{} has no column {name}", self.mapping.target))),
            (Some(old), Some(new)) if !is_same(&old.name, &new.name) => {
                Err(self.failed(format!("{} has the columns {} and {}", self.mapping.target, old.name, new.name)))
            }
            (Some(old), _) => {
                let (name, to) = (quote(&old.name)?, quote(to)?);
                self.alter(format!("RENAME COLUMN {name} TO {to}")).await
            }
        }
    }

    async fn widen(&mut self, column: &Column) -> Result<()> {
        let Some(known) = self.shape.column(&column.name) else {
            return Err(self.failed(format!("{} has no column {}", self.mapping.target, column.name)));
        };
        let no = |why: &str| failed(self.mapping, format!("the column {} can't follow: {why}", known.name));
        if *self.mapping.policy(&column.name) != Policy::Reject {
            return Err(no("it has a policy"));
        }
        let held_type = known.target_type.ok_or_else(|| no("its type in the target is none that is written"))?;
        let is_key =
            self.shape.unique_indexes.iter().any(|index| index.columns.iter().any(|name| is_same(name, &known.name)));
        if let Fit::Partial(why) | Fit::Refused(why) = fit(&column.column_type, is_key, held_type) {
            return Err(no(why));
        }
        if column.nullable && !known.is_nullable && !is_key {
            return Err(no("it is NOT NULL, and SQLite changes no column in place"));
        }
        let foreign =
            held::foreign(&column.column_type).ok_or_else(|| no("what its values were is not told by them"))?;
        let null = if column.nullable { "" } else { " OR c IS NULL" };
        let changed = format!("c IS NOT NULL AND ({foreign}){null}");
        let name = quote(&known.name)?;
        let changed = format!("EXISTS (SELECT 1 FROM (SELECT {name} AS c FROM {}) WHERE {changed})", self.name);
        if self.ask(changed, Vec::new()).await? {
            return Err(
                self.failed(format!("the source has changed values of the column {} with its type", column.name))
            );
        }
        // Digits are kept as the source prints them.
        let ColumnType::Decimal { scale, .. } = column.column_type else { return Ok(()) };
        let sql = format!(
            "UPDATE {} SET {name} = {} WHERE {}",
            self.name,
            held::filled_up(&name, scale),
            held::is_short(&name, scale)
        );
        self.session.run(sql, &format!("filling {}", self.mapping.target)).await
    }

    async fn ask(&mut self, question: String, parameters: Vec<Value>) -> Result<bool> {
        let doing = format!("looking at {}", self.mapping.target);
        let rows = self.session.read(format!("SELECT {question} AS answer"), parameters, &doing).await?;
        rows.first().ok_or_else(|| Error::refused(format!("{doing}: no answer")))?.get("answer")
    }

    async fn alter(&mut self, clause: String) -> Result<()> {
        let doing = format!("changing {}", self.mapping.target);
        self.session.run(format!("ALTER TABLE {} {clause}", self.name), &doing).await
    }

    fn failed(&self, what: String) -> Error {
        failed(self.mapping, what)
    }
}

fn failed(mapping: &TableMapping, what: String) -> Error {
    Error::table_failed(mapping.source.clone(), what)
}

/// Whether a column that is there holds all of another's values.
fn is_held(column: &Column, known: &TargetColumn) -> bool {
    let holds = known.target_type.is_some_and(|held| fit(&column.column_type, false, held) == Fit::Full);
    holds && (known.is_nullable || !column.nullable) && !known.is_generated
}

/// Empties the table. SQLite drops all pages of a table without triggers at once. What its triggers or constraints refuse makes the
/// table wait.
async fn truncate(session: &mut Session, mapping: &TableMapping) -> Result<()> {
    let sql = format!("DELETE FROM {}", quote_table(&mapping.target)?);
    session.run(sql, &format!("emptying {}", mapping.target)).await
}
