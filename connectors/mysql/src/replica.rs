//! How far a replica is: by the transactions that it has executed, and not by what it says of its own lag.
//!
//! `Seconds_Behind_Source` is 0 while nothing comes over a connection that is down, NULL where the applier stands still, and counts from
//! the direct source only. What a replica has executed is compared with what the source had instead, whoever stands in between;
//! the account needs no privilege for it.

use tailrace_contract::{Endpoint, Error, Position, Result};

use crate::{history, position::BinlogPosition, server::Server};

/// What the replica has executed.
pub(crate) async fn executed(replica: &Endpoint) -> Result<Position> {
    executed_by(&mut Server::connect(replica).await?).await
}

pub(crate) async fn executed_by(server: &mut Server) -> Result<Position> {
    if server.facts.is_mariadb() {
        let list = history::domains::replicated(server).await?;
        return Ok(BinlogPosition::Domains { list, seen_at: None }.to_position());
    }
    if !server.facts.gives_gtids() {
        return Err(Error::refused(format!("its gtid_mode is {}", server.facts.gtid_mode))
            .hint("replicas are followed by GTID: set gtid_mode = ON there and on the source"));
    }
    let set = history::gtid_variable(server, "gtid_executed").await?;
    Ok(BinlogPosition::Gtids { set, seen_at: None }.to_position())
}

/// Whether all of the second position is in the first.
pub(crate) fn covers(reached: &Position, wanted: &Position) -> Result<bool> {
    match (BinlogPosition::parse(reached)?, BinlogPosition::parse(wanted)?) {
        (BinlogPosition::Gtids { set, .. }, BinlogPosition::Gtids { set: wanted, .. }) => {
            Ok(wanted.without(&set).is_empty())
        }
        (BinlogPosition::Domains { list, .. }, BinlogPosition::Domains { list: wanted, .. }) => {
            Ok(wanted.count_since(&list) == 0)
        }
        (
            BinlogPosition::Gtids { .. } | BinlogPosition::Domains { .. } | BinlogPosition::File { .. },
            BinlogPosition::Gtids { .. } | BinlogPosition::Domains { .. } | BinlogPosition::File { .. },
        ) => Err(Error::refused("servers are compared by GTID, and one of them has none of the other's kind")
            .hint("set gtid_mode = ON on the source and on its replicas")),
    }
}
