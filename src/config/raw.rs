//! The configuration as it was typed: which keys are there, with values of the right type, and where they stand.
//!
//! Nothing is defaulted and nothing judged here; [`super::checked`] does both. Passwords in plain text are refused already
//! here, so that no later stage holds one.

use super::{
    document::{Document, Entry, TableReader},
    keys,
    keys::Section,
    policies::{RawColumn, read_columns},
    problem::{Place, Problems},
};

/// The whole file.
pub(super) struct RawConfig {
    pub source: Entry<RawSource>,
    pub log: Entry<RawLog>,
    pub target: Entry<RawTarget>,
    pub tables: Entry<Vec<RawTable>>,
    pub capture: RawCapture,
    pub apply: RawApply,
    pub backfill: RawBackfill,
    pub http: RawHttp,
}

/// What every store has.
pub(super) struct RawStore {
    pub place: Place,
    pub url: Entry<String>,
    pub password: Entry<RawSecret>,
    pub tls: Entry<RawTls>,
}

/// Where a password is kept.
pub(super) enum RawSecret {
    Env(String, Place),
    File(String, Place),
}

#[derive(Default)]
pub(super) struct RawTls {
    pub mode: Entry<String>,
    pub ca: Entry<String>,
    pub certificate: Entry<String>,
    pub key: Entry<String>,
}

pub(super) struct RawSource {
    pub store: RawStore,
    pub read_url: Entry<String>,
    pub server_id: Entry<i128>,
    pub name: Entry<String>,
    pub start: Entry<String>,
    pub heartbeat: Entry<String>,
    pub expected_outage: Entry<String>,
}

pub(super) struct RawLog {
    pub store: RawStore,
    pub sasl: Entry<String>,
    pub prefix: Entry<String>,
    pub partitions: Entry<i128>,
    pub replication: Entry<i128>,
    pub retention: Entry<String>,
    pub cleanup: Entry<String>,
    pub schemas: Entry<bool>,
    pub inexact: Entry<String>,
    pub transaction_bytes: Entry<String>,
    pub debezium: Entry<RawDebezium>,
}

pub(super) struct RawDebezium {
    pub decimal_handling_mode: Entry<String>,
    pub decimal_format: Entry<String>,
    pub bigint_unsigned_handling_mode: Entry<String>,
    pub binary_handling_mode: Entry<String>,
    pub time_precision_mode: Entry<String>,
    pub boolean_true: Entry<String>,
    pub zero_dates: Entry<String>,
    pub schemaless_records: Entry<String>,
}

pub(super) struct RawTarget {
    pub store: RawStore,
    pub schema: Entry<String>,
    pub statement_timeout: Entry<String>,
}

pub(super) struct RawTable {
    pub place: Place,
    pub source: Entry<String>,
    pub target: Entry<String>,
    pub on_ddl: Entry<String>,
    pub backfill: Entry<String>,
    pub backfill_where: Entry<String>,
    pub only_columns: Entry<Vec<String>>,
    pub exclude_columns: Entry<Vec<String>>,
    pub on_gap: Entry<String>,
    pub columns: Entry<Vec<RawColumn>>,
}

#[derive(Default)]
pub(super) struct RawCapture {
    pub commit_records_max: Entry<i128>,
    pub commit_age_max: Entry<String>,
    pub idle_interval: Entry<String>,
}

#[derive(Default)]
pub(super) struct RawApply {
    pub workers: Entry<i128>,
    pub batch_records_max: Entry<i128>,
    pub batch_bytes_max: Entry<String>,
    pub discovery_interval: Entry<String>,
}

#[derive(Default)]
pub(super) struct RawBackfill {
    pub readers: Entry<i128>,
    pub chunk_time: Entry<String>,
    pub chunk_bytes: Entry<String>,
    pub chunk_rows: Entry<i128>,
    pub max_rate: Entry<i128>,
    pub throttle: Entry<RawThrottle>,
}

#[derive(Default)]
pub(super) struct RawThrottle {
    pub running_max: Entry<i128>,
    pub history_max: Entry<i128>,
    pub query: Entry<String>,
    pub query_max: Entry<i128>,
    pub file: Entry<String>,
    pub replicas: Entry<Vec<String>>,
    pub replica_lag_max: Entry<String>,
    pub source_lag_max: Entry<String>,
    pub apply_lag_max: Entry<String>,
    pub hours: Entry<String>,
}

