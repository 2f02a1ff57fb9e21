//! Base64 as Kafka Connect's JsonConverter writes it: the standard alphabet with padding, in quotes.

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// Appends `bytes` as a JSON string.
pub(super) fn write_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written =
        BASE64_STANDARD.encode_slice(bytes, &mut out[start..]).expect("invariant: the buffer has the exact size");
    debug_assert_eq!(start + written, out.len());
    out.push(b'"');
}

/// Reads base64 into `out`, replacing its content.
pub(super) fn read_base64(text: &str, out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    BASE64_STANDARD.decode_vec(text, out).ok()
}
