//! The values that are planted, in every form in which they could leak, and the search for them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{ADMIN_PASSWORD, TAILRACE_PASSWORD};

/// A password that is wrong everywhere.
pub(super) const WRONG_PASSWORD: &str = "planted-wrong-password";
/// The first part of every key.
pub(super) const KEY: &str = "planted-key";
/// A text of a row.
pub(super) const TEXT: &str = "planted-text";
/// Bytes of a row.
pub(super) const BYTES: &str = "planted-bytes";
/// A number of a row; its digits occur in no offset, time or id.
pub(super) const NUMBER: &str = "8067412953306618";
/// A decimal of a row.
pub(super) const DECIMAL: &str = "70911.334477";
/// A moment of a row.
pub(super) const CLOCK: &str = "1987-03-21 04:05:06.789012";
/// A literal in a statement.
pub(super) const LITERAL: &str = "planted-literal";
/// What somebody else wrote into a topic.
pub(super) const RECORD: &str = "planted-record";

/// Everything that must not be found, in lower case.
pub(super) fn needles() -> Vec<String> {
    let plain = [
        TAILRACE_PASSWORD,
        ADMIN_PASSWORD,
        WRONG_PASSWORD,
        KEY,
        TEXT,
        BYTES,
        NUMBER,
        DECIMAL,
        CLOCK,
        LITERAL,
        RECORD,
        // The decimal and the moment without their form: unscaled, and in microseconds since 1970.
        "70911334477",
        "543297906789012",
        // What all texts have in common, should a part of one be shown.
        "planted",
    ];
    let mut needles: Vec<String> = plain.iter().map(|needle| (*needle).to_owned()).collect();
    for text in [KEY, TEXT, BYTES, RECORD, LITERAL, TAILRACE_PASSWORD] {
        needles.push(text.bytes().map(|byte| format!("{byte:02x}")).collect());
        // As Rust prints bytes.
        needles.push(format!("{:?}", text.as_bytes()).trim_matches(['[', ']']).to_owned());
        // Three bytes are four letters of base64, whatever comes before: each of the three alignments.
        needles.extend((0..3).map(|skipped| base64(&text.as_bytes()[skipped..])));
    }
    needles.into_iter().map(|needle| needle.to_lowercase()).collect()
}

/// Whole groups of three bytes only: what follows would change the last letters.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = bytes.chunks_exact(3).flat_map(|group| {
        let bits = group.iter().fold(0usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[bits >> shift & 63]))
    });
    letters.collect()
}

/// Lines of a folder's files in which a needle stands; only the file's name, the line's number and the needle are told.
pub(super) fn search(folder: &Path) -> Result<Vec<String>> {
    let needles = needles();
    let mut found = Vec::new();
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let text = String::from_utf8_lossy(&fs::read(&path)?).to_lowercase();
        bytes += text.len();
        for (number, line) in text.lines().enumerate() {
            let hits = needles.iter().filter(|needle| line.contains(needle.as_str()));
            found.extend(hits.map(|needle| format!("{}:{}: {needle}: {line}", path.display(), number + 1)));
        }
    }
    ensure!(bytes > 0, "there is nothing to search in {}", folder.display());
    Ok(found)
}

#[test]
fn base64_is_found_at_each_alignment() {
    assert_eq!(base64(b"planted-bytes"), "cGxhbnRlZC1ieXRl");
    // "xplanted" in base64 is eHBsYW50ZWQ=.
    assert!("eHBsYW50ZWQ=".contains(&base64(&b"planted"[2..])[..4]));
}
