//! How it is going, found out from everybody: the daemons, the source, the log, the target. Each may be away.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tailrace_contract::{
    Checkpoint, Error, ErrorKind, Log, LogPartition, PartitionEnds, PartitionProgress, Position, Result, Sink, Source,
    SourceState, StoredMeeting, TableMapping, TargetState,
};
use tailrace_row::TableName;

use super::{
    Answer, CopyStatus, Lag, Overall, PartitionStatus, PositionStatus, ProcessState, ProcessStatus, Status,
    SystemStatus, TableState, TableStatus, ask,
    own::{offsets_behind, overall, partition_status},
};
use crate::{config::Config, mapping::evolve, registry, runtime::tasks, telemetry::seconds_now};

/// A system that has not answered by then is away.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is asked.
pub struct Survey {
    config: Config,
    /// For commands in hints.
    file: PathBuf,
    source: Arc<dyn Source>,
    log: Option<Arc<dyn Log>>,
    sink: Arc<dyn Sink>,
}

impl Survey {
    /// Connects to nobody yet. `file` is where the configuration was read from.
    pub fn new(config: &Config, file: &Path) -> Result<Self> {
        Ok(Self {
            source: registry::source(config.source.settings.clone())?,
            log: config.log.clone().map(registry::log).transpose()?,
            sink: registry::sink(config.target()?)?,
            config: config.clone(),
            file: file.to_owned(),
        })
    }

    /// Asks everybody, now.
    pub async fn status(&self) -> Status {
        let http = &self.config.http;
        let log = async {
            self.declare_tables().await;
            self.ask_log().await
        };
        let (capture, apply, log, target) = tokio::join!(ask(http.capture), ask(http.apply), log, self.ask_target());
        let stream = self.config.stream();
        let told = Told { capture: ours(capture, &stream), apply: ours(apply, &stream) };
        let checkpoint = match &log {
            Some(log) => log.as_ref().ok().and_then(|log| log.checkpoint.clone()),
            None => target.as_ref().ok().and_then(|target| target.checkpoint.clone()),
        };
        let position = checkpoint.as_ref().map(|checkpoint| checkpoint.mark.position.clone());
        // A log that is away keeps the checkpoint, but capture knows it.
        let position = position.or_else(|| Some(Position::new(&told.position()?.committed)));
        let mappings = self.mappings(log.as_ref(), &target);
        let (source, states) = tokio::join!(self.ask_source(position), self.ask_tables(&target, &mappings));
        let found = Found { told, checkpoint, source, log, target, mappings, states };
        found.status(self)
    }

    /// A log that Debezium writes does not name its tables: the source does. One that is away is told as such with the source.
    async fn declare_tables(&self) {
        let Some(log) = self.log.as_ref().filter(|_| self.is_debeziums()) else { return };
        let (source, filter) = (Arc::clone(&self.source), self.config.rules.filter());
        let tables = within("status.declared", async move { source.tables(&filter).await }).await;
        if let Err(error) = tables.and_then(|tables| log.declare(&tables)) {
            tracing::debug!(%error, "the log's tables are told by the target alone");
        }
    }

    fn is_debeziums(&self) -> bool {
        self.config.log.as_ref().is_some_and(|log| log.debezium.is_some())
    }

    async fn ask_log(&self) -> Option<Result<LogView>> {
        let log = Arc::clone(self.log.as_ref()?);
        let rules = self.config.rules.clone();
        let view = async move {
            let checkpoint = log.checkpoint().await?;
            let tables: Vec<TableName> =
                log.tables().await?.into_iter().filter(|table| rules.mapping(table).is_some()).collect();
            let ends = log.ends(&log.partitions(&tables).await?).await?;
            Ok(LogView { checkpoint, tables, ends })
        };
        Some(within("status.log", view).await)
    }

