//! Names of tables as one types them: two parts and a dot, a part in quotes if it holds a dot, a quote or a star.

/// What two parts name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NamePair {
    /// One table of a database (or schema).
    Table(String, String),
    /// All tables of it: `shop.*`.
    All(String),
}

/// Reads `shop.orders`, `shop.*` or, with the quote doubled inside quotes, `` `my.shop`.`a``b` ``.
pub(super) fn parse_pair(text: &str, quote: char) -> Option<NamePair> {
    let (first, rest) = parse_part(text, quote)?;
    let rest = rest.strip_prefix('.')?;
    if rest == "*" {
        return Some(NamePair::All(first));
    }
    let (second, rest) = parse_part(rest, quote)?;
    rest.is_empty().then_some(NamePair::Table(first, second))
}

/// Writes what [`parse_pair`] reads; without a second part all tables of the first.
pub(super) fn write_pair(first: &str, second: Option<&str>, quote: char) -> String {
    format!("{}.{}", write_part(first, quote), second.map_or_else(|| "*".to_owned(), |part| write_part(part, quote)))
}

fn write_part(part: &str, quote: char) -> String {
    let is_plain = !part.contains(|c: char| c == quote || c == '.' || c == '*' || c.is_whitespace());
    if is_plain {
        part.to_owned()
    } else {
        format!("{quote}{}{quote}", part.replace(quote, &format!("{quote}{quote}")))
    }
}

/// The first part and what follows it.
fn parse_part(text: &str, quote: char) -> Option<(String, &str)> {
    let (part, rest) = match text.strip_prefix(quote) {
        Some(inside) => parse_quoted(inside, quote)?,
        None => {
            let end = text.find('.').unwrap_or(text.len());
            let part = &text[..end];
            let is_plain = !part.contains(|c: char| c == quote || c == '*' || c.is_whitespace());
            (is_plain.then(|| part.to_owned())?, &text[end..])
        }
    };
    (!part.is_empty() && !part.contains('\0')).then_some((part, rest))
}

fn parse_quoted(inside: &str, quote: char) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = inside;
    loop {
        let end = rest.find(quote)?;
        part.push_str(&rest[..end]);
        rest = &rest[end + quote.len_utf8()..];
        match rest.strip_prefix(quote) {
            Some(after) => {
                part.push(quote);
                rest = after;
            }
            None => return Some((part, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_two_parts() {
        let table = |a: &str, b: &str| Some(NamePair::Table(a.into(), b.into()));
        let check = |text: &str, expect: Option<NamePair>| assert_eq!(parse_pair(text, '`'), expect, "{text}");
        check("shop.orders", table("shop", "orders"));
        check("shop.*", Some(NamePair::All("shop".into())));
        check("`my.shop`.*", Some(NamePair::All("my.shop".into())));
        check("`my.shop`.`a``b`", table("my.shop", "a`b"));
        check("shop.`*`", table("shop", "*"));
        check("läden.größe", table("läden", "größe"));
        for wrong in
            ["", ".", "shop", "shop.", ".orders", "*.*", "*.orders", "a.b.c", "shop.ord*", "`shop.orders", "``.x"]
        {
            check(wrong, None);
        }
        for (first, second) in [("shop", Some("orders")), ("my.shop", None), ("a`b", Some("*")), ("ä b", Some("c"))] {
            let expect = second.map_or_else(|| Some(NamePair::All(first.into())), |second| table(first, second));
            check(&write_pair(first, second, '`'), expect);
        }
        for wrong in ["shop. orders", "shop.orders ", "`a`b.c", "a.\0", "a.`b`c"] {
            check(wrong, None);
        }
    }
}
