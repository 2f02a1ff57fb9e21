//! Every metric: its name, its labels, what it means. Handles are resolved once; nothing is looked up per row.
//!
//! Units are in the names. No metric carries a row value, a key or a statement.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use tailrace_contract::{PolicyUse, StreamCounts};
use tailrace_row::{RecordBatch, TableSchema};

use crate::runtime::{Facts, facts::CopyProgress};

/// All metrics of the process, and what it knows of itself beside numbers.
pub struct Metrics {
    registry: Registry,
    /// Source to log.
    pub capture: CaptureMetrics,
    /// Log to target.
    pub apply: ApplyMetrics,
    /// The tables' history.
    pub backfill: BackfillMetrics,
    /// Errors by stage and kind.
    pub errors: Family<ErrorLabels, Counter>,
    /// What is no number.
    pub facts: Facts,
}

/// A floating-point gauge.
pub type FloatGauge = Gauge<f64, std::sync::atomic::AtomicU64>;

/// Labels of [`Metrics::errors`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ErrorLabels {
    /// `capture` or `apply`.
    pub stage: &'static str,
    /// The error's kind.
    pub kind: &'static str,
}

/// Labels of what is known at times only: the metric is absent until it is set, and again after `clear`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NoLabels {}

/// A gauge that may be unknown.
pub type MaybeGauge = Family<NoLabels, Gauge>;
/// A floating-point gauge that may be unknown.
pub type MaybeFloatGauge = Family<NoLabels, FloatGauge>;

/// Label of what is counted by table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TableLabel {
    /// Database and table of the source.
    pub table: String,
}

/// Labels of what is counted by partition of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabels {
    /// Database and table of the source.
    pub table: String,
    /// Number of the partition.
    pub partition: u32,
}

/// Labels of [`ApplyMetrics::policy_uses`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PolicyLabels {
    /// Database and table of the source.
    pub table: String,
    /// The column.
    pub column: String,
    /// `null`, `sentinel` or `text`.
    pub policy: &'static str,
}

/// Labels of [`ApplyMetrics::left_out`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ColumnLabels {
    /// Database and table of the source.
    pub table: String,
    /// The column.
    pub column: String,
}

/// Label of [`BackfillMetrics::windows_voided`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// In a word.
    pub reason: &'static str,
}

/// Label of [`BackfillMetrics::tables`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// In a word.
    pub state: &'static str,
}

/// Label of [`BackfillMetrics::held`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GateLabel {
    /// What holds the copies up, in a word.
    pub gate: &'static str,
}

/// Metrics of the copies of tables.
#[derive(Default)]
pub struct BackfillMetrics {
    /// Rows read in chunks, those of chunks that came to nothing included.
    pub rows_read: Counter,
    /// Rows that are copied.
    pub rows_written: Counter,
    /// Rows that were read and not copied, because a change came in between.
    pub rows_dropped: Counter,
    /// Chunks that are done.
    pub chunks: Counter,
    /// Windows that came to nothing.
    pub windows_voided: Family<ReasonLabel, Counter>,
    /// How often a part of a table was split between readers.
    pub splits: Counter,
    /// Windows that are open.
    pub windows_open: Gauge,
    /// How long the read of a chunk took.
    pub read_seconds: TimeHistogram,
    /// How many tables are in which state.
    pub tables: Family<StateLabel, Gauge>,
    /// 1 while something holds the copies up.
    pub throttled: Gauge,
    /// 1 while it holds the copies up.
    pub held: Family<GateLabel, Gauge>,
    /// How often it began to.
    pub holds: Family<GateLabel, Counter>,
    /// Of each table: rows that need not be read again.
    pub table_rows: Family<TableLabel, Gauge>,
    /// Rows in all, by the source's statistics until they are known.
    pub table_rows_estimated: Family<TableLabel, Gauge>,
    /// Rows a second.
    pub table_rows_per_second: Family<TableLabel, FloatGauge>,
    /// Until it is done, at this rate; absent where that can't be told.
    pub table_seconds_left: Family<TableLabel, FloatGauge>,
    /// Windows that came to nothing and reads that failed, since the session began.
    pub table_retries: Family<TableLabel, Gauge>,
}

