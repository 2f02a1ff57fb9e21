//! Our records beside what the crate `mysql_cdc` 0.2.1 reads from the same file.
//!
//! What it can't carry, and what is compared instead: fractions of a second beyond the third digit are cut; JSON is left as
//! the server's bytes (its text is compared with mysqlbinlog's); YEAR 0 is 1900; BINARY has no zeros at its end; integers come as
//! bits without a sign. What ends its stream or is lost to it is not in the file, see [`super::random::Reach::OfMysqlCdc`].

use std::{collections::HashMap, fs::File, path::Path};

use mysql_cdc::{
    binlog_reader::BinlogReader,
    events::{
        binlog_event::BinlogEvent,
        row_events::{mysql_value::MySqlValue, row_data::RowData},
    },
};
use tailrace_row::{ColumnType, Field, Operation, RowImage, TableSchema, TextForm, Timestamp, Value};

use super::{Seen, verbose::decimal_text};

pub(super) fn compare<'a>(file: &Path, database: &str, mut records: impl Iterator<Item = Seen<'a>>) {
    let mut tables: HashMap<u64, (String, String)> = HashMap::new();
    let mut count = 0;
    let mut check =
        |table_id: u64, operation: Operation, rows: &[&RowData], tables: &HashMap<u64, (String, String)>| {
            let (of, table) = &tables[&table_id];
            if of != database {
                return;
            }
            let seen =
                records.next().unwrap_or_else(|| panic!("mysql_cdc reads a row that we don't have, behind {count}"));
            count += 1;
            assert_eq!((operation, &**table), (seen.operation(), seen.table()), "record {count}");
            assert_eq!(seen.images().count(), rows.len(), "images of record {count}");
            for (image, row) in seen.images().zip(rows) {
                compare_row(seen.schema(), image, row);
            }
        };
    for event in BinlogReader::new(File::open(file).unwrap()).unwrap().read_events() {
        match event.unwrap().1 {
            BinlogEvent::TableMapEvent(map) => {
                tables.insert(map.table_id, (map.database_name, map.table_name));
            }
            BinlogEvent::WriteRowsEvent(event) => {
                event.rows.iter().for_each(|row| check(event.table_id, Operation::Insert, &[row], &tables));
            }
            BinlogEvent::DeleteRowsEvent(event) => {
                event.rows.iter().for_each(|row| check(event.table_id, Operation::Delete, &[row], &tables));
            }
            BinlogEvent::UpdateRowsEvent(event) => event.rows.iter().for_each(|row| {
                check(event.table_id, Operation::Update, &[&row.before_update, &row.after_update], &tables);
            }),
            _ => {}
        }
    }
    assert!(records.next().is_none(), "mysql_cdc ends before our records do");
}

fn compare_row(schema: &TableSchema, image: RowImage<'_>, row: &RowData) {
    assert_eq!(schema.columns().len(), row.cells.len(), "columns of {}", schema.name());
    for ((column, field), cell) in schema.columns().iter().zip(image.fields()).zip(&row.cells) {
        let agrees = match (field, cell) {
            (Field::Null, None) => true,
            (Field::Value(ours), Some(theirs)) => agrees(&column.column_type, ours, theirs),
            _ => false,
        };
        assert!(agrees, "{}.{}: ours is {field:?}, mysql_cdc reads {cell:?}", schema.name(), column.name);
    }
}

fn agrees(column_type: &ColumnType, ours: Value<'_>, theirs: &MySqlValue) -> bool {
    match (ours, theirs) {
        (Value::Integer(number), theirs) => bits(theirs, number.cast_unsigned()),
        (Value::Unsigned(number), theirs) => bits(theirs, number),
        (Value::Float(number), MySqlValue::Float(theirs)) => number.to_bits() == theirs.to_bits(),
        (Value::Double(number), MySqlValue::Double(theirs)) => number.to_bits() == theirs.to_bits(),
        (Value::Decimal(number), MySqlValue::Decimal(theirs)) => decimal_text(number.unscaled, number.scale) == *theirs,
        (Value::Bit(bits), MySqlValue::Bit(theirs)) => {
            let theirs = theirs.iter().fold(0, |sum, bit| sum << 1 | u64::from(*bit));
            theirs == bits
        }
        (Value::Text(text), MySqlValue::String(theirs)) => text == theirs,
        (Value::Text(text), MySqlValue::Blob(theirs)) => text.as_bytes() == theirs,
        (Value::Bytes(bytes), MySqlValue::String(theirs)) => match column_type {
            ColumnType::Bytes { form: TextForm::Fixed, .. } => {
                bytes.starts_with(theirs.as_bytes()) && bytes[theirs.len()..].iter().all(|byte| *byte == 0)
            }
            _ => bytes == theirs.as_bytes(),
        },
        (Value::Bytes(bytes), MySqlValue::Blob(theirs)) => bytes == theirs,
        (Value::Enum(index), MySqlValue::Enum(theirs)) => u32::from(index) == *theirs,
        (Value::Set(bits), MySqlValue::Set(theirs)) => bits == *theirs,
        (Value::Date(date), MySqlValue::Date(theirs)) => {
            (date.year, date.month, date.day) == (theirs.year, theirs.month, theirs.day)
        }
        (Value::Time(time), MySqlValue::Time(theirs)) => {
            let seconds = (i64::from(theirs.hour) * 60 + i64::from(theirs.minute)) * 60 + i64::from(theirs.second);
            time.micros / 1000 == seconds * 1000 + i64::from(theirs.millis)
        }
        (Value::DateTime(clock), MySqlValue::DateTime(theirs)) => {
            (clock.date.year, clock.date.month, clock.date.day) == (theirs.year, theirs.month, theirs.day)
                && (clock.hour, clock.minute, clock.second) == (theirs.hour, theirs.minute, theirs.second)
                && clock.micros / 1000 == theirs.millis
        }
        (Value::Timestamp(instant), MySqlValue::Timestamp(theirs)) => match instant {
            Timestamp::Zero => *theirs == 0,
            Timestamp::Micros(micros) => u64::try_from(micros / 1000) == Ok(*theirs),
        },
        (Value::Year(0), MySqlValue::Year(theirs)) => *theirs == 1900,
        (Value::Year(year), MySqlValue::Year(theirs)) => year == *theirs,
        (Value::Json(_), MySqlValue::Blob(_)) => true,
        _ => false,
    }
}

/// Whether the bits of a number are those of ours.
fn bits(theirs: &MySqlValue, ours: u64) -> bool {
    match theirs {
        MySqlValue::TinyInt(theirs) => u64::from(*theirs) == ours & 0xff,
        MySqlValue::SmallInt(theirs) => u64::from(*theirs) == ours & 0xffff,
        MySqlValue::MediumInt(theirs) => u64::from(*theirs) == ours & 0xff_ffff,
        MySqlValue::Int(theirs) => u64::from(*theirs) == ours & 0xffff_ffff,
        MySqlValue::BigInt(theirs) => *theirs == ours,
        _ => false,
    }
}
