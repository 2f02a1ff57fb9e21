//! The log on a real broker: what is committed is read once and in order, whatever happens to brokers and writers.

#![expect(clippy::unwrap_used, reason = "a test that can't set up its broker has failed")]
#![expect(clippy::disallowed_methods, reason = "a test's tasks end with the test")]

mod broker;
mod conformance;
mod reading;
mod support;
mod topics;
mod writing;
