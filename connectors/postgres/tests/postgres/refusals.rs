//! What PostgreSQL can't hold stops the table by name of column and record, and nothing is written nor changed silently. No
//! error holds a value.

use tailrace_contract::ErrorKind;
use tailrace_row::{Charset, ColumnType, Date, DateTime, Decimal, Field, TextForm, Time, Timestamp, Value};

use crate::bench::{BIGINT, Bench, Changes, place_of, schema, source};

const VARCHAR: ColumnType = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };

const fn integer(bits: u8, unsigned: bool) -> ColumnType {
    ColumnType::Integer { bits, unsigned }
}

fn row(id: i64, field: Field<'_>) -> [Field<'_>; 2] {
    [Field::Value(Value::Integer(id)), field]
}

/// Writes good rows around the bad field, by arrays and by COPY, and wants the error to name column, place and reason.
async fn check(bench: &Bench, source_type: ColumnType, column: Option<&str>, bad: Field<'_>, reason: &str) {
    let schema = schema(&[("id", BIGINT), ("v", source_type)], &[0]);
    bench.run("DROP SCHEMA IF EXISTS shop CASCADE").await;
    match column {
        Some(column) => bench.create_as(&format!("id bigint PRIMARY KEY, v {column}")).await,
        None => bench.create(&schema).await,
    }
    for count in [3, 2_500] {
        let mut changes = Changes::new(&schema);
        // In record order the bad row comes third; in key order it is not the first either.
        let bad_at = 2;
        for number in 0..count {
            let is_bad = number == bad_at || number == bad_at + 1 && count > 3;
            let field = if is_bad { bad } else { Field::Null };
            changes.upsert(&row(count - number, field));
        }
        let before = bench.claim().await;
        let error = bench.apply(&changes).await.unwrap_err();
        let text = error.to_string();
        assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&source())), "{text}");
        let place = place_of(u64::try_from(bad_at).unwrap());
        for part in [reason, "shop.things", "column v", &place] {
            assert!(text.contains(part), "{text:?} says {part:?}");
        }
        assert!(!text.contains("secret"), "no value: {text}");
        assert_eq!(bench.ask("SELECT count(*) FROM shop.things").await, ["0"]);
        assert_eq!(bench.claim().await.next_offset, before.next_offset, "the progress stays");
    }
    let mut good = Changes::new(&schema);
    good.upsert(&row(1, Field::Null));
    bench.apply(&good).await.unwrap();
}

