//! Rows for tests: batches from plain lists of values, and random schemas with random rows.

use std::{sync::Arc, time::Duration};

use proptest::{collection::vec, prelude::*};
use tailrace_row::{
    Charset, Column, ColumnType, Date, DateTime, Decimal, Epoch, Field, GeometryKind, Operation, Origin, Record,
    RecordBatch, TableName, TableSchema, TextForm, Time, Timestamp, Value,
};

use super::encode::{Encoded, Encoder, RecordForm, RecordSink, RecordStyle};
use super::form::TableForm;

/// A value that owns its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Owned {
    Unchanged,
    Null,
    Integer(i64),
    Unsigned(u64),
    Float(f32),
    Double(f64),
    Decimal(Vec<u8>, u8),
    Bit(u64),
    Text(String),
    InvalidText(Vec<u8>),
    Bytes(Vec<u8>),
    Enum(u16),
    Set(u64),
    Date(Date),
    Time(i64),
    DateTime(DateTime),
    Timestamp(Timestamp),
    Year(u16),
    Json(String),
    Geometry(u32, Vec<u8>),
    Vector(Vec<u8>),
    Uuid([u8; 16]),
    Inet4([u8; 4]),
    Inet6([u8; 16]),
}

impl Owned {
    pub(super) fn field(&self) -> Field<'_> {
        Field::Value(match self {
            Self::Unchanged => return Field::Unchanged,
            Self::Null => return Field::Null,
            Self::Integer(number) => Value::Integer(*number),
            Self::Unsigned(number) => Value::Unsigned(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Double(number) => Value::Double(*number),
            Self::Decimal(unscaled, scale) => Value::Decimal(Decimal { unscaled, scale: *scale }),
            Self::Bit(bits) => Value::Bit(*bits),
            Self::Text(text) => Value::Text(text),
            Self::InvalidText(bytes) => Value::InvalidText(bytes),
            Self::Bytes(bytes) => Value::Bytes(bytes),
            Self::Enum(index) => Value::Enum(*index),
            Self::Set(bits) => Value::Set(*bits),
            Self::Date(date) => Value::Date(*date),
            Self::Time(micros) => Value::Time(Time { micros: *micros }),
            Self::DateTime(clock) => Value::DateTime(*clock),
            Self::Timestamp(instant) => Value::Timestamp(*instant),
            Self::Year(year) => Value::Year(*year),
            Self::Json(text) => Value::Json(text),
            Self::Geometry(srid, wkb) => Value::Geometry { srid: *srid, wkb },
            Self::Vector(numbers) => Value::Vector(numbers),
            Self::Uuid(bytes) => Value::Uuid(*bytes),
            Self::Inet4(bytes) => Value::Inet4(*bytes),
            Self::Inet6(bytes) => Value::Inet6(*bytes),
        })
    }
}

/// One change: the row before, the row after.
pub(super) type Change = (Operation, Option<Vec<Owned>>, Option<Vec<Owned>>);

pub(super) fn schema(name: TableName, columns: &[(&str, ColumnType, bool)], key: &[usize]) -> Arc<TableSchema> {
    let column = |(name, column_type, nullable): &(&str, ColumnType, bool)| Column {
        name: (*name).into(),
        column_type: column_type.clone(),
        nullable: *nullable,
    };
    let columns: Vec<Column> = columns.iter().map(column).collect();
    Arc::new(TableSchema::new(name, columns, key).expect("a schema"))
}

pub(super) fn origin(transaction: u64) -> Origin {
    Origin {
        epoch: Epoch(2),
        transaction,
        event: 3,
        committed_at_micros: 1_795_360_827_509_890,
        transaction_name: Some("9126184c-e684-11f1-9b8e-02fc00000001:112".into()),
        file: "binlog.000001".into(),
        file_offset: 102_535,
        server_id: 7,
        thread: Some(93),
    }
}

