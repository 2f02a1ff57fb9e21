//! Everything that outlives a process: the servers, what is expected of them, and what went wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tailrace::{
    mapping::{TableRule, TableRules, TargetRule},
    runtime::Shutdown,
    telemetry::Metrics,
};
use tailrace_contract::{DdlPolicy, ErrorKind, Log as _, Position, StreamCheckpoint, TablePattern, TargetTable};
use tailrace_memory::{Call, Fault, MemoryLog, MemorySink, MemorySource};
use tailrace_row::{Charset, Column, ColumnType, TableName, TableSchema, TextForm};
use tokio::{sync::watch, time::Instant};

use crate::{
    defects::Defect,
    embedded,
    oracle::Oracle,
    plan::{Form, Plan},
    process::Moment,
    random::Random,
};

pub(crate) const DATABASE: &str = "shop";

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) property: Property,
    pub(crate) what: String,
}

/// What must hold in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Property {
    /// After the end the target's rows are the source's.
    TargetEqualsSource,
    /// At any moment the target's rows are what the log says up to the progress.
    RowsMatchProgress,
    /// The log holds every change once, in order.
    LogIsExact,
    /// A checkpoint covers exactly the records that were committed up to it.
    CheckpointMatchesRecords,
    /// The ledger says of each table which chunks it was copied in, from its beginning to its end.
    LedgerIsExact,
    /// No error but those that the run provokes; no panic.
    NoUnexpectedError,
    /// A process that was fenced does not come back: two of them would fence each other for ever.
    FencedProcessEnds,
    /// It comes to an end, and stops when asked to, in time.
    NoHang,
}

/// Number of deaths by call and moment.
pub(crate) type Deaths = BTreeMap<(&'static str, Moment), u64>;

/// One run's servers and state.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) source: MemorySource,
    pub(crate) log: MemoryLog,
    pub(crate) sink: MemorySink,
    pub(crate) metrics: Arc<Metrics>,
    /// Asks all processes to end for good.
    pub(crate) over: Shutdown,
    /// Counts the times at which an operator restarts apply.
    pub(crate) restarts: watch::Sender<u32>,
    pub(crate) defect: Option<Defect>,
    pub(crate) oracle: Mutex<Oracle>,
    is_calm: AtomicBool,
    points: AtomicU64,
    failure: watch::Sender<Option<Violation>>,
    trace: Mutex<Option<Trace>>,
    began: Instant,
    pub(crate) has_rewound: AtomicBool,
    /// How many processes have died where.
    pub(crate) deaths: Mutex<Deaths>,
    /// Checkpoints that the target has held, where there is no log.
    pub(crate) saved: Mutex<Vec<StreamCheckpoint>>,
    /// Tables that have rows which were not captured, for all we know.
    pub(crate) with_history: Mutex<BTreeSet<TableName>>,
    /// Tables whose partitions nobody can read to the end.
    pub(crate) lost: Mutex<BTreeSet<TableName>>,
}

/// What happened when, for replays and for the proof that a seed decides everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) lines: Vec<String>,
}

impl Trace {
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.lines.hash(&mut hasher);
        hasher.finish()
    }
}

/// More calls than any healthy run makes: a loop that never waits.
const POINTS_MAX: u64 = 2_000_000;

impl World {
    pub(crate) fn new(plan: Plan, random: &mut Random, defect: Option<Defect>, trace: Option<Trace>) -> Arc<Self> {
        let log = MemoryLog::new("log", plan.partitions, plan.offsets);
        let world = Arc::new(Self {
            source: MemorySource::new("db"),
            log,
            sink: MemorySink::new("target"),
            metrics: Arc::new(Metrics::new()),
            over: Shutdown::new(),
            restarts: watch::Sender::new(0),
            defect,
            oracle: Mutex::default(),
            is_calm: AtomicBool::new(false),
            points: AtomicU64::new(0),
            failure: watch::Sender::new(None),
            trace: Mutex::new(trace),
            began: Instant::now(),
            has_rewound: AtomicBool::new(false),
            deaths: Mutex::default(),
            saved: Mutex::default(),
            with_history: Mutex::default(),
            lost: Mutex::default(),
            plan,
        });
        world.install_faults(random);
        world
    }

    fn install_faults(self: &Arc<Self>, random: &mut Random) {
        for faults in [self.source.faults(), self.log.faults(), self.sink.faults()] {
            let mut random = random.fork();
            // The servers live in the world, so their faults must not keep it alive.
            let world = Arc::downgrade(self);
            faults.decide_by(move |call| {
                let world = world.upgrade()?;
                let fault = world.draw_fault(&mut random, call);
                world.trace(|| format!("{call:?} {fault:?}"));
                fault
            });
        }
        if self.plan.has_pieces {
            let mut random = random.fork();
            self.source.deliver_by(move || match random.below(12) {
                0 => 0,
                1..=5 => random.index(9) + 1,
                6..=8 => random.index(60) + 1,
                _ => usize::MAX,
            });
        }
    }

