//! The copy of a table that has rows, into one that has none: MySQL → Kafka → PostgreSQL, and in one process → PostgreSQL and → SQLite,
//! while the source is idle and while others write; beside `mysql … | psql COPY` of the same rows by the clients that are installed.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{TAILRACE_PASSWORD, process::Tailrace, writer::Dice};
use mysql_async::prelude::Queryable;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    process::{Memory, cpu_seconds},
    report::{Report, percentile},
    site::{NAME, Site},
};

const PORTS: [u16; 2] = [18_706, 18_707];
const TABLE: &str = "history";
const COLUMNS: &str = "id BIGINT PRIMARY KEY, n INT NOT NULL, name VARCHAR(60) NOT NULL, amount DECIMAL(12,2) NOT NULL, \
                       created DATETIME(3) NOT NULL, note VARCHAR(80) NOT NULL";
/// Transactions a second, one row each, by so many clients.
const RATE: u64 = 1_000;
const WRITERS: u64 = 4;
/// As long the load is measured where nothing is copied.
const ALONE: Duration = Duration::from_secs(10);
/// Rows a second of the copy that spares the source.
const SPARING: u64 = 50_000;
const LIMIT: Duration = Duration::from_secs(900);

/// Where the rows go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Kafka,
    Postgres,
    Sqlite,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Kafka => "through Kafka",
            Self::Postgres => "in one process",
            Self::Sqlite => "into a file",
        }
    }
}

/// One copy.
#[derive(Clone, Copy)]
struct Run {
    way: Way,
    readers: u32,
    has_load: bool,
    rows_per_second_max: Option<u64>,
    /// Whether the process is killed half-way and started again.
    is_killed: bool,
}

impl Run {
    const IDLE: Self =
        Self { way: Way::Postgres, readers: 4, has_load: false, rows_per_second_max: None, is_killed: false };

    fn name(&self) -> String {
        let load = if self.has_load { format!(", {RATE} tx/s") } else { String::new() };
        let rate = self.rows_per_second_max.map_or(String::new(), |rate| format!(", at most {rate} rows/s"));
        let killed = if self.is_killed { ", killed once" } else { "" };
        format!("copy {}, {} readers{load}{rate}{killed}", self.way.name(), self.readers)
    }
}

/// All of them.
pub(crate) async fn backfill(site: &Site, rows: u64, report: &mut Report) -> Result<()> {
    report.heading(&format!("backfill: {rows} rows that {} has already", site.source_name()));
    fill(site, rows).await?;
    let mut bench = Bench { site, rows, runs: 0 };
    let by_hand = bench.by_hand(report).await?;
    for way in [Way::Postgres, Way::Kafka, Way::Sqlite] {
        for readers in [1, 4] {
            let took = bench.run(Run { way, readers, ..Run::IDLE }, report).await?;
            report.add(&format!("copy {}, {readers} readers: of by hand", way.name()), by_hand / took * 100.0, "%");
        }
    }
    for way in [Way::Postgres, Way::Kafka, Way::Sqlite] {
        bench.run(Run { way, has_load: true, ..Run::IDLE }, report).await?;
    }
    bench.by_hand(report).await?;
    let whole = bench.run(Run::IDLE, report).await?;
    let killed = bench.run(Run { is_killed: true, ..Run::IDLE }, report).await?;
    report.add("copy: time that a kill costs", killed - whole, "s");
    let mut load = bench.load().await?;
    tokio::time::sleep(ALONE).await;
    load.tell("nothing is copied", report).await?;
    bench.run(Run { has_load: true, rows_per_second_max: Some(SPARING), ..Run::IDLE }, report).await?;
    Ok(())
}

async fn fill(site: &Site, rows: u64) -> Result<()> {
    const STATEMENT_ROWS: u64 = 50_000;
    let mut mysql = site.mysql().await?;
    mysql.query_drop(format!("USE {NAME}")).await?;
    mysql.query_drop(crate::dataset::deep_recursion(site)).await?;
    mysql.query_drop(format!("CREATE TABLE {TABLE} ({COLUMNS})")).await?;
    for first in (0..rows).step_by(usize::try_from(STATEMENT_ROWS)?) {
        let count = STATEMENT_ROWS.min(rows - first);
        mysql
            .query_drop(format!(
                "INSERT INTO {TABLE} WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < {count}) \
                 SELECT {first} + i, i * 7919 % 1000003, CONCAT('customer ', {first} + i, ' of the north'), i * 1.23, \
                 '2026-01-01' + INTERVAL {first} + i SECOND, RPAD('', 40 + i % 20, 'lorem ipsum ') FROM k"
            ))
            .await?;
    }
    mysql.query_drop(format!("ANALYZE TABLE {TABLE}")).await?;
    Ok(())
}

