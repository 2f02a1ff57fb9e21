//! E16: a log transaction is aborted while the process lives, and holds rows of windows that were closed in it. Those windows are void:
//! their chunks are read again, under writers that change the same keys.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::say;
use lab::writer::Dice;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

use super::long_copy::{Copy, TABLES, change};
use super::{LIMIT, end};
use crate::harness::wait_until;
use crate::harness::{Isolation, Scene};

const WRITERS: u64 = 3;
const PAUSE: Duration = Duration::from_millis(2);
/// So many chunks with rows are appended before the one that is torn.
const CHUNKS_BEFORE: u64 = 5;

#[test]
fn e16_windows_of_an_aborted_log_transaction_are_void() -> Result<()> {
    let copy = Copy::begin(Scene::new("backfill_aborted")?, true)?;
    let crowd = copy.scene.open_crowd(WRITERS, PAUSE, copy.seed, change)?;
    let aborted = abort_once(&copy)?;
    copy.speed_up()?;
    let mut capture = copy.scene.launch(&["capture"])?.spawn()?;
    let mut apply = copy.scene.launch(&["apply"])?.spawn()?;
    copy.finish(&mut [&mut capture, &mut apply], crowd)?;
    let again = copied(&copy.scene, Isolation::Committed)?;
    let kept = aborted.iter().filter(|(table, key, _)| again.iter().any(|(t, k, _)| (t, k) == (table, key))).count();
    say(&format!("{} rows of chunks were aborted, {kept} of their keys were copied later", aborted.len()));
    ensure!(kept > 0, "no row of an aborted chunk was copied later");
    for process in [&mut capture, &mut apply] {
        end(process)?;
    }
    copy.scene.finish()
}

/// A row that was copied: its table, its key, and where it lies.
type Copied = (&'static str, Vec<u8>, (i32, i64));

/// Holds capture up behind the rows of a chunk, whose transaction somebody aborts meanwhile. Returns its rows.
fn abort_once(copy: &Copy) -> Result<BTreeSet<Copied>> {
    let scene = &copy.scene;
    let gate = scene.folder().join("gate");
    fs::write(&gate, "")?;
    let fault = format!("capture.rows_appended:{}:{}", 1 + Dice::new(copy.seed).below(CHUNKS_BEFORE), gate.display());
    let mut capture = scene.launch(&["capture"])?.variable("TAILRACE_FAULT", &fault).spawn()?;
    wait_until("rows of a chunk are appended", LIMIT, || {
        ensure!(capture.is_running(), "it ended: {}", capture.log_text());
        Ok(capture.log_text().contains("held up for as long as"))
    })?;
    let counted = copy.chunks()?;
    let mut open = BTreeSet::new();
    wait_until("the broker has rows of the open transaction", LIMIT, || {
        // Else the one before is not quite committed yet.
        if !is_ongoing(scene)? {
            return Ok(false);
        }
        let committed = copied(scene, Isolation::Committed)?;
        open = &copied(scene, Isolation::Uncommitted)? - &committed;
        Ok(!open.is_empty())
    })?;
    abort(scene)?;
    fs::remove_file(&gate)?;
    wait_until("the windows are void", LIMIT, || {
        ensure!(capture.is_running(), "it ended: {}", capture.log_text());
        let Ok(metrics) = capture.metrics() else { return Ok(false) };
        Ok(metrics.labelled("tailrace_backfill_windows_voided_total", "reason=\"session_ended\"") > Some(0.0))
    })?;
    ensure!(capture.log_text().contains("nobody else owns the log"), "not for the abort: {}", capture.log_text());
    copy.wait_grown(&mut capture, counted.len())?;
    copy.ensure_under_way(&counted)?;
    ensure!(copied(scene, Isolation::Committed)?.is_disjoint(&open), "what was aborted is committed");
    end(&mut capture)?;
    Ok(open)
}

/// Rows of chunks in the topics of the tables; none of topics that are not there yet.
fn copied(scene: &Scene, isolation: Isolation) -> Result<BTreeSet<Copied>> {
    let topics = scene.all_topics()?;
    let mut rows = BTreeSet::new();
    for table in TABLES {
        let topic = scene.topic(table);
        if !topics.contains(&topic) {
            continue;
        }
        scene.read_topic_with(&topic, isolation, |record| {
            let text = record.value.map(String::from_utf8_lossy).unwrap_or_default();
            if text.contains("\"op\":\"r\"") {
                rows.insert((table, record.key.unwrap_or_default().to_vec(), (record.partition, record.offset)));
            }
            Ok(())
        })?;
    }
    Ok(rows)
}

/// Whether the broker has a transaction of capture's that nobody has ended.
fn is_ongoing(scene: &Scene) -> Result<bool> {
    let id = writer_id(scene);
    Ok(scene.servers.kafka.transactions()?.iter().any(|known| known.id == id && known.state == "Ongoing"))
}

fn writer_id(scene: &Scene) -> String {
    format!("{}.capture", scene.prefix)
}

/// Somebody takes capture's transactional id over, as the broker itself does when a transaction took too long: what is open is aborted.
fn abort(scene: &Scene) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", scene.servers.kafka.address()?);
    config.set("transactional.id", writer_id(scene));
    let producer: BaseProducer = config.create().context("making a producer")?;
    producer.init_transactions(Duration::from_secs(60)).context("taking the transactional id over")
}
