//! Rows of a table as they lie there now, streamed from one SELECT at a time.
//!
//! Why each row is the image that the binlog would give of it:
//!
//! 1. Values come in the protocol's binary form, texts in the bytes of their own charset (`character_set_results = NULL`), and
//!    are decoded by what decodes the binlog wherever the bytes are the same (`columns`). ENUM and SET are asked for as numbers.
//! 2. The table has the schema that the reader was opened with, and its key the same order: each view first opens the table, which
//!    keeps every ALTER away until the view ends, and only then asks the dictionary. A table that the dictionary does not show as
//!    it is (`schema::doubtful_members`) is refused.
//! 3. All statements of a read share one transaction of REPEATABLE READ that the reader asks for itself: one moment, and no
//!    row of a transaction that is rolled back later.
//!
//! Only engines with versions of rows are read: others would lock the table instead (`engine`).
//!
//! The transaction ends with the last row, so that between reads neither a view nor a lock of the table's shape is held. A call that
//! fails or is given up costs its connection: what the server still sends can't be told to stop.
//!
//! The sum: one packet a row, read in chunks of 256 KiB and decoded in place; one turn of a jump table for each value. It costs the
//! server ten times as much to send it.

mod bounds;
mod chunks;
mod columns;
mod decimal_text;
mod key_order;
mod lock;
mod read_server;
mod second_phases;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use tailrace_contract::{
    BoxFuture, ChunkRange, Endpoint, Error, ErrorKind, ReadLimits, Result, Rows, TableFilter, TablePattern, TableReader,
};
use tailrace_row::{Key, Operation, Origin, Record, RecordBatch, TableName, TableSchema};

use self::{bounds::Statements, columns::RowPlan, key_order::KeyOrder};
pub(crate) use self::{chunks::MysqlChunkReader, read_server::Captured};
use crate::{
    protocol::{Connection, Prepared, quote_table, quote_text, row_of},
    schema::{self, FoundTable, PRIMARY},
    statement,
};

/// Settings of the session. Those of the server may cut an answer short (`sql_select_limit`), end it (`max_execution_time`,
/// `max_statement_time`), or leave the view open behind it (`autocommit`). Days that don't exist must not fail as bounds.
const SESSION: &str = "SET SESSION autocommit = 1, SESSION sql_mode = 'ALLOW_INVALID_DATES', character_set_results = NULL, \
                       SESSION sql_select_limit = 18446744073709551615, SESSION sql_big_selects = 1, \
                       SESSION lock_wait_timeout = 50";
const SESSION_OF_MYSQL: &str = "SET SESSION max_execution_time = 0, SESSION information_schema_stats_expiry = 0";
const SESSION_OF_MARIADB: &str = "SET SESSION max_statement_time = 0";

/// One connection and one table.
pub(crate) struct MysqlTableReader {
    endpoint: Endpoint,
    schema: Arc<TableSchema>,
    order: KeyOrder,
    statements: Statements,
    rows: RowPlan,
    keys: RowPlan,
    /// None once a call was given up or failed.
    connection: Option<Connection>,
    /// From a call's first word to the server until its view has ended: an answer may be under way.
    is_busy: bool,
    read: Option<Read>,
}

/// A read that is under way.
struct Read {
    statement: Option<Prepared>,
    /// What follows when its rows have ended.
    pending: VecDeque<String>,
    /// The keys that rows must have, byte for byte, where keys were asked for: those that have not come yet, since what several
    /// statements ask for may be one row to a collation.
    wanted: Option<HashSet<Key>>,
}

