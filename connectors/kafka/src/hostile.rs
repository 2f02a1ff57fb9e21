//! What is read out of topics, behind one entry each that takes any bytes: for tests with damaged records. Also makes the undamaged ones.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tailrace_contract::{
    Barrier, Checkpoint, DebeziumSettings, LedgerEntry, Mark, Position, Result, SchemaChange, TableAct,
};
use tailrace_row::{
    Charset, Column, ColumnType, Date, DateTime, Decimal, Epoch, GeometryKind, Operation, Origin, Record, RecordBatch,
    Sequence, TableName, TableSchema, TextForm, Time, Timestamp, Value,
};

use crate::{
    barriers, checkpoint,
    debezium::{
        Encoded, Encoder, RawRecord, RecordForm, RecordSink, RecordStyle, Scratch, TableForm, TheirTable, decode,
        decode_theirs,
    },
    ledger, schemas,
    small_topic::SmallRecord,
};

const TOPIC: &str = "shop.d.t";

/// A record of a table: the length of its header `tailrace.exact` in two bytes (none if it is 0), that header, the value. It is read as
/// one of ours and as one that Debezium wrote.
pub fn records(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first_chunk::<2>() else { return };
    let length = usize::from(u16::from_le_bytes(*length)).min(bytes.len());
    let (truths, value) = bytes.split_at(length);
    let truths = (!truths.is_empty()).then_some(truths);
    let raw = RawRecord { value, truths, sequence: Sequence::default(), lane: 0, offset: 0 };
    let mut batch = RecordBatch::new();
    let _ = decode(&TableForm::new(table()), &raw, &mut Scratch::default(), &mut batch);
    let settings = DebeziumSettings { has_precise_unsigned: true, is_unaltered: true, ..DebeziumSettings::default() };
    let theirs = TheirTable::new(Arc::new(TableForm::new(table())), settings);
    let _ = decode_theirs(&theirs, &raw, &mut Scratch::default(), &mut batch);
    // All of what was read, so that an image that is half written is noticed.
    for record in batch.records() {
        let images = [batch.before(record), batch.after(record)];
        assert!(images.into_iter().flatten().all(|image| image.fields().count() == table().columns().len()));
    }
}

/// A value of one of the small topics beside the tables': it is read as any of theirs.
pub fn documents(bytes: &[u8]) {
    let record = |key: &str| SmallRecord { offset: 0, key: key.into(), value: Some(bytes.to_vec()) };
    let _ = checkpoint::read_capture(TOPIC, &record(checkpoint::CAPTURE_KEY));
    let _ = checkpoint::read_owner(TOPIC, &record(checkpoint::OWNER_KEY));
    let _ = schemas::read_schema(TOPIC, table().id(), &record(""));
    let _ = barriers::read_barrier(TOPIC, &record(""));
    let _ = ledger::read_entry(TOPIC, &record("name"));
}

/// Undamaged records of a table: with their schemas and without, before and after changes.
#[must_use]
pub fn written_records() -> Vec<Vec<u8>> {
    let batch = batch();
    let mut written = Written::default();
    for has_inline_schemas in [false, true] {
        let style = RecordStyle { prefix: "shop".to_owned(), has_inline_schemas, refuses_inexact: false };
        let form = RecordForm::new(&style, TOPIC, TableForm::new(table()), false);
        let mut encoder = Encoder::new(style);
        encoder.begin_batch(Duration::from_secs(1_795_360_830));
        for record in batch.records() {
            encoder.encode(&form, &batch, record, &mut written).expect("invariant: every value can be written");
        }
    }
    written.0
}

