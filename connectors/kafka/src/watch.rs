//! What librdkafka says outside of calls: its log lines, its errors, its statistics.
//!
//! The one thing to know: librdkafka reconnects by itself for ever and tells callers little. So the last trouble is kept
//! here, to be named when a call gives up; and for readers, which only wait, how long no fetch can have worked. Its lines
//! name brokers, topics and requests, never records.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionList,
};
use serde::Deserialize;

/// What is known of the connection to the brokers.
#[derive(Default)]
pub(crate) struct BrokerWatch {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    trouble: Option<Trouble>,
    unreachable_since: Option<Instant>,
    /// Set when the client says that it reaches no broker at all.
    has_no_broker: bool,
    /// End of each partition, by topic and partition.
    ends: HashMap<String, HashMap<i32, i64>>,
}

/// An error that librdkafka reported by itself.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) reason: String,
    noted_at: Instant,
}

/// For how long a trouble explains why a call gave up. The client repeats one that lasts every 30 s.
const TROUBLE_AGE_MAX: Duration = Duration::from_secs(60);

impl Trouble {
    fn is_recent(&self) -> bool {
        self.noted_at.elapsed() < TROUBLE_AGE_MAX
    }
}

/// Whether an error only says that something is wrong, behind one that says what.
fn is_less_telling(code: RDKafkaErrorCode, last: RDKafkaErrorCode) -> bool {
    match code {
        RDKafkaErrorCode::AllBrokersDown => true,
        // A peer that does not speak TLS may also close while hands are shaken.
        RDKafkaErrorCode::BrokerTransportFailure => last == RDKafkaErrorCode::SSL,
        _ => false,
    }
}

impl BrokerWatch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last error, if it is recent: what went wrong an hour ago explains nothing now.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.state().trouble.clone().filter(Trouble::is_recent)
    }

    /// Whether all brokers were down at once since the client was made.
    pub(crate) fn has_no_broker(&self) -> bool {
        self.state().has_no_broker
    }

    /// For how long the leaders of the fetched partitions were not all connected; asks the statistics, which come each second.
    pub(crate) fn unreachable_for(&self) -> Option<Duration> {
        self.state().unreachable_since.map(|since| since.elapsed())
    }

    /// Where the partition ends for a reader of committed records, as of the last second.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> Option<i64> {
        self.state().ends.get(topic)?.get(&partition).copied()
    }

    fn note(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        if code == RDKafkaErrorCode::PartitionEOF {
            return;
        }
        let mut state = self.state();
        state.has_no_broker |= code == RDKafkaErrorCode::AllBrokersDown;
        let last = state.trouble.as_ref().filter(|trouble| trouble.is_recent());
        if last.is_none_or(|last| !is_less_telling(code, last.code)) {
            state.trouble = Some(Trouble { code, reason: reason.to_owned(), noted_at: Instant::now() });
        }
        drop(state);
        tracing::debug!(target: "tailrace_kafka::librdkafka", ?code, reason, "librdkafka reported an error");
    }

    fn note_statistics(&self, statistics: &Statistics) {
        let leaders_up =
            statistics.topics.values().flat_map(|topic| topic.partitions.values()).filter(|p| p.is_fetched());
        let is_reachable =
            leaders_up.clone().all(|partition| statistics.brokers.values().any(|broker| broker.leads(partition)));
        let mut state = self.state();
        if is_reachable {
            state.unreachable_since = None;
            state.trouble = None;
        } else if state.unreachable_since.is_none() {
            state.unreachable_since = Some(Instant::now());
        }
        for (name, topic) in &statistics.topics {
            let ends = state.ends.entry(name.clone()).or_default();
            ends.extend(topic.partitions.values().map(|partition| (partition.partition, partition.ls_offset)));
        }
    }
}

impl ClientContext for BrokerWatch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "tailrace_kafka::librdkafka", facility, "{message}");
            }
            // The producer is told by CONFWARN that a setting of consumers is ignored; it is not.
            RDKafkaLogLevel::Warning if facility == "CONFWARN" => {}
            RDKafkaLogLevel::Warning => tracing::info!(target: "tailrace_kafka::librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::debug!(target: "tailrace_kafka::librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Debug => {}
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        match serde_json::from_slice(statistics) {
            Ok(statistics) => self.note_statistics(&statistics),
            Err(error) => tracing::warn!(%error, "librdkafka's statistics can't be read"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

impl ConsumerContext for BrokerWatch {
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets for lag tools were not taken; nothing rests on them");
        }
    }
}

/// Takes what a client says while nobody polls it: the reason why a call failed is among it.
pub(crate) fn hear(consumer: &BaseConsumer<BrokerWatch>) {
    const EVENTS_MAX: usize = 100;
    // Log lines count as nothing, so an empty poll does not mean that the queue is empty.
    for _ in 0..EVENTS_MAX {
        let _ = consumer.poll(Duration::ZERO);
    }
}

/// The few of librdkafka's statistics that are looked at.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, BrokerStatistics>,
    #[serde(default)]
    topics: HashMap<String, TopicStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    nodeid: i64,
    state: String,
}

#[derive(Deserialize)]
struct TopicStatistics {
    #[serde(default)]
    partitions: HashMap<String, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    partition: i32,
    leader: i64,
    #[serde(default)]
    desired: bool,
    #[serde(default)]
    fetch_state: String,
    ls_offset: i64,
}

impl PartitionStatistics {
    /// Whether records of it are wanted.
    fn is_fetched(&self) -> bool {
        self.partition >= 0 && self.desired && self.fetch_state != "none" && self.fetch_state != "stopped"
    }
}

impl BrokerStatistics {
    fn leads(&self, partition: &PartitionStatistics) -> bool {
        self.nodeid == partition.leader && self.nodeid >= 0 && self.state == "UP"
    }
}
