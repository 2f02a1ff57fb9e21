//! Tailrace's own tables in the target: format, offsets, adopted tables; streams are in `stream`, their ledgers in `ledger`, barriers
//! in `meeting`.
//!
//! Why a partition's progress can't be moved by two owners, nor apart from its rows:
//!
//! 1. A claim raises `owner` of the partition's row, so of two claims the later one has the higher number.
//! 2. A step updates the row only where `owner`, `next_offset` and `sequence` are still what its process read (compare and
//!    swap), as the last statement of the transaction that wrote the rows. If one row is missing, everything is rolled back.
//! 3. The update locks the row until the commit, so a claim waits for a step under way and reads what it left; and a
//!    step that comes after a claim finds another owner.
//! 4. A row set back by hand while its process runs is another `next_offset`: that process ends as fenced. Set back while
//!    nothing runs, it is what the next claim reads: records are applied again.
//!
//! The same statement compares the shape of the written tables with the one the statements were made for. By then the rows'
//! statements hold their tables' locks, so nobody can have altered a column between (which might round what we wrote).
//!
//! Test: `a_stale_owner_is_fenced` and its neighbours in the kit; `an_altered_column_stops_the_batch`.

use std::sync::Arc;

use sqlx::postgres::{PgArguments, PgRow};
use tailrace_contract::{Error, ErrorKind, LogPartition, Owner, PartitionProgress, ProgressStep, Result, TableMapping};
use tailrace_row::{Epoch, Sequence, TableName};

use crate::{
    catalog::{add, get},
    errors::Failure,
    identifier::quote,
    ledger::{self, LedgerStatements},
    meeting::{self, MeetingStatements},
    session::Session,
    stream::StreamStatements,
};

/// The format of the tables below. 1 had no `streams`, 2 no `barriers`, 3 no `ledger`.
const FORMAT: i32 = 4;

/// The statements on our own tables, whose schema is configured.
#[derive(Debug)]
pub(crate) struct OwnTables {
    /// As configured.
    pub(crate) schema: String,
    read_format: Arc<str>,
    create: Arc<str>,
    claim: Arc<str>,
    step: Arc<str>,
    read_offsets: Arc<str>,
    forget: Arc<str>,
    adopt: Arc<str>,
    is_adopted: Arc<str>,
    pub(crate) streams: StreamStatements,
    pub(crate) ledger: LedgerStatements,
    pub(crate) meetings: MeetingStatements,
}

impl OwnTables {
    /// Builds the statements.
    pub(crate) fn new(schema: &str) -> Result<Self> {
        let quoted = quote(schema)?;
        let build = |sql: &str| -> Arc<str> { sql.replace("$schema", &quoted).into() };
        Ok(Self {
            schema: schema.to_owned(),
            read_format: build("SELECT version FROM $schema.format"),
            create: build(&format!("{CREATE}{}{}{FORMAT_ROW}", meeting::CREATE, ledger::CREATE)),
            claim: build(CLAIM),
            step: build(STEP),
            read_offsets: build(READ_OFFSETS),
            forget: build(FORGET),
            adopt: build(ADOPT),
            is_adopted: build(IS_ADOPTED),
            streams: StreamStatements::new(&quoted),
            ledger: LedgerStatements::new(&quoted),
            meetings: MeetingStatements::new(&quoted),
        })
    }

    /// Makes what is missing. Two processes may do it at once: they take turns.
    pub(crate) async fn prepare(&self, session: &mut Session) -> Result<()> {
        if self.read_format(session).await? == Some(FORMAT) {
            return Ok(());
        }
        let created = self.create(session).await;
        session.roll_back().await;
        created.map_err(Error::from).map_err(|error| match error.kind() {
            ErrorKind::Refused => error.hint(format!(
                "let the account create it: GRANT CREATE ON DATABASE …; or do it yourself: CREATE SCHEMA {} AUTHORIZATION …",
                self.schema
            )),
            _ => error,
        })?;
        match self.read_format(session).await? {
            Some(_) => Ok(()),
            None => Err(Error::refused(format!("the schema {} has no format row", self.schema))),
        }
    }

