//! The preflight of a source: every problem at once, each with the statement that mends it. It changes nothing.

mod mariadb;
mod prepared;
mod privileges;
mod read_server;
mod retention;
pub(crate) mod start;
pub(crate) mod throttle;
pub(crate) mod unlogged;

use tailrace_contract::{Error, ErrorKind, Problem, Result, Severity, SourceSettings, TableFilter, TablePattern};
use tailrace_row::TableName;

use crate::{
    config, engine, grants,
    keys::UniqueKey,
    protocol::{Connection, quote_table},
    schema,
    server::{Server, replica_uuid},
};

/// All problems of the source. A server that can't be reached is one as well.
pub(crate) async fn check(settings: &SourceSettings, filter: &TableFilter) -> Result<Vec<Problem>> {
    if let Err(error) = config::check(settings) {
        return Ok(vec![from_error("source_settings", settings.endpoint.to_string(), &error)]);
    }
    let mut server = match Server::connect(&settings.endpoint).await {
        Ok(server) => server,
        Err(error) => return Ok(vec![from_error(connection_code(&error), settings.endpoint.to_string(), &error)]),
    };
    let mut problems = Vec::new();
    let wanted = if server.facts.is_mariadb() { &mariadb::WANTED[..] } else { &WANTED[..] };
    check_variables(&mut server.connection, wanted, &mut problems).await?;
    check_identity(&mut server, settings, &mut problems).await?;
    check_binlog(&mut server, filter, &mut problems).await?;
    unlogged::check(&mut server, filter, &mut problems).await?;
    prepared::check(&mut server, &mut problems).await?;
    retention::check(&mut server, settings.expected_outage, &mut problems).await?;
    check_tables(&mut server.connection, filter, &mut problems).await?;
    problems.extend(read_server::check(settings).await);
    Ok(problems)
}

/// A server variable and what it must be.
struct Wanted {
    variable: &'static str,
    is_good: fn(&str) -> bool,
    needed: &'static str,
    severity: Severity,
    mend: &'static str,
}

const WANTED: [Wanted; 10] = [
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
        mend: "SET PERSIST binlog_format = 'ROW'",
    },
    Wanted {
        variable: "binlog_row_image",
        is_good: |value| value == "FULL",
        needed: "FULL: else an INSERT that leaves a column to its default, or an UPDATE of a key, stops its table",
        severity: Severity::Warning,
        mend: "SET PERSIST binlog_row_image = 'FULL'",
    },
    Wanted {
        variable: "binlog_row_metadata",
        is_good: |value| value == "FULL",
        needed: "FULL: else the shapes of tables are followed through statements, and rows that lie before a statement which altered their \
                 table are refused unless they were followed up to there",
        severity: Severity::Warning,
        mend: "SET PERSIST binlog_row_metadata = 'FULL'",
    },
    Wanted {
        variable: "binlog_row_value_options",
        is_good: str::is_empty,
        needed: "'': else an UPDATE of JSON in a session whose binlog_row_image is MINIMAL stops its table",
        severity: Severity::Warning,
        mend: "SET PERSIST binlog_row_value_options = ''",
    },
    Wanted {
        variable: "gtid_mode",
        is_good: |value| value == "ON",
        needed: "ON, so that capture survives a failover to another server, and the history of tables is copied without locking them for \
                 a moment, for which the account needs LOCK TABLES",
        severity: Severity::Warning,
        mend: "SET PERSIST enforce_gtid_consistency = ON; then gtid_mode to OFF_PERMISSIVE, ON_PERMISSIVE, ON, one by one",
    },
    Wanted {
        variable: "binlog_checksum",
        is_good: |value| value == "CRC32",
        needed: "CRC32, so that a damaged event is noticed",
        severity: Severity::Warning,
        mend: "SET PERSIST binlog_checksum = 'CRC32'",
    },
    Wanted {
        variable: "sync_binlog",
        is_good: |value| value == "1",
        needed: "1: else a crash of its machine may take transactions back that were captured, and give their GTIDs to others",
        severity: Severity::Warning,
        mend: "SET PERSIST sync_binlog = 1",
    },
    // The target follows the binlog's order, and nothing is lost either way: what is read from the source is waited for, and
    // an end of the binlog covers all that is visible. But readers of the source may see the second transaction without the
    // first, and readers of the target never do.
    Wanted {
        variable: "binlog_order_commits",
        is_good: |value| value == "1",
        needed: "ON: else readers of the source may see transactions in another order than the binlog, and the target, have them",
        severity: Severity::Warning,
        mend: "SET PERSIST binlog_order_commits = ON",
    },
    Wanted {
        variable: "innodb_flush_log_at_trx_commit",
        is_good: |value| value == "1",
        needed: "1: else a crash of its machine may take rows back that were captured",
        severity: Severity::Warning,
        mend: "SET PERSIST innodb_flush_log_at_trx_commit = 1",
    },
];

