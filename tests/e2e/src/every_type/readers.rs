//! The rows of the matrix by readers, at each of its stages: that of the source gives, byte for byte, the images of the change
//! stream, and that of the target gives the source's back.
//!
//! The stream is one of the test's own, read in this process; what it brought is kept row by row. A reader takes each table
//! in chunks of a few rows, so every value of every type that a key can have is a bound once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tailrace_contract::{
    BatchLimits, ChangeStream, Checkpoint, Endpoint, Mark, ReadLimits, Rows, Secret, Sink, Source, SourceSettings,
    StartAt, TableFilter, TableMapping, TablePattern, TableReader, TargetSettings, TargetTable, Tls, TlsMode,
};
use tailrace_mysql::MysqlSource;
use tailrace_postgres::PostgresSink;
use tailrace_row::{ColumnType, Epoch, Key, Operation, Origin, RecordBatch, RowImage, TableName, TableSchema};
use tailrace_sqlite::SqliteSink;
use tokio::runtime::Runtime;

use crate::harness::{DRAIN_LIMIT, Scene, TargetKind};

/// Few enough for many bounds in each table.
const CHUNK_ROWS: u64 = 4;
const LIMITS: ReadLimits = ReadLimits { rows_max: 3, bytes_max: 1 << 20 };

/// A row as it is compared: its fields' bytes.
type Row = Vec<Vec<u8>>;

/// A table as the stream has left it, by the bytes of the keys.
struct Table {
    schema: Arc<TableSchema>,
    rows: BTreeMap<Row, Row>,
}

/// A stream beside the product's, and the readers of both sides.
pub(super) struct Readers {
    runtime: Runtime,
    source: MysqlSource,
    sink: Box<dyn Sink>,
    stream: Box<dyn ChangeStream>,
    /// Schema of the target's tables.
    target_schema: String,
    tables: BTreeMap<TableName, Table>,
}

