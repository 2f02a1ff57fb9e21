//! A JSON text as a tree in one spelling: members ordered by length and bytes of their names (as MySQL and jsonb print them, so
//! that nothing is moved as a rule), of members with one name the last, numbers by exact decimal digits, texts unescaped.

use std::ops::Range;

use super::number::{self, ZeroSign};

/// MySQL's documents end at 100; deeper ones can't be equal to one of those.
const DEPTH_MAX: usize = 128;

/// Memory that is kept from one document to the next.
#[derive(Debug, Default)]
pub(super) struct JsonScratch {
    members: Vec<Member>,
    sorted: Vec<u8>,
}

/// Where a member lies in the output.
#[derive(Clone, Debug)]
struct Member {
    name: Range<usize>,
    end: usize,
}

/// Appends the tree. None if the text is no JSON; what was appended by then is the caller's to forget.
pub(super) fn write(text: &[u8], scratch: &mut JsonScratch, out: &mut Vec<u8>) -> Option<()> {
    scratch.members.clear();
    let mut reader = Reader { rest: text, scratch, out };
    reader.value(0)?;
    reader.skip_blanks();
    reader.rest.is_empty().then_some(())
}

struct Reader<'a> {
    rest: &'a [u8],
    scratch: &'a mut JsonScratch,
    out: &'a mut Vec<u8>,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        self.skip_blanks();
        match self.rest.first()? {
            b'n' => self.word(b"null"),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'"' => {
                self.out.push(b'"');
                self.text()
            }
            b'[' if depth < DEPTH_MAX => self.array(depth),
            b'{' if depth < DEPTH_MAX => self.object(depth),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    /// The first letter tells the words apart.
    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        self.out.push(word[0]);
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.expect(b'[')?;
        self.out.push(b'[');
        self.skip_blanks();
        if !self.take(b']') {
            loop {
                self.value(depth + 1)?;
                self.skip_blanks();
                if self.take(b']') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.out.push(b']');
        Some(())
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.expect(b'{')?;
        self.out.push(b'{');
        let first = self.scratch.members.len();
        self.skip_blanks();
        if !self.take(b'}') {
            loop {
                self.member(depth)?;
                self.skip_blanks();
                if self.take(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        self.order(first);
        self.scratch.members.truncate(first);
        self.out.push(b'}');
        Some(())
    }

    fn member(&mut self, depth: usize) -> Option<()> {
        self.skip_blanks();
        let start = self.out.len();
        self.text()?;
        let name = start..self.out.len();
        self.skip_blanks();
        self.expect(b':')?;
        self.value(depth + 1)?;
        self.scratch.members.push(Member { name, end: self.out.len() });
        Some(())
    }

    /// Brings the members from `first` on into order. A name lies behind its length, so that bytes order as wanted.
    fn order(&mut self, first: usize) {
        let JsonScratch { members, sorted } = &mut *self.scratch;
        let members = &mut members[first..];
        let name = |member: &Member| &self.out[member.name.clone()];
        if members.windows(2).all(|pair| name(&pair[0]) < name(&pair[1])) {
            return;
        }
        let begin = members[0].name.start;
        // Stable: of members with one name the last stays last.
        members.sort_by(|one, other| name(one).cmp(name(other)));
        sorted.clear();
        for (place, member) in members.iter().enumerate() {
            let is_last = members.get(place + 1).is_none_or(|next| name(next) != name(member));
            if is_last {
                sorted.extend_from_slice(&self.out[member.name.start..member.end]);
            }
        }
        self.out.truncate(begin);
        self.out.extend_from_slice(sorted);
    }

    fn number(&mut self) -> Option<()> {
        let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let end = self.rest.iter().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        // 01 is no JSON.
        if let [b'0', b'0'..=b'9', ..] = text.strip_prefix(b"-").unwrap_or(text) {
            return None;
        }
        self.out.push(b'#');
        number::write(text, ZeroSign::Kept, self.out)?;
        self.out.push(b';');
        Some(())
    }

    /// The characters behind their length.
    fn text(&mut self) -> Option<()> {
        self.expect(b'"')?;
        let length_at = self.out.len();
        self.out.extend([0; 4]);
        loop {
            let plain = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
            let (characters, rest) = self.rest.split_at(plain);
            self.out.extend_from_slice(std::str::from_utf8(characters).ok()?.as_bytes());
            self.rest = &rest[1..];
            match rest[0] {
                b'"' => break,
                _ => self.escape()?,
            }
        }
        let length = u32::try_from(self.out.len() - length_at - 4).ok()?;
        self.out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        let (kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        let character = match kind {
            b'"' | b'\\' | b'/' => char::from(*kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unicode()?,
            _ => return None,
        };
        self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    }

    /// One unit of UTF-16, or two that belong together; half a character is none.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex_unit()?;
        if let Some(character) = char::from_u32(first) {
            return Some(character);
        }
        self.rest = self.rest.strip_prefix(b"\\u")?;
        let second = self.hex_unit()?;
        let is_pair = (0xd800..0xdc00).contains(&first) && (0xdc00..0xe000).contains(&second);
        is_pair.then(|| char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))).flatten()
    }

    fn hex_unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        digits.iter().try_fold(0, |sum, digit| Some(sum * 16 + char::from(*digit).to_digit(16)?))
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.rest.first() == Some(&byte);
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Option<Vec<u8>> {
        let (mut scratch, mut out) = (JsonScratch::default(), Vec::new());
        write(text.as_bytes(), &mut scratch, &mut out).map(|()| out)
    }

    #[test]
    fn one_tree_has_one_form() {
        for (one, other) in [
            (r#"{"b": 1, "a": [true, null]}"#, r#"{"a":[ true ,null],"b":1.0}"#),
            (r#"{"a": 1, "a": 2}"#, r#"{"a": 2}"#),
            (r#"{"long": {"z": 1, "y": {"d":1,"c":2}}, "a": 0}"#, r#"{"a":0,"long":{"y":{"c":2,"d":1},"z":1}}"#),
            (r#""é\u00e9\/\n😀""#, "\"\\u00e9é/\\n\\ud83d\\uDE00\""),
            ("[1e2, 1.5e300]", &format!("[100,15{}]", "0".repeat(299))),
            ("{\"a\":1,\"b\":2,\"a\":3}", "{\"b\":2,\"a\":3}"),
        ] {
            assert_eq!(tree(one).unwrap(), tree(other).unwrap(), "{one} {other}");
        }
    }

    #[test]
    fn small_differences_show() {
        for (one, other) in [
            ("1.0", "1.10"),
            ("true", "1"),
            ("null", "\"null\""),
            ("[1, 2]", "[2, 1]"),
            ("[[1], 2]", "[[1, 2]]"),
            ("[]", "{}"),
            ("[12]", "[1, 2]"),
            ("\"é\"", "\"e\u{301}\""),
            ("{\"a\": null}", "{}"),
            ("{\"a\": 1}", "{\"A\": 1}"),
            ("18446744073709551615", "18446744073709551616"),
            ("-0.0", "0.0"),
            ("\"1\"", "1"),
        ] {
            assert_ne!(tree(one).unwrap(), tree(other).unwrap(), "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_json_has_no_tree() {
        for text in [
            "",
            "[1",
            "{\"a\"}",
            "nul",
            "01",
            "[1,]",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"a",
            "1 2",
            "{a:1}",
            "+1",
            "[1 2]",
            "\"\\ud800\\u0041\"",
            "tru",
            "-",
            "\"\\u00e\"",
        ] {
            assert_eq!(tree(text), None, "{text}");
        }
        let deep = |depth| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(tree(&deep(100)).is_some() && tree(&deep(100_000)).is_none());
    }
}
