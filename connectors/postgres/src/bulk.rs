//! Many rows in one statement: arrays for small batches, COPY for big ones, into the stage or, where all rows are new, into the table.
//!
//! Rows are encoded straight from their images into the statement's buffer: a column after the other for arrays, a row after
//! the other for COPY. Nothing is allocated per row.

use std::collections::BTreeMap;

use sqlx::{
    Arguments as _, AssertSqlSafe, Row as _,
    encode::IsNull,
    postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, types::Oid},
};
use tailrace_contract::{Error, RowRef};
use tailrace_row::{Field, RecordBatch, RowImage, Value};

use crate::{
    encode::Refusal,
    errors::{Failure, TableRefusal},
    plan::{Plan, PlanColumn},
    session::Session,
    target_type::TargetType,
};

/// From so many rows on COPY is faster than arrays (`cargo bench`: at 1,000 rows arrays are half as fast again, at 10,000 a fifth slower).
const STAGE_ROWS_MIN: usize = 3_000;

/// From so many bytes on COPY is needed: it streams, while arrays are built whole on both sides.
const STAGE_BYTES_MIN: usize = 4 << 20;

/// The most that one statement with arrays takes.
const ARRAY_ROWS_MAX: usize = 10_000;

/// COPY is sent in pieces of about this size, so that the server works while we encode.
const COPY_PIECE_BYTES: usize = 256 << 10;

/// Why rows could not be written.
#[derive(Debug)]
pub(crate) enum RowsFailure {
    /// The server refused.
    Refused(TableRefusal),
    /// A field can't be encoded.
    Unencodable,
    /// Anything else.
    Other(Error),
}

impl From<Failure> for RowsFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Table(refusal) => Self::Refused(refusal),
            Failure::Other(error) => Self::Other(error),
        }
    }
}

/// Whether so many rows are better copied than sent as arrays.
pub(crate) fn wants_stage(rows: usize, bytes: impl FnOnce() -> usize) -> bool {
    rows >= STAGE_ROWS_MIN || bytes() >= STAGE_BYTES_MIN
}

/// Rows of one table that go into one statement, or a few.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'r> {
    pub(crate) plan: &'r Plan,
    pub(crate) images: &'r [RowImage<'r>],
}

impl<'r> Rows<'r> {
    /// Bytes of the images.
    pub(crate) fn byte_len(&self) -> usize {
        self.images.iter().map(|image| image.bytes().len()).sum()
    }

    /// Deletes the rows by their keys; returns how many there were.
    pub(crate) async fn delete(&self, session: &mut Session) -> Result<u64, RowsFailure> {
        let mut deleted = 0;
        for part in self.parts() {
            let arguments = part.arrays(&self.plan.key)?;
            deleted += session.write(&self.plan.delete_arrays, arguments, "deleting rows").await?;
        }
        Ok(deleted)
    }

    /// Inserts or replaces the rows by arrays.
    pub(crate) async fn upsert(&self, session: &mut Session) -> Result<(), RowsFailure> {
        let places: Vec<usize> = (0..self.plan.columns.len()).collect();
        for part in self.parts() {
            let arguments = part.arrays(&places)?;
            let written = session.write(&self.plan.upsert_arrays, arguments, "writing rows").await?;
            part.expect_written(written)?;
        }
        Ok(())
    }

    /// Inserts the rows, of which the table has none yet: else its unique index refuses them all.
    pub(crate) async fn insert(
        &self,
        session: &mut Session,
        statement: &str,
        buffer: &mut Vec<u8>,
    ) -> Result<(), RowsFailure> {
        let mut copy = CopyRows { rows: *self, next: 0 };
        let written = session.copy_in(statement, buffer, |buffer| copy.fill(buffer)).await?;
        self.expect_written(written)
    }

    /// Inserts or replaces the rows through the stage, which exists.
    pub(crate) async fn upsert_staged(&self, session: &mut Session, buffer: &mut Vec<u8>) -> Result<(), RowsFailure> {
        let mut copy = CopyRows { rows: *self, next: 0 };
        session.copy_in(&self.plan.stage.copy, buffer, |buffer| copy.fill(buffer)).await?;
        let written = session.run_counted(&self.plan.stage.upsert, "writing rows").await?;
        self.expect_written(written)
    }

