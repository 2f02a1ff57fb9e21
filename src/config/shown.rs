//! The configuration as it is in force: every key, its default included, in the words of the file.
//!
//! No secret is in it, because none is read for it: where one is configured stands `***`.

use std::time::Duration;

use serde_json::{Value, json};
use tailrace_contract::{
    DebeziumBytes, DebeziumDecimals, DebeziumSettings, DebeziumTimes, Endpoint, LogSettings, POLICY_KEY, Policy,
    Retention, StartAt, TablePattern, TargetScope, TargetSettings, TlsMode,
};

use super::{
    Config, moment,
    names::write_pair,
    tables::{DDL_POLICIES, GAP_POLICIES},
};
use crate::{
    backfill::ThrottleLimits,
    mapping::{ColumnChoice, TableRule},
};

/// What stands for a secret.
const MASK: &str = "***";

/// A table of the file with its keys in order; null where a key has no value.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownSection {
    /// Its header, as in `source`, `source.tls`, `table`.
    pub path: &'static str,
    /// Its keys.
    pub keys: Vec<(&'static str, Value)>,
}

impl Config {
    /// Everything in force.
    #[must_use]
    pub fn shown(&self) -> Vec<ShownSection> {
        let mut sections = shown_source(self);
        sections.extend(self.log.iter().flat_map(shown_log));
        sections.extend(self.target.iter().flat_map(shown_target));
        sections.extend(self.rules.as_slice().iter().map(shown_table));
        let (capture, apply) = (&self.capture, &self.apply);
        sections.push(ShownSection {
            path: "capture",
            keys: vec![
                ("commit_records_max", json!(capture.records_max)),
                ("commit_age_max", time(capture.age_max)),
                ("idle_interval", time(capture.idle_interval)),
            ],
        });
        sections.push(ShownSection {
            path: "apply",
            keys: vec![
                ("workers", json!(apply.workers)),
                ("batch_records_max", json!(apply.batch_records_max)),
                ("batch_bytes_max", size(apply.batch_bytes_max)),
                ("discovery_interval", time(apply.discovery_interval)),
            ],
        });
        let backfill = &self.backfill;
        sections.push(ShownSection {
            path: "backfill",
            keys: vec![
                ("readers", json!(backfill.readers)),
                ("chunk_time", time(backfill.chunk_time)),
                ("chunk_bytes", size(backfill.chunk_bytes_max)),
                ("chunk_rows", json!(backfill.chunk_rows_max)),
                ("max_rate", json!(self.throttle.rows_per_second_max)),
            ],
        });
        sections.push(shown_throttle(&self.throttle));
        let (capture, apply) = (self.http.capture.to_string(), self.http.apply.to_string());
        let token = self.http.token.as_ref().map(|_| MASK);
        let keys = vec![("capture", json!(capture)), ("apply", json!(apply)), ("token", json!(token))];
        sections.push(ShownSection { path: "http", keys });
        sections
    }
}

fn shown_source(config: &Config) -> Vec<ShownSection> {
    let settings = &config.source.settings;
    let start = match &config.source.start {
        StartAt::Now => "now",
        StartAt::Earliest => "earliest",
        StartAt::At(place) => place,
        StartAt::Since(micros) => &moment::text(*micros),
    };
    let keys = vec![
        ("url", json!(url(&settings.endpoint, &[]))),
        ("read_url", json!(settings.read.as_ref().map(|read| url(read, &[])))),
        ("password", password(&settings.endpoint)),
        ("server_id", json!(settings.server_id)),
        ("name", json!(config.source.name)),
        ("start", json!(start)),
        ("heartbeat", time(settings.heartbeat)),
        ("expected_outage", time(settings.expected_outage)),
    ];
    vec![ShownSection { path: "source", keys }, shown_tls("source.tls", &settings.endpoint)]
}

