//! What DDL of the source does to a table of the target: new columns of every type with what rows get in them, columns that go, get
//! other names and hold more, and what is refused because values would not be the source's.

use tailrace_contract::{BarrierAct, BarrierPlace, Encounter, Fill, Meeting, SchemaChange, Sink as _, TargetAct};
use tailrace_row::{Charset, Column, ColumnType, Epoch, Sequence, TextForm};

use crate::bench::{BIGINT, Bench, LOG, schema, source};

const fn text(form: TextForm, bytes_max: u32) -> ColumnType {
    ColumnType::Text { form, bytes_max, charset: Charset::Utf8mb4 }
}

const fn integer(bits: u8, unsigned: bool) -> ColumnType {
    ColumnType::Integer { bits, unsigned }
}

fn column(name: &str, column_type: &ColumnType, nullable: bool) -> Column {
    Column { name: name.into(), column_type: column_type.clone(), nullable }
}

fn members(names: &[&str]) -> Box<[Box<str>]> {
    names.iter().map(|name| Box::from(*name)).collect()
}

/// Meets at the next barrier; why the table waits, if it does.
async fn meet(bench: &Bench, number: &mut u64, acts: Vec<TargetAct>) -> Option<String> {
    *number += 1;
    let sequence = Sequence { epoch: Epoch(1), transaction: *number, event: 0, row: 0 };
    let change = SchemaChange {
        sequence,
        place: "1-1".into(),
        committed_at_micros: 0,
        statement: "ALTER".into(),
        acts: Vec::new(),
    };
    let (mapping, act, place) = (&bench.mapping(), &BarrierAct::CarryOut(acts), BarrierPlace::Log(&[]));
    match bench.sink.meet(Encounter { log: LOG, mapping, number: *number, change: &change, act, place }).await.unwrap()
    {
        Meeting::Done => None,
        Meeting::Paused(why) => Some(why),
        Meeting::Waiting => panic!("nothing is to be waited for"),
    }
}

