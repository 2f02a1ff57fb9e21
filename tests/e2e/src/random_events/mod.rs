//! Transactions of every kind at random, from several sessions that switch their settings, under SIGKILLs of all of Tailrace's
//! processes: XA in one phase and two, taken back, standing open over kills; savepoints and rollbacks; tables without transactions;
//! compressed and partial transactions in every combination; keys that change, cascades, LOAD DATA, procedures, triggers,
//! `CREATE TABLE … SELECT`. The oracle is the source: each row that it has, and no other.
//!
//! `E2E_SEED` repeats a run's dice, `E2E_TRANSACTIONS` sets how many transactions each test makes (`cargo x chaos` does both).
//! Each test says what happened, and fails if a kind of transaction or a kill did not.

mod workload;
mod writer;

use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::process::{Launch, Tailrace};
use lab::writer::Dice;
use lab::{Flavor, Mariadb, Mariadb11, Mysql, say};

use self::workload::Abilities;
use self::writer::{Board, Kind, Writer};
use crate::harness::{READY_LIMIT, Scene, Servers, TargetKind, seed, wait_until};

const WRITERS: u64 = 4;
/// How long a process may take to show that it works, and all writers to end.
const LIMIT: Duration = Duration::from_secs(120);

/// Nothing here kills the server: it need not make each commit durable.
const FAST: [&str; 5] = [
    "--sync-binlog=0",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-lock-wait-timeout=2",
    "--transaction-isolation=READ-COMMITTED",
    "--local-infile=ON",
];

/// How a test is made up.
struct Plan {
    /// Tailrace's processes, by command.
    commands: &'static [&'static str],
    transactions: u64,
    kills: u64,
}

