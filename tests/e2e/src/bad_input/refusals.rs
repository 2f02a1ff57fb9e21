//! What keeps a command from starting although the configuration is well-formed: accounts, settings of the source, tables
//! that are missing or not ours, source and target in one place.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Kafka, Mysql, Postgres, TAILRACE_PASSWORD};

use super::{ensure_failed, has_stopped_tables, record_count};
use crate::harness::{DRAIN_LIMIT, MYSQL_PASSWORD, POSTGRES_PASSWORD, READY_LIMIT, Scene, Servers, wait_until};

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn wrong_passwords_are_refused_and_not_repeated() -> Result<()> {
    let scene = Scene::new("wrong_password")?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY)")?;
    const WRONG: &str = "planted-wrong-password";
    for (command, variable, word) in [
        (&["capture"][..], MYSQL_PASSWORD, "login"),
        (&["schema"], MYSQL_PASSWORD, "login"),
        (&["apply"], POSTGRES_PASSWORD, "password"),
        (&["schema", "--apply"], POSTGRES_PASSWORD, "password"),
        (&["run"], POSTGRES_PASSWORD, "password"),
    ] {
        let finished = scene.launch(command)?.variable(variable, WRONG).run(LIMIT)?;
        // Nothing waits for ever for a password to become right.
        ensure_failed(&finished, 1, &[word])?;
        ensure!(
            !finished.stderr.contains(WRONG) && !finished.stderr.contains(TAILRACE_PASSWORD),
            "{}",
            finished.stderr
        );
    }
    scene.finish()
}

#[test]
fn source_settings_are_refused_all_at_once_with_what_mends_them() -> Result<()> {
    let mysql = Mysql::fresh("bad-settings", &["--sync-binlog=0"])?;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on("bad_settings", servers)?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY); CREATE TABLE keyless (id INT)")?;
    scene.source("SET GLOBAL binlog_row_metadata = MINIMAL; SET GLOBAL binlog_format = STATEMENT")?;
    ensure_failed(&scene.launch(&["capture"])?.run(LIMIT)?, 1, &["binlog_format", "keyless"])?;
    scene.source("DROP TABLE keyless")?;
    let finished = scene.launch(&["capture"])?.run(LIMIT)?;
    ensure_failed(&finished, 1, &["binlog_format"])?;
    ensure!(!finished.stderr.contains("keyless"), "keyless is gone and still named: {}", finished.stderr);
    // Rows without the names of columns keep nobody from beginning.
    scene.source("SET GLOBAL binlog_format = ROW")?;

    // The server's own number is no number of a replica.
    let right = scene.config();
    let own = scene.source_number("SELECT @@GLOBAL.server_id")?;
    let as_server: String = right
        .lines()
        .map(|line| if line.starts_with("server_id") { format!("server_id = {own}\n") } else { format!("{line}\n") })
        .collect();
    scene.write_config(&as_server)?;
    ensure_failed(&scene.launch(&["capture"])?.run(LIMIT)?, 1, &["server_id"])?;
    scene.write_config(&right)?;

    scene.source("CREATE USER poor IDENTIFIED BY 'lab-tailrace-secret'; GRANT SELECT ON *.* TO poor")?;
    scene.write_config(&right.replace("mysql://tailrace@", "mysql://poor@"))?;
    ensure_failed(&scene.launch(&["capture"])?.run(LIMIT)?, 1, &["REPLICATION SLAVE"])?;
    scene.write_config(&right)?;

    // With everything mended it runs: each refusal above had the reason it gave.
    drop(scene.capture()?);
    scene.finish()?;
    mysql.remove()
}

#[test]
fn source_tables_that_can_not_be_captured_are_named() -> Result<()> {
    let scene = Scene::new("bad_tables")?;
    let right = scene.config();
    let only = |table: &str| right.replace(&format!("{}.*", scene.database), &format!("{}.{table}", scene.database));
    let long = "x".repeat(64);
    scene.source(&format!(
        "CREATE TABLE no_key (a INT, b INT); CREATE TABLE nullable_key (a INT UNIQUE);
         CREATE TABLE prefix_key (a TEXT NOT NULL, PRIMARY KEY (a(10)));
         CREATE TABLE `{long}` (id INT PRIMARY KEY); CREATE VIEW a_view AS SELECT 1 AS id;
         CREATE TABLE `col lide` (id INT PRIMARY KEY); CREATE TABLE `col_lide` (id INT PRIMARY KEY)"
    ))?;
    for (table, word) in
        [("no_key", "key"), ("nullable_key", "key"), ("nothing_there", "nothing_there"), ("a_view", "a_view")]
    {
        scene.write_config(&only(table))?;
        for command in ["capture", "schema"] {
            let finished = scene.launch(&[command])?.run(LIMIT)?;
            ensure!(finished.code.is_some_and(|code| code == 1 || code == 4), "{command} of {table}: {finished:?}");
            ensure!(
                finished.stderr.contains(table) && finished.stderr.contains(word),
                "{command} of {table}: {finished:?}"
            );
        }
    }
    scene.write_config(&only(&long))?;
    ensure_failed(&scene.launch(&["schema"])?.run(LIMIT)?, 1, &[&long, "63"]).or_else(|_| {
        // A table may also be named as the one that failed.
        ensure_failed(&scene.launch(&["schema"])?.run(LIMIT)?, 4, &[&long, "63"])
    })?;
    let both = only("col lide")
        .replace("[[table]]", &format!("[[table]]\nsource = \"{}.col_lide\"\n[[table]]", scene.database));
    scene.write_config(
        &both.replace(&format!("{}.col lide", scene.database), &format!("{}.`col lide`", scene.database)),
    )?;
    ensure_failed(&scene.launch(&["capture"])?.run(LIMIT)?, 1, &["col lide", "col_lide", "topic"])?;
    scene.finish()
}

