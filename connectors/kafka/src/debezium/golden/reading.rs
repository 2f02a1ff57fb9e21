//! Debezium's own records, read as they are: with its default settings, with those that lose less, with and without schemas.
//!
//! What must come out is what the stream's records mean (which the tests above hold against the SQL). What Debezium lost is
//! listed: refused by name where it can be seen, another value where it can't. An entry that no longer occurs fails.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::value::RawValue;
use tailrace_contract::{DebeziumBytes, DebeziumDecimals, DebeziumSettings, DebeziumTimes};
use tailrace_row::{RecordBatch, RowImage, Sequence, TableName, TableSchema};

use super::{
    Judge, Line, Object, RECORDINGS, RawRecord, Recording, Scratch, TableForm, ddl, read, recording::OTHER_SETTINGS,
};
use crate::debezium::{TheirTable, decode::Unreadable, decode_theirs};

/// What Debezium lost, by the name that the documents have: where, table, end of the key, and what the error says, or the columns
/// that are read as another value.
type Loss = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// Seen, and refused.
#[rustfmt::skip]
const REFUSED: &[Loss] = &[
    ("charset-binary", "plain stream", "t_charset", ":1}", "bin is not in the form of binary_handling_mode"),
    ("charset-binary", "alt", "t_charset", ":1}", "bin is not in the form of binary_handling_mode"),
    ("charset-binary", "schema stream", "t_charset", ":1}", "bin holds bytes that Debezium wrote as text"),
    ("charset-binary", "stream", "t_charset", ":3}", "bin is not in the form of binary_handling_mode"),
    ("charset-binary", "stream", "t_charset", ":5}", "bin is not in the form of binary_handling_mode"),
    ("latin1-holes", "stream", "t_charset", ":2}", "l1 has U+FFFD"),
    ("charset-tables", "", "t_charset_rare", ":1}", "armscii8 is of a charset"),
    ("bytes-without-character", "plain stream", "t_charset", ":4}", "gbkt has"),
    ("bytes-without-character", "alt", "t_charset", ":4}", "gbkt has"),
    ("nanoseconds", "time-nanoseconds", "t_datetime", ":5}", "d0 is outside its type's range"),
    ("nanoseconds", "time-nanoseconds", "t_datetime", ":6}", "dn6 is outside its type's range"),
    ("nanoseconds", "time-nanoseconds", "t_datetime", ":7}", "d0 is outside its type's range"),
    ("nanoseconds", "time-nanoseconds", "t_datetime", ":8}", "d0 is outside its type's range"),
    ("empty-member", "", "t_enum_set", ":3}", "eo has a text that may be two values"),
    ("empty-member", "", "t_enum_set", ":4}", "eo has a text that may be two values"),
    ("real", "alt", "t_float", ":1}", "r is infinite"),
    ("real", "plain stream", "t_float", ":1}", "r is infinite"),
    ("real", "schema stream", "t_float", ":1}", "r is a DOUBLE that Debezium wrote as a float"),
    ("real", "stream", "t_float", ":2}", "r is infinite"),
    ("zero-dates", "mariadb stream", "t_timestamp", ":4}", "s0 is the epoch"),
];

