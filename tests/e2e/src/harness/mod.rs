//! What every end-to-end test begins with: a [`Scene`] that belongs to it alone.
//!
//! A scene has one database of the same name on MySQL and on PostgreSQL (or a file of SQLite), a prefix for topics, free ports, a folder for
//! configuration and logs (below the target folder; it stays for a look after a failure), and runs the real binary there.
//! All of it is blocking: tests are plain functions that return `Result`. Nothing here judges; a test does.

mod arrival;
mod config;
mod crowd;
mod ledger;
mod live;
mod memory;
mod replica;
mod sql;
mod topics;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::process::{Finished, Launch, Tailrace};
use lab::{Kafka, Mariadb, Mariadb11, Mysql, Postgres, TAILRACE_PASSWORD};
use sqlx::{Connection as _, SqliteConnection};
use tokio::task::JoinHandle;

pub(crate) use config::Addresses;
pub(crate) use crowd::Crowd;
pub(crate) use ledger::{KEYS, LEDGER, Ledger};
pub(crate) use memory::{Sampler, Samples};
pub(crate) use replica::Replica;
pub(crate) use sql::Texts;
pub(crate) use topics::{Isolation, Record};

/// How long a process may take until its health says 200.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long what was written may take to arrive once nobody writes any more.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(120);
/// Environment variable of the scene's configuration that holds MySQL's password.
pub(crate) const MYSQL_PASSWORD: &str = "E2E_MYSQL_PASSWORD";
/// Environment variable of the scene's configuration that holds PostgreSQL's password.
pub(crate) const POSTGRES_PASSWORD: &str = "E2E_POSTGRES_PASSWORD";
/// Partitions of each topic.
pub(crate) const PARTITIONS: u32 = 4;

/// Tests that must not be disturbed take it for writing, the others for reading.
static QUIET: RwLock<()> = RwLock::new(());

/// The servers of one test.
pub(crate) struct Servers {
    /// MySQL or MariaDB.
    pub(crate) mysql: Mysql,
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
}

impl Servers {
    /// The servers that tests share. Nobody restarts or reconfigures them.
    pub(crate) fn shared() -> Result<Servers> {
        Ok(Servers { mysql: Mysql::up("main")?, kafka: Kafka::up("main")?, postgres: Postgres::up("main")? })
    }

    /// The same with MariaDB as the source.
    pub(crate) fn shared_mariadb() -> Result<Servers> {
        Ok(Servers { mysql: Mariadb::up("main")?, ..Servers::shared()? })
    }

    /// The same with MariaDB 11.
    pub(crate) fn shared_mariadb11() -> Result<Servers> {
        Ok(Servers { mysql: Mariadb11::up("main")?, ..Servers::shared()? })
    }
}

/// What a scene's target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    /// A database of PostgreSQL, with a schema of the same name.
    Postgres,
    /// A file of SQLite in the scene's folder.
    Sqlite,
}

/// Everything that one test has for itself.
pub(crate) struct Scene {
    pub(crate) servers: Servers,
    pub(crate) target_kind: TargetKind,
    /// Name of the test's database on MySQL and on PostgreSQL, and of its schema there.
    pub(crate) database: String,
    /// First part of the names of its topics.
    pub(crate) prefix: String,
    /// Of capture and of `tailrace run`.
    pub(crate) capture_port: u16,
    /// Of apply.
    pub(crate) apply_port: u16,
    folder: PathBuf,
    server_id: u32,
    sql: sql::Sql,
    _name: File,
    _quiet: Quiet,
}

#[expect(dead_code, reason = "held for its drop")]
enum Quiet {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Scene {
    /// A scene on the shared servers. `name` is the test's: small letters, digits and `_`.
    pub(crate) fn new(name: &str) -> Result<Scene> {
        Scene::to(TargetKind::Postgres, name)
    }

    /// The same with a target of that kind.
    pub(crate) fn to(target_kind: TargetKind, name: &str) -> Result<Scene> {
        Scene::on_to(target_kind, name, Servers::shared()?)
    }

    /// A scene on servers of the test's own, for a test that needs both processors: no other test of this binary runs
    /// meanwhile.
    pub(crate) fn alone_on(name: &str, servers: Servers) -> Result<Scene> {
        let quiet = Quiet::Alone(QUIET.write().unwrap_or_else(PoisonError::into_inner));
        Scene::begin(name, servers, quiet, TargetKind::Postgres)
    }

    /// A scene on servers of the test's own, where some may be killed.
    pub(crate) fn on(name: &str, servers: Servers) -> Result<Scene> {
        Scene::on_to(TargetKind::Postgres, name, servers)
    }

