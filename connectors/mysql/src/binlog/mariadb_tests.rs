//! Events of MariaDB 10.11 as its dump sent them (with `log_bin_compress`), for a table `rec.t (id INT PRIMARY KEY, c
//! VARCHAR(200))` in domain 3.

use tailrace_contract::{BatchLimits, ErrorKind, TablePattern};
use tailrace_row::{Field, Operation, TableName, Value};

use super::*;
use crate::gtid::GtidList;

const ROTATE: &str = "\
     0000000004010000002c000000000000002000040000000000000062696e6c6f672e303030303031e9d2ca6e";
const FORMAT: &str = "\
     e389036b0f01000000fc000000000100000000040031302e31312e31392d4d6172696144422d302b646562313275312d6c6f \
     670000000000000000000000000000000000000000e389036b13380d000800120004040404120000e400041a080000000808 \
     08020000000a0a0a0000000000000a0a0a000000000000000000000000000000000000000000000000000000000000000000 \
     0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000 \
     000000000000000000000000000000000000000000000000000000000000000000000000041304000d0808080a0a0a010072 \
     9ecf";
const GTID_LIST: &str = "\
     e389036ba3010000001d0000001d01000000000000000000000bbdc3d7";
const CHECKPOINT: &str = "\
     e389036ba101000000280000004501000000000d00000062696e6c6f672e30303030303186d8ce56";
const GTID_OF_DDL: &str = "\
     e389036ba2010000002a00000094020000080001000000000000000300000029000000000000edbed54c";
const CREATE_TABLE_COMPRESSED: &str = "\
     e389036ba501000000860000001a0300000000b3000000000000000300002300000000000101000020540000000006037374 \
     640421002100080081f005000000000000726563008133789c4b2e4a4d2c495528494cca01920a1a99290a9979250a054599 \
     b98945950ad9a9953a0ac90a658945c91989451a4606069a9a00d19611006acc4b9c";
const GTID_OF_INSERT: &str = "\
     e389036ba2010000002a0000004403000008000200000000000000030000000c0000000000007cc633bd";
const ANNOTATE: &str = "\
     e389036ba001000000490000008d0300000000696e7365727420696e746f20742076616c7565732028312c20726570656174 \
     28276162272c343029292c28322c6e756c6c29946daf4d";
const TABLE_MAP: &str = "\
     e389036b13010000003e000000cb03000000005e01000000000100037265630001740002030f0220030201010002012d0405 \
     0269640163080100935f6296";
const WRITE_ROWS_COMPRESSED: &str = "\
     e389036ba6010000003a0000000504000000005e010000000001000203815c789cfbc3c8c0c010c09098445df88f09682c00 \
     e60020c673f6d14a";
const XID: &str = "\
     e389036b10010000001f000000240400000000f105000000000000580a9915";
const GTID_OF_UPDATE: &str = "\
     e389036ba2010000002a0000004e04000008000300000000000000030000000c000000000000b9c4a4e7";
const UPDATE_MAP: &str = "\
     e389036b13010000003e000000cc04000000005e01000000000100037265630001740002030f0220030201010002012d0405 \
     0269640163080100db23ba9c";
const UPDATE_ROWS_COMPRESSED: &str = "\
     e389036ba701000000400000000c05000000005e01000000000100020303819a789cfbc3c8c0c010c09098445df80764ac0d \
     43720af91000ab8f38515a60ae5f";
const UPDATE_XID: &str = "\
     e389036b10010000001f0000002b0500000000f205000000000000c8601410";
const GTID_OF_XA_PREPARE: &str = "\
     e389036ba2010000002e0000003506000008000500000000000000030000004c070000000101786201ff0f95d228";
const XA_END: &str = "\
     e389036b020100000056000000250700000800b3000000000000000300001a00000000000101000020540000000006037374 \
     640421002100080072656300584120454e442058273738272c58273632272c372edb35b4";
const XA_PREPARE: &str = "\
     e389036b2601000000260000004b0700000000000700000001000000010000007862b709cc1e";
