//! The named points of the commit are reached, in order: the chaos tests stop the process there.

use std::sync::Mutex;

use tailrace_contract::fault;
use tailrace_row::{Field, Value};

use crate::bench::{BIGINT, Bench, Changes, schema};

static REACHED: Mutex<Vec<&str>> = Mutex::new(Vec::new());

#[tokio::test]
async fn a_commit_passes_its_points() {
    fault::install(|name| REACHED.lock().unwrap().push(name));
    let bench = Bench::new("commit_points").await;
    let schema = schema(&[("id", BIGINT)], &[0]);
    bench.create(&schema).await;
    bench.apply(Changes::new(&schema).upsert(&[Field::Value(Value::Integer(1))])).await.unwrap();
    let reached = REACHED.lock().unwrap();
    let of_ours: Vec<&str> = reached.iter().copied().filter(|name| name.starts_with("postgres.")).collect();
    assert!(of_ours.windows(2).any(|pair| pair == ["postgres.commit_sent", "postgres.committed"]), "{of_ours:?}");
}
