//! The checkpoint of a stream that comes without a log, as the target holds it: one row a stream, saved with the rows.

use std::sync::Arc;

use rusqlite::types::Value;
use tailrace_contract::{Error, Owner, Result, StreamCheckpoint, StreamProgress, StreamStep};

use crate::{
    progress::OwnTables,
    session::{Answer, Session, text},
};

/// The statements on the table of streams.
#[derive(Debug)]
pub(crate) struct StreamStatements {
    claim: Arc<str>,
    read: Arc<str>,
    save: Arc<str>,
}

impl StreamStatements {
    /// Builds the statements.
    pub(crate) fn new(build: impl Fn(&str) -> Arc<str>) -> Self {
        Self { claim: build(CLAIM), read: build(READ), save: build(SAVE) }
    }
}

impl OwnTables {
    /// Becomes the owner of the stream's checkpoint.
    pub(crate) async fn claim_stream(&self, session: &mut Session, stream: &str) -> Result<StreamProgress> {
        session.begin().await?;
        let rows = session.read(Arc::clone(&self.streams.claim), named(stream), "claiming a stream").await?;
        let row = rows.first().ok_or_else(|| Error::refused("claiming a stream: the target returned nothing"))?;
        let claimed = read_stream(row, stream)?;
        session.commit(|| ()).await?;
        Ok(claimed)
    }

    /// Reads the stream's checkpoint; none if it, or the table, is not there.
    pub(crate) async fn read_stream(&self, session: &mut Session, stream: &str) -> Result<Option<StreamProgress>> {
        if self.read_format(session).await?.is_none() {
            return Ok(None);
        }
        self.find_stream(session, stream).await
    }

    /// Saves the next checkpoint and its documents, if everything is as it was; else the transaction may not be committed.
    pub(crate) async fn save_stream(&self, session: &mut Session, step: StreamStep<'_>) -> Result<()> {
        let what = match self.find_stream(session, step.stream).await? {
            None => "has no checkpoint in the target any more",
            Some(now) if now.owner != step.owner => "was claimed by another process",
            Some(now) if now.saves != step.saves => "had its checkpoint saved by somebody else",
            Some(_) => return self.write_stream(session, step).await,
        };
        Err(Error::fenced(format!("the stream {} {what}", step.stream))
            .hint("only one process may move a stream; see who else runs, then start this one again"))
    }

    async fn find_stream(&self, session: &mut Session, stream: &str) -> Result<Option<StreamProgress>> {
        let sql = Arc::clone(&self.streams.read);
        let rows = session.read(sql, named(stream), "reading a stream's checkpoint").await?;
        rows.first().map(|row| read_stream(row, stream)).transpose()
    }

    async fn write_stream(&self, session: &mut Session, step: StreamStep<'_>) -> Result<()> {
        const DOING: &str = "saving the checkpoint";
        let checkpoint = serde_json::to_string(step.checkpoint)
            .map_err(|error| Error::corrupt("a checkpoint can't be written as JSON").caused_by(error))?;
        let parameters = vec![text(step.stream), step.saves.into(), step.owner.0.into(), checkpoint.into()];
        match session.write(&self.streams.save, parameters, DOING).await? {
            1 => self.store_documents(session, step.stream, step.ledger).await,
            saved => Err(Error::refused(format!("{DOING}: {saved} rows were written for {}", step.stream))),
        }
    }
}

fn named(stream: &str) -> Vec<Value> {
    vec![text(stream)]
}

fn read_stream(row: &Answer, stream: &str) -> Result<StreamProgress> {
    let text: Option<String> = row.get("checkpoint")?;
    let read = |text: String| -> Result<StreamCheckpoint> {
        serde_json::from_str(&text).map_err(|error| {
            Error::corrupt(format!("the stored checkpoint of {stream} can't be read")).caused_by(error)
        })
    };
    Ok(StreamProgress {
        checkpoint: text.map(read).transpose()?,
        saves: row.get("saves")?,
        owner: Owner(row.get("owner")?),
    })
}

/// A row that was deleted by hand begins with an owner that nobody ever was.
const CLAIM: &str = "
INSERT INTO $streams AS s (stream, saves, owner, updated_at)
VALUES (?1, 0, CAST(unixepoch('subsec') * 1000 AS INTEGER), strftime('%Y-%m-%dT%H:%M:%fZ'))
ON CONFLICT (stream) DO UPDATE SET owner = s.owner + 1, updated_at = excluded.updated_at
RETURNING checkpoint, saves, owner";

const READ: &str = "SELECT checkpoint, saves, owner FROM $streams WHERE stream = ?1";

const SAVE: &str = "
UPDATE $streams SET checkpoint = ?4, saves = saves + 1, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ')
WHERE stream = ?1 AND saves = ?2 AND owner = ?3";