const GTID_OF_XA_COMMIT: &str = "\
     e389036ba2010000002c0000007707000008000600000000000000030000008d0700000001017862c12daf79";
const XA_COMMIT: &str = "\
     e389036b020100000059000000d00700000800b3000000000000000300001a00000000000101000020540000000006037374 \
     640421002100080072656300584120434f4d4d49542058273738272c58273632272c37197d7c31";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The event with other content, its length and checksum made right again.
fn changed(event: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut event = event[..event.len() - CHECKSUM_BYTES].to_vec();
    change(&mut event);
    let size = u32::try_from(event.len() + CHECKSUM_BYTES).unwrap();
    event[9..13].copy_from_slice(&size.to_le_bytes());
    let checksum = crc32fast::hash(&event);
    event.extend_from_slice(&checksum.to_le_bytes());
    event
}

fn reader(list: &str, table: &str) -> BinlogReader {
    let list: GtidList = list.parse().unwrap();
    let position = BinlogPosition::Domains { list, seen_at: None };
    let mark = Mark { position: position.to_position(), transactions: 0 };
    let from = Checkpoint { epoch: Epoch(1), mark, split: None };
    let settings = ReaderSettings {
        filter: Arc::new(TableFilter { patterns: vec![TablePattern::Table(TableName::new("rec", table))] }),
        collations: Arc::new(Collations::of(&[(45, "utf8mb4"), (63, "binary")])),
        ignores_case: false,
        logs_cascades: true,
        has_lead_in: false,
        prepared: Prepared::default(),
        server: "server 1".into(),
        dictionary: Some(Dictionary::default()),
        shapes: Shapes::default(),
        keys: crate::keys::Keys::default(),
        damaged: Arc::default(),
    };
    let mut reader = BinlogReader::new(&from, position, settings);
    for event in [ROTATE, FORMAT, GTID_LIST, CHECKPOINT] {
        assert_eq!(reader.event(&bytes(event)).unwrap(), Step::Continue);
    }
    reader
}

fn position(reader: &BinlogReader) -> String {
    reader.mark().position.as_str().to_owned()
}

const LIMITS: BatchLimits = BatchLimits { bytes_max: 1 << 20, records_max: 1, wait_max: std::time::Duration::ZERO };

/// Operation and the two columns of each side, in the words of the test.
fn rows(reader: &mut BinlogReader, event: &[u8]) -> Vec<(Operation, String)> {
    assert_eq!(reader.event(event).unwrap(), Step::Rows);
    let mut all = Vec::new();
    let mut is_done = false;
    while !is_done {
        let mut batch = RecordBatch::new();
        is_done = reader.proceed(event, &mut batch, &LIMITS).unwrap() == Step::Continue;
        let text = |fields: Vec<Field<'_>>| match fields[..] {
            [Field::Value(Value::Integer(id)), Field::Null] => format!("{id} null"),
            [Field::Value(Value::Integer(id)), Field::Value(Value::Text(text))] => format!("{id} {text}"),
            _ => panic!("{fields:?}"),
        };
        for record in batch.records() {
            let sides = [batch.before(record), batch.after(record)].into_iter().flatten();
            let sides: Vec<String> = sides.map(|image| text(image.fields().collect())).collect();
            all.push((record.operation, sides.join(" -> ")));
        }
    }
    all
}

#[test]
fn a_statement_that_is_its_own_transaction() {
    let mut reader = reader("", "other");
    assert_eq!(reader.event(&bytes(GTID_OF_DDL)).unwrap(), Step::Continue);
    assert!(!reader.is_between());
    assert_eq!(reader.event(&bytes(CREATE_TABLE_COMPRESSED)).unwrap(), Step::TransactionEnd);
    assert_eq!((position(&reader), reader.mark().transactions), ("mariadb:3-1-1@binlog.000001:794".to_owned(), 1));
}

