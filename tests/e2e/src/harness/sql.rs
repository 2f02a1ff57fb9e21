//! SQL for tests: statements and rows as text, from blocking code, each call on a connection of its own (a killed server
//! leaves no dead connection behind).
//!
//! Text is what the databases print themselves: no driver decodes a value. SQLite prints nothing by itself: its values come in
//! the type in which they are stored, and floats as the shortest text that means the same bits.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::oracle::{self, Comparison, Pair};
use mysql_async::prelude::Queryable;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection, PgConnection, Row, TypeInfo as _, ValueRef};
use tokio::runtime::Runtime;

use super::{Servers, TargetKind};

/// The file of a scene whose target is one.
pub(super) const FILE: &str = "target.db";

/// A row as a database prints it; `None` is NULL.
pub(crate) type Texts = Vec<Option<String>>;

pub(crate) struct Sql {
    runtime: Runtime,
    mysql: String,
    /// Empty where the target is a file.
    postgres_admin: String,
    target: Target,
}

enum Target {
    /// Everything of the URL before and behind the name of the database, which differs by call.
    Postgres(String, String),
    Sqlite(PathBuf),
}

/// A connection to the source.
pub(crate) struct Session<'a> {
    runtime: &'a Runtime,
    connection: mysql_async::Conn,
}

impl Session<'_> {
    /// Runs statements.
    pub(crate) fn run(&mut self, statements: &str) -> Result<()> {
        let run = self.connection.query_drop(statements);
        self.runtime.block_on(run).with_context(|| format!("on MySQL: {statements}"))
    }
}

impl Sql {
    pub(super) fn connect(servers: &Servers, target_kind: TargetKind, folder: &Path) -> Result<Sql> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Sql {
            runtime: runtime.context("starting the thread for SQL")?,
            mysql: servers.mysql.admin_url()?,
            postgres_admin: match target_kind {
                TargetKind::Postgres => servers.postgres.admin_url("postgres")?,
                TargetKind::Sqlite => String::new(),
            },
            target: match target_kind {
                TargetKind::Postgres => {
                    let url = servers.postgres.owner_url("DATABASE")?;
                    let (front, back) = url.split_once("DATABASE").context("the URL names the database")?;
                    Target::Postgres(front.to_owned(), back.to_owned())
                }
                TargetKind::Sqlite => Target::Sqlite(folder.join(FILE)),
            },
        })
    }

    /// Empty databases, whatever an earlier run left. A file lies in the scene's folder, which is empty.
    pub(super) fn make_databases(&self, name: &str) -> Result<()> {
        self.drop_databases(name)?;
        self.source("", &format!("CREATE DATABASE `{name}` CHARACTER SET utf8mb4"))?;
        match &self.target {
            Target::Postgres(..) => self.target("postgres", &format!("CREATE DATABASE \"{name}\"")),
            Target::Sqlite(_) => Ok(()),
        }
    }

    pub(super) fn drop_databases(&self, name: &str) -> Result<()> {
        self.source("", &format!("DROP DATABASE IF EXISTS `{name}`"))?;
        match &self.target {
            Target::Postgres(..) => {
                // As the administrator: autovacuum may be at work in it, and nobody else may end that.
                let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
                self.administrate_target(&self.postgres_admin, &drop)
            }
            Target::Sqlite(_) => Ok(()),
        }
    }

    pub(super) fn source(&self, database: &str, statements: &str) -> Result<()> {
        let run = async {
            let mut connection = self.mysql_connection(database).await?;
            connection.query_drop(statements).await?;
            connection.disconnect().await?;
            anyhow::Ok(())
        };
        self.runtime.block_on(run).with_context(|| format!("on MySQL: {statements}"))
    }

    /// A connection that stays open, for a transaction in several calls.
    pub(super) fn open_source(&self, database: &str) -> Result<Session<'_>> {
        let connection = self.runtime.block_on(self.mysql_connection(database))?;
        Ok(Session { runtime: &self.runtime, connection })
    }

    pub(super) fn source_rows(&self, database: &str, query: &str) -> Result<Vec<Texts>> {
        let run = async {
            let mut connection = self.mysql_connection(database).await?;
            let rows: Vec<mysql_async::Row> = connection.query(query).await?;
            connection.disconnect().await?;
            rows.into_iter().map(mysql_texts).collect::<Result<Vec<Texts>>>()
        };
        self.runtime.block_on(run).with_context(|| format!("on MySQL: {query}"))
    }

    /// Runs something of the laboratory's to its end.
    pub(super) fn run<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(future)
    }

    /// Starts something that goes on while the test does other things.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Compares every row of a table of this name on both sides; `schema` is the one of PostgreSQL that has it.
    pub(super) fn compare(&self, database: &str, schema: &str, table: &str) -> Result<Comparison> {
        let (source, target) = ((database.to_owned(), table.to_owned()), (schema.to_owned(), table.to_owned()));
        let pair = Pair { source, target };
        self.runtime.block_on(async {
            let mut source = self.mysql_connection(database).await?;
            let found = match &self.target {
                Target::Postgres(..) => {
                    let mut target = self.postgres_connection(database).await?;
                    let found = oracle::compare(&mut source, &mut target, &pair).await?;
                    target.close().await?;
                    found
                }
                Target::Sqlite(file) => {
                    let mut file = sqlite_connection(file).await?;
                    let found = oracle::compare_file(&mut source, &mut file, (database, table)).await?;
                    file.close().await?;
                    found
                }
            };
            source.disconnect().await?;
            Ok(found)
        })
    }

    /// Takes the file's write lock, as another process might.
    pub(super) fn lock_file(&self) -> Result<SqliteConnection> {
        let Target::Sqlite(file) = &self.target else { anyhow::bail!("the scene's target is no file") };
        self.runtime.block_on(async {
            let mut connection = sqlite_connection(file).await?;
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await?;
            Ok(connection)
        })
    }

    async fn mysql_connection(&self, database: &str) -> Result<mysql_async::Conn> {
        let url = format!("{}/{database}", self.mysql);
        Ok(mysql_async::Conn::from_url(url).await?)
    }

    pub(super) fn target(&self, database: &str, statements: &str) -> Result<()> {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(statements));
        let run = async {
            match &self.target {
                Target::Postgres(..) => {
                    let mut connection = self.postgres_connection(database).await?;
                    sql.execute(&mut connection).await?;
                    connection.close().await?;
                }
                Target::Sqlite(file) => {
                    let mut connection = sqlite_connection(file).await?;
                    sql.execute(&mut connection).await?;
                    connection.close().await?;
                }
            }
            anyhow::Ok(())
        };
        self.runtime.block_on(run).with_context(|| format!("on the target: {statements}"))
    }

    pub(super) fn administrate_target(&self, url: &str, statements: &str) -> Result<()> {
        let run = async {
            let mut connection = PgConnection::connect(url).await?;
            sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut connection).await?;
            connection.close().await?;
            anyhow::Ok(())
        };
        self.runtime.block_on(run).with_context(|| format!("on PostgreSQL as its administrator: {statements}"))
    }

    pub(super) fn target_rows(&self, database: &str, query: &str) -> Result<Vec<Texts>> {
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(query));
        let run = async {
            match &self.target {
                Target::Postgres(..) => {
                    let mut connection = self.postgres_connection(database).await?;
                    let rows = sql.fetch_all(&mut connection).await?;
                    connection.close().await?;
                    rows.iter().map(postgres_texts).collect::<Result<Vec<Texts>>>()
                }
                Target::Sqlite(file) => {
                    let mut connection = sqlite_connection(file).await?;
                    let rows = sql.fetch_all(&mut connection).await?;
                    connection.close().await?;
                    rows.iter().map(sqlite_texts).collect()
                }
            }
        };
        self.runtime.block_on(run).with_context(|| format!("on the target: {query}"))
    }

    async fn postgres_connection(&self, database: &str) -> Result<PgConnection> {
        let Target::Postgres(front, back) = &self.target else { anyhow::bail!("the scene's target is a file") };
        let mut connection = PgConnection::connect(&format!("{front}{database}{back}")).await?;
        let path = format!("SET search_path TO \"{database}\", public");
        sqlx::raw_sql(sqlx::AssertSqlSafe(path)).execute(&mut connection).await?;
        Ok(connection)
    }
}

