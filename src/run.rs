//! Assembles one process: connectors by their URLs, the parts that the command asks for, and what must hold before they start.
//!
//! No logic of its own: what a part does stands in its module.

use std::sync::Arc;

use tailrace_contract::{Error, ErrorKind, Log, Problem, Result, Severity, Sink, Source, TableFilter, TablePattern};
use tailrace_row::TableSchema;

use crate::{
    apply::{Apply, FailedTables},
    backfill::{AppliedLog, Backfill, Operator, conditions, try_condition},
    capture::Capture,
    config::Config,
    embedded::{self, Embedded},
    mapping::{
        TableRules, chosen,
        policy::{self, ColumnNote},
    },
    registry,
    runtime::{Backoff, Health, PartState, Shutdown, tasks},
    telemetry::Metrics,
    windows::Desk,
};

/// What the command line gives besides the configuration.
#[derive(Clone)]
pub struct RunContext {
    /// Who asks to stop.
    pub shutdown: Shutdown,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// Where to report.
    pub health: Arc<Health>,
    /// Who may ask for something while it runs.
    pub operator: Operator,
    /// Whether target tables with rows that Tailrace did not write are accepted.
    pub allow_existing: bool,
}

/// `tailrace capture`: source to log, until asked to stop.
pub async fn capture(config: Config, context: RunContext) -> Result<()> {
    context.health.set(crate::capture::PART, PartState::Starting);
    refuse_debezium(&config)?;
    let source = chosen_source(&config)?;
    let log = registry::log(config.log()?)?;
    let filter = Arc::new(config.rules.filter());
    if !check_source(&context, source.as_ref(), &filter).await?
        || !check_conditions(&context, source.as_ref(), &config.rules).await?
    {
        return Ok(());
    }
    let Some(problems) = check_log(&context, log.as_ref()).await? else { return Ok(()) };
    refuse_problems("the log can't be used", &problems)?;
    let desk = Desk::default();
    let backfill = backfill(&config, &context, &source, &desk)?;
    let capture = Capture {
        source,
        log,
        filter,
        rules: config.rules,
        start: config.source.start,
        desk: Some(desk),
        limits: config.capture,
        metrics: context.metrics,
        health: context.health,
        shutdown: context.shutdown,
    };
    with_backfill(async move { capture.run().await }, backfill).await
}

/// The source as the configuration chooses its columns.
pub(crate) fn chosen_source(config: &Config) -> Result<Arc<dyn Source>> {
    Ok(chosen::source(registry::source(config.source.settings.clone())?, &config.rules))
}

/// What copies the tables' history, beside the one who writes their changes.
fn backfill(config: &Config, context: &RunContext, source: &Arc<dyn Source>, desk: &Desk) -> Result<Backfill> {
    let applied = match (&config.log, config.throttle.apply_lag_max) {
        (Some(log), Some(_)) => Some(AppliedLog {
            log: registry::log(log.clone())?,
            sink: registry::sink(config.target()?)?,
            stream: config.stream(),
        }),
        (None, _) | (_, None) => None,
    };
    Ok(Backfill {
        source: Arc::clone(source),
        desk: desk.clone(),
        filter: Arc::new(config.rules.filter()),
        rules: config.rules.clone(),
        limits: config.backfill,
        throttle: config.throttle.clone(),
        applied,
        operator: context.operator.clone(),
        metrics: Arc::clone(&context.metrics),
        health: Arc::clone(&context.health),
        shutdown: context.shutdown.child(),
    })
}

/// Runs the one who writes, and ends what copies with it.
async fn with_backfill(writes: impl Future<Output = Result<()>>, backfill: Backfill) -> Result<()> {
    let stop = backfill.shutdown.clone();
    let mut copies = tasks::Group::new();
    copies.spawn(crate::backfill::PART, backfill.run());
    let written = writes.await;
    stop.request();
    match copies.next().await {
        Some(Ok(copied)) => written.and(copied),
        Some(Err(join)) => written.and(Err(Error::corrupt("the part that copies panicked").caused_by(join))),
        None => written,
    }
}

/// `tailrace apply`: log to target, until asked to stop.
pub async fn apply(config: Config, context: RunContext) -> Result<()> {
    context.health.set(crate::apply::PART, PartState::Starting);
    let log = registry::log(config.log()?)?;
    let sink = registry::sink(config.target()?)?;
    tracing::info!(log = log.name(), "asking the log");
    let Some(problems) = check_log(&context, log.as_ref()).await? else { return Ok(()) };
    refuse_problems("the log can't be used", &problems)?;
    if !check_sink(&context, sink.as_ref()).await? || !declare_tables(&context, &config, log.as_ref()).await? {
        return Ok(());
    }
    let apply = Apply {
        log,
        sink,
        rules: config.rules,
        limits: config.apply,
        allow_existing: context.allow_existing,
        metrics: context.metrics,
        health: context.health,
        shutdown: context.shutdown,
        failed: FailedTables::default(),
    };
    apply.run().await
}

