//! Column policies: which of them can't work, and that each use counts once, whichever way the rows went.

use tailrace_contract::{Policy, PolicyUse, Severity};
use tailrace_row::{Charset, ColumnType, Field, TextForm, Value};

use crate::bench::{BIGINT, Bench, Changes, schema, source};

const TEXT: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };

fn sentinel(text: &str) -> Policy {
    Policy::Sentinel(text.into())
}

/// The errors of a policy for a column of a table `(id BIGINT key, v)`.
async fn check(source_type: &ColumnType, declared: &str, policy: (&str, Policy), expect: &[&str]) {
    let mut bench = Bench::new();
    bench.policies = [(policy.0.into(), policy.1)].into();
    bench.create_as(&format!("(id INTEGER PRIMARY KEY, v {declared})")).await;
    let problems = bench.check(&schema(&[("id", BIGINT), ("v", source_type.clone())], &[0])).await;
    let errors: Vec<&str> =
        problems.iter().filter(|problem| problem.severity == Severity::Error).map(|problem| problem.code).collect();
    assert_eq!(errors, expect, "{declared}: {problems:?}");
}

#[tokio::test]
async fn policies_that_can_not_work_are_found() {
    let unsigned = &ColumnType::Integer { bits: 64, unsigned: true };
    for (source_type, declared, policy, expect) in [
        (&TEXT, "TEXT", ("v", Policy::Null), &[][..]),
        (&TEXT, "TEXT NOT NULL", ("v", Policy::Null), &["target_policy_null"]),
        (&TEXT, "TEXT", ("V", Policy::Null), &["target_policy_column"]),
        (&TEXT, "TEXT", ("id", Policy::Null), &["target_policy_key"]),
        (&TEXT, "TEXT", ("v", sentinel("any")), &[]),
        (unsigned, "INTEGER", ("v", sentinel("9223372036854775807")), &[]),
        (unsigned, "INTEGER", ("v", sentinel("9223372036854775808")), &["target_policy_sentinel"]),
        (unsigned, "INTEGER", ("v", sentinel("-1")), &["target_policy_sentinel"]),
        (unsigned, "TEXT", ("v", Policy::Text), &[]),
        (unsigned, "INTEGER", ("v", Policy::Text), &["target_policy_text"]),
        (&ColumnType::Double, "TEXT", ("v", Policy::Text), &["target_policy_text"]),
    ] {
        check(source_type, declared, policy, expect).await;
    }
}

#[tokio::test]
async fn each_use_counts_once_for_each_row() {
    let mut bench = Bench::new();
    bench.policies = [("v".into(), Policy::Null), ("w".into(), Policy::Text)].into();
    let schema = schema(&[("id", BIGINT), ("v", TEXT), ("w", TEXT), ("code", BIGINT)], &[0]);
    bench.create_as("(id INTEGER PRIMARY KEY, v TEXT, w TEXT, code INTEGER UNIQUE)").await;
    let bad = Field::Value(Value::InvalidText(b"a\xff"));
    // In bulk, and in record order, after a bulk write that collides: rows then are tried several times.
    for is_swap in [false, true] {
        let mut changes = Changes::new(&schema);
        for id in 1..=100 {
            let code = if is_swap { id % 100 + 1 } else { id };
            let field = if id % 2 == 0 { bad } else { Field::Value(Value::Text("good")) };
            let number = |number| Field::Value(Value::Integer(number));
            changes.upsert(&[number(id), field, field, number(code)]);
        }
        let uses = |column: &str, policy| PolicyUse { table: source(), column: column.into(), policy, count: 50 };
        let applied = bench.apply(&changes).await.unwrap();
        assert_eq!(applied.policy_uses, [uses("v", "null"), uses("w", "text")], "{is_swap}");
        let written = bench.ask("SELECT count(*), count(v), sum(w = '\\x61ff') FROM things").await;
        assert_eq!(written, ["100|50|50"]);
    }
}
