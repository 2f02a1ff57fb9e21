//! What the parsers are fed with before it is damaged: binlogs of real servers (`recordings`, made by the bin `record`), cut into
//! the pieces that each parser takes.

use tailrace_mysql::hostile::{events_of, memories_of, witnesses_of};

const MYSQL: &[u8] = include_bytes!("../recordings/mysql.binlog");
const MARIADB: &[u8] = include_bytes!("../recordings/mariadb.binlog");
const SCRIPTS: [&str; 2] = [include_str!("../recordings/mysql.sql"), include_str!("../recordings/mariadb.sql")];

const HEADER_BYTES: usize = 19;

/// Type codes of events.
mod kind {
    pub(super) const TABLE_MAP: u8 = 19;
    pub(super) const ROWS: [u8; 7] = [23, 24, 25, 30, 31, 32, 39];
    pub(super) const XA_PREPARE: u8 = 38;
    pub(super) const PAYLOAD: u8 = 40;
    pub(super) const PREVIOUS_GTIDS: u8 = 35;
    pub(super) const GTIDS: [u8; 4] = [33, 34, 42, 162];
    pub(super) const PREPARED: [u8; 2] = [38, 162];
    pub(super) const WRITE_ROWS: [u8; 2] = [23, 30];
    pub(super) const COMPRESSED: [u8; 7] = [165, 166, 167, 168, 169, 170, 171];
}

fn kind_of(event: &[u8]) -> u8 {
    event[4]
}

fn body(event: &[u8]) -> &[u8] {
    &event[HEADER_BYTES..]
}

/// The recordings' events, and whether MariaDB wrote them.
fn recorded() -> [(bool, Vec<&'static [u8]>); 2] {
    [(false, events_of(MYSQL)), (true, events_of(MARIADB))]
}

fn all_events() -> impl Iterator<Item = (bool, &'static [u8])> {
    recorded().into_iter().flat_map(|(is_mariadb, events)| events.into_iter().map(move |event| (is_mariadb, event)))
}

/// Packets: the events as a server sends them, and what it says at login and to queries.
pub(crate) fn packets() -> Vec<Vec<u8>> {
    let greeting = b"\x0a9.7.0\0\x08\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0caching_sha2_password\0";
    let answers: [&[u8]; 7] = [
        greeting,
        b"\xfecaching_sha2_password\0abcdefghijklmnopqrst\0",
        b"\xff\x15\x04#28000Access denied",
        b"\0\0\0\x02\0\0\0",
        b"\x03def\x01d\x01t\x01t\x01c\x01c\x0c\x3f\0\x14\0\0\0\x08\x20\0\0\0\0",
        b"\x03one\xfb\x05three\xfc\x03\0abc",
        b"\0\x05\0\0\0\x02\0\0\0\0\0\0",
    ];
    let framed = |payload: &[u8]| {
        let length = u32::try_from(payload.len()).expect("short").to_le_bytes();
        [&length[..3], &[0], payload].concat()
    };
    let mut inputs: Vec<Vec<u8>> = answers.iter().map(|answer| framed(answer)).collect();
    inputs.extend(all_events().map(|(_, event)| framed(event)).filter(|packet| packet.len() < 2_000));
    inputs
}

/// One transaction each, behind the description of its file.
pub(crate) fn events() -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for (is_mariadb, events) in recorded() {
        for transaction in transactions(&events) {
            let pieces: Vec<&[u8]> = std::iter::once(&events[0]).chain(transaction).copied().collect();
            inputs.extend(MODES.map(|mode| framed(mode | u8::from(is_mariadb), &pieces)));
        }
    }
    inputs
}

/// Lengths of events as they are, and made right.
const MODES: [u8; 2] = [0, 2];

