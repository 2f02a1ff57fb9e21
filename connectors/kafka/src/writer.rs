//! The log's only writer: rows → records, in Kafka transactions that end with the checkpoint.
//!
//! Why there is one writer, and why nothing is lost or doubled:
//!
//! 1. Opening calls `init_transactions` first. From then on no older writer can commit, and what it left open is decided.
//! 2. Then our name is written to the checkpoint topic, in a transaction of its own.
//! 3. Only then is the last checkpoint read, to the very end: an older writer can't have committed after it.
//! 4. Records and the checkpoint that describes them become visible together or not at all.
//! 5. A fenced producer proves nothing: the broker fences us just the same if our own transaction took too long. So the
//!    log is asked who owns it. If it is still us, the error is transient. The other writer may be between steps 1 and 2,
//!    so the question is repeated for a while before it is believed that nobody else is there.
//!
//! Documents of the ledger are records of such a transaction like any other.
//!
//! Keys lie where murmur2 of the key's bytes says. A record that is larger than its topic takes is refused before it is
//! sent, because a batch that the broker refuses would take its neighbours along.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rdkafka::message::{Header, OwnedHeaders};
use tailrace_contract::{
    Barrier, BoxFuture, Checkpoint, Error, ErrorKind, LedgerEntry, LogPartition, LogWriter, OpenedWriter, Result,
    SchemaChange, fault,
};
use tailrace_row::{RecordBatch, SchemaId, TableSchema, murmur2_partition};

use crate::{
    Shared,
    barriers::{BarrierBook, KafkaBarrierReader, NextNames, barrier_value, over_open_records},
    blocking::block,
    checkpoint,
    config::RECORD_BYTES_MAX,
    debezium::{Encoded, Encoder, RecordForm, RecordSink, TableForm, header},
    epochs,
    ledger::ledger_value,
    schemas::schema_value,
    small_topic::{ReadTo, SmallTopicReader},
    topics::{TopicFacts, TopicKeeper, TopicOwners},
    transaction::{Outgoing, Transaction},
};

/// How long another writer may take from fencing us to writing its name.
const TAKE_OVER_TIME: Duration = Duration::from_secs(10);
/// How often the owner is asked for in that time.
const OWNER_LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Headers, lengths and the batch's own header, generously.
const RECORD_OVERHEAD_BYTES: usize = 512;

const ONE_CAPTURE: &str =
    "only one capture may run per prefix: stop one of them; this one must not be restarted by a supervisor";

/// See the module.
pub(crate) struct KafkaWriter {
    shared: Arc<Shared>,
    keeper: TopicKeeper,
    transaction: Transaction,
    /// Our name in the checkpoint topic.
    owner: String,
    encoder: Encoder,
    routes: HashMap<SchemaId, Arc<Route>>,
    topic_owners: TopicOwners,
    /// Schemas that are in the log; those of the open transaction are in `new_schemas` until it is committed.
    known_schemas: HashSet<SchemaId>,
    new_schemas: HashSet<SchemaId>,
    /// Of the ledger, to be sent with the commit.
    documents: Vec<(Box<str>, Option<Vec<u8>>)>,
    barriers: BarrierBook,
}

/// Where records of one schema go.
struct Route {
    form: RecordForm,
    topic: String,
    partitions: u32,
    record_bytes_max: usize,
}

/// Opens the writer: see the numbered steps above.
pub(crate) async fn open(shared: &Arc<Shared>) -> Result<OpenedWriter> {
    let keeper = TopicKeeper::new(&shared.settings)?;
    keeper.ensure(&keeper.wanted(&shared.names, [])).await?;
    block(|| open_blocking(shared, keeper))
}

/// Opens the writer, which fences any other, and commits that there is no checkpoint. Where there never was one nothing is
/// touched.
pub(crate) async fn forget_checkpoint(shared: &Arc<Shared>) -> Result<()> {
    let keeper = TopicKeeper::new(&shared.settings)?;
    if keeper.partition_count(&shared.names.checkpoint())?.is_none() {
        return Ok(());
    }
    block(|| {
        let transaction = Transaction::open(&shared.clients, &shared.names.writer_id())?;
        let mut writer = KafkaWriter::new(shared, keeper, transaction);
        writer.write_owner().map_err(|error| writer.judge_while_opening(error))?;
        let topic = shared.names.checkpoint();
        let reader = SmallTopicReader::open(&shared.clients)?;
        match checkpoint::last_checkpoint(&topic, &reader, ReadTo::Everything)? {
            Some(stored) if stored.checkpoint.is_some() => {
                let value = checkpoint::forgotten_value(&writer.owner, &stored);
                writer.send_small(&topic, checkpoint::CAPTURE_KEY, &value)?;
                let sent = writer.transaction.drain().and_then(|()| writer.transaction.commit());
                sent.map_err(|error| writer.judge(error))
            }
            Some(_) | None => Ok(()),
        }
    })
}

