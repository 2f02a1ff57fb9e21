//! Rows of a mebibyte, and one beyond the protocol's packets of 16: they stream through. And a connection that ends among them.

use mysql_async::prelude::Queryable;
use tailrace_contract::{ErrorKind, ReadLimits, Rows};
use tailrace_row::{Field, RecordBatch, Value};

use super::{open, origin};
use crate::harness::Database;

const MIB: usize = 1 << 20;
const ROWS: usize = 300;
const GIANT: usize = 20 * MIB;

/// The server makes the big values while it sends them.
async fn table(name: &str) -> Database {
    let mut db = Database::new(name).await;
    db.run(&format!(
        "CREATE TABLE t (id INT PRIMARY KEY, big LONGTEXT CHARACTER SET latin1 AS (REPEAT('x', IF(id = 7, {GIANT}, {MIB}))) VIRTUAL)"
    ))
    .await;
    let ids: Vec<String> = (0..ROWS).map(|id| format!("({id})")).collect();
    db.run(&format!("INSERT INTO t (id) VALUES {}", ids.join(", "))).await;
    db
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn big_rows_stream_through() {
    let db = table("reader_big").await;
    let (_, mut reader) = open(&db, "t").await;
    reader.read(Rows::ALL).await.unwrap();
    let limits = ReadLimits { rows_max: 1_000, bytes_max: 2 * MIB };
    let (mut batch, mut bytes, mut rows) = (RecordBatch::new(), 0, 0);
    let mut resident = Vec::new();
    loop {
        let may_have_more = reader.fill(&mut batch, &origin(), limits).await.unwrap();
        assert!(batch.byte_len() < 3 * MIB || (batch.byte_len() > GIANT && batch.byte_len() < GIANT + 3 * MIB));
        for record in batch.records() {
            let Field::Value(Value::Text(text)) = batch.after(record).unwrap().field(1) else { panic!("no text") };
            assert!(text.bytes().all(|byte| byte == b'x'));
            (bytes, rows) = (bytes + text.len(), rows + 1);
        }
        resident.push(resident_bytes());
        batch.clear();
        if !may_have_more {
            break;
        }
    }
    assert_eq!((rows, bytes), (ROWS, (ROWS - 1) * MIB + GIANT));
    // Behind the giant nothing grows. Other tests of this process come and go meanwhile.
    let (early, late) = (resident[20], resident[resident.len() - 1]);
    assert!(late < early + 100 * MIB, "from {early} to {late} bytes over {bytes}");
}

#[tokio::test]
async fn a_connection_that_ends_is_transient() {
    let mut db = table("reader_killed").await;
    let (_, mut reader) = open(&db, "t").await;
    reader.read(Rows::ALL).await.unwrap();
    let limits = ReadLimits { rows_max: 1, bytes_max: MIB };
    let mut batch = RecordBatch::new();
    assert!(reader.fill(&mut batch, &origin(), limits).await.unwrap());
    let query = "SELECT id FROM information_schema.processlist WHERE info LIKE '%`reader_killed`.`t`%' AND id <> CONNECTION_ID()";
    let id: u64 = db.conn.query_first(query).await.unwrap().expect("the server is sending");
    db.run(&format!("KILL {id}")).await;
    let error = loop {
        batch.clear();
        match reader.fill(&mut batch, &origin(), limits).await {
            Ok(may_have_more) => assert!(may_have_more, "the read was not ended"),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.table()), (ErrorKind::Transient, Some(&db.table("t"))), "{error}");
}
