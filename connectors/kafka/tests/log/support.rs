//! A broker of the laboratory, logs with names of their own, and rows to send.

use std::{sync::Arc, time::Duration};

use lab::Kafka;
use tailrace_contract::{
    BatchLimits, Checkpoint, Endpoint, Log, LogBatch, LogPartition, LogReader, LogSettings, LogStart, Mark, Position,
    Retention, Tls, TlsMode,
};
use tailrace_kafka::KafkaLog;
use tailrace_row::{
    Charset, Column, ColumnType, Epoch, Field, Operation, Origin, Record, RecordBatch, TableName, TableSchema,
    TextForm, Value,
};

/// The broker that all tests share, but for those that kill one.
pub(crate) fn broker() -> Kafka {
    Kafka::up("main").expect("a Kafka broker")
}

/// Settings of a new log with a prefix that no other test has.
pub(crate) fn settings(kafka: &Kafka) -> LogSettings {
    LogSettings {
        endpoint: Endpoint {
            scheme: "kafka".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: kafka.port().expect("a port"),
            user: String::new(),
            password: None,
            database: String::new(),
            tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
        },
        more_brokers: Vec::new(),
        sasl_mechanism: None,
        prefix: format!("t{}", uuid::Uuid::new_v4().simple()),
        partitions: 3,
        replication: 1,
        retention: Retention::Unlimited,
        is_compacted: false,
        has_inline_schemas: false,
        refuses_inexact: false,
        transaction_bytes_max: 16 << 20,
        debezium: None,
    }
}

pub(crate) fn log(kafka: &Kafka) -> KafkaLog {
    KafkaLog::new(settings(kafka)).expect("good settings")
}

/// `shop.<name>`: an integer key and a text.
pub(crate) fn table(name: &str) -> Arc<TableSchema> {
    let text = ColumnType::Text { form: TextForm::Large, bytes_max: u32::MAX, charset: Charset::Utf8mb4 };
    let columns = vec![
        Column { name: "id".into(), column_type: ColumnType::Integer { bits: 64, unsigned: false }, nullable: false },
        Column { name: "note".into(), column_type: text, nullable: true },
    ];
    Arc::new(TableSchema::new(TableName::new("shop", name), columns, vec![0]).expect("a schema"))
}

/// A change of a row of [`table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    Insert(i64, &'a str),
    Update(i64, &'a str, i64, &'a str),
    Delete(i64, &'a str),
}

/// A batch of one rows event.
pub(crate) fn batch(schema: &Arc<TableSchema>, transaction: u64, changes: &[Change<'_>]) -> RecordBatch {
    let mut batch = RecordBatch::new();
    let number = batch.add_schema(schema);
    let origin = batch.add_origin(Origin {
        epoch: Epoch(1),
        transaction,
        event: 0,
        committed_at_micros: 1_700_000_000_000_000,
        transaction_name: Some(format!("uuid:{transaction}").into()),
        file: "binlog.000001".into(),
        file_offset: 4 + transaction,
        server_id: 7,
        thread: Some(11),
    });
    for (index, change) in changes.iter().enumerate() {
        let (operation, before, after) = match *change {
            Change::Insert(id, note) => (Operation::Insert, None, Some((id, note))),
            Change::Update(id, note, new_id, new_note) => {
                (Operation::Update, Some((id, note)), Some((new_id, new_note)))
            }
            Change::Delete(id, note) => (Operation::Delete, Some((id, note)), None),
        };
        let mut image = |row: Option<(i64, &str)>| {
            row.map(|(id, note)| {
                batch
                    .write_image(2, |writer| {
                        writer.value(Value::Integer(id));
                        writer.value(Value::Text(note));
                        Ok::<(), ()>(())
                    })
                    .expect("an image")
            })
        };
        let (before, after) = (image(before), image(after));
        let row = 2 * u32::try_from(index).expect("few rows");
        batch.push(Record { operation, schema: number, origin, row, lane: 0, offset: 0, before, after });
    }
    batch
}

pub(crate) fn checkpoint(transactions: u64) -> Checkpoint {
    let mark = Mark { position: Position::new(&format!("uuid:1-{transactions}")), transactions };
    Checkpoint { epoch: Epoch(1), mark, split: None }
}

pub(crate) const LIMITS: BatchLimits =
    BatchLimits { bytes_max: 8 << 20, records_max: 100_000, wait_max: Duration::from_millis(500) };

/// Readers of all partitions of the tables, from the beginning.
pub(crate) async fn read_from_start(
    log: &KafkaLog,
    tables: &[&Arc<TableSchema>],
) -> (Box<dyn LogReader>, Vec<LogPartition>) {
    let names: Vec<TableName> = tables.iter().map(|table| table.name().clone()).collect();
    let partitions = log.partitions(&names).await.expect("partitions");
    let from: Vec<_> = partitions.iter().map(|partition| (partition.clone(), LogStart::Earliest)).collect();
    (log.open_reader(&from).await.expect("a reader"), partitions)
}

/// What a reader saw of one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen {
    pub(crate) lane: u32,
    pub(crate) offset: i64,
    pub(crate) operation: &'static str,
    pub(crate) sequence: String,
    pub(crate) before: Option<(i64, String)>,
    pub(crate) after: Option<(i64, String)>,
}

