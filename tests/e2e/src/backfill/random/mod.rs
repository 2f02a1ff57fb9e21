//! Random tables under random writers and a random operator: keys of all kinds in all collations; chunks of all sizes; copies that are
//! paused, given up, begun anew, repeated; processes that are killed. The target ends equal to the source.
//!
//! `E2E_SEED` repeats a run's dice, `E2E_COPIES` sets how many copies each test makes, each with a seed of its own (`cargo x chaos` does
//! both). A copy that fails says how it is repeated.

mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::Flavor;
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;

use self::shape::Table;
use super::control::{TOKEN, VARIABLE, ask, copies};
use super::{LIMIT, end};
use crate::harness::{Scene, Servers, TargetKind, seed, wait_until};

/// So many copies meet everything.
const MANY: u64 = 7;
/// Between the seeds of two copies of one test.
const STRIDE: u64 = 1_000_003;
const PAUSE: Duration = Duration::from_millis(2);
const POINTS: [&str; 3] = ["backfill.window_open", "backfill.chunk_read", "backfill.closing"];

#[test]
fn random_tables_are_copied_through_the_log() -> Result<()> {
    check("backfill_random_log", 3, |_| Ok((Servers::shared()?, TargetKind::Postgres, true)))
}

#[test]
fn random_tables_are_copied_without_a_log() -> Result<()> {
    check("backfill_random", 7, |dice| {
        let servers = if dice.once_in(2) { Servers::shared_mariadb()? } else { Servers::shared()? };
        Ok((servers, *dice.pick(&[TargetKind::Postgres, TargetKind::Sqlite]), false))
    })
}

/// Where a copy goes from and to, and whether through a log.
type Form = (Servers, TargetKind, bool);

fn check(name: &str, copies: u64, form: fn(&mut Dice) -> Result<Form>) -> Result<()> {
    let first = seed(name);
    let count = std::env::var("E2E_COPIES").ok().and_then(|text| text.parse().ok()).unwrap_or(copies);
    let mut all = BTreeMap::new();
    for number in 0..count {
        let seed = first.wrapping_add(number * STRIDE);
        let (mut dice, begun) = (Dice::new(seed), Instant::now());
        let (servers, target_kind, has_log) = form(&mut dice)?;
        let scene = Scene::on_to(target_kind, name, servers)?;
        let met =
            Copy { scene: &scene, has_log, dice, tables: Vec::new(), met: BTreeMap::new(), is_mortal: false }.play();
        let met = met.with_context(|| {
            format!("{name} with seed {seed}: cargo x chaos --rounds 1 --copies 1 --seed {seed} random_tables repeats its dice")
        })?;
        scene.finish()?;
        say(&format!("{name}: seed {seed} is equal after {:?}", begun.elapsed()));
        met.into_iter().for_each(|(what, count)| *all.entry(what).or_insert(0.0) += count);
    }
    say(&format!("{name}: {count} copies equal; {all:?}"));
    let must_be: &[&str] = match count {
        // What the dice do not bring to a few copies.
        ..MANY => &["rows equal", "rows copied"],
        _ => &["rows equal", "rows copied", "rows dropped", "killed", "obeyed"],
    };
    for what in must_be {
        ensure!(all.get(what) > Some(&0.0), "{what}: none");
    }
    Ok(())
}

/// One copy.
struct Copy<'a> {
    scene: &'a Scene,
    has_log: bool,
    dice: Dice,
    tables: Vec<Arc<Table>>,
    /// What happened, how often.
    met: BTreeMap<&'static str, f64>,
    /// The process that runs dies at a point, if it comes to it.
    is_mortal: bool,
}

