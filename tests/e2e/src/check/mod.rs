//! `tailrace check` finds what is wrong, all at once, changes nothing, and the statements that it prints mend it.

mod acls;
mod away;
mod cases;
mod grants;
mod manual;
mod peers;
mod started;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::{Kafka, Mysql, Postgres};
use serde_json::Value;

use self::cases::{
    ALONE, CONFIGURED, Case, ConfigCase, LONG_ROWS, MENDED, SCHEMAS, TABLES, TOPICS, TopicCase, UNDONE, UndoneCase,
};
use crate::bad_input::{Raw, produce};
use crate::harness::{DRAIN_LIMIT, Scene, Servers, Texts, wait_until};

const LIMIT: Duration = Duration::from_secs(60);
/// Mending one thing may show the next: a key can be judged only when its columns are there.
const ROUNDS: usize = 5;

#[test]
fn what_check_finds_its_own_statements_mend() -> Result<()> {
    // As before MySQL 9.6 the storage engine cascades by itself.
    let mysql = Mysql::fresh("check", &["--innodb-native-foreign-keys=ON"])?;
    let servers = Servers { mysql: mysql.clone(), kafka: Kafka::up("main")?, postgres: Postgres::up("main")? };
    let scene = Scene::on("check", servers)?;
    scene.source(TABLES)?;
    scene.make_target()?;
    ensure!(check(&scene)?.codes().is_empty(), "a right configuration has problems: {:?}", check(&scene)?);
    let mut mended = "";
    for case in MENDED {
        make(&scene, case)?;
        let found = find(&scene, case.code)?;
        // One run of `check` looks for this problem and whether the one before it is gone.
        ensure!(!found.codes().contains(mended), "{mended} is not mended: {found:?}");
        run_statements(&scene, &found).with_context(|| case.code)?;
        mended = case.code;
    }
    mend(&scene, check(&scene)?)?;
    for case in UNDONE {
        make(&scene, &case.made)?;
        find(&scene, case.made.code)?;
        undo(&scene, case)?;
    }
    ensure!(check(&scene)?.codes().is_empty(), "what was undone is still found: {:?}", check(&scene)?);
    for case in ALONE {
        make(&scene, &case.made)?;
        find(&scene, case.made.code)?;
        undo(&scene, case)?;
    }
    let right = scene.config();
    CONFIGURED.iter().try_for_each(|case| find_configured(&scene, case, &right))?;
    ensure!(check(&scene)?.codes().is_empty(), "what was undone is still found: {:?}", check(&scene)?);
    for case in TOPICS {
        make_topic(&scene, case)?;
        find(&scene, case.code)?;
        scene.delete_topics()?;
    }
    let (schemas, record) = &SCHEMAS;
    make_topic(&scene, schemas)?;
    let record = Raw { key: b"0123456789abcdef".to_vec(), value: record.as_bytes().to_vec(), headers: Vec::new() };
    produce(&scene, &topic_name(&scene, schemas), &record)?;
    find(&scene, schemas.code)?;
    scene.delete_topics()?;
    find_and_mend_all(&scene)?;

    scene.target(&format!("INSERT INTO {}.whole VALUES (1, 1)", scene.database))?;
    let found = check(&scene)?;
    ensure!(found.codes() == BTreeSet::from(["target_rows"]), "rows of somebody else: {found:?}");
    let accepted = scene.launch(&["check", "--allow-existing"])?.run(LIMIT)?;
    ensure!(accepted.code == Some(0) && accepted.stdout.contains("usable: 0 errors"), "{accepted:?}");
    drop(scene.capture()?);
    scene.finish()?;
    mysql.remove()
}