    async fn ask_target(&self) -> Result<TargetView> {
        let (sink, stream) = (Arc::clone(&self.sink), self.config.stream());
        let has_log = self.log.is_some();
        let view = async move {
            let server = sink.identity().await?;
            let progress = sink.progress(&stream).await?;
            let meetings = sink.meetings(&stream).await?;
            let stream = if has_log { None } else { sink.stream_progress(&stream).await? };
            let checkpoint = stream.and_then(|stream| Some(stream.checkpoint?.at));
            let paused = meetings.into_iter().filter(|meeting| meeting.paused.is_some()).collect();
            Ok(TargetView { server, progress, paused, checkpoint })
        };
        within("status.target", view).await
    }

    async fn ask_source(&self, from: Option<Position>) -> SourceView {
        let source = Arc::clone(&self.source);
        let view = async move {
            match source.state(from.as_ref()).await {
                Ok(state) => Ok((state, None)),
                // It answers, and has something to say about our position.
                Err(error) if error.kind() != ErrorKind::Transient && from.is_some() => {
                    Ok((source.state(None).await?, Some(error.to_string())))
                }
                Err(error) => Err(error),
            }
        };
        within("status.source", view).await
    }

    async fn ask_tables(&self, target: &Result<TargetView>, mappings: &[TableMapping]) -> Vec<TableState> {
        let unknown = vec![TableState::Unknown; mappings.len()];
        if target.is_err() {
            return unknown;
        }
        let (sink, asked) = (Arc::clone(&self.sink), mappings.to_vec());
        let states = async move {
            let mut states = Vec::with_capacity(asked.len());
            for mapping in &asked {
                // A table that our account may not look at hides no other.
                states.push(sink.table_state(mapping).await.map_or(TableState::Unknown, table_state));
            }
            Ok(states)
        };
        within("status.tables", states).await.unwrap_or(unknown)
    }

    /// The tables of the log, or those that the target has offsets of.
    fn mappings(&self, log: Option<&Result<LogView>>, target: &Result<TargetView>) -> Vec<TableMapping> {
        let of_log = log.and_then(|log| log.as_ref().ok()).into_iter().flat_map(|log| log.tables.iter().cloned());
        let progress = target.as_ref().map_or(&[][..], |target| &target.progress);
        let applied = progress.iter().map(|progress| progress.partition.table.clone());
        let names: BTreeSet<TableName> = of_log.chain(applied).collect();
        names.iter().filter_map(|name| self.config.rules.mapping(name)).collect()
    }
}

/// Waits for a system, but not for ever.
async fn within<T: Send + 'static>(
    name: &'static str,
    question: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    // A task of its own, because one that blocks for a while must not make the others wait.
    let mut task = tasks::spawn(name, question);
    match tokio::time::timeout(PATIENCE, &mut task).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(join)) => Err(Error::corrupt("asking panicked").caused_by(join)),
        Err(_) => {
            task.abort();
            Err(Error::transient(format!("no answer within {} s", PATIENCE.as_secs())))
        }
    }
}

struct LogView {
    checkpoint: Option<Checkpoint>,
    tables: Vec<TableName>,
    ends: Vec<PartitionEnds>,
}

struct TargetView {
    server: String,
    progress: Vec<PartitionProgress>,
    /// Tables that wait for an operator.
    paused: Vec<StoredMeeting>,
    /// Of the stream, where there is no log.
    checkpoint: Option<Checkpoint>,
}

/// What the source says, and what it says of our position if that is not well.
type SourceView = Result<(SourceState, Option<String>)>;

/// A Tailrace of another stream is a stranger.
fn ours(answer: Answer, stream: &str) -> Answer {
    match answer {
        Answer::Told(status) if status.stream != stream => {
            Answer::Stranger(format!("the Tailrace of another stream ({}) listens there", status.stream))
        }
        answer => answer,
    }
}

/// What the daemons told.
struct Told {
    capture: Answer,
    apply: Answer,
}

impl Told {
    fn documents(&self) -> impl Iterator<Item = &Status> {
        [&self.capture, &self.apply].into_iter().filter_map(|answer| match answer {
            Answer::Told(status) => Some(&**status),
            Answer::Nobody(_) | Answer::Stranger(_) => None,
        })
    }

