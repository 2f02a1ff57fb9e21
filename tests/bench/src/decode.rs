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
    process::cpu_seconds,
    report::{Report, median},
    site::{NAME, Site},
};

const RUNS: usize = 3;

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn decode(site: &Site, start: &str, rows: u64, report: &mut Report) -> Result<()> {
    report.heading("decode: binlog → typed rows");
    let source = source(site)?;
    let from = start_at(&source, start).await?;
    let (mut drain, mut decode, mut rate) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let cpu = cpu_seconds(std::process::id())?;
        source.drain(&from).await?;
        drain.push((cpu_seconds(std::process::id())? - cpu) / rows as f64 * 1e9);
        let (started, cpu) = (Instant::now(), cpu_seconds(std::process::id())?);
        read(&source, &from, rows, RecordBatch::clear).await?;
        decode.push((cpu_seconds(std::process::id())? - cpu) / rows as f64 * 1e9);
        rate.push(rows as f64 / started.elapsed().as_secs_f64());
    }
    report.add("raw drain: CPU per row", median(drain), "ns");
    report.add("decode: CPU per row", median(decode), "ns");
    report.add("decode: rows/s", median(rate), "rows/s");
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
    mut take: impl FnMut(&mut RecordBatch),
) -> Result<()> {
    let limits = BatchLimits { bytes_max: 2 << 20, records_max: 20_000, wait_max: Duration::from_secs(1) };
    let mut stream = source.open(from, Arc::new(rows_in())).await?;
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
    TableFilter { patterns: vec![TablePattern::Table(TableName::new(NAME, "rows_in"))] }
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
        server_id: 7_001,
        heartbeat: Duration::from_secs(10),
        expected_outage: Duration::from_secs(86_400),
    })?)
}
