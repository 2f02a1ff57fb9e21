//! Random statements that change tables between random changes of rows, with `on_ddl = "evolve"`, under kills: the target equals
//! the source in rows, and its tables are those that `tailrace schema` would make of the source's.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;
use mysql_async::prelude::Queryable;

use super::LIMIT;
use super::columns::{KINDS, Kind, Shape};
use super::end;
use crate::harness::{READY_LIMIT, Scene, Servers, TargetKind, seed, wait_until};

const TABLES: [&str; 2] = ["alpha", "beta"];
const WRITERS: u64 = 3;
/// Keys of the rows lie below it.
const KEYS: u64 = 400;
const PAUSE: Duration = Duration::from_millis(1);
/// Transactions of the writers between two statements.
const TRANSACTIONS_BETWEEN: u64 = 40;
/// How often each kind of statement is in the deck.
const ROUNDS: usize = 5;

/// Where a process dies, by its command; random moments beside them.
const LOG_DEATHS: &[(&str, Option<&str>)] = &[
    ("capture", None),
    ("apply", Some("postgres.barrier_acting")),
    ("capture", Some("capture.barrier_before")),
    ("apply", None),
    ("capture", Some("kafka.barrier_produced")),
    ("apply", Some("postgres.barrier_commit_sent")),
    ("capture", Some("kafka.barrier_committed")),
    ("apply", Some("postgres.barrier_committed")),
];
const POSTGRES_DEATHS: &[(&str, Option<&str>)] = &[
    ("run", Some("postgres.barrier_acting")),
    ("run", None),
    ("run", Some("postgres.barrier_commit_sent")),
    ("run", Some("postgres.barrier_committed")),
];
const FILE_DEATHS: &[(&str, Option<&str>)] = &[
    ("run", Some("sqlite.barrier_acting")),
    ("run", None),
    ("run", Some("sqlite.barrier_commit_sent")),
    ("run", Some("sqlite.barrier_committed")),
];

/// What a server says to a statement that was made for other columns, or that stands in another's way.
const PASSING: [u16; 13] = [1048, 1054, 1136, 1205, 1213, 1264, 1265, 1292, 1364, 1366, 1367, 1406, 1412];

#[test]
fn random_statements_are_followed_in_eight_partitions() -> Result<()> {
    let scene = Scene::new("ddl_random")?;
    let config = scene.config().replace("partitions = 4", "partitions = 8");
    ensure!(config.contains("partitions = 8"), "the records lie in eight partitions");
    check(&scene, &config, LOG_DEATHS)?;
    scene.finish()
}

#[test]
fn random_statements_are_followed_without_a_log() -> Result<()> {
    let scene = Scene::new("ddl_random_embedded")?;
    check(&scene, &scene.embedded_config(), POSTGRES_DEATHS)?;
    scene.finish()
}

#[test]
fn random_statements_of_mariadb_are_followed_in_a_file() -> Result<()> {
    let scene = Scene::on_to(TargetKind::Sqlite, "ddl_random_file", Servers::shared_mariadb()?)?;
    check(&scene, &scene.embedded_config(), FILE_DEATHS)?;
    scene.finish()
}

