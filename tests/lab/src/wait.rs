//! Waiting for a condition with a deadline: the only place of the laboratory's blocking part that sleeps.

use std::time::{Duration, Instant};

/// Asks `done` in short steps until it says yes; `false` when the deadline passed first.
pub fn until(limit: Duration, done: impl FnMut() -> bool) -> bool {
    until_in_steps(limit, Duration::from_millis(20), done)
}

/// The same with steps of another length.
pub fn until_in_steps(limit: Duration, step: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        pause(step);
    }
}

#[expect(clippy::disallowed_methods, reason = "blocking code outside every executor, between two looks at a condition")]
fn pause(step: Duration) {
    std::thread::sleep(step);
}
