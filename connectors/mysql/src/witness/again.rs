//! The last transactions, read again before anything behind them is.
//!
//! On connections of their own, by server id 0, which end no replica's. Behind an address may stand several servers: each
//! connection must be to the one that was asked first.

use std::fmt::Write as _;

use tailrace_contract::{Error, ErrorKind, Result, SourceSettings};
use tailrace_row::DateTime;

use super::{Gazer, Looks, Seen, Witness, is_begin, is_of_one_origin, unreadable_again, was_not_restarted};
use crate::{
    errors,
    events::{DomainGtidEvent, GtidEvent, HEADER_BYTES, Header, kind},
    group::{Walk, Walked},
    gtid::{DomainGtid, GtidSet, TransactionId},
    history::{self, domains},
    position::{BinlogPosition, FileOffset},
    protocol::{Connection, Malformed},
    replication::Logged,
    server::Server,
};

/// The first event of a file.
const FILE_HEAD: u64 = 4;

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// The same, at the same place of the same file: so is everything before it.
    InPlace,
    /// The same, somewhere else.
    ByName,
    /// Another one has its name, or its place, committed at that time.
    Other { committed_at_micros: i64 },
    /// Nowhere.
    Missing,
    /// The server has had it, or another one of that name, and no longer has the file.
    Purged,
    /// The server does not send it as long as `gtid_mode` is what it is now.
    Unsent,
}

/// Refuses a server whose binlog does not have the last transactions before the position as they were.
pub(crate) async fn check(
    server: &mut Server,
    settings: &SourceSettings,
    position: &BinlogPosition,
    witness: &Witness,
) -> Result<()> {
    if witness.seen.is_empty() {
        return Ok(());
    }
    let look = Look { settings, identity: server.facts.identity.clone(), witness };
    let mut found = look.in_place(server, position).await?;
    // By file and offset there is no other place.
    if !matches!(position, BinlogPosition::File { .. }) {
        look.by_name(server, &mut found).await?;
    }
    let is_same_run =
        *witness.server == *server.facts.identity && was_not_restarted(witness.started, server.started().await?);
    let lost: Vec<(&Seen, &Found)> = witness
        .seen
        .iter()
        .zip(&found)
        .enumerate()
        .filter(|(at, (_, one))| match one {
            Found::InPlace | Found::ByName => false,
            Found::Other { .. } | Found::Missing => true,
            Found::Purged | Found::Unsent => !is_same_run && !is_proven_by_later(&witness.seen, &found, *at, position),
        })
        .map(|(_, lost)| lost)
        .collect();
    if lost.is_empty() { Ok(()) } else { Err(refuse(&lost)) }
}

/// Whether a transaction that can't be read again is there because a later one is.
fn is_proven_by_later(seen: &[Seen], found: &[Found], at: usize, position: &BinlogPosition) -> bool {
    let later = seen.iter().zip(found).skip(at + 1);
    let is_proven = |(one, found): (&Seen, &Found)| match found {
        Found::InPlace => true,
        Found::ByName => is_of_one_origin(one, &seen[at]),
        Found::Other { .. } | Found::Missing | Found::Purged | Found::Unsent => false,
    };
    // The file behind it was begun in the second that the position names: the stream makes sure of that.
    let is_in_later_file =
        matches!(position, BinlogPosition::File { at: here, begun: Some(_) } if here.file != seen[at].at.file);
    later.into_iter().any(is_proven) || is_in_later_file
}

fn refuse(lost: &[(&Seen, &Found)]) -> Error {
    let mut list = String::new();
    for (number, (Seen { id, at, committed_at_micros, .. }, found)) in lost.iter().enumerate() {
        list.push_str(if number > 0 { "; " } else { "" });
        let name = id.map_or_else(|| at.to_string(), |id| format!("{id} ({at})"));
        let ours = Moment(*committed_at_micros);
        let told = match found {
            Found::Other { committed_at_micros } if committed_at_micros != &ours.0 => {
                write!(list, "{name}, committed at {ours}, is one committed at {} there", Moment(*committed_at_micros))
            }
            Found::Other { .. } => write!(list, "{name}, committed at {ours}, is another one there"),
            Found::Purged => write!(list, "{name}, committed at {ours}, is purged and can't be compared"),
            Found::Unsent => {
                write!(list, "{name}, committed at {ours}, can't be compared, because gtid_mode was changed")
            }
            Found::Missing | Found::InPlace | Found::ByName => {
                write!(list, "{name}, committed at {ours}, is not there")
            }
        };
        told.expect("invariant: writing to a String can't fail");
    }
    Error::position_lost(format!("the server's history is not the one that was captured: {list}")).hint(
        "its machine crashed and took transactions back (sync_binlog was not 1), it was reset, or restored from a backup: go back to a \
         server that has them, or start anew and copy the tables again; docs/operations.md says what to do if you know that the \
         history is the same",
    )
}

