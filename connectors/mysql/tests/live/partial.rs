//! Rows that were logged without all columns, and documents of which only the changes were.

use lab::dice::Dice;
use mysql_async::prelude::Queryable;
use tailrace_contract::ErrorKind;
use tailrace_row::{Field, RowImage, Value};

use crate::harness::{Database, Stream};

/// An image as the tests write it: `·` for a column that was not sent.
fn shown(image: Option<RowImage<'_>>) -> String {
    let one = |field| match field {
        Field::Unchanged => "·".to_owned(),
        Field::Null => "NULL".to_owned(),
        Field::Value(Value::Integer(number)) => number.to_string(),
        Field::Value(Value::Text(text) | Value::Json(text)) => text.to_owned(),
        Field::Value(other) => panic!("{other:?}"),
    };
    image.map_or_else(|| "-".to_owned(), |image| image.fields().map(one).collect::<Vec<_>>().join(" "))
}

/// Runs statements that change one row each, and compares what comes of it.
async fn check(db: &mut Database, stream: &mut Stream, statements: &[(&str, &str, &str)]) {
    for (statement, before, after) in statements {
        db.run(statement).await;
        stream.next().await.unwrap();
        let [record] = stream.batch.records() else { panic!("{statement} changes one row") };
        let told = (shown(stream.batch.before(record)), shown(stream.batch.after(record)));
        assert_eq!(told, ((*before).to_owned(), (*after).to_owned()), "{statement}");
    }
}

#[tokio::test]
async fn f14_images_without_all_columns_tell_what_changed() {
    let mut db = Database::new("partial_images").await;
    db.run(
        "CREATE TABLE t (id INT, part INT, a INT DEFAULT 5, t TEXT, j JSON, l LONGTEXT DEFAULT ('l'), \
         g INT AS (a * 2) VIRTUAL, s TEXT AS (CONCAT(a, t)) STORED, PRIMARY KEY (id, part))",
    )
    .await;
    let mut stream = db.follow(&["t"]).await;
    db.run("SET binlog_row_image = MINIMAL").await;
    let statements = [
        ("INSERT INTO t (id, part, a, t) VALUES (1, 1, 1, 'x')", "-", "1 1 1 x NULL l 2 1x"),
        ("UPDATE t SET t = 'y'", "1 1 · · · · · ·", "1 1 · y · · · 1y"),
        ("UPDATE t SET j = '[1]', a = NULL", "1 1 · · · · · ·", "1 1 NULL · [1] · NULL NULL"),
        ("REPLACE INTO t (id, part, t) VALUES (1, 1, 'z')", "1 1 · · · · · ·", "1 1 5 z NULL l 10 5z"),
        (
            "INSERT INTO t (id, part) VALUES (1, 1) ON DUPLICATE KEY UPDATE a = 6",
            "1 1 · · · · · ·",
            "1 1 6 z NULL l 12 6z",
        ),
        ("SET binlog_row_image = NOBLOB; UPDATE t SET a = 7", "1 1 6 · NULL · 12 ·", "1 1 7 · NULL · 14 7z"),
        ("UPDATE t SET t = NULL", "1 1 7 · NULL · 14 ·", "1 1 7 NULL NULL · 14 NULL"),
        ("INSERT INTO t (id, part, a) VALUES (2, 1, NULL)", "-", "2 1 NULL NULL NULL l NULL NULL"),
        // What the image lacks did not matter: it is the key only that must be known.
        ("DELETE FROM t WHERE id = 2", "2 1 NULL · NULL · NULL ·", "-"),
        ("SET binlog_row_image = MINIMAL; DELETE FROM t", "1 1 · · · · · ·", "-"),
    ];
    for (statement, before, after) in statements {
        let (settings, statement) = statement.split_once("; ").unwrap_or(("DO 0", statement));
        db.run(settings).await;
        // REPLACE deletes and inserts where the table has generated columns; else it updates.
        if statement.starts_with("REPLACE") {
            db.run(statement).await;
            stream.next().await.unwrap();
            let images = |record| (shown(stream.batch.before(record)), shown(stream.batch.after(record)));
            let told: Vec<_> = stream.batch.records().iter().map(images).collect();
            assert_eq!((&*told[0].0, &*told.last().unwrap().1), (before, after));
            continue;
        }
        check(&mut db, &mut stream, &[(statement, before, after)]).await;
    }
}

