//! Rows for proof, as PostgreSQL itself prints them: what verify compares.
//!
//! It shares nothing with the encoder, the plans of writes and the reader of tables, the catalog's reading included: rows come by
//! `COPY … TO STDOUT` in text, of which `copy_text` takes the fields. `question` says what is asked of a column, what the answer
//! means for a column of the source, and how a key is spelled.

mod copy_text;
mod question;

use std::{sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;
use sqlx::{
    Connection as _, Executor as _, Row as _,
    postgres::{PgConnectOptions, PgConnection},
};
use tailrace_contract::{
    BoxFuture, CanonicalWriter, Error, KeyPart, KeySpelling, ProofBatch, ProofFeed, ProofFeeder, ProofQuery,
    ProofReader, ReadLimits, Result, Rows, TableMapping, TargetTable, Unspelled,
};
use tailrace_row::TableSchema;

use crate::{
    errors::classify,
    identifier::{quote, quote_table},
};
use copy_text::Lines;
use question::Question;

const DOING: &str = "reading rows for proof";
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Why:
/// - `DateStyle`, `IntervalStyle`, `TimeZone`, `bytea_output`, `extra_float_digits`: a value has one spelling, of all its digits;
/// - `row_security`: a policy that hides rows from us is an error, not a row that is silently left out;
/// - `search_path`: no function or type of somebody else's takes part;
/// - `statement_timeout`: whoever compares may be busy for a while.
const SET_UP: &str = "
SET client_encoding = 'UTF8'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC';
SET bytea_output = 'hex'; SET extra_float_digits = 3; SET row_security = off; SET search_path = pg_catalog;
SET standard_conforming_strings = on; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
SET client_min_messages = error";

/// A table and a connection to read it with.
pub(crate) struct PostgresProof {
    options: PgConnectOptions,
    table: Arc<Table>,
    feed: ProofFeed<PgConnection>,
}

struct Table {
    schema: Arc<TableSchema>,
    questions: Vec<Question>,
    /// In key order.
    key: Vec<KeyPart>,
    /// Quoted.
    name: String,
}

impl PostgresProof {
    /// Connects and reads the types of the table's columns.
    pub(crate) async fn open(
        options: &PgConnectOptions,
        schema: Arc<TableSchema>,
        mapping: &TableMapping,
    ) -> Result<Self> {
        mapping.check_readable()?;
        let mut connection = connect(options).await?;
        let questions = ask_types(&mut connection, &schema, &mapping.target).await?;
        let part = |place: &usize| Ok(KeyPart { name: quote(&schema.columns()[*place].name)?, is_descending: false });
        let key = schema.key().iter().map(part).collect::<Result<_>>()?;
        let feed = ProofFeed::new(questions.len(), connection);
        let table = Table { schema, questions, key, name: quote_table(&mapping.target)? };
        Ok(Self { options: options.clone(), table: Arc::new(table), feed })
    }

    async fn begin(&mut self, rows: Rows<'_>) -> Result<()> {
        let query = self.table.query(rows)?;
        let connection = match self.feed.take_idle() {
            Some(connection) => connection,
            None => connect(&self.options).await?,
        };
        let table = Arc::clone(&self.table);
        self.feed.begin(|feeder| Box::pin(pump(connection, table, query, feeder))).await
    }
}

impl ProofReader for PostgresProof {
    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.begin(rows))
    }

    fn fill<'a>(&'a mut self, out: &'a mut ProofBatch, limits: ReadLimits) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.feed.fill(out, limits))
    }
}

fn failed(error: sqlx::Error) -> Error {
    classify(error, DOING).into()
}

async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    let connecting = async {
        let mut connection = PgConnection::connect_with(options).await?;
        connection.execute(sqlx::raw_sql(SET_UP)).await?;
        Ok(connection)
    };
    match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => Err(Error::transient(format!("{DOING}: no answer within {} s", CONNECT_LIMIT.as_secs()))),
    }
}

/// One question for each column of the source.
async fn ask_types(connection: &mut PgConnection, schema: &TableSchema, table: &TargetTable) -> Result<Vec<Question>> {
    const SQL: &str = "
SELECT a.attname::text AS name, t.typname::text AS type_name
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
  JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped";
    let query = sqlx::query(SQL).bind(&*table.schema).bind(&*table.table);
    let rows = connection.fetch_all(query).await.map_err(failed)?;
    let find = |wanted: &str| -> Option<String> {
        let row = rows.iter().find(|row| row.try_get::<&str, _>("name").is_ok_and(|name| name == wanted))?;
        row.try_get("type_name").ok()
    };
    let questions = schema.columns().iter().map(|column| {
        let type_name = find(&column.name).ok_or_else(|| {
            let what = format!("the target table {table} has no column {}", column.name);
            Error::table_failed(schema.name().clone(), what)
        })?;
        Question::of(column, &type_name)
    });
    questions.collect()
}

/// All queries see one snapshot.
async fn pump(
    mut connection: PgConnection,
    table: Arc<Table>,
    mut query: ProofQuery,
    mut feeder: ProofFeeder,
) -> Result<PgConnection> {
    let fail = |error| failed(error).on_table(table.schema.name().clone());
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    connection.execute(begin).await.map_err(fail)?;
    let (mut writer, mut lines) = (CanonicalWriter::default(), Lines::default());
    for condition in &query.conditions {
        let copy = table.copy(condition, query.keys.is_none());
        let mut answers = connection.copy_out_raw(&copy).await.map_err(fail)?;
        while let Some(bytes) = answers.try_next().await.map_err(fail)? {
            lines.push(&bytes);
            while lines.next_line() {
                table.read(&mut lines, &mut writer, &mut feeder.piece)?;
                if query.keys.as_mut().is_some_and(|keys| !keys.takes_last_of(&feeder.piece)) {
                    feeder.piece.pop_row();
                }
                feeder.row_is_complete().await;
            }
        }
    }
    connection.execute("COMMIT").await.map_err(fail)?;
    feeder.end().await;
    Ok(connection)
}

impl Table {
    fn query(&self, rows: Rows<'_>) -> Result<ProofQuery> {
        let spell = |number: usize, field: &_| self.questions[self.schema.key()[number]].literal(field);
        let spelling = KeySpelling { key: &self.key, spell: &spell, unspelled: Unspelled::Absent };
        ProofQuery::new(&self.schema, rows, &spelling)
    }

    fn copy(&self, condition: &str, is_ordered: bool) -> String {
        let asked: Vec<&str> = self.questions.iter().map(|question| question.asked.as_str()).collect();
        let order = match is_ordered && !self.key.is_empty() {
            true => format!(" ORDER BY {}", KeyPart::order(&self.key)),
            false => String::new(),
        };
        format!("COPY (SELECT {} FROM {} WHERE {condition}{order}) TO STDOUT", asked.join(", "), self.name)
    }

    fn read(&self, lines: &mut Lines, writer: &mut CanonicalWriter, piece: &mut ProofBatch) -> Result<()> {
        for question in &self.questions {
            piece.push_field(|out| -> Result<()> {
                let field = lines.next_field().ok_or_else(|| self.torn())?;
                question.read(field, writer, out);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn torn(&self) -> Error {
        Error::corrupt(format!("{DOING}: a row has too few columns")).on_table(self.schema.name().clone())
    }
}
