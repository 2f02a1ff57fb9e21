//! A stream's first checkpoint, stored before anything runs.

use tailrace_contract::{ApplyBatch, Checkpoint, Position, Result, Sink, StreamCheckpoint, StreamStep, TableFilter};
use tailrace_row::{Epoch, RecordBatch};

use super::tenure::FORMAT;
use crate::capture::start::{first_checkpoint_at, known_epoch};

/// Lets the stream begin at a position of the source of that identity; returns the one that was there before, which stays.
pub(crate) async fn begin_at(
    sink: &dyn Sink,
    stream: &str,
    (source, filter): (String, &TableFilter),
    position: Position,
) -> Result<Option<Checkpoint>> {
    sink.prepare().await?;
    let mut writer = sink.open_writer(stream).await?;
    let claimed = sink.claim_stream(stream).await?;
    if let Some(known) = claimed.checkpoint {
        return Ok(Some(known.at));
    }
    let at = first_checkpoint_at(position, stream_epoch(sink, stream).await?);
    let tables = filter.patterns.iter().map(ToString::to_string).collect();
    let checkpoint = StreamCheckpoint { format: FORMAT, source, tables, at };
    let step = StreamStep { stream, saves: claimed.saves, owner: claimed.owner, checkpoint: &checkpoint, ledger: &[] };
    let nothing = RecordBatch::new();
    writer.apply(ApplyBatch { records: &nothing, changes: &[], progress: &[], stream: Some(step) }).await?;
    Ok(None)
}

/// The highest epoch that the target names of a stream whose checkpoint is gone: by the ledger's tables, and by statements that it knows
/// to be done, which one of the same sequence would be taken for.
pub(super) async fn stream_epoch(sink: &dyn Sink, stream: &str) -> Result<Option<Epoch>> {
    let meetings = sink.meetings(stream).await?.into_iter().map(|meeting| meeting.sequence.epoch).max();
    known_epoch(meetings, &sink.ledger(stream).await?)
}
