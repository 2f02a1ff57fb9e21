//! The `[[table]]` entries: which tables are captured and where each goes.

use tailrace_contract::{DdlPolicy, TablePattern, TargetTable};
use tailrace_row::TableName;

use super::{
    choices::{check_choice, check_policies},
    document::Entry,
    keys,
    names::{NamePair, parse_pair},
    policies::check_columns,
    problem::{Place, Problems},
    raw::RawTable,
    values::{choice_or_first, quoted, required},
};
use crate::mapping::{GapPolicy, NameEquality, TableRule, TableRules, TargetRule};

/// A checked entry and where its key `source` and what decides its target stand.
struct Checked {
    rule: TableRule,
    source_place: Place,
    target_place: Place,
}

/// How the target names tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct TargetNames<'a> {
    /// Where Tailrace keeps its own tables; in a file, what their names begin with.
    pub own_schema: &'a str,
    /// Whether the target is a file: all its tables lie in one schema.
    pub is_file: bool,
}

/// The words of the DDL policies; the first is the default.
pub(super) const DDL_POLICIES: &[(&str, DdlPolicy)] = &[
    ("pause", DdlPolicy::Pause),
    ("evolve", DdlPolicy::Evolve),
    ("evolve-swaps", DdlPolicy::EvolveSwaps),
    ("ignore", DdlPolicy::Ignore),
];

/// What becomes of tables of which changes are missing; the first is the default.
pub(super) const GAP_POLICIES: &[(&str, GapPolicy)] = &[("wait", GapPolicy::Wait), ("empty", GapPolicy::Empty)];

/// The schema of a file.
const MAIN: &str = "main";

/// Checks the entries one by one and against each other. `names` is none where the target is not known.
pub(super) fn check_tables(
    raw: &[RawTable],
    names: Option<TargetNames<'_>>,
    problems: &mut Problems,
) -> Option<TableRules> {
    let is_file = names.is_some_and(|names| names.is_file);
    let checked: Vec<_> = raw.iter().map(|raw| check_table(raw, is_file, problems)).collect();
    let known: Vec<_> = checked.iter().flatten().collect();
    for (index, entry) in known.iter().enumerate() {
        check_against(entry, &known[..index], names, problems);
    }
    let rules = checked.into_iter().map(|checked| checked.map(|checked| checked.rule)).collect::<Option<_>>()?;
    Some(TableRules::new(rules).with_equality(equality(is_file)))
}

fn equality(is_file: bool) -> NameEquality {
    if is_file { NameEquality::CaseBlind } else { NameEquality::Exact }
}

fn check_against(checked: &Checked, before: &[&Checked], names: Option<TargetNames<'_>>, problems: &mut Problems) {
    let Checked { rule, source_place, target_place } = checked;
    let (schema, table) = target_names(rule);
    let shown = format!("{schema}.{}", table.unwrap_or("*"));
    match names {
        Some(TargetNames { own_schema, is_file: false }) if own_schema == schema => {
            let message = format!("{shown} would lie in the schema {schema:?} of Tailrace's own tables");
            problems.add(target_place, message, "name another target, or another schema in [target]");
        }
        Some(TargetNames { own_schema, is_file: true }) if table.is_some_and(|table| is_own(table, own_schema)) => {
            let message = format!("{shown} would be named like Tailrace's own tables {own_schema}_*");
            problems.add(target_place, message, "name another target, or another schema in [target]");
        }
        Some(_) | None => {}
    }
    if let Some(other) = before.iter().find(|other| other.rule.pattern == rule.pattern) {
        let message = format!("{} stands in {} already", rule.pattern, other.source_place.path);
        problems.add(source_place, message, "leave one of the two");
        return;
    }
    // Databases that share a schema are held apart when their tables are known.
    let equality = equality(names.is_some_and(|names| names.is_file));
    let whole = |rule: &TableRule| {
        let (schema, table) = target_names(rule);
        table.map(|table| equality.fold(&TargetTable { schema: schema.into(), table: table.into() }))
    };
    let is_same_table = |other: &&&Checked| table.is_some() && whole(&other.rule) == whole(rule);
    if let Some(other) = before.iter().find(is_same_table) {
        problems.add(
            target_place,
            format!("{shown} is the target of {} already", other.rule.pattern),
            "name another target",
        );
    }
}

/// Whether a file's table is named like ours.
fn is_own(table: &str, prefix: &str) -> bool {
    let start = table.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    start && table[prefix.len()..].starts_with('_')
}

