//! MySQL or MariaDB as a source: our own replication connection, binlog reader, row decoder, and the checks before all of it.
//!
//! [`MysqlSource`] answers questions about the server, opens change streams and readers of tables. A stream is three layers:
//! `protocol` (bytes to packets), `binlog` (events to transactions and records), `row_decoder` (row images to fields). Only
//! the first knows a network, only the last knows values. A reader (`reader`) gives the same images from a SELECT.
//!
//! None of the three holds a driver's connection: the binlog's packets are read where they lie, and a driver would copy them.
//! `proof` is the only one that does: it reads rows by queries and shares nothing with the three, which it judges.

mod binlog;
mod check;
mod config;
mod debezium_offset;
mod engine;
mod errors;
mod events;
mod grants;
mod group;
mod gtid;
mod history;
#[cfg(feature = "hostile")]
pub mod hostile;
#[cfg(not(feature = "hostile"))]
#[path = "hostile_off.rs"]
mod hostile;
mod keys;
mod lag;
mod load;
mod position;
mod prepared;
mod proof;
mod protocol;
mod reader;
mod replica;
mod replication;
mod row_decoder;
mod schema;
mod server;
mod shapes;
mod source;
mod statement;
mod stream;
mod witness;

pub use source::{Drained, MysqlSource};
