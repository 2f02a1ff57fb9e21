//! What an order changes in the plan, and in the ledger.

use tailrace_contract::{Error, LedgerEntry, Result};
use tailrace_row::{Epoch, Key, TableName};

use super::plan::{Plan, TableCopy};
use crate::{
    state::ledger::{CopyState, TableEntry},
    telemetry::seconds_now,
};

/// What is done to a table.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Start,
    Pause,
    Resume,
    Cancel,
    Recopy { after: Option<Key>, until: Option<Key> },
}

/// What an order came to.
pub(super) struct Obeyed {
    /// To be stored.
    pub(super) documents: Vec<LedgerEntry>,
    /// What counts once they are.
    stored: Vec<(TableName, (u64, Option<TableEntry>))>,
}

impl Plan {
    /// Carries out an order for one table, or for all to which it applies. What it refuses it does not change.
    pub(super) fn obey(&self, table: Option<&TableName>, act: &Act) -> Result<Obeyed> {
        let mut obeyed = Obeyed { documents: Vec::new(), stored: Vec::new() };
        let mut refused = None;
        for copy in self.lock().iter_mut().filter(|copy| table.is_none_or(|table| copy.name == *table)) {
            match act.carry_out(copy, self.epoch) {
                Ok(documents) => {
                    obeyed.documents.extend(documents);
                    obeyed.stored.push((copy.name.clone(), copy.note_change()));
                }
                Err(error) => refused = Some(error),
            }
        }
        self.changed.notify_waiters();
        match (obeyed.stored.is_empty(), table, refused) {
            (false, ..) => Ok(obeyed),
            (true, Some(_), Some(error)) => Err(error),
            (true, Some(table), None) => Err(Error::refused(format!("the history of {table} is not copied here"))
                .hint("name a table of the source that [[table]] has, with backfill = \"auto\"")),
            (true, None, _) => Err(Error::refused(format!("there is no table to {}", act.verb()))),
        }
    }

    /// What was obeyed is stored; returns the tables.
    pub(super) fn note_obeyed(&self, stored: Vec<(TableName, (u64, Option<TableEntry>))>) -> Vec<TableName> {
        let note = |(table, stored): (TableName, (u64, Option<TableEntry>))| {
            self.with(&table, |copy| copy.note_stored(stored));
            table
        };
        stored.into_iter().map(note).collect()
    }
}

impl Obeyed {
    /// The documents, and what is to be noted when they are stored.
    #[expect(clippy::type_complexity, reason = "taken apart at once")]
    pub(super) fn into_parts(self) -> (Vec<LedgerEntry>, Vec<(TableName, (u64, Option<TableEntry>))>) {
        (self.documents, self.stored)
    }
}

impl Act {
    fn verb(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Recopy { .. } => "copy again",
        }
    }

    /// What is told when it is done.
    pub(super) fn done(&self) -> &'static str {
        match self {
            Self::Start => {
                "copied from the beginning. Rows that were deleted in the source while it was not copied stay in the target until \
                 they are verified"
            }
            Self::Pause => "paused, over restarts too. Chunks that are being read come to their end",
            Self::Resume => "copied on",
            Self::Cancel => "given up. Rows that were copied stay",
            Self::Recopy { .. } => "copied once more in this range. Rows are added and replaced, none is deleted",
        }
    }

    /// The documents to store; an error changes nothing.
    fn carry_out(&self, copy: &mut TableCopy, epoch: Epoch) -> Result<Vec<LedgerEntry>> {
        let state = copy.entry.as_ref().map(|entry| entry.state);
        match (self, state) {
            (Self::Pause, None | Some(CopyState::Copying)) => Ok(set(copy, epoch, CopyState::Paused)),
            (Self::Resume, Some(CopyState::Paused)) => Ok(go_on(copy, epoch)),
            (Self::Cancel, None | Some(CopyState::Copying | CopyState::Paused | CopyState::Failed)) => {
                Ok(set(copy, epoch, CopyState::Cancelled))
            }
            (Self::Start, Some(CopyState::Failed | CopyState::Cancelled | CopyState::Gap)) => Ok(begin_anew(copy)),
            (Self::Recopy { after, until }, Some(CopyState::Copying | CopyState::Paused | CopyState::Done))
                if has_order(copy) =>
            {
                Ok(copy_again(copy, epoch, after.clone(), until.clone()))
            }
            _ => Err(self.refuse(copy, state)),
        }
    }

    fn refuse(&self, copy: &TableCopy, state: Option<CopyState>) -> Error {
        let name = &copy.name;
        let is = match state {
            None => "has not begun to be copied",
            Some(CopyState::Copying) => "is being copied",
            Some(CopyState::Paused) => "is paused",
            Some(CopyState::Cancelled) => "was given up",
            Some(CopyState::Failed) => "can't be copied",
            Some(CopyState::Done) => "is copied to the end",
            Some(CopyState::Gap) => "was not captured for a while",
        };
        let hint = match state {
            Some(CopyState::Paused) => format!("tailrace backfill resume --table {name} lets it go on"),
            Some(CopyState::Done) => format!("tailrace backfill recopy --table {name} copies it once more"),
            Some(CopyState::Cancelled | CopyState::Failed | CopyState::Gap) => {
                format!("tailrace backfill start --table {name} begins anew")
            }
            Some(CopyState::Copying) | None => "tailrace backfill status tells how far it is".to_owned(),
        };
        Error::refused(format!("there is nothing to {}: {name} {is}", self.verb())).hint(hint)
    }
}

