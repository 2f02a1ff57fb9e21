//! What an update changed in a document (`PARTIAL_UPDATE_ROWS`), applied to the document before: the text of the document after.
//!
//! A diff is an operation, a path and, unless it removes, a value in the binary form. Diffs are applied in their order. A
//! container is taken apart only where a path leads into it; all else is printed from the bytes in which it was stored.
//! What a replica of the server would reject (a path that leads nowhere, a member that is there already) is malformed.

use std::borrow::Cow;

use super::{BAD, DEPTH_MAX, Printer, TEXT_PER_BYTE_MAX, Width, code};
use crate::protocol::{Cursor, Malformed};

const REJECTED: Malformed = Malformed::new("JSON: a change does not fit the document before");
const BAD_PATH: Malformed = Malformed::new("JSON: the path of a change");

/// Appends the text of the document that the diffs make of this one.
pub(crate) fn write_changed_text(document: &[u8], diffs: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let stored = document.len() + diffs.len();
    let mut root = match document.split_first() {
        Some((kind, value)) => Node::Stored(*kind, value),
        None => Node::Stored(code::LITERAL, &[0]),
    };
    let mut diffs = Cursor::new(diffs);
    // Diffs may take apart what the one before put together; each entry costs as many bytes at least.
    let mut elements_left = stored.saturating_mul(2);
    while !diffs.is_empty() {
        apply(&mut root, &mut diffs, &mut elements_left)?;
    }
    let end_max = out.len() + 64 + stored.saturating_mul(TEXT_PER_BYTE_MAX);
    let mut printer = Printer { out, end_max, elements_left: stored };
    printer.node(&root, DEPTH_MAX)
}

/// A part of a document.
enum Node<'a> {
    /// As it was stored: its type and bytes.
    Stored(u8, &'a [u8]),
    Object(Vec<(Cow<'a, [u8]>, Node<'a>)>),
    Array(Vec<Node<'a>>),
}

/// One step of a path.
enum Leg<'a> {
    Member(Cow<'a, [u8]>),
    Cell(usize),
}

fn apply<'a>(root: &mut Node<'a>, diffs: &mut Cursor<'a>, elements_left: &mut usize) -> Result<(), Malformed> {
    const REPLACE: u8 = 0;
    const INSERT: u8 = 1;
    const REMOVE: u8 = 2;
    let operation = diffs.u8()?;
    let legs = parse_path(diffs.packed_bytes()?)?;
    let (last, parents) = legs.split_last().ok_or(BAD_PATH)?;
    let value = match operation {
        REPLACE | INSERT => {
            let (kind, value) = diffs.packed_bytes()?.split_first().ok_or(BAD)?;
            Some(Node::Stored(*kind, value))
        }
        REMOVE => None,
        _ => return Err(Malformed::new("JSON: a change of an unknown kind")),
    };
    let mut node = root;
    for leg in parents {
        node.take_apart(elements_left)?;
        node = node.child(leg).ok_or(REJECTED)?;
    }
    node.take_apart(elements_left)?;
    match (node, last, value) {
        (node, leg, Some(value)) if operation == REPLACE => *node.child(leg).ok_or(REJECTED)? = value,
        (Node::Object(members), Leg::Member(name), Some(value)) => match place(members, name) {
            Ok(_) => return Err(REJECTED),
            Err(at) => members.insert(at, (name.clone(), value)),
        },
        (Node::Array(cells), Leg::Cell(at), Some(value)) => cells.insert((*at).min(cells.len()), value),
        (Node::Object(members), Leg::Member(name), None) => {
            members.remove(place(members, name).map_err(|_| REJECTED)?);
        }
        (Node::Array(cells), Leg::Cell(at), None) if *at < cells.len() => drop(cells.remove(*at)),
        (Node::Object(_) | Node::Array(_) | Node::Stored(..), Leg::Member(_) | Leg::Cell(_), _) => {
            return Err(REJECTED);
        }
    }
    Ok(())
}

/// Where the member is, or where it belongs: the server orders names by length, then by bytes.
fn place(members: &[(Cow<'_, [u8]>, Node<'_>)], name: &[u8]) -> Result<usize, usize> {
    members.binary_search_by(|(known, _)| (known.len(), &**known).cmp(&(name.len(), name)))
}

