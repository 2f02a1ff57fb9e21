//! The configuration judged: ranges, words, what keys mean for each other. Every default is filled in here.
//!
//! A part with a problem yields none and the check goes on, so that one run finds all problems.

use std::net::SocketAddr;

use tailrace_contract::{
    DebeziumBytes, DebeziumDecimals, DebeziumSettings, DebeziumTimes, Endpoint, LogSettings, Retention, SourceSettings,
    StartAt, TargetSettings, TlsMode,
};

use super::{
    Config, ConfigProblem, HttpConfig, SecretPlace, SourceConfig, Stores,
    document::{Document, Entry},
    keys, moment,
    nearest::nearest,
    problem::{Place, Problems},
    raw::{
        self, RawApply, RawBackfill, RawCapture, RawConfig, RawDebezium, RawHttp, RawLog, RawSecret, RawSource,
        RawTarget,
    },
    secret::Surroundings,
    store::{Role, Store, StoreCheck, check_store, is_file, is_same_server, replica_of},
    tables::{TargetNames, check_tables},
    throttle::{self, Around, check_throttle},
    values::{choice_or_first, duration, given, number, quoted, required, size},
};
use crate::{apply::ApplyLimits, backfill::CopyLimits, capture::CommitLimits};

/// Checks the file's text.
pub(super) fn check(text: &str, stores: Stores, surroundings: &Surroundings<'_>) -> Result<Config, Vec<ConfigProblem>> {
    let mut problems = Problems::default();
    let document = Document::parse(text);
    let raw = raw::read(&document, &mut problems);
    let config = check_config(&raw, stores, surroundings, &mut problems);
    check_sections(&raw, stores, text.len(), &mut problems);
    document.report(&mut problems);
    match config {
        Some(config) if problems.is_empty() => Ok(config),
        Some(_) | None => {
            assert!(!problems.is_empty(), "invariant: a part without value has a problem");
            Err(problems.into_sorted(text))
        }
    }
}

