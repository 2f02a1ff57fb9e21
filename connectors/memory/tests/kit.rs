//! The fakes pass the conformance tests that every connector runs.

use std::sync::Arc;

use tailrace_contract::{
    BoxFuture, ChangeStream, Checkpoint, ChunkReader, Log, Mark, Position, Result, Sink, Source, StartAt, TableFilter,
    TablePattern, TableReader, TargetTable,
};
use tailrace_kit::{
    Change, ChunkHarness, LogHarness, ReaderHarness, Row, SinkHarness, SinkTable, SourceHarness, SourceTable,
    sample_schema,
};
use tailrace_memory::{MemoryLog, MemorySink, MemorySource, MemoryTransaction, Offsets, Stall};
use tailrace_row::{Epoch, Field, TableName, TableSchema, Value};

mod sources {
    //! Runs the tests of a source.
    tailrace_kit::source_tests!(super::source);
}

mod sources_in_pieces {
    //! The same with reads that bring one record at most.
    tailrace_kit::source_tests!(super::source_in_pieces);
}

mod source_tables {
    //! Runs the tests of a reader of the source's table.
    tailrace_kit::reader_tests!(super::source_table);
}

mod chunked_tables {
    //! The same of a reader of chunks.
    tailrace_kit::reader_tests!(super::chunked);
}

mod chunks {
    //! Runs the tests of chunks.
    tailrace_kit::chunk_tests!(super::chunked);
}

mod chunks_in_pieces {
    //! The same with a stream whose reads bring one record at most.
    tailrace_kit::chunk_tests!(super::chunked_in_pieces);
}

mod sink_tables {
    //! Runs the tests of a reader of the target's table.
    tailrace_kit::reader_tests!(super::sink_table);
}

mod logs {
    //! Runs the tests of a log.
    tailrace_kit::log_tests!(super::log);
}

mod dense_logs {
    //! The same without holes in the offsets, and with one partition.
    tailrace_kit::log_tests!(super::dense_log);
}

mod sinks {
    //! Runs the tests of a target.
    tailrace_kit::sink_tests!(super::sink);
}

struct SourceUnderTest {
    source: MemorySource,
    schema: Arc<TableSchema>,
    other: Arc<TableSchema>,
}

async fn source(_test: &str) -> SourceUnderTest {
    let source = MemorySource::new("db");
    let create = |table| source.create_table(sample_schema(&TableName::new("shop", table)).as_ref().clone());
    SourceUnderTest { schema: create("orders"), other: create("elsewhere"), source }
}

async fn source_in_pieces(test: &str) -> SourceUnderTest {
    let harness = source(test).await;
    harness.source.deliver_by(|| 1);
    harness
}

impl SourceHarness for SourceUnderTest {
    fn source(&self) -> &dyn Source {
        &self.source
    }

    fn table(&self) -> TableName {
        self.schema.name().clone()
    }

    fn change<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, ()> {
        let mut transaction = MemoryTransaction::new();
        let row = |row: &Row| tailrace_memory::Row::new(&self.schema, &fields(row));
        for change in changes {
            match change {
                Change::Insert(after) => transaction.insert(&self.schema, &fields(after)),
                Change::Update(before, after) => transaction.update(&row(before), &fields(after)),
                Change::Delete(before) => transaction.delete(&row(before)),
            };
            transaction.next_event();
        }
        self.source.commit(transaction);
        Box::pin(async {})
    }

    fn change_elsewhere(&self) -> BoxFuture<'_, ()> {
        let id = i64::try_from(self.source.transactions().len()).expect("few transactions");
        let mut transaction = MemoryTransaction::new();
        transaction.insert(&self.other, &fields(&Row::new(id, "elsewhere")));
        self.source.commit(transaction);
        Box::pin(async {})
    }

    fn alter(&self) -> BoxFuture<'_, ()> {
        self.source.create_table(renamed(&self.schema));
        Box::pin(async {})
    }
}

/// The same with another name for its second column.
fn renamed(schema: &TableSchema) -> TableSchema {
    let mut columns = schema.columns().to_vec();
    columns[1].name = "title".into();
    TableSchema::new(schema.name().clone(), columns, schema.key()).expect("a schema as good as the other")
}