/// What does not tell a row ends the stream by name, and shows no value.
#[tokio::test]
async fn f14_images_that_tell_no_row_stop() {
    let mut db = Database::new("partial_refused").await;
    db.run_all(&[
        "CREATE TABLE t (id INT PRIMARY KEY, a INT DEFAULT 4711, t TEXT, n TEXT NOT NULL, j JSON)",
        "SET sql_mode = ''",
        "INSERT INTO t VALUES (1, 1, '4711', '4711', JSON_OBJECT('a', REPEAT('4711', 100)))",
    ])
    .await;
    let cases = [
        ("MINIMAL", "INSERT INTO t (id, t, n) VALUES (3, '4711', '4711')", "without column a, whose default"),
        ("NOBLOB", "INSERT INTO t (id, a, t) VALUES (4, 4711, '4711')", "without column n, whose default"),
        ("MINIMAL", "UPDATE t SET id = 4711 WHERE id = 3", "changed the key of a row"),
        ("NOBLOB", "UPDATE t SET id = 4712, a = 4711 WHERE id = 4", "changed the key of a row"),
        ("MINIMAL", "UPDATE t SET j = JSON_SET(j, '$.b', 4711) WHERE id = 1", "the JSON of column j"),
    ];
    for (image, statement, words) in cases {
        let mut stream = db.follow(&["t"]).await;
        db.run(&format!("SET binlog_row_image = {image}, binlog_row_value_options = PARTIAL_JSON")).await;
        db.run(statement).await;
        let error = stream.error().await;
        let text = error.to_string();
        assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&db.table("t"))), "{text}");
        assert!(text.contains(words) && !text.contains("4711"), "{statement}: {text}");
        assert!(error.advice().is_some_and(|hint| hint.contains("binlog_row_image")), "{statement}");
    }
}

const NAMES: [&str; 9] = ["a", "b", "cc", "dd", "k k", "qu\\\"ote", "back\\\\slash", "é😀", ""];

/// A document of random shape as JSON text.
fn document(dice: &mut Dice, depth: u64) -> String {
    let many = dice.below(5);
    match dice.below(if depth == 0 { 7 } else { 12 }) {
        0 => "null".to_owned(),
        1 => (if dice.below(2) == 0 { "true" } else { "false" }).to_owned(),
        2 => (i64::try_from(dice.below(1 << 62)).unwrap() >> dice.below(62)).to_string(),
        3 => format!("-{}.5e{}", dice.below(1000), dice.below(40)),
        4 => format!("\"{}\"", "tx".repeat(usize::try_from(dice.below(90)).unwrap())),
        5 => "18446744073709551615".to_owned(),
        6 => "\"line\\nbreak \\u0001 é\"".to_owned(),
        7..=9 => {
            let member = |_| format!("\"{}\": {}", dice.pick(&NAMES), document(dice, depth - 1));
            format!("{{{}}}", (0..many).map(member).collect::<Vec<_>>().join(", "))
        }
        _ => format!("[{}]", (0..many).map(|_| document(dice, depth - 1)).collect::<Vec<_>>().join(", ")),
    }
}

/// A value for JSON_SET: also of the types that JSON has no form of its own for.
fn value(dice: &mut Dice) -> String {
    match dice.below(9) {
        0 => "CAST('2024-02-29' AS DATE)".to_owned(),
        1 => "TIMESTAMP'2015-01-15 23:24:25.12'".to_owned(),
        2 => "TIME'-838:59:59'".to_owned(),
        3 => "CAST('123.4560' AS DECIMAL(20,4))".to_owned(),
        4 => "x'00cafe'".to_owned(),
        5 => "'text'".to_owned(),
        _ => quoted(&document(dice, 2)),
    }
}

fn quoted(document: &str) -> String {
    format!("CAST('{}' AS JSON)", document.replace('\\', "\\\\"))
}

fn path(dice: &mut Dice) -> String {
    let leg = |dice: &mut Dice| match dice.below(3) {
        0 => format!("[{}]", dice.below(6)),
        _ => format!(".\"{}\"", dice.pick(&NAMES)),
    };
    let legs: String = (0..=dice.below(3)).map(|_| leg(dice)).collect();
    format!("'${}'", legs.replace('\\', "\\\\"))
}

/// A random change of the document in this column, by one to three functions.
fn change(dice: &mut Dice, column: &str) -> String {
    (0..=dice.below(3)).fold(column.to_owned(), |inner, _| match dice.below(8) {
        0..=2 => format!("JSON_REMOVE({inner}, {})", path(dice)),
        3 => format!("JSON_REPLACE({inner}, {}, {}, {}, {})", path(dice), value(dice), path(dice), value(dice)),
        _ => format!("JSON_SET({inner}, {}, {}, {}, {})", path(dice), value(dice), path(dice), value(dice)),
    })
}