fn check_config(
    raw: &RawConfig,
    stores: Stores,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Config> {
    // Records of Debezium name no schema: whoever applies them asks the source for its tables.
    let is_debeziums = given(&raw.log).is_some_and(|(log, _)| given(&log.debezium).is_some());
    let is_used = stores.source || (is_debeziums && stores.log && stores.target);
    let source = section(&raw.source, |raw| {
        let check = StoreCheck { role: Role::Source, section: &keys::SOURCE, is_used, surroundings };
        check_source(raw, check, problems)
    });
    let log = section(&raw.log, |raw| {
        let check = StoreCheck { role: Role::Log, section: &keys::LOG, is_used: stores.log, surroundings };
        check_log(raw, check, problems)
    });
    let asks_target = throttle::asks_target(&raw.backfill, stores);
    let target = section(&raw.target, |raw| {
        let is_used = stores.target || asks_target;
        let check = StoreCheck { role: Role::Target, section: &keys::TARGET, is_used, surroundings };
        check_target(raw, check, problems)
    });
    if let (Some(Some(source)), Some(Some(target)), Entry::Given(raw, _)) = (&source, &target, &raw.target) {
        check_two_servers(source, target, &raw.store.url, problems);
    }
    let names = target
        .as_ref()
        .and_then(Option::as_ref)
        .map(|target| TargetNames { own_schema: &target.schema, is_file: is_file(&target.endpoint) });
    let rules = section(&raw.tables, |raw| check_tables(raw, names, problems));
    let capture = check_capture(&raw.capture, log.as_ref().and_then(Option::as_ref), problems);
    let apply = check_apply(&raw.apply, problems);
    let backfill = check_backfill(&raw.backfill, problems);
    let around = Around {
        source: source.as_ref().and_then(Option::as_ref).map(|source| &source.settings),
        has_log: !matches!(raw.log, Entry::Absent),
        has_target: !matches!(raw.target, Entry::Absent),
        surroundings,
    };
    let throttle = check_throttle(&raw.backfill, &around, problems);
    let http = check_http(&raw.http, surroundings, problems);
    Some(Config {
        source: source??,
        log: log?,
        target: target?,
        rules: rules??,
        capture: capture?,
        apply: apply?,
        backfill: backfill?,
        throttle: throttle?,
        http: http?,
    })
}

/// The outer option is none after a problem, the inner one where the section is absent.
fn section<R, T>(entry: &Entry<R>, check: impl FnOnce(&R) -> Option<T>) -> Option<Option<T>> {
    match entry {
        Entry::Given(raw, _) => check(raw).map(Some),
        Entry::Absent => Some(None),
        Entry::Wrong => None,
    }
}

/// Reports the sections that are missing. `end` is where they would be added.
fn check_sections(raw: &RawConfig, stores: Stores, end: usize, problems: &mut Problems) {
    let mut missing = |name: &str, message: &str, remedy: &str| {
        problems.add_absent(&Place::default().below(name).at(end), message, remedy);
    };
    if matches!(raw.source, Entry::Absent) {
        missing("source", "the section is missing", "add [source] with url and server_id");
    }
    if matches!(raw.log, Entry::Absent) && stores.log && !(stores.source && stores.target) {
        let remedy = "add [log] with url and prefix; without a log only `tailrace run` moves changes";
        missing("log", "the section is missing", remedy);
    }
    if matches!(raw.target, Entry::Absent) && stores.target {
        missing("target", "the section is missing", "add [target] with url");
    }
    let is_empty = given(&raw.tables).is_some_and(|(tables, _)| tables.is_empty());
    if matches!(raw.tables, Entry::Absent) || is_empty {
        missing("table", "no table is named", "add [[table]] with source = \"shop.orders\" or \"shop.*\"");
    }
}

fn check_source(raw: &RawSource, check: StoreCheck<'_>, problems: &mut Problems) -> Option<SourceConfig> {
    let store = check_store(&raw.store, check, problems);
    let here = (check.section, &raw.store.place);
    let server_id =
        required(&raw.server_id, here, ("server_id", ", a number that no other replica of the server has"), problems)
            .and_then(|_| number(&raw.server_id, 0, 1..=i128::from(u32::MAX), problems));
    let name = check_name(&raw.name, problems);
    let heartbeat = duration(&raw.heartbeat, "10s", ["1s", "10m"], problems);
    let expected_outage = duration(&raw.expected_outage, "24h", ["0s", "365d"], problems);
    let start = match &raw.start {
        Entry::Given(text, place) => check_start(text, place, problems),
        Entry::Absent => Some(StartAt::Now),
        Entry::Wrong => None,
    };
    let Store { endpoint, .. } = store?;
    let read = check_read_url(&raw.read_url, &endpoint, problems);
    let settings = SourceSettings {
        endpoint,
        read: read?,
        server_id: server_id?,
        heartbeat: heartbeat?,
        expected_outage: expected_outage?,
    };
    Some(SourceConfig { settings, name: name?, start: start? })
}

/// The outer option is none after a problem, the inner one where the key is absent.
fn check_read_url(raw: &Entry<String>, source: &Endpoint, problems: &mut Problems) -> Option<Option<Endpoint>> {
    let (text, place) = match raw {
        Entry::Given(text, place) => (text, place),
        Entry::Absent => return Some(None),
        Entry::Wrong => return None,
    };
    let read = replica_of(source, text, place, problems)?;
    if is_same_server(source, &read) {
        problems.add(place, "this is the server of url, where tables are read anyway", "name a replica of it");
        return None;
    }
    Some(Some(read))
}

/// The stream's name is typed by operators and stands in the target: short and plain.
fn check_name(raw: &Entry<String>, problems: &mut Problems) -> Option<String> {
    const LENGTH_MAX: usize = 100;
    match raw {
        Entry::Absent => Some("main".to_owned()),
        Entry::Wrong => None,
        Entry::Given(name, place) => {
            let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if name.is_empty() || name.len() > LENGTH_MAX || !is_plain {
                let remedy = format!("use 1 to {LENGTH_MAX} letters, digits, dots, _ and -");
                problems.add(place, format!("{} is no name for a stream", quoted(name)), remedy);
                return None;
            }
            Some(name.clone())
        }
    }
}

/// Whether GTIDs or a `file:offset` are what they seem, and still there, is the source's to say.
fn check_start(text: &str, place: &Place, problems: &mut Problems) -> Option<StartAt> {
    match text {
        "now" => Some(StartAt::Now),
        "earliest" => Some(StartAt::Earliest),
        time if moment::looks_like_one(time.trim()) => check_moment(time, place, problems),
        place_of_source if is_place_of_source(place_of_source.trim()) => {
            Some(StartAt::At(place_of_source.trim().to_owned()))
        }
        other => {
            let remedy = match nearest(other, ["now", "earliest"]) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => "write \"now\", \"earliest\", a time, GTIDs or FILE:OFFSET".to_owned(),
            };
            problems.add(place, format!("{} is no place to start at", quoted(other)), remedy);
            None
        }
    }
}

