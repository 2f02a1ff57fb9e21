//! `tailrace import-offset`: begins where a connector of Debezium stopped.
//!
//! What Kafka Connect keeps of a connector is read in any of the forms in which it gives it. What an offset means only the source
//! knows; what is stored is the checkpoint at which capture begins, and only where there is none.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use tailrace_contract::{Checkpoint, Error, Log, OpenedWriter, Position, Result, Sink, Source};

use crate::{
    capture::start::{first_checkpoint_at, known_epoch},
    config::Config,
    embedded, registry,
};

/// Offsets by connector: the names that stand in their partitions, usually `topic.prefix`.
pub type Offsets = BTreeMap<String, Value>;

/// Begins everything that Java writes of its objects.
const JAVA_MAGIC: [u8; 4] = [0xac, 0xed, 0x00, 0x05];

const FORMS: &str = "give what `GET /connectors/NAME/offsets` of Kafka Connect's REST interface answers, or records of its topic of \
                     offsets with their keys (kafka-console-consumer.sh --property print.key=true)";

/// Reads what Connect says of its connectors' offsets: the answer of its REST interface, records of its topic as key and value, or one
/// offset alone. A later record replaces an earlier one of its connector.
pub fn read(bytes: &[u8]) -> Result<Offsets> {
    if bytes.starts_with(&JAVA_MAGIC) {
        return Err(Error::refused(
            "this is the file in which a standalone Connect keeps its offsets, as Java writes its objects",
        )
        .hint(format!("no other program can read it; let that worker run once more: {FORMS}")));
    }
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::refused(format!("this says no offset of Kafka Connect: {error}")).hint(FORMS)
    };
    let text = std::str::from_utf8(bytes).map_err(|error| unreadable(&error))?;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut offsets = Offsets::new();
    while let Some(value) = values.next() {
        let value = value.map_err(|error| unreadable(&error))?;
        let is_read = match &value {
            Value::Array(_) => {
                let Some(server) = server_of_key(&value) else { return Err(unreadable(&"a key without `server`")) };
                let offset = values.next().ok_or_else(|| unreadable(&"a key without a value"))?;
                replace(&mut offsets, server, offset.map_err(|error| unreadable(&error))?);
                true
            }
            Value::Object(object) if object.contains_key("offsets") => read_answer(&mut offsets, &value).is_some(),
            Value::Object(object) if object.contains_key("key") => read_record(&mut offsets, &value).is_some(),
            Value::Object(_) => {
                replace(&mut offsets, String::new(), value);
                true
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if !is_read {
            return Err(unreadable(&"neither records nor an answer of the REST interface"));
        }
    }
    if offsets.is_empty() { Err(unreadable(&"it is empty")) } else { Ok(offsets) }
}

/// `{"offsets":[{"partition":{"server":"…"},"offset":{…}}]}`.
fn read_answer(offsets: &mut Offsets, answer: &Value) -> Option<()> {
    for entry in answer["offsets"].as_array()? {
        let server = entry["partition"]["server"].as_str()?;
        replace(offsets, server.to_owned(), entry["offset"].clone());
    }
    Some(())
}

/// `{"key":…,"value":…}`, each as JSON or as its text; `payload` is kcat's word for the value.
fn read_record(offsets: &mut Offsets, record: &Value) -> Option<()> {
    let part = |value: &Value| match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    };
    let server = server_of_key(&part(&record["key"])?)?;
    let value = record.get("value").or_else(|| record.get("payload"))?;
    replace(offsets, server, part(value)?);
    Some(())
}

/// Of `["connector",{"server":"…"}]`.
fn server_of_key(key: &Value) -> Option<String> {
    Some(key.get(1)?["server"].as_str()?.to_owned())
}

/// Null forgets.
fn replace(offsets: &mut Offsets, server: String, offset: Value) {
    if offset.is_null() {
        offsets.remove(&server);
    } else {
        offsets.insert(server, offset);
    }
}

/// The offset of the connector of that name, or the only one.
pub fn choose(offsets: Offsets, server: Option<&str>) -> Result<Value> {
    let names: Vec<String> = offsets.keys().cloned().collect();
    let mut offsets = offsets;
    match (server, names.as_slice()) {
        (Some(server), _) => offsets.remove(server).ok_or_else(|| {
            Error::refused(format!("there is no offset of {server}"))
                .hint(format!("there are those of {}", names.join(", ")))
        }),
        (None, [only]) => Ok(offsets.remove(only).expect("invariant: its own key")),
        (None, _) => Err(Error::refused(format!("there are offsets of several connectors: {}", names.join(", ")))
            .hint("say which one with --server NAME")),
    }
}

/// One import.
pub struct Import {
    /// The log's prefix, or the stream's name.
    pub stream: String,
    config: Config,
    source: Arc<dyn Source>,
    keeper: Keeper,
}

/// Who keeps the checkpoint.
enum Keeper {
    Log(Arc<dyn Log>),
    Target(Arc<dyn Sink>),
}