struct Bench<'s> {
    site: &'s Site,
    rows: u64,
    runs: u64,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
impl Bench<'_> {
    /// The clients of both databases, piped into each other; the seconds that it took.
    async fn by_hand(&mut self, report: &mut Report) -> Result<f64> {
        self.runs += 1;
        let (site, table) = (self.site, format!("by_hand_{}", self.runs));
        let mut postgres = site.postgres().await?;
        postgres.execute("CHECKPOINT").await.ok();
        let columns = COLUMNS.replace("DATETIME(3)", "timestamp(3)");
        postgres.execute(AssertSqlSafe(format!("CREATE TABLE {table} ({columns})"))).await?;
        let begun = Instant::now();
        let (host, port) = site
            .mysql
            .address()?
            .split_once(':')
            .map(|(host, port)| (host.to_owned(), port.to_owned()))
            .context("an address")?;
        let mut dump = Command::new("mysql")
            .args([
                "--no-defaults",
                "--quick",
                "--batch",
                "--skip-column-names",
                "-utailrace",
                "-h",
                &host,
                "-P",
                &port,
            ])
            .args(["-e", &format!("SELECT * FROM {NAME}.{TABLE}")])
            .env("MYSQL_PWD", TAILRACE_PASSWORD)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting mysql, the client")?;
        let rows = dump.stdout.take().context("its output")?;
        let copied = Command::new("psql")
            .args(["-q", "-c", &format!("COPY {table} FROM STDIN"), &site.postgres.owner_url(NAME)?])
            .stdin(rows)
            .status()
            .context("starting psql")?;
        ensure!(copied.success() && dump.wait()?.success(), "the copy by hand failed");
        let took = begun.elapsed().as_secs_f64();
        self.expect_rows(&table).await?;
        report.add("mysql | psql COPY by hand: rows/s", self.rows as f64 / took, "rows/s");
        Ok(took)
    }

    /// What was read from the log need not be in the target yet.
    async fn wait_rows(&self, table: &str) -> Result<()> {
        let begun = Instant::now();
        while self.expect_rows(table).await.is_err() {
            ensure!(begun.elapsed() < LIMIT, "{table} has not all rows within {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn expect_rows(&self, table: &str) -> Result<()> {
        let mut postgres = self.site.postgres().await?;
        let query = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count: i64 = sqlx::query_scalar(query).fetch_one(&mut postgres).await?;
        ensure!(u64::try_from(count)? == self.rows, "{table} has {count} rows");
        postgres.close().await?;
        Ok(())
    }

    /// One copy; the seconds that it took.
    async fn run(&mut self, run: Run, report: &mut Report) -> Result<f64> {
        let (config, target) = self.config(run)?;
        self.site.run("schema --apply", &config)?;
        self.site.postgres().await?.execute("CHECKPOINT").await.ok();
        let load = if run.has_load { Some(self.load().await?) } else { None };
        let begun = Instant::now();
        let mut copy = Copy::start(self.site, run, &config)?;
        if run.is_killed {
            copy.until(|copy| Ok(copy.written()? >= self.rows as f64 / 2.0)).await?;
            copy.kill()?;
            copy = Copy::start(self.site, run, &config)?;
        }
        copy.until(Copy::is_done).await?;
        if run.way == Way::Kafka {
            self.wait_rows(&target).await?;
        }
        let took = begun.elapsed().as_secs_f64();
        let name = run.name();
        report.add(&format!("{name}: rows/s"), self.rows as f64 / took, "rows/s");
        if !run.is_killed {
            report.add(&format!("{name}: CPU per row"), copy.cpu_seconds()? / self.rows as f64 * 1e6, "µs");
        }
        report.add(&format!("{name}: resident memory, highest"), copy.memory.max_mb(), "MB");
        let metrics = copy.writer.metrics()?;
        for (what, metric) in
            [("rows dropped", "rows_dropped"), ("windows that came to nothing", "windows_voided"), ("splits", "splits")]
        {
            let count = metrics.sum(&format!("tailrace_backfill_{metric}_total")).unwrap_or(0.0);
            report.add(&format!("{name}: {what}"), count, "");
        }
        drop(copy);
        match load {
            Some(mut load) => load.tell(&name, report).await?,
            None if run.way != Way::Sqlite => self.expect_rows(&target).await?,
            None => {}
        }
        Ok(took)
    }

    /// A configuration of its own, and the target's table.
    fn config(&mut self, run: Run) -> Result<(PathBuf, String)> {
        self.runs += 1;
        let name = format!("copy_{}", self.runs);
        let target = format!("{TABLE}_{}", self.runs);
        let config = match run.way {
            Way::Kafka => self.site.config(&name, "now", &[TABLE], PORTS)?,
            Way::Postgres => self.site.embedded_config(&name, "now", &[TABLE], PORTS[0])?,
            Way::Sqlite => self.site.file_config(&name, "now", TABLE, PORTS[0])?.0,
        };
        let text = std::fs::read_to_string(&config)?;
        let (copied, off) = (text.replace("backfill = \"off\"\n", ""), text);
        ensure!(copied != off, "the table is copied only where it is not switched off");
        let text = copied.replace(&format!("public.{TABLE}"), &format!("public.{target}"));
        let rate = run.rows_per_second_max.map_or(String::new(), |rate| format!("max_rate = {rate}\n"));
        std::fs::write(&config, format!("{text}\n[backfill]\nreaders = {}\n{rate}", run.readers))?;
        Ok((config, target))
    }

    async fn load(&self) -> Result<Load> {
        let (stop, stopped) = watch::channel(false);
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write(self.site.mysql().await?, Dice::new(writer), self.rows, stopped.clone()));
        }
        Ok(Load { stop, writers })
    }
}

