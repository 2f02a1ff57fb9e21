//! librdkafka's calls block. They run on the thread of the task that makes them, after tokio was told to move its other
//! tasks elsewhere: so the runtime must be a multi-threaded one.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs a call that blocks for as long as a broker may take.
pub(crate) fn block<T>(call: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(call),
        // Outside of a runtime (a writer dropped at the end of the process) and in a single-threaded one there is nobody to
        // make room for.
        _ => call(),
    }
}
