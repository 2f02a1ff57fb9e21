//! Where the reader stands: the file, the next event's offset, and the last transaction boundary.
//!
//! Offsets have 64 bits, headers only the low 32 of them. Between two events of one stream lies less than 4 GiB, so the
//! high half follows from order alone. Without GTIDs the server leaves nothing out, and a gap is an error; with GTIDs it
//! leaves out transactions that we have, and tells by a heartbeat where it stands then.

use std::sync::Arc;

use tailrace_contract::SourcePlace;

use crate::{
    events::{FLAG_ARTIFICIAL, Header, kind},
    gtid::TransactionId,
    position::{BinlogPosition, FileOffset, extended_offset},
    protocol::Malformed,
};

pub(crate) struct Place {
    pub(super) file: Arc<str>,
    /// Where the next event begins; 0 until the server has said.
    pub(super) offset: u64,
    /// When the file was begun, in seconds since 1970.
    begun: Option<u32>,
    /// Behind the last complete transaction.
    boundary: BinlogPosition,
}

/// Where an event lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Place {
    pub(super) fn new(boundary: BinlogPosition) -> Self {
        Self { file: "".into(), offset: 0, begun: None, boundary }
    }

    pub(super) fn boundary(&self) -> &BinlogPosition {
        &self.boundary
    }

    pub(super) fn here(&self) -> FileOffset {
        FileOffset { file: Arc::clone(&self.file), offset: self.offset }
    }

    /// Whether the server has already given this transaction, or should not have because we asked for what is behind it.
    pub(super) fn has_passed(&self, id: &TransactionId) -> bool {
        match (&self.boundary, id) {
            (BinlogPosition::Gtids { set, .. }, TransactionId::Mysql(gtid)) => set.contains(gtid),
            (BinlogPosition::Domains { list, .. }, TransactionId::Mariadb(gtid)) => list.has_passed(gtid),
            (_, TransactionId::Mysql(_) | TransactionId::Mariadb(_)) => false,
        }
    }

    /// Whether the boundary is told by transactions' names.
    pub(super) fn is_by_gtid(&self) -> bool {
        matches!(self.boundary, BinlogPosition::Gtids { .. } | BinlogPosition::Domains { .. })
    }

    /// Where the event lies; `None` if it is in no file.
    #[inline]
    pub(super) fn span(&self, header: &Header, is_inside: bool) -> Result<Option<Span>, Malformed> {
        // A heartbeat is no event of the file: it names the place behind which the next one will be.
        let is_heartbeat = matches!(header.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2);
        let size = u64::from(header.size);
        if header.end == 0 || header.flags & FLAG_ARTIFICIAL != 0 || is_heartbeat {
            // Later versions of MariaDB say no place inside of a transaction; there they leave nothing out.
            let is_next = is_inside && !is_heartbeat && header.flags & FLAG_ARTIFICIAL == 0;
            let is_mariadb = matches!(self.boundary, BinlogPosition::Domains { .. });
            return Ok((is_next && is_mariadb).then(|| Span { start: self.offset, end: self.offset + size }));
        }
        let end = extended_offset(header.end, self.offset + size);
        let span = Span { start: end - size, end };
        if span.start != self.offset && !self.is_by_gtid() {
            return Err(Malformed::new("stream: there is a gap before this event"));
        }
        Ok(Some(span))
    }

    /// Where the event lies, or, if it is in no file, where the next one would.
    pub(super) fn known(&self, span: Option<Span>) -> Span {
        span.unwrap_or(Span { start: self.offset, end: self.offset })
    }

    /// The next event is in another file, or the stream begins.
    pub(super) fn rotate(&mut self, file: &str, offset: u64) {
        if *self.file != *file {
            self.file = file.into();
            self.begun = None;
        }
        self.offset = offset;
    }

    /// The server stands there, having left out what we have.
    pub(super) fn move_to(&mut self, file: &str, offset: Option<u64>, low_offset: u32) {
        if *self.file == *file {
            self.offset = offset.unwrap_or_else(|| extended_offset(low_offset, self.offset)).max(self.offset);
        }
    }

    /// The format description of the file came.
    pub(super) fn begin_file(&mut self, begun: u32) {
        self.begun = Some(begun);
    }

    /// A transaction is complete, and the next event is behind it.
    #[inline]
    pub(super) fn pass(&mut self, id: Option<TransactionId>) {
        self.boundary = Self::passed(std::mem::replace(&mut self.boundary, UNSET), id, self.here(), self.begun);
    }

    /// What the boundary becomes with the transaction in progress, if it ends at `end`.
    pub(super) fn boundary_behind(&self, id: Option<TransactionId>, end: u64) -> BinlogPosition {
        let here = FileOffset { offset: end, ..self.here() };
        Self::passed(self.boundary.clone(), id, here, self.begun)
    }

    /// Between two files no transaction is open: the boundary moves on, so that the file behind it may be purged.
    pub(super) fn pass_file_end(&mut self) {
        if !self.is_by_gtid() {
            self.boundary = BinlogPosition::File { at: self.here(), begun: self.begun };
        }
    }

    fn passed(
        boundary: BinlogPosition,
        id: Option<TransactionId>,
        here: FileOffset,
        begun: Option<u32>,
    ) -> BinlogPosition {
        match boundary {
            BinlogPosition::Gtids { mut set, .. } => {
                if let Some(TransactionId::Mysql(gtid)) = id {
                    set.add(gtid);
                }
                BinlogPosition::Gtids { set, seen_at: Some(here) }
            }
            BinlogPosition::Domains { mut list, .. } => {
                if let Some(TransactionId::Mariadb(gtid)) = id {
                    list.pass(gtid);
                }
                BinlogPosition::Domains { list, seen_at: Some(here) }
            }
            BinlogPosition::File { .. } => BinlogPosition::File { at: here, begun },
        }
    }
}

