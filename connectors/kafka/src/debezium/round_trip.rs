//! What is written is read back, for every type and value; and broken records are errors, never panics.

use std::sync::Arc;

use proptest::prelude::*;
use tailrace_row::{Operation, RecordBatch, Sequence, TableSchema, has_changed_key};

use super::{
    RawRecord, Scratch, TableForm,
    decode::Unreadable,
    encode::RecordStyle,
    sample::{self, Owned, Written},
};

fn decode(schema: &Arc<TableSchema>, written: &Written, out: &mut RecordBatch) -> Result<(), Unreadable> {
    let raw = RawRecord {
        value: written.value.as_ref().expect("no tombstone").as_bytes(),
        truths: written.truths.as_ref().map(String::as_bytes),
        sequence: written.sequence.as_ref().expect("a sequence").parse().expect("a sequence"),
        lane: 1,
        offset: 17,
    };
    super::decode(&TableForm::new(Arc::clone(schema)), &raw, &mut Scratch::default(), out)
}

/// A record as the tests compare it: images by their bytes, which are equal exactly if all fields are.
type Told<'a> = (Operation, Sequence, Option<&'a [u8]>, Option<&'a [u8]>);

fn told(batch: &RecordBatch) -> Vec<Told<'_>> {
    let one = |record| {
        let before = batch.before(record).map(|image| image.bytes());
        (record.operation, batch.sequence(record), before, batch.after(record).map(|image| image.bytes()))
    };
    batch.records().iter().map(one).collect()
}

/// What the log must give back: a key change comes as its two halves.
fn expected<'a>(schema: &TableSchema, batch: &'a RecordBatch) -> Vec<Told<'a>> {
    let mut all = Vec::new();
    for record in batch.records() {
        let sequence = batch.sequence(record);
        let (before, after) = (batch.before(record), batch.after(record));
        let (before_bytes, after_bytes) = (before.map(|image| image.bytes()), after.map(|image| image.bytes()));
        match (record.operation, before, after) {
            (Operation::Update, Some(before), Some(after)) if has_changed_key(schema, before, after) => {
                all.push((Operation::Delete, sequence, before_bytes, None));
                all.push((Operation::Insert, sequence.second_half(), None, after_bytes));
            }
            (operation, ..) => all.push((operation, sequence, before_bytes, after_bytes)),
        }
    }
    all
}

fn changes(before: &[Owned], after: &[Owned]) -> Vec<sample::Change> {
    let (before, after) = (|| Some(before.to_vec()), || Some(after.to_vec()));
    vec![
        (Operation::Insert, None, before()),
        (Operation::Update, before(), before()),
        (Operation::Update, before(), after()),
        (Operation::Delete, after(), None),
        (Operation::Read, None, after()),
    ]
}

/// What rows that lack columns may come as: with the key that they had, or whole under a new one.
fn partial_changes(schema: &TableSchema, before: &[Owned], after: &[Owned], absent: [u64; 2]) -> Vec<sample::Change> {
    let old = sample::part_of(schema, before, absent[0]);
    let new = sample::part_of(schema, before, absent[1]);
    vec![
        (Operation::Update, Some(old.clone()), Some(new)),
        (Operation::Update, Some(old.clone()), Some(after.to_vec())),
        (Operation::Delete, Some(old), None),
    ]
}

