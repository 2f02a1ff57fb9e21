//! Each rule of the protocol left out: the exploration must find what that does, and prints the shortest way to it.

use crate::{
    find,
    properties::{COMPLETE_IS_EQUAL, LEDGER_IS_FIRST, NEVER_STUCK, NO_OLDER_IMAGE, READ_IS_TRUE},
    scene::Defect,
    scenes,
};

macro_rules! breaks {
    ($scene:expr, $defect:expr, $property:expr) => {
        println!("{}", find($scene, $defect, $property))
    };
}

#[test]
fn a_chunk_read_before_its_low_watermark_is_visible() {
    breaks!(scenes::TRANSACTIONS, Defect::NoWait, NO_OLDER_IMAGE);
    breaks!(scenes::TRANSACTIONS, Defect::NoWait, COMPLETE_IS_EQUAL);
    breaks!(scenes::REPLICA, Defect::NoWait, NO_OLDER_IMAGE);
}

#[test]
fn the_executed_gtid_set_as_high_watermark() {
    breaks!(scenes::TRANSACTIONS, Defect::HighIsExecuted, READ_IS_TRUE);
}

#[test]
fn touched_keys_that_are_not_dropped() {
    breaks!(scenes::TRANSACTIONS, Defect::TouchedKeysAreWritten, NO_OLDER_IMAGE);
    breaks!(scenes::TRANSACTIONS, Defect::TouchedKeysAreWritten, COMPLETE_IS_EQUAL);
}

#[test]
fn e01_a_window_opened_inside_a_transaction() {
    breaks!(scenes::TRANSACTIONS, Defect::OpensInsideTransaction, NO_OLDER_IMAGE);
}

#[test]
fn e01_the_checkpoint_as_low_watermark() {
    breaks!(scenes::TRANSACTIONS, Defect::LowIsCheckpoint, NO_OLDER_IMAGE);
}

#[test]
fn e01_keys_remembered_behind_records_that_wait() {
    breaks!(scenes::QUEUE, Defect::RemembersAsRead, NO_OLDER_IMAGE);
}

#[test]
fn e02_a_view_kept_over_the_wait() {
    breaks!(scenes::TRANSACTIONS, Defect::OldView, NO_OLDER_IMAGE);
}

#[test]
fn e03_rows_read_uncommitted() {
    breaks!(scenes::ROLLBACK, Defect::ReadUncommitted, READ_IS_TRUE);
    breaks!(scenes::ROLLBACK, Defect::ReadUncommitted, COMPLETE_IS_EQUAL);
}

#[test]
fn e04_a_snapshot_from_before_the_low_watermark() {
    breaks!(scenes::MARIADB, Defect::SnapshotBeforeLow, NO_OLDER_IMAGE);
}

#[test]
fn e06_windows_closed_by_transactions_alone() {
    breaks!(scenes::ROTATION, Defect::ClosesByTransactions, NEVER_STUCK);
}

/// Capture reads a server that is behind the one that rows are read from.
#[test]
fn e09_rows_from_a_server_upstream_of_capture() {
    breaks!(scenes::REPLICA, Defect::ReadsUpstream, READ_IS_TRUE);
}

#[test]
fn e10_a_ledger_that_outlives_a_gap() {
    breaks!(scenes::GAP, Defect::LedgerOutlivesGap, COMPLETE_IS_EQUAL);
}

#[test]
fn e10_a_second_copy_that_removes_nothing() {
    breaks!(scenes::GAP, Defect::CopyRemovesNothing, COMPLETE_IS_EQUAL);
}

#[test]
fn e11_rows_left_to_a_stream_that_has_them_in_part() {
    breaks!(scenes::PATCHES, Defect::PatchedKeysAreNotReadAgain, COMPLETE_IS_EQUAL);
}

#[test]
fn e13_a_lock_released_before_the_view_is_open() {
    breaks!(scenes::WITHOUT_GTIDS, Defect::LockIsReleasedEarly, READ_IS_TRUE);
}

#[test]
fn e16_a_chunk_kept_after_an_aborted_log_transaction() {
    breaks!(scenes::TRANSACTIONS, Defect::AbortKeepsClosed, COMPLETE_IS_EQUAL);
    breaks!(scenes::TRANSACTIONS, Defect::AbortKeepsClosed, LEDGER_IS_FIRST);
}

/// Without the keys an old row is written. With them a row is dropped for a record that is not in the log: the copy is
/// complete before the stream has brought it again.
#[test]
fn a_window_that_an_abort_leaves_open() {
    breaks!(scenes::TRANSACTIONS, Defect::AbortForgetsKeys, NO_OLDER_IMAGE);
    breaks!(scenes::CHUNKS, Defect::AbortKeepsWindows, COMPLETE_IS_EQUAL);
}

#[test]
fn a_window_that_a_truncate_leaves_open() {
    breaks!(scenes::TRUNCATE, Defect::TruncateKeepsWindows, NO_OLDER_IMAGE);
    breaks!(scenes::TRUNCATE, Defect::TruncateKeepsWindows, COMPLETE_IS_EQUAL);
}

#[test]
fn a_window_that_a_failover_leaves_open() {
    breaks!(scenes::FAILOVER, Defect::FailoverKeepsWindows, READ_IS_TRUE);
    breaks!(scenes::FAILOVER, Defect::FailoverKeepsWindows, COMPLETE_IS_EQUAL);
}

#[test]
fn a_window_closed_before_its_high_watermark() {
    breaks!(scenes::TRANSACTIONS, Defect::ClosesBeforeHigh, READ_IS_TRUE);
}

#[test]
fn a_window_closed_before_records_that_wait() {
    breaks!(scenes::QUEUE, Defect::ClosesAsRead, READ_IS_TRUE);
}

#[test]
fn the_old_key_of_a_key_change_forgotten() {
    breaks!(scenes::TRANSACTIONS, Defect::OldKeyIsForgotten, COMPLETE_IS_EQUAL);
}

#[test]
fn the_new_key_of_a_key_change_forgotten() {
    breaks!(scenes::GAP, Defect::NewKeyIsForgotten, COMPLETE_IS_EQUAL);
}

#[test]
fn a_ledger_entry_committed_before_its_rows() {
    breaks!(scenes::TRANSACTIONS, Defect::LedgerBeforeRows, COMPLETE_IS_EQUAL);
}
