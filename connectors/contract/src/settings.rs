//! The checked settings that a connector is built from. The configuration file is the engine's matter.

use std::time::Duration;

use crate::endpoint::Endpoint;

/// Settings of a source.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The server.
    pub endpoint: Endpoint,
    /// A replica of it where tables are read whose history is copied; none: they are read where changes are captured.
    pub read: Option<Endpoint>,
    /// Our own identity among the server's replicas; no other replica may have it.
    pub server_id: u32,
    /// How often an idle server tells that it is alive; a connection silent for three times as long counts as dead.
    pub heartbeat: Duration,
    /// For how long capture may be away and still find every change.
    pub expected_outage: Duration,
}

/// How long the log keeps records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For ever.
    Unlimited,
    /// For so long.
    For(Duration),
}

/// Settings of a log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A broker to begin with.
    pub endpoint: Endpoint,
    /// More brokers, `host:port`.
    pub more_brokers: Vec<String>,
    /// SASL mechanism (`PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`), with the endpoint's account.
    pub sasl_mechanism: Option<String>,
    /// What every topic's name begins with.
    pub prefix: String,
    /// Partitions of a table's topic.
    pub partitions: u32,
    /// Replicas of each partition.
    pub replication: u16,
    /// How long records are kept.
    pub retention: Retention,
    /// Whether topics are compacted: only the last record of each key is kept in the long run.
    pub is_compacted: bool,
    /// Whether each record carries its schema (Kafka Connect's `schemas.enable`).
    pub has_inline_schemas: bool,
    /// Whether a value that Debezium's form can't hold stops the table instead of being written beside a substitute.
    pub refuses_inexact: bool,
    /// Largest log transaction in bytes; a source transaction beyond it is split.
    pub transaction_bytes_max: usize,
    /// Debezium writes the log, and was set so; none: Tailrace's capture does.
    pub debezium: Option<DebeziumSettings>,
}

/// How the Debezium connector that writes a log was set: what its records alone do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebeziumSettings {
    /// `decimal.handling.mode`.
    pub decimals: DebeziumDecimals,
    /// Whether Connect's `decimal.format` is NUMERIC: decimals are JSON numbers.
    pub has_numeric_decimals: bool,
    /// Whether `bigint.unsigned.handling.mode` is precise: numbers from 2^63 on do not wrap around.
    pub has_precise_unsigned: bool,
    /// `binary.handling.mode`.
    pub bytes: DebeziumBytes,
    /// `time.precision.mode`.
    pub times: DebeziumTimes,
    /// Whether `true` in a BOOLEAN column is taken for 1, although Debezium writes it for every number but 0.
    pub is_true_one: bool,
    /// Whether 1970-01-01 in a DATE or DATETIME that is NOT NULL is taken for that day, although Debezium writes it for zero
    /// dates too.
    pub is_epoch_a_day: bool,
    /// Whether records without schemas are read by the tables' present shapes, because no table was altered since its topic began.
    pub is_unaltered: bool,
}

/// Debezium's `decimal.handling.mode`. Its `double` loses digits and is no choice here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DebeziumDecimals {
    /// Connect's Decimal.
    #[default]
    Precise,
    /// Text.
    Text,
}

/// Debezium's `binary.handling.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DebeziumBytes {
    /// Bytes, which JSON has as base64.
    #[default]
    Bytes,
    /// Text in base64.
    Base64,
    /// Text in the base64 of URLs.
    Base64UrlSafe,
    /// Text of hexadecimal digits.
    Hex,
}

/// Debezium's `time.precision.mode`. Its `connect` cuts microseconds and is no choice here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DebeziumTimes {
    /// TIME in microseconds, DATETIME in milli- or microseconds by its fraction.
    #[default]
    AdaptiveTimeMicroseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
    /// ISO text.
    IsoString,
}

/// Settings of a target.
#[derive(Clone, Debug)]
pub struct TargetSettings {
    /// The server.
    pub endpoint: Endpoint,
    /// Where Tailrace keeps its own tables.
    pub schema: String,
    /// A statement that takes longer is cancelled and tried again.
    pub statement_timeout: Duration,
}
