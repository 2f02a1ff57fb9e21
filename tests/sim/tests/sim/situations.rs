//! One scripted situation per way in which capture or apply once went wrong: named after what must hold.

use std::{sync::Arc, time::Duration};

use tailrace::{
    apply::{Apply, ApplyLimits, FailedTables},
    capture::{Capture, CommitLimits},
    runtime::{Health, PartState, Shutdown, tasks},
    telemetry::{ErrorLabels, Metrics},
};
use tailrace_contract::{Checkpoint, ErrorKind, Log as _, LogPartition, Mark, Result, Source as _, StartAt};
use tailrace_memory::{Call, Fault, Gate, MemoryLog, MemorySink, MemorySource, MemoryTransaction, Offsets, Row};
use tailrace_row::{Epoch, TableSchema};
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
            rules: rules(),
            start: StartAt::Earliest,
            desk: None,
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
    scene.insert(1, 0..5);
    scene.insert(0, 0..10);
    let capture = scene.capture(CommitLimits::default());
    until("records in the log", MINUTE, || scene.log.entries(&scene.lane(0), 0).len() == 10).await;
    scene.log.append_garbage(&scene.lane(0));
    // Small batches and a slow target: errors wait behind batches on their way to the writer.
    scene.sink.faults().decide_by(|_| Some(Fault::Delay(Duration::from_millis(50))));
    let apply = scene.apply(ApplyLimits { batch_records_max: 1, ..APPLY });
    until("the healthy table", MINUTE, || scene.is_equal(1)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    scene.insert(1, 5..10);
    until("more of the healthy table", MINUTE, || scene.is_equal(1)).await;
    scene.stop.request();
    let error = ended(apply).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&table_name(0))), "{error}");
    ended(capture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn capture_stops_under_a_load_that_never_ends() {
    let scene = Scene::new(1);
    (0..100_000).for_each(|id| scene.insert(0, id..id + 1));
    scene.source.deliver_by(|| 1);
    scene.log.faults().decide_by(|call| (call == Call::LogAppend).then_some(Fault::Delay(Duration::from_millis(1))));
    let capture = scene.capture(CommitLimits::default());
    until("records in the log", MINUTE, || !scene.log.commits().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.stop.request();
    ended(capture).await.unwrap();
    let covered = scene.log.checkpoint().unwrap().mark.transactions;
    assert!(covered > 100 && covered < 50_000, "{covered} transactions were captured");
}

async fn check_stops_while_hanging(call: Call) {
    let scene = Scene::new(1);
    scene.insert(0, 0..10);
    if format!("{call:?}").starts_with("Sink") || matches!(call, Call::LogOpenReader | Call::LogRead) {
        let capture = scene.capture(CommitLimits::default());
        until("records in the log", MINUTE, || scene.log.checkpoint().is_some()).await;
        capture.abort();
    }
    let servers = [scene.source.faults(), scene.log.faults(), scene.sink.faults()];
    servers.iter().for_each(|faults| faults.script(call, Fault::Hang(Gate::new())));
    let calls = || servers.iter().map(|faults| faults.calls(call)).sum::<u64>();
    let before = calls();
    let (capture, apply) = (scene.capture(CommitLimits::default()), scene.apply(APPLY));
    until("the call that hangs", MINUTE, || calls() > before).await;
    scene.stop.request();
    let stopped = tokio::time::timeout(Duration::from_secs(10), async { (capture.await, apply.await) }).await;
    let (capture, apply) = stopped.unwrap_or_else(|_| panic!("not stopped within 10 s while {call:?} hangs"));
    assert!(matches!((&capture, &apply), (Ok(Ok(())), Ok(Ok(())))), "{call:?}: {capture:?} {apply:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_keeps_nobody_from_stopping() {
    for call in [
        Call::SourceTables,
        Call::SourcePosition,
        Call::SourceOpen,
        Call::StreamRead,
        Call::LogPrepare,
        Call::LogOpenWriter,
        Call::LogTables,
        Call::LogPartitions,
        Call::LogOpenReader,
        Call::LogRead,
        Call::SinkPrepare,
        Call::SinkTableState,
        Call::SinkAdoptTable,
        Call::SinkClaim,
        Call::SinkOpenWriter,
    ] {
        check_stops_while_hanging(call).await;
    }
}

#[tokio::test(start_paused = true)]
async fn apply_waits_for_partitions_without_spinning() {
    let scene = Scene::new(0);
    scene.log.prepare(&scene.tables).await.unwrap();
    scene.log.faults().decide_by(|_| Some(Fault::Delay(Duration::from_millis(1))));
    let apply = scene.apply(APPLY);
    tokio::time::sleep(MINUTE).await;
    let calls = scene.log.faults().calls(Call::LogPartitions);
    assert!((10..200).contains(&calls), "{calls} calls in a minute");
    scene.stop.request();
    ended(apply).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tries_become_rarer_while_the_target_keeps_failing() {
    let scene = Scene::new(1);
    scene.insert(0, 0..10);
    let capture = scene.capture(CommitLimits::default());
    let fails = |call| (call == Call::SinkApply).then_some(Fault::Fail(ErrorKind::Transient));
    scene.sink.faults().decide_by(fails);
    let apply = scene.apply(APPLY);
    tokio::time::sleep(10 * MINUTE).await;
    let calls = scene.sink.faults().calls(Call::SinkApply);
    assert!((20..150).contains(&calls), "{calls} tries in ten minutes");
    scene.sink.faults().clear();
    until("the rows", MINUTE, || scene.is_equal(0)).await;
    scene.stop.request();
    ended(apply).await.unwrap();
    ended(capture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stopped_table_is_told_once_and_stays_visible_after_a_reconnect() {
    let scene = Scene::new(1);
    let foreign = Row::new(&scene.tables[0], &fields(1).list());
    scene.sink.put_row(&target_of(&table_name(0)), foreign);
    let (capture, apply) = (scene.capture(CommitLimits::default()), scene.apply(APPLY));
    for id in 0..3 {
        scene.insert(0, id..id + 1);
        scene.insert(1, id..id + 1);
        scene.sink.faults().script(Call::SinkApply, Fault::Fail(ErrorKind::Transient));
        until("the healthy table", MINUTE, || scene.is_equal(1)).await;
    }
    assert!(scene.metrics.apply.reconnects.get() >= 3);
    let state = scene.health.parts().into_iter().find(|(part, _)| *part == "apply");
    assert!(matches!(state, Some((_, PartState::Degraded(_)))), "{state:?}");
    let labels = ErrorLabels { stage: "apply", kind: ErrorKind::TableFailed.name() };
    assert_eq!(scene.metrics.errors.get_or_create(&labels).get(), 1);
    scene.stop.request();
    assert_eq!(ended(apply).await.unwrap_err().kind(), ErrorKind::TableFailed);
    ended(capture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_every_table_has_stopped_apply_ends() {
    let scene = Scene::new(3);
    for table in [0, 1] {
        for id in 0..10 {
            let row = Row::new(&scene.tables[table], &fields(id).list());
            scene.sink.refuse_row(&target_of(&table_name(table)), row.key());
        }
        scene.insert(table, 0..10);
    }
    let capture = scene.capture(CommitLimits::default());
    let apply = scene.apply(ApplyLimits { workers: 3, ..APPLY });
    let error = ended(apply).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableFailed);
    assert!(error.to_string().contains("2 tables have stopped"), "{error}");
    scene.stop.request();
    ended(capture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_leaves_no_task_behind() {
    let scene = Scene::new(1);
    scene.insert(0, 0..10);
    let (capture, apply) = (scene.capture(CommitLimits::default()), scene.apply(APPLY));
    until("the rows", MINUTE, || scene.is_equal(0)).await;
    scene.source.faults().script(Call::StreamRead, Fault::Hang(Gate::new()));
    scene.log.faults().script(Call::LogRead, Fault::Hang(Gate::new()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    capture.abort();
    apply.abort();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    until("all tasks have ended", MINUTE, || alive() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_log_transaction_is_committed_before_it_is_too_old() {
    let scene = Scene::new(1);
    scene.insert(0, 0..100);
    scene.source.deliver_by(|| 10);
    let gate = Gate::new();
    scene.source.faults().script(Call::StreamRead, Fault::Delay(Duration::from_millis(1)));
    scene.source.faults().script(Call::StreamRead, Fault::Hang(gate.clone()));
    let capture = scene.capture(CommitLimits { age_max: Duration::from_secs(5), ..CommitLimits::default() });
    until("a first read", MINUTE, || scene.log.faults().calls(Call::LogAppend) > 0).await;
    until("the part is committed", Duration::from_secs(6), || scene.log.commits().len() > 1).await;
    let part = scene.log.commits().pop().unwrap();
    assert!(part.checkpoint.unwrap().split.is_some() && (10..100).contains(&part.sequences.len()));
    gate.open();
    until("the rest", MINUTE, || scene.log.entries(&scene.lane(0), 0).len() == 100).await;
    scene.stop.request();
    ended(capture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_source_that_keeps_failing_still_moves_forward() {
    let scene = Scene::new(1);
    scene.insert(0, 0..40);
    scene.source.deliver_by(|| 1);
    let mut reads = 0;
    scene.source.faults().decide_by(move |call| {
        reads += u32::from(call == Call::StreamRead);
        (call == Call::StreamRead && reads % 2 == 0).then_some(Fault::Fail(ErrorKind::Transient))
    });
    let capture = scene.capture(CommitLimits::default());
    until("the whole transaction", 10 * MINUTE, || scene.log.entries(&scene.lane(0), 0).len() == 40).await;
    until("its end", MINUTE, || scene.log.checkpoint().is_some_and(|checkpoint| checkpoint.split.is_none())).await;
    scene.stop.request();
    ended(capture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_read_before_an_error_of_the_source_is_in_the_log() {
    let scene = Scene::new(1);
    scene.insert(0, 0..5);
    scene.insert(0, 5..10);
    scene.source.deliver_by(|| 5);
    let mut reads = 0;
    scene.source.faults().decide_by(move |call| {
        reads += u32::from(call == Call::StreamRead);
        (reads == 2).then_some(Fault::Fail(ErrorKind::Refused))
    });
    let capture = scene.capture(CommitLimits::default());
    assert_eq!(ended(capture).await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(scene.log.entries(&scene.lane(0), 0).len(), 5);
    assert_eq!(scene.log.checkpoint().unwrap().mark.transactions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failing_search_for_new_tables_does_not_interrupt_apply() {
    let scene = Scene::new(1);
    scene.insert(0, 0..5);
    let (capture, apply) = (scene.capture(CommitLimits::default()), scene.apply(APPLY));
    until("the rows", MINUTE, || scene.is_equal(0)).await;
    let fails = |call| (call == Call::LogTables).then_some(Fault::Fail(ErrorKind::Transient));
    scene.log.faults().decide_by(fails);
    tokio::time::sleep(MINUTE).await;
    scene.insert(0, 5..10);
    until("more rows", Duration::from_secs(1), || scene.is_equal(0)).await;
    assert_eq!(scene.metrics.apply.reconnects.get(), 0);
    scene.stop.request();
    ended(apply).await.unwrap();
    ended(capture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_log_hears_how_far_it_is_applied() {
    let scene = Scene::new(1);
    let refused = Row::new(&scene.tables[1], &fields(3).list());
    scene.sink.refuse_row(&target_of(&table_name(1)), refused.key());
    scene.insert(0, 0..5);
    scene.insert(1, 0..5);
    let (capture, apply) = (scene.capture(CommitLimits::default()), scene.apply(APPLY));
    until("the rows", MINUTE, || scene.is_equal(0)).await;
    let reported = |table| scene.log.reported().get(&scene.lane(table)).copied();
    let end = scene.log.ends()[&scene.lane(0)];
    until("the report", MINUTE, || reported(0) == Some(end)).await;
    assert_eq!(reported(1), None, "a table that has stopped is not applied");
    scene.stop.request();
    assert!(ended(apply).await.is_err());
    ended(capture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fenced_worker_outranks_a_sibling_that_only_lost_its_connection() {
    let scene = Scene::new(4);
    scene.insert(0, 0..40);
    let mut kinds = vec![ErrorKind::Fenced, ErrorKind::Transient];
    let fails = move |call| if call == Call::SinkApply { kinds.pop().map(Fault::Fail) } else { None };
    scene.sink.faults().decide_by(fails);
    let capture = scene.capture(CommitLimits::default());
    until("records in the log", MINUTE, || scene.log.commits().len() > 1).await;
    let apply = scene.apply(ApplyLimits { workers: 2, ..APPLY });
    assert_eq!(ended(apply).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(scene.sink.faults().calls(Call::SinkClaim), 1, "it does not claim again what another process owns");
    scene.stop.request();
    ended(capture).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_may_write_no_table_fences_nobody() {
    let scene = Scene::new(1);
    for table in [0, 1] {
        let foreign = Row::new(&scene.tables[table], &fields(1).list());
        scene.sink.put_row(&target_of(&table_name(table)), foreign);
    }
    scene.log.prepare(&scene.tables).await.unwrap();
    assert_eq!(ended(scene.apply(APPLY)).await.unwrap_err().kind(), ErrorKind::TableFailed);
    assert_eq!(scene.sink.faults().calls(Call::SinkClaim), 0);
}

/// E15: a checkpoint that was begun by a clock ahead of ours is forgotten. What is captured from then on must be above it, else apply would
/// take it for records that it has.
#[tokio::test(start_paused = true)]
async fn e15_who_begins_anew_with_a_clock_that_is_behind_loses_nothing() {
    let scene = Scene::new(1);
    let ahead = Epoch(u32::MAX - 10);
    scene.insert(0, 0..10);
    let position = scene.source.position(&StartAt::Earliest).await.unwrap();
    let first = Checkpoint { epoch: ahead, mark: Mark { position, transactions: 0 }, split: None };
    scene.log.open_writer().await.unwrap().writer.commit(&first).await.unwrap();
    let limits = CommitLimits::default();
    let capture = scene.capture(limits);
    let apply = scene.apply(APPLY);
    until("the rows arrive", MINUTE, || scene.is_equal(0)).await;
    scene.log.forget_checkpoint().await.unwrap();
    assert_eq!(ended(capture).await.unwrap_err().kind(), ErrorKind::Fenced);
    scene.insert(0, 10..20);
    let capture = scene.capture(limits);
    until("the rows of the new epoch arrive", MINUTE, || scene.is_equal(0)).await;
    assert_eq!(scene.log.checkpoint().map(|checkpoint| checkpoint.epoch), Some(Epoch(ahead.0 + 1)));
    assert_eq!(scene.metrics.apply.duplicates.get(), 0);
    scene.stop.request();
    ended(capture).await.unwrap();
    ended(apply).await.unwrap();
}
