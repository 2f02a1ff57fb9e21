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
        TargetTable { schema: "shop \"kit\"".into(), table: table.into() }
    }

    fn rows<'a>(&'a self, table: &'a TargetTable) -> BoxFuture<'a, Vec<Row>> {
        Box::pin(async {
            let sql = format!(
                r#"SELECT id, name FROM "{}"."{}" ORDER BY id"#,
                table.schema.replace('"', "\"\""),
                table.table
            );
            let rows = self.0.sql().await.fetch_all(sqlx::query(AssertSqlSafe(sql))).await.unwrap();
            rows.iter().map(|row| Row { id: row.get(0), name: row.get(1) }).collect()
        })
    }

    fn alter<'a>(&'a self, table: &'a TargetTable) -> BoxFuture<'a, ()> {
        let name = format!(r#""{}"."{}""#, table.schema.replace('"', "\"\""), table.table);
        let sql = format!(
            "SET lock_timeout = '10s';
             ALTER TABLE {name} DROP COLUMN IF EXISTS extra, ADD COLUMN extra integer"
        );
        Box::pin(async move { self.0.run(&sql).await })
    }
}

async fn harness(test: &str) -> Harness {
    Harness(Bench::new(test).await)
}

tailrace_kit::sink_tests!(harness);

async fn table(test: &str) -> SinkTable<Harness> {
    SinkTable::new(harness(test).await, test).await
}

tailrace_kit::reader_tests!(table);
