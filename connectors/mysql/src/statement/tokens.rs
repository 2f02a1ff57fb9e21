//! The words of a statement: tolerant, never wrong about where a quote or a comment ends.
//!
//! It knows MySQL's quotes, comments and the executed comments `/*! … */` (of MariaDB also `/*M! … */`), whose content counts as
//! words: those that the server did not execute are plain ones in its binlog. It does not know any grammar.

use std::borrow::Cow;

/// A word of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword, an unquoted name or a number.
    Word(&'a [u8]),
    /// A quoted name.
    Name(Cow<'a, [u8]>),
    /// A text literal, without quotes and escapes.
    Text(Cow<'a, [u8]>),
    /// Any other character.
    Symbol(u8),
}

impl Token<'_> {
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword.as_bytes()))
    }
}

/// Quotes that the session's `sql_mode` changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quoting {
    /// Double quotes enclose names (ANSI_QUOTES).
    pub(super) has_ansi_quotes: bool,
    /// A backslash is a character like others (NO_BACKSLASH_ESCAPES).
    pub(super) has_no_escapes: bool,
    /// The server executes what stands in `/*M! … */`.
    pub(super) is_mariadb: bool,
}

impl Quoting {
    pub(super) fn of(sql_mode: u64, is_mariadb: bool) -> Self {
        const ANSI_QUOTES: u64 = 1 << 2;
        const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
        Self {
            has_ansi_quotes: sql_mode & ANSI_QUOTES != 0,
            has_no_escapes: sql_mode & NO_BACKSLASH_ESCAPES != 0,
            is_mariadb,
        }
    }
}

/// Goes through a statement word by word.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
    quoting: Quoting,
    /// Inside `/*! … */`, so that `*/` is skipped.
    executed_comments: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a [u8], quoting: Quoting) -> Self {
        Self { rest: text, quoting, executed_comments: 0 }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn skip_past(&mut self, end: &[u8]) {
        let at = self.rest.windows(end.len()).position(|window| window == end);
        self.skip(at.map_or(self.rest.len(), |at| at + end.len()));
    }

    /// Skips white space and comments, and enters executed ones.
    fn skip_blank(&mut self) {
        loop {
            match self.rest {
                [byte, ..] if byte.is_ascii_whitespace() || *byte == 0 => self.skip(1),
                [b'#', ..] => self.skip_past(b"\n"),
                [b'-', b'-', next, ..] if next.is_ascii_whitespace() || next.is_ascii_control() => {
                    self.skip_past(b"\n")
                }
                [b'-', b'-'] => self.skip(2),
                [b'/', b'*', b'!', ..] => self.enter_comment(3),
                [b'/', b'*', b'M', b'!', ..] if self.quoting.is_mariadb => self.enter_comment(4),
                [b'/', b'*', ..] => {
                    self.skip(2);
                    self.skip_past(b"*/");
                }
                [b'*', b'/', ..] if self.executed_comments > 0 => {
                    self.executed_comments -= 1;
                    self.skip(2);
                }
                _ => return,
            }
        }
    }

    /// An executed comment may begin with a version of five or six digits.
    fn enter_comment(&mut self, head: usize) {
        self.executed_comments += 1;
        self.skip(head);
        let digits = self.rest.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        self.skip(digits);
    }

    fn word(&mut self) -> Token<'a> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
        let length = self.rest.iter().take_while(|byte| is_part(byte)).count();
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        Token::Word(word)
    }

    /// Content of a quoted name or text; the quote doubled stands for itself.
    fn quoted(&mut self, quote: u8, has_escapes: bool) -> Cow<'a, [u8]> {
        let content = self.rest.get(1..).unwrap_or_default();
        let mut unescaped: Option<Vec<u8>> = None;
        let mut at = 0;
        while let Some(byte) = content.get(at) {
            let is_doubled = *byte == quote && content.get(at + 1) == Some(&quote);
            if *byte == quote && !is_doubled {
                break;
            }
            let is_escape = has_escapes && *byte == b'\\';
            if is_doubled || is_escape {
                unescaped.get_or_insert_with(|| content[..at].to_vec());
                at += 1;
            }
            if let (Some(unescaped), Some(byte)) = (&mut unescaped, content.get(at)) {
                if is_escape { unescape(*byte, unescaped) } else { unescaped.push(*byte) }
            }
            at += 1;
        }
        self.skip(at + 2);
        match unescaped {
            Some(unescaped) => Cow::Owned(unescaped),
            None => Cow::Borrowed(&content[..at.min(content.len())]),
        }
    }
}

/// What stands behind a backslash; before the two wildcards it stands for itself.
fn unescape(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'0' => out.push(0),
        b'b' => out.push(8),
        b'n' => out.push(b'\n'),
        b'r' => out.push(b'\r'),
        b't' => out.push(b'\t'),
        b'Z' => out.push(0x1a),
        b'%' | b'_' => out.extend_from_slice(&[b'\\', byte]),
        other => out.push(other),
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let has_escapes = !self.quoting.has_no_escapes;
        Some(match *self.rest.first()? {
            b'`' => Token::Name(self.quoted(b'`', false)),
            b'"' if self.quoting.has_ansi_quotes => Token::Name(self.quoted(b'"', false)),
            quote @ (b'"' | b'\'') => Token::Text(self.quoted(quote, has_escapes)),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..) => self.word(),
            symbol => {
                self.skip(1);
                Token::Symbol(symbol)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql_mode: u64, text: &str, expect: &str) {
        let shown: Vec<String> = Tokens::new(text.as_bytes(), Quoting::of(sql_mode, false))
            .map(|token| match token {
                Token::Word(word) => String::from_utf8_lossy(word).into_owned(),
                Token::Name(name) => format!("<{}>", String::from_utf8_lossy(&name)),
                Token::Text(text) => format!("'{}'", String::from_utf8_lossy(&text)),
                Token::Symbol(symbol) => char::from(symbol).to_string(),
            })
            .collect();
        assert_eq!(shown.join(" "), expect, "{text}");
    }

    #[test]
    fn words() {
        check(0, "DROP TABLE `a``b`.c, `d e`", "DROP TABLE <a`b> . c , <d e>");
        check(0, "DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `t`", "DROP TEMPORARY TABLE IF EXISTS <t>");
        check(0, "a/* b ` */c -- d\ne # f\n g--h", "a c e g - - h");
        check(0, "/*!50100 PARTITION BY /* inner */ x */ y", "PARTITION BY x y");
        check(0, r"INSERT 'it''s \' `x`' y", "INSERT 'it's ' `x`' y");
        check(0, r"'a\tb\%c\\' ''", "'a\tb\\%c\\' ''");
        check(0, "/*M!100400 x */ y", "y");
        check(0, r#"x "a\"b" y"#, "x 'a\"b' y");
        check(4, r#"x "a""b" y"#, "x <a\"b> y");
        check(1 << 20, r"x '\' y", r"x '\' y");
        check(0, "`open", "<open>");
        check(0, "/* open", "");
        check(0, "'open\\", "'open'");
        check(0, "größe", "größe");
    }
}
