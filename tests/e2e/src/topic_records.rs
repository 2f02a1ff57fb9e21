//! The committed records of topics, as any consumer reads them: from the beginning to the end, in order within a partition.
//!
//! Its own reader, with the client's defaults but for the isolation: it shares nothing with the product's.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lab::Kafka;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const LIMIT: Duration = Duration::from_secs(60);

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct TopicRecord {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl TopicRecord {
    /// Where it lies, for messages.
    pub(crate) fn place(&self) -> String {
        format!("{}[{}]@{}", self.topic, self.partition, self.offset)
    }

    /// The bytes of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }
}

/// All committed records of the topics whose names begin so.
pub(crate) fn read_topics(kafka: &Kafka, prefix: &str) -> Result<Vec<TopicRecord>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.address()?)
        .set("group.id", format!("{prefix}reader"))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .create()
        .context("making a consumer")?;
    let metadata = consumer.fetch_metadata(None, LIMIT).context("asking for the topics")?;
    let mut wanted = TopicPartitionList::new();
    for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix)) {
        for partition in topic.partitions() {
            wanted.add_partition_offset(topic.name(), partition.id(), Offset::Beginning)?;
        }
    }
    ensure!(wanted.count() > 0, "there is no topic {prefix}…");
    consumer.assign(&wanted).context("assigning partitions")?;
    let deadline = Instant::now() + LIMIT;
    let (mut records, mut ended) = (Vec::new(), 0);
    while ended < wanted.count() {
        ensure!(Instant::now() < deadline, "{ended} of {} partitions were read in {LIMIT:?}", wanted.count());
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => records.push(TopicRecord {
                topic: message.topic().to_owned(),
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                payload: message.payload().map(<[u8]>::to_vec),
                headers: headers(&message),
            }),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => bail!("reading {prefix}…: {error}"),
        }
    }
    Ok(records)
}

fn headers(message: &impl Message) -> Vec<(String, Vec<u8>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
}
