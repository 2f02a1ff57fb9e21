//! The scripted binlog: transactions of row changes, and the tables that they result in.
//!
//! A transaction is checked against the tables when it is committed: a script that contradicts itself is a fault of the test
//! and panics. Every rows event of every table is kept, so that filtered ones count in sequences as they do for real.
//!
//! Of each transaction three things come one after another, as on a real server: it is in the binlog, so that streams deliver it;
//! readers see its rows; it counts as executed. A [`Stall`] parts them, in calls of anybody to the server.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tailrace_contract::{RowRef, SourcePlace, TableAct};
use tailrace_row::{Field, Operation, Origin, Record, RecordBatch, TableName, TableSchema};

use crate::row::{Row, copy_image, no_origin, write_fields};

/// How long a transaction that is in the binlog is not what it seems, counted in calls to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// So many calls later readers see it.
    pub visible_calls: u32,
    /// So many calls after that it counts as executed.
    pub executed_calls: u32,
}

impl Stall {
    /// No number of calls ends it, only [`MemorySource::make_visible`] or [`MemorySource::make_executed`].
    ///
    /// [`MemorySource::make_visible`]: crate::MemorySource::make_visible
    /// [`MemorySource::make_executed`]: crate::MemorySource::make_executed
    pub const HELD: u32 = u32::MAX;
}

/// A transaction that is being written.
#[derive(Default)]
pub struct MemoryTransaction {
    batch: RecordBatch,
    open_event: Option<u32>,
    events: u32,
    is_in_part: bool,
}

/// A committed transaction.
#[derive(Debug)]
pub struct BinlogTransaction {
    name: Arc<str>,
    records: Arc<RecordBatch>,
    /// Whether streams deliver only what tells rows apart and what has changed, as with a minimal row image.
    is_in_part: bool,
    /// What it does as a statement; then it has no records.
    acts: Vec<TableAct>,
}

/// One change as the source holds it.
#[derive(Clone, Debug)]
pub struct SourceChange {
    /// What happened.
    pub operation: Operation,
    /// The `event` of its sequence.
    pub event: u32,
    /// The `row` of its sequence.
    pub row: u32,
    /// The row before.
    pub before: Option<Row>,
    /// The row after.
    pub after: Option<Row>,
}

impl BinlogTransaction {
    /// The source's own name of it, like a GTID.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it does as a statement, if it is one.
    #[must_use]
    pub fn acts(&self) -> &[TableAct] {
        &self.acts
    }

    /// Whether streams deliver its changes in part: see [`MemoryTransaction::log_in_part`].
    #[must_use]
    pub fn is_in_part(&self) -> bool {
        self.is_in_part
    }

    /// Its changes in order, whole, those of tables that nobody captures included.
    #[must_use]
    pub fn changes(&self) -> Vec<SourceChange> {
        let records = &self.records;
        let change = |(id, record): (u32, &Record)| SourceChange {
            operation: record.operation,
            event: records.origin(record).event,
            row: record.row,
            before: record.before.map(|_| Row::at(records, RowRef::Before(id))),
            after: record.after.map(|_| Row::at(records, RowRef::After(id))),
        };
        (0..).zip(records.records()).map(change).collect()
    }

    /// Does to the tables what it does.
    fn show(&self, tables: &mut Tables) {
        for change in self.changes() {
            change_row(tables, &self.name, change.before, change.after);
        }
        for act in &self.acts {
            let table = tables.get_mut(act.table()).expect("invariant: a statement names a known table");
            match act {
                TableAct::Truncate { .. } => table.rows.clear(),
                TableAct::Alter { .. }
                | TableAct::Rename { .. }
                | TableAct::Drop { .. }
                | TableAct::Create { .. }
                | TableAct::Renew { .. }
                | TableAct::Other { .. } => {
                    unreachable!("no script makes such a statement")
                }
            }
        }
    }

    /// Their origins lack epoch and transaction: these depend on where a reader began to count.
    pub(crate) fn records(&self) -> &RecordBatch {
        &self.records
    }
}