/// The transactions of a recording whose events are short.
fn transactions<'e>(events: &'e [&'static [u8]]) -> Vec<&'e [&'static [u8]]> {
    const EVENT_BYTES_MAX: usize = 20_000;
    let is_begin = |event: &&[u8]| kind::GTIDS.contains(&kind_of(event));
    let starts: Vec<usize> = (0..events.len()).filter(|at| is_begin(&events[*at])).collect();
    let ends = starts.iter().skip(1).copied().chain([events.len()]);
    let transactions = starts.iter().zip(ends).map(|(start, end)| &events[*start..end]);
    transactions.filter(|events| events.iter().all(|event| event.len() <= EVENT_BYTES_MAX)).collect()
}

/// A byte, and pieces that each stand behind their length.
fn framed(mode: u8, pieces: &[&[u8]]) -> Vec<u8> {
    let mut input = vec![mode];
    for piece in pieces {
        input.extend_from_slice(&u16::try_from(piece.len()).expect("short").to_le_bytes());
        input.extend_from_slice(piece);
    }
    input
}

/// Commits of XA transactions that a position names or does not, each with a first phase that is read again: the recorded one, and others
/// with the rows, or the packed rows, of the recording's other transactions. Behind them the stream goes on.
pub(crate) fn first_phases() -> Vec<Vec<u8>> {
    let mut inputs = Vec::new();
    for (is_mariadb, events) in recorded() {
        let all = transactions(&events);
        let is_first = |events: &&[&[u8]]| events.iter().any(|event| kind_of(event) == kind::XA_PREPARE);
        let at = all.iter().position(is_first).expect("the recordings have an XA transaction");
        let (first, second, behind) = (all[at], all[at + 1], all[at + 2]);
        let last = first.iter().position(|event| kind_of(event) == kind::XA_PREPARE).expect("found before");
        let mut phases: Vec<Vec<&[u8]>> = vec![first[1..=last].to_vec()];
        for transaction in &all {
            let is_kept = |event: &&&[u8]| kind_of(event) == kind::TABLE_MAP || kind::ROWS.contains(&kind_of(event));
            let rows: Vec<&[u8]> = transaction.iter().filter(is_kept).copied().collect();
            if !rows.is_empty() {
                phases.push([&first[1..2], &rows, &first[last - 1..=last]].concat());
            }
            let packed = transaction.iter().filter(|event| kind_of(event) == kind::PAYLOAD);
            phases.extend(packed.map(|event| vec![*event]));
        }
        let boundary = if is_mariadb { "mariadb:0-1-1@binlog.000001:4" } else { "gtid:@binlog.000001:4" };
        let id = if is_mariadb { "0-1-1" } else { "3e11fa47-71ca-11e1-9e33-c80aa9429562:59" };
        let named = format!("xa:1.00.={id}@9@a%2eb,7.6f6e65.74776f={id}@51263@binlog.000001 {boundary}");
        for (number, phase) in phases.iter().enumerate() {
            let position = if number % 4 == 1 { boundary } else { &named };
            let head = [position.as_bytes(), events[0]];
            let pieces = [&head, second, phase, behind].concat();
            inputs.push(framed(MODES[number % 2] | u8::from(is_mariadb), &pieces));
        }
    }
    inputs
}

/// What positions carry behind the recordings' transactions.
pub(crate) fn witnesses() -> Vec<Vec<u8>> {
    recorded().iter().flat_map(|(is_mariadb, events)| witnesses_of(events, *is_mariadb)).collect()
}

/// What positions remember of tables behind the recordings' statements.
pub(crate) fn memories() -> Vec<Vec<u8>> {
    let of_script = |script: &&'static str| {
        let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with("--")).collect();
        memories_of(&lines)
    };
    SCRIPTS.iter().flat_map(of_script).collect()
}

pub(crate) fn table_maps() -> Vec<Vec<u8>> {
    let maps = all_events().filter(|(_, event)| kind_of(event) == kind::TABLE_MAP);
    maps.map(|(is_mariadb, event)| [&[u8::from(is_mariadb)], body(event)].concat()).collect()
}

/// The documents of the recording's table `documents (id INT, j JSON)`: a row of it is one byte of NULL bits, the number, and the
/// document behind its length in four bytes.
pub(crate) fn documents() -> Vec<Vec<u8>> {
    const NAME: &[u8] = b"documents";
    const HEAD: usize = 8 + 2 + 1 + 1;
    const FIXED: usize = 1 + 4 + 4;
    const DOCUMENT_BYTES_MAX: usize = 10_000;
    // A document over 64 KiB has wider fields: an array of them with a number in its entry and a string behind the entries.
    let large = b"\x03\x02\0\0\0\x15\0\0\0\x07\x39\x30\0\0\x0c\x12\0\0\0\x02ab".to_vec();
    let mut inputs = vec![large];
    let mut is_documents = false;
    for (_, event) in all_events() {
        if kind_of(event) == kind::TABLE_MAP {
            is_documents = body(event).windows(NAME.len()).any(|window| window == NAME);
        }
        if !is_documents || !kind::WRITE_ROWS.contains(&kind_of(event)) {
            continue;
        }
        let mut rows = &body(event)[HEAD..];
        while let Some(length) = rows.get(FIXED - 4..FIXED) {
            let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let Some(document) = rows.get(FIXED..FIXED + length) else { break };
            if length < DOCUMENT_BYTES_MAX {
                inputs.push(document.to_vec());
            }
            rows = &rows[FIXED + length..];
        }
    }
    inputs
}

