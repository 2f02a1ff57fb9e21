//! A row image: one tagged field per column, random access, no allocation.
//!
//! Layout: for n columns, n little-endian `u32` field starts (relative to the image), then the fields, each a tag byte and
//! its payload; a field ends where the next begins. A 10-column row of 290 bytes costs 40 bytes of starts and one copy of
//! its values. Equal fields have equal bytes, which is what keys rely on.
//!
//! An image lives in memory only: it is written by [`ImageWriter`] and never read from outside the process, so reading it
//! can't fail.

use crate::value::{Date, DateTime, Decimal, Time, Timestamp, Value};

/// What a row image says of one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Field<'a> {
    /// The source did not send the column: the target keeps what it has. Not NULL.
    Unchanged,
    /// SQL NULL.
    Null,
    /// A value.
    Value(Value<'a>),
}

/// A view over the bytes of one row image.
#[derive(Clone, Copy)]
pub struct RowImage<'a> {
    bytes: &'a [u8],
    columns: u32,
    is_partial: bool,
    may_be_absent: bool,
}

const START_BYTES: usize = 4;

impl<'a> RowImage<'a> {
    pub(crate) fn new(bytes: &'a [u8], columns: usize, is_partial: bool) -> Self {
        debug_assert!(bytes.len() >= columns * START_BYTES);
        let columns = u32::try_from(columns).expect("invariant: a table has under 2^32 columns");
        Self { bytes, columns, is_partial, may_be_absent: false }
    }

    pub(crate) fn allow_absence(self, may_be_absent: bool) -> Self {
        Self { may_be_absent, ..self }
    }

    /// Number of columns; equals that of the schema.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns as usize
    }

    /// Whether a column is [`Field::Unchanged`]. Known without a look at the fields.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// Whether that column is [`Field::Unchanged`].
    #[must_use]
    pub fn is_unchanged(&self, index: usize) -> bool {
        self.is_partial && self.field_bytes(index)[0] == tag::UNCHANGED
    }

    /// Whether the row may not be there yet, where the image is partial: it is copied behind this record, with what the record says
    /// ([`RecordBatch::allow_absence`](crate::RecordBatch::allow_absence)).
    #[must_use]
    pub fn may_be_absent(&self) -> bool {
        self.may_be_absent
    }

    /// Whether there are no columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The field of column `index`.
    #[must_use]
    pub fn field(&self, index: usize) -> Field<'a> {
        read_field(self.field_bytes(index))
    }

    /// All fields in table order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let image = *self;
        (0..image.len()).map(move |index| image.field(index))
    }

    /// The field's own bytes, tag included: equal exactly if the fields are equal.
    #[must_use]
    pub fn field_bytes(&self, index: usize) -> &'a [u8] {
        let end = if index + 1 < self.len() { self.start(index + 1) } else { self.bytes.len() };
        &self.bytes[self.start(index)..end]
    }

    /// The bytes of the whole image: equal exactly if all fields are.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn start(&self, index: usize) -> usize {
        assert!(index < self.len(), "column {index} of {}", self.columns);
        u32::from_le_bytes(array(&self.bytes[index * START_BYTES..])) as usize
    }
}

/// Values are not shown: an image may end up in a log line.
impl std::fmt::Debug for RowImage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowImage({} columns, {} bytes)", self.columns, self.bytes.len())
    }
}

/// Where an image lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSpan {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) is_partial: bool,
    pub(crate) may_be_absent: bool,
}

impl ImageSpan {
    /// A partial image as good as another one of the same row: see [`RowImage::may_be_absent`].
    #[must_use]
    pub fn allow_absence(self, may_be_absent: bool) -> Self {
        Self { may_be_absent: may_be_absent && self.is_partial, ..self }
    }

    /// Whether a column of the image is [`Field::Unchanged`].
    #[must_use]
    pub fn is_partial(self) -> bool {
        self.is_partial
    }
}

/// Appends one row image to a buffer, field by field in table order.
pub struct ImageWriter<'b> {
    bytes: &'b mut Vec<u8>,
    image_start: usize,
    columns: usize,
    written: usize,
    is_partial: bool,
}

impl<'b> ImageWriter<'b> {
    pub(crate) fn begin(bytes: &'b mut Vec<u8>, columns: usize) -> Self {
        let image_start = bytes.len();
        bytes.resize(image_start + columns * START_BYTES, 0);
        Self { bytes, image_start, columns, written: 0, is_partial: false }
    }

