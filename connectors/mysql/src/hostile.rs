//! One entry for each parser of bytes from outside, for tests and fuzzing that feed them anything.
//!
//! Each takes bytes that nobody vouches for and looks at all that comes out of them. What they promise: no panic, an end, and no
//! memory beyond what the bytes declare and a limit allows. An error is as good as a result.

mod written;

use std::{
    cell::Cell,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tailrace_contract::{BatchLimits, Checkpoint, Mark, Position, TableFilter, TablePattern};
use tailrace_row::{Epoch, RecordBatch};

use crate::{
    binlog::{BinlogReader, Dictionary, ReaderSettings, Step},
    events::{
        CHECKSUM_BYTES, DomainGtidEvent, HEADER_BYTES, Header, QueryEvent, TableMap, XaPrepare, Xid, kind,
        unpack_event, unpack_value,
    },
    gtid::{DomainGtid, GtidList, GtidSet},
    position::{BinlogPosition, parse_start},
    prepared::Prepared,
    protocol::PacketReader,
    row_decoder::{RowDecoder, charset::Collations, write_changed_json_text, write_json_text},
    shapes::{Memory, Shapes},
    statement::{self, Captured},
    witness::Witness,
};
pub use written::{memories_of, witnesses_of};

/// The database of the recordings.
pub const DATABASE: &str = "h";

/// Collations of the recordings by number; others are unknown.
const COLLATIONS: &[(u64, &str)] = &[
    (8, "latin1"),
    (13, "sjis"),
    (28, "gbk"),
    (33, "utf8mb3"),
    (35, "ucs2"),
    (45, "utf8mb4"),
    (54, "utf16"),
    (63, "binary"),
    (224, "utf8mb4"),
    (255, "utf8mb4"),
    (2304, "utf8mb4"),
];

/// A defect of the kind that the tests must find, for one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A length that was read is taken at its word.
    LengthNotChecked,
    /// Documents may be of any depth, and contain themselves.
    RecursionWithoutLimit,
    /// Compressed bytes may unpack to any length.
    RatioWithoutLimit,
}

thread_local! {
    static PLANTED: Cell<Option<Defect>> = const { Cell::new(None) };
}

/// Plants a defect in this thread.
pub fn plant(defect: Defect) {
    PLANTED.set(Some(defect));
}

pub(crate) fn is_planted(defect: Defect) -> bool {
    PLANTED.get() == Some(defect)
}

/// Bytes of a connection, as they come from the network: packets, and what a server may say in them.
pub fn packets(bytes: &[u8]) {
    let mut reader = PacketReader::new();
    let mut rest = bytes;
    loop {
        match reader.next() {
            Ok(Some(packet)) => crate::protocol::read_any_packet(reader.bytes(&packet)),
            Err(_) => return,
            Ok(None) => {
                let mut context = Context::from_waker(Waker::noop());
                // A slice is always ready.
                let Poll::Ready(Ok(received)) = pin!(reader.fill(&mut rest)).poll(&mut context) else { return };
                if received == 0 {
                    return;
                }
            }
        }
    }
}

/// A stream of events. The first byte says whose they are (bit 0: MariaDB) and whether lengths are made right before they are
/// read (bit 1); then come pairs of a length in two bytes and so many bytes of an event without its checksum.
pub fn events(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let mut reader = new_reader(mode & 1 != 0);
    let mut batch = RecordBatch::new();
    for event in pieces(bytes) {
        // Nobody reads a first phase again here: that is another entry's.
        match take(&mut reader, &sealed(event, mode & 2 != 0), &mut batch) {
            None | Some(Step::Group) => return,
            Some(_) => {}
        }
    }
}

/// First phases of XA transactions that are read again when the second comes. The first byte is that of [`events`]; then come, each
/// behind a length in two bytes, a position that names such transactions, and events: those of the stream, and from where it asks for a
/// first phase those of that one, up to its end.
pub fn first_phase(bytes: &[u8]) {
    let _ = first_phases_read(bytes);
}

/// The same; tells how many first phases were read to their end.
pub fn first_phases_read(bytes: &[u8]) -> u32 {
    let mut read = 0;
    let Some((mode, bytes)) = bytes.split_first() else { return read };
    let mut pieces = pieces(bytes);
    let Ok(text) = std::str::from_utf8(pieces.next().unwrap_or_default()) else { return read };
    let position = Position::new(text);
    let Some(prepared) = Prepared::parse(&position) else { return read };
    let Ok(boundary) = BinlogPosition::parse(&position) else { return read };
    let mut reader = reader_at(mode & 1 != 0, boundary, prepared);
    let mut batch = RecordBatch::new();
    let mut is_in_group = false;
    for event in pieces {
        let step = if is_in_group {
            take_of_group(&mut reader, event, &mut batch)
        } else {
            take(&mut reader, &sealed(event, mode & 2 != 0), &mut batch)
        };
        match step {
            None => return read,
            Some(Step::Group) => {
                let wanted = reader.wanted_group();
                let _ = reader.missing_group(&wanted);
                is_in_group = true;
            }
            Some(Step::TransactionEnd) => read += u32::from(std::mem::take(&mut is_in_group)),
            Some(_) => {}
        }
    }
    read
}