fn check(scene: &Scene, config: &str, deaths: &[(&'static str, Option<&str>)]) -> Result<()> {
    let seed = seed(&scene.database);
    let mut dice = Dice::new(seed);
    let config = format!("{config}on_ddl = \"evolve\"\n");
    scene.write_config(&config)?;
    let is_plastic = scene.target_kind == TargetKind::Postgres;
    let tables = TABLES.map(|table| Mutex::new(Shape::new(table, is_plastic)));
    tables.iter().try_for_each(|table| scene.source(&current(table).create()))?;
    scene.make_target()?;
    let commands: BTreeSet<&'static str> = deaths.iter().map(|(command, _)| *command).collect();
    let mut processes = BTreeMap::new();
    // The log's writer comes first.
    for command in commands.iter().rev() {
        processes.insert(*command, scene.launch(&[command])?.spawn()?);
        if *command != "apply" {
            scene.mark()?;
        }
    }
    for process in processes.values_mut().rev() {
        process.wait_ready(READY_LIMIT)?;
    }

    let writers = Writers::default();
    let url = format!("{}/{}", scene.servers.mysql.admin_url()?, scene.database);
    let mut changes = Changes { scene, tables: &tables, writers: &writers, processes, done: BTreeMap::new() };
    std::thread::scope(|threads| -> Result<()> {
        for number in 0..WRITERS {
            let (url, tables, writers) = (&url, &tables, &writers);
            threads.spawn(move || writers.write(url, tables, Dice::new(seed + 1 + number)));
        }
        let changed = changes.play(&mut dice, deaths);
        writers.is_over.store(true, Ordering::SeqCst);
        changed
    })?;
    writers.failure()?;
    let Changes { done, mut processes, .. } = changes;

    scene.wait_drained().with_context(|| waiting(scene))?;
    let rows = scene.ensure_equal()?;
    same_schema(scene, &config)?;
    let states = format!("SELECT state, count(*) FROM {} GROUP BY state", scene.own_table("barriers"));
    let states = scene.target_rows(&states)?;
    let barriers: u64 = done.iter().filter(|(kind, _)| **kind != Kind::Index).map(|(_, count)| count).sum();
    ensure!(states == [[Some("done".to_owned()), Some(barriers.to_string())]], "{states:?} of {barriers}");
    let (transactions, refused) = (writers.transactions(), writers.refused.load(Ordering::SeqCst));
    say(&format!("{}: {transactions} transactions, {refused} refused, {rows} rows equal; {done:?}", scene.database));
    for kind in KINDS.iter().filter(|kind| is_plastic || **kind != Kind::Loosen) {
        ensure!(done.contains_key(kind), "no statement was {kind:?}");
    }
    ensure!(refused > 0, "no writer met columns that it did not know");
    processes.values_mut().try_for_each(end)
}

fn current(table: &Mutex<Shape>) -> Shape {
    table.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What waits, if anything does.
fn waiting(scene: &Scene) -> String {
    let paused = format!("SELECT statement, reason FROM {} WHERE state <> 'done'", scene.own_table("barriers"));
    format!("{:?}", scene.target_rows(&paused))
}

/// The statements, and who dies at which.
struct Changes<'a> {
    scene: &'a Scene,
    tables: &'a [Mutex<Shape>; 2],
    writers: &'a Writers,
    processes: BTreeMap<&'static str, Tailrace>,
    done: BTreeMap<Kind, u64>,
}

impl Changes<'_> {
    fn play(&mut self, dice: &mut Dice, deaths: &[(&'static str, Option<&str>)]) -> Result<()> {
        let is_plastic = self.scene.target_kind == TargetKind::Postgres;
        let kinds = KINDS.iter().filter(|kind| is_plastic || **kind != Kind::Loosen);
        let mut deck: Vec<Kind> = kinds.flat_map(|kind| [*kind; ROUNDS]).collect();
        let mut deaths = deaths.iter();
        let each = deck.len() / (deaths.len() + 1);
        while !deck.is_empty() {
            let kind = deck.swap_remove(dice.index(deck.len()));
            self.wait_written()?;
            let is_deaths_turn = deck.len().is_multiple_of(each);
            let death = if is_deaths_turn { deaths.next() } else { None };
            match death {
                Some((command, Some(point))) => {
                    self.begin_life(command, Some(point))?;
                    self.change(kind, dice)?;
                    if kind == Kind::Index {
                        // That is no barrier.
                        self.change(Kind::Truncate, dice)?;
                    }
                    self.wait_death(command, point)?;
                    self.begin_life(command, None)?;
                }
                Some((command, None)) => {
                    self.change(kind, dice)?;
                    self.begin_life(command, None)?;
                }
                None => {
                    self.change(kind, dice)?;
                }
            }
        }
        ensure!(deaths.next().is_none(), "somebody did not die");
        self.wait_written()
    }

    /// Changes a table in that way, and before that in others, until it has a column for it.
    fn change(&mut self, kind: Kind, dice: &mut Dice) -> Result<()> {
        const TRIES_MAX: usize = 100;
        for _ in 0..TRIES_MAX {
            if self.try_to_change(kind, dice)? {
                return Ok(());
            }
            self.try_to_change(*dice.pick(&[Kind::Add, Kind::Add, Kind::Drop]), dice)?;
        }
        bail!("no table has a column for {kind:?}")
    }

    fn try_to_change(&mut self, kind: Kind, dice: &mut Dice) -> Result<bool> {
        let table = dice.pick(self.tables);
        let Some((statement, behind)) = current(table).change(kind, dice) else { return Ok(false) };
        self.scene.source(&statement)?;
        *table.lock().unwrap_or_else(PoisonError::into_inner) = behind;
        *self.done.entry(kind).or_default() += 1;
        Ok(true)
    }

    /// Ends the process by SIGKILL, if it did not end itself, and starts it again.
    fn begin_life(&mut self, command: &'static str, point: Option<&str>) -> Result<()> {
        let launch = self.scene.launch(&[command])?;
        let launch = match point {
            Some(point) => launch.variable("TAILRACE_FAULT", &format!("{point}:1")),
            None => launch,
        };
        let process = self.processes.get_mut(command).context("a process")?;
        if process.is_running() {
            process.kill()?;
        } else {
            let status = process.wait_exit(LIMIT)?;
            ensure!(status.signal() == Some(9), "{command} ended with {status}: {}", process.log_text());
        }
        *process = launch.spawn()?;
        Ok(())
    }

    fn wait_death(&mut self, command: &'static str, point: &str) -> Result<()> {
        let process = self.processes.get_mut(command).context("a process")?;
        let scene = self.scene;
        wait_until(&format!("{command} dies at {point}"), LIMIT, || Ok(!process.is_running()))
            .with_context(|| waiting(scene))
    }

    /// Waits until rows were changed since the last statement.
    fn wait_written(&mut self) -> Result<()> {
        let (before, writers, scene) = (self.writers.transactions(), self.writers, self.scene);
        wait_until("rows are changed", LIMIT, || {
            writers.failure()?;
            Ok(writers.transactions() >= before + TRANSACTIONS_BETWEEN)
        })?;
        for (command, process) in &mut self.processes {
            ensure!(process.is_running(), "{command} ended: {} {}", waiting(scene), process.log_text());
        }
        Ok(())
    }
}

/// Those who change rows meanwhile.
#[derive(Default)]
struct Writers {
    is_over: AtomicBool,
    transactions: AtomicU64,
    refused: AtomicU64,
    failed: Mutex<Option<String>>,
}

impl Writers {
    fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::SeqCst)
    }

    fn failure(&self) -> Result<()> {
        match &*self.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(failed) => bail!("a writer failed: {failed}"),
            None => Ok(()),
        }
    }

    fn write(&self, url: &str, tables: &[Mutex<Shape>; 2], mut dice: Dice) {
        if let Err(error) = self.try_to_write(url, tables, &mut dice) {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:#}"));
        }
    }

    fn try_to_write(&self, url: &str, tables: &[Mutex<Shape>; 2], dice: &mut Dice) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut connection = mysql_async::Conn::from_url(url).await?;
            while !self.is_over.load(Ordering::SeqCst) {
                match transact(&mut connection, tables, dice).await {
                    Ok(()) => self.transactions.fetch_add(1, Ordering::SeqCst),
                    Err(mysql_async::Error::Server(error)) if PASSING.contains(&error.code) => {
                        connection.query_drop("ROLLBACK").await?;
                        self.refused.fetch_add(1, Ordering::SeqCst)
                    }
                    Err(error) => return Err(error.into()),
                };
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        })
    }
}

