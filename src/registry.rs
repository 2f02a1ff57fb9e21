//! URL scheme → connector: the only file that names connectors.

use std::sync::Arc;

use tailrace_contract::{Error, Log, LogSettings, Result, Sink, Source, SourceSettings, TargetSettings};

/// Schemes of sources.
pub const SOURCE_SCHEMES: &[&str] = &["mysql", "mariadb"];
/// Schemes of logs.
pub const LOG_SCHEMES: &[&str] = &["kafka"];
/// Schemes of targets.
pub const TARGET_SCHEMES: &[&str] = &["postgres", "postgresql", "sqlite"];

/// The source that the URL names.
pub fn source(settings: SourceSettings) -> Result<Arc<dyn Source>> {
    match settings.endpoint.scheme.as_str() {
        "mysql" | "mariadb" => Ok(Arc::new(tailrace_mysql::MysqlSource::new(settings)?)),
        scheme => Err(unknown("source", scheme, SOURCE_SCHEMES)),
    }
}

/// The log that the URL names.
pub fn log(settings: LogSettings) -> Result<Arc<dyn Log>> {
    match settings.endpoint.scheme.as_str() {
        #[cfg(feature = "kafka")]
        "kafka" => Ok(Arc::new(tailrace_kafka::KafkaLog::new(settings)?)),
        scheme => Err(unknown("log", scheme, LOG_SCHEMES)),
    }
}

/// The target that the URL names.
pub fn sink(settings: TargetSettings) -> Result<Arc<dyn Sink>> {
    match settings.endpoint.scheme.as_str() {
        "postgres" | "postgresql" => Ok(Arc::new(tailrace_postgres::PostgresSink::new(settings)?)),
        "sqlite" => Ok(Arc::new(tailrace_sqlite::SqliteSink::new(settings)?)),
        scheme => Err(unknown("target", scheme, TARGET_SCHEMES)),
    }
}

fn unknown(what: &str, scheme: &str, known: &[&str]) -> Error {
    Error::refused(format!("this build has no {what} for {scheme}://")).hint(format!("known are {}", known.join(", ")))
}
