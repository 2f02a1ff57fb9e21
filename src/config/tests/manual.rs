//! docs/configuration.md held against the parser: the same keys, examples and defaults, none more and none less.

use std::path::Path;

use super::{LOG, SOURCE, Stores, TABLE, TARGET, config, problems_in};
use crate::config::keys::SECTIONS;

const MANUAL: &str = include_str!("../../../docs/configuration.md");

/// One row of the manual's tables of keys.
struct ManualRow {
    section: String,
    key: String,
    default: String,
    example: String,
}

/// All rows, those of a table for several sections once for each.
fn manual_rows() -> Vec<ManualRow> {
    let unquoted =
        |cell: &str| cell.trim().strip_prefix('`').and_then(|cell| cell.strip_suffix('`')).map(str::to_owned);
    let mut sections: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for line in MANUAL.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let names = heading.split(' ').filter_map(unquoted);
            sections = names.map(|name| name.trim_matches(['[', ']']).to_owned()).collect();
        }
        let cells: Vec<&str> = line.split('|').collect();
        let ["", key, _, default, example, ..] = cells[..] else { continue };
        let Some(key) = unquoted(key) else { continue };
        let cell = |cell: &str| unquoted(cell).unwrap_or_else(|| cell.trim().to_owned());
        rows.extend(sections.iter().map(|section| ManualRow {
            section: section.clone(),
            key: key.clone(),
            default: cell(default),
            example: cell(example),
        }));
    }
    rows
}

#[test]
fn the_manual_has_every_key_and_no_other() {
    let known = SECTIONS.iter().filter(|section| !section.path.is_empty()).flat_map(|section| {
        section.keys.iter().map(|key| format!("{}.{} as in {}", section.path, key.name, key.example))
    });
    let mut known: Vec<String> = known.collect();
    let rows = manual_rows();
    let mut described: Vec<String> =
        rows.iter().map(|row| format!("{}.{} as in {}", row.section, row.key, row.example)).collect();
    known.sort();
    described.sort();
    assert_eq!(known, described);
}

/// Writing the manual's defaults into the file changes nothing.
#[test]
fn the_manual_has_the_true_defaults() {
    let without = format!(
        "{SOURCE}[source.tls]\n{LOG}[log.tls]\n[log.debezium]\n{TARGET}[target.tls]\n{TABLE}[capture]\n[apply]\n[backfill]\n[backfill.throttle]\n[http]\n"
    );
    let mut with = without.clone();
    let mut written = 0;
    for ManualRow { section, key, default, .. } in manual_rows() {
        if section.starts_with("table") || key == "tls" || ["**required**", "none"].contains(&default.as_str()) {
            continue;
        }
        let header = format!("[{section}]\n");
        assert_eq!(with.matches(&header).count(), 1, "{header}");
        with = with.replace(&header, &format!("{header}{key} = {default}\n"));
        written += 1;
    }
    assert!(written > 20, "{written}");
    assert_eq!(format!("{:?}", config(&with)), format!("{:?}", config(&without)), "{with}");
}

#[test]
fn the_example_of_the_manual_is_valid() {
    let (_, rest) = MANUAL.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let stores = Stores { source: false, log: false, target: false };
    assert_eq!(problems_in(example, stores, Path::new("")), "ok");
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    assert_eq!(problems_in(example, stores, Path::new("")), "ok");
    for text in [MANUAL, readme] {
        let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let policies: Vec<&str> = blocks.filter(|block| block.contains("on_unholdable")).collect();
        assert!(!policies.is_empty());
        for block in policies {
            assert_eq!(problems_in(&format!("{SOURCE}{LOG}{TARGET}{block}"), stores, Path::new("")), "ok");
        }
    }
}
