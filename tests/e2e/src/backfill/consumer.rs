//! A consumer that keeps the last value of each key of a topic, as most do.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::harness::Scene;

/// What it knows when it has read the topic to its end.
#[derive(Debug, Default)]
pub(super) struct Consumer {
    /// By key; none for those that are deleted.
    last: BTreeMap<Vec<u8>, Option<Value>>,
    /// Records that came from reading the table.
    pub(super) copied: u64,
    /// Those of them whose key had had a record before.
    pub(super) copied_again: u64,
}

impl Consumer {
    /// Reads the table's topic. A row that was copied must never differ from what the consumer knew of its key: it would be an older row
    /// behind a newer, or one that was deleted.
    pub(super) fn read(scene: &Scene, table: &str) -> Result<Consumer> {
        let mut me = Consumer::default();
        scene.read_topic(&scene.topic(table), |record| {
            let key = record.key.context("a record without a key")?;
            let Some(value) = record.value else { return Ok(()) };
            let value: Value = serde_json::from_slice(value).context("a value that is no JSON")?;
            let after = Some(value["after"].clone()).filter(|after| !after.is_null());
            match value["op"].as_str() {
                Some("r") => me.take_copied(key, &after)?,
                Some("c" | "u") => ensure!(after.is_some(), "a change without a row: {value}"),
                Some("d") => ensure!(after.is_none(), "a delete with a row: {value}"),
                other => anyhow::bail!("op is {other:?}"),
            }
            me.last.insert(key.to_vec(), after);
            Ok(())
        })?;
        Ok(me)
    }

    fn take_copied(&mut self, key: &[u8], after: &Option<Value>) -> Result<()> {
        ensure!(after.is_some(), "a row that was copied is not there");
        self.copied += 1;
        if let Some(known) = self.last.get(key) {
            self.copied_again += 1;
            ensure!(known == after, "{} goes back: {after:?} comes behind {known:?}", String::from_utf8_lossy(key));
        }
        Ok(())
    }

    /// Its rows are the source's. Columns of numbers and of text.
    pub(super) fn ensure_equal(&self, scene: &Scene, table: &str, columns: &[&str]) -> Result<usize> {
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let row = |value: &Value| columns.iter().map(|column| text(&value[*column])).collect::<Vec<_>>();
        let mut mine: Vec<_> = self.last.values().flatten().map(row).collect();
        let mut theirs = scene.source_rows(&format!("SELECT {} FROM {table}", columns.join(", ")))?;
        mine.sort();
        theirs.sort();
        let different = mine.iter().zip(&theirs).find(|(mine, theirs)| mine != theirs);
        ensure!(
            mine == theirs,
            "{table}: a consumer has {} rows, the source {}; the first that differ: {different:?}",
            mine.len(),
            theirs.len()
        );
        Ok(mine.len())
    }
}
