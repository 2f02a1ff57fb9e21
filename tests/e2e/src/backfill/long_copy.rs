//! A copy that takes long enough to be disturbed many times, and what must hold of it: what was counted stays counted, and no key is
//! read into two chunks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, anyhow, ensure};
use lab::process::Tailrace;
use lab::say;
use lab::writer::Dice;
use serde_json::Value;

use super::{LIMIT, chain, consumer::Consumer, documents, fill, ledger_of};
use crate::harness::{Crowd, Scene, seed, wait_until};

pub(super) const TABLES: [&str; 2] = ["first", "second"];
const ROWS: u32 = 40_000;
/// Many more chunks than are copied between two disturbances.
const CHUNKS: &str = "\n[backfill]\nreaders = 2\nchunk_bytes = \"64KiB\"\n";
/// A point is reached this often before the process dies.
const COUNT_MAX: u64 = 5;

/// See the module.
pub(super) struct Copy {
    pub(super) scene: Scene,
    has_log: bool,
    pub(super) seed: u64,
}

impl Copy {
    pub(super) fn begin(scene: Scene, has_log: bool) -> Result<Copy> {
        let seed = seed(&scene.database);
        for table in TABLES {
            scene.source(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, n INT NOT NULL, note VARCHAR(600))"))?;
            fill(&scene, ROWS, &format!("{table} (id, n, note)"), "i, 0, REPEAT('x', 400 + i % 200)")?;
        }
        let text = if has_log { scene.config() } else { scene.embedded_config() };
        scene.write_config(&(text.replace("backfill = \"off\"\n", "") + CHUNKS))?;
        scene.make_target()?;
        Ok(Copy { scene, has_log, seed })
    }

    /// The rest is copied in chunks of the usual size, by whoever starts from now on.
    pub(super) fn speed_up(&self) -> Result<()> {
        let text = fs::read_to_string(self.scene.config_file())?;
        let (before, _) = text.split_once(CHUNKS).context("the configuration has small chunks")?;
        self.scene.write_config(before)
    }

    /// The chunks that are copied, by key; none before there is a ledger. A broker that is only just back may name no leader at first.
    pub(super) fn chunks(&self) -> Result<BTreeMap<String, Value>> {
        let mut read = Err(anyhow!("it was not read"));
        let told = wait_until("the ledger can be read", LIMIT, || {
            read = self.chunks_now();
            Ok(read.is_ok())
        });
        told.and(read)
    }

    fn chunks_now(&self) -> Result<BTreeMap<String, Value>> {
        let has_ledger = if self.has_log {
            self.scene.all_topics()?.contains(&format!("{}.ledger", self.scene.prefix))
        } else {
            let query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'tailrace' AND tablename = 'ledger'";
            self.scene.target_number(query)? == 1
        };
        if !has_ledger {
            return Ok(BTreeMap::new());
        }
        let mut all = ledger_of(&self.scene, self.has_log)?;
        all.retain(|key, _| TABLES.iter().any(|table| key.starts_with(&self.chunk_prefix(table))));
        Ok(all)
    }

    fn chunk_prefix(&self, table: &str) -> String {
        format!("chunk/{}.{table}/", self.scene.database)
    }

    pub(super) fn die_at(&self, command: &str, point: &str, dice: &mut Dice) -> Result<()> {
        let fault = format!("{point}:{}", 1 + dice.below(COUNT_MAX));
        let mut process = self.scene.launch(&[command])?.variable("TAILRACE_FAULT", &fault).spawn()?;
        let status = process.wait_exit(LIMIT).with_context(|| format!("{fault} is reached"))?;
        ensure!(status.signal() == Some(9), "{fault}: ended with {status}: {}", process.log_text());
        Ok(())
    }

    /// Waits until more chunks are copied than before.
    pub(super) fn wait_grown(&self, process: &mut Tailrace, chunks: usize) -> Result<()> {
        wait_until("chunks are copied", LIMIT, || {
            ensure!(process.is_running(), "it ended: {}", process.log_text());
            Ok(self.chunks()?.len() > chunks)
        })
    }

    /// What was copied before is copied, and something is left.
    pub(super) fn ensure_under_way(&self, before: &BTreeMap<String, Value>) -> Result<()> {
        let after = self.chunks()?;
        let is_kept = |(key, chunk): (&String, &Value)| after.get(key) == Some(chunk);
        ensure!(before.iter().all(is_kept), "a chunk that was copied is not counted any more");
        let is_left = |table: &&str| chain(&after, &self.chunk_prefix(table)).is_err();
        ensure!(TABLES.iter().any(is_left), "{} chunks: all is copied", after.len());
        Ok(())
    }

    /// Lets the copy come to its end, and judges.
    pub(super) fn finish(&self, processes: &mut [&mut Tailrace], crowd: Crowd<'_>) -> Result<()> {
        let scene = &self.scene;
        let before = self.chunks()?.len();
        wait_until("all is copied", LIMIT, || {
            for process in processes.iter_mut() {
                ensure!(process.is_running(), "it ended: {}", process.log_text());
            }
            let copies = documents(scene, self.has_log)?;
            Ok(copies.len() > TABLES.len() && copies.iter().all(|copy| copy["state"] == "done"))
        })?;
        let changes = crowd.close()?;
        scene.wait_drained()?;
        let rows = scene.ensure_equal()?;
        let chunks = self.chunks()?;
        let (mut written, mut dropped) = (0, 0);
        for table in TABLES {
            let of_table = chain(&chunks, &self.chunk_prefix(table))?;
            ensure!(of_table.0 + of_table.1 <= u64::from(ROWS), "{table}: {of_table:?} rows of {ROWS} were copied");
            (written, dropped) = (written + of_table.0, dropped + of_table.1);
            if self.has_log {
                let consumer = Consumer::read(scene, table)?;
                ensure!(consumer.copied == of_table.0, "{} rows in the log, {of_table:?} counted", consumer.copied);
                consumer.ensure_equal(scene, table, &["id", "n", "note"])?;
            }
        }
        ensure!(dropped > 0, "no window met a change");
        say(&format!(
            "{}: {changes} changes, {rows} rows equal; {before} of {} chunks when it was left alone; {written} rows copied, {dropped} dropped",
            scene.database,
            chunks.len()
        ));
        Ok(())
    }
}

/// A change of some rows.
pub(super) fn change(dice: &mut Dice) -> String {
    let (table, id) = (dice.pick(&TABLES), 1 + dice.below(u64::from(ROWS) - 10));
    match dice.below(4) {
        0 | 1 => format!("UPDATE {table} SET n = n + 1 WHERE id BETWEEN {id} AND {id} + 9"),
        2 => format!("DELETE FROM {table} WHERE id BETWEEN {id} AND {id} + 2"),
        _ => format!("INSERT IGNORE INTO {table} VALUES ({id}, -1, 'again'), ({id} + 1, -1, NULL)"),
    }
}
