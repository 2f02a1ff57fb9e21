//! SQL for tests: statements and rows as text, from blocking code, each call on a connection of its own (a killed server
//! leaves no dead connection behind).
//!
//! Text is what the databases print themselves: no driver decodes a value.

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use sqlx::{Connection, PgConnection, Row, ValueRef};
use tokio::runtime::Runtime;

use super::Servers;

/// A row as a database prints it; `None` is NULL.
pub(crate) type Texts = Vec<Option<String>>;

pub(crate) struct Sql {
    runtime: Runtime,
    mysql: String,
    postgres: (String, String),
}

impl Sql {
    pub(super) fn connect(servers: &Servers) -> Result<Sql> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Ok(Sql {
            runtime: runtime.context("starting the thread for SQL")?,
            mysql: servers.mysql.admin_url()?,
            postgres: {
                // Everything but the name of the database, which differs by call.
                let url = servers.postgres.owner_url("DATABASE")?;
                let (front, back) = url.split_once("DATABASE").context("the URL names the database")?;
                (front.to_owned(), back.to_owned())
            },
        })
    }

    /// Empty databases, whatever an earlier run left.
    pub(super) fn make_databases(&self, name: &str) -> Result<()> {
        self.drop_databases(name)?;
        self.source("", &format!("CREATE DATABASE `{name}`"))?;
        self.target("postgres", &format!("CREATE DATABASE \"{name}\""))
    }

    pub(super) fn drop_databases(&self, name: &str) -> Result<()> {
        self.source("", &format!("DROP DATABASE IF EXISTS `{name}`"))?;
        self.target("postgres", &format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)"))
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
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
        self.runtime.spawn(future)
    }

    /// Lends a connection to each side.
    pub(super) fn with_both<T>(
        &self,
        database: &str,
        act: impl AsyncFnOnce(&mut mysql_async::Conn, &mut PgConnection) -> Result<T>,
    ) -> Result<T> {
        self.runtime.block_on(async {
            let mut source = self.mysql_connection(database).await?;
            let mut target = self.postgres_connection(database).await?;
            let result = act(&mut source, &mut target).await?;
            source.disconnect().await?;
            target.close().await?;
            Ok(result)
        })
    }

    async fn mysql_connection(&self, database: &str) -> Result<mysql_async::Conn> {
        let url = format!("{}/{database}", self.mysql);
        Ok(mysql_async::Conn::from_url(url).await?)
    }

    pub(super) fn target(&self, database: &str, statements: &str) -> Result<()> {
        let run = async {
            let mut connection = self.postgres_connection(database).await?;
            sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut connection).await?;
            connection.close().await?;
            anyhow::Ok(())
        };
        self.runtime.block_on(run).with_context(|| format!("on PostgreSQL: {statements}"))
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
        let run = async {
            let mut connection = self.postgres_connection(database).await?;
            let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(query)).fetch_all(&mut connection).await?;
            connection.close().await?;
            rows.iter().map(postgres_texts).collect::<Result<Vec<Texts>>>()
        };
        self.runtime.block_on(run).with_context(|| format!("on PostgreSQL: {query}"))
    }

    async fn postgres_connection(&self, database: &str) -> Result<PgConnection> {
        let (front, back) = &self.postgres;
        let mut connection = PgConnection::connect(&format!("{front}{database}{back}")).await?;
        let path = format!("SET search_path TO \"{database}\", public");
        sqlx::raw_sql(sqlx::AssertSqlSafe(path)).execute(&mut connection).await?;
        Ok(connection)
    }
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
