//! Backfill: the rows that were in a table before its changes were captured, put among the changes.
//!
//! Rows are read in chunks, each inside a window (`windows`, which has the argument why no row goes back in time, and what voids
//! one). This module says which chunks there are, and that none is forgotten:
//!
//! 1. A table is one or more *segments* of its key's order. A segment is read from its beginning to its end, chunk by chunk: a chunk
//!    begins behind the last key of the one before and ends at the last row that was read, or at the segment's end if fewer rows came
//!    than were asked for. Bounds come out of the database and go back as they came. So every key lies in exactly one chunk: a row
//!    that comes to lie in a part that was read already came there by a change, which the log has.
//! 2. The ledger (`state::ledger`) says how far each segment is copied, and is stored in the transaction of the rows. So what counts as
//!    copied is copied; after a crash at most the chunks that were open are read again.
//! 3. A copy belongs to a session of the writer: when that ends, for whatever reason, all windows are void, nothing in memory counts,
//!    and the next session begins from its ledger.
//! 4. A table is done when all its segments are. A chunk that failed, or whose window was voided, is never counted.
//! 5. A segment is split where readers have nothing to do: whoever reads it asks the database for the key a few chunks behind the last
//!    row that it read, ends its segment there, and others read what lies behind. Nothing that it has read lies behind that key, so the
//!    two segments have each key once. The table's document has all its segments, so a split is stored with the next chunk; lost
//!    before that it is nothing. A chunk counts only while its reader holds the segment (`plan::Lease`).
//! 6. Bounds hold only in one order of the key. Where collations or directions of the key were altered, the table's copy begins anew.
//!
//! Operators change the plan while it is carried out (`operator`, `obey`): what they ask for is stored before it is answered. What
//! holds copies up stands in `throttle`.
//!
//! Two chunks of a segment may be under way at once: the second is read while the first waits for its window to close. Windows of one
//! table are closed in the order in which they were asked to, so the ledger never counts the second without the first.

mod condition;
mod copier;
mod gates;
mod lag;
mod obey;
mod operator;
mod pace;
mod plan;
mod throttle;
mod typed_key;

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use tailrace_contract::{Error, ErrorKind, Result, Source, TableFilter, TablePattern};
use tailrace_row::{Key, TableName};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    mapping::TableRules,
    runtime::{Backoff, Health, PartState, Shutdown, tasks::Group},
    state::ledger::{self, CopyState},
    telemetry::Metrics,
    windows::{CopySession, Desk},
};
pub(crate) use condition::{conditions, try_condition};
use copier::Copier;
pub use gates::AppliedLog;
use gates::Gates;
use obey::Act;
use operator::Asked;
pub use operator::{Operator, Order};
use plan::Plan;
use throttle::Hold;
pub use throttle::{Hours, ReplicaLimits, ThrottleLimits};

/// The name under which backfill reports its health and counts its errors.
pub const PART: &str = "backfill";

/// Between two looks at what holds copies up.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// How tables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyLimits {
    /// Connections that read at once.
    pub readers: u32,
    /// How long one read should take.
    pub chunk_time: Duration,
    /// Bytes of row images in one chunk.
    pub chunk_bytes_max: usize,
    /// Rows in one chunk.
    pub chunk_rows_max: u64,
}

impl Default for CopyLimits {
    fn default() -> Self {
        Self { readers: 4, chunk_time: Duration::from_millis(500), chunk_bytes_max: 4 << 20, chunk_rows_max: 1_000_000 }
    }
}

/// Copies what is not copied yet, until asked to stop.
pub struct Backfill {
    /// Where rows are read.
    pub source: Arc<dyn Source>,
    /// Where the one who writes is met.
    pub desk: Desk,
    /// Which tables.
    pub filter: Arc<TableFilter>,
    /// Which of them are copied.
    pub rules: TableRules,
    /// How they are read.
    pub limits: CopyLimits,
    /// What holds them up.
    pub throttle: ThrottleLimits,
    /// Where the lag of apply is seen; none where it does not count.
    pub applied: Option<AppliedLog>,
    /// Who may ask for something meanwhile.
    pub operator: Operator,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where to report.
    pub health: Arc<Health>,
    /// Who asks to stop.
    pub shutdown: Shutdown,
}

