//! Named tasks: a span with the name lies around everything that the task logs.

use tokio::task::{JoinError, JoinHandle, JoinSet};
use tracing::Instrument as _;

/// Starts a task. Its owner awaits the handle, or aborts it: no task is left alone.
#[expect(clippy::disallowed_methods, reason = "the one place where tasks start")]
pub fn spawn<T: Send + 'static>(name: &'static str, future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future.instrument(tracing::info_span!("task", task = name)))
}

/// Tasks of one kind that are waited for together. Dropping it aborts those that still run.
pub struct Group<T> {
    tasks: JoinSet<T>,
}

impl<T: Send + 'static> Group<T> {
    /// No task yet.
    #[must_use]
    pub fn new() -> Self {
        Self { tasks: JoinSet::new() }
    }

    /// Starts a task.
    pub fn spawn(&mut self, name: &'static str, future: impl Future<Output = T> + Send + 'static) {
        self.tasks.spawn(future.instrument(tracing::info_span!("task", task = name)));
    }

    /// Ends the tasks wherever they wait. They still are waited for with [`Group::next`].
    pub fn abort(&mut self) {
        self.tasks.abort_all();
    }

    /// Whether no task is left to wait for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next task that ends; none if all have. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<T, JoinError>> {
        self.tasks.join_next().await
    }
}

impl<T: Send + 'static> Default for Group<T> {
    fn default() -> Self {
        Self::new()
    }
}