fn check_moment(text: &str, place: &Place, problems: &mut Problems) -> Option<StartAt> {
    let micros = moment::parse(text.trim());
    if micros.is_none() {
        let remedy = "write a time with its zone, as in 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00";
        problems.add(place, format!("{} is no time to start at", quoted(text)), remedy.to_owned());
    }
    micros.map(StartAt::Since)
}

/// MariaDB's GTIDs have no colon, and begin with a number.
fn is_place_of_source(text: &str) -> bool {
    text.contains(':') || text.starts_with(|first: char| first.is_ascii_digit())
}

fn check_log(raw: &RawLog, check: StoreCheck<'_>, problems: &mut Problems) -> Option<LogSettings> {
    let store = check_store(&raw.store, check, problems);
    let sasl_mechanism = check_sasl(raw, store.as_ref(), problems);
    let why = ", with which the names of all topics will begin";
    let prefix = required(&raw.prefix, (check.section, &raw.store.place), ("prefix", why), problems)
        .and_then(|(prefix, place)| check_prefix(prefix, place, problems));
    let partitions = number(&raw.partitions, 8, 1..=10_000, problems);
    let replication = number(&raw.replication, 3, 1..=100, problems);
    let is_compacted = choice_or_first(&raw.cleanup, &[("delete", false), ("compact", true)], problems);
    if let (Entry::Given(_, place), Some(true)) = (&raw.cleanup, is_compacted) {
        // Compaction keeps the tombstone and drops the delete before it; apply reads deletes, not tombstones.
        problems.add(
            place,
            "compacted topics come in a later version: an apply that is behind would miss deletes",
            "write \"delete\"",
        );
    }
    let retention = check_retention(&raw.retention, problems);
    let has_inline_schemas = match raw.schemas {
        Entry::Given(schemas, _) => Some(schemas),
        Entry::Absent => Some(false),
        Entry::Wrong => None,
    };
    let refuses_inexact = choice_or_first(&raw.inexact, &[("exact-header", false), ("refuse", true)], problems);
    let transaction_bytes_max = size(&raw.transaction_bytes, "64MiB", ["1MiB", "1GiB"], problems);
    let debezium = match &raw.debezium {
        Entry::Given(raw, _) => check_debezium(raw, problems).map(Some),
        Entry::Absent => Some(None),
        Entry::Wrong => None,
    };
    let Store { endpoint, more_brokers } = store?;
    Some(LogSettings {
        endpoint,
        more_brokers,
        sasl_mechanism: sasl_mechanism?,
        prefix: prefix?,
        partitions: partitions?,
        replication: replication?,
        retention: retention?,
        is_compacted: is_compacted?,
        has_inline_schemas: has_inline_schemas?,
        refuses_inexact: refuses_inexact?,
        transaction_bytes_max: transaction_bytes_max?,
        debezium: debezium?,
    })
}

/// What Debezium's own words mean. Modes that lose digits are no choice: the value would not be in the record.
fn check_debezium(raw: &RawDebezium, problems: &mut Problems) -> Option<DebeziumSettings> {
    use DebeziumTimes as Times;
    const DECIMALS: &[(&str, DebeziumDecimals)] =
        &[("precise", DebeziumDecimals::Precise), ("string", DebeziumDecimals::Text)];
    const BYTES: &[(&str, DebeziumBytes)] = &[
        ("bytes", DebeziumBytes::Bytes),
        ("base64", DebeziumBytes::Base64),
        ("base64-url-safe", DebeziumBytes::Base64UrlSafe),
        ("hex", DebeziumBytes::Hex),
    ];
    const TIMES: &[(&str, Times)] = &[
        ("adaptive_time_microseconds", Times::AdaptiveTimeMicroseconds),
        ("microseconds", Times::Microseconds),
        ("nanoseconds", Times::Nanoseconds),
        ("isostring", Times::IsoString),
    ];
    let decimals = choice_or_first(&raw.decimal_handling_mode, DECIMALS, problems);
    let has_numeric_decimals = choice_or_first(&raw.decimal_format, &[("base64", false), ("numeric", true)], problems);
    let has_precise_unsigned =
        choice_or_first(&raw.bigint_unsigned_handling_mode, &[("long", false), ("precise", true)], problems);
    let bytes = choice_or_first(&raw.binary_handling_mode, BYTES, problems);
    let times = choice_or_first(&raw.time_precision_mode, TIMES, problems);
    let is_true_one = choice_or_first(&raw.boolean_true, &[("refuse", false), ("one", true)], problems);
    let is_epoch_a_day = choice_or_first(&raw.zero_dates, &[("refuse", false), ("epoch", true)], problems);
    let is_unaltered = choice_or_first(&raw.schemaless_records, &[("refuse", false), ("unaltered", true)], problems);
    Some(DebeziumSettings {
        decimals: decimals?,
        has_numeric_decimals: has_numeric_decimals?,
        has_precise_unsigned: has_precise_unsigned?,
        bytes: bytes?,
        times: times?,
        is_true_one: is_true_one?,
        is_epoch_a_day: is_epoch_a_day?,
        is_unaltered: is_unaltered?,
    })
}