impl Import {
    /// Connects to nobody yet.
    pub fn new(config: &Config) -> Result<Self> {
        let keeper = match &config.log {
            Some(log) => Keeper::Log(registry::log(log.clone())?),
            None => Keeper::Target(registry::sink(config.target()?)?),
        };
        let source = registry::source(config.source.settings.clone())?;
        Ok(Self { stream: config.stream(), config: config.clone(), source, keeper })
    }

    /// Where capture would begin. Changes nothing.
    pub async fn plan(&self, offset: &Value) -> Result<Position> {
        let known = match &self.keeper {
            Keeper::Log(log) => log.checkpoint().await?,
            Keeper::Target(sink) => {
                let progress = sink.stream_progress(&self.stream).await?;
                progress.and_then(|progress| Some(progress.checkpoint?.at))
            }
        };
        self.refuse_known(known.as_ref())?;
        let position = self.source.position_of_debezium(&offset.to_string()).await?;
        // Whether the server still has what comes next.
        self.source.state(Some(&position)).await?;
        Ok(position)
    }

    /// Stores it. Fences a capture that runs without a checkpoint yet.
    pub async fn store(&self, position: Position) -> Result<()> {
        let filter = self.config.rules.filter();
        match &self.keeper {
            Keeper::Log(log) => {
                log.prepare(&self.source.tables(&filter).await?).await?;
                let OpenedWriter { mut writer, checkpoint: known, epoch } = log.open_writer().await?;
                self.refuse_known(known.as_ref())?;
                let checkpoint = first_checkpoint_at(position, known_epoch(epoch, &log.ledger().await?)?);
                writer.commit(&checkpoint).await
            }
            Keeper::Target(sink) => {
                let source = self.source.identity().await?;
                let known = embedded::begin_at(sink.as_ref(), &self.stream, (source, &filter), position).await?;
                self.refuse_known(known.as_ref())
            }
        }
    }

    fn refuse_known(&self, known: Option<&Checkpoint>) -> Result<()> {
        let Some(Checkpoint { mark, .. }) = known else { return Ok(()) };
        let what = if self.config.log.is_some() { "capture" } else { "all" };
        Err(Error::refused(format!("{} has a checkpoint already", self.stream))
            .at(&mark.position)
            .hint(format!("to begin anew from the offset, `tailrace reset {what}` first; nothing was stored")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSET: &str = r#"{"file":"b.1","pos":4}"#;

    fn check(text: &str, expect: &str) {
        let told = match read(text.as_bytes()) {
            Ok(offsets) => offsets.iter().map(|(server, offset)| format!("{server}={offset} ")).collect(),
            Err(error) => error.message().to_owned(),
        };
        assert!(told.starts_with(expect), "{text}: {told}, not {expect}");
    }

    #[test]
    fn offsets_are_read_as_connect_gives_them() {
        let key = r#"["inventory",{"server":"shop"}]"#;
        check(OFFSET, &format!("={OFFSET} "));
        check(
            &format!(r#"{{"offsets":[{{"partition":{{"server":"shop"}},"offset":{OFFSET}}}]}}"#),
            &format!("shop={OFFSET}"),
        );
        check(
            &format!("{key}\t{{}}\n[\"c\",{{\"server\":\"b\"}}]\t{OFFSET}\n{key}\t{OFFSET}\n"),
            &format!("b={OFFSET} shop={OFFSET}"),
        );
        check(&format!("{key}\t{OFFSET}\n{key}\tnull\n"), "this says no offset of Kafka Connect: it is empty");
        check(&format!(r#"{{"key":{key},"value":{OFFSET}}}"#), &format!("shop={OFFSET}"));
        let quoted = |text: &str| serde_json::to_string(text).unwrap();
        let record = format!(r#"{{"topic":"o","key":{},"payload":{}}}"#, quoted(key), quoted(OFFSET));
        check(&record, &format!("shop={OFFSET}"));
        for bad in [
            "",
            "yesterday",
            "7",
            "[1]",
            "[\"c\",{}] {}",
            r#"["c",{"server":"b"}]"#,
            r#"{"offsets":7}"#,
            r#"{"key":7}"#,
        ] {
            check(bad, "this says no offset of Kafka Connect");
        }
        let java = read(b"\xac\xed\x00\x05sr\x00\x11java.util.HashMap").unwrap_err();
        assert!(java.message().contains("as Java writes its objects") && java.advice().is_some(), "{java}");
    }

    #[test]
    fn one_connector_is_chosen() {
        let offsets =
            |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Value::from(*name))).collect::<Offsets>();
        assert_eq!(choose(offsets(&["a"]), None).unwrap(), "a");
        assert_eq!(choose(offsets(&["a", "b"]), Some("b")).unwrap(), "b");
        assert!(choose(offsets(&["a", "b"]), None).unwrap_err().to_string().contains("a, b"));
        assert!(choose(offsets(&["a"]), Some("c")).is_err());
    }
}
