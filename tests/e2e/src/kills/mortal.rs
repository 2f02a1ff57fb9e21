//! A process with many lives. A life that is to end at a named point is armed when it begins, so it may end before its round
//! comes; then it goes on in an unarmed life until that round, lest whoever waits for its work starves.

use std::collections::VecDeque;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::process::{Launch, Tailrace};
use lab::wait;
use lab::writer::Dice;

use super::Death;

/// What is waited for must come within this time.
const LIMIT: Duration = Duration::from_secs(60);
/// A point is reached this often at most before the process kills itself.
const COUNT_MAX: u64 = 12;

pub(super) struct Mortal {
    pub(super) running: Tailrace,
    launch: Launch,
    /// The next one first.
    deaths: VecDeque<Death>,
    life: Life,
    commits: &'static str,
}

/// How the life in progress may end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Set when a life begins whose death is at a point.
    Armed,
    /// Set when an armed life was seen to have ended.
    Ended,
    /// Set when any other life begins: it must not end by itself.
    Unarmed,
    /// Set when a life begins between the death at a point and its round; must not end by itself either.
    Extra,
}

impl Mortal {
    /// Begins the first life. `commits` is the metric that tells of work done.
    pub(super) fn start(
        launch: Launch,
        deaths: VecDeque<Death>,
        commits: &'static str,
        dice: &mut Dice,
    ) -> Result<Mortal> {
        let (running, life) = begin_life(&launch, deaths.front().copied(), dice)?;
        Ok(Mortal { running, launch, deaths, life, commits })
    }

    /// Waits for work to be done in this life (but for one in four), then for a random moment. `feeder` is kept alive.
    pub(super) fn wait_random(&mut self, dice: &mut Dice, feeder: Option<&mut Mortal>) -> Result<()> {
        let name = self.commits;
        if !dice.once_in(4) {
            let has_worked = |me: &mut Mortal| {
                ensure!(me.running.is_running(), "ended by itself: {}", me.running.log_text());
                Ok(me.running.metrics().is_ok_and(|metrics| metrics.sum(name) > Some(0.0)))
            };
            self.wait_fed(name, feeder, has_worked)?;
        }
        wait::until(Duration::from_millis(dice.below(500)), || !self.running.is_running());
        Ok(())
    }

    /// Waits until it has killed itself at its point. `feeder` is kept alive.
    pub(super) fn wait_point(&mut self, point: &str, feeder: Option<&mut Mortal>) -> Result<()> {
        let what = format!("{point} is reached (in a build with feature `faults`)");
        self.wait_fed(&what, feeder, |me| {
            me.look_for_death()?;
            Ok(matches!(me.life, Life::Ended | Life::Extra))
        })
    }

    fn wait_fed(
        &mut self,
        what: &str,
        mut feeder: Option<&mut Mortal>,
        mut is_done: impl FnMut(&mut Mortal) -> Result<bool>,
    ) -> Result<()> {
        let mut last = Ok(false);
        wait::until(LIMIT, || {
            last = feeder.as_deref_mut().map_or(Ok(()), Mortal::keep_alive).and_then(|()| is_done(self));
            !matches!(last, Ok(false))
        });
        let is_met = last.with_context(|| format!("waiting until {what}"))?;
        ensure!(is_met, "waited {LIMIT:?} in vain until {what}: {}", self.running.log_text());
        Ok(())
    }

    /// Notes that it has ended, which only its point may be the reason of.
    fn look_for_death(&mut self) -> Result<()> {
        if self.life == Life::Ended || self.running.is_running() {
            return Ok(());
        }
        let status = self.running.wait_exit(LIMIT)?;
        let is_at_point = self.life == Life::Armed && status.signal() == Some(9);
        ensure!(is_at_point, "ended by itself with {status}: {}", self.running.log_text());
        self.life = Life::Ended;
        Ok(())
    }

    /// Gives it an extra life if it has died at its point.
    fn keep_alive(&mut self) -> Result<()> {
        self.look_for_death()?;
        if self.life == Life::Ended {
            self.running = self.launch.spawn()?;
            self.life = Life::Extra;
        }
        Ok(())
    }

    /// SIGKILL; an error if it has ended by itself.
    pub(super) fn kill(&mut self) -> Result<()> {
        if !self.running.is_running() {
            bail!("ended by itself: {}", self.running.log_text());
        }
        self.running.kill()
    }

    /// The life after the death that was due.
    pub(super) fn rise(&mut self, dice: &mut Dice) -> Result<()> {
        self.deaths.pop_front();
        if self.running.is_running() {
            self.running.kill()?;
        }
        (self.running, self.life) = begin_life(&self.launch, self.deaths.front().copied(), dice)?;
        Ok(())
    }
}

fn begin_life(launch: &Launch, death: Option<Death>, dice: &mut Dice) -> Result<(Tailrace, Life)> {
    match death {
        Some(Death::AtPoint(point)) => {
            let fault = format!("{point}:{}", 1 + dice.below(COUNT_MAX));
            Ok((launch.clone().variable("TAILRACE_FAULT", &fault).spawn()?, Life::Armed))
        }
        Some(Death::AtRandom) | None => Ok((launch.spawn()?, Life::Unarmed)),
    }
}
