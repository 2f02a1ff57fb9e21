//! What is done to a table at a barrier, inside the transaction that also says that it is done.
//!
//! SQLite's DDL is transactional, so a kill before, at or after leaves all of it or nothing. What can't be done is
//! [`ErrorKind::TableFailed`]: the table then waits for an operator, with that as its reason.
//!
//! [`ErrorKind::TableFailed`]: tailrace_contract::ErrorKind::TableFailed

use std::sync::Arc;

use sqlx::sqlite::SqliteArguments;
use tailrace_contract::{Error, Result, TableMapping, TargetAct};

use crate::{errors::Failure, identifier::quote_table, session::Session};

/// Carries the act out in the open transaction.
pub(crate) async fn carry_out(session: &mut Session, mapping: &TableMapping, act: &TargetAct) -> Result<()> {
    match act {
        TargetAct::Truncate => truncate(session, mapping).await,
        TargetAct::Add { .. } | TargetAct::Drop { .. } | TargetAct::Rename { .. } | TargetAct::Widen { .. } => {
            Err(Error::table_failed(mapping.source.clone(), "columns of the target can't be changed by Tailrace"))
        }
    }
}

/// Empties the table. SQLite drops all pages of a table without triggers at once.
async fn truncate(session: &mut Session, mapping: &TableMapping) -> Result<()> {
    let sql: Arc<str> = format!("DELETE FROM {}", quote_table(&mapping.target)?).into();
    let doing = format!("emptying {}", mapping.target);
    let written = session.write_rows(sql, SqliteArguments::default(), &doing).await;
    written.map(drop).map_err(|failure| refused(mapping, failure))
}

/// What SQLite says to an act is about this table.
fn refused(mapping: &TableMapping, failure: Failure) -> Error {
    match failure {
        Failure::Table(refusal) => Error::table_failed(mapping.source.clone(), refusal.to_string()),
        Failure::Other(error) => error,
    }
}
