//! Keys, and rows of which only one thing matters: which change wrote them.

use crate::source::Position;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(u8);

/// A set of keys.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Keys(u8);

/// Two keys: one to change and one to stay, or one to move to.
const KEYS: usize = 2;

impl Key {
    pub(crate) const FIRST: Self = Self(0);
    pub(crate) const SECOND: Self = Self(1);

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn other(self) -> Self {
        Self(1 - self.0)
    }
}

impl Keys {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(0b11);

    pub(crate) fn of(key: Key) -> Self {
        Self(1 << key.0)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn has(self, key: Key) -> bool {
        !self.has_none_of(Self::of(key))
    }

    pub(crate) fn has_none_of(self, other: Self) -> bool {
        self.common(other).is_empty()
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::NONE
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Key> {
        [Key::FIRST, Key::SECOND].into_iter().filter(move |key| self.has(*key))
    }
}

impl FromIterator<Key> for Keys {
    fn from_iter<T: IntoIterator<Item = Key>>(keys: T) -> Self {
        keys.into_iter().fold(Self::NONE, |keys, key| keys.and(Self::of(key)))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter().map(|key| key.0)).finish()
    }
}

/// Which change wrote an image, in the order of the source: a later one is greater.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Version(u16);

impl Version {
    /// Written before the binlog began.
    pub(crate) const HISTORY: Self = Self(0);
    /// Written by a transaction that is rolled back.
    pub(crate) const UNCOMMITTED: Self = Self(u16::MAX);

    /// Of the change that begins at a position. A server that takes over writes versions of its own.
    pub(crate) fn new(epoch: u8, at: Position) -> Self {
        assert!(at.entries < 16 && at.changes < 15, "versions would collide");
        Self(u16::from(epoch) << 8 | u16::from(at.entries) << 4 | (u16::from(at.changes) + 1))
    }
}

impl std::fmt::Debug for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "v{:x}", self.0)
    }
}

/// The rows of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rows([Option<Version>; KEYS]);

impl Rows {
    /// Rows with these keys, from before the binlog.
    pub(crate) fn history(keys: Keys) -> Self {
        let mut rows = Self::default();
        keys.iter().for_each(|key| rows.put(key, Version::HISTORY));
        rows
    }

    pub(crate) fn get(&self, key: Key) -> Option<Version> {
        self.0[key.index()]
    }

    pub(crate) fn put(&mut self, key: Key, version: Version) {
        self.0[key.index()] = Some(version);
    }

    pub(crate) fn delete(&mut self, key: Key) {
        self.0[key.index()] = None;
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::ALL.iter().filter(|key| self.get(*key).is_some()).collect()
    }
}
