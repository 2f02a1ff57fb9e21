//! What may happen to a row, or to its table, while it is read: each in tables of its own, all at once, through the log. A consumer that
//! keeps the last value of each key then has the source's rows, at the copy's end and at every point behind it.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::say;
use lab::writer::Dice;
use serde_json::Value;

use super::{LIMIT, consumer::Consumer, documents, end, fill};
use crate::harness::{Scene, seed, wait_until};

const ROWS: u32 = 20_000;
const WRITERS: u64 = 6;
/// Emptied while they are read.
const EMPTIED: [&str; 2] = ["emptied_1", "emptied_2"];
/// A statement may come between two windows; a table takes no more of the instant ones.
const ALTERS: u32 = 200;
/// Columns of the tables that a consumer follows.
const FOLLOWED: [(&str, &[&str]); 3] =
    [("hot", &["id", "n", "note"]), ("moving", &["id", "n", "note"]), ("cased", &["name", "n", "note"])];
const CHUNKS: &str = "\n[backfill]\nreaders = 6\nchunk_rows = 150\n";

#[test]
fn f27_f29_f30_f32_rows_and_tables_change_while_they_are_read() -> Result<()> {
    let scene = Scene::new("backfill_races")?;
    let seed = seed(&scene.database);
    make_tables(&scene)?;
    let text = scene.config().replace("backfill = \"off\"\n", "on_ddl = \"evolve\"\n");
    scene.write_config(&(text + CHUNKS))?;
    scene.make_target()?;
    let crowd = scene.open_crowd(WRITERS, Duration::ZERO, seed, change)?;
    wait_until("the crowd writes", LIMIT, || Ok(crowd.done() > 100))?;
    let mut process = scene.launch(&["run"])?.spawn()?;
    let lines = |what: &str, table: &str| {
        let name = format!("{}.{table}", scene.database);
        process.log_text().lines().filter(|line| line.contains(what) && line.contains(&name)).count()
    };
    let (mut truncations, mut alters) = (0, 0);
    wait_until("all tables are copied", LIMIT, || {
        for table in EMPTIED {
            let is_met = lines("a statement changed the table", table) > 0 || lines("is copied to the end", table) > 0;
            if !is_met && lines("the history of the table is copied", table) > 0 && truncations < 60 {
                let refill = format!("INSERT INTO {table} SELECT id, 1, 'after' FROM altered WHERE id > {}", ROWS / 2);
                scene.source(&format!("TRUNCATE {table}; {refill}"))?;
                truncations += 1;
            }
        }
        // Each at once, without the rows being touched.
        let is_reading = lines("the history of the table is copied", "altered") > 0;
        if is_reading && alters < ALTERS && lines("a statement changed the table", "altered") == 0 {
            scene.source(&format!(
                "ALTER TABLE altered ADD COLUMN a{alters} INT DEFAULT {alters}, ALGORITHM = INSTANT"
            ))?;
            alters += 1;
        }
        let is_copied = |table: &String| lines("is copied to the end", table) > 0;
        Ok(scene.tables()?.iter().all(is_copied))
    })?;
    crowd.close()?;
    ensure!(EMPTIED.iter().any(|table| lines("a statement changed the table", table) > 0), "no TRUNCATE met a window");
    ensure!(lines("a statement changed the table", "altered") > 0, "{alters} ALTERs met no window");
    let mut rows = 0;
    // The copy's end, and points behind it.
    for point in 1..=3 {
        scene.wait_drained()?;
        rows = scene.ensure_equal()?;
        check_consumers(&scene)?;
        if point < 3 {
            let crowd = scene.open_crowd(WRITERS, Duration::ZERO, seed + point * WRITERS, change)?;
            wait_until("the crowd writes on", LIMIT, || Ok(crowd.done() > 200))?;
            crowd.close()?;
        }
    }
    let copies = documents(&scene, true)?;
    let dropped = |table: &str| {
        let copy = copies.iter().find(|copy| copy["table"].to_string().contains(&format!("{table}\"")));
        copy.map_or(0, |copy: &Value| copy["rows_dropped"].as_u64().unwrap_or(0))
    };
    let dropped = FOLLOWED.map(|(table, _)| dropped(table));
    say(&format!("{}: {rows} rows equal; dropped of hot, moving, cased: {dropped:?}; {alters} ALTERs", scene.database));
    ensure!(dropped.iter().all(|dropped| *dropped > 0), "a table's windows met no changes: {dropped:?}, {copies:?}");
    end(&mut process)?;
    scene.finish()
}

fn check_consumers(scene: &Scene) -> Result<()> {
    for (table, columns) in FOLLOWED {
        let consumer = Consumer::read(scene, table)?;
        let rows = consumer.ensure_equal(scene, table, columns)?;
        ensure!(rows > 1_000 && consumer.copied > 1_000 && consumer.copied_again > 0, "{table}: {rows} rows only");
    }
    Ok(())
}

fn make_tables(scene: &Scene) -> Result<()> {
    for table in ["hot", "moving", "altered"].iter().chain(&EMPTIED) {
        scene.source(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, n INT NOT NULL, note VARCHAR(300))"))?;
        fill(scene, ROWS, &format!("{table} (id, n, note)"), "i, 0, REPEAT('x', 200 + i % 100)")?;
    }
    scene.source(
        "CREATE TABLE cased (name VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci PRIMARY KEY, n INT NOT NULL,
         note VARCHAR(300))",
    )?;
    fill(scene, ROWS, "cased (name, n, note)", "CONCAT('row', i), 0, REPEAT('x', 200 + i % 100)")
}

fn change(dice: &mut Dice) -> String {
    let id = 1 + dice.below(u64::from(ROWS) - 10);
    match dice.below(4) {
        // Changed, deleted, and there again.
        0 => format!(
            "UPDATE hot SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 9; DELETE FROM hot WHERE id BETWEEN {id} AND {id} + 5;
             INSERT IGNORE INTO hot VALUES ({id}, -1, 'again'), ({id} + 1, -1, NULL), ({id} + 2, -1, '')"
        ),
        // Before the first row, where all is read already, and back.
        1 => format!("UPDATE moving SET id = -id, n = n + 1 WHERE id BETWEEN {id} AND {id} + 4"),
        2 => format!("UPDATE moving SET id = -id, n = n + 1 WHERE id BETWEEN -{id} - 50 AND -{id}"),
        _ => format!(
            "UPDATE cased SET name = IF(BINARY name = BINARY LOWER(name), UPPER(name), LOWER(name)), n = n + 1
             WHERE name IN ('row{id}', 'row{}', 'row{}')",
            id + 1,
            id + 2
        ),
    }
}
