//! The header `tailrace.exact`: the true values of fields that Debezium's form can't hold (zero and partial dates, invalid
//! text, YEAR 0000, ambiguous ENUM and SET texts, infinity, an SRID beyond 2^31).
//!
//! The field itself holds what Debezium would have shown, the header `{"before":{column: truth},"after":{column: truth}}`
//! what is true; a side without such fields is left out, and so is the header of most records. A truth is text: dates as
//! MySQL prints them, an ENUM's index, a SET's bits as a number; or `{"base64":"…"}`: bytes that are no text in the
//! column's charset, a geometry's SRID (four bytes, the lowest first) and well-known binary, a vector's numbers. Our reader overrides the fields with it, other consumers see Debezium's substitute.
//!
//! A column that the source did not send has no field at all, which no consumer can take for NULL, and the truth
//! `{"unchanged":true}`: a field that misses without it is a damaged record.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use tailrace_row::{ImageWriter, Timestamp, Value};

use super::{
    base64_text::write_base64,
    compound::{geometry_of_truth, vector_of_truth},
    form::{TableForm, ValueForm},
    time_text,
};

/// The truths of one record, while it is written.
#[derive(Default)]
pub(super) struct TruthWriter {
    before: Vec<u8>,
    after: Vec<u8>,
}

/// Which image a truth belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl TruthWriter {
    pub(super) fn clear(&mut self) {
        self.before.clear();
        self.after.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// Notes a truth that is text; `write` writes it without quotes and without anything to be escaped.
    pub(super) fn note_text(&mut self, side: Side, opening: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let out = self.begin(side, opening);
        out.push(b'"');
        write(out);
        out.push(b'"');
    }

    /// Notes bytes that are no text.
    pub(super) fn note_bytes(&mut self, side: Side, opening: &[u8], bytes: &[u8]) {
        let out = self.begin(side, opening);
        out.extend_from_slice(b"{\"base64\":");
        write_base64(out, bytes);
        out.push(b'}');
    }

    /// Notes that the column was not sent.
    pub(super) fn note_unchanged(&mut self, side: Side, opening: &[u8]) {
        self.begin(side, opening).extend_from_slice(b"{\"unchanged\":true}");
    }

    fn begin(&mut self, side: Side, opening: &[u8]) -> &mut Vec<u8> {
        let out = match side {
            Side::Before => &mut self.before,
            Side::After => &mut self.after,
        };
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(opening);
        out
    }

    /// Appends the header's value; nothing if there is no truth.
    pub(super) fn write_header(&self, out: &mut Vec<u8>) {
        let sides = [("\"before\":{", &self.before), ("\"after\":{", &self.after)];
        let mut separator = b'{';
        for (opening, truths) in sides.into_iter().filter(|(_, truths)| !truths.is_empty()) {
            out.push(separator);
            out.extend_from_slice(opening.as_bytes());
            out.extend_from_slice(truths);
            out.push(b'}');
            separator = b',';
        }
        if separator == b',' {
            out.push(b'}');
        }
    }
}

/// The truths of one record, as read: by column index, in any order.
#[derive(Default)]
pub(super) struct Truths {
    pub(super) before: Vec<(usize, Truth)>,
    pub(super) after: Vec<(usize, Truth)>,
}

/// One truth.
#[derive(Debug, PartialEq)]
pub(super) enum Truth {
    Text(String),
    Bytes(Vec<u8>),
    /// The column was not sent: the image has no field of it.
    Unchanged,
}