/// Each document with changes of every kind, as an update under `binlog_row_value_options=PARTIAL_JSON` logs them; most lead
/// nowhere in most documents.
pub(crate) fn json_changes() -> Vec<Vec<u8>> {
    let inside = b"\x00\x01\x00\x0c\x00\x0b\x00\x01\x00\x04\x00\x00a";
    let changes: [(u8, &str, &[u8]); 8] = [
        (0, "$.a[1]", b"\x05\x07\x00"),
        (1, "$.new", inside),
        (0, "$.new.a", b"\x04\x01"),
        (1, "$.a[9]", b"\x0c\x02ab"),
        (2, "$.long", b""),
        (2, "$[0]", b""),
        (1, "$[0]", b"\x02\x00\x00\x04\x00"),
        (1, "$.\"qu\\\"ote \\u0001\"", b"\x05\x07\x00"),
    ];
    let change = |(operation, path, value): &(u8, &str, &[u8])| {
        let mut bytes = vec![*operation, u8::try_from(path.len()).expect("short")];
        bytes.extend_from_slice(path.as_bytes());
        if *operation != 2 {
            bytes.push(u8::try_from(value.len()).expect("short"));
            bytes.extend_from_slice(value);
        }
        bytes
    };
    let mut inputs = Vec::new();
    for document in documents().iter().filter(|document| document.len() < 2_000) {
        let length = u16::try_from(document.len()).expect("short").to_le_bytes();
        let whole = changes[..5].iter().map(change).collect::<Vec<_>>().concat();
        let parts = changes.iter().map(change).chain([whole]);
        inputs.extend(parts.map(|changes| [&length[..], document, &changes].concat()));
    }
    inputs
}

/// What ends first phases and names transactions in the recordings, and the texts that name some.
pub(crate) fn prepared() -> Vec<Vec<u8>> {
    let texts = [
        "XA COMMIT X'6f6e65',X'74776f',7",
        "XA ROLLBACK X'6f6e65',X'',1",
        "xa:7.6f6e65.74776f=3e11fa47-71ca-11e1-9e33-c80aa9429562:59@51263@binlog.000001 gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-114@binlog.000001:140099",
        "xa:1.6f6e65.=@935099@binlog.000001,2.61.62=@955662@binlog.000001 file:binlog.000001:1187655@1795428653",
        "xa:1.61.62=0-1-17@400@binlog.000002 mariadb:0-1-18@binlog.000002:500",
    ];
    let events = all_events().filter(|(_, event)| kind::PREPARED.contains(&kind_of(event)));
    let bodies = events.map(|(_, event)| body(event).to_vec());
    bodies.chain(texts.iter().map(|text| text.as_bytes().to_vec())).collect()
}

pub(crate) fn gtids() -> Vec<Vec<u8>> {
    let texts = [
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7,5e11fa47-71ca-11e1-9e33-c80aa9429562:tag:1-9223372036854775806",
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1:a_tag:5-7:other:1",
        "0-1-100,7-2-18446744073709551615",
        "binlog.000001:4",
        "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5@binlog.000001:1234",
        "mariadb:0-1-100@binlog.000001:1234",
        "file:binlog.000001:1234@1700000000",
    ];
    let sets =
        all_events().filter(|(_, event)| kind_of(event) == kind::PREVIOUS_GTIDS).map(|(_, event)| body(event).to_vec());
    sets.chain(texts.iter().map(|text| text.as_bytes().to_vec())).collect()
}

pub(crate) fn statements() -> Vec<Vec<u8>> {
    let lines = SCRIPTS.iter().flat_map(|script| script.lines()).filter(|line| !line.starts_with("--"));
    lines.map(|line| [&[0], line.as_bytes()].concat()).collect()
}

/// What MariaDB compressed, and a value of a COMPRESSED column.
pub(crate) fn compressed() -> Vec<Vec<u8>> {
    /// Where a rows event of version 1 has its rows, for tables of few columns.
    const ROWS_AT: usize = 8 + 1 + 1;
    let events = all_events().filter(|(_, event)| kind::COMPRESSED.contains(&kind_of(event)));
    let mut inputs: Vec<Vec<u8>> = events.map(|(_, event)| body(event)[ROWS_AT..].to_vec()).collect();
    inputs.push(bomb());
    inputs
}

/// Four thousand bytes that unpack to four million, with a head that says less.
fn bomb() -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::ZlibEncoder::new(vec![0x82, 0x10, 0x00], flate2::Compression::best());
    encoder.write_all(&vec![0; 16 << 20]).expect("written to memory");
    encoder.finish().expect("written to memory")
}
