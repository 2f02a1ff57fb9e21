//! Every supported type at its edges, in insert, update and delete. The oracle is the server's own text of the same row.

use tailrace_row::{ColumnType, Field, Operation, RowImage, TableSchema, Timestamp, Value};

use crate::harness::{Database, Stream};

/// A column type, how its values are asked of the server as text, and the literals to write.
struct Case {
    declared: &'static str,
    asked: &'static str,
    literals: &'static [&'static str],
}

const fn case(declared: &'static str, asked: &'static str, literals: &'static [&'static str]) -> Case {
    Case { declared, asked, literals }
}

const NUMBERS: &[Case] = &[
    case("TINYINT", "c", &["-128", "-1", "0", "127"]),
    case("TINYINT UNSIGNED", "c", &["0", "128", "255"]),
    case("SMALLINT", "c", &["-32768", "-1", "32767"]),
    case("SMALLINT UNSIGNED", "c", &["32768", "65535"]),
    case("MEDIUMINT", "c", &["-8388608", "-1", "8388607"]),
    case("MEDIUMINT UNSIGNED", "c", &["8388608", "16777215"]),
    case("INT", "c", &["-2147483648", "-1", "2147483647"]),
    case("INT UNSIGNED ZEROFILL", "c + 0", &["2147483648", "4294967295", "7"]),
    case("BIGINT", "c", &["-9223372036854775808", "-1", "9223372036854775807"]),
    case("BIGINT UNSIGNED", "c", &["9223372036854775808", "18446744073709551615"]),
    case("BOOLEAN", "c", &["true", "false"]),
    case(
        "FLOAT",
        "CAST(c AS DOUBLE)",
        &["0", "-0e0", "1.5", "0.1", "3.4028234e38", "-3.4028234e38", "1.17549435e-38", "1e-45", "16777217"],
    ),
    case("FLOAT UNSIGNED", "CAST(c AS DOUBLE)", &["0.25"]),
    case("FLOAT(7,3)", "CAST(c AS DOUBLE)", &["1234.567"]),
    case(
        "DOUBLE",
        "c",
        &["0", "0.1", "-1.7976931348623157e308", "2.2250738585072014e-308", "5e-324", "123456789.123456789"],
    ),
    case("DECIMAL(10)", "c", &["0", "-1", "9999999999", "-9999999999"]),
    case("DECIMAL(5,5)", "c", &["0", "0.99999", "-0.00001"]),
    case("DECIMAL(18,9)", "c", &["999999999.999999999", "-999999999.999999999", "-0.000000001"]),
    case(
        "DECIMAL(38,19)",
        "c",
        &["9999999999999999999.9999999999999999999", "-9999999999999999999.9999999999999999999"],
    ),
    case("DECIMAL(65,0)", "c", &[LARGEST_WHOLE, SMALLEST_WHOLE, "0", "-0"]),
    case("DECIMAL(65,30)", "c", &[LARGEST, SMALLEST, "-0.0", "0.000000000000000000000000000001", "1.10"]),
    case("DECIMAL(20,4) UNSIGNED", "c", &["12345.6789"]),
    case("BIT(1)", "c + 0", &["b'0'", "b'1'"]),
    case("BIT(9)", "c + 0", &["0", "256", "511"]),
    case("BIT(64)", "c + 0", &["0", "18446744073709551615", "9223372036854775808"]),
];

const LARGEST_WHOLE: &str = "99999999999999999999999999999999999999999999999999999999999999999";
const SMALLEST_WHOLE: &str = "-99999999999999999999999999999999999999999999999999999999999999999";
const LARGEST: &str = "99999999999999999999999999999999999.999999999999999999999999999999";
const SMALLEST: &str = "-99999999999999999999999999999999999.999999999999999999999999999999";