/// Undamaged values of the small topics.
#[must_use]
pub fn written_documents() -> Vec<Vec<u8>> {
    let mark = Mark { position: Position::new("gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77"), transactions: 9 };
    let position = Checkpoint { epoch: Epoch(2), mark, split: None };
    let change = SchemaChange {
        sequence: Sequence { epoch: Epoch(2), transaction: 9, event: 0, row: 0 },
        place: "uuid:7, binlog.000001:4".into(),
        committed_at_micros: 1_795_360_827_509_890,
        statement: "TRUNCATE `t é`".into(),
        acts: vec![TableAct::Truncate { table: TableName::new("d", "t é") }],
    };
    let barrier = Barrier { number: 7, change, ends: Vec::new() };
    let entry = LedgerEntry { key: "copy/d.t".into(), value: Some(r#"{"rows":[1,2],"name":"é\""}"#.into()) };
    let entry = ledger::ledger_value(&entry).expect("invariant: it is short").expect("invariant: it has a text");
    vec![
        checkpoint::capture_value("owner", false, &position, 7),
        checkpoint::owner_value("owner"),
        schemas::schema_value(&table()),
        barriers::barrier_value(&barrier),
        entry,
    ]
}

/// Header and value of records, as [`records`] takes them.
#[derive(Default)]
struct Written(Vec<Vec<u8>>);

impl RecordSink for Written {
    fn put(&mut self, _: &RecordForm, record: Encoded<'_>) -> Result<()> {
        let Some(value) = record.value else { return Ok(()) };
        let truths = record.truths.unwrap_or_default();
        let length = u16::try_from(truths.len()).expect("invariant: the header is short").to_le_bytes();
        self.0.push([&length, truths, value].concat());
        Ok(())
    }
}

/// A table with a column of each type.
fn table() -> Arc<TableSchema> {
    static TABLE: OnceLock<Arc<TableSchema>> = OnceLock::new();
    Arc::clone(TABLE.get_or_init(|| {
        let columns = cells(0).into_iter().enumerate().map(|(place, (column_type, _))| Column {
            name: format!("c{place}").into(),
            column_type,
            nullable: place > 0,
        });
        let name = TableName::new("d", "t");
        Arc::new(TableSchema::new(name, columns.collect::<Vec<_>>(), vec![0]).expect("invariant: a table with a key"))
    }))
}

/// Two rows of it: one of usual values, one of those that Debezium's fields can't hold.
fn batch() -> RecordBatch {
    let mut batch = RecordBatch::new();
    let schema = batch.add_schema(&table());
    let origin = batch.add_origin(Origin {
        epoch: Epoch(2),
        transaction: 5,
        event: 3,
        committed_at_micros: 1_795_360_827_509_890,
        transaction_name: Some("9126184c-e684-11f1-9b8e-02fc00000001:112".into()),
        file: "binlog.000001".into(),
        file_offset: 102_535,
        server_id: 7,
        thread: Some(93),
    });
    let changes = [
        (Operation::Insert, None, Some(0)),
        (Operation::Update, Some(0), Some(1)),
        (Operation::Read, None, Some(1)),
        (Operation::Delete, Some(1), None),
    ];
    for (row, (operation, before, after)) in (0..).zip(changes) {
        let mut image = |kind: Option<usize>| {
            kind.map(|kind| {
                let cells = cells(kind);
                let written = batch.write_image(cells.len(), |writer| {
                    for (_, value) in &cells {
                        match value {
                            Some(value) => writer.value(*value),
                            None => writer.null(),
                        }
                    }
                    Ok::<(), ()>(())
                });
                written.expect("invariant: nothing fails")
            })
        };
        let (before, after) = (image(before), image(after));
        batch.push(Record { operation, schema, origin, row, lane: 0, offset: 0, before, after });
    }
    batch
}

/// Type and value of each column of a row; `kind` 1: the odd values.
fn cells(kind: usize) -> Vec<(ColumnType, Option<Value<'static>>)> {
    let members: Box<[Box<str>]> = ["a", "it's", "é😀"].map(Box::from).into();
    let text = |form, charset| ColumnType::Text { form, bytes_max: 1_000, charset };
    let day = |year| Date { year, month: 2, day: 29 };
    let clock = |date| DateTime { date, hour: 23, minute: 59, second: 58, micros: 999_999 };
    let pick = |usual: Value<'static>, odd: Option<Value<'static>>| if kind == 0 { Some(usual) } else { odd };
    let zero = Date { year: 0, month: 0, day: 0 };
    vec![
        (ColumnType::Integer { bits: 64, unsigned: false }, Some(Value::Integer(-7))),
        (ColumnType::Integer { bits: 64, unsigned: true }, pick(Value::Unsigned(7), Some(Value::Unsigned(u64::MAX)))),
        (
            ColumnType::Decimal { precision: 10, scale: 2 },
            pick(Value::Decimal(Decimal { unscaled: &[0xff, 0x38], scale: 2 }), None),
        ),
        (ColumnType::Float, pick(Value::Float(1.5), Some(Value::Float(-0.0)))),
        (ColumnType::Double, pick(Value::Double(1e-300), Some(Value::Double(f64::MAX)))),
        (ColumnType::Bit { length: 12 }, pick(Value::Bit(0xabc), Some(Value::Bit(0)))),
        (
            text(TextForm::Varying, Charset::Utf8mb4),
            pick(Value::Text("é😀\"\\\u{1}"), Some(Value::InvalidText(b"a\xff"))),
        ),
        (text(TextForm::Fixed, Charset::Latin1), pick(Value::Text(""), None)),
        (
            ColumnType::Bytes { form: TextForm::Large, bytes_max: 1_000 },
            pick(Value::Bytes(b"\0\x01\xff"), Some(Value::Bytes(b""))),
        ),
        (ColumnType::Enum { members: members.clone() }, pick(Value::Enum(3), Some(Value::Enum(0)))),
        (ColumnType::Set { members }, pick(Value::Set(5), Some(Value::Set(0)))),
        (ColumnType::Date, pick(Value::Date(day(2024)), Some(Value::Date(zero)))),
        (
            ColumnType::Time { fraction: 6 },
            pick(Value::Time(Time { micros: 5 }), Some(Value::Time(Time { micros: -1 }))),
        ),
        (
            ColumnType::DateTime { fraction: 6 },
            pick(Value::DateTime(clock(day(2024))), Some(Value::DateTime(clock(zero)))),
        ),
        (
            ColumnType::Timestamp { fraction: 3 },
            pick(Value::Timestamp(Timestamp::Micros(1_795_360_827_509_000)), Some(Value::Timestamp(Timestamp::Zero))),
        ),
        (ColumnType::Year, pick(Value::Year(2_026), Some(Value::Year(0)))),
        (ColumnType::Json, pick(Value::Json(r#"{"a":[1,null,"x"]}"#), None)),
        (
            ColumnType::Geometry { kind: GeometryKind::Point },
            pick(Value::Geometry { srid: 4_326, wkb: &POINT }, Some(Value::Geometry { srid: 0, wkb: b"" })),
        ),
        (ColumnType::Vector { dimension: 2 }, pick(Value::Vector(b"\0\0\x80\x3f\0\0\0\x40"), None)),
        (ColumnType::Uuid, pick(Value::Uuid([7; 16]), None)),
        (ColumnType::Inet4, pick(Value::Inet4([127, 0, 0, 1]), None)),
        (ColumnType::Inet6, pick(Value::Inet6([1; 16]), None)),
    ]
}

/// POINT(1 2).
const POINT: [u8; 21] = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40];
