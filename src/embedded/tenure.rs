//! Who may move a stream, and whether the checkpoint that a target keeps can be gone on from.

use tailrace_contract::{Error, Owner, Result, StreamCheckpoint, StreamProgress};

use super::Embedded;

/// Of the document that a target keeps.
pub(super) const FORMAT: u32 = 1;

/// Whether we can go on from what the target holds.
pub(super) fn check_stored(stream: &str, source: &str, stored: Option<&StreamCheckpoint>) -> Result<()> {
    let Some(stored) = stored else { return Ok(()) };
    if stored.format > FORMAT {
        let found =
            format!("the checkpoint of the stream {stream} has format {}, this Tailrace knows {FORMAT}", stored.format);
        return Err(Error::refused(found).hint("a newer Tailrace wrote it: use that one"));
    }
    if stored.source != source {
        // Whether its history contains ours is the position's to say, when the source is opened.
        tracing::warn!(
            before = stored.source,
            now = source,
            stream,
            "ANOTHER SERVER: the stream was read from another one so far; it goes on only if this one has its history"
        );
    }
    Ok(())
}

/// What a process remembers of its claims: that somebody came after it. It never serves to write, only to end.
#[derive(Debug, Default)]
pub(super) struct Tenure {
    owner: Option<Owner>,
    /// Claims whose outcome is unknown.
    lost_claims: i64,
}

impl Tenure {
    /// Whether this process has held the stream.
    pub(super) fn has_begun(&self) -> bool {
        self.owner.is_some()
    }

    /// A process that was superseded while it was away must not take the stream back: two would take turns for ever.
    pub(super) fn check(&self, stream: &str, known: Option<&StreamProgress>) -> Result<()> {
        let (Some(ours), Some(known)) = (self.owner, known) else { return Ok(()) };
        if known.owner.0 <= ours.0 + self.lost_claims {
            return Ok(());
        }
        Err(Error::fenced(format!("the stream {stream} was claimed by another process"))
            .hint("only one process may move a stream; see who else runs, then start this one again"))
    }

    /// Becomes the owner.
    pub(super) async fn claim(&mut self, embedded: &Embedded) -> Result<StreamProgress> {
        self.lost_claims += 1;
        let claimed = embedded.sink.claim_stream(&embedded.stream).await?;
        *self = Self { owner: Some(claimed.owner), lost_claims: 0 };
        Ok(claimed)
    }
}
