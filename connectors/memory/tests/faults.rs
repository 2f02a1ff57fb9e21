//! What simulations rest on: faults strike as they say, and what is late or torn ends as on a real server.

use std::{sync::Arc, time::Duration};

use tailrace_contract::{
    ApplyBatch, BatchLimits, ChangeStream, Checkpoint, ChunkRange, ChunkReader, ErrorKind, LedgerEntry, Log, LogBatch,
    LogPartition, LogStart, LogWriter, Mark, Position, ProgressStep, ReadLimits, Result, RowRef, Rows, Sink, Source,
    SourcePlace, StartAt, TableChanges, TableFilter, TableMapping, TablePattern, TargetTable,
};
use tailrace_memory::{Call, Fault, Gate, MemoryLog, MemorySink, MemorySource, MemoryTransaction, Offsets, Row, Stall};
use tailrace_row::{
    Column, ColumnType, Epoch, Field, Operation, Origin, Record, RecordBatch, TableName, TableSchema, Value,
};

const LIMITS: BatchLimits = BatchLimits { bytes_max: 1 << 20, records_max: 100, wait_max: Duration::from_millis(10) };

fn schema() -> Arc<TableSchema> {
    let number = ColumnType::Integer { bits: 64, unsigned: false };
    let column = |name: &str, nullable| Column { name: name.into(), column_type: number.clone(), nullable };
    let columns = [column("id", false), column("total", true)];
    Arc::new(TableSchema::new(TableName::new("shop", "orders"), columns, [0]).expect("the columns are distinct"))
}

fn lane() -> LogPartition {
    LogPartition { table: TableName::new("shop", "orders"), index: 0 }
}

/// Inserts of these ids, in the transaction of that number; a total of none is not sent.
fn records(transaction: u64, rows: &[(i64, Option<i64>)]) -> RecordBatch {
    let mut batch = RecordBatch::new();
    let schema = batch.add_schema(&schema());
    let origin = batch.add_origin(Origin {
        epoch: Epoch(1),
        transaction,
        event: 0,
        committed_at_micros: 0,
        transaction_name: None,
        file: "f".into(),
        file_offset: 4,
        server_id: 1,
        thread: None,
    });
    for (number, (id, total)) in (0..).zip(rows) {
        let after = batch.write_image::<()>(2, |image| {
            image.value(Value::Integer(*id));
            match total {
                Some(total) => image.value(Value::Integer(*total)),
                None => image.unchanged(),
            }
            Ok(())
        });
        let (operation, row) = (Operation::Insert, number * 2);
        batch.push(Record { operation, schema, origin, row, lane: 0, offset: 0, before: None, after: after.ok() });
    }
    batch
}

fn checkpoint(transactions: u64) -> Checkpoint {
    let position = Position::new(&format!("db:{transactions}"));
    Checkpoint { epoch: Epoch(1), mark: Mark { position, transactions }, split: None }
}

async fn write(writer: &mut dyn LogWriter, transaction: u64, ids: &[i64]) -> Result<()> {
    let rows: Vec<_> = ids.iter().map(|id| (*id, Some(0))).collect();
    writer.append(&records(transaction, &rows)).await?;
    writer.commit(&checkpoint(transaction)).await
}

/// The transactions whose records are in the log, one entry a record.
fn transactions(log: &MemoryLog) -> Vec<u64> {
    log.entries(&lane(), 0).into_iter().map(|entry| entry.sequence.transaction).collect()
}

fn is_transient(result: Result<()>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::Transient)
}

#[tokio::test]
async fn a_lost_answer_leaves_what_was_done() {
    let log = MemoryLog::new("log", 1, Offsets::Dense);
    let mut writer = log.open_writer().await.unwrap().writer;
    log.faults().script(Call::LogCommit, Fault::After);
    assert!(is_transient(write(&mut *writer, 1, &[1, 2]).await));
    assert_eq!((transactions(&log), log.checkpoint()), (vec![1, 1], Some(checkpoint(1))));
    assert_eq!(writer.commit(&checkpoint(1)).await.unwrap_err().kind(), ErrorKind::Corrupt, "it may not be used on");
    log.faults().script(Call::LogCommit, Fault::Fail(ErrorKind::Transient));
    let mut writer = log.open_writer().await.unwrap().writer;
    assert!(is_transient(write(&mut *writer, 2, &[3]).await));
    assert_eq!((transactions(&log), log.checkpoint()), (vec![1, 1], Some(checkpoint(1))));
    assert_eq!(log.faults().struck(), 2);
}

