//! JSON documents: our text of the binary form against the text that the server prints.

use mysql_async::prelude::Queryable;
use tailrace_row::{Field, Value};

use crate::harness::Database;

/// Expressions that make documents of every kind that the server can store.
const DOCUMENTS: &[&str] = &[
    "'null'",
    "'true'",
    "'{\"b\": 1, \"a\": [true, false, null], \"\": {}, \"aa\": \"x\"}'",
    "'[]'",
    "'{}'",
    "'{\"dup\": 1, \"dup\": 2}'",
    "'[0, -1, 32767, 32768, -32768, -32769, 65535, 65536, 2147483647, -2147483648, 4294967295, 4294967296]'",
    "'[9223372036854775807, -9223372036854775808, 18446744073709551615, 18446744073709551616, -9223372036854775809]'",
    "'[1.0, 1.10, -0.0, 0.1, 1e2, 1e15, 1e16, 123456789012345678, 1e-5, 1e-14, 1e-15, 1e-16, 1.7976931348623157e308, 5e-324]'",
    r#"'"quote \\" backslash \\\\ slash / newline \\n tab \\t cr \\r bell \\u0007 esc \\u001b del \\u007f nul \\u0000 ff \\f bs \\b"'"#,
    "'\"\\\\u00e9 \\\\u20ac \\\\ud83d\\\\ude00\"'",
    "JSON_QUOTE(REPEAT('x', 127))",
    "JSON_QUOTE(REPEAT('x', 128))",
    "JSON_QUOTE(REPEAT('y', 70000))",
    "JSON_OBJECT(REPEAT('k', 300), REPEAT('v', 20000), 'z', REPEAT('w', 60000))",
    "JSON_ARRAY(CAST('123.4560' AS DECIMAL(20,4)), CAST('-0.5' AS DECIMAL(5,5)), CAST('0' AS DECIMAL(3,0)), CAST('-12' AS DECIMAL(65,30)))",
    "JSON_ARRAY(DATE'2024-02-29', DATE'0001-01-01', CAST('9999-12-31' AS DATE))",
    "JSON_ARRAY(TIME'23:24:25.12', TIME'-838:59:59', TIME'-00:00:00.000001', TIME'00:00:00')",
    "JSON_ARRAY(TIMESTAMP'2015-01-15 23:24:25.12', CAST('2024-02-29 01:02:03' AS DATETIME), TIMESTAMP'1000-01-01 00:00:00')",
    "JSON_ARRAY(CAST(UNIX_TIMESTAMP() AS DECIMAL(30,6)) * 0, 1.5, 2.0)",
    "JSON_ARRAY(x'', x'00', x'cafebabe', CAST(REPEAT('b', 200) AS BINARY))",
    "JSON_ARRAY(b'101', CAST('varbinary' AS BINARY(12)))",
    "JSON_OBJECT('blob', (SELECT b FROM opaque), 'tiny', (SELECT tb FROM opaque), 'bit', (SELECT bi FROM opaque), 'year', (SELECT y FROM opaque))",
    "JSON_OBJECT('enum', (SELECT e FROM opaque), 'set', (SELECT s FROM opaque), 'stamp', (SELECT ts FROM opaque), 'point', (SELECT p FROM opaque))",
    "CONCAT(REPEAT('[', 100), '1', REPEAT(']', 100))",
    "CONCAT(REPEAT('{\"a\":', 99), '1.5', REPEAT('}', 99))",
    "(SELECT JSON_ARRAYAGG(n) FROM numbers)",
    "(SELECT JSON_OBJECTAGG(CONCAT('key', n), n) FROM numbers)",
    "(SELECT JSON_ARRAYAGG(REPEAT('long', 10)) FROM numbers)",
];

#[tokio::test]
async fn documents_are_the_servers_text() {
    let mut db = Database::new("json_documents").await;
    db.run_all(&[
        "CREATE TABLE opaque (b BLOB, tb TINYBLOB, bi BIT(17), y YEAR, e ENUM('a','b'), s SET('x','y'), ts TIMESTAMP(3) NULL, p POINT)",
        "INSERT INTO opaque VALUES (REPEAT(0xFF, 100), 0x01, 70000, 2024, 'b', 'x,y', '2024-02-29 12:00:00.5', POINT(1, 2))",
        "CREATE TABLE numbers (n INT PRIMARY KEY)",
        "SET cte_max_recursion_depth = 10000",
        "INSERT INTO numbers WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 9000) SELECT n * 7 FROM r",
    ])
    .await;
    check(&mut db, DOCUMENTS.iter().map(|text| (*text).to_owned()).collect()).await;
}

/// A generator of bits that needs no crate: the numbers only have to be many and different.
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[tokio::test]
async fn doubles_are_the_servers_text() {
    let mut bits = Bits(0x9e37_79b9_7f4a_7c15);
    let mut documents = Vec::new();
    for _ in 0..40 {
        let mut numbers = Vec::new();
        while numbers.len() < 200 {
            let random = bits.next();
            let number = match random % 3 {
                0 => f64::from_bits(bits.next()),
                1 => f64::from_bits(bits.next() & !(0x7ff << 52) | (973 + random / 3 % 100) << 52),
                _ => (random / 3 % 1_000_000) as f64 * 10f64.powi((random / 7 % 40) as i32 - 20),
            };
            if number.is_finite() {
                numbers.push(format!("{number:e}"));
            }
        }
        documents.push(format!("'[{}]'", numbers.join(",")));
    }
    let mut db = Database::new("json_doubles").await;
    check(&mut db, documents).await;
}

async fn check(db: &mut Database, documents: Vec<String>) {
    db.run("CREATE TABLE t (id INT PRIMARY KEY, c JSON)").await;
    let mut stream = db.follow(&["t"]).await;
    for (id, document) in documents.iter().enumerate() {
        db.run(&format!("INSERT INTO t VALUES ({id}, {document})")).await;
    }
    let expected: Vec<String> = db.conn.query("SELECT CAST(c AS CHAR) FROM t ORDER BY id").await.unwrap();
    let mut seen = 0;
    while seen < expected.len() {
        stream.next().await.unwrap();
        for record in stream.batch.records() {
            let Field::Value(Value::Json(text)) = stream.batch.after(record).unwrap().field(1) else {
                panic!("no JSON in document {seen}")
            };
            let from = text.bytes().zip(expected[seen].bytes()).take_while(|(ours, theirs)| ours == theirs).count();
            let shown = |text: &str| {
                String::from_utf8_lossy(&text.as_bytes()[from.saturating_sub(20)..])
                    .chars()
                    .take(120)
                    .collect::<String>()
            };
            assert_eq!(
                shown(text),
                shown(&expected[seen]),
                "document {seen} from byte {from}: {:.100}",
                documents[seen]
            );
            assert_eq!(text, expected[seen]);
            seen += 1;
        }
    }
}
