//! The verdict: the table, what it rests on, and why it failed if it did.

use std::io::Write;

use super::SharedTally;
use super::board::{Kills, Role};
use super::history::ARCHIVE;
use super::killer::Exit;
use super::lag::{Seen, percentile};
use super::stage::Stage;
use crate::oracle::Comparison;
use crate::writer::{Change, Table};

pub(super) struct Report {
    pub(super) tally: SharedTally,
    /// How long was written.
    pub(super) seconds: f64,
    /// Transactions a second that were aimed at.
    pub(super) rate: u32,
    pub(super) kills: [Kills; 2],
    pub(super) lag: Seen,
    pub(super) comparisons: Vec<(Table, Comparison)>,
    /// Of the table that had rows before.
    pub(super) history: Comparison,
    /// Statements that changed it while it was copied.
    pub(super) changed: u64,
    pub(super) exits: Vec<Exit>,
}

impl Report {
    /// Whether everything held.
    pub(super) fn holds(&self) -> bool {
        self.failures().is_empty()
    }

    pub(super) fn print(&self, stage: &Stage) {
        let mut text = self.table();
        text.push_str(&self.summary());
        if self.writer_rate() < 1000.0 && self.rate >= 1000 {
            text.push_str("\nThis machine was too slow for 1,000 transactions a second.");
        }
        let failures = self.failures();
        for failure in &failures {
            text.push_str(&format!("\nFAILED: {failure}"));
        }
        if failures.is_empty() {
            text.push_str("\nEvery row of the source is in the target, and nothing else is.");
        }
        match stage.look_around() {
            Ok(commands) => text.push_str(&format!("\n\nLook around:\n  {commands}\n")),
            Err(error) => text.push_str(&format!("\n\nno commands to look around: {error:#}\n")),
        }
        // Nobody reads any more: the exit code still tells.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }

    fn table(&self) -> String {
        let mut text = format!(
            "\n{:<12} {:>8} {:>9} {:>9} {:>9} {:>12} {:>12}\n",
            "table", "rows", "inserts", "updates", "deletes", "key changes", "differences"
        );
        for (table, comparison) in &self.comparisons {
            let [inserts, updates, deletes, moves] = Change::ALL.map(|change| self.tally.count(*table, change));
            text.push_str(&format!(
                "{:<12} {:>8} {inserts:>9} {updates:>9} {deletes:>9} {moves:>12} {:>12}\n",
                table.name(),
                comparison.source_rows,
                comparison.differences
            ));
        }
        text.push_str(&format!(
            "{:<12} {:>8}  copied while {} statements changed it {:>18}\n",
            ARCHIVE, self.history.source_rows, self.changed, self.history.differences
        ));
        text
    }

    fn summary(&self) -> String {
        let [capture, apply] = self.kills;
        format!(
            "\nwriter   {} transactions in {:.0} s: {:.0} a second ({} were aimed at), {} rolled back\n\
             kills    capture {}, of them {} with a transaction open in Kafka; apply {}, of them {} with one open in PostgreSQL\n\
             lag      {}; with kills {}\n\
             SIGTERM  {}\n",
            self.tally.transactions(),
            self.seconds,
            self.writer_rate(),
            self.rate,
            self.tally.rollbacks(),
            capture.all,
            capture.in_flight,
            apply.all,
            apply.in_flight,
            lag_words(&self.lag.calm),
            lag_words(&self.lag.disturbed),
            self.exits
                .iter()
                .map(|exit| {
                    let code = exit.code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
                    format!("{} ended with {code} after {:.1} s", exit.role.name(), exit.seconds)
                })
                .collect::<Vec<_>>()
                .join(", ")
        )
    }

    /// What did not hold, in words.
    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (table, comparison) in &self.comparisons {
            failures.extend(difference_words(table.name(), comparison));
            let lacks = Change::ALL.iter().any(|change| self.tally.count(*table, *change) == 0);
            if lacks || comparison.source_rows == 0 {
                failures.push(format!("{}: not every kind of change occurred, or no row is left", table.name()));
            }
        }
        failures.extend(difference_words(ARCHIVE, &self.history));
        if self.history.source_rows == 0 || self.changed == 0 {
            failures.push(format!("{ARCHIVE}: there was no history, or nobody changed it"));
        }
        for role in Role::BOTH {
            if self.kills[role as usize].in_flight == 0 {
                failures.push(format!("no kill of {} hit a batch in flight", role.name()));
            }
        }
        if self.lag.lost > 0 {
            failures.push(format!("{} beats of the pulse never became visible", self.lag.lost));
        }
        failures.extend(
            self.exits
                .iter()
                .filter(|exit| exit.code != Some(0))
                .map(|exit| format!("{} ended with {:?} after SIGTERM, not with 0", exit.role.name(), exit.code)),
        );
        failures
    }

    #[expect(clippy::cast_precision_loss, reason = "for the eye")]
    fn writer_rate(&self) -> f64 {
        self.tally.transactions() as f64 / self.seconds
    }
}

pub(super) fn difference_words(table: &str, comparison: &Comparison) -> Vec<String> {
    let mut words: Vec<String> = comparison.examples.iter().map(|found| format!("{table}: {found}")).collect();
    let untold = comparison.differences - words.len() as u64;
    if untold > 0 {
        words.push(format!("{table}: {untold} more"));
    }
    words
}

fn lag_words(lags: &[std::time::Duration]) -> String {
    match (percentile(lags, 50), percentile(lags, 99)) {
        (Some(half), Some(most)) => {
            format!("p50 {} ms, p99 {} ms ({} beats)", half.as_millis(), most.as_millis(), lags.len())
        }
        _ => "not measured".to_owned(),
    }
}
