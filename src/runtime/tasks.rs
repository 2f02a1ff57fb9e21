//! Named tasks: a span with the name lies around everything that the task logs.

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// Starts a task. Its owner awaits the handle, or aborts it: no task is left alone.
#[expect(clippy::disallowed_methods, reason = "the one place where tasks start")]
pub fn spawn<T: Send + 'static>(
    name: &'static str,
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(future.instrument(tracing::info_span!("task", name)))
}
