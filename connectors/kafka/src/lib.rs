//! Kafka as the log: one topic per table, records in Debezium JSON, exactly once from the source.
//!
//! | module | knows |
//! |---|---|
//! | `writer` | why there is one writer, and what a commit makes durable |
//! | `reader` | what a reader sees, and what it does with a record that it can't read |
//! | `transaction` | the transactional producer |
//! | `topics` | names and settings of the topics |
//! | `checkpoint`, `schemas`, `barriers`, `ledger`, `small_topic` | the small topics beside the tables' |
//! | `debezium` | the JSON of records |
//! | `config`, `errors`, `watch`, `check`, `blocking` | the client library: settings, errors, what it says, preflight, threads |
//! | `hostile` | the parsers of what is read, for tests with damaged records |
//! | `certificate` | why a broker's certificate was refused |
//!
//! The tokio runtime must be a multi-threaded one: the client's calls block (see `blocking`).

mod barriers;
mod blocking;
mod certificate;
mod check;
mod checkpoint;
mod config;
mod debezium;
mod epochs;
mod errors;
mod grants;
#[cfg(feature = "hostile")]
pub mod hostile;
mod ledger;
mod reader;
mod record_headers;
mod schemas;
mod small_topic;
mod topics;
mod transaction;
mod watch;
mod writer;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use tailrace_contract::{
    BarrierReader, BoxFuture, Checkpoint, Error, ErrorKind, Grant, LedgerEntry, Log, LogPartition, LogReader,
    LogSettings, LogStart, OpenedWriter, PartitionEnds, Problem, Result, TableFilter,
};
use tailrace_row::{RecordBatch, TableName, TableSchema};

use crate::{
    barriers::KafkaBarrierReader,
    blocking::block,
    config::ClientSettings,
    debezium::{Encoded, Encoder, RecordForm, RecordSink, RecordStyle, TableForm},
    schemas::SchemaBook,
    small_topic::{ReadTo, SmallTopicReader},
    topics::{TopicKeeper, TopicNames, TopicOwners},
    transaction::{Outgoing, Transaction},
};

/// The log of one prefix.
pub struct KafkaLog {
    shared: Arc<Shared>,
}

/// What log, writer and readers share.
struct Shared {
    settings: Arc<LogSettings>,
    clients: ClientSettings,
    names: TopicNames,
    style: RecordStyle,
    /// The consumer group that shows lag.
    group: String,
    /// The tables of a log that Debezium writes, once they were declared.
    declared: OnceLock<BTreeMap<TableName, Arc<TableForm>>>,
}

impl KafkaLog {
    /// Takes settings that are checked by themselves; talks to nobody yet.
    pub fn new(settings: LogSettings) -> Result<Self> {
        if let Some(problem) = check::settings(&settings).into_iter().next() {
            return Err(Error::refused(format!("[log] {}", problem.object)).hint(problem.to_string()));
        }
        let settings = Arc::new(settings);
        let style = RecordStyle {
            prefix: settings.prefix.clone(),
            has_inline_schemas: settings.has_inline_schemas,
            refuses_inexact: settings.refuses_inexact,
        };
        let shared = Shared {
            clients: ClientSettings::new(Arc::clone(&settings)),
            names: TopicNames::new(&settings.prefix),
            group: format!("{}.apply", settings.prefix),
            style,
            settings,
            declared: OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

/// What a batch came to as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodedBatch {
    /// Records of the log.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl KafkaLog {
    /// Encodes a batch as the writer does, and sends it to nobody: for benchmarks.
    #[doc(hidden)]
    pub fn encode(&self, batch: &RecordBatch) -> Result<EncodedBatch> {
        let Shared { style, names, .. } = &*self.shared;
        let form = |schema: &Arc<TableSchema>| {
            RecordForm::new(style, &names.table(schema.name()), TableForm::new(Arc::clone(schema)), false)
        };
        let forms: Vec<RecordForm> = batch.schemas().iter().map(form).collect();
        let mut encoder = Encoder::new(style.clone());
        encoder.begin_batch(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        let mut encoded = EncodedBatch::default();
        for record in batch.records() {
            encoder.encode(&forms[record.schema as usize], batch, record, &mut encoded)?;
        }
        Ok(encoded)
    }
}

impl RecordSink for EncodedBatch {
    fn put(&mut self, _: &RecordForm, record: Encoded<'_>) -> Result<()> {
        self.records += 1;
        self.bytes += (record.key.len() + record.value.map_or(0, <[u8]>::len)) as u64;
        Ok(())
    }
}

impl Log for KafkaLog {
    fn name(&self) -> &str {
        &self.shared.settings.prefix
    }

    fn grants(&self, filter: &TableFilter) -> Vec<Grant> {
        let Shared { settings, names, group, .. } = &*self.shared;
        grants::least(&settings.endpoint.user, names, group, filter)
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<Problem>>> {
        Box::pin(check::log(&self.shared))
    }

    fn declare(&self, tables: &[Arc<TableSchema>]) -> Result<()> {
        self.shared.declare(tables)
    }

    fn check_tables<'a>(&'a self, tables: &'a [Arc<TableSchema>]) -> BoxFuture<'a, Result<Vec<Problem>>> {
        Box::pin(check::tables(&self.shared, tables))
    }

    fn prepare<'a>(&'a self, tables: &'a [Arc<TableSchema>]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.shared.refuse_debeziums()?;
            self.shared.prepare(tables).await
        })
    }

    fn open_writer(&self) -> BoxFuture<'_, Result<OpenedWriter>> {
        Box::pin(async move {
            self.shared.refuse_debeziums()?;
            writer::open(&self.shared).await
        })
    }

