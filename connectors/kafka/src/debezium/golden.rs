//! Our records beside those of the real Debezium (3.6.1 on MySQL, 3.5.0 on MariaDB), byte for byte.
//!
//! `testdata/debezium` holds what Debezium wrote to Kafka for rows of every type: from the stream, from a snapshot and from an
//! incremental one, with and without schemas, and the SQL that was recorded. Each record is changed only where ours is meant
//! to differ, then read and written again, and must come out as it was, schema part, source block and time stamps included.
//! The intended differences are named; one that no longer occurs fails. Rows written by hand from the SQL make sure that
//! reading does not err in the same way as writing, and copied rows must mean the same as those of the stream.
//!
//! Not compared: what changes with every run (`source.version`, and a snapshot's `gtid`, which our rows always have), the
//! headers `__debezium.context.*` and our own.

mod ddl;
mod differences;
mod meaning;
mod reading;
mod recording;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tailrace_row::{Charset, ColumnType, Operation, RecordBatch, Sequence, TableSchema};

use self::{
    ddl::Table,
    differences::{DIFFERENCES, JSON_TEXTS, NOT_COMPARED, TRUTHS, rule},
    recording::{Line, Object, RECORDINGS, Recording},
};
use super::{
    RawRecord, RecordForm, RecordStyle, Scratch, TableForm,
    sample::{self, Owned, Written},
    source_block::Connector,
};

/// What a record of ours must look like.
struct Expected {
    schema: Arc<TableSchema>,
    key: String,
    value: String,
    /// The header `tailrace.exact`; empty: none.
    truths: String,
    row: u32,
    /// When it was encoded.
    nanos: u64,
}

/// Turns recorded records into what ours must be, and remembers which differences that took.
struct Judge {
    recording: &'static Recording,
    tables: Vec<Table>,
    /// JSON as the server prints it, by table and key.
    printed: HashMap<(&'static str, &'static str), Object>,
    used: BTreeSet<(&'static str, usize)>,
}

impl Judge {
    fn new(recording: &'static Recording) -> Self {
        let copied = Recording::named(&format!("{}_plain_snapshot", recording.server())).lines();
        let printed = copied.map(|line| {
            let value = Object::parse(line.value).expect("a value");
            ((line.topic_table, line.key), Object::parse(value.get("after")).expect("a row"))
        });
        Self { recording, tables: ddl::tables(recording.server()), printed: printed.collect(), used: BTreeSet::new() }
    }

    fn note(&mut self, rule: &'static str) {
        self.used.insert((rule, usize::MAX));
    }

    /// None: a record that ours does not have.
    fn expect(&mut self, line: Line) -> Option<Expected> {
        let mut value = Object::parse(line.value).expect("a value");
        let schema_part = (value.0[0].0 == "schema").then(|| value.get("schema").to_owned());
        if schema_part.is_some() {
            value = Object::parse(value.get("payload")).expect("a payload");
        }
        if value.get("op") == "\"t\"" {
            self.note(rule::TRUNCATE);
            return None;
        }
        let mut source = Object::parse(value.get("source")).expect("a source");
        let table_name: String = serde_json::from_str(source.get("table")).expect("a name");
        let images = ["before", "after"].map(|side| Object::parse(value.get(side)));
        let names: Vec<&str> =
            images.iter().flatten().next().expect("an image").0.iter().map(|(name, _)| name.as_str()).collect();
        let is_of = |table: &&Table| {
            table.name == table_name
                && table.columns.iter().map(|column| column.name.as_str()).eq(names.iter().copied())
        };
        let table = self.tables.iter().find(is_of).unwrap_or_else(|| panic!("the shape of {table_name}: {names:?}"));
        if !table.has_key() {
            self.note(rule::NO_KEY);
            return None;
        }
        // A key of a type that is not ours yet.
        let schema = table.schema()?;
        if line.topic_table == "col_lide" {
            self.note(rule::SHARED_TOPIC);
        }
        let key = Object::parse(line.key).expect("a key");
        let key_schema = schema_part.as_ref().map(|_| key.get("schema").to_owned());
        let key = if key_schema.is_some() { Object::parse(key.get("payload")).expect("a key") } else { key };
        let key_text = key.text();
        let (images, key) = {
            let mut ours = |image: Object| self.image(line, &key_text, &schema, image);
            (images.map(|image| image.map(&mut ours)), ours(key))
        };
        let truths = self.truths(line, &key_text, &images);
        for (side, image) in ["before", "after"].into_iter().zip(images) {
            value.set(side, image.map_or_else(|| "null".to_owned(), |image| image.text()));
        }
        if value.get("transaction") != "null" {
            self.note(rule::TRANSACTION);
            value.set("transaction", "null".to_owned());
        }
        self.source(&mut source);
        value.set("source", source.text());
        let wrapped = |schema: Option<String>, payload: String| match schema {
            Some(schema) => format!("{{\"schema\":{schema},\"payload\":{payload}}}"),
            None => payload,
        };
        let [key_schema, value_schema] =
            [key_schema, schema_part].map(|part| part.map(|part| self.schema_part(line, &schema, &part)));
        Some(Expected {
            schema,
            key: wrapped(key_schema, key.text()),
            row: source.get("row").parse().expect("a number"),
            nanos: value.get("ts_ns").parse().expect("a number"),
            value: wrapped(value_schema, value.text()),
            truths,
        })
    }