/// Not to be seen in the record.
#[rustfmt::skip]
const CHANGED: &[Loss] = &[
    ("boolean", "stream", "t_bit", ":4}", "bo"),
    ("bytes-without-character", "read", "t_charset", ":4}", "gbkt"),
    ("zero-dates", "", "t_date", ":2}", "d dn"),
    ("zero-dates", "", "t_date", ":3}", "d dn"),
    ("zero-dates", "", "t_date", ":4}", "d dn"),
    ("zero-dates", "", "t_datetime", ":2}", "d0 d1 d3 d4 d6 dn0 dn6"),
    ("zero-dates", "", "t_datetime", ":3}", "d0 d1 d3 d4 d6 dn0 dn6"),
    ("zero-dates", "", "t_datetime", ":4}", "d0 d1 d3 d4 d6 dn0 dn6"),
    ("zero-dates", "", "t_default", ":1}", "dz dtz"),
    ("zero-dates", "", "t_default", ":2}", "dz dtz"),
    ("zero-dates", "", "t_delete", ":3}", "d"),
    ("zero-dates", "mysql", "t_timestamp", ":4}", "s0 s1 s3 s6"),
    ("zero-dates", "read", "t_timestamp", ":4}", "s0 s1 s3 s6"),
    ("year-zero", "read", "t_date", ":2}", "y yn"),
    ("early-years", "", "t_date", ":5}", "d dn"),
    ("early-years", "", "t_date", ":6}", "d dn"),
    ("early-years", "", "t_date", ":7}", "d dn"),
    ("early-years", "", "t_date", ":8}", "d dn"),
    ("early-years", "", "t_date", ":9}", "d"),
    ("early-years", "alt", "t_datetime", ":6}", "d0 d1 d3 d4 d6 dn0"),
    ("early-years", "mysql", "t_datetime", ":6}", "d0 d1 d3 d4 d6 dn0"),
    ("early-years", "plain", "t_datetime", ":6}", "d0 d1 d3 d4 d6 dn0"),
    ("early-years", "time-microseconds", "t_datetime", ":6}", "d0 d1 d3 d4 d6 dn0"),
    // `alt` has replace.null.with.default=false.
    ("null-with-default", "plain", "t_default", ":2}", "den dbl vc vb se dt6"),
    ("null-with-default", "time-microseconds", "t_default", ":2}", "den dbl vc vb se dt6"),
    ("null-with-default", "time-nanoseconds", "t_default", ":2}", "den dbl vc vb se dt6"),
    ("float-six-digits", "read", "t_float", ":1}", "f f24 fu"),
    ("float-six-digits", "read", "t_float", ":2}", "f f24"),
    ("float-six-digits", "read", "t_float", ":3}", "f f24 fu"),
    ("float-six-digits", "read", "t_float", ":7}", "f f24 fu"),
    ("float-six-digits", "read", "t_float", ":8}", "fu"),
    ("real", "stream", "t_float", ":3}", "r"),
    ("real", "stream", "t_float", ":4}", "r"),
    ("real", "stream", "t_float", ":6}", "r"),
    ("real", "stream", "t_float", ":7}", "r"),
    ("json-text", "mysql stream", "t_json", ":15}", "j"),
    ("json-text", "mysql stream", "t_json", ":17}", "j"),
    ("json-text", "mysql stream", "t_json", ":18}", "j"),
    ("uuid-zeros", "stream", "t_uuid", ":1}", "u un"),
    ("uuid-zeros", "stream", "t_uuid", ":6}", "u un"),
    ("isostring", "alt", "t_time", ":3}", "t0 t1 t3 t6"),
    ("isostring", "alt", "t_time", ":4}", "t0 t1 t3 t6"),
    ("isostring", "alt", "t_time", ":5}", "t0 t1 t3 t6"),
    ("isostring", "alt", "t_time", ":6}", "t1 t3 t6"),
    ("isostring", "alt", "t_time", ":7}", "t0 t1 t3 t6"),
    ("isostring", "alt", "t_time", ":8}", "t0 t1 t3 t6"),
    ("isostring", "alt", "t_time", ":9}", "t0 t1 t3 t6"),
    ("isostring", "alt", "t_time", ":10}", "t0 t1 t3 t6"),
];

/// Rows that the stream's recording does not have: where, table, end of the key.
const WITHOUT_TRUTH: &[(&str, &str, &str)] = &[
    // Its updates are not recorded.
    ("read", "t_alter_renamed", ""),
    // Debezium does not read MariaDB's compressed events.
    ("mariadb read", "t_compressed", ":1}"),
    ("mariadb read", "t_tx_b", ":9}"),
    // Its key has lost its zeros.
    ("mariadb stream", "t_pk_uuid", ""),
    // Its key has lost its zero dates.
    ("", "t_pk_types", "\"bt\":\"AA==\"}"),
];

/// How the connector was set that wrote the recording.
fn settings(recording: &Recording) -> DebeziumSettings {
    let mut settings =
        DebeziumSettings { is_true_one: true, is_epoch_a_day: true, is_unaltered: true, ..DebeziumSettings::default() };
    if recording.name.contains("_alt") {
        settings.decimals = DebeziumDecimals::Text;
        settings.has_precise_unsigned = true;
        settings.has_numeric_decimals = recording.is("alt");
        settings.bytes = DebeziumBytes::Base64;
        settings.times = DebeziumTimes::IsoString;
    } else if recording.is("time-microseconds") {
        settings.times = DebeziumTimes::Microseconds;
    } else if recording.is("time-nanoseconds") {
        settings.times = DebeziumTimes::Nanoseconds;
    }
    settings
}

/// A row's fields, without what `rev` says.
type Row = Vec<Vec<u8>>;