/// A batch of one rows event.
pub(super) fn batch(schema: &Arc<TableSchema>, origin: Origin, changes: &[Change]) -> RecordBatch {
    let mut batch = RecordBatch::new();
    let number = batch.add_schema(schema);
    let origin = batch.add_origin(origin);
    for (index, (operation, before, after)) in changes.iter().enumerate() {
        let mut image = |row: &Option<Vec<Owned>>| row.as_ref().map(|row| write_row(&mut batch, row));
        let (before, after) = (image(before), image(after));
        let row = 2 * u32::try_from(index).expect("few rows");
        batch.push(Record { operation: *operation, schema: number, origin, row, lane: 0, offset: 0, before, after });
    }
    batch
}

fn write_row(batch: &mut RecordBatch, row: &[Owned]) -> tailrace_row::ImageSpan {
    let written = batch.write_image(row.len(), |writer| {
        row.iter().for_each(|value| match value.field() {
            Field::Unchanged => writer.unchanged(),
            Field::Null => writer.null(),
            Field::Value(value) => writer.value(value),
        });
        Ok::<(), ()>(())
    });
    written.expect("an image")
}

/// The row without the columns whose bit is set; the key stays.
pub(super) fn part_of(schema: &TableSchema, row: &[Owned], absent: u64) -> Vec<Owned> {
    let is_absent = |place: usize| absent >> (place % 64) & 1 == 1 && !schema.key().contains(&place);
    let fields = row.iter().enumerate();
    fields.map(|(place, field)| if is_absent(place) { Owned::Unchanged } else { field.clone() }).collect()
}

/// A record of the log that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) key: String,
    pub(super) value: Option<String>,
    pub(super) sequence: Option<String>,
    pub(super) truths: Option<String>,
    pub(super) other_key: Option<(&'static str, String)>,
}

#[derive(Default)]
struct Collected(Vec<Written>);

impl RecordSink for Collected {
    fn put(&mut self, _: &RecordForm, record: Encoded<'_>) -> tailrace_contract::Result<()> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("JSON is UTF-8");
        self.0.push(Written {
            key: text(record.key),
            value: record.value.map(text),
            sequence: record.sequence.map(str::to_owned),
            truths: record.truths.map(text),
            other_key: record.other_key.map(|(name, key)| (name, text(key))),
        });
        Ok(())
    }
}

pub(super) fn style() -> RecordStyle {
    RecordStyle { prefix: "shop".to_owned(), has_inline_schemas: false, refuses_inexact: false }
}

/// All records of the batch, as the log would hold them.
pub(super) fn encode(style: &RecordStyle, topic: &str, batch: &RecordBatch) -> tailrace_contract::Result<Vec<Written>> {
    encode_at(style, topic, batch, Duration::from_nanos(1_795_360_830_460_220_460))
}

/// The same at a given time.
pub(super) fn encode_at(
    style: &RecordStyle,
    topic: &str,
    batch: &RecordBatch,
    now: Duration,
) -> tailrace_contract::Result<Vec<Written>> {
    encode_into(style, (topic, false), batch, now)
}

/// The same for a compacted topic.
pub(super) fn encode_compacted(batch: &RecordBatch) -> tailrace_contract::Result<Vec<Written>> {
    encode_into(&style(), ("t", true), batch, Duration::ZERO)
}

fn encode_into(
    style: &RecordStyle,
    (topic, is_compacted): (&str, bool),
    batch: &RecordBatch,
    now: Duration,
) -> tailrace_contract::Result<Vec<Written>> {
    let mut encoder = Encoder::new(style.clone());
    encoder.begin_batch(now);
    let mut collected = Collected::default();
    for record in batch.records() {
        let table = TableForm::new(Arc::clone(batch.schema(record)));
        let form = RecordForm::new(style, topic, table, is_compacted);
        encoder.encode(&form, batch, record, &mut collected)?;
    }
    Ok(collected.0)
}