fn open_blocking(shared: &Arc<Shared>, keeper: TopicKeeper) -> Result<OpenedWriter> {
    let transaction = Transaction::open(&shared.clients, &shared.names.writer_id())?;
    let mut writer = KafkaWriter::new(shared, keeper, transaction);
    writer.write_owner().map_err(|error| writer.judge_while_opening(error))?;
    let reader = SmallTopicReader::open(&shared.clients)?;
    let stored = checkpoint::last_checkpoint(&shared.names.checkpoint(), &reader, ReadTo::Everything)?;
    if let Some(stored) = &stored {
        shared.check_key_style(stored.has_inline_schemas)?;
    }
    let book = shared.schema_book(ReadTo::Everything)?;
    writer.known_schemas = book.ids();
    let tables = book.tables()?;
    for table in &tables {
        writer.topic_owners.claim(&shared.names, table)?;
    }
    let mut epoch = stored.as_ref().and_then(|stored| stored.epoch);
    writer.barriers.note_number(stored.as_ref().map_or(0, |stored| stored.barrier));
    for barrier in KafkaBarrierReader::new(shared).read_to(ReadTo::Everything)? {
        epoch = epoch.max(Some(barrier.change.sequence.epoch));
        writer.barriers.note(&barrier);
    }
    tracing::info!(prefix = %shared.settings.prefix, owner = %writer.owner, "opened the log's writer");
    let checkpoint = stored.and_then(|stored| stored.checkpoint);
    let epoch = match checkpoint {
        Some(_) => None,
        None => epoch.max(epochs::highest(shared, &writer.keeper, &tables)?),
    };
    Ok(OpenedWriter { writer: Box::new(writer), checkpoint, epoch })
}

impl LogWriter for KafkaWriter {
    fn append<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            for schema in batch.schemas() {
                self.ensure_route(schema).await?;
            }
            block(|| self.append_blocking(batch).map_err(|error| self.judge(error)))
        })
    }

    fn append_ledger<'a>(&'a mut self, entries: &'a [LedgerEntry]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let values = entries.iter().map(ledger_value).collect::<Result<Vec<_>>>()?;
            let keys = entries.iter().map(|entry| entry.key.clone());
            self.documents.extend(keys.zip(values));
            Ok(())
        })
    }

    fn commit<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> BoxFuture<'a, Result<()>> {
        let barrier = self.barriers.last_number();
        Box::pin(async move { block(|| self.commit_blocking(checkpoint, barrier).map_err(|error| self.judge(error))) })
    }

    fn commit_barrier<'a>(
        &'a mut self,
        change: &'a SchemaChange,
        checkpoint: &'a Checkpoint,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            block(|| self.commit_barrier_blocking(change, checkpoint).map_err(|error| self.judge(error)))
        })
    }
}

impl KafkaWriter {
    fn new(shared: &Arc<Shared>, keeper: TopicKeeper, transaction: Transaction) -> Self {
        Self {
            shared: Arc::clone(shared),
            keeper,
            transaction,
            owner: uuid::Uuid::new_v4().to_string(),
            encoder: Encoder::new(shared.style.clone()),
            routes: HashMap::new(),
            topic_owners: TopicOwners::default(),
            known_schemas: HashSet::new(),
            new_schemas: HashSet::new(),
            documents: Vec::new(),
            barriers: BarrierBook::default(),
        }
    }

