//! What is wrong with a configuration file: all of it at once, each with line, column, key and remedy.
//!
//! No problem quotes the value of a password or of a URL: both may hold a secret that somebody put into the wrong place.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Full path of the key, as in `source.tls.mode`; tables of an array are counted from 1, as in `table[2].source`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, key, message, remedy } = self;
        if key.is_empty() {
            write!(f, "{line}:{column}: {message}; {remedy}")
        } else {
            write!(f, "{line}:{column}: {key}: {message}; {remedy}")
        }
    }
}

/// A key of the file and where it (or its value) stands.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// The key's full path.
    pub path: String,
    /// Byte offset in the file.
    pub offset: usize,
}

impl Place {
    /// A key below this place, found at the same offset unless told otherwise.
    pub(super) fn below(&self, name: &str) -> Self {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Self { path, offset: self.offset }
    }

    /// The same key at another offset.
    pub(super) fn at(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }
}

/// Collects problems while the file is read and checked.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<(Place, Kind, String, String)>,
}

/// What a problem rests on, for files that are not even TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Something is there and wrong.
    Present,
    /// Something is not there.
    Absent,
}

impl Problems {
    /// Something at that place is wrong.
    pub(super) fn add(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.found.push((place.clone(), Kind::Present, message.into(), remedy.into()));
    }

    /// Something is not there and must be.
    pub(super) fn add_absent(&mut self, place: &Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.found.push((place.clone(), Kind::Absent, message.into(), remedy.into()));
    }

    /// Forgets what may only follow from text that could not be read: what lies behind `offset`, and what is absent.
    pub(super) fn trust_only_before(&mut self, offset: usize) {
        self.found.retain(|(place, kind, ..)| *kind == Kind::Present && place.offset < offset);
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems in the order of the file.
    pub(super) fn into_sorted(mut self, text: &str) -> Vec<ConfigProblem> {
        self.found.sort_by_key(|(place, ..)| place.offset);
        let problem = |(place, _, message, remedy): (Place, Kind, String, String)| {
            let (line, column) = line_and_column(text, place.offset);
            ConfigProblem { line, column, key: place.path, message, remedy }
        };
        self.found.into_iter().map(problem).collect()
    }
}

/// Line and column of a byte offset, both from 1.
pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_and_columns() {
        let text = "a = 1\n\u{e4}b = 2\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, 6), (2, 1));
        assert_eq!(line_and_column(text, 8), (2, 2));
        assert_eq!(line_and_column(text, 99), (3, 1));
    }
}
