//! E15: what apply drops as delivered twice was delivered twice. Records of the log are written into it once more, and capture meanwhile
//! does all that could shift its counting: it dies around its commits, also with rows of a copy in them, gets another list of tables, and
//! is reset to an earlier place, from where the same changes come under new numbers, above the old ones. Exactly the doubled records are dropped.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use super::{LIMIT, documents, end, fill};
use crate::harness::{Crowd, KEYS, LEDGER, Scene, seed, wait_until};

const WRITERS: u64 = 3;
const PAUSE: Duration = Duration::from_millis(10);
const NOISE_ROWS: u32 = 4_000;
/// Transactions of the writers between two steps.
const STEP: u64 = 60;
/// Records that are written once more, of either end of the topic.
const DOUBLED: usize = 60;
const KILLS: [&str; 3] = ["kafka.produced", "kafka.commit_sent", "kafka.committed"];
const KILLS_IN_COPY: [&str; 3] = ["capture.rows_appended", "kafka.commit_sent", "kafka.produced"];

#[test]
fn e15_what_is_dropped_was_delivered_twice() -> Result<()> {
    let scene = Scene::new("duplicates")?;
    let seed = seed(&scene.database);
    scene.make_ledger()?;
    scene.source("CREATE TABLE noise (id INT AUTO_INCREMENT PRIMARY KEY, n INT NOT NULL)")?;
    fill(&scene, NOISE_ROWS, "noise (id, n)", "i, 0")?;
    scene.write_config(&config(&scene, true, "now")?)?;
    scene.make_target()?;
    scene.write_config(&config(&scene, false, "now")?)?;
    let mut capture = scene.capture()?;
    scene.write_config(&config(&scene, true, "now")?)?;
    let mut apply = scene.apply()?;
    let crowd = scene.open_crowd(WRITERS, PAUSE, seed, change)?;
    wait_written(&crowd)?;
    let earlier = end_and_tell_position(&scene, &mut capture)?;

    // Torn commits, first without the other table, then with it and with rows of its copy.
    scene.write_config(&config(&scene, false, "now")?)?;
    KILLS.iter().try_for_each(|point| die_at(&scene, &crowd, point))?;
    let mut doubled = double(&scene)?;
    scene.write_config(&config(&scene, true, "now")?)?;
    KILLS_IN_COPY.iter().try_for_each(|point| die_at(&scene, &crowd, point))?;
    capture = scene.capture()?;
    wait_until("the other table is copied", LIMIT, || {
        ensure!(capture.is_running(), "it ended: {}", capture.log_text());
        Ok(documents(&scene, true)?.iter().any(|copy| copy["state"] == "done" && copy.to_string().contains("noise")))
    })?;
    doubled += double(&scene)?;
    end(&mut capture)?;

    let before = epochs(&scene)?;
    scene.write_config(&config(&scene, true, &earlier)?)?;
    reset_capture(&scene)?;
    KILLS[1..].iter().try_for_each(|point| die_at(&scene, &crowd, point))?;
    capture = scene.capture()?;
    wait_written(&crowd)?;
    ensure!(epochs(&scene)? > before, "the numbers were not begun anew");
    doubled += double(&scene)?;
    wait_written(&crowd)?;
    let changes = crowd.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    let metrics = apply.metrics()?;
    let dropped = metrics.sum("tailrace_apply_duplicates_total").unwrap_or_default();
    let records = metrics.sum("tailrace_apply_records_total").unwrap_or_default();
    say(&format!(
        "{changes} changes, {rows} rows equal; {dropped} of {records} records dropped, {doubled} were doubled"
    ));
    ensure!(
        doubled > DOUBLED as u64 * 3 && dropped.to_string() == doubled.to_string(),
        "{dropped} dropped of {doubled}"
    );
    for process in [&mut capture, &mut apply] {
        end(process)?;
    }
    scene.finish()
}

/// With the other table, which is copied, or without it.
fn config(scene: &Scene, has_noise: bool, start: &str) -> Result<String> {
    let (database, text) = (&scene.database, scene.config().replace("\"now\"", &format!("\"{start}\"")));
    let (head, _) = text.split_once("[[table]]").context("tables in the configuration")?;
    let table = |name: &str, rest: &str| format!("[[table]]\nsource = \"{database}.{name}\"\n{rest}");
    let noise = if has_noise { table("noise", "") } else { String::new() };
    let off = "backfill = \"off\"\n";
    let copies = "[backfill]\nreaders = 1\nchunk_rows = 200\n";
    Ok(format!("{head}{}{}{noise}{copies}", table(LEDGER, off), table(Scene::MARKERS, off)))
}