/// Whether bounds mean something yet.
fn has_order(copy: &TableCopy) -> bool {
    copy.entry.as_ref().is_some_and(|entry| !entry.order.is_empty())
}

fn set(copy: &mut TableCopy, epoch: Epoch, state: CopyState) -> Vec<LedgerEntry> {
    let entry = copy.entry_or_new(epoch);
    (entry.state, entry.reason) = (state, None);
    if state == CopyState::Cancelled {
        entry.ended_at = Some(seconds_now());
    }
    vec![entry.to_entry()]
}

/// One that was paused before it began begins now.
fn go_on(copy: &mut TableCopy, epoch: Epoch) -> Vec<LedgerEntry> {
    if has_order(copy) {
        return set(copy, epoch, CopyState::Copying);
    }
    begin_anew(copy)
}

fn begin_anew(copy: &mut TableCopy) -> Vec<LedgerEntry> {
    let known = copy.entry.take();
    let documents = known.iter().flat_map(|entry| entry.forget_chunks().into_iter().chain([entry.forget()])).collect();
    copy.begin_anew();
    documents
}

fn copy_again(copy: &mut TableCopy, epoch: Epoch, after: Option<Key>, until: Option<Key>) -> Vec<LedgerEntry> {
    let is_taken = !copy.taken.is_empty();
    let entry = copy.entry_or_new(epoch);
    if !is_taken && entry.state == CopyState::Done {
        // They are known by their number to whoever copies them.
        entry.segments.clear();
    }
    entry.copy_again(after, until);
    vec![entry.to_entry()]
}

#[cfg(test)]
mod tests {
    use tailrace_contract::ErrorKind;

    use super::*;
    use crate::state::ledger;

    const EPOCH: Epoch = Epoch(1);

    fn name() -> TableName {
        TableName::new("shop", "orders")
    }

    /// A table in that state, copied in part; none: its copy has not begun.
    fn plan(state: Option<CopyState>) -> Plan {
        let entry = state.map(|state| {
            let mut entry = TableEntry::new(name(), EPOCH, "id".to_owned(), 100, 0.0);
            (entry.state, entry.chunks, entry.rows_written) = (state, 2, 20);
            entry.segments[0].is_done = state == CopyState::Done;
            entry
        });
        let mut plan = Plan::new(EPOCH, 1_000_000);
        plan.add(name(), entry, Vec::new());
        plan
    }

    /// What a restart would find.
    fn stored(obeyed: &Obeyed) -> Option<CopyState> {
        let tables = ledger::tables(&obeyed.documents).unwrap();
        tables.first().map(|table| table.state)
    }

    fn recopy() -> Act {
        Act::Recopy { after: None, until: None }
    }

