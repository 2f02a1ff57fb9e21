//! Global transaction identifiers and sets of them: `uuid:n` and, since MySQL 8.3, `uuid:tag:n`. MariaDB's, which are another
//! thing under the same name, are in `domains`.
//!
//! A set is what a server has executed, and what our position is made of. It holds intervals per server and tag, merged and
//! ordered, so adding the next transaction in line costs one look-up and no allocation. Text form and wire form have files
//! of their own.

mod domains;
mod text;
mod wire;

use std::collections::BTreeMap;

use uuid::Uuid;

pub(crate) use domains::{DomainGtid, GtidList};
pub(crate) use wire::{read_serialized_number, read_tag};

/// The largest transaction number; the server refuses to go beyond it.
pub(crate) const NUMBER_MAX: u64 = i64::MAX as u64 - 1;

/// A tag: up to 32 letters, digits and underscores; empty for transactions without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Tag {
    /// Padded with zeros, so that comparing the bytes compares the texts.
    bytes: [u8; Tag::BYTES_MAX],
}

impl Tag {
    pub(crate) const BYTES_MAX: usize = 32;

    /// `None` if the text can't be a tag. The empty text is the tag of transactions without one.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let is_first = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
        let text = text.to_ascii_lowercase();
        let is_tag = text.len() <= Self::BYTES_MAX
            && text.bytes().enumerate().all(|(at, byte)| is_first(byte) || at > 0 && byte.is_ascii_digit());
        let mut bytes = [0; Self::BYTES_MAX];
        is_tag.then(|| bytes[..text.len()].copy_from_slice(text.as_bytes()))?;
        Some(Self { bytes })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes[0] == 0
    }

    pub(crate) fn as_str(&self) -> &str {
        let length = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(Self::BYTES_MAX);
        std::str::from_utf8(&self.bytes[..length]).expect("invariant: tags are ASCII")
    }
}

/// Whose transactions: the server that first executed them, and the tag it gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin {
    pub(crate) uuid: Uuid,
    pub(crate) tag: Tag,
}

/// The name of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Gtid {
    pub(crate) origin: Origin,
    pub(crate) number: u64,
}

/// The name of one transaction on either kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TransactionId {
    Mysql(Gtid),
    Mariadb(DomainGtid),
}

impl TransactionId {
    /// What [`std::fmt::Display`] wrote, or nothing; the outer `None` for everything else.
    pub(crate) fn parse_optional(text: &str) -> Option<Option<Self>> {
        Some(match text {
            "" => None,
            of_mysql if of_mysql.contains(':') => Some(Self::Mysql(of_mysql.parse().ok()?)),
            of_mariadb => Some(Self::Mariadb(of_mariadb.parse().ok()?)),
        })
    }
}

impl std::fmt::Display for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mysql(gtid) => gtid.fmt(f),
            Self::Mariadb(gtid) => gtid.fmt(f),
        }
    }
}

/// Transaction numbers as ordered intervals `[start, end)` that neither touch nor overlap.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Intervals(Vec<(u64, u64)>);

impl Intervals {
    fn add(&mut self, start: u64, end: u64) {
        debug_assert!(start < end);
        if let Some(last) = self.0.last_mut() {
            if last.1 == start {
                last.1 = end;
                return;
            }
            if last.1 > start {
                return self.insert(start, end);
            }
        }
        self.0.push((start, end));
    }

    /// Puts an interval in its place and swallows what it touches.
    fn insert(&mut self, start: u64, end: u64) {
        let from = self.0.partition_point(|interval| interval.1 < start);
        let to = self.0.partition_point(|interval| interval.0 <= end);
        let merged = match self.0.get(from..to) {
            Some([first, .., last]) => (first.0.min(start), last.1.max(end)),
            Some([only]) => (only.0.min(start), only.1.max(end)),
            Some([]) | None => (start, end),
        };
        self.0.splice(from..to, [merged]);
    }

    fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|interval| interval.1 <= number);
        self.0.get(at).is_some_and(|interval| interval.0 <= number)
    }

    /// Appends to `rest` what is in `self` and not in `other`.
    fn subtract(&self, other: &Self, rest: &mut Self) {
        let mut taken = other.0.iter().peekable();
        for (start, end) in &self.0 {
            let mut start = *start;
            while let Some((from, to)) = taken.next_if(|interval| interval.1 <= *end) {
                if *from > start {
                    rest.0.push((start, *from));
                }
                start = start.max(*to);
            }
            let stop = taken.peek().map_or(*end, |interval| interval.0.clamp(start, *end));
            if start < stop {
                rest.0.push((start, stop));
            }
        }
    }
}

