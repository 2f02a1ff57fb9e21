//! What the topics tell of a row: each change's before is the after of the change before it, in records and in the header
//! that holds what Debezium's form can't.
//!
//! Since the afters arrived in the target as MySQL prints them, this proves the befores.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::tables::Compared;
use crate::harness::Scene;
use crate::topic_records::{TopicRecord, read_topics};

/// Both forms of one row image: the envelope's field and the header's.
type Image = (String, String);

/// Checks every table's topic, and that it holds changes of each kind.
pub(super) fn check(scene: &Scene, tables: &[Compared]) -> Result<()> {
    let records = read_topics(&scene.servers.kafka, &format!("{}.{}.", scene.prefix, scene.database))?;
    let mut last: HashMap<(String, Vec<u8>), Option<Image>> = HashMap::new();
    let mut seen: HashMap<(String, char), u32> = HashMap::new();
    for record in &records {
        let place = record.place();
        let key = (record.topic.clone(), record.key.clone().with_context(|| format!("{place} has no key"))?);
        let known = last.get(&key).cloned();
        let Some(payload) = &record.payload else {
            ensure!(known == Some(None), "{place}: a tombstone that follows no delete");
            continue;
        };
        let envelope: Value = serde_json::from_slice(payload).with_context(|| format!("{place} is no JSON"))?;
        let operation = envelope["op"].as_str().and_then(|op| op.chars().next()).context("an operation")?;
        *seen.entry((record.topic.clone(), operation)).or_default() += 1;
        let (before, after) = (image(record, &envelope, "before")?, image(record, &envelope, "after")?);
        match operation {
            'c' => ensure!(before.is_none() && known.flatten().is_none(), "{place}: an insert of a row that is there"),
            'u' | 'd' => ensure!(
                before.is_some() && Some(&before) == known.as_ref(),
                "{place}: the before of a change is not the after of the one before it"
            ),
            other => anyhow::bail!("{place}: operation {other}"),
        }
        ensure!(after.is_some() == (operation != 'd'), "{place}: after and operation {operation} contradict each other");
        last.insert(key, after);
    }
    for table in tables {
        let topic = format!("{}.{}.{}", scene.prefix, scene.database, table.name);
        for operation in ['c', 'u', 'd'] {
            ensure!(seen.contains_key(&(topic.clone(), operation)), "{topic} has no change of kind {operation}");
        }
    }
    Ok(())
}

fn image(record: &TopicRecord, envelope: &Value, side: &str) -> Result<Option<Image>> {
    if envelope[side].is_null() {
        return Ok(None);
    }
    let exact = match record.header("tailrace.exact") {
        None => String::new(),
        Some(header) => {
            let header: Value = serde_json::from_slice(header).with_context(|| record.place())?;
            header.get(side).map(Value::to_string).unwrap_or_default()
        }
    };
    Ok(Some((envelope[side].to_string(), exact)))
}