    /// The columns that can be compared, with our values.
    fn image(&mut self, line: Line, key: &str, schema: &TableSchema, image: Object) -> Object {
        let mut ours = Vec::new();
        for (name, theirs) in image.0 {
            let Some(column) = schema.columns().iter().find(|column| *column.name == *name) else { continue };
            let value = self.value(line, key, &name, &column.column_type, &theirs).unwrap_or(theirs);
            ours.push((name, value));
        }
        Object(ours)
    }

    fn value(&mut self, line: Line, key: &str, name: &str, column_type: &ColumnType, theirs: &str) -> Option<String> {
        let table = line.topic_table;
        for difference in DIFFERENCES {
            for (place, (r#where, of, key_end, column, from, to)) in difference.values.iter().enumerate() {
                let is_row = *of == table && key.ends_with(key_end) && *column == name && *from == theirs;
                if is_row && self.recording.is(r#where) {
                    self.used.insert((difference.name, place));
                    return Some((*to).to_owned());
                }
            }
        }
        if theirs == "null" {
            return None;
        }
        match column_type {
            ColumnType::Integer { bits: 64, unsigned: true } => {
                self.note(rule::BIGINT_UNSIGNED);
                let wrapped: i64 = theirs.parse().expect("a number");
                let bytes = sample::fewest_bytes(i128::from(wrapped.cast_unsigned()).to_be_bytes().to_vec());
                Some(format!("\"{}\"", BASE64_STANDARD.encode(bytes)))
            }
            ColumnType::Geometry { .. } => {
                let ours = theirs.strip_suffix("\"srid\":null}").map(|before| format!("{before}\"srid\":0}}"));
                if ours.is_some() {
                    self.note(rule::GEOMETRY_SRID);
                }
                ours
            }
            ColumnType::Json if self.recording.is("stream") => {
                let written =
                    JSON_TEXTS.iter().find(|(of, end, from, _)| *of == table && key.ends_with(end) && *from == theirs);
                let printed = match written {
                    Some((.., to)) => (*to).to_owned(),
                    None => {
                        self.printed.iter().find(|((of, row), _)| *of == table && *row == key)?.1.get(name).to_owned()
                    }
                };
                if printed != theirs {
                    self.note(rule::JSON_TEXT);
                }
                Some(printed)
            }
            ColumnType::Text { charset, .. } if !is_common(*charset) && self.recording.is("stream") => {
                let (_, printed) = self.printed.iter().find(|((of, row), _)| *of == table && *row == key)?;
                let printed = printed.get(name).to_owned();
                if printed != theirs {
                    self.note(rule::CHARSETS);
                }
                Some(printed)
            }
            ColumnType::Timestamp { fraction: 1.. } if self.recording.is("read") => {
                let ColumnType::Timestamp { fraction } = column_type else { unreachable!("just matched") };
                let is_zero = theirs == "\"1970-01-01T00:00:00Z\"";
                let (seconds, digits) =
                    theirs.trim_end_matches("Z\"").split_once('.').unwrap_or((theirs.trim_end_matches("Z\""), ""));
                let ours = format!("{seconds}.{digits:0<width$}Z\"", width = usize::from(*fraction));
                if is_zero || ours == theirs {
                    return None;
                }
                self.note(rule::TIMESTAMP_DIGITS);
                Some(ours)
            }
            _ => None,
        }
    }

    fn truths(&mut self, line: Line, key: &str, images: &[Option<Object>; 2]) -> String {
        let of_row = TRUTHS.iter().find(|(r#where, table, key_end, _)| {
            self.recording.is(r#where) && *table == line.topic_table && key.ends_with(key_end)
        });
        let Some((.., truths)) = of_row else { return String::new() };
        let sides = ["before", "after"].into_iter().zip(images).filter(|(_, image)| image.is_some());
        let sides: Vec<String> = sides.map(|(side, _)| format!("\"{side}\":{{{truths}}}")).collect();
        format!("{{{}}}", sides.join(","))
    }

    fn source(&mut self, source: &mut Object) {
        source.set("version", format!("\"{}\"", env!("CARGO_PKG_VERSION")));
        if !["\"false\"", "\"incremental\""].contains(&source.get("snapshot")) {
            self.note(rule::SNAPSHOT);
            source.set("snapshot", "\"incremental\"".to_owned());
        }
        if source.get("gtid") == "null" {
            let gtid =
                if self.recording.is("mariadb") { "\"0-1-1\"" } else { "\"3e11fa47-71ca-11e1-9e33-c80aa9429562:1\"" };
            source.set("gtid", gtid.to_owned());
        }
        let micros: i64 = source.get("ts_us").parse().expect("a number");
        source.set("ts_ns", (micros * 1000).to_string());
    }

    /// The schema part of a key or value without the columns that can't be compared.
    fn schema_part(&mut self, line: Line, schema: &TableSchema, part: &str) -> String {
        let mut part = Object::parse(part).expect("a schema");
        let fields = array(part.get("fields")).into_iter().filter_map(|field| {
            let mut field = Object::parse(&field).expect("a field");
            let name: String = serde_json::from_str(field.get("field")).expect("a name");
            if ["before", "after"].contains(&name.as_str()) && field.get("type") == "\"struct\"" {
                let columns = array(field.get("fields"));
                let columns = columns.iter().filter_map(|column| self.schema_field(line, schema, column));
                let columns: Vec<String> = columns.collect();
                field.set("fields", format!("[{}]", columns.join(",")));
                return Some(field.text());
            }
            let is_envelope = ["source", "transaction", "op", "ts_ms", "ts_us", "ts_ns"].contains(&name.as_str());
            if is_envelope { Some(field.text()) } else { self.schema_field(line, schema, &field.text()) }
        });
        let fields: Vec<String> = fields.collect();
        part.set("fields", format!("[{}]", fields.join(",")));
        part.text()
    }

    fn schema_field(&mut self, line: Line, schema: &TableSchema, field: &str) -> Option<String> {
        let mut field = Object::parse(field).expect("a field");
        let name: String = serde_json::from_str(field.get("field")).expect("a name");
        let column = schema.columns().iter().find(|column| *column.name == *name)?;
        let all = field.0.len();
        field.0.retain(|(name, _)| name != "default");
        if field.0.len() < all {
            self.note(rule::DEFAULTS);
        }
        let theirs = field.text();
        for difference in DIFFERENCES {
            for (place, (r#where, of, from, to)) in difference.fields.iter().enumerate() {
                if *of == line.topic_table && *from == theirs && self.recording.is(r#where) {
                    self.used.insert((difference.name, 1000 + place));
                    return Some((*to).to_owned());
                }
            }
        }
        if column.column_type == (ColumnType::Integer { bits: 64, unsigned: true }) {
            self.note(rule::BIGINT_UNSIGNED);
            let decimal = r#""type":"bytes","optional":"#.to_owned()
                + &column.nullable.to_string()
                + r#","name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"0","connect.decimal.precision":"20"}"#;
            assert!(theirs.starts_with(&format!(r#"{{"type":"int64","optional":{}"#, column.nullable)), "{theirs}");
            return Some(format!("{{{decimal},\"field\":{}}}", field.get("field")));
        }
        Some(theirs)
    }
}

fn is_common(charset: Charset) -> bool {
    matches!(charset, Charset::Utf8mb4 | Charset::Utf8mb3 | Charset::Latin1 | Charset::Ascii)
}

/// The texts of an array's items.
fn array(text: &str) -> Vec<String> {
    let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(text).expect("an array");
    items.iter().map(|item| item.get().to_owned()).collect()
}

fn read(expected: &Expected) -> RecordBatch {
    let table = TableForm::new(Arc::clone(&expected.schema));
    let sequence = Sequence { transaction: 8, row: 2 * expected.row, ..Sequence::default() };
    let truths = Some(expected.truths.as_bytes()).filter(|truths| !truths.is_empty());
    let raw = RawRecord { value: expected.value.as_bytes(), truths, sequence, lane: 0, offset: 0 };
    let mut batch = RecordBatch::new();
    super::decode(&table, &raw, &mut Scratch::default(), &mut batch)
        .unwrap_or_else(|error| panic!("{error:?}: {} {}", expected.key, expected.value));
    batch
}

fn write(recording: &Recording, line: Line, batch: &RecordBatch, nanos: u64) -> Vec<Written> {
    let has_inline_schemas = recording.is("schema");
    let style = RecordStyle { prefix: recording.name.to_owned(), has_inline_schemas, ..sample::style() };
    let topic = format!("{}.inventory.{}", recording.name, line.topic_table);
    sample::encode_at(&style, &topic, batch, Duration::from_nanos(nanos)).expect("written again")
}

/// Shows only what stands around the first difference.
fn check_text(ours: &str, expected: &str, place: &str) {
    let same = ours.bytes().zip(expected.bytes()).take_while(|(ours, expected)| ours == expected).count();
    let around = |text: &str| {
        String::from_utf8_lossy(&text.as_bytes()[same.saturating_sub(90)..text.len().min(same + 90)]).into_owned()
    };
    assert!(ours == expected, "{place}\nours:     {}\nexpected: {}", around(ours), around(expected));
}

#[test]
fn every_recorded_row_is_written_as_debezium_did() {
    let mut used = BTreeSet::new();
    let mut compared = Vec::new();
    for recording in &RECORDINGS {
        let mut judge = Judge::new(recording);
        let (mut count, mut tombstone) = (0, None);
        for line in recording.lines() {
            if line.value.is_empty() {
                // The one of a table without a key has none.
                assert!(tombstone.take().is_none_or(|key| key == line.key), "{} {}", recording.name, line.key);
                count += 1;
                continue;
            }
            tombstone = None;
            let Some(expected) = judge.expect(line) else { continue };
            let batch = read(&expected);
            let written = write(recording, line, &batch, expected.nanos);
            let place = format!("{} {} {}", recording.name, line.topic_table, line.key);
            check_text(written[0].value.as_deref().unwrap_or(""), &expected.value, &place);
            check_text(&written[0].key, &expected.key, &place);
            assert_eq!(written[0].truths.as_deref().unwrap_or(""), expected.truths, "{place}");
            if batch.records()[0].operation == Operation::Delete {
                assert_eq!((written[1].value.as_deref(), &written[1].key), (None, &expected.key), "{place}");
                tombstone = (written[1].key == line.key).then_some(expected.key);
            }
            count += 1;
        }
        compared.push((recording.name, count));
        used.append(&mut judge.used);
    }
    let total: u32 = compared.iter().map(|(_, count)| count).sum();
    assert!(total > 1100, "only {total} records were compared: {compared:?}");
    let known = DIFFERENCES.iter().flat_map(|difference| {
        let (values, fields) = (0..difference.values.len(), 1000..1000 + difference.fields.len());
        values.chain(fields).map(|place| (difference.name, place))
    });
    let known: BTreeSet<_> = known.chain(rule::ALL.map(|name| (name, usize::MAX))).collect();
    let unused: Vec<_> = known.difference(&used).collect();
    assert!(unused.is_empty(), "differences that no longer occur: {unused:?}");
}

/// A type that has become ours must be compared: what is left out is written down, table by table.
#[test]
fn only_columns_of_other_types_are_left_out() {
    for server in ["mysql", "mariadb"] {
        let recording = Recording::named(&format!("{server}_plain_stream"));
        let left_out = |table: &Table| {
            let columns = table.columns.iter().filter(|column| column.column_type.is_none());
            columns.map(|column| (table.name.clone(), column.name.clone())).collect::<Vec<_>>()
        };
        let found: BTreeSet<_> = ddl::tables(server).iter().flat_map(left_out).collect();
        let listed = NOT_COMPARED.iter().filter(|(r#where, ..)| recording.is(r#where));
        let listed = listed
            .flat_map(|(_, table, columns)| columns.iter().map(|column| ((*table).to_owned(), (*column).to_owned())));
        assert_eq!(found, listed.collect(), "{server}");
    }
}

/// Rows that Debezium read from the tables, with our differences, mean what the stream's last record of the key means.
#[test]
fn copied_rows_mean_what_the_stream_means() {
    for server in ["mysql", "mariadb"] {
        let mut last = HashMap::new();
        let stream = Recording::named(&format!("{server}_plain_stream"));
        let mut judge = Judge::new(stream);
        for line in stream.lines().filter(|line| !line.value.is_empty()) {
            let Some(expected) = judge.expect(line) else { continue };
            last.insert((expected.schema.name().clone(), expected.key.clone()), read(&expected));
        }
        let mut count = 0;
        for mode in ["plain_snapshot", "plain_incremental", "schema_snapshot", "schema_incremental"] {
            let recording = Recording::named(&format!("{server}_{mode}"));
            let mut judge = Judge::new(recording);
            for line in recording.lines() {
                let Some(expected) = judge.expect(line) else { continue };
                let key = Object::parse(&expected.key).expect("a key");
                let key = if recording.is("schema") { key.get("payload").to_owned() } else { key.text() };
                let Some(streamed) = last.get(&(expected.schema.name().clone(), key)) else { continue };
                check_same(streamed, &read(&expected), &format!("{} {}", recording.name, expected.value));
                count += 1;
            }
        }
        assert!(count > 250, "only {count} rows were compared");
    }
}

fn check_same(streamed: &RecordBatch, copied: &RecordBatch, place: &str) {
    let (streamed_record, copied_record) = (&streamed.records()[0], &copied.records()[0]);
    let (before, after) = (streamed.after(streamed_record), copied.after(copied_record));
    let (Some(before), Some(after)) = (before, after) else { panic!("two rows: {place}") };
    let schema = copied.schema(copied_record);
    for (index, column) in schema.columns().iter().enumerate() {
        // Only some of the updates that set it are recorded. MariaDB's YEAR 0000 was changed before the copies.
        let is_year_changed = place.starts_with("mariadb") && place.contains("zero date, YEAR 0000");
        if *column.name == *"rev" || (is_year_changed && column.column_type == ColumnType::Year) {
            continue;
        }
        assert_eq!(after.field(index), before.field(index), "{} of {place}", column.name);
    }
}

#[test]
fn a_key_change_is_written_as_debezium_did() {
    for name in ["mysql_plain_stream", "mariadb_plain_stream"] {
        let recording = Recording::named(name);
        let lines: Vec<Line> = recording.lines().filter(|line| line.topic_table == "t_pk_change").collect();
        let [delete, tombstone, insert] = lines[3..6] else { panic!("three records of one change") };
        let mut judge = Judge::new(recording);
        let expected = [delete, insert].map(|line| judge.expect(line).expect("a record of ours"));
        let row =
            |id, v| Some(vec![Owned::Integer(id), Owned::Text("key goes from 1 to 100".to_owned()), Owned::Integer(v)]);
        let origin = read(&expected[0]).origin(&read(&expected[0]).records()[0]).clone();
        let batch = sample::batch(&expected[0].schema, origin, &[(Operation::Update, row(1, 1), row(100, 2))]);
        let written = write(recording, delete, &batch, expected[0].nanos);
        assert_eq!(written.len(), 3);
        assert_eq!(written[0].value.as_deref(), Some(expected[0].value.as_str()));
        assert_eq!(written[1].value, None);
        assert!(tombstone.value.is_empty());
        let until_envelope_time = |text: &str| text[..text.rfind("\"ts_ms\"").expect("a time")].to_owned();
        assert_eq!(written[2].value.as_deref().map(until_envelope_time), Some(until_envelope_time(&expected[1].value)));
        for (written, golden) in written.iter().zip([delete, tombstone, insert]) {
            assert_eq!(written.key, golden.key);
            let (name, key) = written.other_key.as_ref().expect("a header");
            assert_eq!(format!("{name}={key}"), golden.header);
        }
        let sequences: Vec<_> = written.iter().map(|written| written.sequence.as_deref()).collect();
        assert_eq!(sequences, [Some("0-8-0-0"), None, Some("0-8-0-1")]);
    }
}

/// The two connectors' schemas differ in the name of the source block only.
#[test]
fn both_connectors_have_their_own_source_block() {
    let style = RecordStyle { has_inline_schemas: true, ..sample::style() };
    let table = ddl::tables("mysql").iter().find_map(Table::schema).expect("a table");
    let form = RecordForm::new(&style, "t", TableForm::new(table), false);
    let [mysql, mariadb] = Connector::ALL.map(|connector| form.value_opening_text(connector));
    assert_eq!(mariadb.replace(".connector.mariadb.Source", ".connector.mysql.Source"), mysql);
    assert_ne!(mariadb, mysql);
}
