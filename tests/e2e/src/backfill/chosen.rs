//! Which columns and which rows of a table are moved: what is left out reaches neither log nor target, the rest is the source's, under live
//! writers; mistakes are told by name. And how far copies are, for who watches.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;
use serde_json::Value;

use super::{LIMIT, end, fill, start};
use crate::harness::{Scene, seed, wait_until};

const ROWS: u32 = 24_000;
const WRITERS: u64 = 3;
const CROWD_PAUSE: Duration = Duration::from_millis(10);
/// What is in every value that must not be seen.
const SECRET: &str = "tOpSeCrEt";
/// Slow enough for several lines about it, and small enough for many chunks without any row.
const SLOW: &str = "\n[backfill]\nreaders = 2\nchunk_rows = 400\nmax_rate = 9000\n";
/// Of rows for which it does not hold only those come that were changed since.
const CONDITION: &str = "placed % 1000 < 40 AND (note <> 'never' OR note IS NULL) -- seldom";

#[test]
fn chosen_columns_and_rows_come_through_the_log() -> Result<()> {
    let scene = Scene::new("chosen")?;
    let shown = check(&scene, true)?;
    // Nothing of it is anywhere in the log: neither a value nor a name.
    let mut records = 0;
    let topics: Vec<String> =
        scene.all_topics()?.into_iter().filter(|topic| topic.starts_with(&scene.prefix)).collect();
    ensure!(topics.len() > 4, "{topics:?}");
    for topic in topics {
        scene.read_topic(&topic, |record| {
            records += 1;
            let bytes = [record.key.unwrap_or_default(), record.value.unwrap_or_default()].concat();
            ensure!(!contains(&bytes, SECRET.as_bytes()), "{topic}[{}]@{}", record.partition, record.offset);
            ensure!(topic.ends_with(".control") || !contains(&bytes, b"card_number"), "{topic}@{}", record.offset);
            Ok(())
        })?;
    }
    ensure!(records > 1_000, "{records} records");
    say(&format!("{}: {records} records without what is left out; the terminal showed\n{shown}", scene.database));
    scene.finish()
}

#[test]
fn chosen_columns_and_rows_come_without_a_log() -> Result<()> {
    let scene = Scene::new("chosen_embedded")?;
    check(&scene, false)?;
    mistakes(&scene)?;
    scene.finish()
}

/// Copies under writers, and changes what is left out; returns what a terminal showed.
fn check(scene: &Scene, has_log: bool) -> Result<String> {
    let seed = seed(&scene.database);
    make_tables(scene)?;
    let text = if has_log { scene.config() } else { scene.embedded_config() };
    let database = &scene.database;
    // In this order they are copied.
    let tables = format!(
        "[[table]]\nsource = \"{database}.people\"\nonly_columns = [\"ID\", \"name\"]\n\n\
         [[table]]\nsource = \"{database}.orders\"\nexclude_columns = [\"card_number\", \"Remark\"]\nbackfill_where = {CONDITION:?}\n\n"
    );
    let text = text.replace("backfill = \"off\"\n", "").replace("[[table]]\n", &format!("{tables}[[table]]\n"));
    scene.write_config(&(text + SLOW))?;
    let checked = scene.command(&["check"])?;
    ensure!(!checked.stdout.contains("table_columns") && !checked.stdout.contains("backfill_where"), "{checked:?}");
    scene.make_target()?;
    let mut process = start(scene, has_log)?;
    // From here on what is touched comes with a change.
    let crowd = scene.open_crowd(WRITERS, CROWD_PAUSE, seed, change)?;
    wait_until("copies are under way", LIMIT, || Ok(!copies(&process)?.is_empty()))?;
    let order: Vec<String> =
        copies(&process)?.iter().filter_map(|copy| copy["table"].as_str().map(str::to_owned)).collect();
    ensure!(order[..2] == [format!("{database}.people"), format!("{database}.orders")], "{order:?}");
    // It ends when all is copied.
    let watched =
        scene.launch(&["backfill", "status", "--watch"])?.variable("TERM", "xterm").run_at_terminal("", LIMIT)?;
    ensure!(watched.code == Some(0), "{watched:?}");
    ensure!(
        copies(&process)?.iter().all(|copy| copy["state"] == "done"),
        "it ended too early: {:?}",
        copies(&process)?
    );
    let metrics = process.metrics_text()?;
    let metric = format!("tailrace_backfill_table_rows{{table=\"{database}.people\"}}");
    ensure!(metrics.contains(&metric), "{metrics}");
    crowd.close()?;
    compare(scene)?;
    // Statements about what is left out disturb nobody, though on_ddl is "pause".
    scene.source(&format!(
        "ALTER TABLE people ADD COLUMN pin VARCHAR(40) DEFAULT '{SECRET}', DROP COLUMN born;
         ALTER TABLE orders MODIFY card_number VARCHAR(250)"
    ))?;
    let crowd = scene.open_crowd(WRITERS, CROWD_PAUSE, seed + WRITERS, change)?;
    wait_until("the crowd writes on", LIMIT, || Ok(crowd.done() > 100))?;
    crowd.close()?;
    compare(scene)?;
    check_lines(&process)?;
    end(&mut process)?;
    Ok(watched.stdout.split('\n').find(|line| line.contains(" rows/s")).context("no bar was shown")?.to_owned())
}

