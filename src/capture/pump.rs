//! The reading half of a session: stream → batches, while the writing half waits for the log.
//!
//! A commit takes milliseconds, and what the source sends meanwhile must fill one big batch rather than many small ones: so
//! when a batch had to wait before it could be handed over, the stream is asked once more, with the same batch. That is how
//! log transactions grow under load and stay small without it; no timer and no setting is involved. A batch that can be
//! handed over is not held back for a second read: if that one failed, the first would be lost with it, each time anew.

use tailrace_contract::{BatchEnd, ChangeStream, Result};
use tailrace_row::RecordBatch;
use tokio::sync::mpsc;

use super::READ_LIMITS;

/// Records and where they end.
pub(super) struct Filled {
    pub(super) batch: RecordBatch,
    pub(super) end: BatchEnd,
}

/// Batches in circulation: one being written, one waiting, one being filled.
pub(super) const BATCHES: usize = 3;

/// Reads until the other half goes away or the stream fails.
pub(super) async fn pump(
    mut stream: Box<dyn ChangeStream>,
    filled: mpsc::Sender<Filled>,
    mut empty: mpsc::Receiver<RecordBatch>,
) -> Result<()> {
    while let Some(mut batch) = empty.recv().await {
        batch.clear();
        let mut end = stream.read_batch(&mut batch, READ_LIMITS).await?;
        if filled.capacity() == 0 {
            if filled.reserve().await.is_err() {
                break;
            }
            let is_full = batch.byte_len() >= READ_LIMITS.bytes_max || batch.len() >= READ_LIMITS.records_max;
            if !batch.is_empty() && !is_full {
                end = stream.read_batch(&mut batch, READ_LIMITS).await?;
            }
        }
        if filled.send(Filled { batch, end }).await.is_err() {
            break;
        }
    }
    Ok(())
}
