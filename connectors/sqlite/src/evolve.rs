//! What is done to a table at a barrier, inside the transaction that also says that it is done.
//!
//! SQLite's DDL is transactional, so a kill before, at or after leaves all of it or nothing. What can't be done is
//! [`ErrorKind::TableFailed`]: the table then waits for an operator, with that as its reason.
//!
//! [`ErrorKind::TableFailed`]: tailrace_contract::ErrorKind::TableFailed

use tailrace_contract::{Error, Result, TableMapping, TargetAct};

use crate::{identifier::quote_table, session::Session};

/// Carries the act out in the open transaction.
pub(crate) async fn carry_out(session: &mut Session, mapping: &TableMapping, act: &TargetAct) -> Result<()> {
    match act {
        TargetAct::Truncate => truncate(session, mapping).await,
        TargetAct::Add { .. } | TargetAct::Drop { .. } | TargetAct::Rename { .. } | TargetAct::Widen { .. } => {
            Err(Error::table_failed(mapping.source.clone(), "columns of the target can't be changed by Tailrace"))
        }
    }
}

/// Empties the table. SQLite drops all pages of a table without triggers at once. What its triggers or constraints refuse makes the
/// table wait.
async fn truncate(session: &mut Session, mapping: &TableMapping) -> Result<()> {
    let sql = format!("DELETE FROM {}", quote_table(&mapping.target)?);
    session.run(sql, &format!("emptying {}", mapping.target)).await
}
