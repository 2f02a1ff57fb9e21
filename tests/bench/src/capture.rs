//! MySQL → Kafka by `tailrace capture`, beside a bare producer that sends the same records, encoded before, in transactions of
//! the same size.

use std::{
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lab::http::Metrics;
use rdkafka::{
    ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::{Headers as _, OwnedHeaders, OwnedMessage},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};

use crate::{
    process::{Memory, cpu_seconds},
    report::Report,
    site::{NAME, Site, until_count},
};

const PORTS: [u16; 2] = [18_700, 18_701];

/// Captures all rows; returns the prefix of the topics.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are far below 2^53"
)]
pub(crate) async fn capture(site: &Site, start: &str, rows: u64, report: &mut Report) -> Result<&'static str> {
    report.heading(&format!("capture: {} → Kafka", site.source_name()));
    let prefix = "full";
    let config = site.config(prefix, start, &["rows_in"], PORTS)?;
    site.run("schema --apply", &config)?;
    let process = site.start("capture", &config, PORTS[0])?;
    let (started, cpu) = (Instant::now(), cpu_seconds(process.pid())?);
    let mut memory = Memory::default();
    until_count(&process, committed, rows as f64, || memory.sample(process.pid())).await?;
    let took = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds(process.pid())? - cpu;
    let commits = process.metrics()?.sum("tailrace_capture_commits_total").context("commits")?;
    report.add("capture: rows/s", rows as f64 / took, "rows/s");
    report.add("capture: CPU per row", cpu / rows as f64 * 1e6, "µs");
    report.add("capture: records per log transaction", rows as f64 / commits.max(1.0), "records");
    report.add("capture: resident memory, bulk, highest", memory.max_mb(), "MB");
    drop(process);
    bare_producer(site, prefix, (rows as f64 / commits.max(1.0)) as usize, report)?;
    Ok(prefix)
}

/// Records that were written and are not waiting for their commit.
fn committed(metrics: &Metrics) -> Option<f64> {
    Some(metrics.sum("tailrace_capture_records_total")? - metrics.sum("tailrace_capture_in_flight_records")?)
}

/// Deliveries are counted and nothing else is done with them.
#[derive(Clone, Default)]
struct Delivered(Arc<AtomicU64>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn bare_producer(site: &Site, prefix: &str, transaction: usize, report: &mut Report) -> Result<()> {
    const SAMPLE: usize = 300_000;
    const ROUNDS: usize = 4;
    let records = read_records(site, &format!("{prefix}.{NAME}.rows_in"), SAMPLE)?;
    let delivered = Delivered::default();
    let producer: BaseProducer<Delivered> = ClientConfig::new()
        .set("bootstrap.servers", site.kafka.address()?)
        .set("transactional.id", "bench.bare")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "65536")
        .create_with_context(delivered.clone())?;
    producer.init_transactions(Duration::from_secs(30))?;
    let pid = std::process::id();
    let (started, cpu) = (Instant::now(), cpu_seconds(pid)?);
    for chunk in (0..ROUNDS).flat_map(|_| records.chunks(transaction.max(1))) {
        producer.begin_transaction()?;
        for record in chunk {
            send(&producer, record)?;
        }
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
        }
        producer.commit_transaction(Duration::from_secs(30))?;
    }
    let took = started.elapsed().as_secs_f64();
    let count = (records.len() * ROUNDS) as f64;
    let lost = count - delivered.0.load(Ordering::Relaxed) as f64;
    anyhow::ensure!(lost == 0.0, "the bare producer lost {lost} records");
    report.add("bare producer, same records and transactions: rows/s", count / took, "rows/s");
    report.add("bare producer: CPU per row", (cpu_seconds(pid)? - cpu) / count * 1e6, "µs");
    Ok(())
}

fn send(producer: &BaseProducer<Delivered>, message: &OwnedMessage) -> Result<()> {
    let mut record = BaseRecord::<[u8], [u8], ()>::to("bench.bare").partition(message.partition());
    record.key = message.key();
    record.payload = message.payload();
    if let Some(headers) = message.headers() {
        let copied =
            headers.iter().fold(OwnedHeaders::new_with_capacity(headers.count()), |all, header| all.insert(header));
        record = record.headers(copied);
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                producer.poll(Duration::from_millis(1));
                record = returned;
            }
            Err((error, _)) => return Err(error.into()),
        }
    }
}

/// The first records of a topic, as they lie there; also makes the topic for the bare producer.
fn read_records(site: &Site, topic: &str, count: usize) -> Result<Vec<OwnedMessage>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", site.kafka.address()?)
        .set("group.id", "bench")
        .set("isolation.level", "read_committed");
    let admin: rdkafka::admin::AdminClient<_> = config.create()?;
    let new = rdkafka::admin::NewTopic::new("bench.bare", 8, rdkafka::admin::TopicReplication::Fixed(1));
    tokio::task::block_in_place(|| {
        tokio::runtime::Handle::current().block_on(admin.create_topics([&new], &rdkafka::admin::AdminOptions::new()))
    })?;
    let consumer: BaseConsumer = config.create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..8 {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    let mut records = Vec::with_capacity(count);
    while records.len() < count {
        match consumer.poll(Duration::from_secs(10)) {
            Some(message) => records.push(message?.detach()),
            None => break,
        }
    }
    anyhow::ensure!(!records.is_empty(), "{topic} is empty");
    Ok(records)
}