impl<'a> Node<'a> {
    fn child(&mut self, leg: &Leg<'_>) -> Option<&mut Node<'a>> {
        match (self, leg) {
            (Node::Object(members), Leg::Member(name)) => {
                let at = place(members, name).ok()?;
                Some(&mut members[at].1)
            }
            (Node::Array(cells), Leg::Cell(at)) => cells.get_mut(*at),
            (Node::Object(_) | Node::Array(_) | Node::Stored(..), Leg::Member(_) | Leg::Cell(_)) => None,
        }
    }

    /// Makes a stored container one of nodes; any other value stays.
    fn take_apart(&mut self, elements_left: &mut usize) -> Result<(), Malformed> {
        let Node::Stored(kind, bytes) = *self else { return Ok(()) };
        let (is_object, width) = match kind {
            code::SMALL_OBJECT => (true, Width::Small),
            code::LARGE_OBJECT => (true, Width::Large),
            code::SMALL_ARRAY => (false, Width::Small),
            code::LARGE_ARRAY => (false, Width::Large),
            _ => return Ok(()),
        };
        let mut cursor = Cursor::new(bytes);
        let count = width.read(&mut cursor)?;
        let size = width.read(&mut cursor)?;
        *elements_left = elements_left.checked_sub(count).ok_or(BAD)?;
        let bytes = bytes.get(..size).ok_or(BAD)?;
        let key_entry_bytes = if is_object { width.bytes() + 2 } else { 0 };
        let mut keys = Cursor::new(bytes.get(2 * width.bytes()..).ok_or(BAD)?);
        let mut values = keys;
        values.take(count.checked_mul(key_entry_bytes).ok_or(BAD)?)?;
        let (mut members, mut cells) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let kind = values.u8()?;
            let entry = values.take(width.bytes())?;
            let value = match width.inlines(kind) {
                true => Node::Stored(kind, entry),
                false => Node::Stored(kind, bytes.get(width.read(&mut Cursor::new(entry))?..).ok_or(BAD)?),
            };
            if is_object {
                let offset = width.read(&mut keys)?;
                let length = usize::from(keys.u16()?);
                let name = bytes.get(offset..).and_then(|rest| rest.get(..length)).ok_or(BAD)?;
                members.push((Cow::Borrowed(name), value));
            } else {
                cells.push(value);
            }
        }
        *self = if is_object { Node::Object(members) } else { Node::Array(cells) };
        Ok(())
    }
}

impl Printer<'_> {
    fn node(&mut self, node: &Node<'_>, depth_left: usize) -> Result<(), Malformed> {
        let inside = || depth_left.checked_sub(1).ok_or(Malformed::new("JSON: it is deeper than the server allows"));
        match node {
            Node::Stored(kind, bytes) => self.value(*kind, bytes, depth_left),
            Node::Object(members) => {
                self.out.push(b'{');
                for (number, (name, value)) in members.iter().enumerate() {
                    self.out.extend_from_slice(if number > 0 { b", " } else { b"" });
                    self.string(name)?;
                    self.out.extend_from_slice(b": ");
                    self.node(value, inside()?)?;
                }
                self.out.push(b'}');
                self.check_size()
            }
            Node::Array(cells) => {
                self.out.push(b'[');
                for (number, value) in cells.iter().enumerate() {
                    self.out.extend_from_slice(if number > 0 { b", " } else { b"" });
                    self.node(value, inside()?)?;
                }
                self.out.push(b']');
                self.check_size()
            }
        }
    }
}

/// `$.name."any name"[7]`, as the server writes paths without wildcards.
fn parse_path(path: &[u8]) -> Result<Vec<Leg<'_>>, Malformed> {
    let text = std::str::from_utf8(path).map_err(|_| BAD_PATH)?;
    let mut rest = text.strip_prefix('$').ok_or(BAD_PATH)?;
    let mut legs = Vec::new();
    while !rest.is_empty() {
        // A document that deep is none of the server's.
        if legs.len() > DEPTH_MAX {
            return Err(BAD_PATH);
        }
        let leg;
        (leg, rest) = parse_leg(rest)?;
        legs.push(leg);
    }
    Ok(legs)
}

fn parse_leg(text: &str) -> Result<(Leg<'_>, &str), Malformed> {
    if let Some(quoted) = text.strip_prefix(".\"") {
        let (name, rest) = unquote(quoted)?;
        return Ok((Leg::Member(name), rest));
    }
    if let Some(name) = text.strip_prefix('.') {
        let (name, rest) = name.split_at(name.find(['.', '[']).unwrap_or(name.len()));
        return if name.is_empty() { Err(BAD_PATH) } else { Ok((Leg::Member(name.as_bytes().into()), rest)) };
    }
    let (cell, rest) = text.strip_prefix('[').and_then(|text| text.split_once(']')).ok_or(BAD_PATH)?;
    Ok((Leg::Cell(cell.parse().map_err(|_| BAD_PATH)?), rest))
}

/// A name up to its closing quote, and what follows.
fn unquote(text: &str) -> Result<(Cow<'_, [u8]>, &str), Malformed> {
    let end = text.find(['"', '\\']).ok_or(BAD_PATH)?;
    if text.as_bytes()[end] == b'"' {
        return Ok((text.as_bytes()[..end].into(), &text[end + 1..]));
    }
    let mut name = String::from(&text[..end]);
    let mut characters = text[end..].chars();
    loop {
        match characters.next().ok_or(BAD_PATH)? {
            '"' => return Ok((name.into_bytes().into(), characters.as_str())),
            '\\' => name.push(unescape(&mut characters)?),
            plain => name.push(plain),
        }
    }
}

