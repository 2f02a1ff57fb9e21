//! The one writer of the log. After an error it must not be used any more, and says so.

use std::sync::Arc;

use tailrace_contract::{BoxFuture, Checkpoint, Error, LedgerEntry, LogWriter, Result, SchemaChange};
use tailrace_row::RecordBatch;

use crate::{
    faults::{Call, Outcome, Torn},
    log::{LateCommit, LogServer, LogState, append_copies, commit_lost},
};

pub(crate) struct MemoryLogWriter {
    server: Arc<LogServer>,
    number: u64,
    has_failed: bool,
}

impl MemoryLogWriter {
    pub(crate) fn new(server: Arc<LogServer>, number: u64) -> Self {
        Self { server, number, has_failed: false }
    }

    /// From here to the end of the call the writer counts as failed, so that a dropped future ends it too.
    fn begin(&mut self) -> Result<()> {
        if self.has_failed {
            return Err(Error::corrupt("the log writer was used after it had failed"));
        }
        self.has_failed = true;
        Ok(())
    }

    fn check_owner(&self, state: &LogState) -> Result<()> {
        if state.writer == self.number {
            return Ok(());
        }
        Err(Error::fenced(format!("another capture writes the log {}", self.server.name))
            .hint("only one capture may run; the one that was started last goes on"))
    }

    async fn append_batch(&self, batch: &RecordBatch) -> Result<()> {
        let outcome = self.server.faults.enter(Call::LogAppend).await?;
        let mut state = self.server.state();
        self.check_owner(&state)?;
        append_copies(batch, &mut state.open);
        outcome.answer(Call::LogAppend)
    }

    async fn append_documents(&self, entries: &[LedgerEntry]) -> Result<()> {
        let outcome = self.server.faults.enter(Call::LogAppend).await?;
        let mut state = self.server.state();
        self.check_owner(&state)?;
        state.open_documents.extend_from_slice(entries);
        outcome.answer(Call::LogAppend)
    }

    async fn commit_open(&self, checkpoint: &Checkpoint) -> Result<()> {
        let outcome = self.server.faults.enter(Call::LogCommit).await?;
        let mut state = self.server.state();
        self.check_owner(&state)?;
        let checkpoint = checkpoint.clone();
        match outcome {
            Outcome::Answered => {
                state.publish(&self.server, Torn::WHOLE, Some(checkpoint));
                Ok(())
            }
            Outcome::Lost => {
                state.publish(&self.server, Torn::WHOLE, Some(checkpoint));
                Err(commit_lost())
            }
            Outcome::Late(calls) => {
                state.late.push((calls, LateCommit { writer: self.number, checkpoint, change: None }));
                Err(commit_lost())
            }
            Outcome::Torn(visible) => {
                state.publish(&self.server, visible, None);
                Err(commit_lost())
            }
        }
    }
}

impl MemoryLogWriter {
    async fn commit_change(&self, change: &SchemaChange, checkpoint: &Checkpoint) -> Result<u64> {
        let outcome = self.server.faults.enter(Call::LogCommit).await?;
        let mut state = self.server.state();
        self.check_owner(&state)?;
        if !state.open.is_empty() || !state.open_documents.is_empty() {
            return Err(Error::corrupt("a barrier was committed over records that were not"));
        }
        let checkpoint = checkpoint.clone();
        match outcome {
            Outcome::Answered => Ok(state.publish_barrier(&self.server, change, Some(checkpoint))),
            Outcome::Lost => {
                state.publish_barrier(&self.server, change, Some(checkpoint));
                Err(commit_lost())
            }
            Outcome::Late(calls) => {
                let change = Some(change.clone());
                state.late.push((calls, LateCommit { writer: self.number, checkpoint, change }));
                Err(commit_lost())
            }
            Outcome::Torn(visible) => {
                if visible.records > 0 {
                    state.publish_barrier(&self.server, change, None);
                }
                Err(commit_lost())
            }
        }
    }
}

impl LogWriter for MemoryLogWriter {
    fn append<'a>(&'a mut self, batch: &'a RecordBatch) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.begin()?;
            self.append_batch(batch).await?;
            self.has_failed = false;
            Ok(())
        })
    }

    fn append_ledger<'a>(&'a mut self, entries: &'a [LedgerEntry]) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.begin()?;
            self.append_documents(entries).await?;
            self.has_failed = false;
            Ok(())
        })
    }

    fn commit<'a>(&'a mut self, checkpoint: &'a Checkpoint) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            self.begin()?;
            self.commit_open(checkpoint).await?;
            self.has_failed = false;
            Ok(())
        })
    }

    fn commit_barrier<'a>(
        &'a mut self,
        change: &'a SchemaChange,
        checkpoint: &'a Checkpoint,
    ) -> BoxFuture<'a, Result<u64>> {
        Box::pin(async move {
            self.begin()?;
            let number = self.commit_change(change, checkpoint).await?;
            self.has_failed = false;
            Ok(number)
        })
    }
}
