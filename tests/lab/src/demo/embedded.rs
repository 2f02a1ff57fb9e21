//! `cargo x demo --embedded`: the same shop flows from MySQL (or MariaDB, where only that can be had) into a file of SQLite in
//! one process, which is killed again and again. It needs no broker, no other database and no Java.
//!
//! Every second kill is aimed: it waits for the moment in which the process says that it has records in flight.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};

use super::history::{self, ARCHIVE, Hand};
use super::{CONNECTIONS, DRAIN_LIMIT, Options, SHOP, STANDSTILL, wait_writing};
use crate::home::Home;
use crate::oracle::{Comparison, compare_file};
use crate::process::{Launch, Tailrace};
use crate::writer::{self, Change, Dice, Settings, Table, Tally, Writer};
use crate::{Mariadb, Mysql, TAILRACE_PASSWORD, compose::Engine, install, ports, say, wait};

const PASSWORD_VARIABLE: &str = "TAILRACE_PASSWORD";
const READY_LIMIT: Duration = Duration::from_secs(90);
const AIM_LIMIT: Duration = Duration::from_secs(3);
/// Without a row more in the file, history counts as copied; the comparison tells whether it is.
const QUIET: Duration = Duration::from_secs(4);
const END_LIMIT: Duration = Duration::from_secs(10);

struct Stage {
    mysql: Mysql,
    folder: PathBuf,
    port: u16,
    /// Two demos at once would drop each other's shop.
    _lock: File,
}

/// Kills and what they were aimed at.
#[derive(Default)]
struct Kills {
    all: u32,
    in_flight: u32,
}

/// Plays it; `true` if everything held that it is meant to show.
pub(super) async fn run(options: &Options) -> Result<bool> {
    say(&format!("seed {}: the same seed rolls the same dice", options.seed));
    let begin = Instant::now();
    let stage = Stage::prepare().await.context("setting the stage")?;
    let mut process = stage.launch()?.spawn()?;
    process.wait_ready(READY_LIMIT)?;
    let settings = Settings {
        url: stage.mysql.admin_url()?,
        database: SHOP.to_owned(),
        connections: CONNECTIONS,
        rate: options.rate,
        seed: options.seed,
    };
    let started = Instant::now();
    let hand = Hand::start(&settings.url, options.seed);
    let mut writer = Writer::start(&settings).await?;
    let mut dice = Dice::new(options.seed ^ 0xDEAD);
    let mut kills = Kills::default();
    while started.elapsed() < Duration::from_secs(options.seconds) || kills.all < options.kills {
        wait_writing(&mut writer, Duration::from_millis(500 + dice.below(3_000))).await?;
        if kills.all < options.kills {
            process = stage.kill(process, &mut kills)?;
            let count = writer.tally().transactions();
            let bar = history::bar(stage.copied().await?);
            say(&format!("{count} transactions; killed {} times and started again   {bar}", kills.all));
        }
    }
    let tally = writer.stop().await?;
    let seconds = started.elapsed().as_secs_f64();
    let changed = hand.end().await?;
    stage.wait_copied().await?;
    let mut found = stage.drain().await?;
    let history = stage.compare_history().await?;
    if options.plant {
        say(&format!("planted: {} was changed in the file behind Tailrace's back", stage.plant().await?));
        found = stage.compare_all().await?;
    }
    process.terminate()?;
    let status = process.wait_exit(END_LIMIT)?;
    let mut failures = failures(&found, &tally, &kills);
    failures.extend(super::report::difference_words(ARCHIVE, &history));
    if history.source_rows == 0 || changed == 0 {
        failures.push(format!("{ARCHIVE}: there was no history, or nobody changed it"));
    }
    say(&format!(
        "{ARCHIVE}: {} rows copied while {changed} statements changed it, {} differences",
        history.source_rows, history.differences
    ));
    if status.code() != Some(0) {
        failures.push(format!("tailrace run ended with {status} after SIGTERM, not with 0"));
    }
    stage.print(&found, &tally, (&kills, seconds, begin.elapsed().as_secs_f64()), &failures);
    Ok(failures.is_empty())
}

