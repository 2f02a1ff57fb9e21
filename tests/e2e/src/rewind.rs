//! Offsets and sequences in the target set back by hand to earlier points, some rows spoiled first: everything behind those
//! points is applied again, which is counted; what was spoiled there is healed; the target ends equal.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;

use crate::harness::{KEYS, LEDGER, Scene, Servers, seed, wait_until};

const SNAPSHOTS: u64 = 6;
const REWINDS: usize = 4;
const PAUSE: Duration = Duration::from_millis(1);
const WRITE_LIMIT: Duration = Duration::from_secs(60);
const EXIT_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn progress_set_back_by_hand_is_applied_again() -> Result<()> {
    check_rewinds(Scene::new("rewind")?)
}

#[test]
fn progress_of_mariadbs_changes_is_applied_again() -> Result<()> {
    check_rewinds(Scene::on("rewind_mariadb", Servers::shared_mariadb()?)?)
}

fn check_rewinds(scene: Scene) -> Result<()> {
    let seed = seed(&scene.database);
    let mut dice = Dice::new(seed);
    scene.make_ledger()?;
    scene.make_target()?;
    let (_capture, mut apply) = (scene.capture()?, scene.apply()?);
    let ledger = scene.open_ledger(PAUSE, seed)?;
    scene.wait_ledger_applied()?;
    scene.target("CREATE TABLE public.snapshots AS SELECT 0 AS number, * FROM tailrace.offsets WITH NO DATA")?;
    for number in 0..SNAPSHOTS {
        scene.target(&format!("INSERT INTO public.snapshots SELECT {number}, * FROM tailrace.offsets"))?;
        let before = ledger.transactions();
        wait_until("the writer writes", WRITE_LIMIT, || Ok(ledger.transactions() >= before + 300))?;
    }
    ledger.close()?;
    scene.wait_drained()?;
    scene.ensure_equal()?;

    for number in 0..REWINDS {
        end(&mut apply)?;
        rewind(&scene, &mut dice, number)?;
        let healed = spoil(&scene, &mut dice)?;
        ensure!(scene.ensure_equal().is_err(), "what was spoiled makes no difference");
        apply = scene.apply()?;
        scene.wait_drained()?;
        let reapplied = apply.metrics()?.sum("tailrace_apply_reapplied_total").unwrap_or(0.0);
        let rows = scene.ensure_equal()?;
        say(&format!("rewind {number}: {reapplied} records applied again, {healed} rows healed of {rows}"));
        ensure!(reapplied > 0.0, "nothing was counted as applied again");
    }
    end(&mut apply)?;
    scene.finish()
}

fn end(apply: &mut Tailrace) -> Result<()> {
    apply.terminate()?;
    let status = apply.wait_exit(EXIT_LIMIT)?;
    ensure!(status.code() == Some(0), "apply ended with {status}: {}", apply.log_text());
    Ok(())
}

/// Sets progress back: the first time of all partitions to nothing applied, then to one moment, then each partition to a
/// moment of its own.
fn rewind(scene: &Scene, dice: &mut Dice, number: usize) -> Result<()> {
    let partitions = scene.topic_ends(&scene.topic(LEDGER))?;
    let together = 1 + dice.below(SNAPSHOTS - 1);
    for (partition, _) in partitions {
        let moment = match number {
            0 => 0,
            1 => together,
            _ => dice.below(SNAPSHOTS),
        };
        scene.target(&format!(
            "UPDATE tailrace.offsets o SET next_offset = s.next_offset, sequence = s.sequence \
             FROM public.snapshots s WHERE s.number = {moment} AND o.\"table\" = '{LEDGER}' AND s.\"table\" = '{LEDGER}' \
             AND o.partition = {partition} AND s.partition = {partition}"
        ))?;
    }
    Ok(())
}

/// Changes, deletes and adds target rows whose keys will be applied again; returns how many.
fn spoil(scene: &Scene, dice: &mut Dice) -> Result<u64> {
    let keys: Vec<i64> = keys_to_come(scene)?.into_iter().collect();
    ensure!(keys.len() > 10, "only {} keys lie in the part that is applied again", keys.len());
    let mut spoiled = 0;
    for _ in 0..30 {
        let id = keys[dice.index(keys.len())];
        let sql = match dice.below(3) {
            0 => format!("UPDATE {LEDGER} SET version = -1, note = 'spoiled' WHERE id = {id}"),
            1 => format!("DELETE FROM {LEDGER} WHERE id = {id}"),
            _ => format!("INSERT INTO {LEDGER} VALUES ({id}, -2, 'spoiled') ON CONFLICT DO NOTHING"),
        };
        scene.target(&sql)?;
        spoiled += 1;
    }
    // So that something differs whatever the dice said.
    let id = keys[0];
    scene
        .target(&format!("DELETE FROM {LEDGER} WHERE id = {id}; INSERT INTO {LEDGER} VALUES ({id}, -3, 'spoiled')"))?;
    Ok(spoiled + 1)
}

/// Keys of the records behind the offsets in the target.
fn keys_to_come(scene: &Scene) -> Result<BTreeSet<i64>> {
    let query =
        format!("SELECT partition, coalesce(next_offset, 0) FROM tailrace.offsets WHERE \"table\" = '{LEDGER}'");
    let number = |cell: &Option<String>| cell.as_deref().and_then(|text| text.parse::<i64>().ok());
    let rows = scene.target_rows(&query)?;
    let offsets: Option<Vec<(i64, i64)>> = rows.iter().map(|row| Some((number(&row[0])?, number(&row[1])?))).collect();
    let offsets = offsets.context("offsets are numbers")?;
    let mut keys = BTreeSet::new();
    scene.read_topic(&scene.topic(LEDGER), |record| {
        let from = offsets.iter().find(|(partition, _)| *partition == i64::from(record.partition));
        if from.is_some_and(|(_, offset)| record.offset >= *offset) {
            let key: serde_json::Value = serde_json::from_slice(record.key.context("a key")?)?;
            keys.insert(key["id"].as_i64().context("a whole number as key")?);
        }
        Ok(())
    })?;
    let highest = i64::try_from(KEYS)?;
    ensure!(keys.iter().all(|key| (0..highest).contains(key)), "a key that nobody wrote");
    Ok(keys)
}
