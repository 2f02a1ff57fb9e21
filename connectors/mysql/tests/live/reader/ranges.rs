//! Bounds of every type that a key can have, compared by the server alone: chunks of any size cover a table exactly once, in
//! the order of the whole, whatever its collation takes for equal; and proof means the same rows by them.

use std::{collections::HashSet, sync::Arc};

use mysql_async::prelude::Queryable;
use tailrace_contract::{ChunkRange, ErrorKind, Rows, Source as _, StartAt, TableReader};
use tailrace_row::{Key, TableSchema, Value};

use super::{open, read, read_for_proof, take};
use crate::harness::Database;

/// How a key is declared, its columns, and expressions of a random value of each.
struct Case {
    columns: &'static str,
    key: &'static str,
    values: &'static str,
}

const fn case(columns: &'static str, key: &'static str, values: &'static str) -> Case {
    Case { columns, key, values }
}

/// Some characters whose order, case, accents and width the collations see differently, some at the end blank.
const TEXT: &str = "CONCAT(ELT(1 + FLOOR(RAND({seed}) * 14), '', 'a', 'A', 'á', 'b', 'B', 'ß', 'ss', 'é', 'Z', 'z', '€', '~', ' '), \
                    FLOOR(RAND() * 30), ELT(1 + FLOOR(RAND() * 4), '', ' ', 'x', 'É'))";
const INSTANT: &str = "FROM_UNIXTIME(1 + FLOOR(RAND({seed}) * 2000000000) + 0.125)";

