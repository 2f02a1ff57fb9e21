//! Where to begin when there is no checkpoint yet.

use tailrace_contract::{Checkpoint, LedgerEntry, Mark, Position, Result, Source, StartAt};
use tailrace_row::Epoch;

use crate::{mapping::TableRules, state::ledger, telemetry::seconds_now};

/// The checkpoint that `start` means now. It is saved before the first change is read, so that it means the same after a crash.
pub(crate) async fn first_checkpoint(
    source: &dyn Source,
    start: &StartAt,
    rules: &TableRules,
    known: Option<Epoch>,
) -> Result<Checkpoint> {
    let position = source.position(start).await?;
    if *start == StartAt::Now {
        warn_of_history(source, rules).await?;
    }
    Ok(first_checkpoint_at(position, known))
}

/// The first checkpoint of a log or a stream, at that position, above the epochs that are known.
pub(crate) fn first_checkpoint_at(position: Position, known: Option<Epoch>) -> Checkpoint {
    let mark = Mark { position, transactions: 0 };
    Checkpoint { epoch: new_epoch(seconds_now(), known), mark, split: None }
}

/// The highest epoch that is known where there is no checkpoint: what the log (or the target) told, and the ledger's tables.
pub(crate) fn known_epoch(told: Option<Epoch>, ledger: &[LedgerEntry]) -> Result<Option<Epoch>> {
    Ok(ledger::tables(ledger)?.iter().map(|table| table.epoch).chain(told).max())
}

/// Rows that are in a table now and are not to be copied: the operator must hear it.
async fn warn_of_history(source: &dyn Source, rules: &TableRules) -> Result<()> {
    for schema in source.tables(&rules.filter()).await? {
        if !rules.is_copied(schema.name()) && source.has_rows(schema.name()).await? {
            tracing::warn!(table = %schema.name(),
                "HISTORY IS NOT COPIED: the table has rows, backfill is \"off\", and start = \"now\" captures only what changes from now on");
        }
    }
    Ok(())
}

/// The epoch of a log, or a stream, that has no checkpoint: the second in which it begins. Transactions are counted from zero again, and
/// a target may hold sequences of an earlier checkpoint that was lost or deleted. Were the new ones not above them, apply
/// could take them for records that it has. A clock may be behind the one that went before, so whatever is left of that counts too.
fn new_epoch(seconds_since_1970: f64, known: Option<Epoch>) -> Epoch {
    let above = known.map_or(1, |known| known.0.saturating_add(1));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast to an integer stops at its limits"
    )]
    Epoch((seconds_since_1970 as u32).max(above))
}

#[cfg(test)]
mod tests {
    use tailrace_row::Sequence;

    use super::*;

    #[test]
    fn e15_a_log_without_checkpoint_begins_above_all_that_went_before() {
        let first = |epoch| Sequence { epoch, transaction: 1, event: 0, row: 0 };
        let last = |epoch| Sequence { epoch, transaction: u64::MAX, event: u32::MAX, row: u32::MAX };
        let now = seconds_now();
        assert!(first(new_epoch(now, None)) > last(Epoch(1)), "above what was counted from a fixed epoch");
        assert!(first(new_epoch(now + 1.0, None)) > last(new_epoch(now, None)));
        assert_eq!(new_epoch(0.0, None), Epoch(1), "a clock that was never set");
        let ahead = new_epoch(now + 7200.0, None);
        assert!(first(new_epoch(now, Some(ahead))) > last(ahead), "whatever this machine's clock says");
        assert_eq!(new_epoch(now, Some(Epoch(7))), new_epoch(now, None), "the clock is above what is known");
    }
}
