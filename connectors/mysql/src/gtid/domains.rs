//! MariaDB's transaction names, `domain-server-sequence`, and positions made of them: the last transaction of each domain.
//!
//! Order exists only inside a domain, and there it is the binlog's. A list says everything about a place in the binlog, since
//! whoever stands behind a transaction stands behind all of its domain before it. Sequences of different servers of a domain
//! are comparable only as far as `gtid_strict_mode` was kept.

use std::{collections::BTreeMap, fmt, str::FromStr};

/// The name of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DomainGtid {
    pub(crate) domain: u32,
    pub(crate) server: u32,
    pub(crate) sequence: u64,
}

/// The last transaction of each domain.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct GtidList {
    /// Server and sequence by domain.
    last: BTreeMap<u32, (u32, u64)>,
}

impl GtidList {
    /// Moves the transaction's domain behind it.
    #[inline]
    pub(crate) fn pass(&mut self, gtid: DomainGtid) {
        self.last.insert(gtid.domain, (gtid.server, gtid.sequence));
    }

    /// Whether the transaction lies at or before the list's place, as far as one server's sequences tell.
    #[inline]
    pub(crate) fn has_passed(&self, gtid: &DomainGtid) -> bool {
        self.last
            .get(&gtid.domain)
            .is_some_and(|(server, sequence)| *server == gtid.server && gtid.sequence <= *sequence)
    }

    /// How many numbers lie between an earlier list and this one.
    pub(crate) fn count_since(&self, earlier: &Self) -> u64 {
        let behind = |gtid: DomainGtid| {
            let passed = earlier.last.get(&gtid.domain).map_or(0, |(_, sequence)| *sequence);
            gtid.sequence.saturating_sub(passed)
        };
        self.iter().map(behind).fold(0, u64::saturating_add)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The last transactions in order of their domains.
    pub(crate) fn iter(&self) -> impl Iterator<Item = DomainGtid> {
        self.last.iter().map(|(domain, (server, sequence))| DomainGtid {
            domain: *domain,
            server: *server,
            sequence: *sequence,
        })
    }
}

impl FromIterator<DomainGtid> for GtidList {
    fn from_iter<I: IntoIterator<Item = DomainGtid>>(gtids: I) -> Self {
        let mut list = Self::default();
        gtids.into_iter().for_each(|gtid| list.pass(gtid));
        list
    }
}

impl fmt::Display for DomainGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl fmt::Display for GtidList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, gtid) in self.iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            write!(f, "{gtid}")?;
        }
        Ok(())
    }
}

/// Why a text is no list of MariaDB's GTIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListParseError {
    part: String,
}

impl fmt::Display for ListParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no part of a GTID list, which looks like 0-1-100,1-1-7 (each domain once)", self.part)
    }
}

impl std::error::Error for ListParseError {}

impl FromStr for DomainGtid {
    type Err = ListParseError;

    fn from_str(text: &str) -> Result<Self, ListParseError> {
        let error = || ListParseError { part: text.chars().take(80).collect() };
        // A plus sign is a number's to Rust, and nobody's here.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let mut numbers = text.split('-');
        let (Some(domain), Some(server), Some(sequence), None, true) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next(), is_plain)
        else {
            return Err(error());
        };
        Ok(Self {
            domain: domain.parse().map_err(|_| error())?,
            server: server.parse().map_err(|_| error())?,
            sequence: sequence.parse().map_err(|_| error())?,
        })
    }
}

impl FromStr for GtidList {
    type Err = ListParseError;

    fn from_str(text: &str) -> Result<Self, ListParseError> {
        let mut list = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let gtid: DomainGtid = part.parse()?;
            if list.last.insert(gtid.domain, (gtid.server, gtid.sequence)).is_some() {
                return Err(ListParseError { part: part.to_owned() });
            }
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_printed() {
        for (text, expect) in [
            ("", ""),
            ("0-1-5", "0-1-5"),
            (" 7-2-18446744073709551615 , 0-4294967295-1", "0-4294967295-1,7-2-18446744073709551615"),
        ] {
            assert_eq!(text.parse::<GtidList>().unwrap().to_string(), expect);
        }
        for bad in ["0-1", "0-1-2-3", "0-1-x", "0-1-+5", "-1-1-1", "0-1-5,0-2-6", "4294967296-1-1", "binlog.000001:4"] {
            assert!(bad.parse::<GtidList>().is_err(), "{bad}");
        }
    }

    #[test]
    fn each_domain_has_its_own_order() {
        let mut list: GtidList = "0-1-5,3-1-9".parse().unwrap();
        let gtid = |text: &str| text.parse::<DomainGtid>().unwrap();
        assert!(list.has_passed(&gtid("0-1-5")) && list.has_passed(&gtid("0-1-4")) && list.has_passed(&gtid("3-1-7")));
        assert!(!list.has_passed(&gtid("0-1-6")) && !list.has_passed(&gtid("1-1-1")));
        assert!(!list.has_passed(&gtid("0-2-5")), "another server's numbers prove nothing");
        list.pass(gtid("0-2-4"));
        list.pass(gtid("1-1-1"));
        assert_eq!(list.to_string(), "0-2-4,1-1-1,3-1-9");
    }
}
