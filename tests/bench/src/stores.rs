//! The same rows in three databases, and the plain streaming scan of each: MySQL's answer to a reader's SELECT whose packets nobody
//! looks into, PostgreSQL's COPY in binary form to nowhere, and SQLite's rows of which a loop looks at every value.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use futures_util::TryStreamExt as _;
use lab::TAILRACE_PASSWORD;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tailrace_contract::{
    Endpoint, ProofReader, ReadLimits, Secret, Sink, Source as _, TableMapping, TableReader, TargetSettings,
    TargetTable, Tls, TlsMode,
};
use tailrace_mysql::MysqlSource;
use tailrace_postgres::PostgresSink;
use tailrace_row::TableSchema;
use tailrace_sqlite::SqliteSink;

use crate::{
    decode,
    report::{Report, median},
    site::{NAME, Site},
};

const RUNS: usize = 3;
/// Rows of one piece that is read.
pub(crate) const LIMITS: ReadLimits = ReadLimits { rows_max: 20_000, bytes_max: 2 << 20 };

/// The rows in each database.
pub(crate) struct Stores {
    schema: Arc<TableSchema>,
    rows: u64,
    source: MysqlSource,
    postgres: PostgresSink,
    connection: PgConnection,
    sqlite: SqliteSink,
    file: PathBuf,
}

/// One of them.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Mysql,
    Postgres,
    Sqlite,
}

impl Store {
    const ALL: [Self; 3] = [Self::Mysql, Self::Postgres, Self::Sqlite];

    fn name(self) -> &'static str {
        match self {
            Self::Mysql => "MySQL",
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        }
    }

    fn plain_scan(self) -> &'static str {
        match self {
            Self::Mysql => "raw drain of the reader's answer",
            Self::Postgres => "COPY in binary form to nowhere",
            Self::Sqlite => "a loop that looks at every value",
        }
    }
}

impl Stores {
    /// Fills the two targets with as many rows as the source has.
    pub(crate) async fn fill(site: &Site, rows: u64) -> Result<Self> {
        let source = decode::source(site)?;
        let schema = source.tables(&decode::rows_in()).await?.into_iter().next().context("the table's schema")?;
        let postgres = PostgresSink::new(postgres_settings(site)?)?;
        postgres.create_table(&schema, &mapping(&schema, "public")).await?;
        let mut connection = site.postgres().await?;
        connection.execute(AssertSqlSafe(FILL_POSTGRES.replace("$rows", &rows.to_string()))).await?;
        connection.execute("VACUUM ANALYZE read_back").await?;
        let file = site.file("read_back.db");
        let sqlite = SqliteSink::new(sqlite_settings(&file)?)?;
        sqlite.create_table(&schema, &mapping(&schema, "main")).await?;
        rusqlite::Connection::open(&file)?.execute(FILL_SQLITE, [i64::try_from(rows)?])?;
        Ok(Self { schema, rows, source, postgres, connection, sqlite, file })
    }

    /// Measures `read`, which returns the number of rows, on each store beside its plain scan.
    pub(crate) async fn measure(
        &mut self,
        what: &str,
        read: impl AsyncFn(&Self, Store) -> Result<u64>,
        report: &mut Report,
    ) -> Result<()> {
        for store in Store::ALL {
            let (mut plain, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                let started = Instant::now();
                let scanned = self.scan(store).await?;
                anyhow::ensure!(scanned >= self.rows, "{scanned} rows were scanned");
                plain.push(rate(scanned, started));
                let started = Instant::now();
                let seen = read(self, store).await?;
                anyhow::ensure!(seen == self.rows, "{seen} rows were read, not {}", self.rows);
                ours.push(rate(seen, started));
            }
            let (name, scan) = (store.name(), store.plain_scan());
            let (plain, ours) = (median(plain), median(ours));
            report.add(&format!("{name}, {scan}: rows/s"), plain, "rows/s");
            report.add(&format!("{name}, {what}: rows/s"), ours, "rows/s");
            report.add(&format!("{name}, {what} beside it"), 100.0 * ours / plain, "%");
        }
        Ok(())
    }

    pub(crate) async fn reader(&self, store: Store) -> Result<Box<dyn TableReader>> {
        let schema = Arc::clone(&self.schema);
        Ok(match self.target(store) {
            None => self.source.open_reader(schema).await?,
            Some((sink, mapping)) => sink.open_reader(schema, &mapping).await?,
        })
    }

