//! Where to begin when there is no checkpoint yet.

use tailrace_contract::{Checkpoint, Mark, Position, Result, Source, StartAt};
use tailrace_row::Epoch;

use crate::{mapping::TableRules, telemetry::seconds_now};

/// The checkpoint that `start` means now. It is saved before the first change is read, so that it means the same after a crash.
pub(crate) async fn first_checkpoint(source: &dyn Source, start: &StartAt, rules: &TableRules) -> Result<Checkpoint> {
    let position = source.position(start).await?;
    if *start == StartAt::Now {
        warn_of_history(source, rules).await?;
    }
    Ok(first_checkpoint_at(position))
}

/// The first checkpoint of a log or a stream, at that position.
pub(crate) fn first_checkpoint_at(position: Position) -> Checkpoint {
    let mark = Mark { position, transactions: 0 };
    Checkpoint { epoch: new_epoch(seconds_now()), mark, split: None }
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
/// would take every record for one that it has, and drop it.
fn new_epoch(seconds_since_1970: f64) -> Epoch {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast to an integer stops at its limits"
    )]
    Epoch((seconds_since_1970 as u32).max(1))
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
        assert!(first(new_epoch(now)) > last(Epoch(1)), "above what was counted from a fixed epoch");
        assert!(first(new_epoch(now + 1.0)) > last(new_epoch(now)));
        assert_eq!(new_epoch(0.0), Epoch(1), "a clock that was never set");
    }
}
