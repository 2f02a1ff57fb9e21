//! A file longer than 4 GiB is read from its begin up to the position: nothing behind the position may be passed with it.

use tailrace_contract::ErrorKind;

use super::*;
use crate::position::FileOffset;

const WANTED: u64 = (1 << 32) + 1_000;

/// An event without checksum that ends at `end` of its file.
fn event(kind: u8, end: u64, flags: u16, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(HEADER_BYTES + body.len()).unwrap();
    let mut event = 1_700_000_000_u32.to_le_bytes().to_vec();
    event.push(kind);
    event.extend_from_slice(&1_u32.to_le_bytes());
    event.extend_from_slice(&size.to_le_bytes());
    event.extend_from_slice(&u32::try_from(end & 0xffff_ffff).unwrap().to_le_bytes());
    event.extend_from_slice(&flags.to_le_bytes());
    event.extend_from_slice(body);
    event
}

fn rotation(file: &str) -> Vec<u8> {
    const ARTIFICIAL: u16 = 0x20;
    event(kind::ROTATE, 0, ARTIFICIAL, &[&4_u64.to_le_bytes(), file.as_bytes()].concat())
}

/// The rotation that begins a stream: it has a checksum, whatever its file has.
fn opening(file: &str) -> Vec<u8> {
    let mut rotation = rotation(file);
    let size = u32::try_from(rotation.len() + CHECKSUM_BYTES).unwrap();
    rotation[9..13].copy_from_slice(&size.to_le_bytes());
    let checksum = crc32fast::hash(&rotation);
    rotation.extend_from_slice(&checksum.to_le_bytes());
    rotation
}

fn format() -> Vec<u8> {
    let mut body = 4_u16.to_le_bytes().to_vec();
    body.extend_from_slice(&[0; 50 + 4]);
    body.push(19);
    body.extend_from_slice(&[0; 41]);
    // No checksums, and the four bytes of its own all the same.
    body.extend_from_slice(&[0; 1 + CHECKSUM_BYTES]);
    event(kind::FORMAT_DESCRIPTION, 4 + u64::try_from(HEADER_BYTES + body.len()).unwrap(), 0, &body)
}

/// A reader whose file was read up to `read`, far behind the begin.
fn reader(read: u64) -> BinlogReader {
    let mut reader = new_reader();
    reader.event(&opening("binlog.000001")).unwrap();
    reader.event(&format()).unwrap();
    reader.place.offset = read;
    reader
}

/// A reader that has read nothing.
fn new_reader() -> BinlogReader {
    let at = FileOffset { file: "binlog.000001".into(), offset: WANTED };
    let position = BinlogPosition::File { at, begun: None };
    let mark = Mark { position: position.to_position(), transactions: 0 };
    let from = Checkpoint { epoch: Epoch(1), mark, split: None };
    let settings = ReaderSettings {
        filter: Arc::default(),
        collations: Arc::default(),
        ignores_case: false,
        logs_cascades: true,
        has_lead_in: true,
        prepared: Prepared::default(),
        server: "server".into(),
        dictionary: None,
        shapes: Shapes::default(),
        keys: crate::keys::Keys::default(),
        damaged: Arc::default(),
    };
    BinlogReader::new(&from, position, settings)
}

/// The begin of a transaction, 44 bytes.
fn anonymous(end: u64) -> Vec<u8> {
    event(kind::ANONYMOUS_GTID, end, 0, &[0; 25])
}

#[test]
fn a_file_that_was_cut_off_at_the_position_hides_nothing_of_the_next() {
    let mut reader = reader(WANTED);
    reader.event(&rotation("binlog.000002")).unwrap();
    reader.event(&format()).unwrap();
    let end = reader.place.offset + 44;
    reader.event(&anonymous(end)).unwrap();
    assert!(!reader.is_between(), "the first transaction of the next file is taken");
}

#[test]
fn a_file_that_ends_before_the_position_has_lost_it() {
    let error = reader(WANTED - 100).event(&rotation("binlog.000002")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
}

#[test]
fn the_lead_in_ends_at_the_position() {
    let mut reader = reader(WANTED - 44);
    reader.event(&anonymous(WANTED)).unwrap();
    assert!(reader.is_between());
    reader.event(&anonymous(WANTED + 44)).unwrap();
    assert!(!reader.is_between());
}

/// Were a checksum that is wrong taken for none, the file's name would end with four bytes of nonsense.
#[test]
fn the_rotation_that_begins_a_stream_is_checked_in_every_byte() {
    let whole = opening("binlog.000001");
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        let error = new_reader().event(&damaged).expect_err(&format!("byte {place}"));
        assert!(matches!(error.kind(), ErrorKind::Transient | ErrorKind::Corrupt), "byte {place}: {error}");
    }
    let error = new_reader().event(&rotation("binlog.000001")).expect_err("one without a checksum");
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    let mut reader = new_reader();
    reader.event(&whole).unwrap();
    assert_eq!(&*reader.place.here().file, "binlog.000001");
}