/// MySQL, or MariaDB where that can be had alone.
fn source() -> Result<Mysql> {
    match install::missing_for_mysql() {
        None => Mysql::up("main"),
        Some(missing) => {
            say(&format!("{missing}: playing from MariaDB"));
            Mariadb::up("main")
        }
    }
}

impl Stage {
    async fn prepare() -> Result<Stage> {
        let home = Home::find()?;
        let folder = home.root().join("demo-embedded");
        // The server may take the port that is free before it is up.
        let mysql = source()?;
        let [port] = ports::find_free(1, &[])?[..] else { bail!("no free port") };
        let stage = Stage { mysql, port, _lock: home.lock("demo")?, folder };
        if stage.folder.exists() {
            fs::remove_dir_all(&stage.folder).context("removing the last demo's files")?;
        }
        fs::create_dir_all(&stage.folder).with_context(|| format!("creating {}", stage.folder.display()))?;
        writer::create_shop(&stage.mysql.admin_url()?, SHOP).await?;
        history::make(&stage.mysql.admin_url()?).await?;
        fs::write(stage.config(), stage.config_text()?).context("writing tailrace.toml")?;
        let schema = stage.command(&["schema", "--apply"], "schema.log")?.run(READY_LIMIT)?;
        ensure!(schema.code == Some(0), "tailrace schema --apply: {}{}", schema.stdout, schema.stderr);
        Ok(stage)
    }

    fn command(&self, words: &[&str], log: &str) -> Result<Launch> {
        let config = self.config().display().to_string();
        let words: Vec<&str> = words.iter().copied().chain(["-c", &config]).collect();
        Ok(Launch::new(&words, &self.folder.join(log))?.variable(PASSWORD_VARIABLE, TAILRACE_PASSWORD))
    }

    fn launch(&self) -> Result<Launch> {
        Ok(self.command(&["run"], "run.log")?.http_port(self.port))
    }

    fn config(&self) -> PathBuf {
        self.folder.join("tailrace.toml")
    }

    fn file(&self) -> PathBuf {
        self.folder.join("shop.db")
    }

    fn config_text(&self) -> Result<String> {
        let tls = match self.mysql.engine()? {
            Engine::Native => format!("tls = {{ mode = \"verify-ca\", ca = {:?} }}", self.mysql.ca_file()),
            Engine::Compose => "tls = { mode = \"required\" }".to_owned(),
        };
        Ok(format!(
            "[source]\nurl = \"{}\"\npassword = {{ env = \"{PASSWORD_VARIABLE}\" }}\n{tls}\nserver_id = 5501\nstart = \"now\"\n\n\
             [target]\nurl = \"sqlite://shop.db\"\n\n[[table]]\nsource = \"{SHOP}.*\"\n\n[http]\ncapture = \"127.0.0.1:{}\"\n",
            self.mysql.capture_url()?,
            self.port,
        ))
    }

    /// SIGKILL and a new life. Every second time the process is caught with records in flight.
    fn kill(&self, mut process: Tailrace, kills: &mut Kills) -> Result<Tailrace> {
        ensure!(process.is_running(), "tailrace run ended by itself: {}", process.log_text());
        let is_busy = |process: &Tailrace| {
            let metrics = process.metrics().ok();
            metrics.and_then(|metrics| metrics.sum("tailrace_apply_in_flight_records")) > Some(0.0)
        };
        if kills.all.is_multiple_of(2) {
            let is_hit = wait::until_in_steps(AIM_LIMIT, Duration::from_millis(1), || is_busy(&process));
            kills.in_flight += u32::from(is_hit);
        }
        process.kill()?;
        kills.all += 1;
        let mut process = self.launch()?.spawn()?;
        process.wait_ready(READY_LIMIT)?;
        Ok(process)
    }

    async fn open_file(&self) -> Result<SqliteConnection> {
        let options = SqliteConnectOptions::new().filename(self.file()).busy_timeout(Duration::from_secs(30));
        options.connect().await.context("opening the file")
    }

    async fn compare_all(&self) -> Result<Vec<(Table, Comparison)>> {
        let mut source = writer::connect(&self.mysql.admin_url()?, Some(SHOP)).await?;
        let mut file = self.open_file().await?;
        let mut found = Vec::new();
        // Nobody measures a lag here, so no pulse beats.
        for table in Table::ALL.into_iter().filter(|table| *table != Table::Pulses) {
            found.push((table, compare_file(&mut source, &mut file, (SHOP, table.name())).await?));
        }
        source.disconnect().await?;
        Ok(found)
    }

