//! The log on a real broker: what is committed is read once and in order, whatever happens to brokers and writers.

mod conformance;
mod reading;
mod support;
mod topics;
mod writing;