async fn check_variables(connection: &mut Connection, wanted: &[Wanted], problems: &mut Vec<Problem>) -> Result<()> {
    for wanted in wanted {
        // Some variables go away in later versions, when only the good value is left.
        let rows = match connection.query(&format!("SELECT @@GLOBAL.{}", wanted.variable)).await {
            Ok(rows) => rows,
            Err(error) if error.kind() == ErrorKind::Refused => continue,
            Err(error) => return Err(error),
        };
        let value = rows.first().map_or("", |row| row.text(0));
        if !(wanted.is_good)(value) {
            problems.push(Problem {
                code: wanted.variable,
                severity: wanted.severity,
                object: format!("server variable {}", wanted.variable),
                found: if value.is_empty() { "''".to_owned() } else { value.to_owned() },
                needed: wanted.needed.to_owned(),
                mend: Some(wanted.mend.to_owned()),
            });
        }
    }
    Ok(())
}

/// No other server or replica may have our id. Our own running capture may.
async fn check_identity(server: &mut Server, settings: &SourceSettings, problems: &mut Vec<Problem>) -> Result<()> {
    let ours = settings.server_id;
    let mut holders = Vec::new();
    if server.facts.server_id == ours {
        holders.push("the server itself".to_owned());
    }
    if server.facts.is_mariadb() {
        holders.extend(mariadb::holders(server, settings, problems).await?);
    } else {
        holders.extend(replicas_with_our_id(server, ours, problems).await?);
    }
    for holder in holders {
        problems.push(Problem {
            code: "server_id",
            severity: Severity::Error,
            object: "[source] server_id".to_owned(),
            found: format!("{ours}, which {holder} has"),
            needed: "a number of its own".to_owned(),
            mend: None,
        });
    }
    Ok(())
}

