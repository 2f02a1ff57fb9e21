//! Unique constraints beside the key: what collides only by the order of a bulk write goes through in the source's order.

use tailrace_contract::ErrorKind;
use tailrace_row::{ColumnType, Field, Value};

use crate::bench::{BIGINT, Bench, Changes, place_of, schema};

const INT: ColumnType = ColumnType::Integer { bits: 32, unsigned: false };

fn row(id: i64, code: i64) -> [Field<'static>; 2] {
    [Field::Value(Value::Integer(id)), Field::Value(Value::Integer(code))]
}

async fn bench(test: &str) -> Bench {
    let bench = Bench::new(test).await;
    bench.create_as("id bigint PRIMARY KEY, code integer UNIQUE").await;
    bench.run("INSERT INTO shop.things SELECT n, n FROM generate_series(1, 2000) AS n").await;
    bench
}

/// A unique value handed from a deleted row to another, which stands before it in key order.
#[tokio::test]
async fn a_deleted_row_hands_its_value_on() {
    let bench = bench("hands_on_by_delete").await;
    let schema = schema(&[("id", BIGINT), ("code", INT)], &[0]);
    bench.apply(Changes::new(&schema).upsert(&row(1, 9)).delete(&row(9, 9))).await.unwrap();
    assert_eq!(bench.ask("SELECT id, code FROM shop.things WHERE id IN (1, 9)").await, ["1|9"]);
}

/// Each row takes the value that the row after it has given up: only the source's order works, which is that of falling
/// ids, while a bulk write goes by rising ones.
#[tokio::test]
async fn a_chain_of_values_goes_in_the_sources_order() {
    let bench = bench("chain_of_values").await;
    let schema = schema(&[("id", BIGINT), ("code", INT)], &[0]);
    for ids in [1..=10, 501..=2_000] {
        let last = *ids.end();
        let mut changes = Changes::new(&schema);
        changes.upsert(&row(last, last + 1_000_000));
        for id in ids.clone().rev().skip(1) {
            changes.upsert(&row(id, id + 1));
        }
        bench.apply(&changes).await.unwrap();
        let sql =
            format!("SELECT count(*), sum(code - id) FROM shop.things WHERE id BETWEEN {} AND {last}", ids.start());
        let count = last - ids.start() + 1;
        assert_eq!(bench.ask(&sql).await, [format!("{count}|{}", count - 1 + 1_000_000)]);
    }
}

/// In the source one of them had a third value for a moment; the batch has only where they ended.
#[tokio::test]
async fn rows_that_swapped_their_values_go_through() {
    let bench = bench("swapped_values").await;
    let schema = schema(&[("id", BIGINT), ("code", INT)], &[0]);
    let mut changes = Changes::new(&schema);
    changes.upsert(&row(1, 2)).upsert(&row(2, 1)).upsert(&row(11, 12)).upsert(&row(12, 13)).upsert(&row(13, 11));
    bench.apply(&changes).await.unwrap();
    let sql = "SELECT id, code FROM shop.things WHERE id <> code ORDER BY id";
    assert_eq!(bench.ask(sql).await, ["1|2", "2|1", "11|12", "12|13", "13|11"]);
    assert_eq!(bench.ask("SELECT count(*) FROM shop.things").await, ["2000"]);
}

/// Where a delete would reach rows of another table, a swap stops the table and touches nothing.
#[tokio::test]
async fn a_swap_is_not_bought_with_other_rows() {
    let bench = bench("swap_with_children").await;
    bench.run("CREATE TABLE shop.parts (thing bigint REFERENCES shop.things ON DELETE CASCADE)").await;
    bench.run("INSERT INTO shop.parts VALUES (1), (2)").await;
    let schema = schema(&[("id", BIGINT), ("code", INT)], &[0]);
    let error = bench.apply(Changes::new(&schema).upsert(&row(1, 2)).upsert(&row(2, 1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableFailed);
    assert_eq!(bench.ask("SELECT count(*) FROM shop.parts").await, ["2"]);
}

/// What only the target has of a row would be gone with it: a swap stops the table there too.
#[tokio::test]
async fn a_swap_is_not_bought_with_columns_of_the_target_alone() {
    let bench = bench("swap_with_notes").await;
    bench
        .run("ALTER TABLE shop.things ADD COLUMN note text DEFAULT 'none'; UPDATE shop.things SET note = 'by hand'")
        .await;
    let schema = schema(&[("id", BIGINT), ("code", INT)], &[0]);
    let error = bench.apply(Changes::new(&schema).upsert(&row(1, 2)).upsert(&row(2, 1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableFailed);
    assert_eq!(bench.ask("SELECT DISTINCT note FROM shop.things").await, ["by hand"]);
}

/// A collision that no order resolves names the record and keeps nothing.
#[tokio::test]
async fn a_real_collision_is_named() {
    let bench = bench("real_collision").await;
    let schema = schema(&[("id", BIGINT), ("code", INT)], &[0]);
    let mut changes = Changes::new(&schema);
    changes.upsert(&row(3_001, 3_001)).upsert(&row(3_002, 7)).upsert(&row(3_003, 3_003));
    let error = bench.apply(&changes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableFailed);
    let text = error.to_string();
    assert!(text.contains("things_code_key") && text.contains(&place_of(1)), "{text}");
    assert!(!text.contains("Key ("), "PostgreSQL's detail quotes the value: {text}");
    assert_eq!(bench.ask("SELECT count(*) FROM shop.things WHERE id > 3000").await, ["0"]);
}

/// The parent comes after its child in the order of tables, but before it in the source.
#[tokio::test]
async fn a_row_that_another_row_needs_first() {
    let bench = Bench::new("needs_first").await;
    bench.create_as("id bigint PRIMARY KEY, code bigint REFERENCES shop.things (id)").await;
    let schema = schema(&[("id", BIGINT), ("code", BIGINT)], &[0]);
    let mut changes = Changes::new(&schema);
    for id in (1..=300).rev() {
        changes.upsert(&row(id, (id + 1).min(300)));
    }
    bench.apply(&changes).await.unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM shop.things").await, ["300"]);
}
