//! What becomes of a table of the target when a statement changes the source's: by the table's policy, from the statement alone.
//!
//! Pure. What the target itself refuses (a type that it would have to change values for, a privilege) it says at the barrier.

use tailrace_contract::{BarrierAct, ColumnStep, DdlPolicy, Fill, SchemaChange, TableAct, TableMapping, TargetAct};
use tailrace_row::TableName;

/// Of a statement, in what is told of it.
const STATEMENT_SHOWN_CHARS_MAX: usize = 200;

/// What is done to the table of the mapping.
#[must_use]
pub fn act(change: &SchemaChange, mapping: &TableMapping) -> BarrierAct {
    let table = &mapping.source;
    let mut acts = change.acts.iter().filter(|act| act.names().contains(&table)).peekable();
    // A table that begins has no rows, and what was there before has gone by a statement of its own.
    let is_renewed = acts.clone().any(|act| matches!(act, TableAct::Renew { .. }));
    let only_begins = acts.clone().all(|act| matches!(act, TableAct::Create { .. }));
    if let (Some(reason), false) = (hidden(acts.clone()), is_renewed) {
        // What may be ignored is the statement, not what comes behind it.
        return BarrierAct::Pause(format!(
            "{reason}, whatever on_ddl says: changes of it are missing from here on unless the source is changed back"
        ));
    }
    match mapping.on_ddl {
        // Not the source's doing: who captures was told to.
        _ if is_renewed => BarrierAct::CarryOut(vec![TargetAct::Truncate]),
        DdlPolicy::Ignore => BarrierAct::CarryOut(Vec::new()),
        _ if acts.peek().is_none() || only_begins => BarrierAct::CarryOut(Vec::new()),
        DdlPolicy::Pause => {
            let why: String = acts.filter_map(reason).map(|reason| format!(" ({reason})")).collect();
            BarrierAct::Pause(format!(
                "on_ddl is \"pause\": do to {} what the statement does{why}, as far as it should follow",
                mapping.target
            ))
        }
        DdlPolicy::Evolve | DdlPolicy::EvolveSwaps => {
            evolve(change, acts, mapping).map_or_else(BarrierAct::Pause, BarrierAct::CarryOut)
        }
    }
}

/// Why an act can't be followed, where the source knows it.
fn reason(act: &TableAct) -> Option<&str> {
    match act {
        TableAct::Other { reason, .. } => Some(reason),
        TableAct::Truncate { .. }
        | TableAct::Alter { .. }
        | TableAct::Rename { .. }
        | TableAct::Drop { .. }
        | TableAct::Create { .. }
        | TableAct::Renew { .. } => None,
    }
}

/// Why changes of the table are missing behind the statement, if they are.
fn hidden<'a>(mut acts: impl Iterator<Item = &'a TableAct>) -> Option<&'a str> {
    acts.find(|act| matches!(act, TableAct::Other { hides_changes: true, .. })).and_then(reason)
}

/// What an operator reads of a table that waits.
#[must_use]
pub fn waits(table: &TableName, change: &SchemaChange, why: &str) -> String {
    waits_at(table, (&change.place, &change.statement), why)
}

/// The same of a place and a statement.
#[must_use]
pub fn waits_at(table: &TableName, (place, statement): (&str, &str), why: &str) -> String {
    let mut shown: String = statement.chars().take(STATEMENT_SHOWN_CHARS_MAX).collect();
    if shown.len() < statement.len() {
        shown.push('…');
    }
    format!("{table} waits at {place}, behind `{shown}`: {why}; then: tailrace resume --table {table}")
}

/// The acts, or why the table has to wait.
fn evolve<'a>(
    change: &SchemaChange,
    acts: impl Iterator<Item = &'a TableAct>,
    mapping: &TableMapping,
) -> Result<Vec<TargetAct>, String> {
    let target = &mapping.target;
    let mut all = Vec::new();
    let follows_swap = mapping.on_ddl == DdlPolicy::EvolveSwaps && is_swap(change, &mapping.source);
    let mut is_told = !follows_swap;
    for act in acts {
        is_told |= matches!(act, TableAct::Alter { .. });
        match act {
            TableAct::Truncate { .. } | TableAct::Renew { .. } => all.push(TargetAct::Truncate),
            TableAct::Alter { steps, .. } => {
                for step in steps {
                    all.push(evolve_column(step, mapping)?);
                }
            }
            TableAct::Create { .. } => {}
            // How the columns of the two differ comes behind it.
            TableAct::Rename { .. } if follows_swap => {}
            TableAct::Rename { .. } if is_swap(change, &mapping.source) => {
                return Err(format!(
                    "another table takes the name, and that its rows are the same, as gh-ost and pt-online-schema-change see to it, is \
                     not proven (on_ddl = \"evolve-swaps\" takes their word for it): give {target} the columns of the source's table"
                ));
            }
            TableAct::Rename { table, to } if *table == mapping.source => {
                return Err(format!("the table is called {to} from here on; {target} gets no more changes of it"));
            }
            TableAct::Rename { table, .. } => {
                return Err(format!("the table {table} takes the name: give {target} its columns and rows"));
            }
            TableAct::Drop { .. } => {
                return Err(format!("the table is dropped: empty or drop {target}, if its rows should go too"));
            }
            TableAct::Other { reason, .. } => return Err(format!("{reason}, which {target} can't follow by itself")),
        }
    }
    if !is_told {
        return Err(format!("another table takes the name: give {target} its columns"));
    }
    Ok(all)
}