fn make_tables(scene: &Scene) -> Result<()> {
    scene.source(
        "CREATE TABLE orders (id INT PRIMARY KEY, placed INT NOT NULL, card_number VARCHAR(200), note VARCHAR(40), remark TEXT,
         is_touched INT NOT NULL DEFAULT 0)",
    )?;
    let note = "IF(i % 3 = 0, NULL, IF(i % 3 = 1, 'never', CONCAT('note ', i)))";
    let values = format!("i, i, CONCAT('{SECRET}', i), {note}, REPEAT('{SECRET}', 5)");
    fill(scene, ROWS, "orders (id, placed, card_number, note, remark)", &values)?;
    scene.source("CREATE TABLE people (born DATE, name VARCHAR(60), id INT PRIMARY KEY, password VARCHAR(60))")?;
    fill(scene, ROWS, "people (id, name, password)", &format!("i, CONCAT('person ', i), CONCAT('{SECRET}', i)"))
}

/// Orders whose number can be divided by 7 are not changed.
fn change(dice: &mut Dice) -> String {
    let id = 1 + 7 * dice.below(u64::from(ROWS) / 7);
    match dice.below(6) {
        0 => format!("DELETE FROM orders WHERE id BETWEEN {id} AND {id} + 2; DELETE FROM people WHERE id = {id}"),
        1 => format!(
            "REPLACE INTO orders (id, placed, card_number, note, is_touched) VALUES ({id}, 999, '{SECRET}', 'again', 1);
             REPLACE INTO people (id, name, password) VALUES ({id}, 'again', '{SECRET}')"
        ),
        2 => format!("UPDATE orders SET card_number = CONCAT('{SECRET}', {id}), is_touched = 1 WHERE id = {id}"),
        3 => format!("UPDATE people SET password = CONCAT('{SECRET}', RAND()) WHERE id BETWEEN {id} AND {id} + 5"),
        4 => format!("UPDATE people SET name = CONCAT(name, '.'), password = NULL WHERE id = {id}"),
        _ => format!(
            "UPDATE orders SET note = 'changed', remark = '{SECRET}', is_touched = 1 WHERE id BETWEEN {id} AND {id} + 5"
        ),
    }
}

/// The target has the source's rows: of orders those that were chosen, or changed since.
fn compare(scene: &Scene) -> Result<()> {
    scene.wait_drained()?;
    let orders = "SELECT id, placed, note, is_touched FROM orders";
    let chosen = scene.source_rows(&format!("{orders} WHERE is_touched = 1 OR (\n{CONDITION}\n) ORDER BY id"))?;
    let found = scene.target_rows(&format!("{orders} ORDER BY id"))?;
    ensure!(chosen.len() > 300 && chosen.len() < ROWS as usize * 7 / 8, "{} rows are chosen", chosen.len());
    let differing = chosen.iter().zip(&found).find(|(one, other)| one != other);
    ensure!(chosen == found, "{} orders in place of {}, the first {differing:?}", found.len(), chosen.len());
    let people = "SELECT id, name FROM people ORDER BY id";
    ensure!(scene.source_rows(people)? == scene.target_rows(people)?, "people differ");
    let columns = scene.target_rows(
        "SELECT column_name FROM information_schema.columns WHERE table_name IN ('orders', 'people') ORDER BY column_name",
    )?;
    let columns: Vec<String> = columns.into_iter().flatten().flatten().collect();
    ensure!(columns == ["id", "id", "is_touched", "name", "note", "placed"], "{columns:?}");
    Ok(())
}

