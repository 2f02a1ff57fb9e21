//! Chunks of a table that is captured meanwhile: each in a view that shows all that the binlog had up to a position, and with a place
//! in the binlog behind all that the view shows.
//!
//! Why it is so:
//!
//! 1. On MySQL a transaction is in the binlog before its rows can be seen, and it counts as executed only when they can. So the
//!    reading session waits until all transactions of the position are executed, and only then begins a transaction: a view that was
//!    there before would not show them, whatever was waited for. Without GTIDs nothing can be waited for, and the table is locked
//!    for a moment (`lock`).
//! 2. What can be seen need not count as executed yet, but it is in the binlog. So the end of the binlog, asked for when the last row
//!    was taken, covers the view; the executed transactions would not.
//! 3. MariaDB can't be asked whether a transaction's rows can be seen: its positions all run ahead of them. But it tells to which
//!    place of the binlog a consistent snapshot belongs. What the position names was logged by this server (which is checked), so it
//!    lies before the end of the binlog that is asked for then; snapshots are opened until one belongs to that end or a later
//!    place. A file that a position bears is not looked at: it may be another server's. An idle server's snapshot reaches the end
//!    of its binlog, also behind the head of a new file. XA transactions alone may be missing in it, and are waited for (`second_phases`).
//! 4. A snapshot may be there before the table is opened. Most ALTERs in between make it unreadable (the server says that the table
//!    is another one); a column that was added at once can be read in it, by a schema that the table did not have then. So the end
//!    of the view is not the snapshot's place but the end of the binlog here too: the ALTER lies before it, and voids the window.
//! 5. The views are of REPEATABLE READ, which the session asks for itself: a row that is taken back later is in no binlog.
//!
//! With `read_url` another server is read than the captured one: `read_server` has the argument.
//!
//! A place bears the name of the server that answers on this very connection. Where it is not the one that is captured, its places
//! can't be compared with the stream's, and no window closes.

use std::{sync::Arc, time::Duration};

use tailrace_contract::{
    BoxFuture, ChunkRange, ChunkReader, Error, ErrorKind, Passed, Position, ReadLimits, Result, Rows, SourcePlace,
    SourceSettings, TableReader, fault,
};
use tailrace_row::{Key, Origin, RecordBatch, TableSchema};
use tokio::time::{Instant, sleep};

use super::{Asked, Captured, MysqlTableReader, connection_gone, lock, second_phases};
use crate::{
    binlog::source_place,
    gtid::GtidSet,
    history,
    position::{BinlogPosition, FileOffset},
    protocol::Connection,
    server::{Facts, Server, binlog_end},
};

/// How long a position may take to become visible: longer than any commit that is not stuck, shorter than an answer may take.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two snapshots, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// A table reader whose views show a position.
pub(crate) struct MysqlChunkReader {
    table: MysqlTableReader,
    /// None if it is the one that is read.
    captured: Option<Captured>,
    /// Whose rows the last view showed; none if it was no chunk's.
    shown: Option<Shown>,
    /// Which rows chunks have; none: all.
    condition: Option<String>,
    /// How far the last of these chunks reaches.
    passed: Option<Passed>,
}

/// The server that a view was opened on.
#[derive(Clone)]
struct Shown {
    facts: Facts,
    /// It is a replica of the captured one.
    is_replica: bool,
}

impl MysqlChunkReader {
    /// Connects, and holds the table against the schema.
    pub(crate) async fn open(settings: &SourceSettings, schema: Arc<TableSchema>) -> Result<Self> {
        let read = settings.read.as_ref().unwrap_or(&settings.endpoint);
        let mut captured = settings.read.as_ref().map(|_| Captured::new(settings.endpoint.clone()));
        if let Some(captured) = &mut captured {
            let mut server = Server::connect(read).await?;
            if captured.is_read_elsewhere(&mut server).await? {
                // The replica may not have the table, or not its present shape.
                let executed = captured.executed().await?;
                wait_until_executed(&mut server, &executed).await?.then_some(()).ok_or_else(behind)?;
            }
        }
        let table = MysqlTableReader::open(read, schema).await?;
        Ok(Self { table, captured, shown: None, condition: None, passed: None })
    }