impl Truths {
    /// Reads the header of a record of this table. What is wrong is told without any value.
    pub(super) fn parse(table: &TableForm, header: &[u8]) -> Result<Self, &'static str> {
        let sides: RawSides = serde_json::from_slice(header).map_err(|_| "the header tailrace.exact can't be read")?;
        let mut truths = Self::default();
        for (pairs, side) in [(sides.before, &mut truths.before), (sides.after, &mut truths.after)] {
            for (name, truth) in pairs.0 {
                let truth = match truth {
                    RawTruth::Text(text) => Truth::Text(text),
                    RawTruth::Bytes { base64 } => {
                        let bytes = BASE64_STANDARD.decode(base64);
                        Truth::Bytes(bytes.map_err(|_| "the header tailrace.exact holds broken base64")?)
                    }
                    RawTruth::Unchanged { unchanged: true } => Truth::Unchanged,
                    RawTruth::Unchanged { unchanged: false } => return Err("the header tailrace.exact can't be read"),
                };
                let mut columns = table.schema.columns().iter();
                let index = columns.position(|column| *column.name == *name);
                let index = index.ok_or("the header tailrace.exact names a column that the schema does not have")?;
                if side.iter().any(|(known, _)| *known == index) {
                    return Err("the header tailrace.exact names a column twice");
                }
                side.push((index, truth));
            }
        }
        Ok(truths)
    }

    pub(super) fn side(&self, side: Side) -> &[(usize, Truth)] {
        match side {
            Side::Before => &self.before,
            Side::After => &self.after,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSides {
    #[serde(default)]
    before: Pairs,
    #[serde(default)]
    after: Pairs,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum RawTruth {
    Text(String),
    Bytes { base64: String },
    Unchanged { unchanged: bool },
}

/// A JSON object as it stands: two entries of one name stay two, so that the second can be refused.
#[derive(Default)]
struct Pairs(Vec<(String, RawTruth)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> serde::de::Visitor<'de> for PairsVisitor {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of columns and truths")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// Writes the true value of a field. An error tells what is wrong, without the value.
pub(super) fn write_truth(form: &ValueForm, truth: &Truth, writer: &mut ImageWriter<'_>) -> Result<(), &'static str> {
    const UNREADABLE: &str = "has an entry in tailrace.exact that its type does not read";
    let text = match (form, truth) {
        (ValueForm::Text { .. }, Truth::Bytes(bytes)) => {
            writer.value(Value::InvalidText(bytes));
            return Ok(());
        }
        (ValueForm::Geometry | ValueForm::Point, Truth::Bytes(bytes)) => {
            writer.value(geometry_of_truth(bytes).ok_or(UNREADABLE)?);
            return Ok(());
        }
        (ValueForm::Vector { dimension }, Truth::Bytes(bytes)) => {
            writer.value(vector_of_truth(bytes, *dimension).ok_or(UNREADABLE)?);
            return Ok(());
        }
        (_, Truth::Bytes(_)) => return Err("has bytes in tailrace.exact, which its type never needs"),
        (_, Truth::Unchanged) => {
            writer.unchanged();
            return Ok(());
        }
        (_, Truth::Text(text)) => text.as_str(),
    };
    let value = match form {
        ValueForm::Date => Value::Date(time_text::parse_date(text).ok_or(UNREADABLE)?),
        ValueForm::ClockMillis | ValueForm::ClockMicros => {
            Value::DateTime(time_text::parse_clock(text).ok_or(UNREADABLE)?)
        }
        ValueForm::Zoned { .. } => Value::Timestamp(parse_timestamp(text).ok_or(UNREADABLE)?),
        ValueForm::Year => Value::Year(text.parse().map_err(|_| UNREADABLE)?),
        ValueForm::Enum(members) => {
            let index = text.parse().map_err(|_| UNREADABLE)?;
            if usize::from(index) > members.escaped.len() {
                return Err(UNREADABLE);
            }
            Value::Enum(index)
        }
        ValueForm::Set(members) => {
            let bits: u64 = text.parse().map_err(|_| UNREADABLE)?;
            if members.escaped.len() < 64 && bits >> members.escaped.len() != 0 {
                return Err(UNREADABLE);
            }
            Value::Set(bits)
        }
        #[expect(clippy::cast_possible_truncation, reason = "infinities and NaN are the same in both widths")]
        ValueForm::Float => Value::Float(parse_not_finite(text).map(|number| number as f32).ok_or(UNREADABLE)?),
        ValueForm::Double => Value::Double(parse_not_finite(text).ok_or(UNREADABLE)?),
        ValueForm::Signed { .. }
        | ValueForm::Unsigned { .. }
        | ValueForm::BigUnsigned
        | ValueForm::Decimal { .. }
        | ValueForm::Boolean
        | ValueForm::Bits { .. }
        | ValueForm::Text { .. }
        | ValueForm::Bytes
        | ValueForm::Time
        | ValueForm::Json
        | ValueForm::Geometry
        | ValueForm::Point
        | ValueForm::Vector { .. }
        | ValueForm::Uuid
        | ValueForm::Inet4
        | ValueForm::Inet6 => return Err("has an entry in tailrace.exact, which its type never needs"),
    };
    writer.value(value);
    Ok(())
}

fn parse_timestamp(text: &str) -> Option<Timestamp> {
    if text == "0000-00-00 00:00:00" {
        return Some(Timestamp::Zero);
    }
    time_text::parse_clock(text)?.micros_since_epoch().map(Timestamp::Micros)
}

/// How infinity and NaN are called, in Jackson's words.
pub(super) fn not_finite_text(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn parse_not_finite(text: &str) -> Option<f64> {
    [f64::INFINITY, f64::NEG_INFINITY, f64::NAN].into_iter().find(|number| not_finite_text(*number) == text)
}