/// What each row is in truth, at each time: by table and key.
struct Truth(HashMap<(TableName, Row), Vec<Row>>);

impl Truth {
    fn of(server: &str) -> Self {
        let mut rows = HashMap::<_, Vec<Row>>::new();
        let recording = Recording::named(&format!("{server}_plain_stream"));
        let mut judge = Judge::new(recording);
        for line in recording.lines().filter(|line| !line.value.is_empty()) {
            let Some(expected) = judge.expect(line) else { continue };
            let batch = read(&expected);
            for image in images(&batch) {
                rows.entry(name_and_key(&expected.schema, image)).or_default().push(row(image));
            }
        }
        Self(rows)
    }

    /// The columns in which the image is none of the row's, compared with the one that is nearest.
    fn differences(&self, schema: &TableSchema, image: RowImage<'_>) -> Option<Vec<usize>> {
        let is_kept = |index: &usize| *schema.columns()[*index].name != *"rev";
        let ours = row(image);
        let rows = self.0.get(&name_and_key(schema, image))?.iter().filter(|row| row.len() == ours.len());
        let is_other = |row: &Row, index: usize| row[index] != ours[index] && !is_same_json(&row[index], &ours[index]);
        let of_row = |row: &Row| (0..ours.len()).filter(is_kept).filter(|index| is_other(row, *index)).collect();
        rows.map(of_row).min_by_key(|columns: &Vec<usize>| columns.len())
    }
}

/// Spaces, escapes and the form of numbers mean nothing. A field's first byte is its tag.
fn is_same_json(one: &[u8], other: &[u8]) -> bool {
    let text = |field: &[u8]| {
        let text = std::str::from_utf8(field.get(1..)?).ok()?.to_owned();
        normal_json(serde_json::from_str(&text).ok()?)
    };
    one.first() == other.first() && text(one).is_some_and(|value| Some(value) == text(other))
}

fn normal_json(raw: &RawValue) -> Option<String> {
    let text = raw.get();
    Some(match text.as_bytes().first()? {
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            format!("{:?}", items.into_iter().map(normal_json).collect::<Option<Vec<_>>>()?)
        }
        b'{' => {
            let pairs: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            let pairs = pairs.into_iter().map(|(name, value)| Some((name, normal_json(value)?)));
            format!("{:?}", pairs.collect::<Option<Vec<_>>>()?)
        }
        b'"' => format!("{:?}", serde_json::from_str::<String>(text).ok()?),
        b'-' | b'0'..=b'9' => format!("{:?}", text.parse::<f64>().ok()?),
        _ => text.to_owned(),
    })
}

fn images(batch: &RecordBatch) -> impl Iterator<Item = RowImage<'_>> {
    let record = &batch.records()[0];
    [batch.before(record), batch.after(record)].into_iter().flatten()
}

fn row(image: RowImage<'_>) -> Row {
    (0..image.len()).map(|index| image.field_bytes(index).to_vec()).collect()
}

fn name_and_key(schema: &TableSchema, image: RowImage<'_>) -> (TableName, Row) {
    (schema.name().clone(), schema.key().iter().map(|index| image.field_bytes(*index).to_vec()).collect())
}

/// The record without columns whose types are not ours yet.
fn compared(line: Line, schema: &TableSchema) -> String {
    let mut value = Object::parse(line.value).expect("a value");
    let is_wrapped = value.0[0].0 == "schema";
    let mut payload = if is_wrapped { Object::parse(value.get("payload")).expect("a payload") } else { value.clone() };
    for side in ["before", "after"] {
        let Some(mut image) = Object::parse(payload.get(side)) else { continue };
        image.0.retain(|(name, _)| schema.columns().iter().any(|column| *column.name == **name));
        payload.set(side, image.text());
    }
    if is_wrapped {
        value.set("payload", payload.text());
        return value.text();
    }
    payload.text()
}

fn read_theirs(table: &TheirTable, value: &str) -> Result<RecordBatch, Unreadable> {
    let raw = RawRecord { value: value.as_bytes(), truths: None, sequence: Sequence::default(), lane: 0, offset: 0 };
    let mut batch = RecordBatch::new();
    decode_theirs(table, &raw, &mut Scratch::default(), &mut batch).map(|()| batch)
}

