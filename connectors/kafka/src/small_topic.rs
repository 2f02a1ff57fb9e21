//! Reading the one partition of a topic that belongs to the log itself (`<prefix>.checkpoint`, say): committed records only.
//!
//! The one thing to know: "the end" of a partition is asked first and then reached, so that nothing that was committed
//! before the question is missed. Whoever must also see what an open transaction may still commit asks for
//! [`ReadTo::Everything`] and waits until that transaction is decided. Commit markers and aborted records take offsets too:
//! the end is reached by position, not by a last record.

use std::time::{Duration, Instant};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::{ClientConfig, FromClientConfigAndContext},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    topic_partition_list::TopicPartitionListElem,
};
use tailrace_contract::{Error, ErrorKind, Result};

use crate::{
    config::{ANSWER_TIMEOUT, ClientSettings, Isolation},
    errors,
    watch::{BrokerWatch, hear},
};

/// How long one poll waits for something to come.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// One committed record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SmallRecord {
    pub(crate) offset: i64,
    pub(crate) key: Vec<u8>,
    /// None: the key was deleted.
    pub(crate) value: Option<Vec<u8>>,
}

/// Which end of the partition is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadTo {
    /// What is committed by now; stops before the first transaction that is still open.
    Committed,
    /// All that is written by now, waiting until it is decided which of it counts.
    Everything,
}

/// Reads one small topic: the client takes a second to change to another. Its calls block.
pub(crate) struct SmallTopicReader {
    /// Reads committed records.
    consumer: BaseConsumer<BrokerWatch>,
    /// Asks where everything ends, undecided transactions included.
    asker: BaseConsumer<BrokerWatch>,
}

impl SmallTopicReader {
    pub(crate) fn open(clients: &ClientSettings) -> Result<Self> {
        let consumer = connect(&clients.looker(Isolation::Committed)?)?;
        let mut config = clients.looker(Isolation::Uncommitted)?;
        // Without a group it only asks; a consumer with one takes a tenth of a second to close.
        config.remove("group.id");
        Ok(Self { consumer, asker: connect(&config)? })
    }

    /// The committed records from `from` on, and where the next read begins.
    pub(crate) fn read_on(&self, topic: &str, from: i64, to: ReadTo) -> Result<(Vec<SmallRecord>, i64)> {
        let (low, end) = self.bounds(topic, to)?;
        let records = self.read(topic, from.max(low), end)?;
        Ok((records, end.max(from)))
    }

    /// The last committed record that `is_wanted`, searched from the end backwards in growing steps.
    pub(crate) fn last(
        &self,
        topic: &str,
        to: ReadTo,
        is_wanted: impl Fn(&SmallRecord) -> bool,
    ) -> Result<Option<SmallRecord>> {
        const FIRST_STEP: i64 = 500;
        let (low, mut end) = self.bounds(topic, to)?;
        let mut step = FIRST_STEP;
        while end > low {
            let from = (end - step).max(low);
            let found = self.read(topic, from, end)?.into_iter().rev().find(|record| is_wanted(record));
            if found.is_some() {
                return Ok(found);
            }
            end = from;
            step *= 8;
        }
        Ok(None)
    }

    /// The offsets between which records may lie.
    fn bounds(&self, topic: &str, to: ReadTo) -> Result<(i64, i64)> {
        let asker = match to {
            ReadTo::Committed => &self.consumer,
            ReadTo::Everything => &self.asker,
        };
        asker.fetch_watermarks(topic, 0, ANSWER_TIMEOUT).map_err(|error| {
            hear(asker);
            errors::from_wait(&error, &doing(topic), asker.context())
        })
    }

    /// The committed records with offsets from `from` to before `end`, in order.
    fn read(&self, topic: &str, from: i64, end: i64) -> Result<Vec<SmallRecord>> {
        let mut records = Vec::new();
        if from >= end {
            return Ok(records);
        }
        self.assign(topic, from)?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while self.position(topic)? < end {
            match self.consumer.poll(POLL_INTERVAL) {
                Some(Ok(message)) if message.offset() < end => records.push(small_record(&message)),
                Some(Ok(_)) => break,
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => self.judge(topic, &error)?,
            }
            if Instant::now() > deadline {
                let place = format!("{topic}[0]@{}, before {end}", self.position(topic)?);
                return Err(errors::from_wait(&timed_out(), &doing(topic), self.consumer.context()).at(place));
            }
        }
        Ok(records)
    }

    /// Brokers that are away come back; what else is wrong stays wrong.
    fn judge(&self, topic: &str, error: &KafkaError) -> Result<()> {
        let error = errors::from_wait(error, &doing(topic), self.consumer.context());
        if error.kind() == ErrorKind::Transient { Ok(()) } else { Err(error) }
    }

    fn assign(&self, topic: &str, from: i64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Offset(from))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| errors::from_kafka(&error, &doing(topic)))
    }

    /// Behind the last record or marker that was passed; -1 before the first.
    fn position(&self, topic: &str) -> Result<i64> {
        let positions = self.consumer.position().map_err(|error| errors::from_kafka(&error, &doing(topic)))?;
        Ok(match positions.elements().first().map(TopicPartitionListElem::offset) {
            Some(Offset::Offset(offset)) => offset,
            _ => -1,
        })
    }
}

fn doing(topic: &str) -> String {
    format!("reading topic {topic}")
}

fn connect(config: &ClientConfig) -> Result<BaseConsumer<BrokerWatch>> {
    BaseConsumer::from_config_and_context(config, BrokerWatch::default())
        .map_err(|error| errors::from_kafka(&error, "connecting to Kafka"))
}

fn timed_out() -> KafkaError {
    KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)
}

fn small_record(message: &BorrowedMessage<'_>) -> SmallRecord {
    SmallRecord {
        offset: message.offset(),
        key: message.key().unwrap_or_default().to_vec(),
        value: message.payload().map(<[u8]>::to_vec),
    }
}

/// An error for a record that can't be understood: it names the place, never the content.
pub(crate) fn not_understood(topic: &str, record: &SmallRecord, what: &str) -> Error {
    Error::refused(format!("a record of {topic} {what}")).at(format!("{topic}[0]@{}", record.offset))
}