pub(crate) fn seen(out: &LogBatch) -> Vec<Seen> {
    let records = &out.records;
    let row = |image: Option<tailrace_row::RowImage<'_>>| {
        image.map(|image| match (image.field(0), image.field(1)) {
            (Field::Value(Value::Integer(id)), Field::Value(Value::Text(note))) => (id, note.to_owned()),
            other => panic!("not a row of this table: {other:?}"),
        })
    };
    let one = |record: &Record| Seen {
        lane: record.lane,
        offset: record.offset,
        operation: match record.operation {
            Operation::Insert => "insert",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Read => "read",
        },
        sequence: records.sequence(record).to_string(),
        before: row(records.before(record)),
        after: row(records.after(record)),
    };
    records.records().iter().map(one).collect()
}

/// Reads until `count` records came, and then until nothing comes any more.
pub(crate) async fn read_all(reader: &mut dyn LogReader, count: usize) -> Vec<Seen> {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let mut all = Vec::new();
    let mut out = LogBatch::default();
    loop {
        out.clear();
        reader.read_batch(&mut out, LIMITS).await.expect("a batch");
        let came = seen(&out);
        let is_quiet = came.is_empty();
        all.extend(came);
        if is_quiet && all.len() >= count {
            return all;
        }
        assert!(std::time::Instant::now() < deadline, "{} of {count} records came", all.len());
    }
}

/// A client that is not ours.
pub(crate) mod raw {
    use std::time::{Duration, Instant};

    use lab::Kafka;
    use rdkafka::{
        ClientConfig, Message, Offset, TopicPartitionList,
        admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
        client::DefaultClientContext,
        consumer::{BaseConsumer, Consumer},
        message::{Header, OwnedHeaders},
        producer::{BaseProducer, BaseRecord, Producer},
    };

    const TIMEOUT: Duration = Duration::from_secs(20);

