//! F22: a reader that begins when many statements have changed a table already gives each row the columns that it was written
//! with: before, between, behind and across transactions. The target follows, and equals the source.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use lab::{Mysql, say};
use serde_json::Value;

use super::{LIMIT, end};
use crate::harness::{Scene, Servers, wait_until};

const TABLE: &str = "shifting";

/// What becomes of the columns, one after the other; then those that rows are written with, beside id and `shape`, and values for them.
const SHAPES: [(&str, &str, &str); 10] = [
    ("", "a, b", "1, 'ä'"),
    ("ADD COLUMN c INT UNSIGNED NOT NULL DEFAULT 5 AFTER id", "a, b, c", "-3, 'c', 4294967295"),
    ("DROP COLUMN a", "b, c", "'d', 6"),
    ("RENAME COLUMN b TO a", "a, c", "'of another type', 7"),
    (
        "MODIFY c BIGINT UNSIGNED NOT NULL, ADD b DECIMAL(10,3) DEFAULT '2.5' FIRST",
        "a, b, c",
        "'e', 1.125, 18446744073709551615",
    ),
    (
        "CHANGE a `größe` VARCHAR(60) NULL, ADD COLUMN e ENUM('x','y') NOT NULL DEFAULT 'y'",
        "`größe`, b, c, e",
        "NULL, NULL, 8, 'x'",
    ),
    ("MODIFY e ENUM('x','y','z') NOT NULL, DROP b, ADD KEY (c)", "`größe`, c, e", "'f', 9, 'z'"),
    (
        "DROP `größe`, ADD a DATETIME(6) NULL, ADD b VARBINARY(8) NULL DEFAULT 'bytes'",
        "a, b, c, e",
        "'2024-02-29 01:02:03.456789', x'00ff', 10, 'x'",
    ),
    ("RENAME COLUMN c TO d, RENAME COLUMN a TO c", "b, c, d, e", "NULL, NULL, 11, 'z'"),
    ("DROP b, DROP c, DROP e", "d", "12"),
];

#[test]
fn f22_ddl_add_drop_rename() -> Result<()> {
    check(Scene::new("ddl_lagging")?, "SELECT REPLACE(@@GLOBAL.gtid_executed, '\\n', '')")
}

#[test]
fn f22_ddl_add_drop_rename_of_mariadb() -> Result<()> {
    check(Scene::on("ddl_lagging_mariadb", Servers::shared_mariadb()?)?, "SELECT @@GLOBAL.gtid_binlog_pos")
}

fn check(scene: Scene, place: &str) -> Result<()> {
    scene.source(&format!("CREATE TABLE {TABLE} (id INT PRIMARY KEY, shape INT NOT NULL, a INT, b VARCHAR(20))"))?;
    scene.make_target()?;
    let place = scene.source_rows(place)?.remove(0).remove(0).context("a position")?;
    let config = scene.config().replace("start = \"now\"", &format!("start = \"{place}\""));
    scene.write_config(&format!("{config}on_ddl = \"evolve\"\n"))?;
    let columns = write_history(&scene)?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let seen = ensure_shapes(&scene, &columns)?;
    say(&format!("{}: {rows} rows equal, {seen:?} changes by shape", scene.database));
    end(&mut apply)?;
    end(&mut capture)?;
    scene.finish()
}