const CASES: &[Case] = &[
    case("k INT", "k", "FLOOR(RAND({seed}) * 4000) - 2000"),
    case("k BIGINT UNSIGNED", "k", "FLOOR(RAND({seed}) * 1000) * 18446744073709551"),
    case("k DECIMAL(20,5)", "k", "(RAND({seed}) - 0.5) * 1e14"),
    case(
        "k DECIMAL(65,30)",
        "k",
        "CAST((RAND({seed}) - 0.5) * 1e34 AS DECIMAL(65,30)) + 0.000000000000000000000000000001",
    ),
    case("k DOUBLE", "k", "(RAND({seed}) - 0.5) * POW(10, FLOOR(RAND() * 600) - 300)"),
    case("k FLOAT", "k", "(RAND({seed}) - 0.5) * POW(10, FLOOR(RAND() * 60) - 30)"),
    case("k VARCHAR(40) CHARACTER SET utf8mb4 COLLATE {newest}", "k", TEXT),
    case("k VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "k", TEXT),
    case("k VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "k", TEXT),
    case("k VARCHAR(40) CHARACTER SET utf8mb3", "k", TEXT),
    case("k CHAR(40) CHARACTER SET latin1 COLLATE latin1_swedish_ci", "k", TEXT),
    case("k VARCHAR(40) CHARACTER SET latin1 COLLATE latin1_german2_ci", "k", TEXT),
    case("k VARCHAR(40) CHARACTER SET ascii", "k", "CONCAT(CHAR(33 + FLOOR(RAND({seed}) * 90)), FLOOR(RAND() * 9))"),
    case("k VARBINARY(20)", "k", "UNHEX(LEFT(SHA2(RAND({seed}), 256), 2 * FLOOR(RAND() * 20)))"),
    case("k BINARY(16)", "k", "UNHEX(LEFT(SHA2(RAND({seed}), 256), 2 * FLOOR(RAND() * 16)))"),
    case(
        "k DATE",
        "k",
        "ELT(1 + FLOOR(RAND({seed}) * 3), '2024-02-31' - INTERVAL 0 DAY, '2024-00-00', '1970-01-01' + INTERVAL RAND() * 9e5 DAY)",
    ),
    case("k TIME(6)", "k", "SEC_TO_TIME((RAND({seed}) - 0.5) * 6000000)"),
    case("k DATETIME(3)", "k", "'1000-01-01' + INTERVAL RAND({seed}) * 3e6 HOUR + INTERVAL 1000 MICROSECOND"),
    case("k TIMESTAMP(3)", "k", INSTANT),
    case("k YEAR", "k", "ELT(1 + FLOOR(RAND({seed}) * 4), 0, 1901 + FLOOR(RAND() * 254), 2155, 1970)"),
    case("k ENUM('c', 'b', 'a', ''), n INT", "k, n", "FLOOR(RAND({seed}) * 5), FLOOR(RAND() * 50)"),
    case("k SET('c', 'b', 'a'), n INT", "n, k", "FLOOR(RAND({seed}) * 8), FLOOR(RAND() * 20)"),
    case("k BIT(64)", "k", "CAST(CONV(LEFT(SHA2(RAND({seed}), 256), 16), 16, 10) AS UNSIGNED)"),
    case(
        "a INT, b VARCHAR(40) COLLATE utf8mb4_general_ci, c DATE",
        "a, b, c",
        "FLOOR(RAND({seed}) * 4), ELT(1 + FLOOR(RAND() * 3), 'a', 'B', ''), '2024-01-01' + INTERVAL RAND() * 9 DAY",
    ),
    case("a INT, b INT, c INT", "b DESC, a, c DESC", "FLOOR(RAND({seed}) * 4), FLOOR(RAND() * 4), FLOOR(RAND() * 9)"),
];

const ROWS: u32 = 70;

#[tokio::test]
async fn chunks_cover_tables_of_every_key() {
    check_all(&mut Database::new("reader_ranges").await, "utf8mb4_0900_ai_ci").await;
}

#[tokio::test]
async fn chunks_cover_tables_of_every_key_of_mariadb() {
    let mut db = Database::on(lab::Mariadb::up("source").unwrap(), "reader_ranges").await;
    check_all(&mut db, "utf8mb4_uca1400_ai_ci").await;
}

#[expect(clippy::print_stdout, reason = "the seed of a failure replays it")]
async fn check_all(db: &mut Database, newest: &str) {
    let seed = std::process::id() % 1_000;
    println!("seed {seed}");
    db.run("SET sql_mode = 'ALLOW_INVALID_DATES'").await;
    for (number, case) in (0u32..).zip(CASES) {
        let table = format!("t{number}");
        let columns = case.columns.replace("{newest}", newest);
        db.run(&format!("CREATE TABLE {table} ({columns}, v INT, PRIMARY KEY ({}))", case.key)).await;
        let values = |row: u32| case.values.replace("{seed}", &(seed * 1_000 + row).to_string());
        let rows: Vec<String> = (0..ROWS).map(|row| format!("({}, {row})", values(row))).collect();
        db.run(&format!("INSERT IGNORE INTO {table} VALUES {}", rows.join(", "))).await;
        check(db, &table, u64::from(seed + number)).await;
    }
}

async fn check(db: &mut Database, table: &str, dice: u64) {
    let expected: u64 = db.conn.query_first(format!("SELECT COUNT(*) FROM {table}")).await.unwrap().unwrap();
    assert!(expected > 2, "{table} has {expected} rows");
    let (schema, mut reader) = open(db, table).await;
    let whole = read(&mut *reader, &schema, Rows::ALL).await.unwrap();
    let distinct: HashSet<&Key> = whole.iter().map(|(key, _)| key).collect();
    assert_eq!((whole.len() as u64, distinct.len()), (expected, whole.len()), "{table}");
    let mut proof = db.source().open_proof(Arc::clone(&schema)).await.unwrap();
    let proven = read_for_proof(&mut *proof, &schema, Rows::ALL).await.unwrap();
    let chunk = 7 + dice % 23;
    let (mut seen, mut seen_by_proof, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let until = reader.bound(after.as_ref(), chunk).await.unwrap();
        let rows = Rows::Range { after: after.as_ref(), until: until.as_ref() };
        let part = read(&mut *reader, &schema, rows).await.unwrap();
        assert!(until.is_none() || part.len() as u64 == chunk, "{table}: {} of {chunk} rows", part.len());
        let proven_part = read_for_proof(&mut *proof, &schema, rows).await.unwrap();
        assert_eq!(proven_part.len(), part.len(), "{table}: rows by proof and by the reader");
        seen_by_proof.extend(proven_part);
        seen.extend(part);
        match until {
            Some(until) => after = Some(until),
            None => break,
        }
    }
    assert!(seen == whole, "{table} in chunks of {chunk}: {} rows, {} in whole", seen.len(), whole.len());
    assert!(seen_by_proof == proven, "{table} in chunks of {chunk}: another order by proof");
    check_chunks(db, &schema, &whole, chunk).await;
    let keys: Vec<Key> = whole.iter().map(|(key, _)| key.clone()).collect();
    let mut found = read(&mut *reader, &schema, Rows::Keys(&keys)).await.unwrap();
    found.sort_by_key(|(key, _)| keys.iter().position(|known| known == key));
    assert!(found == whole, "{table}: {} of {} keys were found", found.len(), keys.len());
}

/// The same, where a chunk ends with as many rows as were asked for.
async fn check_chunks(db: &Database, schema: &Arc<TableSchema>, whole: &[(Key, Vec<u8>)], rows_max: u64) {
    let shown = db.checkpoint(&StartAt::Now).await.mark.position;
    let mut reader = db.source().open_chunks(Arc::clone(schema)).await.unwrap();
    let mut seen: Vec<(Key, Vec<u8>)> = Vec::new();
    loop {
        let after = seen.last().map(|(key, _)| key.clone());
        let range = ChunkRange { after: after.as_ref(), until: None, rows_max };
        reader.read_chunk(&shown, range).await.unwrap();
        let part = take(&mut *reader, schema).await.unwrap();
        let is_last = (part.len() as u64) < rows_max;
        seen.extend(part);
        if is_last {
            break;
        }
    }
    assert!(seen == whole, "{} in chunks of {rows_max}: {} of {} rows", schema.name(), seen.len(), whole.len());
    // Whichever bound comes first ends it.
    let size = usize::try_from(rows_max).unwrap();
    for (until, expect) in [(size / 2, size / 2), (size * 2, size)] {
        let Some((until, _)) = whole.get(until) else { continue };
        let range = ChunkRange { after: Some(&whole[0].0), until: Some(until), rows_max };
        reader.read_chunk(&shown, range).await.unwrap();
        assert_eq!(take(&mut *reader, schema).await.unwrap(), whole[1..=expect], "{}", schema.name());
    }
}

/// What a collation takes for equal is another key all the same.
#[tokio::test]
async fn keys_are_found_by_their_bytes() {
    let mut db = Database::new("reader_exact_keys").await;
    db.run("CREATE TABLE t (k VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY)").await;
    db.run("INSERT INTO t VALUES ('straße'), ('B '), ('é')").await;
    let (schema, mut reader) = open(&db, "t").await;
    let mut proof = db.source().open_proof(Arc::clone(&schema)).await.unwrap();
    for (text, is_there) in
        [("b", false), ("B", false), ("B ", true), ("b ", false), ("e", false), ("é", true), ("x", false)]
    {
        assert_eq!(find(&mut *reader, &schema, &[text]).await, usize::from(is_there), "{text:?}");
    }
    // All of one row to the collation; in several statements it still comes once.
    let many: Vec<String> = (0..2_000).map(|number| format!("none {number}")).collect();
    let mut asked: Vec<&str> = many.iter().map(String::as_str).collect();
    asked.extend(["B ", "b", "B", "É", "é", "straße"]);
    assert_eq!(find(&mut *reader, &schema, &asked).await, 3);
    let keys: Vec<Key> = asked.iter().map(|text| key(Value::Text(text))).collect();
    assert_eq!(read_for_proof(&mut *proof, &schema, Rows::Keys(&keys)).await.unwrap().len(), 3, "by proof");
    // No statement can name such a key, but the row may be there.
    let unnamed = [key(Value::Text("é")), key(Value::InvalidText(b"\xff"))];
    for error in
        [reader.read(Rows::Keys(&unnamed)).await.unwrap_err(), proof.read(Rows::Keys(&unnamed)).await.unwrap_err()]
    {
        assert!(error.kind() == ErrorKind::TableFailed && error.message().contains(": k holds"), "{error}");
    }
}

fn key(value: Value<'_>) -> Key {
    let key: Result<Key, std::convert::Infallible> = Key::write(1, |image| {
        image.value(value);
        Ok(())
    });
    key.unwrap()
}

async fn find(reader: &mut dyn TableReader, schema: &TableSchema, texts: &[&str]) -> usize {
    let keys: Vec<Key> = texts.iter().map(|text| key(Value::Text(text))).collect();
    read(reader, schema, Rows::Keys(&keys)).await.unwrap().len()
}