    pub(crate) async fn proof(&self, store: Store) -> Result<Box<dyn ProofReader>> {
        let schema = Arc::clone(&self.schema);
        Ok(match self.target(store) {
            None => self.source.open_proof(schema).await?,
            Some((sink, mapping)) => sink.open_proof(schema, &mapping).await?,
        })
    }

    fn target(&self, store: Store) -> Option<(&dyn Sink, TableMapping)> {
        match store {
            Store::Mysql => None,
            Store::Postgres => Some((&self.postgres, mapping(&self.schema, "public"))),
            Store::Sqlite => Some((&self.sqlite, mapping(&self.schema, "main"))),
        }
    }

    /// The columns of a row.
    pub(crate) fn columns(&self) -> usize {
        self.schema.columns().len()
    }

    async fn scan(&mut self, store: Store) -> Result<u64> {
        match store {
            Store::Mysql => Ok(self.source.drain_table(Arc::clone(&self.schema)).await?.events),
            Store::Postgres => {
                let mut answer = self.connection.copy_out_raw("COPY read_back TO STDOUT (FORMAT binary)").await?;
                let mut messages = 0;
                while let Some(message) = answer.try_next().await? {
                    messages += u64::from(!message.is_empty());
                }
                Ok(messages)
            }
            Store::Sqlite => self.scan_file(),
        }
    }

    fn scan_file(&self) -> Result<u64> {
        let connection = rusqlite::Connection::open(&self.file)?;
        let mut statement = connection.prepare("SELECT * FROM read_back ORDER BY id")?;
        let mut answer = statement.query([])?;
        let (mut rows, mut nulls) = (0, 0);
        while let Some(row) = answer.next()? {
            for place in 0..self.columns() {
                nulls += u64::from(row.get_ref(place)? == rusqlite::types::ValueRef::Null);
            }
            rows += 1;
        }
        anyhow::ensure!(nulls == 0, "{nulls} fields are NULL");
        Ok(rows)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn rate(rows: u64, started: Instant) -> f64 {
    rows as f64 / started.elapsed().as_secs_f64()
}

fn mapping(schema: &TableSchema, place: &str) -> TableMapping {
    let target = TargetTable { schema: place.into(), table: "read_back".into() };
    TableMapping::new(schema.name().clone(), target)
}

fn postgres_settings(site: &Site) -> Result<TargetSettings> {
    let endpoint = Endpoint {
        scheme: "postgres".into(),
        host: "127.0.0.1".into(),
        port: site.postgres.port()?,
        user: "tailrace".into(),
        password: Some(Secret::new(TAILRACE_PASSWORD.into())),
        database: NAME.into(),
        tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
    };
    Ok(TargetSettings { endpoint, schema: "tailrace".into(), statement_timeout: Duration::from_secs(60) })
}

fn sqlite_settings(file: &std::path::Path) -> Result<TargetSettings> {
    let endpoint = Endpoint {
        scheme: "sqlite".into(),
        host: String::new(),
        port: 0,
        user: String::new(),
        password: None,
        database: file.to_str().context("the file's path is text")?.into(),
        tls: Tls::default(),
    };
    Ok(TargetSettings { endpoint, schema: "tailrace".into(), statement_timeout: Duration::from_secs(60) })
}

const FILL_POSTGRES: &str = "
INSERT INTO read_back SELECT i, i * 7919 % 1000003, 'customer ' || i || ' of the north', i * 1.2345,
  '2026-01-01'::timestamp + i * '1 second'::interval, '2026-01-01'::timestamptz + i * '1 second'::interval,
  json_build_object('k', i, 'tags', json_build_array('a', 'b'), 'note', 'short text'),
  sha256(i::text::bytea), i / 7.0, rpad('', 60 + (i % 20)::int, 'lorem ipsum ') FROM generate_series(1, $rows::bigint) AS i";

/// The values as the sink writes them.
const FILL_SQLITE: &str = "
WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < ?1)
INSERT INTO read_back SELECT i, i * 7919 % 1000003, 'customer ' || i || ' of the north', printf('%.4f', i * 1.2345),
  strftime('%Y-%m-%d %H:%M:%S', '2026-01-01', i || ' seconds') || printf('.%06d', i % 1000000),
  strftime('%Y-%m-%d %H:%M:%SZ', '2026-01-01', i || ' seconds'),
  json_object('k', i, 'tags', json_array('a', 'b'), 'note', 'short text'),
  randomblob(32), i / 7.0, substr('lorem ipsum lorem ipsum lorem ipsum lorem ipsum lorem ipsum lorem ipsum lorem ipsum ', 1, 60 + i % 20)
FROM k";
