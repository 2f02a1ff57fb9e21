//! Which module may import which, read from the paths in the code (comments and strings left out).
//!
//! The six verbs of the engine do not know one another; nothing knows `control` and `cli`; only `registry` names
//! connectors; what verify reads (`proof`) shares no reading, decoding or encoding with what it judges.

use super::manifest::Manifest;
use super::tree::{File, Tree, Violation};

const VERBS: [&str; 6] = ["capture", "apply", "backfill", "verify", "compare", "cutover"];
/// May import everything; imported by the binary alone.
const OUTERMOST: [&str; 2] = ["control", "cli"];
/// The only module that names connectors.
const REGISTRY: &str = "src/registry.rs";
/// What a connector's `proof` must not share, nor be shared by: first letters of the names of modules that read, decode, encode or
/// write rows, and of what these rest on.
const SHARED_WITH_PROOF: [&str; 12] = [
    "reader",
    "encode",
    "decode",
    "row_decoder",
    "snapshot",
    "protocol",
    "binlog",
    "catalog",
    "target_type",
    "plan",
    "bulk",
    "writer",
];
/// Rows in the forms that those share, and the crate that decodes the binlog's values: `proof` must not name them.
const FORMS_OF_OTHERS: [&str; 4] = ["RowImage", "ImageWriter", "RecordBatch", "mysql_common"];

/// A path in the code that begins with `crate` or `super`, up to its first module below the crate's root.
struct Import {
    line: usize,
    module: String,
}

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let connectors = connector_crates(tree);
    let mut found = Vec::new();
    for file in tree.rust_files() {
        let code = without_comments_and_strings(&file.text);
        if let Some(path) = file.path.strip_prefix("src/") {
            found.extend(check_engine(file, path, &code));
            found.extend(check_names(file, &code, &connectors));
        } else if let Some((_, path)) = connector_file(&file.path) {
            found.extend(check_proof(file, path, &code));
        }
    }
    found
}

fn check_engine(file: &File, path: &str, code: &str) -> Vec<Violation> {
    let home = module_path(path);
    let mine = home.first().copied().unwrap_or("");
    let mut found = Vec::new();
    for Import { line, module } in imports(code, &home) {
        let module = module.as_str();
        if VERBS.contains(&mine) && VERBS.contains(&module) && mine != module {
            found.push(
                file.violation(line, format!("{mine} must not import {module}: verbs meet in state, run wires them")),
            );
        }
        if OUTERMOST.contains(&module) && !OUTERMOST.contains(&mine) && path != "main.rs" {
            found.push(file.violation(line, format!("nothing imports {module}: it translates for the outside")));
        }
    }
    found
}

fn check_names(file: &File, code: &str, connectors: &[String]) -> Vec<Violation> {
    if file.path == REGISTRY {
        return Vec::new();
    }
    let words = identifiers(code).filter(|(_, word)| connectors.iter().any(|name| name == word));
    words.map(|(line, word)| file.violation(line, format!("only {REGISTRY} names connectors, not {word}"))).collect()
}

fn check_proof(file: &File, path: &str, code: &str) -> Vec<Violation> {
    let home = module_path(path);
    let judges = |module: &str| SHARED_WITH_PROOF.iter().any(|word| module.starts_with(word));
    let mine = home.first().copied().unwrap_or("");
    let mut found = Vec::new();
    for Import { line, module } in imports(code, &home) {
        if mine == "proof" && judges(&module) {
            found.push(file.violation(line, format!("proof must not import {module}: it would share its errors")));
        }
        if judges(mine) && module == "proof" {
            found.push(file.violation(line, format!("{mine} must not import proof, which judges it")));
        }
    }
    if mine == "proof" {
        let words = identifiers(code).filter(|(_, word)| FORMS_OF_OTHERS.contains(word));
        found.extend(words.map(|(line, word)| {
            file.violation(line, format!("proof must not name {word}: it reads answers of the database alone"))
        }));
    }
    found
}

