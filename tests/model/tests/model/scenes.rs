//! The scenes: each small enough that every order of its steps is explored, together they have what servers and
//! processes do to a copy.

use crate::{
    properties::{DROPS, INTERRUPTS, LOSES, READS_AGAIN, READS_AHEAD, RECOVERS, REMOVES, SPLITS, VOIDS, WAITS},
    scene::{Interruption, Scene, Server, Statement},
};

const FAILURES: &[Interruption] = &[Interruption::Crash, Interruption::Abort];

/// Any two transactions of one or two statements each on two keys, in one chunk, and one failure.
pub(crate) const TRANSACTIONS: Scene = Scene {
    name: "two transactions of two statements",
    server: Server::Mysql,
    statements: &[Statement::Put, Statement::Delete, Statement::Move],
    transactions: 2,
    statements_each: 2,
    truncates: 0,
    rotations: 0,
    has_rollbacks: false,
    chunks: 1,
    rows_max: usize::MAX,
    reads_ahead: false,
    interruptions: FAILURES,
    interruptions_max: 1,
    meets: &[DROPS, WAITS, READS_AHEAD, SPLITS, RECOVERS, INTERRUPTS],
};

/// Rows that are changed, deleted, made again and moved while capture fails twice.
pub(crate) const FAILURES_TWICE: Scene = Scene {
    name: "three transactions and two failures",
    transactions: 3,
    statements_each: 1,
    interruptions_max: 2,
    meets: &[DROPS, WAITS, READS_AHEAD, RECOVERS, INTERRUPTS],
    ..TRANSACTIONS
};

/// Two windows at once, between which rows move.
pub(crate) const CHUNKS: Scene =
    Scene { name: "two chunks", chunks: 2, transactions: 2, interruptions_max: 1, ..FAILURES_TWICE };

/// Reads that take one row each: where one ends is known when it was read.
pub(crate) const BOUNDS: Scene = Scene { name: "one row a read", rows_max: 1, interruptions_max: 1, ..PATCHES };

/// Records wait between the half of capture that reads and the half that writes.
pub(crate) const QUEUE: Scene = Scene {
    name: "changes read ahead",
    transactions: 2,
    statements_each: 1,
    reads_ahead: true,
    meets: &[DROPS, WAITS, READS_AHEAD, RECOVERS],
    ..TRANSACTIONS
};

/// A statement that empties the table.
pub(crate) const TRUNCATE: Scene = Scene {
    name: "TRUNCATE",
    transactions: 2,
    truncates: 1,
    interruptions_max: 1,
    meets: &[DROPS, WAITS, READS_AHEAD, RECOVERS, VOIDS],
    ..FAILURES_TWICE
};

/// The binlog's end moves without a transaction.
pub(crate) const ROTATION: Scene = Scene {
    name: "a new binlog file",
    transactions: 1,
    statements_each: 2,
    rotations: 2,
    meets: &[DROPS, WAITS, READS_AHEAD, RECOVERS],
    ..TRANSACTIONS
};

pub(crate) const ROLLBACK: Scene = Scene {
    name: "transactions that roll back",
    transactions: 2,
    statements_each: 1,
    has_rollbacks: true,
    interruptions_max: 0,
    meets: &[DROPS, WAITS, READS_AHEAD],
    ..TRANSACTIONS
};

/// Updates that the binlog has in part only.
pub(crate) const PATCHES: Scene = Scene {
    name: "rows logged in part",
    statements: &[Statement::Put, Statement::Patch, Statement::Delete],
    statements_each: 1,
    interruptions_max: 2,
    meets: &[DROPS, WAITS, READS_AHEAD, READS_AGAIN, RECOVERS],
    ..TRANSACTIONS
};

/// A server takes over that may lack what the other had shown.
pub(crate) const FAILOVER: Scene = Scene {
    name: "failover",
    statements_each: 1,
    interruptions: &[Interruption::Crash, Interruption::Failover],
    interruptions_max: 2,
    meets: &[DROPS, WAITS, READS_AHEAD, RECOVERS, LOSES],
    ..TRANSACTIONS
};

/// Changes that the log will never have.
pub(crate) const GAP: Scene = Scene {
    name: "a gap in the log",
    statements_each: 1,
    interruptions: &[Interruption::Crash, Interruption::Gap],
    interruptions_max: 2,
    meets: &[DROPS, WAITS, READS_AHEAD, RECOVERS, REMOVES],
    ..TRANSACTIONS
};

pub(crate) const MARIADB: Scene = Scene { name: "MariaDB", server: Server::MariaDb, ..TRANSACTIONS };

pub(crate) const WITHOUT_GTIDS: Scene =
    Scene { name: "MySQL without GTIDs", server: Server::MysqlWithoutGtids, ..TRANSACTIONS };

pub(crate) const REPLICA: Scene = Scene {
    name: "rows from a replica",
    server: Server::MysqlReplica,
    interruptions_max: 0,
    meets: &[DROPS, WAITS, READS_AHEAD, SPLITS],
    ..TRANSACTIONS
};

pub(crate) const ALL: [Scene; 14] = [
    TRANSACTIONS,
    FAILURES_TWICE,
    CHUNKS,
    BOUNDS,
    QUEUE,
    TRUNCATE,
    ROTATION,
    ROLLBACK,
    PATCHES,
    FAILOVER,
    GAP,
    MARIADB,
    WITHOUT_GTIDS,
    REPLICA,
];
