//! Debezium JSON records of ours → rows in a batch, without a tree in between.
//!
//! The one thing to know: the header `tailrace.schema` tells the table's columns before the first byte of the value is
//! read, so each field goes straight into the row image. Columns must stand in the schema's order, which is how they are
//! written. Anything else than what the encoder writes is an error that names the column and never the value: records are
//! read from outside the process, so nothing here may panic (the mutation test below feeds it broken ones).
//!
//! The sum: an insert of 900 bytes is read once by serde_json (about 0.5 µs); its source block is skipped, not read, if the
//! record before it came from the same rows event.

use std::{cell::Cell, fmt, sync::Arc};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use tailrace_row::{ImageSpan, Operation, Origin, Record, RecordBatch, Sequence};

use super::{
    form::TableForm,
    read_field::FieldSeed,
    source_block::ReadSource,
    theirs::{TheirTable, write_their_field},
    truth::{Side, Truth, Truths, write_truth},
};

/// One record as it lies in the log.
pub(crate) struct RawRecord<'a> {
    pub(crate) value: &'a [u8],
    /// The header `tailrace.exact`.
    pub(crate) truths: Option<&'a [u8]>,
    pub(crate) sequence: Sequence,
    /// The number of the partition among the reader's.
    pub(crate) lane: u32,
    pub(crate) offset: i64,
}

/// Why a record can't be read: no value of it is in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(crate) String);

/// Buffers that decoding reuses.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(super) bytes: Vec<u8>,
}

/// Appends one record to the batch; nothing of it if it can't be read.
pub(crate) fn decode(
    table: &TableForm,
    raw: &RawRecord<'_>,
    scratch: &mut Scratch,
    out: &mut RecordBatch,
) -> Result<(), Unreadable> {
    let truths = match raw.truths {
        Some(header) => Truths::parse(table, header).map_err(|what| Unreadable(what.to_owned()))?,
        None => Truths::default(),
    };
    decode_as(table, Reading::Ours(&truths), raw, scratch, out)
}

/// The same for a record that Debezium wrote.
pub(crate) fn decode_theirs(
    table: &TheirTable,
    raw: &RawRecord<'_>,
    scratch: &mut Scratch,
    out: &mut RecordBatch,
) -> Result<(), Unreadable> {
    table.begin_record();
    decode_as(&table.form, Reading::Theirs(table), raw, scratch, out)
}

