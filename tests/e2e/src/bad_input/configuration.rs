//! A wrong tailrace.toml through the real binary: exit code 2, every problem at once, each with its line, key and remedy, and
//! no word of a secret. Single keys are the business of the configuration's own tests.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::process::Finished;

use super::ensure_failed;
use crate::harness::Scene;

/// A file with many mistakes, and for each: its line, its key and what the remedy says.
const WRONG: &str = r#"colour = "blue"
[source]
url = "mysql://tailrace:planted-secret-1@db.example"
servr_id = 5501
start = "yesterday"
tls = { mode = "verify-none" }
password = "planted-secret-2"
[log]
url = "http://broker.example"
partitions = 0
replication = "3"
retention = "7 moons"
[target]
url = "postgres://tailrace@new.example"
password = { env = "E2E_NO_SUCH_VARIABLE" }
[http]
capture = "0.0.0.0:8700"
[[table]]
source = "orders"
[[table]]
source = "shop.orders"
target = "public.*"
[[table]]
sorce = "shop.orders"
"#;

const FOUND: &[(u32, &str, &str)] = &[
    (1, "colour", ""),
    (3, "source.url", "password"),
    (4, "source.servr_id", "server_id"),
    (5, "source.start", ""),
    (6, "source.tls.mode", "verify-full"),
    (7, "source.password", "env"),
    (9, "log.url", "kafka://"),
    (8, "log.prefix", "prefix"),
    (10, "log.partitions", ""),
    (11, "log.replication", "replication"),
    (12, "log.retention", ""),
    (14, "target.url", "DATABASE"),
    (15, "target.password.env", "E2E_NO_SUCH_VARIABLE"),
    (17, "http.capture", ""),
    (19, "table", "shop"),
    (22, "target", "public.orders"),
    (24, "sorce", "source"),
];

#[test]
fn every_problem_of_the_configuration_comes_at_once() -> Result<()> {
    let scene = Scene::new("configuration")?;
    scene.write_config(WRONG)?;
    for command in ["capture", "apply", "run", "schema"] {
        let finished = scene.command(&[command])?;
        ensure_failed(&finished, 2, &[])?;
        ensure!(!finished.stderr.contains("planted-secret"), "a secret is shown: {}", finished.stderr);
        ensure!(finished.stdout.is_empty(), "standard output belongs to results: {}", finished.stdout);
    }
    let finished = scene.command(&["run"])?;
    let missed: Vec<String> =
        FOUND.iter().filter(|found| !has_problem(&finished, **found)).map(|found| format!("{found:?}")).collect();
    ensure!(missed.is_empty(), "not named: {}\nin: {}", missed.join(", "), finished.stderr);
    scene.finish()
}

/// A line with place, key and remedy.
fn has_problem(finished: &Finished, (line, key, remedy): (u32, &str, &str)) -> bool {
    let place = format!("tailrace.toml:{line}:");
    finished.stderr.lines().any(|text| text.contains(&place) && text.contains(key) && text.contains(remedy))
}

#[test]
fn files_that_are_no_configuration_are_refused() -> Result<()> {
    let scene = Scene::new("no_configuration")?;
    let right = scene.config();
    for (text, words) in [
        ("[source\nurl = 1".to_owned(), vec!["tailrace.toml:1:"]),
        (String::new(), vec!["[source]", "[target]", "[[table]]"]),
        (right.replace("[[table]]", "[[tabel]]"), vec!["tabel", "table"]),
        (right.replace("server_id", "server_id = 1\nserver_id"), vec!["server_id", "second time"]),
        (right.replace("mysql://", "maria://"), vec!["maria://", "mariadb://"]),
        (right.replace("start = \"now\"", "start = \"\""), vec!["source.start"]),
        (format!("{right}target = \"tailrace.*\"\n"), vec!["tailrace", "target"]),
        (format!("{right}[[table]]\nsource = \"{}.*\"\n", scene.database), vec!["already"]),
    ] {
        scene.write_config(&text)?;
        let finished = scene.launch(&["run"])?.run(Duration::from_secs(10))?;
        ensure_failed(&finished, 2, &words)?;
    }
    std::fs::remove_file(scene.config_file())?;
    ensure_failed(&scene.command(&["run"])?, 2, &["tailrace.toml", "--config"])?;
    scene.write_config(&right)?;
    for arguments in [vec!["captur"], vec!["capture", "--allow-existing"], vec!["capture", "--log-format", "xml"]] {
        ensure_failed(&scene.command(&arguments)?, 2, &[])?;
    }
    scene.finish()
}