#[tokio::test]
async fn a_late_commit_is_done_unless_it_was_fenced() {
    for is_fenced in [false, true] {
        let log = MemoryLog::new("log", 1, Offsets::Dense);
        let mut writer = log.open_writer().await.unwrap().writer;
        log.faults().script(Call::LogCommit, Fault::Late(3));
        assert!(is_transient(write(&mut *writer, 1, &[1]).await));
        assert_eq!(transactions(&log), [0; 0]);
        if is_fenced {
            assert_eq!(log.open_writer().await.unwrap().checkpoint, None);
        }
        for _ in 0..4 {
            log.tables().await.unwrap();
        }
        let expect = if is_fenced { (vec![], None) } else { (vec![1], Some(checkpoint(1))) };
        assert_eq!((transactions(&log), log.checkpoint()), expect);
    }
}

#[tokio::test]
async fn a_torn_commit_shows_its_first_part_twice() {
    let log = MemoryLog::new("log", 1, Offsets::WithHoles);
    let mut writer = log.open_writer().await.unwrap().writer;
    log.faults().script(Call::LogCommit, Fault::Tear(2));
    assert!(is_transient(write(&mut *writer, 1, &[1, 2, 3]).await));
    let mut opened = log.open_writer().await.unwrap();
    assert_eq!(opened.checkpoint, None);
    write(&mut *opened.writer, 1, &[1, 2, 3]).await.unwrap();
    let entries = log.entries(&lane(), 0);
    assert_eq!(entries.iter().map(|entry| entry.sequence.row).collect::<Vec<_>>(), [0, 2, 0, 2, 4]);
    // Two records, the third's place, the marker; then three and a marker.
    assert_eq!(entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [0, 1, 4, 5, 6]);
    assert_eq!(log.ends()[&lane()], 8);
}

#[tokio::test]
async fn a_reader_goes_past_holes_and_stops_at_what_is_lost_or_unreadable() {
    let log = MemoryLog::new("log", 1, Offsets::WithHoles);
    let mut writer = log.open_writer().await.unwrap().writer;
    write(&mut *writer, 1, &[1, 2]).await.unwrap();
    let garbage = log.append_garbage(&lane());
    write(&mut *writer, 2, &[3]).await.unwrap();
    let mut reader = log.open_reader(&[(lane(), LogStart::Earliest)]).await.unwrap();
    let mut batch = LogBatch::default();
    let error = reader.read_batch(&mut batch, LIMITS).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&lane().table)));
    assert!(error.to_string().ends_with("at shop.orders[0]@3"), "{error}");
    assert_eq!((batch.records.len(), batch.progress[0].next_offset, garbage), (2, 3, 3));
    reader.stop_table(&lane().table).unwrap();
    batch.clear();
    reader.read_batch(&mut batch, LIMITS).await.unwrap();
    assert!(batch.records.is_empty() && batch.progress.is_empty());
    log.trim(&lane(), 2);
    let from = [(lane(), LogStart::Offset(1))];
    assert_eq!(log.open_reader(&from).await.err().map(|error| error.kind()), Some(ErrorKind::PositionLost));
    assert!(log.open_reader(&[(lane(), LogStart::Earliest)]).await.is_ok());
}

/// A target with one table, and batches for it.
struct Target {
    sink: MemorySink,
    mapping: Arc<TableMapping>,
}

impl Target {
    fn new() -> Self {
        let (sink, target) = (MemorySink::new("t"), TargetTable { schema: "public".into(), table: "orders".into() });
        sink.add_table(&schema(), &target);
        Self { sink, mapping: Arc::new(TableMapping::new(lane().table, target)) }
    }

    async fn step(&self, next_offset: i64) -> ProgressStep {
        let from = self.sink.claim("log", &[lane()]).await.expect("a claim").remove(0);
        ProgressStep { from, next_offset, sequence: None }
    }

    async fn apply(&self, rows: &[(i64, Option<i64>)], step: &ProgressStep) -> Result<()> {
        let records = records(1, rows);
        let upserts = (0..).zip(rows).map(|(id, _)| RowRef::After(id)).collect();
        let mapping = Arc::clone(&self.mapping);
        let changes = [TableChanges { mapping, schema: schema(), deletes: Vec::new(), upserts }];
        let mut writer = self.sink.open_writer("log").await.expect("a writer");
        let progress = std::slice::from_ref(step);
        writer.apply(ApplyBatch { records: &records, changes: &changes, progress, stream: None }).await.map(|_| ())
    }

