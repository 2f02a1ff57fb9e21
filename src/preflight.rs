//! `tailrace check`: everything that keeps a configuration from working, found at once, with what mends it. Changes nothing.
//!
//! What is wrong with one system is its connector's to say; here only the systems are asked side by side, and what needs two
//! of them is compared: each source table with the target table that its rows go to.

mod choices;
mod clocks;
mod grants;
#[cfg(test)]
mod manual;

use std::sync::Arc;

pub use grants::{GrantList, grants};
use serde::Serialize;
use tailrace_contract::{
    Error, ErrorKind, Log, Problem, Result, SeenTable, Severity, Sink, Source, TableFilter, TableMapping, TablePattern,
    TargetState,
};
use tailrace_row::{TableName, TableSchema};

use crate::{
    config::Config,
    mapping::{
        chosen,
        policy::{self, ColumnNote},
    },
    registry,
    runtime::tasks,
};

/// Where a problem lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The database whose changes are followed.
    Source,
    /// The transport.
    Log,
    /// The new store.
    Target,
}

impl Place {
    /// Its name, as in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Log => "log",
            Self::Target => "target",
        }
    }
}

/// A problem and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where it lies.
    pub place: Place,
    /// What was found, what is needed, what mends it.
    #[serde(flatten)]
    pub problem: Problem,
}

/// All findings, by place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Whether Tailrace would start.
    pub usable: bool,
    /// What keeps it from starting.
    pub errors: usize,
    /// What the operator should know.
    pub warnings: usize,
    /// Each of them.
    pub problems: Vec<Finding>,
    /// What becomes of values that the target can't hold, by table: no problem as long as there are none.
    pub policies: Vec<TablePolicies>,
}

/// The columns of a table that need a policy if such values occur, or have one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TablePolicies {
    /// The source's table.
    pub source: String,
    /// The target's table.
    pub target: String,
    /// The columns.
    pub columns: Vec<ColumnNote>,
}

