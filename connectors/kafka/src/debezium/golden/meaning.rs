//! What the recorded SQL meant, written by hand: reading must give these values, so that it can't err in the same way as writing.

use tailrace_row::{Date, DateTime, Timestamp};

use super::{Judge, Owned, Recording, read, sample};

/// The recorded SQL's rows as values: `expect` are those of the columns from the fourth on, in row `id`.
fn check(table: &str, id: &str, expect: &[Owned]) {
    check_on(&["mysql", "mariadb"], table, id, expect);
}

fn check_on(servers: &[&str], table: &str, id: &str, expect: &[Owned]) {
    for server in servers {
        let recording = Recording::named(&format!("{server}_plain_stream"));
        let key = format!("{{\"id\":{id}}}");
        let line = recording.lines().find(|line| line.topic_table == table && line.key == key).expect("the row");
        let batch = read(&Judge::new(recording).expect(line).expect("a record of ours"));
        let after = batch.after(&batch.records()[0]).expect("an insert");
        let read: Vec<_> = (3..after.len()).map(|index| after.field(index)).collect();
        let expect: Vec<_> = expect.iter().map(Owned::field).collect();
        assert_eq!(read, expect, "{server} {table} {id}");
    }
}

fn decimal(number: i128, scale: u8) -> Owned {
    Owned::Decimal(sample::fewest_bytes(number.to_be_bytes().to_vec()), scale)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of recorded values reads best in one piece")]
fn recorded_numbers_mean_what_the_sql_said() {
    let (i, u) = (Owned::Integer, Owned::Unsigned);
    check(
        "t_int",
        "1",
        &[i(-128), u(0), i(-32_768), u(0), i(-8_388_608), u(0), i(-2_147_483_648), u(0), u(0), i(i64::MIN), u(0), u(0)],
    );
    check(
        "t_int",
        "2",
        &[
            i(127),
            u(255),
            i(32_767),
            u(65_535),
            i(8_388_607),
            u(16_777_215),
            i(2_147_483_647),
            u(4_294_967_295),
            u(4_294_967_295),
            i(i64::MAX),
            u(u64::MAX),
            u(4_294_967_295),
        ],
    );
    check(
        "t_int",
        "4",
        &[
            i(-1),
            u(128),
            i(-1),
            u(32_768),
            i(-1),
            u(8_388_608),
            i(-1),
            u(2_147_483_648),
            u(2_147_483_648),
            i(-1),
            u(1 << 63),
            u(42),
        ],
    );
    check(
        "t_bit",
        "3",
        &[Owned::Bit(1), Owned::Bit(0x81), Owned::Bit(0x201), Owned::Bit(0x0102_0304_0506_0708), i(1), i(1), u(1)],
    );
    let tenth = 10_i128.pow(29);
    check(
        "t_decimal",
        "4",
        &[
            decimal(-1, 0),
            decimal(-50, 2),
            decimal(-1, 0),
            decimal(-5 * tenth, 30),
            decimal(-5 * tenth, 30),
            decimal(1, 2),
            decimal(-500_000_000, 9),
        ],
    );
    check(
        "t_float",
        "4",
        &[
            Owned::Float(f32::from_bits(1)),
            Owned::Float(f32::from_bits(1)),
            Owned::Double(5e-324),
            Owned::Float(0.0),
            Owned::Double(5e-324),
            Owned::Double(0.0),
            Owned::Double(5e-324),
            Owned::Float(f32::from_bits(1)),
        ],
    );
}

#[test]
fn recorded_times_mean_what_the_sql_said() {
    let date = |year, month, day| Date { year, month, day };
    let clock = |date, time: (u8, u8, u8, u32)| {
        Owned::DateTime(DateTime { date, hour: time.0, minute: time.1, second: time.2, micros: time.3 })
    };
    let (d, y) = (Owned::Date, Owned::Year);
    check("t_date", "1", &[d(date(2024, 2, 29)), d(date(2024, 2, 29)), y(2024), y(2024)]);
    check("t_date", "2", &[d(date(0, 0, 0)), d(date(0, 0, 0)), y(0), y(0)]);
    check("t_date", "5", &[d(date(0, 1, 1)), d(date(0, 1, 1)), y(2000), y(2000)]);
    check("t_date", "9", &[d(date(99, 12, 31)), d(date(100, 1, 1)), y(1999), y(1999)]);
    check("t_date", "10", &[d(date(1582, 10, 10)), d(date(1582, 10, 15)), y(2001), y(2001)]);
    check("t_date", "12", &[d(date(9999, 12, 31)), d(date(9999, 12, 31)), y(2155), y(2155)]);
    check(
        "t_time",
        "8",
        &[
            Owned::Time(-3_020_398_000_000),
            Owned::Time(-3_020_398_900_000),
            Owned::Time(-3_020_398_999_000),
            Owned::Time(-3_020_398_999_999),
        ],
    );
    let partial = date(2024, 0, 0);
    check(
        "t_datetime",
        "3",
        &[
            clock(partial, (0, 0, 0, 0)),
            clock(partial, (1, 2, 3, 0)),
            clock(partial, (1, 2, 3, 4000)),
            clock(partial, (0, 0, 0, 0)),
            clock(partial, (1, 2, 3, 4)),
            clock(partial, (0, 0, 0, 0)),
            clock(partial, (1, 2, 3, 4)),
        ],
    );
    let last = date(9999, 12, 31);
    check(
        "t_datetime",
        "7",
        &[
            clock(last, (23, 59, 59, 0)),
            clock(last, (23, 59, 59, 900_000)),
            clock(last, (23, 59, 59, 999_000)),
            clock(last, (23, 59, 59, 999_900)),
            clock(last, (23, 59, 59, 999_999)),
            clock(last, (23, 59, 59, 0)),
            clock(last, (23, 59, 59, 999_999)),
        ],
    );
    let stamp = |micros| Owned::Timestamp(Timestamp::Micros(micros));
    check(
        "t_timestamp",
        "1",
        &[
            stamp(1_709_210_096_000_000),
            stamp(1_709_210_096_700_000),
            stamp(1_709_210_096_789_000),
            stamp(1_709_210_096_789_123),
            stamp(1_709_210_096_000_000),
            stamp(1_709_210_096_789_123),
        ],
    );
    check("t_timestamp", "4", &vec![Owned::Timestamp(Timestamp::Zero); 6]);
}

#[test]
fn recorded_texts_mean_what_the_sql_said() {
    let text = |text: &str| Owned::Text(text.to_owned());
    let odd = "\"'\\/%<&>";
    check(
        "t_text",
        "5",
        &[text(odd), text(odd), text("\""), text("\\"), text("/"), text("<&>"), text("'"), text("\\n"), text("\"")],
    );
    check(
        "t_binary",
        "3",
        &[
            Owned::Bytes(b"a".to_vec()),
            Owned::Bytes(b"a\0\0\0\0\0\0\0".to_vec()),
            Owned::Bytes(b"a\0".to_vec()),
            Owned::Bytes(b"a\0".to_vec()),
            Owned::Bytes(b"a\0".to_vec()),
            Owned::Bytes(b"a\0".to_vec()),
            Owned::Bytes(b"a\0".to_vec()),
        ],
    );
    let e = Owned::Enum;
    check("t_enum_set", "1", &[e(1), e(1), e(1), e(1), Owned::Set(1), Owned::Set(1), Owned::Set(1)]);
    check("t_enum_set", "2", &[e(3), e(7), e(2), e(2), Owned::Set(4), Owned::Set(8), Owned::Set(1 << 63)]);
    check("t_enum_set", "3", &[e(0), e(0), e(0), e(0), Owned::Set(0), Owned::Set(0), Owned::Set(0)]);
    check("t_enum_set", "5", &[e(2), e(2), e(1), e(1), Owned::Set(7), Owned::Set(15), Owned::Set(u64::MAX)]);
    let nested = r#"{"a": [1, {"b": [2, {"c": {"d": [[], {}, [null, true, false]]}}]}], "z": {"y": {"x": null}}}"#;
    check_on(&["mysql"], "t_json", "13", &[Owned::Json(nested.to_owned())]);
    check_on(&["mariadb"], "t_json", "13", &[text(nested)]);
}
