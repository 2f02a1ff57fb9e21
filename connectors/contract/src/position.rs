//! Where to resume in the source's log, and what capture saves to do so.
//!
//! A position resumes, a sequence orders, an offset is a place in *our* log: no function takes one for another.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tailrace_row::{Epoch, Sequence};

/// A place in the source's log at a transaction boundary. Only the source reads the text; the engine stores and prints it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(Arc<str>);

impl Position {
    /// Wraps the source's own text form.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The source's own text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A transaction boundary: the position behind the last complete transaction and how many transactions there were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where to resume.
    pub position: Position,
    /// Number of transactions of the epoch up to here, filtered ones included.
    pub transactions: u64,
}

/// A transaction of which a part is in the log already, because it is too big for one log transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitTransaction {
    /// The source's own name of it (a GTID, or file and offset), to prove on resuming that it is the same.
    pub name: Arc<str>,
    /// The last record of it that is in the log. A restart skips what is not after it.
    pub last: Sequence,
}

/// What capture commits with the records it describes, and starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The lineage in which `mark.transactions` counts.
    pub epoch: Epoch,
    /// Behind the last transaction that is complete in the log.
    pub mark: Mark,
    /// The transaction after it, if a part of it is in the log.
    pub split: Option<SplitTransaction>,
}
