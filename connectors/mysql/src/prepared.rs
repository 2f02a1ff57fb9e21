//! XA transactions between their two phases: their rows are in the binlog since the first, and count from the second on.
//!
//! A position tells where each of them begins, so that its rows are found again after a restart, however long the second phase
//! takes; it says so in front of its own text, as `xa:<name>=<GTID>@<offset>@<file>,… `. What was small enough is held in memory
//! besides, for the many whose second phase follows at once.
//!
//! More than [`GROUPS_MAX`] at a time are not remembered. The oldest is forgotten then: if it is committed after all, it is looked
//! for in the binlog, and what is not found stops the stream by name.

use std::fmt::{self, Write as _};

use tailrace_contract::Position;

use crate::{
    events::{Hex, Xid, from_hex},
    gtid::TransactionId,
    hostile::{Defect, is_planted},
    position::{BinlogPosition, FileOffset},
};

/// Beyond it a position would be too long to be saved with every batch.
const GROUPS_MAX: usize = 1000;

/// Events held in memory for all of them.
pub(crate) const HELD_BYTES_MAX: usize = 16 << 20;

const MARK: &str = "xa:";

/// The XA transactions that are prepared, in the order of their first phase.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Prepared {
    groups: Vec<Group>,
    held_bytes: usize,
}

/// The events of a first phase.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) xid: Xid,
    pub(crate) begin: GroupBegin,
    pub(crate) rows: GroupRows,
}

/// Where they begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupBegin {
    /// The event that names the transaction.
    pub(crate) at: FileOffset,
    /// The name of the first phase; none where the server gives no GTIDs.
    pub(crate) id: Option<TransactionId>,
}

/// What is known of their rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupRows {
    /// They must be read again: there are too many, or the first phase came before this stream.
    InBinlog,
    /// None is of a captured table.
    Foreign,
    /// Those of captured tables, as [`HeldEvents`] reads them.
    ///
    /// [`HeldEvents`]: crate::binlog::HeldEvents
    Held(Vec<u8>),
}

impl Prepared {
    /// Those that the position names; `None` if it can't be read.
    pub(crate) fn parse(position: &Position) -> Option<Self> {
        let Some((list, _)) = split(position.as_str()) else { return Some(Self::default()) };
        let groups: Option<Vec<Group>> = list.split(',').map(parse_group).collect();
        Some(Self { groups: groups?, held_bytes: 0 })
    }

    /// The position with those that are prepared there.
    pub(crate) fn position(&self, boundary: &BinlogPosition) -> Position {
        let boundary = boundary.to_position();
        if self.groups.is_empty() {
            return boundary;
        }
        let mut text = String::from(MARK);
        for (at, group) in self.groups.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(text, "{comma}{group}").expect("invariant: writing to a String can't fail");
        }
        Position::new(&format!("{text} {boundary}"))
    }

    /// Where one begins, and its rows, which are not held from then on.
    pub(crate) fn take_rows(&mut self, xid: &Xid) -> Option<(GroupBegin, GroupRows)> {
        let group = self.groups.iter_mut().find(|group| group.xid == *xid)?;
        self.held_bytes -= group.rows.held_bytes();
        Some((group.begin.clone(), std::mem::replace(&mut group.rows, GroupRows::InBinlog)))
    }

    /// Whether it is prepared there.
    pub(crate) fn names(&self, xid: &Xid) -> bool {
        self.groups.iter().any(|group| group.xid == *xid)
    }

    /// A first phase is complete.
    pub(crate) fn push(&mut self, group: Group) {
        self.remove(&group.xid);
        if self.groups.len() >= GROUPS_MAX {
            let oldest = self.groups[0].xid.clone();
            tracing::warn!(xid = %oldest, "more than {GROUPS_MAX} XA transactions are prepared: the oldest is forgotten");
            self.remove(&oldest);
        }
        self.held_bytes += group.rows.held_bytes();
        self.groups.push(group);
    }

    /// The second phase is complete.
    pub(crate) fn remove(&mut self, xid: &Xid) {
        if let Some(at) = self.groups.iter().position(|group| group.xid == *xid) {
            self.held_bytes -= self.groups.remove(at).rows.held_bytes();
        }
    }

    /// Room in memory for the events of another.
    pub(crate) fn room(&self) -> usize {
        HELD_BYTES_MAX.saturating_sub(self.held_bytes)
    }
}

