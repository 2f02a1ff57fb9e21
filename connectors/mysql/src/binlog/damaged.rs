//! An event whose checksum is wrong may have been damaged on its way, so it is read once more. If it is wrong again at the same
//! place, the binlog itself is damaged.

use std::sync::{Mutex, PoisonError};

use tailrace_contract::Error;

use super::BinlogReader;
use crate::{position::FileOffset, protocol::Malformed};

/// Where the last damaged event stood. It outlives the stream, which ends with the event.
#[derive(Debug, Default)]
pub(crate) struct Damaged(Mutex<Option<FileOffset>>);

impl Damaged {
    /// Whether the event behind this place was damaged before.
    fn is_known(&self, place: &FileOffset) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.replace(place.clone()).as_ref() == Some(place)
    }
}

impl BinlogReader {
    pub(super) fn damaged_event(&self) -> Error {
        let place = self.place.here();
        if self.damaged.is_known(&place) {
            return self.corrupt(Malformed::new("event: its checksum is wrong, also when it is read again"));
        }
        Error::transient("the checksum of an event is wrong: it may have been damaged on its way").at(self.here())
    }
}
