//! The decisions of the protocol: when a window opens, when its chunk is read, where it ends, when it closes and with
//! what.
//!
//! They stand here as backfill and capture take them, each as one function, with the rule that a defect breaks beside
//! it.

use crate::{
    log::Record,
    rows::{Key, Keys, Rows},
    scene::{Defect, Scene, Server},
    source::{Change, Event, Position, Source},
    world::Capture,
};

/// A part of the table that is copied in one go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chunk {
    /// Keys of its range that are not copied.
    pub(crate) left: Keys,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Nothing is known of it; set at the start, and by everything that voids a window.
    Pending,
    /// Capture remembers keys for it.
    Open(Window),
    /// Its rows and its entry in the ledger lie in the open log transaction.
    Closed,
    /// Set by the commit of that.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// P: what capture had decoded when it began to remember.
    pub(crate) low: u8,
    /// Keys of records since.
    pub(crate) touched: Keys,
    /// Those of them whose records lack columns.
    pub(crate) patched: Keys,
    /// What the read saw.
    pub(crate) view: Option<Rows>,
    /// The keys of its range: those left of the chunk, up to the last row that it took.
    pub(crate) range: Keys,
    /// H.
    pub(crate) high: Option<u8>,
}

impl Chunk {
    pub(crate) fn new(left: Keys) -> Self {
        Self { left, phase: if left.is_empty() { Phase::Done } else { Phase::Pending } }
    }

    pub(crate) fn window(&self) -> Option<&Window> {
        match &self.phase {
            Phase::Open(window) => Some(window),
            Phase::Pending | Phase::Closed | Phase::Done => None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The chunk will be read again.
    pub(crate) fn void(&mut self) {
        if self.window().is_some() {
            self.phase = Phase::Pending;
        }
    }

    /// Capture has written a change of the table to the log.
    pub(crate) fn touch(&mut self, change: Change, rules: &Rules) {
        let Phase::Open(window) = &mut self.phase else { return };
        let keys = match change {
            Change::Move { to, .. } if rules.lack(Defect::OldKeyIsForgotten) => Keys::of(to),
            Change::Move { from, .. } if rules.lack(Defect::NewKeyIsForgotten) => Keys::of(from),
            Change::Put(_) | Change::Patch(_) | Change::Delete(_) | Change::Move { .. } => change.keys(),
        };
        window.touched = window.touched.and(keys);
        if matches!(change, Change::Patch(_)) {
            window.patched = window.patched.and(keys);
        }
    }
}

/// The protocol for one kind of server, whole or with a defect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) server: Server,
    pub(crate) rows_max: usize,
    pub(crate) defect: Option<Defect>,
}

impl Rules {
    pub(crate) fn new(scene: &Scene, defect: Option<Defect>) -> Self {
        Self { server: scene.server, rows_max: scene.rows_max, defect }
    }

