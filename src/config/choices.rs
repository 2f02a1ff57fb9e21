//! Which columns and which rows of a `[[table]]` are moved.
//!
//! Which columns there are, and whether a condition can be asked, only the source knows: `tailrace check` tells.

use std::collections::BTreeMap;

use tailrace_contract::{Policy, TablePattern};

use super::{
    document::Entry,
    problem::{Place, Problems},
    raw::RawTable,
    values::quoted,
};
use crate::mapping::ColumnChoice;

/// Checks what is said of columns and rows.
pub(super) fn check_choice(
    raw: &RawTable,
    pattern: Option<&TablePattern>,
    problems: &mut Problems,
) -> Option<(ColumnChoice, Option<Box<str>>)> {
    let only = check_names(&raw.only_columns, pattern, problems);
    let except = check_names(&raw.exclude_columns, pattern, problems);
    let condition = check_condition(&raw.backfill_where, pattern, problems);
    if let (Entry::Given(..), Entry::Given(_, place)) = (&raw.only_columns, &raw.exclude_columns) {
        problems.add(place, "stands beside only_columns", "leave one of the two");
        return None;
    }
    let choice = match (only?, except?) {
        (Some(names), _) => ColumnChoice::Only(names),
        (None, Some(names)) => ColumnChoice::Except(names),
        (None, None) => ColumnChoice::All,
    };
    Some((choice, condition?))
}

/// A policy of a column that is left out would never be used.
pub(super) fn check_policies(
    choice: &ColumnChoice,
    policies: &BTreeMap<Box<str>, Policy>,
    place: &Place,
    problems: &mut Problems,
) {
    for column in policies.keys().filter(|column| !choice.is_moved(column)) {
        let message = format!("{} has a policy, and is left out by {}", quoted(column), choice.key());
        problems.add(place, message, "leave one of the two");
    }
}

/// None where something is wrong.
fn check_names(
    entry: &Entry<Vec<String>>,
    pattern: Option<&TablePattern>,
    problems: &mut Problems,
) -> Option<Option<Vec<Box<str>>>> {
    let (names, place) = match entry {
        Entry::Given(names, place) => (names, place),
        Entry::Absent => return Some(None),
        Entry::Wrong => return None,
    };
    if let Some(TablePattern::Database(_)) = pattern {
        problems.add(place, "columns are those of one table", "name the table in a [[table]] of its own");
        return None;
    }
    if names.is_empty() || names.iter().any(|name| name.trim().is_empty()) {
        problems.add(place, "names no column", "write the names of columns, as in [\"id\", \"total\"]");
        return None;
    }
    Some(Some(names.iter().map(|name| name.as_str().into()).collect()))
}

fn check_condition(
    entry: &Entry<String>,
    pattern: Option<&TablePattern>,
    problems: &mut Problems,
) -> Option<Option<Box<str>>> {
    let (condition, place) = match entry {
        Entry::Given(condition, place) => (condition, place),
        Entry::Absent => return Some(None),
        Entry::Wrong => return None,
    };
    if let Some(TablePattern::Database(_)) = pattern {
        problems.add(place, "a condition is one of a single table", "name the table in a [[table]] of its own");
        return None;
    }
    if condition.trim().is_empty() {
        problems.add(place, "is empty", "write what stands behind WHERE, as in \"placed >= '2024-01-01'\"");
        return None;
    }
    Some(Some(condition.as_str().into()))
}
