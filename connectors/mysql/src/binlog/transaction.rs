//! The transaction in progress, and the one that a restart resumes in its middle.

use std::sync::Arc;

use tailrace_contract::{Error, Result, SplitTransaction};
use tailrace_row::{Sequence, TableSchema};

use super::{held::Gathered, place::Span};
use crate::{events::Xid, gtid::TransactionId, position::FileOffset};

/// How far the stream is in its transactions.
pub(super) enum Phase {
    /// Behind the end of a transaction.
    Between,
    /// The event that names a transaction came; its first statement decides what it is.
    Named(Transaction),
    /// Inside of it: rows or statements may follow until it is committed.
    Open(Transaction),
}

/// What is remembered of a transaction until it ends.
pub(super) struct Transaction {
    /// None where the server gives no GTIDs.
    pub(super) id: Option<TransactionId>,
    pub(super) started_at: FileOffset,
    /// Its number in the epoch.
    pub(super) number: u64,
    pub(super) committed_at_micros: i64,
    pub(super) thread: Option<u64>,
    /// The number that its next rows event gets.
    pub(super) next_event: u32,
    /// Its GTID as text, made when the first captured row needs it.
    name: Option<Arc<str>>,
    /// The XA transaction whose first phase it is.
    pub(super) xid: Option<Xid>,
    /// What that first phase brought.
    pub(super) gathered: Gathered,
    /// The XA transaction whose second phase it is, and whose rows come with it.
    pub(super) second_phase_of: Option<SecondPhase>,
    pub(super) savepoints: Vec<Savepoint>,
    /// Records of it that were made in this stream and not taken back.
    pub(super) records: usize,
    /// Its statement is one that MariaDB logs in two parts, and not the part that takes effect.
    pub(super) is_unfinished_alter: bool,
    /// The captured table whose rows it changed last.
    pub(super) captured: Option<Arc<TableSchema>>,
    /// The last of its records that was handed over, now or before a restart.
    pub(super) last: Option<Sequence>,
}

impl Transaction {
    pub(super) fn new(
        id: Option<TransactionId>,
        number: u64,
        started_at: FileOffset,
        committed_at_micros: i64,
    ) -> Self {
        Self {
            id,
            started_at,
            number,
            committed_at_micros,
            thread: None,
            next_event: 0,
            name: None,
            xid: None,
            gathered: Gathered::default(),
            second_phase_of: None,
            savepoints: Vec::new(),
            records: 0,
            is_unfinished_alter: false,
            captured: None,
            last: None,
        }
    }

    /// The GTID's text, for records; none if the server gives no GTIDs.
    pub(super) fn gtid_text(&mut self) -> Option<Arc<str>> {
        let id = self.id?;
        Some(Arc::clone(self.name.get_or_insert_with(|| id.to_string().into())))
    }

    /// The name that proves which transaction it is, and in whose words: another server that has it too may have put its rows
    /// into other events, where event and row numbers mean other rows.
    pub(super) fn name(&self, server: &str) -> Arc<str> {
        match &self.id {
            Some(id) => format!("{id} on {server}").into(),
            None => format!("{} on {server}", self.started_at).into(),
        }
    }
}

/// What the second phase of an XA transaction decides, and where it lies.
pub(super) struct SecondPhase {
    pub(super) xid: Xid,
    pub(super) span: Span,
}

/// How far a transaction was when a savepoint was set.
#[derive(Clone, Default)]
pub(super) struct Savepoint {
    pub(super) name: String,
    pub(super) records: usize,
    pub(super) last: Option<Sequence>,
    pub(super) next_event: u32,
    pub(super) gathered: usize,
}

impl Transaction {
    /// Where it stands now.
    pub(super) fn savepoint(&self, name: String) -> Savepoint {
        let Self { records, last, next_event, .. } = *self;
        Savepoint { name, records, last, next_event, gathered: self.gathered.len() }
    }
}

/// The rest of a transaction of which the log has a part.
pub(super) struct Resumption {
    split: SplitTransaction,
    /// The last record of the log was met again.
    is_reached: bool,
}

/// What to do with the rows of an event while resuming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// The log has all of them.
    All,
    /// The log has those up to this row.
    Through(u32),
    Nothing,
}

impl Resumption {
    pub(super) fn new(split: SplitTransaction) -> Self {
        Self { split, is_reached: false }
    }

    /// The first transaction of the stream must be the one that was split.
    pub(super) fn begin(&self, transaction: &mut Transaction, server: &str) -> Result<()> {
        let (name, number) = (transaction.name(server), transaction.number);
        if name != self.split.name || number != self.split.last.transaction {
            return Err(Error::position_lost(format!(
                "the transaction that comes next is {name} (number {number}), and the log holds a part of {} (number {})",
                self.split.name, self.split.last.transaction
            ))
            .hint("go back to the server whose binlog was being read; if its history is lost, start anew"));
        }
        transaction.last = Some(self.split.last);
        Ok(())
    }

    pub(super) fn skip(&self, event: u32) -> Skip {
        match event.cmp(&self.split.last.event) {
            std::cmp::Ordering::Less => Skip::All,
            std::cmp::Ordering::Equal => Skip::Through(self.split.last.row),
            std::cmp::Ordering::Greater => Skip::Nothing,
        }
    }

    /// Whether the log has rows of this event or of a later one.
    pub(super) fn reaches(&self, event: u32) -> bool {
        self.split.last.event >= event
    }

    /// A row of the event in which the log ends was met.
    pub(super) fn meet(&mut self, row: u32) {
        self.is_reached |= row / 2 == self.split.last.row / 2;
    }

    /// The transaction ended.
    pub(super) fn end(&self) -> Result<()> {
        if self.is_reached {
            return Ok(());
        }
        Err(Error::position_lost(format!("transaction {} has fewer rows than the log holds of it", self.split.name))
            .hint("the server's history is not the one that was captured: start anew"))
    }
}

#[cfg(test)]
mod tests {
    use tailrace_contract::ErrorKind;
    use tailrace_row::Epoch;

    use super::*;

    const GTID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562:7";

    fn transaction() -> Transaction {
        let (uuid, number) = GTID.split_once(':').unwrap();
        let origin = crate::gtid::Origin { uuid: uuid.parse().unwrap(), tag: crate::gtid::Tag::default() };
        let gtid = crate::gtid::Gtid { origin, number: number.parse().unwrap() };
        let id = Some(TransactionId::Mysql(gtid));
        Transaction::new(id, 3, FileOffset { file: "b.1".into(), offset: 200 }, 0)
    }

    /// A replica logs the same transaction in events of its own size: the numbers of the part that is in the log would skip
    /// other rows there.
    #[test]
    fn a_part_is_resumed_only_on_the_server_that_numbered_it() {
        let name = transaction().name("server-a");
        let last = Sequence { epoch: Epoch(1), transaction: 3, event: 5, row: 8 };
        let resumption = Resumption::new(SplitTransaction { name, last });
        let mut again = transaction();
        resumption.begin(&mut again, "server-a").unwrap();
        assert_eq!(again.last, Some(last));
        let error = resumption.begin(&mut transaction(), "server-b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PositionLost);
        assert!(error.to_string().contains(GTID), "{error}");
    }
}