/// The schema of the record's columns; none without a key of our types, or for a TRUNCATE.
fn schema_of(tables: &[ddl::Table], line: Line) -> Option<Arc<TableSchema>> {
    let value = Object::parse(line.value).expect("a value");
    let value = if value.0[0].0 == "schema" { Object::parse(value.get("payload")).expect("a payload") } else { value };
    let image = ["before", "after"].iter().find_map(|side| Object::parse(value.get(side)))?;
    let source = Object::parse(value.get("source")).expect("a source");
    let name: String = serde_json::from_str(source.get("table")).expect("a name");
    let is_of = |table: &&ddl::Table| {
        table.name == name && table.columns.iter().map(|column| &column.name).eq(image.0.iter().map(|(name, _)| name))
    };
    tables.iter().find(is_of)?.schema()
}

/// What came out otherwise than the SQL said.
#[derive(Default)]
struct Found {
    used: BTreeSet<(bool, usize)>,
    unlisted: BTreeSet<String>,
    count: usize,
}

impl Found {
    fn read(&mut self, recording: &Recording, line: Line, schema: &Arc<TableSchema>, truth: &Truth) {
        let table = TheirTable::new(Arc::new(TableForm::new(Arc::clone(schema))), settings(recording));
        let key = line.key.rsplit("\"payload\":").next().expect("a key").replace("}}", "}");
        let place = format!("{} {} {key}", recording.name, line.topic_table);
        let is_here = |r#where: &str, table: &str, key_end: &str| {
            recording.is(r#where) && table == line.topic_table && key.ends_with(key_end)
        };
        let listed = |losses: &[Loss], is_it: &dyn Fn(&str) -> bool| {
            losses.iter().position(|(_, r#where, table, end, what)| is_here(r#where, table, end) && is_it(what))
        };
        self.count += 1;
        let batch = match read_theirs(&table, &compared(line, schema)) {
            Ok(batch) => batch,
            Err(Unreadable(what)) => {
                self.note(true, listed(REFUSED, &|part| what.contains(part)), format!("{place} refused: {what}"));
                return;
            }
        };
        for image in images(&batch) {
            let Some(differences) = truth.differences(schema, image) else {
                let is_known = WITHOUT_TRUTH.iter().any(|(r#where, table, end)| is_here(r#where, table, end));
                assert!(is_known, "{place}: there is nothing to compare it with");
                continue;
            };
            for index in differences {
                let name = &*schema.columns()[index].name;
                let listed = listed(CHANGED, &|columns| columns.split(' ').any(|column| column == name));
                self.note(false, listed, format!("{place} changed: {name} {:?}", image.field(index)));
            }
        }
    }

    fn note(&mut self, is_refused: bool, listed: Option<usize>, what: String) {
        match listed {
            Some(number) => drop(self.used.insert((is_refused, number))),
            None => drop(self.unlisted.insert(what)),
        }
    }
}

#[test]
fn debeziums_records_mean_what_the_sql_said_or_are_refused() {
    let mut found = Found::default();
    for server in ["mysql", "mariadb"] {
        let truth = Truth::of(server);
        let tables = ddl::tables(server);
        for recording in RECORDINGS.iter().chain(&OTHER_SETTINGS).filter(|recording| recording.server() == server) {
            for line in recording.lines().filter(|line| !line.value.is_empty()) {
                if let Some(schema) = schema_of(&tables, line) {
                    found.read(recording, line, &schema, &truth);
                }
            }
        }
    }
    let unlisted: Vec<String> = found.unlisted.into_iter().collect();
    assert!(unlisted.is_empty(), "{}", unlisted.join("\n"));
    let all = (0..REFUSED.len()).map(|place| (true, place)).chain((0..CHANGED.len()).map(|place| (false, place)));
    let unused: Vec<_> = all.filter(|entry| !found.used.contains(entry)).collect();
    assert!(unused.is_empty(), "what no longer occurs: {unused:?}");
    assert!(found.count > 1700, "only {} records were read", found.count);
}

/// Without `boolean_true = "one"` a `true` is refused; `false` is 0.
#[test]
fn true_is_no_number() {
    let recording = Recording::named("mysql_plain_stream");
    let tables = ddl::tables("mysql");
    let read = |id: &str| {
        let of_row = |line: &Line| line.topic_table == "t_bit" && line.key == id;
        let line = recording.lines().find(of_row).expect("the row");
        let schema = schema_of(&tables, line).expect("the table");
        let form = Arc::new(TableForm::new(Arc::clone(&schema)));
        let settings = DebeziumSettings { is_true_one: false, ..settings(recording) };
        read_theirs(&TheirTable::new(form, settings), line.value)
    };
    let error = read("{\"id\":4}").expect_err("2 and 1 look alike").0;
    assert!(error.starts_with("column bo is true") && error.contains("boolean_true"), "{error}");
    read("{\"id\":1}").expect("0 and no other");
}

/// A record is read by today's shape only if that is what it was written in: its own schema tells, or the configuration says so.
#[test]
fn records_of_another_shape_are_refused() {
    use tailrace_row::{Column, ColumnType};
    let tables = ddl::tables("mysql");
    // (table, column, what an ALTER TABLE made of it)
    let altered = [
        ("t_decimal", ColumnType::Decimal { precision: 12, scale: 4 }),
        ("t_date", ColumnType::Integer { bits: 32, unsigned: false }),
        ("t_datetime", ColumnType::DateTime { fraction: 6 }),
        ("t_time", ColumnType::Integer { bits: 64, unsigned: false }),
    ];
    for (table, column_type) in altered {
        let (plain, with_schema) = (Recording::named("mysql_plain_stream"), Recording::named("mysql_schema_stream"));
        for (recording, is_unaltered, expect) in [
            (plain, false, "is in a record without a schema"),
            (with_schema, false, "was written with another scale|has another type in the record's schema|range"),
        ] {
            let of_table = |line: &Line| line.topic_table == table && line.value.contains("\"op\":\"c\"");
            let line = recording.lines().find(of_table).expect("a row");
            let schema = schema_of(&tables, line).expect("the table");
            let mut columns: Vec<Column> = schema.columns().to_vec();
            let place = columns
                .iter()
                .position(|column| std::mem::discriminant(&column.column_type) == std::mem::discriminant(&of(table)));
            columns[place.expect("a column of the type")].column_type = column_type.clone();
            let schema = TableSchema::new(schema.name().clone(), columns, schema.key()).expect("a schema");
            let settings = DebeziumSettings { is_unaltered, ..settings(recording) };
            let their = TheirTable::new(Arc::new(TableForm::new(Arc::new(schema))), settings);
            let error = read_theirs(&their, line.value).expect_err("another shape").0;
            assert!(expect.split('|').any(|part| error.contains(part)), "{table}: {error}");
        }
    }
    // What each table is about.
    fn of(table: &str) -> ColumnType {
        match table {
            "t_decimal" => ColumnType::Decimal { precision: 1, scale: 0 },
            "t_date" => ColumnType::Date,
            "t_datetime" => ColumnType::DateTime { fraction: 0 },
            _ => ColumnType::Time { fraction: 0 },
        }
    }
}

/// Without `zero_dates = "epoch"` the epoch is refused where NULL is not allowed, in every form, and there only.
#[test]
fn the_epoch_may_be_a_zero_date() {
    for name in [
        "mysql_plain_stream",
        "mysql_alt_stream",
        "mariadb_time-microseconds_stream",
        "mariadb_time-nanoseconds_stream",
    ] {
        let mut recordings = RECORDINGS.iter().chain(&OTHER_SETTINGS);
        let recording = recordings.find(|recording| recording.name == name).expect("a recording");
        let tables = ddl::tables(recording.server());
        let read = |table: &str, key: &str| {
            let of_row = |line: &Line| line.topic_table == table && line.key.contains(key) && !line.value.is_empty();
            let line = recording.lines().find(of_row).expect("the row");
            let schema = schema_of(&tables, line).expect("the table");
            let form = Arc::new(TableForm::new(Arc::clone(&schema)));
            let settings = DebeziumSettings { is_epoch_a_day: false, ..settings(recording) };
            read_theirs(&TheirTable::new(form, settings), &compared(line, &schema))
        };
        for (table, key, column) in [
            // 0000-00-00 and 2024-00-00. The column before it allows NULL.
            ("t_date", "\"id\":2}", "dn"),
            ("t_date", "\"id\":3}", "dn"),
            ("t_datetime", "\"id\":2}", "dn0"),
            ("t_default", "\"id\":1}", "dz"),
        ] {
            let error = read(table, key).expect_err("a zero date").0;
            let expect = format!("column {column} is 1970-01-01, which Debezium writes for zero dates too");
            assert!(error.starts_with(&expect) && error.contains("zero_dates = \"epoch\""), "{name} {table}: {error}");
        }
        read("t_date", "\"id\":1}").expect("a row without a zero date");
    }
}

/// The names that the documents must have.
pub(super) fn names_of_losses() -> impl Iterator<Item = &'static str> {
    REFUSED.iter().chain(CHANGED).map(|loss| loss.0)
}
