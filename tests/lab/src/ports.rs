//! Ports of the laboratory: fixed ones for the servers named `main`, free ones from a range of our own for the rest.
//!
//! The range lies below the one from which the kernel serves outgoing connections, so a restarted server finds its port
//! free again.

use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;

use anyhow::{Context, Result};

/// MySQL of `cargo x up`.
pub const MYSQL_MAIN: u16 = 13306;
/// MariaDB of `cargo x up`.
pub const MARIADB_MAIN: u16 = 13307;
/// MariaDB 11, for whoever starts it under the name `main`.
pub const MARIADB11_MAIN: u16 = 13308;
/// Kafka of `cargo x up`; its controller listens on the next one.
pub const KAFKA_MAIN: u16 = 19092;
/// PostgreSQL of `cargo x up`.
pub const POSTGRES_MAIN: u16 = 15432;

const RANGE: Range<u16> = 21_000..29_000;

/// Whether nobody listens on a port of this machine.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// `count` ports in a row that are free and not in `taken`.
pub fn find_free(count: u16, taken: &[u16]) -> Result<Vec<u16>> {
    // Different processes begin at different places, so that they seldom meet.
    let begin = RANGE.start + u16::try_from(std::process::id() % 700).unwrap_or(0) * 10;
    let candidates = (begin..RANGE.end - count).chain(RANGE.start..begin);
    let found = candidates
        .map(|first| (first..first + count).collect::<Vec<u16>>())
        .find(|ports| ports.iter().all(|port| !taken.contains(port) && is_free(*port)));
    found.with_context(|| format!("no {count} free ports in a row between {} and {}", RANGE.start, RANGE.end))
}
