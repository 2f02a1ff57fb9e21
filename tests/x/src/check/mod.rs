//! `cargo x check`: everything about the code that can be decided without running it. Each rule of our own is a pure
//! function from the tree of files to violations, tested on small made-up trees that break it.

mod dependencies;
mod files;
mod imports;
mod manifest;
mod tools;
mod tree;
mod words;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::build::root;
use crate::steps::Steps;
use tree::{Tree, Violation};

type Rule = fn(&Tree) -> Vec<Violation>;

const RULES: [(&str, Rule); 4] = [
    ("crates: who may depend on whom", dependencies::check),
    ("modules: who may import whom", imports::check),
    ("files: length, name, header", files::check),
    ("words that must not be here", words::check),
];

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let is_fast = match arguments {
        [] => false,
        [word] if word == "--fast" => true,
        [word, ..] => bail!("no option {word:?}"),
    };
    let root = root();
    let tree = Tree::read(&root)?;
    let mut steps = Steps::default();
    for (name, rule) in RULES {
        steps.run(name, || verdict(&tree, &rule(&tree)));
    }
    steps.run("format", || tools::format(&root));
    steps.run("docker-compose.yml", || tools::compose(&root));
    if !is_fast {
        lab::install::build_tools()?;
        steps.run("clippy", || tools::clippy(&root));
        steps.run("the engine without Kafka", || tools::without_kafka(&root));
        steps.run("documentation", || tools::documentation(&root));
        steps.run("licences, bans, sources", || tools::deny(&root));
        steps.run("advisories", || tools::advisories(&root));
    }
    Ok(steps.summary())
}

fn verdict(tree: &Tree, violations: &[Violation]) -> Result<String> {
    if violations.is_empty() {
        return Ok(format!("{} files", tree.files.len()));
    }
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    bail!("{}", lines.join("\n"));
}