impl GroupRows {
    fn held_bytes(&self) -> usize {
        match self {
            Self::Held(events) => events.len(),
            Self::InBinlog | Self::Foreign => 0,
        }
    }
}

/// What a position says without the XA transactions before it.
pub(crate) fn behind_prepared(text: &str) -> &str {
    split(text).map_or(text, |(_, rest)| rest)
}

fn split(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(MARK)?.split_once(' ')
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { xid, begin: GroupBegin { at, id }, .. } = self;
        write!(f, "{}.{}.{}=", xid.format, Hex(&xid.global), Hex(&xid.branch))?;
        if let Some(id) = id {
            write!(f, "{id}")?;
        }
        write!(f, "@{}@{}", at.offset, Escaped(&at.file))
    }
}

/// A text without any character that parts a position.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => f.write_char(char::from(byte)),
            other => write!(f, "%{other:02x}"),
        })
    }
}

fn parse_group(text: &str) -> Option<Group> {
    let (xid, begin) = text.split_once('=')?;
    let mut parts = xid.split('.');
    let (format, global, branch) = (parts.next()?, parts.next()?, parts.next()?);
    let xid = Xid { format: format.parse().ok()?, global: from_hex(global)?, branch: from_hex(branch)? };
    let mut parts = begin.split('@');
    let (id, offset, file) = (parts.next()?, parts.next()?, parts.next()?);
    let id = TransactionId::parse_optional(id)?;
    let at = FileOffset::parse(&format!("{}:{offset}", unescaped(file)?))?;
    Some(Group { xid, begin: GroupBegin { at, id }, rows: GroupRows::InBinlog })
}

/// The text that [`Escaped`] wrote.
pub(crate) fn unescaped(file: &str) -> Option<String> {
    let mut parts = file.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = match is_planted(Defect::LengthNotChecked) {
            false => part.split_at_checked(2)?,
            true => part.split_at(2),
        };
        bytes.extend(from_hex(hex)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn group(number: u32, file: &str, id: Option<TransactionId>) -> Group {
        let xid = Xid { format: number, global: vec![7; 3], branch: vec![] };
        let begin = GroupBegin { at: FileOffset { file: file.into(), offset: 5_000_000_000 }, id };
        Group { xid, begin, rows: GroupRows::InBinlog }
    }

    #[test]
    fn positions_carry_what_is_prepared() {
        let mysql = Some(TransactionId::Mysql(format!("{UUID}:tag:7").parse().unwrap()));
        let mariadb = Some(TransactionId::Mariadb("0-1-9".parse().unwrap()));
        let mut prepared = Prepared::default();
        let boundary = BinlogPosition::parse(&Position::new(&format!("gtid:{UUID}:1-5@b.1:9"))).unwrap();
        assert_eq!(prepared.position(&boundary), boundary.to_position());
        for (number, file, id) in [(1, "b.000001", mysql), (u32::MAX, "ü, x@y=z%.1", mariadb), (3, "c", None)] {
            prepared.push(group(number, file, id));
        }
        let position = prepared.position(&boundary);
        assert_eq!(Prepared::parse(&position).unwrap(), prepared);
        assert_eq!(BinlogPosition::parse(&position).unwrap(), boundary);
        assert!(
            position.as_str().starts_with(&format!("xa:1.070707.={UUID}:tag:7@5000000000@b.000001,")),
            "{position}"
        );
        for bad in
            ["xa:x gtid:", "xa:1.07.= gtid:", "xa:1.07.=0-1@9@b gtid:", "xa:1.07.=@3@b gtid:", "xa:1.07.=@9@%b gtid:"]
        {
            assert!(Prepared::parse(&Position::new(bad)).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_oldest_of_too_many_is_forgotten() {
        let mut prepared = Prepared::default();
        for number in 0..u32::try_from(GROUPS_MAX).unwrap() + 1 {
            prepared.push(Group { rows: GroupRows::Held(vec![0; 10]), ..group(number, "b", None) });
        }
        assert_eq!((prepared.groups.len(), prepared.held_bytes), (GROUPS_MAX, GROUPS_MAX * 10));
        assert!(prepared.names(&group(1, "b", None).xid) && !prepared.names(&group(0, "b", None).xid));
        assert!(prepared.take_rows(&group(0, "b", None).xid).is_none());
        prepared.remove(&group(1, "b", None).xid);
        assert_eq!(prepared.room(), HELD_BYTES_MAX - (GROUPS_MAX - 1) * 10);
    }
}
