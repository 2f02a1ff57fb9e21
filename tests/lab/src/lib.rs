//! The laboratory: real servers, live writers and an oracle that shares no code with Tailrace. Used by the end-to-end tests,
//! the demo and the benchmarks; `cargo x` only installs, starts and stops servers with it.
//!
//! Without features it knows no database driver and builds in seconds. It never touches a server that it did not start:
//! every instance has its own folder below [`home::Home`], its own ports and its own process.

pub mod charsets;
pub mod compose;
pub mod connect;
pub mod dice;
pub mod home;
pub mod http;
pub mod install;
pub mod kafka;
pub mod mariadb;
pub mod mysql;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod server;
pub mod tls;
pub mod wait;

#[cfg(feature = "drivers")]
pub mod demo;
#[cfg(feature = "drivers")]
pub mod oracle;
#[cfg(feature = "drivers")]
pub mod prometheus;
#[cfg(feature = "drivers")]
pub mod proxy;
#[cfg(feature = "drivers")]
pub mod writer;

mod kafka_wire;
mod process_table;
mod state;
mod template;

pub use connect::Connect;
pub use kafka::Kafka;
pub use kafka_wire::{KafkaRight, KafkaTransaction};
pub use mariadb::{Mariadb, Mariadb11};
pub use mysql::{Flavor, Mysql};
pub use postgres::Postgres;
pub use server::Server;

/// Password of the administrator (`root` in MySQL, `postgres` in PostgreSQL) of every laboratory server.
pub const ADMIN_PASSWORD: &str = "lab-root-secret";
/// Password of the user `tailrace`; tests search logs for it, so it is like no other word.
pub const TAILRACE_PASSWORD: &str = "lab-tailrace-secret";

/// One line for the person in front of the terminal; standard output belongs to results.
pub fn say(line: &str) {
    use std::io::Write;
    // Nobody reads any more: nothing is lost by going on.
    let _ = writeln!(std::io::stderr(), "{line}");
}