impl Copy<'_> {
    fn play(mut self) -> Result<BTreeMap<&'static str, f64>> {
        let (scene, flavor) = (self.scene, self.scene.servers.mysql.flavor());
        self.make_tables(flavor)?;
        self.write_config()?;
        scene.make_target()?;
        let tables = self.tables.clone();
        let change = move |dice: &mut Dice| dice.pick(&tables).change(dice);
        let crowd = scene.open_crowd(2 + self.dice.below(3), PAUSE, self.dice.roll(), change)?;
        let mut process = self.start(false)?;
        for _ in 0..2 + self.dice.below(3) + u64::from(!self.has_log) {
            let until = crowd.done() + self.dice.below(80);
            wait_until("rows are changed", LIMIT, || Ok(crowd.done() >= until))?;
            process = self.disturb(process)?;
        }
        if self.is_mortal {
            process = self.revive(process, false)?;
        }
        self.finish(&mut process)?;
        let changes = crowd.close()?;
        scene.wait_drained()?;
        let rows = scene.ensure_equal()?;
        self.note_counts(&process)?;
        end(&mut process)?;
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        self.met.extend([("changes", changes as f64), ("rows equal", rows as f64)]);
        Ok(self.met)
    }

    fn make_tables(&mut self, flavor: Flavor) -> Result<()> {
        for number in 0..=self.dice.below(3) {
            let table = Table::new(number, flavor, &mut self.dice);
            self.scene.source(&format!("{}; {}", table.create(), table.history(&mut self.dice)))?;
            self.tables.push(table);
        }
        Ok(())
    }

    fn write_config(&mut self) -> Result<()> {
        let (scene, dice) = (self.scene, &mut self.dice);
        let text = if self.has_log { scene.config() } else { scene.embedded_config() };
        let text = text.replace("backfill = \"off\"\n", "on_ddl = \"evolve\"\n");
        let text = text.replace("[http]\n", &format!("[http]\ntoken = {{ env = \"{VARIABLE}\" }}\n"));
        let text = text.replace("partitions = 4", &format!("partitions = {}", dice.pick(&[1, 4, 8])));
        // A window waits for the log's commit, which takes its time.
        let rows = if self.has_log { [20, 40, 80, 160, 300] } else { [3, 10, 30, 100, 250] };
        let (readers, rows, rate) = (1 + dice.below(4), *dice.pick(&rows), 300 + dice.below(2_000));
        scene
            .write_config(&format!("{text}\n[backfill]\nreaders = {readers}\nchunk_rows = {rows}\nmax_rate = {rate}\n"))
    }

    /// Tells what follows, and whether it dies at a point.
    fn start(&mut self, is_mortal: bool) -> Result<Tailrace> {
        let mut launch = self.scene.launch(&["run"])?.variable(VARIABLE, TOKEN);
        if is_mortal {
            let fault = format!("{}:{}", self.dice.pick(&POINTS), 1 + self.dice.below(6));
            launch = launch.variable("TAILRACE_FAULT", &fault);
        }
        self.is_mortal = is_mortal;
        let mut process = launch.spawn()?;
        if !is_mortal {
            process.wait_ready(LIMIT)?;
        }
        Ok(process)
    }

    /// Ends it by SIGKILL, if it did not end so itself, and starts another.
    fn revive(&mut self, mut process: Tailrace, is_mortal: bool) -> Result<Tailrace> {
        if process.is_running() {
            self.note_counts(&process)?;
            process.kill()?;
            self.count("killed");
        } else {
            ensure!(self.is_mortal, "it ended by itself: {}", process.log_text());
            self.count("killed at a point");
        }
        self.start(is_mortal)
    }

    fn disturb(&mut self, mut process: Tailrace) -> Result<Tailrace> {
        if !process.is_running() {
            return self.revive(process, false);
        }
        match self.dice.below(10) {
            0..2 => return self.revive(process, false),
            2..4 => return self.revive(process, true),
            _ => {}
        }
        wait_until("copies are told of", LIMIT, || {
            Ok(!process.is_running() || copies(&process).is_ok_and(|copies| !copies.is_empty()))
        })?;
        let table = format!("{}.{}", self.scene.database, self.dice.pick(&self.tables).name);
        let rate = (100 + self.dice.below(5_000)).to_string();
        let words: &[&str] = match self.dice.below(8) {
            0 => &["pause"],
            1 => &["pause", "--table", &table],
            2 => &["resume"],
            3 => &["cancel", "--table", &table],
            4 => &["start", "--table", &table],
            5 => &["recopy", "--table", &table],
            6 => &["throttle", "--max-rate", &rate],
            _ => &["throttle", "--off"],
        };
        // Some make no sense as things are, and who is asked may die meanwhile.
        let finished = ask(self.scene, TOKEN, words)?;
        ensure!(self.is_mortal || process.is_running(), "it ended by itself: {}", process.log_text());
        self.count(if finished.code == Some(0) { "obeyed" } else { "refused" });
        Ok(process)
    }

    /// Lets all copies come to their end.
    fn finish(&mut self, process: &mut Tailrace) -> Result<()> {
        let scene = self.scene;
        let finished = ask(scene, TOKEN, &["throttle", "--max-rate", "100000000"])?;
        ensure!(finished.code == Some(0), "{finished:?}");
        wait_until("all tables are copied", LIMIT, || {
            ensure!(process.is_running(), "it ended by itself: {}", process.log_text());
            let copies = copies(process)?;
            for copy in &copies {
                let table = copy["table"].as_str().context("a table")?;
                match copy["state"].as_str() {
                    // One that was paused may come to its end meanwhile; what is refused is asked again, if it still waits.
                    Some("paused") => drop(ask(scene, TOKEN, &["resume", "--table", table])?),
                    Some("cancelled") => drop(ask(scene, TOKEN, &["start", "--table", table])?),
                    Some("failed" | "gap") => anyhow::bail!("{copy}"),
                    _ => {}
                }
            }
            Ok(copies.len() > self.tables.len() && copies.iter().all(|copy| copy["state"] == "done"))
        })
    }

    fn note_counts(&mut self, process: &Tailrace) -> Result<()> {
        // One that has only just begun has nothing to tell yet.
        let Ok(metrics) = process.metrics() else { return Ok(()) };
        for (what, metric) in [
            ("rows copied", "tailrace_backfill_rows_written_total"),
            ("rows dropped", "tailrace_backfill_rows_dropped_total"),
            ("windows voided", "tailrace_backfill_windows_voided_total"),
        ] {
            *self.met.entry(what).or_insert(0.0) += metrics.sum(metric).unwrap_or(0.0);
        }
        Ok(())
    }

    fn count(&mut self, what: &'static str) {
        *self.met.entry(what).or_insert(0.0) += 1.0;
    }
}
