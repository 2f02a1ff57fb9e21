//! Tailrace's own tables in the target: format, offsets, adopted tables; streams are in `stream`, their ledgers in `ledger`, barriers
//! in `meeting`.
//!
//! Why a partition's progress can't be moved by two owners, nor apart from its rows:
//!
//! 1. Every transaction of ours takes the file's write lock as its first act, so claims and steps come one after another, in
//!    whatever process, and each reads what the one before it left.
//! 2. A claim raises `owner` of the partition's row, so of two claims the later one has the higher number.
//! 3. A step reads the rows in the transaction that wrote the changes, and ends it where `owner`, `next_offset` or `sequence`
//!    are not what its process read (compare and swap).
//! 4. A row set back by hand while its process runs is another `next_offset`: that process ends as fenced. Set back while
//!    nothing runs, it is what the next claim reads: records are applied again.
//!
//! Test: the kit's `sink_fences_the_older_claim` and its neighbours.

use std::sync::Arc;

use rusqlite::types::Value;
use tailrace_contract::{Error, LogPartition, Owner, PartitionProgress, ProgressStep, Result, TableMapping};
use tailrace_row::{Sequence, TableName};

use crate::{
    identifier::{is_same, quote},
    ledger::{self, LedgerStatements},
    meeting::{self, MeetingStatements},
    session::{Answer, Session, text},
    stream::StreamStatements,
};

/// The format of the tables below. 1 had no `barriers`, 2 no `ledger`.
const FORMAT: i64 = 3;

/// Our own tables, behind the prefix.
const NAMES: [&str; 6] = ["barriers", "format", "ledger", "offsets", "streams", "tables"];

/// The statements on our own tables, whose prefix is configured.
#[derive(Debug)]
pub(crate) struct OwnTables {
    prefix: String,
    create: Arc<str>,
    read_format: Arc<str>,
    claim: Arc<str>,
    read_offset: Arc<str>,
    step: Arc<str>,
    read_offsets: Arc<str>,
    /// Each with the first format that has its table.
    forget: [(i64, Arc<str>); 4],
    adopt: Arc<str>,
    is_adopted: Arc<str>,
    pub(crate) streams: StreamStatements,
    pub(crate) ledger: LedgerStatements,
    pub(crate) meetings: MeetingStatements,
}

impl OwnTables {
    /// Builds the statements.
    pub(crate) fn new(prefix: &str) -> Result<Self> {
        let names = NAMES.map(|name| (format!("${name}"), quote(&format!("{prefix}_{name}"))));
        let mut quoted = Vec::new();
        for (placeholder, name) in names {
            quoted.push((placeholder, format!("main.{}", name?)));
        }
        let build = |sql: &str| -> Arc<str> {
            let filled = quoted.iter().fold(sql.to_owned(), |sql, (placeholder, name)| sql.replace(placeholder, name));
            filled.into()
        };
        Ok(Self {
            prefix: prefix.to_owned(),
            create: build(&format!("{CREATE}{}{}{FORMAT_ROW}", meeting::CREATE, ledger::CREATE)),
            read_format: build("SELECT version FROM $format"),
            claim: build(CLAIM),
            read_offset: build(READ_OFFSET),
            step: build(STEP),
            read_offsets: build(READ_OFFSETS),
            forget: [
                (1, build("DELETE FROM $offsets WHERE log = ?1")),
                (1, build(FORGET_STREAM)),
                (meeting::FIRST_FORMAT, build("DELETE FROM $barriers WHERE log = ?1")),
                (ledger::FIRST_FORMAT, build("DELETE FROM $ledger WHERE stream = ?1")),
            ],
            adopt: build(ADOPT),
            is_adopted: build(IS_ADOPTED),
            streams: StreamStatements::new(build),
            ledger: LedgerStatements::new(build),
            meetings: MeetingStatements::new(build),
        })
    }

    /// Whether a table is one of ours.
    pub(crate) fn has(&self, table: &str) -> bool {
        NAMES.iter().any(|name| is_same(table, &format!("{}_{name}", self.prefix)))
    }

    /// Makes what is missing. Two processes may do it at once: they take turns.
    pub(crate) async fn prepare(&self, session: &mut Session) -> Result<()> {
        if self.read_format(session).await? == Some(FORMAT) {
            return Ok(());
        }
        session.begin().await?;
        let created = session.run(Arc::clone(&self.create), "creating Tailrace's own tables").await;
        let committed = match created {
            Ok(()) => session.commit(|| ()).await,
            Err(error) => Err(error),
        };
        session.roll_back().await;
        committed?;
        match self.read_format(session).await? {
            Some(_) => Ok(()),
            None => Err(Error::refused(format!("the table {}_format has no row", self.prefix))),
        }
    }

