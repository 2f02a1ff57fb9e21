//! One connection: set up, never used again once its state is unknown.
//!
//! The driver runs SQLite on a thread of its own and hands statements to it; nothing can stop a statement there. A call that
//! was dropped half-way leaves one under way: the session then says so ([`Session::is_idle`]) and its owner connects anew.
//! The thread ends the transaction when it has noticed; until then the file's lock keeps everybody else waiting.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Decode, Encode, Executor as _, Row as _, SqlSafeStr, Sqlite,
    Type,
    sqlite::{SqliteArguments, SqliteConnection, SqliteRow},
};
use tailrace_contract::{Error, Result};

use crate::{
    config,
    errors::{Failure, classify, classify_rows, is_without_transaction},
};

/// What the statements' bindings may keep from one batch to the next.
const BYTES_KEPT_MAX: usize = 4 << 20;

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
    connection: SqliteConnection,
    is_busy: bool,
    is_in_transaction: bool,
    /// Whether a transaction could not be given up: nobody knows what is open.
    is_broken: bool,
    file: PathBuf,
    /// Device and inode when it was opened.
    identity: (u64, u64),
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
        let options = config::connect_options(file, statement_timeout).create_if_missing(access == Access::Make);
        let connection = options.connect().await.map_err(|error| classify(error, DOING, file))?;
        let identity = identify(file)?;
        let mut session = Self {
            connection,
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
    pub(crate) async fn run(&mut self, sql: impl SqlSafeStr, doing: &str) -> Result<()> {
        let Self { connection, is_busy, file, .. } = self;
        let ran = settle(is_busy, connection.execute(sqlx::raw_sql(sql))).await;
        ran.map(drop).map_err(|error| classify(error, doing, file))
    }

    /// A prepared statement on tables of our own; returns the number of rows that it wrote.
    pub(crate) async fn write(&mut self, sql: impl SqlSafeStr, arguments: SqliteArguments, doing: &str) -> Result<u64> {
        let Self { connection, is_busy, file, .. } = self;
        let written = settle(is_busy, connection.execute(sqlx::query_with(sql, arguments))).await;
        written.map(|result| result.rows_affected()).map_err(|error| classify(error, doing, file))
    }

    /// A prepared statement on the user's tables; returns the number of rows that it wrote.
    pub(crate) async fn write_rows(
        &mut self,
        sql: Arc<str>,
        arguments: SqliteArguments,
        doing: &str,
    ) -> std::result::Result<u64, Failure> {
        let Self { connection, is_busy, file, .. } = self;
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        let written = settle(is_busy, connection.execute(query)).await;
        written.map(|result| result.rows_affected()).map_err(|error| classify_rows(error, doing, file))
    }

    /// A statement that returns rows.
    pub(crate) async fn read(
        &mut self,
        sql: impl SqlSafeStr,
        arguments: SqliteArguments,
        doing: &str,
    ) -> Result<Vec<SqliteRow>> {
        let Self { connection, is_busy, file, .. } = self;
        let rows = settle(is_busy, connection.fetch_all(sqlx::query_with(sql, arguments))).await;
        rows.map_err(|error| classify(error, doing, file))
    }

    /// The only field of the only row of an answer.
    pub(crate) async fn read_one<T>(&mut self, sql: &'static str, doing: &str) -> Result<T>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite>,
    {
        let rows = self.read(sql, SqliteArguments::default(), doing).await?;
        let row = rows.first().ok_or_else(|| Error::refused(format!("{doing}: no answer")))?;
        row.try_get(0).map_err(|_| Error::refused(format!("{doing}: the answer is not of the type asked for")))
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
        let Self { connection, is_busy, is_in_transaction, file, .. } = self;
        let committing = async {
            let mut answer = pin!(connection.execute("COMMIT"));
            // The queue to the thread has room: the first poll hands it over.
            match std::future::poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    sent();
                    answer.await
                }
            }
        };
        let committed = settle(is_busy, committing).await;
        // After an error the transaction may be open still: it is to be rolled back.
        *is_in_transaction = committed.is_err();
        committed.map(drop).map_err(|error| classify(error, "committing", file))
    }

    /// Gives up the transaction. Where that fails the session is unusable.
    pub(crate) async fn roll_back(&mut self) {
        if self.is_in_transaction && !self.is_busy {
            let Self { connection, is_busy, .. } = self;
            let rolled_back = settle(is_busy, connection.execute("ROLLBACK")).await;
            self.is_broken |= rolled_back.is_err_and(|error| !is_without_transaction(&error));
            self.is_in_transaction = false;
        }
    }

    /// Ends the connection and waits until the file is closed.
    pub(crate) async fn close(self) {
        // What it wrote is durable already; an error here only means that the next one who opens the file tidies up.
        let _ = self.connection.close().await;
    }

    /// Gives back the memory that a big batch took: statements keep what was bound to them last.
    pub(crate) async fn shrink(&mut self, batch_bytes: usize) {
        if batch_bytes > BYTES_KEPT_MAX {
            let Self { connection, is_busy, .. } = self;
            let cleared = settle(is_busy, connection.clear_cached_statements()).await;
            self.is_busy |= cleared.is_err();
        }
    }
}

/// Waits for an answer. The flag stays up if there was none, also when the future is dropped.
async fn settle<T>(
    is_busy: &mut bool,
    call: impl Future<Output = std::result::Result<T, sqlx::Error>>,
) -> std::result::Result<T, sqlx::Error> {
    *is_busy = true;
    let result = call.await;
    *is_busy = matches!(&result, Err(error) if !matches!(error, sqlx::Error::Database(_)));
    result
}

/// Adds a value of a type that can't fail to encode.
pub(crate) fn add<'v, T: Encode<'v, Sqlite> + Type<Sqlite>>(arguments: &mut SqliteArguments, value: T) {
    sqlx::Arguments::add(arguments, value).expect("invariant: names and numbers can be encoded");
}

/// A field of an answer of our own making.
pub(crate) fn get<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(row: &'r SqliteRow, field: &str) -> Result<T> {
    row.try_get(field)
        .map_err(|_| Error::refused(format!("the target's answer has no field {field} of the type asked for")))
}
