//! `<prefix>.checkpoint`: where capture stands, and which writer owns the log.
//!
//! | key | value |
//! |---|---|
//! | `owner` | `{"format":1,"owner":"…"}`: a writer was opened |
//! | `capture` | `{"format":1,"owner":"…","schemas":false,"checkpoint":{…}}`, in the transaction of the records it describes; `null` for one that an operator had forgotten, with its `"epoch":…`; `"barrier":…` is the last barrier's number |
//!
//! Every record names the writer that wrote it, so the last committed one tells who owns the log. `schemas` says whether
//! keys carry their schema: the partition of a key is a hash of exactly the key's bytes, so the setting can't be changed on
//! topics that have records. A format that is newer than ours is refused by name, an unknown key too: guessing where to go
//! on would lose or double changes.

use serde::{Deserialize, Serialize};
use tailrace_contract::{Checkpoint, Error, Result};
use tailrace_row::Epoch;

use crate::small_topic::{ReadTo, SmallRecord, SmallTopicReader, not_understood};

/// The newest format that this version reads, and the one that it writes.
const FORMAT: u32 = 1;
pub(crate) const OWNER_KEY: &str = "owner";
pub(crate) const CAPTURE_KEY: &str = "capture";

/// The value of a record with key [`CAPTURE_KEY`].
#[derive(Serialize, Deserialize)]
struct CaptureValue<'a> {
    format: u32,
    #[serde(borrow)]
    owner: std::borrow::Cow<'a, str>,
    schemas: bool,
    checkpoint: Option<std::borrow::Cow<'a, Checkpoint>>,
    /// Of a checkpoint that was forgotten: the next one begins above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    /// The number of the last barrier; 0 if there was none, and in what older versions wrote.
    #[serde(default, skip_serializing_if = "is_none")]
    barrier: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_none(barrier: &u64) -> bool {
    *barrier == 0
}

/// The value of a record with key [`OWNER_KEY`].
#[derive(Serialize, Deserialize)]
struct OwnerValue<'a> {
    format: u32,
    #[serde(borrow)]
    owner: std::borrow::Cow<'a, str>,
}

/// What every value has, whatever its format.
#[derive(Deserialize)]
struct AnyValue {
    format: u32,
}

/// What the topic told when a writer was opened.
#[derive(Debug, PartialEq)]
pub(crate) struct StoredCheckpoint {
    /// None: it was forgotten.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Of one that was forgotten; older versions did not keep it.
    pub(crate) epoch: Option<Epoch>,
    /// The number of the last barrier, 0 if there was none, as far as it was kept.
    pub(crate) barrier: u64,
    pub(crate) has_inline_schemas: bool,
}

/// The value of an owner record.
pub(crate) fn owner_value(owner: &str) -> Vec<u8> {
    to_json(&OwnerValue { format: FORMAT, owner: owner.into() })
}

/// The value of a checkpoint record, behind the barrier of that number.
pub(crate) fn capture_value(owner: &str, has_inline_schemas: bool, checkpoint: &Checkpoint, barrier: u64) -> Vec<u8> {
    to_json(&CaptureValue {
        format: FORMAT,
        owner: owner.into(),
        schemas: has_inline_schemas,
        checkpoint: Some(std::borrow::Cow::Borrowed(checkpoint)),
        epoch: None,
        barrier,
    })
}

/// The value of the record that forgets a checkpoint. How keys look decides where they lie, the epoch what is newer, and records name
/// barriers by number: all three are kept, because the records stay.
pub(crate) fn forgotten_value(owner: &str, stored: &StoredCheckpoint) -> Vec<u8> {
    to_json(&CaptureValue {
        format: FORMAT,
        owner: owner.into(),
        schemas: stored.has_inline_schemas,
        checkpoint: None,
        epoch: stored.checkpoint.as_ref().map(|forgotten| forgotten.epoch).max(stored.epoch),
        barrier: stored.barrier,
    })
}

/// The last committed checkpoint, if there is one. Blocks.
pub(crate) fn last_checkpoint(topic: &str, reader: &SmallTopicReader, to: ReadTo) -> Result<Option<StoredCheckpoint>> {
    let last = reader.last(topic, to, |record| record.key != OWNER_KEY.as_bytes())?;
    last.map(|record| read_capture(topic, &record)).transpose()
}

/// The owner named by the last committed record, if there is any. Blocks.
pub(crate) fn last_owner(topic: &str, reader: &SmallTopicReader) -> Result<Option<String>> {
    let last = reader.last(topic, ReadTo::Everything, |_| true)?;
    last.map(|record| read_owner(topic, &record)).transpose()
}

