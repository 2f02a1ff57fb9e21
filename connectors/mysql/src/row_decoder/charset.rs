//! Collations and charsets: what a text column's bytes are.
//!
//! Table maps name collations by number. Which charset a number belongs to is asked of the server, because each version
//! adds some. Four charsets are turned into Unicode here; columns of others are refused by name.

use std::collections::HashMap;

use tailrace_contract::{Error, Result};
use tailrace_row::{Charset, ImageWriter, Value};

use crate::protocol::Connection;

/// What the bytes of a collation are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Text that we can turn into Unicode.
    Text(Charset),
    /// No text.
    Binary,
    /// A charset that is not supported, by its name.
    Unsupported(Box<str>),
}

impl Encoding {
    /// The encoding of a charset's name.
    pub(crate) fn of(charset: &str) -> Self {
        match charset {
            "utf8mb4" => Self::Text(Charset::Utf8mb4),
            "utf8mb3" | "utf8" => Self::Text(Charset::Utf8mb3),
            "latin1" => Self::Text(Charset::Latin1),
            "ascii" => Self::Text(Charset::Ascii),
            "binary" => Self::Binary,
            other => Self::Unsupported(other.into()),
        }
    }
}

/// All collations of a server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collations {
    by_number: HashMap<u64, Encoding>,
}

impl Collations {
    pub(crate) async fn load(connection: &mut Connection) -> Result<Self> {
        // From 10.10 on MariaDB's collations are for several charsets, and the number is that of both together.
        let table = match connection.version().is_mariadb_since(10, 10) {
            true => "COLLATION_CHARACTER_SET_APPLICABILITY",
            false => "COLLATIONS",
        };
        let rows = connection.query(&format!("SELECT ID, CHARACTER_SET_NAME FROM information_schema.{table}")).await?;
        let entry = |row: &crate::protocol::Row| Ok((row.number(0)?, Encoding::of(row.text(1))));
        let by_number: HashMap<u64, Encoding> = rows.iter().map(entry).collect::<Result<_>>()?;
        if by_number.is_empty() {
            return Err(Error::refused("the server lists no collations in information_schema.COLLATIONS"));
        }
        Ok(Self { by_number })
    }

    #[cfg(test)]
    pub(crate) fn of(entries: &[(u64, &str)]) -> Self {
        Self { by_number: entries.iter().map(|(number, charset)| (*number, Encoding::of(charset))).collect() }
    }

    pub(crate) fn encoding(&self, collation: u64) -> Encoding {
        let unknown = || Encoding::Unsupported(format!("collation {collation}").into());
        self.by_number.get(&collation).cloned().unwrap_or_else(unknown)
    }
}

/// Appends a text field. Most texts are ASCII, which all four charsets share: that is looked for first and fast.
#[inline]
pub(crate) fn write_text(charset: Charset, bytes: &[u8], out: &mut ImageWriter<'_>) {
    if bytes.is_ascii() {
        let Ok(()) = out.text_with(false, |text| -> std::result::Result<(), std::convert::Infallible> {
            text.extend_from_slice(bytes);
            Ok(())
        });
        return;
    }
    write_beyond_ascii(charset, bytes, out);
}

#[inline(never)]
fn write_beyond_ascii(charset: Charset, bytes: &[u8], out: &mut ImageWriter<'_>) {
    let text = std::str::from_utf8(bytes);
    match (charset, text) {
        (Charset::Utf8mb4, Ok(text)) => out.value(Value::Text(text)),
        (Charset::Utf8mb3, Ok(text)) if !has_four_byte_chars(bytes) => out.value(Value::Text(text)),
        (Charset::Latin1, _) => write_latin1(bytes, out),
        (Charset::Utf8mb4 | Charset::Utf8mb3 | Charset::Ascii, _) => out.value(Value::InvalidText(bytes)),
    }
}

/// Turns bytes of a charset into a text, if they are one. For names and members, not for rows.
pub(crate) fn to_text(charset: Charset, bytes: &[u8]) -> Option<String> {
    match charset {
        Charset::Latin1 => Some(bytes.iter().map(|byte| latin1_char(*byte)).collect()),
        Charset::Ascii => bytes.is_ascii().then(|| String::from_utf8_lossy(bytes).into_owned()),
        Charset::Utf8mb4 | Charset::Utf8mb3 => String::from_utf8(bytes.to_vec()).ok(),
    }
}

/// The bytes of a text in latin1, if it has each of its characters.
pub(crate) fn to_latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| (0..=u8::MAX).find(|byte| latin1_char(*byte) == char)).collect()
}

fn has_four_byte_chars(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte >= 0xf0)
}

fn write_latin1(bytes: &[u8], out: &mut ImageWriter<'_>) {
    let write: std::result::Result<(), std::convert::Infallible> = out.text_with(false, |text| {
        for byte in bytes {
            let mut buffer = [0; 4];
            text.extend_from_slice(latin1_char(*byte).encode_utf8(&mut buffer).as_bytes());
        }
        Ok(())
    });
    let Ok(()) = write;
}

/// MySQL's latin1 is Windows code page 1252; its five holes are the control characters of the same number.
fn latin1_char(byte: u8) -> char {
    const FROM_0X80: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', //
        '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => FROM_0X80[usize::from(byte - 0x80)],
        0..=0x7f | 0xa0..=0xff => char::from(byte),
    }
}