/// Documents that the tests begin with: a random one, deep ones, wide ones beyond 64 KiB.
fn first_documents(dice: &mut Dice) -> Vec<String> {
    let wide = (0..9_000).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    let mut all = vec![
        format!("[{wide}]"),
        format!("{{\"a\": [{wide}], \"b\": \"{}\", \"k k\": {{\"a\": [1, [2]]}}}}", "y".repeat(70_000)),
        format!("{}{{\"a\": 1, \"cc\": [[]]}}{}", "{\"a\": ".repeat(60), "}".repeat(60)),
    ];
    all.extend((0..9).map(|_| format!("{{\"a\": {}, \"b\": {}}}", document(dice, 4), document(dice, 3))));
    all
}

#[tokio::test]
async fn f15_changed_documents_are_the_servers_text() {
    let seed = std::env::var("TAILRACE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("TAILRACE_SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut db = Database::new("partial_json").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, n INT, c JSON, filler TEXT, d JSON)").await;
    let documents = first_documents(&mut dice);
    for (id, document) in documents.iter().enumerate() {
        db.run(&format!("INSERT INTO t VALUES ({id}, 0, {0}, 'f', {0})", quoted(document))).await;
    }
    let mut stream = db.follow(&["t"]).await;
    let begin: (String, u64) = {
        let row: mysql_async::Row = db.conn.query_first("SHOW BINARY LOG STATUS").await.unwrap().unwrap();
        (row.get(0).unwrap(), row.get(1).unwrap())
    };
    let mut expected = Vec::new();
    for n in 1..=500 {
        let image = dice.pick(&["FULL", "NOBLOB"]);
        db.run(&format!("SET binlog_row_image = {image}, binlog_row_value_options = PARTIAL_JSON")).await;
        let id = dice.below(documents.len() as u64);
        let (c, d) = (change(&mut dice, "c"), change(&mut dice, "d"));
        let set = match dice.below(4) {
            0 => format!("c = {c}, d = {d}"),
            1 => format!("d = {d}"),
            2 => format!("c = {c}, d = NULL"),
            _ => format!("c = {c}"),
        };
        // Where a document became NULL or no container, a new one begins.
        db.run(&format!("UPDATE t SET n = {n}, {set} WHERE id = {id}")).await;
        let row: Option<(i64, Option<String>, Option<String>)> = db
            .conn
            .query_first(format!("SELECT n, CAST(c AS CHAR), CAST(d AS CHAR) FROM t WHERE id = {id}"))
            .await
            .unwrap();
        expected.push((row.unwrap(), set));
        if expected.last().unwrap().0.2.is_none() {
            db.run(&format!(
                "UPDATE t SET n = 0, d = {} WHERE id = {id}",
                quoted(&documents[usize::try_from(id).unwrap()])
            ))
            .await;
        }
    }
    let mut seen = 0;
    while seen < expected.len() {
        stream.next().await.unwrap();
        for record in stream.batch.records() {
            let after = stream.batch.after(record).unwrap();
            let Field::Value(Value::Integer(n)) = after.field(1) else { panic!("no number") };
            if n == 0 {
                continue;
            }
            let ((number, c, d), set) = &expected[seen];
            let field =
                |text: &Option<String>| text.clone().map_or(Field::Null, |text| Field::Value(Value::Json(text.leak())));
            assert_eq!((n, after.field(2) == field(c), after.field(4) == field(d)), (*number, true, true), "{set}");
            seen += 1;
        }
    }
    let partial = partial_events(&mut db, &begin).await;
    assert!(partial > 300, "{partial} of {seen} updates logged parts of documents");
}

/// How many events of the table hold parts of documents.
async fn partial_events(db: &mut Database, (file, offset): &(String, u64)) -> usize {
    let events: Vec<mysql_async::Row> =
        db.conn.query(format!("SHOW BINLOG EVENTS IN '{file}' FROM {offset}")).await.unwrap();
    let told: Vec<(String, String)> = events.iter().map(|row| (row.get(2).unwrap(), row.get(5).unwrap())).collect();
    let name = format!("({}.t)", db.name);
    let table = told.iter().find(|(kind, info)| kind == "Table_map" && info.ends_with(&name)).unwrap().1.clone();
    let table = table.split(' ').nth(1).unwrap();
    told.iter().filter(|(kind, info)| kind == "Update_rows_partial" && info.split(' ').nth(1) == Some(table)).count()
}
