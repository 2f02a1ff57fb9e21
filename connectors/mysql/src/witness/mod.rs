//! The last transactions that were read, so that another look at a server's binlog can tell whether it still has them.
//!
//! A server whose machine crashed may have lost the tail of its binlog after we had it (`sync_binlog` is not 1, a disk that lies), or
//! was restored from a copy. It gives the same numbers to other transactions, and soon its history seems to contain ours: what
//! it wrote in between would be taken for ours, and passed over. So a position carries what the last transactions before it looked
//! like, and `again` looks at them once more before anything is read behind it.
//!
//! 1. A tail is lost, never a middle: if a server still has the last transaction at its place in the file, it has everything before.
//!    A server that gets others' transactions may get lost ones again, and only its own are given away: so the last one of each
//!    origin is kept, as far as it is recent.
//! 2. Read on the same server, a transaction must be the same byte for byte. What is kept of the bytes are the checksums of its first
//!    events, which the server computed: nothing is done per row.
//! 3. A replica writes the transaction into a binlog of its own: other places, other table ids, perhaps other events. What it keeps is
//!    the moment in which the transaction was first committed: MySQL tells it in microseconds, which no two transactions of one name
//!    share. MariaDB tells the second; there the bytes of the first rows are compared too, which stand in a replica's events as they
//!    came, unless it compresses them.

pub(crate) mod again;

use std::{fmt::Write as _, sync::Arc};

use tailrace_contract::{Error, Position, Result};

use crate::{
    events::{Header, RowsBody, RowsHeader, RowsKind, kind},
    gtid::TransactionId,
    position::{FileOffset, unreadable},
    prepared::{Escaped, unescaped},
    protocol::Malformed,
    shapes::Memory,
};

/// How many of the last transactions are kept, whoever committed them.
const NEWEST: usize = 3;
/// How many are kept at most.
const KEPT_MAX: usize = 8;
/// The last transaction of an origin is forgotten when it is older than the last of all by so much: no crash takes back more.
const AGE_MICROS_MAX: i64 = 3600 * 1_000_000;
/// Events of a transaction that are looked at, and events with rows where those are needed.
const EVENTS_MAX: u32 = 16;
/// Bytes of its rows that are looked at where they are needed.
const ROW_BYTES_MAX: usize = 4096;
/// Begins the text; another form gets another number.
const FORM: &str = "1";
/// Begins what else a position carries: shapes of tables, as JSON.
const MEMORY: char = '\n';

/// The last transactions, and whose binlog they were read in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Witness {
    /// [`crate::server::Facts::identity`].
    pub(crate) server: Arc<str>,
    /// When the server was started, in seconds since 1970.
    pub(crate) started: u64,
    /// In the order of the binlog.
    pub(crate) seen: Vec<Seen>,
}

/// What a transaction looked like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// None where the server gives no names.
    pub(crate) id: Option<TransactionId>,
    /// The event that begins it.
    pub(crate) at: FileOffset,
    /// When it was first committed: to the second if `looks.rows` is there, else exactly.
    pub(crate) committed_at_micros: i64,
    pub(crate) looks: Looks,
}

/// What is remembered of a transaction's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Looks {
    /// Of its first events, as this server wrote them.
    events: u64,
    /// Of its first rows, as every server that has it writes them; none if that is not needed, or can't be told.
    rows: Option<u32>,
}

/// Gathers the looks of the transaction whose events pass.
#[derive(Debug, Default)]
pub(crate) struct Gazer {
    looks: Looks,
    events_left: u32,
    row_events_left: u32,
    row_bytes_left: usize,
}

impl Gazer {
    /// Takes an event: its body, and its checksum or that of all its bytes.
    #[inline]
    pub(crate) fn take(&mut self, header: Header, body: &[u8], checksum: u32) {
        if is_begin(header.kind) {
            *self = Self { events_left: EVENTS_MAX, ..Self::default() };
        }
        if self.events_left > 0 && !is_between(header.kind) {
            self.events_left -= 1;
            // Steps of FNV-1a, a word at a time.
            let mixed = (self.looks.events ^ u64::from(checksum)).wrapping_mul(0x0100_0000_01b3);
            self.looks.events = mixed.rotate_left(23);
        }
        if self.row_events_left > 0 {
            self.take_rows(header.kind, body);
        }
    }

    /// The transaction's time is known to the second only: its rows are looked at too.
    #[inline]
    pub(crate) fn look_at_rows(&mut self) {
        self.looks.rows = Some(0);
        (self.row_events_left, self.row_bytes_left) = (EVENTS_MAX, ROW_BYTES_MAX);
    }

    /// What the transaction that has ended looked like.
    pub(crate) fn looks(&self) -> Looks {
        self.looks
    }

    /// Whether nothing of what may follow would be looked at.
    fn has_enough(&self) -> bool {
        self.events_left == 0 && self.row_events_left == 0
    }

