//! Steps that are announced, timed and summed up at the end. A failed one does not keep the others from running.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use lab::say;

#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, Result<String>)>,
}

impl Steps {
    /// Runs a step; what it returns is a remark for the summary.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<String>) {
        say(&format!("== {name}"));
        let begin = Instant::now();
        let outcome = step();
        if let Err(error) = &outcome {
            say(&format!("{error:#}"));
        }
        self.done.push((name.to_owned(), begin.elapsed(), outcome));
    }

    /// The table of all steps; failure if one failed.
    pub(crate) fn summary(&self) -> ExitCode {
        let width = self.done.iter().map(|(name, _, _)| name.chars().count()).max().unwrap_or(0);
        say("");
        for (name, time, outcome) in &self.done {
            let (verdict, remark) = match outcome {
                Ok(remark) => ("ok", remark.as_str()),
                Err(_) => ("FAILED", ""),
            };
            say(format!("{verdict:<6} {name:<width$} {:>7.1} s  {remark}", time.as_secs_f64()).trim_end());
        }
        let failed = self.done.iter().filter(|(_, _, outcome)| outcome.is_err()).count();
        say(&match failed {
            0 => format!("\nall {} steps passed", self.done.len()),
            some => format!("\n{some} of {} steps FAILED", self.done.len()),
        });
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_step_fails_the_whole() {
        let mut steps = Steps::default();
        steps.run("good", || Ok(String::new()));
        assert_eq!(steps.summary(), ExitCode::SUCCESS);
        steps.run("bad", || anyhow::bail!("planted"));
        steps.run("good again", || Ok(String::new()));
        assert_eq!(steps.done.len(), 3, "steps after a failed one run too");
        assert_eq!(steps.summary(), ExitCode::FAILURE);
    }
}
