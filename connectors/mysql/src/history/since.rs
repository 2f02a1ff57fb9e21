//! The start at a moment: the first transaction in the binlog that was committed then or later.
//!
//! The file is found by the seconds in which files were begun: whatever lies in a file was committed before the next one was begun.
//! In it the first transaction is sought that says to have been committed at the moment or later. The binlog's order is that of
//! the commits, but what transactions say of their times need not rise with it. So in doubt the start is earlier:
//!
//! - MySQL says exactly when *this* server committed a transaction, which on a replica is later than when its source did. Nothing
//!   that was committed at the moment or later, there or here, lies before the first one that says so here.
//! - MariaDB stamps a transaction with the second in which the statement that ended it began. One that ran for long was committed
//!   long after it; so there a transaction counts from an hour before the moment on, if it lies in the file.
//! - A clock that was set back by up to an hour is allowed for when the file is sought.

use tailrace_contract::{Error, Result, SourceSettings};

use super::binlogs;
use crate::{
    events::{Format, GtidEvent, HEADER_BYTES, Header, kind},
    group::{Walk, Walked},
    position::FileOffset,
    protocol::{Connection, Malformed},
    replication::{self, Logged},
    server::Server,
};

/// The first event of a file.
const FILE_HEAD: u64 = 4;
const SECOND: i64 = 1_000_000;
/// By how much a stamp may be too early, or a clock set back.
const DOUBT_SECONDS: i64 = 3600;

/// Where the first transaction begins; the end of the binlog if there is none yet.
pub(super) async fn find(server: &mut Server, settings: &SourceSettings, micros: i64) -> Result<FileOffset> {
    let now = server.connection.query_row("SELECT FLOOR(UNIX_TIMESTAMP(NOW(6)) * 1000000)").await?;
    if micros > now.number::<i64>(0)? {
        return Err(
            Error::refused("the start lies in the future, by the server's clock").hint("write a time that is over")
        );
    }
    let file = file_of(server, settings, micros.div_euclid(SECOND)).await?;
    let from = FileOffset { file: file.into(), offset: FILE_HEAD };
    let connection = Connection::open(&settings.endpoint).await?;
    let mut walk = Walk::on(connection, settings, Logged::File(&from)).await?;
    loop {
        let Walked::Event { header, event, start, .. } = walk.next().await? else { return Ok(walk.end()) };
        let body = &walk.bytes(&event)[HEADER_BYTES..];
        if committed_by(header, body).map_err(unreadable)?.is_some_and(|latest| latest >= micros) {
            return Ok(FileOffset { file: walk.file().into(), offset: start });
        }
    }
}

/// The file before which everything was committed earlier.
async fn file_of(server: &mut Server, settings: &SourceSettings, second: i64) -> Result<String> {
    let (mut found, mut is_later_behind) = (None, true);
    for (file, _) in binlogs(server).await?.into_iter().rev() {
        let begun = begun(settings, &file).await?;
        if begun >= second {
            // What was found is a later file that was begun earlier: the clock was set back.
            found = None;
        } else if is_later_behind {
            found = Some(file);
        }
        if begun < second - DOUBT_SECONDS {
            break;
        }
        is_later_behind = begun >= second;
    }
    found.ok_or_else(|| {
        Error::position_lost("the start lies before the server's oldest binlog file")
            .hint("write a later time, or \"earliest\" to begin with what the server still has")
    })
}

/// In which second since 1970 the file was begun.
async fn begun(settings: &SourceSettings, file: &str) -> Result<i64> {
    let mut connection = Connection::open(&settings.endpoint).await?;
    let from = FileOffset { file: file.into(), offset: FILE_HEAD };
    replication::request_logged(&mut connection, settings, Logged::File(&from)).await?;
    loop {
        let Some(packet) = connection.buffered()? else {
            connection.fill().await?;
            continue;
        };
        let event = match connection.bytes(&packet) {
            [0, event @ ..] => event,
            other => return Err(Connection::error_of(other)),
        };
        let header = Header::parse(event).map_err(unreadable)?;
        if header.kind == kind::FORMAT_DESCRIPTION {
            Format::parse(event).map_err(unreadable)?;
            return Ok(i64::from(header.timestamp));
        }
    }
}

/// The latest moment at which the transaction may have been committed that the event begins.
fn committed_by(header: Header, body: &[u8]) -> std::result::Result<Option<i64>, Malformed> {
    let exact = match header.kind {
        kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => GtidEvent::parse(header.kind, body)?.logged_at_micros,
        kind::DOMAIN_GTID => None,
        _ => return Ok(None),
    };
    let latest = (i64::from(header.timestamp) + 1 + DOUBT_SECONDS) * SECOND - 1;
    Ok(Some(exact.unwrap_or(latest)))
}

fn unreadable(malformed: Malformed) -> Error {
    Error::corrupt("the binlog can't be looked through for the start").caused_by(malformed)
}
