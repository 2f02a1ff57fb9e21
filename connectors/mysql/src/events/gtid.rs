//! The event that begins a transaction and names it.
//!
//! Three kinds: GTID and ANONYMOUS_GTID with fields at fixed places, GTID_TAGGED in the form of the server's serialization
//! library (numbered fields, of which those up to a given number must be understood).

use uuid::Uuid;

use super::kind;
use crate::{
    gtid::{Gtid, NUMBER_MAX, Origin, Tag, read_serialized_number, read_tag},
    protocol::{Cursor, Malformed},
};

const BAD: Malformed = Malformed::new("GTID event");

/// The begin of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GtidEvent {
    /// None where the server gives no GTIDs.
    pub(crate) gtid: Option<Gtid>,
    /// When the transaction was first committed, in microseconds since 1970.
    pub(crate) committed_at_micros: Option<i64>,
    /// When this server committed it, which may have it from another one.
    pub(crate) logged_at_micros: Option<i64>,
}

impl GtidEvent {
    pub(crate) fn parse(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        match kind {
            kind::GTID_TAGGED => Self::parse_tagged(body),
            _ => Self::parse_plain(kind == kind::ANONYMOUS_GTID, &mut cursor),
        }
    }

    fn parse_plain(is_anonymous: bool, cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        const LOGICAL_CLOCK: u8 = 2;
        const HAS_ORIGINAL: u64 = 1 << 55;
        cursor.u8()?;
        let uuid = Uuid::from_bytes(cursor.array()?);
        let number = cursor.u64()?;
        let gtid = (!is_anonymous).then(|| named(uuid, Tag::default(), number)).transpose()?;
        let (mut committed_at_micros, mut logged_at_micros) = (None, None);
        if cursor.rest().first() == Some(&LOGICAL_CLOCK) && cursor.len() >= 1 + 16 + 7 {
            cursor.take(1 + 16)?;
            let immediate = cursor.u56()?;
            let original = if immediate & HAS_ORIGINAL == 0 { immediate } else { cursor.u56()? };
            committed_at_micros = micros(original)?;
            logged_at_micros = micros(immediate & !HAS_ORIGINAL)?;
        }
        Ok(Self { gtid, committed_at_micros, logged_at_micros })
    }

    fn parse_tagged(body: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(body);
        let version = read_serialized_number(&mut cursor)?;
        let size = usize::try_from(read_serialized_number(&mut cursor)?).map_err(|_| BAD)?;
        let last_needed = read_serialized_number(&mut cursor)?;
        if version != 1 || last_needed > field::TICKET {
            return Err(Malformed::new("GTID event: it is of a newer format"));
        }
        let consumed = body.len() - cursor.len();
        let mut fields = Cursor::new(cursor.take(size.checked_sub(consumed).ok_or(BAD)?)?);
        let (mut uuid, mut tag, mut number) = (None, Tag::default(), None);
        let (mut immediate, mut original) = (0, None);
        while !fields.is_empty() {
            let at = read_serialized_number(&mut fields)?;
            match at {
                field::UUID => uuid = Some(read_uuid(&mut fields)?),
                // A signed number: the value stands above its sign bit.
                field::NUMBER => number = Some(read_serialized_number(&mut fields)? >> 1),
                field::TAG => tag = read_tag(&mut fields)?,
                field::IMMEDIATE_COMMIT => immediate = read_serialized_number(&mut fields)?,
                field::ORIGINAL_COMMIT => original = Some(read_serialized_number(&mut fields)?),
                field::FLAGS
                | field::LAST_COMMITTED
                | field::SEQUENCE_NUMBER
                | field::LENGTH
                | field::IMMEDIATE_VERSION
                | field::ORIGINAL_VERSION
                | field::TICKET => {
                    read_serialized_number(&mut fields)?;
                }
                // Fields of later versions follow, and the format says that they may be left out.
                _ => break,
            }
        }
        let gtid = named(uuid.ok_or(BAD)?, tag, number.ok_or(BAD)?)?;
        let committed_at_micros = micros(original.unwrap_or(immediate))?;
        Ok(Self { gtid: Some(gtid), committed_at_micros, logged_at_micros: micros(immediate)? })
    }
}

/// Numbers of the tagged event's fields.
mod field {
    pub(super) const FLAGS: u64 = 0;
    pub(super) const UUID: u64 = 1;
    pub(super) const NUMBER: u64 = 2;
    pub(super) const TAG: u64 = 3;
    pub(super) const LAST_COMMITTED: u64 = 4;
    pub(super) const SEQUENCE_NUMBER: u64 = 5;
    pub(super) const IMMEDIATE_COMMIT: u64 = 6;
    pub(super) const ORIGINAL_COMMIT: u64 = 7;
    pub(super) const LENGTH: u64 = 8;
    pub(super) const IMMEDIATE_VERSION: u64 = 9;
    pub(super) const ORIGINAL_VERSION: u64 = 10;
    pub(super) const TICKET: u64 = 11;
}

fn named(uuid: Uuid, tag: Tag, number: u64) -> Result<Gtid, Malformed> {
    if (1..=NUMBER_MAX).contains(&number) { Ok(Gtid { origin: Origin { uuid, tag }, number }) } else { Err(BAD) }
}

/// 0 means that the time is unknown.
fn micros(micros: u64) -> Result<Option<i64>, Malformed> {
    let micros = i64::try_from(micros).map_err(|_| BAD)?;
    Ok((micros > 0).then_some(micros))
}

fn read_uuid(fields: &mut Cursor<'_>) -> Result<Uuid, Malformed> {
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        *byte = u8::try_from(read_serialized_number(fields)?).map_err(|_| BAD)?;
    }
    Ok(Uuid::from_bytes(bytes))
}