    fn append_blocking(&mut self, batch: &RecordBatch) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.encoder.begin_batch(now);
        let mut routes = Vec::with_capacity(batch.schemas().len());
        for schema in batch.schemas() {
            self.write_schema(schema)?;
            let route = self.routes.get(&schema.id()).expect("invariant: routes were made before");
            routes.push(Arc::clone(route));
        }
        for record in batch.records() {
            let route = &routes[record.schema as usize];
            let names = self.barriers.names_of(route.form.name(), route.partitions);
            let mut sink = RouteSink { transaction: &mut self.transaction, route, names };
            self.encoder.encode(&route.form, batch, record, &mut sink)?;
        }
        Ok(())
    }

    /// Documents are sent when all records are acknowledged: a broker that tears the transaction shows none of a record that it
    /// does not show.
    fn send_documents(&mut self) -> Result<()> {
        if self.documents.is_empty() {
            return Ok(());
        }
        self.transaction.drain()?;
        let topic = self.shared.names.ledger();
        for (key, value) in std::mem::take(&mut self.documents) {
            let (key, value) = (key.as_bytes(), value.as_deref());
            self.transaction.send(Outgoing { topic: &topic, partition: 0, key, value, headers: None })?;
        }
        Ok(())
    }

    fn commit_blocking(&mut self, checkpoint: &Checkpoint, barrier: u64) -> Result<()> {
        self.send_documents()?;
        let has_inline_schemas = self.shared.settings.has_inline_schemas;
        let value = checkpoint::capture_value(&self.owner, has_inline_schemas, checkpoint, barrier);
        self.send_small(&self.shared.names.checkpoint(), checkpoint::CAPTURE_KEY, &value)?;
        self.transaction.drain()?;
        fault::point("kafka.produced");
        self.transaction.commit()?;
        fault::point("kafka.committed");
        self.known_schemas.extend(self.new_schemas.drain());
        Ok(())
    }

    /// Everything appended is committed, and nobody else writes: so what the partitions hold now is what lies before the change.
    fn commit_barrier_blocking(&mut self, change: &SchemaChange, checkpoint: &Checkpoint) -> Result<u64> {
        if self.transaction.is_open() || !self.documents.is_empty() {
            return Err(over_open_records());
        }
        let mut partitions = Vec::new();
        for table in change.tables() {
            let topic = self.shared.names.table(table);
            let count = match self.keeper.partition_count(&topic)? {
                Some(count) => count,
                // A barrier without ends would be done before what lies before it is applied.
                None if self.topic_owners.knows(table) => {
                    return Err(Error::transient(format!("{topic} has records, and the broker does not know it now")));
                }
                None => 0,
            };
            let of_table = |index| (topic.clone(), LogPartition { table: table.clone(), index });
            partitions.extend((0..count).map(of_table));
        }
        let ends = self.barriers.ends(&self.shared.clients, &partitions)?;
        let barrier = Barrier { number: self.barriers.next_number(), change: change.clone(), ends };
        let number = barrier.number.to_string();
        self.send_small(&self.shared.names.control(), &number, &barrier_value(&barrier))?;
        // A broker that tears the transaction must not show the checkpoint behind the statement without the barrier.
        self.transaction.drain()?;
        fault::point("kafka.barrier_produced");
        self.commit_blocking(checkpoint, barrier.number)?;
        fault::point("kafka.barrier_committed");
        self.barriers.note(&barrier);
        Ok(barrier.number)
    }

    fn write_owner(&mut self) -> Result<()> {
        let value = checkpoint::owner_value(&self.owner);
        self.send_small(&self.shared.names.checkpoint(), checkpoint::OWNER_KEY, &value)?;
        self.transaction.drain()?;
        self.transaction.commit()
    }

    /// Puts the schema into the open transaction, if it is not in the log.
    fn write_schema(&mut self, schema: &TableSchema) -> Result<()> {
        let id = schema.id();
        if self.known_schemas.contains(&id) || self.new_schemas.contains(&id) {
            return Ok(());
        }
        self.send_small(&self.shared.names.schemas(), &id.to_string(), &schema_value(schema))?;
        self.new_schemas.insert(id);
        Ok(())
    }

    fn send_small(&mut self, topic: &str, key: &str, value: &[u8]) -> Result<()> {
        let key = key.as_bytes();
        self.transaction.send(Outgoing { topic, partition: 0, key, value: Some(value), headers: None })
    }

    /// Makes the table's topic if this is the first record of its schema.
    async fn ensure_route(&mut self, schema: &Arc<TableSchema>) -> Result<()> {
        if self.routes.contains_key(&schema.id()) {
            return Ok(());
        }
        let topic = self.topic_owners.claim(&self.shared.names, schema.name())?;
        let wanted = self.keeper.wanted(&self.shared.names, [topic]);
        let mut facts = self.keeper.ensure(&wanted[wanted.len() - 1..]).await?;
        let (Some(facts), Some(wanted)) = (facts.pop(), wanted.into_iter().next_back()) else {
            unreachable!("one topic was asked for");
        };
        self.add_route(schema, wanted.name, &facts);
        Ok(())
    }

    fn add_route(&mut self, schema: &Arc<TableSchema>, topic: String, facts: &TopicFacts) {
        let table = TableForm::new(Arc::clone(schema));
        let form = RecordForm::new(&self.shared.style, &topic, table, facts.is_compacted());
        let record_bytes_max = facts.record_bytes_max().min(RECORD_BYTES_MAX);
        let route = Route { form, topic, partitions: facts.partitions, record_bytes_max };
        self.routes.insert(schema.id(), Arc::new(route));
    }

    /// Step 5 above: fenced by whom?
    fn judge(&self, error: Error) -> Error {
        // In the race of being fenced brokers also answer with errors that say nothing of it.
        let is_told = error.kind() == ErrorKind::Fenced;
        if !is_told && error.kind() != ErrorKind::Refused && !self.transaction.is_doubtful() {
            return error;
        }
        match self.other_owner() {
            Ok(Some(other)) => Error::fenced(format!(
                "another capture (writer {other}) took over the log {} from us (writer {})",
                self.shared.settings.prefix, self.owner
            ))
            .hint(ONE_CAPTURE),
            Ok(None) | Err(_) if !is_told => error,
            Ok(None) => Error::transient(format!(
                "our transaction was ended by the broker, and nobody else owns the log: {}",
                error.message()
            )),
            Err(unknown) => unknown.context("finding out who owns the log"),
        }
    }

    /// Fenced within moments of taking over: our own transaction can't have been too slow.
    fn judge_while_opening(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Fenced {
            return error;
        }
        Error::fenced(format!(
            "another capture took over the log {} while we (writer {}) were taking it over",
            self.shared.settings.prefix, self.owner
        ))
        .hint(ONE_CAPTURE)
    }

    /// The name of another writer that owns the log. Our own name is believed only after a while.
    fn other_owner(&self) -> Result<Option<String>> {
        let topic = self.shared.names.checkpoint();
        let reader = SmallTopicReader::open(&self.shared.clients)?;
        let deadline = Instant::now() + TAKE_OVER_TIME;
        loop {
            let owner = checkpoint::last_owner(&topic, &reader)?;
            match owner {
                Some(owner) if owner != self.owner => return Ok(Some(owner)),
                Some(_) | None if Instant::now() > deadline => return Ok(None),
                Some(_) | None => self.transaction.idle(OWNER_LOOK_INTERVAL),
            }
        }
    }
}

