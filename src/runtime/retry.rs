//! Waiting between tries: exponential, with jitter, for ever.
//!
//! The only file that knows the `backoff` crate. By default that crate gives up after 15 minutes; ours never does, because
//! a server may be away for longer and nobody should have to restart Tailrace then.

use std::{
    cell::Cell,
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

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
            .with_randomization_factor(0.0)
            .with_max_interval(WAIT_MAX)
            .with_max_elapsed_time(None)
            .build();
        Self { waits, tries: 0 }
    }

    /// How long to wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        self.tries = self.tries.saturating_add(1);
        self.waits.next_backoff().unwrap_or(WAIT_MAX).mul_f64(jitter())
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

thread_local! {
    static JITTER: Cell<u64> = Cell::new(RandomState::new().hash_one(0));
}

/// From now on the waits that this thread draws follow from the seed: a simulation must be repeatable.
pub fn seed_jitter(seed: u64) {
    JITTER.set(seed);
}

/// A factor from 0.5 to 1.5, so that processes that failed together don't come back together.
fn jitter() -> f64 {
    let state = JITTER.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    JITTER.set(state);
    0.5 + f64::from(u32::try_from(state >> 32).expect("invariant: 32 bits are left")) / f64::from(u32::MAX)
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

    #[test]
    fn seeded_waits_repeat_and_others_differ() {
        let waits = |seed| {
            seed_jitter(seed);
            let mut backoff = Backoff::new();
            [(); 5].map(|()| backoff.next_wait())
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }
}
