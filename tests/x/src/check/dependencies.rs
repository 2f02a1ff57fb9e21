//! Which crate may depend on which: tests → src → connectors/<system> → contract → row. Read from the manifests.
//!
//! A connector never depends on another connector or on the engine; the engine knows no vendor's driver; the laboratory
//! shares no code with what it judges.

use super::manifest::Manifest;
use super::tree::{File, Tree, Violation};

/// Drivers of outside systems: for connectors and tests only.
const DRIVERS: [&str; 8] =
    ["rdkafka", "sqlx", "tokio-postgres", "postgres", "mysql_async", "mysql_common", "mysql", "rusqlite"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Row,
    Contract,
    /// The conformance tests: linked by tests only.
    Kit,
    Connector,
    Engine,
    /// tests/lab: the servers and the oracle.
    Lab,
    /// tests/x: this program.
    Commands,
    /// Every other crate below tests/.
    Tests,
}

struct Member<'a> {
    file: &'a File,
    layer: Layer,
    manifest: Manifest,
}

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let members: Vec<Member<'_>> = tree
        .files
        .iter()
        .filter_map(|file| Some(Member { file, layer: layer(&file.path)?, manifest: Manifest::read(file) }))
        .filter(|member| !member.manifest.package.is_empty())
        .collect();
    members.iter().flat_map(|member| check_member(member, &members)).collect()
}

fn layer(path: &str) -> Option<Layer> {
    let folders: Vec<&str> = path.strip_suffix("Cargo.toml")?.split_terminator('/').collect();
    match folders.as_slice() {
        [] => Some(Layer::Engine),
        ["connectors", "row"] => Some(Layer::Row),
        ["connectors", "contract"] => Some(Layer::Contract),
        ["connectors", "kit"] => Some(Layer::Kit),
        ["connectors", _] => Some(Layer::Connector),
        ["tests", "lab"] => Some(Layer::Lab),
        ["tests", "x"] => Some(Layer::Commands),
        ["tests", _] => Some(Layer::Tests),
        _ => None,
    }
}

fn check_member(member: &Member<'_>, members: &[Member<'_>]) -> Vec<Violation> {
    let mut found = Vec::new();
    for dependency in &member.manifest.dependencies {
        let inside = members.iter().find(|other| other.manifest.package == dependency.name);
        let problem = match inside {
            Some(other) => forbidden_inside(member.layer, other.layer, dependency.is_dev),
            None => forbidden_outside(member.layer, &dependency.name, dependency.is_dev),
        };
        let names_drivers = member.layer == Layer::Commands && dependency.details.contains("features");
        let problem = problem.or(names_drivers.then_some("x takes no features: it must build without drivers"));
        if let Some(why) = problem {
            let what = format!("{} must not depend on {}: {why}", member.manifest.package, dependency.name);
            found.push(member.file.violation(dependency.line, what));
        }
    }
    found
}

/// Why a crate of ours may not depend on another of ours.
fn forbidden_inside(from: Layer, to: Layer, is_dev: bool) -> Option<&'static str> {
    let is_below = matches!(to, Layer::Row | Layer::Contract);
    let is_for_tests = is_dev && matches!(to, Layer::Kit | Layer::Lab);
    let (allowed, why) = match from {
        Layer::Row => (false, "row stands alone"),
        Layer::Contract => (to == Layer::Row, "contract knows only row"),
        Layer::Kit => (is_below, "the kit knows only what every connector knows"),
        Layer::Connector if to == Layer::Connector => (false, "a connector never depends on another"),
        Layer::Connector => (is_below || is_for_tests, "a connector knows only contract and row"),
        Layer::Engine if to == Layer::Kit && !is_dev => (false, "the kit is not linked into the product"),
        Layer::Engine => {
            (is_below || is_for_tests || to == Layer::Connector, "src depends on connectors, contract and row")
        }
        Layer::Lab => (false, "the laboratory shares no code with what it judges"),
        Layer::Commands => (to == Layer::Lab, "x only launches: it knows the laboratory"),
        Layer::Tests => (true, ""),
    };
    (!allowed).then_some(why)
}

