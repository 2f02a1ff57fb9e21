//! The checked settings that a connector is built from. The configuration file is the engine's matter.

use std::time::Duration;

use crate::endpoint::Endpoint;

/// Settings of a source.
#[derive(Clone, Debug)]
pub struct SourceSettings {
    /// The server.
    pub endpoint: Endpoint,
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
