//! From settings to a connection's options: the file, and what every connection is set to.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
use tailrace_contract::{Error, Result, TargetSettings};

/// Statements kept prepared on each connection: up to ten for each table and schema.
const STATEMENTS_MAX: usize = 128;

/// The longest wait for another process's write lock; then it is told, and tried again.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// The file, by a path that doesn't depend on anything: SQLite would take some relative names for URIs or for no file.
pub(crate) fn file(settings: &TargetSettings) -> Result<PathBuf> {
    let typed = &settings.endpoint.database;
    if typed.is_empty() || typed.contains('\0') || typed.ends_with('/') {
        return Err(Error::refused("the target's URL names no file").hint(
            "write target.url like sqlite:///var/lib/shop.db, or sqlite://shop.db for a file in the working directory",
        ));
    }
    let absolute = std::path::absolute(typed)
        .map_err(|error| Error::refused(format!("the target's file {typed} can't be found")).caused_by(error))?;
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(Error::refused("the path of the target's file is no UTF-8 text")),
    }
}

/// The options of every connection. Why:
/// - `synchronous`: what we report as durable is durable, after a power cut too;
/// - `foreign_keys`: tables are applied independently, a child may come before its parent, and the source has checked them.
///   Enforced, a cascade would delete rows that the source still has;
/// - `temp_store`: what a statement needs to be undone stays in memory;
/// - `cache_size`: 64 MiB of pages, so that the inner pages of the tables' trees stay in memory;
/// - `wal_autocheckpoint`: pages that change again and again are carried from the log into the file every 32 MiB, not every 4;
/// - `trusted_schema`: triggers and views of the file call only harmless functions.
pub(crate) fn connect_options(file: &Path, statement_timeout: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .foreign_keys(false)
        .busy_timeout(lock_wait(statement_timeout))
        .statement_cache_capacity(STATEMENTS_MAX)
        .pragma("synchronous", "FULL")
        .pragma("fullfsync", "ON")
        .pragma("checkpoint_fullfsync", "ON")
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-65536")
        .pragma("wal_autocheckpoint", "8000")
        .pragma("trusted_schema", "OFF")
        // Its log would hold our SQL, whole, at every slow batch.
        .disable_statement_logging()
}

/// How long a statement waits for another process's lock.
pub(crate) fn lock_wait(statement_timeout: Duration) -> Duration {
    statement_timeout.min(LOCK_WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use tailrace_contract::{Endpoint, Tls};

    use super::*;

    fn settings(database: &str) -> TargetSettings {
        let endpoint = Endpoint {
            scheme: "sqlite".into(),
            host: String::new(),
            port: 0,
            user: String::new(),
            password: None,
            database: database.into(),
            tls: Tls::default(),
        };
        TargetSettings { endpoint, schema: "tailrace".into(), statement_timeout: Duration::from_secs(60) }
    }

    #[test]
    fn every_path_becomes_absolute() {
        assert_eq!(file(&settings("/a/b.db")).unwrap(), Path::new("/a/b.db"));
        for relative in ["shop.db", "file:shop.db", ":memory:", "./shop.db"] {
            let found = file(&settings(relative)).unwrap();
            assert!(found.is_absolute() && found.to_string_lossy().contains('/'), "{}", found.display());
        }
        for none in ["", "/", "data/", "a\0b"] {
            assert!(file(&settings(none)).is_err(), "{none:?}");
        }
    }
}
