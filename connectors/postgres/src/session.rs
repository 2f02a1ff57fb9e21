//! One connection: set up, every wait bounded, never used again once its state is unknown.
//!
//! The server cancels a statement after the timeout; a server or a network that is dead can't, so each wait here ends a
//! little later by itself. A call that was dropped or timed out half-way leaves answers under way on the wire: the
//! session then says so ([`Session::is_idle`]) and its owner connects anew.

use std::{future::Future, pin::pin, sync::Arc, task::Poll, time::Duration};

use futures_util::TryStreamExt as _;
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr,
    postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow},
};
use tailrace_contract::Error;
use tokio::sync::mpsc;

use crate::errors::{Failure, classify};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How much longer than the server we wait, so that the server's own timeout reaches us.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

/// What COPY hands over at once, but for rows that are bigger.
const PIECE_BYTES: usize = 64 << 10;

/// What a session's buffer may keep from one batch to the next.
const BUFFER_KEPT_MAX: usize = 4 << 20;

/// Settings of every session, those that the server knows (they depend on its version). Why:
/// - the timeouts, and the keepalives for the server's side: a process of ours that is gone must not hold locks for long;
/// - `client_min_messages`: the driver logs notices, and a trigger's notice may quote a row;
/// - `row_security`: a policy that hides rows from us is an error, not a row that is silently left out;
/// - the plan settings: our joins go from a batch to the target's key index. A plan cached while the table was empty must
///   not scan it when it has grown, and planning must not depend on statistics;
/// - `standard_conforming_strings`: a backslash in a literal, which may be a row's, is a character and nothing else;
/// - `synchronous_commit`: what we report as durable is durable, also where the account's default is `off`.
const SET_UP: &str = "
SELECT set_config(known.name, wanted.value, false)
FROM pg_settings AS known JOIN (
  VALUES ('statement_timeout', $1), ('idle_in_transaction_session_timeout', $1), ('client_connection_check_interval', '10s'),
         ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'),
         ('client_min_messages', 'error'), ('row_security', 'off'), ('jit', 'off'),
         ('enable_seqscan', 'off'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'), ('standard_conforming_strings', 'on'),
         ('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                                ELSE current_setting('synchronous_commit') END)
) AS wanted (name, value) ON wanted.name = known.name";

/// A connection that is set up.
pub(crate) struct Session {
    connection: PgConnection,
    limit: Duration,
    is_busy: bool,
    is_in_transaction: bool,
}

impl Session {
    /// Connects and sets what our statements rely on.
    pub(crate) async fn open(options: &PgConnectOptions, statement_timeout: Duration) -> Result<Self, Failure> {
        const DOING: &str = "connecting to the target";
        let mut is_busy = false;
        let connection = settle(&mut is_busy, CONNECT_LIMIT, DOING, PgConnection::connect_with(options)).await?;
        let limit = statement_timeout + ANSWER_GRACE;
        let mut session = Self { connection, limit, is_busy, is_in_transaction: false };
        let query = sqlx::query(SET_UP).persistent(false).bind(statement_timeout.as_millis().to_string());
        let Self { connection, is_busy, .. } = &mut session;
        settle(is_busy, limit, "setting up the session", connection.execute(query)).await?;
        Ok(session)
    }

    /// Whether the next statement will get its own answer, outside of any transaction.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_busy && !self.is_in_transaction
    }

    /// The version as 150018 for 15.18; 0 if the server did not say.
    pub(crate) fn server_version(&self) -> u32 {
        self.connection.server_version_num().unwrap_or(0)
    }

    /// Statements without parameters, in one round trip.
    pub(crate) async fn run(&mut self, sql: impl SqlSafeStr, doing: &str) -> Result<(), Failure> {
        let Self { connection, is_busy, limit, .. } = self;
        settle(is_busy, *limit, doing, connection.execute(sqlx::raw_sql(sql))).await.map(drop)
    }

    /// A statement without parameters, not prepared; returns the number of rows that it wrote.
    pub(crate) async fn run_counted(&mut self, sql: &str, doing: &str) -> Result<u64, Failure> {
        let Self { connection, is_busy, limit, .. } = self;
        let result = settle(is_busy, *limit, doing, connection.execute(sqlx::raw_sql(AssertSqlSafe(sql)))).await?;
        Ok(result.rows_affected())
    }

    /// A prepared statement; returns the number of rows that it wrote.
    pub(crate) async fn write(&mut self, sql: &Arc<str>, arguments: PgArguments, doing: &str) -> Result<u64, Failure> {
        let Self { connection, is_busy, limit, .. } = self;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), arguments);
        let result = settle(is_busy, *limit, doing, connection.execute(query)).await?;
        Ok(result.rows_affected())
    }

    /// A prepared statement that returns rows.
    pub(crate) async fn read(
        &mut self,
        sql: impl SqlSafeStr,
        arguments: PgArguments,
        doing: &str,
    ) -> Result<Vec<PgRow>, Failure> {
        let Self { connection, is_busy, limit, .. } = self;
        settle(is_busy, *limit, doing, connection.fetch_all(sqlx::query_with(sql, arguments))).await
    }

    /// `COPY … FROM STDIN` of the chunks that `next` puts into the buffer until it says that there are no more.
    /// Returns the number of rows that were written. An error of `next` ends the copying in order, so that the session stays usable.
    pub(crate) async fn copy_in<E: From<Failure>>(
        &mut self,
        sql: &str,
        buffer: &mut Vec<u8>,
        mut next: impl FnMut(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<u64, E> {
        const DOING: &str = "copying rows to the target";
        let Self { connection, is_busy, limit, .. } = self;
        let mut copy = settle(is_busy, *limit, DOING, connection.copy_in_raw(sql)).await?;
        loop {
            buffer.clear();
            let more = match next(buffer) {
                Ok(more) => more,
                Err(error) => {
                    settle(is_busy, *limit, DOING, copy.abort("a row can't be written")).await?;
                    return Err(error);
                }
            };
            settle(is_busy, *limit, DOING, copy.send(buffer.as_slice())).await?;
            if !more {
                return Ok(settle(is_busy, *limit, DOING, copy.finish()).await?);
            }
        }
    }

    /// `COPY … TO STDOUT`: hands the answer over in pieces of complete messages, each as soon as the last one was taken.
    /// Where nobody takes them any more it ends, and the session is unusable.
    pub(crate) async fn copy_out(&mut self, sql: &str, pieces: &mpsc::Sender<Vec<u8>>) -> Result<(), Failure> {
        const DOING: &str = "reading rows from the target";
        let Self { connection, is_busy, limit, .. } = self;
        let mut answer = settle(is_busy, *limit, DOING, connection.copy_out_raw(sql)).await?;
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        loop {
            // The answer has not ended, so the session stays busy whatever becomes of the piece.
            let message = settle(is_busy, *limit, DOING, answer.try_next()).await?;
            *is_busy = message.is_some();
            if let Some(message) = &message {
                piece.extend_from_slice(message);
            }
            if piece.len() >= PIECE_BYTES || (message.is_none() && !piece.is_empty()) {
                let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES));
                if pieces.send(full).await.is_err() {
                    return Err(Error::cancelled().into());
                }
            }
            if message.is_none() {
                return Ok(());
            }
        }
    }

    /// Opens a transaction that reads as of one moment and writes nothing.
    pub(crate) async fn begin_view(&mut self) -> Result<(), Failure> {
        debug_assert!(!self.is_in_transaction, "a session has one transaction at a time");
        self.is_in_transaction = true;
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "beginning to read").await
    }

    /// Opens a transaction, whatever the account's default isolation is.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        debug_assert!(!self.is_in_transaction, "a session has one transaction at a time");
        self.is_in_transaction = true;
        self.run("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", "beginning a transaction").await
    }

    /// Sends COMMIT and calls `sent` once it is on the wire, before it is answered.
    pub(crate) async fn commit(&mut self, sent: impl FnOnce()) -> Result<(), Failure> {
        debug_assert!(self.is_in_transaction, "there is something to commit");
        let Self { connection, is_busy, limit, .. } = self;
        let committing = async {
            let mut answer = pin!(connection.execute("COMMIT"));
            // A message as short as this goes out with the first poll.
            match std::future::poll_fn(|context| Poll::Ready(answer.as_mut().poll(context))).await {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    sent();
                    answer.await
                }
            }
        };
        let result = settle(is_busy, *limit, "committing", committing).await;
        self.is_in_transaction = false;
        result.map(drop)
    }

    /// Gives up the transaction. Where that fails the session is unusable, and the server gives it up by itself.
    pub(crate) async fn roll_back(&mut self) {
        if !self.is_busy && self.is_in_transaction && self.run("ROLLBACK", "rolling back").await.is_err() {
            self.is_busy = true;
        }
        self.is_in_transaction = false;
    }

    /// Gives back the memory that a big batch took.
    pub(crate) fn shrink(&mut self, batch_bytes: usize) {
        if batch_bytes > BUFFER_KEPT_MAX {
            self.connection.shrink_buffers();
        }
    }
}

/// Waits for an answer. The flag stays up if there was none, also when the future is dropped.
async fn settle<T>(
    is_busy: &mut bool,
    limit: Duration,
    doing: &str,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Failure> {
    *is_busy = true;
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => {
            *is_busy = false;
            Ok(answer)
        }
        Ok(Err(error)) => {
            *is_busy = !matches!(error, sqlx::Error::Database(_));
            Err(classify(error, doing))
        }
        Err(_) => {
            Err(Error::transient(format!("{doing}: no answer from the target within {} s", limit.as_secs())).into())
        }
    }
}
