//! What MariaDB must be set to, and how it is asked: its variables can't be persisted by a statement, its privileges have other
//! names, and nothing lists its replicas' UUIDs.

use tailrace_contract::{ErrorKind, Problem, Result, Severity, SourceSettings};

use super::{Wanted, account, privilege};
use crate::{replication, server::Server};

pub(super) const WANTED: [Wanted; 8] = [
    Wanted {
        variable: "log_bin",
        is_good: |value| value == "1",
        needed: "ON",
        severity: Severity::Error,
        mend: "start the server with --log-bin",
    },
    Wanted {
        variable: "binlog_format",
        is_good: |value| value == "ROW",
        needed: "ROW",
        severity: Severity::Error,
        mend: "SET GLOBAL binlog_format = 'ROW'",
    },
    Wanted {
        variable: "binlog_row_image",
        is_good: |value| value == "FULL",
        needed: "FULL: else an INSERT that leaves a column to its default, or an UPDATE of a key, stops its table",
        severity: Severity::Warning,
        mend: "SET GLOBAL binlog_row_image = 'FULL'",
    },
    Wanted {
        variable: "binlog_row_metadata",
        is_good: |value| value == "FULL",
        needed: "FULL, so that every change says how its table looks",
        severity: Severity::Error,
        mend: "SET GLOBAL binlog_row_metadata = 'FULL'",
    },
    Wanted {
        variable: "gtid_strict_mode",
        is_good: |value| value == "1",
        needed: "ON: else transaction numbers may go back, and then name no place to resume from",
        severity: Severity::Warning,
        mend: "SET GLOBAL gtid_strict_mode = ON",
    },
    Wanted {
        variable: "binlog_checksum",
        is_good: |value| value == "CRC32",
        needed: "CRC32, so that a damaged event is noticed",
        severity: Severity::Warning,
        mend: "SET GLOBAL binlog_checksum = 'CRC32'",
    },
    Wanted {
        variable: "sync_binlog",
        is_good: |value| value == "1",
        needed: "1: else a crash of its machine may take transactions back that were captured, and give their GTIDs to others",
        severity: Severity::Warning,
        mend: "SET GLOBAL sync_binlog = 1",
    },
    Wanted {
        variable: "innodb_flush_log_at_trx_commit",
        is_good: |value| value == "1",
        needed: "1: else a crash of its machine may take rows back that were captured",
        severity: Severity::Warning,
        mend: "SET GLOBAL innodb_flush_log_at_trx_commit = 1",
    },
];

/// Who else has our server id, as far as the account may know. Whether it may ask for the binlog, the registration tells that
/// every replica begins with; it ends with this connection.
pub(super) async fn holders(
    server: &mut Server,
    settings: &SourceSettings,
    problems: &mut Vec<Problem>,
) -> Result<Vec<String>> {
    let mut holders = Vec::new();
    match server.connection.query("SHOW SLAVE HOSTS").await {
        Ok(replicas) => {
            let ours = settings.server_id.to_string();
            let others = replicas.iter().filter(|row| row.text(0) == ours && row.text(1) != replication::HOST);
            holders.extend(others.map(|row| format!("replica {}", row.text(1))));
        }
        // Only administrators of replication may see the list.
        Err(error) if error.kind() == ErrorKind::Refused => {}
        Err(error) => return Err(error),
    }
    match replication::register(&mut server.connection, settings.server_id).await {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Refused => {
            let account = account(&mut server.connection).await?;
            problems.push(Problem { found: error.to_string(), ..privilege("REPLICATION SLAVE", "*.*", &account) });
        }
        Err(error) => return Err(error),
    }
    Ok(holders)
}

/// A replica logs what it replicates only if it is told to. Whether it still is one, the account may not be allowed to know.
pub(super) async fn check_replica(server: &mut Server, problems: &mut Vec<Problem>) -> Result<()> {
    let row = server.connection.query_row("SELECT @@GLOBAL.log_slave_updates, @@GLOBAL.gtid_slave_pos").await?;
    let (logs_updates, has_replicated) = (row.text(0) == "1", !row.text(1).is_empty());
    let is_replica = match server.connection.query("SHOW ALL SLAVES STATUS").await {
        Ok(sources) => Some(!sources.is_empty()),
        Err(error) if error.kind() == ErrorKind::Refused => None,
        Err(error) => return Err(error),
    };
    let severity = match is_replica {
        Some(true) => Severity::Error,
        None if has_replicated => Severity::Warning,
        Some(false) | None => return Ok(()),
    };
    if !logs_updates {
        problems.push(Problem {
            code: "log_replica_updates",
            severity,
            object: "server variable log_slave_updates".to_owned(),
            found: "OFF, on a server that replicates or did: what it replicates is not in its binlog".to_owned(),
            needed: "ON".to_owned(),
            mend: Some("start the server with --log-slave-updates".to_owned()),
        });
    }
    Ok(())
}