/// Why a crate of ours may not depend on an outside one.
fn forbidden_outside(from: Layer, name: &str, is_dev: bool) -> Option<&'static str> {
    let is_driver = DRIVERS.contains(&name);
    let is_runtime = name == "tokio" || name.starts_with("tokio-");
    match from {
        Layer::Row | Layer::Contract if is_driver || (is_runtime && !is_dev) => {
            Some("row and contract know no runtime and no driver")
        }
        Layer::Engine if is_driver => Some("the engine knows no vendor"),
        Layer::Commands if is_driver || is_runtime => Some("x builds in seconds, without drivers"),
        Layer::Row | Layer::Contract | Layer::Engine | Layer::Commands => None,
        Layer::Kit | Layer::Connector | Layer::Lab | Layer::Tests => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 8] = [
        (
            "Cargo.toml",
            "[package]\nname = \"tailrace\"\n[dependencies]\ntailrace-mysql.workspace = true\ntailrace-row.workspace = true\n",
        ),
        ("connectors/row/Cargo.toml", "[package]\nname = \"tailrace-row\"\n"),
        (
            "connectors/contract/Cargo.toml",
            "[package]\nname = \"tailrace-contract\"\n[dependencies]\ntailrace-row.workspace = true\n",
        ),
        (
            "connectors/kit/Cargo.toml",
            "[package]\nname = \"tailrace-kit\"\n[dependencies]\ntailrace-contract.workspace = true\n",
        ),
        (
            "connectors/mysql/Cargo.toml",
            "[package]\nname = \"tailrace-mysql\"\n[dependencies]\ntailrace-row.workspace = true\nmysql_async = \"1\"\n[dev-dependencies]\ntailrace-kit.workspace = true\n",
        ),
        ("connectors/kafka/Cargo.toml", "[package]\nname = \"tailrace-kafka\"\n[dependencies]\nrdkafka = \"1\"\n"),
        (
            "tests/lab/Cargo.toml",
            "[package]\nname = \"lab\"\n[dependencies]\nsqlx = { version = \"1\", optional = true }\n",
        ),
        ("tests/x/Cargo.toml", "[package]\nname = \"x\"\n[dependencies]\nlab.workspace = true\n"),
    ];

    /// The good tree with one more dependency in one manifest breaks exactly one rule.
    fn check_planted(path: &str, section: &str, line: &str, expected: &str) {
        let planted: Vec<(&str, String)> = GOOD
            .iter()
            .map(|(file, text)| {
                (*file, if *file == path { format!("{text}[{section}]\n{line}\n") } else { (*text).to_owned() })
            })
            .collect();
        let borrowed: Vec<(&str, &str)> = planted.iter().map(|(file, text)| (*file, text.as_str())).collect();
        let found = check(&Tree::of(&borrowed));
        assert_eq!(found.len(), 1, "{path} + {line}: {found:?}");
        assert!(found[0].what.contains(expected), "{}", found[0]);
        assert!(found[0].line > 0);
    }

    #[test]
    fn the_allowed_ways_are_allowed() {
        assert_eq!(check(&Tree::of(&GOOD)), []);
    }

    #[test]
    fn each_forbidden_way_is_found() {
        let normal = "dependencies";
        check_planted("connectors/row/Cargo.toml", normal, "tailrace-contract = \"1\"", "row stands alone");
        check_planted("connectors/contract/Cargo.toml", normal, "tailrace-mysql = \"1\"", "contract knows only row");
        check_planted("connectors/contract/Cargo.toml", normal, "tokio = \"1\"", "no runtime");
        check_planted("connectors/row/Cargo.toml", normal, "sqlx.workspace = true", "no driver");
        check_planted(
            "connectors/kafka/Cargo.toml",
            normal,
            "tailrace-mysql.workspace = true",
            "never depends on another",
        );
        check_planted(
            "connectors/kafka/Cargo.toml",
            "dev-dependencies",
            "tailrace-mysql.workspace = true",
            "never depends",
        );
        check_planted(
            "connectors/kafka/Cargo.toml",
            normal,
            "tailrace = { path = \"../..\" }",
            "only contract and row",
        );
        check_planted("connectors/kafka/Cargo.toml", normal, "tailrace-kit.workspace = true", "only contract and row");
        check_planted("connectors/kit/Cargo.toml", normal, "tailrace-mysql.workspace = true", "the kit knows only");
        check_planted("Cargo.toml", normal, "tailrace-kit.workspace = true", "not linked into the product");
        check_planted("Cargo.toml", normal, "other = { package = \"rdkafka\", version = \"1\" }", "knows no vendor");
        check_planted("Cargo.toml", normal, "lab.workspace = true", "src depends on");
        check_planted("tests/lab/Cargo.toml", normal, "tailrace-row.workspace = true", "shares no code");
        check_planted("tests/x/Cargo.toml", normal, "tokio = \"1\"", "in seconds");
        check_planted("tests/x/Cargo.toml", normal, "tailrace.workspace = true", "only launches");
    }

    #[test]
    fn this_program_takes_no_drivers_through_the_laboratory() {
        let x = "[package]\nname = \"x\"\n[dependencies]\nlab = { workspace = true, features = [\"drivers\"] }\n";
        let found = check(&Tree::of(&[GOOD[6], ("tests/x/Cargo.toml", x)]));
        assert!(found.len() == 1 && found[0].what.contains("without drivers"), "{found:?}");
    }
}