fn check_round_trip(style: &RecordStyle, schema: &Arc<TableSchema>, changes: &[sample::Change]) {
    let batch = sample::batch(schema, sample::origin(5), changes);
    let written = sample::encode(style, "shop.d_b.t_", &batch).expect("every value can be written");
    let mut read = RecordBatch::new();
    for record in written.iter().filter(|record| record.value.is_some()) {
        decode(schema, record, &mut read).unwrap_or_else(|error| panic!("{error:?} in {record:?}"));
    }
    assert_eq!(told(&read), expected(schema, &batch), "{written:?}");
    let records = read.records();
    assert_eq!(read.origin(&records[0]), &sample::origin(5));
    assert!(records.iter().all(|record| record.origin == records[0].origin), "one rows event has one origin");
    assert!(records.iter().all(|record| (record.lane, record.offset) == (1, 17)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_row_returns((schema, before, after) in sample::table_and_rows()) {
        check_round_trip(&sample::style(), &schema, &changes(&before, &after));
        let inline = RecordStyle { has_inline_schemas: true, ..sample::style() };
        check_round_trip(&inline, &schema, &changes(&before, &after));
    }

    #[test]
    fn rows_without_all_columns_return(
        (schema, before, after) in sample::table_and_rows(),
        absent in any::<[u64; 2]>(),
    ) {
        check_round_trip(&sample::style(), &schema, &partial_changes(&schema, &before, &after, absent));
    }

    #[test]
    fn every_record_is_json((schema, before, after) in sample::table_and_rows()) {
        let batch = sample::batch(&schema, sample::origin(5), &changes(&before, &after));
        for has_inline_schemas in [false, true] {
            let style = RecordStyle { has_inline_schemas, ..sample::style() };
            for record in sample::encode(&style, "shop.d_b.t_", &batch).expect("every value can be written") {
                let texts = [Some(record.key), record.value, record.truths, record.other_key.map(|(_, key)| key)];
                for text in texts.into_iter().flatten() {
                    serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                }
            }
        }
    }
}

fn orders(columns: &[&str]) -> Arc<TableSchema> {
    let number = tailrace_row::ColumnType::Integer { bits: 32, unsigned: false };
    let columns: Vec<_> = columns.iter().map(|name| (*name, number.clone(), *name != "id")).collect();
    sample::schema(tailrace_row::TableName::new("shop", "orders"), &columns, &[0])
}

#[test]
fn a_column_that_was_not_sent_has_no_field_and_a_truth() {
    let schema = orders(&["id", "a", "b"]);
    let row = |a: Owned, b: Owned| Some(vec![Owned::Integer(7), a, b]);
    let update = (Operation::Update, row(Owned::Unchanged, Owned::Unchanged), row(Owned::Null, Owned::Unchanged));
    let batch = sample::batch(&schema, sample::origin(5), &[update]);
    let written = sample::encode(&sample::style(), "t", &batch).unwrap();
    let value = written[0].value.as_deref().unwrap();
    assert!(value.starts_with(r#"{"before":{"id":7},"after":{"id":7,"a":null},"source":"#), "{value}");
    let truths = r#"{"before":{"a":{"unchanged":true},"b":{"unchanged":true}},"after":{"b":{"unchanged":true}}}"#;
    assert_eq!(written[0].truths.as_deref(), Some(truths));
    // Without the header, or with a field that it says is none, the record is damaged.
    let without = Written { truths: None, ..written[0].clone() };
    let more = Written { truths: Some(truths.replace("\"b\"", "\"a\"").replacen("a", "b", 1)), ..written[0].clone() };
    for damaged in [without, more] {
        decode(&schema, &damaged, &mut RecordBatch::new()).unwrap_err();
    }
}

#[test]
fn rows_without_all_columns_are_refused_where_they_would_be_misread() {
    let schema = orders(&["id", "a"]);
    let row = |id: i64, a: Owned| Some(vec![Owned::Integer(id), a]);
    let inline = RecordStyle { has_inline_schemas: true, ..sample::style() };
    let exact = RecordStyle { refuses_inexact: true, ..sample::style() };
    let update = (Operation::Update, row(7, Owned::Null), row(7, Owned::Unchanged));
    let refused = [
        (&inline, update.clone(), "schemas = true"),
        (&inline, (Operation::Delete, row(7, Owned::Unchanged), None), "schemas = true"),
        (&exact, update, "Debezium's form"),
        (&sample::style(), (Operation::Insert, None, row(7, Owned::Unchanged)), "new key"),
        (&sample::style(), (Operation::Update, row(7, Owned::Null), row(8, Owned::Unchanged)), "new key"),
        (
            &sample::style(),
            (Operation::Delete, Some(vec![Owned::Unchanged, Owned::Null]), None),
            "column id of the key",
        ),
    ];
    for (style, change, why) in refused {
        let batch = sample::batch(&schema, sample::origin(5), &[change]);
        let error = sample::encode(style, "t", &batch).unwrap_err();
        assert_eq!(error.kind(), tailrace_contract::ErrorKind::TableFailed);
        assert!(error.to_string().contains(why), "{error}");
    }
    let partial = (Operation::Update, row(7, Owned::Null), row(7, Owned::Unchanged));
    let batch = sample::batch(&schema, sample::origin(5), &[partial]);
    let error = sample::encode_compacted(&batch).unwrap_err();
    assert!(error.to_string().contains("compacted"), "{error}");
}

#[test]
fn a_value_of_another_type_is_never_written() {
    let schema = orders(&["id"]);
    for wrong in [Owned::Unsigned(1), Owned::Text("secret".into()), Owned::Double(1.0), Owned::Enum(1)] {
        let batch = sample::batch(&schema, sample::origin(5), &[(Operation::Insert, None, Some(vec![wrong]))]);
        let error = sample::encode(&sample::style(), "t", &batch).unwrap_err();
        assert_eq!(error.kind(), tailrace_contract::ErrorKind::TableFailed);
        let text = error.to_string();
        assert_eq!(text, "column id has a value that its type can't have (table shop.orders) at 2-5-3-0");
    }
}
