//! A session with the server and what its settings say: read once at the begin of every task.

use std::fmt::Write as _;

use tailrace_contract::{Endpoint, Error, Result};

use crate::protocol::{Connection, Row, ServerVersion};

/// A connection and the facts that decide how to use it.
pub(crate) struct Server {
    pub(crate) connection: Connection,
    pub(crate) facts: Facts,
}

/// Settings that can't differ between two questions of one task.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Tells this server from all others, also from the one that it is compared with.
    pub(crate) identity: String,
    /// Whose numbering of a transaction's events a checkpoint holds; the same for the life of the server's data.
    pub(crate) name: String,
    pub(crate) server_id: u32,
    pub(crate) has_binlog: bool,
    pub(crate) gtid_mode: String,
    /// `lower_case_table_names` is not 0.
    pub(crate) ignores_case: bool,
    pub(crate) version: ServerVersion,
}

impl Server {
    pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Self> {
        Self::of(Connection::open(endpoint).await?).await
    }

    /// The server that answers on a connection.
    pub(crate) async fn of(mut connection: Connection) -> Result<Self> {
        let facts = Facts::read(&mut connection).await?;
        Ok(Self { connection, facts })
    }

    /// When it was started, in seconds since 1970 by its own clock, give or take one.
    pub(crate) async fn started(&mut self) -> Result<u64> {
        let uptime = self.connection.query_row("SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
        let now = self.connection.query_row("SELECT FLOOR(UNIX_TIMESTAMP())").await?;
        Ok(now.number::<u64>(0)?.saturating_sub(uptime.number(1)?))
    }

    /// Where the binlog ends: file and offset.
    pub(crate) async fn binlog_end(&mut self) -> Result<Row> {
        binlog_end(&mut self.connection).await
    }
}

/// Where the binlog ends of the server that answers on a connection.
pub(crate) async fn binlog_end(connection: &mut Connection) -> Result<Row> {
    let is_renamed = connection.version().is_mysql_since(8, 2);
    let status = if is_renamed { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" };
    connection.query(status).await?.into_iter().next().ok_or_else(no_binlog)
}

impl Facts {
    pub(crate) fn gives_gtids(&self) -> bool {
        self.gtid_mode == "ON"
    }

    pub(crate) fn is_mariadb(&self) -> bool {
        self.version.is_mariadb
    }

    async fn read(connection: &mut Connection) -> Result<Self> {
        let version = connection.version();
        if version.is_mariadb {
            Self::read_mariadb(connection, version).await
        } else {
            Self::read_mysql(connection, version).await
        }
    }

    async fn read_mysql(connection: &mut Connection, version: ServerVersion) -> Result<Self> {
        let row = connection
            .query_row(
                "SELECT @@GLOBAL.server_uuid, @@GLOBAL.server_id, @@GLOBAL.log_bin, @@GLOBAL.gtid_mode, \
                 @@GLOBAL.lower_case_table_names",
            )
            .await?;
        Ok(Self {
            identity: format!("mysql:{}", row.text(0)),
            name: row.text(0).to_owned(),
            server_id: row.number(1)?,
            has_binlog: row.text(2) == "1",
            gtid_mode: row.text(3).to_owned(),
            ignores_case: row.text(4) != "0",
            version,
        })
    }

    /// MariaDB keeps no UUID with its data. Its server id is unique among the servers that can have the same transactions; host
    /// and port tell it from all others.
    async fn read_mariadb(connection: &mut Connection, version: ServerVersion) -> Result<Self> {
        let row = connection
            .query_row(
                "SELECT @@GLOBAL.server_id, @@GLOBAL.log_bin, @@GLOBAL.lower_case_table_names, \
                 CONCAT_WS(':', @@GLOBAL.hostname, @@GLOBAL.port)",
            )
            .await?;
        Ok(Self {
            identity: format!("mariadb:{}:{}", row.text(3), row.text(0)),
            name: format!("server {}", row.text(0)),
            server_id: row.number(0)?,
            has_binlog: row.text(1) == "1",
            gtid_mode: "ON".to_owned(),
            ignores_case: row.text(2) != "0",
            version,
        })
    }
}

pub(crate) fn no_binlog() -> Error {
    Error::refused("the server writes no binlog").hint("start the server with --log-bin")
}

/// The UUID under which we are a replica. It follows from the server id, so that a new connection ends the old one of the
/// same capture, and so that two captures with one id fence each other.
pub(crate) fn replica_uuid(server_id: u32) -> String {
    let mut uuid = String::from("7461696c-7261-6365-0000-0000");
    write!(uuid, "{server_id:08x}").expect("invariant: writing to a String can't fail");
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids() {
        assert!(uuid::Uuid::try_parse(&replica_uuid(u32::MAX)).is_ok());
        assert_eq!(replica_uuid(5501), "7461696c-7261-6365-0000-00000000157d");
    }
}
