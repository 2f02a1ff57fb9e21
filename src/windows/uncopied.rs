//! The tables of which rows are still to be copied, as the ledger says it where the stream stands.

use std::collections::HashMap;

use tailrace_contract::{LedgerEntry, Result};
use tailrace_row::{RecordBatch, TableName};

use crate::{mapping::TableRules, state::ledger};

/// See the module `windows`, which has the argument.
#[derive(Default)]
pub(super) struct Uncopied {
    rules: TableRules,
    /// Whether a copy brings every row that is not there yet, by the table's name. A table that is not in it has no document: its copy
    /// has not begun.
    known: HashMap<Box<str>, bool>,
}

impl Uncopied {
    /// At the beginning of a session, with the ledger as it is stored.
    pub(super) fn new(rules: TableRules, ledger: &[LedgerEntry]) -> Result<Self> {
        let mut uncopied = Self { rules, known: HashMap::new() };
        uncopied.learn(ledger)?;
        Ok(uncopied)
    }

    /// Takes over documents, which are written before anything else is.
    pub(super) fn learn(&mut self, entries: &[LedgerEntry]) -> Result<()> {
        for table in ledger::forgotten(entries) {
            self.known.remove(table);
        }
        for table in ledger::tables(entries)? {
            self.known.insert(table.table.to_string().into(), table.brings_all());
        }
        Ok(())
    }

    /// Notes of the batch's changes in part whose rows may not be there yet that they are copied later.
    pub(super) fn mark(&self, batch: &mut RecordBatch) {
        batch.allow_absence(0, |schema| self.contains(schema.name()));
    }

    /// Under a condition rows are left out for good.
    fn contains(&self, table: &TableName) -> bool {
        let is_copied = self.rules.is_copied(table) && self.rules.condition(table).is_none();
        is_copied && self.known.get(table.to_string().as_str()).copied().unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use tailrace_contract::TablePattern;
    use tailrace_row::Epoch;

    use super::*;
    use crate::{
        mapping::{TableRule, TargetRule},
        state::ledger::{CopyState, TableEntry},
    };

    fn name() -> TableName {
        TableName::new("shop", "orders")
    }

    fn rule() -> TableRule {
        TableRule::new(TablePattern::Table(name()), TargetRule::SameName)
    }

    fn uncopied(rule: TableRule, ledger: &[LedgerEntry]) -> Uncopied {
        Uncopied::new(TableRules::new(vec![rule]), ledger).unwrap()
    }

    #[test]
    fn e11_only_rows_that_a_copy_still_brings_may_be_absent() {
        use CopyState::{Cancelled, Copying, Done, Failed, Gap, Paused};
        assert!(uncopied(rule(), &[]).contains(&name()), "its copy has not begun");
        assert!(!uncopied(rule(), &[]).contains(&TableName::new("shop", "items")), "no rule has it");
        assert!(!uncopied(TableRule { is_copied: false, ..rule() }, &[]).contains(&name()), "it is not copied");
        let condition = Some("id > 100".into());
        assert!(!uncopied(TableRule { condition, ..rule() }, &[]).contains(&name()), "some rows never come");
        for state in [Copying, Paused, Cancelled, Failed, Done, Gap] {
            let mut entry = TableEntry::new(name(), Epoch(1), "id".to_owned(), 10, 0.0);
            entry.state = state;
            let of_state = uncopied(rule(), &[entry.to_entry()]);
            assert_eq!(of_state.contains(&name()), matches!(state, Copying | Paused), "{state:?}");
        }
    }

    #[test]
    fn e11_what_is_written_counts_at_once() {
        let mut entry = TableEntry::new(name(), Epoch(1), "id".to_owned(), 10, 0.0);
        let mut uncopied = uncopied(rule(), &[entry.to_entry()]);
        entry.state = CopyState::Done;
        uncopied.learn(&[entry.to_entry()]).unwrap();
        assert!(!uncopied.contains(&name()));
        entry.copy_again(None, None);
        assert_eq!(entry.state, CopyState::Copying);
        uncopied.learn(&[entry.to_entry()]).unwrap();
        assert!(!uncopied.contains(&name()), "a part of it is copied once more: all rows were there");
        let stored = ledger::tables(&[entry.to_entry()]).unwrap();
        assert!(stored[0].is_again, "over restarts too");
        uncopied.learn(&[entry.forget()]).unwrap();
        assert!(uncopied.contains(&name()), "it is copied from its beginning");
        let entry = LedgerEntry { key: "table/shop.orders".into(), value: Some("{}".into()) };
        assert!(uncopied.learn(&[entry]).is_err());
    }
}