    /// Ends the image and returns where it lies in the buffer. Every column must have been written.
    pub(crate) fn end(self) -> ImageSpan {
        assert!(self.written == self.columns, "{} of {} columns written", self.written, self.columns);
        let (start, end) = (self.image_start, self.bytes.len());
        ImageSpan { start, end, is_partial: self.is_partial, may_be_absent: false }
    }

    /// The next column was not sent.
    pub fn unchanged(&mut self) {
        self.is_partial = true;
        self.begin_field(tag::UNCHANGED);
    }

    /// The next column is NULL.
    pub fn null(&mut self) {
        self.begin_field(tag::NULL);
    }

    /// The next column has a value. Callers know the variant, so that only its arm is left of the match.
    #[inline(always)]
    pub fn value(&mut self, value: Value<'_>) {
        match value {
            Value::Integer(number) => self.fixed(tag::INTEGER, number.to_le_bytes()),
            Value::Unsigned(number) => self.fixed(tag::UNSIGNED, number.to_le_bytes()),
            Value::Float(number) => self.fixed(tag::FLOAT, number.to_le_bytes()),
            Value::Double(number) => self.fixed(tag::DOUBLE, number.to_le_bytes()),
            Value::Decimal(decimal) => {
                self.begin_field(tag::DECIMAL);
                self.bytes.push(decimal.scale);
                self.bytes.extend_from_slice(decimal.unscaled);
            }
            Value::Bit(bits) => self.fixed(tag::BIT, bits.to_le_bytes()),
            Value::Text(text) => self.varying(tag::TEXT, text.as_bytes()),
            Value::InvalidText(bytes) => self.varying(tag::INVALID_TEXT, bytes),
            Value::Bytes(bytes) => self.varying(tag::BYTES, bytes),
            Value::Enum(index) => self.fixed(tag::ENUM, index.to_le_bytes()),
            Value::Set(members) => self.fixed(tag::SET, members.to_le_bytes()),
            Value::Date(date) => self.fixed(tag::DATE, pack_date(date)),
            Value::Time(time) => self.fixed(tag::TIME, time.micros.to_le_bytes()),
            Value::DateTime(clock) => {
                self.begin_field(tag::DATE_TIME);
                self.bytes.extend_from_slice(&pack_date(clock.date));
                self.bytes.extend_from_slice(&[clock.hour, clock.minute, clock.second]);
                self.bytes.extend_from_slice(&clock.micros.to_le_bytes());
            }
            Value::Timestamp(Timestamp::Zero) => self.begin_field(tag::TIMESTAMP_ZERO),
            Value::Timestamp(Timestamp::Micros(micros)) => self.fixed(tag::TIMESTAMP, micros.to_le_bytes()),
            Value::Year(year) => self.fixed(tag::YEAR, year.to_le_bytes()),
            Value::Json(text) => self.varying(tag::JSON, text.as_bytes()),
            Value::Geometry { srid, wkb } => {
                self.begin_field(tag::GEOMETRY);
                self.bytes.extend_from_slice(&srid.to_le_bytes());
                self.bytes.extend_from_slice(wkb);
            }
            Value::Vector(numbers) => self.varying(tag::VECTOR, numbers),
            Value::Uuid(bytes) => self.fixed(tag::UUID, bytes),
            Value::Inet4(bytes) => self.fixed(tag::INET4, bytes),
            Value::Inet6(bytes) => self.fixed(tag::INET6, bytes),
        }
    }

    /// The next column is text or JSON that `fill` appends to the buffer as UTF-8, so that a decoder need not build it elsewhere.
    /// If `fill` fails the image is unusable and must be discarded with its batch.
    pub fn text_with<E>(&mut self, is_json: bool, fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        self.begin_field(if is_json { tag::JSON } else { tag::TEXT });
        let start = self.bytes.len();
        fill(self.bytes)?;
        debug_assert!(std::str::from_utf8(&self.bytes[start..]).is_ok(), "text is UTF-8");
        Ok(())
    }

