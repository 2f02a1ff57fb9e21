//! Servers that are killed and started again in the middle of a copy, while others write: what the ledger counted stays counted, and the
//! target ends equal to the source. Each server belongs to its test alone.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::{Kafka, Mariadb, Mysql, Postgres, Server, say};

use super::long_copy::{Copy, change};
use super::{LIMIT, end};
use crate::harness::{Scene, Servers, wait_until};
use crate::restarts::wait_noticed;

const WRITERS: u64 = 2;
const PAUSE: Duration = Duration::from_millis(10);
/// Copied between two outages at least.
const CHUNKS_BETWEEN: usize = 5;
/// Of one server, until an open window met one.
const OUTAGES_MAX: usize = 5;
/// So slow that the copy is far from its end when the last server is back.
const SLOW: &str = "max_rate = 1500\n";

#[test]
fn mysql_kafka_and_postgres_restart_in_the_middle_of_a_copy() -> Result<()> {
    let mysql = Mysql::fresh("e2e-copy-restarts", &[])?;
    let kafka = Kafka::fresh("e2e-copy-restarts", &[])?;
    let postgres = Postgres::fresh("e2e-copy-restarts", &[])?;
    let servers = [Server::clone(&mysql), Server::clone(&kafka), Server::clone(&postgres)];
    let scene = Scene::on("backfill_restarts", Servers { mysql, kafka, postgres })?;
    // Who depends on each, and whether its windows do.
    let depend: [(&[&str], bool); 3] = [(&["capture"], true), (&["capture", "apply"], true), (&["apply"], false)];
    check(Copy::begin(scene, true)?, &["capture", "apply"], servers.iter().zip(depend))?;
    servers.iter().try_for_each(Server::remove)
}

#[test]
fn mariadb_and_postgres_restart_in_the_middle_of_a_copy_without_a_log() -> Result<()> {
    let mysql = Mariadb::fresh("e2e-copy-restarts", &[])?;
    let postgres = Postgres::fresh("e2e-copy-restarts-embedded", &[])?;
    let servers = [Server::clone(&mysql), Server::clone(&postgres)];
    let scene = Scene::on("backfill_restarts_embedded", Servers { mysql, postgres, kafka: Servers::shared()?.kafka })?;
    let depend: [(&[&str], bool); 2] = [(&["run"], true), (&["run"], true)];
    check(Copy::begin(scene, false)?, &["run"], servers.iter().zip(depend))?;
    servers.iter().try_for_each(Server::remove)
}

fn check<'a>(
    copy: Copy,
    commands: &[&'static str],
    servers: impl Iterator<Item = (&'a Server, (&'static [&'static str], bool))>,
) -> Result<()> {
    let scene = &copy.scene;
    let fast = std::fs::read_to_string(scene.config_file())?;
    scene.write_config(&format!("{fast}{SLOW}"))?;
    let crowd = scene.open_crowd(WRITERS, PAUSE, copy.seed, change)?;
    let mut processes = start(scene, commands)?;
    for (server, (affected, has_windows)) in servers {
        let label = server.label();
        let before = copy.chunks()?;
        copy.wait_grown(copies(&mut processes), before.len() + CHUNKS_BETWEEN)?;
        let counted = copy.chunks()?;
        // The window that was seen may have closed by then: again, until one was open.
        let before = voided(copies(&mut processes))?;
        for tries_left in (0..OUTAGES_MAX).rev() {
            take_away(server, affected, &mut processes)?;
            if !has_windows || voided(copies(&mut processes))? > before {
                break;
            }
            ensure!(
                tries_left > 0,
                "{label} was away {OUTAGES_MAX} times, and neither a window nor a read came to nothing"
            );
            server.start()?;
            for (_, process) in &mut processes {
                process.wait_ready(LIMIT)?;
            }
        }
        if !has_windows {
            copy.wait_grown(copies(&mut processes), counted.len()).context("the copy goes on without the target")?;
        }
        server.start()?;
        for (_, process) in &mut processes {
            process.wait_ready(LIMIT)?;
        }
        // A broker that is only just back may name no leader yet, now and then.
        let mut back = None;
        wait_until("chunks are copied again", LIMIT, || {
            ensure!(copies(&mut processes).is_running(), "it ended: {}", copies(&mut processes).log_text());
            let Ok(now) = copy.chunks() else { return Ok(false) };
            Ok(now.len() > *back.get_or_insert(now.len()))
        })?;
        let back = back.unwrap_or_default();
        copy.ensure_under_way(&counted).with_context(|| label.clone())?;
        say(&format!("{}: {label} was away; {} chunks before, {back} behind", scene.database, counted.len()));
    }
    // The rest as fast as it goes.
    processes.iter_mut().try_for_each(|(_, process)| end(process))?;
    scene.write_config(&fast)?;
    processes = start(scene, commands)?;
    copy.finish(&mut processes.iter_mut().map(|(_, process)| process).collect::<Vec<_>>(), crowd)?;
    processes.iter_mut().try_for_each(|(_, process)| end(process))?;
    copy.scene.finish()
}

/// Kills the server while a window is open, and waits until that is noticed.
fn take_away(server: &Server, affected: &[&str], processes: &mut [(&'static str, Tailrace)]) -> Result<()> {
    wait_until("a window is open", LIMIT, || {
        Ok(copies(processes).metrics()?.sum("tailrace_backfill_windows_open") > Some(0.0))
    })?;
    server.kill()?;
    for (command, process) in processes {
        if affected.contains(command) {
            wait_noticed(process).with_context(|| format!("{command} without {}", server.label()))?;
        }
    }
    Ok(())
}

/// How many windows and reads came to nothing.
fn voided(process: &mut Tailrace) -> Result<f64> {
    let metrics = process.metrics()?;
    let windows = metrics.labelled("tailrace_backfill_windows_voided_total", "reason=\"session_ended\"");
    let errors = metrics.labelled("tailrace_errors_total", "stage=\"backfill\"");
    Ok(windows.unwrap_or_default() + errors.unwrap_or_default())
}

/// The one that copies comes first.
fn start(scene: &Scene, commands: &[&'static str]) -> Result<Vec<(&'static str, Tailrace)>> {
    commands.iter().map(|command| Ok((*command, scene.launch(&[command])?.spawn()?))).collect()
}

fn copies<'a>(processes: &'a mut [(&'static str, Tailrace)]) -> &'a mut Tailrace {
    &mut processes[0].1
}
