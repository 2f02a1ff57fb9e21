//! Keys: every kind of key finds its own row and no other, whatever the table's collations say, and by its index.

use tailrace_row::{Charset, ColumnType, DateTime, Decimal, Field, TextForm, Value};

use crate::bench::{BIGINT, Bench, Changes, schema};

const TEXT: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };
const BYTES: ColumnType = ColumnType::Bytes { form: TextForm::Varying, bytes_max: 400 };

/// Writes a row for each key, writes all again, deletes every other; the rest must be the others, as written last.
async fn check(definition: Option<&str>, key: ColumnType, values: &[Value<'_>]) {
    let bench = Bench::new();
    let schema = schema(&[("v", BIGINT), ("k", key)], &[1]);
    match definition {
        Some(definition) => bench.create_as(definition).await,
        None => bench.create(&schema).await,
    }
    let row = |number: usize, round: i64| {
        [Field::Value(Value::Integer(i64::try_from(number).unwrap() + round)), Field::Value(values[number])]
    };
    for round in [0, 1000] {
        let mut changes = Changes::new(&schema);
        (0..values.len()).for_each(|number| {
            changes.upsert(&row(number, round));
        });
        bench.apply(&changes).await.unwrap();
        assert_eq!(
            bench.ask("SELECT count(*), count(DISTINCT v) FROM things").await,
            [format!("{0}|{0}", values.len())]
        );
    }
    let mut changes = Changes::new(&schema);
    for number in (0..values.len()).step_by(2) {
        changes.delete(&row(number, 0));
    }
    assert_eq!(bench.apply(&changes).await.unwrap().deleted, values.len().div_ceil(2) as u64);
    let expect: Vec<String> = (0..values.len()).skip(1).step_by(2).map(|number| format!("{}", 1000 + number)).collect();
    assert_eq!(bench.ask("SELECT v FROM things ORDER BY v").await, expect);
}

#[tokio::test]
async fn every_key_is_told_from_its_neighbours() {
    let texts = ["a", "A", "a ", "", "ä", "a\u{308}", "1", "1.0", "01", "a\0", "a\0b"].map(Value::Text);
    check(None, TEXT, &texts).await;
    check(Some("(v INT, k TEXT COLLATE NOCASE, UNIQUE (k COLLATE BINARY))"), TEXT, &texts).await;
    check(Some("(v INT, k PRIMARY KEY)"), TEXT, &texts).await;
    check(None, BYTES, &[&b""[..], b"\0", b"\0\0", b"a", b"A", b"a "].map(Value::Bytes)).await;
    let numbers = [0, 1, i64::MAX as u64, 1 << 63, u64::MAX].map(Value::Unsigned);
    check(None, ColumnType::Integer { bits: 64, unsigned: true }, &numbers).await;
    check(None, BIGINT, &[0, -1, i64::MIN, i64::MAX].map(Value::Integer)).await;
    check(None, ColumnType::Double, &[0.0, -0.0, 0.1, 1e300, -1.5].map(Value::Double)).await;
    check(None, ColumnType::Float, &[0.0, -0.0, 0.1, 1.0].map(Value::Float)).await;
}

/// A table whose key column has another collation than its index, in one row value with another column.
#[tokio::test]
async fn parts_of_a_key_are_compared_by_bytes() {
    let bench = Bench::new();
    let schema = schema(&[("a", TEXT), ("b", BYTES), ("v", BIGINT)], &[0, 1]);
    bench
        .create_as("(a TEXT COLLATE NOCASE, b BLOB, v INT); CREATE UNIQUE INDEX key ON things (b, a COLLATE BINARY)")
        .await;
    let row = |a, v| [Field::Value(Value::Text(a)), Field::Value(Value::Bytes(b"b")), Field::Value(Value::Integer(v))];
    let mut changes = Changes::new(&schema);
    changes.upsert(&row("x", 1)).upsert(&row("X", 2));
    bench.apply(&changes).await.unwrap();
    let mut changes = Changes::new(&schema);
    changes.delete(&row("X", 0));
    assert_eq!(bench.apply(&changes).await.unwrap().deleted, 1);
    assert_eq!(bench.ask("SELECT a, v FROM things").await, ["x|1"]);
}

/// More digits in the source's column change no key: rows that were written before are found.
#[tokio::test]
async fn a_key_keeps_its_form_when_its_column_gets_wider() {
    let half = DateTime { micros: 500_000, ..DateTime::default() };
    for (before, after, old, new) in [
        (
            ColumnType::Decimal { precision: 5, scale: 1 },
            ColumnType::Decimal { precision: 5, scale: 2 },
            Value::Decimal(Decimal { unscaled: &[15], scale: 1 }),
            Value::Decimal(Decimal { unscaled: &[0, 150], scale: 2 }),
        ),
        (
            ColumnType::DateTime { fraction: 1 },
            ColumnType::DateTime { fraction: 6 },
            Value::DateTime(half),
            Value::DateTime(half),
        ),
        (ColumnType::Float, ColumnType::Double, Value::Float(0.5), Value::Double(0.5)),
    ] {
        let bench = Bench::new();
        let of = |key| schema(&[("k", key), ("v", BIGINT)], &[0]);
        let (before, after) = (of(before), of(after));
        bench.create(&before).await;
        let one = Field::Value(Value::Integer(1));
        bench.apply(Changes::new(&before).upsert(&[Field::Value(old), one])).await.unwrap();
        assert_eq!(bench.apply(Changes::new(&after).delete(&[Field::Value(new), one])).await.unwrap().deleted, 1);
    }
}
