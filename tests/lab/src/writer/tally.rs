//! What a writer has committed, by table and kind of change. Counted after the commit was answered, from the rows that the
//! server says it changed.

use std::sync::atomic::{AtomicU64, Ordering};

/// Tables of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Keys above 2^63 among them.
    Customers,
    /// Text as key.
    Products,
    /// A key of two texts.
    Stock,
    /// JSON, latin1, fractions of seconds.
    Orders,
    /// A key of two numbers; rows come and go with their order.
    OrderItems,
    /// Binary key.
    Payments,
    /// Written at a steady pace to measure the lag.
    Pulses,
}

/// Kinds of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A new row.
    Insert,
    /// Other values, same key.
    Update,
    /// A row less.
    Delete,
    /// Another key.
    KeyChange,
}

/// Numbers of committed changes.
#[derive(Debug, Default)]
pub struct Tally {
    counts: [[AtomicU64; 4]; 7],
    transactions: AtomicU64,
    rollbacks: AtomicU64,
}

/// Changes of a transaction that is not committed yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    changes: Vec<(Table, Change, u64)>,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 7] = [
        Table::Customers,
        Table::Products,
        Table::Stock,
        Table::Orders,
        Table::OrderItems,
        Table::Payments,
        Table::Pulses,
    ];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Table::Customers => "customers",
            Table::Products => "products",
            Table::Stock => "stock",
            Table::Orders => "orders",
            Table::OrderItems => "order_items",
            Table::Payments => "payments",
            Table::Pulses => "pulses",
        }
    }
}

impl Change {
    /// All of them.
    pub const ALL: [Change; 4] = [Change::Insert, Change::Update, Change::Delete, Change::KeyChange];
}

impl Tally {
    /// Committed changes of one kind in one table.
    pub fn count(&self, table: Table, change: Change) -> u64 {
        self.counts[table as usize][change as usize].load(Ordering::Relaxed)
    }

    /// Committed transactions.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Transactions that the server rolled back (deadlocks) or that we did on purpose.
    pub fn rollbacks(&self) -> u64 {
        self.rollbacks.load(Ordering::Relaxed)
    }

    pub(crate) fn commit(&self, pending: &Pending) {
        for (table, change, rows) in &pending.changes {
            self.counts[*table as usize][*change as usize].fetch_add(*rows, Ordering::Relaxed);
        }
        self.transactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn roll_back(&self) {
        self.rollbacks.fetch_add(1, Ordering::Relaxed);
    }
}

impl Pending {
    pub(crate) fn note(&mut self, table: Table, change: Change, rows: u64) {
        self.changes.push((table, change, rows));
    }
}