    fn position(&self) -> Option<&PositionStatus> {
        self.documents().find_map(|status| status.position.as_ref())
    }
}

/// Everything that was found out.
struct Found {
    told: Told,
    checkpoint: Option<Checkpoint>,
    source: SourceView,
    log: Option<Result<LogView>>,
    target: Result<TargetView>,
    mappings: Vec<TableMapping>,
    states: Vec<TableState>,
}

impl Found {
    fn status(self, survey: &Survey) -> Status {
        let http = &survey.config.http;
        let stream = survey.config.stream();
        // `tailrace run` tells of both where capture would.
        let capture = process(&self.told.capture, http.capture, |status| status.capture.as_ref());
        let runs_both = process(&self.told.capture, http.capture, |status| status.apply.as_ref());
        let apply = process(&self.told.apply, http.apply, |status| status.apply.as_ref());
        let apply =
            if apply.state == ProcessState::Down && runs_both.state != ProcessState::Down { runs_both } else { apply };
        let embedded = process(&self.told.capture, http.capture, |status| status.embedded.as_ref());
        let (embedded, capture, apply) = match survey.log {
            // Debezium captures.
            Some(_) if survey.is_debeziums() => (None, None, Some(apply)),
            Some(_) => (None, Some(capture), Some(apply)),
            None => (Some(embedded), None, None),
        };
        let worst = [&embedded, &capture, &apply].into_iter().flatten().map(|process| process.state).max();
        let partitions = self.partitions();
        let mut status = Status {
            state: overall(worst.unwrap_or(ProcessState::Down)),
            at: seconds_now(),
            embedded,
            capture,
            apply,
            source: Some(match &self.source {
                Ok((state, wrong)) => answering(Some(state.server.clone()), wrong.clone()),
                Err(error) => away(error),
            }),
            log: self.log.as_ref().map(|log| log.as_ref().map_or_else(away, |_| answering(None, None))),
            target: Some(self.target.as_ref().map_or_else(away, |target| answering(Some(target.server.clone()), None))),
            position: self.position(),
            lag: self.lag(&partitions),
            tables: self.tables(),
            backfill: self.told.documents().find_map(|status| status.backfill.clone()),
            partitions,
            hints: Vec::new(),
            stream,
        };
        let is_whole = [&status.source, &status.log, &status.target].into_iter().flatten().all(is_well)
            && !status.partitions.iter().any(is_lost);
        if status.state == Overall::Running && !is_whole {
            status.state = Overall::Degraded;
        }
        status.hints = hints(&status, survey);
        status
    }

    fn position(&self) -> Option<PositionStatus> {
        let executed = self.source.as_ref().ok().map(|(state, _)| state.end.to_string());
        let from_checkpoint = self.checkpoint.as_ref().map(|checkpoint| PositionStatus {
            committed: checkpoint.mark.position.to_string(),
            transactions: checkpoint.mark.transactions,
            epoch: checkpoint.epoch.0,
            is_split: checkpoint.split.is_some(),
            executed: executed.clone(),
        });
        from_checkpoint.or_else(|| Some(PositionStatus { executed, ..self.told.position()?.clone() }))
    }

    /// By what the log and the target say; by what apply says where one of them is away.
    fn partitions(&self) -> Vec<PartitionStatus> {
        let ends = self.log.as_ref().and_then(|log| log.as_ref().ok()).map(|log| &log.ends);
        let progress = self.target.as_ref().ok().map(|target| &target.progress);
        let told = |partition: &LogPartition| {
            let name = partition.table.to_string();
            let mut known = self.told.documents().flat_map(|status| &status.partitions);
            known.find(|told| told.table == name && told.partition == partition.index)
        };
        let mut names: BTreeSet<LogPartition> = BTreeSet::new();
        names.extend(ends.into_iter().flatten().map(|ends| ends.partition.clone()));
        names.extend(progress.into_iter().flatten().map(|progress| progress.partition.clone()));
        if names.is_empty() && (ends.is_none() || progress.is_none()) {
            return self.told.documents().flat_map(|status| status.partitions.clone()).collect();
        }
        let describe = |partition: &LogPartition| {
            let stored = progress.map(|all| all.iter().find(|stored| stored.partition == *partition));
            let next = match stored {
                Some(stored) => stored.and_then(|stored| stored.next_offset),
                None => told(partition).and_then(|told| told.next_offset),
            };
            let found = ends.and_then(|ends| ends.iter().find(|ends| ends.partition == *partition));
            let mut status = partition_status(partition, next, found);
            if stored.is_none() && told(partition).is_none() {
                // Without the target nobody knows what is applied.
                status.behind = None;
            }
            status
        };
        names.iter().map(describe).collect()
    }

