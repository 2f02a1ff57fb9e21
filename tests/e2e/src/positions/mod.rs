//! Servers that change under a running capture: one dies and its replica takes its place, files of the binlog end, numbers of tables
//! begin anew, a position comes from Debezium.

mod at_time;
mod failover;
mod files;
mod huge_file;
mod import;
mod lost_tail;
mod modes;

use anyhow::{Context, Result};
use lab::Mysql;
use mysql_async::prelude::Queryable;
use serde_json::Value;

use crate::harness::Scene;

/// Runs statements on a server that is not the scene's source, as its administrator.
fn run_on(scene: &Scene, server: &Mysql, statements: &str) -> Result<()> {
    let url = server.admin_url()?;
    let work = async {
        let mut connection = mysql_async::Conn::from_url(url).await?;
        connection.query_drop(statements).await?;
        Ok(connection.disconnect().await?)
    };
    scene.run_here(work).with_context(|| format!("on {}: {statements}", server.label()))
}

/// The first value of its answer.
fn ask(scene: &Scene, server: &Mysql, query: &str) -> Result<String> {
    let url = server.admin_url()?;
    let work = async {
        let mut connection = mysql_async::Conn::from_url(url).await?;
        let value: Option<String> = connection.query_first(query).await?;
        connection.disconnect().await?;
        value.context("an answer")
    };
    scene.run_here(work).with_context(|| format!("on {}: {query}", server.label()))
}

/// The last committed position, as the source's own text.
fn position(scene: &Scene) -> Result<String> {
    let status = scene.command(&["status", "--format", "json"])?;
    let status: Value = serde_json::from_str(&status.stdout).with_context(|| format!("no JSON: {status:?}"))?;
    let committed = status["position"]["committed"].as_str();
    Ok(committed.with_context(|| format!("no position in {status:#}"))?.to_owned())
}