#[test]
fn source_and_target_in_one_place_are_refused() -> Result<()> {
    let scene = Scene::new("one_place")?;
    scene.source("CREATE TABLE t (id INT PRIMARY KEY)")?;
    let addresses = scene.addresses();
    let config = scene.config().replace(
        &format!("postgres://tailrace@{}", addresses.postgres),
        &format!("postgres://tailrace@{}", addresses.mysql),
    );
    scene.write_config(&config)?;
    for command in ["run", "schema"] {
        ensure_failed(&scene.launch(&[command])?.run(LIMIT)?, 2, &["source.url", "target.url", "name another server"])?;
    }
    scene.finish()
}

#[test]
fn target_tables_that_are_missing_or_foreign_stop_alone() -> Result<()> {
    let scene = Scene::new("bad_target")?;
    scene.source(
        "CREATE TABLE good (id INT PRIMARY KEY); CREATE TABLE missing (id INT PRIMARY KEY);
         CREATE TABLE lacks_column (id INT PRIMARY KEY, absent_column INT); CREATE TABLE lacks_key (id INT PRIMARY KEY);
         CREATE TABLE no_table (id INT PRIMARY KEY); CREATE TABLE demands_more (id INT PRIMARY KEY);
         CREATE TABLE foreign_rows (id INT PRIMARY KEY, note VARCHAR(20))",
    )?;
    scene.make_target()?;
    scene.target(
        "DROP TABLE missing; ALTER TABLE lacks_column DROP COLUMN absent_column; ALTER TABLE lacks_key DROP CONSTRAINT lacks_key_pkey;
         DROP TABLE no_table; CREATE VIEW no_table AS SELECT 1 AS id; ALTER TABLE demands_more ADD COLUMN demanded INT NOT NULL;
         INSERT INTO foreign_rows VALUES (1, 'not ours'), (7, 'not ours')",
    )?;
    const STOPPED: &[(&str, &str, &str)] = &[
        ("missing", "missing", "CREATE TABLE missing (id INT PRIMARY KEY)"),
        ("lacks_column", "absent_column", "ALTER TABLE lacks_column ADD COLUMN absent_column INT"),
        ("lacks_key", "key", "ALTER TABLE lacks_key ADD PRIMARY KEY (id)"),
        ("no_table", "no_table", "DROP VIEW no_table; CREATE TABLE no_table (id INT PRIMARY KEY)"),
        ("demands_more", "demanded", "ALTER TABLE demands_more ALTER COLUMN demanded DROP NOT NULL"),
        ("foreign_rows", "--allow-existing", ""),
    ];
    let _capture = scene.capture()?;
    for table in STOPPED.iter().map(|(table, ..)| *table).chain(["good"]) {
        scene.source(&format!("INSERT INTO {table} (id) VALUES (1), (2)"))?;
    }
    wait_until("every table is in the log", DRAIN_LIMIT, || Ok(record_count(&scene, &scene.topic("good"))? == 2))?;
    let mut apply = scene.launch(&["apply"])?.spawn()?;
    wait_until("the good table arrives, the others have stopped", DRAIN_LIMIT, || {
        Ok(has_stopped_tables(&apply, STOPPED.len()) && scene.target_number("SELECT count(*) FROM good")? == 2)
    })?;
    let log = apply.log_text();
    for (table, word, _) in STOPPED {
        let name = format!("{}.{table}", scene.database);
        let named = log.lines().any(|line| line.contains("ERROR") && line.contains(&name) && line.contains(word));
        ensure!(named, "no error names {name} and {word}: {log}");
    }
    apply.terminate()?;
    ensure!(apply.wait_exit(READY_LIMIT)?.code() == Some(4), "stopped tables give exit code 4");
    let rows = scene.target_rows("SELECT id::text || note FROM foreign_rows ORDER BY id")?;
    ensure!(
        rows == [[Some("1not ours".to_owned())], [Some("7not ours".to_owned())]],
        "foreign rows were touched: {rows:?}"
    );

    for (_, _, mend) in STOPPED {
        scene.target(mend)?;
    }
    let mut apply = scene.launch(&["apply", "--allow-existing"])?.spawn()?;
    wait_until("every table arrives", DRAIN_LIMIT, || {
        for (table, ..) in STOPPED {
            let expected = if *table == "foreign_rows" { 3 } else { 2 };
            if scene.target_number(&format!("SELECT count(*) FROM {table}"))? != expected {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    // A row with the same key is replaced, another is left alone.
    let rows = scene.target_rows("SELECT id, note FROM foreign_rows ORDER BY id")?;
    let texts: Vec<_> = rows.iter().map(|row| (row[0].as_deref(), row[1].as_deref())).collect();
    ensure!(texts == [(Some("1"), None), (Some("2"), None), (Some("7"), Some("not ours"))], "{texts:?}");
    apply.terminate()?;
    ensure!(apply.wait_exit(READY_LIMIT)?.code() == Some(0), "mended tables give exit code 0");
    // Once ours, a table needs no permission any more.
    let mut apply = scene.apply()?;
    scene.source("INSERT INTO foreign_rows (id) VALUES (3)")?;
    wait_until("an adopted table goes on", DRAIN_LIMIT, || {
        Ok(scene.target_number("SELECT count(*) FROM foreign_rows")? == 4)
    })?;
    apply.terminate()?;
    ensure!(apply.wait_exit(READY_LIMIT)?.code() == Some(0), "an adopted table is known");
    ensure!(record_count(&scene, &scene.topic("foreign_rows"))? == 3, "three rows were captured");
    scene.finish()
}
