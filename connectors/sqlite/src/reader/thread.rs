//! The reader's own thread and connection: SQLite's calls block, and its rows lend their bytes only until the next one.
//!
//! A read is one call on this thread's stack that is fed with batches to fill; any other request ends it.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, mpsc},
};

use rusqlite::{Connection, OpenFlags, Row, params_from_iter};
use tailrace_contract::{Error, ReadLimits, Result};
use tailrace_row::{ImageWriter, Key, Operation, Origin, Record, RecordBatch, TableSchema};
use tokio::sync::oneshot;

use super::{decode, decode::Unreadable, select::Select};
use crate::{config, errors::classify_reading, session::identify};

const DOING: &str = "reading rows from the target";

/// What the thread is asked for.
pub(super) enum Request {
    /// The number of rows that the statement counts.
    Count(Select, oneshot::Sender<Result<u64>>),
    /// The key of the only row.
    Bound(Select, oneshot::Sender<Result<Option<Key>>>),
    /// Begins to read the rows of these statements; of those with keys that are wanted, if any are named. Without statements it
    /// only ends what is under way.
    Read(Vec<Select>, Option<HashSet<Key>>, oneshot::Sender<Result<()>>),
    /// The next rows.
    Fill(Filling),
}

/// A batch on its way through the thread.
pub(super) struct Filling {
    pub(super) batch: RecordBatch,
    pub(super) origin: Origin,
    pub(super) limits: ReadLimits,
    pub(super) answer: oneshot::Sender<(RecordBatch, Result<bool>)>,
}

impl Filling {
    fn end(self, result: Result<bool>) {
        // Who does not wait any more does not use the reader any more.
        let _ = self.answer.send((self.batch, result));
    }
}

/// The thread's side.
pub(super) struct Worker {
    connection: Connection,
    schema: Arc<TableSchema>,
    file: PathBuf,
    /// Device and inode of the file.
    identity: (u64, u64),
    /// Counts the changes of any table's shape.
    version: i64,
}

/// How a read came to its end.
enum Ended {
    /// Somebody asked for something else, or for nothing more.
    By(Option<Request>),
    Whole(Filling),
    Failed(Filling, Error),
}

