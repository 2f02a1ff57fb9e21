//! docs/check.md held against the source: the same codes, none more and none less.
//!
//! A code is a text literal of the checks: behind `code:` or `variable:`, handed to one of their constructors, or one that
//! begins with the name of what it is about.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const MANUAL: &str = include_str!("../../docs/check.md");

/// The files of a connector that may name a problem.
const ROOMS: [&str; 3] = ["check.rs", "sink.rs", "topics.rs"];
/// What stands before a code.
const MARKERS: [&str; 4] = ["code:", "variable:", "from_error(", "problem("];
/// What codes begin with.
const FAMILIES: [&str; 6] = ["check_", "kafka_", "source_", "table_", "target_", "topic_"];

fn source_files(below: &Path, is_room: fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| match path.is_dir() {
        true => source_files(&path, is_room),
        false => vec![path],
    });
    files.filter(|path| is_room(path) && path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn is_room_of_connector(path: &Path) -> bool {
    let is_beside = path.file_name().is_some_and(|name| ROOMS.iter().any(|room| name == *room));
    is_beside || path.parent().is_some_and(|folder| folder.ends_with("src/check"))
}

fn codes_in(text: &str) -> BTreeSet<String> {
    let code = text.split("mod tests {").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    // Every other piece is inside quotes. A quote that is escaped or a character only costs a piece that is no name.
    let pieces: Vec<&str> = code.split('"').collect();
    for pair in pieces.windows(2) {
        let (before, literal) = (pair[0].trim_end(), pair[1]);
        let is_name = literal.contains('_') && literal.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_code = MARKERS.iter().any(|marker| before.ends_with(marker))
            || FAMILIES.iter().any(|family| literal.starts_with(family));
        if (is_name && is_code) || (before.ends_with("code:") && !literal.contains(char::is_whitespace)) {
            found.insert(literal.to_owned());
        }
    }
    found
}

#[test]
fn the_manual_has_every_code_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for connector in ["mysql", "kafka", "postgres", "sqlite"] {
        files.extend(source_files(&root.join("connectors").join(connector).join("src"), is_room_of_connector));
    }
    files.extend(source_files(&root.join("src/preflight"), |path| !path.ends_with("manual.rs")));
    files.push(root.join("src/preflight.rs"));
    assert!(files.len() >= 10, "{files:?}");
    let known: BTreeSet<String> = files.iter().flat_map(|file| codes_in(&fs::read_to_string(file).unwrap())).collect();
    let rows = MANUAL.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let described: Vec<String> = rows.map(|(code, _)| code.to_owned()).collect();
    assert_eq!(known, described.iter().cloned().collect(), "docs/check.md on the right");
    assert_eq!(known.len(), described.len(), "a code stands twice in docs/check.md");
}
