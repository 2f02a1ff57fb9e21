//! Planning against a plain model: the last record of each key decides, duplicates and stopped lanes are left out.

use std::collections::BTreeMap;

use tailrace_contract::{ErrorKind, Owner, TargetTable};
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
        ahead: Ahead::default(),
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
        self.push_in(Epoch(1), transaction, (before, after), operation)
    }

    fn push_in(
        &mut self,
        epoch: Epoch,
        transaction: u64,
        (before, after): (Option<Row>, Option<Row>),
        operation: Operation,
    ) -> &mut Self {
        let batch = &mut self.0;
        let schema_number = batch.add_schema(&schema());
        let origin = batch.add_origin(Origin {
            epoch,
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
fn check(log: &mut Log, lane: Lane, expect: &[(i64, Option<i64>)]) -> Plan {
    let read = [ReadProgress { lane: 0, next_offset: 100, behind: 0 }];
    let plan = Planner::default().plan(&mut log.0, &read, &[lane]).unwrap();
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
    let plan = check(&mut one, lane(None, None), &[(7, Some(2)), (8, None), (9, Some(1))]);
    assert_eq!((plan.compacted, plan.duplicates, plan.reapplied), (2, 0, 0));
    let mut two = log();
    two.delete(1, (7, 1)).insert(2, (7, 5));
    check(&mut two, lane(None, None), &[(7, Some(5))]);
}

#[test]
fn a_key_change_deletes_and_inserts() {
    let mut log = log();
    log.update(1, (1, 10), (2, 10)).update(2, (2, 10), (1, 11)).update(3, (5, 0), (6, 0));
    check(&mut log, lane(None, None), &[(1, Some(11)), (2, None), (5, None), (6, Some(0))]);
}

#[test]
fn what_a_torn_transaction_delivers_twice_is_dropped() {
    let mut log = log();
    log.insert(4, (1, 1)).insert(5, (2, 2)).insert(5, (2, 2)).insert(6, (3, 3)).insert(4, (1, 1));
    let plan = check(&mut log, lane(Some("1-4-0-0"), Some(50)), &[(2, Some(2)), (3, Some(3))]);
    assert_eq!((plan.duplicates, plan.reapplied), (3, 0));
    assert_eq!(plan.progress[0].sequence.unwrap().to_string(), "1-6-0-0");
}

/// A log that tears a transaction gives it again in the same epoch: what falls below is no duplicate, and dropping it would lose it.
#[test]
fn e15_a_record_of_a_lower_epoch_stops_its_table() {
    let mut fallen = log();
    fallen.push_in(Epoch(2), 9, (None, Some((1, 1))), Operation::Insert).insert(1, (2, 2));
    for (stored, from) in [(None, 0), (Some("2-9-0-0"), 0)] {
        let read = [ReadProgress { lane: 0, next_offset: 100, behind: 0 }];
        let error = Planner::default().plan(&mut fallen.0, &read, &[lane(stored, Some(from))]).unwrap_err();
        assert_eq!((error.kind(), error.table()), (ErrorKind::TableFailed, Some(&TableName::new("shop", "orders"))));
        let text = error.to_string();
        assert!(
            text.contains("a record of epoch 1 lies behind one of epoch 2 (2-9-0-0)") && text.contains("offset 1"),
            "{text}"
        );
    }
    let mut alone = log();
    let read = [ReadProgress { lane: 0, next_offset: 100, behind: 0 }];
    let planned = Planner::default().plan(&mut alone.insert(1, (2, 2)).0, &read, &[lane(Some("2-9-0-0"), Some(1))]);
    assert_eq!(planned.unwrap_err().kind(), ErrorKind::TableFailed, "what is stored counts as what was read");
    // Offsets and sequence that were set back by hand: all is applied again.
    check(&mut alone, lane(None, Some(0)), &[(2, Some(2))]);
    let mut risen = log();
    risen.insert(7, (1, 1)).push_in(Epoch(2), 1, (None, Some((1, 5))), Operation::Insert);
    check(&mut risen, lane(Some("1-6-0-0"), Some(1)), &[(1, Some(5))]);
}

#[test]
fn after_a_rewind_records_are_applied_again_and_counted() {
    let mut log = log();
    log.insert(4, (1, 1)).insert(5, (2, 2));
    let mut rewound = lane(Some("1-4-0-0"), Some(50));
    rewound.stored.sequence = None;
    let plan = check(&mut log, rewound, &[(1, Some(1)), (2, Some(2))]);
    assert_eq!((plan.duplicates, plan.reapplied), (0, 1));
}

#[test]
fn backfilled_rows_with_the_sequence_before_them_are_new() {
    let mut log = log();
    log.push(4, None, Some((1, 1)), Operation::Read).push(3, None, Some((2, 2)), Operation::Read);
    let plan = check(&mut log, lane(Some("1-4-0-0"), Some(50)), &[(1, Some(1))]);
    assert_eq!(plan.duplicates, 1);
}

#[test]
fn a_stopped_lane_moves_nothing() {
    let mut log = log();
    log.insert(1, (1, 1));
    let stopped = Lane { is_stopped: true, ..lane(None, None) };
    let plan = check(&mut log, stopped, &[]);
    assert!(plan.progress.is_empty());
}

#[test]
fn progress_never_moves_back() {
    let plan = check(&mut log(), lane(None, Some(100)), &[]);
    assert!(plan.progress.is_empty());
    let plan = check(&mut log(), lane(None, Some(99)), &[]);
    assert_eq!(plan.progress[0].next_offset, 100);
}

/// Two columns beside the key; one that is none was not sent.
type Wide = [Option<i64>; 2];

impl Log {
    /// A change of a table of three columns; a row of which nothing is known but its key has none of the two.
    fn wide(&mut self, operation: Operation, before: Option<(i64, Wide)>, after: Option<(i64, Wide)>) -> &mut Self {
        let batch = &mut self.0;
        let column = |name: &str| Column { name: name.into(), ..schema().columns()[0].clone() };
        let columns = [column("id"), column("a"), column("b")];
        let wide = TableSchema::new(TableName::new("shop", "orders"), columns, [0]).unwrap();
        let schema_number = batch.add_schema(&Arc::new(wide));
        let transaction = batch.len() as u64 + 1;
        let last = self.0.last_origin().cloned();
        let origin = last.unwrap_or_else(|| {
            let mut other = log();
            other.insert(1, (0, 0));
            other.0.last_origin().unwrap().clone()
        });
        let batch = &mut self.0;
        let origin = batch.add_origin(Origin { transaction, ..origin });
        let mut image = |(key, row): (i64, Wide)| {
            let written = batch.write_image::<()>(3, |writer| {
                writer.value(Value::Integer(key));
                row.iter().for_each(|field| match field {
                    Some(number) => writer.value(Value::Integer(*number)),
                    None => writer.unchanged(),
                });
                Ok(())
            });
            written.unwrap()
        };
        let (before, after) = (before.map(&mut image), after.map(&mut image));
        let offset = i64::try_from(batch.len()).unwrap();
        batch.push(Record { operation, schema: schema_number, origin, row: 0, lane: 0, offset, before, after });
        self
    }

    fn update_of(&mut self, key: i64, row: Wide) -> &mut Self {
        self.wide(Operation::Update, Some((key, [None, None])), Some((key, row)))
    }
}

fn plan_wide(log: &mut Log) -> Result<Plan> {
    let read = [ReadProgress { lane: 0, next_offset: 100, behind: 0 }];
    Planner::default().plan(&mut log.0, &read, &[lane(None, None)])
}

/// What a sink makes of the plan.
fn apply_wide(log: &Log, plan: &Plan, target: &mut BTreeMap<i64, [i64; 2]>) {
    let sent = |image: RowImage<'_>, column| (!image.is_unchanged(column)).then(|| number(image, column));
    for row in plan.changes.iter().flat_map(|changes| &changes.deletes) {
        target.remove(&number(row.image(&log.0), 0));
    }
    for row in plan.changes.iter().flat_map(|changes| &changes.upserts) {
        let image = row.image(&log.0);
        let known = target.get(&number(image, 0)).copied();
        let column = |index: usize| sent(image, index + 1).or(known.map(|row| row[index])).expect("a row to update");
        target.insert(number(image, 0), [column(0), column(1)]);
    }
}

#[test]
fn e24_partial_images_of_one_key_are_merged() {
    let mut two = log();
    two.update_of(7, [Some(1), None]).update_of(7, [None, Some(2)]);
    let plan = plan_wide(&mut two).unwrap();
    assert_eq!(plan.compacted, 1);
    let mut target = BTreeMap::from([(7, [0, 0])]);
    apply_wide(&two, &plan, &mut target);
    assert_eq!(target[&7], [1, 2]);

    let mut inserted = log();
    inserted.wide(Operation::Insert, None, Some((8, [Some(1), Some(2)]))).update_of(8, [None, Some(3)]);
    let plan = plan_wide(&mut inserted).unwrap();
    let [row] = plan.changes[0].upserts[..] else { panic!("{plan:?}") };
    assert!(!row.image(&inserted.0).is_partial(), "insert and update are one whole row");
    apply_wide(&inserted, &plan, &mut target);
    assert_eq!(target[&8], [1, 3]);
}

#[test]
fn partial_images_that_tell_no_row_fail_the_table() {
    let mut log_of_three = [log(), log(), log()];
    let [deleted, inserted, moved] = &mut log_of_three;
    deleted.wide(Operation::Delete, Some((7, [None, None])), None).update_of(7, [Some(1), None]);
    inserted.wide(Operation::Insert, None, Some((7, [Some(1), None])));
    moved.wide(Operation::Update, Some((7, [None, None])), Some((8, [Some(1), None])));
    for log in &mut log_of_three {
        let error = plan_wide(log).unwrap_err();
        assert_eq!(error.kind(), tailrace_contract::ErrorKind::TableFailed);
        assert_eq!(error.table(), Some(&TableName::new("shop", "orders")));
    }
}

/// Histories of few keys cut into batches at random: the target is the source after each.
#[test]
fn merged_batches_equal_the_history() {
    let mut state = 0x9e37_79b9_u64;
    let mut below = move |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    let (mut source, mut target) = (BTreeMap::<i64, [i64; 2]>::new(), BTreeMap::new());
    let mut merges = 0;
    for step in 0..2_000 {
        let mut history = log();
        for change in 0..below(12) {
            let (key, number) = (i64::try_from(below(4)).unwrap(), i64::try_from(step * 12 + change).unwrap());
            let partial = (key, [None, None]);
            match (source.get_mut(&key), below(5)) {
                (None, _) => {
                    source.insert(key, [number, -number]);
                    history.wide(Operation::Insert, None, Some((key, [Some(number), Some(-number)])));
                }
                (Some(_), 0) => {
                    source.remove(&key);
                    history.wide(Operation::Delete, Some(partial), None);
                }
                (Some(row), 1) => {
                    let to = 4 + i64::try_from(below(4)).unwrap();
                    let row = [Some(row[0]), Some(row[1])];
                    if source.contains_key(&to) {
                        continue;
                    }
                    let moved = source.remove(&key).unwrap();
                    source.insert(to, moved);
                    history.wide(Operation::Update, Some(partial), Some((to, row)));
                }
                (Some(row), 2..) => {
                    let column = usize::try_from(below(2)).unwrap();
                    row[column] = number;
                    let mut sent = [None, None];
                    sent[column] = Some(number);
                    history.update_of(key, sent);
                }
            }
        }
        let plan = plan_wide(&mut history).unwrap();
        merges += plan.compacted;
        apply_wide(&history, &plan, &mut target);
        assert_eq!(target, source, "after batch {step}");
    }
    assert!(merges > 1_000, "{merges} changes met an earlier one of their key");
}
