//! Whatever is wrong is named, ends with its exit code, moves no checkpoint, and nothing behind it is applied.
//!
//! `configuration` and `refusals`: what keeps a command from starting. `source_stream`: what may come in a binlog and is not
//! supported. `lost_position`: a binlog that no longer has what comes next. `damaged_records`: what other programs may leave
//! in our topics and tables.

mod configuration;
mod damaged_records;
mod lost_position;
mod refusals;
mod source_stream;

use anyhow::{Context, Result, ensure};
use lab::process::{Finished, Tailrace};
use serde_json::Value;

pub(crate) use self::damaged_records::{Raw, produce};
use crate::harness::Scene;

/// The command must have failed with this code and these words.
fn ensure_failed(finished: &Finished, code: i32, words: &[&str]) -> Result<()> {
    ensure!(finished.code == Some(code), "exit code {:?}, not {code}: {}", finished.code, finished.stderr);
    for word in words {
        ensure!(finished.stderr.contains(word), "no word of {word:?}: {}", finished.stderr);
    }
    Ok(())
}

/// Whether apply tells of so many stopped tables. It may not serve yet.
pub(crate) fn has_stopped_tables(apply: &Tailrace, count: usize) -> bool {
    let told = apply.metrics().ok().and_then(|metrics| metrics.sum("tailrace_apply_table_failed"));
    told.is_some_and(|told| told.to_string() == count.to_string())
}

/// The position in the last committed checkpoint, as the topic holds it: the whole text, and the GTID set in it.
fn checkpoint(scene: &Scene, prefix: &str) -> Result<(String, String)> {
    let mut last = None;
    scene.read_topic(&format!("{prefix}.checkpoint"), |record| {
        if let (Some(b"capture"), Some(value)) = (record.key, record.value) {
            let value: Value = serde_json::from_slice(value).context("a checkpoint is JSON")?;
            last = value["checkpoint"]["mark"]["position"].as_str().map(str::to_owned);
        }
        Ok(())
    })?;
    let text = last.with_context(|| format!("{prefix}.checkpoint holds no position"))?;
    let gtids = text.strip_prefix("gtid:").with_context(|| format!("{text} is no GTID set"))?;
    let gtids = gtids.split_once('@').map_or(gtids, |(set, _)| set).to_owned();
    Ok((text, gtids))
}

/// Number of committed records of a topic.
fn record_count(scene: &Scene, topic: &str) -> Result<usize> {
    let mut count = 0;
    scene.read_topic(topic, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}
