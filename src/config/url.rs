//! The parts of a store's URL: `scheme://account@host:port/database`, or `scheme://path` where the store is a file.
//!
//! What is wrong with a URL is told without quoting it, since a password may stand anywhere in it by mistake.

/// A URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// What stands before `://`, in lower case.
    pub scheme: String,
    /// Account; empty if none.
    pub user: String,
    /// Whether something stands behind the account's colon.
    pub has_password: bool,
    /// Hosts with their ports; never empty.
    pub hosts: Vec<Host>,
    /// What stands behind the slash; empty if nothing.
    pub database: String,
    /// Whether `?…` or `#…` follows.
    pub has_options: bool,
}

/// A host and, where it is given, its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// Name or address; an IPv6 address without its brackets.
    pub name: String,
    /// Port.
    pub port: Option<u16>,
}

/// What is wrong, and the remedy.
pub(super) type Fault = (&'static str, &'static str);

/// The scheme, in lower case, and what follows `://`.
pub(super) fn split_scheme(text: &str) -> Result<(String, &str), Fault> {
    let (scheme, rest) = text
        .split_once("://")
        .filter(|(scheme, _)| scheme.starts_with(|c: char| c.is_ascii_alphabetic()))
        .filter(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)))
        .ok_or(("no scheme stands before the address", "write SCHEME://ACCOUNT@HOST:PORT"))?;
    Ok((scheme.to_ascii_lowercase(), rest))
}

/// The path in what follows the scheme of a file: an absolute one begins with a third slash.
pub(super) fn parse_path(rest: &str) -> Result<String, Fault> {
    if rest.contains('@') {
        return Err(("an @ stands in the URL of a file, which has no account", "write @ in a file's name as %40"));
    }
    if rest.contains(['?', '#']) {
        return Err(("what follows ? or # in a URL is not read", "write ? and # in a file's name as %3F and %23"));
    }
    let path = decode_percent(rest)?;
    match path.as_str() {
        "" => Err(("the URL names no file", "write SCHEME:///ABSOLUTE/PATH or SCHEME://RELATIVE/PATH")),
        ":memory:" => Err(("a database in memory ends with the process", "name a file")),
        folder if folder.ends_with('/') => Err(("the URL names a folder", "name a file in it")),
        other if other.contains('\0') => Err(("a file's name has no NUL", "leave %00 out")),
        _ => Ok(path),
    }
}

/// Takes the URL of a server apart.
pub(super) fn parse_url(text: &str) -> Result<Url, Fault> {
    let (scheme, rest) = split_scheme(text)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.contains('@') {
        return Err((
            "an @ stands behind the host",
            "write /, ? and # in an account's name as %2F, %3F and %23, and leave the password out of the URL",
        ));
    }
    let (account, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match account.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (account, None),
    };
    let hosts = hosts.split(',').map(parse_host).collect::<Result<Vec<_>, _>>()?;
    let (database, options) = match path.find(['?', '#']) {
        Some(at) => path.split_at(at),
        None => (path, ""),
    };
    Ok(Url {
        scheme,
        user: decode_percent(user)?,
        has_password: password.is_some(),
        hosts,
        database: decode_percent(database.strip_prefix('/').unwrap_or(database))?,
        has_options: !options.is_empty(),
    })
}

fn parse_host(text: &str) -> Result<Host, Fault> {
    const NO_HOST: Fault = ("a host is no host name and no address", "write HOST:PORT, an IPv6 address in brackets");
    const NO_PORT: Fault = ("a port is no number from 1 to 65535", "write HOST:PORT");
    let (name, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let (name, port) = inside.split_once(']').ok_or(NO_HOST)?;
            name.parse::<std::net::Ipv6Addr>().map_err(|_| NO_HOST)?;
            (name, port)
        }
        None => {
            let (name, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            ((is_name && !name.is_empty()).then_some(name).ok_or(NO_HOST)?, port)
        }
    };
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port > 0).ok_or(NO_PORT)?)
        }
        None if port.is_empty() => None,
        _ => return Err(NO_PORT),
    };
    Ok(Host { name: name.to_owned(), port })
}

