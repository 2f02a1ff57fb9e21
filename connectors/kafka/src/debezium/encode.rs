//! Row images → Debezium JSON records, straight from the batch into reused buffers.
//!
//! The sum, for a row of ten columns and 290 bytes as an insert: about 420 bytes of columns, 330 of source block, 120 of
//! envelope, 20 of key. The source block and the envelope's end are copied from what was rendered before; column names
//! and enum members are pre-rendered; so a row costs its values' formatting and some 900 bytes of copying. No allocation
//! per row once the buffers have grown.
//!
//! One record of the batch becomes one record of the log, but for these:
//!
//! | change | records |
//! |---|---|
//! | delete | `d`, then a tombstone (same key, no value) |
//! | update that changes the key | `d` and tombstone for the old key, `c` for the new one, whose sequence is the second half |
//!
//! A value that Debezium's form can't hold is replaced by Debezium's substitute and told in `tailrace.exact` (see `truth`),
//! or refused where the settings say so. It deliberately does not know Kafka: records go to a [`RecordSink`].

use std::{fmt::Write as _, time::Duration};

use tailrace_contract::{Error, Result};
use tailrace_row::{Field, Operation, Record, RecordBatch, RowImage, Sequence, TableName, has_changed_key};

use super::{
    field::{Misfit, write_field},
    form::TableForm,
    inline_schema,
    source_block::{Connector, Snapshot, SourceBlock, TableSource},
    truth::{Side, TruthWriter},
};

/// What all records of one schema share.
pub(crate) struct RecordForm {
    pub(super) table: TableForm,
    source: TableSource,
    /// `{"schema":…,"payload":`, if records carry their schema.
    key_opening: Vec<u8>,
    /// Of each connector.
    value_openings: [Vec<u8>; 2],
    schema_text: String,
    /// In a compacted topic two keys must never look alike.
    is_compacted: bool,
}

/// How records are to be written.
#[derive(Clone, Debug)]
pub(crate) struct RecordStyle {
    /// `source.name`: the log's prefix.
    pub(crate) prefix: String,
    pub(crate) has_inline_schemas: bool,
    pub(crate) refuses_inexact: bool,
}

impl RecordForm {
    pub(crate) fn new(style: &RecordStyle, topic: &str, table: TableForm, is_compacted: bool) -> Self {
        let schema = table.schema();
        let (key_opening, value_openings) = if style.has_inline_schemas {
            let value_opening = |connector| inline_schema::value_opening(topic, &table, connector);
            (inline_schema::key_opening(topic, &table), Connector::ALL.map(value_opening))
        } else {
            Default::default()
        };
        let source = TableSource::new(&style.prefix, schema.name());
        Self { source, key_opening, value_openings, schema_text: schema.id().to_string(), is_compacted, table }
    }

    /// The name of the schema as the header carries it.
    pub(crate) fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// What stands before a value's payload.
    #[cfg(test)]
    pub(super) fn value_opening_text(&self, connector: Connector) -> String {
        String::from_utf8(self.value_openings[connector as usize].clone()).expect("JSON is UTF-8")
    }

    /// The table.
    pub(crate) fn name(&self) -> &TableName {
        self.table.schema.name()
    }
}

/// One record for the log. Everything is borrowed from the encoder's buffers.
pub(crate) struct Encoded<'a> {
    pub(crate) key: &'a [u8],
    /// None: a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// The sequence as text; none on tombstones.
    pub(crate) sequence: Option<&'a str>,
    /// The value of `tailrace.exact`, if there is one.
    pub(crate) truths: Option<&'a [u8]>,
    /// Whether its row may not be there yet: the header `tailrace.uncopied`.
    pub(crate) is_uncopied: bool,
    /// Debezium's header that names the other key of a key change.
    pub(crate) other_key: Option<(&'static str, &'a [u8])>,
}

