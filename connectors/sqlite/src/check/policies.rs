//! Column policies beside the tables that they are for.

use tailrace_contract::{Policy, Problem, Severity, TableMapping, print::has_print};
use tailrace_row::{Column, TableSchema};

use crate::{
    catalog::{TableShape, TargetColumn},
    encode::Codec,
    target_type::{TargetType, wanted},
};

/// Policies for columns that the source's table does not have.
pub(crate) fn judge_names(schema: &TableSchema, mapping: &TableMapping) -> Vec<Problem> {
    let is_known = |column: &str| schema.columns().iter().any(|known| *known.name == *column);
    let unknown = mapping.policies.keys().map(|column| &**column).filter(|column| !is_known(column));
    let problem = |column: &str| {
        let near = schema.columns().iter().find(|known| known.name.eq_ignore_ascii_case(column));
        let near = near.map(|near| format!(": did you mean {}?", near.name)).unwrap_or_default();
        let found = format!("a policy for a column that {} does not have", mapping.source);
        error(mapping, column, "target_policy_column", found, format!("a column of the source, spelled as there{near}"))
    };
    unknown.map(problem).collect()
}

/// Policies that can't work, as far as the target's table is known; where it is missing the one that would be made counts.
pub(crate) fn judge(schema: &TableSchema, mapping: &TableMapping, shape: Option<&TableShape>) -> Vec<Problem> {
    let columns = schema.columns().iter().enumerate();
    let problems = columns.filter_map(|(place, source)| {
        let is_key = schema.key().contains(&place);
        match shape.map(|shape| shape.column(&source.name)) {
            // That it is missing is told already.
            Some(None) => None,
            Some(Some(target)) => judge_column(mapping, source, is_key, Some(target)),
            None => judge_column(mapping, source, is_key, None),
        }
    });
    problems.collect()
}

fn judge_column(
    mapping: &TableMapping,
    source: &Column,
    is_key: bool,
    target: Option<&TargetColumn>,
) -> Option<Problem> {
    let name = &*source.name;
    let policy = mapping.policy(name);
    let target_type =
        target.map_or_else(|| Some(wanted(&source.column_type, is_key, policy)), |target| target.target_type);
    let problem = |code, found: String, needed: &str| error(mapping, name, code, found, needed.to_owned());
    match policy {
        Policy::Reject => None,
        Policy::Null | Policy::Sentinel(_) if is_key => {
            let found =
                format!("the policy \"{}\" for a key column: rows would get one key and become one", policy.name());
            Some(problem("target_policy_key", found, "\"text\", which tells all values apart, or \"reject\""))
        }
        Policy::Null if target.is_some_and(|target| !target.is_nullable) => {
            let found = "the policy \"null\" for a column that is NOT NULL".to_owned();
            Some(problem("target_policy_null", found, "NULL allowed, or another policy"))
        }
        Policy::Null => None,
        Policy::Sentinel(_) => {
            let codec = Codec::by_policy(&source.column_type, target_type?, true, (policy, is_key));
            let found = format!("the policy's sentinel is not usable: {}", codec.err()?);
            Some(problem("target_policy_sentinel", found, "a value of the column that the target's column holds"))
        }
        Policy::Text if !has_print(&source.column_type) => {
            let found = "the policy \"text\" for a column whose type is held as it is".to_owned();
            Some(problem("target_policy_text", found, "\"null\", a sentinel or \"reject\""))
        }
        Policy::Text if matches!(target_type, Some(TargetType::Text | TargetType::Any)) => None,
        Policy::Text => {
            let declared = target.map_or("", |target| &*target.type_name);
            Some(problem(
                "target_policy_text",
                format!("the policy \"text\" for a column of type {declared}"),
                "type TEXT",
            ))
        }
    }
}

fn error(mapping: &TableMapping, column: &str, code: &'static str, found: String, needed: String) -> Problem {
    let object = format!("{}.{column}", mapping.target);
    Problem { code, severity: Severity::Error, object, found, needed, mend: None }
}