    fn totals(&self) -> Vec<Option<i64>> {
        let total = |row: &Row| match row.field("total") {
            Some(Field::Value(Value::Integer(total))) => Some(total),
            _ => None,
        };
        self.sink.rows(&self.mapping.target).values().map(total).collect()
    }
}

#[tokio::test]
async fn a_late_batch_is_done_unless_it_was_fenced() {
    for is_fenced in [false, true] {
        let target = Target::new();
        let step = target.step(1).await;
        target.sink.faults().script(Call::SinkApply, Fault::Late(3));
        assert!(is_transient(target.apply(&[(1, Some(7))], &step).await));
        assert!(target.totals().is_empty());
        if is_fenced {
            target.step(1).await;
        }
        for _ in 0..4 {
            target.sink.table_state(&target.mapping).await.unwrap();
        }
        assert_eq!(target.totals(), if is_fenced { vec![] } else { vec![Some(7)] });
    }
}

#[tokio::test]
async fn a_refused_row_leaves_nothing_of_its_batch() {
    let target = Target::new();
    let refused = Row::new(&schema(), &[Field::Value(Value::Integer(2)), Field::Null]);
    target.sink.refuse_row(&target.mapping.target, refused.key());
    let step = target.step(5).await;
    let error = target.apply(&[(1, Some(1)), (2, Some(2))], &step).await.unwrap_err();
    assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&lane().table)));
    assert!(target.totals().is_empty() && target.sink.progress("log")[0].next_offset.is_none());
    target.sink.refuse_nothing();
    target.apply(&[(1, Some(1)), (2, Some(2))], &step).await.unwrap();
    assert_eq!(target.totals(), [Some(1), Some(2)]);
}

#[tokio::test]
async fn a_column_that_was_not_sent_keeps_its_value() {
    let target = Target::new();
    target.apply(&[(1, Some(7))], &target.step(1).await).await.unwrap();
    target.apply(&[(1, None)], &target.step(2).await).await.unwrap();
    assert_eq!(target.totals(), [Some(7)]);
    let error = target.apply(&[(2, None)], &target.step(3).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TableFailed, "there is no row to keep it of");
}

#[tokio::test(start_paused = true)]
async fn a_call_hangs_until_its_gate_is_opened() {
    let source = MemorySource::new("db");
    let gate = Gate::new();
    source.faults().script(Call::SourcePosition, Fault::Hang(gate.clone()));
    let start = StartAt::Now;
    let mut position = source.position(&start);
    assert!(tokio::time::timeout(Duration::from_secs(3600), &mut position).await.is_err());
    gate.open();
    assert_eq!(position.await.unwrap().as_str(), "db:0");
}

#[tokio::test]
async fn a_position_that_the_binlog_does_not_continue_is_lost() {
    let source = MemorySource::new("db");
    let table = source.create_table(schema().as_ref().clone());
    for id in 0..5 {
        insert(&source, &table, id);
    }
    source.purge(2);
    for (text, is_there) in [("db:2", true), ("db:5", true), ("db:1", false), ("db:6", false), ("other:3", false)] {
        let found = source.position(&StartAt::At(text.into())).await;
        assert_eq!(found.map_err(|error| error.kind()).err(), (!is_there).then_some(ErrorKind::PositionLost), "{text}");
    }
    assert_eq!(source.position(&StartAt::Earliest).await.unwrap().as_str(), "db:2");
}

fn document(text: &str) -> LedgerEntry {
    LedgerEntry { key: "chunk".into(), value: Some(text.into()) }
}

/// A log whose transaction with a record and two documents met the fault.
async fn noted_under(fault: Fault) -> MemoryLog {
    let log = MemoryLog::new("log", 1, Offsets::Dense);
    let mut writer = log.open_writer().await.expect("a writer").writer;
    log.faults().script(Call::LogCommit, fault);
    writer.append_ledger(&[document("first"), document("last")]).await.expect("documents are taken");
    assert!(is_transient(write(&mut *writer, 1, &[1]).await));
    log
}

