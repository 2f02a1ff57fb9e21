//! Tables of which changes are missing, and that begin anew by themselves (E10).
//!
//! A table that was out of the configuration for a while, or whose capture was begun anew, has rows in the target that the source deleted
//! meanwhile. A copy adds and replaces rows, and removes none, so it would leave them there for ever. Why emptying the target at a
//! barrier and copying anew is right:
//!
//! 1. The barrier lies behind everything that was captured of the table before, so no row from before is applied behind it, however far
//!    behind apply is; and before everything that comes, so nothing of that is removed.
//! 2. It takes a transaction's number of its own, so that its sequence is nobody else's, and above all that lies before it.
//! 3. The ledger forgets the table behind it (or in its transaction, where that is the target's). A crash in between leaves the gap in the
//!    ledger: the table is emptied once more, and nothing was copied meanwhile.
//!
//! 4. Only a table that the source has is emptied, and only when the source's stream was opened: what can't be copied anew stays.
//!
//! It is asked for by `on_gap = "empty"`, because readers of the target miss rows until they are copied.

use tailrace_contract::{Checkpoint, LedgerEntry, Mark, Result, SchemaChange, Source, TableAct, TableFilter};
use tailrace_row::{Sequence, TableName};

use crate::{
    mapping::TableRules,
    state::ledger::{self, CopyState, TableEntry},
};

/// What is to be done before anything else is written.
pub(crate) struct Renewal {
    /// At this barrier the tables are emptied.
    pub(crate) change: SchemaChange,
    /// The checkpoint behind it.
    pub(crate) behind: Checkpoint,
    /// What forgets their copies.
    pub(crate) documents: Vec<LedgerEntry>,
}

impl Renewal {
    /// What has to begin anew at this checkpoint; none if nothing has. Inside a transaction that is split nothing can.
    pub(crate) async fn of(
        ledger: &[LedgerEntry],
        rules: &TableRules,
        at: &Checkpoint,
        (source, filter): (&dyn Source, &TableFilter),
    ) -> Result<Option<Self>> {
        let gaps = gaps(ledger, rules)?;
        if gaps.is_empty() {
            return Ok(None);
        }
        let there = source.tables(filter).await?;
        let (gaps, gone): (Vec<_>, Vec<_>) =
            gaps.into_iter().partition(|gap| there.iter().any(|table| *table.name() == gap.table));
        for TableEntry { table, .. } in gone {
            tracing::warn!(%table, "A GAP: changes of the table are missing, and the source has it no more: its target stays as it is");
        }
        if gaps.is_empty() {
            return Ok(None);
        }
        Ok(Self::at(ledger, &gaps, at))
    }

    fn at(ledger: &[LedgerEntry], gaps: &[TableEntry], at: &Checkpoint) -> Option<Self> {
        let names = gaps.iter().map(|gap| gap.table.to_string()).collect::<Vec<_>>().join(", ");
        if at.split.is_some() {
            tracing::warn!(
                tables = names,
                "the tables have gaps, and begin anew when capture is started between two transactions"
            );
            return None;
        }
        tracing::warn!(
            tables = names,
            "A GAP: changes of the tables are missing; their targets are emptied and copied anew"
        );
        let mark = Mark { transactions: at.mark.transactions + 1, ..at.mark.clone() };
        let change = SchemaChange {
            sequence: Sequence { epoch: at.epoch, transaction: mark.transactions, event: 0, row: 0 },
            place: at.mark.position.to_string().into(),
            committed_at_micros: 0,
            statement: "no statement: changes are missing, and the rows are copied anew".into(),
            acts: gaps.iter().map(|gap| TableAct::Renew { table: gap.table.clone() }).collect(),
        };
        let forget = |table: &TableName| ledger::forget_chunks(ledger, table);
        let documents = gaps.iter().flat_map(|gap| forget(&gap.table).into_iter().chain([gap.forget()])).collect();
        Some(Self { change, behind: Checkpoint { mark, ..at.clone() }, documents })
    }

    /// The ledger when that is done.
    pub(crate) fn forget_in(&self, ledger: &mut Vec<LedgerEntry>) {
        ledger.retain(|entry| self.documents.iter().all(|document| document.key != entry.key));
    }
}

/// The tables that have gaps and may be emptied.
fn gaps(ledger: &[LedgerEntry], rules: &TableRules) -> Result<Vec<TableEntry>> {
    let mut gaps = ledger::tables(ledger)?;
    gaps.retain(|table| table.state == CopyState::Gap && rules.is_renewed(&table.table));
    Ok(gaps)
}

#[cfg(test)]
mod tests {
    use tailrace_contract::{Position, SplitTransaction, TablePattern};
    use tailrace_row::Epoch;

    use super::*;
    use crate::mapping::{GapPolicy, TableRule, TargetRule};

    const EPOCH: Epoch = Epoch(3);

    fn at(split: Option<SplitTransaction>) -> Checkpoint {
        Checkpoint { epoch: EPOCH, mark: Mark { position: Position::new("gtid:a:1-5"), transactions: 5 }, split }
    }

    fn rules(on_gap: GapPolicy) -> TableRules {
        let rule = TableRule::new(TablePattern::Database("shop".into()), TargetRule::SameName);
        TableRules::new(vec![TableRule { on_gap, ..rule }])
    }

    /// What the ledger has of two tables, one of which has a gap.
    fn ledger() -> Vec<LedgerEntry> {
        let entry = |table, state| {
            let mut entry = TableEntry::new(TableName::new("shop", table), EPOCH, "id".to_owned(), 10, 0.0);
            entry.state = state;
            entry.to_entry()
        };
        vec![entry("items", CopyState::Done), entry("orders", CopyState::Gap)]
    }

    #[test]
    fn a_table_with_a_gap_begins_anew_behind_what_was_captured() {
        let mut ledger = ledger();
        let found = gaps(&ledger, &rules(GapPolicy::Empty)).unwrap();
        let renewal = Renewal::at(&ledger, &found, &at(None)).expect("a renewal");
        assert_eq!(renewal.change.acts, [TableAct::Renew { table: TableName::new("shop", "orders") }]);
        assert_eq!(renewal.change.sequence, Sequence { epoch: EPOCH, transaction: 6, event: 0, row: 0 });
        assert_eq!((renewal.behind.mark.transactions, renewal.behind.epoch), (6, EPOCH));
        assert_eq!(renewal.behind.mark.position, at(None).mark.position);
        renewal.forget_in(&mut ledger);
        let left = ledger::tables(&ledger).unwrap();
        assert_eq!(left.iter().map(|table| &*table.table.table).collect::<Vec<_>>(), ["items"]);
        assert!(gaps(&ledger, &rules(GapPolicy::Empty)).unwrap().is_empty(), "once");
    }

    #[test]
    fn nothing_is_emptied_unasked_or_inside_a_transaction() {
        assert!(gaps(&ledger(), &rules(GapPolicy::Wait)).unwrap().is_empty());
        let found = gaps(&ledger(), &rules(GapPolicy::Empty)).unwrap();
        let last = Sequence { epoch: EPOCH, transaction: 6, event: 1, row: 0 };
        let inside = at(Some(SplitTransaction { name: "a:6".into(), last }));
        assert!(Renewal::at(&ledger(), &found, &inside).is_none());
    }
}
