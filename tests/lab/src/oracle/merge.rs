//! Both sides stream in the order of the key and are merged: one row of each in memory.

use std::cmp::Ordering;

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use mysql_async::prelude::Queryable;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::columns::{Form, Table};
use super::{Comparison, Kind, json, key};

/// A printed row; `None` is NULL.
type Printed = Vec<Option<String>>;

pub(super) async fn run(
    source: &mut mysql_async::Conn,
    target: &mut PgConnection,
    table: &Table,
) -> Result<Comparison> {
    let (source_sql, target_sql) = (source_query(table), target_query(table));
    let mut source_result = source.query_iter(source_sql).await.context("asking MySQL")?;
    let mut target_rows = sqlx::query(AssertSqlSafe(target_sql)).fetch(target);
    let mut found = Comparison::default();
    let mut order = Order { table, last: [None, None] };
    let mut left = next_source(&mut source_result, table).await?;
    let mut right = print_target(target_rows.try_next().await.context("asking PostgreSQL")?, table)?;
    loop {
        let which = match (&left, &right) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => order.compare(left, right),
        };
        match (which, &left, &right) {
            (Ordering::Less, Some(row), _) => found.note(order.print_key(row), Kind::Missing),
            (Ordering::Greater, _, Some(row)) => found.note(order.print_key(row), Kind::Extra),
            (_, Some(left), Some(right)) => compare_rows(&order, left, right, &mut found),
            _ => {}
        }
        if which.is_le() {
            found.source_rows += 1;
            order.check_next(0, left.as_ref())?;
            left = next_source(&mut source_result, table).await?;
        }
        if which.is_ge() {
            found.target_rows += 1;
            order.check_next(1, right.as_ref())?;
            right = print_target(target_rows.try_next().await.context("reading PostgreSQL")?, table)?;
        }
    }
    drop(target_rows);
    source_result.drop_result().await?;
    Ok(found)
}

fn source_query(table: &Table) -> String {
    let columns: Vec<&str> = table.columns.iter().map(|column| column.source.as_str()).collect();
    let order: Vec<&str> = table.key.iter().map(|index| table.columns[*index].source_order.as_str()).collect();
    format!("SELECT {} FROM {} AS s ORDER BY {}", columns.join(", "), table.source, order.join(", "))
}

fn target_query(table: &Table) -> String {
    let columns: Vec<&str> = table.columns.iter().map(|column| column.target.as_str()).collect();
    let order: Vec<&str> = table.key.iter().map(|index| table.columns[*index].target_order.as_str()).collect();
    format!("SELECT {} FROM {} AS t ORDER BY {}", columns.join(", "), table.target, order.join(", "))
}

async fn next_source(
    result: &mut mysql_async::QueryResult<'_, 'static, mysql_async::TextProtocol>,
    table: &Table,
) -> Result<Option<Printed>> {
    let Some(mut row) = result.next().await.context("reading MySQL")? else { return Ok(None) };
    let mut printed = Printed::with_capacity(table.columns.len());
    for (index, column) in table.columns.iter().enumerate() {
        let bytes: Option<Option<Vec<u8>>> = row.take(index);
        let text = bytes.flatten().map(String::from_utf8).transpose();
        printed.push(text.with_context(|| format!("MySQL printed {} as something else than UTF-8", column.name))?);
    }
    Ok(Some(printed))
}

fn print_target(row: Option<sqlx::postgres::PgRow>, table: &Table) -> Result<Option<Printed>> {
    let Some(row) = row else { return Ok(None) };
    let printed: Result<Printed, sqlx::Error> = (0..table.columns.len()).map(|index| row.try_get(index)).collect();
    Ok(Some(printed?))
}

fn compare_rows(order: &Order<'_>, left: &Printed, right: &Printed, found: &mut Comparison) {
    let columns = order.table.columns.iter().zip(left.iter().zip(right));
    let differing: Vec<(String, String, String)> = columns
        .filter(|(column, (left, right))| !is_equal(column.form, left.as_deref(), right.as_deref()))
        .map(|(column, (left, right))| (column.name.clone(), quote(left.as_deref()), quote(right.as_deref())))
        .collect();
    if !differing.is_empty() {
        found.note(order.print_key(left), Kind::Different(differing));
    }
}

fn quote(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), |text| format!("{text:?}"))
}

fn is_equal(form: Form, left: Option<&str>, right: Option<&str>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return left == right };
    left == right
        || match form {
            Form::Number | Form::Text => false,
            Form::Float => left.parse::<f64>().map(f64::to_bits).ok() == right.parse::<f64>().map(f64::to_bits).ok(),
            Form::Json => json_equal(left, right),
        }
}

/// Text that is no JSON equals nothing.
fn json_equal(left: &str, right: &str) -> bool {
    let (left, right) = (json::canonical(left), json::canonical(right));
    left.is_some() && left == right
}

/// The key's order, and the proof that both databases kept to it: a merge of unsorted streams would report nonsense.
struct Order<'a> {
    table: &'a Table,
    last: [Option<Vec<String>>; 2],
}

impl Order<'_> {
    fn forms(&self) -> Vec<Form> {
        self.table.key.iter().map(|index| self.table.columns[*index].form).collect()
    }

    fn key(&self, row: &Printed) -> Vec<String> {
        self.table.key.iter().map(|index| row[*index].clone().unwrap_or_default()).collect()
    }

    fn compare(&self, left: &Printed, right: &Printed) -> Ordering {
        key::compare(&self.forms(), &self.key(left), &self.key(right))
    }

    fn check_next(&mut self, side: usize, row: Option<&Printed>) -> Result<()> {
        let Some(row) = row else { return Ok(()) };
        let now = self.key(row);
        if let Some(last) = &self.last[side] {
            let is_rising = key::compare(&self.forms(), last, &now).is_lt();
            ensure!(is_rising, "{} sorted {last:?} before {now:?}", ["MySQL", "PostgreSQL"][side]);
        }
        self.last[side] = Some(now);
        Ok(())
    }

    fn print_key(&self, row: &Printed) -> String {
        let names = self.table.key.iter().map(|index| self.table.columns[*index].name.as_str());
        let parts: Vec<String> = names.zip(self.key(row)).map(|(name, value)| format!("{name}={value}")).collect();
        parts.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_equal_however_they_are_spelled() {
        assert!(is_equal(Form::Float, Some("1e20"), Some("1e+20")));
        assert!(is_equal(Form::Json, Some(r#"{"a": 1.0, "b": [1, null]}"#), Some(r#"{"b":[1,null],"a":1}"#)));
        assert!(is_equal(Form::Text, None, None));
    }

    #[test]
    fn different_values_are_different() {
        assert!(!is_equal(Form::Float, Some("0.1"), Some("0.10000000000000002")));
        assert!(!is_equal(Form::Float, Some("0"), Some("-0")));
        assert!(!is_equal(Form::Json, Some("18446744073709551615"), Some("18446744073709551614")));
        assert!(!is_equal(Form::Json, Some("[1,2]"), Some("[1,2,3]")));
        assert!(!is_equal(Form::Text, None, Some("")), "NULL is not the empty text");
        assert!(!is_equal(Form::Number, Some("1.50"), Some("1.5")), "a lost scale is a difference");
    }
}
