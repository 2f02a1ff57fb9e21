//! SQLite as a target.
//!
//! The one thing to know: rows and the progress that they mean are written in one transaction that holds the file's write
//! lock from its beginning, and the progress moves only from what its owner last read (`progress`), so that a replay changes
//! nothing and a process that lost its partition writes nothing. SQLite converts values by the type that their column was
//! declared with: columns that could change a value are refused, and our own tables are STRICT (`target_type`).
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
mod identifier;
mod ledger;
mod meeting;
mod parameters;
mod plan;
mod progress;
mod proof;
mod reader;
mod session;
mod sink;
mod stream;
mod target_type;
mod writer;

pub use sink::SqliteSink;