    /// Begins a view that shows the position and in which the table is the schema's.
    async fn begin_view(&mut self, shown: &Position) -> Result<()> {
        (self.shown, self.passed) = (None, None);
        self.table.idle().await?;
        let connection = self.table.connection.take().expect("invariant: it is idle");
        let mut server = Server::of(connection).await?;
        let is_replica = match &mut self.captured {
            Some(captured) => captured.is_read_elsewhere(&mut server).await?,
            None => false,
        };
        let begun = match is_replica {
            true => begin_on_replica(&mut server, shown).await,
            false => self.begin_shown(&mut server, shown).await,
        };
        begun.map_err(|error| error.at(shown))?;
        let Server { connection, facts } = server;
        self.table.connection = Some(connection);
        self.shown = Some(Shown { facts, is_replica });
        self.table.hold_table().await
    }

    /// Begins a transaction that shows the position.
    async fn begin_shown(&self, server: &mut Server, shown: &Position) -> Result<()> {
        let position = BinlogPosition::parse(shown)?;
        match (&position, server.facts.is_mariadb()) {
            (BinlogPosition::Gtids { set, .. }, false) => {
                wait_until_executed(server, set).await?.then_some(()).ok_or_else(invisible)?;
                server.connection.execute("START TRANSACTION READ ONLY").await
            }
            (BinlogPosition::File { .. }, false) => {
                lock::begin_snapshot(server, &self.table.endpoint, self.table.schema.name()).await
            }
            (BinlogPosition::Domains { .. }, true) => {
                // Said of a replica that is not that far yet, or of another server; capture finds out which.
                let known = history::check(server, &position).await;
                known.map_err(|error| match error.kind() {
                    ErrorKind::PositionLost => {
                        Error::transient("the server did not log what was captured").caused_by(error)
                    }
                    _ => error,
                })?;
                begin_snapshot(server, shown).await
            }
            (BinlogPosition::Gtids { .. } | BinlogPosition::File { .. }, true)
            | (BinlogPosition::Domains { .. }, false) => {
                // Says what is wrong with it.
                history::check(server, &position).await?;
                Err(Error::refused("the position is one of another kind of server"))
            }
        }
    }

    async fn begin_chunk(&mut self, shown: &Position, range: ChunkRange<'_>) -> Result<()> {
        self.begin_view(shown).await?;
        let Some(condition) = &self.condition else {
            return self.table.begin_rows(Asked::Range(self.table.statements.chunk(range))).await;
        };
        // Where the chunk ends its keys say, in the same view: rows for which the condition holds may be few and far between.
        let skipped = range.rows_max.saturating_sub(1);
        let end = self.table.statements.bound(range.after, range.until, skipped);
        let end = end.map_err(|unusable| unusable.of(&self.table.schema))?;
        let last = self.table.take_key(&end).await?;
        let until = last.as_ref().or(range.until);
        let rows = self.table.statements.chosen((range.after, until), condition);
        self.passed = Some(Passed { rows: if last.is_some() { range.rows_max } else { 0 }, last });
        self.table.begin_rows(Asked::Range(rows)).await
    }

    async fn begin_keys(&mut self, shown: &Position, keys: &[Key]) -> Result<()> {
        self.begin_view(shown).await?;
        self.table.begin_rows(Asked::Keys(keys)).await
    }

    async fn ask_end(&mut self) -> Result<SourcePlace> {
        let Some(Shown { facts, is_replica }) = self.shown.clone().filter(|_| !self.table.is_busy) else {
            return Err(Error::transient("no chunk was read to its end: there is nothing whose end could be told"));
        };
        self.table.is_busy = true;
        let mut server = Server { connection: self.table.connection.take().ok_or_else(connection_gone)?, facts };
        let end = match &mut self.captured {
            Some(captured) if is_replica => {
                captured.check_shown(&mut server).await?;
                captured.end().await?
            }
            Some(_) | None => end_of_binlog(&mut server.connection, &server.facts.name).await?,
        };
        self.table.connection = Some(server.connection);
        self.table.is_busy = false;
        Ok(end)
    }
}

/// Begins a transaction on a replica that shows the position.
async fn begin_on_replica(server: &mut Server, shown: &Position) -> Result<()> {
    let BinlogPosition::Gtids { set, .. } = BinlogPosition::parse(shown)? else {
        return Err(Error::refused("changes are captured by file and offset, for which no replica can be waited")
            .hint("leave source.read_url out, or start capture anew by GTID"));
    };
    wait_until_executed(server, &set).await?.then_some(()).ok_or_else(behind)?;
    server.connection.execute("START TRANSACTION READ ONLY").await
}

