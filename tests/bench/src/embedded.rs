//! Source → PostgreSQL or a file of SQLite in one process, for new and for existing keys, beside the best upsert by hand.

use std::time::Instant;

use anyhow::{Context, Result};
use rusqlite::types::Value;
use sqlx::Executor as _;

use crate::{
    apply::by_hand,
    process::{Memory, cpu_seconds},
    report::Report,
    site::{Site, until_count},
};

const PORT: u16 = 18_702;

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn embedded(site: &Site, start: &str, rows: u64, report: &mut Report) -> Result<()> {
    report.heading(&format!("embedded: {} → PostgreSQL in one process", site.source_name()));
    let config = site.embedded_config("embedded", start, &["rows_in"], PORT)?;
    site.run("schema --apply", &config)?;
    let mut postgres = site.postgres().await?;
    postgres.execute("TRUNCATE rows_in").await?;
    for keys in ["new", "existing"] {
        postgres.execute("CHECKPOINT").await.ok();
        let process = site.start("run", &config, PORT)?;
        let (started, cpu) = (Instant::now(), cpu_seconds(process.pid())?);
        let mut memory = Memory::default();
        let upserts = |metrics: &lab::http::Metrics| metrics.sum("tailrace_apply_upserts_total");
        until_count(&process, upserts, rows as f64, || memory.sample(process.pid())).await?;
        let took = started.elapsed().as_secs_f64();
        report.add(&format!("embedded, {keys} keys: rows/s"), rows as f64 / took, "rows/s");
        let used = (cpu_seconds(process.pid())? - cpu) / rows as f64 * 1e6;
        report.add(&format!("embedded, {keys} keys: CPU per row"), used, "µs");
        report.add(&format!("embedded, {keys} keys: resident memory, bulk, highest"), memory.max_mb(), "MB");
        drop(process);
        // Forgotten by hand: the same rows come again and meet keys that exist.
        postgres.execute("DELETE FROM tailrace.streams").await?;
    }
    by_hand(site, &mut postgres, report).await
}

/// The same into a file.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn embedded_file(site: &Site, start: &str, rows: u64, report: &mut Report) -> Result<()> {
    const PORT: u16 = 18_704;
    report.heading(&format!("embedded: {} → SQLite in one process", site.source_name()));
    let (config, file) = site.file_config("in_file", start, "rows_in", PORT)?;
    site.run("schema --apply", &config)?;
    for keys in ["new", "existing"] {
        let process = site.start("run", &config, PORT)?;
        let (started, cpu) = (Instant::now(), cpu_seconds(process.pid())?);
        let mut memory = Memory::default();
        let upserts = |metrics: &lab::http::Metrics| metrics.sum("tailrace_apply_upserts_total");
        until_count(&process, upserts, rows as f64, || memory.sample(process.pid())).await?;
        let took = started.elapsed().as_secs_f64();
        report.add(&format!("into a file, {keys} keys: rows/s"), rows as f64 / took, "rows/s");
        let used = (cpu_seconds(process.pid())? - cpu) / rows as f64 * 1e6;
        report.add(&format!("into a file, {keys} keys: CPU per row"), used, "µs");
        report.add(&format!("into a file, {keys} keys: resident memory, bulk, highest"), memory.max_mb(), "MB");
        drop(process);
        rusqlite::Connection::open(&file)?.execute("DELETE FROM tailrace_streams", [])?;
    }
    file_by_hand(&file, report)
}

/// The rows of the file into another one: one prepared upsert, row by row, ten thousand rows a transaction.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn file_by_hand(file: &std::path::Path, report: &mut Report) -> Result<()> {
    const ROWS: u32 = 500_000;
    const IN_TRANSACTION: usize = 10_000;
    let source = rusqlite::Connection::open(file)?;
    let declared: String =
        source.query_row("SELECT sql FROM sqlite_schema WHERE name = 'rows_in'", [], |row| row.get(0))?;
    let mut select = source.prepare("SELECT * FROM rows_in LIMIT ?1")?;
    let names: Vec<String> = select.column_names().into_iter().map(|name| format!("\"{name}\"")).collect();
    let width = names.len();
    let read = select.query_map([ROWS], |row| (0..width).map(|at| row.get(at)).collect::<Result<Vec<Value>, _>>())?;
    let rows: Vec<Vec<Value>> = read.collect::<Result<_, _>>()?;
    let other = file.with_extension("by_hand.db");
    let target = rusqlite::Connection::open(&other)?;
    target.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8000")?;
    target.execute_batch(&declared)?;
    let marks: Vec<String> = (1..=width).map(|number| format!("?{number}")).collect();
    let set: Vec<String> =
        names.iter().filter(|name| *name != "\"id\"").map(|name| format!("{name} = excluded.{name}")).collect();
    let mut upsert = target.prepare(&format!(
        "INSERT INTO rows_in VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}",
        marks.join(", "),
        set.join(", ")
    ))?;
    for keys in ["new", "existing"] {
        let started = Instant::now();
        for chunk in rows.chunks(IN_TRANSACTION) {
            target.execute_batch("BEGIN IMMEDIATE")?;
            for row in chunk {
                upsert.execute(rusqlite::params_from_iter(row)).context("an upsert by hand")?;
            }
            target.execute_batch("COMMIT")?;
        }
        let rate = rows.len() as f64 / started.elapsed().as_secs_f64();
        report.add(&format!("by hand into a file, {keys} keys: rows/s"), rate, "rows/s");
    }
    Ok(())
}