impl MemoryTransaction {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new row.
    pub fn insert(&mut self, schema: &Arc<TableSchema>, after: &[Field<'_>]) -> &mut Self {
        let after = write_fields(&mut self.batch, after);
        self.push(Operation::Insert, schema, None, Some(after))
    }

    /// A row that changes, perhaps its key too.
    pub fn update(&mut self, before: &Row, after: &[Field<'_>]) -> &mut Self {
        let image = copy_image(&mut self.batch, before.image());
        let after = write_fields(&mut self.batch, after);
        self.push(Operation::Update, before.schema(), Some(image), Some(after))
    }

    /// A row that goes.
    pub fn delete(&mut self, before: &Row) -> &mut Self {
        let image = copy_image(&mut self.batch, before.image());
        self.push(Operation::Delete, before.schema(), Some(image), None)
    }

    /// Streams will deliver of rows before their keys only, and of rows after also what has changed; but for updates of keys.
    pub fn log_in_part(&mut self) -> &mut Self {
        self.is_in_part = true;
        self
    }

    /// What follows belongs to a new rows event, even if it is of the same table.
    pub fn next_event(&mut self) -> &mut Self {
        self.open_event = None;
        self
    }

    fn push(
        &mut self,
        operation: Operation,
        schema: &Arc<TableSchema>,
        before: Option<tailrace_row::ImageSpan>,
        after: Option<tailrace_row::ImageSpan>,
    ) -> &mut Self {
        let schema = self.batch.add_schema(schema);
        let previous = self.batch.records().last().copied();
        let continued = match (self.open_event, previous) {
            (Some(origin), Some(last)) if last.schema == schema && last.operation == operation => {
                Some((origin, last.row + 2))
            }
            _ => None,
        };
        let (origin, row) = continued.unwrap_or_else(|| {
            let file_offset = u64::from(self.events) * 100 + 4;
            let origin = self.batch.add_origin(Origin { event: self.events, file_offset, ..no_origin() });
            self.events += 1;
            (origin, 0)
        });
        self.open_event = Some(origin);
        self.batch.push(Record { operation, schema, origin, row, lane: 0, offset: 0, before, after });
        self
    }
}

/// The rows of one table.
#[derive(Clone)]
pub(crate) struct SourceTable {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) rows: BTreeMap<Vec<u8>, Row>,
}

/// Tables by name.
pub(crate) type Tables = BTreeMap<TableName, SourceTable>;

/// All that a source holds.
#[derive(Default)]
pub(crate) struct Binlog {
    /// What all transactions result in.
    pub(crate) tables: Tables,
    /// What those result in that are visible.
    shown: Tables,
    pub(crate) transactions: Vec<Arc<BinlogTransaction>>,
    /// So many of the oldest transactions are gone.
    pub(crate) purged: usize,
    /// Of what is committed from now on.
    pub(crate) stall: Stall,
    visible: usize,
    executed: usize,
    /// What is left of their stalls, of the transactions that are not executed.
    stalls: VecDeque<Stall>,
    /// Behind so many transactions a new file begins, for each file but the first.
    files: Vec<usize>,
}

impl Binlog {
    /// Appends a transaction and changes the tables.
    pub(crate) fn commit(&mut self, server: &str, transaction: MemoryTransaction) {
        let name = self.next_name(server);
        let (records, is_in_part) = (Arc::new(transaction.batch), transaction.is_in_part);
        for (id, record) in (0..).zip(records.records()) {
            let before = record.before.map(|_| Row::at(&records, RowRef::Before(id)));
            let after = record.after.map(|_| Row::at(&records, RowRef::After(id)));
            change_row(&mut self.tables, &name, before, after);
        }
        self.append(BinlogTransaction { name, records, is_in_part, acts: Vec::new() });
    }

    /// Appends a statement that empties a table.
    pub(crate) fn truncate(&mut self, server: &str, table: &TableName) {
        let name = self.next_name(server);
        let known = self.tables.get_mut(table);
        known.unwrap_or_else(|| panic!("{name} empties the unknown table {table}")).rows.clear();
        let acts = vec![TableAct::Truncate { table: table.clone() }];
        self.append(BinlogTransaction { name, records: Arc::default(), is_in_part: false, acts });
    }

