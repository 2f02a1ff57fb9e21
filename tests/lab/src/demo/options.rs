//! What may be asked of the demo on the command line.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

/// Choices, with defaults that suit two cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Change one row of the target, which must be found.
    pub plant: bool,
    /// How long the writer writes at least.
    pub seconds: u64,
    /// Transactions a second that it aims at.
    pub rate: u32,
    /// SIGKILLs of each of the two processes at least.
    pub kills: u32,
    /// Of all dice.
    pub seed: u64,
}

impl Options {
    /// Reads the words behind the command.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Options> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |age| age.as_secs());
        let mut options = Options { plant: false, seconds: 45, rate: 1500, kills: 6, seed: now % 1_000_000 };
        let mut words = words;
        while let Some(word) = words.next() {
            if word == "--plant" {
                options.plant = true;
                continue;
            }
            let value = words.next().with_context(|| format!("{word} needs a number"))?;
            let number: u64 = value.parse().with_context(|| format!("{word} needs a number, not {value:?}"))?;
            match word.as_str() {
                "--seconds" => options.seconds = number,
                "--rate" => options.rate = u32::try_from(number).context("--rate is too large")?,
                "--kills" => options.kills = u32::try_from(number).context("--kills is too large")?,
                "--seed" => options.seed = number,
                other => bail!("no option {other:?}"),
            }
        }
        ensure!(options.rate > 0 && options.kills > 0, "--rate and --kills begin with 1");
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Options> {
        Options::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_or_refused() {
        let read = parse("--plant --rate 2000 --seed 7").expect("good options");
        assert_eq!((read.plant, read.rate, read.seed, read.kills), (true, 2000, 7, 6));
        assert!(!parse("").expect("none").plant);
        for bad in ["--rate", "--rate x", "--kills 0", "--fast 1", "plant"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
