//! The topics of a scene: their records as a consumer of committed records sees them, their ends, their removal.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::Kafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::{Scene, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

/// Which records a consumer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Those of committed transactions.
    Committed,
    /// Those of aborted ones too.
    Uncommitted,
}

/// One record of a topic.
pub(crate) struct Record<'a> {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    message: &'a BorrowedMessage<'a>,
}

impl Record<'_> {
    /// A header's value as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.message.headers()?;
        let found = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(found.value?).ok()
    }
}

impl Scene {
    /// The topic of a table.
    pub(crate) fn topic(&self, table: &str) -> String {
        format!("{}.{}.{table}", self.prefix, self.database)
    }

    /// Calls `each` for every record of the topic that is committed now, partition by partition in their order.
    pub(crate) fn read_topic(&self, topic: &str, each: impl FnMut(&Record<'_>) -> Result<()>) -> Result<()> {
        self.read_topic_with(topic, Isolation::Committed, each)
    }

    /// The same with the choice of what is seen.
    pub(crate) fn read_topic_with(
        &self,
        topic: &str,
        isolation: Isolation,
        mut each: impl FnMut(&Record<'_>) -> Result<()>,
    ) -> Result<()> {
        let consumer = consumer(&self.servers.kafka, isolation)?;
        let ends = ends(&consumer, topic)?;
        let mut from = TopicPartitionList::new();
        for (partition, _) in ends.iter().filter(|(_, end)| *end > 0) {
            from.add_partition_offset(topic, *partition, Offset::Beginning)?;
        }
        consumer.assign(&from).context("assigning partitions")?;
        let mut open = from.count();
        while open > 0 {
            match consumer.poll(LIMIT) {
                None => bail!("{topic}: nothing came for {LIMIT:?}"),
                Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
                Some(Err(error)) => return Err(error).with_context(|| format!("reading {topic}")),
                Some(Ok(message)) => each(&Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key(),
                    value: message.payload(),
                    message: &message,
                })?,
            }
        }
        Ok(())
    }

    /// Where committed records end: (partition, offset behind the last).
    pub(crate) fn topic_ends(&self, topic: &str) -> Result<Vec<(i32, i64)>> {
        ends(&consumer(&self.servers.kafka, Isolation::Committed)?, topic)
    }

    /// Names of all topics of the scene.
    pub(crate) fn all_topics(&self) -> Result<Vec<String>> {
        let mut names = names(&self.servers.kafka, &self.prefix)?;
        names.sort();
        Ok(names)
    }

    /// Makes a topic, as somebody might who does not know what a log needs.
    pub(crate) fn make_topic(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<()> {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (key, value)| new.set(key, value));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let options = AdminOptions::new().operation_timeout(Some(LIMIT));
        let results = runtime.block_on(admin(&self.servers.kafka)?.create_topics([&new], &options))?;
        results.into_iter().try_for_each(|result| {
            result.map(drop).map_err(|(name, code)| anyhow::anyhow!("making topic {name}: {code}"))
        })
    }

    /// Deletes all topics of the scene and waits until the broker names none any more.
    pub(crate) fn delete_topics(&self) -> Result<()> {
        self.delete_topics_named(&self.all_topics()?)
    }

    /// The same for some of them.
    pub(crate) fn delete_topics_named(&self, topics: &[String]) -> Result<()> {
        for topic in topics {
            delete(&self.servers.kafka, topic)?;
        }
        wait_until("deleted topics are gone", LIMIT, || {
            Ok(self.all_topics()?.iter().all(|name| !topics.contains(name)))
        })
    }

    /// Names of the scene's topics that hold tables.
    pub(crate) fn table_topics(&self) -> Result<Vec<String>> {
        names(&self.servers.kafka, &format!("{}.{}.", self.prefix, self.database))
    }
}

fn consumer(kafka: &Kafka, isolation: Isolation) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address()?).set("group.id", "e2e").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", "true");
    config.set(
        "isolation.level",
        match isolation {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        },
    );
    // The end of a partition is told by an answer without records, which the broker would hold back for half a second.
    config.set("fetch.wait.max.ms", "10");
    config.create().context("making a consumer")
}

fn ends(consumer: &BaseConsumer, topic: &str) -> Result<Vec<(i32, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT).with_context(|| format!("asking for {topic}"))?;
    let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
    ensure!(!partitions.is_empty(), "there is no topic {topic}");
    let end = |id| Ok((id, consumer.fetch_watermarks(topic, id, LIMIT)?.1));
    partitions.iter().map(|partition| end(partition.id())).collect()
}

/// Names that begin so.
fn names(kafka: &Kafka, prefix: &str) -> Result<Vec<String>> {
    let metadata = admin(kafka)?.inner().fetch_metadata(None, LIMIT).context("asking Kafka for its topics")?;
    let names = metadata.topics().iter().map(|topic| topic.name().to_owned());
    Ok(names.filter(|name| name.starts_with(prefix)).collect())
}

/// Deletes every topic whose name begins so.
pub(super) fn delete(kafka: &Kafka, prefix: &str) -> Result<()> {
    ensure!(prefix.starts_with("e2e-"), "only topics of these tests are deleted");
    let names = names(kafka, prefix)?;
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(LIMIT));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(admin(kafka)?.delete_topics(&names, &options)).context("deleting topics")?;
    for result in results {
        result.map_err(|(name, code)| anyhow::anyhow!("deleting topic {name}: {code}"))?;
    }
    Ok(())
}

fn admin(kafka: &Kafka) -> Result<AdminClient<DefaultClientContext>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address()?);
    config.create().context("making a Kafka client")
}
