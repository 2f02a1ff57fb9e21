//! Typed rows → Debezium JSON in process, without a broker: what the Kafka connector's encoder costs by itself, with and without
//! the schema in each record.

use anyhow::Result;
use tailrace_contract::{Endpoint, LogSettings, Retention, Tls, TlsMode};
use tailrace_kafka::KafkaLog;
use tailrace_row::RecordBatch;

use crate::{
    decode::{read, source, start_at},
    process::cpu_seconds,
    report::{Report, median},
    site::{NAME, Site},
};

const RUNS: usize = 3;
/// Rows that are held in memory and encoded again and again.
const HELD: u64 = 200_000;

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn encode(site: &Site, start: &str, rows: u64, report: &mut Report) -> Result<()> {
    report.heading("encode: typed rows → Debezium JSON");
    let source = source(site)?;
    let mut held: Vec<RecordBatch> = Vec::new();
    let from = start_at(&source, start).await?;
    read(&source, &from, rows.min(HELD), |batch| held.push(std::mem::take(batch))).await?;
    for (schemas, has_inline_schemas) in [("without schemas", false), ("with schemas", true)] {
        let log = KafkaLog::new(settings(has_inline_schemas))?;
        let (mut cost, mut size) = (Vec::new(), 0.0);
        for _ in 0..RUNS {
            let (mut records, mut bytes) = (0, 0);
            let cpu = cpu_seconds(std::process::id())?;
            while records < rows {
                for batch in &held {
                    let encoded = log.encode(batch)?;
                    records += encoded.records;
                    bytes += encoded.bytes;
                }
            }
            cost.push((cpu_seconds(std::process::id())? - cpu) / records as f64 * 1e6);
            size = bytes as f64 / records as f64;
        }
        report.add(&format!("encode {schemas}: CPU per row"), median(cost), "µs");
        report.add(&format!("encode {schemas}: key and value"), size, "bytes");
    }
    Ok(())
}

fn settings(has_inline_schemas: bool) -> LogSettings {
    let endpoint = Endpoint {
        scheme: "kafka".into(),
        host: "127.0.0.1".into(),
        port: 9092,
        user: String::new(),
        password: None,
        database: String::new(),
        tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
    };
    LogSettings {
        endpoint,
        more_brokers: Vec::new(),
        sasl_mechanism: None,
        prefix: NAME.into(),
        partitions: 8,
        replication: 1,
        retention: Retention::Unlimited,
        is_compacted: false,
        has_inline_schemas,
        refuses_inexact: false,
        transaction_bytes_max: 64 << 20,
        debezium: None,
    }
}