pub(crate) fn read_capture(topic: &str, record: &SmallRecord) -> Result<StoredCheckpoint> {
    if record.key != CAPTURE_KEY.as_bytes() {
        return Err(not_understood(topic, record, "has an unknown key").hint(
            "something else writes into this topic, or a newer Tailrace did: use another prefix or that version",
        ));
    }
    let value: CaptureValue<'_> = read_value(topic, record)?;
    let checkpoint = value.checkpoint.map(std::borrow::Cow::into_owned);
    Ok(StoredCheckpoint { checkpoint, epoch: value.epoch, barrier: value.barrier, has_inline_schemas: value.schemas })
}

pub(crate) fn read_owner(topic: &str, record: &SmallRecord) -> Result<String> {
    let value: OwnerValue<'_> = read_value(topic, record)?;
    Ok(value.owner.into_owned())
}

fn read_value<'a, T: Deserialize<'a>>(topic: &str, record: &'a SmallRecord) -> Result<T> {
    let bytes = record.value.as_deref().ok_or_else(|| {
        not_understood(topic, record, "has no value")
            .hint("somebody deleted it: restore the topic, or use another prefix")
    })?;
    check_format(topic, record, bytes)?;
    serde_json::from_slice(bytes).map_err(|_| unreadable(topic, record))
}

/// Refuses a newer format by name before anything else of the value is read.
pub(crate) fn check_format(topic: &str, record: &SmallRecord, bytes: &[u8]) -> Result<()> {
    let any: AnyValue = serde_json::from_slice(bytes).map_err(|_| unreadable(topic, record))?;
    if any.format == FORMAT {
        return Ok(());
    }
    let what = format!("has format {}, this version of Tailrace knows {FORMAT}", any.format);
    Err(not_understood(topic, record, &what).hint("use the version of Tailrace that wrote it, or a newer one"))
}

fn unreadable(topic: &str, record: &SmallRecord) -> Error {
    not_understood(topic, record, "can't be read")
        .hint("something else writes into this topic: restore it, or use another prefix")
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: plain structs have a JSON form")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tailrace_contract::{ErrorKind, Mark, Position, SplitTransaction};
    use tailrace_row::Sequence;

    use super::*;

    fn record(key: &str, value: &str) -> SmallRecord {
        SmallRecord { offset: 42, key: key.into(), value: Some(value.into()) }
    }

    #[test]
    fn checkpoints_return() {
        let split = SplitTransaction {
            name: Arc::from("uuid:17"),
            last: Sequence { epoch: Epoch(3), transaction: 8, event: 1, row: 6 },
        };
        for split in [None, Some(split)] {
            let mark = Mark { position: Position::new("uuid:1-16"), transactions: 7 };
            let checkpoint = Checkpoint { epoch: Epoch(3), mark, split };
            let value = capture_value("me", true, &checkpoint, 7);
            let stored = record(CAPTURE_KEY, std::str::from_utf8(&value).unwrap());
            let read = read_capture("t", &stored).unwrap();
            let expected =
                StoredCheckpoint { checkpoint: Some(checkpoint), epoch: None, barrier: 7, has_inline_schemas: true };
            assert_eq!(read, expected);
            assert_eq!(read_owner("t", &stored).unwrap(), "me");
            let value = forgotten_value("you", &read);
            let stored = record(CAPTURE_KEY, std::str::from_utf8(&value).unwrap());
            let expected =
                StoredCheckpoint { checkpoint: None, epoch: Some(Epoch(3)), barrier: 7, has_inline_schemas: true };
            assert_eq!(read_capture("t", &stored).unwrap(), expected, "the epoch stays");
            assert_eq!(read_owner("t", &stored).unwrap(), "you");
        }
    }

    #[test]
    fn what_older_versions_stored_is_read_as_it_is() {
        let mark = r#"{"epoch":3,"mark":{"position":"uuid:1-16","transactions":7},"split":null}"#;
        for (checkpoint, has_one) in [(mark, true), ("null", false)] {
            let value = format!(r#"{{"format":1,"owner":"me","schemas":false,"checkpoint":{checkpoint}}}"#);
            let read = read_capture("t", &record(CAPTURE_KEY, &value)).unwrap();
            assert_eq!((read.checkpoint.is_some(), read.epoch, read.barrier), (has_one, None, 0));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let refused = |record: &SmallRecord, words: &str| {
            let error = read_capture("p.checkpoint", record).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            let text = error.to_string();
            assert!(text.contains("p.checkpoint[0]@42") && text.contains(words), "{text}");
        };
        refused(
            &record(CAPTURE_KEY, r#"{"format":2,"anything":"else"}"#),
            "has format 2, this version of Tailrace knows 1",
        );
        refused(&record(CAPTURE_KEY, "{}"), "can't be read");
        refused(&record(CAPTURE_KEY, "garbage"), "can't be read");
        refused(&record(CAPTURE_KEY, r#"{"format":1,"owner":"x","schemas":false,"checkpoint":{}}"#), "can't be read");
        refused(&record("else", r#"{"format":1}"#), "unknown key");
        refused(&SmallRecord { value: None, ..record(CAPTURE_KEY, "") }, "has no value");
    }
}
