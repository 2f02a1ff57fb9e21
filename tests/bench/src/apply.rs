//! Kafka → PostgreSQL by `tailrace apply`, for new and for existing keys, beside the best upsert by hand of the same rows on
//! one connection: COPY BINARY into a temporary table, then INSERT … ON CONFLICT, 50,000 rows at a time.

use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection, postgres::PgPoolCopyExt as _};

use crate::{
    process::{Memory, cpu_seconds},
    report::Report,
    site::{Site, until_count},
};

const PORTS: [u16; 2] = [18_700, 18_701];

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn apply(site: &Site, prefix: &str, start: &str, rows: u64, report: &mut Report) -> Result<()> {
    report.heading("apply: Kafka → PostgreSQL");
    let config = site.config(prefix, start, &["rows_in"], PORTS)?;
    let mut postgres = site.postgres().await?;
    for keys in ["new", "existing"] {
        postgres.execute("CHECKPOINT").await.ok();
        let process = site.start("apply", &config, PORTS[1])?;
        let (started, cpu) = (Instant::now(), cpu_seconds(process.pid())?);
        let mut memory = Memory::default();
        until_count(
            &process,
            |metrics| metrics.sum("tailrace_apply_upserts_total"),
            rows as f64,
            || memory.sample(process.pid()),
        )
        .await?;
        let took = started.elapsed().as_secs_f64();
        report.add(&format!("apply, {keys} keys: rows/s"), rows as f64 / took, "rows/s");
        report.add(
            &format!("apply, {keys} keys: CPU per row"),
            (cpu_seconds(process.pid())? - cpu) / rows as f64 * 1e6,
            "µs",
        );
        report.add(&format!("apply, {keys} keys: resident memory, bulk, highest"), memory.max_mb(), "MB");
        drop(process);
        // Set back by hand: the same records meet keys that exist.
        rewind(&mut postgres).await?;
    }
    by_hand(site, &mut postgres, report).await
}

async fn rewind(postgres: &mut PgConnection) -> Result<()> {
    postgres.execute("DELETE FROM tailrace.offsets").await.context("setting the offsets back")?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn by_hand(site: &Site, postgres: &mut PgConnection, report: &mut Report) -> Result<()> {
    const CHUNK: i64 = 50_000;
    const CHUNKS: i64 = 20;
    let pool = sqlx::PgPool::connect(&site.postgres.owner_url(crate::site::NAME)?).await?;
    let mut chunks = Vec::new();
    for number in 0..CHUNKS {
        let (low, high) = (number * CHUNK, (number + 1) * CHUNK);
        let query = format!("COPY (SELECT * FROM rows_in WHERE id > {low} AND id <= {high}) TO STDOUT (FORMAT binary)");
        let bytes: Vec<u8> = pool
            .copy_out_raw(&query)
            .await?
            .try_fold(Vec::new(), |mut all, part| async move {
                all.extend_from_slice(&part);
                Ok(all)
            })
            .await?;
        chunks.push(bytes);
    }
    postgres.execute("DROP TABLE IF EXISTS by_hand; CREATE TABLE by_hand (LIKE rows_in INCLUDING ALL)").await?;
    postgres
        .execute("DROP TABLE IF EXISTS stage; CREATE TEMP TABLE stage (LIKE rows_in) ON COMMIT DELETE ROWS")
        .await?;
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = 'rows_in'::regclass AND attnum > 0 AND attname <> 'id'",
    )
    .fetch_all(&mut *postgres)
    .await?;
    let set: Vec<String> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let upsert = format!("INSERT INTO by_hand SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET {}", set.join(", "));
    for keys in ["new", "existing"] {
        let started = Instant::now();
        for chunk in &chunks {
            postgres.execute("BEGIN").await?;
            let mut copy = postgres.copy_in_raw("COPY stage FROM STDIN (FORMAT binary)").await?;
            copy.send(chunk.as_slice()).await?;
            copy.finish().await?;
            postgres.execute(AssertSqlSafe(upsert.clone())).await?;
            postgres.execute("COMMIT").await?;
        }
        let rows = (CHUNK * CHUNKS) as f64;
        let what = format!("by hand on one connection, {keys} keys: rows/s");
        report.add(&what, rows / started.elapsed().as_secs_f64(), "rows/s");
    }
    Ok(())
}
