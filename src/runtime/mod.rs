//! What every long-running part needs: named tasks with a way to stop, retry with backoff, a place to tell how it is doing.

pub mod facts;
pub mod health;
pub mod retry;
pub mod shutdown;
pub mod tasks;

pub use facts::Facts;
pub use health::{Health, PartState};
pub use retry::Backoff;
pub use shutdown::Shutdown;