/// Records of Debezium name no schema: the source's tables, as they are now, say what their values are. False when asked to
/// stop meanwhile.
async fn declare_tables(context: &RunContext, config: &Config, log: &dyn Log) -> Result<bool> {
    if !writes_debezium(config) {
        return Ok(true);
    }
    let source = registry::source(config.source.settings.clone())?;
    let filter = config.rules.filter();
    let Some(tables) = patiently(context, "source", || source.tables(&filter)).await? else { return Ok(false) };
    refuse_unmatched(&filter, &tables)?;
    log.declare(&tables)?;
    Ok(true)
}

fn writes_debezium(config: &Config) -> bool {
    config.log.as_ref().is_some_and(|log| log.debezium.is_some())
}

/// Two writers would mix their records.
fn refuse_debezium(config: &Config) -> Result<()> {
    if writes_debezium(config) {
        return Err(Error::refused("the log is written by Debezium: only `tailrace apply` works on it")
            .hint("to capture, leave [log.debezium] out and use a prefix that Debezium does not have"));
    }
    Ok(())
}

/// `tailrace run`: capture and apply in one process, through the log; without one, in the embedded form.
pub async fn run(config: Config, context: RunContext) -> Result<()> {
    refuse_debezium(&config)?;
    let source = chosen_source(&config)?;
    let sink = registry::sink(config.target()?)?;
    // Before any server answers: until these parts run, nobody may take the process for ready.
    let parts = if config.log.is_some() { &[crate::capture::PART, crate::apply::PART][..] } else { &[embedded::PART] };
    for part in parts {
        context.health.set(part, PartState::Starting);
    }
    refuse_same(&context, source.as_ref(), sink.as_ref()).await?;
    if context.shutdown.is_requested() {
        return Ok(());
    }
    match config.log {
        Some(_) => run_with_log(config, context).await,
        None => run_embedded(config, context, source, sink).await,
    }
}

async fn run_embedded(config: Config, context: RunContext, source: Arc<dyn Source>, sink: Arc<dyn Sink>) -> Result<()> {
    if !sink.capabilities().has_atomic_progress {
        return Err(Error::refused("the target can't keep a checkpoint in the transaction of the rows")
            .hint("add [log]: with a log the target needs none"));
    }
    let filter = Arc::new(config.rules.filter());
    if !check_source(&context, source.as_ref(), &filter).await? || !check_sink(&context, sink.as_ref()).await? {
        return Ok(());
    }
    if !check_conditions(&context, source.as_ref(), &config.rules).await? {
        return Ok(());
    }
    let desk = Desk::default();
    let backfill = backfill(&config, &context, &source, &desk)?;
    let embedded = Embedded {
        source,
        sink,
        desk: Some(desk),
        stream: config.source.name,
        filter,
        rules: config.rules,
        start: config.source.start,
        limits: config.apply,
        idle_interval: config.capture.idle_interval,
        allow_existing: context.allow_existing,
        metrics: context.metrics,
        health: context.health,
        shutdown: context.shutdown,
    };
    with_backfill(async move { embedded.run().await }, backfill).await
}

/// When one part ends the other is asked to stop; the first error counts.
async fn run_with_log(config: Config, context: RunContext) -> Result<()> {
    let mut parts = tasks::Group::new();
    let stop = context.shutdown.child();
    let of_part = RunContext { shutdown: stop.clone(), ..context };
    parts.spawn(crate::capture::PART, capture(config.clone(), of_part.clone()));
    parts.spawn(crate::apply::PART, apply(config, of_part));
    let mut first = Ok(());
    while let Some(ended) = parts.next().await {
        stop.request();
        let ended = ended.unwrap_or_else(|join| Err(Error::corrupt("a part panicked").caused_by(join)));
        if let Err(error) = &ended {
            // The other part may take its time to stop, or never do.
            tracing::error!(%error, "a part ended; the other is asked to stop");
        }
        first = first.and(ended);
    }
    first
}

/// One table as `tailrace schema` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TableStatements {
    /// The source's table.
    pub source: String,
    /// The target's table.
    pub target: String,
    /// What makes it, in order.
    pub statements: Vec<String>,
    /// Columns with values that the table does not hold, and what becomes of them.
    pub notes: Vec<ColumnNote>,
    /// Whether it was made just now; none if that was not asked for.
    pub created: Option<bool>,
}

/// `tailrace schema`: the target's CREATE TABLE for each source table; `is_applied` runs them where the table is missing.
pub async fn schema(config: Config, is_applied: bool) -> Result<Vec<TableStatements>> {
    let source = chosen_source(&config)?;
    let sink = registry::sink(config.target()?)?;
    let filter = config.rules.filter();
    let schemas: Vec<Arc<TableSchema>> = source.tables(&filter).await?;
    refuse_unmatched(&filter, &schemas)?;
    let names: Vec<_> = schemas.iter().map(|schema| schema.name().clone()).collect();
    let mappings = config.rules.mappings(&names)?;
    let mut tables = Vec::new();
    for (schema, mapping) in schemas.iter().zip(&mappings) {
        let statements = sink.create_statements(schema, mapping)?;
        let created = if is_applied { Some(sink.create_table(schema, mapping).await?) } else { None };
        let notes = policy::notes(sink.as_ref(), schema, mapping);
        let (source, target) = (mapping.source.to_string(), mapping.target.to_string());
        tables.push(TableStatements { source, target, statements, notes, created });
    }
    Ok(tables)
}