#[test]
fn compressed_statements_are_judged_by_their_text() {
    let mut reader = reader("", "t");
    reader.event(&bytes(GTID_OF_DDL)).unwrap();
    let drop = changed(&bytes(CREATE_TABLE_COMPRESSED), |event| {
        let at = event.len() - event[..].windows(2).rev().position(|pair| pair == [0x81, 0x33]).unwrap() - 2;
        event.truncate(at);
        use std::io::Write as _;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(b"DROP TABLE t").unwrap();
        event.extend_from_slice(&[0x81, 12]);
        event.extend_from_slice(&encoder.finish().unwrap());
    });
    let before = position(&reader);
    assert_eq!(reader.event(&drop).unwrap(), Step::SchemaChange);
    assert_eq!(position(&reader), before, "the mark lies before the statement until it is taken");
    let change = reader.take_change().unwrap().unwrap();
    let table = TableName::new("rec", "t");
    assert_eq!(
        (&*change.statement, &change.acts),
        ("DROP TABLE t", &vec![tailrace_contract::TableAct::Drop { table }])
    );
    assert!(change.place.contains("3-1-1") && position(&reader).contains("3-1-1"), "{change:?}");
}

/// F05: what a transaction before said of a table's number counts no more.
#[test]
fn rows_without_a_table_map_in_their_transaction_are_refused() {
    let mut reader = reader("3-1-1", "t");
    for event in [GTID_OF_INSERT, ANNOTATE, TABLE_MAP] {
        assert_eq!(reader.event(&bytes(event)).unwrap(), Step::Continue);
    }
    assert_eq!(rows(&mut reader, &bytes(WRITE_ROWS_COMPRESSED)).len(), 2);
    assert_eq!(reader.event(&bytes(XID)).unwrap(), Step::TransactionEnd);
    assert_eq!(reader.event(&bytes(GTID_OF_UPDATE)).unwrap(), Step::Continue);
    let error = reader.event(&bytes(UPDATE_ROWS_COMPRESSED)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("without table map"), "{error}");
}

#[test]
fn compressed_rows_come_row_by_row() {
    let mut reader = reader("3-1-1", "t");
    for event in [GTID_OF_INSERT, ANNOTATE, TABLE_MAP] {
        assert_eq!(reader.event(&bytes(event)).unwrap(), Step::Continue);
    }
    let inserted = [(Operation::Insert, format!("1 {}", "ab".repeat(40))), (Operation::Insert, "2 null".to_owned())];
    let event = bytes(WRITE_ROWS_COMPRESSED);
    assert_eq!(rows(&mut reader, &event), inserted);
    // The later form of the event has room for more in its head; a delete has the same content as an insert.
    let second = changed(&event, |event| {
        event[4] = kind::WRITE_ROWS_COMPRESSED;
        event.splice(HEADER_BYTES + 8..HEADER_BYTES + 8, [2, 0]);
    });
    assert_eq!(rows(&mut reader, &second), inserted);
    let deleted = inserted.map(|(_, row)| (Operation::Delete, row));
    for (event, kind) in [(&event, kind::DELETE_ROWS_COMPRESSED_V1), (&second, kind::DELETE_ROWS_COMPRESSED)] {
        assert_eq!(rows(&mut reader, &changed(event, |event| event[4] = kind)), deleted);
    }
    assert_eq!(reader.event(&bytes(XID)).unwrap(), Step::TransactionEnd);

    for event in [GTID_OF_UPDATE, UPDATE_MAP] {
        assert_eq!(reader.event(&bytes(event)).unwrap(), Step::Continue);
    }
    let updated = [(Operation::Update, format!("1 {} -> 1 {}", "ab".repeat(40), "cd".repeat(30)))];
    let event = bytes(UPDATE_ROWS_COMPRESSED);
    assert_eq!(rows(&mut reader, &event), updated);
    let second = changed(&event, |event| {
        event[4] = kind::UPDATE_ROWS_COMPRESSED;
        event.splice(HEADER_BYTES + 8..HEADER_BYTES + 8, [2, 0]);
    });
    assert_eq!(rows(&mut reader, &second), updated);
    assert_eq!(reader.event(&bytes(UPDATE_XID)).unwrap(), Step::TransactionEnd);
    assert!(position(&reader).starts_with("mariadb:3-1-3@") && reader.mark().transactions == 2);
}

