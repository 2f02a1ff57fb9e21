//! SIGTERM under load: the batch is finished, everything is saved, exit code 0 within ten seconds, and a restart goes on
//! where it was. A second signal ends the process at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::proxy::Proxy;
use lab::say;

use crate::harness::{Addresses, READY_LIMIT, Scene, seed, wait_until};

const RATE: u32 = 400;
const END_LIMIT: Duration = Duration::from_secs(10);
const ENDED_BY_SECOND_SIGNAL: i32 = 130;

#[test]
fn sigterm_saves_and_a_restart_goes_on() -> Result<()> {
    let seed = seed("signals");
    let scene = Scene::new("signals")?;
    scene.make_shop()?;
    scene.make_target()?;
    let start = scene.history_start()?;
    let (mut capture, mut apply) = (scene.capture()?, scene.apply()?);
    let mut shop = scene.open_shop(RATE, seed)?;
    for _ in 0..3 {
        let before = shop.transactions()?;
        wait_until("the writer writes", READY_LIMIT, || Ok(shop.transactions()? > before + 300))?;
        let ended = [("capture", end(&mut capture)?), ("apply", end(&mut apply)?)];
        say(&format!("signals: ended in {ended:?}"));
        (capture, apply) = (scene.capture()?, scene.apply()?);
    }
    shop.close()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    scene.judge_history(&start)?;
    scene.finish()
}

#[test]
fn sigterm_ends_both_halves_of_run() -> Result<()> {
    let seed = seed("signals_run");
    let scene = Scene::new("signals_run")?;
    scene.make_shop()?;
    scene.make_target()?;
    let start = scene.history_start()?;
    let mut both = scene.run()?;
    let mut shop = scene.open_shop(RATE, seed)?;
    wait_until("the writer writes", READY_LIMIT, || Ok(shop.transactions()? > 500))?;
    end(&mut both)?;
    let _both = scene.run()?;
    shop.close()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    scene.judge_history(&start)?;
    scene.finish()
}

/// SIGTERM; how long the end took.
fn end(process: &mut Tailrace) -> Result<Duration> {
    let begin = Instant::now();
    process.terminate()?;
    let status = process.wait_exit(END_LIMIT)?;
    let log = process.log_text();
    ensure!(status.code() == Some(0) && !log.contains("not stopped in time"), "ended with {status}: {log}");
    Ok(begin.elapsed())
}

/// A target that swallows the answer to a commit keeps apply from ending in order.
#[test]
fn a_second_sigterm_ends_at_once() -> Result<()> {
    let scene = Scene::new("signals_second")?;
    scene.make_ledger()?;
    scene.make_target()?;
    let proxy = Proxy::start(scene.servers.postgres.port()?)?;
    let through = Addresses { postgres: format!("127.0.0.1:{}", proxy.port()), ..scene.addresses() };
    scene.write_config(&scene.config_for(&through))?;
    let (_capture, mut apply) = (scene.capture()?, scene.apply()?);
    scene.source("INSERT INTO ledger VALUES (1, 1, 'first')")?;
    scene.wait_drained()?;
    proxy.stall_both();
    scene.source("UPDATE ledger SET note = 'held up'")?;
    wait_until("apply works on the row", READY_LIMIT, || {
        Ok(apply.metrics()?.sum("tailrace_apply_in_flight_records") > Some(0.0))
    })?;
    apply.terminate()?;
    // The first signal is heard before the second is sent: two at once could be one.
    wait_until("apply hears the first signal", READY_LIMIT, || Ok(is_stopping(&apply)))?;
    ensure!(apply.is_running(), "the first signal ended a process that can't save: {}", apply.log_text());
    let begin = Instant::now();
    apply.terminate().context("the second signal")?;
    let status = apply.wait_exit(Duration::from_secs(2))?;
    ensure!(status.code() == Some(ENDED_BY_SECOND_SIGNAL), "ended with {status}: {}", apply.log_text());
    say(&format!("signals_second: ended in {:?}", begin.elapsed()));

    proxy.reset();
    proxy.pass();
    let _apply = scene.apply()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;
    scene.finish()
}

/// Whether its log tells of the signal.
fn is_stopping(apply: &Tailrace) -> bool {
    apply.log_text().to_lowercase().contains("sigterm")
}