const TIMES: &[Case] = &[
    case(
        "DATE",
        "c",
        &[
            "'0000-00-00'",
            "'2024-00-00'",
            "'2024-02-31'",
            "'0000-01-01'",
            "'1000-01-01'",
            "'9999-12-31'",
            "'1970-01-01'",
        ],
    ),
    case("TIME", "c", &["'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'", "'23:59:59'"]),
    case("TIME(1)", "c", &["'-838:59:58.9'", "'-00:00:00.1'", "'12:34:56.7'"]),
    case("TIME(2)", "c", &["'-00:00:00.01'", "'-00:00:01.99'", "'00:00:00.99'"]),
    case("TIME(3)", "c", &["'-00:00:00.001'", "'12:00:00.123'"]),
    case("TIME(4)", "c", &["'-00:00:01.0001'", "'12:00:00.9999'"]),
    case("TIME(5)", "c", &["'-00:00:01.00001'"]),
    case(
        "TIME(6)",
        "c",
        &["'-838:59:59.000000'", "'-838:59:58.999999'", "'838:59:58.999999'", "'-00:00:00.000001'", "'0'"],
    ),
    case(
        "DATETIME",
        "c",
        &["'0000-00-00 00:00:00'", "'2024-00-00 00:00:00'", "'0001-01-01 00:00:00'", "'9999-12-31 23:59:59'"],
    ),
    case("DATETIME(1)", "c", &["'2024-02-29 12:34:56.7'"]),
    case("DATETIME(2)", "c", &["'1999-12-31 23:59:59.99'"]),
    case("DATETIME(3)", "c", &["'1969-12-31 23:59:59.999'"]),
    case("DATETIME(4)", "c", &["'2024-02-29 12:34:56.0001'"]),
    case("DATETIME(5)", "c", &["'2024-02-29 12:34:56.00001'"]),
    case(
        "DATETIME(6)",
        "c",
        &["'9999-12-31 23:59:59.999999'", "'0000-00-00 00:00:00.000000'", "'1000-01-01 00:00:00.000001'"],
    ),
    case("TIMESTAMP NULL", "c", &["'0000-00-00 00:00:00'", "'1970-01-01 00:00:01'", "'2038-01-19 03:14:07'"]),
    case("TIMESTAMP(1) NULL", "c", &["'2024-02-29 12:34:56.7'"]),
    case("TIMESTAMP(3) NULL", "c", &["'2024-02-29 12:34:56.789'", "'0000-00-00 00:00:00'"]),
    case("TIMESTAMP(6) NULL", "c", &["'2038-01-19 03:14:07.499999'", "'1970-01-01 00:00:01.000001'"]),
    case("YEAR", "c", &["0000", "1901", "1970", "2155"]),
];

const TEXTS: &[Case] = &[
    case("CHAR(10)", "c", &["''", "'a'", "'trail  '", "'😀é\\0x'", "0xE697A5"]),
    case("CHAR(255)", "c", &["REPEAT('😀', 255)", "''"]),
    case("CHAR(0)", "c", &["''"]),
    case("VARCHAR(10)", "c", &["''", "'trail  '", "'é😀'", "'a\\0b'"]),
    case("VARCHAR(255) CHARACTER SET ascii", "c", &["REPEAT('a', 255)"]),
    case("VARCHAR(256) CHARACTER SET ascii", "c", &["REPEAT('a', 256)", "''"]),
    case("VARCHAR(16000)", "c", &["REPEAT('😀', 16000)"]),
    case("VARCHAR(20) CHARACTER SET utf8mb3", "c", &["'é日本'"]),
    case("VARCHAR(255) CHARACTER SET latin1", "c", &["'plain'", "'é€Ÿ'", ALL_LATIN1, "REPEAT('ÿ', 255)"]),
    case("CHAR(20) CHARACTER SET latin1 COLLATE latin1_german2_ci", "c", &["'Straße'"]),
    case("TINYTEXT", "c", &["''", "'x'"]),
    case("TEXT", "c", &["REPEAT('é', 30000)", "''"]),
    case("MEDIUMTEXT", "c", &["REPEAT('m', 70000)"]),
    case("LONGTEXT CHARACTER SET latin1", "c", &["REPEAT('ü', 70000)"]),
    case("BINARY(5)", "HEX(c)", &["''", "'ab'", "0xFF00000000", "0x0102030405", "0x0000000000"]),
    case("BINARY(255)", "HEX(c)", &["0x00", "REPEAT(0xFF, 255)"]),
    case("BINARY(0)", "HEX(c)", &["''"]),
    case("VARBINARY(300)", "HEX(c)", &["''", "0x00", "0xFF20", "REPEAT(0xFE, 300)"]),
    case("TINYBLOB", "HEX(c)", &["''", "0xFF"]),
    case("BLOB", "HEX(c)", &["REPEAT(0x00, 65535)", "0x80"]),
    case("MEDIUMBLOB", "HEX(c)", &["REPEAT(0x01, 65536)"]),
    case("LONGBLOB", "HEX(c)", &["REPEAT(0x02, 100000)", "''"]),
    case(
        "ENUM('a','b,c','it''s','','back\\\\slash','é')",
        "CONCAT(c + 0, c)",
        &["'a'", "'b,c'", "'it''s'", "0", "4", "'back\\\\slash'", "'é'"],
    ),
    case("ENUM('grün','rot') CHARACTER SET latin1", "CONCAT(c + 0, c)", &["'grün'", "'rot'", "0"]),
    case("SET('x','y','z w')", "c", &["''", "'x'", "'x,z w'", "7"]),
    case("JSON", "c", &["'null'", "'{}'", "'[]'"]),
];

