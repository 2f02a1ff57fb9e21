//! The keys of one table that were written while windows on it were open, and when.

use std::collections::{BTreeMap, HashMap};

use tailrace_row::{RowImage, TableSchema, write_key};

/// What is remembered at most; more changes void the windows.
const KEYS_MAX: usize = if cfg!(test) { 20_000 } else { 1_000_000 };
const BYTES_MAX: usize = 64 << 20;
/// What a key costs beside its bytes, roughly.
const KEY_OVERHEAD: usize = 48;

/// Number of a window, in the order of opening.
pub(super) type WindowNumber = u64;

/// When a key was touched, in counts of changes.
#[derive(Clone, Copy)]
struct Touch {
    last: u64,
    /// The last time by a change that did not tell all columns; 0 if by none.
    last_partial: u64,
}

/// What a row of a chunk comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing changed it: it is as of now.
    Untouched,
    /// A change that has all of it came in between.
    Touched,
    /// A change came in between that does not tell all columns: whoever has no such row can't make it of that (E11).
    TouchedInPart,
}

/// The open windows of a table and the keys that were touched since the oldest of them was opened.
#[derive(Default)]
pub(super) struct Touched {
    /// Of each window the count of changes at its opening.
    open: BTreeMap<WindowNumber, u64>,
    /// Of each key the count of changes when it was touched last.
    last: HashMap<Box<[u8]>, Touch>,
    bytes: usize,
    changes: u64,
    /// At so many keys, those that no window needs any more are forgotten.
    prune_at: usize,
    /// Memory that is used again.
    key: Vec<u8>,
}

impl Touched {
    pub(super) fn open(&mut self, window: WindowNumber) {
        self.open.insert(window, self.changes);
    }

    /// Forgets a window; true if it was open.
    pub(super) fn forget(&mut self, window: WindowNumber) -> bool {
        let was_open = self.open.remove(&window).is_some();
        if self.open.is_empty() {
            *self = Self { key: std::mem::take(&mut self.key), ..Self::default() };
        }
        was_open
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn is_open(&self, window: WindowNumber) -> bool {
        self.open.contains_key(&window)
    }

    /// Remembers that a row of this key was written.
    pub(super) fn note(&mut self, schema: &TableSchema, image: RowImage<'_>) {
        self.changes += 1;
        let last_partial = if image.is_partial() { self.changes } else { 0 };
        self.key.clear();
        write_key(schema, image, &mut self.key);
        if let Some(touch) = self.last.get_mut(&self.key[..]) {
            *touch = Touch { last: self.changes, last_partial: touch.last_partial.max(last_partial) };
            return;
        }
        self.bytes += self.key.len() + KEY_OVERHEAD;
        self.last.insert(self.key.as_slice().into(), Touch { last: self.changes, last_partial });
        if self.last.len() >= self.prune_at.max(1 << 12) {
            self.prune();
        }
    }

    /// Whether more was changed than is remembered.
    pub(super) fn is_too_much(&self) -> bool {
        self.last.len() > KEYS_MAX || self.bytes > BYTES_MAX
    }

    /// What happened to a row of this key since the window was opened. The window is open.
    pub(super) fn judge(&mut self, window: WindowNumber, schema: &TableSchema, image: RowImage<'_>) -> Verdict {
        if self.last.is_empty() {
            return Verdict::Untouched;
        }
        self.key.clear();
        write_key(schema, image, &mut self.key);
        let opened = self.open[&window];
        match self.last.get(&self.key[..]) {
            Some(touch) if touch.last_partial > opened => Verdict::TouchedInPart,
            Some(touch) if touch.last > opened => Verdict::Touched,
            Some(_) | None => Verdict::Untouched,
        }
    }

    fn prune(&mut self) {
        let oldest = self.open.values().min().copied().unwrap_or(u64::MAX);
        self.last.retain(|_, touch| touch.last > oldest);
        self.bytes = self.last.keys().map(|key| key.len() + KEY_OVERHEAD).sum();
        self.prune_at = self.last.len() * 2;
    }
}

#[cfg(test)]
mod tests {
    use tailrace_row::{Column, ColumnType, Key, TableName, Value};

    use super::*;

    fn table() -> TableSchema {
        let column = Column {
            name: "id".into(),
            column_type: ColumnType::Integer { bits: 64, unsigned: false },
            nullable: false,
        };
        TableSchema::new(TableName::new("shop", "orders"), [column], [0]).unwrap()
    }

    fn key(number: i64) -> Key {
        let written = Key::write::<()>(1, |image| {
            image.value(Value::Integer(number));
            Ok(())
        });
        written.unwrap()
    }

    #[test]
    fn a_key_counts_for_the_windows_that_were_open_before_it() {
        let (table, mut touched) = (table(), Touched::default());
        touched.open(1);
        touched.note(&table, key(7).image());
        touched.open(2);
        assert_eq!(touched.judge(1, &table, key(7).image()), Verdict::Touched);
        assert_eq!(touched.judge(2, &table, key(7).image()), Verdict::Untouched);
        assert_eq!(touched.judge(1, &table, key(8).image()), Verdict::Untouched);
        touched.note(&table, key(7).image());
        assert_eq!(touched.judge(2, &table, key(7).image()), Verdict::Touched, "the last time counts");
        assert!(touched.forget(1) && !touched.forget(1) && touched.has_open());
        assert!(touched.forget(2) && !touched.has_open() && touched.last.is_empty());
    }

    #[test]
    fn memory_is_bounded_by_what_open_windows_need() {
        let (table, mut touched) = (table(), Touched::default());
        touched.open(0);
        for number in 0..100_000_i64 {
            touched.note(&table, key(number).image());
            if number % 1_000 == 0 {
                let window = WindowNumber::try_from(number / 1_000).unwrap();
                touched.open(window + 1);
                touched.forget(window);
            }
        }
        assert!(touched.last.len() < 10_000, "{}", touched.last.len());
        assert_eq!(touched.judge(100, &table, key(99_999).image()), Verdict::Touched);
        assert!(!touched.is_too_much());
        (0..=20_000).for_each(|number| touched.note(&table, key(number).image()));
        assert!(touched.is_too_much());
    }
}
