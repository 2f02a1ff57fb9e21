//! A table of small rows and a writer that outlives its server: after an error it connects again and goes on. What it
//! committed is told by the server alone; the writer itself remembers only which keys it may use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use lab::writer::Dice;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::task::JoinHandle;

use super::{PARTITIONS, READY_LIMIT, Scene, wait_until};

/// The table's name.
pub(crate) const LEDGER: &str = "ledger";
/// Keys lie below it, so that each is changed, deleted and inserted again many times.
pub(crate) const KEYS: u64 = 2_000;
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A running writer.
pub(crate) struct Ledger<'a> {
    scene: &'a Scene,
    stop: Arc<AtomicBool>,
    transactions: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Scene {
    /// Makes the empty table.
    pub(crate) fn make_ledger(&self) -> Result<()> {
        self.source(&format!(
            "CREATE TABLE {LEDGER} (id BIGINT PRIMARY KEY, version BIGINT NOT NULL, note VARCHAR(60) NOT NULL)"
        ))
    }

    /// Waits until apply has taken up all partitions of the table. They must have records.
    pub(crate) fn wait_ledger_applied(&self) -> Result<()> {
        let query = format!("SELECT count(next_offset) FROM tailrace.offsets WHERE \"table\" = '{LEDGER}'");
        let partitions = i64::from(PARTITIONS);
        wait_until("the ledger is applied", READY_LIMIT, || Ok(self.target_number(&query)? == partitions))
    }

    /// Begins to write as fast as one connection can, but for a pause of `pause` between transactions.
    pub(crate) fn open_ledger(&self, pause: Duration, seed: u64) -> Result<Ledger<'_>> {
        self.open_ledger_through(self.servers.mysql.port()?, pause, seed)
    }

    /// The same by way of a port behind which a server of that kind answers, perhaps now another one than later.
    pub(crate) fn open_ledger_through(&self, port: u16, pause: Duration, seed: u64) -> Result<Ledger<'_>> {
        let url = format!("mysql://root:{}@127.0.0.1:{port}/{}", lab::ADMIN_PASSWORD, self.database);
        let (stop, transactions) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let work = write(url, Dice::new(seed), pause, Arc::clone(&stop), Arc::clone(&transactions));
        Ok(Ledger { scene: self, stop, transactions, task: self.sql.spawn(work) })
    }
}

impl Ledger<'_> {
    /// Transactions whose commit was answered.
    pub(crate) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::SeqCst)
    }

    /// Ends it after the transaction in progress.
    pub(crate) fn close(self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.scene.sql.run(async { self.task.await.context("the ledger's writer") })?;
        Ok(self.transactions.load(Ordering::SeqCst))
    }
}

async fn write(url: String, mut dice: Dice, pause: Duration, stop: Arc<AtomicBool>, transactions: Arc<AtomicU64>) {
    let mut connection = None;
    while !stop.load(Ordering::SeqCst) {
        if connection.is_none() {
            connection = Conn::from_url(&url).await.ok();
        }
        let Some(open) = &mut connection else {
            tokio::time::sleep(RETRY_PAUSE).await;
            continue;
        };
        match transact(open, &mut dice).await {
            Ok(()) => {
                transactions.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(pause).await;
            }
            // The server is gone, perhaps after the commit.
            Err(_) => connection = None,
        }
    }
}

/// One to four changes of random rows.
async fn transact(connection: &mut Conn, dice: &mut Dice) -> mysql_async::Result<()> {
    connection.query_drop("START TRANSACTION").await?;
    for _ in 0..=dice.below(4) {
        let (id, other, note) = (dice.below(KEYS), dice.below(KEYS), dice.below(u64::MAX));
        let sql = match dice.below(10) {
            0..5 => format!(
                "INSERT INTO {LEDGER} VALUES ({id}, 1, 'note {note}') \
                 ON DUPLICATE KEY UPDATE version = version + 1, note = VALUES(note)"
            ),
            5..7 => format!("UPDATE {LEDGER} SET version = version + 1 WHERE id BETWEEN {id} AND {id} + 3"),
            7..9 => format!("DELETE FROM {LEDGER} WHERE id = {id}"),
            // Another key; nothing happens where that one is taken.
            _ => format!("UPDATE IGNORE {LEDGER} SET id = {other}, version = version + 1 WHERE id = {id}"),
        };
        connection.query_drop(sql).await?;
    }
    connection.query_drop("COMMIT").await
}
