//! A store of the configuration: its URL, account, password and TLS become an endpoint.

use std::path::{Path, PathBuf};

use tailrace_contract::{Endpoint, Secret, Tls, TlsMode};

use super::{
    document::Entry,
    keys::Section,
    nearest::nearest,
    problem::{Place, Problems},
    raw::{RawSecret, RawStore, RawTls},
    secret::{Fault, Surroundings},
    url::{Host, Url, parse_path, parse_url, split_scheme},
    values::{choice_or_first, given, required},
};

/// What a store is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Source,
    Log,
    Target,
}

impl Role {
    fn noun(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Log => "log",
            Self::Target => "target",
        }
    }
}

struct Scheme {
    typed: &'static str,
    /// What connectors call it.
    name: &'static str,
    role: Role,
    address: Address,
}

/// What stands behind the scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    /// A server; the port is for a URL without one.
    Server { port: u16 },
    /// The path of a file.
    File,
}

const SCHEMES: &[Scheme] = &[
    Scheme { typed: "mysql", name: "mysql", role: Role::Source, address: Address::Server { port: 3306 } },
    Scheme { typed: "mariadb", name: "mariadb", role: Role::Source, address: Address::Server { port: 3306 } },
    Scheme { typed: "kafka", name: "kafka", role: Role::Log, address: Address::Server { port: 9092 } },
    Scheme { typed: "postgres", name: "postgres", role: Role::Target, address: Address::Server { port: 5432 } },
    Scheme { typed: "postgresql", name: "postgres", role: Role::Target, address: Address::Server { port: 5432 } },
    Scheme { typed: "sqlite", name: "sqlite", role: Role::Target, address: Address::File },
];

/// A store's place in the file and what is asked of it.
#[derive(Clone, Copy)]
pub(super) struct StoreCheck<'a> {
    pub role: Role,
    pub section: &'static Section,
    /// Whether the command talks to it: only then its secrets and certificates are read.
    pub is_used: bool,
    pub surroundings: &'a Surroundings<'a>,
}

/// A store that is well described.
pub(super) struct Store {
    pub endpoint: Endpoint,
    /// More brokers, `host:port`.
    pub more_brokers: Vec<String>,
}

/// Checks everything that stores have in common.
pub(super) fn check_store(raw: &RawStore, check: StoreCheck<'_>, problems: &mut Problems) -> Option<Store> {
    let password = check_password(&raw.password, check, problems);
    let tls = check_tls(&raw.tls, check, problems);
    let (text, place) = required(&raw.url, (check.section, &raw.place), ("url", ""), problems)?;
    let (typed, rest) = or_problem(split_scheme(text), place, problems)?;
    let scheme = check_scheme(&typed, check.role, place, problems)?;
    let default_port = match scheme.address {
        Address::Server { port } => port,
        Address::File => {
            check_file_alone(raw, problems);
            let path = or_problem(parse_path(rest), place, problems)?;
            return Some(file(scheme, &check.surroundings.path(&path)));
        }
    };
    let url = or_problem(parse_url(text), place, problems)?;
    check_parts(&url, (check.role, scheme), place, problems);
    let (first, more) = url.hosts.split_first().expect("invariant: a URL has a host");
    Some(Store {
        endpoint: Endpoint {
            scheme: scheme.name.to_owned(),
            host: first.name.clone(),
            port: first.port.unwrap_or(default_port),
            user: url.user.clone(),
            password: password?,
            database: url.database.clone(),
            tls: tls?,
        },
        more_brokers: more.iter().map(|host| host_and_port(host, default_port)).collect(),
    })
}

/// Another server with the source's accounts: only its address is told, and the account where it is another one.
pub(super) fn replica_of(source: &Endpoint, text: &str, place: &Place, problems: &mut Problems) -> Option<Endpoint> {
    let (typed, _) = or_problem(split_scheme(text), place, problems)?;
    let scheme = check_scheme(&typed, Role::Source, place, problems)?;
    let Address::Server { port } = scheme.address else { return None };
    let url = or_problem(parse_url(text), place, problems)?;
    check_parts(&url, (Role::Source, scheme), place, problems);
    let host = url.hosts.first().expect("invariant: a URL has a host");
    let (host, port) = (host.name.clone(), host.port.unwrap_or(port));
    Some(Endpoint { scheme: scheme.name.to_owned(), host, port, user: url.user, ..source.clone() })
}

