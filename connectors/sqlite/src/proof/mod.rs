//! Rows for proof, as SQLite itself holds them: what verify compares.
//!
//! It shares nothing with the encoder, the plans of writes and the reader of tables, the connection included. SQLite prints
//! nothing by itself: its answer is the value that it stored, in the type in which it did, and `question` says what that
//! means for a column of the source, and how a key is spelled.

mod question;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Executor as _,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};
use tailrace_contract::{
    BoxFuture, CanonicalWriter, Error, KeyPart, KeySpelling, ProofBatch, ProofFeed, ProofFeeder, ProofQuery,
    ProofReader, ReadLimits, Result, Rows, TableMapping, Unspelled,
};
use tailrace_row::TableSchema;

use crate::{errors::classify_proof, identifier::quote_table};
use question::{Question, name};

const DOING: &str = "reading rows for proof";
/// Readers wait for no writer but the one that checkpoints the log to its end.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// A table and a connection to read it with.
pub(crate) struct SqliteProof {
    table: Arc<Table>,
    feed: ProofFeed<SqliteConnection>,
}

struct Table {
    file: PathBuf,
    schema: Arc<TableSchema>,
    questions: Vec<Question>,
    /// In key order.
    key: Vec<KeyPart>,
    /// Quoted.
    name: String,
}

impl SqliteProof {
    /// Opens the file.
    pub(crate) async fn open(file: &Path, schema: Arc<TableSchema>, mapping: &TableMapping) -> Result<Self> {
        mapping.check_readable()?;
        let connection = connect(file).await?;
        let part = |place: &usize| Ok(KeyPart { name: name(&schema.columns()[*place].name)?, is_descending: false });
        let key = schema.key().iter().map(part).collect::<Result<_>>()?;
        let questions = schema.columns().iter().map(Question::of).collect::<Result<Vec<Question>>>()?;
        let feed = ProofFeed::new(questions.len(), connection);
        let table = Table { file: file.to_owned(), schema, questions, key, name: quote_table(&mapping.target)? };
        Ok(Self { table: Arc::new(table), feed })
    }

    async fn begin(&mut self, rows: Rows<'_>) -> Result<()> {
        let query = self.table.query(rows)?;
        let connection = match self.feed.take_idle() {
            Some(connection) => connection,
            None => connect(&self.table.file).await?,
        };
        let table = Arc::clone(&self.table);
        self.feed.begin(|feeder| Box::pin(pump(connection, table, query, feeder))).await
    }
}

impl ProofReader for SqliteProof {
    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.begin(rows))
    }

    fn fill<'a>(&'a mut self, out: &'a mut ProofBatch, limits: ReadLimits) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.feed.fill(out, limits))
    }
}

fn failed(error: sqlx::Error, file: &Path) -> Error {
    classify_proof(error, DOING, file)
}

async fn connect(file: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(false)
        .foreign_keys(false)
        .busy_timeout(LOCK_WAIT_MAX)
        .pragma("query_only", "ON")
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-65536")
        .pragma("trusted_schema", "OFF")
        // Its log would hold our SQL, whole, at every slow read.
        .disable_statement_logging();
    options.connect().await.map_err(|error| failed(error, file))
}

/// All queries see one snapshot: it begins with the first of them.
async fn pump(
    mut connection: SqliteConnection,
    table: Arc<Table>,
    mut query: ProofQuery,
    mut feeder: ProofFeeder,
) -> Result<SqliteConnection> {
    let fail = |error| failed(error, &table.file).on_table(table.schema.name().clone());
    connection.execute("BEGIN").await.map_err(fail)?;
    let mut writer = CanonicalWriter::default();
    for condition in &query.conditions {
        let select = table.select(condition, query.keys.is_none());
        let mut answers = connection.fetch(sqlx::query(AssertSqlSafe(select)).persistent(false));
        while let Some(row) = answers.try_next().await.map_err(fail)? {
            for (place, question) in table.questions.iter().enumerate() {
                feeder.piece.push_field(|out| question.read(&row, place, &mut writer, out).map_err(fail))?;
            }
            if query.keys.as_mut().is_some_and(|keys| !keys.takes_last_of(&feeder.piece)) {
                feeder.piece.pop_row();
            }
            feeder.row_is_complete().await;
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

    fn select(&self, condition: &str, is_ordered: bool) -> String {
        let asked: Vec<&str> = self.questions.iter().map(|question| question.asked.as_str()).collect();
        let order = match is_ordered && !self.key.is_empty() {
            true => format!(" ORDER BY {}", KeyPart::order(&self.key)),
            false => String::new(),
        };
        format!("SELECT {} FROM {} AS t WHERE {condition}{order}", asked.join(", "), self.name)
    }
}