fn value(value: Value<'_>) -> Field<'_> {
    Field::Value(value)
}

fn date(year: u16, month: u8, day: u8) -> Date {
    Date { year, month, day }
}

#[tokio::test]
async fn texts_that_postgresql_does_not_hold() {
    let bench = Bench::new("refused_texts").await;
    check(&bench, VARCHAR, None, value(Value::Text("secret\0")), "NUL").await;
    check(&bench, VARCHAR, None, value(Value::InvalidText(b"secret\xff")), "no text").await;
    check(&bench, VARCHAR, Some("varchar(5)"), value(Value::Text("secret")), "longer than the target column").await;
    // PostgreSQL itself would cut these blanks without a word.
    check(&bench, VARCHAR, Some("varchar(5)"), value(Value::Text("12345 ")), "longer than the target column").await;
    let members = |labels: &[&str]| labels.iter().map(|label| Box::from(*label)).collect::<Box<[Box<str>]>>();
    let with_empty = ColumnType::Enum { members: members(&["a", ""]) };
    check(&bench, with_empty, None, value(Value::Enum(0)), "without a member").await;
    check(&bench, ColumnType::Enum { members: members(&["a"]) }, None, value(Value::Enum(2)), "beyond the members")
        .await;
    let with_empty = ColumnType::Set { members: members(&["", "b"]) };
    check(&bench, with_empty, None, value(Value::Set(1)), "reads like the member").await;
    check(&bench, ColumnType::Set { members: members(&["a"]) }, None, value(Value::Set(2)), "beyond the members").await;
    check(&bench, ColumnType::Json, Some("jsonb"), value(Value::Json(r#""secret\\\u0000""#)), "NUL").await;
}

#[tokio::test]
async fn days_and_times_that_postgresql_does_not_hold() {
    let bench = Bench::new("refused_times").await;
    check(&bench, ColumnType::Date, None, value(Value::Date(date(0, 0, 0))), "zero date").await;
    check(&bench, ColumnType::Date, None, value(Value::Date(date(2024, 0, 0))), "a day that does not exist").await;
    check(&bench, ColumnType::Date, None, value(Value::Date(date(2024, 2, 30))), "a day that does not exist").await;
    let clock = |date| value(Value::DateTime(DateTime { date, ..DateTime::default() }));
    let wall_clock = ColumnType::DateTime { fraction: 6 };
    check(&bench, wall_clock.clone(), None, clock(date(0, 0, 0)), "zero date").await;
    check(&bench, wall_clock, None, clock(date(2024, 5, 0)), "a day that does not exist").await;
    let instant = ColumnType::Timestamp { fraction: 0 };
    check(&bench, instant.clone(), None, value(Value::Timestamp(Timestamp::Zero)), "zero date").await;
    check(&bench, instant, None, value(Value::Timestamp(Timestamp::Micros(1))), "more digits").await;
    for micros in [-1, 86_400_000_001, 3_020_399_000_000] {
        let time = ColumnType::Time { fraction: 6 };
        check(&bench, time, Some("time"), value(Value::Time(Time { micros })), "beyond a day").await;
    }
}

#[tokio::test]
async fn numbers_that_postgresql_does_not_hold() {
    let bench = Bench::new("refused_numbers").await;
    for (bits, unsigned, column, number) in [
        (32, true, "integer", Value::Unsigned(2_147_483_648)),
        (16, true, "smallint", Value::Unsigned(32_768)),
        (64, true, "bigint", Value::Unsigned(1 << 63)),
        (64, false, "integer", Value::Integer(i64::MIN)),
        (64, true, "numeric(19)", Value::Unsigned(10_000_000_000_000_000_000)),
        (64, false, "numeric(5)", Value::Integer(-100_000)),
        (8, false, "boolean", Value::Integer(2)),
    ] {
        check(&bench, integer(bits, unsigned), Some(column), value(number), "out of the target column's range").await;
    }
    let decimal = ColumnType::Decimal { precision: 10, scale: 2 };
    let number = value(Value::Decimal(Decimal { unscaled: &[0x0f, 0x42, 0x40], scale: 2 }));
    check(&bench, decimal.clone(), Some("numeric(6,2)"), number, "out of the target column's range").await;
    let too_fine = value(Value::Decimal(Decimal { unscaled: &[1], scale: 3 }));
    check(&bench, decimal, None, too_fine, "more digits").await;
}

#[tokio::test]
async fn rows_that_are_not_whole() {
    let bench = Bench::new("refused_rows").await;
    check(&bench, VARCHAR, None, value(Value::Integer(7)), "another type").await;
    // The key can't be checked by `check`: it is never NULL there.
    let schema = schema(&[("id", BIGINT), ("v", VARCHAR)], &[0]);
    let mut changes = Changes::new(&schema);
    changes.delete(&[Field::Null, Field::Null]);
    let error = bench.apply(&changes).await.unwrap_err();
    assert!(error.to_string().contains("column id of shop.things got NULL"), "{error}");
}

/// What only the server can judge: the record is found, the server's words with the value are not handed on.
#[tokio::test]
async fn rows_that_the_server_refuses() {
    let bench = Bench::new("refused_by_server").await;
    let schema = schema(&[("id", BIGINT), ("v", VARCHAR)], &[0]);
    let long = "secret".repeat(2_000);
    for (column, bad, reason) in [
        ("text CHECK (v <> 'secret')", "secret", "SQLSTATE 23514, constraint things_v_check"),
        ("text UNIQUE", "secret", "SQLSTATE 23505, constraint things_v_key"),
        ("text REFERENCES shop.others (v)", "secret", "SQLSTATE 23503, constraint things_v_fkey"),
        ("text REFERENCES shop.others (v) DEFERRABLE INITIALLY DEFERRED", "secret", "SQLSTATE 23503"),
        ("text, UNIQUE (v, id)", &long, "SQLSTATE 54000"),
    ] {
        bench
            .run(
                "DROP SCHEMA IF EXISTS shop CASCADE; CREATE SCHEMA shop; CREATE TABLE shop.others (v text PRIMARY KEY)",
            )
            .await;
        bench.create_as(&format!("id bigint PRIMARY KEY, v {column}")).await;
        // Compressed it would fit into an index.
        bench.run("ALTER TABLE shop.things ALTER v SET STORAGE EXTERNAL").await;
        let mut changes = Changes::new(&schema);
        for number in 0..1_000 {
            let field = match number {
                600 | 700 => value(Value::Text(bad)),
                _ => Field::Null,
            };
            changes.upsert(&row(1_000 - number, field));
        }
        let error = bench.apply(&changes).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::TableFailed, "{text}");
        assert!(text.contains(reason) && !text.contains("secret"), "{text}");
        let blamed = if column.contains("UNIQUE") && bad == "secret" { 700 } else { 600 };
        let is_deferred = column.contains("DEFERRED");
        assert!(is_deferred || text.contains(&place_of(blamed)), "{text}");
        assert_eq!(bench.ask("SELECT count(*) FROM shop.things").await, ["0"]);
    }
}

/// A trigger that drops rows without an error would lose them.
#[tokio::test]
async fn rows_that_a_trigger_swallows() {
    let bench = Bench::new("swallowed_rows").await;
    bench.create_as("id bigint PRIMARY KEY, v text").await;
    bench
        .run(
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS
             $$BEGIN IF new.v = 'secret' THEN RETURN NULL; END IF; RETURN new; END$$;
             CREATE TRIGGER swallow BEFORE INSERT ON shop.things FOR EACH ROW EXECUTE FUNCTION swallow()",
        )
        .await;
    let schema = schema(&[("id", BIGINT), ("v", VARCHAR)], &[0]);
    let mut changes = Changes::new(&schema);
    changes.upsert(&row(1, value(Value::Text("a")))).upsert(&row(2, value(Value::Text("secret"))));
    let error = bench.apply(&changes).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::TableFailed);
    assert!(text.contains("of 1 rows the target wrote 0") && text.contains(&place_of(1)), "{text}");
    assert_eq!(bench.ask("SELECT count(*) FROM shop.things").await, ["0"]);
    bench.run("CREATE OR REPLACE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no %', new.v; END$$").await;
    let text = bench.apply(&changes).await.unwrap_err().to_string();
    assert!(text.contains("a trigger raised an error (SQLSTATE P0001)") && text.contains(&place_of(0)), "{text}");
    assert!(!text.contains("secret") && !text.contains("no a"), "{text}");
}