/// Metrics of capture.
#[derive(Default)]
pub struct CaptureMetrics {
    /// Records handed to the log.
    pub records: Counter,
    /// Bytes of row images handed to the log.
    pub bytes: Counter,
    /// Number of source transactions of this epoch that the committed checkpoint covers.
    pub transactions: Gauge,
    /// Statements that became barriers of the log.
    pub barriers: Counter,
    /// Transactions that the source logged compressed.
    pub compressed_transactions: Counter,
    /// Transactions in two phases whose rows came with the second.
    pub two_phase_transactions: Counter,
    /// Records that the source logged and took back.
    pub taken_back_records: Counter,
    /// Unknown events that say that they may be ignored.
    pub ignored_events: Counter,
    /// Logged statements that changed rows of tables that are not captured.
    pub foreign_statements: Counter,
    /// Commits of the log.
    pub commits: Counter,
    /// Records committed in one log transaction.
    pub commit_records: SizeHistogram,
    /// How long a commit of the log took.
    pub commit_seconds: TimeHistogram,
    /// Age of the newest committed record when it was committed.
    pub source_lag_seconds: FloatGauge,
    /// When the last commit was made, in seconds since 1970.
    pub last_commit_seconds: FloatGauge,
    /// Records read from the source and not yet committed to the log.
    pub in_flight_records: Gauge,
    /// How often capture connected again after a transient error.
    pub reconnects: Counter,
    /// Transactions that the source has executed and the checkpoint does not cover.
    pub behind_transactions: MaybeGauge,
    /// Bytes of the source's log behind the checkpoint.
    pub behind_bytes: MaybeGauge,
    /// For how long the source has held something that the checkpoint does not cover.
    pub behind_seconds: MaybeFloatGauge,
}

/// Metrics of apply.
#[derive(Default)]
pub struct ApplyMetrics {
    /// Records read from the log.
    pub records: Counter,
    /// Bytes of row images read from the log.
    pub bytes: Counter,
    /// Rows inserted or replaced in the target.
    pub upserts: Counter,
    /// Rows deleted from the target.
    pub deletes: Counter,
    /// Records that a later one of the same key in the same batch made needless.
    pub compacted: Counter,
    /// Updates that came without all columns.
    pub partial: Counter,
    /// Those of them whose rows were not there yet, because they are copied later: nothing was written of them.
    pub absent: Counter,
    /// Records dropped because their sequence was applied before: a torn log transaction delivered them twice.
    pub duplicates: Counter,
    /// Records applied although they had been applied once: progress was set back.
    pub reapplied: Counter,
    /// Transactions of the target.
    pub commits: Counter,
    /// Records in one transaction of the target.
    pub commit_records: SizeHistogram,
    /// How long a transaction of the target took.
    pub commit_seconds: TimeHistogram,
    /// Commit in the source to visible in the target, one observation per rows event.
    pub end_to_end_lag_seconds: TimeHistogram,
    /// Records read from the log and not yet durable in the target.
    pub in_flight_records: Gauge,
    /// The next offset to apply.
    pub offset: Family<PartitionLabels, Gauge>,
    /// Offsets between the applied one and the partition's end.
    pub behind: Family<PartitionLabels, Gauge>,
    /// 1 for a table that has stopped.
    pub table_failed: Family<TableLabel, Gauge>,
    /// Values of columns that the target does not have and need not have.
    pub left_out: Family<ColumnLabels, Counter>,
    /// Meetings of a table at a barrier that are done.
    pub barriers: Counter,
    /// From the first partition at a barrier to the end of the table's wait.
    pub barrier_seconds: TimeHistogram,
    /// Tables that stand at a barrier until all their partitions are there.
    pub barrier_waiting: Gauge,
    /// 1 for a table that waits for an operator at a barrier.
    pub table_paused: Family<TableLabel, Gauge>,
    /// Values that the target could not hold and that a policy let through.
    pub policy_uses: Family<PolicyLabels, Counter>,
    /// How often a worker connected again after a transient error.
    pub reconnects: Counter,
    /// For how long the log has held something that is not applied; tables that have stopped don't count.
    pub behind_seconds: MaybeFloatGauge,
}

