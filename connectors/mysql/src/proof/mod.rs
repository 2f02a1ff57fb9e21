//! Rows for proof, as the server itself answers a plain query: what verify compares.
//!
//! It shares nothing with the binlog reader, the row decoder and the snapshot reader, the connection included: queries go by
//! mysql_async, on its text protocol, in which the server prints all values itself. `question` says what is asked of a column and
//! what the answer means, `key_order` which rows a range means, `session` how a connection is set up so that no answer depends on
//! the server's settings.

mod key_order;
mod question;
mod session;

use std::sync::Arc;

use mysql_async::{Conn, prelude::Queryable as _};
use tailrace_contract::{
    BoxFuture, CanonicalWriter, Endpoint, Error, KeyPart, KeySpelling, ProofBatch, ProofFeed, ProofFeeder, ProofQuery,
    ProofReader, ReadLimits, Result, Rows, Unspelled,
};
use tailrace_row::TableSchema;

use key_order::KeyOrder;
use question::{Question, literal, quote};
use session::{connect, failed};

/// A table and a connection to read it with.
pub(crate) struct MysqlProof {
    endpoint: Endpoint,
    table: Arc<Table>,
    feed: ProofFeed<Conn>,
}

struct Table {
    schema: Arc<TableSchema>,
    questions: Vec<Question>,
    /// In key order.
    key: Vec<KeyPart>,
    order: KeyOrder,
}

impl MysqlProof {
    /// Connects, and reads what decides the order of the table's key.
    pub(crate) async fn open(endpoint: &Endpoint, schema: Arc<TableSchema>) -> Result<Self> {
        let mut connection = connect(endpoint).await?;
        let order = KeyOrder::ask(&mut connection, &schema).await?;
        let questions: Vec<Question> = schema.columns().iter().map(Question::of).collect();
        let part = |place: &usize| {
            let name = &schema.columns()[*place].name;
            KeyPart { name: quote(name), is_descending: order.is_descending(name) }
        };
        let key = schema.key().iter().map(part).collect();
        let feed = ProofFeed::new(questions.len(), connection);
        Ok(Self { endpoint: endpoint.clone(), table: Arc::new(Table { schema, questions, key, order }), feed })
    }

    async fn begin(&mut self, rows: Rows<'_>) -> Result<()> {
        let query = self.table.query(rows)?;
        let connection = match self.feed.take_idle() {
            Some(connection) => connection,
            None => connect(&self.endpoint).await?,
        };
        let table = Arc::clone(&self.table);
        self.feed.begin(|feeder| Box::pin(pump(connection, table, query, feeder))).await
    }
}

impl ProofReader for MysqlProof {
    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.begin(rows))
    }

    fn fill<'a>(&'a mut self, out: &'a mut ProofBatch, limits: ReadLimits) -> BoxFuture<'a, Result<bool>> {
        Box::pin(self.feed.fill(out, limits))
    }
}

/// All queries see one snapshot.
async fn pump(mut connection: Conn, table: Arc<Table>, mut query: ProofQuery, mut feeder: ProofFeeder) -> Result<Conn> {
    let fail = |error| failed(error).on_table(table.schema.name().clone());
    let begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
    connection.query_drop(begin).await.map_err(fail)?;
    // An alteration behind this one ends the queries: it is another table than that of the snapshot.
    if KeyOrder::ask(&mut connection, &table.schema).await? != table.order {
        let what = "the key is not in the order that it had when the table was opened: it was altered";
        return Err(Error::transient(what).on_table(table.schema.name().clone()));
    }
    let mut writer = CanonicalWriter::default();
    for condition in &query.conditions {
        let mut answers = connection.query_iter(table.select(condition, query.keys.is_none())).await.map_err(fail)?;
        while let Some(row) = answers.next().await.map_err(fail)? {
            let mut place = 0;
            for question in &table.questions {
                feeder
                    .piece
                    .push_field(|out| question.read(&row, &mut place, &mut writer, out))
                    .map_err(|error| error.on_table(table.schema.name().clone()))?;
            }
            if query.keys.as_mut().is_some_and(|keys| !keys.takes_last_of(&feeder.piece)) {
                feeder.piece.pop_row();
            }
            feeder.row_is_complete().await;
        }
    }
    connection.query_drop("COMMIT").await.map_err(fail)?;
    feeder.end().await;
    Ok(connection)
}

impl Table {
    fn query(&self, rows: Rows<'_>) -> Result<ProofQuery> {
        let spell = |number: usize, field: &_| {
            let place = self.schema.key()[number];
            literal(&self.schema.columns()[place].column_type, field)
        };
        let spelling = KeySpelling { key: &self.key, spell: &spell, unspelled: Unspelled::Unreachable };
        ProofQuery::new(&self.schema, rows, &spelling)
    }

    fn select(&self, condition: &str, is_ordered: bool) -> String {
        let asked: Vec<&str> = self.questions.iter().flat_map(Question::expressions).collect();
        let name = self.schema.name();
        let from = format!("{}.{}", quote(&name.database), quote(&name.table));
        let order = match is_ordered && !self.key.is_empty() {
            true => format!(" ORDER BY {}", KeyPart::order(&self.key)),
            false => String::new(),
        };
        format!("SELECT {} FROM {from} WHERE {condition}{order}", asked.join(", "))
    }
}
