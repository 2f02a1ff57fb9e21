//! The reading half of a session: stream → batches, while the writing half waits for the log.
//!
//! A commit takes milliseconds, and what the source sends meanwhile must fill one big batch rather than many small ones: so
//! when a batch had to wait before it could be handed over, the stream is asked once more, with the same batch. That is how
//! log transactions grow under load and stay small without it; no timer and no setting is involved. A batch that can be
//! handed over is not held back for a second read: if that one failed, the first would be lost with it, each time anew.

use std::sync::Arc;

use tailrace_contract::{BatchEnd, BatchLimits, ChangeStream, Error, ErrorKind, Result, SourcePlace, StreamCounts};
use tailrace_row::RecordBatch;
use tokio::sync::mpsc;

use crate::{runtime::tasks::Group, telemetry::Metrics};

/// Records and where they end.
pub(crate) struct Filled {
    pub(crate) batch: RecordBatch,
    pub(crate) end: BatchEnd,
    /// How far the source was read with it.
    pub(crate) place: Option<SourcePlace>,
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
    pub(crate) fn start(
        name: &'static str,
        stream: Box<dyn ChangeStream>,
        limits: BatchLimits,
        metrics: &Arc<Metrics>,
    ) -> (Self, Pumped) {
        let (filled_sender, filled) = mpsc::channel(1);
        let (empty, empty_receiver) = mpsc::channel(BATCHES);
        for _ in 0..BATCHES {
            empty.try_send(RecordBatch::new()).expect("invariant: the channel has room for all batches");
        }
        let mut task = Group::new();
        let counted = Counted { stream, counts: StreamCounts::default(), metrics: Arc::clone(metrics) };
        task.spawn(name, pump(counted, limits, filled_sender, empty_receiver));
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

/// A stream, and what of it was counted.
struct Counted {
    stream: Box<dyn ChangeStream>,
    counts: StreamCounts,
    metrics: Arc<Metrics>,
}

impl Counted {
    async fn read_batch(&mut self, batch: &mut RecordBatch, limits: BatchLimits) -> Result<BatchEnd> {
        let end = self.stream.read_batch(batch, limits).await?;
        let counts = self.stream.counts();
        if counts != self.counts {
            self.metrics.count_met(&counts.since(&self.counts));
            self.counts = counts;
        }
        Ok(end)
    }

    fn place(&self) -> Option<SourcePlace> {
        self.stream.place()
    }
}

/// Reads until the other half goes away or the stream fails.
async fn pump(
    mut stream: Counted,
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
        if filled.send(Filled { batch, end, place: stream.place() }).await.is_err() {
            break;
        }
    }
    Ok(())
}
