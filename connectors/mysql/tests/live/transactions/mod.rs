//! What lies between two boundaries: compressed transactions, XA, savepoints, rollbacks. Whatever the binlog makes of a
//! transaction, its rows come once, with the same numbers from every place that may be saved.

mod compressed;
mod otherwise;
pub(crate) mod rollbacks;
pub(crate) mod xa;

use tailrace_contract::{BatchEnd, BatchLimits, Checkpoint};
use tailrace_row::{Epoch, Field, Operation, Sequence, Value};

use crate::harness::{Database, LIMITS, Stream};

/// A record's place in the order, what happened, the table, and its two columns.
pub(crate) type Seen = (Sequence, Operation, String, i64, String);

/// What came in one batch, and the checkpoint behind it.
pub(crate) type Part = (Vec<Seen>, Checkpoint);

/// What the batch holds of tables with a number and a text.
fn seen(stream: &Stream) -> Vec<Seen> {
    let batch = &stream.batch;
    let seen = |record| {
        let image = batch.after(record).or(batch.before(record)).unwrap();
        let fields: Vec<Field<'_>> = image.fields().collect();
        let table = batch.schema(record).name().table.to_string();
        match fields[..] {
            [Field::Value(Value::Integer(id)), Field::Value(Value::Text(text))] => {
                (batch.sequence(record), record.operation, table, id, text.to_owned())
            }
            _ => panic!("{fields:?}"),
        }
    };
    batch.records().iter().map(seen).collect()
}

/// Reads so many records in batches of at most `step`, with the checkpoint behind each batch.
async fn read(stream: &mut Stream, count: usize, step: usize) -> Vec<Part> {
    let (mut all, mut found) = (Vec::new(), 0);
    while found < count {
        let (mark, split) = match stream.next_within(BatchLimits { records_max: step, ..LIMITS }).await.unwrap() {
            BatchEnd::TransactionEnd(mark) => (mark, None),
            BatchEnd::MidTransaction { mark, split } => (mark, Some(split)),
            end @ (BatchEnd::Idle(_) | BatchEnd::SchemaChange { .. }) => panic!("{end:?}"),
        };
        let seen = seen(stream);
        found += seen.len();
        all.push((seen, Checkpoint { epoch: Epoch(3), mark, split }));
    }
    assert_eq!(found, count, "{:?}", all.last());
    all
}

/// From every checkpoint the rest comes again, with the same numbers.
async fn check_resuming(db: &Database, tables: &[&str], all: &[Part], step: usize) {
    for (at, (_, checkpoint)) in all.iter().enumerate().take(all.len() - 1) {
        let wanted: Vec<Seen> = all[at + 1..].iter().flat_map(|(seen, _)| seen.clone()).collect();
        let mut again = db.follow_from(checkpoint, tables).await.unwrap();
        let rest: Vec<Seen> =
            read(&mut again, wanted.len(), step).await.into_iter().flat_map(|(seen, _)| seen).collect();
        assert!(rest == wanted, "from {checkpoint:?}");
    }
}
