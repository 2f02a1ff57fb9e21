//! A database for one test, its sink, and rows of any schema.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lab::Postgres;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tailrace_contract::{
    Applied, ApplyBatch, Endpoint, LogPartition, PartitionProgress, Policy, ProgressStep, Result, RowRef, Secret,
    Sink as _, SinkWriter, TableChanges, TableMapping, TargetSettings, TargetTable, Tls, TlsMode,
};
use tailrace_postgres::PostgresSink;
use tailrace_row::{
    Column, ColumnType, Epoch, Field, Operation, Origin, Record, RecordBatch, Sequence, TableName, TableSchema,
};

pub(crate) const LOG: &str = "test";

/// A database and the sink that writes it.
pub(crate) struct Bench {
    pub(crate) server: Postgres,
    pub(crate) database: String,
    pub(crate) sink: PostgresSink,
    pub(crate) target: TargetTable,
    /// Of the mapping.
    pub(crate) policies: BTreeMap<Box<str>, Policy>,
}

impl Bench {
    /// A new database on the server that all tests share.
    pub(crate) async fn new(test: &str) -> Self {
        Self::on(Postgres::up("connector").unwrap(), test).await
    }

    /// A new database on a server of the test's own.
    pub(crate) async fn on(server: Postgres, test: &str) -> Self {
        let database = test.to_owned();
        let mut admin = connect(&server.admin_url("postgres").unwrap()).await;
        run(&mut admin, &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await;
        run(&mut admin, &format!("CREATE DATABASE {database} OWNER tailrace")).await;
        let sink = PostgresSink::new(settings(&server, &database)).unwrap();
        let target = TargetTable { schema: "shop".into(), table: "things".into() };
        Self { server, database, sink, target, policies: BTreeMap::new() }
    }

    /// A connection of the account that the sink uses.
    pub(crate) async fn sql(&self) -> PgConnection {
        connect(&self.server.owner_url(&self.database).unwrap()).await
    }

    pub(crate) async fn admin_sql(&self) -> PgConnection {
        connect(&self.server.admin_url(&self.database).unwrap()).await
    }

    /// Runs statements as the account that the sink uses.
    pub(crate) async fn run(&self, sql: &str) {
        run(&mut self.sql().await, sql).await;
    }

    /// The answer of a query as text, columns joined by `|`, NULL as `∅`.
    pub(crate) async fn ask(&self, sql: &str) -> Vec<String> {
        let rows = self.sql().await.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        let field = |row: &sqlx::postgres::PgRow, place| {
            let text: Option<String> = row.try_get_unchecked(place).unwrap();
            text.unwrap_or_else(|| "∅".to_owned())
        };
        rows.iter().map(|row| (0..row.len()).map(|place| field(row, place)).collect::<Vec<_>>().join("|")).collect()
    }

    /// Prepares the sink and makes the table that the sink proposes for the schema.
    pub(crate) async fn create(&self, schema: &TableSchema) {
        self.sink.prepare().await.unwrap();
        assert!(self.sink.create_table(schema, &self.mapping()).await.unwrap());
    }

    /// Prepares the sink and makes `shop.things` with these columns.
    pub(crate) async fn create_as(&self, columns: &str) {
        self.sink.prepare().await.unwrap();
        self.run(&format!("CREATE SCHEMA IF NOT EXISTS shop; CREATE TABLE shop.things ({columns})")).await;
    }

    pub(crate) async fn writer(&self) -> Box<dyn SinkWriter> {
        self.sink.open_writer(LOG).await.unwrap()
    }

    pub(crate) async fn claim(&self) -> PartitionProgress {
        self.sink.claim(LOG, &[partition()]).await.unwrap().remove(0)
    }

    pub(crate) fn mapping(&self) -> TableMapping {
        TableMapping { policies: self.policies.clone(), ..TableMapping::new(source(), self.target.clone()) }
    }

    /// Claims and applies, with a step by one offset.
    pub(crate) async fn apply(&self, changes: &Changes) -> Result<Applied> {
        let from = self.claim().await;
        changes.apply(self, &mut *self.writer().await, &[step(&from)]).await
    }
}

pub(crate) fn settings(server: &Postgres, database: &str) -> TargetSettings {
    let endpoint = Endpoint {
        scheme: "postgres".into(),
        host: "127.0.0.1".into(),
        port: server.port().unwrap(),
        user: "tailrace".into(),
        password: Some(Secret::new(lab::TAILRACE_PASSWORD.into())),
        database: database.into(),
        tls: Tls { mode: TlsMode::Disabled, ..Tls::default() },
    };
    TargetSettings { endpoint, schema: "tailrace".into(), statement_timeout: Duration::from_secs(30) }
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

pub(crate) async fn run(connection: &mut PgConnection, sql: &str) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
}

pub(crate) fn source() -> TableName {
    TableName::new("shop", "things")
}

pub(crate) fn partition() -> LogPartition {
    LogPartition { table: source(), index: 0 }
}

/// One offset on.
pub(crate) fn step(from: &PartitionProgress) -> ProgressStep {
    let next_offset = from.next_offset.unwrap_or(0) + 1;
    ProgressStep { from: from.clone(), next_offset, sequence: None }
}

/// A schema of the source; `NULL` is allowed but in the key.
pub(crate) fn schema(columns: &[(&str, ColumnType)], key: &[usize]) -> Arc<TableSchema> {
    let column = |(place, (name, column_type)): (usize, &(&str, ColumnType))| Column {
        name: (*name).into(),
        column_type: column_type.clone(),
        nullable: !key.contains(&place),
    };
    let columns: Vec<Column> = columns.iter().enumerate().map(column).collect();
    Arc::new(TableSchema::new(source(), columns, key).unwrap())
}

pub(crate) const BIGINT: ColumnType = ColumnType::Integer { bits: 64, unsigned: false };

/// Rows to write and to delete, each record one transaction after the other at rising offsets of lane 3.
pub(crate) struct Changes {
    schema: Arc<TableSchema>,
    records: RecordBatch,
    deletes: Vec<RowRef>,
    upserts: Vec<RowRef>,
}

impl Changes {
    pub(crate) fn new(schema: &Arc<TableSchema>) -> Self {
        Self { schema: Arc::clone(schema), records: RecordBatch::new(), deletes: Vec::new(), upserts: Vec::new() }
    }

