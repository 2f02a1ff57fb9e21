//! A live shop: several connections that place, pay, pack, cancel and renumber orders at a given pace, in transactions over
//! several tables, with deadlocks and rollbacks among them.
//!
//! Each connection owns its customers, products and orders; the shared products are where they meet and collide. A lost
//! connection ends the writer with an error: what it committed must be known for certain.

mod pulse;
mod tally;
mod values;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

pub use crate::dice::Dice;
pub use pulse::Pulse;
pub use tally::{Change, Table, Tally};
use worker::Worker;

const TABLES: &str = include_str!("shop.sql");

/// How a shop is written to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// URL of an account that may write.
    pub url: String,
    /// Database of the shop.
    pub database: String,
    /// Connections, each with transactions of its own.
    pub connections: u32,
    /// Transactions a second that all of them aim at.
    pub rate: u32,
    /// Of all dice.
    pub seed: u64,
}

/// A running writer.
pub struct Writer {
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    workers: JoinSet<Result<()>>,
}

/// Creates the database with the shop's empty tables; an older one of this name is dropped first.
pub async fn create_shop(url: &str, database: &str) -> Result<()> {
    let mut conn = connect(url, None).await?;
    conn.query_drop(format!("DROP DATABASE IF EXISTS `{database}`")).await?;
    conn.query_drop(format!("CREATE DATABASE `{database}` CHARACTER SET utf8mb4")).await?;
    conn.query_drop(format!("USE `{database}`")).await?;
    for statement in TABLES.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
        conn.query_drop(statement).await.with_context(|| format!("creating the shop: {statement}"))?;
    }
    conn.disconnect().await.context("closing a connection")
}

impl Writer {
    /// Stocks the shop and begins to write.
    pub async fn start(settings: &Settings) -> Result<Writer> {
        let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let mut first =
            Worker::new(settings, 0, connect(&settings.url, Some(&settings.database)).await?, Arc::clone(&tally));
        first.stock_shared_products().await.context("stocking the shop")?;
        let mut workers = JoinSet::new();
        let pause = Duration::from_secs(1) * settings.connections / settings.rate.max(1);
        workers.spawn(work(first, pause, Arc::clone(&stop)));
        for number in 1..settings.connections {
            let conn = connect(&settings.url, Some(&settings.database)).await?;
            workers.spawn(work(Worker::new(settings, number, conn, Arc::clone(&tally)), pause, Arc::clone(&stop)));
        }
        Ok(Writer { tally, stop, workers })
    }

    /// What was committed so far.
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// An error if a connection has failed.
    pub fn check(&mut self) -> Result<()> {
        while let Some(ended) = self.workers.try_join_next() {
            ended.context("a writer's task")?.context("a writer stopped")?;
        }
        Ok(())
    }

    /// Lets the transactions in progress end and returns when nothing is written any more.
    pub async fn stop(mut self) -> Result<Arc<Tally>> {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.workers.join_next().await {
            ended.context("a writer's task")?.context("a writer stopped")?;
        }
        Ok(self.tally)
    }
}

/// One connection's life.
async fn work(mut worker: Worker, pause: Duration, stop: Arc<AtomicBool>) -> Result<()> {
    worker.open_shop().await.context("the first customers and products")?;
    let mut pace = interval(pause);
    // What was missed while the server was busy is caught up, within limits: that is how a shop's rush behaves.
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !stop.load(Ordering::SeqCst) {
        pace.tick().await;
        worker.transact().await?;
    }
    worker.close().await
}

/// A connection for the writer: UTC, strict, and no waiting for locks beyond a few seconds.
pub async fn connect(url: &str, database: Option<&str>) -> Result<Conn> {
    let options = Opts::from_url(url).context("the URL of MySQL")?;
    let builder = OptsBuilder::from_opts(options)
        .db_name(database)
        .stmt_cache_size(64)
        .setup(vec!["SET time_zone = '+00:00'", "SET innodb_lock_wait_timeout = 10"]);
    Conn::new(builder).await.context("connecting to MySQL")
}
