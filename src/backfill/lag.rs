//! How long something has been behind something else: by what looks saw, and by no clock but ours.
//!
//! A lag is the age of the first end that a look saw and that is not reached by now. It is 0 where nothing is behind, goes on growing whatever
//! stands still, and is exact to the interval between looks. At the first look nobody knows how old the end is: until it is reached
//! the lag is not known.

use std::{collections::VecDeque, time::Duration};

use tailrace_contract::Result;
use tokio::time::Instant;

/// Ends that are remembered. Beyond it two become one, and later ones are as far apart: the older moment, and the end that is further.
const ENDS_MAX: usize = 64;

/// Two looks are about so far apart.
const APART_MIN: Duration = Duration::from_secs(2);

/// Ends that looks saw and that were not reached, oldest first.
#[derive(Debug)]
pub(super) struct Unreached<T> {
    ends: VecDeque<(Instant, T)>,
    /// How far apart their moments are at least.
    apart: Duration,
    /// The end of the first look was reached.
    is_met: bool,
}

/// How far something is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lag {
    /// For so long.
    For(Duration),
    /// Nobody knows: where the first look saw the end it has not been yet.
    Unknown,
}

impl<T> Default for Unreached<T> {
    fn default() -> Self {
        Self { ends: VecDeque::new(), apart: Duration::ZERO, is_met: false }
    }
}

impl<T: PartialEq> Unreached<T> {
    /// Notes the end of this look.
    pub(super) fn look(&mut self, now: Instant, end: T, is_reached: impl Fn(&T) -> Result<bool>) -> Result<Lag> {
        match self.ends.back_mut() {
            Some((_, last)) if *last == end => {}
            Some((since, last)) if now - *since < self.apart => *last = end,
            Some(_) | None => self.ends.push_back((now, end)),
        }
        while let Some((_, end)) = self.ends.front() {
            if !is_reached(end)? {
                break;
            }
            self.is_met = true;
            self.ends.pop_front();
        }
        match self.ends.len() {
            0 => self.apart = Duration::ZERO,
            1..=ENDS_MAX => {}
            _ => self.thin_out(),
        }
        Ok(match self.ends.front() {
            None => Lag::For(Duration::ZERO),
            Some((since, _)) if self.is_met => Lag::For(now - *since),
            Some(_) => Lag::Unknown,
        })
    }

    /// What is forgotten makes lags longer, never shorter.
    fn thin_out(&mut self) {
        self.apart = (self.apart * 2).max(APART_MIN);
        let mut all = std::mem::take(&mut self.ends).into_iter();
        while let Some((since, end)) = all.next() {
            let end = all.next().map_or(end, |(_, further)| further);
            self.ends.push_back((since, end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Lag {
        Lag::For(Duration::from_secs(seconds))
    }

    #[test]
    fn a_lag_is_the_age_of_the_first_end_that_is_not_reached() {
        let begin = Instant::now();
        let mut unreached = Unreached::default();
        let mut check = |second: u64, end: u32, reached: u32, expect: Lag| {
            let lag = unreached.look(begin + Duration::from_secs(second), end, |end| Ok(*end <= reached)).unwrap();
            assert_eq!(lag, expect, "at {second}");
        };
        check(0, 10, 7, Lag::Unknown);
        check(5, 20, 9, Lag::Unknown);
        check(6, 20, 10, seconds(1));
        check(7, 20, 10, seconds(2));
        check(8, 20, 20, seconds(0));
        check(100, 21, 20, seconds(0));
        check(103, 30, 20, seconds(3));
        check(104, 30, 21, seconds(1));
        check(105, 30, 30, seconds(0));
    }

    #[test]
    fn what_is_forgotten_makes_lags_longer() {
        let begin = Instant::now();
        let mut unreached = Unreached::default();
        let mut look = |second: u32, reached: u32| {
            let now = begin + Duration::from_secs(u64::from(second));
            let lag = unreached.look(now, second, |end| Ok(*end <= reached)).unwrap();
            assert!(unreached.ends.len() <= ENDS_MAX);
            lag
        };
        assert_eq!(look(0, 0), seconds(0));
        for second in 1..=5_000 {
            assert_eq!(look(second, 0), seconds(u64::from(second) - 1));
        }
        let (Lag::For(lag), truth) = (look(5_001, 2_000), Duration::from_secs(3_000)) else { panic!("it was met") };
        assert!(lag >= truth && lag < truth + Duration::from_secs(300), "{lag:?}");
    }
}
