//! The kit's tests of a target.

use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use tailrace_contract::{BoxFuture, Sink, TargetTable};
use tailrace_kit::{Row, SinkHarness, SinkTable};

use crate::bench::Bench;

struct Harness(Bench);

impl SinkHarness for Harness {
    fn sink(&self) -> &dyn Sink {
        &self.0.sink
    }

    fn target(&self, table: &str) -> TargetTable {
        TargetTable { schema: "main".into(), table: format!("{table} \"kit\"").into() }
    }

    fn rows<'a>(&'a self, table: &'a TargetTable) -> BoxFuture<'a, Vec<Row>> {
        Box::pin(async {
            let sql = format!(r#"SELECT id, name FROM "{}" ORDER BY id"#, table.table.replace('"', "\"\""));
            let rows = self.0.sql().await.fetch_all(sqlx::query(AssertSqlSafe(sql))).await.unwrap();
            rows.iter().map(|row| Row { id: row.get(0), name: row.get(1) }).collect()
        })
    }

    /// A view that was left open would keep the log from being emptied.
    fn alter<'a>(&'a self, table: &'a TargetTable) -> BoxFuture<'a, ()> {
        let name = table.table.replace('"', "\"\"");
        Box::pin(async move {
            let columns = self.0.ask(&format!("SELECT count(*) FROM pragma_table_info('{}')", table.table)).await;
            self.0.run(&format!(r#"ALTER TABLE "{name}" ADD COLUMN extra{} INTEGER"#, columns[0])).await;
            let emptied = self.0.ask("PRAGMA wal_checkpoint(TRUNCATE)").await;
            assert!(emptied[0].starts_with("0|"), "the log can't be emptied: {emptied:?}");
        })
    }
}

async fn harness(_: &str) -> Harness {
    Harness(Bench::new())
}

tailrace_kit::sink_tests!(harness);

async fn table(test: &str) -> SinkTable<Harness> {
    SinkTable::new(harness(test).await, test).await
}

tailrace_kit::reader_tests!(table);
