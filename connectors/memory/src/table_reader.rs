//! The reader of a table of the source or the target: a view is a copy of the table's rows, which share their bytes.
//!
//! The fakes' own order of a key is that of its bytes: no order of numbers, so that nobody comes to rely on one.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
};

use tailrace_contract::{BoxFuture, Error, ReadLimits, Result, Rows as Wanted, TableReader, TargetTable};
use tailrace_row::{Key, Operation, Origin, Record, RecordBatch, TableSchema};

use crate::{
    faults::{Call, Faults},
    row::{Row, copy_image},
    sink::{Rows, SinkServer},
    source::SourceServer,
};

/// Where the table lies.
pub(crate) enum Held {
    BySource(Arc<SourceServer>),
    BySink(Arc<SinkServer>, TargetTable),
}

impl Held {
    fn faults(&self) -> &Faults {
        match self {
            Self::BySource(server) => &server.faults,
            Self::BySink(server, _) => &server.faults,
        }
    }

    fn rows(&self, schema: &TableSchema) -> Option<Rows> {
        match self {
            Self::BySource(server) => {
                let mut binlog = server.binlog();
                binlog.pass_call();
                let table = binlog.shown(schema.name()).filter(|table| table.schema.id() == schema.id())?;
                Some(table.rows.clone())
            }
            Self::BySink(server, target) => {
                let state = server.state();
                let table = state.tables.get(target)?;
                let mut shapes = table.rows.values().map(Row::schema).peekable();
                let is_known = match shapes.peek() {
                    Some(_) => shapes.all(|shape| shape.id() == schema.id()),
                    None => table.schema.id() == schema.id(),
                };
                is_known.then(|| table.rows.clone())
            }
        }
    }
}

/// Reads one table.
pub(crate) struct MemoryTableReader {
    held: Held,
    schema: Arc<TableSchema>,
    under_way: VecDeque<Row>,
}

impl MemoryTableReader {
    pub(crate) async fn open(held: Held, schema: Arc<TableSchema>) -> Result<Box<dyn TableReader>> {
        held.faults().enter(Call::OpenReader).await?.answer(Call::OpenReader)?;
        Ok(Box::new(Self::new(held, schema)?))
    }

    pub(crate) fn new(held: Held, schema: Arc<TableSchema>) -> Result<Self> {
        if schema.key().is_empty() {
            return Err(Error::table_failed(schema.name().clone(), "the table has no key to read it by"));
        }
        let reader = Self { held, schema, under_way: VecDeque::new() };
        reader.view()?;
        Ok(reader)
    }

    /// Ends the read that is under way.
    pub(crate) fn end(&mut self) {
        self.under_way.clear();
    }

    /// Begins to read so many of these rows, as they are now.
    pub(crate) fn begin_view(&mut self, rows: Wanted<'_>, rows_max: usize) -> Result<()> {
        let view = self.view()?;
        self.under_way = chosen(&view, rows).take(rows_max).cloned().collect();
        Ok(())
    }

    /// The key of the row that is so many rows behind the beginning of a range, if it has so many.
    pub(crate) async fn find_bound(
        &mut self,
        after: Option<&Key>,
        until: Option<&Key>,
        rows: u64,
    ) -> Result<Option<Key>> {
        let view = self.begin(Call::ReaderBound).await?;
        let Some(skipped) = rows.checked_sub(1) else { return Ok(None) };
        let mut rows = chosen(&view, Wanted::Range { after, until });
        let found = rows.nth(usize::try_from(skipped).unwrap_or(usize::MAX));
        Ok(found.map(|row| Key::of(&self.schema, row.image())))
    }

    fn view(&self) -> Result<Rows> {
        let altered = || {
            Error::transient("the table is not what the reader was opened with").on_table(self.schema.name().clone())
        };
        self.held.rows(&self.schema).ok_or_else(altered)
    }

    async fn begin(&mut self, call: Call) -> Result<Rows> {
        self.end();
        self.held.faults().enter(call).await?.answer(call)?;
        self.view()
    }
}

impl TableReader for MemoryTableReader {
    fn estimate(&mut self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(async { Ok(self.begin(Call::ReaderEstimate).await?.len() as u64) })
    }

    fn bound<'a>(&'a mut self, after: Option<&'a Key>, rows: u64) -> BoxFuture<'a, Result<Option<Key>>> {
        Box::pin(self.find_bound(after, None, rows))
    }

    fn read<'a>(&'a mut self, rows: Wanted<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let view = self.begin(Call::ReaderRead).await?;
            self.under_way = chosen(&view, rows).cloned().collect();
            Ok(())
        })
    }

    fn fill<'a>(
        &'a mut self,
        out: &'a mut RecordBatch,
        origin: &'a Origin,
        limits: ReadLimits,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            self.held.faults().enter(Call::ReaderFill).await?.answer(Call::ReaderFill)?;
            let (rows, bytes) = (out.len(), out.byte_len());
            let schema = out.add_schema(&self.schema);
            let origin = out.add_origin(origin.clone());
            while let Some(row) = self.under_way.pop_front() {
                let after = Some(copy_image(out, row.image()));
                let operation = Operation::Read;
                out.push(Record { operation, schema, origin, row: 0, lane: 0, offset: 0, before: None, after });
                if out.len() - rows >= limits.rows_max || out.byte_len() - bytes >= limits.bytes_max {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}

/// The rows that are wanted, in the order of their keys.
fn chosen<'v>(view: &'v Rows, rows: Wanted<'_>) -> Box<dyn Iterator<Item = &'v Row> + 'v> {
    match rows {
        Wanted::Range { after, until } => {
            let until = until.map(bytes_of);
            let within = move |(key, _): &(&Vec<u8>, &Row)| until.as_ref().is_none_or(|until| *key <= until);
            Box::new(view.range((behind(after), Bound::Unbounded)).take_while(within).map(|(_, row)| row))
        }
        Wanted::Keys(keys) => {
            let wanted: BTreeSet<Vec<u8>> = keys.iter().map(bytes_of).collect();
            Box::new(view.iter().filter(move |(key, _)| wanted.contains(*key)).map(|(_, row)| row))
        }
    }
}

fn behind(after: Option<&Key>) -> Bound<Vec<u8>> {
    after.map_or(Bound::Unbounded, |key| Bound::Excluded(bytes_of(key)))
}

/// As [`Row::key`] spells a key.
fn bytes_of(key: &Key) -> Vec<u8> {
    let image = key.image();
    let fields = (0..image.len()).map(|column| image.field_bytes(column));
    fields.flat_map(|field| (field.len() as u64).to_le_bytes().into_iter().chain(field.iter().copied())).collect()
}