    fn lag(&self, partitions: &[PartitionStatus]) -> Lag {
        let told = |pick: fn(&Lag) -> Option<f64>| self.told.documents().find_map(|status| pick(&status.lag));
        let state = self.source.as_ref().ok().map(|(state, _)| state);
        let source_transactions = state.and_then(|state| state.transactions_behind);
        let apply_offsets = if partitions.is_empty() { None } else { offsets_behind(partitions) };
        Lag {
            source_transactions,
            source_bytes: state.and_then(|state| state.bytes_behind),
            source_seconds: told(|lag| lag.source_seconds).or((source_transactions == Some(0)).then_some(0.0)),
            apply_offsets,
            apply_seconds: told(|lag| lag.apply_seconds).or((apply_offsets == Some(0)).then_some(0.0)),
        }
    }

    fn tables(&self) -> Vec<TableStatus> {
        let told: Vec<&TableStatus> = self.told.documents().flat_map(|status| &status.tables).collect();
        let describe = |(mapping, state): (&TableMapping, &TableState)| {
            let source = mapping.source.to_string();
            // One process may answer at both addresses.
            let counting = told.iter().find(|told| told.source == source && !told.policies.is_empty());
            let policies = counting.map(|told| told.policies.clone()).unwrap_or_default();
            let stopped = told.iter().find(|told| told.source == source && told.state == TableState::Stopped);
            let paused = self.target.as_ref().ok().into_iter().flat_map(|target| &target.paused);
            let paused = paused.into_iter().find(|paused| paused.table == mapping.source);
            let (state, reason) = match (stopped, paused) {
                (Some(stopped), _) => (stopped.state, stopped.reason.clone()),
                (None, Some(paused)) => (TableState::Paused, Some(waits(paused))),
                (None, None) => (*state, None),
            };
            TableStatus { target: mapping.target.to_string(), state, reason, policies, source }
        };
        let found: Vec<TableStatus> = self.mappings.iter().zip(&self.states).map(describe).collect();
        // With log and target away, apply still knows its tables.
        if found.is_empty() { told.into_iter().cloned().collect() } else { found }
    }
}

fn waits(meeting: &StoredMeeting) -> String {
    let why = meeting.paused.as_deref().unwrap_or_default();
    evolve::waits_at(&meeting.table, (&meeting.place, &meeting.statement), why)
}

fn table_state(state: TargetState) -> TableState {
    match state {
        TargetState::Missing => TableState::Missing,
        TargetState::Empty => TableState::Empty,
        TargetState::Known => TableState::Applied,
        TargetState::Foreign => TableState::Foreign,
    }
}

/// What the answer says of one part.
fn process(answer: &Answer, address: SocketAddr, part: fn(&Status) -> Option<&ProcessStatus>) -> ProcessStatus {
    let reason = match answer {
        Answer::Told(status) => match part(status) {
            Some(process) => return process.clone(),
            None => format!("what listens at {address} does something else"),
        },
        Answer::Nobody(why) | Answer::Stranger(why) => why.clone(),
    };
    ProcessStatus {
        state: ProcessState::Down,
        reason: Some(reason),
        address: address.to_string(),
        command: None,
        started_at: None,
        parts: std::collections::BTreeMap::new(),
        throughput: None,
        met: None,
        last_error: None,
    }
}

fn answering(server: Option<String>, error: Option<String>) -> SystemStatus {
    SystemStatus { answers: true, server, error }
}