/// Asks all three systems at once. `allow_existing`: as for `apply`.
pub async fn check(config: &Config, allow_existing: bool) -> Result<Findings> {
    // Tasks of their own, because one that blocks for a while must not make the others look slow.
    let source = tasks::spawn("check.source", check_source(config.clone()));
    let log = tasks::spawn("check.log", check_log(config.clone()));
    let target = tasks::spawn("check.target", check_target(config.clone()));
    let panicked = |join| Error::corrupt("a check panicked").caused_by(join);
    let source = source.await.map_err(panicked)?;
    let log = log.await.map_err(panicked)?;
    let target = target.await.map_err(panicked)?;
    let has_errors = [&source.problems, &target.problems].into_iter().flatten().any(is_error);
    let mut problems = [source.problems, log.problems, target.problems].concat();
    let mut policies = Vec::new();
    if let Some(source) = source.answers {
        problems.extend(check_start(config, source.as_ref(), log.answers.as_deref(), target.answers.as_deref()).await);
        let tables = Tables { config, source, log: log.answers, sink: target.answers, allow_existing, has_errors };
        // What two tables have in common, or what was found already, is told once.
        let (findings, told) = tables.check().await;
        policies = told;
        for finding in findings {
            if !problems.contains(&finding) {
                problems.push(finding);
            }
        }
    }
    let count = |severity| problems.iter().filter(|finding| finding.problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    Ok(Findings { usable: errors == 0, errors, warnings, problems, policies })
}

fn is_error(finding: &Finding) -> bool {
    finding.problem.severity == Severity::Error
}

/// What a system says, and the system itself if it could say anything.
struct Asked<T: ?Sized> {
    problems: Vec<Finding>,
    answers: Option<Arc<T>>,
}

impl<T: ?Sized> Asked<T> {
    fn new(place: Place, asked: Result<(Arc<T>, Vec<Problem>)>) -> Self {
        let (answers, problems) = match asked {
            // To ask it more would only take time.
            Ok((_, problems)) if problems.iter().any(is_silence) => (None, problems),
            Ok((system, problems)) => (Some(system), problems),
            Err(error) => (None, vec![failed(&error)]),
        };
        Self { problems: at(place, problems), answers }
    }

    /// The settings alone can't work: nobody is asked.
    fn unusable(place: Place, code: &'static str, error: &Error) -> Self {
        let problem = Problem { code, object: format!("[{}]", place.name()), ..failed(error) };
        Self {
            problems: at(place, vec![Problem { needed: "settings that can work".to_owned(), ..problem }]),
            answers: None,
        }
    }
}

/// Whether nothing else could be asked. By agreement the codes of such problems end so.
fn is_silence(problem: &Problem) -> bool {
    problem.code.ends_with("unreachable") || problem.code.ends_with("login")
}

async fn check_source(config: Config) -> Asked<dyn Source> {
    let source = match registry::source(config.source.settings.clone()) {
        Ok(source) => source,
        Err(error) => return Asked::unusable(Place::Source, "source_settings", &error),
    };
    let asked = async {
        let mut problems = source.check(&config.rules.filter()).await?;
        if !problems.iter().any(is_silence) {
            problems.extend(clocks::check(Place::Source, source.clock()).await);
            if let Some(questions) = config.throttle.questions() {
                problems.extend(source.check_load(&questions).await?);
            }
            let replicas = config.throttle.replicas.iter().flat_map(|limits| &limits.replicas);
            // What is wrong with that one is told already.
            let read = config.source.settings.read.as_ref().map(ToString::to_string);
            for replica in replicas.filter(|replica| Some(replica.to_string()) != read) {
                problems.extend(source.check_replica(replica).await?);
            }
        }
        let seen = chosen::source(Arc::clone(&source), &config.rules);
        // Tables that can't be captured are told by the check.
        if !problems.iter().any(|problem| problem.severity == Severity::Error) {
            let columns = choices::check_columns(source.as_ref(), &config.rules).await?;
            let is_usable = columns.is_empty();
            problems.extend(columns);
            if is_usable {
                problems.extend(choices::check_conditions(seen.as_ref(), &config.rules).await);
            }
        }
        Ok((seen, problems))
    };
    Asked::new(Place::Source, asked.await)
}

/// Judges `source.start`, which counts only where no checkpoint is. Who keeps it and can't say is told with its own problems.
async fn check_start(
    config: &Config,
    source: &dyn Source,
    log: Option<&dyn Log>,
    sink: Option<&dyn Sink>,
) -> Vec<Finding> {
    let has_checkpoint = match (&config.log, log, sink) {
        (Some(_), Some(log), _) => log.checkpoint().await.map(|checkpoint| checkpoint.is_some()),
        (None, _, Some(sink)) => {
            let progress = sink.stream_progress(&config.stream()).await;
            progress.map(|progress| progress.is_some_and(|progress| progress.checkpoint.is_some()))
        }
        (Some(_), None, _) | (None, _, None) => return Vec::new(),
    };
    match has_checkpoint {
        Ok(false) => {
            let asked = source.check_start(&config.source.start).await;
            at(Place::Source, asked.unwrap_or_else(|error| vec![failed(&error)]))
        }
        Ok(true) | Err(_) => Vec::new(),
    }
}

async fn check_log(config: Config) -> Asked<dyn Log> {
    // Without the section there is no log to check: the embedded form.
    let Some(settings) = config.log.clone() else { return Asked { problems: Vec::new(), answers: None } };
    let log = match registry::log(settings) {
        Ok(log) => log,
        Err(error) => return Asked::unusable(Place::Log, "log_settings", &error),
    };
    let asked = async {
        let problems = log.check().await?;
        Ok((log, problems))
    };
    Asked::new(Place::Log, asked.await)
}

async fn check_target(config: Config) -> Asked<dyn Sink> {
    let asked = async {
        let sink = registry::sink(config.target()?)?;
        let mut problems = sink.check(&[]).await?;
        if !problems.iter().any(is_silence) {
            problems.extend(clocks::check(Place::Target, sink.clock()).await);
        }
        Ok((sink, problems))
    };
    Asked::new(Place::Target, asked.await)
}

/// What needs the source's tables: their topics, and the tables that their rows go to.
struct Tables<'a> {
    config: &'a Config,
    source: Arc<dyn Source>,
    /// None if it does not answer; likewise the sink.
    log: Option<Arc<dyn Log>>,
    sink: Option<Arc<dyn Sink>>,
    allow_existing: bool,
    /// Of source or target, known already.
    has_errors: bool,
}

