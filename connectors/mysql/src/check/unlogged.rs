//! Changes of captured tables that never reach the binlog: nothing in the stream would show that they are missing.
//!
//! Three of them can be seen beforehand: databases that the server keeps out of its binlog, a replica that does not log what
//! it replicates, and foreign keys whose cascades the storage engine carries out unseen by the server. What a session hides
//! with `sql_log_bin = 0` can't be seen by anybody.

use tailrace_contract::{ErrorKind, Problem, Result, Severity, TableFilter, TablePattern};
use tailrace_row::TableName;

use super::mariadb;
use crate::{
    protocol::{Row, quote_name, quote_table},
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
    let keys = if server.facts.is_mariadb() { cascades_as_made(server).await? } else { cascades(server).await? };
    for Cascade { table, name, rules } in
        keys.iter().filter(|key| filter.matches(&key.table.database, &key.table.table))
    {
        problems.push(Problem {
            code: "foreign_key_cascade",
            severity: Severity::Error,
            object: format!("table {table}"),
            found: format!("foreign key {name} ({rules}): what it changes is not in the binlog of this server"),
            needed: "MySQL 9.6 or later without innodb_native_foreign_keys, or no cascading foreign key".to_owned(),
            mend: Some(format!("ALTER TABLE {} DROP FOREIGN KEY {}", quote_table(table), quote_name(name))),
        });
    }
    Ok(())
}

/// A foreign key that changes the rows of its table.
#[derive(Debug, PartialEq, Eq)]
struct Cascade {
    table: TableName,
    name: String,
    /// Its clauses.
    rules: String,
}

async fn cascades(server: &mut Server) -> Result<Vec<Cascade>> {
    let rows = server
        .connection
        .query(
            "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, UPDATE_RULE, DELETE_RULE \
             FROM information_schema.REFERENTIAL_CONSTRAINTS \
             WHERE UPDATE_RULE IN ('CASCADE', 'SET NULL') OR DELETE_RULE IN ('CASCADE', 'SET NULL') ORDER BY 1, 2, 3",
        )
        .await?;
    let cascade = |row: &Row| Cascade {
        table: TableName::new(row.text(0), row.text(1)),
        name: row.text(2).to_owned(),
        rules: format!("ON UPDATE {} ON DELETE {}", row.text(3), row.text(4)),
    };
    Ok(rows.iter().map(cascade).collect())
}

/// MariaDB shows the rules of foreign keys only to who may do more than SELECT; but that there are some, and how their table was made.
async fn cascades_as_made(server: &mut Server) -> Result<Vec<Cascade>> {
    let tables = server
        .connection
        .query(
            "SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME FROM information_schema.KEY_COLUMN_USAGE \
             WHERE REFERENCED_TABLE_NAME IS NOT NULL ORDER BY 1, 2",
        )
        .await?;
    let mut found = Vec::new();
    for row in tables {
        let table = TableName::new(row.text(0), row.text(1));
        match server.connection.query_row(&format!("SHOW CREATE TABLE {}", quote_table(&table))).await {
            Ok(made) => found.extend(cascades_of(&table, made.text(1))),
            // It has gone meanwhile.
            Err(error) if error.kind() == ErrorKind::Refused => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Each constraint has a line of its own, which ends with its rules.
fn cascades_of(table: &TableName, made: &str) -> Vec<Cascade> {
    let cascade = |line: &str| {
        let constraint = line.trim().strip_prefix("CONSTRAINT ")?;
        let name = constraint.split_once(" FOREIGN KEY (")?.0.trim_matches(['`', '"']).to_owned();
        let rules = constraint.rsplit_once(')')?.1.trim_matches([' ', ',']).to_owned();
        (rules.contains("CASCADE") || rules.contains("SET NULL")).then(|| Cascade { table: table.clone(), name, rules })
    };
    made.lines().filter_map(cascade).collect()
}

/// From 9.6 on the server carries cascades out itself, and logs them, unless it is told to leave them to the engine.
pub(crate) async fn are_cascades_logged(server: &mut Server) -> Result<bool> {
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
    use super::*;

    #[test]
    fn cascades_stand_in_how_a_table_was_made() {
        let made = "CREATE TABLE `leaves` (\n  `id` int(11) NOT NULL COMMENT ') ON DELETE CASCADE',\n  KEY `tree` (`tree`),\n  \
                    CONSTRAINT `a` FOREIGN KEY (`tree`) REFERENCES `trees` (`id`) ON DELETE CASCADE ON UPDATE CASCADE,\n  \
                    CONSTRAINT `b` FOREIGN KEY (`bird`) REFERENCES `birds` (`id`),\n  \
                    CONSTRAINT `c ON DELETE CASCADE` FOREIGN KEY (`x`) REFERENCES `y` (`id`) ON DELETE NO ACTION,\n  \
                    CONSTRAINT `d` FOREIGN KEY (`x`) REFERENCES `y` (`id`) ON UPDATE SET NULL,\n  \
                    CONSTRAINT `e` CHECK (`id` > 0)\n) ENGINE=InnoDB";
        let found = cascades_of(&TableName::new("shop", "leaves"), made);
        let told: Vec<(&str, &str)> = found.iter().map(|key| (&*key.name, &*key.rules)).collect();
        assert_eq!(told, [("a", "ON DELETE CASCADE ON UPDATE CASCADE"), ("d", "ON UPDATE SET NULL")]);
    }

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