/// All problems side by side: none hides another.
fn find_and_mend_all(scene: &Scene) -> Result<()> {
    let (long_rows, long_topic) = &LONG_ROWS;
    for case in UNDONE.iter().chain([long_rows]) {
        make(scene, &case.made)?;
    }
    MENDED.iter().try_for_each(|case| make(scene, case))?;
    TOPICS.iter().chain([long_topic]).try_for_each(|case| make_topic(scene, case))?;
    let before = state(scene)?;
    let found = check(scene)?;
    let undone = UNDONE.iter().chain([long_rows]).map(|case| case.made.code);
    let codes = MENDED.iter().map(|case| case.code).chain(undone).chain(TOPICS.iter().map(|case| case.code));
    let missed: Vec<&str> = codes.filter(|code| !found.codes().contains(code)).collect();
    ensure!(missed.is_empty(), "together with the others {missed:?} are not found: {found:?}");
    let clocks = found.problems.iter().filter(|problem| problem["code"] == "clock_skew").count();
    ensure!(clocks == 2, "{clocks} wrong clocks are found: {found:?}");
    ensure!(state(scene)? == before, "check changed something");

    UNDONE.iter().try_for_each(|case| undo(scene, case))?;
    let without_command: Vec<String> =
        TOPICS.iter().filter(|case| !case.has_command).map(|case| topic_name(scene, case)).collect();
    scene.delete_topics_named(&without_command)?;
    run_commands(scene, &found)?;
    // Until brokers have forgotten what was deleted and learned what was set.
    let is_log_mended = || Ok(check(scene)?.problems.iter().all(|problem| problem["place"] != "log"));
    wait_until("the log is mended", DRAIN_LIMIT, is_log_mended)?;
    mend(scene, check(scene)?)?;
    undo(scene, long_rows)
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

    /// The statements and commands that mend what is wrong in a place.
    fn mends(&self, place: &str) -> Vec<&str> {
        let of_place = self.problems.iter().filter(|problem| problem["place"] == place);
        of_place.filter_map(|problem| problem["mend"].as_str()).collect()
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

/// The problem, alone.
fn find(scene: &Scene, code: &str) -> Result<Found> {
    let found = check(scene)?;
    ensure!(found.codes().contains(code), "{code} alone is not found: {found:?}");
    Ok(found)
}

fn make(scene: &Scene, case: &Case) -> Result<()> {
    run(scene, case.source, case.target)
}

fn undo(scene: &Scene, case: &UndoneCase) -> Result<()> {
    run(scene, case.undo_source, case.undo_target)
}

fn run(scene: &Scene, source: &str, target: &str) -> Result<()> {
    if !source.is_empty() {
        scene.source(source)?;
    }
    if !target.is_empty() {
        scene.target(&target.replace('$', &scene.database))?;
    }
    Ok(())
}

/// The problem of a configuration, which is put right again.
fn find_configured(scene: &Scene, case: &ConfigCase, right: &str) -> Result<()> {
    run(scene, "", case.make_target)?;
    scene.write_config(&with_settings(scene, right, case.settings)?)?;
    find(scene, case.code)?;
    scene.write_config(right)?;
    run(scene, "", case.undo_target)
}

/// The configuration with these settings in place of those of the same name.
fn with_settings(scene: &Scene, right: &str, settings: &[(&str, &str)]) -> Result<String> {
    let mut config = right.to_owned();
    for (key, value) in settings {
        let (section, name) = key.split_once('.').context("a section and a key")?;
        let value = value.replace('$', &scene.database).replace("PLACE", &scene.addresses().postgres);
        let header = match section {
            "table" => "[[table]]\n",
            // A rule of its own, at the end.
            "more" => "# more\n",
            section => &format!("[{section}]\n"),
        };
        if section == "more" && !config.contains(header) {
            config.push_str(&format!("\n[[table]]\n{header}"));
        }
        if section == "backfill" && !config.contains(header) {
            config.push_str(&format!("\n{header}"));
        }
        let (before, rest) = config.split_once(header).with_context(|| format!("no {header} in {config}"))?;
        let end = rest.find("\n[").unwrap_or(rest.len());
        let others = rest[..end].lines().filter(|line| !line.starts_with(&format!("{name} = ")));
        let others: String = others.map(|line| line.to_owned() + "\n").collect();
        config = format!("{before}{header}{name} = {value}\n{others}{}", &rest[end..]);
    }
    Ok(config)
}

fn make_topic(scene: &Scene, case: &TopicCase) -> Result<()> {
    scene.make_topic(&topic_name(scene, case), case.partitions, &[case.setting])
}

fn topic_name(scene: &Scene, case: &TopicCase) -> String {
    format!("{}.{}", scene.prefix, case.name.replace('$', &scene.database))
}

/// Runs the printed statements until nothing is left.
fn mend(scene: &Scene, mut found: Found) -> Result<()> {
    for _ in 0..ROUNDS {
        if found.problems.is_empty() {
            return Ok(());
        }
        run_statements(scene, &found)?;
        found = check(scene)?;
    }
    ensure!(found.problems.is_empty(), "not mended after {ROUNDS} rounds: {found:?}");
    Ok(())
}

fn run_statements(scene: &Scene, found: &Found) -> Result<()> {
    for problem in &found.problems {
        let statement = problem["mend"].as_str().with_context(|| format!("nothing mends {problem}"))?;
        match problem["place"].as_str() {
            Some("source") => scene.source(statement)?,
            Some("target") => scene.target(statement)?,
            place => bail!("a problem of {place:?} was not made: {problem}"),
        }
    }
    Ok(())
}

/// Runs the printed commands of Kafka's with Kafka's own tool, side by side: it takes its time to start.
fn run_commands(scene: &Scene, found: &Found) -> Result<()> {
    let commands = found.mends("log").into_iter().filter(|mend| mend.starts_with("kafka-configs.sh "));
    let running: Vec<_> =
        commands.map(|command| scene.servers.kafka.printed_command(command)).collect::<Result<_>>()?;
    let count = TOPICS.iter().chain([&LONG_ROWS.1]).filter(|case| case.has_command).count();
    ensure!(running.len() == count, "{} commands are printed, not {count}: {found:?}", running.len());
    for process in running {
        let output = process.wait_with_output()?;
        ensure!(output.status.success(), "a printed command failed: {output:?}");
    }
    Ok(())
}

/// What `check` must leave alone.
#[derive(Debug, PartialEq)]
struct State {
    variables: Vec<Texts>,
    source_columns: Vec<Texts>,
    target_columns: Vec<Texts>,
    topics: Vec<String>,
}

fn state(scene: &Scene) -> Result<State> {
    let variables = scene.source_rows("SHOW GLOBAL VARIABLES WHERE variable_name LIKE '%binlog%'")?;
    let source_columns = scene.source_rows(
        "SELECT table_name, column_name, column_type FROM information_schema.columns
         WHERE table_schema = DATABASE() ORDER BY 1, 2",
    )?;
    let columns = "SELECT table_schema, table_name, column_name, data_type, is_nullable FROM information_schema.columns
                   WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, 3";
    Ok(State { variables, source_columns, target_columns: scene.target_rows(columns)?, topics: scene.all_topics()? })
}
