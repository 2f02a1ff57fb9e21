//! The source: rows, the binlog, and the three moments at which a transaction is delivered, visible and executed.
//!
//! A transaction is atomic here: what it does before it stands in the binlog concerns only those who read uncommitted
//! rows. Its row locks are held until it is visible, so the next transaction on a key finds all earlier ones visible.
//! Transactions that have no key in common become visible in any order (`binlog_order_commits = OFF`), on MariaDB in
//! the binlog's. A statement that changes the table has it to itself until it is visible, so nobody can look in
//! between.

use crate::rows::{Key, Keys, Rows, Version};

/// What one statement does to rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Change {
    /// An insert, or an update whose image is whole.
    Put(Key),
    /// An update whose image lacks columns.
    Patch(Key),
    Delete(Key),
    /// An update of the key.
    Move {
        from: Key,
        to: Key,
    },
}

impl Change {
    /// Keys before and after.
    pub(crate) fn keys(self) -> Keys {
        match self {
            Self::Put(key) | Self::Patch(key) | Self::Delete(key) => Keys::of(key),
            Self::Move { from, to } => Keys::of(from).and(Keys::of(to)),
        }
    }

    /// The rows behind it, for who asks only which keys they have.
    pub(crate) fn outcome(self, mut rows: Rows) -> Rows {
        self.apply(&mut rows, Version::HISTORY);
        rows
    }

    fn apply(self, rows: &mut Rows, version: Version) {
        match self {
            Self::Put(key) | Self::Patch(key) => rows.put(key, version),
            Self::Delete(key) => rows.delete(key),
            Self::Move { from, to } => {
                rows.delete(from);
                rows.put(to, version);
            }
        }
    }
}

/// What stands in the binlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    Transaction(Change, Option<Change>),
    Truncate,
    /// A new file: the binlog's end moves, no transaction does it.
    Rotate,
}

impl Event {
    pub(crate) fn change(self, index: u8) -> Option<Change> {
        match (self, index) {
            (Self::Transaction(first, _), 0) => Some(first),
            (Self::Transaction(_, second), 1) => second,
            (Self::Transaction(..) | Self::Truncate | Self::Rotate, _) => None,
        }
    }

    fn changes(self) -> impl Iterator<Item = Change> {
        (0..2).filter_map(move |index| self.change(index))
    }

    fn keys(self) -> Keys {
        match self {
            Self::Truncate => Keys::ALL,
            Self::Transaction(..) | Self::Rotate => {
                self.changes().fold(Keys::NONE, |keys, change| keys.and(change.keys()))
            }
        }
    }
}

/// How far a transaction has come. It is delivered to replicas from the first on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// In the binlog; a `SELECT` does not see it.
    Delivered,
    /// A view that is opened now sees it; the executed GTID set lacks it.
    Visible,
    /// In the executed GTID set.
    Executed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) event: Event,
    pub(crate) stage: Stage,
    /// The server's, counted by failovers.
    epoch: u8,
}

/// A place in the binlog: complete entries, and changes of the next one. Ends of the binlog and watermarks count
/// entries alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) entries: u8,
    pub(crate) changes: u8,
}

impl Position {
    pub(crate) fn behind(entries: u8) -> Self {
        Self { entries, changes: 0 }
    }

    pub(crate) fn is_between_transactions(self) -> bool {
        self.changes == 0
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// Rows from before the binlog: what backfill is for.
    history: Rows,
    pub(crate) binlog: Vec<Entry>,
    /// Entries that the server has which capture reads: all, where the protocol is kept.
    pub(crate) arrived: u8,
    /// Failovers so far.
    pub(crate) epoch: u8,
    /// A row that a transaction wrote and will roll back.
    pub(crate) uncommitted: Option<Key>,
}

impl Source {
    pub(crate) fn new(history: Rows) -> Self {
        Self { history, binlog: Vec::new(), arrived: 0, epoch: 0, uncommitted: None }
    }

    /// Entries in the binlog.
    pub(crate) fn end(&self) -> u8 {
        u8::try_from(self.binlog.len()).expect("invariant: a scene has few transactions")
    }

    pub(crate) fn entry(&self, index: u8) -> Option<&Entry> {
        self.binlog.get(usize::from(index))
    }

    /// Behind the next change, or behind the next entry that has none.
    pub(crate) fn next(&self, position: Position) -> Position {
        let entry = self.entry(position.entries).expect("invariant: nobody reads behind the end");
        let has_more = entry.event.change(position.changes + 1).is_some();
        if has_more {
            Position { changes: position.changes + 1, ..position }
        } else {
            Position::behind(position.entries + 1)
        }
    }

