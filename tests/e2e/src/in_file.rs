//! A file of SQLite as the target of the embedded form: a process that dies at its commits and at random moments, and a
//! checkpoint set back by hand, lose and double nothing.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;

use crate::harness::{LEDGER, Ledger, READY_LIMIT, Scene, TargetKind, Texts, seed, wait_until};

const ROUNDS: u64 = 9;
const POINTS: [&str; 2] = ["sqlite.commit_sent", "sqlite.committed"];
const SPOILED: usize = 20;
const PAUSE: Duration = Duration::from_millis(1);
const LIMIT: Duration = Duration::from_secs(60);

/// What the target held at one moment, while nobody wrote it.
struct Moment {
    checkpoint: String,
    rows: BTreeMap<String, Texts>,
}

#[test]
fn kills_and_rewinds_lose_nothing_in_a_file() -> Result<()> {
    let seed = seed("in_file");
    let mut dice = Dice::new(seed);
    let scene = Scene::to(TargetKind::Sqlite, "in_file")?;
    scene.make_ledger()?;
    scene.make_target()?;
    drop(scene.run_embedded()?);
    let ledger = scene.open_ledger(PAUSE, seed)?;
    let mut moments = Vec::new();
    for round in 0..ROUNDS {
        die(&scene, &ledger, round, &mut dice).with_context(|| format!("round {round}"))?;
        moments.push(read_moment(&scene)?);
    }
    let mut process = scene.run_embedded()?;
    let transactions = ledger.transactions();
    ledger.close()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    say(&format!("in_file: {ROUNDS} kills, {transactions} transactions, {rows} rows equal"));
    for number in [0, moments.len() / 2] {
        end(&mut process)?;
        spoil(&scene, &moments[number], &mut dice)?;
        ensure!(scene.ensure_equal().is_err(), "what was spoiled makes no difference");
        process = scene.run_embedded()?;
        scene.wait_drained()?;
        scene.ensure_equal().with_context(|| format!("set back to moment {number}"))?;
    }
    end(&mut process)?;
    ensure!(scene.target_rows("PRAGMA integrity_check")? == [[Some("ok".to_owned())]], "the file is damaged");
    scene.finish()
}

/// One life: it ends at a point, or at a random moment after work was done.
fn die(scene: &Scene, ledger: &Ledger<'_>, round: u64, dice: &mut Dice) -> Result<()> {
    let launch = scene.launch(&["run"])?;
    let point = usize::try_from(round % 3).ok().and_then(|number| POINTS.get(number));
    let Some(point) = point else {
        let mut process = launch.spawn()?;
        process.wait_ready(READY_LIMIT)?;
        let commits = "tailrace_apply_commits_total";
        wait_until("it has worked", LIMIT, || {
            Ok(process.metrics().is_ok_and(|metrics| metrics.sum(commits) > Some(0.0)))
        })?;
        let wanted = ledger.transactions() + dice.below(100);
        wait_until("the writer writes", LIMIT, || Ok(ledger.transactions() >= wanted))?;
        return process.kill();
    };
    let mut process = launch.variable("TAILRACE_FAULT", &format!("{point}:{}", 1 + dice.below(12))).spawn()?;
    let status = process.wait_exit(LIMIT)?;
    ensure!(status.signal() == Some(9), "ended with {status}, not at {point}: {}", process.log_text());
    Ok(())
}

fn read_moment(scene: &Scene) -> Result<Moment> {
    let streams = scene.target_rows("SELECT checkpoint FROM tailrace_streams")?.concat();
    let checkpoint = streams.into_iter().next().flatten().context("a checkpoint was saved")?;
    Ok(Moment { checkpoint, rows: read_ledger(scene)? })
}

fn read_ledger(scene: &Scene) -> Result<BTreeMap<String, Texts>> {
    let rows = scene.target_rows(&format!("SELECT id, version, note FROM {LEDGER}"))?;
    rows.into_iter().map(|row| Ok((row[0].clone().context("a key is never NULL")?, row))).collect()
}

/// Sets the checkpoint back, and spoils rows that surely changed after its moment: those that differ between it and now.
fn spoil(scene: &Scene, moment: &Moment, dice: &mut Dice) -> Result<()> {
    let now = read_ledger(scene)?;
    let keys = now.keys().chain(moment.rows.keys().filter(|id| !now.contains_key(*id)));
    let mut changed: Vec<&String> = keys.filter(|id| now.get(*id) != moment.rows.get(*id)).collect();
    ensure!(changed.len() > SPOILED, "only {} rows changed", changed.len());
    for count in 0..SPOILED {
        let id = changed.swap_remove(dice.index(changed.len()));
        scene.target(&match count % 3 {
            0 => format!("INSERT OR REPLACE INTO {LEDGER} VALUES ({id}, -3, 'spoiled')"),
            1 => format!("UPDATE {LEDGER} SET version = -1, note = 'spoiled' WHERE id = {id}"),
            _ => format!("DELETE FROM {LEDGER} WHERE id = {id}"),
        })?;
    }
    let checkpoint = moment.checkpoint.replace('\'', "''");
    scene.target(&format!("UPDATE tailrace_streams SET checkpoint = '{checkpoint}'"))
}

fn end(process: &mut Tailrace) -> Result<()> {
    process.terminate()?;
    let status = process.wait_exit(LIMIT).context("after SIGTERM")?;
    ensure!(status.code() == Some(0), "ended with {status}: {}", process.log_text());
    Ok(())
}