#[test]
fn damaged_compressed_rows_end_the_stream() {
    let whole = bytes(WRITE_ROWS_COMPRESSED);
    for cut in 1..30 {
        let mut reader = reader("3-1-1", "t");
        for event in [GTID_OF_INSERT, TABLE_MAP] {
            reader.event(&bytes(event)).unwrap();
        }
        let event = changed(&whole, |event| event.truncate(event.len() - cut));
        match reader.event(&event) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            // Only zlib's own checksum was cut, or a part of it, if it is not looked at.
            Ok(step) => panic!("{step:?} with {cut} bytes less"),
        }
    }
}

#[test]
fn events_that_are_cut_short_name_their_place() {
    let before = [GTID_OF_INSERT, TABLE_MAP, WRITE_ROWS_COMPRESSED, XID];
    for (at, event) in before.iter().enumerate().skip(1) {
        let whole = bytes(event);
        for cut in 1..whole.len() - HEADER_BYTES - CHECKSUM_BYTES {
            let mut reader = reader("3-1-1", "t");
            for event in &before[..at] {
                if reader.event(&bytes(event)).unwrap() == Step::Rows {
                    rows_again(&mut reader, &bytes(event));
                }
            }
            match reader.event(&changed(&whole, |event| event.truncate(event.len() - cut))) {
                Err(error) => assert!(error.to_string().contains("binlog.000001:"), "{error}"),
                // What is missing is at the end of what nobody needs.
                Ok(Step::Continue | Step::TransactionEnd) if at != 2 => {}
                Ok(step) => panic!("{step:?} with {cut} bytes less of event {at}"),
            }
        }
    }
}

/// Every byte of every event counts for its checksum.
#[test]
fn a_flipped_byte_in_any_event_is_noticed() {
    let stream = [GTID_OF_INSERT, ANNOTATE, TABLE_MAP, WRITE_ROWS_COMPRESSED, XID, GTID_OF_UPDATE, UPDATE_MAP];
    for (at, event) in stream.iter().enumerate() {
        let whole = bytes(event);
        for byte in 0..whole.len() {
            let mut reader = reader("3-1-1", "t");
            for event in &stream[..at] {
                if reader.event(&bytes(event)).unwrap() == Step::Rows {
                    rows_again(&mut reader, &bytes(event));
                }
            }
            let mut damaged = whole.clone();
            damaged[byte] ^= 0x10;
            let step = reader.event(&damaged);
            assert!(step.is_err(), "{step:?} with byte {byte} of event {at} flipped");
        }
    }
}

/// Takes the rows of an event that was given.
fn rows_again(reader: &mut BinlogReader, event: &[u8]) {
    while reader.proceed(event, &mut RecordBatch::new(), &LIMITS).unwrap() != Step::Continue {}
}

#[test]
fn both_phases_of_xa_are_known_by_the_name_in_their_gtid() {
    let mut reader = reader("3-1-4", "other");
    for event in [GTID_OF_XA_PREPARE, XA_END] {
        assert_eq!(reader.event(&bytes(event)).unwrap(), Step::Continue);
    }
    assert_eq!(reader.event(&bytes(XA_PREPARE)).unwrap(), Step::TransactionEnd);
    assert_eq!(reader.event(&bytes(GTID_OF_XA_COMMIT)).unwrap(), Step::Continue);
    assert_eq!(reader.event(&bytes(XA_COMMIT)).unwrap(), Step::TransactionEnd);
    assert!(position(&reader).starts_with("mariadb:3-1-6@"));

    let mut unprepared = self::reader("3-1-5", "other");
    unprepared.event(&bytes(GTID_OF_XA_COMMIT)).unwrap();
    assert_eq!(unprepared.event(&bytes(XA_COMMIT)).unwrap(), Step::Group, "it is looked for");
    assert_eq!(unprepared.wanted_group().xid.to_string(), "X'78',X'62',7");

    let mut captured = self::reader("3-1-4", "t");
    let batch = &mut RecordBatch::new();
    for event in [GTID_OF_XA_PREPARE, TABLE_MAP, WRITE_ROWS_COMPRESSED, XA_END] {
        assert_eq!(captured.event(&bytes(event)).unwrap(), Step::Continue);
    }
    assert_eq!(captured.event(&bytes(XA_PREPARE)).unwrap(), Step::TransactionEnd);
    assert!(position(&captured).starts_with("xa:7.78.62=3-1-5@"), "{}", position(&captured));
    assert_eq!(captured.event(&bytes(GTID_OF_XA_COMMIT)).unwrap(), Step::Continue);
    let mut step = captured.event(&bytes(XA_COMMIT)).unwrap();
    while step != Step::TransactionEnd {
        assert!(position(&captured).starts_with("xa:7.78.62="), "it is named up to the end");
        step = captured.proceed(&[], batch, &LIMITS).unwrap();
    }
    assert!(position(&captured).starts_with("mariadb:3-1-6@"));
    let origin = batch.origin(&batch.records()[1]);
    assert_eq!((batch.len(), origin.transaction, origin.event), (2, 2, 0));
    assert_eq!(origin.transaction_name.as_deref(), Some("3-1-6"));
}