/// Microseconds since 1970.
struct Moment(i64);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(DateTime { date, hour, minute, second, micros }) = DateTime::from_micros_since_epoch(self.0) else {
            return write!(f, "{} µs since 1970", self.0);
        };
        write!(f, "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z", date.year, date.month, date.day)
    }
}

struct Look<'a> {
    settings: &'a SourceSettings,
    identity: String,
    witness: &'a Witness,
}

impl Look<'_> {
    /// Looks at the places where they were. Only the server that had them there, or a copy of it, has them there again.
    async fn in_place(&self, server: &mut Server, position: &BinlogPosition) -> Result<Vec<Found>> {
        let is_by_place = matches!(position, BinlogPosition::File { .. });
        let files = history::binlogs(server).await?;
        let mut found = Vec::new();
        for seen in &self.witness.seen {
            let file = files.iter().find(|(name, _)| **name == *seen.at.file);
            found.push(match file {
                _ if !is_by_place && *self.witness.server != *self.identity => Found::Missing,
                Some((_, size)) if seen.at.offset < *size => self.look_at(seen).await?,
                Some(_) => Found::Missing,
                None => Found::Purged,
            });
        }
        Ok(found)
    }

    async fn look_at(&self, seen: &Seen) -> Result<Found> {
        match self.read_at(seen).await {
            Err(error) if errors::is_of_other_gtid_mode(&error) => Ok(Found::Unsent),
            // At a place where no event begins the server takes bytes for one that are none.
            Err(error) if !matches!(error.kind(), ErrorKind::Transient | ErrorKind::Fenced) => Ok(Found::Missing),
            answer => answer,
        }
    }

    async fn read_at(&self, seen: &Seen) -> Result<Found> {
        let walk = Walk::on(self.connect().await?, self.settings, Logged::File(&seen.at)).await?;
        let mut transactions = Transactions::new(walk);
        while let Some(one) = transactions.next().await? {
            if one.at.offset < seen.at.offset {
                continue;
            }
            let is_same = one.at == seen.at && one.id == seen.id && one.looks == seen.looks;
            let committed_at_micros = one.committed_at_micros;
            return Ok(if is_same { Found::InPlace } else { Found::Other { committed_at_micros } });
        }
        Ok(Found::Missing)
    }

    /// Looks for those with names that are not where they were.
    async fn by_name(&self, server: &mut Server, found: &mut [Found]) -> Result<()> {
        let is_sought = |(at, seen): (usize, &Seen)| (found[at] != Found::InPlace).then_some(seen.id).flatten();
        let sought: Vec<TransactionId> = self.witness.seen.iter().enumerate().filter_map(is_sought).collect();
        let numbers = sought.iter().filter_map(|id| match id {
            TransactionId::Mysql(gtid) => Some(*gtid),
            TransactionId::Mariadb(_) => None,
        });
        let (mut of_mysql, mut of_mariadb) = (GtidSet::new(), Vec::new());
        of_mysql.extend(numbers);
        of_mariadb.extend(sought.iter().filter_map(|id| match id {
            TransactionId::Mariadb(gtid) => Some(*gtid),
            TransactionId::Mysql(_) => None,
        }));
        let walk = if !of_mysql.is_empty() {
            self.walk_set(server, &of_mysql, found).await?
        } else if !of_mariadb.is_empty() {
            self.walk_files(server, &of_mariadb, found).await?
        } else {
            return Ok(());
        };
        match walk {
            Some(walk) => self.compare(Transactions::new(walk), found).await,
            None => Ok(()),
        }
    }

    /// Asks for exactly those that the server has executed and not purged.
    async fn walk_set(&self, server: &mut Server, sought: &GtidSet, found: &mut [Found]) -> Result<Option<Walk>> {
        let executed = history::gtid_variable(server, "gtid_executed").await?;
        let purged = history::gtid_variable(server, "gtid_purged").await?;
        let mut wanted = GtidSet::new();
        for (seen, found) in self.witness.seen.iter().zip(found) {
            let Some(TransactionId::Mysql(gtid)) = seen.id else { continue };
            if !sought.contains(&gtid) {
                continue;
            }
            *found = if purged.contains(&gtid) { Found::Purged } else { Found::Missing };
            if *found == Found::Missing {
                wanted.add(gtid);
            }
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        let others = executed.without(&wanted);
        Ok(Some(Walk::on(self.connect().await?, self.settings, Logged::Behind(&others)).await?))
    }

    /// Goes through the files from the one on in which the first of them must lie.
    async fn walk_files(
        &self,
        server: &mut Server,
        sought: &[DomainGtid],
        found: &mut [Found],
    ) -> Result<Option<Walk>> {
        let mut left = sought.to_vec();
        let mut from = None;
        for (file, _) in history::binlogs(server).await?.into_iter().rev() {
            if left.is_empty() {
                break;
            }
            let head = FileOffset { file: file.into(), offset: FILE_HEAD };
            let before = domains::list_at(server, &head).await?;
            let is_before = |gtid: &DomainGtid| {
                before.iter().any(|last| last.domain == gtid.domain && last.sequence >= gtid.sequence)
            };
            left.retain(is_before);
            from = Some(head);
        }
        for (seen, found) in self.witness.seen.iter().zip(found) {
            let Some(TransactionId::Mariadb(gtid)) = seen.id else { continue };
            if sought.contains(&gtid) {
                *found = if left.contains(&gtid) { Found::Purged } else { Found::Missing };
            }
        }
        let Some(from) = from.filter(|_| left.len() < sought.len()) else { return Ok(None) };
        Ok(Some(Walk::on(self.connect().await?, self.settings, Logged::File(&from)).await?))
    }

    /// Compares those that come with what they were, by what all servers keep of them.
    async fn compare(&self, mut transactions: Transactions, found: &mut [Found]) -> Result<()> {
        let mut left = found.iter().filter(|found| **found == Found::Missing).count();
        while left > 0 {
            let Some(one) = transactions.next().await? else { return Ok(()) };
            for (seen, found) in self.witness.seen.iter().zip(found.iter_mut()) {
                if seen.id == one.id && *found == Found::Missing {
                    let committed_at_micros = one.committed_at_micros;
                    let is_same = is_same_elsewhere(seen, &one);
                    *found = if is_same { Found::ByName } else { Found::Other { committed_at_micros } };
                    left -= 1;
                }
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<Connection> {
        let Server { connection, facts } = Server::connect(&self.settings.endpoint).await?;
        if facts.identity == self.identity {
            return Ok(connection);
        }
        Err(Error::transient(format!(
            "behind {} stand several servers: {} and {}",
            self.settings.endpoint, self.identity, facts.identity
        )))
    }
}

/// Whether two servers have one transaction.
fn is_same_elsewhere(seen: &Seen, one: &Seen) -> bool {
    let has_same_rows = match (seen.looks.rows, one.looks.rows) {
        (Some(rows), Some(others)) => rows == others,
        (None, _) | (_, None) => true,
    };
    seen.committed_at_micros == one.committed_at_micros && has_same_rows
}

/// The transactions of a walk, each with what it looks like.
struct Transactions {
    walk: Walk,
    /// The one whose events come.
    open: Option<Seen>,
    gazer: Gazer,
    is_ended: bool,
}

impl Transactions {
    fn new(walk: Walk) -> Self {
        Self { walk, open: None, gazer: Gazer::default(), is_ended: false }
    }

    /// The next one. The last of the binlog counts as complete.
    async fn next(&mut self) -> Result<Option<Seen>> {
        while !self.is_ended {
            let (header, event, start, checksum) = match self.walk.next().await? {
                Walked::End => {
                    self.is_ended = true;
                    return Ok(self.close());
                }
                Walked::Event { header, event, start, checksum } => (header, event, start, checksum),
            };
            let is_next = is_begin(header.kind);
            let ended = if is_next || self.gazer.has_enough() { self.close() } else { None };
            let body = &self.walk.bytes(&event)[HEADER_BYTES..];
            self.gazer.take(header, body, checksum);
            if is_next {
                let at = FileOffset { file: self.walk.file().into(), offset: start };
                let named = named(header, body, at).map_err(unreadable_again)?;
                if named.is_timed_by_second {
                    self.gazer.look_at_rows();
                }
                self.open = Some(named.seen);
            }
            if ended.is_some() {
                return Ok(ended);
            }
        }
        Ok(None)
    }

    fn close(&mut self) -> Option<Seen> {
        let looks = self.gazer.looks();
        self.open.take().map(|open| Seen { looks, ..open })
    }
}

/// What the event that begins a transaction says of it.
struct Named {
    seen: Seen,
    is_timed_by_second: bool,
}

fn named(header: Header, body: &[u8], at: FileOffset) -> std::result::Result<Named, Malformed> {
    let (id, exact) = match header.kind {
        kind::DOMAIN_GTID => (Some(TransactionId::Mariadb(DomainGtidEvent::parse(header.server_id, body)?.gtid)), None),
        _ => {
            let event = GtidEvent::parse(header.kind, body)?;
            (event.gtid.map(TransactionId::Mysql), event.committed_at_micros)
        }
    };
    let committed_at_micros = exact.unwrap_or(i64::from(header.timestamp) * 1_000_000);
    let seen = Seen { id, at, committed_at_micros, looks: Looks::default() };
    Ok(Named { seen, is_timed_by_second: exact.is_none() })
}
