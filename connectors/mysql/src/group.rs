//! The first phase of an XA transaction, read again when the second commits it.
//!
//! It is asked for on a connection of its own, by server id 0: so the server takes it for no replica, ends no other connection of
//! ours for it, and ends the answer with the end of the binlog. Where the first phase begins is known as a rule. The server that we
//! follow still has it at the same place of the same file; another one, after a failover, has it under the same GTID. If its place
//! is not known, because no position ever named it, the binlog is looked through backwards from the second phase on, file by file.

use std::ops::Range;

use tailrace_contract::{Error, Result, SourceSettings};
use tokio::time::timeout;

use crate::{
    binlog::WantedGroup,
    events::{
        CHECKSUM_BYTES, DomainGtidEvent, FLAG_ARTIFICIAL, Format, GtidEvent, HEADER_BYTES, Header, Payload, QueryEvent,
        Rotate, Unpacker, XaPrepare, Xid, has_valid_checksum, kind,
    },
    gtid::{GtidSet, TransactionId},
    history,
    position::{FileOffset, extended_offset},
    prepared::GroupBegin,
    protocol::{Connection, Malformed},
    replication::{self, Logged},
    server::Server,
    statement::{self, Control},
};

/// How much of the binlog is looked through for a first phase whose place is not known.
const SEARCHED_BYTES_MAX: u64 = 4 << 30;

/// The events of one first phase, behind the one that names it.
pub(crate) struct GroupReader {
    walk: Walk,
}

impl GroupReader {
    /// Finds the first phase; `None` if the server does not have it.
    pub(crate) async fn open(settings: &SourceSettings, wanted: &WantedGroup) -> Result<Option<Self>> {
        let mut server = Server::connect(&settings.endpoint).await?;
        let found = match &wanted.begin {
            Some(begin) => Some(begin.clone()),
            None => search(settings, &mut server, wanted).await?,
        };
        let Some(begin) = found else { return Ok(None) };
        let files = history::binlogs(&mut server).await?;
        if files.iter().any(|(name, size)| **name == *begin.at.file && begin.at.offset < *size) {
            let mut walk = Walk::open(settings, Logged::File(&begin.at)).await?;
            if walk.find(|start, id| (start == begin.at.offset).then_some(id == begin.id), begin.at.offset).await? {
                return Ok(Some(Self { walk }));
            }
        }
        let Some(TransactionId::Mysql(gtid)) = begin.id else { return Ok(None) };
        let executed = history::gtid_variable(&mut server, "gtid_executed").await?;
        let purged = history::gtid_variable(&mut server, "gtid_purged").await?;
        if !executed.contains(&gtid) || purged.contains(&gtid) {
            return Ok(None);
        }
        let mut only = GtidSet::new();
        only.add(gtid);
        let mut walk = Walk::open(settings, Logged::Behind(&executed.without(&only))).await?;
        let is_found = walk.find(|_, id| (id == begin.id).then_some(true), 0).await?;
        Ok(is_found.then_some(Self { walk }))
    }

    /// The next event without its checksum, if it was received.
    pub(crate) fn buffered(&mut self) -> Result<Option<(Header, Range<usize>)>> {
        match self.walk.buffered()? {
            Some(Walked::Event { header, event, .. }) => Ok(Some((header, event))),
            Some(Walked::End) => Err(Error::corrupt("the binlog ends inside of an XA transaction's first phase")),
            None => Ok(None),
        }
    }

    pub(crate) fn bytes(&self, event: &Range<usize>) -> &[u8] {
        self.walk.connection.bytes(event)
    }

    /// Receives more.
    pub(crate) async fn fill(&mut self) -> Result<()> {
        self.walk.connection.fill().await
    }
}

/// Looks for the last first phase of that name before the second, from file to file.
async fn search(settings: &SourceSettings, server: &mut Server, wanted: &WantedGroup) -> Result<Option<GroupBegin>> {
    let files = history::binlogs(server).await?;
    let Some(last) = files.iter().position(|(name, _)| **name == *wanted.before.file) else { return Ok(None) };
    tracing::info!(xid = %wanted.xid, "looking through the binlog for an XA transaction that was prepared before capture began");
    let mut searched = 0;
    for (name, size) in files[..=last].iter().rev() {
        let is_last = **name == *wanted.before.file;
        let end = if is_last { wanted.before.offset } else { *size };
        searched += end;
        if searched > SEARCHED_BYTES_MAX && !is_last {
            return Ok(None);
        }
        let from = FileOffset { file: name.as_str().into(), offset: FILE_HEAD };
        let mut walk = Walk::open(settings, Logged::File(&from)).await?;
        if let Some(begin) = walk.search(&wanted.xid, end).await? {
            return Ok(Some(begin));
        }
    }
    Ok(None)
}

