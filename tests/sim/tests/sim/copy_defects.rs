//! A reader of chunks that breaks a promise on purpose.

use std::sync::Arc;

use tailrace_contract::{
    BoxFuture, ChunkRange, ChunkReader, Position, ReadLimits, Result, Rows, SourcePlace, TableReader,
};
use tailrace_row::{Key, Origin, RecordBatch};

use crate::{defects::Defect, world::World};

pub(crate) struct BrokenChunks {
    inner: Box<dyn ChunkReader>,
    defect: Defect,
    world: Arc<World>,
    /// The next row is the first behind a bound.
    is_at_bound: bool,
    /// The last key of the range that is read.
    until: Option<Key>,
}

impl BrokenChunks {
    pub(crate) fn new(inner: Box<dyn ChunkReader>, defect: Defect, world: &Arc<World>) -> Self {
        Self { inner, defect, world: Arc::clone(world), is_at_bound: false, until: None }
    }
}

impl TableReader for BrokenChunks {
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>> {
        self.inner.estimate()
    }

    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>> {
        self.inner.bound(after, rows)
    }

    fn read<'a>(&'a mut self, rows: Rows<'a>) -> BoxFuture<'a, Result<()>> {
        self.inner.read(rows)
    }

    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let may_have_more = self.inner.fill(out, origin, limits).await?;
            if self.defect == Defect::RowIsSkippedAtBound {
                out.retain(|_, _| !std::mem::take(&mut self.is_at_bound));
            }
            if let (Defect::RowIsSkippedAtEnd, Some(until)) = (self.defect, &self.until) {
                out.retain(|schema, image| Key::of(schema, image) != *until);
            }
            Ok(may_have_more)
        })
    }
}

impl ChunkReader for BrokenChunks {
    fn order(&self) -> String {
        self.inner.order()
    }

    fn read_chunk<'a>(&'a mut self, shown: &'a Position, range: ChunkRange<'a>) -> BoxFuture<'a, Result<()>> {
        self.is_at_bound = range.after.is_some();
        self.until = range.until.cloned();
        Box::pin(async move {
            let nothing = Position::new("db:0");
            let shown = if self.defect == Defect::NoWaitForVisibility { &nothing } else { shown };
            self.inner.read_chunk(shown, range).await
        })
    }

    fn read_keys<'a>(&'a mut self, shown: &'a Position, keys: &'a [Key]) -> BoxFuture<'a, Result<()>> {
        self.inner.read_keys(shown, keys)
    }

    fn bound_within<'a>(&'a mut self, range: ChunkRange<'a>) -> BoxFuture<'a, Result<Option<Key>>> {
        self.inner.bound_within(range)
    }

    fn end_of_view(&mut self) -> BoxFuture<'_, Result<SourcePlace>> {
        Box::pin(async {
            let end = self.inner.end_of_view().await?;
            let source = &self.world.source;
            Ok(match self.defect {
                Defect::EndIsExecuted => source.place_behind(source.executed()),
                Defect::EndIsTooEarly => source.place_behind(source.transactions().len().saturating_sub(1)),
                _ => end,
            })
        })
    }
}
