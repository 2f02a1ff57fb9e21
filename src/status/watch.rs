//! A daemon looks at itself from outside: every few seconds it asks the source, or the log, how far ahead they are.
//!
//! What the parts count stands still when they do: a target that holds up one statement would freeze its own lag at zero. So
//! this task asks by itself, on connections of its own, and a lag goes on growing whatever capture and apply do.
//!
//! A lag in seconds is the age of the first look that saw an end which is not reached by now. It needs no clock but ours, is
//! 0 where nothing is behind, and can't be older than the process. It is exact to the interval between looks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tailrace_contract::{Checkpoint, Error, Log, LogPartition, PartitionEnds, Result, Source, SourceState};
use tokio::time::Instant;

use super::Throughput;
use crate::{
    runtime::{Shutdown, facts::Known},
    telemetry::{MaybeFloatGauge, MaybeGauge, Metrics, NoLabels, PartitionLabels},
};

/// How often it looks, unless a look takes long.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A look may take this part of the time.
const EFFORT: u32 = 10;
/// Rates are told over so many looks.
const RATE_LOOKS: usize = 4;
/// Ends that are remembered; beyond it every other one is dropped.
const ENDS_MAX: usize = 1000;

/// What the last look saw.
#[derive(Debug, Default)]
pub struct Looks {
    seen: Mutex<Seen>,
}

/// See [`Looks`].
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// What the source said, if it was asked.
    pub(super) source: Option<std::result::Result<SourceState, String>>,
    /// What the log said, if it was asked.
    pub(super) log: Option<std::result::Result<Vec<PartitionEnds>, String>>,
    pub(super) source_seconds: Option<f64>,
    pub(super) apply_seconds: Option<f64>,
    pub(super) capture_rate: Option<Throughput>,
    pub(super) apply_rate: Option<Throughput>,
}

impl Looks {
    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is looked at.
pub struct Watch {
    /// The source, if this process captures.
    pub source: Option<Arc<dyn Source>>,
    /// The log, if this process applies from one.
    pub log: Option<Arc<dyn Log>>,
    /// Where the parts tell, and where the lag is told.
    pub metrics: Arc<Metrics>,
    /// Where what was seen is kept.
    pub looks: Arc<Looks>,
}

impl Watch {
    /// Looks again and again, until asked to stop.
    pub async fn run(self, shutdown: Shutdown) {
        let mut source_ends = Ends::default();
        let mut log_ends = BTreeMap::new();
        let mut counted = VecDeque::from([Counted::now(&self.metrics)]);
        let mut wait = LOOK_INTERVAL;
        while !shutdown.wait(wait).await {
            let begin = Instant::now();
            // Cancel-safe: looking changes nothing.
            tokio::select! {
                () = shutdown.requested() => return,
                () = self.look(&mut source_ends, &mut log_ends) => {}
            }
            self.rate(&mut counted);
            wait = LOOK_INTERVAL.max(begin.elapsed() * EFFORT);
        }
    }

    async fn look(&self, source_ends: &mut Ends, log_ends: &mut BTreeMap<LogPartition, Ends>) {
        let known = self.metrics.facts.known();
        if let (Some(source), Some(committed)) = (&self.source, &known.committed) {
            let state = source.state(Some(&committed.mark.position)).await;
            self.tell_source(state, committed, source_ends);
        }
        if let Some(log) = &self.log {
            let partitions: Vec<LogPartition> = known.applied.keys().cloned().collect();
            self.tell_log(log.ends(&partitions).await, log_ends);
        }
    }

    fn tell_source(&self, state: Result<SourceState>, committed: &Checkpoint, ends: &mut Ends) {
        let metrics = &self.metrics.capture;
        let behind = state.as_ref().ok().and_then(|state| state.transactions_behind);
        let seconds = behind.map(|behind| source_lag(ends, committed, behind));
        let state = state.map_err(|error| told(&error, "the source"));
        let (transactions, bytes) =
            state.as_ref().map_or((None, None), |state| (state.transactions_behind, state.bytes_behind));
        set_or_clear(&metrics.behind_transactions, transactions);
        set_or_clear(&metrics.behind_bytes, bytes);
        set_seconds_or_clear(&metrics.behind_seconds, seconds);
        let mut seen = self.looks.lock();
        seen.source_seconds = seconds;
        seen.source = Some(state);
    }

    fn tell_log(&self, found: Result<Vec<PartitionEnds>>, ends: &mut BTreeMap<LogPartition, Ends>) {
        let metrics = &self.metrics.apply;
        let known = self.metrics.facts.known();
        let seconds = found.as_ref().ok().map(|found| log_lag(ends, found, &known));
        for found in found.iter().flatten() {
            let labels = PartitionLabels { table: found.partition.table.to_string(), partition: found.partition.index };
            if let Some(next) = known.applied.get(&found.partition) {
                metrics.behind.get_or_create(&labels).set(behind(*next, found));
            }
        }
        set_seconds_or_clear(&metrics.behind_seconds, seconds);
        let mut seen = self.looks.lock();
        seen.apply_seconds = seconds;
        seen.log = Some(found.map_err(|error| told(&error, "the log")));
    }

