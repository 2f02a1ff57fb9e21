//! End-to-end tests: the real binary between real servers, judged by what the databases themselves say.
//!
//! One test binary, one module a topic. Each test has a `harness::Scene`: databases, topics, ports and a configuration of
//! its own on servers that all tests share, so tests run side by side. Run them with `cargo x test -p e2e`, which builds the
//! binary with its fault points first; one alone with `cargo x test -p e2e NAME`.
#![cfg(test)]

mod alerts;
mod backfill;
mod bad_input;
mod begin;
mod check;
mod consumers;
mod ddl;
mod debezium_topics;
mod dist;
mod embedded;
mod every_type;
mod faults;
mod fencing;
mod flow;
mod harness;
mod history;
mod huge_transaction;
mod in_file;
mod kills;
mod partial_rows;
mod positions;
mod random_events;
mod restarts;
mod rewind;
mod secrets;
mod signals;
mod status;
mod tail_and_reset;
mod tls;
mod transactions;