/// A file as a store.
fn file(scheme: &Scheme, path: &Path) -> Store {
    let endpoint = Endpoint {
        scheme: scheme.name.to_owned(),
        host: String::new(),
        port: 0,
        user: String::new(),
        password: None,
        database: path.display().to_string(),
        tls: Tls::default(),
    };
    Store { endpoint, more_brokers: Vec::new() }
}

/// Nothing that is written may be without effect.
fn check_file_alone(raw: &RawStore, problems: &mut Problems) {
    if let Some((_, place)) = given(&raw.password) {
        problems.add(place, "a file has no password", "leave it out: the file's permissions protect it");
    }
    if let Some((_, place)) = given(&raw.tls) {
        problems.add(place, "a file has no TLS", "leave it out");
    }
}

/// Whether the store is a file, which has no schemas and takes names that differ in case for one.
pub(super) fn is_file(endpoint: &Endpoint) -> bool {
    SCHEMES.iter().any(|scheme| scheme.name == endpoint.scheme && scheme.address == Address::File)
}

/// Whether two endpoints are the same server, and the same database of it, as far as their URLs tell.
pub(super) fn is_same_server(a: &Endpoint, b: &Endpoint) -> bool {
    let name = |endpoint: &Endpoint| match endpoint.host.to_ascii_lowercase().as_str() {
        "localhost" | "127.0.0.1" | "::1" => "localhost".to_owned(),
        other => other.to_owned(),
    };
    let is_same_database = a.database == b.database || a.database.is_empty() || b.database.is_empty();
    name(a) == name(b) && a.port == b.port && is_same_database
}

fn host_and_port(host: &Host, default_port: u16) -> String {
    let Host { name, port } = host;
    let port = port.unwrap_or(default_port);
    if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") }
}

fn check_scheme(typed: &str, role: Role, place: &Place, problems: &mut Problems) -> Option<&'static Scheme> {
    let known: Vec<_> = SCHEMES.iter().filter(|scheme| scheme.role == role).collect();
    if let Some(scheme) = known.iter().find(|scheme| scheme.typed == typed) {
        return Some(scheme);
    }
    let noun = role.noun();
    let remedy = match nearest(typed, known.iter().map(|scheme| scheme.typed)) {
        Some(word) => format!("did you mean {word}://?"),
        None => format!(
            "write {}",
            known.iter().map(|scheme| format!("{}://", scheme.typed)).collect::<Vec<_>>().join(" or ")
        ),
    };
    problems.add(place, format!("{typed}:// is no {noun}"), remedy);
    None
}

/// What must and must not stand in the URL beside the scheme.
fn check_parts(url: &Url, (role, scheme): (Role, &Scheme), place: &Place, problems: &mut Problems) {
    let Scheme { typed, .. } = scheme;
    if url.has_password {
        let remedy = "leave it out and write password = { env = \"NAME\" } or { file = \"PATH\" }";
        problems.add(place, "a password in the URL is refused", remedy);
    }
    if url.has_options {
        problems.add(
            place,
            "what follows ? or # in a URL is not read",
            "leave it out and write keys instead, such as tls",
        );
    }
    if url.user.is_empty() && role != Role::Log {
        problems.add(place, "the URL names no account", format!("write {typed}://ACCOUNT@HOST:PORT"));
    }
    if url.hosts.len() > 1 && role != Role::Log {
        problems.add(
            place,
            format!("the URL names several hosts, but a {} is one server", role.noun()),
            "name one host",
        );
    }
    match (role, url.database.as_str()) {
        (Role::Target, "") => {
            problems.add(place, "the URL names no database", format!("write {typed}://ACCOUNT@HOST:PORT/DATABASE"));
        }
        (Role::Source, database) if !database.is_empty() => {
            problems.add(place, "the URL of a source names no database", "leave it out: each [[table]] names its own");
        }
        (Role::Log, database) if !database.is_empty() => {
            problems.add(
                place,
                "the URL of a log ends behind its hosts",
                "leave the path out: prefix names the topics",
            );
        }
        (Role::Source | Role::Log | Role::Target, _) => {}
    }
}

