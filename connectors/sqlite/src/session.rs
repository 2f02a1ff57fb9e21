//! One connection: set up, never used again once its state is unknown.
//!
//! SQLite runs on a thread of the session's own (`thread`), to which statements are handed; nothing stops a statement there. A
//! call that was dropped half-way leaves one under way: the session then says so ([`Session::is_idle`]) and its owner connects
//! anew. The thread ends the transaction when it has noticed; until then the file's lock keeps everybody else waiting.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{
    Connection, params_from_iter,
    types::{FromSql, Value},
};
use tailrace_contract::{Error, Result};
use tokio::sync::oneshot;

use self::thread::{Thread, gone};
use crate::{
    config,
    errors::{Failure, classify, classify_rows},
    parameters::Pieces,
};

mod thread;

/// What may be done to the file on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is made where it is missing, and gets its write-ahead log.
    Make,
    /// It is there, and gets its write-ahead log where it has none.
    Write,
    /// Nothing is changed.
    Look,
}

/// A connection that is set up.
pub(crate) struct Session {
    thread: Thread,
    is_busy: bool,
    is_in_transaction: bool,
    /// Whether a transaction could not be given up: nobody knows what is open.
    is_broken: bool,
    file: PathBuf,
    /// Device and inode when it was opened.
    identity: (u64, u64),
}

/// A row of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    names: Arc<[Box<str>]>,
    values: Vec<Value>,
}

/// What tells a file from another one of the same name.
pub(crate) fn identify(file: &Path) -> Result<(u64, u64)> {
    let found = std::fs::metadata(file).map_err(|error| {
        Error::transient(format!("looking at the target's file {}", file.display())).caused_by(error)
    })?;
    Ok((found.dev(), found.ino()))
}

impl Session {
    /// Opens the file and sets what our statements rely on.
    pub(crate) async fn open(file: &Path, statement_timeout: Duration, access: Access) -> Result<Self> {
        const DOING: &str = "opening the target's file";
        if access != Access::Make && !file.exists() {
            return Err(Error::refused(format!("the target's file {} does not exist", file.display()))
                .hint("make its tables with `tailrace schema --apply`, which makes the file too"));
        }
        let path = file.to_owned();
        let open = move || {
            let opened = config::connect(&path, statement_timeout, access == Access::Make);
            opened.map_err(|error| classify(&error, DOING, &path))
        };
        let thread = Thread::start(open).await?;
        let identity = identify(file)?;
        let mut session = Self {
            thread,
            is_busy: false,
            is_in_transaction: false,
            is_broken: false,
            file: file.to_owned(),
            identity,
        };
        let encoding: String = session.read_one("PRAGMA main.encoding", DOING).await?;
        if encoding != "UTF-8" {
            let found = format!("the target's file {} holds its texts as {encoding}", file.display());
            return Err(Error::refused(found)
                .hint("SQLite replaces some characters there: name a file whose encoding is UTF-8"));
        }
        if access != Access::Look {
            let mode: String = session.read_one("PRAGMA main.journal_mode = WAL", DOING).await?;
            if mode != "wal" {
                let found = format!("the target's file {} can't have a write-ahead log", file.display());
                return Err(
                    Error::refused(found).hint("put it on a local disk: network file systems do not share memory")
                );
            }
        }
        Ok(session)
    }