#[tokio::test]
async fn new_columns_of_every_type_have_what_the_source_has_in_them() {
    let bench = &mut Bench::new("evolve_add").await;
    bench.create(&schema(&[("id", BIGINT)], &[0])).await;
    bench.run("INSERT INTO shop.things VALUES (1), (2)").await;
    let bytes = |form| ColumnType::Bytes { form, bytes_max: 4 };
    let one = ColumnType::Enum { members: members(&["a", "it's"]) };
    let some = ColumnType::Set { members: members(&["a", "b", "c"]) };
    let mut number = 0;
    for (place, (column_type, fill, expect)) in [
        (integer(8, false), "-7", "-7"),
        (integer(64, true), "18446744073709551615", "18446744073709551615"),
        (ColumnType::Decimal { precision: 10, scale: 2 }, "-1.50", "-1.50"),
        (
            ColumnType::Decimal { precision: 65, scale: 30 },
            "0.000000000000000000000000000001",
            "0.000000000000000000000000000001",
        ),
        (ColumnType::Float, "0.1", "0.1"),
        (ColumnType::Double, "-0.001", "-0.001"),
        (ColumnType::Bit { length: 5 }, "5", "00101"),
        (text(TextForm::Varying, 40), "it's \\ größe", "it's \\ größe"),
        (text(TextForm::Large, 65_535), "", ""),
        (bytes(TextForm::Fixed), "0x61620000", "\\x61620000"),
        (bytes(TextForm::Varying), "0x", "\\x"),
        (one, "it's", "it's"),
        (some, "a,c", "a,c"),
        (ColumnType::Date, "2024-02-29", "2024-02-29"),
        (ColumnType::Time { fraction: 3 }, "-838:59:59.500", "-838:59:59.5"),
        (ColumnType::DateTime { fraction: 6 }, "2024-01-02 03:04:05.000006", "2024-01-02 03:04:05.000006"),
        (ColumnType::Timestamp { fraction: 0 }, "2024-06-01 12:00:00Z", "2024-06-01 12:00:00+00"),
        (ColumnType::Year, "2024", "2024"),
        (ColumnType::Json, "{}", "{}"),
        (ColumnType::Uuid, "00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-aabbccddeeff"),
        (ColumnType::Inet4, "1.2.3.4", "1.2.3.4/32"),
        (ColumnType::Inet6, "::1", "::1/128"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("c \"{place}");
        let act = || TargetAct::Add { column: column(&name, &column_type, false), fill: Fill::Value(fill.into()) };
        assert_eq!(meet(bench, &mut number, vec![act()]).await, None, "{column_type:?}");
        let quoted = name.replace('"', "\"\"");
        let held = bench.ask(&format!("SET TimeZone = 'UTC'; SELECT \"{quoted}\"::text FROM shop.things")).await;
        assert_eq!(held, [expect, expect], "{column_type:?}");
        // Done again, it changes nothing; with another value it is refused.
        assert_eq!(meet(bench, &mut number, vec![act()]).await, None, "{column_type:?}");
    }
    let added = bench
        .ask("SELECT count(*), bool_and(is_nullable = 'NO'), count(column_default) FROM information_schema.columns WHERE table_name = 'things'")
        .await;
    assert_eq!(added, ["23|t|0"], "NOT NULL, and no default stays behind");
    for (column_type, fill, words) in [
        (ColumnType::Date, Fill::Value("0000-00-00".into()), "zero date"),
        (text(TextForm::Varying, 40), Fill::Value("a\0b".into()), "NUL"),
        (integer(8, false), Fill::Value("x".into()), "none of its type"),
        (integer(8, false), Fill::Null, "23502"),
    ] {
        let why =
            meet(bench, &mut number, vec![TargetAct::Add { column: column("z", &column_type, false), fill }]).await;
        assert!(why.as_ref().is_some_and(|why| why.contains(words)), "{column_type:?}: {why:?}");
    }
    let other = TargetAct::Add { column: column("c \"0", &integer(8, false), false), fill: Fill::Value("8".into()) };
    assert!(meet(bench, &mut number, vec![other]).await.is_some_and(|why| why.contains("other values")));
    // Nothing is to be filled where no rows are.
    bench.run("TRUNCATE shop.things").await;
    let zero = TargetAct::Add { column: column("z", &ColumnType::Date, false), fill: Fill::Value("0000-00-00".into()) };
    assert_eq!(meet(bench, &mut number, vec![zero]).await, None);
}

#[tokio::test]
async fn columns_go_and_get_other_names_and_all_acts_of_a_statement_are_done_or_none() {
    let bench = &mut Bench::new("evolve_drop").await;
    bench.create_as("id bigint PRIMARY KEY, a text, b text, u bigint UNIQUE").await;
    bench.run("INSERT INTO shop.things VALUES (1, 'a', 'b', 1)").await;
    let mut number = 0;
    let rename = |from: &str, to: &str| TargetAct::Rename { column: from.into(), to: to.into() };
    let drop = |name: &str| TargetAct::Drop { column: name.into() };
    let columns = "SELECT string_agg(column_name, ' ' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'things'";
    // The source does not tell names apart by case.
    assert_eq!(meet(bench, &mut number, vec![drop("B"), rename("A", "b"), rename("ID", "Id")]).await, None);
    assert_eq!(
        (bench.ask(columns).await, bench.ask("SELECT b FROM shop.things").await),
        (vec!["Id b u".into()], vec!["a".into()])
    );
    assert_eq!(meet(bench, &mut number, vec![drop("gone"), rename("a", "b")]).await, None, "it is so already");
    for (acts, words) in [
        (vec![rename("b", "c"), drop("u")], "unique index"),
        (vec![rename("b", "c"), drop("Id")], "unique index"),
        (vec![rename("b", "u")], "has the columns"),
        (vec![rename("x", "y")], "no column x"),
    ] {
        let why = meet(bench, &mut number, acts).await;
        assert!(why.as_ref().is_some_and(|why| why.contains(words)), "{words}: {why:?}");
        assert_eq!(bench.ask(columns).await, ["Id b u"], "all or nothing");
    }
}

/// A column of `declared` with a value, and what it is behind the change; the words of the reason if it is refused.
async fn check(
    bench: &Bench,
    number: &mut u64,
    (declared, value): (&str, &str),
    new: Column,
    expect: Result<(&str, &str), &str>,
) {
    bench.run(&format!("ALTER TABLE shop.things DROP COLUMN IF EXISTS c; ALTER TABLE shop.things ADD COLUMN c {declared} DEFAULT {value}"))
        .await;
    let shown = format!("{declared} {value} as {new:?}");
    let found = meet(bench, number, vec![TargetAct::Widen { column: new.clone() }]).await;
    match (found, expect) {
        (None, Ok((declared, value))) => {
            let held = "SELECT c, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END \
                        FROM shop.things, pg_attribute WHERE attrelid = 'shop.things'::regclass AND attname = 'c'";
            assert_eq!(bench.ask(held).await, [format!("{value}|{declared}")], "{shown}");
            assert_eq!(meet(bench, number, vec![TargetAct::Widen { column: new }]).await, None, "again: {shown}");
        }
        (Some(why), Err(words)) => assert!(why.contains(words), "{shown}: {why}"),
        (found, expect) => panic!("{shown}: {found:?} instead of {expect:?}"),
    }
}

#[tokio::test]
async fn columns_hold_more_and_never_other_values_than_the_source() {
    let bench = &Bench::new("evolve_widen").await;
    bench.create(&schema(&[("id", BIGINT)], &[0])).await;
    bench.run("INSERT INTO shop.things VALUES (1)").await;
    let mut number = 0;
    let decimal = |precision, scale| ColumnType::Decimal { precision, scale };
    let set = ColumnType::Set { members: members(&["a", "b", "c"]) };
    let one = ColumnType::Enum { members: members(&["a", "it's"]) };
    let changed = Err("has changed values");
    let bytes = |form, bytes_max| ColumnType::Bytes { form, bytes_max };
    for (held, column_type, expect) in [
        (("integer", "5"), integer(64, false), Ok(("bigint", "5"))),
        (("smallint", "-5"), integer(64, true), changed),
        (("bigint", "5"), integer(64, true), Ok(("numeric(20,0)", "5"))),
        (("bigint", "300"), integer(8, false), changed),
        (("bigint", "100"), integer(8, false), Ok(("bigint", "100"))),
        (("integer", "7"), decimal(5, 2), Ok(("numeric(5,2)", "7.00"))),
        (("numeric(10,2)", "1.50"), decimal(12, 4), Ok(("numeric(12,4)", "1.5000"))),
        (("numeric(10,4)", "1.2345"), decimal(10, 2), changed),
        (("numeric(10,2)", "1.50"), integer(32, false), changed),
        (("real", "0.5"), ColumnType::Double, Ok(("double precision", "0.5"))),
        (("double precision", "0.5"), ColumnType::Float, Err("another kind")),
        (("text", "'abc'"), text(TextForm::Varying, 8), changed),
        (("text", "'abc'"), text(TextForm::Varying, 80), Ok(("text", "abc"))),
        (("varchar(3)", "'abc'"), text(TextForm::Varying, 80), Ok(("text", "abc"))),
        (("text", "'abc '"), text(TextForm::Fixed, 80), changed),
        (("text", "'abc'"), text(TextForm::Large, 255), Ok(("text", "abc"))),
        (("text", "'it''s'"), one.clone(), Ok(("text", "it's"))),
        (("text", "'B'"), one, changed),
        (("text", "'a,c'"), set.clone(), Ok(("text", "a,c"))),
        (("text", "''"), set.clone(), Ok(("text", ""))),
        (("text", "NULL"), set.clone(), Ok(("text", "∅"))),
        (("text", "'c,a'"), set, changed),
        (("text", "'1'"), integer(8, false), Err("another kind")),
        (("bytea", "'ab'"), bytes(TextForm::Varying, 2), Ok(("bytea", "\\x6162"))),
        (("bytea", "'ab'"), bytes(TextForm::Fixed, 3), changed),
        (("bytea", "'ab'"), ColumnType::Geometry { kind: tailrace_row::GeometryKind::Point }, Err("another kind")),
        (
            ("timestamp(0)", "'2024-01-01'"),
            ColumnType::DateTime { fraction: 3 },
            Ok(("timestamp(3) without time zone", "2024-01-01 00:00:00")),
        ),
        (("timestamp(6)", "'2024-01-01 00:00:00.5'"), ColumnType::DateTime { fraction: 0 }, changed),
        (("timestamp(0)", "'2024-01-01'"), ColumnType::Timestamp { fraction: 0 }, Err("another kind")),
        (("interval(6)", "'00:00:00.25'"), ColumnType::Time { fraction: 1 }, changed),
        (("smallint", "99"), ColumnType::Year, changed),
        (("smallint", "2024"), integer(64, false), Ok(("bigint", "2024"))),
        (("bit(3)", "'101'"), ColumnType::Bit { length: 4 }, Err("another kind")),
        (("inet", "'1.2.3.4'"), ColumnType::Inet6, changed),
        (("json", "'{}'"), ColumnType::Json, Ok(("json", "{}"))),
    ] {
        check(bench, &mut number, held, column("C", &column_type, true), expect).await;
    }
    let number_type = integer(64, false);
    check(bench, &mut number, ("integer", "5 NOT NULL"), column("c", &number_type, true), Ok(("bigint", "5"))).await;
    check(bench, &mut number, ("bigint", "5 NOT NULL"), column("c", &number_type, false), Ok(("bigint NOT NULL", "5")))
        .await;
    check(bench, &mut number, ("bigint", "NULL"), column("c", &number_type, false), changed).await;
    let gone = TargetAct::Widen { column: column("gone", &number_type, true) };
    assert!(meet(bench, &mut number, vec![gone]).await.is_some_and(|why| why.contains("no column gone")));
    assert_eq!(
        meet(bench, &mut number, vec![TargetAct::Widen { column: column("id", &number_type, true) }]).await,
        None
    );
    assert_eq!(source().to_string(), "shop.things");
}

#[tokio::test]
async fn a_table_is_emptied_and_no_row_of_another_goes_with_it() {
    let bench = &mut Bench::new("evolve_empty").await;
    bench.create_as("id bigint PRIMARY KEY").await;
    let mut number = 0;
    let rows = "SELECT (SELECT count(*) FROM shop.things) || ' ' || (SELECT count(*) FROM shop.parts)";
    for rule in ["ON DELETE CASCADE", "ON DELETE SET NULL", "ON DELETE SET DEFAULT"] {
        bench.run("INSERT INTO shop.things VALUES (1), (2)").await;
        bench.run(&format!("CREATE TABLE shop.parts (thing bigint REFERENCES shop.things {rule})")).await;
        bench.run("INSERT INTO shop.parts VALUES (1), (2)").await;
        let why = meet(bench, &mut number, vec![TargetAct::Truncate]).await;
        assert!(why.as_ref().is_some_and(|why| why.contains("shop.parts")), "{rule}: {why:?}");
        assert_eq!(bench.ask(rows).await, ["2 2"], "{rule}");
        assert_eq!(bench.ask("SELECT count(thing)::text FROM shop.parts").await, ["2"], "{rule}");
        bench.run("DROP TABLE shop.parts; DELETE FROM shop.things").await;
    }
    // One that only points at it holds it back while it has rows, and then no more.
    bench.run("INSERT INTO shop.things VALUES (1)").await;
    bench.run("CREATE TABLE shop.parts (thing bigint REFERENCES shop.things)").await;
    bench.run("INSERT INTO shop.parts VALUES (1)").await;
    assert!(meet(bench, &mut number, vec![TargetAct::Truncate]).await.is_some());
    assert_eq!(bench.ask(rows).await, ["1 1"]);
    bench.run("DELETE FROM shop.parts").await;
    assert_eq!(meet(bench, &mut number, vec![TargetAct::Truncate]).await, None);
    assert_eq!(bench.ask(rows).await, ["0 0"]);
}
