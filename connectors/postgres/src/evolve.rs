//! What is done to a table at a barrier, inside the transaction that also says that it is done.
//!
//! PostgreSQL's DDL is transactional, so a kill before, at or after leaves all of it or nothing. A refusal of the server is
//! [`ErrorKind::TableFailed`]: the table then waits for an operator, with the refusal as its reason.
//!
//! [`ErrorKind::TableFailed`]: tailrace_contract::ErrorKind::TableFailed

use sqlx::{AssertSqlSafe, postgres::PgArguments};
use tailrace_contract::{Error, Result, TableMapping, TargetAct};

use crate::{
    catalog::{add, get},
    errors::Failure,
    identifier::quote_table,
    session::Session,
};

/// Carries the act out in the open transaction.
pub(crate) async fn carry_out(session: &mut Session, mapping: &TableMapping, act: &TargetAct) -> Result<()> {
    match act {
        TargetAct::Truncate => truncate(session, mapping).await,
        TargetAct::Add { .. } | TargetAct::Drop { .. } | TargetAct::Rename { .. } | TargetAct::Widen { .. } => {
            Err(Error::table_failed(mapping.source.clone(), "columns of the target can't be changed by Tailrace"))
        }
    }
}

/// Empties the table. Where the account may not TRUNCATE it, or other tables point at it, row by row: slower, and the same.
async fn truncate(session: &mut Session, mapping: &TableMapping) -> Result<()> {
    let name = quote_table(&mapping.target)?;
    let doing = format!("emptying {}", mapping.target);
    let mut arguments = PgArguments::default();
    add(&mut arguments, name.as_str());
    let rows = session.read(MAY_TRUNCATE, arguments, &doing).await.map_err(|failure| refused(mapping, failure))?;
    let row = rows.first().ok_or_else(|| Error::refused(format!("{doing}: no answer")))?;
    let statement = if get(row, "may_truncate")? { "TRUNCATE" } else { "DELETE FROM" };
    session.run(AssertSqlSafe(format!("{statement} {name}")), &doing).await.map_err(|failure| refused(mapping, failure))
}

/// What the server says to an act is about this table.
fn refused(mapping: &TableMapping, failure: Failure) -> Error {
    match failure {
        Failure::Table(refusal) => Error::table_failed(mapping.source.clone(), refusal.to_string()),
        Failure::Other(error) => error,
    }
}

const MAY_TRUNCATE: &str = "
SELECT has_table_privilege($1::regclass, 'TRUNCATE')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.confrelid = $1::regclass AND c.conrelid <> c.confrelid)
   AS may_truncate";
