//! Every key that the configuration file may hold: its name, what it expects, and an example to copy.
//!
//! The reader knows no key that is not listed here, and a test holds docs/configuration.md against this list, both ways.
//! Ranges, defaults and what keys mean together are the checker's matter.

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value must be, as in `expected …`.
    pub expected: &'static str,
    /// A value as one would type it.
    pub example: &'static str,
}

/// The keys that may stand together in one table of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// Its path; empty for the file itself. The tables of an array share one path.
    pub path: &'static str,
    /// What may stand in it.
    pub keys: &'static [Key],
}

impl Section {
    /// The key of that name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// Every section.
pub(super) const SECTIONS: &[&Section] = &[
    &ROOT,
    &SOURCE,
    &SOURCE_PASSWORD,
    &SOURCE_TLS,
    &LOG,
    &LOG_PASSWORD,
    &LOG_TLS,
    &LOG_DEBEZIUM,
    &TARGET,
    &TARGET_PASSWORD,
    &TARGET_TLS,
    &TABLE,
    &COLUMN,
    &SENTINEL,
    &CAPTURE,
    &APPLY,
    &BACKFILL,
    &THROTTLE,
    &HTTP,
    &HTTP_TOKEN,
];

/// The file itself.
pub(super) const ROOT: Section = Section {
    path: "",
    keys: &[
        key("source", "a table", "[source]"),
        key("log", "a table", "[log]"),
        key("target", "a table", "[target]"),
        key("table", "tables in double brackets", "[[table]]"),
        key("capture", "a table", "[capture]"),
        key("apply", "a table", "[apply]"),
        key("backfill", "a table", "[backfill]"),
        key("http", "a table", "[http]"),
    ],
};

/// The database whose changes are followed.
pub(super) const SOURCE: Section = Section {
    path: "source",
    keys: &[
        key("url", "text", "\"mysql://tailrace@db.example:3306\""),
        key("read_url", "text", "\"mysql://tailrace@replica.example:3306\""),
        PASSWORD,
        TLS,
        key("server_id", "a whole number", "5501"),
        key("name", "text", "\"main\""),
        key("start", "text", "\"now\""),
        key("heartbeat", "a duration in quotes", "\"10s\""),
        key("expected_outage", "a duration in quotes", "\"24h\""),
    ],
};

/// The durable transport between capture and apply.
pub(super) const LOG: Section = Section {
    path: "log",
    keys: &[
        key("url", "text", "\"kafka://broker.example:9092\""),
        PASSWORD,
        TLS,
        key("sasl", "text", "\"SCRAM-SHA-512\""),
        key("prefix", "text", "\"shop\""),
        key("partitions", "a whole number", "8"),
        key("replication", "a whole number", "3"),
        key("retention", "a duration in quotes, or \"unlimited\"", "\"7d\""),
        key("cleanup", "text", "\"delete\""),
        key("schemas", "true or false", "false"),
        key("inexact", "text", "\"exact-header\""),
        key("transaction_bytes", "a size in quotes", "\"64MiB\""),
        key("debezium", "a table", "{ decimal_handling_mode = \"string\" }"),
    ],
};

/// How the Debezium was set that writes the log instead of capture.
pub(super) const LOG_DEBEZIUM: Section = Section {
    path: "log.debezium",
    keys: &[
        key("decimal_handling_mode", "text", "\"string\""),
        key("decimal_format", "text", "\"numeric\""),
        key("bigint_unsigned_handling_mode", "text", "\"precise\""),
        key("binary_handling_mode", "text", "\"base64\""),
        key("time_precision_mode", "text", "\"microseconds\""),
        key("boolean_true", "text", "\"one\""),
        key("zero_dates", "text", "\"epoch\""),
        key("schemaless_records", "text", "\"unaltered\""),
    ],
};

/// The new store.
pub(super) const TARGET: Section = Section {
    path: "target",
    keys: &[
        key("url", "text", "\"postgres://tailrace@db.example:5432/shop\""),
        PASSWORD,
        TLS,
        key("schema", "text", "\"tailrace\""),
        key("statement_timeout", "a duration in quotes", "\"60s\""),
    ],
};

/// One captured table, or all tables of a database.
pub(super) const TABLE: Section = Section {
    path: "table",
    keys: &[
        key("source", "text", "\"shop.orders\""),
        key("target", "text", "\"public.orders\""),
        key("on_ddl", "text", "\"evolve\""),
        key("backfill", "text", "\"off\""),
        key("backfill_where", "text", "\"placed >= '2024-01-01'\""),
        key("only_columns", "a list of names in quotes", "[\"id\", \"shipped\"]"),
        key("exclude_columns", "a list of names in quotes", "[\"card_number\"]"),
        key("on_gap", "text", "\"empty\""),
        key("columns", "a table", "{ shipped = { on_unholdable = \"null\" } }"),
    ],
};

/// What is said of one column of a captured table.
pub(super) const COLUMN: Section =
    Section { path: "table.columns.NAME", keys: &[key("on_unholdable", "a word in quotes or a table", "\"null\"")] };

/// The policy that writes a value of one's own.
pub(super) const SENTINEL: Section = Section {
    path: "table.columns.NAME.on_unholdable",
    keys: &[key("sentinel", "a value of the column in quotes", "\"1970-01-01\"")],
};

/// How changes are written to the log.
pub(super) const CAPTURE: Section = Section {
    path: "capture",
    keys: &[
        key("commit_records_max", "a whole number", "200000"),
        key("commit_age_max", "a duration in quotes", "\"5s\""),
        key("idle_interval", "a duration in quotes", "\"2s\""),
    ],
};

/// How records are written to the target.
pub(super) const APPLY: Section = Section {
    path: "apply",
    keys: &[
        key("workers", "a whole number", "4"),
        key("batch_records_max", "a whole number", "10000"),
        key("batch_bytes_max", "a size in quotes", "\"8MiB\""),
        key("discovery_interval", "a duration in quotes", "\"5s\""),
    ],
};

/// How the rows that tables had already are read.
pub(super) const BACKFILL: Section = Section {
    path: "backfill",
    keys: &[
        key("readers", "a whole number", "4"),
        key("chunk_time", "a duration in quotes", "\"500ms\""),
        key("chunk_bytes", "a size in quotes", "\"4MiB\""),
        key("chunk_rows", "a whole number", "1000000"),
        key("max_rate", "a whole number", "20000"),
        key("throttle", "a table", "{ running_max = 50 }"),
    ],
};

/// What holds that up.
pub(super) const THROTTLE: Section = Section {
    path: "backfill.throttle",
    keys: &[
        key("running_max", "a whole number", "50"),
        key("history_max", "a whole number", "1000000"),
        key("query", "text", "\"SELECT seconds_behind FROM ops.replicas\""),
        key("query_max", "a whole number", "10"),
        key("file", "a path in quotes", "\"/run/tailrace/hold\""),
        key("replicas", "URLs in an array", "[\"mysql://tailrace@replica.example:3306\"]"),
        key("replica_lag_max", "a duration in quotes", "\"10s\""),
        key("source_lag_max", "a duration in quotes", "\"30s\""),
        key("apply_lag_max", "a duration in quotes", "\"60s\""),
        key("hours", "text", "\"22:00-06:00 +01:00\""),
    ],
};

/// Where health and metrics are served.
pub(super) const HTTP: Section = Section {
    path: "http",
    keys: &[
        key("capture", "text", "\"127.0.0.1:8700\""),
        key("apply", "text", "\"127.0.0.1:8701\""),
        key("token", "a table", "{ env = \"TAILRACE_TOKEN\" }"),
    ],
};

pub(super) const SOURCE_PASSWORD: Section = Section { path: "source.password", keys: PASSWORD_KEYS };
pub(super) const LOG_PASSWORD: Section = Section { path: "log.password", keys: PASSWORD_KEYS };
pub(super) const TARGET_PASSWORD: Section = Section { path: "target.password", keys: PASSWORD_KEYS };
pub(super) const HTTP_TOKEN: Section = Section { path: "http.token", keys: PASSWORD_KEYS };
pub(super) const SOURCE_TLS: Section = Section { path: "source.tls", keys: TLS_KEYS };
pub(super) const LOG_TLS: Section = Section { path: "log.tls", keys: TLS_KEYS };
pub(super) const TARGET_TLS: Section = Section { path: "target.tls", keys: TLS_KEYS };

const PASSWORD: Key = key("password", "a table", "{ env = \"TAILRACE_PASSWORD\" }");
const TLS: Key = key("tls", "a table", "{ mode = \"verify-full\" }");

const PASSWORD_KEYS: &[Key] = &[
    key("env", "the name of an environment variable in quotes", "\"TAILRACE_PASSWORD\""),
    key("file", "a path in quotes", "\"/run/secrets/tailrace\""),
];

const TLS_KEYS: &[Key] = &[
    key("mode", "text", "\"verify-full\""),
    key("ca", "a path in quotes", "\"ca.pem\""),
    key("certificate", "a path in quotes", "\"client.pem\""),
    key("key", "a path in quotes", "\"client.key\""),
];

const fn key(name: &'static str, expected: &'static str, example: &'static str) -> Key {
    Key { name, expected, example }
}