/// The outer option is none after a problem, the inner one where the log asks for no login.
fn check_sasl(raw: &RawLog, store: Option<&Store>, problems: &mut Problems) -> Option<Option<String>> {
    let mechanism = match &raw.sasl {
        Entry::Given(..) => {
            const MECHANISMS: &[(&str, &str)] =
                &[("SCRAM-SHA-512", "SCRAM-SHA-512"), ("SCRAM-SHA-256", "SCRAM-SHA-256"), ("PLAIN", "PLAIN")];
            Some(choice_or_first(&raw.sasl, MECHANISMS, problems)?)
        }
        Entry::Absent => None,
        Entry::Wrong => return None,
    };
    let Some(endpoint) = store.map(|store| &store.endpoint) else { return Some(mechanism.map(str::to_owned)) };
    let has_password = !matches!(raw.store.password, Entry::Absent);
    let url = given(&raw.store.url).map(|(_, place)| place);
    let place = given(&raw.sasl).map(|(_, place)| place).or(url).unwrap_or(&raw.store.place);
    let has_account = !endpoint.user.is_empty();
    match (mechanism, has_account, has_password) {
        (None, false, false) => {}
        (Some("PLAIN"), true, true) if endpoint.tls.mode == TlsMode::Disabled => {
            problems.add(place, "PLAIN without TLS shows the password to the network", "use SCRAM-SHA-512, or TLS");
        }
        (Some(_), true, true) => {}
        (None, _, _) => {
            let remedy =
                "add sasl = \"SCRAM-SHA-512\" (or SCRAM-SHA-256, PLAIN), or leave the account and the password out";
            problems.add(place, "an account or a password without a way to log in", remedy);
        }
        (Some(_), false, _) => {
            problems.add(place, "no account to log in with", "write kafka://ACCOUNT@HOST:PORT in url")
        }
        (Some(_), true, false) => {
            problems.add(
                place,
                "no password to log in with",
                "add password = { env = \"NAME\" } or { file = \"PATH\" }",
            );
        }
    }
    Some(mechanism.map(str::to_owned))
}

fn check_prefix(prefix: &str, place: &Place, problems: &mut Problems) -> Option<String> {
    // A topic's name has at most 249 characters; database and table of the source at most 64 each, with a dot before each.
    // Consumer groups and transactional ids are built from it as well.
    const LENGTH_MAX: usize = 100;
    let is_legal = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if prefix.is_empty() || prefix.len() > LENGTH_MAX || !is_legal || prefix.starts_with('.') {
        let remedy = format!("use 1 to {LENGTH_MAX} letters, digits, dots, _ and -, no dot first");
        problems.add(place, format!("{} can't begin the name of a topic", quoted(prefix)), remedy);
        return None;
    }
    Some(prefix.to_owned())
}

fn check_retention(raw: &Entry<String>, problems: &mut Problems) -> Option<Retention> {
    match raw {
        Entry::Given(text, _) if text == "unlimited" => Some(Retention::Unlimited),
        Entry::Given(..) | Entry::Absent | Entry::Wrong => {
            duration(raw, "7d", ["1m", "36500d"], problems).map(Retention::For)
        }
    }
}

fn check_target(raw: &RawTarget, check: StoreCheck<'_>, problems: &mut Problems) -> Option<TargetSettings> {
    let store = check_store(&raw.store, check, problems);
    let schema = match &raw.schema {
        Entry::Given(schema, place) if schema.is_empty() || schema.contains('\0') => {
            problems.add(place, "is no name of a schema", "write schema = \"tailrace\"");
            None
        }
        Entry::Given(schema, _) => Some(schema.clone()),
        Entry::Absent => Some("tailrace".to_owned()),
        Entry::Wrong => None,
    };
    let statement_timeout = duration(&raw.statement_timeout, "60s", ["1s", "1h"], problems);
    let Store { endpoint, .. } = store?;
    Some(TargetSettings { endpoint, schema: schema?, statement_timeout: statement_timeout? })
}

