//! The fakes pass the conformance tests that every connector runs.

use std::sync::Arc;

use tailrace_contract::{BoxFuture, Log, Sink, Source, TargetTable};
use tailrace_kit::{Change, LogHarness, Row, SinkHarness, SinkTable, SourceHarness, SourceTable, sample_schema};
use tailrace_memory::{MemoryLog, MemorySink, MemorySource, MemoryTransaction, Offsets};
use tailrace_row::{Field, TableName, TableSchema, Value};

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