    /// The same with a target of that kind.
    pub(crate) fn on_to(target_kind: TargetKind, name: &str, servers: Servers) -> Result<Scene> {
        let quiet = Quiet::Shared(QUIET.read().unwrap_or_else(PoisonError::into_inner));
        Scene::begin(name, servers, quiet, target_kind)
    }

    fn begin(name: &str, servers: Servers, quiet: Quiet, target_kind: TargetKind) -> Result<Scene> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // The same test in another process at the same time waits: it has the same databases.
        let name_lock = lab::home::Home::find()?.lock(&format!("e2e-{name}"))?;
        let folder = folder_of(name)?;
        let scene = Scene {
            database: format!("e2e_{name}"),
            prefix: format!("e2e-{name}-{}-{number}", std::process::id()),
            capture_port: free_port()?,
            apply_port: free_port()?,
            sql: sql::Sql::connect(&servers, target_kind, &folder)?,
            folder,
            target_kind,
            server_id: 100_000 + std::process::id() % 1_000_000 * 100 + number,
            servers,
            _name: name_lock,
            _quiet: quiet,
        };
        scene.sql.make_databases(&scene.database)?;
        topics::delete(&scene.servers.kafka, &format!("e2e-{name}-"))?;
        scene.write_config(&scene.config())?;
        Ok(scene)
    }

    /// The folder with configuration and logs.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of a scene whose target is one.
    pub(crate) fn target_file(&self) -> PathBuf {
        self.folder.join(sql::FILE)
    }

    /// Runs statements on MySQL as its administrator, in the scene's database.
    pub(crate) fn source(&self, statements: &str) -> Result<()> {
        self.sql.source(&self.database, statements)
    }

    /// A connection to MySQL that stays open, as its administrator, in the scene's database.
    pub(crate) fn open_source(&self) -> Result<sql::Session<'_>> {
        self.sql.open_source(&self.database)
    }

    /// Rows as MySQL prints them; `None` is NULL.
    pub(crate) fn source_rows(&self, query: &str) -> Result<Vec<Texts>> {
        self.sql.source_rows(&self.database, query)
    }

    /// Runs statements on the target: on PostgreSQL as the user that applies, with the scene's schema first in the search path.
    pub(crate) fn target(&self, statements: &str) -> Result<()> {
        self.sql.target(&self.database, statements)
    }

    /// Runs statements on PostgreSQL as its administrator, in the scene's database.
    pub(crate) fn administrate_target(&self, statements: &str) -> Result<()> {
        self.sql.administrate_target(&self.servers.postgres.admin_url(&self.database)?, statements)
    }

    /// Rows as the target prints them; `None` is NULL.
    pub(crate) fn target_rows(&self, query: &str) -> Result<Vec<Texts>> {
        self.sql.target_rows(&self.database, query)
    }

    /// Takes the write lock of a file, as another process might, until it is given back.
    pub(crate) fn lock_target(&self) -> Result<SqliteConnection> {
        self.sql.lock_file()
    }

    /// Gives it back.
    pub(crate) fn unlock_target(&self, lock: SqliteConnection) -> Result<()> {
        self.sql.run(async { lock.close().await.context("closing the file") })
    }

    /// Runs calls of the product's own to their end.
    pub(crate) fn run_here<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.sql.run(future)
    }

    /// Starts something that goes on while the test does other things.
    pub(crate) fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.sql.spawn(future)
    }

    /// The first column of the first row of the target, as a number.
    pub(crate) fn target_number(&self, query: &str) -> Result<i64> {
        number(self.target_rows(query)?, query)
    }

    /// The first column of the first row of the source, as a number.
    pub(crate) fn source_number(&self, query: &str) -> Result<i64> {
        number(self.source_rows(query)?, query)
    }

    /// `tailrace ARGUMENTS --config …`, not started yet. Its log is `<first argument>.log` in the scene's folder.
    pub(crate) fn launch(&self, arguments: &[&str]) -> Result<Launch> {
        let command = arguments.first().context("a command")?;
        let config = self.config_file();
        let mut words = arguments.to_vec();
        words.extend(["--config", config.to_str().context("a path in UTF-8")?]);
        let port = if *command == "apply" { self.apply_port } else { self.capture_port };
        Ok(Launch::new(&words, &self.folder.join(format!("{command}.log")))?
            .variable(MYSQL_PASSWORD, TAILRACE_PASSWORD)
            .variable(POSTGRES_PASSWORD, TAILRACE_PASSWORD)
            .http_port(port))
    }

    /// Runs a command to its end.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Finished> {
        self.launch(arguments)?.run(Duration::from_secs(60))
    }

    /// Makes the target's tables with `tailrace schema --apply`. Call it when the source's tables are there.
    pub(crate) fn make_target(&self) -> Result<()> {
        let markers = arrival::MARKERS;
        self.source(&format!("CREATE TABLE IF NOT EXISTS {markers} (id BIGINT AUTO_INCREMENT PRIMARY KEY)"))?;
        let finished = self.command(&["schema", "--apply"])?;
        ensure!(finished.code == Some(0), "tailrace schema --apply: {finished:?}");
        Ok(())
    }

    /// `tailrace capture`, ready: what is written from now on is captured.
    pub(crate) fn capture(&self) -> Result<Tailrace> {
        ready(self.launch(&["capture"])?)
    }

    /// `tailrace apply`, ready. Capture must run or have run: apply is ready once the log holds a record, so a marker row is
    /// written if [`Scene::make_target`] made the table for it.
    pub(crate) fn apply(&self) -> Result<Tailrace> {
        self.mark_if_possible()?;
        ready(self.launch(&["apply"])?)
    }

    /// `tailrace run`, ready.
    pub(crate) fn run(&self) -> Result<Tailrace> {
        let mut process = self.launch(&["run"])?.spawn()?;
        wait_until("the capturing half runs", READY_LIMIT, || {
            ensure!(process.is_running(), "tailrace run ended: {}", process.log_text());
            let health = process.health().map(|answer| answer.body).unwrap_or_default();
            Ok(health.replace(' ', "").contains("\"capture\":{\"state\":\"running\""))
        })?;
        self.mark_if_possible()?;
        process.wait_ready(READY_LIMIT)?;
        Ok(process)
    }

    /// `tailrace run` without a log, ready.
    pub(crate) fn run_embedded(&self) -> Result<Tailrace> {
        self.write_config(&self.embedded_config())?;
        ready(self.launch(&["run"])?)
    }

    /// The last call of a test that passed: removes databases and topics. What a failed test leaves may tell why; the next
    /// run of the test removes it.
    pub(crate) fn finish(self) -> Result<()> {
        topics::delete(&self.servers.kafka, &self.prefix)?;
        self.sql.drop_databases(&self.database)
    }
}

