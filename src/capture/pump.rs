//! The reading half of a session: stream → batches, while the writing half waits for the log.
//!
//! A commit takes milliseconds, and what the source sends meanwhile must fill one big batch rather than many small ones: so
//! when a batch had to wait before it could be handed over, the stream is asked once more, with the same batch. That is how
//! log transactions grow under load and stay small without it; no timer and no setting is involved. A batch that can be
//! handed over is not held back for a second read: if that one failed, the first would be lost with it, each time anew.

use tailrace_contract::{BatchEnd, BatchLimits, ChangeStream, Error, ErrorKind, Result};
use tailrace_row::RecordBatch;
use tokio::sync::mpsc;

use crate::runtime::tasks::Group;

/// Records and where they end.
pub(crate) struct Filled {
    pub(crate) batch: RecordBatch,
    pub(crate) end: BatchEnd,
}

/// Batches in circulation: one being written, one waiting, one being filled.
const BATCHES: usize = 3;

/// The reading half while it runs.
pub(crate) struct Pump {
    task: Group<Result<()>>,
}

/// The writing half's ends of the channels.
pub(crate) struct Pumped {
    /// What was read; it ends with the reading half.
    pub(crate) filled: mpsc::Receiver<Filled>,
    /// Where batches go back to be filled again.
    pub(crate) empty: mpsc::Sender<RecordBatch>,
}

impl Pump {
    /// Begins to read the stream.
    pub(crate) fn start(name: &'static str, stream: Box<dyn ChangeStream>, limits: BatchLimits) -> (Self, Pumped) {
        let (filled_sender, filled) = mpsc::channel(1);
        let (empty, empty_receiver) = mpsc::channel(BATCHES);
        for _ in 0..BATCHES {
            empty.try_send(RecordBatch::new()).expect("invariant: the channel has room for all batches");
        }
        let mut task = Group::new();
        task.spawn(name, pump(stream, limits, filled_sender, empty_receiver));
        (Self { task }, Pumped { filled, empty })
    }

    /// Ends the reading half, which may be waiting for the source, and tells why it would have ended.
    pub(crate) async fn end(mut self) -> Error {
        self.task.abort();
        match self.task.next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) | None => Error::transient("the change stream ended"),
            Some(Err(join)) if join.is_cancelled() => Error::transient("reading was cancelled"),
            Some(Err(join)) => Error::corrupt("the task that reads the source panicked").caused_by(join),
        }
    }
}

/// Of two errors the one that does not pass: who lost a connection and was fenced meanwhile must not come back.
pub(crate) fn graver(writing: Error, reading: Error) -> Error {
    let passes = |error: &Error| error.kind() == ErrorKind::Transient;
    if passes(&writing) && !passes(&reading) { reading } else { writing }
}

/// Reads until the other half goes away or the stream fails.
async fn pump(
    mut stream: Box<dyn ChangeStream>,
    limits: BatchLimits,
    filled: mpsc::Sender<Filled>,
    mut empty: mpsc::Receiver<RecordBatch>,
) -> Result<()> {
    while let Some(mut batch) = empty.recv().await {
        batch.clear();
        let mut end = stream.read_batch(&mut batch, limits).await?;
        if filled.capacity() == 0 {
            if filled.reserve().await.is_err() {
                break;
            }
            let is_full = batch.byte_len() >= limits.bytes_max || batch.len() >= limits.records_max;
            if !batch.is_empty() && !is_full {
                end = stream.read_batch(&mut batch, limits).await?;
            }
        }
        if filled.send(Filled { batch, end }).await.is_err() {
            break;
        }
    }
    Ok(())
}