/// Crates below connectors/ that speak to an outside system, as they are spelled in code. `memory` is for tests.
fn connector_crates(tree: &Tree) -> Vec<String> {
    let manifests = tree.files.iter().filter(|file| {
        let folder = file.path.strip_prefix("connectors/").and_then(|path| path.strip_suffix("/Cargo.toml"));
        folder.is_some_and(|folder| !["row", "contract", "kit", "memory"].contains(&folder))
    });
    manifests.map(|file| Manifest::read(file).package.replace('-', "_")).collect()
}

fn connector_file(path: &str) -> Option<(&str, &str)> {
    let (connector, rest) = path.strip_prefix("connectors/")?.split_once('/')?;
    Some((connector, rest.strip_prefix("src/")?))
}

/// `capture/reader.rs` is the module [capture, reader]; `capture/mod.rs` is [capture]; `lib.rs` is the root.
fn module_path(path: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if matches!(parts.last(), Some(&"mod" | &"lib" | &"main")) {
        parts.pop();
    }
    parts
}

/// Modules just below the root that the code names, through `crate::…`, `super::…` or the crate's own name in a group.
fn imports(code: &str, home: &[&str]) -> Vec<Import> {
    let words: Vec<(usize, &str)> = tokens(code).collect();
    let mut found = Vec::new();
    let mut index = 0;
    while index < words.len() {
        let mut depth = match words[index].1 {
            "crate" => 0,
            "super" => home.len().saturating_sub(1),
            _ => {
                index += 1;
                continue;
            }
        };
        index += 1;
        while follows(&words, index, "super") {
            depth = depth.saturating_sub(1);
            index += 2;
        }
        if depth == 0 && words.get(index).is_some_and(|(_, word)| *word == "::") {
            first_segments(&words, index + 1, &mut found);
        }
    }
    found
}

fn follows(words: &[(usize, &str)], index: usize, word: &str) -> bool {
    matches!((words.get(index), words.get(index + 1)), (Some((_, "::")), Some((_, next))) if *next == word)
}

/// `a::b` names a; `{a::b, c}` names a and c.
fn first_segments(words: &[(usize, &str)], start: usize, found: &mut Vec<Import>) {
    let Some((line, first)) = words.get(start) else { return };
    if *first != "{" {
        found.push(Import { line: *line, module: (*first).to_owned() });
        return;
    }
    let mut depth = 0usize;
    for pair in words[start..].windows(2) {
        let [(_, word), (line, next)] = pair else { continue };
        match *word {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
        let begins = depth == 1 && (*word == "{" || *word == ",");
        if begins && *next != "}" {
            found.push(Import { line: *line, module: (*next).to_owned() });
        }
    }
}

fn identifiers(code: &str) -> impl Iterator<Item = (usize, &str)> {
    tokens(code).filter(|(_, word)| word.starts_with(|first: char| first.is_alphabetic() || first == '_'))
}

/// Words, `::` and single signs, with their lines.
fn tokens(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(index, line)| {
        let mut rest = line;
        std::iter::from_fn(move || {
            rest = rest.trim_start();
            let first = rest.chars().next()?;
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                other => other.len_utf8(),
            };
            let (token, after) = rest.split_at(length);
            rest = after;
            Some((index + 1, token))
        })
    })
}

/// The same lines, with comments, strings and characters blanked out.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#") => raw_string(rest),
            '"' => string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// Length of a string literal with its quotes.
fn string(rest: &str) -> usize {
    let mut is_escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return index + 1,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    rest.len()
}

/// Length of `r"…"` or `r#"…"#`; 0 for a raw identifier.
fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let begin = 2 + hashes;
    rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
}

