//! Text queries: a statement in, rows of texts out. For settings and the dictionary, not for tables' rows.

use std::fmt::Write as _;

use tailrace_contract::{Error, Result};
use tailrace_row::TableName;

use super::cursor::{Cursor, Malformed};
use crate::errors::{self, ServerError};

/// One row of a result: `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row(Vec<Option<String>>);

impl Row {
    /// The text of a column, empty if NULL.
    pub(crate) fn text(&self, column: usize) -> &str {
        self.0.get(column).and_then(Option::as_deref).unwrap_or_default()
    }

    /// The text of a column, if it is not NULL.
    #[cfg(test)]
    pub(crate) fn optional(&self, column: usize) -> Option<&str> {
        self.0.get(column).and_then(Option::as_deref)
    }

    /// A column as a number.
    pub(crate) fn number<T: std::str::FromStr>(&self, column: usize) -> Result<T> {
        let text = self.text(column);
        text.parse().map_err(|_| Error::corrupt("the server answered with a text where a number belongs"))
    }

    pub(super) fn parse(packet: &[u8], columns: usize) -> std::result::Result<Self, Malformed> {
        const NULL: u8 = 251;
        let mut cursor = Cursor::new(packet);
        let mut values = Vec::new();
        for _ in 0..columns {
            if cursor.rest().first() == Some(&NULL) {
                cursor.u8()?;
                values.push(None);
                continue;
            }
            let text =
                std::str::from_utf8(cursor.packed_bytes()?).map_err(|_| Malformed::new("text of a query's answer"))?;
            values.push(Some(text.to_owned()));
        }
        Ok(Self(values))
    }
}

/// What begins the answer to a statement.
pub(super) enum Answer {
    /// Done, no rows.
    Done,
    /// Rows of so many columns follow.
    Columns(usize),
}

impl Answer {
    pub(super) fn parse(packet: &[u8]) -> Result<Self> {
        match packet.first() {
            Some(0) => Ok(Self::Done),
            Some(0xff) => Err(errors::server_error(parse_error(packet))),
            Some(0xfb) => Err(Error::refused("the server asks for a local file")),
            Some(_) => Ok(Self::Columns(Cursor::new(packet).packed_len().map_err(errors::malformed)?)),
            None => Err(errors::malformed(Malformed::new("answer: it is empty"))),
        }
    }
}

/// Whether a packet ends a list of columns or rows.
pub(super) fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}

/// Reads an ERR packet, or as much of it as there is.
pub(super) fn parse_error(packet: &[u8]) -> ServerError {
    let mut cursor = Cursor::new(packet.get(1..).unwrap_or_default());
    let number = cursor.u16().unwrap_or_default();
    let mut state = String::new();
    if cursor.rest().first() == Some(&b'#') {
        state = String::from_utf8_lossy(cursor.take(6).unwrap_or_default()).trim_start_matches('#').to_owned();
    }
    let text: String =
        String::from_utf8_lossy(cursor.rest()).chars().filter(|char| !char.is_control()).take(1000).collect();
    ServerError { number, state, text }
}

/// A name between backquotes.
pub(crate) fn quote_name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Database and table between backquotes.
pub(crate) fn quote_table(name: &TableName) -> String {
    format!("{}.{}", quote_name(&name.database), quote_name(&name.table))
}

/// A text between quotes, whatever the session's `sql_mode` is: hexadecimal, so nothing needs escaping.
pub(crate) fn quote_text(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut quoted = String::from("_utf8mb4 0x");
    text.bytes().for_each(|byte| write!(quoted, "{byte:02x}").expect("invariant: writing to a String can't fail"));
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_errors_are_read() {
        let row = Row::parse(b"\x03abc\xfb\x00", 3).unwrap();
        assert_eq!((row.text(0), row.optional(1), row.optional(2)), ("abc", None, Some("")));
        assert!(Row::parse(b"\x03ab", 1).is_err());
        let error = parse_error(b"\xff\x15\x04#28000Access denied");
        assert_eq!((error.number, &*error.state, &*error.text), (1045, "28000", "Access denied"));
        for length in 0..8 {
            parse_error(&b"\xff\x15\x04#28000"[..length]);
        }
    }

    #[test]
    fn quoting() {
        assert_eq!(quote_name("a`b"), "`a``b`");
        assert_eq!(quote_text("a'"), "_utf8mb4 0x6127");
    }
}
