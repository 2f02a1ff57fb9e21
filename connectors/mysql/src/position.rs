//! Positions: where in the server's binlog to resume, always behind a complete transaction.
//!
//! The text form is ours and can grow: `gtid:<set>` (with the file and offset of that boundary behind an `@`, for people),
//! `mariadb:<list>` in the same way for MariaDB's GTIDs, which mean nothing to MySQL, or `file:<name>:<offset>` where the
//! server gives no GTIDs (with the second in which the file was begun behind an `@`, so that
//! a file that was deleted and has grown anew under the same name is told apart). Offsets have 64 bits: a transaction beyond
//! 4 GiB makes a file longer than `end_log_pos` can say. XA transactions that are prepared there stand before it (`prepared`).

use std::sync::Arc;

use tailrace_contract::{Error, Position, Result};

use crate::{
    gtid::{GtidList, GtidSet},
    prepared::behind_prepared,
};

/// A file of the binlog and a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileOffset {
    pub(crate) file: Arc<str>,
    pub(crate) offset: u64,
}

/// The largest offset that a file can have; far above those that file systems allow.
pub(crate) const OFFSET_MAX: u64 = 1 << 62;

impl FileOffset {
    /// The text `file:offset`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (file, offset) = text.rsplit_once(':')?;
        let offset = offset.parse().ok()?;
        let is_possible =
            !file.is_empty() && file.len() <= 512 && !file.contains(['/', '\0']) && (4..=OFFSET_MAX).contains(&offset);
        is_possible.then(|| Self { file: file.into(), offset })
    }
}

impl std::fmt::Display for FileOffset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

/// The first offset at or behind `least` whose low half is `low`: headers have no room for the high one.
#[inline]
pub(crate) fn extended_offset(low: u32, least: u64) -> u64 {
    const HIGH: u64 = 1 << 32;
    let candidate = least & !(HIGH - 1) | u64::from(low);
    if candidate < least { candidate + HIGH } else { candidate }
}

/// What is executed already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BinlogPosition {
    /// Everything in the set.
    Gtids {
        set: GtidSet,
        /// Where the boundary was seen; for people only.
        seen_at: Option<FileOffset>,
    },
    /// Of MariaDB: everything up to the last transaction of each domain.
    Domains {
        list: GtidList,
        /// Where the boundary was seen; for people only.
        seen_at: Option<FileOffset>,
    },
    /// Everything before this place.
    File {
        at: FileOffset,
        /// The second since 1970 in which the file was begun, if known.
        begun: Option<u32>,
    },
}

const GTIDS: &str = "gtid:";
const DOMAINS: &str = "mariadb:";
const FILE: &str = "file:";

impl BinlogPosition {
    /// Reads what [`Self::to_position`] wrote, now or in an earlier version.
    pub(crate) fn parse(position: &Position) -> Result<Self> {
        let text = behind_prepared(position.as_str());
        let parsed = if let Some(text) = text.strip_prefix(GTIDS) {
            Self::parse_gtids(text)
        } else if let Some(text) = text.strip_prefix(DOMAINS) {
            Self::parse_domains(text)
        } else {
            text.strip_prefix(FILE).and_then(Self::parse_file)
        };
        parsed.ok_or_else(|| unreadable(position))
    }

    pub(crate) fn to_position(&self) -> Position {
        Position::new(&match self {
            Self::Gtids { set, seen_at: None } => format!("{GTIDS}{set}"),
            Self::Gtids { set, seen_at: Some(at) } => format!("{GTIDS}{set}@{at}"),
            Self::Domains { list, seen_at: None } => format!("{DOMAINS}{list}"),
            Self::Domains { list, seen_at: Some(at) } => format!("{DOMAINS}{list}@{at}"),
            Self::File { at, begun: None } => format!("{FILE}{at}"),
            Self::File { at, begun: Some(begun) } => format!("{FILE}{at}@{begun}"),
        })
    }

    fn parse_gtids(text: &str) -> Option<Self> {
        let (set, seen_at) = parse_seen_at(text)?;
        Some(Self::Gtids { set: set.parse().ok()?, seen_at })
    }

    fn parse_domains(text: &str) -> Option<Self> {
        let (list, seen_at) = parse_seen_at(text)?;
        Some(Self::Domains { list: list.parse().ok()?, seen_at })
    }