/// A set of transactions.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct GtidSet {
    /// No entry is empty.
    origins: BTreeMap<Origin, Intervals>,
}

impl GtidSet {
    pub(crate) const EMPTY: Self = Self { origins: BTreeMap::new() };

    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Adds one transaction.
    #[inline]
    pub(crate) fn add(&mut self, gtid: Gtid) {
        self.add_interval(gtid.origin, gtid.number, gtid.number + 1);
    }

    /// Adds the transactions.
    pub(crate) fn extend(&mut self, gtids: impl IntoIterator<Item = Gtid>) {
        gtids.into_iter().for_each(|gtid| self.add(gtid));
    }

    pub(crate) fn contains(&self, gtid: &Gtid) -> bool {
        self.origins.get(&gtid.origin).is_some_and(|intervals| intervals.contains(gtid.number))
    }

    /// What is in `self` and not in `other`.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let mut origins = BTreeMap::new();
        let none = Intervals::default();
        for (origin, intervals) in &self.origins {
            let mut rest = Intervals::default();
            intervals.subtract(other.origins.get(origin).unwrap_or(&none), &mut rest);
            if !rest.0.is_empty() {
                origins.insert(*origin, rest);
            }
        }
        Self { origins }
    }

    /// Number of transactions.
    pub(crate) fn count(&self) -> u64 {
        self.origins.values().flat_map(|intervals| &intervals.0).map(|(start, end)| end - start).sum()
    }

    /// Adds the numbers `[start, end)` of an origin.
    fn add_interval(&mut self, origin: Origin, start: u64, end: u64) {
        self.origins.entry(origin).or_default().add(start, end);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn origin(which: u8) -> Origin {
        let tag = Tag::new(["", "a", "b_1"][usize::from(which / 2)]).unwrap();
        Origin { uuid: Uuid::from_bytes([which % 2; 16]), tag }
    }

    type Model = BTreeSet<(Origin, u64)>;

    fn set_of(model: &Model) -> GtidSet {
        let mut set = GtidSet::new();
        model.iter().for_each(|(origin, number)| set.add(Gtid { origin: *origin, number: *number }));
        set
    }

    fn entries() -> impl Strategy<Value = Vec<(u8, u64, u64)>> {
        prop::collection::vec((0u8..6, 1u64..60, 1u64..8), 0..40)
    }

    /// Adds intervals in the order given, to the set and to a plain set of numbers.
    fn build(entries: &[(u8, u64, u64)]) -> (GtidSet, Model) {
        let mut set = GtidSet::new();
        let mut model = Model::new();
        for (which, start, length) in entries {
            set.add_interval(origin(*which), *start, start + length);
            model.extend((*start..start + length).map(|number| (origin(*which), number)));
        }
        (set, model)
    }

    proptest! {
        #[test]
        fn behaves_like_a_plain_set(left in entries(), right in entries()) {
            let ((left, left_model), (right, right_model)) = (build(&left), build(&right));
            prop_assert_eq!(&left, &set_of(&left_model), "merged and ordered whatever the order of adding");
            for which in 0..6 {
                for number in 1..70 {
                    let gtid = Gtid { origin: origin(which), number };
                    prop_assert_eq!(left.contains(&gtid), left_model.contains(&(gtid.origin, number)));
                }
            }
            let difference: Model = left_model.difference(&right_model).copied().collect();
            prop_assert_eq!(left.without(&right), set_of(&difference));
            prop_assert_eq!(left.count(), left_model.len() as u64);
            prop_assert!(left.without(&left).is_empty());
        }

        #[test]
        fn both_forms_return(entries in entries()) {
            let (set, _) = build(&entries);
            prop_assert_eq!(&set.to_string().parse::<GtidSet>().unwrap(), &set);
            prop_assert_eq!(&GtidSet::decode(&set.encode()).unwrap(), &set);
        }
    }

    #[test]
    fn tags() {
        for good in ["", "a", "_", "a1", &"x".repeat(32)] {
            assert_eq!(Tag::new(good).unwrap().as_str(), good);
        }
        for bad in ["1a", "a-b", "é", &"x".repeat(33)] {
            assert_eq!(Tag::new(bad), None, "{bad}");
        }
        assert_eq!(Tag::new("Tag").unwrap().as_str(), "tag");
    }
}
