//! What may be asked of the demo on the command line.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

/// Choices, with defaults that suit two cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// In one process into a file, without Kafka and PostgreSQL.
    pub embedded: bool,
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
        let mut options =
            Options { embedded: false, plant: false, seconds: 45, rate: 1500, kills: 6, seed: now % 1_000_000 };
        let mut words = words;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--plant" => options.plant = true,
                "--embedded" => options.embedded = true,
                _ => options.take(&word, words.next())?,
            }
        }
        ensure!(options.rate > 0 && options.kills > 0, "--rate and --kills begin with 1");
        Ok(options)
    }

    /// An option with a number.
    fn take(&mut self, word: &str, value: Option<String>) -> Result<()> {
        let value = value.with_context(|| format!("{word} needs a number"))?;
        let number: u64 = value.parse().with_context(|| format!("{word} needs a number, not {value:?}"))?;
        match word {
            "--seconds" => self.seconds = number,
            "--rate" => self.rate = u32::try_from(number).context("--rate is too large")?,
            "--kills" => self.kills = u32::try_from(number).context("--kills is too large")?,
            "--seed" => self.seed = number,
            other => bail!("no option {other:?}"),
        }
        Ok(())
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
