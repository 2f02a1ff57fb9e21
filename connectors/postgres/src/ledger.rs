//! The ledger of a stream that comes without a log: documents by their names, stored in the transaction of the checkpoint.
//!
//! Why no document of a stream is there that belongs to another checkpoint: it is written after the checkpoint's row was compared
//! and swapped, which locks that row until the commit, and forgotten behind the same row.

use std::{collections::BTreeMap, sync::Arc};

use sqlx::{AssertSqlSafe, postgres::PgArguments};
use tailrace_contract::{LedgerEntry, Result};

use crate::{
    catalog::{add, get},
    errors::Failure,
    progress::OwnTables,
    session::Session,
};

/// The first format that has a ledger.
const FIRST_FORMAT: i32 = 4;

/// The statements on the ledger.
#[derive(Debug)]
pub(crate) struct LedgerStatements {
    put: Arc<str>,
    take: Arc<str>,
    read: Arc<str>,
    forget: Arc<str>,
}

impl LedgerStatements {
    /// Builds the statements for the schema, which is quoted.
    pub(crate) fn new(schema: &str) -> Self {
        let build = |sql: &str| -> Arc<str> { sql.replace("$schema", schema).into() };
        Self { put: build(PUT), take: build(TAKE), read: build(READ), forget: build(FORGET) }
    }
}

impl OwnTables {
    /// Stores documents, the last of each name, in the transaction that has moved the stream's checkpoint.
    pub(crate) async fn store_documents(
        &self,
        session: &mut Session,
        stream: &str,
        entries: &[LedgerEntry],
    ) -> std::result::Result<(), Failure> {
        let last: BTreeMap<&str, Option<&str>> =
            entries.iter().map(|entry| (&*entry.key, entry.value.as_deref())).collect();
        let (kept, gone): (Vec<_>, Vec<_>) = last.into_iter().partition(|(_, value)| value.is_some());
        if !kept.is_empty() {
            let (keys, values): (Vec<&str>, Vec<Option<&str>>) = kept.into_iter().unzip();
            let mut arguments = of_stream(stream);
            add(&mut arguments, keys);
            add(&mut arguments, values);
            session.write(&self.ledger.put, arguments, "storing documents of the ledger").await?;
        }
        if !gone.is_empty() {
            let mut arguments = of_stream(stream);
            add(&mut arguments, gone.into_iter().map(|(key, _)| key).collect::<Vec<&str>>());
            session.write(&self.ledger.take, arguments, "taking documents from the ledger").await?;
        }
        Ok(())
    }

    /// The stream's documents, ordered by name; nothing where there is no such table.
    pub(crate) async fn read_ledger(&self, session: &mut Session, stream: &str) -> Result<Vec<LedgerEntry>> {
        if self.read_format(session).await?.is_none_or(|format| format < FIRST_FORMAT) {
            return Ok(Vec::new());
        }
        let sql = AssertSqlSafe(Arc::clone(&self.ledger.read));
        let rows = session.read(sql, of_stream(stream), "reading the ledger").await?;
        let entry = |row| -> Result<LedgerEntry> {
            let (key, value): (&str, &str) = (get(row, "key")?, get(row, "value")?);
            Ok(LedgerEntry { key: key.into(), value: Some(value.into()) })
        };
        rows.iter().map(entry).collect()
    }

    /// Forgets the stream's documents. Its owner must be fenced by now.
    pub(crate) async fn forget_ledger(&self, session: &mut Session, stream: &str) -> Result<()> {
        if self.read_format(session).await?.is_none_or(|format| format < FIRST_FORMAT) {
            return Ok(());
        }
        session.write(&self.ledger.forget, of_stream(stream), "forgetting the ledger").await?;
        Ok(())
    }
}

fn of_stream(stream: &str) -> PgArguments {
    let mut arguments = PgArguments::default();
    add(&mut arguments, stream);
    arguments
}

/// The table itself; of the format that has it.
pub(crate) const CREATE: &str = r#"
CREATE TABLE IF NOT EXISTS $schema.ledger (
  stream text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  value text NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (stream, key)
);
COMMENT ON TABLE $schema.ledger IS
  'How far the copies of tables are, for each stream that comes without a log. Belongs to its checkpoint.';"#;

const PUT: &str = "
INSERT INTO $schema.ledger (stream, key, value)
SELECT $1, d.key, d.value FROM unnest($2::text[], $3::text[]) AS d (key, value)
ON CONFLICT (stream, key) DO UPDATE SET value = excluded.value, updated_at = clock_timestamp()";

const TAKE: &str = "DELETE FROM $schema.ledger WHERE stream = $1 AND key = ANY ($2::text[])";

const READ: &str = "SELECT key, value FROM $schema.ledger WHERE stream = $1 ORDER BY key";

const FORGET: &str = "DELETE FROM $schema.ledger WHERE stream = $1";
