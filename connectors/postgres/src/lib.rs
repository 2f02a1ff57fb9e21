//! PostgreSQL as a target.
//!
//! The one thing to know: rows and the progress that they mean are written in one transaction, and the progress moves only
//! from what its owner last read (`progress`), so that a replay changes nothing and a process that lost its partition writes
//! nothing. What PostgreSQL would round, cut or pad is refused instead, by table, column and record.
//!
//! Rows are read again by `reader`, backwards through the same types, and for verification by `proof`, which shares nothing with
//! it or with what writes them. It knows neither the log nor the source.

mod bulk;
mod catalog;
mod check;
mod config;
mod ddl;
mod encode;
mod errors;
mod evolve;
mod grants;
mod identifier;
mod ledger;
mod meeting;
mod plan;
mod progress;
mod proof;
mod reader;
mod session;
mod sink;
mod stream;
mod target_type;
mod writer;

pub use sink::PostgresSink;
