//! How `tailrace config show` tells what is in force: as the file would say it, or as JSON.

use serde_json::{Map, Value};

use super::OutputFormat;
use crate::config::{ShownSection, quoted_text};

/// What is printed.
pub(super) fn text(sections: &[ShownSection], format: OutputFormat) -> String {
    match format {
        OutputFormat::Json => {
            serde_json::to_string_pretty(&json(sections)).expect("invariant: a JSON value is JSON") + "\n"
        }
        OutputFormat::Text => sections.iter().map(one).collect::<Vec<_>>().join("\n"),
    }
}

fn one(section: &ShownSection) -> String {
    let header = if section.path == "table" { "[[table]]".to_owned() } else { format!("[{}]", section.path) };
    let keys = section.keys.iter().map(|(key, value)| match value {
        Value::Null => format!("# {key}: none\n"),
        value => format!("{key} = {}\n", toml(value)),
    });
    format!("{header}\n{}", keys.collect::<String>())
}

/// A value on one line of the file.
fn toml(value: &Value) -> String {
    match value {
        Value::String(text) => quoted_text(text),
        Value::Object(table) => {
            let pairs: Vec<String> =
                table.iter().map(|(key, value)| format!("{} = {}", quoted_text(key), toml(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

/// Sections below sections, the tables in an array, as in the file.
fn json(sections: &[ShownSection]) -> Value {
    let mut root = Map::new();
    for section in sections {
        let keys: Map<String, Value> =
            section.keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        match section.path.split_once('.') {
            None if section.path == "table" => {
                let tables = root.entry("table").or_insert_with(|| Value::Array(Vec::new()));
                tables.as_array_mut().expect("invariant: only tables stand under this name").push(Value::Object(keys));
            }
            None => {
                root.insert(section.path.to_owned(), Value::Object(keys));
            }
            Some((parent, child)) => root[parent][child] = Value::Object(keys),
        }
    }
    Value::Object(root)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let sections = [
            ShownSection { path: "source", keys: vec![("url", json!("a\"b")), ("server_id", json!(7))] },
            ShownSection { path: "source.tls", keys: vec![("mode", json!("disabled")), ("ca", Value::Null)] },
            ShownSection { path: "table", keys: vec![("source", json!("a.b"))] },
            ShownSection {
                path: "table",
                keys: vec![("source", json!("c.d")), ("columns", json!({ "e f": { "on_unholdable": "null" } }))],
            },
        ];
        assert_eq!(
            text(&sections, OutputFormat::Text),
            "[source]\nurl = \"a\\\"b\"\nserver_id = 7\n\n[source.tls]\nmode = \"disabled\"\n# ca: none\n\n\
             [[table]]\nsource = \"a.b\"\n\n[[table]]\nsource = \"c.d\"\n\
             columns = { \"e f\" = { \"on_unholdable\" = \"null\" } }\n"
        );
        let told: Value = serde_json::from_str(&text(&sections, OutputFormat::Json)).unwrap();
        assert_eq!(told["source"]["tls"], json!({ "mode": "disabled", "ca": null }));
        assert_eq!((&told["source"]["server_id"], &told["table"][1]["source"]), (&json!(7), &json!("c.d")));
    }
}
