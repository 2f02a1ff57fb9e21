//! `cargo x chaos`: the random tests of the end-to-end tests (transactions, statements that change tables, copies), round by round, each
//! with a seed of its own.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::build;
use crate::steps::Steps;

/// The modules of the tests.
const TESTS: [&str; 3] = ["random_events::", "ddl::random::", "backfill::random::"];

#[derive(Debug, PartialEq, Eq)]
struct Options {
    rounds: u64,
    seed: u64,
    transactions: Option<u64>,
    copies: Option<u64>,
    names: Vec<String>,
}

pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let options = options(arguments)?;
    let mut steps = Steps::default();
    for round in 0..options.rounds {
        let seed = options.seed + round;
        let mut is_well = true;
        steps.run(&format!("seed {seed}"), || {
            is_well = false;
            let mut command = build::testing()?;
            command.args(["-p", "e2e", "--lib", "--", "--nocapture"]);
            command.args(options.tests());
            command.env("E2E_SEED", seed.to_string());
            command.envs(options.transactions.map(|count| ("E2E_TRANSACTIONS", count.to_string())));
            command.envs(options.copies.map(|count| ("E2E_COPIES", count.to_string())));
            if !command.status().context("running cargo test")?.success() {
                bail!("seed {seed} fails: cargo x chaos --rounds 1 --seed {seed}{} repeats its dice", options.rest());
            }
            is_well = true;
            Ok(String::new())
        });
        if !is_well {
            break;
        }
    }
    Ok(steps.summary())
}

impl Options {
    /// The beginnings of the names of the tests.
    fn tests(&self) -> Vec<String> {
        if self.names.is_empty() {
            return TESTS.map(str::to_owned).to_vec();
        }
        self.names.iter().flat_map(|name| TESTS.map(|module| format!("{module}{name}"))).collect()
    }

    /// What else was asked for, as it is typed.
    fn rest(&self) -> String {
        let number = |name, value: Option<u64>| value.map(|value| format!(" {name} {value}")).unwrap_or_default();
        let names: String = self.names.iter().map(|name| format!(" {name}")).collect();
        number("--transactions", self.transactions) + &number("--copies", self.copies) + &names
    }
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options { rounds: 5, seed: 1, transactions: None, copies: None, names: Vec::new() };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let value = words.next().and_then(|value| value.parse().ok());
            value.with_context(|| format!("{word} takes a whole number"))
        };
        match word.as_str() {
            "--rounds" => options.rounds = number()?,
            "--seed" => options.seed = number()?,
            "--transactions" => options.transactions = Some(number()?),
            "--copies" => options.copies = Some(number()?),
            unknown if unknown.starts_with('-') => bail!("there is no option {unknown}"),
            name => options.names.push(name.to_owned()),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_others_named() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let read = options(&words(&["--rounds", "3", "ten_thousand", "--transactions", "50000"])).unwrap();
        let names = words(&["ten_thousand"]);
        let expected = Options { rounds: 3, seed: 1, transactions: Some(50_000), copies: None, names };
        assert_eq!(read, expected);
        assert_eq!(read.rest(), " --transactions 50000 ten_thousand");
        assert!(read.tests().contains(&"random_events::ten_thousand".to_owned()));
        assert!(options(&words(&["--round", "3"])).unwrap_err().to_string().contains("--round"));
        assert!(options(&words(&["--seed"])).unwrap_err().to_string().contains("--seed"));
    }
}
