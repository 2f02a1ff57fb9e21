//! What is looked at once a second while something is copied, and what of it holds the copies up.
//!
//! Each gate says why it holds. What can't be found out holds too.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tailrace_contract::{
    Endpoint, Error, Log, LogPartition, PartitionEnds, PartitionProgress, Position, Result, Sink, SourcePlace,
    SourceState,
};
use tailrace_row::TableName;
use tokio::{sync::watch, time::Instant};

use super::{
    Backfill,
    lag::{Lag, Unreached},
    throttle::Hold,
};

/// A system that takes longer to answer has too much to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where it is seen how far apply is behind the log.
pub struct AppliedLog {
    /// What is to be applied.
    pub log: Arc<dyn Log>,
    /// What is applied.
    pub sink: Arc<dyn Sink>,
    /// The name under which the target keeps that.
    pub stream: String,
}

/// What looks of one session saw.
pub(super) struct Gates {
    backfill: Arc<Backfill>,
    /// How far the source's log is captured.
    captured: watch::Receiver<Option<SourcePlace>>,
    source_ends: Unreached<SourcePlace>,
    /// Of each replica that is watched.
    replica_ends: Vec<Unreached<Position>>,
    log_ends: BTreeMap<LogPartition, Unreached<i64>>,
}

impl Gates {
    pub(super) fn new(backfill: Arc<Backfill>, captured: watch::Receiver<Option<SourcePlace>>) -> Self {
        let (source_ends, log_ends) = (Unreached::default(), BTreeMap::new());
        Self { backfill, captured, source_ends, replica_ends: Vec::new(), log_ends }
    }

    /// What holds the copies up now.
    pub(super) async fn look(&mut self) -> Vec<Hold> {
        let limits = &self.backfill.throttle;
        let mut holds = Vec::new();
        let (load, end, applied) = tokio::join!(self.load(), self.source_end(), self.applied());
        if let Some(load) = load {
            holds.extend(limits.holds_by(&load));
        }
        holds.extend(limits.hold_by_file());
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        holds.extend(limits.hours.as_ref().and_then(|hours| hours.hold_at(since_1970.as_secs())));
        if let Some(end) = end {
            holds.extend(self.hold_by_source(&end));
            holds.extend(self.holds_by_replicas(&end).await);
        }
        if let Some(applied) = applied {
            holds.extend(self.hold_by_apply(applied));
        }
        holds
    }

    async fn load(&self) -> Option<Result<tailrace_contract::Load>> {
        let questions = self.backfill.throttle.questions()?;
        Some(patiently(self.backfill.source.load(&questions)).await)
    }

    async fn source_end(&self) -> Option<Result<SourceState>> {
        let limits = &self.backfill.throttle;
        let is_asked = limits.source_lag_max.is_some() || limits.replicas.is_some();
        if is_asked { Some(patiently(self.backfill.source.state(None)).await) } else { None }
    }

    fn hold_by_source(&mut self, end: &Result<SourceState>) -> Option<Hold> {
        let max = self.backfill.throttle.source_lag_max?;
        let lag = match (end, self.captured.borrow_and_update().clone()) {
            (Err(error), _) => Err(Unknown::of(error)),
            (Ok(SourceState { place: None, .. }), _) => {
                Err(Unknown("the source does not tell where its log ends".to_owned()))
            }
            (Ok(_), None) => Err(Unknown("it has captured nothing yet".to_owned())),
            (Ok(SourceState { place: Some(end), .. }), Some(captured)) => {
                let lag = self.source_ends.look(Instant::now(), end.clone(), |end| Ok(captured.has_reached(end)));
                lag.map_err(|error| Unknown::of(&error))
            }
        };
        hold_by_lag("source_lag", "capture", "the source", lag, max)
    }

