//! Words that tell where somebody worked: paths of one machine, hosts of registry mirrors. They help no reader and break
//! the build elsewhere. Also: every crate of the lock file comes from crates.io.

use super::tree::{File, Tree, Violation};

/// First letters of paths that exist on one machine only.
const PATHS: [&str; 5] = ["/home/", "/root/", "/Users/", "/work/", "/tmp/"];
/// Parts of the addresses of company registries and mirrors.
const HOSTS: [&str; 6] = ["artifactory", "/nexus/", "jfrog", ".internal/", ".internal:", "replace-with"];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// This file spells them.
const MYSELF: &str = "tests/x/src/check/words.rs";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    tree.files.iter().filter(|file| file.path != MYSELF).flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if let Some(path) = PATHS.iter().find(|path| names_path(line, path)) {
            found.push(file.violation(number, format!("a path below {path} exists on one machine only")));
        }
        if let Some(host) = HOSTS.iter().find(|host| line.contains(**host)) {
            found.push(file.violation(number, format!("{host:?} is somebody's own registry or mirror")));
        }
        if file.path == "Cargo.lock" && line.starts_with("source = ") && !line.contains(REGISTRY) {
            found.push(file.violation(number, "a crate that does not come from crates.io".to_owned()));
        }
    }
    found
}

/// The path stands at the beginning of a word: `/tmp/x`, but not `cache/tmp/x` or `https://host/work/x`.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '/' | '*' | '~'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(path: &str, text: &str, expected: usize) {
        let found = check(&Tree::of(&[(path, text)]));
        assert_eq!(found.len(), expected, "{path}: {text}: {found:?}");
    }

    #[test]
    fn each_forbidden_word_is_found() {
        check_one("README.md", "see /home/anna/tailrace", 1);
        check_one("src/main.rs", "const PATH: &str = \"/root/x\";", 1);
        check_one("a.toml", "data=/tmp/x", 1);
        check_one(".cargo/config.toml", "[source.crates-io]\nreplace-with = \"mirror\"", 1);
        check_one("pom.xml", "<url>https://artifactory.example.com/maven</url>", 1);
        check_one("Cargo.lock", "source = \"git+https://example.com/x\"", 1);
        check_one("Cargo.lock", &format!("source = \"{REGISTRY}\""), 0);
        check_one("README.md", "https://example.com/home/page, target/tmp/x, the root of it /var/lib", 0);
    }
}
