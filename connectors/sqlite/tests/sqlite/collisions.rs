//! Secondary unique constraints: batches that collide only by their order go through, others name the record.

use tailrace_contract::ErrorKind;
use tailrace_row::{Charset, ColumnType, Field, TextForm, Value};

use crate::bench::{BIGINT, Bench, Changes, place_of, schema};

const EMAIL: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };

/// Rows before, changes in the source's order (`None` deletes), and the rows or the error afterwards.
async fn check(column: &str, before: &[(i64, &str)], changed: &[(i64, Option<&str>)], expect: Result<&[&str], u64>) {
    let bench = Bench::new();
    let schema = schema(&[("id", BIGINT), ("email", EMAIL)], &[0]);
    bench.create_as(&format!("(id INTEGER PRIMARY KEY, email {column})")).await;
    let row = |id, email| [Field::Value(Value::Integer(id)), Field::Value(Value::Text(email))];
    let mut changes = Changes::new(&schema);
    before.iter().for_each(|(id, email)| {
        changes.upsert(&row(*id, email));
    });
    bench.apply(&changes).await.unwrap();
    let mut changes = Changes::new(&schema);
    for (id, email) in changed {
        match email {
            Some(email) => changes.upsert(&row(*id, email)),
            None => changes.delete(&row(*id, "")),
        };
    }
    let applied = bench.apply(&changes).await;
    let rows = bench.ask("SELECT id, email FROM things ORDER BY id").await;
    match expect {
        Ok(expect) => {
            applied.unwrap();
            assert_eq!(rows, expect);
        }
        Err(record) => {
            let error = applied.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TableFailed, "{error}");
            let text = error.to_string();
            assert!(text.contains("things.email") && text.contains(&place_of(record)), "{text}");
            let as_before: Vec<String> = before.iter().map(|(id, email)| format!("{id}|{email}")).collect();
            assert_eq!(rows, as_before, "nothing of the batch is left");
        }
    }
}

const UNIQUE: &str = "TEXT UNIQUE";

#[tokio::test]
async fn values_are_handed_on() {
    // Key order would write 1 before 2 gave its value away.
    check(UNIQUE, &[(1, "a"), (2, "b")], &[(2, Some("c")), (1, Some("b"))], Ok(&["1|b", "2|c"])).await;
    check(UNIQUE, &[(1, "a"), (2, "b")], &[(2, None), (1, Some("b"))], Ok(&["1|b"])).await;
    // Two rows that swap, and three in a ring: every order of single rows collides.
    check(UNIQUE, &[(1, "a"), (2, "b")], &[(1, Some("b")), (2, Some("a"))], Ok(&["1|b", "2|a"])).await;
    let ring = [(1, Some("b")), (2, Some("c")), (3, Some("a"))];
    check(UNIQUE, &[(1, "a"), (2, "b"), (3, "c")], &ring, Ok(&["1|b", "2|c", "3|a"])).await;
}

/// A constraint that would drop or replace rows in silence is overruled.
#[tokio::test]
async fn a_taken_value_is_refused_by_name() {
    for column in [UNIQUE, "TEXT UNIQUE ON CONFLICT REPLACE", "TEXT UNIQUE ON CONFLICT IGNORE"] {
        check(column, &[(1, "a"), (2, "b")], &[(3, Some("c")), (4, Some("a"))], Err(1)).await;
        check(column, &[(1, "a"), (2, "b")], &[(3, Some("c")), (1, Some("b"))], Err(1)).await;
    }
    check(
        "TEXT CONSTRAINT email_short CHECK (length(email) < 3 OR things.email IS NULL)",
        &[(1, "a")],
        &[(2, Some("b"))],
        Ok(&["1|a", "2|b"]),
    )
    .await;
}

#[tokio::test]
async fn one_row_of_many_is_found() {
    let bench = Bench::new();
    let schema = schema(&[("id", BIGINT), ("email", EMAIL)], &[0]);
    bench.create_as("(id INTEGER PRIMARY KEY, email TEXT CONSTRAINT no_777 CHECK (email <> '777'))").await;
    let mut changes = Changes::new(&schema);
    for id in 0..1_000 {
        changes.upsert(&[Field::Value(Value::Integer(id)), Field::Value(Value::Text(&id.to_string()))]);
    }
    let error = bench.apply(&changes).await.unwrap_err().to_string();
    assert!(error.contains("no_777") && error.contains(&place_of(777)), "{error}");
    assert_eq!(bench.ask("SELECT count(*) FROM things").await, ["0"]);
}
