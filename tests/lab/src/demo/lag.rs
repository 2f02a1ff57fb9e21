//! Lag from commit to visible: a pulse beats in the source, a second connection asks the target for the newest beat, over
//! and over. Measured by one clock, without asking Tailrace.
//!
//! A beat is seen up to one question late (a few milliseconds): the figures err towards too much.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio::task::JoinSet;

use super::board::Board;
use super::stage::Stage;
use super::{SHOP, SharedTally};
use crate::writer::Pulse;

const BEAT: Duration = Duration::from_millis(20);
const QUESTION: Duration = Duration::from_millis(3);
/// How long the last beats are waited for.
const LAST_BEATS: Duration = Duration::from_secs(120);

/// Beats that were committed and not yet seen.
type Waiting = Arc<Mutex<VecDeque<(u64, Instant)>>>;

pub(super) struct LagMeter {
    tasks: JoinSet<Result<()>>,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

/// What the beats of a time are counted as. Those before both, while topics are made and the first backlog is worked off,
/// are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    /// Nobody is killed.
    Calm,
    /// Processes are killed.
    Disturbed,
}

/// Lags by the period in which the beat was committed.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// When calm and disturbance began.
    begins: [Option<Instant>; 2],
    is_any_seen: bool,
    pub(super) calm: Vec<Duration>,
    pub(super) disturbed: Vec<Duration>,
    /// Beats that were never seen.
    pub(super) lost: usize,
}

impl LagMeter {
    pub(super) async fn start(stage: &Stage, tally: SharedTally, board: Arc<Board>) -> Result<LagMeter> {
        let pulse = Pulse::start(&stage.mysql.admin_url()?, SHOP, tally).await?;
        let target = stage.target().await?;
        let (waiting, stop) = (Waiting::default(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(beat(pulse, Arc::clone(&waiting), Arc::clone(&stop)));
        tasks.spawn(watch(target, waiting, Arc::clone(&stop), (Arc::clone(&seen), board)));
        Ok(LagMeter { tasks, stop, seen })
    }

    /// From now on beats belong to another period.
    pub(super) fn enter(&self, period: Period) {
        let begins = &mut lock(&self.seen).begins;
        match period {
            Period::Calm => begins[0] = Some(Instant::now()),
            Period::Disturbed => begins[1] = Some(Instant::now()),
        }
    }

    /// Whether a beat has arrived in the target.
    pub(super) fn has_seen_one(&self) -> bool {
        lock(&self.seen).is_any_seen
    }

    /// Stops the pulse and waits until its last beat was seen.
    pub(super) async fn finish(mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("the lag meter's task")?.context("measuring the lag")?;
        }
        Ok(lock(&self.seen).clone())
    }
}

impl Seen {
    fn note(&mut self, committed: Instant, lag: Duration) {
        self.is_any_seen = true;
        let [calm, disturbed] = self.begins.map(|begin| begin.is_some_and(|begin| committed >= begin));
        if disturbed {
            self.disturbed.push(lag);
        } else if calm {
            self.calm.push(lag);
        }
    }
}

async fn beat(mut pulse: Pulse, waiting: Waiting, stop: Arc<AtomicBool>) -> Result<()> {
    let mut pace = tokio::time::interval(BEAT);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::SeqCst) {
        pace.tick().await;
        let beat = pulse.beat().await?;
        lock(&waiting).push_back(beat);
    }
    Ok(())
}

async fn watch(
    mut target: PgConnection,
    waiting: Waiting,
    stop: Arc<AtomicBool>,
    (seen, board): (Arc<Mutex<Seen>>, Arc<Board>),
) -> Result<()> {
    let sql = format!("SELECT coalesce(max(id), 0) FROM {SHOP}.pulses");
    let mut deadline = None;
    loop {
        let row = sqlx::query(AssertSqlSafe(sql.as_str())).fetch_one(&mut target).await.context("asking the target")?;
        let newest = u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0);
        let now = Instant::now();
        while let Some((_, committed)) = pop_until(&waiting, newest) {
            // The answer may be older than a commit that was answered meanwhile.
            let lag = now.saturating_duration_since(committed);
            board.lag(lag);
            lock(&seen).note(committed, lag);
        }
        if stop.load(Ordering::SeqCst) {
            let end = *deadline.get_or_insert(now + LAST_BEATS);
            let left = lock(&waiting).len();
            if left == 0 || now > end {
                lock(&seen).lost = left;
                return Ok(());
            }
        }
        tokio::time::sleep(QUESTION).await;
    }
}

fn pop_until(waiting: &Waiting, newest: u64) -> Option<(u64, Instant)> {
    let mut waiting = lock(waiting);
    let is_seen = waiting.front().is_some_and(|(number, _)| *number <= newest);
    if is_seen { waiting.pop_front() } else { None }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value below which a share of the sorted ones lies.
pub(super) fn percentile(lags: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = lags.to_vec();
    sorted.sort();
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let lags: Vec<Duration> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&lags, 50), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&lags, 99), Some(Duration::from_millis(198)));
        assert_eq!(percentile(&lags[..1], 99), Some(Duration::from_millis(200)));
        assert_eq!(percentile(&[], 50), None);
    }
}
