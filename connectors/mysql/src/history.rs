//! Positions and the server's history: where to begin, and whether what we have is what the server had.
//!
//! A position is good if the server still has everything behind it and once had everything before it. The second half
//! matters after a restore or a failover: a server that never had our last transactions would give the same numbers to
//! others, and we would take them for ours.

pub(crate) mod alterations;
pub(crate) mod domains;
mod since;

use tailrace_contract::{Error, Result, SourceSettings, StartAt};

use crate::{
    events::{self, FLAG_ARTIFICIAL, Format, GtidEvent, HEADER_BYTES, Header, kind},
    gtid::{Gtid, GtidSet},
    position::{self, BinlogPosition, FileOffset},
    protocol::{Connection, Malformed},
    replication,
    server::Server,
};

/// The position that a start means now.
pub(crate) async fn start(server: &mut Server, settings: &SourceSettings, start: &StartAt) -> Result<BinlogPosition> {
    if !server.facts.has_binlog {
        return Err(crate::server::no_binlog());
    }
    if server.facts.is_mariadb() {
        return domains::start(server, settings, start).await;
    }
    match start {
        StartAt::Now if server.facts.gives_gtids() => Ok(by_gtid(gtid_variable(server, "gtid_executed").await?)),
        StartAt::Now => {
            let end = server.binlog_end().await?;
            Ok(by_file(FileOffset { file: end.text(0).into(), offset: end.number(1)? }))
        }
        StartAt::Earliest if server.facts.gives_gtids() => Ok(by_gtid(gtid_variable(server, "gtid_purged").await?)),
        StartAt::Earliest => {
            let logs = binlogs(server).await?;
            let (first, _) = logs.into_iter().next().ok_or_else(crate::server::no_binlog)?;
            Ok(by_file(FileOffset { file: first.into(), offset: 4 }))
        }
        StartAt::At(text) => match position::parse_start(text)? {
            BinlogPosition::File { at, .. } => start_at(server, settings, at).await,
            BinlogPosition::Domains { .. } => Err(other_kind("MariaDB", "MySQL")),
            position @ BinlogPosition::Gtids { .. } => Ok(position),
        },
        StartAt::Since(micros) => {
            let at = since::find(server, settings, *micros).await?;
            start_at(server, settings, at).await
        }
    }
}

/// The position of a place where a transaction begins.
async fn start_at(server: &mut Server, settings: &SourceSettings, at: FileOffset) -> Result<BinlogPosition> {
    if server.facts.gives_gtids() { Ok(by_gtid(gtids_before(server, settings, &at).await?)) } else { Ok(by_file(at)) }
}

/// Whether the server can go on from the position.
pub(crate) async fn check(server: &mut Server, position: &BinlogPosition) -> Result<()> {
    match (position, server.facts.is_mariadb()) {
        (BinlogPosition::Gtids { set, .. }, false) => check_gtids(server, set).await,
        (BinlogPosition::File { at, .. }, false) => check_file(server, at).await,
        (BinlogPosition::Domains { list, .. }, true) => domains::check(server, list).await,
        (BinlogPosition::Domains { .. }, false) => Err(other_kind("MariaDB", "MySQL")),
        (BinlogPosition::Gtids { .. } | BinlogPosition::File { .. }, true) => Err(other_kind("MySQL", "MariaDB")),
    }
}

/// GTIDs of one kind of server mean nothing to the other.
fn other_kind(position: &str, server: &str) -> Error {
    Error::refused(format!("the position is one of {position}, and the server is {server}"))
        .hint("go back to the server that was captured, or start anew and copy the tables again")
}