    /// Rows of history that the file has.
    async fn copied(&self) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {ARCHIVE}");
        let (count,): (i64,) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut self.open_file().await?).await?;
        Ok(u64::try_from(count)?)
    }

    /// Waits until no row of history has come for a while.
    async fn wait_copied(&self) -> Result<()> {
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < QUIET {
            let copied = self.copied().await?;
            if copied != last {
                (last, since) = (copied, Instant::now());
                say(&history::bar(copied));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }

    async fn compare_history(&self) -> Result<Comparison> {
        let mut source = writer::connect(&self.mysql.admin_url()?, Some(SHOP)).await?;
        let found = compare_file(&mut source, &mut self.open_file().await?, (SHOP, ARCHIVE)).await?;
        source.disconnect().await?;
        Ok(found)
    }

    /// Compares until all is equal, or until nothing moves any more.
    async fn drain(&self) -> Result<Vec<(Table, Comparison)>> {
        let begin = Instant::now();
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let found = self.compare_all().await?;
            let differences: u64 = found.iter().map(|(_, one)| one.differences).sum();
            if differences != last {
                (last, since) = (differences, Instant::now());
            }
            if differences == 0 || since.elapsed() > STANDSTILL || begin.elapsed() > DRAIN_LIMIT {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Spoils one value in the file; returns the key of its row.
    async fn plant(&self) -> Result<String> {
        let sql = "UPDATE stock SET on_hand = on_hand + 1 WHERE rowid = (SELECT min(rowid) FROM stock) \
                   RETURNING warehouse || ', ' || sku";
        let key: (String,) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut self.open_file().await?).await?;
        Ok(format!("stock, key {}", key.0))
    }

    fn print(
        &self,
        found: &[(Table, Comparison)],
        tally: &Arc<Tally>,
        (kills, seconds, whole): (&Kills, f64, f64),
        failures: &[String],
    ) {
        let mut text = format!(
            "\n{:<12} {:>8} {:>9} {:>9} {:>9} {:>12} {:>12}\n",
            "table", "rows", "inserts", "updates", "deletes", "key changes", "differences"
        );
        for (table, comparison) in found {
            let [inserts, updates, deletes, moves] = Change::ALL.map(|change| tally.count(*table, change));
            text.push_str(&format!(
                "{:<12} {:>8} {inserts:>9} {updates:>9} {deletes:>9} {moves:>12} {:>12}\n",
                table.name(),
                comparison.source_rows,
                comparison.differences
            ));
        }
        #[expect(clippy::cast_precision_loss, reason = "for the eye")]
        let rate = tally.transactions() as f64 / seconds;
        text.push_str(&format!(
            "\nwriter   {} transactions in {seconds:.0} s: {rate:.0} a second\nkills    {}, of them {} with records in \
             flight\nwhole    {whole:.0} s\n",
            tally.transactions(),
            kills.all,
            kills.in_flight
        ));
        for failure in failures {
            text.push_str(&format!("\nFAILED: {failure}"));
        }
        if failures.is_empty() {
            text.push_str("\nEvery row of the source is in the file, and nothing else is.");
        }
        text.push_str(&format!(
            "\n\nLook around:\n  sqlite3 {} 'SELECT * FROM orders LIMIT 5'\n  less {}\n  cargo x down    removes the server, \
             which is left up\n",
            self.file().display(),
            self.config().display(),
        ));
        // Nobody reads any more: the exit code still tells.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    }
}

/// What did not hold, in words.
fn failures(found: &[(Table, Comparison)], tally: &Tally, kills: &Kills) -> Vec<String> {
    let mut failures = Vec::new();
    for (table, comparison) in found {
        failures.extend(super::report::difference_words(table.name(), comparison));
        let lacks = Change::ALL.iter().any(|change| tally.count(*table, *change) == 0);
        if lacks || comparison.source_rows == 0 {
            failures.push(format!("{}: not every kind of change occurred, or no row is left", table.name()));
        }
    }
    if kills.in_flight == 0 {
        failures.push("no kill hit a process with records in flight".to_owned());
    }
    failures
}
