//! Readers of tables, rows to typed images, beside the plain streaming scan of the same rows: MySQL's answer to the same SELECT whose
//! packets nobody looks into, and PostgreSQL's COPY in binary form to nowhere. SQLite's is `cargo bench -p tailrace-sqlite`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::TryStreamExt as _;
use lab::TAILRACE_PASSWORD;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tailrace_contract::{
    Endpoint, ReadLimits, Rows, Secret, Sink as _, Source as _, TableFilter, TableMapping, TablePattern, TableReader,
    TargetSettings, TargetTable, Tls, TlsMode,
};
use tailrace_postgres::PostgresSink;
use tailrace_row::{Epoch, Origin, RecordBatch, TableName, TableSchema};

use crate::{
    decode,
    report::{Report, median},
    site::{NAME, Site},
};

const RUNS: usize = 3;
const LIMITS: ReadLimits = ReadLimits { rows_max: 20_000, bytes_max: 2 << 20 };

pub(crate) async fn reader(site: &Site, rows: u64, report: &mut Report) -> Result<()> {
    report.heading("reader: rows of a table → typed rows");
    let source = decode::source(site)?;
    let filter = TableFilter { patterns: vec![TablePattern::Table(TableName::new(NAME, "rows_in"))] };
    let schema = source.tables(&filter).await?.into_iter().next().context("the table's schema")?;
    let mut reader = source.open_reader(Arc::clone(&schema)).await?;
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let started = Instant::now();
        let drained = source.drain_table(Arc::clone(&schema)).await?;
        anyhow::ensure!(drained.events >= rows, "{} rows were drained", drained.events);
        plain.push(rate(drained.events, started));
        ours.push(read(&mut *reader).await?);
    }
    compare("MySQL", "raw drain of the same answer", [plain, ours], report);
    postgres(site, &schema, rows, report).await
}

async fn postgres(site: &Site, schema: &Arc<TableSchema>, rows: u64, report: &mut Report) -> Result<()> {
    let sink = PostgresSink::new(target(site)?)?;
    let target = TargetTable { schema: "public".into(), table: "read_back".into() };
    let mapping = TableMapping::new(schema.name().clone(), target);
    sink.create_table(schema, &mapping).await?;
    let mut connection = site.postgres().await?;
    let fill = format!(
        "INSERT INTO read_back SELECT i, i * 7919 % 1000003, 'customer ' || i || ' of the north', i * 1.2345, \
         '2026-01-01'::timestamp + i * '1 second'::interval, '2026-01-01'::timestamptz + i * '1 second'::interval, \
         json_build_object('k', i, 'tags', json_build_array('a', 'b'), 'note', 'short text'), \
         sha256(i::text::bytea), i / 7.0, rpad('', 60 + (i % 20)::int, 'lorem ipsum ') FROM generate_series(1, {rows}::bigint) AS i"
    );
    connection.execute(AssertSqlSafe(fill)).await?;
    connection.execute("VACUUM ANALYZE read_back").await?;
    let mut reader = sink.open_reader(Arc::clone(schema), &mapping).await?;
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        plain.push(copy(&mut connection, rows).await?);
        ours.push(read(&mut *reader).await?);
    }
    connection.close().await?;
    compare("PostgreSQL", "COPY in binary form to nowhere", [plain, ours], report);
    Ok(())
}

async fn copy(connection: &mut PgConnection, rows: u64) -> Result<f64> {
    let started = Instant::now();
    let mut answer = connection.copy_out_raw("COPY read_back TO STDOUT (FORMAT binary)").await?;
    let mut messages = 0;
    while let Some(message) = answer.try_next().await? {
        messages += u64::from(!message.is_empty());
    }
    anyhow::ensure!(messages >= rows, "{messages} messages");
    Ok(rate(rows, started))
}

async fn read(reader: &mut dyn TableReader) -> Result<f64> {
    let started = Instant::now();
    reader.read(Rows::ALL).await?;
    let (mut batch, mut rows) = (RecordBatch::new(), 0);
    loop {
        batch.clear();
        let may_have_more = reader.fill(&mut batch, &origin(), LIMITS).await?;
        rows += batch.len() as u64;
        if !may_have_more {
            return Ok(rate(rows, started));
        }
    }
}

fn compare(system: &str, by_hand: &str, [plain, ours]: [Vec<f64>; 2], report: &mut Report) {
    let (plain, ours) = (median(plain), median(ours));
    report.add(&format!("{system}, {by_hand}: rows/s"), plain, "rows/s");
    report.add(&format!("{system}, reader: rows/s"), ours, "rows/s");
    report.add(&format!("{system}, reader beside it (goal ≥ 80)"), 100.0 * ours / plain, "%");
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn rate(rows: u64, started: Instant) -> f64 {
    rows as f64 / started.elapsed().as_secs_f64()
}

fn origin() -> Origin {
    Origin {
        epoch: Epoch(0),
        transaction: 0,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "".into(),
        file_offset: 0,
        server_id: 0,
        thread: None,
    }
}

fn target(site: &Site) -> Result<TargetSettings> {
    let endpoint = Endpoint {
        scheme: "postgres".into(),
        host: "127.0.0.1".into(),
        port: site.postgres.port()?,
        user: "tailrace".into(),
        password: Some(Secret::new(TAILRACE_PASSWORD.into())),
        database: NAME.into(),
        tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
    };
    Ok(TargetSettings { endpoint, schema: "tailrace".into(), statement_timeout: Duration::from_secs(60) })
}
