//! What is said of columns and rows of single tables, held against the source's tables as they are.

use tailrace_contract::{Problem, Result, Severity, Source, TableFilter};
use tailrace_row::TableSchema;

use crate::{
    backfill::{conditions, try_condition},
    mapping::{ColumnChoice, TableRules},
};

/// Lists of columns that can't be meant. `source` shows all columns.
pub(super) async fn check_columns(source: &dyn Source, rules: &TableRules) -> Result<Vec<Problem>> {
    let chosen = rules.as_slice().iter().filter(|rule| rule.choice != ColumnChoice::All);
    let filter = TableFilter { patterns: chosen.map(|rule| rule.pattern.clone()).collect() };
    if filter.patterns.is_empty() {
        return Ok(Vec::new());
    }
    let schemas = source.tables(&filter).await?;
    Ok(schemas.iter().flat_map(|schema| of_table(schema, rules.choice(schema.name()))).collect())
}

fn of_table(schema: &TableSchema, choice: &ColumnChoice) -> Vec<Problem> {
    let problem = |found: String, needed: &str| Problem {
        code: "table_columns",
        severity: Severity::Error,
        object: format!("table {}", schema.name()),
        found,
        needed: needed.to_owned(),
        mend: None,
    };
    let unknown = choice.unknown(schema).map(|name| {
        problem(format!("{} names {name:?}, which is no column", choice.key()), "names of the table's columns")
    });
    let lost = choice.lost_key(schema).map(|name| {
        problem(format!("{} leaves out {name:?}, which is part of the key", choice.key()), "all columns of the key")
    });
    unknown.chain(lost).collect()
}

/// Conditions that the source does not take.
pub(super) async fn check_conditions(source: &dyn Source, rules: &TableRules) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (table, condition) in conditions(rules) {
        if let Err(error) = try_condition(source, table, condition).await {
            problems.push(Problem {
                code: "backfill_where",
                severity: Severity::Error,
                object: format!("table {table}"),
                found: error.to_string(),
                needed: "a condition that the source takes behind WHERE".to_owned(),
                mend: None,
            });
        }
    }
    problems
}