/// Any column type, the odd ENUM and SET definitions included.
pub(super) fn column_type() -> impl Strategy<Value = ColumnType> {
    let members = || {
        let word = prop_oneof![Just("a"), Just("b"), Just("é😀"), Just(""), Just("it's"), Just("x y"), Just("\\\"")];
        vec(word, 1..6).prop_map(|words| words.into_iter().map(Box::from).collect::<Box<[Box<str>]>>())
    };
    let form = prop_oneof![Just(TextForm::Fixed), Just(TextForm::Varying), Just(TextForm::Large)];
    let charset =
        prop_oneof![Just(Charset::Utf8mb4), Just(Charset::Utf8mb3), Just(Charset::Latin1), Just(Charset::Ascii)];
    prop_oneof![
        (prop_oneof![Just(8), Just(16), Just(24), Just(32), Just(64)], any::<bool>())
            .prop_map(|(bits, unsigned)| ColumnType::Integer { bits, unsigned }),
        (1_u8..=65, 0_u8..=30).prop_map(|(precision, scale)| ColumnType::Decimal { precision, scale }),
        Just(ColumnType::Float),
        Just(ColumnType::Double),
        (1_u8..=64).prop_map(|length| ColumnType::Bit { length }),
        (form.clone(), charset).prop_map(|(form, charset)| ColumnType::Text { form, bytes_max: 1000, charset }),
        form.prop_map(|form| ColumnType::Bytes { form, bytes_max: 1000 }),
        members().prop_map(|members| ColumnType::Enum { members }),
        members().prop_map(|members| ColumnType::Set { members }),
        Just(ColumnType::Date),
        (0_u8..=6).prop_map(|fraction| ColumnType::Time { fraction }),
        (0_u8..=6).prop_map(|fraction| ColumnType::DateTime { fraction }),
        (0_u8..=6).prop_map(|fraction| ColumnType::Timestamp { fraction }),
        Just(ColumnType::Year),
        Just(ColumnType::Json),
        prop_oneof![Just(GeometryKind::Point), Just(GeometryKind::Geometry), Just(GeometryKind::Polygon)]
            .prop_map(|kind| ColumnType::Geometry { kind }),
        Just(ColumnType::Vector { dimension: 9 }),
        prop_oneof![Just(ColumnType::Uuid), Just(ColumnType::Inet4), Just(ColumnType::Inet6)],
    ]
}