    fn rate(&self, counted: &mut VecDeque<Counted>) {
        counted.push_back(Counted::now(&self.metrics));
        while counted.len() > RATE_LOOKS {
            counted.pop_front();
        }
        if let (Some(first), Some(last)) = (counted.front(), counted.back()) {
            let mut seen = self.looks.lock();
            seen.capture_rate = Some(last.capture.since(&first.capture, last.at - first.at));
            seen.apply_rate = Some(last.apply.since(&first.apply, last.at - first.at));
        }
    }
}

fn told(error: &Error, what: &str) -> String {
    tracing::debug!(%error, "{what} could not be asked how far ahead it is; it is asked again");
    error.to_string()
}

/// What is not known any more must not stand as it was. What is known is never absent for a moment: an alert would begin anew.
fn set_or_clear(gauge: &MaybeGauge, value: Option<u64>) {
    match value {
        Some(value) => {
            gauge.get_or_create(&NoLabels {}).set(saturated(value));
        }
        None => gauge.clear(),
    }
}

fn set_seconds_or_clear(gauge: &MaybeFloatGauge, value: Option<f64>) {
    match value {
        Some(value) => {
            gauge.get_or_create(&NoLabels {}).set(value);
        }
        None => gauge.clear(),
    }
}

fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number of transactions serves as an offset: what is committed and what lies behind it.
fn source_lag(ends: &mut Ends, committed: &Checkpoint, behind: u64) -> f64 {
    let reached = saturated(committed.mark.transactions);
    ends.lag(Instant::now(), reached, reached.saturating_add(saturated(behind)))
}

/// The longest of all partitions whose tables go on.
fn log_lag(ends: &mut BTreeMap<LogPartition, Ends>, found: &[PartitionEnds], known: &Known) -> f64 {
    let now = Instant::now();
    ends.retain(|partition, _| known.applied.contains_key(partition));
    let of_running = found.iter().filter(|found| !known.failed.contains_key(&found.partition.table));
    let lags = of_running.filter_map(|found| {
        let next = known.applied.get(&found.partition)?.unwrap_or(found.oldest);
        Some(ends.entry(found.partition.clone()).or_default().lag(now, next, found.end))
    });
    lags.fold(0.0, f64::max)
}

fn behind(next: Option<i64>, found: &PartitionEnds) -> i64 {
    (found.end - next.unwrap_or(found.oldest)).max(0)
}

/// Ends that looks saw, oldest first, each beyond what was reached at the last look.
#[derive(Debug, Default)]
struct Ends(VecDeque<(Instant, i64)>);

impl Ends {
    /// Notes the end of this look; for how many seconds something has not been reached.
    fn lag(&mut self, now: Instant, reached: i64, end: i64) -> f64 {
        if end <= reached {
            // Whatever was counted before: nothing lies behind now.
            self.0.clear();
            return 0.0;
        }
        if self.0.back().is_none_or(|(_, last)| *last < end) {
            self.0.push_back((now, end));
        }
        while self.0.front().is_some_and(|(_, end)| *end <= reached) {
            self.0.pop_front();
        }
        if self.0.len() > ENDS_MAX {
            // The oldest stays: it is what the lag is counted from.
            let mut number = 0usize;
            self.0.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
        self.0.front().map_or(0.0, |(since, _)| (now - *since).as_secs_f64())
    }
}

/// What the metrics counted at one moment.
struct Counted {
    at: Instant,
    capture: Counts,
    apply: Counts,
}

struct Counts {
    records: u64,
    bytes: u64,
    commits: u64,
}

impl Counted {
    fn now(metrics: &Metrics) -> Self {
        let (capture, apply) = (&metrics.capture, &metrics.apply);
        Self {
            at: Instant::now(),
            capture: Counts {
                records: capture.records.get(),
                bytes: capture.bytes.get(),
                commits: capture.commits.get(),
            },
            apply: Counts { records: apply.records.get(), bytes: apply.bytes.get(), commits: apply.commits.get() },
        }
    }
}

impl Counts {
    #[expect(clippy::cast_precision_loss, reason = "a rate needs few digits")]
    fn since(&self, before: &Self, time: Duration) -> Throughput {
        let seconds = time.as_secs_f64();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.max(0.001);
        Throughput {
            seconds,
            records_per_second: rate(self.records, before.records),
            bytes_per_second: rate(self.bytes, before.bytes),
            commits_per_second: rate(self.commits, before.commits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_is_the_age_of_the_first_end_that_is_not_reached() {
        let begin = Instant::now();
        let mut ends = Ends::default();
        let mut check = |second: u64, reached: i64, end: i64, expect: f64| {
            let lag = ends.lag(begin + Duration::from_secs(second), reached, end);
            assert!((lag - expect).abs() < 0.001, "at {second}: {lag}, not {expect}");
        };
        check(0, 10, 10, 0.0);
        check(5, 10, 10, 0.0);
        check(3600, 10, 11, 0.0);
        check(3605, 11, 20, 0.0);
        check(3610, 11, 30, 5.0);
        check(3615, 19, 30, 10.0);
        check(3620, 20, 30, 10.0);
        check(3625, 30, 30, 0.0);
        check(3630, 5, 30, 0.0);
        check(3635, 5, 30, 5.0);
    }

    #[test]
    fn a_lag_that_lasts_takes_no_more_memory_and_keeps_its_beginning() {
        let begin = Instant::now();
        let mut ends = Ends::default();
        let seconds = 5_000;
        let lag = (0..=seconds)
            .map(|second| ends.lag(begin + Duration::from_secs(second), 0, i64::try_from(second + 1).unwrap()));
        assert!((lag.last().unwrap() - 5_000.0).abs() < 0.001);
        assert!(ends.0.len() <= ENDS_MAX);
    }
}