    /// The next column is text that `decode` appends to the buffer as UTF-8 out of these bytes, or invalid text if it says that
    /// they are none.
    #[inline]
    pub fn decoded_text(&mut self, bytes: &[u8], decode: impl FnOnce(&mut Vec<u8>) -> bool) {
        self.begin_field(tag::TEXT);
        let start = self.bytes.len();
        if decode(self.bytes) {
            debug_assert!(std::str::from_utf8(&self.bytes[start..]).is_ok(), "text is UTF-8");
            return;
        }
        self.bytes.truncate(start);
        self.bytes[start - 1] = tag::INVALID_TEXT;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next column is a copy of another image's field.
    pub fn copy(&mut self, field: &[u8]) {
        self.is_partial |= field[0] == tag::UNCHANGED;
        self.begin_field(field[0]);
        self.bytes.extend_from_slice(&field[1..]);
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self, tag: u8, payload: [u8; N]) {
        self.begin_field(tag);
        self.bytes.extend_from_slice(&payload);
    }

    #[inline(always)]
    fn varying(&mut self, tag: u8, payload: &[u8]) {
        self.begin_field(tag);
        self.bytes.extend_from_slice(payload);
    }

    #[inline(always)]
    fn begin_field(&mut self, tag: u8) {
        assert!(self.written < self.columns, "more fields than columns");
        let start = u32::try_from(self.bytes.len() - self.image_start).expect("invariant: a row is under 4 GiB");
        let place = self.image_start + self.written * START_BYTES;
        self.bytes[place..place + START_BYTES].copy_from_slice(&start.to_le_bytes());
        self.bytes.push(tag);
        self.written += 1;
    }
}

/// Tags are private: the bytes never leave the process.
mod tag {
    pub(super) const UNCHANGED: u8 = 0;
    pub(super) const NULL: u8 = 1;
    pub(super) const INTEGER: u8 = 2;
    pub(super) const UNSIGNED: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const DOUBLE: u8 = 5;
    pub(super) const DECIMAL: u8 = 6;
    pub(super) const BIT: u8 = 7;
    pub(super) const TEXT: u8 = 8;
    pub(super) const INVALID_TEXT: u8 = 9;
    pub(super) const BYTES: u8 = 10;
    pub(super) const ENUM: u8 = 11;
    pub(super) const SET: u8 = 12;
    pub(super) const DATE: u8 = 13;
    pub(super) const TIME: u8 = 14;
    pub(super) const DATE_TIME: u8 = 15;
    pub(super) const TIMESTAMP: u8 = 16;
    pub(super) const TIMESTAMP_ZERO: u8 = 17;
    pub(super) const YEAR: u8 = 18;
    pub(super) const JSON: u8 = 19;
    pub(super) const GEOMETRY: u8 = 20;
    pub(super) const VECTOR: u8 = 21;
    pub(super) const UUID: u8 = 22;
    pub(super) const INET4: u8 = 23;
    pub(super) const INET6: u8 = 24;
}

#[inline]
fn read_field(field: &[u8]) -> Field<'_> {
    let payload = &field[1..];
    let value = match field[0] {
        tag::UNCHANGED => return Field::Unchanged,
        tag::NULL => return Field::Null,
        tag::INTEGER => Value::Integer(i64::from_le_bytes(array(payload))),
        tag::UNSIGNED => Value::Unsigned(u64::from_le_bytes(array(payload))),
        tag::FLOAT => Value::Float(f32::from_le_bytes(array(payload))),
        tag::DOUBLE => Value::Double(f64::from_le_bytes(array(payload))),
        tag::DECIMAL => Value::Decimal(Decimal { scale: payload[0], unscaled: &payload[1..] }),
        tag::BIT => Value::Bit(u64::from_le_bytes(array(payload))),
        tag::TEXT => Value::Text(text(payload)),
        tag::INVALID_TEXT => Value::InvalidText(payload),
        tag::BYTES => Value::Bytes(payload),
        tag::ENUM => Value::Enum(u16::from_le_bytes(array(payload))),
        tag::SET => Value::Set(u64::from_le_bytes(array(payload))),
        tag::DATE => Value::Date(unpack_date(payload)),
        tag::TIME => Value::Time(Time { micros: i64::from_le_bytes(array(payload)) }),
        tag::DATE_TIME => Value::DateTime(DateTime {
            date: unpack_date(payload),
            hour: payload[4],
            minute: payload[5],
            second: payload[6],
            micros: u32::from_le_bytes(array(&payload[7..])),
        }),
        tag::TIMESTAMP => Value::Timestamp(Timestamp::Micros(i64::from_le_bytes(array(payload)))),
        tag::TIMESTAMP_ZERO => Value::Timestamp(Timestamp::Zero),
        tag::YEAR => Value::Year(u16::from_le_bytes(array(payload))),
        tag::JSON => Value::Json(text(payload)),
        tag::GEOMETRY => Value::Geometry { srid: u32::from_le_bytes(array(payload)), wkb: &payload[4..] },
        tag::VECTOR => Value::Vector(payload),
        tag::UUID => Value::Uuid(array(payload)),
        tag::INET4 => Value::Inet4(array(payload)),
        tag::INET6 => Value::Inet6(array(payload)),
        unknown => unreachable!("a field has tag {unknown}, which no writer writes"),
    };
    Field::Value(value)
}