    async fn create(&self, session: &mut Session) -> std::result::Result<(), Failure> {
        const DOING: &str = "creating Tailrace's own tables";
        session.begin().await?;
        session.run(LOCK, DOING).await?;
        let mut arguments = PgArguments::default();
        add(&mut arguments, self.schema.as_str());
        // Asking for a schema that exists needs the right to create one all the same.
        if session.read("SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1", arguments, DOING).await?.is_empty() {
            let schema = format!("CREATE SCHEMA {}", quote(&self.schema)?);
            session.run(sqlx::AssertSqlSafe(schema), DOING).await?;
        }
        session.run(sqlx::AssertSqlSafe(Arc::clone(&self.create)), DOING).await?;
        session.commit(|| ()).await
    }

    /// The format of the tables, if they are there. A newer one is refused.
    pub(crate) async fn read_format(&self, session: &mut Session) -> Result<Option<i32>> {
        const DOING: &str = "reading the format of Tailrace's own tables";
        let mut arguments = PgArguments::default();
        add(&mut arguments, self.schema.as_str());
        let exists = session.read(HAS_FORMAT, arguments, DOING).await?;
        if exists.is_empty() {
            return Ok(None);
        }
        let sql = sqlx::AssertSqlSafe(Arc::clone(&self.read_format));
        let rows = session.read(sql, PgArguments::default(), DOING).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let version: i32 = get(row, "version")?;
        if version > FORMAT {
            let found =
                format!("the tables in schema {} have format {version}, this Tailrace knows {FORMAT}", self.schema);
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
        let mut arguments = PgArguments::default();
        add(&mut arguments, log);
        add_partitions(&mut arguments, partitions.iter());
        let sql = sqlx::AssertSqlSafe(Arc::clone(&self.claim));
        let rows = session.read(sql, arguments, "claiming partitions").await?;
        let found = read_all(&rows)?;
        let find = |partition: &LogPartition| found.iter().find(|progress| progress.partition == *partition).cloned();
        let ordered: Option<Vec<_>> = partitions.iter().map(find).collect();
        ordered.ok_or_else(|| Error::refused("claiming partitions: the target did not return all of them"))
    }

    /// Moves the progress, if everything is as it was; says whether it was. `shapes` are OIDs of tables and their stamps.
    pub(crate) async fn step(
        &self,
        session: &mut Session,
        log: &str,
        steps: &[ProgressStep],
        shapes: &[(u32, i64)],
    ) -> std::result::Result<bool, Failure> {
        let mut arguments = PgArguments::default();
        add(&mut arguments, log);
        add_partitions(&mut arguments, steps.iter().map(|step| &step.from.partition));
        add(&mut arguments, steps.iter().map(|step| step.from.owner.0).collect::<Vec<_>>());
        add(&mut arguments, steps.iter().map(|step| step.from.next_offset).collect::<Vec<_>>());
        add(&mut arguments, steps.iter().map(|step| step.from.sequence.map(written)).collect::<Vec<_>>());
        add(&mut arguments, steps.iter().map(|step| step.next_offset).collect::<Vec<_>>());
        add(&mut arguments, steps.iter().map(|step| step.sequence.map(written)).collect::<Vec<_>>());
        add_shapes(&mut arguments, shapes);
        let moved = session.write(&self.step, arguments, "moving the progress").await?;
        Ok(moved == steps.len() as u64)
    }

    /// Who moved or took the progress when a step did not hold, asked after the rollback. None: nobody, so that a table
    /// was altered.
    pub(crate) async fn find_rival(
        &self,
        session: &mut Session,
        log: &str,
        steps: &[ProgressStep],
    ) -> Result<Option<Error>> {
        let found = self.read_offsets(session, log).await?;
        for step in steps {
            let partition = &step.from.partition;
            let Some(now) = found.iter().find(|progress| progress.partition == *partition) else {
                return Ok(Some(fenced(partition, "has no progress in the target any more")));
            };
            if now.owner != step.from.owner {
                return Ok(Some(fenced(partition, "was claimed by another process")));
            }
            if now.next_offset != step.from.next_offset || now.sequence != step.from.sequence {
                let what = "had its progress changed by somebody else while it was being applied";
                return Ok(Some(fenced(partition, what)));
            }
        }
        Ok(None)
    }

    /// How far the log's partitions are applied, ordered; nothing where there are no tables of ours.
    pub(crate) async fn read(&self, session: &mut Session, log: &str) -> Result<Vec<PartitionProgress>> {
        if self.read_format(session).await?.is_none() {
            return Ok(Vec::new());
        }
        let mut found = self.read_offsets(session, log).await?;
        found.sort_by(|one, other| one.partition.cmp(&other.partition));
        Ok(found)
    }

    /// Forgets how far the log's partitions are applied.
    pub(crate) async fn forget(&self, session: &mut Session, log: &str) -> Result<()> {
        if self.read_format(session).await?.is_none() {
            return Ok(());
        }
        let mut arguments = PgArguments::default();
        add(&mut arguments, log);
        session.write(&self.forget, arguments, "forgetting the progress").await?;
        Ok(())
    }

    async fn read_offsets(&self, session: &mut Session, log: &str) -> Result<Vec<PartitionProgress>> {
        let mut arguments = PgArguments::default();
        add(&mut arguments, log);
        let sql = sqlx::AssertSqlSafe(Arc::clone(&self.read_offsets));
        read_all(&session.read(sql, arguments, "reading the progress").await?)
    }

    /// Remembers a table as written by us.
    pub(crate) async fn adopt(&self, session: &mut Session, mapping: &TableMapping) -> Result<()> {
        let arguments = mapping_arguments(mapping);
        session.write(&self.adopt, arguments, "adopting a table").await?;
        Ok(())
    }

    /// Whether the table is remembered.
    pub(crate) async fn is_adopted(&self, session: &mut Session, mapping: &TableMapping) -> Result<bool> {
        if self.read_format(session).await?.is_none() {
            return Ok(false);
        }
        let sql = sqlx::AssertSqlSafe(Arc::clone(&self.is_adopted));
        Ok(!session.read(sql, mapping_arguments(mapping), "looking for an adopted table").await?.is_empty())
    }
}

fn fenced(partition: &LogPartition, what: &str) -> Error {
    Error::fenced(format!("the partition {partition} {what}"))
        .hint("only one process may apply a partition; see who else runs, then start this one again")
}

/// Four numbers in the order in which sequences compare, as arrays do.
pub(crate) fn written(sequence: Sequence) -> String {
    format!("{{{},{},{},{}}}", sequence.epoch.0, sequence.transaction, sequence.event, sequence.row)
}

fn add_partitions<'p>(arguments: &mut PgArguments, partitions: impl Iterator<Item = &'p LogPartition> + Clone) {
    add(arguments, partitions.clone().map(|partition| &*partition.table.database).collect::<Vec<&str>>());
    add(arguments, partitions.clone().map(|partition| &*partition.table.table).collect::<Vec<&str>>());
    add(arguments, partitions.map(|partition| i64::from(partition.index)).collect::<Vec<i64>>());
}

