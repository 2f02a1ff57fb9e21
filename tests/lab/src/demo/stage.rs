//! The stage: servers, an empty shop in MySQL, its tables in PostgreSQL made by `tailrace schema`, the configuration, and
//! how capture and apply are started. What an earlier demo left is removed first; servers stay up afterwards.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::board::Role;
use super::{SHOP, history};
use crate::compose::Engine;
use crate::home::Home;
use crate::process::Launch;
use crate::{Kafka, Mysql, Postgres, TAILRACE_PASSWORD, ports, writer};

/// Prefix of the topics.
pub(super) const PREFIX: &str = "demo";
const PASSWORD_VARIABLE: &str = "TAILRACE_PASSWORD";
const SCHEMA_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Stage {
    pub(super) mysql: Mysql,
    pub(super) kafka: Kafka,
    pub(super) postgres: Postgres,
    folder: PathBuf,
    ports: Vec<u16>,
    /// Two demos at once would drop each other's shop.
    _lock: File,
}

impl Stage {
    pub(super) async fn prepare() -> Result<Stage> {
        let home = Home::find()?;
        let folder = home.root().join("demo");
        let stage = Stage {
            mysql: Mysql::up("main")?,
            kafka: Kafka::up("main")?,
            postgres: Postgres::up("main")?,
            ports: ports::find_free(2, &[])?,
            _lock: home.lock("demo")?,
            folder,
        };
        if stage.folder.exists() {
            fs::remove_dir_all(&stage.folder).context("removing the last demo's files")?;
        }
        fs::create_dir_all(&stage.folder).with_context(|| format!("creating {}", stage.folder.display()))?;
        fs::write(stage.config(), stage.config_text()?).context("writing tailrace.toml")?;
        stage.kafka.delete_topics(&format!("{PREFIX}\\..*"))?;
        writer::create_shop(&stage.mysql.admin_url()?, SHOP).await?;
        history::make(&stage.mysql.admin_url()?).await?;
        stage.empty_target().await?;
        stage.make_schema()?;
        Ok(stage)
    }

    /// How one of the two processes is started.
    pub(super) fn launch(&self, role: Role) -> Result<Launch> {
        let config = self.config().display().to_string();
        let log = self.log(role);
        let launch = Launch::new(&[role.name(), "-c", &config], &log)?;
        Ok(launch.variable(PASSWORD_VARIABLE, TAILRACE_PASSWORD).http_port(self.ports[role as usize]))
    }

    /// A connection to the target as the owner of its tables.
    pub(super) async fn target(&self) -> Result<PgConnection> {
        PgConnection::connect(&self.postgres.owner_url(SHOP)?).await.context("connecting to PostgreSQL")
    }

    /// Rows of history that the target has.
    pub(super) async fn copied(&self, target: &mut PgConnection) -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {SHOP}.{}", history::ARCHIVE);
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(target).await.context("counting history")?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?)?)
    }

    /// Spoils one value in the target; returns the key of its row.
    pub(super) async fn plant(&self) -> Result<String> {
        let sql = format!(
            "UPDATE {SHOP}.orders SET total = total + 1 WHERE id = (SELECT id FROM {SHOP}.orders ORDER BY id LIMIT 1) \
             RETURNING id::text"
        );
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut self.target().await?).await;
        let id: String = row.context("planting a difference")?.try_get(0)?;
        Ok(format!("{SHOP}.orders, key id={id}"))
    }

    /// Commands for a person who wants to see for himself.
    pub(super) fn look_around(&self) -> Result<String> {
        let port = self.postgres.port()?;
        Ok(format!(
            "PGPASSWORD={TAILRACE_PASSWORD} psql -h 127.0.0.1 -p {port} -U tailrace {SHOP} -c 'SELECT * FROM {SHOP}.orders LIMIT 5'\n  \
             {}\n  less {}\n  less {}\n  \
             cargo x down    removes the servers, which are left up",
            self.kafka.console_consumer(&format!("{PREFIX}.{SHOP}.orders"))?,
            self.config().display(),
            self.log(Role::Apply).display(),
        ))
    }

    pub(super) fn log(&self, role: Role) -> PathBuf {
        self.folder.join(format!("{}.log", role.name()))
    }

    fn config(&self) -> PathBuf {
        self.folder.join("tailrace.toml")
    }

    fn config_text(&self) -> Result<String> {
        let password = format!("password = {{ env = \"{PASSWORD_VARIABLE}\" }}");
        // The server's certificate names no host, so its signer is all that can be verified.
        let tls = match self.mysql.engine()? {
            Engine::Native => format!("tls = {{ mode = \"verify-ca\", ca = {:?} }}", self.mysql.ca_file()),
            Engine::Compose => "tls = { mode = \"required\" }".to_owned(),
        };
        Ok(format!(
            "[source]\nurl = \"{}\"\n{password}\n{tls}\nserver_id = 5501\nstart = \"now\"\n\n\
             [log]\nurl = \"{}\"\ntls = {{ mode = \"disabled\" }}\nprefix = \"{PREFIX}\"\npartitions = 4\nreplication = 1\n\n\
             [target]\nurl = \"{}\"\n{password}\ntls = {{ mode = \"disabled\" }}\n\n\
             [[table]]\nsource = \"{SHOP}.*\"\n\n\
             [http]\ncapture = \"127.0.0.1:{}\"\napply = \"127.0.0.1:{}\"\n",
            self.mysql.capture_url()?,
            self.kafka.url()?,
            self.postgres.apply_url(SHOP)?,
            self.ports[0],
            self.ports[1],
        ))
    }

    /// The shop's database anew: its tables and Tailrace's own.
    async fn empty_target(&self) -> Result<()> {
        let mut admin =
            PgConnection::connect(&self.postgres.admin_url("postgres")?).await.context("connecting as postgres")?;
        for sql in
            [format!("DROP DATABASE IF EXISTS {SHOP} WITH (FORCE)"), format!("CREATE DATABASE {SHOP} OWNER tailrace")]
        {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.context("emptying the target")?;
        }
        Ok(())
    }

    fn make_schema(&self) -> Result<()> {
        let config = self.config().display().to_string();
        let launch = Launch::new(&["schema", "--apply", "-c", &config], &self.folder.join("schema.log"))?;
        let done = launch.variable(PASSWORD_VARIABLE, TAILRACE_PASSWORD).run(SCHEMA_LIMIT)?;
        if done.code != Some(0) {
            bail!("tailrace schema --apply ended with {:?}:\n{}{}", done.code, done.stdout, done.stderr);
        }
        Ok(())
    }
}