const GEOMETRIES: &[Case] = &[
    case("GEOMETRY", "HEX(c)", &["ST_GeomFromText('POINT(1 2)', 3857)", "ST_GeomFromText('LINESTRING(0 0,1 1)')"]),
    case("POINT", "HEX(c)", &["POINT(1, 2)", "0x000000000101000000000000000000F87F000000000000F03F"]),
    case("LINESTRING", "HEX(c)", &["ST_GeomFromText('LINESTRING(0 0,1 1,2 0)')"]),
    case("POLYGON", "HEX(c)", &["ST_GeomFromText('POLYGON((0 0,4 0,4 4,0 4,0 0),(1 1,2 1,2 2,1 1))', 3857)"]),
    case("MULTIPOINT", "HEX(c)", &["ST_GeomFromText('MULTIPOINT(0 0,1 1)')"]),
    case("MULTILINESTRING", "HEX(c)", &["ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))')"]),
    case("MULTIPOLYGON", "HEX(c)", &["ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')"]),
    case("GEOMETRYCOLLECTION", "HEX(c)", &["ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')"]),
];

const VECTORS: &[Case] = &[
    case("VECTOR(3)", "HEX(c)", &["STRING_TO_VECTOR('[1,2,3]')", "STRING_TO_VECTOR('[-0.0]')"]),
    case("VECTOR", "HEX(c)", &["STRING_TO_VECTOR('[1.5]')", "0x01000000"]),
];

const ADDRESSES: &[Case] = &[
    case("UUID", "c", &["'f47ac10b-58cc-4372-a567-000000000000'", "'123e4567-e89b-12d3-a456-426655440000'"]),
    case("INET4", "c", &["'10.0.0.0'", "'0.0.0.0'", "'255.32.0.32'"]),
    case(
        "INET6",
        "c",
        &[
            "'::'",
            "'2001:db8::'",
            "'1:2:3:4:5:6:7:0'",
            "'0:2:3:4:5:6:7:8'",
            "'1:0:3:4:5:0:0:8'",
            "'::1.2.3.4'",
            "'::ffff:1.2.3.4'",
            "'::ffff:0:1.2.3.4'",
        ],
    ),
];

/// Every byte that latin1 does not share with ASCII.
const ALL_LATIN1: &str =
    "_latin1 0x808182838485868788898A8B8C8D8E8F909192939495969798999A9B9C9D9E9FA0A1BFC0D7DFE9F0F7FDFEFF";

#[tokio::test]
async fn numbers_arrive_as_the_server_prints_them() {
    check_all("types_numbers", NUMBERS).await;
}

#[tokio::test]
async fn times_arrive_as_the_server_prints_them() {
    check_all("types_times", TIMES).await;
}

#[tokio::test]
async fn texts_and_bytes_arrive_as_the_server_prints_them() {
    check_all("types_texts", TEXTS).await;
}