impl Readers {
    /// Follows the scene's database from now on.
    pub(super) fn begin(scene: &Scene) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let source = MysqlSource::new(source_settings(scene)?)?;
        let (sink, target_schema): (Box<dyn Sink>, _) = match scene.target_kind {
            TargetKind::Postgres => (Box::new(PostgresSink::new(target_settings(scene)?)?), scene.database.clone()),
            TargetKind::Sqlite => (Box::new(SqliteSink::new(target_settings(scene)?)?), "main".to_owned()),
        };
        let patterns = vec![TablePattern::Database(scene.database.as_str().into())];
        let stream = runtime.block_on(async {
            let position = source.position(&StartAt::Now).await?;
            let from = Checkpoint { epoch: Epoch(0), mark: Mark { position, transactions: 0 }, split: None };
            source.open(&from, Arc::new(TableFilter { patterns })).await
        })?;
        Ok(Self { runtime, source, sink, stream, target_schema, tables: BTreeMap::new() })
    }

    /// Compares all tables. The target must have applied everything.
    pub(super) fn check(&mut self, scene: &Scene, stage: &str) -> Result<()> {
        let marker = scene.mark()?;
        self.follow(marker)?;
        let mut rows = 0;
        for (name, table) in &self.tables {
            let context = || format!("{stage}, table {name}");
            self.runtime.block_on(self.check_source(table)).with_context(context)?;
            self.runtime.block_on(self.check_target(table)).with_context(context)?;
            rows += table.rows.len();
        }
        ensure!(rows > 0, "no row was read");
        println!("{rows} rows {stage} are one image by stream and readers");
        Ok(())
    }

    /// Takes what the stream brings up to that row of the table of markers.
    fn follow(&mut self, marker: i64) -> Result<()> {
        let limits = BatchLimits { bytes_max: 1 << 20, records_max: 1_000, wait_max: Duration::from_millis(200) };
        let begin = Instant::now();
        loop {
            ensure!(begin.elapsed() < DRAIN_LIMIT, "the stream does not reach the marker {marker}");
            let mut batch = RecordBatch::new();
            self.runtime.block_on(self.stream.read_batch(&mut batch, limits))?;
            if self.apply(&batch, marker)? {
                return Ok(());
            }
        }
    }

    /// Applies changes; says whether the marker was among them.
    fn apply(&mut self, batch: &RecordBatch, marker: i64) -> Result<bool> {
        let mut is_reached = false;
        for record in batch.records() {
            let schema = batch.schema(record);
            let after = batch.after(record);
            if &*schema.name().table == Scene::MARKERS {
                let id = after.map(|image| image.field(0));
                is_reached |= id == Some(tailrace_row::Field::Value(tailrace_row::Value::Integer(marker)));
                continue;
            }
            let empty = || Table { schema: Arc::clone(schema), rows: BTreeMap::new() };
            let table = self.tables.entry(schema.name().clone()).or_insert_with(empty);
            ensure!(table.schema.id() == schema.id(), "{} has two schemas", schema.name());
            if let Some(before) = batch.before(record) {
                let gone = table.rows.remove(&key_of(schema, before)).context("a change to a row that is not there")?;
                ensure!(gone == fields(before), "a before of {} is no after", schema.name());
            }
            if let Some(after) = after {
                ensure!(table.rows.insert(key_of(schema, after), fields(after)).is_none(), "a row is there twice");
            }
        }
        Ok(is_reached)
    }

    async fn check_source(&self, table: &Table) -> Result<()> {
        let name = table.schema.name();
        let filter = TableFilter { patterns: vec![TablePattern::Table(name.clone())] };
        let described = self.source.tables(&filter).await?;
        if has_hidden_members(&table.schema) {
            ensure!(described.len() == 1, "the dictionary does not describe it");
            for schema in [&described[0], &table.schema] {
                let refused = self.source.open_reader(Arc::clone(schema)).await.err();
                let refused = refused.context("members that the dictionary hides are read")?;
                ensure!(refused.message().contains("members of e_hidden"), "{refused}");
            }
            return Ok(());
        }
        ensure!(
            described.len() == 1 && described[0].id() == table.schema.id(),
            "the dictionary describes it otherwise"
        );
        let mut reader = self.source.open_reader(Arc::clone(&table.schema)).await?;
        if has_geometry_key(&table.schema) {
            return check_refused(&mut *reader, table, "what no key can hold").await.context("by the source's reader");
        }
        check_chunks(&mut *reader, table).await.context("by the source's reader")?;
        check_keys(&mut *reader, table).await.context("by the source's reader")
    }

    async fn check_target(&self, table: &Table) -> Result<()> {
        let name = table.schema.name();
        let target = TargetTable { schema: self.target_schema.as_str().into(), table: name.table.clone() };
        let mapping = TableMapping::new(name.clone(), target);
        let mut reader = self.sink.open_reader(Arc::clone(&table.schema), &mapping).await?;
        if has_geometry_key(&table.schema) {
            let words = "can't hold a key that rows are to be read from";
            return check_refused(&mut *reader, table, words).await.context("by the target's reader");
        }
        check_chunks(&mut *reader, table).await.context("by the target's reader")?;
        check_keys(&mut *reader, table).await.context("by the target's reader")
    }
}

/// Whether the dictionary shows question marks in members, where they have characters above U+FFFF.
pub(super) fn has_hidden_members(schema: &TableSchema) -> bool {
    schema.columns().iter().any(|column| match &column.column_type {
        ColumnType::Enum { members } | ColumnType::Set { members } => {
            members.iter().any(|member| member.chars().any(|char| char == '?' || char > '\u{ffff}'))
        }
        _ => false,
    })
}

fn has_geometry_key(schema: &TableSchema) -> bool {
    let is_geometry = |place: &usize| matches!(schema.columns()[*place].column_type, ColumnType::Geometry { .. });
    schema.key().iter().any(is_geometry)
}

/// A geometry in the key has no order that a statement could ask for: the whole table is read, and ranges are refused by name.
async fn check_refused(reader: &mut dyn TableReader, table: &Table, words: &str) -> Result<()> {
    let whole = read(reader, table, Rows::ALL).await?;
    let Some((_, _, key)) = whole.first() else { return Ok(()) };
    let refused = reader.bound(Some(key), 1).await.err().context("a geometry was taken for a bound")?;
    ensure!(refused.message().contains(words), "{refused}");
    compare(table, &whole.into_iter().map(|(key, row, _)| (key, row)).collect())
}

/// Chunk by chunk every row comes once, as the stream had it.
async fn check_chunks(reader: &mut dyn TableReader, table: &Table) -> Result<()> {
    let mut seen = BTreeMap::new();
    let mut after: Option<Key> = None;
    loop {
        let until = reader.bound(after.as_ref(), CHUNK_ROWS).await?;
        let rows = Rows::Range { after: after.as_ref(), until: until.as_ref() };
        let chunk = read(reader, table, rows).await?;
        ensure!(until.is_none() || chunk.len() as u64 == CHUNK_ROWS, "a chunk of {} rows", chunk.len());
        for (key, row, _) in chunk {
            ensure!(seen.insert(key, row).is_none(), "a row is in two chunks");
        }
        match until {
            Some(until) => after = Some(until),
            None => return compare(table, &seen),
        }
    }
}

