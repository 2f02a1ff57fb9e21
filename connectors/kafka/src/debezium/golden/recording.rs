//! The recordings, and JSON taken apart without touching the text of its values.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::debezium::json_text::write_string;

/// What one run of Debezium wrote for the recorded SQL.
pub(super) struct Recording {
    /// `<server>_<setting>_<mode>`: also the prefix of its topics.
    pub(super) name: &'static str,
    text: &'static str,
}

macro_rules! recordings {
    ($($name:literal)*) => {
        [$(Recording { name: $name, text: include_str!(concat!("../../../testdata/debezium/", $name, ".tsv")) }),*]
    };
}

/// Debezium's defaults, without and with schemas, of each server and mode.
pub(super) static RECORDINGS: [Recording; 12] = recordings! {
    "mysql_plain_stream" "mysql_plain_snapshot" "mysql_plain_incremental"
    "mysql_schema_stream" "mysql_schema_snapshot" "mysql_schema_incremental"
    "mariadb_plain_stream" "mariadb_plain_snapshot" "mariadb_plain_incremental"
    "mariadb_schema_stream" "mariadb_schema_snapshot" "mariadb_schema_incremental"
};

/// Other settings, for reading only: ours has no such forms.
pub(super) static OTHER_SETTINGS: [Recording; 8] = recordings! {
    "mysql_alt_stream" "mysql_altschema_stream" "mysql_time-microseconds_stream" "mysql_time-nanoseconds_stream"
    "mariadb_alt_stream" "mariadb_altschema_stream" "mariadb_time-microseconds_stream" "mariadb_time-nanoseconds_stream"
};

/// One record.
#[derive(Clone, Copy)]
pub(super) struct Line {
    /// The table as its topic spells it.
    pub(super) topic_table: &'static str,
    /// Empty: none.
    pub(super) key: &'static str,
    /// `name=value`, or empty.
    pub(super) header: &'static str,
    /// Empty: a tombstone.
    pub(super) value: &'static str,
}

impl Recording {
    pub(super) fn named(name: &str) -> &'static Self {
        RECORDINGS.iter().find(|recording| recording.name == name).expect("a recording")
    }

    /// `mysql` or `mariadb`.
    pub(super) fn server(&self) -> &'static str {
        self.name.split('_').next().expect("a server")
    }

    /// Whether the words of a condition hold: a server, a mode, or `read` for rows that were not changed but read.
    pub(super) fn is(&self, condition: &str) -> bool {
        condition.split_whitespace().all(|word| match word {
            "read" => !self.name.ends_with("stream"),
            word => self.name.split('_').any(|part| part == word),
        })
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = Line> + use<> {
        self.text.lines().map(|line| {
            let parts: Vec<&'static str> = line.split('\t').collect();
            let [topic_table, key, header, value] = parts[..] else { panic!("four parts: {line}") };
            Line { topic_table, key, header, value }
        })
    }
}

/// An object's names and the texts of their values, in order.
#[derive(Clone, Debug)]
pub(super) struct Object(pub(super) Vec<(String, String)>);

impl Object {
    /// None for `null`. Fails if the object can't be put together again as it was.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return None;
        }
        let object = serde_json::Deserializer::from_str(text).deserialize_map(ObjectVisitor);
        let object = object.unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(object.text(), text, "our escapes of names are Debezium's");
        Some(object)
    }

    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("{name} in {}", self.text())).1
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        let found = self.0.iter_mut().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("there is {name}")).1 = value;
    }

    pub(super) fn text(&self) -> String {
        let mut out = b"{".to_vec();
        for (place, (name, value)) in self.0.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            write_string(&mut out, name);
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
        }
        out.push(b'}');
        String::from_utf8(out).expect("JSON is UTF-8")
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            pairs.push((name, value.get().to_owned()));
        }
        Ok(Object(pairs))
    }
}