async fn check_gtids(server: &mut Server, set: &GtidSet) -> Result<()> {
    if !server.facts.gives_gtids() {
        return Err(Error::refused(format!("gtid_mode is {}, and the position is a GTID set", server.facts.gtid_mode))
            .hint("set gtid_mode back to ON, or start anew by file and offset"));
    }
    let purged = gtid_variable(server, "gtid_purged").await?.without(set);
    if !purged.is_empty() {
        return Err(Error::position_lost(format!("the server has purged transactions that come next: {}", shown(&purged)))
            .hint("restore the purged binlog files, or start anew and copy the tables again; keep binlogs longer (binlog_expire_logs_seconds)"));
    }
    let missing = never_had(server, set).await?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::position_lost(format!("the server never had transactions that we captured: {}", shown(&missing))).hint(
        "another server answers, or it was restored from a backup: go back to the old one, or start anew and copy the tables again",
    ))
}

/// What of the set is neither executed nor about to be. What the server has sent may not count as executed yet: it is in the binlog, and
/// its commit is still being finished. Such transactions are owned by a session; one that ends in between is found by looking again.
pub(crate) async fn never_had(server: &mut Server, set: &GtidSet) -> Result<GtidSet> {
    let missing = set.without(&gtid_variable(server, "gtid_executed").await?);
    if missing.is_empty() {
        return Ok(missing);
    }
    let owned = owned_gtids(server).await?;
    Ok(missing.without(&owned).without(&gtid_variable(server, "gtid_executed").await?))
}

pub(crate) async fn check_file(server: &mut Server, at: &FileOffset) -> Result<()> {
    let logs = binlogs(server).await?;
    let Some((_, size)) = logs.iter().find(|(name, _)| **name == *at.file) else {
        let oldest = logs.first().map_or("none", |(name, _)| name);
        return Err(Error::position_lost(format!("the server no longer has {}; its oldest file is {oldest}", at.file))
            .hint("start anew and copy the tables again; keep binlogs longer (binlog_expire_logs_seconds)"));
    };
    if at.offset > *size {
        return Err(Error::position_lost(format!("{} ends at {size}, before our position", at.file))
            .hint("the server's binlog was reset, restored or cut by a crash: start anew and copy the tables again"));
    }
    Ok(())
}

fn by_gtid(set: GtidSet) -> BinlogPosition {
    BinlogPosition::Gtids { set, seen_at: None }
}

fn by_file(at: FileOffset) -> BinlogPosition {
    BinlogPosition::File { at, begun: None }
}

pub(crate) async fn gtid_variable(server: &mut Server, name: &str) -> Result<GtidSet> {
    let row = server.connection.query_row(&format!("SELECT @@GLOBAL.{name}")).await?;
    row.text(0).parse().map_err(|error| Error::corrupt(format!("can't read the server's {name}")).caused_by(error))
}

/// Transactions in the act of committing, told as `uuid:number#session,…`.
pub(crate) async fn owned_gtids(server: &mut Server) -> Result<GtidSet> {
    let row = server.connection.query_row("SELECT @@GLOBAL.gtid_owned").await?;
    let mut plain = String::new();
    let mut is_session = false;
    for char in row.text(0).chars() {
        match char {
            '#' => is_session = true,
            ',' | ':' => is_session = false,
            _ => {}
        }
        if !is_session {
            plain.push(char);
        }
    }
    plain.parse().map_err(|error| Error::corrupt("can't read the server's gtid_owned").caused_by(error))
}

/// Names and sizes, oldest first.
pub(crate) async fn binlogs(server: &mut Server) -> Result<Vec<(String, u64)>> {
    let rows = server.connection.query("SHOW BINARY LOGS").await?;
    rows.iter().map(|row| Ok((row.text(0).to_owned(), row.number(1)?))).collect()
}

/// A set for an error's text; a long one is cut.
pub(crate) fn shown(set: &GtidSet) -> String {
    const SHOWN_MAX: usize = 500;
    let mut text = set.to_string();
    if text.len() > SHOWN_MAX {
        text.truncate(SHOWN_MAX);
        text.push('…');
    }
    text
}