/// A histogram of durations: 1 ms to 5 min.
#[derive(Clone)]
pub struct TimeHistogram(Histogram);

impl Default for TimeHistogram {
    fn default() -> Self {
        const BOUNDS: [f64; 19] = [
            0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 120.0,
            300.0,
        ];
        Self(Histogram::new(BOUNDS))
    }
}

impl TimeHistogram {
    /// Counts one duration in seconds.
    pub fn observe(&self, seconds: f64) {
        self.0.observe(seconds);
    }
}

/// A histogram of sizes: 1 to 1,000,000.
#[derive(Clone)]
pub struct SizeHistogram(Histogram);

impl Default for SizeHistogram {
    fn default() -> Self {
        const BOUNDS: [f64; 13] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6];
        Self(Histogram::new(BOUNDS))
    }
}

impl SizeHistogram {
    /// Counts one size.
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
    pub fn observe(&self, size: usize) {
        self.0.observe(size as f64);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tailrace");
        let (capture, apply) = (CaptureMetrics::default(), ApplyMetrics::default());
        let backfill = BackfillMetrics::default();
        let errors = Family::<ErrorLabels, Counter>::default();
        capture.register(registry.sub_registry_with_prefix("capture"));
        apply.register(registry.sub_registry_with_prefix("apply"));
        backfill.register(registry.sub_registry_with_prefix("backfill"));
        registry.register("errors", "Errors by stage and kind", errors.clone());
        let start = FloatGauge::default();
        start.set(seconds_now());
        registry.register("start_time_seconds", "When the process started, in seconds since 1970", start);
        Self { registry, capture, apply, backfill, errors, facts: Facts::default() }
    }

    /// The OpenMetrics text form.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("invariant: writing to a String can't fail");
        text
    }

    /// The older text form of Prometheus, in which a counter's help and type bear the name of its sample.
    pub fn classic_text(&self) -> String {
        let open = self.text();
        let counters: Vec<&str> =
            open.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
        let mut text = String::with_capacity(open.len());
        for line in open.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
            let comment = line.strip_prefix("# ").and_then(|line| line.split_once(' '));
            match comment.and_then(|(word, rest)| Some((word, rest.split_once(' ')?))) {
                Some((word, (name, rest))) if counters.contains(&name) => {
                    text.push_str(&format!("# {word} {name}_total {rest}"));
                }
                Some(_) | None => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }

    /// Counts what policies did in a batch that is committed.
    pub fn count_policy_uses(&self, uses: &[PolicyUse]) {
        for PolicyUse { table, column, policy, count } in uses {
            let labels = PolicyLabels { table: table.to_string(), column: column.to_string(), policy };
            self.apply.policy_uses.get_or_create(&labels).inc_by(*count);
        }
        if !uses.is_empty() {
            self.facts.note_policy_uses(uses);
        }
    }

    /// Counts what the source's stream met beside plain changes.
    pub(crate) fn count_met(&self, counts: &StreamCounts) {
        self.capture.compressed_transactions.inc_by(counts.compressed_transactions);
        self.capture.two_phase_transactions.inc_by(counts.two_phase_transactions);
        self.capture.taken_back_records.inc_by(counts.taken_back_records);
        self.capture.ignored_events.inc_by(counts.ignored_events);
        self.capture.foreign_statements.inc_by(counts.foreign_statements);
        self.facts.note_met(counts);
    }

    /// Counts the values of columns that go nowhere.
    pub(crate) fn count_left_out<'n>(
        &self,
        records: &RecordBatch,
        names: impl Fn(&TableSchema) -> Option<&'n Vec<Option<Box<str>>>>,
    ) {
        for (number, schema) in (0..).zip(records.schemas()) {
            let Some(names) = names(schema) else { continue };
            let rows = records.records().iter().filter(|record| record.schema == number && record.after.is_some());
            let count = rows.count() as u64;
            let columns = schema.columns().iter().zip(names).filter(|(_, name)| name.is_none());
            for (column, _) in columns {
                let labels = ColumnLabels { table: schema.name().to_string(), column: column.name.to_string() };
                self.apply.left_out.get_or_create(&labels).inc_by(count);
            }
        }
    }

    /// So far is the history of the tables copied.
    pub fn note_copies(&self, copies: Vec<CopyProgress>) {
        let tables = &self.backfill.tables;
        tables.clear();
        for copy in &copies {
            tables.get_or_create(&StateLabel { state: copy.state }).inc();
        }
        self.backfill.note_tables(&copies);
        self.facts.note_copies(copies);
    }

    /// This holds the copies up, by gate, and why; nothing if it is empty.
    pub fn note_held(&self, held: Vec<(&'static str, String)>) {
        let metrics = &self.backfill;
        metrics.throttled.set(i64::from(!held.is_empty()));
        let (gates, why): (Vec<_>, Vec<_>) = held.into_iter().unzip();
        for gate in self.facts.note_held(&gates, why) {
            metrics.held.get_or_create(&GateLabel { gate }).set(0);
        }
        for gate in gates {
            let label = GateLabel { gate };
            let gauge = metrics.held.get_or_create(&label);
            if gauge.set(1) == 0 {
                drop(gauge);
                metrics.holds.get_or_create(&label).inc();
            }
        }
    }

    /// Counts an error.
    pub fn count_error(&self, stage: &'static str, error: &tailrace_contract::Error) {
        self.facts.note_error(stage, error);
        self.errors.get_or_create(&ErrorLabels { stage, kind: error.kind().name() }).inc();
    }
}

