//! A table with a million rows that is there before Tailrace comes, and that a hand keeps changing while it is copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use tokio::task::JoinSet;

use super::SHOP;
use crate::dice::Dice;
use crate::say;
use crate::writer::connect;

/// The table's name.
pub(super) const ARCHIVE: &str = "archive";
/// Rows at the beginning.
pub(super) const ROWS: u64 = 1 << 20;
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(5);

/// Makes the table, with all its rows.
pub(super) async fn make(url: &str) -> Result<()> {
    say(&format!("writing {ROWS} rows of history into {SHOP}.{ARCHIVE}"));
    let mut conn = connect(url, Some(SHOP)).await?;
    let create = format!(
        "CREATE TABLE {ARCHIVE} (id BIGINT PRIMARY KEY, customer VARCHAR(20) NOT NULL, total DECIMAL(12,2) NOT NULL,
         placed DATETIME(6) NOT NULL, note VARCHAR(60))"
    );
    conn.query_drop(create).await?;
    conn.query_drop(format!("INSERT INTO {ARCHIVE} VALUES (0, 'customer 0', 0, '2020-01-01', NULL)")).await?;
    let mut rows = 1;
    while rows < ROWS {
        let double = format!(
            "INSERT INTO {ARCHIVE} SELECT id + {rows}, CONCAT('customer ', (id + {rows}) % 5000), (id * 7 + {rows}) % 100000 / 100,
             placed + INTERVAL {rows} SECOND, IF(id % 3 = 0, NULL, CONCAT('order ', id + {rows})) FROM {ARCHIVE}"
        );
        conn.query_drop(double).await.context("writing history")?;
        rows *= 2;
    }
    conn.disconnect().await.context("closing a connection")
}

/// Changes rows of the table until it is told to end: each kind of change, also of keys.
pub(super) struct Hand {
    must_end: Arc<AtomicBool>,
    task: JoinSet<Result<u64>>,
}

impl Hand {
    pub(super) fn start(url: &str, seed: u64) -> Hand {
        let must_end = Arc::new(AtomicBool::new(false));
        let mut task = JoinSet::new();
        task.spawn(change(url.to_owned(), Dice::new(seed), Arc::clone(&must_end)));
        Hand { must_end, task }
    }

    /// Ends it; tells how many statements it ran.
    pub(super) async fn end(mut self) -> Result<u64> {
        self.must_end.store(true, Ordering::SeqCst);
        let ended = self.task.join_next().await.context("the hand that changes history is gone")?;
        ended.context("the hand that changes history")?
    }
}

async fn change(url: String, mut dice: Dice, must_end: Arc<AtomicBool>) -> Result<u64> {
    let mut conn = connect(&url, Some(SHOP)).await?;
    let mut statements = 0;
    while !must_end.load(Ordering::SeqCst) {
        let (one, other) = (dice.below(ROWS), ROWS + dice.below(ROWS));
        let statement = match dice.below(5) {
            0 => format!("UPDATE {ARCHIVE} SET total = total + 1 WHERE id BETWEEN {one} AND {one} + 20"),
            1 => format!("DELETE FROM {ARCHIVE} WHERE id = {one}"),
            2 => format!("REPLACE INTO {ARCHIVE} VALUES ({one}, 'new', 1, '2024-02-29 12:00:00.5', 'again')"),
            3 => format!("UPDATE IGNORE {ARCHIVE} SET id = {other} WHERE id = {one}"),
            _ => format!("UPDATE IGNORE {ARCHIVE} SET id = id - {ROWS} WHERE id >= {ROWS} ORDER BY id LIMIT 1"),
        };
        conn.query_drop(&statement).await.with_context(|| statement.clone())?;
        statements += 1;
        tokio::time::sleep(PAUSE).await;
    }
    conn.disconnect().await.context("closing a connection")?;
    Ok(statements)
}

/// A bar for the eye: how many of so many rows are there.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for the eye")]
pub(super) fn bar(done: u64) -> String {
    const WIDTH: usize = 30;
    let part = (done as f64 / ROWS as f64).min(1.0);
    let filled = (part * WIDTH as f64) as usize;
    format!("history [{}{}] {done} rows, {:.0} %", "#".repeat(filled), ".".repeat(WIDTH - filled), part * 100.0)
}
