//! How rows get from a driver's stream to a caller who asks for them piece by piece.
//!
//! A driver's stream borrows its connection, so a reader can't hold both. Here an `async` block owns the connection and
//! streams; whenever it has filled a piece it offers it and stops. The feed polls that block from within its own calls: no task,
//! no queue, and never more than one piece in memory.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use super::{ProofBatch, ReadLimits};
use crate::{BoxFuture, Result};

/// When a piece is offered at the latest.
const PIECE_ROWS: usize = 256;
const PIECE_BYTES: usize = 64 << 10;

/// The piece on its way.
#[derive(Default)]
struct Slot {
    piece: ProofBatch,
    is_offered: bool,
}

/// The end that fills pieces.
pub struct ProofFeeder {
    slot: Arc<Mutex<Slot>>,
    /// The rows that are not offered yet. Append complete rows, then call [`ProofFeeder::row_is_complete`].
    pub piece: ProofBatch,
}

/// The end that a [`super::ProofReader`] asks. `S` is the connection, which comes back when a read is done.
pub struct ProofFeed<S> {
    columns: usize,
    slot: Arc<Mutex<Slot>>,
    /// Rows of the offered piece that were taken.
    taken: usize,
    pump: Option<BoxFuture<'static, Result<S>>>,
    idle: Option<S>,
}

impl<S> ProofFeed<S> {
    /// Of rows with so many columns, with a connection that is idle.
    #[must_use]
    pub fn new(columns: usize, connection: S) -> Self {
        Self { columns, slot: Arc::default(), taken: 0, pump: None, idle: Some(connection) }
    }

    /// The connection, if no read holds it: one that is under way is ended with its connection.
    pub fn take_idle(&mut self) -> Option<S> {
        self.pump = None;
        self.idle.take()
    }

    /// Begins a read: runs what `pump` makes until its first rows are there.
    pub async fn begin(&mut self, pump: impl FnOnce(ProofFeeder) -> BoxFuture<'static, Result<S>>) -> Result<()> {
        self.slot = Arc::new(Mutex::new(Slot { piece: ProofBatch::new(self.columns), is_offered: false }));
        self.taken = 0;
        self.pump = Some(pump(ProofFeeder { slot: Arc::clone(&self.slot), piece: ProofBatch::new(self.columns) }));
        self.advance().await
    }

    /// As [`super::ProofReader::fill`].
    pub async fn fill(&mut self, out: &mut ProofBatch, limits: ReadLimits) -> Result<bool> {
        let before = (out.len(), out.byte_len());
        loop {
            self.move_rows(out, before, limits);
            if self.has_rows() {
                return Ok(true);
            }
            if self.pump.is_none() {
                return Ok(false);
            }
            self.advance().await?;
        }
    }

    fn has_rows(&self) -> bool {
        lock(&self.slot).is_offered
    }

    /// One row goes whatever its size, so that it always goes on.
    fn move_rows(&mut self, out: &mut ProofBatch, (rows, bytes): (usize, usize), limits: ReadLimits) {
        let mut slot = lock(&self.slot);
        if !slot.is_offered {
            return;
        }
        let has_room = |out: &ProofBatch| {
            out.len() == rows || (out.len() < rows + limits.rows_max && out.byte_len() < bytes + limits.bytes_max)
        };
        while self.taken < slot.piece.len() && has_room(out) {
            out.push_row(&slot.piece, self.taken);
            self.taken += 1;
        }
        if self.taken == slot.piece.len() {
            slot.piece.clear();
            slot.is_offered = false;
            self.taken = 0;
        }
    }

    /// Until there is a piece, or the end. An error ends the read for good.
    async fn advance(&mut self) -> Result<()> {
        poll_fn(|context| self.poll_pump(context)).await
    }

    fn poll_pump(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(pump) = &mut self.pump else { return Poll::Ready(Ok(())) };
        match pump.as_mut().poll(context) {
            Poll::Ready(ended) => {
                self.pump = None;
                Poll::Ready(ended.map(|connection| self.idle = Some(connection)))
            }
            Poll::Pending if self.has_rows() => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl ProofFeeder {
    /// Offers the piece if it is big enough.
    pub async fn row_is_complete(&mut self) {
        if self.piece.len() >= PIECE_ROWS || self.piece.byte_len() >= PIECE_BYTES {
            self.offer().await;
        }
    }

    /// Offers what is left: the last call of a read.
    pub async fn end(mut self) {
        if !self.piece.is_empty() {
            self.offer().await;
        }
    }

    /// Waits until the piece is taken. Nobody is woken by that: who took it polls again.
    async fn offer(&mut self) {
        {
            let mut slot = lock(&self.slot);
            debug_assert!(!slot.is_offered, "the feed polls only when it wants a piece");
            std::mem::swap(&mut slot.piece, &mut self.piece);
            slot.is_offered = true;
        }
        poll_fn(|_| if lock(&self.slot).is_offered { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::Error;

    const LIMITS: ReadLimits = ReadLimits { rows_max: 100, bytes_max: 1 << 20 };

    /// Nothing here waits for anything.
    fn now<T>(future: impl Future<Output = T>) -> T {
        match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    async fn count_to(last: usize, mut feeder: ProofFeeder) -> Result<&'static str> {
        for number in 0..last {
            feeder.piece.push_field(|out| -> Result<()> {
                out.extend_from_slice(&number.to_be_bytes());
                Ok(())
            })?;
            feeder.row_is_complete().await;
        }
        feeder.end().await;
        if last == 7 { Err(Error::transient("broken")) } else { Ok("connection") }
    }

    fn begin(feed: &mut ProofFeed<&'static str>, last: usize) -> Result<()> {
        now(feed.begin(|feeder| Box::pin(count_to(last, feeder))))
    }

    #[test]
    fn every_row_comes_once_within_the_limits() {
        let mut feed = ProofFeed::new(1, "first");
        assert_eq!(feed.take_idle(), Some("first"));
        for last in [0, 1, 100, 255, 256, 257, 1000] {
            begin(&mut feed, last).unwrap();
            let (mut out, mut seen) = (ProofBatch::new(1), 0);
            loop {
                out.clear();
                let has_more = now(feed.fill(&mut out, LIMITS)).unwrap();
                assert!(out.len() <= LIMITS.rows_max && (!has_more || !out.is_empty()));
                for row in 0..out.len() {
                    assert_eq!(out.field(row, 0), (seen + row).to_be_bytes());
                }
                seen += out.len();
                if !has_more {
                    break;
                }
            }
            assert_eq!(seen, last);
            assert_eq!(feed.take_idle(), Some("connection"));
        }
    }

    #[test]
    fn an_error_comes_behind_its_rows() {
        let mut feed = ProofFeed::new(1, "first");
        begin(&mut feed, 7).unwrap();
        let mut out = ProofBatch::new(1);
        assert!(now(feed.fill(&mut out, LIMITS)).is_err());
        assert_eq!(out.len(), 7);
    }

    #[test]
    fn a_read_that_was_given_up_takes_its_connection_along() {
        let mut feed = ProofFeed::new(1, "first");
        assert_eq!(feed.take_idle(), Some("first"));
        begin(&mut feed, 1000).unwrap();
        assert!(now(feed.fill(&mut ProofBatch::new(1), LIMITS)).unwrap());
        assert_eq!(feed.take_idle(), None);
    }
}