    fn take_rows(&mut self, kind: u8, body: &[u8]) {
        let Some(rows_kind) = RowsKind::of(kind) else { return };
        if RowsKind::is_compressed(kind) {
            // What a replica makes of it depends on its own settings.
            (self.looks.rows, self.row_events_left) = (None, 0);
            return;
        }
        self.row_events_left -= 1;
        let rows = RowsHeader::parse(kind, body)
            .and_then(|header| RowsBody::parse(kind, rows_kind, header, body))
            .map(|found| &body[found.rows_at..]);
        // What can't be read is the decoder's to say.
        let Ok(rows) = rows else { return };
        let bytes = &rows[..rows.len().min(self.row_bytes_left)];
        self.row_bytes_left -= bytes.len();
        if self.row_bytes_left == 0 {
            self.row_events_left = 0;
        }
        let mut hasher = crc32fast::Hasher::new_with_initial(self.looks.rows.unwrap_or_default());
        hasher.update(bytes);
        self.looks.rows = Some(hasher.finalize());
    }
}

/// Whether such an event begins a transaction.
fn is_begin(code: u8) -> bool {
    matches!(code, kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::DOMAIN_GTID)
}

/// Whether such an event stands between transactions, or in no file at all.
fn is_between(code: u8) -> bool {
    matches!(
        code,
        kind::STOP
            | kind::ROTATE
            | kind::HEARTBEAT
            | kind::HEARTBEAT_V2
            | kind::PREVIOUS_GTIDS
            | kind::GTID_LIST
            | kind::BINLOG_CHECKPOINT
            | kind::FORMAT_DESCRIPTION
            | kind::START_ENCRYPTION
    )
}

impl Witness {
    /// What the position carries, and the memory of shapes behind it; nothing in those that no stream came to.
    pub(crate) fn of(position: &Position) -> Result<(Self, Memory)> {
        let Some(text) = position.witness() else { return Ok((Self::default(), Memory::default())) };
        let (text, memory) = match text.split_once(MEMORY) {
            Some((text, memory)) => (text, Memory::parse(memory)),
            None => (text, Some(Memory::default())),
        };
        Self::parse(text).zip(memory).ok_or_else(|| unreadable(position))
    }

    /// The position, with this, and with a memory of shapes if there is one.
    pub(crate) fn put_on(&self, position: Position, memory: &str) -> Position {
        if self.seen.is_empty() {
            return position;
        }
        let mut text = self.to_string();
        if !memory.is_empty() {
            text.push(MEMORY);
            text.push_str(memory);
        }
        position.with_witness(&text)
    }

    /// The same transactions, read on from that server.
    pub(crate) fn on(self, server: &str, started: u64) -> Self {
        if *self.server == *server && was_not_restarted(self.started, started) {
            return self;
        }
        Self { server: server.into(), started, seen: self.seen }
    }

    /// A transaction was read to its end.
    pub(crate) fn push(&mut self, seen: Seen) {
        self.seen.push(seen);
        while let Some(at) = self.least() {
            self.seen.remove(at);
        }
    }

    /// One that is not needed any more.
    fn least(&self) -> Option<usize> {
        let older = self.seen.len().checked_sub(NEWEST)?;
        let newest_at = self.seen.last()?.committed_at_micros;
        let is_needed = |at: &usize| {
            let one = &self.seen[*at];
            let is_last = !self.seen[at + 1..].iter().any(|later| is_of_one_origin(one, later));
            is_last && newest_at - one.committed_at_micros <= AGE_MICROS_MAX
        };
        (0..older).find(|at| !is_needed(at)).or((self.seen.len() > KEPT_MAX).then_some(0))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let (form, server, started) = (parts.next()?, parts.next()?, parts.next()?);
        let seen: Option<Vec<Seen>> = parts.map(parse_seen).collect();
        let is_known = form == FORM;
        is_known.then_some(())?;
        Some(Self { server: unescaped(server)?.into(), started: started.parse().ok()?, seen: seen? })
    }
}

/// Whether two servers' starts may be one. Seconds are counted from either end.
fn was_not_restarted(started: u64, again: u64) -> bool {
    started.abs_diff(again) <= 2
}

/// Whether one server gave the numbers of both.
fn is_of_one_origin(one: &Seen, other: &Seen) -> bool {
    match (one.id, other.id) {
        (Some(TransactionId::Mysql(one)), Some(TransactionId::Mysql(other))) => one.origin == other.origin,
        (Some(TransactionId::Mariadb(one)), Some(TransactionId::Mariadb(other))) => {
            (one.domain, one.server) == (other.domain, other.server)
        }
        (None, None) => true,
        (Some(_) | None, _) => false,
    }
}

