//! Waiting between tries: exponential, with jitter, for ever.
//!
//! The only file that knows the `backoff` crate. By default that crate gives up after 15 minutes; ours never does, because
//! a server may be away for longer and nobody should have to restart Tailrace then.

use std::time::Duration;

use backoff::backoff::Backoff as _;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(15);

/// The waits of one thing that is tried again.
pub struct Backoff {
    waits: backoff::ExponentialBackoff,
    tries: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

impl Backoff {
    /// Begins with 100 ms, doubles up to 15 s, each ± 50 %.
    #[must_use]
    pub fn new() -> Self {
        let waits = backoff::ExponentialBackoffBuilder::new()
            .with_initial_interval(FIRST_WAIT)
            .with_multiplier(2.0)
            .with_randomization_factor(0.5)
            .with_max_interval(WAIT_MAX)
            .with_max_elapsed_time(None)
            .build();
        Self { waits, tries: 0 }
    }

    /// How long to wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        self.tries = self.tries.saturating_add(1);
        self.waits.next_backoff().unwrap_or(WAIT_MAX)
    }

    /// Number of waits since the last success.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// It worked: the next failure begins anew.
    pub fn reset(&mut self) {
        self.tries = 0;
        self.waits.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_never_end() {
        let mut backoff = Backoff::new();
        assert!(backoff.next_wait() <= FIRST_WAIT * 3 / 2);
        let late = (0..1_000).map(|_| backoff.next_wait()).last().unwrap();
        assert!(late >= WAIT_MAX / 2 && late <= WAIT_MAX * 3 / 2, "{late:?}");
        assert_eq!(backoff.tries(), 1_001);
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST_WAIT * 3 / 2);
    }
}