/// Any value of the type; the match makes the compiler ask for every new type.
pub(super) fn value(column_type: &ColumnType) -> BoxedStrategy<Owned> {
    let date = || {
        let any_date = (0_u16..=9999, 0_u8..=12, 0_u8..=31).prop_map(|(year, month, day)| Date { year, month, day });
        prop_oneof![any_date, Just(Date::default())]
    };
    let clock = || (date(), 0_u8..24, 0_u8..60, 0_u8..60, 0_u32..1_000_000);
    let some = match column_type {
        ColumnType::Integer { bits, unsigned: false } => {
            let unused = 64 - u32::from(*bits);
            any::<i64>().prop_map(move |number| Owned::Integer(number >> unused)).boxed()
        }
        ColumnType::Integer { bits, unsigned: true } => {
            let unused = 64 - u32::from(*bits);
            any::<u64>().prop_map(move |number| Owned::Unsigned(number >> unused)).boxed()
        }
        ColumnType::Decimal { scale, .. } => {
            let scale = *scale;
            vec(any::<u8>(), 1..28).prop_map(move |bytes| Owned::Decimal(fewest_bytes(bytes), scale)).boxed()
        }
        ColumnType::Float => {
            any::<f32>().prop_filter("MySQL has no NaN", |f| !f.is_nan()).prop_map(Owned::Float).boxed()
        }
        ColumnType::Double => {
            any::<f64>().prop_filter("MySQL has no NaN", |f| !f.is_nan()).prop_map(Owned::Double).boxed()
        }
        ColumnType::Bit { length } => {
            let unused = 64 - u32::from(*length);
            any::<u64>().prop_map(move |bits| Owned::Bit(bits >> unused)).boxed()
        }
        ColumnType::Text { .. } => {
            prop_oneof![any::<String>().prop_map(Owned::Text), vec(0x80_u8.., 1..9).prop_map(Owned::InvalidText)]
                .boxed()
        }
        ColumnType::Bytes { .. } => vec(any::<u8>(), 0..40).prop_map(Owned::Bytes).boxed(),
        ColumnType::Enum { members } => (0..=u16::try_from(members.len()).expect("few")).prop_map(Owned::Enum).boxed(),
        ColumnType::Set { members } => (0..1_u64 << members.len()).prop_map(Owned::Set).boxed(),
        ColumnType::Date => date().prop_map(Owned::Date).boxed(),
        ColumnType::Time { .. } => (-3_020_399_999_999_i64..=3_020_399_999_999).prop_map(Owned::Time).boxed(),
        ColumnType::DateTime { .. } => clock()
            .prop_map(|(date, hour, minute, second, micros)| {
                Owned::DateTime(DateTime { date, hour, minute, second, micros })
            })
            .boxed(),
        ColumnType::Timestamp { .. } => prop_oneof![
            Just(Owned::Timestamp(Timestamp::Zero)),
            (0_i64..253_402_300_800_000_000).prop_map(|micros| Owned::Timestamp(Timestamp::Micros(micros))),
        ]
        .boxed(),
        ColumnType::Year => prop_oneof![Just(0), 1901_u16..=2155].prop_map(Owned::Year).boxed(),
        ColumnType::Json => any::<String>().prop_map(Owned::Json).boxed(),
        ColumnType::Geometry { .. } => {
            let srid = prop_oneof![Just(0), Just(4326), any::<u32>()];
            (srid, vec(any::<u8>(), 0..30)).prop_map(|(srid, wkb)| Owned::Geometry(srid, wkb)).boxed()
        }
        ColumnType::Vector { dimension } => {
            vec(any::<[u8; 4]>(), 0..=*dimension as usize).prop_map(|numbers| Owned::Vector(numbers.concat())).boxed()
        }
        ColumnType::Uuid => any::<[u8; 16]>().prop_map(Owned::Uuid).boxed(),
        ColumnType::Inet4 => any::<[u8; 4]>().prop_map(Owned::Inet4).boxed(),
        ColumnType::Inet6 => prop_oneof![
            any::<[u8; 16]>(),
            vec(prop_oneof![3 => Just([0_u8; 2]), 1 => any::<[u8; 2]>(), 1 => Just([255; 2])], 8)
                .prop_map(|words| words.concat().try_into().expect("eight words")),
        ]
        .prop_map(Owned::Inet6)
        .boxed(),
    };
    prop_oneof![9 => some, 1 => Just(Owned::Null)].boxed()
}

/// Without bytes that only repeat the sign.
pub(super) fn fewest_bytes(mut bytes: Vec<u8>) -> Vec<u8> {
    while let [first, second, ..] = bytes[..] {
        if !((first == 0 && second < 0x80) || (first == 0xff && second >= 0x80)) {
            break;
        }
        bytes.remove(0);
    }
    bytes
}

/// A schema of up to six columns with a key of the first one or two, and two rows of it.
pub(super) fn table_and_rows() -> impl Strategy<Value = (Arc<TableSchema>, Vec<Owned>, Vec<Owned>)> {
    let columns = vec((column_type(), any::<bool>()), 1..7);
    (columns, 1_usize..=2, "[^\u{0}]{0,8}").prop_flat_map(|(columns, key, suffix)| {
        let types: Vec<ColumnType> = columns.iter().map(|(column_type, _)| column_type.clone()).collect();
        let columns = columns.into_iter().enumerate().map(|(index, (column_type, nullable))| Column {
            name: format!("{index}{suffix}").into(),
            column_type,
            nullable,
        });
        let columns: Vec<Column> = columns.collect();
        let key: Vec<usize> = (0..key.min(columns.len())).collect();
        let schema = Arc::new(TableSchema::new(TableName::new("d\"b", "tä"), columns, key).expect("a schema"));
        let row = || types.iter().map(value).collect::<Vec<_>>();
        (Just(schema), row(), row())
    })
}
