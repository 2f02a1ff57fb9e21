//! `<prefix>.control`: the barriers, one record each, in the order of their numbers.
//!
//! The value is `{"format":1,"barrier":{"number":…,"change":{…},"ends":[…]}}`, in the transaction of the checkpoint behind the
//! statement; the key is the number. Nothing is ever dropped from the topic: who begins with the first record of a table needs
//! its first barrier.
//!
//! The ends are asked for without regard to transactions: a broker that has answered a commit may still be about to write the
//! markers, and until then a reader of committed records would be told an end before records that are committed.

use std::{collections::HashMap, sync::Arc};

use rdkafka::{
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
};
use serde::{Deserialize, Serialize};
use tailrace_contract::{Barrier, BarrierReader, BoxFuture, Error, LogPartition, PartitionEnd, Result};
use tailrace_row::TableName;

use crate::{
    Shared,
    blocking::block,
    checkpoint::check_format,
    config::{ANSWER_TIMEOUT, ClientSettings, Isolation},
    errors,
    small_topic::{ReadTo, SmallRecord, SmallTopicReader, not_understood},
    topics::TopicKeeper,
    watch::{BrokerWatch, hear},
};

/// The format of the values.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct BarrierValue<'a> {
    format: u32,
    barrier: std::borrow::Cow<'a, Barrier>,
}

/// The value of a barrier's record.
pub(crate) fn barrier_value(barrier: &Barrier) -> Vec<u8> {
    let value = BarrierValue { format: FORMAT, barrier: std::borrow::Cow::Borrowed(barrier) };
    serde_json::to_vec(&value).expect("invariant: plain structs have a JSON form")
}

pub(crate) fn read_barrier(topic: &str, record: &SmallRecord) -> Result<Barrier> {
    let unreadable = || {
        not_understood(topic, record, "can't be read")
            .hint("something else writes into this topic: restore it, or use another prefix")
    };
    let bytes = record.value.as_deref().ok_or_else(unreadable)?;
    check_format(topic, record, bytes)?;
    let value: BarrierValue<'_> = serde_json::from_slice(bytes).map_err(|_| unreadable())?;
    Ok(value.barrier.into_owned())
}

/// Reads the topic on and on.
pub(crate) struct KafkaBarrierReader {
    shared: Arc<Shared>,
    /// None until the topic is there.
    reader: Option<SmallTopicReader>,
    next_offset: i64,
}

impl KafkaBarrierReader {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), reader: None, next_offset: 0 }
    }

    /// Blocks.
    pub(crate) fn read_to(&mut self, to: ReadTo) -> Result<Vec<Barrier>> {
        // Debezium writes none.
        if self.shared.settings.debezium.is_some() {
            return Ok(Vec::new());
        }
        let topic = self.shared.names.control();
        let reader = match &self.reader {
            Some(reader) => reader,
            None if TopicKeeper::new(&self.shared.settings)?.partition_count(&topic)?.is_none() => {
                return Ok(Vec::new());
            }
            None => self.reader.insert(SmallTopicReader::open(&self.shared.clients)?),
        };
        let (records, next_offset) = reader.read_on(&topic, self.next_offset, to)?;
        let barriers = records.iter().map(|record| read_barrier(&topic, record)).collect::<Result<_>>()?;
        self.next_offset = next_offset;
        Ok(barriers)
    }
}

impl BarrierReader for KafkaBarrierReader {
    fn read(&mut self) -> BoxFuture<'_, Result<Vec<Barrier>>> {
        Box::pin(async { block(|| self.read_to(ReadTo::Committed)) })
    }
}

/// What a writer knows of barriers: the last one of each table, which records name it already, and who tells ends.
#[derive(Default)]
pub(crate) struct BarrierBook {
    last: u64,
    of_table: HashMap<TableName, u64>,
    /// By table and partition: the last barrier that a record of this writer named.
    named: HashMap<TableName, Vec<u64>>,
    asker: Option<BaseConsumer<BrokerWatch>>,
}

impl BarrierBook {
    /// What the log holds.
    pub(crate) fn note(&mut self, barrier: &Barrier) {
        self.last = self.last.max(barrier.number);
        for table in barrier.change.tables() {
            self.of_table.insert(table.clone(), barrier.number);
        }
    }

    /// The number that the checkpoint has of the last one: it rises also where the topic of barriers has lost some, because records
    /// and readers go by it.
    pub(crate) fn note_number(&mut self, number: u64) {
        self.last = self.last.max(number);
    }

    /// The number of the last one, 0 if there is none.
    pub(crate) fn last_number(&self) -> u64 {
        self.last
    }

    /// The number of the next one.
    pub(crate) fn next_number(&self) -> u64 {
        self.last + 1
    }

