//! The SQLite target against real files: the kit's tests, and what only SQLite can do wrong.
//!
//! Every test has a file of its own. What the target holds is read by SQL over a connection of the test's own, with the type
//! in which SQLite stores each value, never by our own code.
#![allow(clippy::unwrap_used, reason = "whatever fails fails the test")]

mod bench;
mod checks;
mod collisions;
mod evolve;
mod failures;
mod keys;
mod kit;
mod partial;
mod policies;
mod values;