    /// The format of the tables, if they are there. A newer one is refused.
    pub(crate) async fn read_format(&self, session: &mut Session) -> Result<Option<i64>> {
        const DOING: &str = "reading the format of Tailrace's own tables";
        let name = format!("{}_format", self.prefix);
        if session.read(HAS_TABLE, vec![name.into()], DOING).await?.is_empty() {
            return Ok(None);
        }
        let rows = session.read(Arc::clone(&self.read_format), Vec::new(), DOING).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let version: i64 = row.get("version")?;
        if version > FORMAT {
            let found = format!(
                "the tables {}_* in the target have format {version}, this Tailrace knows {FORMAT}",
                self.prefix
            );
            return Err(Error::refused(found).hint("a newer Tailrace made them: use that one"));
        }
        Ok(Some(version))
    }

    /// Becomes the owner of the partitions, in the order asked.
    pub(crate) async fn claim(
        &self,
        session: &mut Session,
        log: &str,
        partitions: &[LogPartition],
    ) -> Result<Vec<PartitionProgress>> {
        session.begin().await?;
        let mut claimed = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let sql = Arc::clone(&self.claim);
            let rows = session.read(sql, named(log, partition), "claiming partitions").await?;
            let row = rows.first().ok_or_else(|| Error::refused("claiming partitions: the target returned no row"))?;
            claimed.push(read_progress(row, partition)?);
        }
        session.commit(|| ()).await?;
        Ok(claimed)
    }

    /// Moves the progress, if everything is as it was; else the transaction may not be committed.
    pub(crate) async fn step(&self, session: &mut Session, log: &str, steps: &[ProgressStep]) -> Result<()> {
        const DOING: &str = "moving the progress";
        for step in steps {
            let partition = &step.from.partition;
            let sql = Arc::clone(&self.read_offset);
            let rows = session.read(sql, named(log, partition), DOING).await?;
            let stored = rows.first().map(|row| read_progress(row, partition)).transpose()?;
            let stored = unchanged(&step.from, stored)?;
            let mut parameters = named(log, partition);
            let sequence = |sequence: Option<Sequence>| Value::from(sequence.map(|sequence| sequence.to_string()));
            parameters.extend([step.next_offset.into(), sequence(step.sequence)]);
            parameters.extend([sequence(stored.highest.max(step.sequence)), stored.owner.0.into()]);
            let moved = session.write(&self.step, parameters, DOING).await?;
            if moved != 1 {
                return Err(Error::refused(format!("{DOING}: {moved} rows were moved for {partition}")));
            }
        }
        Ok(())
    }

    /// How far all partitions of the log are applied; empty where our tables don't exist.
    pub(crate) async fn read(&self, session: &mut Session, log: &str) -> Result<Vec<PartitionProgress>> {
        if self.read_format(session).await?.is_none() {
            return Ok(Vec::new());
        }
        let rows = session.read(Arc::clone(&self.read_offsets), vec![text(log)], "reading the progress").await?;
        let read = |row: &Answer| {
            let table = TableName::new(&row.get::<String>("database")?, &row.get::<String>("table")?);
            let index = u32::try_from(row.get::<i64>("partition")?)
                .map_err(|_| Error::corrupt("a stored partition number is out of range"))?;
            read_progress(row, &LogPartition { table, index })
        };
        rows.iter().map(read).collect()
    }

    /// Forgets the progress of the log, and the checkpoint of the stream of that name with its documents.
    pub(crate) async fn forget(&self, session: &mut Session, log: &str) -> Result<()> {
        let Some(format) = self.read_format(session).await? else { return Ok(()) };
        session.begin().await?;
        for (_, sql) in self.forget.iter().filter(|(first, _)| format >= *first) {
            session.write(sql, vec![text(log)], "forgetting the progress").await?;
        }
        session.commit(|| ()).await
    }

    /// Remembers a table as written by us.
    pub(crate) async fn adopt(&self, session: &mut Session, mapping: &TableMapping) -> Result<()> {
        session.write(&self.adopt, mapping_parameters(mapping), "adopting a table").await?;
        Ok(())
    }

    /// Whether the table is remembered.
    pub(crate) async fn is_adopted(&self, session: &mut Session, mapping: &TableMapping) -> Result<bool> {
        if self.read_format(session).await?.is_none() {
            return Ok(false);
        }
        let sql = Arc::clone(&self.is_adopted);
        Ok(!session.read(sql, mapping_parameters(mapping), "looking for an adopted table").await?.is_empty())
    }
}

/// What is stored, if it is what the process read.
fn unchanged(from: &PartitionProgress, stored: Option<PartitionProgress>) -> Result<PartitionProgress> {
    let partition = &from.partition;
    match stored {
        None => Err(fenced(partition, "has no progress in the target any more")),
        Some(stored) if stored.owner != from.owner => Err(fenced(partition, "was claimed by another process")),
        Some(stored) if stored.next_offset != from.next_offset || stored.sequence != from.sequence => {
            Err(fenced(partition, "had its progress changed by somebody else while it was being applied"))
        }
        Some(stored) => Ok(stored),
    }
}