/// The processes of a copy.
struct Copy {
    /// The one that reads the table.
    writer: Tailrace,
    /// The one that reads the log, if there is one.
    applier: Option<Tailrace>,
    memory: Memory,
}

impl Copy {
    fn start(site: &Site, run: Run, config: &std::path::Path) -> Result<Self> {
        let (writer, applier) = match run.way {
            Way::Kafka => (site.start("capture", config, PORTS[0])?, Some(site.start("apply", config, PORTS[1])?)),
            Way::Postgres | Way::Sqlite => (site.start("run", config, PORTS[0])?, None),
        };
        Ok(Self { writer, applier, memory: Memory::default() })
    }

    fn kill(&mut self) -> Result<()> {
        self.writer.kill()?;
        self.applier.as_mut().map_or(Ok(()), Tailrace::kill)
    }

    fn written(&self) -> Result<f64> {
        self.writer.metrics()?.sum("tailrace_backfill_rows_written_total").context("a metric is not there")
    }

    /// Whether all is copied, and read from the log where there is one.
    fn is_done(&self) -> Result<bool> {
        let metrics = self.writer.metrics()?;
        if metrics.labelled("tailrace_backfill_tables", "state=\"done\"") != Some(1.0) {
            return Ok(false);
        }
        let Some(applier) = &self.applier else { return Ok(true) };
        let applied = applier.metrics()?.sum("tailrace_apply_records_total").unwrap_or(0.0);
        Ok(applied >= metrics.sum("tailrace_backfill_rows_written_total").unwrap_or(f64::INFINITY))
    }

    async fn until(&mut self, is_reached: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        while !is_reached(self)? {
            self.memory.sample(self.writer.pid())?;
            if let Some(applier) = &self.applier {
                self.memory.sample(applier.pid())?;
            }
            ensure!(Instant::now() < deadline, "not copied within {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Of all its processes, from their start on.
    fn cpu_seconds(&self) -> Result<f64> {
        let of_applier = self.applier.as_ref().map_or(Ok(0.0), |applier| cpu_seconds(applier.pid()))?;
        Ok(cpu_seconds(self.writer.pid())? + of_applier)
    }
}

/// Clients that change single rows at an even pace.
struct Load {
    stop: watch::Sender<bool>,
    writers: JoinSet<Result<Vec<f64>>>,
}

impl Load {
    /// Ends it, and tells how long its transactions took.
    async fn tell(&mut self, beside: &str, report: &mut Report) -> Result<()> {
        self.stop.send(true)?;
        let mut seconds = Vec::new();
        while let Some(one) = self.writers.join_next().await {
            seconds.extend(one??);
        }
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            report.add(
                &format!("{beside}: a transaction at the source, {name}"),
                percentile(&mut seconds, share) * 1e3,
                "ms",
            );
        }
        Ok(())
    }
}

async fn write(
    mut mysql: mysql_async::Conn,
    mut dice: Dice,
    rows: u64,
    stopped: watch::Receiver<bool>,
) -> Result<Vec<f64>> {
    let mut pace = tokio::time::interval(Duration::from_micros(1_000_000 * WRITERS / RATE));
    let mut seconds = Vec::new();
    while !*stopped.borrow() {
        pace.tick().await;
        let id = 1 + dice.below(rows);
        let begun = Instant::now();
        mysql.query_drop(format!("UPDATE {NAME}.{TABLE} SET n = n + 1 WHERE id = {id}")).await?;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    Ok(seconds)
}
