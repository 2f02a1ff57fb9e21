//! The total order of changes that a source delivered.
//!
//! A sequence names a record and lets apply drop what a torn log transaction delivered twice. It never serves to resume
//! (that is a position) and never orders two records of the log (that is their offset).

use serde::{Deserialize, Serialize};

/// Rises when the source's log lineage changes: a reset, a restore, a take-over. Sequences of a higher epoch are newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u32);

/// The place of one record in the order of the source. The same change read again gets the same sequence.
///
/// Fields are declared in the order in which they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Sequence {
    /// The lineage in which the rest counts.
    pub epoch: Epoch,
    /// Number of the source transaction since the epoch began. Every transaction counts, filtered ones included.
    pub transaction: u64,
    /// Number of the rows event in its transaction, from 0. Every rows event counts, filtered ones included.
    pub event: u32,
    /// Twice the number of the row in its event; the second half of a key change adds one.
    pub row: u32,
}

impl Sequence {
    /// The sequence of the insert that follows the delete of a key change.
    #[must_use]
    pub fn second_half(self) -> Self {
        debug_assert!(self.row.is_multiple_of(2), "only a whole row has a second half");
        Self { row: self.row + 1, ..self }
    }
}

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}-{}", self.epoch.0, self.transaction, self.event, self.row)
    }
}

impl std::str::FromStr for Sequence {
    type Err = SequenceParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let sequence = Self {
            epoch: Epoch(next_part(&mut parts)?),
            transaction: next_part(&mut parts)?,
            event: next_part(&mut parts)?,
            row: next_part(&mut parts)?,
        };
        if parts.next().is_some() { Err(SequenceParseError) } else { Ok(sequence) }
    }
}

fn next_part<'a, T: std::str::FromStr>(parts: &mut impl Iterator<Item = &'a str>) -> Result<T, SequenceParseError> {
    parts.next().and_then(|part| part.parse().ok()).ok_or(SequenceParseError)
}

/// A text that is not four numbers joined by `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceParseError;

impl std::fmt::Display for SequenceParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a sequence is four numbers: epoch-transaction-event-row")
    }
}

impl std::error::Error for SequenceParseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_returns() {
        let sequence = Sequence { epoch: Epoch(3), transaction: u64::MAX, event: 7, row: 9 };
        assert_eq!(sequence.to_string().parse(), Ok(sequence));
        for bad in ["", "1", "1-2-3", "1-2-3-4-5", "1-2-3-x", "-1-2-3-4"] {
            assert_eq!(bad.parse::<Sequence>(), Err(SequenceParseError), "{bad}");
        }
    }

    #[test]
    fn compares_by_epoch_then_transaction_then_event_then_row() {
        let parse = |text: &str| text.parse::<Sequence>().unwrap();
        let ordered = ["0-9-9-9", "1-0-9-9", "1-1-0-9", "1-1-1-0", "1-1-1-1"].map(parse);
        assert!(ordered.is_sorted());
        assert_eq!(parse("1-1-1-0").second_half(), parse("1-1-1-1"));
    }
}
