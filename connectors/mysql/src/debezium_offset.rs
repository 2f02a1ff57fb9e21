//! Where a connector of Debezium stopped, as a position of ours.
//!
//! Seen of Debezium 3.3.1: `gtids` is what was complete before the transaction in progress; `file` and `pos` say where that one's
//! BEGIN stands, which is behind the event that names it; `event` and `row` say how much of it was sent. Behind the end of a
//! transaction `pos` is that end, and the last two are missing; but the offset is stored with a record, and so nearly
//! always from inside of a transaction that was sent to its end. A transaction is read again from its begin: rows that the target has
//! already are written once more, with what they hold at its end.

use serde::Deserialize;
use serde_json::Value;
use tailrace_contract::{Error, Result, SourceSettings};

use crate::{
    events::{DomainGtidEvent, HEADER_BYTES, kind},
    group::{Walk, Walked},
    gtid::{DomainGtid, GtidList, GtidSet},
    history::{self, domains},
    position::{BinlogPosition, FileOffset},
    protocol::Connection,
    replication::Logged,
    server::Server,
};

/// The first event of a file.
const FILE_HEAD: u64 = 4;

/// What the offset says that matters; the rest is of the connector's own.
#[derive(Debug, Deserialize)]
struct Offset {
    file: Option<String>,
    pos: Option<u64>,
    gtids: Option<String>,
    #[serde(default)]
    event: u64,
    #[serde(default)]
    row: u64,
    snapshot: Option<Value>,
    snapshot_completed: Option<Value>,
    incremental_snapshot_collections: Option<Value>,
}

/// The position at which the transaction begins that comes next, or that was sent in part.
pub(crate) async fn position(server: &mut Server, settings: &SourceSettings, text: &str) -> Result<BinlogPosition> {
    if !server.facts.has_binlog {
        return Err(crate::server::no_binlog());
    }
    let offset: Offset = serde_json::from_str(text).map_err(|error| unreadable().caused_by(error))?;
    refuse_snapshots(&offset)?;
    let place = match (&offset.file, offset.pos) {
        (Some(file), Some(pos)) => FileOffset::parse(&format!("{file}:{pos}")),
        (Some(_) | None, _) => None,
    };
    let gtids = offset.gtids.as_deref().map(str::trim).filter(|gtids| !gtids.is_empty());
    match gtids {
        Some(gtids) if server.facts.is_mariadb() => {
            let list: GtidList = gtids.parse().map_err(|error| unreadable().caused_by(error))?;
            let is_inside = offset.event > 0 || offset.row > 0;
            let list = match place {
                Some(at) if is_inside => before_last(server, settings, list, &at).await?,
                Some(_) | None => list,
            };
            Ok(BinlogPosition::Domains { list, seen_at: None })
        }
        Some(gtids) if server.facts.gives_gtids() => {
            let set: GtidSet = gtids.parse().map_err(|error| unreadable().caused_by(error))?;
            Ok(BinlogPosition::Gtids { set, seen_at: None })
        }
        None if server.facts.is_mariadb() || server.facts.gives_gtids() => Err(no_gtids(place.is_some())),
        Some(_) | None => {
            let (begin, _) = enclosing(server, settings, &place.ok_or_else(unreadable)?).await?;
            Ok(BinlogPosition::File { at: begin, begun: None })
        }
    }
}

/// File and offset alone name another place after a failover, and nothing would show it.
fn no_gtids(has_place: bool) -> Error {
    if !has_place {
        return unreadable();
    }
    Error::refused("the offset has no GTIDs, and the server gives them").hint(
        "let Debezium go on until its offset has them (it needs a transaction that it captures), then import that one",
    )
}

fn unreadable() -> Error {
    Error::refused("this is no offset of Debezium's connector for MySQL or MariaDB")
        .hint("it says at least `file` and `pos`, or `gtids`: see `tailrace import-offset --help`")
}

/// What a snapshot has not copied yet nobody would copy any more.
fn refuse_snapshots(offset: &Offset) -> Result<()> {
    let is_set = |value: &Option<Value>| match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !matches!(text.to_lowercase().as_str(), "" | "false" | "[]"),
        Some(_) => true,
    };
    if is_set(&offset.snapshot) && !is_set(&offset.snapshot_completed) {
        return Err(Error::refused("Debezium's snapshot has not ended: `snapshot` stands in its offset").hint(
            "let the connector go on until it streams, and until it has captured one transaction more; then import its offset",
        ));
    }
    if is_set(&offset.incremental_snapshot_collections) {
        return Err(Error::refused("Debezium's incremental snapshot has not ended: its tables stand in its offset")
            .hint("let it end, or stop it by its signal; then import the offset"));
    }
    Ok(())
}