/// Where encoded records go.
pub(crate) trait RecordSink {
    /// Takes one record; the buffers are reused afterwards.
    fn put(&mut self, form: &RecordForm, record: Encoded<'_>) -> Result<()>;
}

/// Debezium's header on the delete half (and its tombstone) of a key change.
pub(crate) const NEW_KEY_HEADER: &str = "__debezium.newkey";
/// Debezium's header on the insert half.
pub(crate) const OLD_KEY_HEADER: &str = "__debezium.oldkey";

/// Encodes records; owns the buffers.
pub(crate) struct Encoder {
    style: RecordStyle,
    /// The record's key.
    key: Vec<u8>,
    /// The bare payload of the other key of a key change.
    other_key: Vec<u8>,
    value: Vec<u8>,
    truths: TruthWriter,
    header: Vec<u8>,
    sequence: String,
    source: SourceBlock,
    /// What `source` was rendered from, in this batch.
    source_of: Option<(u32, u32, Snapshot)>,
    /// `,"ts_ms":…}`: when this batch was encoded.
    ending: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(style: RecordStyle) -> Self {
        Self {
            style,
            key: Vec::new(),
            other_key: Vec::new(),
            value: Vec::new(),
            truths: TruthWriter::default(),
            header: Vec::new(),
            sequence: String::new(),
            source: SourceBlock::default(),
            source_of: None,
            ending: Vec::new(),
        }
    }

    /// Must be called before the first record of each batch; `now` is the time since 1970 that the records will tell.
    pub(crate) fn begin_batch(&mut self, now: Duration) {
        self.source_of = None;
        let closing = if self.style.has_inline_schemas { "}}" } else { "}" };
        let mut text = String::new();
        let (millis, micros, nanos) = (now.as_millis(), now.as_micros(), now.as_nanos());
        write!(text, "\",\"ts_ms\":{millis},\"ts_us\":{micros},\"ts_ns\":{nanos}{closing}")
            .expect("invariant: writing to a String can't fail");
        self.ending = text.into_bytes();
    }

    /// Encodes one record of the batch into one or more records of the log.
    pub(crate) fn encode(
        &mut self,
        form: &RecordForm,
        batch: &RecordBatch,
        record: &Record,
        sink: &mut impl RecordSink,
    ) -> Result<()> {
        let change = Change { form, batch, record, sequence: batch.sequence(record) };
        match (record.operation, batch.before(record), batch.after(record)) {
            (Operation::Insert, _, Some(after)) => self.insert(&change, after, "c", sink),
            (Operation::Read, _, Some(after)) => self.insert(&change, after, "r", sink),
            (Operation::Update, Some(before), Some(after)) => {
                if has_changed_key(form.table.schema(), before, after) {
                    self.move_row(&change, before, after, sink)
                } else {
                    self.update(&change, before, after, sink)
                }
            }
            (Operation::Delete, Some(before), _) => self.delete(&change, before, None, sink),
            (operation, ..) => unreachable!("a record of {operation:?} lacks an image, which no batch takes"),
        }
    }

    fn insert(
        &mut self,
        change: &Change<'_>,
        after: RowImage<'_>,
        letter: &str,
        sink: &mut impl RecordSink,
    ) -> Result<()> {
        self.write_key(change, after)?;
        self.write_value(change, None, Some(after), letter)?;
        self.put(change, None, sink)
    }

    fn update(
        &mut self,
        change: &Change<'_>,
        before: RowImage<'_>,
        after: RowImage<'_>,
        sink: &mut impl RecordSink,
    ) -> Result<()> {
        self.write_key(change, after)?;
        self.write_value(change, Some(before), Some(after), "u")?;
        self.put(change, None, sink)
    }

    fn delete(
        &mut self,
        change: &Change<'_>,
        before: RowImage<'_>,
        other_key: Option<&'static str>,
        sink: &mut impl RecordSink,
    ) -> Result<()> {
        self.write_key(change, before)?;
        self.write_value(change, Some(before), None, "d")?;
        self.put(change, other_key, sink)?;
        let other_key = other_key.map(|name| (name, self.other_key.as_slice()));
        let tombstone =
            Encoded { key: &self.key, value: None, sequence: None, truths: None, is_uncopied: false, other_key };
        sink.put(change.form, tombstone)
    }