    fn partitions<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<Vec<LogPartition>>> {
        Box::pin(async move { self.shared.partitions(tables) })
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<TableName>>> {
        Box::pin(async move { block(|| self.shared.tables()) })
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<Option<Checkpoint>>> {
        Box::pin(async move { block(|| self.shared.checkpoint()) })
    }

    fn ledger(&self) -> BoxFuture<'_, Result<Vec<LedgerEntry>>> {
        Box::pin(async move { block(|| ledger::read(&self.shared)) })
    }

    fn ends<'a>(&'a self, partitions: &'a [LogPartition]) -> BoxFuture<'a, Result<Vec<PartitionEnds>>> {
        Box::pin(async move { block(|| reader::ends(&self.shared, partitions)) })
    }

    fn forget_checkpoint(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            self.shared.refuse_debeziums()?;
            writer::forget_checkpoint(&self.shared).await
        })
    }

    fn open_barriers(&self) -> BoxFuture<'_, Result<Box<dyn BarrierReader>>> {
        Box::pin(async { Ok(Box::new(KafkaBarrierReader::new(&self.shared)) as Box<dyn BarrierReader>) })
    }

    fn open_reader<'a>(&'a self, from: &'a [(LogPartition, LogStart)]) -> BoxFuture<'a, Result<Box<dyn LogReader>>> {
        Box::pin(async move {
            let keeper = TopicKeeper::new(&self.shared.settings)?;
            let topics = from.iter().map(|(partition, _)| self.shared.names.table(&partition.table)).collect();
            let refused = keeper.refuse_compacted(&topics).await;
            block(|| {
                drop(keeper);
                refused?;
                Ok(Box::new(reader::open(&self.shared, from)?) as Box<dyn LogReader>)
            })
        })
    }
}

impl Shared {
    /// A log that Debezium writes has no other writer.
    fn refuse_debeziums(&self) -> Result<()> {
        match self.settings.debezium {
            None => Ok(()),
            Some(_) => Err(Error::refused(format!("Debezium writes the log {}", self.settings.prefix))
                .hint("leave [log.debezium] out and use a prefix that Debezium does not have")),
        }
    }

    /// Two tables of one topic can't be told apart by their keys: both are refused.
    fn declare(&self, tables: &[Arc<TableSchema>]) -> Result<()> {
        let mut owners = TopicOwners::default();
        let mut declared = BTreeMap::new();
        for schema in tables {
            owners.claim(&self.names, schema.name())?;
            declared.insert(schema.name().clone(), Arc::new(TableForm::new(Arc::clone(schema))));
        }
        // Whoever declares again has the tables of the same start.
        let _ = self.declared.set(declared);
        Ok(())
    }

    async fn prepare(&self, tables: &[Arc<TableSchema>]) -> Result<()> {
        let mut owners = TopicOwners::default();
        let mut topics = Vec::with_capacity(tables.len());
        for schema in tables {
            if schema.key().is_empty() {
                return Err(Error::refused("a table without a key can't be written to Kafka")
                    .on_table(schema.name().clone())
                    .hint("add a primary key, or a unique key whose columns are NOT NULL"));
            }
            topics.push(owners.claim(&self.names, schema.name())?);
        }
        let keeper = TopicKeeper::new(&self.settings)?;
        keeper.ensure(&keeper.wanted(&self.names, topics)).await?;
        block(|| {
            drop(keeper);
            // Without what a writer that died may have left undecided, for a minute or more: opening ours decides it, and looks again.
            let book = self.schema_book(ReadTo::Committed)?;
            // Also the tables that are in the log already must not share a topic with these.
            for table in book.tables()? {
                owners.claim(&self.names, &table)?;
            }
            self.write_schemas(tables.iter().filter(|schema| !book.ids().contains(&schema.id())))
        })
    }