    /// Writes what came of rows of which not every column did: a statement for each set of columns that came, and another one for those
    /// of them that may not be there yet, so that those that must be are counted alone. Returns how many rows there were.
    pub(crate) async fn update(&self, session: &mut Session) -> Result<u64, RowsFailure> {
        let mut sets: BTreeMap<(bool, Vec<usize>), Vec<RowImage<'r>>> = BTreeMap::new();
        let (plan, mut updated) = (self.plan, 0);
        for image in self.images {
            let came = |place: &usize| !plan.key.contains(place) && !image.is_unchanged(*place);
            sets.entry((image.may_be_absent(), (0..plan.columns.len()).filter(came).collect()))
                .or_default()
                .push(*image);
        }
        for ((may_be_absent, came), images) in sets {
            let statement = plan.update_arrays(&came);
            let places: Vec<usize> = plan.key.iter().copied().chain(came).collect();
            for part in (Rows { plan, images: &images }).parts() {
                let written = session.write(&statement, part.arrays(&places)?, "updating rows").await?;
                let is_exact = may_be_absent && part.count(session, written).await? == written;
                if !is_exact {
                    part.expect_updated(written)?;
                }
                updated += written;
            }
        }
        Ok(updated)
    }

    /// How many of the rows there are, after so many were updated: a trigger may have withheld one.
    async fn count(&self, session: &mut Session, updated: u64) -> Result<u64, RowsFailure> {
        if updated == self.images.len() as u64 {
            return Ok(updated);
        }
        const DOING: &str = "counting rows that may not be there yet";
        let found = session.read(AssertSqlSafe(self.plan.count_arrays()), self.arrays(&self.plan.key)?, DOING).await?;
        let count = found.first().and_then(|row| row.try_get::<i64, _>(0).ok());
        let count = count.and_then(|count| u64::try_from(count).ok());
        count.ok_or_else(|| RowsFailure::Other(Error::corrupt("the target does not count its rows")))
    }

    /// A row that is not there can't be made of some of its columns.
    fn expect_updated(&self, updated: u64) -> Result<(), RowsFailure> {
        if updated == self.images.len() as u64 {
            return Ok(());
        }
        let message = format!(
            "of {} rows that came without all columns the target updated {updated}: a row with their key ({}) is not there, or a \
             trigger withheld it",
            self.images.len(),
            self.plan.key_names()
        );
        Err(RowsFailure::Refused(TableRefusal::swallowed(message)))
    }

    /// A trigger or a rule may swallow a row without an error. That would be a row lost.
    fn expect_written(&self, written: u64) -> Result<(), RowsFailure> {
        if self.plan.counts_all && written != self.images.len() as u64 {
            let message = format!("of {} rows the target wrote {written}", self.images.len());
            return Err(RowsFailure::Refused(TableRefusal::swallowed(message)));
        }
        Ok(())
    }

    fn parts(&self) -> impl Iterator<Item = Rows<'r>> + use<'r> {
        let plan = self.plan;
        let mut rest = self.images;
        std::iter::from_fn(move || {
            let (images, left) = rest.split_at(part_len(rest));
            rest = left;
            (!images.is_empty()).then_some(Rows { plan, images })
        })
    }

    fn arrays(&self, places: &[usize]) -> Result<PgArguments, RowsFailure> {
        let mut arguments = PgArguments::default();
        arguments.reserve(places.len(), self.byte_len() + places.len() * self.images.len() * size_of::<i32>());
        for place in places {
            let array = ColumnArray { images: self.images, place: *place, column: &self.plan.columns[*place] };
            arguments.add(array).map_err(|_| RowsFailure::Unencodable)?;
        }
        Ok(arguments)
    }
}

/// How many of the images one statement with arrays takes; one at least.
fn part_len(images: &[RowImage<'_>]) -> usize {
    let mut bytes = 0;
    let fits = images.iter().take(ARRAY_ROWS_MAX).take_while(|image| {
        let is_within = bytes < STAGE_BYTES_MIN;
        bytes += image.bytes().len();
        is_within
    });
    fits.count()
}

/// One column of all rows as an array parameter.
struct ColumnArray<'r> {
    images: &'r [RowImage<'r>],
    place: usize,
    column: &'r PlanColumn,
}

impl sqlx::Type<sqlx::Postgres> for ColumnArray<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("anyarray")
    }
}

impl sqlx::Encode<'_, sqlx::Postgres> for ColumnArray<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, sqlx::error::BoxDynError> {
        write_array_head(self.column.target_type, i32::try_from(self.images.len())?, buffer);
        for image in self.images {
            self.column.codec.write(image.field(self.place), buffer).map_err(|refusal| refusal.to_string())?;
        }
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.column.target_type.wire_array_oid())))
    }
}

/// One field in its binary form, its length included, as an array parameter of one element.
pub(crate) struct OneField<'r> {
    pub(crate) bytes: &'r [u8],
    pub(crate) target_type: TargetType,
}