    /// An update that changes the key: the two halves may lie in two partitions.
    fn move_row(
        &mut self,
        change: &Change<'_>,
        before: RowImage<'_>,
        after: RowImage<'_>,
        sink: &mut impl RecordSink,
    ) -> Result<()> {
        self.write_other_key(change, after)?;
        self.delete(change, before, Some(NEW_KEY_HEADER), sink)?;
        self.write_other_key(change, before)?;
        let second = Change { sequence: change.sequence.second_half(), ..*change };
        self.write_key(&second, after)?;
        self.write_value(&second, None, Some(after), "c")?;
        self.put(&second, Some(OLD_KEY_HEADER), sink)
    }

    fn put(&mut self, change: &Change<'_>, other_key: Option<&'static str>, sink: &mut impl RecordSink) -> Result<()> {
        self.sequence.clear();
        write!(self.sequence, "{}", change.sequence).expect("invariant: writing to a String can't fail");
        let truths = if self.truths.is_empty() {
            None
        } else {
            self.header.clear();
            self.truths.write_header(&mut self.header);
            Some(self.header.as_slice())
        };
        let record = Encoded {
            key: &self.key,
            value: Some(&self.value),
            sequence: Some(&self.sequence),
            truths,
            is_uncopied: change.batch.after(change.record).is_some_and(|after| after.may_be_absent()),
            other_key: other_key.map(|name| (name, self.other_key.as_slice())),
        };
        sink.put(change.form, record)
    }

    fn write_key(&mut self, change: &Change<'_>, image: RowImage<'_>) -> Result<()> {
        self.key.clear();
        self.key.extend_from_slice(&change.form.key_opening);
        self.truths.clear();
        write_key_payload(change, image, &mut self.key, &mut self.truths)?;
        if change.form.is_compacted && !self.truths.is_empty() {
            return Err(change
                .failed("a key has a value that Debezium's form can't hold, and in a compacted topic it could look like another key")
                .hint("turn compaction of the log's topics off for this table, or mend the row in the source"));
        }
        if self.style.has_inline_schemas {
            self.key.push(b'}');
        }
        Ok(())
    }

    /// The other key of a key change, without schema: that is how Connect's default header converter writes it.
    fn write_other_key(&mut self, change: &Change<'_>, image: RowImage<'_>) -> Result<()> {
        self.other_key.clear();
        self.truths.clear();
        write_key_payload(change, image, &mut self.other_key, &mut self.truths)
    }

    fn write_value(
        &mut self,
        change: &Change<'_>,
        before: Option<RowImage<'_>>,
        after: Option<RowImage<'_>>,
        letter: &str,
    ) -> Result<()> {
        self.truths.clear();
        self.value.clear();
        let connector = Connector::of(change.batch.origin(change.record));
        self.value.extend_from_slice(&change.form.value_openings[connector as usize]);
        self.value.extend_from_slice(b"{\"before\":");
        self.write_image(change, before, Side::Before)?;
        self.value.extend_from_slice(b",\"after\":");
        self.write_image(change, after, Side::After)?;
        if self.style.refuses_inexact && !self.truths.is_empty() {
            return Err(change
                .failed("a row has a value that Debezium's form can't hold")
                .hint("without [log] inexact = \"refuse\" it is written in a header beside Debezium's substitute; or mend the row"));
        }
        self.value.extend_from_slice(b",\"source\":");
        self.render_source(change);
        self.source.write(&mut self.value, change.record.row / 2);
        self.value.extend_from_slice(b",\"transaction\":null,\"op\":\"");
        self.value.extend_from_slice(letter.as_bytes());
        self.value.extend_from_slice(&self.ending);
        Ok(())
    }

    fn write_image(&mut self, change: &Change<'_>, image: Option<RowImage<'_>>, side: Side) -> Result<()> {
        let Some(image) = image else {
            self.value.extend_from_slice(b"null");
            return Ok(());
        };
        if image.is_partial() {
            return self.write_partial_image(change, image, side);
        }
        let mut separator = b'{';
        for (index, (column, field)) in change.form.table.columns.iter().zip(image.fields()).enumerate() {
            self.value.push(separator);
            self.value.extend_from_slice(&column.opening);
            let written = write_field(&mut self.value, column, field, &mut self.truths, side);
            written.map_err(|misfit| change.misfit(index, misfit))?;
            separator = b',';
        }
        self.value.push(b'}');
        Ok(())
    }