/// What was executed before a place in the binlog: the file says what came before it, the rest is read.
async fn gtids_before(server: &mut Server, settings: &SourceSettings, at: &FileOffset) -> Result<GtidSet> {
    check_file(server, at).await?;
    let mut connection = Connection::open(&settings.endpoint).await?;
    replication::request_to_end(&mut connection, settings, &at.file).await?;
    let mut scan = Scan { wanted: at, offset: 4, has_checksums: None, set: GtidSet::new(), open: None };
    loop {
        let Some(packet) = connection.buffered()? else {
            connection.fill().await?;
            continue;
        };
        let bytes = connection.bytes(&packet);
        let is_found = match bytes.first() {
            Some(0) => scan.event(&bytes[1..])?,
            Some(0xff) => return Err(Connection::error_of(bytes)),
            // The end of the binlog.
            _ if scan.offset == at.offset => true,
            _ => return Err(scan.no_boundary()),
        };
        if is_found {
            scan.set.extend(scan.open);
            return Ok(scan.set);
        }
    }
}

/// Gathers the transactions of a file up to an offset.
struct Scan<'a> {
    wanted: &'a FileOffset,
    offset: u64,
    has_checksums: Option<bool>,
    set: GtidSet,
    /// The transaction whose end is not reached.
    open: Option<Gtid>,
}

impl Scan<'_> {
    /// Takes the next event; tells whether the wanted place lies before it.
    fn event(&mut self, event: &[u8]) -> Result<bool> {
        let corrupt =
            |malformed: Malformed| Error::corrupt("the binlog can't be read").at(self.wanted).caused_by(malformed);
        let header = Header::parse(event).map_err(corrupt)?;
        if header.flags & FLAG_ARTIFICIAL != 0 || header.end == 0 {
            // The second one leads to the next file.
            return Ok(self.has_checksums.is_some() && self.offset == self.wanted.offset);
        }
        if self.offset >= self.wanted.offset {
            return if self.offset == self.wanted.offset && self.is_boundary(header.kind) {
                Ok(true)
            } else {
                Err(self.no_boundary())
            };
        }
        if header.kind == kind::ROTATE {
            self.offset += u64::from(header.size);
            return if self.offset == self.wanted.offset { Ok(true) } else { Err(self.no_boundary()) };
        }
        if header.kind == kind::FORMAT_DESCRIPTION {
            self.has_checksums = Some(Format::parse(event).map_err(corrupt)?.has_checksums);
        }
        let checksum = if self.has_checksums == Some(true) { events::CHECKSUM_BYTES } else { 0 };
        let body = event.get(HEADER_BYTES..event.len().saturating_sub(checksum)).unwrap_or_default();
        match header.kind {
            kind::PREVIOUS_GTIDS => self.set = GtidSet::decode(body).map_err(corrupt)?,
            kind::GTID | kind::GTID_TAGGED => {
                self.set.extend(self.open.take());
                self.open = GtidEvent::parse(header.kind, body).map_err(corrupt)?.gtid;
            }
            kind::ANONYMOUS_GTID => {
                return Err(Error::refused("there are transactions without GTID before the start position")
                    .at(self.wanted)
                    .hint("start at a GTID set"));
            }
            _ => {}
        }
        self.offset += u64::from(header.size);
        Ok(false)
    }

    /// Whether a transaction can't be in progress before an event of this kind.
    fn is_boundary(&self, kind: u8) -> bool {
        matches!(
            kind,
            kind::GTID | kind::GTID_TAGGED | kind::ANONYMOUS_GTID | kind::ROTATE | kind::STOP | kind::PREVIOUS_GTIDS
        ) || self.open.is_none()
    }

    fn no_boundary(&self) -> Error {
        Error::refused("no transaction begins at the start position")
            .at(self.wanted)
            .hint(format!("SHOW BINLOG EVENTS IN '{}' lists them: take the Pos of a Gtid event", self.wanted.file))
    }
}