/// Whose records are read.
#[derive(Clone, Copy)]
enum Reading<'a> {
    Ours(&'a Truths),
    Theirs(&'a TheirTable),
}

fn decode_as(
    table: &TableForm,
    reading: Reading<'_>,
    raw: &RawRecord<'_>,
    scratch: &mut Scratch,
    out: &mut RecordBatch,
) -> Result<(), Unreadable> {
    let trouble = Trouble::default();
    // One check of the whole is several times faster than one of each string.
    let value = std::str::from_utf8(raw.value).map_err(|_| Unreadable("the record's value is not UTF-8".to_owned()))?;
    let mut json = serde_json::Deserializer::from_str(value);
    let seed =
        EnvelopeSeed { table, reading, sequence: raw.sequence, trouble: &trouble, scratch, out, is_wrapped: false };
    let read = seed.deserialize(&mut json).and_then(|envelope| json.end().map(|()| envelope));
    let envelope = read.map_err(|error| trouble.describe(table, &error))?;
    let (operation, origin) = envelope.check().map_err(|what| Unreadable(what.to_owned()))?;
    let schema = out.add_schema(table.schema());
    out.push(Record {
        operation,
        schema,
        origin,
        row: raw.sequence.row,
        lane: raw.lane,
        offset: raw.offset,
        before: envelope.before,
        after: envelope.after,
    });
    Ok(())
}

/// Where reading was, and what was wrong there: serde's own texts quote values and are never shown.
#[derive(Default)]
pub(super) struct Trouble {
    column: Cell<Option<usize>>,
    reason: Cell<Option<&'static str>>,
}

impl Trouble {
    /// An error for serde, which only carries it; the reason is kept here.
    pub(super) fn because<E: serde::de::Error>(&self, reason: &'static str) -> E {
        self.reason.set(Some(reason));
        E::custom("")
    }

    fn describe(&self, table: &TableForm, error: &serde_json::Error) -> Unreadable {
        let reason = self.reason.get().unwrap_or(match error.classify() {
            serde_json::error::Category::Eof => "is cut off",
            serde_json::error::Category::Io | serde_json::error::Category::Syntax => "is no JSON",
            serde_json::error::Category::Data => "is not of the expected form",
        });
        Unreadable(match self.column.get() {
            Some(column) => {
                format!("column {} {reason} (byte {})", table.schema().columns()[column].name, error.column())
            }
            None => format!("the record's value {reason} (byte {})", error.column()),
        })
    }
}

/// What the envelope held.
#[derive(Default)]
struct Envelope {
    before: Option<ImageSpan>,
    after: Option<ImageSpan>,
    letter: Option<Letter>,
    origin: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Letter {
    Create,
    Update,
    Delete,
    Read,
    Truncate,
}

impl Envelope {
    fn check(&self) -> Result<(Operation, u32), &'static str> {
        let letter = self.letter.ok_or("the record's value has no op")?;
        if letter == Letter::Truncate {
            return Err("the record is a TRUNCATE, which can't be applied yet");
        }
        let origin = self.origin.ok_or("the record's value has no source")?;
        let (operation, has_before, has_after) = match letter {
            Letter::Create => (Operation::Insert, false, true),
            Letter::Update => (Operation::Update, true, true),
            Letter::Delete => (Operation::Delete, true, false),
            Letter::Read => (Operation::Read, false, true),
            Letter::Truncate => unreachable!("refused above"),
        };
        if self.before.is_some() != has_before || self.after.is_some() != has_after {
            return Err("the record's value has other images than its op says");
        }
        Ok((operation, origin))
    }
}

struct EnvelopeSeed<'a> {
    table: &'a TableForm,
    reading: Reading<'a>,
    sequence: Sequence,
    trouble: &'a Trouble,
    scratch: &'a mut Scratch,
    out: &'a mut RecordBatch,
    /// Inside the `payload` of a record that carries its schema.
    is_wrapped: bool,
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = Envelope;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Envelope, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an envelope")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        let mut seen = [false; EnvelopeField::COUNT];
        while let Some(field) = map.next_key_seed(EnvelopeFieldSeed)? {
            if field != EnvelopeField::Other && std::mem::replace(&mut seen[field as usize], true) {
                return Err(self.trouble.because("has a field twice"));
            }
            match field {
                EnvelopeField::Before => envelope.before = map.next_value_seed(self.image(Side::Before))?,
                EnvelopeField::After => envelope.after = map.next_value_seed(self.image(Side::After))?,
                EnvelopeField::Source => envelope.origin = Some(self.read_source(&mut map)?),
                EnvelopeField::Op => envelope.letter = Some(map.next_value_seed(LetterSeed)?),
                EnvelopeField::Schema if !self.is_wrapped => self.read_schema(&mut map)?,
                EnvelopeField::Payload if !self.is_wrapped => {
                    return self.read_payload(map);
                }
                EnvelopeField::Schema | EnvelopeField::Payload | EnvelopeField::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(envelope)
    }
}

impl EnvelopeSeed<'_> {
    /// Ours says nothing that the schema of its header does not say.
    fn read_schema<'de, A: MapAccess<'de>>(&self, map: &mut A) -> Result<(), A::Error> {
        match self.reading {
            Reading::Ours(_) => map.next_value::<IgnoredAny>().map(drop),
            Reading::Theirs(table) => {
                let schema: &RawValue = map.next_value()?;
                table.learn(schema.get()).map_err(|(column, reason)| {
                    self.trouble.column.set(column);
                    self.trouble.because(reason)
                })
            }
        }
    }

    /// `{"schema":…,"payload":…}`: the payload is the envelope and ends the object.
    fn read_payload<'de, A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let trouble = self.trouble;
        let envelope = map.next_value_seed(EnvelopeSeed { is_wrapped: true, ..self })?;
        match map.next_key::<IgnoredAny>()? {
            None => Ok(envelope),
            Some(IgnoredAny) => Err(trouble.because("has fields behind its payload")),
        }
    }

    fn image(&mut self, side: Side) -> ImageSeed<'_> {
        ImageSeed {
            table: self.table,
            reading: match self.reading {
                Reading::Ours(truths) => ImageReading::Ours(truths.side(side)),
                Reading::Theirs(table) => ImageReading::Theirs(table),
            },
            trouble: self.trouble,
            scratch: self.scratch,
            out: self.out,
        }
    }

    /// The number of the record's origin in the batch: that of the record before, if it came from the same rows event.
    fn read_source<'de, A: MapAccess<'de>>(&mut self, map: &mut A) -> Result<u32, A::Error> {
        let sequence = self.sequence;
        if let Some(record) = self.out.records().last() {
            let last = self.out.sequence(record);
            if (last.epoch, last.transaction, last.event) == (sequence.epoch, sequence.transaction, sequence.event) {
                map.next_value::<IgnoredAny>()?;
                return Ok(record.origin);
            }
        }
        let source: ReadSource = map.next_value()?;
        let name = self.table.schema().name();
        if *source.db != *name.database || *source.table != *name.table {
            return Err(self.trouble.because("is of another table than its schema"));
        }
        Ok(self.out.add_origin(Origin {
            epoch: sequence.epoch,
            transaction: sequence.transaction,
            event: sequence.event,
            committed_at_micros: source.ts_us,
            transaction_name: source.gtid.map(Arc::from),
            file: source.file.into(),
            file_offset: source.pos,
            server_id: source.server_id,
            thread: source.thread,
        }))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum EnvelopeField {
    Before,
    After,
    Source,
    Op,
    Schema,
    Payload,
    /// `transaction`, `ts_ms` and whatever Debezium may add.
    Other,
}

impl EnvelopeField {
    const COUNT: usize = 7;
}

struct EnvelopeFieldSeed;

impl<'de> DeserializeSeed<'de> for EnvelopeFieldSeed {
    type Value = EnvelopeField;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<EnvelopeField, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for EnvelopeFieldSeed {
    type Value = EnvelopeField;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field of an envelope")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<EnvelopeField, E> {
        Ok(match name {
            "before" => EnvelopeField::Before,
            "after" => EnvelopeField::After,
            "source" => EnvelopeField::Source,
            "op" => EnvelopeField::Op,
            "schema" => EnvelopeField::Schema,
            "payload" => EnvelopeField::Payload,
            _ => EnvelopeField::Other,
        })
    }
}

struct LetterSeed;

impl<'de> DeserializeSeed<'de> for LetterSeed {
    type Value = Letter;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Letter, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for LetterSeed {
    type Value = Letter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an operation's letter")
    }

    fn visit_str<E: serde::de::Error>(self, letter: &str) -> Result<Letter, E> {
        match letter {
            "c" => Ok(Letter::Create),
            "u" => Ok(Letter::Update),
            "d" => Ok(Letter::Delete),
            "r" => Ok(Letter::Read),
            "t" => Ok(Letter::Truncate),
            _ => Err(E::custom("unknown operation")),
        }
    }
}

/// Whose image is read.
#[derive(Clone, Copy)]
enum ImageReading<'a> {
    /// With the truths of its side.
    Ours(&'a [(usize, Truth)]),
    Theirs(&'a TheirTable),
}

impl<'a> ImageReading<'a> {
    fn truth(self, index: usize) -> Option<&'a Truth> {
        match self {
            Self::Ours(truths) => truths.iter().find(|(known, _)| *known == index).map(|(_, truth)| truth),
            Self::Theirs(_) => None,
        }
    }
}

/// Reads `null` or an object of all columns (but those not sent) into a row image.
struct ImageSeed<'a> {
    table: &'a TableForm,
    reading: ImageReading<'a>,
    trouble: &'a Trouble,
    scratch: &'a mut Scratch,
    out: &'a mut RecordBatch,
}