/// One to four changes of random rows.
async fn transact(
    connection: &mut mysql_async::Conn,
    tables: &[Mutex<Shape>; 2],
    dice: &mut Dice,
) -> mysql_async::Result<()> {
    connection.query_drop("START TRANSACTION").await?;
    for _ in 0..=dice.below(4) {
        let statement = current(dice.pick(tables)).write(KEYS, dice);
        connection.query_drop(statement).await?;
    }
    connection.query_drop("COMMIT").await
}

/// What `tailrace schema` makes of the source is what there is, as the target prints it.
fn same_schema(scene: &Scene, config: &str) -> Result<()> {
    let (anew, query): (String, fn(&str) -> String) = match scene.target_kind {
        TargetKind::Postgres => (format!("{config}target = \"anew.*\"\n"), |schema| {
            format!(
                "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull::text \
                 FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                 WHERE c.relnamespace = '{schema}'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped \
                 ORDER BY 1, 2"
            )
        }),
        TargetKind::Sqlite => (config.replace("://target.db", "://anew.db"), |schema| {
            format!(
                "ATTACH '{schema}' AS anew; SELECT m.name, c.name, c.type, c.pk FROM anew.sqlite_master m \
                 JOIN pragma_table_info(m.name, 'anew') c WHERE m.name IN ('alpha', 'beta', 'e2e_markers') ORDER BY 1, 2"
            )
        }),
    };
    scene.write_config(&anew)?;
    let finished = scene.command(&["schema", "--apply"])?;
    ensure!(finished.code == Some(0), "tailrace schema --apply: {finished:?}");
    let file = |name| scene.folder().join(name).display().to_string();
    let [evolved, made] = match scene.target_kind {
        TargetKind::Postgres => [scene.database.clone(), "anew".to_owned()],
        TargetKind::Sqlite => [file("target.db"), file("anew.db")],
    };
    let (evolved, made) = (scene.target_rows(&query(&evolved))?, scene.target_rows(&query(&made))?);
    ensure!(made.len() > TABLES.len() * 2, "{made:?}");
    ensure!(evolved == made, "the tables are {evolved:#?} and would be {made:#?}");
    Ok(())
}
