//! What `tailrace config show` and `tailrace init --source` make of a configuration.

use tailrace_contract::{SeenTable, TablePattern};
use tailrace_row::TableName;

use super::{ALL, Draft, LOG, SECTIONS, SOURCE, Surroundings, TABLE, TARGET, checked, problems_in};
use crate::config::{Config, Stores};

/// As `config show` loads it: nothing is read.
fn shown(text: &str) -> Config {
    let stores = Stores { source: false, log: false, target: false };
    let variable = |_: &str| panic!("a secret is read");
    let unread = Some(tailrace_contract::Secret::new("***".to_owned()));
    let surroundings = Surroundings { directory: std::path::Path::new(""), variable: &variable, unread };
    checked::check(text, stores, &surroundings).unwrap_or_else(|problems| panic!("{problems:?} for:\n{text}"))
}

fn value(config: &Config, path: &str, key: &str) -> String {
    value_of(config, (path, 0), key)
}

/// Of the section with that path and number.
fn value_of(config: &Config, (path, number): (&str, usize), key: &str) -> String {
    let sections = config.shown();
    let section = sections.iter().filter(|section| section.path == path).nth(number).expect(path);
    section.keys.iter().find(|(name, _)| *name == key).expect(key).1.to_string()
}

#[test]
fn every_key_is_shown_and_no_other() {
    let policy = "columns.a.on_unholdable = \"null\"\n";
    let sections = shown(&format!("{SOURCE}{LOG}[log.debezium]\n{TARGET}{TABLE}{policy}")).shown();
    let shown =
        sections.iter().flat_map(|section| section.keys.iter().map(|(key, _)| format!("{}.{key}", section.path)));
    let is_table = |path: &str, key: &str| path.is_empty() || ["tls", "debezium", "throttle"].contains(&key);
    // What stands in tables of tables is shown in one line.
    let is_own = |section: &&&crate::config::keys::Section| {
        ![".password", ".token"].iter().any(|secret| section.path.ends_with(secret))
            && !section.path.starts_with("table.")
    };
    let known = SECTIONS.iter().filter(is_own).flat_map(|section| {
        let keys = section.keys.iter().filter(|key| !is_table(section.path, key.name));
        keys.map(|key| format!("{}.{}", section.path, key.name))
    });
    let (mut shown, mut known) = (shown.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    shown.sort();
    known.sort();
    assert_eq!(shown, known);
}

#[test]
fn values_are_shown_as_they_are_typed() {
    let text = "[source]\nurl = \"mysql://a%40b@[::1]\"\nserver_id = 7\npassword = { env = \"PASSWORD\" }\n\
                [log]\nurl = \"kafka://x,y:1\"\nprefix = \"p\"\nretention = \"90m\"\n\
                [[table]]\nsource = \"`my.shop`.*\"\ntarget = \"public.*\"\n[[table]]\nsource = \"a.b\"\n\
                columns.c.on_unholdable = \"text\"\ncolumns.\"d e\".on_unholdable.sentinel = \"x\"\n";
    let config = shown(text);
    for (path, key, expect) in [
        ("source", "url", "\"mysql://a%40b@[::1]:3306\""),
        ("source", "password", "\"***\""),
        ("source", "start", "\"now\""),
        ("source", "heartbeat", "\"10s\""),
        ("source", "expected_outage", "\"1d\""),
        ("source.tls", "mode", "\"verify-full\""),
        ("source.tls", "ca", "null"),
        ("log", "url", "\"kafka://x:9092,y:1\""),
        ("log", "password", "null"),
        ("log", "retention", "\"90m\""),
        ("log", "transaction_bytes", "\"64MiB\""),
        ("log", "schemas", "false"),
        ("table", "source", "\"`my.shop`.*\""),
        ("table", "target", "\"public.*\""),
        ("apply", "workers", "4"),
        ("capture", "commit_age_max", "\"5s\""),
    ] {
        assert_eq!(value(&config, path, key), expect, "{path}.{key}");
    }
    assert_eq!(
        value_of(&config, ("table", 1), "columns"),
        r#"{"c":{"on_unholdable":"text"},"d e":{"on_unholdable":{"sentinel":"x"}}}"#
    );
    assert!(!config.shown().iter().any(|section| section.path == "target"), "what is not configured is not shown");
}

#[test]
fn the_tables_that_were_found_are_drafted() {
    let seen = |database: &str, table: &str, obstacle: Option<&str>| SeenTable {
        name: TableName::new(database, table),
        obstacle: obstacle.map(str::to_owned),
    };
    let draft = Draft {
        url: "mysql://tailrace@db:3307".to_owned(),
        password_variable: "PASSWORD".to_owned(),
        tls_mode: Some("verify-full".to_owned()),
        ca: None,
    };
    let tables = [seen("shop", "orders", None), seen("a.b", "c`\"\\", None), seen("shop", "log", Some("no\nkey"))];
    let text = draft.file(&tables);
    assert_eq!(problems_in(&text.replace("MYSQL_", "").replace("POSTGRES_", ""), ALL, std::path::Path::new("")), "ok");
    let config = shown(&text);
    let named = |database: &str, table: &str| TablePattern::Table(TableName::new(database, table));
    assert_eq!(config.rules.filter().patterns, [named("shop", "orders"), named("a.b", "c`\"\\")]);
    assert_eq!(value(&config, "source", "url"), "\"mysql://tailrace@db:3307\"");
    assert!(text.contains("# Can't be captured: no key\n# [[table]]\n# source = \"shop.log\"\n"), "{text}");
    assert!(text.contains("\ntls = { mode = \"verify-full\" }\n") && text.contains("\n# [http]\n"), "{text}");
}
