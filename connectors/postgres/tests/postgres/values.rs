//! Every type with its edge values, written by our encoder, read back as PostgreSQL prints it. The expectations are written
//! by hand. Each value goes through both bulk forms: arrays and COPY.

use tailrace_row::{
    Charset, ColumnType, Date, DateTime, Decimal, Field, GeometryKind, TextForm, Time, Timestamp, Value,
};

use crate::bench::{BIGINT, Bench, Changes, schema, step};

const TEXT: ColumnType = ColumnType::Text { form: TextForm::Large, bytes_max: u32::MAX, charset: Charset::Utf8mb4 };

const fn varchar(characters: u32) -> ColumnType {
    ColumnType::Text { form: TextForm::Varying, bytes_max: characters * 4, charset: Charset::Utf8mb4 }
}

const fn integer(bits: u8, unsigned: bool) -> ColumnType {
    ColumnType::Integer { bits, unsigned }
}

fn members(labels: &[&str]) -> Box<[Box<str>]> {
    labels.iter().map(|label| Box::from(*label)).collect()
}

fn day(year: u16, month: u8, day: u8) -> Value<'static> {
    Value::Date(Date { year, month, day })
}

fn clock(year: u16, month: u8, day: u8, micros_of_day: u64) -> Value<'static> {
    let seconds = micros_of_day / 1_000_000;
    let part = |number: u64| u8::try_from(number).unwrap();
    Value::DateTime(DateTime {
        date: Date { year, month, day },
        hour: part(seconds / 3600),
        minute: part(seconds / 60 % 60),
        second: part(seconds % 60),
        micros: u32::try_from(micros_of_day % 1_000_000).unwrap(),
    })
}

/// Big-endian two's complement of a number given by its decimal digits.
fn unscaled(digits: &str) -> Vec<u8> {
    let (is_negative, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits),
    };
    let mut bytes = vec![0_u8; 32];
    for digit in digits.bytes().filter(u8::is_ascii_digit) {
        let mut carry = u16::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            let sum = u16::from(*byte) * 10 + carry;
            *byte = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
    }
    if is_negative {
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
        for byte in bytes.iter_mut().rev() {
            let (sum, is_carried) = byte.overflowing_add(1);
            *byte = sum;
            if !is_carried {
                break;
            }
        }
    }
    let sign = if is_negative { 0xff } else { 0 };
    while bytes.len() > 1 && bytes[0] == sign && (bytes[1] & 0x80 != 0) == is_negative {
        bytes.remove(0);
    }
    bytes
}