impl MysqlTableReader {
    /// Connects, and holds the table against the schema.
    pub(crate) async fn open(endpoint: &Endpoint, schema: Arc<TableSchema>) -> Result<Self> {
        if schema.key().is_empty() {
            return Err(Error::table_failed(schema.name().clone(), "the table has no key to read it by"));
        }
        if let Some(column) = schema::doubtful_members(&schema) {
            return Err(unshown(schema.name(), &column.name));
        }
        let mut connection = connect(endpoint).await?;
        let index = key_index(&mut connection, schema.name()).await?;
        let order = KeyOrder::ask(&mut connection, schema.name(), &index).await?;
        let mut reader = Self {
            endpoint: endpoint.clone(),
            statements: Statements::new(&schema, &order),
            order,
            rows: RowPlan::new(&schema, 0..schema.columns().len()),
            keys: RowPlan::new(&schema, schema.key().iter().copied()),
            schema,
            connection: Some(connection),
            is_busy: false,
            read: None,
        };
        reader.begin_view().await?;
        reader.end_view().await?;
        Ok(reader)
    }

    /// The connection, a new one if the last call was given up. From here on it is busy, and no read is under way.
    async fn idle(&mut self) -> Result<&mut Connection> {
        self.read = None;
        if self.is_busy {
            self.connection = None;
        }
        if self.connection.is_none() {
            self.connection = Some(connect(&self.endpoint).await?);
        }
        self.is_busy = true;
        Ok(self.connection.as_mut().expect("invariant: it was just made"))
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(connection_gone)
    }

    /// Begins a transaction in which the table is the schema's.
    async fn begin_view(&mut self) -> Result<()> {
        self.idle().await?.execute("START TRANSACTION READ ONLY").await?;
        self.hold_table().await
    }

    /// Opens the table in the transaction that has begun, and holds it against the schema.
    async fn hold_table(&mut self) -> Result<()> {
        let (table, wanted) = (quote_table(self.schema.name()), Arc::clone(&self.schema));
        let connection = self.connection.as_mut().ok_or_else(connection_gone)?;
        connection.query(&format!("SELECT 1 FROM {table} LIMIT 0")).await?;
        let filter = TableFilter { patterns: vec![TablePattern::Table(wanted.name().clone())] };
        let is_same = |found: FoundTable| -> Result<bool> {
            Ok(found.key_index() == self.order.index() && found.schema?.id() == wanted.id())
        };
        let mut found = schema::find(connection, &filter).await?;
        let is_same = found.pop().map(is_same).transpose()?.unwrap_or_default();
        if is_same && KeyOrder::ask(connection, wanted.name(), self.order.index()).await? == self.order {
            return Ok(());
        }
        Err(Error::transient("the table is not what the reader was opened with: it was altered"))
    }

    async fn end_view(&mut self) -> Result<()> {
        self.connection()?.execute("COMMIT").await?;
        self.is_busy = false;
        Ok(())
    }

    async fn begin_statement(&mut self, sql: &str, plan: Plan) -> Result<Prepared> {
        let connection = self.connection()?;
        let prepared = connection.prepare(sql).await?;
        let columns = connection.execute_prepared(prepared).await?;
        let plan = match plan {
            Plan::Rows => &self.rows,
            Plan::Keys => &self.keys,
        };
        if plan.is_answered_by(&columns) {
            return Ok(prepared);
        }
        Err(Error::refused("the server answers with other types than the table has"))
    }

    async fn find_bound(&mut self, ChunkRange { after, until, rows_max }: ChunkRange<'_>) -> Result<Option<Key>> {
        self.begin_view().await?;
        let Some(skipped) = rows_max.checked_sub(1) else {
            self.end_view().await?;
            return Ok(None);
        };
        let sql = self.statements.bound(after, until, skipped).map_err(|unusable| unusable.of(&self.schema))?;
        self.take_last_key(&sql).await
    }

    async fn find_before(&mut self, key: &Key) -> Result<Option<Key>> {
        self.begin_view().await?;
        let sql = self.statements.before(key).map_err(|unusable| unusable.of(&self.schema))?;
        self.take_last_key(&sql).await
    }

    /// The key that a statement brings, if any, at the end of its view.
    async fn take_last_key(&mut self, sql: &str) -> Result<Option<Key>> {
        let found = self.take_key(sql).await?;
        self.end_view().await?;
        Ok(found)
    }

