//! `tailrace check`: everything that keeps a configuration from working, found at once, with what mends it. Changes nothing.
//!
//! What is wrong with one system is its connector's to say; here only the systems are asked side by side, and what needs two
//! of them is compared: each source table with the target table that its rows go to.

use std::sync::Arc;

use serde::Serialize;
use tailrace_contract::{Error, ErrorKind, Problem, Result, Severity, Sink, Source, TableMapping, TargetState};
use tailrace_row::{TableName, TableSchema};

use crate::{config::Config, registry, runtime::tasks};

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
    let has_source_errors = source.problems.iter().any(is_error);
    let has_errors = has_source_errors || target.problems.iter().any(is_error);
    let mut problems = [source.problems, log, target.problems].concat();
    if let (Some(source), Some(target)) = (source.answers, target.answers) {
        let pair = Pair { config, source: source.as_ref(), sink: target.as_ref(), allow_existing, has_source_errors };
        problems.extend(at(
            Place::Target,
            pair.compare().await.unwrap_or_else(|error| {
                // One that is away was reported already.
                vec![if has_errors { not_compared(&error) } else { failed(&error) }]
            }),
        ));
    }
    let count = |severity| problems.iter().filter(|finding| finding.problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    Ok(Findings { usable: errors == 0, errors, warnings, problems })
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
            Ok((system, problems)) => (Some(system), problems),
            Err(error) => (None, vec![failed(&error)]),
        };
        Self { problems: at(place, problems), answers }
    }
}

async fn check_source(config: Config) -> Asked<dyn Source> {
    let asked = async {
        let source = registry::source(config.source.settings.clone())?;
        let problems = source.check(&config.rules.filter()).await?;
        Ok((source, problems))
    };
    Asked::new(Place::Source, asked.await)
}

async fn check_log(config: Config) -> Vec<Finding> {
    // Without the section there is no log to check: the embedded form.
    let Some(settings) = config.log else { return Vec::new() };
    let asked = async { registry::log(settings)?.check().await };
    at(Place::Log, asked.await.unwrap_or_else(|error| vec![failed(&error)]))
}

async fn check_target(config: Config) -> Asked<dyn Sink> {
    let asked = async {
        let sink = registry::sink(config.target()?)?;
        let problems = sink.check(&[]).await?;
        Ok((sink, problems))
    };
    Asked::new(Place::Target, asked.await)
}

/// Both ends, each of which has answered.
struct Pair<'a> {
    config: &'a Config,
    source: &'a dyn Source,
    sink: &'a dyn Sink,
    allow_existing: bool,
    has_source_errors: bool,
}

impl Pair<'_> {
    /// What needs both: each source table beside the table that its rows go to.
    async fn compare(&self) -> Result<Vec<Problem>> {
        let (from, to) = (self.source.identity().await?, self.sink.identity().await?);
        if from == to {
            return Err(Error::refused(format!("source and target are the same server ({from})")));
        }
        let schemas = match self.source.tables(&self.config.rules.filter()).await {
            // Reported with the source; until it is mended there is nothing to compare.
            Err(error) if self.has_source_errors => return Ok(vec![not_compared(&error)]),
            schemas => schemas?,
        };
        let names: Vec<TableName> = schemas.iter().map(|schema| schema.name().clone()).collect();
        let mut problems = Vec::new();
        for (schema, mapping) in schemas.iter().zip(&self.config.rules.mappings(&names)?) {
            problems.extend(self.check_table(schema, mapping).await.unwrap_or_else(|error| vec![failed(&error)]));
        }
        Ok(problems)
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
            ErrorKind::Transient => "unreachable",
            _ => "refused",
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