fn fenced(partition: &LogPartition, what: &str) -> Error {
    Error::fenced(format!("the partition {partition} {what}"))
        .hint("only one process may apply a partition; see who else runs, then start this one again")
}

fn named(log: &str, partition: &LogPartition) -> Vec<Value> {
    let LogPartition { table, index } = partition;
    vec![text(log), text(&table.database), text(&table.table), (*index).into()]
}

fn mapping_parameters(mapping: &TableMapping) -> Vec<Value> {
    [&mapping.source.database, &mapping.source.table, &mapping.target.table].map(|name| text(name)).into()
}

fn read_progress(row: &Answer, partition: &LogPartition) -> Result<PartitionProgress> {
    let sequence = |field| -> Result<Option<Sequence>> {
        let text: Option<String> = row.get(field)?;
        let parse = |text: String| {
            text.parse().map_err(|_| Error::corrupt(format!("the stored {field} of {partition} is no sequence")))
        };
        text.map(parse).transpose()
    };
    Ok(PartitionProgress {
        partition: partition.clone(),
        next_offset: row.get("next_offset")?,
        sequence: sequence("sequence")?,
        highest: sequence("highest")?,
        owner: Owner(row.get("owner")?),
    })
}

const HAS_TABLE: &str = "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE";

const CREATE: &str = r#"
CREATE TABLE IF NOT EXISTS $offsets (
  -- How far each partition of a log is applied. To apply again from an earlier point: stop apply, set next_offset and sequence back.
  log TEXT NOT NULL,
  database TEXT NOT NULL,
  "table" TEXT NOT NULL,
  partition INTEGER NOT NULL CHECK (partition >= 0),
  next_offset INTEGER,
  sequence TEXT,
  highest TEXT,
  owner INTEGER NOT NULL,
  updated_at TEXT NOT NULL,
  PRIMARY KEY (log, database, "table", partition)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS $streams (
  -- Where the source is read on, for each stream that comes without a log. To apply again from an earlier point: stop tailrace,
  -- put an earlier checkpoint back.
  stream TEXT NOT NULL PRIMARY KEY,
  checkpoint TEXT,
  saves INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  updated_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS $tables (
  -- Tables that Tailrace writes.
  source_database TEXT NOT NULL,
  source_table TEXT NOT NULL,
  target_table TEXT NOT NULL COLLATE NOCASE,
  adopted_at TEXT NOT NULL,
  PRIMARY KEY (source_database, source_table, target_table)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS $format (
  -- Format of these tables.
  is_only_row INTEGER NOT NULL PRIMARY KEY CHECK (is_only_row = 1),
  version INTEGER NOT NULL
) STRICT;"#;

const FORMAT_ROW: &str = "
INSERT INTO $format (is_only_row, version) VALUES (1, 3)
ON CONFLICT (is_only_row) DO UPDATE SET version = excluded.version WHERE version < excluded.version";

/// A row that was deleted begins with an owner that nobody ever was.
const CLAIM: &str = r#"
INSERT INTO $offsets AS o (log, database, "table", partition, owner, updated_at)
VALUES (?1, ?2, ?3, ?4, CAST(unixepoch('subsec') * 1000 AS INTEGER), strftime('%Y-%m-%dT%H:%M:%fZ'))
ON CONFLICT (log, database, "table", partition) DO UPDATE SET owner = o.owner + 1, updated_at = excluded.updated_at
RETURNING next_offset, sequence, highest, owner"#;

const READ_OFFSET: &str = r#"
SELECT next_offset, sequence, highest, owner FROM $offsets
WHERE log = ?1 AND database = ?2 AND "table" = ?3 AND partition = ?4"#;

const READ_OFFSETS: &str = r#"
SELECT database, "table", partition, next_offset, sequence, highest, owner FROM $offsets
WHERE log = ?1 ORDER BY database, "table", partition"#;

/// The owner rises, so that whoever saves meanwhile is fenced.
const FORGET_STREAM: &str = "
UPDATE $streams SET checkpoint = NULL, saves = saves + 1, owner = owner + 1, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ')
WHERE stream = ?1";

const STEP: &str = r#"
UPDATE $offsets SET next_offset = ?5, sequence = ?6, highest = ?7, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ')
WHERE log = ?1 AND database = ?2 AND "table" = ?3 AND partition = ?4 AND owner = ?8"#;

const ADOPT: &str = "
INSERT INTO $tables (source_database, source_table, target_table, adopted_at)
VALUES (?1, ?2, ?3, strftime('%Y-%m-%dT%H:%M:%fZ')) ON CONFLICT DO NOTHING";

const IS_ADOPTED: &str = "
SELECT 1 FROM $tables WHERE source_database = ?1 AND source_table = ?2 AND target_table = ?3";
