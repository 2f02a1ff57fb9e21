//! The tests that every log passes.

use tailrace_contract::{Log, LogSettings};
use tailrace_kafka::KafkaLog;
use tailrace_kit::LogHarness;

struct Harness {
    log: KafkaLog,
    settings: LogSettings,
}

impl LogHarness for Harness {
    fn log(&self) -> &dyn Log {
        &self.log
    }

    fn elsewhere(&self) -> Box<dyn Log> {
        Box::new(KafkaLog::new(self.settings.clone()).expect("good settings"))
    }
}

/// Each test has a log of its own name.
async fn harness(_test: &str) -> Harness {
    let settings = crate::support::settings(&crate::support::broker());
    Harness { log: KafkaLog::new(settings.clone()).expect("good settings"), settings }
}

tailrace_kit::log_tests!(harness);
