//! No password and no row value in logs, metrics, health or output: planted values, trace level, both log formats, every
//! failure that tends to quote what it failed on; then everything that was said is searched.
//!
//! `planted` holds the values and the search, `provoke` the failures. What is searched is a folder with nothing in it but the
//! processes' own words.

mod planted;
mod provoke;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::{Finished, Tailrace};
use lab::{Kafka, Mysql, Postgres};

use crate::harness::{READY_LIMIT, Scene, Servers};

/// How the two processes write their logs; the other way round in the second half.
#[derive(Clone, Copy)]
struct Formats {
    capture: &'static str,
    apply: &'static str,
}

#[test]
fn nothing_that_is_said_holds_a_value_or_a_password() -> Result<()> {
    let servers = Servers {
        mysql: Mysql::fresh("secrets", &["--sync-binlog=0"])?,
        kafka: Kafka::fresh("secrets", &[])?,
        postgres: Postgres::fresh("secrets", &[])?,
    };
    let scene = Scene::on("secrets", servers)?;
    let said = Said::new(&scene)?;

    provoke::make_tables(&scene)?;
    said.keep("schema", &scene.command(&["schema", "--log-level", "trace"])?)?;
    let mut formats = Formats { capture: "human", apply: "json" };
    let (mut capture, mut apply) = start(&scene, formats)?;
    provoke::refused_rows(&scene, &apply)?;
    said.keep_served(&scene, "refused")?;
    stop(&mut apply, 4)?;
    stop(&mut capture, 0)?;

    formats = Formats { capture: "json", apply: "human" };
    (capture, apply) = start(&scene, formats)?;
    provoke::server_restarts(&scene, &apply, &said)?;
    provoke::damaged_records(&scene)?;
    said.keep_served(&scene, "damaged")?;
    stop(&mut apply, 4)?;
    stop(&mut capture, 0)?;
    provoke::unfollowable_changes(&scene)?;
    provoke::wrong_passwords(&scene, &said)?;

    said.take_logs(&scene)?;
    let found = planted::search(&said.folder)?;
    ensure!(found.is_empty(), "{} planted values were said:\n{}", found.len(), found.join("\n"));
    said.check_that_search_would_notice()?;
    let Servers { mysql, kafka, postgres } = &scene.servers;
    mysql.remove()?;
    kafka.remove()?;
    postgres.remove()
}

fn start(scene: &Scene, formats: Formats) -> Result<(Tailrace, Tailrace)> {
    let trace = |command, format| [command, "--log-level", "trace", "--log-format", format];
    let mut capture = scene.launch(&trace("capture", formats.capture))?.spawn()?;
    capture.wait_ready(READY_LIMIT)?;
    let apply = scene.launch(&trace("apply", formats.apply))?.spawn()?;
    Ok((capture, apply))
}

fn stop(process: &mut Tailrace, code: i32) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(READY_LIMIT)?;
    ensure!(status.code() == Some(code), "a process ended with {status}, not {code}: {}", process.log_text());
    Ok(())
}

/// Everything that the processes said, in a folder of its own.
struct Said {
    folder: PathBuf,
}

impl Said {
    fn new(scene: &Scene) -> Result<Said> {
        let folder = scene.folder().join("said");
        fs::create_dir_all(&folder).context("making a folder")?;
        Ok(Said { folder })
    }

    /// Output of a command.
    fn keep(&self, name: &str, finished: &Finished) -> Result<()> {
        self.keep_text(name, &format!("{}\n{}\n", finished.stdout, finished.stderr))
    }

    fn keep_text(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.folder.join(format!("{name}.output")), text).context("keeping an output")
    }

    /// What running processes serve.
    fn keep_served(&self, scene: &Scene, name: &str) -> Result<()> {
        for port in [scene.capture_port, scene.apply_port] {
            for path in ["/healthz", "/metrics"] {
                let answer = lab::http::get(port, path, Duration::from_secs(2))?;
                let file = format!("{name}-{port}{}.served", path.replace('/', "-"));
                fs::write(self.folder.join(file), answer.body).context("keeping what is served")?;
            }
        }
        Ok(())
    }

    /// The logs of all runs.
    fn take_logs(&self, scene: &Scene) -> Result<()> {
        for entry in fs::read_dir(scene.folder())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                fs::copy(&path, self.folder.join(path.file_name().context("a name")?)).context("keeping a log")?;
            }
        }
        let log = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let (capture, apply) = (log("capture.log"), log("apply.log"));
        for (name, text) in [("capture", &capture), ("apply", &apply)] {
            ensure!(text.contains(" TRACE ") || text.contains(" DEBUG "), "{name} said nothing at trace level");
            ensure!(text.contains("\"level\":\"") && text.contains(" INFO "), "{name} was not heard in both formats");
        }
        Ok(())
    }

    /// A planted line in a copy of a log is found, for each needle.
    fn check_that_search_would_notice(&self) -> Result<()> {
        let copy = self.folder.join("copy");
        fs::create_dir_all(&copy)?;
        let log = fs::read_to_string(self.folder.join("apply.log"))?;
        for needle in planted::needles() {
            let spoiled = format!("{log}2026-01-01 ERROR a row with ({}) was refused\n", needle.to_uppercase());
            fs::write(copy.join("apply.log"), spoiled)?;
            ensure!(is_found(&copy, &needle)?, "the search overlooks {needle}");
        }
        Ok(())
    }
}

fn is_found(folder: &Path, needle: &str) -> Result<bool> {
    Ok(planted::search(folder)?.iter().any(|line| line.contains(needle)))
}