/// With Kafka and PostgreSQL, by GTIDs.
#[test]
fn ten_thousand_random_transactions() -> Result<()> {
    let mysql = Mysql::fresh("e2e-random", &FAST)?;
    let scene = Scene::on("random", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    check(scene, &mysql, &Plan { commands: &["capture", "apply"], transactions: 10_000, kills: 8 })
}

/// In one process into a file, by file and offset: so transactions may mix tables with and without transactions.
#[test]
fn random_transactions_of_mysql_without_gtids_in_a_file() -> Result<()> {
    let options = [&FAST[..], &["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]].concat();
    let mysql = Mysql::fresh("e2e-random-files", &options)?;
    let scene =
        Scene::on_to(TargetKind::Sqlite, "random_file", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    check(scene, &mysql, &Plan { commands: &["run"], transactions: 2_500, kills: 4 })
}

#[test]
fn random_transactions_of_mariadb() -> Result<()> {
    let mysql = Mariadb::fresh("e2e-random", &packed())?;
    let scene = Scene::on("random_mariadb", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    check(scene, &mysql, &Plan { commands: &["capture", "apply"], transactions: 2_500, kills: 4 })
}

#[test]
fn random_transactions_of_mariadb_11_without_a_log() -> Result<()> {
    let mysql = Mariadb11::fresh("e2e-random", &packed())?;
    let scene = Scene::on("random_mariadb11", Servers { mysql: mysql.clone(), ..Servers::shared()? })?;
    check(scene, &mysql, &Plan { commands: &["run"], transactions: 2_500, kills: 4 })
}

/// MariaDB logs in compressed form what can be compressed.
fn packed() -> Vec<&'static str> {
    [&FAST[..], &["--log-bin-compress=ON", "--log-bin-compress-min-len=10", "--innodb-autoinc-lock-mode=2"]].concat()
}

fn check(scene: Scene, server: &Mysql, plan: &Plan) -> Result<()> {
    let seed = seed(&scene.database);
    let abilities = abilities(&scene)?;
    scene.source(&abilities.tables())?;
    scene.make_target()?;
    scene.source(&abilities.dropped())?;
    scene.source("CREATE DATABASE elsewhere; CREATE TABLE elsewhere.rows_of_others (v INT) ENGINE = MyISAM")?;
    if plan.commands == ["run"] {
        scene.write_config(&scene.embedded_config())?;
    }
    let mut processes = Processes::start(&scene, plan)?;
    let board = Arc::new(Board::default());
    let writers = begin(&scene, plan, seed, &abilities, &board)?;
    processes.kill_by_and_by(plan, seed, &board, || writers.iter().all(|writer| writer.is_finished()))?;
    for writer in writers {
        scene.run_here(async { writer.await.context("a writer panicked") })?;
    }
    processes.wait_ready()?;
    scene.wait_drained()?;
    let rows = scene.ensure_equal()?;
    processes.note_all()?;
    let numbers = check_numbers(&scene, plan)?;
    let (kinds, met) = (board.kinds(), &processes.met);
    let (transactions, locked) = (board.transactions.load(Ordering::SeqCst), board.locked.load(Ordering::SeqCst));
    let (kills, images) = (&processes.killed, &abilities.images);
    say(&format!(
        "{}: {transactions} transactions with {images:?} ({locked} given up for locks), {kills:?} kills of {:?}, {rows} rows equal, {numbers} records; \
         {kinds:?}; {met:?}",
        scene.database, plan.commands
    ));
    let missing: Vec<Kind> = kinds_of(&abilities).into_iter().filter(|kind| !kinds.contains_key(kind)).collect();
    ensure!(missing.is_empty(), "this never happened: {missing:?}");
    ensure!(transactions >= goal(plan) && kills.iter().all(|count| *count > 0), "too little happened");
    met.ensure_met(&abilities)?;
    drop(processes);
    scene.finish()?;
    server.remove()
}

fn goal(plan: &Plan) -> u64 {
    std::env::var("E2E_TRANSACTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(plan.transactions)
}

fn abilities(scene: &Scene) -> Result<Abilities> {
    let flavor = scene.servers.mysql.flavor();
    let mut images = vec!["FULL", "MINIMAL", "NOBLOB"];
    if scene.source("SET SESSION binlog_row_image = FULL_NODUP").is_ok() {
        images.push("FULL_NODUP");
    }
    let can_mix =
        flavor != Flavor::Mysql || scene.source_rows("SELECT @@GLOBAL.gtid_mode")?[0][0].as_deref() == Some("OFF");
    Ok(Abilities { flavor, database: scene.database.clone(), can_mix, images })
}

/// What must have happened.
fn kinds_of(abilities: &Abilities) -> Vec<Kind> {
    use Kind::*;
    let mut kinds = vec![
        Plain,
        Savepoint,
        RolledBack,
        WithoutTransactions,
        KeyChange,
        LoadData,
        Procedure,
        CreateSelect,
        OnePhase,
        TwoPhases,
        TwoPhasesRolledBack,
        PhasesOverKill,
        PartialImage,
        PhasesPartial,
    ];
    if abilities.can_mix {
        kinds.extend([Mixed, MixedRolledBack]);
    }
    if abilities.is_mysql() {
        kinds.extend([
            Foreign,
            Cascade,
            PartialJson,
            Compressed,
            CompressedPartial,
            PhasesCompressed,
            PhasesCompressedPartial,
        ]);
    }
    kinds
}

type Writing = tokio::task::JoinHandle<()>;

fn begin(scene: &Scene, plan: &Plan, seed: u64, abilities: &Abilities, board: &Arc<Board>) -> Result<Vec<Writing>> {
    let url = format!("{}/{}", scene.servers.mysql.admin_url()?, scene.database);
    let start = |number| {
        let (url, board, abilities) = (url.clone(), Arc::clone(board), abilities.clone());
        let (dice, goal) = (Dice::new(seed.wrapping_add(number)), goal(plan));
        scene.spawn(async move { Writer::new(url, (number, goal), dice, &abilities, &board).run().await })
    };
    Ok((0..WRITERS).map(start).collect())
}

/// What Tailrace's own metrics tell, over all lives.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    compressed: f64,
    two_phases: f64,
    taken_back: f64,
    foreign: f64,
    partial: f64,
}

impl AddAssign for Met {
    fn add_assign(&mut self, other: Met) {
        self.compressed += other.compressed;
        self.two_phases += other.two_phases;
        self.taken_back += other.taken_back;
        self.foreign += other.foreign;
        self.partial += other.partial;
    }
}

impl Met {
    fn of(process: &Tailrace) -> Result<Met> {
        let metrics = process.metrics()?;
        let sum = |name: &str| metrics.sum(name).unwrap_or(0.0);
        Ok(Met {
            compressed: sum("tailrace_capture_compressed_transactions_total"),
            two_phases: sum("tailrace_capture_two_phase_transactions_total"),
            taken_back: sum("tailrace_capture_taken_back_records_total"),
            foreign: sum("tailrace_capture_foreign_statements_total"),
            partial: sum("tailrace_apply_partial_total"),
        })
    }

    fn ensure_met(&self, abilities: &Abilities) -> Result<()> {
        ensure!(self.two_phases > 0.0 && self.partial > 0.0, "not met: {self:?}");
        ensure!(!abilities.is_mysql() || self.compressed > 0.0 && self.foreign > 0.0, "not met: {self:?}");
        ensure!(abilities.is_mysql() || self.taken_back > 0.0, "nothing taken back: {self:?}");
        Ok(())
    }
}

/// Tailrace's processes, and what became of them.
struct Processes {
    launches: Vec<Launch>,
    running: Vec<Tailrace>,
    killed: Vec<u64>,
    met: Met,
}

impl Processes {
    fn start(scene: &Scene, plan: &Plan) -> Result<Processes> {
        let launches: Vec<Launch> =
            plan.commands.iter().map(|command| scene.launch(&[command])).collect::<Result<_>>()?;
        let mut running = Vec::new();
        for launch in &launches {
            // Apply is ready once the log holds a record.
            scene.mark()?;
            let mut process = launch.spawn()?;
            process.wait_ready(READY_LIMIT)?;
            running.push(process);
        }
        Ok(Processes { killed: vec![0; launches.len()], launches, running, met: Met::default() })
    }

    /// Kills in turns, spread over the work, each when its victim has worked.
    fn kill_by_and_by(&mut self, plan: &Plan, seed: u64, board: &Board, has_ended: impl Fn() -> bool) -> Result<()> {
        let mut dice = Dice::new(seed.wrapping_add(WRITERS));
        let due = |number| goal(plan) * number / (plan.kills + 1);
        for number in 1..=plan.kills {
            board.gate.store(due(number + 1), Ordering::SeqCst);
            wait_until("the next kill is due", LIMIT, || {
                board.ensure_well()?;
                Ok(board.transactions.load(Ordering::SeqCst) >= due(number))
            })?;
            let victim = usize::try_from(number)? % self.launches.len();
            self.wait_worked(victim).with_context(|| format!("kill {number}"))?;
            lab::wait::until(Duration::from_millis(dice.below(200)), || !self.running[victim].is_running());
            self.kill(victim)?;
            board.kills.fetch_add(1, Ordering::SeqCst);
        }
        board.gate.store(u64::MAX, Ordering::SeqCst);
        wait_until("all writers have ended", LIMIT, || {
            board.ensure_well()?;
            self.ensure_running()?;
            Ok(has_ended())
        })
    }

    fn wait_worked(&mut self, which: usize) -> Result<()> {
        let metric = ["tailrace_capture_commits_total", "tailrace_apply_commits_total"];
        wait_until("the victim has worked", LIMIT, || {
            self.ensure_running()?;
            let metrics = self.running[which].metrics();
            Ok(metrics.is_ok_and(|metrics| metric.iter().any(|name| metrics.sum(name) > Some(0.0))))
        })
    }

    fn kill(&mut self, which: usize) -> Result<()> {
        self.note(which)?;
        self.running[which].kill()?;
        self.killed[which] += 1;
        self.running[which] = self.launches[which].spawn()?;
        Ok(())
    }

    fn note(&mut self, which: usize) -> Result<()> {
        self.met += Met::of(&self.running[which])?;
        Ok(())
    }

    fn note_all(&mut self) -> Result<()> {
        (0..self.running.len()).try_for_each(|which| self.note(which))
    }

    fn ensure_running(&mut self) -> Result<()> {
        for process in &mut self.running {
            ensure!(process.is_running(), "it ended by itself: {}", process.log_text());
        }
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<()> {
        self.running.iter_mut().try_for_each(|process| process.wait_ready(READY_LIMIT))
    }
}

/// No record of the log stands there twice, and each partition's are in the source's order. Returns how many there are.
fn check_numbers(scene: &Scene, plan: &Plan) -> Result<usize> {
    let mut seen = BTreeSet::new();
    if plan.commands == ["run"] {
        return Ok(0);
    }
    for table in scene.tables()? {
        scene.read_topic(&scene.topic(&table), |record| {
            // A tombstone goes with the delete before it.
            if let Some(sequence) = record.header("tailrace.sequence").filter(|_| record.value.is_some()) {
                let is_new = seen.insert((table.clone(), sequence.to_owned(), record.key.map(<[u8]>::to_vec)));
                ensure!(is_new, "{table}: {sequence} stands twice in the log");
            }
            Ok(())
        })?;
    }
    Ok(seen.len())
}
