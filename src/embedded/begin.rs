//! A stream's first checkpoint, stored before anything runs.

use tailrace_contract::{ApplyBatch, Checkpoint, Result, Sink, StreamCheckpoint, StreamStep, TableFilter};
use tailrace_row::RecordBatch;

use super::tenure::FORMAT;

/// Lets the stream begin at a checkpoint of the source of that identity; returns the one that was there before, which stays.
pub(crate) async fn begin_at(
    sink: &dyn Sink,
    stream: &str,
    (source, filter): (String, &TableFilter),
    at: Checkpoint,
) -> Result<Option<Checkpoint>> {
    sink.prepare().await?;
    let mut writer = sink.open_writer(stream).await?;
    let claimed = sink.claim_stream(stream).await?;
    if let Some(known) = claimed.checkpoint {
        return Ok(Some(known.at));
    }
    let tables = filter.patterns.iter().map(ToString::to_string).collect();
    let checkpoint = StreamCheckpoint { format: FORMAT, source, tables, at };
    let step = StreamStep { stream, saves: claimed.saves, owner: claimed.owner, checkpoint: &checkpoint, ledger: &[] };
    let nothing = RecordBatch::new();
    writer.apply(ApplyBatch { records: &nothing, changes: &[], progress: &[], stream: Some(step) }).await?;
    Ok(None)
}
