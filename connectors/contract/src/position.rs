//! Where to resume in the source's log, and what capture saves to do so.
//!
//! A position resumes, a sequence orders, an offset is a place in *our* log: no function takes one for another.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tailrace_row::{Epoch, Sequence};

/// A place in the source's log at a transaction boundary. Only the source reads the text; the engine stores and prints it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    #[serde(rename = "position")]
    text: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    witness: Option<Arc<str>>,
}

impl Position {
    /// Wraps the source's own text form.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), witness: None }
    }

    /// The same place with what the source wants to know of the way there when it is opened again.
    #[must_use]
    pub fn with_witness(self, witness: &str) -> Self {
        Self { witness: Some(witness.into()), ..self }
    }

    /// The source's own text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the source wants to know of the way there, in its own words: it shows whether a server's history is still the one that was
    /// read. Stored, never printed; none in positions that no stream came to.
    #[must_use]
    pub fn witness(&self) -> Option<&str> {
        self.witness.as_deref()
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A transaction boundary: the position behind the last complete transaction and how many transactions there were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where to resume.
    #[serde(flatten)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_stored_with_what_their_source_wants_to_know_again() {
        let old = r#"{"position":"gtid:x:1","transactions":7}"#;
        let mark: Mark = serde_json::from_str(old).unwrap();
        assert_eq!((mark.position.as_str(), mark.position.witness(), mark.transactions), ("gtid:x:1", None, 7));
        assert_eq!(serde_json::to_string(&mark).unwrap(), old, "a position without a witness is what it always was");
        let mark = Mark { position: mark.position.with_witness("words"), ..mark };
        assert_eq!(mark.position.to_string(), "gtid:x:1", "nobody needs to read them");
        let stored = serde_json::to_string(&mark).unwrap();
        assert_eq!(stored, r#"{"position":"gtid:x:1","witness":"words","transactions":7}"#);
        assert_eq!(serde_json::from_str::<Mark>(&stored).unwrap(), mark);
    }
}
