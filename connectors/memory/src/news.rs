//! Tells waiting tasks that something was committed.
//!
//! Not `tokio::sync::watch`: that one wakes its receivers in random order, and a simulated run must be repeatable.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A counter that can be waited for.
#[derive(Debug, Default)]
pub(crate) struct News {
    count: AtomicU64,
    notify: Notify,
}

impl News {
    pub(crate) fn announce(&self) {
        self.count.fetch_add(1, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// How much was announced so far: to be asked before the state is looked at.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until more was announced than `seen`.
    pub(crate) async fn beyond(&self, seen: u64) {
        loop {
            let mut notified = std::pin::pin!(self.notify.notified());
            notified.as_mut().enable();
            if self.count() > seen {
                return;
            }
            notified.await;
        }
    }
}
