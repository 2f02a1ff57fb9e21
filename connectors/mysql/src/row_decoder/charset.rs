//! Collations and charsets: what a text column's bytes are.
//!
//! Table maps name collations by number. Which charset a number belongs to is asked of the server, because each version
//! adds some. Bytes become what the server itself would make of them; what it shows as `?` is no text, and its bytes are kept.

mod table;
mod wide;

use std::collections::HashMap;

use tailrace_contract::{Error, Result};
use tailrace_row::{Charset, ImageWriter, Value};

use self::table::Table;
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
        match Charset::named(charset) {
            Some(charset) => Self::Text(charset),
            None if charset == "binary" => Self::Binary,
            None => Self::Unsupported(charset.into()),
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

    #[cfg(any(test, feature = "hostile"))]
    pub(crate) fn of(entries: &[(u64, &str)]) -> Self {
        Self { by_number: entries.iter().map(|(number, charset)| (*number, Encoding::of(charset))).collect() }
    }

    pub(crate) fn encoding(&self, collation: u64) -> Encoding {
        let unknown = || Encoding::Unsupported(format!("collation {collation}").into());
        self.by_number.get(&collation).cloned().unwrap_or_else(unknown)
    }
}

/// Whether a charset's text is the commonest kind, which is decoded without a table.
pub(crate) fn is_common(charset: Charset) -> bool {
    matches!(charset, Charset::Utf8mb4 | Charset::Utf8mb3 | Charset::Latin1 | Charset::Ascii)
}

/// Appends a text field of a common charset. Most texts are ASCII, which they share: that is looked for first and fast.
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
        (_, _) => out.value(Value::InvalidText(bytes)),
    }
}

/// Appends a text field of any other charset. `is_key`: bytes that look like another key's are no text.
#[inline(never)]
pub(crate) fn write_other_text(charset: Charset, bytes: &[u8], is_key: bool, out: &mut ImageWriter<'_>) {
    out.decoded_text(bytes, |text| decode(charset, bytes, is_key, text));
}

/// Appends a text field of whatever charset.
#[inline]
pub(crate) fn write_any_text(charset: Charset, bytes: &[u8], is_key: bool, out: &mut ImageWriter<'_>) {
    match is_common(charset) {
        true => write_text(charset, bytes, out),
        false => write_other_text(charset, bytes, is_key, out),
    }
}

/// Appends the text as UTF-8; false if the bytes are none.
fn decode(charset: Charset, bytes: &[u8], is_key: bool, out: &mut Vec<u8>) -> bool {
    match charset {
        Charset::Utf16 => wide::decode_utf16(bytes, u16::from_be_bytes, out),
        Charset::Utf16Le => wide::decode_utf16(bytes, u16::from_le_bytes, out),
        Charset::Ucs2 => wide::decode_ucs2(bytes, out),
        Charset::Utf32 => wide::decode_utf32(bytes, out),
        _ => Table::of(charset).is_some_and(|table| table.decode(bytes, is_key, out)),
    }
}

/// Turns bytes of a charset into a text, if they are one. For names and members, not for rows.
pub(crate) fn to_text(charset: Charset, bytes: &[u8]) -> Option<String> {
    match charset {
        Charset::Latin1 => Some(bytes.iter().map(|byte| latin1_char(*byte)).collect()),
        Charset::Ascii => bytes.is_ascii().then(|| String::from_utf8_lossy(bytes).into_owned()),
        Charset::Utf8mb4 | Charset::Utf8mb3 => String::from_utf8(bytes.to_vec()).ok(),
        _ => {
            let mut text = Vec::new();
            decode(charset, bytes, false, &mut text).then(|| String::from_utf8(text).ok())?
        }
    }
}

/// The bytes of a key's text in its charset, if that has each of the characters: those from which the text was read.
pub(crate) fn to_bytes(charset: Charset, text: &str) -> Option<Vec<u8>> {
    let units = text.encode_utf16();
    Some(match charset {
        Charset::Utf8mb4 | Charset::Utf8mb3 | Charset::Ascii => text.as_bytes().to_vec(),
        Charset::Latin1 => {
            let byte = |char| (0..=u8::MAX).find(|byte| latin1_char(*byte) == char);
            text.chars().map(byte).collect::<Option<_>>()?
        }
        Charset::Utf16 | Charset::Ucs2 => units.flat_map(u16::to_be_bytes).collect(),
        Charset::Utf16Le => units.flat_map(u16::to_le_bytes).collect(),
        Charset::Utf32 => text.chars().flat_map(|char| u32::from(char).to_be_bytes()).collect(),
        _ => Table::of(charset)?.encode(text)?,
    })
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