async fn sqlite_connection(file: &Path) -> Result<SqliteConnection> {
    Ok(SqliteConnectOptions::new().filename(file).connect().await?)
}

fn mysql_texts(row: mysql_async::Row) -> Result<Texts> {
    let text = |value| match value {
        mysql_async::Value::NULL => Ok(None),
        mysql_async::Value::Bytes(bytes) => {
            Ok(Some(String::from_utf8(bytes).context("a column is no text: ask for its HEX")?))
        }
        // The text protocol has no other form.
        decoded => anyhow::bail!("the driver decoded a value: {decoded:?}"),
    };
    row.unwrap().into_iter().map(text).collect()
}

fn postgres_texts(row: &sqlx::postgres::PgRow) -> Result<Texts> {
    let text = |index| {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            return Ok(None);
        }
        let text = value.as_str().map_err(|error| anyhow::anyhow!("a column is no text: {error}"))?;
        Ok(Some(text.to_owned()))
    };
    (0..row.len()).map(text).collect()
}

fn sqlite_texts(row: &sqlx::sqlite::SqliteRow) -> Result<Texts> {
    let text = |index| {
        let value = row.try_get_raw(index)?;
        if value.is_null() {
            return Ok(None);
        }
        match value.type_info().name() {
            "INTEGER" => Ok(Some(row.try_get::<i64, _>(index)?.to_string())),
            "REAL" => Ok(Some(format!("{:?}", row.try_get::<f64, _>(index)?))),
            "TEXT" => Ok(Some(row.try_get(index)?)),
            other => anyhow::bail!("a column is {other}: ask for its hex()"),
        }
    };
    (0..row.len()).map(text).collect()
}