/// Without a terminal there is at most one line a second.
fn check_lines(process: &Tailrace) -> Result<()> {
    let text = process.log_text();
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("copying the history of the table")).collect();
    ensure!(lines.len() > 1, "few lines tell how far it is: {text}");
    let times = lines.iter().map(|line| seconds_of(line).with_context(|| format!("no time: {line}")));
    let times: Vec<f64> = times.collect::<Result<_>>()?;
    for pair in times.windows(2) {
        // Midnight may lie in between; a line is written a moment after it was due.
        ensure!(pair[1] < pair[0] || pair[1] - pair[0] > 0.9, "two lines within {} s", pair[1] - pair[0]);
    }
    ensure!(!text.contains('\u{1b}') && !text.contains("[####"), "there are bars in a file: {text}");
    Ok(())
}

/// Seconds since midnight, by a line's time.
fn seconds_of(line: &str) -> Option<f64> {
    let clock = line.split_once('T')?.1.split_once('Z')?.0;
    clock.split(':').try_fold(0.0, |seconds, part| Some(seconds * 60.0 + part.parse::<f64>().ok()?))
}

/// Names and conditions that can't be meant are told before a row has passed.
fn mistakes(scene: &Scene) -> Result<()> {
    let text = scene.embedded_config();
    let write = |keys: &str| {
        let table = format!("[[table]]\nsource = \"{}.orders\"\n{keys}\n\n[[table]]\n", scene.database);
        scene.write_config(&text.replace("[[table]]\n", &table).replace("backfill = \"off\"\n", ""))
    };
    write("exclude_columns = [\"id\", \"card_numbre\"]")?;
    let checked = scene.command(&["check", "--allow-existing"])?;
    for words in
        ["table_columns", "names \"card_numbre\", which is no column", "leaves out \"id\", which is part of the key"]
    {
        ensure!(checked.code == Some(1) && checked.stdout.contains(words), "{words}: {checked:?}");
    }
    write("backfill_where = \"nosuch > 5\"")?;
    let words = ["orders", "backfill_where", "Unknown column 'nosuch'"];
    let checked = scene.command(&["check", "--allow-existing"])?;
    ensure!(checked.code == Some(1) && words.iter().all(|word| checked.stdout.contains(word)), "{checked:?}");
    let ended = scene.command(&["run", "--allow-existing"])?;
    ensure!(ended.code == Some(1) && words.iter().all(|word| ended.stderr.contains(word)), "{ended:?}");
    write("backfill_where = \"1 = 1) OR (1 = 1\"")?;
    let ended = scene.command(&["run", "--allow-existing"])?;
    ensure!(ended.code == Some(1) && ended.stderr.contains("is not one expression"), "{ended:?}");
    // A name that was mistyped since: the first row that comes stops it.
    write("exclude_columns = [\"card_number\", \"card_numbre\", \"remark\"]")?;
    let mut process = scene.launch(&["run", "--allow-existing"])?.spawn()?;
    scene.source(&format!("REPLACE INTO orders (id, placed, card_number) VALUES (1, 1, '{SECRET}')"))?;
    let status = process.wait_exit(Duration::from_secs(60))?;
    let said = process.log_text();
    ensure!(status.code() == Some(1) && said.contains("has no column card_numbre"), "{status}: {said}");
    let seen =
        scene.target_rows("SELECT note FROM orders WHERE id = 1 AND placed = 1 AND is_touched = 0 AND note IS NULL")?;
    ensure!(seen.is_empty(), "the row has passed");
    ensure!(!said.contains(SECRET), "a value is in the log");
    Ok(())
}

fn copies(process: &Tailrace) -> Result<Vec<Value>> {
    let status: Value = serde_json::from_str(&process.status()?.body).context("a status")?;
    Ok(status["backfill"]["tables"].as_array().cloned().unwrap_or_default())
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}
