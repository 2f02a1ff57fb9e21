//! A second capture on the same topics, a second apply on the same partitions: the newcomer goes on, the first ends with the
//! exit code that must not be restarted, and nothing is lost or doubled.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::process::{Launch, Tailrace};
use lab::say;

use crate::harness::{READY_LIMIT, Scene, free_port, seed};

const FENCED: i32 = 6;
const PAUSE: Duration = Duration::from_millis(2);
const END_LIMIT: Duration = Duration::from_secs(60);

/// The newcomer is a replica with an id of its own.
#[test]
fn a_second_capture_fences_the_first() -> Result<()> {
    check("fenced_capture", "capture", |config| config.replace("server_id = ", "server_id = 9"))
}

/// The same configuration started twice, as it happens: MySQL too throws the first one out.
#[test]
fn a_second_capture_with_the_same_server_id_fences_the_first() -> Result<()> {
    check("fenced_twin", "capture", |config| config)
}

#[test]
fn a_second_apply_fences_the_first() -> Result<()> {
    check("fenced_apply", "apply", |config| config)
}

/// Nothing is written meanwhile: the first has nothing to commit and hears of the newcomer from MySQL alone.
#[test]
fn a_second_capture_fences_an_idle_first() -> Result<()> {
    let scene = Scene::new("fenced_idle")?;
    scene.make_ledger()?;
    scene.make_target()?;
    let mut first = scene.capture()?;
    let mut second = newcomer(&scene, "capture", |config| config)?.spawn()?;
    second.wait_ready(READY_LIMIT)?;
    let status = first.wait_exit(END_LIMIT)?;
    ensure!(status.code() == Some(FENCED), "the first ended with {status}: {}", first.log_text());
    ensure!(second.is_running(), "the newcomer ended: {}", second.log_text());
    end(&mut second)?;
    scene.finish()
}

fn check(name: &str, who: &str, newcomers_config: impl FnOnce(String) -> String) -> Result<()> {
    let seed = seed(name);
    let scene = Scene::new(name)?;
    scene.make_ledger()?;
    scene.make_target()?;
    let start = scene.history_start()?;
    let (capture, apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed)?;
    scene.wait_ledger_applied()?;
    let (mut first, other) = if who == "capture" { (capture, apply) } else { (apply, capture) };

    let mut second = newcomer(&scene, who, newcomers_config)?.spawn()?;
    second.wait_ready(READY_LIMIT)?;
    let status = first.wait_exit(END_LIMIT)?;
    ensure!(status.code() == Some(FENCED), "the first ended with {status}: {}", first.log_text());
    let transactions = ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let judged = scene.judge_history(&start)?;
    for mut process in [second, other] {
        ensure!(process.is_running(), "the newcomer or its partner ended: {}", process.log_text());
        end(&mut process)?;
    }
    say(&format!("{name}: {transactions} transactions, {rows} rows, {judged:?}"));
    scene.finish()
}

fn end(process: &mut Tailrace) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(Duration::from_secs(10))?;
    ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    Ok(())
}

/// The same command with ports of its own.
fn newcomer(scene: &Scene, who: &str, change: impl FnOnce(String) -> String) -> Result<Launch> {
    let (capture, apply) = (free_port()?, free_port()?);
    let config = scene
        .config()
        .replace(&format!("127.0.0.1:{}", scene.capture_port), &format!("127.0.0.1:{capture}"))
        .replace(&format!("127.0.0.1:{}", scene.apply_port), &format!("127.0.0.1:{apply}"));
    // The first one has read its own long ago.
    scene.write_config(&change(config))?;
    Ok(scene.launch(&[who])?.http_port(if who == "capture" { capture } else { apply }))
}
