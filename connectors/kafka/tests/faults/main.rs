//! The named points of a commit are reached in order, each once. A process of its own, because the hook is the process's.

use std::sync::Mutex;

use tailrace_contract::{Log, fault};

#[path = "../log/support.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod support;

use support::{Change::Insert, batch, broker, checkpoint, log, table};

static REACHED: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_passes_its_points_in_order() {
    fault::install(|point| REACHED.lock().unwrap().push(point));
    let log = log(&broker());
    let orders = table("orders");
    let mut opened = log.open_writer().await.unwrap();
    for transaction in 1..=20 {
        opened.writer.append(&batch(&orders, transaction, &[Insert(1, "one")])).await.unwrap();
        REACHED.lock().unwrap().clear();
        opened.writer.commit(&checkpoint(transaction)).await.unwrap();
        let reached = REACHED.lock().unwrap().clone();
        assert_eq!(reached, ["kafka.produced", "kafka.commit_sent", "kafka.committed"]);
    }
}