fn decode_percent(text: &str) -> Result<String, Fault> {
    const FAULT: Fault = ("a % is not followed by two hexadecimal digits of UTF-8 text", "write % itself as %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let [high, low, after @ ..] = after else { return Err(FAULT) };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(digit(high).ok_or(FAULT)? << 4 | digit(low).ok_or(FAULT)?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A URL's parts in one line.
    fn parts(text: &str) -> String {
        match parse_url(text) {
            Err((message, _)) => message.to_owned(),
            Ok(Url { scheme, user, has_password, hosts, database, has_options }) => {
                let hosts: Vec<_> = hosts.into_iter().map(|host| format!("{}:{:?}", host.name, host.port)).collect();
                let flags = format!(
                    "{}{}",
                    if has_password { " password" } else { "" },
                    if has_options { " options" } else { "" }
                );
                format!("{scheme} {user:?} {} {database:?}{flags}", hosts.join(","))
            }
        }
    }

    #[test]
    fn urls_are_taken_apart() {
        let check = |text: &str, expect: &str| assert_eq!(parts(text), expect, "{text}");
        check("mysql://tailrace@db:3306", "mysql \"tailrace\" db:Some(3306) \"\"");
        check("MySQL://db", "mysql \"\" db:None \"\"");
        check("postgres://a%40b@[::1]:5432/sh%C3%B6p", "postgres \"a@b\" ::1:Some(5432) \"shöp\"");
        check("postgres://a:hunter2@db/shop", "postgres \"a\" db:None \"shop\" password");
        check("postgres://a:@db/shop", "postgres \"a\" db:None \"shop\" password");
        check("postgres://a:hunt@er2@db/shop", "postgres \"a\" db:None \"shop\" password");
        check("postgres://a@db/shop?sslmode=disable", "postgres \"a\" db:None \"shop\" options");
        check("postgres://a@db?x", "postgres \"a\" db:None \"\" options");
        check("kafka://a:9092,b,c:1", "kafka \"\" a:Some(9092),b:None,c:Some(1) \"\"");
        check("db:3306", "no scheme stands before the address");
        check("://db", "no scheme stands before the address");
        check("my sql://db", "no scheme stands before the address");
        check("mysql://", "a host is no host name and no address");
        check("mysql://a@", "a host is no host name and no address");
        check("mysql://a@:3306", "a host is no host name and no address");
        check("mysql://a@d b", "a host is no host name and no address");
        check("mysql://a@::1", "a host is no host name and no address");
        check("mysql://a@[::g]", "a host is no host name and no address");
        check("mysql://a@[::1", "a host is no host name and no address");
        check("mysql://a@[::1]3306", "a port is no number from 1 to 65535");
        check("kafka://a,,b", "a host is no host name and no address");
        check("mysql://a@db:", "a port is no number from 1 to 65535");
        check("mysql://a@db:0", "a port is no number from 1 to 65535");
        check("mysql://a@db:65536", "a port is no number from 1 to 65535");
        check("mysql://a@db:+1", "a port is no number from 1 to 65535");
        check("mysql://a@db:33:06", "a port is no number from 1 to 65535");
        check("mysql://a:hunt/er2@db", "an @ stands behind the host");
        check("mysql://a%4@db", "a % is not followed by two hexadecimal digits of UTF-8 text");
        check("mysql://a%ff@db", "a % is not followed by two hexadecimal digits of UTF-8 text");
        check("mysql://a%zz@db", "a % is not followed by two hexadecimal digits of UTF-8 text");
    }

    #[test]
    fn paths_are_taken_from_urls_of_files() {
        let check = |text: &str, expect: Result<&str, &str>| {
            let found = split_scheme(text).and_then(|(_, rest)| parse_path(rest));
            assert_eq!(found.as_deref().map_err(|(message, _)| *message), expect, "{text}");
        };
        check("sqlite:///var/lib/shop.db", Ok("/var/lib/shop.db"));
        check("sqlite://shop.db", Ok("shop.db"));
        check("SQLite://data/a%3Fb%40c%20d.db", Ok("data/a?b@c d.db"));
        check("sqlite://", Err("the URL names no file"));
        check("sqlite:///var/lib/", Err("the URL names a folder"));
        check("sqlite://:memory:", Err("a database in memory ends with the process"));
        check("sqlite://shop.db?mode=ro", Err("what follows ? or # in a URL is not read"));
        check("sqlite://a:hunter2@shop.db", Err("an @ stands in the URL of a file, which has no account"));
        check("sqlite://a%00b", Err("a file's name has no NUL"));
        check("sqlite:shop.db", Err("no scheme stands before the address"));
        check("sqlite://a%4", Err("a % is not followed by two hexadecimal digits of UTF-8 text"));
    }
}