async fn replicas_with_our_id(server: &mut Server, ours: u32, problems: &mut Vec<Problem>) -> Result<Vec<String>> {
    // The old name lasts until 8.3, the new one came within 8.0.
    let statement = if server.facts.version.is_mysql_since(8, 4) { "SHOW REPLICAS" } else { "SHOW SLAVE HOSTS" };
    match server.connection.query(statement).await {
        Ok(replicas) => {
            let own_uuid = replica_uuid(ours);
            let others = replicas.iter().filter(|row| row.text(0) == ours.to_string() && row.text(4) != own_uuid);
            Ok(others.map(|row| format!("replica {} ({})", row.text(4), row.text(1))).collect())
        }
        Err(error) if error.kind() == ErrorKind::Refused => {
            let account = account(&mut server.connection).await?;
            problems.push(Problem { found: error.to_string(), ..privilege("REPLICATION SLAVE", "*.*", &account) });
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Whether we may ask for the binlog, and whether the server keeps captured databases out of it.
async fn check_binlog(server: &mut Server, filter: &TableFilter, problems: &mut Vec<Problem>) -> Result<()> {
    if !server.facts.has_binlog {
        return Ok(());
    }
    match server.binlog_end().await {
        Ok(status) => {
            problems.extend(unlogged::left_out(filter, status.text(2), status.text(3)));
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::Refused => {
            let account = account(&mut server.connection).await?;
            let name = if server.facts.is_mariadb() { "BINLOG MONITOR" } else { "REPLICATION CLIENT" };
            problems.push(Problem { found: error.to_string(), ..privilege(name, "*.*", &account) });
            Ok(())
        }
        Err(error) => Err(error),
    }
}

async fn check_tables(connection: &mut Connection, filter: &TableFilter, problems: &mut Vec<Problem>) -> Result<()> {
    let found = schema::find(connection, filter).await?;
    let hidden = privileges::check(connection, filter, &found, problems).await?;
    // Whether a table is there that we may not read can't be told.
    for pattern in filter.patterns.iter().filter(|pattern| !hidden.contains(pattern)) {
        let is_found = found.iter().any(|table| pattern.matches(&table.name.database, &table.name.table));
        let severity = match pattern {
            TablePattern::Table(_) => Severity::Error,
            // Its tables may come later.
            TablePattern::Database(_) => Severity::Warning,
        };
        if !is_found {
            problems.push(Problem {
                code: "table_missing",
                severity,
                object: format!("table {pattern}"),
                found: "no such table".to_owned(),
                needed: "a table to capture".to_owned(),
                mend: None,
            });
        }
    }
    let tells_names = found.iter().all(|table| table.unique_key.is_none()) || tells_names(connection).await?;
    for table in found {
        let object = format!("table {}", table.name);
        if let (Ok(_), Some(key)) = (&table.schema, &table.unique_key) {
            problems.push(without_primary_key(object.clone(), key, tells_names));
        }
        match table.schema {
            Err(error) => problems.push(from_error("table_unsupported", object, &error)),
            Ok(_) if !engine::has_versions(&table.engine) => problems.push(unread(object, &table.name, &table.engine)),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Whether rows come with the names of columns.
async fn tells_names(connection: &mut Connection) -> Result<bool> {
    match connection.query_row("SELECT @@GLOBAL.binlog_row_metadata").await {
        Ok(row) => Ok(row.text(0) == "FULL"),
        // The server is older than the setting.
        Err(error) if error.kind() == ErrorKind::Refused => Ok(false),
        Err(error) => Err(error),
    }
}

/// A unique key stands for the primary key.
fn without_primary_key(object: String, key: &UniqueKey, tells_names: bool) -> Problem {
    let found =
        format!("it has no primary key; its unique key {} ({}) identifies its rows", key.index, key.columns.join(", "));
    if !tells_names {
        return Problem {
            code: "table_unsupported",
            severity: Severity::Error,
            object,
            found,
            needed: "binlog_row_metadata = FULL: else nothing tells whether rows are still known by that key"
                .to_owned(),
            mend: Some("SET GLOBAL binlog_row_metadata = 'FULL'".to_owned()),
        };
    }
    Problem {
        code: "table_unique_key",
        severity: Severity::Warning,
        object,
        found,
        needed: "a primary key: else a statement that may change the table's unique keys makes it wait".to_owned(),
        mend: None,
    }
}

/// Captured all the same, so capture may start.
fn unread(object: String, table: &TableName, engine: &str) -> Problem {
    Problem {
        code: "table_engine",
        severity: Severity::Warning,
        object,
        found: format!("its engine is {engine}"),
        needed: "InnoDB: else its changes are captured, but its rows can't be read to copy or to compare them"
            .to_owned(),
        mend: Some(engine::mend(&quote_table(table))),
    }
}

/// Who we are to the server, as GRANT wants it: `'tailrace'@'%'`.
async fn account(connection: &mut Connection) -> Result<String> {
    // The name may hold an @, the host may not.
    const QUOTED: &str = "SELECT CONCAT(QUOTE(LEFT(who, CHAR_LENGTH(who) - CHAR_LENGTH(host) - 1)), '@', QUOTE(host)) \
                          FROM (SELECT CURRENT_USER() AS who, SUBSTRING_INDEX(CURRENT_USER(), '@', -1) AS host) AS account";
    Ok(connection.query(QUOTED).await?.first().map_or_else(String::new, |row| row.text(0).to_owned()))
}

/// The account lacks a privilege; the caller says how it showed.
fn privilege(name: &str, on: &str, account: &str) -> Problem {
    Problem {
        code: "privilege",
        severity: Severity::Error,
        object: "the account of [source]".to_owned(),
        found: "the account lacks a privilege".to_owned(),
        needed: format!("the privilege {name}"),
        mend: Some(grants::statement(name, on, account)),
    }
}

fn connection_code(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Transient => "source_unreachable",
        _ => "source_login",
    }
}

fn from_error(code: &'static str, object: String, error: &Error) -> Problem {
    Problem {
        code,
        severity: Severity::Error,
        object,
        found: error.to_string(),
        needed: "a source that can be captured".to_owned(),
        mend: error.advice().map(str::to_owned),
    }
}
