//! `cargo x fuzz`: the parsers under coverage guidance, each for some time.
//!
//! Nightly Rust and cargo-fuzz are needed; the latter is installed into the laboratory's folder. What was found useful is kept there
//! from run to run; an input that breaks a parser stays in `tests/fuzz/artifacts`, and the command that repeats it is printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use lab::{home::Home, say};

use crate::build::root;
use crate::steps::Steps;

const SECONDS: u32 = 60;

struct Options {
    targets: Vec<String>,
    seconds: u32,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    lab::install::build_tools()?;
    let folder = root().join("tests/fuzz");
    let known = targets(&folder)?;
    let Options { targets, seconds } = options(arguments, &known)?;
    let tools = tools()?;
    let corpus = Home::find()?.root().join("fuzz");
    let mut steps = Steps::default();
    for target in targets {
        steps.run(&format!("fuzz {target}"), || {
            let kept = corpus.join(&target);
            fs::create_dir_all(&kept).with_context(|| format!("making {}", kept.display()))?;
            let mut command = fuzz(&tools, &folder);
            // The parsers have no unsafe code; and the sanitizer's C libraries do not link with librdkafka's own check of them.
            command.arg("run").args(["--fuzz-dir", ".", "--sanitizer", "none"]).arg(&target).arg(&kept);
            command.args([
                "--",
                &format!("-max_total_time={seconds}"),
                "-max_len=65536",
                "-print_final_stats=1",
                "-rss_limit_mb=4096",
            ]);
            let status = command.status().context("running cargo fuzz")?;
            if !status.success() {
                bail!("{target} was broken: the input lies in tests/fuzz/artifacts/{target}");
            }
            Ok(format!("{seconds} s, {} inputs kept", fs::read_dir(&kept).map(Iterator::count).unwrap_or(0)))
        });
    }
    Ok(steps.summary())
}

fn options(arguments: &[String], known: &[String]) -> Result<Options> {
    let mut options = Options { targets: Vec::new(), seconds: SECONDS };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let seconds = words.next().and_then(|seconds| seconds.parse().ok());
                options.seconds = seconds.context("--seconds takes a whole number")?;
            }
            name if known.iter().any(|target| target == name) => options.targets.push(name.to_owned()),
            other => bail!("there is no target {other:?}; there are {}", known.join(", ")),
        }
    }
    if options.targets.is_empty() {
        options.targets = known.to_vec();
    }
    Ok(options)
}

/// The targets are the files of their folder.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let files = fs::read_dir(folder.join("fuzz_targets")).context("reading tests/fuzz/fuzz_targets")?;
    let stems = files.filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()));
    let mut targets: Vec<String> = stems.collect();
    targets.sort();
    Ok(targets)
}

/// The folder of cargo-fuzz, which is installed there if it is missing.
fn tools() -> Result<PathBuf> {
    let nightly = Command::new("cargo").args(["+nightly", "--version"]).output();
    if !nightly.is_ok_and(|output| output.status.success()) {
        bail!("fuzzing needs nightly Rust: rustup toolchain install nightly");
    }
    let folder = Home::find()?.root().join("tools");
    if !folder.join("bin/cargo-fuzz").exists() {
        say("installing cargo-fuzz");
        let status = Command::new("cargo").args(["install", "cargo-fuzz", "--locked", "--root"]).arg(&folder).status();
        if !status.context("running cargo install")?.success() {
            bail!("cargo-fuzz could not be installed");
        }
    }
    Ok(folder.join("bin"))
}

fn fuzz(tools: &Path, folder: &Path) -> Command {
    let mut command = Command::new(tools.join("cargo-fuzz"));
    command.arg("fuzz").current_dir(folder);
    // This program was itself started by a cargo, of another toolchain.
    command.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO").env_remove("RUSTC");
    command.env("CARGO_TARGET_DIR", root().join("target/fuzz"));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_does_not_exist_is_named() {
        let known = ["json".to_owned(), "rows".to_owned()];
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let chosen = options(&words(&["rows", "--seconds", "5"]), &known).unwrap();
        assert_eq!((chosen.targets, chosen.seconds), (vec!["rows".to_owned()], 5));
        assert_eq!(options(&[], &known).unwrap().targets, known);
        let error = options(&words(&["row"]), &known).err().unwrap().to_string();
        assert!(error.contains("\"row\"") && error.contains("json, rows"), "{error}");
    }
}
