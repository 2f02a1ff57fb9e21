//! The conformance tests: what every source, log and target must do, whatever system it is.
//!
//! A connector's tests implement a harness over a real server (or the fakes), and one macro runs all tests of the trait,
//! so that none can be forgotten:
//!
//! ```text
//! tailrace_kit::sink_tests!(harness);   // async fn harness(test: &str) -> impl tailrace_kit::SinkHarness
//! ```
//!
//! The harness begins each test with nothing there, and reads and changes its system without the connector under test.
//! The kit knows only the traits; values of all types, and faults of one system, are tested in the connector.
#![allow(clippy::unwrap_used, reason = "a kit of tests: whatever fails fails the test")]

mod barrier;
mod chunk;
mod ledger;
mod log;
mod reader;
mod sample;
mod sink;
mod source;

pub use barrier::*;
pub use chunk::*;
pub use ledger::*;
pub use log::*;
pub use reader::*;
pub use sample::{Change, Row, sample_schema};
pub use sink::*;
pub use source::*;

/// One test for each function of the kit that is named; the macros of the traits call it.
#[doc(hidden)]
#[macro_export]
macro_rules! each_test {
    ($harness:path; $($name:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $name() {
                $crate::$name(&$harness(stringify!($name)).await).await;
            }
        )*
    };
}
