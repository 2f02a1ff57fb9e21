//! What DDL of the source does to a table of the file: new columns with what rows get in them, columns that go, get other names and hold
//! more, and what is refused because SQLite can't, or because values would not be the source's.

use tailrace_contract::{BarrierAct, BarrierPlace, Encounter, Fill, Meeting, SchemaChange, Sink as _, TargetAct};
use tailrace_row::{Charset, Column, ColumnType, Epoch, Sequence, TextForm};

use crate::bench::{BIGINT, Bench, LOG, schema};

const fn integer(bits: u8, unsigned: bool) -> ColumnType {
    ColumnType::Integer { bits, unsigned }
}

const fn varchar(characters: u32) -> ColumnType {
    ColumnType::Text { form: TextForm::Varying, bytes_max: characters * 4, charset: Charset::Utf8mb4 }
}

const fn decimal(precision: u8, scale: u8) -> ColumnType {
    ColumnType::Decimal { precision, scale }
}

fn column(name: &str, column_type: &ColumnType, nullable: bool) -> Column {
    Column { name: name.into(), column_type: column_type.clone(), nullable }
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
async fn new_columns_have_what_the_source_has_in_them() {
    let bench = &Bench::new();
    bench.create(&schema(&[("id", BIGINT)], &[0])).await;
    bench.run("INSERT INTO things VALUES (1), (2)").await;
    let members: Box<[Box<str>]> = ["a".into(), "it's".into()].into();
    let mut number = 0;
    for (place, (column_type, fill, expect)) in [
        (integer(8, false), "-7", "integer|-7"),
        (integer(64, true), "18446744073709551615", "text|18446744073709551615"),
        (decimal(10, 2), "-1.50", "text|-1.50"),
        (ColumnType::Float, "0.5", "real|0.5"),
        (ColumnType::Bit { length: 5 }, "5", "integer|5"),
        (varchar(40), "it's größe", "text|it's größe"),
        (ColumnType::Bytes { form: TextForm::Fixed, bytes_max: 4 }, "0x61620000", "blob|61620000"),
        (ColumnType::Enum { members: members.clone() }, "it's", "text|it's"),
        (ColumnType::Set { members }, "a,it's", "text|a,it's"),
        (ColumnType::Date, "0000-00-00", "text|0000-00-00"),
        (ColumnType::Time { fraction: 3 }, "-838:59:59.500", "text|-838:59:59.500"),
        (ColumnType::DateTime { fraction: 0 }, "2024-01-02 03:04:05", "text|2024-01-02 03:04:05"),
        (ColumnType::Timestamp { fraction: 0 }, "2024-06-01 12:00:00Z", "text|2024-06-01 12:00:00Z"),
        (ColumnType::Year, "2024", "integer|2024"),
        (ColumnType::Json, "[]", "text|[]"),
        (ColumnType::Uuid, "00112233-4455-6677-8899-aabbccddeeff", "text|00112233-4455-6677-8899-aabbccddeeff"),
        (ColumnType::Inet4, "1.2.3.4", "text|1.2.3.4"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("c \"{place}");
        let act = || TargetAct::Add { column: column(&name, &column_type, false), fill: Fill::Value(fill.into()) };
        // Done again, it changes nothing.
        for _ in 0..2 {
            assert_eq!(meet(bench, &mut number, vec![act()]).await, None, "{column_type:?}");
        }
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let held =
            format!("SELECT typeof({quoted}), iif(typeof({quoted}) = 'blob', hex({quoted}), {quoted}) FROM things");
        assert_eq!(bench.ask(&held).await, [expect, expect], "{column_type:?}");
    }
    assert_eq!(bench.ask("SELECT count(*), count(dflt_value) FROM pragma_table_info('things')").await, ["18|0"]);
    let other = TargetAct::Add { column: column("c \"0", &integer(8, false), false), fill: Fill::Value("8".into()) };
    assert!(meet(bench, &mut number, vec![other]).await.is_some_and(|why| why.contains("other values")));
    let null = TargetAct::Add { column: column("n", &integer(8, false), true), fill: Fill::Null };
    assert_eq!(meet(bench, &mut number, vec![null]).await, None);
}

#[tokio::test]
async fn columns_go_and_get_other_names_and_all_acts_of_a_statement_are_done_or_none() {
    let bench = &Bench::new();
    bench.create_as("(id INTEGER PRIMARY KEY, a TEXT, b TEXT, u INTEGER UNIQUE) STRICT").await;
    bench.run("INSERT INTO things VALUES (1, 'a', 'b', 1)").await;
    let mut number = 0;
    let rename = |from: &str, to: &str| TargetAct::Rename { column: from.into(), to: to.into() };
    let drop = |name: &str| TargetAct::Drop { column: name.into() };
    let columns = "SELECT group_concat(name, ' ') FROM pragma_table_info('things')";
    assert_eq!(meet(bench, &mut number, vec![drop("B"), rename("A", "b"), rename("ID", "Id")]).await, None);
    assert_eq!(bench.ask(columns).await, ["Id b u"]);
    assert_eq!(bench.ask("SELECT b FROM things").await, ["a"]);
    assert_eq!(meet(bench, &mut number, vec![drop("gone"), rename("a", "b")]).await, None, "it is so already");
    for (acts, words) in [
        (vec![rename("b", "c"), drop("u")], "u"),
        (vec![rename("b", "c"), drop("Id")], "Id"),
        (vec![rename("b", "u")], "has the columns"),
        (vec![rename("x", "y")], "no column x"),
    ] {
        let why = meet(bench, &mut number, acts).await;
        assert!(why.as_ref().is_some_and(|why| why.contains(words)), "{words}: {why:?}");
        assert_eq!(bench.ask(columns).await, ["Id b u"], "all or nothing");
    }
}

#[tokio::test]
async fn columns_hold_more_and_never_other_values_than_the_source() {
    let bench = &Bench::new();
    bench.create(&schema(&[("id", BIGINT)], &[0])).await;
    bench.run("INSERT INTO things VALUES (1)").await;
    let mut number = 0;
    let members: Box<[Box<str>]> = ["a".into(), "b".into(), "c".into()].into();
    let (one, set) = (ColumnType::Enum { members: members.clone() }, ColumnType::Set { members });
    let changed = Err("has changed values");
    for (declared, value, column_type, expect) in [
        ("INTEGER", "5", integer(64, false), Ok("5")),
        ("INTEGER", "300", integer(8, false), changed),
        ("INTEGER", "5", integer(64, true), Err("2^63")),
        ("INTEGER", "5", decimal(5, 2), Err("floats of decimals")),
        ("TEXT", "'-1.50'", decimal(12, 4), Ok("-1.5000")),
        ("TEXT", "'7'", decimal(12, 2), Ok("7.00")),
        ("TEXT", "'0.5'", decimal(2, 2), Ok("0.50")),
        ("TEXT", "'1.234'", decimal(10, 2), changed),
        ("TEXT", "'123'", decimal(4, 2), changed),
        ("TEXT", "'007'", decimal(4, 0), changed),
        ("ANY", "0.5", ColumnType::Double, Ok("0.5")),
        ("ANY", "0.5", ColumnType::Float, Err("not told")),
        ("TEXT", "'abc'", varchar(2), changed),
        ("TEXT", "'abc'", varchar(80), Ok("abc")),
        ("TEXT", "'2024-01-01 00:00:00Z'", varchar(80), changed),
        ("TEXT", "'b'", one.clone(), Ok("b")),
        ("TEXT", "'B'", one, changed),
        ("TEXT", "'a,c'", set.clone(), Ok("a,c")),
        ("TEXT", "''", set.clone(), Ok("")),
        ("TEXT", "'c,a'", set, changed),
        ("BLOB", "x'6162'", ColumnType::Bytes { form: TextForm::Fixed, bytes_max: 3 }, changed),
        ("BLOB", "x'6162'", ColumnType::Bytes { form: TextForm::Varying, bytes_max: 3 }, Ok("ab")),
        ("TEXT", "'2024-01-01 00:00:00'", ColumnType::DateTime { fraction: 0 }, Ok("2024-01-01 00:00:00")),
        ("TEXT", "'2024-01-01 00:00:00'", ColumnType::DateTime { fraction: 3 }, changed),
        ("TEXT", "'2024-01-01 00:00:00'", ColumnType::Timestamp { fraction: 0 }, changed),
        ("TEXT", "'-838:59:59.5'", ColumnType::Time { fraction: 1 }, Ok("-838:59:59.5")),
        ("INTEGER", "99", ColumnType::Year, changed),
        ("TEXT", "'{}'", ColumnType::Json, Err("not told")),
        ("INTEGER", "NULL", integer(64, false), Ok("∅")),
    ] {
        let columns: Vec<String> = bench.ask("SELECT name FROM pragma_table_info('things')").await;
        let drop = if columns.len() > 1 { "ALTER TABLE things DROP COLUMN c;" } else { "" };
        bench.run(&format!("{drop} ALTER TABLE things ADD COLUMN c {declared}; UPDATE things SET c = {value}")).await;
        let shown = format!("{declared} {value} as {column_type:?}");
        let widen = || vec![TargetAct::Widen { column: column("C", &column_type, true) }];
        match (meet(bench, &mut number, widen()).await, expect) {
            (None, Ok(held)) => {
                assert_eq!(bench.ask("SELECT CAST(c AS TEXT) FROM things").await, [held], "{shown}");
                assert_eq!(meet(bench, &mut number, widen()).await, None, "again: {shown}");
            }
            (Some(why), Err(words)) => assert!(why.contains(words), "{shown}: {why}"),
            (found, expect) => panic!("{shown}: {found:?} instead of {expect:?}"),
        }
    }
    let required = TargetAct::Widen { column: column("c", &integer(64, false), false) };
    assert!(
        meet(bench, &mut number, vec![required]).await.is_some_and(|why| why.contains("has changed values")),
        "NULL"
    );
}