    /// Makes tables known before their first record. A schema is named by its content, so it does no harm that this is not
    /// the log's one writer. Blocks.
    fn write_schemas<'a>(&self, schemas: impl Iterator<Item = &'a Arc<TableSchema>>) -> Result<()> {
        let mut schemas = schemas.peekable();
        if schemas.peek().is_none() {
            return Ok(());
        }
        let mut transaction = Transaction::open(&self.clients, &self.names.preparer_id())?;
        let topic = self.names.schemas();
        for schema in schemas {
            let (key, value) = (schema.id().to_string(), schemas::schema_value(schema));
            let (key, value) = (key.as_bytes(), Some(value.as_slice()));
            transaction.send(Outgoing { topic: &topic, partition: 0, key, value, headers: None })?;
        }
        transaction.drain().and_then(|()| transaction.commit()).map_err(|error| match error.kind() {
            // Two processes prepare at once: what one wrote the other finds.
            ErrorKind::Fenced => Error::transient("another process is preparing the same log"),
            _ => error,
        })
    }

    fn partitions(&self, tables: &[TableName]) -> Result<Vec<LogPartition>> {
        let keeper = TopicKeeper::new(&self.settings)?;
        let mut partitions = Vec::new();
        for table in tables {
            let count = keeper.partition_count(&self.names.table(table))?.unwrap_or(0);
            partitions.extend((0..count).map(|index| LogPartition { table: table.clone(), index }));
        }
        block(|| drop(keeper));
        partitions.sort();
        Ok(partitions)
    }

    /// Blocks.
    fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        if self.settings.debezium.is_some() {
            TopicKeeper::new(&self.settings)?.check_answers()?;
            return Ok(None);
        }
        let topic = self.names.checkpoint();
        let keeper = TopicKeeper::new(&self.settings)?;
        keeper.check_answers()?;
        if keeper.partition_count(&topic)?.is_none() {
            return Ok(None);
        }
        let reader = SmallTopicReader::open(&self.clients)?;
        let stored = checkpoint::last_checkpoint(&topic, &reader, ReadTo::Committed)?;
        Ok(stored.and_then(|stored| stored.checkpoint))
    }

    /// Blocks.
    fn tables(&self) -> Result<Vec<TableName>> {
        if self.settings.debezium.is_some() {
            return self.declared_tables();
        }
        let topic = self.names.schemas();
        if TopicKeeper::new(&self.settings)?.partition_count(&topic)?.is_none() {
            return Ok(Vec::new());
        }
        self.schema_book(ReadTo::Committed)?.tables()
    }

    /// Those whose topic Debezium has made. Blocks.
    fn declared_tables(&self) -> Result<Vec<TableName>> {
        let keeper = TopicKeeper::new(&self.settings)?;
        keeper.check_answers()?;
        let mut tables = Vec::new();
        for table in self.declared.get().into_iter().flat_map(BTreeMap::keys) {
            if keeper.partition_count(&self.names.table(table))?.is_some() {
                tables.push(table.clone());
            }
        }
        Ok(tables)
    }

    /// Blocks.
    fn schema_book(&self, to: ReadTo) -> Result<SchemaBook> {
        let topic = self.names.schemas();
        let mut book = SchemaBook::default();
        book.refresh(&topic, &SmallTopicReader::open(&self.clients)?, to)?;
        Ok(book)
    }

    /// Keys with and without their schema are different bytes, and lie in different partitions.
    fn check_key_style(&self, stored: bool) -> Result<()> {
        if stored == self.settings.has_inline_schemas {
            return Ok(());
        }
        Err(Error::refused(format!(
            "[log] schemas is {}, but the log {} was written with {stored}",
            self.settings.has_inline_schemas, self.settings.prefix
        ))
        .hint(format!("set [log] schemas = {stored}, or use another prefix: a key's partition follows from its bytes")))
    }
}

#[cfg(test)]
pub(crate) fn settings_for_tests(prefix: &str) -> LogSettings {
    LogSettings {
        endpoint: tailrace_contract::Endpoint {
            scheme: "kafka".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 9092,
            user: String::new(),
            password: None,
            database: String::new(),
            tls: tailrace_contract::Tls { mode: tailrace_contract::TlsMode::Disabled, ..Default::default() },
        },
        more_brokers: Vec::new(),
        sasl_mechanism: None,
        prefix: prefix.to_owned(),
        partitions: 8,
        replication: 1,
        retention: tailrace_contract::Retention::Unlimited,
        is_compacted: false,
        has_inline_schemas: false,
        refuses_inexact: false,
        transaction_bytes_max: 16 << 20,
        debezium: None,
    }
}