fn shown_log(log: &LogSettings) -> Vec<ShownSection> {
    let retention = match log.retention {
        Retention::Unlimited => json!("unlimited"),
        Retention::For(duration) => time(duration),
    };
    let keys = vec![
        ("url", json!(url(&log.endpoint, &log.more_brokers))),
        ("password", password(&log.endpoint)),
        ("sasl", json!(log.sasl_mechanism)),
        ("prefix", json!(log.prefix)),
        ("partitions", json!(log.partitions)),
        ("replication", json!(log.replication)),
        ("retention", retention),
        ("cleanup", json!(if log.is_compacted { "compact" } else { "delete" })),
        ("schemas", json!(log.has_inline_schemas)),
        ("inexact", json!(if log.refuses_inexact { "refuse" } else { "exact-header" })),
        ("transaction_bytes", size(log.transaction_bytes_max)),
    ];
    let debezium = log.debezium.map(|debezium| shown_debezium(&debezium));
    [ShownSection { path: "log", keys }, shown_tls("log.tls", &log.endpoint)].into_iter().chain(debezium).collect()
}

fn shown_debezium(debezium: &DebeziumSettings) -> ShownSection {
    let decimals = match debezium.decimals {
        DebeziumDecimals::Precise => "precise",
        DebeziumDecimals::Text => "string",
    };
    let bytes = match debezium.bytes {
        DebeziumBytes::Bytes => "bytes",
        DebeziumBytes::Base64 => "base64",
        DebeziumBytes::Base64UrlSafe => "base64-url-safe",
        DebeziumBytes::Hex => "hex",
    };
    let times = match debezium.times {
        DebeziumTimes::AdaptiveTimeMicroseconds => "adaptive_time_microseconds",
        DebeziumTimes::Microseconds => "microseconds",
        DebeziumTimes::Nanoseconds => "nanoseconds",
        DebeziumTimes::IsoString => "isostring",
    };
    let unsigned = if debezium.has_precise_unsigned { "precise" } else { "long" };
    let keys = vec![
        ("decimal_handling_mode", json!(decimals)),
        ("decimal_format", json!(if debezium.has_numeric_decimals { "numeric" } else { "base64" })),
        ("bigint_unsigned_handling_mode", json!(unsigned)),
        ("binary_handling_mode", json!(bytes)),
        ("time_precision_mode", json!(times)),
        ("boolean_true", json!(if debezium.is_true_one { "one" } else { "refuse" })),
        ("zero_dates", json!(if debezium.is_epoch_a_day { "epoch" } else { "refuse" })),
        ("schemaless_records", json!(if debezium.is_unaltered { "unaltered" } else { "refuse" })),
    ];
    ShownSection { path: "log.debezium", keys }
}

fn shown_target(target: &TargetSettings) -> Vec<ShownSection> {
    let keys = vec![
        ("url", json!(url(&target.endpoint, &[]))),
        ("password", password(&target.endpoint)),
        ("schema", json!(target.schema)),
        ("statement_timeout", time(target.statement_timeout)),
    ];
    vec![ShownSection { path: "target", keys }, shown_tls("target.tls", &target.endpoint)]
}

fn shown_table(rule: &TableRule) -> ShownSection {
    let source = match &rule.pattern {
        TablePattern::Table(name) => write_pair(&name.database, Some(&name.table), '`'),
        TablePattern::Database(database) => write_pair(database, None, '`'),
    };
    let target = match rule.target_scope() {
        TargetScope::Table(target) => write_pair(&target.schema, Some(&target.table), '"'),
        TargetScope::Schema(schema) => write_pair(&schema, None, '"'),
    };
    let word = DDL_POLICIES.iter().find(|(_, policy)| *policy == rule.on_ddl).map(|(word, _)| *word);
    let on_gap = GAP_POLICIES.iter().find(|(_, policy)| *policy == rule.on_gap).map(|(word, _)| *word);
    let backfill = if rule.is_copied { "auto" } else { "off" };
    let (only, except) = match &rule.choice {
        ColumnChoice::All => (None, None),
        ColumnChoice::Only(names) => (Some(names), None),
        ColumnChoice::Except(names) => (None, Some(names)),
    };
    let mut keys = vec![
        ("source", json!(source)),
        ("target", json!(target)),
        ("on_ddl", json!(word)),
        ("backfill", json!(backfill)),
        ("backfill_where", json!(rule.condition)),
        ("only_columns", json!(only)),
        ("exclude_columns", json!(except)),
        ("on_gap", json!(on_gap)),
    ];
    if !rule.policies.is_empty() {
        let columns = rule.policies.iter().map(|(column, policy)| (column.to_string(), shown_policy(policy)));
        keys.push(("columns", Value::Object(columns.collect())));
    }
    ShownSection { path: "table", keys }
}

