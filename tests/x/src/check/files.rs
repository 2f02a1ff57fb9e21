//! How long a file may be, what it may be called and how it begins.

use super::tree::{File, Tree, Violation};

/// Without the lines of test modules.
const LINES_MAX: usize = 800;
/// If it has no home, it has no name yet.
const HOMELESS: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "type", "types", "misc"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.rust_files().flat_map(|file| [length(file), name(file), header(file)]).flatten().collect()
}

fn length(file: &File) -> Option<Violation> {
    let lines = lines_without_tests(&file.text);
    let what = format!("{lines} lines without tests, {LINES_MAX} are allowed: split it by noun");
    (lines > LINES_MAX).then(|| file.violation(0, what))
}

fn name(file: &File) -> Option<Violation> {
    let parts = file.path.trim_end_matches(".rs").split('/');
    let homeless = parts.into_iter().find(|part| HOMELESS.contains(part))?;
    Some(file.violation(0, format!("{homeless:?} names nothing: call it by what is in it")))
}

fn header(file: &File) -> Option<Violation> {
    // A shebang or an attribute could stand before it in theory; in this repository nothing does.
    (!file.text.starts_with("//!"))
        .then(|| file.violation(1, "a file begins with //!: what it is for and what it leaves out"))
}

/// A test module is `#[cfg(test)]`, then `mod name {`, up to the closing brace in the same column.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let mut count = 0;
    let mut index = 0;
    while index < lines.len() {
        let is_module = lines[index].trim() == "#[cfg(test)]"
            && lines.get(index + 1).is_some_and(|next| next.trim_start().starts_with("mod ") && next.ends_with('{'));
        if is_module {
            let end = format!("{}}}", &lines[index][..lines[index].len() - lines[index].trim_start().len()]);
            index += lines[index..].iter().position(|line| **line == end).unwrap_or(lines.len() - index);
        } else {
            count += 1;
        }
        index += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(path: &str, text: &str, expected: Option<&str>) {
        let found = check(&Tree::of(&[(path, text)]));
        match expected {
            None => assert_eq!(found, [], "{path}"),
            Some(words) => {
                assert_eq!(found.len(), 1, "{path}: {found:?}");
                assert!(found[0].what.contains(words), "{}", found[0]);
            }
        }
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(800));
        check_one("src/good.rs", "//! Good.\n", None);
        check_one("src/long.rs", &long, Some("801 lines"));
        check_one("src/just.rs", long.strip_suffix("fn f() {}\n").unwrap_or_default(), None);
        check_one("src/bare.rs", "fn f() {}\n", Some("begins with //!"));
        check_one("src/utils.rs", "//! Utils.\n", Some("\"utils\""));
        check_one("connectors/mysql/src/common/mod.rs", "//! Common.\n", Some("\"common\""));
        check_one("notes/utils.md", "no code", None);
    }

    #[test]
    fn tests_are_not_counted_but_what_follows_is() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn f() {}\n".repeat(900));
        check_one("src/tested.rs", &format!("//! Tested.\n{tests}"), None);
        check_one("src/after.rs", &format!("//! After.\n{tests}{}", "fn f() {}\n".repeat(800)), Some("801 lines"));
    }
}
