//! What a daemon knows of itself, as a status.

use std::sync::Arc;

use tailrace_contract::{LogPartition, PartitionEnds, StreamCounts};

use super::{
    BackfillStatus, CopyStatus, ErrorStatus, Lag, Looks, Overall, PartStatus, PartitionStatus, PolicyStatus,
    PositionStatus, ProcessState, ProcessStatus, Status, SystemStatus, TableState, TableStatus, Throughput,
    watch::Seen,
};
use crate::{
    config::Config,
    mapping::TableRules,
    runtime::{
        Health, PartState,
        facts::{CopyProgress, Known},
    },
    telemetry::{Metrics, seconds_now},
};

/// What does not change while the process lives.
#[derive(Clone, Debug)]
pub struct About {
    /// The log's prefix, or the stream's name.
    pub stream: String,
    /// `capture`, `apply` or `run`.
    pub command: &'static str,
    /// Where it listens.
    pub address: String,
    /// When it was started, in seconds since 1970.
    pub started_at: f64,
    /// Whether it moves changes without a log.
    pub is_embedded: bool,
    /// Which table goes where.
    pub rules: TableRules,
    /// What was seen from outside.
    pub looks: Arc<Looks>,
}

impl About {
    /// A process that starts now.
    #[must_use]
    pub fn new(config: &Config, command: &'static str, address: String) -> Self {
        Self {
            stream: config.stream(),
            is_embedded: config.log.is_none(),
            command,
            address,
            started_at: seconds_now(),
            rules: config.rules.clone(),
            looks: Arc::default(),
        }
    }

    /// How the process is doing now.
    #[must_use]
    pub fn status(&self, health: &Health, metrics: &Metrics) -> Status {
        let known = metrics.facts.known();
        let seen = self.looks.seen();
        let has = |command| self.command == command || self.command == "run" && !self.is_embedded;
        let process = |part: &str, rate| self.process(part, health, &known, rate);
        let embedded = self.is_embedded.then(|| process(crate::embedded::PART, seen.apply_rate));
        let capture = has("capture").then(|| process(crate::capture::PART, seen.capture_rate));
        let apply = has("apply").then(|| process(crate::apply::PART, seen.apply_rate));
        let partitions = partitions(&known, &seen);
        let worst = [&embedded, &capture, &apply].into_iter().flatten().map(|process| process.state).max();
        Status {
            state: overall(worst.unwrap_or(ProcessState::Starting)),
            stream: self.stream.clone(),
            at: seconds_now(),
            source: seen.source.as_ref().map(|source| system(source.as_ref().map(|state| Some(&state.server)))),
            log: seen.log.as_ref().map(|log| system(log.as_ref().map(|_| None))),
            target: None,
            position: position(&known, &seen),
            lag: lag(&seen, &partitions),
            tables: self.tables(&known),
            backfill: BackfillStatus::of(&known),
            partitions,
            hints: Vec::new(),
            embedded,
            capture,
            apply,
        }
    }

    fn process(&self, part: &str, health: &Health, known: &Known, throughput: Option<Throughput>) -> ProcessStatus {
        let parts = health.parts();
        let described = parts.iter().map(|(name, state)| {
            let part = PartStatus { state: state.name().to_owned(), reason: state.reason().map(str::to_owned) };
            ((*name).to_owned(), part)
        });
        let (name, worst) = health.worst().unwrap_or((crate::capture::PART, PartState::Starting));
        let reason =
            worst.reason().map(|reason| if name == part { reason.to_owned() } else { format!("{name}: {reason}") });
        let own_errors = known
            .errors
            .iter()
            .filter(|(stage, _)| ![crate::capture::PART, crate::apply::PART].contains(*stage) || **stage == part);
        let last = own_errors.max_by(|(_, one), (_, other)| one.at.total_cmp(&other.at));
        ProcessStatus {
            state: process_state(&worst),
            reason,
            address: self.address.clone(),
            command: Some(self.command.to_owned()),
            started_at: Some(self.started_at),
            parts: described.collect(),
            throughput,
            met: (part != crate::apply::PART && known.met != StreamCounts::default()).then(|| known.met.into()),
            last_error: last.map(|(stage, error)| ErrorStatus {
                at: error.at,
                stage: (*stage).to_owned(),
                kind: error.kind.to_owned(),
                text: error.text.clone(),
            }),
        }
    }

