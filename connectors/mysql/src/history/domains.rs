//! The same for MariaDB: positions are lists of its GTIDs, whatever the start was told by.
//!
//! A server takes a list whose domains it has never seen, and begins with the first transaction that it will ever log there.
//! For us that is a server without our history: it is refused before the server is asked.

use tailrace_contract::{Error, ErrorKind, Result, SourceSettings, StartAt};

use super::{binlogs, check_file, since};
use crate::{
    gtid::{DomainGtid, GtidList},
    position::{self, BinlogPosition, FileOffset},
    protocol::quote_text,
    server::Server,
};

/// The first event of a file.
const FILE_HEAD: u64 = 4;

pub(super) async fn start(server: &mut Server, settings: &SourceSettings, start: &StartAt) -> Result<BinlogPosition> {
    let list = match start {
        StartAt::Now => logged(server).await?,
        StartAt::Earliest => {
            let logs = binlogs(server).await?;
            let (first, _) = logs.into_iter().next().ok_or_else(crate::server::no_binlog)?;
            list_at(server, &FileOffset { file: first.into(), offset: FILE_HEAD }).await?
        }
        StartAt::At(text) => match position::parse_start(text)? {
            BinlogPosition::Domains { list, .. } => list,
            BinlogPosition::File { at, .. } => {
                check_file(server, &at).await?;
                check_boundary(server, &at).await?;
                list_at(server, &at).await?
            }
            BinlogPosition::Gtids { .. } => return Err(super::other_kind("MySQL", "MariaDB")),
        },
        StartAt::Since(micros) => {
            let at = since::find(server, settings, *micros).await?;
            list_at(server, &at).await?
        }
    };
    Ok(BinlogPosition::Domains { list, seen_at: None })
}

/// Whether the server once logged, or took over, the last transaction of each domain. What comes next it has or has purged,
/// and says so itself when it is asked for it.
pub(super) async fn check(server: &mut Server, list: &GtidList) -> Result<()> {
    let logged = variable(server, "gtid_binlog_state").await?;
    // A replica made from a copy has logged nothing of it; where the copy ends it starts itself.
    let replicated = variable(server, "gtid_slave_pos").await?;
    let is_known = |gtid: &DomainGtid| {
        let is_behind =
            |at: &DomainGtid| at.domain == gtid.domain && at.server == gtid.server && at.sequence >= gtid.sequence;
        logged.iter().any(is_behind) || replicated.contains(gtid)
    };
    let missing: Vec<String> = list.iter().filter(|gtid| !is_known(gtid)).map(|gtid| gtid.to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::position_lost(format!("the server never had transactions that we captured: {}", missing.join(","))).hint(
        "another server answers, its binlog was reset, it was restored from a backup, or the domain was deleted from its binlog's \
         state: go back to the old one, or start anew and copy the tables again",
    ))
}

/// The last transaction of each domain in the binlog.
pub(crate) async fn logged(server: &mut Server) -> Result<GtidList> {
    Ok(variable(server, "gtid_binlog_pos").await?.into_iter().collect())
}

/// The last transaction of each domain that came to the server as a replica.
pub(crate) async fn replicated(server: &mut Server) -> Result<GtidList> {
    Ok(variable(server, "gtid_slave_pos").await?.into_iter().collect())
}

/// Whether the list is what this server logged before the place.
pub(crate) async fn encloses(server: &mut Server, at: &FileOffset, list: &GtidList) -> Result<bool> {
    if !binlogs(server).await?.iter().any(|(name, size)| **name == *at.file && at.offset <= *size) {
        return Ok(false);
    }
    match list_at(server, at).await {
        Ok(logged) => Ok(logged == *list),
        Err(error) if error.kind() == ErrorKind::Refused => Ok(false),
        Err(error) => Err(error),
    }
}

/// All GTIDs of a variable; `gtid_binlog_state` has several of one domain.
async fn variable(server: &mut Server, name: &str) -> Result<Vec<DomainGtid>> {
    let row = server.connection.query_row(&format!("SELECT @@GLOBAL.{name}")).await?;
    let parts = row.text(0).split(',').map(str::trim).filter(|part| !part.is_empty());
    let gtids: std::result::Result<_, _> = parts.map(str::parse).collect();
    gtids.map_err(|error| Error::corrupt(format!("can't read the server's {name}")).caused_by(error))
}

/// What was logged before a place.
pub(crate) async fn list_at(server: &mut Server, at: &FileOffset) -> Result<GtidList> {
    let sql =
        format!("SELECT BINLOG_GTID_POS({}, {}) IS NULL, BINLOG_GTID_POS({0}, {1})", quote_text(&at.file), at.offset);
    let row = server.connection.query_row(&sql).await?;
    if row.text(0) != "0" {
        return Err(Error::refused("the server does not know what was logged before the start position").at(at));
    }
    row.text(1).parse().map_err(|error| Error::corrupt("can't read the answer of BINLOG_GTID_POS").caused_by(error))
}

/// Whether a transaction can begin at the place.
async fn check_boundary(server: &mut Server, at: &FileOffset) -> Result<()> {
    const BETWEEN: [&str; 6] = ["Gtid", "Gtid_list", "Binlog_checkpoint", "Rotate", "Stop", "Format_desc"];
    // The grammar takes no other form of a text here.
    let file = at.file.replace('\\', "\\\\").replace('\'', "''");
    let sql = format!("SHOW BINLOG EVENTS IN '{file}' FROM {} LIMIT 1", at.offset);
    let refused = Error::refused("no transaction begins at the start position")
        .at(at)
        .hint(format!("SHOW BINLOG EVENTS IN '{}' lists them: take the Pos of a Gtid event", at.file));
    match server.connection.query(&sql).await {
        // Nothing stands behind the end of the binlog.
        Ok(rows) if rows.first().is_none_or(|row| BETWEEN.contains(&row.text(2))) => Ok(()),
        Ok(_) => Err(refused),
        Err(error) if error.kind() == ErrorKind::Refused => Err(refused.caused_by(error)),
        Err(error) => Err(error),
    }
}
