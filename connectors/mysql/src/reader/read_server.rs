//! Rows that are read from a replica, so that reading them costs the captured server nothing.
//!
//! Why a chunk may be read there (`chunks` has the argument for one server):
//!
//! 1. What was captured up to the position is waited for on the replica: what counts as executed there can be seen there.
//! 2. All that the replica shows came from the captured server's binlog. It replicates from that very server, leaves nothing out
//!    and goes on over no error; and when the chunk's rows were taken, each transaction that it has executed, or is committing, is one
//!    that the captured server has executed, or is committing. So the end of the *captured* server's binlog, asked for after that,
//!    covers the view. The replica's own binlog says nothing: its files and offsets are others (E09).
//! 3. Who answers is asked in the session of each read. Where an address leads elsewhere, after a failover, or beside a transaction
//!    of the replica's own, the chunk comes to nothing, and is read again when that is over.
//!
//! A server in between could leave something out that the replica does not tell of, so it must follow the captured server itself. What
//! was written on the replica past every binlog can't be seen here: to find that is what verification is for. MariaDB does not tell
//! when what a replica has executed can be seen: it is refused.

use tailrace_contract::{Endpoint, Error, Result, SourcePlace};

use super::chunks::end_of_binlog;
use crate::{
    gtid::GtidSet,
    history,
    server::{Facts, Server},
};

/// The captured server, asked beside the one that is read.
pub(crate) struct Captured {
    endpoint: Endpoint,
    /// None before it was asked, and after an error.
    server: Option<Server>,
}

impl Captured {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, server: None }
    }

    /// Whether another server than the captured one is read: then it is one that shows the captured one's rows and no others, and
    /// may be behind.
    pub(crate) async fn is_read_elsewhere(&mut self, read: &mut Server) -> Result<bool> {
        let captured = self.server().await?.facts.clone();
        if captured.identity == read.facts.identity {
            return Ok(false);
        }
        check_kind(&captured, "the captured server")?;
        check_kind(&read.facts, "the server of read_url")?;
        check_channel(read, &captured.name).await?;
        check_errors(read).await?;
        Ok(true)
    }

    /// What it has executed now.
    pub(crate) async fn executed(&mut self) -> Result<GtidSet> {
        let asked = history::gtid_variable(self.server().await?, "gtid_executed").await;
        self.settle(asked)
    }

    /// Whether the replica has nothing but what the captured server has.
    pub(crate) async fn check_shown(&mut self, read: &mut Server) -> Result<()> {
        // What can be seen is being committed, or executed: asked for in this order no transaction is missed.
        let shown = [history::owned_gtids(read).await?, history::gtid_variable(read, "gtid_executed").await?];
        let asked = foreign_to(self.server().await?, &shown).await;
        let foreign = self.settle(asked)?;
        if foreign.is_empty() {
            return Ok(());
        }
        let what = format!(
            "the replica that is read has transactions that the captured server never had: {}",
            history::shown(&foreign)
        );
        Err(Error::transient(what).hint("make the replica anew, or leave source.read_url out: its rows may be others"))
    }

    /// Where its binlog ends.
    pub(crate) async fn end(&mut self) -> Result<SourcePlace> {
        let Server { connection, facts } = self.server().await?;
        let end = end_of_binlog(connection, &facts.name).await;
        self.settle(end)
    }

    async fn server(&mut self) -> Result<&mut Server> {
        if self.server.is_none() {
            self.server = Some(Server::connect(&self.endpoint).await?);
        }
        Ok(self.server.as_mut().expect("invariant: it was just made"))
    }

    fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.server = None;
        }
        result
    }
}

/// What of the sets the server never had.
async fn foreign_to(captured: &mut Server, sets: &[GtidSet]) -> Result<GtidSet> {
    for set in sets {
        let foreign = history::never_had(captured, set).await?;
        if !foreign.is_empty() {
            return Ok(foreign);
        }
    }
    Ok(GtidSet::EMPTY)
}

fn check_kind(facts: &Facts, who: &str) -> Result<()> {
    if facts.is_mariadb() {
        return Err(Error::refused(format!(
            "{who} is MariaDB, which does not tell when what a replica has executed can be seen"
        ))
        .hint("leave source.read_url out"));
    }
    if facts.gives_gtids() {
        return Ok(());
    }
    Err(Error::refused(format!("gtid_mode of {who} is {}: nothing could be waited for", facts.gtid_mode))
        .hint("set gtid_mode = ON on both servers, or leave source.read_url out"))
}

/// Columns of SHOW REPLICA STATUS, as all versions with GTIDs have them.
mod column {
    pub(super) const APPLIER_RUNS: usize = 11;
    /// Six filters by database and table.
    pub(super) const FILTERS: std::ops::RangeInclusive<usize> = 12..=17;
    pub(super) const IGNORED_SERVERS: usize = 38;
    pub(super) const SOURCE_UUID: usize = 40;
    pub(super) const REWRITTEN: usize = 54;
}

/// The replica follows the server of that UUID, no other one, and leaves nothing out.
async fn check_channel(read: &mut Server, captured: &str) -> Result<()> {
    let is_renamed = read.facts.version.is_mysql_since(8, 4);
    let sql = if is_renamed { "SHOW REPLICA STATUS" } else { "SHOW SLAVE STATUS" };
    let channels = read.connection.query(sql).await?;
    let [channel] = &channels[..] else {
        return Err(Error::transient(format!(
            "the server of read_url follows {} servers, and must follow the captured one alone",
            channels.len()
        )));
    };
    // Whatever else a version may show there.
    if !["Yes", "No"].contains(&channel.text(column::APPLIER_RUNS)) {
        return Err(Error::refused("the server of read_url does not tell whom it follows in a form that is known"));
    }
    let followed = channel.text(column::SOURCE_UUID);
    if followed != captured {
        return Err(Error::transient(format!(
            "the server of read_url follows {followed}, and the captured server is {captured}"
        ))
        .hint("after a failover let it follow the server that is captured now"));
    }
    let mut filters = column::FILTERS.chain([column::IGNORED_SERVERS, column::REWRITTEN]);
    if filters.any(|column| !channel.text(column).is_empty()) {
        return Err(Error::refused("the server of read_url replicates with filters: rows may be missing there")
            .hint("name a replica without filters, or leave source.read_url out"));
    }
    Ok(())
}

/// A replica that goes on over an error has other rows behind it, and counts the transaction as executed.
async fn check_errors(read: &mut Server) -> Result<()> {
    let sql = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
               ('replica_skip_errors', 'slave_skip_errors', 'replica_exec_mode', 'slave_exec_mode')";
    for row in read.connection.query(sql).await? {
        if !["OFF", "STRICT"].contains(&row.text(1)) {
            return Err(Error::refused(format!(
                "{} of the server of read_url is {}: it may have other rows than its source",
                row.text(0),
                row.text(1)
            ))
            .hint("name a replica that stops at errors, or leave source.read_url out"));
        }
    }
    Ok(())
}
