//! Planning against a plain model: the last record of each key decides, duplicates and stopped lanes are left out.

use std::collections::BTreeMap;

use tailrace_contract::{Owner, TargetTable};
use tailrace_row::{Column, ColumnType, Epoch, Origin, TableName, TableSchema, Value};

use super::*;

fn schema() -> Arc<TableSchema> {
    let column = |name: &str| Column {
        name: name.into(),
        column_type: ColumnType::Integer { bits: 64, unsigned: false },
        nullable: false,
    };
    Arc::new(TableSchema::new(TableName::new("shop", "orders"), [column("id"), column("total")], [0]).unwrap())
}

fn lane(sequence: Option<&str>, next_offset: Option<i64>) -> Lane {
    let table = TableName::new("shop", "orders");
    let target = TargetTable { schema: "public".into(), table: "orders".into() };
    Lane {
        mapping: Arc::new(TableMapping::new(table.clone(), target)),
        table: 0,
        is_stopped: false,
        stored: PartitionProgress {
            partition: LogPartition { table, index: 0 },
            next_offset,
            sequence: sequence.map(|text| text.parse().unwrap()),
            highest: sequence.map(|text| text.parse().unwrap()),
            owner: Owner(1),
        },
    }
}

type Row = (i64, i64);

struct Log(RecordBatch);

impl Log {
    fn push(&mut self, transaction: u64, before: Option<Row>, after: Option<Row>, operation: Operation) -> &mut Self {
        let batch = &mut self.0;
        let schema_number = batch.add_schema(&schema());
        let origin = batch.add_origin(Origin {
            epoch: Epoch(1),
            transaction,
            event: 0,
            committed_at_micros: 0,
            transaction_name: None,
            file: "binlog.000001".into(),
            file_offset: 4,
            server_id: 1,
            thread: None,
        });
        let mut image = |row: Row| {
            batch
                .write_image::<()>(2, |writer| {
                    writer.value(Value::Integer(row.0));
                    writer.value(Value::Integer(row.1));
                    Ok(())
                })
                .unwrap()
        };
        let (before, after) = (before.map(&mut image), after.map(&mut image));
        let offset = i64::try_from(batch.len()).unwrap();
        batch.push(Record { operation, schema: schema_number, origin, row: 0, lane: 0, offset, before, after });
        self
    }

    fn insert(&mut self, transaction: u64, row: Row) -> &mut Self {
        self.push(transaction, None, Some(row), Operation::Insert)
    }

    fn update(&mut self, transaction: u64, before: Row, after: Row) -> &mut Self {
        self.push(transaction, Some(before), Some(after), Operation::Update)
    }

    fn delete(&mut self, transaction: u64, row: Row) -> &mut Self {
        self.push(transaction, Some(row), None, Operation::Delete)
    }
}

fn number(image: RowImage<'_>, column: usize) -> i64 {
    match image.field(column) {
        tailrace_row::Field::Value(Value::Integer(number)) => number,
        other => panic!("{other:?}"),
    }
}

/// Plans with one lane and prints what happens to each key: its new total, or none.
fn check(log: &Log, lane: Lane, expect: &[(i64, Option<i64>)]) -> Plan {
    let read = [ReadProgress { lane: 0, next_offset: 100, behind: 0 }];
    let plan = Planner::default().plan(&log.0, &read, &[lane]);
    let mut keys = BTreeMap::new();
    for changes in &plan.changes {
        for row in &changes.deletes {
            assert!(keys.insert(number(row.image(&log.0), 0), None).is_none(), "a key stands twice");
        }
        for row in &changes.upserts {
            let image = row.image(&log.0);
            assert!(keys.insert(number(image, 0), Some(number(image, 1))).is_none(), "a key stands twice");
        }
    }
    assert_eq!(keys.into_iter().collect::<Vec<_>>(), expect);
    plan
}

fn log() -> Log {
    Log(RecordBatch::new())
}

#[test]
fn the_last_record_of_a_key_decides() {
    let mut one = log();
    one.insert(1, (7, 1)).update(2, (7, 1), (7, 2)).insert(3, (8, 1)).delete(4, (8, 1)).insert(5, (9, 1));
    let plan = check(&one, lane(None, None), &[(7, Some(2)), (8, None), (9, Some(1))]);
    assert_eq!((plan.compacted, plan.duplicates, plan.reapplied), (2, 0, 0));
    let mut two = log();
    two.delete(1, (7, 1)).insert(2, (7, 5));
    check(&two, lane(None, None), &[(7, Some(5))]);
}

#[test]
fn a_key_change_deletes_and_inserts() {
    let mut log = log();
    log.update(1, (1, 10), (2, 10)).update(2, (2, 10), (1, 11)).update(3, (5, 0), (6, 0));
    check(&log, lane(None, None), &[(1, Some(11)), (2, None), (5, None), (6, Some(0))]);
}

#[test]
fn what_a_torn_transaction_delivers_twice_is_dropped() {
    let mut log = log();
    log.insert(4, (1, 1)).insert(5, (2, 2)).insert(5, (2, 2)).insert(6, (3, 3)).insert(4, (1, 1));
    let plan = check(&log, lane(Some("1-4-0-0"), Some(50)), &[(2, Some(2)), (3, Some(3))]);
    assert_eq!((plan.duplicates, plan.reapplied), (3, 0));
    assert_eq!(plan.progress[0].sequence.unwrap().to_string(), "1-6-0-0");
}

#[test]
fn after_a_rewind_records_are_applied_again_and_counted() {
    let mut log = log();
    log.insert(4, (1, 1)).insert(5, (2, 2));
    let mut rewound = lane(Some("1-4-0-0"), Some(50));
    rewound.stored.sequence = None;
    let plan = check(&log, rewound, &[(1, Some(1)), (2, Some(2))]);
    assert_eq!((plan.duplicates, plan.reapplied), (0, 1));
}

#[test]
fn backfilled_rows_with_the_sequence_before_them_are_new() {
    let mut log = log();
    log.push(4, None, Some((1, 1)), Operation::Read).push(3, None, Some((2, 2)), Operation::Read);
    let plan = check(&log, lane(Some("1-4-0-0"), Some(50)), &[(1, Some(1))]);
    assert_eq!(plan.duplicates, 1);
}

#[test]
fn a_stopped_lane_moves_nothing() {
    let mut log = log();
    log.insert(1, (1, 1));
    let stopped = Lane { is_stopped: true, ..lane(None, None) };
    let plan = check(&log, stopped, &[]);
    assert!(plan.progress.is_empty());
}

#[test]
fn progress_never_moves_back() {
    let plan = check(&log(), lane(None, Some(100)), &[]);
    assert!(plan.progress.is_empty());
    let plan = check(&log(), lane(None, Some(99)), &[]);
    assert_eq!(plan.progress[0].next_offset, 100);
}
