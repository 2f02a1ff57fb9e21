//! Unicode in two or four bytes. A byte order mark is a character like any other: the servers know only one order for each
//! charset.

/// Appends UTF-16 as UTF-8; false if the bytes are none. `unit` reads two bytes.
pub(super) fn decode_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, out: &mut Vec<u8>) -> bool {
    let (units, rest) = bytes.as_chunks();
    let chars = char::decode_utf16(units.iter().map(|bytes| unit(*bytes)));
    rest.is_empty() && chars.into_iter().all(|char| push(out, char.ok()))
}

/// Appends UCS-2, which has no pairs of surrogates.
pub(super) fn decode_ucs2(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let (units, rest) = bytes.as_chunks();
    rest.is_empty() && units.iter().all(|bytes| push(out, char::from_u32(u16::from_be_bytes(*bytes).into())))
}

/// Appends UTF-32.
pub(super) fn decode_utf32(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    let (units, rest) = bytes.as_chunks();
    rest.is_empty() && units.iter().all(|bytes| push(out, char::from_u32(u32::from_be_bytes(*bytes))))
}

fn push(out: &mut Vec<u8>, char: Option<char>) -> bool {
    let Some(char) = char else { return false };
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
    true
}