impl CaptureMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("records", "Records handed to the log", self.records.clone());
        registry.register_with_unit("row", "Bytes of row images handed to the log", Unit::Bytes, self.bytes.clone());
        registry.register("transactions", "Source transactions that the checkpoint covers", self.transactions.clone());
        registry.register("barriers", "Statements that became barriers of the log", self.barriers.clone());
        self.register_met(registry);
        registry.register("commits", "Commits of the log", self.commits.clone());
        registry.register("commit_records", "Records in one log transaction", self.commit_records.0.clone());
        registry.register("commit_seconds", "How long a commit of the log took", self.commit_seconds.0.clone());
        registry.register(
            "source_lag_seconds",
            "Age of the newest record when committed",
            self.source_lag_seconds.clone(),
        );
        registry.register("last_commit_seconds", "When the log was last committed", self.last_commit_seconds.clone());
        registry.register("in_flight_records", "Records read and not yet committed", self.in_flight_records.clone());
        registry.register("reconnects", "Connections made again after a transient error", self.reconnects.clone());
        registry.register(
            "behind_transactions",
            "Transactions of the source behind the checkpoint",
            self.behind_transactions.clone(),
        );
        registry.register("behind_bytes", "Bytes of the source's log behind the checkpoint", self.behind_bytes.clone());
        registry.register(
            "behind_seconds",
            "For how long the checkpoint has been behind the source",
            self.behind_seconds.clone(),
        );
    }

    /// What is no plain transaction of changes.
    fn register_met(&self, registry: &mut Registry) {
        registry.register(
            "compressed_transactions",
            "Transactions that the source logged compressed",
            self.compressed_transactions.clone(),
        );
        registry.register(
            "two_phase_transactions",
            "Transactions in two phases whose rows came with the second",
            self.two_phase_transactions.clone(),
        );
        registry.register(
            "taken_back_records",
            "Records that the source logged and took back",
            self.taken_back_records.clone(),
        );
        registry.register("ignored_events", "Unknown events that may be ignored", self.ignored_events.clone());
        registry.register(
            "foreign_statements",
            "Logged statements that changed rows of other tables",
            self.foreign_statements.clone(),
        );
    }
}

