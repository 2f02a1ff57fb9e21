//! Rows of which not every column came: what came is written, what did not stays, and a row that is not there is no row.

use std::collections::BTreeMap;

use lab::dice::Dice;
use tailrace_contract::ErrorKind;
use tailrace_row::{Charset, ColumnType, Field, TextForm, Value};

use crate::bench::{BIGINT, Bench, Changes, place_of, schema};

const TEXT: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };

/// Columns of types that travel in other forms than they are stored in.
fn columns() -> [(&'static str, ColumnType); 7] {
    [
        ("id", BIGINT),
        ("part", ColumnType::Float),
        ("key_bits", ColumnType::Bit { length: 12 }),
        ("n", BIGINT),
        ("bits", ColumnType::Bit { length: 12 }),
        ("real", ColumnType::Float),
        ("note", TEXT),
    ]
}

/// By id: what the four columns behind the key must hold, as PostgreSQL prints it.
type Expected = BTreeMap<i64, [String; 4]>;

fn key(id: i64) -> [Field<'static>; 3] {
    // The two zeros are one number and two keys.
    let part = if id % 2 == 0 { 0.0 } else { -0.0 };
    let values = [Value::Integer(id / 2), Value::Float(part), Value::Bit(u64::try_from(id % 4096).unwrap())];
    values.map(Field::Value)
}

async fn rows(bench: &Bench) -> Expected {
    let sql = "SELECT id * 2 + (float4send(part) <> float4send('0'))::int, n, bits, \"real\", note FROM shop.things";
    let told = bench.ask(sql).await;
    let row = |line: &String| {
        let mut fields = line.split('|').map(str::to_owned);
        let id = fields.next().unwrap().parse().unwrap();
        (id, <[String; 4]>::try_from(fields.collect::<Vec<_>>()).unwrap())
    };
    told.iter().map(row).collect()
}

#[tokio::test]
async fn what_came_is_written_and_the_rest_stays() {
    let bench = Bench::new("partial_rows").await;
    let schema = schema(&columns(), &[0, 1, 2]);
    bench.create(&schema).await;
    let mut dice = Dice::new(11);
    let mut expected = Expected::new();
    let mut first = Changes::new(&schema);
    let texts: Vec<String> = (0..4_000).map(|number| format!("text {number}")).collect();
    for id in 0..600 {
        let row = [Value::Integer(id), Value::Bit(1), Value::Float(1.5), Value::Text("old")].map(Field::Value);
        first.upsert(&[&key(id)[..], &row].concat());
        expected.insert(id, [id.to_string(), format!("{:012b}", 1), "1.5".to_owned(), "old".to_owned()]);
    }
    bench.apply(&first).await.unwrap();
    for round in 0..3 {
        let mut changes = Changes::new(&schema);
        for id in (0..600).filter(|_| dice.below(3) > 0).collect::<Vec<_>>() {
            let number = dice.below(4_000);
            let text = &texts[usize::try_from(number).unwrap()];
            let values = [
                (Value::Integer(number.cast_signed()), number.to_string()),
                (Value::Bit(number), format!("{number:012b}")),
                (Value::Float(f32::from(u16::try_from(number).unwrap())), number.to_string()),
                (Value::Text(text), text.clone()),
            ];
            let mut fields = key(id).to_vec();
            for ((value, printed), known) in values.into_iter().zip(expected.get_mut(&id).unwrap()) {
                let (field, printed) = match dice.below(5) {
                    0 => (Field::Null, "∅".to_owned()),
                    1 | 2 => (Field::Value(value), printed),
                    _ => (Field::Unchanged, known.clone()),
                };
                fields.push(field);
                *known = printed;
            }
            changes.upsert(&fields);
        }
        bench.apply(&changes).await.unwrap();
        assert!(rows(&bench).await == expected, "after round {round}");
    }
}

#[tokio::test]
async fn a_row_that_is_not_there_is_named() {
    let bench = Bench::new("partial_missing").await;
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
    assert_eq!(bench.ask("SELECT count(note) FROM shop.things").await, ["0"], "nothing of the batch");
}

/// A unique value is handed from one row to another, by updates that tell only it.
#[tokio::test]
async fn unique_values_are_handed_on() {
    let bench = Bench::new("partial_unique").await;
    let schema = schema(&[("id", BIGINT), ("n", BIGINT), ("note", TEXT)], &[0]);
    bench.create_as("id bigint PRIMARY KEY, n bigint UNIQUE, note text").await;
    let row = |id, n: i64, note| [Field::Value(Value::Integer(id)), Field::Value(Value::Integer(n)), note];
    let note = Field::Value(Value::Text("kept"));
    let mut first = Changes::new(&schema);
    first.upsert(&row(1, 10, note)).upsert(&row(2, 20, note)).upsert(&row(3, 30, note));
    bench.apply(&first).await.unwrap();
    let mut changes = Changes::new(&schema);
    changes.upsert(&row(3, 40, Field::Unchanged)).upsert(&row(2, 30, Field::Unchanged));
    changes.upsert(&row(1, 20, Field::Unchanged)).upsert(&row(4, 10, note));
    bench.apply(&changes).await.unwrap();
    let told = bench.ask("SELECT id, n, note FROM shop.things ORDER BY id").await;
    assert_eq!(told, ["1|20|kept", "2|30|kept", "3|40|kept", "4|10|kept"]);
}
