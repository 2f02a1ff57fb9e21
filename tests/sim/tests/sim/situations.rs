//! One scripted situation per way in which capture or apply once went wrong: named after what must hold.

use std::{sync::Arc, time::Duration};

use tailrace::{
    apply::{Apply, ApplyLimits, FailedTables},
    capture::{Capture, CommitLimits},
    runtime::{Health, Shutdown, tasks},
    telemetry::Metrics,
};
use tailrace_contract::{ErrorKind, Log as _, LogPartition, Result, StartAt};
use tailrace_memory::{MemoryLog, MemorySink, MemorySource, MemoryTransaction, Offsets};
use tailrace_row::TableSchema;
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    script::Fields,
    world::{rules, schema, table_name, target_of},
};

/// Servers with two tables, `t0` and `t1`, and handles on what runs over them.
struct Scene {
    source: MemorySource,
    log: MemoryLog,
    sink: MemorySink,
    tables: Vec<Arc<TableSchema>>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    stop: Shutdown,
}

impl Scene {
    fn new(partitions: u32) -> Self {
        let (source, sink) = (MemorySource::new("db"), MemorySink::new("target"));
        let create = |number| {
            let table = source.create_table(schema(table_name(number), number));
            sink.add_table(&table, &target_of(table.name()));
            table
        };
        Self {
            tables: (0..2).map(create).collect(),
            source,
            log: MemoryLog::new("log", partitions, Offsets::WithHoles),
            sink,
            metrics: Arc::new(Metrics::new()),
            health: Arc::new(Health::new()),
            stop: Shutdown::new(),
        }
    }

    /// Commits one transaction that inserts these ids into the table.
    fn insert(&self, table: usize, ids: std::ops::Range<i64>) {
        let mut transaction = MemoryTransaction::new();
        for id in ids {
            transaction.insert(&self.tables[table], &fields(id).list());
        }
        self.source.commit(transaction);
    }

    fn capture(&self, limits: CommitLimits) -> JoinHandle<Result<()>> {
        let capture = Capture {
            source: Arc::new(self.source.clone()),
            log: Arc::new(self.log.clone()),
            filter: Arc::new(rules().filter()),
            start: StartAt::Earliest,
            limits,
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(&self.health),
            shutdown: self.stop.clone(),
        };
        tasks::spawn("capture", async move { capture.run().await })
    }

    fn apply(&self, limits: ApplyLimits) -> JoinHandle<Result<()>> {
        let apply = Apply {
            log: Arc::new(self.log.clone()),
            sink: Arc::new(self.sink.clone()),
            rules: rules(),
            limits,
            allow_existing: false,
            metrics: Arc::clone(&self.metrics),
            health: Arc::clone(&self.health),
            shutdown: self.stop.clone(),
            failed: FailedTables::default(),
        };
        tasks::spawn("apply", async move { apply.run().await })
    }

    fn lane(&self, table: usize) -> LogPartition {
        LogPartition { table: table_name(table), index: 0 }
    }

    /// Whether the target has as many rows of the table as the source.
    fn is_equal(&self, table: usize) -> bool {
        let name = table_name(table);
        self.source.rows(&name) == self.sink.rows(&target_of(&name))
    }
}

fn fields(id: i64) -> Fields {
    Fields { id, kind: "a", total: Some(id), note: String::new() }
}

const APPLY: ApplyLimits = ApplyLimits {
    workers: 1,
    batch_records_max: 100,
    batch_bytes_max: 1 << 20,
    discovery_interval: Duration::from_secs(1),
};

/// Waits for a condition in virtual time.
async fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How it ended, within the time in which a process must stop.
async fn ended(task: JoinHandle<Result<()>>) -> Result<()> {
    let ended = tokio::time::timeout(Duration::from_secs(10), task).await;
    ended.expect("it ends within 10 s").expect("it does not panic")
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_stops_its_table_alone() {
    let scene = Scene::new(1);
    scene.log.prepare(&scene.tables).await.unwrap();
    scene.log.append_garbage(&scene.lane(0));
    scene.insert(0, 0..10);
    scene.insert(1, 0..50);
    let capture = scene.capture(CommitLimits::default());
    // Small batches and a busy target: errors wait behind batches on their way to the writer.
    let apply = scene.apply(ApplyLimits { batch_records_max: 1, ..APPLY });
    until("the healthy table", MINUTE, || scene.is_equal(1)).await;
    scene.stop.request();
    let error = ended(apply).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&table_name(0))), "{error}");
    ended(capture).await.unwrap();
}