/// A place in this server's binlog, to be compared with others of it; none if the file bears no number.
///
/// The server is part of what they have in common: another one may have a file of the same name.
pub(crate) fn source_place(server: &str, at: &FileOffset) -> Option<SourcePlace> {
    let (base, number) = at.file.rsplit_once('.')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let file = if is_number { number.parse().ok()? } else { return None };
    Some(SourcePlace { series: format!("{server}/{base}").into(), file, offset: at.offset })
}

/// Stands in the boundary's place for the moment of its change.
const UNSET: BinlogPosition = BinlogPosition::Gtids { set: crate::gtid::GtidSet::EMPTY, seen_at: None };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gtid::GtidList;

    #[test]
    fn places_of_one_server_are_compared() {
        let place =
            |server: &str, file: &str, offset| source_place(server, &FileOffset { file: file.into(), offset }).unwrap();
        let early = place("a", "bin.log.999999", 5_000_000_000);
        for (other, is_reached) in [
            (place("a", "bin.log.999999", 5_000_000_000), true),
            (place("a", "bin.log.999999", 5_000_000_001), true),
            (place("a", "bin.log.999999", 4_999_999_999), false),
            (place("a", "bin.log.1000000", 4), true),
            (place("a", "bin.log.000001", 6_000_000_000), false),
            (place("a", "other.1000000", 4), false),
            (place("b", "bin.log.1000000", 4), false),
        ] {
            assert_eq!(other.has_reached(&early), is_reached, "{other}");
        }
        for file in ["", "binlog", "binlog.", "binlog.x1", "binlog.+1", "binlog.99999999999999999999"] {
            assert_eq!(source_place("a", &FileOffset { file: file.into(), offset: 4 }), None, "{file}");
        }
    }

    #[test]
    fn heartbeats_take_no_room_in_the_file() {
        for kind in [kind::HEARTBEAT, kind::HEARTBEAT_V2] {
            let header = Header { timestamp: 0, kind, server_id: 1, size: 40, end: 100, flags: 0 };
            let file = FileOffset { file: "b.1".into(), offset: 100 };
            for boundary in [UNSET, BinlogPosition::File { at: file.clone(), begun: None }] {
                let mut place = Place::new(boundary);
                place.rotate("b.1", 100);
                assert_eq!(place.span(&header, true), Ok(None));
            }
        }
    }

    #[test]
    fn a_gap_is_seen_where_the_server_leaves_nothing_out() {
        let header = |end| Header { timestamp: 0, kind: 2, server_id: 1, size: 50, end, flags: 0 };
        let file = FileOffset { file: "b.1".into(), offset: 100 };
        let mut place = Place::new(BinlogPosition::File { at: file, begun: None });
        place.rotate("b.1", 100);
        assert_eq!(place.span(&header(150), false), Ok(Some(Span { start: 100, end: 150 })));
        assert!(place.span(&header(151), false).is_err());
        assert_eq!(place.span(&header(0), true), Ok(None));
        let mut place = Place::new(UNSET);
        place.rotate("b.1", 100);
        assert_eq!(place.span(&header(250), false), Ok(Some(Span { start: 200, end: 250 })));
    }

    #[test]
    fn an_event_without_place_inside_of_a_transaction_is_the_next() {
        let header = |end| Header { timestamp: 0, kind: 2, server_id: 1, size: 50, end, flags: 0 };
        let mut place = Place::new(BinlogPosition::Domains { list: GtidList::default(), seen_at: None });
        place.rotate("b.1", 100);
        assert_eq!(place.span(&header(0), true), Ok(Some(Span { start: 100, end: 150 })));
        assert_eq!(place.span(&header(0), false), Ok(None), "a format description that is sent once more");
        assert_eq!(place.span(&header(250), true), Ok(Some(Span { start: 200, end: 250 })));
    }
}