fn check_two_servers(source: &SourceConfig, target: &TargetSettings, url: &Entry<String>, problems: &mut Problems) {
    if let Some((_, place)) = given(url).filter(|_| is_same_server(&source.settings.endpoint, &target.endpoint)) {
        problems.add(place, "the target is the server of source.url", "name another server");
    }
}

fn check_capture(raw: &RawCapture, log: Option<&LogSettings>, problems: &mut Problems) -> Option<CommitLimits> {
    let defaults = CommitLimits::default();
    let records_max = number(&raw.commit_records_max, defaults.records_max, 1..=10_000_000, problems);
    // A broker aborts a transaction after 60 s by default: the age must stay well below.
    let age_max = duration(&raw.commit_age_max, "5s", ["10ms", "20s"], problems);
    let idle_interval = duration(&raw.idle_interval, "2s", ["100ms", "10m"], problems);
    Some(CommitLimits {
        bytes_max: log.map_or(defaults.bytes_max, |log| log.transaction_bytes_max),
        records_max: records_max?,
        age_max: age_max?,
        idle_interval: idle_interval?,
    })
}

fn check_apply(raw: &RawApply, problems: &mut Problems) -> Option<ApplyLimits> {
    let workers = number(&raw.workers, 4, 1..=256, problems);
    let batch_records_max = number(&raw.batch_records_max, 10_000, 1..=1_000_000, problems);
    let batch_bytes_max = size(&raw.batch_bytes_max, "8MiB", ["64KiB", "256MiB"], problems);
    let discovery_interval = duration(&raw.discovery_interval, "5s", ["100ms", "10m"], problems);
    Some(ApplyLimits {
        workers: workers?,
        batch_records_max: batch_records_max?,
        batch_bytes_max: batch_bytes_max?,
        discovery_interval: discovery_interval?,
    })
}

fn check_backfill(raw: &RawBackfill, problems: &mut Problems) -> Option<CopyLimits> {
    let readers = number(&raw.readers, 4, 1..=64, problems);
    let chunk_time = duration(&raw.chunk_time, "500ms", ["10ms", "10s"], problems);
    let chunk_bytes_max = size(&raw.chunk_bytes, "4MiB", ["64KiB", "64MiB"], problems);
    let chunk_rows_max = number(&raw.chunk_rows, 1_000_000, 1..=10_000_000, problems);
    Some(CopyLimits {
        readers: readers?,
        chunk_time: chunk_time?,
        chunk_bytes_max: chunk_bytes_max?,
        chunk_rows_max: chunk_rows_max?,
    })
}

fn check_http(raw: &RawHttp, surroundings: &Surroundings<'_>, problems: &mut Problems) -> Option<HttpConfig> {
    let capture = check_address(&raw.capture, "127.0.0.1:8700", problems);
    let apply = check_address(&raw.apply, "127.0.0.1:8701", problems);
    let token = match &raw.token {
        Entry::Given(RawSecret::Env(name, _), _) => Some(Some(SecretPlace::Env(name.clone()))),
        Entry::Given(RawSecret::File(path, _), _) => Some(Some(SecretPlace::File(surroundings.path(path)))),
        Entry::Absent => Some(None),
        Entry::Wrong => None,
    };
    let http = HttpConfig { capture: capture?, apply: apply?, token: token? };
    let later = given(&raw.apply).or(given(&raw.capture)).map(|(_, place)| place);
    if let Some(place) = later.filter(|_| http.capture == http.apply && http.apply.port() != 0) {
        problems.add(place, "capture and apply can't listen on one address", "give each its own port");
        return None;
    }
    Some(http)
}

fn check_address(raw: &Entry<String>, default: &str, problems: &mut Problems) -> Option<SocketAddr> {
    let (text, place) = match raw {
        Entry::Given(text, place) => (text.as_str(), place),
        Entry::Absent => return Some(default.parse().expect("invariant: the default is an address")),
        Entry::Wrong => return None,
    };
    let remedy = format!("write an address and a port of this machine, as in \"{default}\"");
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Some(address),
        Ok(_) => {
            let message = "is not a loopback address, and the endpoint has no TLS and no login yet";
            problems.add(place, message, remedy);
            None
        }
        Err(_) => {
            problems.add(place, format!("{} is no address", quoted(text)), remedy);
            None
        }
    }
}
