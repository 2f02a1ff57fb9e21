//! Events of captured tables that an XA transaction's first phase brought, kept until the second.
//!
//! Each has its number among the rows events of its transaction before it, so that records get the numbers that they would get
//! if the first phase were read again.

use std::{ops::Range, sync::Arc};

use crate::{
    events::{HEADER_BYTES, Header},
    prepared::GroupRows,
};

const NUMBER_BYTES: usize = 4;

/// The events of a first phase while it comes.
#[derive(Default)]
pub(super) struct Gathered {
    /// Whether any row of a captured table was among them.
    has_rows: bool,
    /// They are more than is held.
    is_too_much: bool,
    events: Vec<u8>,
}

impl Gathered {
    /// Takes an event of a captured table, if there is room for so many bytes.
    pub(super) fn push(&mut self, room: usize, number: u32, header: Header, body: &[u8]) {
        if self.is_too_much || self.events.len() + NUMBER_BYTES + HEADER_BYTES + body.len() > room {
            *self = Self { has_rows: self.has_rows, is_too_much: true, events: Vec::new() };
            return;
        }
        self.events.extend_from_slice(&number.to_le_bytes());
        header.write(body.len(), &mut self.events);
        self.events.extend_from_slice(body);
    }

    /// Rows of a captured table came.
    pub(super) fn note_rows(&mut self) {
        self.has_rows = true;
    }

    /// How much is gathered, for [`Self::take_back`].
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// What came since is taken back.
    pub(super) fn take_back(&mut self, len: usize) {
        self.events.truncate(len);
    }

    pub(super) fn into_rows(mut self) -> GroupRows {
        match (self.has_rows, self.is_too_much) {
            (false, _) => GroupRows::Foreign,
            (true, true) => GroupRows::InBinlog,
            (true, false) => {
                self.events.shrink_to_fit();
                GroupRows::Held(self.events)
            }
        }
    }
}

/// Goes through what was gathered.
#[derive(Clone)]
pub(crate) struct HeldEvents {
    events: Arc<Vec<u8>>,
    event: Range<usize>,
}

impl HeldEvents {
    pub(super) fn new(events: Vec<u8>) -> Self {
        Self { events: Arc::new(events), event: 0..0 }
    }

    /// The next event and its number.
    pub(super) fn next(&mut self) -> Option<(u32, Header)> {
        let rest = self.events.get(self.event.end..).filter(|rest| !rest.is_empty())?;
        let (number, rest) = rest.split_first_chunk::<NUMBER_BYTES>().expect("invariant: as it was gathered");
        let header = Header::parse_before(rest).expect("invariant: as it was gathered");
        let start = self.event.end + NUMBER_BYTES;
        self.event = start..start + header.size as usize;
        Some((u32::from_le_bytes(*number), header))
    }

    /// The event given last.
    pub(super) fn event(&self) -> &[u8] {
        &self.events[self.event.clone()]
    }
}
