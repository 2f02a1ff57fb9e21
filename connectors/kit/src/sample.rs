//! The kit's one table, its rows, and batches of their changes.

use std::sync::Arc;

use tailrace_row::{
    Charset, Column, ColumnType, Epoch, Field, Operation, Origin, Record, RecordBatch, RecordId, RowImage, TableName,
    TableSchema, TextForm, Value,
};

/// A row of the kit's table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// `id BIGINT NOT NULL`, the key.
    pub id: i64,
    /// `name VARCHAR(100) NULL`.
    pub name: Option<String>,
}

impl Row {
    /// A row with a name.
    #[must_use]
    pub fn new(id: i64, name: &str) -> Self {
        Self { id, name: Some(name.to_owned()) }
    }
}

/// What happens to a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It appears.
    Insert(Row),
    /// It becomes another; the key may change.
    Update(Row, Row),
    /// It goes.
    Delete(Row),
}

impl Change {
    fn before(&self) -> Option<&Row> {
        match self {
            Self::Insert(_) => None,
            Self::Update(before, _) | Self::Delete(before) => Some(before),
        }
    }

    fn after(&self) -> Option<&Row> {
        match self {
            Self::Insert(after) | Self::Update(_, after) => Some(after),
            Self::Delete(_) => None,
        }
    }

    fn operation(&self) -> Operation {
        match self {
            Self::Insert(_) => Operation::Insert,
            Self::Update(..) => Operation::Update,
            Self::Delete(_) => Operation::Delete,
        }
    }
}

/// The schema of the kit's table under that name.
#[must_use]
pub fn sample_schema(table: &TableName) -> Arc<TableSchema> {
    let id = ColumnType::Integer { bits: 64, unsigned: false };
    let name = ColumnType::Text { form: TextForm::Varying, bytes_max: 400, charset: Charset::Utf8mb4 };
    let columns = [
        Column { name: "id".into(), column_type: id, nullable: false },
        Column { name: "name".into(), column_type: name, nullable: true },
    ];
    Arc::new(TableSchema::new(table.clone(), columns, [0]).unwrap())
}

/// Changes as records, those of one transaction in one rows event.
pub(crate) struct Recorder {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) batch: RecordBatch,
    transaction: u64,
}

impl Recorder {
    /// Begins behind `transaction`.
    pub(crate) fn new(schema: &Arc<TableSchema>, transaction: u64) -> Self {
        Self { schema: Arc::clone(schema), batch: RecordBatch::new(), transaction }
    }

    /// Adds one transaction.
    pub(crate) fn add(&mut self, changes: &[Change]) {
        self.transaction += 1;
        let schema = self.batch.add_schema(&self.schema);
        let origin = self.batch.add_origin(origin(self.transaction));
        for (row, change) in (0..).zip(changes) {
            let before = change.before().map(|row| write(&mut self.batch, row));
            let after = change.after().map(|row| write(&mut self.batch, row));
            let operation = change.operation();
            self.batch.push(Record { operation, schema, origin, row: row * 2, lane: 0, offset: 0, before, after });
        }
    }
}

/// Adds to a recorder's batch an update of the row with this key that tells no other column; returns its number.
pub(crate) fn part(batch: &mut RecordBatch, id: i64) -> RecordId {
    let mut image = || {
        let written = batch.write_image(2, |image| -> Result<(), std::convert::Infallible> {
            image.value(Value::Integer(id));
            image.unchanged();
            Ok(())
        });
        Some(written.unwrap())
    };
    let (before, after) = (image(), image());
    let last = *batch.records().last().expect("a part comes behind a row");
    batch.push(Record { operation: Operation::Update, row: last.row + 2, before, after, ..last });
    RecordId::try_from(batch.len() - 1).unwrap()
}

fn write(batch: &mut RecordBatch, row: &Row) -> tailrace_row::ImageSpan {
    let written = batch.write_image(2, |image| -> Result<(), std::convert::Infallible> {
        image.value(Value::Integer(row.id));
        match &row.name {
            Some(name) => image.value(Value::Text(name)),
            None => image.null(),
        }
        Ok(())
    });
    written.unwrap()
}

fn origin(transaction: u64) -> Origin {
    Origin {
        epoch: Epoch(0),
        transaction,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "kit.000001".into(),
        file_offset: transaction * 100,
        server_id: 1,
        thread: None,
    }
}

/// The row that an image of the kit's table shows.
pub(crate) fn read(image: RowImage<'_>) -> Row {
    assert_eq!(image.len(), 2, "the kit's table has two columns");
    let Field::Value(Value::Integer(id)) = image.field(0) else { panic!("id is no BIGINT") };
    let name = match image.field(1) {
        Field::Null => None,
        Field::Value(Value::Text(name)) => Some(name.to_owned()),
        Field::Value(_) | Field::Unchanged => panic!("name is neither text nor NULL"),
    };
    Row { id, name }
}

/// A record's change, as the kit writes changes.
pub(crate) fn change_of(batch: &RecordBatch, record: &Record) -> Change {
    let before = batch.before(record).map(read);
    let after = batch.after(record).map(read);
    match (record.operation, before, after) {
        (Operation::Insert | Operation::Read, None, Some(after)) => Change::Insert(after),
        (Operation::Update, Some(before), Some(after)) => Change::Update(before, after),
        (Operation::Delete, Some(before), None) => Change::Delete(before),
        (operation, _, _) => panic!("{operation:?} has the wrong images"),
    }
}
