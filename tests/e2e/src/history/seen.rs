//! What a consumer of committed records saw: every record of the scene's topics, with the place that it names.

use anyhow::{Context, Result};
use serde_json::Value;

use super::binlog::file_number;
use super::{Operation, Place, Seen};
use crate::harness::{Isolation, Record, Scene};

pub(super) fn read(scene: &Scene, isolation: Isolation) -> Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for topic in scene.table_topics()? {
        let table = topic.rsplit('.').next().unwrap_or_default();
        scene.read_topic_with(&topic, isolation, |record| {
            let parsed = parse(table, record);
            seen.push(parsed.with_context(|| format!("{topic}[{}]@{}", record.partition, record.offset))?);
            Ok(())
        })?;
    }
    Ok(seen)
}

fn parse(table: &str, record: &Record<'_>) -> Result<Seen> {
    let change = record.value.map(|value| change(value, table)).transpose()?;
    let key = record.key.context("a record without a key")?.to_vec();
    Ok(Seen { table: table.to_owned(), partition: record.partition, key, change })
}

fn change(value: &[u8], table: &str) -> Result<(Place, Operation)> {
    let value: Value = serde_json::from_slice(value).context("a value that is no JSON")?;
    let source = &value["source"];
    anyhow::ensure!(source["table"] == *table, "a record of {} in the topic of {table}", source["table"]);
    let number = |name: &str| source[name].as_u64().with_context(|| format!("source.{name} is no number"));
    let place = Place {
        file: file_number(source["file"].as_str().context("source.file is no text")?)?,
        event: number("pos")?,
        row: u32::try_from(number("row")?).context("source.row is too large")?,
    };
    let is_there = |name: &str| !value[name].is_null();
    let operation = match value["op"].as_str() {
        Some("c") if is_there("after") && !is_there("before") => Operation::Insert,
        Some("u") if is_there("after") && is_there("before") => Operation::Update,
        Some("d") if !is_there("after") && is_there("before") => Operation::Delete,
        op => anyhow::bail!("op is {op:?} with the wrong images"),
    };
    Ok((place, operation))
}