fn ready(launch: Launch) -> Result<Tailrace> {
    let mut process = launch.spawn()?;
    process.wait_ready(READY_LIMIT)?;
    Ok(process)
}

fn number(rows: Vec<Texts>, query: &str) -> Result<i64> {
    let first = rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten();
    let text = first.with_context(|| format!("{query}: no value"))?;
    text.parse().with_context(|| format!("{query}: {text} is no whole number"))
}

/// Asks until the answer is yes, less and less often. An error of the question ends it.
pub(crate) fn wait_until(what: &str, limit: Duration, mut is_done: impl FnMut() -> Result<bool>) -> Result<()> {
    const STEP_MAX: Duration = Duration::from_millis(250);
    let begin = Instant::now();
    let (mut last, mut next) = (Ok(false), begin);
    lab::wait::until(limit, || {
        if Instant::now() >= next {
            last = is_done();
            next = Instant::now() + (begin.elapsed() / 20).min(STEP_MAX);
        }
        !matches!(last, Ok(false))
    });
    let is_met = last.with_context(|| format!("waiting until {what}"))?;
    ensure!(is_met, "waited {:?} in vain until {what}", begin.elapsed());
    Ok(())
}

/// An empty folder below the target folder.
fn folder_of(name: &str) -> Result<PathBuf> {
    let me = std::env::current_exe().context("finding this program's folder")?;
    let target = me.ancestors().nth(2).context("this program lies in a target folder")?;
    let folder = target.join("e2e").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// A port that no other scene of this process got. Above the laboratory's range and below the one from which the kernel
/// serves outgoing connections, so it stays free while a process is restarted.
pub(crate) fn free_port() -> Result<u16> {
    const FIRST: u16 = 29_000;
    const COUNT: u16 = 3_700;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two test binaries at the same time begin at different places.
    let begin = u16::try_from(std::process::id() % 37).unwrap_or(0) * 100;
    for _ in 0..COUNT {
        let port = FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if lab::ports::is_free(port) {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port from {FIRST} on")
}

/// The seed of a test's dice: `E2E_SEED` replays a run, else it comes from the clock. Printed in any case.
pub(crate) fn seed(name: &str) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let given = std::env::var("E2E_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or(u64::from(now.subsec_nanos()) + 1);
    lab::say(&format!("{name}: E2E_SEED={seed}"));
    seed
}