/// What a position says of the last transactions, and of tables behind them.
pub fn witness(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let position = Position::new("binlog.000001:4");
    let Ok((witness, memory)) = Witness::of(&position.clone().with_witness(text)) else { return };
    // As it would be saved again.
    let Ok((again, _)) = Witness::of(&witness.put_on(position, "")) else { panic!("what was read can't be written") };
    assert!(witness.seen.is_empty() || again == witness, "what was read is written as something else");
    drop(memory);
}

/// What a position remembers of tables: their shapes, and behind a newline their unique keys.
pub fn memory(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Memory::parse(text);
}

/// A table map's body. Its decoder is compiled.
pub fn table_map(bytes: &[u8]) {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let Ok(map) = TableMap::parse(bytes) else { return };
    let Ok(shape) = map.shape(mode & 1 != 0) else { return };
    let name = tailrace_row::TableName::new(map.database, map.table);
    let _ = RowDecoder::compile(name, &shape, &Collations::of(COLLATIONS));
}

/// A stored document of JSON.
pub fn json(bytes: &[u8]) {
    let mut text = Vec::new();
    let _ = write_json_text(bytes, &mut text);
}

/// What an update changed in a stored document of JSON: the document's length in two bytes, the document, the changes.
pub fn json_changes(bytes: &[u8]) {
    let mut pieces = pieces(bytes);
    let document = pieces.next().unwrap_or_default();
    let changes = bytes.get(2 + document.len()..).unwrap_or_default();
    let mut text = Vec::new();
    let _ = write_changed_json_text(document, changes, &mut text);
}

/// Names of XA transactions: in the event that ends a first phase, in MariaDB's that names a transaction, in a statement, and in
/// positions that name what stands between its phases.
pub fn prepared(bytes: &[u8]) {
    let _ = XaPrepare::parse(bytes).map(|prepare| prepare.xid.to_string());
    let _ = DomainGtidEvent::parse(1, bytes);
    let _ = Xid::parse_statement(bytes).map(|xid| xid.to_string());
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let position = Position::new(text);
    let Some(mut prepared) = Prepared::parse(&position) else { return };
    let _ = BinlogPosition::parse(&position).map(|boundary| prepared.position(&boundary));
    let _ = Xid::parse_statement(bytes).map(|xid| prepared.take_rows(&xid));
}

/// GTIDs: a set in the server's bytes, and the texts of sets, lists, positions.
pub fn gtids(bytes: &[u8]) {
    let _ = GtidSet::decode(bytes).map(|set| (set.count(), set.to_string(), set.encode()));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = text.parse::<GtidSet>().map(|set| (set.count(), set.to_string(), set.encode()));
    let _ = text.parse::<GtidList>().map(|list| list.to_string());
    let _ = text.parse::<DomainGtid>().map(|gtid| gtid.to_string());
    let _ = parse_start(text);
    let _ = BinlogPosition::parse(&Position::new(text)).map(|position| position.to_position());
}

/// The text of a statement.
pub fn statement(bytes: &[u8]) {
    let Some((mode, text)) = bytes.split_first() else { return };
    let query = query(*mode, text);
    let (filter, collations) = (filter(), Collations::of(COLLATIONS));
    let _ = statement::control(&query);
    let _ = (Xid::parse_statement(text), statement::savepoint(&query));
    let captured = captured(*mode, &filter, &collations);
    let _ = (captured.judge(&query), captured.digest(&query));
    let mut shapes = Shapes::default();
    shapes.follow(&filter, captured.ignores_case, captured.reshapes(&query));
    // What was made is altered in the same way once more.
    shapes.follow(&filter, captured.ignores_case, captured.reshapes(&query));
}

/// What MariaDB compresses: the statement or rows of an event, and a value.
pub fn compressed(bytes: &[u8]) {
    let mut out = Vec::new();
    let _ = unpack_event(bytes, &mut out);
    let Some((method, packed)) = bytes.split_first() else { return };
    let _ = unpack_value(*method, packed);
}

/// The events of a binlog file, each without its checksum, as [`events`] takes them.
#[must_use]
pub fn events_of(binlog: &[u8]) -> Vec<&[u8]> {
    const MAGIC_BYTES: usize = 4;
    let mut rest = binlog.get(MAGIC_BYTES..).unwrap_or_default();
    let mut events = Vec::new();
    while let Some(size) = rest.get(9..13) {
        let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize;
        let Some((event, behind)) = rest.split_at_checked(size.max(HEADER_BYTES + CHECKSUM_BYTES)) else { break };
        events.push(&event[..event.len() - CHECKSUM_BYTES]);
        rest = behind;
    }
    events
}

fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, behind) = bytes.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_le_bytes(*length)).min(behind.len());
        let (piece, rest) = behind.split_at(length);
        bytes = rest;
        Some(piece)
    })
}