    /// The rows as of a position: what consumers of the log must have by then.
    pub(crate) fn rows_at(&self, position: Position) -> Rows {
        let mut rows = self.history;
        for (index, entry) in (0..).zip(&self.binlog) {
            let changes = match index.cmp(&position.entries) {
                std::cmp::Ordering::Less => u8::MAX,
                std::cmp::Ordering::Equal => position.changes,
                std::cmp::Ordering::Greater => break,
            };
            entry.apply(index, changes, &mut rows);
        }
        rows
    }

    /// The rows after all that is in the binlog.
    pub(crate) fn rows(&self) -> Rows {
        self.rows_at(Position::behind(self.end()))
    }

    /// What a view shows that is opened now.
    pub(crate) fn rows_visible(&self) -> Rows {
        let mut rows = self.history;
        for (index, entry) in (0..).zip(&self.binlog).filter(|(_, entry)| entry.stage >= Stage::Visible) {
            entry.apply(index, u8::MAX, &mut rows);
        }
        rows
    }

    /// What READ UNCOMMITTED shows.
    pub(crate) fn rows_uncommitted(&self) -> Rows {
        let mut rows = self.rows();
        if let Some(key) = self.uncommitted {
            rows.put(key, Version::UNCOMMITTED);
        }
        rows
    }

    /// Keys that a running transaction has locked.
    pub(crate) fn locked(&self) -> Keys {
        let delivered = self.binlog.iter().filter(|entry| entry.stage == Stage::Delivered);
        let keys = delivered.fold(Keys::NONE, |keys, entry| keys.and(entry.event.keys()));
        self.uncommitted.map_or(keys, |key| keys.and(Keys::of(key)))
    }

    /// Whether the first entries are all executed, and so visible.
    pub(crate) fn has_executed(&self, entries: u8) -> bool {
        self.binlog.iter().take(usize::from(entries)).all(|entry| entry.stage == Stage::Executed)
    }

    /// How many of the first entries are visible without a gap: MariaDB's `binlog_snapshot_position`.
    pub(crate) fn snapshot_position(&self) -> u8 {
        let gap = (0..).zip(&self.binlog).find(|(_, entry)| entry.stage == Stage::Delivered);
        gap.map_or(self.end(), |(index, _)| index)
    }

    /// Behind the last entry of the executed GTID set.
    pub(crate) fn executed_end(&self) -> u8 {
        let executed = (1..).zip(&self.binlog).filter(|(_, entry)| entry.stage == Stage::Executed);
        executed.last().map_or(0, |(end, _)| end)
    }

    /// Whether an entry may become visible: after all earlier ones that have a key in common with it.
    pub(crate) fn can_show(&self, index: u8) -> bool {
        let Some(entry) = self.entry(index) else { return false };
        let earlier = self.binlog.iter().take(usize::from(index));
        let mut waiting = earlier.filter(|other| other.stage == Stage::Delivered);
        entry.stage == Stage::Delivered && waiting.all(|other| other.event.keys().has_none_of(entry.event.keys()))
    }

    pub(crate) fn append(&mut self, event: Event) {
        let stage = match event {
            Event::Transaction(..) => Stage::Delivered,
            Event::Truncate | Event::Rotate => Stage::Executed,
        };
        self.binlog.push(Entry { event, stage, epoch: self.epoch });
    }

    /// Capture's server has all that was written.
    pub(crate) fn arrive(&mut self) {
        self.arrived = self.end();
    }

    /// Another server takes over that has only the first entries; they are long done there.
    pub(crate) fn fail_over(&mut self, entries: u8) {
        self.binlog.truncate(usize::from(entries));
        for entry in &mut self.binlog {
            entry.stage = Stage::Executed;
        }
        self.arrive();
        self.uncommitted = None;
        self.epoch += 1;
    }
}

impl Entry {
    pub(crate) fn version(&self, at: Position) -> Version {
        Version::new(self.epoch, at)
    }

    fn apply(&self, index: u8, changes: u8, rows: &mut Rows) {
        if self.event == Event::Truncate && changes > 0 {
            *rows = Rows::default();
        }
        for (number, change) in (0..changes).zip(self.event.changes()) {
            change.apply(rows, self.version(Position { entries: index, changes: number }));
        }
    }
}
