//! What a commit makes durable, for whom.

use tailrace_contract::Log;

use crate::support::{Change, batch, broker, checkpoint, log, read_all, read_from_start, table};

#[tokio::test(flavor = "multi_thread")]
async fn records_and_checkpoint_become_durable_together() {
    let log = log(&broker());
    let orders = table("orders");
    log.prepare(&[orders.clone()]).await.unwrap();
    let mut opened = log.open_writer().await.unwrap();
    assert_eq!(opened.checkpoint, None);
    let changes = [Change::Insert(1, "one"), Change::Insert(2, "two"), Change::Update(1, "one", 1, "uno")];
    opened.writer.append(&batch(&orders, 1, &changes)).await.unwrap();
    opened.writer.commit(&checkpoint(1)).await.unwrap();

    // A second transaction is written and never committed.
    opened.writer.append(&batch(&orders, 2, &[Change::Delete(2, "two")])).await.unwrap();
    drop(opened);

    let (mut reader, _) = read_from_start(&log, &[&orders]).await;
    let mut all = read_all(&mut *reader, 3).await;
    all.sort_by(|one, other| one.sequence.cmp(&other.sequence));
    let told: Vec<_> = all.iter().map(|seen| (seen.operation, seen.sequence.as_str(), seen.after.clone())).collect();
    let row = |id: i64, note: &str| Some((id, note.to_owned()));
    assert_eq!(
        told,
        [
            ("insert", "1-1-0-0", row(1, "one")),
            ("insert", "1-1-0-2", row(2, "two")),
            ("update", "1-1-0-4", row(1, "uno")),
        ]
    );
    assert_eq!(log.open_writer().await.unwrap().checkpoint, Some(checkpoint(1)));
}