    fn draw_fault(&self, random: &mut Random, call: Call) -> Option<Fault> {
        if self.is_calm() {
            return None;
        }
        if call == Call::LogCommit && random.per_mille(self.plan.tear_per_mille) {
            let is_in_ledger = self.plan.copies.is_some() && random.per_mille(400);
            return Some(if is_in_ledger { Fault::TearLedger(random.index(4)) } else { Fault::Tear(random.index(40)) });
        }
        if !random.per_mille(self.plan.fault_per_mille) {
            return None;
        }
        Some(match random.below(10) {
            0..=2 => Fault::Fail(ErrorKind::Transient),
            3 | 4 => Fault::After,
            5 | 6 => Fault::Late(u32::try_from(random.between(1, 25)).expect("invariant: small")),
            _ => Fault::Delay(random.millis(1, 200)),
        })
    }

    /// No more faults, kills and stops: what is there must come to rest.
    pub(crate) fn calm_down(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
        self.trace(|| "calm".to_owned());
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Relaxed)
    }

    /// The first violation counts.
    pub(crate) fn fail(&self, property: Property, what: impl Into<String>) {
        let violation = Violation { property, what: what.into() };
        self.trace(|| format!("{violation:?}"));
        self.failure.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                *known = Some(violation);
            }
            is_first
        });
    }

    /// Waits for the first violation.
    pub(crate) async fn failed(&self) -> Violation {
        let mut failure = self.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await.expect("invariant: we hold the sender");
        failed.clone().expect("invariant: waited for")
    }

    pub(crate) fn count_point(&self, what: &'static str) {
        if self.points.fetch_add(1, Ordering::Relaxed) > POINTS_MAX {
            self.fail(Property::NoHang, format!("calls without end, now {what}"));
        }
    }

    pub(crate) fn count_death(&self, what: &'static str, moment: Moment) {
        self.trace(|| format!("a process dies: {moment:?} {what}"));
        *self.deaths.lock().unwrap_or_else(PoisonError::into_inner).entry((what, moment)).or_default() += 1;
    }

    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let at = self.began.elapsed();
            trace.lines.push(format!("{:>9.3} {}", at.as_secs_f64() * 1000.0, line()));
        }
    }

    pub(crate) fn take_trace(&self) -> Option<Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Holds the target against the log at this moment.
    pub(crate) fn look_at_target(&self) {
        if self.plan.form == Form::Embedded {
            return embedded::look(self);
        }
        let found = self.oracle.lock().unwrap_or_else(PoisonError::into_inner).look(self);
        if let Err(violation) = found {
            self.fail(violation.property, violation.what);
        }
    }

    /// Whether bytes that are no record lie in the table's partitions.
    pub(crate) fn is_lost(&self, table: &TableName) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).contains(table)
    }

    /// Waits until the condition holds; in virtual time.
    pub(crate) async fn wait_until(&self, what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !holds() {
            if Instant::now() >= deadline {
                self.fail(Property::NoHang, format!("{what}: not within {limit:?}"));
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }
}

/// How many transactions the source had executed at the position.
pub(crate) fn executed(position: &Position) -> u64 {
    let counts = position.as_str().rsplit(':').next().and_then(|counts| counts.split('/').next());
    counts.and_then(|count| count.parse().ok()).expect("positions of the source end with a number")
}

pub(crate) fn rules() -> TableRules {
    let pattern = TablePattern::Database(DATABASE.into());
    let rule = TableRule::new(pattern, TargetRule::Schema("public".into()));
    TableRules::new(vec![TableRule { on_ddl: DdlPolicy::Evolve, ..rule }])
}

pub(crate) fn table_name(number: usize) -> TableName {
    TableName::new(DATABASE, &format!("t{number}"))
}

pub(crate) fn target_of(table: &TableName) -> TargetTable {
    TargetTable { schema: "public".into(), table: table.table.clone() }
}

/// A table with a key of one or, every other table, two columns.
pub(crate) fn schema(name: TableName, number: usize) -> TableSchema {
    let integer = ColumnType::Integer { bits: 64, unsigned: false };
    let text = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };
    let column = |name: &str, column_type: &ColumnType, nullable| Column {
        name: name.into(),
        column_type: column_type.clone(),
        nullable,
    };
    let columns = [
        column("id", &integer, false),
        column("kind", &text, false),
        column("total", &integer, true),
        column("note", &text, true),
    ];
    let key: &[usize] = if number.is_multiple_of(2) { &[0] } else { &[1, 0] };
    TableSchema::new(name, columns, key).expect("invariant: the columns are distinct")
}

pub(crate) fn log_name(world: &World) -> &str {
    world.log.name()
}
