//! `<prefix>.ledger`: the documents of the log's ledger, by their names.
//!
//! Key: the document's name. Value: `{"format":1,"text":"…"}`, in the transaction of the records that it speaks of; none forgets
//! the document. Of several records of one key the last one counts.
//!
//! The topic is read to its very end: what is undecided is waited for, because a document that is missed would have its work done
//! again over records that tell it is done.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use tailrace_contract::{Error, LedgerEntry, Result};

use crate::{
    Shared,
    checkpoint::check_format,
    config::BATCH_BYTES,
    small_topic::{ReadTo, SmallRecord, SmallTopicReader, not_understood},
    topics::TopicKeeper,
};

/// The format of the values.
const FORMAT: u32 = 1;
/// What every topic of a log takes at once, less lengths and headers.
const DOCUMENT_BYTES_MAX: usize = BATCH_BYTES - 512;

#[derive(Serialize, Deserialize)]
struct LedgerValue<'a> {
    format: u32,
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// The value of a document's record; none forgets it. One that the topic may not take is refused before it is sent.
pub(crate) fn ledger_value(entry: &LedgerEntry) -> Result<Option<Vec<u8>>> {
    let Some(text) = &entry.value else { return Ok(None) };
    let value = serde_json::to_vec(&LedgerValue { format: FORMAT, text: Cow::Borrowed(text) })
        .expect("invariant: plain structs have a JSON form");
    let bytes = entry.key.len() + value.len();
    if bytes > DOCUMENT_BYTES_MAX {
        let what = format!("the ledger's document {} has {bytes} bytes, a topic takes {DOCUMENT_BYTES_MAX}", entry.key);
        return Err(Error::refused(what));
    }
    Ok(Some(value))
}

pub(crate) fn read_entry(topic: &str, record: &SmallRecord) -> Result<LedgerEntry> {
    let unreadable = || {
        not_understood(topic, record, "can't be read")
            .hint("something else writes into this topic: restore it, or use another prefix")
    };
    let key = std::str::from_utf8(&record.key).map_err(|_| unreadable())?.into();
    let Some(bytes) = record.value.as_deref() else { return Ok(LedgerEntry { key, value: None }) };
    check_format(topic, record, bytes)?;
    let value: LedgerValue<'_> = serde_json::from_slice(bytes).map_err(|_| unreadable())?;
    Ok(LedgerEntry { key, value: Some(value.text.into()) })
}

/// The last committed document of each key, ordered by key. Blocks.
pub(crate) fn read(shared: &Arc<Shared>) -> Result<Vec<LedgerEntry>> {
    let keeper = TopicKeeper::new(&shared.settings)?;
    keeper.check_answers()?;
    let topic = shared.names.ledger();
    // Debezium writes none.
    if shared.settings.debezium.is_some() || keeper.partition_count(&topic)?.is_none() {
        return Ok(Vec::new());
    }
    let (records, _) = SmallTopicReader::open(&shared.clients)?.read_on(&topic, 0, ReadTo::Everything)?;
    last_of_each(&topic, &records)
}

fn last_of_each(topic: &str, records: &[SmallRecord]) -> Result<Vec<LedgerEntry>> {
    let last: BTreeMap<&[u8], &SmallRecord> = records.iter().map(|record| (record.key.as_slice(), record)).collect();
    let entries = last.into_values().map(|record| read_entry(topic, record));
    entries.filter(|entry| entry.as_ref().map_or(true, |entry| entry.value.is_some())).collect()
}

#[cfg(test)]
mod tests {
    use tailrace_contract::ErrorKind;

    use super::*;

    fn record(key: &[u8], value: Option<&[u8]>) -> SmallRecord {
        SmallRecord { offset: 42, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
    }

    fn entry(key: &str, value: Option<&str>) -> LedgerEntry {
        LedgerEntry { key: key.into(), value: value.map(Into::into) }
    }

    #[test]
    fn documents_return_the_last_of_each_key_in_order() {
        let written = [
            entry("b", Some("first")),
            entry("", Some("")),
            entry("a/\u{e9}", Some("{\"chunk\": \"'\u{0}\\\"\u{1f600}\"}")),
            entry("c", Some("forgotten")),
            entry("b", Some("last")),
            entry("c", None),
        ];
        let sent = |entry: &LedgerEntry| record(entry.key.as_bytes(), ledger_value(entry).unwrap().as_deref());
        let records: Vec<SmallRecord> = written.iter().map(sent).collect();
        let expect = [written[1].clone(), written[2].clone(), written[4].clone()];
        assert_eq!(last_of_each("t", &records).unwrap(), expect);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for (record, words) in [
            (record(b"a", Some(br#"{"format":2,"text":7}"#)), "has format 2"),
            (record(b"a", Some(br#"{"format":1}"#)), "can't be read"),
            (record(b"a", Some(b"garbage")), "can't be read"),
            (record(b"a", Some(b"")), "can't be read"),
            (record(b"\xff", None), "can't be read"),
        ] {
            let error = last_of_each("p.ledger", &[record]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            let text = error.to_string();
            assert!(text.contains("p.ledger[0]@42") && text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_document_that_no_topic_takes_is_refused_before_it_is_sent() {
        let just = entry("chunk", Some(&"x".repeat(DOCUMENT_BYTES_MAX - 100)));
        assert!(ledger_value(&just).is_ok());
        let error = ledger_value(&entry("chunk", Some(&"\"".repeat(DOCUMENT_BYTES_MAX / 2)))).unwrap_err();
        assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("document chunk"), "{error}");
    }
}
