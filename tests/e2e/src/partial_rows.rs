//! Rows that the source logs in part: sessions with `binlog_row_image` MINIMAL and NOBLOB, and JSON of which only the changes are
//! logged, under a writer that goes on while Tailrace is killed again and again. The target equals the source, and the counters
//! say that rows in part really came.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::{Launch, Tailrace};
use lab::say;
use lab::writer::Dice;

use crate::harness::{READY_LIMIT, Scene, TargetKind, seed};

/// Transactions between two kills, and after the last.
const BETWEEN_KILLS: u64 = 60;
const KILLS: u64 = 3;
const KEYS: u64 = 25;
const LIMIT: Duration = Duration::from_secs(60);

/// Each column has a type of its own that images may lack; two are made by the server.
const TABLE: &str = "CREATE TABLE parts (id INT, half VARCHAR(4), a INT NOT NULL DEFAULT 7, b BIGINT UNSIGNED, c VARCHAR(60) UNIQUE,
    d DECIMAL(20,4), t TEXT, x LONGBLOB, j JSON, k JSON, stamp TIMESTAMP(6) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(6),
    g BIGINT AS (a * 2) STORED, v TEXT AS (CONCAT(a, '-', c)) VIRTUAL, PRIMARY KEY (id, half))";

/// What a writer does in one transaction.
type Workload = fn(&mut Dice) -> String;

#[test]
fn f14_partial_image() -> Result<()> {
    check(Scene::new("f14_partial_image")?, images, Form::Log)
}

#[test]
fn f14_partial_image_in_a_file() -> Result<()> {
    check(Scene::to(TargetKind::Sqlite, "f14_in_a_file")?, images, Form::Embedded)
}

#[test]
fn f15_partial_json() -> Result<()> {
    check(Scene::new("f15_partial_json")?, documents, Form::Log)
}

#[test]
fn f15_partial_json_in_a_file() -> Result<()> {
    check(Scene::to(TargetKind::Sqlite, "f15_in_a_file")?, documents, Form::Embedded)
}

/// How changes travel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Log,
    Embedded,
}

impl Form {
    fn commands(self) -> &'static [&'static str] {
        match self {
            Form::Log => &["capture", "apply"],
            Form::Embedded => &["run"],
        }
    }
}

fn check(scene: Scene, workload: Workload, form: Form) -> Result<()> {
    let mut dice = Dice::new(seed(&scene.database));
    scene.source(TABLE)?;
    scene.make_target()?;
    if form == Form::Embedded {
        scene.write_config(&scene.embedded_config())?;
    }
    let launches: Vec<Launch> =
        form.commands().iter().map(|command| scene.launch(&[command])).collect::<Result<_>>()?;
    let mut processes: Vec<Tailrace> = Vec::new();
    for launch in &launches {
        scene.source(&format!("INSERT INTO {} () VALUES ()", Scene::MARKERS))?;
        let mut process = launch.spawn()?;
        process.wait_ready(READY_LIMIT)?;
        processes.push(process);
    }
    for _ in 0..KILLS {
        write(&scene, workload, &mut dice)?;
        let victim = dice.index(processes.len());
        ensure!(processes[victim].is_running(), "it ended by itself: {}", processes[victim].log_text());
        processes[victim].kill()?;
        // The source does not wait for it.
        write(&scene, workload, &mut dice)?;
        processes[victim] = launches[victim].spawn()?;
    }
    write(&scene, workload, &mut dice)?;
    for process in &mut processes {
        process.wait_ready(READY_LIMIT)?;
    }
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    ensure!(rows > 0, "nothing to compare");
    let applied = processes.last_mut().context("a process")?;
    let count_of =
        |process: &mut Tailrace| Ok::<_, anyhow::Error>(process.metrics()?.sum("tailrace_apply_partial_total"));
    // A process that was killed counts anew.
    while count_of(applied)?.unwrap_or(0.0) < 1.0 {
        write(&scene, images, &mut dice)?;
        scene.wait_drained()?;
    }
    ensure!(is_logged_in_part(&scene)?, "the server logs JSON whole");
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?.max(rows);
    if form == Form::Log {
        check_records(&scene)?;
    }
    say(&format!("{}: {rows} rows equal", scene.database));
    for process in &mut processes {
        process.terminate()?;
        let status = process.wait_exit(LIMIT)?;
        ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    }
    scene.finish()
}

fn write(scene: &Scene, workload: Workload, dice: &mut Dice) -> Result<()> {
    for _ in 0..BETWEEN_KILLS {
        scene.source(&workload(dice))?;
    }
    Ok(())
}

/// Sessions of every image at random. What can't be logged in part (a new key, a default) is logged whole.
fn images(dice: &mut Dice) -> String {
    let image = *dice.pick(&["FULL", "MINIMAL", "NOBLOB"]);
    let mut sql = format!("SET binlog_row_image = {image}; SET sql_mode = ''; BEGIN");
    for _ in 0..=dice.below(4) {
        sql.push_str("; ");
        sql.push_str(&statement(dice, image));
    }
    sql + "; COMMIT"
}