    fn config(kafka: &Kafka) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.address().expect("an address")).set("group.id", "raw");
        config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        config
    }

    /// Sends one record outside of any transaction.
    pub(crate) fn send(
        kafka: &Kafka,
        topic: &str,
        partition: i32,
        key: &str,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) {
        let producer: BaseProducer = config(kafka).create().expect("a producer");
        let mut owned = OwnedHeaders::new();
        for (key, value) in headers {
            owned = owned.insert(Header { key, value: Some(*value) });
        }
        let record = BaseRecord::to(topic).partition(partition).key(key).headers(owned);
        let record = BaseRecord { payload: value, ..record };
        producer.send(record).map_err(|(error, _)| error).expect("sent");
        producer.flush(TIMEOUT).expect("acknowledged");
    }

    /// Sends the same record many times.
    pub(crate) fn send_often(kafka: &Kafka, topic: &str, key: &str, value: &[u8], count: usize) {
        let producer: BaseProducer = config(kafka).create().expect("a producer");
        for _ in 0..count {
            let record = BaseRecord::to(topic).partition(0).key(key).payload(value);
            producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        producer.flush(TIMEOUT).expect("acknowledged");
    }

    /// Sends records in a transaction that is aborted when they have reached the broker.
    pub(crate) fn send_aborted(kafka: &Kafka, topic: &str, count: usize) {
        let id = format!("{topic}.aborted");
        let producer: BaseProducer = config(kafka).set("transactional.id", id).create().expect("a producer");
        producer.init_transactions(TIMEOUT).expect("a producer's id");
        producer.begin_transaction().expect("begun");
        for _ in 0..count {
            let record = BaseRecord::to(topic).partition(0).key("lost").payload("lost");
            producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        producer.flush(TIMEOUT).expect("acknowledged");
        producer.abort_transaction(TIMEOUT).expect("aborted");
    }

    /// Becomes the producer of a transactional id, and does nothing with it.
    pub(crate) fn fence(kafka: &Kafka, transactional_id: &str) {
        let producer: BaseProducer =
            config(kafka).set("transactional.id", transactional_id).create().expect("a producer");
        producer.init_transactions(TIMEOUT).expect("fenced");
    }

    /// A committed record.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Record {
        pub(crate) offset: i64,
        pub(crate) key: Option<String>,
        pub(crate) value: Option<String>,
    }

    /// All committed records of a partition.
    pub(crate) fn read(kafka: &Kafka, topic: &str, partition: i32) -> Vec<Record> {
        let consumer: BaseConsumer = config(kafka).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
        consumer.assign(&list).expect("assigned");
        let deadline = Instant::now() + TIMEOUT;
        let mut records = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        loop {
            assert!(Instant::now() < deadline, "the end of {topic} does not come");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(Record {
                    offset: message.offset(),
                    key: message.key().map(text),
                    value: message.payload().map(text),
                }),
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return records,
                Some(Err(error)) => panic!("reading {topic}: {error}"),
                None => {}
            }
        }
    }

    /// Low and high watermark: with open transactions, or up to the first of them.
    pub(crate) fn watermarks(kafka: &Kafka, topic: &str, partition: i32, isolation: &str) -> (i64, i64) {
        let consumer: BaseConsumer = config(kafka).set("isolation.level", isolation).create().expect("a consumer");
        consumer.fetch_watermarks(topic, partition, TIMEOUT).expect("watermarks")
    }

    /// What a group has committed for a partition.
    pub(crate) fn group_offset(kafka: &Kafka, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = config(kafka).set("group.id", group).create().expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let committed = consumer.committed_offsets(list, TIMEOUT).expect("offsets");
        match committed.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    fn admin(kafka: &Kafka) -> AdminClient<DefaultClientContext> {
        config(kafka).create().expect("an admin client")
    }

    pub(crate) async fn create_topic(kafka: &Kafka, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let made = admin(kafka).create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
        assert!(made[0].is_ok(), "{made:?}");
    }

    pub(crate) async fn delete_topic(kafka: &Kafka, name: &str) {
        let gone = admin(kafka).delete_topics(&[name], &AdminOptions::new()).await.expect("an answer");
        assert!(gone[0].is_ok(), "{gone:?}");
    }

    /// Deletes the records before an offset, as retention does.
    pub(crate) async fn delete_records(kafka: &Kafka, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).expect("a partition");
        admin(kafka).delete_records(&list, &AdminOptions::new()).await.expect("deleted");
    }

    /// Settings of a topic.
    pub(crate) async fn topic_settings(kafka: &Kafka, topic: &str) -> std::collections::HashMap<String, String> {
        let wanted = rdkafka::admin::ResourceSpecifier::Topic(topic);
        let found = admin(kafka).describe_configs([&wanted], &AdminOptions::new()).await.expect("an answer").remove(0);
        let entries = found.expect("settings").entries;
        entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect()
    }
}
