//! The words of one clause, read from left to right.

use super::tokens::Token;

/// What of a clause is not read yet.
#[derive(Clone, Debug)]
pub(super) struct Words<'t> {
    tokens: &'t [Token<'t>],
}

impl<'t> Words<'t> {
    pub(super) fn new(tokens: &'t [Token<'t>]) -> Self {
        Self { tokens }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    pub(super) fn peek(&self) -> Option<&'t Token<'t>> {
        self.tokens.first()
    }

    pub(super) fn next(&mut self) -> Option<&'t Token<'t>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// Whether the next words are these.
    pub(super) fn are_next(&self, keywords: &[&str]) -> bool {
        keywords.len() <= self.tokens.len()
            && self.tokens.iter().zip(keywords).all(|(token, keyword)| token.is(keyword))
    }

    pub(super) fn is_next(&self, keyword: &str) -> bool {
        self.are_next(&[keyword])
    }

    /// Whether the next word is one of these.
    pub(super) fn is_next_of(&self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.is_next(keyword))
    }

    pub(super) fn skip(&mut self, keyword: &str) -> bool {
        self.skip_all(&[keyword])
    }

    /// Skips the words if they are the next ones, in this order.
    pub(super) fn skip_all(&mut self, keywords: &[&str]) -> bool {
        let are_next = self.are_next(keywords);
        if are_next {
            self.tokens = &self.tokens[keywords.len()..];
        }
        are_next
    }

    /// Skips the next word if it is one of these.
    pub(super) fn skip_of(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.skip(keyword))
    }

    pub(super) fn is_symbol(&self, symbol: u8) -> bool {
        self.peek() == Some(&Token::Symbol(symbol))
    }

    pub(super) fn skip_symbol(&mut self, symbol: u8) -> bool {
        let is_next = self.is_symbol(symbol);
        if is_next {
            self.next();
        }
        is_next
    }

    pub(super) fn skip_if_exists(&mut self) -> bool {
        self.skip_all(&["IF", "NOT", "EXISTS"]) || self.skip_all(&["IF", "EXISTS"])
    }

    /// A name, quoted or not.
    pub(super) fn name(&mut self) -> Option<Box<str>> {
        let name = match self.peek()? {
            Token::Word(name) => String::from_utf8_lossy(name),
            Token::Name(name) => String::from_utf8_lossy(name),
            Token::Text(_) | Token::Symbol(_) => return None,
        };
        self.next();
        Some(name.into())
    }

    /// A name, where the grammar takes a text for one too.
    pub(super) fn name_or_text(&mut self) -> Option<Box<str>> {
        let Some(Token::Text(text)) = self.peek() else { return self.name() };
        self.next();
        Some(String::from_utf8_lossy(text).into())
    }

    /// A whole number.
    pub(super) fn number(&mut self) -> Option<u64> {
        let Token::Word(digits) = self.peek()? else { return None };
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        self.next();
        Some(number)
    }

    /// What stands in the parentheses that come next.
    pub(super) fn parenthesised(&mut self) -> Option<Self> {
        if !self.is_symbol(b'(') {
            return None;
        }
        let mut depth = 0_usize;
        let mut has_ended = |token: &Token<'_>| {
            match token {
                Token::Symbol(b'(') => depth += 1,
                Token::Symbol(b')') => depth -= 1,
                Token::Symbol(_) | Token::Word(_) | Token::Name(_) | Token::Text(_) => {}
            }
            depth == 0
        };
        let end = self.tokens.iter().position(&mut has_ended)?;
        let inner = Self { tokens: &self.tokens[1..end] };
        self.tokens = &self.tokens[end + 1..];
        Some(inner)
    }

    /// The parts between commas outside of parentheses.
    pub(super) fn split(&self) -> impl Iterator<Item = Self> + use<'t> {
        let mut depth = 0_usize;
        self.tokens
            .split(move |token| {
                match token {
                    Token::Symbol(b'(') => depth += 1,
                    Token::Symbol(b')') => depth = depth.saturating_sub(1),
                    Token::Symbol(_) | Token::Word(_) | Token::Name(_) | Token::Text(_) => {}
                }
                depth == 0 && *token == Token::Symbol(b',')
            })
            .map(|tokens| Self { tokens })
    }
}
