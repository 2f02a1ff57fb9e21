//! Commit in the source → visible in PostgreSQL under an even load, seen from outside: a probe inserts a row and asks the target
//! for it until it is there. Through Kafka and in one process; then the memory at rest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::{
    dataset::executed,
    process::resident_mb,
    report::{Report, percentile},
    site::{NAME, Site},
};

const PORTS: [u16; 2] = [18_700, 18_701];
const WRITERS: u64 = 8;
const PROBES: usize = 400;
const WARM_UP: Duration = Duration::from_secs(30);

/// Through Kafka, at 1,000 transactions a second.
pub(crate) async fn through_kafka(site: &Site, report: &mut Report) -> Result<()> {
    const RATE: u64 = 1_000;
    report.heading(&format!("latency: commit → visible at {RATE} transactions/s"));
    let start = make_table(site, "live").await?;
    let config = site.config("live", &start, &["live"], PORTS)?;
    site.run("schema --apply", &config)?;
    let capture = site.start("capture", &config, PORTS[0])?;
    let apply = site.start("apply", &config, PORTS[1])?;
    measure(site, ("latency", "live", RATE), report).await?;
    report.add("memory: capture at rest", resident_mb(capture.pid())?, "MB");
    report.add("memory: apply at rest", resident_mb(apply.pid())?, "MB");
    Ok(())
}

/// In one process.
pub(crate) async fn embedded(site: &Site, rate: u64, report: &mut Report) -> Result<()> {
    report.heading(&format!("latency, embedded: commit → visible at {rate} transactions/s"));
    let table = format!("live_{rate}");
    let start = make_table(site, &table).await?;
    let config = site.embedded_config(&table, &start, &[&table], PORTS[0])?;
    site.run("schema --apply", &config)?;
    let process = site.start("run", &config, PORTS[0])?;
    measure(site, (&format!("embedded {rate}"), &table, rate), report).await?;
    report.add(&format!("memory: embedded {rate} at rest"), resident_mb(process.pid())?, "MB");
    Ok(())
}

/// Makes the source's table; returns the GTID set after it.
async fn make_table(site: &Site, table: &str) -> Result<String> {
    let mut mysql = site.mysql().await?;
    mysql
        .query_drop(format!("CREATE TABLE {NAME}.{table} (id BIGINT PRIMARY KEY, n INT NOT NULL, name VARCHAR(60))"))
        .await?;
    executed(site, &mut mysql).await
}

/// Loads the table at the rate and probes it; then lets all come to rest.
async fn measure(site: &Site, (what, table, rate): (&str, &str, u64), report: &mut Report) -> Result<()> {
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let load = Load { table: table.to_owned(), writer, rate };
        writers.spawn(write(site.mysql().await?, load, stopped.clone()));
    }
    // A broker that was just started compiles itself while it works: the figure is about steady work.
    let started = Instant::now();
    tokio::time::sleep(WARM_UP).await;
    let mut lags = probe(site, table).await?;
    let took = started.elapsed().as_secs_f64();
    stop.send(true)?;
    let mut written = 0.0;
    while let Some(count) = writers.join_next().await {
        written += count??;
    }
    report.add(&format!("{what}: transactions/s of the writers"), written / took, "tx/s");
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("highest", 1.0)] {
        report.add(&format!("{what}: commit → visible {name}"), percentile(&mut lags, share) * 1e3, "ms");
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    Ok(())
}

/// What one writer does.
struct Load {
    table: String,
    writer: u64,
    /// Transactions a second of all writers.
    rate: u64,
}

/// Upserts at an even pace; returns how many.
async fn write(mut mysql: mysql_async::Conn, load: Load, stopped: tokio::sync::watch::Receiver<bool>) -> Result<f64> {
    let Load { table, writer, rate } = load;
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 * WRITERS / rate));
    let mut written = 0.0;
    for number in 0_u64.. {
        pace.tick().await;
        if *stopped.borrow() {
            break;
        }
        let id = writer * 1_000_000 + number % 20_000;
        mysql
            .query_drop(format!(
                "INSERT INTO {NAME}.{table} VALUES ({id}, {number}, 'row {number}') ON DUPLICATE KEY UPDATE n = VALUES(n)"
            ))
            .await?;
        written += 1.0;
    }
    Ok(written)
}

async fn probe(site: &Site, table: &str) -> Result<Vec<f64>> {
    let mut mysql = site.mysql().await?;
    let mut postgres = sqlx::PgConnection::connect(&site.postgres.owner_url(NAME)?).await?;
    let mut lags = Vec::with_capacity(PROBES);
    let question = format!("SELECT 1 FROM {table} WHERE id = $1");
    for number in 0..PROBES {
        let id = 900_000_000 + number;
        mysql.query_drop(format!("INSERT INTO {NAME}.{table} VALUES ({id}, 0, 'probe')")).await?;
        let committed = Instant::now();
        let deadline = committed + Duration::from_secs(60);
        let id = i64::try_from(id).context("a probe's id")?;
        while sqlx::query(AssertSqlSafe(question.as_str())).bind(id).fetch_optional(&mut postgres).await?.is_none() {
            anyhow::ensure!(Instant::now() < deadline, "probe {number} did not arrive within a minute");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        lags.push(committed.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_millis(37)).await;
    }
    Ok(lags)
}
