//! The tests that every log passes.

use tailrace_contract::Log;
use tailrace_kafka::KafkaLog;
use tailrace_kit::LogHarness;

struct Harness(KafkaLog);

impl LogHarness for Harness {
    fn log(&self) -> &dyn Log {
        &self.0
    }
}

/// Each test has a log of its own name.
async fn harness(_test: &str) -> Harness {
    Harness(crate::support::log(&crate::support::broker()))
}

tailrace_kit::log_tests!(harness);