#[test]
fn numbers_that_go_back_end_the_stream() {
    for list in ["3-1-2", "3-1-900"] {
        let error = reader(list, "t").event(&bytes(GTID_OF_INSERT)).unwrap_err();
        assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("3-1-2"), "{error}");
    }
    // Of another server they prove nothing, nor do those of another domain.
    for list in ["3-2-900", "0-1-900"] {
        reader(list, "t").event(&bytes(GTID_OF_INSERT)).unwrap();
    }
}

#[test]
fn encryption_is_the_servers_own_affair_and_the_unknown_is_refused() {
    let mut reader = reader("", "t");
    let with_kind = |kind| changed(&bytes(CHECKPOINT), |event| event[4] = kind);
    assert_eq!(reader.event(&with_kind(kind::START_ENCRYPTION)).unwrap(), Step::Continue);
    let error = reader.event(&with_kind(172)).unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("172"), "{error}");
}

/// A heartbeat with the place in its header, or before the file's name.
fn heartbeat(end: u32, before_name: &[u8]) -> Vec<u8> {
    changed(&bytes(CHECKPOINT), |event| {
        event[4] = kind::HEARTBEAT;
        event[13..17].copy_from_slice(&end.to_le_bytes());
        event.truncate(HEADER_BYTES);
        event.extend_from_slice(before_name);
        event.extend_from_slice(b"binlog.000001");
    })
}

#[test]
fn heartbeats_beyond_4_gib_say_their_whole_place() {
    let mut reader = reader("3-1-1", "t");
    reader.event(&heartbeat(70_000, &[])).unwrap();
    assert_eq!(reader.place.offset, 70_000);
    let far = (1u64 << 32) + 0x8283_8485;
    reader.event(&heartbeat(0, &far.to_le_bytes())).unwrap();
    assert_eq!(reader.place.offset, far);
    let event = changed(&bytes(GTID_OF_INSERT), |event| {
        let end = 0x8283_8485 + u32::try_from(event.len() + CHECKSUM_BYTES).unwrap();
        event[13..17].copy_from_slice(&end.to_le_bytes());
    });
    reader.event(&event).unwrap();
    assert_eq!(reader.place.offset, far + event.len() as u64);
}

#[test]
fn the_position_is_found_once_every_domain_or_the_end_was_heard_of() {
    let mut reader = self::reader("0-1-5,3-1-1", "t");
    reader.event(&bytes(GTID_OF_INSERT)).unwrap();
    assert!(reader.is_sought(), "of domain 0 nothing has come");
    reader.event(&heartbeat(70_000, &[])).unwrap();
    assert!(!reader.is_sought());
    let mut reader = self::reader("3-1-1", "t");
    assert!(reader.is_sought());
    reader.event(&bytes(GTID_OF_INSERT)).unwrap();
    assert!(!reader.is_sought());
    assert!(!self::reader("", "t").is_sought(), "from the begin there is nothing to look for");
}