/// The first event of a file.
const FILE_HEAD: u64 = 4;

/// Goes through what is in the binlog.
pub(crate) struct Walk {
    connection: Connection,
    silence_max: std::time::Duration,
    /// Until the format says so they have: the server makes what comes before it as it was asked to.
    has_checksums: bool,
    file: String,
    /// Where the next event begins.
    offset: u64,
}

pub(crate) enum Walked {
    /// An event of the file, without its checksum, where it begins, and its checksum, or that of its bytes if it has none.
    Event {
        header: Header,
        event: Range<usize>,
        start: u64,
        checksum: u32,
    },
    End,
}

/// What a search knows of the transaction in which it is.
#[derive(Default)]
struct Passed {
    begin: Option<GroupBegin>,
    found: Option<GroupBegin>,
}

impl Walk {
    async fn open(settings: &SourceSettings, logged: Logged<'_>) -> Result<Self> {
        Self::on(Connection::open(&settings.endpoint).await?, settings, logged).await
    }

    /// The same on a connection that serves for nothing else.
    pub(crate) async fn on(mut connection: Connection, settings: &SourceSettings, logged: Logged<'_>) -> Result<Self> {
        /// More than it takes to skip a file.
        const SILENCE: std::time::Duration = std::time::Duration::from_secs(60);
        let offset = replication::request_logged(&mut connection, settings, logged).await?;
        let silence_max = (settings.heartbeat * 3).max(SILENCE);
        Ok(Self { connection, silence_max, has_checksums: true, file: String::new(), offset })
    }

    /// The event's header and body.
    pub(crate) fn bytes(&self, event: &Range<usize>) -> &[u8] {
        self.connection.bytes(event)
    }

    /// The file in which the last event stands.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Behind the last event.
    pub(crate) fn end(&self) -> FileOffset {
        FileOffset { file: self.file.as_str().into(), offset: self.offset }
    }

    pub(crate) async fn next(&mut self) -> Result<Walked> {
        loop {
            if let Some(walked) = self.buffered()? {
                return Ok(walked);
            }
            match timeout(self.silence_max, self.connection.fill()).await {
                Ok(received) => received?,
                Err(_) => return Err(Error::transient("the server was silent, and counts as dead")),
            }
        }
    }

    /// Goes to the event that names a transaction: `is_it` says whether it is the wanted one, or nothing if that is further on.
    /// No event before `from` is asked about.
    async fn find(&mut self, is_it: impl Fn(u64, Option<TransactionId>) -> Option<bool>, from: u64) -> Result<bool> {
        loop {
            let Walked::Event { header, event, start, .. } = self.next().await? else { return Ok(false) };
            let Some(id) = self.named(header, &event)? else {
                // At the wanted offset nothing but a transaction may begin.
                if from > 0 && start >= from {
                    return Ok(false);
                }
                continue;
            };
            match is_it(start, id) {
                Some(is_it) => return Ok(is_it),
                None if from > 0 && start > from => return Ok(false),
                None => {}
            }
        }
    }

    /// Looks through the rest of the file up to `end`.
    async fn search(&mut self, xid: &Xid, end: u64) -> Result<Option<GroupBegin>> {
        let mut passed = Passed::default();
        let mut unpacker = Unpacker::default();
        let mut file = None;
        loop {
            let Walked::Event { header, event, start, .. } = self.next().await? else { return Ok(passed.found) };
            if start >= end || *file.get_or_insert_with(|| self.file.clone()) != self.file {
                return Ok(passed.found);
            }
            if let Some(id) = self.named(header, &event)? {
                let at = FileOffset { file: self.file.as_str().into(), offset: start };
                passed.begin = Some(GroupBegin { at, id });
                continue;
            }
            let body = &self.connection.bytes(&event)[HEADER_BYTES..];
            let looked = if header.kind == kind::TRANSACTION_PAYLOAD {
                passed.look_inside(body, &mut unpacker, xid)
            } else {
                passed.look(header.kind, body, xid)
            };
            looked.map_err(unreadable)?;
        }
    }