#[tokio::test]
async fn geometries_and_vectors_arrive_as_the_server_stores_them() {
    check_all("types_geometries", GEOMETRIES).await;
    check_all("types_vectors", VECTORS).await;
}

#[tokio::test]
async fn addresses_and_geometries_of_mariadb_arrive() {
    check_on(Database::on(lab::Mariadb::up("source").unwrap(), "types_addresses").await, ADDRESSES).await;
    check_on(Database::on(lab::Mariadb::up("source").unwrap(), "types_geometries").await, GEOMETRIES).await;
}

/// Outside of strict modes MariaDB stores no geometry at all where a column that is NOT NULL gets none.
#[tokio::test]
async fn the_absence_of_a_geometry_of_mariadb_arrives() {
    let mut db = Database::on(lab::Mariadb::up("source").unwrap(), "types_no_geometry").await;
    db.run_all(&["CREATE TABLE t (id INT PRIMARY KEY, c POINT NOT NULL, d GEOMETRY NOT NULL)", "SET sql_mode = ''"])
        .await;
    let mut stream = db.follow(&["t"]).await;
    db.run("INSERT INTO t (id) VALUES (1)").await;
    stream.next().await.unwrap();
    let image = stream.batch.after(&stream.batch.records()[0]).unwrap();
    let nothing = Field::Value(Value::Geometry { srid: 0, wkb: &[] });
    assert_eq!((image.field(1), image.field(2)), (nothing, nothing));
}

/// MariaDB orders a UUID's bytes in its tables by version and variant, and the binlog has them as they are written: seen with
/// every version beside every variant.
#[tokio::test]
async fn every_uuid_of_mariadb_arrives() {
    use mysql_async::prelude::Queryable;
    let mut db = Database::on(lab::Mariadb::up("source").unwrap(), "types_uuids").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, c UUID)").await;
    let mut stream = db.follow(&["t"]).await;
    db.run(
        "INSERT IGNORE INTO t SELECT seq, CONCAT('01234567-89ab-', LPAD(HEX(seq DIV 256), 2, '0'), 'cd-', LPAD(HEX(seq % 256), 2, '0'), \
         'ef-', LPAD(HEX(seq), 12, '0')) FROM seq_0_to_65535",
    )
    .await;
    let expected: Vec<Text> = db.conn.query("SELECT CAST(c AS CHAR) FROM t ORDER BY id").await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        stream.next().await.unwrap();
        let images = stream.batch.records().iter().filter_map(|record| stream.batch.after(record));
        seen.extend(images.map(|image| show(&stream.batch.schemas()[0], image)));
    }
    assert!(
        expected.iter().flatten().count() > 40_000,
        "the server refuses only versions that can't have their variant"
    );
    assert!(seen == expected, "{:?}", seen.iter().zip(&expected).find(|(seen, expected)| seen != expected));
}

async fn check_all(database: &str, cases: &[Case]) {
    check_on(Database::new(database).await, cases).await;
}

async fn check_on(mut db: Database, cases: &[Case]) {
    db.run("SET sql_mode = 'ALLOW_INVALID_DATES'").await;
    for (number, case) in cases.iter().enumerate() {
        check(&mut db, &format!("t{number}"), case).await;
    }
}

/// Inserts every literal and NULL, gives each row the next one's value, deletes all, and compares each image.
async fn check(db: &mut Database, table: &str, case: &Case) {
    db.run(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, c {})", case.declared)).await;
    let mut stream = db.follow(&[table]).await;
    for (id, literal) in case.literals.iter().chain(&["NULL"]).enumerate() {
        db.run(&format!("INSERT INTO {table} VALUES ({id}, {literal})")).await;
    }
    let inserted = texts(db, table, case).await;
    expect(db, &mut stream, table, &changes(Operation::Insert, None, Some(&inserted))).await;
    let count = case.literals.len() + 1;
    for id in 0..count {
        let next = (id + 1) % count;
        let literal = case.literals.get(next).unwrap_or(&"NULL");
        db.run(&format!("UPDATE {table} SET c = {literal} WHERE id = {id}")).await;
    }
    let updated = texts(db, table, case).await;
    let mut updates = changes(Operation::Update, Some(&inserted), Some(&updated));
    updates.retain(|change| change.before != change.after);
    expect(db, &mut stream, table, &updates).await;
    db.run(&format!("DELETE FROM {table} ORDER BY id")).await;
    expect(db, &mut stream, table, &changes(Operation::Delete, Some(&updated), None)).await;
}