fn text(payload: &[u8]) -> &str {
    // The writer took a `&str` or checked UTF-8; checking again costs about 0.1 ns a byte and spares an unsafe block.
    std::str::from_utf8(payload).expect("invariant: text fields hold UTF-8")
}

fn pack_date(date: Date) -> [u8; 4] {
    let year = date.year.to_le_bytes();
    [year[0], year[1], date.month, date.day]
}

fn unpack_date(payload: &[u8]) -> Date {
    Date { year: u16::from_le_bytes([payload[0], payload[1]]), month: payload[2], day: payload[3] }
}

#[inline]
fn array<const N: usize>(payload: &[u8]) -> [u8; N] {
    *payload.first_chunk().expect("invariant: a field has its type's length")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: DateTime =
        DateTime { date: Date { year: 9999, month: 0, day: 31 }, hour: 23, minute: 59, second: 58, micros: 999_999 };

    #[test]
    fn every_field_returns() {
        let fields = [
            Field::Unchanged,
            Field::Null,
            Field::Value(Value::Integer(i64::MIN)),
            Field::Value(Value::Unsigned(u64::MAX)),
            Field::Value(Value::Float(f32::MIN_POSITIVE)),
            Field::Value(Value::Double(-0.0)),
            Field::Value(Value::Decimal(Decimal { unscaled: &[0x80, 1], scale: 30 })),
            Field::Value(Value::Bit(1 << 63)),
            Field::Value(Value::Text("")),
            Field::Value(Value::Text("é😀")),
            Field::Value(Value::InvalidText(&[0xff])),
            Field::Value(Value::Bytes(&[0, 255])),
            Field::Value(Value::Enum(65_535)),
            Field::Value(Value::Set(u64::MAX)),
            Field::Value(Value::Date(Date { year: 2024, month: 0, day: 0 })),
            Field::Value(Value::Time(Time { micros: -3_020_399_999_999 })),
            Field::Value(Value::DateTime(CLOCK)),
            Field::Value(Value::Timestamp(Timestamp::Zero)),
            Field::Value(Value::Timestamp(Timestamp::Micros(-1))),
            Field::Value(Value::Year(2155)),
            Field::Value(Value::Json("{\"a\":1}")),
            Field::Value(Value::Geometry { srid: u32::MAX, wkb: &[1, 1, 0, 0, 0] }),
            Field::Value(Value::Geometry { srid: 0, wkb: &[] }),
            Field::Value(Value::Vector(&[0, 0, 128, 63])),
            Field::Value(Value::Uuid([7; 16])),
            Field::Value(Value::Inet4([127, 0, 0, 1])),
            Field::Value(Value::Inet6([255; 16])),
        ];
        let mut bytes = vec![0xaa; 3];
        let mut writer = ImageWriter::begin(&mut bytes, fields.len());
        for field in fields {
            match field {
                Field::Unchanged => writer.unchanged(),
                Field::Null => writer.null(),
                Field::Value(value) => writer.value(value),
            }
        }
        let ImageSpan { start, end, is_partial, .. } = writer.end();
        let image = RowImage::new(&bytes[start..end], fields.len(), is_partial);
        assert!(image.is_partial() && image.is_unchanged(0) && !image.is_unchanged(1));
        assert_eq!(image.fields().collect::<Vec<_>>(), fields);
        let mut copied = Vec::new();
        let mut writer = ImageWriter::begin(&mut copied, fields.len());
        (0..fields.len()).for_each(|index| writer.copy(image.field_bytes(index)));
        assert!(writer.end().is_partial, "a copy lacks what the copied image lacks");
        assert_eq!(copied, image.bytes());
    }

    #[test]
    #[should_panic(expected = "1 of 2 columns written")]
    fn an_image_with_a_column_missing_is_refused() {
        let mut bytes = Vec::new();
        let mut writer = ImageWriter::begin(&mut bytes, 2);
        writer.null();
        writer.end();
    }

    #[test]
    fn debug_shows_no_value() {
        let mut bytes = Vec::new();
        let mut writer = ImageWriter::begin(&mut bytes, 1);
        writer.value(Value::Text("secret"));
        let ImageSpan { start, end, is_partial, .. } = writer.end();
        assert_eq!(format!("{:?}", RowImage::new(&bytes[start..end], 1, is_partial)), "RowImage(1 columns, 11 bytes)");
    }
}
