//! The source against real servers. The oracle is what the server itself prints.

#![expect(clippy::unwrap_used, reason = "a test that can't set up its server has failed")]
#![expect(clippy::disallowed_methods, reason = "a test's tasks end with the test")]

mod charsets;
mod ddl;
mod edge_values;
mod faults;
mod flow;
mod harness;
mod json;
mod keys;
mod mariadb;
#[expect(clippy::duplicate_mod, reason = "the same tests on another version")]
#[path = "mariadb/mod.rs"]
mod mariadb11;
mod minimal;
mod other_decoders;
mod partial;
mod positions;
mod preflight;
mod protection;
mod proxy;
mod reader;
mod refusals;
mod transactions;
mod witness;