/// Length of a character literal; 0 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            rest[from..].find('\'').map_or(0, |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One file in an otherwise innocent tree.
    fn check_one(path: &str, text: &str, expected: Option<&str>) {
        let manifest = ("connectors/kafka/Cargo.toml", "[package]\nname = \"tailrace-kafka\"\n");
        let found = check(&Tree::of(&[manifest, (path, text)]));
        match expected {
            None => assert_eq!(found, [], "{path}: {text}"),
            Some(words) => {
                assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
                assert!(found[0].what.contains(words), "{}", found[0]);
            }
        }
    }

    #[test]
    fn verbs_do_not_import_one_another() {
        check_one("src/capture/mod.rs", "use crate::state::Checkpoint;\nuse crate::capture::window;", None);
        check_one("src/capture/mod.rs", "use crate::apply::Worker;", Some("must not import apply"));
        check_one("src/capture.rs", "use crate::{state::A, apply::Worker};", Some("must not import apply"));
        check_one("src/verify/probe.rs", "fn f() { crate::backfill::run() }", Some("must not import backfill"));
        check_one("src/verify/probe.rs", "use super::super::backfill;", Some("must not import backfill"));
        check_one("src/verify/probe.rs", "use super::backfill;", None);
        check_one("src/apply/mod.rs", "use super::{compare, state};", Some("must not import compare"));
        check_one("src/apply/mod.rs", "use crate::{state::{apply, compare}, runtime};", None);
        check_one("src/apply/mod.rs", "// crate::capture\nconst A: &str = \"crate::capture\";", None);
        check_one(
            "src/apply/mod.rs",
            "const Q: char = '\"';\nuse crate::capture;\nconst R: char = '\"';",
            Some("capture"),
        );
        check_one("src/apply/mod.rs", "fn f<'a>(x: &'a str) {}\nuse crate::capture::A;", Some("capture"));
        check_one("src/run.rs", "use crate::{apply, capture};", None);
    }

    #[test]
    fn nothing_imports_control_or_cli() {
        check_one("src/apply/mod.rs", "use crate::control::page;", Some("nothing imports control"));
        check_one("src/config/mod.rs", "use crate::cli::Arguments;", Some("nothing imports cli"));
        check_one("src/cli.rs", "use crate::control::serve;", None);
        check_one("src/control/mod.rs", "use crate::{apply, cli};", None);
        check_one("src/main.rs", "use crate::cli;", None);
    }

    #[test]
    fn only_the_registry_names_connectors() {
        check_one("src/registry.rs", "use tailrace_kafka::Log;", None);
        check_one("src/run.rs", "use tailrace_kafka::Log;", Some("not tailrace_kafka"));
        check_one("src/apply/mod.rs", "fn f() { ::tailrace_kafka::f() }", Some("not tailrace_kafka"));
        check_one("src/apply/mod.rs", "// tailrace_kafka\nlet tailrace_kafka_url = r#\"tailrace_kafka\"#;", None);
        check_one("connectors/kafka/src/lib.rs", "use tailrace_kafka::Log;", None);
    }

    #[test]
    fn proof_shares_nothing_with_what_it_judges() {
        check_one("connectors/kafka/src/proof.rs", "use crate::errors::Error;", None);
        check_one("connectors/kafka/src/proof.rs", "use crate::reader::Rows;", Some("proof must not import reader"));
        check_one("connectors/kafka/src/proof/mod.rs", "use crate::{errors, encode};", Some("import encode"));
        check_one(
            "connectors/kafka/src/proof/rows.rs",
            "use super::super::row_decoder::Plan;",
            Some("import row_decoder"),
        );
        check_one("connectors/kafka/src/proof/session.rs", "use crate::protocol::quote;", Some("import protocol"));
        check_one("connectors/kafka/src/proof/mod.rs", "use crate::{errors, target_type::Fit};", Some("target_type"));
        check_one("connectors/kafka/src/proof/mod.rs", "use tailrace_row::{Key, RowImage};", Some("name RowImage"));
        check_one("connectors/contract/src/proof/key.rs", "fn f(b: &RecordBatch) {}", Some("name RecordBatch"));
        check_one("connectors/kafka/src/proof/mod.rs", "use mysql_common::Value;", Some("name mysql_common"));
        check_one(
            "connectors/kafka/src/row_decoder/mod.rs",
            "use crate::proof::Question;",
            Some("must not import proof"),
        );
        check_one("connectors/kafka/src/reader.rs", "use tailrace_row::RowImage;", None);
        check_one("connectors/kafka/src/sink.rs", "use crate::{encode, proof};", None);
    }
}
