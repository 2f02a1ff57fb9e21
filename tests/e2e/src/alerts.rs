//! Metrics and alert rules, judged by Prometheus's own programs: `promtool` reads what live daemons tell, and a real server
//! evaluates the rules over them until two alerts fire for what really happened.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::prometheus::{Prometheus, promtool};

use crate::harness::{Scene, free_port, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_rules_are_valid_and_fire_when_their_own_tests_say() -> Result<()> {
    let folder = dist()?;
    let path = |name: &str| folder.join(name).display().to_string();
    let checked = promtool(&["check", "rules", &path("alerts.yml")], "")?;
    ensure!(checked.contains("SUCCESS"), "{checked}");
    let tested = promtool(&["test", "rules", &path("alerts_test.yml")], "")?;
    ensure!(tested.contains("SUCCESS"), "{tested}");
    let rules = fs::read_to_string(folder.join("alerts.yml"))?;
    let tests = fs::read_to_string(folder.join("alerts_test.yml"))?;
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = tests.split(&format!("alertname: {alert}\n")).nth(1).is_some();
        ensure!(fires, "no test makes {alert} fire");
    }
    Ok(())
}

#[test]
fn lag_and_a_capture_that_is_down_fire_for_real() -> Result<()> {
    let scene = Scene::new("alerts")?;
    scene.source("CREATE TABLE orders (id INT PRIMARY KEY, state VARCHAR(20) NOT NULL)")?;
    scene.make_target()?;
    let (mut capture, apply) = (scene.capture()?, scene.apply()?);
    scene.source("INSERT INTO orders VALUES (1, 'new')")?;
    scene.wait_drained()?;
    for daemon in [&capture, &apply] {
        check_metrics(daemon)?;
    }

    let port = free_port()?;
    let prometheus = Prometheus::start(&scene.folder().join("prometheus"), &config(&scene)?, port)?;
    let fires = |alert: &str| {
        let is_firing = || Ok(prometheus.firing()?.iter().any(|firing| firing == alert));
        wait_until(&format!("{alert} fires"), LIMIT, is_firing).with_context(|| prometheus.log_text())
    };
    let first = prometheus.firing()?;
    ensure!(
        !first.iter().any(|alert| alert.ends_with("Lag") || alert.ends_with("Down")),
        "all is well, and {first:?} fire"
    );

    // A lock in the target stops apply without any error, while the business keeps writing.
    let lock = format!("BEGIN; LOCK TABLE {}.orders; SELECT pg_sleep(100); COMMIT", scene.database);
    std::thread::scope(|threads| -> Result<()> {
        let holder = threads.spawn(|| scene.target(&lock));
        let pid = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100)%' AND pid <> pg_backend_pid()
                   AND datname = current_database()";
        wait_until("the table is locked", LIMIT, || Ok(!scene.target_rows(pid)?.is_empty()))?;
        scene.source("INSERT INTO orders VALUES (2, 'new'), (3, 'new')")?;
        let fired = fires("TailraceApplyLag");
        let health = apply.health()?;
        scene.target_rows(&format!("SELECT pg_cancel_backend(pid) FROM ({pid}) AS holder"))?;
        // It was cancelled: its error is what we asked for.
        let _ = holder.join().ok().context("the thread that held the lock")?;
        ensure!(health.status == 200, "apply waits for a lock and knows of no error: {}", health.body);
        fired
    })?;
    scene.wait_drained()?;
    wait_until("the lag is over", LIMIT, || Ok(!prometheus.firing()?.iter().any(|alert| alert == "TailraceApplyLag")))?;

    capture.kill()?;
    fires("TailraceCaptureDown")?;
    let firing = prometheus.firing()?;
    ensure!(!firing.iter().any(|alert| alert == "TailraceApplyDown"), "apply is up: {firing:?}");
    drop((prometheus, apply));
    scene.finish()
}

/// Both forms of the metrics are what Prometheus's own reader takes without a complaint.
fn check_metrics(daemon: &Tailrace) -> Result<()> {
    let text = daemon.metrics_text()?;
    ensure!(text.contains("tailrace_capture_records_total "), "{text}");
    let said = promtool(&["check", "metrics"], &text)?;
    ensure!(said.trim().is_empty(), "promtool complains: {said}");
    Ok(())
}

/// The shipped rules, with waits that a test can afford.
fn config(scene: &Scene) -> Result<String> {
    let rules = fs::read_to_string(dist()?.join("alerts.yml"))?;
    let hasty =
        rules.replace("for: 1m", "for: 1s").replace("for: 2m", "for: 1s").replace("_seconds > 60", "_seconds > 3");
    ensure!(
        hasty.matches("for: 1s").count() == 4 && hasty.matches("_seconds > 3").count() == 2,
        "the rules are as known"
    );
    let file = scene.folder().join("hasty.yml");
    fs::write(&file, hasty).with_context(|| format!("writing {}", file.display()))?;
    let job = |name: &str, port: u16| {
        format!("  - job_name: tailrace-{name}\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n")
    };
    Ok(format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n{}{}",
        file.display(),
        job("capture", scene.capture_port),
        job("apply", scene.apply_port)
    ))
}

/// What is shipped beside the program.
pub(super) fn dist() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace's folder")?;
    Ok(workspace.join("dist"))
}