impl BackfillMetrics {
    /// Tables that are not copied any more are told of no more.
    fn note_tables(&self, copies: &[CopyProgress]) {
        let counts = [&self.table_rows, &self.table_rows_estimated, &self.table_retries];
        counts.iter().for_each(|family| family.clear());
        [&self.table_rows_per_second, &self.table_seconds_left].iter().for_each(|family| family.clear());
        for copy in copies {
            let label = TableLabel { table: copy.table.to_string() };
            for (family, count) in counts.iter().zip([copy.rows_done, copy.rows_estimated, copy.retries]) {
                family.get_or_create(&label).set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            self.table_rows_per_second.get_or_create(&label).set(copy.rows_per_second);
            if let Some(seconds) = copy.eta_seconds {
                self.table_seconds_left.get_or_create(&label).set(seconds);
            }
        }
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("rows_read", "Rows read in chunks", self.rows_read.clone());
        registry.register("rows_written", "Rows that are copied", self.rows_written.clone());
        registry.register("rows_dropped", "Rows read that came with a change instead", self.rows_dropped.clone());
        registry.register("chunks", "Chunks that are done", self.chunks.clone());
        registry.register("windows_voided", "Windows that came to nothing", self.windows_voided.clone());
        registry.register("splits", "Parts of tables that were split between readers", self.splits.clone());
        registry.register("windows_open", "Windows that are open", self.windows_open.clone());
        registry.register("read_seconds", "How long the read of a chunk took", self.read_seconds.0.clone());
        registry.register("tables", "Tables by state of their copy", self.tables.clone());
        registry.register("throttled", "1 while something holds the copies up", self.throttled.clone());
        registry.register("held", "1 while it holds the copies up", self.held.clone());
        registry.register("holds", "How often it began to hold the copies up", self.holds.clone());
        registry.register("table_rows", "Rows of the table that need not be read again", self.table_rows.clone());
        registry.register(
            "table_rows_estimated",
            "Rows of the table, by the source's statistics until they are known",
            self.table_rows_estimated.clone(),
        );
        registry.register(
            "table_rows_per_second",
            "Rows of the table that are copied in a second",
            self.table_rows_per_second.clone(),
        );
        registry.register(
            "table_seconds_left",
            "Until the table is copied, at this rate",
            self.table_seconds_left.clone(),
        );
        registry.register("table_retries", "Reads of the table that came to nothing", self.table_retries.clone());
    }
}

impl ApplyMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register("records", "Records read from the log", self.records.clone());
        registry.register_with_unit("row", "Bytes of row images read from the log", Unit::Bytes, self.bytes.clone());
        registry.register("upserts", "Rows inserted or replaced in the target", self.upserts.clone());
        registry.register("deletes", "Rows deleted from the target", self.deletes.clone());
        registry.register("compacted", "Records that a later one in the batch made needless", self.compacted.clone());
        registry.register("partial", "Updates that came without all columns", self.partial.clone());
        registry.register("absent", "Updates without all columns of rows that are copied later", self.absent.clone());
        registry.register("duplicates", "Records dropped because they were applied before", self.duplicates.clone());
        registry.register("reapplied", "Records applied again after a rewind", self.reapplied.clone());
        registry.register("commits", "Transactions of the target", self.commits.clone());
        registry.register("commit_records", "Records in one transaction of the target", self.commit_records.0.clone());
        registry.register("commit_seconds", "How long a transaction of the target took", self.commit_seconds.0.clone());
        registry.register(
            "end_to_end_lag_seconds",
            "Commit in the source to visible in the target",
            self.end_to_end_lag_seconds.0.clone(),
        );
        registry.register("in_flight_records", "Records read and not yet durable", self.in_flight_records.clone());
        registry.register("offset", "The next offset to apply", self.offset.clone());
        registry.register("behind", "Offsets between applied and the end", self.behind.clone());
        registry.register("table_failed", "1 for a table that has stopped", self.table_failed.clone());
        registry.register("left_out", "Values of columns that the target does not have", self.left_out.clone());
        registry.register("barriers", "Tables that went on behind a barrier", self.barriers.clone());
        registry.register(
            "barrier_seconds",
            "From the first partition at a barrier until the table goes on",
            self.barrier_seconds.0.clone(),
        );
        registry.register("barrier_waiting", "Tables that stand at a barrier", self.barrier_waiting.clone());
        registry.register("table_paused", "1 for a table that waits for an operator", self.table_paused.clone());
        registry.register("policy_uses", "Values that a policy let through", self.policy_uses.clone());
        registry.register("reconnects", "Connections made again after a transient error", self.reconnects.clone());
        registry.register(
            "behind_seconds",
            "For how long the target has been behind the log",
            self.behind_seconds.clone(),
        );
    }
}

