//! The client's half of MySQL's protocol: packets, login, TLS, text queries, rows of tables, and the request for the binlog.
//!
//! One [`Connection`] serves queries and replication alike, so that both use the same address, account and protection. It
//! never reconnects: an error ends it, and whoever holds it opens another.
//!
//! It deliberately has no parameters of statements, no compression and no multi-statements.

mod auth;
mod connection;
pub(crate) mod cursor;
mod greeting;
#[cfg(feature = "hostile")]
mod hostile;
mod packets;
mod prepared;
mod public_key;
mod query;
mod tls;
mod transport;

pub(crate) use connection::Connection;
pub(crate) use cursor::{Cursor, Malformed};
pub(crate) use greeting::ServerVersion;
#[cfg(feature = "hostile")]
pub(crate) use hostile::read_any_packet;
#[cfg(feature = "hostile")]
pub(crate) use packets::PacketReader;
pub(crate) use prepared::{AnswerColumn, Prepared, row_of};
pub(crate) use query::{Row, quote_name, quote_table, quote_text};
pub(crate) use tls::check as check_tls;
