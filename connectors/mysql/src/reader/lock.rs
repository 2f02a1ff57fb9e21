//! A view that shows what the binlog has of a table, where transactions have no names that could be waited for.
//!
//! Whoever changes a table holds its metadata lock until the changes can be seen, which is behind the binlog. `LOCK TABLES … READ` waits
//! for all of them and lets no new one begin: a snapshot that is opened then shows everything that is logged of this table. A
//! transaction would end with the lock's own statement, and the lock with the transaction's: two connections are needed.
//!
//! While the lock is waited for, writers of the table wait behind it. So it is given up after a second, and asked for again after
//! ever longer pauses: a long transaction, or an XA transaction that is prepared, keeps it away. It is held for two statements.

use std::time::Duration;

use tailrace_contract::{Endpoint, Error, Result};
use tailrace_row::TableName;
use tokio::time::sleep;

use crate::{
    errors,
    protocol::{Connection, quote_name, quote_table},
    server::Server,
};

const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(9)];

/// Begins a transaction that shows all that is logged of the table.
pub(super) async fn begin_snapshot(server: &mut Server, endpoint: &Endpoint, table: &TableName) -> Result<()> {
    let mut other = Server::connect(endpoint).await?;
    if other.facts.name != server.facts.name {
        return Err(Error::transient("two servers answer under one address"));
    }
    lock(&mut other.connection, table).await?;
    server.connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
    // Where this fails the lock was lost before, perhaps before the snapshot.
    other.connection.execute("UNLOCK TABLES").await
}

async fn lock(connection: &mut Connection, table: &TableName) -> Result<()> {
    connection.execute("SET SESSION lock_wait_timeout = 1").await?;
    let sql = format!("LOCK TABLES {} READ", quote_table(table));
    for pause in PAUSES {
        match connection.execute(&sql).await {
            Err(error) if errors::is_lock_missing(&error) => sleep(pause).await,
            Err(error) if errors::is_privilege_missing(&error) => return Err(unlockable(error, table)),
            done => return done,
        }
    }
    connection.execute(&sql).await.map_err(|error| {
        error.context("locking the table for a moment, since transactions have no GTIDs").hint(
            "a long transaction, or an XA transaction that is prepared, keeps the table: end it, or set gtid_mode = ON and start \
             capture anew by GTID",
        )
    })
}

fn unlockable(error: Error, table: &TableName) -> Error {
    let database = quote_name(&table.database);
    Error::refused("without GTIDs a table's history is copied under a short lock, which the account may not take")
        .caused_by(error)
        .hint(format!(
            "GRANT LOCK TABLES ON {database}.* to the account, or set gtid_mode = ON and start capture anew by GTID"
        ))
}
