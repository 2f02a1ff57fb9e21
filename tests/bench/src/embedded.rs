//! Source → PostgreSQL in one process, for new and for existing keys, beside the best upsert by hand.

use std::time::Instant;

use anyhow::Result;
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
