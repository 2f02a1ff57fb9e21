//! Whether everything has arrived: draining, and the comparison of all tables by what the databases print.
//!
//! Drained is decided by order, not by silence: a marker row is written last; once the target has it, every earlier change
//! is in the log; once the target's offsets stand at the ends of all topics, every change is in the target.
//! Without a log there are no topics, and the marker alone decides: one lane applies in the order of the source.

use anyhow::{Context, Result, ensure};
use lab::oracle::Comparison;

use super::{DRAIN_LIMIT, Scene, TargetKind, wait_until};

/// The table of the markers.
pub(super) const MARKERS: &str = "e2e_markers";

impl Scene {
    /// The table of the markers.
    pub(crate) const MARKERS: &str = MARKERS;

    /// Writes a marker row, whose id is returned.
    pub(crate) fn mark(&self) -> Result<i64> {
        self.source(&format!("INSERT INTO {MARKERS} () VALUES ()"))?;
        self.source_number(&format!("SELECT MAX(id) FROM {MARKERS}"))
    }

    /// Writes a marker row if there is a table for it.
    pub(super) fn mark_if_possible(&self) -> Result<()> {
        let query = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ";
        let has_table = self.source_number(&format!("{query}'{MARKERS}'"))? == 1;
        if has_table { self.source(&format!("INSERT INTO {MARKERS} () VALUES ()")) } else { Ok(()) }
    }

    /// How many markers were written: changes of the scene's history that its test did not make.
    pub(crate) fn markers(&self) -> Result<i64> {
        self.source_number(&format!("SELECT COUNT(*) FROM {MARKERS}"))
    }

    /// Waits until all that was written before has arrived. Nobody else may write; capture and apply must run.
    pub(crate) fn wait_drained(&self) -> Result<()> {
        let marker = self.mark()?;
        let query = format!("SELECT count(*) FROM {MARKERS} WHERE id = {marker}");
        wait_until("the last row written reaches the target", DRAIN_LIMIT, || Ok(self.target_number(&query)? == 1))?;
        for topic in self.table_topics()? {
            let ends = self.topic_ends(&topic)?;
            let what = format!("the target's offsets reach the ends of {topic}: {ends:?}");
            wait_until(&what, DRAIN_LIMIT, || Ok(self.unapplied(&topic, &ends)?.is_empty()))?;
        }
        Ok(())
    }

    /// A table of Tailrace's own in the target.
    pub(crate) fn own_table(&self, name: &str) -> String {
        match self.target_kind {
            TargetKind::Postgres => format!("tailrace.{name}"),
            TargetKind::Sqlite => format!("tailrace_{name}"),
        }
    }

    /// Partitions whose offset in the target lies before the end.
    fn unapplied(&self, topic: &str, ends: &[(i32, i64)]) -> Result<Vec<i32>> {
        let table = topic.rsplit('.').next().context("a topic ends with its table")?;
        let offsets = self.own_table("offsets");
        let query = format!(
            "SELECT partition, next_offset FROM {offsets} WHERE \"table\" = '{table}' AND next_offset IS NOT NULL"
        );
        let rows = self.target_rows(&query)?;
        let applied = |partition: i32| {
            let row = rows.iter().find(|row| row[0].as_deref() == Some(partition.to_string().as_str()));
            row.and_then(|row| row[1].as_deref()?.parse::<i64>().ok()).unwrap_or(0)
        };
        Ok(ends.iter().filter(|(partition, end)| applied(*partition) < *end).map(|(partition, _)| *partition).collect())
    }

    /// Tables of the scene's database, without the markers.
    pub(crate) fn tables(&self) -> Result<Vec<String>> {
        let query = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1";
        let names = self.source_rows(query)?.into_iter().filter_map(|row| row.into_iter().next().flatten());
        Ok(names.filter(|name| name != MARKERS).collect())
    }

    /// Compares every row of one table.
    pub(crate) fn compare(&self, table: &str) -> Result<Comparison> {
        self.compare_in(table, &self.database)
    }

    /// The same with a table of another schema of the target.
    pub(crate) fn compare_in(&self, table: &str, schema: &str) -> Result<Comparison> {
        self.sql.compare(&self.database, schema, table)
    }

    /// Compares every row of every table; an error names the first differences. Returns the number of rows.
    pub(crate) fn ensure_equal(&self) -> Result<u64> {
        if self.target_kind == TargetKind::Sqlite {
            let found = self.target_rows("PRAGMA integrity_check")?;
            ensure!(found == [[Some("ok".to_owned())]], "the file is damaged: {found:?}");
        }
        let mut rows = 0;
        for table in self.tables()? {
            let found = self.compare(&table)?;
            let examples: Vec<String> = found.examples.iter().take(5).map(ToString::to_string).collect();
            let count = found.differences;
            ensure!(count == 0, "{table} has {count} differences, the first: {}", examples.join(" | "));
            rows += found.source_rows;
        }
        Ok(rows)
    }
}