/// False if it takes too long. In any other mode there may be transactions that no set names.
async fn wait_until_executed(server: &mut Server, set: &GtidSet) -> Result<bool> {
    if fault::is_planted("mysql.no_wait") {
        return Ok(true);
    }
    if !server.facts.gives_gtids() {
        return Err(Error::refused(format!(
            "gtid_mode is {}, so that the server can't tell whether what was captured is visible",
            server.facts.gtid_mode
        ))
        .hint("SET GLOBAL gtid_mode = ON"));
    }
    let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{set}', {})", WAIT_MAX.as_secs());
    Ok(server.connection.query_row(&sql).await?.text(0) == "0")
}

/// Opens snapshots until one shows all that is logged now.
async fn begin_snapshot(server: &mut Server, shown: &Position) -> Result<()> {
    second_phases::wait(&mut server.connection, shown).await?;
    let name = server.facts.name.clone();
    let wanted = end_of_binlog(&mut server.connection, &name).await?;
    let deadline = Instant::now() + WAIT_MAX;
    let mut pause = PAUSE_MIN;
    loop {
        server.connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
        let rows = server.connection.query("SHOW SESSION STATUS LIKE 'binlog_snapshot_%'").await?;
        let value = |name: &str| rows.iter().find(|row| row.text(0).eq_ignore_ascii_case(name));
        let (Some(file), Some(offset)) = (value("binlog_snapshot_file"), value("binlog_snapshot_position")) else {
            return Err(Error::refused("the server does not tell to which place of its binlog a snapshot belongs"));
        };
        let snapshot = place(&name, &FileOffset { file: file.text(1).into(), offset: offset.number(1)? })?;
        if snapshot.has_reached(&wanted) {
            return Ok(());
        }
        server.connection.execute("COMMIT").await?;
        if Instant::now() >= deadline {
            return Err(invisible());
        }
        // The server has nothing that could be waited for.
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

pub(super) async fn end_of_binlog(connection: &mut Connection, server: &str) -> Result<SourcePlace> {
    let status = binlog_end(connection).await?;
    place(server, &FileOffset { file: status.text(0).into(), offset: status.number(1)? })
}

fn place(server: &str, at: &FileOffset) -> Result<SourcePlace> {
    source_place(server, at).ok_or_else(|| Error::refused("the server's binlog files bear no numbers").at(at))
}

fn behind() -> Error {
    let seconds = WAIT_MAX.as_secs();
    Error::transient(format!(
        "the replica that is read did not execute within {seconds} s what was captured: it is behind"
    ))
}

fn invisible() -> Error {
    let seconds = WAIT_MAX.as_secs();
    Error::transient(format!("what was captured did not become visible to a query within {seconds} s"))
        .hint("a commit hangs on the server: it may wait for a replica's acknowledgement, or for its disk")
}

impl TableReader for MysqlChunkReader {
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>> {
        self.shown = None;
        self.table.estimate()
    }

    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>> {
        self.shown = None;
        self.table.bound(after, rows)
    }

    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        self.shown = None;
        self.table.read(rows)
    }

    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>> {
        self.table.fill(out, origin, limits)
    }
}

impl ChunkReader for MysqlChunkReader {
    fn order(&self) -> String {
        self.table.order.to_string()
    }

    fn restrict<'a>(&'a mut self, condition: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let taken = self.table.try_condition(condition).await;
            self.table.settle(taken)?;
            self.condition = Some(condition.to_owned());
            Ok(())
        })
    }

    fn passed(&self) -> Option<Passed> {
        self.passed.clone()
    }

    fn read_chunk<'a>(&'a mut self, shown: &'a Position, range: ChunkRange<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let begun = self.begin_chunk(shown, range).await;
            self.table.settle(begun)
        })
    }

    fn read_keys<'a>(&'a mut self, shown: &'a Position, keys: &'a [Key]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let begun = self.begin_keys(shown, keys).await;
            self.table.settle(begun)
        })
    }

    fn bound_within<'a>(&'a mut self, range: ChunkRange<'a>) -> BoxFuture<'a, Result<Option<Key>>> {
        self.shown = None;
        Box::pin(async move {
            let found = self.table.find_bound(range).await;
            self.table.settle(found)
        })
    }

    fn key_before<'a>(&'a mut self, key: &'a Key) -> BoxFuture<'a, Result<Option<Key>>> {
        self.shown = None;
        Box::pin(async move {
            let found = self.table.find_before(key).await;
            self.table.settle(found)
        })
    }

    fn end_of_view(&mut self) -> BoxFuture<'_, Result<SourcePlace>> {
        Box::pin(async {
            let end = self.ask_end().await;
            self.table.settle(end)
        })
    }
}
