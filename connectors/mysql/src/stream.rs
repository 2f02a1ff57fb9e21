//! The change stream: binlog packets in, batches of records out, with deadlines.
//!
//! When a batch ends: see [`ChangeStream`]. The one thing to know is what happens when everything received is used up.
//! Between transactions with records in hand it looks once whether more has come and else hands over at once, so a lone
//! commit waits for nobody. Under load the server's data is always there, and batches fill to their limits.
//!
//! Received bytes and the place inside an event are kept in here, never in a future. It never reconnects: an error goes to
//! the engine, which opens a new stream from its checkpoint.

use std::{future::poll_fn, ops::Range, pin::pin, task::Poll, time::Duration};

use tailrace_contract::{
    BatchEnd, BatchLimits, BoxFuture, ChangeStream, Error, Result, SourcePlace, SourceSettings, StreamCounts,
};
use tailrace_row::RecordBatch;
use tokio::{
    task::yield_now,
    time::{Instant, timeout_at},
};

use crate::{
    binlog::{BinlogReader, Step, WantedGroup},
    group::GroupReader,
    protocol::Connection,
};

/// Follows one connection on which the binlog is being sent.
pub(crate) struct MysqlChangeStream {
    connection: Connection,
    reader: BinlogReader,
    settings: SourceSettings,
    /// Where the first phase of an XA transaction is read again, until it is done: then all events come from there.
    group: Option<GroupReader>,
    /// The packet of which not all is taken yet.
    open: Option<Range<usize>>,
    /// When the server was last heard.
    heard_at: Instant,
    /// Silence beyond this means that the connection is dead.
    silence_max: Duration,
}

/// Why taking stopped.
enum Taken {
    /// The batch is full, inside or behind a transaction, or a change of tables comes next.
    Full,
    /// Nothing more was received.
    UsedUp,
    /// An XA transaction is committed whose first phase must be read again.
    Group(WantedGroup),
}

impl MysqlChangeStream {
    /// Waits until the server has accepted the request, which it shows by describing the format.
    pub(crate) async fn begin(
        connection: Connection,
        reader: BinlogReader,
        settings: SourceSettings,
        silence_max: Duration,
    ) -> Result<Self> {
        let heard_at = Instant::now();
        let mut stream = Self { connection, reader, settings, group: None, open: None, heard_at, silence_max };
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
            match self.take(out, &limits)? {
                Taken::Full => return self.end(out),
                Taken::Group(wanted) => {
                    self.open_group(wanted).await?;
                    continue;
                }
                Taken::UsedUp => {}
            }
            let is_between = self.reader.is_between();
            if is_between && !out.is_empty() {
                // Never waits, and at a steady flow of other tables' changes no longer than the caller allows.
                if !self.receive_at_once().await? || Instant::now() >= deadline {
                    return self.end(out);
                }
            } else if is_between && Instant::now() >= deadline || !self.receive(Some(deadline)).await? {
                return self.end(out);
            }
        }
    }

    /// Takes what was received, up to the limits. A full batch still takes the end of its transaction, if that comes next.
    fn take(&mut self, out: &mut RecordBatch, limits: &BatchLimits) -> Result<Taken> {
        loop {
            let is_full = out.byte_len() >= limits.bytes_max || out.len() >= limits.records_max;
            if self.reader.is_at_change() || is_full && (self.reader.has_rows() || self.reader.is_between()) {
                return Ok(Taken::Full);
            }
            match self.take_packet(out, limits)? {
                None if is_full => return Ok(Taken::Full),
                None => return Ok(Taken::UsedUp),
                Some(Step::Group) => return Ok(Taken::Group(self.reader.wanted_group())),
                Some(Step::Continue | Step::TransactionEnd | Step::Rows | Step::Parts | Step::SchemaChange) => {}
            }
        }
    }

    async fn open_group(&mut self, wanted: WantedGroup) -> Result<()> {
        let group = GroupReader::open(&self.settings, &wanted).await?;
        self.group = Some(group.ok_or_else(|| self.reader.missing_group(&wanted))?);
        self.heard_at = Instant::now();
        Ok(())
    }

    /// Takes one packet or more of one; `None` if there is none.
    fn take_packet(&mut self, out: &mut RecordBatch, limits: &BatchLimits) -> Result<Option<Step>> {
        if let Some(packet) = self.open.take() {
            let bytes = match &self.group {
                Some(group) => group.bytes(&packet),
                None => self.connection.bytes(&packet),
            };
            let step = self.reader.proceed(bytes, out, limits)?;
            self.follow(step, packet);
            return Ok(Some(step));
        }
        let (step, packet) = match &mut self.group {
            Some(group) => {
                let Some((header, event)) = group.buffered()? else { return Ok(None) };
                (self.reader.group_event(header, group.bytes(&event))?, event)
            }
            None => {
                let Some(event) = self.next_event()? else { return Ok(None) };
                (self.reader.event(self.connection.bytes(&event))?, event)
            }
        };
        self.reader.take_back(out)?;
        self.follow(step, packet);
        Ok(Some(step))
    }

    /// The next event that was received.
    #[inline]
    fn next_event(&mut self) -> Result<Option<Range<usize>>> {
        let Some(packet) = self.connection.buffered()? else { return Ok(None) };
        let bytes = self.connection.bytes(&packet);
        match bytes.first() {
            Some(0) => Ok(Some(packet.start + 1..packet.end)),
            Some(0xff) => Err(Connection::error_of(bytes)),
            Some(0xfe) => Err(Error::transient("the server ended the binlog dump")),
            _ => Err(Error::corrupt("the server sent an unknown packet in the binlog dump")),
        }
    }

    /// Keeps the packet if there is more in it.
    #[inline]
    fn follow(&mut self, step: Step, packet: Range<usize>) {
        match step {
            Step::Rows | Step::Parts => self.open = Some(packet),
            Step::TransactionEnd => self.group = None,
            Step::Continue | Step::Group | Step::SchemaChange => {}
        }
    }

    /// Why the batch ends here. Complete transactions may stand in it before the one in progress.
    fn end(&mut self, out: &RecordBatch) -> Result<BatchEnd> {
        let change = if out.is_empty() { self.reader.take_change()? } else { None };
        let mark = self.reader.mark();
        Ok(match (change, self.reader.split()) {
            (Some(change), _) => BatchEnd::SchemaChange { mark, change },
            (None, Some(split)) => BatchEnd::MidTransaction { mark, split },
            (None, None) if out.is_empty() => BatchEnd::Idle(mark),
            (None, None) => BatchEnd::TransactionEnd(mark),
        })
    }

    /// Receives something, up to the deadline: then `false`. A server that is silent for too long counts as dead.
    async fn receive(&mut self, deadline: Option<Instant>) -> Result<bool> {
        let silence_max = self.silence_max();
        let dead_at = self.heard_at + silence_max;
        let until = deadline.map_or(dead_at, |deadline| deadline.min(dead_at));
        match timeout_at(until, self.fill()).await {
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

    /// From where events come now.
    async fn fill(&mut self) -> Result<()> {
        match &mut self.group {
            Some(group) => group.fill().await,
            None => self.connection.fill().await,
        }
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
        let mut fill = pin!(self.fill());
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

    fn place(&self) -> Option<SourcePlace> {
        self.reader.read_place()
    }

    fn counts(&self) -> StreamCounts {
        self.reader.counts()
    }
}
