//! F31: SIGKILL in the middle of a copy under live writers, half of them at named points. What the ledger counted stays counted, what it
//! did not count is read again, and nothing else. F33: a capture that was paused wakes up behind its successor, and writes nothing.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::writer::Dice;

use super::long_copy::{Copy, change};
use super::{LIMIT, end};
use crate::harness::{Scene, free_port};

const ROUNDS: usize = 15;
const WRITERS: u64 = 3;
const PAUSE: Duration = Duration::from_millis(2);
const FENCED: i32 = 6;

const COPY_POINTS: [&str; 3] = ["backfill.window_open", "backfill.chunk_read", "backfill.closing"];
const EMBEDDED_POINTS: [&str; 5] =
    [COPY_POINTS[0], COPY_POINTS[1], COPY_POINTS[2], "postgres.commit_sent", "postgres.committed"];
const CAPTURE_POINTS: [&str; 6] =
    [COPY_POINTS[0], COPY_POINTS[1], COPY_POINTS[2], "capture.chunk_appended", "kafka.produced", "kafka.committed"];
const APPLY_POINTS: [&str; 2] = ["postgres.commit_sent", "postgres.committed"];

#[test]
fn f31_kills_in_a_copy_without_a_log_lose_nothing() -> Result<()> {
    let copy = Copy::begin(Scene::new("backfill_kills_embedded")?, false)?;
    let crowd = copy.scene.open_crowd(WRITERS, PAUSE, copy.seed, change)?;
    let mut dice = Dice::new(copy.seed);
    let mut points = EMBEDDED_POINTS.iter().cycle();
    for round in 0..ROUNDS {
        let before = copy.chunks()?;
        if round % 2 == 0 {
            let point = points.next().context("they go round")?;
            copy.die_at("run", point, &mut dice)?;
        } else {
            let mut process = copy.scene.launch(&["run"])?.spawn()?;
            copy.wait_grown(&mut process, before.len())?;
            process.kill()?;
        }
        copy.ensure_under_way(&before).with_context(|| format!("round {round}"))?;
    }
    let mut process = copy.scene.launch(&["run"])?.spawn()?;
    copy.finish(&mut [&mut process], crowd)?;
    end(&mut process)?;
    copy.scene.finish()
}

#[test]
fn f31_f33_kills_in_a_copy_lose_nothing_and_the_fenced_writes_nothing() -> Result<()> {
    let copy = Copy::begin(Scene::new("backfill_kills")?, true)?;
    let crowd = copy.scene.open_crowd(WRITERS, PAUSE, copy.seed, change)?;
    let mut dice = Dice::new(copy.seed);
    let (mut capture_points, mut apply_points) = (CAPTURE_POINTS.iter().cycle(), APPLY_POINTS.iter().cycle());
    for round in 0..ROUNDS {
        let before = copy.chunks()?;
        match round % 4 {
            0 => copy.die_at("capture", capture_points.next().context("they go round")?, &mut dice)?,
            2 if round % 8 == 2 => {
                let mut capture = copy.scene.launch(&["capture"])?.spawn()?;
                copy.die_at("apply", apply_points.next().context("they go round")?, &mut dice)?;
                capture.kill()?;
            }
            2 => copy.die_at("capture", capture_points.next().context("they go round")?, &mut dice)?,
            _ => {
                let mut apply = copy.scene.launch(&["apply"])?.spawn()?;
                let mut capture = copy.scene.launch(&["capture"])?.spawn()?;
                copy.wait_grown(&mut capture, before.len())?;
                capture.kill()?;
                apply.kill()?;
            }
        }
        copy.ensure_under_way(&before).with_context(|| format!("round {round}"))?;
    }
    let mut capture = supersede(&copy)?;
    let mut apply = copy.scene.launch(&["apply"])?.spawn()?;
    copy.finish(&mut [&mut capture, &mut apply], crowd)?;
    for process in [&mut capture, &mut apply] {
        end(process)?;
    }
    copy.scene.finish()
}

/// A capture is stopped while it has windows open; another takes over, and the first wakes up.
fn supersede(copy: &Copy) -> Result<Tailrace> {
    let scene = &copy.scene;
    let before = copy.chunks()?;
    let mut first = scene.launch(&["capture"])?.spawn()?;
    copy.wait_grown(&mut first, before.len())?;
    signal(&first, "STOP")?;
    let port = free_port()?;
    let text = std::fs::read_to_string(scene.config_file())?;
    scene.write_config(&text.replace(&format!(":{}", scene.capture_port), &format!(":{port}")))?;
    let paused = copy.chunks()?;
    let mut second = scene.launch(&["capture"])?.http_port(port).spawn()?;
    copy.wait_grown(&mut second, paused.len())?;
    signal(&first, "CONT")?;
    let status = first.wait_exit(LIMIT)?;
    ensure!(status.code() == Some(FENCED), "the first ended with {status}: {}", first.log_text());
    copy.ensure_under_way(&paused)?;
    Ok(second)
}

fn signal(process: &Tailrace, name: &str) -> Result<()> {
    let status = Command::new("kill").args([format!("-{name}"), process.pid().to_string()]).status()?;
    ensure!(status.success(), "kill -{name}: {status}");
    Ok(())
}
