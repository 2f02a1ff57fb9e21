//! Changes of captured tables that never reach the binlog: nothing in the stream would show that they are missing.
//!
//! Three of them can be seen beforehand: databases that the server keeps out of its binlog, a replica that does not log what
//! it replicates, and foreign keys whose cascades the storage engine carries out unseen by the server. What a session hides
//! with `sql_log_bin = 0` can't be seen by anybody.

use tailrace_contract::{ErrorKind, Problem, Result, Severity, TableFilter, TablePattern};

use super::mariadb;
use crate::{
    protocol::{quote_name, quote_table},
    server::Server,
};

pub(super) async fn check(server: &mut Server, filter: &TableFilter, problems: &mut Vec<Problem>) -> Result<()> {
    check_replica(server, problems).await?;
    check_cascades(server, filter, problems).await
}

/// A replica logs what it replicates only if it is told to.
async fn check_replica(server: &mut Server, problems: &mut Vec<Problem>) -> Result<()> {
    if server.facts.is_mariadb() {
        return mariadb::check_replica(server, problems).await;
    }
    let (status, variable) = match server.facts.version.is_mysql_since(8, 4) {
        true => ("SHOW REPLICA STATUS", "log_replica_updates"),
        false => ("SHOW SLAVE STATUS", "log_slave_updates"),
    };
    let is_replica = match server.connection.query(status).await {
        Ok(sources) => !sources.is_empty(),
        // The missing privilege is told by another check.
        Err(error) if error.kind() == ErrorKind::Refused => return Ok(()),
        Err(error) => return Err(error),
    };
    let row = server.connection.query_row(&format!("SELECT @@GLOBAL.{variable}")).await?;
    if is_replica && row.text(0) != "1" {
        problems.push(Problem {
            code: "log_replica_updates",
            severity: Severity::Error,
            object: format!("server variable {variable}"),
            found: "OFF, on a replica: what it replicates is not in its binlog".to_owned(),
            needed: "ON".to_owned(),
            mend: Some(format!("start the server with --{}", variable.replace('_', "-"))),
        });
    }
    Ok(())
}

/// `Binlog_Do_DB` and `Binlog_Ignore_DB`: databases separated by commas.
pub(super) fn left_out(filter: &TableFilter, logged: &str, ignored: &str) -> Vec<Problem> {
    let has = |list: &str, database: &str| list.split(',').any(|name| name.trim() == database);
    let mut databases: Vec<&str> = filter.patterns.iter().map(database_of).collect();
    databases.sort_unstable();
    databases.dedup();
    databases.retain(|database| !logged.is_empty() && !has(logged, database) || has(ignored, database));
    let problem = |database: &str| Problem {
        code: "binlog_filter",
        severity: Severity::Error,
        object: format!("database {database}"),
        found: format!("left out of the binlog (binlog_do_db = {logged:?}, binlog_ignore_db = {ignored:?})"),
        needed: "every change of a captured database in the binlog".to_owned(),
        mend: Some("start the server without --binlog-do-db and --binlog-ignore-db".to_owned()),
    };
    databases.into_iter().map(problem).collect()
}

fn database_of(pattern: &TablePattern) -> &str {
    match pattern {
        TablePattern::Table(name) => &name.database,
        TablePattern::Database(database) => database,
    }
}

/// Foreign keys of captured tables that change their rows when another table's row changes.
async fn check_cascades(server: &mut Server, filter: &TableFilter, problems: &mut Vec<Problem>) -> Result<()> {
    if are_cascades_logged(server).await? {
        return Ok(());
    }
    let rows = server
        .connection
        .query(
            "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, UPDATE_RULE, DELETE_RULE \
             FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE UPDATE_RULE IN ('CASCADE', 'SET NULL') OR DELETE_RULE IN ('CASCADE', 'SET NULL') ORDER BY 1, 2, 3",
        )
        .await?;
    for row in rows.iter().filter(|row| filter.matches(row.text(0), row.text(1))) {
        let table = tailrace_row::TableName::new(row.text(0), row.text(1));
        let (name, on_update, on_delete) = (row.text(2), row.text(3), row.text(4));
        problems.push(Problem {
            code: "foreign_key_cascade",
            severity: Severity::Error,
            object: format!("table {table}"),
            found: format!(
                "foreign key {name} (ON UPDATE {on_update} ON DELETE {on_delete}): what it changes is not in the binlog \
                 of this server"
            ),
            needed: "MySQL 9.6 or later without innodb_native_foreign_keys, or no cascading foreign key".to_owned(),
            mend: Some(format!("ALTER TABLE {} DROP FOREIGN KEY {}", quote_table(&table), quote_name(name))),
        });
    }
    Ok(())
}

/// From 9.6 on the server carries cascades out itself, and logs them, unless it is told to leave them to the engine.
async fn are_cascades_logged(server: &mut Server) -> Result<bool> {
    if !server.facts.version.is_mysql_since(9, 6) {
        return Ok(false);
    }
    match server.connection.query("SELECT @@GLOBAL.innodb_native_foreign_keys").await {
        Ok(rows) => Ok(rows.first().is_none_or(|row| row.text(0) != "1")),
        // A later version may have no such setting any more.
        Err(error) if error.kind() == ErrorKind::Refused => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use tailrace_row::TableName;

    use super::*;

    #[test]
    fn databases_out_of_the_binlog_are_named() {
        let filter = TableFilter {
            patterns: vec![
                TablePattern::Table(TableName::new("shop", "orders")),
                TablePattern::Table(TableName::new("shop", "items")),
                TablePattern::Database("crm".into()),
            ],
        };
        let named = |logged, ignored| {
            let problems = left_out(&filter, logged, ignored);
            problems.into_iter().map(|problem| problem.object).collect::<Vec<_>>()
        };
        assert_eq!(named("", ""), Vec::<String>::new());
        assert_eq!(named("shop,crm,logs", "tmp"), Vec::<String>::new());
        assert_eq!(named("shop", ""), ["database crm"]);
        assert_eq!(named("", "tmp, shop"), ["database shop"]);
        assert_eq!(named("other", ""), ["database crm", "database shop"]);
    }
}
