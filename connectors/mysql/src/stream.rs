//! The change stream: binlog packets in, batches of records out, with deadlines.
//!
//! When a batch ends: see [`ChangeStream`]. The one thing to know is what happens when everything received is used up.
//! Between transactions with records in hand it looks once whether more has come and else hands over at once, so a lone
//! commit waits for nobody. Under load the server's data is always there, and batches fill to their limits.
//!
//! Received bytes and the place inside a rows event are kept in here, never in a future. It never reconnects: an error goes to
//! the engine, which opens a new stream from its checkpoint.

use std::{future::poll_fn, ops::Range, pin::pin, task::Poll, time::Duration};

use tailrace_contract::{BatchEnd, BatchLimits, BoxFuture, ChangeStream, Error, Result};
use tailrace_row::RecordBatch;
use tokio::{
    task::yield_now,
    time::{Instant, timeout_at},
};

use crate::{
    binlog::{BinlogReader, Step},
    protocol::Connection,
};

/// Follows one connection on which the binlog is being sent.
pub(crate) struct MysqlChangeStream {
    connection: Connection,
    reader: BinlogReader,
    /// The packet whose rows are not all taken yet.
    open: Option<Range<usize>>,
    /// When the server was last heard.
    heard_at: Instant,
    /// Silence beyond this means that the connection is dead.
    silence_max: Duration,
}

/// Why taking stopped.
enum Taken {
    /// The batch is full, inside or behind a transaction.
    Full,
    /// Nothing more was received.
    UsedUp,
}

impl MysqlChangeStream {
    /// Waits until the server has accepted the request, which it shows by describing the format.
    pub(crate) async fn begin(connection: Connection, reader: BinlogReader, silence_max: Duration) -> Result<Self> {
        let mut stream = Self { connection, reader, open: None, heard_at: Instant::now(), silence_max };
        let mut none = RecordBatch::new();
        let limits = BatchLimits { bytes_max: 0, records_max: 0, wait_max: Duration::ZERO };
        while !stream.reader.has_begun() {
            if stream.take_packet(&mut none, &limits)?.is_none() {
                stream.receive(None).await?;
            }
        }
        Ok(stream)
    }

    async fn read(&mut self, out: &mut RecordBatch, limits: BatchLimits) -> Result<BatchEnd> {
        let deadline = Instant::now() + limits.wait_max;
        loop {
            if let Taken::Full = self.take(out, &limits)? {
                return Ok(self.end(out));
            }
            let is_between = self.reader.is_between();
            if is_between && !out.is_empty() {
                // Never waits, and at a steady flow of other tables' changes no longer than the caller allows.
                if !self.receive_at_once().await? || Instant::now() >= deadline {
                    return Ok(self.end(out));
                }
            } else if is_between && Instant::now() >= deadline || !self.receive(Some(deadline)).await? {
                return Ok(self.end(out));
            }
        }
    }

    /// Takes what was received, up to the limits. A full batch still takes the end of its transaction, if that comes next.
    fn take(&mut self, out: &mut RecordBatch, limits: &BatchLimits) -> Result<Taken> {
        loop {
            let is_full = out.byte_len() >= limits.bytes_max || out.len() >= limits.records_max;
            if is_full && (self.open.is_some() || self.reader.is_between()) {
                return Ok(Taken::Full);
            }
            if self.take_packet(out, limits)?.is_none() {
                return Ok(if is_full { Taken::Full } else { Taken::UsedUp });
            }
        }
    }

    /// Takes one packet or the rest of one; `None` if there is none.
    fn take_packet(&mut self, out: &mut RecordBatch, limits: &BatchLimits) -> Result<Option<()>> {
        if let Some(packet) = &self.open {
            if self.reader.rows(self.connection.bytes(packet), out, limits)? {
                self.open = None;
            }
            return Ok(Some(()));
        }
        let Some(packet) = self.connection.buffered()? else { return Ok(None) };
        let bytes = self.connection.bytes(&packet);
        let event = match bytes.first() {
            Some(0) => packet.start + 1..packet.end,
            Some(0xff) => return Err(Connection::error_of(bytes)),
            Some(0xfe) => return Err(Error::transient("the server ended the binlog dump")),
            _ => return Err(Error::corrupt("the server sent an unknown packet in the binlog dump")),
        };
        if self.reader.event(self.connection.bytes(&event))? == Step::Rows {
            self.open = Some(event);
        }
        Ok(Some(()))
    }

    /// Why the batch ends here. Complete transactions may stand in it before the one in progress.
    fn end(&self, out: &RecordBatch) -> BatchEnd {
        let mark = self.reader.mark();
        match self.reader.split() {
            Some(split) => BatchEnd::MidTransaction { mark, split },
            None if out.is_empty() => BatchEnd::Idle(mark),
            None => BatchEnd::TransactionEnd(mark),
        }
    }

    /// Receives something, up to the deadline: then `false`. A server that is silent for too long counts as dead.
    async fn receive(&mut self, deadline: Option<Instant>) -> Result<bool> {
        let silence_max = self.silence_max();
        let dead_at = self.heard_at + silence_max;
        let until = deadline.map_or(dead_at, |deadline| deadline.min(dead_at));
        match timeout_at(until, self.connection.fill()).await {
            Ok(received) => received?,
            Err(_) if until < dead_at => return Ok(false),
            // After a long pause of ours only a look decides: what was sent meanwhile lies ready.
            Err(_) if self.receive_at_once().await? => {}
            Err(_) => {
                let seconds = silence_max.as_secs_f64();
                return Err(Error::transient(format!("the server was silent for {seconds:.1} s, and counts as dead")));
            }
        }
        self.heard_at = Instant::now();
        Ok(true)
    }

    fn silence_max(&self) -> Duration {
        /// More than it takes to read some files of the binlog from a slow disk.
        const SEARCH_MAX: Duration = Duration::from_secs(600);
        if self.reader.is_sought() { self.silence_max.max(SEARCH_MAX) } else { self.silence_max }
    }

    /// Receives what is there already; `false` if there is nothing.
    async fn receive_at_once(&mut self) -> Result<bool> {
        if !self.try_receive().await? {
            // What came meanwhile is seen only after the runtime has asked the system; a caller that never waits for anything
            // else would keep it from asking.
            yield_now().await;
            if !self.try_receive().await? {
                return Ok(false);
            }
        }
        self.heard_at = Instant::now();
        Ok(true)
    }

    async fn try_receive(&mut self) -> Result<bool> {
        let mut fill = pin!(self.connection.fill());
        let received = poll_fn(|context| match fill.as_mut().poll(context) {
            Poll::Ready(received) => Poll::Ready(Some(received)),
            Poll::Pending => Poll::Ready(None),
        });
        match received.await {
            Some(received) => received.map(|()| true),
            None => Ok(false),
        }
    }
}

impl ChangeStream for MysqlChangeStream {
    fn read_batch<'a>(&'a mut self, out: &'a mut RecordBatch, limits: BatchLimits) -> BoxFuture<'a, Result<BatchEnd>> {
        Box::pin(self.read(out, limits))
    }
}