    async fn holds_by_replicas(&mut self, end: &Result<SourceState>) -> Vec<Hold> {
        let backfill = Arc::clone(&self.backfill);
        let Some(limits) = &backfill.throttle.replicas else { return Vec::new() };
        self.replica_ends.resize_with(limits.replicas.len(), Unreached::default);
        let mut holds = Vec::new();
        for (replica, ends) in limits.replicas.iter().zip(&mut self.replica_ends) {
            let lag = match end {
                Ok(end) => replica_lag(&backfill, replica, &end.end, ends).await,
                Err(error) => Err(Unknown::of(error)),
            };
            let name = format!("the replica {replica}");
            holds.extend(hold_by_lag("replica_lag", &name, "the source", lag, limits.lag_max));
        }
        holds
    }

    async fn applied(&self) -> Option<Result<Applied>> {
        let backfill = &self.backfill;
        let (AppliedLog { log, sink, stream }, _) = (backfill.applied.as_ref()?, backfill.throttle.apply_lag_max?);
        let asked = async {
            let tables = log.tables().await?;
            let ours: Vec<TableName> =
                tables.into_iter().filter(|table| backfill.rules.mapping(table).is_some()).collect();
            let ends = log.ends(&log.partitions(&ours).await?).await?;
            Ok(Applied { ends, progress: sink.progress(stream).await? })
        };
        Some(patiently(asked).await)
    }

    /// The partition that is furthest behind, also where its table has stopped: who copies on only makes that longer.
    fn hold_by_apply(&mut self, applied: Result<Applied>) -> Option<Hold> {
        let max = self.backfill.throttle.apply_lag_max?;
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) => return hold_by_lag("apply_lag", "apply", "the log", Err(Unknown::of(&error)), max),
        };
        let now = Instant::now();
        let lags = applied.ends.iter().filter_map(|found| {
            let stored = applied.progress.iter().find(|stored| stored.partition == found.partition);
            let next = stored.and_then(|stored| stored.next_offset).unwrap_or(found.oldest);
            let ends = self.log_ends.entry(found.partition.clone()).or_default();
            Some((ends.look(now, found.end, |end| Ok(next >= *end)).ok()?, &found.partition.table))
        });
        let (lag, table) = lags.max_by_key(|(lag, _)| *lag)?;
        hold_by_lag("apply_lag", &format!("apply of {table}"), "the log", Ok(lag), max)
    }
}

/// What the log has and the target wants.
struct Applied {
    ends: Vec<PartitionEnds>,
    progress: Vec<PartitionProgress>,
}

/// Why a lag is not known.
struct Unknown(String);

impl Unknown {
    fn of(error: &Error) -> Self {
        Self(error.to_string())
    }
}

async fn replica_lag(
    backfill: &Backfill,
    replica: &Endpoint,
    end: &Position,
    ends: &mut Unreached<Position>,
) -> std::result::Result<Lag, Unknown> {
    let source = &backfill.source;
    let executed = patiently(source.executed(replica)).await;
    let lag = executed.and_then(|executed| ends.look(Instant::now(), end.clone(), |end| source.covers(&executed, end)));
    lag.map_err(|error| Unknown::of(&error))
}

fn hold_by_lag(
    gate: &'static str,
    who: &str,
    what: &str,
    lag: std::result::Result<Lag, Unknown>,
    max: Duration,
) -> Option<Hold> {
    let why = match lag {
        Ok(Lag::For(lag)) if lag <= max => return None,
        Ok(Lag::For(lag)) => {
            format!("{who} is {} s behind {what}, more than {} s", lag.as_secs(), max.as_secs_f64())
        }
        Ok(Lag::Unknown) => {
            format!("{who} is behind {what}: it has not come to where that was when it was first asked")
        }
        Err(Unknown(why)) => format!("how far {who} is behind {what} is not known: {why}"),
    };
    Some(Hold { gate, why })
}

async fn patiently<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    let asked = tokio::time::timeout(PATIENCE, question).await;
    asked.unwrap_or_else(|_| Err(Error::transient("it does not answer")))
}
