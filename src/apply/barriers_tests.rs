//! What the workers of a session know of barriers together: which lanes stop, which tables are there, what is held again.

use tailrace_contract::{Fill, Owner, PartitionEnd, SchemaChange, TargetTable};
use tailrace_row::{Column, ColumnType, Epoch, Sequence};

use super::*;

fn orders() -> TableName {
    TableName::new("shop", "orders")
}

fn partition(index: u32) -> LogPartition {
    LogPartition { table: orders(), index }
}

fn at(transaction: u64) -> Sequence {
    Sequence { epoch: Epoch(1), transaction, event: 0, row: 0 }
}

/// A barrier of transaction 10 times its number; its ends are 10 times that in partition 0, and 3 in partition 1.
fn barrier(number: u64, act: TableAct) -> Barrier {
    let ends = [i64::try_from(number).unwrap() * 100, 3];
    let ends = (0..).zip(ends).map(|(index, end)| PartitionEnd { partition: partition(index), end });
    let change = SchemaChange {
        sequence: at(number * 10),
        place: "u:1".into(),
        committed_at_micros: 0,
        statement: "…".into(),
        acts: vec![act],
    };
    Barrier { number, change, ends: ends.collect() }
}

fn truncate() -> TableAct {
    TableAct::Truncate { table: orders() }
}

fn mapping(on_ddl: DdlPolicy) -> TableMapping {
    let target = TargetTable { schema: "public".into(), table: "orders".into() };
    TableMapping { on_ddl, ..TableMapping::new(orders(), target) }
}

fn stored(index: u32, next_offset: Option<i64>, transaction: Option<u64>) -> PartitionProgress {
    let sequence = transaction.map(at);
    PartitionProgress { partition: partition(index), next_offset, sequence, highest: sequence, owner: Owner(1) }
}

#[test]
fn e22_a_lane_passes_when_all_up_to_the_barrier_is_done() {
    let board = Board::default();
    assert!(!board.is_open(&orders(), 1), "it was not read yet");
    board.note_named(2);
    assert!(board.misses_any());
    board.add(barrier(1, truncate()), |_| true);
    board.add(barrier(2, truncate()), |_| true);
    board.add(barrier(3, truncate()), |_| false);
    assert!(!board.misses_any() && board.is_awaited());
    board.note_stored(&partition(0), 99);
    board.note_stored(&partition(1), 3);
    assert!(board.reached().is_empty());
    board.note_stored(&partition(0), 250);
    let numbers = |board: &Board| board.reached().iter().map(|next| next.barrier.number).collect::<Vec<_>>();
    assert_eq!(numbers(&board), [1], "one after the other");
    assert_eq!(board.waiting().1, 1);
    assert!(board.finish(&orders(), 1).is_some());
    assert!(board.is_open(&orders(), 1) && !board.is_open(&orders(), 2) && !board.is_open(&orders(), 3));
    assert!(board.is_open(&TableName::new("shop", "items"), 3), "another table");
    assert_eq!(numbers(&board), [2]);
    board.pause(&orders(), 2, "why");
    assert!(board.is_paused(&orders()) && !board.is_awaited());
    assert_eq!(board.waiting().0.len(), 1);
    board.finish(&orders(), 2);
    assert!(board.is_open(&orders(), 3) && !board.is_open(&orders(), 4) && numbers(&board).is_empty());
}

#[test]
fn a_lane_that_begins_behind_a_barrier_is_held() {
    let board = Board::default();
    board.add(barrier(1, truncate()), |_| true);
    board.add(barrier(2, truncate()), |_| true);
    for (offset, expect) in [(99, None), (100, Some(1)), (199, Some(1)), (200, Some(2))] {
        assert_eq!(board.holds(&partition(0), offset), expect, "{offset}");
    }
    assert_eq!(board.holds(&LogPartition { table: TableName::new("shop", "items"), index: 0 }, 500), None);
}

#[test]
fn e28_a_truncate_is_repeated_if_all_partitions_were_set_back_and_refused_if_some_were() {
    let check = |policy, progress: [PartitionProgress; 2], expect: Again| {
        assert_eq!(again(&barrier(1, truncate()), &mapping(policy), &progress), expect, "{progress:?}");
    };
    let evolve = DdlPolicy::Evolve;
    check(evolve, [stored(0, Some(100), Some(9)), stored(1, Some(3), Some(8))], Again::No);
    check(evolve, [stored(0, Some(105), Some(12)), stored(1, Some(3), Some(8))], Again::No);
    check(evolve, [stored(0, Some(50), Some(5)), stored(1, Some(3), Some(8))], Again::Yes);
    check(evolve, [stored(0, None, None), stored(1, None, None)], Again::Yes);
    check(evolve, [stored(0, Some(50), Some(5)), stored(1, Some(4), Some(11))], Again::Impossible(partition(1)));
    check(DdlPolicy::Pause, [stored(0, Some(50), Some(5)), stored(1, Some(4), Some(11))], Again::No);
    let alter = barrier(1, TableAct::Alter { table: orders(), steps: Vec::new() });
    assert_eq!(again(&alter, &mapping(evolve), &[stored(0, None, None)]), Again::No);
}

#[test]
fn rows_from_before_know_what_became_of_their_columns() {
    let alter = |number, steps| barrier(number, TableAct::Alter { table: orders(), steps });
    let rename = |from: &str, to: &str| ColumnStep::Rename { column: from.into(), to: to.into() };
    let drop = |name: &str| ColumnStep::Drop { column: name.into() };
    let add = |name: &str| ColumnStep::Add {
        column: Column { name: name.into(), column_type: ColumnType::Double, nullable: true },
        fill: Fill::Null,
    };
    let barriers = [
        alter(1, vec![rename("a", "b"), drop("x")]),
        alter(2, vec![add("x"), rename("b", "c")]),
        alter(3, vec![rename("x", "y"), drop("c")]),
    ];
    let check = |next_offset, passed: u64, expect: &[(&str, Since)]| {
        let mapping = mapping(DdlPolicy::Evolve);
        let mut ahead = Ahead::default();
        barriers.iter().for_each(|barrier| ahead.add(barrier, &stored(0, Some(next_offset), None), &mapping));
        ahead.pass(passed);
        let expect = expect.iter().map(|(name, since)| ((*name).into(), since.clone())).collect();
        assert_eq!(ahead.since(), expect, "{next_offset}, {passed}");
    };
    let renamed = |to: &str| Since::Renamed(to.into());
    check(0, 0, &[("a", Since::Dropped), ("x", Since::Dropped)]);
    check(0, 1, &[("b", Since::Dropped), ("x", renamed("y"))]);
    check(150, 0, &[("b", Since::Dropped), ("x", renamed("y"))]);
    check(200, 0, &[("c", Since::Dropped), ("x", renamed("y"))]);
    check(300, 0, &[]);
    let mut ignoring = Ahead::default();
    ignoring.add(&barriers[0], &stored(0, None, None), &mapping(DdlPolicy::Ignore));
    assert!(ignoring.is_empty(), "the target has kept its columns");
}