impl Tables<'_> {
    async fn check(&self) -> (Vec<Finding>, Vec<TablePolicies>) {
        let schemas = match self.schemas().await {
            Ok(schemas) => schemas,
            Err(error) => return (at(Place::Target, vec![self.not_asked(&error)]), Vec::new()),
        };
        let mut policies = Vec::new();
        let mut findings = Vec::new();
        if let Some(log) = &self.log {
            let problems = log.check_tables(&schemas).await.unwrap_or_else(|error| vec![failed(&error)]);
            findings.extend(at(Place::Log, problems));
        }
        if let Some(sink) = &self.sink {
            let pair = Pair {
                config: self.config,
                source: self.source.as_ref(),
                sink: sink.as_ref(),
                allow_existing: self.allow_existing,
            };
            let problems = pair.compare(&schemas).await.unwrap_or_else(|error| vec![self.not_asked(&error)]);
            findings.extend(at(Place::Target, problems));
            policies = pair.policies(&schemas);
        }
        (findings, policies)
    }

    /// Those that can be captured; the others are told with the source.
    async fn schemas(&self) -> Result<Vec<Arc<TableSchema>>> {
        let filter = self.config.rules.filter();
        let error = match self.source.tables(&filter).await {
            Ok(schemas) => return Ok(schemas),
            Err(error) => error,
        };
        let Ok(seen) = self.source.inventory().await else { return Err(error) };
        let is_good =
            |table: &SeenTable| table.obstacle.is_none() && filter.matches(&table.name.database, &table.name.table);
        let good = seen.into_iter().filter(is_good).map(|table| TablePattern::Table(table.name)).collect();
        self.source.tables(&TableFilter { patterns: good }).await
    }

    /// Beside an error that is told already its consequence is none of its own.
    fn not_asked(&self, error: &Error) -> Problem {
        if self.has_errors { not_compared(error) } else { failed(error) }
    }
}

/// Both ends, each of which has answered.
struct Pair<'a> {
    config: &'a Config,
    source: &'a dyn Source,
    sink: &'a dyn Sink,
    allow_existing: bool,
}

impl Pair<'_> {
    /// What needs both: each source table beside the table that its rows go to.
    async fn compare(&self, schemas: &[Arc<TableSchema>]) -> Result<Vec<Problem>> {
        let (from, to) = (self.source.identity().await?, self.sink.identity().await?);
        if from == to {
            return Err(Error::refused(format!("source and target are the same server ({from})")));
        }
        let names: Vec<TableName> = schemas.iter().map(|schema| schema.name().clone()).collect();
        let mut problems = Vec::new();
        for (schema, mapping) in schemas.iter().zip(&self.config.rules.mappings(&names)?) {
            problems.extend(self.check_table(schema, mapping).await.unwrap_or_else(|error| vec![failed(&error)]));
        }
        Ok(problems)
    }

    /// What nobody need be asked for.
    fn policies(&self, schemas: &[Arc<TableSchema>]) -> Vec<TablePolicies> {
        let of_table = |schema: &Arc<TableSchema>| {
            let mapping = self.config.rules.mapping(schema.name())?;
            let columns = policy::notes(self.sink, schema, &mapping);
            let (source, target) = (mapping.source.to_string(), mapping.target.to_string());
            (!columns.is_empty()).then_some(TablePolicies { source, target, columns })
        };
        schemas.iter().filter_map(of_table).collect()
    }

    async fn check_table(&self, schema: &TableSchema, mapping: &TableMapping) -> Result<Vec<Problem>> {
        let mut problems = self.sink.check_table(schema, mapping).await?;
        let has_errors = problems.iter().any(|problem| problem.severity == Severity::Error);
        // A table that can't be written at all may not even be readable.
        if !has_errors && !self.allow_existing && self.sink.table_state(mapping).await? == TargetState::Foreign {
            problems.push(foreign_rows(mapping));
        }
        Ok(problems)
    }
}

fn foreign_rows(mapping: &TableMapping) -> Problem {
    Problem {
        code: "target_rows",
        severity: Severity::Error,
        object: mapping.target.to_string(),
        found: "rows that Tailrace did not write".to_owned(),
        needed: "an empty table, or --allow-existing: rows with equal keys will then be replaced".to_owned(),
        mend: None,
    }
}

fn at(place: Place, problems: Vec<Problem>) -> Vec<Finding> {
    problems.into_iter().map(|problem| Finding { place, problem }).collect()
}

/// The check itself met an error.
fn failed(error: &Error) -> Problem {
    Problem {
        code: match error.kind() {
            ErrorKind::Transient => "check_unreachable",
            _ => "check_refused",
        },
        severity: Severity::Error,
        object: error.table().map_or_else(|| "the check".to_owned(), |table| format!("table {table}")),
        found: error.to_string(),
        needed: "an answer".to_owned(),
        mend: error.advice().map(str::to_owned),
    }
}

/// What keeps the two from being compared is reported already, and comes first.
fn not_compared(error: &Error) -> Problem {
    Problem {
        code: "tables_not_compared",
        severity: Severity::Warning,
        object: "the target's tables".to_owned(),
        found: format!("not compared with the source's, because {error}"),
        needed: "a source and a target without the errors above".to_owned(),
        mend: None,
    }
}