    fn parse_file(text: &str) -> Option<Self> {
        let (file, place) = text.rsplit_once(':')?;
        let (offset, begun) = match place.split_once('@') {
            Some((offset, begun)) => (offset, Some(begun.parse().ok()?)),
            None => (place, None),
        };
        Some(Self::File { at: FileOffset::parse(&format!("{file}:{offset}"))?, begun })
    }
}

/// The error of a position that another version wrote.
pub(crate) fn unreadable(position: &Position) -> Error {
    Error::refused("this version of Tailrace can't read the stored position")
        .at(position)
        .hint("run the version that wrote it, or a newer one")
}

/// What stands before the `@`, and the place behind it.
fn parse_seen_at(text: &str) -> Option<(&str, Option<FileOffset>)> {
    match text.split_once('@') {
        Some((front, at)) => Some((front, Some(FileOffset::parse(at)?))),
        None => Some((text, None)),
    }
}

/// A place as the user writes it: a GTID set or list, or `file:offset`, also in the form that positions are printed in.
pub(crate) fn parse_start(text: &str) -> Result<BinlogPosition> {
    let text = text.trim();
    if let Ok(position) = BinlogPosition::parse(&Position::new(text)) {
        return Ok(position);
    }
    if let Ok(list) = text.parse::<GtidList>()
        && !list.is_empty()
    {
        return Ok(BinlogPosition::Domains { list, seen_at: None });
    }
    match (text.parse::<GtidSet>(), FileOffset::parse(text)) {
        (Ok(set), _) if !set.is_empty() => Ok(BinlogPosition::Gtids { set, seen_at: None }),
        (_, Some(at)) => Ok(BinlogPosition::File { at, begun: None }),
        (Ok(_), None) => Err(Error::refused("the start position is empty").hint(FORMS)),
        (Err(error), None) => Err(Error::refused("can't read the start position").caused_by(error).hint(FORMS)),
    }
}

const FORMS: &str =
    "write now, earliest, a GTID set (uuid:1-5; of MariaDB 0-1-100), or file:offset (binlog.000003:157)";

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn offsets_grow_past_4_gib() {
        assert_eq!(extended_offset(200, 150), 200);
        assert_eq!(extended_offset(150, 150), 150);
        assert_eq!(extended_offset(10, u64::from(u32::MAX) - 5), (1 << 32) + 10);
        assert_eq!(extended_offset(10, (3 << 32) + 9), (3 << 32) + 10);
        assert_eq!(extended_offset(8, (3 << 32) + 9), (4 << 32) + 8);
    }

    #[test]
    fn texts_return() {
        for text in [
            "gtid:".to_owned(),
            format!("gtid:{UUID}:1-5:tag:7"),
            format!("gtid:{UUID}:1@binlog.000003:1234"),
            "mariadb:".to_owned(),
            "mariadb:0-1-5,7-2-9@binlog.000003:1234".to_owned(),
            "file:binlog.000003:4".to_owned(),
            "file:bin:log@x.000003:5000000000@1700000000".to_owned(),
        ] {
            let parsed = BinlogPosition::parse(&Position::new(&text)).unwrap();
            assert_eq!(parsed.to_position().as_str(), text);
        }
        for bad in
            ["", "lsn:1", "file:x", "file:x:1", "file:../x:4", "gtid:x", "gtid:0-1-5", "mariadb:0-1", "file:x:4@y"]
        {
            assert!(BinlogPosition::parse(&Position::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn starts_are_read_in_the_users_words() {
        let gtids = |text: &str| BinlogPosition::Gtids { set: text.parse().unwrap(), seen_at: None };
        let set = format!("{UUID}:1-5");
        assert_eq!(parse_start(&set).unwrap(), gtids(&set));
        assert_eq!(parse_start(&format!("gtid:{set}")).unwrap(), gtids(&set));
        let list = BinlogPosition::Domains { list: "0-1-5,2-1-7".parse().unwrap(), seen_at: None };
        assert_eq!(parse_start("2-1-7, 0-1-5").unwrap(), list);
        let file = BinlogPosition::File { at: FileOffset { file: "binlog.000003".into(), offset: 157 }, begun: None };
        assert_eq!(parse_start(" binlog.000003:157 ").unwrap(), file);
        assert_eq!(parse_start("file:binlog.000003:157").unwrap(), file);
        for bad in ["", "yesterday", "binlog.000003", "binlog.000003:3", &format!("{UUID}:x-")] {
            assert!(parse_start(bad).is_err(), "{bad}");
        }
    }
}