/// Seconds since 1970 by the machine's clock.
#[must_use]
pub fn seconds_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use tailrace_row::TableName;

    use super::*;

    /// Each metric stands in docs/metrics.md with its type, and nothing else does.
    #[test]
    fn the_manual_lists_every_metric() {
        let metrics = Metrics::new();
        let partition = PartitionLabels { table: "shop.orders".to_owned(), partition: 0 };
        metrics.count_error("apply", &tailrace_contract::Error::transient("connection reset"));
        metrics.capture.behind_transactions.get_or_create(&NoLabels {}).set(1);
        metrics.capture.behind_bytes.get_or_create(&NoLabels {}).set(1);
        metrics.capture.behind_seconds.get_or_create(&NoLabels {}).set(1.0);
        metrics.apply.behind_seconds.get_or_create(&NoLabels {}).set(1.0);
        metrics.apply.offset.get_or_create(&partition).set(1);
        metrics.backfill.windows_voided.get_or_create(&ReasonLabel { reason: "altered" }).inc();
        metrics.backfill.tables.get_or_create(&StateLabel { state: "done" }).set(1);
        metrics.note_held(vec![("file", "it is there".to_owned())]);
        metrics.note_copies(vec![CopyProgress {
            table: TableName::new("shop", "orders"),
            state: "copying",
            reason: None,
            rows_done: 5,
            rows_estimated: 10,
            rows_dropped: 1,
            chunks: 1,
            readers: 1,
            windows_open: 1,
            retries: 2,
            rows_per_second: 2.5,
            eta_seconds: Some(2.0),
        }]);
        metrics.apply.behind.get_or_create(&partition).set(1);
        metrics.count_policy_uses(&[PolicyUse {
            table: TableName::new("shop", "orders"),
            column: "shipped".into(),
            policy: "null",
            count: 1,
        }]);
        let column = ColumnLabels { table: "shop.orders".to_owned(), column: "note".to_owned() };
        metrics.apply.left_out.get_or_create(&column).inc();
        metrics.apply.table_paused.get_or_create(&TableLabel { table: "shop.orders".to_owned() }).set(1);
        metrics.apply.table_failed.get_or_create(&TableLabel { table: "shop.orders".to_owned() }).set(1);
        let text = metrics.classic_text();
        let mut told: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        let rows = include_str!("../docs/metrics.md").lines().filter_map(|line| {
            let ["", name, kind, _, meaning, ""] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
                return None;
            };
            assert!(!meaning.is_empty(), "{name}");
            Some((name.strip_prefix('`')?.strip_suffix('`')?, kind))
        });
        let mut listed: Vec<(&str, &str)> = rows.collect();
        told.sort_unstable();
        listed.sort_unstable();
        assert_eq!(told, listed);
        // A family without a sample has no line in the text: one that the test does not touch shows here.
        let source = include_str!("telemetry.rs");
        let code = source.split("#[cfg(test)]").next().unwrap();
        let registered =
            code.matches("registry.register(").count() + code.matches("registry.register_with_unit(").count();
        assert_eq!(registered, listed.len());
    }

    #[test]
    fn text_names_what_was_counted() {
        let metrics = Metrics::new();
        metrics.capture.records.inc_by(3);
        metrics.count_error("apply", &tailrace_contract::Error::transient("connection reset"));
        let text = metrics.text();
        for line in [
            "tailrace_capture_records_total 3",
            "tailrace_errors_total{stage=\"apply\",kind=\"transient\"} 1",
            "tailrace_capture_row_bytes_total 0",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
    }
}
