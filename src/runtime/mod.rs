//! What every long-running part needs: named tasks with a way to stop, and retry with backoff.

pub mod health;
pub mod retry;
pub mod shutdown;
pub mod tasks;

pub use health::{Health, PartState};
pub use retry::Backoff;
pub use shutdown::Shutdown;