/// Whether the name goes from one table to another in one statement.
fn is_swap(change: &SchemaChange, table: &TableName) -> bool {
    let has = |is_it: fn(&TableName, &TableName, &TableName) -> bool| {
        change.acts.iter().any(|act| matches!(act, TableAct::Rename { table: from, to } if is_it(table, from, to)))
    };
    has(|table, from, _| table == from) && has(|table, _, to| table == to)
}

fn evolve_column(step: &ColumnStep, mapping: &TableMapping) -> Result<TargetAct, String> {
    let name = match step {
        ColumnStep::Add { column, .. } | ColumnStep::Change { column } => &column.name,
        ColumnStep::Drop { column } | ColumnStep::Rename { column, .. } => column,
    };
    let policy = mapping.policies.contains_key(name);
    if policy {
        return Err(format!("the column {name} has a policy in the configuration: change both by hand"));
    }
    match step {
        ColumnStep::Add { fill: Fill::Unknown(why), .. } => {
            Err(format!("what rows that were there have in the column {name} is not known: {why}"))
        }
        ColumnStep::Add { column, fill } => Ok(TargetAct::Add { column: column.clone(), fill: fill.clone() }),
        ColumnStep::Drop { column } => Ok(TargetAct::Drop { column: column.clone() }),
        ColumnStep::Rename { column, to } => Ok(TargetAct::Rename { column: column.clone(), to: to.clone() }),
        ColumnStep::Change { column } => Ok(TargetAct::Widen { column: column.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use tailrace_contract::{Policy, TargetTable};
    use tailrace_row::{Column, ColumnType, Sequence};

    use super::*;

    fn table(name: &str) -> TableName {
        TableName::new("shop", name)
    }

    fn column(name: &str) -> Column {
        Column { name: name.into(), column_type: ColumnType::Double, nullable: true }
    }

    fn change(acts: Vec<TableAct>) -> SchemaChange {
        let statement = "TRUNCATE `orders`".into();
        SchemaChange { sequence: Sequence::default(), place: "u:7".into(), committed_at_micros: 0, statement, acts }
    }

    /// What is done to `orders`: acts, or words of the reason to wait.
    fn check(on_ddl: DdlPolicy, acts: Vec<TableAct>, expect: Result<&[TargetAct], &str>) {
        let target = TargetTable { schema: "public".into(), table: "purchases".into() };
        let mut mapping = TableMapping { on_ddl, ..TableMapping::new(table("orders"), target) };
        mapping.policies.insert("shipped".into(), Policy::Null);
        match (act(&change(acts.clone()), &mapping), expect) {
            (BarrierAct::CarryOut(found), Ok(expect)) => assert_eq!(found, expect, "{acts:?}"),
            (BarrierAct::Pause(why), Err(words)) => assert!(why.contains(words), "{acts:?}: {why}"),
            (found, expect) => panic!("{acts:?}: {found:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn what_follows_from_the_statement_is_done() {
        let truncate = || vec![TableAct::Truncate { table: table("orders") }];
        check(DdlPolicy::Evolve, truncate(), Ok(&[TargetAct::Truncate]));
        check(DdlPolicy::Pause, truncate(), Err("public.purchases"));
        check(DdlPolicy::Ignore, truncate(), Ok(&[]));
        check(DdlPolicy::Evolve, vec![TableAct::Truncate { table: table("items") }], Ok(&[]));
        for policy in [DdlPolicy::Pause, DdlPolicy::Ignore, DdlPolicy::Evolve] {
            check(policy, vec![TableAct::Renew { table: table("orders") }], Ok(&[TargetAct::Truncate]));
        }
        for policy in [DdlPolicy::Evolve, DdlPolicy::Pause, DdlPolicy::Ignore] {
            check(policy, vec![TableAct::Create { table: table("orders") }], Ok(&[]));
        }
        let steps = vec![
            ColumnStep::Add { column: column("a"), fill: Fill::Value("1".into()) },
            ColumnStep::Drop { column: "b".into() },
            ColumnStep::Rename { column: "c".into(), to: "d".into() },
            ColumnStep::Change { column: column("e") },
        ];
        let expect = [
            TargetAct::Add { column: column("a"), fill: Fill::Value("1".into()) },
            TargetAct::Drop { column: "b".into() },
            TargetAct::Rename { column: "c".into(), to: "d".into() },
            TargetAct::Widen { column: column("e") },
        ];
        check(DdlPolicy::Evolve, vec![TableAct::Alter { table: table("orders"), steps: steps.clone() }], Ok(&expect));
        check(DdlPolicy::Ignore, vec![TableAct::Alter { table: table("orders"), steps }], Ok(&[]));
    }

    #[test]
    fn what_does_not_follow_waits_and_says_why() {
        let alter = |step| vec![TableAct::Alter { table: table("orders"), steps: vec![step] }];
        let rename = |from: &str, to: &str| TableAct::Rename { table: table(from), to: table(to) };
        let fill = Fill::Unknown("the default is random".into());
        for (acts, words) in [
            (alter(ColumnStep::Add { column: column("a"), fill }), "the default is random"),
            (alter(ColumnStep::Drop { column: "shipped".into() }), "has a policy"),
            (vec![rename("orders", "old")], "called shop.old"),
            (vec![rename("new", "orders")], "shop.new takes the name"),
            (vec![rename("orders", "_orders_del"), rename("_orders_gho", "orders")], "gh-ost"),
            (vec![TableAct::Drop { table: table("orders") }], "is dropped"),
            (
                vec![TableAct::Other {
                    table: table("orders"),
                    reason: "it changes the key".into(),
                    hides_changes: false,
                }],
                "it changes the key",
            ),
        ] {
            check(DdlPolicy::Evolve, acts.clone(), Err(words));
            check(DdlPolicy::Ignore, acts, Ok(&[]));
        }
    }

    #[test]
    fn changes_that_the_source_hides_are_passed_over_by_no_policy() {
        let other = |hides_changes| {
            let reason = "its foreign key changes rows without a trace".to_owned();
            vec![
                TableAct::Create { table: table("orders") },
                TableAct::Other { table: table("orders"), reason, hides_changes },
            ]
        };
        for policy in [DdlPolicy::Ignore, DdlPolicy::Pause, DdlPolicy::Evolve, DdlPolicy::EvolveSwaps] {
            check(policy, other(true), Err("its foreign key changes rows without a trace, whatever on_ddl says"));
        }
        check(DdlPolicy::Ignore, other(false), Ok(&[]));
        check(DdlPolicy::Pause, other(false), Err("does (its foreign key changes rows without a trace), as far as"));
    }

    #[test]
    fn a_copy_that_takes_the_name_is_followed_where_the_tools_word_is_taken() {
        let rename = |from: &str, to: &str| TableAct::Rename { table: table(from), to: table(to) };
        let swap = |last: TableAct| vec![rename("orders", "_orders_del"), rename("_orders_gho", "orders"), last];
        let steps = vec![ColumnStep::Add { column: column("a"), fill: Fill::Null }];
        let told = |steps: &[ColumnStep]| swap(TableAct::Alter { table: table("orders"), steps: steps.to_vec() });
        let add = TargetAct::Add { column: column("a"), fill: Fill::Null };
        check(DdlPolicy::EvolveSwaps, told(&steps), Ok(&[add]));
        check(DdlPolicy::EvolveSwaps, told(&[]), Ok(&[]));
        check(DdlPolicy::Evolve, told(&steps), Err("is not proven"));
        check(DdlPolicy::Pause, told(&steps), Err("is \"pause\""));
        check(DdlPolicy::Ignore, told(&steps), Ok(&[]));
        let reason = "no statement made it".to_owned();
        let other = TableAct::Other { table: table("orders"), reason, hides_changes: false };
        check(DdlPolicy::EvolveSwaps, swap(other), Err("no statement"));
        check(DdlPolicy::EvolveSwaps, told(&steps)[..2].to_vec(), Err("its columns"));
        // In two statements the name is nobody's for a while.
        check(DdlPolicy::EvolveSwaps, vec![rename("orders", "_orders_del")], Err("called shop._orders_del"));
        check(DdlPolicy::EvolveSwaps, vec![rename("_orders_gho", "orders")], Err("takes the name"));
    }

    #[test]
    fn a_table_that_waits_says_where_why_and_what_to_do() {
        let text = waits(&table("orders"), &change(Vec::new()), "the reason");
        for words in ["u:7", "`TRUNCATE `orders``", "the reason", "tailrace resume --table shop.orders"] {
            assert!(text.contains(words), "{text}");
        }
        let long = SchemaChange { statement: "é".repeat(1_000).as_str().into(), ..change(Vec::new()) };
        assert!(waits(&table("orders"), &long, "").chars().count() < 400);
    }
}