fn statement(dice: &mut Dice, image: &str) -> String {
    let (id, half) = (dice.below(KEYS), *dice.pick(&["l", "r"]));
    let row = || format!("WHERE id = {id} AND half = '{half}'");
    match dice.below(10) {
        0 | 1 => {
            let values: Vec<String> = COLUMNS.iter().map(|column| value(dice, column)).collect();
            let (columns, values) = (COLUMNS.join(", "), values.join(", "));
            let verb = *dice.pick(&["INSERT IGNORE", "REPLACE"]);
            format!("{verb} INTO parts (id, half, {columns}, stamp) VALUES ({id}, '{half}', {values}, NULL)")
        }
        // What it leaves out of BLOBs is NULL; with MINIMAL any other column would have to be given.
        2 if image == "NOBLOB" => format!("INSERT IGNORE INTO parts (id, half, a) VALUES ({id}, '{half}', {id})"),
        3 => format!("DELETE FROM parts {}", row()),
        4 if image == "FULL" => format!("UPDATE IGNORE parts SET id = id + 1, a = a + 1 {}", row()),
        5 => format!("UPDATE parts SET a = a + 1, t = CONCAT('all ', a) WHERE id < {id}"),
        _ => {
            let column = *dice.pick(&COLUMNS);
            let other = *dice.pick(&COLUMNS);
            let (one, two) = (value(dice, column), value(dice, other));
            format!("UPDATE IGNORE parts SET {column} = {one}, {other} = {two} {}", row())
        }
    }
}

const COLUMNS: [&str; 8] = ["a", "b", "c", "d", "t", "x", "j", "k"];

fn value(dice: &mut Dice, column: &str) -> String {
    let number = dice.below(1 << 40);
    match (column, dice.below(5)) {
        ("a", _) => (number % 1_000_000).to_string(),
        (_, 0) => "NULL".to_owned(),
        ("b", _) => (u64::MAX - number).to_string(),
        ("c", _) => format!("'unique {number}'"),
        ("d", _) => format!("-{number}.25"),
        ("t", _) => format!("REPEAT('text {number} ', {})", 1 + number % 200),
        ("x", _) => format!("REPEAT(x'00ff{:02x}', {})", number % 256, number % 900),
        _ => format!(
            "JSON_OBJECT('a', {number}, 'list', JSON_ARRAY(1, 'two', NULL), 'text', REPEAT('j', {}))",
            number % 500
        ),
    }
}

/// Updates of documents of which the server logs the changes, beside whole ones.
fn documents(dice: &mut Dice) -> String {
    let image = *dice.pick(&["FULL", "NOBLOB"]);
    let id = dice.below(KEYS);
    let options = *dice.pick(&["PARTIAL_JSON", "PARTIAL_JSON", ""]);
    let column = *dice.pick(&["j", "k"]);
    let path = *dice.pick(&["$.a", "$.list[1]", "$.list[9]", "$.new", "$.new.deep", "$.\"odd name\"", "$.text"]);
    let set = match dice.below(5) {
        0 => format!("JSON_REMOVE({column}, '{path}')"),
        1 => format!("JSON_REPLACE({column}, '{path}', CAST('[1, {{\"é\": 2}}]' AS JSON), '$.list[0]', 1.5)"),
        _ => format!("JSON_SET({column}, '{path}', {id}, '$.stamp', CAST('2024-02-29 01:02:03' AS DATETIME))"),
    };
    let whole = "JSON_OBJECT('a', 1, 'list', JSON_ARRAY(1, 'two', NULL), 'text', REPEAT('j', 3000))";
    format!(
        "SET binlog_row_image = {image}, binlog_row_value_options = '{options}'; \
         INSERT IGNORE INTO parts (id, half, a, j, k) VALUES ({id}, 'l', {id}, {whole}, {whole}); \
         UPDATE parts SET {column} = {set}, a = a + 1 WHERE id = {id}"
    )
}

/// Whether the server logged an update of a document as a change.
fn is_logged_in_part(scene: &Scene) -> Result<bool> {
    scene.source(
        "REPLACE INTO parts (id, half, a, j) VALUES (1000, 'l', 1, JSON_OBJECT('a', 1, 'text', REPEAT('j', 3000)))",
    )?;
    let end = scene.source_rows("SHOW BINARY LOG STATUS")?.remove(0);
    let (file, offset) = (end[0].clone().context("a file")?, end[1].clone().context("an offset")?);
    scene.source(
        "SET binlog_row_value_options = PARTIAL_JSON; UPDATE parts SET j = JSON_SET(j, '$.a', 2) WHERE id = 1000",
    )?;
    // Others write to this server too; ours comes soon.
    let events = scene.source_rows(&format!("SHOW BINLOG EVENTS IN '{file}' FROM {offset} LIMIT 5000"))?;
    let name = format!("({}.parts)", scene.database);
    let text = |row: &[Option<String>], column: usize| row[column].clone().unwrap_or_default();
    let map = events.iter().position(|row| text(row, 2) == "Table_map" && text(row, 5).contains(&name));
    let map = map.context("the update is in the binlog")?;
    Ok(events.get(map + 1).is_some_and(|row| text(row, 2) == "Update_rows_partial"))
}

/// Consumers see what was not sent as no field, and our header says which.
fn check_records(scene: &Scene) -> Result<()> {
    let mut partial = 0_u64;
    scene.read_topic(&scene.topic("parts"), |record| {
        let unchanged = record.header("tailrace.exact").is_some_and(|header| header.contains("\"unchanged\":true"));
        let value: Option<serde_json::Value> = record.value.map(serde_json::from_slice).transpose()?;
        let lacks = |side: &str| {
            let image = value.as_ref().and_then(|value| value[side].as_object());
            image.is_some_and(|image| image.len() < 13)
        };
        ensure!(
            unchanged == (lacks("before") || lacks("after")),
            "a field misses without a word, or the other way round"
        );
        partial += u64::from(unchanged);
        Ok(())
    })?;
    ensure!(partial > 50, "{partial} records lack columns");
    Ok(())
}
