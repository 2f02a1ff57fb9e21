//! The ledger of a stream that comes without a log: documents by their names, stored in the transaction of the checkpoint.

use std::sync::Arc;

use tailrace_contract::{LedgerEntry, Result};

use crate::{
    progress::OwnTables,
    session::{Answer, Session, text},
};

/// The first format that has a ledger.
pub(crate) const FIRST_FORMAT: i64 = 3;

/// The statements on the ledger.
#[derive(Debug)]
pub(crate) struct LedgerStatements {
    put: Arc<str>,
    take: Arc<str>,
    read: Arc<str>,
}

impl LedgerStatements {
    /// Builds the statements.
    pub(crate) fn new(build: impl Fn(&str) -> Arc<str>) -> Self {
        Self { put: build(PUT), take: build(TAKE), read: build(READ) }
    }
}

impl OwnTables {
    /// Stores documents in the transaction that has moved the stream's checkpoint.
    pub(crate) async fn store_documents(
        &self,
        session: &mut Session,
        stream: &str,
        entries: &[LedgerEntry],
    ) -> Result<()> {
        const DOING: &str = "storing documents of the ledger";
        for entry in entries {
            let named = vec![text(stream), text(&entry.key)];
            match &entry.value {
                Some(value) => {
                    let parameters = named.into_iter().chain([text(value)]).collect();
                    session.write(&self.ledger.put, parameters, DOING).await?
                }
                None => session.write(&self.ledger.take, named, DOING).await?,
            };
        }
        Ok(())
    }

    /// The stream's documents, ordered by name; nothing where there is no such table.
    pub(crate) async fn read_ledger(&self, session: &mut Session, stream: &str) -> Result<Vec<LedgerEntry>> {
        if self.read_format(session).await?.is_none_or(|format| format < FIRST_FORMAT) {
            return Ok(Vec::new());
        }
        let rows = session.read(Arc::clone(&self.ledger.read), vec![text(stream)], "reading the ledger").await?;
        let entry = |row: &Answer| -> Result<LedgerEntry> {
            let (key, value): (String, String) = (row.get("key")?, row.get("value")?);
            Ok(LedgerEntry { key: key.into(), value: Some(value.into()) })
        };
        rows.iter().map(entry).collect()
    }
}

/// The table itself; of the format that has it.
pub(crate) const CREATE: &str = "
CREATE TABLE IF NOT EXISTS $ledger (
  -- How far the copies of tables are, for each stream that comes without a log. Belongs to its checkpoint.
  stream TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  PRIMARY KEY (stream, key)
) STRICT, WITHOUT ROWID;";

const PUT: &str = "
INSERT INTO $ledger (stream, key, value, updated_at) VALUES (?1, ?2, ?3, strftime('%Y-%m-%dT%H:%M:%fZ'))
ON CONFLICT (stream, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";

const TAKE: &str = "DELETE FROM $ledger WHERE stream = ?1 AND key = ?2";

const READ: &str = "SELECT key, value FROM $ledger WHERE stream = ?1 ORDER BY key";
