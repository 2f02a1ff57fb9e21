//! Column policies: which of them can't work, and that each use counts once, whichever way the rows went.

use tailrace_contract::{Policy, PolicyUse, Severity, Sink as _};
use tailrace_row::{Charset, ColumnType, Date, Field, TextForm, Value};

use crate::bench::{BIGINT, Bench, Changes, schema, source};

const VARCHAR: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };
const ZERO: Field<'static> = Field::Value(Value::Date(Date { year: 0, month: 0, day: 0 }));

fn sentinel(text: &str) -> Policy {
    Policy::Sentinel(text.into())
}

/// The error, and what mends it, of a policy for a column of a table `(id BIGINT key, v)`; none if all is well.
async fn check(
    bench: &mut Bench,
    source_type: &ColumnType,
    declared: &str,
    policy: (&str, Policy),
    expect: Option<&str>,
) {
    bench.policies = [(policy.0.into(), policy.1)].into();
    let schema = schema(&[("id", BIGINT), ("v", source_type.clone())], &[0]);
    bench.run("DROP SCHEMA IF EXISTS shop CASCADE").await;
    bench.create_as(&format!("id bigint PRIMARY KEY, v {declared}")).await;
    let problems = bench.sink.check_table(&schema, &bench.mapping()).await.unwrap();
    let errors: Vec<&str> =
        problems.iter().filter(|problem| problem.severity == Severity::Error).map(|problem| problem.code).collect();
    assert_eq!(errors, expect.into_iter().collect::<Vec<_>>(), "{declared}: {problems:?}");
    if let Some(mend) = problems.iter().find_map(|problem| problem.mend.as_ref()).filter(|_| expect.is_some()) {
        bench.run(mend).await;
        assert_eq!(bench.sink.check_table(&schema, &bench.mapping()).await.unwrap(), [], "{mend}");
    }
    let mut changes = Changes::new(&schema);
    changes.upsert(&[Field::Value(Value::Integer(1)), Field::Null]);
    let is_usable = matches!(expect, None | Some("target_policy_null" | "target_policy_column"));
    assert_eq!(
        bench.apply(&changes).await.is_ok(),
        is_usable || !problems.iter().all(|problem| problem.mend.is_none())
    );
}

#[tokio::test]
async fn policies_that_can_not_work_are_found() {
    let bench = &mut Bench::new("policy_checks").await;
    let date = &ColumnType::Date;
    let time = &ColumnType::Time { fraction: 0 };
    let blob = &ColumnType::Bytes { form: TextForm::Varying, bytes_max: 9 };
    let label = &ColumnType::Enum { members: ["a".into(), String::new().into()].into() };
    for (source_type, declared, policy, expect) in [
        (date, "date", ("v", Policy::Null), None),
        (date, "date NOT NULL", ("v", Policy::Null), Some("target_policy_null")),
        (date, "date", ("V", Policy::Null), Some("target_policy_column")),
        (date, "date", ("id", Policy::Null), Some("target_policy_key")),
        (date, "date", ("id", sentinel("1")), Some("target_policy_key")),
        (date, "date", ("v", sentinel("1970-01-01")), None),
        (date, "date", ("v", sentinel("now")), Some("target_policy_sentinel")),
        (time, "time", ("v", sentinel("00:00:00")), None),
        (time, "time", ("v", sentinel("25:00:00")), Some("target_policy_sentinel")),
        (&VARCHAR, "varchar(3)", ("v", sentinel("long")), Some("target_policy_sentinel")),
        (label, "varchar(3)", ("v", sentinel("any")), None),
        (date, "text", ("v", Policy::Text), None),
        (date, "varchar", ("v", Policy::Text), None),
        (date, "date", ("v", Policy::Text), Some("target_policy_text")),
        (&VARCHAR, "varchar(100)", ("v", Policy::Text), Some("target_policy_text")),
        (&BIGINT, "integer", ("v", Policy::Text), Some("target_policy_text")),
        (blob, "bytea", ("v", Policy::Text), Some("target_policy_text")),
        (label, "text", ("v", Policy::Text), Some("target_policy_text")),
    ] {
        check(bench, source_type, declared, policy, expect).await;
    }
    // The same of a table that is not there yet, and what would make it.
    bench.run("DROP SCHEMA IF EXISTS shop CASCADE").await;
    bench.policies = [("id".into(), Policy::Null), ("v".into(), sentinel("x")), ("w".into(), Policy::Text)].into();
    let schema = schema(&[("id", BIGINT), ("v", ColumnType::Date)], &[0]);
    let problems = bench.sink.check_table(&schema, &bench.mapping()).await.unwrap();
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["target_table_missing", "target_policy_column", "target_policy_key", "target_policy_sentinel"]);
}

#[tokio::test]
async fn each_use_counts_once_for_each_row() {
    let mut bench = Bench::new("policy_uses").await;
    bench.policies = [("v".into(), sentinel("1970-01-01"))].into();
    let schema = schema(&[("id", BIGINT), ("v", ColumnType::Date), ("code", BIGINT)], &[0]);
    bench.create_as("id bigint PRIMARY KEY, v date, code bigint UNIQUE").await;
    let row = |id: i64, code: i64, field: Field<'static>| {
        [Field::Value(Value::Integer(id)), field, Field::Value(Value::Integer(code))]
    };
    // By arrays, by COPY, and in record order, after a bulk write that collides: rows then are tried several times.
    for (ids, is_swap) in [(1..=10, false), (1..=4_000, false), (1..=1_000, true)] {
        let mut changes = Changes::new(&schema);
        for id in ids.clone() {
            let code = if is_swap { id % 1_000 + 1 } else { id };
            changes.upsert(&row(id, code, if id % 2 == 0 { ZERO } else { Field::Null }));
        }
        let applied = bench.apply(&changes).await.unwrap();
        let count = ids.count() as u64 / 2;
        let uses = PolicyUse { table: source(), column: "v".into(), policy: "sentinel", count };
        assert_eq!(applied.policy_uses, [uses], "{is_swap}");
        let written = bench.ask("SELECT count(*), count(v), min(v), max(v) FROM shop.things").await;
        let rows = bench.ask("SELECT count(*), count(*) / 2 FROM shop.things").await;
        assert_eq!(written, [format!("{}|1970-01-01|1970-01-01", rows[0])]);
    }
    let mut changes = Changes::new(&schema);
    changes.upsert(&row(1, 2, Field::Null)).delete(&row(2, 3, ZERO));
    assert_eq!(bench.apply(&changes).await.unwrap().policy_uses, [], "a delete writes nothing");
}