/// Takes the encoder's records into the transaction.
struct RouteSink<'a> {
    transaction: &'a mut Transaction,
    route: &'a Route,
    names: NextNames<'a>,
}

impl RecordSink for RouteSink<'_> {
    fn put(&mut self, form: &RecordForm, record: Encoded<'_>) -> Result<()> {
        let partition = murmur2_partition(record.key, self.route.partitions);
        let bytes = record.key.len() + record.value.map_or(0, <[u8]>::len) + record.truths.map_or(0, <[u8]>::len);
        if bytes + RECORD_OVERHEAD_BYTES > self.route.record_bytes_max {
            return Err(self.too_large(form, &record, partition, bytes));
        }
        let barrier = if record.sequence.is_some() { self.names.take(partition) } else { None };
        let headers = headers(form, &record, barrier);
        self.transaction.send(Outgoing {
            topic: &self.route.topic,
            partition: i32::try_from(partition).expect("invariant: Kafka numbers partitions with 31 bits"),
            key: record.key,
            value: record.value,
            headers,
        })
    }
}

impl RouteSink<'_> {
    fn too_large(&self, form: &RecordForm, record: &Encoded<'_>, partition: u32, bytes: usize) -> Error {
        let limit = self.route.record_bytes_max;
        let topic = &self.route.topic;
        let what =
            format!("a record of {bytes} bytes for {topic}[{partition}] is larger than the {limit} that it may have");
        let error = Error::table_failed(form.name().clone(), what).at(record.sequence.unwrap_or("a tombstone"));
        error.hint(if limit < RECORD_BYTES_MAX {
            format!(
                "{} max.message.bytes={}",
                crate::topics::alter_command(topic),
                (bytes * 5 / 4).min(RECORD_BYTES_MAX)
            )
        } else {
            "rows of this size can't go through Kafka: leave the column out, or move the table without [log]".to_owned()
        })
    }
}

/// Our headers and Debezium's; tombstones have only the latter.
fn headers(form: &RecordForm, record: &Encoded<'_>, barrier: Option<u64>) -> Option<OwnedHeaders> {
    if record.sequence.is_none() && record.other_key.is_none() {
        return None;
    }
    let mut headers = OwnedHeaders::new_with_capacity(4);
    if let Some(sequence) = record.sequence {
        headers = headers
            .insert(Header { key: header::SEQUENCE, value: Some(sequence) })
            .insert(Header { key: header::SCHEMA, value: Some(form.schema_text()) });
    }
    if let Some(number) = barrier {
        headers = headers.insert(Header { key: header::BARRIER, value: Some(&number.to_string()) });
    }
    if let Some(truths) = record.truths {
        headers = headers.insert(Header { key: header::EXACT, value: Some(truths) });
    }
    if record.is_uncopied {
        headers = headers.insert(Header { key: header::UNCOPIED, value: Some("true") });
    }
    if let Some((name, key)) = record.other_key {
        headers = headers.insert(Header { key: name, value: Some(key) });
    }
    Some(headers)
}
