//! The text format of COPY: rows end with a line feed, fields with a tab, and what would be taken for either stands behind a
//! backslash. The documentation of COPY is the whole of it.

/// Lines out of pieces that may end anywhere, and the fields of one after the other.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Where what is not read yet begins.
    at: usize,
    /// The line in progress ends here.
    line_end: usize,
    field: Vec<u8>,
}

/// One field of a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CopyField<'a> {
    Null,
    Text(&'a [u8]),
}

impl Lines {
    /// Takes over what came next.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Goes to the next complete line, if there is one.
    pub(super) fn next_line(&mut self) -> bool {
        let length = self.bytes[self.at..].iter().position(|byte| *byte == b'\n');
        if let Some(length) = length {
            self.line_end = self.at + length;
        }
        length.is_some()
    }

    /// The next field of the line; none behind the last.
    pub(super) fn next_field(&mut self) -> Option<CopyField<'_>> {
        let line = self.bytes.get(self.at..=self.line_end)?;
        let length = line.iter().position(|byte| matches!(byte, b'\t' | b'\n'))?;
        let start = self.at;
        self.at += length + 1;
        let field = &self.bytes[start..start + length];
        if field == b"\\N" {
            return Some(CopyField::Null);
        }
        if !field.contains(&b'\\') {
            return Some(CopyField::Text(field));
        }
        self.field.clear();
        unescape(field, &mut self.field);
        Some(CopyField::Text(&self.field))
    }
}

fn unescape(field: &[u8], out: &mut Vec<u8>) {
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'b') => 8,
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'v') => 11,
                Some(b'f') => 12,
                Some(b'r') => b'\r',
                Some(other) => *other,
                None => b'\\',
            },
            plain => *plain,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_whatever_the_pieces() {
        let text = b"a\t\\N\t\n\\\\N\tb\\tc\\nd\\r\\b\\f\\v\t\\\\x00\n";
        for size in [1, 2, 3, 5, text.len()] {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.push(piece);
                while lines.next_line() {
                    for _ in 0..3 {
                        seen.push(match lines.next_field().unwrap() {
                            CopyField::Null => None,
                            CopyField::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
                        });
                    }
                }
            }
            let expect = [Some("a"), None, Some(""), Some("\\N"), Some("b\tc\nd\r\u{8}\u{c}\u{b}"), Some("\\x00")];
            assert_eq!(seen.iter().map(Option::as_deref).collect::<Vec<_>>(), expect, "{size}");
        }
    }
}
