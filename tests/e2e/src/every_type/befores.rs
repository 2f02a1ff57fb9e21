//! What the topics tell of a row: each change's before is the after of the change before it, in records and in the header
//! that holds what Debezium's form can't.
//!
//! Since the afters arrived in the target as MySQL prints them, this proves the befores.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::harness::{Record, Scene};

/// Both forms of one row image: the envelope's field and the header's.
type Image = (String, String);

/// Rows by key: what the last change left, none after a delete.
type Rows = HashMap<Vec<u8>, Option<Image>>;

/// Checks a table's topic, and that it holds changes of each kind. Returns how many changes there are.
pub(super) fn check(scene: &Scene, topic: &str) -> Result<usize> {
    let mut rows = Rows::new();
    let mut operations = String::new();
    scene.read_topic(topic, |record| {
        let checked = check_record(record, &mut rows);
        operations.extend(checked.with_context(|| format!("{topic}[{}]@{}", record.partition, record.offset))?);
        Ok(())
    })?;
    for operation in ['c', 'u', 'd'] {
        ensure!(operations.contains(operation), "{topic} has no change of kind {operation}");
    }
    Ok(operations.len())
}

fn check_record(record: &Record<'_>, rows: &mut Rows) -> Result<Option<char>> {
    let key = record.key.context("a record without a key")?.to_vec();
    let known = rows.get(&key).cloned();
    let Some(value) = record.value else {
        ensure!(known == Some(None), "a tombstone that follows no delete");
        return Ok(None);
    };
    let envelope: Value = serde_json::from_slice(value).context("a value that is no JSON")?;
    let (before, after) = (image(record, &envelope, "before")?, image(record, &envelope, "after")?);
    let operation = match envelope["op"].as_str() {
        Some("c") => 'c',
        Some("u") => 'u',
        Some("d") => 'd',
        other => bail!("op is {other:?}"),
    };
    ensure!(before.is_some() == (operation != 'c'), "before and operation {operation} contradict each other");
    ensure!(after.is_some() == (operation != 'd'), "after and operation {operation} contradict each other");
    let there = known.flatten();
    ensure!(before == there, "before is {before:?}, and the after of the change before it {there:?}");
    rows.insert(key, after);
    Ok(Some(operation))
}

fn image(record: &Record<'_>, envelope: &Value, side: &str) -> Result<Option<Image>> {
    if envelope[side].is_null() {
        return Ok(None);
    }
    let exact = match record.header("tailrace.exact") {
        None => String::new(),
        Some(header) => {
            let header: Value = serde_json::from_str(header).context("the header tailrace.exact")?;
            header.get(side).map(Value::to_string).unwrap_or_default()
        }
    };
    Ok(Some((envelope[side].to_string(), exact)))
}