    /// Whether the next statement will get its own answer, outside of any transaction.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_busy && !self.is_in_transaction && !self.is_broken
    }

    /// Whoever moves, deletes or replaces the file leaves us with one that nobody finds any more: its commits would succeed.
    pub(crate) fn check_file(&mut self) -> Result<()> {
        if identify(&self.file).is_ok_and(|identity| identity == self.identity) {
            return Ok(());
        }
        self.is_broken = true;
        Err(Error::transient(format!("the target's file {} was replaced while it was open", self.file.display())))
    }

    /// Statements without parameters.
    pub(crate) async fn run(&mut self, sql: impl Into<Arc<str>>, doing: &str) -> Result<()> {
        let sql = sql.into();
        let ran = self.ask(move |connection| connection.execute_batch(&sql)).await?;
        ran.map_err(|error| classify(&error, doing, &self.file))
    }

    /// A prepared statement on tables of our own; returns the number of rows that it wrote.
    pub(crate) async fn write(&mut self, sql: &Arc<str>, parameters: Vec<Value>, doing: &str) -> Result<usize> {
        let sql = Arc::clone(sql);
        let write =
            move |connection: &Connection| connection.prepare_cached(&sql)?.execute(params_from_iter(parameters));
        let written = self.ask(write).await?;
        written.map_err(|error| classify(&error, doing, &self.file))
    }

    /// A prepared statement on the user's tables, for all of these; returns the number of rows that it wrote.
    pub(crate) async fn write_rows(
        &mut self,
        sql: &Arc<str>,
        pieces: Pieces,
        doing: &str,
    ) -> std::result::Result<u64, Failure> {
        let sql = Arc::clone(sql);
        let write = move |connection: &Connection| pieces.run(&mut *connection.prepare_cached(&sql)?);
        let written = self.ask(write).await?;
        written.map_err(|error| classify_rows(&error, doing, &self.file))
    }

    /// A prepared statement that returns rows.
    pub(crate) async fn read(
        &mut self,
        sql: impl Into<Arc<str>>,
        parameters: Vec<Value>,
        doing: &str,
    ) -> Result<Vec<Answer>> {
        let sql = sql.into();
        let rows = self.ask(move |connection| read(connection, &sql, &parameters)).await?;
        rows.map_err(|error| classify(&error, doing, &self.file))
    }

    /// The only field of the only row of an answer.
    pub(crate) async fn read_one<T: FromSql>(&mut self, sql: &'static str, doing: &str) -> Result<T> {
        let rows = self.read(sql, Vec::new(), doing).await?;
        let value = rows.first().and_then(|row| row.values.first());
        let value = value.ok_or_else(|| Error::refused(format!("{doing}: no answer")))?;
        T::column_result(value.into())
            .map_err(|_| Error::refused(format!("{doing}: the answer is not of the type asked for")))
    }

    /// Opens a transaction that holds the file's write lock from now on.
    pub(crate) async fn begin(&mut self) -> Result<()> {
        debug_assert!(!self.is_in_transaction, "a session has one transaction at a time");
        if self.is_broken {
            return Err(Error::transient("the last transaction could not be given up"));
        }
        self.is_in_transaction = true;
        let begun = self.run("BEGIN IMMEDIATE", "beginning a transaction").await;
        // Refused, there is none; dropped, nobody knows.
        self.is_in_transaction = begun.is_ok() || self.is_busy;
        begun
    }

    /// Hands COMMIT over and calls `sent` once it is under way, before it is answered.
    pub(crate) async fn commit(&mut self, sent: impl FnOnce()) -> Result<()> {
        debug_assert!(self.is_in_transaction, "there is something to commit");
        let answer = self.give(|connection| connection.execute_batch("COMMIT"))?;
        sent();
        let committed = self.take(answer).await?;
        // After an error the transaction may be open still: it is to be rolled back.
        self.is_in_transaction = committed.is_err();
        committed.map_err(|error| classify(&error, "committing", &self.file))
    }

    /// Gives up the transaction, which SQLite does by itself after some errors. Where that fails the session is unusable.
    pub(crate) async fn roll_back(&mut self) {
        if self.is_in_transaction && !self.is_busy {
            let give_up = |connection: &Connection| match connection.is_autocommit() {
                true => Ok(()),
                false => connection.execute_batch("ROLLBACK"),
            };
            self.is_broken |= !matches!(self.ask(give_up).await, Ok(Ok(())));
            self.is_in_transaction = false;
        }
    }

    /// Ends the connection and waits until the file is closed.
    pub(crate) async fn close(self) {
        // What it wrote is durable already; an error here only means that the next one who opens the file tidies up.
        self.thread.close().await;
    }

    /// What SQLite answers on the thread. The session is busy for good if there is no answer, also when the future is dropped.
    async fn ask<T: Send + 'static>(&mut self, job: impl FnOnce(&Connection) -> T + Send + 'static) -> Result<T> {
        let answer = self.give(job)?;
        self.take(answer).await
    }

    fn give<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>> {
        self.is_busy = true;
        self.thread.give(job)
    }

    async fn take<T>(&mut self, answer: oneshot::Receiver<T>) -> Result<T> {
        let answer = answer.await.map_err(gone)?;
        self.is_busy = false;
        Ok(answer)
    }
}

fn read(connection: &Connection, sql: &str, parameters: &[Value]) -> rusqlite::Result<Vec<Answer>> {
    let mut statement = connection.prepare_cached(sql)?;
    let names: Arc<[Box<str>]> = statement.column_names().into_iter().map(Box::from).collect();
    let mut rows = statement.query(params_from_iter(parameters))?;
    let mut answers = Vec::new();
    while let Some(row) = rows.next()? {
        let values = (0..names.len()).map(|place| row.get(place)).collect::<rusqlite::Result<_>>()?;
        answers.push(Answer { names: Arc::clone(&names), values });
    }
    Ok(answers)
}

impl Answer {
    /// A field of an answer of our own making.
    pub(crate) fn get<T: FromSql>(&self, field: &str) -> Result<T> {
        let place = self.names.iter().position(|name| **name == *field);
        let read = place.and_then(|place| T::column_result((&self.values[place]).into()).ok());
        read.ok_or_else(|| Error::refused(format!("the target's answer has no field {field} of the type asked for")))
    }
}

/// A text as a parameter.
pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}