    /// Whether they are broken in this way.
    pub(crate) fn lack(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// Step 1, capture's answer: P, where it stands and begins to remember; none inside a transaction.
    pub(crate) fn open(&self, capture: &Capture, checkpoint: Position) -> Option<Window> {
        let decoded = capture.decoded;
        if !decoded.is_between_transactions() && !self.lack(Defect::OpensInsideTransaction) {
            return None;
        }
        let low = if self.lack(Defect::LowIsCheckpoint) {
            checkpoint.entries
        } else if self.lack(Defect::LowIsRead) {
            capture.read.entries
        } else {
            decoded.entries
        };
        Some(Window { low, touched: Keys::NONE, patched: Keys::NONE, view: None, range: Keys::NONE, high: None })
    }

    /// Step 2: whether all that capture had decoded when it opened the window is visible.
    fn has_waited(&self, window: &Window, source: &Source) -> bool {
        match self.server {
            Server::Mysql | Server::MysqlReplica => source.has_executed(window.low) || self.lack(Defect::NoWait),
            // A snapshot from before P is given back, and another is taken.
            Server::MariaDb => source.snapshot_position() >= window.low || self.lack(Defect::SnapshotBeforeLow),
            // Whoever gets the lock finds no transaction that is still to be seen.
            Server::MysqlWithoutGtids if self.lack(Defect::LockIsReleasedEarly) => window.high.is_some(),
            Server::MysqlWithoutGtids => source.locked().is_empty(),
        }
    }

    /// Step 3, in a fresh view; where the position comes with the view, step 4 too.
    pub(crate) fn read(&self, window: &Window, left: Keys, source: &Source) -> Option<Window> {
        let may_read = self.has_waited(window, source) || self.lack(Defect::OldView);
        if window.view.is_some() || !may_read {
            return None;
        }
        let is_dirty = self.lack(Defect::ReadUncommitted);
        let view = if is_dirty { source.rows_uncommitted() } else { source.rows_visible() };
        let high = match self.server {
            Server::Mysql | Server::MysqlReplica => None,
            Server::MariaDb => Some(source.snapshot_position()),
            Server::MysqlWithoutGtids => window.high.or(Some(source.end())),
        };
        // A read that finds fewer rows than it may take has come to the end.
        let last = left.common(view.keys()).iter().nth(self.rows_max - 1);
        let range = left.iter().filter(|key| last.is_none_or(|last| *key <= last)).collect();
        Some(Window { view: Some(view), range, high, ..window.clone() })
    }

    /// Step 4: H, the end of the binlog of capture's server, asked after the read.
    pub(crate) fn bracket(&self, window: &Window, source: &Source) -> Option<Window> {
        let is_under_lock = self.server == Server::MysqlWithoutGtids;
        // The position is read under the lock, the view is opened without it.
        let comes_first = is_under_lock && self.lack(Defect::LockIsReleasedEarly) && source.locked().is_empty();
        let follows_read = window.view.is_some() && !is_under_lock && self.has_waited(window, source);
        if window.high.is_some() || !(follows_read || comes_first) {
            return None;
        }
        let high = if self.lack(Defect::HighIsExecuted) { source.executed_end() } else { source.arrived };
        Some(Window { high: Some(high), ..window.clone() })
    }

    /// Step 5: whether capture stands at or behind H, at the end of a transaction.
    pub(crate) fn can_close(&self, window: &Window, capture: &Capture, source: &Source) -> bool {
        let Some(high) = window.high.filter(|_| window.view.is_some()) else { return false };
        let is_at_end = capture.decoded.is_between_transactions() || self.lack(Defect::ClosesInsideTransaction);
        let reached = if self.lack(Defect::ClosesAsRead) {
            capture.read.entries
        } else if self.lack(Defect::ClosesByTransactions) {
            transactions_end(capture.decoded, source)
        } else {
            capture.decoded.entries
        };
        is_at_end && (reached >= high || self.lack(Defect::ClosesBeforeHigh))
    }

    /// Step 5: the records to write, and the keys that remain to be copied.
    pub(crate) fn close(&self, window: &Window, left: Keys, has_gap: bool, at: Position) -> (Vec<Record>, Keys) {
        let view = window.view.unwrap_or_default();
        let touched = if self.lack(Defect::TouchedKeysAreWritten) { Keys::NONE } else { window.touched };
        let removes = has_gap && !self.lack(Defect::CopyRemovesNothing);
        let is_written = |key: &Key| !touched.has(*key) && (view.get(*key).is_some() || removes);
        let records = window.range.iter().filter(is_written);
        let records = records.map(|key| Record::Read { key, image: view.get(key), at });
        let again = window.patched.common(view.keys()).common(window.range);
        let again = if self.lack(Defect::PatchedKeysAreNotReadAgain) { Keys::NONE } else { again };
        (records.collect(), left.without(window.range).and(again))
    }
}

/// Behind the last transaction that was decoded: a new file does not move it.
fn transactions_end(decoded: Position, source: &Source) -> u8 {
    let is_transaction = |index: &u8| source.entry(*index).is_some_and(|entry| entry.event != Event::Rotate);
    (0..decoded.entries).rfind(is_transaction).map_or(0, |index| index + 1)
}