/// The list without the transaction in progress, should it name that one already.
async fn before_last(
    server: &mut Server,
    settings: &SourceSettings,
    list: GtidList,
    at: &FileOffset,
) -> Result<GtidList> {
    if !history::binlogs(server).await?.iter().any(|(name, size)| **name == *at.file && at.offset <= *size) {
        return Ok(list);
    }
    let (begin, id) = enclosing(server, settings, at).await?;
    let is_last = id.is_some_and(|id| list.iter().any(|last| last == id));
    if is_last { domains::list_at(server, &begin).await } else { Ok(list) }
}

/// Where the transaction begins in which a place lies, and its name if the server is MariaDB; between two transactions the place itself.
async fn enclosing(
    server: &mut Server,
    settings: &SourceSettings,
    at: &FileOffset,
) -> Result<(FileOffset, Option<DomainGtid>)> {
    history::check_file(server, at).await?;
    let from = FileOffset { offset: FILE_HEAD, ..at.clone() };
    let mut walk = Walk::on(Connection::open(&settings.endpoint).await?, settings, Logged::File(&from)).await?;
    let mut open = None;
    loop {
        let (header, event, start) = match walk.next().await? {
            Walked::Event { header, event, start, .. } if walk.file() == &*at.file => (header, event, start),
            Walked::Event { .. } | Walked::End => return Ok((at.clone(), None)),
        };
        let is_begin = matches!(header.kind, kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::DOMAIN_GTID);
        let is_between =
            is_begin || matches!(header.kind, kind::STOP | kind::PREVIOUS_GTIDS | kind::FORMAT_DESCRIPTION);
        if start >= at.offset {
            // At the event behind a transaction's end the place is between two.
            let place = if start == at.offset && is_between { None } else { open };
            return Ok(place.unwrap_or((at.clone(), None)));
        }
        if is_begin {
            let body = &walk.bytes(&event)[HEADER_BYTES..];
            let id = (header.kind == kind::DOMAIN_GTID).then(|| DomainGtidEvent::parse(header.server_id, body));
            let id = id.transpose().map_err(|malformed| {
                Error::corrupt("the binlog can't be looked through for the offset").caused_by(malformed)
            })?;
            open = Some((FileOffset { offset: start, ..at.clone() }, id.map(|event| event.gtid)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> std::result::Result<(), String> {
        let offset: Offset = serde_json::from_str(text).map_err(|error| error.to_string())?;
        refuse_snapshots(&offset).map_err(|error| error.to_string())
    }

    #[test]
    fn snapshots_that_have_not_ended_are_refused_by_name() {
        for good in [
            // As Debezium 3.3.1 stored them: behind a transaction's end, and inside of one.
            r#"{"ts_sec":1795429190,"file":"binlog.000011","pos":59680146,"gtids":"67c52c08-e71d-11f1-ade2-02fc00000001:1-215242"}"#,
            r#"{"ts_sec":1795429349,"file":"binlog.000011","pos":59680521,"gtids":"67c52c08-e71d-11f1-ade2-02fc00000001:1-215243","row":3,"server_id":1,"event":2}"#,
            r#"{"file":"b.1","pos":4,"snapshot":"INITIAL","snapshot_completed":true}"#,
            r#"{"file":"b.1","pos":4,"snapshot":"false","transaction_id":null}"#,
            r#"{"file":"b.1","pos":4,"incremental_snapshot_collections":"[]"}"#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, word) in [
            (r#"{"file":"b.1","pos":4,"snapshot":"INITIAL","snapshot_completed":false}"#, "snapshot has not ended"),
            (r#"{"file":"b.1","pos":4,"snapshot":true}"#, "snapshot has not ended"),
            (r#"{"file":"b.1","pos":4,"snapshot":"last"}"#, "snapshot has not ended"),
            (r#"{"file":"b.1","pos":4,"incremental_snapshot_collections":"[{\"id\":\"d.t\"}]"}"#, "incremental"),
        ] {
            assert!(check(bad).unwrap_err().contains(word), "{bad}");
        }
    }
}