impl sqlx::Type<sqlx::Postgres> for OneField<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("anyarray")
    }
}

impl sqlx::Encode<'_, sqlx::Postgres> for OneField<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, sqlx::error::BoxDynError> {
        write_array_head(self.target_type, 1, buffer);
        buffer.extend_from_slice(self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.target_type.wire_array_oid())))
    }
}

/// What stands before the elements of an array.
fn write_array_head(target_type: TargetType, count: i32, buffer: &mut PgArgumentBuffer) {
    const DIMENSIONS: i32 = 1;
    const MAY_HOLD_NULLS: i32 = 1;
    const LOWER_BOUND: i32 = 1;
    buffer.extend_from_slice(&DIMENSIONS.to_be_bytes());
    buffer.extend_from_slice(&MAY_HOLD_NULLS.to_be_bytes());
    buffer.extend_from_slice(&target_type.wire_oid().to_be_bytes());
    buffer.extend_from_slice(&count.to_be_bytes());
    buffer.extend_from_slice(&LOWER_BOUND.to_be_bytes());
}

/// COPY's binary stream, piece by piece.
struct CopyRows<'r> {
    rows: Rows<'r>,
    next: usize,
}

impl CopyRows<'_> {
    /// Fills the buffer; says whether more follows.
    fn fill(&mut self, buffer: &mut Vec<u8>) -> Result<bool, RowsFailure> {
        const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
        if self.next == 0 {
            buffer.extend_from_slice(HEADER);
        }
        let Rows { plan, images } = self.rows;
        let fields = i16::try_from(plan.columns.len()).map_err(|_| RowsFailure::Unencodable)?;
        while let Some(image) = images.get(self.next) {
            if buffer.len() >= COPY_PIECE_BYTES {
                return Ok(true);
            }
            buffer.extend_from_slice(&fields.to_be_bytes());
            for (place, column) in plan.columns.iter().enumerate() {
                let written: Result<(), Refusal> = column.codec.write(image.field(place), buffer);
                written.map_err(|_| RowsFailure::Unencodable)?;
            }
            self.next += 1;
        }
        buffer.extend_from_slice(&TRAILER);
        Ok(false)
    }
}

/// The images of the rows in the order of their keys, nearly: neighbours in the index are written together. Where the order
/// is there already, as with counted keys, sorting costs one pass.
pub(crate) fn in_key_order<'r>(plan: &Plan, batch: &'r RecordBatch, rows: &[RowRef]) -> Vec<RowImage<'r>> {
    let keyed = |row: &RowRef| {
        let image = row.image(batch);
        let part = |number: usize| plan.key.get(number).map_or(0, |place| order_of(image.field(*place)));
        (part(0), part(1), image)
    };
    let mut keyed: Vec<(u64, u64, RowImage<'r>)> = rows.iter().map(keyed).collect();
    keyed.sort_by_key(|(first, second, _)| (*first, *second));
    keyed.into_iter().map(|(_, _, image)| image).collect()
}

/// A number that orders values of one column nearly as an index does.
#[expect(clippy::cast_sign_loss, reason = "the sign is moved so that the order stays")]
fn order_of(field: Field<'_>) -> u64 {
    const SIGN: u64 = 1 << 63;
    let Field::Value(value) = field else { return 0 };
    match value {
        Value::Integer(number) => number as u64 ^ SIGN,
        Value::Unsigned(number) | Value::Bit(number) | Value::Set(number) => number,
        Value::Text(text) | Value::Json(text) => first_bytes(text.as_bytes()),
        Value::Bytes(bytes) | Value::InvalidText(bytes) => first_bytes(bytes),
        Value::Enum(index) => index.into(),
        Value::Year(year) => year.into(),
        Value::Date(date) => date.days_since_epoch().map_or(0, |days| i64::from(days) as u64 ^ SIGN),
        Value::DateTime(clock) => clock.micros_since_epoch().map_or(0, |micros| micros as u64 ^ SIGN),
        Value::Timestamp(tailrace_row::Timestamp::Micros(micros)) => micros as u64 ^ SIGN,
        Value::Time(time) => time.micros as u64 ^ SIGN,
        Value::Uuid(bytes) | Value::Inet6(bytes) => first_bytes(&bytes),
        Value::Inet4(bytes) => first_bytes(&bytes),
        Value::Geometry { wkb, .. } => first_bytes(wkb),
        Value::Vector(numbers) => first_bytes(numbers),
        Value::Timestamp(tailrace_row::Timestamp::Zero) | Value::Float(_) | Value::Double(_) | Value::Decimal(_) => 0,
    }
}

fn first_bytes(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = bytes.len().min(8);
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(first)
}
