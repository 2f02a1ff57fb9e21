//! `tailrace check` finds what is wrong, all at once, changes nothing, and the statements that it prints mend it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::{Kafka, Mysql, Postgres};
use serde_json::Value;

use crate::harness::{Scene, Servers, Texts};

const LIMIT: Duration = Duration::from_secs(60);
/// Mending one thing may show the next: a key can be judged only when its columns are there.
const ROUNDS: usize = 5;

/// A problem, how it is made, and its code.
struct Case {
    source: &'static str,
    target: &'static str,
    code: &'static str,
}

const fn of_source(source: &'static str, code: &'static str) -> Case {
    Case { source, target: "", code }
}

const fn of_target(target: &'static str, code: &'static str) -> Case {
    Case { source: "", target, code }
}

/// Each is mended by the statement that `check` prints for it.
const MENDED: &[Case] = &[
    of_source("SET GLOBAL binlog_format = STATEMENT", "binlog_format"),
    of_source("SET GLOBAL binlog_row_image = MINIMAL", "binlog_row_image"),
    of_source("SET GLOBAL binlog_row_metadata = MINIMAL", "binlog_row_metadata"),
    of_source("SET GLOBAL binlog_row_value_options = PARTIAL_JSON", "binlog_row_value_options"),
    of_source("SET GLOBAL binlog_transaction_compression = ON", "binlog_transaction_compression"),
    of_source("SET GLOBAL binlog_checksum = NONE", "binlog_checksum"),
    of_source("SET GLOBAL sync_binlog = 0", "sync_binlog"),
    of_source("SET GLOBAL innodb_flush_log_at_trx_commit = 2", "innodb_flush_log_at_trx_commit"),
    of_target("DROP TABLE $.whole", "target_table_missing"),
    of_target("ALTER TABLE $.parts DROP COLUMN t", "target_column_missing"),
    of_target("ALTER TABLE $.parts ALTER COLUMN c TYPE char(10)", "target_column_type"),
    of_target("ALTER TABLE $.parts ALTER COLUMN b TYPE integer", "target_column_narrow"),
    of_target(
        "ALTER TABLE $.parts ADD COLUMN IF NOT EXISTS extra int, ALTER COLUMN extra SET NOT NULL",
        "target_column_extra",
    ),
    of_target("ALTER TABLE $.parts ALTER COLUMN b SET NOT NULL", "target_column_not_null"),
    of_target(
        "ALTER TABLE $.parts DROP CONSTRAINT IF EXISTS parts_pkey; DROP INDEX IF EXISTS $.parts_id_idx",
        "target_key_missing",
    ),
];

#[test]
fn what_check_finds_its_own_statements_mend() -> Result<()> {
    let mysql = Mysql::fresh("check", &[])?;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on("check", servers)?;
    scene.source(
        "CREATE TABLE whole (id INT PRIMARY KEY, v BIGINT UNSIGNED);
         CREATE TABLE parts (id INT PRIMARY KEY, t VARCHAR(10), c VARCHAR(10), b BIGINT)",
    )?;
    scene.make_target()?;
    ensure!(check(&scene)?.codes().is_empty(), "a right configuration has problems: {:?}", check(&scene)?);
    for case in MENDED {
        make(&scene, case)?;
        let found = check(&scene)?;
        ensure!(found.codes().contains(case.code), "{} alone is not found: {found:?}", case.code);
        mend(&scene).with_context(|| case.code)?;
    }
    // All of them together. A table that is gone can't have wrong columns, but another one can.
    MENDED.iter().try_for_each(|case| make(&scene, case))?;
    let before = state(&scene)?;
    let found = check(&scene)?;
    let missed: Vec<&str> = MENDED.iter().map(|case| case.code).filter(|code| !found.codes().contains(code)).collect();
    ensure!(missed.is_empty(), "together with the others {missed:?} are not found: {found:?}");
    ensure!(state(&scene)? == before, "check changed something");
    mend(&scene)?;

    scene.target(&format!("INSERT INTO {}.whole VALUES (1, 1)", scene.database))?;
    let found = check(&scene)?;
    ensure!(found.codes() == BTreeSet::from(["target_rows"]), "rows of somebody else: {found:?}");
    let accepted = scene.launch(&["check", "--allow-existing"])?.run(LIMIT)?;
    ensure!(accepted.code == Some(0) && accepted.stdout.starts_with("usable: "), "{accepted:?}");
    drop(scene.capture()?);
    scene.finish()?;
    mysql.remove()
}

#[test]
fn a_system_that_is_away_hides_no_problem_of_another() -> Result<()> {
    let scene = Scene::new("check_away")?;
    scene.source("CREATE TABLE keyless (a INT)")?;
    let nobody = |config: &str, address: &str| config.replace(address, "127.0.0.1:1");
    let addresses = scene.addresses();
    scene.write_config(&nobody(&nobody(&scene.config(), &addresses.kafka), &addresses.postgres))?;
    let found = check(&scene)?;
    for (place, code) in
        [("source", "table_unsupported"), ("log", "kafka_unreachable"), ("target", "target_unreachable")]
    {
        let is_found = found.problems.iter().any(|problem| problem["place"] == place && problem["code"] == code);
        ensure!(is_found, "{code} of the {place} is not found: {found:?}");
    }
    let told = scene.launch(&["check"])?.run(LIMIT)?;
    ensure!(told.code == Some(1) && told.stdout.contains("not usable: "), "{told:?}");
    scene.finish()
}

/// What `check` printed.
#[derive(Debug)]
struct Found {
    problems: Vec<Value>,
}

impl Found {
    fn codes(&self) -> BTreeSet<&str> {
        self.problems.iter().filter_map(|problem| problem["code"].as_str()).collect()
    }
}

fn check(scene: &Scene) -> Result<Found> {
    let finished = scene.launch(&["check", "--format", "json"])?.run(LIMIT)?;
    let told: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("no JSON: {finished:?}"))?;
    let problems = told["problems"].as_array().context("no problems in the JSON")?.clone();
    let has_error = problems.iter().any(|problem| problem["severity"] == "error");
    ensure!(finished.code == Some(i32::from(has_error)), "ended with {:?} and {problems:?}", finished.code);
    Ok(Found { problems })
}

fn make(scene: &Scene, case: &Case) -> Result<()> {
    if !case.source.is_empty() {
        scene.source(case.source)?;
    }
    if !case.target.is_empty() {
        scene.target(&case.target.replace('$', &scene.database))?;
    }
    Ok(())
}

/// Runs the printed statements until nothing is left.
fn mend(scene: &Scene) -> Result<()> {
    for _ in 0..ROUNDS {
        let found = check(scene)?;
        if found.problems.is_empty() {
            return Ok(());
        }
        for problem in &found.problems {
            let statement = problem["mend"].as_str().with_context(|| format!("nothing mends {problem}"))?;
            match problem["place"].as_str() {
                Some("source") => scene.source(statement)?,
                Some("target") => scene.target(statement)?,
                place => bail!("a problem of {place:?} was not made: {problem}"),
            }
        }
    }
    bail!("not mended after {ROUNDS} rounds: {:?}", check(scene)?)
}

/// What `check` must leave alone.
fn state(scene: &Scene) -> Result<(Vec<Texts>, Vec<Texts>)> {
    let variables = scene.source_rows("SHOW GLOBAL VARIABLES WHERE variable_name LIKE '%binlog%'")?;
    let columns = "SELECT table_schema, table_name, column_name, data_type, is_nullable FROM information_schema.columns
                   WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 3";
    Ok((variables, scene.target_rows(columns)?))
}