pub(crate) fn add_shapes(arguments: &mut PgArguments, shapes: &[(u32, i64)]) {
    add(arguments, shapes.iter().map(|(oid, _)| i64::from(*oid)).collect::<Vec<_>>());
    add(arguments, shapes.iter().map(|(_, stamp)| *stamp).collect::<Vec<_>>());
}

fn mapping_arguments(mapping: &TableMapping) -> PgArguments {
    let mut arguments = PgArguments::default();
    for name in [&mapping.source.database, &mapping.source.table, &mapping.target.schema, &mapping.target.table] {
        add(&mut arguments, &**name);
    }
    arguments
}

fn read_all(rows: &[PgRow]) -> Result<Vec<PartitionProgress>> {
    rows.iter().map(read_progress).collect()
}

fn read_progress(row: &PgRow) -> Result<PartitionProgress> {
    let (database, table): (&str, &str) = (get(row, "database")?, get(row, "table")?);
    let table = TableName::new(database, table);
    let index: i64 = get(row, "partition")?;
    let index = u32::try_from(index).map_err(|_| Error::corrupt("a stored partition number is out of range"))?;
    let partition = LogPartition { table, index };
    let sequence = |field| -> Result<Option<Sequence>> {
        let parts: Option<Vec<i64>> = get(row, field)?;
        let read = |parts| {
            read_sequence(parts)
                .ok_or_else(|| Error::corrupt(format!("the stored {field} of {partition} is no sequence")))
        };
        parts.as_deref().map(read).transpose()
    };
    Ok(PartitionProgress {
        next_offset: get(row, "next_offset")?,
        sequence: sequence("sequence")?,
        highest: sequence("highest")?,
        owner: Owner(get(row, "owner")?),
        partition,
    })
}

pub(crate) fn read_sequence(parts: &[i64]) -> Option<Sequence> {
    let &[epoch, transaction, event, row] = parts else { return None };
    Some(Sequence {
        epoch: Epoch(u32::try_from(epoch).ok()?),
        transaction: u64::try_from(transaction).ok()?,
        event: u32::try_from(event).ok()?,
        row: u32::try_from(row).ok()?,
    })
}