    /// Makes a table anew. It waits for whoever has not finished with the old one.
    pub(crate) fn make_table(&mut self, table: SourceTable) {
        self.make_visible();
        for tables in [&mut self.tables, &mut self.shown] {
            tables.insert(table.schema.name().clone(), table.clone());
        }
    }

    /// The table as readers see it.
    pub(crate) fn shown(&self, table: &TableName) -> Option<&SourceTable> {
        self.shown.get(table)
    }

    /// How many transactions readers see.
    pub(crate) fn visible(&self) -> usize {
        self.visible
    }

    /// How many count as executed.
    pub(crate) fn executed(&self) -> usize {
        self.executed
    }

    /// Lets all that is committed be seen.
    pub(crate) fn make_visible(&mut self) {
        self.stalls.iter_mut().for_each(|stall| stall.visible_calls = 0);
        self.settle();
    }

    /// Lets all that is visible count as executed.
    pub(crate) fn make_executed(&mut self) {
        self.stalls.iter_mut().take(self.visible - self.executed).for_each(|stall| stall.executed_calls = 0);
        self.settle();
    }

    /// Somebody has called: stalls come nearer to their ends.
    pub(crate) fn pass_call(&mut self) {
        let visible = self.visible - self.executed;
        for (place, stall) in self.stalls.iter_mut().enumerate() {
            let left = if place < visible { &mut stall.executed_calls } else { &mut stall.visible_calls };
            if *left != Stall::HELD {
                *left = left.saturating_sub(1);
            }
        }
        self.settle();
    }

    /// Begins a new file.
    pub(crate) fn rotate(&mut self) {
        self.files.push(self.transactions.len());
    }

    /// How many files were begun when so many transactions were passed, with what lies behind the last of them.
    pub(crate) fn files_at(&self, transactions: usize) -> usize {
        self.files.partition_point(|at| *at <= transactions)
    }

    /// The place behind so many transactions, in the file behind so many others.
    pub(crate) fn place(&self, series: &Arc<str>, transactions: usize, files: usize) -> SourcePlace {
        let begin = files.checked_sub(1).map_or(0, |last| self.files[last]);
        let offset = 4 + 100 * (transactions - begin) as u64;
        SourcePlace { series: Arc::clone(series), file: files as u64 + 1, offset }
    }

    fn append(&mut self, transaction: BinlogTransaction) {
        self.transactions.push(Arc::new(transaction));
        self.stalls.push_back(self.stall);
        self.settle();
    }

    /// In the order of the binlog, transactions whose stalls have ended become visible, then executed.
    fn settle(&mut self) {
        while self.stalls.get(self.visible - self.executed).is_some_and(|stall| stall.visible_calls == 0) {
            let transaction = Arc::clone(&self.transactions[self.visible]);
            transaction.show(&mut self.shown);
            self.visible += 1;
        }
        while self.executed < self.visible && self.stalls.front().is_some_and(|stall| stall.executed_calls == 0) {
            self.stalls.pop_front();
            self.executed += 1;
        }
    }

    fn next_name(&self, server: &str) -> Arc<str> {
        format!("{server}:{}", self.transactions.len() + 1).into()
    }
}

fn change_row(tables: &mut Tables, transaction: &str, before: Option<Row>, after: Option<Row>) {
    let row = before.as_ref().or(after.as_ref()).expect("invariant: a change has an image");
    let name = row.schema().name();
    let table = tables.get_mut(name);
    let rows = &mut table.unwrap_or_else(|| panic!("{transaction} changes the unknown table {name}")).rows;
    if let Some(before) = &before {
        let known = rows.remove(&before.key());
        assert!(known.as_ref() == Some(before), "{transaction} changes a row of {name} that is not there");
    }
    if let Some(after) = after {
        let replaced = rows.insert(after.key(), after);
        assert!(replaced.is_none(), "{transaction} inserts a key that is there already");
    }
}
