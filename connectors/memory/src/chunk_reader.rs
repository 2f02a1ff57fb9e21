//! The reader of chunks of the source's tables: each read is a view that shows what was delivered up to a position.
//!
//! Waiting passes calls, as somebody who asks again and again does, so that a stall that is counted in calls ends.

use std::{sync::Arc, time::Duration};

use tailrace_contract::{
    BoxFuture, ChunkRange, ChunkReader, Error, Position, ReadLimits, Result, Rows, SourcePlace, TableReader,
};
use tailrace_row::{Key, Origin, RecordBatch, TableSchema};
use tokio::time::{Instant, sleep};

use crate::{
    faults::Call,
    source::SourceServer,
    table_reader::{Held, MemoryTableReader},
};

/// How long is waited for what was delivered.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

pub(crate) struct MemoryChunkReader {
    server: Arc<SourceServer>,
    reader: MemoryTableReader,
    /// Whether all rows of the last read were taken.
    is_taken: bool,
}

impl MemoryChunkReader {
    pub(crate) async fn open(server: &Arc<SourceServer>, schema: Arc<TableSchema>) -> Result<Self> {
        server.faults.enter(Call::OpenChunks).await?.answer(Call::OpenChunks)?;
        let reader = MemoryTableReader::new(Held::BySource(Arc::clone(server)), schema)?;
        Ok(Self { server: Arc::clone(server), reader, is_taken: false })
    }

    /// Begins a read once all is visible that was delivered up to the position.
    async fn begin(&mut self, shown: &Position, rows: Rows<'_>, rows_max: u64) -> Result<()> {
        self.is_taken = false;
        self.reader.end();
        self.server.faults.enter(Call::ReaderChunk).await?.answer(Call::ReaderChunk)?;
        self.wait_until_visible(shown).await?;
        self.reader.begin_view(rows, usize::try_from(rows_max).unwrap_or(usize::MAX))
    }

    async fn wait_until_visible(&self, shown: &Position) -> Result<()> {
        let delivered = self.server.transactions_of(shown)?;
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            self.server.pass_call();
            if self.server.binlog().visible() >= delivered {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::transient(format!("{} does not show what it delivered", self.server.name)).at(shown));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

impl ChunkReader for MemoryChunkReader {
    fn order(&self) -> String {
        "bytes".to_owned()
    }

    fn read_chunk<'a>(&'a mut self, shown: &'a Position, range: ChunkRange<'a>) -> BoxFuture<'a, Result<()>> {
        let rows = Rows::Range { after: range.after, until: range.until };
        Box::pin(self.begin(shown, rows, range.rows_max))
    }

    fn read_keys<'a>(&'a mut self, shown: &'a Position, keys: &'a [Key]) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.begin(shown, Rows::Keys(keys), u64::MAX))
    }

    fn bound_within<'a>(&'a mut self, range: ChunkRange<'a>) -> BoxFuture<'a, Result<Option<Key>>> {
        self.is_taken = false;
        Box::pin(self.reader.find_bound(range.after, range.until, range.rows_max))
    }

    fn end_of_view(&mut self) -> BoxFuture<'_, Result<SourcePlace>> {
        Box::pin(async {
            self.server.faults.enter(Call::ReaderEndOfView).await?.answer(Call::ReaderEndOfView)?;
            if !self.is_taken {
                return Err(Error::corrupt("the end of a view was asked for before all of its rows were taken"));
            }
            self.server.pass_call();
            Ok(self.server.end())
        })
    }
}

impl TableReader for MemoryChunkReader {
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>> {
        self.reader.estimate()
    }

    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>> {
        self.reader.bound(after, rows)
    }

    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        self.is_taken = false;
        self.reader.read(rows)
    }

    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let may_have_more = self.reader.fill(out, origin, limits).await?;
            self.is_taken = !may_have_more;
            Ok(may_have_more)
        })
    }
}
