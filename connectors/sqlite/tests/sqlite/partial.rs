//! Rows of which not every column came: what came is written, what did not stays, and a row that is not there is no row.

use std::collections::BTreeMap;

use tailrace_contract::ErrorKind;
use tailrace_row::{Charset, ColumnType, Field, TextForm, Value};

use crate::bench::{BIGINT, Bench, Changes, place_of, schema};

const TEXT: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };

#[tokio::test]
async fn what_came_is_written_and_the_rest_stays() {
    let bench = Bench::new();
    // Two keys that a comparison without case takes for one.
    let schema = schema(&[("k", TEXT), ("id", BIGINT), ("n", BIGINT), ("note", TEXT)], &[1, 0]);
    bench.create_as("(k TEXT COLLATE NOCASE NOT NULL, id INTEGER NOT NULL, n INTEGER, note TEXT)").await;
    bench.run("CREATE UNIQUE INDEX by_key ON things (id, k COLLATE BINARY)").await;
    let mut state = 11_u64;
    let mut below = move |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let mut expected: BTreeMap<(i64, &str), [String; 2]> = BTreeMap::new();
    let mut first = Changes::new(&schema);
    for id in 0..300 {
        for k in ["a", "A"] {
            let row = [Value::Text(k), Value::Integer(id), Value::Integer(id), Value::Text("old")];
            first.upsert(&row.map(Field::Value));
            expected.insert((id, k), [id.to_string(), "old".to_owned()]);
        }
    }
    bench.apply(&first).await.unwrap();
    for round in 0..3 {
        let mut changes = Changes::new(&schema);
        for ((id, k), known) in &mut expected {
            let number = below(4_000);
            let text = format!("text {number}");
            let n = (Value::Integer(number.cast_signed()), number.to_string());
            let mut fields = vec![Field::Value(Value::Text(k)), Field::Value(Value::Integer(*id))];
            for ((value, printed), known) in [n, (Value::Text(&text), text.clone())].into_iter().zip(known) {
                let (field, printed) = match below(5) {
                    0 => (Field::Null, "NULL".to_owned()),
                    1 | 2 => (Field::Value(value), printed),
                    _ => (Field::Unchanged, known.clone()),
                };
                fields.push(field);
                *known = printed;
            }
            changes.upsert(&fields);
        }
        bench.apply(&changes).await.unwrap();
        let sql = "SELECT id || k || '=' || ifnull(n, 'NULL') || ',' || ifnull(note, 'NULL') FROM things ORDER BY id, k COLLATE BINARY";
        let rows = expected.iter().map(|((id, k), [n, note])| format!("{id}{k}={n},{note}"));
        assert!(bench.ask(sql).await.into_iter().eq(rows), "after round {round}");
    }
}

#[tokio::test]
async fn a_row_that_is_not_there_is_named() {
    let bench = Bench::new();
    let schema = schema(&[("id", BIGINT), ("n", BIGINT), ("note", TEXT)], &[0]);
    bench.create(&schema).await;
    let row = |id, n, note| [Field::Value(Value::Integer(id)), n, note];
    let mut first = Changes::new(&schema);
    for id in 0..1_000 {
        first.upsert(&row(id, Field::Null, Field::Null));
    }
    bench.apply(&first).await.unwrap();
    let mut changes = Changes::new(&schema);
    let secret = Field::Value(Value::Text("secret"));
    for id in (0..800).rev() {
        changes.upsert(&row(if id == 100 { 4711 } else { id }, Field::Unchanged, secret));
    }
    let error = bench.apply(&changes).await.unwrap_err();
    let text = error.to_string();
    assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(schema.name())), "{text}");
    assert!(text.contains("a row with their key (id) is not there") && text.contains(&place_of(699)), "{text}");
    assert!(!text.contains("secret") && !text.contains("4711"), "{text}");
    assert_eq!(bench.ask("SELECT count(note) FROM things").await, ["0"], "nothing of the batch");
}

/// A unique value is handed from one row to another, by updates that tell only it.
#[tokio::test]
async fn unique_values_are_handed_on() {
    let bench = Bench::new();
    let schema = schema(&[("id", BIGINT), ("n", BIGINT), ("note", TEXT)], &[0]);
    bench.create_as("(id INTEGER PRIMARY KEY, n INTEGER UNIQUE, note TEXT)").await;
    let row = |id, n: i64, note| [Field::Value(Value::Integer(id)), Field::Value(Value::Integer(n)), note];
    let note = Field::Value(Value::Text("kept"));
    let mut first = Changes::new(&schema);
    first.upsert(&row(1, 10, note)).upsert(&row(2, 20, note)).upsert(&row(3, 30, note));
    bench.apply(&first).await.unwrap();
    let mut changes = Changes::new(&schema);
    changes.upsert(&row(3, 40, Field::Unchanged)).upsert(&row(2, 30, Field::Unchanged));
    changes.upsert(&row(1, 20, Field::Unchanged)).upsert(&row(4, 10, note));
    bench.apply(&changes).await.unwrap();
    let told = bench.ask("SELECT id || ' ' || n || ' ' || note FROM things ORDER BY id").await;
    assert_eq!(told, ["1 20 kept", "2 30 kept", "3 40 kept", "4 10 kept"]);
}
