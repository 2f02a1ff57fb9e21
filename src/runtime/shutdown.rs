//! Asking to stop, once, for all parts of the process. A part that hears it finishes its batch, saves and ends.

use tokio_util::sync::CancellationToken;

/// A request to stop that all clones share.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A request of its own that also hears this one: for parts that end when a sibling fails.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// Asks to stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until somebody asks. Cancel-safe.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Waits for `duration`, or less if somebody asks; tells whether somebody did.
    pub async fn wait(&self, duration: std::time::Duration) -> bool {
        tokio::time::timeout(duration, self.requested()).await.is_ok()
    }
}