/// Both tables in one transaction.
fn change(dice: &mut Dice) -> String {
    let (id, other, row) = (dice.below(KEYS), dice.below(KEYS), 1 + dice.below(u64::from(NOISE_ROWS)));
    let noise = match dice.below(3) {
        0 => "INSERT INTO noise (n) VALUES (-1), (-2)".to_owned(),
        1 => format!("DELETE FROM noise WHERE id = {row}"),
        _ => format!("UPDATE noise SET n = n + 1 WHERE id BETWEEN {row} AND {row} + 5"),
    };
    format!(
        "START TRANSACTION; {noise};
         INSERT INTO {LEDGER} VALUES ({id}, 1, 'note {row}') ON DUPLICATE KEY UPDATE version = version + 1;
         DELETE FROM {LEDGER} WHERE id = {other}; COMMIT"
    )
}

fn wait_written(crowd: &Crowd<'_>) -> Result<()> {
    let goal = crowd.done() + STEP;
    wait_until("the writers write", LIMIT, || Ok(crowd.done() > goal))
}

/// A life of capture that ends at the point.
fn die_at(scene: &Scene, crowd: &Crowd<'_>, point: &str) -> Result<()> {
    let mut process = scene.launch(&["capture"])?.variable("TAILRACE_FAULT", &format!("{point}:4")).spawn()?;
    wait_written(crowd)?;
    let status = process.wait_exit(LIMIT).with_context(|| format!("{point} is reached"))?;
    ensure!(status.signal() == Some(9), "{point}: ended with {status}: {}", process.log_text());
    Ok(())
}

/// The GTIDs up to which it has captured.
fn end_and_tell_position(scene: &Scene, capture: &mut Tailrace) -> Result<String> {
    end(capture)?;
    let status = scene.command(&["status", "--format", "json"])?;
    let status: Value = serde_json::from_str(&status.stdout).with_context(|| format!("no JSON: {status:?}"))?;
    let text = status["position"]["committed"].as_str().context("a position")?;
    let set = text.strip_prefix("gtid:").with_context(|| format!("{text} has no GTIDs"))?;
    Ok(set.split('@').next().unwrap_or_default().to_owned())
}

/// Killed at a moment when the outcome is unknown, and then to its end.
fn reset_capture(scene: &Scene) -> Result<()> {
    let launch = scene.launch(&["reset", "capture", "--confirm", &scene.prefix])?;
    let killed = launch.clone().variable("TAILRACE_FAULT", "kafka.commit_sent:1").run(LIMIT)?;
    ensure!(killed.code.is_none(), "not killed: {killed:?}");
    let done = launch.run(LIMIT)?;
    ensure!(done.code == Some(0), "{done:?}");
    Ok(())
}

/// The epochs of the records in the ledger's topic.
fn epochs(scene: &Scene) -> Result<usize> {
    let mut epochs = BTreeSet::new();
    scene.read_topic(&scene.topic(LEDGER), |record| {
        // A tombstone has none.
        let sequence = record.header("tailrace.sequence").and_then(|sequence| sequence.split('-').next());
        epochs.extend(sequence.map(str::to_owned));
        Ok(())
    })?;
    Ok(epochs.len())
}

/// Writes the first and the last changes of the present epoch in the ledger's topic once more, each into its partition; returns how many.
fn double(scene: &Scene) -> Result<u64> {
    let topic = scene.topic(LEDGER);
    let mut records = Vec::new();
    scene.read_topic(&topic, |record| {
        let (Some(key), Some(value)) = (record.key, record.value) else { return Ok(()) };
        let headers = ["tailrace.sequence", "tailrace.schema"]
            .map(|name| (name, record.header(name).unwrap_or_default().to_owned()));
        records.push((record.partition, key.to_vec(), value.to_vec(), headers));
        Ok(())
    })?;
    // Of an epoch that ended nothing can come again, and a record that does stops its table.
    let epoch = |sequence: &str| sequence.split('-').next().and_then(|epoch| epoch.parse::<u64>().ok());
    let last = records.iter().map(|(.., headers)| epoch(&headers[0].1)).max();
    records.retain(|(.., headers)| Some(epoch(&headers[0].1)) == last);
    ensure!(records.len() > 2 * DOUBLED, "only {} records", records.len());
    records.drain(DOUBLED..records.len() - DOUBLED);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", scene.servers.kafka.address()?).set("acks", "all");
    let producer: BaseProducer = config.create().context("making a producer")?;
    for (partition, key, value, headers) in &records {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value.as_bytes()) })
        });
        let record = BaseRecord::to(&topic).key(key).payload(value).headers(headers).partition(*partition);
        producer.send(record).map_err(|(error, _)| error).with_context(|| format!("writing to {topic}"))?;
    }
    producer.flush(LIMIT).with_context(|| format!("writing to {topic}"))?;
    Ok(records.len() as u64)
}