/// The event with a checksum that is right; `is_repaired`: its length too, and it stands in no file.
fn sealed(event: &[u8], is_repaired: bool) -> Vec<u8> {
    let mut event = event.to_vec();
    if is_repaired && event.len() >= HEADER_BYTES {
        let size = u32::try_from(event.len() + CHECKSUM_BYTES).unwrap_or(u32::MAX);
        event[9..13].copy_from_slice(&size.to_le_bytes());
        event[13..17].fill(0);
    }
    let checksum = crc32fast::hash(&event);
    event.extend_from_slice(&checksum.to_le_bytes());
    event
}

/// The text as a statement that a server logs.
fn query(mode: u8, text: &[u8]) -> QueryEvent<'_> {
    const ANSI_QUOTES: u64 = 4;
    QueryEvent {
        thread: 1,
        database: DATABASE.as_bytes(),
        text,
        sql_mode: if mode & 1 != 0 { ANSI_QUOTES } else { 0 },
        client_collation: if mode & 2 != 0 { Some(28) } else { None },
        updated_databases: None,
        time_zone: None,
        has_plain_timestamps: None,
    }
}

fn captured<'a>(mode: u8, filter: &'a TableFilter, collations: &'a Collations) -> Captured<'a> {
    Captured {
        filter,
        collations,
        ignores_case: mode & 4 != 0,
        is_mariadb: mode & 8 != 0,
        logs_cascades: mode & 16 != 0,
    }
}

/// Takes an event and what it stands for, and gives the last step; `None` if the stream has ended.
fn take(reader: &mut BinlogReader, event: &[u8], batch: &mut RecordBatch) -> Option<Step> {
    let step = reader.event(event).ok()?;
    take_rest(reader, step, event, batch)
}

/// The same of a first phase that is read again, as the walk through the binlog gives it.
fn take_of_group(reader: &mut BinlogReader, event: &[u8], batch: &mut RecordBatch) -> Option<Step> {
    let header = Header::parse_before(event).ok()?;
    let step = reader.group_event(header, event).ok()?;
    take_rest(reader, step, event, batch)
}

fn take_rest(reader: &mut BinlogReader, mut step: Step, event: &[u8], batch: &mut RecordBatch) -> Option<Step> {
    const LIMITS: BatchLimits = BatchLimits { bytes_max: 64 << 10, records_max: 100, wait_max: Duration::ZERO };
    while reader.take_back(batch).is_ok() && matches!(step, Step::Rows | Step::Parts) {
        batch.clear();
        step = reader.proceed(event, batch, &LIMITS).ok()?;
        // Every field is looked at, so that a half-written image would be noticed.
        for record in batch.records() {
            let images = [batch.before(record), batch.after(record)];
            images.into_iter().flatten().flat_map(|image| image.fields()).for_each(drop);
        }
    }
    let _ = (reader.mark(), reader.split());
    if step == Step::SchemaChange {
        reader.take_change().ok()?;
    }
    Some(step)
}

fn filter() -> TableFilter {
    TableFilter { patterns: vec![TablePattern::Database(DATABASE.into())] }
}

fn new_reader(is_mariadb: bool) -> BinlogReader {
    let position = if is_mariadb {
        BinlogPosition::Domains { list: GtidList::default(), seen_at: None }
    } else {
        BinlogPosition::Gtids { set: GtidSet::new(), seen_at: None }
    };
    reader_at(is_mariadb, position, Prepared::default())
}

fn reader_at(is_mariadb: bool, position: BinlogPosition, prepared: Prepared) -> BinlogReader {
    let mark = Mark { position: position.to_position(), transactions: 0 };
    let settings = ReaderSettings {
        filter: Arc::new(filter()),
        collations: Arc::new(Collations::of(COLLATIONS)),
        ignores_case: false,
        logs_cascades: !is_mariadb,
        has_lead_in: false,
        prepared,
        server: "server".into(),
        dictionary: is_mariadb.then(Dictionary::default),
        shapes: Shapes::default(),
        keys: crate::keys::Keys::default(),
        damaged: Arc::default(),
    };
    let mut reader = BinlogReader::new(&Checkpoint { epoch: Epoch(1), mark, split: None }, position, settings);
    let rotation = rotation();
    reader.event(&rotation).expect("invariant: a stream begins with a rotation");
    reader
}

/// The rotation by which a server says in which file a stream begins.
fn rotation() -> Vec<u8> {
    const FILE: &[u8] = b"binlog.000001";
    const ARTIFICIAL: u16 = 0x20;
    let mut event = vec![0; 4];
    event.push(kind::ROTATE);
    event.extend_from_slice(&1_u32.to_le_bytes());
    event.extend_from_slice(&[0; 8]);
    event.extend_from_slice(&ARTIFICIAL.to_le_bytes());
    event.extend_from_slice(&4_u64.to_le_bytes());
    event.extend_from_slice(FILE);
    sealed(&event, true)
}
