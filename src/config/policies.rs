//! The policies of a `[[table]]`'s columns: what becomes of values that the target can't hold.
//!
//! Which columns there are, what they hold and which are keys only the servers know: `tailrace check` tells, and a table with a
//! policy that can't work does not start.

use std::collections::BTreeMap;

use tailrace_contract::{POLICY_KEY, Policy, TablePattern};

use super::{
    document::{Entry, TableReader},
    keys,
    problem::{Place, Problems},
    values::{choice, given},
};

/// What is typed for one column.
pub(super) struct RawColumn {
    pub name: String,
    pub place: Place,
    pub policy: Entry<RawPolicy>,
}

/// One policy as it is typed.
pub(super) enum RawPolicy {
    Word(String),
    Sentinel(Entry<String>),
}

/// Reads the columns of a table.
pub(super) fn read_columns(table: &TableReader<'_, '_>, problems: &mut Problems) -> Entry<Vec<RawColumn>> {
    match table.named_tables("columns", &keys::COLUMN, problems) {
        Entry::Given(columns, place) => {
            let read = |(name, column): (String, TableReader<'_, '_>)| RawColumn {
                name,
                place: column.place().clone(),
                policy: read_policy(&column, problems),
            };
            Entry::Given(columns.into_iter().map(read).collect(), place)
        }
        Entry::Absent => Entry::Absent,
        Entry::Wrong => Entry::Wrong,
    }
}

fn read_policy(column: &TableReader<'_, '_>, problems: &mut Problems) -> Entry<RawPolicy> {
    if column.place_of_text(POLICY_KEY).is_some() {
        return match column.text(POLICY_KEY, problems) {
            Entry::Given(word, place) => Entry::Given(RawPolicy::Word(word), place),
            Entry::Absent => Entry::Absent,
            Entry::Wrong => Entry::Wrong,
        };
    }
    match column.table(POLICY_KEY, &keys::SENTINEL, problems) {
        Entry::Given(table, place) => Entry::Given(RawPolicy::Sentinel(table.text("sentinel", problems)), place),
        Entry::Absent => Entry::Absent,
        Entry::Wrong => Entry::Wrong,
    }
}

/// Checks the columns of a table.
pub(super) fn check_columns(
    raw: &Entry<Vec<RawColumn>>,
    pattern: Option<&TablePattern>,
    problems: &mut Problems,
) -> Option<BTreeMap<Box<str>, Policy>> {
    let (columns, place) = match raw {
        Entry::Given(columns, place) => (columns, place),
        Entry::Absent => return Some(BTreeMap::new()),
        Entry::Wrong => return None,
    };
    let policies: Vec<_> = columns.iter().map(|column| check_policy(column, problems)).collect();
    if let Some(TablePattern::Database(_)) = pattern {
        let message = "a policy changes what is written, so it is asked for table by table, not for all of a database";
        problems.add(place, message, "name the table in a [[table]] of its own, and the column there");
        return None;
    }
    columns.iter().zip(policies).map(|(column, policy)| Some((column.name.as_str().into(), policy?))).collect()
}

fn check_policy(column: &RawColumn, problems: &mut Problems) -> Option<Policy> {
    type Made = fn() -> Policy;
    const WORDS: &[(&str, Made)] =
        &[("reject", || Policy::Reject), ("null", || Policy::Null), ("text", || Policy::Text)];
    const WRITE_SENTINEL: &str = "write { sentinel = \"…\" } with the value that is to be written";
    match &column.policy {
        Entry::Absent => {
            problems.add_absent(&column.place, "names no policy", format!("add {POLICY_KEY} = \"null\""));
            None
        }
        Entry::Wrong => None,
        Entry::Given(RawPolicy::Word(word), place) if word == "sentinel" => {
            problems.add(place, "a sentinel without its value", WRITE_SENTINEL);
            None
        }
        Entry::Given(RawPolicy::Word(word), place) => choice(word, place, WORDS, problems).map(|policy| policy()),
        Entry::Given(RawPolicy::Sentinel(sentinel), place) => {
            if matches!(sentinel, Entry::Absent) {
                problems.add_absent(place, "names no sentinel", WRITE_SENTINEL);
            }
            given(sentinel).map(|(literal, _)| Policy::Sentinel(literal.as_str().into()))
        }
    }
}
