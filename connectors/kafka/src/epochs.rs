//! Which epochs the tables' topics name: what is left to tell a new epoch when the checkpoint is gone.
//!
//! The one thing to know: epochs rise in a partition, so its last records tell. All partitions are read at once from a little before
//! their ends, and those in which nothing but markers was found once more from further back. What can't be read is passed over: it is
//! apply that names it.

use std::time::{Duration, Instant};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use tailrace_contract::{ErrorKind, Result};
use tailrace_row::{Epoch, TableName};

use crate::{
    Shared,
    config::{ANSWER_TIMEOUT, Isolation},
    errors,
    record_headers::read_headers,
    topics::TopicKeeper,
    watch::{BrokerWatch, hear},
};
const DOING: &str = "reading the last records of the tables";
/// How long one poll waits for something to come.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How many offsets are looked at first in a partition, and how many times more in each further try.
const FIRST_STEP: i64 = 50;
const GROWTH: i64 = 16;

/// A partition of which no record was found yet.
struct Tail {
    topic: String,
    partition: i32,
    low: i64,
    /// What lies at and behind it was looked at.
    end: i64,
}

/// The highest epoch that the last records of the tables name. Blocks.
pub(crate) fn highest(shared: &Shared, keeper: &TopicKeeper, tables: &[TableName]) -> Result<Option<Epoch>> {
    let consumer =
        BaseConsumer::from_config_and_context(&shared.clients.looker(Isolation::Committed)?, BrokerWatch::default())
            .map_err(|error| errors::from_kafka(&error, "connecting to Kafka"))?;
    let mut tails = Vec::new();
    for table in tables {
        let topic = shared.names.table(table);
        for partition in 0..keeper.partition_count(&topic)?.unwrap_or(0) {
            let partition = i32::try_from(partition).expect("invariant: Kafka numbers partitions with 31 bits");
            tails.push(tail(&consumer, topic.clone(), partition)?);
        }
    }
    let (mut highest, mut step) = (None, FIRST_STEP);
    loop {
        tails.retain(|tail| tail.low < tail.end);
        if tails.is_empty() {
            return Ok(highest);
        }
        highest = highest.max(look(&consumer, &mut tails, step)?);
        step *= GROWTH;
    }
}

fn tail(consumer: &BaseConsumer<BrokerWatch>, topic: String, partition: i32) -> Result<Tail> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        match consumer.fetch_watermarks(&topic, partition, ANSWER_TIMEOUT) {
            Ok((low, end)) => return Ok(Tail { topic, partition, low, end }),
            Err(error) => {
                hear(consumer);
                let error = errors::from_wait(&error, DOING, consumer.context());
                // A topic that was made a moment ago has no leader yet, or is not known to every broker.
                if error.kind() != ErrorKind::Transient || Instant::now() > deadline {
                    return Err(error);
                }
                std::thread::park_timeout(POLL_INTERVAL);
            }
        }
    }
}

/// Reads so many offsets before the end of each; those in which a record was found are done.
fn look(consumer: &BaseConsumer<BrokerWatch>, tails: &mut [Tail], step: i64) -> Result<Option<Epoch>> {
    let mut list = TopicPartitionList::new();
    for tail in tails.iter() {
        let from = (tail.end - step).max(tail.low);
        list.add_partition_offset(&tail.topic, tail.partition, Offset::Offset(from))
            .map_err(|error| errors::from_kafka(&error, DOING))?;
    }
    consumer.assign(&list).map_err(|error| errors::from_kafka(&error, DOING))?;
    let (mut highest, mut found) = (None, vec![false; tails.len()]);
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    while !is_read(consumer, tails)? {
        match consumer.poll(POLL_INTERVAL) {
            Some(Ok(message)) => {
                let is_it = |tail: &Tail| tail.partition == message.partition() && tail.topic == message.topic();
                let headers = message.payload().and_then(|_| read_headers(&message).ok());
                if let (Some(place), Some(headers)) = (tails.iter().position(is_it), headers) {
                    found[place] = true;
                    highest = highest.max(Some(headers.sequence.epoch));
                }
            }
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => {
                let error = errors::from_wait(&error, DOING, consumer.context());
                if error.kind() != ErrorKind::Transient {
                    return Err(error);
                }
            }
        }
        if Instant::now() > deadline {
            // The clock and what else is known have to do; apply refuses records of an epoch that is too low.
            tracing::warn!(
                partitions = tails.len(),
                "the last records of the tables could not be read in time: the new epoch may be too low"
            );
            break;
        }
    }
    for (tail, is_found) in tails.iter_mut().zip(found) {
        tail.end = if is_found { tail.low } else { (tail.end - step).max(tail.low) };
    }
    Ok(highest)
}

/// Whether all of them were read to where they are to be read.
fn is_read(consumer: &BaseConsumer<BrokerWatch>, tails: &[Tail]) -> Result<bool> {
    let positions = consumer.position().map_err(|error| errors::from_kafka(&error, DOING))?;
    Ok(tails.iter().all(|tail| {
        let place = positions.find_partition(&tail.topic, tail.partition);
        matches!(place.map(|place| place.offset()), Some(Offset::Offset(offset)) if offset >= tail.end)
    }))
}
