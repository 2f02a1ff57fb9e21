//! For each column, how either database prints it, chosen by the source's type and the type the target really has.
//!
//! A type that is not listed is an error, never a column left out.

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use sqlx::{PgConnection, Row};

use super::Pair;

/// A table's columns and how both sides print and order them.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) source: String,
    pub(super) target: String,
    pub(super) columns: Vec<Column>,
    /// Indexes into `columns`, in the order of the key.
    pub(super) key: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// Expression in MySQL's SQL that yields text.
    pub(super) source: String,
    /// Expression in PostgreSQL's SQL that yields text.
    pub(super) target: String,
    /// What both sort by, if this is a key column: the same order on both sides.
    pub(super) source_order: String,
    pub(super) target_order: String,
    pub(super) form: Form,
}

/// How two texts of a column are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Digits with an optional sign and fraction: the same text, ordered as numbers.
    Number,
    /// The same text, ordered by its bytes.
    Text,
    /// Shortest digits that yield the same 64 bits; the two databases spell exponents differently.
    Float,
    /// Trees of values; spelling, order of members and the spelling of numbers don't count.
    Json,
}

pub(super) struct SourceColumn {
    pub(super) name: String,
    pub(super) data_type: String,
    column_type: String,
    pub(super) charset: Option<String>,
}

pub(super) async fn read(source: &mut mysql_async::Conn, target: &mut PgConnection, pair: &Pair) -> Result<Table> {
    let columns = source_columns(source, pair).await?;
    ensure!(!columns.is_empty(), "MySQL has no such table");
    let types = target_types(target, pair).await?;
    ensure!(!types.is_empty(), "PostgreSQL has no table {}.{}", pair.target.0, pair.target.1);
    let mut printed = Vec::new();
    for column in &columns {
        let found = types.iter().find(|(name, _)| *name == column.name);
        let (_, target_type) = found.with_context(|| format!("the target has no column {}", column.name))?;
        printed.push(print(column, target_type)?);
    }
    if let Some((extra, _)) = types.iter().find(|(name, _)| columns.iter().all(|column| column.name != *name)) {
        bail!("the target has a column {extra} that the source has not");
    }
    let names = key_names(source, pair).await?;
    ensure!(!names.is_empty(), "the source has no key");
    let key = names.iter().filter_map(|name| columns.iter().position(|column| column.name == *name)).collect();
    Ok(Table {
        source: format!("{}.{}", mysql_name(&pair.source.0), mysql_name(&pair.source.1)),
        target: format!("{}.{}", postgres_name(&pair.target.0), postgres_name(&pair.target.1)),
        columns: printed,
        key,
    })
}

pub(super) async fn source_columns(source: &mut mysql_async::Conn, pair: &Pair) -> Result<Vec<SourceColumn>> {
    let sql = "SELECT column_name, data_type, CAST(column_type AS CHAR), character_set_name \
               FROM information_schema.columns WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position";
    let found: Vec<(String, String, String, Option<String>)> = source.exec(sql, pair.source.clone()).await?;
    let columns = found.into_iter().map(|(name, data_type, column_type, charset)| SourceColumn {
        name,
        data_type: data_type.to_lowercase(),
        column_type: column_type.to_lowercase(),
        charset,
    });
    Ok(columns.collect())
}

pub(super) async fn key_names(source: &mut mysql_async::Conn, pair: &Pair) -> Result<Vec<String>> {
    // Any unique key tells rows apart: the primary key, or the first by name of those that are NOT NULL and of whole columns.
    let sql = "SELECT index_name, column_name, nullable <> 'YES' AND sub_part IS NULL FROM information_schema.statistics \
               WHERE table_schema = ? AND table_name = ? AND non_unique = 0 \
               ORDER BY index_name <> 'PRIMARY', index_name, seq_in_index";
    let parts: Vec<(String, String, bool)> = source.exec(sql, pair.source.clone()).await?;
    let serves = |parts: &&[(String, String, bool)]| parts[0].0 == "PRIMARY" || parts.iter().all(|part| part.2);
    let key = parts.chunk_by(|one, other| one.0 == other.0).find(serves).unwrap_or_default();
    Ok(key.iter().map(|(_, column, _)| column.clone()).collect())
}

