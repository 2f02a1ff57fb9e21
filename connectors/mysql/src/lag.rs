//! How far the server is ahead of a position: transactions by GTID sets, bytes by the sizes of the binlog's files.
//!
//! A GTID set says nothing of files. The file and offset beside it are those of the server that the position was taken from,
//! and another server may have a file of the same name. So bytes are told only if the file's own GTID sets (what was executed
//! before it, and before the one after it) enclose the position.

use tailrace_contract::{Error, Position, Result, SourceState};

use crate::{
    binlog::source_place,
    gtid::GtidSet,
    history,
    position::{BinlogPosition, FileOffset},
    server::Server,
};

/// What the server is and has executed, and how much of it lies behind the position.
pub(crate) async fn state(server: &mut Server, from: Option<&Position>) -> Result<SourceState> {
    if !server.facts.has_binlog {
        return Err(crate::server::no_binlog());
    }
    let from = from.map(BinlogPosition::parse).transpose()?;
    if let Some(from) = &from {
        history::check(server, from).await.map_err(|error| error.at(from.to_position()))?;
    }
    if server.facts.is_mariadb() {
        return state_of_mariadb(server, from).await;
    }
    let executed = match server.facts.gives_gtids() {
        true => Some(history::gtid_variable(server, "gtid_executed").await?),
        false => None,
    };
    let status = server.binlog_end().await?;
    let end = FileOffset { file: status.text(0).into(), offset: status.number(1)? };
    let (transactions_behind, bytes_behind) = match (&from, &executed) {
        (None | Some(BinlogPosition::Domains { .. }), _) => (None, None),
        (Some(BinlogPosition::File { at, .. }), _) => (None, bytes_behind(server, at).await?),
        (Some(BinlogPosition::Gtids { set, seen_at }), executed) => {
            let transactions = executed.as_ref().map(|executed| executed.without(set).count());
            let bytes = match (transactions, seen_at) {
                // What lies behind is no transaction: the beginnings and ends of files.
                (Some(0), _) => Some(0),
                (_, Some(at)) if encloses(server, at, set).await? => bytes_behind(server, at).await?,
                (_, Some(_) | None) => None,
            };
            (transactions, bytes)
        }
    };
    let place = source_place(&server.facts.name, &end);
    let end = match executed {
        Some(set) => BinlogPosition::Gtids { set, seen_at: Some(end) },
        None => BinlogPosition::File { at: end, begun: None },
    };
    let server = server.connection.version().to_string();
    Ok(SourceState { server, end: end.to_position(), place, bytes_behind, transactions_behind })
}

/// The same of MariaDB: what was logged before a place its server tells exactly. Its numbers count transactions as long as nobody
/// sets them by hand.
async fn state_of_mariadb(server: &mut Server, from: Option<BinlogPosition>) -> Result<SourceState> {
    let logged = history::domains::logged(server).await?;
    let status = server.binlog_end().await?;
    let end = FileOffset { file: status.text(0).into(), offset: status.number(1)? };
    let (transactions_behind, bytes_behind) = match from {
        Some(BinlogPosition::Domains { list, .. }) if list == logged => (Some(0), Some(0)),
        Some(BinlogPosition::Domains { list, seen_at }) => {
            let bytes = match seen_at {
                Some(at) if history::domains::encloses(server, &at, &list).await? => bytes_behind(server, &at).await?,
                Some(_) | None => None,
            };
            (Some(logged.count_since(&list)), bytes)
        }
        Some(BinlogPosition::Gtids { .. } | BinlogPosition::File { .. }) | None => (None, None),
    };
    let place = source_place(&server.facts.name, &end);
    let end = BinlogPosition::Domains { list: logged, seen_at: Some(end) }.to_position();
    let server = server.connection.version().to_string();
    Ok(SourceState { server, end, place, bytes_behind, transactions_behind })
}

/// From a place to the end of the newest file; none if the server has no such file.
async fn bytes_behind(server: &mut Server, at: &FileOffset) -> Result<Option<u64>> {
    let logs = history::binlogs(server).await?;
    let Some(place) = logs.iter().position(|(name, _)| **name == *at.file) else { return Ok(None) };
    let from_file: u64 = logs[place..].iter().map(|(_, size)| size).sum();
    Ok(from_file.checked_sub(at.offset))
}

/// Whether the position lies in the file that it names, as this server wrote it.
async fn encloses(server: &mut Server, at: &FileOffset, set: &GtidSet) -> Result<bool> {
    let logs = history::binlogs(server).await?;
    let Some(place) = logs.iter().position(|(name, _)| **name == *at.file) else { return Ok(false) };
    if !previous_gtids(server, &at.file).await?.is_some_and(|before| before.without(set).is_empty()) {
        return Ok(false);
    }
    let Some((next, _)) = logs.get(place + 1) else { return Ok(true) };
    Ok(previous_gtids(server, next).await?.is_some_and(|after| set.without(&after).is_empty()))
}

/// What was executed before the file was begun; none if it does not say so in its first events.
async fn previous_gtids(server: &mut Server, file: &str) -> Result<Option<GtidSet>> {
    const EVENT_TYPE: usize = 2;
    const TEXT: usize = 5;
    // The statement takes nothing but a plain literal.
    if file.contains(['\'', '\\']) {
        return Ok(None);
    }
    let events = server.connection.query(&format!("SHOW BINLOG EVENTS IN '{file}' LIMIT 3")).await?;
    let Some(event) = events.iter().find(|event| event.text(EVENT_TYPE) == "Previous_gtids") else { return Ok(None) };
    let set = event.text(TEXT).parse();
    set.map(Some).map_err(|error| Error::corrupt(format!("can't read the GTIDs before {file}")).caused_by(error))
}