fn shown_policy(policy: &Policy) -> Value {
    match policy {
        Policy::Sentinel(literal) => json!({ POLICY_KEY: { "sentinel": literal } }),
        Policy::Reject | Policy::Null | Policy::Text => json!({ POLICY_KEY: policy.name() }),
    }
}

fn shown_throttle(throttle: &ThrottleLimits) -> ShownSection {
    let (query, replicas) = (throttle.query.as_ref(), throttle.replicas.as_ref());
    let keys = vec![
        ("running_max", json!(throttle.running_max)),
        ("history_max", json!(throttle.history_max)),
        ("query", json!(query.map(|(query, _)| query))),
        ("query_max", json!(query.map(|(_, max)| max))),
        ("file", json!(throttle.file)),
        ("replicas", json!(replicas.map(|limits| limits.replicas.iter().map(|at| url(at, &[])).collect::<Vec<_>>()))),
        ("replica_lag_max", json!(replicas.map(|limits| time(limits.lag_max)))),
        ("source_lag_max", json!(throttle.source_lag_max.map(time))),
        ("apply_lag_max", json!(throttle.apply_lag_max.map(time))),
        ("hours", json!(throttle.hours.as_ref().map(|hours| &hours.text))),
    ];
    ShownSection { path: "backfill.throttle", keys }
}

fn shown_tls(path: &'static str, endpoint: &Endpoint) -> ShownSection {
    let mode = match endpoint.tls.mode {
        TlsMode::Disabled => "disabled",
        TlsMode::Required => "required",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    };
    let tls = &endpoint.tls;
    let keys = vec![
        ("mode", json!(mode)),
        ("ca", json!(tls.ca)),
        ("certificate", json!(tls.certificate)),
        ("key", json!(tls.key)),
    ];
    ShownSection { path, keys }
}

fn password(endpoint: &Endpoint) -> Value {
    json!(endpoint.password.as_ref().map(|_| MASK))
}

fn url(endpoint: &Endpoint, more_hosts: &[String]) -> String {
    let Endpoint { scheme, host, port, user, database, .. } = endpoint;
    let account = if user.is_empty() { String::new() } else { format!("{}@", percent_encoded(user)) };
    let host = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let hosts: Vec<&str> = std::iter::once(host.as_str()).chain(more_hosts.iter().map(String::as_str)).collect();
    let database = if database.is_empty() { String::new() } else { format!("/{}", percent_encoded(database)) };
    format!("{scheme}://{account}{}{database}", hosts.join(","))
}

fn percent_encoded(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-._~".contains(c);
    let bytes = |c: char| c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    text.chars().map(|c| if is_plain(c) { c.to_string() } else { bytes(c) }).collect()
}

/// In the largest unit that needs no fraction.
fn time(duration: Duration) -> Value {
    const UNITS: [(u128, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    json!(in_unit(duration.as_millis(), &UNITS, "ms"))
}

fn size(bytes: usize) -> Value {
    const UNITS: [(u128, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    json!(in_unit(bytes as u128, &UNITS, "B"))
}

fn in_unit(amount: u128, units: &[(u128, &str)], smallest: &str) -> String {
    let fitting = units.iter().find(|(unit, _)| amount > 0 && amount.is_multiple_of(*unit));
    fitting.map_or_else(|| format!("{amount}{smallest}"), |(unit, name)| format!("{}{name}", amount / unit))
}