    /// The name of the transaction that the event begins; the inner `None` where the server gives no names.
    fn named(&self, header: Header, event: &Range<usize>) -> Result<Option<Option<TransactionId>>> {
        let body = &self.connection.bytes(event)[HEADER_BYTES..];
        match header.kind {
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED => {
                let event = GtidEvent::parse(header.kind, body).map_err(unreadable)?;
                Ok(Some(event.gtid.map(TransactionId::Mysql)))
            }
            kind::DOMAIN_GTID => {
                let event = DomainGtidEvent::parse(header.server_id, body).map_err(unreadable)?;
                Ok(Some(Some(TransactionId::Mariadb(event.gtid))))
            }
            _ => Ok(None),
        }
    }

    /// The next event of a file or the end, if it was received.
    fn buffered(&mut self) -> Result<Option<Walked>> {
        loop {
            let Some(packet) = self.connection.buffered()? else { return Ok(None) };
            match self.connection.bytes(&packet).first() {
                Some(0) => {}
                Some(0xfe) => return Ok(Some(Walked::End)),
                _ => return Err(Connection::error_of(self.connection.bytes(&packet))),
            }
            if let Some(walked) = self.take(packet.start + 1..packet.end).map_err(unreadable)? {
                return Ok(Some(walked));
            }
        }
    }

    /// An event as it came; nothing of those that are in no file.
    fn take(&mut self, event: Range<usize>) -> std::result::Result<Option<Walked>, Malformed> {
        let bytes = self.connection.bytes(&event);
        let header = Header::parse(bytes)?;
        if header.kind == kind::FORMAT_DESCRIPTION {
            self.has_checksums = Format::parse(bytes)?.has_checksums;
        } else if self.has_checksums && !has_valid_checksum(bytes) {
            return Err(Malformed::new("event: its checksum is wrong"));
        }
        if header.kind == kind::ROTATE {
            let end = bytes.len() - usize::from(self.has_checksums) * CHECKSUM_BYTES;
            let rotate = Rotate::parse(bytes.get(HEADER_BYTES..end).unwrap_or_default())?;
            if header.flags & FLAG_ARTIFICIAL != 0 || header.end == 0 {
                (self.file, self.offset) = (rotate.file.to_owned(), rotate.offset);
            }
            return Ok(None);
        }
        let end = event.end - if self.has_checksums { CHECKSUM_BYTES } else { 0 };
        if end < event.start + HEADER_BYTES {
            return Err(Malformed::new("event: it is too short"));
        }
        let is_elsewhere = header.flags & FLAG_ARTIFICIAL != 0
            || matches!(header.kind, kind::HEARTBEAT | kind::HEARTBEAT_V2)
            || header.kind == kind::FORMAT_DESCRIPTION && (header.end == 0 || self.offset != FILE_HEAD);
        if is_elsewhere {
            return Ok(None);
        }
        let checksum = match bytes.last_chunk::<CHECKSUM_BYTES>() {
            Some(last) if self.has_checksums => u32::from_le_bytes(*last),
            Some(_) | None => crc32fast::hash(bytes),
        };
        let size = u64::from(header.size);
        let behind = match header.end {
            0 => self.offset + size,
            low => extended_offset(low, self.offset + size),
        };
        self.offset = behind;
        Ok(Some(Walked::Event { header, event: event.start..end, start: behind - size, checksum }))
    }
}

impl Passed {
    fn look_inside(&mut self, body: &[u8], unpacker: &mut Unpacker, xid: &Xid) -> std::result::Result<(), Malformed> {
        let payload = Payload::parse(body)?;
        unpacker.begin(&payload);
        while let Some(event) = unpacker.next(&body[payload.packed_at..])? {
            let header = Header::parse(event)?;
            self.look(header.kind, &event[HEADER_BYTES..], xid)?;
        }
        Ok(())
    }

    /// Remembers the first phase that ends, and forgets it with its second: names are used again.
    fn look(&mut self, kind: u8, body: &[u8], xid: &Xid) -> std::result::Result<(), Malformed> {
        match kind {
            kind::XA_PREPARE => {
                let prepare = XaPrepare::parse(body)?;
                if prepare.xid == *xid && !prepare.is_one_phase {
                    self.found.clone_from(&self.begin);
                }
            }
            kind::QUERY => {
                let query = QueryEvent::parse(body)?;
                let ends = query.text.starts_with(b"XA ")
                    && matches!(statement::control(&query), Control::XaCommit | Control::XaRollback);
                if ends && Xid::parse_statement(query.text)? == *xid {
                    self.found = None;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn unreadable(malformed: Malformed) -> Error {
    Error::corrupt("the binlog can't be read again for an XA transaction").caused_by(malformed)
}
