//! The scripted binlog: transactions of row changes, and the tables that they result in.
//!
//! A transaction is checked against the tables when it is committed: a script that contradicts itself is a fault of the test
//! and panics. Every rows event of every table is kept, so that filtered ones count in sequences as they do for real.

use std::{collections::BTreeMap, sync::Arc};

use tailrace_contract::{RowRef, TableAct};
use tailrace_row::{Field, Operation, Origin, Record, RecordBatch, TableName, TableSchema};

use crate::row::{Row, copy_image, no_origin, write_fields};

/// A transaction that is being written.
#[derive(Default)]
pub struct MemoryTransaction {
    batch: RecordBatch,
    open_event: Option<u32>,
    events: u32,
}

/// A committed transaction.
#[derive(Debug)]
pub struct BinlogTransaction {
    name: Arc<str>,
    records: Arc<RecordBatch>,
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

    /// Its changes in order, those of tables that nobody captures included.
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
pub(crate) struct SourceTable {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) rows: BTreeMap<Vec<u8>, Row>,
}

/// All that a source holds.
#[derive(Default)]
pub(crate) struct Binlog {
    pub(crate) tables: BTreeMap<TableName, SourceTable>,
    pub(crate) transactions: Vec<Arc<BinlogTransaction>>,
    /// So many of the oldest transactions are gone.
    pub(crate) purged: usize,
}

impl Binlog {
    /// Appends a transaction and changes the tables.
    pub(crate) fn commit(&mut self, server: &str, transaction: MemoryTransaction) {
        let name = self.next_name(server);
        let records = Arc::new(transaction.batch);
        for (id, record) in (0..).zip(records.records()) {
            let before = record.before.map(|_| Row::at(&records, RowRef::Before(id)));
            let after = record.after.map(|_| Row::at(&records, RowRef::After(id)));
            self.change_row(&name, before, after);
        }
        self.transactions.push(Arc::new(BinlogTransaction { name, records, acts: Vec::new() }));
    }

    /// Appends a statement that empties a table.
    pub(crate) fn truncate(&mut self, server: &str, table: &TableName) {
        let name = self.next_name(server);
        let known = self.tables.get_mut(table);
        known.unwrap_or_else(|| panic!("{name} empties the unknown table {table}")).rows.clear();
        let acts = vec![TableAct::Truncate { table: table.clone() }];
        self.transactions.push(Arc::new(BinlogTransaction { name, records: Arc::default(), acts }));
    }

    fn next_name(&self, server: &str) -> Arc<str> {
        format!("{server}:{}", self.transactions.len() + 1).into()
    }

    fn change_row(&mut self, transaction: &str, before: Option<Row>, after: Option<Row>) {
        let row = before.as_ref().or(after.as_ref()).expect("invariant: a change has an image");
        let name = row.schema().name();
        let table = self.tables.get_mut(name);
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
}
