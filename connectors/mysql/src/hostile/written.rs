//! What our own code writes into positions, made from recordings of real servers: undamaged inputs of the entries that read it.

use tailrace_row::RecordBatch;

use super::{DATABASE, captured, filter, new_reader, query, sealed, take};
use crate::{
    binlog::{BinlogReader, Step},
    events::{Header, kind},
    keys::Keys,
    position::FileOffset,
    row_decoder::charset::Collations,
    shapes::{Memory, Shapes},
    witness::Witness,
};

/// The witnesses of positions behind the transactions of a recording, its events as [`super::events_of`] gives them.
#[must_use]
pub fn witnesses_of(events: &[&[u8]], is_mariadb: bool) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut batch = RecordBatch::new();
    let mut reader: Option<BinlogReader> = None;
    for event in events {
        let begins = Header::parse_before(event).is_ok_and(|header| is_named(header.kind));
        // What a stream stops at ends one; the next begins with the transaction behind it.
        if reader.is_none() && begins {
            let mut begun = begun(is_mariadb);
            take(&mut begun, &sealed(events[0], true), &mut batch);
            reader = Some(begun);
        }
        let Some(open) = &mut reader else { continue };
        match take(open, &sealed(event, true), &mut batch) {
            Some(Step::TransactionEnd | Step::SchemaChange) => {
                let position = open.mark().position;
                Witness::of(&position).expect("invariant: what was written is read");
                texts.extend(position.witness().map(|text| text.as_bytes().to_vec()));
            }
            Some(_) => {}
            None => reader = None,
        }
    }
    texts
}

/// What positions remember of tables behind each of the statements: shapes, with unique keys of them and without.
#[must_use]
pub fn memories_of(statements: &[&str]) -> Vec<Vec<u8>> {
    let (filter, collations) = (filter(), Collations::of(super::COLLATIONS));
    let mut shapes = Shapes::default();
    shapes.need();
    let mut keys = Keys::default();
    let here = FileOffset { file: "binlog.000001".into(), offset: 4 };
    let mut texts = Vec::new();
    for (number, statement) in statements.iter().enumerate() {
        let captured = captured(0, &filter, &collations);
        shapes.follow(&filter, captured.ignores_case, captured.reshapes(&query(0, statement.as_bytes())));
        let Some(shapes) = shapes.changed_memory() else { continue };
        texts.push(Memory::text(&shapes, ""));
        let table = tailrace_row::TableName::new(DATABASE, &format!("t {number}"));
        let _ = keys.learn(&table, vec!["clé \"".into(), "b".into()], &here);
        let keys = keys.changed_memory().unwrap_or_default();
        texts.extend([Memory::text(&shapes, &keys), Memory::text("", &keys)]);
    }
    assert!(texts.iter().all(|text| Memory::parse(text).is_some()), "what was written is read");
    texts.into_iter().map(String::into_bytes).collect()
}

fn is_named(code: u8) -> bool {
    matches!(code, kind::GTID | kind::GTID_TAGGED | kind::DOMAIN_GTID)
}

fn begun(is_mariadb: bool) -> BinlogReader {
    let server = if is_mariadb { "mariadb:12 a;b" } else { "mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562" };
    let witness = Witness { server: server.into(), started: 1_795_360_827, seen: Vec::new() };
    new_reader(is_mariadb).with_witness(witness)
}