/// The binlog names no columns: capture was there before the statements, is away while they come, is killed between them, and the setting is
/// changed at last, there and back.
#[test]
fn f22_ddl_add_drop_rename_without_names() -> Result<()> {
    let mysql = Mysql::fresh("ddl-minimal", &["--binlog-row-metadata=MINIMAL", "--sync-binlog=0"])?;
    let scene = Scene::on("ddl_nameless", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    scene.source(&format!("CREATE TABLE {TABLE} (id INT PRIMARY KEY, shape INT NOT NULL, a INT, b VARCHAR(20))"))?;
    scene.make_target()?;
    scene.write_config(&format!("{}on_ddl = \"evolve\"\n", scene.config()))?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    scene.source(&format!("INSERT INTO {TABLE} VALUES (-5, 0, 0, 'first')"))?;
    scene.wait_drained()?;
    capture.kill()?;
    let columns = write_history(&scene)?;
    capture = scene.capture()?;
    wait_until("a statement is in the log", LIMIT, || {
        ensure!(capture.is_running(), "capture ended: {}", capture.log_text());
        let mut barriers = 0;
        scene.read_topic(&format!("{}.control", scene.prefix), |_| {
            barriers += 1;
            Ok(())
        })?;
        Ok(barriers > 0)
    })?;
    capture.kill()?;
    capture = scene.capture()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    ensure_shapes(&scene, &columns)?;

    let id = SHAPES.len() * 10;
    scene.source(&format!(
        "INSERT INTO {TABLE} (id, shape, d) VALUES ({id} + 1, 9, 1);
         SET GLOBAL binlog_row_metadata = FULL; INSERT INTO {TABLE} (id, shape, d) VALUES ({id} + 2, 9, 2);
         ALTER TABLE {TABLE} ADD g ENUM('p','q') FIRST; INSERT INTO {TABLE} (g, id, shape, d) VALUES ('q', {id} + 3, 9, 3);
         SET GLOBAL binlog_row_metadata = MINIMAL; INSERT INTO {TABLE} (g, id, shape, d) VALUES ('p', {id} + 4, 9, 4);
         ALTER TABLE {TABLE} DROP d, MODIFY g ENUM('p','q','r'), ADD d VARCHAR(9) FIRST;
         INSERT INTO {TABLE} (g, id, shape, d) VALUES ('r', {id} + 5, 9, 'five');
         SET GLOBAL binlog_row_metadata = FULL; UPDATE {TABLE} SET d = 'all'"
    ))?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    say(&format!("{}: {rows} rows equal", scene.database));
    end(&mut apply)?;
    end(&mut capture)?;
    scene.finish()?;
    mysql.remove()
}

/// Each row in the log has the columns of its shape, rows of all shapes are there, and all statements were followed.
fn ensure_shapes(scene: &Scene, columns: &[BTreeSet<String>]) -> Result<BTreeMap<usize, u32>> {
    let mut seen = BTreeMap::new();
    scene.read_topic(&scene.topic(TABLE), |record| {
        let Some(value) = record.value else { return Ok(()) };
        let value: Value = serde_json::from_slice(value)?;
        let payload = value.get("payload").unwrap_or(&value);
        let Some(after) = payload["after"].as_object() else { return Ok(()) };
        let shape = after["shape"].as_u64().and_then(|shape| usize::try_from(shape).ok()).context("a shape")?;
        let names: BTreeSet<String> = after.keys().cloned().collect();
        ensure!(names == columns[shape], "a row of shape {shape} has {names:?} instead of {:?}", columns[shape]);
        *seen.entry(shape).or_insert(0) += 1;
        Ok(())
    })?;
    ensure!(seen.len() == SHAPES.len(), "rows of all shapes are in the log: {seen:?}");
    let done = scene.target_number("SELECT count(*) FROM tailrace.barriers WHERE state = 'done'")?;
    ensure!(done == i64::try_from(SHAPES.len())? - 1, "{done} statements were followed");
    Ok(seen)
}

/// Writes rows of each shape, and a row of the next one in a transaction that holds up the statement. Returns the names of the columns by shape.
fn write_history(scene: &Scene) -> Result<Vec<BTreeSet<String>>> {
    let mut columns = Vec::new();
    for (shape, (clauses, names, values)) in SHAPES.iter().enumerate() {
        if !clauses.is_empty() {
            alter_across_a_transaction(scene, clauses, shape, SHAPES[shape - 1])?;
        }
        let id = shape * 10;
        scene.source(&format!(
            "INSERT INTO {TABLE} (id, shape, {names}) VALUES ({id}, {shape}, {values}), ({id} + 1, {shape}, {values});
             UPDATE {TABLE} SET shape = {shape} WHERE id % 10 = 1 AND id < {id} - 30;
             DELETE FROM {TABLE} WHERE id = {id} - 40;"
        ))?;
        let names = names.split(", ").map(|name| name.trim_matches('`').to_owned());
        columns.push(names.chain(["id", "shape"].map(str::to_owned)).collect());
    }
    Ok(columns)
}

/// A transaction with rows of the columns before is open when the statement comes: it waits for the end.
fn alter_across_a_transaction(scene: &Scene, clauses: &str, shape: usize, before: (&str, &str, &str)) -> Result<()> {
    let (_, names, values) = before;
    let (id, shape_before) = (shape * 10 - 5, shape - 1);
    let insert =
        |id: usize| format!("INSERT INTO {TABLE} (id, shape, {names}) VALUES ({id}, {shape_before}, {values})");
    let begin = format!("START TRANSACTION; {}", insert(id));
    let alter = format!("ALTER TABLE {TABLE} {clauses}");
    let mut open = scene.open_source()?;
    open.run(&begin)?;
    std::thread::scope(|threads| {
        let altered = threads.spawn(|| {
            let mut other = scene.open_source()?;
            other.run(&alter)
        });
        let waits = "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'Waiting for table metadata lock' AND info LIKE \
                     'ALTER TABLE shifting%'";
        wait_until("the statement waits for the transaction", LIMIT, || {
            ensure!(!altered.is_finished(), "{alter} did not wait");
            Ok(scene.source_number(waits)? > 0)
        })?;
        open.run(&format!("{}; COMMIT", insert(id + 1)))?;
        altered.join().ok().context("the thread of the statement")?
    })
}