type Text = Option<String>;

#[derive(Debug, PartialEq)]
struct Change {
    operation: Operation,
    before: Option<Text>,
    after: Option<Text>,
}

async fn texts(db: &mut Database, table: &str, case: &Case) -> Vec<Text> {
    use mysql_async::prelude::Queryable;
    db.conn.query(format!("SELECT CAST({} AS CHAR) FROM {table} ORDER BY id", case.asked)).await.unwrap()
}

fn changes(operation: Operation, before: Option<&[Text]>, after: Option<&[Text]>) -> Vec<Change> {
    let count = before.or(after).unwrap().len();
    let at = |texts: Option<&[Text]>, id: usize| texts.map(|texts| texts[id].clone());
    (0..count).map(|id| Change { operation, before: at(before, id), after: at(after, id) }).collect()
}

async fn expect(db: &Database, stream: &mut Stream, table: &str, expected: &[Change]) {
    let mut seen = Vec::new();
    while seen.len() < expected.len() {
        stream.next().await.unwrap();
        for record in stream.batch.records() {
            let schema = stream.batch.schema(record);
            let show = |image: Option<RowImage<'_>>| image.map(|image| show(schema, image));
            seen.push(Change {
                operation: record.operation,
                before: show(stream.batch.before(record)),
                after: show(stream.batch.after(record)),
            });
        }
        let by_dictionary = tailrace_contract::Source::tables(&db.source(), &db.filter(&[table])).await.unwrap();
        assert_eq!(by_dictionary[0], stream.batch.schemas()[0], "dictionary and table map describe {table} alike");
    }
    for (seen, expected) in seen.iter().zip(expected) {
        assert_eq!(cut(seen), cut(expected), "{table}: {:?}", db.source_type(table, stream));
    }
    assert_eq!(seen, expected);
}

/// Long texts are compared whole but shown by their begin.
fn cut(change: &Change) -> String {
    let shown: String = format!("{change:?}").chars().take(300).collect();
    shown
}

impl Database {
    fn source_type(&self, _table: &str, stream: &Stream) -> ColumnType {
        stream.batch.schemas()[0].columns()[1].column_type.clone()
    }
}

/// The second column's field as the server prints it.
fn show(schema: &TableSchema, image: RowImage<'_>) -> Text {
    match image.field(1) {
        Field::Null => None,
        Field::Unchanged => panic!("a full image has every column"),
        Field::Value(value) => Some(show_value(&schema.columns()[1].column_type, value)),
    }
}

