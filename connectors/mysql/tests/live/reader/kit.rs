//! The kit's tests of a reader, on both servers.

use std::sync::Arc;

use tailrace_contract::{BoxFuture, Result, Source, TableReader};
use tailrace_kit::{Change, ReaderHarness, Row, sample_schema};
use tailrace_row::TableSchema;
use tokio::sync::Mutex;

use crate::harness::Database;

struct Table {
    db: Mutex<Database>,
    schema: Arc<TableSchema>,
}

impl Table {
    async fn new(mut db: Database) -> Self {
        db.run("CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY, name VARCHAR(100) CHARACTER SET utf8mb4 NULL)").await;
        Self { schema: sample_schema(&db.table("t")), db: Mutex::new(db) }
    }

    async fn run(&self, changes: &[Change]) {
        let literal = |row: &Row| match &row.name {
            Some(name) => format!("({}, '{name}')", row.id),
            None => format!("({}, NULL)", row.id),
        };
        let mut db = self.db.lock().await;
        db.run("BEGIN").await;
        for change in changes {
            match change {
                Change::Insert(row) => db.run(&format!("INSERT INTO t VALUES {}", literal(row))).await,
                Change::Update(_, row) => db.run(&format!("REPLACE INTO t VALUES {}", literal(row))).await,
                Change::Delete(row) => db.run(&format!("DELETE FROM t WHERE id = {}", row.id)).await,
            }
        }
        db.run("COMMIT").await;
    }
}

impl ReaderHarness for Table {
    fn schema(&self) -> Arc<TableSchema> {
        Arc::clone(&self.schema)
    }

    fn open(&self, schema: Arc<TableSchema>) -> BoxFuture<'_, Result<Box<dyn TableReader>>> {
        Box::pin(async { self.db.lock().await.source().open_reader(schema).await })
    }

    fn change<'a>(&'a self, changes: &'a [Change]) -> BoxFuture<'a, ()> {
        Box::pin(self.run(changes))
    }

    fn alter(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let mut db = self.db.lock().await;
            let columns = "SELECT COUNT(*) FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE()";
            let number = db.text(columns).await;
            db.run("SET lock_wait_timeout = 10").await;
            db.run(&format!("ALTER TABLE t ADD COLUMN extra{number} INT")).await;
        })
    }
}

mod mysql {
    //! MySQL.
    use super::{Database, Table};

    async fn table(test: &str) -> Table {
        Table::new(Database::new(&format!("kit_{test}")).await).await
    }

    tailrace_kit::reader_tests!(table);
}

mod mariadb {
    //! MariaDB.
    use super::{Database, Table};

    async fn table(test: &str) -> Table {
        Table::new(Database::on(lab::Mariadb::up("source").unwrap(), &format!("kit_{test}")).await).await
    }

    tailrace_kit::reader_tests!(table);
}
