//! XA transactions that stand between their two phases.
//!
//! Each is harmless by itself: its rows come when it is committed. But they are read where it was prepared, so the binlog must be kept
//! until then; and whoever forgot one keeps its rows locked.

use tailrace_contract::{ErrorKind, Problem, Result, Severity};

use crate::{events::Xid, protocol::Row, server::Server};

/// More are counted and not named.
const NAMED_MAX: usize = 10;

pub(super) async fn check(server: &mut Server, problems: &mut Vec<Problem>) -> Result<()> {
    let statement = if server.facts.is_mariadb() { "XA RECOVER FORMAT='SQL'" } else { "XA RECOVER CONVERT XID" };
    match server.connection.query(statement).await {
        Ok(rows) => {
            problems.extend(standing_open(&rows.iter().map(name).collect::<Vec<String>>()));
            Ok(())
        }
        // MySQL shows them to whoever has XA_RECOVER_ADMIN, which nothing else needs.
        Err(error) if error.kind() == ErrorKind::Refused => Ok(()),
        Err(error) => Err(error),
    }
}

/// The name of one as statements take it. MySQL gives its two parts as one: `0x…`.
fn name(row: &Row) -> String {
    let split = || {
        let (format, global): (u32, usize) = (row.number(0).ok()?, row.number(1).ok()?);
        let parts = row.text(3).strip_prefix("0x")?;
        Xid::parse_hex(format, parts.get(..2 * global)?, parts.get(2 * global..)?)
    };
    split().map_or_else(|| row.text(3).to_owned(), |xid| xid.to_string())
}

fn standing_open(names: &[String]) -> Option<Problem> {
    let first = names.first()?;
    let mut found = format!("{} stand open: {}", names.len(), names[..names.len().min(NAMED_MAX)].join("; "));
    if names.len() > NAMED_MAX {
        found.push_str("; …");
    }
    Some(Problem {
        code: "xa_prepared",
        severity: Severity::Warning,
        object: "prepared XA transactions".to_owned(),
        found,
        needed: "an end of each, or a binlog that is kept until it ends: its rows are read where it was prepared"
            .to_owned(),
        mend: Some(format!("XA COMMIT {first}, or XA ROLLBACK, as its coordinator has decided; and so each")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_counted_and_some_named() {
        assert_eq!(standing_open(&[]), None);
        let names: Vec<String> = (0..12).map(|number| format!("X'{number:02}',X'',1")).collect();
        let one = standing_open(&names[..1]).unwrap();
        assert_eq!(one.found, "1 stand open: X'00',X'',1");
        assert!(one.mend.unwrap().starts_with("XA COMMIT X'00',X'',1, or XA ROLLBACK"));
        let many = standing_open(&names).unwrap();
        assert!(many.found.starts_with("12 stand open: X'00',X'',1; X'01'") && many.found.ends_with("X'09',X'',1; …"));
    }
}