    /// The key that a statement brings, if any.
    async fn take_key(&mut self, sql: &str) -> Result<Option<Key>> {
        let statement = self.begin_statement(sql, Plan::Keys).await?;
        let mut found = None;
        loop {
            let connection = self.connection.as_mut().ok_or_else(connection_gone)?;
            let packet = connection.row_packet().await?;
            let Some(row) = row_of(connection.bytes(&packet))? else { break };
            let key = Key::write(self.schema.key().len(), |image| self.keys.decode(row, image));
            found = Some(key.map_err(|bad| self.keys.error_of(bad, &self.schema))?);
        }
        self.connection()?.close_prepared(statement).await?;
        Ok(found)
    }

    /// Has the server judge a condition, without reading a row.
    async fn try_condition(&mut self, condition: &str) -> Result<()> {
        let table = quote_table(self.schema.name());
        let connection = self.idle().await?;
        let refused = |error: Error| match error.kind() {
            ErrorKind::Transient => error,
            _ => Error::refused("the server does not take backfill_where").caused_by(error),
        };
        if !statement::is_one_expression(condition, connection.version().is_mariadb) {
            return Err(Error::refused("backfill_where is not one expression").hint(
                "its parentheses must match, and it has neither a semicolon nor a question mark outside quotes",
            ));
        }
        connection.query(&format!("SELECT 1 FROM {table} WHERE (\n{condition}\n) LIMIT 0")).await.map_err(refused)?;
        self.is_busy = false;
        Ok(())
    }

    async fn begin_read(&mut self, rows: Rows<'_>) -> Result<()> {
        self.begin_view().await?;
        self.begin_rows(match rows {
            Rows::Range { after, until } => Asked::Range(self.statements.range(after, until)),
            Rows::Keys(keys) => Asked::Keys(keys),
        })
        .await
    }

    /// Begins to read in the view that has begun.
    async fn begin_rows(&mut self, asked: Asked<'_>) -> Result<()> {
        let unusable = |unusable: bounds::Unusable| unusable.of(&self.schema);
        let (mut pending, wanted) = match asked {
            Asked::Range(statement) => (VecDeque::from([statement.map_err(unusable)?]), None),
            Asked::Keys(keys) => {
                let pending = self.statements.by_keys(keys).map_err(unusable)?;
                (pending, Some(keys.iter().cloned().collect()))
            }
        };
        let Some(first) = pending.pop_front() else { return self.end_view().await };
        self.read = Some(Read { statement: None, pending, wanted });
        let statement = self.begin_statement(&first, Plan::Rows).await?;
        self.read.as_mut().expect("invariant: it was just begun").statement = Some(statement);
        Ok(())
    }

    /// The rows of the present statement have ended: goes over to the next one. False if there is none.
    async fn go_on(&mut self) -> Result<bool> {
        let Some(read) = self.read.as_mut() else { return Ok(false) };
        let (ended, next) = (read.statement.take(), read.pending.pop_front());
        if let Some(ended) = ended {
            self.connection()?.close_prepared(ended).await?;
        }
        match next {
            Some(next) => {
                let statement = self.begin_statement(&next, Plan::Rows).await?;
                self.read.as_mut().expect("invariant: it is under way").statement = Some(statement);
                Ok(true)
            }
            None => {
                self.end_view().await?;
                self.read = None;
                Ok(false)
            }
        }
    }

    async fn take_rows(&mut self, out: &mut RecordBatch, origin: &Origin, limits: ReadLimits) -> Result<bool> {
        let end = Filled { rows: out.len() + limits.rows_max.max(1), bytes: out.byte_len() + limits.bytes_max };
        let numbers = (out.add_schema(&self.schema), out.add_origin(origin.clone()));
        loop {
            let Some(read) = &mut self.read else { return Ok(false) };
            let connection = self.connection.as_mut().ok_or_else(connection_gone)?;
            let packet = connection.row_packet().await?;
            let Some(row) = row_of(connection.bytes(&packet))? else {
                if self.go_on().await? {
                    continue;
                }
                return Ok(false);
            };
            let image = out.write_image(self.schema.columns().len(), |image| self.rows.decode(row, image));
            let after = Some(image.map_err(|bad| self.rows.error_of(bad, &self.schema))?);
            let (operation, (schema, origin)) = (Operation::Read, numbers);
            out.push(Record { operation, schema, origin, row: 0, lane: 0, offset: 0, before: None, after });
            if read.wanted.as_mut().is_some_and(|wanted| !wanted.remove(&last_key(&self.schema, out))) {
                out.discard_last();
            } else if end.is_reached(out) {
                return Ok(true);
            }
        }
    }

