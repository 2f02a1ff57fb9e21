//! A number for the form of a statement: two that differ only in values, white space, comments or the case of words have the same.
//!
//! The one thing to know: the number goes into errors and logs, so no literal may have a part in it: who knows the statement's text but for
//! a value could try values until the number fits. Lists of values count as one, however many there are. A statement whose
//! charset is not known is taken byte by byte. It is not the server's own digest (`STATEMENT_DIGEST`).

use xxhash_rust::xxh3::Xxh3;

use super::{Captured, Token, Tokens};
use crate::events::QueryEvent;

/// What stands in the place of a literal.
const VALUE: &[u8] = b"?";
/// No byte of a word.
const END: u8 = 0;

impl Captured<'_> {
    /// The digest of the statement.
    pub(crate) fn digest(&self, query: &QueryEvent<'_>) -> u64 {
        let text = self.utf8(query).unwrap_or(query.text.into());
        let mut hash = Xxh3::new();
        for word in form(Tokens::new(&text, self.quoting(query))) {
            hash.update(&word);
            hash.update(&[END]);
        }
        hash.digest()
    }
}

/// The words of the statement in small letters, without what may differ.
fn form(tokens: Tokens<'_>) -> Vec<Vec<u8>> {
    let mut form: Vec<Vec<u8>> = Vec::new();
    let mut tokens = tokens.peekable();
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(_) => put_value(&mut form),
            // N'…', X'…', B'…', _utf8mb4'…'
            Token::Word(word) if is_introducer(word) && matches!(tokens.peek(), Some(Token::Text(_))) => {}
            Token::Word(word) if is_literal(word) => {
                put_value(&mut form);
                // 1e-5
                let is_open = word.ends_with(b"e") || word.ends_with(b"E");
                if is_open && !word.starts_with(b"0x") && tokens.next_if(is_sign).is_some() {
                    let _ = tokens.next_if(|token| matches!(token, Token::Word(_)));
                }
            }
            Token::Word(word) => form.push(word.to_ascii_lowercase()),
            Token::Name(name) => form.push(name.to_ascii_lowercase()),
            Token::Symbol(b';') if tokens.peek().is_none() => {}
            Token::Symbol(b')') => {
                form.push(b")".to_vec());
                fold_rows(&mut form);
            }
            Token::Symbol(symbol) => form.push(vec![symbol]),
        }
    }
    form
}

/// A value; with one before it (the other half of a number, or the first of a list) it is one.
fn put_value(form: &mut Vec<Vec<u8>>) {
    let is_value_before = |form: &[Vec<u8>]| form.last().is_some_and(|last| last == VALUE);
    if matches!(form.last().map(Vec::as_slice), Some(b"-" | b"+"))
        && form.len() > 1
        && begins_value(&form[form.len() - 2])
    {
        form.pop();
    }
    match form.last().map(Vec::as_slice) {
        // A number's point; names have no number behind it that is a literal.
        Some(b".") => {
            form.pop();
            if !is_value_before(form) {
                form.push(VALUE.to_vec());
            }
        }
        Some(b",") if is_value_before(&form[..form.len() - 1]) => {
            form.pop();
        }
        Some(VALUE) => {}
        Some(_) | None => form.push(VALUE.to_vec()),
    }
}

/// Whether a sign behind it is the value's own.
fn begins_value(word: &[u8]) -> bool {
    matches!(word, b"(" | b"," | b"=" | b"<" | b">")
}

/// One row of values behind another is the same row.
fn fold_rows(form: &mut Vec<Vec<u8>>) {
    const ROWS: [&[u8]; 7] = [b"(", VALUE, b")", b",", b"(", VALUE, b")"];
    const ROW_AND_COMMA: usize = 4;
    let is_tail = form.len() >= ROWS.len() && form[form.len() - ROWS.len()..].iter().eq(ROWS.iter());
    if is_tail {
        form.truncate(form.len() - ROW_AND_COMMA);
    }
}

fn is_sign(token: &Token<'_>) -> bool {
    matches!(token, Token::Symbol(b'-' | b'+'))
}

fn is_introducer(word: &[u8]) -> bool {
    word.starts_with(b"_") || [b"n", b"x", b"b"].iter().any(|letter| word.eq_ignore_ascii_case(*letter))
}

/// A number in any of its forms, and the words that are values. A name may begin with a digit, but has to have a letter that no
/// number has.
fn is_literal(word: &[u8]) -> bool {
    if [&b"null"[..], b"true", b"false"].iter().any(|value| word.eq_ignore_ascii_case(value)) {
        return true;
    }
    let lower = word.to_ascii_lowercase();
    if !lower.first().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    match lower.strip_prefix(b"0x").or_else(|| lower.strip_prefix(b"0b")) {
        Some(digits) => !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit),
        None => lower.iter().all(|byte| byte.is_ascii_digit() || *byte == b'e'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Quoting;

    fn check(text: &str, expect: &str) {
        let words = form(Tokens::new(text.as_bytes(), Quoting::of(0, false)));
        let shown: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        assert_eq!(shown.join(" "), expect, "{text}");
    }

    #[test]
    fn f13_statements_that_differ_only_in_values_have_one_form() {
        for same in [
            "UPDATE orders SET note = 'secret', total = 17.50 WHERE id = 4",
            "update  `orders`\n set Note=\"it''s \\\" x\" , total=-3 where/* who */id=0x1F -- 7",
            "UPDATE orders SET note = _utf8mb4'a' 'b', total = .5 WHERE id = b'101' # x",
            "UPDATE orders SET note = NULL, total = 1E-10 WHERE id = +9.0;",
        ] {
            check(same, "update orders set note = ? , total = ? where id = ?");
        }
        check("INSERT INTO t (a, b) VALUES (1, 'x')", "insert into t ( a , b ) values ( ? )");
        check(
            "INSERT INTO t (a, b) VALUES (2, 'y'),(3,NULL),\n(-1.5e3, X'00')",
            "insert into t ( a , b ) values ( ? )",
        );
        check("INSERT INTO t VALUES (1, NOW())", "insert into t values ( ? , now ( ) )");
        check("DELETE FROM t WHERE a IN (1,2,3)", "delete from t where a in ( ? )");
        check("DELETE FROM t WHERE a > x - 5", "delete from t where a > x - ?");
        check("LOAD DATA INFILE '/rows/x' INTO TABLE 1st_t.2a", "load data infile ? into table 1st_t . 2a");
        check("'open", "?");
        check("", "");
    }

    #[test]
    fn f13_the_digest_tells_forms_apart() {
        let (filter, collations) =
            (tailrace_contract::TableFilter::default(), crate::row_decoder::charset::Collations::of(&[]));
        let captured = Captured {
            filter: &filter,
            collations: &collations,
            ignores_case: false,
            is_mariadb: false,
            logs_cascades: true,
        };
        let digest = |text: &str| {
            captured.digest(&QueryEvent {
                thread: 1,
                database: b"shop",
                text: text.as_bytes(),
                sql_mode: 0,
                client_collation: Some(45),
                updated_databases: None,
                time_zone: None,
                has_plain_timestamps: None,
            })
        };
        assert_eq!(digest("UPDATE t SET a = 'one'"), digest("update t set a='two'"));
        for other in
            ["UPDATE t SET b = 'one'", "UPDATE u SET a = 'one'", "UPDATE t SET a = a", "UPDATE ts ET a = 'one'"]
        {
            assert_ne!(digest("UPDATE t SET a = 'one'"), digest(other), "{other}");
        }
    }
}
