//! Every type with its edge values, written by our encoder, read back as SQLite stores it: the storage class and the bytes.
//! The expectations are written by hand. Each value goes through statements of every size.

use sqlx::{Executor as _, Row as _};
use tailrace_row::{
    Charset, ColumnType, Date, DateTime, Decimal, Field, GeometryKind, TextForm, Time, Timestamp, Value,
};

use crate::bench::{BIGINT, Bench, Changes, place_of, schema, step};

const TEXT: ColumnType = ColumnType::Text { form: TextForm::Large, bytes_max: u32::MAX, charset: Charset::Utf8mb4 };
const BLOB: ColumnType = ColumnType::Bytes { form: TextForm::Large, bytes_max: u32::MAX };
const UNSIGNED: ColumnType = ColumnType::Integer { bits: 64, unsigned: true };

fn members(labels: &[&str]) -> Box<[Box<str>]> {
    labels.iter().map(|label| Box::from(*label)).collect()
}

/// Writes the values into a column that the sink makes for the type (or into `definition`), and compares what SQLite stores:
/// class and bytes.
async fn check_in(source: ColumnType, definition: Option<&str>, cases: &[(Value<'_>, &str)]) {
    const MANY: usize = 600;
    let bench = Bench::new();
    let schema = schema(&[("id", BIGINT), ("v", source)], &[0]);
    match definition {
        Some(definition) => bench.create_as(definition).await,
        None => bench.create(&schema).await,
    }
    let mut writer = bench.writer().await;
    for count in [cases.len() + 1, MANY] {
        let case = |number: usize| cases.get(number % (cases.len() + 1));
        let mut changes = Changes::new(&schema);
        for number in 0..count {
            let field = case(number).map_or(Field::Null, |(value, _)| Field::Value(*value));
            changes.upsert(&[Field::Value(Value::Integer(i64::try_from(number).unwrap())), field]);
        }
        let from = bench.claim().await;
        changes.apply(&bench, &mut *writer, &[step(&from)]).await.unwrap();
        let found =
            bench.ask("SELECT typeof(v), CASE typeof(v) WHEN 'blob' THEN hex(v) ELSE v END FROM things ORDER BY id");
        let expect: Vec<&str> = (0..count).map(|number| case(number).map_or("null|∅", |(_, text)| text)).collect();
        assert_eq!(found.await, expect, "{count} rows");
        bench.run("DELETE FROM things").await;
    }
}

async fn check(source: ColumnType, cases: &[(Value<'_>, &str)]) {
    check_in(source, None, cases).await;
}

#[tokio::test]
async fn whole_numbers() {
    let small = ColumnType::Integer { bits: 8, unsigned: true };
    check(small, &[(Value::Unsigned(0), "integer|0"), (Value::Unsigned(255), "integer|255")]).await;
    let edges = [
        (Value::Integer(i64::MIN), "integer|-9223372036854775808"),
        (Value::Integer(-1), "integer|-1"),
        (Value::Integer(i64::MAX), "integer|9223372036854775807"),
    ];
    check(BIGINT, &edges).await;
    let wide = [
        (Value::Unsigned(0), "integer|0"),
        (Value::Unsigned(i64::MAX as u64), "integer|9223372036854775807"),
        (Value::Unsigned(1 << 63), "text|9223372036854775808"),
        (Value::Unsigned(u64::MAX), "text|18446744073709551615"),
    ];
    check(UNSIGNED, &wide).await;
    check_in(UNSIGNED, Some("(id INTEGER PRIMARY KEY, v)"), &wide).await;
    let digits = [(Value::Unsigned(7), "text|7"), (Value::Unsigned(u64::MAX), "text|18446744073709551615")];
    check_in(UNSIGNED, Some("(id INTEGER PRIMARY KEY, v VARCHAR(20))"), &digits).await;
    check(ColumnType::Year, &[(Value::Year(0), "integer|0"), (Value::Year(2155), "integer|2155")]).await;
    check(ColumnType::Bit { length: 9 }, &[(Value::Bit(0x1ff), "integer|511")]).await;
    check(ColumnType::Bit { length: 64 }, &[(Value::Bit(u64::MAX), "text|18446744073709551615")]).await;
}

#[tokio::test]
async fn decimals_keep_every_digit() {
    let money = ColumnType::Decimal { precision: 5, scale: 2 };
    let value = |unscaled| Value::Decimal(Decimal { unscaled, scale: 2 });
    let cases = [(value(&[110][..]), "text|1.10"), (value(&[0]), "text|0.00"), (value(&[0xfb]), "text|-0.05")];
    check(money.clone(), &cases).await;
    check_in(money, Some("(id INTEGER PRIMARY KEY, v TEXT)"), &cases).await;
    let whole = Value::Decimal(Decimal { unscaled: &[7], scale: 0 });
    check(ColumnType::Decimal { precision: 5, scale: 0 }, &[(whole, "text|7")]).await;
}

/// What SQLite prints of a float is not all of it: the bits are compared.
#[tokio::test]
async fn floats_keep_every_bit() {
    let doubles =
        [0.0, -0.0, 0.1, -1.0 / 3.0, 1.0, 1e15, 9_007_199_254_740_993.0, 5e-324, f64::MAX, f64::MIN_POSITIVE, 1e300];
    let floats = [0.0_f32, -0.0, 0.1, 16_777_216.0, f32::MAX, 1e-45];
    let bench = Bench::new();
    let schema = schema(&[("id", BIGINT), ("d", ColumnType::Double), ("f", ColumnType::Float)], &[0]);
    bench.create(&schema).await;
    let mut changes = Changes::new(&schema);
    let rows: Vec<(f64, f32)> = doubles.iter().copied().zip(floats.iter().copied().cycle()).collect();
    for (id, (double, float)) in (0..).zip(&rows) {
        changes.upsert(&[
            Field::Value(Value::Integer(id)),
            Field::Value(Value::Double(*double)),
            Field::Value(Value::Float(*float)),
        ]);
    }
    bench.apply(&changes).await.unwrap();
    let sql = "SELECT d, f, typeof(d), typeof(f) FROM things ORDER BY id";
    let found = bench.sql().await.fetch_all(sqlx::query(sql)).await.unwrap();
    for (row, (double, float)) in found.iter().zip(&rows) {
        assert_eq!((row.get::<&str, _>(2), row.get::<&str, _>(3)), ("real", "real"));
        assert_eq!(row.get::<f64, _>(0).to_bits(), double.to_bits(), "{double}");
        assert_eq!(row.get::<f64, _>(1).to_bits(), f64::from(*float).to_bits(), "{float}");
    }
    assert_eq!(found.len(), rows.len());
}

#[tokio::test]
async fn texts_and_bytes_keep_every_byte() {
    let cases = [
        (Value::Text(""), "text|"),
        (Value::Text("007"), "text|007"),
        (Value::Text("1e5"), "text|1e5"),
        (Value::Text(" ä\u{10ffff}\u{feff}'\"\n"), "text| ä\u{10ffff}\u{feff}'\"\n"),
        (Value::Text("a\0b"), "text|a\0b"),
    ];
    check(TEXT, &cases).await;
    check_in(TEXT, Some("(id INTEGER PRIMARY KEY, v)"), &cases).await;
    let bytes =
        [(Value::Bytes(b""), "blob|"), (Value::Bytes(b"\0\xff\0"), "blob|00FF00"), (Value::Bytes(b"12"), "blob|3132")];
    check(BLOB, &bytes).await;
    check_in(BLOB, Some("(id INTEGER PRIMARY KEY, v)"), &bytes).await;
    let json = [(Value::Json("{\"a\": 1.0}"), "text|{\"a\": 1.0}"), (Value::Json("1.0"), "text|1.0")];
    check(ColumnType::Json, &json).await;
    let colours = members(&["red", "green", "10"]);
    let chosen = [(Value::Enum(0), "text|"), (Value::Enum(1), "text|red"), (Value::Enum(3), "text|10")];
    check(ColumnType::Enum { members: colours.clone() }, &chosen).await;
    let sets = [(Value::Set(0), "text|"), (Value::Set(0b101), "text|red,10"), (Value::Set(0b100), "text|10")];
    check(ColumnType::Set { members: colours }, &sets).await;
}

#[tokio::test]
async fn days_and_times_print_as_in_mysql() {
    let date = |year, month, day| Date { year, month, day };
    let days = [
        (Value::Date(date(2024, 2, 29)), "text|2024-02-29"),
        (Value::Date(date(0, 0, 0)), "text|0000-00-00"),
        (Value::Date(date(2024, 2, 31)), "text|2024-02-31"),
    ];
    check(ColumnType::Date, &days).await;
    check_in(ColumnType::Date, Some("(id INTEGER PRIMARY KEY, v DATE)"), &days).await;
    let times = [
        (Value::Time(Time { micros: -3_020_399_000_000 }), "text|-838:59:59.000"),
        (Value::Time(Time { micros: 120_000 }), "text|00:00:00.120"),
    ];
    check(ColumnType::Time { fraction: 3 }, &times).await;
    check_in(ColumnType::Time { fraction: 3 }, Some("(id INTEGER PRIMARY KEY, v TIME)"), &times).await;
    let moment = DateTime { date: date(9999, 12, 31), hour: 23, minute: 59, second: 59, micros: 999_999 };
    let moments = [
        (Value::DateTime(moment), "text|9999-12-31 23:59:59.999999"),
        (Value::DateTime(DateTime::default()), "text|0000-00-00 00:00:00.000000"),
    ];
    check(ColumnType::DateTime { fraction: 6 }, &moments).await;
    check_in(ColumnType::DateTime { fraction: 6 }, Some("(id INTEGER PRIMARY KEY, v DATETIME)"), &moments).await;
    let instants = [
        (Value::Timestamp(Timestamp::Micros(1_709_210_096_000_000)), "text|2024-02-29 12:34:56Z"),
        (Value::Timestamp(Timestamp::Micros(1_000_000)), "text|1970-01-01 00:00:01Z"),
        (Value::Timestamp(Timestamp::Zero), "text|0000-00-00 00:00:00Z"),
    ];
    check(ColumnType::Timestamp { fraction: 0 }, &instants).await;
}

/// What a column would change, or SQLite does not hold, stops the table by name and leaves nothing.
#[tokio::test]
async fn what_a_column_would_change_is_refused() {
    let cases: [(ColumnType, &str, Value<'_>, &str); 8] = [
        (UNSIGNED, "INTEGER", Value::Unsigned(1 << 63), "a number of 2^63 or more"),
        (ColumnType::Double, "REAL", Value::Double(-0.0), "-0.0"),
        (ColumnType::Float, "REAL", Value::Float(-0.0), "-0.0"),
        (ColumnType::Double, "", Value::Double(f64::NAN), "no number"),
        (TEXT, "TEXT", Value::InvalidText(b"\xff"), "no text in the column's charset"),
        (ColumnType::Enum { members: members(&["", "a"]) }, "TEXT", Value::Enum(0), "reads like the member"),
        (ColumnType::Set { members: members(&["", "a"]) }, "TEXT", Value::Set(1), "reads like the member"),
        (ColumnType::Enum { members: members(&["a"]) }, "TEXT", Value::Enum(2), "beyond the members"),
    ];
    for (source, declared, value, why) in cases {
        let bench = Bench::new();
        let schema = schema(&[("id", BIGINT), ("v", source)], &[0]);
        bench.create_as(&format!("(id INTEGER PRIMARY KEY, v {declared})")).await;
        let mut changes = Changes::new(&schema);
        changes.upsert(&[Field::Value(Value::Integer(1)), Field::Null]);
        changes.upsert(&[Field::Value(Value::Integer(2)), Field::Value(value)]);
        let error = bench.apply(&changes).await.unwrap_err().to_string();
        for part in ["column v of main.things", why, "(table shop.things)", &place_of(1)] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        assert_eq!(bench.ask("SELECT count(*) FROM things").await, ["0"]);
    }
}

/// What did not come is no NULL and no default.
#[tokio::test]
async fn unchanged_and_unwanted_nulls_are_refused() {
    let bench = Bench::new();
    let schema = schema(&[("id", BIGINT), ("v", TEXT)], &[0]);
    bench.create_as("(id INTEGER PRIMARY KEY, v TEXT NOT NULL ON CONFLICT REPLACE DEFAULT 'x')").await;
    for (field, why) in [(Field::Unchanged, "a row with their key (id) is not there"), (Field::Null, "NULL, which")] {
        let mut changes = Changes::new(&schema);
        changes.upsert(&[Field::Value(Value::Integer(1)), field]);
        let error = bench.apply(&changes).await.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn geometries_vectors_and_addresses() {
    let point: &[u8] = &[1, 1, 0, 0, 0, 7];
    let cases = [
        (Value::Geometry { srid: 0, wkb: point }, "blob|010100000007"),
        (Value::Geometry { srid: 4326, wkb: point }, "blob|0101000020E610000007"),
        (Value::Geometry { srid: 0, wkb: &[] }, "blob|"),
    ];
    check(ColumnType::Geometry { kind: GeometryKind::Geometry }, &cases).await;
    check(ColumnType::Vector { dimension: 1 }, &[(Value::Vector(&[0, 0, 0, 0x80]), "blob|00000080")]).await;
    let uuid = [0xf4, 0x7a, 0xc1, 0x0b, 0x58, 0xcc, 0x43, 0x72, 0xa5, 0x67, 0, 0, 0, 0, 0, 0];
    check(ColumnType::Uuid, &[(Value::Uuid(uuid), "text|f47ac10b-58cc-4372-a567-000000000000")]).await;
    check(ColumnType::Inet4, &[(Value::Inet4([10, 0, 0, 0]), "text|10.0.0.0")]).await;
    check(ColumnType::Inet6, &[(Value::Inet6([0; 16]), "text|::")]).await;
}