    /// What the next record of each partition of a table has to name.
    pub(crate) fn names_of(&mut self, table: &TableName, partitions: u32) -> NextNames<'_> {
        let last = self.of_table.get(table).copied().unwrap_or(0);
        let named = self.named.entry(table.clone()).or_default();
        named.resize(named.len().max(partitions as usize), 0);
        NextNames { last, named }
    }

    /// Where the partitions of the tables end. Nothing may be open. Blocks.
    pub(crate) fn ends(
        &mut self,
        clients: &ClientSettings,
        partitions: &[(String, LogPartition)],
    ) -> Result<Vec<PartitionEnd>> {
        let asker = match &self.asker {
            Some(asker) => asker,
            None => self.asker.insert(open_asker(clients)?),
        };
        let ask = |(topic, partition): &(String, LogPartition)| {
            let number = i32::try_from(partition.index).expect("invariant: Kafka numbers partitions with 31 bits");
            let (_, end) = asker.fetch_watermarks(topic, number, ANSWER_TIMEOUT).map_err(|error| {
                hear(asker);
                errors::from_wait(&error, &format!("asking where {topic}[{number}] ends"), asker.context())
            })?;
            Ok(PartitionEnd { partition: partition.clone(), end })
        };
        partitions.iter().map(ask).collect()
    }
}

fn open_asker(clients: &ClientSettings) -> Result<BaseConsumer<BrokerWatch>> {
    let mut config = clients.looker(Isolation::Uncommitted)?;
    // Without a group it only asks.
    config.remove("group.id");
    BaseConsumer::from_config_and_context(&config, BrokerWatch::default())
        .map_err(|error| errors::from_kafka(&error, "connecting to Kafka"))
}

/// The barrier that records of one table have to name, and the partitions whose records did.
pub(crate) struct NextNames<'a> {
    last: u64,
    named: &'a mut [u64],
}

impl NextNames<'_> {
    /// The barrier that the next record of the partition names, if it has to; it is taken for written.
    pub(crate) fn take(&mut self, partition: u32) -> Option<u64> {
        let named = &mut self.named[partition as usize];
        if *named >= self.last {
            return None;
        }
        *named = self.last;
        Some(self.last)
    }
}

/// The error of a writer that is asked for a barrier over records that are not committed.
pub(crate) fn over_open_records() -> Error {
    Error::corrupt("a barrier was committed over records that were not")
}

#[cfg(test)]
mod tests {
    use tailrace_contract::{ColumnStep, ErrorKind, Fill, SchemaChange, TableAct};
    use tailrace_row::{Column, ColumnType, Epoch, Sequence};

    use super::*;

    fn barrier(number: u64, table: &str) -> Barrier {
        let table = TableName::new("shop", table);
        let column = |name: &str| Column { name: name.into(), column_type: ColumnType::Double, nullable: true };
        let other = TableName::new("shop", "oth\u{e9}r");
        let steps = vec![
            ColumnStep::Add { column: column("a"), fill: Fill::Value("1.5".into()) },
            ColumnStep::Add { column: column("b"), fill: Fill::Unknown("it is random".into()) },
            ColumnStep::Add { column: column("c"), fill: Fill::Null },
            ColumnStep::Drop { column: "d".into() },
            ColumnStep::Rename { column: "e".into(), to: "f".into() },
            ColumnStep::Change { column: column("g") },
        ];
        let acts = vec![
            TableAct::Truncate { table: table.clone() },
            TableAct::Alter { table: table.clone(), steps },
            TableAct::Rename { table: table.clone(), to: other.clone() },
            TableAct::Drop { table: table.clone() },
            TableAct::Create { table: table.clone() },
            TableAct::Other { table: table.clone(), reason: "it changes the key".into(), hides_changes: true },
        ];
        let sequence = Sequence { epoch: Epoch(u32::MAX), transaction: u64::MAX, event: 0, row: 0 };
        let change = SchemaChange {
            sequence,
            place: "uuid:7".into(),
            committed_at_micros: -1,
            statement: "ALTER TABLE `\"\u{fc}'\n".into(),
            acts,
        };
        Barrier { number, change, ends: vec![PartitionEnd { partition: LogPartition { table, index: 7 }, end: 12 }] }
    }

    fn record(value: Vec<u8>) -> SmallRecord {
        SmallRecord { offset: 42, key: b"3".to_vec(), value: Some(value) }
    }

    #[test]
    fn barriers_return_and_what_is_not_understood_is_refused_by_name() {
        let written = barrier(3, "orders");
        assert_eq!(read_barrier("t", &record(barrier_value(&written))).unwrap(), written);
        for (value, words) in [
            (&br#"{"format":2}"#[..], "has format 2"),
            (br#"{"format":1}"#, "can't be read"),
            (b"garbage", "can't be read"),
            (b"", "can't be read"),
        ] {
            let error = read_barrier("p.control", &record(value.to_vec())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            let text = error.to_string();
            assert!(text.contains("p.control[0]@42") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn the_next_record_of_each_partition_names_the_last_barrier_of_its_table() {
        let mut book = BarrierBook::default();
        let orders = TableName::new("shop", "orders");
        assert_eq!(book.names_of(&orders, 2).take(0), None);
        book.note(&barrier(4, "orders"));
        book.note(&barrier(5, "items"));
        assert_eq!(book.next_number(), 6);
        book.note_number(2);
        assert_eq!(book.next_number(), 6, "what is known already never goes back");
        let mut names = book.names_of(&orders, 2);
        assert_eq!([names.take(1), names.take(1), names.take(0), names.take(0)], [Some(4), None, Some(4), None]);
        book.note(&barrier(6, "orders"));
        assert_eq!(book.names_of(&orders, 2).take(1), Some(6));
        assert_eq!(book.names_of(&TableName::new("shop", "oth\u{e9}r"), 1).take(0), Some(6), "a new name is one too");
        assert_eq!(book.names_of(&TableName::new("shop", "none"), 1).take(0), None);
    }
}
