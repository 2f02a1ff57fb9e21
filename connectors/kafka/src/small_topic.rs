//! Reading the one partition of `<prefix>.checkpoint` and `<prefix>.schemas`: committed records only.
//!
//! The one thing to know: "the end" of a partition is asked first and then reached, so that nothing that was committed
//! before the question is missed. Whoever must also see what an open transaction may still commit asks for
//! [`ReadTo::Everything`] and waits until that transaction is decided. Commit markers and aborted records take offsets too:
//! the end is reached by position, not by a last record.

use std::time::{Duration, Instant};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use tailrace_contract::{Error, Result};

use crate::{
    config::{ANSWER_TIMEOUT, ClientSettings, Isolation},
    errors,
    watch::BrokerWatch,
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

/// A consumer of one small topic. Its calls block.
pub(crate) struct SmallTopic {
    topic: String,
    clients: ClientSettings,
    consumer: BaseConsumer<BrokerWatch>,
}

impl SmallTopic {
    pub(crate) fn open(clients: &ClientSettings, topic: &str) -> Result<Self> {
        let consumer = connect(clients, Isolation::Committed)?;
        Ok(Self { topic: topic.to_owned(), clients: clients.clone(), consumer })
    }

    /// The offsets between which records may lie.
    pub(crate) fn bounds(&self, to: ReadTo) -> Result<(i64, i64)> {
        match to {
            ReadTo::Committed => self.watermarks(&self.consumer),
            ReadTo::Everything => self.watermarks(&connect(&self.clients, Isolation::Uncommitted)?),
        }
    }

    /// The committed records with offsets from `from` to before `end`, in order.
    pub(crate) fn read(&self, from: i64, end: i64) -> Result<Vec<SmallRecord>> {
        let mut records = Vec::new();
        if from >= end {
            return Ok(records);
        }
        self.assign(from)?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while self.position()? < end {
            match self.consumer.poll(POLL_INTERVAL) {
                Some(Ok(message)) if message.offset() < end => records.push(small_record(&message)),
                Some(Ok(_)) => break,
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    let error = errors::from_wait(&error, &self.doing(), self.consumer.context());
                    // Brokers that are away come back; what else is wrong stays wrong.
                    if error.kind() != tailrace_contract::ErrorKind::Transient {
                        return Err(error);
                    }
                }
            }
            if Instant::now() > deadline {
                return Err(errors::from_wait(&timed_out(), &self.doing(), self.consumer.context()).at(format!(
                    "{}[0]@{}, before {end}",
                    self.topic,
                    self.position()?
                )));
            }
        }
        Ok(records)
    }

    /// All committed records from `from` on, and where the next read begins.
    pub(crate) fn read_on(&self, from: i64, to: ReadTo) -> Result<(Vec<SmallRecord>, i64)> {
        let (low, end) = self.bounds(to)?;
        let records = self.read(from.max(low), end)?;
        Ok((records, end.max(from)))
    }

    /// The last committed record that `is_wanted`, searched from the end of everything backwards in growing steps.
    pub(crate) fn last(&self, is_wanted: impl Fn(&SmallRecord) -> bool) -> Result<Option<SmallRecord>> {
        const FIRST_STEP: i64 = 500;
        let (low, mut end) = self.bounds(ReadTo::Everything)?;
        let mut step = FIRST_STEP;
        while end > low {
            let from = (end - step).max(low);
            let found = self.read(from, end)?.into_iter().rev().find(|record| is_wanted(record));
            if found.is_some() {
                return Ok(found);
            }
            end = from;
            step *= 8;
        }
        Ok(None)
    }

    fn watermarks(&self, consumer: &BaseConsumer<BrokerWatch>) -> Result<(i64, i64)> {
        consumer.fetch_watermarks(&self.topic, 0, ANSWER_TIMEOUT).map_err(|error| {
            while consumer.poll(Duration::ZERO).is_some() {}
            errors::from_wait(&error, &self.doing(), consumer.context())
        })
    }

    fn assign(&self, from: i64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, 0, Offset::Offset(from))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| errors::from_kafka(&error, &self.doing()))
    }

    /// Behind the last record or marker that was passed; -1 before the first.
    fn position(&self) -> Result<i64> {
        let positions = self.consumer.position().map_err(|error| errors::from_kafka(&error, &self.doing()))?;
        Ok(match positions.elements().first().map(rdkafka::topic_partition_list::TopicPartitionListElem::offset) {
            Some(Offset::Offset(offset)) => offset,
            _ => -1,
        })
    }

    fn doing(&self) -> String {
        format!("reading topic {}", self.topic)
    }
}

fn connect(clients: &ClientSettings, isolation: Isolation) -> Result<BaseConsumer<BrokerWatch>> {
    BaseConsumer::from_config_and_context(&clients.looker(isolation)?, BrokerWatch::default())
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
