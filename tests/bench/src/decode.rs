//! Binlog events → typed rows in process, beside a raw drain of the same binlog over the same connection.

use std::{sync::Arc, time::Duration, time::Instant};

use anyhow::Result;
use lab::TAILRACE_PASSWORD;
use tailrace_contract::{
    BatchEnd, BatchLimits, Checkpoint, Endpoint, Mark, Secret, Source as _, SourceSettings, StartAt, TableFilter,
    TablePattern, Tls, TlsMode,
};
use tailrace_mysql::MysqlSource;
use tailrace_row::{Epoch, RecordBatch, TableName};

use crate::{
    dataset,
    process::cpu_seconds,
    report::{Report, median},
    site::{NAME, Site},
};

const RUNS: usize = 3;

pub(crate) async fn decode(site: &Site, start: &str, rows: u64, report: &mut Report) -> Result<()> {
    report.heading("decode: binlog → typed rows");
    beside_drain(site, "decode", (start, &rows_in()), rows, report).await
}

/// Rows that lie compressed in the binlog: MySQL's transactions, MariaDB's events.
pub(crate) async fn packed(site: &Site, rows: u64, report: &mut Report) -> Result<()> {
    report.heading("decode: compressed binlog → typed rows");
    let start = dataset::fill_packed(site, rows).await?;
    beside_drain(site, "compressed", (&start, &table("packed")), rows, report).await
}

/// Transactions of one row.
pub(crate) async fn singles(site: &Site, rows: u64, report: &mut Report) -> Result<()> {
    report.heading("decode: transactions of one row");
    let start = dataset::fill_singles(site, rows).await?;
    beside_drain(site, "one-row transactions", (&start, &table("singles")), rows, report).await
}

/// Reads the rows of a table from a position on, the last ones in the binlog, with and without decoding them.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
async fn beside_drain(
    site: &Site,
    what: &str,
    (start, table): (&str, &TableFilter),
    rows: u64,
    report: &mut Report,
) -> Result<()> {
    let source = source(site)?;
    let from = start_at(&source, start).await?;
    let (mut drain, mut drain_rate) = (Vec::new(), Vec::new());
    let (mut decode, mut rate) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for _ in 0..RUNS {
        let (started, cpu) = (Instant::now(), cpu_seconds(std::process::id())?);
        bytes = source.drain(&from).await?.bytes;
        drain.push((cpu_seconds(std::process::id())? - cpu) / rows as f64 * 1e9);
        drain_rate.push(rows as f64 / started.elapsed().as_secs_f64());
        let (started, cpu) = (Instant::now(), cpu_seconds(std::process::id())?);
        read_table(&source, &from, table, rows, RecordBatch::clear).await?;
        decode.push((cpu_seconds(std::process::id())? - cpu) / rows as f64 * 1e9);
        rate.push(rows as f64 / started.elapsed().as_secs_f64());
    }
    report.add(&format!("{what}: bytes per row in the binlog"), bytes as f64 / rows as f64, "bytes");
    report.add(&format!("{what}, raw drain: CPU per row"), median(drain), "ns");
    report.add(&format!("{what}, raw drain: rows/s"), median(drain_rate), "rows/s");
    report.add(&format!("{what}: CPU per row"), median(decode), "ns");
    report.add(&format!("{what}: rows/s"), median(rate), "rows/s");
    Ok(())
}

/// The checkpoint before the rows.
pub(crate) async fn start_at(source: &MysqlSource, start: &str) -> Result<Checkpoint> {
    let position = source.position(&StartAt::At(start.to_owned())).await?;
    Ok(Checkpoint { epoch: Epoch(1), mark: Mark { position, transactions: 0 }, split: None })
}

/// Reads so many rows of the binlog, or a few more; `take` leaves an empty batch.
pub(crate) async fn read(
    source: &MysqlSource,
    from: &Checkpoint,
    rows: u64,
    take: impl FnMut(&mut RecordBatch),
) -> Result<()> {
    read_table(source, from, &rows_in(), rows, take).await
}

async fn read_table(
    source: &MysqlSource,
    from: &Checkpoint,
    table: &TableFilter,
    rows: u64,
    mut take: impl FnMut(&mut RecordBatch),
) -> Result<()> {
    let limits = BatchLimits { bytes_max: 2 << 20, records_max: 20_000, wait_max: Duration::from_secs(1) };
    let mut stream = source.open(from, Arc::new(table.clone())).await?;
    let mut batch = RecordBatch::new();
    let mut count = 0;
    while count < rows {
        let end = stream.read_batch(&mut batch, limits).await?;
        count += batch.len() as u64;
        anyhow::ensure!(!matches!(end, BatchEnd::Idle(_)), "the stream is idle after {count} of {rows} rows");
        take(&mut batch);
    }
    Ok(())
}

/// The table of the rows.
pub(crate) fn rows_in() -> TableFilter {
    table("rows_in")
}

fn table(name: &str) -> TableFilter {
    TableFilter { patterns: vec![TablePattern::Table(TableName::new(NAME, name))] }
}

pub(crate) fn source(site: &Site) -> Result<MysqlSource> {
    let endpoint = Endpoint {
        scheme: site.mysql.flavor().scheme().into(),
        host: "127.0.0.1".into(),
        port: site.mysql.port()?,
        user: "tailrace".into(),
        password: Some(Secret::new(TAILRACE_PASSWORD.into())),
        database: String::new(),
        tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
    };
    Ok(MysqlSource::new(SourceSettings {
        endpoint,
        read: None,
        server_id: 7_001,
        heartbeat: Duration::from_secs(10),
        expected_outage: Duration::from_secs(86_400),
    })?)
}
