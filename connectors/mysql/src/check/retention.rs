//! For how long the server keeps its binlog, against the outage that the operator wants to survive.
//!
//! A binlog that is purged before capture has read it is a gap: capture stops and the tables must be copied anew. What the
//! server says is a promise only about time; a disk that runs full or an administrator may purge earlier.

use std::time::Duration;

use tailrace_contract::{ErrorKind, Problem, Result, Severity};

use crate::server::Server;

pub(super) async fn check(server: &mut Server, expected_outage: Duration, problems: &mut Vec<Problem>) -> Result<()> {
    if !server.facts.has_binlog || !purges_by_itself(server).await? {
        return Ok(());
    }
    let row = match server.connection.query_row("SELECT @@GLOBAL.binlog_expire_logs_seconds").await {
        Ok(row) => row,
        // A server that keeps its binlog by another setting.
        Err(error) if error.kind() == ErrorKind::Refused => return Ok(()),
        Err(error) => return Err(error),
    };
    let found = too_short(row.number(0)?, expected_outage);
    problems.extend(found.map(|problem| match server.facts.is_mariadb() {
        true => Problem { mend: problem.mend.map(|mend| mend.replace("SET PERSIST", "SET GLOBAL")), ..problem },
        false => problem,
    }));
    Ok(())
}

/// Servers before 8.0.29 have no such switch, and purge.
async fn purges_by_itself(server: &mut Server) -> Result<bool> {
    match server.connection.query_row("SELECT @@GLOBAL.binlog_expire_logs_auto_purge").await {
        Ok(row) => Ok(row.text(0) == "1"),
        Err(error) if error.kind() == ErrorKind::Refused => Ok(true),
        Err(error) => Err(error),
    }
}

/// 0 seconds: nothing is ever purged.
fn too_short(kept_seconds: u64, expected_outage: Duration) -> Option<Problem> {
    let needed = expected_outage.as_secs();
    (kept_seconds != 0 && kept_seconds < needed).then(|| Problem {
        code: "binlog_retention",
        severity: Severity::Warning,
        object: "server variable binlog_expire_logs_seconds".to_owned(),
        found: format!("{kept_seconds}: the binlog is kept for so many seconds"),
        needed: format!(
            "at least {needed}, the outage of [source] expected_outage, or 0 to keep it until it is purged by hand"
        ),
        mend: Some(format!("SET PERSIST binlog_expire_logs_seconds = {needed}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binlog_that_is_purged_within_the_outage_is_found() {
        let hour = Duration::from_secs(3600);
        for (kept, is_found) in [(0, false), (3599, true), (3600, false), (2_592_000, false)] {
            assert_eq!(too_short(kept, hour).is_some(), is_found, "{kept}");
        }
        assert!(too_short(1, hour).unwrap().mend.unwrap().ends_with("= 3600"));
        assert!(too_short(1, Duration::ZERO).is_none(), "an outage of nothing needs nothing");
    }
}
