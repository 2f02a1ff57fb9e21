//! From settings to a connection: the file, and what every session is set to.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tailrace_contract::{Error, Result, TargetSettings};

/// Statements kept prepared on each connection: up to two for each table and schema, and those on our own tables.
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

/// What every session sets. Why:
/// - `synchronous`: what we report as durable is durable, after a power cut too;
/// - `foreign_keys`: tables are applied independently, a child may come before its parent, and the source has checked them.
///   Enforced, a cascade would delete rows that the source still has;
/// - `temp_store`: what a statement needs to be undone stays in memory;
/// - `cache_size`: 64 MiB of pages, so that the inner pages of the tables' trees stay in memory;
/// - `wal_autocheckpoint`: pages that change again and again are carried from the log into the file every 32 MiB, not every 4;
/// - `trusted_schema`: triggers and views of the file call only harmless functions.
const SETTINGS: &str = "
PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA foreign_keys = OFF;
PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 8000; PRAGMA trusted_schema = OFF";

/// A connection with its settings.
pub(crate) fn connect(file: &Path, statement_timeout: Duration, may_make: bool) -> rusqlite::Result<Connection> {
    let make = if may_make { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | make;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(lock_wait(statement_timeout))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.execute_batch(SETTINGS)?;
    Ok(connection)
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
