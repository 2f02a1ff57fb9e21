//! The log, folded as a consumer does that keeps the last value of each key; with it the checkpoint and the ledger.
//!
//! In the embedded form this is the target: rows, checkpoint and ledger change in one transaction of it.

use crate::{
    rows::{Key, Keys, Rows, Version},
    source::Position,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Record {
    /// A change of the stream: the whole image, or none for a delete.
    Change {
        key: Key,
        image: Option<Version>,
        by: Version,
    },
    /// An update without all columns: it changes a row that is there and makes none.
    Patch {
        key: Key,
        by: Version,
    },
    /// A row of a chunk, and where capture stood when it was written. After a gap, also that there is none.
    Read {
        key: Key,
        image: Option<Version>,
        at: Position,
    },
    Truncate {
        by: Version,
    },
}

/// What a consumer has of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Last {
    pub(crate) row: Option<Version>,
    /// Of the last record, deletes included.
    pub(crate) by: Version,
}

/// The last of each key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Consumer([Last; 2]);

impl Consumer {
    pub(crate) fn last(&self, key: Key) -> Last {
        self.0[key.index()]
    }

    pub(crate) fn rows(&self) -> Rows {
        let mut rows = Rows::default();
        for key in Keys::ALL.iter() {
            if let Some(version) = self.last(key).row {
                rows.put(key, version);
            }
        }
        rows
    }

    pub(crate) fn take(&mut self, record: Record) {
        let last = |row: Option<Version>, by: Version| Last { row, by };
        match record {
            Record::Change { key, image, by } => self.0[key.index()] = last(image, by),
            Record::Patch { key, by } => self.0[key.index()] = last(self.last(key).row.map(|_| by), by),
            Record::Read { key, image, .. } => {
                self.0[key.index()] = last(image, image.unwrap_or(self.last(key).by));
            }
            Record::Truncate { by } => self.0 = [last(None, by); 2],
        }
    }
}

/// What is committed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    pub(crate) consumer: Consumer,
    pub(crate) checkpoint: Position,
    /// Keys of each chunk that are not copied; none of them: the chunk is done.
    pub(crate) ledger: Vec<Keys>,
    /// Changes are missing from it.
    pub(crate) has_gap: bool,
}