/// The target's schema, and its table where the rule alone tells it.
fn target_names(rule: &TableRule) -> (&str, Option<&str>) {
    match (&rule.target, &rule.pattern) {
        (TargetRule::Table(target), _) => (&target.schema, Some(&target.table)),
        (TargetRule::Schema(schema), TablePattern::Table(name)) => (schema, Some(&name.table)),
        (TargetRule::Schema(schema), TablePattern::Database(_)) => (schema, None),
        (TargetRule::SameName, TablePattern::Table(name)) => (&name.database, Some(&name.table)),
        (TargetRule::SameName, TablePattern::Database(database)) => (database, None),
    }
}

fn check_table(raw: &RawTable, is_file: bool, problems: &mut Problems) -> Option<Checked> {
    let source = required(&raw.source, (&keys::TABLE, &raw.place), ("source", ""), problems);
    let pattern = source.and_then(|(text, place)| {
        let pattern = check_source(text, place, problems)?;
        Some((pattern, place.clone()))
    });
    let target = match &raw.target {
        Entry::Given(text, place) => Some((check_target(text, place, problems)?, place.clone())),
        Entry::Absent => None,
        Entry::Wrong => return None,
    };
    let on_ddl = choice_or_first(&raw.on_ddl, DDL_POLICIES, problems);
    let is_copied = choice_or_first(&raw.backfill, &[("auto", true), ("off", false)], problems);
    let on_gap = choice_or_first(&raw.on_gap, GAP_POLICIES, problems);
    let policies = check_columns(&raw.columns, pattern.as_ref().map(|(pattern, _)| pattern), problems);
    let choice = check_choice(raw, pattern.as_ref().map(|(pattern, _)| pattern), problems);
    if let (Some((choice, _)), Some(policies)) = (&choice, &policies) {
        check_policies(choice, policies, &raw.place, problems);
    }
    let (pattern, source_place) = pattern?;
    if let Some((NamePair::Table(schema, _) | NamePair::All(schema), place)) = &target
        && is_file
        && !schema.eq_ignore_ascii_case(MAIN)
    {
        problems.add(
            place,
            format!("{} is no schema of a file", quoted(schema)),
            "write \"main.orders\" or \"main.*\"",
        );
        return None;
    }
    let (target, target_place) = match (target, &pattern) {
        (None, _) if is_file => (TargetRule::Schema(MAIN.into()), source_place.clone()),
        (None, _) => (TargetRule::SameName, source_place.clone()),
        (Some((NamePair::Table(schema, table), place)), TablePattern::Table(_)) => {
            (TargetRule::Table(TargetTable { schema: schema.into(), table: table.into() }), place)
        }
        (Some((NamePair::All(schema), place)), TablePattern::Database(_)) => (TargetRule::Schema(schema.into()), place),
        (Some((NamePair::All(_), place)), TablePattern::Table(_)) => {
            problems.add(&place, "one table goes to one table", "name it, as in \"public.orders\"");
            return None;
        }
        (Some((NamePair::Table(..), place)), TablePattern::Database(_)) => {
            problems.add(&place, "all tables of a database can't go to one table", "name a schema, as in \"public.*\"");
            return None;
        }
    };
    let (choice, condition) = choice?;
    let (policies, on_ddl, is_copied, on_gap) = (policies?, on_ddl?, is_copied?, on_gap?);
    let rule = TableRule { pattern, target, policies, on_ddl, is_copied, on_gap, condition, choice };
    Some(Checked { rule, source_place, target_place })
}

fn check_source(text: &str, place: &Place, problems: &mut Problems) -> Option<TablePattern> {
    match parse_pair(text, '`') {
        Some(NamePair::Table(database, table)) => Some(TablePattern::Table(TableName::new(&database, &table))),
        Some(NamePair::All(database)) => Some(TablePattern::Database(database.into())),
        None => {
            let remedy = "write \"shop.orders\", or \"shop.*\" for all tables; a name with a dot goes in backticks";
            problems.add(place, format!("{} names no table", quoted(text)), remedy);
            None
        }
    }
}

fn check_target(text: &str, place: &Place, problems: &mut Problems) -> Option<NamePair> {
    let pair = parse_pair(text, '"');
    if pair.is_none() {
        let remedy = "write \"public.orders\"; a name with a dot goes in double quotes, as in 'public.\"my.orders\"'";
        problems.add(place, format!("{} names no table", quoted(text)), remedy);
    }
    pair
}