    /// Those that are applied here, and those that stopped here.
    fn tables(&self, known: &Known) -> Vec<TableStatus> {
        let mut names: Vec<_> = known.applied.keys().map(|partition| &partition.table).collect();
        names.extend(
            known.failed.keys().chain(known.paused.keys()).chain(known.policy_uses.keys().map(|(table, ..)| table)),
        );
        names.sort();
        names.dedup();
        let describe = |mapping: tailrace_contract::TableMapping| {
            let failed = known.failed.get(&mapping.source);
            let paused = known.paused.get(&mapping.source);
            let state = match (failed, paused) {
                (Some(_), _) => TableState::Stopped,
                (None, Some(_)) => TableState::Paused,
                (None, None) => TableState::Unknown,
            };
            let reason = failed.or(paused).cloned();
            let uses = known.policy_uses.iter().filter(|((table, ..), _)| *table == mapping.source);
            let policies = uses.map(|((_, column, policy), uses)| PolicyStatus {
                column: column.to_string(),
                policy: (*policy).to_owned(),
                uses: *uses,
            });
            let (source, target) = (mapping.source.to_string(), mapping.target.to_string());
            TableStatus { source, target, state, reason, policies: policies.collect() }
        };
        names.into_iter().filter_map(|name| self.rules.mapping(name)).map(describe).collect()
    }
}

impl BackfillStatus {
    /// None where nothing is copied.
    #[must_use]
    pub fn of(known: &Known) -> Option<Self> {
        let describe = |copy: &CopyProgress| CopyStatus {
            table: copy.table.to_string(),
            state: copy.state.to_owned(),
            reason: copy.reason.clone(),
            rows_done: copy.rows_done,
            rows_estimated: copy.rows_estimated,
            rows_dropped: copy.rows_dropped,
            chunks: copy.chunks,
            windows_open: copy.windows_open,
            readers: copy.readers,
            retries: copy.retries,
            rows_per_second: copy.rows_per_second,
            eta_seconds: copy.eta_seconds,
        };
        let tables: Vec<_> = known.copies.iter().map(describe).collect();
        let status = Self { held: known.held.clone(), rows_per_second_max: known.rows_per_second_max, tables };
        (!status.tables.is_empty()).then_some(status)
    }
}

fn process_state(state: &PartState) -> ProcessState {
    match state {
        PartState::Starting => ProcessState::Starting,
        PartState::Running => ProcessState::Running,
        PartState::Waiting(_) => ProcessState::Waiting,
        PartState::Degraded(_) => ProcessState::Degraded,
        PartState::Failed(_) => ProcessState::Failed,
    }
}

/// What the worst process makes of the whole.
pub(super) fn overall(worst: ProcessState) -> Overall {
    match worst {
        ProcessState::Running => Overall::Running,
        ProcessState::Starting | ProcessState::Waiting | ProcessState::Degraded => Overall::Degraded,
        ProcessState::Failed | ProcessState::Down => Overall::Down,
    }
}

fn system(answer: std::result::Result<Option<&String>, &String>) -> SystemStatus {
    match answer {
        Ok(server) => SystemStatus { answers: true, server: server.cloned(), error: None },
        Err(error) => SystemStatus { answers: false, server: None, error: Some(error.clone()) },
    }
}

fn position(known: &Known, seen: &Seen) -> Option<PositionStatus> {
    let executed = seen.source.as_ref().and_then(|source| source.as_ref().ok()).map(|state| state.end.to_string());
    known.committed.as_ref().map(|committed| PositionStatus {
        committed: committed.mark.position.to_string(),
        transactions: committed.mark.transactions,
        epoch: committed.epoch.0,
        is_split: committed.split.is_some(),
        executed,
    })
}

fn partitions(known: &Known, seen: &Seen) -> Vec<PartitionStatus> {
    let ends: &[PartitionEnds] = match &seen.log {
        Some(Ok(ends)) => ends,
        Some(Err(_)) | None => &[],
    };
    let describe = |(partition, next): (&LogPartition, &Option<i64>)| {
        partition_status(partition, *next, ends.iter().find(|ends| ends.partition == *partition))
    };
    known.applied.iter().map(describe).collect()
}

/// A partition as far as it is known.
pub(super) fn partition_status(
    partition: &LogPartition,
    next_offset: Option<i64>,
    ends: Option<&PartitionEnds>,
) -> PartitionStatus {
    PartitionStatus {
        table: partition.table.to_string(),
        partition: partition.index,
        next_offset,
        oldest: ends.map(|ends| ends.oldest),
        end: ends.map(|ends| ends.end),
        behind: ends.map(|ends| u64::try_from(ends.end - next_offset.unwrap_or(ends.oldest)).unwrap_or(0)),
    }
}

/// The sum of what lies behind; none if that of a partition is not known.
pub(super) fn offsets_behind(partitions: &[PartitionStatus]) -> Option<u64> {
    partitions.iter().map(|partition| partition.behind).sum()
}

fn lag(seen: &Seen, partitions: &[PartitionStatus]) -> Lag {
    let state = seen.source.as_ref().and_then(|source| source.as_ref().ok());
    Lag {
        source_transactions: state.and_then(|state| state.transactions_behind),
        source_bytes: state.and_then(|state| state.bytes_behind),
        source_seconds: seen.source_seconds,
        apply_offsets: seen.log.as_ref().and_then(|_| offsets_behind(partitions)),
        apply_seconds: seen.apply_seconds,
    }
}
