//! Rows of the target's table as rows of the source's schema.
//!
//! Each read is a transaction of its own that sees one moment and keeps nobody from writing; it ends with the last row. The file
//! counts the changes of its tables' shapes, so one number tells that the table is still what the reader was opened with.
//!
//! The one thing to know: rows are read on a thread of the reader's own (`thread`) by SQLite's interface, since sqlx copies every
//! value of every row before anybody sees it, which takes longer than the reading itself. The caller's batch travels to the
//! thread and back; nothing is copied but each value into it, once.

mod decode;
mod select;
mod thread;

use std::sync::{Arc, mpsc};

use tailrace_contract::{BoxFuture, Error, ReadLimits, Result, Rows, TableMapping, TableReader};
use tailrace_row::{Key, Origin, RecordBatch, TableSchema};
use tokio::sync::oneshot;

use self::{
    select::{Select, Selects},
    thread::{Filling, Request, Worker},
};
use crate::{
    catalog,
    identifier::quote_table,
    session::Access,
    sink::Target,
    target_type::{Fit, fit},
};

/// One connection, its thread, and one table. The thread ends when this is dropped.
pub(crate) struct SqliteTableReader {
    schema: Arc<TableSchema>,
    selects: Selects,
    count: Select,
    /// One request at a time is under way.
    requests: mpsc::SyncSender<Request>,
}

impl SqliteTableReader {
    /// Opens the file, and finds how the table's columns are read.
    pub(crate) async fn open(target: &Target, schema: Arc<TableSchema>, mapping: &TableMapping) -> Result<Self> {
        let failed = |what: String| Error::table_failed(schema.name().clone(), format!("{}: {what}", mapping.target));
        mapping.check_readable()?;
        if schema.key().is_empty() {
            return Err(failed("the table has no key to read it by".to_owned()));
        }
        // Before the shape is read: a change behind it shows in the first view.
        let mut session = target.open(Access::Look).await?;
        let (file, limit) = target.place();
        let worker = Worker::open(file, limit, Arc::clone(&schema))?;
        let shape = catalog::read_table(&mut session, &mapping.target).await?;
        session.close().await;
        let shape = shape.ok_or_else(|| failed("there is no such table".to_owned()))?;
        let mut types = Vec::new();
        for (place, column) in schema.columns().iter().enumerate() {
            let held = shape.column(&column.name);
            let held = held.ok_or_else(|| failed(format!("there is no column {}", column.name)))?;
            let is_read =
                |held| !matches!(fit(&column.column_type, schema.key().contains(&place), held), Fit::Refused(_));
            let target_type = held.target_type.filter(|held| is_read(*held));
            types.push(
                target_type.ok_or_else(|| failed(format!("{} of type {} can't be read", held.name, held.type_name)))?,
            );
        }
        let sql = format!("SELECT count(*) FROM {}", quote_table(&mapping.target)?);
        let (requests, received) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("sqlite-reader".to_owned())
            .spawn(move || worker.run(&received))
            .map_err(|error| Error::transient("no thread for a reader of the target").caused_by(error))?;
        Ok(Self {
            selects: Selects::new(&schema, &mapping.target, &types)?,
            count: Select { sql, parameters: Vec::new() },
            schema,
            requests,
        })
    }

    /// Hands a request over, which waits for nothing: the one before was answered.
    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T> {
        let gone = || Error::transient("the reader's thread has ended");
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(request(answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    async fn find_bound(&self, after: Option<&Key>, rows: u64) -> Result<Option<Key>> {
        let Some(skipped) = rows.checked_sub(1) else {
            self.ask(|answer| Request::Read(Vec::new(), None, answer)).await??;
            return Ok(None);
        };
        let select = self.selects.bound(after, skipped)?;
        self.ask(|answer| Request::Bound(select, answer)).await?
    }

    async fn begin_read(&self, rows: Rows<'_>) -> Result<()> {
        let (selects, wanted) = match rows {
            Rows::Range { after, until } => (vec![self.selects.range(after, until)?], None),
            Rows::Keys(keys) => (self.selects.by_keys(keys), Some(keys.iter().cloned().collect())),
        };
        self.ask(|answer| Request::Read(selects, wanted, answer)).await?
    }

    async fn take_rows(&self, out: &mut RecordBatch, origin: &Origin, limits: ReadLimits) -> Result<bool> {
        let (batch, origin) = (std::mem::take(out), origin.clone());
        let (batch, filled) = self.ask(|answer| Request::Fill(Filling { batch, origin, limits, answer })).await?;
        *out = batch;
        filled
    }

    fn on_table<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| error.on_table(self.schema.name().clone()))
    }
}

impl TableReader for SqliteTableReader {
    /// Counted: SQLite has no statistics unless somebody asked for them.
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async {
            let select = self.count.clone();
            let counted = self.ask(|answer| Request::Count(select, answer)).await;
            self.on_table(counted.flatten())
        })
    }

    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>> {
        Box::pin(async move { self.on_table(self.find_bound(after, rows).await) })
    }

    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.on_table(self.begin_read(rows).await) })
    }

    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move { self.on_table(self.take_rows(out, origin, limits).await) })
    }
}
