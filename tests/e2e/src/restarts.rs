//! SIGKILL and restart of MySQL or MariaDB, of Kafka, of PostgreSQL in the middle of a load: Tailrace waits, says so in health, metrics
//! and log, goes on by itself, and nothing is lost or doubled.
//!
//! Each test has the server that it kills for itself.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::process::Tailrace;
use lab::{Kafka, Mariadb, Mariadb11, Mysql, Postgres, Server, say};

use crate::harness::{Ledger, Scene, Servers, TargetKind, seed, wait_until};

/// How soon an outage must be seen.
const NOTICE_LIMIT: Duration = Duration::from_secs(60);
/// How soon after the server's return everything must run again. Waits between tries grow to 15 s and half.
const RETURN_LIMIT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(2);

#[test]
fn mysql_restarts() -> Result<()> {
    let shared = Servers::shared()?;
    let mysql = Mysql::fresh("e2e-restarts", &[])?;
    let server = Server::clone(&mysql);
    let scene = Scene::on("mysql_restarts", Servers { mysql, ..shared })?;
    check(scene, &server, Stage::Capture)
}

#[test]
fn mariadb_restarts() -> Result<()> {
    let shared = Servers::shared()?;
    let mysql = Mariadb::fresh("e2e-restarts", &[])?;
    let server = Server::clone(&mysql);
    let scene = Scene::on("mariadb_restarts", Servers { mysql, ..shared })?;
    check(scene, &server, Stage::Capture)
}

#[test]
fn kafka_restarts() -> Result<()> {
    let shared = Servers::shared()?;
    let kafka = Kafka::fresh("e2e-restarts", &[])?;
    let server = Server::clone(&kafka);
    let scene = Scene::on("kafka_restarts", Servers { kafka, ..shared })?;
    check(scene, &server, Stage::Both)
}

#[test]
fn postgres_restarts() -> Result<()> {
    let shared = Servers::shared()?;
    let postgres = Postgres::fresh("e2e-restarts", &[])?;
    let server = Server::clone(&postgres);
    let scene = Scene::on("postgres_restarts", Servers { postgres, ..shared })?;
    check(scene, &server, Stage::Apply)
}

/// Who depends on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Capture,
    Apply,
    Both,
}

fn check(scene: Scene, server: &Server, stage: Stage) -> Result<()> {
    let seed = seed(server.name());
    scene.make_ledger()?;
    scene.make_target()?;
    let start = scene.history_start()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    let affected = match stage {
        Stage::Capture => vec![&mut capture],
        Stage::Apply => vec![&mut apply],
        Stage::Both => vec![&mut capture, &mut apply],
    };
    // The highest sequence always rises, while rows come and go.
    restart_twice(&scene, server, affected, ("SELECT max(highest[2]) FROM tailrace.offsets", seed))?;
    let judged = scene.judge_history(&start)?;
    say(&format!("{}: {judged:?}", server.label()));
    for process in [&mut capture, &mut apply] {
        ensure!(process.is_running(), "a process ended: {}", process.log_text());
    }
    drop((capture, apply));
    scene.finish()?;
    server.remove()
}

/// Kills the server twice under a load that ends equal. `rising` asks the target how far it is; with it the writer's seed.
fn restart_twice(
    scene: &Scene,
    server: &Server,
    mut affected: Vec<&mut Tailrace>,
    (rising, seed): (&str, u64),
) -> Result<()> {
    let ledger = scene.open_ledger(PAUSE, seed)?;
    let mut waited = Vec::new();
    for _ in 0..2 {
        wait_flowing(scene, &ledger, rising)?;
        server.kill()?;
        let began = std::time::Instant::now();
        for process in &mut affected {
            wait_noticed(process)?;
        }
        waited.push(began.elapsed());
        server.start()?;
        for process in &mut affected {
            process.wait_ready(RETURN_LIMIT)?;
            let metrics = process.metrics()?;
            let reconnects = ["capture", "apply"].map(|part| metrics.sum(&format!("tailrace_{part}_reconnects_total")));
            ensure!(reconnects.iter().any(|count| *count > Some(0.0)), "no reconnect was counted: {reconnects:?}");
        }
    }
    wait_flowing(scene, &ledger, rising)?;
    let transactions = ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let label = server.label();
    say(&format!("{label}: {transactions} transactions, {rows} rows; outages noticed after {waited:?}"));
    Ok(())
}

#[test]
fn mysql_restarts_under_the_embedded_form() -> Result<()> {
    let shared = Servers::shared()?;
    let mysql = Mysql::fresh("e2e-embedded-restarts", &[])?;
    let server = Server::clone(&mysql);
    check_embedded(Scene::on("mysql_restarts_embedded", Servers { mysql, ..shared })?, &server)
}

#[test]
fn mysql_restarts_before_a_file() -> Result<()> {
    let shared = Servers::shared()?;
    let mysql = Mysql::fresh("e2e-file-restarts", &[])?;
    let server = Server::clone(&mysql);
    let servers = Servers { mysql, ..shared };
    check_embedded(Scene::on_to(TargetKind::Sqlite, "mysql_restarts_file", servers)?, &server)
}

#[test]
fn mariadb_11_restarts_under_the_embedded_form() -> Result<()> {
    let shared = Servers::shared()?;
    let mysql = Mariadb11::fresh("e2e-embedded-restarts", &[])?;
    let server = Server::clone(&mysql);
    check_embedded(Scene::on("mariadb11_restarts_embedded", Servers { mysql, ..shared })?, &server)
}

#[test]
fn postgres_restarts_under_the_embedded_form() -> Result<()> {
    let shared = Servers::shared()?;
    let postgres = Postgres::fresh("e2e-embedded-restarts", &[])?;
    let server = Server::clone(&postgres);
    check_embedded(Scene::on("postgres_restarts_embedded", Servers { postgres, ..shared })?, &server)
}

fn check_embedded(scene: Scene, server: &Server) -> Result<()> {
    let seed = seed(server.name());
    scene.make_ledger()?;
    scene.make_target()?;
    let mut process = scene.run_embedded()?;
    let rising = format!("SELECT max(saves) FROM {}", scene.own_table("streams"));
    restart_twice(&scene, server, vec![&mut process], (&rising, seed))?;
    ensure!(process.is_running(), "the process ended: {}", process.log_text());
    drop(process);
    scene.finish()?;
    server.remove()
}

/// Waits until rows written after this call are in the target.
fn wait_flowing(scene: &Scene, ledger: &Ledger<'_>, rising: &str) -> Result<()> {
    let before = ledger.transactions();
    wait_until("the writer writes", RETURN_LIMIT, || Ok(ledger.transactions() > before + 200))?;
    let applied = scene.target_number(rising)?;
    wait_until("changes reach the target", RETURN_LIMIT, || Ok(scene.target_number(rising)? > applied + 50))
}

/// Health, metrics and log all say that a server is away; the process lives.
pub(crate) fn wait_noticed(process: &mut Tailrace) -> Result<()> {
    let is_told = |process: &Tailrace| -> Result<bool> {
        let metrics = process.metrics()?;
        let errors = metrics.labelled("tailrace_errors_total", "kind=\"transient\"").unwrap_or(0.0);
        Ok(process.health()?.status != 200 && errors > 0.0)
    };
    wait_until("health and metrics tell of the outage", NOTICE_LIMIT, || {
        ensure!(process.is_running(), "the process ended: {}", process.log_text());
        is_told(process)
    })?;
    let log = process.log_text();
    ensure!(log.contains("waits and tries again"), "the log does not tell of the outage: {log}");
    Ok(())
}