fn away(error: &Error) -> SystemStatus {
    SystemStatus { answers: false, server: None, error: Some(error.to_string()) }
}

fn is_well(system: &SystemStatus) -> bool {
    system.answers && system.error.is_none()
}

/// Whether the log has forgotten what is to be applied next.
fn is_lost(partition: &PartitionStatus) -> bool {
    partition.end.is_some()
        && partition.behind.is_some()
        && partition.oldest.is_some_and(|oldest| partition.next_offset.unwrap_or(0) < oldest)
}

fn hints(status: &Status, survey: &Survey) -> Vec<String> {
    let mut hints = Vec::new();
    let is_down =
        |process: &Option<ProcessStatus>| process.as_ref().is_some_and(|process| process.state == ProcessState::Down);
    let file = survey.file.display();
    let (run_down, capture_down) = (is_down(&status.embedded), is_down(&status.capture));
    let down = [("run", run_down), ("capture", capture_down), ("apply", is_down(&status.apply))];
    for (part, _) in down.into_iter().filter(|(_, is_down)| *is_down) {
        hints.push(format!("{part} is not running: start `tailrace {part} --config {file}`"));
    }
    for (name, system) in [("source", &status.source), ("log", &status.log), ("target", &status.target)] {
        match system {
            Some(SystemStatus { answers: false, error, .. }) => {
                hints.push(format!("the {name} does not answer: {}", error.as_deref().unwrap_or_default()));
            }
            Some(SystemStatus { error: Some(error), .. }) => hints.push(format!("the {name}: {error}")),
            Some(SystemStatus { answers: true, error: None, .. }) | None => {}
        }
    }
    let has_asked_for_checkpoint = status.log.as_ref().or(status.target.as_ref()).is_some_and(|log| log.answers);
    if (run_down || capture_down) && has_asked_for_checkpoint && status.position.is_none() {
        hints.push("there is no checkpoint: the next start begins at source.start".to_owned());
    }
    hints.extend(status.partitions.iter().filter(|partition| is_lost(partition)).map(lost));
    hints.extend(status.tables.iter().filter_map(|table| table_hint(table, &file.to_string())));
    let copies = status.backfill.iter().flat_map(|backfill| &backfill.tables);
    hints.extend(copies.filter_map(|copy| copy_hint(copy, &file.to_string())));
    hints
}

fn copy_hint(copy: &CopyStatus, file: &str) -> Option<String> {
    let is_left = ["failed", "gap"].contains(&copy.state.as_str());
    is_left.then(|| {
        let CopyStatus { table, reason, .. } = copy;
        let reason = reason.as_deref().unwrap_or("the log of capture names the reason");
        format!(
            "the history of {table} is not copied: {reason}; mend it, then run `tailrace backfill start --table {table} --config {file}`"
        )
    })
}

fn lost(partition: &PartitionStatus) -> String {
    format!(
        "{}[{}] needs offset {}, and the log begins at {}: records were deleted before they were applied; copy the table \
         again, and raise [log] retention",
        partition.table,
        partition.partition,
        partition.next_offset.unwrap_or(0),
        partition.oldest.unwrap_or(0)
    )
}

fn table_hint(table: &TableStatus, file: &str) -> Option<String> {
    match table.state {
        TableState::Empty | TableState::Applied | TableState::Unknown => None,
        TableState::Missing => Some(format!(
            "the target table {} of {} does not exist: run `tailrace schema --apply --config {file}`, then start apply again",
            table.target, table.source
        )),
        TableState::Foreign => Some(format!(
            "the target table {} of {} has rows that Tailrace did not write: empty it, or start apply with --allow-existing",
            table.target, table.source
        )),
        TableState::Paused => Some(format!(
            "{} (with --config {file})",
            table.reason.as_deref().unwrap_or("a table waits at a statement: tailrace resume --table")
        )),
        TableState::Stopped => Some(format!(
            "the table {} has stopped: {}; mend it, then start apply again",
            table.source,
            table.reason.as_deref().unwrap_or("the log of apply names the reason")
        )),
    }
}
