//! MariaDB's event that begins a transaction: it names it, says how it ends, and takes the place of BEGIN.

use super::Xid;
use crate::{
    gtid::DomainGtid,
    protocol::{Cursor, Malformed},
};

/// The begin of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DomainGtidEvent {
    pub(crate) gtid: DomainGtid,
    /// One statement follows, without a commit.
    pub(crate) is_standalone: bool,
    /// The statement is an ALTER that begins, or one that failed: only the event that commits it changes something.
    pub(crate) is_unfinished_alter: bool,
    /// The XA transaction whose first or second phase this is.
    pub(crate) xa: Option<XaPhase>,
}

/// A phase of an XA transaction, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum XaPhase {
    Prepare(Xid),
    Finish(Xid),
}

mod flag {
    pub(super) const STANDALONE: u8 = 1;
    pub(super) const GROUP_COMMIT: u8 = 2;
    pub(super) const PREPARED_XA: u8 = 64;
    pub(super) const COMPLETED_XA: u8 = 128;
    // Of a second byte, behind everything that the first one tells of.
    pub(super) const START_ALTER: u8 = 2;
    pub(super) const ROLLBACK_ALTER: u8 = 8;
}

impl DomainGtidEvent {
    pub(crate) fn parse(server: u32, body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let gtid = DomainGtid { sequence: cursor.u64()?, domain: cursor.u32()?, server };
        let flags = cursor.u8()?;
        if flags & flag::GROUP_COMMIT != 0 {
            cursor.u64()?;
        }
        let xa = match (flags & flag::PREPARED_XA != 0, flags & flag::COMPLETED_XA != 0) {
            (false, false) => None,
            (true, false) => Some(XaPhase::Prepare(Xid::parse_short(&mut cursor)?)),
            (false, true) => Some(XaPhase::Finish(Xid::parse_short(&mut cursor)?)),
            (true, true) => return Err(Malformed::new("GTID event: two phases of an XA transaction at once")),
        };
        if gtid.sequence == 0 {
            return Err(Malformed::new("GTID event"));
        }
        let more_flags = if cursor.is_empty() { 0 } else { cursor.u8()? };
        let is_unfinished_alter = more_flags & (flag::START_ALTER | flag::ROLLBACK_ALTER) != 0;
        Ok(Self { gtid, is_standalone: flags & flag::STANDALONE != 0, is_unfinished_alter, xa })
    }
}
