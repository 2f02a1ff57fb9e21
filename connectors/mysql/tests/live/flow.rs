//! Transactions in, batches out.

use tailrace_contract::BatchEnd;
use tailrace_row::{Field, Operation, Value};

use crate::harness::Database;

#[tokio::test]
async fn one_insert_arrives() {
    let mut db = Database::new("flow_one_insert").await;
    db.run("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20))").await;
    let mut stream = db.follow(&["t"]).await;
    db.run("INSERT INTO t VALUES (7, 'seven')").await;
    let end = stream.next().await.unwrap();
    assert!(matches!(end, BatchEnd::TransactionEnd(_)), "{end:?}");
    let record = &stream.batch.records()[0];
    assert_eq!((stream.batch.len(), record.operation), (1, Operation::Insert));
    let after: Vec<Field<'_>> = stream.batch.after(record).unwrap().fields().collect();
    assert_eq!(after, [Field::Value(Value::Integer(7)), Field::Value(Value::Text("seven"))]);
}
