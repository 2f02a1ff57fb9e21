//! Compares a table of MySQL with one in a file of SQLite, by what each database prints. Both are held in memory: it is for
//! tables as a demo has them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use super::columns::{SourceColumn, key_names, mysql_name, postgres_name, source_columns};
use super::{Comparison, Kind, Pair, json};

/// How one column is printed on both sides, and how the texts are compared.
struct Printed {
    name: String,
    source: String,
    target: String,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// The same 64 bits.
    Float,
    Json,
}

type Rows = BTreeMap<Vec<Option<String>>, Vec<Option<String>>>;

/// Compares every row; the table has the same name in the file.
pub async fn compare_file(
    source: &mut mysql_async::Conn,
    file: &mut SqliteConnection,
    (database, table): (&str, &str),
) -> Result<Comparison> {
    let pair = Pair::same(database, table);
    source.query_drop("SET time_zone = '+00:00', sql_mode = '', character_set_results = 'utf8mb4'").await?;
    let columns = source_columns(source, &pair).await?;
    let printed = columns.iter().map(print).collect::<Result<Vec<_>>>()?;
    let key: Vec<usize> = key_names(source, &pair)
        .await?
        .iter()
        .filter_map(|name| columns.iter().position(|column| column.name == *name))
        .collect();
    ensure!(!key.is_empty(), "{table} has no key");
    let from = format!("{}.{}", mysql_name(database), mysql_name(table));
    let mut here = read_source(source, &printed, &from).await?;
    let has_fraction =
        |place: &usize| matches!(&*columns[*place].data_type, "decimal" | "datetime" | "timestamp" | "time");
    let fractions: Vec<usize> = key.iter().copied().filter(has_fraction).collect();
    for row in &mut here {
        for place in &fractions {
            row[*place] = row[*place].as_deref().map(without_zeros);
        }
    }
    let here = by_key(here, &key)?;
    let there = by_key(read_file(file, &printed, &postgres_name(table)).await?, &key)?;
    Ok(judge(&printed, &here, &there))
}

/// In a key a file has no zeros at the end of a fraction.
fn without_zeros(text: &str) -> String {
    let (number, zone) = text.strip_suffix('Z').map_or((text, ""), |number| (number, "Z"));
    let short = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    format!("{short}{zone}")
}

fn judge(printed: &[Printed], here: &Rows, there: &Rows) -> Comparison {
    let (source_rows, target_rows) = (here.len() as u64, there.len() as u64);
    let mut found = Comparison { source_rows, target_rows, ..Comparison::default() };
    let name = |key: &[Option<String>]| key.iter().map(shown).collect::<Vec<_>>().join(", ");
    for (key, row) in here {
        let Some(other) = there.get(key) else {
            found.note(name(key), Kind::Missing);
            continue;
        };
        let sides = printed.iter().zip(row.iter().zip(other));
        let differing = sides.filter(|(column, (one, two))| !is_equal(column.form, one.as_deref(), two.as_deref()));
        let differing: Vec<_> =
            differing.map(|(column, (one, two))| (column.name.clone(), shown(one), shown(two))).collect();
        if !differing.is_empty() {
            found.note(name(key), Kind::Different(differing));
        }
    }
    for key in there.keys().filter(|key| !here.contains_key(*key)) {
        found.note(name(key), Kind::Extra);
    }
    found
}

fn shown(text: &Option<String>) -> String {
    text.clone().unwrap_or_else(|| "NULL".to_owned())
}

fn is_equal(form: Form, one: Option<&str>, two: Option<&str>) -> bool {
    let (Some(one), Some(two)) = (one, two) else { return one == two };
    match form {
        Form::Text => one == two,
        Form::Float => match (one.parse::<f64>(), two.parse::<f64>()) {
            (Ok(one), Ok(two)) => one.to_bits() == two.to_bits(),
            _ => false,
        },
        Form::Json => json::canonical(one).is_some_and(|one| Some(one) == json::canonical(two)),
    }
}

fn by_key(rows: Vec<Vec<Option<String>>>, key: &[usize]) -> Result<Rows> {
    let mut keyed = Rows::new();
    for row in rows {
        let name: Vec<Option<String>> = key.iter().map(|place| row[*place].clone()).collect();
        ensure!(keyed.insert(name.clone(), row).is_none(), "the key {name:?} stands there twice");
    }
    Ok(keyed)
}

async fn read_source(
    source: &mut mysql_async::Conn,
    printed: &[Printed],
    from: &str,
) -> Result<Vec<Vec<Option<String>>>> {
    let list: Vec<&str> = printed.iter().map(|column| column.source.as_str()).collect();
    let rows: Vec<mysql_async::Row> = source.query(format!("SELECT {} FROM {from} AS s", list.join(", "))).await?;
    let text = |row: &mysql_async::Row, place| match row.as_ref(place) {
        Some(mysql_async::Value::NULL) => Ok(None),
        Some(mysql_async::Value::Bytes(bytes)) => Ok(Some(String::from_utf8(bytes.clone())?)),
        other => bail!("MySQL printed {other:?}"),
    };
    rows.iter().map(|row| (0..printed.len()).map(|place| text(row, place)).collect()).collect()
}

async fn read_file(file: &mut SqliteConnection, printed: &[Printed], from: &str) -> Result<Vec<Vec<Option<String>>>> {
    let list: Vec<&str> = printed.iter().map(|column| column.target.as_str()).collect();
    let sql = format!("SELECT {} FROM {from} AS t", list.join(", "));
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(file).await.context("reading the file")?;
    let row = |row: sqlx::sqlite::SqliteRow| (0..printed.len()).map(|place| Ok(row.try_get(place)?)).collect();
    rows.into_iter().map(row).collect()
}

fn print(column: &SourceColumn) -> Result<Printed> {
    let (s, t) = (format!("s.{}", mysql_name(&column.name)), format!("t.{}", postgres_name(&column.name)));
    let is_binary = column.charset.is_none();
    let as_text = (format!("CAST({s} AS CHAR)"), format!("CAST({t} AS TEXT)"));
    let ((source, target), form) = match column.data_type.as_str() {
        "bit" => ((format!("CAST({s} + 0 AS CHAR)"), as_text.1), Form::Text),
        "float" | "double" => {
            ((format!("CAST(CAST({s} AS DOUBLE) AS CHAR)"), format!("printf('%!.17g', {t})")), Form::Float)
        }
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" if !is_binary => {
            ((format!("CONVERT({s} USING utf8mb4)"), as_text.1), Form::Text)
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            ((format!("HEX({s})"), format!("hex({t})")), Form::Text)
        }
        // The zone is part of the text.
        "timestamp" => ((format!("CONCAT({s}, 'Z')"), as_text.1), Form::Text),
        "json" => (as_text, Form::Json),
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" | "date" | "datetime" | "time" => {
            (as_text, Form::Text)
        }
        other => bail!("the oracle can't print {} {other}", column.name),
    };
    let is_real = form == Form::Float;
    let is_bytes = is_binary && target.starts_with("hex");
    let target = if is_real || is_bytes { format!("CASE WHEN {t} IS NOT NULL THEN {target} END") } else { target };
    Ok(Printed { name: column.name.clone(), source, target, form })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_end_no_fraction_of_a_key() {
        let check = |text: &str, expect: &str| assert_eq!(without_zeros(text), expect);
        check("-313329.160", "-313329.16");
        check("1.000", "1");
        check("100", "100");
        check("2024-02-29 12:34:50.500000Z", "2024-02-29 12:34:50.5Z");
        check("2024-02-29 12:34:50.000000", "2024-02-29 12:34:50");
    }
}