/// Writes the values into a column that the sink makes for the type (or into `column`), and compares what PostgreSQL prints.
async fn check_in(test: &str, source: ColumnType, column: Option<&str>, cases: &[(Value<'_>, &str)]) {
    const COPIED: usize = 2_100;
    let bench = Bench::new(test).await;
    let schema = schema(&[("id", BIGINT), ("v", source)], &[0]);
    match column {
        Some(column) => bench.create_as(&format!("id bigint PRIMARY KEY, v {column}")).await,
        None => bench.create(&schema).await,
    }
    let mut writer = bench.writer().await;
    for count in [cases.len() + 1, COPIED] {
        let field = |number: usize| {
            cases.get(number % (cases.len() + 1)).map_or(Field::Null, |(value, _)| Field::Value(*value))
        };
        let expect = |number: usize| cases.get(number % (cases.len() + 1)).map_or("∅", |(_, text)| text);
        let mut changes = Changes::new(&schema);
        for number in 0..count {
            changes.upsert(&[Field::Value(Value::Integer(i64::try_from(number).unwrap())), field(number)]);
        }
        let from = bench.claim().await;
        changes.apply(&bench, &mut *writer, &[step(&from)]).await.unwrap();
        let found = bench.ask("SELECT v::text FROM shop.things ORDER BY id").await;
        let expect: Vec<&str> = (0..count).map(expect).collect();
        assert_eq!(found, expect, "{count} rows");
        bench.run("TRUNCATE shop.things").await;
    }
}

async fn check(test: &str, source: ColumnType, cases: &[(Value<'_>, &str)]) {
    check_in(test, source, None, cases).await;
}

#[tokio::test]
async fn integers_signed() {
    for (bits, least, greatest) in [
        (8, "-128", "127"),
        (16, "-32768", "32767"),
        (24, "-8388608", "8388607"),
        (32, "-2147483648", "2147483647"),
        (64, "-9223372036854775808", "9223372036854775807"),
    ] {
        let value = |text: &str| Value::Integer(text.parse().unwrap());
        let cases = [least, "-1", "0", "1", greatest].map(|text| (value(text), text));
        check("integers_signed", integer(bits, false), &cases).await;
    }
}

#[tokio::test]
async fn integers_unsigned() {
    for (bits, greatest) in
        [(8, "255"), (16, "65535"), (24, "16777215"), (32, "4294967295"), (64, "18446744073709551615")]
    {
        let value = |text: &str| Value::Unsigned(text.parse().unwrap());
        let cases = ["0", "1", "100", greatest].map(|text| (value(text), text));
        check("integers_unsigned", integer(bits, true), &cases).await;
    }
}

#[tokio::test]
async fn integers_in_wider_and_narrower_columns() {
    let value = |text: &'static str| (Value::Integer(text.parse().unwrap()), text);
    let int = integer(32, false);
    for column in ["bigint", "numeric", "numeric(20)", "numeric(12,2)", "smallint"] {
        let cases = match column {
            "smallint" => ["-32768", "0", "32767"],
            "numeric(12,2)" => ["-2147483648.00", "0.00", "10000.00"],
            _ => ["-2147483648", "0", "10000"],
        };
        let cases = cases.map(|text| (value(text.trim_end_matches(".00")).0, text));
        check_in("integers_in_wider", int.clone(), Some(column), &cases).await;
    }
    let cases = [(Value::Integer(0), "false"), (Value::Integer(1), "true")];
    check_in("integers_in_wider", integer(8, false), Some("boolean"), &cases).await;
}

#[tokio::test]
async fn decimals() {
    for (precision, scale, texts) in [
        (
            65,
            30,
            vec![
                "99999999999999999999999999999999999.999999999999999999999999999999",
                "-99999999999999999999999999999999999.999999999999999999999999999999",
                "0.000000000000000000000000000001",
                "-0.000000000000000000000000000001",
                "0.000000000000000000000000000000",
                "10000.000000000000000000000000000000",
            ],
        ),
        (
            65,
            0,
            vec![
                "-99999999999999999999999999999999999999999999999999999999999999999",
                "0",
                "10000000000000000000000000000000000000000",
            ],
        ),
        (10, 0, vec!["9999999999", "-9999999999", "0", "1", "10000", "-100000000"]),
        (10, 1, vec!["999999999.9", "-0.1", "0.0", "1.0", "1000.0"]),
        (10, 2, vec!["99999999.99", "-99999999.99", "0.01", "0.10", "123.40", "100.00"]),
        (10, 3, vec!["9999999.999", "-0.001", "0.100", "10000.000", "1.001"]),
        (20, 4, vec!["9999999999999999.9999", "-9999999999999999.9999", "0.0001", "12345678.0000", "1.5000"]),
        (18, 5, vec!["9999999999999.99999", "0.00001", "0.10000", "-1.00000", "10.00010"]),
        (19, 19, vec!["0.9999999999999999999", "-0.0000000000000000001", "0.0000000000000000000"]),
    ] {
        let numbers: Vec<Vec<u8>> = texts.iter().map(|text| unscaled(text)).collect();
        let value = |number| Value::Decimal(Decimal { unscaled: number, scale });
        let cases: Vec<_> = numbers.iter().zip(&texts).map(|(number, text)| (value(number), *text)).collect();
        let source = ColumnType::Decimal { precision, scale };
        check("decimals", source.clone(), &cases).await;
        check_in("decimals", source, Some("numeric"), &cases).await;
    }
}

#[tokio::test]
async fn floats() {
    let cases = [
        (Value::Float(f32::MAX), "3.4028235e+38"),
        (Value::Float(f32::MIN), "-3.4028235e+38"),
        (Value::Float(f32::MIN_POSITIVE), "1.1754944e-38"),
        (Value::Float(1e-45), "1e-45"),
        (Value::Float(0.1), "0.1"),
        (Value::Float(0.0), "0"),
        (Value::Float(-0.0), "-0"),
    ];
    check("floats", ColumnType::Float, &cases).await;
    check_in("floats", ColumnType::Float, Some("float8"), &[(Value::Float(0.1), "0.10000000149011612")]).await;
    let cases = [
        (Value::Double(f64::MAX), "1.7976931348623157e+308"),
        (Value::Double(f64::MIN), "-1.7976931348623157e+308"),
        (Value::Double(f64::MIN_POSITIVE), "2.2250738585072014e-308"),
        (Value::Double(5e-324), "5e-324"),
        (Value::Double(0.1), "0.1"),
        (Value::Double(-0.0), "-0"),
        (Value::Double(1e20), "1e+20"),
    ];
    check("floats", ColumnType::Double, &cases).await;
}

#[tokio::test]
async fn bits() {
    let bit = |length| ColumnType::Bit { length };
    check("bits", bit(1), &[(Value::Bit(0), "0"), (Value::Bit(1), "1")]).await;
    check(
        "bits",
        bit(9),
        &[(Value::Bit(0), "000000000"), (Value::Bit(0x155), "101010101"), (Value::Bit(0x1ff), "111111111")],
    )
    .await;
    let ones = "1".repeat(64);
    let top = format!("1{}", "0".repeat(63));
    check("bits", bit(64), &[(Value::Bit(u64::MAX), &ones), (Value::Bit(1 << 63), &top)]).await;
    check_in("bits", bit(1), Some("boolean"), &[(Value::Bit(0), "false"), (Value::Bit(1), "true")]).await;
    check_in("bits", bit(3), Some("bit varying(5)"), &[(Value::Bit(5), "101"), (Value::Bit(1), "001")]).await;
    check_in("bits", bit(33), Some("bigint"), &[(Value::Bit(0x1_ffff_ffff), "8589934591")]).await;
    check_in("bits", bit(64), Some("numeric"), &[(Value::Bit(u64::MAX), "18446744073709551615")]).await;
}

#[tokio::test]
async fn texts() {
    let long = "ä😀".repeat(10_000);
    let cases = [
        (Value::Text(""), ""),
        (Value::Text("a  "), "a  "),
        (Value::Text("  a"), "  a"),
        (Value::Text("é😀\u{10ffff}\u{1}\u{7f}"), "é😀\u{10ffff}\u{1}\u{7f}"),
        (Value::Text("'\"\\,{}NULL\t\r\n"), "'\"\\,{}NULL\t\r\n"),
        (Value::Text("\\N"), "\\N"),
        (Value::Text("\u{81}\u{8d}\u{9d}€"), "\u{81}\u{8d}\u{9d}€"),
        (Value::Text(&long), &long),
    ];
    check("texts", TEXT, &cases).await;
    check_in("texts", TEXT, Some("varchar"), &cases).await;
    let cases = [(Value::Text("äöü "), "äöü "), (Value::Text("abcd"), "abcd"), (Value::Text(""), "")];
    check_in("texts", varchar(10), Some("varchar(4)"), &cases).await;
}

#[tokio::test]
async fn bytes() {
    let all: Vec<u8> = (0..=255).collect();
    let printed: String =
        std::iter::once("\\x".to_owned()).chain((0..=255).map(|byte| format!("{byte:02x}"))).collect();
    let cases = [
        (Value::Bytes(&[]), "\\x"),
        (Value::Bytes(&[0, 0, 255, 0]), "\\x0000ff00"),
        (Value::Bytes(&all), printed.as_str()),
        (Value::Bytes(b"\\x00"), "\\x5c783030"),
    ];
    check("bytes", ColumnType::Bytes { form: TextForm::Large, bytes_max: u32::MAX }, &cases).await;
}

#[tokio::test]
async fn enums_and_sets() {
    let plain = members(&["small", "it's", "größer", "a,b is allowed in an ENUM"]);
    let cases = [
        (Value::Enum(0), ""),
        (Value::Enum(1), "small"),
        (Value::Enum(2), "it's"),
        (Value::Enum(3), "größer"),
        (Value::Enum(4), "a,b is allowed in an ENUM"),
    ];
    check("enums_and_sets", ColumnType::Enum { members: plain }, &cases).await;
    check(
        "enums_and_sets",
        ColumnType::Enum { members: members(&["a", ""]) },
        &[(Value::Enum(2), ""), (Value::Enum(1), "a")],
    )
    .await;
    let many: Vec<String> = (0..64).map(|number| format!("m{number}")).collect();
    let all = many.join(",");
    let set = members(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let cases = [
        (Value::Set(0), ""),
        (Value::Set(u64::MAX), all.as_str()),
        (Value::Set(1 << 63), "m63"),
        (Value::Set(0b1010), "m1,m3"),
    ];
    check("enums_and_sets", ColumnType::Set { members: set }, &cases).await;
    let set = ColumnType::Set { members: members(&["ä", "b"]) };
    check_in("enums_and_sets", set, Some("varchar(3)"), &[(Value::Set(3), "ä,b"), (Value::Set(1), "ä")]).await;
}

#[tokio::test]
async fn dates_and_wall_clocks() {
    let cases = [
        (day(0, 1, 1), "0001-01-01 BC"),
        (day(1, 1, 1), "0001-01-01"),
        (day(1000, 1, 1), "1000-01-01"),
        (day(1969, 12, 31), "1969-12-31"),
        (day(2000, 2, 29), "2000-02-29"),
        (day(9999, 12, 31), "9999-12-31"),
    ];
    check("dates", ColumnType::Date, &cases).await;
    let cases = [
        (clock(1000, 1, 1, 0), "1000-01-01 00:00:00"),
        (clock(1999, 12, 31, 86_399_999_999), "1999-12-31 23:59:59.999999"),
        (clock(2024, 3, 31, 9_000_000_000), "2024-03-31 02:30:00"),
        (clock(2024, 1, 1, 130), "2024-01-01 00:00:00.00013"),
        (clock(9999, 12, 31, 86_399_999_999), "9999-12-31 23:59:59.999999"),
    ];
    check("dates", ColumnType::DateTime { fraction: 6 }, &cases).await;
    let whole = [(clock(2024, 1, 1, 1_000_000), "2024-01-01 00:00:01")];
    check("dates", ColumnType::DateTime { fraction: 0 }, &whole).await;
    check_in("dates", ColumnType::DateTime { fraction: 0 }, Some("timestamp"), &whole).await;
}

#[tokio::test]
async fn instants() {
    // The session prints UTC.
    let at = |micros| Value::Timestamp(Timestamp::Micros(micros));
    let cases = [
        (at(1_000_000), "1970-01-01 00:00:01+00"),
        (at(0), "1970-01-01 00:00:00+00"),
        (at(2_147_483_647_999_999), "2038-01-19 03:14:07.999999+00"),
        (at(946_684_799_999_999), "1999-12-31 23:59:59.999999+00"),
        (at(32_536_771_199_999_999), "3001-01-18 23:59:59.999999+00"),
    ];
    check("instants", ColumnType::Timestamp { fraction: 6 }, &cases).await;
    let cases = [(at(946_684_800_123_000), "2000-01-01 00:00:00.123+00")];
    check("instants", ColumnType::Timestamp { fraction: 3 }, &cases).await;
}

#[tokio::test]
async fn times_and_years() {
    let at = |micros| Value::Time(Time { micros });
    let cases = [
        (at(-3_020_399_999_999), "-838:59:59.999999"),
        (at(3_020_399_000_000), "838:59:59"),
        (at(0), "00:00:00"),
        (at(-1), "-00:00:00.000001"),
        (at(86_400_000_000), "24:00:00"),
    ];
    check("times", ColumnType::Time { fraction: 6 }, &cases).await;
    let cases = [(at(0), "00:00:00"), (at(86_399_999_999), "23:59:59.999999"), (at(86_400_000_000), "24:00:00")];
    check_in("times", ColumnType::Time { fraction: 6 }, Some("time"), &cases).await;
    let cases = [(Value::Year(0), "0"), (Value::Year(1901), "1901"), (Value::Year(2155), "2155")];
    check("times", ColumnType::Year, &cases).await;
    check_in("times", ColumnType::Year, Some("numeric(5)"), &cases).await;
}

#[tokio::test]
async fn json() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let cases = [
        "null",
        "\"\"",
        "{\"a\": 1.10, \"b\": 18446744073709551615, \"a\": 2}",
        "{\"nul\": \"\\u0000\"}",
        "1E400",
        "-0.0",
        &deep,
        "[\"ä😀\", {}]",
    ]
    .map(|text| (Value::Json(text), text));
    check("json", ColumnType::Json, &cases).await;
    check_in("json", ColumnType::Json, Some("text"), &cases).await;
    let cases = [
        (Value::Json("{\"b\":1.10,\"a\":null}"), "{\"a\": null, \"b\": 1.10}"),
        (Value::Json("null"), "null"),
        (Value::Json(r#""\\u0000""#), r#""\\u0000""#),
    ];
    check_in("json", ColumnType::Json, Some("jsonb"), &cases).await;
}

#[tokio::test]
async fn geometries_are_ewkb() {
    let point: &[u8] = &[1, 1, 0, 0, 0, 7, 0];
    let cases = [
        (Value::Geometry { srid: 0, wkb: point }, "\\x01010000000700"),
        (Value::Geometry { srid: 4326, wkb: point }, "\\x0101000020e61000000700"),
        (Value::Geometry { srid: u32::MAX, wkb: point }, "\\x0101000020ffffffff0700"),
        (Value::Geometry { srid: 0, wkb: &[] }, "\\x"),
    ];
    check("geometries", ColumnType::Geometry { kind: GeometryKind::Point }, &cases).await;
}

#[tokio::test]
async fn vectors_keep_every_bit() {
    let numbers = [0.0, -0.0, 1.5, 0.1, f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), f32::MIN].map(f32::to_le_bytes);
    let text = "{0,-0,1.5,0.1,3.4028235e+38,1.1754944e-38,1e-45,-3.4028235e+38}";
    // So long that many rows go by way of COPY.
    let long = 1.25_f32.to_le_bytes().repeat(600);
    let long_text = format!("{{{}}}", vec!["1.25"; 600].join(","));
    let cases =
        [(Value::Vector(numbers.as_flattened()), text), (Value::Vector(&[]), "{}"), (Value::Vector(&long), &long_text)];
    check("vectors", ColumnType::Vector { dimension: 600 }, &cases).await;
}

#[tokio::test]
async fn addresses() {
    let uuid = [0xf4, 0x7a, 0xc1, 0x0b, 0x58, 0xcc, 0x43, 0x72, 0xa5, 0x67, 0, 0, 0, 0, 0, 0];
    let cases = [(Value::Uuid(uuid), "f47ac10b-58cc-4372-a567-000000000000")];
    check("uuids", ColumnType::Uuid, &cases).await;
    check_in("uuids", ColumnType::Uuid, Some("text"), &cases).await;
    check_in("uuids", ColumnType::Uuid, Some("varchar(36)"), &cases).await;
    let cases = [(Value::Inet4([10, 0, 0, 0]), "10.0.0.0/32"), (Value::Inet4([255; 4]), "255.255.255.255/32")];
    check("inet4", ColumnType::Inet4, &cases).await;
    check_in("inet4", ColumnType::Inet4, Some("text"), &[(Value::Inet4([10, 0, 0, 0]), "10.0.0.0")]).await;
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
    check("inet6", ColumnType::Inet6, &[(Value::Inet6(address), "2001:db8::/128"), (Value::Inet6([0; 16]), "::/128")])
        .await;
    check_in("inet6", ColumnType::Inet6, Some("text"), &[(Value::Inet6(address), "2001:db8::")]).await;
}
