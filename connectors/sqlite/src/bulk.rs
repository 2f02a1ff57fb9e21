//! Many rows in one statement: multi-row VALUES of a few fixed sizes, each prepared once.
//!
//! A statement costs the hop to the driver's thread and back (about 40 us), so that rows share one. While SQLite writes the
//! rows of a statement on that thread, those of the next are encoded on ours.

use std::sync::Arc;

use sqlx::sqlite::SqliteArguments;
use tailrace_contract::{Error, RowRef};
use tailrace_row::{Field, RecordBatch, RowImage, Timestamp, Value};

use crate::{
    encode::Refusal,
    errors::{Failure, TableRefusal},
    plan::{self, Plan},
    session::Session,
};

/// Statements get fewer rows when those are so big: what is bound lies in memory three times.
const STATEMENT_BYTES_MAX: usize = 4 << 20;

/// Why rows could not be written.
#[derive(Debug)]
pub(crate) enum RowsFailure {
    /// SQLite refused.
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

impl From<Refusal> for RowsFailure {
    fn from(_: Refusal) -> Self {
        Self::Unencodable
    }
}

/// Rows of one table that go into one statement, or a few.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'r> {
    pub(crate) plan: &'r Plan,
    pub(crate) images: &'r [RowImage<'r>],
}

/// A statement with all its parameters.
struct Statement {
    rows: usize,
    sql: Arc<str>,
    arguments: SqliteArguments,
}

impl Rows<'_> {
    /// Deletes the rows by their keys; returns how many there were.
    pub(crate) async fn delete(&self, session: &mut Session) -> Result<u64, RowsFailure> {
        let mut deleted = 0;
        let mut at = 0;
        let mut next = self.delete_at(at)?;
        while let Some(statement) = next.take() {
            at += statement.rows;
            let writing = session.write_rows(statement.sql, statement.arguments, "deleting rows");
            let (written, encoded) = tokio::join!(writing, async { self.delete_at(at) });
            deleted += written?;
            next = encoded?;
        }
        Ok(deleted)
    }

    /// Inserts or replaces the rows.
    pub(crate) async fn upsert(&self, session: &mut Session) -> Result<(), RowsFailure> {
        let mut at = 0;
        let mut next = self.upsert_at(at)?;
        while let Some(statement) = next.take() {
            at += statement.rows;
            let writing = session.write_rows(statement.sql, statement.arguments, "writing rows");
            let (written, encoded) = tokio::join!(writing, async { self.upsert_at(at) });
            self.expect_written(statement.rows, written?)?;
            next = encoded?;
        }
        Ok(())
    }

    /// A trigger may swallow a row without an error. That would be a row lost.
    fn expect_written(&self, rows: usize, written: u64) -> Result<(), RowsFailure> {
        if self.plan.counts_all && written != rows as u64 {
            let message = format!("of {rows} rows the target wrote {written}");
            return Err(RowsFailure::Refused(TableRefusal::swallowed(message)));
        }
        Ok(())
    }

    fn delete_at(&self, at: usize) -> Result<Option<Statement>, Refusal> {
        let (rows, sql) = match self.images.len() - at {
            0 => return Ok(None),
            left => self.plan.delete(left),
        };
        let arguments = self.arguments(at, rows, &self.plan.key)?;
        Ok(Some(Statement { rows, sql, arguments }))
    }

    fn upsert_at(&self, at: usize) -> Result<Option<Statement>, Refusal> {
        let (rows, sql) = match self.images.len() - at {
            0 => return Ok(None),
            left => self.plan.upsert(self.rows_within_bytes(at).min(left)),
        };
        let places: Vec<usize> = (0..self.plan.columns.len()).collect();
        let arguments = self.arguments(at, rows, &places)?;
        Ok(Some(Statement { rows, sql, arguments }))
    }

    /// How many rows from there on are small enough together; at least one.
    fn rows_within_bytes(&self, at: usize) -> usize {
        let mut bytes = 0;
        let fits = |image: &&RowImage<'_>| {
            bytes += image.bytes().len();
            bytes <= STATEMENT_BYTES_MAX
        };
        self.images[at..].iter().take(plan::ROWS_MAX).take_while(fits).count().max(1)
    }

    fn arguments(&self, at: usize, rows: usize, places: &[usize]) -> Result<SqliteArguments, Refusal> {
        use sqlx::Arguments as _;
        let mut arguments = SqliteArguments::default();
        arguments.reserve(rows * places.len(), 0);
        let mut text = String::new();
        for image in &self.images[at..at + rows] {
            for place in places {
                self.plan.columns[*place].codec.write(image.field(*place), &mut text, &mut arguments)?;
            }
        }
        // SQLite would take a missing one for NULL.
        assert_eq!(arguments.len(), rows * places.len(), "every parameter has a value");
        Ok(arguments)
    }
}

/// The images of the rows in the order of their keys, nearly: neighbours in the table's tree are written together.
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

/// A number that orders values of one column nearly as the tree does.
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
        Value::Timestamp(Timestamp::Micros(micros)) => micros as u64 ^ SIGN,
        Value::Time(time) => time.micros as u64 ^ SIGN,
        Value::Uuid(bytes) | Value::Inet6(bytes) => first_bytes(&bytes),
        Value::Inet4(bytes) => first_bytes(&bytes),
        Value::Geometry { wkb, .. } => first_bytes(wkb),
        Value::Vector(numbers) => first_bytes(numbers),
        Value::Timestamp(Timestamp::Zero) | Value::Float(_) | Value::Double(_) | Value::Decimal(_) => 0,
    }
}

fn first_bytes(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = bytes.len().min(8);
    first[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(first)
}