/// What stands behind a backslash.
fn unescape(characters: &mut std::str::Chars<'_>) -> Result<char, Malformed> {
    Ok(match characters.next().ok_or(BAD_PATH)? {
        same @ ('"' | '\\' | '/') => same,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        // The server escapes control characters so, and no others.
        'u' => {
            let digits = characters.as_str().get(..4).ok_or(BAD_PATH)?;
            let number = u32::from_str_radix(digits, 16).map_err(|_| BAD_PATH)?;
            characters.nth(3);
            char::from_u32(number).ok_or(BAD_PATH)?
        }
        _ => return Err(BAD_PATH),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{"a": 1, "bb": [true, "x"]}`
    const DOCUMENT: &[u8] = &[
        0, 2, 0, 33, 0, 18, 0, 1, 0, 19, 0, 2, 0, 5, 1, 0, 2, 21, 0, b'a', b'b', b'b', 2, 0, 12, 0, 4, 1, 0, 12, 10, 0,
        1, b'x',
    ];
    const SEVEN: &[u8] = &[5, 7, 0];

    fn diff(operation: u8, path: &str, value: Option<&[u8]>) -> Vec<u8> {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        let mut diff = vec![operation, length(path.as_bytes())];
        diff.extend_from_slice(path.as_bytes());
        if let Some(value) = value {
            diff.push(length(value));
            diff.extend_from_slice(value);
        }
        diff
    }

    fn changed(diffs: &[Vec<u8>]) -> Result<String, Malformed> {
        let mut out = b"before".to_vec();
        write_changed_text(DOCUMENT, &diffs.concat(), &mut out)?;
        Ok(String::from_utf8(out).unwrap().replacen("before", "", 1))
    }

    #[test]
    fn changes_are_applied_in_their_order() {
        assert_eq!(changed(&[]).unwrap(), r#"{"a": 1, "bb": [true, "x"]}"#);
        let cases: [(&[Vec<u8>], &str); 7] = [
            (&[diff(0, "$.a", Some(SEVEN))], r#"{"a": 7, "bb": [true, "x"]}"#),
            (&[diff(1, "$.c", Some(DOCUMENT))], r#"{"a": 1, "c": {"a": 1, "bb": [true, "x"]}, "bb": [true, "x"]}"#),
            (&[diff(1, "$.bb[9]", Some(SEVEN)), diff(2, "$.bb[0]", None)], r#"{"a": 1, "bb": ["x", 7]}"#),
            (&[diff(2, "$.bb", None), diff(2, "$.a", None)], "{}"),
            (
                &[diff(1, "$.bb[1]", Some(DOCUMENT)), diff(0, "$.bb[1].bb[0]", Some(SEVEN))],
                r#"{"a": 1, "bb": [true, {"a": 1, "bb": [7, "x"]}, "x"]}"#,
            ),
            (&[diff(1, r#"$."a\"b\\\u0001é""#, Some(SEVEN))], r#"{"a": 1, "bb": [true, "x"], "a\"b\\\u0001é": 7}"#),
            (&[diff(0, r#"$."a""#, Some(&[4, 0]))], r#"{"a": null, "bb": [true, "x"]}"#),
        ];
        for (diffs, expect) in cases {
            assert_eq!(changed(diffs).unwrap(), expect);
        }
    }

    #[test]
    fn changes_that_fit_no_document_are_malformed() {
        for (operation, path, value) in [
            (0, "$", Some(SEVEN)),
            (0, "$.b", Some(SEVEN)),
            (0, "$.bb[2]", Some(SEVEN)),
            (0, "$.a[0]", Some(SEVEN)),
            (1, "$.a", Some(SEVEN)),
            (1, "$[0]", Some(SEVEN)),
            (1, "$.bb.a", Some(SEVEN)),
            (2, "$.bb[2]", None),
            (2, "$.a.a", None),
            (3, "$.a", None),
            (2, "$.", None),
            (2, "$.a.", None),
            (2, "a", None),
            (2, "", None),
            (2, "$[", None),
            (2, "$[last]", None),
            (2, "$.\"a", None),
            (2, "$.\"\\u00e", None),
            (2, "$.\"\\ud800\"", None),
            (0, "$.a", Some(&[])),
            (0, "$.a", Some(&[0, 9, 9, 9, 9])),
        ] {
            assert!(changed(&[diff(operation, path, value)]).is_err(), "{operation} {path} {value:?}");
        }
        let path = format!("${}", "[0]".repeat(70));
        assert!(changed(&[diff(2, &path, None)]).is_err());
    }
}