fn fields(row: &Row) -> [Field<'_>; 2] {
    let name = row.name.as_deref().map_or(Field::Null, |name| Field::Value(Value::Text(name)));
    [Field::Value(Value::Integer(row.id)), name]
}

async fn source_table(test: &str) -> SourceTable<SourceUnderTest> {
    SourceTable(source(test).await)
}

/// The source's table, read in chunks.
struct Chunked(SourceTable<SourceUnderTest>);

async fn chunked(test: &str) -> Chunked {
    Chunked(source_table(test).await)
}

async fn chunked_in_pieces(test: &str) -> Chunked {
    Chunked(SourceTable(source_in_pieces(test).await))
}

impl ReaderHarness for Chunked {
    fn schema(&self) -> Arc<TableSchema> {
        self.0.schema()
    }

    fn open(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>> {
        Box::pin(async { Ok(self.open_chunks(schema).await? as Box<dyn TableReader>) })
    }

    fn change<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, ()> {
        self.0.change(changes)
    }

    fn alter(&self) -> BoxFuture<'_, ()> {
        self.0.alter()
    }
}

impl ChunkHarness for Chunked {
    fn open_chunks(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn ChunkReader>>> {
        self.0.0.source.open_chunks(schema)
    }

    fn follow(&self) -> BoxFuture<'_, (Box<dyn ChangeStream>, Position)> {
        Box::pin(async {
            let source = &self.0.0.source;
            let filter = TableFilter { patterns: vec![TablePattern::Table(self.0.0.table())] };
            let position = source.position(&StartAt::Now).await.expect("a position");
            let mark = Mark { position: position.clone(), transactions: 0 };
            let from = Checkpoint { epoch: Epoch(0), mark, split: None };
            (source.open(&from, Arc::new(filter)).await.expect("a stream"), position)
        })
    }

    fn stall(&self) -> BoxFuture<'_, ()> {
        self.0.0.source.stall(Stall { visible_calls: 30, executed_calls: 50 });
        Box::pin(async {})
    }

    fn rotate(&self) -> BoxFuture<'_, ()> {
        self.0.0.source.rotate();
        Box::pin(async {})
    }
}

async fn sink_table(test: &str) -> SinkTable<SinkUnderTest> {
    SinkTable::new(sink(test).await, test).await
}

struct LogUnderTest(MemoryLog);

async fn log(_test: &str) -> LogUnderTest {
    LogUnderTest(MemoryLog::new("log", 3, Offsets::WithHoles))
}

async fn dense_log(_test: &str) -> LogUnderTest {
    LogUnderTest(MemoryLog::new("log", 1, Offsets::Dense))
}

impl LogHarness for LogUnderTest {
    fn log(&self) -> &dyn Log {
        &self.0
    }

    fn elsewhere(&self) -> Box<dyn Log> {
        Box::new(self.0.clone())
    }
}

struct SinkUnderTest(MemorySink);

async fn sink(_test: &str) -> SinkUnderTest {
    SinkUnderTest(MemorySink::new("target"))
}

impl SinkHarness for SinkUnderTest {
    fn sink(&self) -> &dyn Sink {
        &self.0
    }

    fn target(&self, table: &str) -> TargetTable {
        TargetTable { schema: "public".into(), table: table.into() }
    }

    fn rows<'a>(&'a self, table: &'a TargetTable) -> BoxFuture<'a, Vec<Row>> {
        let read = |row: &tailrace_memory::Row| {
            let (Some(Field::Value(Value::Integer(id))), Some(name)) = (row.field("id"), row.field("name")) else {
                panic!("the row is not the kit's")
            };
            let name = match name {
                Field::Value(Value::Text(name)) => Some(name.to_owned()),
                Field::Null => None,
                Field::Value(_) | Field::Unchanged => panic!("the name is neither text nor NULL"),
            };
            Row { id, name }
        };
        let mut rows: Vec<Row> = self.0.rows(table).values().map(read).collect();
        rows.sort();
        Box::pin(async { rows })
    }

    fn alter<'a>(&'a self, table: &'a TargetTable) -> BoxFuture<'a, ()> {
        let schema = Arc::new(renamed(&sample_schema(&TableName::new("shop", &table.table))));
        self.0.put_row(table, tailrace_memory::Row::new(&schema, &fields(&Row::new(-1, "altered"))));
        Box::pin(async {})
    }
}