async fn target_types(target: &mut PgConnection, pair: &Pair) -> Result<Vec<(String, String)>> {
    let sql = "SELECT column_name::text, data_type::text FROM information_schema.columns \
               WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position";
    let rows = sqlx::query(sql).bind(&pair.target.0).bind(&pair.target.1).fetch_all(target).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

fn print(column: &SourceColumn, target_type: &str) -> Result<Column> {
    // Qualified: a bare name in ORDER BY would mean the printed text and not the column.
    let (s, t) = (format!("s.{}", mysql_name(&column.name)), format!("t.{}", postgres_name(&column.name)));
    let is_text = target_type == "text" || target_type.starts_with("character");
    let plain = |source: String, target: String, form: Form| Column {
        name: column.name.clone(),
        source,
        target,
        source_order: s.clone(),
        target_order: t.clone(),
        form,
    };
    let by_bytes = |source: String, target: String| Column {
        source_order: format!("CAST({source} AS BINARY)"),
        target_order: format!("({target}) COLLATE \"C\""),
        ..plain(source, target, Form::Text)
    };
    let as_text = || by_bytes(format!("CAST({s} AS CHAR)"), format!("{t}::text"));
    let unknown = || format!("{} {} against {target_type}", column.name, column.column_type);
    let is_binary = column.charset.is_none();
    Ok(match column.data_type.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => match target_type {
            "boolean" => plain(format!("CAST({s} AS CHAR)"), format!("{t}::int::text"), Form::Number),
            _ => plain(format!("CAST({s} AS CHAR)"), format!("{t}::text"), Form::Number),
        },
        // FLOAT is widened first: as it is, MySQL prints six digits of it.
        "float" | "double" => {
            plain(format!("CAST(CAST({s} AS DOUBLE) AS CHAR)"), format!("{t}::float8::text"), Form::Float)
        }
        "bit" => print_bit(column, target_type, &s, &t, plain).with_context(unknown)?,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" if !is_binary => {
            match target_type {
                "bytea" => plain(format!("LOWER(HEX({s}))"), format!("encode({t}, 'hex')"), Form::Text),
                "ARRAY" => by_bytes(format!("CAST({s} AS CHAR)"), format!("array_to_string({t}, ',')")),
                _ => by_bytes(format!("CONVERT({s} USING utf8mb4)"), format!("{t}::text")),
            }
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            plain(format!("LOWER(HEX({s}))"), format!("encode({t}, 'hex')"), Form::Text)
        }
        "date" | "datetime" | "timestamp" | "time" if is_text => as_text(),
        "date" => plain(format!("DATE_FORMAT({s}, '%Y-%m-%d')"), format!("to_char({t}, 'YYYY-MM-DD')"), Form::Text),
        "datetime" | "timestamp" => plain(
            format!("DATE_FORMAT({s}, '%Y-%m-%d %H:%i:%s.%f')"),
            format!("to_char({t}, 'YYYY-MM-DD HH24:MI:SS.US')"),
            Form::Text,
        ),
        // Microseconds: the target may hold a time of day or an interval.
        "time" => plain(
            format!("CAST(IF({s} < 0, -1, 1) * (FLOOR(ABS(TIME_TO_SEC({s}))) * 1000000 + MICROSECOND({s})) AS CHAR)"),
            format!("(extract(epoch FROM {t}) * 1000000)::bigint::text"),
            Form::Number,
        ),
        "uuid" => as_text(),
        "json" => plain(format!("CAST({s} AS CHAR)"), format!("{t}::text"), Form::Json),
        _ => bail!("the oracle can't print {}", unknown()),
    })
}

fn print_bit(
    column: &SourceColumn,
    target_type: &str,
    s: &str,
    t: &str,
    plain: impl Fn(String, String, Form) -> Column,
) -> Result<Column> {
    let width: u32 = column.column_type.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(1);
    Ok(match target_type {
        "bit" | "bit varying" => plain(format!("LPAD(BIN({s} + 0), {width}, '0')"), format!("{t}::text"), Form::Text),
        "bytea" => {
            let digits = width.div_ceil(8) * 2;
            plain(format!("LPAD(LOWER(HEX({s} + 0)), {digits}, '0')"), format!("encode({t}, 'hex')"), Form::Text)
        }
        "boolean" => plain(format!("CAST({s} + 0 AS CHAR)"), format!("{t}::int::text"), Form::Number),
        "smallint" | "integer" | "bigint" | "numeric" => {
            plain(format!("CAST({s} + 0 AS CHAR)"), format!("{t}::text"), Form::Number)
        }
        _ => bail!("no way to print it"),
    })
}

pub(super) fn mysql_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

pub(super) fn postgres_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