    /// Rows of the whole table and their bytes, without looking into them.
    pub(crate) async fn drain(&mut self) -> Result<(u64, u64)> {
        self.begin_read(Rows::ALL).await?;
        let connection = self.connection()?;
        let (mut rows, mut bytes) = (0, 0);
        loop {
            let packet = connection.row_packet().await?;
            let Some(row) = row_of(connection.bytes(&packet))? else { return Ok((rows, bytes)) };
            (rows, bytes) = (rows + 1, bytes + row.len() as u64);
        }
    }

    async fn ask_estimate(&mut self) -> Result<u64> {
        let name = self.schema.name().clone();
        let sql = format!(
            "SELECT COALESCE(TABLE_ROWS, 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            quote_text(&name.database),
            quote_text(&name.table)
        );
        let estimate = self.idle().await?.query_row(&sql).await?.number(0);
        self.is_busy = false;
        estimate
    }

    /// What a call comes to. An error takes the view along, with its connection: nothing of the table is held behind it.
    fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            (self.read, self.connection) = (None, None);
            error.on_table(self.schema.name().clone())
        })
    }
}

/// What is read.
enum Asked<'a> {
    /// What one statement asks for.
    Range(std::result::Result<String, bounds::Unusable>),
    /// The rows of these keys.
    Keys(&'a [Key]),
}

/// Which columns a statement asks for.
#[derive(Clone, Copy)]
enum Plan {
    Rows,
    Keys,
}

/// Where a batch has enough.
struct Filled {
    rows: usize,
    bytes: usize,
}

impl Filled {
    #[inline]
    fn is_reached(&self, batch: &RecordBatch) -> bool {
        batch.len() >= self.rows || batch.byte_len() >= self.bytes
    }
}

fn last_key(schema: &TableSchema, batch: &RecordBatch) -> Key {
    let record = batch.records().last().expect("invariant: a row was just added");
    Key::of(schema, batch.after(record).expect("invariant: a row that was read has its image"))
}

/// The index of the table's key.
async fn key_index(connection: &mut Connection, table: &TableName) -> Result<Box<str>> {
    let filter = TableFilter { patterns: vec![TablePattern::Table(table.clone())] };
    let found = schema::find(connection, &filter).await?;
    Ok(found.first().map_or(PRIMARY, FoundTable::key_index).into())
}

async fn connect(endpoint: &Endpoint) -> Result<Connection> {
    let mut connection = Connection::open(endpoint).await?;
    connection.execute(SESSION).await?;
    connection.execute(if connection.version().is_mariadb { SESSION_OF_MARIADB } else { SESSION_OF_MYSQL }).await?;
    connection.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    Ok(connection)
}

fn connection_gone() -> Error {
    Error::transient("the reader's connection is gone")
}

fn unshown(table: &TableName, column: &str) -> Error {
    let what = format!(
        "the members of {column} can't be told: the server's dictionary shows characters above U+FFFF as question marks"
    );
    Error::table_failed(table.clone(), what)
        .hint("a table can be read whose members hold no such character and no question mark")
}

impl TableReader for MysqlTableReader {
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async {
            let estimate = self.ask_estimate().await;
            self.settle(estimate)
        })
    }

    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>> {
        Box::pin(async move {
            let found = self.find_bound(ChunkRange { after, until: None, rows_max: rows }).await;
            self.settle(found)
        })
    }

    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let begun = self.begin_read(rows).await;
            self.settle(begun)
        })
    }

    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let filled = self.take_rows(out, origin, limits).await;
            self.settle(filled)
        })
    }
}