impl std::fmt::Display for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{FORM};{};{}", Escaped(&self.server), self.started)?;
        for Seen { id, at, committed_at_micros, looks } in &self.seen {
            f.write_char(';')?;
            if let Some(id) = id {
                write!(f, "{id}")?;
            }
            write!(f, "@{}@{}={committed_at_micros},{:x}", at.offset, Escaped(&at.file), looks.events)?;
            if let Some(rows) = looks.rows {
                write!(f, ",{rows:x}")?;
            }
        }
        Ok(())
    }
}

fn parse_seen(text: &str) -> Option<Seen> {
    let (place, looks) = text.split_once('=')?;
    let mut place = place.split('@');
    let (id, offset, file) = (place.next()?, place.next()?, place.next()?);
    let at = FileOffset::parse(&format!("{}:{offset}", unescaped(file)?))?;
    let mut looks = looks.split(',');
    let committed_at_micros = looks.next()?.parse().ok()?;
    let events = u64::from_str_radix(looks.next()?, 16).ok()?;
    let rows = looks.next().map(|rows| u32::from_str_radix(rows, 16)).transpose().ok()?;
    Some(Seen { id: TransactionId::parse_optional(id)?, at, committed_at_micros, looks: Looks { events, rows } })
}

/// The error of bytes that can't be read a second time.
fn unreadable_again(malformed: Malformed) -> Error {
    Error::corrupt("the last transactions can't be read again").caused_by(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUIDS: [&str; 2] = ["3e11fa47-71ca-11e1-9e33-c80aa9429562", "3e11fa47-71ca-11e1-9e33-c80aa9429563"];

    fn seen(origin: usize, number: u32, minute: i64) -> Seen {
        Seen {
            id: TransactionId::parse_optional(&format!("{}:{number}", UUIDS[origin])).unwrap(),
            at: FileOffset { file: "b,@;=%.1".into(), offset: 5_000_000_000 + u64::from(number) },
            committed_at_micros: minute * 60_000_000,
            looks: Looks { events: u64::MAX - 1, rows: number.is_multiple_of(2).then_some(7) },
        }
    }

    #[test]
    fn texts_return() {
        let mut witness = Witness { server: "mysql:x y;".into(), started: 1_700_000_000, seen: Vec::new() };
        let position = Position::new("file:b.1:4");
        assert_eq!(witness.put_on(position.clone(), "[]"), position, "nothing was read yet");
        assert_eq!(Witness::of(&position).unwrap(), (Witness::default(), Memory::default()));
        for number in 1..4 {
            witness.push(seen(0, number, 5));
        }
        witness.push(Seen { id: TransactionId::parse_optional("0-1-9").unwrap(), ..seen(0, 1, 5) });
        witness.push(Seen { id: None, ..seen(0, 1, 5) });
        for memory in
            ["", r#"[["shop","t",{"c":[{"n":"id;\n","t":"i32"},{"n":"e","t":"enum","m":["a"]}],"k":["id"]}]]"#]
        {
            let stored = witness.put_on(position.clone(), memory);
            let memory = if memory.is_empty() { Memory::default() } else { Memory::parse(memory).unwrap() };
            assert_eq!(Witness::of(&stored).unwrap(), (witness.clone(), memory));
        }
        for bad in [
            "1;s;1\n",
            "1;s;1\n[[]]",
            "",
            "1;s",
            "2;s;1",
            "1;s;x",
            "1;s;1;a@9@b=1,2",
            "1;s;1;@9@b=1,x",
            "1;s;1;@9@b=1",
            "1;s;1;@3@b=1,2",
        ] {
            assert!(Witness::of(&Position::new("file:b.1:4").with_witness(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_few_are_kept_and_the_last_of_each_origin_while_it_is_recent() {
        let mut witness = Witness::default();
        let numbers =
            |witness: &Witness| -> Vec<u64> { witness.seen.iter().map(|seen| seen.at.offset % 100).collect() };
        (1..=5).for_each(|number| witness.push(seen(0, number, 1)));
        assert_eq!(numbers(&witness), [3, 4, 5]);
        (11..=15).for_each(|number| witness.push(seen(1, number, 2)));
        assert_eq!(numbers(&witness), [5, 13, 14, 15]);
        witness.push(seen(1, 16, 62));
        assert_eq!(numbers(&witness), [14, 15, 16], "what was committed an hour ago no crash takes back");
        for server in 0..20 {
            let id = TransactionId::parse_optional(&format!("0-{server}-1")).unwrap();
            witness.push(Seen { id, ..seen(0, 20 + server, 63) });
        }
        assert_eq!(witness.seen.len(), KEPT_MAX);
        assert_eq!(numbers(&witness)[KEPT_MAX - 1], 39);
    }

    #[test]
    fn another_server_or_another_start_of_it_is_told() {
        let witness = Witness { server: "a".into(), started: 100, seen: vec![seen(0, 1, 1)] };
        assert_eq!(witness.clone().on("a", 101), witness, "no more than rounding");
        assert_eq!(witness.clone().on("a", 103).started, 103);
        assert_eq!(&*witness.on("b", 100).server, "b");
    }
}
