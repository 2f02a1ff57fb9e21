//! A real server, a database of the test's own, and a stream to watch it with.

use std::{sync::Arc, time::Duration};

use lab::Mysql;
use mysql_async::{Conn, Opts, prelude::Queryable};
use tailrace_contract::{
    BatchEnd, BatchLimits, ChangeStream, Checkpoint, Endpoint, Error, Mark, Secret, Source, SourceSettings, StartAt,
    TableFilter, TablePattern, Tls, TlsMode,
};
use tailrace_mysql::MysqlSource;
use tailrace_row::{Epoch, RecordBatch, TableName};

pub(crate) const LIMITS: BatchLimits =
    BatchLimits { bytes_max: 1 << 20, records_max: 10_000, wait_max: Duration::from_millis(500) };

/// A database on a server of the laboratory.
pub(crate) struct Database {
    pub(crate) server: Mysql,
    pub(crate) name: String,
    pub(crate) conn: Conn,
}

impl Database {
    /// A new, empty database on the server that all ordinary tests share.
    pub(crate) async fn new(name: &str) -> Database {
        Database::on(server("source"), name).await
    }

    pub(crate) async fn on(server: Mysql, name: &str) -> Database {
        let mut conn = Conn::new(admin(&server)).await.unwrap();
        forget_prepared(&mut conn, name).await;
        conn.query_drop(format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
        conn.query_drop(format!("CREATE DATABASE {name}")).await.unwrap();
        conn.query_drop(format!("USE {name}")).await.unwrap();
        conn.query_drop("SET time_zone = '+00:00'").await.unwrap();
        Database { server, name: name.to_owned(), conn }
    }

    /// Another connection to a database that is there.
    pub(crate) async fn on_existing(server: &Mysql, name: &str) -> Database {
        let mut conn = Conn::new(admin(server)).await.unwrap();
        conn.query_drop(format!("USE {name}")).await.unwrap();
        Database { server: server.clone(), name: name.to_owned(), conn }
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        self.conn.query_drop(sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    pub(crate) async fn run_all(&mut self, statements: &[&str]) {
        for statement in statements {
            self.run(statement).await;
        }
    }

    /// Purges what lies before a file. One that somebody still reads stays: so until it is gone.
    pub(crate) async fn purge_to(&mut self, file: &str) {
        for _ in 0..600 {
            self.run(&format!("PURGE BINARY LOGS TO '{file}'")).await;
            let logs: Vec<mysql_async::Row> = self.conn.query("SHOW BINARY LOGS").await.unwrap();
            if logs[0].get::<String, _>(0).unwrap() == file {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("what lies before {file} is not purged");
    }

    /// One value as the server prints it.
    pub(crate) async fn text(&mut self, sql: &str) -> String {
        self.conn.query_first::<String, _>(sql).await.unwrap().unwrap()
    }

    pub(crate) fn table(&self, table: &str) -> TableName {
        TableName::new(&self.name, table)
    }

    /// Captures the named tables.
    pub(crate) fn filter(&self, tables: &[&str]) -> Arc<TableFilter> {
        let patterns = tables.iter().map(|table| TablePattern::Table(self.table(table))).collect();
        Arc::new(TableFilter { patterns })
    }

    pub(crate) fn source(&self) -> MysqlSource {
        MysqlSource::new(settings(&self.server)).unwrap()
    }

    /// A checkpoint at the place that the words mean now.
    pub(crate) async fn checkpoint(&self, start: &StartAt) -> Checkpoint {
        checkpoint(&self.source(), start).await.unwrap()
    }

    /// A stream of the named tables from now on.
    pub(crate) async fn follow(&self, tables: &[&str]) -> Stream {
        let from = self.checkpoint(&StartAt::Now).await;
        self.follow_from(&from, tables).await.unwrap()
    }

    pub(crate) async fn follow_from(&self, from: &Checkpoint, tables: &[&str]) -> Result<Stream, Error> {
        Ok(Stream { inner: self.source().open(from, self.filter(tables)).await?, batch: RecordBatch::new() })
    }
}

/// Rolls back XA transactions that bear the database's name: what a run that failed has left of them holds its tables.
async fn forget_prepared(conn: &mut Conn, name: &str) {
    let left: Vec<(u32, usize, usize, Vec<u8>)> = conn.query("XA RECOVER").await.unwrap();
    for (format, global, _, text) in left {
        let (global, branch) = text.split_at(global);
        if global == name.as_bytes() {
            let branch = String::from_utf8_lossy(branch);
            conn.query_drop(format!("XA ROLLBACK '{name}', '{branch}', {format}")).await.unwrap();
        }
    }
}

/// A server that tests share, by name.
pub(crate) fn server(name: &str) -> Mysql {
    Mysql::up(name).unwrap()
}

pub(crate) fn admin(server: &Mysql) -> Opts {
    Opts::from_url(&server.admin_url().unwrap()).unwrap()
}

/// Each caller gets a server id of its own.
pub(crate) fn settings(server: &Mysql) -> SourceSettings {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let endpoint = Endpoint {
        scheme: server.flavor().scheme().into(),
        host: "127.0.0.1".into(),
        port: server.port().unwrap(),
        user: "tailrace".into(),
        password: Some(Secret::new(lab::TAILRACE_PASSWORD.to_owned())),
        database: String::new(),
        tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
    };
    let process = std::process::id() << 12;
    let server_id = 1 << 31 | process | NEXT.fetch_add(1, Ordering::Relaxed);
    SourceSettings {
        endpoint,
        read: None,
        server_id,
        heartbeat: Duration::from_millis(500),
        expected_outage: Duration::from_secs(86_400),
    }
}

pub(crate) async fn checkpoint(source: &MysqlSource, start: &StartAt) -> Result<Checkpoint, Error> {
    let position = source.position(start).await?;
    Ok(Checkpoint { epoch: Epoch(3), mark: Mark { position, transactions: 100 }, split: None })
}

/// A stream with the batch it fills.
pub(crate) struct Stream {
    pub(crate) inner: Box<dyn ChangeStream>,
    pub(crate) batch: RecordBatch,
}

impl Stream {
    /// The next batch with records, or the error that ends the stream.
    pub(crate) async fn next(&mut self) -> Result<BatchEnd, Error> {
        self.next_within(LIMITS).await
    }

    pub(crate) async fn next_within(&mut self, limits: BatchLimits) -> Result<BatchEnd, Error> {
        self.batch.clear();
        for _ in 0..40 {
            let end = self.inner.read_batch(&mut self.batch, limits).await?;
            if !self.batch.is_empty() {
                return Ok(end);
            }
        }
        panic!("no change came within {:?}", limits.wait_max * 40);
    }

    /// Takes whatever has come by now.
    pub(crate) async fn drain(&mut self) {
        let limits = BatchLimits { wait_max: Duration::from_millis(200), ..LIMITS };
        loop {
            self.batch.clear();
            if let BatchEnd::Idle(_) = self.inner.read_batch(&mut self.batch, limits).await.unwrap() {
                return;
            }
        }
    }

    /// The error that must end the stream.
    pub(crate) async fn error(&mut self) -> Error {
        for _ in 0..40 {
            self.batch.clear();
            if let Err(error) = self.inner.read_batch(&mut self.batch, LIMITS).await {
                return error;
            }
        }
        panic!("the stream went on");
    }
}
