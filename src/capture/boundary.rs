//! Where a stream stands between its batches, and the checkpoint that this means.

use tailrace_contract::{BatchEnd, Checkpoint, Mark, SourcePlace, SplitTransaction};
use tailrace_row::{Epoch, Origin};

/// Behind the last batch that was taken over.
#[derive(Clone, Debug)]
pub(crate) struct Boundary {
    epoch: Epoch,
    mark: Mark,
    split: Option<SplitTransaction>,
}

impl Boundary {
    /// Where a checkpoint stands.
    pub(crate) fn new(checkpoint: &Checkpoint) -> Self {
        Self { epoch: checkpoint.epoch, mark: checkpoint.mark.clone(), split: checkpoint.split.clone() }
    }

    /// Takes over where a batch ended.
    pub(crate) fn advance(&mut self, end: BatchEnd) {
        match end {
            // A stream that resumed inside a split transaction may be idle before it has read the rest of it.
            BatchEnd::TransactionEnd(mark) | BatchEnd::Idle(mark) if mark.transactions == self.mark.transactions => {
                self.mark = mark;
            }
            BatchEnd::TransactionEnd(mark) | BatchEnd::Idle(mark) | BatchEnd::SchemaChange { mark, .. } => {
                (self.mark, self.split) = (mark, None);
            }
            BatchEnd::MidTransaction { mark, split } => (self.mark, self.split) = (mark, Some(split)),
        }
    }

    /// Behind the last complete transaction.
    pub(crate) fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Whether it lies inside a transaction.
    pub(crate) fn is_split(&self) -> bool {
        self.split.is_some()
    }

    /// Whether a quiet source has moved since the checkpoint. Inside a split transaction the mark stays, whatever the source
    /// says of it.
    pub(crate) fn has_moved_since(&self, checkpoint: &Checkpoint) -> bool {
        self.split.is_none() && self.mark != checkpoint.mark
    }

    /// The origin of rows that are copied and written here: their sequence is above all that was read so far, and below all that comes.
    pub(crate) fn origin_of_copies(&self, place: Option<&SourcePlace>, now: f64) -> Origin {
        debug_assert!(!self.is_split(), "rows are copied between two transactions");
        #[expect(clippy::cast_possible_truncation, reason = "microseconds since 1970 are far below 2^53")]
        let committed_at_micros = (now * 1e6) as i64;
        Origin {
            epoch: self.epoch,
            transaction: self.mark.transactions,
            event: u32::MAX,
            committed_at_micros,
            transaction_name: None,
            file: place.map(|place| format!("{}.{:06}", place.series, place.file)).unwrap_or_default().into(),
            file_offset: place.map_or(0, |place| place.offset),
            server_id: 0,
            thread: None,
        }
    }

    /// What to save to go on from here.
    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { epoch: self.epoch, mark: self.mark.clone(), split: self.split.clone() }
    }
}