    #[test]
    fn each_order_leads_to_what_is_stored() {
        use CopyState::{Cancelled, Copying, Done, Failed, Gap, Paused};
        // What the ledger then has: none is a table that begins from nothing.
        let check = |state, act: Act, expect: Option<CopyState>| {
            let plan = plan(state);
            let obeyed = plan.obey(Some(&name()), &act).unwrap();
            assert_eq!(stored(&obeyed), expect, "{state:?} {act:?}");
            assert_eq!(plan.with(&name(), |copy| copy.entry.as_ref().map(|entry| entry.state)), expect);
        };
        check(None, Act::Pause, Some(Paused));
        check(Some(Copying), Act::Pause, Some(Paused));
        check(Some(Paused), Act::Resume, Some(Copying));
        check(None, Act::Cancel, Some(Cancelled));
        check(Some(Paused), Act::Cancel, Some(Cancelled));
        check(Some(Failed), Act::Cancel, Some(Cancelled));
        check(Some(Failed), Act::Start, None);
        check(Some(Cancelled), Act::Start, None);
        check(Some(Gap), Act::Start, None);
        check(Some(Done), recopy(), Some(Copying));
        check(Some(Copying), recopy(), Some(Copying));
        check(Some(Paused), recopy(), Some(Paused));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        use CopyState::{Cancelled, Copying, Done, Failed, Gap, Paused};
        let check = |state, act: Act| {
            let plan = plan(state);
            let error = plan.obey(Some(&name()), &act).err().expect("a refusal");
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains("shop.orders"), "{error}");
            assert_eq!(plan.with(&name(), |copy| copy.entry.as_ref().map(|entry| entry.state)), state);
        };
        for state in [Paused, Done, Cancelled, Failed, Gap] {
            check(Some(state), Act::Pause);
        }
        for state in [Copying, Done, Cancelled, Failed, Gap] {
            check(Some(state), Act::Resume);
        }
        for state in [Copying, Paused, Done] {
            check(Some(state), Act::Start);
        }
        for state in [Done, Cancelled, Gap] {
            check(Some(state), Act::Cancel);
        }
        for state in [Failed, Cancelled, Gap] {
            check(Some(state), recopy());
        }
        check(None, recopy());
        check(None, Act::Start);
        let other = TableName::new("shop", "items");
        let error = plan(None).obey(Some(&other), &Act::Pause).err().expect("a refusal");
        assert!(error.to_string().contains("the history of shop.items is not copied here"), "{error}");
        let error = plan(Some(CopyState::Done)).obey(None, &Act::Pause).err().expect("a refusal");
        assert!(error.to_string().contains("there is no table to pause"), "{error}");
    }

    #[test]
    fn a_copy_that_begins_anew_forgets_its_chunks_and_counts_nothing_of_before() {
        let plan = plan(Some(CopyState::Failed));
        let before = plan.with(&name(), |copy| copy.generation);
        let obeyed = plan.obey(Some(&name()), &Act::Start).unwrap();
        let keys: Vec<&str> = obeyed.documents.iter().map(|document| &*document.key).collect();
        assert_eq!(keys, ["chunk/shop.orders/000001", "chunk/shop.orders/000002", "table/shop.orders"]);
        assert!(obeyed.documents.iter().all(|document| document.value.is_none()));
        assert_eq!(plan.with(&name(), |copy| copy.generation), before + 1, "chunks that are being read count no more");
    }

    #[test]
    fn one_that_was_paused_before_it_began_begins_when_it_is_resumed() {
        let plan = plan(None);
        plan.obey(Some(&name()), &Act::Pause).unwrap();
        plan.obey(Some(&name()), &recopy()).err().expect("nobody knows the order of its key yet");
        let resumed = plan.obey(None, &Act::Resume).unwrap();
        assert_eq!(stored(&resumed), None);
        assert!(plan.with(&name(), |copy| copy.entry.is_none()));
    }

    #[test]
    fn a_part_is_copied_beside_what_is_left() {
        let plan = plan(Some(CopyState::Copying));
        plan.obey(Some(&name()), &recopy()).unwrap();
        let segments = plan.with(&name(), |copy| copy.entry.as_ref().map(|entry| entry.segments.len()));
        assert_eq!(segments, Some(2), "what was not copied yet is not forgotten");
    }
}