#[tokio::test]
async fn documents_are_lost_late_or_torn_with_their_transaction() {
    for (fault, records, expect) in [
        (Fault::Fail(ErrorKind::Transient), 0, vec![]),
        (Fault::After, 1, vec![document("last")]),
        (Fault::Tear(1), 1, vec![]),
        (Fault::TearLedger(1), 1, vec![document("first")]),
        (Fault::TearLedger(2), 1, vec![document("last")]),
        // Undecided when the writer is superseded.
        (Fault::Late(9), 0, vec![]),
    ] {
        let log = noted_under(fault.clone()).await;
        let opened = log.open_writer().await.unwrap();
        assert_eq!((log.entries(&lane(), 0).len(), Log::ledger(&log).await.unwrap()), (records, expect), "{fault:?}");
        assert_eq!(opened.checkpoint.is_some(), matches!(fault, Fault::After));
    }
    let log = noted_under(Fault::Late(9)).await;
    assert_eq!(Log::ledger(&log).await.unwrap(), [document("last")], "what is undecided is waited for");
    assert_eq!(log.checkpoint(), Some(checkpoint(1)));
}

/// Commits an insert.
fn insert(source: &MemorySource, table: &Arc<TableSchema>, id: i64) {
    let mut transaction = MemoryTransaction::new();
    transaction.insert(table, &[Field::Value(Value::Integer(id)), Field::Null]);
    source.commit(transaction);
}

/// Reads all that there is; gives where the stream stands then.
async fn drain(stream: &mut dyn ChangeStream) -> (Position, SourcePlace) {
    let mut batch = RecordBatch::new();
    loop {
        batch.clear();
        let end = stream.read_batch(&mut batch, LIMITS).await.expect("a batch");
        if batch.is_empty() {
            return (end.mark().position.clone(), stream.place().expect("it stands between transactions"));
        }
    }
}

/// How many rows a read brings.
async fn count(reader: &mut dyn ChunkReader) -> usize {
    let mut batch = RecordBatch::new();
    let origin = records(1, &[(0, None)]).last_origin().expect("one origin").clone();
    let limits = ReadLimits { rows_max: 100, bytes_max: 1 << 20 };
    while reader.fill(&mut batch, &origin, limits).await.expect("rows") {}
    batch.len()
}

const WHOLE: ChunkRange<'static> = ChunkRange { after: None, until: None, rows_max: 100 };

#[tokio::test(start_paused = true)]
async fn what_is_delivered_is_visible_later_and_executed_last() {
    let source = MemorySource::new("db");
    let table = source.create_table(schema().as_ref().clone());
    let filter = Arc::new(TableFilter { patterns: vec![TablePattern::Table(table.name().clone())] });
    let mut stream = source.open(&checkpoint(0), filter).await.unwrap();
    insert(&source, &table, 1);
    source.stall(Stall { visible_calls: Stall::HELD, executed_calls: Stall::HELD });
    insert(&source, &table, 2);
    let (delivered, place) = drain(&mut *stream).await;
    assert_eq!((delivered.as_str().split('/').next(), &place), (Some("db:2"), &source.place_behind(2)));
    let mut reader = source.open_chunks(Arc::clone(&table)).await.unwrap();
    reader.read(Rows::ALL).await.unwrap();
    assert_eq!((count(&mut *reader).await, source.rows(table.name()).len()), (1, 2), "delivered, and not visible");
    let error = reader.read_chunk(&delivered, WHOLE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert_eq!(reader.end_of_view().await.unwrap_err().kind(), ErrorKind::Corrupt, "no row of it was taken");
    let shows = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        source.make_visible();
    };
    tokio::join!(shows, async { reader.read_chunk(&delivered, WHOLE).await.unwrap() });
    assert_eq!(count(&mut *reader).await, 2);
    assert_eq!(reader.end_of_view().await.unwrap(), place, "behind all that is visible");
    assert_eq!((source.visible(), source.executed()), (2, 1));
    assert_eq!(source.position(&StartAt::Now).await.unwrap().as_str(), "db:1", "visible, and not executed");
    source.make_executed();
    assert_eq!(source.state(None).await.unwrap().end.as_str(), "db:2");

    source.stall(Stall { visible_calls: 2, executed_calls: 1 });
    insert(&source, &table, 3);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push((source.visible(), source.executed()));
        source.state(None).await.unwrap();
    }
    assert_eq!(seen, [(2, 2), (2, 2), (3, 2), (3, 3)], "counted in calls");
    source.rotate();
    assert!(!stream.place().is_some_and(|place| place.has_reached(&source.place_behind(3))));
    assert_eq!(drain(&mut *stream).await.1, source.place_behind(3), "a new file is heard of");
}
