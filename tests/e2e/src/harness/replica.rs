//! A server of the test's own that follows the scene's MySQL.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::{ADMIN_PASSWORD, Mysql};
use mysql_async::prelude::Queryable;

use super::{Scene, wait_until};

const LIMIT: Duration = Duration::from_secs(90);

/// A replica; it stays until the test removes it.
pub(crate) struct Replica {
    pub(crate) server: Mysql,
}

impl Scene {
    /// A configuration by which the source's connections also trust the authority of another server.
    pub(crate) fn trusting(&self, config: &str, other: &Mysql) -> Result<String> {
        let own = self.servers.mysql.ca_file();
        let authorities = fs::read_to_string(&own)? + &fs::read_to_string(other.ca_file())?;
        let both = self.folder().join("authorities.pem");
        fs::write(&both, authorities)?;
        Ok(config.replace(&own.display().to_string(), &both.display().to_string()))
    }
}

impl Replica {
    /// A fresh replica of the scene's MySQL, which must be one of its own. It has everything.
    pub(crate) fn fresh(scene: &Scene, name: &str, options: &[&str]) -> Result<Replica> {
        let options: Vec<&str> = ["--server-id=2"].iter().chain(options).copied().collect();
        let replica = Replica { server: Mysql::fresh(name, &options)? };
        let port = scene.servers.mysql.port()?;
        replica.run(
            scene,
            &format!(
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'root',
                   SOURCE_PASSWORD = '{ADMIN_PASSWORD}', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1;
                 START REPLICA"
            ),
        )?;
        replica.wait_caught_up(scene)?;
        Ok(replica)
    }

    /// Runs statements as its administrator.
    pub(crate) fn run(&self, scene: &Scene, statements: &str) -> Result<()> {
        let url = self.server.admin_url()?;
        let work = async {
            let mut connection = mysql_async::Conn::from_url(url).await?;
            connection.query_drop(statements).await?;
            Ok(connection.disconnect().await?)
        };
        scene.run_here(work).with_context(|| format!("on {}: {statements}", self.server.label()))
    }

    /// The last column of the first row of an answer.
    pub(crate) fn ask(&self, scene: &Scene, query: &str) -> Result<String> {
        let url = self.server.admin_url()?;
        let work = async {
            let mut connection = mysql_async::Conn::from_url(url).await?;
            let row: Option<mysql_async::Row> = connection.query_first(query).await?;
            connection.disconnect().await?;
            let row = row.context("an answer")?;
            row.get::<String, _>(row.len() - 1).context("a text")
        };
        scene.run_here(work).with_context(|| format!("on {}: {query}", self.server.label()))
    }

    /// Waits until it has what its source has now.
    pub(crate) fn wait_caught_up(&self, scene: &Scene) -> Result<()> {
        let rows = scene.source_rows("SELECT REPLACE(@@GLOBAL.gtid_executed, '\\n', '')")?;
        let executed = rows[0][0].as_deref().context("a set")?;
        let question = format!("SELECT CAST(GTID_SUBSET('{executed}', @@GLOBAL.gtid_executed) AS CHAR)");
        wait_until("the replica has everything", LIMIT, || Ok(self.ask(scene, &question)? == "1"))
    }
}