fn show_value(column: &ColumnType, value: Value<'_>) -> String {
    match (column, value) {
        (ColumnType::Integer { .. }, Value::Integer(number)) => number.to_string(),
        (ColumnType::Integer { .. }, Value::Unsigned(number)) => number.to_string(),
        (ColumnType::Float, Value::Float(number)) => show_double(f64::from(number)),
        (ColumnType::Double, Value::Double(number)) => show_double(number),
        (ColumnType::Decimal { scale, .. }, Value::Decimal(decimal)) => {
            assert_eq!(*scale, decimal.scale);
            show_decimal(decimal.unscaled, usize::from(decimal.scale))
        }
        (ColumnType::Bit { .. }, Value::Bit(bits)) => bits.to_string(),
        (ColumnType::Text { .. }, Value::Text(text)) => text.to_owned(),
        (ColumnType::Bytes { .. }, Value::Bytes(bytes)) => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
        (ColumnType::Enum { members }, Value::Enum(index)) => match index {
            0 => "0".to_owned(),
            index => format!("{index}{}", members[usize::from(index) - 1]),
        },
        (ColumnType::Set { members }, Value::Set(bits)) => {
            let chosen = members.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
            chosen.map(|(_, member)| member.to_string()).collect::<Vec<_>>().join(",")
        }
        (ColumnType::Date, Value::Date(date)) => format!("{:04}-{:02}-{:02}", date.year, date.month, date.day),
        (ColumnType::Time { fraction }, Value::Time(time)) => {
            let sign = if time.micros < 0 { "-" } else { "" };
            let (seconds, micros) = (time.micros.abs() / 1_000_000, time.micros.abs() % 1_000_000);
            let clock = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            with_fraction(clock, micros, *fraction)
        }
        (ColumnType::DateTime { fraction }, Value::DateTime(clock)) => show_clock(clock, *fraction),
        (ColumnType::Timestamp { fraction }, Value::Timestamp(Timestamp::Zero)) => {
            with_fraction("0000-00-00 00:00:00".to_owned(), 0, *fraction)
        }
        (ColumnType::Timestamp { fraction }, Value::Timestamp(Timestamp::Micros(micros))) => {
            show_clock(tailrace_row::DateTime::from_micros_since_epoch(micros).unwrap(), *fraction)
        }
        (ColumnType::Year, Value::Year(year)) => format!("{year:04}"),
        (ColumnType::Json, Value::Json(text)) => text.to_owned(),
        (ColumnType::Geometry { .. }, Value::Geometry { srid, wkb }) => {
            srid.to_le_bytes().iter().chain(wkb).map(|byte| format!("{byte:02X}")).collect()
        }
        (ColumnType::Vector { .. }, Value::Vector(numbers)) => {
            numbers.iter().map(|byte| format!("{byte:02X}")).collect()
        }
        (ColumnType::Uuid, Value::Uuid(bytes)) => written(|text| tailrace_row::write_uuid(bytes, text)),
        (ColumnType::Inet4, Value::Inet4(bytes)) => written(|text| tailrace_row::write_inet4(bytes, text)),
        (ColumnType::Inet6, Value::Inet6(bytes)) => written(|text| tailrace_row::write_inet6(bytes, text)),
        (column, value) => panic!("{value:?} in a column of {column:?}"),
    }
}

fn written(write: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    write(&mut text).unwrap();
    text
}

fn show_clock(clock: tailrace_row::DateTime, fraction: u8) -> String {
    let date = clock.date;
    let (hour, minute, second) = (clock.hour, clock.minute, clock.second);
    let text = format!("{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02}", date.year, date.month, date.day);
    with_fraction(text, i64::from(clock.micros), fraction)
}

/// Digits that the column does not have must be zero.
fn with_fraction(text: String, micros: i64, digits: u8) -> String {
    let all = format!("{micros:06}");
    let (shown, rest) = all.split_at(usize::from(digits));
    assert!(rest.bytes().all(|digit| digit == b'0'), "{micros} in a column of {digits} digits");
    if digits == 0 { text } else { format!("{text}.{shown}") }
}

/// The server's form of a double, from the same bits.
fn show_double(number: f64) -> String {
    let plain = format!("{number}");
    let scientific = format!("{number:e}");
    let exponent: i32 = scientific.split_once('e').unwrap().1.parse().unwrap();
    if (-15..15).contains(&exponent) { plain } else { scientific }
}

/// Digits of a two's complement number, by schoolbook division.
fn show_decimal(unscaled: &[u8], scale: usize) -> String {
    let is_negative = unscaled[0] & 0x80 != 0;
    let mut magnitude = unscaled.to_vec();
    if is_negative {
        magnitude.iter_mut().for_each(|byte| *byte = !*byte);
        for byte in magnitude.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) || digits.len() <= scale {
        let mut rest = 0u32;
        for byte in &mut magnitude {
            let part = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(part / 10).unwrap();
            rest = part % 10;
        }
        digits.push(char::from_digit(rest, 10).unwrap());
    }
    let mut text: String = digits.into_iter().rev().collect();
    if scale > 0 {
        text.insert(text.len() - scale, '.');
    }
    if is_negative { format!("-{text}") } else { text }
}
