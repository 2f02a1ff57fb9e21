//! What may stand in parentheses inside one of our own statements, and can't reach out of them.

use super::tokens::{Quoting, Token, Tokens};

/// Whether the text is one expression, as far as its parentheses tell: none closes what it did not open, and all are closed. What the
/// server makes of it otherwise only the server says. Sessions have quotes as they are by default.
pub(crate) fn is_one_expression(text: &str, is_mariadb: bool) -> bool {
    let mut depth = 0_u32;
    let mut is_empty = true;
    for token in Tokens::new(text.as_bytes(), Quoting::of(0, is_mariadb)) {
        is_empty = false;
        match token {
            Token::Symbol(b'(') => depth += 1,
            Token::Symbol(b')') => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            // The one ends a statement, the other stands for a value that nobody gives.
            Token::Symbol(b';' | b'?') => return false,
            Token::Word(_) | Token::Name(_) | Token::Text(_) | Token::Symbol(_) => {}
        }
    }
    depth == 0 && !is_empty
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_does_not_leave_its_parentheses() {
        let check = |text: &str, expect: bool| assert_eq!(is_one_expression(text, false), expect, "{text}");
        check("placed >= '2024-01-01'", true);
        check("(a = 1 OR b IN (1, 2)) AND c = ');?'", true);
        check("a = 1 -- ) a comment", true);
        check("a = `;)`", true);
        check("1) OR (1", false);
        check("(a = 1", false);
        check("a = 1; DROP TABLE t", false);
        check("a = ?", false);
        check("", false);
        check("  -- nothing", false);
    }
}
