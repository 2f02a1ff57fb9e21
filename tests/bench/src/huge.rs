//! The memory of capture and of apply while one transaction of five million rows goes through.

use anyhow::Result;

use crate::{
    dataset::fill_huge,
    process::Memory,
    report::Report,
    site::{Site, until_count},
};

const PORTS: [u16; 2] = [18_700, 18_701];

/// The transaction as it is, or compressed in the binlog.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) async fn huge(site: &Site, rows: u64, is_compressed: bool, report: &mut Report) -> Result<()> {
    let (table, how) = if is_compressed { ("huge_packed", "compressed ") } else { ("huge", "") };
    report.heading(&format!("one {how}transaction of {rows} rows"));
    let start = fill_huge(site, table, rows, is_compressed).await?;
    let config = site.config(table, &start, &[table], PORTS)?;
    site.run("schema --apply", &config)?;
    for (command, port, metric) in
        [("capture", PORTS[0], "tailrace_capture_records_total"), ("apply", PORTS[1], "tailrace_apply_upserts_total")]
    {
        let process = site.start(command, &config, port)?;
        let mut memory = Memory::default();
        until_count(&process, |metrics| metrics.sum(metric), rows as f64, || memory.sample(process.pid())).await?;
        let (first, last) = memory.thirds_mb();
        report.add(&format!("{command}, {how}transaction: resident memory, highest"), memory.max_mb(), "MB");
        report.add(&format!("{command}, {how}transaction: resident memory, highest of the first third"), first, "MB");
        report.add(&format!("{command}, {how}transaction: resident memory, highest of the last third"), last, "MB");
        // Ended by SIGTERM, so that what was read is committed before the other half reads it.
        let mut process = process;
        process.terminate()?;
        process.wait_exit(std::time::Duration::from_secs(20))?;
    }
    Ok(())
}
