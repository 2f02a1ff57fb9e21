//! The first minutes with a server: `init` asks it for its tables, `config show` tells what is in force.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::TAILRACE_PASSWORD;
use lab::process::{Finished, Launch};
use serde_json::Value;

use crate::harness::{DRAIN_LIMIT, MYSQL_PASSWORD, Scene, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_configuration_is_begun_from_a_server_and_shown_without_secrets() -> Result<()> {
    let scene = Scene::new("begin")?;
    scene.source(
        "CREATE TABLE orders (id INT PRIMARY KEY); CREATE TABLE `odd.name` (id INT PRIMARY KEY);
         CREATE TABLE keyless (id INT); CREATE VIEW seen AS SELECT * FROM orders",
    )?;
    let file = scene.folder().join("begun.toml");
    let config = file.to_str().context("a path in UTF-8")?;
    let run = |words: &[&str]| -> Result<Finished> {
        let words = [words, &["--config", config]].concat();
        let launch = Launch::new(&words, &scene.folder().join("begin.log"))?;
        launch.variable(MYSQL_PASSWORD, TAILRACE_PASSWORD).run(LIMIT)
    };
    let (url, ca) = (scene.servers.mysql.capture_url()?, scene.servers.mysql.ca_file());
    let ca = ca.to_str().context("a path in UTF-8")?;
    let init = ["init", "--source", &url, "--password-env", MYSQL_PASSWORD, "--tls", "verify-ca", "--ca", ca];
    let told = run(&init)?;
    ensure!(told.code == Some(0), "{told:?}");
    let database = &scene.database;
    for line in [format!("\n  {database}.orders\n"), format!("\n  {database}.keyless: can't be captured, ")] {
        ensure!(told.stdout.contains(&line), "{line:?} is not told: {told:?}");
    }
    let text = fs::read_to_string(&file).context("reading what init wrote")?;
    for line in [
        format!("\n[[table]]\nsource = \"{database}.orders\"\n"),
        format!("\n[[table]]\nsource = \"{database}.`odd.name`\"\n"),
        format!("\n# [[table]]\n# source = \"{database}.keyless\"\n"),
    ] {
        ensure!(text.contains(&line), "{line:?} is not in:\n{text}");
    }
    // The server may have a shop of somebody else; the template's own example is known by what it says.
    let example = "\"shop.*\": all tables of a database";
    ensure!(!text.contains(&format!("{database}.seen")) && !text.contains(example), "{text}");
    ensure!(!format!("{text}{told:?}").contains(TAILRACE_PASSWORD), "a password was written");

    // What exists stays as it is, and a password in the URL is refused and not repeated.
    let again = run(&init)?;
    ensure!(again.code == Some(1) && again.stdout.is_empty() && again.stderr.contains("begun.toml"), "{again:?}");
    ensure!(fs::read_to_string(&file)? == text, "init changed a file that was there");
    let with_password = url.replace("tailrace@", &format!("tailrace:{TAILRACE_PASSWORD}@"));
    let refused = run(&["init", "--source", &with_password, "--password-env", MYSQL_PASSWORD])?;
    ensure!(refused.code == Some(2) && !format!("{refused:?}").contains(TAILRACE_PASSWORD), "{refused:?}");

    show(&scene, &run)?;
    scene.finish()
}

/// What the manual says about rows that are there already: the place first, then the copy, then `--allow-existing`.
#[test]
fn rows_copied_by_hand_and_changes_since_then_meet() -> Result<()> {
    let scene = Scene::new("existing")?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY, v VARCHAR(20))")?;
    scene.source("INSERT INTO orders VALUES (1, 'stays'), (2, 'changes'), (3, 'goes'), (4, 'goes early')")?;
    scene.make_target()?;
    let place = scene.source_rows("SELECT REPLACE(@@GLOBAL.gtid_executed, '\\n', '')")?;
    let place = place.into_iter().flatten().next().flatten().context("a GTID set")?;
    scene.write_config(&scene.config().replace("start = \"now\"", &format!("start = \"{place}\"")))?;
    // What changes before a row is read, what changes after.
    scene.source("DELETE FROM orders WHERE id = 4; INSERT INTO orders VALUES (5, 'came early')")?;
    for row in scene.source_rows("SELECT id, v FROM orders")? {
        let [Some(id), Some(v)] = row.as_slice() else { anyhow::bail!("a row of two values") };
        scene.target(&format!("INSERT INTO {}.orders VALUES ({id}, '{v}')", scene.database))?;
    }
    scene.source("UPDATE orders SET v = 'changed' WHERE id = 2; DELETE FROM orders WHERE id = 3")?;
    let refused = scene.command(&["check"])?;
    ensure!(refused.code == Some(1) && refused.stdout.contains("target_rows"), "{refused:?}");
    let accepted = scene.command(&["check", "--allow-existing"])?;
    ensure!(accepted.code == Some(0), "{accepted:?}");
    let process = scene.launch(&["run", "--allow-existing"])?.spawn()?;
    let rows = "SELECT id, v FROM orders ORDER BY id";
    wait_until("both sides meet", DRAIN_LIMIT, || Ok(scene.target_rows(rows)? == scene.source_rows(rows)?))?;
    drop(process);
    // From now on they are known.
    let known = scene.command(&["check"])?;
    ensure!(known.code == Some(0), "{known:?}");
    scene.finish()
}

/// What is in force, with the scene's own configuration and the one that was begun.
fn show(scene: &Scene, run: &dyn Fn(&[&str]) -> Result<Finished>) -> Result<()> {
    let begun = run(&["config", "show"])?;
    ensure!(begun.code == Some(0) && begun.stdout.contains("\npassword = \"***\"\n"), "{begun:?}");
    ensure!(begun.stdout.contains("\nworkers = 4\n") && begun.stdout.contains("\nmode = \"verify-ca\"\n"), "{begun:?}");
    let shown = scene.command(&["config", "show", "--format", "json"])?;
    let values: Value = serde_json::from_str(&shown.stdout).with_context(|| format!("no JSON: {shown:?}"))?;
    for (value, expect) in [
        (&values["source"]["password"], "***"),
        (&values["source"]["expected_outage"], "1d"),
        (&values["log"]["prefix"], scene.prefix.as_str()),
        (&values["target"]["password"], "***"),
        (&values["table"][0]["target"], &format!("{}.*", scene.database)),
    ] {
        ensure!(value == expect, "{value} is not {expect}: {values}");
    }
    ensure!(!format!("{begun:?}{shown:?}").contains(TAILRACE_PASSWORD), "a secret was shown");
    Ok(())
}
