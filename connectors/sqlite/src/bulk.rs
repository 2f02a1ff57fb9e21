//! Many rows by one statement, which is prepared once and run row by row.
//!
//! The connection's thread gets rows in pieces: while SQLite writes one piece there, the next ones are encoded here.

use std::{collections::BTreeMap, sync::Arc};

use tailrace_contract::{Error, RowRef};
use tailrace_row::{Field, RecordBatch, RowImage, Timestamp, Value};
use tokio::sync::mpsc;

use crate::{
    encode::Refusal,
    errors::{Failure, TableRefusal},
    parameters::{Parameters, Pieces},
    plan::Plan,
    session::Session,
};

/// A piece ends with the row that reaches this size: large beside the hop to the thread and back, small enough to stay in a cache.
const PIECE_BYTES: usize = 64 << 10;

/// One is written, one waits, one is encoded.
const PIECES_MAX: usize = 3;

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

/// Rows of one table.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'r> {
    pub(crate) plan: &'r Plan,
    pub(crate) images: &'r [RowImage<'r>],
}

impl Rows<'_> {
    /// Deletes the rows by their keys; returns how many there were.
    pub(crate) async fn delete(&self, session: &mut Session) -> Result<u64, RowsFailure> {
        self.run(session, &self.plan.delete, &self.plan.key, "deleting rows").await
    }

    /// Inserts or replaces the rows.
    pub(crate) async fn upsert(&self, session: &mut Session) -> Result<(), RowsFailure> {
        let places: Vec<usize> = (0..self.plan.columns.len()).collect();
        let written = self.run(session, &self.plan.upsert, &places, "writing rows").await?;
        let rows = self.images.len();
        // A trigger may swallow a row without an error. That would be a row lost.
        if self.plan.counts_all && written != rows as u64 {
            let message = format!("of {rows} rows the target wrote {written}");
            return Err(RowsFailure::Refused(TableRefusal::swallowed(message)));
        }
        Ok(())
    }

    /// Writes what came of rows of which not every column did: a statement for each set of columns that came, apart for those of them
    /// that may not be there yet, so that those that must be are counted alone. Returns how many rows there were.
    pub(crate) async fn update(&self, session: &mut Session) -> Result<u64, RowsFailure> {
        let mut sets: BTreeMap<(bool, Vec<usize>), Vec<RowImage<'_>>> = BTreeMap::new();
        let (plan, mut updated) = (self.plan, 0);
        for image in self.images {
            let came = |place: &usize| !plan.key.contains(place) && !image.is_unchanged(*place);
            let may_be_absent = image.may_be_absent() && plan.tells_absence;
            sets.entry((may_be_absent, (0..plan.columns.len()).filter(came).collect())).or_default().push(*image);
        }
        for ((may_be_absent, came), images) in sets {
            let statement = plan.update(&came);
            let places: Vec<usize> = came.into_iter().chain(plan.key.iter().copied()).collect();
            let rows = Rows { plan, images: &images };
            let written = rows.run(session, &statement, &places, "updating rows").await?;
            if !may_be_absent {
                rows.expect_updated(written)?;
            }
            updated += written;
        }
        Ok(updated)
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

    async fn run(
        &self,
        session: &mut Session,
        sql: &Arc<str>,
        places: &[usize],
        doing: &str,
    ) -> Result<u64, RowsFailure> {
        if self.images.is_empty() {
            return Ok(0);
        }
        let (pieces, taken) = mpsc::channel(1);
        let (give_back, mut used) = mpsc::channel(PIECES_MAX);
        let writing = session.write_rows(sql, Pieces { taken, give_back }, doing);
        let encoding = async {
            let pieces = pieces;
            let mut images = self.images.iter();
            loop {
                let mut piece = used.try_recv().unwrap_or_default();
                self.encode(&mut images, places, &mut piece)?;
                // After an error nobody takes another.
                if piece.is_empty() || pieces.send(piece).await.is_err() {
                    return Ok::<(), Refusal>(());
                }
            }
        };
        let (written, encoded) = tokio::join!(writing, encoding);
        let written = written?;
        encoded?;
        Ok(written)
    }

    /// Encodes the rows of the next piece; none if there are no more.
    fn encode<'i>(
        &self,
        images: &mut impl Iterator<Item = &'i RowImage<'i>>,
        places: &[usize],
        into: &mut Parameters,
    ) -> Result<(), Refusal> {
        into.clear();
        let mut text = String::new();
        while into.size() < PIECE_BYTES {
            let Some(image) = images.next() else { break };
            for place in places {
                self.plan.columns[*place].codec.write(image.field(*place), &mut text, into)?;
            }
        }
        Ok(())
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
