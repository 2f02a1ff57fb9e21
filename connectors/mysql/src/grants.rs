//! The least that an account needs to be a source's: what `tailrace check --print-grants` shows.

use tailrace_contract::{Grant, LoadQuestions, TableFilter, TablePattern};

use crate::protocol::{quote_name, quote_table};

/// The statements for the account of that name, whatever host it comes from.
pub(crate) fn least(user: &str, filter: &TableFilter) -> Vec<Grant> {
    let account = account(user);
    let grant = |what: &str, on: &str, reason| Grant { statement: statement(what, on, &account), reason };
    let mut grants = vec![grant(
        "REPLICATION SLAVE, REPLICATION CLIENT",
        "*.*",
        "reads the binlog (of every database: MySQL has no smaller right) and asks where it ends",
    )];
    for pattern in &filter.patterns {
        grants.push(grant("SELECT", &object(pattern, false), "reads how the table looks and whether it has rows"));
    }
    grants
}

/// What questions after the server's load need beside that.
pub(crate) fn of_load(user: &str, questions: &LoadQuestions) -> Vec<Grant> {
    if questions.history { of_history(user).into() } else { Vec::new() }
}

/// The length of InnoDB's history list stands among metrics that show what everybody does.
pub(crate) fn of_history(user: &str) -> [Grant; 1] {
    let reason = "asks for the length of InnoDB's history list ([backfill.throttle] history_max)";
    [Grant { statement: statement("PROCESS", "*.*", &account(user)), reason }]
}

/// Quoted so that no setting of the server changes what it means.
fn account(user: &str) -> String {
    let is_plain = !user.contains(['\'', '\\', '`']);
    if is_plain { format!("'{user}'@'%'") } else { format!("{}@'%'", quote_name(user)) }
}

/// `GRANT what ON object TO account`.
pub(crate) fn statement(what: &str, object: &str, account: &str) -> String {
    format!("GRANT {what} ON {object} TO {account}")
}

/// What a pattern covers, as GRANT names it. In the name of a database `_` and `%` stand for other characters, unless the
/// server says that they are exact.
pub(crate) fn object(pattern: &TablePattern, is_exact: bool) -> String {
    match pattern {
        TablePattern::Table(name) => quote_table(name),
        TablePattern::Database(database) if is_exact => format!("{}.*", quote_name(database)),
        TablePattern::Database(database) => {
            format!("{}.*", quote_name(&database.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%")))
        }
    }
}

#[cfg(test)]
mod tests {
    use tailrace_row::TableName;

    use super::*;

    #[test]
    fn grants_name_the_tables_and_nothing_more() {
        let patterns =
            vec![TablePattern::Table(TableName::new("shop", "or`ders")), TablePattern::Database("my_crm".into())];
        let statements: Vec<String> =
            least("tailrace", &TableFilter { patterns }).into_iter().map(|grant| grant.statement).collect();
        assert_eq!(
            statements,
            [
                r"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'tailrace'@'%'",
                r"GRANT SELECT ON `shop`.`or``ders` TO 'tailrace'@'%'",
                r"GRANT SELECT ON `my\_crm`.* TO 'tailrace'@'%'",
            ]
        );
        assert_eq!(object(&TablePattern::Database("my_crm".into()), true), "`my_crm`.*");
        assert_eq!(account("tail'race"), "`tail'race`@'%'");
    }
}