    /// A column that was not sent is left out, and the header says so.
    fn write_partial_image(&mut self, change: &Change<'_>, image: RowImage<'_>, side: Side) -> Result<()> {
        change.check_partial(side, self.style.has_inline_schemas)?;
        let mut separator = b'{';
        for (index, (column, field)) in change.form.table.columns.iter().zip(image.fields()).enumerate() {
            if field == Field::Unchanged {
                self.truths.note_unchanged(side, &column.opening);
                continue;
            }
            self.value.push(separator);
            self.value.extend_from_slice(&column.opening);
            let written = write_field(&mut self.value, column, field, &mut self.truths, side);
            written.map_err(|misfit| change.misfit(index, misfit))?;
            separator = b',';
        }
        self.value.push(b'}');
        Ok(())
    }

    fn render_source(&mut self, change: &Change<'_>) {
        let snapshot = match change.record.operation {
            Operation::Insert | Operation::Update | Operation::Delete => Snapshot::No,
            Operation::Read => Snapshot::Incremental,
        };
        let wanted = (change.record.origin, change.record.schema, snapshot);
        if self.source_of != Some(wanted) {
            self.source.render(&change.form.source, change.batch.origin(change.record), snapshot);
            self.source_of = Some(wanted);
        }
    }
}

/// The record being encoded, for messages and for what its parts share.
#[derive(Clone, Copy)]
struct Change<'a> {
    form: &'a RecordForm,
    batch: &'a RecordBatch,
    record: &'a Record,
    sequence: Sequence,
}

impl Change<'_> {
    fn failed(&self, what: &str) -> Error {
        Error::table_failed(self.form.table.schema().name().clone(), what).at(self.sequence)
    }

    /// Whether an image without all columns may go into the log: nobody may take it for a row.
    fn check_partial(&self, side: Side, has_inline_schemas: bool) -> Result<()> {
        const MEND: &str = "have the sessions that write the table use binlog_row_image = FULL";
        if has_inline_schemas {
            let what = "a row was logged without all its columns, and with [log] schemas = true consumers would take the others for NULL";
            return Err(self.failed(what).hint(format!("{MEND}, or write the log without schemas")));
        }
        if side == Side::Before {
            return Ok(());
        }
        if self.form.is_compacted {
            let what = "a row was logged without all its columns, and a compacted topic would forget the records that have them";
            return Err(self
                .failed(what)
                .hint(format!("{MEND}, or turn compaction of the log's topics off for this table")));
        }
        if self.record.operation == Operation::Update && self.sequence == self.batch.sequence(self.record) {
            return Ok(());
        }
        Err(self.failed("a row comes under a new key without all its columns").hint(MEND))
    }

    fn misfit(&self, column: usize, misfit: Misfit) -> Error {
        let name = &self.form.table.schema().columns()[column].name;
        self.failed(&match misfit {
            Misfit::Unchanged => {
                format!("column {name} of the key was not logged with a row")
            }
            Misfit::OtherType => format!("column {name} has a value that its type can't have"),
        })
    }
}

fn write_key_payload(
    change: &Change<'_>,
    image: RowImage<'_>,
    out: &mut Vec<u8>,
    truths: &mut TruthWriter,
) -> Result<()> {
    let table = &change.form.table;
    let mut separator = b'{';
    for index in table.schema().key() {
        let column = &table.columns[*index];
        out.push(separator);
        out.extend_from_slice(&column.opening);
        let written = write_field(out, column, image.field(*index), truths, Side::After);
        written.map_err(|misfit| change.misfit(*index, misfit))?;
        separator = b',';
    }
    if separator == b'{' {
        return Err(change.failed("a table without a key can't be written to Kafka"));
    }
    out.push(b'}');
    Ok(())
}
