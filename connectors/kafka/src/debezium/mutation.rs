//! Broken records of random tables, 200,000 of them (a million of one table are in tests/hostile), each read as ours and as one that Debezium wrote: an error each, or a row that can be read; never a panic, never a value in an error.
//!
//! Valid records of random tables (with their truths) are damaged: bytes changed, cut out, doubled, put in from a list of
//! what JSON readers stumble over. The case and its seed are printed on failure.

use std::sync::Arc;

use proptest::prelude::*;
use tailrace_contract::DebeziumSettings;
use tailrace_row::{Charset, ColumnType, Operation, RecordBatch, Sequence, TableName, TextForm};

use super::{
    RawRecord, RecordStyle, Scratch, TableForm, TheirTable,
    decode::Unreadable,
    decode_theirs,
    sample::{self, Owned},
};

const TOKENS: &[&str] = &[
    "null",
    "true",
    "-",
    "1e999",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "0.1",
    "\"",
    "\\",
    "\\u",
    "\\uD800",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "{}",
    "[[[[[[[[",
    "\u{0}",
    "\"before\":null,",
    "\"payload\":{}",
    "\"schema\":1,",
    "\"1970-01-01T00:00:00Z\"",
    "99999999999999999999-01-01",
    "é",
    "====",
    "\"op\":\"d\"",
];

/// A small generator, so that a seed tells the whole damage.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).expect("a small number")).expect("a small number")
    }

    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(out.len());
            let end = (at + self.below(12)).min(out.len());
            match self.below(6) {
                0 => out.truncate(at),
                1 => drop(out.drain(at..end)),
                2 => out.splice(at..at, TOKENS[self.below(TOKENS.len())].bytes()).for_each(drop),
                3 => out.splice(at..end, TOKENS[self.below(TOKENS.len())].bytes()).for_each(drop),
                4 => {
                    let doubled = out[at..end].to_vec();
                    out.splice(at..at, doubled).for_each(drop);
                }
                _ if at < out.len() => out[at] = u8::try_from(self.below(256)).expect("a byte"),
                _ => {}
            }
        }
        out
    }
}

fn decode(table: &TableForm, value: &[u8], truths: Option<&[u8]>, out: &mut RecordBatch) -> Result<(), Unreadable> {
    super::decode(table, &raw(value, truths), &mut Scratch::default(), out)
}

fn raw<'a>(value: &'a [u8], truths: Option<&'a [u8]>) -> RawRecord<'a> {
    RawRecord { value, truths, sequence: Sequence::default(), lane: 0, offset: 0 }
}

/// Reads all of the last row, so that a half-written image would be noticed.
fn touch(out: &RecordBatch) -> usize {
    let record = out.records().last().expect("a record");
    let images = [out.before(record), out.after(record)];
    images.into_iter().flatten().flat_map(|image| image.fields()).count()
}

/// The row that is deleted lacks the columns whose bit is set.
fn changes(schema: &tailrace_row::TableSchema, [before, after]: [&[Owned]; 2], absent: u64) -> Vec<sample::Change> {
    vec![
        (Operation::Update, Some(before.to_vec()), Some(after.to_vec())),
        (Operation::Delete, Some(sample::part_of(schema, after, absent)), None),
        (Operation::Read, None, Some(before.to_vec())),
    ]
}

/// Returns how many damaged records were read as ours and as Debezium's.
fn check(
    schema: &Arc<tailrace_row::TableSchema>,
    rows: [&[Owned]; 2],
    seed: u64,
    tries: usize,
    planted: &str,
) -> [usize; 2] {
    let table = TableForm::new(Arc::clone(schema));
    let settings = DebeziumSettings { has_precise_unsigned: true, is_unaltered: true, ..DebeziumSettings::default() };
    let theirs = TheirTable::new(Arc::new(TableForm::new(Arc::clone(schema))), settings);
    let mut random = Random(seed | 1);
    // With their schema, most of the damage hits that.
    let style = RecordStyle { has_inline_schemas: random.below(2) == 0, ..sample::style() };
    let absent = if style.has_inline_schemas { 0 } else { u64::MAX };
    let batch = sample::batch(schema, sample::origin(5), &changes(schema, rows, absent));
    let written = sample::encode(&style, "shop.d.t", &batch).expect("every value can be written");
    let written: Vec<_> = written.iter().filter(|record| record.value.is_some()).collect();
    let mut out = RecordBatch::new();
    let mut accepted = [0, 0];
    for _ in 0..tries {
        let record = written[random.below(written.len())];
        let mut value = record.value.clone().expect("filtered").into_bytes();
        let mut truths = record.truths.clone().map(String::into_bytes);
        match &mut truths {
            Some(truths) if random.below(3) == 0 => *truths = random.damage(truths),
            Some(_) | None => value = random.damage(&value),
        }
        for is_ours in [true, false] {
            let before = out.len();
            let read = match is_ours {
                true => decode(&table, &value, truths.as_deref(), &mut out),
                false => decode_theirs(&theirs, &raw(&value, None), &mut Scratch::default(), &mut out),
            };
            match read {
                Ok(()) => {
                    accepted[usize::from(!is_ours)] += 1;
                    assert!(touch(&out) >= schema.columns().len());
                    assert_eq!(out.len(), before + 1);
                }
                Err(Unreadable(text)) => {
                    assert_eq!(out.len(), before, "nothing of a broken record is kept");
                    assert!(planted.is_empty() || !text.contains(planted), "a value in an error: {text}");
                }
            }
        }
        if out.len() > 50 {
            out.clear();
        }
    }
    accepted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn broken_records_are_errors((schema, before, after) in sample::table_and_rows(), seed in any::<u64>()) {
        check(&schema, [&before, &after], seed, 3_400, "");
    }
}

#[test]
fn errors_hold_no_values() {
    let text = ColumnType::Text { form: TextForm::Varying, bytes_max: 100, charset: Charset::Utf8mb4 };
    let columns = [
        ("id", ColumnType::Integer { bits: 64, unsigned: false }, false),
        ("note", text, true),
        ("j", ColumnType::Json, true),
    ];
    let schema = sample::schema(TableName::new("d", "t"), &columns, &[0]);
    let row = |id| vec![Owned::Integer(id), Owned::Text("planted".into()), Owned::Json("\"planted\"".into())];
    let accepted = check(&schema, [&row(7), &row(8)], 0x5eed, 30_000, "planted");
    let is_some = |read: &usize| (100..20_000).contains(read);
    assert!(accepted.iter().all(is_some), "the damage is neither harmless nor total: {accepted:?} were read");
    // A value where a number is wanted: the reader's own words would quote it.
    let table = TableForm::new(schema);
    let value = r#"{"before":null,"after":{"id":"planted","note":null,"j":null}}"#;
    let error = decode(&table, value.as_bytes(), None, &mut RecordBatch::new()).unwrap_err();
    assert_eq!(error.0, "column id is not of its type (byte 38)");
}