/// The number means nothing but this lock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7598543872349171)";

const HAS_FORMAT: &str = "SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = 'format'";

const CREATE: &str = r#"
CREATE TABLE IF NOT EXISTS $schema.offsets (
  log text COLLATE "C" NOT NULL,
  database text COLLATE "C" NOT NULL,
  "table" text COLLATE "C" NOT NULL,
  partition bigint NOT NULL CHECK (partition >= 0),
  next_offset bigint,
  sequence bigint[] CHECK (cardinality(sequence) = 4),
  highest bigint[] CHECK (cardinality(highest) = 4),
  owner bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (log, database, "table", partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE $schema.offsets IS
  'How far each partition of a log is applied. To apply again from an earlier point: stop apply, set next_offset and sequence back.';
CREATE TABLE IF NOT EXISTS $schema.tables (
  source_database text COLLATE "C" NOT NULL,
  source_table text COLLATE "C" NOT NULL,
  target_schema text COLLATE "C" NOT NULL,
  target_table text COLLATE "C" NOT NULL,
  adopted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (source_database, source_table, target_schema, target_table)
);
COMMENT ON TABLE $schema.tables IS 'Tables that Tailrace writes.';
CREATE TABLE IF NOT EXISTS $schema.format (
  is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
  version integer NOT NULL
);
COMMENT ON TABLE $schema.format IS 'Format of the tables in this schema.';
CREATE TABLE IF NOT EXISTS $schema.streams (
  stream text COLLATE "C" PRIMARY KEY,
  checkpoint text,
  saves bigint NOT NULL,
  owner bigint NOT NULL,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);
COMMENT ON TABLE $schema.streams IS
  'Where the source is read on, for each stream that comes without a log. To apply again from an earlier point: stop tailrace, put an earlier checkpoint back.';"#;

const FORMAT_ROW: &str = "
INSERT INTO $schema.format (version) VALUES (4) ON CONFLICT (is_only_row) DO UPDATE SET version = 4 WHERE format.version < 4";

/// A row that was deleted begins with an owner that nobody ever was.
const CLAIM: &str = r#"
INSERT INTO $schema.offsets AS o (log, database, "table", partition, owner)
SELECT $1, c.database, c."table", c.partition, (extract(epoch FROM clock_timestamp()) * 1000)::int8
FROM unnest($2::text[], $3::text[], $4::int8[]) AS c (database, "table", partition)
ORDER BY c.database, c."table", c.partition
ON CONFLICT (log, database, "table", partition) DO UPDATE SET owner = o.owner + 1, updated_at = clock_timestamp()
RETURNING o.database, o."table", o.partition, o.next_offset, o.sequence, o.highest, o.owner"#;

const READ_OFFSETS: &str = r#"
SELECT database, "table", partition, next_offset, sequence, highest, owner FROM $schema.offsets WHERE log = $1"#;

const FORGET: &str = "DELETE FROM $schema.offsets WHERE log = $1";

/// The highest sequence is kept by the row itself: `greatest` ignores NULL.
const STEP: &str = r#"
UPDATE $schema.offsets AS o
SET next_offset = s.next_offset, sequence = s.sequence::int8[], highest = greatest(o.highest, s.sequence::int8[]),
    updated_at = clock_timestamp()
FROM unnest($2::text[], $3::text[], $4::int8[], $5::int8[], $6::int8[], $7::text[], $8::int8[], $9::text[])
  AS s (database, "table", partition, owner, from_offset, from_sequence, next_offset, sequence)
WHERE o.log = $1 AND o.database = s.database AND o."table" = s."table" AND o.partition = s.partition
  AND o.owner = s.owner AND o.next_offset IS NOT DISTINCT FROM s.from_offset
  AND o.sequence IS NOT DISTINCT FROM s.from_sequence::int8[]
  AND NOT EXISTS (
    SELECT FROM unnest($10::int8[], $11::int8[]) AS p (relation, stamp)
    WHERE p.stamp IS DISTINCT FROM (
      SELECT max(a.xmin::text::int8) FROM pg_catalog.pg_attribute a WHERE a.attrelid = p.relation::oid AND a.attnum > 0))"#;

const ADOPT: &str = "
INSERT INTO $schema.tables (source_database, source_table, target_schema, target_table) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING";

const IS_ADOPTED: &str = "
SELECT FROM $schema.tables WHERE source_database = $1 AND source_table = $2 AND target_schema = $3 AND target_table = $4";