impl Worker {
    /// Opens the file. It may be written by us for the sake of SQLite's own log alone.
    pub(super) fn open(file: PathBuf, limit: std::time::Duration, schema: Arc<TableSchema>) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || {
            let connection = Connection::open_with_flags(&file, flags)?;
            connection.busy_timeout(config::lock_wait(limit))?;
            connection
                .execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF; PRAGMA cache_size = -16384")?;
            let version = connection.query_row("PRAGMA main.schema_version", (), |row| row.get(0))?;
            Ok((connection, version))
        };
        let (connection, version) = open().map_err(|error| classify_reading(&error, "opening the target's file"))?;
        let identity = identify(&file)?;
        Ok(Self { connection, schema, file, identity, version })
    }

    /// Serves until nobody asks any more.
    pub(super) fn run(self, requests: &mpsc::Receiver<Request>) {
        let mut next = requests.recv().ok();
        while let Some(request) = next {
            next = match request {
                Request::Count(select, answer) => {
                    let _ = answer.send(self.count(&select));
                    requests.recv().ok()
                }
                Request::Bound(select, answer) => {
                    let _ = answer.send(self.bound(&select));
                    requests.recv().ok()
                }
                Request::Read(selects, _, answer) if selects.is_empty() => {
                    let _ = answer.send(Ok(()));
                    requests.recv().ok()
                }
                Request::Read(selects, wanted, answer) => {
                    let begun = self.begin_view();
                    let is_begun = begun.is_ok();
                    let is_awaited = answer.send(begun).is_ok();
                    match (is_begun, is_awaited) {
                        (true, true) => self.read(&selects, wanted, requests),
                        (true, false) => {
                            self.give_up_view();
                            requests.recv().ok()
                        }
                        (false, _) => requests.recv().ok(),
                    }
                }
                Request::Fill(filling) => {
                    filling.end(Ok(false));
                    requests.recv().ok()
                }
            };
        }
    }

    /// Reads to the end or to the next request of another kind, which is returned. Either way the view has ended by then.
    fn read(
        &self,
        selects: &[Select],
        wanted: Option<HashSet<Key>>,
        requests: &mpsc::Receiver<Request>,
    ) -> Option<Request> {
        let ended = self.take_rows(selects, wanted, requests);
        let closed = self.end_view();
        match ended {
            Ended::By(request) => request,
            Ended::Whole(filling) => {
                filling.end(closed.map(|()| false));
                requests.recv().ok()
            }
            Ended::Failed(filling, error) => {
                filling.end(Err(error));
                requests.recv().ok()
            }
        }
    }

    fn take_rows(
        &self,
        selects: &[Select],
        mut wanted: Option<HashSet<Key>>,
        requests: &mpsc::Receiver<Request>,
    ) -> Ended {
        let mut filling = match next_filling(requests) {
            Next::Filling(filling) => Filled::new(filling, &self.schema),
            Next::Other(other) => return Ended::By(other),
        };
        for select in selects {
            let mut statement = match self.connection.prepare_cached(&select.sql) {
                Ok(statement) => statement,
                Err(error) => return Ended::Failed(filling.inner, classify_reading(&error, DOING)),
            };
            let mut rows = match statement.query(params_from_iter(&select.parameters)) {
                Ok(rows) => rows,
                Err(error) => return Ended::Failed(filling.inner, classify_reading(&error, DOING)),
            };
            loop {
                let added = match rows.next() {
                    Ok(Some(row)) => self.add(row, &mut wanted, &mut filling),
                    Ok(None) => break,
                    Err(error) => Err(classify_reading(&error, DOING)),
                };
                if let Err(error) = added {
                    return Ended::Failed(filling.inner, error);
                }
                if filling.is_full() {
                    filling.inner.end(Ok(true));
                    filling = match next_filling(requests) {
                        Next::Filling(next) => Filled::new(next, &self.schema),
                        Next::Other(other) => return Ended::By(other),
                    };
                }
            }
        }
        Ended::Whole(filling.inner)
    }

    fn add(&self, row: &Row<'_>, wanted: &mut Option<HashSet<Key>>, to: &mut Filled) -> Result<()> {
        let batch = &mut to.inner.batch;
        let image = batch.write_image(self.schema.columns().len(), |image| self.decode(row, image));
        let (operation, schema, origin) = (Operation::Read, to.schema, to.origin);
        let after = Some(image?);
        batch.push(Record { operation, schema, origin, row: 0, lane: 0, offset: 0, before: None, after });
        if let Some(wanted) = wanted
            && !wanted.remove(&last_key(&self.schema, batch))
        {
            batch.discard_last();
        }
        Ok(())
    }

    #[inline]
    fn decode(&self, row: &Row<'_>, image: &mut ImageWriter<'_>) -> Result<()> {
        for (place, column) in self.schema.columns().iter().enumerate() {
            let stored = row.get_ref(place).map_err(|error| classify_reading(&error, DOING))?;
            let bad = |Unreadable(what)| {
                let what = format!("column {} of the target holds {what}", column.name);
                Error::table_failed(self.schema.name().clone(), what)
            };
            decode::decode(&column.column_type, stored, image).map_err(bad)?;
        }
        Ok(())
    }

    fn count(&self, select: &Select) -> Result<u64> {
        let rows: i64 = self
            .connection
            .query_row(&select.sql, params_from_iter(&select.parameters), |row| row.get(0))
            .map_err(|error| classify_reading(&error, DOING))?;
        Ok(u64::try_from(rows).unwrap_or(0))
    }

    fn bound(&self, select: &Select) -> Result<Option<Key>> {
        self.begin_view()?;
        let found = self.find(select);
        self.end_view()?;
        found
    }

    fn find(&self, select: &Select) -> Result<Option<Key>> {
        let failed = |error: rusqlite::Error| classify_reading(&error, DOING);
        let mut statement = self.connection.prepare_cached(&select.sql).map_err(failed)?;
        let mut rows = statement.query(params_from_iter(&select.parameters)).map_err(failed)?;
        let Some(row) = rows.next().map_err(failed)? else { return Ok(None) };
        let mut batch = RecordBatch::new();
        let schema = batch.add_schema(&self.schema);
        let after = Some(batch.write_image(self.schema.columns().len(), |image| self.decode(row, image))?);
        let operation = Operation::Read;
        batch.push(Record { operation, schema, origin: 0, row: 0, lane: 0, offset: 0, before: None, after });
        Ok(Some(last_key(&self.schema, &batch)))
    }

    /// Asking for the version begins the view: what follows sees the tables of that version.
    fn begin_view(&self) -> Result<()> {
        if identify(&self.file).is_ok_and(|identity| identity != self.identity) {
            return Err(Error::transient(format!("the target's file {} was replaced", self.file.display())));
        }
        let begin = || {
            self.connection.execute_batch("BEGIN")?;
            self.connection.query_row("PRAGMA main.schema_version", (), |row| row.get(0))
        };
        let version: rusqlite::Result<i64> = begin();
        let error = match version {
            Ok(version) if version == self.version => return Ok(()),
            Ok(_) => {
                Error::transient("the table is not what the reader was opened with: the file's tables were altered")
            }
            Err(error) => classify_reading(&error, "beginning to read"),
        };
        self.give_up_view();
        Err(error)
    }

    fn end_view(&self) -> Result<()> {
        self.connection.execute_batch("COMMIT").map_err(|error| {
            self.give_up_view();
            classify_reading(&error, "ending to read")
        })
    }

    /// Whatever was begun: an open view would keep the log from being emptied, and the next one from beginning.
    fn give_up_view(&self) {
        if !self.connection.is_autocommit() {
            // Where even that fails, the next view says so.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}

/// What follows a batch in a read that is under way.
enum Next {
    Filling(Filling),
    /// Something else, or nobody asks any more.
    Other(Option<Request>),
}

/// A batch with what its rows share.
struct Filled {
    inner: Filling,
    schema: u32,
    origin: u32,
    rows_end: usize,
    bytes_end: usize,
}

impl Filled {
    fn new(mut inner: Filling, schema: &Arc<TableSchema>) -> Self {
        let rows_end = inner.batch.len().saturating_add(inner.limits.rows_max.max(1));
        let bytes_end = inner.batch.byte_len().saturating_add(inner.limits.bytes_max);
        let schema = inner.batch.add_schema(schema);
        let origin = inner.batch.add_origin(inner.origin.clone());
        // At least one row goes into each batch.
        let bytes_end = bytes_end.max(inner.batch.byte_len() + 1);
        Self { inner, schema, origin, rows_end, bytes_end }
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.inner.batch.len() >= self.rows_end || self.inner.batch.byte_len() >= self.bytes_end
    }
}

/// The next batch to fill, or what was asked for in its place.
fn next_filling(requests: &mpsc::Receiver<Request>) -> Next {
    match requests.recv().ok() {
        Some(Request::Fill(filling)) => Next::Filling(filling),
        other => Next::Other(other),
    }
}

fn last_key(schema: &TableSchema, batch: &RecordBatch) -> Key {
    let record = batch.records().last().expect("invariant: a row was just added");
    Key::of(schema, batch.after(record).expect("invariant: a row that was read has its image"))
}