impl<'de> DeserializeSeed<'de> for ImageSeed<'_> {
    type Value = Option<ImageSpan>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ImageSeed<'_> {
    type Value = Option<ImageSpan>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row or null")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self { table, reading, trouble, scratch, out } = self;
        let span = out.write_image(table.columns.len(), |writer| {
            for (index, (column, form)) in table.schema().columns().iter().zip(&table.columns).enumerate() {
                trouble.column.set(Some(index));
                let truth = reading.truth(index);
                if let Some(Truth::Unchanged) = truth {
                    write_truth(&form.value, &Truth::Unchanged, writer).map_err(|reason| trouble.because(reason))?;
                    continue;
                }
                match map.next_key_seed(NameSeed(&column.name))? {
                    Some(true) => {}
                    Some(false) | None => return Err(trouble.because("is missing or not in the schema's order")),
                }
                match reading {
                    ImageReading::Ours(_) => match truth {
                        Some(truth) => {
                            map.next_value::<IgnoredAny>()?;
                            write_truth(&form.value, truth, writer).map_err(|reason| trouble.because(reason))?;
                        }
                        None => map.next_value_seed(FieldSeed { form: &form.value, writer, scratch, trouble })?,
                    },
                    ImageReading::Theirs(theirs) => {
                        let raw: &RawValue = map.next_value()?;
                        let written = write_their_field(theirs.column(index), raw.get(), scratch, writer);
                        written.map_err(|reason| trouble.because(reason))?;
                    }
                }
            }
            trouble.column.set(None);
            match map.next_key::<IgnoredAny>()? {
                None => Ok(()),
                Some(IgnoredAny) => Err(trouble.because("has a column that the schema does not have")),
            }
        })?;
        Ok(Some(span))
    }
}

/// Whether a key of the object is this name.
struct NameSeed<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
