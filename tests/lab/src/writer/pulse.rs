//! A steady pulse in a table of its own: each beat is a transaction of one new row (and now and then an update, a delete
//! and a key change of old ones). Who sees beat N in the target knows how long its commit took to get there.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::connect;
use super::tally::{Change, Pending, Table, Tally};

/// Beats that stay as they were inserted.
const UNTOUCHED: u64 = 50;
/// Beats that stay at all.
const KEPT: u64 = 500;

/// A connection that beats.
pub struct Pulse {
    conn: Conn,
    tally: Arc<Tally>,
    beats: u64,
}

impl Pulse {
    /// Beats are counted in the writer's tally.
    pub async fn start(url: &str, database: &str, tally: Arc<Tally>) -> Result<Pulse> {
        Ok(Pulse { conn: connect(url, Some(database)).await?, tally, beats: 0 })
    }

    /// One beat; its number, and when its commit was answered. Numbers begin with 1 and rise by 1.
    pub async fn beat(&mut self) -> Result<(u64, Instant)> {
        self.beats += 1;
        let number = self.beats;
        self.commit(vec![("INSERT INTO pulses VALUES (?, NOW(6))", vec![number], Change::Insert)]).await?;
        let committed = Instant::now();
        if number.is_multiple_of(10) && number > UNTOUCHED {
            self.tidy(number - UNTOUCHED).await?;
        }
        Ok((number, committed))
    }

    /// Old beats move to keys below zero, one of ten; the oldest go.
    async fn tidy(&mut self, old: u64) -> Result<()> {
        let mut acts = vec![
            ("UPDATE pulses SET at = NOW(6) WHERE id = ?", vec![old], Change::Update),
            ("UPDATE pulses SET id = -id WHERE id = ?", vec![old], Change::KeyChange),
        ];
        if old > KEPT {
            acts.push((
                "DELETE FROM pulses WHERE id BETWEEN ? AND ?",
                vec![old - KEPT, old - KEPT + 9],
                Change::Delete,
            ));
        } else if old.is_multiple_of(20) {
            acts.push(("DELETE FROM pulses WHERE id = ?", vec![old - 5], Change::Delete));
        }
        self.commit(acts).await
    }

    async fn commit(&mut self, acts: Vec<(&'static str, Vec<u64>, Change)>) -> Result<()> {
        let mut pending = Pending::default();
        self.conn.query_drop("START TRANSACTION").await?;
        for (sql, values, change) in acts {
            self.conn.exec_drop(sql, values).await.context("beating")?;
            pending.note(Table::Pulses, change, self.conn.affected_rows());
        }
        self.conn.query_drop("COMMIT").await?;
        self.tally.commit(&pending);
        Ok(())
    }
}
