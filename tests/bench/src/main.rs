//! Benchmarks: each figure beside the limit measured in the same run, on servers of their own.
//!
//! `cargo x bench [decode] [packed] [singles] [encode] [capture] [apply] [embedded] [reader] [proof] [latency] [huge] [backfill]
//! [--source mariadb] [--rows N] [--json FILE]`; without names all of them. The source is MySQL, or `mariadb` (10.11) or `mariadb11`.

mod apply;
mod backfill;
mod capture;
mod dataset;
mod decode;
mod embedded;
mod encode;
mod huge;
mod latency;
mod process;
mod proof;
mod reader;
mod report;
mod site;
mod stores;

use anyhow::{Context, Result, bail};
use lab::Flavor;

use crate::{report::Report, site::Site, stores::Stores};

const NAMES: [&str; 12] = [
    "decode", "packed", "singles", "encode", "capture", "apply", "embedded", "reader", "proof", "latency", "huge",
    "backfill",
];
/// Those that read or write many rows.
const WITH_ROWS: [&str; 8] = ["decode", "packed", "encode", "capture", "apply", "embedded", "reader", "proof"];
const ROWS: u64 = 2_000_000;
const SINGLES: u64 = 200_000;
const HUGE_ROWS: u64 = 5_000_000;
const HISTORY_ROWS: u64 = 1_000_000;

struct Options {
    names: Vec<String>,
    source: Flavor,
    rows: Option<u64>,
    json: Option<String>,
}

fn options() -> Result<Options> {
    let mut options = Options { names: Vec::new(), source: Flavor::Mysql, rows: None, json: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rows" => {
                options.rows = Some(words.next().and_then(|rows| rows.parse().ok()).context("--rows takes a number")?);
            }
            "--source" => {
                options.source = match words.next().as_deref() {
                    Some("mysql") => Flavor::Mysql,
                    Some("mariadb") => Flavor::Mariadb,
                    Some("mariadb11") => Flavor::Mariadb11,
                    other => bail!("--source takes mysql, mariadb or mariadb11, not {other:?}"),
                }
            }
            "--json" => options.json = Some(words.next().context("--json takes a file")?),
            name if NAMES.contains(&name) => options.names.push(word),
            other => bail!("unknown benchmark {other}; known are {}", NAMES.join(", ")),
        }
    }
    if options.names.is_empty() {
        options.names = NAMES.map(str::to_owned).to_vec();
    }
    Ok(options)
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = options()?;
    let wants = |name: &str| options.names.iter().any(|wanted| wanted == name);
    let mut report = Report::default();
    let site = Site::open(options.source)?;
    site.make_databases().await?;
    if WITH_ROWS.into_iter().any(wants) {
        with_rows(&site, options.rows.unwrap_or(ROWS), wants, &mut report).await?;
    } else {
        dataset::fill(&site, 0).await?;
    }
    if wants("singles") {
        decode::singles(&site, SINGLES, &mut report).await?;
    }
    if wants("latency") {
        latency::through_kafka(&site, &mut report).await?;
        for rate in [1_000, 5_000] {
            latency::embedded(&site, rate, &mut report).await?;
        }
    }
    if wants("huge") {
        for is_compressed in [false, true] {
            huge::huge(&site, HUGE_ROWS, is_compressed, &mut report).await?;
        }
    }
    if wants("backfill") {
        backfill::backfill(&site, options.rows.unwrap_or(HISTORY_ROWS), &mut report).await?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report.json())?)?;
    }
    site.close()
}

async fn with_rows(site: &Site, rows: u64, wants: impl Fn(&str) -> bool, report: &mut Report) -> Result<()> {
    lab::say(&format!("making {rows} rows in {}", site.source_name()));
    let start = dataset::fill(site, rows).await?;
    if wants("decode") {
        decode::decode(site, &start, rows, report).await?;
    }
    if wants("packed") {
        decode::packed(site, rows, report).await?;
    }
    if wants("encode") {
        encode::encode(site, &start, rows, report).await?;
    }
    if wants("capture") || wants("apply") {
        let prefix = capture::capture(site, &start, rows, report).await?;
        if wants("apply") {
            apply::apply(site, prefix, &start, rows, report).await?;
        }
    }
    if wants("embedded") {
        embedded::embedded(site, &start, rows, report).await?;
        embedded::embedded_file(site, &start, rows, report).await?;
    }
    if wants("reader") || wants("proof") {
        let mut stores = Stores::fill(site, rows).await?;
        if wants("reader") {
            reader::reader(&mut stores, report).await?;
        }
        if wants("proof") {
            proof::proof(&mut stores, report).await?;
        }
    }
    Ok(())
}
