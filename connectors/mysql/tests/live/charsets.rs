//! Every charset of both servers: each byte sequence that is a character there arrives as the character that the server itself
//! makes of it, and each that the server only shows as `?` or U+FFFD arrives as its bytes.

use std::collections::{BTreeMap, HashMap, HashSet};

use lab::charsets::{NUMBERS, TABULATED, sequences};
use mysql_async::prelude::Queryable;
use tailrace_row::{Charset, ColumnType, Field, Value};

use crate::harness::{Database, server};

/// What a column holds, in a form that tells text from bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Held {
    Text(String),
    Bytes(String),
}

/// By table and id.
type Rows = BTreeMap<(String, i64), Held>;

#[tokio::test]
async fn every_character_of_mysqls_charsets_arrives() {
    check(Database::on(server("source"), "charsets").await, 41).await;
}

#[tokio::test]
async fn every_character_of_mariadbs_charsets_arrives() {
    check(Database::on(lab::Mariadb::up("source").unwrap(), "charsets").await, 40).await;
}

async fn check(mut db: Database, count: usize) {
    let all = "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS ORDER BY 1";
    let mut charsets: Vec<String> = db.conn.query(all).await.unwrap();
    assert_eq!(charsets.len(), count, "{charsets:?}");
    charsets.retain(|charset| charset != "binary");
    for charset in &charsets {
        db.run(&format!("CREATE TABLE {charset} (id INT PRIMARY KEY AUTO_INCREMENT, is_text BOOLEAN, c LONGTEXT CHARACTER SET {charset})"))
            .await;
    }
    let names: Vec<&str> = charsets.iter().map(String::as_str).collect();
    let mut stream = db.follow(&names).await;
    // In strict modes bytes that the server itself can't convert are errors.
    db.run("SET SESSION group_concat_max_len = 1048576, sql_mode = ''").await;
    let mut expected = Rows::new();
    for charset in &charsets {
        fill(&mut db, charset).await;
        let rows: Vec<(i64, bool, String, String)> = db
            .conn
            .query(format!("SELECT id, is_text, IF(is_text, CONVERT(c USING utf8mb4), ''), HEX(c) FROM {charset} WHERE HEX(c) <> ''"))
            .await
            .unwrap();
        assert!(!rows.is_empty(), "{charset}");
        expected.extend(rows.into_iter().map(|(id, is_text, text, bytes)| {
            let held = if is_text { Held::Text(text) } else { Held::Bytes(bytes) };
            ((charset.clone(), id), held)
        }));
    }
    let mut seen = Rows::new();
    while expected.keys().any(|place| !seen.contains_key(place)) {
        stream.next().await.unwrap();
        for record in stream.batch.records() {
            let (schema, image) = (stream.batch.schema(record), stream.batch.after(record).unwrap());
            let table = schema.name().table.to_string();
            let ColumnType::Text { charset, .. } = &schema.columns()[2].column_type else {
                panic!("{table} is no text")
            };
            assert_eq!(charset.name(), table);
            let Field::Value(Value::Integer(id)) = image.field(0) else { panic!("an id") };
            seen.insert((table, id), held(image.field(2)));
        }
    }
    let differing: Vec<_> = expected.iter().filter(|(place, held)| seen.get(*place) != Some(*held)).take(20).collect();
    let ours: Vec<_> = differing.iter().map(|(place, _)| seen.get(*place)).collect();
    assert!(differing.is_empty(), "{differing:?}, and not {ours:?}");
    let characters: usize =
        expected.values().map(|held| if let Held::Text(text) = held { text.chars().count() } else { 0 }).sum();
    assert!(characters > 400_000, "only {characters} characters in {} charsets", charsets.len());
}

/// A row for all characters that begin alike, and one for each sequence that is no character.
async fn fill(db: &mut Database, charset: &str) {
    let is_unicode = !TABULATED.contains(&charset) && !matches!(charset, "latin1" | "ascii") || charset == "gb18030";
    let replaced = if is_unicode { "FALSE" } else { "HEX(t) = 'EFBFBD'" };
    // What is shown as a question mark is one only if a question mark is written so; half a pair of surrogates is no character.
    let stored = format!(
        "SELECT b, COALESCE(NOT (HEX(t) = '3F' AND HEX(CONVERT(t USING {charset})) <> HEX(b)) AND NOT {replaced} AND HEX(t) NOT REGEXP '^ED[AB]', FALSE) AS is_text \
         FROM (SELECT b, CONVERT(c USING utf8mb4) AS t, CHAR_LENGTH(c) AS n, HEX(c) AS kept \
         FROM (SELECT b, CONVERT(b USING {charset}) AS c FROM ({}) s) u) v WHERE HEX(b) = kept AND n = 1 AND HEX(t) <> ''",
        sequences(charset)
    );
    db.run(&format!(
        "INSERT INTO {charset} (is_text, c) {NUMBERS} SELECT is_text, CONVERT(GROUP_CONCAT(b ORDER BY b SEPARATOR '') USING {charset}) \
         FROM ({stored}) w GROUP BY is_text, IF(is_text, LEFT(b, LENGTH(b) - 1), b)"
    ))
    .await;
}

fn held(field: Field<'_>) -> Held {
    match field {
        Field::Value(Value::Text(text)) => Held::Text(text.to_owned()),
        Field::Value(Value::InvalidText(bytes)) => {
            Held::Bytes(bytes.iter().map(|byte| format!("{byte:02X}")).collect())
        }
        _ => panic!("no text"),
    }
}

/// Several sequences may be one character, and as keys they are different rows.
#[tokio::test]
async fn no_two_keys_look_alike() {
    let mut db = Database::new("charset_keys").await;
    let charsets = ["cp932", "eucjpms", "sjis", "ujis", "armscii8"];
    for charset in charsets {
        db.run(&format!(
            "CREATE TABLE {charset} (c VARCHAR(4) CHARACTER SET {charset} COLLATE {charset}_bin PRIMARY KEY)"
        ))
        .await;
    }
    let mut stream = db.follow(&charsets).await;
    let mut rows = 0;
    for charset in charsets {
        db.run(&format!(
            "INSERT IGNORE INTO {charset} {NUMBERS} SELECT c FROM (SELECT b, CONVERT(b USING {charset}) AS c FROM ({}) s) t \
             WHERE HEX(b) = HEX(c) AND CHAR_LENGTH(c) = 1 AND b <> ' ' AND HEX(CONVERT(c USING utf8mb4)) <> ''",
            sequences(charset)
        ))
        .await;
        let count: Option<usize> = db.conn.query_first(format!("SELECT COUNT(*) FROM {charset}")).await.unwrap();
        rows += count.unwrap();
    }
    let mut keys: HashMap<String, HashSet<Held>> = HashMap::new();
    let mut seen = 0;
    while seen < rows {
        stream.next().await.unwrap();
        for record in stream.batch.records() {
            let table = stream.batch.schema(record).name().table.to_string();
            let key = held(stream.batch.after(record).unwrap().field(0));
            assert!(keys.entry(table).or_default().insert(key), "two keys look alike");
            seen += 1;
        }
    }
    assert_eq!(keys.len(), charsets.len());
    assert_eq!(Charset::named("cp932"), Some(Charset::Cp932));
}
