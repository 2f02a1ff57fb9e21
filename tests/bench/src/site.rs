//! The place of a benchmark: servers of its own, the data, and `tailrace` processes against them.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use lab::{
    Flavor, Kafka, Mariadb, Mariadb11, Mysql, Postgres, TAILRACE_PASSWORD,
    http::Metrics,
    process::{Launch, Tailrace},
};
use mysql_async::prelude::Queryable;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// The topic prefix and the name of the source's and the target's database.
pub(crate) const NAME: &str = "bench";

pub(crate) struct Site {
    pub(crate) mysql: Mysql,
    pub(crate) kafka: Kafka,
    pub(crate) postgres: Postgres,
    folder: PathBuf,
}

impl Site {
    /// Own, empty servers. The source's durability is relaxed: it only has to bring forth a binlog quickly.
    pub(crate) fn open(source: Flavor) -> Result<Self> {
        let options = ["--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2", "--max-binlog-size=1G"];
        // As the laboratory's MySQL has it.
        let memory = ["--innodb-buffer-pool-size=256M", "--innodb-log-file-size=256M"];
        let of_mariadb = [options.as_slice(), &memory].concat();
        let mysql = match source {
            Flavor::Mysql => Mysql::fresh(NAME, &options)?,
            Flavor::Mariadb => Mariadb::fresh(NAME, &of_mariadb)?,
            Flavor::Mariadb11 => Mariadb11::fresh(NAME, &of_mariadb)?,
        };
        let kafka = Kafka::fresh(NAME, &[])?;
        let postgres = Postgres::fresh(NAME, &["shared_buffers=1GB", "max_wal_size=8GB"])?;
        let folder = std::env::temp_dir().join(format!("tailrace-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self { mysql, kafka, postgres, folder })
    }

    /// The source in the report's words.
    pub(crate) fn source_name(&self) -> &'static str {
        match self.mysql.flavor() {
            Flavor::Mysql => "MySQL",
            Flavor::Mariadb => "MariaDB",
            Flavor::Mariadb11 => "MariaDB 11",
        }
    }

    pub(crate) async fn mysql(&self) -> Result<mysql_async::Conn> {
        mysql_async::Conn::from_url(self.mysql.admin_url()?).await.context("connecting to MySQL")
    }

    pub(crate) async fn postgres(&self) -> Result<PgConnection> {
        PgConnection::connect(&self.postgres.owner_url(NAME)?).await.context("connecting to PostgreSQL")
    }

    pub(crate) async fn make_databases(&self) -> Result<()> {
        let mut mysql = self.mysql().await?;
        mysql.query_drop(format!("CREATE DATABASE {NAME}")).await?;
        let mut admin = PgConnection::connect(&self.postgres.admin_url("postgres")?).await?;
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {NAME} OWNER tailrace"))).await?;
        Ok(())
    }

    /// A configuration of its own topics and tables, starting at GTIDs. What was in the tables before is not copied.
    pub(crate) fn config(&self, prefix: &str, start: &str, tables: &[&str], ports: [u16; 2]) -> Result<PathBuf> {
        let tables: String = tables
            .iter()
            .map(|table| {
                format!("[[table]]\nsource = \"{NAME}.{table}\"\ntarget = \"public.{table}\"\nbackfill = \"off\"\n")
            })
            .collect();
        let [capture, apply] = ports;
        let text = format!(
            "[source]\nurl = \"{}\"\npassword = {{ env = \"BENCH_PASSWORD\" }}\ntls = {{ mode = \"disabled\" }}\n\
             server_id = {}\nstart = \"{start}\"\n\
             [log]\nurl = \"{}\"\ntls = {{ mode = \"disabled\" }}\nprefix = \"{prefix}\"\npartitions = 8\nreplication = 1\n\
             [target]\nurl = \"{}\"\npassword = {{ env = \"BENCH_PASSWORD\" }}\ntls = {{ mode = \"disabled\" }}\n\
             [http]\ncapture = \"127.0.0.1:{capture}\"\napply = \"127.0.0.1:{apply}\"\n{tables}",
            self.mysql.capture_url()?,
            7_000 + u32::from(capture) % 1_000,
            self.kafka.url()?,
            self.postgres.apply_url(NAME)?,
        );
        let path = self.folder.join(format!("{prefix}.toml"));
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// A configuration without a log: the embedded form, into the same tables.
    pub(crate) fn embedded_config(&self, name: &str, start: &str, tables: &[&str], port: u16) -> Result<PathBuf> {
        let path = self.config(name, start, tables, [port, port + 1])?;
        let text = std::fs::read_to_string(&path)?;
        let (before, rest) = text.split_once("[log]").context("the log's section")?;
        let (_, after) = rest.split_once("[target]").context("the target's section")?;
        let before = before.replace("server_id", &format!("name = \"{name}\"\nserver_id"));
        std::fs::write(&path, format!("{before}[target]{after}"))?;
        Ok(path)
    }

    /// The embedded form into a file of SQLite: the configuration, and the file.
    pub(crate) fn file_config(&self, name: &str, start: &str, table: &str, port: u16) -> Result<(PathBuf, PathBuf)> {
        let path = self.embedded_config(name, start, &[table], port)?;
        let text = std::fs::read_to_string(&path)?;
        let (before, rest) = text.split_once("[target]").context("the target's section")?;
        let (_, after) = rest.split_once("[http]").context("the section of ports")?;
        let file = self.folder.join(format!("{name}.db"));
        let after = after.replace(&format!("target = \"public.{table}\"\n"), "");
        let target = format!("[target]\nurl = \"sqlite://{}\"\n", file.display());
        std::fs::write(&path, format!("{before}{target}[http]{after}"))?;
        Ok((path, file))
    }

    /// A path for a file of the benchmark's own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn launch(&self, command: &str, config: &std::path::Path) -> Result<Launch> {
        let config = config.to_str().context("the configuration's path is text")?;
        let words: Vec<&str> = command.split(' ').chain(["--config", config]).collect();
        let log = self.folder.join(format!("{}.log", words[0]));
        Ok(Launch::new(&words, &log)?.variable("BENCH_PASSWORD", TAILRACE_PASSWORD))
    }

    pub(crate) fn run(&self, command: &str, config: &std::path::Path) -> Result<()> {
        let finished = self.launch(command, config)?.run(Duration::from_secs(60))?;
        anyhow::ensure!(finished.code == Some(0), "tailrace {command} failed: {}", finished.stderr);
        Ok(())
    }

    /// Starts a daemon and waits until it answers.
    pub(crate) fn start(&self, command: &str, config: &std::path::Path, port: u16) -> Result<Tailrace> {
        let mut process = self.launch(command, config)?.http_port(port).spawn()?;
        process.wait_ready(Duration::from_secs(60))?;
        Ok(process)
    }

    pub(crate) fn close(self) -> Result<()> {
        for server in [&*self.mysql, &*self.kafka, &*self.postgres] {
            server.remove()?;
        }
        std::fs::remove_dir_all(&self.folder)?;
        Ok(())
    }
}

/// Waits, watching a figure of the process, until it has reached `count`; calls `each` every 50 ms meanwhile.
pub(crate) async fn until_count(
    process: &Tailrace,
    figure: impl Fn(&Metrics) -> Option<f64>,
    count: f64,
    mut each: impl FnMut() -> Result<()>,
) -> Result<()> {
    let deadline = std::time::Instant::now() + Duration::from_secs(900);
    loop {
        each()?;
        let reached = figure(&process.metrics()?).context("a metric is not there")?;
        if reached >= count {
            return Ok(());
        }
        anyhow::ensure!(std::time::Instant::now() < deadline, "{reached} after 15 minutes, not {count}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