/// Asked for by their keys, all rows come.
async fn check_keys(reader: &mut dyn TableReader, table: &Table) -> Result<()> {
    let whole = read(reader, table, Rows::ALL).await?;
    let keys: Vec<Key> = whole.into_iter().map(|(_, _, key)| key).collect();
    let found = read(reader, table, Rows::Keys(&keys)).await?;
    ensure!(found.len() == keys.len(), "{} of {} keys were found", found.len(), keys.len());
    compare(table, &found.into_iter().map(|(key, row, _)| (key, row)).collect())
}

async fn read(reader: &mut dyn TableReader, table: &Table, rows: Rows<'_>) -> Result<Vec<(Row, Row, Key)>> {
    reader.read(rows).await?;
    let mut found = Vec::new();
    loop {
        let mut batch = RecordBatch::new();
        let may_have_more = reader.fill(&mut batch, &origin(), LIMITS).await?;
        for record in batch.records() {
            ensure!(record.operation == Operation::Read && batch.schema(record).id() == table.schema.id());
            let image = batch.after(record).context("a row that was read has an image")?;
            found.push((key_of(&table.schema, image), fields(image), Key::of(&table.schema, image)));
        }
        if !may_have_more {
            return Ok(found);
        }
    }
}

fn compare(table: &Table, seen: &BTreeMap<Row, Row>) -> Result<()> {
    for (key, expected) in &table.rows {
        let Some(row) = seen.get(key) else { bail!("the row of the key {key:x?} is missing") };
        let columns = table.schema.columns().iter();
        let differing = columns.zip(expected.iter().zip(row)).find(|(_, (expected, found))| expected != found);
        if let Some((column, (expected, found))) = differing {
            let cut = |bytes: &[u8]| format!("{:x?}", &bytes[..bytes.len().min(60)]);
            bail!("column {}: {} by the stream, {} by the reader", column.name, cut(expected), cut(found));
        }
    }
    ensure!(seen.len() == table.rows.len(), "{} rows, {} by the stream", seen.len(), table.rows.len());
    Ok(())
}

fn fields(image: RowImage<'_>) -> Row {
    (0..image.len()).map(|column| image.field_bytes(column).to_vec()).collect()
}

fn key_of(schema: &TableSchema, image: RowImage<'_>) -> Row {
    schema.key().iter().map(|column| image.field_bytes(*column).to_vec()).collect()
}

fn origin() -> Origin {
    Origin {
        epoch: Epoch(0),
        transaction: 0,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "".into(),
        file_offset: 0,
        server_id: 0,
        thread: None,
    }
}

fn source_settings(scene: &Scene) -> Result<SourceSettings> {
    let endpoint = Endpoint {
        scheme: scene.servers.mysql.flavor().scheme().into(),
        host: "127.0.0.1".into(),
        port: scene.servers.mysql.port()?,
        user: "tailrace".into(),
        password: Some(Secret::new(lab::TAILRACE_PASSWORD.to_owned())),
        database: String::new(),
        tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
    };
    let (heartbeat, expected_outage) = (Duration::from_secs(1), Duration::from_secs(3_600));
    Ok(SourceSettings { endpoint, read: None, server_id: scene.another_server_id(), heartbeat, expected_outage })
}

fn target_settings(scene: &Scene) -> Result<TargetSettings> {
    let file = scene.target_file();
    let (scheme, port, database) = match scene.target_kind {
        TargetKind::Postgres => ("postgres", scene.servers.postgres.port()?, scene.database.clone()),
        TargetKind::Sqlite => ("sqlite", 0, file.to_str().context("a path in UTF-8")?.to_owned()),
    };
    let endpoint = Endpoint {
        scheme: scheme.into(),
        host: "127.0.0.1".into(),
        port,
        user: "tailrace".into(),
        password: Some(Secret::new(lab::TAILRACE_PASSWORD.to_owned())),
        database,
        tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
    };
    Ok(TargetSettings { endpoint, schema: "tailrace".into(), statement_timeout: Duration::from_secs(60) })
}