/// The outer option is none after a problem, the inner one where no password is given or needed.
fn check_password(raw: &Entry<RawSecret>, check: StoreCheck<'_>, problems: &mut Problems) -> Option<Option<Secret>> {
    let secret = match raw {
        Entry::Given(secret, _) => secret,
        Entry::Absent => return Some(None),
        Entry::Wrong => return None,
    };
    if !check.is_used {
        return Some(check.surroundings.unread.clone());
    }
    let (read, place) = match secret {
        RawSecret::Env(name, place) => (check.surroundings.secret_in_variable(name), place),
        RawSecret::File(path, place) => (check.surroundings.secret_in_file(path), place),
    };
    or_problem(read, place, problems).map(Some)
}

fn check_tls<'a>(raw: &Entry<RawTls>, check: StoreCheck<'a>, problems: &mut Problems) -> Option<Tls> {
    let raw = match raw {
        Entry::Given(raw, _) => raw,
        Entry::Absent => return Some(Tls::default()),
        Entry::Wrong => return None,
    };
    const MODES: &[(&str, TlsMode)] = &[
        ("verify-full", TlsMode::VerifyFull),
        ("verify-ca", TlsMode::VerifyCa),
        ("required", TlsMode::Required),
        ("disabled", TlsMode::Disabled),
    ];
    let mode = choice_or_first(&raw.mode, MODES, problems);
    if let (Role::Target, Some(TlsMode::VerifyCa), Some((_, place))) = (check.role, mode, given(&raw.mode)) {
        // The driver trusts an authority of ours beside the system's, not instead of them.
        let message = "not safe with PostgreSQL: it would trust every public authority, whatever host they vouch for";
        problems.add(place, message, "write \"verify-full\"; ca may name your own authority");
    }
    check_tls_together(raw, mode, problems);
    let mut path = |entry: &Entry<String>, read: ReadPath<'a>| match entry {
        Entry::Given(typed, _) if !check.is_used => Some(Some(check.surroundings.path(typed))),
        Entry::Given(typed, place) => or_problem(read(check.surroundings, typed), place, problems).map(Some),
        Entry::Absent => Some(None),
        Entry::Wrong => None,
    };
    let ca = path(&raw.ca, Surroundings::readable_path);
    let certificate = path(&raw.certificate, Surroundings::readable_path);
    let key = path(&raw.key, Surroundings::private_path);
    Some(Tls { mode: mode?, ca: ca?, certificate: certificate?, key: key? })
}

type ReadPath<'a> = fn(&Surroundings<'a>, &str) -> Result<PathBuf, Fault>;

/// What the keys of one TLS table mean for each other: nothing that is written may be without effect.
fn check_tls_together(raw: &RawTls, mode: Option<TlsMode>, problems: &mut Problems) {
    let is_unverified = matches!(mode, Some(TlsMode::Disabled | TlsMode::Required));
    if let Some((_, place)) = given(&raw.ca).filter(|_| is_unverified) {
        let remedy = "write mode = \"verify-full\" or \"verify-ca\", or leave ca out";
        problems.add(place, "nothing is verified in this mode", remedy);
    }
    if let Some((_, place)) = given(&raw.certificate).filter(|_| mode == Some(TlsMode::Disabled)) {
        let remedy = "write mode = \"verify-full\", or leave certificate and key out";
        problems.add(place, "no certificate is shown without TLS", remedy);
    }
    match (&raw.certificate, &raw.key) {
        (Entry::Given(_, place), Entry::Absent) => {
            problems.add(place, "a certificate needs its key", "add key = \"PATH\"")
        }
        (Entry::Absent, Entry::Given(_, place)) => {
            problems.add(place, "a key needs its certificate", "add certificate = \"PATH\"");
        }
        (Entry::Given(..), Entry::Given(..))
        | (Entry::Absent, Entry::Absent)
        | (Entry::Wrong, _)
        | (_, Entry::Wrong) => {}
    }
}

fn or_problem<T>(
    result: Result<T, (impl Into<String>, impl Into<String>)>,
    place: &Place,
    problems: &mut Problems,
) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err((message, remedy)) => {
            problems.add(place, message, remedy);
            None
        }
    }
}
