//! What may stand in a compressed transaction, and what ends the stream.

use tailrace_contract::ErrorKind;

use super::*;
use crate::{events::HEADER_BYTES, position::FileOffset};

/// An event without checksum.
fn event(kind: u8, end: u64, flags: u16, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(HEADER_BYTES + body.len()).unwrap();
    let mut event = 1_700_000_000_u32.to_le_bytes().to_vec();
    event.push(kind);
    event.extend_from_slice(&1_u32.to_le_bytes());
    event.extend_from_slice(&size.to_le_bytes());
    event.extend_from_slice(&u32::try_from(end).unwrap().to_le_bytes());
    event.extend_from_slice(&flags.to_le_bytes());
    event.extend_from_slice(body);
    event
}

fn statement(text: &str) -> Vec<u8> {
    event(kind::QUERY, 0, 0, &[&[0; 13 + 1], text.as_bytes()].concat())
}

/// Plain, as a server packs what zstd makes no smaller.
fn payload(start: u64, inside: &[Vec<u8>]) -> Vec<u8> {
    let inside = inside.concat();
    let length = [&[252][..], &u16::try_from(inside.len()).unwrap().to_le_bytes()].concat();
    let head = [&[1, 3], &length[..], &[2, 3, 252, 255, 0, 3, 3], &length, &[0]].concat();
    let body = [head, inside].concat();
    event(kind::TRANSACTION_PAYLOAD, start + (HEADER_BYTES + body.len()) as u64, 0, &body)
}

const BEGIN: u64 = 200;

/// A reader at the begin of a file without checksums.
fn reader() -> BinlogReader {
    let at = FileOffset { file: "binlog.000001".into(), offset: BEGIN };
    let position = BinlogPosition::File { at, begun: None };
    let mark = Mark { position: position.to_position(), transactions: 0 };
    let from = Checkpoint { epoch: Epoch(1), mark, split: None };
    let settings = ReaderSettings {
        filter: Arc::default(),
        collations: Arc::default(),
        ignores_case: false,
        logs_cascades: true,
        has_lead_in: false,
        prepared: Prepared::default(),
        server: "server".into(),
        dictionary: None,
        shapes: Shapes::default(),
        keys: crate::keys::Keys::default(),
        damaged: Arc::default(),
    };
    let mut reader = BinlogReader::new(&from, position, settings);
    reader.format = Some(Format { has_checksums: false });
    reader.place.rotate("binlog.000001", BEGIN);
    reader
}

/// Takes a transaction that is packed so.
fn take(reader: &mut BinlogReader, inside: &[Vec<u8>]) -> Result<()> {
    let limits = tailrace_contract::BatchLimits { bytes_max: 1, records_max: 1, wait_max: std::time::Duration::ZERO };
    let start = reader.place.offset;
    reader.event(&event(kind::ANONYMOUS_GTID, start + 44, 0, &[0; 25]))?;
    let packet = payload(start + 44, inside);
    assert_eq!(reader.event(&packet)?, Step::Parts);
    let mut step = Step::Parts;
    while matches!(step, Step::Parts | Step::Rows) {
        step = reader.proceed(&packet, &mut RecordBatch::new(), &limits)?;
    }
    Ok(())
}

#[test]
fn a_packed_transaction_ends_behind_its_packet() {
    let mut reader = reader();
    for inside in [
        &[statement("BEGIN"), event(kind::XID, 0, 0, &[0; 8])][..],
        &[
            statement("BEGIN"),
            event(kind::ROWS_QUERY, 0, 0, b"\x01x"),
            event(99, 0, FLAG_IGNORABLE, &[]),
            statement("COMMIT"),
        ],
    ] {
        let start = reader.place.offset;
        take(&mut reader, inside).unwrap();
        let end = start + 44 + payload(start, inside).len() as u64;
        assert!(reader.is_between());
        assert_eq!(reader.mark().position.as_str(), format!("file:binlog.000001:{end}"));
    }
    assert_eq!((reader.transactions, reader.counts.compressed_transactions, reader.counts.ignored_events), (2, 2, 1));
}

#[test]
fn what_belongs_to_no_transaction_ends_the_stream() {
    let (begin, commit) = (statement("BEGIN"), event(kind::XID, 0, 0, &[0; 8]));
    for (inside, what) in [
        (&[begin.clone()][..], "ends before the transaction"),
        (&[], "ends before the transaction"),
        (&[begin.clone(), commit.clone(), statement("BEGIN")], "events follow"),
        (&[begin.clone(), commit.clone(), commit.clone()], "events follow"),
        (&[begin.clone(), payload(0, std::slice::from_ref(&commit)), commit.clone()], "belongs to no transaction"),
        (&[event(kind::ANONYMOUS_GTID, 0, 0, &[0; 25]), begin.clone(), commit.clone()], "belongs to no transaction"),
        (&[begin.clone(), event(kind::ROTATE, 0, 0, &[0; 20]), commit.clone()], "belongs to no transaction"),
        (
            &[begin.clone(), event(kind::FORMAT_DESCRIPTION, 0, 0, &[0; 99]), commit.clone()],
            "belongs to no transaction",
        ),
        (std::slice::from_ref(&commit), "a commit outside"),
    ] {
        let error = take(&mut reader(), inside).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        let text = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(text.contains(what) && text.contains("binlog.000001:244"), "{what}: {text}");
    }
    let error = take(&mut reader(), &[begin.clone(), event(99, 0, 0, &[]), commit]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    let error = reader().event(&payload(BEGIN, &[begin])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