    pub(crate) fn upsert(&mut self, fields: &[Field<'_>]) -> &mut Self {
        let record = self.push(Operation::Insert, fields);
        self.upserts.push(RowRef::After(record));
        self
    }

    pub(crate) fn delete(&mut self, fields: &[Field<'_>]) -> &mut Self {
        let record = self.push(Operation::Delete, fields);
        self.deletes.push(RowRef::Before(record));
        self
    }

    fn push(&mut self, operation: Operation, fields: &[Field<'_>]) -> u32 {
        let number = u32::try_from(self.records.len()).unwrap();
        let schema = self.records.add_schema(&self.schema);
        let origin = self.records.add_origin(origin(u64::from(number) + 1));
        let written = self.records.write_image(fields.len(), |image| {
            for field in fields {
                match field {
                    Field::Unchanged => image.unchanged(),
                    Field::Null => image.null(),
                    Field::Value(value) => image.value(*value),
                }
            }
            Ok::<(), std::convert::Infallible>(())
        });
        let image = Some(written.unwrap());
        let (before, after) = if operation == Operation::Delete { (image, None) } else { (None, image) };
        self.records.push(Record {
            operation,
            schema,
            origin,
            row: 0,
            lane: 3,
            offset: i64::from(number) + 100,
            before,
            after,
        });
        number
    }

    pub(crate) async fn apply(
        &self,
        bench: &Bench,
        writer: &mut dyn SinkWriter,
        progress: &[ProgressStep],
    ) -> Result<Applied> {
        let changes = [TableChanges {
            mapping: Arc::new(bench.mapping()),
            schema: Arc::clone(&self.schema),
            deletes: self.deletes.clone(),
            upserts: self.upserts.clone(),
        }];
        writer.apply(ApplyBatch { records: &self.records, changes: &changes, progress, stream: None }).await
    }
}

pub(crate) fn origin(transaction: u64) -> Origin {
    Origin {
        epoch: Epoch(0),
        transaction,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "test.000001".into(),
        file_offset: 4,
        server_id: 1,
        thread: None,
    }
}

/// The place that an error names for the record with this number.
pub(crate) fn place_of(number: u64) -> String {
    let sequence = Sequence { epoch: Epoch(0), transaction: number + 1, event: 0, row: 0 };
    format!("sequence {sequence}, lane 3, offset {}", number + 100)
}
