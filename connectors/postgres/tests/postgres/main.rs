//! The PostgreSQL target against a real server: the kit's tests, and what only PostgreSQL can do wrong.
//!
//! Every test has a database of its own, made anew. What the target holds is read by SQL text, never by our own code.
#![allow(clippy::unwrap_used, reason = "whatever fails fails the test")]

mod bench;
mod checks;
mod collisions;
mod evolve;
mod failures;
mod keys;
mod kit;
mod partial;
#[cfg(feature = "faults")]
mod points;
mod policies;
mod refusals;
mod tls;
mod values;