#[derive(Default)]
pub(super) struct RawHttp {
    pub capture: Entry<String>,
    pub apply: Entry<String>,
    pub token: Entry<RawSecret>,
}

/// Reads the whole file.
pub(super) fn read(document: &Document<'_>, problems: &mut Problems) -> RawConfig {
    let root = document.root(&keys::ROOT, problems);
    RawConfig {
        source: section(&root, "source", &keys::SOURCE, problems, read_source),
        log: section(&root, "log", &keys::LOG, problems, read_log),
        target: section(&root, "target", &keys::TARGET, problems, read_target),
        tables: match root.tables("table", &keys::TABLE, problems) {
            Entry::Given(tables, place) => {
                Entry::Given(tables.iter().map(|table| read_table(table, problems)).collect(), place)
            }
            Entry::Absent => Entry::Absent,
            Entry::Wrong => Entry::Wrong,
        },
        capture: or_default(section(&root, "capture", &keys::CAPTURE, problems, read_capture)),
        apply: or_default(section(&root, "apply", &keys::APPLY, problems, read_apply)),
        backfill: or_default(section(&root, "backfill", &keys::BACKFILL, problems, read_backfill)),
        http: or_default(section(&root, "http", &keys::HTTP, problems, read_http)),
    }
}

/// Reads a table below `parent` if it is there.
fn section<T>(
    parent: &TableReader<'_, '_>,
    name: &str,
    section: &'static Section,
    problems: &mut Problems,
    read: impl FnOnce(&TableReader<'_, '_>, &mut Problems) -> T,
) -> Entry<T> {
    match parent.table(name, section, problems) {
        Entry::Given(table, place) => Entry::Given(read(&table, problems), place),
        Entry::Absent => Entry::Absent,
        Entry::Wrong => Entry::Wrong,
    }
}

fn or_default<T: Default>(entry: Entry<T>) -> T {
    match entry {
        Entry::Given(value, _) => value,
        Entry::Absent | Entry::Wrong => T::default(),
    }
}

