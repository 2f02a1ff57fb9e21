//! The checkpoint of a stream that comes without a log, as the target holds it: one row a stream, saved with the rows.

use std::sync::Arc;

use sqlx::{
    AssertSqlSafe,
    postgres::{PgArguments, PgRow},
};
use tailrace_contract::{Error, Owner, Result, StreamCheckpoint, StreamProgress, StreamStep};

use crate::{
    catalog::{add, get},
    errors::Failure,
    progress::{OwnTables, add_shapes},
    session::Session,
};

/// The statements on the table of streams.
#[derive(Debug)]
pub(crate) struct StreamStatements {
    claim: Arc<str>,
    read: Arc<str>,
    save: Arc<str>,
    forget: Arc<str>,
}

impl StreamStatements {
    /// Builds the statements for the schema, which is quoted.
    pub(crate) fn new(schema: &str) -> Self {
        let build = |sql: &str| -> Arc<str> { sql.replace("$schema", schema).into() };
        Self { claim: build(CLAIM), read: build(READ), save: build(SAVE), forget: build(FORGET) }
    }
}

impl OwnTables {
    /// Becomes the owner of the stream's checkpoint.
    pub(crate) async fn claim_stream(&self, session: &mut Session, stream: &str) -> Result<StreamProgress> {
        let mut arguments = PgArguments::default();
        add(&mut arguments, stream);
        let sql = AssertSqlSafe(Arc::clone(&self.streams.claim));
        let rows = session.read(sql, arguments, "claiming a stream").await?;
        let row = rows.first().ok_or_else(|| Error::refused("claiming a stream: the target returned nothing"))?;
        read_stream(row, stream)
    }

    /// Reads the stream's checkpoint; none if it, or the table, is not there.
    pub(crate) async fn read_stream(&self, session: &mut Session, stream: &str) -> Result<Option<StreamProgress>> {
        if self.read_format(session).await?.is_none_or(|format| format < FIRST_FORMAT) {
            return Ok(None);
        }
        let mut arguments = PgArguments::default();
        add(&mut arguments, stream);
        let sql = AssertSqlSafe(Arc::clone(&self.streams.read));
        let rows = session.read(sql, arguments, "reading a stream's checkpoint").await?;
        rows.first().map(|row| read_stream(row, stream)).transpose()
    }

    /// Fences the stream's owner and forgets its checkpoint, then its documents.
    pub(crate) async fn forget_stream(&self, session: &mut Session, stream: &str) -> Result<()> {
        if self.read_format(session).await?.is_none_or(|format| format < FIRST_FORMAT) {
            return Ok(());
        }
        let mut arguments = PgArguments::default();
        add(&mut arguments, stream);
        session.begin().await?;
        session.write(&self.streams.forget, arguments, "forgetting a stream's checkpoint").await?;
        self.forget_ledger(session, stream).await?;
        Ok(session.commit(|| ()).await?)
    }

    /// Saves the next checkpoint and its documents, if everything is as it was; says whether it was. `shapes` are OIDs of tables and their stamps.
    pub(crate) async fn save_stream(
        &self,
        session: &mut Session,
        step: StreamStep<'_>,
        shapes: &[(u32, i64)],
    ) -> std::result::Result<bool, Failure> {
        let text = serde_json::to_string(step.checkpoint)
            .map_err(|error| Error::corrupt("a checkpoint can't be written as JSON").caused_by(error))?;
        let mut arguments = PgArguments::default();
        add(&mut arguments, step.stream);
        add(&mut arguments, step.saves);
        add(&mut arguments, step.owner.0);
        add(&mut arguments, text);
        add_shapes(&mut arguments, shapes);
        let is_saved = session.write(&self.streams.save, arguments, "saving the checkpoint").await? == 1;
        if is_saved {
            self.store_documents(session, step.stream, step.ledger).await?;
        }
        Ok(is_saved)
    }

    /// Who saved or took the stream when a save did not hold, asked after the rollback. None: nobody, so that a table was
    /// altered.
    pub(crate) async fn find_stream_rival(&self, session: &mut Session, step: StreamStep<'_>) -> Result<Option<Error>> {
        let what = match self.read_stream(session, step.stream).await? {
            None => "has no checkpoint in the target any more",
            Some(now) if now.owner != step.owner => "was claimed by another process",
            Some(now) if now.saves != step.saves => "had its checkpoint saved by somebody else",
            Some(_) => return Ok(None),
        };
        Ok(Some(
            Error::fenced(format!("the stream {} {what}", step.stream))
                .hint("only one process may move a stream; see who else runs, then start this one again"),
        ))
    }
}

/// The first format that has streams.
const FIRST_FORMAT: i32 = 2;

fn read_stream(row: &PgRow, stream: &str) -> Result<StreamProgress> {
    let text: Option<&str> = get(row, "checkpoint")?;
    let read = |text: &str| -> Result<StreamCheckpoint> {
        serde_json::from_str(text).map_err(|error| {
            Error::corrupt(format!("the stored checkpoint of {stream} can't be read")).caused_by(error)
        })
    };
    Ok(StreamProgress {
        checkpoint: text.map(read).transpose()?,
        saves: get(row, "saves")?,
        owner: Owner(get(row, "owner")?),
    })
}

/// A row that was deleted by hand begins with an owner that nobody ever was.
const CLAIM: &str = "
INSERT INTO $schema.streams AS s (stream, saves, owner)
VALUES ($1, 0, (extract(epoch FROM clock_timestamp()) * 1000)::int8)
ON CONFLICT (stream) DO UPDATE SET owner = s.owner + 1, updated_at = clock_timestamp()
RETURNING s.checkpoint, s.saves, s.owner";

const READ: &str = "SELECT checkpoint, saves, owner FROM $schema.streams WHERE stream = $1";

const SAVE: &str = "
UPDATE $schema.streams SET checkpoint = $4, saves = saves + 1, updated_at = clock_timestamp()
WHERE stream = $1 AND saves = $2 AND owner = $3
  AND NOT EXISTS (
    SELECT FROM unnest($5::int8[], $6::int8[]) AS p (relation, stamp)
    WHERE p.stamp IS DISTINCT FROM (
      SELECT max(a.xmin::text::int8) FROM pg_catalog.pg_attribute a WHERE a.attrelid = p.relation::oid AND a.attnum > 0))";

/// The row stays, so that the owner's number goes on rising.
const FORGET: &str = "
UPDATE $schema.streams SET checkpoint = NULL, saves = saves + 1, owner = owner + 1, updated_at = clock_timestamp()
WHERE stream = $1";