/// A rule without a table is a mistake in the name, or a table that the account can't see.
fn refuse_unmatched(filter: &TableFilter, schemas: &[Arc<TableSchema>]) -> Result<()> {
    let has_table = |pattern: &&TablePattern| {
        schemas.iter().any(|schema| pattern.matches(&schema.name().database, &schema.name().table))
    };
    let unmatched: Vec<String> =
        filter.patterns.iter().filter(|pattern| !has_table(pattern)).map(ToString::to_string).collect();
    if unmatched.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!("the source has no table {}", unmatched.join(" and none ")))
        .hint("compare the names in [[table]] with SHOW TABLES; the account may also lack SELECT on them"))
}

/// Tries until the server answers: a daemon may be started before its servers. None when asked to stop meanwhile.
async fn patiently<T, F: Future<Output = Result<T>>>(
    context: &RunContext,
    what: &'static str,
    mut call: impl FnMut() -> F,
) -> Result<Option<T>> {
    let mut backoff = Backoff::new();
    loop {
        // Cancel-safe: a check changes nothing.
        let answer = tokio::select! {
            () = context.shutdown.requested() => return Ok(None),
            answer = call() => answer,
        };
        match answer {
            Ok(answer) => {
                context.health.set(what, PartState::Running);
                return Ok(Some(answer));
            }
            Err(error) if error.kind() == ErrorKind::Transient => {
                context.metrics.count_error(what, &error);
                let wait = backoff.next_wait();
                context.health.set(what, PartState::Waiting(error.to_string()));
                tracing::warn!(%error, tries = backoff.tries(), ?wait, "waiting for the {what}");
                if context.shutdown.wait(wait).await {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// Refuses a source that can't be captured, once it answers; false when asked to stop meanwhile. To a check a server that is
/// away is a problem; asked a plain question it is an error that passes.
async fn check_source(context: &RunContext, source: &dyn Source, filter: &TableFilter) -> Result<bool> {
    let Some(identity) = patiently(context, "source", || source.identity()).await? else { return Ok(false) };
    tracing::info!(%identity, "the source answers");
    let Some(problems) = patiently(context, "source", || source.check(filter)).await? else { return Ok(false) };
    refuse_problems("the source can't be captured", &problems)?;
    Ok(true)
}

/// Refuses conditions that the source does not take; false when asked to stop meanwhile.
async fn check_conditions(context: &RunContext, source: &dyn Source, rules: &TableRules) -> Result<bool> {
    for (table, condition) in conditions(rules) {
        if patiently(context, "source", || try_condition(source, table, condition)).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses a target that can't be used, once it answers; false when asked to stop meanwhile.
async fn check_sink(context: &RunContext, sink: &dyn Sink) -> Result<bool> {
    let capabilities = sink.capabilities();
    if !capabilities.has_atomic_progress && !capabilities.has_versioned_writes {
        return Err(Error::refused("the target can store neither progress with rows nor versions of rows"));
    }
    let Some(identity) = patiently(context, "target", || sink.identity()).await? else { return Ok(false) };
    tracing::info!(%identity, "the target answers");
    let Some(problems) = patiently(context, "target", || sink.check(&[])).await? else { return Ok(false) };
    refuse_problems("the target can't be used", &problems)?;
    Ok(true)
}

/// The log's problems, once it answers. To a check a log that is away is a problem; asked a plain question it is an error
/// that passes.
async fn check_log(context: &RunContext, log: &dyn Log) -> Result<Option<Vec<Problem>>> {
    if patiently(context, "log", || log.tables()).await?.is_none() {
        return Ok(None);
    }
    patiently(context, "log", || log.check()).await
}

/// Warnings are told, errors refuse the start, all of them at once.
fn refuse_problems(what: &str, problems: &[Problem]) -> Result<()> {
    for problem in problems.iter().filter(|problem| problem.severity == Severity::Warning) {
        tracing::warn!(code = problem.code, "{problem}");
    }
    let errors: Vec<String> = problems
        .iter()
        .filter(|problem| problem.severity == Severity::Error)
        .map(|problem| format!("\n  - {problem}"))
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Error::refused(format!("{what}:{}", errors.concat()))) }
}

/// Writing into the tables that are read would never end.
async fn refuse_same(context: &RunContext, source: &dyn Source, sink: &dyn Sink) -> Result<()> {
    let Some(from) = patiently(context, "source", || source.identity()).await? else { return Ok(()) };
    let Some(to) = patiently(context, "target", || sink.identity()).await? else { return Ok(()) };
    if from == to {
        return Err(Error::refused(format!("source and target are the same server ({from})")));
    }
    Ok(())
}