impl Backfill {
    /// Copies in one session of the writer after another, until asked to stop.
    pub async fn run(self) -> Result<()> {
        let backfill = Arc::new(self);
        let mut sessions = backfill.desk.sessions();
        let mut orders = backfill.operator.orders().ok_or_else(|| Error::corrupt("two backfills of one operator"))?;
        let mut backoff = Backoff::new();
        loop {
            let session = sessions.borrow_and_update().clone();
            let ended = match session {
                Some(session) => {
                    let asked = Asking { sessions: &mut sessions, orders: &mut orders };
                    backfill.copy(&session, asked).await
                }
                None => backfill.wait_for_another(&mut sessions).await,
            };
            match ended {
                Ok(Ended::Asked) => return Ok(()),
                Ok(Ended::Void) => backoff.reset(),
                Err(error) => {
                    backfill.metrics.count_error(PART, &error);
                    let passes = error.kind() == ErrorKind::Transient;
                    let wait = backoff.next_wait();
                    tracing::warn!(%error, ?wait, "the backfill waits and tries again");
                    let text = error.to_string();
                    let state = if passes { PartState::Waiting(text) } else { PartState::Degraded(text) };
                    backfill.health.set(PART, state);
                    if backfill.shutdown.wait(wait).await {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits until the writer's next session begins.
    async fn wait_for_another(&self, sessions: &mut watch::Receiver<Option<CopySession>>) -> Result<Ended> {
        // Cancel-safe: both branches only wait.
        tokio::select! {
            biased;
            () = self.shutdown.requested() => Ok(Ended::Asked),
            begun = sessions.changed() => Ok(if begun.is_ok() { Ended::Void } else { Ended::Asked }),
        }
    }

    /// Copies as long as the session lasts.
    async fn copy(self: &Arc<Self>, session: &CopySession, Asking { sessions, orders }: Asking<'_>) -> Result<Ended> {
        let plan = Arc::new(self.plan(session).await?);
        self.health.set(PART, PartState::Running);
        plan.report(&self.metrics);
        if self.throttle.is_watched() {
            self.hold(vec![Hold { gate: "load", why: "what holds copies up is not known yet".to_owned() }]);
        }
        let mut watch = Group::new();
        let gates = Gates::new(Arc::clone(self), session.captured.clone());
        watch.spawn("backfill.load", Arc::clone(self).watch(gates, Arc::clone(&plan)));
        let mut copiers = Group::new();
        for _ in 0..self.limits.readers {
            let copier = Copier::new(Arc::clone(self), session.clone(), Arc::clone(&plan));
            copiers.spawn("backfill.read", copier.run());
        }
        loop {
            // Cancel-safe: all branches only wait.
            tokio::select! {
                biased;
                ended = self.wait_for_another(sessions) => return ended,
                Some(asked) = orders.recv() => self.answer(asked, session, &plan).await,
                ended = copiers.next(), if !copiers.is_empty() => match ended {
                    None | Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(void))) => tracing::debug!(reason = void.name(), "one who copied has ended"),
                    Some(Err(join)) => return Err(Error::corrupt("a task that copies rows panicked").caused_by(join)),
                },
            }
        }
    }

    /// Carries out an order, unless nobody waits for it any more.
    async fn answer(&self, Asked { order, answer }: Asked, session: &CopySession, plan: &Arc<Plan>) {
        if answer.is_closed() {
            return;
        }
        let told = self.obey(&order, session, plan).await;
        match &told {
            Ok(told) => tracing::info!(told, "an operator's order is carried out"),
            Err(error) => tracing::info!(%error, "an operator's order is not carried out"),
        }
        plan.report(&self.metrics);
        // Who asked may have gone away.
        let _ = answer.send(told);
    }

    async fn obey(&self, order: &Order, session: &CopySession, plan: &Arc<Plan>) -> Result<String> {
        let (table, act) = match order {
            Order::Start { table } => (Some(table), Act::Start),
            Order::Pause { table } => (table.as_ref(), Act::Pause),
            Order::Resume { table } => (table.as_ref(), Act::Resume),
            Order::Cancel { table } => (Some(table), Act::Cancel),
            Order::Recopy { table, from, to } => (Some(table), self.range(&named(table)?, [from, to]).await?),
            Order::Throttle { .. } => return Err(Error::corrupt("a rate is set without those who copy")),
        };
        let table = table.map(|table| named(table)).transpose()?;
        let (told, obeyed) = oneshot::channel();
        let (asked, obeying) = (act.clone(), Arc::clone(plan));
        // The plan is changed when the documents are written, so that none of a chunk comes in between.
        let documents = move || match obeying.obey(table.as_ref(), &asked).map(obey::Obeyed::into_parts) {
            Ok((documents, stored)) => {
                let _ = told.send(Ok(stored));
                documents
            }
            Err(error) => {
                let _ = told.send(Err(error));
                Vec::new()
            }
        };
        let ended =
            || Error::transient("capture began anew meanwhile, and the order may be forgotten").hint("ask again");
        session.note(documents).await.map_err(|_| ended())?;
        let stored = obeyed.await.map_err(|_| ended())??;
        let tables: Vec<String> = plan.note_obeyed(stored).iter().map(ToString::to_string).collect();
        Ok(format!("{}: {}", tables.join(", "), act.done()))
    }

    /// A range as an operator types it.
    async fn range(&self, table: &TableName, [from, to]: [&Option<serde_json::Value>; 2]) -> Result<Act> {
        let filter = TableFilter { patterns: vec![TablePattern::Table(table.clone())] };
        let schema = self.source.tables(&filter).await?.pop();
        let schema = schema.ok_or_else(|| Error::refused(format!("the source has no table {table}")))?;
        let read = |typed: &Option<serde_json::Value>| -> Result<Option<Key>> {
            typed.as_ref().map(|typed| typed_key::read(&schema, typed)).transpose()
        };
        let (from, until) = (read(from)?, read(to)?);
        // A segment begins behind a key: which one lies before the first is the database's to say.
        let after = match &from {
            Some(from) => self.source.open_chunks(Arc::clone(&schema)).await?.key_before(from).await?,
            None => None,
        };
        Ok(Act::Recopy { after, until })
    }

    /// Looks once a second at what holds the copies up.
    async fn watch(self: Arc<Self>, mut gates: Gates, plan: Arc<Plan>) {
        loop {
            self.metrics.facts.note_rate(self.operator.throttle().rate().map(NonZeroU64::get));
            let held = if plan.is_active() { gates.look().await } else { Vec::new() };
            self.hold(held);
            if self.shutdown.wait(WATCH_INTERVAL).await {
                return;
            }
        }
    }

    fn hold(&self, held: Vec<Hold>) {
        if !self.operator.throttle().hold(held.clone()) {
            return;
        }
        match held.is_empty() {
            true => tracing::debug!("nothing holds the copies up"),
            false => {
                let why: Vec<&str> = held.iter().map(|hold| hold.why.as_str()).collect();
                tracing::debug!(why = why.join("; "), "the copies are held up");
            }
        }
        self.metrics.note_held(held.into_iter().map(|hold| (hold.gate, hold.why)).collect());
    }

    /// What is to be copied in this session.
    async fn plan(&self, session: &CopySession) -> Result<Plan> {
        let mut schemas = self.source.tables(&self.filter).await?;
        // In the order of the configuration; those of one entry by name.
        schemas.sort_by_key(|schema| self.rules.place(schema.name()));
        let known = ledger::tables(&session.ledger)?;
        let mut plan = Plan::new(session.epoch, self.limits.chunk_rows_max);
        for schema in schemas.into_iter().filter(|schema| self.rules.is_copied(schema.name())) {
            let known = known.iter().find(|known| known.table == *schema.name());
            if let Some(gap) = known.filter(|known| known.state == CopyState::Gap) {
                let table = &gap.table;
                tracing::warn!(%table, reason = gap.reason, "A GAP: changes of the table are missing, and rows that were deleted meanwhile \
                    may be in the target; on_gap = \"empty\" lets the target's table be emptied and copied anew, \
                    tailrace backfill start --table {table} copies it and deletes nothing");
            }
            plan.add(schema.name().clone(), known.cloned(), ledger::forget_chunks(&session.ledger, schema.name()));
        }
        Ok(plan)
    }
}

/// What may come while copies run.
struct Asking<'a> {
    sessions: &'a mut watch::Receiver<Option<CopySession>>,
    orders: &'a mut mpsc::Receiver<Asked>,
}

/// A table as operators name it.
fn named(text: &str) -> Result<TableName> {
    match text.split_once('.') {
        Some((database, table)) => Ok(TableName::new(database, table)),
        None => Err(Error::refused(format!("{text:?} names no table")).hint("write DATABASE.TABLE")),
    }
}

/// Why a session's copy ended.
enum Ended {
    Asked,
    Void,
}