fn read_source(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawSource {
    RawSource {
        store: read_store(table, [&keys::SOURCE_PASSWORD, &keys::SOURCE_TLS], problems),
        read_url: table.text("read_url", problems),
        server_id: table.whole_number("server_id", problems),
        name: table.text("name", problems),
        start: table.text("start", problems),
        heartbeat: table.text("heartbeat", problems),
        expected_outage: table.text("expected_outage", problems),
    }
}

fn read_log(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawLog {
    RawLog {
        store: read_store(table, [&keys::LOG_PASSWORD, &keys::LOG_TLS], problems),
        sasl: table.text("sasl", problems),
        prefix: table.text("prefix", problems),
        partitions: table.whole_number("partitions", problems),
        replication: table.whole_number("replication", problems),
        retention: table.text("retention", problems),
        cleanup: table.text("cleanup", problems),
        schemas: table.truth("schemas", problems),
        inexact: table.text("inexact", problems),
        transaction_bytes: table.text("transaction_bytes", problems),
        debezium: section(table, "debezium", &keys::LOG_DEBEZIUM, problems, read_debezium),
    }
}

fn read_debezium(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawDebezium {
    RawDebezium {
        decimal_handling_mode: table.text("decimal_handling_mode", problems),
        decimal_format: table.text("decimal_format", problems),
        bigint_unsigned_handling_mode: table.text("bigint_unsigned_handling_mode", problems),
        binary_handling_mode: table.text("binary_handling_mode", problems),
        time_precision_mode: table.text("time_precision_mode", problems),
        boolean_true: table.text("boolean_true", problems),
        zero_dates: table.text("zero_dates", problems),
        schemaless_records: table.text("schemaless_records", problems),
    }
}

fn read_target(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawTarget {
    RawTarget {
        store: read_store(table, [&keys::TARGET_PASSWORD, &keys::TARGET_TLS], problems),
        schema: table.text("schema", problems),
        statement_timeout: table.text("statement_timeout", problems),
    }
}

fn read_store(
    table: &TableReader<'_, '_>,
    [password, tls]: [&'static Section; 2],
    problems: &mut Problems,
) -> RawStore {
    RawStore {
        place: table.place().clone(),
        url: table.text("url", problems),
        password: read_secret(table, "password", password, problems),
        tls: section(table, "tls", tls, problems, read_tls),
    }
}

fn read_secret(
    table: &TableReader<'_, '_>,
    name: &str,
    keys: &'static Section,
    problems: &mut Problems,
) -> Entry<RawSecret> {
    let write = format!("write {name} = {{ env = \"NAME\" }} or {{ file = \"PATH\" }}");
    if let Some(place) = table.place_of_text(name) {
        problems.add(&place, format!("a {name} in plain text is refused"), write);
        return Entry::Wrong;
    }
    let (secret, place) = match table.table(name, keys, problems) {
        Entry::Given(secret, place) => (secret, place),
        Entry::Absent => return Entry::Absent,
        Entry::Wrong => return Entry::Wrong,
    };
    match (secret.text("env", problems), secret.text("file", problems)) {
        (Entry::Given(name, at), Entry::Absent) => Entry::Given(RawSecret::Env(name, at), place),
        (Entry::Absent, Entry::Given(path, at)) => Entry::Given(RawSecret::File(path, at), place),
        (Entry::Wrong, _) | (_, Entry::Wrong) => Entry::Wrong,
        (Entry::Absent, Entry::Absent) => {
            problems.add_absent(&place, "names neither env nor file", write);
            Entry::Wrong
        }
        (Entry::Given(..), Entry::Given(..)) => {
            problems.add(&place, "names both env and file", write);
            Entry::Wrong
        }
    }
}

fn read_tls(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawTls {
    RawTls {
        mode: table.text("mode", problems),
        ca: table.text("ca", problems),
        certificate: table.text("certificate", problems),
        key: table.text("key", problems),
    }
}

fn read_table(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawTable {
    RawTable {
        place: table.place().clone(),
        source: table.text("source", problems),
        target: table.text("target", problems),
        on_ddl: table.text("on_ddl", problems),
        backfill: table.text("backfill", problems),
        backfill_where: table.text("backfill_where", problems),
        only_columns: table.texts("only_columns", problems),
        exclude_columns: table.texts("exclude_columns", problems),
        on_gap: table.text("on_gap", problems),
        columns: read_columns(table, problems),
    }
}

fn read_capture(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawCapture {
    RawCapture {
        commit_records_max: table.whole_number("commit_records_max", problems),
        commit_age_max: table.text("commit_age_max", problems),
        idle_interval: table.text("idle_interval", problems),
    }
}

fn read_apply(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawApply {
    RawApply {
        workers: table.whole_number("workers", problems),
        batch_records_max: table.whole_number("batch_records_max", problems),
        batch_bytes_max: table.text("batch_bytes_max", problems),
        discovery_interval: table.text("discovery_interval", problems),
    }
}

fn read_backfill(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawBackfill {
    RawBackfill {
        readers: table.whole_number("readers", problems),
        chunk_time: table.text("chunk_time", problems),
        chunk_bytes: table.text("chunk_bytes", problems),
        chunk_rows: table.whole_number("chunk_rows", problems),
        max_rate: table.whole_number("max_rate", problems),
        throttle: section(table, "throttle", &keys::THROTTLE, problems, read_throttle),
    }
}

fn read_throttle(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawThrottle {
    RawThrottle {
        running_max: table.whole_number("running_max", problems),
        history_max: table.whole_number("history_max", problems),
        query: table.text("query", problems),
        query_max: table.whole_number("query_max", problems),
        file: table.text("file", problems),
        replicas: table.texts("replicas", problems),
        replica_lag_max: table.text("replica_lag_max", problems),
        source_lag_max: table.text("source_lag_max", problems),
        apply_lag_max: table.text("apply_lag_max", problems),
        hours: table.text("hours", problems),
    }
}

fn read_http(table: &TableReader<'_, '_>, problems: &mut Problems) -> RawHttp {
    RawHttp {
        capture: table.text("capture", problems),
        apply: table.text("apply", problems),
        token: read_secret(table, "token", &keys::HTTP_TOKEN, problems),
    }
}
