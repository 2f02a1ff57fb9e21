//! Keys of every type: a row is found again by exactly its key's bytes, never another one.

use std::sync::Arc;

use tailrace_contract::{ProofBatch, ReadLimits, Rows, Sink as _};
use tailrace_row::{Charset, ColumnType, Date, Decimal, Field, Key, RecordBatch, TextForm, Time, Timestamp, Value};

use crate::bench::{BIGINT, Bench, Changes, origin, schema};

const VARCHAR: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };

/// Writes a row for each key, updates all, deletes the first, and wants the others.
async fn check(test: &str, key_type: ColumnType, column: Option<&str>, keys: &[Value<'_>]) {
    let bench = Bench::new(test).await;
    let schema = schema(&[("k", key_type), ("n", BIGINT)], &[0]);
    match column {
        Some(column) => bench.create_as(&format!("k {column} PRIMARY KEY, n bigint")).await,
        None => bench.create(&schema).await,
    }
    for n in [1, 2] {
        let mut changes = Changes::new(&schema);
        for key in keys {
            changes.upsert(&[Field::Value(*key), Field::Value(Value::Integer(n))]);
        }
        bench.apply(&changes).await.unwrap();
        assert_eq!(
            bench.ask("SELECT count(*), min(n), max(n) FROM shop.things").await,
            [format!("{}|{n}|{n}", keys.len())]
        );
    }
    for (place, key) in keys.iter().enumerate() {
        let mut changes = Changes::new(&schema);
        changes.delete(&[Field::Value(*key), Field::Null]);
        let applied = bench.apply(&changes).await.unwrap();
        let left = (keys.len() - place - 1).to_string();
        assert_eq!((applied.deleted, bench.ask("SELECT count(*) FROM shop.things").await), (1, vec![left]), "{key:?}");
    }
}

#[tokio::test]
async fn keys_of_every_type() {
    let text = ["", "a", "A", "ä", "a ", "é", "e\u{301}", "😀"].map(Value::Text);
    check("keys", VARCHAR, None, &text).await;
    check("keys", VARCHAR, Some("varchar(100)"), &text).await;
    let bytes = [&[][..], &[0], &[0, 0], &[255]].map(Value::Bytes);
    check("keys", ColumnType::Bytes { form: TextForm::Varying, bytes_max: 16 }, None, &bytes).await;
    let numbers = [i64::MIN, -1, 0, 1, i64::MAX].map(Value::Integer);
    check("keys", BIGINT, None, &numbers).await;
    check("keys", BIGINT, Some("numeric(20)"), &numbers).await;
    let unsigned = [0, 1, u64::MAX].map(Value::Unsigned);
    check("keys", ColumnType::Integer { bits: 64, unsigned: true }, None, &unsigned).await;
    let decimals = [[0_u8], [1], [100], [255]];
    let decimals: Vec<Value<'_>> =
        decimals.iter().map(|unscaled| Value::Decimal(Decimal { unscaled, scale: 2 })).collect();
    check("keys", ColumnType::Decimal { precision: 10, scale: 2 }, None, &decimals).await;
    check("keys", ColumnType::Bit { length: 9 }, None, &[0, 1, 256, 511].map(Value::Bit)).await;
    check("keys", ColumnType::Bit { length: 9 }, Some("bit varying(12)"), &[0, 1, 511].map(Value::Bit)).await;
    check("keys", ColumnType::Bit { length: 1 }, Some("boolean"), &[0, 1].map(Value::Bit)).await;
    let days = [1, 28].map(|day| Value::Date(Date { year: 2024, month: 2, day }));
    check("keys", ColumnType::Date, None, &days).await;
    let times = [-86_400_000_000, 0, 86_400_000_000, 3_020_399_000_000].map(|micros| Value::Time(Time { micros }));
    check("keys", ColumnType::Time { fraction: 0 }, None, &times).await;
    let instants = [0, 1].map(|micros| Value::Timestamp(Timestamp::Micros(micros)));
    check("keys", ColumnType::Timestamp { fraction: 6 }, None, &instants).await;
    let members: Box<[Box<str>]> = ["a", "A", "b"].map(Box::from).into();
    check("keys", ColumnType::Enum { members: members.clone() }, None, &[0, 1, 2, 3].map(Value::Enum)).await;
    check("keys", ColumnType::Set { members }, None, &[0, 1, 2, 3, 7].map(Value::Set)).await;
    check("keys", ColumnType::Year, None, &[0, 1901, 2155].map(Value::Year)).await;
    check("keys", ColumnType::Double, None, &[-1.5, 0.0, 1e300].map(Value::Double)).await;
}

/// -0 and 0 are equal, and two keys. The halves of the change from one to the other come in either order (they may lie in
/// two partitions): the row must be there at the end.
#[tokio::test]
async fn both_zeros_of_a_float_key() {
    for (key_type, zeros) in [
        (ColumnType::Double, [Value::Double(-0.0), Value::Double(0.0)]),
        (ColumnType::Float, [Value::Float(-0.0), Value::Float(0.0)]),
    ] {
        let bench = Bench::new("both_zeros").await;
        let schema = schema(&[("k", key_type), ("n", BIGINT)], &[0]);
        bench.create(&schema).await;
        let row = |key| [Field::Value(key), Field::Value(Value::Integer(1))];
        bench.apply(Changes::new(&schema).upsert(&row(zeros[0]))).await.unwrap();
        bench.apply(Changes::new(&schema).upsert(&row(zeros[1]))).await.unwrap();
        bench.apply(Changes::new(&schema).delete(&row(zeros[0]))).await.unwrap();
        assert_eq!(bench.ask("SELECT k, n FROM shop.things").await, ["0|1"]);
    }
}

#[tokio::test]
async fn composite_keys_and_tables_of_keys_alone() {
    let bench = Bench::new("composite_keys").await;
    let schema = schema(&[("b", VARCHAR), ("a", BIGINT)], &[1, 0]);
    bench.create(&schema).await;
    let row = |a, b| [Field::Value(Value::Text(b)), Field::Value(Value::Integer(a))];
    let mut changes = Changes::new(&schema);
    changes.upsert(&row(1, "x")).upsert(&row(1, "y")).upsert(&row(2, "x"));
    bench.apply(&changes).await.unwrap();
    bench.apply(&changes).await.unwrap();
    bench.apply(Changes::new(&schema).delete(&row(1, "x")).delete(&row(2, "y"))).await.unwrap();
    assert_eq!(bench.ask("SELECT a, b FROM shop.things ORDER BY a, b").await, ["1|y", "2|x"]);
}

/// What the target has beside the source's columns stays.
#[tokio::test]
async fn columns_of_the_target_alone_are_kept() {
    let bench = Bench::new("extra_columns").await;
    bench
        .create_as(
            "note text DEFAULT 'new', \"K\" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n bigint, \
             twice bigint GENERATED ALWAYS AS (n * 2) STORED",
        )
        .await;
    let schema = schema(&[("K", BIGINT), ("n", BIGINT)], &[0]);
    let row = |key, n| [Field::Value(Value::Integer(key)), Field::Value(Value::Integer(n))];
    bench.apply(Changes::new(&schema).upsert(&row(7, 1))).await.unwrap();
    bench.run("UPDATE shop.things SET note = 'by hand'").await;
    bench.apply(Changes::new(&schema).upsert(&row(7, 2)).upsert(&row(8, 3))).await.unwrap();
    assert_eq!(bench.ask("SELECT * FROM shop.things ORDER BY n").await, ["by hand|7|2|4", "new|8|3|6"]);
}

/// What the account's settings make of a backslash, or of the name of a type, changes no key that is asked for.
#[tokio::test]
async fn keys_are_asked_for_as_they_are_whatever_the_account_is_set_to() {
    const LIMITS: ReadLimits = ReadLimits { rows_max: 100, bytes_max: 1 << 20 };
    let bench = Bench::new("key_literals").await;
    let bytes = ColumnType::Bytes { form: TextForm::Varying, bytes_max: 16 };
    let schema = schema(&[("k", VARCHAR), ("b", bytes)], &[0, 1]);
    bench.create(&schema).await;
    let rows = [
        [Value::Text(r"a\b"), Value::Bytes(b"ab")],
        [Value::Text(r"a\\b"), Value::Bytes(br"\x61")],
        [Value::Text("it's"), Value::Bytes(b"")],
        [Value::Text(r"\' ) ) TO STDOUT; COMMIT; DELETE FROM shop.things; --"), Value::Bytes(b"\0\\")],
    ];
    let mut changes = Changes::new(&schema);
    for row in &rows {
        changes.upsert(&row.map(Field::Value));
    }
    bench.apply(&changes).await.unwrap();
    let hostile = r"CREATE SCHEMA hostile; CREATE DOMAIN hostile.text AS pg_catalog.text CHECK (strpos(VALUE, '\') = 0);
        ALTER ROLE tailrace IN DATABASE key_literals SET search_path = hostile, pg_catalog;
        ALTER ROLE tailrace IN DATABASE key_literals SET standard_conforming_strings = off";
    bench.run(hostile).await;
    let key = |row: &[Value<'_>; 2]| {
        let key: Result<Key, std::convert::Infallible> = Key::write(2, |image| {
            row.iter().for_each(|value| image.value(*value));
            Ok(())
        });
        key.unwrap()
    };
    let keys: Vec<Key> = rows.iter().map(key).collect();
    let mut reader = bench.sink.open_reader(Arc::clone(&schema), &bench.mapping()).await.unwrap();
    let mut proof = bench.sink.open_proof(Arc::clone(&schema), &bench.mapping()).await.unwrap();
    let mut found = RecordBatch::new();
    reader.read(Rows::Keys(&keys)).await.unwrap();
    while reader.fill(&mut found, &origin(1), LIMITS).await.unwrap() {}
    let mut proven = ProofBatch::new(2);
    proof.read(Rows::Keys(&keys)).await.unwrap();
    while proof.fill(&mut proven, LIMITS).await.unwrap() {}
    assert_eq!((found.len(), proven.len()), (rows.len(), rows.len()));
    let mut bounds: Vec<Key> = Vec::new();
    while let Some(bound) = reader.bound(bounds.last(), 1).await.unwrap() {
        assert!(keys.contains(&bound) && !bounds.contains(&bound));
        bounds.push(bound);
    }
    assert_eq!((bounds.len(), bench.ask("SELECT count(*) FROM shop.things").await), (rows.len(), vec!["4".to_owned()]));
}
